/* codegen/c/math.c — elementary functions of our own on f32, one formula for scalars and vectors, without
 * contraction: the same bits on every machine, within 1 ULP for every input (sigmoid: 2.9);
 * the others: math_wide.c.
 *
 *   exp(a) = 2^n * e^r with n = rint(a / ln 2), |r| <= ln 2 / 2; n is the low bits of a/ln 2 + 1.5 * 2^23 */
#include "codegen/c/math.h"

#include <math.h>

Math math_new(Printer *p, int lanes) {
    return (Math){p, text_new(p->ctx), map_new(p->ctx), lanes};
}

static Type math_type(const Math *m, Dtype t) {
    return m->lanes > 1 ? TYPE_VEC(t, m->lanes) : (Type)t;
}

Str math_ctype(const Math *m, Dtype t) {
    return m->lanes > 1 ? vector_type(m->p, t, m->lanes) : str(m->p->ctx, type_c(t));
}

const Expr *math_number(const Math *m, Dtype t, double v) {
    const Expr *c = expr_const(m->p->ctx, t, v);
    return m->lanes > 1 ? expr_bcast(m->p->ctx, c, m->lanes) : c;
}

const Expr *math_op1(const Math *m, Op op, const Expr *a) {
    return expr_op(m->p->ctx, op, a->type, 1, &a);
}

const Expr *math_op2(const Math *m, Op op, const Expr *a, const Expr *b) {
    const Expr *kid[2] = {a, b};
    return expr_op(m->p->ctx, op, a->type, 2, kid);
}

const Expr *math_with(const Math *m, Op op, const Expr *a, double v) {
    return math_op2(m, op, a, math_number(m, type_dtype(a->type), v));
}

const Expr *math_compare(const Math *m, Op op, const Expr *a, const Expr *b) {
    const Expr *kid[2] = {a, b};
    return expr_op(m->p->ctx, op, math_type(m, T_BOOL), 2, kid);
}

const Expr *math_bits(const Math *m, Dtype t, const Expr *a) {
    return expr_op(m->p->ctx, OP_BITCAST, math_type(m, t), 1, &a);
}

const Expr *math_variable(Math *m, Dtype t, const char *name) {
    Sym *s = sym_new(m->p->ctx, SYM_LET, str(m->p->ctx, name), INT64_MIN, INT64_MAX);
    s->type = math_type(m, t);
    map_put(m->names, s, (void *)(uintptr_t)s->name);
    return expr_sym(m->p->ctx, s);
}

void math_line(Math *m, const char *start, const Expr *e) {
    Printer inner = *m->p;
    inner.names = m->names;
    inner.plain = map_new(m->p->ctx);
    inner.t = &m->body;
    text_f(&m->body, "    %s ", start);
    print_expr(&inner, e, P_ASSIGN);
    text_s(&m->body, ";\n");
}

const Expr *math_let(Math *m, const char *name, const Expr *e) {
    Dtype t = type_dtype(e->type);
    math_line(m, str_f(m->p->ctx, "const %s %s =", math_ctype(m, t), name), e);
    return math_variable(m, t, name);
}

#define TO_INT                                                                                     \
    12582912.0 /* 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits */
#define TO_INT_BITS 0x4b400000

/* a + b*c where b*c is exact: by one instruction where there is one, the bits are the same. */
static const Expr *with_product(const Math *m, const Expr *a, const Expr *b, const Expr *c) {
    const Expr *kid[3] = {b, c, a};
    if (m->lanes > 1 && m->p->mach->fma && register_bits(m->p, 4 * m->lanes))
        return expr_op(m->p->ctx, OP_FMA, a->type, 3, kid);
    return math_op2(m, OP_ADD, a, math_op2(m, OP_MUL, b, c));
}

/* 2^n for -127 < n < 128 */
static const Expr *power_of_two(const Math *m, const Expr *n) {
    return math_bits(m, T_F32, math_with(m, OP_SHL, math_with(m, OP_ADD, n, 127), 23));
}

/* Beyond the bounds the two scalings overflow or vanish as they should. Both factors are 0 from the lower one on:
 * a product that underflows takes many times longer, and masked scores are far below. */
