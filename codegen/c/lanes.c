/* codegen/c/lanes.c — helpers on vectors: what has no operator in GNU C, written once a file.
 *
 *   exp on 16 floats →
 *   static inline lcc_f32x16 lcc_exp_f32x16(lcc_f32x16 a) {
 *       lcc_f32x16 r = {0};
 *       for (int i = 0; i < 16; i++) r[i] = expf(a[i]);
 *       return r; }                                                                one statement a line */
#include "codegen/c/vector.h"

#include <string.h>

/* Written with its attributes: always_inline, or noinline for what calls libm lane by lane anyway. */
static void helper_write(Printer *p, const char *attribute, Str name, Str ret, Str params,
                         const Text *body) {
    paste_add(p->paste, name,
              str_f(p->ctx, "static %s %s\n%s(%s) {\n%s}", attribute, ret, name, params, body->at));
}

void helper_add(Printer *p, Str name, Str ret, Str params, const Text *body) {
    helper_write(p, "inline __attribute__((always_inline))", name, ret, params, body);
}

/* An exp inlined into every element of a register tile costs three times the code, twice the compiler's time,
 * and is no faster; gcc inlines what is long where it is called once, which is up to a fifth faster. */
void helper_add_long(Printer *p, Str name, Str ret, Str params, const Text *body) {
    paste_add(p->paste, str(p->ctx, "LCC_LONG"),
              str(p->ctx, "#if defined(__clang__)\n#define LCC_LONG __attribute__((noinline))\n"
                          "#else\n#define LCC_LONG\n#endif"));
    helper_write(p, "LCC_LONG", name, ret, params, body);
}

static bool is_wide(const Printer *p, Dtype t, int lanes) {
    if (t == T_BOOL && has_bit_masks(p))
        return false;
    return (t == T_BOOL ? 4 : type_bytes(t)) * lanes > p->mach->vec;
}

void vec_param(Printer *p, Text *params, Text *body, Dtype t, int lanes, const char *var) {
    Str type = vector_type(p, t, lanes);
    text_s(params, params->len ? ", " : "");
    if (is_wide(p, t, lanes)) {
        text_f(params, "const %s *%s_at", type, var);
        text_f(body, "    const %s %s = *%s_at;\n", type, var, var);
    } else {
        text_f(params, "%s %s", type, var);
    }
}

bool vec_arg_open(Printer *p, Text *t, Dtype type, int lanes) {
    bool wide = is_wide(p, type, lanes);
    if (wide)
        text_f(t, "(%s[1]){", vector_type(p, type, lanes));
    return wide;
}

Str vec_arg(Printer *p, Dtype t, int lanes, Str value) {
    return is_wide(p, t, lanes) ? str_f(p->ctx, "(%s[1]){%s}", vector_type(p, t, lanes), value)
                                : value;
}

static Str vec_name(Printer *p, const char *what, Dtype t, int lanes) {
    return t == T_BOOL ? str_f(p->ctx, "lcc_%s_m%d", what, lanes)
                       : str_f(p->ctx, "lcc_%s_%sx%d", what, type_text(t), lanes);
}

static const char *op_name(Op op) {
    static const char *const names[] = {
#define OP(id, text, kids, form, result) [OP_##id] = #id,
#include "ir/ops.def"
#undef OP
    };
    return names[op];
}

static Str lower_case(Ctx *ctx, const char *s) {
    Text t = text_new(ctx);
    for (; *s; s++)
        text_c(&t, *s >= 'A' && *s <= 'Z' ? (char)(*s - 'A' + 'a') : *s);
    return str(ctx, t.at);
}

/* Lane i of a variable, as an expression that binds tightly. */
static Str lane_of(Printer *p, Str var, Dtype t) {
    if (t != T_BOOL)
        return str_f(p->ctx, "%s[i]", var);
    return str_f(p->ctx, has_bit_masks(p) ? "(%s >> i & 1)" : "(%s[i] != 0)", var);
}

/* `r[i] = value;` for a result of dtype t, where value is of the element's C type (bool: int). */
static void set_lane(Printer *p, Text *t, Dtype type, int lanes, const char *value) {
    if (type != T_BOOL)
        text_f(t, "        r[i] = %s;\n", value);
    else if (has_bit_masks(p))
        text_f(t, "        r = (%s)(r | (%s)(%s) << i);\n", vector_type(p, T_BOOL, lanes),
               lanes > 32 ? "uint64_t" : "uint32_t", value);
    else
        text_f(t, "        r[i] = -(%s);\n", value);
}

static void loop_open(Printer *p, Text *t, Dtype type, int lanes) {
    text_f(t, "    %s r = %s;\n    for (int i = 0; i < %d; i++)\n", vector_type(p, type, lanes),
           type == T_BOOL && has_bit_masks(p) ? "0" : "{0}", lanes);
}

