/* def_rnn.c — RNN, GRU, LSTM: the input's share of the gates as one contraction over all steps, then a scan
 * group over time for each direction, then views of its states.
 *
 *   GRU(x f32[T,N,I], w, r), linear_before_reset  →  xw[t,n,g] = add(i) x[t,n,i] * w[0,g,i]
 *     scan t<T { prev[t,n,j] = select(t == 0, h0[n,j], h[t-1,n,j])
 *                hr[t,n,g] = add(k) prev[t,n,k] * r[0,g,k] ; h[t,n,j] = … }
 *     Y[t,0,n,j] = h[t,n,j] ; Y_h[0,n,j] = h[T-1,n,j]
 * Steps of a reversed direction run from the end; those past a sequence's length are computed and not used. */
#include "frontend/equation.h"

#include <string.h>

typedef enum Cell { CELL_RNN, CELL_GRU, CELL_LSTM } Cell;

/* An activation: text over x, a (alpha), b (beta); what it takes and their defaults. */
typedef struct Activation {
    const char *name, *text;
    int takes;
    double alpha, beta;
} Activation;

static const Activation ACTIVATIONS[] = {
    {"Sigmoid", "sigmoid(x)", 0, 0, 0},
    {"Tanh", "tanh(x)", 0, 0, 0},
    {"Relu", "max(x, 0)", 0, 0, 0},
    {"Affine", "a * x + b", 2, 1, 0},
    {"LeakyRelu", "select(x < 0, a * x, x)", 1, 0.01, 0},
    {"ThresholdedRelu", "select(x < a, 0, x)", 1, 1, 0},
    {"ScaledTanh", "a * tanh(b * x)", 2, 1, 1},
    {"HardSigmoid", "max(0, min(1, a * x + b))", 2, 0.2, 0.5},
    {"Elu", "select(x < 0, a * expm1(x), x)", 1, 1, 0},
    {"Softsign", "x / (1 + abs(x))", 0, 0, 0},
    {"Softplus", "max(x, 0) + log1p(exp(-abs(x)))", 0, 0, 0},
};

typedef struct Act {
    const Activation *kind;
    double alpha, beta;
} Act;

typedef struct Rnn {
    Cell cell;
    int gates, nact, ndir;
    bool layout, reverse[2];
    Dtype type, wide;
    Buf *x, *w, *r, *bias, *lens, *h0, *c0, *peep;
    const Expr *steps, *batch, *hidden;
    double clip; /* 0: none */
    Act act[6];
} Rnn;

/* One direction being defined. */
typedef struct Dir {
    const Rnn *r;
    int dir;
    Buf *x; /* gates' share of the input, biases added: [T, N, gates * hidden] */
    Group *group;
    Buf *h, *c; /* states: [T, N, hidden] */
} Dir;

/* ---- attributes -------------------------------------------------------------------------------------- */

static const Activation *activation_named(Definer *d, const char *name, size_t len) {
    for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; i++)
        if (strlen(ACTIVATIONS[i].name) == len && !memcmp(ACTIVATIONS[i].name, name, len))
            return &ACTIVATIONS[i];
    define_error(d, EXIT_UNSUPPORTED, "the activation '%s' is not known", str_n(d->ctx, name, len));
    return NULL;
}

/* Alphas and betas are used up in order by the activations that take them. */
static bool read_activations(Definer *d, Rnn *r) {
    static const char *const usual[3][3] = {
        {"Tanh"}, {"Sigmoid", "Tanh"}, {"Sigmoid", "Tanh", "Tanh"}};
    const Attr *a = node_attr(d->node, "activations");
    int nalpha, nbeta, ia = 0, ib = 0, count = r->nact * r->ndir;
    const double *alpha = node_floats(d->node, "activation_alpha", &nalpha);
    const double *beta = node_floats(d->node, "activation_beta", &nbeta);
    if (a && (a->kind != ATTR_STRINGS || a->n != count))
        return define_error(d, EXIT_MALFORMED, "activations has to name %d functions", count);
    for (int i = 0; i < count; i++) {
        const char *name = a ? a->strings[i].at : usual[r->cell][i % r->nact];
        const Activation *k =
            activation_named(d, name, a ? (size_t)a->strings[i].len : strlen(name));
        if (!k)
            return false;
        r->act[i] = (Act){k, k->alpha, k->beta};
        if (k->takes > 0 && ia < nalpha)
            r->act[i].alpha = alpha[ia++];
        if (k->takes > 1 && ib < nbeta)
            r->act[i].beta = beta[ib++];
    }
    return true;
}

