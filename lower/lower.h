/* lower/lower.h — from a tensor Program to a Module of flat loops, for one target.
 *
 * The passes, in order, are the rows of passes.def; pipeline.c runs them. Nothing here knows an ONNX
 * op: everything is asked of equations (kernel_class.c), of the target's tables and of its rules. */
#ifndef LCC_LOWER_H
#define LCC_LOWER_H

#include "ir/sched.h"

/* ---- targets ------------------------------------------------------------------------------------ */

/* One machine: a row of codegen/<t>/machines.def. Sizes in bytes. */
typedef struct Machine {
    const char *name;   /* "avx512"; what --target takes */
    const char *isa;    /* what the backend needs to know: "none", "avx2", "avx512" */
    const char *cflags; /* for the printed build line: "-mavx2 -mfma" */
    const char *attr;   /* for target pragmas: "avx2,fma" */
    int vec;            /* vector register in bytes; 0: no vectors */
    int nreg;           /* vector registers */
    int mr[12], nr[8];  /* register tiles to choose from, in rows and in f32 columns; 0 ends */
    int read;           /* bytes a cycle that one core gets from memory beyond L2 at best */
    int64_t l1, l2;
    bool fma;
    const char
        *instr;  /* instructions for contractions of narrow types, by the word `tensorize` knows
                          them by, separated by spaces; "": none */
    bool hidden; /* found by name, not listed */
} Machine;
bool machine_has(const Machine *m, const char *instr);
/* Products of 8-bit integers that an instruction of the machine adds at once; 0: it has none. */
int machine_group(const Machine *m);

struct Out;
typedef struct Target {
    const char *name;        /* "c" */
    const Machine *machines; /* ends with name == NULL */
    const char *rules;       /* text of rules.sched */
    bool (*emit)(Ctx *ctx, const Module *m, const Machine *mach, struct Out *out);
    /* Can the backend spell this op on this (possibly vector) type? Else its loop stays one of elements. */
    bool (*spells)(const Machine *mach, Op op, Type t);
    const char *instrs; /* text of instrs.lcc; NULL: none */
} Target;
/* codegen/backends.def; NULL when unknown. `native` is resolved by the driver from cpuid. */
const Target *target_find(const char *name, const Machine **machine);
/* All machines of all targets that are listed, in order; NULL ends. */
const Machine *target_machine(int i);
/* Machine whose name is nearest to a mistyped one. */
const char *target_nearest(const char *name);

/* ---- options ------------------------------------------------------------------------------------ */

/* --state past=present: the output takes the input's place. NULL, NULL: every output that is an input with new rows
 * behind (--state auto). */
typedef struct StateBind {
    const char *in, *out;
} StateBind;

typedef struct Options {
    const char *input, *output; /* paths; "-" = stdin / stdout */
    const char *emit;           /* "c,h" | "so" | "obj" | "exe" | "json" … as given, or NULL */
    const char *target, *prefix;
    const char *weights;   /* c string incbin file obj auto */
    double weights_growth; /* 0: the target's default */
    const char *cc;        /* C compiler for so, obj, exe */
    const char *dump, *stop_after, *start_from;
    const char *rule, *tune_file;
    bool explain; /* sched_choose records in Module.choices what it tried */
    int tune_try; /* each kernel gets candidate number tune_try (choice_candidate), where it has one */
    const char *profile; /* time each call of the entry; for `run` where the times go */
    const char *math;    /* lcc fast */
    bool o0, strict, min_ram, time, json, quiet, make_dep;
    int verbose, threads; /* threads: 0, 1: none; -1: as many as there are */
    size_t max_memory;    /* 0: from the file's size */
    VEC(StateBind) states;
    const char *flags; /* the command's flags as one text, for the header comment */
} Options;

/* ---- --rule ------------------------------------------------------------------------------------- */

