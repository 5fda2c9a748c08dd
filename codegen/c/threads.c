/* codegen/c/threads.c — --threads: loops marked `parallel` as functions of a range of iterations, which the
 * stub's pool hands out. A region is a run of such loops of one Def at the top of a kernel; loops of nothing but
 * such loops are one space with them, counted row by row.
 *
 *   for n0 < 2 parallel { for m0 < 9 parallel { S } }
 *   →  static void k1_part1(…, int64_t first, int64_t end) {
 *          for (int64_t n0 = first / 9; n0 * 9 < end; n0++) {
 *              const int64_t from = …, to = …;
 *              for (int64_t m0 = from; m0 < to; m0++) { S } } }
 *      static void k1(lcc_pool *pool, …) { … lcc_pool_run(pool, k1_job1, &job, 18, 8); }
 * Where the weights are smaller than what is read and written, the range is one of m0, for every n0: print_rows.
 * Borders and the written-out rest of a split axis go along as pieces of the region.
 * Precondition: sched_parallel saw to it that iterations do not touch what others write. */
#include "codegen/c/emit.h"

/* ---- what can be shared --------------------------------------------------------------------------- */

typedef struct Closed {
    const Func *f;
    bool ok;
} Closed;

static void find_open(void *data, const Expr *e) {
    Closed *c = data;
    bool given = e->op != OP_SYM && e->op != OP_LOAD;
    for (int i = 0; e->op == OP_SYM && i < c->f->syms.len; i++)
        given |= e->u.sym == c->f->syms.at[i];
    c->ok &= given;
}

/* Depends on the function's symbols only. */
static bool is_closed(const Emit *em, const Func *f, const Expr *e) {
    Closed c = {f, true};
    expr_walk(em->ctx, e, find_open, &c);
    return c.ok;
}

static void find_end(void *data, Stmt *s) {
    bool *ends = data;
    *ends |= s->op == STMT_CHECK || s->op == STMT_CALL || s->op == STMT_HOST;
}

static bool is_shared(const Emit *em, const Func *f, const Stmt *s) {
    bool ends = false;
    if (s->op != STMT_FOR || s->run != RUN_PARALLEL || !is_closed(em, f, s->a))
        return false;
    stmt_walk(s->body, find_end, &ends);
    return !ends;
}

static void note_store(void *data, Stmt *s) {
    Map *stored = data;
    if (s->op == STMT_STORE && s->buf->space != SPACE_REG && s->buf->space != SPACE_LOCAL)
        map_put(stored, s->buf, s->buf);
}

typedef struct Reads {
    Ctx *ctx;
    Map *stored;
    bool any;
} Reads;

static void note_load(void *data, const Expr *e) {
    Reads *r = data;
    r->any |= (e->op == OP_LOAD || e->op == OP_MLOAD) && map_get(r->stored, e->u.buf);
}

static void note_loads(void *data, Stmt *s) {
    Reads *r = data;
    if (s->a)
        expr_walk(r->ctx, s->a, note_load, r);
    if (s->b)
        expr_walk(r->ctx, s->b, note_load, r);
    for (int i = 0; i < s->nindex; i++)
        expr_walk(r->ctx, s->index[i], note_load, r);
}

/* Do lists of pieces of one nest not wait for each other? Pieces do not; the start of a sum and its steps do. */
static bool are_apart(const Emit *em, Stmt *a, Stmt *b) {
    Reads r = {em->ctx, map_new(em->ctx), false};
    stmt_walk(a, note_store, r.stored);
    stmt_walk(b, note_store, r.stored);
    stmt_walk(a, note_loads, &r);
    stmt_walk(b, note_loads, &r);
    return !r.any;
}

/* Iterations of a loop's body when it is part of one space with it; NULL: it is not. */
static const Expr *inner_space(const Emit *em, const Func *f, const Stmt *loop);

static const Expr *loop_space(const Emit *em, const Func *f, const Stmt *loop) {
    const Expr *inner = inner_space(em, f, loop);
    return inner ? expr_mul(em->ctx, loop->a, inner) : loop->a;
}

