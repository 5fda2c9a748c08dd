/* Schedule rules: text, one file a target (rules.sched), turned into the steps of one kernel.
 *
 *   rule NAME for CLASS… [when EXPR]
 *     [choose A B in tiles [where EXPR] minimizing EXPR]
 *     step ; step ; …
 *
 * In EXPR: the facts of rule_facts.def; for a candidate tile also cycles (estimate for one step of k over m x n),
 * high1 and high2 (of a window written out for one or two of the axis `high` at a time) and the names chosen.
 * In steps: the names at `---- steps`, chosen names and W.
 * The first rule whose class, guard and steps fit wins. */
#include "lower/sched_rules.h"

#include <string.h>

typedef struct Binding {
    const char *name;
    int64_t value;
    bool flag; /* a bool, not a number */
} Binding;

enum {
#define NUMBER(name, value, says) +1
#define FLAG(name, value, says) +1
    BINDINGS_MAX =
#include "lower/rule_facts.def"
        +8, /* widths of a map, estimates and chosen names of a tile */
#undef NUMBER
#undef FLAG
    CROWD_BYTES = 512 /* values at multiples of it share a few sets of the L1 cache */
};

typedef struct Matching {
    Ctx *ctx;
    const Lower *lo;
    const Kernel *k;
    Roles roles;
    Binding bound[BINDINGS_MAX];
    int nbound;
} Matching;

static void bind_as(Matching *mt, const char *name, int64_t v, bool flag) {
    int i = 0;
    while (i < mt->nbound && strcmp(mt->bound[i].name, name) != 0)
        i++;
    if (i == BINDINGS_MAX)
        internal_error(mt->ctx, "too many names in a schedule rule");
    mt->nbound += i == mt->nbound;
    mt->bound[i] = (Binding){name, v, flag};
}

static void bind(Matching *mt, const char *name, int64_t v) {
    bind_as(mt, name, v, false);
}

static void bind_flag(Matching *mt, const char *name, bool v) {
    bind_as(mt, name, v, true);
}

static int64_t role_extent(const Matching *mt, int axis) {
    int64_t n;
    const Def *d = mt->roles.acc ? mt->roles.acc : mt->roles.root;
    return axis >= 0 && expr_is_int(d->axis[axis].var->extent, &n) ? n : 0;
}

static int64_t lanes_of(const Matching *mt, bool flat) {
    const int64_t lanes = map_lanes(mt->lo, &mt->roles, flat), w = mt->lo->machine->vec / 4;
    bool f32 = mt->roles.root->buf->type == T_F32;
    return f32 && (!lanes || lanes > w) ? w : lanes;
}

/* Lanes and rows of a square block that instructions transpose: as many elements as there are instructions for. */
static int64_t block_lanes(const Matching *mt, int64_t lanes, int64_t n) {
    const Roles *r = &mt->roles;
    const int vec = mt->lo->machine->vec, bytes = type_bytes(type_dtype(r->lanes_load->type));
    bool f32 = r->lanes_load->type == T_F32;
    const int64_t most = bytes < 4 ? 16 / bytes : vec / bytes, least = bytes < 8 ? 8 : 4;
    lanes = lanes < most ? lanes : most;
    lanes = !n && least < lanes ? least : lanes;
    while (n && lanes > n)
        lanes /= 2;
    int64_t rows = role_extent(mt, r->m);
    /* fewer rows than a block: by strided loads, which want instructions too */
    bool strided = bytes == 4 || (bytes == 1 ? lanes == 16 : vec == 64);
    bool fits = !rows || rows >= least || f32 || ((rows == 3 || rows == 4) && strided);
    return vec < 32 || lanes < least || !fits ? 0 : lanes;
}

/* Elements that one instruction loads from as many places; 0: the map needs none, or there is none. */
static int64_t gather_lanes(const Matching *mt) {
    const Roles *r = &mt->roles;
    const int bytes = type_bytes(type_dtype(r->root->buf->type));
    int64_t n = role_extent(mt, r->gather);
    bool fits = mt->lo->machine->vec == 64 && bytes >= 4 && bytes <= 8 && (n == 0 || n >= 8);
    return r->gather >= 0 && fits ? 8 : 0;
}

/* Lanes of a map along its lanes' axis, and along the axes that lie side by side like one where they fill more
 * vectors. */
