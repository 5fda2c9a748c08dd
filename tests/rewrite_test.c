/* Rewrites of equations against the evaluator: random programs, before and after.
 *
 * graph_rewrite: chains around sums of products; bitwise equal under --strict, else within the rounding of such
 * sums, relative to the largest value. kernel_winograd: convolutions of any size and border; F(2x2) bitwise on
 * integers with weights that are multiples of 4, F(4x4) within 2e-5 of the largest value.
 *
 * Usage: rewrite_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include "lower/lower.h"
#include "tests/ir_gen.h"

typedef struct Chain {
    Gen g;
    Text t;
    int vals; /* tensors v0, v1 … of one shape, the last one is the newest */
} Chain;

/* Every constant gets values near 1: neither zero nor so large that sums overflow. */
static void fill_consts(Gen *g, Program *p) {
    for (int i = 0; i < p->consts.len; i++) {
        Buf *b = p->consts.at[i];
        int64_t n;
        if (b->data || !buf_static(b, &n))
            continue;
        float *v = ctx_allocn(g->ctx, (size_t)n, sizeof *v);
        for (int64_t k = 0; k < n; k++)
            v[k] = (float)(rnd(g, 2) ? 1 : -1) * (0.25f + (float)rnd(g, 1000) / 500.0f);
        b->data = const_new(g->ctx, T_F32, n, v);
    }
}

static void bind_inputs(Gen *g, Eval *ev, Program *p) {
    for (int i = 0; i < p->inputs.len; i++) {
        Buf *b = p->inputs.at[i].buf;
        Tensor *t = ctx_new(g->ctx, Tensor);
        t->type = T_F32;
        t->rank = b->rank;
        buf_static(b, &t->count);
        buf_dims(b, t->dim);
        float *v = ctx_allocn(g->ctx, (size_t)t->count, sizeof *v);
        for (int64_t k = 0; k < t->count; k++)
            v[k] = (float)((int)rnd(g, 2001) - 1000) / 250.0f;
        t->data = v;
        eval_bind(ev, b, t);
    }
}

/* One of the things models do to a tensor of three channels, constants mostly per channel. V stands for the
 * newest tensor, # and $ for digits. */
static void link(Chain *c) {
    static const char *const how[] = {
        "V + b#[j]",
        "V*b#[j]",
        "V/b#[j]",
        "V - b#[j]",
        "b#[j] - V",
        "V*h#[]",
        "h#[]*V",
        "V/h#[]",
        "-V",
        "max(V, 0.5)",
        "V*b#[j] + b$[j]",
        "V*r#[l]",
        "(V + v0[i, j, l])*b#[j]",
    };
    uint32_t n = rnd(&c->g, 3);
    text_f(&c->t, "  v%d f32[2, 3, 6] { i<2, j<3, l<6 } = ", c->vals);
    for (const char *s = how[rnd(&c->g, 13)]; *s; s++)
        if (*s == 'V')
            text_f(&c->t, "v%d[i, j, l]", c->vals - 1);
        else if (*s == '#' || *s == '$')
            text_f(&c->t, "%d", (int)(*s == '#' ? n : (n + 1) % 3));
        else
            text_c(&c->t, *s);
    text_c(&c->t, '\n');
    c->vals++;
}

/* The sum that starts the chain: a convolution with a border, one with groups, or a matrix product. */
static void start(Chain *c) {
    static const char *const sums[] = {
        "add(c<4, r<3 | 1 <= l + r && l + r <= 6) s[i, c, l + r - 1]*w[j, c, r]",
        "add(r<3 | l + r < 6) w[j, 0, r]*s[i, j + 1, l + r]",
        "add(c<4) s[i, c, l]*w[j, c, 1]",
        "add(c<4, r<3 | l*2 + r < 6) s[i, c, l*2 + r]/h1[]*w[j, c, r]*h2[]",
    };
    static const char *const scales[] = {"x[i, j, k]", "x[i, j, k]/h0[]", "x[i, j, k]*q[j]",
                                         "x[i, j, k]*0.5", "h1[]*x[i, j, k]"};
    text_s(&c->t, "program \"p\" {\n  x f32[2, 4, 6]\n  w const f32[3, 4, 3]\n");
    text_s(&c->t, "  b0 const f32[3]\n  b1 const f32[3]\n  b2 const f32[3]\n  q const f32[4]\n");
    text_s(&c->t, "  h0 const f32[]\n  h1 const f32[]\n  h2 const f32[]\n");
    text_s(&c->t, "  r0 const f32[6]\n  r1 const f32[6]\n  r2 const f32[6]\n  in \"x\" x\n");
    text_f(&c->t, "  s f32[2, 4, 6] { i<2, j<4, k<6 } = %s\n", scales[rnd(&c->g, 5)]);
    text_f(&c->t, "  v0 f32[2, 3, 6] { i<2, j<3, l<6 } = %s\n", sums[rnd(&c->g, 4)]);
    c->vals = 1;
}

