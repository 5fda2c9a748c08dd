/* lcc: the command. The road of a model through it is in compile.c. */
#include "driver/driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int dispatch(Ctx *ctx, Args *a, int argc, char **argv) {
    if (!args_parse(ctx, a, argc, argv))
        return ctx->diag.exit_code;
    if (a->version) {
        printf("lcc %s\n", LCC_VERSION);
        return EXIT_OK;
    }
    if (a->manual) {
        Text t = text_new(ctx);
        manual_print(&t, a->manual);
        fputs(t.at, stdout);
        return EXIT_OK;
    }
    if (a->help || argc < 2) {
        Text t = text_new(ctx);
        help_print(&t, a->help);
        fputs(t.at, a->help ? stdout : stderr);
        return a->help ? EXIT_OK : EXIT_USAGE;
    }
    if (a->verb && !verb_find(a->verb)) {
        diag_error(ctx, EXIT_USAGE, NULL, "lcc %s is not built yet", a->verb);
        diag_note(ctx, "a model of that name is ./%s", a->verb);
        return EXIT_USAGE;
    }
    return a->verb ? verb_find(a->verb)->run(a) : verb_compile(a);
}

static bool coloured(const Args *a) {
    const char *force = getenv("CLICOLOR_FORCE"), *none = getenv("NO_COLOR");
    if (a->color && strcmp(a->color, "auto"))
        return !strcmp(a->color, "always");
    if (none && none[0])
        return false;
    return (force && strcmp(force, "0")) || isatty(STDERR_FILENO);
}

/* Messages, with "error:" red and "note:" blue where that is wanted. */
static void say(const Args *a, const Text *messages) {
    const char *at = messages->at ? messages->at : "";
    bool colour = coloured(a);
    while (*at) {
        size_t n = strcspn(at, "\n");
        const char *error = strstr(at, ": error: ");
        if (colour && error && error < at + n) {
            fprintf(stderr, "%.*s: \033[1;31merror:\033[0m", (int)(error - at), at);
            n -= (size_t)(error - at) + 8;
            at = error + 8;
        } else if (colour && !strncmp(at, "note: ", 6)) {
            fputs("\033[1;36mnote:\033[0m", stderr);
            at += 5;
            n -= 5;
        }
        fprintf(stderr, "%.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

/* A closed stream must not become the next file that is opened: it gets one that cannot be used. */
static void open_streams(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            exit(EXIT_IO);
}

int main(int argc, char **argv) {
    open_streams();
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
    scratch_remove(&args);
    say(&args, &ctx->diag.text);
    if (!code && ctx->diag.errors)
        code = ctx->diag.exit_code;
    if ((fflush(stdout) != 0 || ferror(stdout)) && !code) {
        fputs("lcc: error: cannot write to standard output\n", stderr);
        code = EXIT_IO;
    }
    ctx_free(ctx);
    return code;
}
