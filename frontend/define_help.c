/* define_help.c — what definers call: operands and their known elements, extents, run-time checks,
 * broadcasting, outputs, ops in place (frontend.h documents each). */
#include "frontend/define.h"

#include <stdio.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------- */

static void note_inputs(Definer *d) {
    Text t = text_new(d->ctx);
    for (int i = 0; d->in && i < d->node->nin; i++) {
        const Buf *b = d->in[i] ? d->in[i]->buf : NULL;
        if (!b)
            continue;
        text_f(&t, "%s%s %s[", t.len ? ", " : "", b->name, type_text(type_dtype(b->type)));
        for (int a = 0; a < b->rank; a++)
            text_f(&t, "%s%s", a ? ", " : "", expr_str(d->ctx, b->dim[a]));
        text_c(&t, ']');
    }
    if (t.len)
        diag_note(d->ctx, "inputs: %s", t.at);
}

bool define_error(Definer *d, int code, const char *fmt, ...) {
    Text t = text_new(d->ctx);
    va_list ap;
    va_start(ap, fmt);
    text_v(&t, fmt, ap);
    va_end(ap);
    const Loc *loc = d->node->loc.op || !d->origin ? &d->node->loc : &d->origin->loc;
    diag_error(d->ctx, code, loc, "%s", t.at);
    note_inputs(d);
    return false;
}

bool define_rank(Definer *d, int64_t rank) {
    if (rank > RANK_MAX)
        return define_error(d, EXIT_LIMIT, "a tensor of rank %lld; at most %d is supported",
                            (long long)rank, RANK_MAX);
    return rank >= 0 || define_error(d, EXIT_MALFORMED, "a negative rank");
}

/* ---- inputs ---------------------------------------------------------------------------------- */

bool define_has(const Definer *d, int i) {
    return i < d->node->nin && d->in[i];
}

Buf *define_in(const Definer *d, int i) {
    return define_has(d, i) ? d->in[i]->buf : NULL;
}

Dtype define_type(const Definer *d, int i) {
    return define_has(d, i) && d->in[i]->buf ? type_dtype(d->in[i]->buf->type) : T_NONE;
}

const Expr *define_dim(const Definer *d, int i, int axis) {
    return d->in[i]->buf->dim[axis];
}

int define_axis(Definer *d, int64_t axis, int rank) {
    int64_t a = axis < 0 ? axis + rank : axis;
    if (axis >= -rank && a < rank)
        return (int)a;
    define_error(d, EXIT_MALFORMED, "axis %lld is out of range for rank %d", (long long)axis, rank);
    return -1;
}

/* The load of the i-th element of a 1-D tensor or scalar, or of a tensor of constant shape. */
static const Expr *load_flat(Definer *d, Buf *b, int64_t i) {
    const Expr *index[RANK_MAX];
    for (int a = b->rank - 1; a >= 0; a--) {
        int64_t n = 1;
        if (a > 0 && !expr_is_int(b->dim[a], &n))
            return NULL;
        index[a] = expr_i(d->ctx, a ? i % n : i);
        i /= n ? n : 1;
    }
    return buf_load(d->ctx, b, index);
}

const Expr *define_known(Definer *d, Buf *b, int64_t i) {
    const Expr *const *known = buf_known(d->ctx, b);
    const Expr *e = known ? known[i] : load_flat(d, b, i);
    if (e)
        return expr_cast(d->ctx, T_I64, e);
    define_error(d, EXIT_UNSUPPORTED, "the elements of '%s' are needed to know a shape", b->name);
    return NULL;
}

int64_t define_length(Definer *d, Buf *b) {
    int64_t n;
    if (buf_static(b, &n) && n <= KNOWN_MAX)
        return n;
    define_error(d, EXIT_UNSUPPORTED, "the length of '%s' must be known when compiling", b->name);
    return -1;
}

/* ---- symbols and checks ---------------------------------------------------------------------- */

/* Which leaves and operators an expression has; `loads` or a float make it unfit for an extent. */
typedef struct Look {
    bool loads, odd;
} Look;

