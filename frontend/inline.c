/* frontend/inline.c — graph_inline: calls of model-local functions become copies of their nodes.
 *
 * Precondition: the Model as graph_import read it. Postcondition: no Function is left, no node calls
 * one, no attribute refers to a caller's. Copied nodes and values carry the call's name:
 *   <alpha: int = 2> f (a) => (b) { "n" b = Op <k: int = @alpha> (a) }      y = f ("c" x)
 *   →  "c/n" y = Op <k: int = 2> (x)                                                          */
#include "frontend/inline.h"

#include <string.h>

enum { CALL_DEPTH_MAX = 200, PREFIX_MAX = 200, GROWTH_MAX = 8, GROWTH_FREE = 50000 };

typedef struct Inline {
    Ctx *ctx;
    Map *by_key;           /* function_key → Function */
    Value absent;          /* what an input that is not given maps to */
    int64_t emitted, most; /* nodes */
} Inline;

/* One expansion in progress. */
typedef struct Inst {
    const Function *f;
    const Node *call;
    Map *values; /* Value of the function → Value of the caller; others stand for themselves */
    Str prefix;
    const struct Inst *outer;
    int depth;
} Inst;

static bool expand_call(Inline *x, const Inst *outer, Graph *to, const Node *call,
                        const Function *f);

/* What names a function, as one string. */
static Str function_key(const Inline *x, Str domain, Str name, Str overload) {
    return str_f(x->ctx, "%zu.%zu.%s%s%s", strlen(domain), strlen(name), domain, name, overload);
}

static const Function *find_function(const Inline *x, const Node *n) {
    return map_get(x->by_key, function_key(x, n->domain, n->op, n->overload));
}

static Value *inst_value(const Inline *x, const Inst *inst, Value *v) {
    Value *to = v ? map_get(inst->values, v) : NULL;
    return !to ? v : to == &x->absent ? NULL : to;
}

static Str inst_name(const Inline *x, const Inst *inst, Str name) {
    return str_f(x->ctx, "%.*s/%s", PREFIX_MAX, inst->prefix, name);
}

static Value *copy_value(Inline *x, const Inst *inst, Graph *to, const Value *v) {
    Value *copy = ctx_copy(x->ctx, v, sizeof *v);
    copy->name = inst_name(x, inst, v->name);
    copy->by = NULL;
    vec_push(x->ctx, &to->values, copy);
    map_put(inst->values, v, copy);
    return copy;
}

static bool push_node(Inline *x, Graph *to, Node *n) {
    if (x->emitted++ >= x->most)
        return diag_error(x->ctx, EXIT_LIMIT, &n->loc,
                          "expanding the model's functions gives more than %lld nodes",
                          (long long)x->most);
    vec_push(x->ctx, &to->nodes, n);
    return true;
}

/* ---- attributes ------------------------------------------------------------------------------- */

static const Attr *find_attr(const Attr *at, int n, Str name) {
    for (int i = 0; i < n; i++)
        if (at[i].name == name)
            return &at[i];
    return NULL;
}

static bool copy_nodes(Inline *x, const Inst *inst, Graph *to, const Graph *from);

static Graph *copy_graph(Inline *x, const Inst *inst, Graph *outer, const Graph *g) {
    Graph *copy = ctx_new(x->ctx, Graph);
    copy->name = g->name;
    copy->outer = outer;
    for (int i = 0; i < g->inputs.len; i++)
        vec_push(x->ctx, &copy->inputs, copy_value(x, inst, copy, g->inputs.at[i]));
    for (int i = 0; i < g->values.len; i++)
        if (g->values.at[i]->init)
            copy_value(x, inst, copy, g->values.at[i]);
    if (!copy_nodes(x, inst, copy, g))
        return NULL;
    for (int i = 0; i < g->outputs.len; i++) {
        Value *v = inst_value(x, inst, g->outputs.at[i]);
        if (!v) {
            diag_error(x->ctx, EXIT_MALFORMED, &inst->call->loc,
                       "a body in function '%s' gives out '%s', an input that is not given",
                       inst->f->name, g->outputs.at[i]->name);
            return NULL;
        }
        vec_push(x->ctx, &copy->outputs, v);
    }
    return copy;
}

