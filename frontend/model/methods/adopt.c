/* Pretrained matrices into the tensors of a method: copied, or decomposed into the chain (TT-SVD,
 * for two cores the truncated SVD) in f64. */
#include "adopt.h"
#include "chain.h"
#include "digits.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- decomposition ---- */

void dart_adopt_cores(const dart_weight *weight, const dart_layout *layout, const dart_chain *chain,
    double factor, float *const *tensor)
{
    for (uint32_t k = 0; k < chain->cores; k++) {
        const uint32_t left = weight->ranks[k], right = weight->ranks[k + 1], n = chain->n[k];
        float *to = tensor[layout->chain_first + k];
        for (uint32_t a = 0; a < left; a++)
            for (uint32_t i = 0; i < n; i++)
                for (uint32_t b = 0; b < right; b++, to++) {
                    if (b >= chain->rank[k + 1])
                        *to = 0;
                    else if (a < chain->rank[k])
                        *to = (float)(factor *
                                      chain->core[k][((size_t)a * n + i) * chain->rank[k + 1] + b]);
                }
    }
}

/* The chain of a weight's tensors as they are. */
static dart_status read_cores(const dart_weight *weight, const dart_layout *layout,
    const uint32_t *n, float *const *tensor, dart_chain *out)
{
    DART_TRY(dart_chain_new(layout->chain_cores, n, weight->ranks, out));
    for (uint32_t k = 0; k < out->cores; k++) {
        const uint64_t words = (uint64_t)weight->ranks[k] * n[k] * weight->ranks[k + 1];
        for (uint64_t i = 0; i < words; i++) out->core[k][i] = tensor[layout->chain_first + k][i];
    }
    return DART_OK;
}

dart_status dart_adopt_rest(const dart_weight *weight, const dart_layout *layout, const float *base,
    float *const *tensor, double *out_error)
{
    dart_status status = DART_OK;
    const dart_network net = dart_network_of(weight, layout);
    const dart_digits d = dart_digits_of(weight, &net);
    const uint64_t words = (uint64_t)layout->padded_out * weight->in;
    float *rest = layout->chain_first ? tensor[0] : NULL;
    dart_chain chain = {0};
    double *update = NULL, error = 0, power = 0;
    uint32_t index[2 * DART_MAX_MODES] = {0};
    DART_GOTO(read_cores(weight, layout, d.n, tensor, &chain));
    DART_GOTO(dart_chain_dense(&chain, &update));
    for (uint64_t i = 0, at = 0; i < words; i++, dart_digits_next(&d, index, &at)) {
        const double w = dart_digits_entry(weight, base, at);
        double left = w - net.term[0].scale * update[i];
        if (rest) {
            rest[at] = (float)left;
            left -= rest[at];
        }
        error += left * left;
        power += w * w;
    }
    *out_error = power > 0 ? sqrt(error / power) : sqrt(error);
done:
    free(update);
    dart_chain_free(&chain);
    return status;
}

dart_status dart_adopt_decompose(
    const dart_weight *weight, const dart_layout *layout, const float *base, dart_chain *out)
{
    dart_status status = DART_OK;
    const dart_network net = dart_network_of(weight, layout);
    const dart_digits d = dart_digits_of(weight, &net);
    const uint64_t words = (uint64_t)layout->padded_out * weight->in;
    const uint32_t cores = layout->chain_cores;
    uint32_t most = 1, wanted[DART_MAX_CORES], index[2 * DART_MAX_MODES] = {0};
    *out = (dart_chain){0};
    double *dense = dart_calloc(words, sizeof *dense);
    if (!dense) return DART_MEMORY;
    for (uint64_t i = 0, at = 0; i < words; i++, dart_digits_next(&d, index, &at))
        dense[i] = dart_digits_entry(weight, base, at);
    for (uint32_t k = 1; k < cores; k++)
        if (weight->ranks[k] > most) most = weight->ranks[k];
    DART_GOTO(dart_chain_from_dense(dense, cores, d.n, 0, most, out));
    for (uint32_t k = 1; k < cores; k++)
        wanted[k - 1] = out->rank[k] < weight->ranks[k] ? out->rank[k] : weight->ranks[k];
    DART_GOTO(dart_chain_cut(out, wanted));
done:
    free(dense);
    return status;
}

dart_status dart_adopt_chain(const dart_weight *weight, const dart_layout *layout,
    const float *base, float *const *tensor, double *out_error)
{
    dart_chain chain;
    const dart_status status = dart_adopt_decompose(weight, layout, base, &chain);
    const double scale = dart_network_of(weight, layout).term[0].scale;
    if (status == DART_OK)
        dart_adopt_cores(weight, layout, &chain, pow(scale, -1.0 / layout->chain_cores), tensor);
    dart_chain_free(&chain);
    DART_TRY(status);
    return dart_adopt_rest(weight, layout, base, tensor, out_error);
}

