/* Storage order of activations: channels innermost around convolutions, and a halo of zeros that takes the
 * place of a border predicate; rows of products' operands apart where they share sets of the L1 cache. Only
 * buffers that one kernel writes whole and whose shape is known before the run; the channels must be constant.
 * Precondition: kernel_partition. Afterwards Buf.where says where an element is; loop_border fills the halo.
 *
 *   before  t[n,m,p,q] = add(c, r, s | 0 <= p+r-1 < H, …) x[n,c,p+r-1,q+s-1] * w[m,c,r,s]
 *   after   the same without predicate; x where ((n*(H+2) + h+1)*(W+2) + w+1)*C + c, halo 0 */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#include <math.h>
#include <string.h>

#define GROWTH_MAX 2.0  /* a halo may not make a buffer larger than this times its elements */
#define CHANNELS_MIN 4  /* fewer channels are no lanes */
#define GUARDS_MIN 4    /* guarded loads that make a map one of windows */
#define POSITIONS_MIN 4 /* fewer positions in a row are no lanes */
#define ROOM_MAX 0.25   /* of a row: what is added to it for whole vectors */
#define SYMBOLIC 32.0   /* what an unknown extent counts as there */
#define REACH_MAX 16    /* elements a halo may have on one side of an unknown extent */
#define SET_BYTES 4096  /* rows this far apart (or a multiple) share the sets of the L1 cache */
#define FEW_ACROSS 8    /* operands beside one that lies across [measured: F(2x2), residual] */
#define WINDOW_MIN 4    /* rows of a sum over windows that are worth copies of both sides */
#define LINE 16         /* f32 of a cache line */
#define ROWS_MIN 8      /* rows of a tile that get in each other's way */

typedef struct Halo {
    int64_t lo[RANK_MAX], hi[RANK_MAX]; /* elements before and behind each dimension */
    bool channels_last;
    bool padded;      /* lo and hi are there for the sake of what they hold: */
    const Expr *fill; /* NULL: 0 */
    int64_t room;     /* unused elements behind each innermost row */
} Halo;

typedef struct Layouts {
    Lower *lo;
    Map *fixed;  /* Buf → itself: a host call or another program reads it, its order stays */
    Map *writer; /* Buf → Kernel that writes all of it */
    Map *halos;  /* Buf → Halo */
} Layouts;

/* ---- which buffers may be laid out freely ---------------------------------------------------- */

static void note_calls(void *data, Block *b, Item *it) {
    Layouts *l = data;
    (void)b;
    for (int i = 0; it->call && i < it->call->in.len; i++)
        if (it->call->in.at[i])
            map_put(l->fixed, it->call->in.at[i], it->call->in.at[i]);
    for (int i = 0; it->call && i < it->call->out.len; i++)
        if (it->call->out.at[i])
            map_put(l->fixed, it->call->out.at[i], it->call->out.at[i]);
}

static bool is_free(const Layouts *l, const Buf *b) {
    const Kernel *k = map_get(l->writer, b);
    bool known = !b->bound && b->rank > 0;
    for (int i = 0; i < b->rank; i++)
        known &= !expr_uses_buf(b->dim[i], NULL);
    return known && b->space == SPACE_ARENA && b->ndef == 1 && k && !map_get(l->fixed, b) &&
           kernel_root(k)->buf == b && !kernel_root(k)->at && !kernel_root(k)->scan;
}

/* The buffer whose storage b lies in. */
static const Buf *all_of(const Buf *b) {
    return b->whole ? all_of(b->whole) : b;
}

static Halo *halo_get(const Layouts *l, const Buf *b) {
    return map_get(l->halos, all_of(b));
}

static Halo *halo_of(Layouts *l, const Buf *b) {
    Halo *h = halo_get(l, b);
    if (!h) {
        h = ctx_new(l->lo->ctx, Halo);
        map_put(l->halos, all_of(b), h);
    }
    return h;
}

static void widen(Halo *h, const Halo *need, int rank) {
    for (int a = 0; a < rank; a++) {
        h->lo[a] = need->lo[a] > h->lo[a] ? need->lo[a] : h->lo[a];
        h->hi[a] = need->hi[a] > h->hi[a] ? need->hi[a] : h->hi[a];
    }
}

/* A part has its neighbours where a halo along the concatenation would be. */
static bool may_grow(const Buf *b, const Halo *need) {
    for (; b->whole; b = b->whole)
        if (need->lo[b->whole->along] || need->hi[b->whole->along])
            return false;
    return true;
}

/* ---- border predicates ----------------------------------------------------------------------- */

typedef struct Border {
    Ctx *ctx;
    const Expr *window; /* the load whose indices the predicate bounds */
    VEC(const Expr *) loads;
} Border;

static void border_load(void *data, const Expr *e) {
    Border *b = data;
    if (e->op == OP_LOAD)
        vec_push(b->ctx, &b->loads, e);
}

/* Every term says that an index of the load is inside its dimension, and nothing else. */
static bool terms_bound(Ctx *ctx, const Expr *when, const Expr *load) {
    if (when->op == OP_AND)
        return terms_bound(ctx, when->kid[0], load) && terms_bound(ctx, when->kid[1], load);
    for (int i = 0; i < load->nkid; i++)
        if (when == expr_le(ctx, expr_i(ctx, 0), load->kid[i]) ||
            when == expr_lt(ctx, load->kid[i], load->u.buf->dim[i]))
            return true;
    return false;
}

