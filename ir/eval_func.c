/* ir/eval_func.c — Funcs and Modules: loops run as they are written, at any stage of lowering.
 *
 * Nests whose innermost body is one store run in strips (eval_nest.c); all else statement by statement.
 * A Buf with a storage order of its own is converted when a flat Func starts and ends; inside a Module
 * the Bufs that have offsets live in one block of bytes, so that wrong overlaps show. */
#include "ir/eval_in.h"

#include <string.h>

typedef struct Exec Exec;
struct Exec {
    const Stmt *s;
    Nest *nest; /* STORE, and FOR when the whole nest runs as one */
    Prog *p;    /* of a: extent, condition, value */
    Kid a;
    Cell *var;
    Tensor *local; /* ALLOC: the last one made */
    Exec *body, *orelse, *next;
};

typedef struct Build {
    Eval *ev;
    bool flat;
} Build;

/* ---- storage ----------------------------------------------------------------------------------- */

static bool is_laid_out(const Buf *b) {
    return b->where || b->size || b->fill;
}

/* Moves all logical elements between row-major order and storage. */
static bool convert(Eval *ev, const Buf *b, Tensor *logical, Tensor *storage, bool in) {
    Ctx *ctx = ev->ctx;
    Buf *from = buf_new(ctx, b->name, type_dtype(b->type), SPACE_ARENA, b->rank, b->dim);
    Buf *to = buf_new(ctx, b->name, type_dtype(b->type), SPACE_ARENA, b->rank, b->dim);
    const Expr *axis[RANK_MAX];
    Sym *loop[RANK_MAX];
    for (int i = 0; i < b->rank; i++) {
        loop[i] = sym_axis(ctx, b->name, b->dim[i]);
        axis[i] = expr_sym(ctx, loop[i]);
    }
    const Expr *at = b->where ? expr_subst(ctx, b->where, b->rank, b->dimvar, axis) : NULL;
    for (int i = 0; !b->where && i < b->rank; i++)
        at = at ? expr_add(ctx, expr_mul(ctx, at, b->dim[i]), axis[i]) : axis[i];
    if (!at)
        at = expr_i(ctx, 0);
    NestSpec s = {.nloop = b->rank,
                  .loop = loop,
                  .extent = b->dim,
                  .lane = b->rank - 1,
                  .nout = b->rank,
                  .ways = 1,
                  .ways_loop = -1,
                  .buf = to,
                  .combine = COMBINE_SET};
    s.nindex = in ? 1 : b->rank;
    s.index = in ? &at : axis;
    s.value = in ? expr_load(ctx, from, b->rank, axis) : expr_load(ctx, from, 1, &at);
    s.flat = false;
    eval_bind(ev, from, in ? logical : storage);
    eval_bind(ev, to, in ? storage : logical);
    Nest *n = nest_new(ev, &s);
    return nest_run(ev, n, NULL, b->name);
}

static bool storage_fill(Eval *ev, const Buf *b, Tensor *t) {
    Lanes v;
    if (!b->fill || (ev->arena && b->offset)) /* kernels surround what lies in the arena */
        return true;
    if (!expr_is_const(b->fill))
        return eval_fail(ev, NULL, "'%s' has a fill that is not constant", b->name);
    lanes_fill(&v, b->fill, 1);
    for (int64_t i = 0; i < t->count; i++)
        element_put(t->type, t->data, i, &v, 0);
    return true;
}

static Tensor *storage_new(Eval *ev, const Buf *b) {
    int64_t count;
    const Expr *size = b->size ? b->size : buf_count(ev->ctx, b);
    if (!eval_int(ev, size, &count))
        return NULL;
    if (b->packed) {
        Tensor *t = ctx_new(ev->ctx, Tensor);
        t->type = type_dtype(b->type);
        t->rank = 1;
        t->count = t->dim[0] = b->packed->count;
        /* never written: constants have no Defs */
        t->data = (void *)(uintptr_t)const_data(ev->ctx, b->packed);
        return t;
    }
    Tensor *logical = eval_tensor(ev, b), *t = tensor_place(ev, b, 1, &count);
    if (!t || !storage_fill(ev, b, t) || (logical && !convert(ev, b, logical, t, true)))
        return NULL;
    return t;
}

