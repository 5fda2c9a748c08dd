/* tensorize … with dot4, dot2: a loop of lanes around a loop of four or two products of 8-bit integers is one
 * instruction a vector. Both become vector loops; loop_vector writes the instruction. The last group along k may
 * be fetched whole, as the constant holds zeros there.
 *
 *   before  for n < 16 { for k1 < 4 { t[n] = t[n] + i32(x[k0*4 + k1])*i32(w[k0*64 + n*4 + k1]) } }
 *   after   the same, `vector` on both */
#include "lower/kernel_class.h"
#include "lower/sched_in.h"

/* acc + product, where acc is what the store replaces; the product, or NULL. */
static const Expr *added(const Stmt *s) {
    if (s->op != STMT_STORE || s->a->op != OP_ADD)
        return NULL;
    for (int i = 0; i < 2; i++) {
        const Expr *acc = s->a->kid[i];
        if (acc->op == OP_LOAD && acc->u.buf == s->buf)
            return s->a->kid[1 - i];
    }
    return NULL;
}

static const Expr *narrow_added(const Stmt *s, Narrow8 *n) {
    const Expr *product = added(s);
    return product && narrow_product(product, n) && narrow_groups(n) ? product : NULL;
}

typedef struct Overrun {
    Ctx *ctx;
    Sym *var, *longer;
    bool ok;
} Overrun;

/* x may be fetched past its end, where w is zero. */
static void check_store(void *data, Stmt *s) {
    Overrun *o = data;
    Narrow8 n;
    int64_t size;
    if (s->op == STMT_FOR)
        return;
    o->ok &= narrow_added(s, &n) && n.w->u.buf->where && n.w->u.buf->fill &&
             expr_is(n.w->u.buf->fill, 0) && expr_uses_sym(n.w, o->var);
    if (!o->ok)
        return;
    const Buf *b = n.x->u.buf;
    const Expr *all = b->size ? b->size : buf_count(o->ctx, b), *to = expr_sym(o->ctx, o->longer);
    const Expr *at = expr_subst(o->ctx, buf_offset(o->ctx, b, n.x->kid), 1, &o->var, &to);
    o->ok = expr_is_int(all, &size) && expr_range(o->ctx, at).max < size;
}

bool loop_may_overrun(Ctx *ctx, const Stmt *loop, int64_t by) {
    int64_t n;
    if (loop->kind != AXIS_RED || !expr_is_int(loop->a, &n))
        return false;
    Sym *longer = sym_axis(ctx, loop->label, expr_i(ctx, (n + by - 1) / by * by));
    Overrun o = {ctx, loop->var, longer, true};
    stmt_walk(loop->body, check_store, &o);
    return o.ok;
}

bool loop_takes_dot(const Stmt *loop, int group, Str *why, Ctx *ctx) {
    Narrow8 n;
    Stmt *in = loop->body;
    if (in->op != STMT_FOR) /* the start of the sum */
        return true;
    if (in->next || in->kind != AXIS_RED || !expr_is(in->a, group) || in->body->next ||
        !narrow_added(in->body, &n) || !(narrow_groups(&n) & (unsigned)group))
        return step_fails(ctx, why, "inside %s is no sum of %d products", loop->label, group);
    in->run = RUN_VECTOR;
    return true;
}

/* v + stride*var for each of two variables; false unless linear with these strides. */
static bool strides(Ctx *ctx, const Expr *at, Sym *const var[2], int64_t outer, int64_t inner,
                    const Expr **base) {
    const Expr *coef[2];
    return expr_linear(ctx, at, 2, var, coef, base) && expr_is(coef[0], outer) &&
           expr_is(coef[1], inner);
}

static const Expr *row(Ctx *ctx, Buf *b, const Expr *base, int lanes) {
    const Expr *at = expr_ramp(ctx, base, expr_i(ctx, 1), lanes);
    return expr_load(ctx, b, 1, &at);
}

/* The factors as the instruction takes them: x once for all lanes. */
static void operands(Ctx *ctx, const Narrow8 *n, int group, int64_t lanes, const Expr *x,
                     const Expr *w, const Expr **kid) {
    kid[0] = row(ctx, n->x->u.buf, x, group);
    kid[1] = row(ctx, n->w->u.buf, w, group * (int)lanes);
    if (group == 2) {
        for (int i = 0; i < 2; i++)
            kid[i] = expr_cast(ctx, TYPE_VEC(T_I16, type_lanes(kid[i]->type)), kid[i]);
    } else if (n->x->type == T_I8) {
        Type t = TYPE_VEC(T_U8, group);
        const Expr *bits = expr_op(ctx, OP_BITCAST, t, 1, kid);
        kid[0] = expr_2(ctx, OP_BXOR, bits, expr_int(ctx, t, 128));
    }
}

Stmt *loop_dot(Lower *lo, const Stmt *outer) {
    Ctx *ctx = lo->ctx;
    const Stmt *inner = outer->body, *s = inner->body;
    Sym *var[2] = {outer->var, inner->var};
    int64_t lanes, group;
    Narrow8 n;
    const Expr *x, *w, *acc, *kid[3];
    if (s->op != STMT_STORE || s->next || s->b || !expr_is_int(outer->a, &lanes) ||
        !expr_is_int(inner->a, &group) || !narrow_added(s, &n) ||
        !(narrow_groups(&n) & (unsigned)group))
        return NULL;
    Op op = group == 4 ? OP_DOT4 : OP_DOT2;
    Type t = TYPE_VEC(T_I32, lanes);
    if (!lo->target->spells(lo->machine, op, t) || !strides(ctx, n.x->kid[0], var, 0, 1, &x) ||
        !strides(ctx, n.w->kid[0], var, group, 1, &w) ||
        !strides(ctx, s->index[0], var, 1, 0, &acc))
        return NULL;
    operands(ctx, &n, (int)group, lanes, x, w, kid);
    kid[2] = row(ctx, s->buf, acc, (int)lanes);
    const Expr *at = expr_ramp(ctx, acc, expr_i(ctx, 1), (int)lanes);
    Stmt *store = stmt_store(ctx, s->buf, 1, &at, expr_op(ctx, op, t, 3, kid));
    store->def = s->def;
    store->loc = s->loc;
    return store;
}
