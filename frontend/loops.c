/* frontend/loops.c — Loop and Scan: unrolled when that is small or the only way, else ITEM_LOOP.
 *
 * What an iteration hands to the next lies in slots: the body reads them, and at its end, when all is
 * computed, the new values are copied in.
 *   s = s0 ; loop t while t < M && c { n = body(t, s) ; y[t] = n.scan ; s = n.state ; c := n.condition }
 * A state whose extents change from one iteration to the next has symbols for them, if they can be bounded.
 * Unrolling is tried first where few iterations are expected; it is given up when a condition is not
 * a constant. Sequences can only be carried by unrolled loops. */
#include "frontend/control.h"

enum { UNROLL_MOST = 16, UNROLL_NODES = 300, UNROLL_SEQUENCE = 4096, DIMS_MOST = 1 << 30 };

/* Loop and Scan as one: the body takes [iteration, condition,] states, slices and gives [condition,] states,
 * scan outputs. */
typedef struct Looping {
    Definer *d;
    const Graph *body;
    bool loop;
    const Expr *trip; /* >= 0; NULL: no limit */
    Val *cond;        /* first condition of a Loop, or NULL */
    int nstate, nslice, nscan;
    Val **init;
    Buf **slice;
    int *slice_axis;
    bool *slice_back;
    const int64_t *scan_axis; /* NULL: all 0 */
    const int64_t *scan_back; /* NULL: none */
} Looping;

/* What one run of the body gives. */
typedef struct Round {
    Val **state, **scan;
    Buf *cond; /* of a Loop */
} Round;

/* ---- one iteration ------------------------------------------------------------------------------ */

/* Position `at` of the k-th scanned input. */
static Val *take_slice(Looping *l, Definer *d, int k, const Expr *at) {
    Ctx *ctx = d->ctx;
    Buf *x = l->slice[k];
    int axis = l->slice_axis[k];
    const Expr *dim[RANK_MAX], *index[RANK_MAX];
    for (int i = 0; i < x->rank - 1; i++)
        dim[i] = x->dim[i < axis ? i : i + 1];
    if (l->slice_back[k])
        at = expr_sub(ctx, expr_sub(ctx, l->trip, expr_i(ctx, 1)), at);
    Def *def = define_temp(d, "slice", type_dtype(x->type), x->rank - 1, dim);
    for (int i = 0; i < x->rank; i++)
        index[i] = i == axis ? at : def_var(ctx, def, i < axis ? i : i - 1);
    def->value = buf_load(ctx, x, index);
    define_emit(d, def);
    return define_val(d, def->buf);
}

/* The body at iteration `at`, Items into scope->block. */
static bool run_body(Looping *l, Scope *scope, const Expr *at, Val *const *state, Round *r) {
    Ctx *ctx = l->d->ctx;
    Definer in = define_inside(l->d, scope);
    int first = l->loop ? 2 : 0, nin = first + l->nstate + l->nslice;
    int given = l->loop ? 1 : 0, nout = given + l->nstate + l->nscan;
    Val **arg = ctx_newn(ctx, Val *, nin), **out = ctx_newn(ctx, Val *, nout);
    if (l->loop) { /* an iteration runs only when the condition holds */
        arg[0] = define_val(&in, define_number(&in, "iteration", T_I64, at));
        arg[1] = define_val(&in, define_const_scalar(&in, T_BOOL, 1));
    }
    for (int i = 0; i < l->nstate; i++)
        arg[first + i] = state[i];
    for (int i = 0; i < l->nslice; i++)
        arg[first + l->nstate + i] = take_slice(l, &in, i, at);
    if (!define_body(&in, l->body, scope, nin, arg, nout, out))
        return false;
    r->state = out + given;
    r->scan = out + given + l->nstate;
    r->cond = l->loop && out[0]->kind == VAL_TENSOR ? out[0]->buf : NULL;
    if (l->loop && (!r->cond || type_dtype(r->cond->type) != T_BOOL))
        return define_error(l->d, EXIT_MALFORMED, "the body's condition is not a bool");
    for (int i = 0; i < l->nscan; i++)
        if (r->scan[i]->kind != VAL_TENSOR)
            return define_error(l->d, EXIT_MALFORMED, "a scan output is not a tensor");
    return true;
}

