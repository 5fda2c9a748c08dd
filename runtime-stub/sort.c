/* runtime-stub/sort.c — orders: the k largest, distinct elements, suppression of overlapping boxes.
 * Elements are compared by an integer key: NaN is the largest, -0 equals 0. */
#include "lcc.h"

#include <string.h>

/* lcc:piece lcc_size needs lcc_arg */
/* Bytes of one element of the type (ONNX TensorProto.DataType). */
static inline size_t lcc_size(int32_t type) {
    switch (type) {
    case 7:
    case 11:
    case 13:
    case 14:
        return 8;
    case 1:
    case 6:
    case 12:
        return 4;
    case 4:
    case 5:
    case 10:
    case 16:
        return 2;
    case 8:
    case 15:
        return 16;
    default:
        return 1;
    }
}

/* lcc:piece lcc_key needs lcc_arg lcc_size memcpy */
/* An integer that sorts as element i does. Not for text. */
static inline int64_t lcc_key(const lcc_arg *a, int64_t i) {
    uint64_t b = 0, sign, inf;
    uint32_t w = 0;
    uint16_t h = 0;
    int64_t v = 0;
    size_t n = lcc_size(a->type);
    const unsigned char *p = (const unsigned char *)a->data + (size_t)i * n;
    if (n == 8) {
        memcpy(&b, p, 8);
    } else if (n == 4) {
        memcpy(&w, p, 4);
        b = w;
    } else if (n == 2) {
        memcpy(&h, p, 2);
        b = h;
    } else {
        b = *p;
    }
    sign = (uint64_t)1 << (8 * n - 1);
    inf = a->type == 1 ? 0x7f800000u : a->type == 10 ? 0x7c00u : a->type == 16 ? 0x7f80u : 0;
    inf = a->type == 11 ? (uint64_t)0x7ff << 52 : inf;
    if (inf) {
        v = (int64_t)(b & (sign - 1));
        return (uint64_t)v > inf ? INT64_MAX : b & sign ? -v : v;
    }
    if (a->type == 13) /* order of u64 as order of i64 */
        return b & sign ? (int64_t)(b - sign) : (int64_t)b - INT64_MAX - 1;
    if (a->type == 3 || (a->type >= 5 && a->type <= 7) || a->type == 22 || a->type == 26)
        return b & sign ? (int64_t)(b - sign) - (int64_t)(sign - 1) - 1 : (int64_t)b;
    return (int64_t)b;
}

/* lcc:piece lcc_order needs lcc_arg */
/* Positions i of a tensor seen as [outer, n, inner], one row or all of it. */
typedef struct lcc_order {
    const lcc_arg *x;
    int64_t base, step; /* one row: element i is at base + i * step */
    int64_t outer, n, inner;
    int down; /* largest first */
} lcc_order;
/* Does position i come before j? A total order. */
typedef int (*lcc_before)(const lcc_order *o, int64_t i, int64_t j);

/* lcc:piece lcc_sift needs lcc_order */
/* at[0..n) is a heap, the last in order at its root, but for at[i]: moves that down to its place. */
static void lcc_sift(int64_t *at, int64_t n, int64_t i, lcc_before before, const lcc_order *o) {
    int64_t kid, moved = at[i];
    for (; (kid = 2 * i + 1) < n; i = kid) {
        if (kid + 1 < n && before(o, at[kid], at[kid + 1]))
            kid++;
        if (!before(o, moved, at[kid]))
            break;
        at[i] = at[kid];
    }
    at[i] = moved;
}

/* lcc:piece lcc_sort needs lcc_sift */
static void lcc_sort(int64_t *at, int64_t n, lcc_before before, const lcc_order *o) {
    int64_t i, last;
    for (i = n / 2; i-- > 0;)
        lcc_sift(at, n, i, before, o);
    for (i = n; i-- > 1;) {
        last = at[0];
        at[0] = at[i];
        at[i] = last;
        lcc_sift(at, i, 0, before, o);
    }
}

