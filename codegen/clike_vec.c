/* codegen/clike_vec.c — vectors: none yet. */
#include "codegen/clike.h"

const char *ctype_vector(Printer *p, Type t) {
    internal_error(p->ctx, "no vector type of %d lanes", type_lanes(t));
}

void print_vector(Printer *p, const Expr *e, int prec) {
    (void)prec;
    internal_error(p->ctx, "no vector %s", op_text((Op)e->op));
}

void print_vector_store(Printer *p, const Stmt *s) {
    internal_error(p->ctx, "no vector store to %s", s->buf->name);
}