static bool read_direction(Definer *d, Rnn *r) {
    bool both = eq_word(d, "direction", "forward", "bidirectional");
    bool back = eq_word(d, "direction", "forward", "reverse");
    if (!both && !back && !eq_word(d, "direction", "forward", "forward"))
        return define_error(d, EXIT_MALFORMED, "direction has an unknown value");
    r->ndir = both ? 2 : 1;
    r->reverse[0] = back;
    r->reverse[1] = true;
    return true;
}

/* Input i, if given, has these dims. */
static bool has_dims(Definer *d, int i, int rank, const Expr *const *dim) {
    Buf *b = define_in(d, i);
    if (b && b->rank != rank)
        return define_error(d, EXIT_MALFORMED, "input %d has rank %d, not %d", i, b->rank, rank);
    for (int a = 0; b && a < rank; a++)
        if (!define_same(d, b->dim[a], dim[a], str_f(d->ctx, "axis %d of input %d", a, i)))
            return false;
    return true;
}

static bool check_dims(Definer *d, const Rnn *r) {
    Ctx *ctx = d->ctx;
    const Expr *n = expr_i(ctx, r->ndir), *g = expr_mul(ctx, r->hidden, expr_i(ctx, r->gates));
    const Expr *two = expr_mul(ctx, g, expr_i(ctx, 2)), *size = r->x->dim[2];
    const Expr *w[3] = {n, g, size}, *h[3] = {n, g, r->hidden}, *b[2] = {n, two};
    const Expr *first = r->layout ? r->batch : n, *second = r->layout ? n : r->batch;
    const Expr *s[3] = {first, second, r->hidden};
    const Expr *p[2] = {n, expr_mul(ctx, r->hidden, expr_i(ctx, 3))};
    return has_dims(d, 1, 3, w) && has_dims(d, 2, 3, h) && has_dims(d, 3, 2, b) &&
           has_dims(d, 4, 1, &r->batch) && has_dims(d, 5, 3, s) &&
           (r->cell != CELL_LSTM || (has_dims(d, 6, 3, s) && has_dims(d, 7, 2, p)));
}

static bool rnn_begin(Definer *d, Rnn *r, Cell cell) {
    static const int gates[] = {1, 3, 4};
    *r = (Rnn){.cell = cell,
               .gates = gates[cell],
               .nact = cell + 1,
               .layout = node_int(d->node, "layout", 0) != 0,
               .type = define_type(d, 0),
               .wide = eq_wide(define_type(d, 0)),
               .x = define_in(d, 0),
               .w = define_in(d, 1),
               .r = define_in(d, 2),
               .bias = define_in(d, 3),
               .lens = define_in(d, 4),
               .h0 = define_in(d, 5),
               .c0 = define_in(d, 6),
               .peep = define_in(d, 7),
               .clip = node_float(d->node, "clip", 0)};
    if (r->x->rank != 3 || r->r->rank != 3)
        return define_error(d, EXIT_MALFORMED, "the input and the weights have to have rank 3");
    r->steps = r->x->dim[r->layout];
    r->batch = r->x->dim[!r->layout];
    r->hidden = r->r->dim[2];
    return read_direction(d, r) && read_activations(d, r) && check_dims(d, r);
}

/* ---- one direction ------------------------------------------------------------------------------------- */

