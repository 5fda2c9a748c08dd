/* Classes and axis roles of kernels, from strides and from which axes each load uses.
 *
 *   t f32[M,N] { m<M, n<N } = add(k<K) x[m,k] * w[k,n]     contraction, rows m, lanes n, red k */
#include "lower/kernel_class.h"

const char *class_name(KernelClass c) {
    static const char *const names[] = {"contraction", "window", "reduction", "map",
                                        "scan",        "update", "chain"};
    return names[c];
}

int buf_inner_axis(Ctx *ctx, const Buf *b) {
    if (b->rank == 0)
        return -1;
    if (!b->where) {
        int i = b->rank - 1;
        while (i > 0 && expr_is(b->dim[i], 1))
            i--;
        return i;
    }
    for (int i = b->rank; i-- > 0;) {
        const Expr *coef, *rest;
        if (expr_linear(ctx, b->where, 1, &b->dimvar[i], &coef, &rest) && expr_is(coef, 1) &&
            !expr_is(b->dim[i], 1))
            return i;
    }
    return -1;
}

enum { PART_MIN = 2 }; /* lanes that lie together */

typedef struct Loads {
    Ctx *ctx;
    VEC(const Expr *) at;
} Loads;

static void collect_load(void *data, const Expr *e) {
    Loads *l = data;
    if (e->op == OP_LOAD)
        vec_push(l->ctx, &l->at, e);
}

static bool uses_axis(const Expr *load, const Def *d, int axis) {
    return expr_uses_sym(load, d->axis[axis].var);
}

/* An index in which an output axis and a RED axis meet. */
static bool index_is_window(const Expr *load, const Def *d) {
    for (int i = 0; i < load->nkid; i++) {
        bool out = false, red = false;
        for (int a = 0; a < d->naxis; a++)
            if (uses_axis(load->kid[i], d, a))
                *(d->axis[a].kind == AXIS_RED ? &red : &out) = true;
        if (out && red)
            return true;
    }
    return false;
}

static bool has_window(const Loads *loads, const Def *d) {
    for (int i = 0; i < loads->at.len; i++)
        if (index_is_window(loads->at.at[i], d))
            return true;
    return false;
}

/* Stride of the load's offset along an axis; false when it is not a constant. */
static bool load_stride(Ctx *ctx, const Expr *load, const Def *d, int axis, int64_t *stride) {
    const Expr *at = buf_offset(ctx, load->u.buf, load->kid), *coef, *rest;
    return expr_linear(ctx, at, 1, &d->axis[axis].var, &coef, &rest) && expr_is_int(coef, stride);
}

/* The reduction with the most work that the root (or another inner Def) reads. */
static Def *main_reduction(Ctx *ctx, const Kernel *k) {
    Def *best = NULL;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        if (def_is_reduction(d) && !d->at &&
            (!best || def_volume(ctx, d, true) > def_volume(ctx, best, true)))
            best = d;
    }
    return best;
}

/* Can a constant be packed along an axis: does exactly one of its indices use it, as it is? */
static bool packable(const Expr *load, const Def *d, int axis) {
    int plain = 0;
    for (int i = 0; i < load->nkid; i++)
        if (uses_axis(load->kid[i], d, axis))
            plain += load->kid[i]->op == OP_SYM ? 1 : 2;
    return load->u.buf->space == SPACE_CONST && !load->u.buf->where && plain == 1;
}

/* Is the load, as it is stored, a row along the axis and used whole (a bias)? */
static bool is_row(Ctx *ctx, const Expr *load, const Def *d, int axis) {
    int64_t stride;
    for (int i = 0; i < d->naxis; i++)
        if (i != axis && uses_axis(load, d, i))
            return false;
    return load_stride(ctx, load, d, axis, &stride) && stride == 1;
}

/* Partial sums: an axis more than the root has, read by the root or by one Def that the root reads. */
static void choose_tree(Ctx *ctx, const Kernel *k, Roles *r) {
    int rank = r->root->buf->rank;
    Def *tree = k->defs.len == 2 || k->defs.len == 3 ? k->defs.at[1] : NULL;
    int64_t ways;
    if (!tree || k->defs.at[0] != r->acc || def_is_reduction(tree) || tree->buf->rank != rank ||
        r->acc->buf->rank != rank + 1 || !expr_is_int(r->acc->buf->dim[rank], &ways) ||
        (tree != r->root && kernel_attach(ctx, k, tree) != rank))
        return;
    r->tree = tree;
    r->ways = rank;
}

