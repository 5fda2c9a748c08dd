/* codegen/c/bridge.c — the typed entry behind three functions of fixed type (docs/bridge.md).
 *
 * The text goes behind the source, in one file with it; the stub pieces it needs are in the source. Names of
 * the model go into the signature as JSON, every byte that is not plain as \uNNNN. */
#include "codegen/c/emit.h"

#include <string.h>

/* One code point at s (n bytes left) and its length; what is no UTF-8 stands for itself as Latin-1. */
static int utf8_read(const unsigned char *s, size_t n, uint32_t *c) {
    int len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
    *c = s[0];
    if (len == 1 || s[0] > 0xf4 || (size_t)len > n)
        return 1;
    uint32_t v = s[0] & (0xffu >> (len + 1));
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 1;
        v = v << 6 | (s[i] & 0x3f);
    }
    *c = v;
    return len;
}

static void json_string(Text *t, const char *s) {
    size_t n = s ? strlen(s) : 0;
    text_c(t, '"');
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += (size_t)utf8_read((const unsigned char *)s + i, n - i, &c);
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c < 128 && c && strchr("_.:/-", (int)c));
        if (plain)
            text_c(t, (char)c);
        else if (c < 0x10000)
            text_f(t, "\\u%04x", c);
        else
            text_f(t, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
    }
    text_c(t, '"');
}

/* An extent: an integer, a text over dims, or null. */
static void json_extent(Emit *em, Text *t, const Expr *e) {
    int64_t v;
    e = expr_over_dims(em->ctx, e);
    if (!e) {
        text_s(t, "null");
    } else if (expr_is_int(e, &v)) {
        text_f(t, "%lld", (long long)v);
    } else {
        Text dim = text_new(em->ctx);
        expr_print(&dim, em->names, e);
        text_f(t, "\"%s\"", safe_comment(em->ctx, dim.at, 1000));
    }
}

/* e with every symbol that depends on data at its largest. */
static const Expr *at_most(Ctx *ctx, const Expr *e, void *data) {
    if (e->op == OP_SYM && e->u.sym->kind != SYM_DIM && e->u.sym->max != INT64_MAX)
        return expr_i(ctx, e->u.sym->max);
    (void)data;
    return e;
}

/* The extents of the memory a state lies in, where it has room for rows to come. */
static void json_storage(Emit *em, Text *t, const Buf *b) {
    int64_t room;
    int along = state_along(em->ctx, em->m->prog, b, &room);
    for (int i = 0; along >= 0 && i < b->rank; i++) {
        text_s(t, i ? ", " : ", \"storage\": [");
        json_extent(em, t, i == along ? expr_i(em->ctx, room) : b->dim[i]);
    }
    text_s(t, along >= 0 ? "]" : "");
}

static void json_port(Emit *em, Text *t, Str name, const Buf *b) {
    text_s(t, "{\"name\": ");
    json_string(t, name);
    text_f(t, ", \"c_name\": \"%s\", \"type\": \"%s\", \"shape\": [", (Str)map_get(em->pr.names, b),
           type_text(type_dtype(b->type)));
    for (int i = 0; i < b->rank; i++) {
        text_s(t, i ? ", " : "");
        json_extent(em, t, b->dim[i]);
    }
    text_c(t, ']');
    bool bounded = port_is_open(em, b);
    for (int i = 0; bounded && i < b->rank; i++)
        bounded = expr_over_dims(em->ctx, expr_map(em->ctx, b->dim[i], at_most, NULL)) != NULL;
    if (bounded) {
        text_s(t, ", \"max_shape\": [");
        for (int i = 0; i < b->rank; i++) {
            text_s(t, i ? ", " : "");
            json_extent(em, t, expr_map(em->ctx, b->dim[i], at_most, NULL));
        }
        text_c(t, ']');
    }
    json_storage(em, t, b);
    text_c(t, '}');
}

static void json_dims(Emit *em, Text *t) {
    const Program *prog = em->m->prog;
    for (int i = 0; i < prog->dims.len; i++) {
        const Sym *s = prog->dims.at[i];
        text_f(t, "%s{\"name\": \"%s\"", i ? ", " : "", dim_name(em, s));
        if (s->min != INT64_MIN)
            text_f(t, ", \"min\": %lld", (long long)s->min);
        if (s->max != INT64_MAX)
            text_f(t, ", \"max\": %lld", (long long)s->max);
        text_f(t, ", \"multiple\": %lld}", (long long)(s->mult < 1 ? 1 : s->mult));
    }
}

