/* Tests of the tensor and loop levels: random equations against a tree walk, known elements, loops, texts.
 *
 * Usage: ir_test [rounds [seed]]; the last line is `N passed, N failed`. */
#include "lower/lower.h"
#include "tests/ir_gen.h"

/* ---- the oracle: a lazy tree walk ---------------------------------------------------------------- */

typedef struct Walk {
    Gen *g;
    const Def *d;
    int64_t *at; /* of each axis */
    bool outside;
} Walk;

static Scalar walk(Walk *w, const Expr *e);

static Scalar walk_load(Walk *w, const Expr *e) {
    int64_t off = 0;
    Tensor *t = NULL;
    for (int i = 0; i < w->g->in.len; i++)
        if (w->g->in.at[i] == e->u.buf)
            t = w->g->data.at[i];
    for (int i = 0; i < e->nkid; i++) {
        int64_t k = walk(w, e->kid[i]).i;
        if (k < 0 || k >= t->dim[i]) {
            w->outside = true;
            return (Scalar){.i = 0};
        }
        off = off * t->dim[i] + k;
    }
    Const c = {t->type, t->count, false, t->data, NULL};
    return scalar_of(const_at(w->g->ctx, &c, off));
}

static Scalar walk(Walk *w, const Expr *e) {
    Scalar kid[3] = {{0}, {0}, {0}}, r = {0};
    switch (e->op) {
    case OP_INT:
    case OP_FLT:
        return scalar_of(e);
    case OP_SYM:
        for (int i = 0; i < w->d->naxis; i++)
            if (w->d->axis[i].var == e->u.sym)
                return (Scalar){.i = w->at[i]};
        return r;
    case OP_LOAD:
        return walk_load(w, e);
    case OP_SELECT:
        return walk(w, e->kid[walk(w, e->kid[0]).i ? 1 : 2]);
    case OP_AND:
        return (Scalar){.i = walk(w, e->kid[0]).i && walk(w, e->kid[1]).i};
    case OP_OR:
        return (Scalar){.i = walk(w, e->kid[0]).i || walk(w, e->kid[1]).i};
    default:
        for (int i = 0; i < e->nkid; i++)
            kid[i] = walk(w, e->kid[i]);
        scalar_op((Op)e->op, type_dtype(e->kid[0]->type), type_dtype(e->type), kid, &r);
        return r;
    }
}

static Scalar combined(const Def *d, Scalar a, Scalar b) {
    Scalar kid[2] = {a, b}, r = a;
    Dtype t = type_dtype(d->buf->type);
    scalar_op((Op)d->combine, t, t, kid, &r);
    return r;
}

static bool next_point(const Def *d, int64_t *at, int from) {
    for (int i = d->naxis - 1; i >= from; i--) {
        if (++at[i] < d->axis[i].var->extent->u.i)
            return true;
        at[i] = 0;
    }
    return false;
}