/* The output axis that is contiguous where the root stores, if every load goes along: side by side (windows also
 * two apart), not at all, or packed to be so (one constant). acc's axes are the root's, by position, when it
 * attaches in full. */
static void choose_lanes(Ctx *ctx, const Kernel *k, Roles *r, const Loads *loads) {
    const Def *d = r->acc ? r->acc : r->root;
    int inner = r->root->at ? -1 : buf_inner_axis(ctx, r->root->buf);
    if (r->acc && inner >= 0)
        choose_tree(ctx, k, r);
    if (inner < 0 || (r->acc && (kernel_attach(ctx, k, r->acc) != r->root->buf->rank ||
                                 r->acc->buf->rank != r->root->buf->rank + (r->tree != NULL))))
        return;
    const Expr *packed = NULL, *beside = NULL;
    bool windows = r->acc && def_is_contraction(ctx, r->acc) && has_window(loads, r->acc);
    for (int i = 0; i < loads->at.len; i++) {
        const Expr *load = loads->at.at[i];
        int64_t stride;
        if (!uses_axis(load, d, inner))
            continue;
        if (load_stride(ctx, load, d, inner, &stride) && stride == 1 &&
            (load->u.buf->space != SPACE_CONST || is_row(ctx, load, d, inner)))
            beside = load;
        else if (packable(load, d, inner) && (!packed || packed == load))
            packed = load;
        else if (load_stride(ctx, load, d, inner, &stride) &&
                 (stride == 1 || (stride == 2 && windows)))
            beside = load;
        else
            return;
    }
    r->n = inner;
    r->lanes_load = packed ? packed : beside;
    r->lanes_contiguous = packed == NULL;
}

/* The axis along which the loads that go across the lanes lie side by side, all of them one; -1 when there is no
 * such axis or another load goes neither along. *across: one of them; NULL when all go along the lanes. */
static int across_axis(Ctx *ctx, const Def *d, const Loads *loads, int inner, const Expr **across) {
    int64_t stride;
    *across = NULL;
    for (int i = 0; i < loads->at.len; i++) {
        const Expr *load = loads->at.at[i];
        if (!uses_axis(load, d, inner))
            continue;
        if (!load_stride(ctx, load, d, inner, &stride) ||
            (stride != 1 && *across && *across != load))
            return -1;
        *across = stride != 1 ? load : *across;
    }
    int axis = -1;
    for (int a = 0; a < d->buf->rank && *across; a++)
        if (a != inner && load_stride(ctx, *across, d, a, &stride) && stride == 1 &&
            !expr_is(d->axis[a].var->extent, 1))
            axis = a;
    return axis;
}

/* A map that stores side by side what one load has side by side along another axis (a transposition): that axis
 * is the rows, a square block of both the tile. */
static void choose_across(Ctx *ctx, Roles *r, const Loads *loads) {
    const Expr *across = NULL;
    int inner = buf_inner_axis(ctx, r->root->buf);
    int m = inner < 0 ? -1 : across_axis(ctx, r->root, loads, inner, &across);
    if (m < 0)
        return;
    r->n = inner;
    r->m = m;
    r->lanes_load = across;
}

/* Is the map one across, or along the lanes, in each piece of an axis? */
static bool across_in_pieces(Ctx *ctx, Roles *r, int inner, int axis) {
    const Def *d = r->root;
    Sym *var = d->axis[axis].var, *piece;
    Cuts cuts = {.n = 0};
    int64_t n;
    int m = -1;
    if (!expr_is_int(var->extent, &n))
        return false;
    expr_cuts(ctx, d->value, var, n, &cuts);
    for (int i = 0; i <= cuts.n; i++) {
        Loads loads = {.ctx = ctx};
        const Expr *across;
        if (!cuts.n || cuts.many)
            return false;
        expr_walk(ctx, expr_piece(ctx, d->value, var, &cuts, i, n, &piece), collect_load, &loads);
        int rows = across_axis(ctx, d, &loads, inner, &across);
        if (across ? rows < 0 || rows == axis || (m >= 0 && m != rows) : rows >= 0)
            return false;
        m = across ? rows : m;
        r->lanes_load = across ? across : r->lanes_load;
    }
    r->m = m;
    return m >= 0;
}

