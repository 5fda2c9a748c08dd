/* ir/decl_text.c — declarations of symbols and buffers, and what all sections share (grammar: text_in.h).
 *
 *   sym N dim 1..64 %8
 *   w const f32[2, 2] where (i, j) j*2 + i = { 1.0, 2.0, 3.0, 4.0 } */
#include "ir/text_in.h"

#include <string.h>

#define DATA_MAX 64 /* elements of a constant that are printed */

static const char *const SPACES[] = {"input", "output", "const",  "arena",
                                     "local", "reg",    "scalar", "heap"};
static const char *const WORDS[] = {
    "sym",    "dim",    "bind",     "run",      "where",   "halo",   "size", "fill",  "bound",
    "offset", "splat",  "seq",      "red",      "ways",    "init",   "when", "as",    "scan",
    "add",    "mul",    "min",      "max",      "and",     "or",     "band", "bor",   "bxor",
    "_",      "kernel", "loops",    "schedule", "program", "for",    "if",   "else",  "let",
    "alloc",  "call",   "check",    "while",    "assign",  "sync",   "in",   "out",   "temp",
    "param",  "flat",   "parallel", "unroll",   "vector",  "result", "attr", "fattr", "sattr",
    "loop",   "args",   "results",  "host",     "tail",    "arena",  "rule", "at",    "by",
    "with",   "module", "plan",     "entry",    "instr"};

Names *text_names(Ctx *ctx) {
    Names *n = names_new(ctx);
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        names_bind(n, str(ctx, WORDS[i]), NULL, 'k');
    return n;
}

/* ---- printing: pieces -------------------------------------------------------------------------- */

Print put_new(Text *t) {
    Print p = {.ctx = t->ctx, .t = t, .names = text_names(t->ctx)};
    p.declared = map_new(t->ctx);
    p.def_names = map_new(t->ctx);
    p.words = text_names(t->ctx);
    p.instrs = map_new(t->ctx);
    return p;
}

void put_line(Print *p, const char *fmt, ...) {
    va_list ap;
    text_f(p->t, "\n%*s", 2 * p->indent, "");
    va_start(ap, fmt);
    text_v(p->t, fmt, ap);
    va_end(ap);
}

void put_name(Print *p, const void *obj, Str wish) {
    text_s(p->t, names_of(p->names, obj, wish));
}

void put_str(Text *t, Str s) {
    const int piece = 120;
    int n = 0;
    text_c(t, '"');
    for (; s && *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (n++ == piece) {
            text_s(t, "\" \"");
            n = 1;
        }
        if (c == '"' || c == '\\')
            text_f(t, "\\%c", c);
        else if (c < ' ' || c >= 0x7f)
            text_f(t, "\\x%02x", c);
        else
            text_c(t, (char)c);
    }
    text_c(t, '"');
}

static bool is_identifier(const char *s) {
    const char *at = s;
    while ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (at > s && *at == '_') ||
           (at > s && *at >= '0' && *at <= '9'))
        at++;
    return at > s && !*at;
}

void put_origin(Text *t, const Node *origin, const Loc *loc) {
    if (!loc->name)
        return;
    text_s(t, " @");
    if (origin && is_identifier(origin->op))
        text_f(t, "%s ", origin->op);
    put_str(t, loc->name);
}

void put_expr(Print *p, const Expr *e) {
    expr_print(p->t, p->names, e);
}

static bool is_loose(Op op) {
    return op == OP_BOR || op == OP_BXOR || op == OP_BAND || op == OP_SHL || op == OP_SHR ||
           op == OP_EQ || op == OP_NE || op == OP_LT || op == OP_LE || op == OP_AND || op == OP_OR;
}

void put_sum(Print *p, const Expr *e) {
    bool loose = is_loose((Op)e->op);
    text_s(p->t, loose ? "(" : "");
    put_expr(p, e);
    text_s(p->t, loose ? ")" : "");
}

