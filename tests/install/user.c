/* Two copies of one model in one program: other names, the same answer. */
#include "digits.h"
#include "other.h"
#include <stdio.h>

static unsigned char arena_a[DIGITS_ARENA_BYTES + 64], arena_b[AGAIN_ARENA_BYTES + 64];

static void *aligned(unsigned char *p) {
    return p + (64 - (size_t)p % 64) % 64;
}

int main(void) {
    float input[64] = {0}, a[10], b[10], sum = 0;
    for (int i = 0; i < 64; i++)
        input[i] = (float)(i % 8 == 4);
    if (digits_run(input, a, aligned(arena_a)) || again_run(input, b, aligned(arena_b)))
        return 1;
    for (int i = 0; i < 10; i++) {
        sum += a[i];
        if (a[i] - b[i] > 1e-4f || b[i] - a[i] > 1e-4f)
            return 2;
    }
    printf("sum of the probabilities: %f\n", (double)sum);
    return sum < 0.999f || sum > 1.001f;
}
