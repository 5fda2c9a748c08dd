/* ir/expr_in.h — shared by the files behind expr.h (expr.c, fold.c, linear.c, normal.c,
 * simplify.c, bounds.c, prove.c, expr_text.c); nobody else includes it.
 *
 * Every Expr is preceded in memory by an Info: facts computed once, when the node is made. */
#ifndef LCC_EXPR_IN_H
#define LCC_EXPR_IN_H

#include "ir/expr.h"

typedef struct Info {
    Range range;         /* of an integer or bool node; of a SYM: ask expr_range */
    int64_t mult;        /* always a multiple of this; 0 for the constant 0 */
    uint64_t syms, bufs; /* one bit of 64 for each symbol / loaded buffer inside: a quick "no" */
    const Expr *simple;  /* what expr_simplify gave, NULL = not asked */
    uint32_t absent;     /* 1 + id of the symbol or buffer last found not to be inside */
    uint16_t levels;     /* of nodes below; stops at a limit */
    uint8_t symbolic;    /* SYMBOLIC_ bits of an integer node */
} Info;

#define SMALL (INT64_C(1) << 40) /* numbers within ±SMALL count as bounded */

/* Below / above, the value is bounded by something made of symbols with facts, or by a small constant:
 * arithmetic on values that have both bits is known not to wrap (see the top of expr.h). */
enum { SYMBOLIC_LO = 1, SYMBOLIC_HI = 2, SYMBOLIC = 3 };

static inline Info *expr_info(const Expr *e) {
    return (Info *)(void *)((char *)(uintptr_t)e - sizeof(Info));
}
static inline uint64_t object_bit(uint32_t id) {
    return UINT64_C(1) << (id & 63);
}
static inline uint64_t sym_bit(const Sym *s) {
    return object_bit(s->id);
}
static inline bool is_op(const Expr *e, Op op) {
    return e->op == (uint8_t)op;
}
/* INT constant > 0 of any width? */
static inline bool is_positive(const Expr *e, int64_t *v) {
    return expr_is_int(e, v) && *v > 0;
}

/* ---- expr.c ------------------------------------------------------------------------------------ */

typedef union Payload {
    int64_t i;
    double f;
    Sym *sym;
    Buf *buf;
} Payload;
/* The unique node with these parts, as they are: no folding, no normal form. */
const Expr *expr_make(Ctx *ctx, Op op, Type t, Payload u, int n, const Expr *const *kid);
const Expr *expr_make1(Ctx *ctx, Op op, Type t, const Expr *a);
const Expr *expr_make2(Ctx *ctx, Op op, Type t, const Expr *a, const Expr *b);
/* Order by structure: products, symbols, then the other ops; does not depend on creation order but
 * for symbols and buffers. Constants last. */
int expr_cmp(const Expr *a, const Expr *b);
/* Result type of op on these kids, t being the wanted dtype of a cast; 0 when the caller must say. */
Type expr_type_of(Op op, Type t, int n, const Expr *const *kid);
/* e with other kids, through the constructors. */
const Expr *expr_rebuild(Ctx *ctx, const Expr *e, const Expr *const *kid);
const char *op_form(Op op);   /* "INFIX" … */
const char *op_result(Op op); /* "SAME" … */

/* A map from Expr to Expr that is taken from a pool and given back, so that rewriting a small
 * expression allocates nothing. */
typedef struct Memo Memo;
Memo *memo_take(Ctx *ctx);
void memo_give(Ctx *ctx, Memo *m);
const Expr *memo_get(const Memo *m, const Expr *key);
void memo_put(Ctx *ctx, Memo *m, const Expr *key, const Expr *val);

/* ---- linear.c: integer polynomials ------------------------------------------------------------- */

