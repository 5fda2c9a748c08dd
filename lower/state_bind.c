/* Binds outputs to inputs in place (--state): where nothing reads the input once the output is written, the two are
 * one buffer of the caller's. A call that only copies the input is gone; in a call that does both, each element is
 * read in time (memory_share.c). Otherwise the output is made in the arena, and copied when all is done.
 *
 *   before  call copy(past, present) ; call update(row, present)     after  call update(row, present)
 *   before  call shift(s, next) ; call mul(s, y)
 *   after   call shift(s, t) ; call mul(s, y) ; call copy(t, next) */
#include "lower/lower.h"

#include <string.h>

/* An input and the output in its place. */
typedef struct State {
    Buf *in, *out;
    int last_read, first_write; /* statements of the entry's own list */
    const Stmt *both;           /* the call that does both */
    Stmt *start;                /* the call that copied the input to the output, and is left out */
    bool copied;
} State;

typedef struct States {
    Lower *lo;
    VEC(State) at;
    VEC(Stmt *) list; /* the entry's */
    int position;
} States;

const Buf *state_output(const Program *prog, const Buf *in) {
    for (int i = 0; i < prog->outputs.len; i++)
        for (int j = 0; prog->outputs.at[i].state && j < prog->inputs.len; j++)
            if (prog->inputs.at[j].buf == in &&
                !strcmp(prog->inputs.at[j].name, prog->outputs.at[i].state))
                return prog->outputs.at[i].buf;
    return NULL;
}

static const Buf *state_input(const Program *prog, const Buf *out) {
    for (int j = 0; j < prog->inputs.len; j++)
        if (state_output(prog, prog->inputs.at[j].buf) == out)
            return prog->inputs.at[j].buf;
    return NULL;
}

int state_along(Ctx *ctx, const Program *prog, const Buf *b, int64_t *room) {
    const Buf *out = state_output(prog, b), *in = out ? b : state_input(prog, b);
    bool behind = false;
    out = out ? out : b;
    for (int i = 0; in && i < in->rank; i++) {
        if (in->dim[i] != out->dim[i] && !behind)
            return -1;
        if (in->dim[i] != out->dim[i]) {
            *room = expr_range(ctx, out->dim[i]).max;
            return i;
        }
        behind |= !expr_is(in->dim[i], 1);
    }
    return -1;
}

/* ---- who reads, who writes --------------------------------------------------------------------------- */

static void note_read(States *s, const Buf *b) {
    for (int i = 0; i < s->at.len; i++)
        if (s->at.at[i].in == b)
            s->at.at[i].last_read = s->position;
}

static void note_write(States *s, const Buf *b) {
    for (int i = 0; i < s->at.len; i++)
        if (s->at.at[i].out == b && s->at.at[i].first_write < 0)
            s->at.at[i].first_write = s->position;
}

static void note_load(void *data, const Expr *e) {
    if (e->op == OP_LOAD || e->op == OP_MLOAD)
        note_read(data, e->u.buf);
}

/* Any call counts as one that writes its output: those that only read it come later. */
static void note_stmt(void *data, Stmt *stmt) {
    States *s = data;
    if (stmt->a)
        expr_walk(s->lo->ctx, stmt->a, note_load, s);
    for (int i = 0; stmt->op == STMT_CALL && i < stmt->func->params.len; i++) {
        note_read(s, stmt->arg[i]);
        note_write(s, stmt->arg[i]);
    }
    for (int i = 0; stmt->op == STMT_HOST && i < stmt->call->in.len; i++)
        note_read(s, stmt->call->in.at[i]);
    for (int i = 0; stmt->op == STMT_HOST && i < stmt->call->out.len; i++)
        note_write(s, stmt->call->out.at[i]);
    for (int i = 0; stmt->op == STMT_HOST && i < stmt->call->attr.len; i++)
        if (stmt->call->attr.at[i])
            expr_walk(s->lo->ctx, stmt->call->attr.at[i], note_load, s);
}

static void note_all(States *s) {
    for (int i = 0; i < s->at.len; i++)
        s->at.at[i].last_read = s->at.at[i].first_write = -1;
    for (s->position = 0; s->position < s->list.len; s->position++) {
        Stmt *stmt = s->list.at[s->position], *next = stmt->next;
        stmt->next = NULL;
        stmt_walk(stmt, note_stmt, s);
        stmt->next = next;
    }
}

/* The numbers of the arguments; false: the call has not just one of each. */
static bool call_args(const Stmt *s, const Buf *in, const Buf *out, int *i, int *j) {
    int n = 0;
    for (int k = 0; s->op == STMT_CALL && k < s->func->params.len; k++) {
        n += s->arg[k] == in || s->arg[k] == out;
        *i = s->arg[k] == in ? k : *i;
        *j = s->arg[k] == out ? k : *j;
    }
    return n == 2;
}