static const Expr *inner_space(const Emit *em, const Func *f, const Stmt *loop) {
    const Expr *sum = NULL;
    if (loop->body && loop->body->next && !are_apart(em, loop->body, NULL))
        return NULL;
    for (const Stmt *s = loop->body; s; s = s->next) {
        if (s->def != loop->def || !is_shared(em, f, s))
            return NULL;
        const Expr *n = loop_space(em, f, s);
        sum = sum ? expr_add(em->ctx, sum, n) : n;
    }
    return sum;
}

bool func_shares(const Emit *em, const Func *f) {
    bool any = false;
    for (const Stmt *s = f->body; s && em->threads; s = s->next) {
        any |= is_shared(em, f, s);
        if (s->op == STMT_LET)
            return false;
    }
    return any;
}

/* ---- a region as a function ------------------------------------------------------------------------- */

static Stmt *alone(Emit *em, const Stmt *s) {
    Stmt *one = stmt_new(em->ctx, (StmtOp)s->op);
    *one = *s;
    one->next = NULL;
    return one;
}

static void print_value(Printer *p, const char *before, const Expr *e, int prec,
                        const char *after) {
    text_s(p->t, before);
    print_expr(p, e, prec);
    text_s(p->t, after);
}

static void print_space(Emit *em, const Func *f, const Stmt *list, Str first, Str end);

static void print_nested(Emit *em, const Func *f, const Stmt *s, Str first, Str end) {
    Printer *p = &em->pr;
    const Expr *inner = inner_space(em, f, s);
    int mark = p->scope.len;
    Str var = print_declare(p, s->var, s->var->name ? s->var->name : "i");
    print_start(p);
    text_f(p->t, "for (int64_t %s = %s", var, first);
    if (inner) /* a space without iterations is not divided by */
        print_value(p, " / ", expr_max(em->ctx, inner, expr_i(em->ctx, 1)), P_UNARY, "");
    text_f(p->t, "; %s", var);
    if (inner)
        print_value(p, " * ", inner, P_UNARY, "");
    text_f(p->t, " < %s; %s++) {\n", end, var);
    int body = print_open(p);
    if (inner) {
        Str done = print_declare(p, NULL, "done"), from = print_declare(p, NULL, "from");
        Str to = print_declare(p, NULL, "to");
        print_start(p);
        text_f(p->t, "const int64_t %s = %s", done, var);
        print_value(p, " * ", inner, P_UNARY, ";\n");
        print_line(p, "const int64_t %s = %s > %s ? %s - %s : 0;", from, first, done, first, done);
        print_start(p);
        text_f(p->t, "const int64_t %s = %s - %s", to, end, done);
        print_value(p, " < ", inner, P_SHIFT, "");
        text_f(p->t, " ? %s - %s", end, done);
        print_value(p, " : ", inner, P_COND, ";\n");
        print_space(em, f, s->body, from, to);
    } else {
        print_stmts(p, s->body);
    }
    print_close(p, body);
    print_line(p, "}");
    p->depth++;
    print_close(p, mark);
}

/* Iterations first..end-1 of the list's space: its loops one after another. */
static void print_space(Emit *em, const Func *f, const Stmt *list, Str first, Str end) {
    Printer *p = &em->pr;
    const Expr *before = NULL;
    for (const Stmt *s = list; s; s = s->next) {
        const Expr *n = loop_space(em, f, s);
        if (!before && !s->next) {
            print_nested(em, f, s, first, end);
        } else if (!before) {
            print_line(p, "{");
            int mark = print_open(p);
            Str to = print_declare(p, NULL, "to");
            print_start(p);
            text_f(p->t, "const int64_t %s = %s", to, end);
            print_value(p, " < ", n, P_SHIFT, "");
            text_f(p->t, " ? %s", end);
            print_value(p, " : ", n, P_COND, ";\n");
            print_nested(em, f, s, first, to);
            print_close(p, mark);
            print_line(p, "}");
        } else {
            print_line(p, "{");
            int mark = print_open(p);
            Str from = print_declare(p, NULL, "from"), to = print_declare(p, NULL, "to");
            const Expr *start = before;
            print_start(p);
            text_f(p->t, "const int64_t %s = %s", from, first);
            print_value(p, " > ", start, P_SHIFT, "");
            text_f(p->t, " ? %s", first);
            print_value(p, " - ", start, P_MUL, " : 0;\n");
            print_start(p);
            text_f(p->t, "const int64_t %s = %s", to, end);
            print_value(p, " - ", start, P_MUL, "");
            print_value(p, " < ", n, P_SHIFT, "");
            text_f(p->t, " ? %s", end);
            print_value(p, " - ", start, P_MUL, "");
            print_value(p, " : ", n, P_COND, ";\n");
            print_nested(em, f, s, from, to);
            print_close(p, mark);
            print_line(p, "}");
        }
        before = before ? expr_add(em->ctx, before, n) : n;
    }
}

