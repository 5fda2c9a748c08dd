/* lcc info: what a model becomes for a target: inputs, outputs, dims, sizes, the build line. */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

int64_t module_weights(const Module *m) {
    int64_t total = 0, bytes;
    for (int i = 0; i < m->consts.len; i++) {
        const Const *c = m->consts.at[i]->packed ? m->consts.at[i]->packed : m->consts.at[i]->data;
        if (!mul_ok(c->count, type_bytes(c->type), &bytes) || !add_ok(total, bytes, &total))
            return INT64_MAX;
    }
    return total;
}

/* 3.64 GFLOP */
static void flop_text(Text *t, double flop) {
    static const char *const unit[] = {"", "K", "M", "G", "T", "P"};
    int u = 0;
    for (; flop >= 1000 && u < 5; u++)
        flop /= 1000;
    text_f(t, u ? "%.3g %sFLOP" : "%.0f %sFLOP", flop, unit[u]);
}

static bool arena_static(const Module *m, int64_t *bytes) {
    return m->arena_bytes && expr_is_int(m->arena_bytes, bytes);
}

/* How far the memory plan is from the largest live set, which no plan can go below. */
static void arena_gap(Text *t, const Module *m) {
    long long bytes = m->arena_sample, bound = m->arena_bound;
    if (!arena_static(m, NULL) && bytes)
        text_f(t, ", %lld bytes with large dims", bytes);
    if (bytes && bound)
        text_f(t, ", lower bound %lld (+%.2f %%)", bound,
               100 * ((double)bytes / (double)bound - 1));
    text_c(t, '\n');
}

void module_summary(Text *t, const Compiled *c) {
    int64_t bytes;
    double flop = c->module->entry->flop;
    int n = c->module->kernels.len;
    text_f(t, "target %s, %d kernel%s, ", c->machine->name, n, n == 1 ? "" : "s");
    if (flop >= 0)
        flop_text(t, flop);
    else
        text_s(t, "FLOP by shape");
    if (arena_static(c->module, &bytes))
        text_f(t, ", arena %lld bytes", (long long)bytes);
    else
        text_s(t, ", arena by shape");
    text_f(t, ", weights %lld bytes (%s)", (long long)module_weights(c->module),
           c->out.weights_mode);
}

void module_json(Text *t, const Compiled *c) {
    const Module *m = c->module;
    int64_t bytes;
    double flop = m->entry->flop;
    text_f(t, "\"target\": \"%s\", \"kernels\": %d", c->machine->name, m->kernels.len);
    if (flop >= 0)
        text_f(t, ", \"flop\": %.0f", flop);
    else
        text_s(t, ", \"flop\": null");
    if (arena_static(m, &bytes))
        text_f(t, ", \"arena_bytes\": %lld", (long long)bytes);
    else
        text_s(t, ", \"arena_bytes\": null");
    text_f(t, ", \"arena_sample\": %lld, \"arena_bound\": %lld", (long long)m->arena_sample,
           (long long)m->arena_bound);
    text_f(t, ", \"stack_bytes\": %lld", (long long)module_stack(m));
    text_f(t, ", \"weights_bytes\": %lld, \"weights\": \"%s\",\n \"build\": ",
           (long long)module_weights(m), c->out.weights_mode);
    json_text(t, c->out.build_line);
}

