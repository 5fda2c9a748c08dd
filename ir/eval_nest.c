/* ir/eval_nest.c — loops around one store: how equations and innermost loops of Funcs run.
 *
 * Precondition: points of the lane loop may be computed together before their stores are made; the
 * caller chooses it so. Loops up to nout are outside of the accumulators; at nout they start, inside
 * they collect, afterwards they are stored:
 *   for loops < nout { acc = init ; for the others { acc = combine(acc, value) } ; buf[index] = acc } */
#include "ir/eval_in.h"

#include <string.h>

struct Nest {
    NestSpec spec;
    Prog *prog;
    Kid *extent, *index;
    Kid value, when, init, identity;
    bool has_when;
    bool reduces;      /* there are accumulators */
    bool across;       /* the lanes are points of a reduction: accumulators are lanes of acc[0] */
    int out;           /* number of the Access of the store */
    int acc[256], tmp; /* registers */
    Instr op;
    /* while running */
    int n;        /* lanes of the current strip */
    int64_t *at;  /* current value of each loop; of the lane loop: of lane 0 */
    unsigned why; /* mark that reached a store or an accumulator */
    bool bad_store;
};

/* ---- construction ------------------------------------------------------------------------------ */

static void nest_accumulators(Nest *s) {
    Prog *p = s->prog;
    const NestSpec *spec = &s->spec;
    uint16_t strip = spec->lane >= 0 ? 0 : 1;
    s->across = spec->lane >= spec->nout;
    const Expr *start = combine_identity(p->ctx, spec->combine, type_dtype(spec->buf->type));
    s->identity = prog_spread(p, prog_expr(p, start), s->across ? 0 : strip);
    s->init = spec->init ? prog_expr(p, spec->init) : s->identity;
    if (!s->across)
        s->init = prog_spread(p, s->init, strip);
    s->value = prog_spread(p, s->value, strip);
    for (int j = 0; j < (s->across ? 1 : spec->ways); j++)
        s->acc[j] = prog_reg(p);
}

Nest *nest_new(Eval *ev, const NestSpec *spec) {
    Ctx *ctx = ev->ctx;
    Nest *s = ctx_new(ctx, Nest);
    Prog *p = prog_new(ev, spec->nloop, spec->loop, spec->lane);
    s->spec = *spec;
    s->prog = p;
    p->own = spec->own;
    p->own_level = spec->own_level;
    p->flat = spec->flat;
    p->lets = spec->lets;
    p->lets_end = spec->lets_end;
    s->at = ctx_newn(ctx, int64_t, spec->nloop);
    s->extent = ctx_newn(ctx, Kid, spec->nloop);
    for (int i = 0; i < spec->nloop; i++)
        s->extent[i] = prog_expr(p, spec->extent[i]);
    s->index = ctx_newn(ctx, Kid, spec->nindex);
    for (int i = 0; i < spec->nindex; i++)
        s->index[i] = prog_expr(p, spec->index[i]);
    s->value = prog_expr(p, spec->value);
    s->has_when = spec->when != NULL;
    if (s->has_when)
        s->when = prog_expr(p, spec->when);
    s->out = prog_access(p, spec->buf, spec->nindex);
    s->tmp = prog_reg(p);
    uint8_t t = (uint8_t)type_dtype(spec->buf->type);
    s->op = (Instr){.op = (uint8_t)spec->combine, .type = t, .from = t, .nkid = 2};
    s->op.bits = int_bits((Dtype)t);
    s->reduces = spec->nout < spec->nloop;
    if (s->reduces)
        nest_accumulators(s);
    return s;
}

/* ---- marks ------------------------------------------------------------------------------------- */

static int lane_step(Kid k) {
    return k.lanes == 1 ? 0 : 1;
}

static unsigned mark_of(Eval *ev, Kid k, int l) {
    const Reg *r = ev->reg[k.reg];
    return r->bad ? r->why[l * lane_step(k)] : 0;
}

/* Is lane l done? A mark on the condition is an error of its own. */
static bool wanted(Eval *ev, Nest *s, int l) {
    if (!s->has_when)
        return true;
    unsigned why = mark_of(ev, s->when, l);
    if (why) {
        s->why = why;
        return false;
    }
    return ev->reg[s->when.reg]->v.i[l * lane_step(s->when)] != 0;
}

static bool any_marks(Eval *ev, const Nest *s) {
    bool bad = ev->reg[s->value.reg]->bad;
    for (int i = 0; i < s->spec.nindex; i++)
        bad |= ev->reg[s->index[i].reg]->bad;
    return bad;
}

