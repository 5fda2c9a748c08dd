/* ir/eval.c — the reference evaluator: tensors, symbols, equations, items.
 *
 * What it computes is the meaning of a Program; every backend must agree with it. Equations run as nests
 * of loops (eval_nest.c): SEQ axes outermost, one PAR axis in strips, reductions inside; when there is
 * hardly a PAR axis, the strips run along the last reduction axis instead. */
#include "ir/eval_in.h"

#include <string.h>

Eval *eval_new(Ctx *ctx) {
    Eval *ev = ctx_new(ctx, Eval);
    ev->ctx = ctx;
    ev->tensors = map_new(ctx);
    ev->owned = map_new(ctx);
    ev->cells = map_new(ctx);
    ev->progs = map_new(ctx);
    ev->stored = map_new(ctx);
    ev->epoch = 1;
    return ev;
}

double eval_steps(const Eval *ev) {
    return ev->steps;
}

void eval_budget(Eval *ev, double steps) {
    ev->budget = steps;
    ev->failed = false;
}

/* The first failure counts. */
bool eval_fail(Eval *ev, const Loc *loc, const char *fmt, ...) {
    if (ev->failed)
        return false;
    ev->failed = true;
    Text t = text_new(ev->ctx);
    va_list ap;
    va_start(ap, fmt);
    text_v(&t, fmt, ap);
    va_end(ap);
    return diag_error(ev->ctx, EXIT_MALFORMED, loc, "%s", t.at);
}

bool eval_mark(Eval *ev, const Prog *p, unsigned why, const Loc *loc, Str what) {
    const Access *a = p->access.at[why - 1];
    return eval_fail(ev, loc, "%s: index %lld is outside of dimension %d of '%s' (0 to %lld)",
                     what ? what : "evaluation", (long long)a->bad_index, a->bad_dim, a->buf->name,
                     (long long)a->dim[a->bad_dim] - 1);
}

Reg **eval_regs(Eval *ev, int n) {
    if (n > ev->nreg) {
        int more = n > 2 * ev->nreg ? n : 2 * ev->nreg;
        Reg **reg = ctx_newn(ev->ctx, Reg *, more),
            *block = ctx_newn(ev->ctx, Reg, more - ev->nreg);
        for (int i = 0; i < more; i++)
            reg[i] = i < ev->nreg ? ev->reg[i] : &block[i - ev->nreg];
        ev->reg = reg;
        ev->nreg = more;
    }
    return ev->reg;
}

/* ---- symbols ----------------------------------------------------------------------------------- */

Cell *eval_cell(Eval *ev, const Sym *s) {
    Cell *c = map_get(ev->cells, s);
    if (!c) {
        c = ctx_new(ev->ctx, Cell);
        c->sym = s;
        map_put(ev->cells, s, c);
    }
    return c;
}

void eval_set(Eval *ev, const Sym *s, int64_t v) {
    Cell *c = eval_cell(ev, s);
    c->i = v;
    c->set = true;
}

bool eval_int(Eval *ev, const Expr *e, int64_t *v) {
    if (e->op == OP_INT) {
        *v = e->u.i;
        return true;
    }
    Cell *c = e->op == OP_SYM ? eval_cell(ev, e->u.sym) : NULL;
    if (c && c->set && !c->lanes) {
        *v = c->i;
        return true;
    }
    if (type_is_float(type_dtype(e->type)) || type_lanes(e->type) != 1)
        return eval_fail(ev, NULL, "not an integer: %s", expr_str(ev->ctx, e));
    Prog *p = map_get(ev->progs, e);
    if (!p) {
        p = prog_new(ev, 0, NULL, -1);
        p->root = prog_expr(p, e).reg;
        map_put(ev->progs, e, p);
    }
    if (!prog_start(ev, p))
        return false;
    const Reg *r = ev->reg[p->root];
    if (r->bad)
        return eval_mark(ev, p, r->why[0], NULL, NULL);
    *v = r->v.i[0];
    return true;
}

/* ---- tensors ----------------------------------------------------------------------------------- */

/* All but the data; *bytes = what it takes. */
static Tensor *tensor_shape(Eval *ev, Dtype type, int rank, const int64_t *dim, int64_t *bytes) {
    Tensor *t = ctx_new(ev->ctx, Tensor);
    t->type = type;
    t->rank = rank;
    t->count = 1;
    for (int i = 0; i < rank; i++) {
        t->dim[i] = dim[i];
        if (dim[i] < 0 || !mul_ok(t->count, dim[i], &t->count))
            return eval_fail(ev, NULL, "a tensor of impossible size"), NULL;
    }
    if (!mul_ok(t->count, type == T_STR ? (int64_t)sizeof(ConstStr) : type_bytes(type), bytes))
        return eval_fail(ev, NULL, "a tensor of impossible size"), NULL;
    return t;
}

Tensor *tensor_new(Eval *ev, Dtype type, int rank, const int64_t *dim) {
    int64_t bytes;
    Tensor *t = tensor_shape(ev, type, rank, dim, &bytes);
    if (!t)
        return NULL;
    t->data = ctx_alloc(ev->ctx, (size_t)bytes);
    if (type != T_STR) /* NaN, or -1: what nobody wrote should show */
        memset(t->data, 0xff, (size_t)bytes);
    return t;
}

