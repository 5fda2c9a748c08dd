/* lcc: the command. The road of a model through it is in compile.c. */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

static const Verb VERBS[] = {
    {"targets", verb_targets, "targets", "machines to compile for"},
};

const Verb *verb_table(int *count) {
    *count = (int)(sizeof VERBS / sizeof VERBS[0]);
    return VERBS;
}

const Verb *verb_find(const char *name) {
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++)
        if (!strcmp(VERBS[i].name, name))
            return &VERBS[i];
    return NULL;
}

static int dispatch(Ctx *ctx, Args *a, int argc, char **argv) {
    if (!args_parse(ctx, a, argc, argv))
        return EXIT_USAGE;
    if (a->version) {
        printf("lcc %s\n", LCC_VERSION);
        return EXIT_OK;
    }
    if (a->help || (!a->verb && !a->words.len)) {
        Text t = text_new(ctx);
        help_print(&t, a->help);
        fputs(t.at, a->help ? stdout : stderr);
        return a->help ? EXIT_OK : EXIT_USAGE;
    }
    return a->verb ? verb_find(a->verb)->run(a) : verb_compile(a);
}

int main(int argc, char **argv) {
    Ctx *ctx = ctx_create(0);
    Args args = {0};
    jmp_buf out_of_memory;
    ctx->oom = &out_of_memory;
    int code;
    switch (setjmp(out_of_memory)) {
    case 0:
        code = dispatch(ctx, &args, argc, argv);
        break;
    case EXIT_LIMIT:
        code = EXIT_LIMIT;
        break;
    default:
        code = EXIT_INTERNAL;
    }
    if (ctx->diag.text.len)
        fwrite(ctx->diag.text.at, 1, ctx->diag.text.len, stderr);
    if (!code && ctx->diag.errors)
        code = ctx->diag.exit_code;
    if (fflush(stdout) != 0 && !code) {
        fputs("lcc: error: cannot write to standard output\n", stderr);
        code = EXIT_IO;
    }
    ctx_free(ctx);
    return code;
}
