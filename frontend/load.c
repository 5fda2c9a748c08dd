/* frontend/load.c — opens model files and the external files beneath their folder.
 *
 * A model's bytes are read, not mapped: what wire_scan has checked must not change before
 * wire_unpack uses it. External files hold plain numbers only and are mapped; they must be regular
 * files with one name, reached without following any link. */
#define _DEFAULT_SOURCE
#include "frontend/load.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What unpacking may take beside the file itself: together 4 x file + 256 MiB. */
static uint64_t unpack_budget(size_t n) {
    return 3 * (uint64_t)n + (UINT64_C(256) << 20);
}

/* ---- unpacking ------------------------------------------------------------------------------- */

static const struct Magic {
    int at, len;
    const char *bytes, *what;
} MAGIC[] = {
    {0, 4, "\x89PNG", "a PNG image"},
    {0, 3, "\xff\xd8\xff", "a JPEG image"},
    {0, 2, "\x1f\x8b", "gzip-compressed: gunzip it first"},
    {0, 6,
     "\xfd"
     "7zXZ",
     "xz-compressed: unxz it first"},
    {0, 4, "PK\3\4", "a zip archive (.npz, or a PyTorch file)"},
    {0, 4, "\x89HDF", "an HDF5 file (Keras?)"},
    {0, 6, "\x93NUMPY", "a NumPy array"},
    {0, 4,
     "\x7f"
     "ELF",
     "an ELF binary"},
    {0, 4, "GGUF", "a GGUF file"},
    {4, 4, "TFL3", "a TensorFlow Lite model"},
    {4, 4, "ORTM", "an ONNX Runtime (.ort) model"},
    {0, 23, "version https://git-lfs", "a Git LFS pointer: run git lfs pull"},
};

/* What a file that is not protobuf may be; NULL when there is nothing to say. */
static const char *file_guess(const unsigned char *at, size_t n) {
    for (size_t i = 0; i < sizeof MAGIC / sizeof *MAGIC; i++) {
        const struct Magic *m = &MAGIC[i];
        if (n >= (size_t)(m->at + m->len) && !memcmp(at + m->at, m->bytes, (size_t)m->len))
            return m->what;
    }
    for (size_t i = 0; i < n && i < 512; i++)
        if ((at[i] < 0x20 && !strchr("\t\n\r\f", at[i])) || at[i] == 0x7f || !at[i])
            return NULL;
    return "a text file";
}

static bool not_this(Ctx *ctx, const Loc *loc, const unsigned char *at, size_t n, const char *what,
                     const char *why) {
    const char *guess = file_guess(at, n);
    if (guess)
        return diag_error(ctx, EXIT_MALFORMED, loc, "not %s: it looks like %s", what, guess);
    diag_error(ctx, EXIT_MALFORMED, loc, "not %s: %s", what, why);
    if (strstr(why, "past the end"))
        diag_note(ctx, "the file has %zu bytes: was it copied or downloaded to its end?", n);
    return false;
}

void *file_unpack(Ctx *ctx, const char *path, unsigned char *at, size_t n,
                  const ProtobufCMessageDescriptor *desc, const char *what) {
    Loc loc = {.file = strcmp(path, "-") == 0 ? "stdin" : path, .node = -1};
    uint64_t cost, budget = unpack_budget(n);
    WireFault fault;
    if (!wire_scan(at, n, desc, &cost, &fault)) {
        not_this(ctx, &loc, at, n, what,
                 str_f(ctx, "%s (%s, byte %zu)", fault.why, fault.in, fault.where));
        return NULL;
    }
    if (budget > arena_room(ctx->arena))
        budget = arena_room(ctx->arena);
    void *msg = cost > budget ? NULL : wire_unpack(ctx, at, n, desc, budget - cost);
    if (!msg)
        diag_error(ctx, EXIT_LIMIT, &loc,
                   "a file of %zu bytes asks for more than %llu MiB of memory", n,
                   (unsigned long long)(budget >> 20));
    return msg;
}

