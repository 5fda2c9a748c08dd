/* Gives every output of the model a buffer of its own, written by the program.
 *
 *   before  output y = x (an input)        after  y_out[i] = x[i] ; output y = y_out */
#include "lower/uses.h"

static Def *copy_def(Ctx *ctx, Block *block, Str name, Buf *from) {
    Def *d = def_new(ctx, name, type_dtype(from->type), from->rank, from->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < from->rank; i++)
        index[i] = def_var(ctx, d, i);
    d->value = buf_load(ctx, from, index);
    d->origin = from->def ? from->def->origin : NULL;
    item_new(ctx, block, ITEM_DEF)->def = d;
    return d;
}

bool graph_ports(Lower *lo) {
    Map *taken = map_new(lo->ctx);
    for (int i = 0; i < lo->prog->outputs.len; i++) {
        Port *p = &lo->prog->outputs.at[i];
        bool own = p->buf->space == SPACE_ARENA || p->buf->space == SPACE_OUTPUT;
        if (!own || map_get(taken, p->buf))
            p->buf = copy_def(lo->ctx, lo->prog->main, p->name, p->buf)->buf;
        p->buf->space = SPACE_OUTPUT;
        map_put(taken, p->buf, p->buf);
    }
    return true;
}
