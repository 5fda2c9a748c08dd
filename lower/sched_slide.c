/* slide: a Def's rows are computed just before the iteration that first reads them, and kept in a ring for as
 * long as later iterations read them. Each row is computed once, in the order it was.
 *
 *   before  for k < 56 { t[k] = f(k) } for p < 28 { y[p] = g(t[p*2 - 1], t[p*2], t[p*2 + 1]) }
 *   slide t in y at p
 *   after   for seq p < 28 { for seq k < 3 { if p == 0 || 1 <= k { if 1 <= p*2 + k { t[(p*2 + k) % 3] = f(…) } } }
 *                            y[p] = g(t[p*2 % 3], t[(p*2 + 1) % 3], t[(p*2 + 2) % 3]) }
 *
 * Rows outside of t are filled where its layout promises so. What slid may slide further, with its reader; `chunk`
 * gives each chunk of rows rings of its own. */
#include "lower/kernel_class.h"
#include "lower/sched_in.h"

#define ROWS_MAX 64
#define ROOM 64 /* elements behind the ring: a loop that goes on into padding may fetch them */

/* Iteration p reads rows step*p + first … + rows-1 of dimension dim. */
typedef struct Slide {
    Ctx *ctx;
    const Def *def;
    Buf *from, *ring;
    Stmt *loop;
    int dim;
    int64_t rows, step, first;
    int64_t block; /* rows of one iteration of def's nests: they come and stay together */
} Slide;

/* ---- what an iteration reads --------------------------------------------------------------------------- */

static bool row_bounds(Slide *s, const Stmt *loop, const Expr *lo, const Expr *hi, int64_t *step,
                       int64_t *first, int64_t *last) {
    const Expr *coef[2], *rest[2];
    return expr_linear(s->ctx, lo, 1, (Sym *const *)&loop->var, &coef[0], &rest[0]) &&
           expr_linear(s->ctx, hi, 1, (Sym *const *)&loop->var, &coef[1], &rest[1]) &&
           coef[0] == coef[1] && expr_is_int(coef[0], step) && *step > 0 &&
           expr_is_int(rest[0], first) && expr_is_int(rest[1], last);
}

/* The rows that one of the loops reads, joined with those of the others before. */
static bool note_rows(Slide *s, const Stmt *loop, Str *why) {
    const Expr *lo[RANK_MAX], *hi[RANK_MAX];
    int64_t step, first, last;
    int loads = loop_region(s->ctx, s->from, loop->body, lo, hi), dim = -1;
    if (loads == 0)
        return true;
    for (int i = 0; loads > 0 && i < s->from->rank; i++)
        if (expr_uses_sym(lo[i], loop->var) || expr_uses_sym(hi[i], loop->var))
            dim = dim < 0 ? i : RANK_MAX;
    if (dim < 0 || dim == RANK_MAX || !row_bounds(s, loop, lo[dim], hi[dim], &step, &first, &last))
        return step_fails(s->ctx, why, "%s does not go through rows of %s", loop->label,
                          s->def->name);
    if (s->rows && (dim != s->dim || step != s->step))
        return step_fails(s->ctx, why, "loops %s read rows of %s in two ways", loop->label,
                          s->def->name);
    int64_t end = s->rows && s->first + s->rows > last ? s->first + s->rows : last + 1;
    first = s->rows && s->first < first ? s->first : first;
    s->dim = dim;
    s->step = step;
    s->first = first;
    s->rows = end - first;
    return s->rows <= ROWS_MAX ||
           step_fails(s->ctx, why, "%s reads too many rows at once", loop->label);
}

/* ---- may it? ------------------------------------------------------------------------------------------- */

/* A loop that runs in turn because something slides in it, or over its new rows. */
static bool is_slid(const Stmt *s) {
    bool seq = s->op == STMT_FOR && s->kind == AXIS_SEQ && s->def && !s->def->scan;
    for (int i = 0; seq && i < s->def->naxis; i++)
        seq &= s->def->axis[i].kind != AXIS_SEQ;
    return seq;
}

bool nests_slide(const Stmt *s) {
    for (; s; s = s->next)
        if (is_slid(s) || nests_slide(s->body) || nests_slide(s->orelse))
            return true;
    return false;
}

