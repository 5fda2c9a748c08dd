/* ir/expr_text.c — expressions as text. parse(print(e)) == e by pointer.
 *
 *   expr    := or;  or := and {"||" and};  and := cmp {"&&" cmp};  cmp := sum {("<"|"<="|"=="|"!=") sum}
 *              (a <= b < c means a <= b && b < c; a > b is read as b < a)
 *   then, tighter each:  |   ^   &   << >>   + -   * / // %   unary - !   primary
 *   primary := number [":" type] | true | false | inf | nan | name | "(" expr ")"
 *            | name "[" [expr "?"] index,… "]"
 *            | op "(" expr,… ")" | type "(" expr ")" | castw.type "(" … ")" | bits.type "(" … ")"
 *            | ramp "(" base, stride, lanes ")" | bcast "(" x, lanes ")" | lane "(" v, i ")"
 *   index   := expr ["+:" lanes]          x[i +: 8] is x[ramp(i, 1, 8)];   type := f32 | f32x8 | …
 * Plain integers are i64, plain floats f32; beside an operand of another type a constant takes that type. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/expr_in.h"
#include "ir/tensor.h"

/* ---- types ------------------------------------------------------------------------------------- */

void type_print(Text *t, Type type) {
    text_s(t, type_text(type_dtype(type)));
    if (type_lanes(type) > 1)
        text_f(t, "x%d", type_lanes(type));
}

Type type_parse(const char *s) {
    char name[16];
    size_t n = strcspn(s, "x");
    if (n >= sizeof name)
        return 0;
    memcpy(name, s, n);
    name[n] = 0;
    Dtype d = type_from_text(name);
    long lanes = s[n] ? strtol(s + n + 1, NULL, 10) : 1;
    return d && lanes >= 1 && lanes <= 256 ? TYPE_VEC(d, lanes) : 0;
}

/* Does a type's name stand at s? Otherwise a colon after a number belongs to somebody else. */
static bool type_follows(const char *s) {
    char name[16];
    size_t n = 0;
    while (n + 1 < sizeof name && ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= '0' && s[n] <= '9')))
        n++;
    memcpy(name, s, n);
    name[n] = 0;
    return type_parse(name) != 0;
}

/* ---- precedence -------------------------------------------------------------------------------- */

int expr_prec(Op op) {
    static const uint8_t table[OP_COUNT] = {
        [OP_OR] = PREC_OR,        [OP_AND] = PREC_AND,     [OP_EQ] = PREC_CMP,
        [OP_NE] = PREC_CMP,       [OP_LT] = PREC_CMP,      [OP_LE] = PREC_CMP,
        [OP_BOR] = PREC_BOR,      [OP_BXOR] = PREC_BXOR,   [OP_BAND] = PREC_BAND,
        [OP_SHL] = PREC_SHIFT,    [OP_SHR] = PREC_SHIFT,   [OP_ADD] = PREC_SUM,
        [OP_SUB] = PREC_SUM,      [OP_MUL] = PREC_PRODUCT, [OP_DIV] = PREC_PRODUCT,
        [OP_FDIV] = PREC_PRODUCT, [OP_MOD] = PREC_PRODUCT,
    };
    return table[op];
}

/* ---- printing ---------------------------------------------------------------------------------- */

static void print(Text *t, Names *names, const Expr *e, int prec);

static void print_const(Text *t, const Expr *e) {
    Dtype d = type_dtype(e->type);
    if (is_op(e, OP_FLT))
        text_float(t, e->u.f, d != T_F64);
    else if (d == T_BOOL)
        text_s(t, e->u.i ? "true" : "false");
    else if (d == T_U64)
        text_f(t, "%llu", (unsigned long long)e->u.i);
    else
        text_f(t, "%lld", (long long)e->u.i);
    if (e->type != T_I64 && e->type != T_F32 && e->type != T_BOOL) {
        text_c(t, ':');
        type_print(t, e->type);
    }
}

static bool is_minus(const Expr *e) {
    return is_op(e, OP_INT) && e->u.i < 0 && e->u.i != INT64_MIN;
}

/* A negative constant, or a product by one. */
static bool is_negative(const Expr *e) {
    return is_minus(e) || (is_op(e, OP_MUL) && is_minus(e->kid[1]));
}

