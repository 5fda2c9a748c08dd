/* Vector loops become vector statements. A loop whose statements have no vector form (a store that is not
 * contiguous, an index that is not linear) stays a loop, or is unrolled where it fills registers. What only some
 * lanes do is masked.
 * Precondition: loop_flatten.
 *
 *   before  for n < 16 vector { y[i*16 + n] = max(x[i*16 + n], 0) }
 *   after   y[ramp(i*16, 1):16] = max(x[ramp(i*16, 1):16], bcast(0):16) */
#include "lower/sched_in.h"

/* Where an expression is asked for: at the top, or in an arm of a lazy op, where loads may be out of bounds
 * in the lanes (or the iterations) that do not take the arm. */
typedef struct Place {
    const struct Place *outer;
    const Expr *mask; /* asked for in these lanes; NULL: all */
    Map *sure;        /* Expr → itself: what these lanes compute in any case */
    Map *safe;        /* Expr → "yes" or "no": are all its loads sure? */
    Map *done;        /* Expr → its vector */
} Place;

typedef struct Vectoring {
    Lower *lo;
    Ctx *ctx;
    Sym *var;
    int lanes;
    const Expr *mask; /* statements run in these lanes; NULL: all */
    const Stmt *pair; /* the loop around them, written out; NULL: none */
    const Place *at;
    bool ok;
} Vectoring;

static bool is_lazy(const Expr *e) {
    return e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
}

static void note_sure(Ctx *ctx, Map *sure, const Expr *e) {
    if (!expr_uses_buf(e, NULL) || map_get(sure, e))
        return;
    map_put(sure, e, (void *)(uintptr_t)e);
    for (int i = 0; i < (is_lazy(e) ? 1 : e->nkid); i++)
        note_sure(ctx, sure, e->kid[i]);
}

static Place place_new(Ctx *ctx, const Place *outer, const Expr *mask, const Expr *e) {
    Place p = {outer, mask, map_new(ctx), map_new(ctx), map_new(ctx)};
    note_sure(ctx, p.sure, e);
    return p;
}

static bool is_safe(const Place *p, const Expr *e) {
    static const char *const WORDS[] = {"no", "yes"};
    if (!expr_uses_buf(e, NULL))
        return true;
    const char *known = map_get(p->safe, e);
    if (known)
        return known == WORDS[1];
    bool sure = false, safe = e->op != OP_LOAD;
    for (const Place *o = p; o && !sure; o = o->outer)
        sure = map_get(o->sure, e) != NULL;
    for (int i = 0; i < e->nkid && safe; i++)
        safe = is_safe(p, e->kid[i]);
    safe |= sure;
    map_put(p->safe, e, (void *)(uintptr_t)WORDS[safe]);
    return safe;
}

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

/* Is the element there whether or not it is asked for? */
static bool in_bounds(Ctx *ctx, const Expr *load) {
    const Buf *b = load->u.buf;
    int64_t n;
    Range r = expr_range(ctx, load->kid[0]);
    return r.min >= 0 && expr_is_int(b->size ? b->size : buf_count(ctx, b), &n) && r.max < n;
}

/* Does the machine load this from a vector of places? */
static bool can_gather(const Vectoring *v, const Expr *e) {
    const int bytes = type_bytes(type_dtype(e->type));
    return v->lo->machine->vec == 64 && v->lanes == 8 && bytes >= 4 && bytes <= 8 &&
           expr_uses_buf(e->kid[0], NULL);
}

static const Expr *vector_load(Vectoring *v, const Expr *e) {
    int64_t stride;
    const Expr *at = expr_uses_sym(e->kid[0], v->var) ? ramp(v, e->kid[0], &stride) : e->kid[0];
    const Place *p = v->at;
    for (const Place *o = p; o; o = o->outer) /* the widest that loads it in any case */
        p = map_get(o->sure, e) ? o : p;
    const Expr *mask = e->u.buf->space == SPACE_REG || in_bounds(v->ctx, e) ? NULL : p->mask;
    if (!at && !mask && can_gather(v, e))
        at = vector_expr(v, e->kid[0]);
    if (!at || (mask && expr_uses_buf(at, NULL))) {
        v->ok = false;
        return e;
    }
    return mask ? expr_mload(v->ctx, e->u.buf, mask, 1, &at) : expr_load(v->ctx, e->u.buf, 1, &at);
}

/* A condition over the lanes that is the same for all of them, as a scalar; NULL when it may differ.
 * a < b with a growing by 1 a lane is uniform when b - a at lane 0 is a multiple of the lanes. */
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

/* The operands of a lazy op; what only some lanes load is loaded in these lanes only.
 *   select(c, x[i], 0) → select(c, x[c ? ramp], 0) */
