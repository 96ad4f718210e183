/* budget: ranks of all layers together such that the chains have at most `budget` words, within 1 %
 * of it where the ranks allow that, and little is discarded (dart_select_scale). Few bonds: all
 * ranks are tried. Many: greedy removal by value per word saved, refilling, single exchanges, and
 * moves of up to three bonds where the size is still more than 1 % away. */
#include "rules.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const dart_option_row scale_row = {.key = "budget_scale",
    .section = "stage",
    .kind = DART_OPTION_CHOICE,
    .fallback = "relative",
    .choices = "absolute|relative|log",
    .help = "budget: count what is discarded as it is, as a part of its weight, or as the "
            "logarithm of the part kept"};
static const dart_option_row *const option_rows[] = {
    &dart_row_budget, &scale_row, &dart_row_drop, &dart_row_min_rank, NULL};

typedef struct state {
    const dart_bond *bonds;
    const dart_select_options *options;
    uint32_t count;
    uint64_t target, full; /* words wanted and words now */
    uint64_t words;        /* at `ranks` */
    uint32_t chains;       /* that are not lost; 0: none may be */
    uint32_t *ranks, *least;
    double *
        *value; /* [count][rank]: what discarding a direction costs once all above it are gone */
} state;

/* How good a choice is: first whether its size is within 1 %, then what it discards. */
typedef struct worth {
    bool near;
    double lost;
} worth;

static uint64_t side(const state *s, uint32_t n, int neighbour)
{
    return (uint64_t)n * (neighbour >= 0 ? s->ranks[neighbour] : 1);
}

/* Words of one direction of bond k: a slice of the core on either side. */
static uint64_t price(const state *s, uint32_t k)
{
    const dart_bond *bond = &s->bonds[k];
    return side(s, bond->left_n, bond->left_bond) + side(s, bond->right_n, bond->right_bond);
}

static void recount(state *s)
{
    s->words = dart_bond_words(s->bonds, s->count, s->ranks);
}

static worth worth_of(const state *s)
{
    worth w = {(double)s->words >= 0.99 * (double)s->target || s->words == s->full, 0.0};
    for (uint32_t k = 0; k < s->count; k++)
        for (uint32_t j = s->bonds[k].rank; j-- > s->ranks[k];) w.lost += s->value[k][j];
    return w;
}

static bool better(worth a, worth b)
{
    return a.near != b.near ? a.near : a.lost < b.lost * (1.0 - 1e-12);
}

static bool carried(const state *s)
{
    for (uint32_t k = 0; k < s->count; k++)
        if (!dart_select_carried(s->bonds, s->ranks, k)) return false;
    return true;
}

/* ---- few bonds: every choice ---- */

static bool few(const state *s)
{
    const double most = 1 << 17;
    double choices = 1.0;
    for (uint32_t k = 0; k < s->count && choices <= most; k++)
        choices *= s->bonds[k].rank - s->least[k] + 1;
    return choices <= most;
}

static void try_all(state *s, uint32_t *best)
{
    worth top = {false, INFINITY};
    for (uint32_t k = 0; k < s->count; k++) best[k] = s->ranks[k] = s->least[k];
    for (uint32_t k = 0; k < s->count;) {
        recount(s);
        if (s->words <= s->target && carried(s)) {
            worth now = worth_of(s);
            if (better(now, top)) {
                top = now;
                memcpy(best, s->ranks, s->count * sizeof *best);
            }
        }
        for (k = 0; k < s->count && s->ranks[k] == s->bonds[k].rank; k++) s->ranks[k] = s->least[k];
        if (k < s->count) s->ranks[k]++;
    }
    memcpy(s->ranks, best, s->count * sizeof *best);
    recount(s);
}

/* ---- many ---- */

static void take(state *s, uint32_t k)
{
    s->words -= price(s, k);
    s->ranks[k]--;
}

/* What losing the chain whose first bond is k discards: the most that one of its bonds keeps. */
static double chain_value(const state *s, uint32_t k)
{
    double most = 0.0;
    for (int at = (int)k; at >= 0; at = s->bonds[at].right_bond) {
        double kept = 0.0;
        for (uint32_t j = 0; j < s->ranks[at]; j++) kept += s->value[at][j];
        if (kept > most) most = kept;
    }
    return most;
}

