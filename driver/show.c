/* Elements of tensors as numbers and as text. */
#include "driver/run.h"

#include <string.h>

OnnxTensor tensor_make(Ctx *ctx, Dtype type, int rank, const int64_t *dims) {
    OnnxTensor t = {.type = type_onnx(type), .rank = rank, .count = 1};
    int64_t bytes = 0, *copy = ctx_newn(ctx, int64_t, rank);
    for (int i = 0; i < rank; i++) {
        copy[i] = dims[i];
        if (!mul_ok(t.count, dims[i], &t.count))
            t.count = INT64_MAX;
    }
    if (!mul_ok(t.count, type_bytes(type), &bytes))
        bytes = INT64_MAX; /* no memory is that large: the allocation reports it */
    t.dims = copy;
    t.nbytes = (size_t)bytes;
    t.data = ctx_alloc(ctx, (size_t)bytes);
    return t;
}

/* The integer at p, of `bytes` bytes. */
static int64_t int_at(const unsigned char *p, int bytes, bool sign) {
    uint64_t u = 0;
    memcpy(&u, p, (size_t)bytes); /* lcc's hosts are little-endian */
    int unused = 64 - 8 * bytes;
    return sign ? (int64_t)(u << unused) >> unused : (int64_t)u;
}

double tensor_at(const OnnxTensor *t, int64_t i) {
    Dtype type = type_from_onnx(t->type);
    int bytes = type_bytes(type);
    const unsigned char *p = (const unsigned char *)t->data + i * bytes;
    float f;
    double d;
    if (type == T_F32) {
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
    if (type == T_F64) {
        memcpy(&d, p, sizeof d);
        return d;
    }
    if (type_is_narrow(type))
        return (double)narrow_to_f32(type, (uint32_t)int_at(p, bytes, false));
    if (type == T_U64)
        return (double)(uint64_t)int_at(p, bytes, false);
    return (double)int_at(p, bytes, type_kind(type) == 'I');
}

void tensor_type_text(Text *t, const OnnxTensor *v) {
    text_f(t, "%s[", type_text(type_from_onnx(v->type)));
    for (int i = 0; i < v->rank; i++)
        text_f(t, i ? ",%lld" : "%lld", (long long)v->dims[i]);
    text_c(t, ']');
}

static void float_text(Text *t, double v, bool f32, bool json) {
    if (v - v == 0)
        text_float(t, v, f32);
    else if (json)
        text_s(t, v != v ? "\"nan\"" : v > 0 ? "\"inf\"" : "\"-inf\"");
    else
        text_s(t, v != v ? "nan" : v > 0 ? "inf" : "-inf");
}

static void element_text(Text *t, const OnnxTensor *v, int64_t i, bool json) {
    Dtype type = type_from_onnx(v->type);
    const unsigned char *p = (const unsigned char *)v->data + i * type_bytes(type);
    if (type == T_STR) {
        const OnnxString *s = (const OnnxString *)v->data + i;
        json_bytes(t, s->at, s->len);
    } else if (type == T_C64 || type == T_C128) {
        int part = type == T_C64 ? T_F32 : T_F64;
        OnnxTensor half = {.type = type_onnx((Dtype)part), .data = v->data};
        text_s(t, json ? "[" : "(");
        float_text(t, tensor_at(&half, 2 * i), part == T_F32, json);
        text_s(t, json ? ", " : ",");
        float_text(t, tensor_at(&half, 2 * i + 1), part == T_F32, json);
        text_s(t, json ? "]" : ")");
    } else if (type_is_float(type)) {
        float_text(t, tensor_at(v, i), type != T_F64, json);
    } else if (type == T_BOOL) {
        text_s(t, *p ? "true" : "false");
    } else if (type == T_U64) {
        text_f(t, "%llu", (unsigned long long)int_at(p, 8, false));
    } else {
        text_f(t, "%lld", (long long)int_at(p, type_bytes(type), type_kind(type) == 'I'));
    }
}

void tensor_values_text(Text *t, const OnnxTensor *v, int64_t most, bool json) {
    for (int64_t i = 0; i < v->count && i < most; i++) {
        text_s(t, !i ? "" : json ? ", " : " ");
        element_text(t, v, i, json);
    }
    if (v->count > most && !json)
        text_s(t, " ...");
}
