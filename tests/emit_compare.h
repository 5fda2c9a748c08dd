/* tests/emit_compare.h — comparing one output with what was expected (emit_test.c's programs). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exponent and mantissa bits of the float types. */
static int is_nan_or_zero(const unsigned char *p, int bytes, const char *type, int zero) {
    unsigned long long u = 0, body, exponent;
    int mantissa = !strcmp(type, "f64")      ? 52
                   : !strcmp(type, "f32")    ? 23
                   : !strcmp(type, "f16")    ? 10
                   : !strcmp(type, "bf16")   ? 7
                   : !strcmp(type, "f8e5m2") ? 2
                                             : 3;
    memcpy(&u, p, (size_t)bytes);
    body = u & (~0ull >> (65 - 8 * bytes));
    if (zero)
        return body == 0;
    if (type[0] == 'f' && bytes == 1 && strcmp(type, "f8e5m2"))
        return !strcmp(type, "f8e4m3fn") && body == 0x7f;
    exponent = (~0ull >> (65 - 8 * bytes)) >> mantissa << mantissa;
    return (body & exponent) == exponent && body != exponent;
}

/* A file's bytes, 64-byte aligned. */
static void *load(const char *path) {
    FILE *f = fopen(path, "rb");
    char *room = (char *)malloc(1 << 20), *at = room + 64 - ((size_t)room & 63);
    return f && fread(at, 1, (1 << 20) - 64, f) > 0 ? at : NULL;
}

static int compare(FILE *g, const void *got, long n, int bytes, const char *type,
                   const char *what) {
    unsigned char want[16];
    const unsigned char *p = (const unsigned char *)got;
    int bad = 0, is_float = type[0] == 'f' || type[0] == 'b' && type[1] == 'f';
    for (long i = 0; i < n; i++, p += bytes) {
        if (fread(want, 1, (size_t)bytes, g) != (size_t)bytes)
            return 1;
        if (memcmp(p, want, (size_t)bytes) == 0)
            continue;
        if (is_float && bytes <= 8 &&
            ((is_nan_or_zero(p, bytes, type, 0) && is_nan_or_zero(want, bytes, type, 0)) ||
             (is_nan_or_zero(p, bytes, type, 1) && is_nan_or_zero(want, bytes, type, 1))))
            continue;
        if (bad++ < 3) {
            unsigned long long a = 0, b = 0;
            memcpy(&a, p, (size_t)bytes);
            memcpy(&b, want, (size_t)bytes);
            printf("%s (%s) [%ld]: got %llx, want %llx\n", what, type, i, a, b);
        }
    }
    return bad;
}