static void vector_lazy(Vectoring *v, const Expr *e, const Expr **kid) {
    const Place *outer = v->at;
    /* is the condition itself asked for in some lanes only? */
    bool here = outer->mask && expr_uses_buf(e->kid[0], NULL);
    const Expr *same = here ? NULL : uniform(v, e->kid[0]);
    const Expr *c = kid[0] = widen(v, same ? same : vector_expr(v, e->kid[0]));
    /* by a condition that is the same for all lanes a select performs one arm */
    bool differs = e->op != OP_SELECT || !same;
    for (int i = 1; i < e->nkid && v->ok; i++) {
        const Expr *mask = outer->mask;
        if (differs) {
            const Expr *on = e->op == OP_OR || i == 2 ? expr_not(v->ctx, c) : c;
            mask = mask ? expr_and(v->ctx, mask, on) : on;
        }
        Place inner = {.outer = NULL};
        if (!is_safe(outer, e->kid[i])) {
            inner = place_new(v->ctx, outer, mask, e->kid[i]);
            v->at = &inner;
        }
        kid[i] = widen(v, vector_expr(v, e->kid[i]));
        v->at = outer;
    }
}

static const Expr *vector_op(Vectoring *v, const Expr *e) {
    bool loads = expr_uses_buf(e, NULL);
    int64_t stride;
    if (type_dtype(e->type) == T_I64 && !loads) { /* an index */
        const Expr *at = ramp(v, e, &stride);
        v->ok &= at != NULL;
        return at ? at : e;
    }
    const Expr *kid[3];
    if (e->nkid > 3 || e->nkid < 1) {
        v->ok = false;
        return e;
    }
    if (is_lazy(e) && loads)
        vector_lazy(v, e, kid);
    else
        for (int i = 0; i < e->nkid; i++)
            kid[i] = widen(v, vector_expr(v, e->kid[i]));
    Type t = TYPE_VEC(type_dtype(e->type), v->lanes);
    v->ok &= v->lo->target->spells(v->lo->machine, e->op, t);
    return v->ok ? expr_op(v->ctx, e->op, t, e->nkid, kid) : e;
}

static const Expr *vector_expr(Vectoring *v, const Expr *e) {
    if (!v->ok || (!expr_uses_sym(e, v->var) && !(v->at->mask && expr_uses_buf(e, NULL))))
        return e;
    const Expr *done = map_get(v->at->done, e);
    if (!done) {
        done = e->op == OP_LOAD ? vector_load(v, e) : vector_op(v, e);
        map_put(v->at->done, e, (void *)(uintptr_t)done);
    }
    return done;
}

static const Expr *vector_value(Vectoring *v, const Expr *e) {
    Place top = place_new(v->ctx, NULL, v->mask, e);
    v->at = &top;
    return widen(v, vector_expr(v, e));
}

static void vector_stmts(Vectoring *v, Stmt *s);

/* A condition that differs between lanes masks what it guards.
 *   if n < 10 { y[n] = x[n] }  →  y[ramp] = x[n < 10 ? ramp] where n < 10 */
static void vector_if(Vectoring *v, Stmt *s) {
    const Expr *outer = v->mask;
    const Expr *same = outer && expr_uses_buf(s->a, NULL) ? NULL : uniform(v, s->a);
    if (same) {
        s->a = same;
        vector_stmts(v, s->body);
        vector_stmts(v, s->orelse);
        return;
    }
    v->ok &= !s->orelse && s->body;
    const Expr *on = v->ok ? vector_value(v, s->a) : NULL;
    if (!v->ok)
        return;
    v->mask = outer ? expr_and(v->ctx, outer, on) : on;
    vector_stmts(v, s->body);
    v->mask = outer;
    Stmt *next = s->next;
    *s = *s->body;
    stmt_join(s, next);
}

/* Do all rounds of the loop around the store together write side by side what each writes with gaps? */
static bool fills_gaps(const Vectoring *v, const Stmt *s, int64_t stride) {
    const Expr *coef, *rest;
    return v->pair && !v->mask && s->buf->space != SPACE_REG && stride == 2 &&
           type_dtype(s->buf->type) == T_F32 && expr_is(v->pair->a, 2) &&
           expr_linear(v->ctx, s->index[0], 1, &v->pair->var, &coef, &rest) && expr_is(coef, 1);
}

static void vector_store(Vectoring *v, Stmt *s) {
    int64_t stride = 0;
    const Expr **at = ctx_new(v->ctx, const Expr *);
    *at = ramp(v, s->index[0], &stride);
    v->ok &=
        *at && (stride == 1 || fills_gaps(v, s, stride)) && !(v->mask && expr_uses_buf(*at, NULL));
    if (v->ok)
        s->a = vector_value(v, s->a);
    s->index = at;
    s->b = v->mask;
}

