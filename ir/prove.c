/* ir/prove.c — questions about index expressions: linear parts, extremes over axes, proofs.
 *
 * A proof reduces "a < b" to "g >= 0" for a polynomial g over the integers and then tries, within a budget:
 * the interval of g; given facts f >= 0 subtracted from g; each axis at the end where g is smallest;
 * x//c bounded by x/c; min, max and select by their cases. Not complete, never wrong.
 *
 *   i < N//16, j < 16: proves i*16 + j < N        extremes of i*16 + j over j → i*16, i*16 + 15 */
#include <string.h>

#include "ir/expr_in.h"

/* ---- linear ------------------------------------------------------------------------------------ */

static uint64_t bits_of(int n, Sym *const *sym) {
    uint64_t bits = 0;
    for (int i = 0; i < n; i++)
        bits |= sym_bit(sym[i]);
    return bits;
}

static bool uses_any(const Expr *e, int n, Sym *const *sym, uint64_t bits) {
    if (!(expr_info(e)->syms & bits))
        return false;
    for (int i = 0; i < n; i++)
        if (expr_uses_sym(e, sym[i]))
            return true;
    return false;
}

/* mono = sym[*at] * *rest with rest free of all sym; *at = -1 when mono is free of them. */
static bool split_mono(Ctx *ctx, const Expr *mono, int n, Sym *const *sym, uint64_t bits, int *at,
                       const Expr **rest) {
    const Expr *f[FACTORS_MAX + 1];
    int count = mono_factors(mono, f, 0);
    *at = -1;
    *rest = expr_i(ctx, 1);
    for (int i = 0; i < count; i++) {
        if (!uses_any(f[i], n, sym, bits)) {
            *rest = expr_mul(ctx, *rest, f[i]);
            continue;
        }
        if (*at >= 0 || !is_op(f[i], OP_SYM))
            return false;
        for (*at = 0; sym[*at] != f[i]->u.sym;)
            ++*at;
    }
    return true;
}

bool expr_linear(Ctx *ctx, const Expr *e, int n, Sym *const *sym, const Expr **coef,
                 const Expr **rest) {
    uint64_t bits = bits_of(n, sym);
    Type t = is_index(e) ? T_I64 : e->type;
    bool used = uses_any(e, n, sym, bits);
    if (!is_index(e) && used)
        return false;
    for (int i = 0; i < n; i++)
        coef[i] = type_is_int(type_dtype(t)) ? expr_int(ctx, t, 0) : expr_i(ctx, 0);
    *rest = e;
    if (!used)
        return true;
    Poly p;
    poly_of(&p, ctx, e);
    *rest = expr_i(ctx, p.c);
    for (int i = 0; i < p.n; i++) {
        int at;
        const Expr *part;
        if (!split_mono(ctx, p.at[i].mono, n, sym, bits, &at, &part))
            return false;
        const Expr **to = at < 0 ? rest : &coef[at];
        *to = linear_add(ctx, *to, part, p.at[i].coef);
    }
    return true;
}

/* ---- extremes over one axis --------------------------------------------------------------------- */

typedef struct Ends {
    const Expr *lo, *hi; /* NULL: unknown */
} Ends;

/* One walk over an expression; its nodes may be shared, so each is asked once. */
typedef struct Reach {
    Ctx *ctx;
    Sym *s;
    Memo *lo, *hi; /* a bool stands for NULL */
} Reach;

static Ends ends_of(Reach *r, const Expr *e);

/* Is the sum e the integer it looks like? */
static bool exact(Ctx *ctx, const Expr *e) {
    Poly p;
    poly_of(&p, ctx, e);
    return poly_exact(&p) && poly_small(&p);
}

static const Expr *exact_or_null(Ctx *ctx, const Expr *e) {
    return e && exact(ctx, e) ? e : NULL;
}

static Ends ends_range(Ctx *ctx, const Expr *e) {
    Range r = expr_range(ctx, e);
    return (Ends){r.min > INT64_MIN ? expr_i(ctx, r.min) : NULL,
                  r.max < INT64_MAX ? expr_i(ctx, r.max) : NULL};
}

