/* codegen/c/convert.c — conversions of vectors, as helpers.
 *
 * Between types that hold every value, and where integers wrap, the compiler converts. Floats to integers
 * saturate: lanes out of range are zeroed before and get their bound after; f32 to 8 or 16 bits on x86 is bounded
 * before.
 *
 *   i8(x) for x f32x16 →  over = x >= 127, under = x < -128, none = x != x;
 *                         r = (int)(x & ~(over | under | none)) | (over & 127) | (under & -128) */
#include "codegen/c/vector.h"

#include <string.h>

static bool is_sub_byte(Dtype t) {
    return t == T_I4 || t == T_I2 || t == T_U4 || t == T_U2;
}

/* "_mm512" for a register of these bytes. */
static Str intrinsic(Printer *p, const char *bits) {
    return str_f(p->ctx, "_mm%s", bits);
}

/* f32 to 8 or 16 bits by instruction: bounds that leave a NaN, which becomes the least i32, whose low half is 0. */
static void bounded(Printer *p, Text *body, Dtype to, int lanes) {
    Str mm = intrinsic(p, register_bits(p, 4 * lanes));
    need_intrinsics(p);
    text_f(body,
           "    const %s in = %s_max_ps(%s_set1_ps(%lld.0f), %s_min_ps(%s_set1_ps(%lld.0f), a));\n",
           vector_type(p, T_F32, lanes), mm, mm, (long long)type_min(to), mm, mm,
           (long long)type_max(to));
    text_f(body, "    const %s r = (%s)%s_cvttps_epi32(in);\n", vector_type(p, T_I32, lanes),
           vector_type(p, T_I32, lanes), mm);
    text_f(body, "    return %s(%s);\n", vec_cast(p, OP_CAST, T_I32, to, lanes),
           vec_arg(p, T_I32, lanes, "r"));
}

/* From the first value that is too large for the conversion on, and below the smallest, the result is the bound. */
static void saturating(Printer *p, Text *body, Dtype from, Dtype to, int lanes) {
    if (from == T_F32 && type_bytes(to) < 4 && register_bits(p, 4 * lanes)) {
        bounded(p, body, to, lanes);
        return;
    }
    const char *f = from == T_F32 ? "f" : "";
    Dtype mid = type_bytes(from) == 4 && (type_bytes(to) < 4 || to == T_I32) ? T_I32 : T_I64;
    Str ints = vector_type(p, bits_type(from, true), lanes), real = vector_type(p, from, lanes);
    Str work = vector_type(p, mid, lanes), type = vector_type(p, to, lanes);
    bool wide = to == T_I64 || to == T_U32 || (to == T_I32 && from == T_F32);
    const char *top = to == T_I64   ? "9223372036854775808.0"
                      : to == T_U32 ? (from == T_F32 ? "4294967296.0" : "4294967295.0")
                      : wide        ? "2147483648.0"
                                    : str_f(p->ctx, "%lld.0", (long long)type_max(to));
    const char *low =
        to == T_I64 ? "-9223372036854775808.0" : str_f(p->ctx, "%lld.0", (long long)type_min(to));
    const char *max =
        to == T_I64 ? "9223372036854775807" : str_f(p->ctx, "%lld", (long long)type_max(to));
    const char *min = to == T_I64   ? "(-9223372036854775807 - 1)"
                      : to == T_I32 ? "(-2147483647 - 1)"
                                    : str_f(p->ctx, "%lld", (long long)type_min(to));
    text_f(body, "    const %s over = a >= %s%s, under = a < %s%s, none = a != a;\n", ints, top, f,
           low, f);
    text_f(body, "    const %s in = (%s)((%s)a & ~(over | under | none));\n", real, real, ints);
    text_f(body, "    const %s r = __builtin_convertvector(in, %s) |\n", work, work);
    text_f(body, "                 (__builtin_convertvector(over, %s) & %s) |\n", work, max);
    text_f(body, "                 (__builtin_convertvector(under, %s) & %s);\n", work, min);
    if (mid != T_I32 || type_bytes(to) == 4)
        text_f(body, "    return __builtin_convertvector(r, %s);\n", type);
    else
        text_f(body, "    return %s(%s);\n", vec_cast(p, OP_CAST, mid, to, lanes),
               vec_arg(p, mid, lanes, "r"));
}

