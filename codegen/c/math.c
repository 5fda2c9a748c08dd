/* codegen/c/math.c — elementary functions of our own on f32, one formula for scalars and vectors, without
 * contraction: the same bits on every machine. Each is within 1 ULP for every input (tests/math_test.c).
 *
 *   exp(a) = 2^n * e^r with n = rint(a / ln 2), |r| <= ln 2 / 2; n is the low bits of a/ln 2 + 1.5 * 2^23 */
#include "codegen/c/vector.h"

typedef struct Math {
    Printer *p;
    Text body;
    Map *names;
    int lanes;
} Math;

static Type math_type(const Math *m, Dtype t) {
    return m->lanes > 1 ? TYPE_VEC(t, m->lanes) : (Type)t;
}

static Str math_ctype(const Math *m, Dtype t) {
    return m->lanes > 1 ? vector_type(m->p, t, m->lanes) : str(m->p->ctx, type_c(t));
}

static const Expr *number(const Math *m, Dtype t, double v) {
    const Expr *c = expr_const(m->p->ctx, t, v);
    return m->lanes > 1 ? expr_bcast(m->p->ctx, c, m->lanes) : c;
}

static const Expr *op2(const Math *m, Op op, const Expr *a, const Expr *b) {
    const Expr *kid[2] = {a, b};
    return expr_op(m->p->ctx, op, a->type, 2, kid);
}

static const Expr *with_f32(const Math *m, Op op, const Expr *a, double v) {
    return op2(m, op, a, number(m, T_F32, v));
}

static const Expr *with_i32(const Math *m, Op op, const Expr *a, int32_t v) {
    return op2(m, op, a, number(m, T_I32, v));
}

static const Expr *bits_as(const Math *m, Dtype t, const Expr *a) {
    return expr_op(m->p->ctx, OP_BITCAST, math_type(m, t), 1, &a);
}

static const Expr *variable(Math *m, Dtype t, const char *name) {
    Sym *s = sym_new(m->p->ctx, SYM_LET, str(m->p->ctx, name), INT64_MIN, INT64_MAX);
    s->type = math_type(m, t);
    map_put(m->names, s, (void *)(uintptr_t)s->name);
    return expr_sym(m->p->ctx, s);
}

static void line(Math *m, const char *start, const Expr *e) {
    Printer inner = *m->p;
    inner.names = m->names;
    inner.plain = map_new(m->p->ctx);
    inner.t = &m->body;
    text_f(&m->body, "    %s ", start);
    print_expr(&inner, e, P_ASSIGN);
    text_s(&m->body, ";\n");
}

/* `const T name = e;` and the name from then on. */
static const Expr *let(Math *m, const char *name, const Expr *e) {
    Dtype t = type_dtype(e->type);
    line(m, str_f(m->p->ctx, "const %s %s =", math_ctype(m, t), name), e);
    return variable(m, t, name);
}

/* c[0]*a^(n-1) + … + c[n-1] */
static const Expr *polynomial(Math *m, const Expr *a, int n, const double *c) {
    const Expr *y = number(m, T_F32, c[0]);
    for (int i = 1; i < n; i++) {
        y = let(m, str_f(m->p->ctx, "p%d", i), with_f32(m, OP_ADD, op2(m, OP_MUL, y, a), c[i]));
    }
    return y;
}

#define TO_INT                                                                                     \
    12582912.0 /* 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits */
#define TO_INT_BITS 0x4b400000

/* 2^n for -127 < n < 128 */
static const Expr *power_of_two(const Math *m, const Expr *n) {
    return bits_as(m, T_F32, with_i32(m, OP_SHL, with_i32(m, OP_ADD, n, 127), 23));
}

/* Beyond the bounds the two scalings overflow or vanish as they should. */
static const Expr *formula_exp(Math *m, const Expr *a) {
    static const double c[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                               4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
    const Expr *x = let(m, "x", op2(m, OP_MIN, number(m, T_F32, 89), a));
    x = let(m, "y", op2(m, OP_MAX, number(m, T_F32, -104), x));
    const Expr *t = with_f32(m, OP_MUL, x, 1.44269504);
    t = let(m, "t", with_f32(m, OP_ADD, t, TO_INT));
    const Expr *n = let(m, "n", with_f32(m, OP_SUB, t, TO_INT));
    const Expr *high = op2(m, OP_SUB, x, with_f32(m, OP_MUL, n, 0.693359375));
    const Expr *r = let(m, "r", op2(m, OP_ADD, high, with_f32(m, OP_MUL, n, 2.12194440e-4)));
    const Expr *p = polynomial(m, r, 6, c);
    const Expr *sum = op2(m, OP_ADD, op2(m, OP_MUL, p, op2(m, OP_MUL, r, r)), r);
    const Expr *y = let(m, "e", with_f32(m, OP_ADD, sum, 1));
    const Expr *i = let(m, "i", with_i32(m, OP_SUB, bits_as(m, T_I32, t), TO_INT_BITS));
    const Expr *half = let(m, "h", with_i32(m, OP_SHR, i, 1));
    y = op2(m, OP_MUL, y, power_of_two(m, half));
    return op2(m, OP_MUL, y, power_of_two(m, op2(m, OP_SUB, i, half)));
}

Str math_function(Printer *p, Op op, int lanes) {
    if (op != OP_EXP)
        return NULL;
    Math m = {p, text_new(p->ctx), map_new(p->ctx), lanes};
    Str name = lanes > 1 ? str_f(p->ctx, "lcc_exp_f32x%d", lanes) : str(p->ctx, "lcc_exp_f32");
    if (paste_has(p->paste, name))
        return name;
    Text params = text_new(p->ctx);
    if (lanes > 1)
        vec_param(p, &params, &m.body, T_F32, lanes, "a");
    else
        text_s(&params, "float a");
    line(&m, "return", formula_exp(&m, variable(&m, T_F32, "a")));
    if (lanes > 1)
        helper_add_long(p, name, vector_type(p, T_F32, lanes), str(p->ctx, params.at), &m.body);
    else
        paste_add(p->paste, name,
                  str_f(p->ctx, "static inline float %s(%s) {\n%s}", name, params.at, m.body.at));
    return name;
}