/* ---- any op by its scalar spelling ----------------------------------------------------------- */

/* Quotients of i32 by doubles: exact, since a quotient that is no integer is at least 1/|b| from the next one,
 * 2^-31 of it, and doubles round by 2^-53. MIN/-1 is out of range, which the conversion makes MIN. */
static bool divide_i32(Printer *p, Text *body, int lanes) {
    bool wide = has_bit_masks(p) && lanes >= 8;
    const int half = wide ? 8 : 4, n = lanes / half;
    if (!has_avx(p) || lanes < 4 || n > 2)
        return false;
    const char *mm = wide ? "_mm512" : "_mm256", *bits = wide ? "512" : "256";
    need_intrinsics(p);
    for (int i = 0; i < n; i++) {
        for (const char *v = "ab"; *v; v++) {
            text_f(body, "    const __m%sd %c%d = %s_cvtepi32_pd(", bits, *v, i, mm);
            if (n == 1)
                text_f(body, "(__m%si)%c);\n", wide ? "256" : "128", *v);
            else if (wide)
                text_f(body, "_mm512_extracti64x4_epi64((__m512i)%c, %d));\n", *v, i);
            else
                text_f(body, "_mm256_extracti128_si256((__m256i)%c, %d));\n", *v, i);
        }
        text_f(body, "    const __m%si q%d = %s_cvttpd_epi32(%s_div_pd(a%d, b%d));\n",
               wide ? "256" : "128", i, mm, mm, i, i);
    }
    Str type = vector_type(p, T_I32, lanes);
    if (n == 1)
        text_f(body, "    return (%s)q0 & (b != 0);\n", type);
    else if (wide)
        text_f(body,
               "    return (%s)_mm512_inserti64x4(_mm512_castsi256_si512(q0), q1, 1) & (b != 0);\n",
               type);
    else
        text_f(body, "    return (%s)_mm256_set_m128i(q1, q0) & (b != 0);\n", type);
    return true;
}

