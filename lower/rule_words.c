/* The words of --rule that are no rules of the target (rule_words.def).
 *
 *   --rule=winograd4 → RULE_WINOGRAD4      --rule=tile → RULE_OF_TARGET      none → RULE_FREE */
#include "lower/lower.h"

#include <string.h>

static const RuleWord WORDS[] = {
#define REWRITE(constant, word, help) {RULE_##constant, true, word, help},
#define BUILTIN(constant, word, help) {RULE_##constant, false, word, help},
#include "lower/rule_words.def"
#undef REWRITE
#undef BUILTIN
};

enum { NWORD = (int)(sizeof WORDS / sizeof WORDS[0]) };

const RuleWord *rule_words(int *count) {
    *count = NWORD;
    return WORDS;
}

RuleAsked rule_asked(const Options *opt) {
    if (!opt || !opt->rule)
        return RULE_FREE;
    for (int i = 0; i < NWORD; i++)
        if (!strcmp(WORDS[i].word, opt->rule))
            return WORDS[i].asked;
    return RULE_OF_TARGET;
}

const char *rule_word(RuleAsked asked) {
    int i = 0;
    while (i < NWORD - 1 && WORDS[i].asked != asked)
        i++;
    return WORDS[i].word;
}

const char *rule_schedule(const Options *opt) {
    RuleAsked asked = rule_asked(opt);
    for (int i = 0; i < NWORD; i++)
        if (WORDS[i].asked == asked && WORDS[i].rewrite)
            return NULL;
    return asked == RULE_FREE ? NULL : opt->rule;
}
