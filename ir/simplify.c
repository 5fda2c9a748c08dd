/* ir/simplify.c — expr_simplify: the rules of simplify.rules, read once per Ctx, and what facts decide.
 *
 * Kids first, then rules and proofs at the node until none applies; the result is kept with the node.
 * A rule's pattern is matched as a tree; its guard is built like a replacement and proved.
 *
 *   select(0 <= i && i < 8, x[min(max(i, 0), 7)], 0.0) → select(0 <= i && i < 8, x[i], 0.0) */
#include <math.h>
#include <string.h>

#include "embed.h"
#include "ir/expr_in.h"

/* ---- rules ------------------------------------------------------------------------------------- */

enum { LETTERS = 26 };
enum { PAT_OP, PAT_LETTER, PAT_NUMBER, PAT_EXACT, PAT_SMALL, PAT_INVERSE };

typedef struct Pat Pat;
struct Pat {
    uint8_t what; /* PAT_ */
    uint8_t op, nkid;
    uint8_t letter; /* 0..25 */
    double number;
    Pat *kid[3];
};

typedef struct Rule Rule;
struct Rule {
    char class; /* first letter of the section's name; n = int */
    Pat *from, *to, *when;
    Rule *next;
};

struct RuleSet {
    Rule *of[OP_COUNT]; /* by the pattern's outermost op, in order of the text */
};

typedef struct Match {
    const Expr *letter[LETTERS];
    const RuleUse *use; /* NULL: simplify.rules */
} Match;

static bool may_stand_for(const Match *m, int letter, const Expr *e) {
    if (m->use)
        return m->use->letter(m->use->data, (char)('a' + letter), e);
    return letter < 'c' - 'a' || letter > 'e' - 'a' || expr_is_const(e);
}

/* ---- reading ----------------------------------------------------------------------------------- */

static Pat *parse_pat(Lex *lex, int prec);

static Pat *pat_new(Lex *lex, int what) {
    Pat *p = ctx_new(lex->ctx, Pat);
    p->what = (uint8_t)what;
    return p;
}

static Pat *pat_op(Lex *lex, Op op, Pat *a, Pat *b) {
    Pat *p = pat_new(lex, PAT_OP);
    p->op = (uint8_t)op;
    p->kid[0] = a;
    p->kid[1] = b;
    p->nkid = b ? 2 : 1;
    return p;
}

static Pat *pat_number(Lex *lex, double v) {
    Pat *p = pat_new(lex, PAT_NUMBER);
    p->number = v;
    return p;
}

static Pat *parse_call(Lex *lex, const char *name) {
    static const char *const tests[] = {"exact", "small", "inverse"};
    Pat *p = pat_new(lex, PAT_OP);
    Op op = expr_called(name);
    p->op = (uint8_t)op;
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, tests[i]))
            p->what = (uint8_t)(PAT_EXACT + i);
    if (p->what == PAT_OP && op == OP_COUNT)
        lex_error(lex, "unknown function '%s'", name);
    do
        p->kid[p->nkid++] = parse_pat(lex, 0);
    while (p->nkid < 3 && lex_take(lex, ","));
    lex_need(lex, ")");
    return p;
}

static Pat *parse_word(Lex *lex) {
    char name[sizeof lex->tok];
    int line = lex->line;
    memcpy(name, lex->tok, sizeof name);
    lex_next(lex);
    if (lex->line == line && lex_take(lex, "("))
        return parse_call(lex, name);
    if (!strcmp(name, "inf"))
        return pat_number(lex, (double)INFINITY);
    if (!strcmp(name, "true") || !strcmp(name, "false"))
        return pat_number(lex, name[0] == 't');
    Pat *p = pat_new(lex, PAT_LETTER);
    p->letter = (uint8_t)(name[0] - 'a');
    if (name[1] || p->letter >= LETTERS)
        lex_error(lex, "a letter expected, not '%s'", name);
    return p;
}