/* The loops stand behind each other at the top and may be one. */
static bool loops_join(const Func *f, const LoopList *loops) {
    const Stmt *first = loops->at[0], *s = f->body;
    bool ok = first->kind == AXIS_PAR && first->run == RUN_SERIAL && first->def && !first->def->at;
    while (s && s != first)
        s = s->next;
    for (int i = 0; ok && i < loops->len; i++, s = s ? s->next : NULL)
        ok = s == loops->at[i] && s->a == first->a && s->kind == AXIS_PAR && s->run == RUN_SERIAL &&
             s->def == first->def;
    return ok && first;
}

/* Notes the rows that an iteration of `top` stores; false: they are not `block` that follow those before. */
static bool note_block(Slide *s, const Stmt *top) {
    int64_t n, all, block;
    const Expr *extent = s->def->axis[s->dim].var->extent;
    if (top->label == s->def->axis[s->dim].var->name && top->a == extent)
        block = 1;
    else if (expr_is_int(top->a, &n) && expr_is_int(extent, &all) && n > 0 && all % n == 0 &&
             loop_stores_rows(s->ctx, s->from, top, s->dim, all / n))
        block = all / n;
    else
        return false;
    bool same = !s->block || s->block == block;
    s->block = block;
    return same;
}

/* Does every nest of d go through its rows outermost, one after the other? */
static bool rows_outermost(Slide *s, const Func *f) {
    bool found = false;
    for (const Stmt *top = f->body; top; top = top->next) {
        if (top->def != s->def)
            continue;
        bool in_order = top->kind == AXIS_PAR || (s->step <= s->rows && s->first <= 0);
        if (top->op != STMT_FOR || top->run != RUN_SERIAL || !in_order || !note_block(s, top))
            return false;
        found = true;
    }
    return found;
}

/* Makes whole blocks of what an iteration reads; all iterations see them at the same places. */
static bool blocks_fit(Slide *s) {
    int64_t over = ((s->first % s->block) + s->block) % s->block;
    s->first -= over;
    s->rows = (s->rows + over + s->block - 1) / s->block * s->block;
    return s->step % s->block == 0;
}

typedef struct Hazard {
    const Func *f;
    const Def *def;
    bool found;
} Hazard;

static void stored_behind(void *data, Stmt *s) {
    Hazard *h = data;
    if (s->op != STMT_STORE || s->buf == h->def->buf)
        return;
    for (const Stmt *top = h->f->body; top; top = top->next)
        if (top->def == h->def) {
            Stmt one = *top;
            one.next = NULL;
            h->found |= stmt_uses_buf(&one, s->buf);
        }
}

/* Is something that d's nests touch stored, or d's values read, between them and the loops' end, elsewhere? */
static bool is_disturbed(const Slide *s, const Func *f, const LoopList *loops) {
    Hazard h = {f, s->def, false};
    bool behind = false, inside = false;
    for (Stmt *top = f->body; top; top = top->next) {
        Stmt one = *top;
        one.next = NULL;
        behind |= top->def == s->def;
        inside = false;
        for (int i = 0; i < loops->len; i++)
            inside |= loops->at[i] == top;
        if (top->def == s->def)
            continue;
        if (behind)
            stmt_walk(&one, stored_behind, &h);
        if (!inside && stmt_uses_buf(&one, s->from))
            return true;
    }
    return h.found;
}

/* ---- the ring ------------------------------------------------------------------------------------------ */

/* b's order of storage with `rows` rows in dimension at; what surrounds a row stays. */
static Buf *ring_new(Ctx *ctx, const Buf *b, int at, int64_t rows) {
    const Expr *dim[RANK_MAX] = {NULL};
    int64_t around[2 * RANK_MAX] = {0};
    int rank = b->rank;
    for (int i = 0; i < rank; i++)
        dim[i] = i == at ? expr_i(ctx, rows) : b->dim[i];
    Buf *r = buf_new(ctx, b->name, type_dtype(b->type), SPACE_ARENA, rank, dim);
    r->def = b->def;
    r->ndef = 1;
    r->fill = b->fill;
    for (int i = 0; b->halo && i < 2 * rank; i++)
        around[i] = i % rank == at ? 0 : b->halo[i];
    if (b->halo)
        r->halo = ctx_copy(ctx, around, 2 * (size_t)rank * sizeof *around);
    buf_store_in(ctx, r, b->where && buf_inner_axis(ctx, b) == 1, around, around + rank, 0);
    r->size = expr_add(ctx, r->size, expr_i(ctx, ROOM));
    return r;
}

