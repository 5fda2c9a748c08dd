/* map_text.c — the texts of MAP and REDUCE rows become typed expressions.
 *
 *   text := { name "=" or ";" } or
 *   or := and { "||" and }   and := cmp { "&&" cmp }   cmp := bits [ ("<" "<=" "==" "!=") bits ]
 *   bits := sum { ("&" "|" "^" "<<" ">>") sum }   sum := term { ("+" "-") term }
 *   term := unary { ("*" "/" "//" "%") unary }   unary := ("-" "!") unary | number | name [ "(" or, … ")" ]
 * A number takes the type of the other operand (between numbers: double arithmetic). Functions: the names
 * of ops.def, select, a dtype as a cast, T = a cast to the type computed in; sum, max, min, count of a
 * variadic input. The rows are ours, so an error in a text is an internal error.
 *
 *   Relu(x f16[N])  →  y[i] = f16(max(f32(x[i]), 0.0)) */
#include "frontend/map_text.h"
#include "frontend/definers.h"

#include <stdlib.h>
#include <string.h>

/* A number without a type yet (e == NULL), a variadic input (n > 0), or an expression. */
typedef struct Term {
    const Expr *e;
    double number;
} Term;

typedef struct Parse {
    Ctx *ctx;
    Lex lex;
    MapEnv *env;
} Parse;

static const struct {
    const char *text;
    Op op;
    int kids;
} CALLS[] = {
#define LEAF 0
#define INFIX 0
#define CALL 1
#define LOADF 0
#define CASTF 0
#define VECF 0
#define OP(id, text, kids, form, result) {form ? text : "", OP_##id, kids},
#include "ir/ops.def"
#undef OP
#undef LEAF
#undef INFIX
#undef CALL
#undef LOADF
#undef CASTF
#undef VECF
};

void map_env_put(Ctx *ctx, MapEnv *env, const char *name, const Expr *e) {
    for (int i = 0; i < env->names.len; i++)
        if (!strcmp(env->names.at[i].name, name)) {
            env->names.at[i].e = e;
            return;
        }
    MapName n = {str(ctx, name), e};
    vec_push(ctx, &env->names, n);
}

static const Expr *env_find(const MapEnv *env, const char *name) {
    for (int i = 0; i < env->names.len; i++)
        if (!strcmp(env->names.at[i].name, name))
            return env->names.at[i].e;
    return NULL;
}

_Noreturn static void bad_text(Parse *p, const char *what) {
    internal_error(p->ctx, "text '%s' of an op row: %s at '%s'", p->env->text, what, p->lex.tok);
}

static void need(Parse *p, const char *tok) {
    if (!lex_take(&p->lex, tok))
        bad_text(p, tok);
}

static Term term_expr(const Expr *e) {
    return (Term){e, 0};
}

static const Expr *typed(Parse *p, Term a, Type t) {
    return a.e ? a.e : expr_const(p->ctx, t, a.number);
}

/* Gives both the type of the one that has one. False: both are plain numbers. */
static bool unify(Parse *p, Term *a, Term *b) {
    if (!a->e && !b->e)
        return false;
    *a = term_expr(typed(p, *a, b->e ? b->e->type : 0));
    *b = term_expr(typed(p, *b, a->e->type));
    if (a->e->type != b->e->type)
        bad_text(p, "operands of two types");
    return true;
}

static double number_op(Op op, double a, double b) {
    return op == OP_ADD ? a + b : op == OP_SUB ? a - b : op == OP_MUL ? a * b : a / b;
}

static Term binary(Parse *p, Op op, Term a, Term b) {
    if (!unify(p, &a, &b))
        return (Term){NULL, number_op(op, a.number, b.number)};
    return term_expr(expr_2(p->ctx, op, a.e, b.e));
}

static Term parse_or(Parse *p);

/* max and min drop an operand that cannot matter (an absent bound of Clip). */
static Term min_max(Parse *p, Op op, Term a, Term b) {
    unify(p, &a, &b);
    const Expr *zero = combine_identity(p->ctx, op, a.e->type);
    return a.e == zero ? b : b.e == zero ? a : term_expr(expr_2(p->ctx, op, a.e, b.e));
}

