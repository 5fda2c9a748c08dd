/* frontend/slot.c — storage that several paths of control write, and bodies.
 *
 * Precondition: see control.h. A slot whose extents are all fixed is a plain buffer; else
 *   s f32[n, 4], n <= 8   →   flat f32[32] ; store: flat[i*4 + j] = v[i, j], n := rows of v
 *                             view:  s[i, j] = flat[i*4 + j]                                  */
#include "frontend/control.h"
#include "frontend/define.h"

#include <string.h>

/* ---- symbols of a block ------------------------------------------------------------------------ */

typedef struct Inner {
    Map *syms;
    bool found;
} Inner;

static void collect_sym(void *data, Block *b, Item *it) {
    Map *syms = data;
    (void)b;
    if (it->sym)
        map_put(syms, it->sym, syms);
    for (int i = 0; it->call && i < it->call->result.len; i++)
        map_put(syms, it->call->result.at[i], syms);
}

Map *inner_syms(Ctx *ctx, Block *b) {
    Map *syms = map_new(ctx);
    block_walk(b, collect_sym, syms);
    return syms;
}

void sym_bounded(Definer *d, Sym *s, const Expr *most) {
    s->max = expr_range(d->ctx, most).max;
    map_put(d->state->bounds, s, (void *)(uintptr_t)most);
}

static void find_sym(void *data, const Expr *e) {
    Inner *in = data;
    in->found |= e->op == OP_LOAD || (e->op == OP_SYM && map_get(in->syms, e->u.sym));
}

bool is_outer(Ctx *ctx, Map *inner, const Expr *e) {
    Inner in = {inner, false};
    expr_walk(ctx, e, find_sym, &in);
    return !in.found;
}

/* By the largest value of its range. */
static const Expr *constant_bound(Ctx *ctx, const Expr *e) {
    int64_t max = expr_range(ctx, e).max;
    return max < INT32_MAX ? expr_i(ctx, max) : NULL;
}

/* Sums, and products of what is not negative; a negative factor takes the other's smallest value. */
static const Expr *bound_of_sum(Definer *d, Map *inner, const Expr *e) {
    Ctx *ctx = d->ctx;
    const Expr *a = outer_bound(d, inner, e->kid[0]), *b = outer_bound(d, inner, e->kid[1]);
    Range x = expr_range(ctx, e->kid[0]), y = expr_range(ctx, e->kid[1]);
    int64_t c;
    if (e->op == OP_ADD)
        return a && b ? expr_add(ctx, a, b) : NULL;
    if (e->op == OP_SUB)
        return a && y.min > INT32_MIN ? expr_sub(ctx, a, expr_i(ctx, y.min)) : NULL;
    if (x.min >= 0 && y.min >= 0)
        return a && b ? expr_mul(ctx, a, b) : NULL;
    if (expr_is_int(e->kid[1], &c) && c < 0 && c > INT32_MIN && x.min > INT32_MIN &&
        x.min < INT32_MAX)
        return expr_i(ctx, x.min * c);
    return NULL;
}

static const Expr *bound_of_sym(Definer *d, Map *inner, Sym *s) {
    const Expr *most = map_get(d->state->bounds, s);
    if (most)
        return outer_bound(d, inner, most);
    return s->kind == SYM_BIND && s->value ? outer_bound(d, inner, s->value) : NULL;
}

const Expr *outer_bound(Definer *d, Map *inner, const Expr *e) {
    Ctx *ctx = d->ctx;
    const Expr *found = NULL, *a, *b;
    int n = e->nkid;
    if (is_outer(ctx, inner, e))
        return e;
    switch ((Op)e->op) {
    case OP_SYM:
        found = bound_of_sym(d, inner, e->u.sym);
        break;
    case OP_SELECT:
    case OP_MAX:
    case OP_MIN:
        a = outer_bound(d, inner, e->kid[n - 2]);
        b = outer_bound(d, inner, e->kid[n - 1]);
        if (e->op == OP_MIN)
            found = a && b ? expr_min(ctx, a, b) : a ? a : b;
        else
            found = a && b ? expr_max(ctx, a, b) : NULL;
        break;
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
        found = bound_of_sum(d, inner, e);
        break;
    default:
        break;
    }
    return found ? found : constant_bound(ctx, e);
}

/* ---- slots -------------------------------------------------------------------------------------- */

void slot_init(Definer *d, Slot *s, Str name, const Buf *like, const Expr *const *dim,
               Sym *const *sym, const Expr *const *most) {
    Ctx *ctx = d->ctx;
    *s = (Slot){.name = name, .type = type_dtype(like->type), .rank = like->rank};
    bool flat = false;
    s->capacity = expr_i(ctx, 1);
    for (int i = 0; i < s->rank; i++) {
        s->sym[i] = sym ? sym[i] : NULL;
        s->dim[i] = s->sym[i] ? expr_sym(ctx, s->sym[i]) : dim[i];
        s->capacity = expr_mul(ctx, s->capacity, s->sym[i] ? most[i] : dim[i]);
        flat |= s->sym[i] != NULL;
    }
    s->buf =
        flat ? buf_new(ctx, str_f(ctx, "%s.storage", name), s->type, SPACE_ARENA, 1, &s->capacity)
             : buf_new(ctx, name, s->type, SPACE_ARENA, s->rank, s->dim);
    if (!flat)
        s->capacity = NULL;
}

