/* codegen/c/elf.c — a relocatable ELF64 object that holds one read-only section: weights without a compiler.
 *
 *   header | .rodata (64-byte aligned) | symbols, strings, section headers
 * The symbol is global and hidden: any object of the same program or library may use it, no other. */
#include "codegen/c/emit.h"

#include <string.h>

enum {
    ROOM = 1024, /* before and after the data; before: the ELF header, after: the tables */
    HEADER = 64,
    SECTION = 64, /* size of a section header */
    SYMBOL = 24,  /* size of a symbol */
    SECTIONS = 6, /* null .rodata .note.GNU-stack .symtab .strtab .shstrtab */
    LONGEST = 200 /* symbol name */
};

static unsigned char *put(unsigned char *at, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++)
        *at++ = (unsigned char)(v >> (8 * i));
    return at;
}

static void put_header(unsigned char *at, int machine, uint64_t sections) {
    static const unsigned char ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    memcpy(at, ident, sizeof ident);
    at = put(at + sizeof ident, 1, 2); /* relocatable */
    at = put(at, (uint64_t)machine, 2);
    at = put(at, 1, 4);
    at = put(at, 0, 8); /* no entry, no program headers */
    at = put(at, 0, 8);
    at = put(at, sections, 8);
    at = put(at, 0, 4);
    at = put(at, HEADER, 2);
    at = put(at, 0, 2);
    at = put(at, 0, 2);
    at = put(at, SECTION, 2);
    at = put(at, SECTIONS, 2);
    put(at, SECTIONS - 1, 2); /* section names */
}

typedef struct Section {
    uint32_t name, type;
    uint64_t flags, offset, size, link, info, align, entry;
} Section;

static unsigned char *put_section(unsigned char *at, const Section *s) {
    at = put(at, s->name, 4);
    at = put(at, s->type, 4);
    at = put(at, s->flags, 8);
    at = put(at, 0, 8); /* address */
    at = put(at, s->offset, 8);
    at = put(at, s->size, 8);
    at = put(at, s->link, 4);
    at = put(at, s->info, 4);
    at = put(at, s->align, 8);
    return put(at, s->entry, 8);
}

void elf_wrap(Ctx *ctx, const Machine *mach, Str symbol, size_t len, Span *head, Span *tail) {
    static const char names[] = "\0.rodata\0.note.GNU-stack\0.symtab\0.strtab\0.shstrtab";
    size_t name_len = strlen(symbol);
    name_len = name_len < LONGEST ? name_len : LONGEST;
    /* offsets in the file; `end` is where the tail begins */
    uint64_t data = ROOM, end = data + len, symtab = data + (len + 7) / 8 * 8;
    uint64_t strtab = symtab + 2 * SYMBOL, shstrtab = strtab + name_len + 2;
    uint64_t sections = (shstrtab + sizeof names + 7) / 8 * 8;
    int machine = strcmp(mach->isa, "neon") == 0 ? 183 : 62;
    unsigned char *first = ctx_alloc(ctx, ROOM), *last = ctx_alloc(ctx, ROOM), *at;
    put_header(first, machine, sections);
    at = last + (symtab - end) + SYMBOL;
    at = put(at, 1, 4);    /* name */
    at = put(at, 0x11, 1); /* global object */
    at = put(at, 2, 1);    /* hidden */
    at = put(at, 1, 2);    /* in .rodata */
    at = put(at, 0, 8);
    put(at, len, 8);
    memcpy(last + (strtab - end) + 1, symbol, name_len);
    memcpy(last + (shstrtab - end), names, sizeof names);
    const Section table[SECTIONS] = {
        {0},
        {1, 1, 2, data, len, 0, 0, 64, 0},
        {9, 1, 0, symtab, 0, 0, 0, 1, 0},
        {25, 2, 0, symtab, 2 * SYMBOL, 4, 1, 8, SYMBOL},
        {33, 3, 0, strtab, name_len + 2, 0, 0, 1, 0},
        {41, 3, 0, shstrtab, sizeof names, 0, 0, 1, 0},
    };
    at = last + (sections - end);
    for (int i = 0; i < SECTIONS; i++)
        at = put_section(at, &table[i]);
    *head = (Span){first, ROOM};
    *tail = (Span){last, (size_t)(at - last)};
}
