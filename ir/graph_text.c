/* ir/graph_text.c — a Model as text: ONNX's own text syntax, node labels kept.
 *
 *   model    = "<" "ir_version" ":" int "," "opset_import" ":" "[" text ":" int {"," …} "]" ">" graph
 *   graph    = name "(" ports ")" "=>" "(" ports ")" ["<" {type name "=" data ","} ">"] "{" {node} "}"
 *   ports    = [[type] name {"," …}]     type = element ["[" [dim {"," dim}] "]"] | seq(type) | optional(type)
 *   node     = ["[" label "]"] outputs "=" [domain "."] op ["<" attrs ">"] ["(" inputs ")"]
 *   attr     = name [":" kind] "=" (number | text | list | type name? data | graph | "@" name)
 *   data     = "{" numbers or texts "}" | "{" "…" "}" for more than DATA_MAX elements (does not read back)
 * Names that are no identifiers stand in double quotes; names of values are made unique; an operand that
 * is not given is "". Reading is in graph_parse.c. */
#include "ir/graph.h"

#include <inttypes.h>
#include <string.h>

enum { DATA_MAX = 64 };

typedef struct Print {
    Text *t;
    Ctx *ctx;
    Map *names; /* Value → its printed name */
    Map *taken; /* printed name → anything */
} Print;

static void print_graph(Print *p, const Graph *g, int indent);

/* ---- words ------------------------------------------------------------------------------------ */

static void print_text(Text *t, const char *s, size_t n) {
    text_c(t, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            text_f(t, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            text_f(t, "\\x%02x", c);
        else
            text_c(t, (char)c);
    }
    text_c(t, '"');
}

static bool is_identifier(const char *s) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char DIGITS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *s && strchr(LETTERS, *s) && s[strspn(s, DIGITS)] == 0;
}

