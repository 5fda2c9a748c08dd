/* frontend/contract.h — sliding windows and contractions, shared by the float and the integer ops. */
#ifndef LCC_CONTRACT_H
#define LCC_CONTRACT_H

#include "frontend/equation.h"

/* The spatial axes of a convolution or pool: output p reads input p*stride + r*dilation - head for
 * 0 <= r < kernel where that is inside. */
typedef struct Window {
    int n;
    const Expr *in[RANK_MAX], *out[RANK_MAX], *kernel[RANK_MAX];
    const Expr *head[RANK_MAX], *tail[RANK_MAX]; /* padding */
    int64_t stride[RANK_MAX], dilation[RANK_MAX];
} Window;

/* Reads strides, dilations, pads, auto_pad, kernel_shape. w: the weights, whose dims from axis 2 on are the
 * kernel; NULL: kernel_shape says it. Sets everything but out. */
bool window_begin(Definer *d, Window *w, Buf *x, Buf *weights);
/* The output extents; auto_pad decides head and tail too. ceil: ceil_mode. */
bool window_extents(Definer *d, Window *w, bool ceil);
/* Adds a RED axis for each kernel axis: its position goes to r[], that in the input to index[]. Output axis
 * `first` is the first spatial one. The result is `when` and what is not proved to be inside. */
const Expr *window_axes(Definer *d, const Window *w, Def *def, int first, const Expr **r,
                        const Expr **index, const Expr *when);
/* How many positions of the window of an element of y (spatial axes from 2 on) are inside the input, or with
 * `padding` inside the padded input. */
const Expr *window_count(Definer *d, const Window *w, const Def *y, bool padding);
/* The list attribute of exactly n integers in [min, 2^31); v keeps its values when it is absent. */
bool window_list(Definer *d, const char *name, int n, int64_t min, int64_t *v);

/* A factor of a contraction: the element less its zero point (one element, one for each index of `axis`,
 * or a tensor that broadcasts). */
typedef struct Factor {
    Buf *buf, *zero;
    int axis;
} Factor;
const Expr *factor_load(Definer *d, Factor f, Dtype t, const Expr *const *index);

/* The sums of a matrix product or convolution in type t, as output 0 (`out`) or a temporary; emitted. */
Def *contract_matmul(Definer *d, Factor a, Factor b, Dtype t, bool out);
Def *contract_conv(Definer *d, Factor x, Factor w, Dtype t, bool out);

#endif
