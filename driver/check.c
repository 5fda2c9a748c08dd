/* lcc check: a model compiled, run, and every output compared with what is expected: with the files of
 * test_data_set folders, with onnxruntime, value by value with the reference evaluator. */
#include "driver/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Inner values that differ and are listed: after the first, others follow from it. */
enum { INNERS_SHOWN = 10 };

/* ---- what is said ------------------------------------------------------------------------------- */

static void index_text(Text *t, const OnnxTensor *v, int64_t i) {
    Dtype type = type_from_onnx(v->type);
    int64_t index[ONNX_RANK_MAX];
    if (type == T_C64 || type == T_C128)
        i /= 2;
    for (int k = v->rank - 1; k >= 0; k--) {
        index[k] = i % v->dims[k];
        i /= v->dims[k];
    }
    text_c(t, '[');
    for (int k = 0; k < v->rank; k++)
        text_f(t, k ? ",%lld" : "%lld", (long long)index[k]);
    text_c(t, ']');
}

static void node_text(Text *t, const Node *n) {
    text_f(t, "node %d '", n->loc.node);
    text_str(t, n->loc.name ? n->loc.name : "");
    text_s(t, "' (");
    text_str(t, n->loc.op ? n->loc.op : n->op);
    text_c(t, ')');
}

static void line_text(Text *t, const OnnxTensor *got, const OnnxTensor *want, const Rule *r,
                      const Compared *c) {
    tensor_type_text(t, want);
    if (!c->shape) {
        text_s(t, ": got ");
        tensor_type_text(t, got);
    } else if (c->worst < 0) {
        text_s(t, ": equal");
    } else if (type_from_onnx(want->type) == T_STR) {
        text_f(t, ": %lld texts differ, the first at ", (long long)c->bad);
        index_text(t, want, c->worst);
    } else {
        text_f(t, ": largest |d| %.3g", c->d);
        if (!r->each)
            text_f(t, ", bound %.3g", c->bound);
        if (c->bad)
            text_f(t, "; %lld of %lld beyond it", (long long)c->bad, (long long)want->count);
        text_s(t, c->bad ? ", worst at " : ", nearest to it at ");
        index_text(t, want, c->worst);
        text_f(t, ": %.9g, expected %.9g", tensor_at(got, c->worst), tensor_at(want, c->worst));
        if (type_is_float(type_from_onnx(want->type)))
            text_f(t, " (%.3g ULP)", c->ulp);
    }
}

static void line_json(Check *ck, Str name, const Node *node, bool ok, const OnnxTensor *want,
                      const Compared *c) {
    Text *t = &ck->lines;
    text_s(t, ck->values ? ",\n  {\"name\": " : "\n  {\"name\": ");
    json_text(t, name);
    if (node) {
        text_s(t, ", \"node\": ");
        json_text(t, node->loc.name);
    }
    text_f(t, ", \"type\": \"%s\", \"ok\": %s, \"shape_equal\": %s, \"beyond\": %lld",
           type_text(type_from_onnx(want->type)), ok ? "true" : "false",
           c->shape ? "true" : "false", (long long)c->bad);
    if (c->d < (double)INT64_MAX)
        text_f(t, ", \"largest\": %.9g, \"ulp\": %.9g, \"bound\": %.9g", c->d, c->ulp, c->bound);
    text_c(t, '}');
}

static bool check_tensor(Check *ck, Str name, const Node *node, const OnnxTensor *got,
                         const OnnxTensor *want) {
    Compared c;
    bool ok = tensors_compare(got, want, &ck->rule, &c);
    Text *t = &ck->lines;
    if (ck->a->json) {
        line_json(ck, name, node, ok, want, &c);
    } else if (!node || ck->a->opt.verbose || (!ok && ck->shown++ < INNERS_SHOWN)) {
        text_s(t, ok ? "ok       " : "MISMATCH ");
        text_str(t, name);
        text_s(t, " ");
        line_text(t, got, want, &ck->rule, &c);
        if (node) {
            text_s(t, ", from ");
            node_text(t, node);
        }
        text_c(t, '\n');
    }
    ck->values++;
    ck->failed += !ok;
    return ok;
}

