/* What a Module costs: bytes of weights, floating-point operations of one run. */
#include "driver/driver.h"

#include <string.h>

int64_t module_weights(const Module *m) {
    int64_t total = 0, bytes;
    for (int i = 0; i < m->consts.len; i++) {
        const Const *c = m->consts.at[i]->packed ? m->consts.at[i]->packed : m->consts.at[i]->data;
        if (!mul_ok(c->count, type_bytes(c->type), &bytes) || !add_ok(total, bytes, &total))
            return INT64_MAX;
    }
    return total;
}

typedef struct Flop {
    Ctx *ctx;
    Map *done; /* Func → double * */
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

/* Of an expression; NULL: none. */
static double flop_expr(Flop *f, const Expr *e) {
    Flop one = {f->ctx, f->done, 0};
    if (e)
        expr_walk(f->ctx, e, expr_flop, &one);
    return one.sum;
}

static double flop_func(Flop *f, const Func *fn);

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
        sum += (double)trips * (body > other ? body : other);
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

double module_flop(Ctx *ctx, const Module *m) {
    Flop f = {ctx, map_new(ctx), 0};
    return flop_func(&f, m->entry);
}