/* lcc:piece lcc_before_row needs lcc_order lcc_key */
/* By key along a row; equal keys: the lower position first. */
static int lcc_before_row(const lcc_order *o, int64_t i, int64_t j) {
    int64_t a = lcc_key(o->x, o->base + i * o->step), b = lcc_key(o->x, o->base + j * o->step);
    if (a == b)
        return i < j;
    return o->down ? a > b : a < b;
}

/* lcc:piece lcc_shape_around needs lcc_order */
/* Fills outer, n, inner for an axis; -1: the tensor as one row. */
static void lcc_shape_around(lcc_order *o, const lcc_arg *x, int64_t axis) {
    int32_t i;
    o->x = x;
    o->outer = o->n = o->inner = 1;
    for (i = 0; i < x->rank; i++) {
        if (axis < 0 || i == axis)
            o->n *= x->dims[i];
        else if (i < axis)
            o->outer *= x->dims[i];
        else
            o->inner *= x->dims[i];
    }
}

/* lcc:piece lcc_merge */
/* a[0..m) and a[m..n), each in order, into b. Two of one length from both ends, without branches. */
static inline void lcc_merge(const uint64_t *a, uint64_t *b, int64_t m, int64_t n) {
    const uint64_t *p = a, *q = a + m, *pe = q, *qe = a + n;
    uint64_t *e = b + n;
    int64_t both = n == 2 * m ? m : 0;
    uint64_t x, y, c;
    for (; both > 0; both--) {
        x = *p, y = *q;
        c = x < y;
        *b++ = y ^ ((x ^ y) & (0 - c));
        p += c, q += 1 - c;
        x = pe[-1], y = qe[-1];
        c = y < x;
        *--e = y ^ ((x ^ y) & (0 - c));
        pe -= c, qe -= 1 - c;
    }
    while (p < pe && q < qe) {
        x = *p, y = *q;
        c = x < y;
        *b++ = y ^ ((x ^ y) & (0 - c));
        p += c, q += 1 - c;
    }
    while (p < pe)
        *b++ = *p++;
    while (q < qe)
        *b++ = *q++;
}

/* lcc:piece lcc_sort_two */
static inline void lcc_sort_two(uint64_t *a, uint64_t *b) {
    uint64_t x = *a, y = *b, c = x < y, d = (x ^ y) & (0 - c);
    *a = y ^ d;
    *b = x ^ d;
}

/* lcc:piece lcc_sort_keys needs lcc_merge lcc_sort_two */
/* Sorts a[0..n), all different; b is as long. Runs of four, merged. */
static void lcc_sort_keys(uint64_t *a, uint64_t *b, int64_t n) {
    uint64_t *from = a, *to = b, *swap;
    int64_t run, i, j;
    for (i = 0; i + 3 < n; i += 4) {
        lcc_sort_two(a + i, a + i + 1);
        lcc_sort_two(a + i + 2, a + i + 3);
        lcc_sort_two(a + i, a + i + 2);
        lcc_sort_two(a + i + 1, a + i + 3);
        lcc_sort_two(a + i + 1, a + i + 2);
    }
    for (; i < n; i++)
        for (j = i; j % 4 > 0; j--)
            lcc_sort_two(a + j - 1, a + j);
    for (run = 4; run < n; run *= 2) {
        for (i = 0; i < n; i += 2 * run)
            lcc_merge(from + i, to + i, run < n - i ? run : n - i,
                      2 * run < n - i ? 2 * run : n - i);
        swap = from;
        from = to;
        to = swap;
    }
    for (i = 0; from != a && i < n; i++)
        a[i] = from[i];
}

/* lcc:piece lcc_key_f32 needs memcpy */
static inline int64_t lcc_key_f32(const float *x) {
    uint32_t w, m;
    memcpy(&w, x, 4);
    m = w & 0x7fffffffu;
    return m > 0x7f800000u ? 0x7fffffff : w == m ? (int64_t)m : -(int64_t)m; /* NaN: the largest */
}

/* lcc:piece lcc_row_keys needs lcc_order lcc_key lcc_key_f32 */
/* The keys of a row, from small to large as its elements come, as differences from the first of them. at: instead
 * of the elements in turn those in this order; NULL. The largest. */
