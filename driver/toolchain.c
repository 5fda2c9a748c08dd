/* Runs the C compiler on what was emitted: in a private folder, its result renamed into place. */
#include "driver/driver.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Weights above this are faster beside the source than in it. */
enum { WEIGHTS_TEXT_MAX = 64 << 10 };

const char *program_find(Ctx *ctx, const char *name) {
    const char *path = getenv("PATH");
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? path_absolute(ctx, name) : NULL;
    for (const char *at = path ? path : ""; *at;) {
        size_t n = strcspn(at, ":");
        Str full = str_f(ctx, "%.*s/%s", (int)n, at, name);
        if (access(full, X_OK) == 0)
            return path_absolute(ctx, full);
        at += n + (at[n] == ':');
    }
    return NULL;
}

const char *toolchain_find(Args *a) {
    const char *names[] = {a->opt.cc, getenv("CC"), "cc", "gcc", "clang"};
    for (int i = 0; i < 5; i++) {
        size_t n = names[i] ? strcspn(names[i], " ") : 0;
        if (n && program_find(a->ctx, str_n(a->ctx, names[i], n)))
            return names[i];
        if (i == 0 && n)
            return NULL;
    }
    return NULL;
}

const char *toolchain_weights(const char *kind, int64_t bytes) {
    return bytes <= WEIGHTS_TEXT_MAX ? "c" : !strcmp(kind, "so") ? "obj" : "incbin";
}

/* Adds the words of a text, cut at blanks. */
static void add_words(Ctx *ctx, Words *w, const char *text) {
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, " ");
        if (n)
            vec_push(ctx, w, str_n(ctx, at, n));
        at += n + (at[n] == ' ');
    }
}

/* In the child: the program of argv[0], in `folder`; its standard output goes to our stderr, which is
 * for messages. */
static void child_run(char *const *argv, const char *folder) {
    if (chdir(folder) == 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
        execve(argv[0], argv, environ);
    _exit(127);
}

bool program_run(Ctx *ctx, const Words *w, const char *folder, int *status) {
    char **argv = ctx_newn(ctx, char *, w->len + 1);
    for (int i = 0; i < w->len; i++)
        argv[i] = ctx_copy(ctx, w->at[i], strlen(w->at[i]) + 1);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    fflush(NULL);
    sigaction(SIGINT, &ignore, &before); /* ends the child; we then remove what it leaves */
    pid_t pid = fork();
    if (pid == 0) {
        sigaction(SIGINT, &before, NULL);
        child_run(argv, folder);
    }
    int code = 0;
    while (pid > 0 && waitpid(pid, &code, 0) < 0)
        if (errno != EINTR)
            pid = -1;
    sigaction(SIGINT, &before, NULL);
    if (pid < 0)
        return diag_error(ctx, EXIT_TOOLCHAIN, NULL, "cannot run %s: %s", w->at[0],
                          strerror(errno));
    *status = WIFEXITED(code) ? WEXITSTATUS(code) : 128;
    return true;
}

/* Writes the sources into `folder`. */
static bool write_sources(Ctx *ctx, const Out *out, const char *folder) {
    if (out->blob.len &&
        !file_write_spans(ctx, str_f(ctx, "%s/%s", folder, out->blob_name), &out->blob))
        return false;
    Text whole = text_new(ctx);
    text_n(&whole, out->source.at, out->source.len);
    text_n(&whole, out->bridge.at ? out->bridge.at : "", out->bridge.len);
    return file_write(ctx, str_f(ctx, "%s/%s.c", folder, out->stem), whole.at, whole.len) &&
           file_write(ctx, str_f(ctx, "%s/%s.h", folder, out->stem), out->header.at,
                      out->header.len);
}

/* The command, to be run in the folder of the sources. */
static Words command(Args *a, const Machine *m, const Out *out, const char *kind, const char *cc) {
    Ctx *ctx = a->ctx;
    Words w = {0};
    bool so = !strcmp(kind, "so"), object = out->blob.len && strstr(out->blob_name, ".o");
    add_words(ctx, &w, cc);
    w.at[0] = program_find(ctx, w.at[0]);
    add_words(ctx, &w, "-O2 -std=gnu99 -ffp-contract=off -w");
    add_words(ctx, &w, m->cflags);
    add_words(ctx, &w, getenv("CFLAGS") ? getenv("CFLAGS") : "");
    add_words(ctx, &w, so ? "-shared -fPIC" : object ? "-r -nostdlib" : "-c");
    vec_push(ctx, &w, str_f(ctx, "./%s.c", out->stem));
    if (object)
        vec_push(ctx, &w, str_f(ctx, "./%s", out->blob_name));
    add_words(ctx, &w, "-o result");
    add_words(ctx, &w, so ? "-lm" : "");
    /* a hash of all weights that nobody asks for; tcc does not know the option */
    add_words(ctx, &w, so && object && !strstr(w.at[0], "tcc") ? "-Wl,--build-id=none" : "");
    add_words(ctx, &w, so && (a->opt.threads > 1 || a->opt.threads < 0) ? "-pthread" : "");
    return w;
}

bool toolchain_compile(Args *a, const Machine *m, const Out *out, const char *kind, Str folder) {
    Ctx *ctx = a->ctx;
    int status;
    const char *cc = toolchain_find(a);
    if (!cc) {
        diag_error(ctx, EXIT_TOOLCHAIN, NULL, "no C compiler found (tried %s)",
                   a->opt.cc ? a->opt.cc : "$CC, cc, gcc, clang");
        diag_note(ctx, "apt install gcc, or lcc run --jit=tcc");
        return false;
    }
    if (!write_sources(ctx, out, folder))
        return false;
    Words w = command(a, m, out, kind, cc);
    for (int i = 0; a->opt.verbose && i < w.len; i++)
        fprintf(stderr, "%s%s", w.at[i], i + 1 < w.len ? " " : "\n");
    if (!program_run(ctx, &w, folder, &status))
        return false;
    return !status || diag_error(ctx, EXIT_TOOLCHAIN, NULL,
                                 "the C compiler %s failed (exit code %d)", w.at[0], status);
}

bool toolchain_build(Args *a, const Machine *m, const Out *out, const char *kind,
                     const char *path) {
    Ctx *ctx = a->ctx;
    Str folder = scratch_make(a, path_folder(ctx, path));
    if (!folder || !toolchain_compile(a, m, out, kind, folder))
        return false;
    if (rename(str_f(ctx, "%s/result", folder), path) != 0)
        return diag_error(ctx, EXIT_IO, NULL, "cannot write %s: %s", path, strerror(errno));
    scratch_remove(a);
    return true;
}
