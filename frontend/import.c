/* frontend/import.c — graph_import: the unpacked protobuf as a Model.
 *
 * Precondition: `proto` was pre-scanned (nesting is bounded) and unpacked; any field may be missing.
 * Names become pointers here: a Node's inputs are the Values themselves, a body sees the Values of
 * the graphs around it, a value is defined before it is used and once. Model-local functions are
 * expanded (inline.c), so that what leaves has none.
 *   node { input: "x" input: "" output: "y" op_type: "Clip" }  →  y = Clip(x, )                   */
#include "frontend/import.h"
#include "frontend/inline.h"
#include "frontend/load.h"
#include "frontend/schema.h"

#include <inttypes.h>
#include <string.h>

enum { DEPTH_MAX = 64, IR_MIN = 3, IR_MAX = 13 };

Str import_str(Import *im, const char *s) {
    return str(im->ctx, s ? s : "");
}

Str import_domain(Import *im, const char *s) {
    return str(im->ctx, !s || strcmp(s, "ai.onnx") == 0 ? "" : s);
}

/* ---- values ---------------------------------------------------------------------------------- */

static Value *scope_define(Import *im, NameScope *scope, Str name) {
    Value *v = ctx_new(im->ctx, Value);
    v->name = name;
    vec_push(im->ctx, &scope->graph->values, v);
    map_put(scope->names, name, v);
    return v;
}

