/* frontend/sequence.c — sequences and optionals: trees of tensors, taken apart while compiling.
 *
 * A sequence's length and an optional's presence are always known here; what would make them depend on data
 * is reported. Only a position may be computed at run time, among tensors of one shape:
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

/* A position as an expression in [0, n), checked; `otherwise` when it is not given. */
static const Expr *position(Definer *d, int i, int64_t n, int64_t otherwise) {
    Ctx *ctx = d->ctx;
    if (!define_has(d, i))
        return expr_i(ctx, otherwise);
    Buf *b = tensor_in(d, i);
    const Expr *p = b ? define_known(d, b, 0) : NULL;
    if (!p)
        return NULL;
    p = define_scalar(d, "position", p, INT64_MIN, INT64_MAX);
    if (!p)
        return NULL;
    const Expr *zero = expr_i(ctx, 0);
    p = expr_select(ctx, expr_lt(ctx, p, zero), expr_add(ctx, p, expr_i(ctx, n)), p);
    bool ok =
        define_check(d, expr_le(ctx, zero, p), CHECK_INDEX, "a position in a sequence") &&
        define_check(d, expr_lt(ctx, p, expr_i(ctx, n)), CHECK_INDEX, "a position in a sequence");
    return ok ? p : NULL;
}

/* The same, for ops that change the sequence: a constant. */
static bool constant_position(Definer *d, int i, int64_t n, int64_t otherwise, int64_t *at) {
    const Expr *p = position(d, i, n, otherwise);
    return p && (expr_is_int(p, at) ||
                 define_error(d, EXIT_UNSUPPORTED,
                              "the position must be known when compiling: it decides the length or "
                              "the order of a sequence"));
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

bool def_sequence_insert(Definer *d) {
    Val *s = sequence_in(d, 0), *v;
    int64_t at;
    if (!s || !constant_position(d, 2, s->elems.len + 1, s->elems.len, &at))
        return false;
    /* a negative position counts from the end before the insertion */
    if (define_has(d, 2)) {
        int64_t given;
        if (expr_is_int(define_known(d, define_in(d, 2), 0), &given) && given < 0)
            at = given + s->elems.len;
        if (at < 0)
            return define_error(d, EXIT_MALFORMED, "the position is out of range");
    }
    v = sequence_new(d, s->elem_type);
    for (int i = 0; i <= s->elems.len; i++) {
        if (i == at)
            vec_push(d->ctx, &v->elems, d->in[1]);
        if (i < s->elems.len)
            vec_push(d->ctx, &v->elems, s->elems.at[i]);
    }
    define_set_val(d, 0, v);
    return true;
}

bool def_sequence_erase(Definer *d) {
    Val *s = sequence_in(d, 0), *v;
    int64_t at;
    if (!s || !constant_position(d, 1, s->elems.len, s->elems.len - 1, &at))
        return false;
    v = sequence_new(d, s->elem_type);
    for (int i = 0; i < s->elems.len; i++)
        if (i != at)
            vec_push(d->ctx, &v->elems, s->elems.at[i]);
    define_set_val(d, 0, v);
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

bool def_sequence_length(Definer *d) {
    Val *s = sequence_in(d, 0);
    if (!s)
        return false;
    define_set(d, 0, define_const_scalar(d, T_I64, (double)s->elems.len));
    return true;
}

/* The element at a run-time position: all have one shape, and are read lazily. */
static bool select_element(Definer *d, const Val *s, const Expr *at) {
    Ctx *ctx = d->ctx;
    Buf *first = s->elems.at[0]->kind == VAL_TENSOR ? s->elems.at[0]->buf : NULL;
    if (!first)
        return define_error(d, EXIT_UNSUPPORTED, "a run-time position in a nested sequence");
    Def *def = define_out(d, 0, type_dtype(first->type), first->rank, first->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < first->rank; i++)
        index[i] = def_var(ctx, def, i);
    for (int k = s->elems.len - 1; k >= 0; k--) {
        Buf *b = s->elems.at[k]->buf;
        if (!b || b->rank != first->rank || b->type != first->type)
            return define_error(d, EXIT_UNSUPPORTED,
                                "a run-time position among tensors of different ranks or types");
        for (int i = 0; i < b->rank; i++)
            if (!define_same(d, b->dim[i], first->dim[i],
                             "shapes in a sequence that is read at a run-time position"))
                return false;
        const Expr *x = buf_load(ctx, b, index);
        def->value =
            def->value ? expr_select(ctx, expr_eq(ctx, at, expr_i(ctx, k)), x, def->value) : x;
    }
    define_emit(d, def);
    return true;
}

bool def_sequence_at(Definer *d) {
    Val *s = sequence_in(d, 0);
    int64_t known;
    const Expr *at = s ? position(d, 1, s->elems.len, 0) : NULL;
    if (!at)
        return false;
    if (!expr_is_int(at, &known))
        return select_element(d, s, at);
    define_set_val(d, 0, s->elems.at[known]);
    return true;
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