static void info_json(Args *a, const Compiled *c) {
    const Program *p = c->prog;
    Text t = text_new(a->ctx);
    text_s(&t, "{\"schema\": 1, \"model\": ");
    json_text(&t, c->file.path);
    text_f(&t, ", \"sha256\": \"%s\",\n \"dims\": [", c->file.sha256);
    for (int i = 0; i < p->dims.len; i++) {
        const Sym *s = p->dims.at[i];
        text_s(&t, i ? ", {\"name\": " : "{\"name\": ");
        json_text(&t, s->name);
        text_f(&t, ", \"min\": %lld, \"max\": %lld, \"multiple\": %lld}", (long long)s->min,
               (long long)s->max, (long long)s->mult);
    }
    for (int side = 0; side < 2; side++) {
        int n = side ? p->outputs.len : p->inputs.len;
        text_s(&t, side ? "],\n \"outputs\": [" : "],\n \"inputs\": [");
        for (int i = 0; i < n; i++) {
            const Port *port = &(side ? p->outputs.at : p->inputs.at)[i];
            text_s(&t, i ? ",\n  {\"name\": " : "{\"name\": ");
            json_text(&t, port->name);
            text_f(&t, ", \"type\": \"%s\", \"shape\": ", type_text(type_dtype(port->buf->type)));
            json_shape(&t, port->buf);
            int64_t room;
            if (port->state) {
                text_s(&t, ", \"state\": ");
                json_text(&t, port->state);
            }
            if (port->state && state_along(a->ctx, p, port->buf, &room) >= 0)
                text_f(&t, ", \"rows\": %lld", (long long)room);
            text_c(&t, '}');
        }
    }
    text_s(&t, "],\n ");
    module_json(&t, c);
    text_s(&t, "}\n");
    json_write(a, &t);
}

static void port_line(Text *t, const char *what, const Program *prog, const Port *p) {
    const Buf *b = p->buf;
    int64_t room;
    text_f(t, "%-8s", what);
    text_str(t, p->name);
    text_f(t, "  %s[", type_text(type_dtype(b->type)));
    for (int i = 0; i < b->rank; i++) {
        text_s(t, i ? "," : "");
        if (extent_is_open(t->ctx, b->dim[i]))
            text_c(t, '?');
        else
            text_str(t, expr_str(t->ctx, b->dim[i]));
    }
    text_c(t, ']');
    if (p->state) {
        text_s(t, " in the place of ");
        text_str(t, p->state);
        if (state_along(t->ctx, prog, b, &room) >= 0)
            text_f(t, ", with room for %lld rows", (long long)room);
    }
    text_c(t, '\n');
}

static void info_text(Args *a, const Compiled *c) {
    const Program *p = c->prog;
    Text t = text_new(a->ctx);
    int64_t bytes;
    for (int i = 0; i < p->inputs.len; i++)
        port_line(&t, "input", p, &p->inputs.at[i]);
    for (int i = 0; i < p->outputs.len; i++)
        port_line(&t, "output", p, &p->outputs.at[i]);
    for (int i = 0; i < p->dims.len; i++) {
        const Sym *s = p->dims.at[i];
        text_s(&t, "dim     ");
        text_str(&t, s->name);
        text_f(&t, "  %lld..%lld", (long long)s->min, (long long)s->max);
        text_f(&t, s->mult > 1 ? ", a multiple of %lld\n" : "\n", (long long)s->mult);
    }
    text_f(&t, "target  %s\nkernels %d\n", c->machine->name, c->module->kernels.len);
    double flop = c->module->entry->flop;
    text_s(&t, "work    ");
    if (flop >= 0)
        flop_text(&t, flop);
    else
        text_s(&t, "by shape");
    if (arena_static(c->module, &bytes))
        text_f(&t, "\narena   %lld bytes", (long long)bytes);
    else
        text_s(&t, "\narena   by shape");
    arena_gap(&t, c->module);
    text_f(&t, "stack   %lld bytes of buffers\n", (long long)module_stack(c->module));
    text_f(&t, "weights %lld bytes (%s)\n", (long long)module_weights(c->module),
           c->out.weights_mode);
    text_f(&t, "build   %s\n", c->out.build_line);
    fputs(t.at, stdout);
}

int verb_info(Args *a) {
    Compiled c = {0};
    if (a->words.len != 1) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "info takes one model");
        return EXIT_USAGE;
    }
    bool ok =
        compile_target(a, &c, NULL) && compile_import(a, a->words.at[0], &c) &&
        compile_define(a, &c) && compile_lower(a, &c) &&
        compile_emit(a, &c, a->opt.output ? a->opt.output : a->words.at[0],
                     c.machine->vec || module_weights(c.module) <= PLAIN_TEXT_MAX ? "auto" : "obj");
    if (ok && a->json)
        info_json(a, &c);
    else if (ok)
        info_text(a, &c);
    onnx_close(&c.file);
    return a->ctx->diag.exit_code;
}
