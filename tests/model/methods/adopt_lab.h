/* A weight with initial values as a model gives them, and a pretrained matrix that it adopts. */
#ifndef DART_TEST_ADOPT_LAB_H
#define DART_TEST_ADOPT_LAB_H

#include "lab.h"
#include "reference.h"

typedef struct adoption {
    dart_weight weight;
    dart_layout layout;
    float *base; /* (out, in) */
    float *tensor[LAB_TENSORS];
    double error; /* as adopt says */
} adoption;

static inline dart_weight with_option(dart_weight w, const char *key, double value)
{
    if (key) options_set(&w.options, key, value);
    return w;
}

/* Initial values, not yet adopted; the matrix is of normal numbers. */
static inline void adoption_open(adoption *a, dart_weight weight, uint64_t stream)
{
    *a = (adoption){.weight = weight};
    ok(weight.method->layout(&a->weight, false, &a->layout));
    const size_t words = (size_t)weight.out * weight.in;
    a->base = calloc(words, sizeof *a->base);
    for (size_t i = 0; i < words; i++)
        a->base[i] = (float)dart_normal(77, DART_STREAM_TEST + stream, i);
    for (uint32_t t = 0; t < a->layout.tensors; t++) {
        const dart_tensor *tensor = &a->layout.tensor[t];
        const uint64_t n = dart_shape_words(&tensor->shape);
        a->tensor[t] = calloc(n, sizeof(float));
        for (uint64_t i = 0; i < n; i++)
            a->tensor[t][i] =
                (float)(tensor->std * dart_normal(78, DART_STREAM_TEST + stream + t, i));
    }
    ok(dart_method_start(&a->weight, &a->layout, a->tensor));
}

static inline dart_status adopt(adoption *a)
{
    return dart_method_adopt(&a->weight, &a->layout, a->base, a->tensor, &a->error);
}

/* The network's sum (padded out, in) of the f32 values, by definition; caller frees. */
static inline double *sum_of(const adoption *a)
{
    double *tensor[LAB_TENSORS];
    for (uint32_t t = 0; t < a->layout.tensors; t++) {
        const uint64_t n = dart_shape_words(&a->layout.tensor[t].shape);
        tensor[t] = calloc(n, sizeof(double));
        for (uint64_t i = 0; i < n; i++) tensor[t][i] = a->tensor[t][i];
    }
    double *sum = reference_dense(&a->weight, &a->layout, tensor);
    for (uint32_t t = 0; t < a->layout.tensors; t++) free(tensor[t]);
    return sum;
}

/* ||sum - W|| / ||W||, padding counted as zeros of W. */
static inline double distance(const adoption *a)
{
    double *sum = sum_of(a), error = 0, power = 0;
    const size_t words = (size_t)a->weight.out * a->weight.in;
    for (size_t i = 0; i < (size_t)a->layout.padded_out * a->weight.in; i++) {
        const double w = i < words ? a->base[i] : 0;
        error += (sum[i] - w) * (sum[i] - w);
        power += w * w;
    }
    free(sum);
    return power > 0 ? sqrt(error / power) : sqrt(error);
}

static inline void adoption_close(adoption *a)
{
    free(a->base);
    for (uint32_t t = 0; t < a->layout.tensors; t++) free(a->tensor[t]);
}

#endif
