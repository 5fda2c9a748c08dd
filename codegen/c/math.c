/* codegen/c/math.c — elementary functions of our own on f32, one formula for scalars and vectors, without
 * contraction: the same bits on every machine. exp is within 1 ULP for every input, tanh within 1.1, erf within
 * 1.5.
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

static const Expr *op1(const Math *m, Op op, const Expr *a) {
    return expr_op(m->p->ctx, op, a->type, 1, &a);
}

/* small where t < limit, else big; with a's sign. */
static const Expr *of_two(Math *m, const Expr *a, const Expr *t, double limit, const Expr *small,
                          const Expr *big) {
    const Expr *limits[2] = {t, number(m, T_F32, limit)};
    const Expr *near = expr_op(m->p->ctx, OP_LT, math_type(m, T_BOOL), 2, limits);
    const Expr *y = let(m, "y", expr_select(m->p->ctx, near, small, big));
    const Expr *sign = with_i32(m, OP_BAND, bits_as(m, T_I32, a), INT32_MIN);
    return bits_as(m, T_F32, op2(m, OP_BOR, bits_as(m, T_I32, y), sign));
}

/* tanh(a) = a + a^3*P(a^2) near 0, else 1 - 2/(e^(2a) + 1) */
static const Expr *formula_tanh(Math *m, const Expr *a) {
    static const double c[] = {-0.0005726422532461584, 0.0028543504886329174, -0.008510652929544449,
                               0.02177303470671177,    -0.0539538599550724,   0.133332297205925,
                               -0.3333333134651184};
    const Expr *t = let(m, "t", op1(m, OP_ABS, a)), *z = let(m, "z", op2(m, OP_MUL, a, a));
    const Expr *p = op2(m, OP_MUL, polynomial(m, z, 7, c), z);
    const Expr *small = let(m, "s", op2(m, OP_ADD, op2(m, OP_MUL, p, t), t));
    const Expr *e = let(m, "e", op1(m, OP_EXP, op2(m, OP_ADD, t, t)));
    const Expr *part = op2(m, OP_DIV, number(m, T_F32, 2), with_f32(m, OP_ADD, e, 1));
    const Expr *big = let(m, "b", op2(m, OP_SUB, number(m, T_F32, 1), part));
    return of_two(m, a, t, 0.8, small, big);
}

/* erf(a) = a + a*P(a^2) near 0, else 1 - e^Q(a) */
static const Expr *formula_erf(Math *m, const Expr *a) {
    static const double near[] = {
        8.345225069206208e-05, -0.0008137437398545444, 0.005200634244829416, -0.02685927040874958,
        0.11283694207668304,   -0.37612634897232056,   0.12837916612625122};
    static const double far[] = {-2.1161906261113472e-05, 0.000435218884376809,
                                 -0.004174643196165562,   0.025128625333309174,
                                 -0.10829394310712814,    -0.6333346366882324,
                                 -1.1295207738876343,     0.00017587454931344837};
    const Expr *t = let(m, "t", op1(m, OP_ABS, a)), *z = let(m, "z", op2(m, OP_MUL, a, a));
    const Expr *p = polynomial(m, z, 7, near);
    const Expr *small = let(m, "s", op2(m, OP_ADD, op2(m, OP_MUL, p, t), t));
    const Expr *u = let(m, "u", op2(m, OP_MIN, number(m, T_F32, 4), t));
    const Expr *q = number(m, T_F32, far[0]);
    for (int i = 1; i < 8; i++)
        q = let(m, str_f(m->p->ctx, "q%d", i), with_f32(m, OP_ADD, op2(m, OP_MUL, q, u), far[i]));
    const Expr *e = op1(m, OP_EXP, q);
    const Expr *big = let(m, "b", op2(m, OP_SUB, number(m, T_F32, 1), e));
    return of_two(m, a, t, 0.93, small, big);
}

static const struct {
    Op op;
    const char *name;
    const Expr *(*formula)(Math *m, const Expr *a);
} FORMULAS[] = {
    {OP_EXP, "exp", formula_exp}, {OP_TANH, "tanh", formula_tanh}, {OP_ERF, "erf", formula_erf}};

Str math_function(Printer *p, Op op, int lanes) {
    size_t f = 0;
    while (f < sizeof FORMULAS / sizeof *FORMULAS && FORMULAS[f].op != op)
        f++;
    if (f == sizeof FORMULAS / sizeof *FORMULAS)
        return NULL;
    Math m = {p, text_new(p->ctx), map_new(p->ctx), lanes};
    Str name = str_f(p->ctx, lanes > 1 ? "lcc_%s_f32x%d" : "lcc_%s_f32", FORMULAS[f].name, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text params = text_new(p->ctx);
    if (lanes > 1)
        vec_param(p, &params, &m.body, T_F32, lanes, "a");
    else
        text_s(&params, "float a");
    line(&m, "return", FORMULAS[f].formula(&m, variable(&m, T_F32, "a")));
    if (lanes > 1)
        helper_add_long(p, name, vector_type(p, T_F32, lanes), str(p->ctx, params.at), &m.body);
    else
        paste_add(p->paste, name,
                  str_f(p->ctx, "static inline float %s(%s) {\n%s}", name, params.at, m.body.at));
    return name;
}
