/* ir/expr.c — types, symbols, hash-consing, constructors, walking and rewriting of expressions.
 *
 * Invariant: every node reachable by a client was made by a constructor below, so it is folded and in
 * normal form, and making it again from its own op and kids gives the same pointer.
 *
 *   expr_add(i, expr_mul(i, expr_i(3))) → i*4 */
#include "ir/expr.h"

#include <math.h>
#include <string.h>

#include "ir/expr_in.h"
#include "ir/tensor.h"

/* ---- types ------------------------------------------------------------------------------------- */

typedef struct TypeRow {
    const char *text, *c;
    int bytes, onnx;
    char kind;
} TypeRow;

static const TypeRow *type_row(Dtype t) {
    static const TypeRow table[T_COUNT] = {
        [T_NONE] = {"none", "void", 0, 0, 0},
#define TYPE_F 'F'
#define TYPE_I 'I'
#define TYPE_U 'U'
#define TYPE_B 'B'
#define TYPE_S 'S'
#define TYPE_C 'C'
#define TYPE(id, text, bytes, kind, onnx, c) [T_##id] = {text, c, bytes, onnx, TYPE_##kind},
#include "ir/types.def"
#undef TYPE
    };
    return &table[t < T_COUNT ? t : T_NONE];
}

const char *type_text(Dtype t) {
    return type_row(t)->text;
}
int type_bytes(Dtype t) {
    return type_row(t)->bytes;
}
char type_kind(Dtype t) {
    return type_row(t)->kind;
}
const char *type_c(Dtype t) {
    return type_row(t)->c;
}
int type_onnx(Dtype t) {
    return type_row(t)->onnx;
}

Dtype type_from_onnx(int onnx) {
    for (Dtype t = T_NONE + 1; t < T_COUNT; t++)
        if (type_onnx(t) == onnx)
            return t;
    return T_NONE;
}

Dtype type_from_text(const char *s) {
    for (Dtype t = T_NONE + 1; t < T_COUNT; t++)
        if (!strcmp(type_text(t), s))
            return t;
    return T_NONE;
}

bool type_is_float(Dtype t) {
    return type_kind(t) == 'F';
}
bool type_is_int(Dtype t) {
    return type_kind(t) == 'I' || type_kind(t) == 'U';
}
bool type_is_narrow(Dtype t) {
    return type_is_float(t) && type_bytes(t) < 4;
}

/* Sub-byte types take a whole byte, so the width of an integer is read from its name. */
int type_bits(Dtype t) {
    if (!type_is_int(t))
        return t == T_BOOL ? 1 : t == T_F4E2M1 ? 4 : 8 * type_bytes(t);
    const char *s = type_text(t) + 1;
    int bits = *s - '0';
    return s[1] ? bits * 10 + s[1] - '0' : bits;
}

int64_t type_min(Dtype t) {
    return type_kind(t) == 'I' ? -type_max(t) - 1 : 0;
}

int64_t type_max(Dtype t) {
    if (t == T_BOOL)
        return 1;
    int bits = type_bits(t) - (type_kind(t) == 'I');
    return bits >= 63 ? INT64_MAX : (INT64_C(1) << bits) - 1;
}

/* ---- ops --------------------------------------------------------------------------------------- */

typedef struct OpRow {
    const char *text, *form, *result;
    int kids;
} OpRow;

static const OpRow *op_row(Op op) {
    static const OpRow table[OP_COUNT] = {
#define OP(id, text, kids, form, result) [OP_##id] = {text, #form, #result, kids},
#include "ir/ops.def"
#undef OP
    };
    return &table[op];
}

const char *op_text(Op op) {
    return op_row(op)->text;
}
int op_kids(Op op) {
    return op_row(op)->kids;
}
const char *op_form(Op op) {
    return op_row(op)->form;
}
const char *op_result(Op op) {
    return op_row(op)->result;
}

/* ---- symbols ----------------------------------------------------------------------------------- */

