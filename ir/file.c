/* ir/file.c — whole files in, whole files out.
 *
 * Reading accepts regular files and standard input only, so that no path given by mistake blocks or
 * never ends. Writing leaves either the old file or the new one, and does not touch a file that
 * already holds the same bytes, so that build systems see nothing to do. */
#define _DEFAULT_SOURCE
#include "ir/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ_FIRST = 1 << 20, /* of a stream whose length is unknown */
    IO_MOST = 1 << 30,    /* bytes of one read() or write() */
    TEMP_TRIES = 100
};

/* ---- reading --------------------------------------------------------------------------------- */

static const char *file_kind(mode_t mode) {
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "not a regular file";
}

/* Reads up to n bytes; the number got, less only at the end of the file; -1 on an error. */
static int64_t read_all(int fd, unsigned char *at, size_t n) {
    size_t got = 0;
    while (got < n) {
        ssize_t k = read(fd, at + got, n - got < IO_MOST ? n - got : IO_MOST);
        if (k == 0)
            break;
        if (k > 0)
            got += (size_t)k;
        else if (errno != EINTR)
            return -1;
    }
    return (int64_t)got;
}

static bool read_regular(Ctx *ctx, const Loc *loc, int fd, size_t size, unsigned char **at) {
    if (size > arena_room(ctx->arena))
        return diag_error(ctx, EXIT_LIMIT, loc, "a file of %zu MiB is over the memory limit",
                          size >> 20);
    *at = ctx_alloc(ctx, size);
    int64_t got = read_all(fd, *at, size);
    if (got < 0)
        return diag_error(ctx, EXIT_IO, loc, "cannot read: %s", strerror(errno));
    if ((size_t)got < size)
        return diag_error(ctx, EXIT_IO, loc, "was cut short while it was read");
    return true;
}

/* Of a pipe: the length shows at the end. */
static bool read_stream(Ctx *ctx, const Loc *loc, int fd, unsigned char **at, size_t *n) {
    size_t cap = READ_FIRST;
    *at = ctx_alloc(ctx, cap);
    for (;;) {
        int64_t got = read_all(fd, *at + *n, cap - *n);
        if (got < 0)
            return diag_error(ctx, EXIT_IO, loc, "cannot read: %s", strerror(errno));
        *n += (size_t)got;
        if (*n < cap)
            return true;
        if (cap > arena_room(ctx->arena) / 2)
            return diag_error(ctx, EXIT_LIMIT, loc, "more than %zu MiB of input", cap >> 20);
        unsigned char *more = ctx_alloc(ctx, cap * 2);
        memcpy(more, *at, *n);
        *at = more;
        cap *= 2;
    }
}

static bool read_open(Ctx *ctx, const Loc *loc, int fd, bool standard, unsigned char **at,
                      size_t *n) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return diag_error(ctx, EXIT_IO, loc, "cannot read: %s", strerror(errno));
    if (S_ISDIR(st.st_mode) || (!standard && !S_ISREG(st.st_mode))) {
        diag_error(ctx, EXIT_IO, loc, "is %s", file_kind(st.st_mode));
        if (!S_ISDIR(st.st_mode))
            diag_note(ctx, "only regular files are read; give - to read standard input");
        return false;
    }
    *n = 0;
    if (S_ISREG(st.st_mode) && !standard) {
        *n = (size_t)st.st_size;
        if (!read_regular(ctx, loc, fd, *n, at))
            return false;
    } else if (!read_stream(ctx, loc, fd, at, n)) {
        return false;
    }
    return *n > 0 || diag_error(ctx, EXIT_MALFORMED, loc, "the file is empty");
}

bool file_read(Ctx *ctx, const char *path, unsigned char **at, size_t *n) {
    bool standard = strcmp(path, "-") == 0;
    Loc loc = {.file = standard ? "stdin" : path, .node = -1};
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return diag_error(ctx, EXIT_IO, &loc, "cannot open: %s",
                          errno == ENXIO ? "it is a socket or a device" : strerror(errno));
    bool ok = read_open(ctx, &loc, fd, standard, at, n);
    if (!standard)
        close(fd);
    return ok;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* 0 or errno. */
static int write_all(int fd, const char *at, size_t n) {
    while (n) {
        ssize_t k = write(fd, at, n < IO_MOST ? n : IO_MOST);
        if (k < 0 && errno != EINTR)
            return errno;
        if (k > 0) {
            at += k;
            n -= (size_t)k;
        }
    }
    return 0;
}

static bool same_bytes(const char *path, const char *at, size_t n) {
    char part[4096];
    bool same = true;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (size_t done = 0; same && done <= n;) {
        int64_t got = read_all(fd, (unsigned char *)part, sizeof part);
        same = got >= 0 && (size_t)got <= n - done && memcmp(part, at + done, (size_t)got) == 0;
        done += same ? (size_t)got : 0;
        if (got < (int64_t)sizeof part) {
            same = same && done == n;
            break;
        }
    }
    close(fd);
    return same;
}

/* Writes beside `path`, then renames; 0 or errno. */
static int write_renamed(Ctx *ctx, const char *path, const char *at, size_t n) {
    Str temp = NULL;
    int fd = -1;
    for (int i = 0; fd < 0 && i < TEMP_TRIES; i++) {
        temp = str_f(ctx, "%s.tmp%ld.%d", path, (long)getpid(), i);
        fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            return errno;
    }
    if (fd < 0)
        return EEXIST;
    int err = write_all(fd, at, n);
    if (close(fd) != 0 && !err)
        err = errno;
    if (!err && rename(temp, path) != 0)
        err = errno;
    if (err)
        unlink(temp);
    return err;
}

bool file_write(Ctx *ctx, const char *path, const char *at, size_t n) {
    struct stat st;
    bool standard = strcmp(path, "-") == 0, there = !standard && stat(path, &st) == 0;
    int err;
    if (standard) {
        err = write_all(STDOUT_FILENO, at, n);
    } else if (there && S_ISDIR(st.st_mode)) {
        err = EISDIR;
    } else if (there && !S_ISREG(st.st_mode)) { /* /dev/stdout, /dev/null, a FIFO: no renaming */
        int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
        err = fd < 0 ? errno : write_all(fd, at, n);
        if (fd >= 0)
            close(fd);
    } else {
        char *real = there ? realpath(path, NULL) : NULL; /* a link stays a link */
        const char *to = real ? real : path;
        err = there && (size_t)st.st_size == n && same_bytes(to, at, n)
                  ? 0
                  : write_renamed(ctx, to, at, n);
        free(real);
    }
    Loc loc = {.file = standard ? "stdout" : path, .node = -1};
    return !err || diag_error(ctx, EXIT_IO, &loc, "cannot write: %s", strerror(err));
}