Tensor *tensor_place(Eval *ev, const Buf *b, int rank, const int64_t *dim) {
    int64_t at, bytes;
    if (!ev->arena || !b->offset)
        return tensor_new(ev, type_dtype(b->type), rank, dim);
    Tensor *t = tensor_shape(ev, type_dtype(b->type), rank, dim, &bytes);
    if (!t || !eval_int(ev, b->offset, &at))
        return NULL;
    if (at < 0 || bytes > ev->arena->count - at)
        return eval_fail(ev, NULL, "'%s' does not fit the arena", b->name), NULL;
    t->data = (char *)ev->arena->data + at;
    return t;
}

/* The symbols that are plain dimensions of an input take their values from it. */
void eval_bind(Eval *ev, const Buf *b, Tensor *t) {
    map_put(ev->tensors, b, t);
    ev->epoch++;
    for (int i = 0; i < b->rank && i < t->rank; i++) {
        const Expr *d = b->dim[i];
        if (d->op == OP_SYM && d->u.sym->kind == SYM_DIM && !eval_cell(ev, d->u.sym)->set)
            eval_set(ev, d->u.sym, t->dim[i]);
    }
}

Tensor *eval_tensor(Eval *ev, const Buf *b) {
    return b->data ? eval_make(ev, b, false) : map_get(ev->tensors, b);
}

static void spread_splat(const Const *c, Tensor *t) {
    size_t n = c->type == T_STR ? sizeof(ConstStr) : (size_t)type_bytes(c->type);
    for (int64_t i = 0; i < t->count; i++)
        memcpy((char *)t->data + (size_t)i * n, c->data, n);
}

static Tensor *const_tensor(Eval *ev, const Buf *b, const int64_t *dim) {
    if (b->data->splat) {
        Tensor *t = tensor_new(ev, b->data->type, b->rank, dim);
        if (t)
            spread_splat(b->data, t);
        return t;
    }
    Tensor *t = ctx_new(ev->ctx, Tensor);
    t->type = b->data->type;
    t->rank = b->rank;
    t->count = b->data->count;
    memcpy(t->dim, dim, (size_t)b->rank * sizeof *dim);
    t->data =
        (void *)(uintptr_t)const_data(ev->ctx, b->data); /* never written: constants have no Defs */
    return t;
}

Tensor *eval_make(Eval *ev, const Buf *b, bool fresh) {
    Tensor *t = map_get(ev->tensors, b);
    if (t && !(fresh && map_get(ev->owned, t)))
        return t;
    int64_t dim[RANK_MAX] = {0};
    for (int i = 0; i < b->rank; i++)
        if (!eval_int(ev, b->dim[i], &dim[i]))
            return NULL;
    if (t && memcmp(t->dim, dim, sizeof dim) == 0)
        return t;
    if (b->data) {
        t = const_tensor(ev, b, dim);
    } else if (b->space == SPACE_INPUT) {
        return eval_fail(ev, NULL, "input '%s' has no value", b->name), NULL;
    } else {
        t = tensor_place(ev, b, b->rank, dim);
        if (t)
            map_put(ev->owned, t, t);
    }
    if (t) {
        map_put(ev->tensors, b, t);
        ev->epoch++;
    }
    return t;
}

/* ---- equations --------------------------------------------------------------------------------- */

static bool loads_own(const Def *d) {
    bool own = expr_uses_buf(d->value, d->buf) || (d->init && expr_uses_buf(d->init, d->buf)) ||
               (d->when && expr_uses_buf(d->when, d->buf));
    for (int i = 0; d->at && i < d->buf->rank; i++)
        own |= expr_uses_buf(d->at[i], d->buf);
    return own;
}

/* Extent when it can be told now, else a guess; only speed depends on it. */
static int64_t likely_extent(const Axis *a) {
    int64_t n;
    return expr_is_int(a->var->extent, &n) ? n : STRIP;
}

/* The PAR axis to run in strips: the widest, the last among equals. */
static int strip_axis(const Def *d) {
    int best = -1;
    int64_t most = 0;
    for (int i = 0; i < d->naxis; i++) {
        int64_t n = likely_extent(&d->axis[i]);
        if (d->axis[i].kind != AXIS_PAR)
            continue;
        n = n < STRIP ? n : STRIP;
        if (n >= most) {
            best = i;
            most = n;
        }
    }
    return best;
}

typedef struct Order {
    Ctx *ctx;
    NestSpec *spec;
    const Def *d;
} Order;

static void add_loop(Order *o, int axis) {
    NestSpec *s = o->spec;
    const Axis *a = &o->d->axis[axis];
    if (a->kind == AXIS_RED && a->ways > 1 && !o->d->at) {
        s->ways = a->ways;
        s->ways_loop = s->nloop;
    }
    s->loop[s->nloop] = a->var;
    s->extent[s->nloop++] = a->var->extent;
}

