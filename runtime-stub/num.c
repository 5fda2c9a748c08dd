/* runtime-stub/num.c — numbers: integer operations C leaves undefined, conversions that saturate,
 * floats below 32 bits. What each means is stated in ir/ops.def. */
#include "lcc.h"

#include <math.h>

/* lcc:piece lcc_f32_bits */
static inline uint32_t lcc_f32_bits(float x) {
    union {
        float f;
        uint32_t u;
    } b;
    b.f = x;
    return b.u;
}

/* lcc:piece lcc_bits_f32 */
static inline float lcc_bits_f32(uint32_t x) {
    union {
        uint32_t u;
        float f;
    } b;
    b.u = x;
    return b.f;
}

/* lcc:piece lcc_f64_bits */
static inline uint64_t lcc_f64_bits(double x) {
    union {
        double f;
        uint64_t u;
    } b;
    b.f = x;
    return b.u;
}

/* lcc:piece lcc_bits_f64 */
static inline double lcc_bits_f64(uint64_t x) {
    union {
        uint64_t u;
        double f;
    } b;
    b.u = x;
    return b.f;
}

/* lcc:piece lcc_min_f32 */
/* NaN wins. */
static inline float lcc_min_f32(float a, float b) {
    return a < b || a != a ? a : b;
}

/* lcc:piece lcc_max_f32 */
/* NaN wins. */
static inline float lcc_max_f32(float a, float b) {
    return a > b || a != a ? a : b;
}

/* lcc:piece lcc_min_f64 */
/* NaN wins. */
static inline double lcc_min_f64(double a, double b) {
    return a < b || a != a ? a : b;
}

/* lcc:piece lcc_max_f64 */
/* NaN wins. */
static inline double lcc_max_f64(double a, double b) {
    return a > b || a != a ? a : b;
}

/* lcc:piece lcc_isnan_f32 */
static inline int lcc_isnan_f32(float x) {
    return x != x;
}

/* lcc:piece lcc_isnan_f64 */
static inline int lcc_isnan_f64(double x) {
    return x != x;
}

/* lcc:piece lcc_isinf_f32 */
static inline int lcc_isinf_f32(float x) {
    return x > 3.4028235e38f || x < -3.4028235e38f;
}

/* lcc:piece lcc_isinf_f64 */
static inline int lcc_isinf_f64(double x) {
    return x > 1.7976931348623157e308 || x < -1.7976931348623157e308;
}

/* lcc:piece lcc_sigmoid_f64 needs exp fabs */
/* With digits in the tail below 0, too. */
static inline double lcc_sigmoid_f64(double a) {
    double e = exp(-fabs(a));
    return (a < 0.0 ? e : 1.0) / (1.0 + e);
}

/* lcc:piece lcc_mod_f32 needs fmodf copysignf */
/* Remainder with the sign of b. */
static inline float lcc_mod_f32(float a, float b) {
    float r = fmodf(a, b);
    if (r == 0.0f)
        return copysignf(0.0f, b);
    return (r < 0.0f) != (b < 0.0f) ? r + b : r;
}

/* lcc:piece lcc_mod_f64 needs fmod copysign */
/* Remainder with the sign of b. */
static inline double lcc_mod_f64(double a, double b) {
    double r = fmod(a, b);
    if (r == 0.0)
        return copysign(0.0, b);
    return (r < 0.0) != (b < 0.0) ? r + b : r;
}