/* Position of an element in row-major order. */
static const Expr *flat_index(Ctx *ctx, int rank, const Expr *const *dim,
                              const Expr *const *index) {
    const Expr *at = expr_i(ctx, 0);
    for (int i = 0; i < rank; i++)
        at = expr_add(ctx, expr_mul(ctx, at, dim[i]), index[i]);
    return at;
}

bool slot_store(Definer *d, Slot *s, Buf *v) {
    Ctx *ctx = d->ctx;
    if (s->buf == v)
        return true;
    if (s->capacity && !define_check(d, expr_le(ctx, buf_count(ctx, v), s->capacity), CHECK_DIM,
                                     "a value that changes its shape"))
        return false;
    Def *def = def_update(ctx, s->name, s->buf);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < s->rank; i++)
        index[i] = def_axis(ctx, def, str_f(ctx, "i%d", i), AXIS_PAR, v->dim[i]);
    if (s->capacity)
        def->at[0] = flat_index(ctx, s->rank, v->dim, index);
    else
        def->at = NULL;
    def->value = buf_load(ctx, v, index);
    def->loc = d->node->loc;
    define_emit(d, def);
    return true;
}

void set_sym(Definer *d, Sym *sym, const Expr *e) {
    Item *it = item_new(d->ctx, d->block, ITEM_BIND);
    it->sym = sym;
    it->e = e;
    it->origin = d->origin;
}

void slots_extents(Definer *d, int n, Slot *const *s, Buf *const *v) {
    Ctx *ctx = d->ctx;
    VEC(Sym *) to = {0};
    VEC(const Expr *) now = {0};
    for (int k = 0; k < n; k++)
        for (int i = 0; i < s[k]->rank; i++)
            if (s[k]->sym[i] && v[k]->dim[i] != s[k]->dim[i]) {
                vec_push(ctx, &to, s[k]->sym[i]);
                vec_push(ctx, &now, v[k]->dim[i]);
            }
    for (int i = 0; i < to.len && to.len > 1; i++) { /* all read before any is set */
        Sym *t = sym_new(ctx, SYM_BIND, str(ctx, "extent"), 0, to.at[i]->max);
        t->value = now.at[i];
        set_sym(d, t, now.at[i]);
        now.at[i] = expr_sym(ctx, t);
    }
    for (int i = 0; i < to.len; i++)
        set_sym(d, to.at[i], now.at[i]);
}

Buf *slot_view(Definer *d, Slot *s) {
    if (!s->capacity)
        return s->buf;
    Def *def = def_new(d->ctx, s->name, s->type, s->rank, s->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < s->rank; i++)
        index[i] = def_var(d->ctx, def, i);
    const Expr *at = flat_index(d->ctx, s->rank, s->dim, index);
    def->value = buf_load(d->ctx, s->buf, &at);
    def->buf->bound = s->capacity;
    def->loc = d->node->loc;
    define_emit(d, def);
    return def->buf;
}

/* ---- stacks ---------------------------------------------------------------------------------------- */

/* Extents of the whole: those of one value, and n at the new axis. */
static void stack_dims(const Stack *s, const Expr *const *of, const Expr *n, const Expr **dim) {
    for (int i = 0; i <= s->rank; i++)
        dim[i] = i == s->axis ? n : of[i < s->axis ? i : i - 1];
}

bool stack_init(Definer *d, Map *inner, Stack *s, Str name, const Buf *v, int axis,
                const Expr *trip) {
    Ctx *ctx = d->ctx;
    *s = (Stack){.name = name, .type = type_dtype(v->type), .rank = v->rank, .axis = axis};
    s->trip = trip;
    const Expr *capacity = trip, *dim[RANK_MAX];
    for (int i = 0; i < v->rank; i++) {
        s->dim[i] = v->dim[i];
        const Expr *most = outer_bound(d, inner, v->dim[i]);
        if (!most)
            return define_error(d, EXIT_UNSUPPORTED,
                                "the size of '%s' depends on the iteration, without a bound", name);
        capacity = expr_mul(ctx, capacity, most);
        if (most == v->dim[i])
            continue;
        s->sym[i] = sym_new(ctx, SYM_RUN, str_f(ctx, "%s_%d", name, i), 0, INT64_MAX);
        sym_bounded(d, s->sym[i], most);
        s->dim[i] = expr_sym(ctx, s->sym[i]);
        s->flat = true;
    }
    stack_dims(s, s->dim, trip, dim);
    s->buf = s->flat
                 ? buf_new(ctx, str_f(ctx, "%s.storage", name), s->type, SPACE_ARENA, 1, &capacity)
                 : buf_new(ctx, name, s->type, SPACE_ARENA, s->rank + 1, dim);
    return true;
}

void stack_clear(Definer *d, Stack *s) {
    for (int i = 0; i < s->rank; i++)
        if (s->sym[i])
            set_sym(d, s->sym[i], expr_i(d->ctx, 0));
}

