/* Runs the C compiler on what was emitted: in a private folder, its result renamed into place. */
#define _POSIX_C_SOURCE 200809L /* fork, mkdtemp */
#include "driver/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* First of --cc, $CC, cc, gcc, clang that exists in $PATH (or as a path). */
static const char *find_compiler(Ctx *ctx, const char *asked) {
    const char *names[] = {asked, getenv("CC"), "cc", "gcc", "clang"};
    const char *path = getenv("PATH");
    for (int i = 0; i < 5; i++) {
        if (!names[i] || !names[i][0])
            continue;
        if (strchr(names[i], '/') && access(names[i], X_OK) == 0)
            return names[i];
        for (const char *at = path ? path : ""; *at;) {
            size_t n = strcspn(at, ":");
            Str full = str_f(ctx, "%.*s/%s", (int)n, at, names[i]);
            if (access(full, X_OK) == 0)
                return full;
            at += n + (at[n] == ':');
        }
        if (i == 0)
            return NULL;
    }
    return NULL;
}

/* Runs argv and waits; its messages go to our stderr. */
static bool run(Ctx *ctx, char *const *argv) {
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        execve(argv[0], argv, environ);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
        return diag_error(ctx, EXIT_TOOLCHAIN, NULL, "the C compiler %s failed", argv[0]);
    return true;
}

typedef struct Words {
    Ctx *ctx;
    VEC(char *) v;
} Words;

/* Adds the words of a text, cut at spaces. */
static void add(Words *w, const char *text) {
    while (text && *text) {
        size_t n = strcspn(text, " ");
        if (n) {
            char *word = ctx_alloc(w->ctx, n + 1);
            memcpy(word, text, n);
            vec_push(w->ctx, &w->v, word);
        }
        text += n + (text[n] == ' ');
    }
}

static void add_path(Words *w, const char *path) {
    vec_push(w->ctx, &w->v, ctx_copy(w->ctx, path, strlen(path) + 1));
}

/* Writes the sources into `folder` and lists the command. */
static bool prepare(Args *a, const Machine *m, const Out *out, const char *kind, const char *folder,
                    const char *cc, Words *w) {
    Ctx *ctx = a->ctx;
    Str source = str_f(ctx, "%s/%s.c", folder, out->stem);
    if (out->blob && !file_write(ctx, str_f(ctx, "%s/%s", folder, out->blob_name),
                                 (const char *)out->blob, out->blob_len))
        return false;
    Text whole = text_new(ctx);
    text_n(&whole, out->source.at ? out->source.at : "", out->source.len);
    text_n(&whole, out->bridge.at ? out->bridge.at : "", out->bridge.len);
    if (!file_write(ctx, source, whole.at, whole.len) ||
        !file_write(ctx, str_f(ctx, "%s/%s.h", folder, out->stem), out->header.at, out->header.len))
        return false;
    add_path(w, cc);
    add(w, "-O2 -std=gnu99 -ffp-contract=off -w");
    bool tcc = strstr(cc, "tcc") != NULL;
    if (!tcc)
        add(w, m->cflags);
    add(w, !strcmp(kind, "so") ? "-shared -fPIC" : !strcmp(kind, "obj") ? "-c" : "");
    vec_push(ctx, &w->v, (char *)ctx_copy(ctx, "-I", 3));
    add_path(w, folder);
    add_path(w, source);
    if (out->blob && strcmp(kind, "obj") && strstr(out->blob_name, ".o"))
        add_path(w, str_f(ctx, "%s/%s", folder, out->blob_name));
    add(w, "-o");
    add_path(w, str_f(ctx, "%s/result", folder));
    if (strcmp(kind, "obj"))
        add(w, "-lm");
    vec_push(ctx, &w->v, NULL);
    return true;
}

static void remove_folder(Ctx *ctx, const char *folder, const Out *out) {
    const char *names[] = {str_f(ctx, "%s.c", out->stem), str_f(ctx, "%s.h", out->stem),
                           out->blob_name, "result"};
    for (int i = 0; i < 4; i++)
        if (names[i])
            unlink(str_f(ctx, "%s/%s", folder, names[i]));
    rmdir(folder);
}

static bool move_result(Ctx *ctx, const char *folder, const char *path) {
    if (rename(str_f(ctx, "%s/result", folder), path) != 0)
        return diag_error(ctx, EXIT_IO, NULL, "cannot write %s", path);
    return true;
}

bool toolchain_build(Args *a, const Machine *m, const Out *out, const char *kind, const char *path) {
    Ctx *ctx = a->ctx;
    const char *cc = find_compiler(ctx, a->opt.cc);
    if (!cc) {
        diag_error(ctx, EXIT_TOOLCHAIN, NULL, "no C compiler found (tried %s$CC, cc, gcc, clang)",
                   a->opt.cc ? "--cc, " : "");
        diag_note(ctx, "apt install gcc, or lcc run --jit=tcc");
        return false;
    }
    const char *slash = strrchr(path, '/');
    Str base = slash ? str_n(ctx, path, (size_t)(slash - path)) : str(ctx, ".");
    Str template = str_f(ctx, "%s/.lcc-XXXXXX", base);
    char *folder = ctx_copy(ctx, template, strlen(template) + 1);
    if (!mkdtemp(folder))
        return diag_error(ctx, EXIT_IO, NULL, "cannot make a folder in %s", base);
    Words w = {.ctx = ctx};
    bool ok = prepare(a, m, out, kind, folder, cc, &w) && run(ctx, w.v.at) &&
              move_result(ctx, folder, path);
    remove_folder(ctx, folder, out);
    return ok;
}
