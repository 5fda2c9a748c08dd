/* Which rows of machines.def this processor can run. */
#include "driver/driver.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
static bool has(const char *isa) {
    if (!strcmp(isa, "avx512-vnni"))
        return has("avx512") && __builtin_cpu_supports("avx512vnni");
    if (!strcmp(isa, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (!strcmp(isa, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return !strcmp(isa, "sse2");
}
#elif defined(__aarch64__)
static bool has(const char *isa) {
    return !strcmp(isa, "neon");
}
#else
static bool has(const char *isa) {
    (void)isa;
    return false;
}
#endif

const char *native_machine(void) {
    static const char *const best[] = {"avx512-vnni", "avx512", "avx2", "sse2", "neon"};
    const Machine *m;
    for (size_t i = 0; i < sizeof best / sizeof best[0]; i++)
        if (has(best[i]) && target_find(best[i], &m))
            return best[i];
    return "c";
}