/* The same where each piece of another axis is one (rows of several buffers put together and transposed). */
static void choose_across_cut(Ctx *ctx, Roles *r) {
    int inner = buf_inner_axis(ctx, r->root->buf);
    for (int a = 0; a < r->root->buf->rank && inner >= 0 && r->cut < 0; a++)
        if (a != inner && across_in_pieces(ctx, r, inner, a)) {
            r->n = inner;
            r->cut = a;
        }
}

/* An axis as number*part + lane, two new axes. */
static const Expr *split_axis(Ctx *ctx, Sym *axis, int64_t part, Sym **number, Sym **lane) {
    const Expr *of = expr_i(ctx, part);
    *number = sym_axis(ctx, axis->name, expr_fdiv(ctx, axis->extent, of));
    *lane = sym_axis(ctx, axis->name, of);
    return expr_add(ctx, expr_mul(ctx, expr_sym(ctx, *number), of), expr_sym(ctx, *lane));
}

typedef struct PartWalk {
    const Sym *axis;
    int64_t part; /* 0: none seen */
    bool ok;
} PartWalk;

static void part_node(void *data, const Expr *e) {
    PartWalk *w = data;
    int64_t c;
    if ((e->op != OP_MOD && e->op != OP_FDIV) || !expr_uses_sym(e->kid[0], w->axis))
        return;
    w->ok &= e->kid[0]->op == OP_SYM && expr_is_int(e->kid[1], &c) && (!w->part || w->part == c);
    w->part = w->ok ? c : 0;
}

/* A map that sees its lanes as parts of one length, l // part and l % part: vectors along one part. */
static void choose_part(Ctx *ctx, Roles *r, const Loads *loads) {
    const Def *d = r->root;
    int inner = buf_inner_axis(ctx, d->buf);
    if (inner < 0)
        return;
    PartWalk w = {d->axis[inner].var, 0, true};
    expr_walk(ctx, d->value, part_node, &w);
    if (w.part < PART_MIN)
        return;
    Sym *axis = d->axis[inner].var, *lane, *number;
    const Expr *to = split_axis(ctx, axis, w.part, &number, &lane), *coef, *rest;
    for (int i = 0; i < loads->at.len; i++) {
        const Expr *load = loads->at.at[i];
        const Expr *at = expr_subst(ctx, buf_offset(ctx, load->u.buf, load->kid), 1, &axis, &to);
        if (!expr_linear(ctx, at, 1, &lane, &coef, &rest) ||
            !(expr_is(coef, 1) || expr_is(coef, 0)))
            return;
    }
    r->n = inner;
    r->part = w.part;
}

typedef struct Halves {
    const Sym *axis;
    bool by_two, other; /* divided by two; by something else */
} Halves;

static void halves_node(void *data, const Expr *e) {
    Halves *h = data;
    if ((e->op != OP_FDIV && e->op != OP_MOD) || !expr_uses_sym(e, h->axis))
        return;
    *(expr_is(e->kid[1], 2) ? &h->by_two : &h->other) = true;
}

/* A map whose even and odd elements come from rows of their own (channels shuffled in two groups): along the half
 * of its inner axis every load is side by side, or nearly. */
