/* runtime-stub/dense.c — what is sequential by nature: determinants, NumPy's random numbers. */
#include "lcc.h"

#include <math.h>

/* lcc:piece lcc_det needs lcc_arg fabs */
/* in: f64 [n…, m, m]. out: f64 [n…]; f64 scratch [m * m]. Elimination with the largest pivot. */
static int lcc_det(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
                   const double *fattr) {
    const double *x = (const double *)in->data;
    double *y = (double *)out[0].data, *a = (double *)out[1].data, det, f;
    int64_t m = in->dims[in->rank - 1], size = m * m, n = 1, b, i, j, k, p;
    (void)nin, (void)nout, (void)attr, (void)fattr;
    for (i = 0; i < in->rank - 2; i++)
        n *= in->dims[i];
    for (b = 0; b < n; b++) {
        for (i = 0; i < size; i++)
            a[i] = x[b * size + i];
        det = 1;
        for (k = 0; k < m; k++) {
            for (p = k, i = k + 1; i < m; i++)
                if (fabs(a[i * m + k]) > fabs(a[p * m + k]))
                    p = i;
            det *= a[p * m + k];
            if (p != k)
                det = -det;
            for (j = k; j < m; j++) {
                f = a[p * m + j];
                a[p * m + j] = a[k * m + j];
                a[k * m + j] = f;
            }
            for (i = k + 1; i < m; i++) {
                f = a[k * m + k] == 0 ? 0 : a[i * m + k] / a[k * m + k];
                for (j = k; j < m; j++)
                    a[i * m + j] -= f * a[k * m + j];
            }
        }
        y[b] = det;
    }
    return 0;
}

/* lcc:piece lcc_mt_next */
/* The Mersenne twister: the next 32 bits; state[0..624), *at the place in it. */
static uint32_t lcc_mt_next(uint32_t *state, int *at) {
    uint32_t y;
    int k;
    if (*at == 624) {
        for (k = 0; k < 624; k++) {
            y = (state[k] & 0x80000000u) | (state[(k + 1) % 624] & 0x7fffffffu);
            state[k] = state[(k + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0u);
        }
        *at = 0;
    }
    y = state[(*at)++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* lcc:piece lcc_mt_uniform needs lcc_mt_next lcc_arg */
/* attr: seed. out: f64 numbers in [0, 1) as numpy.random.RandomState(seed) gives them; u32 scratch [624]. */
static int lcc_mt_uniform(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
                          const double *fattr) {
    double *y = (double *)out[0].data, a, b;
    uint32_t *state = (uint32_t *)out[1].data;
    int64_t n = 1, i;
    int at = 624;
    (void)in, (void)nin, (void)nout, (void)fattr;
    for (i = 0; i < out[0].rank; i++)
        n *= out[0].dims[i];
    state[0] = (uint32_t)((uint64_t)attr[0] & 0xffffffffu);
    for (i = 1; i < 624; i++)
        state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + (uint32_t)i;
    for (i = 0; i < n; i++) {
        a = (double)(lcc_mt_next(state, &at) >> 5);
        b = (double)(lcc_mt_next(state, &at) >> 6);
        y[i] = (a * 67108864.0 + b) / 9007199254740992.0;
    }
    return 0;
}
