/* codegen/c/weights.c — the constants of a Module: as text, or as one blob beside the source.
 *
 * In the blob tensors stand in the order of Module.consts, each at a multiple of 64 bytes. Strings are
 * always text, since they hold pointers. Deterministic: the same Module gives the same bytes. */
#include "codegen/c/emit.h"

#include <string.h>

enum {
    ALIGN = 64,
    AUTO_TEXT = 64 << 10,
    DECIMAL_MAX = 1024,
    PART_MIN = 4 << 20, /* a section of an object ends behind the tensor that reaches it */
    PARTS_MAX = 60000   /* ELF has 16 bits for their number */
};

static const Const *data_of(const Buf *b) {
    return b->packed ? b->packed : b->data;
}

static int64_t bytes_of(const Const *c) {
    return c->count * (int64_t)type_bytes(c->type);
}

/* Element i, also of a splat. */
static const unsigned char *element(const Const *c, int64_t i) {
    return (const unsigned char *)c->data + (c->splat ? 0 : i * type_bytes(c->type));
}

/* ---- text ------------------------------------------------------------------------------------------- */

/* The type a constant's numbers have: of a complex one, its parts. */
static Dtype part_type(Dtype t) {
    return t == T_C64 ? T_F32 : t == T_C128 ? T_F64 : t;
}

static bool all_finite(const Const *c) {
    Dtype t = part_type(c->type);
    int parts = type_bytes(c->type) / type_bytes(t);
    for (int64_t i = 0; i < (c->splat ? 1 : c->count) * parts; i++) {
        uint64_t u = 0;
        memcpy(&u, (const unsigned char *)c->data + i * type_bytes(t), (size_t)type_bytes(t));
        if (t == T_F32 ? (u >> 23 & 0xff) == 0xff : (u >> 52 & 0x7ff) == 0x7ff)
            return false;
    }
    return true;
}

/* Floats are written by their bits, and read through a union, when decimals would be slow to compile
 * or could not say NaN. */
static bool by_bits(const Const *c) {
    Dtype t = part_type(c->type);
    return (t == T_F32 || t == T_F64) && (c->count > DECIMAL_MAX || !all_finite(c));
}

/* ---- plan ------------------------------------------------------------------------------------------ */

static WeightsMode mode_named(const char *name, bool host, int64_t bytes) {
    if (strcmp(name, "string") == 0)
        return WEIGHTS_STRING;
    if (strcmp(name, "incbin") == 0)
        return WEIGHTS_INCBIN;
    if (strcmp(name, "file") == 0)
        return WEIGHTS_FILE;
    if (strcmp(name, "obj") == 0)
        return WEIGHTS_OBJ;
    if (strcmp(name, "auto") == 0 && host && bytes > AUTO_TEXT)
        return WEIGHTS_OBJ;
    return WEIGHTS_TEXT;
}

static Str weight_expr(Emit *em, const Buf *b, const WeightRef *w) {
    const Const *c = data_of(b);
    if (c->type == T_STR || em->mode == WEIGHTS_TEXT)
        return c->type != T_STR && by_bits(c) ? str_f(em->ctx, "%s.v", w->name) : w->name;
    if (em->mode == WEIGHTS_STRING)
        return str_f(em->ctx, "%s.v", w->name);
    const char *base = em->mode == WEIGHTS_FILE ? "(const uint8_t *)weights"
                                                : em->parts.at[em->parts.len - 1].symbol;
    return str_f(em->ctx, "((const %s *)(const void *)(%s + %lld))", type_c(c->type), base,
                 (long long)w->offset);
}

/* The next tensor lies at the end of the last part, or begins one. */
static int64_t part_next(Emit *em) {
    int n = em->parts.len;
    WeightPart *last = n ? &em->parts.at[n - 1] : NULL;
    bool full = n && em->mode == WEIGHTS_OBJ && last->bytes >= PART_MIN && n < PARTS_MAX;
    if (n && !full)
        return last->bytes;
    Str name = str_f(em->ctx, "%s_weights", em->out->prefix);
    WeightPart part = {n ? str_f(em->ctx, "%s_%d", name, n) : name, 0};
    vec_push(em->ctx, &em->parts, part);
    return 0;
}

