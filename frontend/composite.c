/* frontend/composite.c — ops whose meaning is a text over other ops: functions.onnxtxt, played in place.
 *
 * A text is read and obeyed in one go: each call defines its op at once, parts not taken are only read.
 *   function  = "function" name ["<" attr ["=" value] {"," …} ">"] "(" inputs ")" "=>" "(" outputs ")" block
 *   block     = "{" {statement} "}"
 *   statement = names "=" value | "when" value block ["else" (block | when-statement)] | "fail" "text"
 *   value     = comparisons (== != < <= > >= && || !) and arithmetic (+ - * / %) over
 *               number, "text", [list], @attr, @attr: (the axes from there to the last of the call's first
 *               tensor), input or local name, element type (f32), type(number) (a scalar: i64(0)),
 *               Op ["<" attr "=" value, … ">"] "(" values ")"; an argument may be left out: Clip(x, , hi)
 *               has(x) rank(x) type(x) is_float(x) static(x, axis) pick(condition, value, value)
 * Arithmetic with a tensor defines Add, Sub, Mul, Div, Mod; a number beside a tensor has its type, a list is
 * i64; an absent input or attribute stays absent when passed on. Comparisons in < > need parentheses. */
#include "frontend/composite.h"
#include "embed.h"

#include <stdio.h>
#include <string.h>

typedef enum TermKind { NOTHING, TENSOR, WHOLE, REAL, WORDS, WHOLES, ATTR } TermKind;

typedef struct Term {
    TermKind kind;
    Val *val;
    int64_t i; /* WHOLE; also true and false */
    double f;
    Str s;
    int n;
    const int64_t *ints;
    const Attr *attr;
} Term;

typedef struct Play {
    Definer *d;
    Lex lex;
    const char *name;
    Map *locals; /* Str → Val; &absent: an input that is not given */
    Map *attrs;  /* Str → Term */
    Val absent;
    Buf *first; /* first tensor of the call being read */
    int skip;   /* > 0: read, do not do */
    bool failed;
} Play;

enum { ARGS_MAX = 32 };

static Term play_value(Play *p);
static bool play_block(Play *p);

static _Noreturn void syntax(Play *p, const char *need) {
    internal_error(p->d->ctx, "functions.onnxtxt, %s: %s expected near '%s'", p->name, need,
                   p->lex.tok);
}

static void need(Play *p, const char *tok) {
    if (!lex_take(&p->lex, tok))
        syntax(p, tok);
}

static Str need_name(Play *p) {
    if (p->lex.kind != 'n')
        syntax(p, "a name");
    Str s = str(p->d->ctx, p->lex.tok);
    lex_next(&p->lex);
    return s;
}

static Term fail(Play *p) {
    p->failed = true;
    p->skip++; /* the rest is only read */
    return (Term){.kind = NOTHING};
}

static Term whole(int64_t i) {
    return (Term){.kind = WHOLE, .i = i};
}

static Term tensor(Val *v) {
    return v ? (Term){.kind = TENSOR, .val = v} : (Term){.kind = NOTHING};
}

static Dtype term_type(const Term *t) {
    return t->kind == TENSOR && t->val->buf ? type_dtype(t->val->buf->type) : T_NONE;
}

/* ---- calls ------------------------------------------------------------------------------------ */

/* A term as an operand; `like`: the type of plain numbers. */
static Val *operand(Play *p, const Term *t, Dtype like) {
    Definer *d = p->d;
    if (t->kind == TENSOR)
        return t->val;
    if (t->kind == WHOLES)
        return define_val(d, define_const_i64(d, t->n, t->ints));
    if (t->kind == WHOLE)
        return define_val(d, define_const_scalar(d, like ? like : T_I64, (double)t->i));
    if (t->kind == REAL)
        return define_val(d, define_const_scalar(d, like ? like : T_F32, t->f));
    if (t->kind == ATTR && t->attr->tensor)
        return define_val(d, define_literal(d->state, t->attr->tensor));
    return NULL;
}

static bool attr_of(const Term *t, Str name, Attr *a) {
    *a = t->kind == ATTR ? *t->attr : (Attr){0};
    a->name = name;
    if (t->kind == WHOLE) {
        a->kind = ATTR_INT;
        a->i = t->i;
    } else if (t->kind == REAL) {
        a->kind = ATTR_FLOAT;
        a->f = t->f;
    } else if (t->kind == WORDS) {
        a->kind = ATTR_STRING;
        a->s = (ConstStr){t->s, (int64_t)strlen(t->s)};
    } else if (t->kind == WHOLES) {
        a->kind = ATTR_INTS;
        a->n = t->n;
        a->ints = t->ints;
    }
    return a->kind;
}