/* ---- one lane at a time ------------------------------------------------------------------------ */

#define FOLD(T, field, value)                                                                      \
    for (int l = 0; l < n; l++) {                                                                  \
        T *a = &acc->field[l & mask];                                                              \
        const T x = v->field[l];                                                                   \
        *a = (value);                                                                              \
    }                                                                                              \
    return

/* acc[l & mask] = acc[l & mask] op v[l], in ascending order of l. */
static void fold_all(const Instr *op, Lanes *acc, int mask, const Lanes *v, int n) {
    if (op->op == OP_ADD && op->type == T_F32) {
        FOLD(float, f, *a + x);
    }
    if (op->op == OP_ADD && op->type == T_F64) {
        FOLD(double, d, *a + x);
    }
    for (int l = 0; l < n; l++)
        lane_combine(op, acc, l & mask, v, l);
}

/* ---- accumulators ------------------------------------------------------------------------------ */

static void acc_start(Eval *ev, Nest *s) {
    const Reg *init = ev->reg[s->init.reg], *identity = ev->reg[s->identity.reg];
    for (int l = 0; init->bad && l < (s->across ? 1 : s->n); l++)
        if (init->why[l])
            s->why = init->why[l];
    bool many = s->spec.ways > 1;
    for (int j = 0; j < (s->across ? 1 : s->spec.ways); j++) {
        ev->reg[s->acc[j]]->v = many || s->across ? identity->v : init->v;
        ev->reg[s->acc[j]]->bad = false;
    }
    if (s->across && !many)
        lanes_move((Dtype)s->op.type, &ev->reg[s->acc[0]]->v, 0, &init->v, 0);
}

static void collect_across(Eval *ev, Nest *s) {
    const Reg *v = ev->reg[s->value.reg];
    Lanes *acc = &ev->reg[s->acc[0]]->v;
    bool along = s->spec.ways_loop == s->spec.lane;
    int mask = along ? s->spec.ways - 1 : 0;
    int first = along || s->spec.ways_loop < 0 ? 0 : (int)(s->at[s->spec.ways_loop] % s->spec.ways);
    if (!s->has_when && !v->bad && first == 0) {
        fold_all(&s->op, acc, mask, &v->v, s->n);
        return;
    }
    for (int l = 0; l < s->n; l++) {
        if (!wanted(ev, s, l))
            continue;
        if (v->bad && v->why[l])
            s->why = v->why[l];
        lane_combine(&s->op, acc, first + (l & mask), &v->v, l);
    }
}

static void collect(Eval *ev, Nest *s) {
    const NestSpec *spec = &s->spec;
    if (s->across) {
        collect_across(ev, s);
        return;
    }
    int j = spec->ways_loop < 0 ? 0 : (int)(s->at[spec->ways_loop] % spec->ways);
    Reg *acc = ev->reg[s->acc[j]], *v = ev->reg[s->value.reg], *tmp = ev->reg[s->tmp];
    Reg *kid[2] = {acc, v};
    if (!s->has_when && !v->bad) {
        lanes_op(&s->op, acc, kid, s->n);
        return;
    }
    lanes_op(&s->op, tmp, kid, s->n);
    for (int l = 0; l < s->n; l++) {
        if (!wanted(ev, s, l))
            continue;
        if (v->bad && v->why[l])
            s->why = v->why[l];
        lanes_move((Dtype)s->op.type, &acc->v, l, &tmp->v, l);
    }
}

/* The pairwise tree, below init; the result is in the first accumulator. */
static void acc_finish(Eval *ev, Nest *s) {
    Reg *first = ev->reg[s->acc[0]], *init = ev->reg[s->init.reg], *tmp = ev->reg[s->tmp];
    for (int h = s->spec.ways / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++) {
            if (s->across) {
                lane_combine(&s->op, &first->v, j, &first->v, j + h);
                continue;
            }
            Reg *kid[2] = {ev->reg[s->acc[j]], ev->reg[s->acc[j + h]]};
            lanes_op(&s->op, kid[0], kid, s->n);
        }
    first->bad = false;
    if (!s->spec.init || s->spec.ways == 1)
        return;
    Reg *kid[2] = {init, first};
    lanes_op(&s->op, tmp, kid, s->across ? 1 : s->n);
    first->v = tmp->v;
}

/* ---- stores ------------------------------------------------------------------------------------ */

