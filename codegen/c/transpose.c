/* codegen/c/transpose.c — as many strided vectors as they have lanes, side by side: a square block that is loaded
 * by rows and transposed in registers.
 *
 *   y[0:8] = x[a + stride*(0..7)] ; y[n:n+8] = x[a + 1 + stride*(0..7)] ; … eight of them →
 *   lcc_f32x8 t[8]; lcc_transpose_f32x8(t, x + a, stride); y[0:8] = t[0] ; …
 * (lcc_mtranspose: where the same first lanes are loaded each time, as many rows.)
 *
 * And two vectors stored with gaps of one element, each into the other's gaps: they are interleaved first. */
#include "codegen/c/vector.h"

/* ---- the helper --------------------------------------------------------------------------------- */

/* One shuffle of registers `from`<a> and `from`<b>. */
typedef struct Shuffle {
    char from;
    int a, b;
} Shuffle;

/* into<to> and into<to + 1> = low and high halves of the two, by lanes or by pairs of lanes. */
static void unpack(Text *t, const char *bits, bool pairs, Shuffle s, char into, int to) {
    for (int high = 0; high < 2; high++) {
        text_f(t, "    const __m%s %c%d = ", bits, into, to + high);
        if (pairs)
            text_f(t,
                   "_mm%s_castpd_ps(_mm%s_unpack%s_pd(_mm%s_castps_pd(%c%d), "
                   "_mm%s_castps_pd(%c%d)));\n",
                   bits, bits, high ? "hi" : "lo", bits, s.from, s.a, bits, s.from, s.b);
        else
            text_f(t, "_mm%s_unpack%s_ps(%c%d, %c%d);\n", bits, high ? "hi" : "lo", s.from, s.a,
                   s.from, s.b);
    }
}

/* b<4i + c>: column c, 4 + c, 8 + c … of rows 4i to 4i + 3. */
static void quads(Text *t, const char *bits, int lanes, bool some, bool cast) {
    for (int i = 0; i < lanes; i++) {
        text_f(t, "    const __m%s r%d = ", bits, i);
        if (some)
            text_f(t, "%d < n ? ", i);
        text_f(t, "_mm%s_loadu_ps(%sp + %d * step%s)", bits,
               cast ? "(const float *)(const void *)(" : "", i, cast ? ")" : "");
        text_f(t, some ? " : _mm%s_setzero_ps();\n" : ";\n", bits);
    }
    for (int i = 0; i < lanes; i += 2)
        unpack(t, bits, false, (Shuffle){'r', i, i + 1}, 'a', i);
    for (int i = 0; i < lanes; i += 4)
        for (int j = 0; j < 2; j++)
            unpack(t, bits, true, (Shuffle){'a', i + j, i + j + 2}, 'b', i + 2 * j);
}

/* The quarters of two registers: those of even or odd number. */
static void quarters(Text *t, Str to, Str cast, Shuffle s, bool odd) {
    text_f(t, "    %s = %s_mm512_shuffle_f32x4(%c%d, %c%d, %s);\n", to, cast, s.from, s.a, s.from,
           s.b, odd ? "0xdd" : "0x88");
}

/* 8 lanes of 64 bits: pairs of rows, then quarters twice; 4 lanes: pairs, then halves. */
static void long_block(Text *t, Str type, int lanes) {
    const char *bits = lanes == 8 ? "512" : "256";
    for (int i = 0; i < lanes; i++)
        text_f(t,
               "    const __m%sd r%d = _mm%s_loadu_pd((const double *)(const void *)(p + %d * "
               "step));\n",
               bits, i, bits, i);
    for (int i = 0; i < lanes; i++)
        text_f(t, "    const __m%sd a%d = _mm%s_unpack%s_pd(r%d, r%d);\n", bits, i, bits,
               i % 2 ? "hi" : "lo", i / 2 * 2, i / 2 * 2 + 1);
    for (int i = 0; i < 4 && lanes == 4; i++)
        text_f(t, "    t[%d] = (%s)_mm256_permute2f128_pd(a%d, a%d, 0x%d);\n", i, type, i % 2,
               i % 2 + 2, i < 2 ? 20 : 31);
    /* b<2q + c>: rows 4(q/2) .. +3 of columns c and c + 4 (q even), c + 2 and c + 6 (q odd) */
    for (int i = 0; i < 8 && lanes == 8; i++)
        text_f(t, "    const __m512d b%d = _mm512_shuffle_f64x2(a%d, a%d, %s);\n", i,
               i / 4 * 4 + i % 2, i / 4 * 4 + i % 2 + 2, i % 4 < 2 ? "0x88" : "0xdd");
    for (int i = 0; i < 8 && lanes == 8; i++)
        text_f(t, "    t[%d] = (%s)_mm512_shuffle_f64x2(b%d, b%d, %s);\n", i, type, i % 4,
               i % 4 + 4, i < 4 ? "0x88" : "0xdd");
}

