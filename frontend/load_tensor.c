/* frontend/load_tensor.c — a TensorProto's elements as plain arrays.
 *
 * dims [2] data_type INT4 raw_data 1f → type i4, count 2, data {-1, 1}. Every number the proto
 * gives is checked against the others; hosts are little-endian, as raw_data is. */
#include "frontend/load.h"

#include <string.h>

/* The typed field a DataType is stored in when there is no raw_data. */
typedef enum Store {
    IN_NONE,
    IN_FLOAT,
    IN_INT32,
    IN_INT64,
    IN_UINT64,
    IN_DOUBLE,
    IN_STRING,
    NSTORE
} Store;

static const struct TypeRow {
    const char *name;
    int bits; /* of one element in raw_data */
    Store store;
} TYPES[] = {
    {"undefined", 0, IN_NONE},   {"f32", 32, IN_FLOAT},
    {"u8", 8, IN_INT32},         {"i8", 8, IN_INT32},
    {"u16", 16, IN_INT32},       {"i16", 16, IN_INT32},
    {"i32", 32, IN_INT32},       {"i64", 64, IN_INT64},
    {"str", 0, IN_STRING},       {"bool", 8, IN_INT32},
    {"f16", 16, IN_INT32},       {"f64", 64, IN_DOUBLE},
    {"u32", 32, IN_UINT64},      {"u64", 64, IN_UINT64},
    {"complex64", 64, IN_FLOAT}, {"complex128", 128, IN_DOUBLE},
    {"bf16", 16, IN_INT32},      {"f8e4m3fn", 8, IN_INT32},
    {"f8e4m3fnuz", 8, IN_INT32}, {"f8e5m2", 8, IN_INT32},
    {"f8e5m2fnuz", 8, IN_INT32}, {"u4", 4, IN_INT32},
    {"i4", 4, IN_INT32},         {"f4e2m1", 4, IN_INT32},
    {"f8e8m0", 8, IN_INT32},     {"u2", 2, IN_INT32},
    {"i2", 2, IN_INT32},
};
enum { NTYPE = sizeof TYPES / sizeof *TYPES };

static const char *const STORE_NAME[NSTORE] = {"no field",   "float_data",  "int32_data",
                                               "int64_data", "uint64_data", "double_data",
                                               "string_data"};

#define T(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

int onnx_type_bits(int type) {
    return type > 0 && type < NTYPE ? TYPES[type].bits : 0;
}

size_t onnx_type_size(int type) {
    if (type <= 0 || type >= NTYPE)
        return 0;
    return type == T(STRING) ? sizeof(OnnxString) : ((size_t)TYPES[type].bits + 7) / 8;
}

Str onnx_type_name(Ctx *ctx, int type) {
    return type > 0 && type < NTYPE ? str(ctx, TYPES[type].name) : str_f(ctx, "type %d", type);
}

/* ---- the state of one tensor -------------------------------------------------------------------- */

typedef struct Reader {
    Ctx *ctx;
    OnnxFile *info;
    const Onnx__TensorProto *t;
    const Loc *loc;
    OnnxTensor *out;
} Reader;

/* "tensor 'w' f32[2,3]" for messages. */
static Str reader_title(const Reader *r) {
    Text s = text_new(r->ctx);
    const Onnx__TensorProto *t = r->t;
    text_s(&s, r->info ? "tensor " : "");
    if (t->name && t->name[0]) {
        size_t len = strlen(t->name);
        text_c(&s, '\'');
        text_n(&s, t->name, len < 200 ? len : 200);
        text_s(&s, len < 200 ? "' " : "...' ");
    }
    text_f(&s, "%s[", onnx_type_name(r->ctx, t->data_type));
    for (size_t i = 0; i < t->n_dims && i < 8; i++)
        text_f(&s, "%s%lld", i ? "," : "", (long long)t->dims[i]);
    text_s(&s, t->n_dims > 8 ? ",...]" : "]");
    return str_n(r->ctx, s.at, s.len);
}

#define REFUSE(r, code, ...) tensor_refuse((r), (code), str_f((r)->ctx, __VA_ARGS__))
static bool tensor_refuse(const Reader *r, int code, Str why) {
    return diag_error(r->ctx, code, r->loc, "%s: %s", reader_title(r), why);
}

static bool tensor_shape(Reader *r) {
    const Onnx__TensorProto *t = r->t;
    int64_t count = 1, solid = 1, bytes; /* solid: without the dims that are 0 */
    if (t->n_dims > ONNX_RANK_MAX)
        return REFUSE(r, EXIT_LIMIT, "rank %zu, at most %d is supported", t->n_dims, ONNX_RANK_MAX);
    for (size_t i = 0; i < t->n_dims; i++) {
        int64_t d = t->dims[i];
        if (d < 0)
            return REFUSE(r, EXIT_MALFORMED, "dimension %zu is negative", i);
        if (d && !mul_ok(solid, d, &solid))
            return REFUSE(r, EXIT_MALFORMED, "its number of elements is above 2^63");
        count = d ? count : 0;
    }
    count = count ? solid : 0;
    if (!mul_ok(solid, (int64_t)onnx_type_size(r->out->type), &bytes))
        return REFUSE(r, EXIT_MALFORMED, "its size in bytes is above 2^63");
    r->out->rank = (int)t->n_dims;
    r->out->dims = t->dims;
    r->out->count = count;
    r->out->nbytes = count ? (size_t)bytes : 0;
    return true;
}

