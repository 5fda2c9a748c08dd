/* frontend/import_order.c — the order in which a graph's nodes are read.
 *
 * ONNX asks for topological order, yet files without it exist and run elsewhere; they are sorted
 * here, as little as possible: a node moves only in front of the first that needs it. What a body
 * takes from outside counts as an input of the node that has the body. A cycle is an error.        */
#include "frontend/import.h"

typedef struct Order {
    Import *im;
    Onnx__NodeProto **node;
    Map *maker;     /* name → 1 + index of the node that defines it, as a pointer-sized integer */
    uint8_t *state; /* of each node: 0 new, 1 on the stack, 2 placed */
    VEC(int) needs; /* of the node last asked about */
} Order;

static void need_name(Order *o, Map *hidden, const char *name) {
    if (!name || !*name)
        return;
    Str s = str(o->im->ctx, name);
    uintptr_t maker = (uintptr_t)map_get(o->maker, s);
    if (maker && !(hidden && map_get(hidden, s)))
        vec_push(o->im->ctx, &o->needs, (int)(maker - 1));
}

/* `hidden`: names that bodies on the way define themselves. */
static void need_body(Order *o, Map *hidden, const Onnx__GraphProto *g) {
    Ctx *ctx = o->im->ctx;
    for (size_t i = 0; i < g->n_input; i++)
        if (g->input[i] && g->input[i]->name)
            map_put(hidden, str(ctx, g->input[i]->name), o);
    for (size_t i = 0; i < g->n_initializer; i++)
        if (g->initializer[i] && g->initializer[i]->name)
            map_put(hidden, str(ctx, g->initializer[i]->name), o);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; g->node[i] && k < g->node[i]->n_output; k++)
            if (g->node[i]->output[k])
                map_put(hidden, str(ctx, g->node[i]->output[k]), o);
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        for (size_t k = 0; n && k < n->n_input; k++)
            need_name(o, hidden, n->input[k]);
        for (size_t k = 0; n && k < n->n_attribute; k++)
            if (n->attribute[k] && n->attribute[k]->g)
                need_body(o, hidden, n->attribute[k]->g);
    }
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i])
            need_name(o, hidden, g->output[i]->name);
}

static void node_needs(Order *o, int i) {
    const Onnx__NodeProto *n = o->node[i];
    o->needs.len = 0;
    for (size_t k = 0; n && k < n->n_input; k++)
        need_name(o, NULL, n->input[k]);
    for (size_t k = 0; n && k < n->n_attribute; k++)
        if (n->attribute[k] && n->attribute[k]->g)
            need_body(o, map_new(o->im->ctx), n->attribute[k]->g);
}

static bool is_sorted(Order *o, int n) {
    for (int i = 0; i < n; i++) {
        node_needs(o, i);
        for (int k = 0; k < o->needs.len; k++)
            if (o->needs.at[k] >= i)
                return false;
    }
    return true;
}

typedef struct Visit {
    int node, nneed, next;
    int *need;
} Visit;

static Visit visit_new(Order *o, int i) {
    node_needs(o, i);
    o->state[i] = 1;
    return (Visit){.node = i,
                   .nneed = o->needs.len,
                   .need = ctx_copy(o->im->ctx, o->needs.at, (size_t)o->needs.len * sizeof(int))};
}

static bool report_cycle(Order *o, int i) {
    const Onnx__NodeProto *n = o->node[i];
    Loc loc = {.file = o->im->ctx->file, .node = i, .op = n && n->op_type ? n->op_type : NULL};
    loc.name = n && n->name && *n->name           ? n->name
               : n && n->n_output && n->output[0] ? n->output[0]
                                                  : NULL;
    return diag_error(o->im->ctx, EXIT_MALFORMED, &loc,
                      "the node needs its own output: the graph has a cycle");
}

/* Depth first, with a stack of its own: a chain may be as long as the graph. */
static bool sort_nodes(Order *o, int n, int *order) {
    VEC(Visit) stack = {0};
    Ctx *ctx = o->im->ctx;
    int placed = 0;
    for (int i = 0; i < n; i++) {
        if (o->state[i])
            continue;
        vec_push(ctx, &stack, visit_new(o, i));
        while (stack.len) {
            Visit *v = &stack.at[stack.len - 1];
            if (v->next == v->nneed) {
                o->state[v->node] = 2;
                order[placed++] = v->node;
                stack.len--;
                continue;
            }
            int need = v->need[v->next++];
            if (o->state[need] == 1)
                return report_cycle(o, need);
            if (o->state[need] == 0)
                vec_push(ctx, &stack, visit_new(o, need));
        }
    }
    return true;
}

const int *import_order(Import *im, size_t count, Onnx__NodeProto **node) {
    Ctx *ctx = im->ctx;
    int n = (int)count;
    Order o = {.im = im, .node = node, .maker = map_new(ctx)};
    o.state = ctx_newn(ctx, uint8_t, count);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; node[i] && k < node[i]->n_output; k++) {
            Str s = import_str(im, node[i]->output[k]);
            if (*s && !map_get(o.maker, s))
                map_put(o.maker, s, (void *)((uintptr_t)i + 1));
        }
    int *order = ctx_newn(ctx, int, count);
    for (int i = 0; i < n; i++)
        order[i] = i;
    if (!is_sorted(&o, n) && !sort_nodes(&o, n, order))
        return NULL;
    return order;
}
