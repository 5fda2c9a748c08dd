/* lower/kernel_class.h — what a kernel is, for the rules: its class and the roles of its axes, read from the
 * equations alone. */
#ifndef LCC_KERNEL_CLASS_H
#define LCC_KERNEL_CLASS_H

#include "lower/lower.h"

struct Uses; /* lower/uses.h */
typedef VEC(Def *) DefList;

typedef enum KernelClass {
    CLASS_CONTRACTION, /* a reduction of products with reuse along both operands */
    CLASS_WINDOW,      /* the same, an operand read at axis + window */
    CLASS_REDUCTION,   /* any other reduction */
    CLASS_MAP,         /* no reduction */
    CLASS_SCAN,        /* a scan group */
    CLASS_UPDATE,      /* stores at computed places */
    CLASS_CHAIN        /* a contraction of rows that come from another one, in its loops */
} KernelClass;
const char *class_name(KernelClass c);

enum { CASES_MAX = 2 };

/* Axes are numbers of `acc`'s axes. The rows (m) and lanes (n) are the register tile; lanes are contiguous
 * in the root's buffer. */
typedef struct Roles {
    KernelClass kind;
    Def *acc, *root; /* the reduction that does the work, and the root; acc NULL in a map */
    int m, n;        /* -1: none */
    int outer[RANK_MAX], nouter;        /* output axes that are neither, outermost first */
    int red[RANK_MAX * 2], nred;        /* RED axes in their order */
    const Expr *lanes_load, *rows_load; /* the LOAD that uses n; the one that uses m (NULL: none) */
    bool lanes_contiguous;              /* lanes_load has stride 1 along n */
    /* of a map: axes that decide cases of its value, alike every `period` steps, and the others of `outer` */
    int cases[CASES_MAX], ncases, plain[RANK_MAX], nplain;
    bool whole; /* the periods divide the extents */
    bool pairs; /* of a map: its lanes are even and odd ones, each contiguous somewhere */
    int64_t period[CASES_MAX];
    int gather;  /* of a map: the axis along which it loads from computed places; -1: none */
    bool pieces; /* of a map: lanes lie side by side once their axis is cut (partition) */
    int cut; /* of a map: its rows and lanes are a transposition in each piece of this axis; -1: none */
    int nflat;    /* of a map: so many of the last of `outer` are one axis with the lanes */
    int64_t flat; /* of so many elements; 0: none does */
    int64_t part; /* of a map: lanes lie side by side within parts of this many; 0: all do */
    /* of a window: the rows' operand is read at m*step[1] + sum and high*step[0] + sum, `high` one of `outer` */
    int high, across[2];      /* across: the RED axes of the sums, that of m behind; -1: none */
    int64_t step[2], span[2]; /* span: of the indices one element reads, both ends included */
    int64_t pitch;            /* elements from one such value to the next */
    bool apart;               /* every lane sums its own values (depthwise) */
    int k; /* RED axis along which groups of a narrow product lie side by side; -1: none */
    unsigned groups; /* sizes of the groups that fit, ored: 4, 2 */
    Def *tree;       /* adds up acc's partial sums, acc's last axis `ways`; NULL: there are none */
    int ways;
    /* of a chain; acc and root are those of the contraction at its end */
    Def *mid, *first, *dot; /* the rows acc reads; the map of the first contraction, and that one */
    DefList stats;          /* computed for one row of mid, from first on */
    DefList sums, wides;    /* of them the partial sums; mid and what is as wide */
    DefList panels, leads;  /* operands of dot: for all rows, for a block of rows */
    /* of a scan group; acc is the largest sum, wides are its other maps */
    DefList tiles, dots; /* the maps of its sums, and those */
} Roles;
void kernel_roles(Ctx *ctx, const Kernel *k, Roles *r);

/* sched_partition.c: the places within an axis of n from which on integer indices and conditions in an
 * expression take another form. */
enum { CUTS_MAX = 8 };
typedef struct Cuts {
    int64_t at[CUTS_MAX]; /* ascending */
    int n;
    bool many; /* there are more */
    bool
        surely; /* given: also where a condition begins to hold whatever else it depends on, or not to */
} Cuts;
void expr_cuts(Ctx *ctx, const Expr *e, Sym *var, int64_t n, Cuts *c); /* adds those of e */
/* e on part i, from one cut to the next, counted from 0 by the new axis. */
const Expr *expr_piece(Ctx *ctx, const Expr *e, Sym *var, const Cuts *c, int i, int64_t n,
                       Sym **piece);

/* kernel_flat.c. Lanes of a map's vectors by the widest type it computes with, along n or also `flat`; 0: no faster
 * than a loop. */
int map_lanes(const Lower *lo, const Roles *r, bool flat);
/* Sets nflat; the elements of all those axes. */
int64_t map_flat(Ctx *ctx, Roles *r);

/* kernel_scan.c. Gives the sums of products with constants in a scan group maps of their own. */
void scan_normalise(Lower *lo, Kernel *k);
void scan_roles(Ctx *ctx, const Kernel *k, Roles *r);
Def *sum_of(const Kernel *k, const Def *map); /* the sum that a map copies; NULL */
const Expr *sum_lanes(const Def *sum);        /* the load of its constant operand; NULL */

/* kernel_chain.c. Is d an f32 product summed over one axis, all extents constant, rows and columns its last two
 * axes? */
bool chain_contraction(Ctx *ctx, const Def *d);
/* Its operand whose rows a chain may compute: read at d's own axes, the last one summed; NULL. */
const Buf *chain_middle(Ctx *ctx, const Def *end);
/* The Defs of the program that a contraction draws into its kernel: Def → that contraction. */
Map *chain_find(Lower *lo, struct Uses *uses);
/* The contraction at the start of a kernel's chain, or NULL. */
Def *chain_start(Ctx *ctx, const Kernel *k);
/* Gives it a map of its own and an operand whose columns lie side by side. */
void chain_normalise(Lower *lo, Kernel *k);
/* chain_pad.c: whole vectors of columns; score is the map of the first contraction, dot. */
void chain_pad(Lower *lo, Kernel *k, Def *dot, Def *score);
/* Fills what Roles says of a chain; false when k is none. */
bool chain_roles(Ctx *ctx, const Kernel *k, Roles *r);

enum {
    WAYS_MIN = 4,
    CHAINS =
        4, /* vectors of partial sums beside each other, so that none waits for the one before */
};
/* kernel_line.c: a reduction over a line of the caller's is over one axis. */
void kernel_line(Lower *lo, Def *d);
/* kernel_ways.c: partial sums for sums of products that have no lanes. */
void kernel_ways(Lower *lo, Kernel *k);

/* The axis of a Buf that is contiguous in storage: its last, or what `where` says; -1 when none is. */
int buf_inner_axis(Ctx *ctx, const Buf *b);

/* kernel_integer.c: a product of 8-bit integers, (i32(x) + cx)*(i32(w) + cw): x and w LOADs, w of a constant. */
typedef struct Narrow8 {
    const Expr *x, *w;
    int64_t cx, cw;
} Narrow8;
bool narrow_product(const Expr *value, Narrow8 *n);
bool narrow_match(const Def *d, Narrow8 *n);      /* a sum of such products? */
bool tile_product(const Expr *value, Narrow8 *n); /* the same of bf16 in f32: f32(x)*f32(w) */
/* Sizes of groups (4, 2, ored) for which the product is as kernel_integer leaves it; 0: it is not. */
unsigned narrow_groups(const Narrow8 *n);

#endif
