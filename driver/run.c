/* lcc run: a model compiled, run in this process, its outputs printed and saved. */
#include "driver/profile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN = 8 };

static void value_show(Text *t, Str name, const OnnxValue *v) {
    static const char *const kind[] = {"", "sequence", "optional"};
    text_str(t, name);
    if (v->kind != ONNX_TENSOR) {
        text_f(t, "  %s of %d\n", kind[v->kind], v->nitem);
        for (int i = 0; i < v->nitem; i++)
            value_show(t, str_f(t->ctx, "%s[%d]", name, i), &v->item[i]);
        return;
    }
    text_s(t, "  ");
    tensor_type_text(t, &v->tensor);
    text_s(t, "  ");
    tensor_values_text(t, &v->tensor, SHOWN, false);
    text_c(t, '\n');
}

static void value_json(Text *t, const OnnxValue *v) {
    if (v->kind == ONNX_TENSOR) {
        text_f(t, "\"type\": \"%s\", \"shape\": [", type_text(type_from_onnx(v->tensor.type)));
        for (int i = 0; i < v->tensor.rank; i++)
            text_f(t, i ? ", %lld" : "%lld", (long long)v->tensor.dims[i]);
        text_s(t, "], \"first\": [");
        tensor_values_text(t, &v->tensor, SHOWN, true);
        text_c(t, ']');
        return;
    }
    text_s(t, v->kind == ONNX_SEQUENCE ? "\"sequence\": [" : "\"optional\": [");
    for (int i = 0; i < v->nitem; i++) {
        text_s(t, i ? ", {" : "{");
        value_json(t, &v->item[i]);
        text_c(t, '}');
    }
    text_c(t, ']');
}

static bool print_outputs(Args *a, const Tree *tree, int n, const OnnxValue *value) {
    Text t = text_new(a->ctx);
    text_s(&t, a->json ? "{\"schema\": 1, \"outputs\": [" : "");
    for (int i = 0; i < n; i++) {
        if (a->json) {
            text_s(&t, i ? ",\n  {\"name\": " : "{\"name\": ");
            json_text(&t, tree[i].name);
            text_s(&t, ", ");
            value_json(&t, &value[i]);
            text_c(&t, '}');
        } else {
            value_show(&t, tree[i].name, &value[i]);
        }
    }
    text_s(&t, a->json ? "]}\n" : "");
    if (a->json)
        return json_write(a, &t);
    return file_write(a->ctx, "-", t.at, t.len);
}

static bool save_outputs(Args *a, const Tree *tree, int n, const OnnxValue *value) {
    bool npy = a->save_as && !strcmp(a->save_as, "npy"), ok = true;
    if (mkdir(a->save, 0777) != 0 && errno != EEXIST)
        return diag_error(a->ctx, EXIT_IO, NULL, "cannot make the folder %s: %s", a->save,
                          strerror(errno));
    for (int i = 0; ok && i < n; i++) {
        Str path = str_f(a->ctx, "%s/output_%d.%s", a->save, i, npy ? "npy" : "pb");
        if (npy && value[i].kind != ONNX_TENSOR)
            return diag_error(a->ctx, EXIT_USAGE, NULL, "output %s is no tensor; use --save-as=pb",
                              tree[i].name);
        ok = npy ? npy_write(a->ctx, path, &value[i].tensor)
                 : onnx_value_write(a->ctx, path, &value[i], tree[i].name);
    }
    return ok;
}

static bool run_model(Args *a, Compiled *c, Jit *j, const Given *given) {
    const Program *p = c->prog;
    OnnxTensor *in = ctx_newn(a->ctx, OnnxTensor, p->inputs.len);
    OnnxTensor *out = ctx_newn(a->ctx, OnnxTensor, p->outputs.len);
    int64_t *dims = ctx_newn(a->ctx, int64_t, p->dims.len);
    Profile profile;
    int n;
    run_limit(a);
    if (!inputs_flatten(a, c, given, in, dims) || !jit_load(a, c, j))
        return false;
    if (a->opt.profile ? !profile_run(a, c, j, dims, in, out, &profile) ||
                             !profile_write(a, c, &profile, a->opt.profile)
                       : !jit_run(a, c, j, dims, in, out))
        return false;
    const Tree *tree = trees_read(a->ctx, p->results, &n);
    OnnxValue *value = ctx_newn(a->ctx, OnnxValue, n);
    for (int i = 0; i < n; i++)
        value[i] = tree_value(a->ctx, &tree[i], out);
    if (!a->opt.quiet)
        fprintf(stderr, "--jit=%s, target %s\n", j->kind, c->machine->name);
    return (!a->save || save_outputs(a, tree, n, value)) && print_outputs(a, tree, n, value);
}

int verb_run(Args *a) {
    Compiled c = {0};
    Jit j = {0};
    const Given *given = NULL;
    if (!a->words.len) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "run takes a model: lcc run model.onnx --data DIR");
        return EXIT_USAGE;
    }
    bool ok = jit_choose(a, &c, &j) && compile_import(a, a->words.at[0], &c) &&
              (given = inputs_read(a, &c, a->data)) != NULL && compile_define(a, &c) &&
              compile_lower(a, &c) && run_model(a, &c, &j, given);
    jit_close(&j);
    onnx_close(&c.file);
    return ok ? EXIT_OK : a->ctx->diag.exit_code;
}