static const Expr *activate(Definer *d, const Dir *s, int which, const Expr *x) {
    const Rnn *r = s->r;
    const Act *a = &r->act[s->dir * r->nact + which];
    return eq_text(d, r->wide, a->kind->text, "x", x, "a",
                   eq_const(d, r->wide, (double)(float)a->alpha), "b",
                   eq_const(d, r->wide, (double)(float)a->beta), NULL);
}

/* A gate: its input clipped, then activated. */
static const Expr *gate(Definer *d, const Dir *s, int which, const Expr *x) {
    if (s->r->clip > 0) {
        const Expr *c = eq_attr(d, s->r->wide, "clip", 0);
        x = eq_text(d, s->r->wide, "max(min(x, c), -c)", "x", x, "c", c, NULL);
    }
    return activate(d, s, which, x);
}

/* The number of steps of sample n, within the tensor; NULL: all. */
static const Expr *length_of(Definer *d, const Rnn *r, const Expr *n) {
    if (!r->lens)
        return NULL;
    return eq_text(d, T_I64, "max(min(l, t), 0)", "l", eq_load(d, T_I64, r->lens, &n), "t",
                   r->steps, NULL);
}

/* The input's step that step t of the scan takes. */
static const Expr *step_of(Definer *d, const Dir *s, const Expr *t, const Expr *n) {
    if (!s->r->reverse[s->dir])
        return t;
    const Expr *len = length_of(d, s->r, n);
    return eq_text(d, T_I64, len ? "max(l - 1 - t, 0)" : "l - 1 - t", "l", len ? len : s->r->steps,
                   "t", t, NULL);
}

/* x[t,n,g] = the input's products with w, plus what biases all gates can have added beforehand. */
static void input_share(Definer *d, Dir *s) {
    const Rnn *r = s->r;
    Ctx *ctx = d->ctx;
    const Expr *all = expr_mul(ctx, r->hidden, expr_i(ctx, r->gates)), *v[3];
    const Expr *dim[3] = {r->steps, r->batch, all}, *which = expr_i(ctx, s->dir);
    Def *acc = define_temp(d, "xw", r->wide, 3, dim);
    eq_names(d, acc, "t n g");
    eq_vars(d, acc, v);
    const Expr *i = eq_red(d, acc, "i", r->x->dim[2]);
    const Expr *ix[3] = {v[r->layout], v[!r->layout], i}, *iw[3] = {which, v[2], i};
    eq_combine(d, acc, OP_ADD,
               expr_mul(ctx, eq_load(d, r->wide, r->x, ix), eq_load(d, r->wide, r->w, iw)), NULL,
               false);
    define_emit(d, acc);
    s->x = acc->buf;
    if (!r->bias)
        return;
    Def *x = define_temp(d, "xb", r->wide, 3, dim);
    eq_names(d, x, "t n g");
    eq_vars(d, x, v);
    const Expr *wb[2] = {which, v[2]}, *rb[2] = {which, expr_add(ctx, v[2], all)};
    const Expr *b = eq_load(d, r->wide, r->bias, wb), *b2 = eq_load(d, r->wide, r->bias, rb);
    /* with linear_before_reset the last gate's second bias is added later */
    if (r->cell == CELL_GRU && node_int(d->node, "linear_before_reset", 0)) {
        const Expr *two = expr_mul(ctx, r->hidden, expr_i(ctx, 2));
        b2 = expr_select(ctx, expr_lt(ctx, v[2], two), b2, eq_const(d, r->wide, 0));
    }
    eq_emit(d, x, expr_add(ctx, buf_load(ctx, acc->buf, v), expr_add(ctx, b, b2)));
    s->x = x->buf;
}

/* A Def of the group over [T, N, extent]; v gets its axes. */
static Def *group_def(Definer *d, Dir *s, const char *name, const Expr *extent, const Expr **v) {
    const Expr *dim[3] = {s->r->steps, s->r->batch, extent};
    Def *def = define_temp(d, name, s->r->wide, 3, dim);
    eq_names(d, def, "t n j");
    if (!s->group) {
        s->group = ctx_new(d->ctx, Group);
        s->group->name = def->name;
        s->group->var = def->axis[0].var;
    }
    def->axis[0].var = s->group->var;
    def->axis[0].kind = AXIS_SEQ;
    def->scan = s->group;
    eq_vars(d, def, v);
    return def;
}