Str vec_op(Printer *p, const Expr *e) {
    static const char *const var[] = {"a", "b", "c"};
    Dtype of = type_dtype(e->kid[0]->type), to = type_dtype(e->type);
    int lanes = type_lanes(e->type);
    Str name = vec_name(p, lower_case(p->ctx, op_name((Op)e->op)), of, lanes);
    if (e->op == OP_DOT4 || e->op == OP_DOT2 || e->nkid > 3)
        internal_error(p->ctx, "no lane form of %s", op_text((Op)e->op));
    for (int i = 1; i < e->nkid; i++)
        if (type_dtype(e->kid[i]->type) != of)
            name = str_f(p->ctx, "%s_%s", name, type_text(type_dtype(e->kid[i]->type)));
    if (to != of)
        name = str_f(p->ctx, "%s_%s", name, type_text(to));
    if (paste_has(p->paste, name))
        return name;
    Printer lane = *p;
    Text value = text_new(p->ctx), params = text_new(p->ctx), body = text_new(p->ctx);
    const Expr *kid[3];
    lane.names = map_new(p->ctx);
    lane.plain = map_new(p->ctx);
    lane.t = &value;
    for (int i = 0; i < e->nkid; i++) {
        Dtype t = type_dtype(e->kid[i]->type);
        Sym *s = sym_new(p->ctx, SYM_LET, str(p->ctx, var[i]), INT64_MIN, INT64_MAX);
        s->type = (Type)t;
        kid[i] = expr_sym(p->ctx, s);
        map_put(lane.names, s, (void *)(uintptr_t)lane_of(p, var[i], t));
        vec_param(p, &params, &body, t, lanes, var[i]);
    }
    if (e->op == OP_DIV && of == T_I32 && divide_i32(p, &body, lanes)) {
        helper_add(p, name, vector_type(p, to, lanes), params.at, &body);
        return name;
    }
    print_expr(&lane, expr_op(p->ctx, (Op)e->op, (Type)to, e->nkid, kid), P_ASSIGN);
    loop_open(p, &body, to, lanes);
    set_lane(p, &body, to, lanes, value.at);
    text_s(&body, "    return r;\n");
    bool costly = (e->op >= OP_EXP && e->op <= OP_EXPM1) || e->op == OP_POW || e->op == OP_ATAN2;
    if (costly)
        helper_write(p, "__attribute__((noinline))", name, vector_type(p, to, lanes), params.at,
                     &body);
    else
        helper_add(p, name, vector_type(p, to, lanes), params.at, &body);
    return name;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* A bit mask with every lane on. */
static Str all_lanes(Printer *p, int lanes) {
    return lanes == 64 ? str(p->ctx, "~(uint64_t)0") : str_f(p->ctx, "0x%llx", (1ull << lanes) - 1);
}

Str vec_splat(Printer *p, Dtype t, int lanes) {
    Str name = vec_name(p, "splat", t, lanes), type = vector_type(p, t, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    if (t == T_BOOL && has_bit_masks(p)) {
        text_f(&body, "    return x ? (%s)%s : 0;\n", type, all_lanes(p, lanes));
    } else {
        text_f(&body, "    return (%s){", type);
        for (int i = 0; i < lanes; i++)
            text_f(&body, "%s%s", i ? ", " : "", t == T_BOOL ? "-x" : "x");
        text_s(&body, "};\n");
    }
    const char *elem = t == T_BOOL ? "int" : type_c(t);
    helper_add(p, name, type, str_f(p->ctx, "%s x", elem), &body);
    return name;
}

Str vector_fence(Printer *p) {
    Str name = str(p->ctx, "lcc_fence");
    paste_add(p->paste, name,
              str(p->ctx, "static inline __attribute__((always_inline)) void lcc_fence(void) {\n"
                          "    __asm__ volatile(\"\" ::: \"memory\");\n}"));
    return name;
}

Str vector_part(Printer *p, Dtype t, int wide, int lanes) {
    Str name = str_f(p->ctx, "%s_of_%d", vec_name(p, "part", t, lanes), wide);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    vec_param(p, &params, &body, t, wide, "a");
    text_s(&params, ", int from");
    text_f(&body, "    return (%s){", vector_type(p, t, lanes));
    for (int i = 0; i < lanes; i++)
        text_f(&body, "%sa[from + %d]", i ? ", " : "", i);
    text_s(&body, "};\n");
    helper_add(p, name, vector_type(p, t, lanes), str(p->ctx, params.at), &body);
    return name;
}

Str vec_ramp(Printer *p, Dtype t, int lanes) {
    Str name = vec_name(p, "ramp", t, lanes), type = vector_type(p, t, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    Str work = vector_type(p, type_kind(t) == 'I' ? bits_type(t, false) : t, lanes);
    const char *cast = type_kind(t) == 'I' ? type_c(bits_type(t, false)) : type_c(t);
    text_f(&body, "    return (%s)((%s)base + (%s)stride * (%s){", type, cast, cast, work);
    for (int i = 0; i < lanes; i++)
        text_f(&body, "%s%d", i ? ", " : "", i);
    text_s(&body, "});\n");
    helper_add(p, name, type, str_f(p->ctx, "%s base, %s stride", type_c(t), type_c(t)), &body);
    return name;
}

/* lcc_NAME_bNxL(n): lane i is on where `i OP k`, k being `of_n` as text. With bit masks `bits` says the same. */
static Str mask_of_places(Printer *p, const char *what, int lanes, const char *bits,
                          const char *of_n, const char *op) {
    Str name = vec_name(p, what, T_BOOL, lanes), type = vector_type(p, T_BOOL, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    if (has_bit_masks(p)) {
        text_s(&body, bits);
    } else {
        text_f(&body, "    const int32_t k = %s;\n    return (%s)((%s){", of_n, type, type);
        for (int i = 0; i < lanes; i++)
            text_f(&body, "%s%d", i ? ", " : "", i);
        text_f(&body, "} %s k);\n", op);
    }
    helper_add(p, name, type, "int64_t n", &body);
    return name;
}

Str vec_first(Printer *p, int lanes) {
    Str type = vector_type(p, T_BOOL, lanes);
    Str bits = str_f(p->ctx,
                     "    if (n >= %d)\n        return (%s)%s;\n"
                     "    return n > 0 ? (%s)(((uint64_t)1 << n) - 1) : 0;\n",
                     lanes, type, all_lanes(p, lanes), type);
    Str of_n = str_f(p->ctx, "n < 0 ? 0 : n > %d ? %d : (int32_t)n", lanes, lanes);
    return mask_of_places(p, "first", lanes, bits, of_n, "<");
}

Str vec_only(Printer *p, int lanes) {
    Str bits = str_f(p->ctx, "    return (%s)(n >= 0 && n < %d ? (uint64_t)1 << n : 0);\n",
                     vector_type(p, T_BOOL, lanes), lanes);
    Str of_n = str_f(p->ctx, "n >= 0 && n < %d ? (int32_t)n : -1", lanes);
    return mask_of_places(p, "only", lanes, bits, of_n, "==");
}

/* ---- masks ----------------------------------------------------------------------------------- */

/* A GNU comparison `m` (integers as wide as t, 0 or -1) as a mask; false when it must go by lanes. */
static bool return_mask(Printer *p, Text *body, const char *m, Dtype t, int lanes) {
    int bytes = type_bytes(t) * lanes;
    const char *bits = register_bits(p, bytes);
    if (!has_bit_masks(p)) {
        Str mask = vector_type(p, T_BOOL, lanes);
        text_f(body,
               type_bytes(t) == 4 ? "    return (%s)(%s);\n"
                                  : "    return __builtin_convertvector(%s, %s);\n",
               type_bytes(t) == 4 ? mask : m, type_bytes(t) == 4 ? m : mask);
        return true;
    }
    if (!bits && bytes > 16)
        return false;
    need_intrinsics(p);
    if (bits)
        text_f(body, "    return (%s)_mm%s_movepi%d_mask((__m%si)(%s));\n",
               vector_type(p, T_BOOL, lanes), bits, 8 * type_bytes(t), *bits ? bits : "128", m);
    else
        text_f(body, "    return (%s)_mm_movepi%d_mask(%s);\n", vector_type(p, T_BOOL, lanes),
               8 * type_bytes(t),
               str_f(p->ctx,
                     bytes == 8 ? "_mm_set_epi64x(0, (int64_t)(%s))"
                                : "_mm_cvtsi32_si128((int32_t)(%s))",
                     m));
    return true;
}

Str vec_compare(Printer *p, Op op, Dtype t, int lanes) {
    static const char *const sign[] = {
        [OP_EQ] = "==", [OP_NE] = "!=", [OP_LT] = "<", [OP_LE] = "<="};
    static const int predicate[] = {[OP_EQ] = 0x00, [OP_NE] = 0x04, [OP_LT] = 0x11, [OP_LE] = 0x12};
    Str name = vec_name(p, lower_case(p->ctx, op_name(op)), t, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    const char *bits = register_bits(p, type_bytes(t) * lanes);
    Str mask = vector_type(p, T_BOOL, lanes);
    Text params = text_new(p->ctx);
    vec_param(p, &params, &body, t, lanes, "a");
    vec_param(p, &params, &body, t, lanes, "b");
    bool real = t == T_F32 || t == T_F64;
    if (t == T_BOOL) {
        text_f(&body, op == OP_NE ? "    return (%s)(a ^ b);\n" : "    return (%s)~(a ^ b);\n",
               mask);
    } else if (real && bits && has_bit_masks(p)) {
        need_intrinsics(p);
        text_f(&body, "    return _mm%s_cmp_p%c_mask(a, b, 0x%02x);\n", bits,
               t == T_F32 ? 's' : 'd', (unsigned)predicate[op]);
    } else if (!return_mask(p, &body, str_f(p->ctx, "a %s b", sign[op]), t, lanes)) {
        loop_open(p, &body, T_BOOL, lanes);
        set_lane(p, &body, T_BOOL, lanes, str_f(p->ctx, "a[i] %s b[i]", sign[op]));
        text_s(&body, "    return r;\n");
    }
    helper_add(p, name, mask, params.at, &body);
    return name;
}

Str vec_select(Printer *p, Dtype t, int lanes) {
    Str name = vec_name(p, "select", t, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    Str type = vector_type(p, t, lanes);
    Text params = text_new(p->ctx);
    vec_param(p, &params, &body, T_BOOL, lanes, "c");
    vec_param(p, &params, &body, t, lanes, "a");
    vec_param(p, &params, &body, t, lanes, "b");
    const char *bits = register_bits(p, type_bytes(t) * lanes);
    if (t == T_BOOL) {
        text_f(&body, "    return (%s)((c & a) | (~c & b));\n", type);
    } else if (!has_bit_masks(p)) {
        Str ints = vector_type(p, bits_type(t, true), lanes);
        text_f(&body,
               type_bytes(t) == 4 ? "    const %s m = (%s)c;\n"
                                  : "    const %s m = __builtin_convertvector(c, %s);\n",
               ints, ints);
        text_f(&body, "    return (%s)((m & (%s)a) | (~m & (%s)b));\n", type, ints, ints);
    } else if (bits) {
        need_intrinsics(p);
        const char *reg = str_f(p->ctx, "__m%si", *bits ? bits : "128");
        text_f(&body, "    return (%s)_mm%s_mask_blend_epi%d(c, (%s)b, (%s)a);\n", type, bits,
               8 * type_bytes(t), reg, reg);
    } else {
        loop_open(p, &body, t, lanes);
        set_lane(p, &body, t, lanes, str_f(p->ctx, "%s ? a[i] : b[i]", lane_of(p, "c", T_BOOL)));
        text_s(&body, "    return r;\n");
    }
    helper_add(p, name, type, params.at, &body);
    return name;
}

/* ---- smallest, largest, sums ----------------------------------------------------------------- */

Str vec_minmax(Printer *p, Op op, Dtype t, int lanes) {
    bool min = op == OP_MIN || op == OP_VMIN;
    Str name = vec_name(p, min ? "min" : "max", t, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    Str type = vector_type(p, t, lanes);
    vec_param(p, &params, &body, t, lanes, "a");
    vec_param(p, &params, &body, t, lanes, "b");
    if (t == T_BOOL) {
        text_f(&body, "    return (%s)(a %c b);\n", type, min ? '&' : '|');
    } else if (type_is_float(t) && vec_minmax_simd(p, op, t, lanes)) { /* a NaN in b wins already */
        Str select = vec_select(p, t, lanes), ne = vec_compare(p, OP_NE, t, lanes);
        text_f(&body, "    return %s(%s(a, a), a, %s);\n", select, ne,
               vec_minmax_simd(p, op, t, lanes));
    } else if (type_is_float(t)) { /* NaN wins */
        Str select = vec_select(p, t, lanes), ne = vec_compare(p, OP_NE, t, lanes);
        Str less = vec_compare(p, OP_LT, t, lanes);
        Str x = vec_arg(p, t, lanes, "a"), y = vec_arg(p, t, lanes, "b");
        Str none = str_f(p->ctx, "%s(%s, %s)", ne, x, x);
        Str first = str_f(p->ctx, "%s(%s, %s)", less, min ? x : y, min ? y : x);
        Str rest = str_f(p->ctx, "%s(%s, %s, %s)", select, vec_arg(p, T_BOOL, lanes, first), x, y);
        text_f(&body, "    return %s(%s, %s, %s);\n", select, vec_arg(p, T_BOOL, lanes, none), x,
               vec_arg(p, t, lanes, rest));
    } else {
        Str ints = vector_type(p, bits_type(t, true), lanes);
        text_f(&body, "    const %s m = (%s)(a %c b);\n", ints, ints, min ? '<' : '>');
        text_f(&body, "    return (%s)((m & (%s)a) | (~m & (%s)b));\n", type, ints, ints);
    }
    helper_add(p, name, type, params.at, &body);
    return name;
}

/* Halves are combined, again and again. */
Str vec_reduce(Printer *p, Op op, Dtype t, int lanes) {
    Str name = vec_name(p, lower_case(p->ctx, op_name(op)), t, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    vec_param(p, &params, &body, t, lanes, "a");
    Type scalar = (Type)t;
    Printer lane = *p;
    Text value = text_new(p->ctx);
    const Expr *kid[2];
    lane.names = map_new(p->ctx);
    lane.plain = map_new(p->ctx);
    lane.t = &value;
    for (int i = 0; i < 2; i++) {
        Sym *s = sym_new(p->ctx, SYM_LET, "a", INT64_MIN, INT64_MAX);
        s->type = scalar;
        kid[i] = expr_sym(p->ctx, s);
        map_put(lane.names, s, (void *)(uintptr_t)(Str)(i ? "v[i + h]" : "v[i]"));
    }
    Op with = op == OP_VADD ? OP_ADD : op == OP_VMAX ? OP_MAX : OP_MIN;
    if (t == T_BOOL)
        internal_error(p->ctx, "no %s of truths", op_text(op));
    int half = lanes / 2;
    if (half >= 4 && op != OP_VADD && (type_is_float(t) || t == T_I32)) { /* halves as vectors */
        Str part = vector_part(p, t, lanes, half), x = vec_arg(p, t, lanes, "a");
        Str low = str_f(p->ctx, "%s(%s, 0)", part, x),
            high = str_f(p->ctx, "%s(%s, %d)", part, x, half);
        Str both = str_f(p->ctx, "%s(%s, %s)", vec_minmax(p, with, t, half),
                         vec_arg(p, t, half, low), vec_arg(p, t, half, high));
        text_f(&body, "    return %s(%s);\n", vec_reduce(p, op, t, half),
               vec_arg(p, t, half, both));
    } else if (lanes == 4 && op != OP_VADD && t == T_F32 && register_bits(p, 16)) {
        need_intrinsics(p);
        Str minmax = vec_minmax(p, with, t, 4);
        text_f(&body,
               "    const %s v2 = %s(a, _mm_movehl_ps(a, a));\n"
               "    return _mm_cvtss_f32(%s(v2, _mm_shuffle_ps(v2, v2, 0x55)));\n",
               vector_type(p, t, 4), minmax, minmax);
    } else if (op == OP_VADD && t == T_F32 && register_bits(p, 4 * lanes)) {
        need_intrinsics(p);
        if (lanes == 16)
            text_s(&body, "    const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(a),\n"
                          "                                    _mm512_extractf32x8_ps(a, 1));\n");
        if (lanes >= 8)
            text_f(&body,
                   "    const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(%s), "
                   "_mm256_extractf128_ps(%s, 1));\n",
                   lanes == 8 ? "a" : "v8", lanes == 8 ? "a" : "v8");
        const char *v4 = lanes == 4 ? "a" : "v4";
        text_f(&body,
               "    const __m128 v2 = _mm_add_ps(%s, _mm_movehl_ps(%s, %s));\n"
               "    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_shuffle_ps(v2, v2, 0x55)));\n",
               v4, v4, v4);
    } else if (op == OP_VADD && t == T_F32 && lanes == 4 && has_neon(p)) {
        need_intrinsics(p);
        text_s(&body, "    const float32x2_t v2 = vadd_f32(vget_low_f32(a), vget_high_f32(a));\n"
                      "    return vget_lane_f32(v2, 0) + vget_lane_f32(v2, 1);\n");
    } else {
        print_expr(&lane, expr_op(p->ctx, with, scalar, 2, kid), P_ASSIGN);
        text_f(&body, "    %s v[%d];\n    for (int i = 0; i < %d; i++)\n        v[i] = a[i];\n",
               type_c(t), lanes, lanes);
        text_f(&body, "    for (int h = %d; h > 0; h /= 2)\n        for (int i = 0; i < h; i++)\n",
               half);
        text_f(&body, "            v[i] = %s;\n    return v[0];\n", value.at);
    }
    helper_add(p, name, type_c(t), params.at, &body);
    return name;
}

/* ---- access ---------------------------------------------------------------------------------- */

/* A whole contiguous vector: through a type that may lie anywhere and alias anything. */
static Str plain_access(Printer *p, bool load, Str name, Dtype t, int lanes) {
    Str type = vector_type(p, t, lanes), loose = str_f(p->ctx, "%su", type);
    if (!paste_has(p->paste, loose))
        paste_add(
            p->paste, loose,
            str_f(p->ctx,
                  "typedef %s %s\n    __attribute__((vector_size(%d), aligned(%d), may_alias));",
                  type_c(t), loose, type_bytes(t) * lanes, type_bytes(t)));
    if (load)
        paste_add(p->paste, name,
                  str_f(p->ctx, "#define %s(p) ((%s)*(const %s *)(p))", name, type, loose));
    else
        paste_add(p->paste, name,
                  str_f(p->ctx, "#define %s(p, v) (*(%s *)(p) = (v))", name, loose));
    return name;
}

/* A masked contiguous access by instruction; false when there is none. */
static bool masked_access(Printer *p, Text *body, bool load, Dtype t, int lanes) {
    int size = type_bytes(t);
    const char *bits = register_bits(p, size * lanes);
    Str type = vector_type(p, t, lanes),
        reg = str_f(p->ctx, "__m%si", bits && *bits ? bits : "128");
    if (!bits || t == T_BOOL)
        return false;
    if (has_bit_masks(p)) {
        if (load)
            text_f(body, "    return (%s)_mm%s_maskz_loadu_epi%d(m, p);\n", type, bits, 8 * size);
        else
            text_f(body, "    _mm%s_mask_storeu_epi%d(p, m, (%s)v);\n", bits, 8 * size, reg);
    } else if (size == 4 && has_avx(p)) {
        if (load)
            text_f(body,
                   "    return (%s)_mm%s_maskload_epi32((const int *)(const void *)p, (%s)m);\n",
                   type, bits, reg);
        else
            text_f(body, "    _mm%s_maskstore_epi32((int *)(void *)p, (%s)m, (%s)v);\n", bits, reg,
                   reg);
    } else {
        return false;
    }
    need_intrinsics(p);
    return true;
}

/* Contiguous truths by instruction; false when there is none. */
static bool load_truths(Printer *p, Text *body, int lanes) {
    Str type = vector_type(p, T_BOOL, lanes);
    const char *half = "_mm_loadl_epi64((const __m128i *)(const void *)p)";
    if (!has_avx(p) || lanes < 8 || (lanes > 8 && !has_bit_masks(p)))
        return false;
    need_intrinsics(p);
    if (!has_bit_masks(p)) {
        text_f(body,
               "    return (%s)_mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(%s), "
               "_mm256_setzero_si256());\n",
               type, half);
        return true;
    }
    int bits = lanes < 16 ? 128 : 8 * lanes;
    const char *in = bits == 512 ? "512" : bits == 256 ? "256" : "";
    text_f(body, "    const __m%di x = ", bits);
    if (lanes == 8)
        text_f(body, "%s;\n", half);
    else
        text_f(body, "_mm%s_loadu_si%d((const __m%di *)(const void *)p);\n", in, bits, bits);
    text_f(body, "    return (%s)_mm%s_test_epi8_mask(x, x);\n", type, in);
    return true;
}

/* The same to store them. */
static bool store_truths(Printer *p, Text *body, int lanes) {
    if (!has_avx(p) || lanes < 8 || (!has_bit_masks(p) && lanes != 8))
        return false;
    need_intrinsics(p);
    if (!has_bit_masks(p)) {
        text_s(body, "    const __m128i w = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v), "
                     "_mm256_extracti128_si256((__m256i)v, 1));\n"
                     "    const __m128i b = _mm_abs_epi8(_mm_packs_epi16(w, w));\n"
                     "    _mm_storel_epi64((__m128i *)(void *)p, b);\n");
        return true;
    }
    if (lanes >= 16)
        text_f(body, "    _mm%s_storeu_si%d((__m%di *)(void *)p, _mm%s_maskz_set1_epi8(v, 1));\n",
               register_bits(p, lanes), 8 * lanes, 8 * lanes, register_bits(p, lanes));
    else
        text_s(body, "    _mm_storel_epi64((__m128i *)(void *)p, _mm_maskz_set1_epi8(v, 1));\n");
    return true;
}

/* p[0] .. and p[lanes - 1] .. are loaded whole; the second holds its elements at odd places. */
Str vec_every_second(Printer *p, int lanes) {
    const char *bits = register_bits(p, 4 * lanes);
    Str name = vec_name(p, "load2", T_F32, lanes), type = vector_type(p, T_F32, lanes);
    if (!bits || paste_has(p->paste, name))
        return bits ? name : NULL;
    Text body = text_new(p->ctx);
    need_intrinsics(p);
    const char *mm = lanes == 4 ? "128" : bits, *call = lanes == 4 ? "" : bits;
    text_f(&body,
           "    const __m%s a = _mm%s_loadu_ps(p);\n    const __m%s b = _mm%s_loadu_ps(p + %d);\n",
           mm, call, mm, call, lanes - 1);
    if (lanes == 16) {
        text_s(&body, "    const __m512i at = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 14, "
                      "12, 10, 8, 6, 4, "
                      "2, 0);\n");
        text_f(&body, "    return (%s)_mm512_permutex2var_ps(a, at, b);\n", type);
    } else if (lanes == 8) {
        text_f(&body,
               "    const __m256 c = _mm256_shuffle_ps(a, b, 0xd8);\n"
               "    return (%s)_mm256_permute4x64_pd((__m256d)c, 0xd8);\n",
               type);
    } else {
        text_f(&body, "    return (%s)_mm_shuffle_ps(a, b, 0xd8);\n", type);
    }
    helper_add(p, name, type, str(p->ctx, "const float *p"), &body);
    return name;
}

Str vec_lookup(Printer *p, int lanes, int period) {
    Str name = vec_name(p, str_f(p->ctx, "lookup%d", period), T_F32, lanes),
        type = vector_type(p, T_F32, lanes);
    Text params = text_new(p->ctx), body = text_new(p->ctx);
    text_s(&params, "const float *t");
    vec_param(p, &params, &body, T_I32, lanes, "k");
    if (lanes == 16 && has_bit_masks(p)) {
        text_f(&body, "    return (%s)_mm512_permutexvar_ps((__m512i)k, _mm512_loadu_ps(t));\n",
               type);
    } else if (lanes == 8 && has_avx(p) && period == 8) {
        text_f(&body, "    return (%s)_mm256_permutevar8x32_ps(_mm256_loadu_ps(t), (__m256i)k);\n",
               type);
    } else if (lanes == 8 && has_avx(p)) {
        text_f(&body,
               "    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(t), (__m256i)k);\n"
               "    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(t + 8), "
               "(__m256i)k);\n"
               "    return (%s)_mm256_blendv_ps(low, high, (__m256)_mm256_slli_epi32((__m256i)k, "
               "28));\n",
               type);
    } else {
        text_f(&body,
               "    %s r = {0};\n    for (int i = 0; i < %d; i++)\n        r[i] = t[k[i] & 15];\n"
               "    return r;\n",
               type, lanes);
    }
    if (lanes * 4 >= 32)
        need_intrinsics(p);
    if (!paste_has(p->paste, name))
        helper_add(p, name, type, str(p->ctx, params.at), &body);
    return name;
}

Str vec_one(Printer *p, Dtype t, int lanes) {
    Str name = vec_name(p, "mone", t, lanes);
    if (t != T_F32 || !has_bit_masks(p) || !register_bits(p, 4 * lanes))
        return NULL;
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    Str select = vec_select(p, t, lanes), splat = vec_splat(p, t, lanes);
    text_s(&params, "const float *p");
    vec_param(p, &params, &body, T_BOOL, lanes, "m");
    text_f(&body, "    return %s(m, %s(m ? *p : 0.0f), %s(0.0f));\n", select, splat, splat);
    helper_add(p, name, vector_type(p, t, lanes), str(p->ctx, params.at), &body);
    return name;
}

Str vec_stream(Printer *p, int lanes) {
    const char *bits = register_bits(p, 4 * lanes);
    Str name = vec_name(p, "stream", T_F32, lanes);
    if (!bits || paste_has(p->paste, name))
        return bits ? name : NULL;
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    Str loose = vec_access(p, "store", T_F32, lanes, false);
    text_s(&params, "float *p");
    vec_param(p, &params, &body, T_F32, lanes, "v");
    need_intrinsics(p);
    text_f(&body,
           "    if (((uintptr_t)p & %d) == 0)\n        _mm%s_stream_ps(p, (__m%s)v);\n"
           "    else\n        %s(p, v);\n",
           4 * lanes - 1, bits, *bits ? bits : "128", loose);
    helper_add(p, name, "void", params.at, &body);
    return name;
}

/* Eight elements of four or eight bytes by one instruction. */
static bool gathered(Printer *p, Text *body, Dtype t, int lanes) {
    const int bytes = type_bytes(t);
    if (!has_bit_masks(p) || lanes != 8 || t == T_BOOL || bytes < 4 || bytes > 8)
        return false;
    const char *kind = t == T_F32 ? "ps" : t == T_F64 ? "pd" : bytes == 4 ? "epi32" : "epi64";
    const char *reg = bytes == 4 ? "256" : "512", *of = bytes == 4 ? "si256" : "si512";
    of = t == T_F32 || t == T_F64 ? kind : of;
    need_intrinsics(p);
    text_f(
        body,
        "    return (%s)_mm512_mask_i64gather_%s(_mm%s_setzero_%s(), 0xff, (__m512i)at, p, %d);\n",
        vector_type(p, t, lanes), kind, reg, of, bytes);
    return true;
}

Str vec_access(Printer *p, const char *how, Dtype t, int lanes, bool masked) {
    bool load = how[0] == 'l' || how[0] == 'g',
         linear = how[0] != 'g' && strcmp(how, "scatter") != 0;
    bool contiguous = strcmp(how, "load") == 0 || strcmp(how, "store") == 0;
    Str name = vec_name(p, str_f(p->ctx, "%s%s", masked ? "m" : "", how), t, lanes);
    if (paste_has(p->paste, name))
        return name;
    if (contiguous && !masked && t != T_BOOL)
        return plain_access(p, load, name, t, lanes);
    Str type = vector_type(p, t, lanes);
    Text body = text_new(p->ctx), params = text_new(p->ctx);
    text_f(&params, "%s%s *p", load ? "const " : "", type_c(t));
    if (!contiguous && linear)
        text_s(&params, ", int64_t step");
    else if (!contiguous)
        vec_param(p, &params, &body, T_I64, lanes, "at");
    if (masked)
        vec_param(p, &params, &body, T_BOOL, lanes, "m");
    if (!load)
        vec_param(p, &params, &body, t, lanes, "v");
    Str elem = contiguous ? "p[i]" : linear ? "p[i * step]" : "p[at[i]]";
    if ((how[0] == 'g' && !masked && gathered(p, &body, t, lanes)) ||
        (contiguous && masked && masked_access(p, &body, load, t, lanes)) ||
        (contiguous && !masked && load && load_truths(p, &body, lanes)) ||
        (contiguous && !masked && !load && store_truths(p, &body, lanes))) {
        helper_add(p, name, load ? type : "void", params.at, &body);
        return name;
    }
    Str on = masked ? lane_of(p, "m", T_BOOL) : NULL;
    if (load) {
        loop_open(p, &body, t, lanes);
        Str value = t == T_BOOL ? str_f(p->ctx, "%s != 0", elem) : elem;
        set_lane(p, &body, t, lanes, masked ? str_f(p->ctx, "%s ? %s : 0", on, value) : value);
        text_s(&body, "    return r;\n");
    } else {
        text_f(&body, "    for (int i = 0; i < %d; i++)\n", lanes);
        if (masked)
            text_f(&body, "        if (%s)\n    ", on);
        text_f(&body, "        %s = %s%s;\n", elem, t == T_BOOL ? "(uint8_t)" : "",
               lane_of(p, "v", t));
    }
    helper_add(p, name, load ? type : "void", params.at, &body);
    return name;
}
