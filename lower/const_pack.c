/* The data of constants whose storage order a schedule chose: moved here, once, at compile time.
 *
 *   before  w const f32[2,3] where i1*2 + i0        after  packed data in that order, gaps filled */
#include "lower/lower.h"

#include <string.h>

/* The value of an offset at an index; false when it holds something else than arithmetic on it. */
static bool offset_at(const Buf *b, const Expr *e, const int64_t *index, int64_t *v) {
    int64_t x, y;
    if (expr_is_int(e, v))
        return true;
    for (int i = 0; e->op == OP_SYM && i < b->rank; i++)
        if (e->u.sym == b->dimvar[i]) {
            *v = index[i];
            return true;
        }
    if (e->nkid != 2 || !offset_at(b, e->kid[0], index, &x) || !offset_at(b, e->kid[1], index, &y))
        return false;
    bool division = x >= 0 && y > 0;
    switch (e->op) {
    case OP_ADD:
        return add_ok(x, y, v);
    case OP_MUL:
        return mul_ok(x, y, v);
    case OP_FDIV:
        *v = division ? x / y : 0;
        return division;
    case OP_MOD:
        *v = division ? x % y : 0;
        return division;
    default:
        return false;
    }
}

/* `where` is a sum of functions of one index each (packing, permuting, padding all are): one table each. */
static int64_t **offset_tables(Ctx *ctx, const Buf *b, const int64_t *dim) {
    int64_t **table = ctx_newn(ctx, int64_t *, b->rank), at[RANK_MAX] = {0}, base;
    bool ok = offset_at(b, b->where, at, &base);
    for (int i = 0; i < b->rank; i++) {
        table[i] = ctx_newn(ctx, int64_t, dim[i]);
        for (at[i] = 0; at[i] < dim[i] && ok; at[i]++) {
            ok = offset_at(b, b->where, at, &table[i][at[i]]);
            table[i][at[i]] -= i ? base : 0;
        }
        at[i] = 0;
    }
    if (!ok)
        internal_error(ctx, "the storage order of constant %s is not constant", b->name);
    return table;
}

/* How many elements from each position of the last dimension on stay side by side. */
static int64_t *run_lengths(Ctx *ctx, const int64_t *table, int64_t n) {
    int64_t *run = ctx_newn(ctx, int64_t, n);
    for (int64_t i = n; i-- > 0;)
        run[i] = i + 1 < n && table[i + 1] == table[i] + 1 ? run[i + 1] + 1 : 1;
    return run;
}

/* One row along the last dimension. */
static void pack_row(const Const *data, size_t bytes, const int64_t *table, const int64_t *run,
                     int64_t n, char *out, const char *in) {
    for (int64_t i = 0; i < n;) {
        int64_t k = data->splat ? 1 : run[i];
        memcpy(out + (size_t)table[i] * bytes, in, (size_t)k * bytes);
        in += data->splat ? 0 : (size_t)k * bytes;
        i += k;
    }
}

static const Const *pack_const(Ctx *ctx, const Buf *b) {
    int64_t dim[RANK_MAX], count, size, index[RANK_MAX] = {0};
    if (b->rank == 0 || !buf_dims(b, dim) || !buf_static(b, &count) || !expr_is_int(b->size, &size))
        internal_error(ctx, "constant %s has no constant shape", b->name);
    int64_t **table = offset_tables(ctx, b, dim);
    Dtype t = type_dtype(b->type);
    size_t bytes = (size_t)type_bytes(t);
    char *out = ctx_allocn(ctx, (size_t)size, bytes);
    const char *in = b->data->data;
    for (int64_t i = 0; i < size && b->fill && !expr_is(b->fill, 0); i++)
        const_put(t, out, i, b->fill);
    int last = b->rank - 1;
    int64_t n = dim[last], *run = run_lengths(ctx, table[last], n);
    for (int64_t done = 0; done < count; done += n) {
        size_t at = 0;
        for (int d = 0; d < last; d++)
            at += (size_t)table[d][index[d]];
        pack_row(b->data, bytes, table[last], run, n, out + at * bytes, in);
        in += b->data->splat ? 0 : (size_t)n * bytes;
        for (int d = last - 1; d >= 0 && ++index[d] == dim[d]; d--)
            index[d] = 0;
    }
    return const_new(ctx, t, size, out);
}

static void collect(Lower *lo, Map *seen, Buf *b) {
    if (b->space != SPACE_CONST || map_get(seen, b))
        return;
    map_put(seen, b, b);
    vec_push(lo->ctx, &lo->module->consts, b);
    if (b->where)
        b->packed = pack_const(lo->ctx, b);
}

typedef struct Collecting {
    Lower *lo;
    Map *seen;
} Collecting;

static void collect_node(void *data, const Expr *e) {
    Collecting *c = data;
    if (e->op == OP_LOAD)
        collect(c->lo, c->seen, e->u.buf);
}

static void collect_stmt(void *data, Stmt *s) {
    Collecting *c = data;
    if (s->a)
        expr_walk(c->lo->ctx, s->a, collect_node, c);
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        collect(c->lo, c->seen, s->arg[i]);
    for (int i = 0; s->op == STMT_HOST && i < s->call->in.len; i++)
        if (s->call->in.at[i])
            collect(c->lo, c->seen, s->call->in.at[i]);
}

bool const_pack(Lower *lo) {
    Collecting c = {lo, map_new(lo->ctx)};
    stmt_walk(lo->module->entry->body, collect_stmt, &c);
    return true;
}