static const Expr *formula_exp(Math *m, const Expr *a) {
    static const double c[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                               4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
    const Expr *x = math_let(m, "x", math_op2(m, OP_MIN, math_number(m, T_F32, 89), a));
    x = math_let(m, "y", math_op2(m, OP_MAX, math_number(m, T_F32, -176), x));
    const char *bits = m->lanes > 1 ? register_bits(m->p, 4 * m->lanes) : NULL;
    bool scales = bits && has_bit_masks(m->p);
    const Expr *t = math_with(m, OP_MUL, x, 1.44269504);
    t = scales ? math_op1(m, OP_RINT, t) : math_let(m, "t", math_with(m, OP_ADD, t, TO_INT));
    const Expr *n = math_let(m, "n", scales ? t : math_with(m, OP_SUB, t, TO_INT));
    const Expr *high =
        math_let(m, "high", with_product(m, x, n, math_number(m, T_F32, -0.693359375))); /* exact */
    const Expr *low = math_let(m, "low", math_with(m, OP_MUL, n, 2.12194440e-4));
    const Expr *r = math_let(m, "r", math_op2(m, OP_ADD, high, low));
    const Expr *rr = math_let(m, "rr", math_op2(m, OP_MUL, r, r)), *p = NULL;
    for (int i = 0; i < 6; i += 2) { /* in pairs: less of a chain */
        const Expr *pair = math_with(m, OP_ADD, math_with(m, OP_MUL, r, c[i]), c[i + 1]);
        p = p ? math_op2(m, OP_ADD, math_op2(m, OP_MUL, p, rr), pair) : pair;
    }
    /* r is rounded: in the sum its parts stand instead, or the result is up to 1.004 ULP off. */
    const Expr *sum = math_op2(m, OP_ADD, math_op2(m, OP_MUL, math_let(m, "p", p), rr), low);
    sum = math_op2(m, OP_ADD, sum, high);
    const Expr *y = math_let(m, "e", math_with(m, OP_ADD, sum, 1));
    if (scales) { /* e * 2^n, rounded once, as below */
        need_intrinsics(m->p);
        text_f(&m->body, "    const %s s = _mm%s_scalef_ps(e, n);\n", math_ctype(m, T_F32), bits);
        return math_variable(m, T_F32, "s");
    }
    const Expr *i = math_let(m, "i", math_with(m, OP_SUB, math_bits(m, T_I32, t), TO_INT_BITS));
    const Expr *half = math_let(m, "h", math_with(m, OP_SHR, i, 1));
    y = math_op2(m, OP_MUL, y, power_of_two(m, half));
    return math_op2(m, OP_MUL, y, power_of_two(m, math_op2(m, OP_SUB, i, half)));
}

/* ---- the natural logarithm ------------------------------------------------------------------------ */

#define ROOT_HALF 0x3f3504f3 /* sqrt(1/2) */
#define ONE_BITS 0x3f800000

/* a = 2^n * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)): n ln 2 + f - f*f/2 + f^3 p(f). The sum of its two largest
 * parts is exact, the rest in `t`. */
static const Expr *formula_log(Math *m, const Expr *a) {
    static const double c[] = {0.06746635586, -0.1167565063, 0.1188816354,
                               -0.1240558922, 0.1421955228,  -0.1666799635,
                               0.2000211924,  -0.2500000894, 0.3333331347};
    Ctx *ctx = m->p->ctx;
    const Expr *zero = math_number(m, T_F32, 0);
    const Expr *tiny =
        math_let(m, "tiny", math_compare(m, OP_LT, a, math_number(m, T_F32, 0x1p-126)));
    const Expr *x = math_let(m, "x", expr_select(ctx, tiny, math_with(m, OP_MUL, a, 0x1p23), a));
    const Expr *i =
        math_let(m, "i", math_with(m, OP_ADD, math_bits(m, T_I32, x), ONE_BITS - ROOT_HALF));
    const Expr *n = math_with(m, OP_ADD, math_with(m, OP_SHR, i, 23), TO_INT_BITS);
    n = math_let(m, "k", math_with(m, OP_SUB, math_bits(m, T_F32, n), TO_INT));
    const Expr *bias =
        expr_select(ctx, tiny, math_number(m, T_F32, 150), math_number(m, T_F32, 127));
    n = math_let(m, "n", math_op2(m, OP_SUB, n, bias));
    const Expr *part = math_with(m, OP_ADD, math_with(m, OP_BAND, i, 0x7fffff), ROOT_HALF);
    const Expr *f = math_let(m, "f", math_with(m, OP_SUB, math_bits(m, T_F32, part), 1));
    const Expr *ff = math_let(m, "ff", math_op2(m, OP_MUL, f, f)), *p = math_number(m, T_F32, c[0]);
    for (int k = 1; k < 9; k += 2) { /* in pairs: less of a chain */
        const Expr *pair = math_with(m, OP_ADD, math_with(m, OP_MUL, f, c[k]), c[k + 1]);
        p = math_let(m, str_f(ctx, "p%d", k),
                     math_op2(m, OP_ADD, math_op2(m, OP_MUL, p, ff), pair));
    }
    const Expr *cube = math_op2(m, OP_MUL, math_op2(m, OP_MUL, f, ff), p);
    const Expr *high = math_let(m, "high", math_with(m, OP_MUL, n, 0.693359375)); /* exact */
    const Expr *s = math_let(m, "s", math_op2(m, OP_ADD, high, f));
    const Expr *t = math_let(m, "t", math_op2(m, OP_SUB, f, math_op2(m, OP_SUB, s, high)));
    const Expr *low = math_op2(m, OP_ADD, t, math_with(m, OP_MUL, n, -2.12194440e-4));
    low = math_op2(m, OP_ADD, math_op2(m, OP_SUB, cube, math_with(m, OP_MUL, ff, 0.5)), low);
    const Expr *y = math_let(m, "y", math_op2(m, OP_ADD, s, low));
    const Expr *none = expr_select(ctx, math_compare(m, OP_LT, a, zero), math_number(m, T_F32, NAN),
                                   math_number(m, T_F32, -INFINITY));
    y = expr_select(ctx, math_compare(m, OP_LT, zero, a), y, none);
    return expr_select(ctx, math_compare(m, OP_LT, a, math_number(m, T_F32, INFINITY)), y, a);
}

/* ---- odd functions that end at 1, by pieces ---------------------------------------------------- */

enum { PIECES = 16 };

/* Pieces of one width around its multiples 1 to 16 (the last under 0): row 0 holds a point near the multiple
 * whose value, row 1, is nearly a float; the others are p(s) from the constant term on. The first
 * piece goes down to 0: there f(a) = a + a*p(a*a), elsewhere value + r*p(r) with r = a - point. */
static const double ERF_TABLE[7][PIECES] = {
    {4.0, 0.0, 0.49985087, 0.75010943, 0.99980056, 1.2499171, 1.4998468, 1.7500873, 1.9998627,
     2.2498941, 2.4996042, 2.7501175, 3.0006936, 3.2503858, 3.500715, 3.7452316},
    {1.0, 0.0, 0.5203688, 0.711226, 0.842618, 0.92288053, 0.9660869, 0.9866763, 0.9953194,
     0.9985365, 0.9995922, 0.99989945, 0.999978, 0.9999957, 0.9999993, 0.9999999},
    {6.2244303e-06, 0.12837917, 0.87891364, 0.64282554, 0.4152731, 0.23657012, 0.11898495,
     0.052758876, 0.02067834, 0.0071457215, 0.0021825987, 0.00058589876, 0.00013867502,
     2.9116038e-05, 5.3725107e-06, 9.1349364e-07},
    {0.00038624177, -0.37612614, -0.43932062, -0.48218668, -0.41519073, -0.29569528, -0.17846122,
     -0.092333585, -0.04135389, -0.016076816, -0.0054553393, -0.0016111148, -0.00041604255,
     -9.4610106e-05, -1.8799245e-05, -3.4192262e-06},
    {0.008616179, 0.112828165, -0.14657632, 0.026849482, 0.1383095, 0.16753626, 0.13878015,
     0.09014215, 0.048242666, 0.02173287, 0.008363723, 0.002758669, 0.00078606297, 0.00019531448,
     4.2082043e-05, 8.241687e-06},
    {0.07844893, -0.026738225, 0.18199828, 0.15007424, 0.06935059, -0.00567834, -0.04416836,
     -0.04790431, -0.03444372, -0.019151745, -0.008695281, -0.003292574, -0.0010569429,
     -0.0002917192, -6.912274e-05, -1.4714624e-05},
    {0.25027972, 0.0045997906, 0.0075813234, -0.052680366, -0.068709865, -0.047048043, -0.015001881,
     0.006441901, 0.0129914945, 0.010635961, 0.0061326763, 0.0027753431, 0.0010282302,
     0.00031893194, 8.387942e-05, 1.8864912e-05},
};
static const double TANH_TABLE[9][PIECES] = {
    {9.02, 0.0, 1.0001992, 1.5003363, 2.000336, 2.4997172, 3.0006678, 3.5005865, 4.0007777,
     4.500294, 4.99977, 5.4985805, 6.0003986, 6.498972, 6.9985695, 7.5095363},
    {1.0, 0.0, 0.7616778, 0.905209, 0.9640513, 0.9866068, 0.99506134, 0.99818003, 0.99933034,
     0.99975336, 0.99990916, 0.9999665, 0.9999877, 0.99999547, 0.99999833, 0.9999994},
    {2.2921213e-06, -1.3707913e-09, 0.41984692, 0.18059666, 0.07060508, 0.026607068, 0.009852934,
     0.0036366242, 0.0013388679, 0.00049322715, 0.0001816667, 6.69945e-05, 2.455696e-05,
     9.059886e-06, 3.3356391e-06, 1.2004924e-06},
    {2.7815357e-05, -0.33333308, -0.31978837, -0.1634777, -0.06806691, -0.026250713, -0.009804274,
     -0.0036300058, -0.0013379714, -0.00049310556, -0.00018165022, -6.699226e-05, -2.455666e-05,
     -9.059845e-06, -3.3356337e-06, -1.2004917e-06},
    {0.0001309302, 0.13332576, 0.10362713, 0.08778193, 0.04208514, 0.017030098, 0.006471544,
     0.0024111886, 0.00089078554, 0.0003285756, 0.000121078636, 4.4658373e-05, 1.637074e-05,
     6.039819e-06, 2.2237384e-06, 8.0032254e-07},
    {0.00029321417, -0.05388485, 0.027694725, -0.024971789, -0.017884446, -0.008051927,
     -0.0031714377, -0.0011967747, -0.00044418662, -0.00016411992, -6.0515482e-05, -2.2325627e-05,
     -8.184731e-06, -3.019793e-06, -1.1118376e-06, -4.0015124e-07},
    {0.00033756, 0.021426648, -0.0463132, -0.0026279034, 0.004777541, 0.0028589135, 0.0012175497,
     0.00047175746, 0.00017673259, 6.5498374e-05, 2.4175435e-05, 8.931695e-06, 3.2727608e-06,
     1.2084919e-06, 4.4500578e-07, 1.6016564e-07},
    {0.00019278513, -0.00761809, 0.018114293, 0.007185386, -0.000114771756, -0.0007152282,
     -0.00037377776, -0.00015351719, -5.8693207e-05, -2.1920701e-05, -8.109092e-06, -2.9964613e-06,
     -1.0990566e-06, -4.0544498e-07, -1.493038e-07, -5.3744397e-08},
    {4.3273616e-05, 0.0017137816, 0.0029408038, -0.00408276, -0.00064345886, 7.341594e-05,
     8.788158e-05, 4.0730625e-05, 1.632396e-05, 6.370912e-06, 2.4142184e-06, 8.2403193e-07,
     3.1990118e-07, 1.1087187e-07, 4.037951e-08, 1.4628434e-08},
};

typedef struct Pieces {
    const char *name;
    double width, top; /* f is 1 from top on */
    int rows;
    const double (*table)[PIECES];
} Pieces;

static Str pieces_table(Math *m, const Pieces *f) {
    Text t = text_new(m->p->ctx);
    Str name = str_f(m->p->ctx, "lcc_%s_table", f->name);
    text_f(&t, "static const float %s[%d][%d] = {\n", name, f->rows, PIECES);
    for (int i = 0; i < f->rows * PIECES; i++) {
        text_s(&t, i % PIECES ? ", " : "    {");
        text_float(&t, f->table[i / PIECES][i % PIECES], true);
        text_s(&t, "f");
        text_s(&t, i % PIECES < PIECES - 1 ? "" : i < f->rows * PIECES - 1 ? "},\n" : "}};");
    }
    paste_add(m->p->paste, name, str(m->p->ctx, t.at));
    return name;
}

/* `k`: the place in a row of a table, the low bits of f. */
static void let_place(Math *m, const Expr *f) {
    const Expr *i = math_bits(m, T_I32, f);
    math_let(m, "k", m->lanes > 1 ? i : math_with(m, OP_BAND, i, PIECES - 1));
}

/* One row of the table at the pieces of all lanes; it repeats after `period`. */
static const Expr *piece(Math *m, Str table, int row, int period, const char *name) {
    Ctx *ctx = m->p->ctx;
    Str value = str_f(ctx, "%s[%d]", table, row);
    value = m->lanes > 1 ? str_f(ctx, "%s(%s, %s)", vec_lookup(m->p, m->lanes, period), value,
                                 vec_arg(m->p, T_I32, m->lanes, "k"))
                         : str_f(ctx, "%s[k]", value);
    text_f(&m->body, "    const %s %s = %s;\n", math_ctype(m, T_F32), name, value);
    return math_variable(m, T_F32, name);
}

static const Expr *formula_pieces(Math *m, const Expr *a, const Pieces *f) {
    Ctx *ctx = m->p->ctx;
    Str table = pieces_table(m, f);
    const Expr *t = math_let(m, "t", math_op1(m, OP_ABS, a));
    const Expr *u = math_let(m, "u", math_op2(m, OP_MIN, math_number(m, T_F32, f->top), t));
    const Expr *v = math_let(m, "v", math_op2(m, OP_MAX, math_number(m, T_F32, f->width), u));
    if (PIECES * f->width < f->top)
        v = math_let(m, "w", math_op2(m, OP_MIN, math_number(m, T_F32, PIECES * f->width), v));
    const Expr *q = math_with(m, OP_MUL, v, 1 / f->width);
    q = math_let(m, "q", math_with(m, OP_ADD, q, TO_INT));
    let_place(m, q);
    const Expr *r = math_let(m, "r", math_op2(m, OP_SUB, u, piece(m, table, 0, PIECES, "x")));
    const Expr *first =
        math_let(m, "f", math_compare(m, OP_LT, q, math_number(m, T_F32, TO_INT + 2)));
    const Expr *s = math_let(m, "s", expr_select(ctx, first, math_op2(m, OP_MUL, u, u), r));
    const Expr *p = piece(m, table, f->rows - 1, PIECES, "c");
    for (int i = f->rows - 2; i > 1; i--) {
        const Expr *c = piece(m, table, i, PIECES, str_f(ctx, "c%d", i));
        p = math_let(m, str_f(ctx, "p%d", i), math_op2(m, OP_ADD, math_op2(m, OP_MUL, p, s), c));
    }
    const Expr *base = expr_select(ctx, first, u, piece(m, table, 1, PIECES, "b"));
    const Expr *y = math_let(m, "y", math_op2(m, OP_ADD, base, math_op2(m, OP_MUL, p, r)));
    const Expr *sign = math_with(m, OP_BAND, math_bits(m, T_I32, a), INT32_MIN);
    return math_bits(m, T_F32, math_op2(m, OP_BOR, math_bits(m, T_I32, y), sign));
}

static const Expr *formula_erf(Math *m, const Expr *a) {
    return formula_pieces(m, a, &(Pieces){"erf", 0.25, 4, 7, ERF_TABLE});
}

static const Expr *formula_tanh(Math *m, const Expr *a) {
    return formula_pieces(m, a, &(Pieces){"tanh", 0.5, 9.02, 9, TANH_TABLE});
}

/* ---- sigmoid ------------------------------------------------------------------------------------- */

enum { STEPS = 8 }; /* parts of a power of two; their table stands twice in a row of PIECES */
static const double POWER_TABLE[1][PIECES] = {
    {1.0, 1.0905077, 1.1892071, 1.2968396, 1.4142135, 1.5422108, 1.6817929, 1.8340081, 1.0,
     1.0905077, 1.1892071, 1.2968396, 1.4142135, 1.5422108, 1.6817929, 1.8340081}};

#define TO_EIGHTHS                                                                                 \
    1572991.0 /* 1.5 * 2^20 + 127: added, the low bits count eighths, from an exponent's bias on */

/* 1/(1 + e^-a), with e^-a = 2^n * e^-r for n in eighths, |r| <= ln 2 / 16. e^-a may be infinite: below -88.38 the
 * result, by then no normal number, is 0. At most 2.88 ULP where it is one. */
static const Expr *formula_sigmoid(Math *m, const Expr *a) {
    const Pieces powers = {"power", 0, 0, 1, POWER_TABLE};
    const Expr *x = math_let(m, "x", math_op2(m, OP_MIN, math_number(m, T_F32, 87.3), a));
    x = math_let(m, "y", math_op2(m, OP_MAX, math_number(m, T_F32, -89), x));
    const Expr *t = math_with(m, OP_MUL, x, -1.44269504);
    t = math_let(m, "t", math_with(m, OP_ADD, t, TO_EIGHTHS));
    let_place(m, t);
    const Expr *n = math_let(m, "n", math_with(m, OP_SUB, t, TO_EIGHTHS));
    const Expr *high = with_product(m, x, n, math_number(m, T_F32, 0.693359375)); /* exact */
    const Expr *r =
        math_let(m, "r", math_op2(m, OP_ADD, high, math_with(m, OP_MUL, n, -2.12194440e-4)));
    const Expr *p =
        math_op2(m, OP_SUB, math_number(m, T_F32, 0.50006469), math_with(m, OP_MUL, r, 1.0 / 6));
    const Expr *s = math_op2(m, OP_SUB, math_op2(m, OP_MUL, p, math_op2(m, OP_MUL, r, r)), r);
    const Expr *w = piece(m, pieces_table(m, &powers), 0, STEPS, "w");
    const Expr *e = math_let(m, "e", math_op2(m, OP_ADD, w, math_op2(m, OP_MUL, w, s)));
    const Expr *bits = math_with(m, OP_BAND, math_bits(m, T_I32, t), -STEPS);
    const Expr *scale = math_bits(m, T_F32, math_with(m, OP_SHL, bits, 20));
    const Expr *one = math_number(m, T_F32, 1);
    return math_op2(m, OP_DIV, one, math_let(m, "d", with_product(m, one, e, scale)));
}

static const struct {
    Op op;
    const char *name;
    const Expr *(*formula)(Math *m, const Expr *a);
} FORMULAS[] = {{OP_EXP, "exp", formula_exp},
                {OP_LOG, "log", formula_log},
                {OP_TANH, "tanh", formula_tanh},
                {OP_ERF, "erf", formula_erf},
                {OP_SIGMOID, "sigmoid", formula_sigmoid}};

/* Beside vectors a scalar is what a row has one of: compilers take a call that depends on nothing else out of
 * loops, but not what is inlined with its branches. */
void math_scalar(Printer *p, Str name, const Text *body) {
    const char *how = p->mach->vec > 0 ? "__attribute__((const, noinline))" : "inline";
    paste_add(p->paste, name,
              str_f(p->ctx, "static %s float %s(float a) {\n%s}", how, name, body->at));
}

Str math_function(Printer *p, Op op, int lanes) {
    size_t f = 0;
    while (f < sizeof FORMULAS / sizeof *FORMULAS && FORMULAS[f].op != op)
        f++;
    if (f == sizeof FORMULAS / sizeof *FORMULAS)
        return math_wide(p, op, lanes);
    Math m = math_new(p, lanes);
    Str name = str_f(p->ctx, lanes > 1 ? "lcc_%s_f32x%d" : "lcc_%s_f32", FORMULAS[f].name, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text params = text_new(p->ctx);
    if (lanes > 1)
        vec_param(p, &params, &m.body, T_F32, lanes, "a");
    math_line(&m, "return", FORMULAS[f].formula(&m, math_variable(&m, T_F32, "a")));
    if (lanes > 1)
        helper_add_long(p, name, vector_type(p, T_F32, lanes), str(p->ctx, params.at), &m.body);
    else
        math_scalar(p, name, &m.body);
    return name;
}
