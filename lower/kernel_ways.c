/* Sums of products that have no lanes side by side (a row against the rows of another matrix, a convolution to one
 * channel) get partial sums along what they add up, where that lies side by side. Class reorders (not with
 * --strict). Maxima and minima, too: exact. On machines with vectors. Precondition: kernel_partition;
 * kernel_normalise follows.
 *
 *   before  y[h,j] = add(d<64) q[h,d]*k[h,j,d]
 *   after   y[h,j] = add[16](d<64) q[h,d]*k[h,j,d] */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#define SUM_MIN 4       /* vectors of a sum without lanes that pay for adding up its parts */
#define PRODUCERS_MAX 3 /* maps between a convolution and its reader */

static bool has_stride_one(Ctx *ctx, const Expr *load, Sym *axis) {
    const Expr *coef, *rest;
    return expr_linear(ctx, buf_offset(ctx, load->u.buf, load->kid), 1, &axis, &coef, &rest) &&
           expr_is(coef, 1);
}

typedef struct Producer {
    Ctx *ctx;
    int left;
    bool found;
} Producer;

/* Does a convolution compute b, maps in between aside? Then its channels will be innermost. */
static void find_convolution(void *data, Buf *b) {
    Producer *p = data;
    const Def *d = b->ndef == 1 && b->space == SPACE_ARENA ? b->def : NULL;
    if (!d || d->at || d->buf->rank != 4)
        return;
    if (def_is_contraction(p->ctx, d)) {
        p->found = true;
    } else if (!def_is_reduction(d) && p->left-- > 0) {
        def_loads(p->ctx, d, find_convolution, p);
    }
}

/* A convolution to one channel: the RED axis of its input's channels, or -1. */
static int one_channel_axis(Ctx *ctx, const Def *d, const Expr *x, const Expr *w) {
    Producer p = {ctx, PRODUCERS_MAX, false};
    if (d->buf->rank != 4 || x->nkid != 4 || w->u.buf->space != SPACE_CONST ||
        x->kid[1]->op != OP_SYM)
        return -1;
    for (int i = 0; i < d->buf->rank; i++)
        if (expr_uses_sym(w, d->axis[i].var) && !expr_is(d->axis[i].var->extent, 1))
            return -1;
    find_convolution(&p, x->u.buf);
    for (int i = d->buf->rank; i < d->naxis && p.found; i++)
        if (d->axis[i].var == x->kid[1]->u.sym)
            return i;
    return -1;
}

/* Rows against rows: the RED axis that both have side by side where the output's last axis has neither; -1. */
static int common_axis(Ctx *ctx, const Def *d, const Expr *x, const Expr *w) {
    int inner = buf_inner_axis(ctx, d->buf);
    if (inner < 0 || x->u.buf->space == SPACE_CONST || w->u.buf->space == SPACE_CONST)
        return -1;
    Sym *lane = d->axis[inner].var;
    bool x_lies = !expr_uses_sym(x, lane) || has_stride_one(ctx, x, lane);
    bool w_lies = !expr_uses_sym(w, lane) || has_stride_one(ctx, w, lane);
    for (int i = d->buf->rank; i < d->naxis && !(x_lies && w_lies); i++)
        if (has_stride_one(ctx, x, d->axis[i].var) && has_stride_one(ctx, w, d->axis[i].var))
            return i;
    return -1;
}

/* The constant load with the dimension that the axis indexes moved to the end, its data likewise. */
static const Expr *put_last(Lower *lo, const Expr *load, const Sym *axis) {
    Ctx *ctx = lo->ctx;
    const Buf *b = load->u.buf;
    const Expr *at[RANK_MAX];
    int64_t dim[RANK_MAX], to[RANK_MAX], inner = 1, of, count;
    int from = 0, last = b->rank - 1;
    while (from < last && !expr_uses_sym(load->kid[from], axis))
        from++;
    if (from == last || !b->data || b->data->splat || !buf_static(b, &count))
        return load;
    buf_dims(b, dim);
    for (int i = from + 1; i <= last; i++)
        inner *= dim[i];
    of = dim[from];
    const float *old = const_data(ctx, b->data);
    float *fresh = ctx_allocn(ctx, (size_t)count, sizeof *fresh);
    for (int64_t i = 0; i < count; i++) /* i = (outer*of + k)*inner + j */
        fresh[(i / (inner * of) * inner + i % inner) * of + i / inner % of] = old[i];
    for (int i = 0, n = 0; i <= last; i++)
        if (i != from) {
            to[n] = dim[i];
            at[n++] = load->kid[i];
        }
    to[last] = of;
    at[last] = load->kid[from];
    Buf *moved = buf_const(ctx, b->name, const_new(ctx, T_F32, count, fresh), b->rank, to);
    vec_push(ctx, &lo->prog->consts, moved);
    return buf_load(ctx, moved, at);
}

