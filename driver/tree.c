/* Trees of sequences and optionals over flat tensors: read from the JSON the front end makes, filled from
 * values, and turned back into values.
 *
 *   [{"name": "s", "sequence": [{"tensor": 0}, {"tensor": 1}]}] */
#include "driver/run.h"

#include <string.h>

typedef struct Reader {
    Ctx *ctx;
    const char *at;
} Reader;

static char peek(Reader *r) {
    while (*r->at == ' ' || *r->at == '\n')
        r->at++;
    return *r->at;
}

static bool take(Reader *r, char c) {
    if (peek(r) != c)
        return false;
    r->at++;
    return true;
}

static void need(Reader *r, char c) {
    if (!take(r, c))
        internal_error(r->ctx, "a tree of values is not JSON");
}

/* A text without its quotes; \uNNNN of a name is left as it is. */
static Str read_text(Reader *r) {
    Text t = text_new(r->ctx);
    text_s(&t, "");
    need(r, '"');
    for (; *r->at && *r->at != '"'; r->at++) {
        if (*r->at == '\\' && (r->at[1] == '"' || r->at[1] == '\\'))
            r->at++;
        text_c(&t, *r->at);
    }
    need(r, '"');
    return str(r->ctx, t.at);
}

static int read_number(Reader *r) {
    int64_t v = 0;
    peek(r);
    if (!parse_int(&r->at, &v) || v < 0 || v > INT32_MAX)
        internal_error(r->ctx, "a tree of values has no number");
    return (int)v;
}

/* The value of a member nobody here needs. */
static void skip_value(Reader *r) {
    int depth = 0;
    do {
        char c = peek(r);
        if (c == '"')
            read_text(r);
        else if (c)
            r->at++;
        depth += (c == '[' || c == '{') - (c == ']' || c == '}');
        if (!c)
            internal_error(r->ctx, "a tree of values ends early");
    } while (depth > 0 || (peek(r) != ',' && peek(r) != '}'));
}

static Tree read_tree(Reader *r);

static void read_list(Reader *r, Tree *t) {
    VEC(Tree) items = {0};
    need(r, '[');
    while (!take(r, ']')) {
        Tree item = read_tree(r);
        vec_push(r->ctx, &items, item);
        take(r, ',');
    }
    t->nitem = items.len;
    t->item = items.at;
}

static void read_packed(Reader *r, Tree *t) {
    for (need(r, '{'); !take(r, '}'); take(r, ',')) {
        Str key = read_text(r);
        need(r, ':');
        *(strcmp(key, "data") ? &t->second : &t->tensor) = read_number(r);
    }
}

static void read_member(Reader *r, Tree *t, Str key) {
    if (!strcmp(key, "name")) {
        t->name = read_text(r);
    } else if (!strcmp(key, "tensor") || !strcmp(key, "rows")) {
        t->kind = key[0] == 't' ? TREE_TENSOR : TREE_ROWS;
        t->tensor = read_number(r);
    } else if (!strcmp(key, "sequence")) {
        t->kind = TREE_SEQUENCE;
        read_list(r, t);
    } else if (!strcmp(key, "packed")) {
        t->kind = TREE_PACKED;
        read_packed(r, t);
    } else if (!strcmp(key, "optional")) {
        t->kind = TREE_OPTIONAL;
        t->nitem = 1;
        t->item = ctx_new(r->ctx, Tree);
        *t->item = read_tree(r);
    } else if (!strcmp(key, "present")) {
        t->second = read_number(r);
    } else {
        t->kind = strcmp(key, "none") ? t->kind : TREE_NONE;
        skip_value(r);
    }
}

static Tree read_tree(Reader *r) {
    Tree t = {.second = -1};
    for (need(r, '{'); !take(r, '}'); take(r, ',')) {
        Str key = read_text(r);
        need(r, ':');
        read_member(r, &t, key);
    }
    return t;
}

Tree *trees_read(Ctx *ctx, const char *json, int *count) {
    Reader r = {ctx, json};
    Tree list = {0};
    read_list(&r, &list);
    *count = list.nitem;
    return list.item;
}

/* ---- values ---------------------------------------------------------------------------------------- */

static bool wrong(Ctx *ctx, const Tree *t, const char *what) {
    return diag_error(ctx, EXIT_USAGE, NULL, "input %s: %s", t->name ? t->name : "(element)", what);
}

