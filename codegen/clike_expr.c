/* codegen/clike_expr.c — scalar expressions in C99.
 *
 * What C leaves undefined never reaches it: integers wrap through unsigned, divisions and shifts go through
 * stub functions unless the ranges prove them safe, conversions saturate by hand.
 *
 *   a + b (i32)  →  (int32_t)((uint32_t)a + (uint32_t)b)      i//4 (i >= 0)  →  i / 4 */
#include "codegen/clike.h"

#include <math.h>
#include <string.h>

typedef struct Spell {
    const char *text;
    uint8_t prec;
} Spell;

enum { KIND_F, KIND_I, KIND_U, KIND_B, KINDS };

static const Spell SPELLS[OP_COUNT][KINDS] = {
#define SPELL(op, kind, prec, text) [OP_##op][KIND_##kind] = {text, prec},
#include "codegen/c/spell.def"
#undef SPELL
};

/* ---- types ------------------------------------------------------------------------------------- */

/* The type an operation on t is computed in. */
static Dtype type_calc(Dtype t) {
    if (type_is_narrow(t))
        return T_F32;
    char kind = type_kind(t);
    if ((kind != 'I' && kind != 'U') || type_bytes(t) >= 4)
        return t;
    return kind == 'I' ? T_I32 : T_U32;
}

const char *ctype_value(Dtype t) {
    return t == T_BOOL ? "int" : type_c(t);
}

static const char *ctype_unsigned(Dtype t) {
    return type_bytes(t) == 8 ? "uint64_t" : "uint32_t";
}

static bool is_sub_byte(Dtype t) {
    return t == T_I4 || t == T_I2 || t == T_U4 || t == T_U2;
}

/* ---- names, spellings --------------------------------------------------------------------------- */

void print_name(Printer *p, const char *name) {
    if (!paste_need(p->paste, name))
        internal_error(p->ctx, "no stub piece %s", name);
    text_s(p->t, name);
}

/* Precedence that kid k of an operator needs so that no compiler suggests parentheses. */
static int kid_prec(int prec, int k) {
    if (prec == P_POST)
        return P_ASSIGN;
    if (prec == P_UNARY)
        return P_POST;
    if (prec <= P_BITAND || prec == P_SHIFT)
        return P_UNARY;
    return prec + k;
}

void print_spelled(Printer *p, const char *text, Dtype t, const Expr *e,
                   void (*kid)(Printer *p, const Expr *e, int prec), int prec) {
    Str suffix = t == T_F32 ? "f" : "";
    while (*text) {
        size_t n = strcspn(text, "$");
        size_t name = strcspn(text, "(");
        if (name > 2 && text[name] == '(') { /* a call: its name ends at the parenthesis */
            Text call = text_new(p->ctx);
            for (size_t i = 0; i < name; i++) {
                if (text[i] != '$')
                    text_c(&call, text[i]);
                else
                    text_s(&call, text[++i] == 't' ? type_text(t) : suffix);
            }
            print_name(p, call.at);
            text += name;
            n = strcspn(text, "$");
        }
        text_n(p->t, text, n);
        text += n;
        if (*text != '$')
            continue;
        int k = text[1] - '0';
        kid(p, e->kid[k], kid_prec(prec, k));
        text += 2;
    }
}

/* ---- constants ----------------------------------------------------------------------------------- */

static void print_int(Printer *p, Dtype t, int64_t v) {
    if (t == T_U64)
        text_f(p->t, "%lluu", (unsigned long long)v);
    else if (t == T_U32)
        text_f(p->t, "%lluu", (unsigned long long)(v & 0xffffffff));
    else if (v == INT64_MIN)
        text_s(p->t, "(-9223372036854775807 - 1)");
    else if (t == T_I32 && v == INT32_MIN)
        text_s(p->t, "(-2147483647 - 1)");
    else
        text_f(p->t, "%lld", (long long)v);
}