/* Is what iterations of a loop store further apart than what those of the loop inside do? Then those are rows. */
typedef struct Far {
    Ctx *ctx;
    Sym *var[2];
    bool outer;
} Far;

static void note_far(void *data, Stmt *s) {
    Far *f = data;
    const Expr *at = s->op == STMT_STORE && s->nindex ? s->index[0] : NULL, *coef[2], *rest;
    int64_t outer, inner;
    if (f->outer || !at || s->buf->space == SPACE_REG || s->buf->space == SPACE_LOCAL)
        return;
    if (expr_linear(f->ctx, at->op == OP_RAMP ? at->kid[0] : at, 2, f->var, coef, &rest) &&
        expr_is_int(coef[0], &outer) && expr_is_int(coef[1], &inner))
        f->outer = outer > inner;
}

/* Does a thread best take some rows of every panel? When the panels hold less than what rows are made of,
 * and stay in each core's L2: rows are then where the kernel before left them. Else it takes some panels for
 * all rows. */
static const Expr *rows_space(const Emit *em, const Func *f, const Stmt *list) {
    enum { ROWS_LEAST = 14 }; /* fewer do not balance */
    double held = 0, moved = 0;
    const Expr *rows = inner_space(em, f, list);
    int64_t n;
    if (!rows || !expr_is_int(rows, &n) || n < ROWS_LEAST || !f->kernel)
        return NULL;
    Far far = {em->ctx, {list->var, list->body->var}, false};
    if (expr_range(em->ctx, list->a).min >= ROWS_LEAST)
        stmt_walk(list->body, note_far, &far);
    for (int i = 0; i < f->params.len; i++) {
        const Buf *b = f->params.at[i];
        int64_t count;
        if (!buf_static(b, &count))
            return NULL;
        *(b->space == SPACE_CONST ? &held : &moved) +=
            (double)count * type_bytes(type_dtype(b->type));
    }
    return held < moved && held < (double)em->mach->l2 * 3 / 4 && !far.outer ? rows : NULL;
}

/* ---- the pieces of a region -------------------------------------------------------------------------- */

typedef struct Rest {
    const Def *def;
    bool ok, stores;
} Rest;

static void check_rest(void *data, Stmt *s) {
    Rest *r = data;
    bool plain = s->op == STMT_FOR || s->op == STMT_STORE || s->op == STMT_ALLOC ||
                 s->op == STMT_IF || s->op == STMT_LET || s->op == STMT_PREFETCH ||
                 s->op == STMT_SYNC;
    bool out = s->op == STMT_STORE && s->buf->space != SPACE_REG && s->buf->space != SPACE_LOCAL;
    r->ok &= plain && (!out || s->def == r->def);
    r->stores |= out;
}

/* Statements as one iteration of a region. */
static Stmt *as_piece(Emit *em, Def *def, Str name, Stmt *list) {
    const Expr *one = expr_i(em->ctx, 1);
    Stmt *s = stmt_for(em->ctx, sym_axis(em->ctx, str(em->ctx, name), one), one, name, def, list);
    s->run = RUN_PARALLEL;
    return s;
}

