/* The definition of every method's W, entry by entry, on the host: what apply, dense and the graphs
 * are compared with. */
#ifndef DART_TEST_REFERENCE_H
#define DART_TEST_REFERENCE_H

#include "chain.h"
#include "method.h"
#include <stdlib.h>
#include <string.h>

typedef double reference_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j);

static inline double reference_dense_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    (void)layout;
    return tensor[0][(size_t)i * weight->in + j];
}

/* sum_k B_ik A_kj */
static inline double reference_product(
    const dart_weight *weight, const double *b, const double *a, uint32_t i, uint32_t j)
{
    const uint32_t r = weight->ranks[1];
    double sum = 0;
    for (uint32_t k = 0; k < r; k++) sum += b[(size_t)i * r + k] * a[(size_t)k * weight->in + j];
    return sum;
}

static inline double reference_lora_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    const dart_option_row *alpha = dart_option_named(weight->method->options, "lora_alpha");
    const double scale = dart_options_get(&weight->options, alpha) / weight->rank;
    return scale * reference_product(weight, tensor[1], tensor[2], i, j) +
           reference_dense_entry(weight, layout, tensor, i, j);
}

static inline double reference_lowrank_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    (void)layout;
    return reference_product(weight, tensor[0], tensor[1], i, j);
}

/* Digits are row-major, first mode most significant. */
static inline void reference_digits(
    uint32_t n, uint32_t modes, const uint32_t *mode, uint32_t out[DART_MAX_MODES])
{
    for (uint32_t k = modes; k-- > 0; n /= mode[k]) out[k] = n % mode[k];
}

/* The product of the cores' slices at these digits. */
static inline double reference_chain(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, const uint32_t *n, const uint32_t *digit)
{
    double state[64] = {1}, next[64];
    for (uint32_t k = 0; k < layout->chain_cores; k++) {
        const uint32_t left = weight->ranks[k], right = weight->ranks[k + 1];
        memset(next, 0, sizeof next);
        for (uint32_t x = 0; x < left; x++)
            for (uint32_t y = 0; y < right; y++)
                next[y] += state[x] * tensor[k][((size_t)x * n[k] + digit[k]) * right + y];
        memcpy(state, next, sizeof state);
    }
    return state[0];
}

static inline double reference_tt_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    uint32_t n[2 * DART_MAX_MODES], digit[2 * DART_MAX_MODES];
    const uint32_t d = weight->modes;
    memcpy(n, weight->out_modes, d * sizeof *n);
    memcpy(n + d, weight->in_modes, d * sizeof *n);
    reference_digits(i, d, weight->out_modes, digit);
    reference_digits(j, d, weight->in_modes, digit + d);
    return reference_chain(weight, layout, tensor, n, digit);
}

static inline double reference_ttm_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    uint32_t n[DART_MAX_MODES], row[DART_MAX_MODES], col[DART_MAX_MODES];
    reference_digits(i, weight->modes, weight->out_modes, row);
    reference_digits(j, weight->modes, weight->in_modes, col);
    for (uint32_t k = 0; k < weight->modes; k++) {
        n[k] = weight->out_modes[k] * weight->in_modes[k];
        row[k] = row[k] * weight->in_modes[k] + col[k];
    }
    return reference_chain(weight, layout, tensor, n, row);
}

static const struct {
    const char *method;
    reference_entry *entry;
} reference_rows[] = {
    {"dense", reference_dense_entry},
    {"lora", reference_lora_entry},
    {"lowrank", reference_lowrank_entry},
    {"tt", reference_tt_entry},
    {"ttm", reference_ttm_entry},
    {"tt-embedding", reference_ttm_entry},
};

/* W (padded_out, in) from the tensors' values, tensor[i] as laid out; NULL: no row has the method.
 * Caller frees. */
static inline double *reference_dense(
    const dart_weight *weight, const dart_layout *layout, double *const *tensor)
{
    const size_t rows = layout->padded_out, columns = weight->in;
    for (size_t r = 0; r < sizeof reference_rows / sizeof *reference_rows; r++) {
        if (strcmp(reference_rows[r].method, weight->method->name)) continue;
        double *w = calloc(rows * columns, sizeof *w);
        for (size_t at = 0; at < rows * columns; at++)
            w[at] = reference_rows[r].entry(
                weight, layout, tensor, (uint32_t)(at / columns), (uint32_t)(at % columns));
        return w;
    }
    return NULL;
}

#endif
