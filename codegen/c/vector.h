/* codegen/c/vector.h — shared by vector.c, lanes.c and convert.c: vectors of the C backend.
 *
 * A vector is a GNU vector of its dtype's C type (floats below 32 bits: their bits), called lcc_f32x16. A vector
 * of truths is a mask: one bit a lane on AVX-512 (lcc_m16 = uint16_t), else a vector of int32_t, 0 or -1.
 * Helpers are functions written once a file when first needed (paste_add). */
#ifndef LCC_C_VECTOR_H
#define LCC_C_VECTOR_H

#include "codegen/clike.h"

/* The C type of a vector; its typedef is asked for. */
Str vector_type(Printer *p, Dtype t, int lanes);
/* The integer type as wide as an element of t. */
Dtype bits_type(Dtype t, bool is_signed);
bool has_bit_masks(const Printer *p); /* AVX-512 */
bool has_avx(const Printer *p);       /* AVX2, FMA and F16C */
bool has_neon(const Printer *p);
/* "512" of a register of these bytes: "" for 16; NULL when the machine has no such register. */
const char *register_bits(const Printer *p, int bytes);
void need_intrinsics(Printer *p);

/* Writes a helper once: `ret name(params) { body }`. */
void helper_add(Printer *p, Str name, Str ret, Str params, const Text *body);
void helper_add_long(Printer *p, Str name, Str ret, Str params,
                     const Text *body); /* inlined where it is called once, at most */
/* A vector parameter of a helper. Vectors wider than a register go by reference, since compilers warn of what
 * they would do to the call otherwise: body then starts by reading it. */
void vec_param(Printer *p, Text *params, Text *body, Dtype t, int lanes, const char *var);
/* Opens such an argument; true: it is to be closed by '}'. */
bool vec_arg_open(Printer *p, Text *t, Dtype type, int lanes);
/* A variable or call as an argument of another helper. */
Str vec_arg(Printer *p, Dtype t, int lanes, Str value);
/* lanes.c: names of helpers, made when needed. */
Str vec_op(Printer *p, const Expr *e); /* any op, lane by lane, by its scalar spelling */
Str vec_splat(Printer *p, Dtype t, int lanes);
Str vec_ramp(Printer *p, Dtype t, int lanes);
Str vec_first(Printer *p, int lanes); /* mask of the lanes below a count */
Str vec_only(Printer *p, int lanes);  /* mask of one lane, if it is one */
Str vec_compare(Printer *p, Op op, Dtype t, int lanes);
Str vec_select(Printer *p, Dtype t, int lanes);
Str vec_reduce(Printer *p, Op op, Dtype t, int lanes); /* VADD VMAX VMIN */
Str vec_minmax(Printer *p, Op op, Dtype t, int lanes);
/* table[k % 16] of 16 f32 for each lane; they repeat after `period`, 8 or 16 */
Str vec_lookup(Printer *p, int lanes, int period);
/* Every second f32 from an address on, by instruction, nothing behind the last one touched; NULL: no such. */
Str vec_every_second(Printer *p, int lanes);
/* strided.c: the same of every third or fourth element of any type. */
Str vec_every_nth(Printer *p, Dtype t, int lanes, int step);
/* access: "load" "store" of bool; "loads" "stores": strided; "gather" "scatter"; with mask. */
Str vec_access(Printer *p, const char *how, Dtype t, int lanes, bool masked);
/* One element for the lanes of a mask, 0 for the others: (p, mask). NULL: by a gather. */
Str vec_one(Printer *p, Dtype t, int lanes);
/* A whole contiguous vector of f32 past the caches where it is aligned, by instruction; NULL: no such. */
Str vec_stream(Printer *p, int lanes);
/* vector.c: the instruction on variables a and b, which gives b when either is NaN; NULL when there is none. */
Str vec_minmax_simd(Printer *p, Op op, Dtype t, int lanes);
void print_address(Printer *p, const Buf *b, const Expr *index); /* x + index */
/* instrs.c */
void print_dot(Printer *p, const Expr *e); /* DOT4, DOT2 */
/* convert.c */
Str vec_cast(Printer *p, Op op, Dtype from, Dtype to, int lanes);

#endif
