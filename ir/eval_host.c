/* ir/eval_host.c — calls of stub functions from the evaluator. */
#include "ir/eval_in.h"

bool eval_call(Eval *ev, const Call *c) {
    return eval_fail(ev, &c->loc, "there is no stub function '%s' to evaluate", c->fn);
}