/* The folder of `path`, for external data; -1 when it cannot be opened. */
static int folder_open(Ctx *ctx, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *dir = !slash ? "." : slash == path ? "/" : str_n(ctx, path, (size_t)(slash - path));
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void info_start(Ctx *ctx, const char *path, OnnxFile *info) {
    memset(info, 0, sizeof *info);
    info->folder = -1;
    info->path = str(ctx, path);
    ctx->file = strcmp(path, "-") == 0 ? str(ctx, "stdin") : info->path;
}

static Onnx__ModelProto *unpack_model(Ctx *ctx, unsigned char *at, OnnxFile *info) {
    info->by_name = map_new(ctx);
    Onnx__ModelProto *model = file_unpack(ctx, info->path, at, info->bytes,
                                          &onnx__model_proto__descriptor, "an ONNX model");
    if (!model || model->graph)
        return model;
    not_this(ctx, NULL, at, info->bytes, "an ONNX model", "it has no graph");
    return NULL;
}

Onnx__ModelProto *onnx_load(Ctx *ctx, const char *path, OnnxFile *info) {
    unsigned char *at;
    info_start(ctx, path, info);
    if (!file_read_hashed(ctx, path, &at, &info->bytes, info->sha256))
        return NULL;
    Onnx__ModelProto *model = unpack_model(ctx, at, info);
    if (model && strcmp(path, "-") != 0)
        info->folder = folder_open(ctx, path);
    return model;
}

Onnx__ModelProto *onnx_load_bytes(Ctx *ctx, const char *name, const void *bytes, size_t n,
                                  OnnxFile *info) {
    info_start(ctx, name, info);
    info->bytes = n;
    sha256_hex(bytes, n, info->sha256);
    if (n)
        return unpack_model(ctx, ctx_copy(ctx, bytes, n), info);
    diag_error(ctx, EXIT_MALFORMED, NULL, "the model is empty");
    return NULL;
}

void onnx_close(OnnxFile *info) {
    for (int i = 0; i < info->external.len; i++)
        if (info->external.at[i]->size)
            munmap((void *)(uintptr_t)info->external.at[i]->at, info->external.at[i]->size);
    info->external.len = 0;
    if (info->path && info->folder >= 0)
        close(info->folder);
    info->folder = -1;
}

/* ---- external data --------------------------------------------------------------------------- */

/* Opens `path` beneath the folder, one component at a time so that no link is followed. */
static int open_beneath(int folder, const char *path, const char **why) {
    char part[NAME_MAX + 1];
    int dir = folder, fd = -1;
    while (*path) {
        size_t len = strcspn(path, "/"), skip = strspn(path + len, "/");
        bool last = !path[len + skip], again = len == 1 && path[0] == '.' && !last;
        *why = len == 2 && !memcmp(path, "..", 2) ? "its path has \"..\""
               : len == 0                         ? "its path is absolute"
               : len > NAME_MAX                   ? "its path has a part of over 255 bytes"
                                                  : NULL;
        if (*why)
            break;
        memcpy(part, path, len);
        part[len] = 0;
        path += len + skip;
        if (again)
            continue;
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
        int next = openat(dir, part, flags);
        if (next < 0)
            *why = errno == ELOOP || errno == ENOTDIR ? "its path has a symbolic link or no folder"
                                                      : strerror(errno);
        if (dir != folder)
            close(dir);
        dir = next;
        if (next < 0 || last) {
            fd = next;
            dir = folder;
            break;
        }
    }
    if (dir != folder)
        close(dir);
    return fd;
}

/* Why the open file must not be used as external data; NULL when it may. */
static const char *external_check(const struct stat *st, const OnnxExternal *known, int64_t offset,
                                  int64_t length) {
    int64_t end;
    if (!S_ISREG(st->st_mode))
        return "it is not a regular file";
    if (st->st_nlink != 1)
        return "it has more than one hard link";
    if (known && ((uint64_t)st->st_dev != known->dev || (uint64_t)st->st_ino != known->ino ||
                  (size_t)st->st_size != known->size))
        return "it changed while it was read";
    if (offset < 0 || length < 0 || !add_ok(offset, length, &end) || end > st->st_size)
        return "offset and length run past its end";
    return NULL;
}

const void *external_range(Ctx *ctx, OnnxFile *info, const char *location, int64_t offset,
                           int64_t length, const char **why, int *code) {
    *code = EXIT_IO;
    if (!info || info->folder < 0) {
        *why = "a model without a folder (standard input) can have none";
        return NULL;
    }
    *why = "its path is empty";
    int fd = open_beneath(info->folder, location, why);
    if (fd < 0)
        return NULL;
    struct stat st;
    Str name = str(ctx, location);
    OnnxExternal *e = map_get(info->by_name, name);
    *why = fstat(fd, &st) != 0 ? strerror(errno) : external_check(&st, e, offset, length);
    *code = EXIT_MALFORMED;
    if (!*why && !e) {
        void *at = NULL;
        if (st.st_size > 0)
            at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (at == MAP_FAILED) {
            *why = strerror(errno);
        } else {
            e = ctx_new(ctx, OnnxExternal);
            *e = (OnnxExternal){name, at, (size_t)st.st_size, (uint64_t)st.st_dev,
                                (uint64_t)st.st_ino};
            vec_push(ctx, &info->external, e);
            map_put(info->by_name, name, e);
        }
    }
    close(fd);
    static const char none[1] = "";
    return *why ? NULL : e->at ? e->at + offset : (const void *)none;
}
