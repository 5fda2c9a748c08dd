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
    Text lines; /* what is printed, or the members of the JSON list */
    int values, failed;
} Check;
/* Compares and adds a line. `node`: where an inner value comes from, else NULL. */
bool check_value(Check *ck, Str name, const Node *node, const OnnxValue *got,
                 const OnnxValue *want);

/* check_ort.c: the outputs onnxruntime computes; `out` has one value an output of the graph. */
bool ort_outputs(Args *a, const Compiled *c, const OnnxTensor *flat, OnnxValue *out, int n);

/* check_node.c: every value between inputs and outputs becomes an output of c->prog too; what the
 * reference evaluator says about each is kept. */
typedef struct Inner {
    Str name;
    const Node *node;
    int port; /* of Program.outputs */
    OnnxValue want;
} Inner;
typedef struct Inners {
    VEC(Inner) at;
} Inners;
bool inners_eval(Args *a, Compiled *c, const OnnxTensor *in, const int64_t *dims, Inners *list);

#endif
