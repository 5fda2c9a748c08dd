/* What the table of options becomes beside the parser: --help, the manual page, completions for shells.
 *
 *   OPT("dim", 0, "NAME=N", DIM, …, "fix a symbolic dimension")   →   --dim=NAME=N   fix a symbolic dimension */
#include "driver/options.h"

#include <string.h>

static void help_options(Text *t) {
    const char *section = "";
    int n;
    const OptRow *rows = option_table(&n);
    for (int i = 0; i < n; i++) {
        const OptRow *r = &rows[i];
        if (strcmp(section, r->section) != 0)
            text_f(t, "\n%s\n", r->section);
        section = r->section;
        Str letter = r->letter ? str_f(t->ctx, "-%c, ", r->letter) : "    ";
        Str value = !r->arg               ? ""
                    : r->kind == MAYBE    ? str_f(t->ctx, "[=%s]", r->arg)
                    : option_dashes(r)[1] ? str_f(t->ctx, "=%s", r->arg)
                                          : str_f(t->ctx, " %s", r->arg);
        Str left = str_f(t->ctx, "%s%s%s%s", letter, option_dashes(r), r->name, value);
        text_f(t, strlen(left) > 26 ? "  %s\n%30s%s\n" : "  %-27s%s%s\n", left, "", r->help);
    }
}

void help_print(Text *t, bool all) {
    int n, nword;
    const RuleWord *words = rule_words(&nword);
    const Verb *v = verb_table(&n);
    text_s(t, "usage: lcc MODEL.onnx [--target=NAME] [-o OUT.c]\n");
    for (int i = 0; i < n; i++)
        text_f(t, "       lcc %s\n", v[i].usage);
    text_s(t, "example: lcc model.onnx --target=avx2 -o model.c\n");
    if (!all)
        return;
    text_s(t, "\nWithout a verb, MODEL becomes C. The verbs:\n");
    for (int i = 0; i < n; i++)
        text_f(t, "  %-9s%s\n", v[i].name, v[i].help);
    help_options(t);
    text_s(t, "\nPasses\n");
    stage_names(t);
    text_s(t, "\nWhat --rule takes besides the rules of the target\n");
    for (int i = 0; i < nword; i++)
        text_f(t, "  %-14s%s\n", words[i].word, words[i].help);
    text_s(t, "\n@FILE stands for the words in FILE; $LCC_FLAGS holds options that come first. "
              "Exit codes: 0 ok,\n"
              "1 mismatch, 2 usage, 3 malformed model, 4 unsupported, 5 limit, 6 input/output, 7 "
              "toolchain,\n"
              "70 internal error.\n");
}

/* ---- the manual page ------------------------------------------------------------------------------- */

/* Text as roff: a dash is a minus, nothing starts a request. */
static void roff(Text *t, const char *s) {
    for (; *s; s++) {
        if (!strncmp(s, "\xe2\x80\xa6", 3)) { /* … */
            text_s(t, "...");
            s += 2;
        } else if (*s == '-' || *s == '\\') {
            text_s(t, *s == '-' ? "\\-" : "\\e");
        } else {
            text_c(t, *s);
        }
    }
}

static void man_options(Text *t) {
    const char *section = "";
    int n;
    const OptRow *rows = option_table(&n);
    for (int i = 0; i < n; i++) {
        const OptRow *r = &rows[i];
        if (strcmp(section, r->section) != 0)
            text_f(t, ".SS %s\n", r->section);
        section = r->section;
        text_s(t, ".TP\n");
        if (r->letter)
            text_f(t, "\\fB\\-%c\\fR, ", r->letter);
        text_s(t, "\\fB");
        roff(t, str_f(t->ctx, "%s%s", option_dashes(r), r->name));
        text_s(t, "\\fR");
        if (r->arg) {
            text_s(t, r->kind == MAYBE ? "[=\\fI" : option_dashes(r)[1] ? "=\\fI" : " \\fI");
            roff(t, r->arg);
            text_s(t, r->kind == MAYBE ? "\\fR]" : "\\fR");
        }
        text_c(t, '\n');
        roff(t, r->help);
        text_c(t, '\n');
    }
}

