/* codegen/c/instrs.c — instructions for narrow types: sums of 2 or 4 products a lane, and calls of instructions
 * that work on more than one vector (instrs.lcc) inside kernels.
 *
 *   dot4(x[a +: 4], w[b +: 64], acc)                   →  lcc_dot4_u8x16(x + a, w, acc)
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

/* Lines of a helper that make `all`, x in every lane, and add the products to acc. */
static void dot_body(Text *t, const Expr *e, bool is_signed, Str acc) {
    int lanes = type_lanes(e->type);
    const char *whole = lanes == 16 ? "512" : "256", *half = lanes == 16 ? "256" : "";
    text_f(t, "    int%d_t group;\n    __builtin_memcpy(&group, x, sizeof group);\n",
           e->op == OP_DOT4 ? 32 : 16);
    if (e->op == OP_DOT4) {
        text_f(t, "    __m%si all = _mm%s_set1_epi32(group);\n", whole, whole);
        if (is_signed)
            text_f(t, "    all = _mm%s_xor_si%s(all, _mm%s_set1_epi8(-128));\n", whole, whole,
                   whole);
        text_f(t, "    return (%s)_mm%s_dpbusd_epi32((__m%si)acc, all, (__m%si)w);\n", acc, whole,
               whole, whole);
        return;
    }
    text_f(t, "    const __m%si all = _mm%s_cvtep%c8_epi16(_mm%s_set1_epi16(group));\n", whole,
           whole, is_signed ? 'i' : 'u', half);
    text_f(t, "    const __m%si sum = _mm%s_madd_epi16(all, (__m%si)w);\n", whole, whole, whole);
    text_f(t, "    return (%s)_mm%s_add_epi32((__m%si)acc, sum);\n", acc, whole, whole);
}

void print_dot(Printer *p, const Expr *e) {
    int lanes = type_lanes(e->type), group = e->op == OP_DOT4 ? 4 : 2;
    const Expr *x = e->kid[0]; /* a load; cast, or with its highest bit turned over */
    if (x->op == OP_BXOR)
        x = x->kid[x->kid[0]->op != OP_BITCAST];
    x = x->op == OP_LOAD ? x : x->kid[0];
    if (x->op != OP_LOAD || x->kid[0]->op != OP_RAMP)
        internal_error(p->ctx, "dot%d of %s", group, expr_str(p->ctx, x));
    Dtype t = type_dtype(x->type);
    Str name = str_f(p->ctx, "lcc_dot%d_%sx%d", group, type_text(t), lanes);
    Str acc = vector_type(p, T_I32, lanes);
    Str w = vector_type(p, type_dtype(e->kid[1]->type), group * lanes);
    need_intrinsics(p);
    if (!paste_has(p->paste, name)) {
        Text body = text_new(p->ctx);
        dot_body(&body, e, t == T_I8, acc);
        helper_add(p, name, acc, str_f(p->ctx, "const void *x, %s w, %s acc", w, acc), &body);
    }
    text_f(p->t, "%s(", name);
    print_pointer(p, x->u.buf);
    text_s(p->t, " + ");
    print_expr(p, x->kid[0]->kid[0], P_MUL);
    for (int i = 1; i < 3; i++) {
        text_s(p->t, ", ");
        print_expr(p, e->kid[i], P_ASSIGN);
    }
    text_c(p->t, ')');
}