bool check_value(Check *ck, Str name, const Node *node, const OnnxValue *got,
                 const OnnxValue *want) {
    if (want->kind == ONNX_TENSOR && got->kind == ONNX_TENSOR)
        return check_tensor(ck, name, node, &got->tensor, &want->tensor);
    bool ok = want->kind == got->kind && want->nitem == got->nitem;
    if (!ok) {
        if (!ck->a->json)
            text_f(&ck->lines, "MISMATCH %s: %d elements, expected %d\n", name, got->nitem,
                   want->nitem);
        ck->failed++;
    }
    for (int i = 0; ok && i < want->nitem; i++)
        ok &= check_value(ck, str_f(ck->a->ctx, "%s[%d]", name, i), node, &got->item[i],
                          &want->item[i]);
    return ok;
}

/* ---- what is expected --------------------------------------------------------------------------------- */

static int name_order(const void *x, const void *y) {
    return strcmp(*(const Str *)x, *(const Str *)y);
}

typedef struct Folders {
    VEC(Str) at;
} Folders;

/* --data, or every test_data_set_N beside the model. */
static Folders data_folders(Args *a, const char *model) {
    Folders f = {0};
    struct dirent *e;
    if (a->data) {
        vec_push(a->ctx, &f.at, str(a->ctx, a->data));
        return f;
    }
    Str beside = path_folder(a->ctx, model);
    DIR *dir = opendir(beside[0] ? beside : ".");
    while (dir && (e = readdir(dir)))
        if (!strncmp(e->d_name, "test_data_set_", 14))
            vec_push(a->ctx, &f.at, str_f(a->ctx, "%s%s", beside, e->d_name));
    if (dir)
        closedir(dir);
    if (f.at.len)
        qsort(f.at.at, (size_t)f.at.len, sizeof *f.at.at, name_order);
    return f;
}

static bool read_expected(Args *a, const Compiled *c, const char *folder, OnnxValue *want,
                          bool *any) {
    const Graph *g = c->model->graph;
    for (int i = 0; i < g->outputs.len; i++) {
        const TypeInfo *t = g->outputs.at[i]->info;
        OnnxKind kind = !t || t->kind == VALUE_TENSOR ? ONNX_TENSOR
                        : t->kind == VALUE_SEQUENCE   ? ONNX_SEQUENCE
                                                      : ONNX_OPTIONAL;
        Str path = data_file(a->ctx, folder, "output", i);
        *any |= path != NULL;
        if (!path && a->per_node)
            continue;
        if (!path)
            return diag_error(a->ctx, EXIT_IO, NULL, "%s holds no output_%d.pb", folder, i);
        if (!value_read(a->ctx, path, kind, t ? t->type : T_NONE, &want[i]))
            return false;
    }
    return true;
}

/* ---- the sets of data ------------------------------------------------------------------------------- */

/* Inputs, what is expected of the outputs (have: something is) and of the values in between. */
typedef struct Set {
    Str folder; /* NULL: inputs by words */
    OnnxTensor *in;
    int64_t *dims;
    OnnxValue *want, *inner;
    bool have;
} Set;

static bool set_read(Check *ck, Set *s, const Given *given) {
    Args *a = ck->a;
    const Compiled *c = ck->c;
    int n = c->model->graph->outputs.len;
    s->in = ctx_newn(a->ctx, OnnxTensor, c->prog->inputs.len);
    s->dims = ctx_newn(a->ctx, int64_t, c->prog->dims.len);
    s->want = ctx_newn(a->ctx, OnnxValue, n);
    s->have = a->against != NULL;
    return inputs_flatten(a, c, given, s->in, s->dims) &&
           (a->against  ? ort_outputs(a, c, s->in, s->want, n)
            : s->folder ? read_expected(a, c, s->folder, s->want, &s->have)
                        : true);
}

static bool set_run(Check *ck, const Set *s, const Inners *inners) {
    Args *a = ck->a;
    const Compiled *c = ck->c;
    OnnxTensor *out = ctx_newn(a->ctx, OnnxTensor, c->prog->outputs.len);
    int n;
    if (!jit_run(a, c, &ck->jit, s->dims, s->in, out))
        return false;
    for (int i = 0; i < inners->len; i++) {
        const Inner *x = &inners->at[i];
        OnnxValue got = {.kind = ONNX_TENSOR, .tensor = out[x->port]};
        if (s->inner[i].tensor.data)
            check_value(ck, x->name, x->node, &got, &s->inner[i]);
    }
    const Tree *tree = trees_read(a->ctx, c->prog->results, &n);
    for (int i = 0; s->have && i < n; i++) {
        OnnxValue got = tree_value(a->ctx, &tree[i], out);
        check_value(ck, tree[i].name, NULL, &got, &s->want[i]);
    }
    return true;
}

