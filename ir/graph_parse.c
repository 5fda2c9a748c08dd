/* ir/graph_parse.c — graph_parse: the text of graph_text.c as a Model.
 *
 * Precondition: none; errors carry file and line. Beyond what is printed it reads ONNX's own type names and
 * calls as operands:   y = Add(Mul(x, x), b)   →   t = Mul(x, x)   y = Add(t, b)
 * Names are unique in a graph and are looked up outwards. What was printed reads back equal, except data
 * that was left out ({...}), which becomes zeros. */
#include "ir/graph.h"

#include <math.h>
#include <string.h>

typedef struct Level {
    Map *names; /* Str → Value */
    struct Level *outer;
    Graph *graph;
} Level;

typedef struct Parse {
    Ctx *ctx;
    Lex lex;
    Model *model;
    Level *level;
    int nested; /* calls as operands, numbered */
} Parse;

enum { DEPTH_MAX = 64 };

static Graph *parse_graph(Parse *p, Str name, int depth);
static Value *parse_call(Parse *p, Str op, int depth);

/* ---- words and types ---------------------------------------------------------------------------- */

static Dtype type_word(const char *s) {
    static const struct {
        const char *name;
        Dtype type;
    } ONNX_NAMES[] = {{"float", T_F32},     {"double", T_F64},     {"float16", T_F16},
                      {"bfloat16", T_BF16}, {"int64", T_I64},      {"int32", T_I32},
                      {"int16", T_I16},     {"int8", T_I8},        {"uint64", T_U64},
                      {"uint32", T_U32},    {"uint16", T_U16},     {"uint8", T_U8},
                      {"int4", T_I4},       {"uint4", T_U4},       {"string", T_STR},
                      {"complex64", T_C64}, {"complex128", T_C128}};
    for (size_t i = 0; i < sizeof ONNX_NAMES / sizeof *ONNX_NAMES; i++)
        if (strcmp(ONNX_NAMES[i].name, s) == 0)
            return ONNX_NAMES[i].type;
    return type_from_text(s);
}

static bool at_name(const Parse *p) {
    return p->lex.kind == 'n' || p->lex.kind == 's';
}

static Str parse_name(Parse *p) {
    if (!at_name(p))
        lex_error(&p->lex, "a name is expected");
    Str s = str(p->ctx, p->lex.tok);
    lex_next(&p->lex);
    return s;
}

static int64_t parse_int(Parse *p) {
    bool minus = lex_take(&p->lex, "-");
    if (p->lex.kind != 'i')
        lex_error(&p->lex, "an integer is expected");
    uint64_t v = (uint64_t)p->lex.i;
    lex_next(&p->lex);
    return (int64_t)(minus ? 0 - v : v);
}

/* A number, also inf and nan. *whole: whether it was an integer. */
static double parse_number(Parse *p, int64_t *i, bool *whole) {
    bool minus = lex_take(&p->lex, "-");
    double f = 0;
    *whole = p->lex.kind == 'i';
    if (*whole) {
        *i = minus ? (int64_t)(0 - (uint64_t)p->lex.i) : p->lex.i;
        f = (double)p->lex.i;
    } else if (p->lex.kind == 'f') {
        f = p->lex.f;
    } else if (lex_is(&p->lex, "inf") || lex_is(&p->lex, "nan")) {
        f = lex_is(&p->lex, "inf") ? (double)INFINITY : (double)NAN;
    } else {
        lex_error(&p->lex, "a number is expected");
    }
    lex_next(&p->lex);
    return minus ? -f : f;
}

static void parse_dims(Parse *p, TypeInfo *t) {
    t->rank = 0;
    while (!lex_take(&p->lex, "]") && !p->lex.failed) {
        if (t->rank == RANK_MAX) {
            lex_error(&p->lex, "more than %d dimensions", RANK_MAX);
            return;
        }
        t->dim[t->rank] = -1;
        if (p->lex.kind == 'i')
            t->dim[t->rank] = parse_int(p);
        else if (!lex_take(&p->lex, "?"))
            t->param[t->rank] = parse_name(p);
        t->rank++;
        if (!lex_is(&p->lex, "]"))
            lex_need(&p->lex, ",");
    }
}

