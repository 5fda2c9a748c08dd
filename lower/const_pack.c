/* The data of constants whose storage order a schedule chose: how to move it, which is done when it is written.
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

typedef struct Packing {
    const Const *from;
    const Expr *fill; /* what gaps hold; NULL: 0 */
    int rank;
    int64_t dim[RANK_MAX], count, size; /* elements: of the data, with gaps */
    int64_t **table, *run;
} Packing;

/* One row along the last dimension. */
static void pack_row(const Packing *p, size_t bytes, char *out, const char *in) {
    const int64_t *table = p->table[p->rank - 1];
    for (int64_t i = 0; i < p->dim[p->rank - 1];) {
        int64_t k = p->from->splat ? 1 : p->run[i];
        memcpy(out + (size_t)table[i] * bytes, in, (size_t)k * bytes);
        in += p->from->splat ? 0 : (size_t)k * bytes;
        i += k;
    }
}

static void pack(const void *data, unsigned char *out, unsigned char *room) {
    const Packing *p = data;
    const Const *from = p->from;
    int64_t index[RANK_MAX] = {0};
    int last = p->rank - 1;
    size_t bytes = (size_t)type_bytes(from->type), row = (size_t)p->dim[last] * bytes;
    const char *in = from->data;
    if (!in) { /* its own bytes stand at the end of the room */
        in = (const char *)room + from->by->room;
        from->by->make(from->by->data, room + from->by->room, room);
    }
    if (p->size > p->count)
        memset(out, 0, (size_t)p->size * bytes);
    for (int64_t i = 0; i < p->size && p->fill; i++)
        const_put(from->type, out, i, p->fill);
    for (int64_t done = 0; done < p->count; done += p->dim[last]) {
        size_t at = 0;
        for (int d = 0; d < last; d++)
            at += (size_t)p->table[d][index[d]];
        pack_row(p, bytes, (char *)out + at * bytes, in);
        in += from->splat ? 0 : row;
        for (int d = last - 1; d >= 0 && ++index[d] == p->dim[d]; d--)
            index[d] = 0;
    }
}

static const Const *pack_const(Ctx *ctx, const Buf *b) {
    Packing p = {.from = b->data, .rank = b->rank};
    Maker by = {.make = pack};
    if (b->rank == 0 || !buf_dims(b, p.dim) || !buf_static(b, &p.count) ||
        !expr_is_int(b->size, &p.size) || p.size > INT64_MAX / type_bytes(b->data->type))
        internal_error(ctx, "constant %s has no constant shape", b->name);
    p.fill = b->fill && !expr_is(b->fill, 0) ? b->fill : NULL;
    p.table = offset_tables(ctx, b, p.dim);
    p.run = run_lengths(ctx, p.table[b->rank - 1], p.dim[b->rank - 1]);
    by.data = ctx_copy(ctx, &p, sizeof p);
    by.len = (size_t)p.size * (size_t)type_bytes(b->data->type);
    if (!p.from->data)
        by.room = p.from->by->room + p.from->by->len;
    return const_made(ctx, b->data->type, p.size, by);
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
