/* tests/amx_emulation.h — the tile intrinsics that generated code uses, in plain C, for processors without AMX:
 * `cc -include tests/amx_emulation.h`. Products are added in ascending order, one rounding each; using tiles that
 * are not configured stops the program. */
#ifndef AMX_EMULATION_H
#define AMX_EMULATION_H
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct {
    int rows, bytes;
    unsigned char data[16][64];
} amx_tile[8];

static inline void amx_config(const void *shape) {
    const unsigned char *s = (const unsigned char *)shape;
    if (s[0] != 1)
        abort();
    for (int i = 0; i < 8; i++) {
        amx_tile[i].bytes = s[16 + 2 * i] | s[17 + 2 * i] << 8;
        amx_tile[i].rows = s[48 + i];
        if (amx_tile[i].rows > 16 || amx_tile[i].bytes > 64)
            abort();
        memset(amx_tile[i].data, 0, sizeof amx_tile[i].data);
    }
}

static inline void amx_release(void) {
    memset(amx_tile, 0, sizeof amx_tile);
}

static inline void amx_move(int t, void *at, long stride, int store) {
    if (!amx_tile[t].rows)
        abort();
    for (int r = 0; r < amx_tile[t].rows; r++) {
        char *p = (char *)at + r * stride;
        if (store)
            memcpy(p, amx_tile[t].data[r], (size_t)amx_tile[t].bytes);
        else
            memcpy(amx_tile[t].data[r], p, (size_t)amx_tile[t].bytes);
    }
}

static inline float amx_bf16(const unsigned char *p) {
    uint32_t u = (uint32_t)(p[0] | p[1] << 8) << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline void amx_dpbf16(int c, int a, int b) {
    for (int m = 0; m < amx_tile[c].rows; m++)
        for (int n = 0; n < amx_tile[c].bytes / 4; n++) {
            float sum;
            memcpy(&sum, amx_tile[c].data[m] + 4 * n, 4);
            for (int k = 0; k < amx_tile[a].bytes / 2; k++) {
                float x = amx_bf16(amx_tile[a].data[m] + 2 * k);
                float product = x * amx_bf16(amx_tile[b].data[k / 2] + 4 * n + k % 2 * 2);
                sum += product;
            }
            memcpy(amx_tile[c].data[m] + 4 * n, &sum, 4);
        }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(shape) amx_config(shape)
#define _tile_release() amx_release()
#define _tile_loadd(t, at, stride) amx_move(t, (void *)(uintptr_t)(at), (long)(stride), 0)
#define _tile_stored(t, at, stride) amx_move(t, at, (long)(stride), 1)
#define _tile_dpbf16ps(c, a, b) amx_dpbf16(c, a, b)
#endif
