/* ir/loop.h — the loop level: the program. What a schedule rewrites and a backend spells.
 *
 * Kernel: Defs that run as one function, and how (Sched). Func: its loops. Module: everything a backend
 * needs. A Func's body is a list of Stmts linked by `next`; NULL is the empty list. */
#ifndef LCC_LOOP_H
#define LCC_LOOP_H

#include "ir/tensor.h"

typedef struct Stmt Stmt;
typedef struct Func Func;
typedef struct Kernel Kernel;
struct Sched; /* ir/sched.h */

typedef enum StmtOp {
    STMT_FOR,   /* for var < a { body }: var from 0 to a-1 */
    STMT_IF,    /* if a { body } else { orelse } */
    STMT_STORE, /* buf[index…] = a; vector: see below */
    STMT_LET,   /* var = a, visible in the following Stmts of the list (until its end) */
    STMT_ALLOC, /* buf (SPACE_LOCAL, SPACE_REG) lives in body */
    STMT_CALL,  /* func(arg…, sym…): a kernel, from the entry function */
    STMT_HOST,  /* call: a stub function, from the entry function */
    STMT_ASSIGN, /* var = a at run time (BIND, RUN symbols of the entry function), checked against its range */
    STMT_CHECK,   /* return code b unless a */
    STMT_WHILE,   /* while a { body } */
    STMT_SYNC,    /* compilers move no access across it */
    STMT_PREFETCH /* a: a load of what is read later; may lie outside its buffer; flat Funcs only */
} StmtOp;

/* How a FOR runs. Only SERIAL and PARALLEL are left after loop_lower. */
typedef enum Run { RUN_SERIAL, RUN_PARALLEL, RUN_UNROLL, RUN_VECTOR } Run;
/* What to do when a split does not divide; the step that splits resolves it. */
typedef enum Tail { TAIL_NONE, TAIL_PEEL, TAIL_MASK, TAIL_SHIFT, TAIL_ROUNDUP, TAIL_GUARD } Tail;

struct Stmt {
    uint8_t op, run, tail;
    uint8_t kind; /* FOR: AxisKind of the axis it came from */
    int16_t nindex;
    Sym *var;
    const Expr *a, *b;  /* STORE: b = mask (bool vector) or NULL. CHECK: b = code as INT */
    const Expr **index; /* STORE: buf->rank indices, or one flat offset after loop_flatten. A vector
                               STORE's single index is a RAMP (contiguous when its stride is 1) */
    Buf *buf;
    Def *def;            /* FOR, STORE: the Def this came from (for names of loops: def.axis) */
    Str label;           /* FOR: the axis name steps use ("m", "m0", "k1") */
    Func *func;          /* CALL */
    Call *call;          /* HOST */
    Buf **arg;           /* CALL: func->params.len buffers */
    const Expr **symarg; /* CALL: func->syms.len expressions */
    Stmt *body, *orelse, *next;
    Loc loc;
};

struct Kernel {
    Str name;        /* "k07_conv_relu"; unique in its Module */
    VEC(Def *) defs; /* in execution order */
    VEC(Buf *)
    ins, outs;        /* buffers of the outside it reads / writes (a Buf may be in both: updates) */
    VEC(Buf *) temps; /* written and read only inside */
    VEC(Buf *) inner; /* of a scan group: read at the step that wrote them, and only here */
    VEC(Buf *) kept;  /* of inner Defs that other kernels read, too; they are among outs */
    VEC(Sym *) syms;  /* DIM, BIND, RUN symbols it mentions */
    VEC(const Node *) nodes; /* origins, for comments */
    struct Sched *sched;
    Str rule;   /* the rule that made sched; NULL: none (naive loops) */
    Func *func; /* after kernel_dedup may be another kernel's */
};

/* A function: a kernel's loops, or the entry. */
struct Func {
    Str name;
    VEC(Buf *) params; /* formal buffers: a kernel's ins then outs (a Buf in both once) */
    VEC(Sym *) syms;   /* formal i64 parameters */
    Stmt *body;
    Kernel *kernel;                   /* NULL: the entry */
    bool instr;                       /* an instruction of the target: its body is what it means */
    bool flat;                        /* after loop_flatten: every index is one storage offset */
    int uses;                         /* how many nodes call it */
    double flop, bytes_in, bytes_out; /* static estimate, -1 unknown */
    double macs; /* multiply-adds of narrow integers by their instructions; -1 unknown */
};

