/* Contractions of narrow types against the evaluator: random programs, and the modules they are lowered to on the
 * machines that have instructions for them. Integers and bf16 tiles bitwise (a tile adds in the order of the
 * equation), sums of dequantised numbers within the rounding of the f32 sum.
 *
 * Usage: narrow_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include "lower/lower.h"
#include "tests/ir_gen.h"

typedef struct Case {
    const char *target, *rule; /* rule: what one kernel must have */
    bool exact;
    Str text;
} Case;

static void random_bytes(Gen *g, Dtype t, int64_t n, void *data) {
    uint8_t *to = data;
    for (int64_t i = 0; i < n; i++) {
        if (t == T_BF16)
            const_put(t, data, i, expr_flt(g->ctx, t, ((int)rnd(g, 2001) - 1000) / 250.0));
        else
            to[i] = (uint8_t)rnd(g, 256);
    }
}

static void fill(Gen *g, Program *p, Eval *ev) {
    for (int i = 0; i < p->consts.len; i++) {
        Buf *b = p->consts.at[i];
        Dtype t = type_dtype(b->type);
        int64_t n;
        buf_static(b, &n);
        void *v = ctx_allocn(g->ctx, (size_t)n, (size_t)type_bytes(t));
        random_bytes(g, t, n, v);
        b->data = b->data ? b->data : const_new(g->ctx, t, n, v);
    }
    for (int i = 0; i < p->inputs.len; i++) {
        Buf *b = p->inputs.at[i].buf;
        Tensor *t = ctx_new(g->ctx, Tensor);
        t->type = type_dtype(b->type);
        t->rank = b->rank;
        buf_static(b, &t->count);
        buf_dims(b, t->dim);
        t->data = ctx_allocn(g->ctx, (size_t)t->count, (size_t)type_bytes(t->type));
        random_bytes(g, t->type, t->count, t->data);
        eval_bind(ev, b, t);
    }
}

/* i32(load), or i32(load) + n */
static Str shifted(Ctx *ctx, Str load, int n) {
    return n ? str_f(ctx, "(i32(%s) + %d:i32)", load, n) : str_f(ctx, "i32(%s)", load);
}

static const char *type_of(Gen *g) {
    return rnd(g, 2) ? "i8" : "u8";
}

static const char *machine_of(Gen *g) {
    static const char *const names[] = {"avx512-vnni", "avx512", "avx2"};
    return names[rnd(g, 3)];
}

static void conv_text(Gen *g, Case *c, bool real) {
    Ctx *ctx = g->ctx;
    Text t = text_new(ctx);
    int cin = 1 + (int)rnd(g, 21), m = 4 + (int)rnd(g, 40), k = 1 + (int)rnd(g, 3), pad = k / 2;
    int h = k + (int)rnd(g, 12), w = k + (int)rnd(g, 20), out = h + 2 * pad - k + 1,
        wide = w + 2 * pad - k + 1;
    const char *tx = type_of(g), *tw = real ? "i8" : type_of(g);
    int zx = (int)rnd(g, 128) * (tx[0] == 'u' ? -1 : 1), zw = real        ? 0
                                                              : rnd(g, 2) ? -128 * (tw[0] == 'u')
                                                                          : (int)rnd(g, 9);
    Str x = str_f(ctx, "a[n, c, p + r - %d, q + s - %d]", pad, pad), y = str(ctx, "w[m, c, r, s]");
    text_f(&t, "program \"p\" {\n  x %s[1, %d, %d, %d]\n  w const %s[%d, %d, %d, %d]\n", tx, cin, h,
           w, tw, m, cin, k, k);
    text_f(&t,
           "  in \"x\" x\n  a %s[1, %d, %d, %d] { n<1, c<%d, h<%d, w<%d } = max(x[n, c, h, w], "
           "3:%s)\n",
           tx, cin, h, w, cin, h, w, tx);
    if (real) {
        text_f(&t, "  d f32[1, %d, %d, %d] { n<1, c<%d, h<%d, w<%d } = f32(%s)*0.25\n", cin, h, w,
               cin, h, w, shifted(ctx, str(ctx, "a[n, c, h, w]"), zx));
        text_f(&t, "  v f32[%d, %d, %d, %d] { m<%d, c<%d, r<%d, s<%d } = f32(w[m, c, r, s])*0.5\n",
               m, cin, k, k, m, cin, k, k);
    }
    text_f(&t, "  y output %s[1, %d, %d, %d] { n<1, m<%d, p<%d, q<%d } = add(c<%d, r<%d, s<%d | ",
           real ? "f32" : "i32", m, out, wide, m, out, wide, cin, k, k);
    text_f(&t, "%d <= p + r && p + r < %d && %d <= q + s && q + s < %d) ", pad, h + pad, pad,
           w + pad);
    if (real)
        text_f(&t, "d[n, c, p + r - %d, q + s - %d]*v[m, c, r, s]", pad, pad);
    else
        text_f(&t, "%s*%s", shifted(ctx, x, zx), shifted(ctx, y, zw));
    text_s(&t, "\n  out \"y\" y\n}\n");
    const char *target = real ? "avx512-vnni" : machine_of(g);
    const char *rule = !strcmp(target, "avx512-vnni") ? "tile_dot4" : "tile_dot2";
    *c = (Case){target, h < 9 || w < 9 ? NULL : rule, !real, str(ctx, t.at)};
}