static uint64_t lcc_row_keys(const lcc_order *o, const int64_t *at, uint64_t *key) {
    const float *x = (const float *)o->x->data;
    int64_t first = INT64_MAX, last = INT64_MIN, v, i, j;
    int small = lcc_size(o->x->type) < 8, f32 = o->x->type == 1;
    for (i = 0; i < o->n; i++) {
        j = o->base + (at ? at[i] : i) * o->step;
        v = f32 ? lcc_key_f32(x + j) : lcc_key(o->x, j);
        v = small && v == INT64_MAX ? 0x7fffffff : v; /* NaN */
        first = v < first ? v : first;
        last = v > last ? v : last;
        key[i] = (uint64_t)v;
    }
    for (i = 0; i < o->n; i++)
        key[i] = o->down ? (uint64_t)last - key[i] : key[i] - (uint64_t)first;
    return o->n ? (uint64_t)last - (uint64_t)first : 0;
}

/* lcc:piece lcc_sort_digits needs memset */
/* Sorts a[0..n) by `digits` bytes from bit `shift` on, equal ones as they stand; b is as long. */
static void lcc_sort_digits(uint64_t *a, uint64_t *b, int64_t n, int shift, int digits) {
    uint64_t *from = a, *to = b, *swap;
    int64_t count[256], at, next, i;
    for (; digits > 0; digits--, shift += 8) {
        memset(count, 0, sizeof count);
        for (i = 0; i < n; i++)
            count[from[i] >> shift & 255]++;
        for (i = 0, at = 0; i < 256; i++, at = next) {
            next = at + count[i];
            count[i] = at;
        }
        for (i = 0; i < n; i++)
            to[count[from[i] >> shift & 255]++] = from[i];
        swap = from;
        from = to;
        to = swap;
    }
    for (i = 0; from != a && i < n; i++)
        a[i] = from[i];
}

/* lcc:piece lcc_order_row needs lcc_row_keys lcc_sort_keys lcc_sort_digits */
/* order: the elements of a row (of `at`, as above) as they come, equal ones as they stand; b is as long. 0: their
 * keys and places do not fit into 64 bits together. */
static int lcc_order_row(const lcc_order *o, const int64_t *at, uint64_t *order, uint64_t *b) {
    uint64_t most = lcc_row_keys(o, at, order), mask = 0;
    int64_t i;
    int bits = 0, digits = 0;
    for (; mask + 1 < (uint64_t)o->n; bits++)
        mask = 2 * mask + 1;
    if (bits && most >> (64 - bits))
        return 0;
    for (; most; most >>= 8)
        digits++;
    for (i = 0; i < o->n; i++)
        order[i] = order[i] << bits | (uint64_t)i;
    if (2 * digits < bits) /* fewer rounds */
        lcc_sort_digits(order, b, o->n, bits, digits);
    else
        lcc_sort_keys(order, b, o->n);
    for (i = 0; i < o->n; i++)
        order[i] = at ? (uint64_t)at[order[i] & mask] : order[i] & mask;
    return 1;
}

/* lcc:piece lcc_top_key needs lcc_order lcc_key */
/* Element i of a row of at most 32 bits, and its place: what comes before has the greater key. */
static inline uint64_t lcc_top_key(const lcc_order *o, int64_t i) {
    int64_t v = lcc_key(o->x, o->base + i * o->step);
    uint32_t u = v == INT64_MAX ? 0x7fffffffu : (uint32_t)v;
    u ^= o->x->type == 12 ? 0 : 0x80000000u;
    return (uint64_t)(o->down ? u : ~u) << 32 | (0xffffffffu - (uint32_t)i);
}

/* lcc:piece lcc_sift_top */
/* at[0..n) is a heap, the least at its root, but for at[i]. */
static inline void lcc_sift_top(uint64_t *at, int64_t n, int64_t i) {
    uint64_t moved = at[i];
    int64_t kid;
    for (; (kid = 2 * i + 1) < n; i = kid) {
        kid += kid + 1 < n && at[kid + 1] < at[kid];
        if (moved <= at[kid])
            break;
        at[i] = at[kid];
    }
    at[i] = moved;
}

