/* lcc ops: the operators lcc knows; lcc ops MODEL: those a model uses, and which of them are missing. */
#include "driver/driver.h"
#include "frontend/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Use {
    Str domain, op;
    int version, count; /* version: the one the model means, of its first node */
    bool known;
} Use;

typedef struct Uses {
    Ctx *ctx;
    VEC(Use) at;
} Uses;

static void use_add(Uses *u, const Node *n) {
    for (int i = 0; i < u->at.len; i++) {
        Use *is = &u->at.at[i];
        if (is->domain == n->domain && is->op == n->op) {
            is->count++;
            return;
        }
    }
    int since = schema_since(n->domain, n->op, n->version);
    Use use = {n->domain, n->op, since ? since : n->version, 1,
               onnx_op_find(n->domain, n->op) != NULL};
    vec_push(u->ctx, &u->at, use);
}

static void graph_uses(Uses *u, const Graph *g) {
    for (int i = 0; i < g->nodes.len; i++) {
        const Node *n = g->nodes.at[i];
        use_add(u, n);
        for (int k = 0; k < n->nattr; k++)
            if (n->attr[k].graph)
                graph_uses(u, n->attr[k].graph);
    }
}

static int use_order(const void *x, const void *y) {
    const Use *a = x, *b = y;
    int d = strcmp(a->domain, b->domain);
    return d ? d : strcmp(a->op, b->op);
}

static Str use_name(Ctx *ctx, const Use *u) {
    return u->domain[0] ? str_f(ctx, "%s.%s", u->domain, u->op) : u->op;
}

static void uses_json(Args *a, const Uses *u) {
    Text t = text_new(a->ctx);
    text_s(&t, "{\"schema\": 1, \"ops\": [");
    for (int i = 0; i < u->at.len; i++) {
        const Use *is = &u->at.at[i];
        text_s(&t, i ? ",\n  {\"domain\": " : "\n  {\"domain\": ");
        json_text(&t, is->domain);
        text_s(&t, ", \"op\": ");
        json_text(&t, is->op);
        text_f(&t, ", \"version\": %d, \"nodes\": %d, \"supported\": %s}", is->version, is->count,
               is->known ? "true" : "false");
    }
    text_s(&t, "]}\n");
    json_write(a, &t);
}

static void uses_text(Args *a, const Uses *u) {
    Text t = text_new(a->ctx);
    for (int i = 0; i < u->at.len; i++) {
        const Use *is = &u->at.at[i];
        size_t start = t.len;
        text_str(&t, use_name(a->ctx, is));
        text_f(&t, "-%d", is->version);
        text_f(&t, "%*s %6d node%s%s\n", t.len - start < 34 ? 34 - (int)(t.len - start) : 0, "",
               is->count, is->count == 1 ? "" : "s",
               is->known        ? ""
               : is->count == 1 ? "   not supported"
                                : "  not supported");
    }
    fwrite(t.at ? t.at : "", 1, t.len, stdout);
}

/* Unsupported operators are an answer here, not an error. */
static int model_ops(Args *a, const char *path) {
    Compiled c = {0};
    Uses u = {.ctx = a->ctx};
    if (!compile_import(a, path, &c))
        return a->ctx->diag.exit_code;
    graph_uses(&u, c.model->graph);
    if (u.at.len)
        qsort(u.at.at, (size_t)u.at.len, sizeof *u.at.at, use_order);
    if (a->json)
        uses_json(a, &u);
    else
        uses_text(a, &u);
    onnx_close(&c.file);
    return a->ctx->diag.exit_code;
}

static int table_ops(Args *a) {
    static const char *const kinds[] = {"map", "reduce", "tensor", "func", "host", "ctrl"};
    int n;
    const OnnxOp *op = onnx_op_table(&n);
    Text t = text_new(a->ctx);
    text_s(&t, a->json ? "{\"schema\": 1, \"ops\": [" : "");
    for (int i = 0, count = 0; i < n; i++) {
        if (!strcmp(op[i].domain, "lcc") || (i && !strcmp(op[i].name, op[i - 1].name)))
            continue;
        if (a->json)
            text_f(&t,
                   "%s\n  {\"domain\": \"%s\", \"op\": \"%s\", \"version\": %d, \"kind\": \"%s\"}",
                   count++ ? "," : "", op[i].domain, op[i].name, op[i].version, kinds[op[i].kind]);
        else
            text_f(&t, "%-36s %s\n",
                   str_f(a->ctx, "%s%s%s-%d", op[i].domain, op[i].domain[0] ? "." : "", op[i].name,
                         op[i].version),
                   kinds[op[i].kind]);
    }
    if (a->json) {
        text_s(&t, "]}\n");
        json_write(a, &t);
    } else {
        fputs(t.at, stdout);
    }
    return a->ctx->diag.exit_code;
}

int verb_ops(Args *a) {
    if (a->words.len > 1) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "ops takes one model, or nothing");
        return EXIT_USAGE;
    }
    return a->words.len ? model_ops(a, a->words.at[0]) : table_ops(a);
}
