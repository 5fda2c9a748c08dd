/* ir/expr.h — the one expression type: dims, indices, scalar bodies, bounds, guards.
 *
 * Semantics, stated once for the whole compiler:
 *  - Expressions are immutable and hash-consed per Ctx: equal expressions are the same pointer; `id`
 *    grows in creation order, so sorting by id is deterministic.
 *  - Float ops are IEEE in the expression's own type, round to nearest even: no reassociation, no
 *    contraction (FMA is an op), no flush to zero. f16, bf16, f8 and f4 ops mean: operands widened to
 *    f32, computed there, rounded to the type. min/max: `max(a,b) = a > b or a is NaN ? a : b`, except
 *    that a NaN b wins too, so NaN always propagates; max(-0, 0) may give either zero.
 *  - Integer + - * wrap. Index expressions (type i64 built from symbols with ranges) are known not to.
 *  - SELECT, AND, OR are lazy: a load in the part not taken is not performed, so
 *    select(0 <= i && i < n, x[i], 0) is safe for every i.
 *  - Every other load must be in bounds; the frontend guards what a model's data may get wrong. */
#ifndef LCC_EXPR_H
#define LCC_EXPR_H

#include "ir/base.h"

/* ---- types ------------------------------------------------------------------------------------ */

typedef enum Dtype {
    T_NONE,
#define TYPE(id, text, bytes, kind, onnx, c) T_##id,
#include "ir/types.def"
#undef TYPE
    T_COUNT
} Dtype;

/* Low byte: Dtype; high byte: lanes - 1, so that a scalar type is just its Dtype. */
typedef uint16_t Type;
#define TYPE_VEC(dtype, lanes) ((Type)((dtype) | (((lanes)-1) << 8)))
static inline Dtype type_dtype(Type t) {
    return (Dtype)(t & 0xff);
}
static inline int type_lanes(Type t) {
    return (t >> 8) + 1;
}
const char *type_text(Dtype t); /* "f32" */
int type_bytes(Dtype t);        /* of one stored element */
int type_bits(Dtype t);         /* of a value: 4 for i4, 1 for bool */
char type_kind(Dtype t);        /* 'F' 'I' 'U' 'B' 'S' 'C' */
const char *type_c(Dtype t);    /* C type of a stored element */
int type_onnx(Dtype t);
Dtype type_from_onnx(int onnx);      /* T_NONE when unknown */
Dtype type_from_text(const char *s); /* T_NONE when unknown */
bool type_is_float(Dtype t);
bool type_is_int(Dtype t);    /* signed or unsigned, not bool */
bool type_is_narrow(Dtype t); /* a float computed in f32: f16 bf16 f8* f4 */
int64_t type_min(Dtype t);    /* of an integer type (0..1 for bool); u64's max is INT64_MAX here */
int64_t type_max(Dtype t);

/* ---- ops --------------------------------------------------------------------------------------- */

typedef enum Op {
#define OP(id, text, kids, form, result) OP_##id,
#include "ir/ops.def"
#undef OP
    OP_COUNT
} Op;
const char *op_text(Op op);
int op_kids(Op op);

/* ---- symbols ----------------------------------------------------------------------------------- */

typedef enum SymKind {
    SYM_AXIS, /* an axis of a Def or a loop: 0 <= v < extent */
    SYM_DIM,  /* a dimension of the model's inputs: a parameter of the generated function */
    SYM_BIND, /* computed by the entry function from `value` (ITEM_BIND), then constant */
    SYM_RUN,  /* set by the entry function while it runs: a host call's result, a loop counter */
    SYM_LET   /* a LET of the loop level; its type is that of `value` */
} SymKind;

typedef struct Expr Expr;
typedef struct Buf Buf; /* ir/tensor.h */

typedef struct Sym {
    Str name;
    uint32_t id;
    uint8_t kind;
    Type type;          /* T_I64 but for SYM_LET */
    int64_t min, max;   /* facts; INT64_MIN/MAX when nothing is known */
    int64_t mult;       /* always a multiple of this (>= 1) */
    const Expr *extent; /* SYM_AXIS */
    const Expr *value;  /* SYM_BIND, SYM_LET */
} Sym;

/* A fresh symbol; names need not be unique (printers number them). */
Sym *sym_new(Ctx *ctx, SymKind kind, Str name, int64_t min, int64_t max);
Sym *sym_axis(Ctx *ctx, Str name, const Expr *extent);

/* ---- expressions ------------------------------------------------------------------------------- */

struct Expr {
    uint8_t op, nkid;
    Type type;
    uint32_t id;
    union {
        int64_t i; /* INT: sign- or zero-extended value; u64 by its bits */
        double f;  /* FLT */
        Sym *sym;
        Buf *buf;
    } u;
    const Expr *kid[];
};