/* ---- raw bytes ------------------------------------------------------------------------------- */

/* Bytes that `count` elements take in raw_data. */
static int64_t packed_bytes(const OnnxTensor *out) {
    int bits = onnx_type_bits(out->type);
    if (bits >= 8)
        return (int64_t)out->nbytes;
    int per = 8 / bits;
    return out->count / per + (out->count % per != 0);
}

/* Element i of a type below 8 bits, lowest bits first, sign-extended when the type is signed. */
static unsigned char nibble_get(const unsigned char *at, int64_t i, int bits, bool is_signed) {
    int per = 8 / bits;
    unsigned v = at[i / per] >> (i % per * bits) & ((1u << bits) - 1);
    return (unsigned char)(is_signed && v >> (bits - 1) ? v | ~((1u << bits) - 1) : v);
}

static const void *bytes_unpack(Ctx *ctx, const OnnxTensor *out, const unsigned char *at) {
    int bits = onnx_type_bits(out->type);
    bool is_signed = out->type == T(INT4) || out->type == T(INT2);
    if (bits < 8) {
        unsigned char *wide = ctx_alloc(ctx, out->nbytes);
        for (int64_t i = 0; i < out->count; i++)
            wide[i] = nibble_get(at, i, bits, is_signed);
        return wide;
    }
    if (out->type == T(BOOL)) {
        unsigned char *clean = NULL;
        for (int64_t i = 0; i < out->count; i++) {
            if (at[i] > 1 && !clean)
                clean = ctx_copy(ctx, at, out->nbytes);
            if (clean)
                clean[i] = at[i] != 0;
        }
        return clean ? clean : at;
    }
    size_t align = bits > 64 ? 8 : (size_t)bits / 8;
    bool complex_pair = out->type == T(COMPLEX64);
    if ((uintptr_t)at % (complex_pair ? 4 : align) == 0)
        return at;
    return ctx_copy(ctx, at, out->nbytes);
}

static bool tensor_raw(Reader *r) {
    const ProtobufCBinaryData *raw = &r->t->raw_data;
    if (r->out->type == T(STRING))
        return REFUSE(r, EXIT_MALFORMED, "strings cannot be in raw_data");
    int64_t needed = packed_bytes(r->out);
    if (raw->len != (size_t)needed)
        return REFUSE(r, EXIT_MALFORMED, "raw_data has %zu bytes, needs %lld", raw->len,
                      (long long)needed);
    r->out->data = bytes_unpack(r->ctx, r->out, raw->data);
    return true;
}

/* ---- external data --------------------------------------------------------------------------- */

/* A plain decimal number. */
static bool decimal_read(const char *s, int64_t *n) {
    *n = 0;
    bool ok = *s != 0;
    for (; ok && *s; s++)
        ok = *s >= '0' && *s <= '9' && mul_ok(*n, 10, n) && add_ok(*n, *s - '0', n);
    return ok;
}

static bool tensor_external(Reader *r) {
    const Onnx__TensorProto *t = r->t;
    const char *location = NULL;
    int64_t needed, offset = 0, length = -1;
    if (r->out->type == T(STRING))
        return REFUSE(r, EXIT_MALFORMED, "strings cannot be external data");
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
        if (!key || !value)
            return REFUSE(r, EXIT_MALFORMED, "external_data has an entry without key or value");
        if (!strcmp(key, "location"))
            location = value;
        else if ((!strcmp(key, "offset") && !decimal_read(value, &offset)) ||
                 (!strcmp(key, "length") && !decimal_read(value, &length)))
            return REFUSE(r, EXIT_MALFORMED, "external_data has a bad %s", key);
    }
    if (!location)
        return REFUSE(r, EXIT_MALFORMED, "external_data has no location");
    needed = packed_bytes(r->out);
    if (length >= 0 && length != needed)
        return REFUSE(r, EXIT_MALFORMED, "external_data has %lld bytes, needs %lld",
                      (long long)length, (long long)needed);
    const char *why;
    int code;
    const void *at = external_range(r->ctx, r->info, location, offset, needed, &why, &code);
    if (!at)
        return REFUSE(r, code, "external data '%.200s' refused: %s", location, why);
    r->out->data = bytes_unpack(r->ctx, r->out, at);
    return true;
}

/* ---- typed fields ---------------------------------------------------------------------------- */

static size_t store_len(const Onnx__TensorProto *t, Store store) {
    const size_t len[NSTORE] = {0,
                                t->n_float_data,
                                t->n_int32_data,
                                t->n_int64_data,
                                t->n_uint64_data,
                                t->n_double_data,
                                t->n_string_data};
    return len[store];
}

/* int32_data as elements of 8 or 16 bits, or as the bytes of packed ones. Either sign convention
 * is accepted; what does not fit is refused. */
