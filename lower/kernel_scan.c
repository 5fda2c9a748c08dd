/* Scan groups: the sums of a step get a place in registers, and the roles that rules ask for.
 *
 *   before  scan t { hr[t,j] = add(k) h[t-1,k] * R[j,k] ; h[t,j] = tanh(hr[t,j]) }
 *   after   scan t { hr_r[t,j] = add(k) … ; hr[t,j] = hr_r[t,j] ; h[t,j] = tanh(hr[t,j]) }
 *
 * hr_r is read at its own step only, so that it never needs storage for more than a tile. */
#include "lower/kernel_class.h"

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

void scan_normalise(Ctx *ctx, Kernel *k) {
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
