/* ir/verify.c — invariants between passes: a pass that breaks one is found here, not in generated code.
 *
 * Checked: ranks and types of every load, store and equation; symbols and buffers in scope; what is read
 * was written before; Buf.ndef counts its writers; no index that is always outside; flat Funcs have one
 * offset an access and only loops that backends know. A finding is an internal error of `when`. */
#include "ir/loop.h"

#include <string.h>

typedef struct Verify {
    Ctx *ctx;
    const char *when;
    Str where; /* the Def or Func looked at */
    Loc loc;
    Map *bufs;    /* readable: written, given, constant, or allocated around */
    Map *syms;    /* in scope */
    Map *writers; /* Buf → int: Defs and calls that write it */
    const Group *group;
    const Def *def; /* the Def looked at; NULL in a Func */
    bool any_buf;   /* the entry: every buffer is in scope */
    bool flat;
    bool sure; /* all that is looked at is executed */
    bool ok;
} Verify;

static void found(Verify *v, const char *fmt, ...) LCC_PRINTF(2, 3);

static void found(Verify *v, const char *fmt, ...) {
    Text t = text_new(v->ctx);
    va_list ap;
    if (!v->ok) /* one is enough */
        return;
    va_start(ap, fmt);
    text_v(&t, fmt, ap);
    va_end(ap);
    v->ok = diag_error(v->ctx, EXIT_INTERNAL, &v->loc, "internal: after %s, in %s: %s", v->when,
                       v->where ? v->where : "?", t.at);
}

/* ---- expressions ------------------------------------------------------------------------------- */

static bool sym_known(const Verify *v, const Sym *s) {
    if (map_get(v->syms, s))
        return true;
    for (int i = 0; v->def && i < v->def->naxis; i++)
        if (v->def->axis[i].var == s)
            return true;
    return v->group && v->group->var == s;
}

static bool buf_readable(const Verify *v, const Buf *b) {
    if (v->any_buf || b->data || b->space == SPACE_INPUT || map_get(v->bufs, b))
        return true;
    for (int i = 0; v->group && i < v->group->defs.len; i++)
        if (v->group->defs.at[i]->buf == b)
            return true;
    return v->def && v->def->buf == b;
}

/* An index that lies outside for every value of its symbols. */
static bool is_outside(Verify *v, const Expr *index, const Expr *size) {
    int64_t n;
    if (!expr_is_int(size, &n) || type_lanes(index->type) != 1)
        return false;
    Range r = expr_range(v->ctx, index);
    return n > 0 && (r.max < 0 || r.min >= n);
}

static void check_access(Verify *v, const Buf *b, int n, const Expr *const *index, bool sure) {
    if (!buf_readable(v, b))
        found(v, "'%s' is used but not written before, or not in scope", b->name);
    if (n != (v->flat ? 1 : b->rank)) {
        found(v, "'%s' of rank %d has %d indices", b->name, b->rank, n);
        return;
    }
    for (int i = 0; i < n; i++) {
        const Expr *size = !v->flat                               ? b->dim[i]
                           : b->size                              ? b->size
                           : b->where || b->space == SPACE_OUTPUT ? NULL
                                                                  : buf_count(v->ctx, b);
        if (type_dtype(index[i]->type) != T_I64)
            found(v, "an index of '%s' is %s", b->name, type_text(type_dtype(index[i]->type)));
        if (sure && size && is_outside(v, index[i], size))
            found(v, "'%s' is used outside: index %d is %s", b->name, i,
                  expr_str(v->ctx, index[i]));
    }
}

static void check_node(void *data, const Expr *e) {
    Verify *v = data;
    if (e->op == OP_SYM && !sym_known(v, e->u.sym))
        found(v, "symbol '%s' is not in scope", e->u.sym->name);
    if (e->op != OP_LOAD && e->op != OP_MLOAD)
        return;
    int skip = e->op == OP_MLOAD;
    check_access(v, e->u.buf, e->nkid - skip, e->kid + skip, false);
    if (type_dtype(e->type) != type_dtype(e->u.buf->type))
        found(v, "a load of '%s' has type %s", e->u.buf->name, type_text(type_dtype(e->type)));
}