static const Expr *last_of(Ctx *ctx, const Sym *s) {
    if (s->kind == SYM_AXIS && s->extent)
        return expr_sub(ctx, s->extent, expr_i(ctx, 1));
    return s->max < INT64_MAX ? expr_i(ctx, s->max) : NULL;
}

static const Expr *first_of(Ctx *ctx, const Sym *s) {
    if (s->kind == SYM_AXIS)
        return expr_i(ctx, 0);
    return s->min > INT64_MIN ? expr_i(ctx, s->min) : NULL;
}

static Ends ends_swap(Ends e) {
    return (Ends){e.hi, e.lo};
}

/* coef*s + rest; coef and rest are free of s. */
static Ends ends_linear(Ctx *ctx, const Expr *coef, const Expr *rest, const Sym *s) {
    Range r = expr_range(ctx, coef);
    const Expr *first = first_of(ctx, s), *last = last_of(ctx, s);
    Ends e = {first ? expr_add(ctx, expr_mul(ctx, coef, first), rest) : NULL,
              last ? expr_add(ctx, expr_mul(ctx, coef, last), rest) : NULL};
    if (r.min >= 0)
        return e;
    return r.max <= 0 ? ends_swap(e) : (Ends){NULL, NULL};
}

static Ends ends_scale(Ctx *ctx, Ends e, const Expr *by) {
    Range r = expr_range(ctx, by);
    Ends s = {exact_or_null(ctx, e.lo ? expr_mul(ctx, e.lo, by) : NULL),
              exact_or_null(ctx, e.hi ? expr_mul(ctx, e.hi, by) : NULL)};
    if (r.min >= 0)
        return s;
    return r.max <= 0 ? ends_swap(s) : (Ends){NULL, NULL};
}

static Ends ends_mono(Reach *r, const Expr *mono) {
    const Expr *f[FACTORS_MAX + 1], *rest = expr_i(r->ctx, 1), *with = NULL;
    int n = mono_factors(mono, f, 0);
    for (int i = 0; i < n; i++) {
        if (!expr_uses_sym(f[i], r->s))
            rest = expr_mul(r->ctx, rest, f[i]);
        else if (with)
            return ends_range(r->ctx, mono);
        else
            with = f[i];
    }
    if (with == mono && (is_op(mono, OP_MUL) || is_op(mono, OP_ADD)))
        return ends_range(r->ctx, mono);
    return ends_scale(r->ctx, ends_of(r, with), rest);
}

/* The linear part as one, every other term for itself. */
static Ends ends_sum(Reach *r, const Expr *e) {
    Poly p;
    Ctx *ctx = r->ctx;
    const Expr *coef = expr_i(ctx, 0), *rest;
    poly_of(&p, ctx, e);
    rest = expr_i(ctx, p.c);
    Ends sum = {expr_i(ctx, 0), expr_i(ctx, 0)};
    for (int i = 0; i < p.n; i++) {
        int at;
        const Expr *part;
        if (split_mono(ctx, p.at[i].mono, 1, &r->s, sym_bit(r->s), &at, &part)) {
            const Expr **to = at < 0 ? &rest : &coef;
            *to = linear_add(ctx, *to, part, p.at[i].coef);
            continue;
        }
        Ends t = ends_scale(ctx, ends_mono(r, p.at[i].mono), expr_i(ctx, p.at[i].coef));
        sum.lo = sum.lo && t.lo ? expr_add(ctx, sum.lo, t.lo) : NULL;
        sum.hi = sum.hi && t.hi ? expr_add(ctx, sum.hi, t.hi) : NULL;
    }
    Ends line = ends_linear(ctx, coef, rest, r->s);
    sum.lo = sum.lo && line.lo ? expr_add(ctx, sum.lo, line.lo) : NULL;
    sum.hi = sum.hi && line.hi ? expr_add(ctx, sum.hi, line.hi) : NULL;
    return (Ends){exact_or_null(ctx, sum.lo), exact_or_null(ctx, sum.hi)};
}

