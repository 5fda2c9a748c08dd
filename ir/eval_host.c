/* ir/eval_host.c — calls of stub functions from the evaluator: the runtime stub's own source, compiled in.
 *
 *   y, i = lcc_topk(x)   →   lcc_arg views of the tensors, the call, then the extents it found */
#include "ir/eval_in.h"

#include <string.h>

#include "runtime-stub/dense.c"
#include "runtime-stub/sort.c"

typedef int (*Stub)(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
                    const double *fattr);

static const struct {
    const char *name;
    Stub fn;
} STUBS[] = {
    {"lcc_topk", lcc_topk}, {"lcc_unique", lcc_unique},         {"lcc_nms", lcc_nms},
    {"lcc_det", lcc_det},   {"lcc_mt_uniform", lcc_mt_uniform},
};

static Stub stub_find(Str name) {
    for (size_t i = 0; i < sizeof STUBS / sizeof *STUBS; i++)
        if (!strcmp(STUBS[i].name, name))
            return STUBS[i].fn;
    return NULL;
}

static void arg_of(lcc_arg *a, const Tensor *t) {
    memset(a, 0, sizeof *a);
    a->rank = -1;
    if (!t)
        return;
    a->data = t->data;
    a->count = t->count;
    a->rank = t->rank;
    a->type = type_onnx(t->type);
    memcpy(a->dims, t->dim, sizeof a->dims);
}

/* Is the extent one the call finds out? */
static bool is_result(const Call *c, const Expr *e) {
    for (int i = 0; e->op == OP_SYM && i < c->result.len; i++)
        if (c->result.at[i] == e->u.sym)
            return true;
    return false;
}

/* Room for an output: its extents, unknown ones as -1; as many elements as its bound allows. */
static bool out_arg(Eval *ev, const Call *c, const Buf *b, lcc_arg *a) {
    int64_t count = 1, bound, dim[RANK_MAX] = {0};
    bool open = false;
    for (int k = 0; k < b->rank; k++) {
        if (is_result(c, b->dim[k])) {
            dim[k] = -1;
            open = true;
        } else if (!eval_int(ev, b->dim[k], &dim[k]) || !mul_ok(count, dim[k], &count)) {
            return false;
        }
    }
    if (!open) {
        arg_of(a, eval_make(ev, b, true));
        return a->rank >= 0;
    }
    if (!b->bound || !eval_int(ev, b->bound, &bound))
        return eval_fail(ev, &c->loc, "'%s' has no bound", b->name);
    Tensor *t = tensor_new(ev, type_dtype(b->type), 1, &bound);
    arg_of(a, t);
    a->rank = b->rank;
    memcpy(a->dims, dim, sizeof dim);
    return t != NULL;
}

/* The symbols the call sets, and the outputs whose extents hang on them. */
static bool take_results(Eval *ev, const Call *c, const lcc_arg *out) {
    for (int i = 0; i < c->out.len; i++)
        for (int k = 0; k < c->out.at[i]->rank; k++) {
            const Expr *e = c->out.at[i]->dim[k];
            if (!is_result(c, e))
                continue;
            if (out[i].dims[k] < e->u.sym->min || out[i].dims[k] > e->u.sym->max)
                return eval_fail(ev, &c->loc, "%s found an extent of %lld", c->fn,
                                 (long long)out[i].dims[k]);
            eval_set(ev, e->u.sym, out[i].dims[k]);
        }
    for (int i = 0; i < c->out.len; i++) {
        const Buf *b = c->out.at[i];
        bool open = false;
        for (int k = 0; k < b->rank; k++)
            open |= is_result(c, b->dim[k]);
        Tensor *t = open ? eval_make(ev, b, true) : NULL;
        if (open && !t)
            return false;
        if (open)
            memcpy(t->data, out[i].data, (size_t)t->count * (size_t)type_bytes(t->type));
    }
    return true;
}

bool eval_call(Eval *ev, const Call *c) {
    Stub fn = stub_find(c->fn);
    if (!fn)
        return eval_fail(ev, &c->loc, "there is no stub function '%s' to evaluate", c->fn);
    Ctx *ctx = ev->ctx;
    lcc_arg *in = ctx_newn(ctx, lcc_arg, c->in.len + 1), *out = ctx_newn(ctx, lcc_arg, c->out.len);
    int64_t *attr = ctx_newn(ctx, int64_t, c->attr.len);
    ConstStr *text = ctx_newn(ctx, ConstStr, c->sattr.len);
    int nin = c->in.len;
    for (int i = 0; i < nin; i++) {
        Tensor *t = c->in.at[i] ? eval_make(ev, c->in.at[i], false) : NULL;
        if (c->in.at[i] && !t)
            return false;
        arg_of(&in[i], t);
    }
    for (int i = 0; i < c->sattr.len; i++)
        text[i] = (ConstStr){c->sattr.at[i], (int64_t)strlen(c->sattr.at[i])};
    if (c->sattr.len) {
        Tensor t = {
            .type = T_STR, .rank = 1, .dim = {c->sattr.len}, .count = c->sattr.len, .data = text};
        arg_of(&in[nin++], &t);
    }
    for (int i = 0; i < c->attr.len; i++)
        if (!eval_int(ev, c->attr.at[i], &attr[i]))
            return false;
    for (int i = 0; i < c->out.len; i++)
        if (!out_arg(ev, c, c->out.at[i], &out[i]))
            return false;
    int rc = fn(in, nin, out, c->out.len, attr, c->fattr.at);
    if (rc)
        return eval_fail(ev, &c->loc, "%s gives code %d", c->fn, rc);
    return take_results(ev, c, out);
}