/* Half floats have instructions, bf16 is a shift. */
static bool half_floats(Printer *p, Text *body, Dtype from, Dtype to, int lanes) {
    Str type = vector_type(p, to, lanes);
    const char *bits = register_bits(p, 4 * lanes);
    if (from == T_BF16 && to == T_F32) {
        text_f(body, "    return (%s)(__builtin_convertvector(a, %s) << 16);\n", type,
               vector_type(p, T_U32, lanes));
    } else if (from == T_F32 && to == T_BF16) {
        Str u = vector_type(p, T_U32, lanes);
        text_f(body, "    const %s u = (%s)a, none = (%s)(a != a);\n", u, u, u);
        text_f(body, "    const %s r = ((u + 0x7fffu + (u >> 16 & 1u)) >> 16 & ~none) |\n", u);
        text_s(body, "                 ((u >> 31 << 15 | 0x7fc0u) & none);\n");
        text_f(body, "    return __builtin_convertvector(r, %s);\n", type);
    } else if (from == T_F16 && to == T_F32 && bits && lanes >= 8) {
        need_intrinsics(p);
        text_f(body, "    return _mm%s_cvtph_ps((__m%di)a);\n", bits, 16 * lanes);
    } else if (from == T_F32 && to == T_F16 && bits && lanes >= 8) {
        need_intrinsics(p);
        text_f(body, "    return (%s)_mm%s_cvtps_ph(a, 0x08);\n", type, bits);
    } else {
        return false;
    }
    return true;
}

/* The vector `a` of at most 16 bytes as a whole register. */
static Str low_part(Printer *p, int bytes) {
    return bytes == 16  ? str(p->ctx, "(__m128i)a")
           : bytes == 8 ? str(p->ctx, "_mm_set_epi64x(0, (int64_t)a)")
                        : str(p->ctx, "_mm_cvtsi32_si128((int32_t)a)");
}

/* Integers to wider ones by instruction: what compilers make of it goes by halves, or element by element. */
static bool widen(Printer *p, Text *body, Dtype from, Dtype to, int lanes) {
    const int bytes = type_bytes(from) * lanes, out = type_bytes(to) * lanes;
    const char *bits = register_bits(p, out);
    if (!has_avx(p) || !bits || bytes < 4 || bytes > out / 2)
        return false;
    need_intrinsics(p);
    Str a = bytes == 32 ? str(p->ctx, "(__m256i)a") : low_part(p, bytes);
    text_f(body, "    return (%s)%s_cvtep%c%d_epi%d(%s);\n", vector_type(p, to, lanes),
           intrinsic(p, bits), type_kind(from) == 'I' ? 'i' : 'u', 8 * type_bytes(from),
           8 * type_bytes(to), a);
    return true;
}

/* Integers to narrower ones, which wrap. */
static bool narrow(Printer *p, Text *body, Dtype from, Dtype to, int lanes) {
    const int bytes = type_bytes(from) * lanes, out = type_bytes(to) * lanes;
    const char *bits = register_bits(p, bytes);
    Str type = vector_type(p, to, lanes);
    if (!has_avx(p) || !bits || out < 4 || (out < 8 && !has_bit_masks(p)))
        return false;
    if (has_bit_masks(p)) {
        text_f(body, "    const __m%di x = %s_cvtepi%d_epi%d((__m%si)a);\n", out < 32 ? 128 : 256,
               intrinsic(p, bits), 8 * type_bytes(from), 8 * type_bytes(to), *bits ? bits : "128");
    } else if (type_bytes(from) == 4 && lanes == 8) {
        int mask = type_bytes(to) == 1 ? 255 : 65535;
        text_f(body,
               "    const __m256i m = _mm256_and_si256((__m256i)a, _mm256_set1_epi32(%d));\n"
               "    const __m128i %c = _mm_packus_epi32(_mm256_castsi256_si128(m), "
               "_mm256_extracti128_si256(m, 1));\n",
               mask, mask == 255 ? 'y' : 'x');
        if (mask == 255)
            text_s(body, "    const __m128i x = _mm_packus_epi16(y, y);\n");
    } else {
        return false;
    }
    need_intrinsics(p);
    if (out >= 16)
        text_f(body, "    return (%s)x;\n", type);
    else if (out == 8)
        text_f(body, "    return (%s)_mm_cvtsi128_si64(x);\n", type);
    else
        text_f(body, "    return (%s)_mm_cvtsi128_si32(x);\n", type);
    return true;
}