static bool const_finite(Ctx *ctx, const Buf *b) {
    int64_t n = b->data->splat ? 1 : b->data->count;
    const float *v = const_data(ctx, b->data);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

/* Inside of its buffer for every value of the axes, also where the predicate does not hold? */
static bool always_inside(Ctx *ctx, const Expr *load) {
    for (int i = 0; i < load->nkid; i++) {
        int64_t dim;
        Range r = expr_range(ctx, load->kid[i]);
        if (!expr_is_int(load->u.buf->dim[i], &dim) || r.min < 0 || r.max >= dim)
            return false;
    }
    return true;
}

/* The load that the predicate bounds, when zeros there add nothing: a sum of products with finite constants. */
static const Expr *zero_window(Ctx *ctx, const Def *d) {
    Border b = {.ctx = ctx};
    if (!d->when || d->combine != OP_ADD || d->buf->type != T_F32)
        return NULL;
    expr_walk(ctx, d->value, border_load, &b);
    bool product = d->value->op == OP_MUL && d->value->kid[0]->op == OP_LOAD &&
                   d->value->kid[1]->op == OP_LOAD && b.loads.len == 2;
    if (!product && d->value->op != OP_LOAD)
        return NULL;
    for (int i = 0; i < b.loads.len; i++) {
        const Expr *load = b.loads.at[i], *other = product ? b.loads.at[1 - i] : NULL;
        if (load->u.buf->type == T_F32 && load->u.buf->space != SPACE_CONST &&
            terms_bound(ctx, d->when, load) &&
            (!other || (other->u.buf->space == SPACE_CONST && const_finite(ctx, other->u.buf) &&
                        always_inside(ctx, other))))
            return load;
    }
    return NULL;
}

/* The same for a sum of products of 8-bit integers: where x is its zero point, nothing is added. *fill says what
 * the halo must hold. */
static const Expr *border_window(const Layouts *l, const Def *d, const Expr **fill) {
    Ctx *ctx = l->lo->ctx;
    Narrow8 n;
    *fill = NULL;
    if (!machine_group(l->lo->machine) || !narrow_match(d, &n))
        return zero_window(ctx, d);
    if (!d->when || !terms_bound(ctx, d->when, n.x) || !always_inside(ctx, n.w) ||
        -n.cx < type_min(type_dtype(n.x->type)) || -n.cx > type_max(type_dtype(n.x->type)))
        return NULL;
    *fill = expr_int(ctx, n.x->type, -n.cx);
    return n.x;
}

/* The smallest n in 0..REACH_MAX with e <= n for all values of its symbols; -1: none is proved. */
static int64_t least_bound(Ctx *ctx, const Expr *e) {
    for (int64_t n = 0; n <= REACH_MAX; n++)
        if (expr_proves(ctx, expr_le(ctx, e, expr_i(ctx, n))))
            return n;
    return -1;
}

/* How far index i of the load reaches beyond its dimension; false when unknown or too far to store. */
static bool index_reach(Ctx *ctx, const Def *d, const Expr *load, int i, Halo *h) {
    const Expr *last = expr_sub(ctx, load->u.buf->dim[i], expr_i(ctx, 1)), *lo, *hi;
    Sym *axis[RANK_MAX * 2];
    int64_t dim;
    if (expr_is_int(load->u.buf->dim[i], &dim)) {
        Range r = expr_range(ctx, load->kid[i]);
        if (r.min < -dim || r.max > 2 * dim + 1)
            return false;
        h->lo[i] = r.min < 0 ? -r.min : 0;
        h->hi[i] = r.max > dim - 1 ? r.max - dim + 1 : 0;
        return true;
    }
    for (int a = 0; a < d->naxis; a++)
        axis[a] = d->axis[a].var;
    if (!expr_extremes(ctx, load->kid[i], d->naxis, axis, &lo, &hi))
        return false;
    h->lo[i] = least_bound(ctx, expr_sub(ctx, expr_i(ctx, 0), lo));
    h->hi[i] = least_bound(ctx, expr_sub(ctx, hi, last));
    return h->lo[i] >= 0 && h->hi[i] >= 0;
}

static bool reach(Ctx *ctx, const Def *d, const Expr *load, Halo *h) {
    double before = 1, after = 1;
    for (int i = 0; i < load->nkid; i++) {
        int64_t dim;
        if (!index_reach(ctx, d, load, i, h))
            return false;
        double n = expr_is_int(load->u.buf->dim[i], &dim) ? (double)dim : SYMBOLIC;
        before *= n;
        after *= n + (double)(h->lo[i] + h->hi[i]);
    }
    return after <= GROWTH_MAX * before;
}

/* ---- copies of what cannot have a halo itself ------------------------------------------------ */

/* Puts k in front of the kernel `at`, or behind it. */
static bool insert_kernel(Ctx *ctx, Plan *plan, const Kernel *at, Kernel *k, bool behind) {
    for (int i = 0; i < plan->items.len; i++) {
        PlanItem *pi = &plan->items.at[i];
        if (pi->kernel == at) {
            PlanItem fresh = {NULL, k, {NULL, NULL}};
            vec_push(ctx, &plan->items, fresh);
            for (int j = plan->items.len - 1; j > i + behind; j--)
                plan->items.at[j] = plan->items.at[j - 1];
            plan->items.at[i + behind] = fresh;
            return true;
        }
        for (int b = 0; b < 2; b++)
            if (pi->body[b] && insert_kernel(ctx, pi->body[b], at, k, behind))
                return true;
    }
    return false;
}

/* Makes the kernel of one Def, a copy, and puts it beside the kernel `at`. */
static void add_copy(Layouts *l, const Kernel *at, Def *d, bool behind) {
    Ctx *ctx = l->lo->ctx;
    Kernel *k = ctx_new(ctx, Kernel);
    d->origin = kernel_root(at)->origin;
    vec_push(ctx, &k->defs, d);
    kernel_normalise(ctx, k);
    kernel_close(ctx, k);
    k->name = str_f(ctx, "k%02d_copy", l->lo->nkernel++);
    if (!insert_kernel(ctx, l->lo->plan, at, k, behind))
        internal_error(ctx, "kernel %s is not in the plan", at->name);
    vec_push(ctx, &l->lo->module->kernels, k);
    map_put(l->writer, d->buf, k);
}

static void close_again(Ctx *ctx, Kernel *k) {
    k->ins.len = k->outs.len = k->temps.len = k->syms.len = k->nodes.len = 0;
    kernel_close(ctx, k);
}

/* d's value: b, element by element. */
static void set_copied(Ctx *ctx, Def *d, Buf *b) {
    const Expr *index[RANK_MAX];
    for (int i = 0; i < b->rank; i++)
        index[i] = def_var(ctx, d, i);
    d->value = buf_load(ctx, b, index);
}

static const Expr *reload(Ctx *ctx, const Expr *e, void *data) {
    Buf *const *pair = data;
    return e->op == OP_LOAD && e->u.buf == pair[0] ? buf_load(ctx, pair[1], e->kid) : e;
}

static void reread(Ctx *ctx, Kernel *k, Buf *from, Buf *to) {
    Buf *pair[2] = {from, to};
    for (int i = 0; i < k->defs.len; i++)
        def_map(ctx, k->defs.at[i], reload, pair);
    close_again(ctx, k);
}

/* A kernel that copies b into the arena, in front of `reader`, which reads the copy. */
static Buf *copy_before(Layouts *l, Kernel *reader, Buf *b) {
    Ctx *ctx = l->lo->ctx;
    Def *d = def_new(ctx, str_f(ctx, "%s_in", b->name), type_dtype(b->type), b->rank, b->dim);
    set_copied(ctx, d, b);
    add_copy(l, reader, d, false);
    reread(ctx, reader, b, d->buf);
    return d->buf;
}

/* k writes into the arena, and a copy behind it what k wrote before: storage that cannot be chosen. */
static void copy_behind(Layouts *l, Kernel *k) {
    Ctx *ctx = l->lo->ctx;
    Def *root = kernel_root(k);
    Buf *out = root->buf;
    Def *d =
        def_new(ctx, str_f(ctx, "%s_out", out->name), type_dtype(out->type), out->rank, out->dim);
    root->buf = d->buf;
    root->buf->def = root;
    d->buf = out;
    out->def = d;
    set_copied(ctx, d, root->buf);
    close_again(ctx, k);
    map_put(l->writer, root->buf, k);
    add_copy(l, k, d, true);
}

/* ---- one kernel ------------------------------------------------------------------------------ */

/* How far apart neighbouring positions of a row lie in x, where there are enough for a vector; 0: unknown or too
 * few. */
static int64_t position_step(Ctx *ctx, const Roles *r, const Expr *x) {
    int last = r->acc->buf->rank - 1;
    Sym *position = r->acc->axis[last].var;
    const Expr *coef, *rest;
    int64_t n, step;
    bool known = expr_linear(ctx, x->kid[last], 1, &position, &coef, &rest) &&
                 expr_is_int(coef, &step) && expr_is_int(r->acc->buf->dim[last], &n);
    return known && n >= POSITIONS_MIN ? step : 0;
}

/* Behind rows of positions that are the lanes of a sum: room for the rest of the last vector, or of the narrower
 * one that holds it. */
static void round_row(const Layouts *l, const Kernel *k, const Def *d, const Expr *load,
                      Halo *need) {
    Ctx *ctx = l->lo->ctx;
    const Halo *out = halo_get(l, kernel_root(k)->buf);
    int last = load->nkid - 1, lanes = l->lo->machine->vec / 4;
    int64_t n, row;
    Roles r;
    kernel_roles(ctx, k, &r);
    if ((out && out->channels_last) || r.acc != d || r.n != d->buf->rank - 1 ||
        r.lanes_load != load || !expr_is_int(d->buf->dim[r.n], &n) ||
        !expr_is_int(load->u.buf->dim[last], &row))
        return;
    int64_t step = position_step(ctx, &r, load);
    for (int64_t v = lanes; v >= POSITIONS_MIN; v /= 2) {
        int64_t room = (v - n % v) % v * step;
        if ((double)room <= ROOM_MAX * (double)(row + need->lo[last] + need->hi[last])) {
            need->hi[last] += room;
            return;
        }
    }
}

static void give_halo(Layouts *l, Kernel *k) {
    Ctx *ctx = l->lo->ctx;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        const Expr *fill = NULL;
        const Expr *load =
            def_is_reduction(d) && !d->at && !d->scan ? border_window(l, d, &fill) : NULL;
        Halo need = {0};
        if (!load || !bufs_hold(k->ins.at, k->ins.len, load->u.buf) || !reach(ctx, d, load, &need))
            continue;
        round_row(l, k, d, load, &need);
        Buf *b = load->u.buf;
        const Halo *has = halo_get(l, b);
        bool copied =
            !is_free(l, b) || !may_grow(b, &need) || (has && has->padded && has->fill != fill);
        if (l->lo->min_ram && (copied || !rows_likely(l->lo, map_get(l->writer, b), k)))
            continue;
        if (copied) {
            Buf *copy = copy_before(l, k, b);
            if (has)
                halo_of(l, copy)->channels_last = has->channels_last;
            b = copy;
        }
        Halo *h = halo_of(l, b);
        h->fill = fill;
        h->padded = true;
        widen(h, &need, b->rank);
        d->when = NULL;
    }
}

