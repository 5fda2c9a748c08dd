/* def_shape.c — ops that keep or rearrange elements: casts, constants, shapes and views.
 *
 * Views are pure equations over the input; fusion inlines them to nothing.
 *
 *   Transpose(x f32[N, 4], perm = [1, 0])  →  y[i, j] = x[j, i] */
#include "frontend/index.h"
#include "frontend/reduce.h"

#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

bool def_identity(Definer *d) {
    define_set_val(d, 0, d->in[0]);
    return true;
}

/* A float as f8e8m0 by its exponent; round_mode up (the default), down or nearest. */
static const Expr *cast_e8m0(Definer *d, const Expr *e) {
    Ctx *ctx = d->ctx;
    Str mode = node_str(ctx, d->node, "round_mode", "up");
    e = expr_cast(ctx, T_F32, e);
    e = expr_cast(ctx, T_I64, expr_op(ctx, OP_BITCAST, T_U32, 1, &e));
    const Expr *unit = expr_i(ctx, 1 << 23), *zero = expr_i(ctx, 0), *top = expr_i(ctx, 254);
    const Expr *exponent = expr_mod(ctx, expr_fdiv(ctx, e, unit), expr_i(ctx, 256));
    const Expr *rest = expr_mod(ctx, e, unit), *half = expr_i(ctx, 1 << 22);
    const Expr *tie = expr_and(ctx, expr_eq(ctx, rest, half), expr_lt(ctx, zero, exponent));
    const Expr *more = !strcmp(mode, "down") ? expr_bool(ctx, false)
                       : !strcmp(mode, "up") ? expr_lt(ctx, zero, rest)
                                             : expr_or(ctx, expr_lt(ctx, half, rest), tie);
    const Expr *up = expr_add(ctx, exponent, expr_cast(ctx, T_I64, more));
    if (node_int(d->node, "saturate", 1))
        up = expr_min(ctx, up, top);
    const Expr *special = expr_eq(ctx, exponent, expr_i(ctx, 255));
    e = expr_cast(ctx, T_U8, expr_select(ctx, special, exponent, up));
    return expr_op(ctx, OP_BITCAST, T_F8E8M0, 1, &e);
}

/* Casts from floats to integers below 8 bits keep the low bits, as casts between integers do. */
static const Expr *cast_value(Definer *d, Dtype to, const Expr *e) {
    Dtype from = type_dtype(e->type);
    if (to == T_F8E8M0 && type_is_float(from))
        return cast_e8m0(d, e);
    if (type_is_float(from) && (to == T_I4 || to == T_U4 || to == T_I2 || to == T_U2))
        e = expr_cast(d->ctx, T_I64, e);
    return node_int(d->node, "saturate", 1) ? expr_cast(d->ctx, to, e)
                                            : expr_op(d->ctx, OP_CASTW, to, 1, &e);
}

static bool cast_to(Definer *d, Dtype to) {
    Buf *x = define_in(d, 0);
    Dtype from = define_type(d, 0);
    const Expr *index[RANK_MAX];
    if (to == T_NONE || type_kind(to) == 'C' || type_kind(from) == 'C')
        return define_error(d, EXIT_UNSUPPORTED, "casts to or from this type");
    if (to == from) {
        define_set(d, 0, x);
        return true;
    }
    if (to == T_STR || from == T_STR)
        return define_error(d, EXIT_UNSUPPORTED, "casts between text and numbers");
    Def *def = define_out(d, 0, to, x->rank, x->dim);
    index_vars(d, def, index);
    def->value = cast_value(d, to, buf_load(d->ctx, x, index));
    def->buf->bound = x->bound;
    define_emit(d, def);
    return true;
}

bool def_cast(Definer *d) {
    return cast_to(d, type_from_onnx((int)node_int(d->node, "to", 0)));
}

bool def_cast_like(Definer *d) {
    return cast_to(d, define_type(d, 1));
}

bool def_bit_cast(Definer *d) {
    Buf *x = define_in(d, 0);
    Dtype to = type_from_onnx((int)node_int(d->node, "to", 0)), from = define_type(d, 0);
    const Expr *index[RANK_MAX];
    if (to == T_NONE || type_bytes(to) != type_bytes(from) || from == T_STR || to == T_STR)
        return define_error(d, EXIT_MALFORMED, "the types have different widths");
    Def *def = define_out(d, 0, to, x->rank, x->dim);
    index_vars(d, def, index);
    const Expr *e = buf_load(d->ctx, x, index);
    def->value = to == from ? e : expr_op(d->ctx, OP_BITCAST, to, 1, &e);
    define_emit(d, def);
    return true;
}

