/* frontend/load_value.c — the .pb files of test_data_set folders, read and written.
 *
 * A file holds one TensorProto, SequenceProto or OptionalProto and does not say which; the type of
 * the model's input or output does. Written bytes equal those of the onnx package. */
#include "frontend/load.h"
#include "onnx-data.pb-c.h"

#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct Reading {
    Ctx *ctx;
    Loc loc;
} Reading;

static bool value_unsupported(Reading *r, const char *what) {
    return diag_error(r->ctx, EXIT_UNSUPPORTED, &r->loc, "%s values are not supported", what);
}

static bool tensor_value(Reading *r, const Onnx__TensorProto *t, OnnxValue *out) {
    out->kind = ONNX_TENSOR;
    return onnx_tensor_bytes(r->ctx, NULL, t, &r->loc, &out->tensor);
}

static bool optional_value(Reading *r, const Onnx__OptionalProto *o, OnnxValue *out);

/* Recursion is bounded: wire_scan limits nesting. */
static bool sequence_value(Reading *r, const Onnx__SequenceProto *s, OnnxValue *out) {
    size_t n = s->n_tensor_values + s->n_sequence_values + s->n_optional_values, at = 0;
    if (s->n_map_values || s->n_sparse_tensor_values)
        return value_unsupported(r, s->n_map_values ? "map" : "sparse tensor");
    if (n > INT32_MAX)
        return diag_error(r->ctx, EXIT_LIMIT, &r->loc, "a sequence of %zu values", n);
    out->kind = ONNX_SEQUENCE;
    out->nitem = (int)n;
    out->item = ctx_newn(r->ctx, OnnxValue, n);
    bool ok = true;
    for (size_t i = 0; ok && i < s->n_tensor_values; i++)
        ok = tensor_value(r, s->tensor_values[i], &out->item[at++]);
    for (size_t i = 0; ok && i < s->n_sequence_values; i++)
        ok = sequence_value(r, s->sequence_values[i], &out->item[at++]);
    for (size_t i = 0; ok && i < s->n_optional_values; i++)
        ok = optional_value(r, s->optional_values[i], &out->item[at++]);
    return ok;
}

static bool optional_value(Reading *r, const Onnx__OptionalProto *o, OnnxValue *out) {
    out->kind = ONNX_OPTIONAL;
    if (o->map_value || o->sparse_tensor_value)
        return value_unsupported(r, o->map_value ? "map" : "sparse tensor");
    if (!o->tensor_value && !o->sequence_value && !o->optional_value)
        return true;
    out->nitem = 1;
    out->item = ctx_new(r->ctx, OnnxValue);
    return o->tensor_value     ? tensor_value(r, o->tensor_value, out->item)
           : o->sequence_value ? sequence_value(r, o->sequence_value, out->item)
                               : optional_value(r, o->optional_value, out->item);
}

bool onnx_value_file(Ctx *ctx, const char *path, OnnxKind kind, OnnxValue *out, Str *name) {
    static const struct {
        const ProtobufCMessageDescriptor *desc;
        const char *what;
    } KINDS[] = {{&onnx__tensor_proto__descriptor, "a TensorProto"},
                 {&onnx__sequence_proto__descriptor, "a SequenceProto"},
                 {&onnx__optional_proto__descriptor, "an OptionalProto"}};
    Reading r = {ctx, {.file = str(ctx, path), .node = -1}};
    unsigned char *at;
    size_t n;
    *out = (OnnxValue){.kind = kind};
    *name = NULL;
    if (!file_read(ctx, path, &at, &n))
        return false;
    void *msg = file_unpack(ctx, path, at, n, KINDS[kind].desc, KINDS[kind].what);
    if (!msg)
        return false;
    if (kind == ONNX_TENSOR) {
        *name = str(ctx, ((Onnx__TensorProto *)msg)->name);
        return tensor_value(&r, msg, out);
    }
    if (kind == ONNX_SEQUENCE) {
        *name = str(ctx, ((Onnx__SequenceProto *)msg)->name);
        return sequence_value(&r, msg, out);
    }
    *name = str(ctx, ((Onnx__OptionalProto *)msg)->name);
    return optional_value(&r, msg, out);
}