/* Elements one behind the other, and their shapes. */
static bool flatten_packed(Ctx *ctx, const Tree *t, const OnnxValue *v, OnnxTensor *flat) {
    int64_t total = 0, bytes = 0;
    int rank = v->nitem ? v->item[0].tensor.rank : 0, type = v->nitem ? v->item[0].tensor.type : 0;
    for (int i = 0; i < v->nitem; i++) {
        const OnnxTensor *x = &v->item[i].tensor;
        if (v->item[i].kind != ONNX_TENSOR || x->rank != rank || x->type != type)
            return wrong(ctx, t, "the elements of the sequence differ in type or rank");
        total += x->count;
        bytes += (int64_t)x->nbytes;
    }
    char *data = ctx_alloc(ctx, (size_t)bytes);
    int64_t *shape = ctx_newn(ctx, int64_t, v->nitem * rank + 1), at = 0;
    for (int i = 0; i < v->nitem; i++) {
        const OnnxTensor *x = &v->item[i].tensor;
        memcpy(data + at, x->data, x->nbytes);
        at += (int64_t)x->nbytes;
        for (int k = 0; k < rank; k++)
            shape[i * rank + k] = x->dims[k];
    }
    int64_t *dims = ctx_newn(ctx, int64_t, 3);
    dims[0] = total;
    dims[1] = v->nitem;
    dims[2] = rank;
    flat[t->tensor] = (OnnxTensor){type, 1, dims, total, data, (size_t)bytes};
    flat[t->second] =
        (OnnxTensor){type_onnx(T_I64), 2,     dims + 1,
                     v->nitem * rank,  shape, (size_t)(v->nitem * rank) * sizeof *shape};
    return true;
}

bool tree_flatten(Ctx *ctx, const Tree *t, const OnnxValue *v, OnnxTensor *flat) {
    switch (t->kind) {
    case TREE_TENSOR:
        if (v->kind == ONNX_OPTIONAL && v->nitem)
            v = v->item;
        if (v->kind != ONNX_TENSOR)
            return wrong(ctx, t, "expected a tensor");
        flat[t->tensor] = v->tensor;
        return true;
    case TREE_SEQUENCE:
        if (v->kind == ONNX_OPTIONAL && v->nitem)
            v = v->item;
        if (v->kind != ONNX_SEQUENCE || v->nitem != t->nitem)
            return wrong(ctx, t, "not a sequence of the length lcc was told");
        for (int i = 0; i < t->nitem; i++)
            if (!tree_flatten(ctx, &t->item[i], &v->item[i], flat))
                return false;
        return true;
    case TREE_PACKED:
        return v->kind == ONNX_SEQUENCE ? flatten_packed(ctx, t, v, flat)
                                        : wrong(ctx, t, "expected a sequence");
    case TREE_NONE:
        return (v->kind == ONNX_OPTIONAL && !v->nitem) ||
               wrong(ctx, t, "expected an empty optional");
    case TREE_OPTIONAL:
        if (v->kind == ONNX_OPTIONAL && !v->nitem)
            return wrong(ctx, t, "the optional is empty, and lcc was told it is not");
        return tree_flatten(ctx, t->item, v->kind == ONNX_OPTIONAL ? v->item : v, flat);
    }
    return wrong(ctx, t, "maps cannot be inputs");
}

static OnnxValue unpack(Ctx *ctx, const OnnxTensor *data, const OnnxTensor *shapes) {
    OnnxValue v = {.kind = ONNX_SEQUENCE, .nitem = (int)shapes->dims[0]};
    int rank = (int)shapes->dims[1];
    size_t size = onnx_type_size(data->type);
    const char *at = data->data;
    v.item = ctx_newn(ctx, OnnxValue, v.nitem);
    for (int i = 0; i < v.nitem; i++) {
        const int64_t *dims = (const int64_t *)shapes->data + (int64_t)i * rank;
        int64_t count = 1;
        for (int k = 0; k < rank; k++)
            count *= dims[k];
        v.item[i].tensor = (OnnxTensor){data->type, rank, dims, count, at, (size_t)count * size};
        at += (size_t)count * size;
    }
    return v;
}

OnnxValue tree_value(Ctx *ctx, const Tree *t, const OnnxTensor *flat) {
    OnnxValue v = {.kind = ONNX_TENSOR};
    switch (t->kind) {
    case TREE_PACKED:
        return unpack(ctx, &flat[t->tensor], &flat[t->second]);
    case TREE_SEQUENCE:
    case TREE_OPTIONAL:
        v.kind = t->kind == TREE_SEQUENCE ? ONNX_SEQUENCE : ONNX_OPTIONAL;
        if (t->kind == TREE_OPTIONAL && t->second >= 0 && !*(const uint8_t *)flat[t->second].data)
            return v;
        v.nitem = t->nitem;
        v.item = ctx_newn(ctx, OnnxValue, t->nitem);
        for (int i = 0; i < t->nitem; i++)
            v.item[i] = tree_value(ctx, &t->item[i], flat);
        return v;
    case TREE_NONE:
        v.kind = ONNX_OPTIONAL;
        return v;
    default:
        v.tensor = flat[t->tensor];
        return v;
    }
}