/* What stands before the next shared loop, when it is the Def's, too: the rest of its last axis, written out. */
static Stmt *take_rest(Emit *em, const Func *f, Def *def, const Stmt *s, const Stmt **last) {
    Stmt *list = NULL;
    Rest r = {def, true, false};
    for (; s && !is_shared(em, f, s); s = s->next) {
        list = stmt_join(list, alone(em, s));
        *last = s;
    }
    stmt_walk(list, check_rest, &r);
    return r.ok && r.stores ? as_piece(em, def, "rest", list) : NULL;
}

/* The region that starts with the loop `first`, as a list of its own; its last statement. Loops without a Def
 * write borders: small pieces, which go along with the rows or count as one iteration. */
static const Stmt *region_take(Emit *em, const Func *f, const Stmt *first, const Stmt **last) {
    Stmt *list = alone(em, first), *pieces = NULL;
    *last = first;
    for (const Stmt *next = first->next; next; next = (*last)->next) {
        const Stmt *end = next;
        Stmt *piece = NULL;
        if (!is_shared(em, f, next))
            piece = first->def ? take_rest(em, f, first->def, next, &end) : NULL;
        else if (!next->def || next->def == first->def)
            piece = alone(em, next);
        if (!piece || !are_apart(em, list, piece))
            break;
        list = stmt_join(list, piece);
        *last = end;
    }
    if (!first->def || rows_space(em, f, list))
        return list;
    for (const Stmt *s = list; s; s = s->next)
        pieces = stmt_join(pieces, s->def ? alone(em, s)
                                          : as_piece(em, first->def, "border", alone(em, s)));
    return pieces;
}

/* ---- its code ------------------------------------------------------------------------------------------ */

/* What the function of the region mentions: the extent of an only loop is for its caller to know. */
static const Stmt *region_uses(Emit *em, const Func *f, const Stmt *list) {
    Stmt *loop = alone(em, list);
    loop->a = expr_i(em->ctx, 0);
    return list->next || rows_space(em, f, list) ? list : loop;
}

/* The share first..end-1 of `rows` of each of the list's loops. */
static void print_rows(Emit *em, const Func *f, const Stmt *list, const Expr *rows, Str first,
                       Str end) {
    Printer *p = &em->pr;
    for (const Stmt *s = list; s; s = s->next) {
        const Expr *inner = inner_space(em, f, s), *n = inner ? inner : s->a;
        print_line(p, "{");
        int mark = print_open(p);
        Str from = first, to = end;
        if (n != rows) {
            Str name[2] = {print_declare(p, NULL, "from"), print_declare(p, NULL, "to")};
            for (int i = 0; i < 2; i++) {
                print_start(p);
                text_f(p->t, "const int64_t %s = %s", name[i], i ? end : first);
                print_value(p, " * ", n, P_UNARY, "");
                print_value(p, " / ", rows, P_UNARY, ";\n");
            }
            from = name[0];
            to = name[1];
        }
        if (inner) {
            Str var = print_declare(p, s->var, s->var->name ? s->var->name : "i");
            print_start(p);
            text_f(p->t, "for (int64_t %s = 0; %s", var, var);
            print_value(p, " < ", s->a, P_SHIFT, "");
            text_f(p->t, "; %s++) {\n", var);
            int body = print_open(p);
            print_space(em, f, s->body, from, to);
            print_close(p, body);
            print_line(p, "}");
        } else {
            print_nested(em, f, s, from, to);
        }
        print_close(p, mark);
        print_line(p, "}");
    }
}

/* The parameters that the region, just printed, uses: as members or as arguments. */
static void print_fields(Printer *p, const Func *f, const char *before, const char *between,
                         bool types) {
    const char *sep = "";
    for (int i = 0; i < f->params.len; i++) {
        const Buf *b = f->params.at[i];
        if (!map_get(p->used, b))
            continue;
        text_s(p->t, sep);
        if (types)
            text_f(p->t, "    %s%s *", stmts_store(f->body, b) ? "" : "const ",
                   type_c(type_dtype(b->type)));
        text_f(p->t, "%s%s", before, (Str)map_get(p->names, b));
        sep = between;
    }
    for (int i = 0; i < f->syms.len; i++) {
        const Sym *s = f->syms.at[i];
        if (!map_get(p->used, s))
            continue;
        text_f(p->t, "%s%s%s%s", sep, types ? "    int64_t " : "", before,
               (Str)map_get(p->names, s));
        sep = between;
    }
    text_s(p->t, types ? ";\n" : "");
}

