/* ir/eval_in.h — shared by the files of the evaluator (eval.c, eval_prog.c, eval_lanes.c, eval_nest.c,
 * eval_func.c, eval_host.c); nobody else includes it.
 *
 * An expression becomes a Prog: instructions over registers of up to STRIP lanes, sorted by the loop
 * level at which they change. All lanes are computed, also of arms not taken: every op is total, and a
 * load outside its buffer gives 0 and marks the lane. SELECT, AND, OR drop the marks of what they do not
 * take (laziness); a mark that reaches a store, a branch or a reduction is the error. */
#ifndef LCC_EVAL_IN_H
#define LCC_EVAL_IN_H

#include "ir/loop.h"

#define STRIP 256

typedef union Lanes {
    int64_t i[STRIP]; /* integers and bool, extended; strings: address of the ConstStr */
    double d[STRIP];  /* f64 */
    float f[STRIP];   /* f32 and narrower floats */
} Lanes;

typedef struct Reg {
    Lanes v;
    uint16_t why[STRIP]; /* 0, or 1 + number of the Access that failed; valid when bad */
    bool bad;
} Reg;

/* The value of a symbol that the expression does not compute itself. */
typedef struct Cell {
    const Sym *sym;
    bool set;
    int64_t i;
    Lanes *lanes; /* SYM_LET: its value; only as many lanes as its type has */
} Cell;

/* One place that loads or stores. The tensor is looked up before each run. */
typedef struct Access {
    const Buf *buf;
    Tensor *t;
    int rank; /* of the index: the buffer's, or 1 for a storage offset */
    bool flat;
    int64_t dim[RANK_MAX];
    int bad_dim; /* of the last failure */
    int64_t bad_index;
} Access;

typedef struct Kid {
    int reg;
    uint16_t lanes; /* 0: the strip, 1: uniform, else of a vector type */
} Kid;

typedef struct Instr {
    uint8_t op, type, from; /* Op; Dtype of the result and of kid 0 */
    uint8_t bits;           /* width of an integer result */
    uint16_t lanes;
    uint16_t access; /* LOAD, MLOAD */
    int dst, nkid;
    const Kid *kid;
    Cell *cell; /* SYM */
    Scalar imm; /* INT, FLT */
} Instr;

#define OP_FILL OP_COUNT /* kid 0 to all lanes; made by prog_spread */

typedef struct Code {
    VEC(Instr) in;
} Code;

/* What an expression may mention: the loops around it, outermost first. Level i + 1 = loop i. */
typedef struct Prog {
    Ctx *ctx;
    Eval *ev;
    Code *level; /* nlevel + 1 entries; 0 is outside of all loops */
    int nlevel;
    Sym **loop;
    int *loop_reg;  /* register of each loop variable, set by the runner */
    int lane;       /* which loop runs in strips, -1: none */
    const Buf *own; /* loads of it are made at own_level or deeper */
    int own_level;
    bool flat;             /* indices are storage offsets */
    VEC(int) reg_level;    /* of each register */
    VEC(uint8_t) reg_type; /* Dtype of what each register holds */
    Map *memo;             /* Expr → Kid */
    VEC(Instr *) spread;   /* the FILLs made so far */
    VEC(Access *) access;
    const Stmt *lets; /* LETs to be computed in place: a list ending at `lets_end` */
    const Stmt *lets_end;
    unsigned epoch; /* of the tensors in access */
    int root;       /* register of the expression, for eval_int */
} Prog;

/* eval_prog.c: compilation. */
Prog *prog_new(Eval *ev, int nloop, Sym *const *loop, int lane);
Kid prog_expr(Prog *p, const Expr *e);
Kid prog_spread(Prog *p, Kid k, uint16_t lanes); /* the uniform k in every lane */
int prog_level(const Prog *p, Kid k);
int prog_reg(Prog *p); /* a register of the runner's own */
int prog_access(Prog *p, const Buf *b, int nindex);
uint8_t int_bits(Dtype t); /* width of an integer type; 64 for all else */