static void choose_pairs(Ctx *ctx, Roles *r, const Loads *loads) {
    const Def *d = r->root;
    int inner = buf_inner_axis(ctx, d->buf);
    int64_t n, stride;
    if (inner < 0 || !expr_is_int(d->buf->dim[inner], &n) || n % 2 != 0)
        return;
    Sym *var = d->axis[inner].var;
    Halves h = {var, false, false};
    expr_walk(ctx, d->value, halves_node, &h);
    if (!h.by_two || h.other)
        return;
    Sym *half, *odd;
    const Expr *to = split_axis(ctx, var, 2, &half, &odd);
    for (int i = 0; i < loads->at.len; i++) {
        const Expr *load = loads->at.at[i], *coef, *rest;
        const Expr *at = expr_subst(ctx, buf_offset(ctx, load->u.buf, load->kid), 1, &var, &to);
        if (!expr_linear(ctx, at, 1, &half, &coef, &rest) || !expr_is_int(coef, &stride) ||
            stride < 0 || stride > 2)
            return;
    }
    r->n = inner;
    r->pairs = true;
}

/* How many elements along an axis' piece go along all loads, or are the same in it; 0: not all loads do. */
static int64_t piece_plain(Ctx *ctx, const Expr *value, Sym *piece) {
    Loads loads = {.ctx = ctx};
    const Expr *coef, *rest;
    int64_t n = 0;
    expr_walk(ctx, value, collect_load, &loads);
    for (int i = 0; i < loads.at.len; i++) {
        const Expr *at = buf_offset(ctx, loads.at.at[i]->u.buf, loads.at.at[i]->kid);
        if (!expr_linear(ctx, at, 1, &piece, &coef, &rest) ||
            !(expr_is(coef, 1) || expr_is(coef, 0)))
            return 0;
    }
    expr_is_int(piece->extent, &n);
    return n;
}

/* A map most of whose lanes lie side by side once their axis is cut where indices take another form (the middle of
 * a padded row). */
static void choose_pieces(Ctx *ctx, Roles *r) {
    const Def *d = r->root;
    int inner = buf_inner_axis(ctx, d->buf);
    int64_t n, plain = 0;
    Cuts cuts = {.n = 0};
    if (inner < 0 || !expr_is_int(d->buf->dim[inner], &n))
        return;
    Sym *var = d->axis[inner].var, *piece;
    expr_cuts(ctx, d->value, var, n, &cuts);
    for (int i = 0; i <= cuts.n && !cuts.many && cuts.n; i++) {
        const Expr *value = expr_piece(ctx, d->value, var, &cuts, i, n, &piece);
        plain += piece_plain(ctx, value, piece);
    }
    r->pieces = plain > n / 2;
    r->n = r->pieces ? inner : r->n;
}

/* A map that loads from places which it loads side by side, and whatever else so. */
static void choose_gather(Ctx *ctx, Roles *r, const Loads *loads) {
    const Def *d = r->root;
    int inner = buf_inner_axis(ctx, d->buf);
    bool gathers = false;
    if (inner < 0)
        return;
    for (int i = 0; i < loads->at.len; i++) {
        const Expr *load = loads->at.at[i];
        int64_t stride;
        bool computed = false;
        for (int a = 0; a < load->nkid; a++)
            computed |= expr_uses_sym(load->kid[a], d->axis[inner].var) &&
                        expr_uses_buf(load->kid[a], NULL);
        gathers |= computed;
        if (!computed && uses_axis(load, d, inner) &&
            (!load_stride(ctx, load, d, inner, &stride) || stride != 1))
            return;
    }
    r->gather = gathers ? inner : -1;
}

/* Rows: an output axis that a load along the lanes does not use, so that it is read once for all of them; the
 * innermost in storage with room. With `beside` one that only another load does not use: sums side by side still
 * hide each other's latency, and share that load. */
static void choose_rows(Ctx *ctx, Roles *r, const Loads *loads, bool beside) {
    const Def *d = r->acc;
    int64_t best = INT64_MAX;
    if (r->tree)
        return;
    for (int i = 0; i < d->buf->rank && r->lanes_load; i++) {
        const Expr *other = NULL, *at;
        bool reuse = false;
        if (i == r->n || expr_is(d->buf->dim[i], 1))
            continue;
        for (int l = 0; l < loads->at.len; l++) {
            bool uses = uses_axis(loads->at.at[l], d, i);
            reuse |= !uses && (beside || uses_axis(loads->at.at[l], d, r->n));
            other = uses ? loads->at.at[l] : other;
        }
        const Expr *index[RANK_MAX], *coef, *rest;
        for (int a = 0; a < d->buf->rank; a++)
            index[a] = def_var(ctx, r->root, a);
        at = buf_offset(ctx, r->root->buf, index);
        int64_t stride = INT64_MAX - 1;
        if (!reuse || !other)
            continue;
        if (expr_linear(ctx, at, 1, &r->root->axis[i].var, &coef, &rest))
            expr_is_int(coef, &stride);
        if (stride < best) {
            best = stride;
            r->m = i;
            r->rows_load = other;
        }
    }
}

