/* Bonds with random spectra, their words and what a choice of ranks discards: what the tests of the
 * selection rules share. */
#ifndef DART_TEST_SELECT_TOY_H
#define DART_TEST_SELECT_TOY_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "chain.h"
#include "rng.h"
#include "options.h"
#include "select.h"

enum { MAX_BONDS = 12, MAX_RANK = 24 };

typedef struct toy { /* weights with `per` bonds each */
    uint32_t count;
    dart_bond bond[MAX_BONDS];
    double sigma[MAX_BONDS][MAX_RANK];
} toy;

static uint64_t draws;

static inline uint32_t below(uint32_t n)
{
    return (uint32_t)(dart_uniform(3, DART_STREAM_TEST, draws++) * n);
}

static inline uint64_t words(const toy *t, const uint32_t *r)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < t->count; k++) {
        const dart_bond *b = &t->bond[k];
        sum += (uint64_t)r[k] * b->right_n * (b->right_bond >= 0 ? r[b->right_bond] : 1);
        if (b->left_bond < 0) sum += (uint64_t)b->left_n * r[k];
    }
    return sum;
}

static inline double lost_by(const toy *t, const uint32_t *r, dart_select_scale scale)
{
    double sum = 0;
    for (uint32_t k = 0; k < t->count; k++) {
        double tail = 0, all = 0;
        for (uint32_t j = 0; j < t->bond[k].rank; j++) {
            double square = t->sigma[k][j] * t->sigma[k][j];
            all += square;
            if (j >= r[k]) tail += square;
        }
        sum += scale == DART_SCALE_ABSOLUTE   ? tail
               : scale == DART_SCALE_RELATIVE ? tail / all
                                              : -log(1 - tail / all);
    }
    return sum;
}

static inline double lost(const toy *t, const uint32_t *r)
{
    return lost_by(t, r, DART_SCALE_ABSOLUTE);
}

static inline toy random_toy(uint32_t weights, uint32_t per, uint32_t max_rank)
{
    toy t = {0};
    for (uint32_t w = 0; w < weights; w++) {
        uint32_t n[MAX_BONDS + 1];
        for (uint32_t k = 0; k <= per; k++) n[k] = max_rank + below(4); /* every rank is carried */
        for (uint32_t k = 0; k < per; k++) {
            uint32_t i = t.count++;
            double value = 0.5 + dart_uniform(3, DART_STREAM_TEST, draws++);
            t.bond[i] = (dart_bond){w, k, 2 + below(max_rank - 1), NULL, n[k], n[k + 1],
                k ? (int)i - 1 : -1, k + 1 < per ? (int)i + 1 : -1};
            for (uint32_t j = 0; j < t.bond[i].rank; j++) {
                t.sigma[i][j] = value;
                value *= 0.3 + 0.7 * dart_uniform(3, DART_STREAM_TEST, draws++);
            }
        }
    }
    return t;
}

static inline void attach(toy *t)
{
    for (uint32_t k = 0; k < t->count; k++) t->bond[k].sigma = t->sigma[k];
}

/* A random target between the smallest and the full size. */
static inline uint64_t random_target(const toy *t, const rule_options *o)
{
    uint32_t full[MAX_BONDS], least[MAX_BONDS];
    for (uint32_t k = 0; k < t->count; k++) {
        full[k] = t->bond[k].rank;
        least[k] = o->min_rank > 1 ? o->min_rank : 1;
    }
    uint64_t low = words(t, least), high = words(t, full);
    return low + below((uint32_t)(high - low + 1));
}

#endif
