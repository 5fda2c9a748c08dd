/* ir/pending.c — what tensor_text.c, loop_text.c, sched_text.c and verify.c will define: each of them takes its
 * functions out of this file when it comes, the last one the file. Until then dumps are empty and nothing is
 * verified between passes. */
#include "ir/sched.h"

bool program_verify(Ctx *ctx, const Program *p, const char *when) {
    return ctx && p && when;
}

bool func_verify(Ctx *ctx, const Func *f, const char *when, bool flat) {
    return ctx && f && when && (flat || !flat);
}

bool module_verify(Ctx *ctx, const Module *m, const char *when) {
    return ctx && m && when;
}
