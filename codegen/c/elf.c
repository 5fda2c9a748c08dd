/* codegen/c/elf.c — a relocatable ELF64 object that holds read-only sections: weights without a compiler.
 *
 *   header | .rodata, once or more (64-byte aligned) | symbols, strings, section headers
 * Each section has a global, hidden symbol: any object of the same program or library may use it, no other. Several
 * small ones instead of one large: a linker reads each as a whole into the memory it had for the one before, and
 * may drop those that nothing uses. */
#include "codegen/c/emit.h"

#include <string.h>

enum {
    ROOM = 1024, /* before the data, for the ELF header */
    HEADER = 64,
    SECTION = 64, /* size of a section header */
    SYMBOL = 24,  /* size of a symbol */
    SECTIONS = 5  /* beside the data: null .note.GNU-stack .symtab .strtab .shstrtab */
};

static const char SECTION_NAMES[] = "\0.rodata\0.note.GNU-stack\0.symtab\0.strtab\0.shstrtab";

static unsigned char *put(unsigned char *at, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++)
        *at++ = (unsigned char)(v >> (8 * i));
    return at;
}

/* `sections`: where the headers of the `count` sections lie. */
static void put_header(unsigned char *at, int machine, uint64_t sections, int count) {
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
    at = put(at, (uint64_t)count, 2);
    put(at, (uint64_t)count - 1, 2); /* section names */
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

/* Where the parts of the tail lie in the file. */
typedef struct Places {
    uint64_t end; /* of the data */
    uint64_t symtab, strtab, shstrtab, sections;
    uint64_t strings; /* bytes of strtab */
} Places;

static Places places_of(int n, const WeightPart *part) {
    Places p = {.end = ROOM, .strings = 1};
    for (int i = 0; i < n; i++) {
        p.end += (uint64_t)part[i].bytes;
        p.strings += strlen(part[i].symbol) + 1;
    }
    p.symtab = (p.end + 7) / 8 * 8;
    p.strtab = p.symtab + (uint64_t)(n + 1) * SYMBOL;
    p.shstrtab = p.strtab + p.strings;
    p.sections = (p.shstrtab + sizeof SECTION_NAMES + 7) / 8 * 8;
    return p;
}

/* Symbol i + 1 is that of section i + 1. */
static void put_symbols(unsigned char *at, unsigned char *names, int n, const WeightPart *part) {
    unsigned char *name = names + 1;
    for (int i = 0; i < n; i++) {
        at = put(at, (uint64_t)(name - names), 4);
        at = put(at, 0x11, 1); /* global object */
        at = put(at, 2, 1);    /* hidden */
        at = put(at, (uint64_t)i + 1, 2);
        at = put(at, 0, 8);
        at = put(at, (uint64_t)part[i].bytes, 8);
        size_t len = strlen(part[i].symbol) + 1;
        memcpy(name, part[i].symbol, len);
        name += len;
    }
}

void elf_wrap(Ctx *ctx, const Machine *mach, int n, const WeightPart *part, Span *head,
              Span *tail) {
    const Places p = places_of(n, part);
    int machine = strcmp(mach->isa, "neon") == 0 ? 183 : 62;
    uint64_t length = p.sections - p.end + (uint64_t)(n + SECTIONS) * SECTION, data = ROOM;
    unsigned char *first = ctx_alloc(ctx, ROOM), *last = ctx_alloc(ctx, length), *at;
    put_header(first, machine, p.sections, n + SECTIONS);
    put_symbols(last + (p.symtab - p.end) + SYMBOL, last + (p.strtab - p.end), n, part);
    memcpy(last + (p.shstrtab - p.end), SECTION_NAMES, sizeof SECTION_NAMES);
    at = last + (p.sections - p.end) + SECTION;
    for (int i = 0; i < n; i++) {
        const Section s = {1, 1, 2, data, (uint64_t)part[i].bytes, 0, 0, 64, 0};
        at = put_section(at, &s);
        data += s.size;
    }
    const Section table[] = {
        {9, 1, 0, p.symtab, 0, 0, 0, 1, 0},
        {25, 2, 0, p.symtab, (uint64_t)(n + 1) * SYMBOL, (uint64_t)n + 3, 1, 8, SYMBOL},
        {33, 3, 0, p.strtab, p.strings, 0, 0, 1, 0},
        {41, 3, 0, p.shstrtab, sizeof SECTION_NAMES, 0, 0, 1, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        at = put_section(at, &table[i]);
    *head = (Span){.at = first, .len = ROOM};
    *tail = (Span){.at = last, .len = length};
}
