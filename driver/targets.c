/* lcc targets: the machines to compile for, the best one for this processor marked. */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

int verb_targets(Args *a) {
    const Machine *m;
    const char *native = native_machine();
    if (a->words.len) {
        diag_error(a->ctx, EXIT_USAGE, NULL, "targets takes no argument");
        return EXIT_USAGE;
    }
    for (int i = 0; (m = target_machine(i)); i++)
        printf("%-12s%s%s\n", m->name, m->vec ? m->cflags : "ISO C99, any compiler",
               strcmp(m->name, native) ? "" : "  (native)");
    return EXIT_OK;
}
