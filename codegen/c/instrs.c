/* codegen/c/instrs.c — calls of instructions that work on more than one vector (instrs.lcc) inside kernels.
 *
 *   call tile_bf16(acc, x, w) sym (0, 512, 64, 0, 2)   →  lcc_tile_bf16(acc, x, w, 0, 512, 64, 0, 2); */
#include "codegen/c/emit.h"
#include "codegen/c/vector.h"

#include <string.h>

typedef struct InstrText {
    const char *name, *text;
} InstrText;

static const InstrText INSTRS[] = {
#define INSTR(name, text) {name, text},
#include "codegen/c/instrs.def"
#undef INSTR
};
enum { NINSTR = sizeof INSTRS / sizeof *INSTRS };

static const InstrText *instr_find(Printer *p, const Func *f) {
    for (int i = 0; i < NINSTR; i++)
        if (!strcmp(INSTRS[i].name, f->name))
            return &INSTRS[i];
    internal_error(p->ctx, "instruction %s has no text", f->name);
}

void print_instr(Printer *p, const Stmt *s) {
    const InstrText *in = instr_find(p, s->func);
    Str name = str_f(p->ctx, "lcc_%s", in->name);
    vector_fence(p);
    need_intrinsics(p);
    paste_add(p->paste, name, str(p->ctx, in->text));
    print_start(p);
    text_f(p->t, "%s(", name);
    const char *comma = "";
    for (int i = 0; i < s->func->params.len; i++, comma = ", ") {
        text_s(p->t, comma);
        print_pointer(p, s->arg[i]);
    }
    for (int i = 0; i < s->func->syms.len; i++, comma = ", ") {
        text_s(p->t, comma);
        print_expr(p, s->symarg[i], P_ASSIGN);
    }
    text_s(p->t, ");\n");
}
