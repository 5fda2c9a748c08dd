/* ir/tensor.h — the tensor level: what each value equals.
 *
 * A Program is a list of Items in execution order. Most are Defs: equations over one Buf each. The
 * rest bind symbols, check run-time facts, call stub functions and branch. Kernels (groups of Defs
 * that become one C function) are formed by lower/kernel_partition.c; ir/loop.h is what they become. */
#ifndef LCC_TENSOR_H
#define LCC_TENSOR_H

#include "ir/expr.h"

typedef struct Def Def;
typedef struct Block Block;
typedef struct Node Node; /* ir/graph.h */

#define RANK_MAX 8 /* ranks above this are refused by the frontend (exit 5) */

/* ---- constants --------------------------------------------------------------------------------- */

/* Constant data: row-major, one element = type_bytes(type) bytes, sub-byte types unpacked. Points into
 * the unpacked model, the mapped external file, or the arena. A splat has every element equal: data
 * holds one element. Strings: data is an array of ConstStr. What passes compute from large weights has a
 * maker instead, so that all of it need not be held at once: read data through const_data where it may be so. */
typedef struct ConstStr {
    const char *at;
    int64_t len;
} ConstStr;
typedef struct Const {
    Dtype type;
    int64_t count; /* elements */
    bool splat;
    const void *data;
    const Maker *by; /* data NULL: makes it */
} Const;
Const *const_new(Ctx *ctx, Dtype type, int64_t count, const void *data);
Const *const_made(Ctx *ctx, Dtype type, int64_t count, Maker by);
/* The data, made and kept when it is not there. */
const void *const_data(Ctx *ctx, const Const *c);
Const *const_splat(Ctx *ctx, Dtype type, int64_t count, const void *element);
/* Element i as an INT or FLT expression (any type but strings). */
const Expr *const_at(Ctx *ctx, const Const *c, int64_t i);
/* Writes an INT/FLT constant expression as one stored element of type t. */
void const_put(Dtype t, void *data, int64_t i, const Expr *e);

/* ---- buffers ----------------------------------------------------------------------------------- */

typedef enum Space {
    SPACE_INPUT,  /* the caller's, read only */
    SPACE_OUTPUT, /* the caller's, written; may be read back */
    SPACE_CONST,  /* weights: data != NULL */
    SPACE_ARENA,  /* placed by memory_plan */
    SPACE_LOCAL,  /* inside one kernel: the C stack */
    SPACE_REG,    /* inside one kernel: named variables; every index constant after unrolling */
    SPACE_SCALAR, /* rank 0, a local variable of the entry function */
    SPACE_HEAP    /* unbounded data-dependent size: from the caller's allocator */
} Space;

/* One storage object. Several Defs may write one Buf (loop-carried state, the two branches of an If,
 * the init and the update of a Scatter, slots of a Concat): then ndef > 1, it is never inlined, and its
 * Defs keep their order. */
struct Buf {
    Str name;
    uint32_t id;
    Type type;     /* scalar */
    uint8_t space; /* Space */
    int rank;
    const Expr **dim;  /* logical shape: expressions over DIM, BIND, RUN symbols */
    const Const *data; /* SPACE_CONST */
    Def *def;          /* first Def that writes it; NULL for inputs, constants, host results */
    int ndef;          /* number of Defs and calls that write it */
    /* storage: where = offset in elements as a function of the logical index symbols dimvar[0..rank);
     * NULL = row-major. size = elements to allocate (NULL: product of dims); fill: what the elements
     * outside the logical box hold (NULL: nothing promised). Set by layout_choose and by steps. */
    Sym **dimvar;
    const Expr *where, *size, *fill;
    int64_t
        *halo; /* how many elements of fill stand before [0..rank) and behind [rank..2*rank) each
                      dimension; NULL: none, or not to be written by the kernel */
    /* slots: a concatenation's buffer has parts, which lie inside of it along the dimension `along`, each from
     * its own `start` there; its Def copies them, and costs nothing once memory_plan gave all one place */
    VEC(Buf *) parts;
    int along;
    Buf *whole;        /* what it is a part of; NULL: nothing */
    const Expr *start; /* of a part */
    /* upper bound of the element count for data-dependent extents (NULL: the shape itself bounds it) */
    const Expr *bound;
    /* placement by memory_plan: byte offset in the arena (constant, or over DIM symbols) */
    const Expr *offset;
    const Const *packed; /* SPACE_CONST: data in `where` order, made by const_run; NULL = data */
    const struct Expr **known; /* see def_known; NULL = not asked yet */
    uint8_t known_state;
};