/* Either bound serves min's upper end and max's lower end. */
static Ends ends_minmax(Ctx *ctx, Op op, Ends a, Ends b) {
    const Expr *lo = a.lo && b.lo ? expr_2(ctx, op, a.lo, b.lo) : NULL;
    const Expr *hi = a.hi && b.hi ? expr_2(ctx, op, a.hi, b.hi) : NULL;
    if (op == OP_MIN && !hi)
        hi = a.hi ? a.hi : b.hi;
    if (op == OP_MAX && !lo)
        lo = a.lo ? a.lo : b.lo;
    return (Ends){lo, hi};
}

static Ends ends_divide(Reach *r, const Expr *e) {
    Ctx *ctx = r->ctx;
    const Expr *by = e->kid[1];
    if (expr_uses_sym(by, r->s) || expr_range(ctx, by).min <= 0)
        return ends_range(ctx, e);
    if (is_op(e, OP_MOD))
        return (Ends){expr_i(ctx, 0), expr_sub(ctx, by, expr_i(ctx, 1))};
    Ends a = ends_of(r, e->kid[0]);
    return (Ends){a.lo ? expr_fdiv(ctx, a.lo, by) : NULL, a.hi ? expr_fdiv(ctx, a.hi, by) : NULL};
}

static Ends ends_select(Ctx *ctx, Ends a, Ends b) {
    return (Ends){a.lo && b.lo ? expr_min(ctx, a.lo, b.lo) : NULL,
                  a.hi && b.hi ? expr_max(ctx, a.hi, b.hi) : NULL};
}

static Ends ends_node(Reach *r, const Expr *e) {
    switch (e->op) {
    case OP_SYM:
        return (Ends){first_of(r->ctx, r->s), last_of(r->ctx, r->s)};
    case OP_ADD:
    case OP_MUL:
        if (!exact(r->ctx, e))
            return ends_range(r->ctx, e);
        return is_op(e, OP_ADD) || is_op(e->kid[1], OP_INT) ? ends_sum(r, e) : ends_mono(r, e);
    case OP_FDIV:
    case OP_MOD:
        return ends_divide(r, e);
    case OP_MIN:
    case OP_MAX:
        return ends_minmax(r->ctx, (Op)e->op, ends_of(r, e->kid[0]), ends_of(r, e->kid[1]));
    case OP_SELECT:
        return ends_select(r->ctx, ends_of(r, e->kid[1]), ends_of(r, e->kid[2]));
    default:
        return ends_range(r->ctx, e);
    }
}

static Ends ends_of(Reach *r, const Expr *e) {
    if (!is_index(e))
        return (Ends){NULL, NULL};
    if (!expr_uses_sym(e, r->s))
        return (Ends){e, e};
    const Expr *none = expr_bool(r->ctx, false), *lo = memo_get(r->lo, e);
    const Expr *hi = lo ? memo_get(r->hi, e) : NULL;
    if (lo)
        return (Ends){lo == none ? NULL : lo, hi == none ? NULL : hi};
    Ends ends = ends_node(r, e);
    memo_put(r->ctx, r->lo, e, ends.lo ? ends.lo : none);
    memo_put(r->ctx, r->hi, e, ends.hi ? ends.hi : none);
    return ends;
}

static Ends ends_over(Ctx *ctx, const Expr *e, Sym *s) {
    Reach r = {ctx, s, memo_take(ctx), memo_take(ctx)};
    Ends ends = ends_of(&r, e);
    memo_give(ctx, r.lo);
    memo_give(ctx, r.hi);
    return ends;
}

/* Does eliminating s have to wait, because another symbol's extent mentions it? */
static bool must_wait(const Sym *s, int n, Sym *const *sym, const bool *done) {
    for (int i = 0; i < n; i++)
        if (!done[i] && sym[i] != s && sym[i]->extent && expr_uses_sym(sym[i]->extent, s))
            return true;
    return false;
}