/* A literal made of an attribute's numbers or strings. */
static const Literal *list_literal(Definer *d, Dtype t, int n, bool scalar, const void *data) {
    Literal *l = ctx_new(d->ctx, Literal);
    l->rank = scalar ? 0 : 1;
    l->dim[0] = n;
    l->name = d->node->nout && d->node->out[0] ? d->node->out[0]->name : NULL;
    l->data = const_new(d->ctx, t, n, data);
    return l;
}

static const Literal *attr_literal(Definer *d, const Attr *a) {
    float *f;
    switch (a->kind) {
    case ATTR_TENSOR:
    case ATTR_SPARSE:
        return a->tensor;
    case ATTR_INT:
        return list_literal(d, T_I64, 1, true, &a->i);
    case ATTR_INTS:
        return list_literal(d, T_I64, a->n, false, a->ints);
    case ATTR_STRING:
        return list_literal(d, T_STR, 1, true, &a->s);
    case ATTR_STRINGS:
        return list_literal(d, T_STR, a->n, false, a->strings);
    case ATTR_FLOAT:
    case ATTR_FLOATS:
        f = ctx_newn(d->ctx, float, a->n + 1);
        f[0] = (float)a->f;
        for (int i = 0; a->kind == ATTR_FLOATS && i < a->n; i++)
            f[i] = (float)a->floats[i];
        return list_literal(d, T_F32, a->kind == ATTR_FLOAT ? 1 : a->n, a->kind == ATTR_FLOAT, f);
    default:
        return NULL;
    }
}

bool def_constant(Definer *d) {
    const Literal *l = d->node->nattr ? attr_literal(d, &d->node->attr[0]) : NULL;
    if (!l)
        return define_error(d, EXIT_MALFORMED, "a constant without a value");
    define_set(d, 0, define_literal(d->state, l));
    return true;
}

/* The elements of a shape operand as extents; -1 after an error. */
static int known_dims(Definer *d, Buf *shape, const Expr **dim) {
    int64_t n = define_length(d, shape);
    if (n < 0 || !define_rank(d, n))
        return -1;
    for (int i = 0; i < (int)n; i++) {
        dim[i] = define_extent(d, "extent", define_known(d, shape, i), 0, INT64_MAX);
        if (!dim[i])
            return -1;
    }
    return (int)n;
}

