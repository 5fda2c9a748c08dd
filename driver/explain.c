/* lcc explain: which rule scheduled each kernel, why the rules before it did not, what the cost model says of
 * the tiles, and how far the kernel is from what the machine can do.
 *
 *   lcc explain model.onnx                  a line a kernel
 *   lcc explain model.onnx --kernel=k07     all about one; --measured=FILE: what `lcc run --profile=FILE` saw */
#include "driver/profile.h"

#include <stdio.h>
#include <string.h>

/* ---- figures ---------------------------------------------------------------------------------------------- */

/* Two vector units, each a multiply-add a cycle, or one of the two where there is no FMA. */
static double flop_rate(const Machine *m) {
    double lanes = m->vec ? m->vec / 4 : 1;
    return lanes * (m->fma ? 4 : 2);
}

/* What is as small as L2 may be there. */
static double byte_rate(const Machine *m, const Func *f) {
    return f->bytes_in + f->bytes_out <= (double)m->l2 ? 2 * m->read : m->read;
}

/* Least cycles that arithmetic and traffic allow; -1: not known. */
static double roof_cycles(const Machine *m, const Func *f) {
    double flop = func_work(f, m) / flop_rate(m);
    double moved = (f->bytes_in + f->bytes_out) / byte_rate(m, f);
    return flop < 0 || f->bytes_in < 0 || f->bytes_out < 0 ? -1 : flop > moved ? flop : moved;
}

/* The cost model's figure where the rule has one, never less than the roof. */
static double predicted_cycles(const Machine *m, const Func *f, const SchedChoice *c) {
    double roof = roof_cycles(m, f), tile = c && c->tile.m ? c->tile.cycles : -1;
    return roof < 0 ? -1 : tile > roof ? tile : roof;
}

static void figure(Text *t, double v) {
    if (v < 0)
        text_s(t, "by shape");
    else
        text_f(t, "%.3g", v);
}

/* ---- which kernels ---------------------------------------------------------------------------------------- */

/* "k07" and "k07_conv" both name k07_conv. */
static bool kernel_named(const Func *f, const char *name) {
    size_t n = strlen(name);
    return !name[0] || (!strncmp(f->name, name, n) && (!f->name[n] || f->name[n] == '_'));
}

typedef struct CallNodes {
    Text *t;
    const Func *f;
    int n;
} CallNodes;

static void call_node(void *data, Stmt *s) {
    CallNodes *c = data;
    if (s->op != STMT_CALL || s->func != c->f)
        return;
    text_s(c->t, c->n++ ? ", " : "");
    text_str(c->t, s->loc.name ? s->loc.name : "?");
}

static void nodes_text(Text *t, const Kernel *k) {
    for (int i = 0; i < k->nodes.len; i++) {
        const Node *n = k->nodes.at[i];
        if (!n)
            continue;
        text_s(t, i ? " + " : "");
        text_str(t, n->loc.name ? n->loc.name : n->name ? n->name : "?");
        text_s(t, " (");
        text_str(t, n->op ? n->op : "?");
        text_c(t, ')');
    }
}

static Str tile_text(Ctx *ctx, const SchedChoice *c) {
    return c && c->tile.m ? str_f(ctx, "%lldx%lld", (long long)c->tile.m, (long long)c->tile.n)
                          : "-";
}

static void list_kernels(Text *t, const Compiled *c) {
    for (int i = 0; i < c->module->kernels.len; i++) {
        const Kernel *k = c->module->kernels.at[i];
        const SchedChoice *choice = kernel_choice(c->module, k);
        const Func *f = k->func;
        text_f(t, "%-28s %-11s %-14s %-6s ", f->name, choice ? choice->kind : "-",
               k->rule ? k->rule : "-", tile_text(t->ctx, choice));
        figure(t, f->flop);
        text_s(t, " FLOP, ");
        figure(t, f->bytes_in < 0 ? -1 : f->bytes_in + f->bytes_out);
        text_s(t, " bytes, ");
        figure(t, predicted_cycles(c->machine, f, choice));
        text_f(t, " cycles, %d call%s: ", f->uses, f->uses == 1 ? "" : "s");
        nodes_text(t, k);
        text_c(t, '\n');
    }
}

/* ---- one kernel ------------------------------------------------------------------------------------------- */

