/* frontend/map_text.h — texts of op rows as expressions; shared by map_text.c and def_reduce.c. */
#ifndef LCC_MAP_TEXT_H
#define LCC_MAP_TEXT_H

#include "frontend/frontend.h"

typedef struct MapName {
    Str name;
    const Expr *e;
} MapName;

/* What the names of a text stand for. */
typedef struct MapEnv {
    VEC(MapName) names;
    Type type; /* computed in; the type of T and of numbers that stand alone */
    bool wrap; /* narrow floats are computed in f32 */
    const char *variadic_name;
    int nvariadic; /* number of inputs of a variadic row, else 0 */
    const Expr **variadic;
    const char *text; /* being parsed; for messages */
} MapEnv;

void map_env_put(Ctx *ctx, MapEnv *env, const char *name, const Expr *e); /* replaces */
void map_env_attrs(Definer *d, MapEnv *env, const char *args);            /* name=v entries */
const Expr *map_text_parse(Ctx *ctx, MapEnv *env, const char *text);
/* Does the element type belong to the class of an args entry? */
bool map_class_has(const char *name, Dtype t);
/* The first row of the node's op whose classes and conditions fit; NULL after an error. */
const OnnxOp *map_row(Definer *d);

#endif
