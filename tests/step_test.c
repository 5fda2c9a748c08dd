/* Random legal schedules: after every step, and after lowering, the loops compute what the equations say, and
 * their text reads back as the same program.
 *
 * Usage: step_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include "lower/lower.h"
#include "tests/ir_gen.h"

#define VOLUME_MAX 60000.0 /* points of a Def's domain */
enum { STEPS = 12, TEXT_ELEMENTS = 64 };

typedef struct Trial {
    Ctx *ctx;
    Gen *g;
    Kernel *k;
    Func *f;
    Buf *out;
    const Tensor *want;
    const Tensor *before; /* of an update: the values it starts from */
    VEC(Sym *) syms;
    VEC(int64_t) size; /* of syms */
    bool exact;        /* contraction does not show */
    uint64_t seed;
    Text done; /* the steps applied */
} Trial;

/* ---- running ----------------------------------------------------------------------------------- */

static Tensor *tensor_copy(Ctx *ctx, const Tensor *t) {
    Tensor *c = ctx_copy(ctx, t, sizeof *t);
    c->data = ctx_copy(ctx, t->data, (size_t)(t->count * type_bytes(t->type)));
    return c;
}

/* The inputs of the kernel, bound to the buffers of `k`, which is t->k or was read from its text. */
static Eval *bind(Trial *t, const Kernel *k) {
    Eval *ev = eval_new(t->ctx);
    for (int i = 0; i < t->syms.len; i++)
        eval_set(ev, k == t->k ? t->syms.at[i] : k->syms.at[i], t->size.at[i]);
    for (int i = 0; i < t->k->ins.len; i++) {
        for (int j = 0; j < t->g->data.len; j++)
            if (t->g->in.at[j] == t->k->ins.at[i])
                eval_bind(ev, k->ins.at[i], t->g->data.at[j]);
    }
    for (int i = 0; t->before && i < t->k->outs.len; i++)
        if (t->k->outs.at[i] == t->out)
            eval_bind(ev, k->outs.at[i], tensor_copy(t->ctx, t->before));
    return ev;
}

static bool is_right(Trial *t, const Kernel *k, const char *stage, bool flat) {
    Eval *ev = bind(t, k);
    Buf *out = NULL;
    for (int i = 0; i < t->k->outs.len; i++)
        if (t->k->outs.at[i] == t->out)
            out = k->outs.at[i];
    return out && func_verify(t->ctx, k->func, stage, flat) && eval_func(ev, k->func) &&
           same_tensor(t->want, eval_tensor(ev, out));
}

static Text kernel_text(Ctx *ctx, const Kernel *k) {
    Text text = text_new(ctx);
    kernel_print(&text, k);
    return text;
}

/* What fails is printed as a golden test would have it: tests/golden/README.md. */
static bool report(Trial *t, bool ok, const char *stage) {
    check(ok, stage, t->seed);
    if (!ok)
        printf("after: %s\n%s\n%s\n", t->done.at ? t->done.at : "no step",
               t->ctx->diag.text.at ? t->ctx->diag.text.at : "", kernel_text(t->ctx, t->k).at);
    return ok;
}

/* Loops that go on into padding have no meaning before storage has. */
static bool is_padded(const Kernel *k) {
    for (int i = 0; k->sched && i < k->sched->steps.len; i++)
        if (k->sched->steps.at[i].tail == TAIL_ROUNDUP)
            return true;
    return false;
}

static bool check_loops(Trial *t, const char *stage, bool flat) {
    if (!flat && is_padded(t->k))
        return true;
    return report(t, is_right(t, t->k, stage, flat), stage);
}

static bool has_large_const(const Kernel *k) {
    for (int i = 0; i < k->ins.len; i++)
        if (k->ins.at[i]->data && k->ins.at[i]->data->count > TEXT_ELEMENTS)
            return true;
    return false;
}

/* The text reads back: twice the same, and computing the same. */
static bool check_text(Trial *t, const char *stage, bool flat) {
    Text first = kernel_text(t->ctx, t->k);
    LccText *once = lcc_parse(t->ctx, "text", first.at);
    if (!once || once->kernels.len != 1 || !once->kernels.at[0]->func)
        return report(t, false, stage);
    Text second = kernel_text(t->ctx, once->kernels.at[0]);
    LccText *twice = lcc_parse(t->ctx, "text", second.at);
    bool ok = twice && !strcmp(kernel_text(t->ctx, twice->kernels.at[0]).at, second.at);
    ok = ok && once->kernels.at[0]->syms.len == t->k->syms.len;
    return report(t,
                  ok && (has_large_const(t->k) || (!flat && is_padded(t->k)) ||
                         is_right(t, once->kernels.at[0], stage, flat)),
                  stage);
}

