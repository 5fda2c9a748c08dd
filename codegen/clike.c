/* codegen/clike.c — statements, names and functions of the C-family printer.
 *
 * Precondition: a flat Func (loop_lower): serial loops, one index an access, no op the target can't spell.
 *
 *   for i < 4 { t[0] = x[i] ; y[i] = t[0] }   (t: reg)
 *   →  for (int64_t i = 0; i < 4; i++) { t_0 = x[i]; y[i] = t_0; }          one statement a line */
#include "codegen/clike.h"

#include <string.h>

/* ---- names --------------------------------------------------------------------------------------- */

Str print_declare(Printer *p, const void *obj, Str wish) {
    Str base = safe_ident(p->ctx, wish), name = base;
    uintptr_t n = (uintptr_t)map_get(p->numbers, base); /* below it all are taken */
    for (n = n ? n : 2; map_get(p->taken, name); n++)
        name = str_f(p->ctx, "%s_%d", base, (int)n);
    if (name != base)
        map_put(p->numbers, base, (void *)n);
    map_put(p->taken, name, (void *)(uintptr_t)name);
    vec_push(p->ctx, &p->scope, name);
    if (obj)
        map_put(p->names, obj, (void *)(uintptr_t)name);
    return name;
}

int print_open(Printer *p) {
    p->depth++;
    return p->scope.len;
}

void print_close(Printer *p, int mark) {
    if (p->scope.len > mark)
        p->numbers = map_new(p->ctx); /* low numbers are free again */
    while (p->scope.len > mark)
        map_put(p->taken, p->scope.at[--p->scope.len], NULL);
    p->depth--;
}

void print_start(Printer *p) {
    for (int i = 0; i < p->depth; i++)
        text_s(p->t, "    ");
}

void print_line(Printer *p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (*fmt)
        print_start(p);
    text_v(p->t, fmt, ap);
    text_c(p->t, '\n');
    va_end(ap);
}

enum { REG_MAX = 4096 }; /* elements of a buffer that may be variables */

/* ---- registers ------------------------------------------------------------------------------------- */

/* A buffer in registers, of one ALLOC, is a set of variables when every access has a constant place and any
 * two accesses are apart or one inside the other: the widest ones are the variables. Otherwise it is
 * an array on the stack. */
struct RegInfo {
    Str name;
    Dtype type;
    bool array, loaded;
    VEC(uint8_t) wide;   /* by element: lanes of the widest access that starts there */
    VEC(uint8_t) stored; /* by element: lanes of the narrowest vector stored there */
    VEC(int16_t) owner;  /* by element: where its variable starts; -1: in none */
};

/* First element and length of an access to b; false when not constant or not contiguous. */
static bool reg_place(const Expr *index, int64_t *first, int *lanes) {
    int64_t stride;
    *lanes = type_lanes(index->type);
    if (*lanes == 1)
        return expr_is_int(index, first);
    return index->op == OP_RAMP && expr_is_int(index->kid[0], first) &&
           expr_is_int(index->kid[1], &stride) && stride == 1;
}

typedef struct Scan {
    Printer *p;
    Map *seen; /* Expr → Expr: walked, since the innermost ALLOC began */
    Map *used; /* Sym, Buf → itself: read or written by something that is printed */
} Scan;

static void scan_access(Scan *s, const Buf *b, const Expr *index, bool load) {
    RegInfo *r = map_get(s->p->regs, b);
    int64_t first;
    int lanes;
    if (!r)
        return;
    r->loaded |= load;
    if (!reg_place(index, &first, &lanes) || first < 0 || first > REG_MAX) {
        r->array = true;
        return;
    }
    while (r->wide.len < first + lanes) {
        vec_push(s->p->ctx, &r->wide, 0);
        vec_push(s->p->ctx, &r->stored, 0);
    }
    if (!load && lanes > 1 && (!r->stored.at[first] || lanes < r->stored.at[first]))
        r->stored.at[first] = (uint8_t)lanes;
    if (lanes > r->wide.at[first])
        r->wide.at[first] = (uint8_t)lanes;
}

