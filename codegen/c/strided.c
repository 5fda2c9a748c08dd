/* codegen/c/strided.c — loads of every third or fourth element (one channel of pixels) by instruction, nothing
 * behind the last one touched.
 *
 *   x[0], x[3] … x[45] →  r = 16 elements from x[0] on; r = r's and x[16..31]'s; r = r's and x[30..45]'s */
#include "codegen/c/vector.h"

/* p[0], p[step] …: whole vectors one behind the other, the last one ending with the last element. */
typedef struct Nth {
    int lanes, step;
} Nth;

static int nth_start(const Nth *n, int part) {
    return part + 1 < n->step ? part * n->lanes : (n->lanes - 1) * (n->step - 1);
}

static int nth_part(const Nth *n, int lane) {
    int part = lane * n->step / n->lanes;
    return part < n->step ? part : n->step - 1;
}

/* Where lane i comes from when `part` is put to what those before gave. */
static int nth_index(const Nth *n, int i, int part, bool both) {
    int own = nth_part(n, i), at = i * n->step - nth_start(n, own);
    return own == part ? at + (both ? n->lanes : 0) : own == 0 && part == 1 ? i * n->step : i;
}

static void nth_load(Printer *p, Text *body, const Nth *n, int bytes, int part, const char *var) {
    const char *bits = register_bits(p, bytes * n->lanes);
    const char *reg = *bits ? bits : "128";
    text_f(body,
           "    const __m%si %s%d = _mm%s_loadu_si%s((const __m%si *)(const void *)(p + %d));\n",
           reg, var, part, bits, reg, reg, nth_start(n, part));
}

static void nth_permuted(Printer *p, Text *body, const Nth *n, int bytes) {
    const char *bits = register_bits(p, bytes * n->lanes), *reg = *bits ? bits : "128";
    for (int j = 0; j < n->step; j++)
        nth_load(p, body, n, bytes, j, j ? "a" : "r");
    for (int j = 1; j < n->step; j++) {
        text_f(body, "    const __m%si r%d = _mm%s_permutex2var_epi%d(r%d, _mm%s_set_epi%d%s(", reg,
               j, bits, 8 * bytes, j - 1, bits, 8 * bytes, bytes == 8 && n->lanes == 4 ? "x" : "");
        for (int i = n->lanes; i-- > 0;)
            text_f(body, "%d%s", nth_index(n, i, j, true), i ? ", " : "");
        text_f(body, "), a%d);\n", j);
    }
}

static void nth_blended(Printer *p, Text *body, const Nth *n) {
    for (int j = 0; j < n->step; j++) {
        int mask = 0;
        nth_load(p, body, n, 4, j, "a");
        text_f(body, "    const __m256i b%d = _mm256_permutevar8x32_epi32(a%d, _mm256_set_epi32(",
               j, j);
        for (int i = n->lanes; i-- > 0;) {
            mask |= (nth_part(n, i) == j) << i;
            text_f(body, "%d%s", nth_part(n, i) == j ? i * n->step - nth_start(n, j) : 0,
                   i ? ", " : "");
        }
        text_f(body, "));\n    const __m256i r%d = ", j);
        text_f(body, j ? "_mm256_blend_epi32(r%d, b%d, 0x%x);\n" : "b%d;\n", j ? j - 1 : j, j,
               mask);
    }
}

static void nth_bytes(Printer *p, Text *body, const Nth *n) {
    for (int j = 0; j < n->step; j++) {
        nth_load(p, body, n, 1, j, "a");
        text_f(body, "    const __m128i b%d = _mm_shuffle_epi8(a%d, _mm_set_epi8(", j, j);
        for (int i = n->lanes; i-- > 0;)
            text_f(body, "%d%s", nth_part(n, i) == j ? i * n->step - nth_start(n, j) : -1,
                   i ? ", " : "");
        text_f(body, "));\n    const __m128i r%d = ", j);
        text_f(body, j ? "_mm_or_si128(r%d, b%d);\n" : "b%d;\n", j ? j - 1 : j, j);
    }
}

Str vec_every_nth(Printer *p, Dtype t, int lanes, int step) {
    const int bytes = type_bytes(t);
    const Nth n = {lanes, step};
    bool permuted = has_bit_masks(p) && bytes > 1;
    if (!has_avx(p) || t == T_BOOL || !register_bits(p, bytes * lanes) ||
        !(permuted || (bytes == 4 && lanes == 8) || (bytes == 1 && lanes == 16)))
        return NULL;
    Str name = str_f(p->ctx, "lcc_load%d_%sx%d", step, type_text(t), lanes);
    if (paste_has(p->paste, name))
        return name;
    Text body = text_new(p->ctx);
    need_intrinsics(p);
    if (permuted)
        nth_permuted(p, &body, &n, bytes);
    else if (bytes == 4)
        nth_blended(p, &body, &n);
    else
        nth_bytes(p, &body, &n);
    Str type = vector_type(p, t, lanes);
    text_f(&body, "    return (%s)r%d;\n", type, step - 1);
    helper_add(p, name, type, str_f(p->ctx, "const %s *p", type_c(t)), &body);
    return name;
}
