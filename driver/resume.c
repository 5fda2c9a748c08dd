/* --start-from: a text that --dump wrote goes the rest of the way.
 *
 *   lcc model.onnx --dump=kernel_inline      08.kernel_inline.lcc, to be looked at, cut down, changed
 *   lcc 08.kernel_inline.lcc --start-from=kernel_partition -o model.c */
#include "driver/driver.h"

#include <stdio.h>
#include <string.h>

/* The text, into c. Which of the three it is, its first word says. */
static bool text_read(Args *a, const char *text, Compiled *c) {
    Ctx *ctx = a->ctx;
    const char *path = c->file.path;
    Lex lex;
    lex_init(&lex, ctx, path, text);
    if (lex_is(&lex, "<"))
        return (c->model = graph_parse(ctx, path, text)) != NULL;
    if (lex_is(&lex, "program"))
        return (c->prog = program_parse(ctx, path, text)) != NULL;
    if (!lex_is(&lex, "module"))
        return lex_error(&lex, "a graph, a program or a module expected");
    c->module = module_parse(ctx, path, text);
    c->prog = c->module ? c->module->prog : NULL;
    return c->module != NULL;
}

/* What somebody wrote by hand is wrong, not lcc. */
static bool text_verify(Args *a, const Compiled *c) {
    bool ok = c->module ? module_verify(a->ctx, c->module, "reading")
              : c->prog ? program_verify(a->ctx, c->prog, "reading")
                        : true;
    if (!ok)
        a->ctx->diag.exit_code = EXIT_MALFORMED;
    return ok;
}

bool compile_resume(Args *a, const char *path, Compiled *c) {
    Ctx *ctx = a->ctx;
    const char *start = a->opt.start_from;
    unsigned char *at;
    size_t n;
    c->file.path = ctx->file = str(ctx, path);
    c->file.folder = -1;
    ctx->pass = "reading";
    if (!file_read(ctx, path, &at, &n))
        return false;
    c->file.bytes = n;
    sha256_hex(at, n, c->file.sha256);
    if (memchr(at, 0, n))
        return diag_error(ctx, EXIT_USAGE, NULL, "--start-from reads a text that --dump wrote");
    Text text = text_new(ctx);
    text_n(&text, (const char *)at, n);
    if (!text_read(a, text.at, c) || !text_verify(a, c))
        return false;
    bool front = !strcmp(start, "graph_define") || !strcmp(start, "graph_upgrade");
    if (front != (c->model != NULL))
        return diag_error(ctx, EXIT_USAGE, NULL, "--start-from=%s needs a %s", start,
                          front ? "graph" : "program");
    int blank = front ? c->model->blank : c->prog->blank;
    if (blank && !a->opt.quiet)
        fprintf(stderr, "note: %d constants are zero: %s holds no data for them\n", blank, path);
    if (front) /* upgrading changes nothing in what was upgraded before */
        return compile_define(a, c) && compile_lower(a, c);
    c->module = lower_from(ctx, start, c->prog, c->module, c->target, c->machine);
    return c->module != NULL;
}