/* Loads that are performed whenever e is; lazy parts are left out. */
static void check_sure(Verify *v, const Expr *e, int depth) {
    bool lazy = e->op == OP_SELECT || e->op == OP_AND || e->op == OP_OR;
    if (e->op == OP_LOAD)
        check_access(v, e->u.buf, e->nkid, e->kid, true);
    for (int i = 0; depth > 0 && i < (lazy ? 1 : e->nkid); i++)
        check_sure(v, e->kid[i], depth - 1);
}

#define SURE_DEPTH 6 /* shared parts are looked at again and again */

static void check_expr(Verify *v, const Expr *e) {
    if (!e)
        return;
    expr_walk(v->ctx, e, check_node, v);
    if (v->sure && v->ok)
        check_sure(v, e, SURE_DEPTH);
}

static void check_bool(Verify *v, const Expr *e, const char *what) {
    check_expr(v, e);
    if (e && type_dtype(e->type) != T_BOOL)
        found(v, "%s is no bool", what);
}

/* ---- equations --------------------------------------------------------------------------------- */

static void check_axes(Verify *v, const Def *d) {
    for (int i = 0; i < d->naxis; i++) {
        const Axis *a = &d->axis[i];
        bool out = i < d->buf->rank;
        check_expr(v, a->var->extent);
        if (!d->at && out != (a->kind != AXIS_RED))
            found(v, "axis %d should %sbe an output axis", i, out ? "" : "not ");
        if (a->ways & (a->ways - 1))
            found(v, "%d partial sums are no power of two", a->ways);
        int64_t n, dim;
        if (!d->at && out && expr_is_int(a->var->extent, &n) && expr_is_int(d->buf->dim[i], &dim) &&
            n != dim)
            found(v, "axis %d has %lld points, its dimension %lld", i, (long long)n,
                  (long long)dim);
    }
    if (!d->at && d->naxis < d->buf->rank)
        found(v, "%d axes for rank %d", d->naxis, d->buf->rank);
}

/* Is every point of the domain there, and every load of the value performed? */
static bool always_runs(const Def *d) {
    int64_t n;
    for (int i = 0; i < d->naxis; i++)
        if (!expr_is_int(d->axis[i].var->extent, &n) || n < 1)
            return false;
    return !d->when && !d->scan;
}

/* Parts follow each other and fill their whole, and its equation copies them: nothing else may be dropped. */
static void check_parts(Verify *v, const Def *d) {
    const Buf *b = d->buf;
    const Expr *end = expr_i(v->ctx, 0);
    for (int i = 0; i < b->parts.len; i++) {
        if (b->parts.at[i]->start != end || b->parts.at[i]->whole != b)
            found(v, "part '%s' does not start where the one before it ends", b->parts.at[i]->name);
        end = expr_add(v->ctx, end, b->parts.at[i]->dim[b->along]);
    }
    if (b->parts.len &&
        (end != b->dim[b->along] || d->at || d->when || d->value != def_parts(v->ctx, d)))
        found(v, "'%s' is not what its parts are", b->name);
}

static void check_def(Verify *v, const Def *d) {
    Type t = d->buf->type;
    v->def = d;
    v->group = d->scan;
    v->where = d->name;
    v->loc = d->loc;
    v->sure = always_runs(d);
    check_axes(v, d);
    if (!d->value || d->value->type != t || (d->init && d->init->type != t))
        found(v, "the value's type is not %s", type_text(type_dtype(t)));
    if (!d->at && def_is_reduction(d) != (d->combine != COMBINE_SET))
        found(v, "a reduction without a combining op, or the reverse");
    for (int i = 0; d->at && i < d->buf->rank; i++)
        check_expr(v, d->at[i]);
    if (d->at)
        check_access(v, d->buf, d->buf->rank, d->at, v->sure);
    check_expr(v, d->value);
    check_expr(v, d->init);
    check_bool(v, d->when, "the condition");
    check_parts(v, d);
    map_put(v->bufs, d->buf, d->buf);
    v->def = NULL;
    v->group = NULL;
    v->sure = false;
}

