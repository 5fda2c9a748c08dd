/* ir/graph.c — attribute look-up on nodes. */
#include "ir/graph.h"

#include <string.h>

const Attr *node_attr(const Node *n, const char *name) {
    for (int i = 0; i < n->nattr; i++)
        if (strcmp(n->attr[i].name, name) == 0)
            return &n->attr[i];
    return NULL;
}

static const Attr *node_attr_of(const Node *n, const char *name, AttrKind kind) {
    const Attr *a = node_attr(n, name);
    return a && a->kind == kind && !a->ref ? a : NULL;
}

int64_t node_int(const Node *n, const char *name, int64_t otherwise) {
    const Attr *a = node_attr_of(n, name, ATTR_INT);
    return a ? a->i : otherwise;
}

double node_float(const Node *n, const char *name, double otherwise) {
    const Attr *a = node_attr_of(n, name, ATTR_FLOAT);
    return a ? a->f : otherwise;
}

Str node_str(Ctx *ctx, const Node *n, const char *name, const char *otherwise) {
    const Attr *a = node_attr_of(n, name, ATTR_STRING);
    return a ? str_n(ctx, a->s.at, (size_t)a->s.len) : str(ctx, otherwise);
}

const int64_t *node_ints(const Node *n, const char *name, int *count) {
    const Attr *a = node_attr_of(n, name, ATTR_INTS);
    *count = a ? a->n : 0;
    return a ? a->ints : NULL;
}

const double *node_floats(const Node *n, const char *name, int *count) {
    const Attr *a = node_attr_of(n, name, ATTR_FLOATS);
    *count = a ? a->n : 0;
    return a ? a->floats : NULL;
}