/* A type whose first word was read. */
static const TypeInfo *parse_type(Parse *p, Str word) {
    TypeInfo *t = ctx_new(p->ctx, TypeInfo);
    t->rank = -1;
    bool seq = strcmp(word, "seq") == 0, opt = strcmp(word, "optional") == 0,
         map = strcmp(word, "map") == 0;
    if ((seq || opt || map) && lex_take(&p->lex, "(")) {
        t->kind = seq ? VALUE_SEQUENCE : opt ? VALUE_OPTIONAL : VALUE_MAP;
        if (map) {
            t->type = type_word(parse_name(p));
            lex_need(&p->lex, ",");
        }
        t->elem = parse_type(p, parse_name(p));
        lex_need(&p->lex, ")");
        return t;
    }
    t->type = type_word(word);
    if (!t->type)
        lex_error(&p->lex, "'%s' is not a type", word);
    else if (lex_take(&p->lex, "["))
        parse_dims(p, t);
    return t;
}

/* ---- values ------------------------------------------------------------------------------------- */

static Value *define(Parse *p, Str name) {
    if (*name && map_get(p->level->names, name))
        lex_error(&p->lex, "'%s' is defined twice", name);
    Value *v = ctx_new(p->ctx, Value);
    v->name = name;
    vec_push(p->ctx, &p->level->graph->values, v);
    if (*name)
        map_put(p->level->names, name, v);
    return v;
}

static Value *look_up(Parse *p, Str name) {
    for (Level *l = p->level; l; l = l->outer) {
        Value *v = map_get(l->names, name);
        if (v)
            return v;
    }
    lex_error(&p->lex, "'%s' is not defined", name);
    return NULL;
}

/* ---- data --------------------------------------------------------------------------------------- */

static void parse_element(Parse *p, Dtype type, void *data, int64_t i) {
    if (type == T_STR) {
        ConstStr *s = data;
        if (p->lex.kind != 's')
            lex_error(&p->lex, "a text is expected");
        Str text = str(p->ctx, p->lex.tok);
        s[i] = (ConstStr){text, (int64_t)strlen(text)};
        lex_next(&p->lex);
        return;
    }
    int64_t whole = 0;
    bool is_whole;
    double f = parse_number(p, &whole, &is_whole);
    if (type_is_float(type))
        const_put(type, data, i, expr_flt(p->ctx, type, f));
    else if (is_whole)
        const_put(type, data, i, expr_int(p->ctx, type, whole));
    else
        lex_error(&p->lex, "an integer is expected");
}

/* "{1, 2}" of a type with constant dims. */
static const Literal *parse_data(Parse *p, const TypeInfo *t, Str name) {
    Literal *lit = ctx_new(p->ctx, Literal);
    int64_t count = 1;
    lit->name = name;
    lit->rank = t->rank < 0 ? 0 : t->rank;
    for (int i = 0; i < lit->rank; i++) {
        lit->dim[i] = t->dim[i];
        if (t->dim[i] < 0 || !mul_ok(count, t->dim[i], &count))
            lex_error(&p->lex, "data needs constant dimensions");
    }
    if (!lex_need(&p->lex, "{") || t->kind != VALUE_TENSOR || type_kind(t->type) == 'C')
        lex_error(&p->lex, "data of a tensor is expected");
    if (p->lex.failed)
        return NULL;
    bool blank = lex_take(&p->lex, "..") && lex_need(&p->lex, ".");
    if (!blank && count > 1 << 20)
        return lex_error(&p->lex, "more data than a text holds"), NULL;
    void *data = ctx_allocn(p->ctx, (size_t)count, (size_t)type_bytes(t->type));
    p->model->blank += blank;
    for (int64_t i = 0; !blank && i < count && !p->lex.failed; i++) {
        if (i)
            lex_need(&p->lex, ",");
        parse_element(p, t->type, data, i);
    }
    lex_need(&p->lex, "}");
    lit->data = const_new(p->ctx, t->type, count, data);
    return lit;
}