static void replace_buf(Func *f, const Buf *from, Buf *to) {
    for (int i = 0; i < f->params.len; i++)
        if (f->params.at[i] == from)
            f->params.at[i] = to;
    for (int i = 0; i < f->kernel->temps.len; i++)
        if (f->kernel->temps.at[i] == from)
            f->kernel->temps.at[i] = to;
}

/* ---- rewriting ----------------------------------------------------------------------------------------- */

/* The first row that the iteration reads. */
static const Expr *first_row(const Slide *s) {
    Ctx *ctx = s->ctx;
    const Expr *p = expr_mul(ctx, expr_sym(ctx, s->loop->var), expr_i(ctx, s->step));
    return expr_add(ctx, p, expr_i(ctx, s->first));
}

static const Expr **ring_index(const Slide *s, const Expr *const *index) {
    Ctx *ctx = s->ctx;
    const Expr **at = ctx_copy(ctx, index, (size_t)s->from->rank * sizeof *at);
    if (s->rows <= s->step)
        at[s->dim] = expr_sub(ctx, at[s->dim], first_row(s));
    else
        at[s->dim] =
            expr_mod(ctx, expr_sub(ctx, at[s->dim], expr_i(ctx, s->first)), expr_i(ctx, s->rows));
    return at;
}

static const Expr *ring_load(Ctx *ctx, const Expr *e, void *data) {
    const Slide *s = data;
    return e->op == OP_LOAD && e->u.buf == s->from ? buf_load(ctx, s->ring, ring_index(s, e->kid))
                                                   : e;
}

static void ring_store(void *data, Stmt *st) {
    const Slide *s = data;
    if (st->op != STMT_STORE || st->buf != s->from)
        return;
    st->index = ring_index(s, st->index);
    st->buf = s->ring;
}

/* One row of what surrounds the buffer. */
static Stmt *fill_row(const Slide *s, const Expr *row) {
    Ctx *ctx = s->ctx;
    const Buf *b = s->from;
    const Expr *index[RANK_MAX];
    Sym *var[RANK_MAX];
    int inner = buf_inner_axis(ctx, b) < 0 ? b->rank - 1 : buf_inner_axis(ctx, b);
    for (int i = 0; i < b->rank; i++) {
        var[i] = sym_axis(ctx, str(ctx, "h"), b->dim[i]);
        index[i] = i == s->dim ? row : expr_sym(ctx, var[i]);
    }
    Stmt *st = stmt_store(ctx, (Buf *)(uintptr_t)b, b->rank, index, b->fill);
    for (int i = b->rank; i >= 0; i--) { /* along the storage innermost */
        int d = i == b->rank ? inner : i == inner ? s->dim : i;
        st = d == s->dim ? st : stmt_for(ctx, var[d], var[d]->extent, var[d]->name, NULL, st);
    }
    return st;
}

/* All bodies of d's nests, for one row or the block it begins; they leave the top. */
static Stmt *take_rows(const Slide *s, Func *f, const Expr *row) {
    Stmt **at = &f->body, *bodies = NULL;
    while (*at) {
        Stmt *top = *at;
        if (top->def != s->def) {
            at = &top->next;
            continue;
        }
        *at = top->next;
        const Expr *block = expr_fdiv(s->ctx, row, expr_i(s->ctx, s->block));
        stmt_subst(s->ctx, top->body, 1, &top->var, &block);
        bodies = stmt_join(bodies, top->body);
    }
    return bodies;
}

