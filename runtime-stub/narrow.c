/* runtime-stub/narrow.c — floats below 32 bits: bits to f32 and back, rounding to nearest even.
 *
 * lcc_f32_to_X saturates where ONNX does (types of one byte); lcc_f32_to_X_wide overflows to infinity or
 * NaN instead. */
#include "lcc.h"
#include "num.c"

/* lcc:piece lcc_small_to_f32 needs lcc_bits_f32 */
/* Magnitude of a finite code with mbits of mantissa. */
static inline float lcc_small_to_f32(uint32_t code, int mbits, int bias) {
    uint32_t e = code >> mbits, m = code & ((1u << mbits) - 1u);
    if (e == 0)
        return (float)(int32_t)m * lcc_bits_f32((uint32_t)(128 - bias - mbits) << 23);
    return lcc_bits_f32((e + 127u - (uint32_t)bias) << 23 | m << (23 - mbits));
}

/* lcc:piece lcc_small_from_f32 needs lcc_bits_f32 lcc_f32_bits */
/* Code of the finite magnitude with bits a; may lie above the largest code. */
static inline uint32_t lcc_small_from_f32(uint32_t a, int mbits, int bias) {
    int drop = 23 - mbits;
    if (a < (uint32_t)(128 - bias) << 23) {
        float scaled = lcc_bits_f32(a) * lcc_bits_f32((uint32_t)(126 + mbits + bias) << 23);
        return lcc_f32_bits(scaled + 8388608.0f) & 0x7fffffu;
    }
    a += (1u << (drop - 1)) - 1u + (a >> drop & 1u);
    return (a >> drop) - ((127u - (uint32_t)bias) << mbits);
}

/* lcc:piece lcc_f8_from_f32 needs lcc_small_from_f32 lcc_f32_bits */
/* over, inf, nan: codes for a finite overflow, an infinity, a NaN; fnuz: no negative zero, one NaN. */
static inline uint8_t lcc_f8_from_f32(float x, int mbits, int bias, uint32_t max, uint32_t over,
                                      uint32_t inf, uint32_t nan, int fnuz) {
    uint32_t u = lcc_f32_bits(x), a = u & 0x7fffffffu, sign = u >> 31 << 7, code;
    if (a > 0x7f800000u)
        code = nan;
    else if (a == 0x7f800000u)
        code = inf;
    else {
        code = lcc_small_from_f32(a, mbits, bias);
        if (code > max)
            code = over;
    }
    if (fnuz && (code == 0 || code == 0x80u))
        return (uint8_t)code;
    return (uint8_t)(code | sign);
}

/* lcc:piece lcc_f16_to_f32 needs lcc_small_to_f32 lcc_bits_f32 */
static inline float lcc_f16_to_f32(uint16_t x) {
    uint32_t code = x & 0x7fffu;
    float v = code < 0x7c00u ? lcc_small_to_f32(code, 10, 15)
                             : lcc_bits_f32(code == 0x7c00u ? 0x7f800000u : 0x7fc00000u);
    return x >> 15 ? -v : v;
}

/* lcc:piece lcc_f32_to_f16 needs lcc_small_from_f32 lcc_f32_bits */
static inline uint16_t lcc_f32_to_f16(float x) {
    uint32_t u = lcc_f32_bits(x), a = u & 0x7fffffffu, code;
    if (a > 0x7f800000u)
        code = 0x7e00u;
    else
        code = a >= 0x477ff000u ? 0x7c00u : lcc_small_from_f32(a, 10, 15);
    return (uint16_t)(code | u >> 31 << 15);
}

/* lcc:piece lcc_bf16_to_f32 needs lcc_bits_f32 */
static inline float lcc_bf16_to_f32(uint16_t x) {
    return lcc_bits_f32((uint32_t)x << 16);
}

