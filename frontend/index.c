/* index.c — helpers of definers that compute indices: known elements, checks of index data, reshapes.
 *
 * Index data comes from the model's user and is never trusted: the index used is clamped into bounds,
 * and a Def over all of it makes the run fail when one was out of range:
 *   y[i] = x[clamp(idx[i])]  with  ok = and(i) -n <= idx[i] && idx[i] < n ; check ok else LCC_EINDEX */
#include "frontend/index.h"

#include <string.h>

void index_vars(Definer *d, const Def *def, const Expr **index) {
    for (int i = 0; i < def->buf->rank; i++)
        index[i] = def_var(d->ctx, def, i);
}

const Expr *index_min(Definer *d, const Expr *a, const Expr *b) {
    if (expr_proves(d->ctx, expr_le(d->ctx, a, b)))
        return a;
    return expr_proves(d->ctx, expr_le(d->ctx, b, a)) ? b : expr_min(d->ctx, a, b);
}

const Expr *index_max(Definer *d, const Expr *a, const Expr *b) {
    if (expr_proves(d->ctx, expr_le(d->ctx, a, b)))
        return b;
    return expr_proves(d->ctx, expr_le(d->ctx, b, a)) ? a : expr_max(d->ctx, a, b);
}

const Expr *index_clamp(Definer *d, const Expr *e, const Expr *lo, const Expr *hi) {
    return index_max(d, lo, index_min(d, e, hi));
}

const Expr *index_wrap(Definer *d, const Expr *e, const Expr *n) {
    return expr_select(d->ctx, expr_lt(d->ctx, e, expr_i(d->ctx, 0)), expr_add(d->ctx, e, n), e);
}

/* ---- checks of index data -------------------------------------------------------------------- */

/* The smallest and largest element of constant integer data. */
static bool const_range(const Const *c, int64_t *min, int64_t *max) {
    int64_t n = c->splat && c->count ? 1 : c->count;
    if (c->type != T_I64 && c->type != T_I32)
        return false;
    *min = INT64_MAX;
    *max = INT64_MIN;
    for (int64_t i = 0; i < n; i++) {
        int64_t v;
        if (c->type == T_I64) {
            memcpy(&v, (const char *)c->data + i * 8, 8);
        } else {
            int32_t w;
            memcpy(&w, (const char *)c->data + i * 4, 4);
            v = w;
        }
        *min = v < *min ? v : *min;
        *max = v > *max ? v : *max;
    }
    return true;
}

/* The range of all elements, as far as it is known when compiling. */
static Range index_range(Definer *d, Buf *b) {
    Range r = {INT64_MAX, INT64_MIN};
    int64_t n;
    if (b->data && const_range(b->data, &r.min, &r.max))
        return r;
    const Expr *const *known = buf_known(d->ctx, b);
    if (!known || !buf_static(b, &n))
        return (Range){type_min(type_dtype(b->type)), type_max(type_dtype(b->type))};
    for (int64_t i = 0; i < n; i++) {
        Range e = expr_range(d->ctx, known[i]);
        r.min = e.min < r.min ? e.min : r.min;
        r.max = e.max > r.max ? e.max : r.max;
    }
    return r;
}

Def *index_check_begin(Definer *d, int rank, const Expr *const *dim, const Expr **index) {
    Def *ok = define_temp(d, "ok", T_BOOL, 0, NULL);
    for (int i = 0; i < rank; i++)
        index[i] = def_axis(d->ctx, ok, str_f(d->ctx, "i%d", i), AXIS_RED, dim[i]);
    if (rank)
        ok->combine = OP_AND;
    return ok;
}

void index_check_end(Definer *d, Def *def, int code) {
    if (expr_is(def->value, 1))
        return;
    define_emit(d, def);
    Item *it = item_new(d->ctx, d->block, ITEM_CHECK);
    it->e = buf_load(d->ctx, def->buf, NULL);
    it->code = (uint8_t)code;
    it->origin = d->origin;
}

bool index_check(Definer *d, Buf *index, const Expr *n, IndexClass *cls) {
    Ctx *ctx = d->ctx;
    if (!type_is_int(type_dtype(index->type)))
        return define_error(d, EXIT_MALFORMED, "indices '%s' are not integers", index->name);
    Range r = index_range(d, index);
    const Expr *zero = expr_i(ctx, 0);
    const Expr *low = expr_le(ctx, expr_sub(ctx, zero, n), expr_i(ctx, r.min));
    const Expr *high = expr_lt(ctx, expr_i(ctx, r.max), n);
    int64_t size;
    if (r.min > r.max || (r.min != INT64_MIN && expr_proves(ctx, expr_and(ctx, low, high)))) {
        *cls = r.min >= 0 ? INDEX_PLAIN : INDEX_WRAP;
        return true;
    }
    if (index->data && expr_is_int(n, &size))
        return define_error(d, EXIT_MALFORMED, "indices from %lld to %lld into an extent of %lld",
                            (long long)r.min, (long long)r.max, (long long)size);
    *cls = INDEX_WILD;
    const Expr *at[RANK_MAX];
    Def *ok = index_check_begin(d, index->rank, index->dim, at);
    const Expr *e = expr_cast(ctx, T_I64, buf_load(ctx, index, at));
    ok->value = expr_and(ctx, expr_le(ctx, expr_sub(ctx, zero, n), e), expr_lt(ctx, e, n));
    index_check_end(d, ok, CHECK_INDEX);
    return true;
}

