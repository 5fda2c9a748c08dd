/* ir/loop.c — statements: constructors, lists, copies and rewrites. */
#include "ir/loop.h"

#include <string.h>

Stmt *stmt_new(Ctx *ctx, StmtOp op) {
    Stmt *s = ctx_new(ctx, Stmt);
    s->op = (uint8_t)op;
    return s;
}

Stmt *stmt_for(Ctx *ctx, Sym *var, const Expr *extent, Str label, Def *def, Stmt *body) {
    Stmt *s = stmt_new(ctx, STMT_FOR);
    s->var = var;
    s->a = extent;
    s->label = label;
    s->def = def;
    s->body = body;
    return s;
}

Stmt *stmt_store(Ctx *ctx, Buf *buf, int n, const Expr *const *index, const Expr *value) {
    Stmt *s = stmt_new(ctx, STMT_STORE);
    s->buf = buf;
    s->nindex = (int16_t)n;
    s->index = ctx_newn(ctx, const Expr *, n);
    if (n)
        memcpy(s->index, index, (size_t)n * sizeof *index);
    s->a = value;
    return s;
}

Stmt *stmt_if(Ctx *ctx, const Expr *cond, Stmt *body, Stmt *orelse) {
    Stmt *s = stmt_new(ctx, STMT_IF);
    s->a = cond;
    s->body = body;
    s->orelse = orelse;
    return s;
}

Stmt *stmt_join(Stmt *a, Stmt *b) {
    if (!a)
        return b;
    Stmt *last = a;
    while (last->next)
        last = last->next;
    last->next = b;
    return a;
}

void stmt_walk(Stmt *s, void (*fn)(void *data, Stmt *s), void *data) {
    for (; s; s = s->next) {
        fn(data, s);
        stmt_walk(s->body, fn, data);
        stmt_walk(s->orelse, fn, data);
    }
}

static void count_one(void *data, Stmt *s) {
    (void)s;
    ++*(int *)data;
}

int stmt_count(const Stmt *s) {
    int n = 0;
    stmt_walk((Stmt *)(uintptr_t)s, count_one, &n);
    return n;
}

typedef struct Using {
    const Buf *buf;
    bool found;
} Using;

static void note_use(void *data, Stmt *s) {
    Using *u = data;
    u->found |= s->op == STMT_STORE && s->buf == u->buf;
    u->found |= (s->a && expr_uses_buf(s->a, u->buf)) || (s->b && expr_uses_buf(s->b, u->buf));
    for (int i = 0; i < s->nindex; i++)
        u->found |= expr_uses_buf(s->index[i], u->buf);
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        u->found |= s->arg[i] == u->buf;
}

bool stmt_uses_buf(const Stmt *s, const Buf *b) {
    Using u = {b, false};
    stmt_walk((Stmt *)(uintptr_t)s, note_use, &u);
    return u.found;
}

/* ---- rewriting --------------------------------------------------------------------------------- */

/* Number of symbol arguments of a CALL and of expressions inside a HOST call. */
static int symarg_count(const Stmt *s) {
    return s->op == STMT_CALL && s->func ? s->func->syms.len : 0;
}

typedef struct MapAll {
    Ctx *ctx;
    ExprFn fn;
    void *data;
} MapAll;

static const Expr *map_one(MapAll *m, const Expr *e) {
    return e ? expr_map(m->ctx, e, m->fn, m->data) : NULL;
}

static void map_stmt(void *data, Stmt *s) {
    MapAll *m = data;
    s->a = map_one(m, s->a);
    s->b = map_one(m, s->b);
    for (int i = 0; i < s->nindex; i++)
        s->index[i] = map_one(m, s->index[i]);
    for (int i = 0; i < symarg_count(s); i++)
        s->symarg[i] = map_one(m, s->symarg[i]);
    for (int i = 0; s->op == STMT_HOST && i < s->call->attr.len; i++)
        s->call->attr.at[i] = map_one(m, s->call->attr.at[i]);
}

void stmt_map(Ctx *ctx, Stmt *s, ExprFn fn, void *data) {
    stmt_walk(s, map_stmt, &(MapAll){ctx, fn, data});
}

/* ---- substitution and copies ------------------------------------------------------------------- */

/* Pairs from → to; copies append those of the loops and LETs they rename. */
typedef struct Renames {
    Ctx *ctx;
    VEC(Sym *) from;
    VEC(const Expr *) to;
} Renames;