static Pat *parse_unary(Lex *lex) {
    double v = lex->kind == 'f' ? lex->f : (double)lex->i;
    if (lex->kind == 'i' || lex->kind == 'f') {
        lex_next(lex);
        return pat_number(lex, v);
    }
    if (lex_take(lex, "!"))
        return pat_op(lex, OP_NOT, parse_unary(lex), NULL);
    if (lex_take(lex, "-")) {
        Pat *p = parse_unary(lex);
        if (p && p->what == PAT_NUMBER)
            p->number = -p->number;
        return p && p->what == PAT_NUMBER ? p : pat_op(lex, OP_NEG, p, NULL);
    }
    if (lex_take(lex, "(")) {
        Pat *p = parse_pat(lex, 0);
        lex_need(lex, ")");
        return p;
    }
    if (lex->kind != 'n')
        lex_error(lex, "pattern expected");
    return lex->failed ? NULL : parse_word(lex);
}

/* A rule ends with its line: the next one may start with a sign. */
static Pat *parse_pat(Lex *lex, int prec) {
    int line = lex->line;
    Pat *left = parse_unary(lex);
    while (!lex->failed && lex->line == line) {
        bool turned;
        Op op = expr_infix(lex, &turned);
        int own = op < OP_COUNT ? expr_prec(op) : 0;
        if (own == 0 || own < prec)
            break;
        lex_next(lex);
        Pat *right = parse_pat(lex, own + 1);
        left = turned ? pat_op(lex, op, right, left) : pat_op(lex, op, left, right);
    }
    return left;
}

static char parse_class(Lex *lex) {
    char class = lex_is(lex, "int") ? 'n' : lex->tok[0];
    lex_next(lex);
    lex_need(lex, "]");
    return class;
}

struct RuleSet *expr_rules_read(Ctx *ctx, const char *file, const char *text) {
    struct RuleSet *set = ctx_new(ctx, struct RuleSet);
    Rule **last[OP_COUNT];
    for (int i = 0; i < OP_COUNT; i++)
        last[i] = &set->of[i];
    Lex lex;
    char class = 'a';
    lex_init(&lex, ctx, file, text);
    while (lex.kind) {
        if (lex_take(&lex, "[")) {
            class = parse_class(&lex);
            continue;
        }
        Rule *r = ctx_new(ctx, Rule);
        r->class = class;
        r->from = parse_pat(&lex, 0);
        lex_need(&lex, "=>");
        r->to = parse_pat(&lex, 0);
        if (lex_take(&lex, "when"))
            r->when = parse_pat(&lex, 0);
        if (lex.failed || r->from->what != PAT_OP)
            internal_error(ctx, "%s: %s", file, ctx->diag.text.at);
        *last[r->from->op] = r;
        last[r->from->op] = &r->next;
    }
    return set;
}

/* ---- matching ---------------------------------------------------------------------------------- */

/* Of two zeros min and max give the second. */
static bool commutes(const Expr *e) {
    switch (e->op) {
    case OP_MIN:
    case OP_MAX:
        return !type_is_float(type_dtype(e->type));
    case OP_ADD:
    case OP_MUL:
    case OP_BAND:
    case OP_BOR:
    case OP_BXOR:
    case OP_EQ:
    case OP_NE:
        return true;
    default:
        return false;
    }
}

static bool is_number(const Expr *e, double v) {
    if (is_op(e, OP_FLT))
        return e->u.f == v && signbit(e->u.f) == signbit(v);
    return is_op(e, OP_INT) && (double)e->u.i == v;
}

/* On failure the letters of m are not to be used. */
static bool match(const Pat *p, const Expr *e, Match *m) {
    if (p->what == PAT_NUMBER)
        return is_number(e, p->number);
    if (p->what == PAT_LETTER) {
        const Expr **at = &m->letter[p->letter];
        if (*at || !may_stand_for(m, p->letter, e))
            return *at == e;
        *at = e;
        return true;
    }
    if (p->op != e->op || p->nkid != e->nkid)
        return false;
    if (p->nkid != 2 || !commutes(e)) {
        for (int i = 0; i < p->nkid; i++)
            if (!match(p->kid[i], e->kid[i], m))
                return false;
        return true;
    }
    Match saved = *m;
    if (match(p->kid[0], e->kid[0], m) && match(p->kid[1], e->kid[1], m))
        return true;
    *m = saved;
    return match(p->kid[0], e->kid[1], m) && match(p->kid[1], e->kid[0], m);
}

