/* ir/module_text.c — whole Modules as text, from kernel_partition on; print(parse(print(x))) == print(x).
 *
 *   module  := "module" string {part};   declarations hold for everything that follows
 *   part    := sym | buffer | "in" string name | "out" string name | "args" string | "results" string
 *            | kernel | schedule | loops | instr | plan | entry | arena                    (see loop_text.c)
 *   plan    := "plan" "{" {"run" name | item} "}"           item: program_text.c, with plans as bodies
 *   entry   := "entry" name ["flat"] "{" … as loops … "}"   after host_plan, in place of the plan
 *   arena   := "arena" (expr | "open" name int) "at" "least" int names
 * A kernel that shares the function of another says `loops k03 as k01`. */
#include "ir/text_in.h"

/* ---- printing ---------------------------------------------------------------------------------- */

/* Parts end with a newline, lines begin with one: exactly one stays. */
static void open_lines(Text *t) {
    if (t->len && t->at[t->len - 1] == '\n')
        t->at[--t->len] = 0;
}

static void close_lines(Text *t) {
    if (t->len && t->at[t->len - 1] != '\n')
        text_c(t, '\n');
}

static void print_plan(Print *p, const Plan *plan) {
    text_s(p->t, " {");
    p->indent++;
    for (int i = 0; plan && i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        if (pi->kernel) {
            put_line(p, "run %s", text_word(p->ctx, pi->kernel->name));
            continue;
        }
        put_item(p, pi->item);
        if (pi->body[0])
            print_plan(p, pi->body[0]);
        if (pi->body[1] && pi->body[1]->items.len) {
            text_s(p->t, " else");
            print_plan(p, pi->body[1]);
        }
    }
    p->indent--;
    put_line(p, "}");
}

static void print_kernels(Print *p, const Plan *plan, Map *seen) {
    for (int i = 0; plan && i < plan->items.len; i++) {
        const PlanItem *pi = &plan->items.at[i];
        if (pi->kernel && !map_get(seen, pi->kernel))
            put_kernel(p, pi->kernel);
        print_kernels(p, pi->body[0], seen);
        print_kernels(p, pi->body[1], seen);
    }
}

static void print_arena(Print *p, const Module *m) {
    if (!m->arena_bytes && !m->arena_cap)
        return;
    open_lines(p->t);
    if (m->arena_bytes) {
        declare_syms(p, m->arena_bytes);
        put_line(p, "arena ");
        put_expr(p, m->arena_bytes);
    } else {
        put_line(p, "arena open %s %lld", names_of(p->names, m->arena_cap, m->arena_cap->name),
                 (long long)m->arena_fixed);
    }
    text_f(p->t, " at least %lld ", (long long)m->arena_bound);
    put_bufs(p, m->arena.at, m->arena.len);
    close_lines(p->t);
}

void module_print(Text *t, const Module *m) {
    Print p = put_new(t);
    Map *seen = map_new(t->ctx);
    const Program *prog = m->prog;
    p.shared = true;
    text_s(t, "module ");
    put_str(t, prog->name);
    for (int i = 0; i < prog->dims.len; i++)
        declare_syms(&p, expr_sym(p.ctx, prog->dims.at[i]));
    for (int i = 0; i < prog->inputs.len; i++)
        declare_buf(&p, prog->inputs.at[i].buf);
    for (int i = 0; i < prog->outputs.len; i++)
        declare_buf(&p, prog->outputs.at[i].buf);
    for (int i = 0; i < prog->inputs.len; i++)
        put_port(&p, "in", &prog->inputs.at[i]);
    for (int i = 0; i < prog->outputs.len; i++)
        put_port(&p, "out", &prog->outputs.at[i]);
    put_trees(&p, prog);
    close_lines(t);
    for (int i = 0; i < m->kernels.len; i++) {
        map_put(seen, m->kernels.at[i], m->kernels.at[i]);
        put_kernel(&p, m->kernels.at[i]);
    }
    print_kernels(&p, m->plan, seen);
    if (m->plan) {
        text_s(t, "plan");
        print_plan(&p, m->plan);
        close_lines(t);
    }
    if (m->entry)
        put_func(&p, "entry", m->entry);
    print_arena(&p, m);
}

/* ---- parsing ----------------------------------------------------------------------------------- */

static Kernel *kernel_called(const Parse *p, Str name) {
    for (int i = 0; i < p->file->kernels.len; i++)
        if (p->file->kernels.at[i]->name == name)
            return p->file->kernels.at[i];
    return NULL;
}