static void group_emit(Definer *d, Dir *s, Def *def, const Expr *value) {
    def->value = value;
    vec_push(d->ctx, &s->group->defs, def);
    define_emit(d, def);
}

/* The state at the end of the step before; the initial state (0 when none is given) before the first. */
static const Expr *state_before(Definer *d, const Dir *s, Buf *state, Buf *initial,
                                const Expr *const *v) {
    Ctx *ctx = d->ctx;
    const Expr *zero = expr_i(ctx, 0), *dir = expr_i(ctx, s->dir);
    const Expr *at[3] = {expr_sub(ctx, v[0], expr_i(ctx, 1)), v[1], v[2]};
    const Expr *first[3] = {s->r->layout ? v[1] : dir, s->r->layout ? dir : v[1], v[2]};
    const Expr *e = initial ? eq_load(d, s->r->wide, initial, first) : eq_const(d, s->r->wide, 0);
    return expr_select(ctx, expr_eq(ctx, v[0], zero), e, buf_load(ctx, state, at));
}

/* hr[t,n,g] = add(k) state[t,n,k] * r[dir, from*hidden + g, k] for n gates. */
static Buf *recurrent_share(Definer *d, Dir *s, const char *name, Buf *state, int from, int n) {
    const Rnn *r = s->r;
    Ctx *ctx = d->ctx;
    const Expr *v[3];
    Def *def = group_def(d, s, name, expr_mul(ctx, r->hidden, expr_i(ctx, n)), v);
    const Expr *k = eq_red(d, def, "k", r->hidden);
    const Expr *row = expr_add(ctx, v[2], expr_mul(ctx, r->hidden, expr_i(ctx, from)));
    const Expr *is[3] = {v[0], v[1], k}, *ir[3] = {expr_i(ctx, s->dir), row, k};
    eq_combine(d, def, OP_ADD,
               expr_mul(ctx, buf_load(ctx, state, is), eq_load(d, r->wide, r->r, ir)), NULL, false);
    group_emit(d, s, def, def->value);
    return def->buf;
}

/* Gate g of a buffer of gates at (t, n, j). */
static const Expr *gate_of(Definer *d, const Dir *s, Buf *b, int g, const Expr *t,
                           const Expr *const *v) {
    const Expr *row = expr_mul(d->ctx, s->r->hidden, expr_i(d->ctx, g));
    const Expr *at[3] = {t, v[1], expr_add(d->ctx, v[2], row)};
    return buf_load(d->ctx, b, at);
}

/* Gate g before activation: both shares. */
static const Expr *gate_sum(Definer *d, const Dir *s, Buf *hr, int g, const Expr *const *v) {
    return expr_add(d->ctx, gate_of(d, s, s->x, g, step_of(d, s, v[0], v[1]), v),
                    gate_of(d, s, hr, g, v[0], v));
}

