/* runtime-stub/threads.c — a pool of threads that share the iterations of a kernel's outer loops (--threads).
 *
 * The iterations of a region are cut into chunks whose number and borders the caller fixes. Every thread has a
 * range of chunks of its own and takes from the others' when it is through, so that a thread that comes late, or
 * not at all, costs nothing but its help. All memory is the caller's. */
#include "lcc.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#include <sched.h>
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
typedef SRWLOCK lcc_lock;
typedef CONDITION_VARIABLE lcc_bell;
#else
typedef pthread_t lcc_thread;
typedef pthread_mutex_t lcc_lock;
typedef pthread_cond_t lcc_bell;
#endif

enum {
    LCC_POOL_LINE = 128,   /* what threads write apart lies apart */
    LCC_POOL_SPINS = 2000, /* pauses before sleeping: 20 to 80 us */
    LCC_POOL_CHUNKS = 4095 /* at most, in one region */
};

/* One thread's own line. */
typedef struct lcc_worker {
    uint64_t range; /* turn << 24 | next chunk << 12 | end of its chunks: only whole words change */
    lcc_pool *pool;
    lcc_thread thread;
    int number;
} lcc_worker;

struct lcc_pool {
    /* first line: written by the caller of run, once a region */
    uint64_t turn; /* number of the region; ~0: the end */
    uint64_t part, job, n, chunks;
    int threads;
    char line1[LCC_POOL_LINE - 5 * 8 - sizeof(int)];
    uint64_t done; /* chunks of this region */
    char line2[LCC_POOL_LINE - 8];
    uint64_t asleep;
    lcc_lock lock;
    lcc_bell bell;
    char line3[LCC_POOL_LINE];
};

/* Behind the pool, a line each; number 0 is the caller. */
static lcc_worker *lcc_pool_worker(lcc_pool *p, int i) {
    uintptr_t first = ((uintptr_t)(p + 1) + LCC_POOL_LINE - 1) / LCC_POOL_LINE * LCC_POOL_LINE;
    return (lcc_worker *)(void *)(first + (uintptr_t)i * LCC_POOL_LINE);
}

/* Takes chunks until none is left, half of a range at a time: of its own, then of the others'. Chunks are
 * taken only from the region whose job was read, since the word holds the turn; and no region ends before
 * all its chunks are done. */
static void lcc_pool_share(lcc_pool *p, int me) {
    uint64_t did = 0;
    for (int k = 0; k < p->threads; k++) {
        uint64_t *range = &lcc_pool_worker(p, (me + k) % p->threads)->range;
        for (uint64_t now = lcc_get(range); (now >> 12 & 4095) < (now & 4095);
             now = lcc_get(range)) {
            lcc_part *part = (lcc_part *)(uintptr_t)lcc_get(&p->part);
            const void *job = (const void *)(uintptr_t)lcc_get(&p->job);
            int64_t n = (int64_t)lcc_get(&p->n), chunks = (int64_t)lcc_get(&p->chunks);
            int64_t i = (int64_t)(now >> 12 & 4095);
            uint64_t take = ((now & 4095) - (uint64_t)i + 1) / 2;
            int64_t end = i + (int64_t)take;
            if (!lcc_swap(range, now, now + (take << 12)))
                continue;
            part(job, n / chunks * i + n % chunks * i / chunks,
                 n / chunks * end + n % chunks * end / chunks);
            did += take;
        }
    }
    if (did)
        lcc_plus(&p->done, did);
}

static void lcc_pool_sleep(lcc_pool *p, uint64_t turn) {
#if defined(_WIN32)
    AcquireSRWLockExclusive(&p->lock);
    lcc_plus(&p->asleep, 1);
    while (lcc_get(&p->turn) == turn)
        SleepConditionVariableSRW(&p->bell, &p->lock, INFINITE, 0);
    lcc_plus(&p->asleep, ~(uint64_t)0);
    ReleaseSRWLockExclusive(&p->lock);
#else
    pthread_mutex_lock(&p->lock);
    lcc_plus(&p->asleep, 1);
    while (lcc_get(&p->turn) == turn)
        pthread_cond_wait(&p->bell, &p->lock);
    lcc_plus(&p->asleep, ~(uint64_t)0);
    pthread_mutex_unlock(&p->lock);
#endif
}