static Str chain_text(Ctx *ctx, uint64_t seed) {
    Chain c = {0};
    gen_start(&c.g, ctx, seed);
    c.t = text_new(ctx);
    start(&c);
    for (uint32_t i = 0, n = rnd(&c.g, 6); i < n; i++)
        link(&c);
    bool again = rnd(&c.g, 3) == 0; /* a second sum, over the result */
    text_f(&c.t, "  y output f32[2, 3, 6] { i<2, j<3, l<6 } = max(v%d[i, j, l], -40.0)\n",
           c.vals - 1);
    if (again)
        text_f(&c.t,
               "  z output f32[2, 3] { i<2, j<3 } = add(l<6) v%d[i, j, l]*r1[l]\n  out \"z\" z\n",
               c.vals - 1);
    text_s(&c.t, "  out \"y\" y\n}\n");
    return str(ctx, c.t.at);
}

static bool close_to(const Tensor *a, const Tensor *b, bool exact) {
    const float *x = a->data, *y = b->data;
    float largest = 0, worst = 0;
    if (a->count != b->count || exact)
        return a->count == b->count && !memcmp(x, y, (size_t)a->count * sizeof *x);
    for (int64_t i = 0; i < a->count; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        worst = fabsf(x[i] - y[i]) > worst ? fabsf(x[i] - y[i]) : worst;
    }
    return worst <= 1e-5f * (largest + 100); /* terms of 100 may cancel */
}

static Eval *evaluate(Gen *g, Program *p, uint64_t seed) {
    Eval *ev = eval_new(g->ctx);
    g->state = seed;
    bind_inputs(g, ev, p);
    check(program_verify(g->ctx, p, "rewrite_test") && eval_block(ev, p->main), "evaluates", seed);
    return ev;
}

static void test_chain(uint64_t seed, bool strict) {
    Ctx *ctx = ctx_create(0);
    Gen g;
    gen_start(&g, ctx, seed);
    Str text = chain_text(ctx, seed);
    Program *p[2];
    for (int i = 0; i < 2; i++) {
        p[i] = program_parse(ctx, "chain", text);
        if (!p[i]) {
            check(false, ctx->diag.text.at, seed);
            printf("%s", text);
            return;
        }
        g.state = seed;
        fill_consts(&g, p[i]);
    }
    const Machine *m;
    const Target *target = target_find("c", &m);
    Lower lo = lower_start(ctx, target, m);
    lo.prog = p[1];
    lo.strict = strict;
    Eval *before = evaluate(&g, p[0], seed);
    bool ok = graph_rewrite(&lo) && graph_prune(&lo);
    Eval *after = evaluate(&g, p[1], seed);
    for (int i = 0; ok && i < p[0]->outputs.len; i++)
        ok = close_to(eval_tensor(before, p[0]->outputs.at[i].buf),
                      eval_tensor(after, p[1]->outputs.at[i].buf), strict);
    check(ok, strict ? "graph_rewrite --strict keeps every bit" : "graph_rewrite", seed);
    if (!ok) {
        Text t = text_new(ctx);
        program_print(&t, p[1]);
        printf("%s%s", text, t.at);
    }
    ctx_free(ctx);
}

/* ---- windows ------------------------------------------------------------------------------------- */

