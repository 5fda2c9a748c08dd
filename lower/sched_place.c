/* compute_at and stage: where a Def is computed and where its values live.
 *
 *   before  for m < M { for n < N { t[m,n] = … } } for m < M { for n < N { y[m,n] = f(t[m,n]) } }
 *   compute_at t in y at m ; stage t at y.m in L1
 *   after   for m < M { alloc t[N] { for n < N { t[n] = … } for n < N { y[m,n] = f(t[n]) } } } */
#include "lower/kernel_class.h"
#include "lower/sched_in.h"

#include <string.h>

#define LOCAL_BYTES (64 * 1024) /* largest buffer on the C stack of one kernel */
#define VECTOR_MAX 16 /* f32 of the widest vector: rows of a register tile start at a multiple */

/* ---- the region a loop body reads --------------------------------------------------------------------- */

typedef struct Region {
    Ctx *ctx;
    const Buf *buf;
    VEC(Sym *) inner; /* variables of loops inside the body, while walking */
    const Expr *lo[RANK_MAX], *hi[RANK_MAX];
    Sym *at[RANK_MAX]; /* stands for the index while the guard is built */
    int loads;
    bool ok;
    bool maybe;                                        /* walking under a condition */
    const Expr *sure_lo[RANK_MAX], *sure_hi[RANK_MAX]; /* a box that is read whole; NULL: none */
} Region;

/* Is every point of the index's box read: linear, no variable in two dimensions? */
static bool box_is_exact(Region *r, const Expr *load) {
    const Expr *coef[64], *rest;
    bool used[64] = {false};
    if (r->inner.len > 64)
        return false;
    for (int i = 0; i < load->nkid; i++) {
        if (!expr_linear(r->ctx, load->kid[i], r->inner.len, r->inner.at, coef, &rest))
            return false;
        for (int v = 0; v < r->inner.len; v++) {
            if (expr_is(coef[v], 0))
                continue;
            if (used[v])
                return false;
            used[v] = true;
        }
    }
    return true;
}

/* Notes the box of a load of the buffer that evaluating e always performs. */
static void sure_load(Region *r, Map *seen, const Expr *e) {
    bool lazy = e->op == OP_AND || e->op == OP_OR || e->op == OP_SELECT;
    if (r->sure_lo[0] || map_get(seen, e))
        return;
    map_put(seen, e, (void *)(uintptr_t)e);
    if (e->op == OP_LOAD && e->u.buf == r->buf && e->nkid > 0 && box_is_exact(r, e)) {
        for (int i = 0; i < e->nkid; i++)
            if (!expr_extremes(r->ctx, e->kid[i], r->inner.len, r->inner.at, &r->sure_lo[i],
                               &r->sure_hi[i])) {
                r->sure_lo[0] = NULL;
                return;
            }
        return;
    }
    for (int i = 0; i < (lazy ? 1 : e->nkid); i++)
        sure_load(r, seen, e->kid[i]);
}

/* An index that is loaded itself may be any: all of the dimension is the region, where the loops inside read as
 * often as that. */
static bool whole_dim(const Region *r, const Expr *load, int dim, const Expr **lo,
                      const Expr **hi) {
    const Expr *extent = load->u.buf->dim[dim];
    int64_t n, reads = 1, of;
    if (!expr_uses_buf(load->kid[dim], NULL) || !expr_is_int(extent, &n))
        return false;
    for (int i = 0; i < r->inner.len; i++)
        if (expr_uses_sym(load->kid[dim], r->inner.at[i]) &&
            (!expr_is_int(r->inner.at[i]->extent, &of) || !mul_ok(reads, of, &reads)))
            return false;
    *lo = expr_i(r->ctx, 0);
    *hi = expr_i(r->ctx, n - 1);
    return n > 0 && reads >= n;
}

