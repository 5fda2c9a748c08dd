/* tests/graph_text.c — models as text: what is printed reads back equal, before and after upgrading.
 *
 * usage: graph_text MODEL.onnx …
 * Each model is imported, printed, parsed and printed again; then upgraded, where lcc knows its ops, and the
 * same once more, where upgrading what was read must change nothing. Weights are left out of texts, so models
 * with many are skipped. Last line: N passed, N failed, N skipped. */
#include "frontend/frontend.h"
#include "frontend/load.h"

#include <stdio.h>
#include <string.h>

typedef enum Outcome { PASSED, FAILED, SKIPPED } Outcome;

static char *printed(Ctx *ctx, const Model *m) {
    Text t = text_new(ctx);
    graph_print(&t, m);
    return t.at;
}

static Outcome round_trip(Ctx *ctx, const Model *m, bool upgrade) {
    const char *first = printed(ctx, m);
    if (strstr(first, "{...}"))
        return SKIPPED;
    Model *back = graph_parse(ctx, "text", first);
    if (!back || (upgrade && !graph_upgrade(ctx, back)))
        return FAILED;
    return strcmp(first, printed(ctx, back)) == 0 ? PASSED : FAILED;
}

static Outcome test_model(Ctx *ctx, const char *path, OnnxFile *file) {
    Onnx__ModelProto *proto = onnx_load(ctx, path, file);
    Model *m = proto ? graph_import(ctx, proto, file) : NULL;
    if (!m)
        return FAILED;
    Outcome before = round_trip(ctx, m, false);
    if (before != PASSED)
        return before;
    Diag diag = ctx->diag;
    if (!graph_upgrade(ctx, m)) { /* an op that lcc does not have */
        ctx->diag = diag;
        return PASSED;
    }
    return round_trip(ctx, m, true);
}

int main(int argc, char **argv) {
    int count[3] = {0};
    for (int i = 1; i < argc; i++) {
        Ctx *ctx = ctx_create(0);
        jmp_buf leave;
        ctx->oom = &leave;
        ctx->file = str(ctx, argv[i]);
        OnnxFile file = {0};
        volatile Outcome o = FAILED;
        if (setjmp(leave) == 0)
            o = test_model(ctx, argv[i], &file);
        count[o]++;
        if (o == FAILED)
            printf("FAIL %s\n%s", argv[i], ctx->diag.text.at ? ctx->diag.text.at : "");
        onnx_close(&file);
        ctx_free(ctx);
    }
    printf("%d passed, %d failed, %d skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
    return count[FAILED] > 0;
}
