/* Runs a compiled model through its bridge (docs/bridge.md) under a sanitizer: every buffer is an
 * allocation of its own of exactly the bytes promised, so that one element too far is seen.
 *
 *     harness                    prints the signature
 *     harness IN OUT [TIMES]     the files of outside.py, words of 8 bytes in this machine's order
 * IN:  extra bytes of arena, dims, inputs (kind, element bytes, count, rank, extents, data), outputs
 *      (kind, element bytes, capacity); kind 1 is a text: each element a length and bytes.
 * OUT: the code; if 0, of each output rank, extents, data; if 2 (LCC_ECAPACITY), rank and extents.
 * Each run starts with another arena content and must give the same bytes. Exit code 3: it did not. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANK = 8, DIMS = 256, TEXT = 1, ECAPACITY = 2, DIFFERS = 3, TROUBLE = 4 };

typedef struct lepton_tensor {
    void *data;
    int64_t count;
    int64_t dims[RANK];
    int32_t rank;
    int32_t reserved;
} lepton_tensor;
const char *lepton_signature(void);
size_t lepton_arena_bytes(const int64_t *dims);
int lepton_run(const int64_t *dims, const lepton_tensor *in, lepton_tensor *out, void *arena,
               size_t arena_bytes);

#ifdef HARNESS_THREADS
/* Every run by so many threads, of a pool of its own. */
size_t lepton_pool_bytes(int threads);
void *lepton_pool_start(void *memory, int threads);
void lepton_pool_stop(void *pool);
int lepton_run_on(void *pool, const int64_t *dims, const lepton_tensor *in, lepton_tensor *out,
                  void *arena, size_t arena_bytes);
#endif

typedef struct Text {
    const char *data;
    int64_t len;
} Text;
typedef struct Port {
    lepton_tensor t;
    int64_t kind, bytes; /* of an element */
    void *before;        /* what an input held */
} Port;

static void trouble(const char *what) {
    fprintf(stderr, "harness: %s\n", what);
    exit(TROUBLE);
}

static void get(FILE *f, void *to, size_t n) {
    if (n && fread(to, 1, n, f) != n)
        trouble("the input file is too short");
}

static int64_t get_word(FILE *f) {
    int64_t word = 0;
    get(f, &word, sizeof word);
    return word;
}

static void put(FILE *f, const void *from, size_t n) {
    if (n && fwrite(from, 1, n, f) != n)
        trouble("cannot write");
}

static void put_word(FILE *f, int64_t word) {
    put(f, &word, sizeof word);
}

/* Exactly n bytes; address divisible by 64 where it matters. Room for 0 bytes is not NULL either. */
static void *block(size_t n, size_t align) {
    void *p = NULL;
    if (posix_memalign(&p, align, n ? n : 1) != 0)
        trouble("no memory");
    return p;
}

static void input_read(FILE *f, Port *p) {
    p->kind = get_word(f);
    p->bytes = get_word(f);
    p->t.count = get_word(f);
    p->t.rank = (int32_t)get_word(f);
    for (int i = 0; i < p->t.rank && i < RANK; i++)
        p->t.dims[i] = get_word(f);
    size_t n = (size_t)(p->t.count * p->bytes);
    p->t.data = block(n, 16);
    p->before = block(n, 16);
    Text *text = p->t.data;
    for (int64_t i = 0; p->kind == TEXT && i < p->t.count; i++) {
        text[i].len = get_word(f);
        char *bytes = block((size_t)text[i].len, 16);
        get(f, bytes, (size_t)text[i].len);
        text[i].data = bytes;
    }
    if (p->kind != TEXT)
        get(f, p->t.data, n);
    memcpy(p->before, p->t.data, n);
}

