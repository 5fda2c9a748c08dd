/* ir/tensor_text.c — equations as text; print(parse(print(x))) == print(x). Buffers: text_in.h.
 *
 *   def     := name [buffer…] "{" [axis,…] "}" ["[" expr,… "]"] "=" [over] expr after
 *            | name … "[" expr,… "]" combine "=" expr after        an update: buf[at] = combine(…)
 *   over    := combine ["[" ways "]"] "(" axis,… ["|" when] ")"    a reduction
 *   after   := ["init" expr] ["when" expr] ["as" string] ["@" string]
 *   axis    := ["seq"|"red"] name "<" extent ["ways" int] | name   (the last: the scan group's)
 *   scan    := "scan" name name "<" extent "{" def… "}";   combine := add mul min max and or band bor bxor
 *   t f32[N, 64] { m<N, n<64 } = add(k<256) x[m, k]*w[k, n] @"fc1" */
#include "ir/text_in.h"

#include <string.h>

static const struct {
    Op op;
    const char *word;
} COMBINES[] = {{OP_ADD, "add"},   {OP_MUL, "mul"}, {OP_MIN, "min"},
                {OP_MAX, "max"},   {OP_AND, "and"}, {OP_OR, "or"},
                {OP_BAND, "band"}, {OP_BOR, "bor"}, {OP_BXOR, "bxor"}};
#define NCOMBINE ((int)(sizeof COMBINES / sizeof *COMBINES))

static const char *combine_word(Op op) {
    for (int i = 0; i < NCOMBINE; i++)
        if (COMBINES[i].op == op)
            return COMBINES[i].word;
    return "=";
}

/* ---- printing ---------------------------------------------------------------------------------- */

static void name_leaf(void *data, const Expr *e) {
    Names *n = data;
    if (e->op == OP_SYM && e->u.sym->kind != SYM_AXIS)
        names_of(n, e->u.sym, e->u.sym->name);
    if (e->op == OP_LOAD || e->op == OP_MLOAD)
        names_of(n, e->u.buf, e->u.buf->name);
}

/* Names for one Def: those of the section for all but its axes. */
static Names *local_names(Print *p, const Def *d) {
    const Expr *part[] = {d->value, d->init, d->when};
    if (d->scan)
        names_of(p->names, d->scan->var, d->scan->var->name);
    for (int i = 0; i < d->naxis; i++)
        expr_walk(p->ctx, d->axis[i].var->extent, name_leaf, p->names);
    for (int i = 0; i < 3; i++)
        if (part[i])
            expr_walk(p->ctx, part[i], name_leaf, p->names);
    for (int i = 0; d->at && i < d->buf->rank; i++)
        expr_walk(p->ctx, d->at[i], name_leaf, p->names);
    return names_inner(p->names);
}

static bool is_over(const Def *d, int i) {
    return !d->at && d->axis[i].kind == AXIS_RED;
}

static void print_axis(Print *p, const Def *d, int i, bool with_ways) {
    static const char *const kinds[] = {"", "red ", "seq "};
    const Axis *a = &d->axis[i];
    if (d->scan && a->var == d->scan->var) {
        put_name(p, a->var, a->var->name);
        return;
    }
    text_s(p->t, is_over(d, i) ? "" : kinds[a->kind]);
    put_name(p, a->var, a->var->name);
    text_c(p->t, '<');
    put_sum(p, a->var->extent);
    if (with_ways && a->ways > 1)
        text_f(p->t, " ways %d", a->ways);
}

/* Axes inside of braces (over = false) or of the reduction. */
static void print_axes(Print *p, const Def *d, bool over, bool with_ways) {
    const char *comma = "";
    for (int i = 0; i < d->naxis; i++) {
        if (is_over(d, i) != over)
            continue;
        text_s(p->t, comma);
        print_axis(p, d, i, with_ways);
        comma = ", ";
    }
}

static void print_over(Print *p, const Def *d) {
    int last = d->naxis - 1, ways = d->axis[last].ways;
    for (int i = 0; i < last; i++)
        ways = d->axis[i].ways > 1 ? 0 : ways;
    text_s(p->t, combine_word((Op)d->combine));
    if (ways > 1)
        text_f(p->t, "[%d]", ways);
    text_c(p->t, '(');
    print_axes(p, d, true, ways <= 1);
    if (d->when) {
        text_s(p->t, " | ");
        put_expr(p, d->when);
    }
    text_s(p->t, ") ");
}

