/* frontend/load.h — from files to unpacked protobuf messages and plain tensors.
 *
 * Everything here treats its input as hostile: what it returns is in bounds, sized and of known
 * type; what it cannot accept it reports with diag_error and returns NULL or false. Meaning (ops,
 * types of values, opsets) is graph_import's matter. */
#ifndef LCC_LOAD_H
#define LCC_LOAD_H

#include "ir/base.h"
#include "frontend/wire.h"
#include "onnx.pb-c.h"

/* One external file that was read, as named in the model (relative to its folder). */
typedef struct OnnxExternal {
    Str name;
    const unsigned char *at; /* the whole file, mapped read-only; NULL when it is empty */
    size_t size;
    uint64_t dev, ino;
} OnnxExternal;

/* What is known about a loaded file. Zero-initialise; close after the last use of its tensors. */
typedef struct OnnxFile {
    Str path;        /* as given; "-" for standard input */
    char sha256[65]; /* of the file's bytes, hex */
    size_t bytes;    /* length of the file */
    int folder;      /* descriptor of the model's folder; -1: no external data is allowed */
    VEC(OnnxExternal *) external; /* in order of first use: what a depfile must list */
    Map *by_name;                 /* interned name → OnnxExternal */
} OnnxFile;

/* Reads `path` ("-": standard input), checks its wire format and unpacks it into the arena. The
 * result has a graph; nothing else about it is checked. `bytes` fields point into the file's
 * image, strings are NUL-terminated and hold no other NUL. Unknown fields are dropped. */
Onnx__ModelProto *onnx_load(Ctx *ctx, const char *path, OnnxFile *info);
/* The same from memory: n bytes, copied; `name` is what messages call them. No external data is allowed. */
Onnx__ModelProto *onnx_load_bytes(Ctx *ctx, const char *name, const void *bytes, size_t n,
                                  OnnxFile *info);
/* Unmaps external files and closes the folder; harmless on a zeroed struct and when called twice. */
void onnx_close(OnnxFile *info);

/* Checks n bytes read from `path` and unpacks the message of type `desc` in them. `what` names it in
 * errors: "an ONNX model". The bytes belong to the result afterwards. NULL after an error. */
void *file_unpack(Ctx *ctx, const char *path, unsigned char *at, size_t n,
                  const ProtobufCMessageDescriptor *desc, const char *what);

/* `length` bytes of the external file `location` from `offset` on, checked against the file as it
 * is now. NULL with *why (a few words) and *code (an EXIT_ code) when refused. */
const void *external_range(Ctx *ctx, OnnxFile *info, const char *location, int64_t offset,
                           int64_t length, const char **why, int *code);

/* ---- tensors --------------------------------------------------------------------------------- */

enum { ONNX_RANK_MAX = 64 };

typedef struct OnnxString {
    const char *at; /* not NUL-terminated */
    size_t len;
} OnnxString;

/* `type` is TensorProto.DataType. Elements are row-major, little-endian, of their natural size and
 * aligned to it; types below 8 bits are UNPACKED to one byte an element (int4, int2 sign-extended,
 * uint4, uint2 as they are, float4 as its 4-bit code); bool is one byte, 0 or 1; complex is
 * (re, im) pairs; strings are an array of OnnxString. */
typedef struct OnnxTensor {
    int type;
    int rank;
    const int64_t *dims; /* all >= 0; the product of those that are not 0 fits int64_t */
    int64_t count;       /* elements */
    const void *data;    /* count * onnx_type_size(type) bytes; never written */
    size_t nbytes;
} OnnxTensor;

/* Bytes of one element as in OnnxTensor.data; 0 when `type` is not a DataType. */
size_t onnx_type_size(int type);
/* Bits of one element as in raw_data: 2, 4, 8 … 128; 0 for strings and unknown types. */
int onnx_type_bits(int type);
/* "f32", "i64", "f8e4m3fn", … for messages; "type 99" when unknown. */
Str onnx_type_name(Ctx *ctx, int type);

/* Checks a TensorProto and gives its elements, from raw_data, the typed fields or external data.
 * Copies only what must be unpacked or aligned. Errors name the tensor; `loc` may be NULL. */
bool onnx_tensor_bytes(Ctx *ctx, OnnxFile *info, const Onnx__TensorProto *t, const Loc *loc,
                       OnnxTensor *out);

/* ---- the values of test_data_set folders -------------------------------------------------------- */

typedef enum OnnxKind { ONNX_TENSOR, ONNX_SEQUENCE, ONNX_OPTIONAL } OnnxKind;

/* A tensor, a sequence of values, or an optional (nitem 0: absent, 1: present). */
typedef struct OnnxValue {
    OnnxKind kind;
    OnnxTensor tensor; /* of ONNX_TENSOR */
    int nitem;
    struct OnnxValue *item;
} OnnxValue;

/* Reads a .pb file holding one TensorProto; *name may come out NULL. */
bool onnx_tensor_file(Ctx *ctx, const char *path, OnnxTensor *out, Str *name);
/* The same for any kind of value; the file does not say which it holds, the caller knows. */
bool onnx_value_file(Ctx *ctx, const char *path, OnnxKind kind, OnnxValue *out, Str *name);

/* Appends the TensorProto (raw_data, or string_data) or the SequenceProto / OptionalProto. */
void onnx_tensor_pack(Text *out, const OnnxTensor *t, const char *name);
void onnx_value_pack(Text *out, const OnnxValue *v, const char *name);
/* Writes such a file, by way of a temporary beside it and a rename. */
bool onnx_tensor_write(Ctx *ctx, const char *path, const OnnxTensor *t, const char *name);
bool onnx_value_write(Ctx *ctx, const char *path, const OnnxValue *v, const char *name);

#endif
