/* define.c — graph_define: a Model becomes a Program of equations.
 *
 * Precondition: functions are inlined and every node is at its canonical version (graph_upgrade).
 * Inputs become Bufs whose dims are constants or DIM symbols, initialisers become constants at their
 * first use, nodes are defined in order by the rows of onnx_ops.def.
 *
 *   y = Relu(x), x f32[N, 4]   →   y f32[N, 4] { i < N, j < 4 } = max(x[i, j], 0.0) */
#include "frontend/composite.h"
#include "frontend/define.h"

#include <string.h>

/* ---- the table ------------------------------------------------------------------------------- */

#define ONNX ""
#define ML "ai.onnx.ml"
#define MS "com.microsoft"
#define TRAIN "ai.onnx.preview.training"
#define PREVIEW "ai.onnx.preview"
#define LCC "lcc"
#define MAP(domain, name, version, args, type, text)                                               \
    {domain, #name, version, 0, -1, 1, 1, OPKIND_MAP, args, type, text, NULL, 0, define_map},
#define REDUCE(domain, name, version, args, type, each, combine, after)                            \
    {domain, #name,        version,      1, 2, 1, 1, OPKIND_REDUCE, args, type, each,              \
     after,  OP_##combine, define_reduce},
#define TENSOR(domain, name, version, min_in, max_in, min_out, max_out, definer)                   \
    {domain,        #name, version, min_in, max_in, min_out, max_out,                              \
     OPKIND_TENSOR, NULL,  NULL,    NULL,   NULL,   0,       definer},
#define FUNC(domain, name, version, min_in, max_in, min_out, max_out)                              \
    {domain,      #name, version, min_in, max_in, min_out, max_out,                                \
     OPKIND_FUNC, NULL,  NULL,    NULL,   NULL,   0,       define_composite},
#define HOST(domain, name, version, min_in, max_in, min_out, max_out, definer)                     \
    {domain,      #name, version, min_in, max_in, min_out, max_out,                                \
     OPKIND_HOST, NULL,  NULL,    NULL,   NULL,   0,       definer},
#define CTRL(domain, name, version, min_in, max_in, min_out, max_out, definer)                     \
    {domain,      #name, version, min_in, max_in, min_out, max_out,                                \
     OPKIND_CTRL, NULL,  NULL,    NULL,   NULL,   0,       definer},
static const OnnxOp OPS[] = {
#include "frontend/onnx_ops.def"
};

const OnnxOp *onnx_op_table(int *count) {
    *count = (int)(sizeof OPS / sizeof *OPS);
    return OPS;
}

const OnnxOp *onnx_op_find(const char *domain, const char *name) {
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
        if (OPS[i].name[0] == name[0] && !strcmp(OPS[i].name, name) &&
            !strcmp(OPS[i].domain, domain))
            return &OPS[i];
    return NULL;
}

/* ---- scopes ---------------------------------------------------------------------------------- */

Scope *define_scope(Ctx *ctx, Scope *outer, Block *block) {
    Scope *s = ctx_new(ctx, Scope);
    *s = (Scope){outer, block, map_new(ctx), map_new(ctx)};
    return s;
}

void define_bind(Scope *s, const Value *v, Val *val) {
    map_put(s->vals, v, val);
}

Buf *define_literal(DefineState *st, const Literal *lit) {
    Buf *b = map_get(st->literals, lit);
    if (!b) {
        Str name = lit->name ? lit->name : str(st->ctx, "constant");
        b = buf_const(st->ctx, name, lit->data, lit->rank, lit->dim);
        map_put(st->literals, lit, b);
        vec_push(st->ctx, &st->prog->consts, b);
    }
    return b;
}

static Val *tensor_val(Ctx *ctx, Buf *b) {
    Val *v = ctx_new(ctx, Val);
    v->kind = VAL_TENSOR;
    v->buf = b;
    return v;
}

Val *define_lookup(DefineState *st, Scope *s, const Value *v) {
    if (v->init)
        return tensor_val(st->ctx, define_literal(st, v->init));
    for (; s; s = s->outer) {
        Val *val = map_get(s->vals, v);
        if (val)
            return val;
    }
    return NULL;
}

Ctx *define_ctx(DefineState *st) {
    return st->ctx;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void json_text(Text *t, const char *s) {
    text_c(t, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            text_f(t, "\\%c", *s);
        else if ((unsigned char)*s < 32)
            text_f(t, "\\u%04x", *s);
        else
            text_c(t, *s);
    }
    text_c(t, '"');
}

enum { NAMES_SHOWN = 10 };

static const DimBind *dim_bound(DefineState *st, Str name) {
    if (!map_get(st->asked, name)) {
        map_put(st->asked, name, st);
        vec_push(st->ctx, &st->open, name);
    }
    for (int i = 0; i < st->bound.len; i++)
        if (st->bound.at[i].name == name)
            return &st->bound.at[i];
    return NULL;
}

/* A dimension called `name`: the same one for the same name. */
static const Expr *dim_named(DefineState *st, Str name) {
    const DimBind *b = dim_bound(st, name);
    if (b && b->min == b->max)
        return expr_i(st->ctx, b->min);
    Sym *s = map_get(st->dims, name);
    if (!s) {
        s = sym_new(st->ctx, SYM_DIM, name, b ? b->min : 0, b ? b->max : DIM_MAX);
        s->mult = b && b->mult > 0 ? b->mult : 1;
        map_put(st->dims, name, s);
        vec_push(st->ctx, &st->prog->dims, s);
    }
    return expr_sym(st->ctx, s);
}

static const Expr *parse_sum(DefineState *st, Lex *lex);

static const Expr *parse_factor(DefineState *st, Lex *lex) {
    const Expr *e = NULL;
    if (lex_take(lex, "(")) {
        e = parse_sum(st, lex);
        return e && lex_take(lex, ")") ? e : NULL;
    }
    if (lex->kind == 'i')
        e = expr_i(st->ctx, lex->i);
    if (lex->kind == 'n') {
        Str name = str(st->ctx, lex->tok);
        if (map_get(st->plain, name))
            e = dim_named(st, name);
    }
    lex_next(lex);
    return e;
}

static const Expr *parse_product(DefineState *st, Lex *lex) {
    const Expr *a = parse_factor(st, lex), *b;
    while (a) {
        bool mul = lex_is(lex, "*");
        if (!mul && !lex_is(lex, "/") && !lex_is(lex, "//"))
            break;
        lex_next(lex);
        b = parse_factor(st, lex);
        a = !b ? NULL : mul ? expr_mul(st->ctx, a, b) : expr_fdiv(st->ctx, a, b);
    }
    return a;
}

static const Expr *parse_sum(DefineState *st, Lex *lex) {
    const Expr *a = parse_product(st, lex), *b;
    while (a && (lex_is(lex, "+") || lex_is(lex, "-"))) {
        bool add = lex_is(lex, "+");
        lex_next(lex);
        b = parse_product(st, lex);
        a = !b ? NULL : add ? expr_add(st->ctx, a, b) : expr_sub(st->ctx, a, b);
    }
    return a;
}

static bool is_expression(const char *s) {
    return strpbrk(s, "+-*/") && strspn(s, "+-*/() _.0123456789abcdefghijklmnopqrstuvwxyz"
                                           "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(s);
}

/* A dim_param: an expression over dims that stand alone elsewhere, else a dimension of its own. */
static const Expr *dim_param(DefineState *st, Str param) {
    if (is_expression(param) && !dim_bound(st, param)) {
        Lex lex;
        lex_init(&lex, st->ctx, "dim_param", param);
        const Expr *e = parse_sum(st, &lex);
        if (e && !lex.kind)
            return e;
    }
    return dim_named(st, param);
}

static Str dim_name(DefineState *st, const Value *v, int axis) {
    return v->info->param[axis] ? v->info->param[axis] : str_f(st->ctx, "%s_%d", v->name, axis);
}

/* What --shape says becomes bindings of the dims concerned. */
static bool bind_shape(DefineState *st, const ShapeBind *sb) {
    const Graph *g = st->model->graph;
    for (int i = 0; i < g->inputs.len; i++) {
        const Value *v = g->inputs.at[i];
        if (v->name != sb->input)
            continue;
        if (!v->info || v->info->kind != VALUE_TENSOR)
            return true;
        if (sb->kind != SHAPE_TENSOR)
            return diag_error(st->ctx, EXIT_USAGE, NULL, "--shape %s: the input is a tensor",
                              v->name);
        if (v->info->rank >= 0 && v->info->rank != sb->rank)
            return diag_error(st->ctx, EXIT_USAGE, NULL,
                              "--shape %s: the input has rank %d, not %d", v->name, v->info->rank,
                              sb->rank);
        for (int a = 0; a < sb->rank; a++) {
            int64_t is = v->info->rank < 0 ? -1 : v->info->dim[a];
            if (sb->dim[a] < 0)
                continue;
            if (is >= 0 && is != sb->dim[a])
                return diag_error(st->ctx, EXIT_USAGE, NULL,
                                  "--shape %s: axis %d is %lld in the model, not %lld", v->name, a,
                                  (long long)is, (long long)sb->dim[a]);
            if (is >= 0 || v->info->rank < 0)
                continue;
            DimBind b = {dim_name(st, v, a), sb->dim[a], sb->dim[a], 1};
            const DimBind *old = dim_bound(st, b.name);
            if (old && (b.min < old->min || b.min > old->max))
                return diag_error(st->ctx, EXIT_USAGE, NULL,
                                  "--shape %s: dim %s is bound to another value", v->name, b.name);
            vec_push(st->ctx, &st->bound, b);
        }
        return true;
    }
    diag_error(st->ctx, EXIT_USAGE, NULL, "--shape %s: the model has no such input", sb->input);
    Text names = text_new(st->ctx);
    for (int i = 0; i < g->inputs.len && i < NAMES_SHOWN; i++)
        text_f(&names, "%s%s", i ? ", " : "", g->inputs.at[i]->name);
    if (g->inputs.len)
        diag_note(st->ctx, "its inputs: %s", names.at);
    return false;
}

/* --dim of a dimension that no input has: mistyped, or meant for another model. */
static bool check_dims(DefineState *st) {
    Text names = text_new(st->ctx);
    for (int i = 0; i < st->open.len && i < NAMES_SHOWN; i++)
        text_f(&names, "%s%s", i ? ", " : "", st->open.at[i]);
    for (int i = 0; i < st->opt->dims.len; i++) {
        if (map_get(st->asked, st->opt->dims.at[i].name))
            continue;
        diag_error(st->ctx, EXIT_USAGE, NULL, "--dim %s: no input has such a dimension",
                   st->opt->dims.at[i].name);
        if (names.len)
            diag_note(st->ctx, "the inputs' open dimensions: %s", names.at);
        else
            diag_note(st->ctx, "all dimensions of the inputs are fixed");
        return false;
    }
    return true;
}

static const ShapeBind *shape_given(const DefineState *st, Str input) {
    for (int i = 0; i < st->opt->shapes.len; i++)
        if (st->opt->shapes.at[i].input == input)
            return &st->opt->shapes.at[i];
    return NULL;
}

/* An input tensor: extents from `sb` where it states them, else from the model. */
static Val *input_tensor(DefineState *st, Str name, const TypeInfo *t, const ShapeBind *sb,
                         Text *tree) {
    Ctx *ctx = st->ctx;
    const Expr *dim[RANK_MAX];
    int rank = t->rank < 0 ? sb->rank : t->rank;
    for (int a = 0; a < rank; a++) {
        if (sb && sb->rank == rank && sb->dim[a] >= 0)
            dim[a] = expr_i(ctx, sb->dim[a]);
        else if (t->rank >= 0 && t->dim[a] >= 0)
            dim[a] = expr_i(ctx, t->dim[a]);
        else if (t->rank >= 0 && t->param[a])
            dim[a] = dim_param(st, t->param[a]);
        else
            dim[a] = dim_named(st, str_f(ctx, "%s_%d", name, a));
    }
    Port p = {name, buf_new(ctx, name, t->type, SPACE_INPUT, rank, dim), NULL};
    text_f(tree, "\"tensor\": %d", st->prog->inputs.len);
    vec_push(ctx, &st->prog->inputs, p);
    return tensor_val(ctx, p.buf);
}

/* The value of an input; its tree (docs/bridge.md), without the braces, is appended. */
static Val *input_val(DefineState *st, Str name, const TypeInfo *t, const ShapeBind *sb,
                      Text *tree) {
    Ctx *ctx = st->ctx;
    Loc loc = {.file = ctx->file, .name = name, .op = "input", .node = -1};
    Val *v = NULL;
    if (!t || (t->kind == VALUE_TENSOR ? t->type == T_NONE : !t->elem || t->kind == VALUE_MAP))
        diag_error(ctx, EXIT_UNSUPPORTED, &loc, "an input of unknown type or a map");
    else if (t->kind == VALUE_TENSOR && t->rank < 0 && (!sb || sb->kind != SHAPE_TENSOR))
        diag_error(ctx, EXIT_USAGE, &loc, "the input has no shape in the model: give --shape %s=…",
                   name);
    else if (t->kind == VALUE_TENSOR)
        return input_tensor(st, name, t, sb, tree);
    else if (!sb || (t->kind == VALUE_SEQUENCE && sb->kind != SHAPE_SEQUENCE))
        diag_error(ctx, EXIT_USAGE, &loc, "the input is no tensor: give --shape '%s=%s'", name,
                   t->kind == VALUE_SEQUENCE ? "[2x3,4]" : "none");
    else {
        v = ctx_new(ctx, Val);
        v->kind = t->kind == VALUE_SEQUENCE ? VAL_SEQUENCE : VAL_OPTIONAL;
        v->elem_type = t->elem->type;
    }
    if (v && v->kind == VAL_OPTIONAL) {
        bool none = sb->kind == SHAPE_NONE;
        text_s(tree, none ? "\"none\": true" : "\"optional\": {");
        Val *e = none ? NULL : input_val(st, name, t->elem, sb, tree);
        if (!none)
            text_c(tree, '}');
        if (e)
            vec_push(ctx, &v->elems, e);
        return none || e ? v : NULL;
    }
    text_s(tree, v ? "\"sequence\": [" : "");
    for (int i = 0; v && i < sb->items.len; i++) {
        text_s(tree, i ? ", {" : "{");
        Val *e = input_val(st, str_f(ctx, "%s.%d", name, i), t->elem, &sb->items.at[i], tree);
        if (!e)
            return NULL;
        text_c(tree, '}');
        vec_push(ctx, &v->elems, e);
    }
    text_s(tree, v ? "]" : "");
    return v;
}

/* Which dims stand alone as an extent, so that their value can be read from an input. */
static void collect_plain(DefineState *st) {
    const Graph *g = st->model->graph;
    for (int i = 0; i < g->inputs.len; i++) {
        const TypeInfo *t = g->inputs.at[i]->info;
        for (int a = 0; t && t->kind == VALUE_TENSOR && a < t->rank; a++)
            if (t->dim[a] < 0 && t->param[a] && !strpbrk(t->param[a], "+-*/"))
                map_put(st->plain, t->param[a], st);
    }
}

static bool define_inputs(DefineState *st, Scope *s) {
    const Graph *g = st->model->graph;
    bool ok = true;
    for (int i = 0; i < st->opt->dims.len; i++)
        vec_push(st->ctx, &st->bound, st->opt->dims.at[i]);
    for (int i = 0; i < st->opt->shapes.len; i++)
        ok &= bind_shape(st, &st->opt->shapes.at[i]);
    collect_plain(st);
    Text args = text_new(st->ctx);
    for (int i = 0; ok && i < g->inputs.len; i++) {
        const Value *v = g->inputs.at[i];
        text_s(&args, i ? ", {\"name\": " : "[{\"name\": ");
        json_text(&args, v->name);
        text_s(&args, ", ");
        Val *val = input_val(st, v->name, v->info, shape_given(st, v->name), &args);
        text_c(&args, '}');
        if (val)
            define_bind(s, v, val);
        ok &= val != NULL;
    }
    ok = ok && check_dims(st);
    text_s(&args, g->inputs.len ? "]" : "[]");
    st->prog->args = str(st->ctx, args.at);
    return ok;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void poison(DefineState *st, Scope *s, const Node *n) {
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            define_bind(s, n->out[i], st->poison);
}

/* Finds the inputs; false when one is poisoned or missing. */
static bool find_inputs(Definer *d) {
    const Node *n = d->node;
    d->in = ctx_newn(d->ctx, Val *, n->nin);
    d->out = ctx_newn(d->ctx, Val *, n->nout);
    for (int i = 0; i < n->nin; i++) {
        if (!n->in[i])
            continue;
        d->in[i] = define_lookup(d->state, d->scope, n->in[i]);
        if (!d->in[i])
            return define_error(d, EXIT_MALFORMED, "input '%s' is not defined", n->in[i]->name);
        if (d->in[i] == d->state->poison)
            return false;
    }
    return true;
}

/* The number and kind of inputs and outputs against the row. */
static bool check_arity(Definer *d) {
    const Node *n = d->node;
    const OnnxOp *op = d->op;
    int nin = n->nin, nout = n->nout;
    while (nin > 0 && !d->in[nin - 1])
        nin--;
    while (nout > 0 && !n->out[nout - 1])
        nout--;
    if (nin < op->min_in || (op->max_in >= 0 && nin > op->max_in))
        return define_error(d, EXIT_MALFORMED, "%d inputs where the op takes %d to %d", nin,
                            op->min_in, op->max_in);
    if (op->max_out >= 0 && nout > op->max_out)
        return define_error(d, EXIT_MALFORMED, "%d outputs where the op has at most %d", nout,
                            op->max_out);
    for (int i = 0; i < nin; i++) {
        if (!d->in[i] && i < op->min_in && op->kind != OPKIND_MAP)
            return define_error(d, EXIT_MALFORMED, "input %d is missing", i);
        if (d->in[i] && d->in[i]->kind != VAL_TENSOR && op->kind != OPKIND_CTRL)
            return define_error(d, EXIT_MALFORMED, "input %d is not a tensor", i);
    }
    return true;
}

static bool define_one(Definer *d) {
    DefineState *st = d->state;
    if (!find_inputs(d))
        return false;
    if (st->depth > DEPTH_MAX || ++st->nodes > NODES_MAX)
        return define_error(d, EXIT_LIMIT, "bodies are nested or expanded too far");
    d->op = onnx_op_find(d->node->domain, d->node->op);
    if (!d->op)
        return define_error(d, EXIT_UNSUPPORTED, "the op is not supported");
    st->depth++;
    bool ok = check_arity(d) && d->op->define(d);
    st->depth--;
    for (int i = 0; ok && i < d->node->nout; i++)
        if (d->node->out[i]) {
            if (!d->out[i])
                internal_error(d->ctx, "%s left output %d undefined", d->node->op, i);
            define_bind(d->scope, d->node->out[i], d->out[i]);
        }
    return ok;
}

static bool define_fork(DefineState *st, Scope *s, const Graph *g, int from, const Node *origin);

static bool define_from(DefineState *st, Scope *s, const Graph *g, int from, const Node *origin) {
    bool ok = true;
    for (int i = from; i < g->nodes.len; i++) {
        const Node *n = g->nodes.at[i];
        Definer d = {.ctx = st->ctx,
                     .prog = st->prog,
                     .block = s->block,
                     .node = n,
                     .origin = origin ? origin : n,
                     .scope = s,
                     .state = st};
        int errors = st->ctx->diag.errors;
        if (define_one(&d) && st->ctx->diag.errors == errors)
            continue;
        if (st->fork == n)
            return define_fork(st, s, g, i, origin) && ok;
        poison(st, s, n);
        ok = false;
    }
    return ok;
}

/* The branches of an If give values of different ranks, and only shapes decide between them: what follows
 * is defined with one, if that fails with the other. The branch then stands for the rest of the graph; its
 * condition is checked at run time. */
static bool define_fork(DefineState *st, Scope *s, const Graph *g, int from, const Node *origin) {
    const Node *n = g->nodes.at[from];
    Diag *diag = &st->ctx->diag, before = *diag, first = before;
    const char *said = NULL;
    Scope *trial = NULL;
    bool ok = false;
    for (uintptr_t k = 0; k < 2 && !ok; k++) {
        if (++st->forks > FORKS_MAX)
            return diag_error(st->ctx, EXIT_LIMIT, &n->loc, "too many branches differ in rank");
        st->fork = NULL;
        map_put(st->taken, n, (void *)(k + 1));
        trial = define_scope(st->ctx, s, ctx_new(st->ctx, Block));
        ok = define_from(st, trial, g, from, origin);
        if (!ok && k == 0) {
            first = *diag;
            said = ctx_copy(st->ctx, diag->text.at + before.text.len,
                            first.text.len - before.text.len);
            diag->errors = before.errors;
            diag->exit_code = before.exit_code;
            diag->text.len = before.text.len;
        }
    }
    map_put(st->taken, n, NULL);
    if (!ok) { /* what the first branch met is what the user should read */
        diag->errors = first.errors;
        diag->exit_code = first.exit_code;
        diag->text.len = before.text.len;
        text_n(&diag->text, said, first.text.len - before.text.len);
    }
    for (int i = 0; i < trial->block->items.len; i++)
        vec_push(st->ctx, &s->block->items, trial->block->items.at[i]);
    for (int i = from; i < g->nodes.len; i++)
        for (int k = 0; k < g->nodes.at[i]->nout; k++) {
            const Value *v = g->nodes.at[i]->out[k];
            if (v)
                define_bind(s, v, define_lookup(st, trial, v));
        }
    return ok;
}

bool define_nodes(DefineState *st, Scope *s, const Graph *g, const Node *origin) {
    return define_from(st, s, g, 0, origin);
}

/* ---- what is not supported ------------------------------------------------------------------- */

static void check_graph(DefineState *st, const Graph *g) {
    if (++st->depth < DEPTH_MAX)
        for (int i = 0; i < g->nodes.len; i++) {
            const Node *n = g->nodes.at[i];
            if (!onnx_op_find(n->domain, n->op))
                diag_error(st->ctx, EXIT_UNSUPPORTED, &n->loc, "%s%s%s is not supported", n->domain,
                           n->domain[0] ? "." : "", n->op);
            for (int k = 0; k < n->nattr; k++)
                if (n->attr[k].graph)
                    check_graph(st, n->attr[k].graph);
        }
    st->depth--;
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* The caller owns an output's storage: a buffer that is one already gets a copy. */
static Buf *output_buf(DefineState *st, Scope *s, Str name, Buf *b) {
    if (b->space == SPACE_ARENA) {
        b->space = SPACE_OUTPUT;
        return b;
    }
    if (b->space != SPACE_OUTPUT)
        return b;
    Def *def = def_new(st->ctx, name, type_dtype(b->type), b->rank, b->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < b->rank; i++)
        index[i] = def_var(st->ctx, def, i);
    def->value = buf_load(st->ctx, b, index);
    def->origin = NULL;
    item_new(st->ctx, s->block, ITEM_DEF)->def = def;
    def->buf->space = SPACE_OUTPUT;
    return def->buf;
}

/* The tree of an output (docs/bridge.md): `"tensor": 3`, and so on, without the braces. */
static void output_tree(DefineState *st, Scope *s, Str name, Val *v, Text *t) {
    if (v->kind == VAL_TENSOR) {
        Port p = {name, output_buf(st, s, name, v->buf), NULL};
        text_f(t, "\"tensor\": %d", st->prog->outputs.len);
        vec_push(st->ctx, &st->prog->outputs, p);
        return;
    }
    if (v->kind == VAL_OPTIONAL) {
        text_s(t, v->elems.len ? "\"optional\": {" : "\"none\": true");
        if (v->elems.len) {
            output_tree(st, s, name, v->elems.at[0], t);
            text_c(t, '}');
        }
        return;
    }
    text_s(t, "\"sequence\": [");
    for (int i = 0; i < v->elems.len; i++) {
        text_s(t, i ? ", {" : "{");
        output_tree(st, s, str_f(st->ctx, "%s.%d", name, i), v->elems.at[i], t);
        text_c(t, '}');
    }
    text_c(t, ']');
}

static bool define_outputs(DefineState *st, Scope *s) {
    const Graph *g = st->model->graph;
    Text results = text_new(st->ctx);
    for (int i = 0; i < g->outputs.len; i++) {
        Str name = g->outputs.at[i]->name;
        Val *v = define_lookup(st, s, g->outputs.at[i]);
        if (!v)
            return diag_error(st->ctx, EXIT_MALFORMED, NULL, "output '%s' is not defined", name);
        text_s(&results, i ? ", {\"name\": " : "[{\"name\": ");
        json_text(&results, name);
        text_s(&results, ", ");
        output_tree(st, s, name, v, &results);
        text_c(&results, '}');
    }
    text_s(&results, g->outputs.len ? "]" : "[]");
    st->prog->results = str(st->ctx, results.at);
    return true;
}

Program *graph_define(Ctx *ctx, Model *m, const DefineOptions *opt) {
    static const DefineOptions NONE;
    DefineState st = {.ctx = ctx, .model = m, .opt = opt ? opt : &NONE};
    st.prog = ctx_new(ctx, Program);
    st.prog->name = m->graph->name;
    st.prog->main = ctx_new(ctx, Block);
    st.dims = map_new(ctx);
    st.asked = map_new(ctx);
    st.plain = map_new(ctx);
    st.literals = map_new(ctx);
    st.taken = map_new(ctx);
    st.bounds = map_new(ctx);
    st.poison = ctx_new(ctx, Val);
    int errors = ctx->diag.errors;
    check_graph(&st, m->graph);
    if (ctx->diag.errors > errors)
        return NULL;
    Scope *s = define_scope(ctx, NULL, st.prog->main);
    bool ok =
        define_inputs(&st, s) && define_nodes(&st, s, m->graph, NULL) && define_outputs(&st, s);
    return ok && ctx->diag.errors == errors ? st.prog : NULL;
}
