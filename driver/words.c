/* The words of a command line: $LCC_FLAGS first, then the arguments, with each @file replaced by the
 * words in it.
 *
 *   LCC_FLAGS="-q"  lcc m.onnx @more.txt   →   -q m.onnx --dim batch=1
 *
 * In a text, words are separated by blanks and line ends; '…' and "…" keep blanks, \ keeps the next
 * character. Precondition: none; files are as hostile as any. */
#include "driver/driver.h"

#include <stdlib.h>
#include <string.h>

enum { NESTED_MAX = 10, WORDS_MAX = 100000 };

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Reads one word at *at (not a blank) into t. False: a quote is not closed. */
static bool word_read(const char **at, Text *t) {
    char quote = 0;
    text_s(t, "");
    for (; **at && (quote || !is_blank(**at)); ++*at) {
        char c = **at;
        if (c == '\\' && quote != '\'' && (*at)[1])
            text_c(t, *++*at);
        else if (c == quote)
            quote = 0;
        else if (!quote && (c == '\'' || c == '"'))
            quote = c;
        else
            text_c(t, c);
    }
    return !quote;
}

static bool word_add(Ctx *ctx, Words *w, const char *word, int depth);

/* Adds the words of a text; `from` names it in errors. */
static bool text_words(Ctx *ctx, Words *w, const char *text, const char *from, int depth) {
    for (;;) {
        while (is_blank(*text))
            text++;
        if (!*text)
            return true;
        Text t = text_new(ctx);
        if (!word_read(&text, &t))
            return diag_error(ctx, EXIT_USAGE, NULL, "%s: a quote is not closed", from);
        if (!word_add(ctx, w, t.at, depth))
            return false;
    }
}

static bool word_add(Ctx *ctx, Words *w, const char *word, int depth) {
    unsigned char *at;
    size_t n;
    if (w->len >= WORDS_MAX)
        return diag_error(ctx, EXIT_USAGE, NULL, "more than %d words", WORDS_MAX);
    if (word[0] != '@' || !word[1]) {
        vec_push(ctx, w, word);
        return true;
    }
    if (depth >= NESTED_MAX)
        return diag_error(ctx, EXIT_USAGE, NULL, "%s: response files nest too deep", word);
    if (!file_read(ctx, word + 1, &at, &n))
        return false;
    Text t = text_new(ctx);
    text_n(&t, (const char *)at, n);
    if (strlen(t.at) != n)
        return diag_error(ctx, EXIT_USAGE, NULL, "%s: not a text", word);
    return text_words(ctx, w, t.at, word, depth + 1);
}

bool words_read(Ctx *ctx, Words *w, const char *flags, int argc, char **argv) {
    if (flags && !text_words(ctx, w, flags, "$LCC_FLAGS", 0))
        return false;
    w->nflags = w->len;
    for (int i = 1; i < argc; i++)
        if (!word_add(ctx, w, argv[i], 0))
            return false;
    return true;
}
