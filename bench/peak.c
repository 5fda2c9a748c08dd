/* Probes of what one core of this machine can do at this moment, for bench/probe.py: multiply-adds and reads.
 * Compiled with -DLANES=4, 8 or 16 and the target's flags. clock: 0 processor time of this thread, so that
 * other work on the machine takes time but not measure; 1 wall time. */
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef float vec __attribute__((vector_size(LANES * 4)));

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

static double now(int clock) {
    struct timespec t;
    clock_gettime(clock ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of twelve independent chains of multiply-adds. */
double probe_peak(int64_t rounds, int clock) {
    volatile float seed = 1.0f;
    vec x = {0}, y = {0};
    x += seed;
    y += seed * 0.5f;
#define START(i) vec a##i = x * (float)i;
    CHAINS(START)
    double start = now(clock);
    for (int64_t r = 0; r < rounds; r++) {
#if defined(__FMA__)
#define STEP(i) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(a##i) : "v"(x), "v"(y));
#else
#define STEP(i)                                                                                    \
    a##i += x * y;                                                                                 \
    __asm__ volatile("" : "+x"(a##i), "+x"(x));
#endif
        CHAINS(STEP)
        CHAINS(STEP)
    }
    double took = now(clock) - start;
    vec sum = {0};
#define SUM(i) sum += a##i;
    CHAINS(SUM)
    volatile float keep = sum[0];
    (void)keep;
    return 24e-9 * 2 * LANES * (double)rounds / took;
}

static void read_once(const char *p, int64_t bytes) {
    for (int64_t i = 0; i + 8 * (int64_t)sizeof(vec) <= bytes; i += 8 * (int64_t)sizeof(vec)) {
        vec v0, v1, v2, v3, v4, v5, v6, v7;
        memcpy(&v0, p + i, sizeof(vec));
        memcpy(&v1, p + i + 1 * sizeof(vec), sizeof(vec));
        memcpy(&v2, p + i + 2 * sizeof(vec), sizeof(vec));
        memcpy(&v3, p + i + 3 * sizeof(vec), sizeof(vec));
        memcpy(&v4, p + i + 4 * sizeof(vec), sizeof(vec));
        memcpy(&v5, p + i + 5 * sizeof(vec), sizeof(vec));
        memcpy(&v6, p + i + 6 * sizeof(vec), sizeof(vec));
        memcpy(&v7, p + i + 7 * sizeof(vec), sizeof(vec));
        /* in two halves: registers of sse2 are sixteen, and vec may live in two */
        __asm__ volatile("" ::"x"(v0), "x"(v1), "x"(v2), "x"(v3));
        __asm__ volatile("" ::"x"(v4), "x"(v5), "x"(v6), "x"(v7));
    }
}

/* GB/s of reading `bytes` `times` times (plain vector loads). */
double probe_read(const void *at, int64_t bytes, int64_t times, int clock) {
    double start = now(clock);
    for (int64_t i = 0; i < times; i++) {
        read_once(at, bytes);
        __asm__ volatile("" ::: "memory");
    }
    return 1e-9 * (double)bytes * (double)times / (now(clock) - start);
}
