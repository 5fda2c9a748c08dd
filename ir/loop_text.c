/* ir/loop_text.c — kernels, loops and modules as text; print(parse(print(x))) == print(x).
 *
 *   file    := {kernel | "schedule" name step… | loops | instr}             step: sched_text.c
 *   kernel  := "kernel" name "{" {sym | buffer | def | scan} [sets] ["rule" string] "}"
 *   sets    := "in" names "out" names "temp" names           when they are not what the equations suggest;
 *              in a module always, and "sym" names
 *   loops   := "loops" name ["flat"] "{" {sym | buffer} "param" names ["sym" "(" name,… ")"] stmt… "}"
 *   instr   := "instr" … as loops …;    an instruction of the target, before the kernels that call it
 *   stmt    := "for" ["seq"|"red"] name "<" extent ["parallel"|"unroll"|"vector"] ["@" [def "."] label] body
 *            | load "=" expr ["@" def]   (load as in expr_text.c: y[m ? i +: 8])  | "let" name "=" expr
 *            | "if" expr body ["else" body] | "while" expr body | "alloc" buffer body | "sync"
 *            | "prefetch" load
 *            | "call" name names ["sym" "(" expr,… ")"] [origin] | "host" call | "assign" name "=" expr
 *            | "check" expr int;       body := "{" stmt… "}";       names := "(" name,… ")" */
#include "ir/text_in.h"

#include <string.h>

Str text_word(Ctx *ctx, Str name) {
    return names_of(text_names(ctx), &name, name);
}

static const char *const RUNS[] = {"", " parallel", " unroll", " vector"};

/* ---- printing: statements ---------------------------------------------------------------------- */

static void print_stmts(Print *p, const Stmt *s);

static void print_body(Print *p, const Stmt *s) {
    text_s(p->t, " {");
    p->indent++;
    print_stmts(p, s);
    p->indent--;
    put_line(p, "}");
}

/* The Def's name where it is not the root's and the kernel's text has it. */
static Str def_name(const Print *p, const Def *d) {
    return d && p->root && d != p->root && d->name ? map_get(p->def_names, d->name) : NULL;
}

static void print_for(Print *p, const Stmt *s) {
    static const char *const kinds[] = {"", "red ", "seq "};
    Str var = names_of(p->names, s->var, s->var->name), def = def_name(p, s->def);
    text_f(p->t, "for %s%s < ", kinds[s->kind], var);
    put_sum(p, s->a);
    text_s(p->t, RUNS[s->run]);
    if (!s->label)
        text_s(p->t, " @_");
    else if (def || s->label != var)
        text_f(p->t, " @%s%s%s", def ? def : "", def ? "." : "", s->label);
    print_body(p, s->body);
}

static void print_store(Print *p, const Stmt *s) {
    Str def = def_name(p, s->def);
    put_expr(p, s->b ? expr_mload(p->ctx, s->buf, s->b, s->nindex, s->index)
                     : expr_load(p->ctx, s->buf, s->nindex, s->index));
    text_s(p->t, " = ");
    put_expr(p, s->a);
    if (def)
        text_f(p->t, " @%s", def);
}

static void print_kernel_call(Print *p, const Stmt *s) {
    const Func *f = s->func;
    text_f(p->t, "call %s", text_word(p->ctx, f->name));
    put_bufs(p, s->arg, f->params.len);
    if (f->syms.len) {
        text_s(p->t, " sym (");
        put_exprs(p, f->syms.len, s->symarg);
        text_c(p->t, ')');
    }
    put_origin(p->t, NULL, &s->loc);
}

static void print_head(Print *p, const char *word, const Expr *e) {
    text_f(p->t, "%s ", word);
    put_expr(p, e);
}