/* ---- attributes ---------------------------------------------------------------------------------- */

static uint8_t kind_word(const char *s) {
    for (uint8_t i = 1; i <= ATTR_TYPE; i++)
        if (attr_kind_text(i) && strcmp(attr_kind_text(i), s) == 0)
            return i;
    return 0;
}

static void parse_list(Parse *p, Attr *a) {
    VEC(int64_t) ints = {0};
    VEC(double) floats = {0};
    VEC(ConstStr) strings = {0};
    VEC(const Literal *) tensors = {0};
    for (; !lex_take(&p->lex, "]") && !p->lex.failed; a->n++) {
        if (a->n)
            lex_need(&p->lex, ",");
        int64_t i = 0;
        bool whole = false;
        if (p->lex.kind == 's') {
            Str s = str(p->ctx, p->lex.tok);
            vec_push(p->ctx, &strings, ((ConstStr){s, (int64_t)strlen(s)}));
            lex_next(&p->lex);
            a->kind = ATTR_STRINGS;
        } else if (p->lex.kind == 'n' && type_word(p->lex.tok)) {
            vec_push(p->ctx, &tensors, parse_data(p, parse_type(p, parse_name(p)), NULL));
            a->kind = ATTR_TENSORS;
        } else {
            double f = parse_number(p, &i, &whole);
            vec_push(p->ctx, &floats, f);
            vec_push(p->ctx, &ints, i);
            a->kind = whole && a->kind != ATTR_FLOATS ? ATTR_INTS : ATTR_FLOATS;
        }
    }
    a->ints = ints.at;
    a->floats = floats.at;
    a->strings = strings.at;
    a->tensors = tensors.at;
}

/* A value that starts with a name: a graph, a tensor or a type. */
static void parse_named(Parse *p, Attr *a, int depth) {
    Str word = parse_name(p);
    bool typed = type_word(word) || strcmp(word, "seq") == 0 || strcmp(word, "optional") == 0;
    if (lex_is(&p->lex, "(") && (!typed || type_word(word))) {
        a->kind = ATTR_GRAPH;
        a->graph = parse_graph(p, word, depth + 1);
        return;
    }
    const TypeInfo *t = parse_type(p, word);
    a->kind = lex_is(&p->lex, "{") ? ATTR_TENSOR : ATTR_TYPE;
    a->type = t;
    if (a->kind == ATTR_TENSOR)
        a->tensor = parse_data(p, t, NULL);
}

static Attr parse_attr(Parse *p, int depth) {
    Attr a = {.name = parse_name(p)};
    int64_t i = 0;
    bool whole = false;
    if (lex_take(&p->lex, ":"))
        a.kind = kind_word(parse_name(p));
    lex_need(&p->lex, "=");
    if (lex_take(&p->lex, "@")) {
        a.ref = parse_name(p);
    } else if (lex_take(&p->lex, "[")) {
        parse_list(p, &a);
    } else if (p->lex.kind == 's') {
        a.kind = ATTR_STRING;
        a.s.at = str(p->ctx, p->lex.tok);
        a.s.len = (int64_t)strlen(p->lex.tok);
        lex_next(&p->lex);
        if (lex_is(&p->lex, "(")) { /* it was the name of a graph */
            a.kind = ATTR_GRAPH;
            a.graph = parse_graph(p, a.s.at, depth + 1);
        }
    } else if (p->lex.kind == 'n' && !lex_is(&p->lex, "inf") && !lex_is(&p->lex, "nan")) {
        parse_named(p, &a, depth);
    } else {
        a.f = parse_number(p, &i, &whole);
        a.i = i;
        a.kind = whole && a.kind != ATTR_FLOAT ? ATTR_INT : ATTR_FLOAT;
    }
    return a;
}

