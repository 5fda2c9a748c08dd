/* vectorize and tensorize: a loop of constant extent becomes vector iterations, full ones first, then
 * narrower powers of two, then single elements.
 *
 *   before  for n < 40 { y[n] = x[n] }     vectorize n by 16
 *   after   for n < 2 unroll { for n < 16 vector { … } } for n < 8 vector { … } */
#include "lower/sched_in.h"

#include <string.h>

#define LANES_MIN 4 /* narrower than this is unrolled scalars */

static Stmt *part_loop(Ctx *ctx, const Stmt *s, int64_t base, int64_t times, int64_t lanes) {
    Sym *inner = sym_axis(ctx, s->label, expr_i(ctx, lanes));
    Sym *outer = sym_axis(ctx, s->label, expr_i(ctx, times));
    const Expr *at = expr_add(ctx, expr_i(ctx, base), expr_sym(ctx, inner));
    if (times > 1)
        at = expr_add(ctx, at, expr_mul(ctx, expr_sym(ctx, outer), expr_i(ctx, lanes)));
    Stmt *body = stmt_copy(ctx, s->body);
    stmt_subst(ctx, body, 1, (Sym *const *)&s->var, &at);
    Stmt *loop = stmt_for(ctx, inner, inner->extent, s->label, s->def, body);
    loop->run = lanes >= LANES_MIN ? RUN_VECTOR : RUN_UNROLL;
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

/* Rows of registers are padded to the widest vector, constants to whole blocks: is that enough? */
static bool has_room(const Room *r, const Expr *e) {
    const Buf *b = e->u.buf;
    int64_t size;
    if (b->space == SPACE_REG)
        return true;
    if (b->space != SPACE_CONST || !b->where || !b->fill || !expr_is_int(b->size, &size))
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
    r->ok &= s->op != STMT_STORE || s->buf->space == SPACE_REG;
    r->ok &= s->op != STMT_IF || !expr_uses_sym(s->a, r->var);
}

/* May the loop run past its extent? When all it reads along it is padded with what is known, and all it writes
 * are registers that nothing reads there. */
static bool may_round_up(Ctx *ctx, const Stmt *s, int64_t n, int64_t lanes) {
    Room r = {ctx, s->var, sym_axis(ctx, s->label, expr_i(ctx, n)), REG_ALIGN % lanes == 0};
    stmt_walk(s->body, room_stmt, &r);
    return r.ok;
}

static bool vectorize_one(Ctx *ctx, Stmt *s, int64_t lanes, Tail tail, Str *why) {
    int64_t n;
    if (s->kind != AXIS_PAR)
        return step_fails(ctx, why, "%s is not a parallel axis", s->label);
    if (!expr_is_int(s->a, &n) || n < 1)
        return step_fails(ctx, why, "%s has no constant extent", s->label);
    if (tail == TAIL_ROUNDUP)
        n = (n + lanes - 1) / lanes * lanes;
    if (tail == TAIL_ROUNDUP && !may_round_up(ctx, s, n, lanes))
        return step_fails(ctx, why, "what %s reads or writes has no room behind it", s->label);
    Stmt *parts = NULL;
    for (int64_t base = 0, w = lanes; base < n;) {
        while (w > n - base)
            w /= 2;
        int64_t times = w < LANES_MIN ? 1 : (n - base) / w, each = w < LANES_MIN ? n - base : w;
        parts = stmt_join(parts, part_loop(ctx, s, base, times, each));
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
    bool dot4 = !strcmp(instr, "dot4");
    if (!dot4 && strcmp(instr, "fma") != 0)
        return step_fails(ctx, why, "there is no instruction %s", instr);
    for (int i = 0; i < loops.len; i++)
        if (!dot4)
            stmt_walk(loops.at[i]->body, contract, ctx);
        else if (!loop_takes_dot4(loops.at[i], why, ctx))
            return false;
    return sched_vectorize(ctx, f, step, why);
}