/* eval_lanes.c: execution. */
bool prog_start(Eval *ev, Prog *p);                 /* looks tensors up; runs level 0 */
void prog_run(Eval *ev, Prog *p, int level, int n); /* one level, n lanes in a strip */
void lanes_op(const Instr *in, Reg *dst, Reg *const *kid, int n);
/* Element of the access for lane l, or -1 (then noted in the access). */
int64_t access_at(Eval *ev, Access *a, const Kid *index, int l);
void element_get(Dtype t, const void *data, int64_t i, Lanes *v, int l);
void element_put(Dtype t, void *data, int64_t i, const Lanes *v, int l);
bool lane_is_float(Dtype t); /* lanes in .f */
void lanes_move(Dtype t, Lanes *to, int i, const Lanes *from, int j);
void lanes_fill(Lanes *v, const Expr *constant, int n);
void lane_combine(const Instr *op, Lanes *a, int i, const Lanes *b,
                  int j); /* a[i] = a[i] op b[j] */
/* Stores n lanes; false, and nothing stored, when one is out of bounds. */
bool access_store(Eval *ev, Access *a, const Kid *index, Kid value, int n);

/* eval_nest.c: loops around one store. */
typedef struct Nest Nest;
typedef struct NestSpec {
    int nloop;
    Sym **loop;          /* outermost first */
    const Expr **extent; /* of each loop */
    int lane;            /* -1: none */
    int nout;            /* loops outside the accumulators; nloop when there are none */
    int ways, ways_loop; /* partial sums (1: one) along that loop (-1: none) */
    const Buf *own;
    int own_level;
    bool flat;
    Buf *buf;
    int nindex;
    const Expr *const *index;
    Op combine; /* COMBINE_SET, or the op; with accumulators it combines them */
    const Expr *init, *value, *when; /* init, when: may be NULL */
    const Stmt *lets, *lets_end;
} NestSpec;
Nest *nest_new(Eval *ev, const NestSpec *spec);
bool nest_run(Eval *ev, Nest *n, const Loc *loc, Str what);

/* eval_host.c */
bool eval_call(Eval *ev, const Call *c);

/* eval.c */
struct Eval {
    Ctx *ctx;
    Map *tensors; /* Buf → Tensor */
    Map *owned;   /* Tensor → Tensor, when the evaluator allocated it */
    Map *cells;   /* Sym → Cell */
    Map *progs;   /* Def, Expr → compiled form */
    Reg **reg;
    int nreg;
    double steps, budget;
    bool failed;
    Map *
        stored; /* Buf → Tensor in storage order, for Bufs whose storage is not their logical order */
    Map *funcs;     /* Func → its compiled body, while a Module runs */
    Tensor *arena;  /* bytes; NULL: every Buf on its own */
    unsigned epoch; /* grows when a Buf gets another Tensor */
};
Cell *eval_cell(Eval *ev, const Sym *s);
bool eval_assign(Eval *ev, Sym *s, const Expr *e); /* checked against the symbol's facts */
Reg **eval_regs(Eval *ev, int n);
bool eval_fail(Eval *ev, const Loc *loc, const char *fmt, ...) LCC_PRINTF(3, 4);
/* The tensor of b, made when missing; `fresh` = every element is about to be written. */
Tensor *eval_make(Eval *ev, const Buf *b, bool fresh);
/* eval_func.c: the tensor whose elements a storage offset of b counts. */
Tensor *eval_storage(Eval *ev, const Buf *b);
Tensor *tensor_new(Eval *ev, Dtype type, int rank, const int64_t *dim);
/* In the arena when b is placed there, else as tensor_new. */
Tensor *tensor_place(Eval *ev, const Buf *b, int rank, const int64_t *dim);
bool eval_mark(Eval *ev, const Prog *p, unsigned why, const Loc *loc, Str what);

#endif
