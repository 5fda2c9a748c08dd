/* pack: a constant operand is stored in the order in which the kernel's loops read it, one dimension in
 * blocks. The data moves at compile time (const_pack).
 *
 *   before  t[m,n] = t[m,n] + x[m,k] * w[k,n]      pack w at t.n by 16
 *   after   w's where: (n // 16)*K*16 + k*16 + n % 16
 * interleave w at t.n t.k by 16 4:
 *           w's where: (n // 16)*(K // 4)*64 + (k // 4)*64 + n % 16*4 + k % 4 */
#include "lower/sched_in.h"

typedef struct PackFind {
    Ctx *ctx;
    Str name;
    Buf *buf;
    const Func *f;
    const Expr *load;
    VEC(Sym *) loops; /* around the load, outermost first */
    VEC(Sym *) stack;
    const Sym *block; /* the loop given */
    const Sym *group; /* interleave: the second one */
} PackFind;

/* A buffer of this kernel alone that compute_at made for the Def of that name. */
static bool is_own(const PackFind *p, const Buf *b) {
    const Kernel *k = p->f->kernel;
    bool own = b->space == SPACE_LOCAL, named = false;
    for (int i = 0; i < k->temps.len; i++)
        own |= k->temps.at[i] == b;
    for (int i = 0; i < k->defs.len; i++)
        named |= k->defs.at[i]->name == p->name && k->defs.at[i]->buf->name == b->name;
    return own && named;
}

static void pack_node(void *data, const Expr *e) {
    PackFind *p = data;
    if (e->op != OP_LOAD || p->load ||
        !(is_own(p, e->u.buf) ||
          (e->u.buf->space == SPACE_CONST && step_name(p->ctx, e->u.buf->name) == p->name)))
        return;
    p->load = e;
    p->buf = e->u.buf;
    for (int i = 0; i < p->stack.len; i++)
        vec_push(p->ctx, &p->loops, p->stack.at[i]);
}

static void pack_search(PackFind *p, const Stmt *s, const LoopRef ref[2]) {
    for (; s && !p->load; s = s->next) {
        bool loop = s->op == STMT_FOR;
        if (loop)
            vec_push(p->ctx, &p->stack, s->var);
        if (loop && s->label == ref->axis && s->def && s->def->name == ref->def)
            p->block = s->var;
        if (loop && s->label == ref[1].axis && s->def && s->def->name == ref[1].def)
            p->group = s->var;
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

typedef struct Blocks {
    int lane, group; /* dimensions; group -1: none */
    int64_t by, of;  /* lanes in a block, elements in a group */
} Blocks;

/* where = blocks of the lane dimension outermost, the others by loop order, the lane inside its block last; behind
 * it the element of a group. */
static void set_where(Ctx *ctx, PackFind *p, Buf *b, const Blocks *k) {
    int order[RANK_MAX], n = 0;
    b->dimvar = ctx_newn(ctx, Sym *, b->rank);
    for (int i = 0; i < b->rank; i++)
        b->dimvar[i] = sym_axis(ctx, str(ctx, "i"), b->dim[i]);
    for (int i = 0; i < b->rank; i++)
        if (i != k->lane)
            order[n++] = i;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && dim_place(p, order[j - 1]) > dim_place(p, order[j]); j--) {
            int t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
        }
    const Expr *size = expr_i(ctx, k->by), *of = expr_i(ctx, k->of);
    const Expr *v = expr_sym(ctx, b->dimvar[k->lane]);
    const Expr *at = expr_mul(ctx, expr_mod(ctx, v, size), of), *stride = expr_mul(ctx, size, of);
    if (k->group >= 0)
        at = expr_add(ctx, at, expr_mod(ctx, expr_sym(ctx, b->dimvar[k->group]), of));
    for (int i = n; i-- > 0;) {
        bool group = order[i] == k->group;
        const Expr *u = expr_sym(ctx, b->dimvar[order[i]]), *dim = b->dim[order[i]];
        at = expr_add(ctx, at, expr_mul(ctx, group ? expr_fdiv(ctx, u, of) : u, stride));
        stride = expr_mul(ctx, stride, group ? expr_ceildiv(ctx, dim, k->of) : dim);
    }
    b->where = expr_add(ctx, at, expr_mul(ctx, expr_fdiv(ctx, v, size), stride));
    b->size = expr_mul(ctx, stride, expr_ceildiv(ctx, b->dim[k->lane], k->by));
}

/* The dimension whose index uses a loop; -1: none. */
static int dim_of(const PackFind *p, const Sym *loop) {
    int dim = -1;
    for (int i = 0; i < p->buf->rank && loop; i++)
        if (expr_uses_sym(p->load->kid[i], loop))
            dim = i;
    return dim;
}

/* pack, and interleave with a second loop. */
bool sched_pack(Ctx *ctx, Func *f, const Step *step, Str *why) {
    PackFind p = {.ctx = ctx, .f = f, .name = step->def};
    bool grouped = step->op == STEP_INTERLEAVE;
    LoopRef ref[2] = {step->loop[0], grouped ? step->loop[1] : (LoopRef){NULL, NULL}};
    pack_search(&p, f->body, ref);
    if (!p.load || p.buf->where)
        return step_fails(ctx, why, "%s is not a constant in its own order here", step->def);
    Blocks k = {dim_of(&p, p.block), grouped ? dim_of(&p, p.group) : -1, 1, 1};
    bool numbers = step->nnum == 1 + grouped && step->num[0] > 0 && step->num[grouped] > 0;
    if (k.lane < 0 || !numbers || (grouped && (k.group < 0 || k.group == k.lane)))
        return step_fails(ctx, why, "%s does not use the loop %s", step->def, step->loop[0].axis);
    k.by = step->num[0];
    k.of = grouped ? step->num[1] : 1;
    if (p.buf->space != SPACE_CONST) {
        set_where(ctx, &p, p.buf, &k);
        return true;
    }
    Buf *packed = buf_const(ctx, p.buf->name, p.buf->data, 0, NULL);
    packed->rank = p.buf->rank;
    packed->dim = p.buf->dim;
    set_where(ctx, &p, packed, &k);
    packed->fill = expr_const(ctx, type_dtype(packed->type), 0);
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
