/* def_einsum.c — Einsum: operand after operand is multiplied in, and what no later operand nor the result
 * needs is summed at once.
 *
 *   Einsum("bij,bjk->bik", x, y)  →  z[b,i,k] = add(j) x[b,i,j] * y[b,j,k] */
#include "frontend/equation.h"

#include <string.h>

#define LABELS 192
#define DOTS 128 /* DOTS + n: the axis n + 1 places before the end of what "..." stands for */

/* A tensor and the labels of its axes. */
typedef struct Part {
    Buf *b;
    int n;
    unsigned char label[RANK_MAX];
} Part;

typedef struct Einsum {
    const Expr *dim[LABELS];    /* extent of each label; NULL: not used */
    unsigned char need[LABELS]; /* how many operands not yet multiplied in use it, and the result */
    Dtype type, wide;
} Einsum;

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads labels up to an end; "..." stands for `dots` axes. */
static bool read_labels(Definer *d, const char **text, Part *p, int dots) {
    const char *s = *text;
    p->n = 0;
    for (; *s && *s != ',' && *s != '-'; s++) {
        int more = 1, first = *s;
        if (*s == ' ')
            continue;
        if (!strncmp(s, "...", 3)) {
            more = dots;
            first = DOTS + dots - 1;
            s += 2;
        } else if (!is_letter(*s)) {
            return define_error(d, EXIT_MALFORMED, "the equation has the character '%c'", *s);
        }
        for (int i = 0; i < more; i++) {
            if (p->n == RANK_MAX)
                return define_error(d, EXIT_LIMIT, "more than %d labels", RANK_MAX);
            p->label[p->n++] = (unsigned char)(first - (more > 1 || first >= DOTS ? i : 0));
        }
    }
    *text = s;
    return true;
}

/* How many axes "..." has in the operand at s, whose rank is known. */
static int count_dots(const char *s, int rank) {
    int letters = 0;
    bool dots = false;
    for (; *s && *s != ',' && *s != '-'; s++) {
        letters += is_letter(*s);
        dots |= *s == '.';
    }
    return dots ? rank - letters : 0;
}

static bool join_dim(Definer *d, Einsum *e, int label, const Expr *dim) {
    if (!e->dim[label] || expr_is(e->dim[label], 1)) {
        e->dim[label] = dim;
        return true;
    }
    return expr_is(dim, 1) || define_same(d, e->dim[label], dim, "extents of one label");
}

/* The operands, and the largest number of axes "..." stands for. */
static bool read_operands(Definer *d, Einsum *e, const char **text, Part *part, int *dots) {
    *dots = 0;
    for (int i = 0; i < d->node->nin; i++) {
        Buf *b = define_in(d, i);
        if (i && *(*text)++ != ',')
            return define_error(d, EXIT_MALFORMED, "the equation has fewer operands than the node");
        int n = count_dots(*text, b->rank);
        *dots = n > *dots ? n : *dots;
        part[i].b = b;
        if (!read_labels(d, text, &part[i], n < 0 ? 0 : n))
            return false;
        if (part[i].n != b->rank)
            return define_error(d, EXIT_MALFORMED, "%d labels for operand %d of rank %d", part[i].n,
                                i, b->rank);
        for (int a = 0; a < b->rank; a++) {
            e->need[part[i].label[a]]++;
            if (!join_dim(d, e, part[i].label[a], b->dim[a]))
                return false;
        }
    }
    return **text != ',' ||
           define_error(d, EXIT_MALFORMED, "the equation has more operands than the node");
}

/* The labels of the result: as written, or "..." and those used once, in order. */
static bool read_result(Definer *d, Einsum *e, const char *text, Part *out, int dots) {
    if (*text) {
        if (strncmp(text, "->", 2))
            return define_error(d, EXIT_MALFORMED, "the equation ends in '%s'", text);
        text += 2;
        if (!read_labels(d, &text, out, dots))
            return false;
        if (*text)
            return define_error(d, EXIT_MALFORMED, "the equation has two results");
    } else {
        for (int i = dots - 1; i >= 0; i--)
            out->label[out->n++] = (unsigned char)(DOTS + i);
        for (int c = 'A'; c <= 'z'; c++) {
            if (e->need[c] != 1)
                continue;
            if (out->n == RANK_MAX)
                return define_error(d, EXIT_LIMIT, "more than %d labels", RANK_MAX);
            out->label[out->n++] = (unsigned char)c;
        }
    }
    for (int i = 0; i < out->n; i++) {
        if (!e->dim[out->label[i]])
            return define_error(d, EXIT_MALFORMED, "the result has a label no operand has");
        for (int j = 0; j < i; j++)
            if (out->label[j] == out->label[i])
                return define_error(d, EXIT_MALFORMED, "the result has a label twice");
        e->need[out->label[i]]++;
    }
    return true;
}

