/* frontend/sequence.c — sequences and optionals: trees of tensors, taken apart while compiling.
 *
 * A sequence's length and an optional's presence are always known here; what would make them depend on data
 * is reported. A position may be computed at run time, among tensors of one rank:
 *   y = SequenceAt(s, i)   →   check 0 <= i < 3 ; y[..] = select(i == 0, s0[..], select(i == 1, …)) */
#include "frontend/composite.h"
#include "frontend/control.h"

static Val *sequence_new(Definer *d, Dtype type) {
    Val *v = ctx_new(d->ctx, Val);
    v->kind = VAL_SEQUENCE;
    v->elem_type = type;
    return v;
}

/* Input i as a sequence; NULL after an error. */
static Val *sequence_in(Definer *d, int i) {
    Val *v = d->in[i];
    if (v->kind == VAL_OPTIONAL && v->elems.len == 1)
        v = v->elems.at[0];
    if (v->kind == VAL_SEQUENCE)
        return v;
    define_error(d, EXIT_MALFORMED, "input %d is not a sequence", i);
    return NULL;
}

static Buf *tensor_in(Definer *d, int i) {
    Val *v = d->in[i];
    if (v->kind == VAL_TENSOR)
        return v->buf;
    define_error(d, EXIT_MALFORMED, "input %d is not a tensor", i);
    return NULL;
}

/* A position in [0, places), checked: input i, negative ones counted from `length`; `otherwise` when it is not
 * given. */
static const Expr *position(Definer *d, int i, int64_t length, int64_t places, int64_t otherwise) {
    Ctx *ctx = d->ctx;
    const Expr *p = expr_i(ctx, otherwise), *zero = expr_i(ctx, 0);
    if (define_has(d, i)) {
        Buf *b = tensor_in(d, i);
        p = b ? define_known(d, b, 0) : NULL;
        p = p ? define_scalar(d, "position", p, INT64_MIN, INT64_MAX) : NULL;
        if (!p)
            return NULL;
        p = expr_select(ctx, expr_lt(ctx, p, zero), expr_add(ctx, p, expr_i(ctx, length)), p);
    }
    bool ok = define_check(d, expr_le(ctx, zero, p), CHECK_INDEX, "a position in a sequence") &&
              define_check(d, expr_lt(ctx, p, expr_i(ctx, places)), CHECK_INDEX,
                           "a position in a sequence");
    return ok ? p : NULL;
}

/* ---- choosing at run time ----------------------------------------------------------------------- */

/* One of n tensors of a rank and type: the k-th when at == k, extents and elements alike. Elements are read
 * lazily, so each is read only where it exists. */
static Val *choose(Definer *d, const Expr *at, int n, Val *const *of) {
    Ctx *ctx = d->ctx;
    for (int k = 0; k < n; k++)
        if (!val_same_form(of[0], of[k]) || of[k]->kind != VAL_TENSOR) {
            define_error(d, EXIT_UNSUPPORTED,
                         "a run-time position in a sequence whose tensors differ in rank or type");
            return NULL;
        }
    const Buf *first = of[0]->buf;
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *most = expr_i(ctx, 1);
    for (int i = 0; i < first->rank; i++) {
        const Expr *e = of[n - 1]->buf->dim[i], *max = e;
        for (int k = n - 2; k >= 0; k--) {
            const Expr *x = of[k]->buf->dim[i];
            e = expr_select(ctx, expr_eq(ctx, at, expr_i(ctx, k)), x, e);
            max = expr_max(ctx, max, x);
        }
        dim[i] = define_extent(d, "extent", e, 0, INT64_MAX);
        if (!dim[i])
            return NULL;
        most = expr_mul(ctx, most, max);
    }
    Def *def = define_temp(d, "chosen", type_dtype(first->type), first->rank, dim);
    def->buf->bound = most;
    for (int i = 0; i < first->rank; i++)
        index[i] = def_var(ctx, def, i);
    for (int k = n - 1; k >= 0; k--) {
        const Expr *x = buf_load(ctx, of[k]->buf, index);
        def->value =
            k < n - 1 ? expr_select(ctx, expr_eq(ctx, at, expr_i(ctx, k)), x, def->value) : x;
    }
    define_emit(d, def);
    return define_val(d, def->buf);
}

/* The k-th of those when `at` is a constant. */
static Val *pick(Definer *d, const Expr *at, int n, Val *const *of) {
    int64_t k;
    return expr_is_int(at, &k) ? of[k] : choose(d, at, n, of);
}

/* ---- making and changing --------------------------------------------------------------------------- */

bool def_sequence_empty(Definer *d) {
    Dtype type = type_from_onnx((int)node_int(d->node, "dtype", 1));
    define_set_val(d, 0, sequence_new(d, type));
    return true;
}