static void parse_attrs(Parse *p, Node *n, int depth) {
    VEC(Attr) attrs = {0};
    if (!lex_take(&p->lex, "<"))
        return;
    while (!lex_take(&p->lex, ">") && !p->lex.failed) {
        if (attrs.len)
            lex_need(&p->lex, ",");
        vec_push(p->ctx, &attrs, parse_attr(p, depth));
    }
    n->attr = attrs.at;
    n->nattr = attrs.len;
}

/* ---- nodes ---------------------------------------------------------------------------------------- */

static int opset_of(const Parse *p, Str domain) {
    for (int i = 0; i < p->model->opsets.len; i++)
        if (p->model->opsets.at[i].domain == domain)
            return (int)p->model->opsets.at[i].version;
    return 0;
}

/* A name, or a call whose first output is meant; "" is no value. */
static Value *parse_operand(Parse *p, int depth) {
    bool quoted = p->lex.kind == 's';
    Str name = parse_name(p);
    if (!quoted && (lex_is(&p->lex, "(") || lex_is(&p->lex, "<")))
        return parse_call(p, name, depth);
    return *name ? look_up(p, name) : NULL;
}

/* The attributes and operands of an op; the node comes after those of its operands. */
static Node *parse_op(Parse *p, Str word, int depth) {
    Node *n = ctx_new(p->ctx, Node);
    const char *dot = strrchr(word, '.');
    VEC(Value *) in = {0};
    n->domain = dot ? str_n(p->ctx, word, (size_t)(dot - word)) : str(p->ctx, "");
    n->op = str(p->ctx, dot ? dot + 1 : word);
    n->overload = n->name = str(p->ctx, "");
    n->version = opset_of(p, n->domain);
    n->loc = (Loc){.file = p->lex.file, .op = n->op, .node = -1, .line = p->lex.line};
    parse_attrs(p, n, depth);
    lex_need(&p->lex, "(");
    while (!lex_take(&p->lex, ")") && !p->lex.failed) {
        if (in.len)
            lex_need(&p->lex, ",");
        vec_push(p->ctx, &in, parse_operand(p, depth));
    }
    n->in = in.at;
    n->nin = in.len;
    vec_push(p->ctx, &p->level->graph->nodes, n);
    return n;
}

static Value *parse_call(Parse *p, Str op, int depth) {
    if (depth >= DEPTH_MAX) {
        lex_error(&p->lex, "nested more than %d deep", DEPTH_MAX);
        return NULL;
    }
    Node *n = parse_op(p, op, depth + 1);
    n->nout = 1;
    n->out = ctx_newn(p->ctx, Value *, 1);
    n->out[0] = define(p, str_f(p->ctx, "%s.%d", op, p->nested++));
    n->out[0]->by = n;
    n->loc.name = n->out[0]->name;
    return n->out[0];
}

static void parse_node(Parse *p, int depth) {
    VEC(Str) out = {0};
    Str label = str(p->ctx, "");
    if (lex_take(&p->lex, "[")) {
        label = parse_name(p);
        lex_need(&p->lex, "]");
    }
    while (!lex_take(&p->lex, "=") && !p->lex.failed) {
        if (out.len)
            lex_need(&p->lex, ",");
        vec_push(p->ctx, &out, parse_name(p));
    }
    Node *n = parse_op(p, parse_name(p), depth);
    n->name = label;
    n->nout = out.len;
    n->out = ctx_newn(p->ctx, Value *, out.len);
    for (int i = 0; i < out.len; i++) {
        if (!*out.at[i])
            continue;
        n->out[i] = define(p, out.at[i]);
        n->out[i]->by = n;
    }
    n->loc.name = *label ? label : out.len ? out.at[0] : NULL;
}

/* ---- graphs --------------------------------------------------------------------------------------- */

/* "[type] name" */
static void parse_port(Parse *p, Value *v) {
    bool quoted = p->lex.kind == 's';
    v->name = parse_name(p);
    if (quoted || !(lex_is(&p->lex, "[") || lex_is(&p->lex, "(") || at_name(p)))
        return;
    v->info = parse_type(p, v->name);
    v->name = parse_name(p);
}