static void region_load(void *data, const Expr *e) {
    Region *r = data;
    Ctx *ctx = r->ctx;
    if (e->op != OP_LOAD || e->u.buf != r->buf)
        return;
    for (int i = 0; i < e->nkid; i++) {
        const Expr *lo, *hi;
        if (!expr_extremes(ctx, e->kid[i], r->inner.len, r->inner.at, &lo, &hi) &&
            !whole_dim(r, e, i, &lo, &hi)) {
            r->ok = false;
            return;
        }
        r->lo[i] = !r->loads ? lo : lo == r->lo[i] ? lo : expr_min(ctx, lo, r->lo[i]);
        r->hi[i] = !r->loads ? hi : hi == r->hi[i] ? hi : expr_max(ctx, hi, r->hi[i]);
    }
    r->loads++;
}

static void region_stmts(Region *r, const Stmt *s) {
    for (; s && r->ok; s = s->next) {
        if (s->op == STMT_FOR)
            vec_push(r->ctx, &r->inner, s->var);
        if (s->a)
            expr_walk(r->ctx, s->a, region_load, r);
        if (s->a && !r->maybe)
            sure_load(r, map_new(r->ctx), s->a);
        for (int i = 0; i < s->nindex; i++)
            expr_walk(r->ctx, s->index[i], region_load, r);
        bool maybe = r->maybe;
        r->maybe |= s->op == STMT_IF || s->op == STMT_WHILE;
        region_stmts(r, s->body);
        region_stmts(r, s->orelse);
        r->maybe = maybe;
        if (s->op == STMT_FOR)
            r->inner.len--;
    }
}

int loop_region(Ctx *ctx, const Buf *b, const Stmt *body, const Expr **lo, const Expr **hi) {
    Region r = {.ctx = ctx, .buf = b, .ok = true};
    region_stmts(&r, body);
    for (int i = 0; i < b->rank && r.loads; i++) {
        lo[i] = r.lo[i];
        hi[i] = r.hi[i];
    }
    return r.ok ? r.loads : -1;
}

/* Do all stores of b in the list, and at least one, go through `block` entries from loop->var*block on? */
static bool stores_block(Region *r, const Stmt *s, const Expr *from, int dim, int64_t block) {
    Ctx *ctx = r->ctx;
    const Expr *to = expr_add(ctx, from, expr_i(ctx, block - 1));
    for (; s && r->ok; s = s->next) {
        if (s->op == STMT_FOR)
            vec_push(ctx, &r->inner, s->var);
        if (s->op == STMT_STORE && s->buf == r->buf) {
            const Expr *lo, *hi;
            r->ok = expr_extremes(ctx, s->index[dim], r->inner.len, r->inner.at, &lo, &hi) &&
                    lo == from && hi == to;
            r->loads++;
        }
        r->ok = stores_block(r, s->body, from, dim, block) &&
                stores_block(r, s->orelse, from, dim, block);
        if (s->op == STMT_FOR)
            r->inner.len--;
    }
    return r->ok;
}

bool loop_stores_rows(Ctx *ctx, const Buf *b, const Stmt *loop, int dim, int64_t block) {
    Region r = {.ctx = ctx, .buf = b, .ok = true};
    const Expr *from = expr_mul(ctx, expr_sym(ctx, loop->var), expr_i(ctx, block));
    return stores_block(&r, loop->body, from, dim, block) && r.loads > 0;
}

/* ---- compute_at ---------------------------------------------------------------------------------------- */

Def *kernel_def(const Kernel *k, Str name) {
    for (int i = 0; i < k->defs.len; i++)
        if (k->defs.at[i]->name == name)
            return k->defs.at[i];
    return NULL;
}

/* Is it the loop around all Defs of a scan group? It stays where it is. */
static bool is_step(const Def *d, int axis) {
    return d->scan && d->axis[axis].var == d->scan->var;
}