/* The chain that is worth least per word, by its first bond, if it is worth less than this; the
 * last one stays. */
static uint32_t cheapest_chain(const state *s, double below)
{
    uint32_t best = s->count;
    for (uint32_t k = 0; s->chains > 1 && k < s->count; k++) {
        if (s->bonds[k].left_bond >= 0 || !s->bonds[k].spare || !s->ranks[k]) continue;
        const double value =
            chain_value(s, k) / (double)dart_bond_chain_words(s->bonds, s->ranks, k);
        if (!(value < below)) continue;
        below = value;
        best = k;
    }
    return best;
}

static void lose(state *s, uint32_t k)
{
    s->words -= dart_bond_chain_words(s->bonds, s->ranks, k);
    s->chains--;
    for (int at = (int)k; at >= 0; at = s->bonds[at].right_bond) s->ranks[at] = 0;
}

/* Removes the cheapest directions, or whole chains, until the budget holds. */
static void shrink(state *s)
{
    while (s->words > s->target) {
        uint32_t best = s->count;
        double best_value = 0.0;
        uint64_t best_price = 0;
        for (uint32_t k = 0; k < s->count; k++) {
            if (s->ranks[k] <= s->least[k]) continue;
            uint64_t words = price(s, k);
            double value = s->value[k][s->ranks[k] - 1] / (double)words;
            if (best == s->count || value < best_value ||
                (value == best_value && words > best_price)) {
                best = k;
                best_value = value;
                best_price = words;
            }
        }
        const uint32_t chain = cheapest_chain(s, best == s->count ? INFINITY : best_value);
        if (chain < s->count)
            lose(s, chain);
        else if (best < s->count)
            take(s, best);
        else
            return; /* the smallest ranks: the target is never below them */
    }
}

/* Gives back the most valuable directions that fit, best value per word first. */
static void fill(state *s)
{
    for (;;) {
        uint32_t best = s->count;
        double best_value = 0.0;
        for (uint32_t k = 0; k < s->count; k++) {
            const dart_bond *bond = &s->bonds[k];
            uint64_t words = price(s, k), r = s->ranks[k] + (uint64_t)1;
            if (!s->ranks[k]) continue; /* lost */
            if (r > bond->rank || s->words + words > s->target) continue;
            if (r > side(s, bond->left_n, bond->left_bond) ||
                r > side(s, bond->right_n, bond->right_bond))
                continue;
            double value = s->value[k][s->ranks[k]] / (double)words;
            if (best == s->count || value > best_value) {
                best = k;
                best_value = value;
            }
        }
        if (best == s->count) return;
        s->words += price(s, best);
        s->ranks[best]++;
    }
}

/* Takes one direction away and refills; keeps the exchange if less is discarded. */
static bool exchange(state *s, uint32_t *saved)
{
    size_t bytes = s->count * sizeof *saved;
    worth before = worth_of(s);
    uint64_t words = s->words;
    memcpy(saved, s->ranks, bytes);
    for (uint32_t k = 0; k < s->count; k++) {
        if (s->ranks[k] <= s->least[k]) continue;
        take(s, k);
        dart_select_admissible(s->bonds, s->count, s->options, s->ranks);
        recount(s);
        fill(s);
        if (better(worth_of(s), before)) return true;
        memcpy(s->ranks, saved, bytes);
        s->words = words;
    }
    return false;
}

typedef struct move {
    uint32_t bond[3];
    int change[3];
} move;

static bool shift(state *s, const move *m, int sign)
{
    bool inside = true;
    for (int i = 0; i < 3; i++) {
        uint32_t k = m->bond[i];
        s->ranks[k] = (uint32_t)((int)s->ranks[k] + sign * m->change[i]);
        inside = inside && (int)s->ranks[k] >= (int)s->least[k] && s->ranks[k] <= s->bonds[k].rank;
    }
    return inside;
}

/* Changes up to `bonds` ranks by up to 3 each so that the size comes within 1 %; of all such moves
 * the one that discards least. */
