/* A sum of products whose outputs take turns by their place (a transposed convolution with a stride: output p meets
 * weights p % s and input p // s) becomes one over whole steps, with the phases as further channels, and a map
 * that puts them in order: no weight depends on the place any more. Exact.
 * Precondition: graph_ports; graph_fold folds the weights.
 *
 *   before  y f32[1,8,6,6] { n, m, p, q } = add(c) x[n, c, p//2, q//2] * w[c, m, p%2, q%2]
 *   after   v f32[32,4] { m, c } = w[c, m%8, m//16, m//8%2]
 *           z f32[1,32,3,3] { n, m, p, q } = add(c) x[n, c, p, q] * v[m, c]
 *           y f32[1,8,6,6] { n, m, p, q } = z[n, m + p%2*16 + q%2*8, p//2, q//2]
 *
 * Where phases sum up different numbers of products (a window that is no multiple of the stride), each gets a sum
 * of its own, and the map takes them in turns. */
#include "lower/uses.h"

#include <string.h>

#define CHANNELS_MAX 65536 /* with the phases */
#define EACH_MAX 16        /* phases that get sums of their own */

/* Of one output axis: it is read as (axis + head) // step and % step only; step 0: as it is. */
typedef struct Turn {
    int64_t head, step;
    const Expr *whole, *part; /* stand for these two */
} Turn;

typedef struct Phases {
    Ctx *ctx;
    Def *d;
    const Expr *x, *w; /* LOADs of the product, w of a constant */
    const Sym *axis;   /* the one looked at, and its turn */
    Turn *now;
    bool ok;
    Turn turn[RANK_MAX];
    int64_t channels, phases, group; /* channels of a group: those that read the same ones */
    bool each;                       /* only the phase at[] is looked at, not all as channels */
    int64_t at[RANK_MAX];
    const Expr *when;                 /* d's, for that phase */
    const Expr *extent[RANK_MAX * 2]; /* of d's axes that are summed, in what is looked at */
} Phases;

/* Is e a // or % of the axis by a number? */
static bool takes_turns(const Phases *ph, const Expr *e, int64_t *head, int64_t *step) {
    const Expr *coef, *rest;
    Sym *var = (Sym *)(uintptr_t)ph->axis;
    return (e->op == OP_FDIV || e->op == OP_MOD) && expr_is_int(e->kid[1], step) && *step > 1 &&
           expr_uses_sym(e->kid[0], var) &&
           expr_linear(ph->ctx, e->kid[0], 1, &var, &coef, &rest) && expr_is(coef, 1) &&
           expr_is_int(rest, head) && *head >= 0;
}

static void find_turn(void *data, const Expr *e) {
    Phases *ph = data;
    int64_t head, step;
    if (!takes_turns(ph, e, &head, &step))
        return;
    ph->ok &= ph->now->step == 0 || (ph->now->step == step && ph->now->head == head);
    ph->now->step = step;
    ph->now->head = head;
}

static const Expr *replace_turn(Ctx *ctx, const Expr *e, void *data) {
    const Phases *ph = data;
    int64_t head, step;
    (void)ctx;
    return !takes_turns(ph, e, &head, &step) ? e
           : e->op == OP_FDIV                ? ph->now->whole
                                             : ph->now->part;
}

static const Expr *in_turns(Phases *ph, const Expr *e) {
    for (int i = 2; e && i < ph->d->buf->rank; i++) {
        ph->axis = ph->d->axis[i].var;
        ph->now = &ph->turn[i];
        if (!ph->now->step)
            continue;
        e = expr_map(ph->ctx, e, replace_turn, ph);
        ph->ok &= !expr_uses_sym(e, ph->axis);
    }
    return e;
}

typedef struct Grouped {
    const Sym *channel;
    int64_t of; /* 0: not seen yet */
    bool ok;
} Grouped;