static void man_print(Text *t) {
    int n;
    const Verb *v = verb_table(&n);
    text_s(t, ".TH LCC 1 \"\" \"lcc " LCC_VERSION "\" \"User Commands\"\n.SH NAME\n"
              "lcc \\- ahead-of-time compiler from ONNX to C\n.SH SYNOPSIS\n"
              "\\fBlcc\\fR MODEL.onnx [\\-\\-target=NAME] [\\-o OUT.c]\n");
    for (int i = 0; i < n; i++) {
        text_s(t, ".br\n\\fBlcc\\fR ");
        roff(t, v[i].usage);
        text_c(t, '\n');
    }
    text_s(t, ".SH DESCRIPTION\nWithout a verb, the model becomes OUT.c and OUT.h, which need no\n"
              "run\\-time library. The verbs:\n");
    for (int i = 0; i < n; i++) {
        text_f(t, ".TP\n\\fB%s\\fR\n", v[i].name);
        roff(t, v[i].help);
        text_c(t, '\n');
    }
    text_s(t, ".SH OPTIONS\n");
    man_options(t);
    text_s(
        t,
        ".SH ENVIRONMENT\n.TP\n\\fBLCC_FLAGS\\fR\noptions that come first\n"
        ".TP\n\\fBCC\\fR, \\fBCFLAGS\\fR\nthe C compiler, where one is run, and more flags for it\n"
        ".TP\n\\fBNO_COLOR\\fR, \\fBCLICOLOR_FORCE\\fR\ncolour in messages\n"
        ".PP\nA word @FILE stands for the words in FILE.\n"
        ".SH EXIT STATUS\n0 ok, 1 mismatch (check), 2 usage, 3 malformed model, 4 unsupported,\n"
        "5 limit, 6 input/output, 7 toolchain, 70 internal error\n"
        ".SH EXAMPLES\n.nf\nlcc model.onnx \\-\\-target=avx2 \\-o model.c\n"
        "lcc run model.onnx input=random:7\n"
        "lcc check model.onnx \\-\\-data test_data_set_0\n.fi\n");
}

/* ---- completions ------------------------------------------------------------------------------------- */

/* The words an option's value may be, separated by blanks; "" when it is a file or anything. */
static Str value_words(Ctx *ctx, const OptRow *r) {
    Text t = text_new(ctx);
    const Machine *m;
    if (r->kind == CHOICE)
        for (const char *s = r->arg; *s; s++)
            text_c(&t, *s == '|' ? ' ' : *s);
    if (!strcmp(r->name, "target")) {
        text_s(&t, "native");
        for (int i = 0; (m = target_machine(i)); i++)
            text_f(&t, " %s", m->name);
    }
    if (!strcmp(r->name, "rule")) {
        int n;
        const RuleWord *words = rule_words(&n);
        rule_names(&t, target_find("c", &m));
        for (int i = 0; i < n; i++)
            text_f(&t, "%s ", words[i].word);
    }
    if (r->arg && !strcmp(r->arg, "PASS")) {
        text_s(&t, strcmp(r->name, "dump") ? "" : "all\n");
        stage_names(&t);
        for (size_t i = 0; i < t.len; i++)
            t.at[i] = t.at[i] == '\n' ? ' ' : t.at[i];
    }
    return t.len ? t.at : "";
}