/* The function of a range, and the one of the form the pool calls. */
static void print_region(Emit *em, const Func *f, const Stmt *list, Str name, int number,
                         bool restrict_ok) {
    Printer *p = &em->pr;
    const Expr *rows = rows_space(em, f, list);
    print_begin(p, region_uses(em, f, list));
    text_f(p->t, "static void %s_part%d(", name, number);
    int mark = print_open(p);
    print_params(p, f, f->body, restrict_ok);
    Str first = print_declare(p, NULL, "first"), end = print_declare(p, NULL, "end");
    text_f(p->t, ", int64_t %s, int64_t %s) {\n", first, end);
    if (rows)
        print_rows(em, f, list, rows, first, end);
    else
        print_space(em, f, list, first, end);
    print_close(p, mark);
    text_f(p->t, "}\n\nstruct %s_args%d {\n", name, number);
    print_fields(p, f, "", ";\n", true);
    text_f(p->t, "};\n\nstatic void %s_job%d(const void *job, int64_t first, int64_t end) {\n",
           name, number);
    text_f(p->t, "    const struct %s_args%d *const args = (const struct %s_args%d *)job;\n", name,
           number, name, number);
    text_f(p->t, "    %s_part%d(", name, number);
    print_fields(p, f, "args->", ", ", false);
    text_s(p->t, ", first, end);\n}\n\n");
}

/* Chunks of about a microsecond, so that taking one costs nothing beside it, and no more than balance needs. */
static int region_chunks(const Emit *em, const Func *f) {
    enum { LEAST = 8, MOST = 64 };
    double lanes = em->mach->vec > 4 ? em->mach->vec / 4 : 1, us = MOST;
    if (f->flop >= 0 && f->bytes_in >= 0 && f->bytes_out >= 0)
        us = (func_work(f, em->mach) / (lanes * 4) + (f->bytes_in + f->bytes_out) / 16) / 1000;
    return us < LEAST ? LEAST : us > MOST ? MOST : (int)us;
}

/* The stores a list performs. */
static const Expr *list_steps(Ctx *ctx, const Stmt *s) {
    const Expr *sum = expr_i(ctx, 0);
    for (; s; s = s->next) {
        const Expr *inside = list_steps(ctx, s->body);
        if (s->op == STMT_FOR)
            inside = expr_mul(ctx, s->a, inside);
        sum = expr_add(ctx, sum, expr_add(ctx, inside, list_steps(ctx, s->orelse)));
        if (s->op == STMT_STORE)
            sum = expr_add(ctx, sum, expr_i(ctx, 1));
    }
    return sum;
}

/* Where extents are free, the call decides whether there is work enough for another thread. */
static void print_chunks(Emit *em, const Func *f, const Stmt *list) {
    enum { PAYS_STEPS = 8192 };
    Printer *p = &em->pr;
    const Expr *steps = list_steps(em->ctx, list);
    int64_t n;
    if (!expr_is_int(steps, &n) && is_closed(em, f, steps)) {
        print_expr(p, steps, P_SHIFT);
        text_f(p->t, " < %d ? 1 : ", PAYS_STEPS);
    }
    text_f(p->t, "%d", region_chunks(em, f));
}