/* Where the iterations' values lie in scan output k, whose elements have the given rank. */
static int scan_axis(Looping *l, int k, int rank) {
    return l->scan_axis ? define_axis(l->d, l->scan_axis[k], rank + 1) : 0;
}

static bool scan_back(const Looping *l, int k) {
    return l->scan_back && l->scan_back[k];
}

/* ---- unrolled ------------------------------------------------------------------------------------ */

typedef enum Outcome { DONE, GIVEN_UP, FAILED } Outcome;

static bool carries_sequence(const Looping *l) {
    for (int i = 0; i < l->nstate; i++)
        if (l->init[i]->kind != VAL_TENSOR)
            return true;
    return false;
}

static int64_t unroll_limit(const Looping *l) {
    int64_t trip, nodes = l->body->nodes.len;
    if (carries_sequence(l))
        return UNROLL_SEQUENCE;
    bool small = nodes * 2 <= UNROLL_NODES;
    if (l->trip && expr_is_int(l->trip, &trip) && trip < DIMS_MOST)
        return trip <= UNROLL_MOST && trip * nodes <= UNROLL_NODES ? trip : 0;
    return small && l->loop ? UNROLL_MOST : 0;
}

/* One scan output: the values side by side along a new axis. */
static bool stack_values(Looping *l, int k, int n, Val *const *v) {
    Definer *d = l->d;
    Ctx *ctx = d->ctx;
    Buf *first = v[0]->buf;
    int axis = scan_axis(l, k, first->rank);
    const Expr *dim[RANK_MAX];
    if (axis < 0 || !define_rank(d, first->rank + 1))
        return false;
    for (int i = 0; i <= first->rank; i++)
        dim[i] = i == axis ? expr_i(ctx, n) : first->dim[i < axis ? i : i - 1];
    int out = l->nstate + k;
    bool wanted = out < d->node->nout && d->node->out[out];
    Str name = wanted ? d->node->out[out]->name : d->node->op;
    Buf *y = buf_new(ctx, name, type_dtype(first->type), SPACE_ARENA, first->rank + 1, dim);
    for (int t = 0; t < n; t++) {
        const Buf *b = v[scan_back(l, k) ? n - 1 - t : t]->buf;
        if (b->rank != first->rank || b->type != first->type)
            return define_error(d, EXIT_UNSUPPORTED, "a scan output changes its rank or type");
        Def *def = def_update(ctx, name, y);
        const Expr *index[RANK_MAX];
        for (int i = 0; i < b->rank; i++) {
            index[i] = def_axis(ctx, def, str_f(ctx, "i%d", i), AXIS_PAR, b->dim[i]);
            def->at[i < axis ? i : i + 1] = index[i];
            if (!define_same(d, b->dim[i], first->dim[i], "a scan output"))
                return false;
        }
        def->at[axis] = expr_i(ctx, t);
        def->value = expr_load(ctx, (Buf *)(uintptr_t)b, b->rank, index);
        def->loc = d->node->loc;
        define_emit(d, def);
    }
    define_set(d, out, y);
    return true;
}

/* Runs the body until the condition fails; false when that cannot be told, or an error was reported. */
static bool unroll_rounds(Looping *l, Scope *trial, int64_t limit, Val **state, Val ***scans,
                          int *rounds) {
    Ctx *ctx = l->d->ctx;
    int64_t go = 1, trip = INT64_MAX;
    if (l->trip && !expr_is_int(l->trip, &trip))
        return false;
    if (l->cond && !known_constant(ctx, l->cond->buf, &go))
        return false;
    for (*rounds = 0; go && *rounds < trip; ++*rounds) {
        Round r;
        Scope *scope = define_scope(ctx, trial, trial->block);
        if (*rounds >= limit || !run_body(l, scope, expr_i(ctx, *rounds), state, &r))
            return false;
        for (int i = 0; i < l->nstate; i++)
            state[i] = r.state[i];
        for (int i = 0; i < l->nscan; i++)
            scans[i][*rounds] = r.scan[i];
        if (l->loop && !known_constant(ctx, r.cond, &go))
            return false;
    }
    return *rounds > 0 || l->nscan == 0;
}