static void put_equation(Print *p, const Def *d) {
    Names *section = p->names;
    bool reduces = !d->at && def_is_reduction(d);
    if (map_get(p->declared, d))
        put_buf(p, d->buf, SPACE_ARENA);
    else
        put_name(p, d->buf, d->buf->name);
    p->names = local_names(p, d);
    bool axes = false;
    for (int i = 0; i < d->naxis; i++)
        axes |= !is_over(d, i);
    text_s(p->t, axes ? " { " : " {");
    print_axes(p, d, false, true);
    text_s(p->t, axes ? " }" : "}");
    if (d->at) {
        text_s(p->t, " [");
        put_exprs(p, d->buf->rank, d->at);
        text_c(p->t, ']');
    }
    text_f(p->t, " %s= ", d->at && d->combine != COMBINE_SET ? combine_word((Op)d->combine) : "");
    if (reduces)
        print_over(p, d);
    put_expr(p, d->value);
    if (d->init) {
        text_s(p->t, " init ");
        put_expr(p, d->init);
    }
    if (d->when && !reduces) {
        text_s(p->t, " when ");
        put_expr(p, d->when);
    }
    p->names = section;
}

void put_def_line(Print *p, const Def *d) {
    put_equation(p, d);
    bool own = d->name != d->buf->name;
    Str name = own ? names_of(p->words, d, d->name) : names_of(p->names, d->buf, d->buf->name);
    if (own)
        text_f(p->t, " as %s", name);
    if (d->name) /* steps name the Def before a buffer of the same name */
        map_put(p->def_names, d->name, (void *)(uintptr_t)name);
    put_origin(p->t, d->origin, &d->loc);
}

void put_defs(Print *p, Def *const *defs, int n) {
    for (int i = 0; i < n; i++) {
        const Def *d = defs[i];
        Group *g = d->scan;
        int end = i + 1;
        while (g && end < n && defs[end]->scan == g)
            end++;
        for (int j = i; j < end; j++)
            declare_for_def(p, defs[j]);
        if (g) {
            declare_syms(p, g->var->extent);
            put_line(p, "scan %s ", names_of(p->names, g, g->name));
            text_f(p->t, "%s<", names_of(p->names, g->var, g->var->name));
            put_sum(p, g->var->extent);
            text_s(p->t, " {");
            p->indent++;
        }
        for (int j = i; j < end; j++) {
            put_line(p, "%s", "");
            put_def_line(p, defs[j]);
        }
        if (g) {
            p->indent--;
            put_line(p, "}");
        }
        i = end - 1;
    }
}

void def_print(Text *t, Names *names, const Def *d) {
    Print p = put_new(t);
    p.names = names;
    map_put(p.declared, d, d->buf);
    put_def_line(&p, d);
}

Str def_str(Ctx *ctx, const Def *d) {
    if (expr_is_long(d->value))
        return str_f(ctx, "%s = %s", d->buf->name, expr_str(ctx, d->value));
    Text t = text_new(ctx);
    Print p = put_new(&t);
    map_put(p.declared, d, d->buf);
    put_equation(&p, d);
    return str(ctx, t.at);
}

/* ---- parsing ----------------------------------------------------------------------------------- */

static Op parse_combine(Parse *p) {
    for (int i = 0; i < NCOMBINE; i++)
        if (lex_take(&p->lex, COMBINES[i].word))
            return COMBINES[i].op;
    return COMBINE_SET;
}

static bool parse_ways(Parse *p, uint8_t *ways) {
    int64_t v;
    if (!take_int(p, &v))
        return false;
    if (v < 1 || v > 128 || (v & (v - 1)))
        return lex_error(&p->lex, "a power of two up to 128 expected");
    *ways = (uint8_t)v;
    return true;
}

static bool parse_axis(Parse *p, Def *d, bool over) {
    AxisKind kind = over ? AXIS_RED : AXIS_PAR;
    if (lex_take(&p->lex, "seq"))
        kind = AXIS_SEQ;
    else if (lex_take(&p->lex, "red"))
        kind = AXIS_RED;
    Str name = take_word(p, "an axis");
    if (!name)
        return false;
    bool shared = !lex_take(&p->lex, "<");
    if (shared && (!d->scan || names_find(p->names, name, 's') != d->scan->var))
        return lex_error(&p->lex, "axis '%s' has no extent", name);
    const Expr *extent = shared ? d->scan->var->extent : expr_parse_sum(&p->lex, p->names);
    if (!extent)
        return false;
    def_axis(p->ctx, d, name, shared ? AXIS_SEQ : kind, extent);
    Axis *a = &d->axis[d->naxis - 1];
    if (shared)
        a->var = d->scan->var;
    else
        names_bind(p->names, name, a->var, 's');
    return !lex_take(&p->lex, "ways") || parse_ways(p, &a->ways);
}

/* Is this a reduction, not a call of min or max? "max(k<…" and "max[4](…" are reductions. */
static bool at_over(const Parse *p) {
    Lex look = p->lex;
    bool word = false;
    for (int i = 0; i < NCOMBINE; i++)
        word |= lex_is(&look, COMBINES[i].word);
    if (!word)
        return false;
    lex_next(&look);
    if (lex_is(&look, "["))
        return true;
    if (!lex_take(&look, "(") || look.kind != 'n')
        return false;
    lex_next(&look);
    return lex_is(&look, "<");
}