/* Which variable each element is in, from the accesses. */
static void reg_decide(Ctx *ctx, RegInfo *r) {
    int start = -1, end = 0;
    for (int i = 0; i < r->wide.len; i++) {
        int lanes = r->wide.at[i];
        if (i >= end) {
            start = lanes ? i : -1;
            end = lanes ? i + lanes : end;
        } else if (i + lanes > end) {
            r->array = true; /* starts inside another one and ends behind it */
        }
        if (r->stored.at[i] && (start != i || r->stored.at[i] != r->wide.at[i]))
            r->array = true; /* a vector stored into a part of a variable */
        vec_push(ctx, &r->owner, (int16_t)start);
        if (i + 1 >= end)
            start = -1;
    }
}

static void scan_expr(Scan *s, const Expr *e) {
    if (!e || map_get(s->seen, e))
        return;
    map_put(s->seen, e, (void *)(uintptr_t)e);
    if (e->op == OP_SYM)
        map_put(s->used, e->u.sym, e->u.sym);
    if (e->op == OP_LOAD || e->op == OP_MLOAD) {
        if (e->u.buf->space == SPACE_REG && e->nkid)
            scan_access(s, e->u.buf, e->kid[e->nkid - 1], true);
        map_put(s->used, e->u.buf, e->u.buf);
    }
    for (int i = 0; i < e->nkid; i++)
        scan_expr(s, e->kid[i]);
}

static void scan_stmts(Scan *s, const Stmt *list);

/* The ALLOC's accesses are those in its body; expressions shared with other bodies are walked again. */
static void scan_alloc(Scan *s, const Stmt *st) {
    Ctx *ctx = s->p->ctx;
    RegInfo *r = ctx_new(ctx, RegInfo), *outer = map_get(s->p->regs, st->buf);
    Map *seen = s->seen;
    r->type = type_dtype(st->buf->type);
    map_put(s->p->regs, st->buf, r);
    s->seen = map_new(ctx);
    scan_stmts(s, st->body);
    reg_decide(ctx, r);
    map_put(s->p->allocs, st, r);
    map_put(s->p->regs, st->buf, outer);
    s->seen = seen;
}

bool call_computes(const Call *c, const Expr *e) {
    for (int i = 0; i < c->result.len; i++)
        if (expr_uses_sym(e, c->result.at[i]))
            return true;
    return false;
}

/* A tensor handed to a stub function is printed with its extents, but for those the call computes. */
static void scan_arg(Scan *s, const Call *c, const Buf *b, bool output) {
    scan_expr(s, b->offset);
    if (output && b->space != SPACE_OUTPUT)
        scan_expr(s, b->bound);
    for (int i = 0; i < b->rank; i++)
        if (!output || !call_computes(c, b->dim[i]))
            scan_expr(s, b->dim[i]);
}

/* A symbol set once that nothing reads and that has no range to keep: its assignment is not printed. */
static bool is_idle(const Scan *s, const Stmt *st) {
    const Sym *v = st->var;
    return st->op == STMT_ASSIGN && v->kind == SYM_BIND && !map_get(s->used, v) &&
           v->min == INT64_MIN && v->max == INT64_MAX && v->mult <= 1;
}

static void scan_stmt(Scan *s, const Stmt *st) {
    if (is_idle(s, st))
        return;
    if (st->op == STMT_ALLOC && st->buf->space == SPACE_REG) {
        scan_alloc(s, st);
        return;
    }
    scan_stmts(s, st->body);
    scan_stmts(s, st->orelse);
    if (st->op == STMT_LET && !map_get(s->used, st->var))
        return; /* nothing reads it, so it is not printed */
    scan_expr(s, st->a);
    if (st->op != STMT_CHECK)
        scan_expr(s, st->b);
    for (int i = 0; i < st->nindex; i++)
        scan_expr(s, st->index[i]);
    if (st->op == STMT_STORE) {
        map_put(s->used, st->buf, st->buf);
        if (st->buf->space == SPACE_REG && st->nindex)
            scan_access(s, st->buf, st->index[st->nindex - 1], false);
    }
    for (int i = 0; st->op == STMT_CALL && i < st->func->syms.len; i++)
        scan_expr(s, st->symarg[i]);
    for (int i = 0; st->op == STMT_CALL && i < st->func->params.len; i++) {
        if (st->func->instr)
            map_put(s->used, st->arg[i], st->arg[i]);
        scan_expr(s, st->arg[i]->offset);
    }
    for (int i = 0; st->op == STMT_HOST && i < st->call->in.len + st->call->out.len; i++) {
        int n = st->call->in.len;
        const Buf *b = i < n ? st->call->in.at[i] : st->call->out.at[i - n];
        if (b)
            scan_arg(s, st->call, b, i >= n);
    }
    for (int i = 0; st->op == STMT_HOST && i < st->call->attr.len; i++)
        scan_expr(s, st->call->attr.at[i]);
}