Tensor *eval_storage(Eval *ev, const Buf *b) {
    if (!is_laid_out(b) && !b->packed) /* in a loop extents change, the place does not */
        return eval_make(ev, b, ev->arena && b->offset);
    Tensor *t = map_get(ev->stored, b);
    if (!t) {
        t = storage_new(ev, b);
        if (!t)
            return NULL;
        map_put(ev->stored, b, t);
        ev->epoch++;
    }
    return t;
}

/* ---- nests that run in strips ------------------------------------------------------------------ */

typedef struct Found {
    Build *b;
    NestSpec spec;
    const Stmt *store;
    bool vectors;
} Found;

static void note_vector(void *data, const Expr *e) {
    if (type_lanes(e->type) != 1)
        ((Found *)data)->vectors = true;
}

static bool uses_store(const Found *f, const Expr *e) {
    return e && expr_uses_buf(e, f->store->buf);
}

/* buf[i] = buf[i] op rest: the op, and the rest in *rest. */
static Op accumulates(const Found *f, const Expr **rest) {
    const Stmt *s = f->store;
    Op op = (Op)s->a->op;
    bool known = op == OP_ADD || op == OP_MUL || op == OP_MIN || op == OP_MAX || op == OP_AND ||
                 op == OP_OR || op == OP_BAND || op == OP_BOR || op == OP_BXOR;
    for (int i = 0; known && i < 2; i++) {
        const Expr *k = s->a->kid[i], *other = s->a->kid[1 - i];
        bool same = k->op == OP_LOAD && k->u.buf == s->buf && k->nkid == s->nindex;
        for (int j = 0; same && j < s->nindex; j++)
            same = k->kid[j] == s->index[j];
        if (same && !uses_store(f, other)) {
            *rest = other;
            return op;
        }
    }
    return COMBINE_SET;
}

/* Loops, then LETs, then conditions, down to one store. */
static bool find_store(Found *f, const Stmt *s) {
    Ctx *ctx = f->b->ev->ctx;
    NestSpec *n = &f->spec;
    int depth = 0;
    for (const Stmt *t = s; t && t->op == STMT_FOR && (t == s || !t->next); t = t->body)
        depth++;
    n->loop = ctx_newn(ctx, Sym *, depth);
    n->extent = ctx_newn(ctx, const Expr *, depth);
    for (; n->nloop < depth; s = s->body) {
        n->loop[n->nloop] = s->var;
        n->extent[n->nloop++] = s->a;
    }
    n->lets = s;
    while (s && s->op == STMT_LET)
        s = s->next;
    n->lets_end = s;
    for (; s && s->op == STMT_IF && !s->orelse && !s->next; s = s->body)
        n->when = n->when ? expr_and(ctx, n->when, s->a) : s->a;
    if (!s || s->op != STMT_STORE || s->next || s->b)
        return false;
    f->store = s;
    return true;
}

static bool has_vectors(Found *f) {
    Ctx *ctx = f->b->ev->ctx;
    expr_walk(ctx, f->store->a, note_vector, f);
    for (int i = 0; i < f->store->nindex; i++)
        expr_walk(ctx, f->store->index[i], note_vector, f);
    for (const Stmt *l = f->spec.lets; l != f->spec.lets_end; l = l->next)
        expr_walk(ctx, l->a, note_vector, f);
    return f->vectors;
}