static void lcc_pool_wake(lcc_pool *p) {
    if (!lcc_get(&p->asleep))
        return;
#if defined(_WIN32)
    AcquireSRWLockExclusive(&p->lock);
    WakeAllConditionVariable(&p->bell);
    ReleaseSRWLockExclusive(&p->lock);
#else
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->bell);
    pthread_mutex_unlock(&p->lock);
#endif
}

#if defined(_WIN32)
static DWORD WINAPI lcc_pool_work(LPVOID data) {
#else
static void *lcc_pool_work(void *data) {
#endif
    lcc_worker *w = (lcc_worker *)data;
    uint64_t seen = 0;
    for (;;) {
        uint64_t turn;
        int spins = 0;
        while ((turn = lcc_get(&w->pool->turn)) == seen) {
            if (++spins < LCC_POOL_SPINS)
                lcc_pause();
            else
                lcc_pool_sleep(w->pool, seen);
        }
        if (turn == ~(uint64_t)0)
            return 0;
        seen = turn;
        lcc_pool_share(w->pool, w->number);
    }
}

/* Threads that do not start are done without. */
static lcc_pool *lcc_pool_start(void *memory, int threads) {
    uintptr_t at = ((uintptr_t)memory + LCC_POOL_LINE - 1) / LCC_POOL_LINE * LCC_POOL_LINE;
    lcc_pool *p = (lcc_pool *)(void *)at;
    int started = 1;
    p->turn = p->part = p->job = p->n = p->chunks = p->done = p->asleep = 0;
#if defined(_WIN32)
    InitializeSRWLock(&p->lock);
    InitializeConditionVariable(&p->bell);
#else
    if (pthread_mutex_init(&p->lock, NULL) != 0 || pthread_cond_init(&p->bell, NULL) != 0)
        threads = 1;
#endif
    for (; started < threads; started++) {
        lcc_worker *w = lcc_pool_worker(p, started);
        w->range = 0;
        w->pool = p;
        w->number = started;
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
    lcc_put(&p->turn, ~(uint64_t)0);
    lcc_pool_wake(p);
    for (int i = 1; i < p->threads; i++) {
#if defined(_WIN32)
        WaitForSingleObject(lcc_pool_worker(p, i)->thread, INFINITE);
        CloseHandle(lcc_pool_worker(p, i)->thread);
#else
        pthread_join(lcc_pool_worker(p, i)->thread, NULL);
#endif
    }
#if !defined(_WIN32)
    pthread_cond_destroy(&p->bell);
    pthread_mutex_destroy(&p->lock);
#endif
}
#endif

/* lcc:piece lcc_pool_run needs lcc_pool */
/* All of it is done when this returns. One caller at a time; never from inside a part. */
#if defined(LCC_NO_THREADS)
static void lcc_pool_run(lcc_pool *p, lcc_part *part, const void *job, int64_t n, int64_t chunks) {
    (void)p;
    (void)chunks;
    part(job, 0, n);
}
#else
static void lcc_pool_run(lcc_pool *p, lcc_part *part, const void *job, int64_t n, int64_t chunks) {
    chunks = n < chunks ? n : chunks;
    chunks = chunks < LCC_POOL_CHUNKS ? chunks : LCC_POOL_CHUNKS;
    if (!p || p->threads < 2 || chunks < 2) {
        part(job, 0, n);
        return;
    }
    uint64_t turn = lcc_get(&p->turn) + 1;
    lcc_put(&p->part, (uint64_t)(uintptr_t)part);
    lcc_put(&p->job, (uint64_t)(uintptr_t)job);
    lcc_put(&p->n, (uint64_t)n);
    lcc_put(&p->chunks, (uint64_t)chunks);
    lcc_put(&p->done, 0);
    for (int i = 0; i < p->threads; i++) {
        uint64_t first = (uint64_t)(chunks * i / p->threads);
        uint64_t end = (uint64_t)(chunks * (i + 1) / p->threads);
        lcc_put(&lcc_pool_worker(p, i)->range, turn << 24 | first << 12 | end);
    }
    lcc_put(&p->turn, turn);
    lcc_pool_wake(p);
    lcc_pool_share(p, 0);
    for (int spins = 0; lcc_get(&p->done) != (uint64_t)chunks; spins++) {
        if (spins < LCC_POOL_SPINS)
            lcc_pause();
        else {
#if defined(_WIN32)
            SwitchToThread();
#else
            sched_yield();
#endif
        }
    }
}
#endif

/* lcc:end */