/* The attributes of a copied node: references become the caller's values or the defaults, or go. */
static bool copy_attrs(Inline *x, const Inst *inst, Graph *to, const Node *from, Node *n) {
    n->attr = ctx_newn(x->ctx, Attr, from->nattr);
    n->nattr = 0;
    for (int i = 0; i < from->nattr; i++) {
        Attr a = from->attr[i];
        const Inst *scope = inst;
        Inst none;
        if (a.ref) {
            const Attr *given = find_attr(inst->call->attr, inst->call->nattr, a.ref);
            if (!given)
                given = find_attr(inst->f->defaults, inst->f->ndefault, a.ref);
            if (!given)
                continue;
            if (given->kind != a.kind)
                return diag_error(x->ctx, EXIT_MALFORMED, &inst->call->loc,
                                  "attribute '%s' is not of the kind that function '%s' needs",
                                  a.ref, inst->f->name);
            a = *given;
            a.name = from->attr[i].name;
            none = *inst; /* a graph that was passed in sees nothing of the function */
            none.values = map_new(x->ctx);
            scope = &none;
        }
        if (a.graph && !(a.graph = copy_graph(x, scope, to, a.graph)))
            return false;
        n->attr[n->nattr++] = a;
    }
    return true;
}

/* ---- nodes ------------------------------------------------------------------------------------ */

static bool copy_node(Inline *x, const Inst *inst, Graph *to, const Node *from) {
    Node *n = ctx_copy(x->ctx, from, sizeof *from);
    n->name = n->loc.name = inst_name(x, inst, from->loc.name ? from->loc.name : from->op);
    n->loc.node = inst->call->loc.node;
    n->in = ctx_newn(x->ctx, Value *, n->nin);
    n->out = ctx_newn(x->ctx, Value *, n->nout);
    for (int i = 0; i < n->nin; i++)
        n->in[i] = inst_value(x, inst, from->in[i]);
    if (!copy_attrs(x, inst, to, from, n))
        return false;
    for (int i = 0; i < n->nout; i++) {
        if (!from->out[i])
            continue;
        Value *v = map_get(inst->values, from->out[i]);
        n->out[i] = v ? v : copy_value(x, inst, to, from->out[i]);
        n->out[i]->by = n;
    }
    const Function *f = find_function(x, n);
    return f ? expand_call(x, inst, to, n, f) : push_node(x, to, n);
}

static bool copy_nodes(Inline *x, const Inst *inst, Graph *to, const Graph *from) {
    for (int i = 0; i < from->nodes.len; i++)
        if (!copy_node(x, inst, to, from->nodes.at[i]))
            return false;
    return true;
}

static Node *identity_node(Inline *x, const Node *call, Value *in, Value *out) {
    Node *n = ctx_new(x->ctx, Node);
    n->name = call->name;
    n->domain = n->overload = str(x->ctx, "");
    n->op = str(x->ctx, "Identity");
    n->version = 1;
    n->nin = n->nout = 1;
    n->in = ctx_copy(x->ctx, &in, sizeof in);
    n->out = ctx_copy(x->ctx, &out, sizeof out);
    n->loc = call->loc;
    out->by = n;
    return n;
}

static bool check_call(Inline *x, const Inst *outer, const Node *call, const Function *f) {
    if (call->nin > f->nin || call->nout > f->nout)
        return diag_error(x->ctx, EXIT_MALFORMED, &call->loc,
                          "function '%s' has %d inputs and %d outputs, not %d and %d", f->name,
                          f->nin, f->nout, call->nin, call->nout);
    for (const Inst *i = outer; i; i = i->outer)
        if (i->f == f)
            return diag_error(x->ctx, EXIT_MALFORMED, &call->loc,
                              "function '%s' calls itself, which ONNX forbids", f->name);
    if (outer && outer->depth >= CALL_DEPTH_MAX)
        return diag_error(x->ctx, EXIT_LIMIT, &call->loc,
                          "functions call each other more than %d deep", CALL_DEPTH_MAX);
    return true;
}

