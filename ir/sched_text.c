/* ir/sched_text.c — schedules as text: steps separated by ";". The operands of each step are its row's in
 * steps.def.
 *
 *   step := text operand…      the row's letters and words in order:
 *   L    := [def "."] axis     D := name    W := word    N := int    X* := one or more
 *   S    := reg | L1           T := ["tail" "=" word]
 *   split t.m -> m0 m1 by 6 tail=peel ; stage t at y.n0 in reg */
#include "ir/text_in.h"

#include <string.h>

typedef struct StepRow {
    const char *text, *operands;
} StepRow;

static StepRow step_row(StepOp op) {
    static const StepRow rows[] = {
#define STEP(id, text, operands, class, help) {text, operands},
#include "ir/steps.def"
#undef STEP
    };
    return rows[op];
}

static const char *const TAILS[] = {"none", "peel", "mask", "shift", "roundup", "guard"};
#define NTAIL ((int)(sizeof TAILS / sizeof *TAILS))
static const struct {
    const char *word;
    Space space;
} SPACES[] = {{"reg", SPACE_REG}, {"L1", SPACE_LOCAL}};
#define NSPACE ((int)(sizeof SPACES / sizeof *SPACES))

const char *step_text(StepOp op) {
    return step_row(op).text;
}

/* ---- operands ---------------------------------------------------------------------------------- */

/* One operand of a row: a letter, perhaps starred, or a literal word. */
typedef struct Operand {
    char text[16];
    bool many, literal;
} Operand;

static bool next_operand(const char **at, Operand *o) {
    while (**at == ' ')
        ++*at;
    size_t n = strcspn(*at, " ");
    if (!n || n >= sizeof o->text)
        return false;
    memcpy(o->text, *at, n);
    o->text[n] = 0;
    *at += n;
    o->many = n > 1 && o->text[n - 1] == '*';
    o->literal = !(n == 1 || o->many) || !strchr("LNDSTW", o->text[0]);
    return true;
}

/* How far each list of the step has been used. */
typedef struct Used {
    int loop, num, word, def;
} Used;

/* ---- printing ---------------------------------------------------------------------------------- */

/* A Def or buffer as the kernel's text calls it. */
static Str printed_name(Print *p, Str name) {
    Str known = map_get(p->def_names, name);
    return known ? known : names_of(p->names, name, name);
}

static void print_loop(Print *p, const LoopRef *l) {
    if (l->def)
        text_f(p->t, "%s.", printed_name(p, l->def));
    text_s(p->t, l->axis);
}

static void print_operand(Print *p, const Step *s, const Operand *o, Used *u) {
    if (o->literal) {
        text_f(p->t, " %s", o->text);
        return;
    }
    switch (o->text[0]) {
    case 'L':
        for (int first = u->loop; u->loop < s->nloop && (o->many || u->loop == first); u->loop++) {
            text_c(p->t, ' ');
            print_loop(p, &s->loop[u->loop]);
        }
        break;
    case 'W':
        for (int first = u->word; u->word < s->nword && (o->many || u->word == first); u->word++)
            text_f(p->t, " %s", s->word[u->word]);
        break;
    case 'N':
        text_f(p->t, " %lld", u->num < s->nnum ? (long long)s->num[u->num] : 0LL);
        u->num++;
        break;
    case 'D':
        text_f(p->t, " %s", printed_name(p, u->def++ ? s->in : s->def));
        break;
    case 'S':
        for (int i = 0; i < NSPACE; i++)
            if (SPACES[i].space == s->space)
                text_f(p->t, " %s", SPACES[i].word);
        break;
    default:
        if (s->tail != TAIL_NONE)
            text_f(p->t, " tail=%s", TAILS[s->tail]);
    }
}

void put_sched(Print *p, const Sched *s) {
    for (int i = 0; i < s->steps.len; i++) {
        const Step *step = &s->steps.at[i];
        StepRow row = step_row((StepOp)step->op);
        const char *at = row.operands;
        Operand o;
        Used u = {0, 0, 0, 0};
        text_f(p->t, "%s%s", i ? " ; " : "", row.text);
        while (next_operand(&at, &o))
            print_operand(p, step, &o, &u);
    }
}

