/* ir/text_in.h — shared by tensor_text.c, program_text.c, sched_text.c, loop_text.c; nobody else includes
 * it. Declarations of symbols and buffers are the same in every section; their grammar:
 *
 *   sym     := "sym" name ("dim"|"bind"|"run") bound ".." bound ["%" int] ["=" expr]; bound := int | "*"
 *   buffer  := name [space] type "[" expr,… "]" {attr} ["=" ("splat" expr | "{" expr,… "}")]
 *   space   := input | output | const | arena | local | reg | scalar | heap
 *   attr    := "where" "(" name,… ")" expr | "size" expr | "fill" expr | "bound" expr | "offset" expr
 * Names of ONNX that are no words, and origins, are "strings". */
#ifndef LCC_TEXT_IN_H
#define LCC_TEXT_IN_H

#include "ir/sched.h"

#define SPACE_COUNT (SPACE_HEAP + 1) /* not stated */

/* ---- printing ---------------------------------------------------------------------------------- */

typedef struct Print {
    Ctx *ctx;
    Text *t;
    Names *names;
    int indent;          /* in units of two spaces; lines start with it */
    Map *declared;       /* Buf, Sym: their declaration was printed; Def: it introduces its Buf */
    VEC(Buf *) order;    /* buffers declared by a line of their own, in order */
    Map *def_names;      /* Def and buffer names (Str) → the printed Str, for schedules */
} Print;

Names *text_names(Ctx *ctx); /* with the grammar's words reserved */
Print print_new(Text *t);
void print_line(Print *p, const char *fmt, ...) LCC_PRINTF(2, 3); /* "\n", indent, text */
void print_name(Print *p, const void *obj, Str wish);
void print_str(Text *t, Str s);                                /* "…" "…" in pieces */
void print_expr(Print *p, const Expr *e);
void print_sum(Print *p, const Expr *e);                        /* for expr_parse_sum */
void print_exprs(Print *p, int n, const Expr *const *e);        /* comma-separated */
/* name [space] type[dims] attrs; `usual` is the space that goes without saying. */
void print_buf(Print *p, const Buf *b, Space usual);
/* Lines for the symbols e depends on, then for b, where not printed yet. */
void declare_syms(Print *p, const Expr *e);
void declare_buf(Print *p, Buf *b);
/* Everything the Def mentions that it does not introduce itself. */
void declare_for_def(Print *p, const Def *d);
void print_def_line(Print *p, const Def *d); /* without the newline */
void print_defs(Print *p, Def *const *defs, int n); /* scan groups as blocks */
void print_call(Print *p, const Call *c);
void print_stmts(Print *p, const Stmt *s, const Def *root);
void print_sched(Print *p, const Sched *s);
void print_origin(Text *t, const Loc *loc);

/* ---- parsing ----------------------------------------------------------------------------------- */

typedef struct Parse {
    Lex lex;
    Ctx *ctx;
    Names *names;
    VEC(Buf *) order;   /* buffers declared by a line of their own */
    VEC(Def *) defs;    /* in order */
    VEC(Sym *) syms;    /* declared, in order */
    Kernel *kernel;     /* the section's */
    LccText *file;      /* functions by name; NULL in a program */
} Parse;

void parse_init(Parse *p, Ctx *ctx, const char *file, const char *text);
void parse_scope(Parse *p); /* forgets all names: a new section */
Str parse_word(Parse *p, const char *what); /* a name; NULL after an error */
Str parse_str(Parse *p);
const Expr *parse_expr(Parse *p);
/* Expressions up to `close`, into v (an allocated array); count, or -1. */
int parse_exprs(Parse *p, const char *close, const Expr ***v);
bool parse_int(Parse *p, int64_t *v); /* may be negative */
bool parse_sym(Parse *p);
/* After the name; NULL after an error. */
Buf *parse_buf(Parse *p, Str name, Space usual);
Buf *parse_buf_name(Parse *p); /* a declared one */
bool at_declaration(const Parse *p); /* is the token after a name a space or a type? */
/* A Def, a declaration or a scan block; appends to p->defs / p->order. */
bool parse_def_line(Parse *p);
Call *parse_call(Parse *p);
Stmt *parse_stmts(Parse *p, bool *ok); /* up to "}" */
void parse_origin(Parse *p, Loc *loc);

#endif
