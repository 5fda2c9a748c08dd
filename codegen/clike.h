/* codegen/clike.h — printing flat Funcs as C; shared by the backends whose language is like C.
 *
 * A Printer writes one file. Expressions come out with the parentheses C needs and no more, one
 * statement a line. Every printed expression of a scalar type has exactly the C type of its dtype
 * (bool: int; floats below 32 bits: their bits), so that no conversion is left to the C compiler. */
#ifndef LCC_CLIKE_H
#define LCC_CLIKE_H

#include "codegen/codegen.h"

/* How tightly a C operator binds. */
enum {
    P_ASSIGN = 1,
    P_COND,
    P_OROR,
    P_ANDAND,
    P_BITOR,
    P_BITXOR,
    P_BITAND,
    P_EQ,
    P_REL,
    P_SHIFT,
    P_ADD,
    P_MUL,
    P_UNARY,
    P_POST
};

typedef struct RegInfo RegInfo; /* clike.c: how a SPACE_REG buffer is spelled */

typedef struct Printer {
    Ctx *ctx;
    Text *t;
    Paste *paste;
    const Machine *mach;
    Map *names;     /* Sym, Buf → Str: their identifiers */
    Map *taken;     /* Str → Str: identifiers in scope */
    Map *numbers;   /* Str → number to try next, for names that are taken */
    Map *allocs;    /* ALLOC Stmt → RegInfo */
    Map *regs;      /* Buf → RegInfo */
    Map *used;      /* Sym, Buf → itself: read or written by what is printed */
    Map *plain;     /* Expr → char: 'y' index arithmetic that never wraps, 'n' not */
    VEC(Str) scope; /* what to give back at the end of the block */
    int depth;
    /* Prints a Buf that has no identifier (constants, arena) as a pointer to its elements. */
    void (*outside)(struct Printer *p, const Buf *b, int prec);
    void (*statement)(struct Printer *p, const Stmt *s); /* CALL, HOST, ASSIGN */
    void *data;                                          /* of the two */
    const Buf *stream; /* its vectors are stored past the caches; NULL: none */
    bool streamed;     /* some were, so far */
} Printer;

/* ---- names and lines (clike.c) ------------------------------------------------------------------- */

/* A fresh identifier for a Sym or Buf, given back when the block it is declared in ends. */
Str print_declare(Printer *p, const void *obj, Str wish);
int print_open(Printer *p); /* marks the start of a block */
void print_close(Printer *p, int mark);
void print_line(Printer *p, const char *fmt, ...) LCC_PRINTF(2, 3); /* one line, indented */
void print_start(Printer *p);                                       /* the indentation of a line */
void print_stmts(Printer *p, const Stmt *s);
/* Starts a function: empties the tables and scans the body. */
void print_begin(Printer *p, const Stmt *body);
/* e is known only when the stub function has returned. */
bool call_computes(const Call *c, const Expr *e);
/* `static int f(params) {…}`, with the parameters that are used (Printer.used). restrict_ok: no two
 * buffers of any call overlap. */
void print_func(Printer *p, const Func *f, Str name, bool restrict_ok);
/* Sym, Buf → itself: what printing the body would mention. */
Map *print_uses(Printer *p, const Stmt *body);
bool stmts_store(const Stmt *s, const Buf *b); /* does the list store to b? */
/* Its parts: `T *x, int64_t n` of what `body`, which print_begin has seen, uses; true when there is any. */
bool print_params(Printer *p, const Func *f, const Stmt *body, bool restrict_ok);
/* Is a SPACE_REG buffer spelled as an array, for lack of constant places? */
bool reg_is_array(const Printer *p, const Buf *b);
bool func_returns(const Func *f); /* does it hold a CHECK? */

/* ---- expressions (clike_expr.c) ------------------------------------------------------------------- */

const char *ctype_value(Dtype t); /* C type of an expression of this type */
void print_expr(Printer *p, const Expr *e, int prec);
/* The same, as a value to be stored in an element of type t. */
void print_element(Printer *p, const Expr *e, Dtype t);
void print_const(Printer *p, Dtype t, const Expr *e, int prec);
/* x[index] for a LOAD or STORE of flat or full index. */
void print_access(Printer *p, const Buf *b, int n, const Expr *const *index, int prec);
/* Text with $0 $1 $2 (kids, printed by `kid` at the precedence their place needs), $t (dtype) and $f (f of
 * the libm names); stub pieces and libc functions in it are asked for. */
void print_spelled(Printer *p, const char *text, Dtype t, const Expr *e,
                   void (*kid)(Printer *p, const Expr *e, int prec), int prec);
/* Makes sure that a stub piece or libc function is there, and prints its name. */
void print_name(Printer *p, const char *name);

/* ---- vectors (codegen/c/vector.c) ------------------------------------------------------------ */

const char *ctype_vector(Printer *p, Type t);
/* Name of the helper that takes `lanes` neighbours out of a vector of `wide`, from an element on. */
Str vector_part(Printer *p, Dtype t, int wide, int lanes);
void print_vector(Printer *p, const Expr *e, int prec);
/* Name of our own function for an op on f32 (codegen/c/math.c), made when needed; NULL when there is none. */
Str math_function(Printer *p, Op op, int lanes);
/* Name of the helper that no load may be moved across: what a compiler keeps from one iteration of a register
 * tile to the next, or loads ahead for the code behind it, costs the tile its registers. */
Str vector_fence(Printer *p);
void print_vector_store(Printer *p, const Stmt *s);
/* transpose.c: prints the stores from s on that fill a square block from strided loads; gives the last of them,
 * or NULL. */
const Stmt *print_transposed(Printer *p, const Stmt *s);
/* The same for two stores with gaps that fill each other's. */
const Stmt *print_interleaved(Printer *p, const Stmt *s);
void print_let(Printer *p, const Stmt *s);

#endif