/* Reads every set; the shapes of the first one hold for all. */
static bool sets_read(Check *ck, const char *model, Set **sets, int *n) {
    Args *a = ck->a;
    Folders f = data_folders(a, model);
    bool made = a->words.len > 1 || a->against;
    if ((!f.at.len && !made) || (!f.at.len && !a->against && !a->per_node)) {
        diag_error(a->ctx, EXIT_USAGE, NULL,
                   "nothing to compare with: no test_data_set_0 beside the model");
        diag_note(a->ctx, "give --data DIR, --against=ort, or inputs (x=random:7) and --per-node");
        return false;
    }
    *n = f.at.len ? f.at.len : 1;
    *sets = ctx_newn(a->ctx, Set, *n);
    for (int i = 0; i < *n; i++) {
        Set *s = &(*sets)[i];
        s->folder = f.at.len ? f.at.at[i] : NULL;
        Given *given = inputs_read(a, ck->c, s->folder);
        for (int k = 0; given && a->against && k < ck->c->model->graph->inputs.len; k++)
            if (!given[k].path && !given[k].fill)
                given[k].fill = "random:0";
        if (!given || (!i && !compile_define(a, ck->c)) || !set_read(ck, s, given))
            return false;
    }
    return true;
}

static bool check_sets(Check *ck, const char *model) {
    Args *a = ck->a;
    Set *sets;
    Inners inners = {0};
    int n;
    if (!sets_read(ck, model, &sets, &n))
        return false;
    if (a->per_node)
        inners_mark(a, ck->c->prog, &inners, !sets[0].folder && !a->against);
    for (int i = 0; a->per_node && i < n; i++)
        if (!(sets[i].inner = inners_eval(a, ck->c->prog, sets[i].in, sets[i].dims, &inners)))
            return false;
    if (!compile_lower(a, ck->c) || !jit_load(a, ck->c, &ck->jit))
        return false;
    for (int i = 0; i < n; i++) {
        if (sets[i].folder && !a->json && n > 1)
            text_f(&ck->lines, "%s\n", sets[i].folder);
        if (!set_run(ck, &sets[i], &inners))
            return false;
    }
    return true;
}

static void check_say(Check *ck) {
    Args *a = ck->a;
    Text t = text_new(a->ctx), rule = text_new(a->ctx);
    const char *lines = ck->lines.at ? ck->lines.at : "";
    rule_text(&rule, &ck->rule);
    if (a->json) {
        text_f(&t, "{\"schema\": 1, \"rule\": \"%s\", \"values\": [%s],\n \"failed\": %d}\n",
               rule.at, lines, ck->failed);
        json_write(a, &t);
        return;
    }
    text_f(&t, "%s%d of %d values match (%s)\n", lines, ck->values - ck->failed, ck->values,
           rule.at);
    file_write(a->ctx, "-", t.at, t.len);
    if (!a->opt.quiet)
        fprintf(stderr, "--jit=%s, target %s\n", ck->jit.kind, ck->c->machine->name);
}

int verb_check(Args *a) {
    Compiled c = {0};
    Check ck = {.a = a, .c = &c, .lines = text_new(a->ctx)};
    if (!a->words.len) {
        diag_error(a->ctx, EXIT_USAGE, NULL,
                   "check takes a model: lcc check model.onnx --data DIR");
        return EXIT_USAGE;
    }
    bool ok = rule_read(a, &ck.rule) && jit_choose(a, &c, &ck.jit) &&
              compile_import(a, a->words.at[0], &c);
    if (ok) {
        run_limit(a);
        ok = check_sets(&ck, a->words.at[0]);
    }
    if (ok)
        check_say(&ck);
    jit_close(&ck.jit);
    onnx_close(&c.file);
    if (!ok || a->ctx->diag.exit_code)
        return a->ctx->diag.exit_code;
    return ck.failed ? EXIT_MISMATCH : EXIT_OK;
}