/* All axes of a kind but `but`; also of another kind (`also`), in axis order. */
static void add_loops(Order *o, AxisKind kind, AxisKind also, int but) {
    for (int i = 0; i < o->d->naxis; i++) {
        const Axis *a = &o->d->axis[i];
        bool shared = o->d->scan && a->var == o->d->scan->var;
        if (!shared && i != but && (a->kind == kind || a->kind == also))
            add_loop(o, i);
    }
}

static void order_loops(Order *o) {
    NestSpec *s = o->spec;
    const Def *d = o->d;
    int par = strip_axis(d), last = -1;
    bool collects = !d->at && def_is_reduction(d);
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED)
            last = i;
    bool across =
        collects &&
        (par < 0 || (likely_extent(&d->axis[par]) < 16 && likely_extent(&d->axis[last]) >= 64));
    add_loops(o, AXIS_SEQ, d->at ? AXIS_RED : AXIS_SEQ, -1);
    s->own_level = s->nloop;
    add_loops(o, AXIS_PAR, AXIS_PAR, across ? -1 : par);
    if (par >= 0 && !across) {
        s->lane = s->nloop;
        add_loop(o, par);
    }
    s->nout = s->nloop;
    if (collects)
        add_loops(o, AXIS_RED, AXIS_RED, -1);
    else if (s->lane < 0 && !s->own)
        s->lane = s->nloop - 1;
    if (across)
        s->lane = s->nloop - 1;
}

static Nest *def_nest(Eval *ev, const Def *d) {
    Ctx *ctx = ev->ctx;
    int rank = d->buf->rank;
    const Expr **index = ctx_newn(ctx, const Expr *, rank);
    NestSpec s = {.lane = -1, .ways = 1, .ways_loop = -1, .buf = d->buf, .nindex = rank};
    s.combine = (Op)d->combine;
    s.loop = ctx_newn(ctx, Sym *, d->naxis);
    s.extent = ctx_newn(ctx, const Expr *, d->naxis);
    s.own = loads_own(d) ? d->buf : NULL;
    order_loops(&(Order){ctx, &s, d});
    for (int i = 0; i < rank; i++)
        index[i] = d->at ? d->at[i] : def_var(ctx, d, i);
    s.index = index;
    s.value = d->value;
    s.when = d->when;
    s.init = d->init;
    if (s.nout == s.nloop && !d->at)
        s.combine = COMBINE_SET;
    return nest_new(ev, &s);
}

static bool def_run(Eval *ev, const Def *d) {
    Nest *n = map_get(ev->progs, d);
    if (!n) {
        n = def_nest(ev, d);
        map_put(ev->progs, d, n);
    }
    return eval_make(ev, d->buf, !d->at) && nest_run(ev, n, &d->loc, d->name);
}

/* A group runs when its first Def is met; the others then have been computed. */
bool eval_def(Eval *ev, const Def *d) {
    Group *g = d->scan;
    int64_t n;
    if (!g)
        return def_run(ev, d);
    if (g->defs.at[0] != d)
        return true;
    if (!eval_int(ev, g->var->extent, &n))
        return false;
    for (int64_t t = 0; t < n; t++) {
        eval_set(ev, g->var, t);
        for (int i = 0; i < g->defs.len; i++)
            if (!def_run(ev, g->defs.at[i]))
                return false;
    }
    return true;
}

/* ---- items ------------------------------------------------------------------------------------- */

bool eval_assign(Eval *ev, Sym *s, const Expr *e) {
    int64_t v;
    if (!eval_int(ev, e, &v))
        return false;
    if (v < s->min || v > s->max || (s->mult > 1 && v % s->mult))
        return eval_fail(ev, NULL, "%s = %lld is out of range", s->name, (long long)v);
    eval_set(ev, s, v);
    return true;
}

static bool run_loop(Eval *ev, const Item *it) {
    int64_t on;
    for (int64_t i = 0;; i++) {
        eval_set(ev, it->sym, i);
        if (!eval_int(ev, it->e, &on))
            return false;
        if (!on)
            return true;
        if (!eval_block(ev, it->body[0]))
            return false;
    }
}

static bool run_item(Eval *ev, const Item *it) {
    int64_t v;
    switch ((ItemKind)it->kind) {
    case ITEM_DEF:
        return eval_def(ev, it->def);
    case ITEM_BIND:
        return eval_assign(ev, it->sym, it->e);
    case ITEM_CALL:
        return eval_call(ev, it->call);
    case ITEM_LOOP:
        return run_loop(ev, it);
    case ITEM_CHECK:
        return eval_int(ev, it->e, &v) && (v || eval_fail(ev, NULL, "check failed (code %d): %s",
                                                          it->code, expr_str(ev->ctx, it->e)));
    case ITEM_IF:
        return eval_int(ev, it->e, &v) && eval_block(ev, it->body[v ? 0 : 1]);
    }
    return false;
}

bool eval_block(Eval *ev, const Block *b) {
    for (int i = 0; b && i < b->items.len; i++)
        if (!run_item(ev, b->items.at[i]))
            return false;
    return true;
}
