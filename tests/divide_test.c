/* divide_parts against division: every significand for some divisors, floats of every exponent and the special ones
 * for many, bit by bit.
 *
 * Usage: divide_test [divisors [seed]]; the last line is `N passed, N failed`. */
#include "lower/lower.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EACH = 2000 }; /* divisors with some x for one with every significand */

static uint64_t state;

static uint32_t rnd(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static bool same(float x, float by, float high, float low) {
    volatile float part = x * low, right = x / by;
    float a = rintf(fmaf(x, high, part)), b = rintf(right);
    if ((isnan(a) && isnan(b)) || to_bits(a) == to_bits(b))
        return true;
    printf("%a / %a: %a, not %a\n", (double)x, (double)by, (double)a, (double)b);
    return false;
}

/* x goes where the quotient is near 1 and the product with it is rounded like any other of that significand. */
static bool every_significand(float by, float high, float low) {
    for (uint32_t i = 0; i < 1u << 23; i++) {
        volatile float x = 1.0f + (float)i * 0x1p-23f, d = by;
        int power;
        frexpf(by, &power);
        x = ldexpf(x, power);
        float part = x * low, right = x / d;
        if (fmaf(x, high, part) != right) { /* before rint, which would hide a last bit */
            printf("%a / %a: %a, not %a\n", (double)x, (double)by, (double)fmaf(x, high, part),
                   (double)right);
            return false;
        }
    }
    return true;
}

static bool some(float by, float high, float low) {
    static const uint32_t SPECIAL[] = {0,          1,          0x7f800000, 0x7fc00000,
                                       0x7f7fffff, 0x00800000, 0x007fffff};
    bool ok = true;
    for (size_t i = 0; i < sizeof SPECIAL / sizeof *SPECIAL; i++)
        ok &= same(from_bits(SPECIAL[i]), by, high, low) &&
              same(from_bits(SPECIAL[i] | 0x80000000), by, high, low);
    for (int i = 0; i < EACH && ok; i++)
        ok = same(from_bits(rnd()), by, high, low);
    for (int i = 0; i < EACH && ok; i++) /* near the halves that bytes come from */
        ok = same(from_bits(to_bits(((float)(rnd() % 512) + 0.5f) * by) + rnd() % 5 - 2), by, high,
                  low);
    return ok;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 10, found = 0, passed = 0, failed = 0;
    float high, low;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    static const double NONE[] = {0, -1, 0.25, INFINITY, NAN, 0.1, 0x1.8p-70, 0x1.8p90, 0x1p-149};
    for (size_t i = 0; i < sizeof NONE / sizeof *NONE; i++)
        *(divide_parts(NONE[i], &high, &low) ? &failed : &passed) += 1;
    for (int i = 0; i < n * EACH / 10; i++) {
        float by = ldexpf((float)((1u << 23) + rnd() % (1u << 23)), (int)(rnd() % 100) - 73);
        if (i % 8 == 0) /* close to a power of two */
            by = from_bits((rnd() % 60 + 100) << 23 | (1 + rnd() % 60));
        if (!divide_parts(by, &high, &low))
            continue;
        found++;
        bool ok = some(by, high, low) && (i % (EACH / 10) || every_significand(by, high, low));
        *(ok ? &passed : &failed) += 1;
    }
    bool most = found >= n * EACH / 10 / 20 * 19;
    printf("parts for %d of %d divisors\n", found, n * EACH / 10);
    *(most ? &passed : &failed) += 1;
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
