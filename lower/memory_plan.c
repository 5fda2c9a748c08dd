/* Places every arena buffer. Buffers of constant size: a portfolio of greedy orders, the best one kept;
 * buffers whose size depends on symbols come behind, a slot being used again by buffers of equal size.
 *
 *   before  a[0..4) b[1..2) c[2..4)      after  a at 0, b at 64, c at 64   (lifetimes in call order) */
#include "lower/lower.h"

#include <stdlib.h>

#define ALIGN 64 /* bytes: a cache line, and the widest vector */

typedef struct Slot {
    Buf *buf;
    int from, to; /* first and last position that touches it */
    int64_t size; /* bytes, rounded up; -1: symbolic */
    const Expr *symbolic;
    int home; /* symbolic: number in Memory.homes */
    int64_t at;
} Slot;

typedef struct Memory {
    Lower *lo;
    Map *slot_of; /* Buf → Slot */
    VEC(Slot *) slots;
    VEC(Slot *) homes; /* places of symbolic size, in the order of their first use */
    int position;
} Memory;

static const Expr *align_up(Ctx *ctx, const Expr *bytes) {
    return expr_mul(ctx, expr_ceildiv(ctx, bytes, ALIGN), expr_i(ctx, ALIGN));
}

/* Bytes of b, rounded up to whole lines. */
static const Expr *buf_bytes(Ctx *ctx, const Buf *b) {
    const Expr *n = b->size ? b->size : buf_count(ctx, b);
    if (!b->size && b->bound)
        n = b->bound;
    return align_up(ctx, expr_mul(ctx, n, expr_i(ctx, type_bytes(type_dtype(b->type)))));
}

static void touch(Memory *m, Buf *b, int from, int to) {
    if (!b || b->space != SPACE_ARENA)
        return;
    Slot *s = map_get(m->slot_of, b);
    if (!s) {
        s = ctx_new(m->lo->ctx, Slot);
        s->buf = b;
        s->from = from;
        s->symbolic = buf_bytes(m->lo->ctx, b);
        if (!expr_is_int(s->symbolic, &s->size))
            s->size = -1;
        map_put(m->slot_of, b, s);
        vec_push(m->lo->ctx, &m->slots, s);
    }
    s->from = from < s->from ? from : s->from;
    s->to = to > s->to ? to : s->to;
}

typedef struct Touching {
    Memory *m;
    int from, to;
} Touching;

static void touch_node(void *data, const Expr *e) {
    Touching *t = data;
    if (e->op == OP_LOAD)
        touch(t->m, e->u.buf, t->from, t->to);
}

static void touch_expr(Memory *m, const Expr *e, int from, int to) {
    Touching t = {m, from, to};
    if (e)
        expr_walk(m->lo->ctx, e, touch_node, &t);
}

static void live_stmts(Memory *m, Stmt *s, int from, int to);

/* Everything touched inside a loop lives through all of it: iterations may hand values on. */
static void live_stmt(Memory *m, Stmt *s, int from, int to) {
    bool fixed = from >= 0;
    int a = fixed ? from : m->position, b = fixed ? to : m->position;
    m->position++;
    touch_expr(m, s->a, a, b);
    if (s->op == STMT_CALL)
        for (int i = 0; i < s->func->params.len; i++)
            touch(m, s->arg[i], a, b);
    if (s->op == STMT_HOST) {
        for (int i = 0; i < s->call->in.len; i++)
            touch(m, s->call->in.at[i], a, b);
        for (int i = 0; i < s->call->out.len; i++)
            touch(m, s->call->out.at[i], a, b);
        for (int i = 0; i < s->call->attr.len; i++)
            touch_expr(m, s->call->attr.at[i], a, b);
    }
    if (s->op == STMT_WHILE && !fixed) {
        int end = m->position + stmt_count(s->body);
        touch_expr(m, s->a, a, end);
        live_stmts(m, s->body, a, end);
        m->position = end + 1;
    } else {
        live_stmts(m, s->body, from, to);
        live_stmts(m, s->orelse, from, to);
    }
}

static void live_stmts(Memory *m, Stmt *s, int from, int to) {
    for (; s; s = s->next)
        live_stmt(m, s, from, to);
}

/* ---- placing ---------------------------------------------------------------------------------------- */

static int by_size(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->buf->id < b->buf->id ? -1 : 1;
}

static int by_start(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    return a->from != b->from ? a->from - b->from : by_size(pa, pb);
}

static int by_area(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    double x = (double)a->size * (a->to - a->from + 1), y = (double)b->size * (b->to - b->from + 1);
    return x != y ? (x > y ? -1 : 1) : by_size(pa, pb);
}

static int by_length(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    int x = a->to - a->from, y = b->to - b->from;
    return x != y ? y - x : by_size(pa, pb);
}

static bool overlap(const Slot *a, const Slot *b) {
    return a->from <= b->to && b->from <= a->to;
}

