/* vectorize and tensorize: a loop of constant extent becomes vector iterations, full ones first, then
 * narrower powers of two, then single elements.
 *
 *   before  for n < 40 { y[n] = x[n] }     vectorize n by 16
 *   after   for n < 2 unroll { for n < 16 vector { … } } for n < 8 vector { … } */
#include "lower/sched_in.h"

#include <string.h>

#define REG_MAX (1 << 20) /* elements of a row of registers */
#define LANES_MIN 4       /* narrower than this is unrolled scalars */

static Stmt *part_loop(Ctx *ctx, const Stmt *s, int64_t base, int64_t times, int64_t lanes,
                       bool vector) {
    Sym *inner = sym_axis(ctx, s->label, expr_i(ctx, lanes));
    Sym *outer = sym_axis(ctx, s->label, expr_i(ctx, times));
    const Expr *at = expr_add(ctx, expr_i(ctx, base), expr_sym(ctx, inner));
    if (times > 1)
        at = expr_add(ctx, at, expr_mul(ctx, expr_sym(ctx, outer), expr_i(ctx, lanes)));
    Stmt *body = stmt_copy(ctx, s->body);
    stmt_subst(ctx, body, 1, (Sym *const *)&s->var, &at);
    Stmt *loop = stmt_for(ctx, inner, inner->extent, s->label, s->def, body);
    loop->run = vector ? RUN_VECTOR : RUN_UNROLL;
    loop->kind = s->kind;
    if (times == 1)
        return loop;
    loop = stmt_for(ctx, outer, outer->extent, s->label, s->def, loop);
    loop->run = RUN_UNROLL;
    loop->kind = s->kind;
    return loop;
}

typedef struct Room {
    Ctx *ctx;
    Sym *var, *longer; /* the loop's, and one of the rounded extent */
    bool ok;
} Room;

/* How far one step along dimension d is in storage; 0 when that is not known. */
static int64_t stride_of(Ctx *ctx, const Buf *b, int d) {
    const Expr *at[RANK_MAX];
    int64_t from, to;
    for (int i = 0; i < b->rank; i++)
        at[i] = expr_i(ctx, 0);
    bool known = expr_is_int(buf_offset(ctx, b, at), &from);
    at[d] = expr_i(ctx, 1);
    return known && expr_is_int(buf_offset(ctx, b, at), &to) ? to - from : 0;
}

/* Rows of registers are padded: does the loop stay in its row up to the rounded end? */
static bool row_has_room(const Room *r, const Buf *b, const Expr *const *index) {
    const Expr *to = expr_sym(r->ctx, r->longer), *all = b->size ? b->size : buf_count(r->ctx, b);
    int64_t end = 0, step = 0, size, dim;
    int along = -1;
    for (int d = 0; d < b->rank; d++)
        if (expr_uses_sym(index[d], r->var)) {
            along = d;
            Range range = expr_range(r->ctx, expr_subst(r->ctx, index[d], 1, &r->var, &to));
            if (step || (step = stride_of(r->ctx, b, d)) < 1 || range.max >= REG_MAX)
                return false;
            end = step * (range.max + 1);
        }
    for (int d = 0; d < b->rank; d++) {
        int64_t other = stride_of(r->ctx, b, d);
        if (!expr_is_int(b->dim[d], &dim) ||
            (d != along && dim > 1 && other >= step && other < end))
            return false;
    }
    return expr_is_int(all, &size) && end <= size;
}

/* The same for constants, which are padded to whole blocks, and for rows of values with something behind each. */
static bool has_room(const Room *r, const Expr *e) {
    const Buf *b = e->u.buf;
    int64_t size;
    if (b->space == SPACE_REG)
        return row_has_room(r, b, e->kid);
    if (!b->where || !b->fill || !expr_is_int(b->size, &size))
        return false;
    const Expr *to = expr_sym(r->ctx, r->longer);
    const Expr *at = expr_subst(r->ctx, buf_offset(r->ctx, b, e->kid), 1, &r->var, &to);
    return expr_range(r->ctx, at).max < size;
}

static void room_load(void *data, const Expr *e) {
    Room *r = data;
    r->ok &= e->op != OP_LOAD || !expr_uses_sym(e, r->var) || has_room(r, e);
}

