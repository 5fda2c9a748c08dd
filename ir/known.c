/* ir/known.c — elements of small tensors as expressions (buf_known), so that shape arithmetic and
 * small constants never become code.
 *
 * Precondition: equations do not change afterwards. A buffer's elements are its equation with the axes
 * replaced by constants and every load of a known element by that element:
 *   s i64[2] { i<2 } = select(i == 0, N, 4) ; t i64[1] { i<1 } = s[0] * s[1]   →   t is { 4*N }
 * Buffers are visited by an explicit stack, operands first: chains may be as long as the model. */
#include "ir/tensor.h"

#include <string.h>

#define KNOWN_WORK 4096 /* points of the domain of one equation */
#define KNOWN_FLOATS 64 /* more elements than this must all be constants when they are floats */
#define KNOWN_SIZE 64   /* nodes of one element, written out; what is larger stays a load of it */

enum { KNOWN_NEW, KNOWN_OPEN, KNOWN_DONE };

static bool is_candidate(const Buf *b, int64_t *count) {
    char kind = type_kind(type_dtype(b->type));
    return kind != 'S' && kind != 'C' && buf_static(b, count) && *count <= KNOWN_MAX;
}

/* A buffer that is written once, by a Def or a call, or never: its elements may be named by loads. */
static bool is_single(const Buf *b) {
    return b->space == SPACE_INPUT || b->data || b->ndef == 1;
}

static bool is_plain(const Def *d, int rank) {
    if (d->at || d->scan || !d->value || (d->when && !def_is_reduction(d)))
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_SEQ || (i < rank) != (d->axis[i].kind == AXIS_PAR))
            return false;
    return d->naxis >= rank;
}

/* ---- one element ------------------------------------------------------------------------------- */

/* Row-major offset of constant indices inside b; -1 when one is not constant, -2 outside. */
static int64_t const_offset(const Buf *b, const Expr *load) {
    int64_t off = 0, i, dim;
    for (int k = 0; k < b->rank; k++) {
        if (!expr_is_int(load->kid[k], &i) || !expr_is_int(b->dim[k], &dim))
            return -1;
        if (i < 0 || i >= dim)
            return -2;
        off = off * dim + i;
    }
    return off;
}

static const Expr *replace_load(Ctx *ctx, const Expr *e, void *data) {
    (void)ctx;
    (void)data;
    if (e->op != OP_LOAD || !e->u.buf->known || e->nkid != e->u.buf->rank)
        return e;
    int64_t off = const_offset(e->u.buf, e);
    return off < 0 ? e : e->u.buf->known[off];
}

typedef struct Check {
    const Buf *own;
    bool ok;
} Check;

/* What may stay in an element: loads that name one element of a buffer written once. */
static void check_load(void *data, const Expr *e) {
    Check *c = data;
    if (e->op != OP_LOAD)
        return;
    Buf *b = e->u.buf;
    int64_t count, off = const_offset(b, e);
    bool small = buf_static(b, &count) && count <= KNOWN_MAX;
    if (b == c->own ? b->def != NULL : !is_single(b))
        c->ok = false;
    if (off == -2 || (off == -1 && small))
        c->ok = false;
}

typedef struct Unroll {
    Ctx *ctx;
    Def *d;
    int64_t *extent; /* of each axis */
    int64_t *at;     /* the current point */
    Sym **from;
    const Expr **to;
} Unroll;

static const Expr *at_point(Unroll *u, const Expr *e, int naxis) {
    for (int i = 0; i < naxis; i++)
        u->to[i] = expr_i(u->ctx, u->at[i]);
    return expr_map(u->ctx, expr_subst(u->ctx, e, naxis, u->from, u->to), replace_load, NULL);
}

/* Next point of axes [from, to), last fastest; false after the last. */
static bool next_point(Unroll *u, int from, int to) {
    for (int i = to - 1; i >= from; i--) {
        if (++u->at[i] < u->extent[i])
            return true;
        u->at[i] = 0;
    }
    return false;
}

static int ways_of(const Def *d, int *axis) {
    *axis = -1;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED && d->axis[i].ways > 1)
            *axis = i;
    return *axis < 0 ? 1 : d->axis[*axis].ways;
}