void put_exprs(Print *p, int n, const Expr *const *e) {
    for (int i = 0; i < n; i++) {
        text_s(p->t, i ? ", " : "");
        put_expr(p, e[i]);
    }
}

/* ---- printing: declarations -------------------------------------------------------------------- */

static void print_data(Print *p, const Const *c) {
    char kind = type_kind(c->type);
    if (kind == 'S' || kind == 'C' || (!c->splat && c->count > DATA_MAX))
        return;
    text_s(p->t, c->splat ? " = splat " : " = { ");
    for (int64_t i = 0; i < (c->splat ? 1 : c->count); i++) {
        text_s(p->t, i ? ", " : "");
        put_expr(p, const_at(p->ctx, c, i));
    }
    text_s(p->t, c->splat ? "" : " }");
}

static void print_where(Print *p, const Buf *b) {
    text_s(p->t, " where (");
    for (int i = 0; i < b->rank; i++) {
        text_s(p->t, i ? ", " : "");
        put_name(p, b->dimvar[i], b->dimvar[i]->name);
    }
    text_s(p->t, ") ");
    put_expr(p, b->where);
}

/* parts 1 (a 0, b 8): along dimension 1, a from 0, b from 8 */
static void print_parts(Print *p, const Buf *b) {
    for (int i = 0; i < b->parts.len; i++) {
        const Buf *part = b->parts.at[i];
        if (i == 0)
            text_f(p->t, " parts %d (", b->along);
        text_f(p->t, "%s%s ", i ? ", " : "", names_of(p->names, part, part->name));
        put_expr(p, part->start);
    }
    text_s(p->t, b->parts.len ? ")" : "");
}

void put_buf(Print *p, const Buf *b, Space usual) {
    const Expr *part[] = {b->size, b->fill, b->bound, b->offset};
    static const char *const word[] = {"size", "fill", "bound", "offset"};
    Str name = names_of(p->names, b, b->name);
    if (b->name && !map_get(p->def_names, b->name))
        map_put(p->def_names, b->name, (void *)(uintptr_t)name);
    text_f(p->t, "%s ", name);
    if (b->space != usual)
        text_f(p->t, "%s ", SPACES[b->space]);
    type_print(p->t, b->type);
    text_c(p->t, '[');
    put_exprs(p, b->rank, b->dim);
    text_c(p->t, ']');
    if (b->where)
        print_where(p, b);
    for (int i = 0; b->halo && i < b->rank; i++)
        text_f(p->t, "%s%lld..%lld%s", i ? ", " : " halo (", (long long)b->halo[i],
               (long long)b->halo[b->rank + i], i + 1 < b->rank ? "" : ")");
    for (int i = 0; i < 4; i++)
        if (part[i]) {
            text_f(p->t, " %s ", word[i]);
            put_expr(p, part[i]);
        }
    print_parts(p, b);
    if (b->data)
        print_data(p, b->data);
}

static void print_bound(Text *t, int64_t v) {
    if (v == INT64_MIN || v == INT64_MAX)
        text_c(t, '*');
    else
        text_f(t, "%lld", (long long)v);
}

static void declare_sym(Print *p, Sym *s) {
    static const char *const kinds[] = {NULL, "dim", "bind", "run", NULL};
    if (!kinds[s->kind] || map_get(p->declared, s))
        return;
    map_put(p->declared, s, s);
    if (s->value)
        declare_syms(p, s->value);
    put_line(p, "sym %s %s ", names_of(p->names, s, s->name), kinds[s->kind]);
    print_bound(p->t, s->min);
    text_s(p->t, "..");
    print_bound(p->t, s->max);
    if (s->mult > 1)
        text_f(p->t, " %%%lld", (long long)s->mult);
    if (s->value) {
        text_s(p->t, " = ");
        put_expr(p, s->value);
    }
}

