/* frontend/import.h — what the files of graph_import share: import.c (graphs, names, functions) and
 * import_attr.c (attributes, types, tensor literals). Nothing else includes it. */
#ifndef LCC_IMPORT_H
#define LCC_IMPORT_H

#include "frontend/frontend.h"

#include <onnx.pb-c.h>

/* The names visible at one place: those of this graph, then those of the graphs around it. */
typedef struct NameScope {
    Map *names; /* Str → Value */
    Map *later; /* Str → anything: all names the graph will define; made on first use */
    struct NameScope *outer; /* NULL at the top and in a function */
    Graph *graph;
    int depth; /* graphs around this one */
} NameScope;

typedef struct Import {
    Ctx *ctx;
    Model *model;
    struct OnnxFile *file;
    const struct Opset *opset; /* of the model or of the function being read */
    int nopset;
    bool function; /* reading a function: attributes may refer to the caller's */
} Import;

/* Every field of the protobuf may be missing: each import_… takes NULL and reports it. */
bool import_attr(Import *im, NameScope *scope, const Onnx__AttributeProto *p, const Loc *loc,
                 Attr *out);
const TypeInfo *import_type(Import *im, const Onnx__TypeProto *p, Str name, bool strict);
const Literal *import_literal(Import *im, const Onnx__TensorProto *p, const Loc *loc);
const Literal *import_sparse(Import *im, const Onnx__SparseTensorProto *p, const Loc *loc);
/* A body: sees the names of `scope`. NULL after an error. */
Graph *import_body(Import *im, NameScope *scope, const Onnx__GraphProto *p, const Loc *loc);
/* The order in which to read a graph's nodes, so that values come before their uses; NULL after
 * reporting a cycle. */
const int *import_order(Import *im, size_t count, Onnx__NodeProto **node);
/* "" for absent text; "ai.onnx" as domain is "". */
Str import_str(Import *im, const char *s);
Str import_domain(Import *im, const char *s);

#endif