static const Expr *part_load(Definer *d, const Einsum *e, const Part *p, const Expr *const *index) {
    const Expr *at[RANK_MAX];
    for (int a = 0; a < p->n; a++)
        at[a] = expr_is(p->b->dim[a], 1) ? expr_i(d->ctx, 0) : index[p->label[a]];
    return eq_load(d, e->wide, p->b, at);
}

/* out = the sum over the labels it does not have of a (times b). */
static void multiply(Definer *d, const Einsum *e, const Part *a, const Part *b, Part *out,
                     bool last) {
    const Expr *index[LABELS] = {NULL}, *dim[RANK_MAX];
    const Part *in[2] = {a, b};
    for (int i = 0; i < out->n; i++)
        dim[i] = e->dim[out->label[i]];
    Def *def = eq_def(d, last && e->wide == e->type ? 0 : -1, "acc", e->wide, out->n, dim);
    for (int i = 0; i < out->n; i++) {
        char name[2] = {(char)(out->label[i] < DOTS ? out->label[i] : 'b'), 0};
        def->axis[i].var->name = str(d->ctx, name);
        index[out->label[i]] = def_var(d->ctx, def, i);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; in[k] && i < in[k]->n; i++) {
            int l = in[k]->label[i];
            if (!index[l])
                index[l] = eq_red(d, def, l < DOTS ? (char[]){(char)l, 0} : "k", e->dim[l]);
        }
    const Expr *value = part_load(d, e, a, index);
    if (b)
        value = expr_mul(d->ctx, value, part_load(d, e, b, index));
    eq_combine(d, def, OP_ADD, value, NULL, false);
    define_emit(d, def);
    out->b = def->buf;
}

/* The labels of a (and b) that are still needed, in order of appearance. */
static bool keep_labels(Definer *d, const Einsum *e, const Part *a, const Part *b, Part *out) {
    const Part *in[2] = {a, b};
    out->n = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; in[k] && i < in[k]->n; i++) {
            int l = in[k]->label[i];
            bool there = !e->need[l];
            for (int j = 0; j < out->n; j++)
                there |= out->label[j] == l;
            if (there)
                continue;
            if (out->n == RANK_MAX)
                return define_error(d, EXIT_LIMIT, "a product of more than %d labels", RANK_MAX);
            out->label[out->n++] = (unsigned char)l;
        }
    return true;
}

static void done_with(Einsum *e, const Part *p) {
    for (int i = 0; i < p->n; i++)
        e->need[p->label[i]]--;
}

bool def_einsum(Definer *d) {
    Einsum e = {.type = define_type(d, 0), .wide = eq_wide(define_type(d, 0))};
    int n = d->node->nin, dots;
    Part *part = ctx_newn(d->ctx, Part, n), out = {0};
    const char *text = node_str(d->ctx, d->node, "equation", "");
    for (int i = 1; i < n; i++)
        if (define_type(d, i) != e.type)
            return define_error(d, EXIT_MALFORMED, "operands of different element types");
    if (!read_operands(d, &e, &text, part, &dots) || !read_result(d, &e, text, &out, dots))
        return false;
    Part acc = part[0];
    done_with(&e, &part[0]);
    for (int i = 1; i < n; i++) {
        Part next = out;
        done_with(&e, &part[i]);
        if (i < n - 1 && !keep_labels(d, &e, &acc, &part[i], &next))
            return false;
        multiply(d, &e, &acc, &part[i], &next, i == n - 1);
        acc = next;
    }
    if (n == 1) {
        multiply(d, &e, &part[0], NULL, &out, true);
        acc = out;
    }
    if (e.wide == e.type)
        return true;
    const Expr *v[RANK_MAX];
    Def *y = define_out(d, 0, e.type, acc.n, acc.b->dim);
    eq_vars(d, y, v);
    eq_emit(d, y, buf_load(d->ctx, acc.b, v));
    return true;
}
