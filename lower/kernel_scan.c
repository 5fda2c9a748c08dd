/* Scan groups: the sums of a step get a place in registers, and the roles that rules ask for.
 *
 *   before  scan t { hr[t,j] = add(k) h[t-1,k] * R[j,k] ; h[t,j] = tanh(hr[t,j]) }
 *   after   scan t { hr_r[t,j] = add(k) … ; hr[t,j] = hr_r[t,j] ; h[t,j] = tanh(hr[t,j]) }
 *
 * hr_r is read at its own step only, so that it never needs storage for more than a tile. */
#include "lower/kernel_class.h"

#include <string.h>

/* The factor that is a constant of its own order and runs along an axis; NULL. */
static const Expr *constant_factor(const Def *d, int axis) {
    for (int side = 0; side < 2; side++) {
        const Expr *e = d->value->kid[side];
        if (e->op == OP_LOAD && e->u.buf->space == SPACE_CONST && !e->u.buf->where &&
            expr_uses_sym(e, d->axis[axis].var))
            return e;
    }
    return NULL;
}

const Expr *sum_lanes(const Def *sum) {
    return constant_factor(sum, sum->buf->rank - 1);
}

/* An f32 sum of products with a constant at every step. */
static bool is_sum(const Def *d) {
    return !d->at && d->combine == OP_ADD && !d->when && !d->init && def_is_reduction(d) &&
           d->value->op == OP_MUL && d->buf->type == T_F32 && d->buf->rank > 1 &&
           d->axis[0].var == d->scan->var && sum_lanes(d);
}

/* The sum computes a temporary; d becomes the map that copies it. The new Def is returned. */
static Def *wrap_sum(Ctx *ctx, Def *d) {
    int rank = d->buf->rank;
    Def *sum = ctx_new(ctx, Def);
    *sum = *d;
    sum->name = str_f(ctx, "%s_r", d->name);
    sum->buf =
        buf_new(ctx, str_f(ctx, "%s_r", d->buf->name), T_F32, SPACE_ARENA, rank, d->buf->dim);
    sum->buf->def = sum;
    sum->buf->ndef = 1;
    Def *fresh = def_new(ctx, d->name, T_F32, rank, d->buf->dim);
    const Expr *at[RANK_MAX];
    fresh->axis[0] = d->axis[0];
    for (int i = 0; i < rank; i++)
        at[i] = def_var(ctx, fresh, i);
    d->axis = fresh->axis;
    d->naxis = rank;
    d->combine = COMBINE_SET;
    d->value = buf_load(ctx, sum->buf, at);
    return sum;
}

/* ---- one constant a sum ------------------------------------------------------------------------------ */

/* Index i of the load as first + axis, or as first alone: one element. */
static bool index_box(Ctx *ctx, const Def *d, const Expr *index, int64_t *first, int64_t *extent,
                      Sym **axis) {
    *axis = NULL;
    *extent = 1;
    for (int i = 0; i < d->naxis && !*axis; i++)
        *axis = expr_uses_sym(index, d->axis[i].var) ? d->axis[i].var : NULL;
    if (!*axis)
        return expr_is_int(index, first);
    const Expr *coef, *rest;
    return expr_is_int((*axis)->extent, extent) && expr_linear(ctx, index, 1, axis, &coef, &rest) &&
           expr_is(coef, 1) && expr_is_int(rest, first);
}

