/* lcc targets: the machines to compile for, the best one for this processor marked. */
#include "driver/driver.h"

#include <string.h>

static void numbers_json(Text *t, const char *name, const int *list, int most) {
    text_f(t, ", \"%s\": [", name);
    for (int i = 0; i < most && list[i]; i++)
        text_f(t, i ? ", %d" : "%d", list[i]);
    text_c(t, ']');
}

/* The row of machines.def. */
static void target_json(Text *t, const Machine *m, int i, bool best) {
    text_f(t,
           "%s\n  {\"name\": \"%s\", \"cflags\": \"%s\", \"vector_bytes\": %d, \"registers\": %d",
           i ? "," : "", m->name, m->cflags, m->vec, m->nreg);
    numbers_json(t, "tile_rows", m->mr, (int)(sizeof m->mr / sizeof m->mr[0]));
    numbers_json(t, "tile_lanes", m->nr, (int)(sizeof m->nr / sizeof m->nr[0]));
    text_f(t, ", \"fma\": %s, \"read\": %d, \"l1\": %lld, \"l2\": %lld, \"native\": %s}",
           m->fma ? "true" : "false", m->read, (long long)m->l1, (long long)m->l2,
           best ? "true" : "false");
}

static void target_line(Text *t, const Machine *m, bool best) {
    text_f(t, "%-12s", m->name);
    if (m->vec)
        text_f(t, "%d registers of %d bytes%s, L1 %lld KiB, L2 %lld KiB; ", m->nreg, m->vec,
               m->fma ? ", FMA" : "", (long long)m->l1 >> 10, (long long)m->l2 >> 10);
    text_f(t, "%s%s\n",
           !m->vec      ? "ISO C99, any compiler"
           : *m->cflags ? m->cflags
                        : "no flags",
           best ? "  (native)" : "");
}

int verb_targets(Args *a) {
    const Machine *m;
    const char *native = native_machine();
    if (a->words.len) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "targets takes no argument");
        return EXIT_USAGE;
    }
    Text t = text_new(a->ctx);
    text_s(&t, a->json ? "{\"schema\": 1, \"targets\": [" : "");
    for (int i = 0; (m = target_machine(i)); i++) {
        bool best = !strcmp(m->name, native);
        if (a->json)
            target_json(&t, m, i, best);
        else
            target_line(&t, m, best);
    }
    text_s(&t, a->json ? "]}\n" : "");
    if (a->json)
        json_write(a, &t);
    else
        file_write(a->ctx, "-", t.at, t.len);
    return a->ctx->diag.exit_code;
}