static void store_one(Eval *ev, Nest *s, const Reg *v, int vstep, int l) {
    Access *a = s->prog->access.at[s->out];
    Dtype t = (Dtype)s->op.type;
    unsigned why = v->bad ? v->why[l * vstep] : 0;
    for (int i = 0; i < s->spec.nindex && !why; i++)
        why = mark_of(ev, s->index[i], l);
    int64_t off = why ? 0 : access_at(ev, a, s->index, l);
    if (why || off < 0) {
        s->why = why ? why : (unsigned)s->out + 1;
        s->bad_store = !why;
        return;
    }
    if (s->spec.combine == COMBINE_SET || s->reduces) {
        element_put(t, a->t->data, off, &v->v, l * vstep);
        return;
    }
    Lanes *old = &ev->reg[s->tmp]->v;
    element_get(t, a->t->data, off, old, 0);
    lane_combine(&s->op, old, 0, &v->v, l * vstep);
    element_put(t, a->t->data, off, old, 0);
}

/* One element combined with all lanes: loaded and stored once. */
static bool store_folded(Eval *ev, Nest *s, const Reg *v, int n) {
    Access *a = s->prog->access.at[s->out];
    for (int i = 0; i < s->spec.nindex; i++)
        if (s->index[i].lanes != 1)
            return false;
    int64_t off = access_at(ev, a, s->index, 0);
    if (off < 0)
        return false;
    Lanes *acc = &ev->reg[s->tmp]->v;
    element_get((Dtype)s->op.type, a->t->data, off, acc, 0);
    fold_all(&s->op, acc, 0, &v->v, n);
    element_put((Dtype)s->op.type, a->t->data, off, acc, 0);
    return true;
}

static int store_lanes(const Nest *s, Kid value) {
    int n = value.lanes;
    for (int i = 0; i < s->spec.nindex; i++)
        if (s->index[i].lanes > n)
            n = s->index[i].lanes;
    return n > 1 ? n : s->across ? 1 : s->n;
}

static void store(Eval *ev, Nest *s) {
    Kid value = s->value;
    if (s->reduces)
        value = (Kid){s->acc[0], s->across ? 1 : s->value.lanes};
    const Reg *v = ev->reg[value.reg];
    int n = store_lanes(s, value), step = lane_step(value);
    bool plain = (s->reduces || !s->has_when) && !v->bad && !any_marks(ev, s);
    if (plain && !s->reduces && s->spec.combine != COMBINE_SET && step && store_folded(ev, s, v, n))
        return;
    if (plain && (s->reduces || s->spec.combine == COMBINE_SET) &&
        access_store(ev, s->prog->access.at[s->out], s->index, value, n))
        return;
    for (int l = 0; l < n && !s->why; l++)
        if (s->reduces || wanted(ev, s, l))
            store_one(ev, s, v, step, l);
}

/* ---- loops ------------------------------------------------------------------------------------- */

static void nest_loop(Eval *ev, Nest *s, int pos);

static void nest_next(Eval *ev, Nest *s, int pos) {
    if (s->why || ev->failed)
        return;
    if (!s->reduces || pos != s->spec.nout) {
        nest_loop(ev, s, pos);
        return;
    }
    acc_start(ev, s);
    nest_loop(ev, s, pos);
    acc_finish(ev, s);
    if (!s->why && !ev->failed)
        store(ev, s);
}

static void nest_loop(Eval *ev, Nest *s, int pos) {
    if (pos == s->spec.nloop) {
        ev->steps += s->n;
        if (s->reduces)
            collect(ev, s);
        else
            store(ev, s);
        return;
    }
    const Reg *extent = ev->reg[s->extent[pos].reg];
    int64_t n = extent->v.i[0];
    Reg *var = ev->reg[s->prog->loop_reg[pos]];
    bool lane = pos == s->spec.lane;
    var->bad = false;
    if (extent->bad)
        s->why = extent->why[0];
    for (int64_t v = 0; v < n && !s->why && !ev->failed; v += lane ? STRIP : 1) {
        if (lane)
            s->n = (int)(n - v < STRIP ? n - v : STRIP);
        for (int l = 0; l < (lane ? s->n : 1); l++)
            var->v.i[l] = v + l;
        s->at[pos] = v;
        prog_run(ev, s->prog, pos + 1, s->n);
        nest_next(ev, s, pos + 1);
    }
    if (lane) /* outer levels fill whole strips */
        s->n = STRIP;
}

bool nest_run(Eval *ev, Nest *s, const Loc *loc, Str what) {
    s->why = 0;
    s->bad_store = false;
    s->n = s->spec.lane >= 0 ? STRIP : 1;
    if (!prog_start(ev, s->prog))
        return false;
    nest_next(ev, s, 0);
    if (s->why)
        return eval_mark(ev, s->prog, s->why, loc, what);
    return !ev->failed;
}
