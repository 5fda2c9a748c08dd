/* def_quant.c — numbers as integers with a scale and a zero point: conversions, and products whose sums are
 * taken in i32.
 *
 *   QLinearMatMul(a u8[M,K], sa, za, b i8[K,N], sb, zb, sy, zy)  →
 *     acc[m,n] = add(k) (i32(a[m,k]) - za) * (i32(b[k,n]) - zb) ; scale = sa * sb / sy
 *     y[m,n] = saturate(rint(f32(acc[m,n]) * scale) + zy) */
#include "frontend/quant.h"

const Expr *quant_round(Definer *d, Dtype t, const Expr *v, const Expr *z) {
    Dtype f = type_dtype(v->type);
    const Expr *r = expr_1(d->ctx, OP_RINT, v);
    if (z)
        r = expr_add(d->ctx, r, z);
    return expr_cast(d->ctx, t,
                     eq_text(d, f, "max(min(r, hi), lo)", "r", r, "lo",
                             eq_const(d, f, (double)type_min(t)), "hi",
                             eq_const(d, f, (double)type_max(t)), NULL));
}

const Expr *quant_real(Definer *d, const Expr *load, Buf *scale, Buf *zero) {
    const Expr *i = expr_cast(d->ctx, T_I32, load), *at = expr_i(d->ctx, 0);
    if (zero)
        i = expr_sub(d->ctx, i, eq_at(d, T_I32, zero, at));
    return expr_mul(d->ctx, expr_cast(d->ctx, T_F32, i), eq_at(d, T_F32, scale, at));
}

bool quant_param(Definer *d, Buf *b, const Expr *extent, const char *what) {
    if (!b || eq_single(b) || b->rank == 0)
        return true;
    if (b->rank != 1)
        return define_error(d, EXIT_MALFORMED, "%s is neither a number nor a list", what);
    const Expr *one = expr_i(d->ctx, 1);
    if (b->dim[0]->op == OP_INT || extent == one)
        return define_same(d, b->dim[0], extent, what);
    const Expr *fits =
        expr_or(d->ctx, expr_eq(d->ctx, b->dim[0], extent), expr_eq(d->ctx, b->dim[0], one));
    return define_check(d, fits, CHECK_DIM, what);
}

/* ---- QuantizeLinear, DequantizeLinear --------------------------------------------------------------- */

/* How a scale or zero point lies along its tensor. */
typedef struct Along {
    int axis;          /* -1: one for the whole tensor */
    const Expr *block; /* NULL: one for each index */
} Along;

/* The zero point z has as many elements as the scale s, or one. */
static bool along_same(Definer *d, Buf *z, Buf *s) {
    const Expr *one = expr_i(d->ctx, 1);
    if (!z || eq_single(z))
        return true;
    if (!eq_single(s) && z->rank != s->rank)
        return define_error(d, EXIT_MALFORMED, "the zero point has not the shape of the scale");
    for (int i = 0; i < z->rank; i++)
        if (!define_same(d, z->dim[i], eq_single(s) ? one : s->dim[i], "zero point and scale"))
            return false;
    return true;
}

static bool along_begin(Definer *d, Along *a) {
    Buf *x = define_in(d, 0), *s = define_in(d, 1);
    int64_t axis = node_int(d->node, "axis", 1), block = node_int(d->node, "block_size", 0);
    Buf *z = define_in(d, 2);
    *a = (Along){-1, NULL};
    if (eq_single(s))
        return along_same(d, z, s);
    a->axis = define_axis(d, axis, x->rank);
    if (a->axis < 0)
        return false;
    if (!block)
        return quant_param(d, s, x->dim[a->axis], "scale") &&
               quant_param(d, z, x->dim[a->axis], "zero point");
    if (block < 0 || block >= (int64_t)1 << 31 || s->rank != x->rank)
        return define_error(d, EXIT_MALFORMED, "block_size does not fit the scale");
    a->block = expr_i(d->ctx, block);
    for (int i = 0; i < x->rank; i++) {
        const Expr *n = i == a->axis ? expr_ceildiv(d->ctx, x->dim[i], block) : x->dim[i];
        if (!define_same(d, s->dim[i], n, "scale and input"))
            return false;
    }
    return along_same(d, z, s);
}

static const Expr *along_load(Definer *d, const Along *a, Dtype t, Buf *b, int rank,
                              const Expr *const *v) {
    const Expr *at[RANK_MAX];
    if (!a->block || eq_single(b))
        return eq_param(d, t, b, a->axis < 0 ? expr_i(d->ctx, 0) : v[a->axis]);
    for (int i = 0; i < rank; i++)
        at[i] = i == a->axis ? expr_fdiv(d->ctx, v[i], a->block) : v[i];
    return eq_load(d, t, b, at);
}

/* The type asked for by an attribute; `otherwise` when it is absent or 0. */
static Dtype type_attr(Definer *d, const char *name, Dtype otherwise) {
    int64_t t = node_int(d->node, name, 0);
    return t > 0 && t < 1000 ? type_from_onnx((int)t) : otherwise;
}