/* The Def of the kernel that copies the lanes' operand for the sum alone. */
static void choose_panel(Ctx *ctx, const Kernel *k, Roles *r) {
    for (int i = 0; i < k->defs.len && r->lanes_load; i++)
        if (k->defs.at[i]->buf == r->lanes_load->u.buf && !def_is_reduction(k->defs.at[i]) &&
            k->defs.at[i]->value->op == OP_LOAD)
            vec_push(ctx, &r->panels, k->defs.at[i]);
}

/* The window of the rows' operand: which output axes meet which RED axis in one of its indices, and the steps. */
static void choose_window(Ctx *ctx, Roles *r) {
    const Def *d = r->acc;
    r->apart = r->n >= 0 && uses_axis(r->rows_load, d, r->n);
    for (int i = 0; i < r->rows_load->nkid; i++) {
        int out = -1, red = -1;
        const Expr *coef[2], *rest;
        for (int a = 0; a < d->naxis; a++)
            if (uses_axis(r->rows_load->kid[i], d, a))
                *(d->axis[a].kind == AXIS_RED ? &red : &out) = a;
        int64_t step, each, terms;
        if (out < 0 || red < 0 || (out != r->m && expr_is(d->axis[out].var->extent, 1)))
            continue;
        Sym *const at[2] = {d->axis[out].var, d->axis[red].var};
        if (!expr_linear(ctx, r->rows_load->kid[i], 2, at, coef, &rest) ||
            !expr_is_int(coef[0], &step) || !expr_is_int(coef[1], &each) || step < 1 || each < 1 ||
            !expr_is_int(d->axis[red].var->extent, &terms))
            continue;
        r->high = out == r->m ? r->high : out;
        r->across[out == r->m] = red;
        r->step[out == r->m] = step;
        if (out == r->m && !load_stride(ctx, r->rows_load, d, red, &r->pitch))
            r->pitch = 1;
        r->span[out == r->m] = (terms - 1) * each + 1;
    }
}

/* May the last group of `of` along an axis of extent n be fetched whole? */
static bool group_fits(Ctx *ctx, const Expr *x, const Sym *axis, int64_t n, int64_t of) {
    const Buf *b = x->u.buf;
    int64_t size;
    if (n % of == 0)
        return true;
    const Expr *all = b->size ? b->size : buf_count(ctx, b);
    const Expr *to = expr_sym(ctx, sym_axis(ctx, axis->name, expr_i(ctx, n + of - n % of)));
    Sym *from = (Sym *)(uintptr_t)axis;
    const Expr *at = expr_subst(ctx, buf_offset(ctx, b, x->kid), 1, &from, &to);
    return expr_is_int(all, &size) && expr_range(ctx, at).max < size;
}

/* Groups of four or two along one RED axis: side by side in x, packable in w. */
static void choose_group(Ctx *ctx, Roles *r) {
    Narrow8 nw;
    const Def *d = r->acc;
    bool octets = narrow_match(d, &nw);
    unsigned ready = octets ? narrow_groups(&nw) : tile_product(d->value, &nw) ? 4 | 2 : 0;
    if (!ready || d->when || nw.w != r->lanes_load || uses_axis(nw.x, d, r->n) ||
        (r->m >= 0 && uses_axis(nw.w, d, r->m)))
        return;
    for (int i = 0; i < d->naxis && r->k < 0; i++) {
        int64_t stride, n;
        const Axis *a = &d->axis[i];
        if (a->kind != AXIS_RED || !expr_is_int(a->var->extent, &n) || !packable(nw.w, d, i) ||
            !load_stride(ctx, nw.x, d, i, &stride) || stride != 1)
            continue;
        for (unsigned of = 4; of >= 2; of -= 2)
            if ((ready & of) && (!octets || group_fits(ctx, nw.x, a->var, n, of)))
                r->groups |= of;
        r->k = r->groups ? i : -1;
    }
}

