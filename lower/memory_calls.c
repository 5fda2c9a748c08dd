/* The entry's calls as a graph: what must come first, what each touches. Runs of calls between other statements get
 * a better order from memory_order.c. Only the entry's own list: what a loop touches is needed through all of it.
 * Precondition: copies of parts are dropped.
 *
 *   before  call f(x, a) ; call f(y, b) ; call sum(a, p) ; call sum(b, q)
 *   after   call f(x, a) ; call sum(a, p) ; call f(y, b) ; call sum(b, q) */
#include "lower/memory_calls.h"
#include "lower/memory_order.h"

#define STEPS 2e7         /* of the search for one run */
#define STEPS_MIN_RAM 3e8 /* the same with --min-ram */

typedef struct Access {
    int call;
    bool writes, direct; /* not direct: to a part of it */
} Access;

typedef struct Accesses {
    VEC(Access) at;
} Accesses;

/* Where the whole entry touches a buffer, in its own list. */
typedef struct Life {
    int first, last;
} Life;

typedef struct CallRun {
    Lower *lo;
    Map *in_place;
    Map *spans;    /* Buf → Life */
    Map *accesses; /* Buf → Accesses, of this run */
    Map *value_of; /* Buf → int: number of the value + 1 */
    OrderGraph graph;
    int first, end; /* positions in the entry's list */
    bool open;      /* touches a buffer whose size only the run knows */
} CallRun;

int func_root(const Func *f) {
    const Def *root = f->kernel ? kernel_root(f->kernel) : NULL;
    for (int i = 0; root && i < f->params.len; i++)
        if (f->params.at[i] == root->buf)
            return i;
    return -1;
}

bool func_hands_over(Ctx *ctx, Map *known, const Func *f, int i) {
    enum { YES = 1, NO };
    unsigned char *answer = map_get(known, f);
    if (!answer) {
        answer = ctx_newn(ctx, unsigned char, f->params.len);
        map_put(known, f, answer);
    }
    int root = func_root(f);
    if (!answer[i])
        answer[i] =
            root >= 0 && func_in_place(ctx, f, f->params.at[i], f->params.at[root]) ? YES : NO;
    return answer[i] == YES;
}

static Buf *outermost(Buf *b) {
    while (b->whole)
        b = b->whole;
    return b;
}

/* ---- lifetimes --------------------------------------------------------------------------------------- */

typedef struct Spanning {
    Ctx *ctx;
    Map *spans;
    int at;
} Spanning;

static void span_buf(Spanning *s, Buf *b) {
    if (!b || b->space != SPACE_ARENA)
        return;
    b = outermost(b);
    Life *span = map_get(s->spans, b);
    if (!span) {
        span = ctx_new(s->ctx, Life);
        span->first = s->at;
        map_put(s->spans, b, span);
    }
    span->last = s->at;
}

static void span_load(void *data, const Expr *e) {
    if (e->op == OP_LOAD)
        span_buf(data, e->u.buf);
}

static void span_stmt(void *data, Stmt *s) {
    Spanning *p = data;
    if (s->a)
        expr_walk(p->ctx, s->a, span_load, p);
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        span_buf(p, s->arg[i]);
    if (s->op != STMT_HOST)
        return;
    for (int i = 0; i < s->call->in.len; i++)
        span_buf(p, s->call->in.at[i]);
    for (int i = 0; i < s->call->out.len; i++)
        span_buf(p, s->call->out.at[i]);
    for (int i = 0; i < s->call->attr.len; i++)
        if (s->call->attr.at[i])
            expr_walk(p->ctx, s->call->attr.at[i], span_load, p);
}

/* ---- one run ----------------------------------------------------------------------------------------- */

static bool func_writes(const Func *f, const Buf *param) {
    if (!f->kernel)
        return true;
    for (int i = 0; i < f->kernel->outs.len; i++)
        if (f->kernel->outs.at[i] == param)
            return true;
    for (int i = 0; i < f->kernel->ins.len; i++)
        if (f->kernel->ins.at[i] == param)
            return false;
    return true;
}

static Accesses *accesses_of(CallRun *r, Buf *b) {
    Accesses *a = map_get(r->accesses, b);
    if (!a) {
        a = ctx_new(r->lo->ctx, Accesses);
        map_put(r->accesses, b, a);
    }
    return a;
}

/* Calls of the run that read or write what this call writes, or write what it reads, come before it. */
static void add_before(CallRun *r, OrderCall *c, int call, Buf *b, bool writes) {
    for (Buf *x = b; x; x = x->whole) {
        const Accesses *a = accesses_of(r, x);
        for (int i = 0; i < a->at.len; i++)
            if (a->at.at[i].call != call && (writes || a->at.at[i].writes) &&
                (x == b || a->at.at[i].direct))
                vec_push(r->lo->ctx, &c->before, a->at.at[i].call);
    }
    for (Buf *x = b; x; x = x->whole) {
        Access access = {call, writes, x == b};
        Accesses *a = accesses_of(r, x);
        vec_push(r->lo->ctx, &a->at, access);
    }
}

