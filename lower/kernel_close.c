/* Brings a kernel's Defs into the shape every schedule expects, and lists what they touch.
 *
 * Normal form: a reduction writes only a temporary; with partial sums (`add[16](k)`) the sums are an
 * axis of their own; the root maps the result.
 *
 *   before  y[i] = add[16](k<K) e[i,k]
 *   after   y_w[i,j] = add(k0<(K+15)//16 | k0*16+j < K) e[i,k0*16+j] ; y_r[i] = tree of y_w[i,0..15]
 *           y[i] = y_r[i] */
#include "ir/graph.h"
#include "lower/uses.h"

#include <string.h>

/* ---- partial sums ----------------------------------------------------------------------------------- */

static int ways_axis(const Def *d) {
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind == AXIS_RED && d->axis[i].ways > 1)
            return i;
    return -1;
}

/* Pairwise: halves combined again and again, as ir/tensor.h and the evaluator define it. */
static const Expr *tree_sum(Ctx *ctx, Op op, const Expr **part, int n) {
    for (; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            part[i] = expr_2(ctx, op, part[i], part[i + n / 2]);
    return part[0];
}

#define TERMS_MAX 400 /* expression nodes of a short reduction written out */

/* At most `ways` elements: each partial sum has one, so the tree is written out. */
static bool sum_of_few(Ctx *ctx, Def *d, int w) {
    int64_t n;
    int rank = d->buf->rank, ways = d->axis[w].ways;
    if (d->naxis != rank + 1 || d->when || !expr_is_int(d->axis[w].var->extent, &n) || n < 1 ||
        n > ways || n * expr_size(ctx, d->value, TERMS_MAX) > TERMS_MAX)
        return false;
    const Expr **part = ctx_newn(ctx, const Expr *, ways);
    const Expr *none = combine_identity(ctx, d->combine, type_dtype(d->buf->type));
    for (int64_t i = 0; i < n; i++) {
        const Expr *at = expr_i(ctx, i);
        part[i] = expr_2(ctx, d->combine, none, expr_subst(ctx, d->value, 1, &d->axis[w].var, &at));
    }
    int half = ways;
    for (; half / 2 >= n; half /= 2) /* the upper half is empty: adding it changes nothing */
        continue;
    for (int64_t i = n; i < half; i++)
        part[i] = none;
    d->value = tree_sum(ctx, d->combine, part, half);
    if (d->init)
        d->value = expr_2(ctx, d->combine, d->init, d->value);
    d->init = NULL;
    d->combine = COMBINE_SET;
    d->naxis = rank;
    return true;
}

/* The Def of the partial sums; d becomes the map that adds them up. */
static Def *split_ways(Ctx *ctx, Def *d, int w) {
    int rank = d->buf->rank, ways = d->axis[w].ways;
    const Expr *dim[RANK_MAX + 1];
    for (int i = 0; i < rank; i++)
        dim[i] = d->buf->dim[i];
    dim[rank] = expr_i(ctx, ways);
    Def *part = def_beside(ctx, d, "_w", type_dtype(d->buf->type), rank + 1, dim);
    part->combine = d->combine;
    Sym **from = ctx_newn(ctx, Sym *, d->naxis);
    const Expr **to = ctx_newn(ctx, const Expr *, d->naxis);
    const Expr *when = d->when, *whole = d->axis[w].var->extent;
    for (int i = 0; i < d->naxis; i++) {
        Axis *a = &d->axis[i];
        from[i] = a->var;
        if (i < rank) {
            to[i] = def_var(ctx, part, i);
        } else if (i != w) {
            to[i] = def_axis(ctx, part, a->var->name, AXIS_RED, a->var->extent);
        } else {
            const Expr *k0 =
                def_axis(ctx, part, a->var->name, AXIS_RED, expr_ceildiv(ctx, whole, ways));
            to[i] = expr_add(ctx, expr_mul(ctx, k0, expr_i(ctx, ways)), def_var(ctx, part, rank));
        }
    }
    part->value = expr_subst(ctx, d->value, d->naxis, from, to);
    part->when = when ? expr_subst(ctx, when, d->naxis, from, to) : NULL;
    if (expr_multiple(ctx, whole) % ways)
        part->when = expr_and(ctx, expr_lt(ctx, to[w], whole), part->when);
    const Expr *index[RANK_MAX + 1], **sums = ctx_newn(ctx, const Expr *, ways);
    for (int i = 0; i < rank; i++)
        index[i] = def_var(ctx, d, i);
    for (int j = 0; j < ways; j++) {
        index[rank] = expr_i(ctx, j);
        sums[j] = buf_load(ctx, part->buf, index);
    }
    d->value = tree_sum(ctx, d->combine, sums, ways);
    if (d->init)
        d->value = expr_2(ctx, d->combine, d->init, d->value);
    d->when = d->init = NULL;
    d->combine = COMBINE_SET;
    d->naxis = rank;
    return part;
}

/* ---- root ------------------------------------------------------------------------------------------- */

Def *def_wrap(Ctx *ctx, Def *d) {
    Buf *out = d->buf;
    Def *root = ctx_new(ctx, Def), *temp = def_clone(ctx, d);
    temp->buf = buf_new(ctx, str_f(ctx, "%s_r", out->name), type_dtype(out->type), SPACE_ARENA,
                        out->rank, out->dim);
    temp->buf->def = temp;
    temp->buf->ndef = 1;
    *root = *d;
    Def *fresh = def_new(ctx, d->name, type_dtype(out->type), out->rank, out->dim);
    root->axis = fresh->axis;
    root->naxis = out->rank;
    root->combine = COMBINE_SET;
    root->init = root->when = NULL;
    const Expr *index[RANK_MAX];
    for (int i = 0; i < out->rank; i++)
        index[i] = def_var(ctx, root, i);
    root->value = buf_load(ctx, temp->buf, index);
    *d = *temp;
    d->buf->def = d;
    if (out->def == d || !out->def)
        out->def = root;
    return root;
}

#define NAME_MAX_BYTES 32

Str step_name(Ctx *ctx, Str name) {
    char out[NAME_MAX_BYTES + 2];
    size_t n = 0;
    for (const char *c = name ? name : "v"; *c && n < NAME_MAX_BYTES; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        bool digit = *c >= '0' && *c <= '9';
        if (n == 0 && !letter)
            out[n++] = 'v';
        out[n++] = letter || digit ? *c : '_';
    }
    if (!name || strlen(name) <= NAME_MAX_BYTES)
        return str_n(ctx, out, n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES);
    unsigned hash = (unsigned)hash_bytes(name, strlen(name), 0);
    return str_f(ctx, "%.*s_%08x", NAME_MAX_BYTES - 9, out, hash);
}

/* Steps name Defs and loops, so names are words, unique in a kernel: a Def's, and the axes of one Def. */
static void name_uniquely(Ctx *ctx, Kernel *k) {
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        d->name = step_name(ctx, d->name);
        for (int j = 0; j < i; j++)
            if (k->defs.at[j]->name == d->name)
                d->name = str_f(ctx, "%s_%d", d->name, i);
        for (int a = 0; a < d->naxis; a++)
            for (int b = 0; b < a; b++)
                if (d->axis[b].var->name == d->axis[a].var->name)
                    d->axis[a].var->name = str_f(ctx, "%s_%d", d->axis[a].var->name, a);
    }
}

