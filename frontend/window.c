/* window.c — where the windows of convolutions and pools lie (contract.h).
 *
 *   kernel 3, stride 2, pads 1, 1 over 224 elements  →  out 112, reads 2*p + r - 1 where inside */
#include "frontend/contract.h"

#include <string.h>

#define WINDOW_MAX ((int64_t)1 << 31)

bool window_list(Definer *d, const char *name, int n, int64_t min, int64_t *v) {
    int count;
    const int64_t *a = node_ints(d->node, name, &count);
    if (!a)
        return true;
    if (count != n)
        return define_error(d, EXIT_MALFORMED, "%s has %d values where %d are needed", name, count,
                            n);
    for (int i = 0; i < n; i++) {
        if (a[i] < min || a[i] >= WINDOW_MAX)
            return define_error(d, EXIT_MALFORMED, "%s has the value %lld", name, (long long)a[i]);
        v[i] = a[i];
    }
    return true;
}

static bool window_kernel(Definer *d, Window *w, Buf *weights) {
    int64_t shape[RANK_MAX];
    for (int i = 0; i < w->n; i++)
        shape[i] = -1;
    if (!window_list(d, "kernel_shape", w->n, 1, shape))
        return false;
    for (int i = 0; i < w->n; i++) {
        if (!weights && shape[i] < 0)
            return define_error(d, EXIT_MALFORMED, "kernel_shape is missing");
        const Expr *e = shape[i] < 0 ? NULL : expr_i(d->ctx, shape[i]);
        if (weights && e && !define_same(d, weights->dim[i + 2], e, "kernel_shape"))
            return false;
        w->kernel[i] = e ? e : weights->dim[i + 2];
    }
    return true;
}

bool window_begin(Definer *d, Window *w, Buf *x, Buf *weights) {
    w->n = x->rank - 2;
    if (w->n < 1)
        return define_error(d, EXIT_MALFORMED, "an input of rank %d; it has to be 3 or more",
                            x->rank);
    if (weights && weights->rank != x->rank)
        return define_error(d, EXIT_MALFORMED, "weights of rank %d for an input of rank %d",
                            weights->rank, x->rank);
    int64_t pads[2 * RANK_MAX] = {0};
    for (int i = 0; i < w->n; i++)
        w->stride[i] = w->dilation[i] = 1;
    if (!window_kernel(d, w, weights) || !window_list(d, "strides", w->n, 1, w->stride) ||
        !window_list(d, "dilations", w->n, 1, w->dilation) ||
        !window_list(d, "pads", 2 * w->n, -WINDOW_MAX, pads))
        return false;
    if (!eq_word(d, "auto_pad", "NOTSET", "NOTSET"))
        memset(pads, 0, sizeof pads);
    for (int i = 0; i < w->n; i++) {
        w->in[i] = x->dim[i + 2];
        w->head[i] = expr_i(d->ctx, pads[i]);
        w->tail[i] = expr_i(d->ctx, pads[i + w->n]);
    }
    return true;
}

/* What one window covers: (kernel - 1) * dilation + 1. */
static const Expr *window_span(Definer *d, const Window *w, int i) {
    return eq_text(d, T_I64, "(k - 1) * dilation + 1", "k", w->kernel[i], "dilation",
                   expr_i(d->ctx, w->dilation[i]), NULL);
}

bool window_extents(Definer *d, Window *w, bool ceil) {
    Ctx *ctx = d->ctx;
    bool upper = eq_word(d, "auto_pad", "NOTSET", "SAME_UPPER");
    bool same = upper || eq_word(d, "auto_pad", "NOTSET", "SAME_LOWER");
    const Expr *zero = expr_i(ctx, 0), *one = expr_i(ctx, 1);
    for (int i = 0; i < w->n; i++) {
        const Expr *span = window_span(d, w, i), *s = expr_i(ctx, w->stride[i]), *out;
        if (same) {
            out = expr_ceildiv(ctx, w->in[i], w->stride[i]);
            const Expr *all = eq_text(d, T_I64, "max((o - 1) * s + span - n, 0)", "o", out, "s", s,
                                      "span", span, "n", w->in[i], NULL);
            const Expr *half =
                expr_fdiv(ctx, upper ? all : expr_add(ctx, all, one), expr_i(ctx, 2));
            w->head[i] = half;
            w->tail[i] = expr_sub(ctx, all, half);
        } else {
            const Expr *room = eq_text(d, T_I64, "n + a + b - span", "n", w->in[i], "a", w->head[i],
                                       "b", w->tail[i], "span", span, NULL);
            out = expr_add(
                ctx, ceil ? expr_ceildiv(ctx, room, w->stride[i]) : expr_fdiv(ctx, room, s), one);
            if (ceil) /* the last window has to start inside the input or the padding before it */
                out = eq_text(d, T_I64, "select((o - 1) * s < n + a, o, o - 1)", "o", out, "s", s,
                              "n", w->in[i], "a", w->head[i], NULL);
            out = expr_max(ctx, out, zero);
        }
        w->out[i] = define_extent(d, "extent", out, 0, INT64_MAX);
        if (!w->out[i])
            return false;
    }
    return true;
}

const Expr *window_axes(Definer *d, const Window *w, Def *def, int first, const Expr **r,
                        const Expr **index, const Expr *when) {
    static const char *const names[] = {"r", "s", "t", "u", "v", "w"};
    Ctx *ctx = d->ctx;
    for (int i = 0; i < w->n; i++) {
        r[i] = eq_red(d, def, names[i % 6], w->kernel[i]);
        index[i] = eq_text(d, T_I64, "p * s + r * dil - head", "p", def_var(ctx, def, first + i),
                           "s", expr_i(ctx, w->stride[i]), "r", r[i], "dil",
                           expr_i(ctx, w->dilation[i]), "head", w->head[i], NULL);
        when = eq_inside(d, when, index[i], w->in[i]);
    }
    return when;
}