/* ---- for every method ---- */

/* The tensor "weight"; layout->tensors: there is none. */
static uint32_t whole_of(const dart_layout *layout)
{
    uint32_t i = 0;
    while (i < layout->tensors && strcmp(layout->tensor[i].name, "weight") != 0) i++;
    return i;
}

/* The first term without its scale, B (out, thin) and A (thin, in), one behind the other. */
static dart_status read_halves(const dart_weight *weight, const dart_layout *layout,
    float *const *tensor, double **out_b, double **out_a)
{
    const size_t b = (size_t)weight->out * layout->thin, a = (size_t)layout->thin * weight->in;
    *out_b = dart_calloc(b + a, sizeof **out_b);
    if (!*out_b) return DART_MEMORY;
    *out_a = *out_b + b;
    weight->method->halves(weight, layout, tensor, *out_b, *out_a);
    return DART_OK;
}

/* The first term without its scale as a matrix (out, in); caller frees. */
static dart_status thin_dense(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor, double **out)
{
    const int m = (int)weight->out, n = (int)weight->in, r = (int)layout->thin;
    double *b, *a;
    *out = NULL;
    DART_TRY(read_halves(weight, layout, tensor, &b, &a));
    *out = dart_calloc((size_t)m * (size_t)n, sizeof **out);
    if (*out)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, r, 1, b, r, a, n, 0, *out, n);
    free(b);
    return *out ? DART_OK : DART_MEMORY;
}

/* W is the tensor "weight"; what a term beside it adds at first is the error. */
static dart_status copy_whole(const dart_weight *weight, const dart_layout *layout,
    const float *base, float *const *tensor, double *out_error)
{
    const uint32_t whole = whole_of(layout);
    const uint64_t words = (uint64_t)weight->out * weight->in;
    const uint64_t all = dart_shape_words(&layout->tensor[whole].shape);
    memcpy(tensor[whole], base, words * sizeof *base);
    memset(tensor[whole] + words, 0, (all - words) * sizeof *base);
    *out_error = 0;
    if (!dart_layout_reduced(layout)) return DART_OK;
    dart_status status = DART_OK;
    const dart_network net = dart_network_of(weight, layout);
    dart_chain chain = {0};
    double power = 0, norm = 0, *update = NULL;
    if (layout->thin) {
        DART_TRY(thin_dense(weight, layout, tensor, &update));
        for (uint64_t i = 0; i < words; i++) norm += update[i] * update[i];
    } else {
        const dart_digits d = dart_digits_of(weight, &net);
        DART_TRY(read_cores(weight, layout, d.n, tensor, &chain));
        DART_GOTO(dart_chain_canonical(&chain, 0));
        for (uint64_t i = 0; i < (uint64_t)chain.n[0] * chain.rank[1]; i++)
            norm += chain.core[0][i] * chain.core[0][i];
    }
    for (uint64_t i = 0; i < words; i++) power += (double)base[i] * base[i];
    *out_error = fabs(net.term[0].scale) * sqrt(norm / (power > 0 ? power : 1));
done:
    free(update);
    dart_chain_free(&chain);
    return status;
}

dart_status dart_method_sum(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor, float *out)
{
    const uint64_t words = (uint64_t)weight->out * weight->in;
    const uint64_t all = (uint64_t)layout->padded_out * weight->in;
    const uint32_t whole = whole_of(layout);
    dart_status status = DART_OK;
    dart_chain chain = {0};
    double *update = NULL;
    uint32_t index[2 * DART_MAX_MODES] = {0};
    if (whole < layout->tensors)
        memcpy(out, tensor[whole], words * sizeof *out);
    else
        memset(out, 0, words * sizeof *out);
    if (!dart_layout_reduced(layout)) return DART_OK;
    const dart_network net = dart_network_of(weight, layout);
    if (layout->thin) {
        DART_TRY(thin_dense(weight, layout, tensor, &update));
        for (uint64_t i = 0; i < words; i++)
            out[i] = (float)(out[i] + net.term[0].scale * update[i]);
        goto done;
    }
    const dart_digits d = dart_digits_of(weight, &net);
    DART_GOTO(read_cores(weight, layout, d.n, tensor, &chain));
    DART_GOTO(dart_chain_dense(&chain, &update));
    for (uint64_t i = 0, at = 0; i < all; i++, dart_digits_next(&d, index, &at))
        if (at < words) out[at] = (float)(out[at] + net.term[0].scale * update[i]);
done:
    free(update);
    dart_chain_free(&chain);
    return status;
}

/* ||row||, never 0 */
static double length_of(const float *row, uint32_t columns)
{
    double power = DART_ROW_TINY;
    for (uint32_t j = 0; j < columns; j++) power += (double)row[j] * row[j];
    return sqrt(power);
}