static Outcome unroll(Looping *l) {
    Ctx *ctx = l->d->ctx;
    int64_t limit = unroll_limit(l);
    int errors = ctx->diag.errors, rounds = 0;
    if (!limit)
        return GIVEN_UP;
    Block *block = ctx_new(ctx, Block);
    Scope *trial = define_scope(ctx, l->d->scope, block);
    Val **state = ctx_copy(ctx, l->init, (size_t)l->nstate * sizeof *l->init);
    Val ***scans = ctx_newn(ctx, Val **, l->nscan);
    for (int i = 0; i < l->nscan; i++)
        scans[i] = ctx_newn(ctx, Val *, limit);
    if (!unroll_rounds(l, trial, limit, state, scans, &rounds))
        return ctx->diag.errors > errors ? FAILED : GIVEN_UP;
    for (int i = 0; i < block->items.len; i++)
        vec_push(ctx, &l->d->block->items, block->items.at[i]);
    for (int i = 0; i < l->nstate; i++)
        define_set_val(l->d, i, state[i]);
    for (int i = 0; i < l->nscan; i++)
        if (!stack_values(l, i, rounds, scans[i]))
            return FAILED;
    return DONE;
}

/* ---- as a loop ------------------------------------------------------------------------------------ */

/* The state of a loop being built: one slot a tensor. */
typedef struct State {
    int n;
    Slot **slot;
    Buf **init, **view, **now; /* before; inside the body; after one round */
    int64_t **most; /* of extents that change: what they never exceed, as assumed; else 0 */
    bool *same;     /* handed on as it is: needs no slot */
} State;

static void state_start(Looping *l, State *s) {
    Ctx *ctx = l->d->ctx;
    Leaves in = {{0}};
    for (int i = 0; i < l->nstate; i++)
        val_leaves(ctx, l->init[i], &in);
    s->n = in.at.len;
    s->init = in.at.at;
    s->slot = ctx_newn(ctx, Slot *, s->n);
    s->view = ctx_newn(ctx, Buf *, s->n);
    s->now = ctx_newn(ctx, Buf *, s->n);
    s->same = ctx_newn(ctx, bool, s->n);
    s->most = ctx_newn(ctx, int64_t *, s->n);
    for (int i = 0; i < s->n; i++)
        s->most[i] = ctx_newn(ctx, int64_t, RANK_MAX);
}

/* Slots for the next attempt; a capacity is found once the body has been seen. */
static void state_slots(Looping *l, State *s) {
    Ctx *ctx = l->d->ctx;
    for (int k = 0; k < s->n; k++) {
        const Buf *b = s->init[k];
        Sym *sym[RANK_MAX] = {NULL};
        const Expr *most[RANK_MAX] = {NULL};
        s->slot[k] = NULL;
        if (s->same[k])
            continue;
        for (int i = 0; i < b->rank; i++)
            if (s->most[k][i]) {
                sym[i] = sym_new(ctx, SYM_RUN, str_f(ctx, "%s_%d", b->name, i), 0, s->most[k][i]);
                most[i] = expr_i(ctx, 1);
            }
        s->slot[k] = ctx_new(ctx, Slot);
        slot_init(l->d, s->slot[k], str_f(ctx, "%s.state", b->name), b, b->dim, sym, most);
    }
}

/* Whether an assumption about extent i of tensor k fails after a round. The first guess is that it changes
 * within what one round shows; if that grows again, it has no bound of its own. */