static void find_group(void *data, const Expr *e) {
    Grouped *g = data;
    int64_t of;
    bool divided = e->op == OP_FDIV && e->kid[0]->op == OP_SYM && e->kid[0]->u.sym == g->channel &&
                   expr_is_int(e->kid[1], &of);
    if (!divided)
        return;
    g->ok &= g->of == 0 || g->of == of;
    g->of = of;
}

/* Which channels does the input depend on? All read the same, those of a group (m // 8), or each its own. */
static bool match_group(Phases *ph) {
    Grouped g = {ph->d->axis[1].var, 0, true};
    ph->group = ph->channels;
    if (!expr_uses_sym(ph->x, g.channel))
        return true;
    if (ph->x->nkid > 1 && ph->x->kid[1]->op == OP_SYM)
        g.of = 1;
    else
        expr_walk(ph->ctx, ph->x, find_group, &g);
    ph->group = g.of;
    return g.ok && g.of > 0 && ph->channels % g.of == 0;
}

/* Fills turn[], channels, phases, group, x and w. */
static bool match_phases(Phases *ph) {
    const Def *d = ph->d;
    int64_t n;
    if (d->at || d->scan || d->combine != OP_ADD || !def_is_reduction(d) || d->buf->ndef != 1 ||
        d->buf->type != T_F32 || d->buf->rank < 3 || d->value->op != OP_MUL ||
        (d->init && !expr_is(d->init, 0)) || !expr_is_int(d->buf->dim[1], &ph->channels))
        return false;
    for (int i = 0; i < 2; i++)
        if (d->value->kid[i]->op != OP_LOAD)
            return false;
        else if (d->value->kid[i]->u.buf->space == SPACE_CONST)
            ph->w = d->value->kid[i];
        else
            ph->x = d->value->kid[i];
    for (int i = d->buf->rank; i < d->naxis; i++)
        if (d->axis[i].ways > 1 || !expr_is_int(ph->extent[i] = d->axis[i].var->extent, &n))
            return false;
    ph->phases = 1;
    ph->ok = ph->x && ph->w && match_group(ph);
    for (int i = 2; i < d->buf->rank && ph->ok; i++) {
        Turn *t = ph->now = &ph->turn[i];
        ph->axis = d->axis[i].var;
        expr_walk(ph->ctx, d->value, find_turn, ph);
        t->whole = expr_sym(ph->ctx, sym_axis(ph->ctx, str(ph->ctx, "w"), d->buf->dim[i]));
        t->part = expr_sym(ph->ctx, sym_axis(ph->ctx, str(ph->ctx, "t"), expr_i(ph->ctx, t->step)));
        if (t->step && !mul_ok(ph->phases, t->step, &ph->phases))
            return false;
    }
    return ph->ok && ph->phases > 1 && mul_ok(ph->phases, ph->channels, &n) && n > 0 &&
           n <= CHANNELS_MAX;
}

/* What d's axes and the stand-ins of its turns are, over the axes of one of the new Defs. */
typedef struct Names {
    Sym *from[RANK_MAX * 5];
    const Expr *to[RANK_MAX * 5];
    int n;
} Names;

static void name_as(Names *s, const Expr *from, const Expr *to) {
    s->from[s->n] = from->u.sym;
    s->to[s->n++] = to;
}

static const Expr *renamed(Phases *ph, const Expr *e, const Names *s) {
    return e ? expr_subst(ph->ctx, in_turns(ph, e), s->n, s->from, s->to) : NULL;
}

/* m and the parts of all turns, from the channel with its phase: a group's channels of one phase, of the next, …,
 * the next group's. */
