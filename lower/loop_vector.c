/* Vector loops become vector statements. A loop whose statements have no vector form (a store that is not
 * contiguous, an index that is not linear, a condition that differs between lanes) stays a loop, or is
 * unrolled where it fills registers.
 * Precondition: loop_flatten.
 *
 *   before  for n < 16 vector { y[i*16 + n] = max(x[i*16 + n], 0) }
 *   after   y[ramp(i*16, 1):16] = max(x[ramp(i*16, 1):16], bcast(0):16) */
#include "lower/lower.h"

typedef struct Vectoring {
    Lower *lo;
    Ctx *ctx;
    Sym *var;
    int lanes;
    bool ok;
} Vectoring;

static const Expr *widen(Vectoring *v, const Expr *e) {
    return type_lanes(e->type) == v->lanes ? e : expr_bcast(v->ctx, e, v->lanes);
}

/* base + stride*var as a ramp; NULL unless linear with a constant stride. */
static const Expr *ramp(Vectoring *v, const Expr *index, int64_t *stride) {
    const Expr *coef, *rest;
    if (!expr_linear(v->ctx, index, 1, &v->var, &coef, &rest) || !expr_is_int(coef, stride))
        return NULL;
    return expr_ramp(v->ctx, rest, coef, v->lanes);
}

static const Expr *vector_expr(Vectoring *v, const Expr *e);

static const Expr *vector_load(Vectoring *v, const Expr *e) {
    int64_t stride;
    const Expr *at = ramp(v, e->kid[0], &stride);
    if (!at) {
        v->ok = false;
        return e;
    }
    return expr_load(v->ctx, e->u.buf, 1, &at);
}

/* A condition over the lanes that is the same for all of them, as a scalar; NULL when it may differ. a < b with a
 * growing by 1 a lane is uniform when b - a at lane 0 is a multiple of the lanes. */
static const Expr *uniform(Vectoring *v, const Expr *e) {
    const Expr *coef, *rest, *kid[2];
    int64_t c;
    if (!expr_uses_sym(e, v->var))
        return e;
    if (e->op == OP_AND || e->op == OP_OR || e->op == OP_NOT) {
        for (int i = 0; i < e->nkid; i++)
            if (!(kid[i] = uniform(v, e->kid[i])))
                return NULL;
        return expr_op(v->ctx, (Op)e->op, T_BOOL, e->nkid, kid);
    }
    if ((e->op != OP_LT && e->op != OP_LE) || type_dtype(e->kid[0]->type) != T_I64)
        return NULL;
    /* room = b - a: e holds while room > 0 (LT) or >= 0 (LE) */
    const Expr *room = expr_sub(v->ctx, e->kid[1], e->kid[0]);
    if (!expr_linear(v->ctx, room, 1, &v->var, &coef, &rest) || !expr_is_int(coef, &c) ||
        (c != 1 && c != -1))
        return NULL;
    /* falling: lane < rest + le; growing: -rest - le < lane, that is lane >= 1 - rest - le */
    const Expr *edge = expr_add(v->ctx, rest, expr_i(v->ctx, e->op == OP_LE));
    if (c == 1)
        edge = expr_sub(v->ctx, expr_i(v->ctx, 1), edge);
    if (expr_multiple(v->ctx, edge) % v->lanes != 0)
        return NULL;
    const Expr *zero = expr_i(v->ctx, 0);
    return c == -1 ? expr_lt(v->ctx, zero, edge) : expr_le(v->ctx, edge, zero);
}

/* Notes the loads that evaluating e always performs: what AND, OR and SELECT may skip is left out. */
static void sure_loads(Map *sure, const Expr *e) {
    bool lazy = e->op == OP_AND || e->op == OP_OR || e->op == OP_SELECT;
    if (e->op == OP_LOAD)
        map_put(sure, e, (void *)(uintptr_t)e);
    for (int i = 0; i < (lazy ? 1 : e->nkid); i++)
        sure_loads(sure, e->kid[i]);
}

typedef struct Arms {
    const Map *sure;
    bool found;
} Arms;

static void find_load(void *data, const Expr *e) {
    Arms *arms = data;
    arms->found |= e->op == OP_LOAD && e->u.buf->space != SPACE_REG && !map_get(arms->sure, e);
}

/* Lanes that do not take an arm must not perform its loads, and a vector performs them all: only loads that the
 * condition performs as well are safe. */