/* The rows that are new in this iteration. */
static Stmt *new_rows(const Slide *s, Func *f) {
    Ctx *ctx = s->ctx;
    const Axis *rows = &s->def->axis[s->dim];
    const Expr *zero = expr_i(ctx, 0), *p = expr_sym(ctx, s->loop->var), *inside = NULL;
    Sym *j = sym_axis(ctx, rows->var->name, expr_i(ctx, s->rows / s->block));
    const Expr *ahead = expr_mul(ctx, expr_sym(ctx, j), expr_i(ctx, s->block));
    const Expr *row = expr_add(ctx, first_row(s), ahead);
    const Expr *low = expr_le(ctx, zero, row), *high = expr_lt(ctx, row, rows->var->extent);
    inside = expr_proves(ctx, low) ? NULL : low;
    inside = expr_proves(ctx, high) ? inside : expr_and(ctx, inside, high);
    Stmt *body = take_rows(s, f, row);
    bool filled = s->from->halo && s->from->fill;
    Stmt *fill = NULL;
    for (int64_t i = 0; i < s->block && inside && filled; i++)
        fill = stmt_join(fill, fill_row(s, expr_add(ctx, row, expr_i(ctx, i))));
    if (inside)
        body = stmt_if(ctx, inside, body, fill);
    if (s->step < s->rows) {
        const Expr *fresh = expr_le(ctx, expr_i(ctx, s->rows - s->step), ahead);
        body = stmt_if(ctx, expr_or(ctx, expr_eq(ctx, p, zero), fresh), body, NULL);
    }
    Stmt *loop = stmt_for(ctx, j, j->extent, rows->var->name, (Def *)(uintptr_t)s->def, body);
    loop->kind = AXIS_SEQ;
    return loop;
}

/* Loops behind each other into the first of them. */
static void join_loops(Ctx *ctx, const LoopList *loops) {
    Stmt *first = loops->at[0];
    const Expr *p = expr_sym(ctx, first->var);
    for (int i = 1; i < loops->len; i++) {
        Stmt *s = loops->at[i];
        stmt_subst(ctx, s->body, 1, &s->var, &p);
        first->body = stmt_join(first->body, s->body);
        first->next = s->next;
    }
}

bool sched_slide(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    const Kernel *k = f->kernel;
    Slide s = {.ctx = ctx, .def = kernel_def(k, step->def)};
    bool temp = false;
    for (int i = 0; s.def && i < k->temps.len; i++)
        temp |= k->temps.at[i] == s.def->buf;
    if (!temp || s.def->at || s.def->scan || s.def->buf->ndef != 1 || loops.at[0]->def == s.def)
        return step_fails(ctx, why, "%s is no Def of the kernel alone", step->def);
    s.from = s.def->buf;
    if (!loops_join(f, &loops))
        return step_fails(ctx, why, "%s is not one loop over all", step->loop[0].axis);
    for (int i = 0; i < loops.len; i++)
        if (!note_rows(&s, loops.at[i], why))
            return false;
    if (!s.rows)
        return step_fails(ctx, why, "%s does not read %s", step->loop[0].axis, step->def);
    if (!rows_outermost(&s, f))
        return step_fails(ctx, why, "the loop over %s.%s is not outermost and whole", step->def,
                          s.def->axis[s.dim].var->name);
    if (!blocks_fit(&s))
        return step_fails(ctx, why, "rows of %s come in blocks that %s does not read", step->def,
                          step->loop[0].axis);
    if (is_disturbed(&s, f, &loops))
        return step_fails(ctx, why, "%s is read, or what it reads is written, elsewhere",
                          step->def);
    join_loops(ctx, &loops);
    s.loop = loops.at[0];
    s.ring = ring_new(ctx, s.from, s.dim, s.rows);
    s.loop->body = stmt_join(new_rows(&s, f), s.loop->body);
    s.loop->kind = AXIS_SEQ;
    stmt_map(ctx, s.loop->body, ring_load, &s);
    stmt_walk(s.loop->body, ring_store, &s);
    replace_buf(f, s.from, s.ring);
    return true;
}

/* ---- chunks of rows ------------------------------------------------------------------------------------ */

#define RINGS_MAX 16

/* A Def that slides, its ring for one chunk and those of all chunks. */
typedef struct Ring {
    Buf *one, *all;
    int dim;
    int64_t rows;
} Ring;

