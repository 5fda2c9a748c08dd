/* Every float through functions that were generated, for run_math.py: the largest error in units of the last
 * place, and whether several versions (targets, widths) give the same bits. The reference is libm in double,
 * whose error (below 2^-51 relative, says glibc's manual) is under 2^-26 of a float's unit; one of STRIDE is
 * compared with long double. Built as a shared library; all_part may run in several threads. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 1 << 14, STRIDE = 1021 };

typedef int Run(const float *x, float *y, void *arena);

typedef struct Found {
    double worst,
        worst_reference; /* units in the last place; of the reference, against long double */
    uint32_t at;         /* bits of the input of `worst` */
    uint32_t differs_at; /* of one that versions disagree on */
    int32_t differs;     /* which version does, -1: none */
} Found;

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static long double sigmoidl(long double x) {
    return 1 / (1 + expl(-x));
}

/* In the order of BOUNDS in run_math.py. */
#define EACH(F)                                                                                    \
    F(exp), F(tanh), F(erf), F(log), F(sigmoid), F(sin), F(cos), F(tan), F(asin), F(acos),         \
        F(atan), F(sinh), F(cosh), F(asinh), F(acosh), F(atanh)
#define IN_DOUBLE(f) f
#define IN_LONG(f) f##l

static double (*const EXACT[])(double) = {EACH(IN_DOUBLE)};
static long double (*const EXACT_LONG[])(long double) = {EACH(IN_LONG)};

static uint32_t bits_of(float x) {
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* The distance of floats around y, 2^least at least. */
static double unit(double y, int least) {
    int e;
    if (y == 0 || isinf(y))
        return ldexp(1, y == 0 ? least : 104);
    (void)frexp(y, &e);
    return ldexp(1, e - 24 < least ? least : e - 24);
}

/* Infinite for a NaN or a zero of the wrong sign, and for an infinity where there is none. */
static double error(float got, double want, int least) {
    float near = (float)want;
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (isinf(got) || isinf(want) || (got == 0 && near == 0))
        return bits_of(got) == bits_of(near) ? 0 : INFINITY;
    return fabs((double)got - want) / unit(want, least);
}

static void differ(Found *f, const float *x, const float *y, const float *z, int version) {
    for (int i = 0; i < BLOCK && f->differs < 0; i++)
        if (bits_of(y[i]) != bits_of(z[i]) && !(isnan(y[i]) && isnan(z[i]))) {
            f->differs = version;
            f->differs_at = bits_of(x[i]);
        }
}

/* Floats whose bits are first to first + blocks * BLOCK - 1. run[v] takes width[v] of them; run[0] is measured,
 * the others are to give the same bits. An error counts in units of 2^least at least. */
void all_part(int op, int least, Run *const *run, const int32_t *width, int versions,
              uint32_t first, int blocks, Found *f) {
    static _Thread_local float x[BLOCK], y[BLOCK], z[BLOCK];
    *f = (Found){0, 0, 0, 0, -1};
    for (int b = 0; b < blocks; b++, first += BLOCK) {
        for (uint32_t i = 0; i < BLOCK; i++) {
            uint32_t bits = first + i;
            memcpy(&x[i], &bits, sizeof bits);
        }
        for (int v = 0; v < versions; v++) {
            for (int i = 0; i < BLOCK; i += width[v])
                run[v](x + i, (v ? z : y) + i, NULL);
            if (v && memcmp(y, z, sizeof y) != 0)
                differ(f, x, y, z, v);
        }
        for (int i = 0; i < BLOCK; i++) {
            double want = EXACT[op]((double)x[i]), e = error(y[i], want, least);
            if (e > f->worst) {
                f->worst = e;
                f->at = bits_of(x[i]);
            }
            if (bits_of(x[i]) % STRIDE == 0 && isfinite(want)) {
                double by = (double)(fabsl((long double)want - EXACT_LONG[op]((long double)x[i])) /
                                     (long double)unit(want, least));
                f->worst_reference = fmax(f->worst_reference, by);
            }
        }
    }
}