/* ---- random steps ------------------------------------------------------------------------------ */

typedef struct Loops {
    Ctx *ctx;
    VEC(LoopRef) at;
} Loops;

static void note_loop(void *data, Stmt *s) {
    Loops *l = data;
    if (s->op != STMT_FOR || !s->label || !s->def)
        return;
    LoopRef r = {s->def->name, s->label};
    vec_push(l->ctx, &l->at, r);
}

static void add_loops(Trial *t, Step *s, const Loops *l, int n) {
    VEC(LoopRef) v = {0};
    int first = (int)rnd(t->g, (uint32_t)l->at.len);
    for (int i = 0; i < n && first + i < l->at.len; i++)
        vec_push(t->ctx, &v, l->at.at[first + i]);
    if (n > 1 && v.len > 1 && rnd(t->g, 2)) {
        LoopRef swap = v.at[0];
        v.at[0] = v.at[v.len - 1];
        v.at[v.len - 1] = swap;
    }
    s->loop = v.at;
    s->nloop = v.len;
}

/* Operands that the steps which place something need. */
static void add_place(Trial *t, Step *s) {
    const Kernel *k = t->k;
    s->def = k->defs.at[rnd(t->g, (uint32_t)k->defs.len)]->name;
    s->in = s->loop[0].def;
    if (s->op == STEP_SLIDE && rnd(t->g, 3)) { /* the outermost loop is the likely one */
        const Def *reader = k->defs.at[rnd(t->g, (uint32_t)k->defs.len)];
        if (reader->naxis)
            s->loop[0] = (LoopRef){reader->name, reader->axis[0].var->name};
    }
    s->space = rnd(t->g, 4) ? SPACE_REG : SPACE_LOCAL;
    if (s->op != STEP_PACK && s->op != STEP_INTERLEAVE)
        return;
    s->def = t->g->weights ? t->g->weights->name : s->def;
    s->nnum = s->op == STEP_PACK ? 1 : 2;
    s->num[1] = 4;
}

static Step random_step(Trial *t, const Loops *l) {
    static const uint8_t ops[] = {STEP_SPLIT,      STEP_SPLIT,      STEP_SPLIT,      STEP_FUSE,
                                  STEP_REORDER,    STEP_REORDER,    STEP_UNROLL,     STEP_UNROLL,
                                  STEP_VECTORIZE,  STEP_PARALLEL,   STEP_STAGE,      STEP_STAGE,
                                  STEP_TENSORIZE,  STEP_COMPUTE_AT, STEP_COMPUTE_AT, STEP_PACK,
                                  STEP_INTERLEAVE, STEP_TENSORIZE,  STEP_SLIDE,      STEP_SLIDE,
                                  STEP_CHUNK,      STEP_PARTITION,  STEP_PARTITION};
    static const uint8_t tails[] = {TAIL_NONE, TAIL_PEEL, TAIL_PEEL, TAIL_GUARD, TAIL_ROUNDUP};
    Ctx *ctx = t->ctx;
    Gen *g = t->g;
    Step s = {.op = ops[rnd(g, sizeof ops)]};
    const Sched *done = t->k->sched;
    const Step *last = done->steps.len ? &done->steps.at[done->steps.len - 1] : NULL;
    bool rows = last && last->op == STEP_SLIDE && rnd(g, 2);
    s.op = rows ? STEP_CHUNK : s.op;
    bool vector = s.op == STEP_VECTORIZE || s.op == STEP_TENSORIZE;
    if (s.op == STEP_TENSORIZE && !t->exact)
        s.op = STEP_VECTORIZE;
    bool pair = s.op == STEP_FUSE || s.op == STEP_INTERLEAVE;
    add_loops(t, &s, l, s.op == STEP_REORDER ? 2 + (int)rnd(g, 3) : pair ? 2 : 1);
    if (rows)
        s.loop[0] = last->loop[0];
    s.num = ctx_newn(ctx, int64_t, 2);
    *s.num = vector || s.op == STEP_PACK || s.op == STEP_INTERLEAVE ? 4 << rnd(g, 3)
                                                                    : 2 + (int)rnd(g, 7);
    s.nnum = s.op == STEP_SPLIT || s.op == STEP_CHUNK || vector;
    s.word = ctx_newn(ctx, Str, 2);
    for (int i = 0; i < 2; i++)
        s.word[i] = str_f(ctx, "%s%c", s.loop[0].axis, 'x' + i);
    s.nword = s.op == STEP_SPLIT ? 2 : s.op == STEP_FUSE || s.op == STEP_CHUNK ? 1 : 0;
    if (s.op == STEP_SPLIT)
        s.tail = tails[rnd(g, 5)];
    if (s.op == STEP_TENSORIZE) {
        s.word[0] = str(ctx, type_is_float(t->out->type) ? "fma" : "dot4");
        s.nword = 1;
        s.tail = rnd(g, 3) ? TAIL_NONE : TAIL_ROUNDUP;
    }
    if (s.op == STEP_COMPUTE_AT || s.op == STEP_SLIDE || s.op == STEP_STAGE || s.op == STEP_PACK ||
        s.op == STEP_INTERLEAVE)
        add_place(t, &s);
    return s;
}