static void print_float(Printer *p, Dtype t, double v) {
    bool f32 = t == T_F32;
    if (isfinite(v)) {
        text_float(p->t, v, f32);
        text_s(p->t, f32 ? "f" : "");
        return;
    }
    print_name(p, f32 ? "lcc_bits_f32" : "lcc_bits_f64");
    const char *bits = isnan(v) ? "7fc00000" : v > 0 ? "7f800000" : "ff800000";
    if (f32)
        text_f(p->t, "(0x%su)", bits);
    else
        text_f(p->t, "(0x%s00000000u)", isnan(v) ? "7ff80000" : v > 0 ? "7ff00000" : "fff00000");
}

void print_const(Printer *p, Dtype t, const Expr *e, int prec) {
    (void)
        prec; /* a negative constant is an operand of unary strength: P_POST is asked by NEG alone */
    if (e->op == OP_INT) {
        bool paren = prec == P_POST && e->u.i < 0;
        text_s(p->t, paren ? "(" : "");
        print_int(p, t, e->u.i);
        text_s(p->t, paren ? ")" : "");
        return;
    }
    if (type_is_narrow(t)) {
        unsigned char bits[2] = {0, 0};
        const_put(t, bits, 0, e);
        uint16_t half;
        memcpy(&half, bits, sizeof half);
        text_f(p->t, "0x%x", type_bytes(t) == 2 ? half : bits[0]);
        return;
    }
    bool paren = prec == P_POST && signbit(e->u.f) && isfinite(e->u.f);
    text_s(p->t, paren ? "(" : "");
    print_float(p, t, e->u.f);
    text_s(p->t, paren ? ")" : "");
}

/* ---- widening and wrapping ------------------------------------------------------------------------ */

/* e in the type it is computed in: floats below 32 bits as f32; small integers are promoted by C. */
static void print_calc(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type);
    if (!type_is_narrow(t)) {
        print_expr(p, e, prec);
        return;
    }
    print_name(p, str_f(p->ctx, "lcc_%s_to_f32", type_text(t)));
    text_c(p->t, '(');
    print_expr(p, e, P_ASSIGN);
    text_c(p->t, ')');
}

/* Opens what brings a value of the computed type back to t; returns what closes it. op: what was
 * computed. */
static const char *wrap_open(Printer *p, Dtype t, int op) {
    if (type_is_narrow(t)) {
        const char *how = "";
        if (op == OP_CASTW && type_bytes(t) == 1)
            how = "_wide";
        else if (op != OP_CAST && t == T_F8E5M2)
            how = "_calc";
        print_name(p, str_f(p->ctx, "lcc_f32_to_%s%s", type_text(t), how));
        text_c(p->t, '(');
        return ")";
    }
    if (t == T_I4 || t == T_I2) {
        print_name(p, t == T_I4 ? "lcc_wrap_i4" : "lcc_wrap_i2");
        text_c(p->t, '(');
        return ")";
    }
    if (is_sub_byte(t)) {
        text_s(p->t, "(uint8_t)((");
        return t == T_U4 ? ") & 15)" : ") & 3)";
    }
    text_f(p->t, "(%s)(", type_c(t));
    return ")";
}

/* ---- integer arithmetic ---------------------------------------------------------------------------- */

/* Index arithmetic: i64 made of symbols only, which its maker knows not to wrap. */
static bool is_plain(Printer *p, const Expr *e) {
    if (e->op == OP_INT || (e->op == OP_SYM && e->u.sym->kind != SYM_LET))
        return true;
    if (e->op == OP_LOAD || e->op == OP_MLOAD || e->op == OP_BITCAST ||
        (e->type != T_I64 && e->type != T_BOOL))
        return false;
    const char *known = map_get(p->plain, e);
    if (known)
        return *known == 'y';
    bool plain = true;
    if (e->op == OP_SYM)
        plain = e->u.sym->value && is_plain(p, e->u.sym->value);
    for (int i = 0; plain && i < e->nkid; i++)
        plain = is_plain(p, e->kid[i]);
    map_put(p->plain, e, (void *)(uintptr_t)(plain ? "y" : "n"));
    return plain;
}