static void explain_tries(Text *t, const SchedChoice *c) {
    Text others = text_new(t->ctx);
    if (c->tuned)
        text_f(t, "tuned      by %s\n", c->tuned);
    for (int i = 0; i < c->tries.len; i++) {
        const RuleTry *r = &c->tries.at[i];
        const char *place = c->chosen >= 0 && i > c->chosen ? "behind it" : "no";
        if (i == c->chosen)
            text_f(t, "fires      %s%s\n", r->rule, c->tuned ? ", but for the tune file" : "");
        else if (r->other_class)
            text_f(&others, " %s", r->rule);
        else
            text_f(t, "%-11s%s%s%s\n", place, r->rule, r->why ? ": " : " would fit, too",
                   r->why ? r->why : "");
    }
    if (others.len)
        text_f(t, "not for a %s:%s\n", c->kind, others.at);
}

static void explain_tiles(Text *t, const SchedChoice *c) {
    const RuleTry *r = c->chosen < 0 ? NULL : &c->tries.at[c->chosen];
    for (int i = 0; r && i < r->ntile; i++) {
        const Tile *tile = &r->tile[i];
        bool chosen = tile->m == c->tile.m && tile->n == c->tile.n;
        text_f(t, "%-11s%s=%lld %s=%lld: ", chosen ? "tile" : "runner-up", r->names[0],
               (long long)tile->m, r->names[1], (long long)tile->n);
        figure(t, tile->cycles);
        text_s(t, tile->cycles < 0 ? "\n" : " cycles predicted\n");
    }
}

/* What runs of `--profile` saw of it, as time and as share of the roof. */
static void explain_measured(Text *t, const Compiled *c, const Func *f, const Profile *m) {
    double roof = roof_cycles(c->machine, f), us = 0, share = 0;
    int64_t calls = 0;
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->row[i].kernel, f->name)) {
            us += m->row[i].us;
            calls += m->row[i].calls;
            share = m->row[i].share > 0 ? m->row[i].share : share;
        }
    if (!calls) {
        text_f(t, "measured   nothing of this name (another model, target or schedule?)\n");
        return;
    }
    double cycles = us / (double)calls * 1e3 * m->ghz;
    text_f(t, "measured   %.3g us a call", us / (double)calls);
    if (m->ghz > 0)
        text_f(t, ", %.3g cycles at %.2f GHz", cycles, m->ghz);
    if (share > 0)
        text_f(t, ", %.0f %% of the roof that was probed", 100 * share);
    else if (roof >= 0 && cycles > 0)
        text_f(t, ", %.0f %% of the roof", 100 * roof / cycles);
    text_c(t, '\n');
}

static void explain_roof(Text *t, const Compiled *c, const Func *f, const SchedChoice *choice) {
    const Machine *m = c->machine;
    double roof = roof_cycles(m, f), predicted = predicted_cycles(m, f, choice);
    text_s(t, "work       ");
    figure(t, f->flop);
    text_s(t, " FLOP, ");
    if (f->macs > 0)
        text_f(t, "%.3g integer MAC, ", f->macs);
    text_s(t, "reads ");
    figure(t, f->bytes_in);
    text_s(t, " bytes, writes ");
    figure(t, f->bytes_out);
    text_c(t, '\n');
    if (roof < 0) {
        text_s(t, "predicted  by shape\n");
        return;
    }
    text_f(t, "predicted  %.3g cycles; roof %.3g by %s (%g FLOP, %g bytes a cycle)", predicted,
           roof, func_work(f, m) / flop_rate(m) >= roof ? "arithmetic" : "traffic", flop_rate(m),
           byte_rate(m, f));
    if (predicted > 0)
        text_f(t, ", share %.0f %%", 100 * roof / predicted);
    text_c(t, '\n');
}

static void explain_kernel(Text *t, const Compiled *c, const Kernel *k, const Profile *measured) {
    const SchedChoice *choice = kernel_choice(c->module, k);
    const Func *f = k->func;
    CallNodes calls = {t, f, 0};
    text_f(t, "kernel     %s\nnodes      ", f->name);
    nodes_text(t, k);
    text_s(t, "\ncalled for ");
    stmt_walk(c->module->entry->body, call_node, &calls);
    text_c(t, '\n');
    for (int i = 0; i < k->defs.len; i++) {
        text_s(t, i ? "           " : "equations  ");
        text_str(t, def_str(t->ctx, k->defs.at[i]));
        text_c(t, '\n');
    }
    if (choice)
        text_f(t, "class      %s: %s\nkey        %s\n", choice->kind, choice->roles, choice->key);
    if (choice && choice->notes[0])
        text_f(t, "rewrites   %s\n", choice->notes);
    if (choice)
        explain_tries(t, choice);
    text_f(t, "rule       %s\n", k->rule ? k->rule : "none: naive loops");
    if (choice)
        explain_tiles(t, choice);
    text_s(t, "schedule   ");
    if (k->sched)
        sched_print(t, k->sched);
    text_c(t, '\n');
    explain_roof(t, c, f, choice);
    if (measured)
        explain_measured(t, c, f, measured);
}

