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
    TEMP_TRIES = 100,
    JOIN_ALIGN = 64,
    COMPARE_PART = 1 << 16
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

unsigned char *spans_join(Ctx *ctx, const Spans *p, size_t *n) {
    *n = 0;
    for (int i = 0; i < p->len; i++)
        *n += p->at[i].len;
    uintptr_t at = (uintptr_t)ctx_alloc(ctx, *n + JOIN_ALIGN);
    unsigned char *all = (unsigned char *)((at + JOIN_ALIGN - 1) / JOIN_ALIGN * JOIN_ALIGN),
                  *to = all;
    for (int i = 0; i < p->len; i++) {
        memcpy(to, p->at[i].at, p->at[i].len);
        to += p->at[i].len;
    }
    return all;
}

/* 0 or errno. */
static int write_all(int fd, const Spans *p) {
    for (int i = 0; i < p->len; i++) {
        const char *at = p->at[i].at;
        for (size_t n = p->at[i].len; n;) {
            ssize_t k = write(fd, at, n < IO_MOST ? n : IO_MOST);
            if (k < 0 && errno != EINTR)
                return errno;
            at += k > 0 ? k : 0;
            n -= k > 0 ? (size_t)k : 0;
        }
    }
    return 0;
}

/* Are the next bytes of the file those of the piece? */
static bool same_span(int fd, const Span *p, unsigned char *part) {
    const unsigned char *at = p->at;
    for (size_t done = 0; done < p->len;) {
        size_t want = p->len - done < COMPARE_PART ? p->len - done : COMPARE_PART;
        if (read_all(fd, part, want) != (int64_t)want || memcmp(part, at + done, want))
            return false;
        done += want;
    }
    return true;
}

/* The file's length is known to be right. */
static bool same_bytes(const char *path, const Spans *p) {
    unsigned char part[COMPARE_PART];
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool same = fd >= 0;
    for (int i = 0; same && i < p->len; i++)
        same = same_span(fd, &p->at[i], part);
    if (fd >= 0)
        close(fd);
    return same;
}

/* Writes beside `path`, then renames; 0 or errno. */
static int write_renamed(Ctx *ctx, const char *path, const Spans *p) {
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
    int err = write_all(fd, p);
    if (close(fd) != 0 && !err)
        err = errno;
    if (!err && rename(temp, path) != 0)
        err = errno;
    if (err)
        unlink(temp);
    return err;
}

/* To what is there and no regular file: /dev/stdout, /dev/null, a FIFO. No renaming. */
static int write_device(const char *path, const Spans *p) {
    int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    int err = fd < 0 ? errno : write_all(fd, p);
    if (fd >= 0)
        close(fd);
    return err;
}

static int write_regular(Ctx *ctx, const char *path, const struct stat *there, const Spans *p) {
    char *real = there ? realpath(path, NULL) : NULL; /* a link stays a link */
    const char *to = real ? real : path;
    size_t n = 0;
    for (int i = 0; i < p->len; i++)
        n += p->at[i].len;
    bool same = there && (size_t)there->st_size == n && same_bytes(to, p);
    int err = same ? 0 : write_renamed(ctx, to, p);
    free(real);
    return err;
}

bool file_write_spans(Ctx *ctx, const char *path, const Spans *p) {
    struct stat st;
    bool standard = strcmp(path, "-") == 0, there = !standard && stat(path, &st) == 0;
    int err = standard                        ? write_all(STDOUT_FILENO, p)
              : there && S_ISDIR(st.st_mode)  ? EISDIR
              : there && !S_ISREG(st.st_mode) ? write_device(path, p)
                                              : write_regular(ctx, path, there ? &st : NULL, p);
    Loc loc = {.file = standard ? "stdout" : path, .node = -1};
    return !err || diag_error(ctx, EXIT_IO, &loc, "cannot write: %s", strerror(err));
}

bool file_write(Ctx *ctx, const char *path, const char *at, size_t n) {
    Span piece = {at, n};
    Spans p = {&piece, 1, 1};
    return file_write_spans(ctx, path, &p);
}
