/* runtime-stub/threads.c — a pool of threads that share the iterations of a kernel's outer loops (--threads).
 *
 * The iterations of a region are cut into chunks whose number and borders the caller fixes. Every thread has a
 * range of chunks of its own and takes from the others' when it is through, so that a thread that comes late, or
 * not at all, costs nothing but its help. All memory is the caller's. */
#include "lcc.h"

#include <string.h>
#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#endif

/* lcc:piece lcc_pool_type */
#ifndef LCC_POOL_BYTES
/* Bytes of a pool of so many threads. */
#define LCC_POOL_BYTES(threads) ((size_t)768 + (size_t)256 * (size_t)(threads))
typedef struct lcc_pool lcc_pool;
#endif

/* lcc:piece lcc_atomics */
/* Without threads, and with compilers that have neither atomic operations nor threads, the caller does it all. */
#if !defined(LCC_NO_THREADS) &&                                                                    \
    (defined(__TINYC__) || !(defined(_WIN32) || defined(__unix__) || defined(__APPLE__)))
#define LCC_NO_THREADS 1
#endif
/* Linux: threads sleep in the kernel on a word; elsewhere on a condition variable. */
#if defined(__linux__) && defined(SYS_futex) && !defined(LCC_NO_FUTEX)
#define LCC_FUTEX 1
#endif
#if !defined(LCC_NO_THREADS)
#if defined(_MSC_VER) && !defined(__clang__)
static uint64_t lcc_get(uint64_t *p) {
    return (uint64_t)_InterlockedCompareExchange64((volatile __int64 *)p, 0, 0);
}
static void lcc_put(uint64_t *p, uint64_t v) {
    _InterlockedExchange64((volatile __int64 *)p, (__int64)v);
}
static void lcc_plus(uint64_t *p, uint64_t v) {
    _InterlockedExchangeAdd64((volatile __int64 *)p, (__int64)v);
}
static int lcc_swap(uint64_t *p, uint64_t old, uint64_t v) {
    return (uint64_t)_InterlockedCompareExchange64((volatile __int64 *)p, (__int64)v,
                                                   (__int64)old) == old;
}
#else
static uint64_t lcc_get(uint64_t *p) {
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
static void lcc_put(uint64_t *p, uint64_t v) {
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}
static void lcc_plus(uint64_t *p, uint64_t v) {
    __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
/* Puts v where old is; 0: something else was there. */
static int lcc_swap(uint64_t *p, uint64_t old, uint64_t v) {
    return __atomic_compare_exchange_n(p, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#endif
static void lcc_pause(void) {
#if defined(_MSC_VER) && !defined(__clang__)
    YieldProcessor();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
#endif

/* lcc:piece lcc_pool needs lcc_atomics */
/* Does iterations first..end-1 of a job. */
typedef void lcc_part(const void *job, int64_t first, int64_t end);

#if defined(LCC_NO_THREADS)
struct lcc_pool {
    int threads;
};

static lcc_pool *lcc_pool_start(void *memory, int threads) {
    lcc_pool *p = (lcc_pool *)memory;
    p->threads = threads;
    return p;
}

static void lcc_pool_stop(lcc_pool *p) {
    (void)p;
}
#else

#if defined(_WIN32)
typedef HANDLE lcc_thread;
#else
typedef pthread_t lcc_thread;
#endif

enum {
    LCC_POOL_LINE = 128,   /* what threads write apart lies apart */
    LCC_POOL_SPINS = 2000, /* looks before sleeping: 20 to 130 us of pauses */
    LCC_POOL_CHUNKS = 4095 /* at most, in one region */
};

/* What sleepers wait for. Whoever may sleep is ready first, looks once more, and leaves afterwards; who changed
 * what they look at rings. */
typedef struct lcc_bell {
    uint64_t waiting;
#if defined(LCC_FUTEX)
    uint32_t rings;
#elif defined(_WIN32)
    uint64_t rings;
    SRWLOCK lock;
    CONDITION_VARIABLE rung;
#else
    uint64_t rings;
    pthread_mutex_t lock;
    pthread_cond_t rung;
#endif
} lcc_bell;

#if defined(LCC_FUTEX)
long syscall(long number, ...);

static int lcc_bell_make(lcc_bell *b) {
    b->waiting = b->rings = 0;
    return 1;
}

static void lcc_bell_end(lcc_bell *b) {
    (void)b;
}

static uint64_t lcc_bell_ready(lcc_bell *b) {
    lcc_plus(&b->waiting, 1);
    return __atomic_load_n(&b->rings, __ATOMIC_SEQ_CST);
}

/* Sleeps while no one has rung since it was ready, or shorter. */
static void lcc_bell_sleep(lcc_bell *b, uint64_t rings) {
    enum { WAIT_PRIVATE = 128 };
    syscall(SYS_futex, &b->rings, WAIT_PRIVATE, (uint32_t)rings, (void *)0);
}

static void lcc_bell_ring(lcc_bell *b) {
    enum { WAKE_PRIVATE = 129, ALL = 0x7fffffff };
    if (!lcc_get(&b->waiting))
        return;
    __atomic_fetch_add(&b->rings, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &b->rings, WAKE_PRIVATE, ALL);
}
#else
static void lcc_bell_lock(lcc_bell *b) {
#if defined(_WIN32)
    AcquireSRWLockExclusive(&b->lock);
#else
    pthread_mutex_lock(&b->lock);
#endif
}

static void lcc_bell_unlock(lcc_bell *b) {
#if defined(_WIN32)
    ReleaseSRWLockExclusive(&b->lock);
#else
    pthread_mutex_unlock(&b->lock);
#endif
}

static int lcc_bell_make(lcc_bell *b) {
    b->waiting = b->rings = 0;
#if defined(_WIN32)
    InitializeSRWLock(&b->lock);
    InitializeConditionVariable(&b->rung);
    return 1;
#else
    return pthread_mutex_init(&b->lock, NULL) == 0 && pthread_cond_init(&b->rung, NULL) == 0;
#endif
}

static void lcc_bell_end(lcc_bell *b) {
#if defined(_WIN32)
    (void)b;
#else
    pthread_cond_destroy(&b->rung);
    pthread_mutex_destroy(&b->lock);
#endif
}

static uint64_t lcc_bell_ready(lcc_bell *b) {
    lcc_plus(&b->waiting, 1);
    lcc_bell_lock(b);
    uint64_t rings = b->rings;
    lcc_bell_unlock(b);
    return rings;
}

/* Sleeps while no one has rung since it was ready. */
static void lcc_bell_sleep(lcc_bell *b, uint64_t rings) {
    lcc_bell_lock(b);
    while (b->rings == rings)
#if defined(_WIN32)
        SleepConditionVariableSRW(&b->rung, &b->lock, INFINITE, 0);
#else
        pthread_cond_wait(&b->rung, &b->lock);
#endif
    lcc_bell_unlock(b);
}

static void lcc_bell_ring(lcc_bell *b) {
    if (!lcc_get(&b->waiting))
        return;
    lcc_bell_lock(b);
    b->rings++;
#if defined(_WIN32)
    WakeAllConditionVariable(&b->rung);
#else
    pthread_cond_broadcast(&b->rung);
#endif
    lcc_bell_unlock(b);
}
#endif

static void lcc_bell_leave(lcc_bell *b) {
    lcc_plus(&b->waiting, ~(uint64_t)0);
}

/* One thread's own line: written by it, and by who takes chunks of its. */
typedef struct lcc_worker {
    uint64_t range; /* region << 12 | its next chunk; a former region: it has them all still */
    uint64_t did;   /* chunks since the start */
    lcc_pool *pool;
    lcc_thread thread;
    int number;
} lcc_worker;

struct lcc_pool {
    /* first line: written by the caller of run, once a region; a small job goes with it */
    uint64_t region; /* number << 12 | chunks, from 1; ~0: the end */
    lcc_part *part;
    const void *job;
    int64_t n;
    uint64_t room[LCC_POOL_LINE / 8 - 5];
    uint64_t goal; /* chunks of all regions so far */
    /* read by all */
    int threads;
    lcc_bell start, end;
    char line[LCC_POOL_LINE];
};

/* Behind the pool, a line each; number 0 is the caller. */
static lcc_worker *lcc_pool_worker(lcc_pool *p, int i) {
    uintptr_t first = ((uintptr_t)(p + 1) + LCC_POOL_LINE - 1) / LCC_POOL_LINE * LCC_POOL_LINE;
    return (lcc_worker *)(void *)(first + (uintptr_t)i * LCC_POOL_LINE);
}

/* Takes chunks until none is left, half of what there is at a time: of its own, then of the others'. Chunks are
 * taken from this region only, since the word says whose they are, and no region ends before all its chunks are
 * done: who has one may read the job. */
static void lcc_pool_share(lcc_pool *p, int me, uint64_t region) {
    uint64_t number = region >> 12, chunks = region & 4095, threads = (uint64_t)p->threads;
    for (int k = 0; k < p->threads; k++) {
        int i = me + k < p->threads ? me + k : me + k - p->threads;
        uint64_t *range = &lcc_pool_worker(p, i)->range, did = 0;
        uint64_t end = chunks * ((uint64_t)i + 1) / threads;
        for (;;) {
            uint64_t now = lcc_get(range), at = chunks * (uint64_t)i / threads;
            if (now >> 12 >= number)
                at = now >> 12 == number ? now & 4095 : end;
            if (at >= end)
                break;
            uint64_t next = at + (end - at + 1) / 2;
            if (!lcc_swap(range, now, number << 12 | next))
                continue;
            int64_t n = p->n, all = (int64_t)chunks;
            p->part(p->job, n / all * (int64_t)at + n % all * (int64_t)at / all,
                    n / all * (int64_t)next + n % all * (int64_t)next / all);
            did += next - at;
        }
        if (did) {
            lcc_plus(&lcc_pool_worker(p, me)->did, did);
            if (me)
                lcc_bell_ring(&p->end);
        }
    }
}

#if defined(_WIN32)
static DWORD WINAPI lcc_pool_work(LPVOID data) {
#else
static void *lcc_pool_work(void *data) {
#endif
    lcc_worker *w = (lcc_worker *)data;
    lcc_pool *p = w->pool;
    uint64_t seen = 0;
    for (;;) {
        uint64_t region;
        int spins = 0;
        while ((region = lcc_get(&p->region)) == seen) {
            if (++spins < LCC_POOL_SPINS) {
                lcc_pause();
                continue;
            }
            uint64_t rings = lcc_bell_ready(&p->start);
            if (lcc_get(&p->region) == seen)
                lcc_bell_sleep(&p->start, rings);
            lcc_bell_leave(&p->start);
        }
        if (region == ~(uint64_t)0)
            return 0;
        seen = region;
        lcc_pool_share(p, w->number, region);
    }
}

/* Threads that do not start are done without. */
static lcc_pool *lcc_pool_start(void *memory, int threads) {
    uintptr_t at = ((uintptr_t)memory + LCC_POOL_LINE - 1) / LCC_POOL_LINE * LCC_POOL_LINE;
    lcc_pool *p = (lcc_pool *)(void *)at;
    int started = 1;
    p->region = p->goal = 0;
    if (!lcc_bell_make(&p->start) || !lcc_bell_make(&p->end))
        threads = 1;
    for (int i = 0; i < threads; i++) {
        lcc_worker *w = lcc_pool_worker(p, i);
        w->range = w->did = 0;
        w->pool = p;
        w->number = i;
    }
    for (; started < threads; started++) {
        lcc_worker *w = lcc_pool_worker(p, started);
#if defined(_WIN32)
        w->thread = CreateThread(NULL, 0, lcc_pool_work, w, 0, NULL);
        if (!w->thread)
            break;
#else
        if (pthread_create(&w->thread, NULL, lcc_pool_work, w) != 0)
            break;
#endif
    }
    p->threads = started;
    return p;
}

static void lcc_pool_stop(lcc_pool *p) {
    if (!p)
        return;
    lcc_put(&p->region, ~(uint64_t)0);
    lcc_bell_ring(&p->start);
    for (int i = 1; i < p->threads; i++) {
#if defined(_WIN32)
        WaitForSingleObject(lcc_pool_worker(p, i)->thread, INFINITE);
        CloseHandle(lcc_pool_worker(p, i)->thread);
#else
        pthread_join(lcc_pool_worker(p, i)->thread, NULL);
#endif
    }
    lcc_bell_end(&p->start);
    lcc_bell_end(&p->end);
}
#endif

/* lcc:piece lcc_pool_run needs lcc_pool memcpy */
/* All of it is done when this returns. One caller at a time; never from inside a part. */
#if defined(LCC_NO_THREADS)
static void lcc_pool_run(lcc_pool *p, lcc_part *part, const void *job, size_t size, int64_t n,
                         int64_t chunks) {
    (void)p;
    (void)size;
    (void)chunks;
    part(job, 0, n);
}
#else
static int lcc_pool_ready(lcc_pool *p) {
    uint64_t did = 0;
    for (int i = 0; i < p->threads; i++)
        did += lcc_get(&lcc_pool_worker(p, i)->did);
    return did == p->goal;
}

static void lcc_pool_run(lcc_pool *p, lcc_part *part, const void *job, size_t size, int64_t n,
                         int64_t chunks) {
    chunks = n < chunks ? n : chunks;
    chunks = chunks < LCC_POOL_CHUNKS ? chunks : LCC_POOL_CHUNKS;
    if (!p || p->threads < 2 || chunks < 2) {
        part(job, 0, n);
        return;
    }
    uint64_t region = ((lcc_get(&p->region) >> 12) + 1) << 12 | (uint64_t)chunks;
    p->part = part;
    p->job = size <= sizeof p->room ? memcpy(p->room, job, size) : job;
    p->n = n;
    p->goal += (uint64_t)chunks;
    lcc_put(&p->region, region);
    lcc_bell_ring(&p->start);
    lcc_pool_share(p, 0, region);
    for (int spins = 0; !lcc_pool_ready(p);) {
        if (++spins < LCC_POOL_SPINS) {
            lcc_pause();
            continue;
        }
        uint64_t rings = lcc_bell_ready(&p->end);
        if (!lcc_pool_ready(p))
            lcc_bell_sleep(&p->end, rings);
        lcc_bell_leave(&p->end);
    }
}
#endif

/* lcc:end */
