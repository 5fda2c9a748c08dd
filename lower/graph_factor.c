/* Factors that are constant along a sum of products go into its constant operand: what scales the sum (a batch
 * norm, a division by the square root of a width) and what scales its other operand (an input in 0..255).
 * graph.rules first bring them next to the sum. Precondition: kernel_inline, graph_literals. Class approx.
 *
 *   before  a[m,n] = add(k) x[m,k]*w[k,n] ; y[m,n] = max((a[m,n] + b[n])*s[n] + t[n], 0)
 *   after   a[m,n] = add(k) x[m,k]*ws[k,n] ; y[m,n] = max(a[m,n] + bst[n], 0) */
#include "embed.h"
#include "lower/graph_rewrite.h"

#include <math.h>
#include <string.h>

#define ROUNDS 8                 /* factors taken from one sum */
#define SHARED_BYTES (64 * 1024) /* weights of several readers are copied up to this size */
#define WEIGHTS_MAX (1LL << 28)  /* bytes of weights that are scaled */

typedef struct Factors {
    Lower *lo;
    Uses *uses;
    struct RuleSet *rules;
} Factors;

/* A factor of the operands of a product: its node, and where it hangs. */
typedef struct Factor {
    const Expr *at, *parent, *sibling; /* parent NULL: the product is `at` alone */
    bool inverse;
} Factor;

typedef struct Product {
    VEC(Factor) of;
} Product;

/* ---- products ----------------------------------------------------------------------------------- */

static void product_of(Ctx *ctx, Product *p, const Expr *e, Factor f) {
    if (e->op == OP_MUL || e->op == OP_DIV) {
        product_of(ctx, p, e->kid[0], (Factor){NULL, e, e->kid[1], f.inverse});
        bool inverse = f.inverse != (e->op == OP_DIV);
        product_of(ctx, p, e->kid[1], (Factor){NULL, e, e->kid[0], inverse});
        return;
    }
    f.at = e;
    vec_push(ctx, &p->of, f);
}

/* A load of a constant with one whole axis, or the only element, for each of its dimensions. */
static bool is_weights(const Def *d, const Expr *e) {
    if (e->op != OP_LOAD || e->u.buf->space != SPACE_CONST || !e->u.buf->data || e->type != T_F32)
        return false;
    for (int i = 0; i < e->nkid; i++) {
        int a = def_axis_of(d, e->kid[i]);
        if (a >= 0 ? d->axis[a].var->extent != e->u.buf->dim[i] : !expr_is(e->u.buf->dim[i], 1))
            return false;
        for (int k = 0; k < i; k++)
            if (a >= 0 && e->kid[k] == e->kid[i])
                return false;
    }
    return e->nkid > 0;
}

static Product def_product(Ctx *ctx, const Def *d) {
    Product p = {{0}};
    product_of(ctx, &p, d->value, (Factor){0});
    return p;
}

typedef struct UseCount {
    Ctx *ctx;
    const Expr *of;
    int uses;
} UseCount;

static void count_use(void *data, const Expr *e) {
    UseCount *u = data;
    for (int i = 0; i < e->nkid; i++)
        u->uses += e->kid[i] == u->of;
}

static void count_uses(void *data, const Expr *e) {
    expr_walk(((UseCount *)data)->ctx, e, count_use, data);
}

/* Is e a kid of one node of d's expressions, once? */
static bool used_once(Ctx *ctx, const Def *d, const Expr *e) {
    UseCount u = {ctx, e, 0};
    def_exprs(d, count_uses, &u);
    return u.uses == 1;
}

/* The weights of a sum of products; NULL when d is none, or has several. */
static const Expr *weights_of(Factors *fs, const Def *d) {
    const Expr *w = NULL;
    if (!def_is_reduction(d) || d->at || d->scan || d->init || d->combine != OP_ADD ||
        d->buf->type != T_F32 || d->buf->ndef != 1 || d->value->op != OP_MUL)
        return NULL;
    Product p = def_product(fs->lo->ctx, d);
    for (int i = 0; i < p.of.len; i++) {
        const Factor *f = &p.of.at[i];
        if (f->inverse || !is_weights(d, f->at))
            continue;
        if (w)
            return NULL;
        w = f->at;
    }
    return w && used_once(fs->lo->ctx, d, w) ? w : NULL;
}

/* ---- scaled weights ----------------------------------------------------------------------------- */

