/* lcc check --per-node: every value between inputs and outputs becomes an output of the program, and the
 * reference evaluator says what it should be, before lowering changes the program.
 *
 *   t = a * b ; y = max(t, 0) → y    becomes    → y, t
 *
 * Values inside branches and loops are not looked at: they are many or none. */
#include "driver/check.h"

#include <string.h>

static OnnxTensor from_eval(Ctx *ctx, const Tensor *t) {
    OnnxTensor o = tensor_make(ctx, t->type, t->rank, t->dim);
    memcpy((void *)(uintptr_t)o.data, t->data, o.nbytes);
    return o;
}

static bool evaluate(Args *a, const Program *p, const OnnxTensor *in, const int64_t *dims,
                     Eval *ev) {
    for (int i = 0; i < p->dims.len; i++)
        eval_set(ev, p->dims.at[i], dims[i]);
    for (int i = 0; i < p->inputs.len; i++) {
        Tensor *t = ctx_new(a->ctx, Tensor);
        *t = (Tensor){.type = type_from_onnx(in[i].type),
                      .rank = in[i].rank,
                      .count = in[i].count,
                      .data = (void *)(uintptr_t)in[i].data};
        memcpy(t->dim, in[i].dims, (size_t)in[i].rank * sizeof *t->dim);
        eval_bind(ev, p->inputs.at[i].buf, t);
    }
    a->ctx->pass = "eval";
    return eval_block(ev, p->main);
}

static bool is_port(const Program *p, const Buf *b) {
    for (int i = 0; i < p->outputs.len; i++)
        if (p->outputs.at[i].buf == b)
            return true;
    return false;
}

void inners_mark(Args *a, Program *p, Inners *list, bool outputs) {
    int n = p->outputs.len;
    for (int i = 0; i < p->main->items.len; i++) {
        const Item *it = p->main->items.at[i];
        Buf *b = it->kind == ITEM_DEF ? it->def->buf : NULL;
        if (!b || b->space != SPACE_ARENA || is_port(p, b))
            continue;
        Port port = {b->name, b, NULL};
        Inner x = {b->name, it->def->origin, b, p->outputs.len};
        b->space = SPACE_OUTPUT;
        vec_push(a->ctx, &p->outputs, port);
        vec_push(a->ctx, list, x);
    }
    for (int i = 0; outputs && i < n; i++) {
        Inner x = {p->outputs.at[i].name, NULL, p->outputs.at[i].buf, i};
        vec_push(a->ctx, list, x);
    }
}

OnnxValue *inners_eval(Args *a, const Program *p, const OnnxTensor *in, const int64_t *dims,
                       const Inners *list) {
    Eval *ev = eval_new(a->ctx);
    OnnxValue *want = ctx_newn(a->ctx, OnnxValue, list->len);
    if (!evaluate(a, p, in, dims, ev))
        return NULL;
    for (int i = 0; i < list->len; i++) {
        Tensor *t = eval_tensor(ev, list->at[i].buf);
        if (t)
            want[i].tensor = from_eval(a->ctx, t);
    }
    return want;
}
