/* The inputs of a run: from a test_data_set folder, from files, or made up.
 *
 *   --data DIR      input_0.pb, input_1.pb … (or .npy) in the order of the graph's inputs
 *   x=@image.npy    also .pb, and .bin (the bare elements); x=random:7 x=ones x=0.5
 *
 * Files say shapes: those the model leaves open are bound to them. */
#include "driver/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what the command line says --------------------------------------------------------------- */

static bool has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n > m && !strcmp(s + n - m, suffix);
}

static bool parse_given(Args *a, const Graph *g, const char *word, Given *given) {
    const char *eq = strchr(word, '='), *nearest = NULL;
    Str name = str_n(a->ctx, word, eq ? (size_t)(eq - word) : strlen(word));
    if (!eq)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "%s: expected INPUT=@FILE or INPUT=VALUE",
                          word);
    for (int i = 0; i < g->inputs.len; i++) {
        Str is = g->inputs.at[i]->name;
        if (is != name) {
            if (!nearest || word_distance(name, is) < word_distance(name, nearest))
                nearest = is;
            continue;
        }
        given[i].path = eq[1] == '@' ? eq + 2 : NULL;
        given[i].fill = eq[1] == '@' ? NULL : eq + 1;
        return true;
    }
    diag_error(a->ctx, EXIT_USAGE, NULL, "the model has no input %s", name);
    if (nearest)
        diag_note(a->ctx, "did you mean %s?", nearest);
    return false;
}

Str data_file(Ctx *ctx, const char *folder, const char *side, int i) {
    struct stat st;
    Str pb = str_f(ctx, "%s/%s_%d.pb", folder, side, i);
    Str npy = str_f(ctx, "%s/%s_%d.npy", folder, side, i);
    return stat(pb, &st) == 0 ? pb : stat(npy, &st) == 0 ? npy : NULL;
}

static OnnxKind kind_of(const TypeInfo *t) {
    return t->kind == VALUE_SEQUENCE   ? ONNX_SEQUENCE
           : t->kind == VALUE_OPTIONAL ? ONNX_OPTIONAL
                                       : ONNX_TENSOR;
}

bool value_read(Ctx *ctx, const char *path, OnnxKind kind, Dtype want, OnnxValue *v) {
    Str name;
    *v = (OnnxValue){.kind = ONNX_TENSOR};
    if (has_suffix(path, ".pb"))
        return onnx_value_file(ctx, path, kind, v, &name);
    if (has_suffix(path, ".npy"))
        return npy_read(ctx, path, want, &v->tensor);
    return diag_error(ctx, EXIT_USAGE, NULL, "%s: the suffix is none of .npy, .pb, .bin", path);
}

/* ---- shapes the model leaves open ------------------------------------------------------------- */

static ShapeBind shape_of(Ctx *ctx, const OnnxValue *v) {
    ShapeBind s = {.rank = v->tensor.rank < RANK_MAX ? v->tensor.rank : RANK_MAX};
    if (v->kind == ONNX_OPTIONAL && v->nitem)
        return shape_of(ctx, v->item);
    for (int i = 0; v->kind == ONNX_TENSOR && i < s.rank; i++)
        s.dim[i] = v->tensor.dims[i];
    s.kind = v->kind == ONNX_TENSOR     ? SHAPE_TENSOR
             : v->kind == ONNX_OPTIONAL ? SHAPE_NONE
                                        : SHAPE_SEQUENCE;
    for (int i = 0; v->kind == ONNX_SEQUENCE && i < v->nitem; i++) {
        ShapeBind item = shape_of(ctx, &v->item[i]);
        vec_push(ctx, &s.items, item);
    }
    return s;
}

static void bind_shape(Args *a, const Value *input, const OnnxValue *v) {
    if (input->info->kind == VALUE_TENSOR && input->info->rank >= 0)
        return;
    for (int i = 0; i < a->define.shapes.len; i++)
        if (a->define.shapes.at[i].input == input->name)
            return;
    ShapeBind s = shape_of(a->ctx, v);
    s.input = input->name;
    vec_push(a->ctx, &a->define.shapes, s);
}