static bool close_gap(state *s, uint32_t bonds)
{
    const int reach = 3, n = (int)s->count;
    worth top = worth_of(s);
    move best = {{0}, {0}};
    for (int i = 0; i < n; i++)
        for (int j = bonds > 1 ? i : n - 1; j < n; j++)
            for (int l = bonds > 2 ? j : n - 1; l < n; l++)
                for (int c = 0; c < 343; c++) {
                    move m = {{(uint32_t)i, (uint32_t)j, (uint32_t)l},
                        {c % 7 - reach, bonds > 1 ? c / 7 % 7 - reach : 0,
                            bonds > 2 ? c / 49 - reach : 0}};
                    if (bonds < 3 && c >= (bonds > 1 ? 49 : 7)) break;
                    if (shift(s, &m, 1)) {
                        recount(s);
                        if (s->words <= s->target && (double)s->words >= 0.99 * (double)s->target &&
                            carried(s) && better(worth_of(s), top)) {
                            top = worth_of(s);
                            best = m;
                        }
                    }
                    shift(s, &m, -1);
                }
    shift(s, &best, 1);
    recount(s);
    return top.near;
}

static void search(state *s, uint32_t *saved)
{
    /* bound the time; a few exchanges are usual, and with many bonds single steps are below 1 % */
    enum { MAX_EXCHANGES = 64, MAX_MOVED = 32 };
    for (uint32_t k = 0; k < s->count; k++) s->ranks[k] = s->bonds[k].rank;
    recount(s);
    shrink(s);
    dart_select_admissible(s->bonds, s->count, s->options, s->ranks);
    recount(s);
    fill(s);
    for (uint32_t i = 0; i < MAX_EXCHANGES && exchange(s, saved); i++) {
    }
    for (uint32_t bonds = 1; bonds <= 3 && s->count <= MAX_MOVED && !worth_of(s).near; bonds++)
        close_gap(s, bonds);
    fill(s);
}

/* Costs of a bond's directions: with a logarithm that of the part kept before over the part kept
 * after, so that their sum is that of all. A weight of zeros costs nothing. */
static void set_values(const dart_bond *bond, dart_select_scale scale, double *value)
{
    double kept = 0.0;
    for (uint32_t j = 0; j < bond->rank; j++) {
        double square = bond->sigma[j] * bond->sigma[j];
        value[j] = scale == DART_SCALE_LOG ? log1p(kept > 0.0 ? square / kept : 0.0) : square;
        kept += square;
    }
    for (uint32_t j = 0; j < bond->rank && scale == DART_SCALE_RELATIVE; j++)
        value[j] = kept > 0.0 ? value[j] / kept : 0.0;
}

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    state s = {.bonds = bonds, .options = options, .count = count, .ranks = ranks};
    const dart_select_scale scale =
        (dart_select_scale)dart_options_get(&options->values, &scale_row);
    const bool drop = dart_options_get(&options->values, &dart_row_drop) != 0;
    size_t directions = 0;
    if (drop && scale != DART_SCALE_ABSOLUTE)
        return dart_fail(DART_INPUT,
            "budget: budget_drop compares what weights learnt with each other; set budget_scale: "
            "absolute");
    DART_TRY(dart_select_target(bonds, count, options, "budget", drop, &s.target));
    for (uint32_t k = 0; k < count; k++) directions += bonds[k].rank;
    uint32_t *own = dart_calloc(2 * (size_t)count + 1, sizeof *own), *saved = own + count;
    double *values = dart_calloc(directions + 1, sizeof *values), *at = values;
    s.value = dart_calloc((size_t)count + 1, sizeof *s.value);
    s.least = own;
    if (own && values && s.value) {
        for (uint32_t k = 0; k < count; k++) {
            s.value[k] = at;
            set_values(&bonds[k], scale, at);
            at += bonds[k].rank;
            s.least[k] = dart_select_clamp(&bonds[k], options, 1);
            ranks[k] = bonds[k].rank;
            s.chains += drop && bonds[k].left_bond < 0;
        }
        s.full = dart_bond_words(bonds, count, ranks);
        if (!drop && few(&s))
            try_all(&s, saved);
        else
            search(&s, saved);
    }
    dart_status status = own && values && s.value ? DART_OK : DART_MEMORY;
    free(own);
    free(values);
    free(s.value);
    return status;
}

const dart_select dart_selects_budget = {.name = "budget",
    .help = "best ranks with at most the given number of words in all chains",
    .choose = choose,
    .options = option_rows};