typedef struct Beside {
    const Def *d;
    Ctx *ctx;
    Sym *lane, *axis; /* of the output, of what is reduced */
    int rows, columns, others;
    int packed;  /* constants that use the lane */
    bool shared; /* a load without the lane uses another axis of the output */
    bool window; /* an index uses the lane and what is summed */
} Beside;

static void count_beside(void *data, const Expr *e) {
    Beside *b = data;
    if (e->op != OP_LOAD || !(expr_uses_sym(e, b->axis) || (b->lane && expr_uses_sym(e, b->lane))))
        return;
    bool row = has_stride_one(b->ctx, e, b->axis);
    bool column = b->lane && has_stride_one(b->ctx, e, b->lane);
    *(row ? &b->rows : column ? &b->columns : &b->others) += 1;
    bool with = b->lane && expr_uses_sym(e, b->lane);
    for (int i = 0; i < e->nkid && with; i++)
        b->window |= expr_uses_sym(e->kid[i], b->lane) && expr_uses_sym(e->kid[i], b->axis);
    b->packed += with && e->u.buf->space == SPACE_CONST;
    for (int i = 0; i < b->d->buf->rank && !with; i++)
        b->shared |= b->lane && !expr_is(b->d->axis[i].var->extent, 1) &&
                     expr_uses_sym(e, b->d->axis[i].var);
}

/* Partial maxima where f32 has so many lanes; of other integers than bytes the compiler makes vectors itself. */
static int64_t extreme_lanes(const Def *d, int64_t lanes) {
    Type t = d->buf->type;
    return t == T_F32 || t == T_I8 || t == T_U8 ? lanes : t == T_F64 ? (lanes + 1) / 2 : 0;
}

/* A maximum or minimum along what lies side by side: the order of its values does not matter. -1: it is none. */
static int extreme_axis(Ctx *ctx, const Def *d) {
    int inner = buf_inner_axis(ctx, d->buf), last = d->naxis - 1;
    if (d->at || d->when || (d->combine != OP_MAX && d->combine != OP_MIN) ||
        extreme_lanes(d, 1) == 0 || last < d->buf->rank)
        return -1;
    bool one = inner < 0 || expr_is(d->axis[inner].var->extent, 1);
    Beside b = {.d = d, .ctx = ctx, .axis = d->axis[last].var};
    b.lane = one ? NULL : d->axis[inner].var;
    expr_walk(ctx, d->value, count_beside, &b);
    return b.rows && !b.columns && !b.others ? last : -1;
}

/* The first or last place along what lies side by side where something holds; -1: it is none. */
static int place_axis(Ctx *ctx, const Def *d) {
    int last = d->naxis - 1;
    if (d->at || !d->when || (d->combine != OP_MAX && d->combine != OP_MIN) ||
        d->buf->type != T_I32 || last < d->buf->rank || d->value->op != OP_CAST ||
        d->value->kid[0] != expr_sym(ctx, d->axis[last].var))
        return -1;
    Beside b = {.d = d, .ctx = ctx, .axis = d->axis[last].var};
    expr_walk(ctx, d->when, count_beside, &b);
    return b.rows && !b.columns && !b.others ? last : -1;
}

