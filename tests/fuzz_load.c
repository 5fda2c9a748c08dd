/* tests/fuzz_load.c — the loader against damaged files, in process (build with LCC_SANITIZE=ON to
 * see every bad access).
 *
 *   fuzz_load MODEL STEP    cuts MODEL at every STEP-th byte, flips every STEP-th bit, splices
 *                           pieces of it at random, and fails allocation n for every STEP-th n;
 *                           each outcome must be a result or one error with a documented code.
 *                           Accepted bytes must mean the same to protobuf-c.
 *   fuzz_load --values      reads lines "KIND IN OUT" (KIND as OnnxKind), copies the value in IN
 *                           to OUT; how the test data of other programs is compared.
 *   fuzz_load --weights     reads lines "MODEL OUT", writes the model's initialisers to OUT as one
 *                           sequence, or prints "MODEL CODE" and the error. */
#include "frontend/load.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Tally {
    long passed, failed;
} Tally;

/* One attempt; what it shares with the code after a longjmp. */
typedef struct Attempt {
    Ctx *ctx;
    unsigned char *bytes;
    size_t n;
    uint64_t fail_at; /* allocation to fail; 0: none */
    void *msg;
} Attempt;

static void tensors_visit(Ctx *ctx, const ProtobufCMessage *m);

static void field_visit(Ctx *ctx, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    const char *at = (const char *)m + f->offset;
    size_t n = 1;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(&n, (const char *)m + f->quantifier_offset, sizeof n);
        memcpy(&at, (const void *)at, sizeof at);
    } else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t id;
        memcpy(&id, (const char *)m + f->quantifier_offset, sizeof id);
        n = id == f->id;
    }
    for (size_t i = 0; i < n; i++) {
        const ProtobufCMessage *inner;
        memcpy(&inner, at + i * sizeof inner, sizeof inner);
        if (inner)
            tensors_visit(ctx, inner);
    }
}

/* Reads every tensor below m; their errors are as good as results. */
static void tensors_visit(Ctx *ctx, const ProtobufCMessage *m) {
    if (m->descriptor == &onnx__tensor_proto__descriptor) {
        OnnxTensor t;
        unsigned sum = 0;
        if (onnx_tensor_bytes(ctx, NULL, (const Onnx__TensorProto *)(const void *)m, NULL, &t) &&
            t.type != ONNX__TENSOR_PROTO__DATA_TYPE__STRING)
            for (size_t i = 0; i < t.nbytes; i++)
                sum += ((const unsigned char *)t.data)[i];
        if (sum == 1)
            ctx_alloc(ctx, sum);
    }
    for (unsigned i = 0; i < m->descriptor->n_fields; i++)
        if (m->descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            field_visit(ctx, m, &m->descriptor->fields[i]);
}

static bool code_documented(int code) {
    return code == EXIT_MALFORMED || code == EXIT_UNSUPPORTED || code == EXIT_LIMIT ||
           code == EXIT_IO;
}

/* Loads the bytes as onnx_load does; what went wrong, or NULL. a->msg lives until ctx_free. */
static const char *attempt_run(Attempt *a) {
    jmp_buf oom;
    a->msg = NULL;
    a->ctx->file = "fuzz.onnx";
    if (setjmp(oom) == 0) {
        a->ctx->oom = &oom;
        arena_fail_at(a->ctx->arena, a->fail_at);
        unsigned char *copy = ctx_copy(a->ctx, a->bytes, a->n);
        a->msg = file_unpack(a->ctx, "fuzz.onnx", copy, a->n, &onnx__model_proto__descriptor,
                             "an ONNX model");
        int errors = a->ctx->diag.errors;
        if (a->msg && errors)
            return "an error beside a result";
        if (!a->msg && errors != 1)
            return "not exactly one error";
        if (a->msg)
            tensors_visit(a->ctx, a->msg);
    } else {
        a->msg = NULL;
        if (a->ctx->diag.exit_code != EXIT_LIMIT && !a->ctx->diag.errors)
            return "memory failed without an error";
    }
    const Diag *d = &a->ctx->diag;
    if (d->errors && (!code_documented(d->exit_code) || !d->text.len))
        return "an error without a documented code or text";
    return NULL;
}

/* ---- protobuf-c's opinion ---------------------------------------------------------------------- */

/* Unknown fields, which wire_unpack drops, must not be counted. */
static void unknown_drop(ProtobufCMessage *m) {
    m->n_unknown_fields = 0;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        char *at = (char *)m + f->offset;
        size_t n = 1;
        uint32_t id = f->id;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            memcpy(&n, (char *)m + f->quantifier_offset, sizeof n);
            memcpy(&at, (const void *)at, sizeof at);
        } else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            memcpy(&id, (char *)m + f->quantifier_offset, sizeof id);
        }
        for (size_t k = 0; k < n && id == f->id; k++) {
            ProtobufCMessage *inner;
            memcpy(&inner, at + k * sizeof inner, sizeof inner);
            if (inner)
                unknown_drop(inner);
        }
    }
}

static void *arena_take(void *ctx, size_t n) {
    return ctx_alloc(ctx, n);
}

static void arena_keep(void *ctx, void *p) {
    (void)ctx;
    (void)p;
}