static void print_stmt(Print *p, const Stmt *s) {
    switch ((StmtOp)s->op) {
    case STMT_FOR:
        print_for(p, s);
        break;
    case STMT_STORE:
        print_store(p, s);
        break;
    case STMT_IF:
        print_head(p, "if", s->a);
        print_body(p, s->body);
        if (s->orelse) {
            text_s(p->t, " else");
            print_body(p, s->orelse);
        }
        break;
    case STMT_LET:
    case STMT_ASSIGN:
        text_f(p->t, "%s %s = ", s->op == STMT_LET ? "let" : "assign",
               names_of(p->names, s->var, s->var->name));
        put_expr(p, s->a);
        break;
    case STMT_ALLOC:
        text_s(p->t, "alloc ");
        put_buf(p, s->buf, SPACE_LOCAL);
        print_body(p, s->body);
        break;
    case STMT_CALL:
        print_kernel_call(p, s);
        break;
    case STMT_HOST:
        text_s(p->t, "host ");
        put_call(p, s->call);
        break;
    case STMT_CHECK:
        print_head(p, "check", s->a);
        text_f(p->t, " %lld", s->b ? (long long)s->b->u.i : 0LL);
        break;
    case STMT_WHILE:
        print_head(p, "while", s->a);
        print_body(p, s->body);
        break;
    case STMT_SYNC:
        text_s(p->t, "sync");
        break;
    case STMT_PREFETCH:
        print_head(p, "prefetch", s->a);
    }
}

static void print_stmts(Print *p, const Stmt *s) {
    for (; s; s = s->next) {
        put_line(p, "%s", "");
        print_stmt(p, s);
    }
}

/* ---- printing: sections ------------------------------------------------------------------------ */

static void note_alloc(void *data, Stmt *s) {
    if (s->op == STMT_ALLOC)
        map_put(((Print *)data)->declared, s->buf, s->buf);
}

static void declare_stmt(void *data, Stmt *s) {
    Print *p = data;
    declare_syms(p, s->a);
    declare_syms(p, s->b);
    for (int i = 0; i < s->nindex; i++)
        declare_syms(p, s->index[i]);
    if (s->op == STMT_STORE)
        declare_buf(p, s->buf);
    if (s->op == STMT_ASSIGN)
        declare_syms(p, expr_sym(p->ctx, s->var));
    if (s->op == STMT_ALLOC)
        for (int i = 0; i < s->buf->rank; i++)
            declare_syms(p, s->buf->dim[i]);
    if (s->op == STMT_HOST)
        declare_call(p, s->call);
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        declare_buf(p, s->arg[i]);
    for (int i = 0; s->op == STMT_CALL && i < s->func->syms.len; i++)
        declare_syms(p, s->symarg[i]);
}

/* Variables are numbered as they appear, so that sums are in the order in which reading them makes them. */
void put_func(Print *p, const char *word, const Func *f) {
    Names *section = p->names;
    Stmt *body = stmt_copy(p->ctx, f->body);
    text_f(p->t, "%s %s%s {", word, text_word(p->ctx, f->name), f->flat ? " flat" : "");
    p->indent++;
    for (int i = 0; i < f->syms.len; i++)
        declare_syms(p, expr_sym(p->ctx, f->syms.at[i]));
    for (int i = 0; i < f->params.len; i++)
        declare_buf(p, f->params.at[i]);
    stmt_walk(body, note_alloc, p);
    stmt_walk(body, declare_stmt, p);
    put_line(p, "param ");
    put_bufs(p, f->params.at, f->params.len);
    for (int i = 0; i < f->syms.len; i++)
        text_f(p->t, "%s%s", i ? ", " : " sym (",
               names_of(p->names, f->syms.at[i], f->syms.at[i]->name));
    text_s(p->t, f->syms.len ? ")" : "");
    p->names = names_inner(section);
    print_stmts(p, body);
    p->names = section;
    p->indent--;
    text_s(p->t, "\n}\n");
}

void func_print(Text *t, const Func *f) {
    Print p = put_new(t);
    put_func(&p, "loops", f);
}

/* What the equations suggest: inputs are declared by lines of their own, temps are read by others. */
typedef struct Sets {
    BufList in, out, temp;
} Sets;

