/* tensorize … with tile_bf16: the loops of one tile, marked by the step, become a call of the instruction's
 * function (instrs.lcc); the loop of whole steps around them goes into it. Loops of another shape, such as
 * rests, stay loops. Precondition: loop_flatten.
 *
 *   before  for k0 < K { for m < 16 vector { for n < 16 vector { for k2 < 16 vector { for k3 < 2 vector {
 *             c[m*16 + n] = c[m*16 + n] + f32(x[m*64 + k])*f32(w[k0*512 + k2*32 + n*2 + k3]) } } } } }
 *           where k is k0*32 + k2*2 + k3
 *   after   call tile_bf16(c, x, w) sym (0, 0, 64, 0, K) */
#include "lower/kernel_class.h"
#include "lower/sched_in.h"

#include <string.h>

enum { TILE_M = 16, TILE_N = 16, TILE_K2 = 16, TILE_K3 = 2, TILE_LOOPS = 4 };

static const Expr *widened(const Expr *e, Dtype t) {
    bool cast = e->op == OP_CAST && e->type == T_F32 && e->kid[0]->op == OP_LOAD;
    return cast && e->kid[0]->type == t ? e->kid[0] : NULL;
}

bool tile_product(const Expr *value, Narrow8 *n) {
    if (value->op != OP_MUL || value->type != T_F32)
        return false;
    n->x = widened(value->kid[0], T_BF16);
    n->w = widened(value->kid[1], T_BF16);
    n->cx = n->cw = 0;
    if (n->x && n->w && n->x->u.buf->space == SPACE_CONST) {
        const Expr *t = n->x;
        n->x = n->w;
        n->w = t;
    }
    return n->x && n->w && n->x->u.buf->space != SPACE_CONST && n->w->u.buf->space == SPACE_CONST;
}

/* The product that the statement adds to what it replaces. */
static bool added(const Stmt *s, Narrow8 *n) {
    for (int i = 0; i < 2 && s->op == STMT_STORE && !s->b && s->a->op == OP_ADD; i++) {
        const Expr *acc = s->a->kid[i];
        if (acc->op == OP_LOAD && acc->u.buf == s->buf && tile_product(s->a->kid[1 - i], n))
            return true;
    }
    return false;
}

/* The loops of a tile from `m` inwards; NULL unless they are alone, of these extents and kinds. */
static Stmt *tile_loops(Stmt *m, Stmt *loop[TILE_LOOPS]) {
    static const int extent[TILE_LOOPS] = {TILE_M, TILE_N, TILE_K2, TILE_K3};
    Stmt *s = m;
    for (int i = 0; i < TILE_LOOPS; i++) {
        bool red = i >= 2;
        if (!s || s->op != STMT_FOR || (i && s->next) || !expr_is(s->a, extent[i]) ||
            s->kind != (red ? AXIS_RED : AXIS_PAR))
            return NULL;
        loop[i] = s;
        s = s->body;
    }
    return s && !s->next ? s : NULL;
}

bool loop_takes_tile(Stmt *m) {
    Stmt *loop[TILE_LOOPS], *s = tile_loops(m, loop);
    Narrow8 n;
    if (!s || !added(s, &n))
        return false;
    for (int i = 0; i < TILE_LOOPS; i++)
        loop[i]->run = RUN_VECTOR;
    return true;
}

/* Is `at` linear in the variables, with these strides? A stride of -1 is any. */
static bool strides(Ctx *ctx, const Expr *at, Sym *const *var, const int64_t *want,
                    const Expr **coef, const Expr **base) {
    int64_t c;
    if (!expr_linear(ctx, at, TILE_LOOPS + 1, var, coef, base))
        return false;
    for (int i = 0; i <= TILE_LOOPS; i++)
        if (!expr_is_int(coef[i], &c) || (want[i] >= 0 && c != want[i]))
            return false;
    return true;
}

static Func *instr_named(Lower *lo, const char *name) {
    for (int i = 0; lo->instrs && i < lo->instrs->funcs.len; i++)
        if (!strcmp(lo->instrs->funcs.at[i]->name, name))
            return lo->instrs->funcs.at[i];
    return NULL;
}

/* The texts of the target's instructions, read when the first is looked for. */
static Func *instr_func(Lower *lo, const char *name) {
    if (!lo->instrs && lo->target->instrs) {
        lo->instrs = lcc_parse(lo->ctx, "instrs.lcc", lo->target->instrs);
        if (!lo->instrs)
            internal_error(lo->ctx, "instrs.lcc cannot be read");
    }
    return instr_named(lo, name);
}

Stmt *loop_tile(Lower *lo, Stmt *k0) {
    static const int64_t c_strides[] = {0, TILE_N, 1, 0, 0},
                         x_strides[] = {TILE_K2 * TILE_K3, -1, 0, TILE_K3, 1},
                         w_strides[] = {TILE_K2 * TILE_K3 * TILE_N, 0, TILE_K3, TILE_K3 * TILE_N,
                                        1};
    Ctx *ctx = lo->ctx;
    Stmt *loop[TILE_LOOPS], *s;
    Sym *var[TILE_LOOPS + 1];
    const Expr *coef[TILE_LOOPS + 1], *row, *c, *x, *w;
    Narrow8 n;
    if (k0->op != STMT_FOR || k0->kind != AXIS_RED || !k0->body || k0->body->next ||
        !(s = tile_loops(k0->body, loop)) || loop[0]->run != RUN_VECTOR || !added(s, &n))
        return NULL;
    var[0] = k0->var;
    for (int i = 0; i < TILE_LOOPS; i++) {
        var[i + 1] = loop[i]->var;
        loop[i]->run = RUN_SERIAL; /* what they are unless all of it fits */
    }
    Func *f = instr_func(lo, "tile_bf16");
    if (!f || !strides(ctx, s->index[0], var, c_strides, coef, &c) ||
        !strides(ctx, n.w->kid[0], var, w_strides, coef, &w) ||
        !strides(ctx, n.x->kid[0], var, x_strides, coef, &x))
        return NULL;
    row = coef[1];
    Stmt *call = stmt_new(ctx, STMT_CALL);
    Buf *arg[] = {s->buf, n.x->u.buf, n.w->u.buf};
    const Expr *sym[] = {c, x, row, w, k0->a};
    call->func = f;
    call->arg = ctx_copy(ctx, arg, sizeof arg);
    call->symarg = ctx_copy(ctx, sym, sizeof sym);
    call->loc = s->loc;
    return call;
}

static void find_call(void *data, Stmt *s) {
    *(bool *)data |= s->op == STMT_CALL && s->func->instr;
}

void loop_tile_state(Lower *lo, Func *f) {
    static const char *const names[2] = {"tiles_open", "tiles_close"};
    bool found = false;
    Stmt *call[2];
    stmt_walk(f->body, find_call, &found);
    for (int i = 0; i < 2 && found; i++) {
        call[i] = stmt_new(lo->ctx, STMT_CALL);
        call[i]->func = instr_func(lo, names[i]);
    }
    if (found)
        f->body = stmt_join(call[0], stmt_join(f->body, call[1]));
}