static void product_text(Gen *g, Case *c, bool bf16) {
    Ctx *ctx = g->ctx;
    int m = 1 + (int)rnd(g, 40), k = 1 + (int)rnd(g, 90), n = 1 + (int)rnd(g, 40);
    const char *tx = bf16 ? "bf16" : type_of(g), *tw = bf16 ? "bf16" : type_of(g);
    if (bf16) {
        m += 16;
        k += 32;
        n += 16;
    }
    Str x = str(ctx, "x[m, k]"), y = str(ctx, "w[k, n]");
    Str of = bf16 ? str(ctx, "f32(x[m, k])*f32(w[k, n])")
                  : str_f(ctx, "%s*%s", shifted(ctx, x, (int)rnd(g, 200) - 100),
                          shifted(ctx, y, tw[0] == 'u' ? -128 : 0));
    c->text = str_f(ctx,
                    "program \"p\" {\n  x %s[%d, %d]\n  w const %s[%d, %d]\n  in \"x\" x\n"
                    "  y output %s[%d, %d] { m<%d, n<%d } = add(k<%d) %s\n  out \"y\" y\n}\n",
                    tx, m, k, tw, k, n, bf16 ? "f32" : "i32", m, n, m, n, k, of);
    c->target = bf16 ? "amx" : machine_of(g);
    c->rule = bf16 ? "tile_bf16" : NULL;
    c->exact = true;
}

static bool close_to(const Tensor *a, const Tensor *b, bool exact) {
    if (exact)
        return same_tensor(a, b);
    const float *x = a->data, *y = b->data;
    for (int64_t i = 0; i < a->count; i++)
        if (!(x[i] - y[i] <= 1e-2f && y[i] - x[i] <= 1e-2f))
            return false;
    return a->count == b->count;
}

static bool has_rule(const Module *m, const char *rule) {
    for (int i = 0; rule && i < m->kernels.len; i++)
        if (m->kernels.at[i]->rule && !strcmp(m->kernels.at[i]->rule, rule))
            return true;
    return !rule;
}

static void test_case(uint64_t seed) {
    static const char *const what[] = {"integer convolution", "dequantised convolution",
                                       "integer product", "bf16 product"};
    Ctx *ctx = ctx_create(0);
    const Options opt = {0};
    Tensor *out[2] = {NULL, NULL};
    Module *module = NULL;
    Gen g;
    Case c;
    gen_start(&g, ctx, seed);
    if (seed % 4 < 2)
        conv_text(&g, &c, seed % 4 == 1);
    else
        product_text(&g, &c, seed % 4 == 3);
    ctx->opt = &opt;
    for (int i = 0; i < 2; i++) {
        Program *p = program_parse(ctx, "narrow", c.text);
        Eval *ev = eval_new(ctx);
        const Machine *machine;
        const Target *target = target_find(c.target, &machine);
        if (!p)
            break;
        g.state = seed;
        fill(&g, p, ev);
        module = i ? lower_program(ctx, p, target, machine) : NULL;
        if (i ? module && eval_module(ev, module) : eval_block(ev, p->main))
            out[i] = eval_tensor(ev, p->outputs.at[0].buf);
    }
    bool ok = out[0] && out[1] && close_to(out[0], out[1], c.exact) && has_rule(module, c.rule);
    check(ok, what[seed % 4], seed);
    if (!ok)
        printf("%s%s", c.text, ctx->diag.text.at ? ctx->diag.text.at : "");
    ctx_free(ctx);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 200;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 0; i < rounds; i++)
        test_case(seed + (uint64_t)i);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