/* ---- copies that do nothing -------------------------------------------------------------------------- */

/* out[i, j] = in[i, j] and no more; or the same for its first rows. */
static bool is_copy(const Stmt *s, const State *t) {
    int from = -1, to = -1;
    if (!call_args(s, t->in, t->out, &from, &to) || from < 0 || to < 0 || !s->func->kernel ||
        s->func->kernel->defs.len != 1)
        return false;
    const Def *d = s->func->kernel->defs.at[0];
    if (d->when || d->scan || d->combine != COMBINE_SET || d->naxis != d->buf->rank ||
        d->buf != s->func->params.at[to] || d->value->op != OP_LOAD ||
        d->value->u.buf != s->func->params.at[from])
        return false;
    for (int i = 0; i < d->naxis; i++)
        if (d->axis[i].kind != AXIS_PAR || d->value->kid[i]->op != OP_SYM ||
            d->value->kid[i]->u.sym != d->axis[i].var || (d->at && d->at[i] != d->value->kid[i]))
            return false;
    return true;
}

static void drop_copies(States *s) {
    for (int i = 0; i < s->at.len; i++) {
        State *t = &s->at.at[i];
        if (t->first_write < 0 || !is_copy(s->list.at[t->first_write], t))
            continue;
        t->start = s->list.at[t->first_write];
        t->start->func->uses--;
        for (int k = t->first_write; k + 1 < s->list.len; k++)
            s->list.at[k] = s->list.at[k + 1];
        s->list.len--;
        note_all(s);
    }
}

/* What is not updated where it is starts as a copy after all. */
static void put_back(States *s, State *t) {
    Ctx *ctx = s->lo->ctx;
    if (!t->start)
        return;
    vec_push(ctx, &s->list, t->start);
    int at = t->first_write < 0 ? s->list.len - 1 : t->first_write;
    for (int k = s->list.len - 1; k > at; k--)
        s->list.at[k] = s->list.at[k - 1];
    s->list.at[at] = t->start;
    t->start->func->uses++;
    t->start = NULL;
    note_all(s);
}

/* ---- in place ---------------------------------------------------------------------------------------- */

/* The state that this call updates, and its arguments; NULL: none, or one that is copied. */
static const State *updated(const States *s, const Stmt *call, int *i, int *j) {
    for (int k = 0; k < s->at.len; k++)
        if (!s->at.at[k].copied && s->at.at[k].both == call &&
            call_args(call, s->at.at[k].in, s->at.at[k].out, i, j))
            return &s->at.at[k];
    return NULL;
}

typedef struct Calls {
    const Func *func;
    int n;
} Calls;

static void count_call(void *data, Stmt *s) {
    Calls *c = data;
    c->n += s->op == STMT_CALL && s->func == c->func;
}

/* Do all calls of the function update a state by the same params? */
static bool all_update(const States *s, const Func *f, int i, int j) {
    int calls = 0;
    Calls all = {f, 0};
    stmt_walk(s->lo->module->entry->body, count_call, &all);
    for (int k = 0; k < s->list.len; k++) {
        int a = -1, b = -1;
        if (s->list.at[k]->op != STMT_CALL || s->list.at[k]->func != f)
            continue;
        calls++;
        if (!updated(s, s->list.at[k], &a, &b) || a != i || b != j)
            return false;
    }
    return calls == all.n;
}

static bool in_place(const States *s, const State *t) {
    int i = -1, j = -1;
    if (t->last_read < t->first_write || t->first_write < 0)
        return true;
    if (!t->both || !call_args(t->both, t->in, t->out, &i, &j))
        return false;
    Func *f = t->both->func;
    return all_update(s, f, i, j) && func_in_place(s->lo->ctx, f, f->params.at[i], f->params.at[j]);
}

/* What is updated in place is read by the name of the output. */
static void rename_inputs(States *s) {
    for (int k = 0; k < s->at.len; k++) {
        const State *t = &s->at.at[k];
        int i = -1, j = -1;
        if (t->copied || !t->both || !call_args(t->both, t->in, t->out, &i, &j))
            continue;
        Buf *pair[2] = {t->both->func->params.at[i], t->both->func->params.at[j]};
        stmt_map(s->lo->ctx, t->both->func->body, load_other, pair);
    }
}

/* ---- by a copy at the end ---------------------------------------------------------------------------- */

typedef struct Other {
    Ctx *ctx;
    Buf *pair[2]; /* what was used, what is used now */
} Other;

