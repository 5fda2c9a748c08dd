/* frontend/wire.c — checks and unpacks protobuf bytes by protobuf-c's descriptors.
 *
 * wire_scan walks the bytes with its own stack and refuses everything that is not plain protobuf:
 * bytes 0a 02 08 80 → "the varint does not end" in ModelProto at byte 2. wire_unpack runs only on
 * bytes that passed, so it has no checks left: it counts each message's fields, allocates exactly
 * those, and fills them. As protobuf demands, fields come in any order, a scalar given twice keeps
 * its last value, a message given twice is merged, repeated scalars may be packed or not, and
 * unknown fields are skipped. */
#include "frontend/wire.h"

#include <string.h>

enum {
    FIELD_MAX = 32,    /* fields of a message type */
    VARINT_MAX = 10,   /* bytes */
    LONG_BYTES = 16384 /* byte fields from here on are aligned; their header has >= 4 bytes */
};

enum { WIRE_VARINT, WIRE_I64, WIRE_LEN, WIRE_GROUP, WIRE_GROUP_END, WIRE_I32 };

typedef ProtobufCMessageDescriptor Desc;
typedef ProtobufCFieldDescriptor Field;

typedef struct Token {
    uint32_t id;
    int wire;
    uint64_t value;            /* of a varint */
    const unsigned char *data; /* payload of the others */
    size_t len;
} Token;

/* NULL or why the varint at *p is refused. */
static const char *varint_read(const unsigned char **p, const unsigned char *end, uint64_t *value) {
    uint64_t v = 0;
    for (int i = 0; i < VARINT_MAX; i++) {
        if (*p == end)
            return "the varint does not end";
        unsigned char byte = *(*p)++;
        if (i == VARINT_MAX - 1 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *value = v;
            return NULL;
        }
    }
    return "the varint is longer than 64 bits";
}

/* Reads one field; NULL or why it is refused. */
static const char *token_read(const unsigned char **p, const unsigned char *end, Token *t) {
    uint64_t tag;
    const char *why = varint_read(p, end, &tag);
    if (why)
        return why;
    if (tag >> 3 == 0)
        return "field number 0";
    if (tag > UINT32_MAX)
        return "field number above 2^29";
    *t = (Token){.id = (uint32_t)(tag >> 3), .wire = (int)(tag & 7)};
    uint64_t len = t->wire == WIRE_I64 ? 8 : 4;
    switch (t->wire) {
    case WIRE_VARINT:
        return varint_read(p, end, &t->value);
    case WIRE_LEN:
        why = varint_read(p, end, &len);
        if (why)
            return why;
        break;
    case WIRE_I64:
    case WIRE_I32:
        break;
    case WIRE_GROUP:
    case WIRE_GROUP_END:
        return "groups are not used by ONNX";
    default:
        return "unknown wire type";
    }
    if (len > (size_t)(end - *p))
        return "a length runs past the end";
    t->data = *p;
    t->len = (size_t)len;
    *p += len;
    return NULL;
}

static int field_wire(const Field *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_I32;
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_I64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LEN;
    default:
        return WIRE_VARINT;
    }
}

/* Bytes of one element in the unpacked struct. */
static size_t field_size(const Field *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_FLOAT:
        return 4;
    default:
        return 8;
    }
}

static bool field_packed(const Field *f, const Token *t) {
    return f->label == PROTOBUF_C_LABEL_REPEATED && t->wire == WIRE_LEN &&
           field_wire(f) != WIRE_LEN;
}

/* Elements of a packed payload that was checked. */
static size_t packed_count(const Field *f, const Token *t) {
    if (field_wire(f) != WIRE_VARINT)
        return t->len / field_size(f);
    size_t n = 0;
    for (size_t i = 0; i < t->len; i++)
        n += t->data[i] < 0x80;
    return n;
}

/* ---- scan ------------------------------------------------------------------------------------ */

/* What the arena takes for a request of n bytes. */
static uint64_t arena_cost(uint64_t n) {
    return n ? (n + 15) & ~UINT64_C(15) : 16;
}

/* One message being scanned; `seen` has a bit a field. */
typedef struct Frame {
    const unsigned char *end;
    const Desc *desc;
    uint32_t seen;
} Frame;