static bool extent_changed(Looping *l, State *s, int k, int i) {
    Ctx *ctx = l->d->ctx;
    const Expr *a = s->slot[k]->dim[i], *b = s->now[k]->dim[i];
    int64_t *most = &s->most[k][i], max = expr_range(ctx, b).max;
    if (*most) {
        bool grows = max > *most && *most < DIMS_MOST;
        *most = grows ? DIMS_MOST : *most;
        return grows;
    }
    if (a == b || expr_proves(ctx, expr_eq(ctx, a, b)))
        return false;
    Range from = expr_range(ctx, a);
    *most = max > from.max ? max : from.max;
    *most = *most < 1 ? 1 : *most > DIMS_MOST ? DIMS_MOST : *most;
    return true;
}

/* What a round shows against what was assumed; whether another attempt is needed. */
static bool state_changed(Looping *l, State *s) {
    bool changed = false;
    for (int k = 0; k < s->n; k++) {
        if (s->same[k])
            continue;
        if (s->now[k] == s->view[k]) {
            s->same[k] = changed = true;
            continue;
        }
        for (int i = 0; i < s->now[k]->rank; i++)
            changed |= extent_changed(l, s, k, i);
    }
    return changed;
}

/* The number of iterations as part of a size: bounded, if need be by a check; NULL: no bound. */
static const Expr *trip_bound(Looping *l, Map *inner) {
    int64_t n;
    if (!l->trip || (expr_is_int(l->trip, &n) && n > DIMS_MOST) ||
        !is_outer(l->d->ctx, inner, l->trip))
        return NULL;
    return define_extent(l->d, "trip", l->trip, 0, DIMS_MOST);
}

/* B such that e <= max(B, sym), where sym is the extent one round earlier; NULL: none found. */
static const Expr *beside(Definer *d, Map *inner, const Sym *sym, const Expr *e) {
    Ctx *ctx = d->ctx;
    if (e->op == OP_SYM && e->u.sym == sym)
        return expr_i(ctx, 0);
    if (is_outer(ctx, inner, e))
        return e;
    bool either = e->op == OP_SELECT || e->op == OP_MAX;
    if (either || e->op == OP_MIN) {
        const Expr *a = beside(d, inner, sym, e->kid[e->nkid - 2]);
        const Expr *b = beside(d, inner, sym, e->kid[e->nkid - 1]);
        if (either)
            return a && b ? expr_max(ctx, a, b) : NULL;
        return a ? a : b;
    }
    if (e->op == OP_SYM && e->u.sym->kind == SYM_BIND && e->u.sym->value)
        return beside(d, inner, sym, e->u.sym->value);
    return outer_bound(d, inner, e);
}

/* Upper bound of an extent that was `from` at first and becomes `to` in each round. */
static const Expr *extent_bound(Looping *l, Map *inner, Sym *sym, const Expr *from,
                                const Expr *to) {
    Ctx *ctx = l->d->ctx;
    int64_t step;
    if (sym->max < DIMS_MOST) /* every round keeps to it */
        return expr_i(ctx, sym->max);
    if (expr_is_int(expr_sub(ctx, to, expr_sym(ctx, sym)), &step)) {
        const Expr *trip = step > 0 ? trip_bound(l, inner) : expr_i(ctx, 0);
        return trip ? expr_add(ctx, from, expr_mul(ctx, expr_i(ctx, step), trip)) : NULL;
    }
    const Expr *most = beside(l->d, inner, sym, to);
    return most ? expr_max(ctx, from, most) : NULL;
}

/* The capacities, now that the body is known. */
static bool state_bounds(Looping *l, State *s, Map *inner) {
    Ctx *ctx = l->d->ctx;
    for (int k = 0; k < s->n; k++) {
        Slot *slot = s->slot[k];
        const Expr *capacity = expr_i(ctx, 1);
        if (!slot)
            continue;
        for (int i = 0; i < slot->rank; i++) {
            const Expr *from = s->init[k]->dim[i], *most = from;
            if (slot->sym[i])
                most = extent_bound(l, inner, slot->sym[i], from, s->now[k]->dim[i]);
            if (!most)
                return define_error(l->d, EXIT_UNSUPPORTED,
                                    "'%s' grows without a bound that is known when compiling",
                                    s->init[k]->name);
            capacity = expr_mul(ctx, capacity, most);
            if (!slot->sym[i])
                continue;
            sym_bounded(l->d, slot->sym[i], most);
        }
        if (slot->capacity) {
            slot->capacity = slot->buf->dim[0] = capacity;
            s->view[k]->bound = capacity;
        }
    }
    return true;
}