static void look_at(void *data, const Expr *e) {
    Look *l = data;
    int64_t c;
    switch ((Op)e->op) {
    case OP_INT:
    case OP_SYM:
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_NEG:
    case OP_MIN:
    case OP_MAX:
    case OP_SELECT:
        l->odd |= e->type != T_I64 && e->type != T_BOOL;
        break;
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
    case OP_AND:
    case OP_OR:
    case OP_NOT:
        break;
    case OP_FDIV:
    case OP_MOD:
        l->odd |= !expr_is_int(e->kid[1], &c) || e->type != T_I64;
        break;
    case OP_LOAD:
        l->loads = l->odd = true;
        break;
    default:
        l->odd = true;
    }
}

/* A symbol bound to e earlier in this block or one around it, whose range is inside [min, max]. */
static Sym *bound_sym(const Definer *d, const Expr *e, int64_t min, int64_t max) {
    for (Scope *s = d->scope; s; s = s->outer) {
        Sym *sym = map_get(s->binds, e);
        if (sym && sym->min >= min && sym->max <= max)
            return sym;
    }
    return NULL;
}

static const Expr *bind(Definer *d, const char *name, const Expr *e, int64_t min, int64_t max) {
    Sym *s = bound_sym(d, e, min, max);
    if (!s) {
        Range r = expr_range(d->ctx, e);
        min = r.min > min ? r.min : min;
        max = r.max < max ? r.max : max;
        s = sym_new(d->ctx, SYM_BIND, str(d->ctx, name), min, max);
        s->value = e;
        Item *it = item_new(d->ctx, d->block, ITEM_BIND);
        it->sym = s;
        it->e = e;
        it->origin = d->origin;
        map_put(d->scope->binds, e, s);
    }
    return expr_sym(d->ctx, s);
}

/* e unchanged when it is plain (constants and sums over symbols; `loads`: only loads count), else bound. */
static const Expr *settle(Definer *d, const char *name, const Expr *e, int64_t min, int64_t max,
                          bool extent) {
    if (!e)
        return NULL;
    int64_t v;
    if (expr_is_int(e, &v)) {
        if (v >= min && v <= max)
            return e;
        define_error(d, EXIT_MALFORMED, "%s is %lld, outside [%lld, %lld]", name, (long long)v,
                     (long long)min, (long long)max);
        return NULL;
    }
    Look l = {false, false};
    expr_walk(d->ctx, e, look_at, &l);
    l.odd |= expr_size(d->ctx, e, EXTENT_SIZE) >= EXTENT_SIZE;
    if (extent ? l.odd : l.loads)
        return bind(d, name, e, min, max);
    Range r = expr_range(d->ctx, e);
    if (r.max < min || r.min > max) {
        define_error(d, EXIT_MALFORMED, "%s is %s, outside [%lld, %lld]", name, expr_str(d->ctx, e),
                     (long long)min, (long long)max);
        return NULL;
    }
    const Expr *low = min == INT64_MIN ? NULL : expr_le(d->ctx, expr_i(d->ctx, min), e);
    const Expr *high = max == INT64_MAX ? NULL : expr_le(d->ctx, e, expr_i(d->ctx, max));
    if (low && !define_check(d, low, CHECK_DIM, name))
        return NULL;
    if (high && max < DIM_MAX && !define_check(d, high, CHECK_DIM, name))
        return NULL;
    return e;
}

const Expr *define_extent(Definer *d, const char *name, const Expr *e, int64_t min, int64_t max) {
    return settle(d, name, e, min, max, true);
}

const Expr *define_scalar(Definer *d, const char *name, const Expr *e, int64_t min, int64_t max) {
    return settle(d, name, e, min, max, false);
}

bool define_check(Definer *d, const Expr *cond, int code, const char *what) {
    if (!cond || expr_is(cond, 1) || expr_proves(d->ctx, cond))
        return true;
    if (expr_is(cond, 0) || expr_proves(d->ctx, expr_not(d->ctx, cond)))
        return define_error(d, EXIT_MALFORMED, "%s: %s does not hold", what,
                            expr_str(d->ctx, cond));
    for (Scope *s = d->scope; s; s = s->outer)
        if (map_get(s->binds, cond))
            return true;
    Item *it = item_new(d->ctx, d->block, ITEM_CHECK);
    it->e = cond;
    it->code = (uint8_t)code;
    it->origin = d->origin;
    map_put(d->scope->binds, cond, sym_new(d->ctx, SYM_BIND, str(d->ctx, "checked"), 1, 0));
    return true;
}

