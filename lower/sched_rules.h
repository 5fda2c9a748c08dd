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
/* Fills the schedule when class and guard fit and a tile exists; else t->why says what does not. `tile` NULL: the
 * best one by the rule's own measure. */
bool rule_match(Lower *lo, const Kernel *k, const Rule *rule, const Tile *tile, Sched *out,
                RuleTry *t);

/* sched_record.c: for a kernel that has no schedule yet. */
SchedChoice *choice_new(Lower *lo, const Kernel *k, Str key);

/* sched_tune.c: what a tune file says of one kernel. */
typedef struct TuneLine {
    Str key, rule, names[2];
    Tile tile;
    int line;
    bool used;
} TuneLine;
typedef struct TuneList {
    TuneLine *at; /* a VEC */
    int len, cap;
    int others; /* lines for other machines */
} TuneList;
/* The lines of opt->tune_file for this machine. False: a line is malformed, reported. */
bool tune_read(Lower *lo, TuneList *list);
/* NULL: none. The lines with that key count as used. */
const TuneLine *tune_find(const TuneList *list, Str key);
/* Says how many lines fitted no kernel. */
void tune_unused(Lower *lo, const TuneList *list);
/* sched_lanes.c: as `nested`, with vectors along what is contiguous; NULL when there is nothing of the kind. */
Sched *schedule_lanes(Lower *lo, const Kernel *k, bool cut);
/* sched_parallel.c: with --threads, marks the outer loops of nests that are worth it. */
void schedule_parallel(Lower *lo, Kernel *k);
bool parallel_pays(const Lower *lo, const Kernel *k); /* is some nest worth it? */

#endif