/* lcc:piece lcc_min_i32 */
static inline int32_t lcc_min_i32(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* lcc:piece lcc_max_i32 */
static inline int32_t lcc_max_i32(int32_t a, int32_t b) {
    return a > b ? a : b;
}

/* lcc:piece lcc_min_i64 */
static inline int64_t lcc_min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* lcc:piece lcc_max_i64 */
static inline int64_t lcc_max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* lcc:piece lcc_min_u32 */
static inline uint32_t lcc_min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* lcc:piece lcc_max_u32 */
static inline uint32_t lcc_max_u32(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* lcc:piece lcc_min_u64 */
static inline uint64_t lcc_min_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* lcc:piece lcc_max_u64 */
static inline uint64_t lcc_max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* lcc:piece lcc_div_i32 */
/* Toward zero; x/0 = 0, MIN/-1 = MIN. */
static inline int32_t lcc_div_i32(int32_t a, int32_t b) {
    if (b == 0)
        return 0;
    return b == -1 ? (int32_t)(0u - (uint32_t)a) : a / b;
}

/* lcc:piece lcc_div_i64 */
/* Toward zero; x/0 = 0, MIN/-1 = MIN. */
static inline int64_t lcc_div_i64(int64_t a, int64_t b) {
    if (b == 0)
        return 0;
    return b == -1 ? (int64_t)(0u - (uint64_t)a) : a / b;
}

/* lcc:piece lcc_div_u32 */
static inline uint32_t lcc_div_u32(uint32_t a, uint32_t b) {
    return b == 0 ? 0 : a / b;
}

/* lcc:piece lcc_div_u64 */
static inline uint64_t lcc_div_u64(uint64_t a, uint64_t b) {
    return b == 0 ? 0 : a / b;
}

/* lcc:piece lcc_rem_i32 */
/* Sign of a; 0 for b = 0. */
static inline int32_t lcc_rem_i32(int32_t a, int32_t b) {
    return b == 0 || b == -1 ? 0 : a % b;
}

/* lcc:piece lcc_rem_i64 */
/* Sign of a; 0 for b = 0. */
static inline int64_t lcc_rem_i64(int64_t a, int64_t b) {
    return b == 0 || b == -1 ? 0 : a % b;
}

/* lcc:piece lcc_rem_u32 */
static inline uint32_t lcc_rem_u32(uint32_t a, uint32_t b) {
    return b == 0 ? 0 : a % b;
}

/* lcc:piece lcc_rem_u64 */
static inline uint64_t lcc_rem_u64(uint64_t a, uint64_t b) {
    return b == 0 ? 0 : a % b;
}

/* lcc:piece lcc_fdiv_i32 needs lcc_div_i32 lcc_rem_i32 */
/* Toward minus infinity; x//0 = 0. */
static inline int32_t lcc_fdiv_i32(int32_t a, int32_t b) {
    int32_t q = lcc_div_i32(a, b), r = lcc_rem_i32(a, b);
    return r != 0 && (r < 0) != (b < 0) ? q - 1 : q;
}

/* lcc:piece lcc_fdiv_i64 needs lcc_div_i64 lcc_rem_i64 */
/* Toward minus infinity; x//0 = 0. */
static inline int64_t lcc_fdiv_i64(int64_t a, int64_t b) {
    int64_t q = lcc_div_i64(a, b), r = lcc_rem_i64(a, b);
    return r != 0 && (r < 0) != (b < 0) ? q - 1 : q;
}

/* lcc:piece lcc_mod_i32 needs lcc_rem_i32 */
/* Sign of b; 0 for b = 0. */
static inline int32_t lcc_mod_i32(int32_t a, int32_t b) {
    int32_t r = lcc_rem_i32(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* lcc:piece lcc_mod_i64 needs lcc_rem_i64 */
/* Sign of b; 0 for b = 0. */
static inline int64_t lcc_mod_i64(int64_t a, int64_t b) {
    int64_t r = lcc_rem_i64(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* lcc:piece lcc_pow_u64 */
static inline uint64_t lcc_pow_u64(uint64_t a, uint64_t n) {
    uint64_t r = 1;
    for (; n; n >>= 1) {
        if (n & 1)
            r *= a;
        a *= a;
    }
    return r;
}

/* lcc:piece lcc_pow_u32 needs lcc_pow_u64 */
static inline uint32_t lcc_pow_u32(uint32_t a, uint32_t n) {
    return (uint32_t)lcc_pow_u64(a, n);
}

/* lcc:piece lcc_pow_i64 needs lcc_pow_u64 */
/* Wraps; a negative exponent gives 1, -1 or 0. */
static inline int64_t lcc_pow_i64(int64_t a, int64_t n) {
    if (n < 0)
        return a == 1 ? 1 : a == -1 ? (n & 1 ? -1 : 1) : 0;
    return (int64_t)lcc_pow_u64((uint64_t)a, (uint64_t)n);
}

/* lcc:piece lcc_pow_i32 needs lcc_pow_i64 */
static inline int32_t lcc_pow_i32(int32_t a, int32_t n) {
    return (int32_t)lcc_pow_i64(a, n);
}

/* lcc:piece lcc_abs_i32 */
/* |MIN| = MIN. */
static inline int32_t lcc_abs_i32(int32_t a) {
    return a < 0 ? (int32_t)(0u - (uint32_t)a) : a;
}

/* lcc:piece lcc_abs_i64 */
/* |MIN| = MIN. */
static inline int64_t lcc_abs_i64(int64_t a) {
    return a < 0 ? (int64_t)(0u - (uint64_t)a) : a;
}

/* lcc:piece lcc_shl */
/* Shifts by 64 and more, and negative ones, give 0. */
static inline uint64_t lcc_shl(uint64_t a, uint64_t n) {
    return n > 63 ? 0 : a << n;
}

/* lcc:piece lcc_shr */
static inline uint64_t lcc_shr(uint64_t a, uint64_t n) {
    return n > 63 ? 0 : a >> n;
}

/* lcc:piece lcc_sar */
/* Arithmetic: wide shifts leave the sign. */
static inline int64_t lcc_sar(int64_t a, uint64_t n) {
    uint64_t s = a < 0 ? ~(uint64_t)0 : 0;
    return (int64_t)(n > 63 ? s : (((uint64_t)a ^ s) >> n) ^ s);
}

/* lcc:piece lcc_wrap_i4 */
static inline int8_t lcc_wrap_i4(int32_t x) {
    return (int8_t)((x & 7) - (x & 8));
}

/* lcc:piece lcc_wrap_i2 */
static inline int8_t lcc_wrap_i2(int32_t x) {
    return (int8_t)((x & 1) - (x & 2));
}

/* lcc:piece lcc_clamp_f32 */
/* Toward zero into lo..hi, both exact in f32; NaN gives 0. */
static inline int32_t lcc_clamp_f32(float x, int32_t lo, int32_t hi) {
    if (!(x > (float)lo))
        return x == x ? lo : 0;
    return x < (float)hi ? (int32_t)x : hi;
}

/* lcc:piece lcc_clamp_f64 */
/* Toward zero into lo..hi; NaN gives 0. */
static inline int32_t lcc_clamp_f64(double x, int32_t lo, int32_t hi) {
    if (!(x > (double)lo))
        return x == x ? lo : 0;
    return x < (double)hi ? (int32_t)x : hi;
}

/* lcc:piece lcc_f64_to_i32 needs lcc_clamp_f64 */
static inline int32_t lcc_f64_to_i32(double x) {
    return lcc_clamp_f64(x, -2147483647 - 1, 2147483647);
}

/* lcc:piece lcc_f32_to_i32 */
static inline int32_t lcc_f32_to_i32(float x) {
    if (!(x > -2147483648.0f))
        return x == x ? -2147483647 - 1 : 0;
    return x < 2147483648.0f ? (int32_t)x : 2147483647;
}

/* lcc:piece lcc_f64_to_i64 */
static inline int64_t lcc_f64_to_i64(double x) {
    if (!(x > -9223372036854775808.0))
        return x == x ? -9223372036854775807 - 1 : 0;
    return x < 9223372036854775808.0 ? (int64_t)x : 9223372036854775807;
}

/* lcc:piece lcc_f32_to_i64 needs lcc_f64_to_i64 */
static inline int64_t lcc_f32_to_i64(float x) {
    return lcc_f64_to_i64((double)x);
}

/* lcc:piece lcc_f64_to_u32 */
static inline uint32_t lcc_f64_to_u32(double x) {
    if (!(x > 0.0))
        return 0;
    return x < 4294967295.0 ? (uint32_t)(int64_t)x : 4294967295u;
}

/* lcc:piece lcc_f32_to_u32 needs lcc_f64_to_u32 */
static inline uint32_t lcc_f32_to_u32(float x) {
    return lcc_f64_to_u32((double)x);
}

/* lcc:piece lcc_f64_to_u64 */
static inline uint64_t lcc_f64_to_u64(double x) {
    if (!(x > 0.0))
        return 0;
    if (x < 9223372036854775808.0)
        return (uint64_t)(int64_t)x;
    if (x < 18446744073709551616.0)
        return (uint64_t)(int64_t)(x - 9223372036854775808.0) + 9223372036854775808u;
    return 18446744073709551615u;
}

/* lcc:piece lcc_f32_to_u64 needs lcc_f64_to_u64 */
static inline uint64_t lcc_f32_to_u64(float x) {
    return lcc_f64_to_u64((double)x);
}

/* lcc:piece lcc_u64_to_f32 */
/* Above 2^63 half of it, odd when a bit was lost, is rounded once and doubled. */
static inline float lcc_u64_to_f32(uint64_t x) {
    if (x >> 63)
        return (float)(int64_t)(x >> 1 | (x & 1)) * 2.0f;
    return (float)(int64_t)x;
}

/* lcc:piece lcc_u64_to_f64 */
/* Above 2^63 half of it, odd when a bit was lost, is rounded once and doubled. */
static inline double lcc_u64_to_f64(uint64_t x) {
    if (x >> 63)
        return (double)(int64_t)(x >> 1 | (x & 1)) * 2.0;
    return (double)(int64_t)x;
}
