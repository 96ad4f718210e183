/* A small model of one method with its values, and how far two of its weights are apart: what the
 * tests of cut and grown models share. */
#ifndef DART_TEST_RANKS_LAB_H
#define DART_TEST_RANKS_LAB_H

#include "cut.h"
#include "rng.h"
#include "roles.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static inline dart_model_copy model_of(const char *linear)
{
    dart_model_config config = {
        .layers = 2,
        .d_model = 16,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = 64,
        .context = 8,
        .vocab = 30,
        .tied = true,
        .bias = DART_ALL_BIAS,
    };
    roles_new(&config, 6, 0, 0, 2);
    role_set(&config, LINEAR, linear);
    dart_model_copy made;
    assert_int_equal(dart_model_copy_new(&config, NULL, &made), DART_OK);
    assert_int_equal(dart_model_init(made.model, 7, made.param, made.frozen), DART_OK);
    for (uint32_t p = 0; p < made.model->params; p++) { /* cores that start at zero too */
        const dart_param *param = &made.model->param[p];
        if (param->weight < 0 || param->region != DART_REGION_PARAM || param->std > 0) continue;
        for (uint64_t i = 0; i < dart_shape_words(&param->shape); i++)
            made.param[param->offset + i] = (float)dart_normal(8, DART_STREAM_TEST + p, i);
    }
    return made;
}

/* ||a - b|| of two weights as dense tensors. */
static inline double apart(const dart_model_copy *a, const dart_model_copy *b, uint32_t w)
{
    dart_chain x, y;
    double *p, *q, sum = 0;
    uint64_t words = 1;
    assert_int_equal(dart_spectra_chain(a->model, w, a->param, a->frozen, &x), DART_OK);
    assert_int_equal(dart_spectra_chain(b->model, w, b->param, b->frozen, &y), DART_OK);
    assert_int_equal(dart_chain_dense(&x, &p), DART_OK);
    assert_int_equal(dart_chain_dense(&y, &q), DART_OK);
    for (uint32_t k = 0; k < x.cores; k++) words *= x.n[k];
    for (uint64_t i = 0; i < words; i++) sum += (p[i] - q[i]) * (p[i] - q[i]);
    dart_chain_free(&x);
    dart_chain_free(&y);
    free(p);
    free(q);
    return sqrt(sum);
}

#endif