typedef struct Chunks {
    Ctx *ctx;
    Func *f;
    Stmt *loop;
    Sym *var[1 + RINGS_MAX]; /* the loop's, then those of the loops over new rows */
    Ring ring[RINGS_MAX];
    Stmt *when[RINGS_MAX]; /* conditions that change */
    const Expr *to[RINGS_MAX];
    int n, nwhen;
    const Expr *first; /* the chunk's first iteration */
    const Expr *chunk;
    Str why;
} Chunks;

static void note_ring(void *data, Stmt *s) {
    Chunks *c = data;
    Ring r = {.dim = -1};
    if (s == c->loop || !is_slid(s) || c->why)
        return;
    for (int i = 0; i < c->f->kernel->temps.len; i++)
        if (c->f->kernel->temps.at[i]->def == s->def)
            r.one = c->f->kernel->temps.at[i];
    for (int i = 0; r.one && i < r.one->rank; i++)
        if (s->def->axis[i].var->name == s->label && expr_is_int(r.one->dim[i], &r.rows))
            r.dim = i;
    if (r.dim < 0 || c->n == RINGS_MAX || !expr_is_int(s->a, NULL)) {
        step_fails(c->ctx, &c->why, "%s has no ring", s->def->name);
        return;
    }
    c->var[1 + c->n] = s->var;
    c->ring[c->n++] = r;
}

static const Ring *ring_of(const Chunks *c, const Buf *b) {
    for (int i = 0; i < c->n; i++)
        if (c->ring[i].one == b)
            return &c->ring[i];
    return NULL;
}

/* What iterations of different chunks would both write. */
static void find_shared(void *data, Stmt *s) {
    Chunks *c = data;
    bool temp = false;
    for (int i = 0; s->op == STMT_STORE && i < c->f->kernel->temps.len; i++)
        temp |= c->f->kernel->temps.at[i] == s->buf;
    if (temp && !ring_of(c, s->buf) && !c->why)
        step_fails(c->ctx, &c->why, "%s is no ring", s->buf->name);
}

/* Of the condition under which a row is new, `row == 0`: `row` is the first one that the chunk computes. A loop
 * over new rows starts with what the reader's first row needs, so all variables inside are 0 there. */
static const Expr *row_starts(Chunks *c, const Expr *eq) {
    Ctx *ctx = c->ctx;
    const Expr *coef[1 + RINGS_MAX], *rest, *start;
    const Expr *row = expr_sub(ctx, eq->kid[0], eq->kid[1]);
    int64_t times, first;
    if (!expr_linear(ctx, row, 1 + c->n, c->var, coef, &rest) || !expr_is_int(rest, &first) ||
        !expr_is_int(coef[0], &times) || times == 0)
        return NULL;
    if (times < 0)
        row = expr_sub(ctx, eq->kid[1], eq->kid[0]);
    first = times < 0 ? -first : first;
    start = expr_mul(ctx, c->first, expr_i(ctx, times < 0 ? -times : times));
    start = expr_max(ctx, expr_add(ctx, start, expr_i(ctx, first)), expr_i(ctx, 0));
    return first > 0 ? NULL : expr_eq(ctx, row, start);
}

/* Is it the part `n <= k`, or `n <= k*block`, of the condition around all of a loop over new rows k? */
static bool is_fresh(Ctx *ctx, const Expr *e, const Stmt *loop) {
    const Expr *coef, *rest;
    return e->op == OP_LE && expr_is_int(e->kid[0], NULL) && expr_uses_sym(e->kid[1], loop->var) &&
           expr_linear(ctx, e->kid[1], 1, (Sym *const *)&loop->var, &coef, &rest) &&
           expr_is_int(coef, NULL) && expr_is_int(rest, NULL);
}

/* The condition that slide has set: `row == 0 || n <= k`. */
static void set_start(void *data, Stmt *s) {
    Chunks *c = data;
    Stmt *fresh = s->body;
    if (s == c->loop || !is_slid(s) || c->why || !fresh || fresh->op != STMT_IF)
        return;
    const Expr *when = fresh->a;
    int other = when->op == OP_OR && is_fresh(c->ctx, when->kid[0], s) ? 1 : 0;
    if (!is_fresh(c->ctx, when, s) &&
        !(when->op == OP_OR && is_fresh(c->ctx, when->kid[1 - other], s)))
        return; /* all rows are new */
    const Expr *eq =
        when->op == OP_OR && when->kid[other]->op == OP_EQ ? row_starts(c, when->kid[other]) : NULL;
    if (!eq) {
        step_fails(c->ctx, &c->why, "rows of %s have no start", s->def->name);
        return;
    }
    c->when[c->nwhen] = fresh;
    c->to[c->nwhen++] = expr_or(c->ctx, eq, when->kid[1 - other]);
}