bool onnx_tensor_file(Ctx *ctx, const char *path, OnnxTensor *out, Str *name) {
    OnnxValue v;
    bool ok = onnx_value_file(ctx, path, ONNX_TENSOR, &v, name);
    *out = v.tensor;
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Field numbers of onnx.proto and onnx-data.proto. */
enum {
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_STRINGS = 6,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    VALUE_NAME = 1,
    VALUE_ELEM = 2,
    VALUE_TENSOR = 3,
    VALUE_SEQUENCE = 5,
    VALUE_OPTIONAL = 7
};

static void put_varint(Text *out, uint64_t v) {
    for (; v >= 0x80; v >>= 7)
        text_c(out, (char)(v | 0x80));
    text_c(out, (char)v);
}

static void put_int(Text *out, int field, uint64_t v) {
    put_varint(out, (uint64_t)field << 3);
    put_varint(out, v);
}

static void put_bytes(Text *out, int field, const void *at, size_t n) {
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, n);
    text_n(out, at, n);
}

/* Elements below 8 bits, several to a byte, the first one lowest. */
static void put_packed(Text *out, const OnnxTensor *t, int bits) {
    const unsigned char *at = t->data;
    int per = 8 / bits;
    size_t n = ((size_t)t->count + (size_t)per - 1) / (size_t)per;
    unsigned char *packed = ctx_alloc(out->ctx, n);
    for (int64_t i = 0; i < t->count; i++)
        packed[i / per] |= (unsigned char)((at[i] & ((1u << bits) - 1)) << (i % per * bits));
    put_bytes(out, TENSOR_RAW, packed, n);
}

void onnx_tensor_pack(Text *out, const OnnxTensor *t, const char *name) {
    int bits = onnx_type_bits(t->type);
    for (int i = 0; i < t->rank; i++)
        put_int(out, TENSOR_DIMS, (uint64_t)t->dims[i]);
    put_int(out, TENSOR_TYPE, (uint64_t)t->type);
    if (t->type == ONNX__TENSOR_PROTO__DATA_TYPE__STRING)
        for (int64_t i = 0; i < t->count; i++) {
            const OnnxString *s = (const OnnxString *)t->data + i;
            put_bytes(out, TENSOR_STRINGS, s->at, s->len);
        }
    if (name)
        put_bytes(out, TENSOR_NAME, name, strlen(name));
    if (bits && bits < 8)
        put_packed(out, t, bits);
    else if (bits)
        put_bytes(out, TENSOR_RAW, t->data, t->nbytes);
}

/* elem_type of SequenceProto and OptionalProto: 1 tensor, 3 sequence, 5 optional. */
static int elem_type(const OnnxValue *v) {
    static const int TYPE[] = {1, 3, 5};
    return v->nitem ? TYPE[v->item[0].kind] : v->kind == ONNX_SEQUENCE;
}

void onnx_value_pack(Text *out, const OnnxValue *v, const char *name) {
    static const int FIELD[] = {VALUE_TENSOR, VALUE_SEQUENCE, VALUE_OPTIONAL};
    if (v->kind == ONNX_TENSOR) {
        onnx_tensor_pack(out, &v->tensor, name);
        return;
    }
    if (name)
        put_bytes(out, VALUE_NAME, name, strlen(name));
    put_int(out, VALUE_ELEM, (uint64_t)elem_type(v));
    for (int i = 0; i < v->nitem; i++) {
        Text item = text_new(out->ctx);
        onnx_value_pack(&item, &v->item[i], NULL);
        put_bytes(out, FIELD[v->item[i].kind], item.at, item.len);
    }
}

bool onnx_value_write(Ctx *ctx, const char *path, const OnnxValue *v, const char *name) {
    Text out = text_new(ctx);
    onnx_value_pack(&out, v, name);
    return file_write(ctx, path, out.at, out.len);
}

bool onnx_tensor_write(Ctx *ctx, const char *path, const OnnxTensor *t, const char *name) {
    OnnxValue v = {.kind = ONNX_TENSOR, .tensor = *t};
    return onnx_value_write(ctx, path, &v, name);
}
