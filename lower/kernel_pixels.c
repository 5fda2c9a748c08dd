/* A 1x1 convolution between buffers of the caller is a product over pixels that lie side by side at both ends: its
 * positions become one axis, so that no copy in another order is needed. The kernel that the plan calls keeps its
 * equations and borrows the function of a twin over flat buffers. Precondition: layout_choose left it alone.
 *
 *   before  acc f32[1,M,P,Q] = add(c<C) x[n,c,p,q] * w[m,c,0,0] ; y[n,m,p,q] = max(acc[n,m,p,q], 0)
 *   after   panel f32[1,C,P*Q] = x_px[n,c,f]   acc f32[1,M,P*Q] = add(c<C) panel[n,c,f] * w[m,c,0,0]
 *           y_px f32[1,M,P*Q] = max(acc[n,m,f], 0) */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#include <string.h>

enum {
    POSITIONS = 2,  /* the first dimension that is one of them */
    PIXELS_MIN = 4, /* fewer are no lanes */
    PAGE = 4096,
    PAGES = 64,         /* that are found at once */
    PANEL_ROWS = 72,    /* outputs that are worth a copy of their pixels [measured] */
    PANEL_ROWS_FAR = 32 /* the same where the pixels of each channel are more than a page */
};
/* Cycles an element, measured: of a result in another order; of an operand in panels, from rows within a page and
 * from longer ones. */
#define ORDER_CYCLES 1.2
#define PANEL_CYCLES 0.25
#define PANEL_FAR_CYCLES 0.5

/* ---- which kernels ----------------------------------------------------------------------------- */

typedef struct Ends {
    const Def *d;
    bool fit;
    int positions; /* loads at all positions */
} Ends;

static bool in_order(const Buf *b) {
    return !b->where && !b->bound && !b->whole && !b->parts.len;
}

/* Is the load at every position of d as it is, at the place of its last dimensions? */
static bool at_positions(const Def *d, const Expr *load) {
    const int rank = d->buf->rank;
    bool at = load->nkid == rank && in_order(load->u.buf);
    for (int i = POSITIONS; i < rank && at; i++)
        at = load->kid[i]->op == OP_SYM && load->kid[i]->u.sym == d->axis[i].var;
    return at;
}

static void end_node(void *data, const Expr *e) {
    Ends *n = data;
    if (e->op != OP_LOAD)
        return;
    if (at_positions(n->d, e)) {
        n->positions++;
        return;
    }
    for (int i = POSITIONS; i < n->d->buf->rank; i++)
        n->fit &= !expr_uses_sym(e, n->d->axis[i].var);
}

/* Everything that d reads at its positions: all of them, as they are? *loads: how often. */
static bool reads_positions(Ctx *ctx, const Def *d, int *loads) {
    Ends n = {d, true, 0};
    expr_walk(ctx, d->value, end_node, &n);
    *loads = n.positions;
    return n.fit && !d->when && !d->init && !d->at && !d->scan;
}

/* The operand that is a constant (1) and the other one (0), each a load at most of what its side is for. */
static const Expr *operand(const Def *acc, bool constant) {
    for (int i = 0; i < 2; i++) {
        const Expr *e = acc->value->kid[i];
        if (e->op == OP_LOAD && (e->u.buf->space == SPACE_CONST) == constant)
            return e;
    }
    return NULL;
}

static bool is_forced(const Lower *lo) {
    const char *only = lo->ctx->opt ? lo->ctx->opt->rule : NULL;
    return only && !strcmp(only, "tile_pixels");
}

static bool has_panel(const Lower *lo, int64_t pixels, int64_t rows, int64_t terms) {
    bool far = terms > PAGES && pixels * 4 > PAGE;
    return is_forced(lo) || (!lo->min_ram && rows >= (far ? PANEL_ROWS_FAR : PANEL_ROWS));
}