static const Expr *load_shorter(Ctx *ctx, const Expr *e, void *data) {
    Buf *b = data;
    return e->op == OP_LOAD && e->u.buf == b && e->nkid > b->rank ? buf_load(ctx, b, e->kid) : e;
}

static bool is_listed(const Kernel *k, const Buf *b) {
    for (int i = 0; i < k->kept.len + k->inner.len; i++)
        if (b == (i < k->kept.len ? k->kept.at[i] : k->inner.at[i - k->kept.len]))
            return true;
    return false;
}

/* A temporary that the root reads through a view (a flattened mean) has no dimensions of extent 1 behind the
 * root's.   t[n,c,0,0] of f32[N,C,1,1]  →  t[n,c] of f32[N,C] */
static void drop_units(Ctx *ctx, Kernel *k) {
    const Def *root = kernel_root(k);
    for (int i = 0; i + 1 < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        Buf *b = d->buf;
        int rank = b->rank;
        while (rank > root->buf->rank && rank > 1 && expr_is(b->dim[rank - 1], 1))
            rank--;
        if (rank == b->rank || d->at || b->ndef != 1 || b->space != SPACE_ARENA ||
            is_listed(k, b) || root->at)
            continue;
        const Expr *zero = expr_i(ctx, 0), *to[RANK_MAX];
        Sym *from[RANK_MAX];
        int gone = b->rank - rank;
        for (int j = 0; j < gone; j++) {
            from[j] = d->axis[rank + j].var;
            to[j] = zero;
        }
        d->value = expr_subst(ctx, d->value, gone, from, to);
        d->when = d->when ? expr_subst(ctx, d->when, gone, from, to) : NULL;
        d->init = d->init ? expr_subst(ctx, d->init, gone, from, to) : NULL;
        memmove(d->axis + rank, d->axis + b->rank, (size_t)(d->naxis - b->rank) * sizeof *d->axis);
        d->naxis -= gone;
        b->rank = rank;
        b->known_state = 0;
        for (int j = 0; j < k->defs.len; j++)
            def_map(ctx, k->defs.at[j], load_shorter, b);
    }
}

