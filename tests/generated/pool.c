/* The stub's pool under stress, for run_threads.py: each iteration of each region is done once, by 1 to 7 threads,
 * of 0 to many iterations in 1 to 100 chunks, through starts and stops; a region's results are there when it ends.
 * Now and then the others wait for the caller, or it for one of them, until they sleep.
 *
 *     pool ROUNDS        prints `ok`, or what was wrong; exit code 1 then */
#include "runtime-stub/threads.c"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 700, THREADS = 7 };

typedef struct Job {
    int *hits;
    int add, slow; /* slow: the iteration that takes long; -1: none */
} Job;

/* As a job that is too large to lie in the pool. */
typedef struct LargeJob {
    Job job;
    int more[100];
} LargeJob;

/* Longer than anyone looks before sleeping. */
static void linger(void) {
    for (volatile int i = 0; i < 1000000; i++)
        ;
}

static void part(const void *data, int64_t first, int64_t end) {
    const Job *j = (const Job *)data;
    for (int64_t i = first; i < end; i++) {
        if (i == j->slow)
            linger();
        j->hits[i] += j->add;
    }
}

static int region(lcc_pool *p, int n, int chunks, int add, int slow) {
    static int hits[MOST + 1];
    const LargeJob j = {{hits, add, slow}, {0}};
    for (int i = 0; i <= MOST; i++)
        hits[i] = 0;
    lcc_pool_run(p, part, &j, add % 2 ? sizeof j : sizeof j.job, n, chunks);
    for (int i = 0; i <= MOST; i++)
        if (hits[i] != (i < n ? add : 0))
            return printf("iteration %d of %d in %d chunks: %d, not %d\n", i, n, chunks, hits[i],
                          add);
    return 0;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 100;
    unsigned seed = 1;
    for (int r = 0; r < rounds; r++) {
        int threads = r % THREADS + 1;
        void *memory = malloc(LCC_POOL_BYTES(threads) + 1);
        lcc_pool *p = lcc_pool_start((char *)memory + r % 2, threads);
        for (int k = 0; k < r % 23; k++) {
            seed = seed * 1103515245u + 12345u;
            int n = k ? (int)(seed >> 8) % MOST : 0, slow = seed >> 28 ? -1 : n / 2 + n / 4;
            if (region(r % 11 ? p : NULL, n, (int)(seed >> 20) % 100 + 1, k + 1, slow))
                return 1;
            if (seed >> 28 == 1)
                linger();
        }
        lcc_pool_stop(p);
        free(memory);
    }
    return puts("ok") < 0;
}