bool expr_extremes(Ctx *ctx, const Expr *e, int n, Sym *const *sym, const Expr **lo,
                   const Expr **hi) {
    bool *done = ctx_newn(ctx, bool, n);
    *lo = *hi = e;
    for (int left = n; left > 0; left--) {
        int i = 0;
        while (i < n && (done[i] || must_wait(sym[i], n, sym, done)))
            i++;
        if (i == n) /* extents in a circle */
            for (i = 0; done[i];)
                i++;
        done[i] = true;
        *lo = *lo ? ends_over(ctx, *lo, sym[i]).lo : NULL;
        *hi = *hi ? ends_over(ctx, *hi, sym[i]).hi : NULL;
    }
    return *lo && *hi;
}

/* ---- proofs ------------------------------------------------------------------------------------ */

#define FACTS_MAX 24
#define BUDGET 100
#define DEPTH_MAX 8

typedef struct Proof {
    Ctx *ctx;
    const Expr *holds[FACTS_MAX]; /* bool expressions taken as true */
    const Expr *fact[FACTS_MAX];  /* polynomials >= 0 */
    int nhold, nfact, budget;
} Proof;

static bool prove(Proof *pr, const Expr *e, int depth);
static bool nonneg(Proof *pr, const Expr *g, int depth);

static void add_fact(Proof *pr, const Expr *f) {
    if (pr->nfact < FACTS_MAX && !expr_is_const(f))
        pr->fact[pr->nfact++] = f;
}

/* SYMBOLIC bits of an atom, its bounds among the facts included. */
static int bounds_here(const Proof *pr, const Expr *atom) {
    int bits = expr_info(atom)->symbolic;
    Poly f;
    for (int k = 0; k < pr->nfact && bits != SYMBOLIC; k++) {
        int found = 0;
        poly_of(&f, pr->ctx, pr->fact[k]);
        for (int i = 0; i < f.n; i++) {
            if (f.at[i].mono == atom)
                found |= f.at[i].coef > 0 ? SYMBOLIC_LO : SYMBOLIC_HI;
            else if (expr_info(f.at[i].mono)->symbolic != SYMBOLIC)
                found |= 4; /* bounded by something unbounded */
        }
        bits |= found & 4 ? 0 : found;
    }
    return bits;
}

/* As exact(), with what the facts say about loads. */
static bool exact_here(const Proof *pr, const Expr *e) {
    Poly p;
    poly_of(&p, pr->ctx, e);
    if (!poly_small(&p))
        return false;
    bool ok = poly_exact(&p);
    if (ok || !poly_below(&p, SMALL))
        return ok;
    for (int i = 0; i < p.n; i++) {
        const Expr *f[FACTORS_MAX + 1];
        int n = mono_factors(p.at[i].mono, f, 0);
        for (int k = 0; k < n; k++)
            if (bounds_here(pr, f[k]) != SYMBOLIC)
                return false;
    }
    return true;
}

static void assume(Proof *pr, const Expr *e) {
    if (is_op(e, OP_AND)) {
        assume(pr, e->kid[0]);
        assume(pr, e->kid[1]);
        return;
    }
    if (pr->nhold < FACTS_MAX)
        pr->holds[pr->nhold++] = e;
    if (e->nkid != 2 || !is_index(e->kid[0]) || !exact_here(pr, e->kid[0]) ||
        !exact_here(pr, e->kid[1]))
        return;
    const Expr *d = expr_sub(pr->ctx, e->kid[1], e->kid[0]);
    if (is_op(e, OP_LT))
        add_fact(pr, expr_sub(pr->ctx, d, expr_i(pr->ctx, 1)));
    if (is_op(e, OP_LE) || is_op(e, OP_EQ))
        add_fact(pr, d);
    if (is_op(e, OP_EQ))
        add_fact(pr, expr_sub(pr->ctx, e->kid[0], e->kid[1]));
}

#define SHIFT_MAX (INT64_C(1) << 31)
#define LARGE (INT64_MAX / 8) /* two such numbers can be added with room to spare */

/* What is counted off a symbol: N in 1..64 stands for N' + 1 with N' in 0..63. */
static int64_t shift_of(Ctx *ctx, const Expr *atom) {
    int64_t min = is_op(atom, OP_SYM) ? expr_range(ctx, atom).min : 0;
    return min > 0 && min < SHIFT_MAX ? min : 0;
}

