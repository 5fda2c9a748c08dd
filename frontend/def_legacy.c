/* frontend/def_legacy.c — definers of ops that only upgrade.def makes (domain lcc).
 *
 *   C = AlignAxis <axis = 1> (A f32[2, 3, 4, 5], B f32[3, 4])   →   C f32[3, 4, 1]              */
#include "frontend/definers.h"

/* Before opset 7 the first dimension of B met dimension `axis` of A when broadcasting. */
bool def_align_axis(Definer *d) {
    Buf *a = define_in(d, 0), *b = define_in(d, 1);
    int axis = define_axis(d, node_int(d->node, "axis", 0), a->rank);
    if (axis < 0)
        return false;
    if (axis + b->rank > a->rank && b->rank > 0) {
        define_set(d, 0, b); /* one element: it fits anywhere, or broadcasting will complain */
        return true;
    }
    int rank = b->rank ? a->rank - axis : 0;
    const Expr *dim[RANK_MAX], *index[RANK_MAX];
    for (int i = 0; i < rank; i++)
        dim[i] = i < b->rank ? b->dim[i] : expr_i(d->ctx, 1);
    Def *def = define_out(d, 0, type_dtype(b->type), rank, dim);
    for (int i = 0; i < b->rank; i++)
        index[i] = def_var(d->ctx, def, i);
    def->value = buf_load(d->ctx, b, index);
    define_emit(d, def);
    return true;
}