/* Vectors that fill no register and the panel cost less than a copy of the result in another order? */
static bool pixels_pay(const Lower *lo, int64_t pixels, int64_t rows, int64_t terms) {
    const int64_t lanes = lo->machine->vec / 4;
    int64_t rest = pixels % lanes, idle = -rest;
    for (int64_t v = lanes / 2; v >= PIXELS_MIN; rest %= v, v /= 2)
        idle += rest >= v ? lanes : 0;
    idle += rest * lanes;
    double copied = !has_panel(lo, pixels, rows, terms) ? 0
                    : pixels * 4 > PAGE                 ? PANEL_FAR_CYCLES
                                                        : PANEL_CYCLES;
    double each = (double)terms * (double)idle / (double)(2 * lanes * pixels);
    return lo->min_ram || is_forced(lo) ||
           each + copied * (double)terms / (double)rows < ORDER_CYCLES;
}

bool kernel_is_pixels(Lower *lo, const Kernel *k) {
    Ctx *ctx = lo->ctx;
    const char *only = ctx->opt ? ctx->opt->rule : NULL;
    const Def *acc = k->defs.at[0], *root = kernel_root(k);
    int loads, rank = root->buf->rank;
    int64_t dim[RANK_MAX], terms, pixels = 1;
    if (k->defs.len != 2 || rank <= POSITIONS + 1 || acc->buf->rank != rank || lo->o0 ||
        lo->strict || !lo->machine->fma || lo->machine->vec == 0 || (only && !is_forced(lo)) ||
        root->buf->space != SPACE_OUTPUT || root->buf->ndef != 1 || !in_order(root->buf) ||
        root->buf->type != T_F32 || !buf_dims(root->buf, dim) || acc->combine != OP_ADD ||
        acc->buf->type != T_F32 || acc->naxis != rank + 1 || acc->value->op != OP_MUL ||
        kernel_attach(ctx, k, acc) != rank)
        return false;
    const Expr *x = operand(acc, false), *w = operand(acc, true);
    for (int i = POSITIONS; i < rank; i++)
        if (!mul_ok(pixels, dim[i], &pixels))
            return false;
    return x && w && x->u.buf->space == SPACE_INPUT && at_positions(acc, x) && x->type == T_F32 &&
           !expr_uses_sym(x, acc->axis[1].var) && pixels >= PIXELS_MIN &&
           expr_is_int(acc->axis[rank].var->extent, &terms) &&
           pixels_pay(lo, pixels, dim[1], terms) && reads_positions(ctx, acc, &loads) &&
           loads == 1 && reads_positions(ctx, root, &loads);
}

/* ---- the twin ------------------------------------------------------------------------------------ */

typedef struct Flat {
    Ctx *ctx;
    Map *flat;    /* Buf → the Buf with one dimension of positions */
    Map *caller;  /* the other way */
    const Def *d; /* whose value is rewritten */
    const Expr *pixel;
} Flat;

static Buf *flat_buf(Flat *f, Buf *b) {
    Buf *to = map_get(f->flat, b);
    const Expr *dim[RANK_MAX], *pixels = expr_i(f->ctx, 1);
    if (to)
        return to;
    for (int i = 0; i < POSITIONS; i++)
        dim[i] = b->dim[i];
    for (int i = POSITIONS; i < b->rank; i++)
        pixels = expr_mul(f->ctx, pixels, b->dim[i]);
    dim[POSITIONS] = pixels;
    to = buf_new(f->ctx, str_f(f->ctx, "%s_px", b->name), type_dtype(b->type), (Space)b->space,
                 POSITIONS + 1, dim);
    map_put(f->flat, b, to);
    map_put(f->caller, to, b);
    return to;
}

static const Expr *flat_load(Ctx *ctx, const Expr *e, void *data) {
    Flat *f = data;
    if (e->op != OP_LOAD || !at_positions(f->d, e))
        return e;
    const Expr *index[POSITIONS + 1] = {e->kid[0], e->kid[1], f->pixel};
    return buf_load(ctx, flat_buf(f, e->u.buf), index);
}

