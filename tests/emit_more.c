/* tests/emit_more.c — the C backend on what emit_test.c leaves out: vectors in memory and registers, every way
 * to store weights, names that want to break out.
 *
 *   emit_more FOLDER MACHINE   writes modules as emit_test does and prints their names
 * What a vector module must compute comes from the evaluator (eval_func). */
#include "tests/emit_common.h"

#include "ir/graph.h"

#include <math.h>

/* ---- vectors: accesses, masks, reductions, registers --------------------------------------------------- */

/* $L: lanes, $T: the type; lines of F are for floats, of I for integers. y is cut in rows of $L elements. */
static const char VECTORS[] =
    " loops vec flat {\n"
    "   sym n dim 0..100\n"
    "   x input $T[640]\n  idx input i64[64]\n  b input bool[64]\n"
    "   y output $T[2560]\n  yi output i64[192]\n  yb output bool[192]\n"
    "   param (x, idx, b, y, yi, yb) sym (n)\n"
    "   y[0 +: $L] = x[ramp(3, 2, $L)]\n"
    "   y[$L +: $L] = x[idx[0 +: $L]]\n"
    "   y[2*$L +: $L] = x[ramp(0, 1, $L) < bcast(n, $L) ? 7 +: $L]\n"
    "   y[ramp(0, 1, $L) < bcast(n, $L) ? 3*$L +: $L] = x[0 +: $L]\n"
    "   y[ramp(4*$L, 3, $L)] = x[1 +: $L]\n"
    "   y[bcast(7*$L, $L) + idx[0 +: $L]] = x[1 +: $L]\n"
    "   y[9*$L] = vadd(x[0 +: $L])\n"
    "   y[9*$L + 1] = vmax(x[0 +: $L])\n"
    "   y[9*$L + 2] = vmin(x[0 +: $L])\n"
    "   y[9*$L + 3] = lane(x[0 +: $L], 3)\n"
    "   alloc t reg $T[130] {\n"
    "     t[0 +: $L] = 0:$Tx$L\n"
    "     t[$L +: $L] = bcast(x[1], $L)\n"
    "     t[2*$L] = x[2]\n"
    "     for k < 4 {\n"
    "F      t[0 +: $L] = fma(bcast(x[k], $L), x[k*$L +: $L], t[0 +: $L])\n"
    "I      t[0 +: $L] = bcast(x[k], $L)*x[k*$L +: $L] + t[0 +: $L]\n"
    "     }\n"
    "     y[10*$L +: $L] = t[0 +: $L] + t[$L +: $L]*bcast(t[2*$L], $L)\n"
    "     y[11*$L] = t[3]\n"
    "     t[x[0 +: $L] < 0:$Tx$L ? 0 +: $L] = 1:$Tx$L\n"
    "     y[12*$L +: $L] = t[0 +: $L]\n"
    "   }\n"
    "   alloc t reg $T[66] {\n"
    "     t[0 +: $L] = x[0 +: $L]\n"
    "     t[1] = x[5]\n"
    "     t[$L] = x[6]\n"
    "     t[$L + 1 +: $L] = x[7 +: $L]\n"
    "     y[11*$L + 1] = t[$L] + t[0]\n"
    "     y[25*$L +: $L] = t[0 +: $L] + t[$L + 1 +: $L]\n"
    "   }\n"
    "   y[13*$L +: $L] = select(x[0 +: $L] < 0:$Tx$L, x[0 +: $L], 1:$Tx$L)\n"
    "   yb[0 +: $L] = x[0 +: $L] < x[5 +: $L] && !(x[0 +: $L] < 0:$Tx$L) || b[0 +: $L]\n"
    "   yb[$L] = lane(b[0 +: $L], 2)\n"
    "   yb[b[0 +: $L] ? 2*$L +: $L] = x[0 +: $L] <= x[5 +: $L]\n"
    "   y[14*$L +: $L] = select(b[0 +: $L], x[0 +: $L], x[8 +: $L])\n"
    "   let v = x[0 +: $L]*2:$Tx$L\n"
    "   let m = v < 1:$Tx$L\n"
    "   y[15*$L +: $L] = select(m, v, x[9 +: $L])\n"
    "   y[16*$L +: $L] = select(bcast(n < 3, $L), x[0 +: $L], x[1 +: $L] + x[2 +: $L])\n"
    "   y[17*$L +: $L] = $T(idx[0 +: $L])\n"
    "   y[18*$L +: $L] = max(x[0 +: $L], 0:$Tx$L)\n"
    "   y[19*$L +: $L] = min(3:$Tx$L, x[0 +: $L]) + max(x[0 +: $L], x[5 +: $L])\n"
    "   y[b[0 +: $L] ? ramp(20*$L, 2, $L)] = x[0 +: $L]\n"
    "   y[22*$L +: $L] = x[b[0 +: $L] ? ramp(3, 2, $L)]\n"
    "   y[23*$L +: $L] = x[b[0 +: $L] ? idx[0 +: $L]]\n"
    "   for i < 2 {\n"
    "     y[i*$L + 26*$L +: $L] = x[i*8 +: $L]*bcast(x[i], $L) - x[0 +: $L]\n"
    "   }\n"
    "   y[24*$L +: $L] = $T(b[0 +: $L])\n"
    "   yi[0 +: $L] = ramp(n*3, 2, $L)\n"
    "   yi[$L +: $L] = idx[0 +: $L] + ramp(n, 5, $L)\n"
    "   yi[2*$L +: $L] = i64(x[0 +: $L])\n"
    " }\n";