static bool convert_integers(Printer *p, Text *body, Dtype from, Dtype to, int lanes) {
    if (is_sub_byte(from) || is_sub_byte(to))
        return false;
    if (type_is_int(from) && to == T_F32 && type_bytes(from) < 4 && register_bits(p, 4 * lanes) &&
        has_avx(p)) {
        Str wide = vec_cast(p, OP_CAST, from, T_I32, lanes);
        text_f(body, "    return __builtin_convertvector(%s(%s), %s);\n", wide,
               vec_arg(p, from, lanes, "a"), vector_type(p, to, lanes));
        return true;
    }
    return type_is_int(from) && type_is_int(to) &&
           (type_bytes(from) < type_bytes(to)   ? widen(p, body, from, to, lanes)
            : type_bytes(from) > type_bytes(to) ? narrow(p, body, from, to, lanes)
                                                : false);
}

static bool convert_body(Printer *p, Text *body, Dtype from, Dtype to, int lanes) {
    Str type = vector_type(p, to, lanes);
    bool plain_from = !type_is_narrow(from) && from != T_BOOL,
         plain_to = !type_is_narrow(to) && to != T_BOOL;
    if (from == T_BOOL && plain_to) {
        Str one = vec_splat(p, to, lanes);
        text_f(body, "    return %s(%s, %s, %s);\n", vec_select(p, to, lanes),
               vec_arg(p, T_BOOL, lanes, "a"), vec_arg(p, to, lanes, str_f(p->ctx, "%s(1)", one)),
               vec_arg(p, to, lanes, str_f(p->ctx, "%s(0)", one)));
    } else if (to == T_BOOL && plain_from) {
        Str zero = str_f(p->ctx, "%s(0)", vec_splat(p, from, lanes));
        text_f(body, "    return %s(%s, %s);\n", vec_compare(p, OP_NE, from, lanes),
               vec_arg(p, from, lanes, "a"), vec_arg(p, from, lanes, zero));
    } else if (!plain_from || !plain_to) {
        return half_floats(p, body, from, to, lanes);
    } else if (type_is_float(from) && !type_is_float(to)) {
        if (to == T_U64)
            return false;
        saturating(p, body, from, to, lanes);
    } else if (convert_integers(p, body, from, to, lanes)) {
        return true;
    } else if (is_sub_byte(to)) {
        Str work = vector_type(p, type_kind(to) == 'I' ? T_I8 : T_U8, lanes);
        int top = to == T_I4   ? 8
                  : to == T_I2 ? 2
                               : 0,
            mask = to == T_U4   ? 15
                   : to == T_U2 ? 3
                                : top - 1;
        text_f(body, "    const %s r = __builtin_convertvector(a, %s);\n", work, work);
        if (top)
            text_f(body, "    return (%s)((r & %d) - (r & %d));\n", type, mask, top);
        else
            text_f(body, "    return (%s)(r & %d);\n", type, mask);
    } else {
        text_f(body, "    return __builtin_convertvector(a, %s);\n", type);
    }
    return true;
}

/* op NEG: the result of a computation in f32, not a conversion of the model's. */
Str vec_cast(Printer *p, Op op, Dtype from, Dtype to, int lanes) {
    const char *how = op == OP_CASTW ? "wide" : op == OP_CAST ? "cast" : "calc";
    Str name = str_f(p->ctx, "lcc_%s_%s_%sx%d", how, type_text(from), type_text(to), lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    Str out = vector_type(p, to, lanes);
    vec_param(p, &params, &body, from, lanes, "a");
    if (op == OP_NEG && !half_floats(p, &body, from, to, lanes)) {
        const char *suffix = to == T_F8E5M2 ? "_calc" : "";
        Str scalar = str_f(p->ctx, "lcc_f32_to_%s%s", type_text(to), suffix);
        paste_need(p->paste, scalar);
        text_f(&body, "    %s r = {0};\n    for (int i = 0; i < %d; i++)\n", out, lanes);
        text_f(&body, "        r[i] = %s(a[i]);\n    return r;\n", scalar);
    } else if (op != OP_NEG && !convert_body(p, &body, from, to, lanes)) {
        Sym *s = sym_new(p->ctx, SYM_LET, "a", INT64_MIN, INT64_MAX);
        s->type = TYPE_VEC(from, lanes);
        const Expr *a = expr_sym(p->ctx, s);
        const Expr *e = expr_op(p->ctx, op, TYPE_VEC(to, lanes), 1, &a);
        return vec_op(p, e);
    }
    helper_add(p, name, out, params.at, &body);
    return name;
}