static void room_stmt(void *data, Stmt *s) {
    Room *r = data;
    if (s->a)
        expr_walk(r->ctx, s->a, room_load, r);
    r->ok &=
        s->op != STMT_STORE || (s->buf->space == SPACE_REG && row_has_room(r, s->buf, s->index));
    r->ok &= s->op != STMT_IF || !expr_uses_sym(s->a, r->var);
}

/* May the loop run past its extent? When what it reads along it is stored with room there, whatever that holds, and
 * all it writes are registers that nothing reads there. */
static bool may_round_up(Ctx *ctx, const Stmt *s, int64_t n) {
    Room r = {ctx, s->var, sym_axis(ctx, s->label, expr_i(ctx, n)), true};
    stmt_walk(s->body, room_stmt, &r);
    return r.ok;
}

/* To whole vectors, or to the narrower one that holds the rest. */
static bool round_up(Ctx *ctx, const Stmt *s, int64_t lanes, int64_t *n) {
    int64_t full = *n / lanes * lanes, rest = LANES_MIN;
    while (rest < *n - full)
        rest *= 2;
    int64_t whole = (*n + lanes - 1) / lanes * lanes, narrow = *n > full ? full + rest : full;
    bool ok = may_round_up(ctx, s, whole);
    *n = ok ? whole : narrow;
    return ok || may_round_up(ctx, s, narrow);
}

static bool vectorize_one(Ctx *ctx, Stmt *s, int64_t lanes, Tail tail, Str *why) {
    int64_t n;
    if (s->kind != AXIS_PAR)
        return step_fails(ctx, why, "%s is not a parallel axis", s->label);
    if (!expr_is_int(s->a, &n) || n < 1)
        return step_fails(ctx, why, "%s has no constant extent", s->label);
    if (tail == TAIL_ROUNDUP && !round_up(ctx, s, lanes, &n))
        return step_fails(ctx, why, "what %s reads or writes has no room behind it", s->label);
    Stmt *parts = NULL;
    for (int64_t base = 0, w = lanes; base < n;) {
        while (w > n - base)
            w /= 2;
        int64_t times = w < LANES_MIN ? 1 : (n - base) / w, each = w < LANES_MIN ? n - base : w;
        parts = stmt_join(parts, part_loop(ctx, s, base, times, each, w >= LANES_MIN));
        base += times * each;
    }
    Stmt *next = s->next;
    *s = *parts;
    stmt_join(s, next);
    return true;
}

bool sched_vectorize(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    if (step->nnum != 1 || step->num[0] < 1)
        return step_fails(ctx, why, "vectorize needs the number of lanes");
    for (int i = 0; i < loops.len; i++)
        if (!vectorize_one(ctx, loops.at[i], step->num[0], (Tail)step->tail, why))
            return false;
    return true;
}

/* acc + a*b → fma(a, b, acc), where acc is what the store replaces. */
static void contract(void *data, Stmt *s) {
    Ctx *ctx = data;
    if (s->op != STMT_STORE || s->a->op != OP_ADD || !type_is_float(type_dtype(s->a->type)))
        return;
    for (int i = 0; i < 2; i++) {
        const Expr *acc = s->a->kid[i], *product = s->a->kid[1 - i];
        if (acc->op != OP_LOAD || acc->u.buf != s->buf || product->op != OP_MUL)
            continue;
        const Expr *kid[3] = {product->kid[0], product->kid[1], acc};
        s->a = expr_op(ctx, OP_FMA, s->a->type, 3, kid);
        return;
    }
}

bool sched_tensorize(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    const char *instr = step->nword == 1 ? step->word[0] : "";
    if (!strcmp(instr, "tile_bf16")) {
        bool any = false;
        for (int i = 0; i < loops.len; i++)
            any |= loop_takes_tile(loops.at[i]);
        return any || step_fails(ctx, why, "no loops of %s are a tile", step->loop[0].axis);
    }
    int group = !strcmp(instr, "dot4") ? 4 : !strcmp(instr, "dot2") ? 2 : 0;
    if (!group && strcmp(instr, "fma") != 0)
        return step_fails(ctx, why, "there is no instruction %s", instr);
    for (int i = 0; i < loops.len; i++)
        if (!group)
            stmt_walk(loops.at[i]->body, contract, ctx);
        else if (!loop_takes_dot(loops.at[i], group, why, ctx))
            return false;
    return sched_vectorize(ctx, f, step, why);
}