bool define_op(Definer *d, const char *op, int nattr, Attr *attr, int nin, Val **in, int nout,
               Val **out) {
    Ctx *ctx = d->ctx;
    const char *dot = strrchr(op, '.');
    Str domain = dot ? str_n(ctx, op, (size_t)(dot - op)) : str(ctx, "");
    const OnnxOp *row = onnx_op_find(domain, dot ? dot + 1 : op);
    if (!row)
        return define_error(d, EXIT_UNSUPPORTED, "it is made of %s, which is not supported", op);
    Node *n = ctx_new(ctx, Node);
    *n = (Node){.name = d->node->name,
                .domain = domain,
                .op = str(ctx, row->name),
                .version = row->version,
                .nin = nin,
                .nout = nout,
                .nattr = nattr,
                .attr = attr,
                .loc = d->node->loc};
    n->in = ctx_newn(ctx, Value *, nin);
    n->out = ctx_newn(ctx, Value *, nout);
    const Node *outer = d->node;
    Str base = outer->nout && outer->out[0] ? outer->out[0]->name : outer->op;
    for (int i = 0; i < nout; i++) {
        n->out[i] = ctx_new(ctx, Value);
        n->out[i]->name = str_f(ctx, "%s.%s", base, row->name);
    }
    Definer inner = *d;
    inner.node = n;
    inner.op = row;
    inner.in = in;
    inner.out = ctx_newn(ctx, Val *, nout);
    if (!row->define(&inner))
        return false;
    memcpy(out, inner.out, (size_t)nout * sizeof *out);
    return true;
}

static int play_attrs(Play *p, Attr *attr) {
    int n = 0;
    if (!lex_take(&p->lex, "<"))
        return 0;
    while (!lex_take(&p->lex, ">")) {
        Str name = need_name(p);
        need(p, "=");
        Term t = play_value(p);
        if (n < ARGS_MAX && attr_of(&t, name, &attr[n]))
            n++;
        if (!lex_is(&p->lex, ">"))
            need(p, ",");
    }
    return n;
}

static int play_args(Play *p, Term *arg) {
    int n = 0;
    Buf *outer = p->first;
    p->first = NULL;
    need(p, "(");
    while (!lex_take(&p->lex, ")")) {
        Term t = lex_is(&p->lex, ",") ? (Term){.kind = NOTHING} : play_value(p);
        if (n == ARGS_MAX)
            syntax(p, "fewer arguments");
        if (t.kind == TENSOR && !p->first)
            p->first = t.val->buf;
        arg[n++] = t;
        if (!lex_is(&p->lex, ")"))
            need(p, ",");
    }
    p->first = outer;
    return n;
}

/* Defines op over the arguments; outputs into out. */
static bool play_op(Play *p, const char *op, int nattr, Attr *attr, int narg, const Term *arg,
                    int nout, Val **out) {
    Val **in = ctx_newn(p->d->ctx, Val *, narg);
    Dtype like = T_NONE;
    for (int i = 0; i < narg && !like; i++)
        like = term_type(&arg[i]);
    for (int i = 0; i < narg; i++)
        in[i] = operand(p, &arg[i], like);
    Attr *kept = ctx_copy(p->d->ctx, attr, (size_t)nattr * sizeof *attr);
    if (define_op(p->d, op, nattr, kept, narg, in, nout, out))
        return true;
    fail(p);
    return false;
}

static void play_call(Play *p, Str op, int nout, Val **out) {
    Attr attr[ARGS_MAX];
    Term arg[ARGS_MAX];
    int nattr = play_attrs(p, attr), narg = play_args(p, arg);
    if (!p->skip)
        play_op(p, op, nattr, attr, narg, arg, nout, out);
}

/* ---- built-in functions -------------------------------------------------------------------------- */

static Term play_pick(Play *p) {
    need(p, "(");
    bool yes = play_value(p).i != 0;
    need(p, ",");
    p->skip += !yes;
    Term a = play_value(p);
    p->skip -= !yes;
    need(p, ",");
    p->skip += yes;
    Term b = play_value(p);
    p->skip -= yes;
    need(p, ")");
    return yes ? a : b;
}

static bool is_builtin(const char *name) {
    static const char *const NAMES[] = {"has", "rank", "type", "is_float", "static", "pick"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strcmp(NAMES[i], name) == 0)
            return true;
    return false;
}