static void bash_print(Text *t) {
    int n, nverb;
    const OptRow *rows = option_table(&n);
    const Verb *v = verb_table(&nverb);
    text_s(t, "# Completion of lcc for bash.\n_lcc() {\n"
              "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} from=\n"
              "    COMPREPLY=()\n"
              "    if [ \"$word\" = = ]; then word=; from=$before\n"
              "    elif [ \"$before\" = = ]; then from=${COMP_WORDS[COMP_CWORD-2]}\n"
              "    else from=$before; fi\n    case $from in\n");
    for (int i = 0; i < n; i++) {
        Str words = value_words(t->ctx, &rows[i]);
        if (!words[0])
            continue;
        text_f(t, "    %s%s", option_dashes(&rows[i]), rows[i].name);
        if (rows[i].letter)
            text_f(t, " | -%c", rows[i].letter);
        text_f(t, ") COMPREPLY=($(compgen -W \"%s\" -- \"$word\")); return ;;\n", words);
    }
    text_s(t, "    esac\n    case $word in\n    -*) COMPREPLY=($(compgen -W \"");
    for (int i = 0; i < n; i++)
        text_f(t, "%s%s%s", i ? " " : "", option_dashes(&rows[i]), rows[i].name);
    text_s(t,
           "\" -- \"$word\")) ;;\n    *) [ \"$COMP_CWORD\" != 1 ] || COMPREPLY=($(compgen -W \"");
    for (int i = 0; i < nverb; i++)
        text_f(t, "%s%s", i ? " " : "", v[i].name);
    text_s(t,
           "\" -- \"$word\")) ;;\n    esac\n}\ncomplete -o bashdefault -o default -F _lcc lcc\n");
}

/* For the inside of '…' in a shell; `special` characters get a backslash. */
static void shell_text(Text *t, const char *s, const char *special) {
    for (; *s; s++)
        if (*s == '\'')
            text_s(t, "'\\''");
        else
            text_f(t, strchr(special, *s) ? "\\%c" : "%c", *s);
}

static void zsh_option(Text *t, const OptRow *r, const char *name, const char *equals) {
    Str words = value_words(t->ctx, r);
    text_f(t, "  '%s%s[", name, !r->arg ? "" : r->kind == MAYBE ? "=-" : equals);
    shell_text(t, r->help, "[]:");
    text_c(t, ']');
    if (r->arg && words[0])
        text_f(t, ":%s:(%s)", r->name, words);
    else if (r->arg)
        text_f(t, ":%s:_files", r->name);
    text_s(t, "' \\\n");
}

static void zsh_print(Text *t) {
    int n, nverb;
    const OptRow *rows = option_table(&n);
    const Verb *v = verb_table(&nverb);
    text_s(t, "#compdef lcc\n_arguments \\\n");
    for (int i = 0; i < n; i++) {
        const char *dashes = option_dashes(&rows[i]);
        zsh_option(t, &rows[i], str_f(t->ctx, "%s%s", dashes, rows[i].name), dashes[1] ? "=" : "");
        if (rows[i].letter)
            zsh_option(t, &rows[i], str_f(t->ctx, "-%c", rows[i].letter), "+");
    }
    text_s(t, "  '1:verb or model:{_alternative \"verbs:verb:(");
    for (int i = 0; i < nverb; i++)
        text_f(t, "%s%s", i ? " " : "", v[i].name);
    text_s(t, ")\" \"files:model:_files\"}' \\\n  '*:file:_files'\n");
}

static void fish_print(Text *t) {
    int n, nverb;
    const OptRow *rows = option_table(&n);
    const Verb *v = verb_table(&nverb);
    text_s(t, "# Completion of lcc for fish.\n");
    for (int i = 0; i < nverb; i++) {
        text_f(t, "complete -c lcc -n __fish_use_subcommand -a %s -d '", v[i].name);
        shell_text(t, v[i].help, "");
        text_s(t, "'\n");
    }
    for (int i = 0; i < n; i++) {
        const OptRow *r = &rows[i];
        Str words = value_words(t->ctx, r);
        text_f(t, "complete -c lcc -%c %s", option_dashes(r)[1] ? 'l' : 'o', r->name);
        if (r->letter)
            text_f(t, " -s %c", r->letter);
        if (r->arg && r->kind != MAYBE)
            text_s(t, words[0] ? " -x" : " -r");
        if (words[0])
            text_f(t, " -a '%s'", words);
        text_s(t, " -d '");
        shell_text(t, r->help, "");
        text_s(t, "'\n");
    }
}

void manual_print(Text *t, const char *form) {
    void (*const print)(Text *) = !strcmp(form, "man")    ? man_print
                                  : !strcmp(form, "bash") ? bash_print
                                  : !strcmp(form, "zsh")  ? zsh_print
                                                          : fish_print;
    print(t);
}