/* The main block with runs of Defs replaced by kernels, from kernel_partition to host_plan. */
typedef struct PlanItem {
    Item *item; /* NULL when a kernel */
    Kernel *kernel;
    struct Plan *body[2];
} PlanItem;
typedef struct Plan {
    VEC(PlanItem) items;
} Plan;

typedef struct Module {
    Program *prog;
    Plan *plan;
    VEC(Kernel *) kernels; /* distinct functions, in order of first call */
    Func *entry;       /* params: inputs, outputs; syms: DIMs; body: CALL, HOST, ASSIGN, IF, … */
    VEC(Buf *) consts; /* those the functions read, with final data */
    VEC(Buf *) arena;  /* placed buffers */
    /* Constant for static shapes, else over DIM symbols and BIND symbols that follow from them. NULL: open,
     * known only while running: the entry is given the arena's size as arena_cap, and checks. */
    const Expr *arena_bytes;
    Sym *arena_cap;      /* SYM_RUN; NULL unless open */
    int64_t arena_fixed; /* open: bytes of the part of constant size, which every run needs */
    /* What the search for offsets found and the largest live set, below which no plan can be; where sizes depend
     * on dims, at the sample of memory_plan.c. Open sizes do not count. */
    int64_t arena_sample, arena_bound;
    Map *choices; /* Kernel → SchedChoice (lower.h); NULL unless somebody asks */
} Module;

Stmt *stmt_new(Ctx *ctx, StmtOp op);
Stmt *stmt_for(Ctx *ctx, Sym *var, const Expr *extent, Str label, Def *def, Stmt *body);
Stmt *stmt_store(Ctx *ctx, Buf *buf, int n, const Expr *const *index, const Expr *value);
Stmt *stmt_if(Ctx *ctx, const Expr *cond, Stmt *body, Stmt *orelse);
/* Concatenates two lists (either may be NULL). */
Stmt *stmt_join(Stmt *a, Stmt *b);
/* Deep copy; loop variables and LETs renamed fresh. */
Stmt *stmt_copy(Ctx *ctx, const Stmt *s);
/* Rewrites every Expr of the tree through fn (see expr_map); Stmts are rebuilt in place. */
void stmt_map(Ctx *ctx, Stmt *s, ExprFn fn, void *data);
void stmt_subst(Ctx *ctx, Stmt *s, int n, Sym *const *from, const Expr *const *to);
void stmt_walk(Stmt *s, void (*fn)(void *data, Stmt *s), void *data); /* pre-order */
int stmt_count(const Stmt *s);
/* Bytes of the arrays that the function with most of them keeps on the stack. */
int64_t module_stack(const Module *m);
/* Is b loaded from, stored to or handed on anywhere in s? */
bool stmt_uses_buf(const Stmt *s, const Buf *b);

/* loop_text.c; grammar at its top. parse(print(x)) prints the same. */
void func_print(Text *t, const Func *f);
void kernel_print(Text *t,
                  const Kernel *k); /* `kernel`, `schedule` and, when built, `loops` sections */
/* One file of sections: kernels with their schedules and loops. */
typedef struct LccText {
    VEC(Kernel *) kernels;
    VEC(Func *) funcs; /* of `loops` sections without a kernel */
} LccText;
LccText *lcc_parse(Ctx *ctx, const char *file, const char *text);
/* module_text.c; grammar at its top. A whole module: with its plan, or with the entry function once there. */
void module_print(Text *t, const Module *m);
Module *module_parse(Ctx *ctx, const char *file, const char *text);

/* Runs a Func's loops (any stage of lowering) on tensors bound to its params in `ev`. */
bool eval_func(Eval *ev, const Func *f);
/* Runs the entry: the whole model. */
bool eval_module(Eval *ev, const Module *m);

bool func_verify(Ctx *ctx, const Func *f, const char *when, bool flat);
bool module_verify(Ctx *ctx, const Module *m, const char *when);

#endif