/* sum(x), max(x), min(x), count(x) of the variadic input. */
static Term parse_fold(Parse *p, const char *name) {
    const MapEnv *env = p->env;
    lex_next(&p->lex);
    need(p, ")");
    if (!strcmp(name, "count"))
        return (Term){NULL, env->nvariadic};
    Op op = !strcmp(name, "sum") ? OP_ADD : !strcmp(name, "max") ? OP_MAX : OP_MIN;
    const Expr *r = env->variadic[0];
    for (int i = 1; i < env->nvariadic; i++)
        r = expr_2(p->ctx, op, r, env->variadic[i]);
    return term_expr(r);
}

static Term parse_call(Parse *p, const char *name) {
    Ctx *ctx = p->ctx;
    Term a[3];
    int n = 0;
    if (p->env->nvariadic && lex_is(&p->lex, p->env->variadic_name))
        return parse_fold(p, name);
    do {
        if (n == 3)
            bad_text(p, "too many operands");
        a[n++] = parse_or(p);
    } while (lex_take(&p->lex, ","));
    need(p, ")");
    Dtype to = !strcmp(name, "T") ? (Dtype)p->env->type : type_from_text(name);
    if (to != T_NONE)
        return term_expr(a[0].e ? expr_cast(ctx, to, a[0].e) : expr_const(ctx, to, a[0].number));
    if (!strcmp(name, "select")) {
        if (!unify(p, &a[1], &a[2]))
            for (int i = 1; i < 3; i++)
                a[i].e = typed(p, a[i], p->env->type);
        return term_expr(expr_select(ctx, a[0].e, a[1].e, a[2].e));
    }
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        if (strcmp(CALLS[i].text, name) || CALLS[i].kids != n)
            continue;
        if (CALLS[i].op == OP_MIN || CALLS[i].op == OP_MAX)
            return min_max(p, CALLS[i].op, a[0], a[1]);
        if (n == 1)
            return term_expr(expr_1(ctx, CALLS[i].op, typed(p, a[0], p->env->type)));
        return binary(p, CALLS[i].op, a[0], a[1]);
    }
    bad_text(p, name);
}

static Term parse_unary(Parse *p) {
    Lex *lex = &p->lex;
    if (lex_take(lex, "-")) {
        Term a = parse_unary(p);
        return a.e ? term_expr(expr_1(p->ctx, OP_NEG, a.e)) : (Term){NULL, -a.number};
    }
    if (lex_take(lex, "!"))
        return term_expr(expr_not(p->ctx, parse_unary(p).e));
    if (lex_take(lex, "(")) {
        Term a = parse_or(p);
        need(p, ")");
        return a;
    }
    if (lex->kind == 'i' || lex->kind == 'f') {
        Term a = {NULL, lex->kind == 'i' ? (double)lex->i : lex->f};
        lex_next(lex);
        return a;
    }
    if (lex->kind != 'n')
        bad_text(p, "no operand");
    Str name = str(p->ctx, lex->tok);
    lex_next(lex);
    if (lex_take(lex, "("))
        return parse_call(p, name);
    const Expr *e = env_find(p->env, name);
    if (!e)
        bad_text(p, name);
    return term_expr(e);
}

typedef struct Infix {
    const char *text;
    Op op;
    bool swap;
} Infix;

/* Binary operators from the loosest to the tightest level. */
static const Infix LEVELS[6][6] = {
    {{"||", OP_OR, false}},
    {{"&&", OP_AND, false}},
    {{"<=", OP_LE, false}, {"<", OP_LT, false}, {"==", OP_EQ, false}, {"!=", OP_NE, false}},
    {{"<<", OP_SHL, false},
     {">>", OP_SHR, false},
     {"&", OP_BAND, false},
     {"|", OP_BOR, false},
     {"^", OP_BXOR, false}},
    {{"+", OP_ADD, false}, {"-", OP_SUB, false}},
    {{"*", OP_MUL, false}, {"//", OP_FDIV, false}, {"/", OP_DIV, false}, {"%", OP_MOD, false}},
};

static Term parse_level(Parse *p, int level) {
    if (level == 6)
        return parse_unary(p);
    Term a = parse_level(p, level + 1);
    for (;;) {
        const Infix *in = LEVELS[level];
        while (in->text && !lex_is(&p->lex, in->text))
            in++;
        if (!in->text)
            return a;
        lex_next(&p->lex);
        a = binary(p, in->op, a, parse_level(p, level + 1));
    }
}

static Term parse_or(Parse *p) {
    return parse_level(p, 0);
}