bool def_sequence_construct(Definer *d) {
    Val *v = sequence_new(d, define_type(d, 0));
    for (int i = 0; i < d->node->nin; i++) {
        if (!d->in[i])
            return define_error(d, EXIT_MALFORMED, "input %d is missing", i);
        vec_push(d->ctx, &v->elems, d->in[i]);
    }
    define_set_val(d, 0, v);
    return true;
}

/* 0, 1 or 2: `at` lies before k, there, or behind. */
static const Expr *order(Ctx *ctx, const Expr *at, int k) {
    const Expr *e = expr_i(ctx, k);
    return expr_select(ctx, expr_lt(ctx, at, e), expr_i(ctx, 0),
                       expr_select(ctx, expr_eq(ctx, at, e), expr_i(ctx, 1), expr_i(ctx, 2)));
}

bool def_sequence_insert(Definer *d) {
    Val *s = sequence_in(d, 0), *v = sequence_new(d, s ? s->elem_type : T_NONE);
    int n = s ? s->elems.len : 0;
    /* of n + 1 places; a negative one counts from the end of what there was */
    const Expr *at = s ? position(d, 2, n, n + 1, n) : NULL;
    for (int i = 0; at && i <= n;
         i++) { /* one from before the place, the new one, one from behind */
        Val *fresh = d->in[1], *same = i < n ? s->elems.at[i] : fresh;
        Val *shifted = i > 0 ? s->elems.at[i - 1] : fresh;
        Val *e = pick(d, order(d->ctx, at, i), 3, (Val *[]){shifted, fresh, same});
        if (!e)
            return false;
        vec_push(d->ctx, &v->elems, e);
    }
    define_set_val(d, 0, v);
    return at;
}