/* ---- JSON ------------------------------------------------------------------------------------------------- */

static void json_number(Text *t, const char *name, double v) {
    if (v < 0)
        text_f(t, ", \"%s\": null", name);
    else
        text_f(t, ", \"%s\": %.0f", name, v);
}

static void json_tries(Text *t, const SchedChoice *c) {
    text_s(t, ", \"tries\": [");
    for (int i = 0; i < c->tries.len; i++) {
        const RuleTry *r = &c->tries.at[i];
        text_f(t, "%s{\"rule\": \"%s\", \"why_not\": ", i ? ", " : "", r->rule);
        if (r->why)
            json_text(t, r->why);
        else
            text_s(t, "null");
        text_s(t, ", \"tiles\": [");
        for (int n = 0; n < r->ntile; n++) {
            text_f(t, "%s[%lld, %lld, ", n ? ", " : "", (long long)r->tile[n].m,
                   (long long)r->tile[n].n);
            text_f(t, r->tile[n].cycles < 0 ? "null]" : "%.0f]", r->tile[n].cycles);
        }
        text_s(t, "]}");
    }
    text_c(t, ']');
}

static void json_kernel(Text *t, const Compiled *c, const Kernel *k) {
    const SchedChoice *choice = kernel_choice(c->module, k);
    const Func *f = k->func;
    Text nodes = text_new(t->ctx), sched = text_new(t->ctx);
    CallNodes calls = {&nodes, f, 0};
    stmt_walk(c->module->entry->body, call_node, &calls);
    if (k->sched)
        sched_print(&sched, k->sched);
    text_s(t, "{\"kernel\": ");
    json_text(t, f->name);
    text_s(t, ", \"called_for\": ");
    json_text(t, nodes.at);
    text_f(t, ", \"calls\": %d, \"rule\": \"%s\", \"schedule\": ", f->uses, k->rule ? k->rule : "");
    json_text(t, sched.at);
    json_number(t, "flop", f->flop);
    json_number(t, "integer_macs", f->macs);
    json_number(t, "bytes_in", f->bytes_in);
    json_number(t, "bytes_out", f->bytes_out);
    json_number(t, "predicted_cycles", predicted_cycles(c->machine, f, choice));
    json_number(t, "roof_cycles", roof_cycles(c->machine, f));
    if (choice) {
        text_f(t, ", \"class\": \"%s\", \"key\": \"%s\", \"tile\": [%lld, %lld]", choice->kind,
               choice->key, (long long)choice->tile.m, (long long)choice->tile.n);
        text_s(t, ", \"rewrites\": ");
        json_text(t, choice->notes);
        json_tries(t, choice);
    }
    text_c(t, '}');
}

/* ---- the verb --------------------------------------------------------------------------------------------- */

static bool explain(Args *a, const Compiled *c) {
    const char *name = a->kernel ? a->kernel : "";
    Profile measured = {0};
    Text t = text_new(a->ctx);
    int shown = 0;
    if (a->measured && !profile_read(a, a->measured, &measured))
        return false;
    if (a->json)
        text_f(&t, "{\"schema\": 1, \"target\": \"%s\", \"kernels\": [", c->machine->name);
    else if (!a->kernel)
        list_kernels(&t, c);
    for (int i = 0; i < c->module->kernels.len; i++) {
        const Kernel *k = c->module->kernels.at[i];
        if (!kernel_named(k->func, name))
            continue;
        if (a->json) {
            text_s(&t, shown ? ",\n  " : "\n  ");
            json_kernel(&t, c, k);
        } else if (a->kernel) {
            text_s(&t, shown ? "\n" : "");
            explain_kernel(&t, c, k, a->measured ? &measured : NULL);
        }
        shown++;
    }
    if (a->kernel && !shown) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "--kernel=%s: there is no such kernel", a->kernel);
        diag_note(a->ctx, "without --kernel, lcc explain lists them");
        return false;
    }
    text_s(&t, a->json ? "]}\n" : "");
    if (a->json)
        return json_write(a, &t);
    return file_write(a->ctx, "-", t.at, t.len);
}

int verb_explain(Args *a) {
    Compiled c = {0};
    if (a->words.len != 1) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "explain takes one model: lcc explain model.onnx");
        return EXIT_USAGE;
    }
    a->opt.explain = true;
    bool ok = compile_target(a, &c, NULL) && compile_import(a, a->words.at[0], &c) &&
              compile_define(a, &c) && compile_lower(a, &c) && explain(a, &c);
    onnx_close(&c.file);
    return ok ? EXIT_OK : a->ctx->diag.exit_code;
}