Given *inputs_read(Args *a, Compiled *c, const char *folder) {
    const Graph *g = c->model->graph;
    struct stat st;
    Given *given = ctx_newn(a->ctx, Given, g->inputs.len);
    bool ok = true;
    if (folder && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))) {
        diag_error(a->ctx, EXIT_IO, NULL, "--data=%s: there is no such folder", folder);
        return NULL;
    }
    for (int i = 0; folder && i < g->inputs.len; i++)
        given[i].path = data_file(a->ctx, folder, "input", i);
    for (int i = 1; i < a->words.len; i++)
        ok &= parse_given(a, g, a->words.at[i], given);
    for (int i = 0; ok && i < g->inputs.len; i++) {
        const Value *in = g->inputs.at[i];
        if (!in->info || !given[i].path || has_suffix(given[i].path, ".bin"))
            continue;
        ok = given[i].have =
            value_read(a->ctx, given[i].path, kind_of(in->info), in->info->type, &given[i].value);
        if (ok)
            bind_shape(a, in, &given[i].value);
    }
    return ok ? given : NULL;
}

/* ---- dims ---------------------------------------------------------------------------------------- */

/* e where the known dims (not -1) have their values; false when that leaves it open. */
static bool extent_value(Ctx *ctx, const Program *p, const int64_t *dims, const Expr *e,
                         int64_t *v) {
    Sym **from = ctx_newn(ctx, Sym *, p->dims.len);
    const Expr **to = ctx_newn(ctx, const Expr *, p->dims.len);
    int n = 0;
    if (expr_is_int(e, v))
        return true;
    for (int i = 0; i < p->dims.len; i++)
        if (dims[i] >= 0) {
            from[n] = p->dims.at[i];
            to[n++] = expr_i(ctx, dims[i]);
        }
    return expr_is_int(expr_subst(ctx, e, n, from, to), v);
}

static bool wrong_input(Args *a, const Port *p, const OnnxTensor *v) {
    Text is = text_new(a->ctx), want = text_new(a->ctx);
    tensor_type_text(&is, v);
    text_f(&want, "%s[", type_text(type_dtype(p->buf->type)));
    for (int i = 0; i < p->buf->rank; i++)
        text_f(&want, i ? ",%s" : "%s", expr_str(a->ctx, p->buf->dim[i]));
    text_c(&want, ']');
    return diag_error(a->ctx, EXIT_USAGE, NULL, "input %s is %s, the model takes %s", p->name,
                      is.at, want.at);
}

/* Dims that stand alone as an extent of an input get its value. */
static bool bind_dims(Args *a, const Program *p, const OnnxTensor *flat, int64_t *dims) {
    for (int i = 0; i < p->inputs.len; i++) {
        const Port *port = &p->inputs.at[i];
        const OnnxTensor *v = &flat[i];
        if (!v->data)
            continue;
        if (type_from_onnx(v->type) != type_dtype(port->buf->type) || v->rank != port->buf->rank)
            return wrong_input(a, port, v);
        for (int k = 0; k < v->rank; k++)
            for (int d = 0; d < p->dims.len; d++) {
                const Expr *e = port->buf->dim[k];
                if (e->op == OP_SYM && e->u.sym == p->dims.at[d] && dims[d] < 0)
                    dims[d] = v->dims[k];
            }
    }
    for (int i = 0; i < p->inputs.len; i++)
        for (int k = 0; flat[i].data && k < flat[i].rank; k++) {
            int64_t n;
            if (extent_value(a->ctx, p, dims, p->inputs.at[i].buf->dim[k], &n) &&
                n != flat[i].dims[k])
                return wrong_input(a, &p->inputs.at[i], &flat[i]);
        }
    return true;
}