/* Symbols of an expression, and of the shapes of the buffers it loads. */
static void declare_leaf(void *data, const Expr *e) {
    Print *p = data;
    if (e->op == OP_SYM)
        declare_sym(p, e->u.sym);
    if (e->op == OP_LOAD || e->op == OP_MLOAD)
        declare_buf(p, e->u.buf);
}

void declare_syms(Print *p, const Expr *e) {
    if (e)
        expr_walk(p->ctx, e, declare_leaf, p);
}

static void declare_buf_syms(Print *p, const Buf *b) {
    const Expr *part[] = {b->where, b->size, b->fill, b->bound, b->offset};
    for (int i = 0; i < b->rank; i++)
        declare_syms(p, b->dim[i]);
    for (int i = 0; i < 5; i++)
        declare_syms(p, part[i]);
    for (int i = 0; i < b->parts.len; i++)
        declare_buf(p, b->parts.at[i]);
}

void declare_buf(Print *p, Buf *b) {
    if (map_get(p->declared, b))
        return;
    map_put(p->declared, b, b);
    vec_push(p->ctx, &p->order, b);
    declare_buf_syms(p, b);
    put_line(p, "%s", "");
    put_buf(p, b, SPACE_INPUT);
}

void declare_for_def(Print *p, const Def *d) {
    if (!map_get(p->declared, d->buf)) {
        map_put(p->declared, d->buf, d->buf); /* what a Def introduces it may read itself */
        map_put(p->declared, d, d->buf);
        declare_buf_syms(p, d->buf);
    }
    for (int i = 0; i < d->naxis; i++)
        declare_syms(p, d->axis[i].var->extent);
    for (int i = 0; d->at && i < d->buf->rank; i++)
        declare_syms(p, d->at[i]);
    declare_syms(p, d->init);
    declare_syms(p, d->value);
    declare_syms(p, d->when);
}

/* ---- parsing ----------------------------------------------------------------------------------- */

void take_scope(Parse *p) {
    p->names = text_names(p->ctx);
    p->order.len = 0;
    p->defs.len = 0;
    p->syms.len = 0;
}

void take_init(Parse *p, Ctx *ctx, const char *file, const char *text) {
    memset(p, 0, sizeof *p);
    p->ctx = ctx;
    lex_init(&p->lex, ctx, file, text);
    p->origins = map_new(ctx);
    take_scope(p);
}

Str take_word(Parse *p, const char *what) {
    if (p->lex.kind != 'n') {
        lex_error(&p->lex, "%s expected", what);
        return NULL;
    }
    Str s = str(p->ctx, p->lex.tok);
    lex_next(&p->lex);
    return s;
}

Str take_str(Parse *p) {
    Text t = text_new(p->ctx);
    if (p->lex.kind != 's') {
        lex_error(&p->lex, "a string expected");
        return NULL;
    }
    for (; p->lex.kind == 's'; lex_next(&p->lex))
        text_s(&t, p->lex.tok);
    return str(p->ctx, t.at ? t.at : "");
}

const Node *take_origin(Parse *p, Loc *loc) {
    loc->node = -1;
    loc->line = p->lex.line;
    loc->file = p->lex.file;
    if (!lex_take(&p->lex, "@"))
        return NULL;
    Str op = p->lex.kind == 'n' ? take_word(p, "an op") : str(p->ctx, "");
    loc->name = take_str(p);
    if (!loc->name)
        return NULL;
    Node *n = map_get(p->origins, loc->name);
    if (!n) {
        n = ctx_new(p->ctx, Node);
        n->name = loc->name;
        n->domain = n->overload = str(p->ctx, "");
        n->op = op;
        n->loc = *loc;
        map_put(p->origins, loc->name, n);
    }
    return n;
}

const Expr *take_expr(Parse *p) {
    return expr_parse(&p->lex, p->names);
}

