/* ir/eval_prog.c — from expressions to instructions over strips of lanes.
 *
 * Precondition: types are consistent (expr.h). An instruction lands at the deepest level of its
 * operands, so what does not depend on the inner loops is computed outside of them:
 *   loops m, k, n (n in strips):  x[m,k] * w[k,n]   →   level k: load, fill ; level n: load, mul */
#include "ir/eval_in.h"

#include <stdlib.h>
#include <string.h>

Prog *prog_new(Eval *ev, int nloop, Sym *const *loop, int lane) {
    Ctx *ctx = ev->ctx;
    Prog *p = ctx_new(ctx, Prog);
    p->ctx = ctx;
    p->ev = ev;
    p->nlevel = nloop;
    p->level = ctx_newn(ctx, Code, nloop + 1);
    p->loop = ctx_newn(ctx, Sym *, nloop);
    p->loop_reg = ctx_newn(ctx, int, nloop);
    p->lane = lane;
    p->memo = map_new(ctx);
    for (int i = 0; i < nloop; i++) {
        p->loop[i] = loop[i];
        p->loop_reg[i] = prog_reg(p);
        p->reg_level.at[p->loop_reg[i]] = i + 1;
    }
    return p;
}

int prog_reg(Prog *p) {
    vec_push(p->ctx, &p->reg_level, 0);
    vec_push(p->ctx, &p->reg_type, T_I64);
    return p->reg_level.len - 1;
}

int prog_level(const Prog *p, Kid k) {
    return p->reg_level.at[k.reg];
}

int prog_access(Prog *p, const Buf *b, int nindex) {
    if (p->access.len >= UINT16_MAX)
        internal_error(p->ctx, "an expression with %d loads", p->access.len);
    Access *a = ctx_new(p->ctx, Access);
    a->buf = b;
    a->rank = nindex;
    a->flat = p->flat || nindex != b->rank;
    vec_push(p->ctx, &p->access, a);
    return p->access.len - 1;
}

uint8_t int_bits(Dtype t) {
    char kind = type_kind(t); /* the width is the digits of the name */
    return kind == 'I' || kind == 'U' ? (uint8_t)atoi(type_text(t) + 1) : 64;
}

static Kid emit(Prog *p, Instr in, int level) {
    in.dst = prog_reg(p);
    in.bits = int_bits((Dtype)in.type);
    p->reg_level.at[in.dst] = level;
    p->reg_type.at[in.dst] = (uint8_t)in.type;
    vec_push(p->ctx, &p->level[level].in, in);
    return (Kid){in.dst, in.lanes};
}

Kid prog_spread(Prog *p, Kid k, uint16_t lanes) {
    if (k.lanes == lanes || k.lanes != 1)
        return k;
    for (int i = 0; i < p->spread.len; i++) {
        const Instr *in = p->spread.at[i];
        if (in->kid[0].reg == k.reg && in->lanes == lanes)
            return (Kid){in->dst, lanes};
    }
    Kid *kid = ctx_new(p->ctx, Kid);
    *kid = k;
    Instr in = {
        .op = OP_FILL, .type = p->reg_type.at[k.reg], .lanes = lanes, .nkid = 1, .kid = kid};
    Kid r = emit(p, in, prog_level(p, k));
    Instr *made = ctx_new(p->ctx, Instr);
    *made = in;
    made->dst = r.reg;
    vec_push(p->ctx, &p->spread, made);
    return r;
}

/* ---- leaves ------------------------------------------------------------------------------------ */

static Kid constant(Prog *p, const Expr *e) {
    Instr in = {.op = e->op, .type = (uint8_t)type_dtype(e->type)};
    in.lanes = (uint16_t)type_lanes(e->type);
    if (e->op == OP_INT)
        in.imm.i = e->u.i;
    else
        in.imm.f = e->u.f;
    return emit(p, in, 0);
}

static Kid symbol(Prog *p, const Expr *e) {
    Sym *s = e->u.sym;
    for (int i = p->nlevel - 1; i >= 0; i--)
        if (p->loop[i] == s)
            return (Kid){p->loop_reg[i], i == p->lane ? 0 : 1};
    for (const Stmt *let = p->lets; let && let != p->lets_end; let = let->next)
        if (let->var == s)
            return prog_expr(p, let->a);
    Cell *c = eval_cell(p->ev, s);
    if (!c->set && s->kind == SYM_BIND && s->value)
        return prog_expr(p, s->value);
    Instr in = {.op = OP_SYM, .type = (uint8_t)type_dtype(e->type), .cell = c};
    in.lanes = (uint16_t)type_lanes(e->type);
    return emit(p, in, 0);
}

/* ---- operations -------------------------------------------------------------------------------- */

static bool is_load(const Expr *e) {
    return e->op == OP_LOAD || e->op == OP_MLOAD;
}

/* Ops whose operands need not have as many lanes as the result. */
static bool mixes_lanes(const Expr *e) {
    switch (e->op) {
    case OP_LOAD:
    case OP_MLOAD:
    case OP_RAMP:
    case OP_BCAST:
    case OP_LANE:
    case OP_VADD:
    case OP_VMAX:
    case OP_VMIN:
    case OP_DOT4:
    case OP_DOT2:
        return true;
    default:
        return false;
    }
}

static uint16_t result_lanes(const Prog *p, const Expr *e, const Kid *kid) {
    int lanes = type_lanes(e->type);
    if (lanes > 1) {
        if (p->lane >= 0)
            internal_error(p->ctx, "a vector inside a strip: %s", expr_str(p->ctx, e));
        return (uint16_t)lanes;
    }
    for (int i = 0; i < e->nkid; i++)
        if (kid[i].lanes == 0)
            return 0;
    return 1;
}

static Kid operation(Prog *p, const Expr *e) {
    Kid *kid = ctx_newn(p->ctx, Kid, e->nkid);
    Instr in = {.op = e->op, .type = (uint8_t)type_dtype(e->type), .nkid = e->nkid, .kid = kid};
    for (int i = 0; i < e->nkid; i++)
        kid[i] = prog_expr(p, e->kid[i]);
    in.lanes = result_lanes(p, e, kid);
    in.from = e->nkid ? (uint8_t)type_dtype(e->kid[0]->type) : in.type;
    int level = 0;
    for (int i = 0; i < e->nkid; i++) {
        if (!mixes_lanes(e))
            kid[i] = prog_spread(p, kid[i], in.lanes);
        if (prog_level(p, kid[i]) > level)
            level = prog_level(p, kid[i]);
    }
    if (is_load(e)) {
        in.access = (uint16_t)prog_access(p, e->u.buf, e->nkid - (e->op == OP_MLOAD));
        if (e->u.buf == p->own && p->own_level > level)
            level = p->own_level;
    }
    return emit(p, in, level);
}

Kid prog_expr(Prog *p, const Expr *e) {
    const Kid *known = map_get(p->memo, e);
    if (known)
        return *known;
    Kid k = e->op == OP_INT || e->op == OP_FLT ? constant(p, e)
            : e->op == OP_SYM                  ? symbol(p, e)
                                               : operation(p, e);
    map_put(p->memo, e, ctx_copy(p->ctx, &k, sizeof k));
    return k;
}