/* Proved not to leave its (32 or 64 bit signed) type? */
static bool is_exact(Printer *p, const Expr *e, Dtype t) {
    if (e->type == T_I64 && is_plain(p, e))
        return true;
    Range a = expr_range(p->ctx, e->kid[0]), b = a;
    if (e->nkid > 1)
        b = expr_range(p->ctx, e->kid[1]);
    int64_t lo = INT64_MAX, hi = INT64_MIN;
    for (int i = 0; i < 4; i++) {
        int64_t x = i & 1 ? a.max : a.min, y = i & 2 ? b.max : b.min, v = 0;
        bool ok = e->op == OP_ADD   ? add_ok(x, y, &v)
                  : e->op == OP_SUB ? sub_ok(x, y, &v)
                  : e->op == OP_MUL ? mul_ok(x, y, &v)
                                    : sub_ok(0, x, &v);
        if (!ok)
            return false;
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    return lo >= type_min(t) && hi <= type_max(t);
}

static bool is_arith(const Expr *e) {
    return e->op == OP_ADD || e->op == OP_SUB || e->op == OP_MUL || e->op == OP_NEG;
}

static int arith_prec(const Expr *e) {
    return e->op == OP_NEG ? P_UNARY : e->op == OP_MUL ? P_MUL : P_ADD;
}

static void print_arith(Printer *p, const Expr *e, void (*kid)(Printer *, const Expr *, int)) {
    static const char *const sign[] = {[OP_ADD] = " + ", [OP_SUB] = " - ", [OP_MUL] = " * "};
    int prec = arith_prec(e);
    if (e->op == OP_NEG) {
        text_c(p->t, '-');
        kid(p, e->kid[0], P_POST);
        return;
    }
    kid(p, e->kid[0], prec);
    int64_t v;
    if (e->op == OP_ADD && kid == print_expr && expr_is_int(e->kid[1], &v) && v < 0 &&
        v > INT32_MIN && type_kind(type_dtype(e->type)) == 'I') {
        text_f(p->t, " - %lld", -(long long)v);
        return;
    }
    text_s(p->t, sign[e->op]);
    kid(p, e->kid[1], prec + 1);
}

/* e modulo 2^width as unsigned; e is of type i32, i64 or smaller. */
static void print_unsigned(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type);
    const char *ctype = ctype_unsigned(t);
    int own = is_arith(e) ? arith_prec(e) : P_UNARY;
    bool paren = own < prec && own != P_UNARY;
    text_s(p->t, paren ? "(" : "");
    if (e->op == OP_INT) {
        print_int(p, type_bytes(t) == 8 ? T_U64 : T_U32, e->u.i);
    } else if (e->op == OP_NEG && type_calc(t) == t && !is_exact(p, e, t)) {
        text_s(p->t, "(0u - ");
        print_unsigned(p, e->kid[0], P_MUL);
        text_s(p->t, ")");
    } else if (is_arith(e) && type_calc(t) == t && !is_exact(p, e, t)) {
        print_arith(p, e, print_unsigned);
    } else {
        text_f(p->t, "(%s)", ctype);
        print_expr(p, e, P_UNARY);
    }
    text_s(p->t, paren ? ")" : "");
}

static void print_int_arith(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type), calc = type_calc(t);
    if (calc == t && (type_kind(t) == 'U' ? e->op != OP_NEG : is_exact(p, e, t))) {
        bool paren = arith_prec(e) < prec;
        text_s(p->t, paren ? "(" : "");
        print_arith(p, e, print_expr);
        text_s(p->t, paren ? ")" : "");
    } else if (calc == t) {
        text_f(p->t, "(%s)(", type_c(t));
        if (e->op == OP_NEG) {
            text_s(p->t, "0u - ");
            print_unsigned(p, e->kid[0], P_MUL);
        } else {
            print_arith(p, e, print_unsigned);
        }
        text_c(p->t, ')');
    } else {
        const char *close = wrap_open(p, t, e->op);
        print_arith(p, e, e->op == OP_MUL && t == T_U16 ? print_unsigned : print_expr);
        text_s(p->t, close);
    }
}

/* Division whose operands are proved to make it C's own. */
static bool is_c_division(Printer *p, const Expr *e) {
    Range b = expr_range(p->ctx, e->kid[1]);
    bool positive = b.min > 0;
    if (type_kind(type_dtype(e->type)) == 'U')
        return positive;
    if (e->op == OP_FDIV || e->op == OP_MOD)
        return positive && expr_range(p->ctx, e->kid[0]).min >= 0;
    return positive || b.max < -1;
}

