/* ir/tensor.c — constants, buffers, equations, programs: constructors and small questions.
 *
 * Which elements of small tensors are known as expressions is in known.c; texts in tensor_text.c. */
#include "ir/tensor.h"

#include <math.h>
#include <string.h>

/* ---- constants --------------------------------------------------------------------------------- */

static Const *const_make(Ctx *ctx, Dtype type, int64_t count, bool splat, const void *data) {
    Const *c = ctx_new(ctx, Const);
    c->type = type;
    c->count = count;
    c->splat = splat;
    c->data = data;
    return c;
}

Const *const_new(Ctx *ctx, Dtype type, int64_t count, const void *data) {
    return const_make(ctx, type, count, false, data);
}

Const *const_made(Ctx *ctx, Dtype type, int64_t count, Maker by) {
    Const *c = const_make(ctx, type, count, false, NULL);
    c->by = ctx_copy(ctx, &by, sizeof by);
    return c;
}

const void *const_data(Ctx *ctx, const Const *c) {
    if (c->data || !c->by)
        return c->data;
    Arena *a = ctx->home; /* outlives a trial's scratch arena, as the constant does */
    unsigned char *room = c->by->room ? arena_alloc(a, c->by->room) : NULL;
    unsigned char *data = arena_alloc(a, c->by->len);
    c->by->make(c->by->data, data, room);
    ((Const *)(uintptr_t)c)->data = data; /* as if it had always been there */
    return data;
}

Const *const_splat(Ctx *ctx, Dtype type, int64_t count, const void *element) {
    size_t n = type == T_STR ? sizeof(ConstStr) : (size_t)type_bytes(type);
    return const_make(ctx, type, count, true, ctx_copy(ctx, element, n));
}

static uint64_t bytes_get(const unsigned char *p, int n) {
    uint64_t v = 0;
    uint32_t w;
    uint16_t h;
    switch (n) {
    case 1:
        return *p;
    case 2:
        memcpy(&h, p, sizeof h);
        return h;
    case 4:
        memcpy(&w, p, sizeof w);
        return w;
    default:
        memcpy(&v, p, sizeof v);
        return v;
    }
}

static void bytes_put(unsigned char *p, int n, uint64_t v) {
    uint32_t w = (uint32_t)v;
    uint16_t h = (uint16_t)v;
    if (n == 1)
        *p = (unsigned char)v;
    else if (n == 2)
        memcpy(p, &h, sizeof h);
    else if (n == 4)
        memcpy(p, &w, sizeof w);
    else
        memcpy(p, &v, sizeof v);
}

static double float_of_bits(Dtype t, uint64_t bits) {
    uint32_t low = (uint32_t)bits;
    float f;
    double d;
    if (t == T_F64) {
        memcpy(&d, &bits, sizeof d);
        return d;
    }
    if (t != T_F32)
        return (double)narrow_to_f32(t, low);
    memcpy(&f, &low, sizeof f);
    return (double)f;
}

static uint64_t bits_of_float(Dtype t, double v) {
    uint64_t bits;
    uint32_t low;
    float f = (float)v;
    if (t == T_F64) {
        memcpy(&bits, &v, sizeof bits);
        return bits;
    }
    if (t != T_F32)
        return narrow_from_f64(t, v, false);
    memcpy(&low, &f, sizeof low);
    return low;
}

const Expr *const_at(Ctx *ctx, const Const *c, int64_t i) {
    Dtype t = c->type;
    int n = type_bytes(t);
    const unsigned char *data = const_data(ctx, c);
    uint64_t bits = bytes_get(data + (c->splat ? 0 : i * n), n);
    if (type_is_float(t))
        return expr_flt(ctx, t, float_of_bits(t, bits));
    if (type_kind(t) == 'I' && n < 8 && bits >> (8 * n - 1))
        bits |= ~UINT64_C(0) << (8 * n);
    return expr_int(ctx, t, (int64_t)bits);
}

void const_put(Dtype t, void *data, int64_t i, const Expr *e) {
    int n = type_bytes(t);
    uint64_t bits = type_is_float(t) ? bits_of_float(t, e->u.f) : (uint64_t)e->u.i;
    bytes_put((unsigned char *)data + i * n, n, bits);
}