/* What a step that fails halfway may have changed. */
static Func func_saved(Ctx *ctx, const Func *f) {
    Func before = *f;
    before.body = stmt_copy(ctx, f->body);
    before.params.at =
        ctx_copy(ctx, f->params.at, (size_t)f->params.len * sizeof *before.params.at);
    return before;
}

/* Applies s if it is legal; false when it was and the loops are wrong. */
static bool try_step(Trial *t, const Step *s) {
    Str why = NULL;
    Func before = func_saved(t->ctx, t->f);
    Kernel kernel = *t->k;
    kernel.ins.at = ctx_copy(t->ctx, t->k->ins.at, (size_t)t->k->ins.len * sizeof(Buf *));
    kernel.temps.at = ctx_copy(t->ctx, t->k->temps.at, (size_t)t->k->temps.len * sizeof(Buf *));
    if (!step_apply(t->ctx, t->f, s, &why)) {
        *t->f = before;
        *t->k = kernel;
        return true;
    }
    vec_push(t->ctx, &t->k->sched->steps, *s);
    Sched one = {{0}};
    vec_push(t->ctx, &one.steps, *s);
    text_s(&t->done, t->done.len ? " ; " : "");
    sched_print(&t->done, &one);
    return check_loops(t, "loops after a step compute the same", false) &&
           (rnd(t->g, 6) || check_text(t, "loops after a step read back", false));
}

/* Those of the rule, with some left out and other numbers in some; then any. */
static bool try_steps(Trial *t, const Sched *rule) {
    t->k->sched = ctx_new(t->ctx, Sched);
    for (int i = 0; rule && i < rule->steps.len; i++) {
        Step s = rule->steps.at[i];
        if (rnd(t->g, 10) == 0)
            continue;
        if (s.nnum && rnd(t->g, 6) == 0)
            s.num[0] = 1 + rnd(t->g, 16);
        if (!try_step(t, &s))
            return false;
    }
    for (int i = rule ? STEPS / 2 : 0; i < STEPS; i++) {
        Loops l = {.ctx = t->ctx};
        stmt_walk(t->f->body, note_loop, &l);
        if (!l.at.len)
            return true;
        Step s = random_step(t, &l);
        bool several = s.op == STEP_REORDER || s.op == STEP_FUSE || s.op == STEP_INTERLEAVE;
        if ((!several || s.nloop > 1) && !try_step(t, &s))
            return false;
    }
    return true;
}

/* ---- one kernel -------------------------------------------------------------------------------- */

static bool is_small(Eval *ev, const Def *d) {
    double n = 1;
    int64_t extent;
    for (int i = 0; i < d->naxis; i++)
        n *= eval_int(ev, d->axis[i].var->extent, &extent) ? (double)extent : VOLUME_MAX;
    return n < VOLUME_MAX;
}

/* A product or window and a map; one equation; an update; several that read each other; or a recurrence. */
static Def *gen_kernel(Trial *t, Eval *ev) {
    Gen *g = t->g;
    Ctx *ctx = t->ctx;
    Kernel *k = t->k;
    uint32_t form = rnd(g, 9);
    if (form == 8) {
        Def *y = gen_scan(g, ev);
        for (int i = 0; i < y->scan->defs.len; i++)
            vec_push(ctx, &k->defs, y->scan->defs.at[i]);
        return y;
    }
    t->exact = form < 4;
    g->symbolic = t->exact && rnd(g, 2);
    Def *d = t->exact ? gen_dense(g, ev) : gen_def(g, form == 4 ? 2 : (int)rnd(g, 2));
    if (t->exact)
        vec_push(ctx, &k->defs, g->first);
    if (form == 4) { /* the first values come from outside */
        if (!is_small(ev, g->first) || !is_small(ev, d) || !eval_def(ev, g->first))
            return NULL;
        t->before = tensor_copy(ctx, eval_tensor(ev, d->buf));
    }
    vec_push(ctx, &k->defs, d);
    for (int more = form > 5 ? 1 + (int)rnd(g, 2) : 0; more > 0; more--) {
        vec_push(ctx, &g->in, d->buf);
        vec_push(ctx, &g->data, NULL);
        d = gen_def(g, (int)rnd(g, 2));
        vec_push(ctx, &k->defs, d);
    }
    return d;
}

