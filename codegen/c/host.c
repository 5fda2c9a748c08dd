/* codegen/c/host.c — calls of stub functions from the entry.
 *
 *   HOST n = lcc_topk(x; v, i; 3)  →  { lcc_arg in[1] = {…}, out[2] = {…}; rc = lcc_topk(in, 1, out, 2, …); … } */
#include "codegen/c/emit.h"

#include <string.h>

void text_literal(Text *t, const char *s, size_t n) {
    text_c(t, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool plain =
            c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '?' && c != '%' && c != '*';
        if (plain || c == ' ')
            text_c(t, (char)c);
        else
            text_f(t, "\\%03o", c);
    }
    text_c(t, '"');
}

/* { data, count, {dims}, rank, type } */
static void print_arg(Emit *em, const Call *c, const Buf *b, bool output) {
    Printer *p = &em->pr;
    print_start(p);
    if (!b) {
        text_s(p->t, "{NULL, 0, {0}, -1, 0},\n");
        return;
    }
    Str cap = output ? port_capacity(em, b) : NULL;
    text_s(p->t, output ? "{" : "{(void *)");
    if (!output)
        text_c(p->t, '(');
    print_pointer(p, b);
    text_s(p->t, output ? ", " : "), ");
    if (cap)
        text_f(p->t, "(int64_t)%s", cap);
    else
        print_expr(
            p, output && b->bound && b->space != SPACE_OUTPUT ? b->bound : buf_count(em->ctx, b),
            P_ASSIGN);
    text_s(p->t, ", {");
    for (int i = 0; i < b->rank; i++) {
        text_s(p->t, i ? ", " : "");
        if (output && call_computes(c, b->dim[i]))
            text_s(p->t, "-1");
        else
            print_expr(p, b->dim[i], P_ASSIGN);
    }
    text_f(p->t, "%s}, %d, %d},\n", b->rank ? "" : "0", b->rank, type_onnx(type_dtype(b->type)));
}

static void print_strings(Emit *em, const Call *c) {
    Printer *p = &em->pr;
    print_line(p, "static const lcc_str text[%d] = {", c->sattr.len);
    for (int i = 0; i < c->sattr.len; i++) {
        text_f(p->t, "%*s{", 4 * (p->depth + 1), "");
        text_literal(p->t, c->sattr.at[i], strlen(c->sattr.at[i]));
        text_f(p->t, ", %zu},\n", strlen(c->sattr.at[i]));
    }
    print_line(p, "};");
}

static void print_args(Emit *em, const Call *c, bool output) {
    Printer *p = &em->pr;
    int n = output ? c->out.len : c->in.len, extra = !output && c->sattr.len;
    if (n + extra == 0)
        return;
    print_line(p, "%s[%d] = {", output ? "lcc_arg out" : "const lcc_arg in", n + extra);
    p->depth++;
    for (int i = 0; i < n; i++)
        print_arg(em, c, output ? c->out.at[i] : c->in.at[i], output);
    if (extra)
        print_line(p, "{(void *)(text), %d, {%d}, 1, %d},", c->sattr.len, c->sattr.len,
                   type_onnx(T_STR));
    p->depth--;
    print_line(p, "};");
}

static void print_attrs(Emit *em, const Call *c) {
    Printer *p = &em->pr;
    if (c->attr.len) {
        print_start(p);
        text_f(p->t, "const int64_t attr[%d] = {", c->attr.len);
        for (int i = 0; i < c->attr.len; i++) {
            text_s(p->t, i ? ", " : "");
            print_expr(p, c->attr.at[i], P_ASSIGN);
        }
        text_s(p->t, "};\n");
    }
    if (c->fattr.len) {
        print_start(p);
        text_f(p->t, "const double fattr[%d] = {", c->fattr.len);
        for (int i = 0; i < c->fattr.len; i++) {
            text_s(p->t, i ? ", " : "");
            print_expr(p, expr_flt(em->ctx, T_F64, c->fattr.at[i]), P_ASSIGN);
        }
        text_s(p->t, "};\n");
    }
}

/* The extent of an output that equals the symbol. */
static bool find_extent(const Call *c, const Sym *s, int *out, int *dim) {
    for (*out = 0; *out < c->out.len; ++*out)
        for (*dim = 0; c->out.at[*out] && *dim < c->out.at[*out]->rank; ++*dim) {
            const Expr *e = c->out.at[*out]->dim[*dim];
            if (e->op == OP_SYM && e->u.sym == s)
                return true;
        }
    return false;
}

static void print_results(Emit *em, const Call *c) {
    Printer *p = &em->pr;
    for (int i = 0; i < c->result.len; i++) {
        const Sym *s = c->result.at[i];
        Str name = map_get(p->names, s);
        int out, dim;
        if (!name)
            continue;
        if (!find_extent(c, s, &out, &dim))
            internal_error(em->ctx, "result %s of %s is no extent of an output",
                           s->name ? s->name : "?", c->fn);
        print_line(p, "%s = out[%d].dims[%d];", name, out, dim);
        print_range_check(p, s, name);
    }
}

/* The caller's outputs whose extents are known before the call must have room for them. */
static void print_room(Emit *em, const Call *c) {
    Printer *p = &em->pr;
    bool any = false;
    for (int i = 0; i < c->out.len; i++) {
        const Buf *b = c->out.at[i];
        bool known = b && port_capacity(em, b);
        for (int k = 0; known && k < b->rank; k++)
            known = !call_computes(c, b->dim[k]);
        if (!known)
            continue;
        for (int k = 0; k < b->rank; k++)
            print_line(p, "%s[%d] = out[%d].dims[%d];", port_extents(em, b), k, i, k);
        print_start(p);
        text_s(p->t, any ? "small |= out[" : "int small = out[");
        text_f(p->t, "%d].count < ", i);
        print_expr(p, buf_count(em->ctx, b), P_SHIFT);
        text_s(p->t, ";\n");
        any = true;
    }
    if (any) {
        print_line(p, "if (small)");
        print_line(p, "    return LCC_ECAPACITY;");
    }
}

void host_print(Emit *em, const Call *c) {
    Printer *p = &em->pr;
    if (!paste_need(p->paste, c->fn))
        internal_error(em->ctx, "no stub function %s", c->fn);
    paste_need(p->paste, "lcc_arg");
    if (c->sattr.len)
        paste_need(p->paste, "lcc_str");
    print_start(p);
    text_f(p->t, "{ /* %s */\n", c->loc.name ? safe_text(em->ctx, c->loc.name, 60) : c->fn);
    p->depth++;
    if (c->sattr.len)
        print_strings(em, c);
    print_args(em, c, false);
    print_args(em, c, true);
    print_attrs(em, c);
    print_room(em, c);
    int nin = c->in.len + (c->sattr.len > 0);
    print_line(p, "rc = %s(%s, %d, %s, %d, %s, %s);", c->fn, nin ? "in" : "NULL", nin,
               c->out.len ? "out" : "NULL", c->out.len, c->attr.len ? "attr" : "NULL",
               c->fattr.len ? "fattr" : "NULL");
    for (int i = 0; i < c->out.len; i++) {
        Str dims = c->out.at[i] ? port_extents(em, c->out.at[i]) : NULL;
        for (int k = 0; dims && k < c->out.at[i]->rank; k++)
            print_line(p, "%s[%d] = out[%d].dims[%d];", dims, k, i, k);
    }
    print_line(p, "if (rc != 0)");
    print_line(p, "    return rc;");
    print_results(em, c);
    p->depth--;
    print_line(p, "}");
}