static bool check_dims(Args *a, const Program *p, const int64_t *dims) {
    for (int i = 0; i < p->dims.len; i++) {
        const Sym *s = p->dims.at[i];
        if (dims[i] < 0)
            return diag_error(a->ctx, EXIT_USAGE, NULL,
                              "the dim %s is not known: give --dim %s=1, say", s->name, s->name);
        if (dims[i] < s->min || dims[i] > s->max || (s->mult > 1 && dims[i] % s->mult))
            return diag_error(
                a->ctx, EXIT_USAGE, NULL,
                "the dim %s is %lld; the model was compiled for %lld to %lld, a multiple of %lld",
                s->name, (long long)dims[i], (long long)s->min, (long long)s->max,
                (long long)s->mult);
    }
    return true;
}

/* ---- made-up and bare tensors --------------------------------------------------------------------- */

/* Steele, Lea, Flood: SplitMix64. */
static uint64_t random_bits(uint64_t seed, uint64_t i) {
    uint64_t z = seed * 0xda942042e4dd58b5u + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void tensor_put(OnnxTensor *t, int64_t i, double v) {
    Dtype type = type_from_onnx(t->type);
    int bytes = type_bytes(type);
    unsigned char *p = (unsigned char *)(uintptr_t)t->data + i * bytes;
    float f = (float)v;
    int64_t n = (int64_t)v;
    uint32_t u;
    if (type == T_F64) {
        memcpy(p, &v, sizeof v);
    } else if (type == T_F32) {
        memcpy(p, &f, sizeof f);
    } else if (type_is_narrow(type)) {
        u = narrow_from_f32(type, f, true);
        memcpy(p, &u, (size_t)bytes);
    } else {
        memcpy(p, &n, (size_t)bytes);
    }
}

/* Floats lie in [-1, 1), integers in 0..9 (as far as the type goes), bools are 0 or 1. */
static double random_value(Dtype type, uint64_t bits) {
    if (type_is_float(type))
        return (double)(bits >> 11) * 0x1p-52 - 1;
    int64_t most = type == T_BOOL ? 1 : type_max(type) < 9 ? type_max(type) : 9;
    return (double)(bits % (uint64_t)(most + 1));
}

static bool fill_tensor(Args *a, const Port *p, int number, const char *fill, OnnxTensor *t) {
    Dtype type = type_dtype(p->buf->type);
    OnnxTensor parts = *t; /* complex numbers are filled by parts */
    const char *colon = strchr(fill, ':'), *at = colon ? colon + 1 : fill;
    int64_t seed = 0;
    bool random = !strncmp(fill, "random", 6) && (!fill[6] || fill[6] == ':');
    char *end = NULL;
    double value = !strcmp(fill, "ones") ? 1 : !strcmp(fill, "zeros") ? 0 : strtod(fill, &end);
    if (type == T_STR || (random && colon && (!parse_int(&at, &seed) || *at)) ||
        (!random && end && (end == fill || *end)))
        return diag_error(
            a->ctx, EXIT_USAGE, NULL,
            type == T_STR
                ? "input %s holds texts; give a file, not %s"
                : "input %s: expected @FILE, random:SEED, ones, zeros or a number, not %s",
            p->name, fill);
    bool integer = !type_is_float(type) && type_kind(type) != 'C';
    if (integer && !random &&
        !(value >= (double)type_min(type) && value <= (double)type_max(type) &&
          value == (double)(int64_t)value))
        return diag_error(a->ctx, EXIT_USAGE, NULL, "input %s is %s; %s does not fit", p->name,
                          type_text(type), fill);
    if (type == T_C64 || type == T_C128) {
        type = type == T_C64 ? T_F32 : T_F64;
        parts.type = type_onnx(type);
        parts.count *= 2;
    }
    for (int64_t i = 0; i < parts.count; i++)
        tensor_put(
            &parts, i,
            random ? random_value(type, random_bits((uint64_t)seed + (uint64_t)number, (uint64_t)i))
                   : value);
    return true;
}

static bool read_bare(Args *a, const Port *p, const char *path, OnnxTensor *t) {
    unsigned char *at;
    size_t n;
    Text want = text_new(a->ctx);
    tensor_type_text(&want, t);
    if (type_dtype(p->buf->type) == T_STR)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "input %s holds texts: .bin cannot", p->name);
    if (t->nbytes == 0)
        return true;
    if (!file_read(a->ctx, path, &at, &n))
        return false;
    if (n != t->nbytes)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "%s has %zu bytes; input %s, %s, takes %zu",
                          path, n, p->name, want.at, t->nbytes);
    t->data = at;
    return true;
}

