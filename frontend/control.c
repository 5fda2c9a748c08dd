/* frontend/control.c — If: one branch now when the condition is known, else both behind ITEM_IF.
 *
 * A result of an If is a slot that each branch stores into; where the branches' extents differ, symbols
 * say which it was.
 *   y = If (c) then f(x) else g(x)   →   if c { t = f(x); y = t } else { e = g(x); y = e }
 * Loop and Scan are in loops.c, sequences and optionals in sequence.c. */
#include "frontend/control.h"
#include "frontend/define.h"

typedef struct Branch {
    Definer d;
    Scope *scope;
    Val **out;
    Map *syms; /* set inside */
} Branch;

static const Graph *branch_graph(Definer *d, const char *name) {
    const Attr *a = node_attr(d->node, name);
    return a ? a->graph : NULL;
}

static bool define_branch(Definer *d, const char *name, Block *block, Branch *b) {
    const Graph *g = branch_graph(d, name);
    if (!g)
        return define_error(d, EXIT_MALFORMED, "attribute '%s' is missing", name);
    b->scope = define_scope(d->ctx, d->scope, block);
    b->d = define_inside(d, b->scope);
    b->out = ctx_newn(d->ctx, Val *, d->node->nout);
    bool ok = define_body(d, g, b->scope, 0, NULL, d->node->nout, b->out);
    b->syms = inner_syms(d->ctx, block);
    return ok;
}

/* An extent that differs: the larger of both, at most; NULL: no bound. */
static const Expr *larger(Definer *d, const Branch *b, const Expr *x, const Expr *y) {
    x = outer_bound(d, b[0].syms, x);
    y = outer_bound(d, b[1].syms, y);
    return x && y ? expr_max(d->ctx, x, y) : NULL;
}

/* Room for a tensor that is x after one branch and y after the other. */
static bool merge_slot(Definer *d, const Branch *b, Str name, Buf *x, Buf *y, Slot *s) {
    Sym *sym[RANK_MAX] = {NULL};
    const Expr *most[RANK_MAX] = {NULL};
    for (int i = 0; i < x->rank; i++) {
        if (x->dim[i] == y->dim[i] && is_outer(d->ctx, b[0].syms, x->dim[i]))
            continue;
        most[i] = larger(d, b, x->dim[i], y->dim[i]);
        if (!most[i])
            return define_error(d, EXIT_UNSUPPORTED,
                                "the size of '%s' has no bound: its branches give %s and %s", name,
                                expr_str(d->ctx, x->dim[i]), expr_str(d->ctx, y->dim[i]));
        sym[i] = sym_new(d->ctx, SYM_RUN, str_f(d->ctx, "%s_%d", name, i), 0, INT64_MAX);
        sym_bounded(d, sym[i], most[i]);
    }
    slot_init(d, s, name, x, x->dim, sym, most);
    return true;
}

/* Output k: tensors that are the same in both branches stay what they are. */
static Val *merge_output(Definer *d, Branch *b, int k) {
    Ctx *ctx = d->ctx;
    Val *x = b[0].out[k], *y = b[1].out[k];
    Str name = d->node->out[k]->name;
    if (!val_same_form(x, y)) {
        define_error(d, EXIT_UNSUPPORTED,
                     "the branches give '%s' with different ranks, types or lengths", name);
        return NULL;
    }
    Leaves in[2] = {{{0}}, {{0}}};
    val_leaves(ctx, x, &in[0]);
    val_leaves(ctx, y, &in[1]);
    Buf **merged = ctx_newn(ctx, Buf *, in[0].at.len);
    for (int i = 0; i < in[0].at.len; i++) {
        merged[i] = in[0].at.at[i];
        if (merged[i] == in[1].at.at[i])
            continue;
        Slot *s = ctx_new(ctx, Slot);
        if (!merge_slot(d, b, name, in[0].at.at[i], in[1].at.at[i], s))
            return NULL;
        for (int j = 0; j < 2; j++) {
            if (!slot_store(&b[j].d, s, in[j].at.at[i]))
                return NULL;
            slots_extents(&b[j].d, 1, &s, &in[j].at.at[i]);
        }
        merged[i] = slot_view(d, s);
    }
    Buf *const *next = merged;
    return val_with(ctx, x, &next);
}

static const Expr *condition(Definer *d) {
    Buf *c = d->in[0]->kind == VAL_TENSOR ? define_in(d, 0) : NULL;
    int64_t n;
    if (!c || type_dtype(c->type) != T_BOOL || (buf_static(c, &n) && n != 1)) {
        define_error(d, EXIT_MALFORMED, "the condition must be one bool");
        return NULL;
    }
    const Expr *const *known = buf_known(d->ctx, c), *zero[RANK_MAX];
    for (int i = 0; i < c->rank; i++)
        zero[i] = expr_i(d->ctx, 0);
    return known ? known[0] : buf_load(d->ctx, c, zero);
}

static void look_at(void *data, const Expr *e) {
    *(bool *)data |= e->op == OP_LOAD || (e->op == OP_SYM && e->u.sym->kind == SYM_RUN) ||
                     (e->op == OP_SYM && e->u.sym->kind == SYM_BIND &&
                      (!e->u.sym->value || expr_uses_buf(e->u.sym->value, NULL)));
}

/* Do only the shapes of the model's inputs decide? */
static bool is_about_shapes(Ctx *ctx, const Expr *c) {
    bool data = false;
    expr_walk(ctx, c, look_at, &data);
    return !data;
}

/* Do both branches give values that one buffer can hold? */
static bool branches_agree(const Definer *d, const Branch *b) {
    for (int k = 0; k < d->node->nout; k++)
        if (d->node->out[k] && !val_same_form(b[0].out[k], b[1].out[k]))
            return false;
    return true;
}

/* The branch alone, in place. */
static bool take_branch(Definer *d, const char *name) {
    Branch b;
    if (!define_branch(d, name, d->block, &b))
        return false;
    for (int k = 0; k < d->node->nout; k++)
        define_set_val(d, k, b.out[k]);
    return true;
}

bool def_if(Definer *d) {
    static const char *const NAMES[2] = {"then_branch", "else_branch"};
    const Expr *c = condition(d);
    Branch b[2];
    int64_t known;
    uintptr_t taken = (uintptr_t)map_get(d->state->taken, d->node);
    if (!c)
        return false;
    if (expr_is_int(c, &known))
        return take_branch(d, NAMES[!known]);
    if (taken)
        return define_check(d, taken == 1 ? c : expr_not(d->ctx, c), CHECK_DIM,
                            "a shape decides between branches of different ranks") &&
               take_branch(d, NAMES[taken - 1]);
    Item *it = ctx_new(d->ctx, Item);
    *it = (Item){.kind = ITEM_IF, .e = c, .origin = d->origin};
    for (int j = 0; j < 2; j++) {
        it->body[j] = ctx_new(d->ctx, Block);
        if (!define_branch(d, NAMES[j], it->body[j], &b[j]))
            return false;
    }
    if (!branches_agree(d, b) && is_about_shapes(d->ctx, c)) {
        d->state->fork = d->node;
        return false;
    }
    vec_push(d->ctx, &d->block->items, it);
    for (int k = 0; k < d->node->nout; k++) {
        Val *v = d->node->out[k] ? merge_output(d, b, k) : NULL;
        if (d->node->out[k] && !v)
            return false;
        define_set_val(d, k, v);
    }
    return true;
}
