/* codegen/c/vector.c — vector expressions with GNU vectors and x86 intrinsics.
 *
 *   fma(x[i, n +: 16], bcast(w[n]), t[0 +: 16])
 *   →  _mm512_fmadd_ps(lcc_load_f32x16(x + i * 64 + n), lcc_splat_f32x16(w[n]), t_0)
 * What has neither an operator nor an instruction calls a helper that goes lane by lane (lanes.c). */
#include "codegen/c/vector.h"

#include <math.h>
#include <string.h>

typedef struct Simd {
    uint8_t op, dtype, lanes;
    const char *text;
} Simd;

#define SIMD(op, dtype, lanes, text) {OP_##op, T_##dtype, lanes, text},
static const Simd SIMD_TABLE[] = {
#include "codegen/c/simd.def"
};
static const Simd NEON_TABLE[] = {
#include "codegen/c/neon.def"
};
#undef SIMD

/* ---- types ------------------------------------------------------------------------------------------ */

bool has_bit_masks(const Printer *p) {
    return p->mach->vec >= 64;
}

bool has_avx(const Printer *p) {
    return p->mach->vec >= 32;
}

bool has_neon(const Printer *p) {
    return strcmp(p->mach->isa, "neon") == 0;
}

const char *register_bits(const Printer *p, int bytes) {
    if (has_neon(p) || bytes > p->mach->vec)
        return NULL;
    return bytes == 64 ? "512" : bytes == 32 ? "256" : bytes == 16 ? "" : NULL;
}

void need_intrinsics(Printer *p) {
    paste_include(p->paste, has_neon(p) ? "arm_neon.h" : "immintrin.h");
}

Dtype bits_type(Dtype t, bool is_signed) {
    switch (type_bytes(t)) {
    case 1:
        return is_signed ? T_I8 : T_U8;
    case 2:
        return is_signed ? T_I16 : T_U16;
    case 4:
        return is_signed ? T_I32 : T_U32;
    default:
        return is_signed ? T_I64 : T_U64;
    }
}

Str vector_type(Printer *p, Dtype t, int lanes) {
    bool mask = t == T_BOOL, bits = mask && has_bit_masks(p);
    int size = mask ? 4 : type_bytes(t);
    Str name =
        mask ? str_f(p->ctx, "lcc_m%d", lanes) : str_f(p->ctx, "lcc_%sx%d", type_text(t), lanes);
    if (paste_has(p->paste, name))
        return name;
    if (lanes < 2 || lanes > 64 || (lanes & (lanes - 1)))
        internal_error(p->ctx, "no vector of %d lanes", lanes);
    if (bits) {
        int width = lanes < 8 ? 8 : lanes;
        paste_add(p->paste, name, str_f(p->ctx, "typedef uint%d_t %s;", width, name));
        return name;
    }
    if (size * lanes >
        p->mach->vec) /* helpers are inlined: how they would be called does not matter */
        paste_add(p->paste, str(p->ctx, "lcc_wide"),
                  str(p->ctx,
                      "#if defined(__clang__)\n#pragma clang diagnostic ignored \"-Wpsabi\"\n"
                      "#elif defined(__GNUC__)\n"
                      "#pragma GCC diagnostic ignored \"-Wpsabi\"\n#endif"));
    const char *elem = mask ? "int32_t" : type_c(t);
    paste_add(
        p->paste, name,
        str_f(p->ctx, "typedef %s %s __attribute__((vector_size(%d)));", elem, name, size * lanes));
    return name;
}

const char *ctype_vector(Printer *p, Type t) {
    return vector_type(p, type_dtype(t), type_lanes(t));
}

/* ---- calls ----------------------------------------------------------------------------------------- */

static void call_open(Printer *p, Str name) {
    text_s(p->t, name);
    text_c(p->t, '(');
}

/* A kid as an argument of a helper. */
static void print_kid(Printer *p, const Expr *e) {
    bool close =
        type_lanes(e->type) > 1 && vec_arg_open(p, p->t, type_dtype(e->type), type_lanes(e->type));
    print_expr(p, e, P_ASSIGN);
    text_s(p->t, close ? "}" : "");
}

static void call_kids(Printer *p, Str name, int n, const Expr *const *kid) {
    call_open(p, name);
    for (int i = 0; i < n; i++) {
        text_s(p->t, i ? ", " : "");
        print_kid(p, kid[i]);
    }
    text_c(p->t, ')');
}