static Range shifted(Ctx *ctx, const Expr *mono, int64_t coef) {
    const Expr *f[FACTORS_MAX + 1];
    int n = mono_factors(mono, f, 0);
    Range product = {coef, coef};
    for (int k = 0; k < n; k++) {
        Range r = expr_range(ctx, f[k]);
        int64_t shift = shift_of(ctx, f[k]);
        r.min -= shift;
        r.max -= r.max == INT64_MAX ? 0 : shift;
        if (is_op(f[k], OP_MUL)) /* left as it is, with the shifts inside */
            r = (Range){INT64_MIN, INT64_MAX};
        product = range_mul(product, r);
    }
    return product;
}

/* Lower end of g after s → s' + min(s) for every symbol that is a factor: shows (N - 1)*M >= 0. */
static bool nonneg_shifted(Ctx *ctx, const Poly *g) {
    Poly p;
    poly_init(&p, ctx);
    p.c = g->c;
    for (int i = 0; i < g->n; i++) {
        const Expr *f[FACTORS_MAX + 1], *m = expr_i(ctx, g->at[i].coef);
        int64_t size = g->at[i].coef < 0 ? -g->at[i].coef : g->at[i].coef;
        int n = mono_factors(g->at[i].mono, f, 0);
        for (int k = 0; k < n; k++) {
            int64_t shift = shift_of(ctx, f[k]);
            m = linear_mul(ctx, m, expr_add(ctx, f[k], expr_i(ctx, shift)));
            if (!mul_ok(size, shift + 1, &size) || size > LARGE / (g->n + 1))
                return false;
        }
        poly_add(&p, m, 1);
    }
    Range sum = {p.c, p.c};
    for (int i = 0; i < p.n; i++)
        sum = range_add(sum, shifted(ctx, p.at[i].mono, p.at[i].coef));
    return poly_below(g, LARGE) && sum.min >= 0;
}

/* (g without its term `at`) * scale + by * by_coef; NULL when the numbers grow too large. */
static const Expr *replace(Ctx *ctx, const Poly *g, int at, int64_t scale, const Expr *by,
                           int64_t by_coef) {
    Poly p, more;
    poly_init(&p, ctx);
    poly_of(&more, ctx, by);
    int64_t size = by_coef < 0 ? -by_coef : by_coef;
    if (!poly_below(g, LARGE / scale) || (size && !poly_below(&more, LARGE / size)))
        return NULL;
    p.c = g->c * scale;
    for (int i = 0; i < g->n; i++)
        if (i != at)
            poly_term(&p, g->at[i].mono, g->at[i].coef * scale);
    poly_add(&p, by, by_coef);
    return poly_expr(&p);
}

/* x//c >= (x - c + 1)/c and <= x/c, whichever makes g smaller. */
static bool nonneg_fdiv(Proof *pr, const Poly *g, int at, int depth) {
    Ctx *ctx = pr->ctx;
    const Expr *t = g->at[at].mono, *x = t->kid[0];
    int64_t c, coef = g->at[at].coef;
    if (!is_positive(t->kid[1], &c) || !exact_here(pr, x))
        return false;
    if (coef > 0)
        x = expr_sub(ctx, x, expr_i(ctx, c - 1));
    bool divides = coef % c == 0;
    const Expr *next = replace(ctx, g, at, divides ? 1 : c, x, divides ? coef / c : coef);
    return next && nonneg(pr, next, depth - 1);
}

static bool nonneg_case(Proof *pr, const Poly *g, int at, const Expr *by, int depth) {
    if (!exact_here(pr, by))
        return false;
    const Expr *next = replace(pr->ctx, g, at, 1, by, g->at[at].coef);
    return next && nonneg(pr, next, depth - 1);
}