/* data[i] of w times (or by) the table's element at the indices it has. */
static bool scale(const Buf *w, const Buf *table, const int *dim_of, bool inverse, float *out) {
    int64_t dim[RANK_MAX], index[RANK_MAX] = {0}, count;
    const float *in = w->data->data, *by = table->data->data;
    if (!buf_dims(w, dim) || !buf_static(w, &count))
        return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        for (int k = 0; k < table->rank; k++)
            at = at * dim[dim_of[k]] + index[dim_of[k]];
        float v = in[w->data->splat ? 0 : i], s = by[table->data->splat ? 0 : at];
        out[i] = inverse ? v / s : v * s;
        if (!isfinite(out[i]))
            return false;
        for (int d = w->rank - 1; d >= 0 && ++index[d] == dim[d]; d--)
            index[d] = 0;
    }
    return true;
}

/* The weights of d times a constant over d's axes; NULL when the product has more elements than the weights. */
static Buf *scaled_weights(Factors *fs, const Def *d, const Expr *w, const Expr *by, bool inverse) {
    Ctx *ctx = fs->lo->ctx;
    Buf *b = w->u.buf;
    int64_t count, bytes, dim[RANK_MAX];
    Sym *axis[RANK_MAX];
    int dim_of[RANK_MAX], n = 0;
    for (int i = 0; i < w->nkid; i++)
        if (def_axis_of(d, w->kid[i]) >= 0 && expr_uses_sym(by, w->kid[i]->u.sym)) {
            axis[n] = w->kid[i]->u.sym;
            dim_of[n++] = i;
        }
    if (!buf_static(b, &count) || count < 1 || !mul_ok(count, 4, &bytes) || bytes > WEIGHTS_MAX ||
        (bytes > SHARED_BYTES && uses_of(fs->uses, b)->readers.len > 1))
        return NULL;
    Buf *table = const_table(fs->lo, str_f(ctx, "%s.by", b->name), by, n, axis);
    float *out = table ? ctx_allocn(ctx, (size_t)count, sizeof *out) : NULL;
    if (!out || !scale(b, table, dim_of, inverse, out))
        return NULL;
    buf_dims(b, dim);
    Buf *to = buf_const(ctx, b->name, const_new(ctx, T_F32, count, out), b->rank, dim);
    vec_push(ctx, &fs->lo->prog->consts, to);
    return to;
}

typedef struct Swap {
    const Expr *from, *to;
    bool done;
} Swap;

static const Expr *swap(Ctx *ctx, const Expr *e, void *data) {
    Swap *s = data;
    (void)ctx;
    if (e != s->from || s->done)
        return e;
    s->done = true;
    return s->to;
}

/* One node replaced by one of its kids. Only that node: with y for y*c, (y*c)*c becomes y*c again. */
static const Expr *swapped(Ctx *ctx, const Expr *e, const Expr *from, const Expr *to) {
    Swap s = {from, to, false};
    return e ? expr_map(ctx, e, swap, &s) : NULL;
}

static void swap_node(Ctx *ctx, Def *d, const Expr *from, const Expr *to) {
    d->value = swapped(ctx, d->value, from, to);
    d->when = swapped(ctx, d->when, from, to);
    d->init = swapped(ctx, d->init, from, to);
    for (int i = 0; d->at && i < d->buf->rank; i++)
        d->at[i] = swapped(ctx, d->at[i], from, to);
}

static void swap_weights(Factors *fs, Def *d, const Expr *w, Buf *to) {
    Ctx *ctx = fs->lo->ctx;
    swap_node(ctx, d, w, buf_load(ctx, to, w->kid));
    uses_reader_drop(fs->uses, w->u.buf, d);
    uses_reader_add(fs->uses, to, d);
}

/* ---- factors of the sum, in its readers --------------------------------------------------------- */

typedef struct Site {
    Def *reader;
    const Expr *load, *parent; /* the only node that uses the load */
    const Expr *by;            /* over the sum's axes */
    bool inverse;
} Site;

typedef struct Sites {
    Ctx *ctx;
    const Def *sum;
    Def *reader;
    VEC(Site) of;
    bool ok;
} Sites;

