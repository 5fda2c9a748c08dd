/* frontend/control.h — storage shared by paths of control: control.c, loops.c, slot.c. */
#ifndef LCC_CONTROL_H
#define LCC_CONTROL_H

#include "frontend/definers.h"

/* A tensor that several Defs write: the state of a loop, the result of two branches. Extents that may
 * change are symbols which the entry function sets again; the elements then lie in a flat buffer of
 * constant capacity. */
typedef struct Slot {
    Str name;
    Dtype type;
    int rank;
    const Expr *dim[RANK_MAX];
    Sym *sym[RANK_MAX];   /* NULL: the extent is fixed */
    const Expr *capacity; /* elements; with a sym only */
    Buf *buf;
} Slot;

/* `most[i]`: upper bound of an extent with a symbol, over DIM symbols and constants. */
void slot_init(Definer *d, Slot *s, Str name, const Buf *like, const Expr *const *dim,
               Sym *const *sym, const Expr *const *most);
/* Defs that copy v into the slot; extents are set by slots_extents after all copies. */
bool slot_store(Definer *d, Slot *s, Buf *v);
/* The symbols of all slots become the extents of the values, at once. */
void slots_extents(Definer *d, int n, Slot *const *s, Buf *const *v);
/* What the slot holds now, as a tensor of its present extents. */
Buf *slot_view(Definer *d, Slot *s);

/* The values of a loop's iterations side by side along a new axis. Extents that only the body knows must be
 * the same in every iteration; they are symbols, and the storage is flat, as in a Slot. */
typedef struct Stack {
    Str name;
    Dtype type;
    int rank, axis;            /* of one value; where the new axis is */
    const Expr *dim[RANK_MAX]; /* of one value */
    Sym *sym[RANK_MAX];
    const Expr *trip; /* values at most */
    bool flat;
    Buf *buf;
} Stack;
/* `inner`: symbols of the block that v is computed in. */
bool stack_init(Definer *d, Map *inner, Stack *s, Str name, const Buf *v, int axis,
                const Expr *trip);
void stack_clear(Definer *d, Stack *s);
/* In iteration t: v becomes the value at position `at`. */
bool stack_store(Definer *in, Stack *s, Buf *v, const Expr *t, const Expr *at);
/* The first n values as one tensor; NULL: all. */
Buf *stack_view(Definer *d, Stack *s, const Expr *n);

/* The tensors of a value, in order; sequences and optionals are taken apart. */
typedef struct Leaves {
    VEC(Buf *) at;
} Leaves;
void val_leaves(Ctx *ctx, const Val *v, Leaves *out);
/* Equal but for the tensors' extents and data. */
bool val_same_form(const Val *a, const Val *b);
/* A copy of the tree with other tensors, taken from *next on. */
Val *val_with(Ctx *ctx, const Val *v, Buf *const **next);

/* d with Items going into another block. */
Definer define_inside(const Definer *d, Scope *scope);
/* Defines a body with inputs bound to in[0..nin); *out: its outputs. */
bool define_body(Definer *d, const Graph *body, Scope *scope, int nin, Val *const *in, int nout,
                 Val **out);
/* The symbols that Items of the block set, its bodies included. */
Map *inner_syms(Ctx *ctx, Block *b);
/* The symbol, an extent, never exceeds `most`. */
void sym_bounded(Definer *d, Sym *s, const Expr *most);
/* Is e free of loads and of these symbols? */
bool is_outer(Ctx *ctx, Map *inner, const Expr *e);
/* Something outside that e never exceeds: e itself when it is outside; NULL: none. */
const Expr *outer_bound(Definer *d, Map *inner, const Expr *e);
/* The first element, when it is a constant. */
bool known_constant(Ctx *ctx, Buf *b, int64_t *v);
/* ITEM_BIND: the symbol gets a new value. */
void set_sym(Definer *d, Sym *s, const Expr *e);
/* A tensor equal to e. */
Buf *define_number(Definer *d, const char *name, Dtype type, const Expr *e);

#endif