static Scalar walk_reduce(Walk *w, int rank) {
    const Def *d = w->d;
    Scalar acc[256];
    int axis = d->naxis - 1, ways = d->axis[axis].ways > 1 ? d->axis[axis].ways : 1;
    for (int j = 0; j < ways; j++)
        acc[j] = scalar_of(combine_identity(w->g->ctx, (Op)d->combine, type_dtype(d->buf->type)));
    Scalar init = acc[0];
    if (d->init)
        init = walk(w, d->init);
    if (ways == 1)
        acc[0] = init;
    bool more = true;
    for (int i = rank; i < d->naxis; i++)
        more = more && d->axis[i].var->extent->u.i > 0;
    for (; more; more = next_point(d, w->at, rank))
        if (!d->when || walk(w, d->when).i)
            acc[w->at[axis] % ways] = combined(d, acc[w->at[axis] % ways], walk(w, d->value));
    for (int h = ways / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            acc[j] = combined(d, acc[j], acc[j + h]);
    return d->init && ways > 1 ? combined(d, init, acc[0]) : acc[0];
}

/* All elements of d's buffer; `old` holds the values before. */
static bool walk_def(Gen *g, const Def *d, Scalar *out) {
    Walk w = {g, d, ctx_newn(g->ctx, int64_t, d->naxis + 1), false};
    int rank = d->buf->rank;
    for (int i = 0; i < (d->at ? d->naxis : rank); i++)
        if (d->axis[i].var->extent->u.i == 0)
            return true;
    int64_t off = 0;
    if (d->at) {
        do {
            if (d->when && !walk(&w, d->when).i)
                continue;
            off = 0;
            for (int i = 0; i < rank; i++)
                off = off * d->buf->dim[i]->u.i + walk(&w, d->at[i]).i;
            Scalar v = walk(&w, d->value);
            out[off] = d->combine == COMBINE_SET ? v : combined(d, out[off], v);
        } while (next_point(d, w.at, 0));
        return !w.outside;
    }
    int64_t n = 1, *first = ctx_newn(g->ctx, int64_t, d->naxis + 1);
    for (int i = 0; i < rank; i++)
        n *= d->buf->dim[i]->u.i;
    for (; off < n; off++) {
        memcpy(w.at, first, (size_t)d->naxis * sizeof *first);
        out[off] = def_is_reduction(d) ? walk_reduce(&w, rank) : walk(&w, d->value);
        for (int i = rank - 1; i >= 0 && ++first[i] == d->buf->dim[i]->u.i; i--)
            first[i] = 0;
    }
    return !w.outside;
}

static bool tensor_is(Ctx *ctx, const Tensor *t, const Scalar *want) {
    Const c = {t->type, t->count, false, t->data, NULL};
    for (int64_t i = 0; i < t->count; i++)
        if (!same(t->type, scalar_of(const_at(ctx, &c, i)), want[i])) {
            return false;
        }
    return true;
}

static int64_t domain_size(const Def *d) {
    int64_t n = 1;
    for (int i = 0; i < d->naxis; i++)
        n *= d->axis[i].var->extent->u.i;
    return n;
}

static void test_random_def(uint64_t seed) {
    Ctx *ctx = ctx_create(0);
    Gen g;
    gen_start(&g, ctx, seed);
    Eval *ev = eval_new(ctx);
    gen_inputs(&g, ev);
    g.wild = rnd(&g, 3) == 0;
    Def *d = gen_def(&g, (int)rnd(&g, 3));
    int64_t count = 1;
    buf_static(d->buf, &count);
    if (domain_size(d) > 20000) {
        ctx_free(ctx);
        return;
    }
    Tensor *y = ctx_new(ctx, Tensor);
    y->type = type_dtype(d->buf->type);
    y->rank = d->buf->rank;
    y->count = count;
    buf_dims(d->buf, y->dim);
    y->data = ctx_alloc(ctx, (size_t)(count * type_bytes(y->type)));
    eval_bind(ev, d->buf, y);
    Scalar *want = ctx_newn(ctx, Scalar, count);
    bool inside = (!g.first || walk_def(&g, g.first, want)) && walk_def(&g, d, want);
    bool ran = (!g.first || eval_def(ev, g.first)) && eval_def(ev, d);
    check(inside == ran, "an index out of bounds is an error, and only that", seed);
    if (inside && ran) {
        bool ok = tensor_is(ctx, y, want);
        check(ok, "an equation equals its tree walk", seed);
    }
    ctx_free(ctx);
}

/* ---- texts -------------------------------------------------------------------------------------- */

static Str program_text(Ctx *ctx, const Program *p) {
    Text t = text_new(ctx);
    program_print(&t, p);
    return str(ctx, t.at);
}

static Str lcc_text(Ctx *ctx, const LccText *l) {
    Text t = text_new(ctx);
    for (int i = 0; i < l->kernels.len; i++)
        kernel_print(&t, l->kernels.at[i]);
    for (int i = 0; i < l->funcs.len; i++)
        if (!l->funcs.at[i]->instr)
            func_print(&t, l->funcs.at[i]);
    return str(ctx, t.at ? t.at : "");
}

/* What a text reads back as, printed; NULL when it can't be read. */
static Str reprint(Ctx *ctx, const char *text) {
    if (!strncmp(text, "program", 7)) {
        Program *p = program_parse(ctx, "text", text);
        return p ? program_text(ctx, p) : NULL;
    }
    LccText *l = lcc_parse(ctx, "text", text);
    return l ? lcc_text(ctx, l) : NULL;
}

static void check_text(Ctx *ctx, const char *text, const char *what, uint64_t seed) {
    Str again = reprint(ctx, text);
    bool same_text = again && !strcmp(text, again);
    check(same_text, what, seed);
    if (!same_text)
        printf("%s%s\n--- again\n%s\n", ctx->diag.text.at ? ctx->diag.text.at : "", text,
               again ? again : "(nothing)");
}

static bool same_results(Eval *ev, const Program *p, Eval *other, const Program *q) {
    bool eq = true;
    for (int i = 0; i < p->outputs.len; i++)
        eq = eq && same_tensor(eval_tensor(ev, p->outputs.at[i].buf),
                               eval_tensor(other, q->outputs.at[i].buf));
    return eq;
}

#define BUDGET 3e6

/* The program read back computes the same. */
static void check_meaning(Gen *g, Eval *ev, const Program *p, uint64_t seed) {
    Ctx *ctx = g->ctx;
    Program *q = program_parse(ctx, "text", program_text(ctx, p));
    Eval *other = eval_new(ctx);
    eval_budget(other, BUDGET);
    for (int i = 0; q && i < p->inputs.len; i++)
        eval_bind(other, q->inputs.at[i].buf, g->data.at[i]);
    check(q && eval_block(other, q->main) && same_results(ev, p, other, q),
          "a program read back computes the same", seed);
}

static Text module_text(Ctx *ctx, const Module *m) {
    Text t = text_new(ctx);
    module_print(&t, m);
    return t;
}

/* A module read back prints the same from then on, and computes the same unless its text leaves data out. */
static void check_module_text(Gen *g, Eval *ev, const Program *p, const Module *m, uint64_t seed) {
    Ctx *ctx = g->ctx;
    Module *once = module_parse(ctx, "text", module_text(ctx, m).at);
    Module *twice = once ? module_parse(ctx, "text", module_text(ctx, once).at) : NULL;
    bool ok = twice && !strcmp(module_text(ctx, once).at, module_text(ctx, twice).at);
    check(ok, "a module's text reads back", seed);
    if (!ok || once->prog->blank)
        return;
    Eval *other = eval_new(ctx);
    for (int i = 0; i < once->prog->inputs.len; i++)
        eval_bind(other, once->prog->inputs.at[i].buf, g->data.at[i]);
    check(module_verify(ctx, once, "reading") && eval_module(other, once) &&
              same_results(ev, p, other, once->prog),
          "a module read back computes the same", seed);
}

/* The module a program is lowered to computes the same: kernels, schedules, flat loops, memory plan. */
static void check_lowered(Ctx *ctx, Eval *ev, const Program *p, uint64_t seed) {
    static const char *const targets[] = {"c", "avx2", "avx512", "avx512-vnni"};
    Gen g;
    Eval *other = eval_new(ctx);
    Program *q = generate(&g, ctx, other, seed);
    const Options opt = {.strict = !g.exact};
    const Machine *machine;
    const Target *target = target_find(targets[seed % 4], &machine);
    ctx->opt = &opt;
    Module *m = lower_program(ctx, q, target, machine);
    eval_budget(other, 100 * BUDGET);
    bool ran = m && eval_module(other, m), ok = ran && same_results(ev, p, other, q);
    ctx->opt = NULL;
    if (m && !ran && eval_steps(other) > 100 * BUDGET)
        return;
    check(ok, "a lowered program computes the same", seed);
    if (ok)
        check_module_text(&g, ev, p, m, seed);
    if (!ok && ctx->diag.text.at)
        printf("%s", ctx->diag.text.at);
}

static void test_random_program(uint64_t seed) {
    Ctx *ctx = ctx_create(0);
    Gen g;
    Eval *ev = eval_new(ctx);
    Program *p = generate(&g, ctx, ev, seed);
    eval_budget(ev, BUDGET);
    check_text(ctx, program_text(ctx, p), "a program's text reads back", seed);
    check(program_verify(ctx, p, "generation"), "a program is sound", seed);
    if (eval_block(ev, p->main)) {
        if (!p->consts.len)
            check_meaning(&g, ev, p, seed);
        check_lowered(ctx, ev, p, seed);
    }
    ctx_free(ctx);
}

static void test_texts(void) {
    static const char *const texts[] = {
        "kernel k0 {\n"
        "  sym N dim 1..64 %8\n"
        "  x f32[N, 256]\n"
        "  w const f32[256, 64]\n"
        "  t f32[N, 64] { m<N, n<64 } = add[16](k<256) x[m, k]*w[k, n] @\"fc1\"\n"
        "  y f32[N, 64] { m<N, n<64 } = max(t[m, n], 0.0) @\"act1\"\n"
        "}\n"
        "schedule k0 split y.m -> m0 m1 by 6 tail=peel ; reorder m0 y.n m1 ; parallel m0 ; "
        "compute_at t in y at m0 ; stage t at y.m0 in reg ; tensorize t.n with fma by 16\n"
        "loops k0 {\n"
        "  param (x, w, y) sym (N)\n"
        "  for m0 < N//6 parallel {\n"
        "    alloc t_2 reg f32[6] {\n"
        "      for red k < 256 @t.k {\n"
        "        t_2[0] = fma(x[m0*6, k], w[k, 1], t_2[0]) @t\n"
        "      }\n"
        "      let v = bcast(t_2[0], 8)\n"
        "      y[m0, 0 +: 8] = max(v, 0.0:f32x8)\n"
        "      y[bcast(m0 < 3, 8) ? m0, ramp(8, 1, 8)] = v\n"
        "    }\n"
        "    if m0 < 2 {\n"
        "      y[m0, 1] = 0.0\n"
        "    } else {\n"
        "      y[m0, 2] = 0.0\n"
        "    }\n"
        "  }\n"
        "}\n",
        "kernel k1 {\n"
        "  idx i64[10]\n"
        "  x f32[10]\n"
        "  y f32[4]\n"
        "  y { seq s<10 } [idx[s]] add= x[s] when 0 <= idx[s] && idx[s] < 4\n"
        "  scan g t<10 {\n"
        "    h f32[10, 2] { t, i<2 } = select(t == 0, 0.0, h[t - 1, i]) + x[t]\n"
        "    o f32[10] { t } = max(i<2 | h[t, i] < 2.0) h[t, i] init 0.0\n"
        "  }\n"
        "}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Ctx *ctx = ctx_create(0);
        check_text(ctx, texts[i], "a kernel's text reads back", i);
        ctx_free(ctx);
    }
}

/* ir_test text FILE…: every file reads back. Terms are ordered by the age of their symbols, which in a text
 * is the order of their declarations; so what was read once is compared. */
static void test_file(const char *path) {
    Ctx *ctx = ctx_create(0);
    FILE *f = fopen(path, "rb");
    Text t = text_new(ctx);
    for (int c; f && (c = fgetc(f)) != EOF;)
        text_c(&t, (char)c);
    if (f)
        fclose(f);
    Str once = reprint(ctx, t.at ? t.at : "");
    check(once != NULL, path, 0);
    if (once)
        check_text(ctx, once, path, 0);
    else
        printf("%s", ctx->diag.text.at);
    ctx_free(ctx);
}

int main(int argc, char **argv) {
    bool files = argc > 1 && !strcmp(argv[1], "text");
    int rounds = files ? 0 : argc > 1 ? atoi(argv[1]) : 2000;
    uint64_t seed = !files && argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (int i = 2; files && i < argc; i++)
        test_file(argv[i]);
    for (int i = 0; i < rounds; i++) {
        test_random_def(seed + (uint64_t)i);
        if (i % 4 == 0)
            test_random_program(seed + (uint64_t)i);
    }
    if (!files)
        test_texts();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