static void print_run(Emit *em, const Func *f, const Stmt *list, Str name, int number) {
    Printer *p = &em->pr;
    const Expr *rows = rows_space(em, f, list), *n = rows;
    Map *used = p->used;
    for (const Stmt *s = list; s && !rows; s = s->next)
        n = n ? expr_add(em->ctx, n, loop_space(em, f, s)) : loop_space(em, f, s);
    p->used = print_uses(p, region_uses(em, f, list));
    print_line(p, "{");
    p->depth++;
    print_start(p);
    text_f(p->t, "const struct %s_args%d job = {", name, number);
    print_fields(p, f, "", ", ", false);
    text_s(p->t, "};\n");
    p->used = used;
    print_start(p);
    text_f(p->t, "lcc_pool_run(pool, %s_job%d, &job, sizeof job, ", name, number);
    print_expr(p, n, P_COND);
    text_s(p->t, ", ");
    print_chunks(em, f, list);
    text_s(p->t, ");\n");
    p->depth--;
    print_line(p, "}");
}

void print_shared(Emit *em, const Func *f, Str name, bool restrict_ok) {
    Printer *p = &em->pr;
    int n = 0;
    paste_need(p->paste, "lcc_pool_run");
    for (const Stmt *s = f->body; s; s = s->next) {
        if (!is_shared(em, f, s))
            continue;
        const Stmt *last, *list = region_take(em, f, s, &last);
        print_region(em, f, list, name, ++n, restrict_ok);
        s = last;
    }
    n = 0;
    print_begin(p, f->body);
    text_f(p->t, "static %s %s(lcc_pool *pool, ", func_returns(f) ? "int" : "void", name);
    int mark = print_open(p);
    print_declare(p, NULL, "pool");
    print_declare(p, NULL, "job");
    print_params(p, f, f->body, false);
    text_s(p->t, ") {\n");
    for (const Stmt *s = f->body; s; s = s->next) {
        if (!is_shared(em, f, s)) {
            print_stmts(p, alone(em, s));
            continue;
        }
        const Stmt *last, *list = region_take(em, f, s, &last);
        print_run(em, f, list, name, ++n);
        s = last;
    }
    if (func_returns(f))
        print_line(p, "return 0;");
    print_close(p, mark);
    text_s(p->t, "}\n\n");
}

/* ---- the pool in the interface ----------------------------------------------------------------------- */

void threads_api(Emit *em, Text *t) {
    if (!em->threads)
        return;
    int n = em->ctx->opt->threads;
    text_f(t, "\n/* Threads that share the work of run, up to %s_THREADS", em->upper);
    text_s(t, n < 0 ? " (0: as many as there are)" : "");
    text_f(
        t,
        ", the caller among\n"
        " * them: a pool in memory of the caller's, LCC_POOL_BYTES(threads) bytes. Threads that do "
        "not start are\n"
        " * done without; a model too small to gain from them starts none. One run at a time "
        "uses a pool; a pool of\n"
        " * NULL: the caller does it all. The results are the same, bit for bit. Link with "
        "-pthread;\n"
        " * LCC_NO_THREADS compiles the threads out. */\n"
        "#define %s_THREADS %d\n"
        "lcc_pool *%s_pool_start(void *memory, int threads);\n"
        "void %s_pool_stop(lcc_pool *pool);\n",
        em->upper, n < 0 ? 0 : n, em->out->prefix, em->out->prefix);
}

void threads_headers(Emit *em, Text *t) {
    if (em->threads && !em->out->jit)
        text_s(t, "#if defined(LCC_NO_THREADS) || defined(__TINYC__)\n"
                  "#elif defined(_WIN32)\n#include <windows.h>\n"
                  "#elif defined(__unix__) || defined(__APPLE__)\n#include <pthread.h>\n"
                  "#if defined(__linux__)\n#include <sys/syscall.h>\n#endif\n#endif\n");
}

/* Where no kernel is worth it, no thread is started. */
void threads_define(Emit *em, Text *t) {
    if (em->threads)
        text_f(t,
               "lcc_pool *%s_pool_start(void *memory, int threads) {\n"
               "%s    return lcc_pool_start(memory, %s);\n}\n\n"
               "void %s_pool_stop(lcc_pool *pool) {\n    lcc_pool_stop(pool);\n}\n\n",
               em->out->prefix, em->uses_pool ? "" : "    (void)threads;\n",
               em->uses_pool ? "threads" : "1", em->out->prefix);
}
