/* frontend/define.h — the state of graph_define, shared by define.c and define_help.c. */
#ifndef LCC_DEFINE_H
#define LCC_DEFINE_H

#include "frontend/definers.h"

#define DIM_MAX                                                                                    \
    ((int64_t)INT32_MAX)  /* of a symbolic dim nothing is said about: fits an i32 tensor, too */
#define EXTENT_SIZE 32    /* nodes of an extent that is not bound to a symbol */
#define DEPTH_MAX 64      /* nested bodies */
#define NODES_MAX 4000000 /* nodes defined */
#define FORKS_MAX 256     /* branches tried */

typedef struct DefineState {
    Ctx *ctx;
    Program *prog;
    Model *model;
    const DefineOptions *opt;
    VEC(DimBind) bound; /* by --dim and --shape */
    VEC(Str) open;      /* names of the dims that inputs leave open, each once */
    Map *asked;         /* the same as a set */
    Map *dims;          /* name → Sym */
    Map *plain;         /* names of dims that stand alone as an extent of an input */
    Map *literals;      /* Literal → Buf */
    Val *poison;        /* the outputs of nodes that failed */
    const Node *fork;   /* an If that asks for both branches to be tried: see define_fork */
    Map *taken;         /* such an If → 1 + the branch being tried, as a pointer-sized integer */
    Map *bounds;        /* RUN symbols of extents → Expr they never exceed */
    int depth, nodes, forks;
} DefineState;

#endif