/* A tensor of the right shape from a fill or a .bin file. */
static bool input_make(Args *a, const Program *p, const int64_t *dims, int i, const Given *given,
                       OnnxTensor *out) {
    const Port *port = &p->inputs.at[i];
    int64_t shape[RANK_MAX];
    for (int k = 0; k < port->buf->rank; k++)
        if (!extent_value(a->ctx, p, dims, port->buf->dim[k], &shape[k]))
            return diag_error(a->ctx, EXIT_USAGE, NULL,
                              "axis %d of input %s is %s: give --dim %s=1, say (or --shape %s=…)",
                              k, port->name, expr_str(a->ctx, port->buf->dim[k]),
                              expr_str(a->ctx, port->buf->dim[k]), port->name);
    *out = tensor_make(a->ctx, type_dtype(port->buf->type), port->buf->rank, shape);
    return given->fill ? fill_tensor(a, port, i, given->fill, out)
                       : read_bare(a, port, given->path, out);
}

/* Every flat tensor below t. */
static bool make_tree(Args *a, const Program *p, const int64_t *dims, const Tree *t,
                      const Given *given, OnnxTensor *flat) {
    bool ok = true;
    if (t->kind == TREE_TENSOR)
        return input_make(a, p, dims, t->tensor, given, &flat[t->tensor]);
    if (t->kind == TREE_PACKED)
        return diag_error(a->ctx, EXIT_USAGE, NULL, "input %s: give a .pb file", t->name);
    for (int i = 0; ok && i < t->nitem; i++)
        ok = make_tree(a, p, dims, &t->item[i], given, flat);
    return ok;
}

static bool tree_is_empty(const Tree *t) {
    return t->kind == TREE_NONE || (t->kind == TREE_SEQUENCE && !t->nitem);
}

static void normalise_bools(Ctx *ctx, OnnxTensor *t) {
    if (type_from_onnx(t->type) != T_BOOL)
        return;
    unsigned char *copy = ctx_copy(ctx, t->data, (size_t)t->count);
    for (int64_t i = 0; i < t->count; i++)
        copy[i] = copy[i] != 0;
    t->data = copy;
}

bool inputs_flatten(Args *a, const Compiled *c, const Given *given, OnnxTensor *flat,
                    int64_t *dims) {
    const Program *p = c->prog;
    int n;
    const Tree *tree = trees_read(a->ctx, p->args, &n);
    Text missing = text_new(a->ctx);
    for (int i = 0; i < p->dims.len; i++)
        dims[i] = -1;
    for (int i = 0; i < n; i++) {
        if (!given[i].have && !given[i].path && !given[i].fill && !tree_is_empty(&tree[i]))
            text_f(&missing, "%s%s", missing.len ? ", " : "", c->model->graph->inputs.at[i]->name);
        if (given[i].have && !tree_flatten(a->ctx, &tree[i], &given[i].value, flat))
            return false;
    }
    if (missing.len) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "no value for the input%s %s",
                   strchr(missing.at, ',') ? "s" : "", missing.at);
        if (a->data)
            diag_note(a->ctx, "%s holds no input_N.pb or input_N.npy for it", a->data);
        else
            diag_note(a->ctx,
                      "give --data DIR, INPUT=@FILE, INPUT=random:7, INPUT=ones or INPUT=0.5");
        return false;
    }
    if (!bind_dims(a, p, flat, dims))
        return false;
    for (int i = 0; i < n; i++)
        if (!given[i].have && !tree_is_empty(&tree[i]) &&
            !make_tree(a, p, dims, &tree[i], &given[i], flat))
            return false;
    for (int i = 0; i < p->inputs.len; i++)
        normalise_bools(a->ctx, &flat[i]);
    return check_dims(a, p, dims);
}
