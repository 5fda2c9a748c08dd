/* Places every arena buffer. memory_place.c searches with numbers: with the sizes as they are, or, where they
 * depend on dims, with those of a sample; which buffer lies above which then holds for all dims, and offsets are
 * sums and maxima over them. Buffers whose size only the run knows come behind. Parts of a concatenation lie in its
 * buffer, and the kernel that copied them is gone. The calls are in the order of memory_order.c where that makes
 * the arena smaller.
 *
 *   before  a[0..4) b[1..2) c[2..4)      after  a at 0, b at 64, c at 64   (lifetimes in call order)
 *   before  a N*64 bytes, b 64, c N*8    after  a at 0, b and c at N*64 */
#include "lower/memory_calls.h"
#include "lower/memory_place.h"

#include <stdlib.h>

#define ALIGN 64       /* bytes: a cache line, and the widest vector */
#define SAMPLE_DIM 256 /* what an unknown dim counts as when offsets are searched for */

typedef struct Slot Slot;
struct Slot {
    Buf *buf;
    Slot *lead;         /* the slot whose place it shares; itself when it has one of its own */
    Place place;        /* size: bytes at the sample */
    const Expr *bytes;  /* over dims, rounded up to whole lines; NULL: known only while running */
    const Expr *open;   /* the same when bytes is NULL */
    const Expr *offset; /* result */
    int home;           /* open: number in Memory.homes, else -1 */
};

typedef struct KernelCall {
    Stmt *stmt;
    int position; /* -1: in a loop */
} KernelCall;

/* In all calls of func, param `to` has the place of param `from`. */
typedef struct Share {
    Func *func;
    int from, to;
} Share;

typedef struct Memory {
    Lower *lo;
    Map *slot_of; /* Buf → Slot */
    VEC(Slot *) slots;
    VEC(KernelCall) calls;
    VEC(Share) shares;
    VEC(Slot *) homes;  /* places of open size, in the order of their first use */
    Map *offsets;       /* Expr over dims → Sym that holds it */
    Stmt *sets;         /* of these symbols */
    Map *in_place;      /* Func → what calls_in_place found */
    VEC(Slot *) closed; /* those with a place of their own and a size that follows from the dims */
    int64_t end, bound; /* of the places found for them, at the sample */
    int position;
} Memory;

const Expr *memory_bytes(Ctx *ctx, const Buf *b) {
    const Expr *n = b->size ? b->size : buf_count(ctx, b);
    if (!b->size && b->bound)
        n = b->bound;
    n = expr_mul(ctx, n, expr_i(ctx, type_bytes(type_dtype(b->type))));
    return expr_mul(ctx, expr_ceildiv(ctx, n, ALIGN), expr_i(ctx, ALIGN));
}