int take_exprs(Parse *p, const char *close, const Expr ***v) {
    VEC(const Expr *) list = {0};
    while (!lex_take(&p->lex, close)) {
        if (list.len && !lex_need(&p->lex, ","))
            return -1;
        const Expr *e = take_expr(p);
        if (!e)
            return -1;
        vec_push(p->ctx, &list, e);
    }
    *v = list.at;
    return list.len;
}

bool take_int(Parse *p, int64_t *v) {
    bool minus = lex_take(&p->lex, "-");
    if (p->lex.kind != 'i')
        return lex_error(&p->lex, "an integer expected");
    *v = minus ? (int64_t)(0 - (uint64_t)p->lex.i) : p->lex.i;
    lex_next(&p->lex);
    return true;
}

static bool parse_bound(Parse *p, int64_t none, int64_t *v) {
    *v = none;
    return lex_take(&p->lex, "*") || take_int(p, v);
}

bool take_sym(Parse *p) {
    int64_t min, max, mult = 1;
    Str name = take_word(p, "a symbol's name");
    SymKind kind = lex_is(&p->lex, "dim") ? SYM_DIM : lex_is(&p->lex, "run") ? SYM_RUN : SYM_BIND;
    if (!name || !take_word(p, "dim, bind or run") || !parse_bound(p, INT64_MIN, &min) ||
        !lex_need(&p->lex, "..") || !parse_bound(p, INT64_MAX, &max))
        return false;
    if (lex_take(&p->lex, "%") && (!take_int(p, &mult) || mult < 1))
        return lex_error(&p->lex, "a factor above 0 expected");
    Sym *s = sym_new(p->ctx, kind, name, min, max);
    s->mult = mult;
    if (lex_take(&p->lex, "=") && (s->value = take_expr(p)) == NULL)
        return false;
    names_bind(p->names, name, s, 's');
    vec_push(p->ctx, &p->syms, s);
    return true;
}

static int parse_space(const Parse *p) {
    for (int i = 0; i < (int)(sizeof SPACES / sizeof *SPACES); i++)
        if (lex_is(&p->lex, SPACES[i]))
            return i;
    return -1;
}

bool at_declaration(const Parse *p) {
    return p->lex.kind == 'n' && (parse_space(p) >= 0 || type_parse(p->lex.tok));
}

static bool parse_where(Parse *p, Buf *b) {
    if (!lex_need(&p->lex, "("))
        return false;
    b->dimvar = ctx_newn(p->ctx, Sym *, b->rank);
    for (int i = 0; i < b->rank; i++) {
        Str name = (!i || lex_need(&p->lex, ",")) ? take_word(p, "an index name") : NULL;
        if (!name)
            return false;
        b->dimvar[i] = sym_axis(p->ctx, name, b->dim[i]);
        names_bind(p->names, name, b->dimvar[i], 's');
    }
    return lex_need(&p->lex, ")") && (b->where = take_expr(p)) != NULL;
}

static bool parse_halo(Parse *p, Buf *b) {
    b->halo = ctx_newn(p->ctx, int64_t, 2 * b->rank);
    if (!b->where || !lex_need(&p->lex, "("))
        return lex_error(&p->lex, "a halo without an order of storage");
    for (int i = 0; i < b->rank; i++)
        if ((i && !lex_need(&p->lex, ",")) || !take_int(p, &b->halo[i]) ||
            !lex_need(&p->lex, "..") || !take_int(p, &b->halo[b->rank + i]))
            return false;
    return lex_need(&p->lex, ")");
}

static bool parse_parts(Parse *p, Buf *b) {
    int64_t along = -1;
    if (!take_int(p, &along) || along < 0 || along >= b->rank || !lex_need(&p->lex, "("))
        return lex_error(&p->lex, "parts along a dimension expected");
    b->along = (int)along;
    do {
        Buf *part = take_buf_name(p);
        if (!part || part->rank != b->rank || part->type != b->type || part->whole)
            return lex_error(&p->lex, "a buffer like '%s' expected", b->name);
        part->whole = b;
        if ((part->start = take_expr(p)) == NULL)
            return false;
        vec_push(p->ctx, &b->parts, part);
    } while (lex_take(&p->lex, ","));
    return lex_need(&p->lex, ")");
}