/* Fills the plan and, beside it, the block it stands for. */
static bool parse_plan(Parse *p, Plan **plan, Block **block);

static bool parse_plan_item(Parse *p, Plan *plan, Block *b) {
    PlanItem pi = {NULL, NULL, {NULL, NULL}};
    if (lex_take(&p->lex, "run")) {
        Str name = take_word(p, "a kernel's name");
        pi.kernel = name ? kernel_called(p, name) : NULL;
        if (!pi.kernel)
            return lex_error(&p->lex, "no kernel is called '%s'", name ? name : "");
        for (int i = 0; i < pi.kernel->defs.len; i++)
            item_new(p->ctx, b, ITEM_DEF)->def = pi.kernel->defs.at[i];
        vec_push(p->ctx, &plan->items, pi);
        return true;
    }
    int first = b->items.len;
    Item *it;
    if (!take_item(p, b, &it))
        return false;
    if (it && (!parse_plan(p, &pi.body[0], &it->body[0]) ||
               (it->kind == ITEM_IF && lex_take(&p->lex, "else") &&
                !parse_plan(p, &pi.body[1], &it->body[1]))))
        return false;
    if (b->items.len == first) /* a declaration */
        return true;
    pi.item = b->items.at[first];
    if (pi.item->kind == ITEM_DEF)
        return lex_error(&p->lex, "equations stand in kernels");
    vec_push(p->ctx, &plan->items, pi);
    return true;
}

static bool parse_plan(Parse *p, Plan **plan, Block **block) {
    *plan = ctx_new(p->ctx, Plan);
    *block = ctx_new(p->ctx, Block);
    if (!lex_need(&p->lex, "{"))
        return false;
    while (!lex_take(&p->lex, "}"))
        if (!parse_plan_item(p, *plan, *block))
            return false;
    return true;
}

static bool parse_entry(Parse *p, Module *m) {
    Str name = take_word(p, "the entry's name");
    p->kernel = NULL;
    return name && (m->entry = take_func(p, name)) != NULL;
}

static bool parse_arena(Parse *p, Module *m) {
    BufList bufs = {0};
    if (lex_take(&p->lex, "open")) {
        if ((m->arena_cap = take_sym_name(p)) == NULL || !take_int(p, &m->arena_fixed))
            return false;
    } else if ((m->arena_bytes = take_expr(p)) == NULL) {
        return false;
    }
    if (!lex_need(&p->lex, "at") || !lex_need(&p->lex, "least") || !take_int(p, &m->arena_bound) ||
        !take_bufs(p, &bufs))
        return false;
    for (int i = 0; i < bufs.len; i++)
        vec_push(p->ctx, &m->arena, bufs.at[i]);
    return true;
}

static bool parse_part(Parse *p, Module *m) {
    if (at_port(p))
        return take_port(p, m->prog);
    if (lex_take(&p->lex, "kernel"))
        return take_kernel(p);
    if (lex_take(&p->lex, "schedule"))
        return take_schedule(p);
    if (lex_take(&p->lex, "loops"))
        return take_loops(p);
    if (lex_take(&p->lex, "instr"))
        return take_instr(p);
    if (lex_take(&p->lex, "plan"))
        return parse_plan(p, &m->plan, &m->prog->main);
    if (lex_take(&p->lex, "entry"))
        return parse_entry(p, m);
    if (lex_take(&p->lex, "arena"))
        return parse_arena(p, m);
    return take_def_line(p);
}

Module *module_parse(Ctx *ctx, const char *file, const char *text) {
    Parse p;
    Module *m = ctx_new(ctx, Module);
    take_init(&p, ctx, file, text);
    p.file = ctx_new(ctx, LccText);
    p.shared = true;
    m->prog = ctx_new(ctx, Program);
    m->prog->main = ctx_new(ctx, Block);
    if (!lex_need(&p.lex, "module") || (m->prog->name = take_str(&p)) == NULL)
        return NULL;
    while (p.lex.kind)
        if (!parse_part(&p, m))
            return NULL;
    if (p.lex.failed || !take_tables(&p, m->prog))
        return NULL;
    for (int i = 0; i < p.file->kernels.len; i++) {
        Kernel *k = p.file->kernels.at[i];
        if (!k->func || k->func->kernel == k)
            vec_push(ctx, &m->kernels, k);
    }
    return m;
}
