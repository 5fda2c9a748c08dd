/* The text of schedules, driven by the operand column of steps.def.
 *
 *   steps = step { ";" step }          step = NAME operands in the order of its row:
 *     L  loop: def.axis, or axis of the root     N  integer        W  word        D  name of a Def or buffer
 *     S  space: reg L1                           T  nothing, or tail=peel | guard | mask | shift | roundup
 *     *  after a letter: one or more             anything else stands for itself
 *
 *   split y.m -> m0 m1 by 6 tail=peel ; unroll t.m1 */
#include "ir/sched.h"

#include <string.h>

static const struct {
    const char *text, *operands;
} STEPS[] = {
#define STEP(id, text, operands, class, help) {text, operands},
#include "ir/steps.def"
#undef STEP
};

static const char *const TAILS[] = {"", "peel", "mask", "shift", "roundup", "guard"};
static const struct {
    const char *name;
    Space space;
} SPACES[] = {{"reg", SPACE_REG}, {"L1", SPACE_LOCAL}};

const char *step_text(StepOp op) {
    return STEPS[op].text;
}

/* ---- printing ------------------------------------------------------------------------------------------ */

static const char *space_text(uint8_t space) {
    for (size_t i = 0; i < sizeof SPACES / sizeof SPACES[0]; i++)
        if (SPACES[i].space == space)
            return SPACES[i].name;
    return "?";
}

/* Where printing or parsing of one step's lists stands. */
typedef struct Cursor {
    int loop, num, word, def;
} Cursor;

static void print_operand(Text *t, const Step *s, char kind, Cursor *c) {
    switch (kind) {
    case 'L': {
        const LoopRef *r = &s->loop[c->loop++];
        text_f(t, " %s%s%s", r->def ? r->def : "", r->def ? "." : "", r->axis);
        break;
    }
    case 'N':
        text_f(t, " %lld", (long long)s->num[c->num++]);
        break;
    case 'W':
        text_f(t, " %s", s->word[c->word++]);
        break;
    case 'D':
        text_f(t, " %s", c->def++ == 0 ? s->def : s->in);
        break;
    case 'S':
        text_f(t, " %s", space_text(s->space));
        break;
    default:
        if (s->tail != TAIL_NONE)
            text_f(t, " tail=%s", TAILS[s->tail]);
    }
}

static bool is_operand(const char *at, size_t n) {
    return strchr("LNWDST", at[0]) && (n == 1 || (n == 2 && at[1] == '*'));
}

static int list_length(const Step *s, char kind) {
    return kind == 'L' ? s->nloop : kind == 'W' ? s->nword : kind == 'N' ? s->nnum : 1;
}

static void step_print(Text *t, const Step *s) {
    Cursor c = {0};
    text_s(t, STEPS[s->op].text);
    for (const char *at = STEPS[s->op].operands; *at;) {
        size_t n = strcspn(at, " ");
        if (!is_operand(at, n)) {
            text_c(t, ' ');
            text_n(t, at, n);
        } else {
            int times = n == 2 ? list_length(s, at[0]) : 1;
            for (int i = 0; i < times; i++)
                print_operand(t, s, at[0], &c);
        }
        at += n + (at[n] == ' ');
    }
}

void sched_print(Text *t, const Sched *s) {
    for (int i = 0; i < s->steps.len; i++) {
        text_s(t, i ? " ; " : "");
        step_print(t, &s->steps.at[i]);
    }
}

/* ---- parsing ------------------------------------------------------------------------------------------- */

typedef struct Parsing {
    Lex *lex;
    Step step;
    VEC(LoopRef) loops;
    VEC(int64_t) nums;
    VEC(Str) words;
    int defs;
} Parsing;

static bool take_name(Parsing *p, Str *out) {
    if (p->lex->kind != 'n')
        return lex_error(p->lex, "a name was expected, not '%s'", p->lex->tok);
    *out = str(p->lex->ctx, p->lex->tok);
    lex_next(p->lex);
    return true;
}

