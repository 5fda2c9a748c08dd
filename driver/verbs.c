/* The verbs of the command: those that are built, and the names of those that will be. */
#include "driver/driver.h"

#include <string.h>

static const Verb VERBS[] = {
    {"run", verb_run, "run MODEL.onnx (--data DIR | NAME=@FILE …) [--save DIR]",
     "compile, run, print the outputs; NAME=random:7, NAME=ones and NAME=0.5 make one up"},
    {"check", verb_check, "check MODEL.onnx [--data DIR | --against=ort] [--per-node]",
     "run and compare with expected outputs (default: test_data_set_* beside the model)"},
    {"info", verb_info, "info MODEL.onnx", "inputs, outputs, sizes, the build line"},
    {"explain", verb_explain, "explain MODEL.onnx [--kernel=NAME] [--measured=FILE]",
     "why each kernel is scheduled as it is, and what that should cost"},
    {"ops", verb_ops, "ops [MODEL.onnx]", "operators lcc knows, or those a model uses"},
    {"targets", verb_targets, "targets", "machines to compile for"},
};

static const char *const LATER[] = {"run",      "check", "bench", "report",
                                    "quantize", "prune", "split"};

const Verb *verb_table(int *count) {
    *count = (int)(sizeof VERBS / sizeof VERBS[0]);
    return VERBS;
}

const Verb *verb_find(const char *name) {
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++)
        if (!strcmp(VERBS[i].name, name))
            return &VERBS[i];
    return NULL;
}

bool verb_later(const char *name) {
    for (size_t i = 0; i < sizeof LATER / sizeof LATER[0]; i++)
        if (!strcmp(LATER[i], name))
            return true;
    return false;
}
