/* .npy files: one array, a header in Python's syntax and the elements.
 *
 *   \x93NUMPY 1 0 <length> {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 *
 * Types without a name in numpy (bf16, f8 …) travel as raw bytes, '|V2' and '|V1'; the model's type
 * then says what they are. Everything in a file is checked. */
#include "driver/run.h"

#include <stdio.h>
#include <string.h>

static const char MAGIC[] = "\x93NUMPY";
enum { MAGIC_LEN = 6, HEADER_ALIGN = 64, UCS4 = 4 };

static const struct Descr {
    Dtype type;
    const char *descr;
} DESCRS[] = {
    {T_F64, "<f8"}, {T_F32, "<f4"},   {T_F16, "<f2"}, {T_I64, "<i8"}, {T_I32, "<i4"},
    {T_I16, "<i2"}, {T_I8, "|i1"},    {T_U64, "<u8"}, {T_U32, "<u4"}, {T_U16, "<u2"},
    {T_U8, "|u1"},  {T_BOOL, "|b1"},  {T_C64, "<c8"}, {T_I4, "|i1"},  {T_I2, "|i1"},
    {T_U4, "|u1"},  {T_C128, "<c16"}, {T_U2, "|u1"},
};
enum { NDESCR = (int)(sizeof DESCRS / sizeof DESCRS[0]) };

typedef struct Npy {
    Ctx *ctx;
    Loc loc;
    const unsigned char *at, *end; /* what is left */
    char descr[16];
    bool fortran;
    int rank;
    int64_t dims[RANK_MAX];
} Npy;

static bool broken(Npy *r, const char *what) {
    return diag_error(r->ctx, EXIT_MALFORMED, &r->loc, "not a .npy file: %s", what);
}

/* Text behind 'key': in the header. */
static const char *member(const char *header, const char *key) {
    const char *at = strstr(header, key);
    if (!at || !(at = strchr(at, ':')))
        return NULL;
    for (at++; *at == ' ';)
        at++;
    return at;
}

static bool parse_header(Npy *r, const char *header) {
    const char *descr = member(header, "'descr'"), *order = member(header, "'fortran_order'");
    const char *shape = member(header, "'shape'");
    if (!descr || !order || !shape || *shape != '(')
        return broken(r, "the header lacks descr, fortran_order or shape");
    if (*descr != '\'')
        return diag_error(r->ctx, EXIT_UNSUPPORTED, &r->loc, "arrays of records are not read");
    size_t n = strcspn(descr + 1, "'");
    if (n >= sizeof r->descr)
        return broken(r, "the type is too long");
    memcpy(r->descr, descr + 1, n);
    r->fortran = !strncmp(order, "True", 4);
    for (shape++; *shape != ')';) {
        if (r->rank == RANK_MAX)
            return diag_error(r->ctx, EXIT_LIMIT, &r->loc, "more than %d axes", RANK_MAX);
        if (!parse_int(&shape, &r->dims[r->rank]) || r->dims[r->rank++] < 0)
            return broken(r, "the shape is no list of extents");
        shape += strspn(shape, "L, ");
    }
    return true;
}

static bool read_header(Npy *r) {
    size_t n = (size_t)(r->end - r->at), len;
    if (n < 10 || memcmp(r->at, MAGIC, MAGIC_LEN))
        return broken(r, "it does not start with \\x93NUMPY");
    int start = r->at[6] == 1 ? 10 : 12;
    len = r->at[8] | (size_t)r->at[9] << 8;
    if (start == 12 && n >= 12)
        len |= (size_t)r->at[10] << 16 | (size_t)r->at[11] << 24;
    if (r->at[6] < 1 || r->at[6] > 3 || n < (size_t)start + len)
        return broken(r, "the header is cut short");
    char *header = ctx_alloc(r->ctx, len + 1);
    memcpy(header, r->at + start, len);
    r->at += (size_t)start + len;
    return parse_header(r, header);
}

/* The type of the elements: `want` where the file's type fits it. */
static Dtype element_type(const Npy *r, Dtype want) {
    for (int i = 0; i < NDESCR; i++)
        if (DESCRS[i].type == want && !strcmp(DESCRS[i].descr, r->descr))
            return want;
    if ((r->descr[0] == '|' || r->descr[0] == '<') && r->descr[1] == 'V' && want != T_STR &&
        r->descr[2] - '0' == type_bytes(want) && !r->descr[3])
        return want;
    for (int i = 0; i < NDESCR; i++)
        if (!strcmp(DESCRS[i].descr, r->descr))
            return DESCRS[i].type;
    return r->descr[1] == 'U' || r->descr[1] == 'S' ? T_STR : T_NONE;
}

/* Elements in column order (the first axis fastest) become row-major. */
static const void *transpose(Npy *r, const unsigned char *from, int64_t count, size_t size) {
    unsigned char *to = ctx_alloc(r->ctx, (size_t)count * size);
    int64_t index[RANK_MAX] = {0};
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        for (int k = 0; k < r->rank; k++)
            at = at * r->dims[k] + index[k];
        memcpy(to + (size_t)at * size, from + (size_t)i * size, size);
        for (int k = 0; k < r->rank && ++index[k] == r->dims[k]; k++)
            index[k] = 0;
    }
    return to;
}