Sym *sym_new(Ctx *ctx, SymKind kind, Str name, int64_t min, int64_t max) {
    Sym *s = ctx_new(ctx, Sym);
    s->name = name;
    s->id = ctx->next_id++;
    s->kind = (uint8_t)kind;
    s->type = T_I64;
    s->min = min;
    s->max = max;
    s->mult = 1;
    return s;
}

Sym *sym_axis(Ctx *ctx, Str name, const Expr *extent) {
    Range r = expr_range(ctx, extent);
    int64_t last = r.max == INT64_MAX ? INT64_MAX : r.max > 1 ? r.max - 1 : 0;
    Sym *s = sym_new(ctx, SYM_AXIS, name, 0, last);
    s->extent = extent;
    return s;
}

/* ---- memo -------------------------------------------------------------------------------------- */

typedef struct Slot {
    uint32_t gen, id;
    const Expr *val;
} Slot;

/* Open addressing by id; a slot counts only when its gen is the memo's. */
struct Memo {
    Memo *next;
    Slot *slot;
    uint32_t cap, n, gen;
};

typedef struct Cell {
    const Expr *e;
    uint32_t hash;
} Cell;

typedef struct ExprTable {
    Cell *cell; /* open addressing, cap a power of two */
    uint32_t cap, n, next_id;
    Memo *memos; /* free ones */
} ExprTable;

static ExprTable *table_of(Ctx *ctx) {
    if (!ctx->exprs) {
        ExprTable *t = ctx_new(ctx, ExprTable);
        t->cap = 1024;
        t->cell = ctx_newn(ctx, Cell, t->cap);
        ctx->exprs = t;
    }
    return ctx->exprs;
}

Memo *memo_take(Ctx *ctx) {
    ExprTable *t = table_of(ctx);
    Memo *m = t->memos;
    if (m) {
        t->memos = m->next;
    } else {
        m = ctx_new(ctx, Memo);
        m->cap = 32;
        m->slot = ctx_newn(ctx, Slot, m->cap);
    }
    m->n = 0;
    if (++m->gen == 0) { /* 2^32 uses: start afresh */
        memset(m->slot, 0, m->cap * sizeof *m->slot);
        m->gen = 1;
    }
    return m;
}

void memo_give(Ctx *ctx, Memo *m) {
    ExprTable *t = table_of(ctx);
    m->next = t->memos;
    t->memos = m;
}

static Slot *memo_slot(const Memo *m, uint32_t id) {
    uint32_t at = (id * UINT32_C(0x9E3779B1)) & (m->cap - 1);
    while (m->slot[at].gen == m->gen && m->slot[at].id != id)
        at = (at + 1) & (m->cap - 1);
    return &m->slot[at];
}

const Expr *memo_get(const Memo *m, const Expr *key) {
    const Slot *s = memo_slot(m, key->id);
    return s->gen == m->gen ? s->val : NULL;
}

void memo_put(Ctx *ctx, Memo *m, const Expr *key, const Expr *val) {
    Slot *s = memo_slot(m, key->id);
    if (s->gen != m->gen && ++m->n * 4 > m->cap * 3) {
        Slot *old = m->slot;
        uint32_t cap = m->cap;
        m->cap *= 4;
        m->slot = ctx_newn(ctx, Slot, m->cap);
        for (uint32_t i = 0; i < cap; i++)
            if (old[i].gen == m->gen)
                *memo_slot(m, old[i].id) = old[i];
        s = memo_slot(m, key->id);
    }
    *s = (Slot){m->gen, key->id, val};
}

/* ---- hash-consing ------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ (h >> 29);
}

/* The payload as a number: ids for objects, so that no address is hashed. */
static uint64_t payload_key(Op op, Payload u) {
    switch (op) {
    case OP_INT:
    case OP_FLT:
        return (uint64_t)u.i;
    case OP_SYM:
        return u.sym->id;
    case OP_LOAD:
    case OP_MLOAD:
        return u.buf->id;
    default:
        return 0;
    }
}