/* From the last to the first: what reads a LET comes behind it. */
static void scan_stmts(Scan *s, const Stmt *list) {
    VEC(const Stmt *) all = {0};
    for (; list; list = list->next)
        vec_push(s->p->ctx, &all, list);
    for (int i = all.len; i-- > 0;)
        scan_stmt(s, all.at[i]);
}

Map *print_uses(Printer *p, const Stmt *body) {
    Scan s = {.p = p, .seen = map_new(p->ctx), .used = map_new(p->ctx)};
    scan_stmts(&s, body);
    return s.used;
}

bool reg_is_array(const Printer *p, const Buf *b) {
    const RegInfo *r = map_get(p->regs, b);
    return r && r->array;
}

static Str reg_variable(Printer *p, const RegInfo *r, int first) {
    return str_f(p->ctx, "%s_%d", r->name, first);
}

static void print_reg(Printer *p, const RegInfo *r, const Expr *index) {
    int64_t first;
    int lanes;
    reg_place(index, &first, &lanes);
    int start = r->owner.at[first];
    bool part = lanes > 1 && lanes < r->wide.at[start];
    if (part)
        text_f(p->t, "%s(", vector_part(p, r->type, r->wide.at[start], lanes));
    text_s(p->t, reg_variable(p, r, start));
    if (part)
        text_f(p->t, ", %d)", (int)first - start);
    else if (lanes < r->wide.at[start])
        text_f(p->t, "[%d]", (int)first - start);
}

/* ---- access ---------------------------------------------------------------------------------------- */

/* Offset of a full index in elements. */
static const Expr *flat_index(Printer *p, const Buf *b, int n, const Expr *const *index) {
    if (n == 0)
        return expr_i(p->ctx, 0);
    if (n == 1)
        return index[0];
    if (b->where)
        return expr_subst(p->ctx, b->where, n, b->dimvar, index);
    const Expr *flat = index[0];
    for (int i = 1; i < n; i++)
        flat = expr_add(p->ctx, expr_mul(p->ctx, flat, b->dim[i]), index[i]);
    return flat;
}

void print_access(Printer *p, const Buf *b, int n, const Expr *const *index, int prec) {
    (void)prec;
    Str name = map_get(p->names, b);
    const Expr *flat = flat_index(p, b, n, index);
    const RegInfo *r = map_get(p->regs, b);
    if (r && !r->array) {
        print_reg(p, r, flat);
        return;
    }
    if (name)
        text_s(p->t, name);
    else
        p->outside(p, b, P_POST);
    if (b->space == SPACE_SCALAR)
        return;
    text_c(p->t, '[');
    print_expr(p, flat, P_ASSIGN);
    text_c(p->t, ']');
}

/* ---- statements ------------------------------------------------------------------------------------- */

static const char *ctype_of(Printer *p, Type t) {
    return type_lanes(t) > 1 ? ctype_vector(p, t) : ctype_value(type_dtype(t));
}

static void print_block(Printer *p, const Stmt *body) {
    int mark = print_open(p);
    print_stmts(p, body);
    print_close(p, mark);
}