static bool class_fits(char class, const Expr *e) {
    const Expr *operand = is_op(e, OP_SELECT) ? e->kid[1] : e->kid[0];
    Dtype d = type_dtype(operand->type);
    switch (class) {
    case 'i':
        return is_index(operand);
    case 'n': /* also conditions made of integer comparisons */
        return type_is_int(d) || (d == T_BOOL && operand->nkid == 2 &&
                                  type_is_int(type_dtype(operand->kid[0]->type)));
    case 'f':
        return type_is_float(d);
    case 'b':
        return d == T_BOOL;
    default:
        return true;
    }
}

/* ---- building ---------------------------------------------------------------------------------- */

/* Type of what p builds; 0 when only its context says. */
static Type type_built(const Pat *p, const Match *m) {
    if (p->what == PAT_LETTER)
        return m->letter[p->letter] ? m->letter[p->letter]->type : 0;
    if (p->what != PAT_OP)
        return 0;
    if (op_result((Op)p->op)[0] == 'C')
        return T_BOOL;
    Type t = 0;
    for (int i = p->op == OP_SELECT; i < p->nkid && !t; i++)
        t = type_built(p->kid[i], m);
    return t;
}

static const Expr *build(Ctx *ctx, const Pat *p, const Match *m, Type want) {
    if (p->what == PAT_LETTER)
        return m->letter[p->letter];
    if (p->what == PAT_NUMBER)
        return expr_const(ctx, want, p->number);
    const Expr *kid[3];
    Op op = (Op)p->op;
    Type t = 0; /* of the operands */
    for (int i = op == OP_SELECT; i < p->nkid && !t; i++)
        t = type_built(p->kid[i], m);
    if (!t)
        t = op_result(op)[0] == 'C' ? T_BOOL : want;
    for (int i = 0; i < p->nkid; i++)
        kid[i] = build(ctx, p->kid[i], m, op == OP_SELECT && i == 0 ? T_BOOL : t);
    return expr_op(ctx, op, 0, p->nkid, kid);
}

static bool is_exact(Ctx *ctx, const Expr *e) {
    Poly p;
    if (!is_index(e))
        return false;
    poly_of(&p, ctx, e);
    return poly_exact(&p);
}

static bool is_small(const Expr *e) {
    return is_op(e, OP_INT) && e->u.i > INT32_MIN && e->u.i < INT32_MAX;
}

/* c is a power of two whose inverse is a normal number of its type. */
static bool has_inverse(Ctx *ctx, const Expr *c) {
    int unused;
    if (!is_op(c, OP_FLT) || !(fabs(frexp(c->u.f, &unused)) == 0.5))
        return false;
    const Expr *one = expr_flt(ctx, c->type, 1), *inverse = expr_2(ctx, OP_DIV, one, c);
    double range = type_dtype(c->type) == T_F64 ? 0x1p1000 : 0x1p120;
    double size = fabs(c->u.f);
    return size < range && size > 1 / range && is_op(inverse, OP_FLT) && inverse->u.f * c->u.f == 1;
}

static bool holds(Ctx *ctx, const Pat *when, const Match *m) {
    if (when->what == PAT_OP && when->op == OP_AND)
        return holds(ctx, when->kid[0], m) && holds(ctx, when->kid[1], m);
    if (when->what == PAT_OP)
        return expr_proves(ctx, build(ctx, when, m, T_BOOL));
    const Expr *e = build(ctx, when->kid[0], m, T_I64);
    return when->what == PAT_EXACT   ? is_exact(ctx, e)
           : when->what == PAT_SMALL ? is_small(e)
                                     : has_inverse(ctx, e);
}