static void print_division(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type);
    bool wrap = type_calc(t) != t, paren = !wrap && P_MUL < prec;
    const char *close = wrap ? wrap_open(p, t, e->op) : paren ? ")" : "";
    text_s(p->t, paren ? "(" : "");
    print_expr(p, e->kid[0], P_MUL);
    text_s(p->t, e->op == OP_DIV || e->op == OP_FDIV ? " / " : " % ");
    print_expr(p, e->kid[1], P_UNARY);
    text_s(p->t, close);
}

static void print_shift(Printer *p, const Expr *e) {
    Dtype t = type_dtype(e->type);
    bool is_signed = type_kind(t) == 'I', left = e->op == OP_SHL;
    const char *close = "";
    if (is_sub_byte(t))
        close = wrap_open(p, t, e->op);
    if (t != T_U64 && !(t == T_I64 && !left))
        text_f(p->t, "(%s)", is_sub_byte(t) ? "int32_t" : type_c(t));
    if (left) {
        print_name(p, "lcc_shl");
        text_s(p->t, is_signed ? "((uint64_t)(int64_t)" : "((uint64_t)");
    } else {
        print_name(p, is_signed ? "lcc_sar" : "lcc_shr");
        text_s(p->t, is_signed ? "((int64_t)" : "((uint64_t)");
    }
    print_expr(p, e->kid[0], P_UNARY);
    text_s(p->t, type_kind(type_dtype(e->kid[1]->type)) == 'I' ? ", (uint64_t)(int64_t)"
                                                               : ", (uint64_t)");
    print_expr(p, e->kid[1], P_UNARY);
    text_c(p->t, ')');
    text_s(p->t, close);
}

/* ---- truth ----------------------------------------------------------------------------------------- */

static void print_compare(Printer *p, const Expr *e, int prec) {
    static const char *const sign[] = {
        [OP_EQ] = " == ", [OP_NE] = " != ", [OP_LT] = " < ", [OP_LE] = " <= "};
    Dtype t = type_dtype(e->kid[0]->type);
    if (t == T_STR) {
        text_s(p->t, e->op == OP_NE ? "!" : "");
        print_name(p, "lcc_str_eq");
        text_c(p->t, '(');
        print_expr(p, e->kid[0], P_ASSIGN);
        text_s(p->t, ", ");
        print_expr(p, e->kid[1], P_ASSIGN);
        text_c(p->t, ')');
        return;
    }
    int own = e->op == OP_EQ || e->op == OP_NE ? P_EQ : P_REL;
    text_s(p->t, own < prec ? "(" : "");
    print_calc(p, e->kid[0], P_SHIFT);
    text_s(p->t, sign[e->op]);
    print_calc(p, e->kid[1], P_SHIFT);
    text_s(p->t, own < prec ? ")" : "");
}

static void print_logic(Printer *p, const Expr *e, int prec) {
    if (e->op == OP_NOT) {
        text_c(p->t, '!');
        print_expr(p, e->kid[0], P_UNARY);
        return;
    }
    int own = e->op == OP_AND ? P_ANDAND : P_OROR;
    text_s(p->t, own < prec ? "(" : "");
    for (int i = 0; i < 2; i++) {
        text_s(p->t, i == 0 ? "" : own == P_ANDAND ? " && " : " || ");
        print_expr(p, e->kid[i], e->kid[i]->op == e->op ? own : P_BITOR);
    }
    text_s(p->t, own < prec ? ")" : "");
}

static void print_select(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type);
    bool cast = t != T_BOOL && type_calc(t) != t, paren = !cast && P_COND < prec;
    if (cast)
        text_f(p->t, "(%s)", type_c(t));
    text_s(p->t, paren || cast ? "(" : "");
    print_expr(p, e->kid[0], P_OROR);
    text_s(p->t, " ? ");
    if (t == T_I64 && expr_is_const(e->kid[1]) && expr_is_const(e->kid[2]))
        text_s(p->t, "(int64_t)"); /* else the constants would make it an int */
    print_expr(p, e->kid[1], P_OROR);
    text_s(p->t, " : ");
    print_expr(p, e->kid[2], P_COND);
    text_s(p->t, paren || cast ? ")" : "");
}

/* ---- conversions ------------------------------------------------------------------------------------ */

