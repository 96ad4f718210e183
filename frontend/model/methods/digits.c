/* The digits of a chain and their places in W. */
#include "digits.h"
#include <string.h>

static void add_digit(dart_digits *d, uint32_t core, uint32_t dim, uint64_t stride)
{
    d->dim[d->count] = dim;
    d->stride[d->count++] = stride;
    d->n[core] *= dim;
}

static uint64_t product_after(const uint32_t *dim, size_t at, size_t count)
{
    uint64_t product = 1;
    for (size_t k = at + 1; k < count; k++) product *= dim[k];
    return product;
}

dart_digits dart_digits_of(const dart_weight *weight, const dart_network *net)
{
    const dart_term *term = &net->term[0];
    dart_digits d = {.cores = term->operands};
    for (uint32_t k = 0; k < term->operands; k++) {
        d.n[k] = 1;
        d.first[k] = d.count;
        for (const char *label = term->labels[k]; *label; label++) {
            const char *row = strchr(net->row, *label), *col = strchr(net->col, *label);
            if (row) {
                const size_t at = (size_t)(row - net->row);
                add_digit(&d, k, net->row_dim[at],
                    weight->in * product_after(net->row_dim, at, strlen(net->row)));
            } else if (col) {
                const size_t at = (size_t)(col - net->col);
                add_digit(
                    &d, k, net->col_dim[at], product_after(net->col_dim, at, strlen(net->col)));
            }
        }
    }
    d.first[d.cores] = d.count;
    return d;
}

void dart_digits_next(const dart_digits *d, uint32_t *index, uint64_t *at)
{
    for (uint32_t k = d->count; k-- > 0;) {
        *at += d->stride[k];
        if (++index[k] < d->dim[k]) return;
        *at -= d->stride[k] * d->dim[k];
        index[k] = 0;
    }
}

bool dart_digits_in_order(const dart_digits *d)
{
    uint64_t stride = 1;
    for (uint32_t k = d->count; k-- > 0; stride *= d->dim[k])
        if (d->stride[k] != stride) return false;
    return true;
}
