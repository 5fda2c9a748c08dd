/* Contractions of 8-bit integers in the form that instructions for them take: u8 times i8, nothing added. What
 * the zero points contribute leaves the sum; it is a constant per lane and the sum starts there. All of it is
 * exact, since i32 wraps. Runs where the machine has such an instruction.
 * Precondition: layout_choose, which has put the zero point of x into the halo and dropped the predicate.
 *
 *   before  t[m,n] = add(k) (i32(x[m,k]) + 7)*i32(w[k,n])                x u8, w const i8
 *   after   t[m,n] = c[n] + add(k) i32(x[m,k])*i32(w[k,n])               c[n] = 7*add(k) i32(w[k,n])
 * For instructions on u8, x i8 keeps + 128: its bits with the highest one turned over are that u8. w u8 becomes
 * w - 128. */
#include "lower/kernel_class.h"

#include <string.h>

#define AXES_MAX 32  /* of one sum */
#define PAD_LANES 16 /* constants along lanes are stored in whole vectors */

/* i32(load) + c */
static bool match_term(const Expr *e, const Expr **load, int64_t *c) {
    *c = 0;
    if (e->op == OP_ADD && expr_is_int(e->kid[1], c))
        e = e->kid[0];
    else if (e->op == OP_ADD && expr_is_int(e->kid[0], c))
        e = e->kid[1];
    if (e->op != OP_CAST || e->kid[0]->op != OP_LOAD)
        return false;
    *load = e->kid[0];
    return (*load)->type == T_I8 || (*load)->type == T_U8;
}

bool narrow_product(const Expr *value, Narrow8 *n) {
    if (value->op != OP_MUL || value->type != T_I32)
        return false;
    if (!match_term(value->kid[0], &n->x, &n->cx) || !match_term(value->kid[1], &n->w, &n->cw))
        return false;
    if (n->x->u.buf->space == SPACE_CONST) {
        Narrow8 was = *n;
        *n = (Narrow8){was.w, was.x, was.cw, was.cx};
    }
    return n->x->u.buf->space != SPACE_CONST && n->w->u.buf->space == SPACE_CONST;
}

bool narrow_match(const Def *d, Narrow8 *n) {
    return !d->at && !d->scan && d->combine == OP_ADD && def_is_reduction(d) &&
           narrow_product(d->value, n);
}

unsigned narrow_groups(const Narrow8 *n) {
    if (n->cw != 0 || n->w->type != T_I8)
        return 0;
    return n->x->type == T_U8 ? (n->cx == 0 ? 4 | 2 : 0) : n->cx == 128 ? 4 : n->cx == 0 ? 2 : 0;
}