static bool parse_over(Parse *p, Def *d) {
    uint8_t ways = 0;
    d->combine = (uint8_t)parse_combine(p);
    if (lex_take(&p->lex, "[") && (!parse_ways(p, &ways) || !lex_need(&p->lex, "]")))
        return false;
    if (!lex_need(&p->lex, "("))
        return false;
    do {
        if (!parse_axis(p, d, true))
            return false;
    } while (lex_take(&p->lex, ","));
    if (ways > 1)
        d->axis[d->naxis - 1].ways = ways;
    if (lex_take(&p->lex, "|") && (d->when = take_expr(p)) == NULL)
        return false;
    return lex_need(&p->lex, ")");
}

static bool parse_after(Parse *p, Def *d) {
    if (lex_take(&p->lex, "init") && (d->init = take_expr(p)) == NULL)
        return false;
    if (lex_take(&p->lex, "when") && (d->when = take_expr(p)) == NULL)
        return false;
    if (lex_take(&p->lex, "as") && (d->name = take_word(p, "a name")) == NULL)
        return false;
    d->origin = take_origin(p, &d->loc);
    return true;
}

static void check_rank(void *data, const Expr *e) {
    Parse *p = data;
    if (e->op == OP_LOAD && e->nkid != e->u.buf->rank)
        lex_error(&p->lex, "'%s' of rank %d has %d indices", e->u.buf->name, e->u.buf->rank,
                  e->nkid);
}

/* Types and ranks that evaluation and lowering rely on. */
static bool fits_buf(Parse *p, const Def *d) {
    Type t = d->buf->type;
    const Expr *part[] = {d->value, d->init, d->when};
    for (int i = 0; i < 3; i++)
        if (part[i])
            expr_walk(p->ctx, part[i], check_rank, p);
    for (int i = 0; d->at && i < d->buf->rank; i++)
        expr_walk(p->ctx, d->at[i], check_rank, p);
    if (p->lex.failed)
        return false;
    if (d->value->type != t || (d->init && d->init->type != t))
        return lex_error(&p->lex, "the value's type is not that of '%s'", d->buf->name);
    if (d->when && d->when->type != T_BOOL)
        return lex_error(&p->lex, "the condition is no bool");
    for (int i = 0; d->at && i < d->buf->rank; i++)
        if (d->at[i]->type != T_I64)
            return lex_error(&p->lex, "an index is not i64");
    if (!d->at && d->naxis < d->buf->rank)
        return lex_error(&p->lex, "'%s' needs %d axes", d->buf->name, d->buf->rank);
    return true;
}

static bool parse_def(Parse *p, Buf *b, Group *g) {
    const Expr **at = NULL;
    Def *d = def_update(p->ctx, b->name, b);
    d->at = NULL;
    d->scan = g;
    vec_push(p->ctx, &p->defs, d);
    if (g)
        vec_push(p->ctx, &g->defs, d);
    while (!lex_take(&p->lex, "}"))
        if ((d->naxis && !lex_need(&p->lex, ",")) || !parse_axis(p, d, false))
            return false;
    if (lex_take(&p->lex, "[")) {
        if (take_exprs(p, "]", &at) != b->rank)
            return lex_error(&p->lex, "'%s' needs %d indices", b->name, b->rank);
        d->at = at ? at : ctx_newn(p->ctx, const Expr *, 0);
        d->combine = (uint8_t)parse_combine(p);
    }
    if (!lex_need(&p->lex, "=") || (at_over(p) && !parse_over(p, d)))
        return false;
    d->value = take_expr(p);
    return d->value && parse_after(p, d) && fits_buf(p, d);
}

static bool parse_named(Parse *p, Group *g) {
    Str name = take_word(p, "a buffer or Def");
    if (!name)
        return false;
    bool typed = at_declaration(p);
    Buf *b = typed ? take_buf(p, name, SPACE_COUNT) : names_find(p->names, name, 'b');
    if (!b)
        return lex_error(&p->lex, "no buffer is called '%s'", name);
    bool equation = lex_take(&p->lex, "{");
    if (b->space == SPACE_COUNT)
        b->space = equation ? SPACE_ARENA : SPACE_INPUT;
    if (equation)
        return parse_def(p, b, g);
    if (!typed)
        return lex_error(&p->lex, "'{' expected");
    vec_push(p->ctx, &p->order, b);
    return true;
}

static bool parse_scan(Parse *p) {
    Group *g = ctx_new(p->ctx, Group);
    g->name = take_word(p, "the group's name");
    Str name = g->name ? take_word(p, "an axis") : NULL;
    if (!name || !lex_need(&p->lex, "<"))
        return false;
    const Expr *extent = expr_parse_sum(&p->lex, p->names);
    if (!extent || !lex_need(&p->lex, "{"))
        return false;
    g->var = sym_axis(p->ctx, name, extent);
    names_bind(p->names, name, g->var, 's');
    while (!lex_take(&p->lex, "}"))
        if (!parse_named(p, g))
            return false;
    return true;
}

bool take_def_line(Parse *p) {
    if (lex_take(&p->lex, "sym"))
        return take_sym(p);
    return lex_take(&p->lex, "scan") ? parse_scan(p) : parse_named(p, NULL);
}