const Expr *map_text_parse(Ctx *ctx, MapEnv *env, const char *text) {
    Parse p = {.ctx = ctx, .env = env};
    env->text = text;
    lex_init(&p.lex, ctx, "onnx_ops.def", text);
    for (;;) {
        Str name = p.lex.kind == 'n' ? str(ctx, p.lex.tok) : NULL;
        Lex before = p.lex;
        if (name) {
            lex_next(&p.lex);
            if (lex_take(&p.lex, "=")) {
                map_env_put(ctx, env, name, typed(&p, parse_or(&p), env->type));
                need(&p, ";");
                continue;
            }
        }
        p.lex = before;
        break;
    }
    Term r = parse_or(&p);
    if (p.lex.kind)
        bad_text(&p, "text goes on");
    return typed(&p, r, env->type);
}

/* ---- rows ------------------------------------------------------------------------------------ */

bool map_class_has(const char *name, Dtype t) {
    char k = type_kind(t);
    if (!strcmp(name, "any"))
        return true;
    if (!strcmp(name, "num"))
        return k == 'F' || k == 'I' || k == 'U';
    if (!strcmp(name, "float"))
        return k == 'F';
    if (!strcmp(name, "int"))
        return k == 'I' || k == 'U';
    if (!strcmp(name, "signed"))
        return k == 'F' || k == 'I';
    if (!strcmp(name, "sint"))
        return k == 'I';
    if (!strcmp(name, "uint"))
        return k == 'U';
    return type_from_text(name) == t;
}

/* One entry of args: x:class, x?=v, ..., name=v, @name=v. */
typedef struct Arg {
    char name[32], class[16], value[40];
    bool optional, variadic, condition, attr;
} Arg;

/* Takes the next entry off *at; false at the end. */
static bool arg_next(const char **at, Arg *a) {
    const char *s = *at;
    memset(a, 0, sizeof *a);
    while (*s == ' ')
        s++;
    if (!*s)
        return false;
    a->variadic = !strncmp(s, "...", 3);
    a->condition = *s == '@';
    s += a->variadic ? 3 : a->condition ? 1 : 0;
    for (int i = 0; *s && !strchr(" :?=", *s) && i < 31; s++)
        a->name[i++] = *s;
    if (*s == '?')
        a->optional = true, s++;
    if (*s == ':')
        for (int i = (s++, 0); *s && !strchr(" =", *s) && i < 15; s++)
            a->class[i++] = *s;
    if (*s == '=') {
        for (int i = (s++, 0); *s && *s != ' ' && i < 39; s++)
            a->value[i++] = *s;
        a->attr = !a->optional && !a->condition;
    }
    *at = s;
    return true;
}

/* Does the attribute have the value a condition asks for? */
static bool condition_holds(const Definer *d, const Arg *a) {
    const Attr *at = node_attr(d->node, a->name);
    if (!at)
        return false;
    if (at->kind == ATTR_INT)
        return at->i == strtoll(a->value, NULL, 10);
    return at->kind == ATTR_STRING && at->s.len == (int64_t)strlen(a->value) &&
           !memcmp(at->s.at, a->value, (size_t)at->s.len);
}

/* Do the node's inputs and attributes fit the row? */
static bool row_fits(const Definer *d, const char *args) {
    Arg a;
    int i = 0;
    Dtype before = T_NONE;
    while (arg_next(&args, &a)) {
        if (a.attr)
            continue;
        if (a.condition) {
            if (!condition_holds(d, &a))
                return false;
            continue;
        }
        if (a.variadic) {
            for (; i < d->node->nin; i++)
                if (!define_has(d, i) || define_type(d, i) != before)
                    return false;
            continue;
        }
        if (!define_has(d, i)) {
            if (!a.optional)
                return false;
            i++;
            continue;
        }
        Dtype t = define_type(d, i++);
        if (a.class[0] ? !map_class_has(a.class, t) : t != before)
            return false;
        before = t;
    }
    return i >= d->node->nin || d->op->kind == OPKIND_REDUCE;
}

/* Inputs that the row asks for, so many at least. */
static int row_least(const char *args) {
    Arg a;
    int n = 0;
    while (arg_next(&args, &a))
        n += !a.attr && !a.condition && !a.variadic && !a.optional;
    return n;
}

