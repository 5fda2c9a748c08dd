/* Random legal schedules: after every step, and after lowering, the loops compute what the equations say.
 *
 * Usage: step_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include "lower/lower.h"
#include "tests/ir_gen.h"

typedef struct Trial {
    Ctx *ctx;
    Gen *g;
    Func *f;
    Buf *out;
    const Tensor *want;
    uint64_t seed;
    Text done; /* the steps applied */
} Trial;

/* ---- running ----------------------------------------------------------------------------------- */

static bool check_loops(Trial *t, const char *stage, bool flat) {
    Eval *ev = eval_new(t->ctx);
    for (int i = 0; i < t->g->data.len; i++)
        eval_bind(ev, t->g->in.at[i], t->g->data.at[i]);
    bool ok = func_verify(t->ctx, t->f, stage, flat) && eval_func(ev, t->f) &&
              same_tensor(t->want, eval_tensor(ev, t->out));
    check(ok, stage, t->seed);
    if (!ok)
        printf("after: %s\n%s\n", t->done.at ? t->done.at : "no step",
               t->ctx->diag.text.at ? t->ctx->diag.text.at : "");
    return ok;
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

static Str new_name(Trial *t, Str old, int i) {
    return str_f(t->ctx, "%s%c", old, 'x' + i);
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

static Step random_step(Trial *t, const Loops *l) {
    static const uint8_t ops[] = {STEP_SPLIT,     STEP_SPLIT,    STEP_SPLIT,      STEP_FUSE,
                                  STEP_REORDER,   STEP_REORDER,  STEP_UNROLL,     STEP_VECTORIZE,
                                  STEP_VECTORIZE, STEP_PARALLEL, STEP_COMPUTE_AT, STEP_COMPUTE_AT,
                                  STEP_STAGE};
    static const uint8_t tails[] = {TAIL_NONE, TAIL_PEEL, TAIL_PEEL, TAIL_GUARD};
    Ctx *ctx = t->ctx;
    Gen *g = t->g;
    const Kernel *k = t->f->kernel;
    Step s = {.op = ops[rnd(g, sizeof ops)]};
    add_loops(t, &s, l, s.op == STEP_REORDER ? 2 + (int)rnd(g, 2) : s.op == STEP_FUSE ? 2 : 1);
    s.num = ctx_new(ctx, int64_t);
    *s.num = s.op == STEP_VECTORIZE ? 4 << rnd(g, 3) : 2 + (int)rnd(g, 7);
    s.nnum = s.op == STEP_SPLIT || s.op == STEP_VECTORIZE;
    s.word = ctx_newn(ctx, Str, 2);
    s.word[0] = new_name(t, s.loop[0].axis, 0);
    s.word[1] = new_name(t, s.loop[0].axis, 1);
    s.nword = s.op == STEP_SPLIT ? 2 : s.op == STEP_FUSE ? 1 : 0;
    if (s.op == STEP_SPLIT)
        s.tail = tails[rnd(g, 4)];
    if (s.op != STEP_COMPUTE_AT && s.op != STEP_STAGE)
        return s;
    s.def = k->defs.at[rnd(g, (uint32_t)k->defs.len)]->name;
    s.in = kernel_root(k)->name;
    s.space = SPACE_REG;
    return s;
}

static bool try_steps(Trial *t) {
    Str why = NULL;
    for (int i = 0; i < 12; i++) {
        Loops l = {.ctx = t->ctx};
        stmt_walk(t->f->body, note_loop, &l);
        if (!l.at.len)
            return true;
        Step s = random_step(t, &l);
        if ((s.op == STEP_REORDER || s.op == STEP_FUSE) && s.nloop < 2)
            continue;
        Func before = *t->f; /* a step that fails halfway has changed the loops */
        before.body = stmt_copy(t->ctx, t->f->body);
        before.params.at = ctx_copy(t->ctx, before.params.at,
                                    (size_t)before.params.len * sizeof *before.params.at);
        if (!step_apply(t->ctx, t->f, &s, &why)) {
            *t->f = before;
            continue;
        }
        Sched one = {{0}};
        vec_push(t->ctx, &one.steps, s);
        text_s(&t->done, t->done.len ? " ; " : "");
        sched_print(&t->done, &one);
        if (!check_loops(t, "loops after a step compute the same", false))
            return false;
    }
    return true;
}

/* ---- one kernel -------------------------------------------------------------------------------- */

static bool is_small(const Def *d) {
    double n = 1;
    for (int i = 0; i < d->naxis; i++)
        n *= (double)d->axis[i].var->extent->u.i;
    return n < 60000;
}

static void test_kernel(uint64_t seed) {
    Ctx *ctx = ctx_create(0);
    Gen g;
    Eval *ev = eval_new(ctx);
    gen_start(&g, ctx, seed);
    gen_inputs(&g, ev);
    Kernel *k = ctx_new(ctx, Kernel);
    bool dense = rnd(&g, 2);
    Def *d = dense ? gen_dense(&g, ev) : gen_def(&g, (int)rnd(&g, 2));
    if (dense)
        vec_push(ctx, &k->defs, g.first);
    vec_push(ctx, &k->defs, d);
    bool ran = true;
    for (int i = 0; i < k->defs.len; i++)
        ran = ran && is_small(k->defs.at[i]) && eval_def(ev, k->defs.at[i]);
    if (ran) {
        const Options strict = {.strict = true};
        Trial t = {ctx, &g, NULL, d->buf, eval_tensor(ev, d->buf), seed, text_new(ctx)};
        Lower lo = {.ctx = ctx, .strict = true};
        ctx->opt = &strict;
        lo.target = target_find("avx2", &lo.machine);
        k->name = str(ctx, "k0");
        kernel_normalise(ctx, k);
        kernel_close(ctx, k);
        t.f = k->func = loop_build(ctx, k);
        if (check_loops(&t, "naive loops compute the same", false) && try_steps(&t) &&
            loop_lower(&lo, t.f))
            check_loops(&t, "lowered loops compute the same", true);
        ctx->opt = NULL;
    }
    ctx_free(ctx);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 0; i < rounds; i++)
        test_kernel(seed + (uint64_t)i);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
