/* lower/sched_rules.h — schedule rules: parsed from a target's rules.sched, matched against kernels. */
#ifndef LCC_SCHED_RULES_H
#define LCC_SCHED_RULES_H

#include "lower/kernel_class.h"

typedef struct Rule {
    Str name;
    unsigned classes; /* bit 1 << KernelClass */
    Str when;         /* NULL: always */
    Str choose[2];    /* names of the tile's rows and columns; NULL: no choice */
    Str where, minimizing;
    Str steps;
} Rule;
typedef VEC(Rule) RuleList;

RuleList rules_parse(Ctx *ctx, const char *text);
/* Fills the schedule when class and guard fit and a tile exists; else *why says what does not. */
bool rule_match(Lower *lo, const Kernel *k, const Rule *rule, Sched *out, Str *why);
/* sched_lanes.c: as `nested`, with vectors along what is contiguous; NULL when there is nothing of the kind. */
Sched *schedule_lanes(Lower *lo, const Kernel *k);

#endif