/* ---- borders inside maps ---------------------------------------------------------------------- */

typedef struct MapBorder {
    const Layouts *l;
    const Def *d;
    Buf *buf; /* the first one that is read so */
    Halo need;
    int guarded;
    bool fits;
} MapBorder;

/* select(inside, x[…], 0), where `inside` bounds the indices: the load; else NULL. */
static const Expr *guarded_load(Ctx *ctx, const Expr *e) {
    if (e->op != OP_SELECT || e->kid[1]->op != OP_LOAD || e->type != T_F32 ||
        !expr_is(e->kid[2], 0) || e->kid[1]->u.buf->space == SPACE_CONST ||
        !terms_bound(ctx, e->kid[0], e->kid[1]))
        return NULL;
    return e->kid[1];
}

static void map_border(void *data, const Expr *e) {
    MapBorder *m = data;
    Halo need = {0};
    const Expr *load = guarded_load(m->l->lo->ctx, e);
    if (!load || (m->buf && m->buf != load->u.buf))
        return;
    m->buf = load->u.buf;
    m->guarded++;
    const Expr *lanes = def_var(m->l->lo->ctx, m->d, m->d->buf->rank - 1);
    m->fits &= reach(m->l->lo->ctx, m->d, load, &need) && load->nkid == 4 && load->kid[1] == lanes;
    widen(&m->need, &need, m->buf->rank);
}

