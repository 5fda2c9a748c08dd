/* lcc targets: the machines to compile for, the best one for this processor marked. */
#include "driver/driver.h"

#include <string.h>

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
            text_f(&t,
                   "%s\n  {\"name\": \"%s\", \"cflags\": \"%s\", \"vector_bytes\": %d, \"native\": "
                   "%s}",
                   i ? "," : "", m->name, m->cflags, m->vec, best ? "true" : "false");
        else
            text_f(&t, "%-12s%s%s\n", m->name, m->vec ? m->cflags : "ISO C99, any compiler",
                   best ? "  (native)" : "");
    }
    text_s(&t, a->json ? "]}\n" : "");
    if (a->json)
        json_write(a, &t);
    else
        file_write(a->ctx, "-", t.at, t.len);
    return a->ctx->diag.exit_code;
}