/* Rewrites a copy of the list; v->ok says whether it is any good. */
static void vector_stmts(Vectoring *v, Stmt *s) {
    for (Stmt *next; s && v->ok; s = next) {
        next = s->next;
        switch (s->op) {
        case STMT_FOR:
            v->ok &= !expr_uses_sym(s->a, v->var) && s->run != RUN_VECTOR &&
                     !(v->mask && expr_uses_buf(s->a, NULL));
            v->pair = s->run == RUN_UNROLL && !s->body->next ? s : NULL;
            vector_stmts(v, s->body);
            v->pair = NULL;
            break;
        case STMT_IF:
            vector_if(v, s);
            break;
        case STMT_STORE:
            vector_store(v, s);
            break;
        default:
            v->ok = false;
        }
    }
}

/* ---- trees ------------------------------------------------------------------------------------------ */

typedef struct Tree {
    Ctx *ctx;
    Op op;
    Buf *buf;
    const Expr *base; /* offset of the first leaf */
    int leaves;
} Tree;

/* Is e leaf i of `half` trees over the leaves i, i + half, i + 2 half …? */
static bool is_tree(Tree *t, const Expr *e, int i, int half) {
    if (half == t->leaves)
        return e->op == OP_LOAD && e->u.buf == t->buf && e->type == t->buf->type &&
               e->kid[0] == expr_add(t->ctx, t->base, expr_i(t->ctx, i));
    return e->op == t->op && is_tree(t, e->kid[0], i, 2 * half) &&
           is_tree(t, e->kid[1], i + half, 2 * half);
}

/* ((x[0] + x[8]) + (x[4] + x[12])) + …: halves added again and again, which is what vadd means. */
static const Expr *vector_tree(Ctx *ctx, const Expr *e, void *data) {
    const Lower *lo = data;
    const int most = lo->machine->vec / 4;
    if ((e->op != OP_ADD && e->op != OP_MAX && e->op != OP_MIN) ||
        (e->type != T_F32 && (e->type != T_I32 || e->op == OP_ADD)))
        return e;
    const Expr *first = e;
    Tree t = {.ctx = ctx, .op = (Op)e->op, .leaves = 1};
    for (; first->op == t.op; first = first->kid[0])
        t.leaves *= 2;
    if (first->op != OP_LOAD || t.leaves < 4 || most < 4)
        return e;
    t.buf = first->u.buf;
    t.base = first->kid[0];
    if (!is_tree(&t, e, 0, 1))
        return e;
    int lanes = t.leaves < most ? t.leaves : most;
    const Expr *part[16], *one = expr_i(ctx, 1);
    int n = t.leaves / lanes;
    for (int i = 0; i < n; i++) {
        const Expr *at = expr_add(ctx, t.base, expr_i(ctx, i * lanes));
        at = expr_ramp(ctx, at, one, lanes);
        part[i] = expr_load(ctx, t.buf, 1, &at);
    }
    for (; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++) {
            const Expr *kid[2] = {part[i], part[i + n / 2]};
            part[i] = expr_op(ctx, t.op, part[i]->type, 2, kid);
        }
    Op reduce = t.op == OP_ADD ? OP_VADD : t.op == OP_MAX ? OP_VMAX : OP_VMIN;
    return expr_op(ctx, reduce, e->type, 1, part);
}

/* ---- all ------------------------------------------------------------------------------------------- */

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

/* Two nested vector loops are one instruction, or the outer one is written out; an inner one that reduces, too. */
static bool is_dot4(Lower *lo, Stmt *s) {
    if (s->op != STMT_FOR || s->run != RUN_VECTOR || s->body->op != STMT_FOR ||
        s->body->run != RUN_VECTOR)
        return false;
    Stmt *one = loop_dot(lo, s), *next = s->next;
    if (one) {
        *s = *one;
        s->next = next;
        return true;
    }
    s->run = RUN_UNROLL;
    if (s->body->kind == AXIS_RED)
        s->body->run = RUN_UNROLL;
    return false;
}

static bool is_tile(Lower *lo, Stmt *s) {
    Stmt *call = loop_tile(lo, s), *next = s->next;
    if (!call)
        return false;
    *s = *call;
    s->next = next;
    return true;
}

static void vector_walk(Lower *lo, Stmt *s) {
    for (; s; s = s->next) {
        if (is_tile(lo, s) || is_dot4(lo, s))
            continue;
        vector_walk(lo, s->body);
        vector_walk(lo, s->orelse);
        int64_t n;
        if (s->op != STMT_FOR || s->run != RUN_VECTOR || !expr_is_int(s->a, &n))
            continue;
        Vectoring v = {lo, lo->ctx, s->var, (int)n, NULL, NULL, NULL, true};
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
    loop_tile_state(lo, f);
    if (lo->machine->vec > 0)
        stmt_map(lo->ctx, f->body, vector_tree, lo);
    return true;
}
