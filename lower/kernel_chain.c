/* Chains (fusion rule 4): a contraction, what its rows go through, and the contraction that reads them, in the
 * loops of the last one, so that the values between are one block of rows.
 *
 *   before  s[i,j] = add(d) q[i,d] * k[j,d] ; m[i] = max(j) s[i,j] ; p[i,j] = exp(s[i,j] - m[i])
 *           y[i,e] = add(j) p[i,j] * v[j,e]                  four kernels, s and p in the arena
 *   after   one kernel; s, m and p belong to y's loop i
 *
 * Nothing is computed twice or in another order: every bit stays. */
#include "lower/kernel_class.h"
#include "lower/uses.h"

#include <string.h>

#define BLOCK_MAX (64 * 1024) /* bytes of one block of rows of the values between */
#define ROWS_MIN 4            /* fewer rows than this do not pay the transposed panel */

typedef struct Search {
    Lower *lo;
    Uses *uses;
    Map *members; /* Def → the contraction at the chain's end */
    Def *end, *start;
    const Buf *mid; /* what the end reads */
    DefList found;
} Search;

static bool found(const Search *s, const Def *d) {
    for (int i = 0; i < s->found.len; i++)
        if (s->found.at[i] == d)
            return true;
    return false;
}

/* The factor of a product of two that loads `b` alone; NULL. */
static const Expr *factor_of(const Def *d, int side) {
    const Expr *e = d->value->op == OP_MUL ? d->value->kid[side] : NULL;
    return e && e->op == OP_LOAD ? e : NULL;
}

bool chain_contraction(Ctx *ctx, const Def *d) {
    int64_t n;
    int rank = d->buf->rank;
    if (rank < 3 || d->naxis != rank + 1 || d->combine != OP_ADD || d->when || d->init ||
        d->buf->type != T_F32 || !factor_of(d, 0) || !factor_of(d, 1) ||
        !def_is_contraction(ctx, d))
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (!expr_is_int(d->axis[i].var->extent, &n) || n < 1)
            return false;
    return true;
}

static int64_t extent_of(const Def *d, int axis) {
    int64_t n = 0;
    expr_is_int(d->axis[axis].var->extent, &n);
    return n;
}

const Buf *chain_middle(Ctx *ctx, const Def *end) {
    int rank = end->buf->rank;
    for (int side = 0; side < 2; side++) {
        const Expr *e = factor_of(end, side), *other = factor_of(end, 1 - side);
        const Buf *b = e->u.buf;
        if (b->rank == rank && b->space == SPACE_ARENA && b->ndef == 1 && b->type == T_F32 &&
            def_prefix(ctx, end, b) == rank - 1 && e->kid[rank - 1]->op == OP_SYM &&
            e->kid[rank - 1]->u.sym == end->axis[rank].var &&
            !expr_uses_sym(other, end->axis[rank - 2].var) && other->u.buf->space != SPACE_CONST)
            return b;
    }
    return NULL;
}

/* Whole rows of d's values belong to one row of the end: what reads them there takes them at its own axes. */
static bool by_rows(const Search *s, const Def *d, const BufUse *use) {
    int rows = s->mid->rank - 1;
    if (d->buf->rank < rows || d->buf->type != T_F32)
        return false;
    for (int i = 0; i < use->readers.len; i++) {
        const Def *r = use->readers.at[i];
        if ((r == s->end || found(s, r)) && def_prefix(s->lo->ctx, r, d->buf) < rows)
            return false;
    }
    return true;
}

static bool is_map(const Def *d) {
    return !def_is_reduction(d) && d->combine == COMBINE_SET && !d->when;
}

/* May d be the contraction at the start? Its columns are the axis that the end sums. */
static bool may_start(const Search *s, const Def *d) {
    int rank = s->mid->rank;
    if (s->start || d->buf->rank != rank || !chain_contraction(s->lo->ctx, d))
        return false;
    for (int side = 0; side < 2; side++)
        if (expr_uses_sym(factor_of(d, side), d->axis[rank - 1].var) &&
            (expr_uses_sym(factor_of(d, side), d->axis[rank - 2].var) ||
             factor_of(d, side)->u.buf->space == SPACE_CONST))
            return false;
    return true;
}