static void json_tree(Text *t, Str tree, int n, const Port *port, int first) {
    if (tree) {
        text_s(t, tree);
        return;
    }
    text_c(t, '[');
    for (int i = 0; i < n; i++) {
        text_s(t, i ? ", {\"name\": " : "{\"name\": ");
        json_string(t, port[i].name);
        text_f(t, ", \"tensor\": %d}", first + i);
    }
    text_c(t, ']');
}

static void signature_json(Emit *em, Text *t) {
    const Program *prog = em->m->prog;
    Buf **param = em->m->entry->params.at;
    int nin = prog->inputs.len, nout = prog->outputs.len;
    int64_t bytes;
    text_f(t, "{\"schema\": 1, \"name\": \"%s\", \"target\": \"%s\",\n \"dims\": [", em->out->stem,
           em->mach->name);
    json_dims(em, t);
    for (int side = 0; side < 2; side++) {
        text_s(t, side ? "],\n \"outputs\": [" : "],\n \"inputs\": [");
        for (int i = 0; i < (side ? nout : nin); i++) {
            text_s(t, i ? ",\n  " : "");
            json_port(em, t, (side ? prog->outputs.at : prog->inputs.at)[i].name,
                      param[side ? nin + i : i]);
        }
    }
    text_s(t, "],\n \"args\": ");
    json_tree(t, prog->args, nin, prog->inputs.at, 0);
    text_s(t, ",\n \"results\": ");
    json_tree(t, prog->results, nout, prog->outputs.at, 0);
    if (!em->m->arena_bytes)
        text_f(t, ",\n \"arena_bytes\": null, \"arena_least\": %lld",
               (long long)em->m->arena_fixed);
    else if (expr_is_int(em->m->arena_bytes, &bytes))
        text_f(t, ",\n \"arena_bytes\": %lld", (long long)bytes);
    else
        text_s(t, ",\n \"arena_bytes\": null");
    text_f(t, ", \"weights_bytes\": %lld", (long long)em->weight_bytes);
    if (em->threads)
        text_f(t, ", \"threads\": %d", em->ctx->opt->threads < 0 ? 0 : em->ctx->opt->threads);
    text_s(t, "}\n");
}

/* As an array: ISO C wants no literal longer than 4095. */
static void print_signature(Emit *em, Text *t) {
    Text json = text_new(em->ctx);
    signature_json(em, &json);
    text_s(t, "static const char lepton_json[] = {");
    for (size_t i = 0; i <= json.len; i++) {
        unsigned char c = (unsigned char)json.at[i];
        text_s(t, i % 20 == 0 ? "\n    " : " ");
        bool plain = c >= ' ' && c < 0x7f && c != '\'' && c != '\\';
        if (plain)
            text_f(t, "'%c',", c);
        else
            text_f(t, c < 128 ? "%d," : "(char)%d,", c);
    }
    text_s(t, "\n};\n\nconst char *lepton_signature(void);\nconst char *lepton_signature(void) {\n"
              "    return lepton_json;\n}\n\n");
}

/* Shapes are computed with the dims under their own names. */
static int bridge_dims(Emit *em, const Expr *const *e, int n) {
    Printer *p = &em->pr;
    const Program *prog = em->m->prog;
    Stmt *body = NULL;
    for (int i = 0; i < n; i++) {
        Stmt *s = stmt_new(em->ctx, STMT_WHILE);
        s->a = e[i];
        body = stmt_join(s, body);
    }
    print_begin(p, body);
    int mark = print_open(p);
    for (int i = 0; i < prog->dims.len; i++) {
        Sym *s = prog->dims.at[i];
        Str name = dim_name(em, s);
        if (!map_get(p->used, s))
            continue;
        map_put(p->names, s, (void *)(uintptr_t)name);
        print_line(p, "const int64_t %s = dims[%d];", name, i);
    }
    return mark;
}

/* The dims as the struct that the model's own functions take. */
static void bridge_struct(Emit *em) {
    Printer *p = &em->pr;
    const Program *prog = em->m->prog;
    print_line(p, "%s_dims d;", em->out->prefix);
    for (int i = 0; i < prog->dims.len; i++)
        print_line(p, "d.%s = dims[%d];", dim_name(em, prog->dims.at[i]), i);
}

