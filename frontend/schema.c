/* frontend/schema.c — look-up in schema.def and the attribute check.
 *
 * Precondition of schema_check: the node is at its op's newest version (graph_upgrade). */
#include "frontend/schema.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct Schema {
    const char *domain, *op, *versions, *attrs;
} Schema;

static const Schema SCHEMAS[] = {
#define SCHEMA(domain, op, versions, attrs) {domain, op, versions, attrs},
#define ATTR_WORDS(op, attr, words)
#include "frontend/schema.def"
#undef SCHEMA
#undef ATTR_WORDS
};

typedef struct AttrWords {
    const char *op, *attr, *words;
} AttrWords;

static const AttrWords ATTR_WORD_LISTS[] = {
#define SCHEMA(domain, op, versions, attrs)
#define ATTR_WORDS(op, attr, words) {op, attr, words},
#include "frontend/schema.def"
#undef SCHEMA
#undef ATTR_WORDS
};

static int schema_compare(const void *a, const void *b) {
    const Schema *x = a, *y = b;
    int domains = strcmp(x->domain, y->domain);
    return domains ? domains : strcmp(x->op, y->op);
}

static const Schema *schema_find(const char *domain, const char *op) {
    Schema key = {.domain = domain, .op = op};
    return bsearch(&key, SCHEMAS, sizeof SCHEMAS / sizeof *SCHEMAS, sizeof *SCHEMAS,
                   schema_compare);
}

int schema_since(const char *domain, const char *op, int64_t opset) {
    const Schema *s = schema_find(domain, op);
    if (!s) {
        const OnnxOp *row = onnx_op_find(domain, op);
        return row && row->version <= opset ? row->version : 0;
    }
    int since = 0;
    for (const char *p = s->versions; *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        if (v <= opset)
            since = (int)v;
        p = end;
    }
    return since;
}

int schema_newest(const char *domain, const char *op) {
    return schema_since(domain, op, INT_MAX);
}

/* The entry "name:kind" of a schema's attributes; NULL when it has none. */
static const char *schema_attr(const Schema *s, const char *name) {
    size_t n = strlen(name);
    for (const char *p = s->attrs; *p;) {
        size_t word = strcspn(p, " ");
        if (word > n && strncmp(p, name, n) == 0 && p[n] == ':')
            return p + n + 1;
        p += word;
        p += strspn(p, " ");
    }
    return NULL;
}

static uint8_t attr_kind(char letter) {
    static const struct {
        char letter;
        uint8_t kind;
    } KINDS[] = {{'i', ATTR_INT},   {'f', ATTR_FLOAT},  {'s', ATTR_STRING},  {'t', ATTR_TENSOR},
                 {'I', ATTR_INTS},  {'F', ATTR_FLOATS}, {'S', ATTR_STRINGS}, {'T', ATTR_TENSORS},
                 {'g', ATTR_GRAPH}, {'G', ATTR_GRAPHS}, {'p', ATTR_TYPE}};
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (KINDS[i].letter == letter)
            return KINDS[i].kind;
    return 0;
}

static bool check_required(Ctx *ctx, const Schema *s, const Node *n) {
    bool ok = true;
    for (const char *p = s->attrs; *p;) {
        size_t word = strcspn(p, " ");
        if (p[word - 1] == '!') {
            Str name = str_n(ctx, p, strcspn(p, ":"));
            if (!node_attr(n, name))
                ok = diag_error(ctx, EXIT_MALFORMED, &n->loc, "attribute '%s' is missing", name);
        }
        p += word;
        p += strspn(p, " ");
    }
    return ok;
}

/* Is the value of a string attribute one of its words? True where it may be anything. */
static bool check_word(Ctx *ctx, const Node *n, const Attr *a) {
    const AttrWords *row = ATTR_WORD_LISTS, *end = row + sizeof ATTR_WORD_LISTS / sizeof *row;
    while (row < end && (strcmp(row->attr, a->name) != 0 ||
                         (strcmp(row->op, "*") != 0 && strcmp(row->op, n->op) != 0)))
        row++;
    if (row == end)
        return true;
    size_t len = (size_t)a->s.len;
    for (const char *p = row->words; *p; p += strspn(p, " ")) {
        size_t word = strcspn(p, " ");
        if (word == len && !memcmp(p, a->s.at, len))
            return true;
        p += word;
    }
    return diag_error(ctx, EXIT_MALFORMED, &n->loc, "attribute '%s' is '%s'; it may be one of: %s",
                      a->name, str_n(ctx, a->s.at, len), row->words);
}

bool schema_check(Ctx *ctx, const Node *n) {
    const Schema *s = schema_find(n->domain, n->op);
    if (!s)
        return true;
    bool ok = check_required(ctx, s, n);
    for (int i = 0; i < n->nattr; i++) {
        const Attr *a = &n->attr[i];
        const char *kind = schema_attr(s, a->name);
        if (!kind)
            ok = diag_error(ctx, EXIT_MALFORMED, &n->loc, "%s has no attribute '%s'", n->op,
                            a->name);
        else if (a->kind != attr_kind(*kind))
            ok = diag_error(ctx, EXIT_MALFORMED, &n->loc, "attribute '%s' is of the wrong kind",
                            a->name);
        else if (a->kind == ATTR_STRING)
            ok &= check_word(ctx, n, a);
    }
    return ok;
}