static bool arms_load(Ctx *ctx, const Expr *e) {
    Map *sure = map_new(ctx);
    Arms arms = {sure, false};
    sure_loads(sure, e->kid[0]);
    for (int i = 1; i < e->nkid; i++)
        expr_walk(ctx, e->kid[i], find_load, &arms);
    return arms.found;
}

static const Expr *vector_select(Vectoring *v, const Expr *e) {
    const Expr *same = uniform(v, e->kid[0]);
    if (!same && arms_load(v->ctx, e)) {
        v->ok = false;
        return e;
    }
    const Expr *c = same ? expr_bcast(v->ctx, same, v->lanes) : widen(v, vector_expr(v, e->kid[0]));
    const Expr *a = widen(v, vector_expr(v, e->kid[1])), *b = widen(v, vector_expr(v, e->kid[2]));
    return v->ok ? expr_select(v->ctx, c, a, b) : e;
}

static const Expr *vector_expr(Vectoring *v, const Expr *e) {
    if (e->op == OP_SELECT && v->ok && expr_uses_sym(e, v->var) && type_dtype(e->type) != T_I64)
        return vector_select(v, e);
    if (!v->ok || !expr_uses_sym(e, v->var))
        return e;
    if (e->op == OP_LOAD)
        return vector_load(v, e);
    int64_t stride;
    if (type_dtype(e->type) == T_I64) {
        const Expr *at = ramp(v, e, &stride);
        v->ok &= at != NULL;
        return at ? at : e;
    }
    const Expr *kid[4];
    bool lazy = (e->op == OP_AND || e->op == OP_OR) && arms_load(v->ctx, e);
    if (e->nkid > 3 || e->nkid < 1 || lazy) {
        v->ok = false;
        return e;
    }
    for (int i = 0; i < e->nkid; i++)
        kid[i] = widen(v, vector_expr(v, e->kid[i]));
    Type t = TYPE_VEC(type_dtype(e->type), v->lanes);
    v->ok &= v->lo->target->spells(v->lo->machine, e->op, t);
    return v->ok ? expr_op(v->ctx, e->op, t, e->nkid, kid) : e;
}

/* Rewrites a copy of the list; v->ok says whether it is any good. */
static void vector_stmts(Vectoring *v, Stmt *s) {
    for (; s && v->ok; s = s->next) {
        int64_t stride = 0;
        switch (s->op) {
        case STMT_FOR:
            v->ok &= !expr_uses_sym(s->a, v->var) && s->run != RUN_VECTOR;
            vector_stmts(v, s->body);
            break;
        case STMT_IF:
            v->ok &= !expr_uses_sym(s->a, v->var);
            vector_stmts(v, s->body);
            vector_stmts(v, s->orelse);
            break;
        case STMT_STORE: {
            const Expr **at = ctx_new(v->ctx, const Expr *);
            *at = ramp(v, s->index[0], &stride);
            v->ok &= *at && stride == 1;
            if (v->ok)
                s->a = widen(v, vector_expr(v, s->a));
            s->index = at;
            break;
        }
        default:
            v->ok = false;
        }
    }
}

static void find_registers(void *data, Stmt *s) {
    if (s->op == STMT_STORE && s->buf->space == SPACE_REG && s->nindex)
        *(bool *)data = true;
}

/* Register variables have no index at run time. */
static bool uses_registers(Stmt *s) {
    bool found = false;
    stmt_walk(s, find_registers, &found);
    return found;
}

static void vector_walk(Lower *lo, Stmt *s) {
    for (; s; s = s->next) {
        vector_walk(lo, s->body);
        vector_walk(lo, s->orelse);
        int64_t n;
        if (s->op != STMT_FOR || s->run != RUN_VECTOR || !expr_is_int(s->a, &n))
            continue;
        Vectoring v = {lo, lo->ctx, s->var, (int)n, true};
        Stmt *body = stmt_copy(lo->ctx, s->body), *next = s->next;
        vector_stmts(&v, body);
        if (!v.ok) {
            s->run = uses_registers(s->body) ? RUN_UNROLL : RUN_SERIAL;
            continue;
        }
        Stmt *last = body;
        while (last->next)
            last = last->next;
        *s = *body;
        if (last == body)
            last = s;
        last->next = next;
    }
}

bool loop_vector(Lower *lo, Func *f) {
    vector_walk(lo, f->body);
    return true;
}