/* The scalar all lanes equal, or NULL. */
static const Expr *uniform(Printer *p, const Expr *e) {
    if (e->op == OP_BCAST)
        return e->kid[0];
    if (e->op == OP_INT)
        return expr_int(p->ctx, type_dtype(e->type), e->u.i);
    return e->op == OP_FLT ? expr_flt(p->ctx, type_dtype(e->type), e->u.f) : NULL;
}

static void print_splat(Printer *p, const Expr *scalar, Type t) {
    call_open(p, vec_splat(p, type_dtype(t), type_lanes(t)));
    print_element(p, scalar, type_dtype(scalar->type) == T_BOOL ? T_I32 : type_dtype(scalar->type));
    text_c(p->t, ')');
}

/* ---- access ----------------------------------------------------------------------------------------- */

void print_address(Printer *p, const Buf *b, const Expr *index) {
    Str name = map_get(p->names, b);
    if (name)
        text_s(p->t, name);
    else
        p->outside(p, b, P_ADD);
    if (expr_is(index, 0))
        return;
    text_s(p->t, " + ");
    print_expr(p, index, P_MUL);
}

/* The helper for an access to b at `index`, opened as a call up to where a stored value goes. */
static void access_open(Printer *p, const Buf *b, const Expr *index, const Expr *mask, bool store) {
    Dtype t = type_dtype(b->type);
    int lanes = type_lanes(index->type);
    bool linear = index->op == OP_RAMP, contiguous = linear && expr_is(index->kid[1], 1);
    bool pairs = linear && !store && !mask && t == T_F32 && expr_is(index->kid[1], 2);
    const char *how = contiguous ? (store ? "store" : "load")
                      : linear   ? (store ? "stores" : "loads")
                                 : (store ? "scatter" : "gather");
    int64_t step;
    bool nth =
        linear && !store && !mask && expr_is_int(index->kid[1], &step) && step > 2 && step < 5;
    Str second = pairs ? vec_every_second(p, lanes)
                 : nth ? vec_every_nth(p, t, lanes, (int)step)
                       : NULL;
    if (second) {
        call_open(p, second);
        print_address(p, b, index->kid[0]);
        return;
    }
    call_open(p, vec_access(p, how, t, lanes, mask != NULL));
    print_address(p, b, linear ? index->kid[0] : expr_i(p->ctx, 0));
    if (linear && !contiguous) {
        text_s(p->t, ", ");
        print_expr(p, index->kid[1], P_ASSIGN);
    } else if (!linear) {
        text_s(p->t, ", ");
        print_kid(p, index);
    }
    if (mask) {
        text_s(p->t, ", ");
        print_kid(p, mask);
    }
}

static void print_vector_load(Printer *p, const Expr *e) {
    bool masked = e->op == OP_MLOAD;
    const Expr *index = e->kid[e->nkid - 1];
    Str ready = map_get(p->names, e); /* print_transposed has it in a register */
    if (ready) {
        text_s(p->t, ready);
        return;
    }
    if (map_get(p->regs, e->u.buf) && !reg_is_array(p, e->u.buf)) {
        print_access(p, e->u.buf, 1, &index, P_POST);
        return;
    }
    if (type_lanes(index->type) == 1) { /* a masked load of one element for all lanes */
        Str one = vec_one(p, type_dtype(e->u.buf->type), type_lanes(e->type));
        if (one) {
            call_open(p, one);
            print_address(p, e->u.buf, index);
            text_s(p->t, ", ");
            print_kid(p, e->kid[0]);
            text_c(p->t, ')');
            return;
        }
        const Expr *wide[2] = {index, expr_i(p->ctx, 0)};
        index = expr_op(p->ctx, OP_RAMP, TYPE_VEC(T_I64, type_lanes(e->type)), 2, wide);
    }
    access_open(p, e->u.buf, index, masked ? e->kid[0] : NULL, false);
    text_c(p->t, ')');
}

static void print_masked_reg(Printer *p, const Stmt *s, const Expr *index) {
    Type t = TYPE_VEC(type_dtype(s->buf->type), type_lanes(s->a->type));
    print_access(p, s->buf, 1, &index, P_POST);
    text_f(p->t, " = %s(", vec_select(p, type_dtype(t), type_lanes(t)));
    print_kid(p, s->b);
    text_s(p->t, ", ");
    print_kid(p, s->a);
    text_s(p->t, ", ");
    bool close = vec_arg_open(p, p->t, type_dtype(t), type_lanes(t));
    print_access(p, s->buf, 1, &index, P_POST);
    text_s(p->t, close ? "}" : "");
}

