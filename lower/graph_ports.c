/* Gives every output of the model a buffer of its own, written by the program, and notes which takes the place of
 * an input (--state; state_bind.c).
 *
 *   before  output y = x (an input)        after  y_out[i] = x[i] ; output y = y_out
 *   before  past[4,N], present[4,N+1] (N <= 9)      after  both where i*10 + j */
#include "lower/uses.h"

#include <string.h>

#define ROOM_MAX ((int64_t)1 << 30) /* rows; what nobody bounds may be more */

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

/* Do a and b have the same shape, or is b longer in one dimension? *along: in which; -1: none. */
static bool same_shape(Ctx *ctx, const Buf *a, const Buf *b, int *along) {
    bool same = a->rank == b->rank && a->type == b->type;
    *along = -1;
    for (int i = 0; i < a->rank && same; i++) {
        if (a->dim[i] == b->dim[i])
            continue;
        same = *along < 0 && expr_proves(ctx, expr_le(ctx, a->dim[i], b->dim[i]));
        *along = i;
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

static bool is_bound(const Program *p, const Port *in, const Port *out) {
    for (int i = 0; i < p->outputs.len; i++)
        if (p->outputs.at[i].state &&
            (&p->outputs.at[i] == out || !strcmp(p->outputs.at[i].state, in->name)))
            return true;
    return false;
}

static void bind_ports(Lower *lo, const Port *in, Port *out, int along) {
    Def *d = out->buf->def;
    out->state = in->name;
    if (along >= 0 && d && def_appends(lo->ctx, d, in->buf, along))
        split_rows(lo, d, in->buf, along);
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
        diag_note(ctx, "a state keeps its type and shape, or grows along one dimension; --dim and "
                       "--shape fix extents");
        return false;
    }
    if (is_bound(p, in, out))
        return diag_error(ctx, EXIT_USAGE, NULL, "--state %s=%s: one of them is bound already",
                          s->in, s->out);
    bind_ports(lo, in, out, along);
    return true;
}

/* --state auto: every output that is an input with new rows behind. */
static bool bind_all(Lower *lo) {
    Program *p = lo->prog;
    int along, n = 0;
    for (int i = 0; i < p->outputs.len; i++)
        for (int j = 0; j < p->inputs.len; j++) {
            Port *in = &p->inputs.at[j], *out = &p->outputs.at[i];
            if (!out->buf->def || is_bound(p, in, out) ||
                !same_shape(lo->ctx, in->buf, out->buf, &along) || along < 0 ||
                !def_appends(lo->ctx, out->buf->def, in->buf, along))
                continue;
            bind_ports(lo, in, out, along);
            n++;
        }
    return n || diag_error(lo->ctx, EXIT_USAGE, NULL,
                           "--state auto: no output is an input with new rows behind it");
}

/* ---- room for rows -------------------------------------------------------------------------------------- */

typedef struct Called {
    const Buf *in, *out;
    bool found;
} Called;

static void find_called(void *data, Block *b, Item *it) {
    Called *c = data;
    (void)b;
    for (int i = 0; it->call && i < it->call->in.len; i++)
        c->found |= it->call->in.at[i] == c->in || it->call->in.at[i] == c->out;
    for (int i = 0; it->call && i < it->call->out.len; i++)
        c->found |= it->call->out.at[i] == c->out;
}

/* Rows behind other dimensions stay where they are when each of these has room for all rows that may come. */
static void set_room(Ctx *ctx, Buf *b, int along, int64_t room) {
    const Expr *stride = expr_i(ctx, 1), *at = expr_i(ctx, 0);
    b->dimvar = ctx_newn(ctx, Sym *, b->rank);
    for (int i = b->rank; i-- > 0;) {
        b->dimvar[i] = sym_axis(ctx, str(ctx, "i"), b->dim[i]);
        at = expr_add(ctx, at, expr_mul(ctx, expr_sym(ctx, b->dimvar[i]), stride));
        stride = expr_mul(ctx, stride, i == along ? expr_i(ctx, room) : b->dim[i]);
    }
    b->where = at;
    b->size = stride;
}

/* Can so much memory be? Extents that are not known yet count as 1. */
static bool room_exists(const Buf *b, int along, int64_t room) {
    int64_t n = type_bytes(type_dtype(b->type)), dim;
    for (int i = 0; i < b->rank; i++)
        if (i == along ? !mul_ok(n, room, &n) : expr_is_int(b->dim[i], &dim) && !mul_ok(n, dim, &n))
            return false;
    return true;
}

static bool give_room(Lower *lo, Port *out) {
    Ctx *ctx = lo->ctx;
    int64_t room;
    Port *in = port_named(lo->prog->inputs.at, lo->prog->inputs.len, out->state);
    int along = state_along(ctx, lo->prog, out->buf, &room);
    if (along < 0)
        return true;
    if (room > ROOM_MAX || !room_exists(out->buf, along, room) ||
        !expr_over_dims(ctx, out->buf->dim[along])) {
        diag_error(ctx, EXIT_USAGE, NULL,
                   "--state %s=%s: it grows along dimension %d, behind others, so its largest "
                   "extent there must be known",
                   in->name, out->name, along);
        diag_note(ctx, "'%s' is %s; --dim NAME=0..1023 bounds an extent", out->name,
                  port_shape(ctx, out->buf));
        return false;
    }
    Called c = {in->buf, out->buf, false};
    block_walk(lo->prog->main, find_called, &c);
    if (c.found)
        return diag_error(ctx, EXIT_USAGE, NULL,
                          "--state %s=%s: it grows along dimension %d, behind others, and a "
                          "function that takes whole tensors uses it",
                          in->name, out->name, along);
    set_room(ctx, in->buf, along, room);
    set_room(ctx, out->buf, along, room);
    return true;
}

/* ---- all ------------------------------------------------------------------------------------------------- */

bool graph_ports(Lower *lo) {
    const Options *opt = lo->ctx->opt;
    for (int i = 0; opt && i < opt->states.len; i++)
        if (!(opt->states.at[i].in ? bind_state(lo, &opt->states.at[i]) : bind_all(lo)))
            return false;
    Map *taken = map_new(lo->ctx);
    for (int i = 0; i < lo->prog->outputs.len; i++) {
        Port *p = &lo->prog->outputs.at[i];
        bool own = p->buf->space == SPACE_ARENA || p->buf->space == SPACE_OUTPUT;
        if (!own || map_get(taken, p->buf))
            p->buf = copy_def(lo->ctx, lo->prog->main, p->name, p->buf)->buf;
        p->buf->space = SPACE_OUTPUT;
        map_put(taken, p->buf, p->buf);
        if (p->state && !give_room(lo, p))
            return false;
    }
    return true;
}