/* The parenthesis is next. */
static Term play_builtin(Play *p, const char *name) {
    Term arg[ARGS_MAX] = {{.kind = NOTHING}};
    if (strcmp(name, "pick") == 0)
        return play_pick(p);
    int n = play_args(p, arg);
    if (strcmp(name, "has") == 0)
        return whole(arg[0].kind != NOTHING);
    if (p->skip)
        return whole(0);
    if (n < 1 || arg[0].kind != TENSOR || !arg[0].val->buf)
        syntax(p, "a tensor");
    const Buf *b = arg[0].val->buf;
    if (strcmp(name, "rank") == 0)
        return whole(b->rank);
    if (strcmp(name, "type") == 0)
        return whole(type_onnx(type_dtype(b->type)));
    if (strcmp(name, "is_float") == 0)
        return whole(type_is_float(type_dtype(b->type)));
    int64_t v = -1, axis = n > 1 ? arg[1].i : 0;
    axis += axis < 0 ? b->rank : 0;
    if (axis >= 0 && axis < b->rank && !expr_is_int(b->dim[axis], &v))
        v = -1;
    return whole(v);
}

/* f32(1.5): a scalar constant. */
static Term play_scalar(Play *p, Dtype type) {
    need(p, "(");
    Term t = play_value(p);
    need(p, ")");
    return p->skip ? t : tensor(operand(p, &t, type));
}

/* ---- values ----------------------------------------------------------------------------------- */

static Term play_attr(Play *p) {
    Str name = need_name(p);
    Term *t = map_get(p->attrs, name);
    if (!t)
        syntax(p, "a declared attribute");
    if (!lex_take(&p->lex, ":") || p->skip)
        return *t;
    int rank = p->first ? p->first->rank : 0, from = define_axis(p->d, t->i, rank);
    if (from < 0)
        return fail(p);
    int64_t *axes = ctx_newn(p->d->ctx, int64_t, rank);
    for (int i = from; i < rank; i++)
        axes[i - from] = i;
    return (Term){.kind = WHOLES, .n = rank - from, .ints = axes};
}

static Term play_name(Play *p) {
    Str name = need_name(p);
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    bool upper = *last >= 'A' && *last <= 'Z';
    if (lex_is(&p->lex, "(") || (upper && lex_is(&p->lex, "<"))) {
        Val *out = NULL;
        Dtype type = type_from_text(name);
        if (is_builtin(name))
            return play_builtin(p, name);
        if (type)
            return play_scalar(p, type);
        play_call(p, name, 1, &out);
        return tensor(out);
    }
    Val *v = map_get(p->locals, name);
    if (!v && type_from_text(name))
        return whole(type_onnx(type_from_text(name)));
    if (!v && !p->skip)
        syntax(p, name);
    return tensor(v == &p->absent ? NULL : v);
}

static Term play_list(Play *p) {
    VEC(int64_t) v = {0};
    while (!lex_take(&p->lex, "]")) {
        vec_push(p->d->ctx, &v, play_value(p).i);
        if (!lex_is(&p->lex, "]"))
            need(p, ",");
    }
    return (Term){.kind = WHOLES, .n = v.len, .ints = v.at};
}

static Term play_primary(Play *p) {
    Lex *lex = &p->lex;
    Term t = {.kind = NOTHING};
    if (lex_take(lex, "(")) {
        Buf *first = p->first;
        t = play_value(p);
        p->first = first;
        need(p, ")");
    } else if (lex_take(lex, "@")) {
        t = play_attr(p);
    } else if (lex_take(lex, "[")) {
        t = play_list(p);
    } else if (lex->kind == 'n') {
        t = play_name(p);
    } else if (lex->kind == 'i' || lex->kind == 'f' || lex->kind == 's') {
        t = (Term){.kind = lex->kind == 'i'   ? WHOLE
                           : lex->kind == 'f' ? REAL
                                              : WORDS,
                   .i = lex->i,
                   .f = lex->f,
                   .s = lex->kind == 's' ? str(p->d->ctx, lex->tok) : NULL};
        lex_next(lex);
    } else {
        syntax(p, "a value");
    }
    return t;
}