void print_vector_store(Printer *p, const Stmt *s) {
    const Expr *index = s->index[s->nindex - 1];
    bool macro = !s->b && index->op == OP_RAMP && expr_is(index->kid[1], 1) &&
                 type_dtype(s->buf->type) != T_BOOL;
    print_start(p);
    if (map_get(p->regs, s->buf) && !reg_is_array(p, s->buf)) {
        print_masked_reg(p, s, index); /* the other lanes stay */
    } else {
        Str past = macro && s->buf == p->stream && type_dtype(s->buf->type) == T_F32
                       ? vec_stream(p, type_lanes(index->type))
                       : NULL;
        p->streamed |= past != NULL;
        if (past) {
            call_open(p, past);
            print_address(p, s->buf, index->kid[0]);
        } else {
            access_open(p, s->buf, index, s->b, true);
        }
        text_s(p->t, ", ");
        if (macro)
            print_expr(p, s->a, P_ASSIGN);
        else
            print_kid(p, s->a);
    }
    text_s(p->t, ");\n");
}

/* ---- arithmetic ---------------------------------------------------------------------------------------- */

static const char *infix_sign(Op op, int *prec) {
    switch (op) {
    case OP_ADD:
        *prec = P_ADD;
        return " + ";
    case OP_SUB:
        *prec = P_ADD;
        return " - ";
    case OP_MUL:
        *prec = P_MUL;
        return " * ";
    case OP_DIV:
        *prec = P_MUL;
        return " / ";
    case OP_BAND:
    case OP_AND:
        *prec = P_BITAND;
        return " & ";
    case OP_BOR:
    case OP_OR:
        *prec = P_BITOR;
        return " | ";
    case OP_BXOR:
        *prec = P_BITXOR;
        return " ^ ";
    default:
        return NULL;
    }
}

/* A kid of a float operator: a scalar may stand beside a vector. */
static void print_operand(Printer *p, const Expr *e, const Expr *other, int prec) {
    const Expr *u = uniform(p, e);
    if (u && !uniform(p, other))
        print_expr(p, u, prec);
    else
        print_expr(p, e, prec);
}

/* Floats: the operator. Integers: the operator on unsigned vectors, since they wrap. */
static bool print_infix(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type);
    int own = 0;
    const char *sign = infix_sign((Op)e->op, &own);
    bool real = t == T_F32 || t == T_F64;
    bool sub_byte = t == T_I4 || t == T_I2 || t == T_U4 || t == T_U2;
    if (!sign || type_is_narrow(t) || (sub_byte && own > P_SHIFT) || (!real && e->op == OP_DIV))
        return false;
    if ((real && own < P_SHIFT) || (t == T_BOOL && own > P_SHIFT))
        return false;
    bool bitwise = own < P_SHIFT, cast = !real && !bitwise && type_kind(t) == 'I';
    if (t == T_BOOL && has_bit_masks(p)) { /* narrow integers: the promoted result goes back */
        text_f(p->t, "(%s)(", vector_type(p, t, type_lanes(e->type)));
        print_expr(p, e->kid[0], P_UNARY);
        text_s(p->t, sign);
        print_expr(p, e->kid[1], P_UNARY);
        text_c(p->t, ')');
        return true;
    }
    bool paren = cast || own < prec;
    Str as = cast ? vector_type(p, bits_type(t, false), type_lanes(e->type)) : NULL;
    if (cast)
        text_f(p->t, "(%s)", vector_type(p, t, type_lanes(e->type)));
    text_s(p->t, paren ? "(" : "");
    for (int i = 0; i < 2; i++) {
        text_s(p->t, i ? sign : "");
        if (cast)
            text_f(p->t, "(%s)", as);
        if (real)
            print_operand(p, e->kid[i], e->kid[1 - i], own + i);
        else
            print_expr(p, e->kid[i], cast || bitwise ? P_UNARY : own + i);
    }
    text_s(p->t, paren ? ")" : "");
    return true;
}