static int value_number(CallRun *r, Buf *b) {
    Ctx *ctx = r->lo->ctx;
    int *number = map_get(r->value_of, b);
    if (!number) {
        const Life *span = map_get(r->spans, b);
        OrderValue v = {memory_sample(r->lo, b), span->first < r->first, span->last >= r->end};
        r->open |= v.size < 0;
        number = ctx_new(ctx, int);
        *number = r->graph.values.len;
        map_put(r->value_of, b, number);
        vec_push(ctx, &r->graph.values, v);
    }
    return *number;
}

static bool has_value(const OrderCall *c, int v) {
    for (int i = 0; i < c->values.len; i++)
        if (c->values.at[i] == v)
            return true;
    return false;
}

/* The first argument that may give its place to the root. */
static void add_sharing(CallRun *r, OrderCall *c, const Stmt *s) {
    int root = func_root(s->func);
    Buf *y = root >= 0 ? s->arg[root] : NULL;
    for (int i = 0; y && i < s->func->params.len && c->in < 0; i++) {
        Buf *x = s->arg[i];
        if (i == root || x == y || x->space != SPACE_ARENA || y->space != SPACE_ARENA || x->whole ||
            y->whole || x->parts.len || y->parts.len || x->type != y->type)
            continue;
        int from = value_number(r, x), to = value_number(r, y);
        if (r->graph.values.at[to].size <= r->graph.values.at[from].size &&
            func_hands_over(r->lo->ctx, r->in_place, s->func, i)) {
            c->in = from;
            c->out = to;
        }
    }
}

static void add_call(CallRun *r, const Stmt *s) {
    Ctx *ctx = r->lo->ctx;
    OrderCall c = {.in = -1, .out = -1};
    int call = r->graph.calls.len;
    for (int i = 0; i < s->func->params.len; i++) {
        Buf *b = s->arg[i];
        if (b->space == SPACE_INPUT)
            b = (Buf *)(uintptr_t)state_output(r->lo->prog, b);
        if (!b || b->space == SPACE_CONST)
            continue;
        add_before(r, &c, call, b, func_writes(s->func, s->func->params.at[i]));
        if (b->space != SPACE_ARENA)
            continue;
        int v = value_number(r, outermost(b));
        if (!has_value(&c, v))
            vec_push(ctx, &c.values, v);
    }
    add_sharing(r, &c, s);
    vec_push(ctx, &r->graph.calls, c);
}

/* ---- the entry's list -------------------------------------------------------------------------------- */

static bool reorder_run(CallRun *r, Stmt **list) {
    Ctx *ctx = r->lo->ctx;
    int n = r->end - r->first;
    if (n < 3)
        return false;
    for (int i = 0; i < n; i++)
        add_call(r, list[r->first + i]);
    int *order = ctx_newn(ctx, int, n);
    if (r->open || !memory_order(ctx, &r->graph, r->lo->min_ram ? STEPS_MIN_RAM : STEPS, order))
        return false;
    Stmt **was = ctx_newn(ctx, Stmt *, n);
    for (int i = 0; i < n; i++)
        was[i] = list[r->first + i];
    for (int i = 0; i < n; i++)
        list[r->first + i] = was[order[i]];
    return true;
}

static Stmt *copy_list(Ctx *ctx, Stmt *const *list, int n) {
    Stmt *first = NULL, **end = &first;
    for (int i = 0; i < n; i++) {
        *end = stmt_new(ctx, list[i]->op);
        **end = *list[i];
        (*end)->next = NULL;
        end = &(*end)->next;
    }
    return first;
}

Stmt *calls_reorder(Lower *lo, Map *in_place) {
    Ctx *ctx = lo->ctx;
    Stmt *body = lo->module->entry->body;
    VEC(Stmt *) list = {0};
    Spanning spans = {ctx, map_new(ctx), 0};
    bool changed = false;
    for (Stmt *s = body; s; s = s->next, spans.at++) {
        Stmt *next = s->next;
        s->next = NULL;
        stmt_walk(s, span_stmt, &spans);
        s->next = next;
        vec_push(ctx, &list, s);
    }
    for (int first = 0, end; first < list.len; first = end + 1) {
        for (end = first; end < list.len && list.at[end]->op == STMT_CALL;)
            end++;
        CallRun r = {.lo = lo,
                     .in_place = in_place,
                     .spans = spans.spans,
                     .accesses = map_new(ctx),
                     .value_of = map_new(ctx),
                     .first = first,
                     .end = end};
        changed |= reorder_run(&r, list.at);
    }
    if (!changed)
        return NULL;
    lo->module->entry->body = copy_list(ctx, list.at, list.len);
    return body;
}