/* One value a row, which a Def behind the chain may read, too. */
static bool is_statistic(const Search *s, const Def *d, const Def *reader) {
    const Place *end = uses_place(s->uses, s->end), *at = uses_place(s->uses, reader);
    for (int i = s->mid->rank - 1; i < d->buf->rank; i++)
        if (!expr_is(d->buf->dim[i], 1))
            return false;
    return at->block == end->block && at->order > end->order;
}

/* Are d's values read inside the chain, or by what may read them behind it? */
static bool readers_fit(const Search *s, const Def *d, const BufUse *use) {
    int inside = 0;
    for (int i = 0; i < use->readers.len; i++) {
        const Def *r = use->readers.at[i];
        if (found(s, r) || (r == s->end && d->buf == s->mid))
            inside++;
        else if (!is_statistic(s, d, r))
            return false;
    }
    return inside > 0;
}

static void try_member(Search *s, Def *d) {
    Ctx *ctx = s->lo->ctx;
    BufUse *use = uses_of(s->uses, d->buf);
    if (d->buf->whole || d->at || d->scan || d->buf->ndef != 1 || use->port || use->calls ||
        use->items.len || d->buf->space != SPACE_ARENA || !readers_fit(s, d, use))
        return;
    bool operand = use->readers.len == 1 && use->readers.at[0] == s->start;
    if (operand) { /* a part of one head's panel or of a block of rows */
        if (!is_map(d) || def_prefix(ctx, s->start, d->buf) < s->mid->rank - 2)
            return;
    } else if (!by_rows(s, d, use)) {
        return;
    } else if (def_is_contraction(ctx, d)) {
        if (!may_start(s, d))
            return;
        s->start = d;
    }
    vec_push(ctx, &s->found, d);
}

/* A block of rows fits the inner caches, the operands of one outer iteration the outer one. */
static bool chain_fits(const Search *s) {
    const Machine *m = s->lo->machine;
    int rank = s->mid->rank;
    int64_t rows = m->mr[0], keys = extent_of(s->end, rank), bytes, both;
    int64_t depth = extent_of(s->start, rank), width = extent_of(s->end, rank - 1);
    if (m->vec > 0 && (keys < m->vec / 4 || width < m->vec / 4))
        return false;
    return extent_of(s->end, rank - 2) >= ROWS_MIN && mul_ok(keys, 4, &bytes) &&
           mul_ok(bytes, rows, &both) && both <= BLOCK_MAX && add_ok(depth, width, &depth) &&
           mul_ok(bytes, depth, &both) && both <= m->l2;
}

static void search_from(Search *s, const Block *b, int item) {
    Ctx *ctx = s->lo->ctx;
    s->end = b->items.at[item]->def;
    s->start = NULL;
    s->found.len = 0;
    if (s->end->at || s->end->scan || map_get(s->members, s->end) ||
        !chain_contraction(ctx, s->end))
        return;
    s->mid = chain_middle(ctx, s->end);
    for (int i = item; s->mid && i-- > 0;)
        if (b->items.at[i]->kind == ITEM_DEF)
            try_member(s, b->items.at[i]->def);
    if (!s->start || !chain_fits(s))
        return;
    for (int i = 0; i < s->found.len; i++)
        map_put(s->members, s->found.at[i], s->end);
}

static void search_item(void *data, Block *b, Item *it) {
    Search *s = data;
    if (it->kind == ITEM_DEF)
        search_from(s, b, block_index(b, it));
}

Map *chain_find(Lower *lo, Uses *uses) {
    Search s = {.lo = lo, .uses = uses, .members = map_new(lo->ctx)};
    const char *schedule = rule_schedule(lo->ctx->opt);
    if (!lo->rule || lo->rule == RULE_ONLINE || (schedule && !strcmp(schedule, "chain")))
        block_walk(lo->prog->main, search_item, &s);
    return s.members;
}

/* ---- normal form ------------------------------------------------------------------------------------- */