bool define_same(Definer *d, const Expr *a, const Expr *b, const char *what) {
    if (a == b)
        return true;
    int64_t x, y;
    if (expr_is_int(a, &x) && expr_is_int(b, &y))
        return define_error(d, EXIT_MALFORMED, "%s: %lld and %lld differ", what, (long long)x,
                            (long long)y);
    return define_check(d, expr_eq(d->ctx, a, b), CHECK_DIM, what);
}

/* ---- broadcasting ---------------------------------------------------------------------------- */

static void look_bound(void *data, const Expr *e) {
    if (e->op == OP_SYM && e->u.sym->kind != SYM_DIM)
        *(bool *)data = true;
}

/* May the dim be 1 at run time? So may one that depends on data or is a dimension of its own; sums and
 * products of dimensions are taken not to be. */
static bool is_wild(Definer *d, const Expr *dim) {
    bool bound = dim->op == OP_SYM || dim->op == OP_SELECT;
    expr_walk(d->ctx, dim, look_bound, &bound);
    return bound && expr_range(d->ctx, dim).min <= 1;
}

/* One axis: the extent of a and b together; NULL after an error. */
static const Expr *broadcast_dim(Definer *d, const Expr *a, const Expr *b) {
    Ctx *ctx = d->ctx;
    if (a == b || expr_is(b, 1))
        return a;
    if (expr_is(a, 1))
        return b;
    bool wild_a = is_wild(d, a), wild_b = is_wild(d, b);
    if (!wild_a && !wild_b)
        return define_same(d, a, b, "broadcasting") ? (b->op == OP_INT ? b : a) : NULL;
    const Expr *one = expr_i(ctx, 1), *ok = expr_eq(ctx, a, b), *a1 = expr_eq(ctx, a, one);
    if (wild_a)
        ok = expr_or(ctx, ok, a1);
    if (wild_b)
        ok = expr_or(ctx, ok, expr_eq(ctx, b, one));
    if (!define_check(d, ok, CHECK_DIM, "broadcasting"))
        return NULL;
    if (!wild_b)
        return b;
    return wild_a ? define_extent(d, "extent", expr_select(ctx, a1, b, a), 0, DIM_MAX) : a;
}

bool define_broadcast(Definer *d, int n, Buf *const *b, int *rank, const Expr **dim) {
    *rank = 0;
    for (int i = 0; i < n; i++)
        *rank = b[i]->rank > *rank ? b[i]->rank : *rank;
    for (int a = 0; a < *rank; a++)
        dim[a] = expr_i(d->ctx, 1);
    for (int i = 0; i < n; i++)
        for (int a = 0; a < b[i]->rank; a++) {
            int o = a + *rank - b[i]->rank;
            dim[o] = broadcast_dim(d, dim[o], b[i]->dim[a]);
            if (!dim[o])
                return false;
        }
    return true;
}

const Expr *define_index_broadcast(Definer *d, const Expr *dim, const Expr *i) {
    Ctx *ctx = d->ctx;
    const Expr *extent = i->op == OP_SYM ? i->u.sym->extent : NULL, *zero = expr_i(ctx, 0);
    if (expr_is(dim, 1))
        return zero;
    if (extent == dim || !is_wild(d, dim))
        return i;
    return expr_select(ctx, expr_eq(ctx, dim, expr_i(ctx, 1)), zero, i);
}

bool define_broadcast_to(Definer *d, const Buf *b, int rank, const Expr *const *dim,
                         const char *what) {
    if (b->rank > rank)
        return define_error(d, EXIT_MALFORMED, "%s: rank %d does not broadcast to %d", what,
                            b->rank, rank);
    for (int a = 0; a < b->rank; a++) {
        const Expr *to = dim[a + rank - b->rank], *e = b->dim[a];
        if (e == to || expr_is(e, 1))
            continue;
        const Expr *ok = expr_eq(d->ctx, e, to);
        if (!is_wild(d, e)
                ? !define_same(d, e, to, what)
                : !define_check(d, expr_or(d->ctx, ok, expr_eq(d->ctx, e, expr_i(d->ctx, 1))),
                                CHECK_DIM, what))
            return false;
    }
    return true;
}