/* The axis along which rows without lanes lie: the contiguous one, or the closest where channels of others lie in
 * between (a slot); -1: none. */
static int row_axis(Ctx *ctx, const Buf *b) {
    int64_t closest = INT64_MAX, stride;
    int axis = buf_inner_axis(ctx, b);
    for (int i = axis < 0 && b->where ? b->rank : 0; i-- > 0;) {
        const Expr *coef, *rest;
        if (!expr_linear(ctx, b->where, 1, &b->dimvar[i], &coef, &rest) ||
            !expr_is_int(coef, &stride) || expr_is(b->dim[i], 1) || stride >= closest)
            continue;
        closest = stride;
        axis = i;
    }
    return axis;
}

/* Output axes that are neither rows nor lanes, outermost in storage first. */
static void list_outer(Ctx *ctx, Roles *r) {
    const Def *d = r->acc ? r->acc : r->root;
    int64_t stride[RANK_MAX];
    for (int i = 0; i < d->naxis && i < r->root->buf->rank; i++) {
        const Expr *index[RANK_MAX], *coef, *rest;
        for (int a = 0; a < r->root->buf->rank; a++)
            index[a] = r->root->at ? r->root->at[a] : def_var(ctx, r->root, a);
        const Expr *at = buf_offset(ctx, r->root->buf, index);
        if (i == r->m || i == r->n || d->axis[i].kind == AXIS_RED || r->nouter == RANK_MAX)
            continue;
        int64_t s = INT64_MAX;
        if (expr_linear(ctx, at, 1, &r->root->axis[i].var, &coef, &rest))
            expr_is_int(coef, &s);
        int p = r->nouter++;
        for (; p > 0 && stride[p - 1] < s; p--) {
            stride[p] = stride[p - 1];
            r->outer[p] = r->outer[p - 1];
        }
        stride[p] = s;
        r->outer[p] = i;
    }
}

/* ---- cases ---------------------------------------------------------------------------------------- */

#define PERIOD_MAX 36 /* cases that are written out */

typedef struct CaseWalk {
    Ctx *ctx;
    const Sym *axis;
    int64_t period;      /* of what conditions see of the axis; 0: not seen yet */
    bool decides, whole; /* some condition asks for one value; one sees more than a rest */
} CaseWalk;

static void condition_uses(CaseWalk *w, const Expr *e) {
    int64_t c;
    if (!expr_uses_sym(e, w->axis))
        return;
    if (e->op == OP_MOD && expr_is_int(e->kid[1], &c) && (w->period == 0 || w->period == c)) {
        w->period = c;
        return;
    }
    w->whole |= e->op == OP_SYM;
    for (int i = 0; i < e->nkid; i++)
        condition_uses(w, e->kid[i]);
}

static void case_node(void *data, const Expr *e) {
    CaseWalk *w = data;
    if (e->op != OP_SELECT)
        return;
    condition_uses(w, e->kid[0]);
    w->decides |= e->kid[0]->op == OP_EQ && expr_uses_sym(e->kid[0], w->axis);
}

static void list_cases(Ctx *ctx, Roles *r) {
    r->whole = true;
    for (int i = 0; i < r->nouter; i++) {
        const Def *d = r->root;
        CaseWalk w = {ctx, d->axis[r->outer[i]].var, 0, false, false};
        int64_t extent;
        expr_walk(ctx, d->value, case_node, &w);
        bool known = w.decides && expr_is_int(w.axis->extent, &extent);
        int64_t period = !known ? 0 : w.whole ? extent : w.period;
        if (period > 1 && period <= PERIOD_MAX && period <= extent && r->ncases < CASES_MAX) {
            r->whole &= extent % period == 0;
            r->period[r->ncases] = period;
            r->cases[r->ncases++] = r->outer[i];
        } else {
            r->plain[r->nplain++] = r->outer[i];
        }
    }
}

/* An update whose innermost loop stores side by side what it reads so (rows that move as they are): whether and
 * where, all elements of such a row have in common. */
