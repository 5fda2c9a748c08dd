/* ir/file.c — whole files in, whole files out.
 *
 * Reading accepts regular files and standard input only, so that no path given by mistake blocks or
 * never ends. Writing leaves either the old files or the new ones, and does not touch a file that
 * already holds the same bytes, so that build systems see nothing to do. */
#define _DEFAULT_SOURCE
#include "ir/base.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
    COMPARE_PART = 1 << 16,
    SHARE_MIN = 1 << 20, /* bytes from which on a second thread helps */
    READ_PART = 1 << 22  /* bytes read before they are hashed */
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

/* A file that one thread reads and another hashes. */
typedef struct Reading {
    int fd;
    unsigned char *at;
    size_t size;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    size_t got;
    bool end; /* nothing more comes */
    int err;
} Reading;

static void *read_parts(void *data) {
    Reading *r = data;
    for (size_t at = 0, n = 1; n;) {
        n = r->size - at < READ_PART ? r->size - at : READ_PART;
        int64_t got = n ? read_all(r->fd, r->at + at, n) : 0;
        int err = got < 0 ? errno : 0;
        n = got > 0 ? (size_t)got : 0;
        at += n;
        pthread_mutex_lock(&r->lock);
        r->got = at;
        r->end = n == 0;
        r->err = err;
        pthread_cond_signal(&r->more);
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

/* As read_all, with the hash of what it got. */
static int64_t read_hashed(int fd, unsigned char *at, size_t size, char hex[65]) {
    Reading r = {.fd = fd,
                 .at = at,
                 .size = size,
                 .lock = PTHREAD_MUTEX_INITIALIZER,
                 .more = PTHREAD_COND_INITIALIZER};
    size_t have = 0;
    pthread_t reader;
    Sha256 sha;
    sha256_start(&sha);
    bool helped = size >= SHARE_MIN && pthread_create(&reader, NULL, read_parts, &r) == 0;
    if (!helped)
        read_parts(&r);
    for (bool end = false; !end;) {
        pthread_mutex_lock(&r.lock);
        while (!r.end && r.got == have)
            pthread_cond_wait(&r.more, &r.lock);
        have = r.got;
        end = r.end;
        pthread_mutex_unlock(&r.lock);
        sha256_more(&sha, at, have);
    }
    if (helped)
        pthread_join(reader, NULL);
    sha256_end(&sha, at, have, hex);
    errno = r.err;
    return r.err ? -1 : (int64_t)have;
}

static bool read_regular(Ctx *ctx, const Loc *loc, int fd, size_t size, unsigned char **at,
                         char *hex) {
    if (size > arena_room(ctx->arena)) {
        diag_error(ctx, EXIT_LIMIT, loc, "the file has %zu bytes, more than the memory limit",
                   size);
        diag_note(ctx, "--max-memory=BYTES sets another limit");
        return false;
    }
    *at = ctx_alloc(ctx, size);
    int64_t got = hex ? read_hashed(fd, *at, size, hex) : read_all(fd, *at, size);
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
                      size_t *n, char *hex) {
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
        if (!read_regular(ctx, loc, fd, *n, at, hex))
            return false;
    } else if (read_stream(ctx, loc, fd, at, n)) {
        if (hex)
            sha256_hex(*at, *n, hex);
    } else {
        return false;
    }
    return *n > 0 || diag_error(ctx, EXIT_MALFORMED, loc, "the file is empty");
}

bool file_read(Ctx *ctx, const char *path, unsigned char **at, size_t *n) {
    return file_read_hashed(ctx, path, at, n, NULL);
}

bool file_read_hashed(Ctx *ctx, const char *path, unsigned char **at, size_t *n, char *hex) {
    bool standard = strcmp(path, "-") == 0;
    Loc loc = {.file = standard ? "stdin" : path, .node = -1};
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return diag_error(ctx, EXIT_IO, &loc, "cannot open: %s",
                          errno == ENXIO ? "it is a socket or a device" : strerror(errno));
    bool ok = read_open(ctx, &loc, fd, standard, at, n, hex);
    if (!standard)
        close(fd);
    return ok;
}

/* ---- bytes that are made --------------------------------------------------------------------- */

/* What a piece needs to be made in: itself, and behind it what its maker asks for. */
static size_t span_room(const Span *s) {
    size_t own = (s->len + JOIN_ALIGN - 1) / JOIN_ALIGN * JOIN_ALIGN;
    return s->at || !s->by ? 0 : own + s->by->room;
}

/* Of the piece that needs most. */
static size_t spans_room(const Spans *p) {
    size_t most = 0;
    for (int i = 0; i < p->len; i++)
        most = span_room(&p->at[i]) > most ? span_room(&p->at[i]) : most;
    return most;
}

static const unsigned char *span_bytes(const Span *s, unsigned char *room) {
    if (s->at || !s->by)
        return s->at;
    s->by->make(s->by->data, room, room + span_room(s) - s->by->room);
    return room;
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
        const Maker *by = p->at[i].at ? NULL : p->at[i].by;
        if (by)
            by->make(by->data, to, by->room ? ctx_alloc(ctx, by->room) : NULL);
        else if (p->at[i].len)
            memcpy(to, p->at[i].at, p->at[i].len);
        to += p->at[i].len;
    }
    return all;
}

/* At an offset; -1: where the file stands. 0 or errno. */
static int write_bytes(int fd, const unsigned char *at, size_t n, off_t offset) {
    while (n) {
        size_t part = n < IO_MOST ? n : IO_MOST;
        ssize_t k = offset < 0 ? write(fd, at, part) : pwrite(fd, at, part, offset);
        if (k < 0 && errno != EINTR)
            return errno;
        k = k > 0 ? k : 0;
        at += k;
        n -= (size_t)k;
        offset += offset < 0 ? 0 : k;
    }
    return 0;
}