/* Where the nests of the kernel's Defs stand: inside the loop of a scan group, or at the top. */
static Stmt **nests_of(Func *f) {
    bool steps = f->body && f->body->op == STMT_FOR && f->body->kind == AXIS_SEQ && !f->body->def;
    return steps ? &f->body->body : &f->body;
}

/* Takes d's nests out of the list and returns them as one. */
static Stmt *take_def(Stmt **head, const Def *d) {
    Stmt *taken = NULL, **end = &taken;
    while (*head) {
        Stmt *s = *head;
        if (s->def != d) {
            head = &s->next;
            continue;
        }
        *head = s->next;
        s->next = NULL;
        *end = s;
        end = &s->next;
    }
    return taken;
}

typedef struct Narrow {
    const Buf *from;
    Buf *to;
    const Expr **lo;
} Narrow;

static const Expr **narrow_index(Ctx *ctx, const Narrow *n, const Expr *const *index) {
    const Expr **at = ctx_newn(ctx, const Expr *, n->from->rank);
    for (int i = 0; i < n->from->rank; i++)
        at[i] = expr_sub(ctx, index[i], n->lo[i]);
    return at;
}

static const Expr *narrow_load(Ctx *ctx, const Expr *e, void *data) {
    const Narrow *n = data;
    if (e->op != OP_LOAD || e->u.buf != n->from)
        return e;
    return buf_load(ctx, n->to, narrow_index(ctx, n, e->kid));
}

typedef struct NarrowStores {
    Ctx *ctx;
    Narrow *n;
} NarrowStores;

static void narrow_store(void *data, Stmt *s) {
    NarrowStores *ns = data;
    if (s->op != STMT_STORE || s->buf != ns->n->from)
        return;
    s->index = narrow_index(ns->ctx, ns->n, s->index);
    s->buf = ns->n->to;
}

/* The box is one that is read whole and always: inside the buffer, whatever can be proved about its bounds. */
static bool region_is_read(const Region *r) {
    for (int i = 0; i < r->buf->rank; i++)
        if (r->lo[i] != r->sure_lo[i] || r->hi[i] != r->sure_hi[i])
            return false;
    return r->buf->rank > 0;
}

/* The box may reach beyond the buffer where the loads are guarded: then the nests are, too. Bounds that are
 * constant are cut at once. */
static const Expr *cut_region(Ctx *ctx, const Buf *b, Region *r) {
    const Expr *guard = NULL, *zero = expr_i(ctx, 0), *one = expr_i(ctx, 1);
    if (region_is_read(r))
        return NULL;
    for (int i = 0; i < b->rank; i++) {
        const Expr *last = expr_sub(ctx, b->dim[i], one);
        if (expr_is_int(r->lo[i], NULL))
            r->lo[i] = expr_max(ctx, r->lo[i], zero);
        if (expr_is_int(r->hi[i], NULL))
            r->hi[i] = expr_min(ctx, r->hi[i], last);
        if (!expr_proves(ctx, expr_le(ctx, zero, r->lo[i])))
            guard = expr_and(ctx, guard, expr_le(ctx, zero, expr_sym(ctx, r->at[i])));
        if (!expr_proves(ctx, expr_le(ctx, r->hi[i], last)))
            guard = expr_and(ctx, guard, expr_le(ctx, expr_sym(ctx, r->at[i]), last));
    }
    return guard;
}

