/* How wide and how long the vectors of a map can be: lanes by the widest type it computes with, and axes that lie
 * side by side like one, whose loops may be fused. Precondition: a map with roles.
 *
 *   before  y u8[3,7,7] { i<3, k<7, l<7 } = x[i, k, l] + b[i]
 *   after   64 lanes on AVX-512; k and l are one axis of 49 */
#include "lower/kernel_class.h"

typedef struct Width {
    const Lower *lo;
    const Roles *r;
    int nflat;
    int bytes; /* of the widest element */
    bool truths, ok;
} Width;

/* Has the op a form on whole vectors of integers or f64? What has none goes lane by lane, no faster than a loop. */
static bool has_vectors(const Expr *e, Dtype t) {
    switch (e->op) {
    case OP_DIV:
        return t == T_F64;
    case OP_FDIV:
    case OP_MOD:
    case OP_REM:
    case OP_POW:
    case OP_ATAN2:
        return false;
    case OP_SHL:
    case OP_SHR:
        return expr_is_int(e->kid[1], NULL);
    default:
        return e->op < OP_EXP || e->op > OP_EXPM1;
    }
}

/* Does it differ between lanes? */
static bool has_lanes(const Width *w, const Expr *e) {
    const Roles *r = w->r;
    bool uses = expr_uses_sym(e, r->root->axis[r->n].var);
    for (int i = 0; i < w->nflat; i++)
        uses |= expr_uses_sym(e, r->root->axis[r->outer[r->nouter - 1 - i]].var);
    return uses;
}

static void width_node(void *data, const Expr *e) {
    Width *w = data;
    Dtype t = type_dtype(e->type);
    int bytes = type_is_narrow(t) ? 4 : type_bytes(t);
    bool moved = e->op == OP_LOAD || e->op == OP_SELECT;
    bool small = type_bytes(t) == 1 && (type_is_narrow(t) || type_bits(t) < 8) && t != T_BOOL;
    if (!e->nkid || !has_lanes(w, e) || (t == T_I64 && !expr_uses_buf(e, NULL)))
        return; /* a scalar, or an index */
    if (w->r->pieces && t == T_BOOL && !expr_uses_buf(e, NULL))
        return; /* decided by the piece */
    w->truths |= t == T_BOOL;
    w->bytes = t != T_BOOL && bytes > w->bytes ? bytes : w->bytes;
    w->ok &= w->lo->target->spells(w->lo->machine, e->op, TYPE_VEC(t, 4)) && (moved || !small);
    w->ok &= t == T_F32 || moved || has_vectors(e, t);
}

int map_lanes(const Lower *lo, const Roles *r, bool flat) {
    const Def *d = r->root;
    Width w = {lo, r, flat ? r->nflat : 0, 1, d->buf->type == T_BOOL, true};
    const Machine *mach = lo->machine;
    if (type_bytes(d->buf->type) > w.bytes)
        w.bytes = type_bytes(d->buf->type);
    if (r->n >= 0)
        expr_walk(lo->ctx, d->value, width_node, &w);
    int lanes = mach->vec / w.bytes;
    if (r->n < 0 || !w.ok || (d->when && !d->at) || (w.truths && mach->vec < 32))
        return 0;
    /* without bit masks a truth takes the room of an f32 */
    return w.truths && mach->vec < 64 && lanes > mach->vec / 4 ? mach->vec / 4 : lanes;
}

/* Does e depend on the axis other than by where it loads? */
static bool uses_beside(const Expr *e, const Sym *axis, Map *seen) {
    if (!expr_uses_sym(e, axis) || map_get(seen, e) || e->op == OP_LOAD)
        return false;
    map_put(seen, e, (void *)(uintptr_t)e);
    bool uses = e->op == OP_SYM;
    for (int i = 0; i < e->nkid && !uses; i++)
        uses = uses_beside(e->kid[i], axis, seen);
    return uses;
}

typedef struct Beside {
    Ctx *ctx;
    Sym *outer, *inner;
    int64_t n; /* steps of the inner axis that make one of the outer */
    bool ok;
} Beside;

static void offset_goes_on(Beside *b, const Expr *at) {
    Sym *const var[2] = {b->outer, b->inner};
    const Expr *coef[2], *rest;
    int64_t outer, inner;
    b->ok &= expr_linear(b->ctx, at, 2, var, coef, &rest) && expr_is_int(coef[0], &outer) &&
             expr_is_int(coef[1], &inner) && mul_ok(inner, b->n, &inner) && outer == inner;
}

static void load_goes_on(void *data, const Expr *e) {
    Beside *b = data;
    if (e->op == OP_LOAD)
        offset_goes_on(b, buf_offset(b->ctx, e->u.buf, e->kid));
}

int64_t map_flat(Ctx *ctx, Roles *r) {
    const Def *d = r->root;
    int64_t n, all;
    const Expr *index[RANK_MAX];
    if (r->n < 0 || r->m >= 0 || r->part || r->pairs || d->when || d->at ||
        !expr_is_int(d->axis[r->n].var->extent, &all) ||
        uses_beside(d->value, d->axis[r->n].var, map_new(ctx)))
        return 0;
    for (int a = 0; a < d->buf->rank; a++)
        index[a] = def_var(ctx, d, a);
    for (int i = r->nouter; i-- > 0;) {
        Sym *axis = d->axis[r->outer[i]].var;
        Beside b = {ctx, axis, d->axis[r->n].var, all, true};
        b.ok = expr_is_int(axis->extent, &n) && n > 0 && !uses_beside(d->value, axis, map_new(ctx));
        if (!b.ok)
            break;
        offset_goes_on(&b, buf_offset(ctx, d->buf, index));
        expr_walk(ctx, d->value, load_goes_on, &b);
        if (!b.ok || !mul_ok(all, n, &all))
            break;
        r->nflat = r->nouter - i;
    }
    return r->nflat ? all : 0;
}