static void print_call1(Printer *p, const char *name, const Expr *e,
                        void (*kid)(Printer *, const Expr *, int)) {
    print_name(p, name);
    text_c(p->t, '(');
    kid(p, e, P_ASSIGN);
    text_c(p->t, ')');
}

static void cast_float_to_int(Printer *p, const Expr *a, Dtype to) {
    Dtype from = type_calc(type_dtype(a->type));
    if (type_bytes(to) >= 4) {
        print_call1(p, str_f(p->ctx, "lcc_%s_to_%s", type_text(from), type_text(to)), a,
                    print_calc);
        return;
    }
    text_f(p->t, "(%s)", type_c(to));
    print_name(p, str_f(p->ctx, "lcc_clamp_%s", type_text(from)));
    text_c(p->t, '(');
    print_calc(p, a, P_ASSIGN);
    text_f(p->t, ", %d, %d)", (int)type_min(to), (int)type_max(to));
}

static void cast_to_float(Printer *p, const Expr *a, Dtype to) {
    Dtype from = type_dtype(a->type);
    if (type_calc(from) == to) {
        print_calc(p, a, P_UNARY);
    } else if (from == T_U64) {
        print_call1(p, str_f(p->ctx, "lcc_u64_to_%s", type_text(to)), a, print_expr);
    } else {
        text_f(p->t, from == T_U32 ? "(%s)(int64_t)" : "(%s)", type_c(to));
        print_calc(p, a, P_UNARY);
    }
}

static void cast_to_narrow(Printer *p, const Expr *a, Dtype to, int op) {
    Dtype from = type_dtype(a->type);
    if (to == T_F16 && from == T_F64) {
        print_call1(p, "lcc_f64_to_f16", a, print_expr);
        return;
    }
    const char *close = wrap_open(p, to, op);
    cast_to_float(p, a, T_F32);
    text_s(p->t, close);
}

static void print_cast(Printer *p, const Expr *e, int prec) {
    const Expr *a = e->kid[0];
    Dtype from = type_dtype(a->type), to = type_dtype(e->type);
    if (from == to) {
        print_expr(p, a, prec);
    } else if (to == T_BOOL) {
        text_s(p->t, P_EQ < prec ? "(" : "");
        print_calc(p, a, P_SHIFT);
        text_s(p->t, type_calc(from) == T_F32   ? " != 0.0f"
                     : type_calc(from) == T_F64 ? " != 0.0"
                                                : " != 0");
        text_s(p->t, P_EQ < prec ? ")" : "");
    } else if (type_is_narrow(to)) {
        cast_to_narrow(p, a, to, e->op);
    } else if (type_is_float(to)) {
        cast_to_float(p, a, to);
    } else if (type_is_float(from)) {
        cast_float_to_int(p, a, to);
    } else if (is_sub_byte(to)) {
        const char *close = wrap_open(p, to, e->op);
        text_s(p->t, "(int32_t)");
        print_expr(p, a, P_UNARY);
        text_s(p->t, close);
    } else {
        text_f(p->t, "(%s)", type_c(to));
        print_expr(p, a, P_UNARY);
    }
}

