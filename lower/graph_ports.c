/* Gives every output of the model a buffer of its own, written by the program, and notes which takes the place of
 * an input (--state; state_bind.c).
 *
 *   before  output y = x (an input)        after  y_out[i] = x[i] ; output y = y_out */
#include "lower/uses.h"

#include <string.h>

static Def *copy_def(Ctx *ctx, Block *block, Str name, Buf *from) {
    Def *d = def_new(ctx, name, type_dtype(from->type), from->rank, from->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < from->rank; i++)
        index[i] = def_var(ctx, d, i);
    d->value = buf_load(ctx, from, index);
    d->origin = from->def ? from->def->origin : NULL;
    item_new(ctx, block, ITEM_DEF)->def = d;
    return d;
}

static Port *port_named(Port *port, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(port[i].name, name))
            return &port[i];
    return NULL;
}

static Str port_shape(Ctx *ctx, const Buf *b) {
    Text t = text_new(ctx);
    text_f(&t, "%s[", type_text(type_dtype(b->type)));
    for (int i = 0; i < b->rank; i++)
        text_f(&t, "%s%s", i ? "," : "", expr_str(ctx, b->dim[i]));
    text_c(&t, ']');
    return t.at;
}

/* Do a and b have the same shape, or does b start with what a holds and go on? *along: the dimension in which it is
 * longer, with nothing but 1 before it; -1: none. */
static bool same_shape(Ctx *ctx, const Buf *a, const Buf *b, int *along) {
    bool same = a->rank == b->rank && a->type == b->type, first = true;
    *along = -1;
    for (int i = 0; i < a->rank && same; i++) {
        if (a->dim[i] != b->dim[i]) {
            same = first && expr_proves(ctx, expr_le(ctx, a->dim[i], b->dim[i]));
            *along = i;
        }
        first &= *along < 0 && expr_is(b->dim[i], 1);
    }
    return same;
}

/* Is d in[…] where its index along `along` is below the input's extent? Then only what follows is new. */
static bool def_appends(Ctx *ctx, const Def *d, const Buf *in, int along) {
    const Expr *value = d->value, *axis = def_var(ctx, d, along);
    if (d->buf->ndef != 1 || d->at || d->when || d->scan || def_is_reduction(d) ||
        value->op != OP_SELECT || value->kid[0] != expr_lt(ctx, axis, in->dim[along]) ||
        value->kid[1]->op != OP_LOAD || value->kid[1]->u.buf != in)
        return false;
    for (int i = 0; i < in->rank; i++)
        if (value->kid[1]->kid[i] != def_var(ctx, d, i))
            return false;
    return true;
}

/* The rows of d from `start` on, or those below it: with its value, an equation of their own. */
static Def *rows_def(Ctx *ctx, const Def *d, int along, const Expr *start, bool behind) {
    Def *rows = def_update(ctx, d->name, d->buf);
    const Expr *end = d->buf->dim[along], *value = d->value->kid[behind ? 2 : 1];
    for (int i = 0; i < d->naxis; i++) {
        const Expr *extent = i != along ? d->buf->dim[i]
                             : behind   ? expr_sub(ctx, end, start)
                                        : start;
        const Expr *axis = def_axis(ctx, rows, d->axis[i].var->name, AXIS_PAR, extent);
        rows->at[i] = behind && i == along ? expr_add(ctx, axis, start) : axis;
        value = expr_subst(ctx, value, 1, &d->axis[i].var, &rows->at[i]);
    }
    rows->value = value;
    rows->origin = d->origin;
    rows->loc = d->loc;
    return rows;
}

/* out = in and new rows behind: two equations, of which state_bind.c drops the first. */
static void split_rows(Lower *lo, Def *d, const Buf *in, int along) {
    Block *b = lo->prog->main;
    Def *old = rows_def(lo->ctx, d, along, in->dim[along], false);
    Def *fresh = rows_def(lo->ctx, d, along, in->dim[along], true);
    for (int i = 0; i < b->items.len; i++) {
        if (b->items.at[i]->kind != ITEM_DEF || b->items.at[i]->def != d)
            continue;
        b->items.at[i]->def = old;
        Item *item = item_new(lo->ctx, b, ITEM_DEF);
        item->def = fresh;
        for (int k = b->items.len - 1; k > i + 1; k--)
            b->items.at[k] = b->items.at[k - 1];
        b->items.at[i + 1] = item;
        d->buf->def = old;
        d->buf->ndef = 2;
        return;
    }
}

/* --state in=out */
static bool bind_state(Lower *lo, const StateBind *s) {
    Ctx *ctx = lo->ctx;
    Program *p = lo->prog;
    Port *in = port_named(p->inputs.at, p->inputs.len, s->in);
    Port *out = port_named(p->outputs.at, p->outputs.len, s->out);
    if (!in || !out)
        return diag_error(ctx, EXIT_USAGE, NULL, "--state %s=%s: the model has no %s '%s'", s->in,
                          s->out, in ? "output" : "input", in ? s->out : s->in);
    int along;
    if (!same_shape(ctx, in->buf, out->buf, &along)) {
        diag_error(ctx, EXIT_USAGE, NULL, "--state %s=%s: '%s' is %s, '%s' is %s", s->in, s->out,
                   s->in, port_shape(ctx, in->buf), s->out, port_shape(ctx, out->buf));
        diag_note(ctx,
                  "a state keeps its type and shape, or grows along its first dimension over 1; "
                  "--dim and --shape fix extents");
        return false;
    }
    for (int i = 0; i < p->outputs.len; i++)
        if (p->outputs.at[i].state &&
            (&p->outputs.at[i] == out || !strcmp(p->outputs.at[i].state, s->in)))
            return diag_error(ctx, EXIT_USAGE, NULL, "--state %s=%s: one of them is bound already",
                              s->in, s->out);
    out->state = in->name;
    if (along >= 0 && out->buf->def && def_appends(ctx, out->buf->def, in->buf, along))
        split_rows(lo, out->buf->def, in->buf, along);
    return true;
}

bool graph_ports(Lower *lo) {
    const Options *opt = lo->ctx->opt;
    for (int i = 0; opt && i < opt->states.len; i++)
        if (!bind_state(lo, &opt->states.at[i]))
            return false;
    Map *taken = map_new(lo->ctx);
    for (int i = 0; i < lo->prog->outputs.len; i++) {
        Port *p = &lo->prog->outputs.at[i];
        bool own = p->buf->space == SPACE_ARENA || p->buf->space == SPACE_OUTPUT;
        if (!own || map_get(taken, p->buf))
            p->buf = copy_def(lo->ctx, lo->prog->main, p->name, p->buf)->buf;
        p->buf->space = SPACE_OUTPUT;
        map_put(taken, p->buf, p->buf);
    }
    return true;
}