Buf *buf_new(Ctx *ctx, Str name, Dtype type, Space space, int rank, const Expr *const *dim);
Buf *buf_const(Ctx *ctx, Str name, const Const *data, int rank, const int64_t *dim);
const Expr *buf_count(Ctx *ctx, const Buf *b); /* product of the dims */
bool buf_static(const Buf *b, int64_t *count); /* all dims constant? */
bool buf_dims(const Buf *b, int64_t *dim);     /* all dims constant: fills dim[rank] */
const Expr *buf_load(Ctx *ctx, Buf *b, const Expr *const *index); /* rank indices */

/* ---- equations --------------------------------------------------------------------------------- */

typedef enum AxisKind {
    AXIS_PAR, /* any order */
    AXIS_RED, /* combined with Def.combine, in ascending order (see ways) */
    AXIS_SEQ  /* strictly ascending: later iterations read what earlier ones wrote */
} AxisKind;

typedef struct Axis {
    Sym *
        var; /* SYM_AXIS; var->extent is the extent; unique to this Def (a group's axis is shared) */
    uint8_t kind;
    uint8_t ways; /* RED: partial sums, a power of two; 0, 1: one. See Def. */
} Axis;

/* Defs that share their outermost SEQ axis (by pointer) and run together, one step at a time: at each
 * step of var the Defs run in list order. A Def may read what a Def of the group wrote at the same
 * step if it is earlier in the list, else only at earlier steps. */
typedef struct Group {
    Str name;
    Sym *var;
    VEC(Def *) defs;
} Group;

/* One equation. The domain is the product of the axes; for each point, in axis order for SEQ:
 *   at == NULL, no RED axis:  buf[axis 0..rank)  = value
 *   at == NULL, RED axes:     buf[axis 0..rank)  = combine over the RED axes, starting at init, of the
 *                             values where `when` holds      (the first rank axes are the output's)
 *   at != NULL, combine SET:  buf[at]            = value     where `when` holds
 *   at != NULL, otherwise:    buf[at]            = combine(buf[at], value)   where `when` holds
 * One RED axis may have ways = w > 1: accumulator j takes the elements whose position along that axis
 * % w == j, in ascending order of all RED axes, and starts at the identity of combine; at the end
 * a[i] = combine(a[i], a[i + h]) for h = w/2, w/4 … 1; the result is a[0], or combine(init, a[0]).
 * With `at` the Def updates part of the Buf; its axes need not match the Buf's rank, and `at` must be in
 * bounds wherever `when` holds. Axes of an `at` Def are PAR only if no two points store to one element.
 * `value` may load from its own Buf only along SEQ axes. */
struct Def {
    Str name;
    uint32_t id;
    Buf *buf;
    int naxis;
    Axis *axis;
    const Expr **at; /* buf->rank expressions, or NULL */
    uint8_t combine; /* Op: OP_COUNT = SET; OP_ADD OP_MUL OP_MIN OP_MAX OP_AND OP_OR ... */
    const Expr
        *init; /* start of a reduction, over the output axes; NULL = the identity of combine */
    const Expr *value;
    const Expr *when;   /* NULL = true; over all axes */
    Group *scan;        /* NULL: alone */
    const Node *origin; /* the node the Def came from (outermost, not the expanded function's) */
    Loc loc;
};
#define COMBINE_SET OP_COUNT

/* A Def with its own Buf (SPACE_ARENA) of the given dims and one fresh PAR axis a dim; value to be set
 * by the caller (def_value, or by hand). */
Def *def_new(Ctx *ctx, Str name, Dtype type, int rank, const Expr *const *dim);
/* A Def that writes (part of) an existing Buf: no axes yet, at allocated with buf->rank entries. */
Def *def_update(Ctx *ctx, Str name, Buf *buf);
/* Appends an axis and returns its symbol as an expression. */
const Expr *def_axis(Ctx *ctx, Def *d, Str name, AxisKind kind, const Expr *extent);
/* The i-th axis as an expression. */
const Expr *def_var(Ctx *ctx, const Def *d, int i);
int def_nout(const Def *d); /* number of non-RED axes */
bool def_is_reduction(const Def *d);
const Expr *combine_identity(Ctx *ctx, Op combine, Dtype type);
/* Copy with fresh axes (used when an equation is inlined or rewritten). */
Def *def_clone(Ctx *ctx, const Def *d);
/* Value of d at the given output indices, axes substituted: only for pure Defs (at == NULL, no RED). */
const Expr *def_inline(Ctx *ctx, const Def *d, const Expr *const *index);

/* The value of a concatenation: at each index the part that lies there (d->buf has parts). */
const Expr *def_parts(Ctx *ctx, const Def *d);

/* Elements of a small tensor (static count <= KNOWN_MAX) as expressions: constants, functions of
 * symbols, or loads from graph inputs and host results. Computed on demand from the equations (axes
 * substituted by constants), so shape arithmetic never becomes code. NULL: too large or not computable
 * here (an element depends on a SEQ axis or on a Buf with several Defs). Row-major. */