/* Outputs the body computes take the caller's Values; what it only passes on needs an Identity. */
static bool expand_call(Inline *x, const Inst *outer, Graph *to, const Node *call,
                        const Function *f) {
    if (!check_call(x, outer, call, f))
        return false;
    Inst inst = {.f = f,
                 .call = call,
                 .values = map_new(x->ctx),
                 .prefix = call->loc.name ? call->loc.name : f->name,
                 .outer = outer,
                 .depth = outer ? outer->depth + 1 : 1};
    const Graph *body = f->body;
    for (int i = 0; i < f->nin; i++) {
        Value *given = i < call->nin ? call->in[i] : NULL;
        map_put(inst.values, body->inputs.at[i], given ? given : &x->absent);
    }
    for (int i = 0; i < call->nout; i++)
        if (call->out[i] && !map_get(inst.values, body->outputs.at[i]))
            map_put(inst.values, body->outputs.at[i], call->out[i]);
    if (!copy_nodes(x, &inst, to, body))
        return false;
    for (int i = 0; i < call->nout; i++) {
        Value *v = call->out[i] ? inst_value(x, &inst, body->outputs.at[i]) : NULL;
        if (call->out[i] && !v)
            return diag_error(x->ctx, EXIT_MALFORMED, &call->loc,
                              "output %d of function '%s' is an input that is not given", i,
                              f->name);
        if (v && v != call->out[i] && !push_node(x, to, identity_node(x, call, v, call->out[i])))
            return false;
    }
    return true;
}

/* A graph of the model itself: its other nodes stay as they are. */
static bool expand_graph(Inline *x, Graph *g) {
    Graph flat = {0};
    flat.values.at = g->values.at;
    flat.values.len = g->values.len;
    flat.values.cap = g->values.cap;
    for (int i = 0; i < g->nodes.len; i++) {
        Node *n = g->nodes.at[i];
        for (int k = 0; k < n->nattr; k++)
            if (n->attr[k].graph && !expand_graph(x, n->attr[k].graph))
                return false;
        const Function *f = find_function(x, n);
        if (f ? !expand_call(x, NULL, &flat, n, f) : !push_node(x, &flat, n))
            return false;
    }
    g->nodes.at = flat.nodes.at;
    g->nodes.len = flat.nodes.len;
    g->nodes.cap = flat.nodes.cap;
    g->values.at = flat.values.at;
    g->values.len = flat.values.len;
    g->values.cap = flat.values.cap;
    return true;
}

static int64_t count_nodes(const Graph *g) {
    int64_t n = g->nodes.len;
    for (int i = 0; i < g->nodes.len; i++)
        for (int k = 0; k < g->nodes.at[i]->nattr; k++)
            n += g->nodes.at[i]->attr[k].graph ? count_nodes(g->nodes.at[i]->attr[k].graph) : 0;
    return n;
}

bool graph_inline(Ctx *ctx, Model *m) {
    Inline x = {.ctx = ctx, .by_key = map_new(ctx)};
    if (!m->functions.len)
        return true;
    int64_t nodes = count_nodes(m->graph);
    for (int i = 0; i < m->functions.len; i++) {
        Function *f = m->functions.at[i];
        Str key = function_key(&x, f->domain, f->name, f->overload);
        if (map_get(x.by_key, key))
            return diag_error(ctx, EXIT_MALFORMED, NULL, "function '%s' is defined twice", f->name);
        map_put(x.by_key, key, f);
        nodes += count_nodes(f->body);
    }
    x.most = nodes * GROWTH_MAX + GROWTH_FREE;
    m->functions.len = 0;
    return expand_graph(&x, m->graph);
}