/* Partial maxima, the last of them of elements that are the end of the row, some for the second time. */
static void part_extreme(Ctx *ctx, Def *d, int axis, int64_t n, int64_t lanes) {
    Sym *k = d->axis[axis].var;
    int64_t ways = d->buf->type == T_F32 && n >= 2 * CHAINS * lanes ? CHAINS * lanes : lanes;
    while (ways > n)
        ways /= 2;
    if (ways < WAYS_MIN)
        return;
    if (n % ways) {
        const Expr *v = expr_sym(ctx, k), *w = expr_i(ctx, ways);
        const Expr *in = expr_mod(ctx, v, w), *start = expr_sub(ctx, v, in);
        const Expr *at = expr_add(ctx, expr_min(ctx, start, expr_i(ctx, n - ways)), in);
        d->value = expr_subst(ctx, d->value, 1, &k, &at);
        d->when = d->when ? expr_subst(ctx, d->when, 1, &k, &at) : NULL;
        k->extent = expr_i(ctx, (n + ways - 1) / ways * ways);
    }
    d->axis[axis].ways = (uint8_t)ways;
}

/* A sum of products along what lies side by side, which nothing does along the output (a matrix times a vector):
 * its last axis; -1: it is none, or its output has lanes, once constants are packed or in a tile. */
static int sum_axis(Ctx *ctx, const Def *d) {
    int inner = buf_inner_axis(ctx, d->buf), last = d->naxis - 1;
    if (d->at || d->when || d->combine != OP_ADD || d->buf->type != T_F32 ||
        d->value->op != OP_MUL || last < d->buf->rank)
        return -1;
    for (int i = d->buf->rank; i <= last; i++)
        if (d->axis[i].ways > 1)
            return -1;
    bool one = inner < 0 || expr_is(d->axis[inner].var->extent, 1);
    Beside b = {.d = d, .ctx = ctx, .axis = d->axis[last].var};
    b.lane = one ? NULL : d->axis[inner].var;
    expr_walk(ctx, d->value, count_beside, &b);
    return b.rows && !b.columns && !b.others && !b.packed && !b.shared && !b.window ? last : -1;
}

void kernel_ways(Lower *lo, Kernel *k) {
    Ctx *ctx = lo->ctx;
    int64_t n, ways, lanes = lo->machine->vec / 4;
    if (lanes == 0 || lo->strict || lo->o0 || k->defs.at[0]->scan || chain_start(ctx, k))
        return;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        kernel_line(lo, d);
        int extreme = extreme_axis(ctx, d);
        if (extreme >= 0 && expr_is_int(d->axis[extreme].var->extent, &n) &&
            d->axis[extreme].ways <= 1)
            part_extreme(ctx, d, extreme, n, extreme_lanes(d, lanes));
        else if (extreme >= 0 && d->axis[extreme].ways <= 1 && d->buf->type == T_F32 &&
                 !expr_is_int(d->axis[extreme].var->extent, &n))
            d->axis[extreme].ways = (uint8_t)lanes; /* the rest is left out by a predicate */
        int place = place_axis(ctx, d);
        if (place >= 0 && expr_is_int(d->axis[place].var->extent, &n) && d->axis[place].ways <= 1)
            part_extreme(ctx, d, place, n, lanes);
        int sum = sum_axis(ctx, d);
        if (sum >= 0 && expr_is_int(d->axis[sum].var->extent, &n) && n >= SUM_MIN * lanes)
            d->axis[sum].ways = (uint8_t)lanes;
        const Expr *x = d->value->nkid == 2 ? d->value->kid[0] : NULL,
                   *w = x ? d->value->kid[1] : NULL;
        if (!x || d->at || d->buf->type != T_F32 || d->value->op != OP_MUL || x->op != OP_LOAD ||
            w->op != OP_LOAD || !def_is_contraction(ctx, d))
            continue;
        if (x->u.buf->space == SPACE_CONST) {
            const Expr *swap = x;
            x = w;
            w = swap;
        }
        int one = one_channel_axis(ctx, d, x, w), axis = one < 0 ? common_axis(ctx, d, x, w) : one;
        if (axis < 0 || !expr_is_int(d->axis[axis].var->extent, &n) || d->axis[axis].ways > 1)
            continue;
        for (ways = lanes; ways >= WAYS_MIN && n % ways; ways /= 2)
            ;
        if (ways < WAYS_MIN)
            continue;
        d->axis[axis].ways = (uint8_t)ways;
        if (one >= 0)
            d->value = expr_mul(ctx, x, put_last(lo, w, d->axis[axis].var));
    }
}