bool weights_plan(Emit *em) {
    static const char *const text[] = {"c", "string", "incbin", "file", "obj", "jit"};
    const Module *m = em->m;
    const char *asked = em->out->weights ? em->out->weights : "auto";
    int64_t total = 0;
    for (int i = 0; i < m->consts.len; i++)
        total += bytes_of(data_of(m->consts.at[i]));
    em->mode = em->out->jit ? WEIGHTS_JIT : mode_named(asked, em->mach->vec > 0, total);
    if (em->mode == WEIGHTS_FILE && em->out->want_bridge)
        return diag_error(
            em->ctx, EXIT_USAGE, NULL,
            "--weights=file makes the caller load the weights: use it with --emit=c,h");
    bool forced = strcmp(asked, "c") == 0;
    if (em->mode == WEIGHTS_TEXT && !forced && total > PLAIN_TEXT_MAX)
        return diag_error(em->ctx, EXIT_LIMIT, NULL,
                          "%lld bytes of weights are too many for text in C; use --weights=string, "
                          "incbin, file or obj (or c to insist)",
                          (long long)total);
    if (total == 0 && em->mode != WEIGHTS_FILE) /* nothing to put elsewhere */
        em->mode = WEIGHTS_TEXT;
    bool apart = em->mode != WEIGHTS_TEXT && em->mode != WEIGHTS_STRING;
    em->weight_bytes = apart ? 0 : total;
    for (int i = 0; i < m->consts.len; i++) {
        const Buf *b = m->consts.at[i];
        const Const *c = data_of(b);
        if (!apart || c->type == T_STR)
            const_data(em->ctx, c); /* text is written from it */
        WeightRef *w = ctx_new(em->ctx, WeightRef);
        w->name = names_of(em->names, b, str_f(em->ctx, "w_%s", safe_ident(em->ctx, b->name)));
        w->offset = apart && c->type != T_STR ? part_next(em) : 0;
        w->expr = weight_expr(em, b, w);
        if (c->type == T_STR) {
            paste_need(em->pr.paste, "lcc_str");
        } else if (apart) {
            int64_t bytes = (bytes_of(c) + ALIGN - 1) / ALIGN * ALIGN;
            em->parts.at[em->parts.len - 1].bytes += bytes;
            em->weight_bytes += bytes;
        }
        map_put(em->weights, b, w);
    }
    if (apart)
        em->out->blob_name =
            str_f(em->ctx, "%s_weights.%s", em->out->stem, em->mode == WEIGHTS_OBJ ? "o" : "bin");
    em->out->weights_mode = text[em->mode];
    return true;
}

static void text_number(Text *t, const Const *c, int64_t i, bool bits) {
    uint64_t u = 0;
    int unused = 64 - 8 * type_bytes(c->type);
    memcpy(&u, element(c, i), (size_t)type_bytes(c->type)); /* lcc's hosts are little-endian */
    int64_t v = (int64_t)(u << unused) >> unused;
    if (bits || type_is_narrow(c->type)) {
        text_f(t, "0x%llx", (unsigned long long)u);
    } else if (type_is_float(c->type)) {
        text_float(t, const_at(t->ctx, c, i)->u.f, c->type == T_F32);
        text_s(t, c->type == T_F32 ? "f" : "");
    } else if (type_kind(c->type) == 'I') {
        text_f(t, v == INT64_MIN ? "-9223372036854775807 - 1" : "%lld", (long long)v);
    } else {
        text_f(t, c->type == T_U64 ? "%lluu" : "%llu", (unsigned long long)u);
    }
}

static void define_numbers(Text *t, const Const *c, Str name) {
    enum { A_LINE = 8 };
    Dtype part = part_type(c->type);
    int64_t parts = type_bytes(c->type) / type_bytes(part), n = c->count ? c->count : 1;
    bool bits = by_bits(c), pairs = parts > 1 && !bits;
    if (bits)
        text_f(t, "static const union {\n    uint%d_t u[%lld];\n    %s v[%lld];\n} %s = {{",
               8 * type_bytes(part), (long long)(n * parts), type_c(c->type), (long long)n, name);
    else
        text_f(t, "static const %s %s[%lld] = {", type_c(c->type), name, (long long)n);
    Const flat = {part, c->count * parts, c->splat && parts == 1, c->data, NULL};
    for (int64_t i = 0; i < flat.count; i++) {
        text_s(t, i % A_LINE == 0 ? "\n    " : " ");
        text_s(t, pairs && i % 2 == 0 ? "{" : "");
        text_number(t, &flat, c->splat ? i % parts : i, bits);
        text_s(t, pairs && i % 2 ? "}," : ",");
    }
    text_s(t, c->count ? "\n" : parts > 1 ? "{0, 0}" : "0");
    text_s(t, bits ? "}};\n\n" : "};\n\n");
}

