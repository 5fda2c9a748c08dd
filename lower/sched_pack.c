/* pack: a constant operand is stored in the order in which the kernel's loops read it, one dimension in
 * blocks. The data moves at compile time (const_pack).
 *
 *   before  t[m,n] = t[m,n] + x[m,k] * w[k,n]      pack w at t.n by 16
 *   after   w's where: (n // 16)*K*16 + k*16 + n % 16 */
#include "lower/sched_in.h"

typedef struct PackFind {
    Ctx *ctx;
    Str name;
    Buf *buf;
    const Expr *load;
    VEC(Sym *) loops; /* around the load, outermost first */
    VEC(Sym *) stack;
    const Sym *block; /* the loop given */
} PackFind;

static void pack_node(void *data, const Expr *e) {
    PackFind *p = data;
    if (e->op != OP_LOAD || step_name(p->ctx, e->u.buf->name) != p->name || p->load)
        return;
    p->load = e;
    p->buf = e->u.buf;
    for (int i = 0; i < p->stack.len; i++)
        vec_push(p->ctx, &p->loops, p->stack.at[i]);
}

static void pack_search(PackFind *p, const Stmt *s, const LoopRef *ref) {
    for (; s && !p->load; s = s->next) {
        bool loop = s->op == STMT_FOR;
        if (loop)
            vec_push(p->ctx, &p->stack, s->var);
        if (loop && s->label == ref->axis && s->def && s->def->name == ref->def)
            p->block = s->var;
        if (s->a)
            expr_walk(p->ctx, s->a, pack_node, p);
        pack_search(p, s->body, ref);
        pack_search(p, s->orelse, ref);
        p->stack.len -= loop;
    }
}

static const Expr *repack_load(Ctx *ctx, const Expr *e, void *data) {
    Buf *const *pair = data;
    return e->op == OP_LOAD && e->u.buf == pair[0] ? expr_load(ctx, pair[1], e->nkid, e->kid) : e;
}

/* Position of each dimension: that of the innermost loop its index uses; -1 when it uses none. */
static int dim_place(const PackFind *p, int dim) {
    for (int i = p->loops.len; i-- > 0;)
        if (expr_uses_sym(p->load->kid[dim], p->loops.at[i]))
            return i;
    return -1;
}

/* where = blocks of the lane dimension outermost, the others by loop order, the lane inside its block last. */
static void set_where(Ctx *ctx, PackFind *p, Buf *b, int lane, int64_t block) {
    int order[RANK_MAX], n = 0;
    b->dimvar = ctx_newn(ctx, Sym *, b->rank);
    for (int i = 0; i < b->rank; i++)
        b->dimvar[i] = sym_axis(ctx, str(ctx, "i"), b->dim[i]);
    for (int i = 0; i < b->rank; i++)
        if (i != lane)
            order[n++] = i;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && dim_place(p, order[j - 1]) > dim_place(p, order[j]); j--) {
            int t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
        }
    const Expr *size = expr_i(ctx, block), *v = expr_sym(ctx, b->dimvar[lane]);
    const Expr *at = expr_mod(ctx, v, size), *stride = size;
    for (int i = n; i-- > 0;) {
        at = expr_add(ctx, at, expr_mul(ctx, expr_sym(ctx, b->dimvar[order[i]]), stride));
        stride = expr_mul(ctx, stride, b->dim[order[i]]);
    }
    b->where = expr_add(ctx, at, expr_mul(ctx, expr_fdiv(ctx, v, size), stride));
    b->size = expr_mul(ctx, stride, expr_ceildiv(ctx, b->dim[lane], block));
    b->fill = expr_const(ctx, type_dtype(b->type), 0);
}

bool sched_pack(Ctx *ctx, Func *f, const Step *step, Str *why) {
    PackFind p = {.ctx = ctx, .name = step->def};
    pack_search(&p, f->body, &step->loop[0]);
    if (!p.load || p.buf->space != SPACE_CONST || p.buf->where)
        return step_fails(ctx, why, "%s is not a constant in its own order here", step->def);
    int lane = -1;
    for (int i = 0; i < p.buf->rank && p.block; i++)
        if (expr_uses_sym(p.load->kid[i], p.block))
            lane = i;
    if (lane < 0 || step->nnum != 1 || step->num[0] < 1)
        return step_fails(ctx, why, "%s does not use the loop %s", step->def, step->loop[0].axis);
    Buf *packed = buf_const(ctx, p.buf->name, p.buf->data, 0, NULL);
    packed->rank = p.buf->rank;
    packed->dim = p.buf->dim;
    set_where(ctx, &p, packed, lane, step->num[0]);
    Buf *pair[2] = {p.buf, packed};
    stmt_map(ctx, f->body, repack_load, pair);
    for (int i = 0; i < f->params.len; i++)
        if (f->params.at[i] == p.buf)
            f->params.at[i] = packed;
    for (int i = 0; i < f->kernel->ins.len; i++)
        if (f->kernel->ins.at[i] == p.buf)
            f->kernel->ins.at[i] = packed;
    return true;
}