dart_status dart_method_lengths(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor)
{
    const dart_network net = dart_network_of(weight, layout);
    for (uint32_t i = 0; i < layout->tensors; i++)
        if (!tensor[i]) return DART_OK;
    if (!net.rescaled) return DART_OK;
    float *sum = dart_calloc((size_t)weight->out * weight->in, sizeof *sum);
    if (!sum) return DART_MEMORY;
    const dart_status status = dart_method_sum(weight, layout, tensor, sum);
    for (uint32_t i = 0; status == DART_OK && i < weight->out; i++)
        tensor[net.lengths][i] = (float)length_of(sum + (size_t)i * weight->in, weight->in);
    free(sum);
    return status;
}

dart_status dart_method_adopt(const dart_weight *weight, const dart_layout *layout,
    const float *base, float *const *tensor, double *out_error)
{
    const uint64_t words = (uint64_t)weight->out * weight->in;
    double error = 0;
    for (uint64_t i = 0; i < words; i++)
        if (!isfinite(base[i]))
            return dart_fail(DART_INPUT,
                "weight %s: the pretrained matrix has a value that is not finite in row %llu, "
                "column %llu",
                weight->name, (unsigned long long)(i / weight->in),
                (unsigned long long)(i % weight->in));
    if (layout->takes_apart)
        DART_TRY(weight->method->adopt(weight, layout, base, tensor, &error));
    else
        DART_TRY(copy_whole(weight, layout, base, tensor, &error));
    if (layout->follows) DART_TRY(weight->method->adopt(weight, layout, base, tensor, &error));
    if (out_error) *out_error = error;
    return dart_method_lengths(weight, layout, tensor);
}

dart_status dart_method_start(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor)
{
    if (weight->method->init) DART_TRY(weight->method->init(weight, layout, tensor));
    return dart_method_lengths(weight, layout, tensor);
}

dart_status dart_method_merge(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor, float *out)
{
    const dart_network net = dart_network_of(weight, layout);
    DART_TRY(dart_method_sum(weight, layout, tensor, out));
    for (uint32_t i = 0; net.rescaled && i < weight->out; i++) {
        float *row = out + (size_t)i * weight->in;
        const double factor = tensor[net.lengths][i] / length_of(row, weight->in);
        for (uint32_t j = 0; j < weight->in; j++) row[j] = (float)(factor * row[j]);
    }
    return DART_OK;
}

/* How many leading cores have output digits only, the others having none; 0: they are mixed. */
static uint32_t split_of(const dart_network *net)
{
    const dart_term *term = &net->term[0];
    uint32_t split = 0;
    for (uint32_t k = 0; k < term->operands; k++) {
        bool rows = false, columns = false;
        for (const char *label = term->labels[k]; *label; label++) {
            rows |= strchr(net->row, *label) != NULL;
            columns |= strchr(net->col, *label) != NULL;
        }
        if (rows && (columns || split < k)) return 0;
        if (!columns) split = k + 1;
    }
    return split < term->operands ? split : 0;
}

dart_status dart_method_pair(const dart_weight *weight, const dart_layout *layout,
    float *const *tensor, uint32_t *out_rank, float **out_b, float **out_a)
{
    dart_status status = DART_OK;
    *out_rank = 0;
    *out_b = *out_a = NULL;
    if (!dart_layout_reduced(layout)) return DART_OK;
    const dart_network net = dart_network_of(weight, layout);
    const uint32_t split = layout->thin ? 1 : split_of(&net);
    if (!split || layout->padded_out != weight->out) return DART_OK;
    dart_chain chain = {0};
    double *left = NULL, *right = NULL, *both = NULL;
    uint32_t rank = layout->thin;
    if (rank) {
        DART_TRY(read_halves(weight, layout, tensor, &left, &right));
        both = left;
    } else {
        const dart_digits d = dart_digits_of(weight, &net);
        DART_GOTO(read_cores(weight, layout, d.n, tensor, &chain));
        DART_GOTO(dart_chain_halves(&chain, split - 1, &left, &right));
        rank = chain.rank[split];
    }
    const uint64_t b = (uint64_t)weight->out * rank, a = (uint64_t)rank * weight->in;
    *out_b = dart_calloc(b, sizeof **out_b);
    *out_a = dart_calloc(a, sizeof **out_a);
    if (!*out_b || !*out_a) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint64_t i = 0; i < b; i++) (*out_b)[i] = (float)(net.term[0].scale * left[i]);
    for (uint64_t i = 0; i < a; i++) (*out_a)[i] = (float)right[i];
    *out_rank = rank;
done:
    if (status != DART_OK) {
        free(*out_b);
        free(*out_a);
        *out_b = *out_a = NULL;
    }
    free(left);
    if (!both) free(right);
    dart_chain_free(&chain);
    return status;
}
