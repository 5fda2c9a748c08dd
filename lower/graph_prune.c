/* Drops what no output needs: Defs, binds of unused symbols, calls and branches without a live result.
 * Checks stay: they are the program's promise about its inputs.
 *
 *   before  a = x + 1 ; b = x * 2 ; output b        after  b = x * 2 ; output b */
#include "lower/uses.h"

typedef struct Live {
    Ctx *ctx;
    Map *bufs, *syms; /* needed ones */
    bool grew;
} Live;

static void need_expr(Live *lv, const Expr *e);

static void need_buf(void *data, Buf *b) {
    Live *lv = data;
    if (map_get(lv->bufs, b))
        return;
    map_put(lv->bufs, b, b);
    lv->grew = true;
    for (int i = 0; i < b->rank; i++)
        need_expr(lv, b->dim[i]);
    if (b->bound)
        need_expr(lv, b->bound);
}

static void need_node(void *data, const Expr *e) {
    Live *lv = data;
    if (e->op == OP_LOAD)
        need_buf(lv, e->u.buf);
    if (e->op != OP_SYM || map_get(lv->syms, e->u.sym))
        return;
    map_put(lv->syms, e->u.sym, e->u.sym);
    lv->grew = true;
    if (e->u.sym->kind == SYM_AXIS && e->u.sym->extent)
        need_expr(lv, e->u.sym->extent);
}

static void need_expr(Live *lv, const Expr *e) {
    expr_walk(lv->ctx, e, need_node, lv);
}

static void need_def_expr(void *data, const Expr *e) {
    need_expr(data, e);
}

static bool call_live(const Live *lv, const Call *c) {
    for (int i = 0; i < c->out.len; i++)
        if (c->out.at[i] && map_get(lv->bufs, c->out.at[i]))
            return true;
    for (int i = 0; i < c->result.len; i++)
        if (map_get(lv->syms, c->result.at[i]))
            return true;
    return false;
}

static bool block_live(const Live *lv, const Block *b);

static bool item_live(const Live *lv, const Item *it) {
    switch (it->kind) {
    case ITEM_DEF:
        return map_get(lv->bufs, it->def->buf) != NULL;
    case ITEM_BIND:
        return map_get(lv->syms, it->sym) != NULL;
    case ITEM_CALL:
        return call_live(lv, it->call);
    case ITEM_IF:
    case ITEM_LOOP:
        return (it->body[0] && block_live(lv, it->body[0])) ||
               (it->body[1] && block_live(lv, it->body[1]));
    default:
        return true;
    }
}

static bool block_live(const Live *lv, const Block *b) {
    for (int i = 0; i < b->items.len; i++)
        if (item_live(lv, b->items.at[i]))
            return true;
    return false;
}

static void mark_item(Live *lv, const Item *it) {
    if (it->e)
        need_expr(lv, it->e);
    if (it->kind == ITEM_DEF) {
        def_exprs(it->def, need_def_expr, lv);
        for (int i = 0; i < it->def->naxis; i++)
            need_expr(lv, it->def->axis[i].var->extent);
    }
    if (it->kind == ITEM_CALL) {
        for (int i = 0; i < it->call->in.len; i++)
            if (it->call->in.at[i])
                need_buf(lv, it->call->in.at[i]);
        for (int i = 0; i < it->call->out.len; i++)
            if (it->call->out.at[i])
                need_buf(lv, it->call->out.at[i]);
        for (int i = 0; i < it->call->attr.len; i++)
            need_expr(lv, it->call->attr.at[i]);
    }
}

/* Backwards, so that straight-line programs settle in one round; loops may need more. */
static void mark_block(Live *lv, const Block *b) {
    for (int i = b->items.len; i-- > 0;) {
        Item *it = b->items.at[i];
        if (!item_live(lv, it))
            continue;
        mark_item(lv, it);
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                mark_block(lv, it->body[k]);
    }
}

static void sweep_block(const Live *lv, Block *b) {
    int kept = 0;
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        if (!item_live(lv, it)) {
            if (it->kind == ITEM_DEF)
                it->def->buf->ndef--;
            continue;
        }
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                sweep_block(lv, it->body[k]);
        b->items.at[kept++] = it;
    }
    b->items.len = kept;
}

bool graph_prune(Lower *lo) {
    Live lv = {lo->ctx, map_new(lo->ctx), map_new(lo->ctx), true};
    for (int i = 0; i < lo->prog->outputs.len; i++)
        need_buf(&lv, lo->prog->outputs.at[i].buf);
    while (lv.grew) {
        lv.grew = false;
        mark_block(&lv, lo->prog->main);
    }
    sweep_block(&lv, lo->prog->main);
    return true;
}