/* A window over x, a maximum, and a second window that keeps the size; all sizes and borders by chance. */
static Str window_text(Ctx *ctx, uint64_t seed) {
    Gen g;
    gen_start(&g, ctx, seed);
    int c = 1 + (int)rnd(&g, 5), m = 1 + (int)rnd(&g, 5), batch = 1 + (int)rnd(&g, 2);
    if (rnd(&g, 3) == 0) /* whole vectors, and a rest */
        c = m = rnd(&g, 2) ? 16 : 20;
    int size[2], pad[2], out[2];
    for (int i = 0; i < 2; i++) {
        size[i] = 3 + (int)rnd(&g, 9);
        pad[i] = (int)rnd(&g, 3);
        out[i] = size[i] + pad[i] + (int)rnd(&g, 3) - 2; /* the far side has its own border */
    }
    Text t = text_new(ctx);
    Str dims = str_f(ctx, "f32[%d, %d, %d, %d] { n<%d, m<%d, p<%d, q<%d } =", batch, m, out[0],
                     out[1], batch, m, out[0], out[1]);
    text_f(&t, "program \"p\" {\n  x f32[%d, %d, %d, %d]\n", batch, c, size[0], size[1]);
    text_f(&t, "  w const f32[%d, %d, 3, 3]\n  v const f32[%d, %d, 3, 3]\n  in \"x\" x\n", m, c, m,
           m);
    text_f(&t,
           "  a %s add(c<%d, r<3, s<3 | %d <= p + r && p + r < %d && %d <= q + s && q + s < %d) ",
           dims, c, pad[0], size[0] + pad[0], pad[1], size[1] + pad[1]);
    text_f(&t, "x[n, c, p + r - %d, q + s - %d]*w[m, c, r, s]\n", pad[0], pad[1]);
    text_f(&t, "  b %s max(a[n, m, p, q], -9.0)\n", dims);
    text_f(&t, "  y output %s add(c<%d, r<3, s<3 | 1 <= p + r && p + r <= %d && 1 <= q + s && ",
           dims, m, out[0]);
    text_f(&t, "q + s <= %d) v[m, c, r, s]*b[n, c, p + r - 1, q + s - 1]\n", out[1]);
    text_s(&t, "  out \"y\" y\n}\n");
    return str(ctx, t.at);
}

/* Small integers times step, so that all sums of both windows are exact. */
static void round_to(const void *data, int64_t n, float step) {
    float *v = (void *)(uintptr_t)data;
    for (int64_t i = 0; i < n; i++)
        v[i] = rintf(v[i] / 2) * step;
}

/* How a window is computed: as it stands, rewritten, or as the module of a target. */
enum { DIRECT, REWRITTEN, LOWERED, WAYS };

static bool run_window(Gen *g, Eval *ev, Program *p, int way, uint64_t seed) {
    static const char *const targets[] = {"c", "avx2", "avx512"};
    const Machine *machine;
    const Target *target = target_find(targets[seed / 2 % 3], &machine);
    int items = p->main->items.len;
    Lower lo = lower_start(g->ctx, target, machine);
    lo.prog = p;
    if (way == LOWERED) {
        Module *m = lower_program(g->ctx, p, target, machine);
        return m && eval_module(ev, m);
    }
    if (way == REWRITTEN && (!kernel_winograd(&lo) || p->main->items.len != items + 4))
        return false;
    return program_verify(g->ctx, p, "rewrite_test") && eval_block(ev, p->main);
}

static void test_window(uint64_t seed, bool four) {
    Ctx *ctx = ctx_create(0);
    Options opt = {.rule = four ? "winograd4" : "winograd2"};
    Gen g;
    gen_start(&g, ctx, seed);
    Str text = window_text(ctx, seed);
    Tensor *out[WAYS] = {NULL};
    ctx->opt = &opt;
    for (int i = 0; i < WAYS; i++) {
        Program *p = program_parse(ctx, "window", text);
        Eval *ev = eval_new(ctx);
        if (!p)
            break;
        g.state = seed;
        fill_consts(&g, p);
        bind_inputs(&g, ev, p);
        Tensor *x = eval_tensor(ev, p->inputs.at[0].buf);
        if (!four)
            round_to(x->data, x->count, 1);
        for (int k = 0; !four && k < p->consts.len; k++)
            round_to(p->consts.at[k]->data->data, p->consts.at[k]->data->count, 4);
        bool ran = run_window(&g, ev, p, i, seed);
        out[i] = ran ? eval_tensor(ev, p->outputs.at[0].buf) : NULL;
        bool ok = out[0] && out[i] && close_to(out[0], out[i], !four);
        check(ok, opt.rule, seed);
        if (!ok)
            printf("way %d:\n%s%s", i, text, ctx->diag.text.at ? ctx->diag.text.at : "");
    }
    ctx_free(ctx);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 0; i < rounds; i++)
        test_chain(seed + (uint64_t)i, i % 2 != 0);
    for (int i = 0; i < rounds / 20; i++)
        test_window(seed + (uint64_t)i, i % 2 != 0);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