static uint32_t hash_of(Op op, Type t, Payload u, int n, const Expr *const *kid) {
    uint64_t h = mix((uint64_t)op << 16 | t, payload_key(op, u));
    for (int i = 0; i < n; i++)
        h = mix(h, kid[i]->id);
    return (uint32_t)(h >> 16);
}

static bool same_node(const Expr *e, Op op, Type t, Payload u, int n, const Expr *const *kid) {
    if (!is_op(e, op) || e->type != t || e->nkid != n)
        return false;
    Payload v;
    memcpy(&v, &e->u, sizeof v);
    if (u.i != v.i) /* also floats by bits and objects by address */
        return false;
    for (int i = 0; i < n; i++)
        if (e->kid[i] != kid[i])
            return false;
    return true;
}

static void table_grow(Ctx *ctx, ExprTable *t) {
    Cell *old = t->cell;
    uint32_t cap = t->cap;
    t->cap *= 2;
    t->cell = ctx_newn(ctx, Cell, t->cap);
    for (uint32_t i = 0; i < cap; i++) {
        uint32_t at = old[i].hash & (t->cap - 1);
        if (!old[i].e)
            continue;
        while (t->cell[at].e)
            at = (at + 1) & (t->cap - 1);
        t->cell[at] = old[i];
    }
}

/* Every walk over an expression recurses; this many levels fit the stack of any of them. */
#define LEVELS_MAX 4000

static void check_levels(Ctx *ctx, const Info *info) {
    if (info->levels < LEVELS_MAX || !ctx->oom)
        return;
    diag_error(ctx, EXIT_LIMIT, NULL, "an expression of more than %d levels", LEVELS_MAX);
    longjmp(*ctx->oom, EXIT_LIMIT);
}

static const Expr *node_new(Ctx *ctx, Op op, Type t, Payload u, int n, const Expr *const *kid) {
    Info *info = ctx_alloc(ctx, sizeof(Info) + sizeof(Expr) + (size_t)n * sizeof *kid);
    Expr *e = (Expr *)(void *)(info + 1);
    e->op = (uint8_t)op;
    e->nkid = (uint8_t)n;
    e->type = t;
    e->id = ctx->exprs->next_id++;
    memcpy(&e->u, &u, sizeof u);
    info->bufs = op == OP_LOAD || op == OP_MLOAD ? object_bit(u.buf->id) : 0;
    info->syms = op == OP_SYM ? sym_bit(u.sym) : 0;
    for (int i = 0; i < n; i++) {
        e->kid[i] = kid[i];
        info->syms |= expr_info(kid[i])->syms;
        info->bufs |= expr_info(kid[i])->bufs;
        if (info->levels <= expr_info(kid[i])->levels)
            info->levels = (uint16_t)(expr_info(kid[i])->levels + 1);
    }
    check_levels(ctx, info);
    bounds_node(e, info);
    return e;
}

const Expr *expr_make(Ctx *ctx, Op op, Type t, Payload u, int n, const Expr *const *kid) {
    ExprTable *table = table_of(ctx);
    if (n > UINT8_MAX)
        internal_error(ctx, "%s with %d kids", op_text(op), n);
    uint32_t hash = hash_of(op, t, u, n, kid), at = hash & (table->cap - 1);
    for (; table->cell[at].e; at = (at + 1) & (table->cap - 1))
        if (table->cell[at].hash == hash && same_node(table->cell[at].e, op, t, u, n, kid))
            return table->cell[at].e;
    const Expr *e = node_new(ctx, op, t, u, n, kid);
    table->cell[at] = (Cell){e, hash};
    if (++table->n * 2 > table->cap)
        table_grow(ctx, table);
    return e;
}

const Expr *expr_make1(Ctx *ctx, Op op, Type t, const Expr *a) {
    return expr_make(ctx, op, t, (Payload){.i = 0}, 1, &a);
}