static const Expr *unguarded(Ctx *ctx, const Expr *e, void *data) {
    const Expr *load = guarded_load(ctx, e);
    return load && load->u.buf == data ? load : e;
}

/* A map that reads a window of one buffer along vectors of its channels, each element with its own border: a
 * halo of zeros takes the place of all of them. */
static void map_halo(Layouts *l, Kernel *k) {
    Ctx *ctx = l->lo->ctx;
    Def *d = kernel_root(k);
    MapBorder m = {.l = l, .d = d, .fits = true};
    if (k->defs.len != 1 || d->at || d->scan || def_is_reduction(d) || d->buf->rank == 0)
        return;
    expr_walk(ctx, d->value, map_border, &m);
    if (m.guarded < GUARDS_MIN || !m.fits || m.buf->rank != 4 ||
        !bufs_hold(k->ins.at, k->ins.len, m.buf))
        return;
    Buf *b = m.buf;
    const Halo *has = halo_get(l, b);
    if (!is_free(l, b) || !may_grow(b, &m.need) || (has && has->padded && has->fill))
        b = copy_before(l, k, b);
    Halo *h = halo_of(l, b);
    h->channels_last = h->padded = true;
    widen(h, &m.need, b->rank);
    d->value = expr_map(ctx, d->value, unguarded, b);
}

typedef struct Along {
    const Layouts *l;
    const Def *d;
    int yes, no;
} Along;

static void along_node(void *data, const Expr *e) {
    Along *a = data;
    Ctx *ctx = a->l->lo->ctx;
    const Expr *coef, *rest;
    Sym *channel = a->d->axis[1].var;
    const Halo *h = e->op == OP_LOAD ? halo_get(a->l, e->u.buf) : NULL;
    if (e->op != OP_LOAD || e->u.buf->space == SPACE_CONST || !expr_uses_sym(e, channel))
        return;
    bool last = h && h->channels_last && e->kid[1]->op == OP_SYM && e->kid[1]->u.sym == channel;
    bool beside = expr_linear(ctx, buf_offset(ctx, e->u.buf, e->kid), 1, &channel, &coef, &rest) &&
                  expr_is(coef, 1);
    a->yes += expr_uses_sym(e, a->d->axis[2].var) || expr_uses_sym(e, a->d->axis[3].var);
    a->no += !last && !beside;
}