static Def *flat_def(Flat *f, const Def *d) {
    Ctx *ctx = f->ctx;
    Def *c = def_clone(ctx, d);
    const int rank = d->buf->rank;
    Buf *b = flat_buf(f, d->buf);
    Sym *pixel = sym_axis(ctx, c->axis[POSITIONS].var->name, b->dim[POSITIONS]);
    f->d = c;
    f->pixel = expr_sym(ctx, pixel);
    c->value = expr_map(ctx, c->value, flat_load, f);
    c->buf = b;
    b->def = c;
    b->ndef = 1;
    c->axis[POSITIONS].var = pixel;
    memmove(c->axis + POSITIONS + 1, c->axis + rank, (size_t)(c->naxis - rank) * sizeof *c->axis);
    c->naxis -= rank - POSITIONS - 1;
    return c;
}

static const Expr *load_panel(Ctx *ctx, const Expr *e, void *data) {
    Buf *const *pair = data;
    return e->op == OP_LOAD && e->u.buf == pair[0] ? buf_load(ctx, pair[1], e->kid) : e;
}

/* A copy of what acc reads, for a vector or two of pixels at a time: side by side for all channels. */
static Def *panel_of(Ctx *ctx, Def *acc) {
    Buf *x = operand(acc, false)->u.buf;
    const Expr *index[RANK_MAX];
    Def *d = def_new(ctx, str(ctx, "panel"), T_F32, x->rank, x->dim);
    for (int i = 0; i < x->rank; i++)
        index[i] = def_var(ctx, d, i);
    d->value = buf_load(ctx, x, index);
    d->origin = acc->origin;
    d->loc = acc->loc;
    Buf *pair[2] = {x, d->buf};
    acc->value = expr_map(ctx, acc->value, load_panel, pair);
    return d;
}

Kernel *pixels_twin(Lower *lo, Kernel *k, Map **caller) {
    Ctx *ctx = lo->ctx;
    Flat f = {.ctx = ctx, .flat = map_new(ctx), .caller = map_new(ctx)};
    int64_t pixels, rows, terms;
    if (!kernel_is_pixels(lo, k))
        return NULL;
    Kernel *twin = ctx_new(ctx, Kernel);
    Def *acc = flat_def(&f, k->defs.at[0]), *root = flat_def(&f, k->defs.at[1]);
    if (expr_is_int(root->buf->dim[1], &rows) && expr_is_int(root->buf->dim[POSITIONS], &pixels) &&
        expr_is_int(acc->axis[POSITIONS + 1].var->extent, &terms) &&
        has_panel(lo, pixels, rows, terms))
        vec_push(ctx, &twin->defs, panel_of(ctx, acc));
    vec_push(ctx, &twin->defs, acc);
    vec_push(ctx, &twin->defs, root);
    kernel_normalise(ctx, twin);
    kernel_close(ctx, twin);
    twin->name = k->name;
    k->name = str_f(ctx, "%s_caller", k->name);
    *caller = f.caller;
    return twin;
}

void pixels_lend(Ctx *ctx, Kernel *k, const Kernel *twin, const Map *caller) {
    k->ins.len = k->outs.len = k->temps.len = 0;
    for (int i = 0; i < twin->ins.len; i++) {
        Buf *b = map_get(caller, twin->ins.at[i]);
        vec_push(ctx, &k->ins, b ? b : twin->ins.at[i]);
    }
    for (int i = 0; i < twin->outs.len; i++)
        vec_push(ctx, &k->outs, map_get(caller, twin->outs.at[i]));
    for (int i = 0; i < twin->temps.len; i++)
        vec_push(ctx, &k->temps, twin->temps.at[i]);
    k->func = twin->func;
    k->sched = ctx_new(ctx, Sched);
    k->rule = twin->rule;
}
