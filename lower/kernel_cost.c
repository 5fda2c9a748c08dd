/* lower/kernel_cost.c — what every function costs: floating-point operations, multiply-adds of narrow integers
 * by their instructions, and traffic, for comments, the report and the summary. Precondition: kernels and entry are
 * final.
 *
 *   for i < 100 { y[i] = fma(a[i], b, y[i]) }   →   200 FLOP */
#include "lower/lower.h"

typedef struct Flop {
    Ctx *ctx;
    void (*node)(void *data, const Expr *e); /* what counts */
    Map *done;                               /* Func → double * */
    double sum;
} Flop;

/* Arithmetic on floats; an FMA is two operations, a reduction over lanes one a lane. */
static void expr_flop(void *data, const Expr *e) {
    Flop *f = data;
    if (e->nkid == 0 || !type_is_float(type_dtype(e->type)))
        return;
    switch (e->op) {
    case OP_LOAD:
    case OP_MLOAD:
    case OP_SELECT:
    case OP_CAST:
    case OP_CASTW:
    case OP_BITCAST:
    case OP_BCAST:
    case OP_LANE:
        return;
    case OP_VADD:
    case OP_VMAX:
    case OP_VMIN:
        f->sum += type_lanes(e->kid[0]->type);
        return;
    default:
        f->sum += (e->op == OP_FMA ? 2 : 1) * type_lanes(e->type);
    }
}

static void expr_macs(void *data, const Expr *e) {
    Flop *f = data;
    f->sum +=
        e->op == OP_DOT4 || e->op == OP_DOT2 ? (e->op == OP_DOT4 ? 4 : 2) * type_lanes(e->type) : 0;
}

/* Of an expression; NULL: none. */
static double flop_expr(Flop *f, const Expr *e) {
    Flop one = {f->ctx, f->node, f->done, 0};
    if (e)
        expr_walk(f->ctx, e, f->node, &one);
    return one.sum;
}

static double flop_func(Flop *f, const Func *fn);

/* How often a condition holds: of rows that slide those that are new (`p == 0 || 2 <= k`, k < 3: a third). */
static double share(const Expr *when) {
    for (int i = 0; when->op == OP_OR && i < 2; i++) {
        const Expr *e = when->kid[i];
        int64_t from, n;
        if (e->op == OP_LE && expr_is_int(e->kid[0], &from) && e->kid[1]->op == OP_SYM &&
            e->kid[1]->u.sym->extent && expr_is_int(e->kid[1]->u.sym->extent, &n) && n > from)
            return (double)(n - from) / (double)n;
    }
    return 1;
}

/* Of a list of statements; -1 when a trip count is not constant. Of an IF, the dearer side. */
static double flop_list(Flop *f, const Stmt *s) {
    double sum = 0;
    for (; s; s = s->next) {
        double body = flop_list(f, s->body), other = flop_list(f, s->orelse);
        int64_t trips = 1;
        if (body < 0 || other < 0 || (s->op == STMT_WHILE && body > 0))
            return -1;
        if (s->op == STMT_FOR && body > 0 && !expr_is_int(s->a, &trips))
            return -1;
        body = body > other ? body : other;
        sum += (double)trips * body * (s->op == STMT_IF ? share(s->a) : 1);
        if (s->op == STMT_STORE || s->op == STMT_LET)
            sum += flop_expr(f, s->a);
        if (s->op == STMT_CALL) {
            double called = flop_func(f, s->func);
            if (called < 0)
                return -1;
            sum += called;
        }
    }
    return sum;
}

static double flop_func(Flop *f, const Func *fn) {
    double *known = map_get(f->done, fn);
    if (!known) {
        known = ctx_new(f->ctx, double);
        *known = flop_list(f, fn->body);
        map_put(f->done, fn, known);
    }
    return *known;
}

/* Bytes of the buffers; -1 when a shape is not constant. */
static double bytes_of(int n, Buf *const *b) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        int64_t count;
        if (!buf_static(b[i], &count))
            return -1;
        sum += (double)count * type_bytes(type_dtype(b[i]->type));
    }
    return sum;
}

double func_work(const Func *f, const Machine *m) {
    int group = machine_group(m);
    return f->flop < 0 || f->macs < 0 ? -1 : f->flop + (group ? 2 * f->macs / group : 0);
}

bool kernel_cost(Lower *lo) {
    const Module *m = lo->module;
    Flop f = {lo->ctx, expr_flop, map_new(lo->ctx), 0},
         macs = {lo->ctx, expr_macs, map_new(lo->ctx), 0};
    m->entry->flop = flop_func(&f, m->entry);
    m->entry->macs = flop_func(&macs, m->entry);
    for (int i = 0; i < m->kernels.len; i++) {
        Func *fn = m->kernels.at[i]->func;
        const Kernel *k = m->kernels.at[i];
        fn->flop = flop_func(&f, fn);
        fn->macs = flop_func(&macs, fn);
        fn->bytes_in = bytes_of(k->ins.len, k->ins.at);
        fn->bytes_out = bytes_of(k->outs.len, k->outs.at);
    }
    return true;
}