/* d's loops over the region only: axis i runs from lo[i] for extent[i]. `nests` is copied. */
static Stmt *restrict_nests(Ctx *ctx, const Def *d, Stmt *nests, const Region *r,
                            const Expr **extent, const Expr *guard) {
    const Expr *const *lo = r->lo;
    Stmt *copy = stmt_copy(ctx, nests);
    for (Stmt *top = copy; top; top = top->next) {
        const Expr *inside = guard;
        Stmt *s = top, *last = NULL;
        for (int i = 0; i < d->buf->rank; i++) {
            if (is_step(d, i))
                continue;
            while (s->op == STMT_FOR && s->label != d->axis[i].var->name)
                s = s->body;
            if (s->op != STMT_FOR)
                break;
            Sym *v = sym_axis(ctx, s->label, extent[i]);
            const Expr *at = expr_add(ctx, lo[i], expr_sym(ctx, v));
            stmt_subst(ctx, s->body, 1, &s->var, &at);
            inside = inside ? expr_subst(ctx, inside, 1, (Sym *const *)&r->at[i], &at) : NULL;
            s->var = v;
            s->a = extent[i];
            last = s;
            s = s->body;
        }
        if (inside && last)
            last->body = stmt_if(ctx, inside, last->body, NULL);
    }
    return copy;
}

/* Does every nest still have the loop of each output axis, whole and in order? */
static bool nests_whole(const Def *d, const Stmt *nests) {
    for (const Stmt *top = nests; top; top = top->next) {
        const Stmt *s = top;
        for (int i = 0; i < d->buf->rank; i++) {
            if (is_step(d, i))
                continue;
            while (s->op == STMT_FOR && s->label != d->axis[i].var->name)
                s = s->body;
            if (s->op != STMT_FOR || s->a != d->axis[i].var->extent)
                return false;
            s = s->body;
        }
    }
    return true;
}

/* Loops that are to be unrolled or made vectors keep constant extents. */
static bool marks_fit(const Def *d, const Stmt *nests, const Expr *const *extent) {
    int64_t n;
    for (const Stmt *top = nests; top; top = top->next) {
        const Stmt *s = top;
        for (int i = 0; i < d->buf->rank; i++) {
            if (is_step(d, i))
                continue;
            while (s->label != d->axis[i].var->name)
                s = s->body;
            if ((s->run == RUN_UNROLL || s->run == RUN_VECTOR) && !expr_is_int(extent[i], &n))
                return false;
            s = s->body;
        }
    }
    return true;
}

/* True when all loads of d's buffer are inside the given loops (and in d itself). */
static bool read_elsewhere(Ctx *ctx, const Stmt *s, const Def *d, const LoopList *inside) {
    for (; s; s = s->next) {
        bool skip = s->def == d;
        for (int i = 0; i < inside->len; i++)
            skip |= inside->at[i] == s;
        if (skip)
            continue;
        if ((s->a && expr_uses_buf(s->a, d->buf)) || read_elsewhere(ctx, s->body, d, inside) ||
            read_elsewhere(ctx, s->orelse, d, inside))
            return true;
    }
    return false;
}

static bool private_temp(const Func *f, const Buf *b) {
    for (int i = 0; i < f->kernel->temps.len; i++)
        if (f->kernel->temps.at[i] == b)
            return true;
    return false;
}

/* Bytes of the region; -1 when not constant. */
static int64_t region_bytes(const Buf *b, int rank, const Expr **extent) {
    int64_t n = type_bytes(type_dtype(b->type)), d;
    for (int i = 0; i < rank; i++)
        if (!expr_is_int(extent[i], &d) || !mul_ok(n, d, &n))
            return -1;
    return n;
}

/* A region too large for the C stack: a buffer in the arena, for this kernel alone. */
static Buf *region_in_arena(Ctx *ctx, Func *f, const Def *d, int rank, const Expr **extent) {
    Buf *b = buf_new(ctx, d->buf->name, type_dtype(d->buf->type), SPACE_ARENA, rank, extent);
    b->def = d->buf->def;
    b->ndef = 1;
    vec_push(ctx, &f->params, b);
    vec_push(ctx, &f->kernel->temps, b);
    return b;
}

/* Rows of whole vectors are computed whole when all but a part of the last one is read. */
static void fill_vector(Ctx *ctx, const Buf *b, Region *r) {
    int last = b->rank - 1;
    int64_t from, to, dim;
    if (last >= 0 && expr_is_int(r->lo[last], &from) && expr_is_int(r->hi[last], &to) &&
        expr_is_int(b->dim[last], &dim) && dim % VECTOR_MAX == 0 && from == 0 && to < dim &&
        to >= dim - VECTOR_MAX)
        r->hi[last] = expr_i(ctx, dim - 1);
}