static const Simd *find_simd(const Printer *p, Op op, Dtype t, int lanes) {
    bool old = op == OP_SQRT || op == OP_MIN || op == OP_MAX; /* of SSE2; the rest came with AVX */
    bool neon = has_neon(p);
    const Simd *table = neon ? NEON_TABLE : SIMD_TABLE;
    size_t n =
        neon ? sizeof NEON_TABLE / sizeof *NEON_TABLE : sizeof SIMD_TABLE / sizeof *SIMD_TABLE;
    if (lanes * type_bytes(t) > p->mach->vec || (!neon && !old && !has_avx(p)))
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (table[i].op == op && table[i].dtype == t && table[i].lanes == lanes)
            return &table[i];
    return NULL;
}

static void print_simd(Printer *p, const Simd *s, const Expr *const *kid) {
    need_intrinsics(p);
    for (const char *at = s->text; *at; at++) {
        if (*at != '$') {
            text_c(p->t, *at);
            continue;
        }
        print_expr(p, kid[*++at - '0'], P_ASSIGN);
    }
}

Str vec_minmax_simd(Printer *p, Op op, Dtype t, int lanes) {
    const Simd *s = find_simd(p, op, t, lanes);
    if (!s)
        return NULL;
    need_intrinsics(p);
    Text text = text_new(p->ctx);
    for (const char *at = s->text; *at; at++)
        if (*at != '$')
            text_c(&text, *at);
        else
            text_c(&text, *++at == '0' ? 'a' : 'b');
    return str(p->ctx, text.at);
}

/* Known never to be NaN? */
static bool is_number(Printer *p, const Expr *e) {
    const Expr *u = uniform(p, e);
    if (u && u->op == OP_FLT)
        return !isnan(u->u.f);
    return e->op == OP_CAST && !type_is_float(type_dtype(e->kid[0]->type));
}

/* The instruction gives its second operand when one is NaN: right when the first never is. */
static void print_minmax(Printer *p, const Expr *e) {
    Dtype t = type_dtype(e->type);
    int lanes = type_lanes(e->type);
    const Simd *s = find_simd(p, (Op)e->op, t, lanes);
    const Expr *swapped[2] = {e->kid[1], e->kid[0]};
    if (s && is_number(p, e->kid[0]))
        print_simd(p, s, e->kid);
    else if (s && is_number(p, e->kid[1]))
        print_simd(p, s, swapped);
    else
        call_kids(p, vec_minmax(p, (Op)e->op, t, lanes), 2, e->kid);
}

static bool print_unary(Printer *p, const Expr *e) {
    Dtype t = type_dtype(e->type);
    int lanes = type_lanes(e->type);
    bool real = t == T_F32 || t == T_F64;
    if (e->op == OP_NEG && t == T_F32 && e->kid[0]->op == OP_ABS && !map_get(p->names, e->kid[0])) {
        text_f(p->t, "(%s)((%s)", vector_type(p, t, lanes), vector_type(p, T_U32, lanes));
        print_expr(p, e->kid[0]->kid[0], P_UNARY);
        text_s(p->t, " | 0x80000000u)");
    } else if (e->op == OP_NEG && real) {
        text_c(p->t, '-');
        print_expr(p, e->kid[0], P_POST);
    } else if (e->op == OP_ABS && real) {
        text_f(p->t, "(%s)((%s)", vector_type(p, t, lanes),
               vector_type(p, bits_type(t, false), lanes));
        print_expr(p, e->kid[0], P_UNARY);
        text_s(p->t, t == T_F32 ? " & 0x7fffffffu)" : " & 0x7fffffffffffffffu)");
    } else if (e->op == OP_NEG && type_is_int(t) && type_bits(t) >= 8) { /* wraps */
        text_f(p->t, "(%s)-(%s)", vector_type(p, t, lanes),
               vector_type(p, bits_type(t, false), lanes));
        print_expr(p, e->kid[0], P_UNARY);
    } else if (e->op == OP_NOT || e->op == OP_BNOT) {
        if (e->op == OP_BNOT && type_bits(t) < 8)
            return false;
        text_f(p->t, "(%s)~", vector_type(p, t, lanes));
        print_expr(p, e->kid[0], P_UNARY);
    } else if (e->op == OP_BITCAST && t != T_BOOL && type_dtype(e->kid[0]->type) != T_BOOL) {
        text_f(p->t, "(%s)", vector_type(p, t, lanes));
        print_expr(p, e->kid[0], P_UNARY);
    } else {
        return false;
    }
    return true;
}