bool stack_store(Definer *in, Stack *s, Buf *v, const Expr *t, const Expr *at) {
    Ctx *ctx = in->ctx;
    const Expr *dim[RANK_MAX], *index[RANK_MAX], *whole[RANK_MAX];
    const Expr *first = expr_eq(ctx, t, expr_i(ctx, 0));
    for (int i = 0; i < s->rank; i++) {
        if (!s->sym[i])
            continue;
        const Expr *same = expr_eq(ctx, s->dim[i], v->dim[i]);
        if (!define_check(in, expr_or(ctx, first, same), CHECK_DIM, "sizes of a scan output"))
            return false;
        set_sym(in, s->sym[i], v->dim[i]);
    }
    Def *def = def_update(ctx, s->name, s->buf);
    for (int i = 0; i < s->rank; i++)
        index[i] = def_axis(ctx, def, str_f(ctx, "i%d", i), AXIS_PAR, v->dim[i]);
    stack_dims(s, index, at, whole);
    stack_dims(s, v->dim, s->trip, dim);
    if (s->flat)
        def->at[0] = flat_index(ctx, s->rank + 1, dim, whole);
    for (int i = 0; i <= s->rank && !s->flat; i++)
        def->at[i] = whole[i];
    def->value = buf_load(ctx, v, index);
    def->loc = in->node->loc;
    define_emit(in, def);
    return true;
}

Buf *stack_view(Definer *d, Stack *s, const Expr *n) {
    Ctx *ctx = d->ctx;
    if (!n && !s->flat)
        return s->buf;
    const Expr *dim[RANK_MAX], *from[RANK_MAX], *index[RANK_MAX];
    stack_dims(s, s->dim, n ? n : s->trip, dim);
    stack_dims(s, s->dim, s->trip, from);
    Def *def = def_new(ctx, s->name, s->type, s->rank + 1, dim);
    for (int i = 0; i <= s->rank; i++)
        index[i] = def_var(ctx, def, i);
    if (s->flat)
        index[0] = flat_index(ctx, s->rank + 1, from, index);
    def->value = buf_load(ctx, s->buf, index);
    def->buf->bound = buf_count(ctx, s->buf);
    def->loc = d->node->loc;
    define_emit(d, def);
    return def->buf;
}

/* ---- values -------------------------------------------------------------------------------------- */

void val_leaves(Ctx *ctx, const Val *v, Leaves *out) {
    if (v->kind == VAL_TENSOR)
        vec_push(ctx, &out->at, v->buf);
    for (int i = 0; i < v->elems.len; i++)
        val_leaves(ctx, v->elems.at[i], out);
}

bool val_same_form(const Val *a, const Val *b) {
    if (a->kind != b->kind || a->elems.len != b->elems.len)
        return false;
    if (a->kind == VAL_TENSOR)
        return a->buf->type == b->buf->type && a->buf->rank == b->buf->rank;
    for (int i = 0; i < a->elems.len; i++)
        if (!val_same_form(a->elems.at[i], b->elems.at[i]))
            return false;
    return true;
}

Val *val_with(Ctx *ctx, const Val *v, Buf *const **next) {
    Val *copy = ctx_new(ctx, Val);
    copy->kind = v->kind;
    copy->elem_type = v->elem_type;
    if (v->kind == VAL_TENSOR)
        copy->buf = *(*next)++;
    for (int i = 0; i < v->elems.len; i++)
        vec_push(ctx, &copy->elems, val_with(ctx, v->elems.at[i], next));
    return copy;
}

/* ---- bodies -------------------------------------------------------------------------------------- */

Definer define_inside(const Definer *d, Scope *scope) {
    Definer in = *d;
    in.scope = scope;
    in.block = scope->block;
    return in;
}

bool define_body(Definer *d, const Graph *body, Scope *scope, int nin, Val *const *in, int nout,
                 Val **out) {
    if (body->inputs.len != nin || body->outputs.len != nout)
        return define_error(d, EXIT_MALFORMED,
                            "its body has %d inputs and %d outputs, not %d and %d",
                            body->inputs.len, body->outputs.len, nin, nout);
    for (int i = 0; i < nin; i++)
        define_bind(scope, body->inputs.at[i], in[i]);
    if (!define_nodes(d->state, scope, body, NULL))
        return false;
    for (int i = 0; i < nout; i++) {
        out[i] = define_lookup(d->state, scope, body->outputs.at[i]);
        if (!out[i])
            return define_error(d, EXIT_MALFORMED, "output '%s' of its body is not defined",
                                body->outputs.at[i]->name);
    }
    return true;
}

bool known_constant(Ctx *ctx, Buf *b, int64_t *v) {
    const Expr *const *known = buf_known(ctx, b);
    int64_t n;
    return known && buf_static(b, &n) && n >= 1 && expr_is_int(known[0], v);
}

Buf *define_number(Definer *d, const char *name, Dtype type, const Expr *e) {
    Def *def = define_temp(d, name, type, 0, NULL);
    def->value = expr_cast(d->ctx, type, e);
    define_emit(d, def);
    return def->buf;
}