/* The two halves of all that there is, interleaved as often as a row's number has bits. */
static void short_block(Text *t, Str type, int bytes, int lanes) {
    const bool half = bytes * lanes == 8;
    int regs = half ? lanes / 2 : lanes, turn = half;
    char of = half ? 'b' : 'a';
    for (int i = 0; i < lanes; i++)
        text_f(t,
               "    const __m128i %c%d = _mm_load%s((const __m128i *)(const void *)(p + %d * "
               "step));\n",
               half ? 'r' : 'a', i, half ? "l_epi64" : "u_si128", i);
    for (int i = 0; i < lanes / 2 && half; i++)
        text_f(t, "    const __m128i b%d = _mm_unpacklo_epi8(r%d, r%d);\n", i, i, i + lanes / 2);
    for (; 1 << turn < lanes; turn++, of++)
        for (int i = 0; i < regs; i++)
            text_f(t, "    const __m128i %c%d = _mm_unpack%s_epi%d(%c%d, %c%d);\n", of + 1, i,
                   i % 2 ? "hi" : "lo", 8 * bytes, of, i / 2, of, i / 2 + regs / 2);
    for (int i = 0; i < lanes; i++)
        if (!half)
            text_f(t, "    t[%d] = (%s)%c%d;\n", i, type, of, i);
        else if (i % 2)
            text_f(t, "    t[%d] = (%s)_mm_cvtsi128_si64(_mm_unpackhi_epi64(%c%d, %c%d));\n", i,
                   type, of, i / 2, of, i / 2);
        else
            text_f(t, "    t[%d] = (%s)_mm_cvtsi128_si64(%c%d);\n", i, type, of, i / 2);
}

static void float_block(Text *t, Str cast, int lanes, bool some) {
    quads(t, lanes == 16 ? "512" : "256", lanes, some, *cast);
    for (int c = 0; c < 4 && lanes == 8; c++)
        for (int high = 0; high < 2; high++)
            text_f(t, "    t[%d] = %s_mm256_permute2f128_ps(b%d, b%d, 0x%d);\n", 4 * high + c, cast,
                   c, 4 + c, high ? 31 : 20);
    for (int i = 0; i < 16 && lanes == 16; i++)
        quarters(t, str_f(t->ctx, "const __m512 c%d", i), "",
                 (Shuffle){'b', i / 8 * 8 + i % 4, i / 8 * 8 + 4 + i % 4}, i % 8 >= 4);
    for (int i = 0; i < 16 && lanes == 16; i++)
        quarters(t, str_f(t->ctx, "t[%d]", i), cast, (Shuffle){'c', i % 8, 8 + i % 8}, i >= 8);
}

/* some: of the first n rows only. */
static Str transpose_helper(Printer *p, Dtype of, int lanes, bool some) {
    Str name = str_f(p->ctx, "lcc_%stranspose_%sx%d", some ? "m" : "", type_text(of), lanes);
    Str type = vector_type(p, of, lanes);
    if (paste_has(p->paste, name))
        return name;
    need_intrinsics(p);
    Text t = text_new(p->ctx);
    if (type_bytes(of) == 4)
        float_block(&t, of == T_F32 ? str(p->ctx, "") : str_f(p->ctx, "(%s)", type), lanes, some);
    else if (type_bytes(of) == 8)
        long_block(&t, type, lanes);
    else
        short_block(&t, type, type_bytes(of), lanes);
    helper_add(p, name, "void",
               str_f(p->ctx, "%s *t, const %s *p, int64_t step%s", type, type_c(of),
                     some ? ", int n" : ""),
               &t);
    return name;
}