/* The innermost loop of a register tile: straight-line code that updates named vectors. */
static bool updates_vectors(const Printer *p, const Stmt *s) {
    bool found = false;
    for (; s; s = s->next) {
        if (s->op != STMT_STORE && s->op != STMT_LET && s->op != STMT_SYNC)
            return false;
        const RegInfo *r = s->op == STMT_STORE ? map_get(p->regs, s->buf) : NULL;
        found |= r && !r->array && type_lanes(s->a->type) > 1 && expr_uses_buf(s->a, s->buf);
    }
    return found;
}

static void print_for(Printer *p, const Stmt *s) {
    Str end = NULL;
    int mark = p->scope.len;
    if (expr_uses_buf(s->a, NULL)) { /* the body might change what the extent reads */
        end = print_declare(p, NULL, str_f(p->ctx, "%s_end", s->var->name ? s->var->name : "i"));
        print_start(p);
        text_f(p->t, "const int64_t %s = ", end);
        print_expr(p, s->a, P_ASSIGN);
        text_s(p->t, ";\n");
    }
    Str var = print_declare(p, s->var, s->var->name ? s->var->name : "i");
    print_start(p);
    text_f(p->t, "for (int64_t %s = 0; %s < ", var, var);
    if (end)
        text_s(p->t, end);
    else
        print_expr(p, s->a, P_SHIFT);
    text_f(p->t, "; %s++) {\n", var);
    print_block(p, s->body);
    if (updates_vectors(p, s->body)) {
        p->depth++;
        print_line(p, "%s();", vector_fence(p));
        p->depth--;
    }
    print_line(p, "}");
    if (!end) {
        p->depth++;
        print_close(p, mark);
    }
}

static void print_if(Printer *p, const Stmt *s) {
    if (!s->body && !s->orelse)
        return;
    print_start(p);
    text_s(p->t, "if (");
    if (s->body) {
        print_expr(p, s->a, P_ASSIGN);
    } else {
        text_c(p->t, '!');
        print_expr(p, s->a, P_UNARY);
    }
    text_s(p->t, ") {\n");
    print_block(p, s->body ? s->body : s->orelse);
    if (s->body && s->orelse) {
        print_line(p, "} else {");
        print_block(p, s->orelse);
    }
    print_line(p, "}");
}

static void print_store(Printer *p, const Stmt *s) {
    const RegInfo *r = map_get(p->regs, s->buf);
    bool vector = type_lanes(s->a->type) > 1;
    if (vector && !(r && !r->array && !s->b)) {
        print_vector_store(p, s);
        return;
    }
    print_start(p);
    print_access(p, s->buf, s->nindex, s->index, P_POST);
    text_s(p->t, " = ");
    if (vector)
        print_expr(p, s->a, P_ASSIGN);
    else
        print_element(p, s->a, type_dtype(s->buf->type));
    text_s(p->t, ";\n");
}

void print_let(Printer *p, const Stmt *s) {
    Str name = print_declare(p, s->var, s->var->name ? s->var->name : "t");
    print_start(p);
    text_f(p->t, "const %s %s = ", ctype_of(p, s->a->type), name);
    print_expr(p, s->a, P_ASSIGN);
    text_s(p->t, ";\n");
}

/* Elements an array needs: the buffer's size, or the largest it can be. */
static int64_t local_size(Printer *p, const Buf *b) {
    const Expr *size = b->size ? b->size : buf_count(p->ctx, b);
    enum { ROUND = 16 }; /* elements: the most lanes, and the most partial sums */
    int64_t n = expr_range(p->ctx, size).max;
    int64_t bytes;
    if (!mul_ok(n < 1 ? 1 : n, type_bytes(type_dtype(b->type)), &bytes) || bytes > 1 << 30)
        internal_error(p->ctx, "local buffer %s has no bounded size", b->name);
    if (n > 1 && p->mach->vec >
                     0) /* a masked access may name a vector that starts behind the last element */
        n = (n + ROUND - 1) / ROUND * ROUND;
    return n < 1 ? 1 : n;
}

