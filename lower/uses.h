/* lower/uses.h — who writes and who reads each Buf of a Program: the side table that pruning, inlining
 * and partitioning share. Built fresh by uses_build; kept current by uses_reader_add/drop only. */
#ifndef LCC_USES_H
#define LCC_USES_H

#include "lower/lower.h"

/* Where a Def or another Item stands: its block and its position in the walk of the whole program. */
typedef struct Place {
    Block *block;
    Item *item;
    int order;
} Place;

typedef struct BufUse {
    VEC(Def *) writers, readers; /* each Def once */
    VEC(Item *) items;           /* BIND, CHECK, IF, LOOP expressions that load from it */
    VEC(Place) places;           /* of the writers, calls included */
    int calls;                   /* calls that read it */
    bool port;                   /* an output of the model */
} BufUse;

typedef struct Uses {
    Ctx *ctx;
    Map *bufs;   /* Buf → BufUse */
    Map *places; /* Def → Place */
    int orders;
} Uses;

Uses *uses_build(Ctx *ctx, Program *p);
BufUse *uses_of(Uses *u, const Buf *b);
const Place *uses_place(const Uses *u, const Def *d);
void uses_reader_add(Uses *u, const Buf *b, Def *d);
void uses_reader_drop(Uses *u, const Buf *b, const Def *d);

/* Which axis of d is e, a symbol alone? -1: none. */
int def_axis_of(const Def *d, const Expr *e);
/* A Def with a name and a buffer of its own and the node and the place in the source of another. */
Def *def_beside(Ctx *ctx, const Def *of, const char *suffix, Dtype type, int rank,
                const Expr *const *dim);
/* Calls fn for every expression of the Def (value, when, init, at). */
void def_exprs(const Def *d, void (*fn)(void *data, const Expr *e), void *data);
/* Rewrites every expression of the Def. */
void def_map(Ctx *ctx, Def *d, ExprFn fn, void *data);
/* Calls fn for each distinct Buf the expressions of d load from. */
void def_loads(Ctx *ctx, const Def *d, void (*fn)(void *data, Buf *b), void *data);
bool def_reads(Ctx *ctx, const Def *d, const Buf *b);
/* Bytes of the constants that d loads from and that are not in `seen` yet, where they are put. */
double def_weights(Ctx *ctx, const Def *d, Map *seen);
void expr_loads(Ctx *ctx, const Expr *e, void (*fn)(void *data, Buf *b), void *data);

/* Does the value come in cases by its place (the end of Winograd)? A tile of them shares what it reads; one by
 * one, as a reduction would ask for them, they do not. */
bool def_has_cases(Ctx *ctx, const Def *d);

/* Where the item stands in the block; -1: elsewhere. */
int block_index(const Block *b, const Item *it);
/* Puts d before the item at position `at`. */
void block_insert(Ctx *ctx, Block *b, int at, Def *d);

/* A number for an extent when deciding what pays: constants as they are, symbols as their bounds when
 * narrow, else 64. */
double extent_estimate(Ctx *ctx, const Expr *e);
double buf_volume(Ctx *ctx, const Buf *b);
double buf_bytes(Ctx *ctx, const Buf *b);

#endif
