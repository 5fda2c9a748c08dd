/* Names of files, the depfile, temporary folders. */
#include "driver/driver.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Str path_stem(Ctx *ctx, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path,
               *dot = strrchr(base, '.');
    Str stem = str_n(ctx, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
    return strcmp(stem, "-") && stem[0] ? stem : "model";
}

Str path_folder(Ctx *ctx, const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? str_n(ctx, path, (size_t)(slash - path + 1)) : "";
}

Str path_absolute(Ctx *ctx, const char *path) {
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    Str full = here ? str_f(ctx, "%s/%s", here, path) : str(ctx, path);
    free(here);
    return full;
}

/* Files that are read: the model, its external data, the tune file. */
static int input_count(const Args *a, const Compiled *c) {
    return 1 + c->file.external.len + (a->opt.tune_file != NULL);
}

static Str input_path(const Args *a, const Compiled *c, int i) {
    if (i == 0)
        return c->file.path;
    if (i > c->file.external.len)
        return a->opt.tune_file;
    return str_f(a->ctx, "%s%s", path_folder(a->ctx, c->file.path),
                 c->file.external.at[i - 1]->name);
}

bool path_is_input(Args *a, const Compiled *c, const char *path) {
    struct stat out, in;
    if (stat(path, &out) != 0 || !S_ISREG(out.st_mode))
        return false;
    for (int i = 0; i < input_count(a, c); i++) {
        Str name = input_path(a, c, i);
        if (stat(name, &in) != 0 || in.st_dev != out.st_dev || in.st_ino != out.st_ino)
            continue;
        diag_error(a->ctx, EXIT_USAGE, NULL, "the output %s would overwrite the model's file %s",
                   path, name);
        diag_note(a->ctx, "choose another name with -o");
        return true;
    }
    return false;
}

/* ---- the depfile ------------------------------------------------------------------------------- */

/* As make and ninja read it: blanks and # with a backslash, $ doubled. */
static void dep_name(Text *t, const char *s) {
    for (; *s; s++) {
        if (*s == ' ' || *s == '#' || *s == '\\')
            text_c(t, '\\');
        if (*s == '$')
            text_c(t, '$');
        text_c(t, *s);
    }
}

bool depfile_write(Args *a, const Compiled *c, const char *output, int n,
                   const char *const *outputs) {
    Ctx *ctx = a->ctx;
    Text t = text_new(ctx);
    for (int i = 0; i < n && !a->dep_target; i++) {
        text_s(&t, i ? " " : "");
        dep_name(&t, outputs[i]);
    }
    text_s(&t, a->dep_target ? a->dep_target : "");
    text_c(&t, ':');
    for (int i = 0; i < input_count(a, c); i++) {
        Str name = input_path(a, c, i);
        if (!strcmp(name, "-"))
            continue;
        text_c(&t, ' ');
        dep_name(&t, name);
    }
    text_c(&t, '\n');
    const char *path = a->dep_file;
    if (!path)
        path = str_f(ctx, "%s%s.d", path_folder(ctx, output), path_stem(ctx, output));
    return !path_is_input(a, c, path) && file_write(ctx, path, t.at, t.len);
}

/* ---- temporary folders -------------------------------------------------------------------------- */

Str scratch_make(Args *a, const char *where) {
    Str template = str_f(a->ctx, "%s.lcc-XXXXXX", where);
    char *folder = ctx_copy(a->ctx, template, strlen(template) + 1);
    if (!mkdtemp(folder)) {
        diag_error(a->ctx, EXIT_IO, NULL, "cannot make a folder in %s: %s", where[0] ? where : ".",
                   strerror(errno));
        return NULL;
    }
    return a->scratch = folder;
}

void scratch_remove(Args *a) {
    DIR *dir = a->scratch ? opendir(a->scratch) : NULL;
    struct dirent *e;
    while (dir && (e = readdir(dir)))
        unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
    if (a->scratch)
        rmdir(a->scratch);
    a->scratch = NULL;
}