static bool has_buf(const BufList *v, const Buf *b) {
    for (int i = 0; i < v->len; i++)
        if (v->at[i] == b)
            return true;
    return false;
}

static bool is_read(const Buf *b, Def *const *defs, int n) {
    for (int i = 0; i < n; i++) {
        const Def *d = defs[i];
        bool read = expr_uses_buf(d->value, b) || (d->init && expr_uses_buf(d->init, b)) ||
                    (d->when && expr_uses_buf(d->when, b));
        for (int j = 0; d->at && j < d->buf->rank; j++)
            read |= expr_uses_buf(d->at[j], b);
        if (read && d->buf != b)
            return true;
    }
    return false;
}

static Sets suggested(Ctx *ctx, Buf *const *order, int norder, Def *const *defs, int ndef) {
    Sets s = {{0}, {0}, {0}};
    for (int i = 0; i < norder; i++)
        vec_push(ctx, &s.in, order[i]);
    for (int i = 0; i < ndef; i++) {
        Buf *b = defs[i]->buf;
        BufList *to = !has_buf(&s.in, b) && is_read(b, defs, ndef) ? &s.temp : &s.out;
        if (!has_buf(to, b))
            vec_push(ctx, to, b);
    }
    return s;
}

static bool same_bufs(const BufList *a, Buf *const *b, int n) {
    return a->len == n && (n == 0 || memcmp(a->at, b, (size_t)n * sizeof *b) == 0);
}

static void print_sets(Print *p, const Kernel *k) {
    Sets s = suggested(p->ctx, p->order.at, p->order.len, k->defs.at, k->defs.len);
    if (!p->shared && same_bufs(&s.in, k->ins.at, k->ins.len) &&
        same_bufs(&s.out, k->outs.at, k->outs.len) && same_bufs(&s.temp, k->temps.at, k->temps.len))
        return;
    put_line(p, "in ");
    put_bufs(p, k->ins.at, k->ins.len);
    text_s(p->t, " out ");
    put_bufs(p, k->outs.at, k->outs.len);
    text_s(p->t, " temp ");
    put_bufs(p, k->temps.at, k->temps.len);
    for (int i = 0; p->shared && i < k->syms.len; i++) {
        text_s(p->t, i ? ", " : " sym (");
        put_name(p, k->syms.at[i], k->syms.at[i]->name);
    }
    text_s(p->t, p->shared && k->syms.len ? ")" : "");
}

/* In a scope of its own, before the kernel that calls it. */
static void print_instr(void *data, Stmt *s) {
    Print *p = data;
    if (s->op != STMT_CALL || !s->func->instr || map_get(p->instrs, s->func))
        return;
    Print own = put_new(p->t);
    map_put(p->instrs, s->func, s->func);
    put_func(&own, "instr", s->func);
}

void put_kernel(Print *p, const Kernel *k) {
    if (k->func && k->func->kernel == k)
        stmt_walk(k->func->body, print_instr, p);
    text_f(p->t, "kernel %s {", text_word(p->ctx, k->name));
    p->indent = 1;
    p->root = k->defs.len ? k->defs.at[k->defs.len - 1] : NULL;
    p->def_names = map_new(p->ctx);
    p->words = text_names(p->ctx);
    for (int i = 0; i < k->syms.len; i++)
        declare_syms(p, expr_sym(p->ctx, k->syms.at[i]));
    for (int i = 0; i < k->ins.len; i++)
        declare_buf(p, k->ins.at[i]);
    put_defs(p, k->defs.at, k->defs.len);
    for (int i = 0; i < k->outs.len + k->temps.len; i++)
        declare_buf(p, i < k->outs.len ? k->outs.at[i] : k->temps.at[i - k->outs.len]);
    print_sets(p, k);
    if (k->rule) {
        put_line(p, "rule ");
        put_str(p->t, k->rule);
    }
    text_s(p->t, "\n}\n");
    p->indent = 0;
    if (k->sched && k->sched->steps.len) {
        text_f(p->t, "schedule %s ", text_word(p->ctx, k->name));
        put_sched(p, k->sched);
        text_c(p->t, '\n');
    }
    if (k->func && k->func->kernel == k)
        put_func(p, "loops", k->func);
    else if (k->func && p->shared)
        text_f(p->t, "loops %s as %s\n", text_word(p->ctx, k->name),
               text_word(p->ctx, k->func->name));
    p->root = NULL;
}