static void name_channels(const Phases *ph, Names *s, const Expr *m) {
    Ctx *ctx = ph->ctx;
    if (ph->each) {
        name_as(s, def_var(ctx, ph->d, 1), m);
        for (int i = 2; i < ph->d->buf->rank; i++)
            if (ph->turn[i].step)
                name_as(s, ph->turn[i].part, expr_i(ctx, ph->at[i]));
        return;
    }
    const Expr *group = expr_i(ctx, ph->group), *all = expr_i(ctx, ph->group * ph->phases);
    const Expr *phase = expr_fdiv(ctx, expr_mod(ctx, m, all), group);
    const Expr *first = expr_mul(ctx, expr_fdiv(ctx, m, all), group);
    name_as(s, def_var(ctx, ph->d, 1), expr_add(ctx, first, expr_mod(ctx, m, group)));
    for (int i = ph->d->buf->rank - 1; i >= 2; i--) {
        const Expr *step = expr_i(ctx, ph->turn[i].step);
        if (!ph->turn[i].step)
            continue;
        name_as(s, ph->turn[i].part, expr_mod(ctx, phase, step));
        phase = expr_fdiv(ctx, phase, step);
    }
}

/* The weights by channel with phase and by the summed axes; NULL when they need a place besides. */
static Def *sort_weights(Phases *ph) {
    Ctx *ctx = ph->ctx;
    const Def *d = ph->d;
    const Expr *dim[RANK_MAX];
    Names s = {.n = 0};
    int rank = d->buf->rank, n = d->naxis - rank + 1;
    if (n > RANK_MAX)
        return NULL;
    dim[0] = expr_i(ctx, ph->each ? ph->channels : ph->channels * ph->phases);
    for (int i = 1; i < n; i++)
        dim[i] = ph->extent[rank + i - 1];
    Def *v = def_beside(ph->ctx, ph->d, ".weights", T_F32, n, dim);
    for (int i = 1; i < n; i++)
        name_as(&s, def_var(ctx, d, rank + i - 1), def_var(ctx, v, i));
    name_channels(ph, &s, def_var(ctx, v, 0));
    v->value = renamed(ph, ph->w, &s);
    for (int i = 0; i < rank; i++)
        ph->ok &= !expr_uses_sym(v->value, d->axis[i].var) &&
                  !(ph->turn[i].step && expr_uses_sym(v->value, ph->turn[i].whole->u.sym));
    return ph->ok ? v : NULL;
}

/* The sum over whole steps. */
static Def *sum_steps(Phases *ph, const Def *v) {
    Ctx *ctx = ph->ctx;
    const Def *d = ph->d;
    const Expr *dim[RANK_MAX], *at[RANK_MAX];
    Names s = {.n = 0};
    int rank = d->buf->rank;
    memcpy(dim, d->buf->dim, (size_t)rank * sizeof *dim);
    dim[1] = v->buf->dim[0];
    for (int i = 2; i < rank; i++) {
        const Turn *t = &ph->turn[i];
        int64_t first = ph->each ? ph->at[i] : 0;
        const Expr *last = expr_add(ctx, dim[i], expr_i(ctx, t->head - 1 - first));
        if (t->step)
            dim[i] = expr_add(ctx, expr_fdiv(ctx, last, expr_i(ctx, t->step)), expr_i(ctx, 1));
    }
    Def *z = def_beside(ph->ctx, ph->d, ".phases", T_F32, rank, dim);
    z->combine = OP_ADD;
    name_channels(ph, &s, def_var(ctx, z, 1));
    for (int i = 0; i < rank; i++)
        if (i != 1)
            name_as(&s, ph->turn[i].step ? ph->turn[i].whole : def_var(ctx, d, i),
                    def_var(ctx, z, i));
    at[0] = def_var(ctx, z, 1);
    for (int i = rank; i < d->naxis; i++) {
        const Sym *red = d->axis[i].var;
        at[i - rank + 1] = def_axis(ctx, z, red->name, AXIS_RED, ph->extent[i]);
        name_as(&s, def_var(ctx, d, i), at[i - rank + 1]);
    }
    const Expr *x = renamed(ph, ph->x, &s), *w = buf_load(ctx, v->buf, at);
    const Expr *when = ph->each ? ph->when : d->when;
    z->when = renamed(ph, when, &s);
    if (z->when && expr_proves(ctx, z->when))
        z->when = NULL;
    z->value = d->value->kid[0] == ph->x ? expr_mul(ctx, x, w) : expr_mul(ctx, w, x);
    bool shared = !ph->each && ph->group == ph->channels;
    ph->ok &= !(shared && expr_uses_sym(x, z->axis[1].var)) &&
              !(z->when && expr_uses_sym(z->when, z->axis[1].var));
    return ph->ok ? z : NULL;
}

