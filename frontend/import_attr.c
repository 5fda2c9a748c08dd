/* frontend/import_attr.c — attributes, types and tensor literals of graph_import.
 *
 * An attribute states its kind and carries exactly the field of that kind; lists are not copied where
 * the protobuf's own array will do. Literals point into the file. Precondition: see import.c. */
#include "frontend/import.h"
#include "frontend/load.h"

#include <inttypes.h>
#include <string.h>

/* ---- tensors --------------------------------------------------------------------------------- */

static const Const *literal_data(Import *im, const OnnxTensor *t) {
    Dtype type = type_from_onnx(t->type);
    if (type != T_STR)
        return const_new(im->ctx, type, t->count, t->data);
    const OnnxString *from = t->data;
    ConstStr *to = ctx_newn(im->ctx, ConstStr, t->count);
    for (int64_t i = 0; i < t->count; i++)
        to[i] = (ConstStr){from[i].at, (int64_t)from[i].len};
    return const_new(im->ctx, type, t->count, to);
}

const Literal *import_literal(Import *im, const Onnx__TensorProto *p, const Loc *loc) {
    OnnxTensor t = {0};
    if (!p) {
        diag_error(im->ctx, EXIT_MALFORMED, loc, "a tensor is missing");
        return NULL;
    }
    if (!onnx_tensor_bytes(im->ctx, im->file, p, loc, &t))
        return NULL;
    Literal *lit = ctx_new(im->ctx, Literal);
    lit->name = import_str(im, p->name);
    if (t.rank > RANK_MAX) {
        diag_error(im->ctx, EXIT_LIMIT, loc, "tensor '%s' has rank %d; at most %d is supported",
                   lit->name, t.rank, RANK_MAX);
        return NULL;
    }
    lit->rank = t.rank;
    for (int i = 0; i < t.rank; i++)
        lit->dim[i] = t.dims[i];
    lit->data = literal_data(im, &t);
    return lit;
}

/* The dims of a sparse tensor; *count is their product. */
static bool sparse_dims(Import *im, const Onnx__SparseTensorProto *p, const Loc *loc, Literal *lit,
                        int64_t *count) {
    if (p->n_dims < 1 || p->n_dims > RANK_MAX)
        return diag_error(im->ctx, EXIT_LIMIT, loc,
                          "sparse tensor '%s' has rank %zu; 1 to %d is supported", lit->name,
                          p->n_dims, RANK_MAX);
    lit->rank = (int)p->n_dims;
    *count = 1;
    for (int i = 0; i < lit->rank; i++) {
        lit->dim[i] = p->dims[i];
        if (p->dims[i] < 0 || !mul_ok(*count, p->dims[i], count))
            return diag_error(im->ctx, EXIT_MALFORMED, loc,
                              "sparse tensor '%s': dimension %d is %" PRId64, lit->name, i,
                              p->dims[i]);
    }
    return true;
}

/* Flat position of the i-th stored value; -1 when it is out of range. */
static int64_t sparse_at(const Literal *lit, const OnnxTensor *index, int64_t i, int64_t count) {
    const int64_t *at = index->data;
    if (index->rank == 1)
        return at[i] >= 0 && at[i] < count ? at[i] : -1;
    int64_t flat = 0;
    for (int d = 0; d < lit->rank; d++) {
        int64_t x = at[i * lit->rank + d];
        if (x < 0 || x >= lit->dim[d])
            return -1;
        flat = flat * lit->dim[d] + x;
    }
    return flat;
}