static void bind_widths(Matching *mt) {
    const Roles *r = &mt->roles;
    const int64_t n = role_extent(mt, r->n), w = mt->lo->machine->vec / 4;
    int64_t along = r->kind == CLASS_MAP || r->kind == CLASS_UPDATE ? lanes_of(mt, false) : 0;
    int64_t flat = r->kind == CLASS_MAP && r->flat ? lanes_of(mt, true) : 0;
    along = n || along < w ? along : w;
    while (n && along > n && along > 1)
        along /= 2;
    while (flat > r->flat)
        flat /= 2;
    bind(mt, "L", along);
    bind(mt, "LT", r->kind == CLASS_MAP && r->m >= 0 ? block_lanes(mt, along, n) : 0);
    bind(mt, "LF", flat > 3 && n % flat != 0 ? flat : 0);
}

static void find_dear(void *data, const Expr *e) {
    bool wide = e->op >= OP_EXP && e->op <= OP_EXPM1;
    *(bool *)data |= (wide || e->op == OP_POW) && type_is_float(type_dtype(e->type));
}

/* What several facts are made of. */
typedef struct Facts {
    const Roles *r;
    const Lower *lo;
    const Machine *mach;
    int64_t terms; /* of the sum; 0: not known */
    bool dear, octets;
} Facts;

static Facts facts_of(const Matching *mt) {
    const Roles *r = &mt->roles;
    Facts f = {.r = r, .lo = mt->lo, .mach = mt->lo->machine, .terms = r->nred > 0};
    for (int i = 0; i < r->nred; i++)
        if (!mul_ok(f.terms, role_extent(mt, r->red[i]), &f.terms))
            f.terms = 0;
    expr_walk(mt->ctx, r->root->value, find_dear, &f.dear);
    f.octets = r->acc && r->acc->buf->type == T_I32;
    return f;
}

/* Is the sum one of 8-bit products, on a machine with instructions for such? */
static bool sums_octets(const Facts *f) {
    Narrow8 product;
    return f->mach->instr[0] && f->octets && narrow_match(f->r->acc, &product);
}

static void bind_facts(Matching *mt) {
    const Facts f = facts_of(mt);
    const Roles *r = f.r;
    bind_widths(mt);
#define NUMBER(name, value, says) bind(mt, name, value);
#define FLAG(name, value, says) bind_flag(mt, name, value);
#include "lower/rule_facts.def"
#undef NUMBER
#undef FLAG
}

/* ---- expressions over the bindings --------------------------------------------------------------------- */

/* An expression over the names bound when it was parsed; computed again as their values change. */
typedef struct Formula {
    const Expr *e;
    Sym *sym[BINDINGS_MAX];
    const char *text;
} Formula;

static bool formula_parse(Matching *mt, const char *text, Formula *f) {
    Ctx *ctx = mt->ctx;
    Names *names = names_new(ctx);
    Lex lex;
    for (int i = 0; i < mt->nbound; i++) {
        const Binding *b = &mt->bound[i];
        f->sym[i] = sym_new(ctx, SYM_LET, str(ctx, b->name), INT64_MIN, INT64_MAX);
        f->sym[i]->type = b->flag ? T_BOOL : T_I64;
        names_bind(names, f->sym[i]->name, f->sym[i], 's');
    }
    f->text = text;
    lex_init(&lex, ctx, "rules.sched", text);
    f->e = expr_parse(&lex, names);
    return f->e != NULL;
}

/* False (with a diagnostic) when it is not a number. */
static bool formula_value(const Matching *mt, const Formula *f, int64_t *v) {
    Ctx *ctx = mt->ctx;
    const Expr *to[BINDINGS_MAX];
    for (int i = 0; i < mt->nbound; i++) {
        const Binding *b = &mt->bound[i];
        to[i] = b->flag ? expr_bool(ctx, b->value) : expr_i(ctx, b->value);
    }
    return expr_is_int(expr_subst(ctx, f->e, mt->nbound, f->sym, to), v) ||
           diag_error(ctx, EXIT_INTERNAL, NULL, "rules.sched: '%s' is not a number", f->text);
}

/* The part of a guard up to the next && outside parentheses. */
static size_t part_length(const char *at) {
    int depth = 0;
    size_t n = 0;
    for (; at[n]; n++) {
        depth += (at[n] == '(') - (at[n] == ')');
        if (!depth && at[n] == '&' && at[n + 1] == '&')
            break;
    }
    return n;
}