static void bridge_arena(Emit *em) {
    Printer *p = &em->pr;
    int64_t bytes = em->m->arena_fixed;
    bool fixed = !em->m->arena_bytes || expr_is_int(em->m->arena_bytes, &bytes);
    text_s(p->t, "size_t lepton_arena_bytes(const int64_t *dims);\n"
                 "size_t lepton_arena_bytes(const int64_t *dims) {\n");
    p->depth++;
    if (fixed) {
        print_line(p, "(void)dims;");
        print_line(p, "return (size_t)%lld;", (long long)bytes);
    } else {
        bridge_struct(em);
        print_line(p, "return %s_arena_bytes(&d);", em->out->prefix);
    }
    p->depth--;
    text_s(p->t, "}\n\n");
}

/* Each extent is closed; their product could be beyond what is written out as a tree. */
static const Expr *closed_count(Emit *em, const Buf *b) {
    const Expr *n = expr_i(em->ctx, 1);
    int64_t room;
    int along = state_along(em->ctx, em->m->prog, b, &room);
    for (int i = 0; i < b->rank; i++)
        n = expr_mul(em->ctx, n,
                     i == along ? expr_i(em->ctx, room) : expr_over_dims(em->ctx, b->dim[i]));
    return n;
}

/* Counts of the inputs, ranks and extents of the outputs, before the run. */
static void bridge_shapes(Emit *em) {
    Printer *p = &em->pr;
    const Func *f = em->m->entry;
    int nin = em->m->prog->inputs.len;
    for (int i = 0; i < f->params.len; i++) {
        const Buf *b = f->params.at[i];
        bool open = port_is_open(em, b);
        print_start(p);
        if (i < nin || !open) {
            text_f(p->t, "if (%s[%d].count %s ", i < nin ? "in" : "out", i < nin ? i : i - nin,
                   i < nin ? "!=" : "<");
            print_expr(p, closed_count(em, b), P_SHIFT);
            text_f(p->t, ")\n");
            p->depth++;
            print_line(p, "%s", i < nin ? "return LCC_EDIM;" : "small = 1;");
            p->depth--;
        } else {
            text_f(p->t, "/* out[%d]: its extents are written by the run */\n", i - nin);
        }
        if (i < nin)
            continue;
        print_line(p, "out[%d].rank = %d;", i - nin, b->rank);
        for (int k = 0; k < b->rank; k++) {
            print_start(p);
            text_f(p->t, "out[%d].dims[%d] = ", i - nin, k);
            if (open)
                text_c(p->t, '0');
            else
                print_expr(p, expr_over_dims(em->ctx, b->dim[k]), P_ASSIGN);
            text_s(p->t, ";\n");
        }
    }
}

/* Elements up to the last one of input i, which may not fill the memory it lies in. */
static const Expr *input_span(Emit *em, int i) {
    Ctx *ctx = em->ctx;
    const Buf *b = em->m->prog->inputs.at[i].buf;
    const Expr *last[RANK_MAX], *zero = expr_i(ctx, 0), *any = expr_i(ctx, 1);
    for (int k = 0; k < b->rank; k++) {
        const Expr *dim = expr_over_dims(ctx, b->dim[k]);
        last[k] = expr_sub(ctx, dim, expr_i(ctx, 1));
        any = expr_mul(ctx, any, dim);
    }
    const Expr *n = expr_add(ctx, buf_offset(ctx, b, last), expr_i(ctx, 1));
    return expr_select(ctx, expr_lt(ctx, zero, any), n, zero);
}

/* Callers of the bridge may hold a state in two buffers, or give the same one twice. */
static void bridge_states(Emit *em) {
    Printer *p = &em->pr;
    const Program *prog = em->m->prog;
    for (int i = 0; i < prog->inputs.len; i++)
        for (int j = 0; port_is_state(em, i) && j < prog->outputs.len; j++) {
            if (state_output(prog, prog->inputs.at[i].buf) != prog->outputs.at[j].buf)
                continue;
            const char *type = type_c(type_dtype(prog->inputs.at[i].buf->type));
            print_line(p, "if (out[%d].data != in[%d].data)", j, i);
            print_start(p);
            text_s(p->t, "    for (int64_t i = 0; i < ");
            print_expr(p, input_span(em, i), P_SHIFT);
            text_s(p->t, "; i++)\n");
            print_line(p, "        ((%s *)out[%d].data)[i] = ((const %s *)in[%d].data)[i];", type,
                       j, type, i);
        }
}

