/* codegen/c/profile.c — --profile: how long each call of the entry takes, in a table beside it.
 *
 *   k1_relu(x, y);   →   lcc_at = lcc_clock(); k1_relu(x, y); model_profile[1].ns += lcc_clock() - lcc_at; …
 * The one place where a generated file has variables and asks the system for something. */
#include "codegen/c/emit.h"

bool profile_wanted(const Emit *em) {
    return em->out->profile;
}

void profile_before(Emit *em) {
    if (!profile_wanted(em))
        return;
    paste_include(em->pr.paste, "time.h");
    print_line(&em->pr, "lcc_at = lcc_clock();");
}

void profile_after(Emit *em, Str function, Str node) {
    if (!profile_wanted(em))
        return;
    Str name = str_f(em->ctx, "%s_profile[%d]", em->out->prefix, em->timed.len);
    print_line(&em->pr, "%s.ns += lcc_clock() - lcc_at;", name);
    print_line(&em->pr, "%s.calls++;", name);
    Str row = str_f(em->ctx, "{\"%s\", \"%s\", 0, 0}", safe_text(em->ctx, function, 200),
                    node ? safe_text(em->ctx, node, 200) : "");
    vec_push(em->ctx, &em->timed, row);
}

void profile_locals(Emit *em) {
    if (profile_wanted(em))
        print_line(&em->pr, "uint64_t lcc_at;");
}

void profile_api(Emit *em, Text *t) {
    const char *prefix = em->out->prefix;
    if (!profile_wanted(em))
        return;
    text_f(t,
           "\n/* --profile: the calls of run in their order, how often each was made and what all "
           "took together;\n"
           " * a row without a kernel ends them. For one thread of the caller's at a time. */\n"
           "#define %s_PROFILE_ROWS %d\n"
           "typedef struct %s_call {\n    const char *kernel, *node;\n    uint64_t calls, ns;\n} "
           "%s_call;\n"
           "extern %s_call %s_profile[%s_PROFILE_ROWS + 1];\n",
           em->upper, em->timed.len, prefix, prefix, prefix, prefix, em->upper);
}

void profile_system(const Emit *em, Text *t) {
    if (profile_wanted(em))
        text_s(t, "#if !defined(_POSIX_C_SOURCE) && !defined(_GNU_SOURCE)\n"
                  "#define _POSIX_C_SOURCE 199309L /* clock_gettime */\n#endif\n");
}

void profile_define(const Emit *em, Text *t) {
    const char *prefix = em->out->prefix;
    if (!profile_wanted(em))
        return;
    text_s(t, "static uint64_t lcc_clock(void) {\n    struct timespec t;\n"
              "    clock_gettime(CLOCK_MONOTONIC, &t);\n"
              "    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;\n}\n\n");
    text_f(t, "%s_call %s_profile[%s_PROFILE_ROWS + 1] = {\n", prefix, prefix, em->upper);
    for (int i = 0; i < em->timed.len; i++)
        text_f(t, "    %s,\n", em->timed.at[i]);
    text_s(t, "    {0, 0, 0, 0}};\n\n");
}