/* Checks the payload of a known field and adds what unpacking it takes. */
static const char *field_scan(const Field *f, const Token *t, Frame *frame, uint64_t *cost) {
    uint32_t bit = UINT32_C(1) << (f - frame->desc->fields);
    bool again = frame->seen & bit, packed = field_packed(f, t);
    frame->seen |= bit;
    if (t->wire != field_wire(f) && !packed)
        return "a field of the wrong wire type";
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        if (t->len && memchr(t->data, 0, t->len))
            return "a NUL byte inside a string";
        *cost += arena_cost(t->len + 1);
    }
    if (packed && field_wire(f) == WIRE_VARINT) {
        uint64_t value;
        for (const unsigned char *p = t->data, *end = p + t->len; p < end;) {
            const char *why = varint_read(&p, end, &value);
            if (why)
                return why;
        }
    } else if (packed && t->len % field_size(f)) {
        return "a packed field of odd length";
    }
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        *cost += (packed ? packed_count(f, t) : 1) * field_size(f) + (again ? 0 : 16);
    return NULL;
}

bool wire_scan(const unsigned char *at, size_t n, const Desc *desc, uint64_t *cost,
               WireFault *fault) {
    Frame stack[WIRE_DEPTH_MAX + 1];
    int depth = 0;
    const unsigned char *p = at;
    stack[0] = (Frame){at + n, desc, 0};
    *cost = arena_cost(desc->sizeof_message);
    for (;;) {
        Frame *frame = &stack[depth];
        if (p == frame->end) {
            if (depth-- == 0)
                return true;
            continue;
        }
        Token t;
        const unsigned char *start = p;
        const char *why = token_read(&p, frame->end, &t);
        const Field *f = why ? NULL : protobuf_c_message_descriptor_get_field(frame->desc, t.id);
        if (f)
            why = field_scan(f, &t, frame, cost);
        if (!why && f && f->type == PROTOBUF_C_TYPE_MESSAGE) {
            if (depth == WIRE_DEPTH_MAX) {
                why = "messages nested more than 100 deep";
            } else {
                const Desc *inner = f->descriptor;
                *cost += arena_cost(inner->sizeof_message);
                stack[++depth] = (Frame){p, inner, 0};
                p = t.data;
            }
        }
        if (why) {
            *fault = (WireFault){why, frame->desc->short_name, (size_t)(start - at)};
            return false;
        }
    }
}

/* ---- unpack ---------------------------------------------------------------------------------- */

typedef struct Unpacker {
    Ctx *ctx;
    uint64_t spare; /* bytes left for merging */
    bool failed;
} Unpacker;

/* What is known of one field while its message is unpacked. */
typedef struct FieldState {
    size_t all;   /* occurrences left in the bytes */
    size_t valid; /* of these, the last ones, not undone by another member of a oneof */
    size_t len;   /* elements of a repeated field; bytes of the valid occurrences of a message */
    size_t fill;
    unsigned char *merged;
} FieldState;

static void *message_unpack(Unpacker *u, const unsigned char *at, size_t n, const Desc *desc);

/* Later members of a oneof undo the earlier ones. */
static void oneof_reset(const Desc *desc, const Field *f, FieldState *state) {
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const Field *g = &desc->fields[i];
        if (g != f && (g->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
            g->quantifier_offset == f->quantifier_offset)
            state[i].valid = state[i].len = 0;
    }
}

/* Counts occurrences and elements, and allocates the arrays. */
static void message_count(Unpacker *u, const unsigned char *at, const unsigned char *end,
                          const Desc *desc, char *msg, FieldState *state) {
    Token t;
    while (at < end && !token_read(&at, end, &t)) {
        const Field *f = protobuf_c_message_descriptor_get_field(desc, t.id);
        if (!f)
            continue;
        FieldState *s = &state[f - desc->fields];
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
            oneof_reset(desc, f, state);
        s->all++;
        s->valid++;
        if (f->label != PROTOBUF_C_LABEL_REPEATED)
            s->len += t.len;
        else
            s->len += field_packed(f, &t) ? packed_count(f, &t) : 1;
    }
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const Field *f = &desc->fields[i];
        if (f->label != PROTOBUF_C_LABEL_REPEATED || !state[i].len)
            continue;
        void *array = ctx_allocn(u->ctx, state[i].len, field_size(f));
        memcpy(msg + f->offset, &array, sizeof array);
        memcpy(msg + f->quantifier_offset, &state[i].len, sizeof state[i].len);
    }
}

