/* driver/profile.h — what the calls of a model's entry cost, measured in this process. */
#ifndef LCC_PROFILE_H
#define LCC_PROFILE_H

#include "driver/run.h"

/* A row of the table in generated code (codegen/c/profile.c); the last one's kernel is NULL. */
typedef struct ProfileCall {
    const char *kernel, *node;
    uint64_t calls, ns;
} ProfileCall;

typedef struct ProfileRow {
    const char *kernel, *node;
    int64_t calls; /* a run */
    double us;     /* a run: median */
    double share;  /* of the roof that bench/slowest.py probed; 0: not known */
} ProfileRow;

typedef struct Profile {
    ProfileRow *row;
    int n, runs;
    double ghz, total; /* total: sum of the rows */
} Profile;

/* Runs a model that was compiled with opt.profile, again and again. */
bool profile_run(Args *a, const Compiled *c, Jit *j, const int64_t *dims, const OnnxTensor *in,
                 OnnxTensor *out, Profile *p);
/* As JSON to a file; "-": a table to standard error. */
bool profile_write(Args *a, const Compiled *c, const Profile *p, const char *path);
/* What it wrote to a file, or bench/slowest.py did (ghz is then 0). */
bool profile_read(Args *a, const char *path, Profile *p);

#endif