/* b + c as b - |c|, which parses back to the same sum. True if printed. */
static bool print_minus(Text *t, Names *names, const Expr *e) {
    const Expr *l = e->kid[0], *r = e->kid[1];
    if (!is_op(e, OP_ADD) || !is_index(e))
        return false;
    if (!is_negative(r)) { /* -x + y is written as y - x */
        if (!is_negative(l) || is_op(l, OP_INT))
            return false;
        l = e->kid[1];
        r = e->kid[0];
    }
    print(t, names, l, PREC_SUM);
    text_s(t, " - ");
    if (is_op(r, OP_INT)) {
        text_f(t, "%lld", -(long long)r->u.i);
        return true;
    }
    print(t, names, r->kid[0], PREC_PRODUCT);
    if (r->kid[1]->u.i != -1)
        text_f(t, "*%lld", -(long long)r->kid[1]->u.i);
    return true;
}

static void print_infix(Text *t, Names *names, const Expr *e) {
    int p = expr_prec((Op)e->op);
    if (print_minus(t, names, e))
        return;
    print(t, names, e->kid[0], p == PREC_CMP ? p + 1 : p);
    text_f(t, p == PREC_PRODUCT ? "%s" : " %s ", op_text((Op)e->op));
    print(t, names, e->kid[1], p + 1);
}

static void print_list(Text *t, Names *names, const Expr *e, int from) {
    for (int i = from; i < e->nkid; i++) {
        const Expr *k = e->kid[i];
        if (i > from)
            text_s(t, ", ");
        if (is_op(k, OP_RAMP) && expr_is(k->kid[1], 1) && from < 2 && is_op(e, OP_LOAD)) {
            print(t, names, k->kid[0], 0);
            text_f(t, " +: %d", type_lanes(k->type));
        } else {
            print(t, names, k, 0);
        }
    }
}

static void print_load(Text *t, Names *names, const Expr *e) {
    bool masked = is_op(e, OP_MLOAD);
    text_f(t, "%s[", names_of(names, e->u.buf, e->u.buf->name));
    if (masked) {
        print(t, names, e->kid[0], 0);
        text_s(t, " ? ");
    }
    print_list(t, names, e, masked);
    text_c(t, ']');
}

static void print_call(Text *t, Names *names, const Expr *e) {
    if (is_op(e, OP_CASTW) || is_op(e, OP_BITCAST))
        text_f(t, "%s.", op_text((Op)e->op));
    if (op_form((Op)e->op)[1] == 'A' && op_form((Op)e->op)[2] == 'S')
        text_s(t, type_text(type_dtype(e->type)));
    else
        text_s(t, op_text((Op)e->op));
    text_c(t, '(');
    print_list(t, names, e, 0);
    if (is_op(e, OP_RAMP) || is_op(e, OP_BCAST))
        text_f(t, ", %d", type_lanes(e->type));
    text_c(t, ')');
}

static void print(Text *t, Names *names, const Expr *e, int prec) {
    Op op = (Op)e->op;
    bool prefix = op == OP_NEG || op == OP_NOT;
    int own = prefix ? PREC_UNARY : expr_prec(op) ? expr_prec(op) : PREC_PRIMARY;
    if (own < prec)
        text_c(t, '(');
    if (prefix) {
        text_c(t, op == OP_NEG ? '-' : '!');
        print(t, names, e->kid[0], PREC_UNARY);
    } else if (expr_prec(op)) {
        print_infix(t, names, e);
    } else if (expr_is_const(e)) {
        print_const(t, e);
    } else if (op == OP_SYM) {
        text_s(t, names_of(names, e->u.sym, e->u.sym->name));
    } else if (op == OP_LOAD || op == OP_MLOAD) {
        print_load(t, names, e);
    } else {
        print_call(t, names, e);
    }
    if (own < prec)
        text_c(t, ')');
}

void expr_print(Text *t, Names *names, const Expr *e) {
    print(t, names, e, 0);
}

#define MESSAGE_MAX 2000

/* Nodes of e as a tree, up to `limit`. */
static int tree_size(const Expr *e, int limit) {
    int n = 1;
    for (int i = 0; i < e->nkid && n < limit; i++)
        n += tree_size(e->kid[i], limit - n);
    return n;
}

bool expr_is_long(const Expr *e) {
    return tree_size(e, MESSAGE_MAX) >= MESSAGE_MAX;
}

Str expr_str(Ctx *ctx, const Expr *e) {
    Text t = text_new(ctx);
    if (expr_is_long(e))
        return str_f(ctx, "%s of more than %d nodes", op_text((Op)e->op), MESSAGE_MAX);
    expr_print(&t, names_new(ctx), e);
    return str_n(ctx, t.at, t.len);
}

