/* A bridge written by hand (docs/bridge.md), to test the loader without lcc. Outputs:
 *   sum    f32 [N]        x + y, N symbolic
 *   twice  str [2]        each string of s, then it again (text in the arena)
 *   half   i4 [3]         the values of q halved, toward zero
 *   pos    i64 [1, null]  indices of the positive elements of x (data-dependent, at most N)
 *   parts  packed         the elements of the packed sequence p, in reverse order
 *   o      optional       -o when present
 * x[0] = 1000 gives EINDEX. */
#include <stdint.h>
#include <string.h>

typedef struct lepton_tensor {
    void *data;
    int64_t count, dims[8];
    int32_t rank, reserved;
} lepton_tensor;
typedef struct {
    const char *data;
    int64_t len;
} text;

const char *lepton_signature(void) {
    return "{\"schema\":1,\"name\":\"hand\",\"target\":\"c\",\"dims\":[{\"name\":\"N\",\"min\":1,"
           "\"max\":100000},"
           "{\"name\":\"L\"},{\"name\":\"T\"}],"
           "\"inputs\":[{\"name\":\"x\",\"type\":\"f32\",\"shape\":[\"N\"]},"
           "{\"name\":\"y\",\"type\":\"f32\",\"shape\":[\"max(N, "
           "1)\"]},{\"name\":\"s\",\"type\":\"str\",\"shape\":[2]},"
           "{\"name\":\"q\",\"type\":\"i4\",\"shape\":[3]},{\"name\":\"p\",\"type\":\"f32\","
           "\"shape\":[\"T\"]},"
           "{\"name\":\"ps\",\"type\":\"i64\",\"shape\":[\"L\",2]},{\"name\":\"o\",\"type\":"
           "\"i32\",\"shape\":[]},"
           "{\"name\":\"has\",\"type\":\"bool\",\"shape\":[]}],"
           "\"outputs\":[{\"name\":\"sum\",\"type\":\"f32\",\"shape\":[\"N\"]},"
           "{\"name\":\"twice\",\"type\":\"str\",\"shape\":[2]},{\"name\":\"half\",\"type\":\"i4\","
           "\"shape\":[3]},"
           "{\"name\":\"pos\",\"type\":\"i64\",\"shape\":[1,null]},{\"name\":\"p\",\"type\":"
           "\"f32\",\"shape\":[null]},"
           "{\"name\":\"ps\",\"type\":\"i64\",\"shape\":[\"L\",2]},{\"name\":\"o\",\"type\":"
           "\"i32\",\"shape\":[]},"
           "{\"name\":\"has\",\"type\":\"bool\",\"shape\":[]}],"
           "\"args\":[{\"name\":\"x\",\"tensor\":0},{\"name\":\"y\",\"tensor\":1},{\"name\":\"s\","
           "\"tensor\":2},"
           "{\"name\":\"q\",\"tensor\":3},{\"name\":\"p\",\"packed\":{\"data\":4,\"shapes\":5}},"
           "{\"name\":\"o\",\"optional\":{\"tensor\":6},\"present\":7}],"
           "\"results\":[{\"name\":\"sum\",\"tensor\":0},{\"name\":\"twice\",\"tensor\":1},"
           "{\"name\":\"half\",\"tensor\":2},{\"name\":\"pos\",\"tensor\":3},"
           "{\"name\":\"parts\",\"packed\":{\"data\":4,\"shapes\":5}},"
           "{\"name\":\"o\",\"optional\":{\"tensor\":6},\"present\":7},{\"name\":\"nothing\","
           "\"none\":true},"
           "{\"name\":\"both\",\"sequence\":[{\"tensor\":0},{\"tensor\":2}]},"
           "{\"name\":\"maps\",\"rows\":3,\"keys\":[\"a\",\"b\"]}],\"arena_bytes\":null,\"weights_"
           "bytes\":0}";
}

size_t lepton_arena_bytes(const int64_t *dims) {
    return (size_t)dims[0] + 4096;
}

static void shape(lepton_tensor *t, int rank, int64_t a, int64_t b) {
    t->rank = rank;
    t->dims[0] = a;
    t->dims[1] = b;
}

int lepton_run(const int64_t *dims, const lepton_tensor *in, lepton_tensor *out, void *arena,
               size_t arena_bytes) {
    (void)arena_bytes;
    int64_t n = dims[0], parts = dims[1], count = 0, i;
    const float *x = in[0].data, *y = in[1].data, *p = in[4].data;
    const int64_t *ps = in[5].data;
    char *room = arena;
    if ((uintptr_t)arena % 64)
        return 4;
    if (x[0] == 1000)
        return 1;
    for (i = 0; i < n; i++)
        count += x[i] > 0;
    shape(&out[0], 1, n, 0);
    shape(&out[1], 1, 2, 0);
    shape(&out[2], 1, 3, 0);
    shape(&out[3], 2, 1, count);
    shape(&out[4], 1, in[4].count, 0);
    shape(&out[5], 2, parts, 2);
    shape(&out[6], 0, 0, 0);
    shape(&out[7], 0, 0, 0);
    if (out[3].count < count || out[4].count < in[4].count)
        return 2;
    for (i = 0, count = 0; i < n; i++) {
        ((float *)out[0].data)[i] = x[i] + y[i];
        if (x[i] > 0)
            ((int64_t *)out[3].data)[count++] = i;
    }
    for (i = 0; i < 2; i++) {
        text s = ((const text *)in[2].data)[i], *t = (text *)out[1].data + i;
        t->data = room;
        t->len = 2 * s.len;
        memcpy(room, s.data, (size_t)s.len);
        memcpy(room + s.len, s.data, (size_t)s.len);
        room += 2 * s.len;
    }
    for (i = 0; i < 3; i++)
        ((int8_t *)out[2].data)[i] = (int8_t)(((const int8_t *)in[3].data)[i] / 2);
    for (i = 0, count = in[4].count; i < parts; i++) {
        int64_t size = ps[2 * i] * ps[2 * i + 1];
        count -= size;
        memcpy((float *)out[4].data + count, p, (size_t)size * sizeof(float));
        p += size;
        ((int64_t *)out[5].data)[2 * (parts - 1 - i)] = ps[2 * i];
        ((int64_t *)out[5].data)[2 * (parts - 1 - i) + 1] = ps[2 * i + 1];
    }
    *(int32_t *)out[6].data = -*(const int32_t *)in[6].data;
    *(uint8_t *)out[7].data = *(const uint8_t *)in[7].data;
    return 0;
}