/* A map whose operands, or nearly all, lie side by side along its second dimension, one of them at every place. */
static bool map_along_channels(const Layouts *l, const Kernel *k) {
    const Def *d = kernel_root(k);
    Along a = {l, d, 0, 0};
    if (k->defs.len != 1 || d->at || d->scan || def_is_reduction(d) || d->buf->rank != 4 ||
        expr_is(d->buf->dim[1], 1))
        return false;
    expr_walk(l->lo->ctx, d->value, along_node, &a);
    return a.yes > 0 && a.no * FEW_ACROSS <= a.yes;
}

typedef struct Weights {
    const Def *d;
    bool found;
} Weights;

/* A constant that uses the second axis and no position behind it. */
static void find_weights(void *data, const Expr *e) {
    Weights *w = data;
    bool position = false;
    if (e->op != OP_LOAD || e->u.buf->space != SPACE_CONST)
        return;
    for (int i = 2; i < w->d->buf->rank; i++)
        position |= expr_uses_sym(e, w->d->axis[i].var);
    w->found |= !position && expr_uses_sym(e, w->d->axis[1].var);
}

/* Is the kernel's reduction over windows, or of weights by channels at every position? */
static bool is_convolution(Ctx *ctx, const Roles *r) {
    Weights w = {r->acc, false};
    int rank = r->root->buf->rank;
    if (!r->acc || rank < 3 || r->acc->buf->rank != rank ||
        (r->kind != CLASS_WINDOW && r->kind != CLASS_CONTRACTION))
        return false;
    expr_walk(ctx, r->acc->value, find_weights, &w);
    return r->kind == CLASS_WINDOW || w.found;
}

typedef struct Follow {
    const Layouts *l;
    const Def *d;
    bool found;
} Follow;

static void follow_node(void *data, const Expr *e) {
    Follow *f = data;
    const Halo *h = e->op == OP_LOAD ? halo_get(f->l, e->u.buf) : NULL;
    f->found |= h && h->channels_last && expr_uses_sym(e->kid[1], f->d->axis[1].var);
}

/* Are the channels of an operand the second dimension here too? They are not behind a transpose, whose rows lie
 * as they should in the order of the dimensions. */
static bool follows_channels(const Layouts *l, const Kernel *k) {
    Follow f = {l, NULL, false};
    for (int i = 0; i < k->defs.len; i++) {
        f.d = k->defs.at[i];
        if (def_nout(f.d) > 1)
            expr_walk(l->lo->ctx, f.d->value, follow_node, &f);
    }
    return f.found;
}

typedef struct Operand {
    const Expr *load;
    int loads;
} Operand;

static void operand_node(void *data, const Expr *e) {
    Operand *o = data;
    if (e->op != OP_LOAD || e->u.buf->space == SPACE_CONST)
        return;
    o->load = e;
    o->loads++;
}

/* A convolution in groups: what it reads of its operand depends on the channel of the output. NULL: it is none. */
static const Expr *group_operand(Ctx *ctx, const Roles *r) {
    Operand o = {NULL, 0};
    if (r->kind != CLASS_WINDOW || r->acc->buf->rank < 3 || r->acc->buf->rank != r->root->buf->rank)
        return NULL;
    expr_walk(ctx, r->acc->value, operand_node, &o);
    bool group = o.loads == 1 && o.load->nkid == r->acc->buf->rank &&
                 expr_uses_sym(o.load->kid[1], r->acc->axis[1].var);
    return group ? o.load : NULL;
}

/* What k reads gets that order; in a copy when it must, or cannot lie so itself. */
static void give_order(Layouts *l, Kernel *k, Buf *b, bool copied, bool channels_last) {
    if (copied || !is_free(l, b))
        b = copy_before(l, k, b);
    halo_of(l, b)->channels_last = channels_last;
}

/* A convolution in groups has channels side by side only when it is depthwise, with a vector of them (then copies
 * in that order pay: 672 channels of 7x7, kernel 5: 20 us; along positions 225). Else it does best along positions,
 * all in the order of the dimensions. False: not that. */
static bool prefer_positions(Layouts *l, Kernel *k, const Roles *r, const Expr *x) {
    Ctx *ctx = l->lo->ctx;
    Buf *b = x->u.buf;
    const Halo *h = halo_get(l, b);
    bool depthwise = x->kid[1]->op == OP_SYM, last = h && h->channels_last;
    if (!bufs_hold(k->ins.at, k->ins.len, b) || (depthwise && last))
        return false;
    int64_t channels = 0, step = position_step(ctx, r, x);
    bool known = depthwise && expr_is_int(b->dim[1], &channels);
    bool wide = known && channels * 4 >= l->lo->machine->vec;
    bool positions = b->type == T_F32 && !wide && (step == 1 || step == 2);
    if (positions ? !last : last || channels < CHANNELS_MIN)
        return positions;
    if (l->lo->min_ram && (last || !is_free(l, b)))
        return false;
    give_order(l, k, b, last, !last);
    return positions;
}

/* The load of a pooling over windows with a border, at vectors of channels. */
static const Expr *pooled_load(const Layouts *l, const Kernel *k, const Def *acc) {
    const Expr *x = acc && acc->when && acc->buf->rank == 4 ? acc->value : NULL;
    int64_t dim[4], high;
    bool fits = x && x->op == OP_LOAD && x->nkid == 4 && acc->naxis == 6 &&
                acc->buf->type == T_F32 && bufs_hold(k->ins.at, k->ins.len, x->u.buf) &&
                buf_dims(x->u.buf, dim) && dim[1] * 4 >= l->lo->machine->vec &&
                x->kid[1] == def_var(l->lo->ctx, acc, 1) &&
                (acc->combine != OP_ADD || !expr_is_int(acc->axis[4].var->extent, &high) ||
                 high >= WINDOW_MIN) &&
                expr_uses_sym(x->kid[2], acc->axis[4].var);
    return fits ? x : NULL;
}

