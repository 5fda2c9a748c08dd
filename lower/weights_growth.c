/* How much transforms of the weights at compile time may enlarge them in total (--weights-growth): what passes have
 * added so far is in Lower.grown, so one bound holds for all of them. */
#include "lower/uses.h"

#define WEIGHTS_GROWTH 2.0 /* without the option */

typedef struct Weighing {
    Ctx *ctx;
    Map *seen;
    double bytes;
} Weighing;

static void weigh_const(void *data, Buf *b) {
    Weighing *w = data;
    int64_t count;
    if (b->space != SPACE_CONST || map_get(w->seen, b) || !buf_static(b, &count))
        return;
    map_put(w->seen, b, b);
    w->bytes += (double)count * type_bytes(type_dtype(b->type));
}

static void weigh_item(void *data, Block *b, Item *it) {
    Weighing *w = data;
    (void)b;
    if (it->kind == ITEM_DEF)
        def_loads(w->ctx, it->def, weigh_const, w);
}

double growth_room(Lower *lo) {
    const Options *opt = lo->ctx->opt;
    double growth = opt && opt->weights_growth > 0 ? opt->weights_growth : WEIGHTS_GROWTH;
    Weighing w = {lo->ctx, map_new(lo->ctx), 0};
    block_walk(lo->prog->main, weigh_item, &w);
    return (w.bytes - lo->grown) * (growth - 1) - lo->grown;
}
