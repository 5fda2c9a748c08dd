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

static bool same_shape(const Buf *a, const Buf *b) {
    bool same = a->rank == b->rank && a->type == b->type;
    for (int i = 0; i < a->rank && same; i++)
        same = a->dim[i] == b->dim[i];
    return same;
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
    if (!same_shape(in->buf, out->buf)) {
        diag_error(ctx, EXIT_USAGE, NULL, "--state %s=%s: '%s' is %s, '%s' is %s", s->in, s->out,
                   s->in, port_shape(ctx, in->buf), s->out, port_shape(ctx, out->buf));
        diag_note(ctx, "a state keeps its type and shape; --dim and --shape fix extents");
        return false;
    }
    for (int i = 0; i < p->outputs.len; i++)
        if (p->outputs.at[i].state &&
            (&p->outputs.at[i] == out || !strcmp(p->outputs.at[i].state, s->in)))
            return diag_error(ctx, EXIT_USAGE, NULL, "--state %s=%s: one of them is bound already",
                              s->in, s->out);
    out->state = in->name;
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
