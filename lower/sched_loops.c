/* Steps on single loops: split, fuse, reorder, and how a loop runs. A step acts on every loop of that name:
 * after a peeled split there are several.
 *
 *   before  for m < 20 { S(m) }      split m -> m0 m1 by 6 tail=peel
 *   after   for m0 < 3 { for m1 < 6 { S(m0*6 + m1) } } for m1 < 2 { S(18 + m1) } */
#include "lower/sched_in.h"

/* ---- finding ----------------------------------------------------------------------------------------- */

typedef struct Finding {
    Ctx *ctx;
    const Func *f;
    const LoopRef *ref;
    LoopList *found;
} Finding;

static bool loop_named(const Func *f, const Stmt *s, const LoopRef *ref) {
    if (s->op != STMT_FOR || s->label != ref->axis)
        return false;
    Str def = s->def ? s->def->name : NULL;
    return ref->def ? def == ref->def : def == kernel_root(f->kernel)->name || !def;
}

static void find_one(void *data, Stmt *s) {
    Finding *fi = data;
    if (loop_named(fi->f, s, fi->ref))
        vec_push(fi->ctx, fi->found, s);
}

LoopList loops_find(Ctx *ctx, const Func *f, const LoopRef *ref) {
    LoopList found = {0};
    stmt_walk(f->body, find_one, &(Finding){ctx, f, ref, &found});
    return found;
}

bool step_fails(Ctx *ctx, Str *why, const char *fmt, ...) {
    va_list ap;
    Text t = text_new(ctx);
    va_start(ap, fmt);
    text_v(&t, fmt, ap);
    va_end(ap);
    *why = str(ctx, t.at);
    return false;
}

/* ---- split ------------------------------------------------------------------------------------------- */

Stmt *loop_piece(Ctx *ctx, const Stmt *s, Str label, const Expr *extent, const Expr *base) {
    Sym *v = sym_axis(ctx, label, extent);
    const Expr *value = expr_add(ctx, base, expr_sym(ctx, v));
    Stmt *body = stmt_copy(ctx, s->body);
    stmt_subst(ctx, body, 1, (Sym *const *)&s->var, &value);
    Stmt *loop = stmt_for(ctx, v, extent, label, s->def, body);
    loop->run = s->run;
    loop->kind = s->kind;
    return loop;
}

static Stmt *outer_loop(Ctx *ctx, const Stmt *s, Str label, Sym *v, Stmt *body) {
    Stmt *loop = stmt_for(ctx, v, v->extent, label, s->def, body);
    loop->kind = s->kind;
    return loop;
}

/* What is left over from `base` on: one tile of constant extent, or for an unknown rest tiles of falling
 * powers of four; each has an outer loop of 0 to 3 iterations around a constant one, so that later steps find
 * both loops everywhere. */
static Stmt *peel_rest(Ctx *ctx, const Stmt *s, const Step *step, const Expr *base,
                       const Expr *rest) {
    int64_t n, by = step->num[0], top = 1;
    if (expr_is_int(rest, &n)) {
        Sym *once = sym_axis(ctx, step->word[0], expr_i(ctx, 1));
        Stmt *tile = n > 0 ? loop_piece(ctx, s, step->word[1], rest, base) : NULL;
        return tile ? outer_loop(ctx, s, step->word[0], once, tile) : NULL;
    }
    Stmt *all = NULL;
    while (top * 4 < by)
        top *= 4;
    for (; top >= 1; top /= 4) {
        const Expr *size = expr_i(ctx, top), *times = expr_fdiv(ctx, rest, size);
        Sym *v = sym_axis(ctx, step->word[0], times);
        const Expr *start = expr_add(ctx, base, expr_mul(ctx, expr_sym(ctx, v), size));
        Stmt *tile = loop_piece(ctx, s, step->word[1], size, start);
        all = stmt_join(all, outer_loop(ctx, s, step->word[0], v, tile));
        base = expr_add(ctx, base, expr_mul(ctx, times, size));
        rest = expr_mod(ctx, rest, size);
    }
    return all;
}