static void make_map(Def *d, const Expr *value) {
    d->value = value;
    d->naxis = d->buf->rank;
    d->combine = COMBINE_SET;
    d->init = d->when = NULL;
}

/* d puts the phases in order. */
static void order_phases(const Phases *ph, const Def *z) {
    Ctx *ctx = ph->ctx;
    Def *d = ph->d;
    const Expr *at[RANK_MAX], *phase = expr_i(ctx, 0);
    for (int i = 0; i < d->buf->rank; i++) {
        const Turn *t = &ph->turn[i];
        const Expr *step = expr_i(ctx, t->step);
        const Expr *p = expr_add(ctx, def_var(ctx, d, i), expr_i(ctx, t->head));
        at[i] = t->step ? expr_fdiv(ctx, p, step) : p;
        if (t->step)
            phase = expr_add(ctx, expr_mul(ctx, phase, step), expr_mod(ctx, p, step));
    }
    const Expr *group = expr_i(ctx, ph->group), *m = def_var(ctx, d, 1);
    const Expr *first =
        expr_mul(ctx, expr_fdiv(ctx, m, group), expr_i(ctx, ph->group * ph->phases));
    at[1] =
        expr_add(ctx, expr_add(ctx, first, expr_mul(ctx, phase, group)), expr_mod(ctx, m, group));
    make_map(d, buf_load(ctx, z->buf, at));
}

/* ---- a sum for each phase -------------------------------------------------------------------------- */

/* Does the predicate differ between phases? */
static bool phases_differ(Phases *ph) {
    const Expr *when = ph->d->when ? in_turns(ph, ph->d->when) : NULL;
    for (int i = 2; when && i < ph->d->buf->rank; i++)
        if (ph->turn[i].step && expr_uses_sym(when, ph->turn[i].part->u.sym))
            return true;
    return false;
}

/* A term that holds for the first elements of one summed axis, whatever the others are, shortens it. */
static bool shorten_by(Phases *ph, const Expr *term) {
    for (int a = ph->d->buf->rank; a < ph->d->naxis; a++) {
        int64_t extent, holds, n = 0;
        Sym *var = ph->d->axis[a].var;
        bool fits = expr_uses_sym(term, var) && expr_is_int(ph->extent[a], &extent);
        for (int64_t i = 0; i < extent && fits; i++) {
            const Expr *to = expr_i(ph->ctx, i);
            fits = expr_is_int(expr_simplify(ph->ctx, expr_subst(ph->ctx, term, 1, &var, &to)),
                               &holds);
            fits &= !holds || n == i;
            n += fits && holds;
        }
        if (fits) {
            ph->extent[a] = expr_i(ph->ctx, n);
            return true;
        }
    }
    return false;
}

/* What is left of the predicate. */
static const Expr *shorten(Phases *ph, const Expr *when) {
    if (!when || when->op != OP_AND)
        return !when || shorten_by(ph, when) ? NULL : when;
    const Expr *left = shorten(ph, when->kid[0]), *right = shorten(ph, when->kid[1]);
    return !left ? right : right ? expr_and(ph->ctx, left, right) : left;
}

