/* Classes and axis roles of kernels, from strides and from which axes each load uses.
 *
 *   t f32[M,N] { m<M, n<N } = add(k<K) x[m,k] * w[k,n]     contraction, rows m, lanes n, red k */
#include "lower/kernel_class.h"

const char *class_name(KernelClass c) {
    static const char *const names[] = {"contraction", "window", "reduction",
                                        "map",         "scan",   "update"};
    return names[c];
}

int buf_inner_axis(Ctx *ctx, const Buf *b) {
    if (b->rank == 0)
        return -1;
    if (!b->where) {
        int i = b->rank - 1;
        while (i > 0 && expr_is(b->dim[i], 1))
            i--;
        return i;
    }
    for (int i = b->rank; i-- > 0;) {
        const Expr *coef, *rest;
        if (expr_linear(ctx, b->where, 1, &b->dimvar[i], &coef, &rest) && expr_is(coef, 1) &&
            !expr_is(b->dim[i], 1))
            return i;
    }
    return -1;
}

typedef struct Loads {
    Ctx *ctx;
    VEC(const Expr *) at;
    bool window;
} Loads;

static void collect_load(void *data, const Expr *e) {
    Loads *l = data;
    if (e->op == OP_LOAD)
        vec_push(l->ctx, &l->at, e);
}

static bool uses_axis(const Expr *load, const Def *d, int axis) {
    return expr_uses_sym(load, d->axis[axis].var);
}

/* An index in which an output axis and a RED axis meet. */
static bool index_is_window(const Expr *load, const Def *d) {
    for (int i = 0; i < load->nkid; i++) {
        bool out = false, red = false;
        for (int a = 0; a < d->naxis; a++)
            if (uses_axis(load->kid[i], d, a))
                *(d->axis[a].kind == AXIS_RED ? &red : &out) = true;
        if (out && red)
            return true;
    }
    return false;
}

/* Stride of the load's offset along an axis; false when it is not a constant. */
static bool load_stride(Ctx *ctx, const Expr *load, const Def *d, int axis, int64_t *stride) {
    const Expr *at = buf_offset(ctx, load->u.buf, load->kid), *coef, *rest;
    return expr_linear(ctx, at, 1, &d->axis[axis].var, &coef, &rest) && expr_is_int(coef, stride);
}

/* The reduction with the most work that the root (or another inner Def) reads. */
static Def *main_reduction(Ctx *ctx, const Kernel *k) {
    Def *best = NULL;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        if (def_is_reduction(d) && !d->at &&
            (!best || def_volume(ctx, d, true) > def_volume(ctx, best, true)))
            best = d;
    }
    return best;
}

/* The output axis of acc that is contiguous where the root stores. Their axes correspond by position: acc
 * attaches at full depth, or the kernel has no lanes. */
static void choose_lanes(Ctx *ctx, const Kernel *k, Roles *r, const Loads *loads) {
    if (kernel_attach(ctx, k, r->acc) != r->acc->buf->rank ||
        r->acc->buf->rank != r->root->buf->rank)
        return;
    int inner = r->root->at ? -1 : buf_inner_axis(ctx, r->root->buf);
    if (inner < 0 || loads->at.len != 2)
        return;
    for (int i = 0; i < 2; i++) {
        const Expr *a = loads->at.at[i], *b = loads->at.at[1 - i];
        int64_t stride;
        if (!uses_axis(a, r->acc, inner) || uses_axis(b, r->acc, inner))
            continue;
        r->n = inner;
        r->lanes_load = a;
        r->lanes_contiguous = load_stride(ctx, a, r->acc, inner, &stride) && stride == 1;
    }
}

/* Rows: an output axis that the lanes' operand does not use, the innermost one with room. */
static void choose_rows(Roles *r, const Loads *loads) {
    for (int i = r->acc->buf->rank; i-- > 0 && r->lanes_load;) {
        if (i == r->n || expr_is(r->acc->buf->dim[i], 1) || uses_axis(r->lanes_load, r->acc, i))
            continue;
        r->m = i;
        r->rows_load = loads->at.at[0] == r->lanes_load ? loads->at.at[1] : loads->at.at[0];
        return;
    }
}

void kernel_roles(Ctx *ctx, const Kernel *k, Roles *r) {
    *r = (Roles){.root = kernel_root(k), .m = -1, .n = -1};
    r->kind = r->root->scan ? CLASS_SCAN : r->root->at ? CLASS_UPDATE : CLASS_MAP;
    r->acc = r->kind == CLASS_SCAN ? NULL : main_reduction(ctx, k);
    if (!r->acc || r->kind == CLASS_UPDATE)
        return;
    Loads loads = {.ctx = ctx};
    r->kind = CLASS_REDUCTION;
    expr_walk(ctx, r->acc->value, collect_load, &loads);
    for (int i = 0; i < loads.at.len; i++)
        loads.window |= index_is_window(loads.at.at[i], r->acc);
    if (def_is_contraction(ctx, r->acc) && r->acc->value->op == OP_MUL) {
        r->kind = loads.window ? CLASS_WINDOW : CLASS_CONTRACTION;
        choose_lanes(ctx, k, r, &loads);
        choose_rows(r, &loads);
    }
    for (int i = 0; i < r->acc->naxis; i++)
        if (r->acc->axis[i].kind == AXIS_RED)
            r->red[r->nred++] = i;
        else if (i != r->m && i != r->n && r->nouter < RANK_MAX)
            r->outer[r->nouter++] = i;
}
