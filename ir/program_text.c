/* ir/program_text.c — whole Programs as text; print(parse(print(x))) == print(x).
 *
 *   program := "program" string "{" {"in" string name} item… {"out" string name}
 *              ["args" string] ["results" string] "}"            the trees where they are not plain lists
 *   item    := sym | buffer | def | scan | "bind" name "=" expr | "check" expr int | call
 *            | "if" expr block ["else" block] | "loop" name "while" expr block;   block := "{" item… "}"
 *   call    := "call" name "(" [name|_],… ")" "->" "(" name,… ")" ["attr" "(" expr,… ")"]
 *              ["fattr" "(" expr,… ")"] ["sattr" "(" string,… ")"] ["result" "(" name,… ")"] ["@" string] */
#include "ir/text_in.h"

#include <string.h>

/* ---- printing ---------------------------------------------------------------------------------- */

void put_bufs(Print *p, Buf *const *b, int n) {
    text_c(p->t, '(');
    for (int i = 0; i < n; i++) {
        text_s(p->t, i ? ", " : "");
        if (b[i])
            put_name(p, b[i], b[i]->name);
        else
            text_c(p->t, '_');
    }
    text_c(p->t, ')');
}

void declare_call(Print *p, const Call *c) {
    for (int i = 0; i < c->in.len; i++)
        if (c->in.at[i])
            declare_buf(p, c->in.at[i]);
    for (int i = 0; i < c->result.len; i++)
        declare_syms(p, expr_sym(p->ctx, c->result.at[i]));
    for (int i = 0; i < c->out.len; i++)
        declare_buf(p, c->out.at[i]);
    for (int i = 0; i < c->attr.len; i++)
        declare_syms(p, c->attr.at[i]);
}

void put_call(Print *p, const Call *c) {
    text_f(p->t, "call %s", c->fn);
    put_bufs(p, c->in.at, c->in.len);
    text_s(p->t, " -> ");
    put_bufs(p, c->out.at, c->out.len);
    if (c->attr.len) {
        text_s(p->t, " attr (");
        put_exprs(p, c->attr.len, c->attr.at);
        text_c(p->t, ')');
    }
    for (int i = 0; i < c->fattr.len; i++) {
        text_s(p->t, i ? ", " : " fattr (");
        put_expr(p, expr_flt(p->ctx, T_F64, c->fattr.at[i]));
    }
    text_s(p->t, c->fattr.len ? ")" : "");
    for (int i = 0; i < c->sattr.len; i++) {
        text_s(p->t, i ? ", " : " sattr (");
        put_str(p->t, c->sattr.at[i]);
    }
    text_s(p->t, c->sattr.len ? ")" : "");
    for (int i = 0; i < c->result.len; i++) {
        text_s(p->t, i ? ", " : " result (");
        put_name(p, c->result.at[i], c->result.at[i]->name);
    }
    text_s(p->t, c->result.len ? ")" : "");
    put_origin(p->t, c->origin, &c->loc);
}

static void print_block(Print *p, const Block *b);

static void print_body(Print *p, const Block *b) {
    text_s(p->t, " {");
    p->indent++;
    print_block(p, b);
    p->indent--;
    put_line(p, "}");
}

void put_item(Print *p, const Item *it) {
    if (it->sym)
        declare_syms(p, expr_sym(p->ctx, it->sym));
    declare_syms(p, it->e);
    if (it->call)
        declare_call(p, it->call);
    put_line(p, "%s", "");
    switch ((ItemKind)it->kind) {
    case ITEM_BIND:
        text_f(p->t, "bind %s = ", names_of(p->names, it->sym, it->sym->name));
        put_expr(p, it->e);
        break;
    case ITEM_CHECK:
        text_s(p->t, "check ");
        put_expr(p, it->e);
        text_f(p->t, " %d", it->code);
        break;
    case ITEM_CALL:
        put_call(p, it->call);
        break;
    case ITEM_IF:
        text_s(p->t, "if ");
        put_expr(p, it->e);
        break;
    default:
        text_f(p->t, "loop %s while ", names_of(p->names, it->sym, it->sym->name));
        put_expr(p, it->e);
    }
}