/* ---- parsing ----------------------------------------------------------------------------------- */

#define DEPTH_MAX 1000 /* nested brackets */
#define ARGS_MAX 16

typedef struct Parser {
    Lex *lex;
    Names *names;
    int depth;
} Parser;

static const Expr *parse(Parser *p, int prec);

static const Expr *fail(Parser *p, const char *what) {
    lex_error(p->lex, "%s", what);
    return NULL;
}

/* A constant beside an operand of another type takes that type if it keeps its value. */
static const Expr *adapt(Ctx *ctx, const Expr *e, Type t) {
    Dtype d = type_dtype(t);
    if (e->type == t || !expr_is_const(e) || type_lanes(e->type) > 1)
        return e;
    if (is_op(e, OP_INT) && type_is_float(d))
        return expr_flt(ctx, t, (double)e->u.i);
    if (is_op(e, OP_INT) && type_is_int(d) && e->u.i >= type_min(d) && e->u.i <= type_max(d))
        return expr_int(ctx, t, e->u.i);
    /* 0.1 read as f32 is not the f64 meant */
    bool exact = d != T_F64 || !(fabs(e->u.f - rint(e->u.f)) > 0);
    return is_op(e, OP_FLT) && type_is_float(d) && exact ? expr_flt(ctx, t, e->u.f) : e;
}

/* The type that constants among the operands take: of an operand that is none, else of a float, else
 * of one that is not i64. */
static Type common_type(int n, const Expr *const *kid) {
    Type t = 0;
    for (int i = 0; i < n; i++) {
        if (!expr_is_const(kid[i]))
            return type_dtype(kid[i]->type);
        if (!t || t == T_I64 || (is_op(kid[i], OP_FLT) && !type_is_float(type_dtype(t))))
            t = type_dtype(kid[i]->type);
    }
    return t;
}

static const char *types_problem(Op op, int n, const Expr *const *kid) {
    bool logic = op == OP_AND || op == OP_OR || op == OP_NOT || op == OP_SELECT;
    int first = op == OP_SELECT;
    bool own = op_result(op)[0] == 'O' && op != OP_SELECT;
    if (op_kids(op) >= 0 && op_kids(op) != n)
        return "wrong number of operands";
    if (logic && type_dtype(kid[0]->type) != T_BOOL)
        return "bool expected";
    for (int i = first + 1; i < n && !own && op != OP_SHL && op != OP_SHR; i++)
        if (type_dtype(kid[i]->type) != type_dtype(kid[first]->type))
            return "operands differ in type";
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i && !own; k++)
            if (type_lanes(kid[i]->type) > 1 && type_lanes(kid[k]->type) > 1 &&
                type_lanes(kid[i]->type) != type_lanes(kid[k]->type))
                return "operands differ in lanes";
    return NULL;
}

static const Expr *build(Parser *p, Op op, Type t, int n, const Expr **kid) {
    Ctx *ctx = p->lex->ctx;
    bool own = op_result(op)[0] == 'O' && op != OP_SELECT;
    int first = op == OP_SELECT;
    Type t0 = n > first ? common_type(n - first, kid + first) : 0;
    for (int i = first; i < n && !own && op != OP_SHL && op != OP_SHR; i++)
        kid[i] = adapt(ctx, kid[i], t0);
    const char *problem = types_problem(op, n, kid);
    return problem ? fail(p, problem) : expr_op(ctx, op, t, n, kid);
}

/* The literal at the token, sign taken before. */
static const Expr *parse_number(Parser *p, bool minus) {
    Lex *lex = p->lex;
    bool flt = lex->kind != 'i';
    double f = lex->kind == 'f' ? lex->f : lex_is(lex, "inf") ? (double)INFINITY : (double)NAN;
    float narrow = lex->kind == 'f' ? strtof(lex->tok, NULL) : (float)f;
    int64_t i = minus ? (int64_t)(0 - (uint64_t)lex->i) : lex->i;
    Type t = flt ? T_F32 : T_I64;
    lex_next(lex);
    bool typed = lex_is(lex, ":") && type_follows(lex->at);
    if (typed) {
        lex_next(lex);
        t = type_parse(lex->tok);
        lex_next(lex);
    }
    Dtype d = type_dtype(t);
    if (type_is_float(d) && !flt)
        return expr_flt(lex->ctx, t, (double)i);
    if (type_is_float(d)) {
        double v = d == T_F64 ? f : (double)narrow;
        return expr_flt(lex->ctx, t, minus ? -v : v);
    }
    if (flt || !type_is_int(d))
        return fail(p, "a number of this type has another form");
    return expr_int(lex->ctx, t, i);
}