static void put_utf8(Text *t, uint32_t c) {
    if (c < 0x80) {
        text_c(t, (char)c);
    } else if (c < 0x800) {
        text_c(t, (char)(0xc0 | c >> 6));
        text_c(t, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        text_c(t, (char)(0xe0 | c >> 12));
        text_c(t, (char)(0x80 | (c >> 6 & 0x3f)));
        text_c(t, (char)(0x80 | (c & 0x3f)));
    } else {
        text_c(t, (char)(0xf0 | (c >> 18 & 7)));
        text_c(t, (char)(0x80 | (c >> 12 & 0x3f)));
        text_c(t, (char)(0x80 | (c >> 6 & 0x3f)));
        text_c(t, (char)(0x80 | (c & 0x3f)));
    }
}

/* Fixed-width texts: '<U5' of UCS-4, '|S5' of bytes; padded with zeros. */
static bool read_strings(Npy *r, int64_t count, const unsigned char *data, OnnxTensor *out) {
    const char *digits = r->descr + 2;
    int64_t width, bytes;
    bool wide = r->descr[1] == 'U';
    if (!parse_int(&digits, &width) || width < 0 || !mul_ok(width, wide ? UCS4 : 1, &width) ||
        !mul_ok(width, count, &bytes) || bytes > r->end - data)
        return broken(r, "texts are cut short");
    OnnxString *s = ctx_newn(r->ctx, OnnxString, count);
    for (int64_t i = 0; i < count; i++, data += width) {
        Text t = text_new(r->ctx);
        text_s(&t, "");
        int64_t len = width;
        while (len > 0 && !data[len - 1])
            len--;
        for (int64_t k = 0; k < len; k += wide ? UCS4 : 1) {
            uint32_t c = data[k];
            if (wide)
                memcpy(&c, data + k, sizeof c);
            if (wide)
                put_utf8(&t, c);
            else
                text_c(&t, (char)c);
        }
        s[i] = (OnnxString){t.at, t.len};
    }
    out->data = s;
    out->nbytes = (size_t)count * sizeof *s;
    return true;
}

bool npy_read(Ctx *ctx, const char *path, Dtype want, OnnxTensor *out) {
    Npy r = {.ctx = ctx, .loc = {.file = str(ctx, path), .node = -1}};
    unsigned char *at;
    size_t n;
    int64_t count = 1, bytes;
    if (!file_read(ctx, path, &at, &n))
        return false;
    r.at = at;
    r.end = at + n;
    if (!read_header(&r))
        return false;
    for (int i = 0; i < r.rank; i++)
        if (!mul_ok(count, r.dims[i], &count))
            return broken(&r, "the shape is too large");
    Dtype type = element_type(&r, want);
    if (type == T_NONE)
        return diag_error(ctx, EXIT_UNSUPPORTED, &r.loc, "arrays of type %s are not read", r.descr);
    *out = (OnnxTensor){.type = type_onnx(type), .rank = r.rank, .count = count};
    out->dims = ctx_copy(ctx, r.dims, sizeof r.dims);
    if (type == T_STR)
        return read_strings(&r, count, r.at, out);
    size_t size = (size_t)type_bytes(type);
    if (!mul_ok(count, (int64_t)size, &bytes) || bytes > r.end - r.at)
        return broken(&r, "the elements are cut short");
    out->nbytes = (size_t)bytes;
    out->data = r.fortran && r.rank > 1 ? transpose(&r, r.at, count, size)
                                        : ctx_copy(ctx, r.at, (size_t)bytes);
    return true;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* One character at s: its length in bytes. What is no UTF-8 stands for itself. */
static size_t get_utf8(const char *s, size_t n, uint32_t *c) {
    const unsigned char *u = (const unsigned char *)s;
    size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc0 ? 2 : 1;
    *c = u[0];
    if (len == 1 || len > n)
        return 1;
    *c = u[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++)
        *c = *c << 6 | (u[i] & 0x3f);
    return len;
}

static size_t put_string(Text *t, const OnnxString *s) {
    size_t chars = 0;
    for (size_t i = 0; i < s->len; chars++) {
        uint32_t c;
        i += get_utf8(s->at + i, s->len - i, &c);
        if (t)
            text_n(t, (const char *)&c, sizeof c);
    }
    return chars;
}

static void write_strings(Text *t, const OnnxTensor *v, size_t width) {
    static const char zero[UCS4];
    const OnnxString *s = v->data;
    for (int64_t i = 0; i < v->count; i++)
        for (size_t k = put_string(t, &s[i]); k < width; k++)
            text_n(t, zero, sizeof zero);
}

bool npy_write(Ctx *ctx, const char *path, const OnnxTensor *v) {
    Text head = text_new(ctx), t = text_new(ctx);
    Dtype type = type_from_onnx(v->type);
    const char *descr = str_f(ctx, "|V%d", type_bytes(type));
    size_t width = 1;
    for (int i = 0; i < NDESCR; i++)
        if (DESCRS[i].type == type)
            descr = DESCRS[i].descr;
    for (int64_t i = 0; type == T_STR && i < v->count; i++) {
        size_t n = put_string(NULL, (const OnnxString *)v->data + i);
        width = n > width ? n : width;
    }
    if (type == T_STR)
        descr = str_f(ctx, "<U%zu", width);
    text_f(&head, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < v->rank; i++)
        text_f(&head, v->rank == 1 ? "%lld," : i ? ", %lld" : "%lld", (long long)v->dims[i]);
    text_s(&head, "), }");
    while ((10 + head.len + 1) % HEADER_ALIGN)
        text_c(&head, ' ');
    text_c(&head, '\n');
    text_n(&t, MAGIC, MAGIC_LEN);
    text_n(&t, "\1\0", 2);
    text_c(&t, (char)(head.len & 0xff));
    text_c(&t, (char)(head.len >> 8));
    text_n(&t, head.at, head.len);
    if (type == T_STR)
        write_strings(&t, v, width);
    else
        text_n(&t, v->data, v->nbytes);
    return file_write(ctx, path, t.at, t.len);
}