const Expr *expr_make2(Ctx *ctx, Op op, Type t, const Expr *a, const Expr *b) {
    const Expr *kid[2] = {a, b};
    return expr_make(ctx, op, t, (Payload){.i = 0}, 2, kid);
}

/* ---- order ------------------------------------------------------------------------------------- */

static int rank_of(const Expr *e) {
    switch (e->op) {
    case OP_MUL:
        return 0;
    case OP_SYM:
        return 1;
    case OP_INT:
    case OP_FLT:
        return OP_COUNT + 2;
    default:
        return e->op + 2;
    }
}

static int order(uint64_t a, uint64_t b) {
    return a < b ? -1 : a > b;
}

int expr_cmp(const Expr *a, const Expr *b) {
    while (a != b) {
        if (rank_of(a) != rank_of(b))
            return rank_of(a) - rank_of(b);
        if (is_op(a, OP_INT) && a->u.i != b->u.i)
            return a->u.i < b->u.i ? -1 : 1;
        Payload ua, ub;
        memcpy(&ua, &a->u, sizeof ua);
        memcpy(&ub, &b->u, sizeof ub);
        int c = order(payload_key((Op)a->op, ua), payload_key((Op)b->op, ub));
        if (c == 0)
            c = a->type != b->type ? order(a->type, b->type) : order(a->nkid, b->nkid);
        if (c)
            return c;
        int i = 0; /* not the same pointer, so some kid differs */
        while (a->kid[i] == b->kid[i])
            i++;
        a = a->kid[i];
        b = b->kid[i];
    }
    return 0;
}

/* ---- leaves ------------------------------------------------------------------------------------ */

const Expr *expr_int(Ctx *ctx, Type t, int64_t v) {
    Dtype d = type_dtype(t);
    Scalar in = {.i = v}, out = {.i = v};
    if (!type_is_int(d) && d != T_BOOL)
        internal_error(ctx, "integer constant of type %s", type_text(d));
    scalar_op(OP_CAST, T_I64, d, &in, &out);
    return expr_make(ctx, OP_INT, t, (Payload){.i = out.i}, 0, NULL);
}

const Expr *expr_i(Ctx *ctx, int64_t v) {
    return expr_make(ctx, OP_INT, T_I64, (Payload){.i = v}, 0, NULL);
}

const Expr *expr_flt(Ctx *ctx, Type t, double v) {
    Dtype d = type_dtype(t);
    if (!type_is_float(d))
        internal_error(ctx, "float constant of type %s", type_text(d));
    if (type_is_narrow(d)) {
        bool saturate = type_bytes(d) == 1 && !(d == T_F8E5M2 && isinf(v));
        v = (double)narrow_to_f32(d, narrow_from_f64(d, v, saturate));
    } else if (d == T_F32) {
        v = (double)(float)v;
    }
    if (isnan(v))
        v = fabs((double)NAN); /* one NaN, so that equal constants are one node */
    return expr_make(ctx, OP_FLT, t, (Payload){.f = v}, 0, NULL);
}

const Expr *expr_const(Ctx *ctx, Type t, double v) {
    Dtype d = type_dtype(t);
    if (type_is_float(d))
        return expr_flt(ctx, t, v);
    Scalar in = {.f = v}, out = {.i = 0};
    scalar_op(OP_CAST, T_F64, d, &in, &out);
    return expr_int(ctx, t, out.i);
}

const Expr *expr_sym(Ctx *ctx, Sym *s) {
    return expr_make(ctx, OP_SYM, s->type, (Payload){.sym = s}, 0, NULL);
}

const Expr *expr_bool(Ctx *ctx, bool v) {
    return expr_make(ctx, OP_INT, T_BOOL, (Payload){.i = v}, 0, NULL);
}