/* Is some store to b not certain to happen? Then no compiler sees that reads come behind one. */
static bool stored_sometimes(const Stmt *s, const Buf *b, bool sure) {
    for (; s; s = s->next) {
        int64_t n;
        bool always = sure && s->op != STMT_IF && s->op != STMT_WHILE &&
                      (s->op != STMT_FOR || (expr_is_int(s->a, &n) && n > 0));
        if (s->op == STMT_STORE && s->buf == b && !sure)
            return true;
        if (stored_sometimes(s->body, b, always) || stored_sometimes(s->orelse, b, always))
            return true;
    }
    return false;
}

static void declare_regs(Printer *p, RegInfo *r, bool clear) {
    enum { A_LINE = 8 };
    for (int lanes = 64; lanes > 0; lanes--) { /* variables of one type together */
        const char *value = !clear ? "" : lanes > 1 ? " = {0}" : " = 0";
        int on_line = 0;
        for (int i = 0; i < r->owner.len; i++) {
            if (r->owner.at[i] != i || r->wide.at[i] != lanes)
                continue;
            Str name = print_declare(p, NULL, reg_variable(p, r, i));
            if (on_line == 0) {
                print_start(p);
                text_s(p->t, ctype_of(p, TYPE_VEC(r->type, lanes)));
            }
            text_f(p->t, "%s %s%s", on_line ? "," : "", name, value);
            if (++on_line == A_LINE) {
                text_s(p->t, ";\n");
                on_line = 0;
            }
        }
        text_s(p->t, on_line ? ";\n" : "");
    }
    for (int i = 0; i < r->owner.len && !r->loaded; i++)
        if (r->owner.at[i] == i)
            print_line(p, "(void)%s;", reg_variable(p, r, i));
}

/* A base name none of whose variables is taken; short, so that the number still fits an identifier. */
static Str reg_base(Printer *p, const RegInfo *r, Str wish) {
    Str base = safe_ident(p->ctx, str_n(p->ctx, wish, 24));
    for (;;) {
        bool free_name = !map_get(p->taken, base);
        for (int i = 0; free_name && i < r->owner.len; i++)
            free_name = !map_get(p->taken, str_f(p->ctx, "%s_%d", base, i));
        if (free_name)
            return base;
        base = str_f(p->ctx, "%s_r", base);
    }
}

static void print_alloc(Printer *p, const Stmt *s) {
    const Buf *b = s->buf;
    RegInfo *r = map_get(p->allocs, s), *outer = map_get(p->regs, b);
    bool block = s->next != NULL;
    map_put(p->regs, b, r);
    int mark = 0;
    if (block) {
        print_line(p, "{");
        mark = print_open(p);
    }
    if (r && !r->array) {
        r->name = reg_base(p, r, b->name ? b->name : "r");
        declare_regs(p, r, stored_sometimes(s->body, b, true));
    } else {
        Str name = print_declare(p, b, b->name ? b->name : "t");
        bool clear = r && stored_sometimes(s->body, b, true);
        print_line(p, "%s %s[%lld]%s;", type_c(type_dtype(b->type)), name,
                   (long long)local_size(p, b), clear ? " = {0}" : "");
    }
    print_stmts(p, s->body);
    map_put(p->regs, b, outer);
    if (block) {
        print_close(p, mark);
        print_line(p, "}");
    }
}

static void print_check(Printer *p, const Stmt *s) {
    static const char *const code[] = {"0", "LCC_EINDEX", "LCC_ECAPACITY", "LCC_EDIM",
                                       "LCC_ENOMEM"};
    int64_t v = 0;
    expr_is_int(s->b, &v);
    if (v < 1 || v > 4)
        internal_error(p->ctx, "check with code %lld", (long long)v);
    paste_need(p->paste, "lcc_codes");
    print_start(p);
    text_s(p->t, "if (!");
    print_expr(p, s->a, P_UNARY);
    text_s(p->t, ")\n");
    p->depth++;
    print_line(p, "return %s;", code[v]);
    p->depth--;
}