static Value *scope_find(const NameScope *scope, Str name) {
    for (; scope; scope = scope->outer) {
        Value *v = map_get(scope->names, name);
        if (v)
            return v;
    }
    return NULL;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* The version of `domain` in the opsets at hand; 0 when it is not imported. */
static int opset_version(const Import *im, Str domain) {
    for (int i = 0; i < im->nopset; i++)
        if (im->opset[i].domain == domain)
            return (int)im->opset[i].version;
    return 0;
}

static Loc node_loc(Import *im, const Onnx__NodeProto *p, size_t index, const Node *n) {
    Loc loc = {.file = im->ctx->file, .node = (int)index};
    loc.name = p->name && *p->name ? str(im->ctx, p->name) : NULL;
    for (size_t i = 0; !loc.name && i < p->n_output; i++)
        if (p->output[i] && *p->output[i])
            loc.name = str(im->ctx, p->output[i]);
    int since = schema_since(n->domain, n->op, n->version);
    loc.op = since ? str_f(im->ctx, "%s-%d", n->op, since) : n->op;
    return loc;
}

static bool node_inputs(Import *im, NameScope *scope, const Onnx__NodeProto *p, Node *n) {
    bool ok = true;
    n->nin = (int)p->n_input;
    n->in = ctx_newn(im->ctx, Value *, p->n_input);
    for (size_t i = 0; i < p->n_input; i++) {
        Str name = import_str(im, p->input[i]);
        if (!*name)
            continue;
        n->in[i] = scope_find(scope, name);
        if (n->in[i])
            continue;
        ok = false;
        diag_error(im->ctx, EXIT_MALFORMED, &n->loc,
                   "input '%s' is neither a graph input, an initializer nor the output of a node",
                   name);
        scope_define(im, scope, name); /* one report a name */
    }
    return ok;
}

static bool node_outputs(Import *im, NameScope *scope, const Onnx__NodeProto *p, Node *n) {
    bool ok = true;
    n->nout = (int)p->n_output;
    n->out = ctx_newn(im->ctx, Value *, p->n_output);
    for (size_t i = 0; i < p->n_output; i++) {
        Str name = import_str(im, p->output[i]);
        if (!*name)
            continue;
        if (map_get(scope->names, name))
            ok = diag_error(im->ctx, EXIT_MALFORMED, &n->loc,
                            "output '%s' is already defined in this graph", name);
        n->out[i] = scope_define(im, scope, name);
        n->out[i]->by = n;
    }
    return ok;
}

static bool node_attrs(Import *im, NameScope *scope, const Onnx__NodeProto *p, Node *n) {
    bool ok = true;
    n->attr = ctx_newn(im->ctx, Attr, p->n_attribute);
    Map *seen = p->n_attribute > 16 ? map_new(im->ctx) : NULL;
    for (size_t i = 0; i < p->n_attribute; i++) {
        Attr a = {0};
        if (!import_attr(im, scope, p->attribute[i], &n->loc, &a)) {
            ok = false;
            continue;
        }
        bool twice = seen && map_get(seen, a.name);
        for (int k = 0; !seen && k < n->nattr; k++)
            twice |= n->attr[k].name == a.name;
        if (seen)
            map_put(seen, a.name, n);
        if (twice)
            ok = diag_error(im->ctx, EXIT_MALFORMED, &n->loc, "attribute '%s' is given twice",
                            a.name);
        else
            n->attr[n->nattr++] = a;
    }
    return ok;
}

static bool import_node(Import *im, NameScope *scope, size_t index, const Onnx__NodeProto *p) {
    if (!p)
        return diag_error(im->ctx, EXIT_MALFORMED, NULL, "node %zu is missing", index);
    if (p->n_input > INT32_MAX || p->n_output > INT32_MAX || p->n_attribute > INT32_MAX)
        return diag_error(im->ctx, EXIT_LIMIT, NULL, "node %zu has too many operands", index);
    Node *n = ctx_new(im->ctx, Node);
    n->name = import_str(im, p->name);
    n->domain = import_domain(im, p->domain);
    n->op = import_str(im, p->op_type);
    n->overload = import_str(im, p->overload);
    n->version = opset_version(im, n->domain);
    n->loc = node_loc(im, p, index, n);
    bool ok = true;
    if (!*n->op)
        ok = diag_error(im->ctx, EXIT_MALFORMED, &n->loc, "the node has no op_type");
    if (strcmp(n->domain, "lcc") == 0) /* what upgrading makes; not for models */
        ok = diag_error(im->ctx, EXIT_UNSUPPORTED, &n->loc, "lcc.%s is not a known op", n->op);
    ok &= node_inputs(im, scope, p, n);
    ok &= node_attrs(im, scope, p, n);
    ok &= node_outputs(im, scope, p, n);
    vec_push(im->ctx, &scope->graph->nodes, n);
    return ok;
}

static bool import_nodes(Import *im, NameScope *scope, size_t n, Onnx__NodeProto **node) {
    if (n > INT32_MAX / 2)
        return diag_error(im->ctx, EXIT_LIMIT, NULL, "a graph has %zu nodes", n);
    const int *order = import_order(im, n, node);
    bool ok = order;
    for (size_t i = 0; order && i < n; i++)
        ok &= import_node(im, scope, (size_t)order[i], node[order[i]]);
    return ok;
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static bool import_initializers(Import *im, NameScope *scope, const Onnx__GraphProto *p) {
    bool ok = true;
    for (size_t i = 0; i < p->n_initializer + p->n_sparse_initializer; i++) {
        bool dense = i < p->n_initializer;
        const Literal *lit =
            dense ? import_literal(im, p->initializer[i], NULL)
                  : import_sparse(im, p->sparse_initializer[i - p->n_initializer], NULL);
        if (!lit) {
            ok = false;
            if (!dense || !p->initializer[i] || !p->initializer[i]->name)
                continue; /* its name stays known, so that users of it raise no second error */
        }
        Str name = lit ? lit->name : import_str(im, p->initializer[i]->name);
        if (!*name)
            ok = diag_error(im->ctx, EXIT_MALFORMED, NULL, "initializer %zu has no name", i);
        else if (map_get(scope->names, name))
            ok = diag_error(im->ctx, EXIT_MALFORMED, NULL, "initializer '%s' is given twice", name);
        else
            scope_define(im, scope, name)->init = lit;
    }
    return ok;
}

static bool import_inputs(Import *im, NameScope *scope, const Onnx__GraphProto *p) {
    bool ok = true, top = scope->depth == 0;
    Map *seen = map_new(im->ctx);
    for (size_t i = 0; i < p->n_input; i++) {
        const Onnx__ValueInfoProto *in = p->input[i];
        Str name = import_str(im, in ? in->name : NULL);
        if (!*name || map_get(seen, name)) {
            ok = *name
                     ? diag_error(im->ctx, EXIT_MALFORMED, NULL, "graph input '%s' is given twice",
                                  name)
                     : diag_error(im->ctx, EXIT_MALFORMED, NULL, "graph input %zu has no name", i);
            continue;
        }
        map_put(seen, name, im);
        Value *v = map_get(scope->names, name);
        const TypeInfo *info = import_type(im, in->type, name, top && !v);
        if (v && v->init) { /* the default of an input: a constant */
            v->info = info;
            continue;
        }
        if (v)
            continue;
        if (top && !info)
            ok = false;
        v = scope_define(im, scope, name);
        v->info = info;
        vec_push(im->ctx, &scope->graph->inputs, v);
    }
    return ok;
}

static bool import_outputs(Import *im, NameScope *scope, const Onnx__GraphProto *p,
                           const Loc *loc) {
    bool ok = true;
    for (size_t i = 0; i < p->n_output; i++) {
        const Onnx__ValueInfoProto *out = p->output[i];
        Str name = import_str(im, out ? out->name : NULL);
        Value *v = *name ? scope_find(scope, name) : NULL;
        if (!v) {
            ok = *name
                     ? diag_error(im->ctx, EXIT_MALFORMED, loc,
                                  "graph output '%s' is not computed by any node", name)
                     : diag_error(im->ctx, EXIT_MALFORMED, loc, "graph output %zu has no name", i);
            continue;
        }
        if (!v->info && v->by)
            v->info = import_type(im, out->type, name, false);
        vec_push(im->ctx, &scope->graph->outputs, v);
    }
    return ok;
}

/* value_info is advice: what is wrong with it is ignored. */
static void import_value_info(Import *im, NameScope *scope, size_t n,
                              Onnx__ValueInfoProto *const *info) {
    for (size_t i = 0; i < n; i++) {
        Value *v =
            info[i] && info[i]->name ? map_get(scope->names, import_str(im, info[i]->name)) : NULL;
        if (v && !v->info)
            v->info = import_type(im, info[i]->type, v->name, false);
    }
}

static NameScope scope_new(Import *im, NameScope *outer, Graph *g) {
    return (NameScope){.names = map_new(im->ctx),
                       .outer = outer,
                       .graph = g,
                       .depth = outer ? outer->depth + 1 : 0};
}

static bool import_graph(Import *im, NameScope *scope, const Onnx__GraphProto *p, const Loc *loc) {
    scope->graph->name = import_str(im, p->name);
    scope->graph->outer = scope->outer ? scope->outer->graph : NULL;
    bool ok = import_initializers(im, scope, p);
    ok &= import_inputs(im, scope, p);
    ok &= import_nodes(im, scope, p->n_node, p->node);
    ok &= import_outputs(im, scope, p, loc);
    import_value_info(im, scope, p->n_value_info, p->value_info);
    return ok;
}

Graph *import_body(Import *im, NameScope *outer, const Onnx__GraphProto *p, const Loc *loc) {
    if (outer->depth >= DEPTH_MAX) {
        diag_error(im->ctx, EXIT_LIMIT, loc, "graphs are nested more than %d deep", DEPTH_MAX);
        return NULL;
    }
    NameScope scope = scope_new(im, outer, ctx_new(im->ctx, Graph));
    return import_graph(im, &scope, p, loc) ? scope.graph : NULL;
}

/* ---- opsets ---------------------------------------------------------------------------------- */

/* `where`: "the model" or "function 'f'". */
static struct Opset *import_opsets(Import *im, size_t n, Onnx__OperatorSetIdProto *const *p,
                                   int *count, const char *where) {
    struct Opset *set = ctx_newn(im->ctx, struct Opset, n);
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        Str domain = import_domain(im, p[i] ? p[i]->domain : NULL);
        int64_t version = p[i] && p[i]->has_version ? p[i]->version : 0;
        bool core = !*domain, twice = false;
        for (int k = 0; k < *count; k++)
            twice |= set[k].domain == domain;
        const char *shown = core ? "ai.onnx" : domain;
        if (twice) {
            diag_error(im->ctx, EXIT_MALFORMED, NULL, "%s imports domain '%s' twice", where, shown);
            continue;
        }
        if (version < 1)
            diag_error(im->ctx, EXIT_MALFORMED, NULL, "%s imports version %" PRId64 " of '%s'",
                       where, version, shown);
        else if (core ? version > OPSET_MAX : version > INT32_MAX) {
            diag_error(im->ctx, EXIT_UNSUPPORTED, NULL,
                       "%s needs version %" PRId64 " of '%s'; this lcc knows versions up to %d",
                       where, version, shown, core ? OPSET_MAX : INT32_MAX);
            version = OPSET_MAX;
        }
        set[(*count)++] = (struct Opset){domain, version};
    }
    return set;
}

/* ---- functions ------------------------------------------------------------------------------- */

static bool function_ports(Import *im, Function *f, const Onnx__FunctionProto *p,
                           NameScope *scope) {
    bool ok = true;
    f->nin = (int)p->n_input;
    f->in = ctx_newn(im->ctx, Str, p->n_input);
    for (size_t i = 0; i < p->n_input; i++) {
        f->in[i] = import_str(im, p->input[i]);
        if (!*f->in[i] || map_get(scope->names, f->in[i]))
            ok = diag_error(im->ctx, EXIT_MALFORMED, NULL,
                            "function '%s': input %zu has no name of its own", f->name, i);
        Value *v = scope_define(im, scope, f->in[i]);
        vec_push(im->ctx, &f->body->inputs, v);
    }
    ok &= import_nodes(im, scope, p->n_node, p->node);
    f->nout = (int)p->n_output;
    f->out = ctx_newn(im->ctx, Str, p->n_output);
    for (size_t i = 0; i < p->n_output; i++) {
        f->out[i] = import_str(im, p->output[i]);
        Value *v = *f->out[i] ? map_get(scope->names, f->out[i]) : NULL;
        if (!v)
            ok = diag_error(im->ctx, EXIT_MALFORMED, NULL,
                            "function '%s': output '%s' is not computed by any node", f->name,
                            f->out[i]);
        vec_push(im->ctx, &f->body->outputs, v);
    }
    return ok;
}

static bool function_attrs(Import *im, Function *f, const Onnx__FunctionProto *p,
                           NameScope *scope) {
    bool ok = true;
    Map *seen = map_new(im->ctx);
    f->attr = ctx_newn(im->ctx, Str, p->n_attribute);
    f->defaults = ctx_newn(im->ctx, Attr, p->n_attribute_proto);
    for (size_t i = 0; i < p->n_attribute + p->n_attribute_proto; i++) {
        Attr a = {0};
        if (i < p->n_attribute)
            a.name = f->attr[f->nattr++] = import_str(im, p->attribute[i]);
        else if (import_attr(im, scope, p->attribute_proto[i - p->n_attribute], NULL, &a))
            f->defaults[f->ndefault++] = a;
        else
            ok = false;
        if (a.name && map_get(seen, a.name))
            ok = diag_error(im->ctx, EXIT_MALFORMED, NULL,
                            "function '%s': attribute '%s' is declared twice", f->name, a.name);
        if (a.name)
            map_put(seen, a.name, f);
    }
    return ok;
}

static bool import_function(Import *im, const Onnx__FunctionProto *p) {
    if (!p || !p->name || !*p->name)
        return diag_error(im->ctx, EXIT_MALFORMED, NULL, "a function has no name");
    Function *f = ctx_new(im->ctx, Function);
    f->name = import_str(im, p->name);
    f->domain = import_domain(im, p->domain);
    f->overload = import_str(im, p->overload);
    Str where = str_f(im->ctx, "function '%s'", f->name);
    Import inner = *im;
    inner.function = true;
    f->opsets.at = import_opsets(im, p->n_opset_import, p->opset_import, &f->opsets.len, where);
    inner.opset = f->opsets.at;
    inner.nopset = f->opsets.len;
    f->body = ctx_new(im->ctx, Graph);
    f->body->name = f->name;
    NameScope scope = scope_new(im, NULL, f->body);
    bool ok = function_attrs(&inner, f, p, &scope);
    ok &= function_ports(&inner, f, p, &scope);
    import_value_info(&inner, &scope, p->n_value_info, p->value_info);
    vec_push(im->ctx, &im->model->functions, f);
    return ok;
}

/* ---- the model ------------------------------------------------------------------------------- */

static bool check_versions(Import *im, const Onnx__ModelProto *p) {
    int64_t ir = p->has_ir_version ? p->ir_version : 0;
    im->model->ir_version = ir;
    if (ir < 1)
        return diag_error(im->ctx, EXIT_MALFORMED, NULL, "the model has no valid ir_version");
    if (ir < IR_MIN || ir > IR_MAX)
        return diag_error(im->ctx, EXIT_UNSUPPORTED, NULL,
                          "IR version %" PRId64 " is not supported (%d to %d are)", ir, IR_MIN,
                          IR_MAX);
    if (!p->n_opset_import)
        return diag_error(im->ctx, EXIT_MALFORMED, NULL, "the model has no opset_import");
    return true;
}

Model *graph_import(Ctx *ctx, const struct Onnx__ModelProto *p, struct OnnxFile *file) {
    Import im = {.ctx = ctx, .model = ctx_new(ctx, Model), .file = file};
    Model *m = im.model;
    int before = ctx->diag.errors;
    if (!p || !p->graph) {
        diag_error(ctx, EXIT_MALFORMED, NULL, "the file holds no graph: is it an ONNX model?");
        return NULL;
    }
    memcpy(m->sha256, file->sha256, sizeof m->sha256);
    check_versions(&im, p);
    m->opsets.at =
        import_opsets(&im, p->n_opset_import, p->opset_import, &m->opsets.len, "the model");
    m->opsets.cap = m->opsets.len;
    im.opset = m->opsets.at;
    im.nopset = m->opsets.len;
    for (size_t i = 0; i < p->n_functions; i++)
        import_function(&im, p->functions[i]);
    m->graph = ctx_new(ctx, Graph);
    NameScope scope = scope_new(&im, NULL, m->graph);
    import_graph(&im, &scope, p->graph, NULL);
    if (!p->graph->n_output)
        diag_error(ctx, EXIT_MALFORMED, NULL, "the graph has no outputs");
    if (ctx->diag.errors == before)
        graph_inline(ctx, m);
    return ctx->diag.errors == before ? m : NULL;
}
