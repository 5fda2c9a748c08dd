/* frontend/upgrade.h — what the rules of upgrade.def are made with. */
#ifndef LCC_UPGRADE_H
#define LCC_UPGRADE_H

#include "frontend/frontend.h"

/* One node on its way to its op's newest version. A rule changes `n` in place and may put nodes in
 * front of it; `n` itself is appended after the last rule. */
typedef struct Up {
    Ctx *ctx;
    Model *model;
    Graph *graph;
    Node *n;
    int since;         /* the version the model wrote it for */
    VEC(Node *) nodes; /* of the graph being rebuilt */
    Map *used;         /* Value → anything, for all that is read somewhere; made when asked for */
} Up;

/* false: the node cannot be brought up; reported. */
typedef bool (*UpFn)(Up *up, const char *args);

/* Values and nodes in front of the node. */
Value *up_literal(Up *up, Dtype type, int rank, int64_t count, const void *data);
Value *up_i64(Up *up, int rank, int64_t count, const int64_t *v);
Value *up_f32(Up *up, int rank, int64_t count, const double *v);
Value *up_value(Up *up, const char *suffix);
Node *up_node(Up *up, const char *op, int nin, Value *const *in); /* one fresh output */
Value *up_op(Up *up, const char *op, int nin, Value *const *in);  /* its output */
/* Inputs and attributes of a node. */
void up_set_input(Up *up, Node *n, int i, Value *v);
Attr *up_attr(Up *up, Node *n, const char *name, AttrKind kind); /* found or added */
void up_drop(Node *n, const char *name);
bool up_used(Up *up, const Value *v);

/* Rules, in upgrade_rules.c and upgrade_shape.c; upgrade.def says what each does. */
#define UPGRADE(domain, op, below, fn, args) bool fn(Up *up, const char *args_);
#include "frontend/upgrade.def"
#undef UPGRADE

#endif