/* By address: the place may lie behind the buffer, where C knows no pointers. */
static void print_prefetch(Printer *p, const Stmt *s) {
    print_start(p);
    text_f(p->t, "__builtin_prefetch((const void *)((uintptr_t)");
    Str name = map_get(p->names, s->a->u.buf);
    if (name)
        text_s(p->t, name);
    else
        p->outside(p, s->a->u.buf, P_UNARY);
    text_s(p->t, " + (uintptr_t)(");
    print_expr(p, s->a->kid[0], P_ASSIGN);
    text_f(p->t, ") * %d));\n", type_bytes(type_dtype(s->a->type)));
}

void print_stmts(Printer *p, const Stmt *s) {
    for (; s; s = s->next) {
        const Stmt *last = s->op == STMT_STORE ? print_transposed(p, s) : NULL;
        if (!last && s->op == STMT_STORE)
            last = print_interleaved(p, s);
        if (last) {
            s = last;
            continue;
        }
        switch (s->op) {
        case STMT_FOR:
            print_for(p, s);
            break;
        case STMT_IF:
            print_if(p, s);
            break;
        case STMT_STORE:
            print_store(p, s);
            break;
        case STMT_LET:
            if (map_get(p->used, s->var))
                print_let(p, s);
            break;
        case STMT_ALLOC:
            print_alloc(p, s);
            break;
        case STMT_CHECK:
            print_check(p, s);
            break;
        case STMT_WHILE:
            print_start(p);
            text_s(p->t, "while (");
            print_expr(p, s->a, P_ASSIGN);
            text_s(p->t, ") {\n");
            print_block(p, s->body);
            print_line(p, "}");
            break;
        case STMT_PREFETCH:
            print_prefetch(p, s);
            break;
        case STMT_SYNC:
            print_line(p, "%s();", vector_fence(p));
            break;
        default:
            p->statement(p, s);
            break;
        }
    }
}

/* ---- functions --------------------------------------------------------------------------------------- */

static bool stmts_return(const Stmt *s) {
    for (; s; s = s->next)
        if (s->op == STMT_CHECK || stmts_return(s->body) || stmts_return(s->orelse))
            return true;
    return false;
}

bool func_returns(const Func *f) {
    return stmts_return(f->body);
}

bool stmts_store(const Stmt *s, const Buf *b) {
    for (; s; s = s->next)
        if ((s->op == STMT_STORE && s->buf == b) || stmts_store(s->body, b) ||
            stmts_store(s->orelse, b))
            return true;
    return false;
}

void print_begin(Printer *p, const Stmt *body) {
    p->names = map_new(p->ctx);
    p->taken = map_new(p->ctx);
    p->numbers = map_new(p->ctx);
    p->regs = map_new(p->ctx);
    p->allocs = map_new(p->ctx);
    p->plain = map_new(p->ctx);
    p->scope.len = 0;
    p->depth = 0;
    p->used = print_uses(p, body);
}

bool print_params(Printer *p, const Func *f, const Stmt *body, bool restrict_ok) {
    bool any = false;
    for (int i = 0; i < f->params.len; i++) {
        const Buf *b = f->params.at[i];
        if (!map_get(p->used, b))
            continue;
        Str param = print_declare(p, b, b->name ? b->name : "x");
        text_f(p->t, "%s%s%s *%s%s", any ? ", " : "", stmts_store(body, b) ? "" : "const ",
               type_c(type_dtype(b->type)), restrict_ok ? "restrict " : "", param);
        any = true;
    }
    for (int i = 0; i < f->syms.len; i++) {
        const Sym *s = f->syms.at[i];
        if (!map_get(p->used, s))
            continue;
        text_f(p->t, "%sint64_t %s", any ? ", " : "", print_declare(p, s, s->name ? s->name : "n"));
        any = true;
    }
    return any;
}

void print_func(Printer *p, const Func *f, Str name, bool restrict_ok) {
    print_begin(p, f->body);
    text_f(p->t, "static %s %s(", func_returns(f) ? "int" : "void", name);
    int mark = print_open(p);
    text_s(p->t, print_params(p, f, f->body, restrict_ok) ? ") {\n" : "void) {\n");
    print_stmts(p, f->body);
    if (func_returns(f))
        print_line(p, "return 0;");
    print_close(p, mark);
    text_s(p->t, "}\n\n");
}
