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
            if (!m->hidden && i-- == 0)
                return m;
    return NULL;
}

const char *target_nearest(const char *name) {
    const char *nearest = NULL;
    int best = 0;
    for (int i = 0; target_machine(i); i++) {
        int d = word_distance(name, target_machine(i)->name);
        if (!nearest || d < best) {
            nearest = target_machine(i)->name;
            best = d;
        }
    }
    return nearest;
}

bool machine_has(const Machine *m, const char *instr) {
    size_t n = strlen(instr);
    for (const char *at = m->instr; *at; at += strcspn(at, " "), at += *at == ' ')
        if (!strncmp(at, instr, n) && (at[n] == 0 || at[n] == ' '))
            return true;
    return false;
}

int machine_group(const Machine *m) {
    return machine_has(m, "dot4") ? 4 : machine_has(m, "dot2") ? 2 : 0;
}
