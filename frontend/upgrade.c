/* frontend/upgrade.c — graph_upgrade: every node at its op's newest version.
 *
 * Precondition: graph_import. Postcondition: node->version is the newest of the op, attributes are those
 * of that version, the op has a row in onnx_ops.def, and the model imports the newest opset.
 *   opset 9:   y = Clip <min = 0.0> (x)      →      m = [0.0]   y = Clip (x, m)
 * What cannot be read is collected and reported at the end, once an op, with the names of its nodes. */
#include "frontend/upgrade.h"
#include "frontend/schema.h"

#include <limits.h>
#include <string.h>

static const struct Rule {
    const char *domain, *op;
    int below;
    UpFn fn;
    const char *args;
} RULES[] = {
#define UPGRADE(domain, op, below, fn, args) {domain, op, below, fn, args},
#include "frontend/upgrade.def"
#undef UPGRADE
};
enum { RULE_COUNT = sizeof RULES / sizeof *RULES, NAMES_SHOWN = 5, LEGACY_CONSUMED = 6 };

/* Nodes of one op that cannot be used, for the same reason. */
typedef struct Refusal {
    Str reason;
    Node *first;
    int code, count;
    Text names;
} Refusal;

typedef struct Upgrade {
    Ctx *ctx;
    Model *model;
    Map *used;
    Map *refused; /* "reason domain op" → Refusal */
    VEC(Refusal *) refusals;
} Upgrade;

/* ---- building --------------------------------------------------------------------------------- */

Value *up_value(Up *up, const char *suffix) {
    Value *v = ctx_new(up->ctx, Value);
    Str base = up->n->loc.name ? up->n->loc.name : up->n->op;
    v->name = str_f(up->ctx, "%s.%s", base, suffix);
    vec_push(up->ctx, &up->graph->values, v);
    return v;
}

Value *up_literal(Up *up, Dtype type, int rank, int64_t count, const void *data) {
    Literal *lit = ctx_new(up->ctx, Literal);
    lit->rank = rank;
    lit->dim[0] = count;
    lit->data = const_new(up->ctx, type, count,
                          ctx_copy(up->ctx, data, (size_t)(count * type_bytes(type))));
    Value *v = up_value(up, "const");
    lit->name = v->name;
    v->init = lit;
    return v;
}

Value *up_i64(Up *up, int rank, int64_t count, const int64_t *v) {
    return up_literal(up, T_I64, rank, count, v);
}

Value *up_f32(Up *up, int rank, int64_t count, const double *v) {
    float *f = ctx_newn(up->ctx, float, count);
    for (int64_t i = 0; i < count; i++)
        f[i] = (float)v[i];
    return up_literal(up, T_F32, rank, count, f);
}

Node *up_node(Up *up, const char *op, int nin, Value *const *in) {
    Node *n = ctx_new(up->ctx, Node);
    const char *dot = strrchr(op, '.');
    n->domain = dot ? str_n(up->ctx, op, (size_t)(dot - op)) : str(up->ctx, "");
    n->op = str(up->ctx, dot ? dot + 1 : op);
    n->overload = str(up->ctx, "");
    n->name = up->n->name;
    n->version = schema_newest(n->domain, n->op);
    n->loc = up->n->loc;
    n->nin = nin;
    n->in = ctx_copy(up->ctx, in, (size_t)nin * sizeof *in);
    n->nout = 1;
    n->out = ctx_newn(up->ctx, Value *, 1);
    n->out[0] = up_value(up, n->op);
    n->out[0]->by = n;
    vec_push(up->ctx, &up->nodes, n);
    return n;
}

Value *up_op(Up *up, const char *op, int nin, Value *const *in) {
    return up_node(up, op, nin, in)->out[0];
}

void up_set_input(Up *up, Node *n, int i, Value *v) {
    if (i >= n->nin) {
        Value **in = ctx_newn(up->ctx, Value *, i + 1);
        if (n->nin)
            memcpy(in, n->in, (size_t)n->nin * sizeof *in);
        n->in = in;
        n->nin = i + 1;
    }
    n->in[i] = v;
}

Attr *up_attr(Up *up, Node *n, const char *name, AttrKind kind) {
    for (int i = 0; i < n->nattr; i++)
        if (strcmp(n->attr[i].name, name) == 0)
            return &n->attr[i];
    Attr *attr = ctx_newn(up->ctx, Attr, n->nattr + 1);
    if (n->nattr)
        memcpy(attr, n->attr, (size_t)n->nattr * sizeof *attr);
    n->attr = attr;
    Attr *a = &attr[n->nattr++];
    *a = (Attr){.name = str(up->ctx, name), .kind = (uint8_t)kind};
    return a;
}

void up_drop(Node *n, const char *name) {
    int kept = 0;
    for (int i = 0; i < n->nattr; i++)
        if (strcmp(n->attr[i].name, name) != 0)
            n->attr[kept++] = n->attr[i];
    n->nattr = kept;
}

static void note_used(Map *used, const Graph *g) {
    for (int i = 0; i < g->nodes.len; i++) {
        const Node *n = g->nodes.at[i];
        for (int k = 0; k < n->nin; k++)
            if (n->in[k])
                map_put(used, n->in[k], used);
        for (int k = 0; k < n->nattr; k++)
            if (n->attr[k].graph)
                note_used(used, n->attr[k].graph);
    }
    for (int i = 0; i < g->outputs.len; i++)
        map_put(used, g->outputs.at[i], used);
}