static int by_offset(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    return a->at != b->at ? (a->at < b->at ? -1 : 1) : (a->buf->id < b->buf->id ? -1 : 1);
}

/* Lowest free offset for each slot in turn (best fit among the gaps). Returns the peak. */
static int64_t place(Slot **order, int n, Slot **live) {
    int64_t peak = 0;
    for (int i = 0; i < n; i++) {
        int nlive = 0;
        for (int j = 0; j < i; j++)
            if (overlap(order[i], order[j]))
                live[nlive++] = order[j];
        qsort(live, (size_t)nlive, sizeof *live, by_offset);
        int64_t end = 0, best = -1, gap = INT64_MAX;
        for (int j = 0; j < nlive; j++) {
            int64_t room = live[j]->at - end;
            if (room >= order[i]->size && room < gap) {
                best = end;
                gap = room;
            }
            if (live[j]->at + live[j]->size > end)
                end = live[j]->at + live[j]->size;
        }
        order[i]->at = best >= 0 ? best : end;
        if (order[i]->at + order[i]->size > peak)
            peak = order[i]->at + order[i]->size;
    }
    return peak;
}

/* Largest sum of sizes live at one position: no plan can need less. */
static int64_t lower_bound(Slot *const *slot, int n) {
    int64_t bound = 0;
    for (int i = 0; i < n; i++) {
        int64_t sum = 0;
        for (int j = 0; j < n; j++)
            if (slot[j]->from <= slot[i]->from && slot[i]->from <= slot[j]->to)
                sum += slot[j]->size;
        bound = sum > bound ? sum : bound;
    }
    return bound;
}

static int64_t place_static(Memory *m) {
    Ctx *ctx = m->lo->ctx;
    int n = 0;
    Slot **fix = ctx_newn(ctx, Slot *, m->slots.len), **live = ctx_newn(ctx, Slot *, m->slots.len);
    for (int i = 0; i < m->slots.len; i++)
        if (m->slots.at[i]->size >= 0)
            fix[n++] = m->slots.at[i];
    static int (*const orders[])(const void *, const void *) = {by_size, by_area, by_length,
                                                                by_start};
    int64_t best = INT64_MAX, bound = lower_bound(fix, n);
    for (int o = 0; o < 4 && best > bound; o++) {
        qsort(fix, (size_t)n, sizeof *fix, orders[o]);
        int64_t peak = place(fix, n, live);
        if (peak >= best)
            continue;
        best = peak;
        for (int i = 0; i < n; i++)
            fix[i]->buf->offset = expr_i(ctx, fix[i]->at);
    }
    m->lo->module->arena_bound = bound;
    return n ? best : 0;
}

/* Symbolic sizes: a home starts where the one before it ends, at a symbol the entry sets; it serves the next
 * buffer of the same size expression when its own is done. Returns all bytes, over the sizes alone. */
static const Expr *place_symbolic(Memory *m, int64_t start) {
    Ctx *ctx = m->lo->ctx;
    const Expr *bytes = expr_i(ctx, start);
    VEC(int) busy = {0};
    if (m->slots.len)
        qsort(m->slots.at, (size_t)m->slots.len, sizeof *m->slots.at, by_start);
    for (int i = 0; i < m->slots.len; i++) {
        Slot *s = m->slots.at[i];
        if (s->size >= 0)
            continue;
        int h = 0;
        while (h < m->homes.len &&
               (m->homes.at[h]->symbolic != s->symbolic || busy.at[h] >= s->from))
            h++;
        s->home = h;
        if (h < m->homes.len) {
            s->buf->offset = m->homes.at[h]->buf->offset;
            busy.at[h] = s->to;
            continue;
        }
        s->buf->offset =
            h == 0 ? bytes
                   : expr_sym(ctx, sym_new(ctx, SYM_RUN, str(ctx, "at"), INT64_MIN, INT64_MAX));
        bytes = expr_add(ctx, bytes, s->symbolic);
        vec_push(ctx, &m->homes, s);
        vec_push(ctx, &busy, s->to);
    }
    return bytes;
}

/* ---- sizes that only the run knows ------------------------------------------------------------------- */

#define CLOSED_MAX 100.0 /* nodes of an expression over dims, written out as a tree */

typedef struct Closing {
    Map *done; /* Expr → closed Expr */
    Map *size; /* closed Expr → double: nodes as a tree */
    bool open;
} Closing;