const Expr *expr_load(Ctx *ctx, Buf *buf, int n, const Expr *const *index) {
    int lanes = 1;
    bool uniform = true;
    for (int i = 0; i < n; i++) {
        if (type_lanes(index[i]->type) > lanes)
            lanes = type_lanes(index[i]->type);
        uniform &=
            type_lanes(index[i]->type) == 1 || is_op(index[i], OP_BCAST) || is_op(index[i], OP_INT);
    }
    Type t = TYPE_VEC(type_dtype(buf->type), lanes);
    if (lanes == 1 || !uniform)
        return expr_make(ctx, OP_LOAD, t, (Payload){.buf = buf}, n, index);
    const Expr **scalar = ctx_newn(ctx, const Expr *, n); /* one element for all lanes */
    for (int i = 0; i < n; i++)
        scalar[i] = expr_lane(ctx, index[i], 0);
    return expr_bcast(ctx, expr_load(ctx, buf, n, scalar), lanes);
}

const Expr *expr_mload(Ctx *ctx, Buf *buf, const Expr *mask, int n, const Expr *const *index) {
    const Expr **kid = ctx_newn(ctx, const Expr *, (int64_t)n + 1);
    Type t = TYPE_VEC(type_dtype(buf->type), type_lanes(mask->type));
    kid[0] = mask;
    for (int i = 0; i < n; i++)
        kid[i + 1] = index[i];
    return expr_make(ctx, OP_MLOAD, t, (Payload){.buf = buf}, n + 1, kid);
}

/* ---- constructors ------------------------------------------------------------------------------ */

Type expr_type_of(Op op, Type t, int n, const Expr *const *kid) {
    const char *result = op_result(op);
    if (n == 0)
        return 0;
    if (result[0] == 'S')
        return kid[0]->type;
    if (result[0] == 'C')
        return TYPE_VEC(T_BOOL, type_lanes(kid[0]->type));
    switch (op) {
    case OP_SELECT:
        return kid[1]->type;
    case OP_DOT4:
    case OP_DOT2:
        return kid[2]->type;
    case OP_CAST:
    case OP_CASTW:
    case OP_BITCAST:
        return t ? TYPE_VEC(type_dtype(t), type_lanes(kid[0]->type)) : 0;
    case OP_LANE:
    case OP_VADD:
    case OP_VMAX:
    case OP_VMIN:
        return type_dtype(kid[0]->type);
    default:
        return 0;
    }
}

static const Expr *constant(Ctx *ctx, Type t, Scalar v) {
    return type_is_float(type_dtype(t)) ? expr_flt(ctx, t, v.f) : expr_int(ctx, t, v.i);
}

static const Expr *fold(Ctx *ctx, Op op, Type t, int n, const Expr *const *kid) {
    Scalar in[3], out;
    if (n < 1 || n > 3 || op_kids(op) != n)
        return NULL;
    for (int i = 0; i < n; i++) {
        if (!expr_is_const(kid[i]))
            return NULL;
        memcpy(&in[i], &kid[i]->u, sizeof in[i]);
    }
    if (!scalar_op(op, type_dtype(kid[0]->type), type_dtype(t), in, &out))
        return NULL;
    return constant(ctx, t, out);
}

static void check_types(Ctx *ctx, Op op, int n, const Expr *const *kid) {
    if (op_kids(op) >= 0 && op_kids(op) != n)
        internal_error(ctx, "%s with %d kids", op_text(op), n);
    bool mixed = op == OP_SHL || op == OP_SHR || op_result(op)[0] == 'O';
    for (int i = 1; i < n && !mixed; i++)
        if (kid[i]->type != kid[0]->type)
            internal_error(ctx, "operands of %s differ in type: %s and %s", op_text(op),
                           expr_str(ctx, kid[0]), expr_str(ctx, kid[i]));
    if (op == OP_SELECT && kid[1]->type != kid[2]->type)
        internal_error(ctx, "arms of select differ in type: %s and %s", expr_str(ctx, kid[1]),
                       expr_str(ctx, kid[2]));
    if ((op == OP_AND || op == OP_OR || op == OP_NOT || op == OP_SELECT) &&
        type_dtype(kid[0]->type) != T_BOOL)
        internal_error(ctx, "%s of %s, which is no bool", op_text(op), expr_str(ctx, kid[0]));
}

