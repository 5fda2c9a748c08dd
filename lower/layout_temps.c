/* What a kernel keeps for itself lies with its channels innermost where it is computed from what does and its
 * reader goes through it in an order of its own (a mean of pixels that is then flattened): its loops are vectors
 * of channels. On machines with vectors. Precondition: every buffer between kernels has its order.
 *
 *   before  x f32[1,16,12,10] where (n, c, p, q) n*1920 + c + p*160 + q*16
 *           t f32[1,16,6,5] { … } = add(r<2, s<2) x[n, c, p*2 + r, q*2 + s] ; y f32[480] { j } = t[0, j%16, …]
 *   after   t f32[1,16,6,5] where (n, c, p, q) n*480 + c + p*80 + q*16 { … } */
#include "lower/kernel_class.h"
#include "lower/lower.h"
#include "lower/uses.h"

enum { CHANNELS_MIN = 4 };

typedef struct Channels {
    Ctx *ctx;
    const Def *d;
    int yes, no;
} Channels;

static void channels_node(void *data, const Expr *e) {
    Channels *c = data;
    if (e->op != OP_LOAD || e->u.buf->space == SPACE_CONST)
        return;
    bool last = e->u.buf->rank >= 3 && buf_inner_axis(c->ctx, e->u.buf) == 1 &&
                e->kid[1] == def_var(c->ctx, c->d, 1);
    *(last ? &c->yes : &c->no) += 1;
}

static bool is_temp(const Kernel *k, const Buf *b) {
    for (int i = 0; i < k->temps.len; i++)
        if (k->temps.at[i] == b)
            return true;
    return false;
}

void layout_temps(Ctx *ctx, const Kernel *k) {
    const Buf *root = kernel_root(k)->buf;
    const int64_t none[RANK_MAX] = {0};
    int64_t n;
    for (int i = 0; i + 1 < k->defs.len; i++) {
        const Def *d = k->defs.at[i];
        Buf *b = d->buf;
        Channels c = {ctx, d, 0, 0};
        if (d->at || d->scan || b->where || b->rank < 3 || b->rank == root->rank ||
            !is_temp(k, b) || !expr_is_int(b->dim[1], &n) || n < CHANNELS_MIN)
            continue;
        expr_walk(ctx, d->value, channels_node, &c);
        if (c.yes && !c.no)
            buf_store_in(ctx, b, true, none, none, 0);
    }
}