/* What --rule asks for: nothing, a schedule rule of the target, or a word of rule_words.def. */
typedef enum RuleAsked {
    RULE_FREE,
    RULE_OF_TARGET,
#define REWRITE(constant, word, help) RULE_##constant,
#define BUILTIN(constant, word, help) RULE_##constant,
#include "lower/rule_words.def"
#undef REWRITE
#undef BUILTIN
} RuleAsked;
typedef struct RuleWord {
    RuleAsked asked;
    bool rewrite; /* else a schedule that is built in */
    const char *word, *help;
} RuleWord;
const RuleWord *rule_words(int *count);
const char *rule_word(RuleAsked asked); /* one of the table's */
RuleAsked rule_asked(const Options *opt);
/* The schedule that --rule asks for, of the target or built in; NULL: none, or it asks for a rewrite. */
const char *rule_schedule(const Options *opt);
/* sched_rules.c: names of the target's rules, with a blank behind each. */
void rule_names(Text *t, const Target *target);

/* ---- the pipeline ------------------------------------------------------------------------------- */

/* Runs every pass; honours opt->dump, stop_after, time. NULL after an error. */
Module *lower_program(Ctx *ctx, Program *p, const Target *target, const Machine *machine);
/* The same from a pass on, for what a text held: `m` is NULL before kernel_partition has run. Reports when
 * the pass needs more than there is. */
Module *lower_from(Ctx *ctx, const char *pass, Program *p, Module *m, const Target *target,
                   const Machine *machine);

/* State of one lowering, passed to every pass. */
typedef struct Lower {
    Ctx *ctx;
    const Target *target;
    const Machine *machine;
    Program *prog;
    Module *module; /* from kernel_partition on */
    RuleAsked rule; /* of opt, like the next three */
    bool strict, o0;
    bool
        min_ram; /* the arena counts more than time: no Winograd, no Strassen, no slots, halos only for rows */
    struct Plan *plan; /* from kernel_partition on: the main block, Defs replaced by kernels */
    double grown;      /* bytes that transforms have added to the weights */
    int nkernel;       /* for names */
    Map *notes;        /* opt->explain: Node → Str, what rewrites of equations decided about it */
    LccText *instrs;   /* loop_tile.c: the target's instructions, once read */
} Lower;
/* With what ctx->opt says, before any program. */
Lower lower_start(Ctx *ctx, const Target *target, const Machine *machine);

typedef struct Pass {
    const char *level, *name, *holds; /* what holds afterwards */
    bool (*run)(Lower *lo);
} Pass;
const Pass *pass_table(int *count);

/* ---- passes (each documented in its file) ------------------------------------------------------- */

bool graph_ports(Lower *lo);     /* every output gets a buffer of its own */
bool graph_phases(Lower *lo);    /* transposed convolutions over whole steps of their stride */
bool graph_raise(Lower *lo);     /* DequantizeLinear around a contraction leaves its sum */
bool graph_fold(Lower *lo);      /* small constant equations become constants */
bool graph_rewrite(Lower *lo);   /* graph.rules: constant factors into sums, … */
bool graph_places(Lower *lo);    /* stores at places known now become maps */
bool graph_narrow(Lower *lo);    /* reductions lose the axes they do not read */
bool graph_prune(Lower *lo);     /* what no output needs goes */
bool kernel_winograd(Lower *lo); /* 3x3 windows become contractions between transforms */
bool kernel_strassen(Lower *lo); /* products with constants become seven of quarters */
/* weights_growth.c: bytes by which transforms may still enlarge the weights; <= 0: they may not. */
double growth_room(Lower *lo);
bool kernel_lift(Lower *lo); /* maxima before what keeps their order */
bool kernel_concat(Lower *lo);
bool kernel_online(Lower *lo);
bool kernel_twins(Lower *lo);
bool kernel_inline(Lower *lo); /* maps and views go into their readers where that pays */
bool kernel_partition(
    Lower *lo); /* Items → kernels: a root and what is computed inside its loops */
bool layout_choose(Lower *lo);
/* kernel_pixels.c. Is k a 1x1 convolution between buffers of the caller, to be computed along their pixels? */
bool kernel_is_pixels(Lower *lo, const Kernel *k);
/* Such a kernel with one axis of pixels, over flat buffers (*caller: which of the caller's each stands for), under
 * k's name; NULL: k is none. */