/* ---- the pattern --------------------------------------------------------------------------------- */

typedef struct Strided {
    const Expr *load;
    int found;
} Strided;

static void find_strided(void *data, const Expr *e) {
    Strided *s = data;
    if ((e->op != OP_LOAD && e->op != OP_MLOAD) || e->kid[e->nkid - 1]->op != OP_RAMP ||
        expr_is(e->kid[e->nkid - 1]->kid[1], 1))
        return;
    s->load = e;
    s->found++;
}

/* The only strided load of a whole vector that s stores side by side; NULL. */
static const Expr *strided_load(Printer *p, const Stmt *s, int lanes) {
    if (!s || s->op != STMT_STORE || s->b || type_lanes(s->a->type) != lanes ||
        s->index[0]->op != OP_RAMP || !expr_is(s->index[0]->kid[1], 1) || map_get(p->regs, s->buf))
        return NULL;
    Strided st = {NULL, 0};
    expr_walk(p->ctx, s->a, find_strided, &st);
    bool moved = st.load == s->a || type_dtype(s->a->type) != T_BOOL;
    return st.found == 1 && st.load->u.buf != s->buf && type_lanes(st.load->type) == lanes &&
                   moved && !map_get(p->regs, st.load->u.buf)
               ? st.load
               : NULL;
}

/* How many lanes a mask lets through, which are the first ones; -1: not known. */
static int64_t first_lanes(const Expr *mask) {
    const Expr *ramp = mask->op == OP_LT ? mask->kid[0] : NULL, *end = ramp ? mask->kid[1] : NULL;
    int64_t from, to;
    if (!ramp || ramp->op != OP_RAMP || !expr_is(ramp->kid[1], 1) ||
        !expr_is_int(ramp->kid[0], &from) ||
        !(end->op == OP_INT || (end->op == OP_BCAST && expr_is_int(end->kid[0], NULL))))
        return -1;
    to = end->op == OP_INT ? end->u.i : end->kid[0]->u.i;
    return to - from;
}

/* Has a square block of these lanes instructions? */
static bool has_block(const Printer *p, Dtype t, int lanes, bool masked) {
    const int bytes = type_bytes(t);
    return bytes == 4
               ? (lanes == 8 || lanes == 16) && 4 * lanes <= p->mach->vec && (!masked || t == T_F32)
           : bytes == 8 ? (lanes == 4 || lanes == 8) && 8 * lanes <= p->mach->vec && !masked
                        : (lanes == 8 || lanes * bytes == 16) && !masked && has_avx(p);
}

/* Stores a row of a block; truths are moved as bytes. */
static void store_row(Printer *p, const Stmt *s, const Expr *load, Str row) {
    const int lanes = type_lanes(s->a->type);
    if (type_dtype(s->a->type) == T_BOOL) {
        print_start(p);
        text_f(p->t, "%s(", vec_access(p, "store", T_U8, lanes, false));
        print_address(p, s->buf, s->index[0]->kid[0]);
        text_f(p->t, ", %s);\n", row);
        return;
    }
    map_put(p->names, load, (void *)(uintptr_t)row);
    print_vector_store(p, s);
    map_put(p->names, load, NULL);
}