/* An op with its domain: identifiers with dots between them. */
static void print_word(Text *t, const char *s) {
    static const char WORD[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789.";
    if (s[strspn(s, WORD)] == 0)
        text_s(t, s);
    else
        print_text(t, s, strlen(s));
}

static void print_name(Text *t, const char *s) {
    if (is_identifier(s))
        text_s(t, s);
    else
        print_text(t, s, strlen(s));
}

static void print_value(Print *p, const Value *v) {
    if (!v) {
        text_s(p->t, "\"\"");
        return;
    }
    Str name = map_get(p->names, v);
    if (!name) {
        name = *v->name ? v->name : str(p->ctx, "v");
        for (int i = 1; map_get(p->taken, name); i++)
            name = str_f(p->ctx, "%s_%d", v->name, i);
        map_put(p->names, v, (void *)(uintptr_t)name);
        map_put(p->taken, name, p);
    }
    print_name(p->t, name);
}

static void print_line(Text *t, int indent) {
    text_f(t, "\n%*s", indent, "");
}

/* ---- types and data --------------------------------------------------------------------------- */

static void print_type(Print *p, const TypeInfo *info) {
    Text *t = p->t;
    if (info->kind != VALUE_TENSOR) {
        text_s(t, info->kind == VALUE_SEQUENCE ? "seq("
                  : info->kind == VALUE_MAP    ? "map("
                                               : "optional(");
        if (info->kind == VALUE_MAP)
            text_f(t, "%s, ", type_text(info->type));
        if (info->elem)
            print_type(p, info->elem);
        text_c(t, ')');
        return;
    }
    text_s(t, type_text(info->type));
    if (info->rank < 0)
        return;
    text_c(t, '[');
    for (int i = 0; i < info->rank; i++) {
        text_s(t, i ? ", " : "");
        if (info->dim[i] >= 0)
            text_f(t, "%" PRId64, info->dim[i]);
        else if (info->param[i])
            print_name(t, info->param[i]);
        else
            text_c(t, '?');
    }
    text_c(t, ']');
}

static void print_element(Print *p, const Const *c, int64_t i) {
    if (c->type == T_STR) {
        const ConstStr *s = (const ConstStr *)c->data + (c->splat ? 0 : i);
        print_text(p->t, s->at, (size_t)s->len);
        return;
    }
    const Expr *e = const_at(p->ctx, c, i);
    if (e->op == OP_FLT)
        text_float(p->t, e->u.f, c->type == T_F32);
    else
        text_f(p->t, "%" PRId64, e->u.i);
}

/* "f32[2] {1.0, 2.0}"; `name` stands between type and data. */
static void print_literal(Print *p, const Literal *lit, const Value *name) {
    Text *t = p->t;
    text_f(t, "%s[", type_text(lit->data->type));
    for (int i = 0; i < lit->rank; i++)
        text_f(t, "%s%" PRId64, i ? ", " : "", lit->dim[i]);
    text_s(t, "] ");
    if (name) {
        print_value(p, name);
        text_s(t, " = ");
    }
    text_c(t, '{');
    bool complex = type_kind(lit->data->type) == 'C';
    if (lit->data->count > DATA_MAX || complex)
        text_s(t, "...");
    for (int64_t i = 0; i < lit->data->count && lit->data->count <= DATA_MAX && !complex; i++) {
        text_s(t, i ? ", " : "");
        print_element(p, lit->data, i);
    }
    text_c(t, '}');
}

/* ---- attributes ------------------------------------------------------------------------------- */

static void print_item(Print *p, const Attr *a, int i) {
    switch (a->kind) {
    case ATTR_INTS:
        text_f(p->t, "%" PRId64, a->ints[i]);
        break;
    case ATTR_FLOATS:
        text_float(p->t, a->floats[i], true);
        break;
    case ATTR_STRINGS:
        print_text(p->t, a->strings[i].at, (size_t)a->strings[i].len);
        break;
    default:
        print_literal(p, a->tensors[i], NULL);
    }
}

static void print_attr(Print *p, const Attr *a, int indent) {
    Text *t = p->t;
    print_name(t, a->name);
    bool bare = a->ref || (a->n == 0 && (a->kind == ATTR_INTS || a->kind == ATTR_FLOATS ||
                                         a->kind == ATTR_STRINGS || a->kind == ATTR_TENSORS));
    if (bare)
        text_f(t, ": %s", attr_kind_text(a->kind));
    text_s(t, " = ");
    if (a->ref) {
        text_c(t, '@');
        print_name(t, a->ref);
    } else if (a->kind == ATTR_INT) {
        text_f(t, "%" PRId64, a->i);
    } else if (a->kind == ATTR_FLOAT) {
        text_float(t, a->f, true);
    } else if (a->kind == ATTR_STRING) {
        print_text(t, a->s.at, (size_t)a->s.len);
    } else if (a->kind == ATTR_TENSOR) {
        print_literal(p, a->tensor, NULL);
    } else if (a->kind == ATTR_GRAPH) {
        print_graph(p, a->graph, indent + 2);
    } else if (a->kind == ATTR_TYPE) {
        print_type(p, a->type);
    } else {
        text_c(t, '[');
        for (int i = 0; i < a->n; i++) {
            text_s(t, i ? ", " : "");
            print_item(p, a, i);
        }
        text_c(t, ']');
    }
}

/* ---- nodes and graphs -------------------------------------------------------------------------- */

static void print_node(Print *p, const Node *n, int indent) {
    Text *t = p->t;
    if (n->name && *n->name) {
        text_c(t, '[');
        print_name(t, n->name);
        text_s(t, "] ");
    }
    for (int i = 0; i < n->nout; i++) {
        text_s(t, i ? ", " : "");
        print_value(p, n->out[i]);
    }
    text_s(t, n->nout ? " = " : "= ");
    print_word(t, *n->domain ? str_f(p->ctx, "%s.%s", n->domain, n->op) : n->op);
    if (n->nattr)
        text_s(t, " <");
    for (int i = 0; i < n->nattr; i++) {
        text_s(t, i ? ", " : "");
        print_attr(p, &n->attr[i], indent);
    }
    text_s(t, n->nattr ? "> (" : " (");
    for (int i = 0; i < n->nin; i++) {
        text_s(t, i ? ", " : "");
        print_value(p, n->in[i]);
    }
    text_c(t, ')');
}

static bool is_complete(const TypeInfo *info) {
    while (info && info->kind != VALUE_TENSOR)
        info = info->elem;
    return info && info->type;
}

static void print_ports(Print *p, Value *const *v, int n, bool types) {
    text_c(p->t, '(');
    for (int i = 0; i < n; i++) {
        text_s(p->t, i ? ", " : "");
        if (types && is_complete(v[i]->info)) {
            print_type(p, v[i]->info);
            text_c(p->t, ' ');
        }
        print_value(p, v[i]);
    }
    text_c(p->t, ')');
}

static void print_graph(Print *p, const Graph *g, int indent) {
    Text *t = p->t;
    print_name(t, g->name && *g->name ? g->name : "graph");
    text_c(t, ' ');
    print_ports(p, g->inputs.at, g->inputs.len, true);
    text_s(t, " => ");
    print_ports(p, g->outputs.at, g->outputs.len, false);
    const char *open = " <";
    for (int i = 0; i < g->values.len; i++) {
        const Value *v = g->values.at[i];
        if (!v->init)
            continue;
        text_s(t, open);
        print_line(t, indent + 4);
        print_literal(p, v->init, v);
        open = ",";
    }
    text_s(t, *open == ',' ? "> {" : " {");
    for (int i = 0; i < g->nodes.len; i++) {
        print_line(t, indent + 2);
        print_node(p, g->nodes.at[i], indent + 2);
    }
    print_line(t, indent);
    text_c(t, '}');
}

void graph_print(Text *t, const Model *m) {
    Print p = {.t = t, .ctx = t->ctx, .names = map_new(t->ctx), .taken = map_new(t->ctx)};
    text_f(t, "<ir_version: %" PRId64 ", opset_import: [", m->ir_version);
    for (int i = 0; i < m->opsets.len; i++) {
        text_s(t, i ? ", " : "");
        print_text(t, m->opsets.at[i].domain, strlen(m->opsets.at[i].domain));
        text_f(t, " : %" PRId64, m->opsets.at[i].version);
    }
    text_s(t, "]>\n");
    print_graph(&p, m->graph, 0);
    text_c(t, '\n');
}

void model_print_node(Text *t, const Node *n) {
    Print p = {.t = t, .ctx = t->ctx, .names = map_new(t->ctx), .taken = map_new(t->ctx)};
    print_node(&p, n, 0);
}