/* 0 or errno. */
static int write_all(int fd, const Spans *p) {
    size_t room = spans_room(p);
    unsigned char *made = room ? malloc(room) : NULL;
    int err = room && !made ? ENOMEM : 0;
    for (int i = 0; !err && i < p->len; i++)
        err = write_bytes(fd, span_bytes(&p->at[i], made), p->at[i].len, -1);
    free(made);
    return err;
}

/* A file that two threads write, a piece at a time. */
typedef struct Sharing {
    int fd;
    const Spans *p;
    size_t room;
    pthread_mutex_t lock; /* of what follows */
    int next, err;
    off_t at; /* of the next piece */
} Sharing;

/* The next piece and its place; NULL: there is none. err: of the one before. */
static const Span *piece_take(Sharing *s, int err, off_t *at) {
    pthread_mutex_lock(&s->lock);
    s->err = s->err ? s->err : err;
    const Span *piece = s->err || s->next == s->p->len ? NULL : &s->p->at[s->next++];
    *at = s->at;
    s->at += piece ? (off_t)piece->len : 0;
    pthread_mutex_unlock(&s->lock);
    return piece;
}

static void *write_pieces(void *data) {
    Sharing *s = data;
    unsigned char *made = malloc(s->room);
    off_t at;
    const Span *piece = piece_take(s, made ? 0 : ENOMEM, &at);
    while (piece)
        piece = piece_take(s, write_bytes(s->fd, span_bytes(piece, made), piece->len, at), &at);
    free(made);
    return NULL;
}

/* A regular file: what has to be made is made by two threads. 0 or errno. */
static int write_shared(int fd, const Spans *p) {
    Sharing s = {.fd = fd, .p = p, .room = spans_room(p), .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helper;
    if (s.room < SHARE_MIN || pthread_create(&helper, NULL, write_pieces, &s) != 0)
        return write_all(fd, p);
    write_pieces(&s);
    pthread_join(helper, NULL);
    return s.err;
}

/* Are the next bytes of the file those of the piece? */
static bool same_span(int fd, const Span *p, unsigned char *part, unsigned char *made) {
    const unsigned char *at = span_bytes(p, made);
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
    size_t room = spans_room(p);
    unsigned char *made = room ? malloc(room) : NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool same = fd >= 0 && (made || !room);
    for (int i = 0; same && i < p->len; i++)
        same = same_span(fd, &p->at[i], part, made);
    free(made);
    if (fd >= 0)
        close(fd);
    return same;
}

/* A new file beside `path` with those bytes; 0 or errno. */
static int write_temp(Ctx *ctx, const char *path, const Spans *p, Str *temp) {
    int fd = -1;
    for (int i = 0; fd < 0 && i < TEMP_TRIES; i++) {
        *temp = str_f(ctx, "%s.tmp%ld.%d", path, (long)getpid(), i);
        fd = open(*temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    int err = fd < 0 ? errno : write_shared(fd, p);
    if (fd >= 0 && close(fd) != 0 && !err)
        err = errno;
    if (fd >= 0 && err)
        unlink(*temp);
    if (err)
        *temp = NULL;
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

/* One file on its way: its temporary, to be renamed to `to`; NULL: it is written in place or stays. */
typedef struct Pending {
    const char *to;
    Str temp;
    bool direct; /* no regular file */
} Pending;

/* All that can run out of room, for a regular file; 0 or errno. */
static int file_prepare(Ctx *ctx, const FileOut *f, Pending *out) {
    struct stat st;
    bool standard = strcmp(f->path, "-") == 0, there = !standard && stat(f->path, &st) == 0;
    out->to = f->path;
    out->direct = standard || (there && !S_ISREG(st.st_mode));
    if (out->direct)
        return !standard && S_ISDIR(st.st_mode) ? EISDIR : 0;
    char *real = there ? realpath(f->path, NULL) : NULL; /* a link stays a link */
    if (real)
        out->to = str(ctx, real);
    free(real);
    size_t n = 0;
    for (int i = 0; i < f->bytes->len; i++)
        n += f->bytes->at[i].len;
    if (there && (size_t)st.st_size == n && same_bytes(out->to, f->bytes))
        return 0;
    return write_temp(ctx, out->to, f->bytes, &out->temp);
}

static int file_finish(const FileOut *f, Pending *p) {
    if (p->direct)
        return strcmp(f->path, "-") == 0 ? write_all(STDOUT_FILENO, f->bytes)
                                         : write_device(f->path, f->bytes);
    if (p->temp && rename(p->temp, p->to) != 0)
        return errno;
    p->temp = NULL;
    return 0;
}

bool files_write(Ctx *ctx, int n, const FileOut *file) {
    Pending *p = ctx_newn(ctx, Pending, n);
    int err = 0, at = 0;
    for (int i = 0; !err && i < n; i++)
        err = file_prepare(ctx, &file[at = i], &p[i]);
    for (int i = 0; !err && i < n; i++)
        err = file_finish(&file[at = i], &p[i]);
    if (!err)
        return true;
    for (int i = 0; i < n; i++)
        if (p[i].temp)
            unlink(p[i].temp);
    Loc loc = {.file = strcmp(file[at].path, "-") ? file[at].path : "stdout", .node = -1};
    return diag_error(ctx, EXIT_IO, &loc, "cannot write: %s", strerror(err));
}

bool file_write_spans(Ctx *ctx, const char *path, const Spans *p) {
    FileOut one = {path, p};
    return files_write(ctx, 1, &one);
}

bool file_write(Ctx *ctx, const char *path, const char *at, size_t n) {
    Span piece = {.at = at, .len = n};
    Spans p = {&piece, 1, 1};
    return file_write_spans(ctx, path, &p);
}
