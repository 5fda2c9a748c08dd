/* ir/graph.c — attributes of nodes. */
#include "ir/graph.h"

#include <string.h>

const char *attr_kind_text(int kind) {
    static const char *const WORDS[] = {
        [ATTR_INT] = "int",        [ATTR_FLOAT] = "float",     [ATTR_STRING] = "string",
        [ATTR_TENSOR] = "tensor",  [ATTR_GRAPH] = "graph",     [ATTR_INTS] = "ints",
        [ATTR_FLOATS] = "floats",  [ATTR_STRINGS] = "strings", [ATTR_TENSORS] = "tensors",
        [ATTR_TYPE] = "type_proto"};
    return kind >= 0 && kind <= ATTR_TYPE ? WORDS[kind] : NULL;
}

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