static bool split_one(Ctx *ctx, Stmt *s, const Step *step, Str *why) {
    int64_t by = step->num[0];
    const Expr *factor = expr_i(ctx, by), *extent = s->a;
    bool divides = expr_multiple(ctx, extent) % by == 0;
    if (!divides && step->tail == TAIL_NONE)
        return step_fails(ctx, why, "%s of extent %s is not known to divide by %lld; say tail=peel",
                          s->label, expr_str(ctx, extent), (long long)by);
    bool guard = !divides && step->tail == TAIL_GUARD;
    bool round = !divides && step->tail == TAIL_ROUNDUP;
    if (round && !loop_may_overrun(ctx, s, by))
        return step_fails(ctx, why, "what %s adds behind its end is not known to be zero",
                          s->label);
    const Expr *times =
        guard || round ? expr_ceildiv(ctx, extent, by) : expr_fdiv(ctx, extent, factor);
    const Expr *base = expr_mul(ctx, times, factor);
    Stmt *rest = divides || guard || round
                     ? NULL
                     : peel_rest(ctx, s, step, base, expr_mod(ctx, extent, factor));
    Sym *outer = sym_axis(ctx, step->word[0], times);
    const Expr *start = expr_mul(ctx, expr_sym(ctx, outer), factor);
    Stmt *inner = loop_piece(ctx, s, step->word[1], factor, start);
    if (guard) {
        const Expr *at = expr_add(ctx, start, expr_sym(ctx, inner->var));
        inner->body = stmt_if(ctx, expr_lt(ctx, at, extent), inner->body, NULL);
    }
    if (expr_is(times, 0) && rest) {
        Stmt *next = s->next;
        *s = *rest;
        stmt_join(s, next);
        return true;
    }
    s->var = outer;
    s->a = times;
    s->label = step->word[0];
    s->body = inner;
    if (rest) {
        Stmt *next = s->next;
        s->next = rest;
        stmt_join(rest, next);
    }
    return true;
}

bool sched_split(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopList loops = loops_find(ctx, f, &step->loop[0]);
    if (step->nnum != 1 || step->num[0] < 1 || step->nword != 2)
        return step_fails(ctx, why, "split needs a positive factor and two names");
    if (step->tail == TAIL_MASK || step->tail == TAIL_SHIFT)
        return step_fails(ctx, why, "split knows tail=peel, tail=guard and tail=roundup");
    for (int i = 0; i < loops.len; i++)
        if (!split_one(ctx, loops.at[i], step, why))
            return false;
    return true;
}

/* ---- fuse -------------------------------------------------------------------------------------------- */

/* What two fused loops leave is named, so that what lies side by side along both stays linear in it whatever
 * becomes of the loop; loop_flatten puts the value back in. */
static void name_fused(Ctx *ctx, Stmt *s, Sym *fused) {
    int64_t n;
    bool known = expr_is_int(s->a, &n);
    Stmt *let = stmt_new(ctx, STMT_LET);
    let->var = sym_new(ctx, SYM_LET, fused->name, 0, known ? n - 1 : INT64_MAX);
    let->var->type = T_I64;
    let->a = expr_sym(ctx, fused);
    const Expr *name = expr_sym(ctx, let->var);
    stmt_subst(ctx, s->body, 1, &fused, &name);
    s->body = stmt_join(let, s->body);
}

/* The loops inside were fused before: their names go. */
static void unname_fused(Ctx *ctx, Stmt *s) {
    for (; s->body->op == STMT_LET; s->body = s->body->next)
        stmt_subst(ctx, s->body->next, 1, &s->body->var, &s->body->a);
}

static Stmt *behind_names(Stmt *s) {
    while (s && s->op == STMT_LET)
        s = s->next;
    return s;
}

/* for a < A { for b < B { S(a,b) } }  →  for w < A*B { let v = w ; S(v // B, v % B) } */
static bool fuse_two(Ctx *ctx, Func *f, const LoopRef *outer, const LoopRef *inner, Str name,
                     Str *why) {
    LoopList loops = loops_find(ctx, f, outer);
    for (int i = 0; i < loops.len; i++) {
        Stmt *s = loops.at[i], *in = behind_names(s->body);
        int64_t n;
        if (!in || in->next || in->op != STMT_FOR || !loop_named(f, in, inner))
            return step_fails(ctx, why, "%s is not directly inside %s", inner->axis, s->label);
        if (!expr_is_int(in->a, &n))
            return step_fails(ctx, why, "the inner extent %s is not constant",
                              expr_str(ctx, in->a));
        if (s->kind != in->kind)
            return step_fails(ctx, why, "%s and %s are axes of different kinds", s->label,
                              in->label);
        if (s->run != RUN_SERIAL || in->run != RUN_SERIAL)
            return step_fails(ctx, why, "%s is more than a plain loop already",
                              s->run != RUN_SERIAL ? s->label : in->label);
        unname_fused(ctx, s);
        unname_fused(ctx, in);
        Sym *v = sym_axis(ctx, name, expr_mul(ctx, s->a, in->a));
        Sym *from[2] = {s->var, in->var};
        const Expr *to[2] = {expr_fdiv(ctx, expr_sym(ctx, v), in->a),
                             expr_mod(ctx, expr_sym(ctx, v), in->a)};
        stmt_subst(ctx, in->body, 2, from, to);
        s->var = v;
        s->a = v->extent;
        s->label = name;
        s->body = in->body;
        name_fused(ctx, s, v);
    }
    return true;
}