#define KNOWN_MAX 1024
const Expr *const *buf_known(Ctx *ctx, Buf *b);

/* ---- calls of stub functions (HOST ops) --------------------------------------------------------- */

/* fn is a C function of the runtime stub with the fixed signature
 *   int fn(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr, const double *fattr)
 * (runtime-stub/lcc.h); what it computes is documented there. */
typedef struct Call {
    Str fn;
    VEC(Buf *) in;          /* NULL entries: absent optional */
    VEC(Buf *) out;         /* allocated by the memory plan with Buf.bound elements */
    VEC(const Expr *) attr; /* i64 arguments */
    VEC(double) fattr;
    VEC(Str) sattr;    /* string arguments, in order */
    VEC(Sym *) result; /* SYM_RUN symbols set by the call (extents of data-dependent outputs) */
    const Node *origin;
    Loc loc;
} Call;

/* ---- programs ----------------------------------------------------------------------------------- */

typedef enum ItemKind {
    ITEM_DEF,  /* def */
    ITEM_BIND, /* sym := e, then EDIM unless sym->min <= e <= sym->max and a multiple of sym->mult */
    ITEM_CHECK, /* return `code` unless e */
    ITEM_CALL,  /* call */
    ITEM_IF,    /* e ? body[0] : body[1] */
    ITEM_LOOP   /* for sym = 0; e (re-evaluated before each iteration); sym++: body[0] */
} ItemKind;

/* Codes of checks: numbers of runtime-stub/lcc.h. */
enum { CHECK_INDEX = 1, CHECK_CAPACITY = 2, CHECK_DIM = 3, CHECK_MEMORY = 4 };

typedef struct Item {
    uint8_t kind;
    uint8_t code; /* ITEM_CHECK: CHECK_… */
    Def *def;
    Sym *sym;
    const Expr *e; /* may load from SPACE_INPUT, SCALAR, ARENA buffers (single elements) */
    Call *call;
    Block *body[2];
    const Node *origin;
} Item;

struct Block {
    VEC(Item *) items;
};

/* The graph's interface: a flat list of tensors; sequences and optionals are described by `tree`. */
typedef struct Port {
    Str name; /* ONNX name */
    Buf *buf; /* an output may be an input or a constant: then lowering copies */
    Str state; /* of an output: the input whose place it takes (--state); NULL: it has a buffer of its own */
} Port;

/* The whole model at the tensor level. */
typedef struct Program {
    Str name;
    VEC(Port) inputs, outputs;
    VEC(Sym *) dims;   /* SYM_DIM symbols in order of first appearance */
    VEC(Buf *) consts; /* in order of first use */
    Block *main;
    Str args, results; /* JSON trees over the flat ports (docs/bridge.md) */
    int blank;         /* constants whose data a text left out; they are zero */
} Program;

Item *item_new(Ctx *ctx, Block *b, ItemKind kind); /* appended */
/* Calls fn for each Item, bodies included, in order. */
void block_walk(Block *b, void (*fn)(void *data, Block *b, Item *it), void *data);

/* ---- text, truth -------------------------------------------------------------------------------- */

/* tensor_text.c: `kernel` sections; grammar at its top. */
void def_print(Text *t, Names *names, const Def *d);
void program_print(Text *t, const Program *p);
Str def_str(Ctx *ctx, const Def *d); /* the equation alone, for comments and messages */
Program *program_parse(Ctx *ctx, const char *file, const char *text);

/* eval.c: the reference evaluator. Tensors are looked up by Buf. */
typedef struct Tensor {
    Dtype type;
    int rank;
    int64_t dim[RANK_MAX];
    int64_t count;
    void *data; /* elements as stored; strings: ConstStr */
} Tensor;
typedef struct Eval Eval;
Eval *eval_new(Ctx *ctx);
void eval_bind(Eval *ev, const Buf *b, Tensor *t); /* storage in logical row-major order */
void eval_set(Eval *ev, const Sym *s, int64_t v);
Tensor *eval_tensor(Eval *ev, const Buf *b); /* NULL when unbound */
bool eval_int(Eval *ev, const Expr *e, int64_t *v);
/* Runs one Def / all Items of a program (inputs bound); allocates tensors for Bufs without one.
 * False: a check failed or an index was out of bounds (diag says which). */
bool eval_def(Eval *ev, const Def *d);
bool eval_block(Eval *ev, const Block *b);
double eval_steps(const Eval *ev);        /* scalar operations done so far (budget) */
void eval_budget(Eval *ev, double steps); /* stop (returning false) beyond */

/* verify.c */
bool program_verify(Ctx *ctx, const Program *p, const char *when);

#endif