void sched_print(Text *t, const Sched *s) {
    Print p = put_new(t);
    put_sched(&p, s);
}

/* ---- parsing ----------------------------------------------------------------------------------- */

typedef struct Lists {
    VEC(LoopRef) loop;
    VEC(int64_t) num;
    VEC(Str) word;
    int defs;
} Lists;

/* A name that does not start the next section. */
static bool need_word(const Lex *lex) {
    return lex->kind == 'n' && !lex_is(lex, "kernel") && !lex_is(lex, "loops") &&
           !lex_is(lex, "schedule") && !lex_is(lex, "program") && !lex_is(lex, "plan") &&
           !lex_is(lex, "entry") && !lex_is(lex, "sym");
}

/* "def.axis" at its last dot; without one the Def is the root. */
static bool parse_loop(Lex *lex, Lists *l) {
    if (!need_word(lex))
        return lex_error(lex, "a loop expected");
    const char *dot = strrchr(lex->tok, '.');
    LoopRef r = {NULL, str(lex->ctx, dot ? dot + 1 : lex->tok)};
    if (dot)
        r.def = str_n(lex->ctx, lex->tok, (size_t)(dot - lex->tok));
    vec_push(lex->ctx, &l->loop, r);
    lex_next(lex);
    return true;
}

static bool parse_tail(Lex *lex, Step *s) {
    if (!lex_take(lex, "tail"))
        return true;
    if (!lex_need(lex, "="))
        return false;
    for (int i = 0; i < NTAIL; i++)
        if (lex_take(lex, TAILS[i])) {
            s->tail = (uint8_t)i;
            return true;
        }
    return lex_error(lex, "peel, mask, shift, roundup or guard expected");
}

static bool parse_step_space(Lex *lex, Step *s) {
    for (int i = 0; i < NSPACE; i++)
        if (lex_take(lex, SPACES[i].word)) {
            s->space = (uint8_t)SPACES[i].space;
            return true;
        }
    return lex_error(lex, "reg or L1 expected");
}

static bool parse_operand(Lex *lex, Step *s, const Operand *o, Lists *l) {
    if (o->literal)
        return lex_need(lex, o->text);
    switch (o->text[0]) {
    case 'L':
        do {
            if (!parse_loop(lex, l))
                return false;
        } while (o->many && need_word(lex));
        return true;
    case 'W':
        do {
            if (!need_word(lex))
                return lex_error(lex, "a word expected");
            vec_push(lex->ctx, &l->word, str(lex->ctx, lex->tok));
            lex_next(lex);
        } while (o->many && need_word(lex));
        return true;
    case 'N':
        if (lex->kind != 'i')
            return lex_error(lex, "an integer expected");
        vec_push(lex->ctx, &l->num, lex->i);
        lex_next(lex);
        return true;
    case 'D':
        if (!need_word(lex))
            return lex_error(lex, "a Def expected");
        *(l->defs++ ? &s->in : &s->def) = str(lex->ctx, lex->tok);
        lex_next(lex);
        return true;
    case 'S':
        return parse_step_space(lex, s);
    default:
        return parse_tail(lex, s);
    }
}

static bool parse_step(Lex *lex, Step *s) {
    Lists l = {.defs = 0};
    Operand o;
    int op = 0;
    while (op < STEP_COUNT && !lex_is(lex, step_text((StepOp)op)))
        op++;
    if (op == STEP_COUNT)
        return lex_error(lex, "a schedule step expected");
    s->op = (uint8_t)op;
    s->loc = (Loc){.file = lex->file, .node = -1, .line = lex->line};
    lex_next(lex);
    for (const char *at = step_row((StepOp)op).operands; next_operand(&at, &o);)
        if (!parse_operand(lex, s, &o, &l))
            return false;
    s->loop = l.loop.at;
    s->nloop = l.loop.len;
    s->num = l.num.at;
    s->nnum = l.num.len;
    s->word = l.word.at;
    s->nword = l.word.len;
    return true;
}

bool sched_parse(Lex *lex, Sched *s) {
    do {
        Step step = {.op = 0};
        if (!parse_step(lex, &step))
            return false;
        vec_push(lex->ctx, &s->steps, step);
    } while (lex_take(lex, ";"));
    return true;
}