/* A slot's content that becomes another slot's is read before any is written. */
static Buf *read_early(Definer *d, const State *s, int k) {
    Buf *b = s->now[k];
    bool slot = false;
    for (int j = 0; j < s->n; j++)
        slot |= j != k && s->slot[j] && s->slot[j]->buf == b;
    if (!slot)
        return b;
    Def *def = define_temp(d, "next", type_dtype(b->type), b->rank, b->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < b->rank; i++)
        index[i] = def_var(d->ctx, def, i);
    def->value = buf_load(d->ctx, b, index);
    define_emit(d, def);
    return def->buf;
}

static bool state_store(Definer *d, State *s) {
    VEC(Slot *) slots = {0};
    VEC(Buf *) values = {0};
    for (int k = 0; k < s->n; k++) {
        if (!s->slot[k])
            continue;
        vec_push(d->ctx, &values, read_early(d, s, k));
        vec_push(d->ctx, &slots, s->slot[k]);
    }
    for (int k = 0; k < slots.len; k++)
        if (!slot_store(d, slots.at[k], values.at[k]))
            return false;
    slots_extents(d, slots.len, slots.at, values.at);
    return true;
}

/* The body once, with slots as they are now. */
static bool try_round(Looping *l, State *s, Sym *t, Block *block, Round *r) {
    Ctx *ctx = l->d->ctx;
    Scope *scope = define_scope(ctx, l->d->scope, block);
    Definer in = define_inside(l->d, scope);
    Val **state = ctx_newn(ctx, Val *, l->nstate);
    for (int k = 0; k < s->n; k++)
        s->view[k] = s->slot[k] ? slot_view(&in, s->slot[k]) : s->init[k];
    Buf *const *next = s->view;
    for (int i = 0; i < l->nstate; i++)
        state[i] = val_with(ctx, l->init[i], &next);
    if (!run_body(l, scope, expr_sym(ctx, t), state, r))
        return false;
    Leaves out = {{0}};
    for (int i = 0; i < l->nstate; i++) {
        if (!val_same_form(state[i], r->state[i]))
            return define_error(l->d, EXIT_UNSUPPORTED,
                                "state %d changes its rank, its type or the length of a sequence, "
                                "and the number of iterations is not known when compiling",
                                i);
        val_leaves(ctx, r->state[i], &out);
    }
    for (int k = 0; k < s->n; k++)
        s->now[k] = out.at.at[k];
    return true;
}

/* Room for the scan outputs, once the body is known. */
static bool stacks_init(Looping *l, Map *inner, const Round *r, Stack *stack) {
    Definer *d = l->d;
    int64_t trip;
    for (int k = 0; k < l->nscan; k++) {
        const Buf *v = r->scan[k]->buf;
        int axis = scan_axis(l, k, v->rank), out = l->nstate + k;
        if (axis < 0 || !define_rank(d, v->rank + 1))
            return false;
        if (!l->trip || (expr_is_int(l->trip, &trip) && trip > DIMS_MOST))
            return define_error(d, EXIT_UNSUPPORTED,
                                "scan outputs need a number of iterations that is bounded");
        bool wanted = out < d->node->nout && d->node->out[out];
        Str name = wanted ? d->node->out[out]->name : d->node->op;
        if (!stack_init(d, inner, &stack[k], name, v, axis, l->trip))
            return false;
    }
    return true;
}

static bool stacks_store(Looping *l, Definer *in, Sym *t, const Round *r, Stack *stack) {
    Ctx *ctx = in->ctx;
    for (int k = 0; k < l->nscan; k++) {
        const Expr *now = expr_sym(ctx, t), *at = now;
        if (scan_back(l, k))
            at = expr_sub(ctx, expr_sub(ctx, l->trip, expr_i(ctx, 1)), at);
        if (!stack_store(in, &stack[k], r->scan[k]->buf, now, at))
            return false;
    }
    return true;
}