/* Scalar kids of an op with vector kids stand for all lanes; the lazy condition of a select may stay
 * scalar. */
static const Expr *widen(Ctx *ctx, Op op, Type t, int n, const Expr *const *kid) {
    const Expr *wide[3];
    int lanes = 1, first = op == OP_SELECT ? type_lanes(kid[0]->type) == 1 : 0;
    if (n < 2 || n > 3 || op == OP_LANE || op == OP_RAMP || op == OP_DOT4 || op == OP_DOT2)
        return NULL;
    bool mixed = false;
    for (int i = first; i < n; i++) {
        mixed |= i > first && type_lanes(kid[i]->type) != lanes;
        if (type_lanes(kid[i]->type) > lanes)
            lanes = type_lanes(kid[i]->type);
    }
    if (!mixed)
        return NULL;
    for (int i = 0; i < n; i++)
        wide[i] =
            i < first || type_lanes(kid[i]->type) > 1 ? kid[i] : expr_bcast(ctx, kid[i], lanes);
    return expr_op(ctx, op, t, n, wide);
}

const Expr *expr_op(Ctx *ctx, Op op, Type t, int n, const Expr *const *kid) {
    const Expr *wide = widen(ctx, op, t, n, kid);
    if (wide)
        return wide;
    check_types(ctx, op, n, kid);
    Type derived = expr_type_of(op, t, n, kid);
    if (derived)
        t = derived;
    if (t == 0)
        internal_error(ctx, "%s without a type", op_text(op));
    const Expr *e = fold(ctx, op, t, n, kid);
    if (!e)
        e = normal_op(ctx, op, t, n, kid);
    return e ? e : expr_make(ctx, op, t, (Payload){.i = 0}, n, kid);
}

const Expr *expr_1(Ctx *ctx, Op op, const Expr *a) {
    return expr_op(ctx, op, 0, 1, &a);
}

const Expr *expr_2(Ctx *ctx, Op op, const Expr *a, const Expr *b) {
    const Expr *kid[2] = {a, b};
    return expr_op(ctx, op, 0, 2, kid);
}

#define BINARY(name, op)                                                                           \
    const Expr *expr_##name(Ctx *ctx, const Expr *a, const Expr *b) {                              \
        return expr_2(ctx, op, a, b);                                                              \
    }
BINARY(add, OP_ADD)
BINARY(sub, OP_SUB)
BINARY(mul, OP_MUL)
BINARY(fdiv, OP_FDIV)
BINARY(mod, OP_MOD)
BINARY(min, OP_MIN)
BINARY(max, OP_MAX)
BINARY(lt, OP_LT)
BINARY(le, OP_LE)
BINARY(eq, OP_EQ)
BINARY(ne, OP_NE)
#undef BINARY

const Expr *expr_and(Ctx *ctx, const Expr *a, const Expr *b) {
    if (!a && !b)
        return expr_bool(ctx, true);
    return !a ? b : !b ? a : expr_2(ctx, OP_AND, a, b);
}

const Expr *expr_or(Ctx *ctx, const Expr *a, const Expr *b) {
    return !a || !b ? expr_bool(ctx, true) : expr_2(ctx, OP_OR, a, b);
}

const Expr *expr_not(Ctx *ctx, const Expr *a) {
    return expr_1(ctx, OP_NOT, a);
}

const Expr *expr_select(Ctx *ctx, const Expr *c, const Expr *a, const Expr *b) {
    const Expr *kid[3] = {c, a, b};
    return expr_op(ctx, OP_SELECT, 0, 3, kid);
}

const Expr *expr_cast(Ctx *ctx, Type t, const Expr *a) {
    return expr_op(ctx, OP_CAST, t, 1, &a);
}