/* A constant of the elements that the load reads, in their order; NULL when they are no box of an f32. */
static const Expr *constant_box(Lower *lo, const Def *d, const Expr *load, Str suffix) {
    Ctx *ctx = lo->ctx;
    const Buf *b = load->u.buf;
    int64_t first[RANK_MAX], extent[RANK_MAX], dim[RANK_MAX], count = 1;
    const Expr *at[RANK_MAX];
    for (int i = 0; i < b->rank; i++) {
        Sym *axis;
        if (!expr_is_int(b->dim[i], &dim[i]) ||
            !index_box(ctx, d, load->kid[i], &first[i], &extent[i], &axis) || first[i] < 0 ||
            first[i] > dim[i] - extent[i])
            return NULL;
        at[i] = axis ? expr_sym(ctx, axis) : expr_i(ctx, 0);
        count *= extent[i];
    }
    if (!b->data || b->data->splat || b->type != T_F32 || count == 0)
        return NULL;
    const float *old = const_data(ctx, b->data);
    float *fresh = ctx_allocn(ctx, (size_t)count, sizeof *fresh);
    for (int64_t i = 0; i < count; i++) {
        int64_t from = 0, step = 1, left = i;
        for (int a = b->rank; a-- > 0; step *= dim[a], left /= extent[a])
            from += (first[a] + left % extent[a]) * step;
        fresh[i] = old[from];
    }
    Str name = str_f(ctx, "%s.%s%s", b->name, d->name, suffix);
    Buf *box = buf_const(ctx, name, const_new(ctx, T_F32, count, fresh), b->rank, extent);
    vec_push(ctx, &lo->prog->consts, box);
    return buf_load(ctx, box, at);
}

/* Sums of one step that share a constant (the gates of a GRU) get their own parts of it: each is packed in the
 * order of its own loops. */
static void part_constants(Lower *lo, const Kernel *k) {
    bool *shared = ctx_newn(lo->ctx, bool, k->inner.len);
    for (int i = 0; i < k->inner.len; i++)
        for (int j = 0; j < k->inner.len; j++)
            shared[i] |= j != i && sum_lanes(k->inner.at[j]->def)->u.buf ==
                                       sum_lanes(k->inner.at[i]->def)->u.buf;
    for (int i = 0; i < k->inner.len; i++) {
        Def *d = k->inner.at[i]->def;
        Str suffix = "";
        for (int j = 0; j < i; j++)
            if (!strcmp(k->inner.at[j]->def->name, d->name))
                suffix = str_f(lo->ctx, "_%d", i);
        const Expr *load = sum_lanes(d);
        const Expr *box = shared[i] ? constant_box(lo, d, load, suffix) : NULL;
        if (box)
            d->value = expr_mul(lo->ctx, box, d->value->kid[d->value->kid[0] == load]);
    }
}

void scan_normalise(Lower *lo, Kernel *k) {
    Ctx *ctx = lo->ctx;
    Group *g = k->defs.at[0]->scan;
    DefList defs = {0};
    for (int i = 0; g && i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        Def *sum = is_sum(d) ? wrap_sum(ctx, d) : NULL;
        if (sum) {
            vec_push(ctx, &defs, sum);
            vec_push(ctx, &k->inner, sum->buf);
        }
        vec_push(ctx, &defs, d);
    }
    if (!k->inner.len)
        return;
    k->defs.at = g->defs.at = defs.at;
    k->defs.len = k->defs.cap = g->defs.len = g->defs.cap = defs.len;
    part_constants(lo, k);
}

/* ---- roles -------------------------------------------------------------------------------------------- */

Def *sum_of(const Kernel *k, const Def *map) {
    for (int i = 0; i < k->inner.len; i++)
        if (map->value->op == OP_LOAD && map->value->u.buf == k->inner.at[i])
            return k->inner.at[i]->def;
    return NULL;
}

static bool is_inner(const Kernel *k, const Def *d) {
    for (int i = 0; i < k->inner.len; i++)
        if (k->inner.at[i] == d->buf)
            return true;
    return false;
}

void scan_roles(Ctx *ctx, const Kernel *k, Roles *r) {
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i], *sum = sum_of(k, d);
        if (is_inner(k, d) || d->at)
            continue;
        bool map = d->combine == COMBINE_SET && d->buf->type == T_F32 && d->buf->rank > 1 &&
                   !expr_is(d->buf->dim[d->buf->rank - 1], 1);
        if (sum) {
            vec_push(ctx, &r->tiles, d);
            vec_push(ctx, &r->dots, sum);
        } else if (map) {
            vec_push(ctx, &r->wides, d);
        }
        if (sum && (!r->acc || def_volume(ctx, sum, true) > def_volume(ctx, r->acc, true)))
            r->acc = sum;
    }
    if (r->acc)
        r->n = r->acc->buf->rank - 1;
}
