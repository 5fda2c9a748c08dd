/* ir/graph.h — the graph level: what the model says, node by node.
 *
 * Made by frontend/import.c from the ONNX protobuf; upgraded in place to one canonical version per op
 * (frontend/upgrade.c); turned into a tensor Program by frontend/define.c. Names and attributes are
 * ONNX's own. Nothing below the frontend reads this, except `origin` for names in comments. */
#ifndef LCC_GRAPH_H
#define LCC_GRAPH_H

#include "ir/tensor.h"

typedef struct Graph Graph;
typedef struct Value Value;
typedef struct TypeInfo TypeInfo;

typedef enum AttrKind {
    ATTR_INT = 2, /* numbers of ONNX's AttributeProto.AttributeType */
    ATTR_FLOAT = 1,
    ATTR_STRING = 3,
    ATTR_TENSOR = 4,
    ATTR_GRAPH = 5,
    ATTR_FLOATS = 6,
    ATTR_INTS = 7,
    ATTR_STRINGS = 8,
    ATTR_TENSORS = 9,
    ATTR_GRAPHS = 10,
    ATTR_SPARSE = 11,
    ATTR_TYPE = 13
} AttrKind;

/* A tensor literal. */
typedef struct Literal {
    const Const *data;
    int rank;
    int64_t dim[RANK_MAX];
    Str name;
} Literal;

typedef struct Attr {
    Str name;
    uint8_t kind;
    int n; /* length of the list kinds */
    int64_t i;
    double f;
    ConstStr s;
    const int64_t *ints;
    const double *floats;
    const ConstStr *strings;
    const Literal *tensor;
    const Literal *const *tensors;
    Graph *graph;
    const TypeInfo *type;
    Str ref; /* inside a function body: the caller's attribute of this name; else NULL */
} Attr;

typedef enum ValueKind { VALUE_TENSOR, VALUE_SEQUENCE, VALUE_OPTIONAL, VALUE_MAP } ValueKind;

/* A declared type (inputs, outputs, value_info): advisory but for graph inputs. */
struct TypeInfo {
    uint8_t kind;          /* ValueKind */
    Dtype type;            /* tensors; T_NONE when not stated */
    int rank;              /* -1: no shape given */
    int64_t dim[RANK_MAX]; /* -1: symbolic or unknown */
    Str param[RANK_MAX];   /* dim_param or NULL */
    const TypeInfo *elem;  /* sequence, optional */
};

struct Value {
    Str name;
    const TypeInfo *info; /* declared, or NULL */
    Node *by;             /* producer; NULL: graph input, initialiser or outer scope's */
    const Literal *init;  /* initialiser */
};

struct Node {
    Str name, domain, op; /* domain "" for ai.onnx; op = op_type */
    Str overload;         /* which of several model-local functions; "" */
    int version; /* after import: of the domain's opset; after upgrade: of the op, canonical */
    int nin, nout;
    Value **in;  /* NULL: absent optional */
    Value **out; /* NULL: not wanted */
    int nattr;
    Attr *attr;
    Loc loc;
};

typedef struct Function {
    Str name, domain, overload;
    int nin, nout, nattr;
    Str *in, *out, *attr; /* attr: declared names without default */
    int ndefault;
    Attr *defaults; /* attribute_proto */
    Graph *body;    /* inputs/outputs by the names above */
    VEC(struct Opset {
        Str domain;
        int64_t version;
    })
    opsets;
} Function;

struct Graph {
    Str name;
    VEC(Value *) inputs, outputs; /* inputs: without those that are initialisers (IR < 4) */
    VEC(Node *) nodes;            /* topological order, checked */
    VEC(Value *) values;          /* every Value defined here */
    Graph *outer;                 /* enclosing graph of a body; NULL at the top */
};

typedef struct Model {
    Graph *graph;
    VEC(struct Opset) opsets;
    VEC(Function *) functions;
    int64_t ir_version;
    int blank; /* tensors whose data a text left out; they are zero */
    char sha256[65];
} Model;

/* "ints"; how texts write the kind. */
const char *attr_kind_text(int kind); /* NULL: no such kind in texts */

/* Attribute look-up; NULL when absent. */
const Attr *node_attr(const Node *n, const char *name);
int64_t node_int(const Node *n, const char *name, int64_t otherwise);
double node_float(const Node *n, const char *name, double otherwise);
/* NUL-terminated, interned; NULL default allowed. */
Str node_str(Ctx *ctx, const Node *n, const char *name, const char *otherwise);
const int64_t *node_ints(const Node *n, const char *name, int *count); /* NULL, 0 when absent */
const double *node_floats(const Node *n, const char *name, int *count);

/* graph_text.c: ONNX text syntax with node labels. */
void graph_print(Text *t, const Model *m);
void model_print_node(Text *t, const Node *n);
/* Reads what graph_print wrote, and calls as operands; NULL after an error. */
Model *graph_parse(Ctx *ctx, const char *file, const char *text);

#endif