static void print_item(Print *p, const Item *it) {
    put_item(p, it);
    if (it->kind == ITEM_IF || it->kind == ITEM_LOOP)
        print_body(p, it->body[0]);
    if (it->kind == ITEM_IF && it->body[1] && it->body[1]->items.len) {
        text_s(p->t, " else");
        print_body(p, it->body[1]);
    }
}

static void print_block(Print *p, const Block *b) {
    VEC(Def *) defs = {0};
    for (int i = 0; b && i < b->items.len; i++) {
        const Item *it = b->items.at[i];
        if (it->kind == ITEM_DEF) {
            vec_push(p->ctx, &defs, it->def);
        } else {
            put_defs(p, defs.at, defs.len);
            defs.len = 0;
            print_item(p, it);
        }
    }
    put_defs(p, defs.at, defs.len);
}

void put_port(Print *p, const char *word, const Port *port) {
    put_line(p, "%s ", word);
    put_str(p->t, port->name);
    text_f(p->t, " %s", names_of(p->names, port->buf, port->buf->name));
    if (port->state) {
        text_s(p->t, " state ");
        put_str(p->t, port->state);
    }
}

/* The tree of tensors alone, one a port, which goes without saying. */
static Str plain_tree(Ctx *ctx, int n, const Port *port) {
    Text t = text_new(ctx);
    for (int i = 0; i < n; i++)
        text_f(&t, "%s{\"name\": \"%s\", \"tensor\": %d}", i ? ", " : "[", port[i].name, i);
    text_s(&t, n ? "]" : "[]");
    return str(ctx, t.at);
}

void put_trees(Print *p, const Program *prog) {
    const char *const word[] = {"args", "results"};
    Str tree[] = {prog->args, prog->results};
    Str plain[] = {plain_tree(p->ctx, prog->inputs.len, prog->inputs.at),
                   plain_tree(p->ctx, prog->outputs.len, prog->outputs.at)};
    for (int i = 0; i < 2; i++)
        if (tree[i] && tree[i] != plain[i]) {
            put_line(p, "%s ", word[i]);
            put_str(p->t, tree[i]);
        }
}

void program_print(Text *t, const Program *prog) {
    Print p = put_new(t);
    text_s(t, "program ");
    put_str(t, prog->name);
    text_s(t, " {");
    p.indent = 1;
    for (int i = 0; i < prog->dims.len; i++)
        declare_syms(&p, expr_sym(p.ctx, prog->dims.at[i]));
    for (int i = 0; i < prog->inputs.len; i++)
        declare_buf(&p, prog->inputs.at[i].buf);
    for (int i = 0; i < prog->consts.len; i++)
        declare_buf(&p, prog->consts.at[i]);
    for (int i = 0; i < prog->inputs.len; i++)
        put_port(&p, "in", &prog->inputs.at[i]);
    print_block(&p, prog->main);
    for (int i = 0; i < prog->outputs.len; i++)
        declare_buf(&p, prog->outputs.at[i].buf);
    for (int i = 0; i < prog->outputs.len; i++)
        put_port(&p, "out", &prog->outputs.at[i]);
    put_trees(&p, prog);
    text_s(t, "\n}\n");
}

/* ---- parsing ----------------------------------------------------------------------------------- */

bool take_bufs(Parse *p, BufList *v) {
    if (!lex_need(&p->lex, "("))
        return false;
    for (int n = 0; !lex_take(&p->lex, ")"); n++) {
        if (n && !lex_need(&p->lex, ","))
            return false;
        Buf *b = lex_take(&p->lex, "_") ? NULL : take_buf_name(p);
        if (p->lex.failed)
            return false;
        vec_push(p->ctx, v, b);
    }
    return true;
}

