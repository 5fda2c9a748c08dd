/* codegen/c/emit.h — shared by the files of the C backend; nobody else includes it. */
#ifndef LCC_C_EMIT_H
#define LCC_C_EMIT_H

#include "codegen/clike.h"

/* How the weights reach the program. */
typedef enum WeightsMode {
    WEIGHTS_TEXT,   /* arrays of numbers */
    WEIGHTS_STRING, /* string literals */
    WEIGHTS_INCBIN, /* .incbin of a file beside the source */
    WEIGHTS_FILE,   /* a file the caller loads; run takes a pointer */
    WEIGHTS_OBJ,    /* an ELF object beside the source */
    WEIGHTS_JIT     /* a symbol the JIT provides; laid out as a file */
} WeightsMode;

typedef struct WeightRef {
    Str name;       /* unique in the file: w_conv1_weight */
    Str expr;       /* C expression of the pointer to its elements */
    int64_t offset; /* in the blob, in bytes; as an object: in its section */
} WeightRef;

/* A section of the object of weights: its symbol, the bytes of its data. */
typedef struct WeightPart {
    Str symbol;
    int64_t bytes;
} WeightPart;

typedef struct Emit {
    Ctx *ctx;
    const Module *m;
    const Machine *mach;
    Out *out;
    Printer pr;
    Names *names; /* file-level identifiers: functions, constants, dims */
    Map *funcs;   /* Func → FuncInfo */
    Map *weights; /* Buf → WeightRef */
    WeightsMode mode;
    int64_t weight_bytes;
    VEC(WeightPart) parts; /* of the blob; one but for an object */
    Str upper;             /* PREFIX in capitals, for macros */
    Map *open;             /* Buf → OpenPort (entry.c): outputs whose extents depend on data */
    Map *opened;           /* Buf → itself: its extents are written on every path so far */
    VEC(Str) timed;        /* --profile: a row of the table a call */
    bool uses_arena, uses_weights, uses_pool; /* of the entry, found while printing */
    bool threads;                             /* the entry takes a pool */
} Emit;

typedef struct FuncInfo {
    Str name;
    bool *used; /* params then syms: is it printed? */
    bool returns;
    bool shares; /* takes the pool first */
} FuncInfo;

/* weights.c */
bool weights_plan(Emit *em);            /* mode, offsets; exit 5 when text would be too long */
void weights_define(Emit *em, Text *t); /* what stands in the source */
void weights_blob(Emit *em);            /* out->blob */
/* elf.c: what stands before and behind the data in an object file that makes its n parts, each a multiple
 * of 64 bytes, read-only sections with a hidden symbol each. */
void elf_wrap(Ctx *ctx, const Machine *mach, int n, const WeightPart *part, Span *head, Span *tail);

/* entry.c */
void entry_reserve(Emit *em);        /* no function gets a name the entry needs */
void entry_print(Emit *em, Text *t); /* arena function and run */
void entry_prototype(Emit *em, Text *t, bool shapes);
void print_shape(Emit *em, Text *t, const Buf *b); /* [N,3,224] */
Str dim_name(Emit *em, const Sym *s);
bool port_is_open(Emit *em, const Buf *b); /* extents known only after the run? */
/* The header: macros of states that need room for rows to come. */
void states_api(Emit *em, Text *t);
/* Does an output take the place of input i (--state)? Then it is no parameter. */
bool port_is_state(Emit *em, int i);
Str port_capacity(Emit *em, const Buf *b); /* entry parameter; NULL for other buffers */
Str port_extents(Emit *em, const Buf *b);
void print_pointer(Printer *p, const Buf *b);
void print_statement(Printer *p, const Stmt *s); /* CALL, HOST, ASSIGN */
/* `return LCC_EDIM` unless the symbol keeps its promises. */
void print_range_check(Printer *p, const Sym *s, const char *name);

/* instrs.c */
void print_instr(Printer *p, const Stmt *s); /* a CALL of an instruction */

/* threads.c */
bool func_shares(const Emit *em, const Func *f); /* has loops that threads share */
/* Prints such a function: its loops as functions of a range, and what hands them to the pool. */
void print_shared(Emit *em, const Func *f, Str name, bool restrict_ok);
void threads_api(Emit *em, Text *t);     /* what the header says of the pool */
void threads_headers(Emit *em, Text *t); /* system headers the pool needs */
void threads_define(Emit *em, Text *t);  /* PREFIX_pool_start, PREFIX_pool_stop */

/* host.c */
void host_print(Emit *em, const Call *c);
/* A C string literal; every byte that is not plain becomes an octal escape. */
void text_literal(Text *t, const char *s, size_t n);

/* profile.c; nothing without --profile */
bool profile_wanted(const Emit *em);
void profile_before(Emit *em); /* around a call of the entry */
void profile_after(Emit *em, Str function, Str node);
void profile_locals(Emit *em);
void profile_api(Emit *em, Text *t);          /* in the header */
void profile_system(const Emit *em, Text *t); /* before the first #include */
void profile_define(const Emit *em, Text *t); /* before the entry */

/* bridge.c */
void bridge_print(Emit *em);

#endif