/* Constructors. They fold constants (exactly as generated code would compute them) and put integer
 * index expressions into normal form, see simplify.c; so `expr_add(i, 0) == i` holds by pointer.
 * Both operands of a binary op must have the same type (internal error otherwise), except SHL/SHR. */
const Expr *expr_int(Ctx *ctx, Type t, int64_t v);
const Expr *expr_i(Ctx *ctx, int64_t v);            /* i64 */
const Expr *expr_flt(Ctx *ctx, Type t, double v);   /* rounded to t */
const Expr *expr_const(Ctx *ctx, Type t, double v); /* int or float or bool constant of type t */
const Expr *expr_sym(Ctx *ctx, Sym *s);
const Expr *expr_bool(Ctx *ctx, bool v);
const Expr *expr_load(Ctx *ctx, Buf *buf, int n, const Expr *const *index);
/* Any op by number; kid count checked. Type: for result OWN give `t`, else it is derived (t ignored). */
const Expr *expr_op(Ctx *ctx, Op op, Type t, int n, const Expr *const *kid);
const Expr *expr_1(Ctx *ctx, Op op, const Expr *a);
const Expr *expr_2(Ctx *ctx, Op op, const Expr *a, const Expr *b);
const Expr *expr_add(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_sub(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_mul(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_fdiv(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_mod(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_min(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_max(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_lt(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_le(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_eq(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_ne(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_and(Ctx *ctx, const Expr *a, const Expr *b); /* NULL operand = true */
const Expr *expr_or(Ctx *ctx, const Expr *a, const Expr *b);
const Expr *expr_not(Ctx *ctx, const Expr *a);
const Expr *expr_select(Ctx *ctx, const Expr *c, const Expr *a, const Expr *b);
const Expr *expr_cast(Ctx *ctx, Type t, const Expr *a);
const Expr *expr_ceildiv(Ctx *ctx, const Expr *a, int64_t b);
/* Vectors. A constant of vector type has the value in every lane; BCAST is never of a constant, of a
 * vector or to one lane, and any op whose kids are all uniform is a BCAST. */
const Expr *expr_bcast(Ctx *ctx, const Expr *a, int lanes);
const Expr *expr_ramp(Ctx *ctx, const Expr *base, const Expr *stride, int lanes);
const Expr *expr_lane(Ctx *ctx, const Expr *v, int i); /* v itself when scalar */
const Expr *expr_mload(Ctx *ctx, Buf *buf, const Expr *mask, int n, const Expr *const *index);

/* ---- scalar semantics: what constructors fold with and the evaluator computes with --------------- */

/* One constant: i for integers and bool (sign- or zero-extended, u64 by its bits), f for floats (a
 * value representable in the type). */
typedef union Scalar {
    int64_t i;
    double f;
} Scalar;
/* op on scalars of type `from` (kid 0's type) giving type `to`; exactly as ops.def says. False for ops
 * without a scalar meaning (LOAD, SELECT, vector ops, a float op on integers). */
bool scalar_op(Op op, Dtype from, Dtype to, const Scalar *kid, Scalar *out);
/* Floats below 32 bits (type_is_narrow) as stored bits. saturate: beyond the largest value, infinities
 * included, gives the largest value; else inf, or NaN where the type has no inf. */
float narrow_to_f32(Dtype t, uint32_t bits);
uint32_t narrow_from_f32(Dtype t, float v, bool saturate);
/* f64 -> f16 rounds once; the other types go through f32, as the reference implementations do. */
uint32_t narrow_from_f64(Dtype t, double v, bool saturate);

/* ---- questions --------------------------------------------------------------------------------- */

bool expr_is_int(const Expr *e, int64_t *v); /* INT constant? v may be NULL */
bool expr_is(const Expr *e, int64_t v);      /* INT constant v, or FLT of that value */
bool expr_is_const(const Expr *e);           /* INT or FLT */
/* Does e mention the symbol / load from the buffer (any buffer when NULL)? */
bool expr_uses_sym(const Expr *e, const Sym *s);
bool expr_uses_buf(const Expr *e, const Buf *b);
/* Calls fn(data, e) once for every distinct node of the DAG, kids first. */
void expr_walk(Ctx *ctx, const Expr *e, void (*fn)(void *data, const Expr *e), void *data);
/* Number of distinct nodes, stopping at `limit`. */
int expr_size(Ctx *ctx, const Expr *e, int limit);

/* ---- rewriting --------------------------------------------------------------------------------- */

/* Replaces symbols: n pairs; rebuilds through the constructors (so it simplifies on the way). */
const Expr *expr_subst(Ctx *ctx, const Expr *e, int n, Sym *const *from, const Expr *const *to);
/* General bottom-up rewrite with memo: fn gets a node whose kids are already rewritten and returns it
 * or a replacement. */
typedef const Expr *(*ExprFn)(Ctx *ctx, const Expr *e, void *data);
const Expr *expr_map(Ctx *ctx, const Expr *e, ExprFn fn, void *data);
/* Rules of simplify.rules to a fixed point (constructors already did the cheap part). */
const Expr *expr_simplify(Ctx *ctx, const Expr *e);

/* A text of rules in the form of simplify.rules, for a pass of its own: its sections and letters mean what the
 * caller says. Internal error when it does not parse. */
struct RuleSet *expr_rules_read(Ctx *ctx, const char *file, const char *text);
typedef struct RuleUse {
    bool (*section)(void *data, char first); /* do rules of the section that starts so count? */
    bool (*letter)(void *data, char letter, const Expr *e); /* may the letter stand for e? */
    void *data;
} RuleUse;
/* The first rule that fits e itself (not its kids) applied once; else e. use NULL: as simplify.rules. */
const Expr *expr_rules_apply(Ctx *ctx, const struct RuleSet *rules, const Expr *e,
                             const RuleUse *use);

/* ---- integer ranges ---------------------------------------------------------------------------- */

typedef struct Range {
    int64_t min, max; /* INT64_MIN / INT64_MAX: unbounded */
} Range;
/* Interval of an integer or bool expression from the facts of its symbols (an axis lies in
 * [0, max(extent)-1]) and of types (a u8 load lies in 0..255). Never wrong, maybe wide. */
Range expr_range(Ctx *ctx, const Expr *e);
/* True only when proved: e (bool) holds for all values of its symbols. Tries interval arithmetic on the
 * difference of both sides and substitution of axis extremes (linear in each axis). */
bool expr_proves(Ctx *ctx, const Expr *e);
/* The same under assumed facts (a conjunction; NULL = none). */
bool expr_proves_if(Ctx *ctx, const Expr *facts, const Expr *e);
/* Drops what `facts` decide inside e: comparisons become constants, selects lose an arm. */
const Expr *expr_assume(Ctx *ctx, const Expr *facts, const Expr *e);
/* Largest m >= 1 such that e is always a multiple of m. */
int64_t expr_multiple(Ctx *ctx, const Expr *e);
/* e as c0 + sum of coef[i] * sym[i] for the given symbols; false when not linear in them. rest = the part
 * free of them (an Expr). */
bool expr_linear(Ctx *ctx, const Expr *e, int n, Sym *const *sym, const Expr **coef,
                 const Expr **rest);
/* Smallest and largest value of e (exact when linear or monotone, else over-approximated; NULL when
 * unknown) while `sym[i]` runs over its extent and all else is fixed; results are free of those syms. */
bool expr_extremes(Ctx *ctx, const Expr *e, int n, Sym *const *sym, const Expr **lo,
                   const Expr **hi);

/* ---- text (grammar at the top of expr_text.c): parse(print(e)) == e by pointer ------------------ */

/* Names for symbols and buffers while printing or parsing one text; unique, numbered on clash. */
typedef struct Names Names;
/* true, false, inf and nan are never given; bind further words of a text's own grammar with kind 'k'. */
Names *names_new(Ctx *ctx);
/* An inner scope: sees the outer names, which do not see the ones given in it. */
Names *names_inner(Names *outer);
Str names_of(Names *n, const void *sym_or_buf, Str wish);  /* same object, same name */
void names_bind(Names *n, Str name, void *obj, char kind); /* for parsing: 's' Sym, 'b' Buf */
void *names_find(Names *n, Str name, char kind);

void expr_print(Text *t, Names *names, const Expr *e);
/* With fresh names; for messages. What is long there, too long with its shared nodes written out again
 * and again, is only named. */
Str expr_str(Ctx *ctx, const Expr *e);
bool expr_is_long(const Expr *e);
/* The lexer shared by all texts. */
typedef struct Lex {
    Ctx *ctx;
    const char *at, *file;
    int line;
    char tok[256]; /* current token's text */
    char
        kind; /* 'i' integer, 'f' float, 'n' name (letters, digits, _ . '), 's' string, 'p' punctuation, 0 end */
    int64_t i;
    double f;
    bool failed; /* an error was reported; all further tokens are 0 */
} Lex;
void lex_init(Lex *lex, Ctx *ctx, const char *file, const char *text);
void lex_next(Lex *lex);
bool lex_is(const Lex *lex, const char *tok);
bool lex_take(Lex *lex, const char *tok); /* if the current token is tok, skip it */
bool lex_need(Lex *lex, const char *tok); /* else error */
bool lex_error(Lex *lex, const char *fmt, ...) LCC_PRINTF(2, 3);
const Expr *expr_parse(Lex *lex, Names *names); /* NULL after an error */
/* The same up to, not including, | ^ & == < && and so on outside parentheses: extents, sizes. */
const Expr *expr_parse_sum(Lex *lex, Names *names);
void type_print(Text *t, Type type); /* "f32", "f32x8" */
Type type_parse(const char *s);      /* 0 when unknown */

#endif