bool sched_fuse(Ctx *ctx, Func *f, const Step *step, Str *why) {
    LoopRef inner = step->loop[step->nloop - 1];
    if (step->nloop < 2)
        return step_fails(ctx, why, "fuse needs two loops");
    for (int i = step->nloop - 1; i-- > 0; inner.axis = step->word[0])
        if (!fuse_two(ctx, f, &step->loop[i], &inner, step->word[0], why))
            return false;
    return true;
}

/* ---- reorder ----------------------------------------------------------------------------------------- */

static int ref_index(const Func *f, const Stmt *s, const Step *step) {
    for (int i = 0; i < step->nloop; i++)
        if (loop_named(f, s, &step->loop[i]))
            return i;
    return -1;
}

/* Integers wrap, so that their sums and products come out the same in any order. */
static bool any_order(const Stmt *a, const Stmt *b) {
    return a->def && a->def == b->def && !a->def->at && type_is_int(type_dtype(a->def->buf->type));
}

/* Moves the named loops of one perfectly nested chain into the step's order, in the places they hold. */
static bool reorder_chain(Ctx *ctx, const Func *f, Stmt *top, const Step *step, Str *why) {
    Stmt *place[64], moved[64];
    int at[64], n = 0;
    for (Stmt *s = top; s && s->op == STMT_FOR && n < 64; s = s->body) {
        int r = ref_index(f, s, step);
        if (r >= 0) {
            place[n] = s;
            moved[n] = *s;
            at[n++] = r;
        }
        if (s->body && s->body->next)
            break;
    }
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && at[j - 1] > at[j]; j--) {
            if (moved[j].kind == AXIS_RED && moved[j - 1].kind == AXIS_RED &&
                !any_order(&moved[j], &moved[j - 1]))
                return step_fails(ctx, why, "%s and %s reduce: their order is part of the meaning",
                                  moved[j - 1].label, moved[j].label);
            if (moved[j].kind == AXIS_SEQ || moved[j - 1].kind == AXIS_SEQ)
                return step_fails(ctx, why, "%s runs in sequence", moved[j].label);
            Stmt s = moved[j];
            moved[j] = moved[j - 1];
            moved[j - 1] = s;
            int r = at[j];
            at[j] = at[j - 1];
            at[j - 1] = r;
        }
    for (int i = 0; i < n; i++) {
        place[i]->var = moved[i].var;
        place[i]->a = moved[i].a;
        place[i]->label = moved[i].label;
        place[i]->run = moved[i].run;
        place[i]->kind = moved[i].kind;
        place[i]->def = moved[i].def;
    }
    return true;
}

typedef struct Reordering {
    Ctx *ctx;
    const Func *f;
    const Step *step;
    Str *why;
    bool ok;
} Reordering;

/* Chains start at a named loop that no named loop encloses directly. */
static void reorder_tops(Reordering *r, Stmt *s, bool inside) {
    for (; s && r->ok; s = s->next) {
        bool named = s->op == STMT_FOR && ref_index(r->f, s, r->step) >= 0;
        if (named && !inside)
            r->ok = reorder_chain(r->ctx, r->f, s, r->step, r->why);
        bool perfect = s->op == STMT_FOR && s->body && !s->body->next && (named || inside);
        reorder_tops(r, s->body, perfect);
        reorder_tops(r, s->orelse, false);
    }
}

bool sched_reorder(Ctx *ctx, Func *f, const Step *step, Str *why) {
    Reordering r = {ctx, f, step, why, true};
    reorder_tops(&r, f->body, false);
    return r.ok;
}

/* ---- how a loop runs --------------------------------------------------------------------------------- */

#define UNROLL_MAX 256 /* iterations of one unrolled loop */

bool sched_unroll(Ctx *ctx, Func *f, const Step *step, Str *why) {
    for (int k = 0; k < step->nloop; k++) {
        LoopList loops = loops_find(ctx, f, &step->loop[k]);
        for (int i = 0; i < loops.len; i++) {
            int64_t n;
            if (!expr_is_int(loops.at[i]->a, &n) || n > UNROLL_MAX)
                return step_fails(ctx, why, "%s of extent %s cannot be unrolled",
                                  loops.at[i]->label, expr_str(ctx, loops.at[i]->a));
            loops.at[i]->run = RUN_UNROLL;
        }
    }
    return true;
}