void kernel_print(Text *t, const Kernel *k) {
    Print p = put_new(t);
    put_kernel(&p, k);
}

/* ---- parsing: statements ----------------------------------------------------------------------- */

static bool parse_body(Parse *p, Stmt **body);

static Def *def_called(const Parse *p, Str name) {
    for (int i = 0; i < p->defs.len; i++)
        if (p->defs.at[i]->name == name)
            return p->defs.at[i];
    return NULL;
}

static Def *root_def(const Parse *p) {
    return p->kernel && p->defs.len ? p->defs.at[p->defs.len - 1] : NULL;
}

/* "@" [def "."] label after a loop. */
static bool parse_label(Parse *p, Stmt *s) {
    s->def = root_def(p);
    if (!lex_take(&p->lex, "@"))
        return true;
    Str name = take_word(p, "a loop's name");
    if (!name)
        return false;
    const char *dot = strrchr(name, '.');
    s->label = !strcmp(name, "_") ? NULL : dot ? str(p->ctx, dot + 1) : name;
    if (!dot)
        return true;
    s->def = def_called(p, str_n(p->ctx, name, (size_t)(dot - name)));
    return s->def || lex_error(&p->lex, "no Def for the loop '%s'", name);
}

static bool parse_for(Parse *p, Stmt *s) {
    s->kind = lex_take(&p->lex, "seq") ? AXIS_SEQ : lex_take(&p->lex, "red") ? AXIS_RED : AXIS_PAR;
    Str name = take_word(p, "a loop variable");
    if (!name || !lex_need(&p->lex, "<"))
        return false;
    s->a = expr_parse_sum(&p->lex, p->names);
    if (!s->a)
        return false;
    for (int i = RUN_PARALLEL; i <= RUN_VECTOR; i++)
        if (lex_take(&p->lex, RUNS[i] + 1))
            s->run = (uint8_t)i;
    s->var = sym_axis(p->ctx, name, s->a);
    s->label = name;
    if (!parse_label(p, s))
        return false;
    names_bind(p->names, name, s->var, 's');
    return parse_body(p, &s->body);
}

static bool parse_let(Parse *p, Stmt *s) {
    Str name = take_word(p, "a name");
    if (!name || !lex_need(&p->lex, "=") || (s->a = take_expr(p)) == NULL)
        return false;
    s->var = sym_new(p->ctx, SYM_LET, name, INT64_MIN, INT64_MAX);
    s->var->type = s->a->type;
    s->var->value = s->a;
    names_bind(p->names, name, s->var, 's');
    return true;
}

/* The left side reads like a load: y[i, j +: 8], y[mask ? i +: 8]. */
static bool parse_store(Parse *p, Stmt *s) {
    const Expr *to = take_expr(p);
    if (!to || (to->op != OP_LOAD && to->op != OP_MLOAD))
        return lex_error(&p->lex, "a statement expected");
    bool masked = to->op == OP_MLOAD;
    s->buf = to->u.buf;
    s->nindex = (int16_t)(to->nkid - masked);
    s->index = ctx_copy(p->ctx, to->kid + masked, (size_t)s->nindex * sizeof *s->index);
    s->b = masked ? to->kid[0] : NULL;
    if (!lex_need(&p->lex, "=") || (s->a = take_expr(p)) == NULL)
        return false;
    if (s->a->type != to->type)
        return lex_error(&p->lex, "the value's type is not that of '%s'", s->buf->name);
    s->def = root_def(p);
    if (!lex_take(&p->lex, "@"))
        return true;
    Str name = take_word(p, "a Def's name");
    s->def = name ? def_called(p, name) : NULL;
    return s->def || lex_error(&p->lex, "no such Def");
}