/* Puts d's computation in front of one loop body. */
static bool place_in(Ctx *ctx, Func *f, const Def *d, Stmt *nests, Stmt *loop, Str *why) {
    Region r = {.ctx = ctx, .buf = d->buf, .ok = true};
    int rank = d->buf->rank;
    const Expr *extent[RANK_MAX];
    region_stmts(&r, loop->body);
    if (!r.ok)
        return step_fails(ctx, why, "the region of %s read inside %s has no known bounds", d->name,
                          loop->label);
    if (!r.loads)
        return true;
    for (int i = 0; i < rank; i++)
        r.at[i] = sym_new(ctx, SYM_LET, d->axis[i].var->name, INT64_MIN, INT64_MAX);
    const Expr *guard = cut_region(ctx, d->buf, &r);
    fill_vector(ctx, d->buf, &r);
    for (int i = 0; i < rank; i++)
        extent[i] = expr_add(ctx, expr_sub(ctx, r.hi[i], r.lo[i]), expr_i(ctx, 1));
    for (int i = 0; i < rank; i++)
        if (is_step(d, i) && !expr_is(extent[i], 1))
            return step_fails(ctx, why, "%s is read at another step than its own", d->name);
    if (!marks_fit(d, nests, extent))
        return step_fails(ctx, why,
                          "loops of %s are to be written out, and %s makes their extent unknown",
                          d->name, loop->label);
    Stmt *body = restrict_nests(ctx, d, nests, &r, extent, guard);
    int64_t bytes = region_bytes(d->buf, rank, extent);
    if (!private_temp(f, d->buf) || bytes < 0) {
        loop->body = stmt_join(body, loop->body);
        return true;
    }
    bool stack = bytes <= LOCAL_BYTES;
    Buf *local =
        stack ? buf_new(ctx, d->buf->name, type_dtype(d->buf->type), SPACE_LOCAL, rank, extent)
              : region_in_arena(ctx, f, d, rank, extent);
    const int64_t none[RANK_MAX] = {0};
    if (d->buf->where && rank >= 3 && buf_inner_axis(ctx, d->buf) == 1)
        buf_store_in(ctx, local, true, none, none, 0);
    Narrow n = {d->buf, local, r.lo};
    body = stmt_join(body, loop->body);
    stmt_map(ctx, body, narrow_load, &n);
    stmt_walk(body, narrow_store, &(NarrowStores){ctx, &n});
    if (!stack) {
        loop->body = body;
        return true;
    }
    Stmt *alloc = stmt_new(ctx, STMT_ALLOC);
    alloc->buf = local;
    alloc->body = body;
    loop->body = alloc;
    return true;
}

/* Temporaries that nothing outside an ALLOC mentions any more are no parameters. */
static bool mentions(const Stmt *s, const Buf *b) {
    for (; s; s = s->next) {
        if (s->buf == b || (s->a && expr_uses_buf(s->a, b)) || mentions(s->body, b) ||
            mentions(s->orelse, b))
            return true;
        for (int i = 0; i < s->nindex; i++)
            if (expr_uses_buf(s->index[i], b))
                return true;
    }
    return false;
}

static void drop_temp(Func *f, const Buf *b) {
    int kept = 0;
    if (mentions(f->body, b))
        return;
    for (int i = 0; i < f->params.len; i++)
        if (f->params.at[i] != b)
            f->params.at[kept++] = f->params.at[i];
    f->params.len = kept;
    kept = 0;
    for (int i = 0; i < f->kernel->temps.len; i++)
        if (f->kernel->temps.at[i] != b)
            f->kernel->temps.at[kept++] = f->kernel->temps.at[i];
    f->kernel->temps.len = kept;
}

