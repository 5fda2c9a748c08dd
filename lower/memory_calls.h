/* lower/memory_calls.h — the entry's calls as memory_plan sees them. */
#ifndef LCC_MEMORY_CALLS_H
#define LCC_MEMORY_CALLS_H

#include "lower/lower.h"

/* Bytes of an arena buffer, at the sample where they depend on dims; -1: known only while running. */
int64_t memory_sample(const Lower *lo, const Buf *b);
/* The param that is the kernel's root; -1: none. */
int func_root(const Func *f);
/* May the root take the place of param i? Asked once: `known` is Func → answers, by param. */
bool func_hands_over(Ctx *ctx, Map *known, const Func *f, int i);
/* Puts runs of calls of the entry into an order in which less is needed at one time; returns the entry's body as it
 * was (its Stmts were copied), NULL when nothing changed. */
Stmt *calls_reorder(Lower *lo, Map *in_place);

#endif