/* lcc:piece lcc_top_row needs lcc_top_key lcc_sift_top lcc_sort_keys */
/* The first k of a row, in order; top has room for twice as many. Most elements are refused by a comparison with
 * the last of them. */
static void lcc_top_row(const lcc_order *o, uint64_t *top, int64_t k) {
    const float *x = o->x->type == 1 && o->down ? (const float *)o->x->data + o->base : 0;
    int64_t i, last;
    uint64_t key;
    float low;
    for (i = 0; i < k; i++)
        top[i] = lcc_top_key(o, i);
    for (i = k / 2; i-- > 0;)
        lcc_sift_top(top, k, i);
    for (i = k; i < o->n; i++) {
        if (x) {
            last = (int64_t)(0xffffffffu - (uint32_t)top[0]);
            for (low = x[last * o->step]; i < o->n && x[i * o->step] <= low;)
                i++;
            if (i == o->n)
                break;
        }
        key = lcc_top_key(o, i);
        if (key > top[0]) {
            top[0] = key;
            lcc_sift_top(top, k, 0);
        }
    }
    for (i = 0; i < k; i++)
        top[i] = ~top[i];
    lcc_sort_keys(top, top + k, k);
    for (i = 0; i < k; i++)
        top[i] = (uint32_t)top[i];
}

/* lcc:piece lcc_best_row needs lcc_before_row lcc_sort */
/* The same of elements of any type. */
static void lcc_best_row(const lcc_order *o, int64_t *best, int64_t k) {
    int64_t i;
    for (i = 0; i < k; i++)
        best[i] = i;
    for (i = k / 2; i-- > 0;)
        lcc_sift(best, k, i, lcc_before_row, o);
    for (i = k; i < o->n; i++)
        if (lcc_before_row(o, i, best[0])) {
            best[0] = i;
            lcc_sift(best, k, 0, lcc_before_row, o);
        }
    lcc_sort(best, k, lcc_before_row, o);
}

/* lcc:piece lcc_topk needs lcc_order_row lcc_top_row lcc_best_row lcc_shape_around lcc_size memcpy */
/* in: x. attr: axis, largest. out: values and i64 indices, both with k at the axis; i64 scratch [2k], or of the
 * whole row twice where k is a quarter of it or more. */
static int lcc_topk(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
                    const double *fattr) {
    lcc_order o;
    int64_t *best = (int64_t *)out[2].data, *index = (int64_t *)out[1].data;
    int64_t k = out[0].dims[attr[0]], row, i, to;
    size_t size = lcc_size(in->type);
    int whole, done;
    (void)nin, (void)nout, (void)fattr;
    lcc_shape_around(&o, in, attr[0]);
    if (k < 0 || k > o.n)
        return LCC_EINDEX;
    o.step = o.inner;
    o.down = attr[1] != 0;
    whole = out[2].count >= 2 * o.n;
    for (row = 0; k > 0 && row < o.outer * o.inner; row++) {
        o.base = row / o.inner * o.n * o.inner + row % o.inner;
        done = whole && lcc_order_row(&o, NULL, (uint64_t *)best, (uint64_t *)best + o.n);
        if (!done && size <= 4 && o.n <= 0xffffffff)
            lcc_top_row(&o, (uint64_t *)best, k);
        else if (!done)
            lcc_best_row(&o, best, k);
        for (i = 0; i < k; i++) {
            to = (row / o.inner * k + i) * o.inner + row % o.inner;
            index[to] = best[i];
            memcpy((unsigned char *)out[0].data + (size_t)to * size,
                   (const unsigned char *)in->data + (size_t)(o.base + best[i] * o.step) * size,
                   size);
        }
    }
    return 0;
}

/* lcc:piece lcc_compare_text needs lcc_str memcmp */
static inline int lcc_compare_text(const lcc_str *a, const lcc_str *b) {
    int64_t n = a->len < b->len ? a->len : b->len;
    int c = n > 0 ? memcmp(a->data, b->data, (size_t)n) : 0;
    return c ? c : a->len < b->len ? -1 : a->len > b->len;
}