Sym *take_sym_name(Parse *p) {
    Str name = take_word(p, "a symbol");
    Sym *s = name ? names_find(p->names, name, 's') : NULL;
    if (name && !s)
        lex_error(&p->lex, "no symbol is called '%s'", name);
    return s;
}

static bool parse_call_lists(Parse *p, Call *c) {
    const Expr **e = NULL;
    Sym *s;
    Str text;
    int n;
    if (lex_take(&p->lex, "attr")) {
        if (!lex_need(&p->lex, "(") || (n = take_exprs(p, ")", &e)) < 0)
            return false;
        for (int i = 0; i < n; i++)
            vec_push(p->ctx, &c->attr, e[i]);
    }
    if (lex_take(&p->lex, "fattr")) {
        if (!lex_need(&p->lex, "(") || (n = take_exprs(p, ")", &e)) < 0)
            return false;
        for (int i = 0; i < n; i++) {
            if (e[i]->op != OP_FLT)
                return lex_error(&p->lex, "a float constant expected");
            vec_push(p->ctx, &c->fattr, e[i]->u.f);
        }
    }
    bool more = lex_take(&p->lex, "sattr");
    for (lex_take(&p->lex, "("); more; more = lex_take(&p->lex, ",")) {
        if ((text = take_str(p)) == NULL)
            return false;
        vec_push(p->ctx, &c->sattr, text);
    }
    if (c->sattr.len && !lex_need(&p->lex, ")"))
        return false;
    if (!lex_take(&p->lex, "result"))
        return true;
    if (!lex_need(&p->lex, "("))
        return false;
    do {
        if ((s = take_sym_name(p)) == NULL)
            return false;
        vec_push(p->ctx, &c->result, s);
    } while (lex_take(&p->lex, ","));
    return lex_need(&p->lex, ")");
}

Call *take_call(Parse *p) {
    Call *c = ctx_new(p->ctx, Call);
    BufList in = {0}, out = {0};
    c->fn = take_word(p, "a function's name");
    if (!c->fn || !take_bufs(p, &in) || !lex_need(&p->lex, "->") || !take_bufs(p, &out) ||
        !parse_call_lists(p, c))
        return NULL;
    for (int i = 0; i < in.len; i++)
        vec_push(p->ctx, &c->in, in.at[i]);
    for (int i = 0; i < out.len; i++) {
        if (!out.at[i])
            return lex_error(&p->lex, "a result without a buffer"), NULL;
        vec_push(p->ctx, &c->out, out.at[i]);
        out.at[i]->ndef++;
    }
    c->origin = take_origin(p, &c->loc);
    return c;
}

static bool parse_block(Parse *p, Block **b);

static bool parse_condition(Parse *p, Item *it) {
    it->e = take_expr(p);
    return it->e && (it->e->type == T_BOOL || lex_error(&p->lex, "the condition is no bool"));
}

bool take_item(Parse *p, Block *b, Item **item) {
    Ctx *ctx = p->ctx;
    int64_t code;
    Item *it;
    *item = NULL;
    if (lex_take(&p->lex, "bind")) {
        it = item_new(ctx, b, ITEM_BIND);
        return (it->sym = take_sym_name(p)) && lex_need(&p->lex, "=") && (it->e = take_expr(p));
    }
    if (lex_take(&p->lex, "check")) {
        it = item_new(ctx, b, ITEM_CHECK);
        if (!parse_condition(p, it) || !take_int(p, &code))
            return false;
        it->code = (uint8_t)code;
        return true;
    }
    if (lex_take(&p->lex, "call"))
        return (item_new(ctx, b, ITEM_CALL)->call = take_call(p)) != NULL;
    if (lex_take(&p->lex, "if")) {
        *item = it = item_new(ctx, b, ITEM_IF);
        return parse_condition(p, it);
    }
    if (lex_take(&p->lex, "loop")) {
        *item = it = item_new(ctx, b, ITEM_LOOP);
        return (it->sym = take_sym_name(p)) && lex_need(&p->lex, "while") && parse_condition(p, it);
    }
    int first = p->defs.len;
    if (!take_def_line(p))
        return false;
    for (int i = first; i < p->defs.len; i++)
        item_new(ctx, b, ITEM_DEF)->def = p->defs.at[i];
    return true;
}