const Expr *define_load_broadcast(Definer *d, Buf *b, int rank, const Expr *const *index) {
    const Expr *at[RANK_MAX];
    for (int a = 0; a < b->rank; a++)
        at[a] = define_index_broadcast(d, b->dim[a], index[a + rank - b->rank]);
    return buf_load(d->ctx, b, at);
}

/* ---- outputs --------------------------------------------------------------------------------- */

Val *define_val(Definer *d, Buf *b) {
    Val *v = ctx_new(d->ctx, Val);
    v->kind = VAL_TENSOR;
    v->buf = b;
    return v;
}

void define_set_val(Definer *d, int i, Val *v) {
    if (i < d->node->nout)
        d->out[i] = v;
}

void define_set(Definer *d, int i, Buf *b) {
    define_set_val(d, i, define_val(d, b));
}

/* An error when the elements of constant extents cannot be counted. */
static void check_size(Definer *d, int rank, const Expr *const *dim) {
    int64_t n = 1, v;
    for (int i = 0; i < rank; i++)
        if (expr_is_int(dim[i], &v) && v != 0 && !mul_ok(n, v, &n)) {
            define_error(d, EXIT_LIMIT, "a tensor of more than 2^63 elements");
            return;
        }
}

static Def *make_def(Definer *d, Str name, Dtype type, int rank, const Expr *const *dim) {
    check_size(d, rank, dim);
    Def *def = def_new(d->ctx, name, type, rank, dim);
    def->origin = d->origin;
    def->loc = d->node->loc;
    return def;
}

Def *define_out(Definer *d, int i, Dtype type, int rank, const Expr *const *dim) {
    bool wanted = i < d->node->nout && d->node->out[i];
    Def *def = make_def(d, wanted ? d->node->out[i]->name : str_f(d->ctx, "%s.%d", d->node->op, i),
                        type, rank, dim);
    define_set(d, i, def->buf);
    return def;
}

Def *define_temp(Definer *d, const char *name, Dtype type, int rank, const Expr *const *dim) {
    bool named = d->node->nout && d->node->out[0];
    return make_def(d, str_f(d->ctx, "%s.%s", named ? d->node->out[0]->name : d->node->op, name),
                    type, rank, dim);
}

void define_emit(Definer *d, Def *def) {
    Item *it = item_new(d->ctx, d->block, ITEM_DEF);
    it->def = def;
    it->origin = d->origin;
    def->origin = d->origin;
}

Call *define_call(Definer *d, const char *fn, int nin, Buf *const *in) {
    Call *c = ctx_new(d->ctx, Call);
    c->fn = str(d->ctx, fn);
    for (int i = 0; i < nin; i++)
        vec_push(d->ctx, &c->in, in[i]);
    c->origin = d->origin;
    c->loc = d->node->loc;
    Item *it = item_new(d->ctx, d->block, ITEM_CALL);
    it->call = c;
    it->origin = d->origin;
    return c;
}

/* ---- constants ------------------------------------------------------------------------------- */

Buf *define_const_i64(Definer *d, int n, const int64_t *v) {
    int64_t dim[1] = {n};
    const Const *c = const_new(d->ctx, T_I64, n, ctx_copy(d->ctx, v, (size_t)n * sizeof *v));
    Buf *b = buf_const(d->ctx, str(d->ctx, "constant"), c, 1, dim);
    vec_push(d->ctx, &d->prog->consts, b);
    return b;
}

Buf *define_const_scalar(Definer *d, Dtype t, double v) {
    void *data = ctx_alloc(d->ctx, 16);
    const_put(t, data, 0, expr_const(d->ctx, t, v));
    Buf *b = buf_const(d->ctx, str(d->ctx, "constant"), const_new(d->ctx, t, 1, data), 0, NULL);
    vec_push(d->ctx, &d->prog->consts, b);
    return b;
}

