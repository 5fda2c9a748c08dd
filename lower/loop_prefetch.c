/* Weights come from memory while other sums run: in the loop of a register tile stand prefetches of the panel that
 * the next iteration of the panel loop reads, spread over the tiles of this one.
 * Precondition: flat loops, vectors and unrolled bodies written out.
 *
 *   before  for n0 < 24 { for m0 < 8 { for red k < 768 { t[0] = fma(x[…], w[n0*24576 + k*32 +: 16], t[0]) … } } }
 *   after   … for red k < 768 { prefetch w[(n0 + 1)*24576 + (m0*768 + k)*4] ; t[0] = … }
 *
 * Behind the last panel lies what is read next, or nothing: a prefetch does no harm there. A panel read once (one
 * tile) is left to the machine: its reads are the stream [measured]. */
#include "lower/lower.h"

enum {
    LINE = 16,        /* f32 in a cache line */
    TILES_MAX = 64,   /* more tiles a panel: its first read is a small part of the work */
    LOOPS_MAX = 16,   /* loops around a sum */
    FEW = 128 * 1024, /* constants of fewer bytes stay in L2 */
};

typedef struct Panels {
    Lower *lo;
    const Stmt *loop;             /* over the panels */
    int64_t tiles;                /* a panel */
    const Stmt *inner[LOOPS_MAX]; /* loops inside `loop` around the place, outermost first */
    int ninner;
} Panels;

/* Nests of RED loops that one run of the list goes through; -1 unknown. */
static int64_t nests_in(const Stmt *s) {
    int64_t all = 0;
    for (; s && all >= 0; s = s->next) {
        int64_t n = s->op == STMT_FOR && s->kind == AXIS_RED ? 1 : nests_in(s->body), times = 1;
        if (s->op == STMT_IF || s->orelse)
            return -1;
        if (n && s->op == STMT_FOR && s->kind != AXIS_RED && !expr_is_int(s->a, &times))
            return -1;
        all = n < 0 || n > TILES_MAX || times > TILES_MAX ? -1 : all + n * times;
    }
    return all;
}

/* ---- what a sum reads -------------------------------------------------------------------------- */

typedef struct Reads {
    Buf *buf;
    const Expr *first; /* lowest of the offsets as they stand in the text: that of the first load */
    Map *seen;         /* indices */
    int64_t lanes;     /* of all distinct loads */
    bool one;          /* of one buffer */
} Reads;

static void note_load(void *data, const Expr *e) {
    Reads *r = data;
    if (e->op != OP_LOAD || e->u.buf->space != SPACE_CONST || e->kid[0]->op != OP_RAMP ||
        e->u.buf->type != T_F32 || map_get(r->seen, e->kid[0]))
        return;
    if (!r->buf) {
        r->buf = e->u.buf;
        r->first = e->kid[0]->kid[0];
    }
    r->one &= r->buf == e->u.buf;
    r->lanes += type_lanes(e->type);
    map_put(r->seen, e->kid[0], (void *)(uintptr_t)e);
}

static Reads sum_reads(Ctx *ctx, const Stmt *s) {
    Reads r = {.seen = map_new(ctx), .one = true};
    for (; s; s = s->next)
        if (s->op == STMT_STORE)
            expr_walk(ctx, s->a, note_load, &r);
    return r;
}

/* ---- the places -------------------------------------------------------------------------------- */

/* Puts `count` prefetches, a line apart, in front of the sum's body. */
static void put_prefetches(Ctx *ctx, Stmt *sum, Buf *b, const Expr *at, int64_t count) {
    for (int64_t i = count; i-- > 0;) {
        const Expr *to = expr_add(ctx, at, expr_i(ctx, i * LINE));
        Stmt *s = stmt_new(ctx, STMT_PREFETCH);
        s->a = expr_load(ctx, b, 1, &to);
        s->next = sum->body;
        sum->body = s;
    }
}