static bool nonneg_atom(Proof *pr, const Poly *g, int at, int depth) {
    const Expr *t = g->at[at].mono;
    bool smaller = g->at[at].coef > 0; /* the smaller the atom, the smaller g */
    switch (t->op) {
    case OP_FDIV:
        return nonneg_fdiv(pr, g, at, depth);
    case OP_MIN:
    case OP_MAX:
        if ((t->op == OP_MIN) == smaller)
            return nonneg_case(pr, g, at, t->kid[0], depth) &&
                   nonneg_case(pr, g, at, t->kid[1], depth);
        return nonneg_case(pr, g, at, t->kid[0], depth) || nonneg_case(pr, g, at, t->kid[1], depth);
    case OP_SELECT: {
        int nhold = pr->nhold, nfact = pr->nfact;
        assume(pr, t->kid[0]);
        bool ok = nonneg_case(pr, g, at, t->kid[1], depth);
        pr->nhold = nhold;
        pr->nfact = nfact;
        if (ok)
            assume(pr, expr_not(pr->ctx, t->kid[0]));
        ok = ok && nonneg_case(pr, g, at, t->kid[2], depth);
        pr->nhold = nhold;
        pr->nfact = nfact;
        return ok;
    }
    default:
        return false;
    }
}

/* One term of g against one of fact k: when mono(g) = mono(f)*y, y >= 0, and the signs agree, then
 * a*g = g' + b*y*f with a, b > 0 and this term gone, and g' >= 0 is enough. */
static bool nonneg_fact(Proof *pr, const Poly *g, int i, const Term *f, int k, int depth) {
    Ctx *ctx = pr->ctx;
    if ((f->coef < 0) != (g->at[i].coef < 0))
        return false;
    const Expr *y = mono_divide(ctx, g->at[i].mono, f->mono);
    if (!y || expr_range(ctx, y).min < 0)
        return false;
    int64_t d = gcd64(f->coef, g->at[i].coef), a = f->coef / d, b = g->at[i].coef / d;
    const Expr *times = linear_mul(ctx, pr->fact[k], y);
    const Expr *next = replace(ctx, g, -1, a < 0 ? -a : a, times, b < 0 ? b : -b);
    return next && nonneg(pr, next, depth - 1);
}

static bool nonneg_facts(Proof *pr, const Poly *g, int depth) {
    Poly f;
    for (int k = 0; k < pr->nfact; k++) {
        poly_of(&f, pr->ctx, pr->fact[k]);
        for (int i = 0; i < g->n; i++)
            for (int j = 0; j < f.n; j++)
                if (nonneg_fact(pr, g, i, &f.at[j], k, depth))
                    return true;
    }
    return false;
}

typedef struct SymSet {
    Sym *at[16];
    int n;
} SymSet;

static void collect_axis(void *data, const Expr *e) {
    SymSet *s = data;
    if (!is_op(e, OP_SYM) || e->u.sym->kind != SYM_AXIS || s->n == 16)
        return;
    s->at[s->n++] = e->u.sym;
}

static bool nonneg_axes(Proof *pr, const Expr *g, int depth) {
    SymSet s = {.n = 0};
    bool done[16] = {false};
    expr_walk(pr->ctx, g, collect_axis, &s);
    for (int i = 0; i < s.n; i++) {
        if (must_wait(s.at[i], s.n, s.at, done))
            continue;
        const Expr *lo = ends_over(pr->ctx, g, s.at[i]).lo;
        if (lo && lo != g && nonneg(pr, lo, depth - 1))
            return true;
    }
    return false;
}

static bool nonneg(Proof *pr, const Expr *g, int depth) {
    Poly p;
    poly_of(&p, pr->ctx, g);
    Range r = poly_range(&p);
    if (r.min >= 0 || r.max < 0)
        return r.min >= 0;
    if (depth <= 0 || pr->budget-- <= 0)
        return false;
    if (nonneg_shifted(pr->ctx, &p) || nonneg_facts(pr, &p, depth) || nonneg_axes(pr, g, depth))
        return true;
    for (int i = 0; i < p.n; i++)
        if (nonneg_atom(pr, &p, i, depth))
            return true;
    return false;
}

/* a <= b - less */
static bool prove_order(Proof *pr, const Expr *a, const Expr *b, int64_t less, int depth) {
    if (!is_index(a) || !exact_here(pr, a) || !exact_here(pr, b))
        return false;
    const Expr *g = expr_sub(pr->ctx, expr_sub(pr->ctx, b, a), expr_i(pr->ctx, less));
    return nonneg(pr, g, depth);
}

