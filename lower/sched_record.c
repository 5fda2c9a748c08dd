/* What sched_choose tried for a kernel, as data for `lcc explain` and --tune.
 *
 *   kernel { y = add(k<64) x[m,k]*w[k,n] }   →   class contraction, roles "rows m 1, lanes n 32 of w …" */
#include "lower/sched_rules.h"

#include <string.h>

static void axis_text(Text *t, const char *what, const Def *d, int axis) {
    if (axis < 0)
        return;
    text_f(t, "%s%s %s < %s", t->len ? ", " : "", what, d->axis[axis].var->name,
           expr_str(t->ctx, d->axis[axis].var->extent));
}

static Str roles_text(Ctx *ctx, const Roles *r) {
    Text t = text_new(ctx);
    const Def *d = r->acc ? r->acc : r->root;
    axis_text(&t, "rows", d, r->m);
    axis_text(&t, "lanes", d, r->n);
    for (int i = 0; i < r->nred; i++)
        axis_text(&t, "sum", d, r->red[i]);
    for (int i = 0; i < r->nouter; i++)
        axis_text(&t, "outer", d, r->outer[i]);
    if (r->lanes_load)
        text_f(&t, "; lanes from %s (%s%s)",
               r->lanes_load->u.buf->name ? r->lanes_load->u.buf->name : "?",
               r->lanes_load->u.buf->space == SPACE_CONST ? "constant, " : "",
               r->lanes_contiguous ? "side by side" : "apart");
    if (r->rows_load)
        text_f(&t, "; rows from %s", r->rows_load->u.buf->name ? r->rows_load->u.buf->name : "?");
    return str(ctx, t.at ? t.at : "");
}

void lower_note(Lower *lo, const Node *n, Str text) {
    if (!n || !lo->ctx->opt || !lo->ctx->opt->explain)
        return;
    if (!lo->notes)
        lo->notes = map_new(lo->ctx);
    Str before = map_get(lo->notes, n);
    map_put(lo->notes, n,
            (void *)(uintptr_t)(before ? str_f(lo->ctx, "%s; %s", before, text) : text));
}

SchedChoice *choice_new(Lower *lo, const Kernel *k, Str key) {
    SchedChoice *c = ctx_new(lo->ctx, SchedChoice);
    Roles r;
    kernel_roles(lo->ctx, k, &r);
    c->key = key;
    c->kind = str(lo->ctx, class_name(r.kind));
    c->roles = roles_text(lo->ctx, &r);
    c->chosen = -1;
    Text notes = text_new(lo->ctx);
    for (int i = 0; lo->notes && i < k->nodes.len; i++) {
        Str note = map_get(lo->notes, k->nodes.at[i]);
        if (note)
            text_f(&notes, "%s%s", notes.len ? "; " : "", note);
    }
    c->notes = str(lo->ctx, notes.at ? notes.at : "");
    return c;
}

const SchedChoice *kernel_choice(const Module *m, const Kernel *k) {
    return m->choices ? map_get(m->choices, k) : NULL;
}

/* Three tiles of the rule that was chosen, the best of each other rule that fits, then more tiles. */
bool choice_candidate(const SchedChoice *c, int i, const RuleTry **rule, const Tile **tile) {
    enum { FIRST_TILES = 3 };
    const RuleTry *best = c->chosen < 0 ? NULL : &c->tries.at[c->chosen];
    int tiles = !best ? 0 : best->ntile ? best->ntile : 1, at = i;
    int first = tiles < FIRST_TILES ? tiles : FIRST_TILES;
    *rule = best;
    if (i >= first) {
        at -= first;
        for (int r = 0; r < c->tries.len; r++)
            if (r != c->chosen && !c->tries.at[r].why && at-- == 0) {
                *rule = &c->tries.at[r];
                *tile = (*rule)->ntile ? &(*rule)->tile[0] : NULL;
                return true;
            }
        at += first;
    }
    if (!best || at >= tiles)
        return false;
    *tile = best->ntile ? &best->tile[at] : NULL;
    return true;
}
