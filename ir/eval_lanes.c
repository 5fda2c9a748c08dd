/* ir/eval_lanes.c — what instructions do to lanes.
 *
 * Precondition: registers are those of prog_start. The frequent ops of the three lane types are loops
 * here; all others go lane by lane through scalar_op, which also defines what these loops must equal. */
#include "ir/eval_in.h"

#include <math.h>
#include <string.h>

bool lane_is_float(Dtype t) {
    return type_is_float(t) && t != T_F64;
}

static Scalar lane_get(Dtype t, const Lanes *v, int l) {
    Scalar s;
    if (t == T_F64)
        s.f = v->d[l];
    else if (type_is_float(t))
        s.f = (double)v->f[l];
    else
        s.i = v->i[l];
    return s;
}

static void lane_put(Dtype t, Lanes *v, int l, Scalar s) {
    if (t == T_F64)
        v->d[l] = s.f;
    else if (type_is_float(t))
        v->f[l] = (float)s.f;
    else
        v->i[l] = s.i;
}

void lanes_move(Dtype t, Lanes *to, int i, const Lanes *from, int j) {
    lane_put(t, to, i, lane_get(t, from, j));
}

void lanes_fill(Lanes *v, const Expr *constant, int n) {
    Dtype t = type_dtype(constant->type);
    Scalar s = {.i = 0};
    if (type_is_float(t))
        s.f = constant->u.f;
    else
        s.i = constant->u.i;
    for (int l = 0; l < n; l++)
        lane_put(t, v, l, s);
}

void lane_combine(const Instr *op, Lanes *a, int i, const Lanes *b, int j) {
    Dtype t = (Dtype)op->type;
    Scalar kid[2] = {lane_get(t, a, i), lane_get(t, b, j)}, r = kid[0];
    scalar_op((Op)op->op, t, t, kid, &r);
    lane_put(t, a, i, r);
}

/* ---- arithmetic -------------------------------------------------------------------------------- */

#define EACH(R, value)                                                                             \
    for (int l = 0; l < n; l++)                                                                    \
        R[l] = (value);                                                                            \
    return true