const Expr *expr_ceildiv(Ctx *ctx, const Expr *a, int64_t b) {
    const Expr *up = expr_add(ctx, a, expr_int(ctx, a->type, b - 1));
    return expr_fdiv(ctx, up, expr_int(ctx, a->type, b));
}

const Expr *expr_bcast(Ctx *ctx, const Expr *a, int lanes) {
    return expr_op(ctx, OP_BCAST, TYPE_VEC(type_dtype(a->type), lanes), 1, &a);
}

const Expr *expr_ramp(Ctx *ctx, const Expr *base, const Expr *stride, int lanes) {
    const Expr *kid[2] = {base, stride};
    return expr_op(ctx, OP_RAMP, TYPE_VEC(type_dtype(base->type), lanes), 2, kid);
}

const Expr *expr_lane(Ctx *ctx, const Expr *v, int i) {
    return type_lanes(v->type) == 1 ? v : expr_2(ctx, OP_LANE, v, expr_i(ctx, i));
}

/* ---- questions --------------------------------------------------------------------------------- */

bool expr_is_int(const Expr *e, int64_t *v) {
    if (!is_op(e, OP_INT))
        return false;
    if (v)
        *v = e->u.i;
    return true;
}

bool expr_is(const Expr *e, int64_t v) {
    if (is_op(e, OP_FLT))
        return e->u.f == (double)v && !(v == 0 && signbit(e->u.f));
    return is_op(e, OP_INT) && e->u.i == v;
}

bool expr_is_const(const Expr *e) {
    return is_op(e, OP_INT) || is_op(e, OP_FLT);
}

typedef struct Search {
    Ctx *ctx;
    Memo *seen;
    int left;
    void (*fn)(void *data, const Expr *e);
    void *data;
} Search;

/* Kids first; stops when `left` runs out. */
static void walk(Search *s, const Expr *e) {
    if (s->left == 0 || memo_get(s->seen, e))
        return;
    for (int i = 0; i < e->nkid; i++)
        walk(s, e->kid[i]);
    if (s->left == 0)
        return;
    memo_put(s->ctx, s->seen, e, e);
    s->left--;
    if (s->fn)
        s->fn(s->data, e);
}

void expr_walk(Ctx *ctx, const Expr *e, void (*fn)(void *data, const Expr *e), void *data) {
    Search s = {ctx, memo_take(ctx), -1, fn, data};
    walk(&s, e);
    memo_give(ctx, s.seen);
}

int expr_size(Ctx *ctx, const Expr *e, int limit) {
    Search s = {ctx, memo_take(ctx), limit, NULL, NULL};
    walk(&s, e);
    memo_give(ctx, s.seen);
    return limit - s.left;
}

/* Without a Ctx there is no memo: each node remembers the last object found absent. */
bool expr_uses_sym(const Expr *e, const Sym *s) {
    Info *info = expr_info(e);
    if (!(info->syms & sym_bit(s)) || info->absent == s->id + 1)
        return false;
    if (is_op(e, OP_SYM) && e->u.sym == s)
        return true;
    for (int i = 0; i < e->nkid; i++)
        if (expr_uses_sym(e->kid[i], s))
            return true;
    info->absent = s->id + 1;
    return false;
}

bool expr_uses_buf(const Expr *e, const Buf *b) {
    Info *info = expr_info(e);
    if (!b)
        return info->bufs != 0;
    if (!(info->bufs & object_bit(b->id)) || info->absent == b->id + 1)
        return false;
    if ((is_op(e, OP_LOAD) || is_op(e, OP_MLOAD)) && e->u.buf == b)
        return true;
    for (int i = 0; i < e->nkid; i++)
        if (expr_uses_buf(e->kid[i], b))
            return true;
    info->absent = b->id + 1;
    return false;
}

/* ---- rewriting --------------------------------------------------------------------------------- */

#define KIDS_FEW 4

