/* Proves a memory plan: no two buffers that live at one time overlap, for no dims, but parts and their whole.
 * Written apart from memory_plan.c, of which it believes nothing but the offsets; a finding is an internal error.
 * Precondition: every arena buffer has an offset; the entry sets the symbols these mention.
 *
 *   a at 0 (N*64 bytes), b at N*64: apart. a at 0, b at max(N*64, 128) with c at 64 (64 bytes): all apart */
#include "lower/lower.h"

typedef struct Life {
    const Buf *buf;
    int from, to;
    const Expr *ends[3];  /* the offset behind it, as sums that an offset above may be made of */
    unsigned char *above; /* bit k: it lies above life k; NULL: not asked yet */
    bool asking;
} Life;

typedef struct Check {
    Ctx *ctx;
    Map *life_of;  /* Buf → Life */
    Map *value_of; /* Sym → Expr the entry gives it */
    Map *enders;   /* Expr → Enders */
    VEC(Life *) lives;
    VEC(const Stmt *) stmts; /* by position, from 1 */
    int position, loop_from; /* of the outermost loop around, else -1 */
    VEC(Life *) in_loop;
} Check;

typedef struct Enders {
    VEC(int) life; /* those that end at one offset */
} Enders;

/* ---- lives ------------------------------------------------------------------------------------------- */

static void use_buf(Check *c, const Buf *b) {
    if (!b || b->space != SPACE_ARENA)
        return;
    use_buf(c, b->whole);
    Life *l = map_get(c->life_of, b);
    if (!l) {
        l = ctx_new(c->ctx, Life);
        l->buf = b;
        l->from = c->loop_from >= 0 ? c->loop_from : c->position;
        map_put(c->life_of, b, l);
        vec_push(c->ctx, &c->lives, l);
    }
    l->to = c->position;
    if (c->loop_from >= 0) {
        l->from = l->from < c->loop_from ? l->from : c->loop_from;
        vec_push(c->ctx, &c->in_loop, l);
    }
}

static void use_load(void *data, const Expr *e) {
    if (e->op == OP_LOAD || e->op == OP_MLOAD)
        use_buf(data, e->u.buf);
}

static void use_expr(Check *c, const Expr *e) {
    if (e)
        expr_walk(c->ctx, e, use_load, c);
}

static void use_call(Check *c, const Call *call) {
    for (int i = 0; i < call->in.len; i++)
        use_buf(c, call->in.at[i]);
    for (int i = 0; i < call->out.len; i++)
        use_buf(c, call->out.at[i]);
    for (int i = 0; i < call->attr.len; i++)
        use_expr(c, call->attr.at[i]);
}

static void use_stmts(Check *c, const Stmt *s);

/* What a loop touches lives as long as the loop. */
static void use_stmt(Check *c, const Stmt *s) {
    bool outermost = s->op == STMT_WHILE && c->loop_from < 0;
    c->position++;
    vec_push(c->ctx, &c->stmts, s);
    if (outermost) {
        c->loop_from = c->position;
        c->in_loop.len = 0;
    }
    use_expr(c, s->a);
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        use_buf(c, s->arg[i]);
    if (s->op == STMT_HOST)
        use_call(c, s->call);
    if (s->op == STMT_ASSIGN)
        map_put(c->value_of, s->var, (void *)(uintptr_t)s->a);
    use_stmts(c, s->body);
    use_stmts(c, s->orelse);
    for (int i = 0; outermost && i < c->in_loop.len; i++)
        c->in_loop.at[i]->to = c->position;
    if (outermost)
        c->loop_from = -1;
}

static void use_stmts(Check *c, const Stmt *s) {
    for (; s; s = s->next)
        use_stmt(c, s);
}

/* ---- who lies above whom ------------------------------------------------------------------------------ */

static void find_ends(Check *c, int i) {
    Ctx *ctx = c->ctx;
    Life *l = c->lives.at[i];
    const Expr *size = memory_bytes(ctx, l->buf), *closed = expr_over_dims(ctx, size);
    const Expr *sizes[3] = {size, closed, closed ? expr_max(ctx, closed, expr_i(ctx, 0)) : NULL};
    if (!l->buf->offset)
        internal_error(ctx, "buffer %s has no place", l->buf->name);
    for (int k = 0; k < 3 && sizes[k]; k++) {
        l->ends[k] = expr_add(ctx, l->buf->offset, sizes[k]);
        Enders *e = map_get(c->enders, l->ends[k]);
        if (!e) {
            e = ctx_new(ctx, Enders);
            map_put(c->enders, l->ends[k], e);
        }
        vec_push(ctx, &e->life, i);
    }
}

static unsigned char *lives_under(Check *c, Life *l);

static bool has_bit(const unsigned char *set, int i) {
    return set[i / 8] >> i % 8 & 1;
}

static void add_life(Check *c, Life *l, int i) {
    if (c->lives.at[i]->asking || has_bit(l->above, i))
        return;
    const unsigned char *more = lives_under(c, c->lives.at[i]);
    l->above[i / 8] |= (unsigned char)(1u << i % 8);
    for (int k = 0; k < (c->lives.len + 7) / 8; k++)
        l->above[k] |= more[k];
}