static Func *func_called(const Parse *p, Str name) {
    for (int i = 0; i < p->file->kernels.len; i++)
        if (p->file->kernels.at[i]->func && p->file->kernels.at[i]->func->name == name)
            return p->file->kernels.at[i]->func;
    for (int i = 0; i < p->file->funcs.len; i++)
        if (p->file->funcs.at[i]->name == name)
            return p->file->funcs.at[i];
    return NULL;
}

static bool parse_kernel_call(Parse *p, Stmt *s) {
    BufList arg = {0};
    Str name = take_word(p, "a kernel's name");
    int n = 0;
    s->func = name ? func_called(p, name) : NULL;
    if (!s->func)
        return lex_error(&p->lex, "no loops are called '%s'", name ? name : "");
    if (!take_bufs(p, &arg))
        return false;
    if (lex_take(&p->lex, "sym") &&
        (!lex_need(&p->lex, "(") || (n = take_exprs(p, ")", &s->symarg)) < 0))
        return false;
    s->arg = arg.at;
    if (arg.len != s->func->params.len || n != s->func->syms.len)
        return lex_error(&p->lex, "'%s' takes %d buffers and %d symbols", s->func->name,
                         s->func->params.len, s->func->syms.len);
    s->func->uses++;
    take_origin(p, &s->loc);
    return true;
}

static bool parse_alloc(Parse *p, Stmt *s) {
    Str name = take_word(p, "a buffer's name");
    s->buf = name ? take_buf(p, name, SPACE_LOCAL) : NULL;
    return s->buf && parse_body(p, &s->body);
}

static bool parse_check(Parse *p, Stmt *s) {
    int64_t code;
    if ((s->a = take_expr(p)) == NULL || !take_int(p, &code))
        return false;
    s->b = expr_i(p->ctx, code);
    return true;
}

static const struct {
    const char *word;
    StmtOp op;
} STMTS[] = {
    {"for", STMT_FOR},       {"if", STMT_IF},     {"let", STMT_LET},          {"alloc", STMT_ALLOC},
    {"call", STMT_CALL},     {"host", STMT_HOST}, {"check", STMT_CHECK},      {"while", STMT_WHILE},
    {"assign", STMT_ASSIGN}, {"sync", STMT_SYNC}, {"prefetch", STMT_PREFETCH}};

static bool parse_stmt(Parse *p, Stmt *s) {
    switch ((StmtOp)s->op) {
    case STMT_FOR:
        return parse_for(p, s);
    case STMT_IF:
        return (s->a = take_expr(p)) && parse_body(p, &s->body) &&
               (!lex_take(&p->lex, "else") || parse_body(p, &s->orelse));
    case STMT_WHILE:
        return (s->a = take_expr(p)) && parse_body(p, &s->body);
    case STMT_LET:
        return parse_let(p, s);
    case STMT_ALLOC:
        return parse_alloc(p, s);
    case STMT_CALL:
        return parse_kernel_call(p, s);
    case STMT_HOST:
        return lex_need(&p->lex, "call") && (s->call = take_call(p));
    case STMT_CHECK:
        return parse_check(p, s);
    case STMT_ASSIGN:
        return (s->var = take_sym_name(p)) && lex_need(&p->lex, "=") && (s->a = take_expr(p));
    case STMT_PREFETCH:
        return (s->a = take_expr(p)) &&
               (s->a->op == OP_LOAD || lex_error(&p->lex, "prefetch takes a load"));
    case STMT_SYNC:
        return true;
    default:
        return parse_store(p, s);
    }
}

/* Statements up to "}". */
static bool parse_list(Parse *p, Stmt **first) {
    Stmt **end = first;
    while (!lex_take(&p->lex, "}")) {
        StmtOp op = STMT_STORE;
        Loc loc = {.file = p->lex.file, .node = -1, .line = p->lex.line};
        for (size_t i = 0; i < sizeof STMTS / sizeof *STMTS; i++)
            if (lex_is(&p->lex, STMTS[i].word))
                op = STMTS[i].op;
        if (op != STMT_STORE)
            lex_next(&p->lex);
        *end = stmt_new(p->ctx, op);
        (*end)->loc = loc;
        if (!parse_stmt(p, *end))
            return false;
        end = &(*end)->next;
    }
    return true;
}

