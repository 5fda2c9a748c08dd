/* The C library from the outside (driver/lepton.h): compiling, errors, loading, running.
 *
 * Usage: api_test MODEL [tcc]; MODEL is samples/digits/digits.onnx, tcc: lcc was built with libtcc. The last line
 * is `N passed, N failed`. */
#include "driver/lepton.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Count {
    int passed, failed;
} Count;

static void ok(Count *c, const char *what, bool holds, const char *seen) {
    c->passed += holds;
    c->failed += !holds;
    if (!holds)
        printf("FAIL %s: %s\n", what, seen ? seen : "");
}

static unsigned char *slurp(const char *path, size_t *n) {
    enum { MOST = 1 << 20 };
    unsigned char *at = malloc(MOST);
    FILE *f = fopen(path, "rb");
    *n = at && f ? fread(at, 1, MOST, f) : 0;
    if (f)
        fclose(f);
    return at;
}

/* Ten probabilities for a blank picture; false: it did not run. */
static bool run(lepton_model *m, float *y) {
    const lepton_entry *e = lepton_load(m);
    float x[64] = {0};
    lepton_tensor in = {x, 64, {1, 1, 8, 8}, 4, 0}, out = {y, 10, {0}, 0, 0};
    if (!e)
        return false;
    size_t bytes = e->arena_bytes(NULL);
    char *block = malloc(bytes + 64);
    char *arena = block + (64 - (size_t)(uintptr_t)block % 64);
    bool good = block && !e->run(NULL, &in, &out, arena, bytes) && out.rank == 2 &&
                out.dims[0] == 1 && out.dims[1] == 10 && strstr(e->signature(), "\"schema\": 1");
    free(block);
    return good;
}

static void good_model(Count *c, const char *path, const char *jit) {
    static const char *const text[] = {"--target=c", "--prefix=net", NULL};
    static const char *const wide[] = {"--target=avx2", "--weights=obj", NULL};
    const char *loaded[] = {jit, NULL};
    float one[10], two[10], sum = 0;
    const char *name = "";
    size_t n, bytes = 0;
    unsigned char *at = slurp(path, &n);
    lepton_model *m = lepton_compile(at, n, text);
    memset(at, 0x5a, n); /* nothing points there any more */
    ok(c, "compiled from memory", m && !lepton_status(m), m ? lepton_messages(m) : "NULL");
    ok(c, "no messages", !lepton_messages(m)[0], lepton_messages(m));
    ok(c, "source", lepton_source(m) && strstr(lepton_source(m), "int net_run("), NULL);
    ok(c, "header", lepton_header(m) && strstr(lepton_header(m), "NET_ARENA_BYTES"), NULL);
    ok(c, "arena", lepton_arena(m) > 0, NULL);
    ok(c, "weights are inside", !lepton_weights(m, &name, &bytes), NULL);
    ok(c, "runs", run(m, one), lepton_messages(m));
    ok(c, "runs again", run(m, two) && !memcmp(one, two, sizeof one), lepton_messages(m));
    ok(c, "the text is still there", strstr(lepton_source(m), "int net_run(") != NULL, NULL);
    for (int i = 0; i < 10; i++)
        sum += one[i];
    ok(c, "probabilities", fabsf(sum - 1) < 1e-5f, NULL);
    lepton_free(m);
    free(at);
    m = lepton_compile_file(path, wide);
    ok(c, "weights beside", lepton_weights(m, &name, &bytes) && bytes > 80000, name);
    ok(c, "their name", !strcmp(name, "digits_weights.o"), name);
    lepton_free(m);
    m = lepton_compile_file(path, loaded);
    ok(c, jit, run(m, two) && fabsf(one[0] - two[0]) < 1e-5f, lepton_messages(m));
    lepton_free(m);
}

static void bad(Count *c, lepton_model *m, int code, const char *says) {
    ok(c, says, lepton_status(m) == code && strstr(lepton_messages(m), says), lepton_messages(m));
    ok(c, "no text after an error", !lepton_source(m) && !lepton_header(m) && !lepton_load(m),
       NULL);
    lepton_free(m);
}

static void bad_models(Count *c, const char *path) {
    static const char *const option[] = {"--tarqet=c", NULL}, *const dump[] = {"--dump=all", NULL},
                             *const word[] = {"check", NULL}, *const dim[] = {"--dim=n=2", NULL},
                             *const small[] = {"--max-memory=700K", NULL},
                             *const file[] = {"@no_such_file", NULL},
                             *const tcc[] = {"--target=avx2", "--jit=tcc", NULL};
    size_t n;
    unsigned char *at = slurp(path, &n);
    bad(c, lepton_compile("", 0, NULL), 3, "empty");
    bad(c, lepton_compile("hello, world", 12, NULL), 3, "not an ONNX model");
    bad(c, lepton_compile(at, n / 2, NULL), 3, "not an ONNX model");
    bad(c, lepton_compile_file("no_such.onnx", NULL), 6, "no_such.onnx: error: cannot open");
    bad(c, lepton_compile(at, n, option), 2, "did you mean --target?");
    bad(c, lepton_compile(at, n, dump), 2, "only the command has");
    bad(c, lepton_compile(at, n, word), 2, "check is no option");
    bad(c, lepton_compile(at, n, dim), 2, "no input has such a dimension");
    bad(c, lepton_compile(at, n, small), 5, "more than the limit");
    bad(c, lepton_compile(at, n, file), 6, "cannot open");
    lepton_model *m = lepton_compile(at, n, tcc);
    ok(c, "vectors by tcc", !lepton_load(m) && lepton_status(m) == 2, lepton_messages(m));
    ok(c, "the text stays", lepton_source(m) != NULL, NULL);
    lepton_free(m);
    lepton_free(NULL);
    free(at);
}

typedef struct Job {
    const char *path;
    char *text;
} Job;

static void *compile_one(void *data) {
    Job *job = data;
    lepton_model *m = lepton_compile_file(job->path, NULL);
    const char *s = lepton_source(m);
    job->text = s ? malloc(strlen(s) + 1) : NULL;
    if (job->text)
        strcpy(job->text, s);
    lepton_free(m);
    return NULL;
}

/* Several at once give the same bytes. */
static void threads(Count *c, const char *path) {
    enum { N = 4 };
    pthread_t thread[N];
    Job job[N];
    for (int i = 0; i < N; i++) {
        job[i] = (Job){path, NULL};
        ok(c, "thread", !pthread_create(&thread[i], NULL, compile_one, &job[i]), NULL);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(thread[i], NULL);
        ok(c, "equal text", job[i].text && !strcmp(job[i].text, job[0].text), NULL);
    }
    for (int i = 0; i < N; i++)
        free(job[i].text);
}

int main(int argc, char **argv) {
    Count c = {0, 0};
    if (argc < 2) {
        puts("usage: api_test MODEL [tcc]");
        return 2;
    }
    bool tcc = argc > 2 && !strcmp(argv[2], "tcc");
    good_model(&c, argv[1], tcc ? "--jit=tcc" : "--jit=cc");
    good_model(&c, argv[1], "--jit=cc");
    bad_models(&c, argv[1]);
    threads(&c, argv[1]);
    printf("%d passed, %d failed\n", c.passed, c.failed);
    return c.failed != 0;
}