typedef struct Rewrite {
    Ctx *ctx;
    Memo *memo;
    ExprFn fn;
    void *data;
    uint64_t syms; /* subst: only nodes with one of these bits change */
} Rewrite;

const Expr *expr_rebuild(Ctx *ctx, const Expr *e, const Expr *const *kid) {
    bool same = true;
    for (int i = 0; i < e->nkid; i++)
        same &= e->kid[i] == kid[i];
    if (same)
        return e;
    if (is_op(e, OP_LOAD))
        return expr_load(ctx, e->u.buf, e->nkid, kid);
    if (is_op(e, OP_MLOAD))
        return expr_mload(ctx, e->u.buf, kid[0], e->nkid - 1, kid + 1);
    return expr_op(ctx, (Op)e->op, e->type, e->nkid, kid);
}

/* A symbol or load that another op folded to comes from its kids: it has been through fn. */
static bool is_folded(const Expr *from, const Expr *to) {
    bool load = is_op(to, OP_LOAD) || is_op(to, OP_MLOAD);
    return load ? !is_op(from, OP_LOAD) && !is_op(from, OP_MLOAD)
                : is_op(to, OP_SYM) && from->nkid > 0;
}

static const Expr *rewrite(Rewrite *r, const Expr *e) {
    const Expr *done = memo_get(r->memo, e);
    if (done)
        return done;
    const Expr *few[KIDS_FEW];
    const Expr **kid = e->nkid <= KIDS_FEW ? few : ctx_newn(r->ctx, const Expr *, e->nkid);
    for (int i = 0; i < e->nkid; i++)
        kid[i] = rewrite(r, e->kid[i]);
    const Expr *now = e->nkid ? expr_rebuild(r->ctx, e, kid) : e;
    if (!is_folded(e, now))
        now = r->fn(r->ctx, now, r->data);
    memo_put(r->ctx, r->memo, e, now);
    return now;
}

const Expr *expr_map(Ctx *ctx, const Expr *e, ExprFn fn, void *data) {
    Rewrite r = {ctx, memo_take(ctx), fn, data, 0};
    e = rewrite(&r, e);
    memo_give(ctx, r.memo);
    return e;
}

typedef struct Subst {
    int n;
    Sym *const *from;
    const Expr *const *to;
} Subst;

static const Expr *subst_sym(const Subst *s, const Expr *e) {
    for (int i = 0; i < s->n; i++)
        if (e->u.sym == s->from[i])
            return s->to[i];
    return e;
}

static const Expr *subst(Rewrite *r, const Expr *e);

static const Expr *subst_kids(Rewrite *r, const Expr *e) {
    const Expr *few[KIDS_FEW];
    const Expr **kid = e->nkid <= KIDS_FEW ? few : ctx_newn(r->ctx, const Expr *, e->nkid);
    for (int i = 0; i < e->nkid; i++)
        kid[i] = subst(r, e->kid[i]);
    return expr_rebuild(r->ctx, e, kid);
}

/* Unlike expr_map, what was put in is not looked at again: from and to may share symbols. */
static const Expr *subst(Rewrite *r, const Expr *e) {
    if (!(expr_info(e)->syms & r->syms))
        return e;
    if (is_op(e, OP_SYM))
        return subst_sym(r->data, e);
    const Expr *done = memo_get(r->memo, e);
    if (done)
        return done;
    const Expr *now = subst_kids(r, e);
    memo_put(r->ctx, r->memo, e, now);
    return now;
}

const Expr *expr_subst(Ctx *ctx, const Expr *e, int n, Sym *const *from, const Expr *const *to) {
    Subst s = {n, from, to};
    Rewrite r = {ctx, NULL, NULL, &s, 0};
    for (int i = 0; i < n; i++)
        r.syms |= sym_bit(from[i]);
    if (!(expr_info(e)->syms & r.syms))
        return e;
    r.memo = memo_take(ctx);
    e = subst(&r, e);
    memo_give(ctx, r.memo);
    return e;
}
