/* ir/text_in.h — shared by tensor_text.c, program_text.c, sched_text.c, loop_text.c; nobody else includes
 * it. Declarations of symbols and buffers are the same in every section; their grammar:
 *
 *   sym     := "sym" name ("dim"|"bind"|"run") bound ".." bound ["%" int] ["=" expr]; bound := int | "*"
 *   buffer  := name [space] type "[" expr,… "]" {attr} ["=" ("splat" expr | "{" expr,… "}")]
 *   space   := input | output | const | arena | local | reg | scalar | heap
 *   attr    := "where" "(" name,… ")" expr | "halo" "(" int ".." int,… ")" | "size" expr | "fill" expr
 *            | "bound" expr | "offset" expr
 *   origin  := "@" [op] string       the node, and the op, it came from
 * Names of ONNX that are no words are "strings". */
#ifndef LCC_TEXT_IN_H
#define LCC_TEXT_IN_H

#include "ir/graph.h"
#include "ir/sched.h"

#define SPACE_COUNT (SPACE_HEAP + 1) /* not stated */

/* ---- printing ---------------------------------------------------------------------------------- */

typedef struct Print {
    Ctx *ctx;
    Text *t;
    Names *names;
    int indent;       /* in units of two spaces; lines start with it */
    Map *declared;    /* Buf, Sym: their declaration was printed; Def: it introduces its Buf */
    VEC(Buf *) order; /* buffers declared by a line of their own, in order */
    const Def *root;  /* loops of it are named without it */
    Names
        *words; /* of Defs that have another name than their Buf; they are apart from all others */
    Map *def_names; /* Def and buffer names (Str) → the printed Str, for schedules */
    bool shared;    /* the sections of a module: declarations hold for all that follow */
    Map *instrs;    /* Func → itself: instructions that were printed */
} Print;

Names *text_names(Ctx *ctx); /* with the grammar's words reserved */
Print put_new(Text *t);
void put_line(Print *p, const char *fmt, ...) LCC_PRINTF(2, 3); /* "\n", indent, text */
void put_name(Print *p, const void *obj, Str wish);
void put_str(Text *t, Str s); /* "…" "…" in pieces */
void put_expr(Print *p, const Expr *e);
void put_sum(Print *p, const Expr *e);                 /* for expr_parse_sum */
void put_exprs(Print *p, int n, const Expr *const *e); /* comma-separated */
/* name [space] type[dims] attrs; `usual` is the space that goes without saying. */
void put_buf(Print *p, const Buf *b, Space usual);
/* Lines for the symbols e depends on, then for b, where not printed yet. */
void declare_syms(Print *p, const Expr *e);
void declare_buf(Print *p, Buf *b);
/* Everything the Def mentions that it does not introduce itself. */
void declare_call(Print *p, const Call *c);
void declare_for_def(Print *p, const Def *d);
void put_def_line(Print *p, const Def *d);        /* without the newline */
void put_defs(Print *p, Def *const *defs, int n); /* scan groups as blocks */
void put_call(Print *p, const Call *c);
void put_bufs(Print *p, Buf *const *b, int n); /* "(x, _, y)" */
void put_sched(Print *p, const Sched *s);
void put_origin(Text *t, const Node *origin, const Loc *loc);
void put_port(Print *p, const char *word, const Port *port);
void put_trees(Print *p, const Program *prog); /* args, results */
void put_item(Print *p, const Item *it);       /* all kinds but DEF; of IF and LOOP the head */
/* Sections, each with a newline at its end; put_kernel with its schedule. `word`: "loops" or "entry". */
void put_kernel(Print *p, const Kernel *k);
void put_func(Print *p, const char *word, const Func *f);
Str text_word(Ctx *ctx, Str name); /* the name as the lexer takes it */

/* ---- parsing ----------------------------------------------------------------------------------- */

typedef struct Parse {
    Lex lex;
    Ctx *ctx;
    Names *names;
    VEC(Buf *) order; /* buffers declared by a line of their own */
    VEC(Def *) defs;  /* in order */
    VEC(Sym *) syms;  /* declared, in order */
    Kernel *kernel;   /* of the section; NULL: none */
    LccText *file;    /* functions by name; NULL in a program */
    Map *origins;     /* Str → Node */
    bool shared;      /* see Print */
    int blank;        /* constants whose data was left out */
} Parse;

void take_init(Parse *p, Ctx *ctx, const char *file, const char *text);
void take_scope(Parse *p);                 /* forgets all names: a new section */
Str take_word(Parse *p, const char *what); /* a name; NULL after an error */
Str take_str(Parse *p);
const Expr *take_expr(Parse *p);
/* Expressions up to `close`, into v (an allocated array); count, or -1. */
int take_exprs(Parse *p, const char *close, const Expr ***v);
bool take_int(Parse *p, int64_t *v); /* may be negative */
bool take_sym(Parse *p);
/* After the name; NULL after an error. */
Buf *take_buf(Parse *p, Str name, Space usual);
Buf *take_buf_name(Parse *p);        /* a declared one */
bool at_declaration(const Parse *p); /* is the token after a name a space or a type? */
/* A Def, a declaration or a scan block; appends to p->defs / p->order. */
bool take_def_line(Parse *p);
Call *take_call(Parse *p);
Sym *take_sym_name(Parse *p);
/* "(" [name|_],… ")" */
typedef VEC(Buf *) BufList;
bool take_bufs(Parse *p, BufList *v);
/* Where it came from; NULL when the text does not say. */
const Node *take_origin(Parse *p, Loc *loc);
bool take_port(Parse *p, Program *prog); /* in, out, args or results */
bool at_port(const Parse *p);
bool take_tables(Parse *p, Program *prog); /* dims, consts: what was declared */
/* One item; an IF or a LOOP without its bodies, and it is given back (else NULL). */
bool take_item(Parse *p, Block *b, Item **it);
bool take_kernel(Parse *p);
bool take_schedule(Parse *p);
Func *take_func(Parse *p, Str name); /* after the name */
bool take_loops(Parse *p);
bool take_instr(Parse *p);

#endif