static bool parse_loop(Parsing *p) {
    Str name = NULL;
    if (!take_name(p, &name))
        return false;
    const char *dot = strrchr(name, '.');
    LoopRef r = {dot ? str_n(p->lex->ctx, name, (size_t)(dot - name)) : NULL,
                 dot ? str(p->lex->ctx, dot + 1) : name};
    vec_push(p->lex->ctx, &p->loops, r);
    return true;
}

static bool parse_tail(Parsing *p) {
    Str word = NULL;
    if (!lex_is(p->lex, "tail"))
        return true;
    lex_next(p->lex);
    if (!lex_need(p->lex, "=") || !take_name(p, &word))
        return false;
    for (size_t i = 1; i < sizeof TAILS / sizeof TAILS[0]; i++)
        if (!strcmp(word, TAILS[i])) {
            p->step.tail = (uint8_t)i;
            return true;
        }
    return lex_error(p->lex, "no tail is called '%s'", word);
}

static bool parse_space(Parsing *p) {
    Str word = NULL;
    if (!take_name(p, &word))
        return false;
    for (size_t i = 0; i < sizeof SPACES / sizeof SPACES[0]; i++)
        if (!strcmp(word, SPACES[i].name)) {
            p->step.space = (uint8_t)SPACES[i].space;
            return true;
        }
    return lex_error(p->lex, "no space is called '%s'", word);
}

static bool parse_operand(Parsing *p, char kind) {
    Ctx *ctx = p->lex->ctx;
    Str name = NULL;
    switch (kind) {
    case 'L':
        return parse_loop(p);
    case 'T':
        return parse_tail(p);
    case 'S':
        return parse_space(p);
    case 'D':
        return take_name(p, p->defs++ == 0 ? &p->step.def : &p->step.in);
    case 'W':
        if (!take_name(p, &name))
            return false;
        vec_push(ctx, &p->words, name);
        return true;
    default:
        if (p->lex->kind != 'i')
            return lex_error(p->lex, "a number was expected, not '%s'", p->lex->tok);
        vec_push(ctx, &p->nums, p->lex->i);
        lex_next(p->lex);
        return true;
    }
}

static bool parse_operands(Parsing *p, const char *at) {
    while (*at) {
        size_t n = strcspn(at, " ");
        if (!is_operand(at, n)) {
            if (!lex_need(p->lex, str_n(p->lex->ctx, at, n)))
                return false;
        } else {
            do {
                if (!parse_operand(p, at[0]))
                    return false;
            } while (n == 2 && p->lex->kind == 'n');
        }
        at += n + (at[n] == ' ');
    }
    return true;
}

static bool step_parse(Lex *lex, Sched *s) {
    Parsing p = {.lex = lex};
    size_t op = 0;
    while (op < STEP_COUNT && !lex_is(lex, STEPS[op].text))
        op++;
    if (op == STEP_COUNT)
        return lex_error(lex, "no step is called '%s'", lex->tok);
    p.step.op = (uint8_t)op;
    p.step.loc =
        (Loc){.file = lex->file ? str(lex->ctx, lex->file) : NULL, .node = -1, .line = lex->line};
    lex_next(lex);
    if (!parse_operands(&p, STEPS[op].operands))
        return false;
    p.step.loop = p.loops.at;
    p.step.nloop = p.loops.len;
    p.step.num = p.nums.at;
    p.step.nnum = p.nums.len;
    p.step.word = p.words.at;
    p.step.nword = p.words.len;
    vec_push(lex->ctx, &s->steps, p.step);
    return true;
}

bool sched_parse(Lex *lex, Sched *s) {
    do {
        while (lex_take(lex, ";"))
            continue;
        if (lex->kind != 'n')
            break;
        if (!step_parse(lex, s))
            return false;
    } while (lex_is(lex, ";"));
    return !lex->failed;
}