/* The float ops of one lane type; false: not here. */
#define FLOAT_OPS(name, T, field, SUFFIX)                                                          \
    static bool name(Op op, Lanes *dst, Lanes *const *kid, int n) {                                \
        T *r = dst->field;                                                                         \
        int64_t *t = dst->i;                                                                       \
        const T *a = kid[0]->field, *b = kid[1]->field, *c = kid[2]->field;                        \
        switch (op) {                                                                              \
        case OP_ADD:                                                                               \
            EACH(r, a[l] + b[l]);                                                                  \
        case OP_SUB:                                                                               \
            EACH(r, a[l] - b[l]);                                                                  \
        case OP_MUL:                                                                               \
            EACH(r, a[l] * b[l]);                                                                  \
        case OP_DIV:                                                                               \
            EACH(r, a[l] / b[l]);                                                                  \
        case OP_MIN:                                                                               \
            EACH(r, b[l] != b[l] ? b[l] : a[l] < b[l] || a[l] != a[l] ? a[l] : b[l]);              \
        case OP_MAX:                                                                               \
            EACH(r, b[l] != b[l] ? b[l] : a[l] > b[l] || a[l] != a[l] ? a[l] : b[l]);              \
        case OP_NEG:                                                                               \
            EACH(r, -a[l]);                                                                        \
        case OP_ABS:                                                                               \
            EACH(r, fabs##SUFFIX(a[l]));                                                           \
        case OP_SQRT:                                                                              \
            EACH(r, sqrt##SUFFIX(a[l]));                                                           \
        case OP_FLOOR:                                                                             \
            EACH(r, floor##SUFFIX(a[l]));                                                          \
        case OP_RINT:                                                                              \
            EACH(r, rint##SUFFIX(a[l]));                                                           \
        case OP_FMA:                                                                               \
            EACH(r, fma##SUFFIX(a[l], b[l], c[l]));                                                \
        case OP_EQ:                                                                                \
            EACH(t, a[l] == b[l]);                                                                 \
        case OP_NE:                                                                                \
            EACH(t, a[l] != b[l]);                                                                 \
        case OP_LT:                                                                                \
            EACH(t, a[l] < b[l]);                                                                  \
        case OP_LE:                                                                                \
            EACH(t, a[l] <= b[l]);                                                                 \
        default:                                                                                   \
            return false;                                                                          \
        }                                                                                          \
    }
FLOAT_OPS(f32_op, float, f, f)
FLOAT_OPS(f64_op, double, d, )

static void wrap(Lanes *v, Dtype t, int bits, int n) {
    int s = 64 - bits;
    if (s == 0)
        return;
    if (type_kind(t) == 'I')
        for (int l = 0; l < n; l++)
            v->i[l] = (int64_t)((uint64_t)v->i[l] << s) >> s;
    else
        for (int l = 0; l < n; l++)
            v->i[l] = (int64_t)((uint64_t)v->i[l] << s >> s);
}

/* Integer ops that do not depend on the sign, before wrapping. */
static bool ring_op(Op op, Lanes *dst, Lanes *const *kid, int n) {
    uint64_t *r = (uint64_t *)dst->i;
    const uint64_t *a = (const uint64_t *)kid[0]->i, *b = (const uint64_t *)kid[1]->i;
    switch (op) {
    case OP_ADD:
        EACH(r, a[l] + b[l]);
    case OP_SUB:
        EACH(r, a[l] - b[l]);
    case OP_MUL:
        EACH(r, a[l] * b[l]);
    case OP_NEG:
        EACH(r, 0 - a[l]);
    case OP_BAND:
        EACH(r, a[l] & b[l]);
    case OP_BOR:
        EACH(r, a[l] | b[l]);
    case OP_BXOR:
        EACH(r, a[l] ^ b[l]);
    default:
        return false;
    }
}

/* Comparisons; on u64 they go through scalar_op. */
static bool order_op(Op op, Dtype t, Lanes *dst, Lanes *const *kid, int n) {
    int64_t *r = dst->i;
    const int64_t *a = kid[0]->i, *b = kid[1]->i;
    if (op == OP_EQ) {
        EACH(r, a[l] == b[l]);
    }
    if (op == OP_NE) {
        EACH(r, a[l] != b[l]);
    }
    if (t == T_U64)
        return false;
    switch (op) {
    case OP_LT:
        EACH(r, a[l] < b[l]);
    case OP_LE:
        EACH(r, a[l] <= b[l]);
    case OP_MIN:
        EACH(r, a[l] < b[l] ? a[l] : b[l]);
    case OP_MAX:
        EACH(r, a[l] > b[l] ? a[l] : b[l]);
    default:
        return false;
    }
}

static bool bool_op(Op op, Lanes *dst, Lanes *const *kid, int n) {
    int64_t *r = dst->i;
    const int64_t *a = kid[0]->i, *b = kid[1]->i;
    switch (op) {
    case OP_AND:
        EACH(r, (a[l] & b[l]) != 0);
    case OP_OR:
        EACH(r, (a[l] | b[l]) != 0);
    case OP_NOT:
        EACH(r, !a[l]);
    default:
        return false;
    }
}

static int64_t divide_one(Op op, int64_t a, int64_t b) {
    int64_t q = a / b, m = a % b;
    bool adjust = m != 0 && (m < 0) != (b < 0);
    return op == OP_FDIV ? q - adjust : adjust ? m + b : m;
}

/* Floor division and modulo of indices: no overflow, divisor not 0 or -1. */
static bool index_div(Op op, Dtype t, Lanes *dst, Lanes *const *kid, int n) {
    const int64_t *a = kid[0]->i, *b = kid[1]->i;
    if ((op != OP_FDIV && op != OP_MOD) || t == T_U64)
        return false;
    for (int l = 0; l < n; l++)
        if (b[l] == 0 || b[l] == -1)
            return false;
    EACH(dst->i, divide_one(op, a[l], b[l]));
}

static bool string_op(Op op, Lanes *dst, Lanes *const *kid, int n) {
    for (int l = 0; l < n; l++) {
        const ConstStr *a = (const ConstStr *)(intptr_t)kid[0]->i[l];
        const ConstStr *b = (const ConstStr *)(intptr_t)kid[1]->i[l];
        bool same = a == b || (a && b && a->len == b->len &&
                               (a->len == 0 || memcmp(a->at, b->at, (size_t)a->len) == 0));
        dst->i[l] = same == (op == OP_EQ);
    }
    return true;
}

/* ---- conversions ------------------------------------------------------------------------------- */

static bool cast_ints(const Instr *in, Lanes *dst, const Lanes *a, int n) {
    Dtype from = (Dtype)in->from, to = (Dtype)in->type;
    if (to == T_F64 && from != T_U64) {
        EACH(dst->d, (double)a->i[l]);
    }
    if (to == T_F32 && from != T_U64) {
        EACH(dst->f, (float)a->i[l]);
    }
    if (type_is_float(to))
        return false;
    if (to == T_BOOL) {
        EACH(dst->i, a->i[l] != 0);
    }
    memcpy(dst->i, a->i, (size_t)n * sizeof *a->i);
    wrap(dst, to, in->bits, n);
    return true;
}

static int64_t saturated(double v, double lo, double hi) {
    return v != v ? 0 : v <= lo ? (int64_t)lo : v >= hi ? (int64_t)hi : (int64_t)v;
}

static bool cast_floats(const Instr *in, Lanes *dst, const Lanes *a, int n) {
    Dtype from = (Dtype)in->from, to = (Dtype)in->type;
    bool wide = from == T_F64;
    if (to == T_F64 && !wide) {
        EACH(dst->d, (double)a->f[l]);
    }
    if (to == T_F32) {
        EACH(dst->f, wide ? (float)a->d[l] : a->f[l]);
    }
    if (type_is_int(to) && in->bits <= 32) {
        double lo = (double)type_min(to), hi = (double)type_max(to);
        EACH(dst->i, saturated(wide ? a->d[l] : (double)a->f[l], lo, hi));
    }
    return false;
}

/* Keeps the payload of NaNs, which scalar_op can't. */
static bool bitcast(const Instr *in, Lanes *dst, const Lanes *a, int n) {
    for (int l = 0; l < n; l++) {
        unsigned char bytes[16] = {0};
        element_put((Dtype)in->from, bytes, 0, a, l);
        element_get((Dtype)in->type, bytes, 0, dst, l);
    }
    return true;
}

static bool select_lanes(const Instr *in, Lanes *dst, Lanes *const *kid, int n) {
    const int64_t *c = kid[0]->i;
    if (lane_is_float((Dtype)in->type)) {
        EACH(dst->f, c[l] ? kid[1]->f[l] : kid[2]->f[l]);
    }
    EACH(dst->i, c[l] ? kid[1]->i[l] : kid[2]->i[l]);
}

static bool fast_op(const Instr *in, Lanes *dst, Lanes *const *kid, int n) {
    Dtype t = (Dtype)in->from;
    Op op = (Op)in->op;
    if (op == OP_SELECT)
        return select_lanes(in, dst, kid, n);
    if (op == OP_BITCAST)
        return bitcast(in, dst, kid[0], n);
    if (op == OP_CAST)
        return type_is_float(t) ? cast_floats(in, dst, kid[0], n) : cast_ints(in, dst, kid[0], n);
    if (type_is_narrow(t))
        return false;
    if (type_is_float(t))
        return t == T_F64 ? f64_op(op, dst, kid, n) : f32_op(op, dst, kid, n);
    if (t == T_BOOL && bool_op(op, dst, kid, n))
        return true;
    if (t == T_STR && (op == OP_EQ || op == OP_NE))
        return string_op(op, dst, kid, n);
    if (order_op(op, t, dst, kid, n) || index_div(op, t, dst, kid, n))
        return true;
    if (!ring_op(op, dst, kid, n))
        return false;
    wrap(dst, t, in->bits, n);
    return true;
}

/* Marks of the lanes whose value comes from a load that was out of bounds. */
static void mark_lanes(const Instr *in, Reg *dst, Reg *const *kid, int n) {
    dst->bad = false;
    for (int i = 0; i < in->nkid; i++)
        dst->bad |= kid[i]->bad;
    for (int l = 0; dst->bad && l < n; l++) {
        uint16_t why[3] = {0};
        for (int i = 0; i < in->nkid; i++)
            why[i] = kid[i]->bad ? kid[i]->why[l] : 0;
        int64_t first = kid[0]->v.i[l];
        if (in->op == OP_SELECT)
            dst->why[l] = why[0] ? why[0] : first ? why[1] : why[2];
        else if (in->op == OP_AND)
            dst->why[l] = why[0] ? why[0] : first ? why[1] : 0;
        else if (in->op == OP_OR)
            dst->why[l] = why[0] ? why[0] : first ? 0 : why[1];
        else
            dst->why[l] = why[0] ? why[0] : why[1] ? why[1] : why[2];
    }
}

void lanes_op(const Instr *in, Reg *dst, Reg *const *kid, int n) {
    Lanes *v[3] = {&kid[0]->v, in->nkid > 1 ? &kid[1]->v : &kid[0]->v,
                   in->nkid > 2 ? &kid[2]->v : &kid[0]->v};
    if (!fast_op(in, &dst->v, v, n)) {
        Dtype t = (Dtype)in->from;
        for (int l = 0; l < n; l++) {
            Scalar a[3] = {lane_get(t, v[0], l), lane_get(t, v[1], l), lane_get(t, v[2], l)}, r;
            if ((in->op == OP_SHL || in->op == OP_SHR) && type_is_int(t))
                a[1].i = v[1]->i[l];
            r.i = 0;
            scalar_op((Op)in->op, t, (Dtype)in->type, a, &r);
            lane_put((Dtype)in->type, &dst->v, l, r);
        }
    }
    mark_lanes(in, dst, kid, n);
}

/* ---- memory ------------------------------------------------------------------------------------ */

#define GET(T, field, value)                                                                       \
    do {                                                                                           \
        const T x = ((const T *)data)[i];                                                          \
        v->field[l] = (value);                                                                     \
    } while (0)

void element_get(Dtype t, const void *data, int64_t i, Lanes *v, int l) {
    switch (t) {
    case T_F64:
        GET(double, d, x);
        break;
    case T_F32:
        GET(float, f, x);
        break;
    case T_F16:
    case T_BF16:
        GET(uint16_t, f, narrow_to_f32(t, x));
        break;
    case T_I64:
    case T_U64:
        GET(int64_t, i, x);
        break;
    case T_I32:
        GET(int32_t, i, x);
        break;
    case T_U32:
        GET(uint32_t, i, x);
        break;
    case T_I16:
        GET(int16_t, i, x);
        break;
    case T_U16:
        GET(uint16_t, i, x);
        break;
    case T_I8:
    case T_I4:
    case T_I2:
        GET(int8_t, i, x);
        break;
    case T_BOOL:
        GET(uint8_t, i, x != 0);
        break;
    case T_STR:
        v->i[l] = (int64_t)(intptr_t)((const ConstStr *)data + i);
        break;
    default:
        if (type_is_float(t))
            GET(uint8_t, f, narrow_to_f32(t, x));
        else
            GET(uint8_t, i, x);
    }
}

void element_put(Dtype t, void *data, int64_t i, const Lanes *v, int l) {
    switch (t) {
    case T_F64:
        ((double *)data)[i] = v->d[l];
        break;
    case T_F32:
        ((float *)data)[i] = v->f[l];
        break;
    case T_F16:
    case T_BF16:
        ((uint16_t *)data)[i] = (uint16_t)narrow_from_f32(t, v->f[l], false);
        break;
    case T_STR:
        ((ConstStr *)data)[i] = *(const ConstStr *)(intptr_t)v->i[l];
        break;
    default:
        if (type_is_float(t))
            ((uint8_t *)data)[i] = (uint8_t)narrow_from_f32(t, v->f[l], false);
        else if (type_bytes(t) == 1)
            ((uint8_t *)data)[i] = (uint8_t)v->i[l];
        else if (type_bytes(t) == 2)
            ((uint16_t *)data)[i] = (uint16_t)v->i[l];
        else if (type_bytes(t) == 4)
            ((uint32_t *)data)[i] = (uint32_t)v->i[l];
        else
            ((int64_t *)data)[i] = v->i[l];
    }
}

int64_t access_at(Eval *ev, Access *a, const Kid *index, int l) {
    int64_t off = 0;
    for (int k = 0; k < a->rank; k++) {
        int64_t i = ev->reg[index[k].reg]->v.i[index[k].lanes == 1 ? 0 : l];
        if (i < 0 || i >= a->dim[k]) {
            a->bad_dim = k;
            a->bad_index = i;
            return -1;
        }
        off = off * a->dim[k] + i;
    }
    return off;
}

/* Offsets of all lanes at once: -1 where out of bounds. Returns whether any is. */
static bool access_lanes(Eval *ev, Access *a, const Kid *index, int n, int64_t *off) {
    bool bad = false;
    memset(off, 0, (size_t)n * sizeof *off);
    for (int k = 0; k < a->rank; k++) {
        const int64_t *i = ev->reg[index[k].reg]->v.i, dim = a->dim[k];
        int step = index[k].lanes == 1 ? 0 : 1;
        uint64_t out = 0;
        for (int l = 0; l < n; l++) {
            out |= (uint64_t)i[l * step] >= (uint64_t)dim;
            off[l] = (int64_t)((uint64_t)off[l] * (uint64_t)dim + (uint64_t)i[l * step]);
        }
        bad |= out != 0;
    }
    for (int l = 0; bad && l < n; l++)
        off[l] = access_at(ev, a, index, l);
    return bad;
}

bool access_store(Eval *ev, Access *a, const Kid *index, Kid value, int n) {
    int64_t off[STRIP];
    Dtype t = a->t->type;
    const Lanes *v = &ev->reg[value.reg]->v;
    int step = value.lanes == 1 ? 0 : 1;
    if (access_lanes(ev, a, index, n, off))
        return false;
    for (int l = 0; l < n; l++)
        element_put(t, a->t->data, off[l], v, l * step);
    return true;
}

static void gather_f32(const float *data, const int64_t *off, float *v, int n) {
    for (int l = 0; l < n; l++)
        v[l] = data[off[l]];
}

static void load_lanes(Eval *ev, Prog *p, const Instr *in, Reg *dst, int n) {
    Access *a = p->access.at[in->access];
    bool masked = in->op == OP_MLOAD;
    const Kid *index = in->kid + masked;
    const Scalar zero = type_is_float((Dtype)in->type) ? (Scalar){.f = 0} : (Scalar){.i = 0};
    int64_t off[STRIP];
    bool bad = access_lanes(ev, a, index, n, off);
    dst->bad = bad;
    for (int i = 0; i < in->nkid; i++)
        dst->bad |= ev->reg[in->kid[i].reg]->bad;
    if (!dst->bad && !masked && in->type == T_F32) {
        gather_f32(a->t->data, off, dst->v.f, n);
        return;
    }
    for (int l = 0; l < n; l++) {
        uint16_t why = 0;
        for (int i = 0; i < in->nkid; i++) {
            const Reg *r = ev->reg[in->kid[i].reg];
            if (r->bad && !why)
                why = r->why[in->kid[i].lanes == 1 ? 0 : l];
        }
        bool skip = masked && !ev->reg[in->kid[0].reg]->v.i[in->kid[0].lanes == 1 ? 0 : l];
        if (!skip && !why && off[l] < 0)
            why = (uint16_t)(in->access + 1);
        dst->why[l] = why;
        if (skip || why)
            lane_put((Dtype)in->type, &dst->v, l, zero);
        else
            element_get((Dtype)in->type, a->t->data, off[l], &dst->v, l);
    }
}

/* ---- vectors ----------------------------------------------------------------------------------- */

static void fill_lanes(const Instr *in, Reg *dst, const Reg *a, int n) {
    if (lane_is_float((Dtype)in->type))
        for (int l = 0; l < n; l++)
            dst->v.f[l] = a->v.f[0];
    else
        for (int l = 0; l < n; l++)
            dst->v.i[l] = a->v.i[0];
    dst->bad = a->bad;
    for (int l = 0; a->bad && l < n; l++)
        dst->why[l] = a->why[0];
}

/* Halves combined again and again: r[i] = r[i] op r[i + h]. */
static void tree(const Instr *in, Op op, Reg *dst, const Reg *a, int lanes) {
    Instr step = {.op = (uint8_t)op, .type = in->type, .from = in->type, .bits = in->bits};
    Reg half[2], *kid[2] = {&half[0], &half[1]};
    size_t size = lane_is_float((Dtype)in->type) ? sizeof(float) : sizeof(int64_t);
    step.nkid = 2;
    *dst = *a;
    for (int h = lanes / 2; h > 0; h /= 2) {
        half[0] = half[1] = *dst;
        memmove(&half[1].v, (const char *)&dst->v + (size_t)h * size, (size_t)h * size);
        if (dst->bad)
            memmove(half[1].why, dst->why + h, (size_t)h * sizeof *dst->why);
        lanes_op(&step, dst, kid, h);
    }
}

static void ramp(const Instr *in, Reg *dst, Reg *const *kid) {
    uint64_t base = (uint64_t)kid[0]->v.i[0], step = (uint64_t)kid[1]->v.i[0];
    for (int l = 0; l < in->lanes; l++)
        dst->v.i[l] = (int64_t)(base + (uint64_t)l * step);
    wrap(&dst->v, (Dtype)in->type, in->bits, in->lanes);
    dst->bad = kid[0]->bad || kid[1]->bad;
    for (int l = 0; dst->bad && l < in->lanes; l++)
        dst->why[l] = kid[0]->bad ? kid[0]->why[0] : kid[1]->why[0];
}

/* z[l] + sum of x[g*l + j] * y[g*l + j], wrapping in i32; x of g lanes is repeated. */
static void dot(const Instr *in, Reg *dst, Reg *const *kid) {
    int g = in->op == OP_DOT4 ? 4 : 2, all = g * in->lanes;
    int wrap_at[2] = {in->kid[0].lanes == g ? g : all, all};
    dst->bad = false;
    for (int l = 0; l < in->lanes; l++) {
        uint64_t sum = (uint64_t)kid[2]->v.i[l];
        uint16_t why = kid[2]->bad ? kid[2]->why[l] : 0;
        for (int j = g * l; j < g * l + g; j++) {
            sum += (uint64_t)(kid[0]->v.i[j % wrap_at[0]] * kid[1]->v.i[j]);
            for (int k = 0; k < 2; k++)
                if (!why && kid[k]->bad)
                    why = kid[k]->why[j % wrap_at[k]];
        }
        dst->v.i[l] = (int64_t)sum;
        dst->why[l] = why;
        dst->bad |= why != 0;
    }
    wrap(&dst->v, (Dtype)in->type, in->bits, in->lanes);
}

static void lane_of(const Instr *in, Reg *dst, Reg *const *kid) {
    int i = (int)kid[1]->v.i[0];
    lane_put((Dtype)in->type, &dst->v, 0, lane_get((Dtype)in->type, &kid[0]->v, i));
    dst->bad = kid[0]->bad && kid[0]->why[i];
    dst->why[0] = dst->bad ? kid[0]->why[i] : 0;
}

static void vector_op(const Instr *in, Reg *dst, Reg *const *kid, int n) {
    switch (in->op) {
    case OP_RAMP:
        ramp(in, dst, kid);
        break;
    case OP_LANE:
        lane_of(in, dst, kid);
        break;
    case OP_DOT4:
    case OP_DOT2:
        dot(in, dst, kid);
        break;
    case OP_VADD:
    case OP_VMAX:
    case OP_VMIN: {
        Op op = in->op == OP_VADD ? OP_ADD : in->op == OP_VMAX ? OP_MAX : OP_MIN;
        tree(in, op, dst, kid[0], in->kid[0].lanes);
        break;
    }
    default: /* BCAST, FILL */
        fill_lanes(in, dst, kid[0], n);
    }
}

/* ---- running ----------------------------------------------------------------------------------- */

static void leaf(Eval *ev, const Instr *in, Reg *dst) {
    Dtype t = (Dtype)in->type;
    dst->bad = false;
    if (in->op != OP_SYM) {
        for (int l = 0; l < in->lanes; l++)
            lane_put(t, &dst->v, l, in->imm);
        return;
    }
    const Cell *c = in->cell;
    if (!c->set)
        eval_fail(ev, NULL, "symbol '%s' has no value", c->sym->name);
    else if (c->lanes)
        memcpy(&dst->v, c->lanes, (size_t)in->lanes * (lane_is_float(t) ? 4 : 8));
    else
        dst->v.i[0] = c->i;
}

static void instr_run(Eval *ev, Prog *p, const Instr *in, int n) {
    Reg *dst = ev->reg[in->dst], *kid[3] = {NULL, NULL, NULL};
    for (int i = 0; i < in->nkid && i < 3; i++)
        kid[i] = ev->reg[in->kid[i].reg];
    switch (in->op) {
    case OP_INT:
    case OP_FLT:
    case OP_SYM:
        leaf(ev, in, dst);
        break;
    case OP_LOAD:
    case OP_MLOAD:
        load_lanes(ev, p, in, dst, n);
        break;
    case OP_RAMP:
    case OP_BCAST:
    case OP_LANE:
    case OP_VADD:
    case OP_VMAX:
    case OP_VMIN:
    case OP_DOT4:
    case OP_DOT2:
    case OP_FILL:
        vector_op(in, dst, kid, n);
        break;
    default:
        lanes_op(in, dst, kid, n);
    }
    ev->steps += n;
}

void prog_run(Eval *ev, Prog *p, int level, int n) {
    const Code *c = &p->level[level];
    for (int i = 0; i < c->in.len; i++) {
        const Instr *in = &c->in.at[i];
        instr_run(ev, p, in, in->lanes ? in->lanes : n);
    }
    if (ev->budget > 0 && ev->steps > ev->budget)
        ev->failed = true;
}

bool prog_start(Eval *ev, Prog *p) {
    for (int i = 0; p->epoch != ev->epoch && i < p->access.len; i++) {
        Access *a = p->access.at[i];
        a->t = a->flat ? eval_storage(ev, a->buf) : eval_make(ev, a->buf, false);
        if (!a->t)
            return false;
        for (int k = 0; k < a->rank; k++)
            a->dim[k] = a->flat ? a->t->count : a->t->dim[k];
    }
    p->epoch = ev->epoch;
    eval_regs(ev, p->reg_level.len);
    prog_run(ev, p, 0, STRIP);
    return !ev->failed;
}