bool def_sequence_erase(Definer *d) {
    Val *s = sequence_in(d, 0), *v = sequence_new(d, s ? s->elem_type : T_NONE);
    int n = s ? s->elems.len : 0;
    const Expr *at = s ? position(d, 1, n, n, n - 1) : NULL;
    for (int i = 0; at && i < n - 1; i++) {
        Val *next = s->elems.at[i + 1];
        Val *e = pick(d, order(d->ctx, at, i), 3, (Val *[]){next, next, s->elems.at[i]});
        if (!e)
            return false;
        vec_push(d->ctx, &v->elems, e);
    }
    define_set_val(d, 0, v);
    return at;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

bool def_sequence_length(Definer *d) {
    Val *s = sequence_in(d, 0);
    if (!s)
        return false;
    define_set(d, 0, define_const_scalar(d, T_I64, (double)s->elems.len));
    return true;
}

bool def_sequence_at(Definer *d) {
    Val *s = sequence_in(d, 0);
    int n = s ? s->elems.len : 0;
    const Expr *at = s ? position(d, 1, n, n, 0) : NULL;
    Val *v = at ? pick(d, at, n, s->elems.at) : NULL;
    define_set_val(d, 0, v);
    return v;
}

static Attr int_attr(Ctx *ctx, const char *name, int64_t i) {
    return (Attr){.name = str(ctx, name), .kind = ATTR_INT, .i = i};
}

bool def_concat_from_sequence(Definer *d) {
    Val *s = sequence_in(d, 0);
    if (!s)
        return false;
    int n = s->elems.len;
    bool fresh = node_int(d->node, "new_axis", 0) != 0;
    int64_t axis = node_int(d->node, "axis", 0);
    if (n == 0)
        return define_error(d, EXIT_UNSUPPORTED, "an empty sequence has no shape to join");
    Val **in = ctx_newn(d->ctx, Val *, n);
    for (int i = 0; i < n; i++) {
        in[i] = s->elems.at[i];
        if (in[i]->kind != VAL_TENSOR)
            return define_error(d, EXIT_MALFORMED, "element %d is not a tensor", i);
        Val *pair[2] = {in[i], fresh ? define_val(d, define_const_i64(d, 1, &axis)) : NULL};
        if (fresh && !define_op(d, "Unsqueeze", 0, NULL, 2, pair, 1, &in[i]))
            return false;
    }
    Attr a = int_attr(d->ctx, "axis", axis);
    return define_op(d, "Concat", 1, &a, n, in, 1, d->out);
}

/* ---- splitting ----------------------------------------------------------------------------------------- */

/* x[from, from + n) along an axis; without that axis when `drop`. */
static Val *split_part(Definer *d, Buf *x, int axis, const Expr *from, const Expr *n, bool drop) {
    const Expr *dim[RANK_MAX], *index[RANK_MAX];
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (i != axis || !drop)
            dim[rank++] = i == axis ? n : x->dim[i];
    Def *def = define_temp(d, "part", type_dtype(x->type), rank, dim);
    for (int i = 0, o = 0; i < x->rank; i++) {
        const Expr *v = i == axis && drop ? expr_i(d->ctx, 0) : def_var(d->ctx, def, o++);
        index[i] = i == axis ? expr_add(d->ctx, from, v) : v;
    }
    def->value = buf_load(d->ctx, x, index);
    define_emit(d, def);
    return define_val(d, def->buf);
}

/* Parts of constant length; the last may be shorter. */
static bool split_evenly(Definer *d, Buf *x, int axis, int64_t each, bool drop, Val *out) {
    int64_t total;
    if (!expr_is_int(x->dim[axis], &total) || each < 1 || total / each > KNOWN_MAX)
        return define_error(d, EXIT_UNSUPPORTED,
                            "the number of parts must be known when compiling (at most %d)",
                            KNOWN_MAX);
    for (int64_t at = 0; at < total; at += each) {
        int64_t n = total - at < each ? total - at : each;
        vec_push(d->ctx, &out->elems,
                 split_part(d, x, axis, expr_i(d->ctx, at), expr_i(d->ctx, n), drop));
    }
    return true;
}

static bool split_by(Definer *d, Buf *x, int axis, Buf *sizes, Val *out) {
    int64_t n = define_length(d, sizes);
    const Expr *at = expr_i(d->ctx, 0);
    for (int64_t i = 0; i < n; i++) {
        const Expr *size = define_known(d, sizes, i);
        size = size ? define_extent(d, "split", size, 0, INT32_MAX) : NULL;
        if (!size)
            return false;
        vec_push(d->ctx, &out->elems, split_part(d, x, axis, at, size, false));
        at = expr_add(d->ctx, at, size);
    }
    return n >= 0 && define_same(d, at, x->dim[axis], "the sum of the parts");
}

bool def_split_to_sequence(Definer *d) {
    Buf *x = tensor_in(d, 0), *sizes = define_has(d, 1) ? tensor_in(d, 1) : NULL;
    int64_t each = 1;
    if (!x || (define_has(d, 1) && !sizes))
        return false;
    int axis = define_axis(d, node_int(d->node, "axis", 0), x->rank);
    Val *out = sequence_new(d, type_dtype(x->type));
    define_set_val(d, 0, out);
    if (axis < 0)
        return false;
    if (!sizes)
        return split_evenly(d, x, axis, 1, !node_int(d->node, "keepdims", 1), out);
    if (sizes->rank > 0)
        return split_by(d, x, axis, sizes, out);
    if (!known_constant(d->ctx, sizes, &each))
        return define_error(d, EXIT_UNSUPPORTED,
                            "the length of the parts must be known when compiling");
    return split_evenly(d, x, axis, each, false, out);
}

/* ---- SequenceMap --------------------------------------------------------------------------------------- */

bool def_sequence_map(Definer *d) {
    Val *first = sequence_in(d, 0);
    const Attr *body = node_attr(d->node, "body");
    if (!first || !body || !body->graph)
        return first && define_error(d, EXIT_MALFORMED, "attribute 'body' is missing");
    int nin = d->node->nin, nout = d->node->nout;
    Val **in = ctx_newn(d->ctx, Val *, nin), **out = ctx_newn(d->ctx, Val *, nout);
    for (int k = 0; k < nout; k++)
        define_set_val(d, k, sequence_new(d, T_NONE));
    for (int t = 0; t < first->elems.len; t++) {
        for (int i = 0; i < nin; i++) {
            Val *v = d->in[i];
            if (!v || (v->kind == VAL_SEQUENCE && v->elems.len != first->elems.len))
                return define_error(d, EXIT_MALFORMED, "input %d has another length", i);
            in[i] = v->kind == VAL_SEQUENCE ? v->elems.at[t] : v;
        }
        Scope *scope = define_scope(d->ctx, d->scope, d->block);
        if (!define_body(d, body->graph, scope, nin, in, nout, out))
            return false;
        for (int k = 0; k < nout; k++)
            vec_push(d->ctx, &d->out[k]->elems, out[k]);
    }
    return true;
}

/* ---- optionals ------------------------------------------------------------------------------- */

bool def_optional(Definer *d) {
    Val *v = ctx_new(d->ctx, Val);
    v->kind = VAL_OPTIONAL;
    if (define_has(d, 0))
        vec_push(d->ctx, &v->elems, d->in[0]);
    define_set_val(d, 0, v);
    return true;
}

bool def_optional_has_element(Definer *d) {
    bool has = define_has(d, 0) && (d->in[0]->kind != VAL_OPTIONAL || d->in[0]->elems.len);
    define_set(d, 0, define_const_scalar(d, T_BOOL, has));
    return true;
}

bool def_optional_get_element(Definer *d) {
    Val *v = d->in[0];
    if (v->kind == VAL_OPTIONAL && !v->elems.len)
        return define_error(d, EXIT_MALFORMED, "the optional is empty");
    define_set_val(d, 0, v->kind == VAL_OPTIONAL ? v->elems.at[0] : v);
    return true;
}