/* ---- ops in place ---------------------------------------------------------------------------- */

static void push_number(Ctx *ctx, Lex *lex, Attr *a) {
    bool neg = lex_take(lex, "-");
    if (lex->kind == 'f') {
        double *f = ctx_newn(ctx, double, a->n + 1);
        for (int i = 0; i < a->n; i++)
            f[i] = a->floats[i];
        f[a->n] = neg ? -lex->f : lex->f;
        a->floats = f;
        a->kind = ATTR_FLOATS;
    } else {
        int64_t *v = ctx_newn(ctx, int64_t, a->n + 1);
        for (int i = 0; i < a->n; i++)
            v[i] = a->ints[i];
        v[a->n] = neg ? -lex->i : lex->i;
        a->ints = v;
        a->kind = ATTR_INTS;
    }
    a->n++;
    lex_next(lex);
}

/* "axis = 1, mode = \"x\", alpha = 0.5, perm = [1, 0]" */
static void parse_attrs(Ctx *ctx, Node *n, const char *text) {
    VEC(Attr) attrs = {0};
    Lex lex;
    lex_init(&lex, ctx, "attributes", text);
    while (lex.kind == 'n') {
        Attr a = {.name = str(ctx, lex.tok)};
        lex_next(&lex);
        if (!lex_take(&lex, "="))
            break;
        if (lex.kind == 's') {
            a.kind = ATTR_STRING;
            a.s = (ConstStr){str(ctx, lex.tok), (int64_t)strlen(lex.tok)};
            lex_next(&lex);
        } else if (lex_take(&lex, "[")) {
            a.kind = ATTR_INTS;
            while (!lex_take(&lex, "]") && lex.kind) {
                push_number(ctx, &lex, &a);
                lex_take(&lex, ",");
            }
        } else {
            push_number(ctx, &lex, &a);
            a.i = a.kind == ATTR_INTS ? a.ints[0] : 0;
            a.f = a.kind == ATTR_FLOATS ? a.floats[0] : 0;
            a.kind = a.kind == ATTR_INTS ? ATTR_INT : ATTR_FLOAT;
        }
        vec_push(ctx, &attrs, a);
        lex_take(&lex, ",");
    }
    if (lex.kind)
        internal_error(ctx, "attributes '%s'", text);
    n->attr = attrs.at;
    n->nattr = attrs.len;
}

bool define_node_n(Definer *d, const char *op, const char *attrs, int nin, Buf *const *in, int nout,
                   Buf **out) {
    Ctx *ctx = d->ctx;
    Node *n = ctx_new(ctx, Node);
    const OnnxOp *row = onnx_op_find("", op);
    if (!row)
        return define_error(d, EXIT_UNSUPPORTED, "the op is made of %s, which is not supported",
                            op);
    *n = (Node){.name = d->node->name,
                .domain = str(ctx, ""),
                .op = str(ctx, op),
                .nin = nin,
                .nout = nout,
                .version = row->version,
                .loc = d->node->loc};
    parse_attrs(ctx, n, attrs);
    n->in = ctx_newn(ctx, Value *, nin);
    n->out = ctx_newn(ctx, Value *, nout);
    Definer c = *d;
    c.node = n;
    c.op = row;
    c.in = ctx_newn(ctx, Val *, nin);
    c.out = ctx_newn(ctx, Val *, nout);
    bool named = d->node->nout && d->node->out[0];
    for (int i = 0; i < nin; i++)
        c.in[i] = in[i] ? define_val(d, in[i]) : NULL;
    for (int i = 0; i < nout; i++) {
        n->out[i] = ctx_new(ctx, Value);
        n->out[i]->name = str_f(ctx, "%s.%s", named ? d->node->out[0]->name : d->node->op, op);
    }
    if (!row->define(&c))
        return false;
    for (int i = 0; i < nout; i++)
        out[i] = c.out[i] ? c.out[i]->buf : NULL;
    return true;
}

Buf *define_node(Definer *d, const char *op, const char *attrs, int nin, Buf *const *in) {
    Buf *out = NULL;
    return define_node_n(d, op, attrs, nin, in, 1, &out) ? out : NULL;
}