static Str fill_in(Ctx *ctx, Dtype type, int lanes) {
    Text t = text_new(ctx);
    bool skip = false;
    for (const char *p = VECTORS; *p; p++) {
        if (p == VECTORS || p[-1] == '\n') {
            skip = *p == (type_is_float(type) ? 'I' : 'F');
            continue;
        }
        if (skip)
            continue;
        if (*p != '$')
            text_c(&t, *p);
        else if (*++p == 'L')
            text_f(&t, "%d", lanes);
        else
            text_s(&t, type_text(type));
    }
    return str(ctx, t.at);
}

/* Small integers, so that every order of sums is exact. */
static int64_t small(const Buf *b, int64_t i) {
    if (b->type == T_BOOL)
        return i % 3 == 1;
    if (b->type == T_I64 && strcmp(b->name, "idx") == 0)
        return i * 2 % 61 % 2 ? i * 2 - 1 : i * 2; /* distinct, below 128 */
    return type_kind(type_dtype(b->type)) == 'U' ? i * 7 % 12 : i * 7 % 12 - 6;
}

static void bind_tensor(Test *t, Eval *ev, const Buf *b, bool input) {
    Tensor *v = ctx_new(t->ctx, Tensor);
    buf_static(b, &v->count);
    v->type = type_dtype(b->type);
    v->rank = 1;
    v->dim[0] = v->count;
    size_t n = (size_t)(v->count * type_bytes(v->type));
    v->data = ctx_alloc(t->ctx, n);
    for (int64_t i = 0; input && i < v->count; i++)
        const_put(v->type, v->data, i, expr_const(t->ctx, v->type, (double)small(b, i)));
    if (input)
        text_n(&t->in, v->data, n);
    eval_bind(ev, b, v);
}

static void test_vectors(Test *t, Dtype type, int lanes) {
    Ctx *ctx = t->ctx;
    test_open(t, str_f(ctx, "vec_%s_%d", type_text(type), lanes));
    LccText *text = lcc_parse(ctx, "vectors", fill_in(ctx, type, lanes));
    if (!text) {
        fprintf(stderr, "%s", ctx->diag.text.at);
        exit(1);
    }
    Kernel *k = ctx_new(ctx, Kernel);
    Func *f = k->func = text->funcs.at[0];
    Eval *ev = eval_new(ctx);
    eval_set(ev, f->syms.at[0], 5);
    vec_push(ctx, &t->prog->dims, f->syms.at[0]);
    vec_push(ctx, &t->module->kernels, k);
    for (int i = 0; i < f->params.len; i++) {
        Port p = {f->params.at[i]->name, f->params.at[i], NULL};
        bool input = p.buf->space == SPACE_INPUT;
        if (input)
            vec_push(ctx, &t->prog->inputs, p);
        else
            vec_push(ctx, &t->prog->outputs, p);
        vec_push(ctx, &t->entry->params, p.buf);
        bind_tensor(t, ev, p.buf, input);
    }
    Stmt *call = stmt_new(ctx, STMT_CALL);
    call->func = f;
    call->arg = f->params.at;
    call->symarg = ctx_new(ctx, const Expr *);
    call->symarg[0] = expr_sym(ctx, f->syms.at[0]);
    t->entry->body = call;
    if (!eval_func(ev, f)) {
        fprintf(stderr, "%s: %s", t->name, ctx->diag.text.at);
        exit(1);
    }
    for (int i = 0; i < t->prog->outputs.len; i++) {
        const Tensor *v = eval_tensor(ev, t->prog->outputs.at[i].buf);
        text_n(&t->expect, v->data, (size_t)(v->count * type_bytes(v->type)));
    }
    test_close(t, "c");
}