static bool parse_attrs(Parse *p, Buf *b) {
    const Expr **part[] = {&b->size, &b->fill, &b->bound, &b->offset};
    static const char *const word[] = {"size", "fill", "bound", "offset"};
    if (lex_take(&p->lex, "where") && !parse_where(p, b))
        return false;
    if (lex_take(&p->lex, "halo") && !parse_halo(p, b))
        return false;
    for (int i = 0; i < 4; i++)
        if (lex_take(&p->lex, word[i]) && (*part[i] = take_expr(p)) == NULL)
            return false;
    return !lex_take(&p->lex, "parts") || parse_parts(p, b);
}

static bool parse_data(Parse *p, Buf *b) {
    const Expr **e = NULL;
    int64_t count;
    Dtype t = type_dtype(b->type);
    if (!buf_static(b, &count))
        return lex_error(&p->lex, "data for a shape that is not constant");
    bool splat = lex_take(&p->lex, "splat");
    if (splat) {
        e = ctx_new(p->ctx, const Expr *);
        *e = take_expr(p);
        if (!*e)
            return false;
    } else if (!lex_need(&p->lex, "{") || take_exprs(p, "}", &e) != count) {
        return lex_error(&p->lex, "%lld elements expected", (long long)count);
    }
    int64_t n = splat ? 1 : count;
    void *data = ctx_allocn(p->ctx, (size_t)n, (size_t)type_bytes(t));
    for (int64_t i = 0; i < n; i++) {
        const Expr *c = e[i]->type == b->type ? e[i] : expr_cast(p->ctx, b->type, e[i]);
        if (!expr_is_const(c))
            return lex_error(&p->lex, "a constant expected");
        const_put(t, data, i, c);
    }
    b->data = splat ? const_splat(p->ctx, t, count, data) : const_new(p->ctx, t, count, data);
    return true;
}

/* Zeros, where a text leaves the data out: it still says what is done with it. */
static void blank_data(Parse *p, Buf *b) {
    int64_t count;
    Dtype t = type_dtype(b->type);
    if (!buf_static(b, &count))
        return;
    void *data = ctx_allocn(p->ctx, (size_t)count, (size_t)type_bytes(t));
    b->data = const_new(p->ctx, t, count, data);
    p->blank++;
}

Buf *take_buf(Parse *p, Str name, Space usual) {
    const Expr **dim = NULL;
    int space = parse_space(p);
    if (space >= 0)
        lex_next(&p->lex);
    Dtype t = p->lex.kind == 'n' ? type_from_text(p->lex.tok) : T_NONE;
    if (!t)
        return lex_error(&p->lex, "a type expected"), NULL;
    lex_next(&p->lex);
    int rank = lex_need(&p->lex, "[") ? take_exprs(p, "]", &dim) : -1;
    if (rank > RANK_MAX)
        return lex_error(&p->lex, "more than %d dimensions", RANK_MAX), NULL;
    if (rank < 0)
        return NULL;
    Buf *b = buf_new(p->ctx, name, t, space < 0 ? usual : (Space)space, rank, dim);
    names_bind(p->names, name, b, 'b');
    if (!parse_attrs(p, b) || (lex_take(&p->lex, "=") && !parse_data(p, b)))
        return NULL;
    if (b->space == SPACE_CONST && !b->data)
        blank_data(p, b);
    return b;
}

Buf *take_buf_name(Parse *p) {
    Str name = take_word(p, "a buffer's name");
    Buf *b = name ? names_find(p->names, name, 'b') : NULL;
    if (name && !b)
        lex_error(&p->lex, "no buffer is called '%s'", name);
    return b;
}