bool def_quantize(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *s = define_in(d, 1), *z = define_in(d, 2);
    Dtype from = define_type(d, 0), scale = define_type(d, 1);
    Dtype t = z ? type_dtype(z->type) : type_attr(d, "output_dtype", T_U8);
    Dtype wide = !type_is_float(from) ? T_F64 : from == scale ? from : T_F32;
    const Expr *v[RANK_MAX];
    Along along;
    wide = type_attr(d, "precision", wide);
    if (t == T_NONE || !type_is_float(wide))
        return define_error(d, EXIT_MALFORMED, "output_dtype or precision has an unknown value");
    if (!along_begin(d, &along))
        return false;
    Def *y = define_out(d, 0, t, x->rank, x->dim);
    eq_vars(d, y, v);
    const Expr *e =
        expr_2(ctx, OP_DIV, eq_load(d, wide, x, v), along_load(d, &along, wide, s, x->rank, v));
    Dtype sum = eq_wide(wide);
    e = expr_cast(ctx, sum, e);
    const Expr *zero = z ? along_load(d, &along, sum, z, x->rank, v) : NULL;
    if (type_is_int(t))
        e = quant_round(d, t, e, zero);
    else if (t == T_F4E2M1 && zero)
        e = expr_add(ctx, e, zero);
    if (type_is_float(t) && !node_int(d->node, "saturate", 1))
        e = expr_op(ctx, OP_CASTW, t, 1, &e);
    eq_emit(d, y, e);
    return true;
}

bool def_dequantize(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *s = define_in(d, 1), *z = define_in(d, 2);
    Dtype from = define_type(d, 0), scale = define_type(d, 1);
    Dtype t = type_attr(d, "output_dtype", scale), wide = scale == T_F64 ? T_F64 : T_F32;
    const Expr *v[RANK_MAX];
    Along along;
    if (!type_is_float(t))
        return define_error(d, EXIT_MALFORMED, "output_dtype has an unknown value");
    if (!along_begin(d, &along))
        return false;
    Def *y = define_out(d, 0, t, x->rank, x->dim);
    eq_vars(d, y, v);
    const Expr *e = buf_load(ctx, x, v);
    if (type_is_int(from) && z)
        e = expr_sub(ctx, expr_cast(ctx, T_I32, e), along_load(d, &along, T_I32, z, x->rank, v));
    eq_emit(d, y,
            expr_mul(ctx, expr_cast(ctx, wide, e), along_load(d, &along, wide, s, x->rank, v)));
    return true;
}

/* ---- DynamicQuantizeLinear ----------------------------------------------------------------------------- */

/* The largest (or smallest) element of x and 0; of one dimension, so that there is a loop to keep it in
 * registers. */
static Buf *extreme(Definer *d, Buf *x, Op op) {
    const Expr *at[RANK_MAX], *one = expr_i(d->ctx, 1);
    Def *def = define_temp(d, op == OP_MAX ? "max" : "min", T_F32, 1, &one);
    for (int i = 0; i < x->rank; i++)
        at[i] = eq_red(d, def, "k", x->dim[i]);
    const Expr *e = eq_load(d, T_F32, x, at), *zero = eq_const(d, T_F32, 0);
    bool reduces = def->naxis > 1;
    eq_combine(d, def, op, reduces ? e : expr_2(d->ctx, op, e, zero), NULL, false);
    if (reduces)
        def->init = zero;
    define_emit(d, def);
    return def->buf;
}

bool def_dynamic_quantize(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *v[RANK_MAX], *none = expr_i(ctx, 0);
    Buf *max = extreme(d, x, OP_MAX), *min = extreme(d, x, OP_MIN);
    Def *scale = define_out(d, 1, T_F32, 0, NULL);
    eq_emit(d, scale,
            eq_text(d, T_F32, "select(a == b, 1, a - b) / 255", "a", eq_at(d, T_F32, max, none),
                    "b", eq_at(d, T_F32, min, none), NULL));
    Def *zero = define_out(d, 2, T_U8, 0, NULL);
    const Expr *s = eq_at(d, T_F32, scale->buf, none);
    eq_emit(d, zero,
            eq_text(d, T_F32, "u8(rint(max(0, min(255, 0 - b / s))))", "b",
                    eq_at(d, T_F32, min, none), "s", s, NULL));
    Def *y = define_out(d, 0, T_U8, x->rank, x->dim);
    eq_vars(d, y, v);
    const Expr *q = expr_2(ctx, OP_DIV, eq_load(d, T_F32, x, v), s);
    eq_emit(d, y, quant_round(d, T_U8, q, eq_at(d, T_F32, zero->buf, none)));
    return true;
}

/* ---- products -------------------------------------------------------------------------------- */

