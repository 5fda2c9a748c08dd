/* equation.c — short forms in which definers write equations (equation.h documents each). */
#include "frontend/equation.h"

#include <string.h>

Dtype eq_wide(Dtype t) {
    return type_is_narrow(t) ? T_F32 : t;
}

void eq_vars(Definer *d, const Def *def, const Expr **index) {
    for (int i = 0; i < def->buf->rank; i++)
        index[i] = def_var(d->ctx, def, i);
}

void eq_names(Definer *d, Def *def, const char *names) {
    for (int i = 0; i < def->naxis && *names; i++) {
        size_t n = strcspn(names, " ");
        def->axis[i].var->name = str_n(d->ctx, names, n);
        names += n + strspn(names + n, " ");
    }
}

const Expr *eq_load(Definer *d, Dtype t, Buf *b, const Expr *const *index) {
    return expr_cast(d->ctx, t, buf_load(d->ctx, b, index));
}

bool eq_single(const Buf *b) {
    int64_t n;
    return buf_static(b, &n) && n == 1;
}

const Expr *eq_at(Definer *d, Dtype t, Buf *b, const Expr *i) {
    const Expr *index[RANK_MAX];
    if (eq_single(b)) {
        const Expr *const *known = buf_known(d->ctx, b);
        if (known && expr_is_const(known[0]))
            return expr_cast(d->ctx, t, known[0]);
        i = expr_i(d->ctx, 0);
    }
    for (int a = 0; a < b->rank; a++)
        index[a] = b->rank == 1 ? i : expr_i(d->ctx, 0);
    return eq_load(d, t, b, index);
}

const Expr *eq_param(Definer *d, Dtype t, Buf *b, const Expr *i) {
    const Expr *one = expr_i(d->ctx, 1), *extent = i->op == OP_SYM ? i->u.sym->extent : NULL;
    if (b->rank == 1 && b->dim[0] != extent)
        i = expr_select(d->ctx, expr_eq(d->ctx, b->dim[0], one), expr_i(d->ctx, 0), i);
    return eq_at(d, t, b, i);
}

const Expr *eq_text(Definer *d, Dtype t, const char *text, ...) {
    MapEnv env = {.type = t, .wrap = true};
    va_list ap;
    va_start(ap, text);
    for (const char *name; (name = va_arg(ap, const char *)) != NULL;)
        map_env_put(d->ctx, &env, name, va_arg(ap, const Expr *));
    va_end(ap);
    return map_text_parse(d->ctx, &env, text);
}

const Expr *eq_red(Definer *d, Def *def, const char *name, const Expr *extent) {
    if (expr_is(extent, 1))
        return expr_i(d->ctx, 0);
    return def_axis(d->ctx, def, str(d->ctx, name), AXIS_RED, extent);
}

void eq_combine(Definer *d, Def *def, Op combine, const Expr *value, const Expr *when,
                bool contiguous) {
    if (def->naxis == def->buf->rank) {
        const Expr *none = combine_identity(d->ctx, combine, type_dtype(def->buf->type));
        def->value = when ? expr_select(d->ctx, when, value, none) : value;
        return;
    }
    def->combine = (uint8_t)combine;
    def->value = value;
    def->when = when;
    if (contiguous && (combine == OP_ADD || combine == OP_MAX || combine == OP_MIN) &&
        type_is_float(type_dtype(value->type)))
        def->axis[def->naxis - 1].ways = REDUCE_WAYS;
}

const Expr *eq_inside(Definer *d, const Expr *when, const Expr *i, const Expr *n) {
    const Expr *part[2] = {expr_le(d->ctx, expr_i(d->ctx, 0), i), expr_lt(d->ctx, i, n)};
    for (int k = 0; k < 2; k++)
        if (!expr_proves(d->ctx, part[k]))
            when = expr_and(d->ctx, when, part[k]);
    return when;
}

Def *eq_def(Definer *d, int out, const char *name, Dtype t, int rank, const Expr *const *dim) {
    return out < 0 ? define_temp(d, name, t, rank, dim) : define_out(d, out, t, rank, dim);
}

void eq_emit(Definer *d, Def *def, const Expr *value) {
    def->value = expr_cast(d->ctx, def->buf->type, value);
    define_emit(d, def);
}

bool eq_word(Definer *d, const char *attr, const char *otherwise, const char *word) {
    return !strcmp(node_str(d->ctx, d->node, attr, otherwise), word);
}

const Expr *eq_const(Definer *d, Dtype t, double v) {
    return expr_const(d->ctx, t, v);
}

const Expr *eq_attr(Definer *d, Dtype t, const char *attr, double otherwise) {
    return expr_const(d->ctx, t, (double)(float)node_float(d->node, attr, otherwise));
}
