/* lcc check --against=ort: a Python of the user's runs the model with onnxruntime, its optimisations off. */
#include "driver/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NO_MODULE = 47 };

static const char SCRIPT[] =
    "import sys\n"
    "try:\n"
    "    import numpy as np\n"
    "    import onnxruntime as ort\n"
    "except ImportError:\n"
    "    sys.exit(47)\n"
    "options = ort.SessionOptions()\n"
    "options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL\n"
    "options.log_severity_level = 3\n"
    "session = ort.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])\n"
    "feeds = {x.name: np.load('input_%d.npy' % i) for i, x in enumerate(session.get_inputs())}\n"
    "for i, y in enumerate(session.run(None, feeds)):\n"
    "    np.save('output_%d.npy' % i, np.array(y.astype(str)) if y.dtype == object else y)\n";

bool ort_outputs(Args *a, const Compiled *c, const OnnxTensor *flat, OnnxValue *out, int n) {
    Ctx *ctx = a->ctx;
    const char *tmp = getenv("TMPDIR"), *named = getenv("PYTHON");
    const char *python = program_find(ctx, named && named[0] ? named : "python3");
    Words w = {0};
    int status;
    if (!python)
        return diag_error(ctx, EXIT_TOOLCHAIN, NULL, "--against=ort needs %s, which is not there",
                          named && named[0] ? named : "python3");
    for (int i = 0; i < c->prog->inputs.len; i++)
        if (!flat[i].data || c->model->graph->inputs.len != c->prog->inputs.len)
            return diag_error(ctx, EXIT_UNSUPPORTED, NULL,
                              "--against=ort takes models whose inputs are tensors");
    Str folder = scratch_make(a, str_f(ctx, "%s/", tmp && tmp[0] ? tmp : "/tmp"));
    if (!folder || !file_write(ctx, str_f(ctx, "%s/run.py", folder), SCRIPT, sizeof SCRIPT - 1))
        return false;
    for (int i = 0; i < c->prog->inputs.len; i++)
        if (!npy_write(ctx, str_f(ctx, "%s/input_%d.npy", folder, i), &flat[i]))
            return false;
    vec_push(ctx, &w, python);
    vec_push(ctx, &w, "run.py");
    vec_push(ctx, &w, path_absolute(ctx, c->file.path));
    if (!program_run(ctx, &w, folder, &status))
        return false;
    if (status == NO_MODULE) {
        diag_error(ctx, EXIT_TOOLCHAIN, NULL, "%s has no onnxruntime", python);
        diag_note(ctx, "%s -m pip install onnxruntime (or name another Python in $PYTHON)", python);
        return false;
    }
    if (status)
        return diag_error(ctx, EXIT_TOOLCHAIN, NULL,
                          "onnxruntime could not run the model (exit code %d)", status);
    for (int i = 0; i < n; i++) {
        const TypeInfo *t = c->model->graph->outputs.at[i]->info;
        if (!value_read(ctx, str_f(ctx, "%s/output_%d.npy", folder, i), ONNX_TENSOR,
                        t ? t->type : T_NONE, &out[i]))
            return false;
    }
    scratch_remove(a);
    return true;
}