/* w - 128 as i8: the highest bit turned over. */
static Buf *shift_const(Ctx *ctx, const Buf *b) {
    int64_t n = b->data->splat ? 1 : b->data->count, dim[RANK_MAX];
    unsigned char *to = ctx_copy(ctx, b->data->data, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        to[i] ^= 0x80;
    Const *c = const_new(ctx, T_I8, b->data->count, to);
    c->splat = b->data->splat;
    buf_dims(b, dim);
    return buf_const(ctx, b->name, c, b->rank, dim);
}

/* Stored in whole vectors along its last dimension, zeros behind. */
static void pad_const(Ctx *ctx, Buf *b) {
    const Expr *at = expr_i(ctx, 0), *stride = expr_i(ctx, 1);
    b->dimvar = ctx_newn(ctx, Sym *, b->rank);
    for (int i = b->rank; i-- > 0;) {
        b->dimvar[i] = sym_axis(ctx, str(ctx, "i"), b->dim[i]);
        at = expr_add(ctx, at, expr_mul(ctx, expr_sym(ctx, b->dimvar[i]), stride));
        const Expr *whole =
            expr_mul(ctx, expr_ceildiv(ctx, b->dim[i], PAD_LANES), expr_i(ctx, PAD_LANES));
        stride = expr_mul(ctx, stride, i == b->rank - 1 ? whole : b->dim[i]);
    }
    b->where = at;
    b->size = stride;
    b->fill = expr_int(ctx, T_I32, 0);
}

/* The sum of w over the RED axes of d, times c, as a constant over those output axes of d that w uses; NULL
 * when an extent is not constant. *load reads it in d. */
static const Expr *weight_sum(Ctx *ctx, const Def *d, const Expr *w, int64_t c) {
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *to[AXES_MAX];
    Sym *from[AXES_MAX];
    int rank = 0, n = 0;
    int64_t extent[RANK_MAX], e;
    for (int i = 0; i < d->naxis; i++) {
        const Axis *a = &d->axis[i];
        bool used = expr_uses_sym(w, a->var);
        if (d->naxis > AXES_MAX)
            return NULL;
        if ((a->kind == AXIS_RED || used) && !expr_is_int(a->var->extent, &e))
            return NULL;
        if (a->kind == AXIS_RED || !used)
            continue;
        if (rank == RANK_MAX)
            return NULL;
        extent[rank] = e;
        dim[rank] = a->var->extent;
        index[rank++] = def_var(ctx, d, i);
    }
    Def *sum = def_new(ctx, str_f(ctx, "sum_%s", w->u.buf->name), T_I32, rank, dim);
    for (n = 0; n < rank; n++) {
        from[n] = index[n]->u.sym;
        to[n] = def_var(ctx, sum, n);
    }
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED) {
            from[n] = d->axis[i].var;
            to[n] = def_axis(ctx, sum, from[n]->name, AXIS_RED, from[n]->extent);
            n++;
        }
    sum->combine = OP_ADD;
    sum->value = expr_subst(ctx, expr_mul(ctx, expr_int(ctx, T_I32, c), expr_cast(ctx, T_I32, w)),
                            n, from, to);
    Eval *ev = eval_new(ctx);
    if (!eval_def(ev, sum))
        return NULL;
    Tensor *t = eval_tensor(ev, sum->buf);
    Buf *b = buf_const(ctx, sum->name, const_new(ctx, T_I32, t->count, t->data), rank, extent);
    if (rank)
        pad_const(ctx, b);
    return buf_load(ctx, b, index);
}

/* True when the Def is in the form wanted afterwards and was not before. */
static bool narrow_def(Ctx *ctx, Def *d, int group) {
    Narrow8 n;
    if (!narrow_match(d, &n) || d->when || (narrow_groups(&n) & (unsigned)group) ||
        n.w->u.buf->where)
        return false;
    int64_t cw = n.cw + (n.w->type == T_U8 ? 128 : 0);
    int64_t cx = group == 4 && n.x->type == T_I8 ? 128 : 0;
    if (cw != 0)
        return false;
    const Expr *w = n.w;
    if (w->type == T_U8)
        w = buf_load(ctx, shift_const(ctx, w->u.buf), w->kid);
    if (n.cx != cx) {
        const Expr *start = weight_sum(ctx, d, w, n.cx - cx);
        if (!start)
            return false;
        d->init = d->init ? expr_add(ctx, d->init, start) : start;
    }
    const Expr *x = expr_add(ctx, expr_cast(ctx, T_I32, n.x), expr_int(ctx, T_I32, cx));
    d->value = expr_mul(ctx, x, expr_cast(ctx, T_I32, w));
    return true;
}

bool kernel_integer(Lower *lo) {
    Ctx *ctx = lo->ctx;
    int group = machine_group(lo->machine);
    if (!group || lo->o0)
        return true;
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Kernel *k = lo->module->kernels.at[i];
        bool changed = false;
        for (int j = 0; j < k->defs.len; j++)
            changed |= narrow_def(ctx, k->defs.at[j], group);
        if (!changed)
            continue;
        k->ins.len = k->outs.len = k->temps.len = k->syms.len = k->nodes.len = 0;
        kernel_close(ctx, k);
    }
    return true;
}