static Nest *find_nest(Build *b, const Stmt *s) {
    Found f = {.b = b, .spec = {.ways = 1, .ways_loop = -1, .flat = b->flat}};
    NestSpec *n = &f.spec;
    if (!find_store(&f, s))
        return NULL;
    bool own = uses_store(&f, n->when);
    n->buf = f.store->buf;
    n->index = f.store->index;
    n->nindex = f.store->nindex;
    n->value = f.store->a;
    n->nout = n->nloop;
    for (int i = 0; i < n->nloop; i++)
        own |= uses_store(&f, n->extent[i]);
    for (int i = 0; i < n->nindex; i++)
        own |= uses_store(&f, n->index[i]);
    for (const Stmt *l = n->lets; l != n->lets_end; l = l->next)
        own |= uses_store(&f, l->a);
    n->combine = own ? COMBINE_SET : accumulates(&f, &n->value);
    own |= uses_store(&f, n->value);
    n->own = own ? n->buf : NULL;
    n->own_level = n->nloop;
    n->lane = own || has_vectors(&f) ? -1 : n->nloop - 1;
    return nest_new(b->ev, n);
}

static Nest *store_nest(Build *b, const Stmt *s) {
    NestSpec n = {.lane = -1, .ways = 1, .ways_loop = -1, .flat = b->flat, .combine = COMBINE_SET};
    n.buf = s->buf;
    n.index = s->index;
    n.nindex = s->nindex;
    n.value = s->a;
    n.when = s->b;
    return nest_new(b->ev, &n);
}

/* ---- statements -------------------------------------------------------------------------------- */

static Exec *build_list(Build *b, const Stmt *s) {
    Exec *first = NULL, **end = &first;
    Ctx *ctx = b->ev->ctx;
    for (; s; s = s->next) {
        Exec *x = ctx_new(ctx, Exec);
        x->s = s;
        *end = x;
        end = &x->next;
        if (s->op == STMT_STORE)
            x->nest = store_nest(b, s);
        if (s->op == STMT_FOR && s->run != RUN_PARALLEL)
            x->nest = find_nest(b, s);
        if (x->nest)
            continue;
        if (s->a && s->op != STMT_ASSIGN) {
            x->p = prog_new(b->ev, 0, NULL, -1);
            x->p->flat = b->flat;
            x->a = prog_expr(x->p, s->a);
        }
        if (s->op == STMT_FOR || s->op == STMT_LET)
            x->var = eval_cell(b->ev, s->var);
        if (s->op == STMT_LET)
            x->var->lanes = ctx_alloc(ctx, (size_t)type_lanes(s->a->type) * sizeof(int64_t));
        x->body = build_list(b, s->body);
        x->orelse = build_list(b, s->orelse);
    }
    return first;
}

/* Value of x's expression; a mark on it is an error. */
static const Reg *value_of(Eval *ev, Exec *x) {
    if (!prog_start(ev, x->p))
        return NULL;
    const Reg *r = ev->reg[x->a.reg];
    for (int l = 0; r->bad && l < x->a.lanes; l++)
        if (r->why[l])
            return eval_mark(ev, x->p, r->why[l], &x->s->loc, x->s->label), NULL;
    return r;
}

static bool exec_list(Eval *ev, Exec *x);

/* Iterations that may run in any order run backwards, so that tests see when they may not. */
static bool exec_for(Eval *ev, Exec *x) {
    const Reg *r = value_of(ev, x);
    int64_t n = r ? r->v.i[0] : 0;
    for (int64_t i = 0; i < n; i++) {
        x->var->i = x->s->run == RUN_PARALLEL ? n - 1 - i : i;
        x->var->set = true;
        if (!exec_list(ev, x->body))
            return false;
    }
    return r != NULL;
}

static bool exec_let(Eval *ev, Exec *x) {
    const Reg *r = value_of(ev, x);
    if (!r)
        return false;
    size_t size = lane_is_float(type_dtype(x->s->a->type)) ? sizeof(float) : sizeof(int64_t);
    memcpy(x->var->lanes, &r->v, x->a.lanes * size);
    x->var->set = true;
    return true;
}