static void find_load(void *data, const Expr *e) {
    Sites *s = data;
    if (e->op != OP_LOAD || e->u.buf != s->sum->buf)
        return;
    for (int i = 0; i < s->of.len; i++)
        if (s->of.at[i].reader == s->reader && s->of.at[i].load == e)
            return;
    vec_push(s->ctx, &s->of, ((Site){.reader = s->reader, .load = e}));
}

static void find_parent(void *data, const Expr *e) {
    Sites *s = data;
    for (int i = 0; i < s->of.len; i++) {
        Site *at = &s->of.at[i];
        for (int k = 0; k < e->nkid && at->reader == s->reader; k++)
            if (e->kid[k] == at->load) {
                s->ok &= !at->parent || at->parent == e;
                at->parent = e;
            }
    }
}

static void walk_load(void *data, const Expr *e) {
    expr_walk(((Sites *)data)->ctx, e, find_load, data);
}

static void walk_parent(void *data, const Expr *e) {
    expr_walk(((Sites *)data)->ctx, e, find_parent, data);
}

/* by, over the reader's axes, said over the axes of the sum that the load indexes with them. */
static const Expr *over_sum_axes(Ctx *ctx, const Def *sum, const Expr *load, const Expr *by) {
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX];
    int n = 0;
    for (int i = 0; i < load->nkid; i++)
        if (load->kid[i]->op == OP_SYM) {
            from[n] = load->kid[i]->u.sym;
            to[n++] = def_var(ctx, sum, i);
        }
    return expr_subst(ctx, by, n, from, to);
}

static bool site_factor(Ctx *ctx, const Def *sum, Site *s) {
    const Expr *p = s->parent, *by;
    if (!p || p->type != T_F32 || p->nkid > 2)
        return false;
    if (p->op == OP_NEG)
        by = expr_flt(ctx, T_F32, -1);
    else if (p->op == OP_MUL && p->kid[0] != p->kid[1])
        by = p->kid[p->kid[0] == s->load];
    else if (p->op == OP_DIV && p->kid[0] == s->load)
        by = p->kid[1];
    else
        return false;
    if (!expr_is_constant(ctx, by))
        return false;
    s->inverse = p->op == OP_DIV;
    s->by = over_sum_axes(ctx, sum, s->load, by);
    return true;
}

/* Moves the factor that every reader applies to the sum into its weights. */
static bool pull_from_readers(Factors *fs, Def *sum, const Expr *w) {
    Ctx *ctx = fs->lo->ctx;
    BufUse *use = uses_of(fs->uses, sum->buf);
    Sites s = {.ctx = ctx, .sum = sum, .ok = true};
    if (use->port || use->calls || use->items.len || !use->readers.len)
        return false;
    for (int i = 0; i < use->readers.len; i++) {
        s.reader = use->readers.at[i];
        def_exprs(s.reader, walk_load, &s);
        def_exprs(s.reader, walk_parent, &s);
    }
    for (int i = 0; i < s.of.len; i++)
        if (!s.ok || !site_factor(ctx, sum, &s.of.at[i]) || s.of.at[i].by != s.of.at[0].by ||
            s.of.at[i].inverse != s.of.at[0].inverse)
            return false;
    Buf *to = s.of.len ? scaled_weights(fs, sum, w, s.of.at[0].by, s.of.at[0].inverse) : NULL;
    if (!to)
        return false;
    for (int i = 0; i < s.of.len; i++)
        swap_node(ctx, s.of.at[i].reader, s.of.at[i].parent, s.of.at[i].load);
    swap_weights(fs, sum, w, to);
    return true;
}

/* ---- factors of the other operand --------------------------------------------------------------- */

/* Moves a constant factor of the product itself into the weights. */
static bool pull_from_product(Factors *fs, Def *sum, const Expr *w) {
    Ctx *ctx = fs->lo->ctx;
    Product p = def_product(ctx, sum);
    for (int i = 0; i < p.of.len; i++) {
        const Factor *f = &p.of.at[i];
        if (f->at == w || !f->parent || !expr_is_constant(ctx, f->at) ||
            (f->parent->op == OP_DIV && f->parent->kid[1] != f->at) ||
            f->parent->kid[0] == f->parent->kid[1])
            continue;
        Buf *to = scaled_weights(fs, sum, w, f->at, f->inverse);
        if (!to)
            continue;
        sum->value = swapped(ctx, sum->value, f->parent, f->sibling);
        swap_weights(fs, sum, w, to);
        return true;
    }
    return false;
}