static const Expr *first_element(Ctx *ctx, Buf *b) {
    const Expr *zero[RANK_MAX];
    const Expr *const *known = buf_known(ctx, b);
    for (int i = 0; i < b->rank; i++)
        zero[i] = expr_i(ctx, 0);
    return known ? known[0] : buf_load(ctx, b, zero);
}

/* Everything around the body: what is set before it, at its end and after it. */
typedef struct Frame {
    Looping *l;
    State s;
    Round r;
    Block *block;
    Map *inner;         /* symbols that change with the iteration */
    Sym *next, *t;      /* counts up to the end; the same inside the body, where it is smaller */
    Sym *go, *done;     /* whether the next iteration runs; how many ran */
    bool exits, checks; /* the body may end the loop; the loop has a condition at all */
    Stack *stack;       /* scan outputs */
} Frame;

/* Buffers whose extents follow the iteration get room for the largest: they must not move. */
static void bound_item(void *data, Block *b, Item *it) {
    Frame *f = data;
    Ctx *ctx = f->l->d->ctx;
    (void)b;
    Buf *buf = it->def ? it->def->buf : NULL;
    if (!buf || buf->bound)
        return;
    const Expr *most = expr_i(ctx, 1);
    for (int i = 0; i < buf->rank && most; i++) {
        const Expr *dim = outer_bound(f->l->d, f->inner, buf->dim[i]);
        most = dim ? expr_mul(ctx, most, dim) : NULL;
    }
    if (most != buf_count(ctx, buf))
        buf->bound = most;
}

/* Defines the body until the extents of all states are understood. */
static bool settle_body(Frame *f) {
    Looping *l = f->l;
    State *s = &f->s;
    do {
        f->block = ctx_new(l->d->ctx, Block);
        state_slots(l, s);
        Definer in = define_inside(l->d, define_scope(l->d->ctx, l->d->scope, f->block));
        set_sym(&in, f->t, expr_sym(l->d->ctx, f->next));
        if (!try_round(l, s, f->t, f->block, &f->r))
            return false;
    } while (state_changed(l, s));
    f->inner = inner_syms(l->d->ctx, f->block);
    for (int k = 0; k < s->n; k++)
        for (int i = 0; s->slot[k] && i < s->slot[k]->rank; i++)
            if (s->slot[k]->sym[i])
                map_put(f->inner, s->slot[k]->sym[i], f);
    if (!state_bounds(l, s, f->inner))
        return false;
    block_walk(f->block, bound_item, f);
    return true;
}

static void frame_syms(Frame *f) {
    Looping *l = f->l;
    Ctx *ctx = l->d->ctx;
    int64_t most = l->trip ? expr_range(ctx, l->trip).max : INT64_MAX;
    f->next = sym_new(ctx, SYM_RUN, str(ctx, "next"), 0, most);
    f->t = sym_new(ctx, SYM_RUN, str(ctx, "t"), 0, most > 0 ? most - 1 : 0);
    f->go = sym_new(ctx, SYM_RUN, str(ctx, "go"), 0, 1);
    f->done = sym_new(ctx, SYM_RUN, str(ctx, "done"), 0, most);
}

static bool frame_before(Frame *f) {
    Definer *d = f->l->d;
    Ctx *ctx = d->ctx;
    for (int k = 0; k < f->s.n; k++) {
        Slot *slot = f->s.slot[k];
        if (!slot)
            continue;
        if (!slot_store(d, slot, f->s.init[k]))
            return false;
        slots_extents(d, 1, &slot, &f->s.init[k]);
    }
    Buf *first = f->l->cond ? f->l->cond->buf : NULL;
    if (f->checks)
        set_sym(d, f->go,
                first ? expr_cast(ctx, T_I64, first_element(ctx, first)) : expr_i(ctx, 1));
    if (f->l->nscan && f->checks)
        set_sym(d, f->done, expr_i(ctx, 0));
    for (int k = 0; k < f->l->nscan; k++)
        stack_clear(d, &f->stack[k]);
    return true;
}

