/* codegen/c/entry.c — the entry function: a list of calls.
 *
 * Symbols the run computes are local variables, buffers of the arena are `mem` plus an offset, an output
 * whose extents depend on data has a capacity and gets its extents written before anything is stored.
 * The entry's params are the graph's inputs, then its outputs, in the order of Program's ports.
 *
 *   CALL k1(x, t, y)  →  k1_relu(x, (float *)(void *)(mem + 64), y);        one node comment a line */
#include "codegen/c/emit.h"

#include <string.h>

/* ---- ports ---------------------------------------------------------------------------------------- */

Str dim_name(Emit *em, const Sym *s) {
    bool capital =
        s->name && s->name[0] >= 'A' && s->name[0] <= 'Z' && s->name[0] != 'I' && !s->name[1];
    return names_of(em->names, s, capital ? s->name : safe_ident(em->ctx, s->name));
}

bool port_is_open(Emit *em, const Buf *b) {
    for (int i = 0; i < b->rank; i++)
        if (!expr_over_dims(em->ctx, b->dim[i]))
            return true;
    return false;
}

/* With `room` rows along one dimension; along -1: as it is. */
static void print_extents_of(Emit *em, Text *t, const Buf *b, int along, int64_t room) {
    text_c(t, '[');
    for (int i = 0; i < b->rank; i++) {
        Text dim = text_new(em->ctx);
        const Expr *extent =
            i == along ? expr_i(em->ctx, room) : expr_over_dims(em->ctx, b->dim[i]);
        if (!extent)
            text_c(&dim, '-'); /* known only after the run */
        else
            expr_print(&dim, em->names, extent);
        text_f(t, "%s%s", i ? "," : "", safe_comment(em->ctx, dim.at, 100));
    }
    text_c(t, ']');
}

void print_shape(Emit *em, Text *t, const Buf *b) {
    print_extents_of(em, t, b, -1, 0);
}