void kernel_normalise(Ctx *ctx, Kernel *k) {
    if (k->defs.at[0]->scan) {
        name_uniquely(ctx, k);
        return;
    }
    drop_units(ctx, k);
    Kernel old = *k;
    k->defs.at = NULL;
    k->defs.len = k->defs.cap = 0;
    for (int i = 0; i < old.defs.len; i++) {
        Def *d = old.defs.at[i];
        int w = d->at ? -1 : ways_axis(d);
        bool root = i == old.defs.len - 1;
        if (w >= 0 && !sum_of_few(ctx, d, w))
            vec_push(ctx, &k->defs, split_ways(ctx, d, w));
        Def *wrap = root && !d->at && def_is_reduction(d) ? def_wrap(ctx, d) : NULL;
        vec_push(ctx, &k->defs, d);
        if (wrap)
            vec_push(ctx, &k->defs, wrap);
    }
    name_uniquely(ctx, k);
}

/* ---- what the kernel touches -------------------------------------------------------------------------- */

typedef struct Closing {
    Ctx *ctx;
    Kernel *k;
    Map *seen, *written;
} Closing;

static void close_load(Closing *c, Buf *b);

static void close_node(void *data, const Expr *e) {
    Closing *c = data;
    if (e->op == OP_LOAD)
        close_load(c, e->u.buf);
    if (e->op != OP_SYM || e->u.sym->kind == SYM_AXIS || e->u.sym->kind == SYM_LET ||
        map_get(c->seen, e->u.sym))
        return;
    map_put(c->seen, e->u.sym, e->u.sym);
    vec_push(c->ctx, &c->k->syms, e->u.sym);
}

static void close_expr(void *data, const Expr *e) {
    Closing *c = data;
    expr_walk(c->ctx, e, close_node, c);
}

static void close_buf(Closing *c, Buf *b) {
    for (int i = 0; i < b->rank; i++)
        close_expr(c, b->dim[i]);
}

static void close_load(Closing *c, Buf *b) {
    if (map_get(c->seen, b))
        return;
    map_put(c->seen, b, b);
    close_buf(c, b);
    if (!map_get(c->written, b))
        vec_push(c->ctx, &c->k->ins, b);
}

static bool buf_private(const Kernel *k, const Buf *b) {
    const Def *root = kernel_root(k);
    for (int i = 0; i < k->kept.len; i++)
        if (k->kept.at[i] == b)
            return false;
    for (int i = 0; i < k->inner.len; i++)
        if (k->inner.at[i] == b)
            return true;
    return !root->scan && b != root->buf && b->space == SPACE_ARENA && b->ndef == 1;
}

void kernel_close(Ctx *ctx, Kernel *k) {
    Closing c = {ctx, k, map_new(ctx), map_new(ctx)};
    for (int i = 0; i < k->defs.len; i++) {
        Buf *b = k->defs.at[i]->buf;
        if (map_get(c.written, b))
            continue;
        map_put(c.written, b, b);
        if (buf_private(k, b))
            vec_push(ctx, &k->temps, b);
        else
            vec_push(ctx, &k->outs, b);
    }
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        def_exprs(d, close_expr, &c);
        close_buf(&c, d->buf);
        for (int a = 0; a < d->naxis; a++)
            close_expr(&c, d->axis[a].var->extent);
        bool listed = d->origin == NULL;
        for (int n = 0; n < k->nodes.len; n++)
            listed |= k->nodes.at[n] == d->origin;
        if (!listed)
            vec_push(ctx, &k->nodes, d->origin);
    }
}

/* "k07_conv_relu": number and the origins' op names, at most three. */
Str kernel_name(Ctx *ctx, const Kernel *k, int number) {
    Text t = text_new(ctx);
    text_f(&t, "k%02d", number);
    Str last = NULL;
    for (int i = 0, said = 0; i < k->nodes.len && said < 3; i++) {
        if (k->nodes.at[i]->op == last)
            continue;
        last = k->nodes.at[i]->op;
        text_c(&t, '_');
        for (const char *c = last; *c; c++)
            if ((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9'))
                text_c(&t, *c);
            else if (*c >= 'A' && *c <= 'Z')
                text_c(&t, (char)(*c - 'A' + 'a'));
        said++;
    }
    return str(ctx, t.at);
}