static int parse_lanes(Parser *p) {
    int64_t n = p->lex->i;
    if (p->lex->kind != 'i' || n < 1 || n > 256) {
        fail(p, "number of lanes (1..256) expected");
        return 0;
    }
    lex_next(p->lex);
    return (int)n;
}

static const Expr *parse_index(Parser *p) {
    const Expr *e = parse(p, 0);
    if (!e || !lex_take(p->lex, "+:"))
        return e;
    int lanes = parse_lanes(p);
    if (!lanes || type_lanes(e->type) > 1 || !type_is_int(type_dtype(e->type)))
        return fail(p, "scalar integer before +: expected");
    return expr_ramp(p->lex->ctx, e, expr_int(p->lex->ctx, e->type, 1), lanes);
}

/* After "[". */
static const Expr *parse_load(Parser *p, Buf *buf) {
    const Expr *index[ARGS_MAX], *mask = NULL;
    int n = 0;
    while (!lex_is(p->lex, "]")) {
        if (n == ARGS_MAX)
            return fail(p, "too many indices");
        if (!(index[n] = parse_index(p)))
            return NULL;
        if (n == 0 && !mask && lex_take(p->lex, "?")) {
            mask = index[0];
            continue;
        }
        if (!type_is_int(type_dtype(index[n++]->type)))
            return fail(p, "integer index expected");
        if (!lex_is(p->lex, "]") && !lex_need(p->lex, ","))
            return NULL;
    }
    lex_next(p->lex);
    if (!mask)
        return expr_load(p->lex->ctx, buf, n, index);
    if (type_dtype(mask->type) != T_BOOL)
        return fail(p, "bool mask expected");
    return expr_mload(p->lex->ctx, buf, mask, n, index);
}

Op expr_called(const char *name) {
    for (Op op = 0; op < OP_COUNT; op++) {
        const char *form = op_form(op);
        if ((form[0] == 'V' || (form[0] == 'C' && form[2] == 'L')) && !strcmp(op_text(op), name))
            return op;
    }
    return OP_COUNT;
}

/* "f32", "castw.f8e5m2", "bits.i32" as cast op and type. */
static Op cast_called(const char *name, Type *t) {
    static const Op prefixed[] = {OP_CASTW, OP_BITCAST};
    Op op = OP_CAST;
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(op_text(prefixed[i]));
        if (!strncmp(name, op_text(prefixed[i]), n) && name[n] == '.') {
            op = prefixed[i];
            name += n + 1;
            break;
        }
    }
    *t = type_from_text(name);
    return *t ? op : OP_COUNT;
}

/* ramp(base, stride, lanes), bcast(x, lanes), lane(v, i): the last operand is a plain number. */
static const Expr *build_vector(Parser *p, Op op, int n, const Expr **kid) {
    int64_t last;
    if (n != (op == OP_RAMP ? 3 : 2) || !expr_is_int(kid[n - 1], &last))
        return fail(p, "wrong operands");
    int lanes = type_lanes(kid[0]->type);
    if (op == OP_LANE && lanes > 1 && last >= 0 && last < lanes)
        return expr_lane(p->lex->ctx, kid[0], (int)last);
    if (op == OP_LANE || lanes > 1 || last < 1 || last > 256)
        return fail(p, "number of lanes out of range");
    if (op == OP_BCAST)
        return expr_bcast(p->lex->ctx, kid[0], (int)last);
    if (kid[0]->type != kid[1]->type || !type_is_int(type_dtype(kid[0]->type)))
        return fail(p, "ramp of two integers of one type expected");
    return expr_ramp(p->lex->ctx, kid[0], kid[1], (int)last);
}

/* After "name (". */
static const Expr *parse_call(Parser *p, const char *name) {
    const Expr *kid[4];
    int n = 0;
    Type t = 0;
    Op op = expr_called(name);
    if (op == OP_COUNT)
        op = cast_called(name, &t);
    if (op == OP_COUNT)
        return fail(p, "unknown function before this");
    do {
        if (n == 4)
            return fail(p, "too many operands");
        if (!(kid[n++] = parse(p, 0)))
            return NULL;
    } while (lex_take(p->lex, ","));
    if (!lex_need(p->lex, ")"))
        return NULL;
    if (op_form(op)[0] == 'V')
        return build_vector(p, op, n, kid);
    return build(p, op, t, n, kid);
}