static void choose_update(Ctx *ctx, Roles *r) {
    const Def *d = r->root;
    const int last = d->naxis - 1;
    const Expr *coef, *rest;
    Loads loads = {.ctx = ctx};
    if (last < 0 || d->axis[last].kind != AXIS_PAR || def_is_reduction(d) ||
        (d->when && expr_uses_sym(d->when, d->axis[last].var)) ||
        !expr_linear(ctx, buf_offset(ctx, d->buf, d->at), 1, &d->axis[last].var, &coef, &rest) ||
        !expr_is(coef, 1))
        return;
    expr_walk(ctx, d->value, collect_load, &loads);
    for (int i = 0; i < loads.at.len; i++) {
        const Expr *load = loads.at.at[i];
        int64_t stride;
        if (uses_axis(load, d, last) && (!load_stride(ctx, load, d, last, &stride) || stride != 1))
            return;
        for (int a = 0; load->u.buf == d->buf && a < load->nkid; a++)
            if (load->kid[a] != d->at[a])
                return;
    }
    r->n = last;
}

void kernel_roles(Ctx *ctx, const Kernel *k, Roles *r) {
    Loads loads = {.ctx = ctx};
    *r = (Roles){.root = kernel_root(k),
                 .m = -1,
                 .n = -1,
                 .k = -1,
                 .ways = -1,
                 .high = -1,
                 .cut = -1,
                 .gather = -1};
    r->across[0] = r->across[1] = -1;
    r->kind = r->root->scan ? CLASS_SCAN : r->root->at ? CLASS_UPDATE : CLASS_MAP;
    if (r->kind == CLASS_SCAN)
        scan_roles(ctx, k, r);
    if (r->kind == CLASS_UPDATE)
        choose_update(ctx, r);
    if (r->kind != CLASS_MAP)
        return;
    bool chain = chain_roles(ctx, k, r);
    r->acc = chain ? r->acc : main_reduction(ctx, k);
    expr_walk(ctx, r->acc ? r->acc->value : r->root->value, collect_load, &loads);
    choose_lanes(ctx, k, r, &loads);
    if (!r->acc && r->n < 0)
        choose_part(ctx, r, &loads);
    if (!r->acc && r->n < 0)
        choose_across(ctx, r, &loads);
    if (!r->acc && r->n < 0 && !r->root->at)
        choose_across_cut(ctx, r);
    if (!r->acc && r->n < 0)
        choose_pairs(ctx, r, &loads);
    if (!r->acc && r->n < 0 && !r->root->at)
        choose_pieces(ctx, r);
    if (!r->acc && r->n < 0 && !r->root->at)
        choose_gather(ctx, r, &loads);
    if (r->acc) {
        r->kind = CLASS_REDUCTION;
        if (def_is_contraction(ctx, r->acc) && r->acc->value->op == OP_MUL) {
            r->kind = has_window(&loads, r->acc) ? CLASS_WINDOW : CLASS_CONTRACTION;
            choose_rows(ctx, r, &loads, false);
            if (r->m < 0 && r->kind == CLASS_WINDOW)
                choose_rows(ctx, r, &loads, true);
            if (r->m >= 0 && r->kind == CLASS_WINDOW)
                choose_window(ctx, r);
            if (!chain && r->kind == CLASS_CONTRACTION)
                choose_panel(ctx, k, r);
            choose_group(ctx, r);
        }
        bool bare = r->n < 0 && r->m < 0 && r->kind != CLASS_REDUCTION && !chain;
        if (bare && r->acc->buf->rank == r->root->buf->rank &&
            kernel_attach(ctx, k, r->acc) == r->acc->buf->rank)
            r->m = row_axis(ctx, r->root->buf); /* rows without lanes */
        r->kind = chain ? CLASS_CHAIN : r->kind;
        for (int i = 0; i < r->acc->naxis; i++)
            if (r->acc->axis[i].kind == AXIS_RED)
                r->red[r->nred++] = i;
    }
    list_outer(ctx, r);
    if (r->kind == CLASS_MAP) {
        list_cases(ctx, r);
        r->flat = map_flat(ctx, r);
    }
}