bool sched_compute_at(Ctx *ctx, Func *f, const Step *step, Str *why) {
    Def *d = kernel_def(f->kernel, step->def);
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    if (!d || !loops.len)
        return step_fails(ctx, why, "no %s %s here", d ? "loop" : "Def",
                          d ? step->loop[0].axis : step->def);
    if (d == kernel_root(f->kernel) || loops.at[0]->def == d)
        return step_fails(ctx, why, "%s cannot be computed in its own loops", d->name);
    if (d->at || (d->scan && !private_temp(f, d->buf)) || read_elsewhere(ctx, f->body, d, &loops))
        return step_fails(ctx, why, "%s is read outside %s", d->name, step->loop[0].axis);
    Stmt *nests = take_def(nests_of(f), d);
    if (!nests)
        return step_fails(ctx, why, "%s is already placed", d->name);
    if (nests_slide(nests))
        return step_fails(ctx, why, "rows of %s come one after the other", d->name);
    if (!nests_whole(d, nests))
        return step_fails(
            ctx, why, "the loops of %s are not whole any more; compute_at comes first", d->name);
    for (int i = 0; i < loops.len; i++)
        if (!place_in(ctx, f, d, nests, loops.at[i], why))
            return false;
    drop_temp(f, d->buf);
    return true;
}

/* ---- stage ----------------------------------------------------------------------------------- */

/* The dimension `inner` last, the others row-major; rows padded, those of one element if `single`, so that no
 * vector of a row reaches into the next. */
static void pad_rows(Ctx *ctx, Buf *b, int inner, bool single) {
    int64_t stride = 1, count = 1, dim[RANK_MAX];
    if (b->rank == 0 || !buf_dims(b, dim))
        return;
    for (int i = 0; i < b->rank; i++)
        count *= dim[i];
    b->dimvar = ctx_newn(ctx, Sym *, b->rank);
    b->where = expr_i(ctx, 0);
    for (int n = b->rank; n-- > 0;) {
        int i = n == b->rank - 1 ? inner : n < inner ? n : n + 1;
        b->dimvar[i] = sym_new(ctx, SYM_LET, str(ctx, "i"), INT64_MIN, INT64_MAX);
        b->where = expr_add(ctx, b->where,
                            expr_mul(ctx, expr_sym(ctx, b->dimvar[i]), expr_i(ctx, stride)));
        bool row = i == inner && (dim[i] > 1 || (single && count > 1));
        stride *= row ? (dim[i] + VECTOR_MAX - 1) / VECTOR_MAX * VECTOR_MAX : dim[i];
    }
    b->size = expr_i(ctx, stride);
}

typedef struct Staging {
    Ctx *ctx;
    Str name;
    uint8_t space;
    int inner; /* the dimension that is contiguous where the root stores; -1: none */
    int rank;  /* of the root: the lanes of what has more dimensions are others */
    int found;
} Staging;

static void stage_one(void *data, Stmt *s) {
    Staging *st = data;
    if (s->op == STMT_ALLOC && s->buf->name == st->name) {
        s->buf->space = st->space;
        if (st->space == SPACE_REG)
            pad_rows(st->ctx, s->buf,
                     st->inner >= 0 && st->inner < s->buf->rank ? st->inner : s->buf->rank - 1,
                     s->buf->rank == st->rank);
        st->found++;
    }
}

bool sched_stage(Ctx *ctx, Func *f, const Step *step, Str *why) {
    Def *d = kernel_def(f->kernel, step->def);
    const Buf *out = kernel_root(f->kernel)->buf;
    Staging st = {
        ctx, d ? d->buf->name : step->def, step->space, buf_inner_axis(ctx, out), out->rank, 0};
    stmt_walk(f->body, stage_one, &st);
    if (!st.found)
        return step_fails(ctx, why, "%s has no local buffer; compute_at comes first", step->def);
    return true;
}