static void print_bitcast(Printer *p, const Expr *e) {
    const Expr *a = e->kid[0];
    Dtype from = type_dtype(a->type), to = type_dtype(e->type);
    bool float_from = from == T_F32 || from == T_F64, float_to = to == T_F32 || to == T_F64;
    const char *bits = ctype_unsigned(from == T_F64 || to == T_F64 ? T_U64 : T_U32);
    if (float_from == float_to) {
        text_f(p->t, "(%s)", type_c(to));
        print_expr(p, a, P_UNARY);
    } else if (float_from) {
        if (type_kind(to) == 'I')
            text_f(p->t, "(%s)", type_c(to));
        print_call1(p, from == T_F32 ? "lcc_f32_bits" : "lcc_f64_bits", a, print_expr);
    } else {
        print_name(p, to == T_F32 ? "lcc_bits_f32" : "lcc_bits_f64");
        text_f(p->t, type_kind(from) == 'I' ? "((%s)" : "(", bits);
        print_expr(p, a, type_kind(from) == 'I' ? P_UNARY : P_ASSIGN);
        text_c(p->t, ')');
    }
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static void print_table(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->nkid ? e->kid[0]->type : e->type), calc = type_calc(t);
    char kind = type_kind(t);
    int row = kind == 'F' ? KIND_F : kind == 'I' ? KIND_I : kind == 'U' ? KIND_U : KIND_B;
    const Spell *s = &SPELLS[e->op][row];
    if (!s->text) /* rounding of an integer, its NaN and infinity, |unsigned| */
        internal_error(p->ctx, "no C spelling for %s on %s", op_text((Op)e->op), type_text(t));
    bool wrap = calc != t && e->type == t, paren = !wrap && s->prec < prec;
    const char *close = wrap ? wrap_open(p, t, e->op) : paren ? ")" : "";
    Str own = calc == T_F32 ? math_function(p, (Op)e->op, 1) : NULL;
    text_s(p->t, paren ? "(" : "");
    if (own) {
        text_f(p->t, "%s(", own);
        print_calc(p, e->kid[0], P_ASSIGN);
        text_c(p->t, ')');
    } else {
        print_spelled(p, s->text, calc, e, print_calc, s->prec);
    }
    text_s(p->t, close);
}

/* Ops that leave an integer as it is, or say no of it. */
static bool print_trivial(Printer *p, const Expr *e, int prec) {
    bool integer = e->nkid && type_kind(type_dtype(e->kid[0]->type)) != 'F';
    bool is_unsigned = e->nkid && type_kind(type_dtype(e->kid[0]->type)) == 'U';
    switch (e->op) {
    case OP_FLOOR:
    case OP_CEIL:
    case OP_RINT:
    case OP_TRUNC:
        if (integer)
            print_expr(p, e->kid[0], prec);
        return integer;
    case OP_ABS:
        if (is_unsigned)
            print_expr(p, e->kid[0], prec);
        return is_unsigned;
    case OP_ISNAN:
    case OP_ISINF:
        if (integer)
            text_c(p->t, '0');
        return integer;
    default:
        return false;
    }
}

void print_expr(Printer *p, const Expr *e, int prec) {
    Dtype t = type_dtype(e->type);
    bool integer = type_is_int(t);
    if ((type_lanes(e->type) > 1 && e->op != OP_SYM) || e->op == OP_LANE || e->op == OP_VADD ||
        e->op == OP_VMAX || e->op == OP_VMIN) {
        print_vector(p, e, prec);
        return;
    }
    switch (e->op) {
    case OP_INT:
    case OP_FLT:
        print_const(p, t, e, prec);
        return;
    case OP_SYM: {
        Str name = map_get(p->names, e->u.sym);
        if (!name)
            internal_error(p->ctx, "symbol %s is used where it is not known",
                           e->u.sym->name ? e->u.sym->name : "?");
        text_s(p->t, name);
        return;
    }
    case OP_LOAD:
        print_access(p, e->u.buf, e->nkid, e->kid, prec);
        return;
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
        print_compare(p, e, prec);
        return;
    case OP_AND:
    case OP_OR:
    case OP_NOT:
        print_logic(p, e, prec);
        return;
    case OP_SELECT:
        print_select(p, e, prec);
        return;
    case OP_CAST:
    case OP_CASTW:
        print_cast(p, e, prec);
        return;
    case OP_BITCAST:
        print_bitcast(p, e);
        return;
    default:
        break;
    }
    if (integer && is_arith(e))
        print_int_arith(p, e, prec);
    else if (e->op == OP_SHL || e->op == OP_SHR)
        print_shift(p, e);
    else if (integer &&
             (e->op == OP_DIV || e->op == OP_FDIV || e->op == OP_MOD || e->op == OP_REM) &&
             is_c_division(p, e))
        print_division(p, e, prec);
    else if (!print_trivial(p, e, prec))
        print_table(p, e, prec);
}

void print_element(Printer *p, const Expr *e, Dtype t) {
    bool memory = e->op == OP_LOAD && e->u.buf->space != SPACE_REG;
    bool cast = t == T_BOOL && !memory && e->op != OP_INT;
    text_s(p->t, cast ? "(uint8_t)" : "");
    print_expr(p, e, cast ? P_UNARY : P_ASSIGN);
}
