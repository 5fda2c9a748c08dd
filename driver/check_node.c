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

static bool evaluate(Args *a, const Compiled *c, const OnnxTensor *in, const int64_t *dims,
                     Eval *ev) {
    const Program *p = c->prog;
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

bool inners_eval(Args *a, Compiled *c, const OnnxTensor *in, const int64_t *dims, Inners *list) {
    Program *p = c->prog;
    Eval *ev = eval_new(a->ctx);
    if (!evaluate(a, c, in, dims, ev))
        return false;
    for (int i = 0; i < p->main->items.len; i++) {
        const Item *it = p->main->items.at[i];
        Buf *b = it->kind == ITEM_DEF ? it->def->buf : NULL;
        Tensor *t = b ? eval_tensor(ev, b) : NULL;
        bool fresh = t && b->space == SPACE_ARENA && !is_port(p, b);
        if (!fresh || (b->ndef == 1 && b->def != it->def))
            continue;
        Port port = {b->name, b};
        Inner x = {b->name,
                   it->def->origin,
                   p->outputs.len,
                   {.kind = ONNX_TENSOR, .tensor = from_eval(a->ctx, t)}};
        b->space = SPACE_OUTPUT;
        vec_push(a->ctx, &p->outputs, port);
        vec_push(a->ctx, &list->at, x);
    }
    return true;
}