const OnnxOp *map_row(Definer *d) {
    int n;
    const OnnxOp *all = onnx_op_table(&n), *op = d->op;
    for (; op < all + n && !strcmp(op->name, d->op->name) && !strcmp(op->domain, d->op->domain);
         op++)
        if (row_fits(d, op->args))
            return op;
    int least = row_least(d->op->args);
    if (d->node->nin < least)
        define_error(d, EXIT_MALFORMED, "the op takes %d inputs, %d given", least, d->node->nin);
    else
        define_error(d, EXIT_UNSUPPORTED,
                     "%s is not defined for inputs of these types, or for one of its attributes",
                     d->op->name);
    return NULL;
}

static const Expr *optional_value(Ctx *ctx, Type t, const char *v) {
    if (!strcmp(v, "lowest"))
        return combine_identity(ctx, OP_MAX, t);
    if (!strcmp(v, "highest"))
        return combine_identity(ctx, OP_MIN, t);
    return expr_const(ctx, t, strtod(v, NULL));
}

/* A number of an attribute; float attributes are f32 in the file, so are their defaults. */
static double attr_number(const Definer *d, const Arg *a) {
    const Attr *at = node_attr(d->node, a->name);
    if (at)
        return at->kind == ATTR_INT ? (double)at->i : at->f;
    double v = strtod(a->value, NULL);
    return (double)(float)v;
}

void map_env_attrs(Definer *d, MapEnv *env, const char *args) {
    Arg a;
    while (arg_next(&args, &a))
        if (a.attr) {
            Type t = a.class[0] ? type_from_text(a.class) : env->type;
            map_env_put(d->ctx, env, a.name, expr_const(d->ctx, t, attr_number(d, &a)));
        }
}

/* Names the loads of the inputs at the output's indices. */
static void env_inputs(Definer *d, MapEnv *env, const OnnxOp *row, int rank,
                       const Expr *const *index) {
    const char *args = row->args;
    Arg a;
    int i = 0;
    while (arg_next(&args, &a)) {
        if (a.attr || a.condition)
            continue;
        int n = a.variadic ? d->node->nin : i + 1;
        for (; i < n; i++) {
            const Expr *e;
            if (define_has(d, i)) {
                e = define_load_broadcast(d, define_in(d, i), rank, index);
                if (env->wrap && type_is_narrow(type_dtype(e->type)))
                    e = expr_cast(d->ctx, T_F32, e);
            } else {
                e = optional_value(d->ctx, env->type, a.value);
            }
            if (!a.variadic)
                map_env_put(d->ctx, env, a.name, e);
            if (i < env->nvariadic)
                env->variadic[i] = e;
        }
    }
}

/* The number of the input called `name` in args; its class goes to *class. */
static int input_named(const char *args, const char *name, Arg *a) {
    for (int i = 0; arg_next(&args, a);) {
        if (a->attr || a->condition)
            continue;
        if (!strcmp(a->name, name))
            return i;
        i++;
    }
    return -1;
}

bool define_map(Definer *d) {
    const OnnxOp *row = map_row(d);
    if (!row)
        return false;
    Ctx *ctx = d->ctx;
    Arg a;
    int main = input_named(row->args, strcmp(row->type, "bool") ? row->type : "x", &a);
    Dtype in = define_type(d, main < 0 ? 0 : main), out = type_from_text(row->type);
    MapEnv env = {.wrap = strcmp(a.class, "any") != 0};
    env.type = env.wrap && type_is_narrow(in) ? T_F32 : in;
    if (strstr(row->args, "...")) {
        env.nvariadic = d->node->nin;
        env.variadic = ctx_newn(ctx, const Expr *, env.nvariadic);
        env.variadic_name = "x";
    }
    VEC(Buf *) bufs = {0};
    for (int i = 0; i < d->node->nin; i++)
        if (define_has(d, i))
            vec_push(ctx, &bufs, define_in(d, i));
    int rank;
    const Expr *dim[RANK_MAX], *index[RANK_MAX];
    if (!define_broadcast(d, bufs.len, bufs.at, &rank, dim))
        return false;
    Def *def = define_out(d, 0, out != T_NONE ? out : in, rank, dim);
    for (int i = 0; i < rank; i++)
        index[i] = def_var(ctx, def, i);
    env_inputs(d, &env, row, rank, index);
    map_env_attrs(d, &env, row->args);
    def->value = map_text_parse(ctx, &env, row->text);
    if (type_dtype(def->value->type) != def->buf->type)
        def->value = expr_cast(ctx, def->buf->type, def->value);
    define_emit(d, def);
    return true;
}
