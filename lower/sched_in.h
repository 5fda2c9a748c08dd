/* lower/sched_in.h — shared by the files that apply schedule steps. */
#ifndef LCC_SCHED_IN_H
#define LCC_SCHED_IN_H

#include "lower/lower.h"

#define REG_ALIGN                                                                                  \
    16 /* elements: rows of a register tile start at a multiple of the widest vector */

typedef VEC(Stmt *) LoopList;

/* Every loop of that name, outer ones first. */
LoopList loops_find(Ctx *ctx, const Func *f, const LoopRef *ref);
/* Sets *why; returns false. */
bool step_fails(Ctx *ctx, Str *why, const char *fmt, ...) LCC_PRINTF(3, 4);

/* sched_loops.c: iterations base … base+extent-1 of a loop as one of its own, from 0; the body is copied. */
Stmt *loop_piece(Ctx *ctx, const Stmt *s, Str label, const Expr *extent, const Expr *base);
/* The kernel's Def of that name; NULL. */
Def *kernel_def(const Kernel *k, Str name);
/* sched_place.c: the box of b that a body reads, in each dimension from lo to hi, all loops inside run through.
 * How many loads there are; -1: no bounds are known. */
int loop_region(Ctx *ctx, const Buf *b, const Stmt *body, const Expr **lo, const Expr **hi);
/* sched_store.c: do the loop and those around it go through all of b, a box an iteration, from lo to hi? */
bool loop_covers(Ctx *ctx, const Func *f, const Buf *b, const Stmt *loop, const Expr **lo,
                 const Expr **hi);
/* Does each iteration of the loop store `block` entries along a dimension of b that follow those before? */
bool loop_stores_rows(Ctx *ctx, const Buf *b, const Stmt *loop, int dim, int64_t block);
/* sched_slide.c: do loops of these nests run in turn because something slides in them? */
bool nests_slide(const Stmt *s);
/* One function a row of steps.def; false with *why when the step does not apply. */
typedef bool StepFn(Ctx *ctx, Func *f, const Step *step, Str *why);
StepFn sched_split, sched_fuse, sched_reorder, sched_unroll, sched_vectorize, sched_parallel,
    sched_compute_at, sched_store_at, sched_stream, sched_slide, sched_chunk, sched_stage,
    sched_pack, sched_tensorize, sched_partition;
/* May a loop run past its extent up to a multiple of `by`, since what it adds there is zero? */
bool loop_may_overrun(Ctx *ctx, const Stmt *loop, int64_t by);
/* Marks the loop of `group` products inside a loop of lanes; false with *why when there is none. */
bool loop_takes_dot(const Stmt *loop, int group, Str *why, Ctx *ctx);
/* Marks the loops of a tile, from m inwards, for tile_bf16; false when they are none. */
bool loop_takes_tile(Stmt *m);
/* The call of tile_bf16 that marked loops inside a loop of steps amount to; NULL when they do not. */
Stmt *loop_tile(Lower *lo, Stmt *steps);
/* What sets up the tiles stands around the body of a function that uses them. */
void loop_tile_state(Lower *lo, Func *f);
/* The store of a dot4 or dot2 that two nested vector loops amount to; NULL when they do not. */
Stmt *loop_dot(Lower *lo, const Stmt *outer);

#endif