/* lcc:piece lcc_compare_slice needs lcc_order lcc_key lcc_compare_text */
/* Slices i and j of [outer, n, inner], element by element: negative, 0 or positive. */
static int lcc_compare_slice(const lcc_order *o, int64_t i, int64_t j) {
    int64_t p, q, a, b;
    int c;
    for (p = 0; p < o->outer; p++)
        for (q = 0; q < o->inner; q++) {
            a = (p * o->n + i) * o->inner + q;
            b = (p * o->n + j) * o->inner + q;
            if (o->x->type == 8) {
                c = lcc_compare_text((const lcc_str *)o->x->data + a,
                                     (const lcc_str *)o->x->data + b);
                if (c)
                    return c;
                continue;
            }
            a = lcc_key(o->x, a);
            b = lcc_key(o->x, b);
            if (a != b)
                return a < b ? -1 : 1;
        }
    return 0;
}

/* lcc:piece lcc_before_slice needs lcc_compare_slice */
static int lcc_before_slice(const lcc_order *o, int64_t i, int64_t j) {
    int c = lcc_compare_slice(o, i, j);
    return c ? c < 0 : i < j;
}

/* lcc:piece lcc_order_slices needs lcc_order_row lcc_before_slice lcc_sort */
/* order: the slices as they come, equal ones as they stand; b and c are as long. */
static void lcc_order_slices(lcc_order *o, int64_t *order, int64_t *b, int64_t *c) {
    int64_t width = o->outer * o->inner, e, i;
    int sorted = o->x->type != 8 && width <= 16;
    o->step = o->inner;
    for (e = width;
         sorted && e-- > 0;) { /* by the last element first: what follows keeps its order */
        o->base = e / o->inner * o->n * o->inner + e % o->inner;
        for (i = 0; e + 1 < width && i < o->n; i++)
            c[i] = order[i];
        sorted = lcc_order_row(o, e + 1 < width ? c : NULL, (uint64_t *)order, (uint64_t *)b);
    }
    for (i = 0; !sorted && i < o->n; i++)
        order[i] = i;
    if (!sorted)
        lcc_sort(order, o->n, lcc_before_slice, o);
}

/* lcc:piece lcc_distinct needs lcc_compare_slice */
/* Of slices in order: the number of each one's group in `inverse`, of each group its first slice in `order` and
 * how many they are in `count`. How many groups. */
static int64_t lcc_distinct(const lcc_order *o, int64_t *order, int64_t *inverse, int64_t *count) {
    int64_t m = 0, i;
    for (i = 0; i < o->n; i++) {
        if (i == 0 || lcc_compare_slice(o, order[m - 1], order[i])) {
            order[m] = order[i];
            count[m++] = 0;
        }
        inverse[order[i]] = m - 1;
        count[m - 1]++;
    }
    return m;
}

/* lcc:piece lcc_unique needs lcc_order_slices lcc_distinct lcc_shape_around lcc_size memcpy */
/* in: x. attr: axis (-1: flat), sorted. out: y, i64 first index, inverse, count; i64 scratch [2n]. */
static int lcc_unique(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
                      const double *fattr) {
    lcc_order o;
    int64_t *group = (int64_t *)out[4].data, *many, *first = (int64_t *)out[1].data;
    int64_t *inverse = (int64_t *)out[2].data, *count = (int64_t *)out[3].data, m, i, j, p;
    size_t size = lcc_size(in->type), width;
    (void)nin, (void)nout, (void)fattr;
    lcc_shape_around(&o, in, attr[0]);
    many = group + o.n;
    o.down = 0;
    width = (size_t)o.inner * size;
    lcc_order_slices(&o, group, many, inverse);
    m = lcc_distinct(&o, group, inverse, many);
    for (i = 0; i < 4; i++)
        if (i != 2)
            out[i].dims[i == 0 && attr[0] > 0 ? attr[0] : 0] = m;
    if (out[0].count < o.outer * m * o.inner || out[1].count < m || out[3].count < m)
        return LCC_ECAPACITY;
    for (i = 0; attr[1] && i < m; i++) {
        first[i] = group[i];
        count[i] = many[i];
    }
    for (i = 0, p = 0; !attr[1] && i < o.n; i++) { /* as they stand in x */
        j = inverse[i];
        if (group[j] == i) {
            first[p] = i;
            count[p] = many[j];
            group[j] = -1 - p++;
        }
        inverse[i] = -1 - group[j];
    }
    for (p = 0; p < o.outer; p++)
        for (i = 0; i < m; i++)
            memcpy((unsigned char *)out[0].data + (size_t)(p * m + i) * width,
                   (const unsigned char *)in->data + (size_t)(p * o.n + first[i]) * width, width);
    return 0;
}