static const Expr *parse_name(Parser *p) {
    Lex *lex = p->lex;
    char name[sizeof lex->tok];
    memcpy(name, lex->tok, sizeof name);
    if (lex_is(lex, "inf") || lex_is(lex, "nan"))
        return parse_number(p, false);
    if (lex_is(lex, "true") || lex_is(lex, "false")) {
        bool v = lex_is(lex, "true");
        lex_next(lex);
        if (!lex_is(lex, ":") || !type_follows(lex->at))
            return expr_bool(lex->ctx, v);
        lex_next(lex);
        Type t = type_parse(lex->tok);
        lex_next(lex);
        return type_dtype(t) == T_BOOL ? expr_int(lex->ctx, t, v) : fail(p, "bool type expected");
    }
    lex_next(lex);
    if (lex_take(lex, "("))
        return parse_call(p, name);
    if (lex_is(lex, "[")) {
        Buf *buf = names_find(p->names, str(lex->ctx, name), 'b');
        if (!buf)
            return fail(p, str_f(lex->ctx, "unknown buffer '%s'", name));
        lex_next(lex);
        return parse_load(p, buf);
    }
    Sym *sym = names_find(p->names, str(lex->ctx, name), 's');
    return sym ? expr_sym(lex->ctx, sym) : fail(p, str_f(lex->ctx, "unknown symbol '%s'", name));
}

static const Expr *parse_unary(Parser *p) {
    Lex *lex = p->lex;
    if (lex_is(lex, "-") || lex_is(lex, "!")) {
        Op op = lex_is(lex, "-") ? OP_NEG : OP_NOT;
        lex_next(lex);
        if (op == OP_NEG && (lex->kind == 'i' || lex->kind == 'f' || lex_is(lex, "inf")))
            return parse_number(p, true);
        const Expr *e = parse(p, PREC_UNARY);
        return e ? build(p, op, 0, 1, &e) : NULL;
    }
    if (lex->kind == 'i' || lex->kind == 'f')
        return parse_number(p, false);
    if (lex->kind == 'n')
        return parse_name(p);
    if (!lex_take(lex, "("))
        return fail(p, "expression expected");
    const Expr *e = parse(p, 0);
    return e && lex_need(lex, ")") ? e : NULL;
}

Op expr_infix(const Lex *lex, bool *turned) {
    *turned = lex->kind == 'p' && lex->tok[0] == '>' && lex->tok[1] != '>';
    if (lex->kind != 'p')
        return OP_COUNT;
    if (*turned)
        return lex->tok[1] ? OP_LE : OP_LT;
    for (Op op = 0; op < OP_COUNT; op++)
        if (expr_prec(op) && !strcmp(op_text(op), lex->tok))
            return op;
    return OP_COUNT;
}

static const Expr *parse_infix(Parser *p, int prec) {
    const Expr *left = parse_unary(p), *middle = NULL;
    while (left) {
        bool turned;
        Op op = expr_infix(p->lex, &turned);
        int own = op < OP_COUNT ? expr_prec(op) : 0;
        if (own == 0 || own < prec)
            return left;
        lex_next(p->lex);
        const Expr *right = parse(p, own + 1);
        if (!right)
            return NULL;
        bool chained = own == PREC_CMP && middle;
        const Expr *a = chained ? middle : left, *kid[2] = {turned ? right : a, turned ? a : right};
        const Expr *e = build(p, op, 0, 2, kid);
        if (e && chained)
            e = expr_and(p->lex->ctx, left, e);
        middle = own == PREC_CMP ? right : NULL;
        left = e;
    }
    return NULL;
}

static const Expr *parse(Parser *p, int prec) {
    if (p->depth++ > DEPTH_MAX)
        return fail(p, "expression nested too deeply");
    const Expr *e = parse_infix(p, prec);
    p->depth--;
    return p->lex->failed ? NULL : e;
}

const Expr *expr_parse(Lex *lex, Names *names) {
    Parser p = {lex, names, 0};
    return parse(&p, 0);
}

const Expr *expr_parse_sum(Lex *lex, Names *names) {
    Parser p = {lex, names, 0};
    return parse(&p, PREC_SHIFT);
}