static const Expr *row_of(Definer *d, const Dir *s, Buf *b, int g, const Expr *j) {
    const Expr *at[2] = {expr_i(d->ctx, s->dir),
                         expr_add(d->ctx, j, expr_mul(d->ctx, s->r->hidden, expr_i(d->ctx, g)))};
    return eq_load(d, s->r->wide, b, at);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void cell_rnn(Definer *d, Dir *s, Buf *prev, Def *h) {
    const Expr *v[3];
    Buf *hr = recurrent_share(d, s, "hr", prev, 0, 1);
    eq_vars(d, h, v);
    group_emit(d, s, h, gate(d, s, 0, gate_sum(d, s, hr, 0, v)));
}

/* Gates z, r, h. */
static void cell_gru(Definer *d, Dir *s, Buf *prev, Def *h) {
    Ctx *ctx = d->ctx;
    const Expr *v[3], *fresh;
    bool linear = node_int(d->node, "linear_before_reset", 0) != 0;
    Buf *hr = recurrent_share(d, s, "hr", prev, 0, linear ? 3 : 2);
    if (linear) {
        eq_vars(d, h, v);
        fresh = gate_of(d, s, hr, 2, v[0], v);
        if (s->r->bias)
            fresh = expr_add(ctx, fresh, row_of(d, s, s->r->bias, 5, v[2]));
        fresh = expr_mul(ctx, gate(d, s, 0, gate_sum(d, s, hr, 1, v)), fresh);
    } else {
        Def *kept = group_def(d, s, "kept", s->r->hidden, v);
        group_emit(d, s, kept,
                   expr_mul(ctx, gate(d, s, 0, gate_sum(d, s, hr, 1, v)), buf_load(ctx, prev, v)));
        Buf *share = recurrent_share(d, s, "kr", kept->buf, 2, 1);
        eq_vars(d, h, v);
        fresh = buf_load(ctx, share, v);
    }
    const Expr *x = gate_of(d, s, s->x, 2, step_of(d, s, v[0], v[1]), v);
    fresh = gate(d, s, 1, expr_add(ctx, x, fresh));
    group_emit(d, s, h,
               eq_text(d, s->r->wide, "(1 - z) * f + z * p", "z",
                       gate(d, s, 0, gate_sum(d, s, hr, 0, v)), "f", fresh, "p",
                       buf_load(ctx, prev, v), NULL));
}

/* Gates i, o, f, c; peepholes i, o, f. */
static void cell_lstm(Definer *d, Dir *s, Buf *prev, Def *h) {
    const Rnn *r = s->r;
    Ctx *ctx = d->ctx;
    const Expr *v[3], *sum[4], *one = eq_const(d, r->wide, 1);
    Buf *hr = recurrent_share(d, s, "hr", prev, 0, 4);
    Def *c = group_def(d, s, "c", r->hidden, v);
    const Expr *before = state_before(d, s, c->buf, r->c0, v);
    for (int g = 0; g < 4; g++) {
        sum[g] = gate_sum(d, s, hr, g, v);
        if (r->peep && (g == 0 || g == 2))
            sum[g] = expr_add(ctx, sum[g], expr_mul(ctx, row_of(d, s, r->peep, g, v[2]), before));
    }
    const Expr *i = gate(d, s, 0, sum[0]);
    const Expr *f =
        node_int(d->node, "input_forget", 0) ? expr_sub(ctx, one, i) : gate(d, s, 0, sum[2]);
    group_emit(d, s, c,
               eq_text(d, r->wide, "f * b + i * g", "f", f, "b", before, "i", i, "g",
                       gate(d, s, 1, sum[3]), NULL));
    s->c = c->buf;
    eq_vars(d, h, v);
    const Expr *o = gate_sum(d, s, hr, 1, v), *now = buf_load(ctx, c->buf, v);
    if (r->peep)
        o = expr_add(ctx, o, expr_mul(ctx, row_of(d, s, r->peep, 1, v[2]), now));
    group_emit(d, s, h, expr_mul(ctx, gate(d, s, 0, o), activate(d, s, 2, now)));
}

static void define_direction(Definer *d, Dir *s) {
    const Expr *v[3];
    input_share(d, s);
    Def *prev = group_def(d, s, "prev", s->r->hidden, v);
    /* h comes last in the group, yet is read by all: its Buf has to exist */
    const Expr *vh[3];
    Def *h = group_def(d, s, "h", s->r->hidden, vh);
    s->h = h->buf;
    group_emit(d, s, prev, state_before(d, s, s->h, s->r->h0, v));
    if (s->r->cell == CELL_RNN)
        cell_rnn(d, s, prev->buf, h);
    else if (s->r->cell == CELL_GRU)
        cell_gru(d, s, prev->buf, h);
    else
        cell_lstm(d, s, prev->buf, h);
}

/* ---- outputs --------------------------------------------------------------------------------- */

static bool wanted(const Definer *d, int i) {
    return i < d->node->nout && d->node->out[i];
}

/* The value of direction 0 or 1 by the index `dir`. */
static const Expr *of_direction(Definer *d, const Rnn *r, const Expr *dir, const Expr *const *e) {
    if (r->ndir == 1)
        return e[0];
    return expr_select(d->ctx, expr_eq(d->ctx, dir, expr_i(d->ctx, 0)), e[0], e[1]);
}

/* Y[t, dir, n, j], or with layout 1 [n, t, dir, j]; 0 past the end of a sequence. */
static void output_all(Definer *d, const Rnn *r, const Dir *s) {
    Ctx *ctx = d->ctx;
    const Expr *n = expr_i(ctx, r->ndir), *v[4], *e[2];
    const Expr *plain[4] = {r->steps, n, r->batch, r->hidden};
    const Expr *other[4] = {r->batch, r->steps, n, r->hidden};
    Def *y = define_out(d, 0, r->type, 4, r->layout ? other : plain);
    eq_names(d, y, r->layout ? "n t d j" : "t d n j");
    eq_vars(d, y, v);
    const Expr *t = v[r->layout ? 1 : 0], *b = v[r->layout ? 0 : 2];
    for (int i = 0; i < r->ndir; i++) {
        const Expr *at[3] = {step_of(d, &s[i], t, b), b, v[3]};
        e[i] = buf_load(ctx, s[i].h, at);
    }
    const Expr *value = of_direction(d, r, v[r->layout ? 2 : 1], e), *len = length_of(d, r, b);
    if (len)
        value = expr_select(ctx, expr_lt(ctx, t, len), value, eq_const(d, r->wide, 0));
    eq_emit(d, y, value);
}

/* The state after the last step: [dir, n, j], or with layout 1 [n, dir, j]. */
static void output_last(Definer *d, const Rnn *r, const Dir *s, int out, bool cell) {
    Ctx *ctx = d->ctx;
    const Expr *n = expr_i(ctx, r->ndir), *v[3], *e[2], *one = expr_i(ctx, 1);
    const Expr *plain[3] = {n, r->batch, r->hidden}, *other[3] = {r->batch, n, r->hidden};
    Def *y = define_out(d, out, r->type, 3, r->layout ? other : plain);
    eq_names(d, y, r->layout ? "n d j" : "d n j");
    eq_vars(d, y, v);
    const Expr *b = v[!r->layout], *len = length_of(d, r, b);
    for (int i = 0; i < r->ndir; i++) {
        const Expr *count = len ? len : r->steps;
        const Expr *at[3] = {expr_sub(ctx, count, one), b, v[2]};
        /* state_before at step `count` */
        const Expr *step[3] = {count, b, v[2]};
        e[i] = expr_proves(ctx, expr_lt(ctx, expr_i(ctx, 0), count))
                   ? buf_load(ctx, cell ? s[i].c : s[i].h, at)
                   : state_before(d, &s[i], cell ? s[i].c : s[i].h, cell ? r->c0 : r->h0, step);
    }
    eq_emit(d, y, of_direction(d, r, v[r->layout], e));
}

static bool define_rnn(Definer *d, Cell cell) {
    Rnn r;
    if (!rnn_begin(d, &r, cell))
        return false;
    Dir s[2];
    for (int i = 0; i < r.ndir; i++) {
        s[i] = (Dir){.r = &r, .dir = i};
        define_direction(d, &s[i]);
    }
    if (wanted(d, 0))
        output_all(d, &r, s);
    if (wanted(d, 1))
        output_last(d, &r, s, 1, false);
    if (wanted(d, 2))
        output_last(d, &r, s, 2, true);
    return true;
}

bool def_rnn(Definer *d) {
    return define_rnn(d, CELL_RNN);
}

bool def_gru(Definer *d) {
    return define_rnn(d, CELL_GRU);
}

bool def_lstm(Definer *d) {
    return define_rnn(d, CELL_LSTM);
}