static void bridge_call(Emit *em) {
    Printer *p = &em->pr;
    const Func *f = em->m->entry;
    const char *comma = "";
    int nin = em->m->prog->inputs.len;
    bridge_states(em);
    print_start(p);
    text_f(p->t, "return %s_run(", em->out->prefix);
    if (em->m->prog->dims.len) {
        text_s(p->t, "&d");
        comma = ", ";
    }
    for (int i = 0; i < f->params.len; i++) {
        const Buf *b = f->params.at[i];
        if (port_is_state(em, i))
            continue;
        text_f(p->t, "%s(%s%s *)%s[%d].data", comma, i < nin ? "const " : "",
               type_c(type_dtype(b->type)), i < nin ? "in" : "out", i < nin ? i : i - nin);
        if (i >= nin && port_is_open(em, b))
            text_f(p->t, ", (size_t)out[%d].count, out[%d].dims", i - nin, i - nin);
        comma = ", ";
    }
    text_f(p->t, "%s%sarena%s%s);\n", comma, em->mode == WEIGHTS_FILE ? "weights, " : "",
           em->m->arena_cap ? ", arena_bytes" : "", em->threads ? ", (lcc_pool *)pool" : "");
}

static void bridge_prototype(Emit *em, const char *name, const char *end) {
    text_f(em->pr.t,
           "int %sconst int64_t *dims, const lepton_tensor *in, lepton_tensor *out,\n"
           "               %svoid *arena, size_t arena_bytes)%s",
           name, em->mode == WEIGHTS_FILE ? "const void *weights, " : "", end);
}

/* With --threads: pools, and the run without one. */
static void bridge_pool(Emit *em) {
    Text *t = em->pr.t;
    bridge_prototype(em, "lepton_run(", ";\n");
    bridge_prototype(em, "lepton_run(", " {\n");
    text_f(t,
           "    return lepton_run_on(NULL, dims, in, out, %sarena, arena_bytes);\n}\n\n"
           "size_t lepton_pool_bytes(int threads);\nsize_t lepton_pool_bytes(int threads) {\n"
           "    return LCC_POOL_BYTES(threads);\n}\n\n"
           "void *lepton_pool_start(void *memory, int threads);\n"
           "void *lepton_pool_start(void *memory, int threads) {\n"
           "    return %s_pool_start(memory, threads);\n}\n\n"
           "void lepton_pool_stop(void *pool);\nvoid lepton_pool_stop(void *pool) {\n"
           "    %s_pool_stop((lcc_pool *)pool);\n}\n",
           em->mode == WEIGHTS_FILE ? "weights, " : "", em->out->prefix, em->out->prefix);
}

static void bridge_run(Emit *em) {
    Printer *p = &em->pr;
    const Func *f = em->m->entry;
    const Program *prog = em->m->prog;
    VEC(const Expr *) dims = {0};
    bool fixed = false;
    for (int i = 0; i < f->params.len; i++) {
        bool open = port_is_open(em, f->params.at[i]);
        fixed |= i >= prog->inputs.len && !open;
        for (int k = 0; !open && k < f->params.at[i]->rank; k++)
            vec_push(em->ctx, &dims, expr_over_dims(em->ctx, f->params.at[i]->dim[k]));
    }
    for (int i = 0; i < 2; i++)
        bridge_prototype(em, em->threads ? "lepton_run_on(void *pool, " : "lepton_run(",
                         i ? " {\n" : ";\n");
    int mark = bridge_dims(em, dims.at, dims.len);
    if (prog->dims.len) {
        bridge_struct(em);
    } else {
        print_line(p, "(void)dims;");
    }
    if (fixed)
        print_line(p, "int small = 0;");
    print_line(p, "if (arena_bytes < lepton_arena_bytes(dims))");
    print_line(p, "    return LCC_ENOMEM;");
    bridge_shapes(em);
    if (!prog->inputs.len)
        print_line(p, "(void)in;");
    if (!prog->outputs.len)
        print_line(p, "(void)out;");
    if (fixed) {
        print_line(p, "if (small)");
        print_line(p, "    return LCC_ECAPACITY;");
    }
    bridge_call(em);
    print_close(p, mark);
    text_s(p->t, "}\n");
}

void bridge_print(Emit *em) {
    Text *t = &em->out->bridge;
    Printer entry = em->pr; /* with the names of the entry's parameters */
    em->pr.t = t;
    text_s(t, "\n/* The bridge for loaders that learn the shapes at run time. */\n"
              "typedef struct lepton_tensor {\n    void *data;\n    int64_t count;\n    int64_t "
              "dims[8];\n"
              "    int32_t rank;\n    int32_t reserved;\n} lepton_tensor;\n\n");
    print_signature(em, t);
    bridge_arena(em);
    bridge_run(em);
    if (em->threads)
        bridge_pool(em);
    em->pr = entry;
}
