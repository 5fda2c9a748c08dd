/* driver/options.h — the table of options.def, for what parses it (options.c) and what prints it (help.c). */
#ifndef LCC_OPTIONS_H
#define LCC_OPTIONS_H

#include "driver/driver.h"

typedef enum OptKind {
    TEXT,
    CHOICE,
    MAYBE,
    FLAG,
    COUNT,
    SIZE,
    DIM,
    SHAPE,
    THREADS,
    STATE,
    RATIO
} OptKind;

typedef struct OptRow {
    const char *name; /* without dashes */
    char letter;      /* short form; 0: none */
    const char *arg;  /* NULL: takes none */
    OptKind kind;
    size_t field; /* offset in Args */
    const char *section, *help;
} OptRow;
const OptRow *option_table(int *count);
/* "-" for -MD, "--" for --dim. */
const char *option_dashes(const OptRow *r);

#endif
