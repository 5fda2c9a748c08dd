/* What is done to every element before a maximum is taken is done once, to the maximum, where it keeps the order:
 * quantisation, a bias, ReLU. Exact but where NaNs come or go on
 * the way: casts to integers drop them, infinities make them (not with --strict).
 *
 *   before  y[n,c] = max(k) f32(i8(rint(x[n,c,k]*0.5 + b[c])))
 *   after   y.max[n,c] = max(k) x[n,c,k]     y[n,c] = f32(i8(rint(y.max[n,c]*0.5 + b[c]))) */
#include "lower/uses.h"

static bool uses_sums(const Def *d, const Expr *e) {
    for (int i = d->buf->rank; i < d->naxis; i++)
        if (expr_uses_sym(e, d->axis[i].var))
            return true;
    return false;
}

static bool is_positive(const Expr *e) {
    return e->op == OP_FLT && e->u.f > 0;
}

static bool is_integer(Type t) {
    return type_is_int(type_dtype(t));
}

/* A sum of i32 that stays within them: its terms are of 16 bits or less. */
static bool stays(Ctx *ctx, const Expr *e) {
    for (int i = 0; i < 2; i++) {
        Range r = expr_range(ctx, e->kid[i]);
        if (r.min < -65536 || r.max > 65536)
            return false;
    }
    return e->type == T_I32;
}

/* Does e never fall when its kid rises? Sums of integers must not wrap. */
static bool keeps_order(Ctx *ctx, const Expr *e, int kid) {
    const Expr *x = e->kid[kid], *other = e->nkid == 2 ? e->kid[1 - kid] : NULL;
    switch (e->op) {
    case OP_MIN:
    case OP_MAX:
    case OP_RINT:
    case OP_FLOOR:
    case OP_CEIL:
    case OP_TRUNC:
        return true;
    case OP_ADD:
    case OP_SUB:
        return (e->op == OP_ADD || kid == 0) && (e->type == T_F32 || stays(ctx, e));
    case OP_MUL:
        return e->type == T_F32 && is_positive(other);
    case OP_DIV:
        return e->type == T_F32 && kid == 0 && is_positive(other);
    case OP_CAST:
        return is_integer(x->type)
                   ? e->type == T_F32 || (e->type == T_I32 && type_bytes(type_dtype(x->type)) < 4)
                   : x->type == T_F32 && is_integer(e->type);
    default:
        return false;
    }
}

/* The kid of e that the reduction runs over, when it is the only one and e keeps its order; -1: none. */
static int moving_kid(Ctx *ctx, const Def *d, const Expr *e) {
    int kid = -1;
    for (int i = 0; e->op != OP_LOAD && i < e->nkid; i++) {
        if (!uses_sums(d, e->kid[i]))
            continue;
        if (kid >= 0)
            return -1;
        kid = i;
    }
    return kid >= 0 && keeps_order(ctx, e, kid) ? kid : -1;
}

/* What is left of e when nothing more can be done after the maximum. */
static const Expr *find_core(Ctx *ctx, const Def *d, const Expr *e) {
    for (int kid; (kid = moving_kid(ctx, d, e)) >= 0;)
        e = e->kid[kid];
    return e;
}

typedef struct Hole {
    const Expr *core, *by;
} Hole;

static const Expr *fill_hole(Ctx *ctx, const Expr *e, void *data) {
    const Hole *h = data;
    (void)ctx;
    return e == h->core ? h->by : e;
}

static bool is_maximum(const Def *d) {
    int64_t n;
    if (d->at || d->scan || d->when || d->init || d->buf->ndef != 1 || d->naxis == d->buf->rank ||
        (d->combine != OP_MAX && d->combine != OP_MIN))
        return false;
    for (int i = d->buf->rank; i < d->naxis; i++) /* of nothing it would not be a value */
        if (d->axis[i].kind != AXIS_RED || !expr_is_int(d->axis[i].var->extent, &n) || n < 1)
            return false;
    return true;
}

/* The maximum of the core; d becomes a map of it. */
static Def *lift(Ctx *ctx, Def *d, const Expr *core) {
    const Expr *to[2 * RANK_MAX], *at[RANK_MAX];
    Sym *from[2 * RANK_MAX];
    int rank = d->buf->rank;
    Def *max = def_beside(ctx, d, ".max", core->type, rank, d->buf->dim);
    for (int i = 0; i < d->naxis; i++) {
        const Sym *s = d->axis[i].var;
        from[i] = d->axis[i].var;
        to[i] = i < rank ? def_var(ctx, max, i) : def_axis(ctx, max, s->name, AXIS_RED, s->extent);
    }
    for (int i = 0; i < rank; i++)
        at[i] = def_var(ctx, d, i);
    max->combine = d->combine;
    max->value = expr_subst(ctx, core, d->naxis, from, to);
    Hole h = {core, buf_load(ctx, max->buf, at)};
    d->value = expr_map(ctx, d->value, fill_hole, &h);
    d->naxis = rank;
    d->combine = COMBINE_SET;
    return max;
}

typedef struct Readers {
    Uses *uses;
    bool shared;
} Readers;

static void note_readers(void *data, Buf *b) {
    Readers *r = data;
    r->shared |= b->space != SPACE_CONST && uses_of(r->uses, b)->readers.len > 1;
}

/* Numbers of four bytes, as most vectors hold; narrower ones stay as they are. */
static bool is_plain(Type t) {
    return t == T_F32 || t == T_I32;
}

/* Others read the same values (a softmax its scores): what is done to them is shared with these. */
static bool is_shared(Uses *u, const Expr *core) {
    Readers r = {u, false};
    expr_loads(u->ctx, core, note_readers, &r);
    return r.shared;
}

static bool lift_block(Uses *u, Block *b) {
    Ctx *ctx = u->ctx;
    bool lifted = false;
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                lifted |= lift_block(u, it->body[k]);
        Def *d = it->kind == ITEM_DEF ? it->def : NULL;
        const Expr *core = d && is_maximum(d) ? find_core(ctx, d, d->value) : NULL;
        if (!core || core == d->value || !is_plain(core->type) || is_shared(u, core))
            continue;
        block_insert(ctx, b, i++, lift(ctx, d, core));
        lifted = true;
    }
    return lifted;
}

/* The maps that are left go into their readers as others did. */
bool kernel_lift(Lower *lo) {
    bool lifted =
        !lo->strict && !lo->o0 && lift_block(uses_build(lo->ctx, lo->prog), lo->prog->main);
    return !lifted || kernel_inline(lo);
}