static const Expr *close_node(Ctx *ctx, const Expr *e, void *data) {
    Closing *c = data;
    const Expr *to = e;
    if (e->op == OP_SYM && e->u.sym->kind == SYM_BIND && e->u.sym->value && !c->open) {
        to = map_get(c->done, e->u.sym);
        if (!to) {
            to = expr_map(ctx, e->u.sym->value, close_node, c);
            map_put(c->done, e->u.sym, (void *)(uintptr_t)to);
        }
    }
    double *n = map_get(c->size, to);
    if (!n) {
        n = ctx_new(ctx, double);
        *n = 1;
        for (int i = 0; i < to->nkid; i++) {
            const double *kid = map_get(c->size, to->kid[i]);
            *n += kid ? *kid : 1;
        }
        map_put(c->size, to, n);
    }
    c->open |=
        *n > CLOSED_MAX || to->op == OP_LOAD || (to->op == OP_SYM && to->u.sym->kind != SYM_DIM);
    return to;
}

const Expr *expr_over_dims(Ctx *ctx, const Expr *e) {
    Closing c = {map_new(ctx), map_new(ctx), false};
    const Expr *to = expr_map(ctx, e, close_node, &c);
    return c.open ? NULL : to;
}

/* Puts `first` in front of s; returns the node that holds s afterwards. */
static Stmt *insert_before(Ctx *ctx, Stmt *s, Stmt *first) {
    Stmt *was = stmt_new(ctx, STMT_CHECK);
    *was = *s;
    *s = *first;
    s->next = was;
    return was;
}

/* The entry sets the start of home h, and in an open arena checks its end. */
static Stmt *settle_home(Memory *m, Stmt *s, int h) {
    Ctx *ctx = m->lo->ctx;
    const Slot *home = m->homes.at[h];
    const Expr *end = expr_add(ctx, home->buf->offset, home->symbolic);
    if (h > 0) {
        const Slot *before = m->homes.at[h - 1];
        Stmt *set = stmt_new(ctx, STMT_ASSIGN);
        set->var = home->buf->offset->u.sym;
        set->a = expr_add(ctx, before->buf->offset, before->symbolic);
        s = insert_before(ctx, s, set);
    }
    if (!m->lo->module->arena_cap)
        return s;
    Stmt *check = stmt_new(ctx, STMT_CHECK);
    check->a = expr_le(ctx, end, expr_sym(ctx, m->lo->module->arena_cap));
    check->b = expr_i(ctx, CHECK_MEMORY);
    return insert_before(ctx, s, check);
}

static int last_home(const Memory *m, const Stmt *s) {
    int last = -1;
    int n = s->op == STMT_CALL ? s->func->params.len : s->op == STMT_HOST ? s->call->out.len : 0;
    for (int i = 0; i < n; i++) {
        const Buf *b = s->op == STMT_CALL ? s->arg[i] : s->call->out.at[i];
        const Slot *slot = b ? map_get(m->slot_of, b) : NULL;
        if (slot && slot->size < 0 && slot->home > last)
            last = slot->home;
    }
    return last;
}

/* Before the first statement of a path that touches a home, it and all before it are settled: their sizes are
 * known by then, or 0 on this path. `done` homes are settled already. */
static void settle_homes(Memory *m, Stmt *s, int done) {
    for (; s; s = s->next) {
        for (int last = last_home(m, s); done <= last; done++)
            s = settle_home(m, s, done);
        settle_homes(m, s->body, done);
        settle_homes(m, s->orelse, done);
    }
}

typedef struct Closed {
    Ctx *ctx;
    Map *seen;
    bool open;
} Closed;

static void closed_node(void *data, const Expr *e) {
    Closed *c = data;
    if (e->op == OP_LOAD || (e->op == OP_SYM && e->u.sym->kind == SYM_RUN))
        c->open = true;
    if (e->op != OP_SYM || e->u.sym->kind != SYM_BIND || map_get(c->seen, e->u.sym))
        return;
    map_put(c->seen, e->u.sym, e->u.sym);
    expr_walk(c->ctx, e->u.sym->value, closed_node, c);
}

/* Follows from the model's dims, by way of BIND symbols. */
static bool expr_is_closed(Ctx *ctx, const Expr *e) {
    Closed c = {ctx, map_new(ctx), false};
    expr_walk(ctx, e, closed_node, &c);
    return !c.open;
}

bool memory_plan(Lower *lo) {
    Memory m = {.lo = lo, .slot_of = map_new(lo->ctx)};
    live_stmts(&m, lo->module->entry->body, -1, -1);
    int64_t fixed = place_static(&m);
    const Expr *bytes = place_symbolic(&m, fixed);
    if (expr_is_closed(lo->ctx, bytes)) {
        lo->module->arena_bytes = bytes;
    } else {
        lo->module->arena_fixed = fixed;
        lo->module->arena_cap =
            sym_new(lo->ctx, SYM_RUN, str(lo->ctx, "arena_bytes"), 0, INT64_MAX);
    }
    settle_homes(&m, lo->module->entry->body, 0);
    loop_let(lo->ctx, lo->module->entry);
    for (int i = 0; i < m.slots.len; i++)
        vec_push(lo->ctx, &lo->module->arena, m.slots.at[i]->buf);
    return true;
}
