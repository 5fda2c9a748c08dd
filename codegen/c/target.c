/* codegen/c/target.c — the C backend's record: machines, rules, and what it can spell. */
#include "codegen/codegen.h"
#include "embed.h"

#define TILES(...)                                                                                 \
    { __VA_ARGS__ }
static const Machine MACHINES[] = {
#define MACHINE(name, isa, cflags, attr, vec, nreg, mr, nr, kc, l1, l2, fma)                       \
    {name, isa, cflags, attr, vec, nreg, mr, nr, kc, l1, l2, fma},
#include "codegen/c/machines.def"
#undef MACHINE
    {.name = NULL}};

/* Every scalar op has a spelling. Of vectors only those that fill whole registers of the machine have;
 * the rest is for loop_expand to take apart. */
static bool c_spells(const Machine *mach, Op op, Type t) {
    int lanes = type_lanes(t);
    (void)op;
    return lanes == 1 || mach->vec > 0;
}

const Target target_c = {"c", MACHINES, embed_rules_sched, c_emit, c_spells};