/* ---- buffers ----------------------------------------------------------------------------------- */

Buf *buf_new(Ctx *ctx, Str name, Dtype type, Space space, int rank, const Expr *const *dim) {
    Buf *b = ctx_new(ctx, Buf);
    b->name = name;
    b->id = ctx->next_id++;
    b->type = (Type)type;
    b->space = (uint8_t)space;
    b->rank = rank;
    b->dim = ctx_newn(ctx, const Expr *, rank);
    if (rank)
        memcpy(b->dim, dim, (size_t)rank * sizeof *dim);
    return b;
}

Buf *buf_const(Ctx *ctx, Str name, const Const *data, int rank, const int64_t *dim) {
    const Expr *e[RANK_MAX];
    for (int i = 0; i < rank; i++)
        e[i] = expr_i(ctx, dim[i]);
    Buf *b = buf_new(ctx, name, data->type, SPACE_CONST, rank, e);
    b->data = data;
    return b;
}

const Expr *buf_count(Ctx *ctx, const Buf *b) {
    const Expr *n = expr_i(ctx, 1);
    for (int i = 0; i < b->rank; i++)
        n = expr_mul(ctx, n, b->dim[i]);
    return n;
}

bool buf_dims(const Buf *b, int64_t *dim) {
    for (int i = 0; i < b->rank; i++)
        if (!expr_is_int(b->dim[i], &dim[i]))
            return false;
    return true;
}

bool buf_static(const Buf *b, int64_t *count) {
    int64_t n = 1, d;
    for (int i = 0; i < b->rank; i++)
        if (!expr_is_int(b->dim[i], &d) || !mul_ok(n, d, &n))
            return false;
    if (count)
        *count = n;
    return true;
}

const Expr *buf_load(Ctx *ctx, Buf *b, const Expr *const *index) {
    return expr_load(ctx, b, b->rank, index);
}

/* ---- equations --------------------------------------------------------------------------------- */

static Def *def_make(Ctx *ctx, Str name, Buf *buf) {
    Def *d = ctx_new(ctx, Def);
    d->name = name;
    d->id = ctx->next_id++;
    d->buf = buf;
    d->combine = COMBINE_SET;
    if (!buf->def)
        buf->def = d;
    buf->ndef++;
    buf->known = NULL;
    buf->known_state = 0;
    return d;
}

Def *def_new(Ctx *ctx, Str name, Dtype type, int rank, const Expr *const *dim) {
    static const char axis_names[RANK_MAX][2] = {"i", "j", "k", "l", "m", "n", "o", "p"};
    Def *d = def_make(ctx, name, buf_new(ctx, name, type, SPACE_ARENA, rank, dim));
    for (int i = 0; i < rank; i++)
        def_axis(ctx, d, str(ctx, axis_names[i % RANK_MAX]), AXIS_PAR, dim[i]);
    return d;
}

Def *def_update(Ctx *ctx, Str name, Buf *buf) {
    Def *d = def_make(ctx, name, buf);
    d->at = ctx_newn(ctx, const Expr *, buf->rank);
    return d;
}

const Expr *def_axis(Ctx *ctx, Def *d, Str name, AxisKind kind, const Expr *extent) {
    /* grown by doubling at powers of two: naxis is both length and capacity */
    if ((d->naxis & (d->naxis - 1)) == 0) {
        Axis *more = ctx_newn(ctx, Axis, d->naxis ? 2 * d->naxis : 1);
        if (d->naxis)
            memcpy(more, d->axis, (size_t)d->naxis * sizeof *more);
        d->axis = more;
    }
    Axis *a = &d->axis[d->naxis++];
    a->var = sym_axis(ctx, name, extent);
    a->kind = (uint8_t)kind;
    return expr_sym(ctx, a->var);
}

const Expr *def_var(Ctx *ctx, const Def *d, int i) {
    return expr_sym(ctx, d->axis[i].var);
}