const Expr *expr_rules_apply(Ctx *ctx, const struct RuleSet *rules, const Expr *e,
                             const RuleUse *use) {
    for (const Rule *r = rules->of[e->op]; r; r = r->next) {
        Match m = {{NULL}, use};
        bool fits = use ? use->section(use->data, r->class) : class_fits(r->class, e);
        if (!fits || !match(r->from, e, &m))
            continue;
        if (!r->when || holds(ctx, r->when, &m)) {
            const Expr *to = build(ctx, r->to, &m, e->type);
            if (to->type == e->type && to != e)
                return to;
        }
    }
    return e;
}

/* ---- proofs ------------------------------------------------------------------------------------ */

#define ARM_MAX 48 /* nodes of an arm that is looked through again under its condition */

/* One of two conditions that decides the other goes; the left guards the right, so it may go only when
 * the right needs no guard. */
static const Expr *two_conditions(Ctx *ctx, const Expr *e) {
    const Expr *a = e->kid[0], *b = e->kid[1];
    bool and = is_op(e, OP_AND);
    const Expr *given = and? a : expr_not(ctx, a), *other = expr_not(ctx, b);
    if (expr_proves_if(ctx, given, and? b : other))
        return a;
    if (expr_proves_if(ctx, given, and? other : b))
        return expr_bool(ctx, !and);
    if (!expr_uses_buf(b, NULL) && expr_proves_if(ctx, and? b : other, and? a : given))
        return b;
    return e;
}

static const Expr *select_arms(Ctx *ctx, const Expr *e) {
    const Expr *c = e->kid[0], *a = e->kid[1], *b = e->kid[2];
    if (expr_size(ctx, a, ARM_MAX) < ARM_MAX)
        a = expr_assume(ctx, c, a);
    if (expr_size(ctx, b, ARM_MAX) < ARM_MAX)
        b = expr_assume(ctx, expr_not(ctx, c), b);
    return expr_select(ctx, c, a, b);
}

static const Expr *apply_proofs(Ctx *ctx, const Expr *e) {
    switch (e->op) {
    case OP_LT:
    case OP_LE:
    case OP_EQ:
    case OP_NE:
    case OP_MIN:
    case OP_MAX:
        return is_index(e->kid[0]) ? expr_decided(ctx, e) : e;
    case OP_AND:
    case OP_OR:
        return e->type == T_BOOL ? two_conditions(ctx, e) : e;
    case OP_SELECT:
        return e->kid[0]->type == T_BOOL ? select_arms(ctx, e) : e;
    default:
        return e;
    }
}

/* ---- to a fixed point --------------------------------------------------------------------------- */

#define BUDGET 4000 /* rewrites in one call */

static const Expr *simplify(Ctx *ctx, const Expr *e, int *budget);

static const Expr *simplify_kids(Ctx *ctx, const Expr *e, int *budget) {
    const Expr *few[4];
    const Expr **kid = e->nkid <= 4 ? few : ctx_newn(ctx, const Expr *, e->nkid);
    for (int i = 0; i < e->nkid; i++)
        kid[i] = simplify(ctx, e->kid[i], budget);
    return expr_rebuild(ctx, e, kid);
}

static const Expr *simplify(Ctx *ctx, const Expr *e, int *budget) {
    if (e->nkid == 0 || *budget <= 0)
        return e;
    if (expr_info(e)->simple)
        return expr_info(e)->simple;
    const Expr *now = simplify_kids(ctx, e, budget);
    if (now == e) {
        now = expr_rules_apply(ctx, ctx->rules, e, NULL);
        if (now == e)
            now = apply_proofs(ctx, e);
    }
    if (now != e && --*budget > 0)
        now = simplify(ctx, now, budget);
    if (*budget > 0)
        expr_info(e)->simple = now;
    return now;
}

const Expr *expr_simplify(Ctx *ctx, const Expr *e) {
    int budget = BUDGET;
    if (!ctx->rules)
        ctx->rules = expr_rules_read(ctx, "simplify.rules", embed_simplify_rules);
    return simplify(ctx, e, &budget);
}