/* The operand along the columns, transposed: one row a term of the sum, so that columns lie side by side. */
static Def *panel_of(Ctx *ctx, Def *d) {
    int rank = d->buf->rank;
    int side = expr_uses_sym(factor_of(d, 1), d->axis[rank - 1].var);
    const Expr *load = factor_of(d, side), *coef, *rest, *dim[RANK_MAX], *at[RANK_MAX];
    const Expr *offset = buf_offset(ctx, load->u.buf, load->kid);
    if (expr_linear(ctx, offset, 1, &d->axis[rank - 1].var, &coef, &rest) && expr_is(coef, 1))
        return NULL;
    Sym *from[RANK_MAX];
    for (int i = 0; i < rank; i++) {
        int axis = i < rank - 2 ? i : i == rank - 2 ? rank : rank - 1;
        from[i] = d->axis[axis].var;
        dim[i] = from[i]->extent;
        at[i] = expr_sym(ctx, from[i]);
    }
    Def *panel = def_new(ctx, str_f(ctx, "%s_t", load->u.buf->name), type_dtype(load->u.buf->type),
                         rank, dim);
    const Expr *to[RANK_MAX];
    for (int i = 0; i < rank; i++)
        to[i] = def_var(ctx, panel, i);
    panel->origin = d->origin;
    panel->loc = d->loc;
    panel->value = expr_subst(ctx, load, rank, from, to);
    const Expr *kid[2] = {d->value->kid[0], d->value->kid[1]};
    kid[side] = buf_load(ctx, panel->buf, at);
    d->value = expr_2(ctx, OP_MUL, kid[0], kid[1]);
    return panel;
}

/* What every reader does to the first contraction before anything else (scale, mask). */
typedef struct Score {
    Ctx *ctx;
    const Def *dot, *reader;
    Def *map;         /* its value: over the map's axes, from loads of dot */
    const Expr *at;   /* the column of dot that the reader loads */
    const Expr *same; /* the map's value over the reader's axes */
} Score;

static void find_column(void *data, const Expr *e) {
    Score *s = data;
    if (e->op == OP_LOAD && e->u.buf == s->dot->buf)
        s->at = e->kid[e->nkid - 1];
}

static bool reader_column(Score *s, const Def *reader) {
    s->reader = reader;
    s->at = NULL;
    expr_walk(s->ctx, reader->value, find_column, s);
    return s->at != NULL;
}

static const Expr *replace_score(Ctx *ctx, const Expr *e, void *data) {
    const Score *s = data;
    const Expr *at[RANK_MAX];
    int rank = s->dot->buf->rank;
    if (e != s->same)
        return e;
    for (int i = 0; i < rank; i++)
        at[i] = i < rank - 1 ? def_var(ctx, s->reader, i) : s->at;
    return buf_load(ctx, s->map->buf, at);
}

/* The reader's value by way of the map; NULL when it does something else to dot. */
static const Expr *by_score(Score *s, const Def *reader) {
    int rank = s->dot->buf->rank;
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX];
    if (!reader_column(s, reader) || reader->when || reader->init)
        return NULL;
    for (int i = 0; i < rank; i++) {
        from[i] = s->map->axis[i].var;
        to[i] = i < rank - 1 ? def_var(s->ctx, reader, i) : s->at;
    }
    s->same = expr_subst(s->ctx, s->map->value, rank, from, to);
    const Expr *e = expr_map(s->ctx, reader->value, replace_score, s);
    return expr_uses_buf(e, s->dot->buf) ? NULL : e;
}

/* A map of dot that takes what its first reader, a reduction, reduces. */
static bool score_begin(Score *s, const Def *reader) {
    int rank = s->dot->buf->rank;
    Sym *from[RANK_MAX];
    const Expr *to[RANK_MAX];
    if (!def_is_reduction(reader) || !reader_column(s, reader) || s->at->op != OP_SYM)
        return false;
    s->map =
        def_beside(s->ctx, s->dot, "_score", type_dtype(s->dot->buf->type), rank, s->dot->buf->dim);
    for (int i = 0; i < rank; i++) {
        from[i] = i < rank - 1 ? reader->axis[i].var : s->at->u.sym;
        to[i] = def_var(s->ctx, s->map, i);
    }
    s->map->value = expr_subst(s->ctx, reader->value, rank, from, to);
    for (int i = 0; i < reader->naxis; i++)
        if (expr_uses_sym(s->map->value, reader->axis[i].var))
            return false;
    return reader->value->op != OP_LOAD;
}