static void note_sizes(Trial *t, Eval *ev) {
    int64_t v;
    for (int i = 0; i < t->k->syms.len; i++)
        if (eval_int(ev, expr_sym(t->ctx, t->k->syms.at[i]), &v)) {
            vec_push(t->ctx, &t->syms, t->k->syms.at[i]);
            vec_push(t->ctx, &t->size, v);
        }
}

static void lower_for(Trial *t, Lower *lo) {
    static const char *const targets[] = {"c", "avx2", "avx512", "avx512-vnni"};
    const Machine *machine;
    const Target *target = target_find(targets[t->seed % 4], &machine);
    *lo = lower_start(t->ctx, target, machine);
    t->k->name = str(t->ctx, "k0");
    kernel_normalise(t->ctx, t->k);
    kernel_close(t->ctx, t->k);
}

static void test_loops(Trial *t, Eval *ev, const char *rule) {
    const Options opt = {.strict = !t->exact};
    Lower lo;
    Lex lex;
    Sched *steps = NULL;
    t->ctx->opt = &opt;
    lower_for(t, &lo);
    note_sizes(t, ev);
    if (rule && *rule) {
        steps = ctx_new(t->ctx, Sched);
        lex_init(&lex, t->ctx, "rule", rule);
        report(t, sched_parse(&lex, steps), "the rule's schedule reads back");
    }
    t->f = t->k->func = loop_build(t->ctx, t->k);
    if (check_loops(t, "naive loops compute the same", false) && try_steps(t, steps) &&
        check_text(t, "scheduled loops read back", false)) {
        if (report(t, loop_lower(&lo, t->f), "loops are lowered") &&
            check_loops(t, "lowered loops compute the same", true))
            check_text(t, "lowered loops read back", true);
    }
    t->ctx->opt = NULL;
}

static Def *start(Trial *t, Gen *g, Eval **ev, uint64_t seed) {
    *t = (Trial){.ctx = ctx_create(0), .g = g, .seed = seed};
    *ev = eval_new(t->ctx);
    t->done = text_new(t->ctx);
    gen_start(g, t->ctx, seed);
    gen_inputs(g, *ev);
    t->k = ctx_new(t->ctx, Kernel);
    return gen_kernel(t, *ev);
}

/* What lcc's rules choose for the kernel. */
static void rule_of(uint64_t seed, char *text, size_t size) {
    Trial t;
    Gen g;
    Eval *ev;
    *text = 0;
    if (start(&t, &g, &ev, seed)) {
        const Options opt = {.strict = !t.exact};
        Lower lo;
        t.ctx->opt = &opt;
        lower_for(&t, &lo);
        lo.module = ctx_new(t.ctx, Module);
        vec_push(t.ctx, &lo.module->kernels, t.k);
        if (sched_choose(&lo) && t.k->sched) {
            Text s = text_new(t.ctx);
            sched_print(&s, t.k->sched);
            snprintf(text, size, "%s", s.at && s.len < size ? s.at : "");
        }
    }
    ctx_free(t.ctx);
}

static bool eval_kernel(const Trial *t, Eval *ev) {
    Block b = {{0}};
    for (int i = 0; i < t->k->defs.len; i++)
        item_new(t->ctx, &b, ITEM_DEF)->def = t->k->defs.at[i];
    return eval_block(ev, &b);
}

static void test_kernel(uint64_t seed) {
    Trial t;
    Gen g;
    Eval *ev;
    char rule[2000] = "";
    if (seed % 3 == 0)
        rule_of(seed, rule, sizeof rule);
    Def *d = start(&t, &g, &ev, seed);
    bool ran = d != NULL;
    for (int i = 0; ran && i < t.k->defs.len; i++)
        ran = is_small(ev, t.k->defs.at[i]);
    ran = ran && eval_kernel(&t, ev);
    if (ran) {
        t.out = d->buf;
        t.want = eval_tensor(ev, d->buf);
        test_loops(&t, ev, rule);
    }
    ctx_free(t.ctx);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 0; i < rounds; i++)
        test_kernel(seed + (uint64_t)i);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
