/* frontend/frontend.h — from an ONNX file to a tensor Program.
 *
 *   onnx_load → graph_import → graph_upgrade → graph_define
 *
 * Ops live in onnx_ops.def: one row an op, at its one canonical version. A row's definer builds the
 * op's equations and nothing else; it never asks whether an operand is constant (it asks for the
 * operand's known elements, which are expressions). */
#ifndef LCC_FRONTEND_H
#define LCC_FRONTEND_H

#include "ir/graph.h"

struct OnnxFile; /* frontend/load.h */

/* Reads the unpacked protobuf into a Model: names, attributes, initialisers, subgraphs, functions.
 * Reports every malformed part it finds. NULL after an error. */
struct Onnx__ModelProto;
Model *graph_import(Ctx *ctx, const struct Onnx__ModelProto *proto, struct OnnxFile *file);

/* Every node of the model (bodies and functions too) at its op's canonical version, by upgrade.def.
 * Reports unknown ops, domains and versions, all at once. */
bool graph_upgrade(Ctx *ctx, Model *m);

/* Shapes given on the command line. */
typedef struct DimBind {
    Str name;               /* dim_param, or "<input>_<axis>" for an unnamed dim */
    int64_t min, max, mult; /* min == max: a constant */
} DimBind;
typedef enum ShapeKind { SHAPE_TENSOR, SHAPE_SEQUENCE, SHAPE_NONE } ShapeKind;
typedef struct ShapeBind {
    Str input;    /* NULL in an element */
    uint8_t kind; /* ShapeKind; SHAPE_NONE: an optional that is absent */
    int rank;
    int64_t dim[RANK_MAX];       /* -1: leave as it is */
    VEC(struct ShapeBind) items; /* of a sequence */
} ShapeBind;
typedef struct DefineOptions {
    VEC(DimBind) dims;
    VEC(ShapeBind) shapes;
} DefineOptions;

/* All equations of the model. Reports every unsupported node and every shape error. NULL after one. */
Program *graph_define(Ctx *ctx, Model *m, const DefineOptions *opt);

/* ---- what a definer sees ------------------------------------------------------------------------ */

/* A value while defining: a tensor, a sequence whose length is known (its elements are Vals), an
 * optional, or nothing. Sequences of unknown length: `seq` (see control.c). */
typedef enum ValKind { VAL_TENSOR, VAL_SEQUENCE, VAL_OPTIONAL } ValKind;
typedef struct Val {
    uint8_t kind;
    Buf *buf;                /* VAL_TENSOR */
    VEC(struct Val *) elems; /* VAL_SEQUENCE; VAL_OPTIONAL: 0 (none) or 1 element */
    Dtype elem_type;         /* of an empty sequence or optional */
} Val;

typedef struct OnnxOp OnnxOp;

/* The state of one node's definition. */
typedef struct Definer {
    Ctx *ctx;
    Program *prog;
    Block *block;       /* where Items go */
    const Node *node;   /* the node being defined: attributes are read from here */
    const Node *origin; /* the outermost node (for names and comments) */
    const OnnxOp *op;
    Val **in, **out;     /* node->nin inputs (NULL: absent), node->nout outputs to be filled */
    struct Scope *scope; /* names → Val, for bodies (control.c, define.c) */
    struct DefineState *state; /* define.c: model, functions, depth, budgets */
} Definer;

/* A row of onnx_ops.def, in the file's order. */
struct OnnxOp {
    const char *domain, *name;
    int version;        /* the canonical since_version */
    int min_in, max_in; /* max_in -1: variadic */
    int min_out, max_out;
    uint8_t kind;                           /* OPKIND_… */
    const char *args, *type, *text, *after; /* MAP, REDUCE: see onnx_ops.def */
    uint8_t combine;                        /* REDUCE: Op */
    bool (*define)(Definer *);
};
enum { OPKIND_MAP, OPKIND_REDUCE, OPKIND_TENSOR, OPKIND_FUNC, OPKIND_HOST, OPKIND_CTRL };
/* The first row of the name; rows of one name stand together. NULL: not supported. */
const OnnxOp *onnx_op_find(const char *domain, const char *name);
const OnnxOp *onnx_op_table(int *count);

/* Inputs. `define_in` of an absent optional is NULL; a non-tensor where a tensor is needed was reported
 * before the definer ran. */
bool define_has(const Definer *d, int i);
Buf *define_in(const Definer *d, int i);
Dtype define_type(const Definer *d, int i);
const Expr *define_dim(const Definer *d, int i, int axis); /* dim of input i */
/* Attribute axis or input axis normalised into [0, rank); reports and returns -1 when out of range. */
int define_axis(Definer *d, int64_t axis, int rank);
/* Element i of a small 1-D (or scalar) tensor as an i64 expression: a constant, a function of symbols, or
 * a run-time load. Reports (and returns NULL) when the tensor is too large to be a shape-like operand. */