/* The condition is read before the states change. */
static bool frame_end(Frame *f) {
    Ctx *ctx = f->l->d->ctx;
    Definer in = define_inside(f->l->d, define_scope(ctx, f->l->d->scope, f->block));
    if (!stacks_store(f->l, &in, f->t, &f->r, f->stack))
        return false;
    if (f->exits)
        set_sym(&in, f->go, expr_cast(ctx, T_I64, first_element(ctx, f->r.cond)));
    if (f->l->nscan && f->checks)
        set_sym(&in, f->done, expr_add(ctx, expr_sym(ctx, f->t), expr_i(ctx, 1)));
    return state_store(&in, &f->s);
}

static void frame_after(Frame *f) {
    Looping *l = f->l;
    Ctx *ctx = l->d->ctx;
    Item *it = item_new(ctx, l->d->block, ITEM_LOOP);
    it->sym = f->next;
    it->body[0] = f->block;
    it->origin = l->d->origin;
    it->e = l->trip ? expr_lt(ctx, expr_sym(ctx, f->next), l->trip) : NULL;
    if (f->checks)
        it->e = expr_and(ctx, it->e, expr_ne(ctx, expr_sym(ctx, f->go), expr_i(ctx, 0)));
    Buf **after = ctx_newn(ctx, Buf *, f->s.n);
    for (int k = 0; k < f->s.n; k++)
        after[k] = f->s.slot[k] ? slot_view(l->d, f->s.slot[k]) : f->s.init[k];
    Buf *const *next = after;
    for (int i = 0; i < l->nstate; i++)
        define_set_val(l->d, i, val_with(ctx, l->init[i], &next));
    /* a copy where the number is known only at run time: then also a loop that never runs gives one */
    const Expr *n = f->checks ? expr_sym(ctx, f->done) : NULL;
    if (!n && l->trip->op == OP_SYM && l->trip->u.sym->kind == SYM_BIND)
        n = l->trip;
    for (int k = 0; k < l->nscan; k++)
        define_set(l->d, l->nstate + k, stack_view(l->d, &f->stack[k], n));
}

static bool run_loop(Looping *l) {
    Frame f = {.l = l};
    Ctx *ctx = l->d->ctx;
    int64_t go = 1;
    frame_syms(&f);
    state_start(l, &f.s);
    if (!settle_body(&f))
        return false;
    f.exits = l->loop && (!known_constant(ctx, f.r.cond, &go) || !go);
    f.checks = f.exits || (l->cond && (!known_constant(ctx, l->cond->buf, &go) || !go));
    f.stack = ctx_newn(ctx, Stack, l->nscan);
    if (!l->trip && !f.exits)
        return define_error(l->d, EXIT_MALFORMED, "the loop never ends");
    if (!stacks_init(l, f.inner, &f.r, f.stack) || !frame_before(&f) || !frame_end(&f))
        return false;
    frame_after(&f);
    return true;
}

static bool define_looping(Looping *l) {
    Outcome o = unroll(l);
    return o == GIVEN_UP ? run_loop(l) : o == DONE;
}

/* ---- the ops --------------------------------------------------------------------------------------- */

static bool body_of(Looping *l) {
    const Attr *a = node_attr(l->d->node, "body");
    l->body = a ? a->graph : NULL;
    return l->body || define_error(l->d, EXIT_MALFORMED, "attribute 'body' is missing");
}

/* Carried values; one that is not given is an empty optional. */
static void take_states(Looping *l, int first, int n) {
    Ctx *ctx = l->d->ctx;
    l->nstate = n;
    l->init = ctx_newn(ctx, Val *, n);
    for (int i = 0; i < n; i++) {
        l->init[i] = l->d->in[first + i];
        if (l->init[i])
            continue;
        l->init[i] = ctx_new(ctx, Val);
        l->init[i]->kind = VAL_OPTIONAL;
    }
}