/* The output of a convolution, or of a map along channels, and what follows from it do best with the channels
 * innermost. */
static void prefer_channels(Layouts *l, Kernel *k) {
    Roles r;
    kernel_roles(l->lo->ctx, k, &r);
    const Expr *x = group_operand(l->lo->ctx, &r);
    if (kernel_is_pixels(l->lo, k) || (x && prefer_positions(l, k, &r, x)))
        return;
    Buf *out = r.root->buf;
    int64_t channels;
    const Expr *pooled = !l->lo->min_ram ? pooled_load(l, k, r.acc) : NULL;
    bool starts = is_convolution(l->lo->ctx, &r) || map_along_channels(l, k) || pooled;
    if (out->rank < 3 || !expr_is_int(out->dim[1], &channels) || channels < CHANNELS_MIN ||
        !(starts || follows_channels(l, k)))
        return;
    if (!is_free(l, out)) {
        if (l->lo->min_ram || !starts || out->ndef != 1 || r.root->at || r.root->scan || out->bound)
            return;
        copy_behind(l, k);
        out = r.root->buf;
    }
    halo_of(l, out)->channels_last = true;
    if (pooled)
        give_order(l, k, pooled->u.buf, false, true);
}

/* A sum of products of 8-bit integers takes groups of two or four along the channels, or along the last dimension:
 * they lie side by side, with room for the last group. */
static void group_inputs(Layouts *l, Kernel *k) {
    Ctx *ctx = l->lo->ctx;
    Narrow8 n;
    const Def *d = NULL;
    for (int i = 0; i < k->defs.len && !d; i++)
        d = narrow_match(k->defs.at[i], &n) ? k->defs.at[i] : NULL;
    if (!d || !bufs_hold(k->ins.at, k->ins.len, n.x->u.buf) || n.x->u.buf->rank == 0)
        return;
    Buf *b = n.x->u.buf;
    Def *root = kernel_root(k);
    int64_t extent = 0, dim;
    bool free = is_free(l, b), channels = b->rank == 4 && n.x->kid[1]->op == OP_SYM &&
                                          expr_is_int(b->dim[1], &dim) && dim > 2;
    int g = channels ? 1 : b->rank - 1;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED && expr_uses_sym(n.x->kid[g], d->axis[i].var))
            expr_is_int(d->axis[i].var->extent, &extent);
    Range r = expr_range(ctx, n.x->kid[g]);
    if (!extent || !expr_is_int(b->dim[g], &dim) || r.max > 2 * dim)
        return;
    int64_t group = machine_group(l->lo->machine);
    int64_t room = r.max + (group - extent % group) % group - dim + 1;
    if (root->buf->rank == 4 && !root->at && root->buf->ndef == 1 &&
        expr_is_int(root->buf->dim[1], &dim) && dim >= 4) {
        if (!is_free(l, root->buf))
            copy_behind(l, k);
        halo_of(l, root->buf)->channels_last = true;
    }
    if (room <= 0 && !channels)
        return;
    if (!free)
        b = copy_before(l, k, b);
    Halo *h = halo_of(l, b);
    h->channels_last |= channels;
    h->hi[g] = room > h->hi[g] ? room : h->hi[g];
}

/* ---- rows apart ------------------------------------------------------------------------------ */

typedef struct Rows {
    Layouts *l;
    const Def *d; /* a contraction; NULL: any Def */
    Map *plain;   /* Buf → "no": some load of it is at more than axes */
    Map *wanted;  /* Buf → itself: its rows are in each other's way */
} Rows;

/* Rows of x that a tile of a product reads side by side, column by column. */
static void rows_node(void *data, const Expr *e) {
    Rows *r = data;
    Buf *b = e->u.buf;
    int64_t n, rows = 1, extent;
    if (e->op != OP_LOAD || e->nkid < 2)
        return;
    for (int i = 0; i < e->nkid; i++)
        if (e->kid[i]->op != OP_SYM && !expr_is_int(e->kid[i], NULL))
            map_put(r->plain, b, "no");
    const Expr *last = e->kid[e->nkid - 1];
    if (!r->d || last != def_var(r->l->lo->ctx, r->d, r->d->naxis - 1) || b->type != T_F32 ||
        !expr_is_int(b->dim[e->nkid - 1], &n) || n * 4 % SET_BYTES)
        return;
    for (int i = 0; i + 1 < e->nkid; i++)
        rows *=
            expr_is_int(b->dim[i], &extent) ? (extent < ROWS_MIN ? extent : ROWS_MIN) : ROWS_MIN;
    if (rows >= ROWS_MIN)
        map_put(r->wanted, b, b);
}

static void rows_exprs(void *data, const Expr *e) {
    expr_walk(((Rows *)data)->l->lo->ctx, e, rows_node, data);
}