/* Numbers: whole while both are and nothing is lost. */
static Term compute(Play *p, char op, const Term *a, const Term *b) {
    double x = a->kind == REAL ? a->f : (double)a->i, y = b->kind == REAL ? b->f : (double)b->i;
    if (a->kind == WHOLE && b->kind == WHOLE) {
        int64_t v = 0;
        bool ok = op == '+'   ? add_ok(a->i, b->i, &v)
                  : op == '-' ? sub_ok(a->i, b->i, &v)
                  : op == '*' ? mul_ok(a->i, b->i, &v)
                              : b->i > 0;
        if (!ok) {
            define_error(p->d, EXIT_MALFORMED, "an attribute is out of range");
            return fail(p);
        }
        return whole(op == '/' ? a->i / b->i : op == '%' ? a->i % b->i : v);
    }
    return (Term){.kind = REAL,
                  .f = op == '+'   ? x + y
                       : op == '-' ? x - y
                       : op == '*' ? x * y
                                   : x / y};
}

static Term combine(Play *p, char op, Term a, Term b) {
    if (p->skip)
        return a;
    if (a.kind != TENSOR && b.kind != TENSOR) {
        bool numbers = (a.kind == WHOLE || a.kind == REAL) && (b.kind == WHOLE || b.kind == REAL);
        if (!numbers)
            syntax(p, "numbers");
        return compute(p, op, &a, &b);
    }
    const char *name = op == '+'   ? "Add"
                       : op == '-' ? "Sub"
                       : op == '*' ? "Mul"
                       : op == '/' ? "Div"
                                   : "Mod";
    Val *out = NULL;
    play_op(p, name, 0, NULL, 2, (Term[]){a, b}, 1, &out);
    return tensor(out);
}

static Term play_unary(Play *p) {
    if (lex_take(&p->lex, "!"))
        return whole(!play_unary(p).i);
    if (!lex_take(&p->lex, "-"))
        return play_primary(p);
    Term t = play_unary(p);
    if (t.kind == TENSOR && !p->skip) {
        Val *out = NULL;
        play_op(p, "Neg", 0, NULL, 1, &t, 1, &out);
        return tensor(out);
    }
    t.i = t.kind == WHOLE ? 0 - t.i : t.i;
    t.f = -t.f;
    return t;
}

static Term play_product(Play *p) {
    Term a = play_unary(p);
    while (lex_is(&p->lex, "*") || lex_is(&p->lex, "/") || lex_is(&p->lex, "%")) {
        char op = p->lex.tok[0];
        lex_next(&p->lex);
        a = combine(p, op, a, play_unary(p));
    }
    return a;
}

static Term play_sum(Play *p) {
    Term a = play_product(p);
    while (lex_is(&p->lex, "+") || lex_is(&p->lex, "-")) {
        char op = p->lex.tok[0];
        lex_next(&p->lex);
        a = combine(p, op, a, play_product(p));
    }
    return a;
}

static int compare(const Term *a, const Term *b) {
    if (a->kind == WORDS && b->kind == WORDS)
        return strcmp(a->s, b->s);
    if (a->kind == WORDS || b->kind == WORDS || a->kind == NOTHING || b->kind == NOTHING)
        return a->kind == b->kind ? 0 : 1;
    double x = a->kind == REAL ? a->f : (double)a->i, y = b->kind == REAL ? b->f : (double)b->i;
    return x < y ? -1 : x > y;
}

static Term play_comparison(Play *p) {
    Term a = play_sum(p);
    Lex *lex = &p->lex;
    bool eq = lex_is(lex, "=="), ne = lex_is(lex, "!="), le = lex_is(lex, "<="),
         ge = lex_is(lex, ">="), lt = lex_is(lex, "<");
    if (!eq && !ne && !le && !ge && !lt)
        return a;
    lex_next(lex);
    Term b = play_sum(p);
    int c = compare(&a, &b);
    return whole(eq ? c == 0 : ne ? c != 0 : le ? c <= 0 : ge ? c >= 0 : c < 0);
}

static Term play_and(Play *p) {
    Term a = play_comparison(p);
    while (lex_take(&p->lex, "&&")) {
        bool done = !a.i;
        p->skip += done;
        Term b = play_comparison(p);
        p->skip -= done;
        a = whole(!done && b.i);
    }
    return a;
}

static Term play_value(Play *p) {
    Term a = play_and(p);
    while (lex_take(&p->lex, "||")) {
        bool done = a.i != 0;
        p->skip += done;
        Term b = play_and(p);
        p->skip -= done;
        a = whole(done || b.i);
    }
    return a;
}

/* ---- statements ------------------------------------------------------------------------------- */

static bool play_when(Play *p) {
    bool yes = play_value(p).i != 0;
    p->skip += !yes;
    play_block(p);
    p->skip -= !yes;
    if (!lex_take(&p->lex, "else"))
        return true;
    p->skip += yes;
    if (lex_take(&p->lex, "when"))
        play_when(p);
    else
        play_block(p);
    p->skip -= yes;
    return true;
}