/* Room for the rows of a state that grows behind other dimensions. */
void states_api(Emit *em, Text *t) {
    const Program *prog = em->m->prog;
    bool said = false;
    for (int i = 0; i < prog->outputs.len; i++) {
        const Buf *b = prog->outputs.at[i].buf;
        int64_t room;
        if (!prog->outputs.at[i].state || state_along(em->ctx, prog, b, &room) < 0)
            continue;
        if (!said)
            text_s(t,
                   "/* Rows that the caller's array of a growing state has: it is [1,12,ROWS,64] "
                   "where the state is\n"
                   " * [1,12,n,64], of which the first n rows are used in each of the 12, so "
                   "that no row ever moves.\n"
                   " * When all rows are used no further call can be made (LCC_EDIM). */\n");
        said = true;
        text_f(t, "#define %s_", em->upper);
        for (const char *p = map_get(em->pr.names, b); *p; p++)
            text_c(t, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
        text_f(t, "_ROWS %lld\n", (long long)room);
    }
    text_s(t, said ? "\n" : "");
}

typedef struct OpenPort {
    Str cap, dims; /* parameters of the entry */
} OpenPort;

Str port_capacity(Emit *em, const Buf *b) {
    const OpenPort *open = map_get(em->open, b);
    return open ? open->cap : NULL;
}

Str port_extents(Emit *em, const Buf *b) {
    const OpenPort *open = map_get(em->open, b);
    return open ? open->dims : NULL;
}

bool port_is_state(Emit *em, int i) {
    const Program *prog = em->m->prog;
    return i < prog->inputs.len && state_output(prog, prog->inputs.at[i].buf);
}

static void print_port(Emit *em, Text *t, int i, bool shapes) {
    const Buf *b = em->m->entry->params.at[i];
    const Program *prog = em->m->prog;
    bool input = i < prog->inputs.len;
    Str state = input ? NULL : prog->outputs.at[i - prog->inputs.len].state;
    const OpenPort *open = map_get(em->open, b);
    text_f(t, "%s%s *%s", input ? "const " : "", type_c(type_dtype(b->type)),
           (Str)map_get(em->pr.names, b));
    if (shapes) {
        int64_t room;
        int along = state ? state_along(em->ctx, prog, b, &room) : -1;
        text_s(t, " /* ");
        print_shape(em, t, b);
        if (along >= 0) {
            text_s(t, " in ");
            print_extents_of(em, t, b, along, room);
        }
        for (int k = 0; state && k < prog->inputs.len; k++)
            if (!strcmp(prog->inputs.at[k].name, state)) {
                text_f(t, ", before: %s ", safe_comment(em->ctx, state, 100));
                print_shape(em, t, prog->inputs.at[k].buf);
            }
        text_s(t, " */");
    }
    if (open)
        text_f(t, ", size_t %s, int64_t %s[%d]", open->cap, open->dims, b->rank);
}

void entry_prototype(Emit *em, Text *t, bool shapes) {
    const char *comma = "";
    text_f(t, "int %s_run(", em->out->prefix);
    if (em->m->prog->dims.len) {
        text_f(t, "const %s_dims *dims", em->out->prefix);
        comma = ", ";
    }
    for (int i = 0; i < em->m->entry->params.len; i++) {
        if (port_is_state(em, i))
            continue;
        text_s(t, comma);
        print_port(em, t, i, shapes);
        comma = ", ";
    }
    text_f(t, "%s%svoid *arena%s%s)", comma,
           em->mode == WEIGHTS_FILE ? "const void *weights, " : "",
           em->m->arena_cap ? ", size_t arena_bytes" : "", em->threads ? ", lcc_pool *pool" : "");
}

/* ---- symbols ---------------------------------------------------------------------------------------- */

typedef struct Found {
    Emit *em;
    Map *scalars; /* Buf → itself */
    VEC(const Buf *) scalar;
    Map *set; /* Sym → itself: set by ASSIGN or HOST */
    VEC(Sym *) sym;
    bool code; /* some call returns a code */
} Found;

static void found_scalar(Found *f, const Buf *b) {
    if (!b || b->space != SPACE_SCALAR || map_get(f->scalars, b))
        return;
    map_put(f->scalars, b, (void *)(uintptr_t)b);
    vec_push(f->em->ctx, &f->scalar, b);
}

static void found_sym(Found *f, Sym *s) {
    if (map_get(f->set, s))
        return;
    map_put(f->set, s, s);
    vec_push(f->em->ctx, &f->sym, s);
}

static void find_locals(void *data, Stmt *s) {
    Found *f = data;
    if (s->op == STMT_STORE)
        found_scalar(f, s->buf);
    if (s->op == STMT_ASSIGN)
        found_sym(f, s->var);
    if (s->op == STMT_CALL) {
        const FuncInfo *info = map_get(f->em->funcs, s->func);
        f->code |= info && info->returns;
        for (int i = 0; i < s->func->params.len; i++)
            found_scalar(f, s->arg[i]);
    }
    if (s->op == STMT_HOST) {
        f->code = true;
        for (int i = 0; i < s->call->in.len; i++)
            found_scalar(f, s->call->in.at[i]);
        for (int i = 0; i < s->call->out.len; i++)
            found_scalar(f, s->call->out.at[i]);
        for (int i = 0; i < s->call->result.len; i++)
            found_sym(f, s->call->result.at[i]);
    }
}

static void print_locals(Emit *em, Found *f) {
    Printer *p = &em->pr;
    for (int i = 0; i < f->scalar.len; i++) {
        const Buf *b = f->scalar.at[i];
        Dtype t = type_dtype(b->type);
        const char *zero = type_kind(t) == 'S' || type_kind(t) == 'C' ? "{0}" : "0";
        Str name = print_declare(p, b, b->name ? b->name : "s");
        print_line(p, "%s %s = %s;", type_c(t), name, zero);
    }
    for (int i = 0; i < f->sym.len; i++) {
        Sym *s = f->sym.at[i];
        if (map_get(p->used, s) || s->min != INT64_MIN || s->max != INT64_MAX || s->mult > 1)
            print_line(p, "int64_t %s = 0;", print_declare(p, s, s->name ? s->name : "n"));
    }
    if (f->code)
        print_line(p, "int rc;");
}

void print_range_check(Printer *p, const Sym *s, const char *name) {
    if (s->min == INT64_MIN && s->max == INT64_MAX && s->mult <= 1)
        return;
    const char *sep = "";
    print_start(p);
    text_s(p->t, "if (");
    if (s->min != INT64_MIN) {
        text_f(p->t, "%s < %lld", name, (long long)s->min);
        sep = " || ";
    }
    if (s->max != INT64_MAX) {
        text_f(p->t, "%s%s > %lld", sep, name, (long long)s->max);
        sep = " || ";
    }
    if (s->mult > 1)
        text_f(p->t, "%s%s %% %lld != 0", sep, name, (long long)s->mult);
    text_s(p->t, ")\n");
    p->depth++;
    print_line(p, "return LCC_EDIM;");
    p->depth--;
}

static void print_dims(Emit *em, bool check) {
    Printer *p = &em->pr;
    for (int i = 0; i < em->m->prog->dims.len; i++) {
        Sym *s = em->m->prog->dims.at[i];
        Str field = dim_name(em, s);
        if (check)
            print_range_check(p, s, str_f(em->ctx, "dims->%s", field));
    }
    for (int i = 0; i < em->m->prog->dims.len; i++) {
        Sym *s = em->m->prog->dims.at[i];
        if (map_get(p->used, s)) {
            Str field = dim_name(em, s), name = field;
            if (map_get(p->taken, field)) {
                name = print_declare(p, s, field);
            } else {
                map_put(p->taken, field, (void *)(uintptr_t)field);
                map_put(p->names, s, (void *)(uintptr_t)field);
            }
            print_line(p, "const int64_t %s = dims->%s;", name, field);
        }
    }
}

/* ---- statements ------------------------------------------------------------------------------ */

void print_pointer(Printer *p, const Buf *b) {
    Str name = map_get(p->names, b);
    map_put(p->used, b, (void *)(uintptr_t)b);
    if (name)
        text_f(p->t, "%s%s", b->space == SPACE_SCALAR ? "&" : "", name);
    else
        p->outside(p, b, P_ASSIGN);
}

/* Extents of an output that depends on data, and whether it fits; before its first store. */
static void print_extents(Emit *em, const Buf *b) {
    Printer *p = &em->pr;
    const OpenPort *open = map_get(em->open, b);
    if (!open || map_get(em->opened, b))
        return;
    if (p->depth == 1) /* else on this path only */
        map_put(em->opened, b, (void *)(uintptr_t)b);
    map_put(p->used, b, (void *)(uintptr_t)b);
    for (int i = 0; i < b->rank; i++) {
        print_start(p);
        text_f(p->t, "%s[%d] = ", open->dims, i);
        print_expr(p, b->dim[i], P_ASSIGN);
        text_s(p->t, ";\n");
    }
    print_start(p);
    text_s(p->t, "if ((uint64_t)(");
    print_expr(p, buf_count(em->ctx, b), P_ASSIGN);
    text_f(p->t, ") > %s)\n", open->cap);
    p->depth++;
    print_line(p, "return LCC_ECAPACITY;");
    p->depth--;
}

static void print_call(Printer *p, const Stmt *s) {
    Emit *em = p->data;
    const FuncInfo *info = map_get(em->funcs, s->func);
    if (!info)
        internal_error(p->ctx, "call of %s, which is no kernel of the module", s->func->name);
    for (int i = 0; i < s->func->params.len; i++)
        print_extents(em, s->arg[i]);
    const char *comma = "";
    profile_before(em);
    print_start(p);
    text_f(p->t, info->returns ? "if ((rc = %s(" : "%s(", info->name);
    if (info->shares) {
        text_s(p->t, "pool");
        comma = ", ";
        em->uses_pool = true;
    }
    for (int i = 0; i < s->func->params.len; i++) {
        if (!info->used[i])
            continue;
        text_s(p->t, comma);
        print_pointer(p, s->arg[i]);
        comma = ", ";
    }
    for (int i = 0; i < s->func->syms.len; i++) {
        if (!info->used[s->func->params.len + i])
            continue;
        text_s(p->t, comma);
        print_expr(p, s->symarg[i], P_ASSIGN);
        comma = ", ";
    }
    text_s(p->t, info->returns ? ")) != 0)" : ");");
    if (s->loc.name)
        text_f(p->t, " /* %s */", safe_text(p->ctx, s->loc.name, 60));
    text_c(p->t, '\n');
    if (info->returns)
        print_line(p, "    return rc;");
    profile_after(em, s->func->name, s->loc.name);
}

static void print_assign(Printer *p, const Stmt *s) {
    Str name = map_get(p->names, s->var);
    if (!name)
        return; /* nothing reads it and it has no range to keep */
    print_start(p);
    text_f(p->t, "%s = ", name);
    print_expr(p, s->a, P_ASSIGN);
    text_s(p->t, ";\n");
    Range r = expr_range(p->ctx, s->a);
    if (s->var->mult > 1 || r.min < s->var->min || r.max > s->var->max)
        print_range_check(p, s->var, name);
}

static void print_host(Emit *em, const Call *c) {
    profile_before(em);
    host_print(em, c);
    profile_after(em, c->fn, c->loc.name);
}

void print_statement(Printer *p, const Stmt *s) {
    if (s->op == STMT_CALL && s->func->instr)
        print_instr(p, s);
    else if (s->op == STMT_CALL)
        print_call(p, s);
    else if (s->op == STMT_ASSIGN)
        print_assign(p, s);
    else if (s->op == STMT_HOST)
        print_host(p->data, s->call);
    else
        internal_error(p->ctx, "statement %d in the entry", s->op);
}

/* ---- the function ---------------------------------------------------------------------------- */

/* What the entry calls its own. */
static const char *const FIXED[] = {"dims", "arena", "arena_bytes", "weights", "mem", "rc", "pool"};

/* The last one only with --threads. */
static int fixed_names(const Emit *em) {
    return (int)(sizeof FIXED / sizeof *FIXED) - !em->threads;
}

void entry_reserve(Emit *em) {
    for (int i = 0; i < fixed_names(em); i++)
        names_of(em->names, &FIXED[i], str(em->ctx, FIXED[i]));
}

static void declare_params(Emit *em) {
    Printer *p = &em->pr;
    const Func *f = em->m->entry;
    for (int i = 0; i < fixed_names(em); i++)
        print_declare(p, NULL, FIXED[i]);
    for (int i = 0; i < em->m->kernels.len; i++) {
        const FuncInfo *info = map_get(em->funcs, em->m->kernels.at[i]->func);
        if (info)
            map_put(p->taken, info->name, (void *)(uintptr_t)info->name);
    }
    if (em->m->arena_cap)
        map_put(p->names, em->m->arena_cap, (void *)(uintptr_t) "(int64_t)arena_bytes");
    for (int i = 0; i < f->params.len; i++) {
        const Buf *b = f->params.at[i];
        Str wish = b->name;
        int n = em->m->prog->inputs.len;
        if (i < n + em->m->prog->outputs.len) /* the port's name is what the user knows */
            wish = i < n ? em->m->prog->inputs.at[i].name : em->m->prog->outputs.at[i - n].name;
        Str name = print_declare(p, b, wish ? wish : "x");
        if (i < n || !port_is_open(em, b))
            continue;
        OpenPort *open = ctx_new(em->ctx, OpenPort);
        open->cap = print_declare(p, NULL, str_f(em->ctx, "%s_cap", name));
        open->dims = print_declare(p, NULL, str_f(em->ctx, "%s_dims", name));
        map_put(em->open, b, open);
    }
    for (int i = 0; i < em->m->prog->inputs.len; i++)
        if (port_is_state(em, i))
            map_put(p->names, f->params.at[i],
                    map_get(p->names, state_output(em->m->prog, em->m->prog->inputs.at[i].buf)));
}

static bool port_is_used(Emit *em, int i) {
    const Func *f = em->m->entry;
    bool used = map_get(em->pr.used, f->params.at[i]) != NULL;
    for (int k = 0; k < em->m->prog->inputs.len; k++)
        if (state_output(em->m->prog, f->params.at[k]) == f->params.at[i])
            used |= map_get(em->pr.used, f->params.at[k]) != NULL;
    return used;
}

typedef struct Binds {
    Ctx *ctx;
    Map *seen;
    VEC(Sym *) order; /* each after those its value mentions */
} Binds;

static void collect_bind(void *data, const Expr *e) {
    Binds *b = data;
    if (e->op != OP_SYM || e->u.sym->kind != SYM_BIND || map_get(b->seen, e->u.sym))
        return;
    map_put(b->seen, e->u.sym, e->u.sym);
    expr_walk(b->ctx, e->u.sym->value, collect_bind, b);
    vec_push(b->ctx, &b->order, e->u.sym);
}

/* size_t model_arena_bytes(dims): the symbols that follow from the dims, then the sum. */
static void print_arena_bytes(Emit *em, Text *t) {
    const Expr *bytes = em->m->arena_bytes;
    if (!bytes || expr_is_int(bytes, NULL))
        return;
    Printer *p = &em->pr;
    Binds binds = {.ctx = em->ctx, .seen = map_new(em->ctx)};
    expr_walk(em->ctx, bytes, collect_bind, &binds);
    Stmt *all = stmt_new(em->ctx, STMT_WHILE);
    all->a = bytes;
    for (int i = 0; i < binds.order.len; i++) {
        Stmt *s = stmt_new(em->ctx, STMT_WHILE);
        s->a = binds.order.at[i]->value;
        all = stmt_join(s, all);
    }
    print_begin(p, all);
    p->t = t;
    text_f(t, "size_t %s_arena_bytes(const %s_dims *dims) {\n", em->out->prefix, em->out->prefix);
    int mark = print_open(p);
    print_declare(p, NULL, "dims");
    print_dims(em, false);
    for (int i = 0; i < binds.order.len; i++) {
        Sym *s = binds.order.at[i];
        print_start(p);
        text_s(t, "const int64_t ");
        Str name = print_declare(p, NULL, s->name ? s->name : "n");
        text_f(t, "%s = ", name);
        print_expr(p, s->value, P_ASSIGN);
        text_s(t, ";\n");
        map_put(p->names, s, (void *)(uintptr_t)name);
    }
    print_start(p);
    text_s(t, "return (size_t)(");
    print_expr(p, bytes, P_ASSIGN);
    text_s(t, ");\n");
    print_close(p, mark);
    text_s(t, "}\n\n");
}

void entry_print(Emit *em, Text *t) {
    Printer *p = &em->pr;
    const Func *f = em->m->entry;
    Found found = {.em = em, .scalars = map_new(em->ctx), .set = map_new(em->ctx)};
    Text body = text_new(em->ctx);
    em->open = map_new(em->ctx);
    em->opened = map_new(em->ctx);
    print_arena_bytes(em, t);
    stmt_walk(f->body, find_locals, &found);
    print_begin(p, f->body);
    p->t = &body;
    p->statement = print_statement;
    em->uses_arena = em->uses_weights = false;
    int mark = print_open(p);
    declare_params(em);
    print_dims(em, true);
    print_locals(em, &found);
    profile_locals(em);
    print_stmts(p, f->body);
    entry_prototype(em, t, false);
    text_s(t, " {\n");
    for (int i = 0; i < f->params.len; i++)
        if (!port_is_state(em, i) && !port_is_used(em, i))
            text_f(t, "    (void)%s;\n", (Str)map_get(p->names, f->params.at[i]));
    if (em->mode == WEIGHTS_FILE && !em->uses_weights)
        text_s(t, "    (void)weights;\n");
    if (em->threads && !em->uses_pool)
        text_s(t, "    (void)pool;\n");
    text_s(t,
           em->uses_arena ? "    uint8_t *const mem = (uint8_t *)arena;\n" : "    (void)arena;\n");
    text_n(t, body.at, body.len);
    text_s(t, p->streamed ? "    _mm_sfence();\n" : "");
    text_s(t, "    return 0;\n}\n");
    p->depth = 0;
    (void)mark; /* the names stay: the header is printed with them */
}