/* ---- weights ------------------------------------------------------------------------------------------ */

/* for i < n { y[i] = w[i] } in a kernel of its own, called with the constant. */
static void copy_kernel(Test *t, Str name, Buf *w, Buf *y) {
    Ctx *ctx = t->ctx;
    Kernel *k = ctx_new(ctx, Kernel);
    Func *f = ctx_new(ctx, Func);
    Sym *i = sym_axis(ctx, "i", buf_count(ctx, y));
    const Expr *at = expr_sym(ctx, i);
    k->name = f->name = name;
    k->func = f;
    f->kernel = k;
    vec_push(ctx, &f->params, w);
    vec_push(ctx, &f->params, y);
    Stmt *store = stmt_store(ctx, y, 1, &at, expr_load(ctx, w, 1, &at));
    f->body = stmt_for(ctx, i, i->extent, NULL, NULL, store);
    vec_push(ctx, &t->module->kernels, k);
    Stmt *call = stmt_new(ctx, STMT_CALL);
    call->func = f;
    call->arg = f->params.at;
    t->entry->body = stmt_join(t->entry->body, call);
}

static void add_weight(Test *t, Dtype type, int64_t n, bool splat) {
    Ctx *ctx = t->ctx;
    Str name = str_f(ctx, "%s_%lld", type_text(type), (long long)n);
    size_t size = (size_t)type_bytes(type);
    unsigned char *data = ctx_alloc(ctx, (size_t)(n + 1) * size);
    for (int64_t i = 0; type == T_STR && i < n; i++)
        ((ConstStr *)(void *)data)[i] = (ConstStr){"a\"\\?\?/\n*/\0é", 12};
    for (size_t i = 0; type != T_STR && i < (size_t)n * size;
         i++) /* all kinds of bits, NaN among them */
        data[i] = type == T_BOOL ? i % 2 : (unsigned char)(i % 7 == 0 ? 0xff : i * 37 + i / 256);
    for (int64_t i = 0; (type == T_I64 || type == T_I32) && i < n; i += 5)
        const_put(type, data, i, expr_int(ctx, type, type_min(type)));
    const Const *c = splat ? const_splat(ctx, type, n, data) : const_new(ctx, type, n, data);
    Buf *w = buf_const(ctx, name, c, 1, &n);
    vec_push(ctx, &t->module->consts, w);
    copy_kernel(t, str_f(ctx, "copy_%s", name), w,
                test_port(t, str_f(ctx, "y_%s", name), type, n, true));
    for (int64_t i = 0; type != T_STR && i < n; i++)
        text_n(&t->expect, (const char *)data + (splat ? 0 : (size_t)i * size), size);
}

static void test_weights(Test *t, const char *mode) {
    test_open(t, str_f(t->ctx, "weights_%s", mode));
    for (int type = T_F64; type <= T_C128; type++)
        add_weight(t, (Dtype)type, 13, false);
    add_weight(t, T_F32, 5000, false);
    add_weight(t, T_F32, 0, false);
    add_weight(t, T_F32, 100, true);
    add_weight(t, T_C64, 3, true);
    add_weight(t, T_I64, 2000, false);
    test_close(t, mode);
}

/* ---- names ----------------------------------------------------------------------------------------------- */

static const char *const NAMES[] = {
    "*/ int f(void) { return 1; } /*",
    "a\nb",
    "a\\\n b",
    "?\?/",
    "?\?/\n*/",
    "\"",
    "%n%s%s",
    "$(rm -rf x)",
    "`x`",
    "int",
    "main",
    "class",
    "linux",
    "I",
    "NULL",
    "expf",
    "lcc_f32",
    "w_x",
    "x",
    "X",
    "x_2",
    "x",
    "1abc",
    "",
    "_",
    "__",
    "\xc3\xa9\xe2\x80\xae",
    "\xff\xfe",
    "*/",
    "/*",
    "//",
    "#define x",
    "a.b/c:d-e",
    "y_cap",
    "arena",
    "mem",
    "rc",
    "dims",
    "weights",
    "i",
    "defined",
    "__FILE__",
    "NAN",
    "errno",
    "averyveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryverylongname"};