bool def_constant_of_shape(Definer *d) {
    const Expr *dim[RANK_MAX];
    const Attr *value = node_attr(d->node, "value");
    int rank = known_dims(d, define_in(d, 0), dim);
    if (rank < 0)
        return false;
    if (value && (!value->tensor || value->tensor->data->count != 1))
        return define_error(d, EXIT_MALFORMED, "value must hold one element");
    Dtype t = value ? value->tensor->data->type : T_F32;
    Def *def = define_out(d, 0, t, rank, dim);
    if (t == T_STR)
        return define_error(d, EXIT_UNSUPPORTED, "constants of text");
    def->value = value ? const_at(d->ctx, value->tensor->data, 0) : expr_const(d->ctx, t, 0);
    define_emit(d, def);
    return true;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Output 0 is a 1-D (or with n < 0 a rank 0) i64 tensor of the given elements. */
static bool emit_elements(Definer *d, int n, const Expr *const *e) {
    int64_t v[RANK_MAX + 1];
    int known = 0, count = n < 0 ? 1 : n;
    while (known < count && expr_is_int(e[known], &v[known]))
        known++;
    if (known == count) {
        const Literal *l = list_literal(d, T_I64, count, n < 0, ctx_copy(d->ctx, v, sizeof v));
        define_set(d, 0, define_literal(d->state, l));
        return true;
    }
    const Expr *dim = expr_i(d->ctx, count);
    Def *def = define_out(d, 0, T_I64, n < 0 ? 0 : 1, &dim);
    const Expr *value = e[count - 1];
    for (int i = count - 2; i >= 0; i--)
        value = expr_select(d->ctx, expr_eq(d->ctx, def_var(d->ctx, def, 0), expr_i(d->ctx, i)),
                            e[i], value);
    def->value = value;
    define_emit(d, def);
    return true;
}

static int64_t clamp_axis(int64_t a, int rank) {
    a = a < 0 ? a + rank : a;
    return a < 0 ? 0 : a > rank ? rank : a;
}

bool def_shape(Definer *d) {
    Buf *x = define_in(d, 0);
    int64_t from = clamp_axis(node_int(d->node, "start", 0), x->rank);
    int64_t to = clamp_axis(node_int(d->node, "end", x->rank), x->rank);
    return emit_elements(d, to > from ? (int)(to - from) : 0, x->dim + (to > from ? from : 0));
}

bool def_size(Definer *d) {
    const Expr *n = buf_count(d->ctx, define_in(d, 0));
    return emit_elements(d, -1, &n);
}

/* ---- reshape --------------------------------------------------------------------------------- */

/* n divided by the dims of a shape but for entry `skip`: equal factors cancel, the rest is divided. */
static const Expr *divide_dims(Definer *d, const Buf *x, int rank, const Expr *const *dim,
                               int skip) {
    Ctx *ctx = d->ctx;
    bool used[RANK_MAX] = {false};
    const Expr *num = expr_i(ctx, 1), *den = num;
    for (int j = 0; j < rank; j++) {
        int i = 0;
        while (i < x->rank && (used[i] || x->dim[i] != dim[j] || expr_is(dim[j], 0)))
            i++;
        if (j != skip && i < x->rank)
            used[i] = true;
        else if (j != skip)
            den = expr_mul(ctx, den, dim[j]);
    }
    for (int i = 0; i < x->rank; i++)
        if (!used[i])
            num = expr_mul(ctx, num, x->dim[i]);
    const Expr *q = expr_fdiv(ctx, num, den);
    if (!define_same(d, expr_mul(ctx, q, den), num, "the number of elements"))
        return NULL;
    return define_extent(d, "extent", q, 0, INT64_MAX);
}

static const Expr *zero_node(Ctx *ctx, const Expr *e, void *sym) {
    return e->op == OP_SYM && e->u.sym == sym ? expr_i(ctx, 0) : e;
}

/* Is x empty whenever e, a dimension of the model, is 0? */
static bool empties(Definer *d, const Expr *e, const Buf *x) {
    return e->op == OP_SYM && e->u.sym->kind == SYM_DIM &&
           expr_is(expr_map(d->ctx, buf_count(d->ctx, x), zero_node, e->u.sym), 0);
}

/* One entry of a shape operand: an extent, or with *infer set the one to be computed. An entry 0 repeats the
 * input's extent; not so a dimension that is 0 together with the input: the output must be empty, too. */
static const Expr *shape_entry(Definer *d, const Buf *x, int j, const Expr *e, bool allowzero,
                               bool *infer) {
    Ctx *ctx = d->ctx;
    int64_t v;
    const Expr *same = j < x->rank && !allowzero ? x->dim[j] : NULL;
    *infer = false;
    if (expr_is_int(e, &v)) {
        *infer = v == -1;
        if (v == -1)
            return e;
        if (v == 0 && !allowzero && !same) {
            define_error(d, EXIT_MALFORMED, "shape: 0 at axis %d, which the input does not have",
                         j);
            return NULL;
        }
        return v == 0 && same ? same : define_extent(d, "shape", e, 0, INT64_MAX);
    }
    Range r = expr_range(ctx, e);
    if (same && r.min <= 0 && !empties(d, e, x))
        e = expr_select(ctx, expr_eq(ctx, e, expr_i(ctx, 0)), same, e);
    return e;
}

/* May the entry turn out to be -1 at run time? Sums over dims never mean it. */
static bool may_infer(Definer *d, const Expr *e) {
    return expr_uses_buf(e, NULL) && expr_range(d->ctx, e).min < 0;
}

bool def_reshape(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *shape = define_in(d, 1);
    bool allowzero = node_int(d->node, "allowzero", 0) != 0, infer;
    int64_t n = define_length(d, shape);
    int minus = -1;
    const Expr *dim[RANK_MAX], *rest = expr_i(ctx, 1);
    if (n < 0 || !define_rank(d, n))
        return false;
    for (int j = 0; j < (int)n; j++) {
        const Expr *e = define_known(d, shape, j);
        dim[j] = e ? shape_entry(d, x, j, e, allowzero, &infer) : NULL;
        if (!dim[j])
            return false;
        if (infer && minus >= 0)
            return define_error(d, EXIT_MALFORMED, "shape: -1 twice");
        minus = infer ? j : minus;
    }
    const Expr *one = expr_i(ctx, 1), *none = expr_i(ctx, -1), *entry[RANK_MAX];
    for (int j = 0; j < (int)n; j++) {
        bool may = may_infer(d, dim[j]);
        entry[j] = may ? define_scalar(d, "entry", dim[j], -1, INT64_MAX) : dim[j];
        const Expr *f =
            may ? expr_select(ctx, expr_eq(ctx, entry[j], none), one, entry[j]) : entry[j];
        rest = j == minus ? rest : expr_mul(ctx, rest, f);
    }
    for (int j = 0; j < (int)n; j++) {
        const Expr *left = expr_fdiv(ctx, buf_count(ctx, x), rest);
        if (may_infer(d, dim[j]))
            dim[j] = expr_select(ctx, expr_eq(ctx, entry[j], none), left, entry[j]);
        if (j != minus)
            dim[j] = define_extent(d, "extent", dim[j], 0, INT64_MAX);
        if (!dim[j])
            return false;
    }
    if (minus >= 0 && !(dim[minus] = divide_dims(d, x, (int)n, dim, minus)))
        return false;
    const Expr *count = one;
    for (int j = 0; j < (int)n; j++)
        count = expr_mul(ctx, count, dim[j]);
    if (minus < 0 && !define_same(d, count, buf_count(ctx, x), "the number of elements"))
        return false;
    return reshape_into(d, 0, x, (int)n, dim);
}

bool def_flatten(Definer *d) {
    Buf *x = define_in(d, 0);
    const Expr *dim[2] = {expr_i(d->ctx, 1), expr_i(d->ctx, 1)};
    int64_t axis = node_int(d->node, "axis", 1);
    if (axis < -x->rank || axis > x->rank)
        return define_error(d, EXIT_MALFORMED, "axis %lld is out of range", (long long)axis);
    axis = axis < 0 ? axis + x->rank : axis;
    for (int i = 0; i < x->rank; i++)
        dim[i >= axis] = expr_mul(d->ctx, dim[i >= axis], x->dim[i]);
    return reshape_into(d, 0, x, 2, dim);
}

bool def_squeeze(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *axes = define_in(d, 1);
    int64_t one[RANK_MAX];
    int n = 0;
    for (int a = 0; a < x->rank && !axes; a++)
        if (expr_is(x->dim[a], 1))
            one[n++] = a;
    Reduce r;
    if (!reduce_begin(d, &r, x, axes ? axes : define_const_i64(d, n, one), false, true))
        return false;
    const Expr *index[RANK_MAX];
    Def *def = define_out(d, 0, define_type(d, 0), r.rank, r.dim);
    for (int a = 0; a < x->rank; a++) {
        if (!define_same(d, r.extent[a], expr_i(ctx, 1), "a squeezed axis"))
            return false;
        index[a] = expr_i(ctx, 0);
        for (int o = 0; o < r.rank; o++) {
            const Expr *here = expr_and(ctx, expr_eq(ctx, r.red[a], expr_i(ctx, 0)),
                                        expr_eq(ctx, r.place[a], expr_i(ctx, o)));
            index[a] = expr_select(ctx, here, def_var(ctx, def, o), index[a]);
        }
    }
    bound_like(d, def, x);
    return view_emit(d, def, x, index);
}

/* added[o] = 1 when output axis o is a new one; from[o]: the input axis it is otherwise. */
static bool unsqueeze_axes(Definer *d, Buf *axes, int rank, const Expr **added, const Expr **from) {
    Ctx *ctx = d->ctx;
    int64_t n = define_length(d, axes);
    const Expr *before = expr_i(ctx, 0);
    for (int o = 0; o < rank; o++) {
        added[o] = expr_bool(ctx, false);
        for (int64_t j = 0; j < n; j++) {
            const Expr *e = define_known(d, axes, j);
            if (!e)
                return false;
            const Expr *ok = expr_and(ctx, expr_le(ctx, expr_i(ctx, -rank), e),
                                      expr_lt(ctx, e, expr_i(ctx, rank)));
            if (!define_check(d, ok, CHECK_INDEX, "axes"))
                return false;
            const Expr *here = expr_or(ctx, expr_eq(ctx, e, expr_i(ctx, o)),
                                       expr_eq(ctx, e, expr_i(ctx, o - rank)));
            added[o] = expr_or(ctx, added[o], here);
        }
        added[o] = define_scalar(d, "added", expr_cast(ctx, T_I64, added[o]), 0, 1);
        if (!added[o])
            return false;
        from[o] = expr_sub(ctx, expr_i(ctx, o), before);
        before = expr_add(ctx, before, added[o]);
    }
    return define_same(d, before, expr_i(ctx, n), "axes named twice");
}

bool def_unsqueeze(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    int64_t n = define_length(d, define_in(d, 1));
    const Expr *added[RANK_MAX], *from[RANK_MAX], *dim[RANK_MAX], *index[RANK_MAX];
    if (n < 0 || !define_rank(d, x->rank + n) ||
        !unsqueeze_axes(d, define_in(d, 1), x->rank + (int)n, added, from))
        return false;
    int rank = x->rank + (int)n;
    for (int o = 0; o < rank; o++) {
        dim[o] = expr_i(ctx, 1);
        for (int a = 0; a < x->rank; a++)
            dim[o] = expr_select(ctx, expr_eq(ctx, from[o], expr_i(ctx, a)), x->dim[a], dim[o]);
        dim[o] = expr_select(ctx, expr_eq(ctx, added[o], expr_i(ctx, 1)), expr_i(ctx, 1), dim[o]);
        dim[o] = define_extent(d, "extent", dim[o], 0, INT64_MAX);
        if (!dim[o])
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), rank, dim);
    for (int a = 0; a < x->rank; a++) {
        index[a] = expr_i(ctx, 0);
        for (int o = 0; o < rank; o++) {
            const Expr *here = expr_and(ctx, expr_eq(ctx, added[o], expr_i(ctx, 0)),
                                        expr_eq(ctx, from[o], expr_i(ctx, a)));
            index[a] = expr_select(ctx, here, def_var(ctx, def, o), index[a]);
        }
    }
    bound_like(d, def, x);
    return view_emit(d, def, x, index);
}

