/* Ranks for the networks of many matrices, from the singular values of their bonds. */
#include "compress.h"
#include "cut.h"
#include "rank_options.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct choice {
    const dart_model *model;
    dart_compress_fate *fate;      /* borrowed [weights] */
    dart_bond *all;                /* owned: bonds of all networks */
    uint32_t *rank;                /* owned: one a bond of `all` */
    dart_bond *some;               /* owned: those of the weights that are networks still */
    uint32_t *some_rank, *some_at; /* owned: their ranks, and their places in `all` */
    uint32_t bonds, somes;
    uint64_t target; /* words of all chosen matrices together */
} choice;

static uint64_t dense_words(const choice *c, uint32_t w)
{
    return (uint64_t)c->model->weight[w].weight.out * c->model->weight[w].weight.in;
}

/* Bonds of weight w: [first, first + count) of `all`; count 0: it has none. */
static uint32_t bonds_of(const choice *c, uint32_t w, uint32_t *count)
{
    uint32_t first = 0;
    while (first < c->bonds && c->all[first].weight != w) first++;
    *count = first < c->bonds ? c->model->weight[w].layout.bonds : 0;
    return first;
}

/* The bonds of one weight, or of all that are networks (w: model->weights), as a list by itself. */
static void gather(choice *c, uint32_t w)
{
    c->somes = 0;
    for (uint32_t k = 0; k < c->bonds; k++) {
        const uint32_t of = c->all[k].weight;
        if (w < c->model->weights ? of != w : c->fate[of] != DART_FATE_NETWORK) continue;
        dart_bond *bond = &c->some[c->somes];
        const int shift = (int)c->somes - (int)k; /* neighbours stand beside it in both lists */
        *bond = c->all[k];
        if (bond->left_bond >= 0) bond->left_bond += shift;
        if (bond->right_bond >= 0) bond->right_bond += shift;
        c->some_rank[c->somes] = c->rank[k];
        c->some_at[c->somes++] = k;
    }
}

static void give_back(choice *c)
{
    for (uint32_t i = 0; i < c->somes; i++) c->rank[c->some_at[i]] = c->some_rank[i];
}

/* Lowers ranks that the cores beside them cannot carry. */
static void admit(const dart_bond *bond, uint32_t bonds, uint32_t *rank)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = 0; k < bonds; k++) {
            const uint64_t cap = dart_bond_cap(bond, rank, k);
            if (rank[k] <= cap) continue;
            rank[k] = (uint32_t)cap;
            changed = true;
        }
    }
}

static uint64_t words_of(choice *c, uint32_t w)
{
    gather(c, w);
    return dart_bond_words(c->some, c->somes, c->some_rank);
}

/* Networks that are not smaller than their matrices are given up; whether there were any. */
static bool give_up(choice *c)
{
    bool any = false;
    for (uint32_t w = 0; w < c->model->weights; w++) {
        if (c->fate[w] != DART_FATE_NETWORK || words_of(c, w) < dense_words(c, w)) continue;
        c->fate[w] = DART_FATE_KEPT;
        any = true;
    }
    return any;
}

/* ---- each matrix by itself ---- */

static void by_epsilon(choice *c, double epsilon)
{
    for (uint32_t w = 0; w < c->model->weights; w++) {
        if (c->fate[w] != DART_FATE_NETWORK) continue;
        gather(c, w);
        for (uint32_t k = 0; k < c->somes; k++) {
            const dart_bond *bond = &c->some[k];
            double all = 0, tail = 0;
            uint32_t r = bond->rank;
            for (uint32_t i = 0; i < r; i++) all += bond->sigma[i] * bond->sigma[i];
            const double most = epsilon * epsilon * all / c->somes;
            for (; r > 1; r--) {
                tail += bond->sigma[r - 1] * bond->sigma[r - 1];
                if (tail > most) break;
            }
            c->some_rank[k] = r;
        }
        admit(c->some, c->somes, c->some_rank);
        give_back(c);
    }
}

static dart_status by_one_rank(choice *c, double target)
{
    for (uint32_t w = 0; w < c->model->weights; w++) {
        if (c->fate[w] != DART_FATE_NETWORK) continue;
        const uint64_t most = (uint64_t)((double)dense_words(c, w) / target);
        uint32_t low = 1, high = 1;
        gather(c, w);
        for (uint32_t k = 0; k < c->somes; k++)
            if (c->some[k].rank > high) high = c->some[k].rank;
        while (low <= high) { /* the largest that fits */
            const uint32_t r = low + (high - low) / 2;
            for (uint32_t k = 0; k < c->somes; k++)
                c->some_rank[k] = r < c->some[k].rank ? r : c->some[k].rank;
            if (dart_bond_words(c->some, c->somes, c->some_rank) <= most)
                low = r + 1;
            else
                high = r - 1;
        }
        if (!high) {
            for (uint32_t k = 0; k < c->somes; k++) c->some_rank[k] = 1;
            return dart_fail(DART_INPUT,
                "%s (%u x %u) cannot become %g times smaller as %s: at rank 1 it has %" PRIu64
                " numbers, %" PRIu64 " are wanted; lower --target, or leave it out of --modules",
                c->model->weight[w].weight.name, c->model->weight[w].weight.out,
                c->model->weight[w].weight.in, target, c->model->weight[w].weight.method->name,
                dart_bond_words(c->some, c->somes, c->some_rank), most);
        }
        for (uint32_t k = 0; k < c->somes; k++)
            c->some_rank[k] = high < c->some[k].rank ? high : c->some[k].rank;
        give_back(c);
    }
    return DART_OK;
}

/* ---- all together ---- */