/* nest: the outermost RED loop of a tile; tile: which one of the panel's. */
static void prefetch_nest(Panels *p, Stmt *nest, const Expr *tile) {
    Ctx *ctx = p->lo->ctx;
    Sym *var[2 * LOOPS_MAX];
    const Expr *coef[2 * LOOPS_MAX], *rest, *step = expr_i(ctx, 0);
    int n = 0, nred = 0;
    int64_t extent, size, panel, steps = 1;
    Stmt *sum = nest;
    for (var[n++] = nest->var; sum->body && !sum->body->next && sum->body->op == STMT_FOR &&
                               sum->body->kind == AXIS_RED && n < LOOPS_MAX;
         var[n++] = sum->var)
        sum = sum->body;
    nred = n;
    for (const Stmt *s = nest;; s = s->body) {
        if (!expr_is_int(s->a, &extent) || !mul_ok(steps, extent, &steps))
            return;
        step = expr_add(ctx, expr_mul(ctx, step, s->a), expr_sym(ctx, s->var));
        if (s == sum)
            break;
    }
    for (int i = 0; i < p->ninner && n + 1 < 2 * LOOPS_MAX; i++)
        var[n++] = p->inner[i]->var;
    var[n++] = p->loop->var;
    Reads r = sum_reads(ctx, sum->body);
    if (!r.buf || !r.one || !expr_is_int(memory_bytes(ctx, r.buf), &size) || size < FEW ||
        !expr_linear(ctx, r.first, n, var, coef, &rest) || !expr_is_int(coef[n - 1], &panel) ||
        panel != steps * r.lanes)
        return;
    for (int i = nred; i < n - 1; i++)
        if (!expr_is(coef[i], 0))
            return;
    if (panel * 4 > p->lo->machine->l2 / 4 * 3)
        return;
    int64_t part = (r.lanes + p->tiles - 1) / p->tiles;
    const Expr *zero = expr_i(ctx, 0), *zeros[LOOPS_MAX];
    for (int i = 0; i < nred; i++)
        zeros[i] = zero;
    const Expr *at = expr_add(ctx, expr_subst(ctx, r.first, nred, var, zeros), expr_i(ctx, panel));
    const Expr *all = expr_add(ctx, expr_mul(ctx, tile, expr_i(ctx, steps)), step);
    at = expr_add(ctx, at, expr_mul(ctx, all, expr_i(ctx, part)));
    put_prefetches(ctx, sum, r.buf, at, (part + LINE - 1) / LINE);
}

static void prefetch_list(Panels *p, Stmt *s, const Expr *tile) {
    Ctx *ctx = p->lo->ctx;
    for (; s; s = s->next) {
        bool loop = s->op == STMT_FOR;
        int64_t n = loop && s->kind == AXIS_RED ? 1 : nests_in(s->body), times = 1;
        if (n <= 0)
            continue;
        if (loop && s->kind == AXIS_RED) {
            prefetch_nest(p, s, tile);
        } else if (p->ninner < LOOPS_MAX) {
            const Expr *first = tile;
            if (loop) {
                expr_is_int(s->a, &times);
                first = expr_add(ctx, tile, expr_mul(ctx, expr_sym(ctx, s->var), expr_i(ctx, n)));
                p->inner[p->ninner++] = s;
            }
            prefetch_list(p, s->body, first);
            p->ninner -= loop;
        }
        tile = expr_add(ctx, tile, expr_i(ctx, n * times));
    }
}

static void panel_loop(void *data, Stmt *s) {
    Panels p = {.lo = data, .loop = s};
    if (s->op != STMT_FOR || s->kind == AXIS_RED)
        return;
    p.tiles = nests_in(s->body);
    if (p.tiles > 1 && p.tiles <= TILES_MAX)
        prefetch_list(&p, s->body, expr_i(p.lo->ctx, 0));
}

bool loop_prefetch(Lower *lo, Func *f) {
    if (lo->machine->vec)
        stmt_walk(f->body, panel_loop, lo);
    return true;
}