/* Shifts by a constant within the width. */
static bool print_vector_shift(Printer *p, const Expr *e) {
    Dtype t = type_dtype(e->type);
    const Expr *by = uniform(p, e->kid[1]);
    int64_t n;
    int bits = 8 * type_bytes(t);
    bool sub_byte = t == T_I4 || t == T_I2 || t == T_U4 || t == T_U2;
    if (sub_byte || !by || !expr_is_int(by, &n) || n < 0 || n >= bits)
        return false;
    bool left = e->op == OP_SHL;
    Str type = vector_type(p, t, type_lanes(e->type));
    text_f(p->t, "(%s)((%s)", type,
           left ? vector_type(p, bits_type(t, false), type_lanes(e->type)) : type);
    print_expr(p, e->kid[0], P_UNARY);
    text_f(p->t, left ? " << %d)" : " >> %d)", (int)n);
    return true;
}

static bool is_count(const Expr *e) {
    return e->op == OP_RAMP && expr_is(e->kid[1], 1) && type_dtype(e->type) == T_I64;
}

/* ramp(a, 1) < bcast(b): the lanes below b - a; bcast(b) <= ramp(a, 1): all but them. */
static bool print_first_lanes(Printer *p, const Expr *e) {
    bool below = is_count(e->kid[0]);
    const Expr *ramp = e->kid[!below], *b = uniform(p, e->kid[below]);
    if (!b || !is_count(ramp) || (e->op != OP_LT && e->op != OP_LE))
        return false;
    const Expr *count = expr_sub(p->ctx, b, ramp->kid[0]);
    if ((e->op == OP_LE) == below)
        count = expr_add(p->ctx, count, expr_i(p->ctx, 1));
    if (!below)
        text_f(p->t, "(%s)~", vector_type(p, T_BOOL, type_lanes(e->type)));
    call_open(p, vec_first(p, type_lanes(e->type)));
    print_expr(p, count, P_ASSIGN);
    text_c(p->t, ')');
    return true;
}

/* ramp(a, 1) == bcast(b): the lane b - a, if there is one. */
static bool print_one_lane(Printer *p, const Expr *e) {
    bool second = is_count(e->kid[1]);
    const Expr *ramp = e->kid[second], *b = uniform(p, e->kid[!second]);
    if (!b || !is_count(ramp) || (e->op != OP_EQ && e->op != OP_NE))
        return false;
    if (e->op == OP_NE)
        text_f(p->t, "(%s)~", vector_type(p, T_BOOL, type_lanes(e->type)));
    call_open(p, vec_only(p, type_lanes(e->type)));
    print_expr(p, expr_sub(p->ctx, b, ramp->kid[0]), P_ASSIGN);
    text_c(p->t, ')');
    return true;
}

/* x != x; |x| == inf. */
static bool print_classify(Printer *p, const Expr *e) {
    Dtype t = type_dtype(e->kid[0]->type);
    int lanes = type_lanes(e->type);
    if ((e->op != OP_ISNAN && e->op != OP_ISINF) || (t != T_F32 && t != T_F64))
        return false;
    const Expr *kid[2] = {e->kid[0], e->kid[0]};
    if (e->op == OP_ISINF) {
        kid[0] = expr_op(p->ctx, OP_ABS, e->kid[0]->type, 1, e->kid);
        kid[1] = expr_bcast(p->ctx, expr_flt(p->ctx, t, INFINITY), lanes);
    }
    call_kids(p, vec_compare(p, e->op == OP_ISNAN ? OP_NE : OP_EQ, t, lanes), 2, kid);
    return true;
}

static void print_vector_select(Printer *p, const Expr *e, int prec) {
    const Expr *c = uniform(p, e->kid[0]);
    if (!c) {
        call_kids(p, vec_select(p, type_dtype(e->type), type_lanes(e->type)), 3, e->kid);
        return;
    }
    Str type = vector_type(p, type_dtype(e->type), type_lanes(e->type));
    text_s(p->t, P_COND < prec ? "(" : "");
    print_expr(p, c, P_OROR);
    for (int i = 1; i < 3; i++) { /* what an intrinsic returns is not the same type to C */
        text_f(p->t, i == 1 ? " ? (%s)" : " : (%s)", type);
        print_expr(p, e->kid[i], P_UNARY);
    }
    text_s(p->t, P_COND < prec ? ")" : "");
}