/* The offset is a maximum of ends: what ends there is below. */
static void add_enders(Check *c, Life *l, const Expr *offset) {
    const Expr *value = offset->op == OP_SYM ? map_get(c->value_of, offset->u.sym) : NULL;
    const Enders *e = map_get(c->enders, offset);
    if (value && value != offset)
        add_enders(c, l, value);
    for (int i = 0; offset->op == OP_MAX && i < 2; i++)
        add_enders(c, l, offset->kid[i]);
    for (int i = 0; e && i < e->life.len; i++)
        add_life(c, l, e->life.at[i]);
}

/* Is life i proved to end at or before some operand of the maximum? */
static bool ends_before(Check *c, int i, const Expr *offset) {
    const Expr *value = offset->op == OP_SYM ? map_get(c->value_of, offset->u.sym) : NULL;
    const Life *l = c->lives.at[i];
    if (value && value != offset && ends_before(c, i, value))
        return true;
    if (offset->op == OP_MAX)
        return ends_before(c, i, offset->kid[0]) || ends_before(c, i, offset->kid[1]);
    for (int k = 0; k < 3 && l->ends[k]; k++)
        if (expr_proves(c->ctx, expr_le(c->ctx, l->ends[k], offset)))
            return true;
    return false;
}

static bool lives_meet(const Life *a, const Life *b) {
    return a->from <= b->to && b->from <= a->to;
}

/* The set of lives that end at or below the offset of l. */
static unsigned char *lives_under(Check *c, Life *l) {
    if (l->above)
        return l->above;
    l->above = ctx_allocn(c->ctx, (size_t)(c->lives.len + 7) / 8, 1);
    l->asking = true;
    add_enders(c, l, l->buf->offset);
    for (int i = 0; i < c->lives.len; i++)
        if (c->lives.at[i] != l && lives_meet(l, c->lives.at[i]) && !has_bit(l->above, i) &&
            ends_before(c, i, l->buf->offset))
            add_life(c, l, i);
    l->asking = false;
    return l->above;
}

static bool lies_above(Check *c, int a, int b) {
    Life *x = c->lives.at[a], *y = c->lives.at[b];
    int64_t at, end;
    if (expr_is_int(x->buf->offset, &at) && expr_is_int(y->ends[0], &end))
        return end <= at;
    return has_bit(lives_under(c, x), b);
}

/* y takes the place of x in the one call that both are given to, and that call reads of x nothing, but of y what
 * it has not stored yet. */
static bool handed_over(const Check *c, const Life *x, const Life *y) {
    const Stmt *s = x->to == y->from ? c->stmts.at[x->to - 1] : NULL;
    if (!s || s->op != STMT_CALL || x->buf->offset != y->buf->offset)
        return false;
    const Buf *to = NULL, *from = NULL;
    for (int i = 0; i < s->func->params.len; i++) {
        to = s->arg[i] == y->buf ? s->func->params.at[i] : to;
        from = s->arg[i] == x->buf ? s->func->params.at[i] : from;
    }
    return to && from && !stmt_uses_buf(s->func->body, from) &&
           func_in_place(c->ctx, s->func, to, to);
}

/* Is the part where its own order of storage says, seen from the whole's? */
static bool lies_in(Ctx *ctx, const Buf *part) {
    const Buf *whole = part->whole;
    const Expr *index[RANK_MAX];
    for (int i = 0; i < part->rank; i++) {
        index[i] = expr_sym(ctx, part->dimvar[i]);
        if (i == whole->along)
            index[i] = expr_add(ctx, index[i], part->start);
    }
    const Expr *end = expr_add(ctx, part->start, part->dim[whole->along]);
    return part->offset == whole->offset && part->where == buf_offset(ctx, whole, index) &&
           expr_proves(ctx, expr_le(ctx, expr_i(ctx, 0), part->start)) &&
           expr_proves(ctx, expr_le(ctx, end, whole->dim[whole->along]));
}

static bool is_inside(Ctx *ctx, const Buf *part, const Buf *whole) {
    while (part != whole && part->whole && lies_in(ctx, part))
        part = part->whole;
    return part == whole;
}

/* Does part a of a whole end before its part b starts, or is one inside of the other? */
static bool slots_apart(Ctx *ctx, const Buf *a, const Buf *b) {
    if (is_inside(ctx, a, b) || is_inside(ctx, b, a))
        return true;
    for (const Buf *x = a; x->whole; x = x->whole)
        for (const Buf *y = b; y->whole; y = y->whole) {
            const Expr *end = expr_add(ctx, x->start, x->dim[x->whole->along]);
            if (x->whole == y->whole && x != y && is_inside(ctx, a, x->whole) &&
                is_inside(ctx, b, x->whole) && expr_proves(ctx, expr_le(ctx, end, y->start)))
                return true;
        }
    return false;
}

void memory_check(Ctx *ctx, const Module *m) {
    Check c = {.ctx = ctx,
               .life_of = map_new(ctx),
               .value_of = map_new(ctx),
               .enders = map_new(ctx),
               .loop_from = -1};
    use_stmts(&c, m->entry->body);
    for (int i = 0; i < c.lives.len; i++)
        find_ends(&c, i);
    for (int i = 0; i < c.lives.len; i++)
        for (int j = 0; j < i; j++) {
            const Life *a = c.lives.at[i], *b = c.lives.at[j];
            if (lives_meet(a, b) && !lies_above(&c, i, j) && !lies_above(&c, j, i) &&
                !handed_over(&c, a, b) && !handed_over(&c, b, a) &&
                !slots_apart(ctx, a->buf, b->buf) && !slots_apart(ctx, b->buf, a->buf))
                internal_error(ctx, "buffers %s and %s may overlap", a->buf->name, b->buf->name);
        }
}
