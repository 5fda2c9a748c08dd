/* codegen/target.c — finding a target by the name of one of its machines. */
#include "codegen/codegen.h"

#include <string.h>

static const Target *const TARGETS[] = {
#define BACKEND(symbol) &symbol,
#include "codegen/backends.def"
#undef BACKEND
};
enum { NTARGET = sizeof TARGETS / sizeof *TARGETS };

const Target *target_find(const char *name, const Machine **machine) {
    for (int i = 0; i < NTARGET; i++)
        for (const Machine *m = TARGETS[i]->machines; m->name; m++)
            if (strcmp(m->name, name) == 0) {
                *machine = m;
                return TARGETS[i];
            }
    return NULL;
}

const Machine *target_machine(int i) {
    for (int t = 0; t < NTARGET; t++)
        for (const Machine *m = TARGETS[t]->machines; m->name; m++)
            if (i-- == 0)
                return m;
    return NULL;
}

/* Edit distance of two short names; what is past LONGEST bytes does not count. */
static int name_distance(const char *a, const char *b) {
    enum { LONGEST = 32 };
    int row[LONGEST + 1];
    int na = (int)strlen(a), nb = (int)strlen(b);
    na = na < LONGEST ? na : LONGEST;
    nb = nb < LONGEST ? nb : LONGEST;
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[nb];
}

const char *target_nearest(const char *name) {
    const char *nearest = NULL;
    int best = 0;
    for (int i = 0; target_machine(i); i++) {
        int d = name_distance(name, target_machine(i)->name);
        if (!nearest || d < best) {
            nearest = target_machine(i)->name;
            best = d;
        }
    }
    return nearest;
}