/* Rows of a product's operand that lie a multiple of the cache's sets apart push each other out: one line more
 * behind each row.   x f32[128, 3072] where i*3088 + j */
static void spread_rows(Layouts *l) {
    const Module *m = l->lo->module;
    Rows r = {l, NULL, map_new(l->lo->ctx), map_new(l->lo->ctx)};
    for (int i = 0; i < m->kernels.len; i++)
        for (int j = 0; j < m->kernels.at[i]->defs.len; j++) {
            const Def *d = m->kernels.at[i]->defs.at[j];
            bool product = !d->at && !d->scan && def_is_contraction(l->lo->ctx, d);
            r.d = product ? d : NULL;
            def_exprs(d, rows_exprs, &r);
        }
    for (int i = 0; i < m->kernels.len; i++) {
        Buf *b = kernel_root(m->kernels.at[i])->buf;
        if (map_get(r.wanted, b) && !map_get(r.plain, b) && is_free(l, b) && !b->whole &&
            !b->parts.len && !halo_get(l, b))
            halo_of(l, b)->room = LINE;
    }
}

/* ---- storage --------------------------------------------------------------------------------- */

void buf_store_in(Ctx *ctx, Buf *b, bool channels_last, const int64_t *before,
                  const int64_t *behind, int64_t room) {
    const Expr *stride = expr_i(ctx, 1), *at = expr_i(ctx, 0);
    b->dimvar = ctx_newn(ctx, Sym *, b->rank);
    for (int i = 0; i < b->rank; i++)
        b->dimvar[i] = sym_axis(ctx, str(ctx, "i"), b->dim[i]);
    for (int i = b->rank; i-- > 0; room = 0) {
        int d = !channels_last || i == 0 ? i : i == b->rank - 1 ? 1 : i + 1;
        const Expr *v = expr_add(ctx, expr_sym(ctx, b->dimvar[d]), expr_i(ctx, before[d]));
        at = expr_add(ctx, at, expr_mul(ctx, v, stride));
        const Expr *row = expr_add(ctx, b->dim[d], expr_i(ctx, before[d] + behind[d] + room));
        stride = expr_mul(ctx, stride, row);
    }
    b->where = at;
    b->size = stride;
}