int def_nout(const Def *d) {
    int n = 0;
    for (int i = 0; i < d->naxis; i++)
        n += d->axis[i].kind != AXIS_RED;
    return n;
}

bool def_is_reduction(const Def *d) {
    return def_nout(d) < d->naxis;
}

const Expr *combine_identity(Ctx *ctx, Op combine, Dtype type) {
    bool flt = type_is_float(type);
    switch (combine) {
    case OP_MUL:
        return expr_const(ctx, type, 1);
    case OP_MIN:
        if (flt)
            return expr_flt(ctx, type, (double)INFINITY);
        return expr_int(ctx, type, type == T_U64 ? -1 : type_max(type));
    case OP_MAX:
        return flt ? expr_flt(ctx, type, (double)-INFINITY) : expr_int(ctx, type, type_min(type));
    case OP_AND:
        return expr_bool(ctx, true);
    case OP_BAND:
        return expr_int(ctx, type, -1);
    default:
        return expr_const(ctx, type, 0);
    }
}

Def *def_clone(Ctx *ctx, const Def *d) {
    Def *c = ctx_new(ctx, Def);
    *c = *d;
    c->id = ctx->next_id++;
    int n = d->naxis;
    c->axis = ctx_newn(ctx, Axis, n);
    Sym **from = ctx_newn(ctx, Sym *, n);
    const Expr **to = ctx_newn(ctx, const Expr *, n);
    for (int i = 0; i < n; i++) {
        Sym *v = d->axis[i].var;
        c->axis[i] = d->axis[i];
        if (!d->scan || v != d->scan->var)
            c->axis[i].var = sym_axis(ctx, v->name, expr_subst(ctx, v->extent, i, from, to));
        from[i] = v;
        to[i] = expr_sym(ctx, c->axis[i].var);
    }
    if (d->at) {
        c->at = ctx_newn(ctx, const Expr *, d->buf->rank);
        for (int i = 0; i < d->buf->rank; i++)
            c->at[i] = expr_subst(ctx, d->at[i], n, from, to);
    }
    c->value = expr_subst(ctx, d->value, n, from, to);
    c->init = d->init ? expr_subst(ctx, d->init, n, from, to) : NULL;
    c->when = d->when ? expr_subst(ctx, d->when, n, from, to) : NULL;
    return c;
}

const Expr *def_parts(Ctx *ctx, const Def *d) {
    const Buf *b = d->buf;
    const Expr *axis = def_var(ctx, d, b->along), *value = NULL, *index[RANK_MAX];
    for (int i = 0; i < b->rank; i++)
        index[i] = def_var(ctx, d, i);
    for (int p = b->parts.len; p-- > 0;) {
        Buf *part = b->parts.at[p];
        const Expr *end = expr_add(ctx, part->start, part->dim[b->along]);
        index[b->along] = expr_sub(ctx, axis, part->start);
        const Expr *load = buf_load(ctx, part, index);
        value = value ? expr_select(ctx, expr_lt(ctx, axis, end), load, value) : load;
    }
    return value;
}

const Expr *def_inline(Ctx *ctx, const Def *d, const Expr *const *index) {
    if (d->at || def_is_reduction(d))
        internal_error(ctx, "def_inline: %s is not pure", d->name);
    Sym **from = ctx_newn(ctx, Sym *, d->naxis);
    for (int i = 0; i < d->naxis; i++)
        from[i] = d->axis[i].var;
    return expr_subst(ctx, d->value, d->naxis, from, index);
}

/* ---- programs ----------------------------------------------------------------------------------- */

Item *item_new(Ctx *ctx, Block *b, ItemKind kind) {
    Item *it = ctx_new(ctx, Item);
    it->kind = (uint8_t)kind;
    vec_push(ctx, &b->items, it);
    return it;
}

void block_walk(Block *b, void (*fn)(void *data, Block *b, Item *it), void *data) {
    for (int i = 0; b && i < b->items.len; i++) {
        Item *it = b->items.at[i];
        fn(data, b, it);
        block_walk(it->body[0], fn, data);
        block_walk(it->body[1], fn, data);
    }
}
