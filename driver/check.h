/* driver/check.h — comparing outputs: for the files of lcc check. */
#ifndef LCC_CHECK_H
#define LCC_CHECK_H

#include "driver/run.h"

typedef struct Rule {
    const char *name;
    double abs, rel;
    bool each;  /* rel is of each element; else of the tensor's largest */
    bool given; /* by --tol: holds for integers too */
} Rule;
bool rule_read(Args *a, Rule *r); /* --tolerance and --tol */
void rule_text(Text *t, const Rule *r);

typedef struct Compared {
    bool shape;    /* type and shape are equal */
    int64_t bad;   /* elements beyond the bound */
    int64_t worst; /* the element nearest to its bound or furthest beyond; -1: all are equal */
    double d, ulp; /* largest difference; in units of the last place */
    double bound;  /* of the tensor (rules that are not `each`) */
} Compared;
bool tensors_compare(const OnnxTensor *got, const OnnxTensor *want, const Rule *r, Compared *c);

/* What a check has seen. */
typedef struct Check {
    Args *a;
    Compiled *c;
    Rule rule;
    Jit jit;
    Text lines;                /* what is printed, or the members of the JSON list */
    int values, failed, shown; /* shown: inner values listed */
} Check;
/* Compares and adds a line. `node`: where an inner value comes from, else NULL. */
bool check_value(Check *ck, Str name, const Node *node, const OnnxValue *got,
                 const OnnxValue *want);

/* check_ort.c: the outputs onnxruntime computes; `out` has one value an output of the graph. */
bool ort_outputs(Args *a, const Compiled *c, const OnnxTensor *flat, OnnxValue *out, int n);

/* check_node.c: the values between inputs and outputs become outputs of the program too. */
typedef struct Inner {
    Str name;
    const Node *node;
    const Buf *buf;
    int port; /* of Program.outputs */
} Inner;
typedef struct Inners { /* a VEC(Inner) */
    Inner *at;
    int len, cap;
} Inners;
/* outputs: the outputs too, where nothing else says what they should be. */
void inners_mark(Args *a, Program *p, Inners *list, bool outputs);
/* What the reference evaluator says about each (no data: it was not computed). NULL after an error. To be
 * asked before lowering changes the program. */
OnnxValue *inners_eval(Args *a, const Program *p, const OnnxTensor *in, const int64_t *dims,
                       const Inners *list);

#endif