typedef struct Term {
    int64_t coef;
    const Expr *mono; /* a product of atoms; never a constant or a sum */
} Term;
#define POLY_FEW 12
typedef struct Poly {
    Ctx *ctx;
    Term *at; /* sorted by expr_cmp, coef != 0 after poly_clean */
    int n, cap;
    int64_t c;
    Term few[POLY_FEW];
} Poly;
void poly_init(Poly *p, Ctx *ctx);
void poly_of(Poly *p, Ctx *ctx, const Expr *e);
void poly_add(Poly *p, const Expr *e, int64_t scale);    /* p += scale * e, wrapping */
void poly_term(Poly *p, const Expr *mono, int64_t coef); /* p += coef * mono */
const Expr *poly_expr(Poly *p);
/* Interval of the true (unwrapped) value. */
Range poly_range(const Poly *p);
/* True when the sum is known to be computed without wrapping. */
bool poly_exact(const Poly *p);
bool poly_below(const Poly *p, int64_t top); /* all its numbers within ±top */
/* Numbers small enough that two such polynomials can be subtracted. */
bool poly_small(const Poly *p);
/* Appends the atoms of a mono to at[0..n), sorted; returns the new n. */
#define FACTORS_MAX 32 /* atoms in a mono */
int mono_factors(const Expr *e, const Expr **at, int n);
/* mono / by for products of atoms; NULL if by is no factor. */
const Expr *mono_divide(Ctx *ctx, const Expr *mono, const Expr *by);
/* Is e a scalar i64, the type that has the polynomial normal form? */
static inline bool is_index(const Expr *e) {
    return e->type == T_I64;
}
const Expr *linear_add(Ctx *ctx, const Expr *a, const Expr *b, int64_t scale_b);
const Expr *linear_mul(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *linear_fdiv(Ctx *ctx, const Expr *a, int64_t c);
const Expr *linear_mod(Ctx *ctx, const Expr *a, int64_t c);
/* By a divisor that is not constant but known to be positive; NULL: as it is. */
const Expr *linear_fdiv_by(Ctx *ctx, const Expr *a, const Expr *by);
const Expr *linear_mod_by(Ctx *ctx, const Expr *a, const Expr *by);
const Expr *linear_compare(Ctx *ctx, Op op, const Expr *a, const Expr *b); /* NULL: as it is */
const Expr *linear_minmax(Ctx *ctx, Op op, const Expr *a, const Expr *b);

/* ---- normal.c: what the constructors do beyond folding ------------------------------------------ */

/* NULL when op(kids) is already normal and is to be made as it is. */
const Expr *normal_op(Ctx *ctx, Op op, Type t, int n, const Expr *const *kid);

/* a op b, a comparison of integers, as its ranges or its casts decide it; NULL: not. */
const Expr *normal_sides(Ctx *ctx, Op op, const Expr *a, const Expr *b);

/* ---- expr_text.c: what the rules share ----------------------------------------------------------- */

enum {
    PREC_OR = 1,
    PREC_AND,
    PREC_CMP,
    PREC_BOR,
    PREC_BXOR,
    PREC_BAND,
    PREC_SHIFT,
    PREC_SUM,
    PREC_PRODUCT,
    PREC_UNARY,
    PREC_PRIMARY
};
int expr_prec(Op op); /* 0: not written between its operands */
/* The infix op at the token, OP_COUNT if none; *turned: a > b, to be read as b < a. */
Op expr_infix(const Lex *lex, bool *turned);
Op expr_called(const char *name); /* the op written name(…); OP_COUNT if none */

/* ---- prove.c ----------------------------------------------------------------------------------- */

/* e, its kids as they are, as what the facts of its symbols make it: true, false, one operand. */
const Expr *expr_decided(Ctx *ctx, const Expr *e);

/* ---- bounds.c ---------------------------------------------------------------------------------- */

Range range_add(Range a, Range b);
Range range_mul(Range a, Range b);
int range_compare(Op op, Range a, Range b); /* 1: true, -1: false, 0: not decided */
Range range_type(Type t);
bool range_finite(Range r);
/* Fills range, mult and symbolic of a node whose kids have theirs. */
void bounds_node(const Expr *e, Info *info);
int64_t gcd64(int64_t a, int64_t b);     /* of the absolute values; gcd(0, x) = |x| */
int64_t floor_div(int64_t a, int64_t b); /* b > 0 */

#endif
