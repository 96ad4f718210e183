/* The definition of every method's W, entry by entry, on the host: what apply, dense and the graphs
 * are compared with. */
#ifndef DART_TEST_REFERENCE_H
#define DART_TEST_REFERENCE_H

#include "chain.h"
#include "method.h"
#include <stdlib.h>
#include <string.h>

/* W (padded_out, in) from the tensors' values, tensor[i] as laid out. Digits are row-major, first
 * mode most significant. Caller frees. */
static inline double *reference_dense(
    const dart_weight *weight, const dart_layout *layout, double *const *tensor)
{
    uint32_t rows = layout->padded_out, columns = weight->in, d = weight->modes;
    double *w = calloc((size_t)rows * columns, sizeof *w);
    const char *method = weight->method->name;
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < columns; j++) {
            double *to = &w[(size_t)i * columns + j];
            if (strcmp(method, "dense") == 0) {
                *to = tensor[0][(size_t)i * columns + j];
                continue;
            }
            if (strcmp(method, "lora") == 0) {
                const dart_option_row *alpha =
                    dart_option_named(weight->method->options, "lora_alpha");
                uint32_t r = weight->ranks[1];
                for (uint32_t k = 0; k < r; k++)
                    *to += tensor[1][(size_t)i * r + k] * tensor[2][(size_t)k * columns + j];
                *to = *to * dart_options_get(&weight->options, alpha) / weight->rank +
                      tensor[0][(size_t)i * columns + j];
                continue;
            }
            uint32_t row[DART_MAX_MODES], col[DART_MAX_MODES], a = i, b = j;
            for (uint32_t k = d; k-- > 0;) {
                row[k] = a % weight->out_modes[k];
                a /= weight->out_modes[k];
                col[k] = b % weight->in_modes[k];
                b /= weight->in_modes[k];
            }
            double state[64] = {1}, next[64];
            bool vector = strcmp(method, "tt") == 0;
            for (uint32_t k = 0; k < layout->chain_cores; k++) {
                uint32_t left = weight->ranks[k], right = weight->ranks[k + 1], n, digit;
                if (vector) {
                    n = k < d ? weight->out_modes[k] : weight->in_modes[k - d];
                    digit = k < d ? row[k] : col[k - d];
                } else {
                    n = weight->out_modes[k] * weight->in_modes[k];
                    digit = row[k] * weight->in_modes[k] + col[k];
                }
                memset(next, 0, sizeof next);
                for (uint32_t x = 0; x < left; x++)
                    for (uint32_t y = 0; y < right; y++)
                        next[y] += state[x] * tensor[k][((size_t)x * n + digit) * right + y];
                memcpy(state, next, sizeof state);
            }
            *to = state[0];
        }
    return w;
}

#endif