static void use_other(void *data, Stmt *s) {
    Other *o = data;
    for (int i = 0; s->op == STMT_CALL && i < s->func->params.len; i++)
        s->arg[i] = s->arg[i] == o->pair[0] ? o->pair[1] : s->arg[i];
    if (s->op != STMT_HOST)
        return;
    for (int i = 0; i < s->call->in.len; i++)
        s->call->in.at[i] = s->call->in.at[i] == o->pair[0] ? o->pair[1] : s->call->in.at[i];
    for (int i = 0; i < s->call->out.len; i++)
        s->call->out.at[i] = s->call->out.at[i] == o->pair[0] ? o->pair[1] : s->call->out.at[i];
    for (int i = 0; i < s->call->attr.len; i++)
        if (s->call->attr.at[i])
            s->call->attr.at[i] = expr_map(o->ctx, s->call->attr.at[i], load_other, o->pair);
}

static bool add_copy(States *s, const State *t) {
    Lower *lo = s->lo;
    Ctx *ctx = lo->ctx;
    Buf *made = buf_new(ctx, str_f(ctx, "%s_new", t->out->name), type_dtype(t->out->type),
                        SPACE_ARENA, t->out->rank, t->out->dim);
    made->dimvar = t->out->dimvar; /* the functions' offsets hold for both */
    made->where = t->out->where;
    made->size = t->out->size;
    Other other = {ctx, {t->out, made}};
    for (int i = 0; i < s->list.len; i++) {
        Stmt *stmt = s->list.at[i], *next = stmt->next;
        stmt->next = NULL;
        stmt_walk(stmt, use_other, &other);
        stmt_map(ctx, stmt, load_other, other.pair);
        stmt->next = next;
    }
    Def *d = def_new(ctx, t->out->name, type_dtype(t->out->type), t->out->rank, t->out->dim);
    const Expr *index[RANK_MAX];
    for (int i = 0; i < d->naxis; i++)
        index[i] = def_var(ctx, d, i);
    d->value = buf_load(ctx, made, index);
    d->buf = t->out;
    Kernel *k = ctx_new(ctx, Kernel);
    vec_push(ctx, &k->defs, d);
    kernel_close(ctx, k);
    k->name = str_f(ctx, "k%02d_copy", lo->nkernel++);
    k->func = loop_build(ctx, k);
    vec_push(ctx, &lo->module->kernels, k);
    vec_push(ctx, &s->list, kernel_call(lo, k));
    return loop_lower(lo, k->func);
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static void find_states(States *s) {
    const Program *prog = s->lo->prog;
    for (int i = 0; i < prog->inputs.len; i++) {
        const Buf *out = state_output(prog, prog->inputs.at[i].buf);
        State t = {.in = prog->inputs.at[i].buf};
        for (int j = 0; j < prog->outputs.len; j++)
            t.out = prog->outputs.at[j].buf == out ? prog->outputs.at[j].buf : t.out;
        if (out)
            vec_push(s->lo->ctx, &s->at, t);
    }
}

/* Which states are copied: a function updates all states it is called for in place, or none. */
static void choose_copies(States *s) {
    bool changed = true;
    for (int i = 0; i < s->at.len; i++) {
        State *t = &s->at.at[i];
        bool same = t->last_read >= 0 && t->last_read == t->first_write;
        t->both =
            same && s->list.at[t->last_read]->op == STMT_CALL ? s->list.at[t->last_read] : NULL;
    }
    while (changed) {
        changed = false;
        for (int i = 0; i < s->at.len; i++)
            if (!s->at.at[i].copied && !in_place(s, &s->at.at[i]))
                s->at.at[i].copied = changed = true;
    }
}

bool state_bind(Lower *lo) {
    States s = {.lo = lo};
    Func *entry = lo->module->entry;
    find_states(&s);
    if (!s.at.len)
        return true;
    for (Stmt *stmt = entry->body; stmt; stmt = stmt->next)
        vec_push(lo->ctx, &s.list, stmt);
    note_all(&s);
    drop_copies(&s);
    choose_copies(&s);
    rename_inputs(&s);
    for (int i = 0; i < s.at.len; i++)
        if (s.at.at[i].copied)
            put_back(&s, &s.at.at[i]);
    for (int i = 0; i < s.at.len; i++)
        if (s.at.at[i].copied && !add_copy(&s, &s.at.at[i]))
            return false;
    entry->body = NULL;
    for (int i = s.list.len; i-- > 0;) {
        s.list.at[i]->next = entry->body;
        entry->body = s.list.at[i];
    }
    kernels_drop_uncalled(lo);
    return true;
}