/* A buffer of its own each time, with nothing in it. */
static bool exec_alloc(Eval *ev, Exec *x) {
    const Buf *b = x->s->buf;
    map_put(ev->stored, b, NULL);
    map_put(ev->tensors, b, x->local);
    ev->epoch++;
    if (!is_laid_out(b)) {
        x->local = eval_make(ev, b, true);
        if (!x->local)
            return false;
        memset(x->local->data, 0xff, (size_t)x->local->count * (size_t)type_bytes(x->local->type));
    }
    return exec_list(ev, x->body);
}

static bool exec_call(Eval *ev, const Stmt *s);

static bool exec_one(Eval *ev, Exec *x) {
    const Stmt *s = x->s;
    const Reg *r;
    if (x->nest)
        return nest_run(ev, x->nest, &s->loc, s->label);
    switch ((StmtOp)s->op) {
    case STMT_FOR:
        return exec_for(ev, x);
    case STMT_LET:
        return exec_let(ev, x);
    case STMT_IF:
        r = value_of(ev, x);
        return r && exec_list(ev, r->v.i[0] ? x->body : x->orelse);
    case STMT_ALLOC:
        return exec_alloc(ev, x);
    case STMT_CALL:
        return exec_call(ev, s);
    case STMT_HOST:
        return eval_call(ev, s->call);
    case STMT_ASSIGN:
        return eval_assign(ev, s->var, s->a);
    case STMT_CHECK:
        r = value_of(ev, x);
        return r &&
               (r->v.i[0] || eval_fail(ev, &s->loc, "check failed (code %lld): %s",
                                       s->b ? (long long)s->b->u.i : 0LL, expr_str(ev->ctx, s->a)));
    case STMT_WHILE:
        while ((r = value_of(ev, x)) != NULL && r->v.i[0])
            if (!exec_list(ev, x->body))
                return false;
        return r != NULL;
    default:
        return true;
    }
}

static bool exec_list(Eval *ev, Exec *x) {
    for (; x; x = x->next)
        if (ev->failed || !exec_one(ev, x))
            return false;
    return true;
}

/* ---- functions --------------------------------------------------------------------------------- */

static Exec *func_exec(Eval *ev, const Func *f) {
    Exec *x = ev->funcs ? map_get(ev->funcs, f) : NULL;
    if (!x) {
        x = build_list(&(Build){ev, f->flat}, f->body);
        if (ev->funcs && x)
            map_put(ev->funcs, f, x);
    }
    return x;
}

/* What a formal parameter stood for before the call. */
typedef struct Saved {
    Tensor *tensor, *stored;
    Cell cell;
} Saved;

static bool exec_call(Eval *ev, const Stmt *s) {
    const Func *f = s->func;
    int nbuf = f->params.len, nsym = f->syms.len;
    Saved *old = ctx_newn(ev->ctx, Saved, nbuf + nsym + 1);
    int64_t *v = ctx_newn(ev->ctx, int64_t, nsym);
    Tensor **t = ctx_newn(ev->ctx, Tensor *, nbuf);
    for (int i = 0; i < nsym; i++)
        if (!eval_int(ev, s->symarg[i], &v[i]))
            return false;
    for (int i = 0; i < nbuf; i++) {
        t[i] = f->flat ? eval_storage(ev, s->arg[i]) : eval_make(ev, s->arg[i], false);
        if (!t[i])
            return false;
        old[i].tensor = map_get(ev->tensors, f->params.at[i]);
        old[i].stored = map_get(ev->stored, f->params.at[i]);
    }
    for (int i = 0; i < nbuf; i++) {
        map_put(ev->tensors, f->params.at[i], t[i]);
        map_put(ev->stored, f->params.at[i], t[i]);
    }
    for (int i = 0; i < nsym; i++) {
        old[nbuf + i].cell = *eval_cell(ev, f->syms.at[i]);
        eval_set(ev, f->syms.at[i], v[i]);
    }
    ev->epoch++;
    bool done = exec_list(ev, func_exec(ev, f));
    for (int i = 0; i < nsym; i++)
        *eval_cell(ev, f->syms.at[i]) = old[nbuf + i].cell;
    for (int i = 0; i < nbuf; i++) {
        map_put(ev->tensors, f->params.at[i], old[i].tensor);
        map_put(ev->stored, f->params.at[i], old[i].stored);
    }
    ev->epoch++;
    return done;
}