static bool parse_body(Parse *p, Stmt **body) {
    return lex_need(&p->lex, "{") && parse_list(p, body);
}

/* ---- parsing: sections ------------------------------------------------------------------------- */

typedef VEC(Sym *) SymList;

static bool parse_syms(Parse *p, SymList *v) {
    if (!lex_need(&p->lex, "("))
        return false;
    do {
        Sym *s = take_sym_name(p);
        if (!s)
            return false;
        vec_push(p->ctx, v, s);
    } while (lex_take(&p->lex, ","));
    return lex_need(&p->lex, ")");
}

static bool parse_params(Parse *p, Func *f) {
    BufList params = {0};
    if (!take_bufs(p, &params))
        return false;
    for (int i = 0; i < params.len; i++)
        vec_push(p->ctx, &f->params, params.at[i]);
    SymList syms = {0};
    if (lex_take(&p->lex, "sym") && !parse_syms(p, &syms))
        return false;
    for (int i = 0; i < syms.len; i++)
        vec_push(p->ctx, &f->syms, syms.at[i]);
    return true;
}

Func *take_func(Parse *p, Str name) {
    Func *f = ctx_new(p->ctx, Func);
    Names *section = p->names;
    f->name = name;
    f->flat = lex_take(&p->lex, "flat");
    if (!lex_need(&p->lex, "{"))
        return NULL;
    while (!lex_take(&p->lex, "param"))
        if (!take_def_line(p))
            return NULL;
    if (!parse_params(p, f))
        return NULL;
    p->names = names_inner(section);
    bool ok = parse_list(p, &f->body);
    p->names = section;
    return ok ? f : NULL;
}

bool take_loops(Parse *p) {
    Str name = take_word(p, "the name of the loops");
    bool own = name && p->kernel && p->kernel->name == name && !p->kernel->func;
    if (!name || (!own && p->shared))
        return lex_error(&p->lex, "loops follow their kernel");
    if (p->shared && lex_take(&p->lex, "as")) {
        Str other = take_word(p, "the name of other loops");
        p->kernel->func = other ? func_called(p, other) : NULL;
        return p->kernel->func ||
               lex_error(&p->lex, "no loops are called '%s'", other ? other : "");
    }
    if (!own) {
        take_scope(p);
        p->kernel = NULL;
    }
    Func *f = take_func(p, name);
    if (!f)
        return false;
    f->kernel = p->kernel;
    if (own)
        p->kernel->func = f;
    else
        vec_push(p->ctx, &p->file->funcs, f);
    return true;
}

/* In a scope of its own; the one around it goes on afterwards. */
bool take_instr(Parse *p) {
    Parse around = *p;
    Str name = take_word(p, "the name of an instruction");
    memset(&p->order, 0, sizeof p->order);
    memset(&p->defs, 0, sizeof p->defs);
    memset(&p->syms, 0, sizeof p->syms);
    p->names = text_names(p->ctx);
    p->kernel = NULL;
    Func *f = name ? take_func(p, name) : NULL;
    around.lex = p->lex;
    *p = around;
    if (!f)
        return false;
    f->instr = true;
    vec_push(p->ctx, &p->file->funcs, f);
    return true;
}

static bool parse_set(Parse *p, const char *word, BufList *v) {
    v->len = 0;
    return lex_need(&p->lex, word) && take_bufs(p, v);
}

/* What comments and names of kernels say about where it came from. */
static void note_origins(Parse *p, Kernel *k) {
    for (int i = 0; i < k->defs.len; i++) {
        const Node *n = k->defs.at[i]->origin;
        bool listed = n == NULL;
        for (int j = 0; j < k->nodes.len; j++)
            listed |= k->nodes.at[j] == n;
        if (!listed)
            vec_push(p->ctx, &k->nodes, n);
    }
}