/* ---- programs ---------------------------------------------------------------------------------- */

static void count_writer(Verify *v, Buf *b) {
    int *n = map_get(v->writers, b);
    if (!n) {
        n = ctx_new(v->ctx, int);
        map_put(v->writers, b, n);
    }
    if (++*n > b->ndef)
        found(v, "'%s' has more writers than its ndef, %d", b->name, b->ndef);
    if (b->data || b->space == SPACE_INPUT)
        found(v, "'%s' cannot be written", b->name);
}

static void check_shape(Verify *v, const Buf *b) {
    for (int i = 0; i < b->rank; i++)
        check_expr(v, b->dim[i]);
}

static void check_call(Verify *v, const Call *c) {
    v->where = c->fn;
    v->loc = c->loc;
    for (int i = 0; i < c->in.len; i++)
        if (c->in.at[i] && !buf_readable(v, c->in.at[i]))
            found(v, "'%s' is read before it is written", c->in.at[i]->name);
    for (int i = 0; i < c->attr.len; i++)
        check_expr(v, c->attr.at[i]);
    for (int i = 0; i < c->result.len; i++)
        map_put(v->syms, c->result.at[i], c->result.at[i]);
    for (int i = 0; i < c->out.len; i++)
        map_put(v->bufs, c->out.at[i], c->out.at[i]);
}

static void check_block(Verify *v, const Block *b);

static void check_item(Verify *v, const Item *it) {
    v->where = NULL;
    switch ((ItemKind)it->kind) {
    case ITEM_DEF:
        check_def(v, it->def);
        count_writer(v, it->def->buf);
        return;
    case ITEM_CALL:
        check_call(v, it->call);
        for (int i = 0; i < it->call->out.len; i++)
            count_writer(v, it->call->out.at[i]);
        return;
    case ITEM_BIND:
        check_expr(v, it->e);
        map_put(v->syms, it->sym, it->sym);
        return;
    case ITEM_LOOP:
        map_put(v->syms, it->sym, it->sym);
        break;
    default:
        break;
    }
    check_bool(v, it->e, "a condition");
    check_block(v, it->body[0]);
    check_block(v, it->body[1]);
}

static void check_block(Verify *v, const Block *b) {
    for (int i = 0; b && i < b->items.len && v->ok; i++)
        check_item(v, b->items.at[i]);
}

static Verify verify_new(Ctx *ctx, const char *when) {
    Verify v = {.ctx = ctx, .when = when, .ok = true};
    v.loc.node = -1;
    v.bufs = map_new(ctx);
    v.syms = map_new(ctx);
    v.writers = map_new(ctx);
    return v;
}

bool program_verify(Ctx *ctx, const Program *p, const char *when) {
    Verify v = verify_new(ctx, when);
    for (int i = 0; i < p->dims.len; i++)
        map_put(v.syms, p->dims.at[i], p->dims.at[i]);
    for (int i = 0; i < p->inputs.len; i++)
        check_shape(&v, p->inputs.at[i].buf);
    check_block(&v, p->main);
    for (int i = 0; i < p->outputs.len; i++) {
        const Buf *b = p->outputs.at[i].buf;
        v.where = p->outputs.at[i].name;
        if (!buf_readable(&v, b))
            found(&v, "the output is never written");
        check_shape(&v, b);
    }
    return v.ok;
}

/* ---- functions --------------------------------------------------------------------------------- */

static void check_stmts(Verify *v, const Stmt *s);

static void check_store(Verify *v, const Stmt *s) {
    for (int i = 0; i < s->nindex; i++)
        check_expr(v, s->index[i]);
    check_access(v, s->buf, s->nindex, s->index, false);
    if (type_dtype(s->a->type) != type_dtype(s->buf->type))
        found(v, "a store of %s to '%s'", type_text(type_dtype(s->a->type)), s->buf->name);
    int lanes = 1;
    for (int i = 0; i < s->nindex; i++)
        if (type_lanes(s->index[i]->type) > lanes)
            lanes = type_lanes(s->index[i]->type);
    if (type_lanes(s->a->type) != lanes)
        found(v, "a store of %d lanes at %d places of '%s'", type_lanes(s->a->type), lanes,
              s->buf->name);
    check_bool(v, s->b, "a mask");
}

