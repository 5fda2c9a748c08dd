/* A reduction over axes that lie in one line in the caller's buffers is over one axis, with as many partial sums as
 * fill several vectors where they divide it: no vector waits for the one before, none is cut at the end of a row.
 * Class reorders (not with --strict), for maxima and minima exact. On machines with vectors. Precondition:
 * kernel_partition; kernel_ways goes on.
 *
 *   before  y[n] = add[16](p<56, q<56) x[n,p,q]
 *   after   y[n] = add[64](k<3136) x[n, k // 56, k % 56] */
#include "lower/kernel_class.h"
#include "lower/uses.h"

typedef struct Line {
    Ctx *ctx;
    const Def *d;
    int first; /* axis; the line is from there to the last */
    bool fits;
} Line;

static bool uses_line(const Line *l, const Expr *e) {
    bool uses = false;
    for (int i = l->first; i < l->d->naxis; i++)
        uses |= expr_uses_sym(e, l->d->axis[i].var);
    return uses;
}

/* One step of an axis is as long as all of the next one, the last one's a single element. */
static void line_node(void *data, const Expr *e) {
    Line *l = data;
    Sym *var[RANK_MAX * 2];
    const Expr *coef[RANK_MAX * 2], *rest;
    int n = l->d->naxis - l->first;
    int64_t step = 1, extent;
    if (e->op != OP_LOAD || !uses_line(l, e))
        return;
    for (int i = 0; i < n; i++)
        var[i] = l->d->axis[l->first + i].var;
    l->fits &= e->u.buf->space == SPACE_INPUT &&
               expr_linear(l->ctx, buf_offset(l->ctx, e->u.buf, e->kid), n, var, coef, &rest);
    for (int i = n; i-- > 0 && l->fits;)
        l->fits = expr_is(coef[i], step) && expr_is_int(var[i]->extent, &extent) &&
                  mul_ok(step, extent, &step);
}

static const Expr *without_loads(Ctx *ctx, const Expr *e, void *data) {
    (void)data;
    return e->op == OP_LOAD ? expr_const(ctx, type_dtype(e->type), 0) : e;
}

/* The first axis of the line that ends with the last one; naxis: there is none. */
static int line_start(Ctx *ctx, const Def *d) {
    Line l = {ctx, d, d->naxis, true};
    int64_t extent;
    const Expr *plain = expr_map(ctx, d->value, without_loads, NULL);
    while (l.first > d->buf->rank && d->naxis - l.first < RANK_MAX) {
        l.first--;
        l.fits = expr_is_int(d->axis[l.first].var->extent, &extent) && !uses_line(&l, plain);
        expr_walk(ctx, d->value, line_node, &l);
        if (!l.fits)
            return l.first + 1;
    }
    return l.first;
}

static bool is_plain(const Expr *e) {
    bool plain = e->op == OP_LOAD || e->op == OP_FLT || e->op == OP_ADD || e->op == OP_SUB ||
                 e->op == OP_MUL || e->op == OP_ABS;
    for (int i = 0; i < e->nkid && plain && e->op != OP_LOAD; i++)
        plain = is_plain(e->kid[i]);
    return plain;
}

/* Partial sums that divide n, several vectors of them if they can; 0: none. What is dear goes by whole vectors, and
 * maxima can do so in any case (kernel_ways). */
static int64_t ways_of(const Lower *lo, const Def *d, int64_t n) {
    int64_t lanes = lo->machine->vec / 4, ways = CHAINS * lanes;
    while (ways >= WAYS_MIN && (n % ways || n < 2 * ways))
        ways /= 2;
    bool half = d->combine == OP_ADD && ways >= WAYS_MIN && 2 * ways >= lanes;
    return ways >= lanes || (half && is_plain(d->value)) ? ways : 0;
}

typedef struct Straight {
    Ctx *ctx;
    Sym *lane;
    bool fits;
} Straight;

static void straight_node(void *data, const Expr *e) {
    Straight *s = data;
    const Expr *coef, *rest;
    if (e->op == OP_LOAD && expr_uses_sym(e, s->lane))
        s->fits &=
            expr_linear(s->ctx, buf_offset(s->ctx, e->u.buf, e->kid), 1, &s->lane, &coef, &rest) &&
            expr_is(coef, 1);
}

/* The value with one axis in the place of those from `first` on; NULL: what divisions make of the index is not seen
 * to be a vector. */
static const Expr *join_line(Ctx *ctx, const Def *d, int first, Sym *all, int64_t ways) {
    int last = d->naxis - 1;
    const Expr *left = expr_sym(ctx, all), *to[RANK_MAX];
    Sym *from[RANK_MAX];
    for (int i = last; i >= first; i--) {
        const Expr *n = d->axis[i].var->extent;
        from[i - first] = d->axis[i].var;
        to[i - first] = i > first ? expr_mod(ctx, left, n) : left;
        left = expr_fdiv(ctx, left, n);
    }
    const Expr *value = expr_subst(ctx, d->value, last - first + 1, from, to);
    Sym *step = sym_axis(ctx, all->name, expr_fdiv(ctx, all->extent, expr_i(ctx, ways)));
    Straight s = {ctx, sym_axis(ctx, all->name, expr_i(ctx, ways)), true};
    const Expr *at = expr_mul(ctx, expr_sym(ctx, step), expr_i(ctx, ways));
    at = expr_add(ctx, at, expr_sym(ctx, s.lane));
    expr_walk(ctx, expr_subst(ctx, value, 1, &all, &at), straight_node, &s);
    return s.fits ? value : NULL;
}

void kernel_line(Lower *lo, Def *d) {
    Ctx *ctx = lo->ctx;
    const Axis *last = d->naxis ? &d->axis[d->naxis - 1] : NULL;
    bool sum = d->combine == OP_ADD, extreme = d->combine == OP_MAX || d->combine == OP_MIN;
    if (d->at || d->scan || d->when || d->buf->type != T_F32 || d->naxis == d->buf->rank ||
        !(extreme || (sum && last->ways > 1)))
        return;
    for (int i = d->buf->rank; i + 1 < d->naxis; i++)
        if (d->axis[i].ways > 1)
            return;
    for (int first = line_start(ctx, d); first < d->naxis; first++) {
        int64_t n = 1, extent;
        bool ok = true;
        for (int i = first; i < d->naxis; i++)
            ok &= expr_is_int(d->axis[i].var->extent, &extent) && mul_ok(n, extent, &n);
        int64_t ways = ok ? ways_of(lo, d, n) : 0;
        Sym *all = sym_axis(ctx, last->var->name, expr_i(ctx, n));
        const Expr *value = ways ? join_line(ctx, d, first, all, ways) : NULL;
        if (!value)
            continue;
        d->value = value;
        d->axis[first] = (Axis){.var = all, .kind = AXIS_RED, .ways = (uint8_t)ways};
        d->naxis = first + 1;
        return;
    }
}
