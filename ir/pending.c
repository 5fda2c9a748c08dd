/* ir/pending.c — what tensor_text.c, loop_text.c, sched_text.c and verify.c will define: each of them takes its
 * functions out of this file when it comes, the last one the file. Until then dumps are empty and nothing is
 * verified between passes. */
#include "ir/sched.h"

Str def_str(Ctx *ctx, const Def *d) {
    return str_f(ctx, "%s = %s", d->name, d->value ? expr_str(ctx, d->value) : "?");
}

void program_print(Text *t, const Program *p) {
    text_f(t, "program %s\n", p->name);
}

void kernel_print(Text *t, const Kernel *k) {
    text_f(t, "kernel %s\n", k->name);
}

void module_print(Text *t, const Module *m) {
    for (int i = 0; i < m->kernels.len; i++)
        kernel_print(t, m->kernels.at[i]);
}

bool program_verify(Ctx *ctx, const Program *p, const char *when) {
    return ctx && p && when;
}

bool func_verify(Ctx *ctx, const Func *f, const char *when, bool flat) {
    return ctx && f && when && (flat || !flat);
}

bool module_verify(Ctx *ctx, const Module *m, const char *when) {
    return ctx && m && when;
}
