/* Peak probe and timer of bench/kernels.py: processor time of this thread, so that other work on the machine
 * takes time but not measure. Compiled with -DLANES=8 or 16 and the target's flags. */
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef float vec __attribute__((vector_size(LANES * 4)));

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of twelve independent chains of multiply-adds. */
double probe_peak(int64_t rounds) {
    volatile float seed = 1.0f;
    vec x = {0}, y = {0};
    x += seed;
    y += seed * 0.5f;
#define START(i) vec a##i = x * (float)i;
    CHAINS(START)
    double start = now();
    for (int64_t r = 0; r < rounds; r++) {
#define STEP(i) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(a##i) : "v"(x), "v"(y));
        CHAINS(STEP)
        CHAINS(STEP)
    }
    double took = now() - start;
    vec sum = {0};
#define SUM(i) sum += a##i;
    CHAINS(SUM)
    volatile float keep = sum[0];
    (void)keep;
    return 24e-9 * 2 * LANES * (double)rounds / took;
}

/* GB/s of reading `bytes` once (plain vector loads). */
double probe_read(const void *at, int64_t bytes) {
    const char *p = at;
    double start = now();
    for (int64_t i = 0; i + 8 * (int64_t)sizeof(vec) <= bytes; i += 8 * (int64_t)sizeof(vec)) {
        vec v0, v1, v2, v3, v4, v5, v6, v7;
        memcpy(&v0, p + i, sizeof(vec));
        memcpy(&v1, p + i + 1 * sizeof(vec), sizeof(vec));
        memcpy(&v2, p + i + 2 * sizeof(vec), sizeof(vec));
        memcpy(&v3, p + i + 3 * sizeof(vec), sizeof(vec));
        memcpy(&v4, p + i + 4 * sizeof(vec), sizeof(vec));
        memcpy(&v5, p + i + 5 * sizeof(vec), sizeof(vec));
        memcpy(&v6, p + i + 6 * sizeof(vec), sizeof(vec));
        memcpy(&v7, p + i + 7 * sizeof(vec), sizeof(vec));
        __asm__ volatile("" ::"v"(v0), "v"(v1), "v"(v2), "v"(v3), "v"(v4), "v"(v5), "v"(v6),
                         "v"(v7));
    }
    return 1e-9 * (double)bytes / (now() - start);
}

typedef int Run(const void *in, void *out, void *arena);

/* Seconds of one call, the mean of `times`. */
double time_run(Run *run, const void *in, void *out, void *arena, int64_t times) {
    double start = now();
    for (int64_t i = 0; i < times; i++)
        if (run(in, out, arena))
            return -1;
    return (now() - start) / (double)times;
}