static void touch(Memory *m, Buf *b, int from, int to) {
    if (!b || b->space != SPACE_ARENA)
        return;
    touch(m, b->whole, from, to);
    Slot *s = map_get(m->slot_of, b);
    if (!s) {
        s = ctx_new(m->lo->ctx, Slot);
        s->buf = b;
        s->lead = b->whole ? map_get(m->slot_of, b->whole) : s;
        s->place.from = from;
        s->place.id = m->slots.len;
        map_put(m->slot_of, b, s);
        vec_push(m->lo->ctx, &m->slots, s);
    }
    s->place.from = from < s->place.from ? from : s->place.from;
    s->place.to = to > s->place.to ? to : s->place.to;
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
    if (s->op == STMT_CALL) {
        KernelCall call = {s, fixed ? -1 : a};
        vec_push(m->lo->ctx, &m->calls, call);
        for (int i = 0; i < s->func->params.len; i++)
            touch(m, s->arg[i], a, b);
    }
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

/* ---- slots ------------------------------------------------------------------------------------------- */

/* The copy of all parts into their whole? It is the only call that writes the whole. */
static bool copies_parts(const Stmt *s) {
    const Buf *whole = NULL;
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        if (s->func->kernel && s->func->params.at[i] == kernel_root(s->func->kernel)->buf)
            whole = s->arg[i];
    return whole && whole->space == SPACE_ARENA && whole->parts.len;
}

/* Parts are where they belong: nothing is to copy. */
static Stmt *drop_copies(Stmt *s) {
    Stmt *first = s, **end = &first;
    for (; s; s = s->next) {
        s->body = drop_copies(s->body);
        s->orelse = drop_copies(s->orelse);
        if (copies_parts(s)) {
            s->func->uses--;
            *end = s->next;
        } else {
            end = &s->next;
        }
    }
    return first;
}

/* ---- in place ---------------------------------------------------------------------------------------- */

static Slot *slot_lead(Slot *s) {
    while (s->lead != s)
        s = s->lead;
    return s;
}

static bool same_room(const Slot *x, const Slot *y) {
    int64_t a, b;
    if (!x->bytes || !y->bytes)
        return false;
    return x->bytes == y->bytes ||
           (expr_is_int(x->bytes, &a) && expr_is_int(y->bytes, &b) && b <= a);
}

/* In this call argument i dies and argument j is born, in the same room. */
static bool call_shares(const Memory *m, const KernelCall *c, int i, int j) {
    const Buf *a = c->stmt->arg[i], *b = c->stmt->arg[j];
    const Slot *x = map_get(m->slot_of, a), *y = map_get(m->slot_of, b);
    int seen = 0;
    for (int k = 0; k < c->stmt->func->params.len; k++)
        seen += c->stmt->arg[k] == a || c->stmt->arg[k] == b;
    return c->position >= 0 && seen == 2 && x && y && a->type == b->type && !a->whole &&
           !b->whole && !a->parts.len && !b->parts.len && x->place.to == c->position &&
           x->place.from < c->position && y->place.from == c->position && same_room(x, y);
}

/* All calls of f can do without param i once param j has its place. */
static bool share_params(Memory *m, Func *f, int i, int j) {
    for (int k = 0; k < m->calls.len; k++)
        if (m->calls.at[k].stmt->func == f && !call_shares(m, &m->calls.at[k], i, j))
            return false;
    if (!func_hands_over(m->lo->ctx, m->in_place, f, i))
        return false;
    for (int k = 0; k < m->calls.len; k++) {
        const Stmt *s = m->calls.at[k].stmt;
        if (s->func != f)
            continue;
        Slot *x = slot_lead(map_get(m->slot_of, s->arg[i]));
        Slot *y = slot_lead(map_get(m->slot_of, s->arg[j]));
        y->lead = x;
        x->place.from = y->place.from < x->place.from ? y->place.from : x->place.from;
        x->place.to = y->place.to > x->place.to ? y->place.to : x->place.to;
    }
    Share share = {f, i, j};
    vec_push(m->lo->ctx, &m->shares, share);
    return true;
}

/* What shares a place is read by the name of the result. */
static void rename_shared(Memory *m) {
    for (int i = 0; i < m->shares.len; i++) {
        const Share *s = &m->shares.at[i];
        Buf *pair[2] = {s->func->params.at[s->from], s->func->params.at[s->to]};
        stmt_map(m->lo->ctx, s->func->body, load_other, pair);
    }
}

static void share_func(Memory *m, Func *f) {
    int j = func_root(f);
    for (int i = 0; i < f->params.len && j >= 0; i++)
        if (i != j && f->params.at[i]->space == SPACE_ARENA &&
            f->params.at[j]->space == SPACE_ARENA && share_params(m, f, i, j))
            return;
}

static void share_all(Memory *m) {
    Map *done = map_new(m->lo->ctx);
    for (int i = 0; i < m->calls.len; i++) {
        Func *f = m->calls.at[i].stmt->func;
        if (!map_get(done, f))
            share_func(m, f);
        map_put(done, f, f);
    }
}

/* ---- placing ---------------------------------------------------------------------------------------- */

/* Bytes at the sample: every dim SAMPLE_DIM, or the nearest it may be. */
static int64_t sample_bytes(const Lower *lo, const Expr *bytes) {
    Ctx *ctx = lo->ctx;
    const Program *prog = lo->prog;
    Sym **dim = ctx_newn(ctx, Sym *, prog->dims.len);
    const Expr **value = ctx_newn(ctx, const Expr *, prog->dims.len);
    int64_t n;
    for (int i = 0; i < prog->dims.len; i++) {
        dim[i] = prog->dims.at[i];
        n = SAMPLE_DIM < dim[i]->min ? dim[i]->min : SAMPLE_DIM;
        value[i] = expr_i(ctx, n > dim[i]->max ? dim[i]->max : n);
    }
    return expr_is_int(expr_subst(ctx, bytes, prog->dims.len, dim, value), &n) && n > 0 ? n : 0;
}

/* Whatever the dims: no size is negative, also on a path that is not taken. */
static const Expr *closed_bytes(Ctx *ctx, const Buf *b) {
    const Expr *e = expr_over_dims(ctx, memory_bytes(ctx, b));
    return e && expr_range(ctx, e).min < 0 ? expr_max(ctx, e, expr_i(ctx, 0)) : e;
}

/* An offset over dims, as a symbol that the entry sets first when it is more than a constant. */
static const Expr *offset_symbol(Memory *m, const Expr *e) {
    Ctx *ctx = m->lo->ctx;
    if (expr_size(ctx, e, 2) < 2)
        return e;
    Sym *s = map_get(m->offsets, e);
    if (!s) {
        s = sym_new(ctx, SYM_BIND, str(ctx, "at"), INT64_MIN, INT64_MAX);
        s->value = e;
        map_put(m->offsets, e, s);
        Stmt *set = stmt_new(ctx, STMT_ASSIGN);
        set->var = s;
        set->a = e;
        m->sets = stmt_join(m->sets, set);
    }
    return expr_sym(ctx, s);
}

static const Expr *slot_end(Ctx *ctx, const Slot *s) {
    return expr_add(ctx, s->offset, s->bytes);
}

/* The larger of a (NULL: nothing yet) and b. */
static const Expr *at_least(Ctx *ctx, const Expr *a, const Expr *b) {
    return a ? expr_max(ctx, a, b) : b;
}

static int by_offset(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    if (a->place.at != b->place.at)
        return a->place.at < b->place.at ? -1 : 1;
    return a->place.id < b->place.id ? -1 : 1;
}

/* Slots of which each lies above those before it that it meets: its offset is the largest of their ends. A slot
 * below one that is itself below adds nothing. Holds for all dims; how tight it is was searched for at the
 * sample. Returns the end of all. */
static const Expr *stack_slots(Memory *m, Slot **slot, int n) {
    Ctx *ctx = m->lo->ctx;
    const Expr *all = NULL;
    bool *top = ctx_newn(ctx, bool, n);
    Slot **under = ctx_newn(ctx, Slot *, n);
    qsort(slot, (size_t)n, sizeof(Slot *), by_offset);
    for (int i = 0; i < n; i++) {
        const Expr *at = NULL;
        int kept = 0;
        top[i] = true;
        for (int j = i; j-- > 0;) {
            bool meets = place_meets(&slot[i]->place, &slot[j]->place);
            for (int k = 0; k < kept && meets; k++)
                meets = !place_meets(&under[k]->place, &slot[j]->place);
            if (!meets)
                continue;
            under[kept++] = slot[j];
            top[j] = false;
            at = at_least(ctx, at, slot_end(ctx, slot[j]));
        }
        slot[i]->offset = at ? offset_symbol(m, at) : expr_i(ctx, 0);
    }
    for (int i = 0; i < n; i++)
        if (top[i])
            all = at_least(ctx, all, slot_end(ctx, slot[i]));
    return all;
}

/* Sizes that follow from the dims: one search for all, at the sample. */
static void search_closed(Memory *m) {
    Ctx *ctx = m->lo->ctx;
    Place **place = ctx_newn(ctx, Place *, m->slots.len);
    for (int i = 0; i < m->slots.len; i++)
        if (m->slots.at[i]->bytes && m->slots.at[i]->lead == m->slots.at[i]) {
            place[m->closed.len] = &m->slots.at[i]->place;
            vec_push(ctx, &m->closed, m->slots.at[i]);
        }
    m->end = memory_place(ctx, place, m->closed.len, &m->bound);
}

/* Their offsets; returns the end of all. */
static const Expr *place_closed(Memory *m) {
    Ctx *ctx = m->lo->ctx;
    bool fixed = true;
    for (int i = 0; i < m->closed.len; i++)
        fixed &= expr_is_int(m->closed.at[i]->bytes, NULL);
    if (!fixed)
        return stack_slots(m, m->closed.at, m->closed.len);
    for (int i = 0; i < m->closed.len; i++)
        m->closed.at[i]->offset = expr_i(ctx, m->closed.at[i]->place.at);
    return expr_i(ctx, m->end);
}

static int by_start(const void *pa, const void *pb) {
    const Slot *a = *(Slot *const *)pa, *b = *(Slot *const *)pb;
    return a->place.from != b->place.from ? a->place.from - b->place.from
                                          : (a->place.id < b->place.id ? -1 : 1);
}

/* Sizes that only the run knows: a home starts where the one before it ends, at a symbol the entry sets; it
 * serves the next slot of the same size expression when its own is done. Returns all bytes. */
static const Expr *place_open(Memory *m, const Expr *start) {
    Ctx *ctx = m->lo->ctx;
    const Expr *bytes = start;
    VEC(int) busy = {0};
    if (m->slots.len)
        qsort(m->slots.at, (size_t)m->slots.len, sizeof *m->slots.at, by_start);
    for (int i = 0; i < m->slots.len; i++) {
        Slot *s = m->slots.at[i];
        s->home = -1;
        if (s->bytes || s->lead != s)
            continue;
        int h = 0;
        while (h < m->homes.len && (m->homes.at[h]->open != s->open || busy.at[h] >= s->place.from))
            h++;
        s->home = h;
        if (h < m->homes.len) {
            s->offset = m->homes.at[h]->offset;
            busy.at[h] = s->place.to;
            continue;
        }
        s->offset =
            h == 0 ? bytes
                   : expr_sym(ctx, sym_new(ctx, SYM_RUN, str(ctx, "at"), INT64_MIN, INT64_MAX));
        bytes = expr_add(ctx, bytes, s->open);
        vec_push(ctx, &m->homes, s);
        vec_push(ctx, &busy, s->place.to);
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

/* An open arena must reach to `end`. */
static Stmt *check_end(const Memory *m, const Expr *end) {
    Stmt *check = stmt_new(m->lo->ctx, STMT_CHECK);
    check->a = expr_le(m->lo->ctx, end, expr_sym(m->lo->ctx, m->lo->module->arena_cap));
    check->b = expr_i(m->lo->ctx, CHECK_MEMORY);
    return check;
}

/* The entry sets the start of home h, and in an open arena checks its end. */
static Stmt *settle_home(Memory *m, Stmt *s, int h) {
    Ctx *ctx = m->lo->ctx;
    const Slot *home = m->homes.at[h];
    const Expr *end = expr_add(ctx, home->offset, home->open);
    if (h > 0) {
        const Slot *before = m->homes.at[h - 1];
        Stmt *set = stmt_new(ctx, STMT_ASSIGN);
        set->var = home->offset->u.sym;
        set->a = expr_add(ctx, before->offset, before->open);
        s = insert_before(ctx, s, set);
    }
    return m->lo->module->arena_cap ? insert_before(ctx, s, check_end(m, end)) : s;
}

static int last_home(const Memory *m, const Stmt *s) {
    int last = -1;
    int n = s->op == STMT_CALL ? s->func->params.len : s->op == STMT_HOST ? s->call->out.len : 0;
    for (int i = 0; i < n; i++) {
        const Buf *b = s->op == STMT_CALL ? s->arg[i] : s->call->out.at[i];
        const Slot *slot = b ? map_get(m->slot_of, b) : NULL;
        if (slot && slot->home > last)
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

int64_t memory_sample(const Lower *lo, const Buf *b) {
    const Expr *bytes = closed_bytes(lo->ctx, b);
    return bytes ? sample_bytes(lo, bytes) : -1;
}

/* Lifetimes, who shares a place, and the places, with the calls as they are. Changes nothing but symbols. */
static Memory search_places(Lower *lo, Map *in_place) {
    Ctx *ctx = lo->ctx;
    Memory m = {.lo = lo, .slot_of = map_new(ctx), .offsets = map_new(ctx), .in_place = in_place};
    live_stmts(&m, lo->module->entry->body, -1, -1);
    for (int i = 0; i < m.slots.len; i++) {
        Slot *s = m.slots.at[i];
        s->bytes = closed_bytes(ctx, s->buf);
        s->open = s->bytes ? NULL : memory_bytes(ctx, s->buf);
        s->place.size = s->bytes ? sample_bytes(lo, s->bytes) : 0;
    }
    share_all(&m);
    search_closed(&m);
    return m;
}

/* With the calls in another order, where that is better. */
static Memory search_orders(Lower *lo) {
    Func *entry = lo->module->entry;
    Map *in_place = map_new(lo->ctx);
    Memory m = search_places(lo, in_place);
    Stmt *was = calls_reorder(lo, in_place);
    if (was) {
        Memory other = search_places(lo, in_place);
        if (other.end < m.end)
            return other;
        entry->body = was;
    }
    return m;
}

bool memory_plan(Lower *lo) {
    Ctx *ctx = lo->ctx;
    Module *mod = lo->module;
    mod->entry->body = drop_copies(mod->entry->body);
    kernels_drop_uncalled(lo);
    Memory m = search_orders(lo);
    rename_shared(&m);
    mod->arena_sample = m.end;
    mod->arena_bound = m.bound;
    const Expr *closed = offset_symbol(&m, place_closed(&m)), *bytes = place_open(&m, closed);
    if (m.homes.len == 0 || expr_is_closed(ctx, bytes)) {
        mod->arena_bytes = bytes;
    } else {
        mod->arena_fixed = 0;
        expr_is_int(closed, &mod->arena_fixed);
        mod->arena_cap = sym_new(ctx, SYM_RUN, str(ctx, "arena_bytes"), 0, INT64_MAX);
        m.sets = stmt_join(m.sets, check_end(&m, closed));
    }
    for (int i = 0; i < m.slots.len; i++)
        m.slots.at[i]->buf->offset = slot_lead(m.slots.at[i])->offset;
    settle_homes(&m, mod->entry->body, 0);
    mod->entry->body = stmt_join(m.sets, mod->entry->body);
    memory_check(ctx, mod);
    loop_let(ctx, mod->entry);
    for (int i = 0; i < m.slots.len; i++)
        vec_push(ctx, &mod->arena, m.slots.at[i]->buf);
    return true;
}