static const Expr **chunk_index(const Chunks *c, const Ring *r, const Expr *const *index) {
    Ctx *ctx = c->ctx;
    const Expr **at = ctx_copy(ctx, index, (size_t)r->one->rank * sizeof *at);
    at[r->dim] = expr_add(ctx, at[r->dim], expr_mul(ctx, c->chunk, expr_i(ctx, r->rows)));
    return at;
}

static const Expr *chunk_load(Ctx *ctx, const Expr *e, void *data) {
    const Chunks *c = data;
    const Ring *r = e->op == OP_LOAD ? ring_of(c, e->u.buf) : NULL;
    return r ? buf_load(ctx, r->all, chunk_index(c, r, e->kid)) : e;
}

static void chunk_store(void *data, Stmt *s) {
    const Chunks *c = data;
    const Ring *r = s->op == STMT_STORE ? ring_of(c, s->buf) : NULL;
    if (!r)
        return;
    s->index = chunk_index(c, r, s->index);
    s->buf = r->all;
}

/* for seq p < P { S(p) }  →  for w < ceil(P/by) { for seq p < by { if w*by + p < P { S(w*by + p) } } }
 */
static void split_chunks(Chunks *c, const Step *step, int64_t by) {
    Ctx *ctx = c->ctx;
    Stmt *s = c->loop, *inner = stmt_new(ctx, STMT_FOR);
    const Expr *extent = s->a;
    Sym *p = sym_axis(ctx, s->var->name, expr_i(ctx, by));
    const Expr *at = expr_add(ctx, c->first, expr_sym(ctx, p));
    stmt_subst(ctx, s->body, 1, &s->var, &at);
    *inner = *s;
    inner->var = p;
    inner->a = p->extent;
    inner->next = NULL;
    if (expr_multiple(ctx, extent) % by != 0)
        inner->body = stmt_if(ctx, expr_lt(ctx, at, extent), s->body, NULL);
    s->var = c->chunk->u.sym;
    s->a = c->chunk->u.sym->extent;
    s->kind = AXIS_PAR;
    s->label = step->word[0];
    s->body = inner;
}

bool sched_chunk(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    Chunks c = {.ctx = ctx, .f = f, .loop = loops.at[0], .why = NULL};
    const Stmt *top = f->body;
    while (top && top != c.loop)
        top = top->next;
    if (step->nnum != 1 || step->num[0] < 1 || step->nword != 1)
        return step_fails(ctx, why, "chunk needs a positive number and a name");
    if (!top || loops.len != 1 || !is_slid(top) || !expr_is_int(top->a, NULL))
        return step_fails(ctx, why,
                          "%s is not the loop, of constant extent, that something slides in",
                          step->loop[0].axis);
    const Expr *by = expr_i(ctx, step->num[0]);
    Sym *w = sym_axis(ctx, step->word[0], expr_ceildiv(ctx, top->a, step->num[0]));
    c.chunk = expr_sym(ctx, w);
    c.first = expr_mul(ctx, c.chunk, by);
    c.var[0] = top->var;
    Stmt *body = c.loop->body;
    stmt_walk(body, note_ring, &c);
    stmt_walk(body, find_shared, &c);
    stmt_walk(body, set_start, &c);
    if (c.why) {
        *why = c.why;
        return false;
    }
    for (int i = 0; i < c.nwhen; i++)
        c.when[i]->a = c.to[i];
    for (int i = 0; i < c.n; i++) {
        Ring *r = &c.ring[i];
        int64_t chunks = 1;
        expr_is_int(w->extent, &chunks);
        r->all = ring_new(ctx, r->one, r->dim, chunks * r->rows);
        replace_buf(f, r->one, r->all);
    }
    stmt_map(ctx, body, chunk_load, &c);
    stmt_walk(body, chunk_store, &c);
    split_chunks(&c, step, step->num[0]);
    return true;
}
