/* The data of constants whose storage order a schedule chose: moved here, once, at compile time.
 *
 *   before  w const f32[2,3] where i1*2 + i0        after  packed data in that order, gaps filled */
#include "lower/lower.h"

#include <string.h>

/* `where` is a sum of functions of one index each (packing, permuting, padding all are): one table each. */
static int64_t **offset_tables(Ctx *ctx, const Buf *b, const int64_t *dim) {
    int64_t **table = ctx_newn(ctx, int64_t *, b->rank);
    const Expr *zero[RANK_MAX], *at[RANK_MAX];
    int64_t base;
    for (int i = 0; i < b->rank; i++)
        zero[i] = at[i] = expr_i(ctx, 0);
    if (!expr_is_int(expr_subst(ctx, b->where, b->rank, b->dimvar, zero), &base))
        internal_error(ctx, "the storage order of constant %s is not constant", b->name);
    for (int i = 0; i < b->rank; i++) {
        table[i] = ctx_newn(ctx, int64_t, dim[i]);
        for (int64_t v = 0; v < dim[i]; v++) {
            at[i] = expr_i(ctx, v);
            if (!expr_is_int(expr_subst(ctx, b->where, b->rank, b->dimvar, at), &table[i][v]))
                internal_error(ctx, "the storage order of constant %s is not constant", b->name);
            table[i][v] -= i ? base : 0;
        }
        at[i] = zero[i];
    }
    return table;
}

static const Const *pack_const(Ctx *ctx, const Buf *b) {
    int64_t dim[RANK_MAX], count, size, index[RANK_MAX] = {0};
    if (!buf_dims(b, dim) || !buf_static(b, &count) || !expr_is_int(b->size, &size))
        internal_error(ctx, "constant %s has no constant shape", b->name);
    int64_t **table = offset_tables(ctx, b, dim);
    Dtype t = type_dtype(b->type);
    size_t bytes = (size_t)type_bytes(t);
    char *out = ctx_allocn(ctx, (size_t)size, bytes);
    const char *in = b->data->data;
    for (int64_t i = 0; i < size && b->fill && !expr_is(b->fill, 0); i++)
        const_put(t, out, i, b->fill);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        for (int d = 0; d < b->rank; d++)
            at += table[d][index[d]];
        memcpy(out + (size_t)at * bytes, in, bytes);
        in += b->data->splat ? 0 : bytes;
        for (int d = b->rank - 1; d >= 0 && ++index[d] == dim[d]; d--)
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
