/* Equations whose every load is from a constant become constants, computed by the evaluator; a constant
 * value becomes a splat, whatever its size, and its readers hold the value itself: no equation loads from
 * a splat afterwards. Runs within a budget: what is beyond it stays a kernel.
 *
 *   before  w2[i] = w[i] * 2, w const ; z[i] = 3 ; y[i] = x[i] * z[i]
 *   after   w2 const ; y[i] = x[i] * 3 */
#include "lower/uses.h"

#define FOLD_STEPS 3e8       /* scalar operations for the whole model */
#define FOLD_BYTES (1 << 28) /* of one folded constant */

typedef struct Folding {
    Lower *lo;
    double steps; /* left */
    bool fixed;
} Folding;

static void load_fixed(void *data, Buf *b) {
    Folding *f = data;
    f->fixed &= b->space == SPACE_CONST;
}

static void sym_fixed(void *data, const Expr *e) {
    Folding *f = data;
    if (e->op == OP_SYM && e->u.sym->kind != SYM_AXIS)
        f->fixed = false;
}

static void expr_fixed(void *data, const Expr *e) {
    expr_walk(((Folding *)data)->lo->ctx, e, sym_fixed, data);
}

static bool depends_on_constants_only(Folding *f, const Def *d) {
    int64_t v;
    f->fixed = true;
    for (int i = 0; i < d->naxis; i++)
        f->fixed &= expr_is_int(d->axis[i].var->extent, &v);
    if (!f->fixed)
        return false;
    def_loads(f->lo->ctx, d, load_fixed, f);
    def_exprs(d, expr_fixed, f);
    return f->fixed;
}

static void become_const(Folding *f, Buf *b, const Const *c) {
    b->space = SPACE_CONST;
    b->data = c;
    b->def = NULL;
    b->ndef = 0;
    b->known_state = 0;
    vec_push(f->lo->ctx, &f->lo->prog->consts, b);
}

static bool fold_splat(Folding *f, Def *d, int64_t count) {
    Ctx *ctx = f->lo->ctx;
    if (!expr_is_const(d->value) || def_is_reduction(d) || type_dtype(d->buf->type) == T_STR)
        return false;
    void *element = ctx_alloc(ctx, 16);
    const_put(type_dtype(d->buf->type), element, 0, d->value);
    become_const(f, d->buf, const_splat(ctx, type_dtype(d->buf->type), count, element));
    return true;
}

/* Only a Buf with one writer: the others are updates of state. */
static bool fold_def(Folding *f, Def *d) {
    Ctx *ctx = f->lo->ctx;
    int64_t count, bytes;
    if (d->at || d->scan || d->buf->ndef != 1 || d->buf->space != SPACE_ARENA ||
        !buf_static(d->buf, &count) || !depends_on_constants_only(f, d))
        return false;
    if (fold_splat(f, d, count))
        return true;
    double steps = def_volume(ctx, d, true) * expr_size(ctx, d->value, 1000);
    if (steps > f->steps || !mul_ok(count, type_bytes(type_dtype(d->buf->type)), &bytes) ||
        bytes > FOLD_BYTES || type_dtype(d->buf->type) == T_STR)
        return false;
    Eval *ev = eval_new(ctx);
    if (!eval_def(ev, d))
        return false;
    f->steps -= steps;
    Tensor *t = eval_tensor(ev, d->buf);
    become_const(f, d->buf, const_new(ctx, t->type, t->count, t->data));
    return true;
}

static const Expr *splat_value(Ctx *ctx, const Expr *e, void *data) {
    (void)data;
    const Const *c = e->op == OP_LOAD && e->u.buf->space == SPACE_CONST ? e->u.buf->data : NULL;
    return c && c->splat && c->count > 0 && c->type != T_STR ? const_at(ctx, c, 0) : e;
}

static void spread_splats(Ctx *ctx, Item *it) {
    if (it->def)
        def_map(ctx, it->def, splat_value, NULL);
    if (it->e)
        it->e = expr_map(ctx, it->e, splat_value, NULL);
    for (int k = 0; it->call && k < it->call->attr.len; k++)
        it->call->attr.at[k] = expr_map(ctx, it->call->attr.at[k], splat_value, NULL);
}

static void fold_block(Folding *f, Block *b) {
    int kept = 0;
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        spread_splats(f->lo->ctx, it);
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                fold_block(f, it->body[k]);
        if (it->kind != ITEM_DEF || !fold_def(f, it->def))
            b->items.at[kept++] = it;
    }
    b->items.len = kept;
}

bool graph_fold(Lower *lo) {
    Folding f = {lo, FOLD_STEPS, true};
    fold_block(&f, lo->prog->main);
    return true;
}
