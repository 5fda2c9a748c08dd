/* lcc run --profile: how long each kernel takes, from the table that codegen/c/profile.c puts beside the
 * entry. The model runs until half a second or two hundred runs are over; what counts is each call's median.
 *
 *   k00_conv  conv1  3 calls  12.40 us  41.2 % */
#include "driver/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS_MOST = 200, RUNS_LEAST = 5 };
#define NS_MOST 500000000u

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the runs of one jit_run left. */
typedef struct Sampling {
    const ProfileCall *table;
    int n, runs;
    uint64_t start, *before; /* before: of the last run, calls and ns of each row */
    double *sample;          /* RUNS_MOST a row */
    Profile *out;
} Sampling;

static bool sample_again(void *data) {
    Sampling *s = data;
    for (int i = 0; i < s->n; i++) {
        uint64_t *was = &s->before[2 * i];
        if (s->runs >= 0) {
            s->sample[(size_t)i * RUNS_MOST + (size_t)s->runs] =
                (double)(s->table[i].ns - was[1]) / 1e3;
            s->out->row[i].calls = (int64_t)(s->table[i].calls - was[0]);
        }
        was[0] = s->table[i].calls;
        was[1] = s->table[i].ns;
    }
    s->runs++;
    return s->runs < RUNS_LEAST || (s->runs < RUNS_MOST && now_ns() - s->start < NS_MOST);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A chain of multiplications and additions, four cycles a link, says how fast the processor runs. */
static double clock_ghz(void) {
    enum { LINKS = 1 << 20 };
    volatile uint64_t keep;
    double best = 0;
    for (int t = 0; t < 5; t++) {
        uint64_t x = (uint64_t)t, start = now_ns();
        for (int i = 0; i < LINKS; i++)
            x = x * 6364136223846793005u + 1442695040888963407u;
        keep = x;
        (void)keep;
        double ghz = 4.0 * LINKS / (double)(now_ns() - start);
        best = ghz > best ? ghz : best;
    }
    return best;
}

bool profile_run(Args *a, const Compiled *c, Jit *j, const int64_t *dims, const OnnxTensor *in,
                 OnnxTensor *out, Profile *p) {
    Ctx *ctx = a->ctx;
    Sampling s = {.table = j->profile, .runs = -1, .out = p};
    while (s.table && s.table[s.n].kernel)
        s.n++;
    p->n = s.n;
    p->row = ctx_newn(ctx, ProfileRow, s.n);
    s.before = ctx_newn(ctx, uint64_t, 2 * s.n);
    s.sample = ctx_newn(ctx, double, (int64_t)s.n *RUNS_MOST);
    s.start = now_ns();
    j->again = sample_again;
    j->data = &s;
    if (!jit_run(a, c, j, dims, in, out))
        return false;
    p->runs = s.runs;
    p->ghz = clock_ghz();
    p->total = 0;
    for (int i = 0; i < s.n; i++) {
        double *sample = &s.sample[(size_t)i * RUNS_MOST];
        qsort(sample, (size_t)s.runs, sizeof *sample, by_value);
        p->row[i].kernel = s.table[i].kernel;
        p->row[i].node = s.table[i].node;
        p->row[i].us = sample[s.runs / 2];
        p->total += p->row[i].us;
    }
    return true;
}

static void profile_json(Args *a, const Compiled *c, const Profile *p, Text *t) {
    text_f(t,
           "{\"schema\": 1, \"target\": \"%s\", \"sha256\": \"%s\", \"runs\": %d, \"ghz\": %.3f, "
           "\"us\": %.3f,\n \"kernels\": [",
           c->machine->name, c->file.sha256, p->runs, p->ghz, p->total);
    for (int i = 0; i < p->n; i++) {
        text_s(t, i ? ",\n  {\"kernel\": " : "\n  {\"kernel\": ");
        json_text(t, p->row[i].kernel);
        text_s(t, ", \"node\": ");
        json_text(t, p->row[i].node);
        text_f(t, ", \"calls\": %lld, \"us\": %.3f}", (long long)p->row[i].calls, p->row[i].us);
    }
    text_s(t, "]}\n");
    (void)a;
}

bool profile_write(Args *a, const Compiled *c, const Profile *p, const char *path) {
    Text t = text_new(a->ctx);
    if (strcmp(path, "-")) {
        profile_json(a, c, p, &t);
        return file_write(a->ctx, path, t.at, t.len);
    }
    for (int i = 0; i < p->n; i++) {
        const ProfileRow *r = &p->row[i];
        fprintf(stderr, "%10.2f us %5.1f %%  %s  %s", r->us,
                p->total > 0 ? 100 * r->us / p->total : 0, r->kernel, r->node);
        fprintf(stderr, r->calls == 1 ? "\n" : "  (%lld calls)\n", (long long)r->calls);
    }
    fprintf(stderr, "%10.2f us in all, medians of %d runs\n", p->total, p->runs);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------------------- */

/* The text behind the quote at *at, which moves behind the closing one. */
static Str quoted(Ctx *ctx, const char **at) {
    Text t = text_new(ctx);
    text_s(&t, "");
    for (++*at; **at && **at != '"'; ++*at) {
        *at += **at == '\\' && (*at)[1];
        text_c(&t, **at);
    }
    *at += **at == '"';
    return str(ctx, t.at);
}

static const char *skip_blanks(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* One member `"name": value` of the file; those of a kernel's row follow its name. */
static void member_read(Ctx *ctx, Profile *p, int most, Str name, const char **at) {
    ProfileRow *row = p->n ? &p->row[p->n - 1] : NULL;
    if (**at == '"') {
        Str value = quoted(ctx, at);
        if (!strcmp(name, "kernel") && p->n < most)
            p->row[p->n++] = (ProfileRow){.kernel = value};
        return;
    }
    char *end;
    double v = strtod(*at, &end);
    if (end == *at)
        return;
    *at = end;
    if (!strcmp(name, "ghz"))
        p->ghz = v;
    if (row && !strcmp(name, "us"))
        row->us = v;
    if (row && !strcmp(name, "calls") && v >= 0 && v < 1e9)
        row->calls = (int64_t)v;
    if (row &&
        !strcmp(name, "part")) /* only bench's rows say it, and their time is that of one call */
        row->us *= (double)row->calls;
    if (row && !strcmp(name, "share"))
        row->share = v;
}

bool profile_read(Args *a, const char *path, Profile *p) {
    Ctx *ctx = a->ctx;
    unsigned char *bytes;
    size_t n;
    if (!file_read(ctx, path, &bytes, &n))
        return false;
    const char *at = str_n(ctx, (const char *)bytes, n);
    int most = 0;
    for (const char *c = at; (c = strstr(c, "\"kernel\"")); c++)
        most++;
    p->row = ctx_newn(ctx, ProfileRow, most + 1);
    while (*at) {
        if (*at != '"') {
            at++;
            continue;
        }
        Str name = quoted(ctx, &at);
        at = skip_blanks(at);
        if (*at != ':')
            continue;
        at = skip_blanks(at + 1);
        member_read(ctx, p, most, name, &at);
    }
    for (int i = 0; i < p->n; i++)
        if (p->row[i].us > 0)
            return true;
    diag_error(ctx, EXIT_MALFORMED, NULL, "%s holds no times of kernels", path);
    diag_note(ctx, "lcc run MODEL.onnx … --profile=%s writes them", path);
    return false;
}