/* The load of d's buffer as a factor of the reader's product, used nowhere else. */
static const Expr *operand_load(Ctx *ctx, const Def *d, const Def *reader) {
    Sites s = {.ctx = ctx, .sum = d, .reader = (Def *)(uintptr_t)reader, .ok = true};
    def_exprs(reader, walk_load, &s);
    def_exprs(reader, walk_parent, &s);
    Product p = def_product(ctx, reader);
    for (int i = 0; s.ok && s.of.len == 1 && i < p.of.len; i++)
        if (p.of.at[i].at == s.of.at[0].load && !p.of.at[i].inverse)
            return p.of.at[i].at;
    return NULL;
}

/* The weights of reader i scaled by what d multiplies its values with. */
static Buf *operand_weights(Factors *fs, const Def *d, const Def *reader, const Expr *by,
                            bool inverse) {
    Ctx *ctx = fs->lo->ctx;
    const Expr *w = weights_of(fs, reader), *load = w ? operand_load(ctx, d, reader) : NULL;
    Sym *from[RANK_MAX];
    if (!load)
        return NULL;
    for (int i = 0; i < d->buf->rank; i++)
        from[i] = d->axis[i].var;
    return scaled_weights(fs, reader, w, expr_subst(ctx, by, d->buf->rank, from, load->kid),
                          inverse);
}

/* d scales what only sums of products read: their weights do it instead. */
static bool pull_from_operand(Factors *fs, Def *d) {
    Ctx *ctx = fs->lo->ctx;
    BufUse *use = uses_of(fs->uses, d->buf);
    const Expr *v = d->value;
    if (d->at || d->scan || d->combine != COMBINE_SET || d->buf->ndef != 1 || d->when ||
        d->buf->space != SPACE_ARENA || use->port || use->calls || use->items.len ||
        !use->readers.len || v->type != T_F32 || (v->op != OP_MUL && v->op != OP_DIV))
        return false;
    bool inverse = v->op == OP_DIV, second = expr_is_constant(ctx, v->kid[1]);
    if (!second && (inverse || !expr_is_constant(ctx, v->kid[0])))
        return false;
    const Expr *by = v->kid[second], *rest = v->kid[!second];
    Buf **to = ctx_newn(ctx, Buf *, use->readers.len);
    for (int i = 0; i < use->readers.len; i++)
        if (!(to[i] = operand_weights(fs, d, use->readers.at[i], by, inverse)))
            return false;
    for (int i = 0; i < use->readers.len; i++)
        swap_weights(fs, use->readers.at[i], weights_of(fs, use->readers.at[i]), to[i]);
    d->value = rest;
    return true;
}

/* ---- rules -------------------------------------------------------------------------------------- */

static bool section(void *data, char first) {
    const Factors *fs = data;
    return first == 'e' || !fs->lo->strict;
}

static bool letter(void *data, char letter, const Expr *e) {
    Factors *fs = data;
    if (e->type != T_F32)
        return false;
    if (letter != 'y')
        return expr_is_constant(fs->lo->ctx, e);
    return e->op == OP_LOAD && e->u.buf->def && weights_of(fs, e->u.buf->def);
}

static const Expr *apply(Ctx *ctx, const Expr *e, void *data) {
    RuleUse use = {section, letter, data};
    return e->type == T_F32 ? expr_rules_apply(ctx, ((Factors *)data)->rules, e, &use) : e;
}

static void factor_item(void *data, Block *b, Item *it) {
    Factors *fs = data;
    (void)b;
    if (it->kind != ITEM_DEF)
        return;
    Def *d = it->def;
    const Expr *w = weights_of(fs, d);
    if (!w) {
        pull_from_operand(fs, d);
        return;
    }
    BufUse *use = uses_of(fs->uses, d->buf);
    for (int i = 0; i < ROUNDS; i++) {
        for (int r = 0; r < use->readers.len; r++)
            def_map(fs->lo->ctx, use->readers.at[r], apply, fs);
        w = weights_of(fs, d);
        if (!w || (!pull_from_product(fs, d, w) && !pull_from_readers(fs, d, w)))
            break;
    }
}

void graph_factor(Lower *lo) {
    Factors fs = {lo, uses_build(lo->ctx, lo->prog),
                  expr_rules_read(lo->ctx, "graph.rules", embed_graph_rules)};
    if (!lo->strict)
        block_walk(lo->prog->main, factor_item, &fs);
}