/* lcc:piece lcc_f32_to_bf16 needs lcc_f32_bits */
static inline uint16_t lcc_f32_to_bf16(float x) {
    uint32_t u = lcc_f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 31 << 15 | 0x7fc0u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* lcc:piece lcc_f64_to_f32_odd needs lcc_f32_bits lcc_bits_f32 */
/* Toward zero, with the last bit set when inexact: rounding the result again is as rounding x once. */
static inline float lcc_f64_to_f32_odd(double x) {
    float f = (float)x;
    double d = (double)f;
    uint32_t u = lcc_f32_bits(f);
    if (d == x || x != x)
        return f;
    if (x < 0.0 ? d < x : d > x)
        u--;
    return lcc_bits_f32(u | 1u);
}

/* lcc:piece lcc_f64_to_f16 needs lcc_f64_to_f32_odd lcc_f32_to_f16 */
static inline uint16_t lcc_f64_to_f16(double x) {
    return lcc_f32_to_f16(lcc_f64_to_f32_odd(x));
}

/* lcc:piece lcc_f8e4m3fn_to_f32 needs lcc_small_to_f32 lcc_bits_f32 */
static inline float lcc_f8e4m3fn_to_f32(uint8_t x) {
    uint32_t code = x & 0x7fu;
    float v = code == 0x7fu ? lcc_bits_f32(0x7fc00000u) : lcc_small_to_f32(code, 3, 7);
    return x >> 7 ? -v : v;
}

/* lcc:piece lcc_f8e4m3fnuz_to_f32 needs lcc_small_to_f32 lcc_bits_f32 */
static inline float lcc_f8e4m3fnuz_to_f32(uint8_t x) {
    float v = x == 0x80u ? lcc_bits_f32(0x7fc00000u) : lcc_small_to_f32(x & 0x7fu, 3, 8);
    return x >> 7 && x != 0x80u ? -v : v;
}

/* lcc:piece lcc_f8e5m2_to_f32 needs lcc_small_to_f32 lcc_bits_f32 */
static inline float lcc_f8e5m2_to_f32(uint8_t x) {
    uint32_t code = x & 0x7fu;
    float v = code < 0x7cu ? lcc_small_to_f32(code, 2, 15)
                           : lcc_bits_f32(code == 0x7cu ? 0x7f800000u : 0x7fc00000u);
    return x >> 7 ? -v : v;
}

/* lcc:piece lcc_f8e5m2fnuz_to_f32 needs lcc_small_to_f32 lcc_bits_f32 */
static inline float lcc_f8e5m2fnuz_to_f32(uint8_t x) {
    float v = x == 0x80u ? lcc_bits_f32(0x7fc00000u) : lcc_small_to_f32(x & 0x7fu, 2, 16);
    return x >> 7 && x != 0x80u ? -v : v;
}

/* lcc:piece lcc_f8e8m0_to_f32 needs lcc_bits_f32 */
static inline float lcc_f8e8m0_to_f32(uint8_t x) {
    if (x == 0xffu)
        return lcc_bits_f32(0x7fc00000u);
    return lcc_bits_f32(x ? (uint32_t)x << 23 : 0x400000u);
}

/* lcc:piece lcc_f4e2m1_to_f32 needs lcc_small_to_f32 */
static inline float lcc_f4e2m1_to_f32(uint8_t x) {
    float v = lcc_small_to_f32(x & 7u, 1, 1);
    return x & 8u ? -v : v;
}

/* lcc:piece lcc_f32_to_f8e4m3fn needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e4m3fn(float x) {
    return lcc_f8_from_f32(x, 3, 7, 0x7e, 0x7e, 0x7e, 0x7f, 0);
}

/* lcc:piece lcc_f32_to_f8e4m3fn_wide needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e4m3fn_wide(float x) {
    return lcc_f8_from_f32(x, 3, 7, 0x7e, 0x7f, 0x7f, 0x7f, 0);
}

/* lcc:piece lcc_f32_to_f8e4m3fnuz needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e4m3fnuz(float x) {
    return lcc_f8_from_f32(x, 3, 8, 0x7f, 0x7f, 0x7f, 0x80, 1);
}

/* lcc:piece lcc_f32_to_f8e4m3fnuz_wide needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e4m3fnuz_wide(float x) {
    return lcc_f8_from_f32(x, 3, 8, 0x7f, 0x80, 0x80, 0x80, 1);
}

/* lcc:piece lcc_f32_to_f8e5m2 needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e5m2(float x) {
    return lcc_f8_from_f32(x, 2, 15, 0x7b, 0x7b, 0x7b, 0x7e, 0);
}

/* lcc:piece lcc_f32_to_f8e5m2_calc needs lcc_f8_from_f32 */
/* Of a computed value: an infinity stays one. */
static inline uint8_t lcc_f32_to_f8e5m2_calc(float x) {
    return lcc_f8_from_f32(x, 2, 15, 0x7b, 0x7b, 0x7c, 0x7e, 0);
}

/* lcc:piece lcc_f32_to_f8e5m2_wide needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e5m2_wide(float x) {
    return lcc_f8_from_f32(x, 2, 15, 0x7b, 0x7c, 0x7c, 0x7e, 0);
}

/* lcc:piece lcc_f32_to_f8e5m2fnuz needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e5m2fnuz(float x) {
    return lcc_f8_from_f32(x, 2, 16, 0x7f, 0x7f, 0x7f, 0x80, 1);
}

/* lcc:piece lcc_f32_to_f8e5m2fnuz_wide needs lcc_f8_from_f32 */
static inline uint8_t lcc_f32_to_f8e5m2fnuz_wide(float x) {
    return lcc_f8_from_f32(x, 2, 16, 0x7f, 0x80, 0x80, 0x80, 1);
}

/* lcc:piece lcc_f8e8m0_code needs lcc_f32_bits */
/* The nearest power of two of |x|, halves upwards; over: the code above 2^127. */
static inline uint8_t lcc_f8e8m0_code(float x, uint8_t over) {
    uint32_t a = lcc_f32_bits(x) & 0x7fffffffu, e = a >> 23;
    if (e == 255u)
        return 0xff;
    if (e == 0)
        return a > 0x400000u;
    e += a >> 22 & 1u;
    return e > 254u ? over : (uint8_t)e;
}

/* lcc:piece lcc_f32_to_f8e8m0 needs lcc_f8e8m0_code */
static inline uint8_t lcc_f32_to_f8e8m0(float x) {
    return lcc_f8e8m0_code(x, 0xfe);
}

/* lcc:piece lcc_f32_to_f8e8m0_wide needs lcc_f8e8m0_code */
static inline uint8_t lcc_f32_to_f8e8m0_wide(float x) {
    return lcc_f8e8m0_code(x, 0xff);
}

/* lcc:piece lcc_f32_to_f4e2m1 needs lcc_small_from_f32 lcc_f32_bits */
/* No infinity and no NaN: NaN gives -0, with its sign set 0. */
static inline uint8_t lcc_f32_to_f4e2m1(float x) {
    uint32_t u = lcc_f32_bits(x), a = u & 0x7fffffffu, code;
    if (a > 0x7f800000u)
        return u >> 31 ? 0 : 8;
    code = a > 0x40c00000u ? 7 : lcc_small_from_f32(a, 1, 1);
    return (uint8_t)(code | u >> 31 << 3);
}

/* lcc:piece lcc_f32_to_f4e2m1_wide needs lcc_f32_to_f4e2m1 */
static inline uint8_t lcc_f32_to_f4e2m1_wide(float x) {
    return lcc_f32_to_f4e2m1(x);
}
