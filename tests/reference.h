/* The definition of every method's W, entry by entry, on the host: what apply, dense and the graphs
 * are compared with. */
#ifndef DART_TEST_REFERENCE_H
#define DART_TEST_REFERENCE_H

#include "chain.h"
#include "method.h"
#include <math.h>
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

static inline double reference_option(const dart_weight *weight, const char *key)
{
    return dart_options_get(&weight->options, dart_option_named(weight->method->options, key));
}

/* The frozen matrix that a chain stands beside; 0 where there is none. */
static inline double reference_base(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    return layout->chain_first ? reference_dense_entry(weight, layout, tensor, i, j) : 0;
}

/* W0 + s B A */
static inline double reference_lora_sum(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    const double rank = weight->rank, root = reference_option(weight, "rslora");
    const double scale = reference_option(weight, "lora_alpha") / (root ? sqrt(rank) : rank);
    return scale * reference_product(weight, tensor[1], tensor[2], i, j) +
           reference_dense_entry(weight, layout, tensor, i, j);
}

/* DoRA: m_i (W0 + s B A)_ij / ||(W0 + s B A)_i|| */
static inline double reference_lora_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    const double sum = reference_lora_sum(weight, layout, tensor, i, j);
    double power = 0;
    if (!reference_option(weight, "use_dora")) return sum;
    for (uint32_t k = 0; k < weight->in; k++)
        power += pow(reference_lora_sum(weight, layout, tensor, i, k), 2);
    return tensor[3][i] * sum / sqrt(power);
}

static inline double reference_lowrank_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    double *const *pair = tensor + layout->chain_first;
    return reference_product(weight, pair[0], pair[1], i, j) +
           reference_base(weight, layout, tensor, i, j);
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

static inline uint32_t reference_modes(const uint32_t *modes)
{
    uint32_t count = 0;
    while (count < DART_MAX_MODES && modes[count]) count++;
    return count;
}

/* Output digits, then input digits; between them a core without a digit (twice), where n[k] is 1.
 */
static inline double reference_train(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    uint32_t n[DART_MAX_CORES + 2] = {0}, digit[DART_MAX_CORES + 2] = {0}, cores = 0;
    const uint32_t left = reference_modes(weight->out_modes);
    const uint32_t right = reference_modes(weight->in_modes);
    reference_digits(i, left, weight->out_modes, digit);
    for (; cores < left; cores++) n[cores] = weight->out_modes[cores];
    for (; layout->tensor[layout->chain_first + cores].shape.rank == 2; cores++) n[cores] = 1;
    memcpy(n + cores, weight->in_modes, right * sizeof *n);
    reference_digits(j, right, weight->in_modes, digit + cores);
    return reference_chain(weight, layout, tensor + layout->chain_first, n, digit);
}

static inline double reference_tt_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    return reference_train(weight, layout, tensor, i, j) +
           reference_base(weight, layout, tensor, i, j);
}

static inline double reference_tt_lora_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    return reference_option(weight, "lora_alpha") * reference_train(weight, layout, tensor, i, j) +
           reference_base(weight, layout, tensor, i, j);
}

static inline double reference_loretta_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    return reference_option(weight, "lora_alpha") / reference_option(weight, "loretta_r") *
               reference_train(weight, layout, tensor, i, j) +
           reference_base(weight, layout, tensor, i, j);
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
    return reference_chain(weight, layout, tensor + layout->chain_first, n, row) +
           reference_base(weight, layout, tensor, i, j);
}

/* W0 + alpha / r sum_k A_w,k B_s,k C_head_h,k C_m,k C_l,k; (h, s) is the row, w the column, or the
 * other way round. */
static inline double reference_lorta_entry(const dart_weight *weight, const dart_layout *layout,
    double *const *tensor, uint32_t i, uint32_t j)
{
    const uint32_t r = weight->rank, heads = weight->heads ? weight->heads : 1;
    const uint32_t size = (weight->in_heads ? weight->in : weight->out) / heads;
    const uint32_t wide = weight->in_heads ? j : i, narrow = weight->in_heads ? i : j;
    double sum = 0;
    for (uint32_t k = 0; k < r; k++)
        sum += tensor[1][(size_t)narrow * r + k] * tensor[2][(size_t)(wide % size) * r + k] *
               tensor[3][(size_t)(wide / size) * r + k] * tensor[4][k] * tensor[5][k];
    return reference_option(weight, "lora_alpha") / r * sum +
           reference_dense_entry(weight, layout, tensor, i, j);
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
    {"frozen", reference_dense_entry},
    {"tt-lora", reference_tt_lora_entry},
    {"loretta-rep", reference_loretta_entry},
    {"loretta-adp", reference_tt_entry},
    {"dota", reference_ttm_entry},
    {"lorta", reference_lorta_entry},
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