static void play_assign(Play *p) {
    Str names[ARGS_MAX];
    Val *out[ARGS_MAX] = {NULL};
    int n = 0;
    do
        names[n++] = need_name(p);
    while (lex_take(&p->lex, ",") && n < ARGS_MAX);
    need(p, "=");
    if (n > 1) {
        play_call(p, need_name(p), n, out);
    } else {
        Term t = play_value(p);
        out[0] = p->skip ? NULL : operand(p, &t, T_NONE);
        if (!out[0])
            out[0] = &p->absent;
    }
    for (int i = 0; i < n && !p->skip; i++)
        map_put(p->locals, names[i], out[i]);
}

static bool play_block(Play *p) {
    need(p, "{");
    while (!lex_take(&p->lex, "}")) {
        if (lex_take(&p->lex, "when")) {
            play_when(p);
        } else if (lex_take(&p->lex, "fail")) {
            if (!p->skip) {
                define_error(p->d, EXIT_UNSUPPORTED, "%s", p->lex.tok);
                fail(p);
            }
            lex_next(&p->lex);
        } else {
            play_assign(p);
        }
    }
    return !p->failed;
}

/* ---- functions -------------------------------------------------------------------------------- */

static Term node_term(const Node *n, const char *name) {
    const Attr *a = node_attr(n, name);
    if (!a)
        return (Term){.kind = NOTHING};
    if (a->kind == ATTR_INT)
        return whole(a->i);
    if (a->kind == ATTR_FLOAT)
        return (Term){.kind = REAL, .f = a->f};
    if (a->kind == ATTR_INTS)
        return (Term){.kind = WHOLES, .n = a->n, .ints = a->ints};
    return (Term){.kind = ATTR, .attr = a};
}

static void play_declared(Play *p) {
    Ctx *ctx = p->d->ctx;
    if (!lex_take(&p->lex, "<"))
        return;
    while (!lex_take(&p->lex, ">")) {
        Str name = need_name(p);
        Term *t = ctx_new(ctx, Term);
        if (lex_take(&p->lex, "="))
            *t = play_unary(p);
        Term given = node_term(p->d->node, name);
        if (given.kind == ATTR && given.attr->kind == ATTR_STRING)
            given = (Term){.kind = WORDS, .s = node_str(ctx, p->d->node, name, "")};
        if (given.kind != NOTHING)
            *t = given;
        map_put(p->attrs, name, t);
        if (!lex_is(&p->lex, ">"))
            need(p, ",");
    }
}

static int play_ports(Play *p, Str *names) {
    int n = 0;
    need(p, "(");
    while (!lex_take(&p->lex, ")")) {
        if (n == ARGS_MAX)
            syntax(p, "fewer names");
        names[n++] = need_name(p);
        if (!lex_is(&p->lex, ")"))
            need(p, ",");
    }
    return n;
}

/* The text of the function after the word `function`; NULL when there is none. */
static const char *find_text(const char *name) {
    size_t n = strlen(name);
    for (const char *at = embed_functions_onnxtxt; (at = strstr(at, "\nfunction "));) {
        at += strlen("\nfunction ");
        if (strncmp(at, name, n) == 0 && strspn(at + n, " <(\n") > 0)
            return at + n;
    }
    return NULL;
}

bool define_function(Definer *d, const char *name) {
    Play p = {.d = d, .name = name, .locals = map_new(d->ctx), .attrs = map_new(d->ctx)};
    const char *text = find_text(name);
    if (!text)
        internal_error(d->ctx, "functions.onnxtxt has no function %s", name);
    lex_init(&p.lex, d->ctx, "functions.onnxtxt", text);
    Str in[ARGS_MAX], out[ARGS_MAX];
    play_declared(&p);
    int nin = play_ports(&p, in);
    need(&p, "=>");
    int nout = play_ports(&p, out);
    for (int i = 0; i < nin; i++)
        map_put(p.locals, in[i], define_has(d, i) ? d->in[i] : &p.absent);
    if (!play_block(&p))
        return false;
    for (int i = 0; i < d->node->nout; i++) {
        if (!d->node->out[i])
            continue;
        Val *v = i < nout ? map_get(p.locals, out[i]) : NULL;
        if (!v || v == &p.absent)
            return define_error(d, EXIT_UNSUPPORTED, "output %d is not supported here", i);
        d->out[i] = v;
    }
    return true;
}

bool define_composite(Definer *d) {
    const char *domain = d->op->domain;
    return define_function(d, *domain ? str_f(d->ctx, "%s.%s", domain, d->op->name) : d->op->name);
}