static void parse_inputs(Parse *p, Graph *g) {
    lex_need(&p->lex, "(");
    while (!lex_take(&p->lex, ")") && !p->lex.failed) {
        if (g->inputs.len)
            lex_need(&p->lex, ",");
        Value port = {0};
        parse_port(p, &port);
        Value *v = define(p, port.name);
        v->info = port.info;
        vec_push(p->ctx, &g->inputs, v);
    }
}

/* The outputs, before they are computed: Values that only have name and type. */
static void parse_outputs(Parse *p, Graph *g) {
    lex_need(&p->lex, "(");
    while (!lex_take(&p->lex, ")") && !p->lex.failed) {
        if (g->outputs.len)
            lex_need(&p->lex, ",");
        Value *v = ctx_new(p->ctx, Value);
        parse_port(p, v);
        vec_push(p->ctx, &g->outputs, v);
    }
}

static void parse_initializers(Parse *p) {
    if (!lex_take(&p->lex, "<"))
        return;
    for (bool first = true; !lex_take(&p->lex, ">") && !p->lex.failed; first = false) {
        if (!first)
            lex_need(&p->lex, ",");
        const TypeInfo *t = parse_type(p, parse_name(p));
        Str name = parse_name(p);
        lex_need(&p->lex, "=");
        const Literal *lit = parse_data(p, t, name);
        if (lit)
            define(p, name)->init = lit;
    }
}

static Graph *parse_graph(Parse *p, Str name, int depth) {
    Graph *g = ctx_new(p->ctx, Graph);
    Level level = {map_new(p->ctx), p->level, g};
    if (depth >= DEPTH_MAX) {
        lex_error(&p->lex, "nested more than %d deep", DEPTH_MAX);
        return g;
    }
    g->name = name;
    g->outer = p->level ? p->level->graph : NULL;
    p->level = &level;
    parse_inputs(p, g);
    lex_need(&p->lex, "=>");
    parse_outputs(p, g);
    parse_initializers(p);
    lex_need(&p->lex, "{");
    while (!lex_take(&p->lex, "}") && !p->lex.failed)
        parse_node(p, depth);
    for (int i = 0; i < g->outputs.len && !p->lex.failed; i++) {
        Value *v = look_up(p, g->outputs.at[i]->name);
        if (v && !v->info)
            v->info = g->outputs.at[i]->info;
        g->outputs.at[i] = v;
    }
    p->level = level.outer;
    return g;
}

/* "<ir_version: 8, opset_import: ["" : 17]>"; other entries are passed over. */
static void parse_header(Parse *p) {
    if (!lex_take(&p->lex, "<"))
        return;
    while (!lex_take(&p->lex, ">") && !p->lex.failed) {
        Str key = parse_name(p);
        lex_need(&p->lex, ":");
        if (strcmp(key, "ir_version") == 0) {
            p->model->ir_version = parse_int(p);
        } else if (strcmp(key, "opset_import") == 0) {
            lex_need(&p->lex, "[");
            while (!lex_take(&p->lex, "]") && !p->lex.failed) {
                struct Opset set = {.domain = parse_name(p)};
                lex_need(&p->lex, ":");
                set.version = parse_int(p);
                vec_push(p->ctx, &p->model->opsets, set);
                lex_take(&p->lex, ",");
            }
        } else {
            lex_next(&p->lex);
        }
        lex_take(&p->lex, ",");
    }
}

Model *graph_parse(Ctx *ctx, const char *file, const char *text) {
    Parse p = {.ctx = ctx, .model = ctx_new(ctx, Model)};
    lex_init(&p.lex, ctx, file, text);
    parse_header(&p);
    p.model->graph = parse_graph(&p, parse_name(&p), 0);
    if (!p.lex.failed && p.lex.kind)
        lex_error(&p.lex, "the end is expected");
    return p.lex.failed ? NULL : p.model;
}