static const Expr *renamed(Renames *r, const Expr *e) {
    return e && r->from.len ? expr_subst(r->ctx, e, r->from.len, r->from.at, r->to.at) : e;
}

static Sym *renamed_sym(Renames *r, Sym *s) {
    for (int i = r->from.len - 1; s && i >= 0; i--)
        if (r->from.at[i] == s && r->to.at[i]->op == OP_SYM)
            return r->to.at[i]->u.sym;
    return s;
}

static const Expr **renamed_all(Renames *r, const Expr **list, int n) {
    const Expr **to = n ? ctx_newn(r->ctx, const Expr *, n) : list;
    for (int i = 0; i < n; i++)
        to[i] = renamed(r, list[i]);
    return to;
}

/* `to` may be s itself. */
static void rename_into(Renames *r, Stmt *to, const Stmt *s) {
    Ctx *ctx = r->ctx;
    to->a = renamed(r, s->a);
    to->b = renamed(r, s->b);
    to->index = renamed_all(r, s->index, s->nindex);
    to->symarg = renamed_all(r, s->symarg, symarg_count(s));
    if (s->op != STMT_HOST)
        return;
    Call *c = ctx_new(ctx, Call);
    *c = *s->call;
    c->attr.at = ctx_newn(ctx, const Expr *, c->attr.len);
    c->attr.cap = c->attr.len;
    for (int i = 0; i < c->attr.len; i++)
        c->attr.at[i] = renamed(r, s->call->attr.at[i]);
    to->call = c;
}

static void subst_stmt(void *data, Stmt *s) {
    rename_into(data, s, s);
}

void stmt_subst(Ctx *ctx, Stmt *s, int n, Sym *const *from, const Expr *const *to) {
    Renames r = {.ctx = ctx};
    for (int i = 0; i < n; i++) {
        vec_push(ctx, &r.from, from[i]);
        vec_push(ctx, &r.to, to[i]);
    }
    stmt_walk(s, subst_stmt, &r);
}

static void rename_var(Renames *r, Stmt *copy) {
    if (copy->op == STMT_FOR) {
        Sym *old = copy->var;
        copy->var = sym_axis(r->ctx, old->name, copy->a);
        copy->var->min = old->min;
        copy->var->max = old->max;
        copy->var->mult = old->mult;
        vec_push(r->ctx, &r->from, old);
        vec_push(r->ctx, &r->to, expr_sym(r->ctx, copy->var));
    } else if (copy->op == STMT_LET) {
        Sym *old = copy->var;
        copy->var = sym_new(r->ctx, SYM_LET, old->name, old->min, old->max);
        copy->var->type = old->type;
        copy->var->mult = old->mult;
        copy->var->value = copy->a;
        vec_push(r->ctx, &r->from, old);
        vec_push(r->ctx, &r->to, expr_sym(r->ctx, copy->var));
    } else {
        copy->var = renamed_sym(r, copy->var);
    }
}

static Stmt *copy_list(Renames *r, const Stmt *s) {
    Stmt *first = NULL, **end = &first;
    int scope = r->from.len;
    for (; s; s = s->next) {
        Stmt *c = ctx_new(r->ctx, Stmt);
        *c = *s;
        c->next = NULL;
        rename_into(r, c, s);
        int inner = r->from.len;
        rename_var(r, c);
        c->body = copy_list(r, s->body);
        c->orelse = copy_list(r, s->orelse);
        if (c->op == STMT_FOR)
            r->from.len = r->to.len = inner;
        *end = c;
        end = &c->next;
    }
    r->from.len = r->to.len = scope;
    return first;
}

Stmt *stmt_copy(Ctx *ctx, const Stmt *s) {
    Renames r = {.ctx = ctx};
    return copy_list(&r, s);
}

static void stack_add(void *data, Stmt *s) {
    int64_t *total = data, count, bytes;
    if (s->op != STMT_ALLOC || s->buf->space != SPACE_LOCAL)
        return;
    if (!buf_static(s->buf, &count) ||
        !mul_ok(count, type_bytes(type_dtype(s->buf->type)), &bytes) ||
        !add_ok(*total, bytes, total))
        *total = INT64_MAX;
}

int64_t module_stack(const Module *m) {
    int64_t most = 0;
    for (int i = 0; i < m->kernels.len; i++) {
        int64_t bytes = 0;
        if (m->kernels.at[i]->func)
            stmt_walk(m->kernels.at[i]->func->body, stack_add, &bytes);
        most = bytes > most ? bytes : most;
    }
    return most;
}