static void define_strings(Text *t, const Const *c, Str name) {
    text_f(t, "static const lcc_str %s[%lld] = {\n", name, (long long)(c->count ? c->count : 1));
    for (int64_t i = 0; i < c->count; i++) {
        const ConstStr *s = (const ConstStr *)c->data + (c->splat ? 0 : i);
        text_s(t, "    {");
        text_literal(t, s->at, (size_t)s->len);
        text_f(t, ", %lld},\n", (long long)s->len);
    }
    text_s(t, c->count ? "};\n\n" : "    {\"\", 0}};\n\n");
}

/* Lines of bytes; ISO C wants none longer than 4095. The union gives them their type. */
static void define_literals(Text *t, const Const *c, Str name) {
    enum { ROW = 2048 };
    int64_t bytes = bytes_of(c), size = type_bytes(c->type);
    int64_t row = bytes < ROW ? (bytes ? bytes : size) : ROW,
            rows = bytes ? (bytes + row - 1) / row : 1;
    text_f(t,
           "static const union {\n    unsigned char c[%lld][%lld];\n    %s v[%lld];\n} %s = {{\n",
           (long long)rows, (long long)row, type_c(c->type), (long long)(c->count ? c->count : 1),
           name);
    for (int64_t at = 0; at < rows * row; at += row) {
        text_s(t, "    \"");
        for (int64_t i = at; i < at + row && i < bytes; i++)
            text_f(t, "\\%03o", element(c, i / size)[i % size]);
        text_s(t, "\",\n");
    }
    text_s(t, "}};\n\n");
}

static void define_blob(Emit *em, Text *t) {
    const char *prefix = em->out->prefix;
    if (em->mode == WEIGHTS_INCBIN)
        text_f(t,
               "__asm__(\".pushsection .rodata\\n.balign 64\\n.globl %s_weights\\n\"\n"
               "        \".hidden %s_weights\\n%s_weights:\\n.incbin "
               "\\\"%s\\\"\\n.popsection\\n\");\n",
               prefix, prefix, prefix, em->out->blob_name);
    for (int i = 0; i < em->parts.len; i++) {
        if (em->mode != WEIGHTS_JIT)
            text_s(t, "#if defined(__GNUC__)\n__attribute__((visibility(\"hidden\")))\n#endif\n");
        text_f(t, "extern const uint8_t %s[]; /* %s */\n", em->parts.at[i].symbol,
               em->mode == WEIGHTS_JIT ? "set by whoever compiles this" : em->out->blob_name);
    }
    text_c(t, '\n');
}

void weights_define(Emit *em, Text *t) {
    const Module *m = em->m;
    bool blob = em->mode == WEIGHTS_INCBIN || em->mode == WEIGHTS_OBJ || em->mode == WEIGHTS_JIT;
    if (blob && em->weight_bytes > 0)
        define_blob(em, t);
    for (int i = 0; i < m->consts.len; i++) {
        const Buf *b = m->consts.at[i];
        const Const *c = data_of(b);
        const WeightRef *w = map_get(em->weights, b);
        if (c->type == T_STR)
            define_strings(t, c, w->name);
        else if (em->mode == WEIGHTS_TEXT)
            define_numbers(t, c, w->name);
        else if (em->mode == WEIGHTS_STRING)
            define_literals(t, c, w->name);
    }
}

/* ---- blob -------------------------------------------------------------------------------------------- */

/* The bytes of a constant: as they are, or a splat spread out. */
static Span span_of(Emit *em, const Const *c) {
    size_t size = (size_t)type_bytes(c->type), n = (size_t)bytes_of(c);
    if (!c->splat)
        return (Span){c->data, n, c->by};
    unsigned char *all = ctx_alloc(em->ctx, n);
    for (int64_t k = 0; k < c->count; k++)
        memcpy(all + (size_t)k * size, c->data, size);
    return (Span){.at = all, .len = n};
}

void weights_blob(Emit *em) {
    static const unsigned char zeros[ALIGN];
    const Module *m = em->m;
    Spans *blob = &em->out->blob;
    Span head, tail;
    *blob = (Spans){0};
    if (em->mode == WEIGHTS_TEXT || em->mode == WEIGHTS_STRING || em->weight_bytes == 0)
        return;
    bool object = em->mode == WEIGHTS_OBJ;
    if (object)
        elf_wrap(em->ctx, em->mach, em->parts.len, em->parts.at, &head, &tail);
    if (object)
        vec_push(em->ctx, blob, head);
    for (int i = 0; i < m->consts.len; i++) {
        const Const *c = data_of(m->consts.at[i]);
        if (c->type == T_STR)
            continue;
        Span p = span_of(em, c), pad = {.at = zeros, .len = (ALIGN - p.len % ALIGN) % ALIGN};
        vec_push(em->ctx, blob, p);
        vec_push(em->ctx, blob, pad);
    }
    if (object)
        vec_push(em->ctx, blob, tail);
}