bool def_loop(Definer *d) {
    Looping l = {.d = d, .loop = true};
    Ctx *ctx = d->ctx;
    if (!body_of(&l))
        return false;
    take_states(&l, 2, d->node->nin > 2 ? d->node->nin - 2 : 0);
    l.nscan = l.body->outputs.len - 1 - l.nstate;
    if (l.nscan < 0 || l.nscan + l.nstate < d->node->nout)
        return define_error(d, EXIT_MALFORMED, "its body has %d outputs", l.body->outputs.len);
    l.cond = define_has(d, 1) ? d->in[1] : NULL;
    if (l.cond && (l.cond->kind != VAL_TENSOR || type_dtype(l.cond->buf->type) != T_BOOL))
        return define_error(d, EXIT_MALFORMED, "the condition is not a bool");
    if (define_has(d, 0)) {
        const Expr *m = d->in[0]->kind == VAL_TENSOR ? define_known(d, define_in(d, 0), 0) : NULL;
        if (!m)
            return define_error(d, EXIT_MALFORMED, "the trip count is not a number");
        l.trip = expr_max(ctx, m, expr_i(ctx, 0));
        int64_t n; /* a constant count of scan outputs is judged when their sizes are */
        l.trip = l.nscan && !expr_is_int(l.trip, &n)
                     ? define_extent(d, "trip", l.trip, 0, DIMS_MOST)
                     : define_scalar(d, "trip", l.trip, 0, INT64_MAX);
        if (!l.trip)
            return false;
    }
    return define_looping(&l);
}

/* The axis and direction of every scanned input, and their common length. */
static bool take_slices(Looping *l, int first) {
    Definer *d = l->d;
    int naxes = 0, nback = 0;
    const int64_t *axes = node_ints(d->node, "scan_input_axes", &naxes);
    const int64_t *back = node_ints(d->node, "scan_input_directions", &nback);
    l->slice = ctx_newn(d->ctx, Buf *, l->nslice);
    l->slice_axis = ctx_newn(d->ctx, int, l->nslice);
    l->slice_back = ctx_newn(d->ctx, bool, l->nslice);
    for (int i = 0; i < l->nslice; i++) {
        Buf *x = d->in[first + i] ? d->in[first + i]->buf : NULL;
        if (!x || x->rank < 1)
            return define_error(d, EXIT_MALFORMED, "scan input %d is not a tensor with axes", i);
        l->slice[i] = x;
        l->slice_axis[i] = define_axis(d, i < naxes ? axes[i] : 0, x->rank);
        l->slice_back[i] = i < nback && back[i];
        if (l->slice_axis[i] < 0)
            return false;
        const Expr *n = x->dim[l->slice_axis[i]];
        if (l->trip && !define_same(d, l->trip, n, "the lengths of scan inputs"))
            return false;
        l->trip = l->trip ? l->trip : n;
    }
    return true;
}

bool def_scan(Definer *d) {
    Looping l = {.d = d};
    int naxes = 0, nback = 0;
    if (!body_of(&l))
        return false;
    int64_t n = node_int(d->node, "num_scan_inputs", 0);
    if (n < 1 || n > d->node->nin)
        return define_error(d, EXIT_MALFORMED, "num_scan_inputs is %lld", (long long)n);
    l.nslice = (int)n;
    take_states(&l, 0, d->node->nin - l.nslice);
    l.nscan = l.body->outputs.len - l.nstate;
    if (l.nscan < 0 || l.nscan + l.nstate < d->node->nout)
        return define_error(d, EXIT_MALFORMED, "its body has %d outputs", l.body->outputs.len);
    l.scan_axis = node_ints(d->node, "scan_output_axes", &naxes);
    l.scan_back = node_ints(d->node, "scan_output_directions", &nback);
    if ((l.scan_axis && naxes != l.nscan) || (l.scan_back && nback != l.nscan))
        return define_error(d, EXIT_MALFORMED,
                            "scan_output_axes or scan_output_directions has not %d entries",
                            l.nscan);
    return take_slices(&l, l.nstate) && define_looping(&l);
}