static bool condition_holds(Matching *mt, const char *text) {
    Formula f;
    int64_t ok = 0;
    return formula_parse(mt, text, &f) && formula_value(mt, &f, &ok) && ok;
}

/* Does the guard hold? Else *why names the first part that does not, where somebody will read it: a part costs as
 * much memory as all of them. */
static bool guard_holds(Matching *mt, Str when, Str *why) {
    const Options *opt = mt->ctx->opt;
    bool told = mt->lo->module->choices || (opt && opt->tune_file);
    if (!when || condition_holds(mt, when))
        return true;
    for (const char *at = told ? when : ""; *at;) {
        size_t n = part_length(at), last = n;
        while (last && (at[last - 1] == ' ' || at[last - 1] == '\n'))
            last--;
        size_t gap = strspn(at, " \n");
        Str text = str_n(mt->ctx, at + gap, last - gap);
        *why = str_f(mt->ctx, "not %s", text);
        if (!condition_holds(mt, text))
            return false;
        at += n + (at[n] ? 2 : 0);
    }
    return false;
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* Cycles of one k step of a tile, in sixteenths: two multiply-adds or loads of a vector a cycle, 1.8 loads of a
 * number to all lanes (a tile of 30 x 1 takes 1.32 times as long as one of 14 x 2), and never less than the latency
 * of the chain (4) over what runs side by side. Where vectors are whole lines, each line of a panel from L2 costs
 * three eighths of a cycle more, whatever runs beside it: 7 rows of 5 vectors as 5 and 2 take 1.16 times as long as
 * 7 rows of 2 at once [measured]. */
enum { CYCLE = 16, SPLAT = 9, LINE_FROM_L2 = 6, LINE_BYTES = 64 };

static int64_t tile_cycles(int64_t rows, int64_t vecs, bool from_l2) {
    int64_t arithmetic = CYCLE / 2 * rows * vecs, loads = SPLAT * rows + CYCLE / 2 * vecs;
    int64_t c = arithmetic > loads ? arithmetic : loads;
    return (c < 4 * CYCLE ? 4 * CYCLE : c) + (from_l2 ? LINE_FROM_L2 * vecs : 0);
}

/* All of m x n (in vectors) by tiles of rows x vecs and their rests. */
static int64_t cover_cycles(int64_t m, int64_t nv, int64_t rows, int64_t vecs, bool from_l2) {
    int64_t mr = m % rows, nr = nv % vecs, mf = m / rows, nf = nv / vecs;
    return mf * nf * tile_cycles(rows, vecs, from_l2) +
           (mr ? nf * tile_cycles(mr, vecs, from_l2) : 0) +
           (nr ? mf * tile_cycles(rows, nr, from_l2) : 0) +
           (mr && nr ? tile_cycles(mr, nr, from_l2) : 0);
}

/* Half-cycles of a tile of high x rows x vecs with its window written out, each value read once from memory: as
 * above, with a longer chain, and for every sum the end of it. The weights of one row of values are in registers,
 * with a few to spare, or read for every product. One line each of positions in the same sets are gone before
 * their next use [measured]. */
static int64_t window_cycles(const Matching *mt, int64_t terms, const int64_t tile[3]) {
    const Roles *r = &mt->roles;
    int64_t sums = tile[0] * tile[1] * tile[2], reads = tile[2], weights = tile[0] * tile[2];
    for (int i = 0; i < 2; i++)
        reads *= (tile[i] - 1) * r->step[i] + r->span[i];
    int64_t nreg = mt->lo->machine->nreg;
    bool held = sums + weights * role_extent(mt, r->across[1]) <= nreg - nreg / 8 * 3;
    int64_t loads = reads + terms * (held ? weights : sums);
    int64_t c = terms * (sums > 12 ? sums : 12);
    bool gone = r->pitch % (CROWD_BYTES / 4) == 0 && tile[2] == 1;
    return ((c > loads ? c : loads) + 2 * sums + 8) * (gone ? 3 : 2) / 2;
}

/* All of high x m x n (in vectors) by tiles and their rests, of equal ones without; 0: nothing is known of the
 * window. */
static int64_t cover_window(const Matching *mt, int64_t m, int64_t nv, const int64_t by[3]) {
    const Roles *r = &mt->roles;
    int64_t high = r->high < 0 ? 1 : role_extent(mt, r->high), terms = 1, all = 0;
    const int64_t of[3] = {high ? high : 64, m, nv};
    for (int i = 0; i < r->nred; i++)
        terms *= role_extent(mt, r->red[i]);
    for (int rest = 0; rest < 8; rest++) {
        int64_t tile[3], times = terms > 0 && r->across[1] >= 0;
        for (int i = 0; i < 3; i++) {
            tile[i] = rest >> i & 1 ? of[i] % by[i] : by[i];
            times *= rest >> i & 1 ? tile[i] > 0 : of[i] / by[i];
        }
        all += times ? times * window_cycles(mt, terms, tile) + (rest > 0) : 0;
    }
    return all;
}

/* Does a panel (all of k for one tile's lanes) stay in a cache of so many bytes? Else it is streamed anew for every
 * row of tiles. */
static bool panel_stays(const Matching *mt, int64_t lanes, int64_t cache) {
    int64_t bytes = 4 * lanes;
    for (int i = 0; i < mt->roles.nred; i++)
        if (!mul_ok(bytes, role_extent(mt, mt->roles.red[i]), &bytes))
            return false;
    return bytes <= cache / 4 * 3;
}

/* One step of k over m x n (sixteenths of cycles) in cycles of the whole kernel; -1: some extent is not known. */
static double whole_cycles(const Matching *mt, int64_t step) {
    double steps = 1.0 / CYCLE;
    for (int i = 0; i < mt->roles.nred; i++)
        steps *= (double)role_extent(mt, mt->roles.red[i]);
    for (int i = 0; i < mt->roles.nouter; i++)
        steps *= (double)role_extent(mt, mt->roles.outer[i]);
    bool known = steps > 0 && (mt->roles.m < 0 || role_extent(mt, mt->roles.m)) &&
                 (mt->roles.n < 0 || role_extent(mt, mt->roles.n));
    return known ? steps * (double)step : -1;
}

/* Puts a tile among the best; of equal ones the larger is better, then the earlier. */
static void keep_tile(RuleTry *t, Tile tile) {
    int at = t->ntile;
    while (at > 0 && (tile.score < t->tile[at - 1].score ||
                      (tile.score == t->tile[at - 1].score &&
                       tile.m * tile.n > t->tile[at - 1].m * t->tile[at - 1].n)))
        at--;
    if (at == TILES_KEPT)
        return;
    t->ntile += t->ntile < TILES_KEPT;
    memmove(&t->tile[at + 1], &t->tile[at], (size_t)(t->ntile - 1 - at) * sizeof tile);
    t->tile[at] = tile;
}

/* Tries every tile that fits the registers; keeps the best. Symbolic extents count as 64 rows. */
static bool rank_tiles(Matching *mt, const Rule *rule, RuleTry *t) {
    const Machine *mach = mt->lo->machine;
    int64_t lanes = mach->vec / 4;
    int64_t m = role_extent(mt, mt->roles.m), n = role_extent(mt, mt->roles.n);
    if (lanes == 0)
        return false;
    m = mt->roles.m < 0 ? 1 : m ? m : 64;
    int64_t nv = n ? (n + lanes - 1) / lanes : 64;
    Formula where = {0}, score_of = {0};
    bool high = mt->roles.across[1] >= 0;
    bind(mt, rule->choose[0], 0);
    bind(mt, rule->choose[1], 0);
    bind(mt, "cycles", 0);
    bind(mt, "high1", 0);
    bind(mt, "high2", 0);
    if ((rule->where && !formula_parse(mt, rule->where, &where)) ||
        !formula_parse(mt, rule->minimizing, &score_of))
        return false;
    for (int64_t vecs = 1; vecs <= 8 && vecs <= nv; vecs++)
        for (int64_t rows = 1; rows <= m && rows * vecs + vecs + 1 <= mach->nreg; rows++) {
            int64_t score, ok = 1;
            bind(mt, rule->choose[0], rows);
            bind(mt, rule->choose[1], vecs * lanes);
            bool from_l2 = mach->vec == LINE_BYTES && !panel_stays(mt, vecs * lanes, mach->l1);
            int64_t cycles = cover_cycles(m, nv, rows, vecs, from_l2);
            bind(mt, "cycles", cycles + (panel_stays(mt, vecs * lanes, mach->l2) ? 0 : cycles / 4));
            for (int i = 1; i <= 2 && high; i++)
                bind(mt, i == 1 ? "high1" : "high2",
                     cover_window(mt, m, nv, (const int64_t[3]){i, rows, vecs}));
            if (rule->where && !formula_value(mt, &where, &ok))
                return false;
            if (!ok)
                continue;
            if (!formula_value(mt, &score_of, &score))
                return false;
            Tile tile = {rows, vecs * lanes, score, whole_cycles(mt, cycles)};
            keep_tile(t, tile);
        }
    return t->ntile > 0;
}

/* ---- steps -----------------------------------------------------------------------------------
 *
 * `out` and `acc` are the root and the accumulating Def, `lanes` and `rows` its operands; `out.m`, `acc.n`
 * … name a role's axis, `out.outer` and `acc.red` all axes of that kind, `out.case0` and `out.case1` those
 * that decide cases, `out.plain` the others of `out.outer`, `acc.rest` those of `acc.red` that are not k,
 * `out.high` the axis of has_high, `out.flat` those of `out.outer` that lie side by side with n like one
 * axis, `out.apart` the others. In a chain `mid`, `first` and `dot` are Defs too, and a step with `stats`,
 * `sums`, `wides`, `panels` or `leads` is repeated for each Def of that list, the last first (`.last`,
 * `.terms`: its last axis and the one before; `out.around`: the innermost of `outer`). In a scan group
 * `tiles` are the maps of its sums and `dots` those, `dot` is that of a tile, `lanes` its constant. */

/* All RED axes of a Def. */
static void red_text(Text *t, const Def *d) {
    const char *gap = "";
    for (int a = 0; a < d->naxis; a++)
        if (d->axis[a].kind == AXIS_RED) {
            text_f(t, "%s%s.%s", gap, d->name, d->axis[a].var->name);
            gap = " ";
        }
}

/* The axis of d at the place of acc's axis: root and acc share their leading axes by position. */
static void role_text(const Matching *mt, Text *t, const Def *d, const char *role) {
    const Roles *r = &mt->roles;
    const int last = d->buf->rank - 1, terms = last - 1;
    int rest[RANK_MAX * 2], nrest = 0;
    for (int i = 0; i < r->nred; i++)
        if (r->red[i] != r->k)
            rest[nrest++] = r->red[i];
    const struct {
        const char *name;
        const int *axis;
        int n;
    } lists[] = {{"m", &r->m, r->m >= 0},
                 {"n", &r->n, r->n >= 0},
                 {"high", &r->high, r->high >= 0},
                 {"cut", &r->cut, r->cut >= 0},
                 {"gather", &r->gather, r->gather >= 0},
                 {"across", &r->across[1], r->across[1] >= 0},
                 {"outer", r->outer, r->nouter},
                 {"apart", r->outer, r->nouter - r->nflat},
                 {"flat", r->outer + (r->nouter - r->nflat), r->nflat},
                 {"plain", r->plain, r->nplain},
                 {"case0", &r->cases[0], r->ncases > 0},
                 {"case1", &r->cases[1], r->ncases > 1},
                 {"k", &r->k, r->k >= 0},
                 {"ways", &r->ways, r->ways >= 0},
                 {"rest", rest, nrest},
                 {"around", r->outer + (r->nouter ? r->nouter - 1 : 0), r->nouter > 0},
                 {"terms", &terms, terms >= 0},
                 {"last", &last, last >= 0}};
    if (!strcmp(role, "red")) {
        red_text(t, d);
        return;
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        if (strcmp(role, lists[i].name) != 0)
            continue;
        for (int a = 0; a < lists[i].n; a++)
            text_f(t, "%s%s.%s", a ? " " : "", d->name, d->axis[lists[i].axis[a]].var->name);
        return;
    }
    text_f(t, "%s.%s", d->name, role);
}

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

/* W and the chosen names stand for their numbers; all other words for themselves. */
static Str number_or_word(const Matching *mt, Str word) {
    for (int i = 0; i < mt->nbound && word[0] >= 'A' && word[0] <= 'Z'; i++)
        if (!strcmp(mt->bound[i].name, word))
            return str_f(mt->ctx, "%lld", (long long)mt->bound[i].value);
    return word;
}

/* A Def's name in rules: one Def, or the list a step is repeated for. */
typedef struct DefRole {
    const char *name;
    const Def *def;
    const DefList *list;
} DefRole;

enum { DEF_ROLES = 13 };

static void def_roles(const Roles *r, DefRole out[DEF_ROLES]) {
    const DefRole all[DEF_ROLES] = {
        {"out", r->root, NULL},     {"acc", r->acc, NULL},      {"mid", r->mid, NULL},
        {"first", r->first, NULL},  {"dot", r->dot, NULL},      {"stats", NULL, &r->stats},
        {"sums", NULL, &r->sums},   {"wides", NULL, &r->wides}, {"panels", NULL, &r->panels},
        {"leads", NULL, &r->leads}, {"tiles", NULL, &r->tiles}, {"dots", NULL, &r->dots},
        {"tree", r->tree, NULL},
    };
    memcpy(out, all, sizeof all);
}

/* The row of the word's part before the dot. */
static const DefRole *def_role(const DefRole roles[DEF_ROLES], const char *word) {
    const char *dot = strchr(word, '.');
    size_t n = dot ? (size_t)(dot - word) : strlen(word);
    for (int i = 0; i < DEF_ROLES; i++)
        if (strlen(roles[i].name) == n && !strncmp(word, roles[i].name, n))
            return &roles[i];
    return NULL;
}

/* each: the Def of the list for which the step is written this time. */
static void word_text(const Matching *mt, Text *t, Str word, const DefRole *roles,
                      const Def *each) {
    const Roles *r = &mt->roles;
    const char *dot = strchr(word, '.');
    const DefRole *role = def_role(roles, word);
    const Def *sum = each && role && !strcmp(role->name, "dot") ? sum_of(mt->k, each) : NULL;
    const Def *d = sum ? sum : role && role->list ? each : role ? role->def : NULL;
    const Expr *operand = !strcmp(word, "lanes")  ? each ? sum_lanes(each) : r->lanes_load
                          : !strcmp(word, "rows") ? r->rows_load
                                                  : NULL;
    if (d && dot)
        role_text(mt, t, d, dot + 1);
    else if (d)
        text_s(t, d->name);
    else if (operand)
        text_s(t, step_name(mt->ctx, operand->u.buf->name));
    else
        text_s(t, number_or_word(mt, word));
}

static void step_write(const Matching *mt, Text *t, Str step, const DefRole *roles,
                       const Def *each) {
    for (const char *at = step; *at;) {
        size_t n = 0;
        while (word_char(at[n]))
            n++;
        if (n)
            word_text(mt, t, str_n(mt->ctx, at, n), roles, each);
        else
            text_c(t, *at);
        at += n ? n : 1;
    }
}

/* The list that a step is repeated for; NULL. */
static const DefList *step_list(const Matching *mt, Str step, const DefRole *roles) {
    for (const char *at = step; *at;) {
        size_t n = 0;
        while (word_char(at[n]))
            n++;
        const DefRole *role = n ? def_role(roles, str_n(mt->ctx, at, n)) : NULL;
        if (role && role->list)
            return role->list;
        at += n ? n : 1;
    }
    return NULL;
}

/* The rule's steps with roles, operands and chosen numbers filled in. */
static Str steps_text(const Matching *mt, const char *text) {
    Text t = text_new(mt->ctx);
    DefRole roles[DEF_ROLES];
    def_roles(&mt->roles, roles);
    while (*text) {
        size_t n = strcspn(text, ";");
        Str step = str_n(mt->ctx, text, n);
        const DefList *list = step_list(mt, step, roles);
        for (int i = list ? list->len : 1; i-- > 0;) {
            text_s(&t, t.len ? " ; " : "");
            step_write(mt, &t, step, roles, list ? list->at[i] : NULL);
        }
        text += n + (text[n] == ';');
    }
    return str(mt->ctx, t.at ? t.at : "");
}

/* Is there a tile: the one asked for, if it fits the registers, or the best? Binds it. */
static bool choose_tile(Matching *mt, const Rule *rule, const Tile *tile, RuleTry *t) {
    const Machine *mach = mt->lo->machine;
    int64_t lanes = mach->vec / 4;
    if (!rank_tiles(mt, rule, t))
        return false;
    const Tile *best = tile ? tile : t->tile;
    int64_t vecs = lanes ? best->n / lanes : 0;
    bind(mt, rule->choose[0], best->m);
    bind(mt, rule->choose[1], best->n);
    return !tile || (best->m >= 1 && best->m <= mach->nreg && vecs >= 1 && best->n % lanes == 0 &&
                     vecs <= mach->nreg && best->m * vecs + vecs + 1 <= mach->nreg);
}

bool rule_match(Lower *lo, const Kernel *k, const Rule *rule, const Tile *tile, Sched *out,
                RuleTry *t) {
    Matching mt = {.ctx = lo->ctx, .lo = lo, .k = k};
    kernel_roles(lo->ctx, k, &mt.roles);
    *t = (RuleTry){.rule = rule->name, .names = {rule->choose[0], rule->choose[1]}};
    if (!(rule->classes & 1u << mt.roles.kind)) {
        t->why = str_f(lo->ctx, "is a %s", class_name(mt.roles.kind));
        t->other_class = true;
        return false;
    }
    bind_facts(&mt);
    if (!guard_holds(&mt, rule->when, &t->why))
        return false;
    t->why = str(lo->ctx, "no tile fits");
    if (rule->choose[0] && !choose_tile(&mt, rule, tile, t))
        return false;
    t->why = NULL;
    Lex lex;
    lex_init(&lex, lo->ctx, "rules.sched", steps_text(&mt, rule->steps));
    return sched_parse(&lex, out) &&
           (lex.kind == 0 ||
            lex_error(&lex, "rule %s: ';' expected before '%s'", rule->name, lex.tok));
}

/* ---- the file -------------------------------------------------------------------------------- */

/* The text from `at` to one of the stop words at the start of a word, or the end. */
static Str until(Ctx *ctx, const char **at, const char *const *stop) {
    const char *start = *at, *c = start;
    for (; *c; c++) {
        bool word = c == start || !word_char(c[-1]);
        for (int i = 0; word && stop[i]; i++) {
            size_t n = strlen(stop[i]);
            if (!strncmp(c, stop[i], n) && !word_char(c[n])) {
                *at = c;
                return str_n(ctx, start, (size_t)(c - start));
            }
        }
    }
    *at = c;
    return str(ctx, start);
}

static bool take(const char **at, const char *word) {
    size_t n = strlen(word);
    while (**at == ' ' || **at == '\n')
        ++*at;
    if (strncmp(*at, word, n) != 0 || word_char((*at)[n]))
        return false;
    *at += n;
    while (**at == ' ' || **at == '\n')
        ++*at;
    return true;
}

static Str name(Ctx *ctx, const char **at) {
    size_t n = 0;
    while (**at == ' ' || **at == '\n')
        ++*at;
    while (word_char((*at)[n]))
        n++;
    Str s = str_n(ctx, *at, n);
    *at += n;
    return s;
}

static void parse_rule(Ctx *ctx, const char **at, Rule *r) {
    static const char *const when[] = {"choose", "steps", "rule", NULL};
    static const char *const where[] = {"minimizing", "rule", NULL};
    static const char *const minimizing[] = {"steps", "rule", NULL};
    static const char *const rule[] = {"rule", NULL};
    r->name = name(ctx, at);
    take(at, "for");
    for (int c = 0; c <= CLASS_CHAIN; c++)
        if (take(at, class_name((KernelClass)c))) {
            r->classes |= 1u << c;
            c = -1;
        }
    if (take(at, "when"))
        r->when = until(ctx, at, when);
    if (take(at, "choose")) {
        r->choose[0] = name(ctx, at);
        r->choose[1] = name(ctx, at);
        take(at, "in");
        take(at, "tiles");
        if (take(at, "where"))
            r->where = until(ctx, at, where);
        if (take(at, "minimizing"))
            r->minimizing = until(ctx, at, minimizing);
    }
    take(at, "steps");
    r->steps = until(ctx, at, rule);
}

/* `# …` to the end of the line is blank. */
static char *without_comments(Ctx *ctx, const char *text) {
    char *copy = ctx_copy(ctx, text, strlen(text) + 1);
    bool comment = false;
    for (char *c = copy; *c; c++) {
        comment = *c == '\n' ? false : comment || *c == '#';
        *c = comment ? ' ' : *c;
    }
    return copy;
}

RuleList rules_parse(Ctx *ctx, const char *text) {
    RuleList rules = {0};
    const char *at = without_comments(ctx, text);
    while (take(&at, "rule")) {
        Rule r = {0};
        parse_rule(ctx, &at, &r);
        vec_push(ctx, &rules, r);
    }
    return rules;
}

void rule_names(Text *t, const Target *target) {
    RuleList rules = rules_parse(t->ctx, target->rules ? target->rules : "");
    for (int i = 0; i < rules.len; i++)
        text_f(t, "%s ", rules.at[i].name);
}