static const Expr *reduce(Unroll *u, int rank) {
    Ctx *ctx = u->ctx;
    Def *d = u->d;
    Op op = (Op)d->combine;
    const Expr *acc[256];
    int axis, ways = ways_of(d, &axis);
    for (int j = 0; j < ways; j++)
        acc[j] = combine_identity(ctx, op, type_dtype(d->buf->type));
    const Expr *init = d->init ? at_point(u, d->init, rank) : NULL;
    if (init && ways == 1)
        acc[0] = init;
    bool empty = false;
    for (int i = rank; i < d->naxis; i++) {
        u->at[i] = 0;
        empty |= u->extent[i] == 0;
    }
    while (!empty) {
        const Expr *when = d->when ? at_point(u, d->when, d->naxis) : expr_bool(ctx, true);
        if (!expr_is(when, 0)) {
            int j = axis < 0 ? 0 : (int)(u->at[axis] % ways);
            const Expr *sum = expr_2(ctx, op, acc[j], at_point(u, d->value, d->naxis));
            acc[j] = expr_is(when, 1) ? sum : expr_select(ctx, when, sum, acc[j]);
        }
        empty = !next_point(u, rank, d->naxis);
    }
    for (int h = ways / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            acc[j] = expr_2(ctx, op, acc[j], acc[j + h]);
    return init && ways > 1 ? expr_2(ctx, op, init, acc[0]) : acc[0];
}

/* ---- one buffer -------------------------------------------------------------------------------- */

static const Expr *element_loaded(Ctx *ctx, Buf *b, int64_t i) {
    int64_t dim[RANK_MAX] = {0};
    const Expr *index[RANK_MAX];
    buf_dims(b, dim);
    for (int k = b->rank - 1; k >= 0; i /= dim[k], k--)
        index[k] = expr_i(ctx, i % dim[k]);
    return buf_load(ctx, b, index);
}

static const Expr **elements_loaded(Ctx *ctx, Buf *b, int64_t count) {
    const Expr **out = ctx_newn(ctx, const Expr *, count);
    for (int64_t i = 0; i < count; i++)
        out[i] = element_loaded(ctx, b, i);
    return out;
}

/* `room` less the nodes of e as a tree, shared ones counted each time; stops below 0. */
static int tree_left(const Expr *e, int room) {
    room--;
    for (int i = 0; i < e->nkid && room >= 0; i++)
        room = tree_left(e->kid[i], room);
    return room;
}

static bool unroll_start(Unroll *u, Ctx *ctx, Def *d) {
    int64_t work = 1;
    *u = (Unroll){ctx,
                  d,
                  ctx_newn(ctx, int64_t, d->naxis),
                  ctx_newn(ctx, int64_t, d->naxis),
                  ctx_newn(ctx, Sym *, d->naxis),
                  ctx_newn(ctx, const Expr *, d->naxis)};
    for (int i = 0; i < d->naxis; i++) {
        u->from[i] = d->axis[i].var;
        if (!expr_is_int(d->axis[i].var->extent, &u->extent[i]) ||
            !mul_ok(work, u->extent[i], &work))
            return false;
    }
    return work <= KNOWN_WORK;
}

static const Expr **elements_computed(Ctx *ctx, Buf *b, int64_t count) {
    Unroll u;
    Def *d = b->def;
    if (!unroll_start(&u, ctx, d))
        return NULL;
    bool reduces = d->naxis > b->rank, floats = type_is_float(type_dtype(b->type));
    const Expr **out = ctx_newn(ctx, const Expr *, count);
    for (int64_t i = 0; i < count; i++) {
        const Expr *e = reduces ? reduce(&u, b->rank) : at_point(&u, d->value, d->naxis);
        Check c = {b, true};
        if (!expr_is_const(e)) {
            if (floats && count > KNOWN_FLOATS)
                return NULL;
            if (tree_left(e, KNOWN_SIZE) < 0)
                e = element_loaded(ctx, b, i);
            else
                expr_walk(ctx, e, check_load, &c);
        }
        if (!c.ok)
            return NULL;
        out[i] = e;
        next_point(&u, 0, b->rank);
    }
    return out;
}

static const Expr **elements_of(Ctx *ctx, Buf *b) {
    int64_t count;
    if (!is_candidate(b, &count))
        return NULL;
    if (b->data) {
        const Expr **out = ctx_newn(ctx, const Expr *, count);
        for (int64_t i = 0; i < count; i++)
            out[i] = const_at(ctx, b->data, i);
        return out;
    }
    if (b->space == SPACE_INPUT || (!b->def && b->ndef == 1))
        return elements_loaded(ctx, b, count);
    return b->ndef == 1 && is_plain(b->def, b->rank) ? elements_computed(ctx, b, count) : NULL;
}

/* ---- operands first ---------------------------------------------------------------------------- */

typedef struct Visit {
    Ctx *ctx;
    VEC(Buf *) stack;
} Visit;

static void push_operand(void *data, const Expr *e) {
    Visit *v = data;
    int64_t count;
    if (e->op == OP_LOAD && e->u.buf->known_state == KNOWN_NEW && is_candidate(e->u.buf, &count))
        vec_push(v->ctx, &v->stack, e->u.buf);
}

static void push_operands(Visit *v, Buf *b) {
    int64_t count;
    if (!is_candidate(b, &count) || b->ndef != 1 || !b->def || !is_plain(b->def, b->rank))
        return;
    const Expr *part[] = {b->def->value, b->def->init, b->def->when};
    for (int i = 0; i < 3; i++)
        if (part[i])
            expr_walk(v->ctx, part[i], push_operand, v);
}

const Expr *const *buf_known(Ctx *ctx, Buf *b) {
    Visit v = {.ctx = ctx};
    if (b->known_state != KNOWN_DONE)
        vec_push(ctx, &v.stack, b);
    while (v.stack.len) {
        Buf *top = v.stack.at[v.stack.len - 1];
        if (top->known_state == KNOWN_NEW) {
            top->known_state = KNOWN_OPEN;
            push_operands(&v, top);
            continue;
        }
        v.stack.len--;
        if (top->known_state == KNOWN_OPEN) {
            top->known = elements_of(ctx, top);
            top->known_state = KNOWN_DONE;
        }
    }
    return b->known;
}