bool def_transpose(Definer *d) {
    Buf *x = define_in(d, 0);
    int n;
    const int64_t *perm = node_ints(d->node, "perm", &n);
    const Expr *dim[RANK_MAX], *index[RANK_MAX] = {NULL};
    if (perm && n != x->rank)
        return define_error(d, EXIT_MALFORMED, "perm has %d entries for rank %d", n, x->rank);
    for (int o = 0; o < x->rank; o++) {
        int a = perm ? define_axis(d, perm[o], x->rank) : x->rank - 1 - o;
        if (a < 0)
            return false;
        if (index[a])
            return define_error(d, EXIT_MALFORMED, "perm names axis %d twice", a);
        dim[o] = index[a] = x->dim[a];
    }
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    for (int o = 0; o < x->rank; o++)
        index[perm ? define_axis(d, perm[o], x->rank) : x->rank - 1 - o] = def_var(d->ctx, def, o);
    def->buf->bound = x->bound;
    return view_emit(d, def, x, index);
}

bool def_expand(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0), *shape = define_in(d, 1);
    int64_t n = define_length(d, shape);
    int rank = n > x->rank ? (int)n : x->rank;
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *one = expr_i(ctx, 1);
    if (n < 0 || !define_rank(d, n))
        return false;
    for (int o = 0; o < rank; o++) {
        int a = o - (rank - x->rank), j = o - (rank - (int)n);
        const Expr *s = j < 0 ? one : define_known(d, shape, j), *e = a < 0 ? one : x->dim[a];
        if (!s)
            return false;
        const Expr *ok = expr_or(ctx, expr_eq(ctx, s, one), expr_eq(ctx, e, one));
        if (s != e && !define_check(d, expr_or(ctx, ok, expr_eq(ctx, s, e)), CHECK_DIM, "shape"))
            return false;
        s = s == e ? e : expr_select(ctx, expr_eq(ctx, s, one), e, s);
        dim[o] = define_extent(d, "extent", s, 0, INT64_MAX);
        if (!dim[o])
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), rank, dim);
    for (int a = 0; a < x->rank; a++) {
        int o = a + rank - x->rank;
        const Expr *i = def_var(ctx, def, o);
        index[a] = dim[o] == x->dim[a]
                       ? i
                       : expr_select(ctx, expr_eq(ctx, x->dim[a], one), expr_i(ctx, 0), i);
    }
    return view_emit(d, def, x, index);
}

bool def_tile(Definer *d) {
    Ctx *ctx = d->ctx;
    Buf *x = define_in(d, 0);
    const Expr *dim[RANK_MAX], *index[RANK_MAX];
    if (define_length(d, define_in(d, 1)) != x->rank)
        return define_error(d, EXIT_MALFORMED, "repeats must have one entry an axis");
    for (int a = 0; a < x->rank; a++) {
        const Expr *r = define_known(d, define_in(d, 1), a);
        dim[a] = r ? define_extent(d, "extent", expr_mul(ctx, x->dim[a], r), 0, INT64_MAX) : NULL;
        if (!dim[a])
            return false;
    }
    Def *def = define_out(d, 0, define_type(d, 0), x->rank, dim);
    for (int a = 0; a < x->rank; a++) {
        const Expr *i = def_var(ctx, def, a);
        index[a] = dim[a] == x->dim[a] ? i : expr_mod(ctx, i, x->dim[a]);
    }
    return view_emit(d, def, x, index);
}