static void output_write(FILE *f, const Port *p, int code) {
    put_word(f, p->t.rank);
    int64_t count = 1;
    for (int i = 0; i < p->t.rank; i++) {
        put_word(f, p->t.dims[i]);
        count *= p->t.dims[i];
    }
    const Text *text = p->t.data;
    if (code == ECAPACITY)
        return;
    for (int64_t i = 0; p->kind == TEXT && i < count; i++) {
        put_word(f, text[i].len);
        put(f, text[i].data, (size_t)text[i].len);
    }
    if (p->kind != TEXT)
        put(f, p->t.data, (size_t)(count * p->bytes));
}

/* Under MSan the arena stays as it is: reading it before writing it is what MSan sees. */
static void fill(void *arena, size_t n, int byte) {
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
    n = 0;
#endif
#endif
    memset(arena, byte, n);
}

typedef struct Job {
    int64_t dims[DIMS], extra;
    Port *in, *out;
    int64_t nin, nout;
} Job;

static void job_read(FILE *f, Job *j) {
    j->extra = get_word(f);
    int64_t ndims = get_word(f);
    if (ndims > DIMS)
        trouble("too many dims");
    for (int64_t i = 0; i < ndims; i++)
        j->dims[i] = get_word(f);
    j->nin = get_word(f);
    j->in = calloc((size_t)j->nin + 1, sizeof *j->in);
    for (int64_t i = 0; i < j->nin; i++)
        input_read(f, &j->in[i]);
    j->nout = get_word(f);
    j->out = calloc((size_t)j->nout + 1, sizeof *j->out);
    for (int64_t i = 0; i < j->nout; i++) {
        Port *p = &j->out[i];
        p->kind = get_word(f);
        p->bytes = get_word(f);
        p->t.count = get_word(f);
        p->t.data = block((size_t)(p->t.count * p->bytes), 16);
    }
}

static int job_run(Job *j, int byte, FILE *result) {
    size_t size = lepton_arena_bytes(j->dims) + (size_t)j->extra;
    void *arena = block(size, 64);
    lepton_tensor *in = calloc((size_t)j->nin + 1, sizeof *in);
    lepton_tensor *out = calloc((size_t)j->nout + 1, sizeof *out);
    for (int64_t i = 0; i < j->nin; i++)
        in[i] = j->in[i].t;
    for (int64_t i = 0; i < j->nout; i++)
        out[i] = j->out[i].t;
    fill(arena, size, byte);
#ifdef HARNESS_THREADS
    void *memory = block(lepton_pool_bytes(HARNESS_THREADS), 16);
    void *pool = lepton_pool_start(memory, HARNESS_THREADS);
    int code = lepton_run_on(pool, j->dims, in, out, arena, size);
    lepton_pool_stop(pool);
    free(memory);
#else
    int code = lepton_run(j->dims, in, out, arena, size);
#endif
    put_word(result, code);
    for (int64_t i = 0; i < j->nout && (code == 0 || code == ECAPACITY); i++) {
        j->out[i].t.rank = out[i].rank;
        memcpy(j->out[i].t.dims, out[i].dims, sizeof out[i].dims);
        output_write(result, &j->out[i], code);
    }
    for (int64_t i = 0; i < j->nin; i++)
        if (memcmp(j->in[i].before, j->in[i].t.data, (size_t)(j->in[i].t.count * j->in[i].bytes)) !=
            0)
            trouble("the run changed an input");
    free(arena);
    free(in);
    free(out);
    return code;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return puts(lepton_signature()) < 0;
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (!in || !out)
        trouble("cannot open the files");
    Job j = {.nin = 0};
    job_read(in, &j);
    char *first = NULL;
    size_t first_len = 0;
    int times = argc > 3 ? atoi(argv[3]) : 2;
    for (int i = 0; i < times; i++) {
        char *text = NULL;
        size_t len = 0;
        FILE *result = open_memstream(&text, &len);
        job_run(&j, i ? 0x5a : 0xff, result);
        fclose(result);
        if (first && (len != first_len || memcmp(first, text, len) != 0))
            return DIFFERS;
        if (first)
            free(text);
        else
            first = text, first_len = len;
    }
    put(out, first, first_len);
    free(first);
    fclose(in);
    return fclose(out) == 0 ? 0 : TROUBLE;
}