bool up_used(Up *up, const Value *v) {
    if (!up->used) {
        up->used = map_new(up->ctx);
        note_used(up->used, up->model->graph);
    }
    return map_get(up->used, v);
}

/* ---- refusals --------------------------------------------------------------------------------- */

static bool refuse(Upgrade *u, Node *n, int code, Str reason) {
    Str key = str_f(u->ctx, "%s %s %s", reason, n->domain, n->op);
    Refusal *r = map_get(u->refused, key);
    if (!r) {
        r = ctx_new(u->ctx, Refusal);
        *r = (Refusal){.reason = reason, .first = n, .code = code};
        r->names = text_new(u->ctx);
        map_put(u->refused, key, r);
        vec_push(u->ctx, &u->refusals, r);
    }
    if (r->count++ < NAMES_SHOWN)
        text_f(&r->names, "%s'%s'", r->count > 1 ? ", " : "",
               n->loc.name ? n->loc.name : "(no name)");
    return false;
}

static void report_refusals(Upgrade *u) {
    for (int i = 0; i < u->refusals.len; i++) {
        Refusal *r = u->refusals.at[i];
        Str name = *r->first->domain ? str_f(u->ctx, "%s.%s", r->first->domain, r->first->op)
                                     : r->first->op;
        diag_error(u->ctx, r->code, NULL, "op %s (%d node%s: %s%s) %s", name, r->count,
                   r->count > 1 ? "s" : "", r->names.at, r->count > NAMES_SHOWN ? ", …" : "",
                   r->reason);
    }
}

/* ---- nodes ------------------------------------------------------------------------------------ */

/* A known op whose name is hardly different. */
static Str nearest_op(const Node *n) {
    int count;
    const OnnxOp *op = onnx_op_table(&count), *best = NULL;
    for (int i = 0; i < count; i++)
        if (!strcmp(op[i].domain, n->domain) && word_distance(op[i].name, n->op) <= 2 &&
            (!best || word_distance(op[i].name, n->op) < word_distance(best->name, n->op)))
            best = &op[i];
    return best && strlen(n->op) > 3 ? best->name : NULL;
}

static bool check_known(Upgrade *u, Node *n, int *since) {
    bool ours = strcmp(n->domain, "lcc") == 0; /* in a text that was printed after upgrading */
    *since = schema_since(n->domain, n->op, ours ? INT_MAX : n->version);
    if (*since)
        return true;
    int first = 1;
    while (first < 100 && !schema_since(n->domain, n->op, first))
        first++;
    if (n->version == 0)
        return refuse(u, n, EXIT_MALFORMED, "is of a domain the model does not import");
    if (first < 100)
        return refuse(u, n, EXIT_MALFORMED,
                      str_f(u->ctx, "exists only from version %d of its domain on", first));
    Str near = nearest_op(n);
    return refuse(u, n, EXIT_UNSUPPORTED,
                  near ? str_f(u->ctx, "is not a known op; did you mean %s?", near)
                       : "is not a known op");
}

static bool upgrade_node(Upgrade *u, Up *up) {
    Node *n = up->n;
    if (!check_known(u, n, &up->since))
        return false;
    Str domain = n->domain, op = n->op;
    if (up->since < LEGACY_CONSUMED && !*domain)
        up_drop(n, "consumed_inputs");
    for (int i = 0; i < RULE_COUNT; i++)
        if (up->since < RULES[i].below && strcmp(RULES[i].op, op) == 0 &&
            strcmp(RULES[i].domain, domain) == 0 && !RULES[i].fn(up, RULES[i].args))
            return false;
    const OnnxOp *row = onnx_op_find(n->domain, n->op);
    if (!row) {
        n->op = op;
        n->domain = domain;
        return refuse(u, n, EXIT_UNSUPPORTED, "is not supported yet");
    }
    n->version = row->version;
    return schema_check(u->ctx, n);
}

static bool upgrade_graph(Upgrade *u, Graph *g) {
    Up up = {.ctx = u->ctx, .model = u->model, .graph = g, .used = u->used};
    bool ok = true;
    for (int i = 0; i < g->nodes.len; i++) {
        Node *n = up.n = g->nodes.at[i];
        for (int k = 0; k < n->nattr; k++)
            if (n->attr[k].graph)
                ok &= upgrade_graph(u, n->attr[k].graph);
        ok &= upgrade_node(u, &up);
        vec_push(u->ctx, &up.nodes, n);
    }
    u->used = up.used;
    g->nodes.at = up.nodes.at;
    g->nodes.len = up.nodes.len;
    g->nodes.cap = up.nodes.cap;
    return ok;
}

bool graph_upgrade(Ctx *ctx, Model *m) {
    Upgrade u = {.ctx = ctx, .model = m, .refused = map_new(ctx)};
    bool ok = upgrade_graph(&u, m->graph);
    report_refusals(&u);
    for (int i = 0; i < m->opsets.len; i++)
        if (!*m->opsets.at[i].domain)
            m->opsets.at[i].version = OPSET_MAX;
    return ok;
}