const Expr *define_known(Definer *d, Buf *b, int64_t i);
/* Static number of elements of an input that fixes a rank (reports, -1, when not static). */
int64_t define_length(Definer *d, Buf *b);

/* An expression usable as a dimension: constants and expressions over dims come back unchanged; what holds
 * loads, symbolic divisors or float arithmetic is bound once to a symbol (ITEM_BIND) with the range. */
const Expr *define_extent(Definer *d, const char *name, const Expr *e, int64_t min, int64_t max);
/* A run-time scalar bound once (ITEM_BIND): for starts, steps, indices that are loads. */
const Expr *define_scalar(Definer *d, const char *name, const Expr *e, int64_t min, int64_t max);
/* Emits ITEM_CHECK unless proved; reports at compile time when it is provably false. */
bool define_check(Definer *d, const Expr *cond, int code, const char *what);
/* a == b as dims: equal by proof, or checked at run time; reports when provably different. */
bool define_same(Definer *d, const Expr *a, const Expr *b, const char *what);

/* Outputs. `define_out` makes the Def for output i, named after it, not yet emitted: the definer sets value
 * (combine, init, when, more axes) and calls define_emit. A wanted output must get a Val. */
Def *define_out(Definer *d, int i, Dtype type, int rank, const Expr *const *dim);
Def *define_temp(Definer *d, const char *name, Dtype type, int rank, const Expr *const *dim);
void define_emit(Definer *d, Def *def);
void define_set(Definer *d, int i,
                Buf *b); /* output i is this buffer (Identity, Reshape of nothing) */
void define_set_val(Definer *d, int i, Val *v);
Val *define_val(Definer *d, Buf *b); /* a tensor Val */
/* Constants inside definers. */
Buf *define_const_i64(Definer *d, int n, const int64_t *v); /* 1-D */
Buf *define_const_scalar(Definer *d, Dtype t, double v);    /* rank 0 */
/* An error unless 0 <= rank <= RANK_MAX (exit 5). */
bool define_rank(Definer *d, int64_t rank);
/* Runs another op's definer in place; returns its first output (NULL after an error). Attributes as a
 * short text in ONNX syntax: "axis = 1, keepdims = 0", or "". */
Buf *define_node(Definer *d, const char *op, const char *attrs, int nin, Buf *const *in);
bool define_node_n(Definer *d, const char *op, const char *attrs, int nin, Buf *const *in, int nout,
                   Buf **out);
/* The common multidirectional broadcast shape of n buffers; reports when impossible. A symbolic dim
 * against 1 or an equal dim is decided now. Two others become a checked equality, except that a dim which is
 * a symbol of its own, or depends on data, may turn out to be 1 at run time and is then repeated. */
bool define_broadcast(Definer *d, int n, Buf *const *b, int *rank, const Expr **dim);
/* The load of b at output indices under broadcasting (trailing alignment). */
const Expr *define_load_broadcast(Definer *d, Buf *b, int rank, const Expr *const *index);
/* The index along one axis of extent `dim` for output index i: 0 where the axis is repeated. */
const Expr *define_index_broadcast(Definer *d, const Expr *dim, const Expr *i);
/* b broadcasts to exactly these dims (C of Gemm): proved, checked at run time, or reported. */
bool define_broadcast_to(Definer *d, const Buf *b, int rank, const Expr *const *dim,
                         const char *what);
/* A host call (runtime stub) with its outputs; see ir/tensor.h Call. Emitted at once. */
Call *define_call(Definer *d, const char *fn, int nin, Buf *const *in);
/* Reports an error at this node; returns false. */
bool define_error(Definer *d, int code, const char *fmt, ...) LCC_PRINTF(3, 4);

/* ---- scopes and bodies (define.c; used by control.c and inline.c) ---------------------------------- */

/* What the values of one graph or body stand for. Look-ups go outwards; Items
 * made for it go to `block`; symbols bound there are shared inside the block and the blocks within. */
typedef struct Scope {
    struct Scope *outer;
    Block *block;
    Map *vals;  /* Value → Val; initialisers need no entry */
    Map *binds; /* Expr → Sym: see define_extent */
} Scope;
Scope *define_scope(Ctx *ctx, Scope *outer, Block *block);
void define_bind(Scope *s, const Value *v, Val *val);
Val *define_lookup(struct DefineState *st, Scope *s, const Value *v); /* NULL when absent */
/* A buffer for a literal; the same one for the same literal. */
Buf *define_literal(struct DefineState *st, const Literal *lit);
/* The nodes of a body in order. A node's failure was reported; its outputs then hold a poisoned Val, and
 * false is returned at the end. `origin`: what names and comments refer to; NULL: each node itself. */
bool define_nodes(struct DefineState *st, Scope *s, const Graph *g, const Node *origin);
Ctx *define_ctx(struct DefineState *st);

#endif