static void set_where(Ctx *ctx, Buf *b, const Halo *h) {
    bool padded = false;
    buf_store_in(ctx, b, h->channels_last, h->lo, h->hi, h->room);
    for (int i = 0; i < b->rank; i++)
        padded |= h->lo[i] + h->hi[i] > 0;
    b->fill = !padded ? NULL : h->fill ? h->fill : expr_const(ctx, type_dtype(b->type), 0);
    if (!padded)
        return;
    b->halo = ctx_newn(ctx, int64_t, 2 * b->rank);
    memcpy(b->halo, h->lo, (size_t)b->rank * sizeof *b->halo);
    memcpy(b->halo + b->rank, h->hi, (size_t)b->rank * sizeof *b->halo);
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* May b be where its parts are, or its whole is? Groups of 8-bit channels may not end where a part does. */
static bool may_join(const Layouts *l, const Buf *b) {
    return is_free(l, b) &&
           !(machine_group(l->lo->machine) && type_bytes(type_dtype(b->type)) == 1);
}

/* Parts that are not free to lie there are copied after all, and so are the others. */
static void keep_slots(const Layouts *l, Buf *whole) {
    bool ok = may_join(l, whole);
    for (int i = 0; i < whole->parts.len; i++)
        ok &= may_join(l, whole->parts.at[i]);
    for (int i = 0; i < whole->parts.len && !ok; i++)
        whole->parts.at[i]->whole = NULL;
    whole->parts.len = ok ? whole->parts.len : 0;
}

/* Each part surrounds itself with what the whole has around it there. */
static void set_slots(Ctx *ctx, Buf *whole) {
    for (int i = 0; i < whole->parts.len; i++) {
        Buf *b = whole->parts.at[i];
        const Expr *index[RANK_MAX];
        int a = whole->along;
        b->dimvar = ctx_newn(ctx, Sym *, b->rank);
        for (int j = 0; j < b->rank; j++) {
            b->dimvar[j] = sym_axis(ctx, str(ctx, "i"), b->dim[j]);
            index[j] = expr_sym(ctx, b->dimvar[j]);
        }
        index[a] = expr_add(ctx, index[a], b->start);
        b->where = buf_offset(ctx, whole, index);
        b->size = whole->size ? whole->size : buf_count(ctx, whole);
        b->fill = whole->fill;
        if (whole->halo) {
            b->halo = ctx_newn(ctx, int64_t, 2 * b->rank);
            memcpy(b->halo, whole->halo, 2 * (size_t)b->rank * sizeof *b->halo);
            b->halo[a] = i == 0 ? whole->halo[a] : 0;
            b->halo[b->rank + a] = i == whole->parts.len - 1 ? whole->halo[b->rank + a] : 0;
        }
        set_slots(ctx, b);
    }
}

static void choose_orders(Layouts *l) {
    Ctx *ctx = l->lo->ctx;
    const Module *m = l->lo->module;
    int n = m->kernels.len;
    for (int i = 0; i < n; i++)
        prefer_channels(l, m->kernels.at[i]);
    for (int i = 0; i < n && machine_group(l->lo->machine) && !l->lo->min_ram; i++)
        group_inputs(l, m->kernels.at[i]);
    for (int i = 0; i < m->kernels.len; i++)
        give_halo(l, m->kernels.at[i]);
    for (int i = 0; i < m->kernels.len && !l->lo->min_ram; i++)
        map_halo(l, m->kernels.at[i]);
    spread_rows(l);
    for (int i = 0; i < m->kernels.len; i++) {
        Buf *b = kernel_root(m->kernels.at[i])->buf;
        const Halo *h = map_get(l->halos, b);
        if (h)
            set_where(ctx, b, h);
    }
}

/* ---- order of sums ---------------------------------------------------------------------------- */

typedef struct Beside {
    Ctx *ctx;
    const Def *d;
    int axis; /* RED, along which a load that is no constant has its numbers side by side; -1: none */
} Beside;

static void beside_node(void *data, const Expr *e) {
    Beside *b = data;
    const Expr *coef, *rest;
    if (e->op != OP_LOAD || e->u.buf->space == SPACE_CONST)
        return;
    for (int i = 0; i < b->d->naxis; i++) {
        Sym *v = b->d->axis[i].var;
        if (b->d->axis[i].kind == AXIS_RED &&
            expr_linear(b->ctx, buf_offset(b->ctx, e->u.buf, e->kid), 1, &v, &coef, &rest) &&
            expr_is(coef, 1))
            b->axis = i;
    }
}

/* A sum over windows runs along the channels innermost when they lie side by side: all positions of a window at
 * once would be as many cache lines a row, and these often share a set. Reorders. */
static void order_sum(Ctx *ctx, Def *d) {
    Beside b = {ctx, d, -1};
    if (!def_is_contraction(ctx, d) || d->at || d->scan || d->buf->type != T_F32)
        return;
    expr_walk(ctx, d->value, beside_node, &b);
    for (int i = b.axis; i >= 0 && i + 1 < d->naxis; i++) {
        Axis a = d->axis[i];
        d->axis[i] = d->axis[i + 1];
        d->axis[i + 1] = a;
    }
}

bool layout_choose(Lower *lo) {
    Ctx *ctx = lo->ctx;
    Layouts l = {lo, map_new(ctx), map_new(ctx), map_new(ctx)};
    if (lo->o0 || (lo->min_ram && lo->rule))
        return true;
    block_walk(lo->prog->main, note_calls, &l);
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Kernel *k = lo->module->kernels.at[i];
        for (int o = 0; o < k->outs.len; o++)
            map_put(l.writer, k->outs.at[o], k);
    }
    for (int i = 0; i < lo->module->kernels.len; i++)
        keep_slots(&l, kernel_root(lo->module->kernels.at[i])->buf);
    if (lo->machine->vec > 0)
        choose_orders(&l);
    for (int i = 0; i < lo->module->kernels.len; i++) {
        Buf *b = kernel_root(lo->module->kernels.at[i])->buf;
        if (!b->whole)
            set_slots(ctx, b);
        if (lo->machine->vec > 0)
            layout_temps(ctx, lo->module->kernels.at[i]);
    }
    for (int i = 0; i < lo->module->kernels.len && lo->machine->vec > 0 && !lo->strict; i++)
        for (int j = 0; j < lo->module->kernels.at[i]->defs.len; j++)
            order_sum(ctx, lo->module->kernels.at[i]->defs.at[j]);
    return true;
}

/* ---- the halo's contents --------------------------------------------------------------------- */

/* Loops that write b's fill to every stored element outside its logical box; flat indices. */
Stmt *loop_border(Ctx *ctx, Buf *b) {
    const int64_t *lo = b->halo, *hi = b->halo + b->rank;
    int inner = buf_inner_axis(ctx, b) < 0 ? b->rank - 1 : buf_inner_axis(ctx, b);
    Stmt *all = NULL;
    for (int d = 0; d < b->rank; d++)
        for (int side = 0; side < 2; side++) {
            int64_t width = side ? hi[d] : lo[d];
            const Expr *index[RANK_MAX];
            Sym *var[RANK_MAX];
            if (width == 0)
                continue;
            for (int i = 0; i < b->rank; i++) {
                int64_t around = i < d ? 0 : lo[i] + hi[i]; /* the boxes are apart */
                const Expr *whole = expr_add(ctx, b->dim[i], expr_i(ctx, around));
                const Expr *start = i == d && side ? b->dim[d] : expr_i(ctx, i < d ? 0 : -lo[i]);
                var[i] = sym_axis(ctx, str(ctx, "h"), i == d ? expr_i(ctx, width) : whole);
                index[i] = expr_add(ctx, expr_sym(ctx, var[i]), start);
            }
            const Expr *at = buf_offset(ctx, b, index);
            Stmt *s = stmt_store(ctx, b, 1, &at, b->fill);
            for (int i = b->rank; i >= 0; i--) { /* along the storage innermost */
                Sym *v = i == b->rank ? var[inner] : i == inner ? NULL : var[i];
                s = v ? stmt_for(ctx, v, v->extent, v->name, NULL, s) : s;
            }
            all = stmt_join(all, s);
        }
    return all;
}