static void check_kernel_call(Verify *v, const Stmt *s) {
    const Func *f = s->func;
    for (int i = 0; f && i < f->syms.len; i++)
        check_expr(v, s->symarg[i]);
    for (int i = 0; f && i < f->params.len; i++)
        if (!s->arg[i] || s->arg[i]->type != f->params.at[i]->type)
            found(v, "argument %d of %s has another type", i, f->name);
    if (!f)
        found(v, "a call without a function");
}

static void check_for(Verify *v, const Stmt *s) {
    if (v->flat && s->run != RUN_SERIAL && s->run != RUN_PARALLEL)
        found(v, "the loop '%s' is still to be unrolled or made vectors", s->var->name);
    if (s->a->type != T_I64)
        found(v, "the extent of '%s' is not i64", s->var->name);
    map_put(v->syms, s->var, s->var);
    check_stmts(v, s->body);
    map_put(v->syms, s->var, NULL);
}

static void check_stmt(Verify *v, const Stmt *s) {
    if (s->op != STMT_STORE)
        check_expr(v, s->a);
    switch ((StmtOp)s->op) {
    case STMT_FOR:
        check_for(v, s);
        return;
    case STMT_STORE:
        check_expr(v, s->a);
        check_store(v, s);
        return;
    case STMT_IF:
    case STMT_WHILE:
    case STMT_CHECK:
        check_bool(v, s->a, "a condition");
        break;
    case STMT_LET:
        if (s->a->type != s->var->type)
            found(v, "'%s' has another type than its value", s->var->name);
        map_put(v->syms, s->var, s->var);
        break;
    case STMT_ASSIGN:
        map_put(v->syms, s->var, s->var);
        break;
    case STMT_ALLOC:
        map_put(v->bufs, s->buf, s->buf);
        break;
    case STMT_CALL:
        check_kernel_call(v, s);
        break;
    case STMT_HOST:
        check_call(v, s->call);
        break;
    default:
        break;
    }
    check_stmts(v, s->body);
    check_stmts(v, s->orelse);
}

/* A LET is in scope until the end of its list. */
static void check_stmts(Verify *v, const Stmt *s) {
    const Stmt *first = s;
    for (; s && v->ok; s = s->next)
        check_stmt(v, s);
    for (s = first; s; s = s->next)
        if (s->op == STMT_LET)
            map_put(v->syms, s->var, NULL);
}

/* `given` is set by whoever calls f (NULL: nothing). */
static bool check_func(Ctx *ctx, const Func *f, const char *when, bool flat, Sym *given) {
    Verify v = verify_new(ctx, when);
    if (given)
        map_put(v.syms, given, given);
    v.where = f->name;
    v.flat = flat;
    v.any_buf = !f->kernel;
    for (int i = 0; i < f->syms.len; i++)
        map_put(v.syms, f->syms.at[i], f->syms.at[i]);
    for (int i = 0; i < f->params.len; i++)
        map_put(v.bufs, f->params.at[i], f->params.at[i]);
    check_stmts(&v, f->body);
    return v.ok;
}

bool func_verify(Ctx *ctx, const Func *f, const char *when, bool flat) {
    return check_func(ctx, f, when, flat, NULL);
}

/* ---- modules ----------------------------------------------------------------------------------- */

bool module_verify(Ctx *ctx, const Module *m, const char *when) {
    Verify v = verify_new(ctx, when);
    for (int i = 0; i < m->kernels.len; i++) {
        const Kernel *k = m->kernels.at[i];
        if (k->func && !func_verify(ctx, k->func, when, k->func->flat))
            return false;
    }
    for (int i = 0; i < m->consts.len; i++) {
        v.where = m->consts.at[i]->name;
        if (!m->consts.at[i]->data && !m->consts.at[i]->packed)
            found(&v, "a constant without data");
    }
    return v.ok && (!m->entry || check_func(ctx, m->entry, when, m->entry->flat, m->arena_cap));
}