Kernel *pixels_twin(Lower *lo, Kernel *k, Map **caller);
/* k calls the function that the twin was given. */
void pixels_lend(Ctx *ctx, Kernel *k, const Kernel *twin, const Map *caller);
bool kernel_integer(Lower *lo); /* zero points leave the sums */
bool sched_choose(Lower *lo);
bool sched_rows(Lower *lo); /* neighbouring kernels become one, a few rows between them */
/* Before there are schedules: will sched_rows make one of a and b with --min-ram? */
bool rows_likely(Lower *lo, const Kernel *a, const Kernel *b);
bool sched_copies(Lower *lo); /* a large copy becomes a part of the kernel that reads it */
/* kernel_join.c, for passes that make one kernel of two. Is b one of at[0..n)? */
bool bufs_hold(Buf *const *at, int n, const Buf *b);
/* Applies one step to k's loops and adds it to its schedule; false: it is refused. */
bool kernel_step_add(Ctx *ctx, Kernel *k, const Step *s);
/* The steps of `from`, but those of threads; loops without a Def's name are its root's. */
bool kernel_steps_add(Ctx *ctx, Kernel *k, const Kernel *from);
void module_drop_kernel(Module *m, const Kernel *k);
bool kernel_loops(Lower *lo); /* loop_build + sched_apply + loop_lower for each kernel */
bool kernel_dedup(Lower *lo);
bool host_plan(Lower *lo); /* the entry function */
Stmt *kernel_call(Lower *lo, Kernel *k);
void kernels_drop_uncalled(Lower *lo); /* those that the entry does not call any more */
bool state_bind(Lower *lo);            /* --state */
/* The output that takes the input's place; NULL: none. */
const Buf *state_output(const Program *prog, const Buf *in);
/* The dimension along which a state grows behind others over 1; then input and output lie in memory that has *room
 * rows there (INT64_MAX: not bounded). b: one of them. -1: it lies as any other tensor. */
int state_along(Ctx *ctx, const Program *prog, const Buf *b, int64_t *room);
bool memory_plan(Lower *lo);
/* Bytes an arena buffer takes, rounded up to whole cache lines. */
const Expr *memory_bytes(Ctx *ctx, const Buf *b);
/* memory_share.c: may y, which f writes, take the place of x, which nothing needs after f? With x == y: does f
 * read of y only what it has not stored yet, each element in time. */
bool func_in_place(Ctx *ctx, const Func *f, const Buf *x, const Buf *y);
/* memory_share.c, for expr_map and stmt_map: flat loads from data[0] are from data[1] instead (Buf *[2]). */
const Expr *load_other(Ctx *ctx, const Expr *e, void *data);
/* memory_check.c: an internal error when two buffers may overlap while both are needed. */
void memory_check(Ctx *ctx, const Module *m);
bool kernel_cost(Lower *lo); /* flop, macs, bytes_in, bytes_out of every Func */
/* Its work in FLOP, an instruction for integers as much as an FMA of as many lanes; -1 unknown. */
double func_work(const Func *f, const Machine *m);
/* e over DIM symbols alone, BIND symbols replaced by their values; NULL when it depends on data (loads, RUN
 * symbols) or would be too long to write out. */
const Expr *expr_over_dims(Ctx *ctx, const Expr *e);
bool const_pack(Lower *lo); /* lists the constants; those with a `where` get their packed data */

/* loop_build.c: the naive loops of a kernel (its executable meaning, = -O0). */
Func *loop_build(Ctx *ctx, Kernel *k);
/* After the schedule: tails, vectors, unrolling, flat indices, lets, expansion of what the target can't
 * spell. */
bool loop_lower(Lower *lo, Func *f);
/* sched_parallel.c: parallel loops into which later steps put what iterations share run in turn. */
bool loop_unshare(Ctx *ctx, Func *f);
bool loop_vector(Lower *lo, Func *f);
bool loop_unroll(Ctx *ctx, Func *f);
bool loop_order(Ctx *ctx, Func *f); /* sums written out by what they read */
bool loop_round(Lower *lo,
                Func *f); /* quotients that are rounded, without divisions; bounds once */
/* Parts of 1/by such that rint(fma(x, high, x*low)) is rint(x/by) for every float x; false: none were found. */
bool divide_parts(double by, float *high, float *low);
bool loop_prefetch(Lower *lo, Func *f); /* weights of the next panel */
bool loop_flatten(Ctx *ctx, Func *f);
/* layout_choose.c: writes the fill around a buffer that has a halo, each element once. */
Stmt *loop_border(Ctx *ctx, Buf *b);
/* Gives b its dimvar, where and size: the dimensions in order, or dimension 1 innermost; before[d] and behind[d]
 * elements around dimension d, and `room` more behind each innermost row. */