static bool prove_and(Proof *pr, const Expr *e, int depth) {
    int nhold = pr->nhold, nfact = pr->nfact;
    if (!prove(pr, e->kid[0], depth))
        return false;
    assume(pr, e->kid[0]);
    bool ok = prove(pr, e->kid[1], depth);
    pr->nhold = nhold;
    pr->nfact = nfact;
    return ok;
}

static bool prove(Proof *pr, const Expr *e, int depth) {
    for (int i = 0; i < pr->nhold; i++)
        if (pr->holds[i] == e)
            return true;
    switch (e->op) {
    case OP_INT:
        return e->u.i != 0;
    case OP_AND:
        return prove_and(pr, e, depth);
    case OP_OR:
        return prove(pr, e->kid[0], depth) || prove(pr, e->kid[1], depth);
    case OP_LT:
        return prove_order(pr, e->kid[0], e->kid[1], 1, depth);
    case OP_LE:
        return prove_order(pr, e->kid[0], e->kid[1], 0, depth);
    case OP_EQ:
        return prove_order(pr, e->kid[0], e->kid[1], 0, depth) &&
               prove_order(pr, e->kid[1], e->kid[0], 0, depth);
    case OP_NE:
        return prove_order(pr, e->kid[0], e->kid[1], 1, depth) ||
               prove_order(pr, e->kid[1], e->kid[0], 1, depth);
    default:
        return false;
    }
}

bool expr_proves(Ctx *ctx, const Expr *e) {
    return expr_proves_if(ctx, NULL, e);
}

static void proof_init(Proof *pr, Ctx *ctx, const Expr *facts) {
    pr->ctx = ctx;
    pr->nhold = pr->nfact = 0;
    if (facts)
        assume(pr, facts);
}

bool expr_proves_if(Ctx *ctx, const Expr *facts, const Expr *e) {
    Proof pr;
    if (is_op(e, OP_INT))
        return e->u.i != 0;
    proof_init(&pr, ctx, facts);
    pr.budget = BUDGET;
    return prove(&pr, e, DEPTH_MAX);
}

/* ---- what facts decide --------------------------------------------------------------------------- */

static bool proves_now(Proof *pr, const Expr *e) {
    pr->budget = BUDGET;
    return prove(pr, e, DEPTH_MAX);
}

static const Expr *decided(Ctx *ctx, const Expr *e, void *data) {
    Proof *pr = data;
    const Expr *a = e->nkid > 0 ? e->kid[0] : NULL, *b = e->nkid > 1 ? e->kid[1] : NULL;
    if (e->type == T_BOOL && e->nkid) {
        if (proves_now(pr, e))
            return expr_bool(ctx, true);
        return proves_now(pr, expr_not(ctx, e)) ? expr_bool(ctx, false) : e;
    }
    if (!is_index(e))
        return e;
    switch (e->op) {
    case OP_MIN:
    case OP_MAX:
        if (proves_now(pr, expr_le(ctx, a, b)))
            return is_op(e, OP_MIN) ? a : b;
        if (proves_now(pr, expr_le(ctx, b, a)))
            return is_op(e, OP_MIN) ? b : a;
        return e;
    case OP_FDIV:
    case OP_MOD:
        if (proves_now(pr, expr_le(ctx, expr_i(ctx, 0), a)) && proves_now(pr, expr_lt(ctx, a, b)))
            return is_op(e, OP_MOD) ? a : expr_i(ctx, 0);
        return e;
    default:
        return e;
    }
}

const Expr *expr_assume(Ctx *ctx, const Expr *facts, const Expr *e) {
    Proof pr;
    proof_init(&pr, ctx, facts);
    return expr_map(ctx, e, decided, &pr);
}

const Expr *expr_decided(Ctx *ctx, const Expr *e) {
    Proof pr;
    proof_init(&pr, ctx, NULL);
    return decided(ctx, e, &pr);
}