enum { NNAMES = sizeof NAMES / sizeof *NAMES };

/* Only printable ASCII, comments closed once each, no trigraph, no line that ends in a backslash outside
 * a macro or literal. */
static void check_text(const char *what, const Text *t) {
    int open = 0, bad = 0;
    for (size_t i = 0; i < t->len; i++) {
        unsigned char c = (unsigned char)t->at[i];
        bad |= (c < ' ' && c != '\n') || c > '~';
        bad |= t->at[i] == '?' && t->at[i + 1] == '?';
        bad |= t->at[i] == '\\' && t->at[i + 1] == '\n';
        if (strncmp(t->at + i, "/*", 2) == 0)
            bad |= open++ != 0;
        if (strncmp(t->at + i, "*/", 2) == 0)
            bad |= --open != 0;
        if (bad) {
            fprintf(stderr, "%s: byte %zu: %.60s\n", what, i, t->at + i);
            exit(1);
        }
    }
}

static void test_names(Test *t) {
    Ctx *ctx = t->ctx;
    test_open(t, "names");
    Text all = text_new(ctx);
    for (int i = 0; i < NNAMES; i++) {
        float v[3] = {(float)i, 1, 2};
        Buf *w =
            buf_const(ctx, str(ctx, NAMES[i]), const_new(ctx, T_F32, 3, ctx_copy(ctx, v, sizeof v)),
                      1, (const int64_t[]){3});
        vec_push(ctx, &t->module->consts, w);
        Buf *y = test_port(t, NAMES[i], T_F32, 3, true);
        copy_kernel(t, str(ctx, NAMES[i]), w, y);
        Kernel *k = t->module->kernels.at[i];
        Def *d = def_new(ctx, str(ctx, NAMES[i]), T_F32, 1, y->dim);
        Node *n = ctx_new(ctx, Node);
        const Expr *at = def_var(ctx, d, 0);
        d->buf = y;
        d->value = expr_load(ctx, w, 1, &at);
        n->loc.name = n->name = str(ctx, NAMES[i]);
        k->rule = n->name;
        vec_push(ctx, &k->defs, d);
        vec_push(ctx, &k->nodes, n);
        t->entry->body->loc = n->loc;
        text_n(&t->expect, (const char *)v, sizeof v);
        text_f(&all, "%s ", NAMES[i]);
    }
    Sym *dim = sym_new(ctx, SYM_DIM, str(ctx, "*/ int g(void); /*"), 0, 9);
    vec_push(ctx, &t->prog->dims, dim);
    t->flags = t->model_file = str(ctx, all.at);
    Out out = {.prefix = t->name, .stem = t->name, .weights = "c", .want_bridge = true};
    out.flags = out.model_file = out.sha256 = t->flags;
    if (!t->target->emit(ctx, t->module, t->machine, &out))
        exit(1);
    check_text("source", &out.source);
    check_text("header", &out.header);
    check_text("bridge", &out.bridge);
    for (int i = 0; i < NNAMES; i++) {
        Str s = safe_text(ctx, NAMES[i], 20);
        if (strlen(s) > 20 ||
            s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/-")])
            exit(1);
    }
    test_close(t, "c");
}

int main(int argc, char **argv) {
    static const Dtype types[] = {T_F32, T_F64, T_I32, T_I64, T_I16, T_U8};
    static const char *const modes[] = {"c", "string", "incbin", "file", "obj", "auto"};
    Test t = {.ctx = ctx_create(0)};
    if (argc < 3 || !(t.target = target_find(argv[2], &t.machine)))
        return 2;
    t.folder = str(t.ctx, argv[1]);
    for (int i = 0; i < 6 && t.machine->vec; i++)
        for (int lanes = 4; lanes <= 16; lanes *= 2)
            test_vectors(&t, types[i], lanes);
    for (int i = 0; i < 6; i++)
        test_weights(&t, modes[i]);
    test_names(&t);
    ctx_free(t.ctx);
    return 0;
}
