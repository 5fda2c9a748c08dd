/* ir/linear.c — the normal form of i64 expressions: polynomials with wrapping coefficients.
 *
 * A sum is a left chain of terms mono*coef, sorted by expr_cmp, the constant last; a mono is a left
 * chain of sorted atoms. Products distribute over sums (up to POLY_MAX terms; beyond that the node
 * stays as it is and counts as an atom). Ring arithmetic is exact modulo 2^64, so this needs no facts;
 * // % and the order do, and ask poly_exact first.
 *
 *   (i*16 + j)//16 → i when 0 <= j < 16        x//4*4 + x%4 → x        2*i < 2*j + 1 → i <= j */
#include "ir/expr_in.h"

#define TERMS_MAX 256 /* longer sums are not sorted */
#define ATOM_MIN 600  /* nor taken apart from this length on */
#define POLY_MAX 64   /* terms of a product of sums */
#define DEPTH_MAX 12  /* steps inside one // or % */

/* ---- polynomials ------------------------------------------------------------------------------- */

void poly_init(Poly *p, Ctx *ctx) {
    p->ctx = ctx;
    p->at = p->few;
    p->n = 0;
    p->cap = POLY_FEW;
    p->c = 0;
}

static int64_t wrap_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static int64_t wrap_mul(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

static void poly_grow(Poly *p) {
    Term *at = ctx_newn(p->ctx, Term, (int64_t)p->cap * 2);
    for (int i = 0; i < p->n; i++)
        at[i] = p->at[i];
    p->at = at;
    p->cap *= 2;
}

static void poly_drop(Poly *p, int i) {
    p->n--;
    for (; i < p->n; i++)
        p->at[i] = p->at[i + 1];
}

void poly_term(Poly *p, const Expr *mono, int64_t coef) {
    int i = p->n, c = 1;
    while (i > 0 && (c = expr_cmp(p->at[i - 1].mono, mono)) > 0)
        i--;
    if (i > 0 && c == 0) {
        p->at[i - 1].coef = wrap_add(p->at[i - 1].coef, coef);
        if (p->at[i - 1].coef == 0)
            poly_drop(p, i - 1);
        return;
    }
    if (coef == 0)
        return;
    if (p->n == p->cap)
        poly_grow(p);
    for (int k = p->n++; k > i; k--)
        p->at[k] = p->at[k - 1];
    p->at[i] = (Term){coef, mono};
}

/* Leaves of a chain of op, counted up to `limit`. */
static int chain_length(const Expr *e, Op op, int limit) {
    int n = 1;
    for (; is_op(e, op) && n < limit; e = e->kid[0])
        n += chain_length(e->kid[1], op, limit);
    return n;
}

static void add_terms(Poly *p, const Expr *e, int64_t scale) {
    if (is_op(e, OP_ADD)) {
        add_terms(p, e->kid[0], scale);
        add_terms(p, e->kid[1], scale);
    } else if (is_op(e, OP_INT)) {
        p->c = wrap_add(p->c, wrap_mul(scale, e->u.i));
    } else if (is_op(e, OP_MUL) && is_op(e->kid[1], OP_INT)) {
        poly_term(p, e->kid[0], wrap_mul(scale, e->kid[1]->u.i));
    } else {
        poly_term(p, e, scale);
    }
}

/* A sum far beyond TERMS_MAX counts as an atom: its parts may be shared without end. */
void poly_add(Poly *p, const Expr *e, int64_t scale) {
    if (is_op(e, OP_ADD) && chain_length(e, OP_ADD, ATOM_MIN) >= ATOM_MIN)
        poly_term(p, e, scale);
    else
        add_terms(p, e, scale);
}

void poly_of(Poly *p, Ctx *ctx, const Expr *e) {
    poly_init(p, ctx);
    poly_add(p, e, 1);
}

Range poly_range(const Poly *p) {
    Range sum = {p->c, p->c};
    for (int i = 0; i < p->n; i++) {
        Range coef = {p->at[i].coef, p->at[i].coef};
        sum = range_add(sum, range_mul(expr_range(p->ctx, p->at[i].mono), coef));
    }
    return sum;
}

bool poly_below(const Poly *p, int64_t top) {
    bool below = p->c > -top && p->c < top;
    for (int i = 0; i < p->n && below; i++)
        below = p->at[i].coef > -top && p->at[i].coef < top;
    return below;
}

bool poly_exact(const Poly *p) {
    bool atom = p->n == 1 && p->at[0].coef == 1 && p->c == 0 && !is_op(p->at[0].mono, OP_MUL);
    if (atom) /* nothing is computed */
        return true;
    bool symbolic = poly_below(p, SMALL + 1);
    for (int i = 0; i < p->n && symbolic; i++)
        symbolic = expr_info(p->at[i].mono)->symbolic == SYMBOLIC;
    return symbolic || range_finite(poly_range(p));
}

bool poly_small(const Poly *p) {
    return poly_below(p, INT64_MAX / 4);
}

static int64_t poly_gcd(const Poly *p, int64_t g) {
    for (int i = 0; i < p->n && g != 1; i++)
        g = gcd64(g, p->at[i].coef);
    return g;
}

/* ---- x//m and x%m meet in a sum ----------------------------------------------------------------- */

/* Index of the term op(x, m), or -1. */
static int find_div(const Poly *p, Op op, const Expr *x, int64_t m) {
    for (int i = 0; i < p->n; i++) {
        const Expr *e = p->at[i].mono;
        if (is_op(e, op) && e->kid[0] == x && expr_is(e->kid[1], m))
            return i;
    }
    return -1;
}

static void drop_two(Poly *p, int i, int j) {
    poly_drop(p, i > j ? i : j);
    poly_drop(p, i > j ? j : i);
}

/* x//m * m*k + x%m * k → x*k;  (x//m % d) * m*k + x%m * k → (x % (m*d)) * k */
static bool join_mod(Poly *p, int i) {
    const Expr *mod = p->at[i].mono;
    int64_t m, k = p->at[i].coef, d, scale;
    if (!is_positive(mod->kid[1], &m) || !mul_ok(k, m, &scale))
        return false;
    const Expr *x = mod->kid[0];
    int at = find_div(p, OP_FDIV, x, m);
    if (at >= 0 && p->at[at].coef == scale) {
        drop_two(p, i, at);
        poly_add(p, x, k);
        return true;
    }
    for (int j = 0; j < p->n; j++) {
        const Expr *e = p->at[j].mono;
        if (j == i || p->at[j].coef != scale || !is_op(e, OP_MOD) || !is_positive(e->kid[1], &d) ||
            !mul_ok(m, d, &d) || e->kid[0] != linear_fdiv(p->ctx, x, m))
            continue;
        drop_two(p, i, j);
        poly_add(p, linear_mod(p->ctx, x, d), k);
        return true;
    }
    return false;
}

/* x*k - x//m * m*k → x%m * k;  x//m * m*k → x*k when x is a multiple of m */
static bool join_div(Poly *p, int i) {
    const Expr *div = p->at[i].mono;
    int64_t m, coef = p->at[i].coef;
    if (!is_positive(div->kid[1], &m) || coef % m != 0)
        return false;
    int64_t k = coef / m;
    const Expr *x = div->kid[0];
    if (expr_multiple(p->ctx, x) % m == 0) {
        poly_drop(p, i);
        poly_add(p, x, k);
        return true;
    }
    Poly want;
    poly_of(&want, p->ctx, x);
    for (int t = 0, at = 0; t < want.n; t++) {
        while (at < p->n && p->at[at].mono != want.at[t].mono)
            at++;
        if (at == p->n || p->at[at].coef != wrap_mul(want.at[t].coef, wrap_mul(-1, k)))
            return false;
    }
    poly_drop(p, i);
    poly_add(p, x, k);
    poly_add(p, linear_mod(p->ctx, x, m), wrap_mul(-1, k));
    return true;
}

/* y*(x//m) * m*k → y*x * k when x is a multiple of m */
static bool join_product(Poly *p, int i) {
    const Expr *f[FACTORS_MAX + 1], *mono = p->at[i].mono, *e = expr_i(p->ctx, 1);
    int n = mono_factors(mono, f, 0), at = 0;
    int64_t m = 0, coef = p->at[i].coef;
    for (; at < n; at++)
        if (is_op(f[at], OP_FDIV) && is_positive(f[at]->kid[1], &m) && coef % m == 0 &&
            expr_multiple(p->ctx, f[at]->kid[0]) % m == 0)
            break;
    if (at == n)
        return false;
    for (int k = 0; k < n; k++)
        e = linear_mul(p->ctx, e, k == at ? f[k]->kid[0] : f[k]);
    poly_drop(p, i);
    poly_add(p, e, coef / m);
    return true;
}

static bool poly_join_at(Poly *p, int i) {
    switch (p->at[i].mono->op) {
    case OP_MOD:
        return join_mod(p, i);
    case OP_FDIV:
        return join_div(p, i);
    case OP_MUL:
        return join_product(p, i);
    default:
        return false;
    }
}

static void poly_join(Poly *p) {
    for (int round = 0; round < DEPTH_MAX; round++) {
        bool changed = false;
        for (int i = 0; i < p->n && !changed; i++)
            changed = poly_join_at(p, i);
        if (!changed)
            return;
    }
}

const Expr *poly_expr(Poly *p) {
    poly_join(p);
    const Expr *sum = NULL;
    for (int i = 0; i < p->n; i++) {
        const Expr *t = p->at[i].mono;
        if (p->at[i].coef != 1)
            t = expr_make2(p->ctx, OP_MUL, T_I64, t, expr_i(p->ctx, p->at[i].coef));
        sum = sum ? expr_make2(p->ctx, OP_ADD, T_I64, sum, t) : t;
    }
    if (!sum)
        return expr_i(p->ctx, p->c);
    return p->c ? expr_make2(p->ctx, OP_ADD, T_I64, sum, expr_i(p->ctx, p->c)) : sum;
}

/* ---- + and * ----------------------------------------------------------------------------------- */

const Expr *linear_add(Ctx *ctx, const Expr *a, const Expr *b, int64_t scale_b) {
    if (chain_length(a, OP_ADD, TERMS_MAX) + chain_length(b, OP_ADD, TERMS_MAX) > TERMS_MAX) {
        if (scale_b != 1)
            b = linear_mul(ctx, b, expr_i(ctx, scale_b));
        return expr_make2(ctx, OP_ADD, T_I64, a, b);
    }
    Poly p;
    poly_of(&p, ctx, a);
    poly_add(&p, b, scale_b);
    return poly_expr(&p);
}

/* A product that was left as it is. */
static bool mul_is_atom(const Expr *e) {
    return is_op(e->kid[0], OP_ADD) || is_op(e->kid[1], OP_ADD) ||
           chain_length(e, OP_MUL, FACTORS_MAX + 1) > FACTORS_MAX;
}

int mono_factors(const Expr *e, const Expr **at, int n) {
    if (!is_op(e, OP_MUL) || mul_is_atom(e)) {
        int i = n;
        for (; i > 0 && expr_cmp(at[i - 1], e) > 0; i--)
            at[i] = at[i - 1];
        at[i] = e;
        return n + 1;
    }
    n = mono_factors(e->kid[0], at, n);
    return mono_factors(e->kid[1], at, n);
}

static const Expr *mono_mul(Ctx *ctx, const Expr *a, const Expr *b) {
    const Expr *at[2 * FACTORS_MAX + 2];
    int n = mono_factors(b, at, mono_factors(a, at, 0));
    if (n > FACTORS_MAX)
        return expr_cmp(a, b) <= 0 ? expr_make2(ctx, OP_MUL, T_I64, a, b)
                                   : expr_make2(ctx, OP_MUL, T_I64, b, a);
    const Expr *m = at[0];
    for (int i = 1; i < n; i++)
        m = expr_make2(ctx, OP_MUL, T_I64, m, at[i]);
    return m;
}

const Expr *linear_mul(Ctx *ctx, const Expr *a, const Expr *b) {
    Poly p, x, y;
    poly_init(&p, ctx);
    if (is_op(a, OP_INT) || is_op(b, OP_INT)) {
        poly_add(&p, is_op(a, OP_INT) ? b : a, is_op(a, OP_INT) ? a->u.i : b->u.i);
        return poly_expr(&p);
    }
    int na = chain_length(a, OP_ADD, POLY_MAX), nb = chain_length(b, OP_ADD, POLY_MAX);
    if (na * nb > POLY_MAX)
        return expr_cmp(a, b) <= 0 ? expr_make2(ctx, OP_MUL, T_I64, a, b)
                                   : expr_make2(ctx, OP_MUL, T_I64, b, a);
    poly_of(&x, ctx, a);
    poly_of(&y, ctx, b);
    p.c = wrap_mul(x.c, y.c);
    for (int i = 0; i < x.n; i++) {
        poly_term(&p, x.at[i].mono, wrap_mul(x.at[i].coef, y.c));
        for (int j = 0; j < y.n; j++)
            poly_term(&p, mono_mul(ctx, x.at[i].mono, y.at[j].mono),
                      wrap_mul(x.at[i].coef, y.at[j].coef));
    }
    for (int j = 0; j < y.n; j++)
        poly_term(&p, y.at[j].mono, wrap_mul(y.at[j].coef, x.c));
    return poly_expr(&p);
}

/* ---- // and % by a positive constant ------------------------------------------------------------- */

/* Does x stay inside one block of c? Then *block is its number. */
static bool one_block(Ctx *ctx, const Expr *x, int64_t c, int64_t *block) {
    Range r = expr_range(ctx, x);
    if (!range_finite(r) || floor_div(r.min, c) != floor_div(r.max, c))
        return false;
    *block = floor_div(r.min, c);
    return true;
}

static bool const_div(const Expr *e, Op op, int64_t *c) {
    return is_op(e, op) && is_positive(e->kid[1], c);
}

/* p = q*c + r with |coefficients| of r below c, its constant in 0..c-1. A term that is a multiple of c by
 * the facts of its symbols goes to q too, as long as something else is left. */
static void split(Ctx *ctx, const Poly *p, int64_t c, Poly *q, Poly *r) {
    poly_init(q, ctx);
    poly_init(r, ctx);
    q->c = floor_div(p->c, c);
    r->c = p->c - q->c * c;
    for (int i = 0; i < p->n; i++) {
        poly_term(q, p->at[i].mono, p->at[i].coef / c);
        poly_term(r, p->at[i].mono, p->at[i].coef % c);
    }
    for (int i = 0; i < r->n && (r->n > 1 || r->c); i++) {
        int64_t coef = r->at[i].coef, g = gcd64(coef, c);
        if (expr_multiple(ctx, r->at[i].mono) % (c / g) != 0)
            continue;
        poly_add(q, linear_fdiv(ctx, r->at[i].mono, c / g), coef / g);
        poly_drop(r, i--);
    }
}

/* r = g*a + b with 0 <= b < g for a divisor g of c: a goes to *a, b to *b. */
static bool digit(const Poly *r, int64_t c, Poly *a, Poly *b, int64_t *g) {
    for (int i = 0; i < r->n; i++) {
        *g = gcd64(r->at[i].coef, c);
        if (*g == 1)
            continue;
        poly_init(a, r->ctx);
        poly_init(b, r->ctx);
        a->c = floor_div(r->c, *g);
        b->c = r->c - a->c * *g;
        for (int k = 0; k < r->n; k++) {
            bool high = r->at[k].coef % *g == 0;
            poly_term(high ? a : b, r->at[k].mono, high ? r->at[k].coef / *g : r->at[k].coef);
        }
        Range range = poly_range(b);
        if (range.min >= 0 && range.max < *g)
            return true;
    }
    return false;
}

static const Expr *fdiv_step(Ctx *ctx, const Expr *x, int64_t c, int depth);
static const Expr *mod_step(Ctx *ctx, const Expr *x, int64_t c, int depth);

/* (x//b + k)//c → (x + k*b)//(b*c) */
static const Expr *fdiv_nested(Ctx *ctx, const Poly *p, int64_t c, int depth) {
    int64_t b, bc, k;
    if (p->n != 1 || p->at[0].coef != 1 || !const_div(p->at[0].mono, OP_FDIV, &b) ||
        !mul_ok(b, c, &bc) || !mul_ok(p->c, b, &k))
        return NULL;
    const Expr *x = p->at[0].mono->kid[0];
    if (k == 0)
        return fdiv_step(ctx, x, bc, depth + 1);
    Poly sum;
    poly_of(&sum, ctx, x);
    if (!poly_exact(&sum) || !add_ok(sum.c, k, &sum.c) || !poly_exact(&sum))
        return NULL;
    return fdiv_step(ctx, poly_expr(&sum), bc, depth + 1);
}

/* a = floor(r / g), *rest = what the constant leaves; g divides the coefficients. */
static void divide(const Poly *r, int64_t g, Poly *a, int64_t *rest) {
    poly_init(a, r->ctx);
    a->c = floor_div(r->c, g);
    *rest = r->c - a->c * g;
    for (int i = 0; i < r->n; i++)
        poly_term(a, r->at[i].mono, r->at[i].coef / g);
}

static const Expr *fdiv_step(Ctx *ctx, const Expr *x, int64_t c, int depth) {
    int64_t k, b, g;
    if (c == 1)
        return x;
    if (one_block(ctx, x, c, &k))
        return expr_i(ctx, k);
    Poly p, q, r, a, low;
    poly_of(&p, ctx, x);
    if (depth < DEPTH_MAX) {
        const Expr *nested = fdiv_nested(ctx, &p, c, depth);
        if (nested)
            return nested;
        if (const_div(x, OP_MOD, &b) && b % c == 0)
            return mod_step(ctx, fdiv_step(ctx, x->kid[0], c, depth + 1), b / c, depth + 1);
    }
    const Expr *raw = expr_make2(ctx, OP_FDIV, T_I64, x, expr_i(ctx, c));
    if (depth >= DEPTH_MAX || !poly_exact(&p))
        return raw;
    split(ctx, &p, c, &q, &r);
    if (!poly_exact(&r))
        return raw;
    if (q.n || q.c) {
        poly_add(&q, fdiv_step(ctx, poly_expr(&r), c, depth + 1), 1);
        return poly_expr(&q);
    }
    g = poly_gcd(&r, c);
    if (g > 1) {
        divide(&r, g, &a, &k);
        return fdiv_step(ctx, poly_expr(&a), c / g, depth + 1);
    }
    if (digit(&r, c, &a, &low, &g))
        return fdiv_step(ctx, poly_expr(&a), c / g, depth + 1);
    const Expr *same = poly_expr(&r);
    return same == x ? raw : fdiv_step(ctx, same, c, depth + 1);
}

const Expr *linear_fdiv(Ctx *ctx, const Expr *a, int64_t c) {
    return fdiv_step(ctx, a, c, 0);
}

/* r with coef*(x%b), coef*b a multiple of c, as coef*x: allowed if that is still exact. */
static bool open_mod(Poly *r, int i) {
    int64_t coef = r->at[i].coef;
    const Expr *mod = r->at[i].mono;
    Poly open;
    poly_init(&open, r->ctx);
    open.c = r->c;
    for (int k = 0; k < r->n; k++)
        if (k != i)
            poly_term(&open, r->at[k].mono, r->at[k].coef);
    poly_add(&open, mod->kid[0], coef);
    if (!poly_exact(&open))
        return false;
    poly_drop(r, i);
    poly_add(r, mod->kid[0], coef);
    return true;
}

/* Terms that vanish modulo c leave r; a%b inside a multiple of it loses its %. */
static void mod_terms(Poly *r, int64_t c) {
    for (int i = 0; i < r->n; i++) {
        int64_t b, g = gcd64(r->at[i].coef, c);
        const Expr *mono = r->at[i].mono;
        if (expr_multiple(r->ctx, mono) % (c / g) == 0)
            poly_drop(r, i--);
        else if (const_div(mono, OP_MOD, &b) && b % (c / g) == 0 && open_mod(r, i))
            i = -1; /* the new terms may stand before i */
    }
}

static const Expr *mod_step(Ctx *ctx, const Expr *x, int64_t c, int depth) {
    int64_t k, b, g;
    if (c == 1)
        return expr_i(ctx, 0);
    if (one_block(ctx, x, c, &k))
        return linear_add(ctx, x, expr_i(ctx, k), wrap_mul(-1, c));
    if (expr_multiple(ctx, x) % c == 0)
        return expr_i(ctx, 0);
    if (depth < DEPTH_MAX && const_div(x, OP_MOD, &b) && b % c == 0)
        return mod_step(ctx, x->kid[0], c, depth + 1);
    const Expr *raw = expr_make2(ctx, OP_MOD, T_I64, x, expr_i(ctx, c));
    Poly p, r, a, low;
    poly_of(&p, ctx, x);
    if (depth >= DEPTH_MAX || !poly_exact(&p))
        return raw;
    poly_init(&r, ctx);
    r.c = p.c - floor_div(p.c, c) * c;
    for (int i = 0; i < p.n; i++)
        poly_term(&r, p.at[i].mono, p.at[i].coef % c);
    if (!poly_exact(&r))
        return raw;
    mod_terms(&r, c);
    const Expr *rest = poly_expr(&r);
    if (rest != x)
        return mod_step(ctx, rest, c, depth + 1);
    g = poly_gcd(&r, c);
    if (g > 1) {
        poly_init(&low, ctx);
        divide(&r, g, &a, &low.c);
    } else if (!digit(&r, c, &a, &low, &g)) {
        return raw;
    }
    poly_add(&low, mod_step(ctx, poly_expr(&a), c / g, depth + 1), g);
    return poly_expr(&low);
}

const Expr *linear_mod(Ctx *ctx, const Expr *a, int64_t c) {
    return mod_step(ctx, a, c, 0);
}

/* ---- // and % by a positive expression ------------------------------------------------------------ */

const Expr *mono_divide(Ctx *ctx, const Expr *mono, const Expr *by) {
    const Expr *have[2 * FACTORS_MAX + 2], *want[2 * FACTORS_MAX + 2];
    int n = mono_factors(mono, have, 0), m = mono_factors(by, want, 0);
    for (int i = 0; i < m; i++) {
        int k = 0;
        while (k < n && have[k] != want[i])
            k++;
        if (k == n)
            return NULL;
        for (n--; k < n; k++)
            have[k] = have[k + 1];
    }
    const Expr *e = expr_i(ctx, 1);
    for (int i = 0; i < n; i++)
        e = linear_mul(ctx, e, have[i]);
    return e;
}

/* a = q*by + r, exactly, with q as large as the terms show; false when q would be 0. */
static bool split_by(Ctx *ctx, const Expr *a, const Expr *by, Poly *q, Poly *r) {
    Poly p;
    if (is_op(by, OP_ADD) || (is_op(by, OP_MUL) && is_op(by->kid[1], OP_INT)))
        return false;
    poly_of(&p, ctx, a);
    poly_init(q, ctx);
    poly_init(r, ctx);
    r->c = p.c;
    for (int i = 0; i < p.n; i++) {
        const Expr *part = mono_divide(ctx, p.at[i].mono, by);
        if (part)
            poly_add(q, part, p.at[i].coef);
        else
            poly_term(r, p.at[i].mono, p.at[i].coef);
    }
    return (q->n || q->c) && poly_exact(&p) && poly_exact(r);
}

#define DIGIT_MAX 32 /* nodes of a number that is compared with a symbolic divisor */

/* 0 <= r < by? */
static bool is_digit(Ctx *ctx, const Expr *r, const Expr *by) {
    return expr_range(ctx, r).min >= 0 && expr_size(ctx, r, DIGIT_MAX) < DIGIT_MAX &&
           expr_proves(ctx, expr_lt(ctx, r, by));
}

const Expr *linear_fdiv_by(Ctx *ctx, const Expr *a, const Expr *by) {
    Poly q, r;
    if (a == by || expr_is(a, 0))
        return expr_i(ctx, a == by);
    if (!split_by(ctx, a, by, &q, &r))
        return is_digit(ctx, a, by) ? expr_i(ctx, 0) : NULL;
    poly_add(&q, expr_fdiv(ctx, poly_expr(&r), by), 1);
    return poly_expr(&q);
}

const Expr *linear_mod_by(Ctx *ctx, const Expr *a, const Expr *by) {
    Poly q, r;
    if (a == by || expr_is(a, 0))
        return expr_i(ctx, 0);
    if (!split_by(ctx, a, by, &q, &r))
        return is_digit(ctx, a, by) ? a : NULL;
    return expr_mod(ctx, poly_expr(&r), by);
}

/* ---- comparisons ------------------------------------------------------------------------------- */

/* d = positive terms - negative terms; the constant stays with the caller. */
static void sides(const Poly *d, Poly *plus, Poly *minus) {
    poly_init(plus, d->ctx);
    poly_init(minus, d->ctx);
    for (int i = 0; i < d->n; i++) {
        int64_t coef = d->at[i].coef;
        poly_term(coef > 0 ? plus : minus, d->at[i].mono, coef > 0 ? coef : wrap_mul(-1, coef));
    }
}

static const Expr *make_compare(Ctx *ctx, Op op, Poly *a, Poly *b) {
    const Expr *x = poly_expr(a), *y = poly_expr(b), *e = normal_sides(ctx, op, x, y);
    return e ? e : expr_make2(ctx, op, T_BOOL, x, y);
}

/* 0 < d = c - x//m as 0 < c*m - x, and 0 < x//m + c as 0 < x - (1 - c)*m + 1. False: something else. */
static bool positive_quotient(const Poly *d, Poly *next) {
    int64_t m, sign = d->at[0].coef, c = sign < 0 ? d->c : 1 - d->c;
    if (d->n != 1 || !const_div(d->at[0].mono, OP_FDIV, &m) || !mul_ok(c, m, &c))
        return false;
    poly_of(next, d->ctx, d->at[0].mono->kid[0]);
    if (!poly_exact(next) || !poly_small(next))
        return false;
    poly_init(next, d->ctx);
    next->c = sign < 0 ? c : 1 - c;
    poly_add(next, d->at[0].mono->kid[0], sign);
    return poly_small(next);
}

/* 0 < rest + c*x where the rest moves less than one step of x: x alone decides, against what is a multiple of c.
 *   0 < 58 - i - 58*x with i in 0..28   is   x < 1
 * False: no term is so large. */
static bool positive_alone(Poly *d, Poly *next) {
    for (int i = 0; i < d->n && d->n > 1; i++) {
        int64_t c = d->at[i].coef, size = c < 0 ? -c : c;
        d->at[i].coef = 0;
        Range r = poly_range(d); /* of the rest */
        d->at[i].coef = c;
        if (!range_finite(r) || c == INT64_MIN)
            continue;
        /* c < 0: x <= floor((rest - 1) / -c); c > 0: x > floor(-rest / c) */
        int64_t low = c < 0 ? floor_div(r.min - 1, size) : floor_div(-r.max, size);
        int64_t high = c < 0 ? floor_div(r.max - 1, size) : floor_div(-r.min, size);
        if (low != high)
            continue;
        poly_init(next, d->ctx);
        next->c = c < 0 ? low + 1 : -low;
        poly_add(next, d->at[i].mono, c < 0 ? -1 : 1);
        return poly_exact(next) && poly_small(next);
    }
    return false;
}

/* 0 < d, with d exact and divided by the gcd of its coefficients. */
static const Expr *positive(Poly *d) {
    Ctx *ctx = d->ctx;
    Range r = poly_range(d);
    if (r.min > 0 || r.max <= 0)
        return expr_bool(ctx, r.min > 0);
    int64_t g = poly_gcd(d, 0);
    Poly plus, minus;
    for (int i = 0; i < d->n; i++)
        d->at[i].coef /= g;
    d->c = -floor_div(wrap_mul(-1, d->c), g);
    if (positive_quotient(d, &plus) || positive_alone(d, &plus))
        return positive(&plus);
    sides(d, &plus, &minus);
    if (minus.n == 0) {
        minus.c = 1 - d->c;
        return make_compare(ctx, OP_LE, &minus, &plus);
    }
    if (plus.n == 0) {
        plus.c = d->c;
        return make_compare(ctx, OP_LT, &minus, &plus);
    }
    if (d->c == 1)
        return make_compare(ctx, OP_LE, &minus, &plus);
    *(d->c > 0 ? &plus.c : &minus.c) = d->c > 0 ? d->c : -d->c;
    return make_compare(ctx, OP_LT, &minus, &plus);
}

/* x//m == k where k is the smallest or largest the quotient can be: an order decides. NULL if not so. */
static const Expr *at_end(Ctx *ctx, Op op, const Expr *e, int64_t k) {
    Range r = expr_range(ctx, e);
    if (!is_op(e, OP_FDIV) || r.min == r.max || (k != r.min && k != r.max))
        return NULL;
    bool low = k == r.min;
    const Expr *edge = expr_i(ctx, low ? k + 1 : k); /* low: below it; high: from it on */
    return low == (op == OP_EQ) ? expr_lt(ctx, e, edge) : expr_le(ctx, edge, e);
}

/* d == 0 or d != 0. Dividing by the gcd needs exactness, moving terms does not. */
static const Expr *zero(Op op, Poly *d, bool exact) {
    Ctx *ctx = d->ctx;
    Range r = poly_range(d);
    if (d->n == 0)
        return expr_bool(ctx, (d->c == 0) == (op == OP_EQ));
    int64_t g = exact ? poly_gcd(d, 0) : 1;
    if (exact && (r.min > 0 || r.max < 0 || d->c % g != 0))
        return expr_bool(ctx, op == OP_NE);
    int first = 0; /* this term's coefficient is to be positive; INT64_MIN has no negative */
    while (first < d->n - 1 && d->at[first].coef == INT64_MIN)
        first++;
    int64_t lead = d->at[first].coef, sign = lead < 0 && lead != INT64_MIN ? -g : g;
    if (exact || sign < 0) {
        for (int i = 0; i < d->n; i++)
            d->at[i].coef = exact ? d->at[i].coef / sign : wrap_mul(-1, d->at[i].coef);
        d->c = exact ? d->c / sign : wrap_mul(-1, d->c);
    }
    Poly plus, minus;
    sides(d, &plus, &minus);
    if (d->n == 1 && d->at[0].coef == 1) {
        const Expr *e = at_end(ctx, op, d->at[0].mono, wrap_mul(-1, d->c));
        if (e)
            return e;
    }
    if (minus.n == 0)
        minus.c = wrap_mul(-1, d->c);
    else
        *(d->c > 0 ? &plus.c : &minus.c) = d->c > 0 ? d->c : wrap_mul(-1, d->c);
    return plus.n ? make_compare(ctx, op, &plus, &minus) : make_compare(ctx, op, &minus, &plus);
}

const Expr *linear_compare(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    Poly x, y, d;
    poly_of(&x, ctx, a);
    poly_of(&y, ctx, b);
    poly_of(&d, ctx, b);
    poly_add(&d, a, -1);
    poly_join(&d);
    bool exact =
        poly_exact(&x) && poly_exact(&y) && poly_exact(&d) && poly_small(&x) && poly_small(&y);
    if (op == OP_EQ || op == OP_NE) {
        const Expr *e = zero(op, &d, exact);
        bool moved = is_op(e, op) && (e->kid[0] != a || e->kid[1] != b);
        /* with its terms moved it may be exact now */
        return moved && !exact ? expr_2(ctx, op, e->kid[0], e->kid[1]) : e;
    }
    if (!exact)
        return NULL;
    if (op == OP_LE)
        d.c++;
    return d.n ? positive(&d) : expr_bool(ctx, d.c > 0);
}

/* ---- min and max ------------------------------------------------------------------------------- */

#define MINMAX_MAX 16

/* Is a <= b (-1), b <= a (1), or neither known (0)? */
static int decide(Ctx *ctx, const Expr *a, const Expr *b) {
    Poly x, y, d;
    Range ra = expr_range(ctx, a), rb = expr_range(ctx, b);
    if (ra.max <= rb.min || rb.max <= ra.min)
        return ra.max <= rb.min ? -1 : 1;
    poly_of(&x, ctx, a);
    poly_of(&y, ctx, b);
    poly_of(&d, ctx, a);
    poly_add(&d, b, -1);
    poly_join(&d);
    if (!poly_exact(&x) || !poly_exact(&y) || !poly_exact(&d) || !poly_small(&x) || !poly_small(&y))
        return 0;
    Range r = poly_range(&d);
    return r.max <= 0 ? -1 : r.min >= 0 ? 1 : 0;
}

typedef struct Set {
    const Expr *at[MINMAX_MAX];
    int n;
} Set;

/* Adds e unless an element makes it superfluous; removes those it makes superfluous. */
static void set_add(Ctx *ctx, Op op, Set *s, const Expr *e) {
    if (is_op(e, op)) {
        set_add(ctx, op, s, e->kid[0]);
        set_add(ctx, op, s, e->kid[1]);
        return;
    }
    int keep = 0, wins = op == OP_MIN ? -1 : 1;
    bool needed = true;
    for (int i = 0; i < s->n; i++) {
        int c = needed ? decide(ctx, e, s->at[i]) : 0;
        if (needed && (s->at[i] == e || c == -wins))
            needed = false;
        if (c != wins || !needed)
            s->at[keep++] = s->at[i];
    }
    s->n = keep;
    if (!needed)
        return;
    int i = s->n++;
    for (; i > 0 && expr_cmp(s->at[i - 1], e) > 0; i--)
        s->at[i] = s->at[i - 1];
    s->at[i] = e;
}

const Expr *linear_minmax(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    Set s = {.n = 0};
    if (chain_length(a, op, MINMAX_MAX) + chain_length(b, op, MINMAX_MAX) > MINMAX_MAX)
        return expr_make2(ctx, op, T_I64, a, b);
    set_add(ctx, op, &s, a);
    set_add(ctx, op, &s, b);
    const Expr *e = s.at[0];
    for (int i = 1; i < s.n; i++)
        e = expr_make2(ctx, op, T_I64, e, s.at[i]);
    return e;
}