static bool parse_item(Parse *p, Block *b) {
    Item *it;
    if (!take_item(p, b, &it))
        return false;
    return !it ||
           (parse_block(p, &it->body[0]) &&
            (it->kind != ITEM_IF || !lex_take(&p->lex, "else") || parse_block(p, &it->body[1])));
}

static bool parse_block(Parse *p, Block **b) {
    *b = ctx_new(p->ctx, Block);
    if (!lex_need(&p->lex, "{"))
        return false;
    while (!lex_take(&p->lex, "}"))
        if (!parse_item(p, *b))
            return false;
    return true;
}

static bool parse_port(Parse *p, Port *port) {
    port->name = take_str(p);
    port->state = NULL;
    if (!port->name || (port->buf = take_buf_name(p)) == NULL)
        return false;
    return !lex_take(&p->lex, "state") || (port->state = take_str(p)) != NULL;
}

bool at_port(const Parse *p) {
    return lex_is(&p->lex, "in") || lex_is(&p->lex, "out") || lex_is(&p->lex, "args") ||
           lex_is(&p->lex, "results");
}

bool take_port(Parse *p, Program *prog) {
    Port port;
    if (lex_take(&p->lex, "in")) {
        if (!parse_port(p, &port))
            return false;
        vec_push(p->ctx, &prog->inputs, port);
        return true;
    }
    if (lex_take(&p->lex, "out")) {
        if (!parse_port(p, &port))
            return false;
        vec_push(p->ctx, &prog->outputs, port);
        return true;
    }
    if (lex_take(&p->lex, "args"))
        return (prog->args = take_str(p)) != NULL;
    return lex_need(&p->lex, "results") && (prog->results = take_str(p)) != NULL;
}

static bool is_input(const Program *prog, const Buf *b) {
    for (int i = 0; i < prog->inputs.len; i++)
        if (prog->inputs.at[i].buf == b)
            return true;
    return false;
}

/* Does it only stand for what a function is given? */
static bool is_formal(const Parse *p, const Buf *b) {
    for (int i = 0; p->file && i < p->file->kernels.len; i++) {
        const Kernel *k = p->file->kernels.at[i];
        for (int j = 0; k->func && j < k->func->params.len; j++)
            if (k->func->params.at[j] == b)
                return true;
    }
    return false;
}

bool take_tables(Parse *p, Program *prog) {
    prog->blank = p->blank;
    for (int i = 0; i < p->syms.len; i++)
        if (p->syms.at[i]->kind == SYM_DIM)
            vec_push(p->ctx, &prog->dims, p->syms.at[i]);
    for (int i = 0; i < p->order.len; i++)
        if (p->order.at[i]->space == SPACE_CONST)
            vec_push(p->ctx, &prog->consts, p->order.at[i]);
    for (int i = 0; i < p->order.len; i++)
        if (p->order.at[i]->space == SPACE_INPUT && !is_input(prog, p->order.at[i]) &&
            !is_formal(p, p->order.at[i]))
            return lex_error(&p->lex, "'%s' is an input, but no `in` line names it",
                             p->order.at[i]->name);
    return true;
}

Program *program_parse(Ctx *ctx, const char *file, const char *text) {
    Parse p;
    Program *prog = ctx_new(ctx, Program);
    take_init(&p, ctx, file, text);
    prog->main = ctx_new(ctx, Block);
    if (!lex_need(&p.lex, "program") || (prog->name = take_str(&p)) == NULL ||
        !lex_need(&p.lex, "{"))
        return NULL;
    while (!lex_take(&p.lex, "}"))
        if (!(at_port(&p) ? take_port(&p, prog) : parse_item(&p, prog->main)))
            return NULL;
    return take_tables(&p, prog) ? prog : NULL;
}