void buf_store_in(Ctx *ctx, Buf *b, bool channels_last, const int64_t *before,
                  const int64_t *behind, int64_t room);
/* layout_temps.c: the order of what the kernel keeps for itself. */
void layout_temps(Ctx *ctx, const Kernel *k);
/* Offset in elements of a logical index: b->where, or row-major. */
const Expr *buf_offset(Ctx *ctx, const Buf *b, const Expr *const *index);
bool loop_let(Ctx *ctx, Func *f);

/* ---- how schedules were chosen (opt->explain) ---------------------------------------------------------- */

/* Rows and lanes of a register tile, and the cycles the cost model predicts for the kernel; -1: its extents are
 * not known. */
typedef struct Tile {
    int64_t m, n, score;
    double cycles;
} Tile;
enum { TILES_KEPT = 6 };
/* One rule on one kernel. */
typedef struct RuleTry {
    Str rule, why;    /* why it does not fit; NULL: it does */
    bool other_class; /* because it is for other classes of kernels */
    Str names[2];     /* of the tile's numbers in the rule; NULL: it chooses none */
    int ntile;
    Tile tile[TILES_KEPT]; /* the best ones, best first */
} RuleTry;
typedef struct SchedChoice {
    Str key;            /* of its lines in a tune file: a hash of the loops before any schedule */
    Str notes;          /* of rewrites before; "": none */
    Str kind, roles;    /* its class and the roles of its axes, as text */
    VEC(RuleTry) tries; /* in the order of the rules; those behind the first that fits, too */
    int chosen;         /* the try that became the schedule; -1: what is built in */
    Tile tile;          /* its tile; m == 0: none */
    Str tuned;          /* the line of the tune file that decided; NULL */
} SchedChoice;
/* Adds to what explain says about a node; nothing unless opt->explain. */
void lower_note(Lower *lo, const Node *n, Str text);
/* What sched_choose recorded; NULL: nothing. */
const SchedChoice *kernel_choice(const Module *m, const Kernel *k);
/* Candidate i of those worth timing, 0 being what the rules choose. False: there are not so many. */
bool choice_candidate(const SchedChoice *c, int i, const RuleTry **rule, const Tile **tile);
/* sched_tune.c: "tune KEY TARGET rule=NAME MR=6 NR=16". */
Str tune_line(Ctx *ctx, const SchedChoice *c, const char *target, const RuleTry *rule,
              const Tile *tile);
/* kernel_dedup.c: 16 hex digits, equal for functions that differ in names only. */
Str func_key(Ctx *ctx, const Func *f);

/* How many leading axes of the kernel's root an inner Def shares (so that it can be computed inside the
 * root's loops at that depth, each element once). -1 when d is the root or of another kernel. */
int kernel_attach(Ctx *ctx, const Kernel *k, const Def *d);
/* Leading axes that every load of b in the reader takes from the reader's own axes, by position. */
int def_prefix(Ctx *ctx, const Def *reader, const Buf *b);
/* The Def whose loops enclose all others: the last one (none in a scan group). */
Def *kernel_root(const Kernel *k);
/* Buffers and symbols the kernel's Defs mention: fills ins, outs, temps, syms, nodes. */
void kernel_close(Ctx *ctx, Kernel *k);
/* The normal form of kernel_close.c: reductions below a root that maps them, partial sums as an axis. */
void kernel_normalise(Ctx *ctx, Kernel *k);
/* A reduction that would be stored computes a temporary instead; the map that copies it out is returned and
 * belongs behind it. */
Def *def_wrap(Ctx *ctx, Def *d);
/* A name as a word of the schedule text: letters, digits, _; at most 32 of them; a longer one ends in its
 * hash. */
Str step_name(Ctx *ctx, Str name);
Str kernel_name(Ctx *ctx, const Kernel *k, int number);
/* Product of the extents of d's axes, symbols estimated (lower/uses.c). */
double def_volume(Ctx *ctx, const Def *d, bool with_red);
/* A reduction of products whose operands are each reused along some output axis. */
bool def_is_contraction(Ctx *ctx, const Def *d);

#endif