const Expr *index_safe(Definer *d, const Expr *load, const Expr *n, IndexClass cls) {
    Ctx *ctx = d->ctx;
    const Expr *e = expr_cast(ctx, T_I64, load);
    if (cls != INDEX_PLAIN)
        e = index_wrap(d, e, n);
    if (cls == INDEX_WILD)
        e = index_clamp(d, e, expr_i(ctx, 0), expr_sub(ctx, n, expr_i(ctx, 1)));
    return e;
}

/* ---- views ----------------------------------------------------------------------------------- */

static void look_bind(void *data, const Expr *e) {
    if (e->op == OP_SYM && e->u.sym->kind != SYM_DIM)
        *(bool *)data = true;
}

bool dims_bound(Definer *d, int rank, const Expr *const *dim) {
    bool bound = false;
    for (int i = 0; i < rank; i++)
        expr_walk(d->ctx, dim[i], look_bind, &bound);
    return bound;
}

void bound_like(Definer *d, Def *def, const Buf *like) {
    if (dims_bound(d, def->buf->rank, def->buf->dim))
        def->buf->bound = like->bound ? like->bound : buf_count(d->ctx, like);
}

bool view_emit(Definer *d, Def *def, Buf *x, const Expr *const *index) {
    def->value = buf_load(d->ctx, x, index);
    define_emit(d, def);
    return true;
}

/* Axes [i0, i1) of the input are axes [j0, j1) of the output, row-major. */
static void reshape_group(Definer *d, const Buf *x, int i0, int i1, const Def *def, int j0, int j1,
                          const Expr **index) {
    Ctx *ctx = d->ctx;
    const Expr *flat = expr_i(ctx, 0);
    for (int j = j0; j < j1; j++)
        flat = expr_add(ctx, expr_mul(ctx, flat, def->buf->dim[j]), def_var(ctx, def, j));
    for (int i = i1 - 1; i > i0; i--) {
        index[i] = expr_mod(ctx, flat, x->dim[i]);
        flat = expr_fdiv(ctx, flat, x->dim[i]);
    }
    if (i1 > i0)
        index[i0] = flat;
}

/* The smallest groups of axes that hold equally many elements: *i1, *j1 past the next group's end. */
static void next_group(Definer *d, const Buf *x, int i, const Buf *y, int j, int *i1, int *j1) {
    Ctx *ctx = d->ctx;
    int best = 2 * RANK_MAX + 1;
    const Expr *a = expr_i(ctx, 1);
    *i1 = x->rank;
    *j1 = y->rank;
    for (int p = i; p < x->rank; p++) {
        a = expr_mul(ctx, a, x->dim[p]);
        const Expr *b = expr_i(ctx, 1);
        for (int q = j; q < y->rank; q++) {
            b = expr_mul(ctx, b, y->dim[q]);
            if (a == b && p + q - i - j < best) {
                best = p + q - i - j;
                *i1 = p + 1;
                *j1 = q + 1;
            }
        }
    }
}

bool reshape_into(Definer *d, int out, Buf *x, int rank, const Expr *const *dim) {
    const Expr *index[RANK_MAX];
    Def *def = define_out(d, out, type_dtype(x->type), rank, dim);
    bound_like(d, def, x);
    int i = 0, j = 0, i1, j1;
    while (i < x->rank || j < rank) {
        if (i < x->rank && expr_is(x->dim[i], 1)) {
            index[i++] = expr_i(d->ctx, 0);
            continue;
        }
        if (j < rank && expr_is(dim[j], 1)) {
            j++;
            continue;
        }
        next_group(d, x, i, def->buf, j, &i1, &j1);
        reshape_group(d, x, i, i1, def, j, j1, index);
        i = i1;
        j = j1;
    }
    return view_emit(d, def, x, index);
}

const Expr *index_known(Definer *d, Buf *b, int64_t i) {
    const Expr *const *known = buf_known(d->ctx, b);
    if (known)
        return known[i];
    if (b->rank <= 1) {
        const Expr *at = expr_i(d->ctx, i);
        return buf_load(d->ctx, b, &at);
    }
    define_error(d, EXIT_UNSUPPORTED, "the elements of '%s' are needed to know a shape", b->name);
    return NULL;
}