static bool int32_narrow(Reader *r, size_t n, int bits) {
    const int32_t *from = r->t->int32_data;
    unsigned char *to = ctx_allocn(r->ctx, n, (size_t)bits / 8);
    int32_t least = -(1 << (bits - 1)), most = (1 << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        if (r->out->type == T(BOOL)) {
            to[i] = from[i] != 0;
            continue;
        }
        if (from[i] < least || from[i] > most)
            return REFUSE(r, EXIT_MALFORMED, "int32_data[%zu] = %d does not fit", i, (int)from[i]);
        if (bits == 8)
            to[i] = (unsigned char)from[i];
        else
            memcpy(to + 2 * i, &(uint16_t){(uint16_t)from[i]}, 2);
    }
    r->out->data = onnx_type_bits(r->out->type) < 8 ? bytes_unpack(r->ctx, r->out, to) : to;
    return true;
}

static bool uint64_narrow(Reader *r) {
    uint32_t *to = ctx_newn(r->ctx, uint32_t, r->out->count);
    for (int64_t i = 0; i < r->out->count; i++) {
        if (r->t->uint64_data[i] > UINT32_MAX)
            return REFUSE(r, EXIT_MALFORMED, "uint64_data[%lld] does not fit", (long long)i);
        to[i] = (uint32_t)r->t->uint64_data[i];
    }
    r->out->data = to;
    return true;
}

static bool tensor_strings(Reader *r) {
    OnnxString *to = ctx_newn(r->ctx, OnnxString, r->out->count);
    for (int64_t i = 0; i < r->out->count; i++) {
        const ProtobufCBinaryData *s = &r->t->string_data[i];
        to[i] = (OnnxString){(const char *)s->data, s->len};
    }
    r->out->data = to;
    return true;
}

static bool tensor_typed(Reader *r) {
    const Onnx__TensorProto *t = r->t;
    int type = r->out->type, bits = onnx_type_bits(type);
    Store store = TYPES[type].store;
    bool complex_pair = type == T(COMPLEX64) || type == T(COMPLEX128);
    size_t n = store_len(t, store);
    int64_t needed = bits > 0 && bits < 8 ? packed_bytes(r->out) : r->out->count;
    if (complex_pair && !mul_ok(needed, 2, &needed))
        return REFUSE(r, EXIT_MALFORMED, "its number of elements is above 2^63");
    for (Store s = IN_FLOAT; s < NSTORE; s++)
        if (s != store && store_len(t, s))
            return REFUSE(r, EXIT_MALFORMED, "its data is in %s, must be in %s", STORE_NAME[s],
                          STORE_NAME[store]);
    if (n == 0 && needed)
        return REFUSE(r, EXIT_MALFORMED, "it has no data");
    if (n != (size_t)needed)
        return REFUSE(r, EXIT_MALFORMED, "%s has %zu elements, needs %lld", STORE_NAME[store], n,
                      (long long)needed);
    if (store == IN_STRING)
        return tensor_strings(r);
    if (type == T(UINT32))
        return uint64_narrow(r);
    if (store == IN_INT32 && bits < 32)
        return int32_narrow(r, n, bits < 8 ? 8 : bits);
    const void *const data[NSTORE] = {NULL,           t->float_data,  t->int32_data, t->int64_data,
                                      t->uint64_data, t->double_data, NULL};
    r->out->data = data[store];
    return true;
}

bool onnx_tensor_bytes(Ctx *ctx, OnnxFile *info, const Onnx__TensorProto *t, const Loc *loc,
                       OnnxTensor *out) {
    Reader r = {ctx, info, t, loc, out};
    *out = (OnnxTensor){.type = t->data_type};
    if (t->data_type == T(UNDEFINED))
        return REFUSE(&r, EXIT_MALFORMED, "it has no data_type");
    if (t->data_type < 0 || t->data_type >= NTYPE)
        return REFUSE(&r, t->data_type < 0 ? EXIT_MALFORMED : EXIT_UNSUPPORTED,
                      "unknown data_type %d", (int)t->data_type);
    if (t->segment)
        return REFUSE(&r, EXIT_UNSUPPORTED, "tensors stored in segments are not supported");
    if (!tensor_shape(&r))
        return false;
    bool external = t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    bool typed = false;
    for (Store s = IN_FLOAT; s < NSTORE; s++)
        typed |= store_len(t, s) > 0;
    bool raw = t->has_raw_data && (t->raw_data.len > 0 || (!typed && !external));
    if (t->data_location && !external)
        return REFUSE(&r, EXIT_MALFORMED, "unknown data_location %d", (int)t->data_location);
    if ((int)typed + raw + external > 1)
        return REFUSE(&r, EXIT_MALFORMED, "its data is given twice: %s and %s",
                      typed ? "in a typed field" : "in raw_data",
                      external ? "as external data" : "in raw_data");
    bool ok = external              ? tensor_external(&r)
              : raw                 ? tensor_raw(&r)
              : typed || out->count ? tensor_typed(&r)
                                    : true;
    if (ok && !out->data)
        out->data = ctx_alloc(ctx, 0);
    return ok;
}