/* Computes it once, in a map of its own; NULL when the readers do not agree. */
static Def *score_of(Ctx *ctx, Kernel *k, const Def *dot) {
    Score s = {.ctx = ctx, .dot = dot};
    const Expr **value = ctx_newn(ctx, const Expr *, k->defs.len);
    for (int i = 0; i < k->defs.len; i++) {
        const Def *d = k->defs.at[i];
        if (d == dot || !def_reads(ctx, d, dot->buf))
            continue;
        if ((!s.map && !score_begin(&s, d)) || !(value[i] = by_score(&s, d)))
            return NULL;
    }
    for (int i = 0; i < k->defs.len; i++)
        if (value[i])
            k->defs.at[i]->value = value[i];
    return s.map;
}

void chain_normalise(Lower *lo, Kernel *k) {
    Ctx *ctx = lo->ctx;
    DefList defs = {0};
    Def *start = chain_start(ctx, k), *map = NULL;
    if (!start)
        return;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        Def *panel = d == start ? panel_of(ctx, d) : NULL;
        Def *score = d == start ? score_of(ctx, k, d) : NULL;
        if (panel)
            vec_push(ctx, &defs, panel);
        score = d != start || score ? score : def_wrap(ctx, d);
        map = score ? score : map;
        vec_push(ctx, &defs, d);
        if (score)
            vec_push(ctx, &defs, score);
    }
    k->defs.at = defs.at;
    k->defs.len = k->defs.cap = defs.len;
    if (map)
        chain_pad(lo, k, start, map);
}

/* ---- roles -------------------------------------------------------------------------------------------- */

Def *chain_start(Ctx *ctx, const Kernel *k) {
    for (int i = 0; i + 1 < k->defs.len; i++) {
        const Def *d = k->defs.at[i];
        if (d->at || d->scan || !def_is_contraction(ctx, d))
            continue;
        int depth = kernel_attach(ctx, k, d);
        if (depth >= 1 && depth < d->buf->rank)
            return k->defs.at[i];
    }
    return NULL;
}

/* The only Def of the kernel that reads d; NULL when there are several. */
static Def *only_reader(Ctx *ctx, const Kernel *k, const Def *d) {
    Def *only = NULL;
    for (int i = 0; i < k->defs.len; i++)
        if (k->defs.at[i] != d && def_reads(ctx, k->defs.at[i], d->buf)) {
            if (only)
                return NULL;
            only = k->defs.at[i];
        }
    return only;
}

/* The contraction at the end and what it reads: computed with every element of the root, and for whole rows. */
static bool find_end(Ctx *ctx, const Kernel *k, Roles *r) {
    for (int i = 0; i + 1 < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        if (kernel_attach(ctx, k, d) != d->buf->rank || d->buf->rank != r->root->buf->rank ||
            !chain_contraction(ctx, d))
            continue;
        const Buf *mid = chain_middle(ctx, d);
        for (int j = 0; j < i && mid; j++)
            if (k->defs.at[j]->buf == mid)
                r->mid = k->defs.at[j];
        r->acc = d;
        if (r->mid)
            return true;
    }
    return false;
}

bool chain_roles(Ctx *ctx, const Kernel *k, Roles *r) {
    r->dot = chain_start(ctx, k);
    r->first = r->dot ? only_reader(ctx, k, r->dot) : NULL;
    if (!r->first || !is_map(r->first) || !find_end(ctx, k, r))
        return false;
    int rank = r->acc->buf->rank;
    for (int i = 0; i < k->defs.len; i++) {
        Def *d = k->defs.at[i];
        if (d == r->root || d == r->acc || d == r->first || d == r->dot)
            continue;
        if (only_reader(ctx, k, d) == r->dot) {
            bool rows = kernel_attach(ctx, k, d) == rank - 1;
            vec_push(ctx, rows ? &r->leads : &r->panels, d);
            continue;
        }
        if (d->buf->rank == rank && d->buf->dim[rank - 1] == r->mid->buf->dim[rank - 1])
            vec_push(ctx, &r->wides, d);
        else if (def_is_reduction(d) && d->buf->rank > rank)
            vec_push(ctx, &r->sums, d);
        if (d != r->mid)
            vec_push(ctx, &r->stats, d);
    }
    return true;
}
