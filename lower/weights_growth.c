/* How much transforms of the weights at compile time may enlarge them in total (--weights-growth): what passes have
 * added so far is in Lower.grown, so one bound holds for all of them. */
#include "lower/uses.h"

#define WEIGHTS_GROWTH 2.0 /* without the option */

typedef struct Weighing {
    Ctx *ctx;
    Map *seen;
    double bytes;
} Weighing;

static void weigh_item(void *data, Block *b, Item *it) {
    Weighing *w = data;
    (void)b;
    if (it->kind == ITEM_DEF)
        w->bytes += def_weights(w->ctx, it->def, w->seen);
}

double growth_room(Lower *lo) {
    const Options *opt = lo->ctx->opt;
    double growth = opt && opt->weights_growth > 0 ? opt->weights_growth : WEIGHTS_GROWTH;
    Weighing w = {lo->ctx, map_new(lo->ctx), 0};
    block_walk(lo->prog->main, weigh_item, &w);
    return (w.bytes - lo->grown) * (growth - 1) - lo->grown;
}