/* lcc:piece lcc_box */
/* Corners of a box in order; centre: given by its middle and size. */
static void lcc_box(const float *b, int64_t centre, float *y0, float *x0, float *y1, float *x1) {
    float h;
    if (centre) {
        h = b[3] / 2;
        *y0 = b[1] - h;
        *y1 = b[1] + h;
        h = b[2] / 2;
        *x0 = b[0] - h;
        *x1 = b[0] + h;
        return;
    }
    *y0 = b[0] < b[2] ? b[0] : b[2];
    *y1 = b[0] < b[2] ? b[2] : b[0];
    *x0 = b[1] < b[3] ? b[1] : b[3];
    *x1 = b[1] < b[3] ? b[3] : b[1];
}

/* lcc:piece lcc_overlaps needs lcc_box */
/* Is the intersection of two boxes over their union above the threshold? */
static int lcc_overlaps(const float *a, const float *b, int64_t centre, float threshold) {
    float p[4], q[4], h, w, area, all;
    lcc_box(a, centre, &p[0], &p[1], &p[2], &p[3]);
    lcc_box(b, centre, &q[0], &q[1], &q[2], &q[3]);
    h = (p[2] < q[2] ? p[2] : q[2]) - (p[0] > q[0] ? p[0] : q[0]);
    w = (p[3] < q[3] ? p[3] : q[3]) - (p[1] > q[1] ? p[1] : q[1]);
    if (!(h > 0) || !(w > 0))
        return 0;
    area = h * w;
    all = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - area;
    return all > 0 && area / all > threshold;
}

/* lcc:piece lcc_nms needs lcc_overlaps lcc_before_row lcc_sort */
/* in: boxes f32 [B, N, 4], scores f32 [B, C, N], f32 IoU and score thresholds or absent.
 * attr: center_point_box, the most boxes a class. out: i64 [m, 3] (batch, class, box); i64 scratch [N]. */
static int lcc_nms(const lcc_arg *in, int nin, lcc_arg *out, int nout, const int64_t *attr,
                   const double *fattr) {
    const float *boxes = (const float *)in[0].data, *scores = (const float *)in[1].data, *box;
    const float *iou = (const float *)in[2].data, *least = (const float *)in[3].data;
    int64_t n = in[0].dims[1], classes = in[1].dims[1], m = 0, i, j, k, r, row;
    int64_t *at = (int64_t *)out[1].data, *picked = (int64_t *)out[0].data;
    lcc_order o;
    (void)nin, (void)nout, (void)fattr;
    o.x = &in[1];
    o.step = 1;
    o.down = 1;
    for (row = 0; row < in[1].dims[0] * classes; row++) {
        o.base = row * n;
        box = boxes + row / classes * n * 4;
        for (i = 0, k = 0; i < n; i++)
            if (!least || scores[o.base + i] > *least)
                at[k++] = i;
        lcc_sort(at, k, lcc_before_row, &o);
        for (i = 0, r = 0; i < k && r < attr[1]; i++) { /* those picked move to the front of at */
            for (j = 0; j < r; j++)
                if (lcc_overlaps(box + 4 * at[i], box + 4 * at[j], attr[0], iou ? *iou : 0))
                    break;
            if (j < r)
                continue;
            at[r++] = at[i];
            if (3 * m + 3 <= out[0].count) {
                picked[3 * m] = row / classes;
                picked[3 * m + 1] = row % classes;
                picked[3 * m + 2] = at[i];
            }
            m++;
        }
    }
    out[0].dims[0] = m;
    return 3 * m > out[0].count ? LCC_ECAPACITY : 0;
}