/* Back to logical order what a flat Func wrote in an order of its own. */
static bool unpack(Eval *ev, const Buf *b) {
    Tensor *stored = map_get(ev->stored, b);
    if (!stored || b->data || b->space == SPACE_INPUT)
        return true;
    Tensor *t = eval_make(ev, b, false);
    return t && convert(ev, b, t, stored, false);
}

bool eval_func(Eval *ev, const Func *f) {
    for (int i = 0; i < f->params.len; i++) {
        map_put(ev->stored, f->params.at[i], NULL);
        if (!f->params.at[i]->data && !eval_make(ev, f->params.at[i], false))
            return false;
    }
    ev->epoch++;
    if (!exec_list(ev, build_list(&(Build){ev, f->flat}, f->body)))
        return false;
    for (int i = 0; f->flat && i < f->params.len; i++)
        if (!unpack(ev, f->params.at[i]))
            return false;
    return true;
}

/* `from` into the corner of `to`, which may be longer in one dimension. */
static bool put_corner(const Tensor *from, Tensor *to) {
    int along = 0;
    while (along + 1 < from->rank && from->dim[along] == to->dim[along])
        along++;
    int64_t outer = 1, inner = type_bytes(from->type), rows = from->rank ? from->dim[along] : 1;
    for (int i = 0; i < from->rank; i++) {
        if (i != along && from->dim[i] != to->dim[i])
            return false;
        outer *= i < along ? from->dim[i] : 1;
        inner *= i > along ? from->dim[i] : 1;
    }
    int64_t step = (to->rank ? to->dim[along] : 1) * inner;
    if (rows * inner > step)
        return false;
    for (int64_t i = 0; i < outer && rows; i++)
        memcpy((char *)to->data + i * step, (const char *)from->data + i * rows * inner,
               (size_t)(rows * inner));
    return true;
}

/* What takes the place of an input starts as that. */
static bool start_states(Eval *ev, const Program *p) {
    for (int i = 0; p && i < p->outputs.len; i++)
        for (int j = 0; p->outputs.at[i].state && j < p->inputs.len; j++) {
            if (strcmp(p->outputs.at[i].state, p->inputs.at[j].name) != 0)
                continue;
            Tensor *from = eval_make(ev, p->inputs.at[j].buf, false);
            Tensor *to = eval_make(ev, p->outputs.at[i].buf, false);
            if (!from || !to)
                return false;
            if (from->type != to->type || from->rank != to->rank || !put_corner(from, to))
                return eval_fail(ev, NULL, "output '%s' can't take the place of '%s'",
                                 p->outputs.at[i].name, p->inputs.at[j].name);
        }
    return true;
}

bool eval_module(Eval *ev, const Module *m) {
    int64_t bytes = 0;
    ev->funcs = map_new(ev->ctx);
    ev->stored = map_new(ev->ctx);
    ev->arena = NULL;
    for (int i = 0; i < m->arena.len; i++)
        map_put(ev->tensors, m->arena.at[i], NULL);
    if (m->arena_bytes) {
        if (!eval_int(ev, m->arena_bytes, &bytes))
            return false;
        ev->arena = tensor_new(ev, T_U8, 1, &bytes);
    }
    if (m->arena_cap) /* every Buf is on its own, so all fit */
        eval_set(ev, m->arena_cap, INT64_MAX);
    ev->epoch++;
    bool done = start_states(ev, m->prog) && exec_list(ev, func_exec(ev, m->entry));
    for (int i = 0; done && i < m->entry->params.len; i++)
        done = unpack(ev, m->entry->params.at[i]);
    ev->arena = NULL;
    ev->funcs = NULL;
    return done;
}