static const char *attempt_compare(Attempt *a) {
    ProtobufCAllocator alloc = {arena_take, arena_keep, a->ctx};
    a->ctx->oom = NULL;
    ProtobufCMessage *other =
        protobuf_c_message_unpack(&onnx__model_proto__descriptor, &alloc, a->n, a->bytes);
    if (!other)
        return "accepted what protobuf-c refuses";
    unknown_drop(other);
    size_t n = protobuf_c_message_get_packed_size(a->msg);
    if (n != protobuf_c_message_get_packed_size(other))
        return "unpacked differently from protobuf-c (size)";
    unsigned char *mine = ctx_alloc(a->ctx, n), *theirs = ctx_alloc(a->ctx, n);
    protobuf_c_message_pack(a->msg, mine);
    protobuf_c_message_pack(other, theirs);
    return memcmp(mine, theirs, n) ? "unpacked differently from protobuf-c" : NULL;
}

/* Runs once; counts. `what` and `where` name the damage. Whether the bytes were accepted. */
static bool attempt(Tally *tally, unsigned char *bytes, size_t n, uint64_t fail_at,
                    const char *what, size_t where) {
    Attempt a = {ctx_create(0), bytes, n, fail_at, NULL};
    const char *why = attempt_run(&a);
    bool accepted = a.msg != NULL;
    if (!why && accepted && !fail_at)
        why = attempt_compare(&a);
    if (why) {
        printf("FAIL %s %zu: %s\n", what, where, why);
        fputs(a.ctx->diag.text.at ? a.ctx->diag.text.at : "", stdout);
        tally->failed++;
    } else {
        tally->passed++;
    }
    ctx_free(a.ctx);
    return accepted;
}

/* ---- damage ---------------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Copies a piece of the file over another place, or inserts it there: lengths lie, fields repeat. */
static void splice_run(Tally *tally, const unsigned char *bytes, size_t n, size_t rounds) {
    uint64_t state = 1;
    unsigned char *copy = malloc(2 * n);
    for (size_t i = 0; i < rounds; i++) {
        size_t from = random_next(&state) % n, to = random_next(&state) % n;
        size_t len = random_next(&state) % (i % 2 ? 16 : 200) + 1;
        len = len < n - from ? len : n - from;
        bool insert = random_next(&state) % 2;
        len = insert || len < n - to ? len : n - to;
        memcpy(copy, bytes, to);
        memcpy(copy + to, bytes + from, len);
        size_t rest = insert ? to : to + len;
        memcpy(copy + to + len, bytes + rest, n - rest);
        attempt(tally, copy, to + len + n - rest, 0, "splice", i);
    }
    free(copy);
}

static int damage_run(const char *path, size_t step) {
    Tally tally = {0, 0};
    Ctx *ctx = ctx_create(0);
    unsigned char *bytes;
    size_t n;
    if (!file_read(ctx, path, &bytes, &n)) {
        fputs(ctx->diag.text.at, stderr);
        return 2;
    }
    if (!attempt(&tally, bytes, n, 0, "whole", 0)) {
        printf("FAIL %s is refused\n", path);
        tally.failed++;
    }
    for (size_t i = 0; i < n; i += step) {
        unsigned char *cut = malloc(i + 1); /* exact, for ASan */
        memcpy(cut, bytes, i);
        attempt(&tally, cut, i, 0, "cut at byte", i);
        free(cut);
    }
    for (size_t i = 0; i < 8 * n; i += step) {
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
        attempt(&tally, bytes, n, 0, "flip of bit", i);
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
    }
    splice_run(&tally, bytes, n, 40000 / step);
    for (size_t i = 1; i < 100000; i += step)
        if (attempt(&tally, bytes, n, i, "allocation", i))
            break;
    ctx_free(ctx);
    printf("%ld passed, %ld failed\n", tally.passed, tally.failed);
    return tally.failed > 0;
}

/* All initialisers of a model as one sequence. */
static bool weights_copy(Ctx *ctx, const char *in, const char *out) {
    OnnxFile file;
    Onnx__ModelProto *m = onnx_load(ctx, in, &file);
    OnnxValue all = {.kind = ONNX_SEQUENCE};
    bool ok = m != NULL;
    if (ok) {
        all.nitem = (int)m->graph->n_initializer;
        all.item = ctx_newn(ctx, OnnxValue, all.nitem);
    }
    for (int i = 0; ok && i < all.nitem; i++)
        ok = onnx_tensor_bytes(ctx, &file, m->graph->initializer[i], NULL, &all.item[i].tensor);
    ok = ok && onnx_value_write(ctx, out, &all, NULL);
    onnx_close(&file);
    return ok;
}

/* Lines of "KIND IN OUT", or of "IN OUT" when `weights`. */
static int copy_run(bool weights) {
    char in[2048], out[2048];
    int kind = 0, passed = 0, failed = 0;
    while ((weights || scanf("%d", &kind) == 1) && scanf("%2047s %2047s", in, out) == 2) {
        Ctx *ctx = ctx_create(0);
        OnnxValue v;
        Str name;
        bool ok = weights ? weights_copy(ctx, in, out)
                          : onnx_value_file(ctx, in, (OnnxKind)kind, &v, &name) &&
                                onnx_value_write(ctx, out, &v, name);
        passed += ok;
        failed += !ok;
        if (!ok)
            printf("%s %d %s", in, ctx->diag.exit_code, ctx->diag.text.at);
        ctx_free(ctx);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--values") == 0)
        return copy_run(false);
    if (argc == 2 && strcmp(argv[1], "--weights") == 0)
        return copy_run(true);
    if (argc == 3 && atoi(argv[2]) > 0)
        return damage_run(argv[1], (size_t)atoi(argv[2]));
    fprintf(stderr, "usage: fuzz_load MODEL STEP | fuzz_load --values | fuzz_load --weights\n");
    return 2;
}