/* Of the kernel's own, and of those that others read, too, the text says only that they are temp and out. */
static void note_inner(Parse *p, Kernel *k, const Sets *s) {
    const Def *root = k->defs.len ? k->defs.at[k->defs.len - 1] : NULL;
    for (int i = 0; i < k->defs.len; i++) {
        Buf *b = k->defs.at[i]->buf;
        if (root->scan && has_buf(&s->temp, b))
            vec_push(p->ctx, &k->inner, b);
        if (!root->scan && b != root->buf && b->space == SPACE_ARENA && b->ndef == 1 &&
            has_buf(&s->out, b))
            vec_push(p->ctx, &k->kept, b);
    }
}

static bool parse_kernel_syms(Parse *p, Kernel *k) {
    if (!p->shared) {
        for (int i = 0; i < p->syms.len; i++)
            vec_push(p->ctx, &k->syms, p->syms.at[i]);
        return true;
    }
    SymList syms = {0};
    if (lex_take(&p->lex, "sym") && !parse_syms(p, &syms))
        return false;
    for (int i = 0; i < syms.len; i++)
        vec_push(p->ctx, &k->syms, syms.at[i]);
    return true;
}

bool take_kernel(Parse *p) {
    Kernel *k = ctx_new(p->ctx, Kernel);
    if (!p->shared)
        take_scope(p);
    p->defs.len = 0;
    p->kernel = k;
    vec_push(p->ctx, &p->file->kernels, k);
    k->name = take_word(p, "the kernel's name");
    if (!k->name || !lex_need(&p->lex, "{"))
        return false;
    while (!lex_is(&p->lex, "}") && !lex_is(&p->lex, "in") && !lex_is(&p->lex, "rule"))
        if (!take_def_line(p))
            return false;
    Sets s = suggested(p->ctx, p->order.at, p->order.len, p->defs.at, p->defs.len);
    if (lex_is(&p->lex, "in") && (!parse_set(p, "in", &s.in) || !parse_set(p, "out", &s.out) ||
                                  !parse_set(p, "temp", &s.temp)))
        return false;
    if (!parse_kernel_syms(p, k))
        return false;
    if (lex_take(&p->lex, "rule") && (k->rule = take_str(p)) == NULL)
        return false;
    for (int i = 0; i < p->defs.len; i++)
        vec_push(p->ctx, &k->defs, p->defs.at[i]);
    note_origins(p, k);
    for (int i = 0; i < s.in.len; i++)
        vec_push(p->ctx, &k->ins, s.in.at[i]);
    for (int i = 0; i < s.out.len; i++)
        vec_push(p->ctx, &k->outs, s.out.at[i]);
    for (int i = 0; i < s.temp.len; i++)
        vec_push(p->ctx, &k->temps, s.temp.at[i]);
    note_inner(p, k, &s);
    return lex_need(&p->lex, "}");
}

bool take_schedule(Parse *p) {
    Str name = take_word(p, "the kernel's name");
    if (!name || !p->kernel || p->kernel->name != name)
        return lex_error(&p->lex, "a schedule follows its kernel");
    p->kernel->sched = ctx_new(p->ctx, Sched);
    return sched_parse(&p->lex, p->kernel->sched);
}

LccText *lcc_parse(Ctx *ctx, const char *file, const char *text) {
    Parse p;
    LccText *out = ctx_new(ctx, LccText);
    take_init(&p, ctx, file, text);
    p.file = out;
    while (p.lex.kind) {
        bool ok = lex_take(&p.lex, "kernel")     ? take_kernel(&p)
                  : lex_take(&p.lex, "schedule") ? take_schedule(&p)
                  : lex_take(&p.lex, "loops")    ? take_loops(&p)
                  : lex_take(&p.lex, "instr")    ? take_instr(&p)
                                                 : lex_error(&p.lex, "a section expected");
        if (!ok)
            return NULL;
    }
    return p.lex.failed ? NULL : out;
}