/* Fills at, when and extent for one phase. */
static void look_at_phase(Phases *ph, int64_t phase) {
    Names s = {.n = 0};
    for (int a = ph->d->buf->rank; a < ph->d->naxis; a++)
        ph->extent[a] = ph->d->axis[a].var->extent;
    for (int i = ph->d->buf->rank - 1; i >= 2; i--)
        if (ph->turn[i].step) {
            ph->at[i] = phase % ph->turn[i].step;
            phase /= ph->turn[i].step;
            name_as(&s, ph->turn[i].part, expr_i(ph->ctx, ph->at[i]));
        }
    const Expr *when = ph->d->when ? in_turns(ph, ph->d->when) : NULL;
    ph->when = when ? expr_subst(ph->ctx, when, s.n, s.from, s.to) : NULL;
    ph->when = shorten(ph, ph->when ? expr_simplify(ph->ctx, ph->when) : NULL);
}

/* The phase's sum where d asks for it; the condition that it does is added to *is. */
static const Expr *take_phase(const Phases *ph, const Def *z, const Expr **is) {
    Ctx *ctx = ph->ctx;
    const Expr *at[RANK_MAX];
    for (int i = 0; i < ph->d->buf->rank; i++) {
        const Turn *t = &ph->turn[i];
        const Expr *step = expr_i(ctx, t->step);
        const Expr *p = expr_add(ctx, def_var(ctx, ph->d, i), expr_i(ctx, t->head));
        at[i] = t->step ? expr_fdiv(ctx, p, step) : p;
        if (t->step)
            *is = expr_and(ctx, *is, expr_eq(ctx, expr_mod(ctx, p, step), expr_i(ctx, ph->at[i])));
    }
    return z ? buf_load(ctx, z->buf, at) : expr_const(ctx, T_F32, 0);
}

/* Sums for all phases and d, the map that takes them in turns; false: nothing changed. */
static bool split_phases(Phases *ph, Block *b, int *at) {
    Def *v[EACH_MAX], *z[EACH_MAX];
    const Expr *value = NULL;
    ph->each = true;
    for (int64_t i = ph->phases; i-- > 0;) {
        const Expr *is = NULL;
        look_at_phase(ph, i);
        bool none = ph->when && expr_is(ph->when, 0);
        for (int a = ph->d->buf->rank; a < ph->d->naxis; a++)
            none |= expr_is(ph->extent[a], 0);
        v[i] = none ? NULL : sort_weights(ph);
        z[i] = v[i] ? sum_steps(ph, v[i]) : NULL;
        if (!none && !z[i])
            return false;
        const Expr *taken = take_phase(ph, z[i], &is);
        value = value ? expr_select(ph->ctx, is, taken, value) : taken;
    }
    for (int64_t i = 0; i < ph->phases; i++)
        if (z[i]) {
            block_insert(ph->ctx, b, (*at)++, v[i]);
            block_insert(ph->ctx, b, (*at)++, z[i]);
        }
    make_map(ph->d, value);
    return true;
}

static void phases_block(Ctx *ctx, Block *b) {
    for (int i = 0; i < b->items.len; i++) {
        Item *it = b->items.at[i];
        for (int k = 0; k < 2; k++)
            if (it->body[k])
                phases_block(ctx, it->body[k]);
        Phases ph = {.ctx = ctx, .d = it->def};
        if (it->kind != ITEM_DEF || !match_phases(&ph))
            continue;
        if (ph.phases <= EACH_MAX && phases_differ(&ph)) {
            split_phases(&ph, b, &i);
            continue;
        }
        Def *v = sort_weights(&ph);
        Def *z = v ? sum_steps(&ph, v) : NULL;
        if (!z)
            continue;
        order_phases(&ph, z);
        block_insert(ctx, b, i++, v);
        block_insert(ctx, b, i++, z);
    }
}

bool graph_phases(Lower *lo) {
    if (lo->machine->vec > 0 && !lo->o0)
        phases_block(lo->ctx, lo->prog->main);
    return true;
}
