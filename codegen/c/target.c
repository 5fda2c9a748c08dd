/* codegen/c/target.c — the C backend's record: machines, rules, and what it can spell. */
#include "codegen/codegen.h"
#include "embed.h"

#define TILES(...)                                                                                 \
    { __VA_ARGS__ }
static const Machine MACHINES[] = {
#define MACHINE(name, isa, cflags, attr, vec, nreg, mr, nr, read, l1, l2, fma)                     \
    {name, isa, cflags, attr, vec, nreg, mr, nr, read, l1, l2, fma, "", false},
#define MACHINE_WITH(name, isa, cflags, attr, vec, nreg, mr, nr, read, l1, l2, fma, instr)         \
    {name, isa, cflags, attr, vec, nreg, mr, nr, read, l1, l2, fma, instr, false},
#define NARROW(name, isa, cflags, attr, vec, nreg, mr, nr, read, l1, l2, fma, instr)               \
    {name, isa, cflags, attr, vec, nreg, mr, nr, read, l1, l2, fma, instr, true},
#include "codegen/c/machines.def"
#undef MACHINE
#undef MACHINE_WITH
#undef NARROW
    {.name = NULL}};

/* Every scalar op has a spelling. Vectors are GNU vectors: a power of two of lanes; what has no instruction goes
 * lane by lane in a helper. */
static bool c_spells(const Machine *mach, Op op, Type t) {
    int lanes = type_lanes(t);
    char kind = type_kind(type_dtype(t));
    if (lanes == 1)
        return true;
    if (op == OP_DOT4)
        return machine_has(mach, "dot4") && 4 * lanes == mach->vec;
    if (op == OP_DOT2)
        return machine_has(mach, "dot2") && 4 * lanes == mach->vec;
    return mach->vec > 0 && (lanes & (lanes - 1)) == 0 && lanes <= 64 && kind != 'S' && kind != 'C';
}

const Target target_c = {"c", MACHINES, embed_rules_sched, c_emit, c_spells, embed_instrs_lcc};