const Stmt *print_transposed(Printer *p, const Stmt *s) {
    int lanes = type_lanes(s->a->type);
    const Expr *load[16] = {0};
    const Stmt *last = s;
    bool masked = false;
    if (lanes < 4 || lanes > 16 || !has_avx(p))
        return NULL;
    for (int i = 0; i < lanes; i++, last = i < lanes ? last->next : last) {
        load[i] = strided_load(p, last, lanes);
        masked = load[0] && load[0]->op == OP_MLOAD;
        if (!load[i] || !has_block(p, type_dtype(load[i]->type), lanes, masked) ||
            last->buf != s->buf || load[i]->u.buf != load[0]->u.buf || load[i]->op != load[0]->op ||
            (masked && load[i]->kid[0] != load[0]->kid[0]))
            return NULL;
        const Expr *at = load[i]->kid[masked], *first = load[0]->kid[masked];
        if (at->kid[1] != first->kid[1] ||
            at->kid[0] != expr_add(p->ctx, first->kid[0], expr_i(p->ctx, i)))
            return NULL;
    }
    int64_t rows = masked ? first_lanes(load[0]->kid[0]) : lanes;
    if (rows < 0)
        return NULL;
    print_line(p, "{");
    int mark = print_open(p);
    Str name = print_declare(p, load[0], "block");
    Dtype t = type_dtype(load[0]->type) == T_BOOL ? T_U8 : type_dtype(load[0]->type);
    print_line(p, "%s %s[%d];", vector_type(p, t, lanes), name, lanes);
    print_start(p);
    text_f(p->t, "%s(%s, ", transpose_helper(p, t, lanes, masked), name);
    print_address(p, load[0]->u.buf, load[0]->kid[masked]->kid[0]);
    text_s(p->t, ", ");
    print_expr(p, load[0]->kid[masked]->kid[1], P_ASSIGN);
    if (masked)
        text_f(p->t, ", %lld", (long long)rows);
    text_s(p->t, ");\n");
    for (int i = 0; i < lanes; i++, s = s->next)
        store_row(p, s, load[i], str_f(p->ctx, "%s[%d]", name, i));
    print_close(p, mark);
    print_line(p, "}");
    return last;
}

/* ---- pairs ----------------------------------------------------------------------------------------- */

/* The low or the high half of a[0], b[0], a[1], b[1] … */
static Str interleave_helper(Printer *p, int lanes, bool high) {
    Str name = str_f(p->ctx, "lcc_%s_f32x%d", high ? "pairs_high" : "pairs", lanes);
    Str type = vector_type(p, T_F32, lanes);
    if (paste_has(p->paste, name))
        return name;
    Text t = text_new(p->ctx);
    text_f(&t, "    return (%s){", type);
    for (int i = 0; i < lanes; i++)
        text_f(&t, "%s%c[%d]", i ? ", " : "", i % 2 ? 'b' : 'a', (high ? lanes / 2 : 0) + i / 2);
    text_s(&t, "};\n");
    helper_add(p, name, type, str_f(p->ctx, "%s a, %s b", type, type), &t);
    return name;
}

/* Stores a whole vector of f32 with gaps of one? */
static bool stores_with_gaps(const Printer *p, const Stmt *s) {
    return s && s->op == STMT_STORE && !s->b && type_dtype(s->a->type) == T_F32 &&
           type_lanes(s->a->type) * 4 <= p->mach->vec && s->nindex == 1 &&
           s->index[0]->op == OP_RAMP && expr_is(s->index[0]->kid[1], 2) &&
           !map_get(p->regs, s->buf);
}

const Stmt *print_interleaved(Printer *p, const Stmt *s) {
    const Stmt *other = s->next;
    while (other && other->op == STMT_LET && !expr_uses_buf(other->a, s->buf))
        other = other->next;
    if (!stores_with_gaps(p, s) || !stores_with_gaps(p, other) || s->buf != other->buf ||
        s->a->type != other->a->type || expr_uses_buf(other->a, s->buf) ||
        other->index[0]->kid[0] != expr_add(p->ctx, s->index[0]->kid[0], expr_i(p->ctx, 1)))
        return NULL;
    int lanes = type_lanes(s->a->type);
    for (const Stmt *let = s->next; let != other; let = let->next)
        if (map_get(p->used, let->var))
            print_let(p, let);
    print_line(p, "{");
    int mark = print_open(p);
    Str name[2];
    for (int i = 0; i < 2; i++) {
        name[i] = print_declare(p, NULL, i ? "odd" : "even");
        print_start(p);
        text_f(p->t, "const %s %s = ", vector_type(p, T_F32, lanes), name[i]);
        print_expr(p, (i ? other : s)->a, P_ASSIGN);
        text_s(p->t, ";\n");
    }
    for (int i = 0; i < 2; i++) {
        print_start(p);
        text_f(p->t, "%s(", vec_access(p, "store", T_F32, lanes, false));
        print_address(p, s->buf, expr_add(p->ctx, s->index[0]->kid[0], expr_i(p->ctx, i * lanes)));
        text_f(p->t, ", %s(%s, %s));\n", interleave_helper(p, lanes, i), name[0], name[1]);
    }
    print_close(p, mark);
    print_line(p, "}");
    return other;
}