const Literal *import_sparse(Import *im, const Onnx__SparseTensorProto *p, const Loc *loc) {
    OnnxTensor v = {0}, index = {0};
    if (!p || !p->values || !p->indices) {
        diag_error(im->ctx, EXIT_MALFORMED, loc, "a sparse tensor has no values or no indices");
        return NULL;
    }
    if (!onnx_tensor_bytes(im->ctx, im->file, p->values, loc, &v) ||
        !onnx_tensor_bytes(im->ctx, im->file, p->indices, loc, &index))
        return NULL;
    Literal *lit = ctx_new(im->ctx, Literal);
    lit->name = import_str(im, p->values->name);
    int64_t count, bytes;
    if (!sparse_dims(im, p, loc, lit, &count))
        return NULL;
    Dtype type = type_from_onnx(v.type);
    bool shaped = (index.rank == 1 && index.dims[0] == v.count) ||
                  (index.rank == 2 && index.dims[0] == v.count && index.dims[1] == lit->rank);
    if (type == T_STR || v.rank != 1 || type_from_onnx(index.type) != T_I64 || !shaped) {
        diag_error(im->ctx, EXIT_MALFORMED, loc,
                   "sparse tensor '%s': values and indices do not fit together", lit->name);
        return NULL;
    }
    if (!mul_ok(count, type_bytes(type), &bytes)) {
        diag_error(im->ctx, EXIT_LIMIT, loc, "sparse tensor '%s' is too large", lit->name);
        return NULL;
    }
    size_t size = (size_t)type_bytes(type);
    char *data = ctx_allocn(im->ctx, (size_t)count, size);
    for (int64_t i = 0, last = -1; i < v.count; i++) {
        int64_t at = sparse_at(lit, &index, i, count);
        if (at <= last) {
            diag_error(im->ctx, EXIT_MALFORMED, loc,
                       "sparse tensor '%s': index %" PRId64 " is out of range or order", lit->name,
                       i);
            return NULL;
        }
        memcpy(data + (size_t)at * size, (const char *)v.data + (size_t)i * size, size);
        last = at;
    }
    lit->data = const_new(im->ctx, type, count, data);
    return lit;
}

/* ---- types ----------------------------------------------------------------------------------- */