/* The extent that a parameter of matrix b runs along: its columns; of matrix a: its rows. */
static bool matrix_params(Definer *d, Buf *a, Buf *za, Buf *b, Buf *zb) {
    const Expr *rows = a->dim[a->rank > 1 ? a->rank - 2 : 0], *columns = b->dim[b->rank - 1];
    if (za && za->rank <= 1 && !quant_param(d, za, rows, "zero point of the rows"))
        return false;
    return !zb || zb->rank > 1 || quant_param(d, zb, columns, "zero point of the columns");
}

static Def *matmul_sums(Definer *d, int a, int za, int b, int zb, bool out) {
    Buf *x = define_in(d, a), *y = define_in(d, b), *zx = define_in(d, za), *zy = define_in(d, zb);
    if (!x->rank || !y->rank)
        return define_error(d, EXIT_MALFORMED, "a matrix product of a scalar") ? NULL : NULL;
    if (!matrix_params(d, x, zx, y, zy))
        return NULL;
    Factor fa = {x, zx, x->rank > 1 ? x->rank - 2 : 0}, fb = {y, zy, y->rank - 1};
    return contract_matmul(d, fa, fb, T_I32, out);
}

bool def_matmul_integer(Definer *d) {
    return matmul_sums(d, 0, 2, 1, 3, true) != NULL;
}

bool def_conv_integer(Definer *d) {
    Buf *x = define_in(d, 0), *w = define_in(d, 1), *zx = define_in(d, 2), *zw = define_in(d, 3);
    if (!quant_param(d, zx, expr_i(d->ctx, 1), "zero point of the input") ||
        !quant_param(d, zw, w->dim[0], "zero point of the weights"))
        return false;
    return contract_conv(d, (Factor){x, zx, 0}, (Factor){w, zw, 0}, T_I32, true) != NULL;
}

/* scale[i] = sa * sb[i] / sy, or one number. */
static Buf *output_scale(Definer *d, Buf *sa, Buf *sb, Buf *sy) {
    Ctx *ctx = d->ctx;
    Dtype t = type_dtype(sa->type);
    bool list = !eq_single(sb) && sb->rank == 1;
    Def *def = define_temp(d, "scale", T_F32, list, sb->dim);
    const Expr *i = list ? def_var(ctx, def, 0) : expr_i(ctx, 0), *zero = expr_i(ctx, 0);
    const Expr *ab = expr_mul(ctx, eq_at(d, t, sa, zero), eq_param(d, t, sb, i));
    eq_emit(d, def, expr_2(ctx, OP_DIV, ab, eq_at(d, t, sy, zero)));
    return def->buf;
}

bool quant_store(Definer *d, Buf *acc, int axis, Buf *bias, Buf *sa, Buf *sb, Buf *sy, Buf *zy,
                 Dtype t) {
    Ctx *ctx = d->ctx;
    const Expr *v[RANK_MAX];
    const Expr *one = expr_i(ctx, 1);
    if (!quant_param(d, sa, one, "scale of the input") ||
        !quant_param(d, sy, one, "scale of the output") ||
        !quant_param(d, zy, one, "zero point of the output"))
        return false;
    if (!quant_param(d, sb, acc->rank ? acc->dim[axis] : NULL, "scale of the weights") ||
        !quant_param(d, bias, acc->rank ? acc->dim[axis] : NULL, "bias"))
        return false;
    Buf *scale = output_scale(d, sa, sb, sy);
    Def *y = define_out(d, 0, t, acc->rank, acc->dim);
    eq_vars(d, y, v);
    const Expr *i = acc->rank ? v[axis] : expr_i(ctx, 0), *e = buf_load(ctx, acc, v);
    const Expr *first = expr_i(ctx, 0);
    if (bias)
        e = expr_add(ctx, e, eq_at(d, T_I32, bias, i));
    e = expr_mul(ctx, expr_cast(ctx, T_F32, e), eq_param(d, T_F32, scale, i));
    eq_emit(d, y, quant_round(d, t, e, zy ? eq_at(d, T_F32, zy, first) : NULL));
    return true;
}

bool def_qlinear_matmul(Definer *d) {
    Buf *zy = define_in(d, 7);
    Def *acc = matmul_sums(d, 0, 2, 3, 5, false);
    return acc &&
           quant_store(d, acc->buf, acc->buf->rank - 1, NULL, define_in(d, 1), define_in(d, 4),
                       define_in(d, 6), zy, zy ? type_dtype(zy->type) : define_type(d, 0));
}

bool def_qlinear_conv(Definer *d) {
    Buf *x = define_in(d, 0), *zx = define_in(d, 2), *w = define_in(d, 3), *zw = define_in(d, 5);
    Buf *zy = define_in(d, 7);
    if (!quant_param(d, zx, expr_i(d->ctx, 1), "zero point of the input") || !w->rank ||
        !quant_param(d, zw, w->dim[0], "zero point of the weights"))
        return false;
    Def *acc = contract_conv(d, (Factor){x, zx, 0}, (Factor){w, zw, 0}, T_I32, false);
    return acc && quant_store(d, acc->buf, 1, define_in(d, 8), define_in(d, 1), define_in(d, 4),
                              define_in(d, 6), zy, zy ? type_dtype(zy->type) : define_type(d, 0));
}