static void print_lane(Printer *p, const Expr *e) {
    const Expr *v = e->kid[0];
    int64_t i = 0;
    expr_is_int(e->kid[1], &i);
    bool mask = type_dtype(v->type) == T_BOOL;
    text_s(p->t, mask ? "((" : "(");
    print_expr(p, v, P_ASSIGN);
    if (mask && has_bit_masks(p))
        text_f(p->t, ") >> %d & 1)", (int)i);
    else
        text_f(p->t, mask ? ")[%d] != 0)" : ")[%d]", (int)i);
}

/* Ops on truths and comparisons of floats below 32 bits are done in f32. */
static const Expr *widened(Printer *p, const Expr *e) {
    const Expr *kid[3];
    for (int i = 0; i < e->nkid; i++)
        kid[i] = type_is_narrow(type_dtype(e->kid[i]->type)) ? expr_cast(p->ctx, T_F32, e->kid[i])
                                                             : e->kid[i];
    bool keeps = type_is_narrow(type_dtype(e->type));
    Type t = keeps ? TYPE_VEC(T_F32, type_lanes(e->type)) : e->type;
    return expr_op(p->ctx, (Op)e->op, t, e->nkid, kid);
}

static bool print_narrow(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->nkid ? e->kid[e->op == OP_SELECT]->type : e->type);
    if (!e->nkid || !type_is_narrow(t) || e->op == OP_SELECT || e->op == OP_BITCAST || e->nkid > 3)
        return false;
    const Expr *wide = widened(p, e);
    if (type_is_narrow(type_dtype(e->type)))
        call_kids(p, vec_cast(p, OP_NEG, T_F32, type_dtype(e->type), type_lanes(e->type)), 1,
                  &wide);
    else
        print_expr(p, wide, prec);
    return true;
}

/* ---- all ------------------------------------------------------------------------------------- */

static void print_ramp(Printer *p, const Expr *e) {
    call_kids(p, vec_ramp(p, type_dtype(e->type), type_lanes(e->type)), 2, e->kid);
}

static bool print_structure(Printer *p, const Expr *e, int prec) {
    switch (e->op) {
    case OP_INT:
    case OP_FLT:
    case OP_BCAST:
        print_splat(p, uniform(p, e), e->type);
        return true;
    case OP_RAMP:
        print_ramp(p, e);
        return true;
    case OP_LANE:
        print_lane(p, e);
        return true;
    case OP_LOAD:
    case OP_MLOAD:
        print_vector_load(p, e);
        return true;
    case OP_SELECT:
        print_vector_select(p, e, prec);
        return true;
    case OP_VADD:
    case OP_VMAX:
    case OP_VMIN:
        call_kids(
            p, vec_reduce(p, (Op)e->op, type_dtype(e->kid[0]->type), type_lanes(e->kid[0]->type)),
            1, e->kid);
        return true;
    default:
        return false;
    }
}

void print_vector(Printer *p, const Expr *e, int prec) {
    int lanes = type_lanes(e->type);
    if (e->op == OP_DOT4 || e->op == OP_DOT2) {
        print_dot(p, e);
        return;
    }
    if (print_structure(p, e, prec) ||
        (e->op != OP_CAST && e->op != OP_CASTW && print_narrow(p, e, prec)))
        return;
    Dtype of = type_dtype(e->kid[0]->type);
    bool shift = e->op == OP_SHL || e->op == OP_SHR;
    if (e->op == OP_CAST || e->op == OP_CASTW) {
        if (of == type_dtype(e->type))
            print_expr(p, e->kid[0], prec);
        else
            call_kids(p, vec_cast(p, (Op)e->op, of, type_dtype(e->type), lanes), 1, e->kid);
    } else if (e->op == OP_EQ || e->op == OP_NE || e->op == OP_LT || e->op == OP_LE) {
        if (!print_first_lanes(p, e) && !print_one_lane(p, e))
            call_kids(p, vec_compare(p, (Op)e->op, of, lanes), 2, e->kid);
    } else if (e->op == OP_MIN || e->op == OP_MAX) {
        print_minmax(p, e);
    } else if (print_infix(p, e, prec) || print_unary(p, e) || print_classify(p, e) ||
               (shift && print_vector_shift(p, e))) {
        return;
    } else {
        const Simd *s = find_simd(p, (Op)e->op, type_dtype(e->type), lanes);
        Str own = type_dtype(e->type) == T_F32 ? math_function(p, (Op)e->op, lanes) : NULL;
        if (s)
            print_simd(p, s, e->kid);
        else
            call_kids(p, own ? own : vec_op(p, e), e->nkid, e->kid);
    }
}