/* Long byte fields start at a multiple of 4 afterwards, so that float weights need no copy: the
 * field's own header, already read, gives the room. */
static ProtobufCBinaryData bytes_unpack(const Token *t) {
    unsigned char *data = (unsigned char *)(uintptr_t)t->data;
    if (t->len >= LONG_BYTES) {
        unsigned char *aligned = data - ((uintptr_t)data & 3);
        memmove(aligned, data, t->len);
        data = aligned;
    }
    return (ProtobufCBinaryData){t->len, data};
}

/* Writes one element of f to `to`. */
static void element_unpack(Unpacker *u, const Field *f, const Token *t, void *to) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        char *s = ctx_alloc(u->ctx, t->len + 1);
        if (t->len)
            memcpy(s, t->data, t->len);
        memcpy(to, &s, sizeof s);
        break;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        ProtobufCBinaryData bytes = bytes_unpack(t);
        memcpy(to, &bytes, sizeof bytes);
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        void *inner = message_unpack(u, t->data, t->len, f->descriptor);
        memcpy(to, &inner, sizeof inner);
        break;
    }
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(to, t->data, t->len);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM: {
        uint32_t low = (uint32_t)t->value;
        memcpy(to, &low, sizeof low);
        break;
    }
    default:
        memcpy(to, &t->value, sizeof t->value);
    }
}

static void packed_unpack(const Field *f, const Token *t, FieldState *s, char *array) {
    size_t size = field_size(f);
    if (field_wire(f) != WIRE_VARINT) {
        if (t->len)
            memcpy(array + s->fill * size, t->data, t->len);
        s->fill += t->len / size;
        return;
    }
    const unsigned char *p = t->data, *end = p + t->len;
    uint64_t value;
    while (p < end && !varint_read(&p, end, &value)) {
        uint32_t low = (uint32_t)value;
        memcpy(array + s->fill++ * size, size == 4 ? (void *)&low : (void *)&value, size);
    }
}

/* A message given more than once means its bytes one after another. True: *t holds all of them. */
static bool message_merge(Unpacker *u, FieldState *s, Token *t) {
    if (s->valid == 1)
        return true;
    if (!s->merged) {
        if (s->len > u->spare) {
            u->failed = true;
            s->valid = 0;
            return false;
        }
        u->spare -= s->len;
        s->merged = ctx_alloc(u->ctx, s->len);
    }
    if (t->len)
        memcpy(s->merged + s->fill, t->data, t->len);
    s->fill += t->len;
    *t = (Token){.wire = WIRE_LEN, .data = s->merged, .len = s->fill};
    return s->all == 1;
}

static void field_unpack(Unpacker *u, const Field *f, Token *t, char *msg, FieldState *s) {
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        char *array;
        memcpy(&array, msg + f->offset, sizeof array);
        if (field_packed(f, t))
            packed_unpack(f, t, s, array);
        else
            element_unpack(u, f, t, array + s->fill++ * field_size(f));
    } else if (s->all <= s->valid &&
               (f->type != PROTOBUF_C_TYPE_MESSAGE || message_merge(u, s, t))) {
        element_unpack(u, f, t, msg + f->offset);
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
            memcpy(msg + f->quantifier_offset, &f->id, sizeof f->id);
        else if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
            memcpy(msg + f->quantifier_offset, &(protobuf_c_boolean){1},
                   sizeof(protobuf_c_boolean));
    }
    s->all--;
}

/* Recurses, at most WIRE_DEPTH_MAX deep: the bytes were scanned. */
static void *message_unpack(Unpacker *u, const unsigned char *at, size_t n, const Desc *desc) {
    FieldState state[FIELD_MAX] = {{0}};
    const unsigned char *end = at + n;
    char *msg = ctx_alloc(u->ctx, desc->sizeof_message);
    desc->message_init((ProtobufCMessage *)(void *)msg);
    message_count(u, at, end, desc, msg, state);
    Token t;
    while (at < end && !token_read(&at, end, &t)) {
        const Field *f = protobuf_c_message_descriptor_get_field(desc, t.id);
        if (f)
            field_unpack(u, f, &t, msg, &state[f - desc->fields]);
    }
    return msg;
}

void *wire_unpack(Ctx *ctx, unsigned char *at, size_t n, const Desc *desc, uint64_t spare) {
    Unpacker u = {ctx, spare, false};
    void *msg = message_unpack(&u, at, n, desc);
    return u.failed ? NULL : msg;
}