static bool import_shape(Import *im, const Onnx__TensorShapeProto *p, Str name, bool strict,
                         TypeInfo *info) {
    if (p->n_dim > RANK_MAX) {
        if (strict)
            diag_error(im->ctx, EXIT_LIMIT, NULL, "'%s' has rank %zu; at most %d is supported",
                       name, p->n_dim, RANK_MAX);
        return false;
    }
    info->rank = (int)p->n_dim;
    for (int i = 0; i < info->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = p->dim[i];
        info->dim[i] = -1;
        if (d && d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
            info->dim[i] = d->dim_value;
        else if (d && d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                 d->dim_param && *d->dim_param)
            info->param[i] = str(im->ctx, d->dim_param);
        if (d && d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
            info->dim[i] < 0) {
            if (strict)
                diag_error(im->ctx, EXIT_MALFORMED, NULL, "'%s': dimension %d is %" PRId64, name, i,
                           info->dim[i]);
            info->dim[i] = -1; /* where it is only advice: unknown */
            if (strict)
                return false;
        }
    }
    return true;
}

/* Whether the constant extents of an input leave room for its size in bytes. */
static bool fits_memory(const TypeInfo *info) {
    int64_t bytes = type_bytes(info->type);
    for (int i = 0; i < info->rank; i++)
        if (info->dim[i] > 0 && !mul_ok(bytes, info->dim[i], &bytes))
            return false;
    return true;
}

static const TypeInfo *tensor_type(Import *im, int elem, const Onnx__TensorShapeProto *shape,
                                   Str name, bool strict) {
    TypeInfo *info = ctx_new(im->ctx, TypeInfo);
    info->kind = VALUE_TENSOR;
    info->type = type_from_onnx(elem);
    info->rank = -1;
    if (strict && info->type == T_NONE) {
        diag_error(im->ctx, EXIT_MALFORMED, NULL, "'%s' has no known element type (%d)", name,
                   elem);
        return NULL;
    }
    if (shape && !import_shape(im, shape, name, strict, info)) {
        if (strict)
            return NULL;
        info->rank = -1;
    }
    if (strict && !fits_memory(info)) {
        diag_error(im->ctx, EXIT_LIMIT, NULL, "'%s' has more than 2^63 bytes", name);
        return NULL;
    }
    return info;
}

static const TypeInfo *compound_type(Import *im, ValueKind kind, const Onnx__TypeProto *elem,
                                     int key, Str name, bool strict) {
    TypeInfo *info = ctx_new(im->ctx, TypeInfo);
    info->kind = (uint8_t)kind;
    info->type = type_from_onnx(key);
    info->rank = -1;
    info->elem = import_type(im, elem, name, strict);
    if (strict && info->elem && kind == VALUE_SEQUENCE && info->elem->kind != VALUE_TENSOR) {
        diag_error(im->ctx, EXIT_UNSUPPORTED, NULL,
                   "'%s' is a sequence of something else than tensors", name);
        return NULL;
    }
    return strict && !info->elem ? NULL : info;
}

/* `strict`: the type of a graph's input, which must be complete; else advice, NULL when unusable. */
const TypeInfo *import_type(Import *im, const Onnx__TypeProto *p, Str name, bool strict) {
    switch (p ? p->value_case : ONNX__TYPE_PROTO__VALUE__NOT_SET) {
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
        if (!p->tensor_type)
            break;
        return tensor_type(im, (int)p->tensor_type->elem_type, p->tensor_type->shape, name, strict);
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
        return compound_type(im, VALUE_SEQUENCE,
                             p->sequence_type ? p->sequence_type->elem_type : NULL, 0, name,
                             strict);
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
        return compound_type(im, VALUE_OPTIONAL,
                             p->optional_type ? p->optional_type->elem_type : NULL, 0, name,
                             strict);
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
        return compound_type(im, VALUE_MAP, p->map_type ? p->map_type->value_type : NULL,
                             p->map_type ? p->map_type->key_type : 0, name, strict);
    case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE:
    case ONNX__TYPE_PROTO__VALUE_OPAQUE_TYPE:
        if (strict)
            diag_error(im->ctx, EXIT_UNSUPPORTED, NULL,
                       "'%s' is a sparse tensor or an opaque value: only tensors, sequences, "
                       "optionals and maps are supported",
                       name);
        return NULL;
    default:
        break;
    }
    if (strict)
        diag_error(im->ctx, EXIT_MALFORMED, NULL, "'%s' has no type", name);
    return NULL;
}

/* ---- attributes ------------------------------------------------------------------------------- */

/* The fields that are present, as a set of bits by AttributeType. */
static unsigned attr_present(const Onnx__AttributeProto *p) {
    unsigned set = 0;
#define PRESENT(condition, kind)                                                                   \
    if (condition)                                                                                 \
    set |= 1u << (kind)
    PRESENT(p->has_f, ATTR_FLOAT);
    PRESENT(p->has_i, ATTR_INT);
    PRESENT(p->has_s, ATTR_STRING);
    PRESENT(p->t, ATTR_TENSOR);
    PRESENT(p->g, ATTR_GRAPH);
    PRESENT(p->sparse_tensor, ATTR_SPARSE);
    PRESENT(p->tp, ATTR_TYPE);
    PRESENT(p->n_floats, ATTR_FLOATS);
    PRESENT(p->n_ints, ATTR_INTS);
    PRESENT(p->n_strings, ATTR_STRINGS);
    PRESENT(p->n_tensors, ATTR_TENSORS);
    PRESENT(p->n_graphs, ATTR_GRAPHS);
    PRESENT(p->n_sparse_tensors, 12);
    PRESENT(p->n_type_protos, 14);
#undef PRESENT
    return set;
}

static bool attr_list(Import *im, const Onnx__AttributeProto *p, const Loc *loc, Attr *out) {
    size_t n = p->n_floats + p->n_ints + p->n_strings + p->n_tensors; /* one of them is not 0 */
    if (n > INT32_MAX)
        return diag_error(im->ctx, EXIT_LIMIT, loc, "attribute '%s' has %zu elements", out->name,
                          n);
    out->n = (int)n;
    out->ints = p->ints;
    double *floats = ctx_newn(im->ctx, double, p->n_floats);
    for (size_t i = 0; i < p->n_floats; i++)
        floats[i] = p->floats[i];
    out->floats = floats;
    ConstStr *strings = ctx_newn(im->ctx, ConstStr, p->n_strings);
    for (size_t i = 0; i < p->n_strings; i++)
        strings[i] = (ConstStr){(const char *)p->strings[i].data, (int64_t)p->strings[i].len};
    out->strings = strings;
    const Literal **tensors = ctx_newn(im->ctx, const Literal *, p->n_tensors);
    for (size_t i = 0; i < p->n_tensors; i++)
        if (!(tensors[i] = import_literal(im, p->tensors[i], loc)))
            return false;
    out->tensors = tensors;
    return true;
}

static bool attr_value(Import *im, NameScope *scope, const Onnx__AttributeProto *p, const Loc *loc,
                       Attr *out) {
    switch (out->kind) {
    case ATTR_INT:
        out->i = p->i;
        return true;
    case ATTR_FLOAT:
        out->f = p->f;
        return true;
    case ATTR_STRING:
        out->s = (ConstStr){p->s.data ? (const char *)p->s.data : "", (int64_t)p->s.len};
        return true;
    case ATTR_TENSOR:
        out->tensor = import_literal(im, p->t, loc);
        return out->tensor;
    case ATTR_SPARSE: /* dense from here on */
        out->kind = ATTR_TENSOR;
        out->tensor = import_sparse(im, p->sparse_tensor, loc);
        return out->tensor;
    case ATTR_GRAPH:
        if (p->g)
            out->graph = import_body(im, scope, p->g, loc);
        else
            diag_error(im->ctx, EXIT_MALFORMED, loc, "attribute '%s' has no graph", out->name);
        return out->graph;
    case ATTR_TYPE:
        out->type = import_type(im, p->tp, out->name, true);
        return out->type;
    case ATTR_FLOATS:
    case ATTR_INTS:
    case ATTR_STRINGS:
    case ATTR_TENSORS:
        return attr_list(im, p, loc, out);
    default:
        return diag_error(im->ctx, EXIT_UNSUPPORTED, loc, "attribute '%s' is of a kind (%d) %s",
                          out->name, out->kind, "that no supported op has");
    }
}

bool import_attr(Import *im, NameScope *scope, const Onnx__AttributeProto *p, const Loc *loc,
                 Attr *out) {
    if (!p || !p->name || !*p->name)
        return diag_error(im->ctx, EXIT_MALFORMED, loc, "an attribute has no name");
    out->name = str(im->ctx, p->name);
    int kind = p->has_type ? (int)p->type : 0;
    if (kind < ATTR_FLOAT || kind > 14)
        return diag_error(im->ctx, EXIT_MALFORMED, loc, "attribute '%s' has no valid type (%d)",
                          out->name, kind);
    out->kind = (uint8_t)kind;
    unsigned present = attr_present(p);
    if (p->ref_attr_name && *p->ref_attr_name) {
        if (!im->function || present)
            return diag_error(im->ctx, EXIT_MALFORMED, loc,
                              "attribute '%s' refers to attribute '%s' of a function%s", out->name,
                              p->ref_attr_name,
                              present ? " and has a value of its own" : ", but is in none");
        out->ref = str(im->ctx, p->ref_attr_name);
        return true;
    }
    if (present & ~(1u << kind))
        return diag_error(im->ctx, EXIT_MALFORMED, loc,
                          "attribute '%s' holds a value of another kind than it states (%d)",
                          out->name, kind);
    return attr_value(im, scope, p, loc, out);
}