/* What the networks that are left may have, and what they have at rank 1. */
static dart_status budget_of(choice *c, uint64_t *out)
{
    uint64_t kept = 0;
    for (uint32_t w = 0; w < c->model->weights; w++)
        if (c->fate[w] == DART_FATE_KEPT) kept += dense_words(c, w);
    gather(c, c->model->weights);
    for (uint32_t k = 0; k < c->somes; k++) c->some_rank[k] = 1;
    const uint64_t least = kept + (c->somes ? dart_bond_words(c->some, c->somes, c->some_rank) : 0);
    *out = c->target - kept;
    if (least <= c->target && c->somes) return DART_OK;
    return dart_fail(DART_INPUT,
        "the matrices cannot have %" PRIu64 " numbers together: at rank 1 their networks%s have "
        "%" PRIu64 "; lower --target, or choose other --modules",
        c->target, kept ? " and the matrices that networks do not make smaller" : "", least);
}

/* The rule `budget`, with errors relative to each matrix. */
static dart_status by_budget(choice *c)
{
    const dart_select *rule = dart_select_find("budget");
    dart_select_options options = {.values = dart_options_default(rule->options)};
    uint64_t words;
    do {
        DART_TRY(budget_of(c, &words));
        dart_options_set(&options.values, &dart_row_budget, (double)words);
        DART_TRY(rule->choose(c->some, c->somes, &options, c->some_rank));
        give_back(c);
    } while (give_up(c));
    return DART_OK;
}

/* Ranks whose singular values lie in the upper part of each bond's range. */
static uint64_t above(choice *c, double part)
{
    uint64_t words = 0;
    for (uint32_t w = 0; w < c->model->weights; w++) {
        if (c->fate[w] != DART_FATE_NETWORK) continue;
        gather(c, w);
        for (uint32_t k = 0; k < c->somes; k++) {
            const dart_bond *bond = &c->some[k];
            const double least = bond->sigma[bond->rank - 1], range = bond->sigma[0] - least;
            uint32_t r = 1;
            while (r < bond->rank && bond->sigma[r] - least > part * range) r++;
            c->some_rank[k] = r;
        }
        admit(c->some, c->somes, c->some_rank);
        const uint64_t own = dart_bond_words(c->some, c->somes, c->some_rank);
        const uint64_t dense = dense_words(c, w);
        words += own < dense ? own : dense;
        give_back(c);
    }
    return words;
}

static dart_status by_threshold(choice *c)
{
    double low = 0, high = 1;
    uint64_t least;
    DART_TRY(budget_of(c, &least));
    for (int i = 0; i < 60; i++) { /* halving: the smallest part whose words fit */
        const double part = (low + high) / 2;
        if (above(c, part) <= c->target)
            high = part;
        else
            low = part;
    }
    (void)above(c, high);
    return DART_OK;
}

static void choice_free(choice *c)
{
    free(c->all);
    free(c->rank);
    free(c->some);
    free(c->some_rank);
    free(c->some_at);
}

static dart_status choice_new(const dart_model *model, double *const (*sigma)[DART_CHAIN_MAX],
    dart_compress_fate *fate, choice *c)
{
    *c = (choice){.model = model, .fate = fate};
    DART_TRY(dart_bonds_of(model, &c->all, &c->bonds));
    c->rank = dart_calloc(c->bonds, sizeof *c->rank);
    c->some = dart_calloc(c->bonds, sizeof *c->some);
    c->some_rank = dart_calloc(c->bonds, sizeof *c->some_rank);
    c->some_at = dart_calloc(c->bonds, sizeof *c->some_at);
    if (!c->rank || !c->some || !c->some_rank || !c->some_at) return DART_MEMORY;
    for (uint32_t k = 0; k < c->bonds; k++) {
        c->all[k].sigma = sigma[c->all[k].weight][c->all[k].index];
        c->rank[k] = c->all[k].rank;
    }
    return DART_OK;
}

dart_status dart_compress_choose(const dart_model *model, double *const (*sigma)[DART_CHAIN_MAX],
    dart_compress_ranks how, bool absolute, double amount, dart_compress_fate *fate,
    uint32_t (*ranks)[DART_MAX_CORES + 1])
{
    choice c;
    uint64_t dense = 0;
    uint32_t networks = 0, count;
    dart_status status = choice_new(model, sigma, fate, &c);
    if (status != DART_OK) goto done;
    for (uint32_t w = 0; w < model->weights; w++)
        if (fate[w] == DART_FATE_NETWORK) dense += dense_words(&c, w);
    c.target = (uint64_t)((double)dense / amount);
    if (how == DART_RANKS_EPSILON) by_epsilon(&c, amount);
    if (how == DART_RANKS_UNIFORM) DART_GOTO(by_one_rank(&c, amount));
    if (how == DART_RANKS_FOUND && absolute)
        DART_GOTO(dart_compress_found(model, c.all, c.bonds, c.target, fate, c.rank));
    if (how == DART_RANKS_FOUND && !absolute) DART_GOTO(by_budget(&c));
    if (how == DART_RANKS_THRESHOLD) DART_GOTO(by_threshold(&c));
    give_up(&c);
    for (uint32_t w = 0; w < model->weights; w++) {
        if (fate[w] != DART_FATE_NETWORK) continue;
        const uint32_t first = bonds_of(&c, w, &count);
        networks++;
        ranks[w][0] = ranks[w][count + 1] = 1;
        for (uint32_t k = 0; k < count; k++) ranks[w][k + 1] = c.rank[first + k];
    }
    if (!networks)
        status = dart_fail(DART_INPUT,
            "no matrix becomes smaller: its network would have as many numbers or more; allow a "
            "larger --epsilon, or choose another --method");
done:
    choice_free(&c);
    return status;
}
