/* Bond spectra of a whole model, shared by selection, rounding and the measures of rank. */
#ifndef DART_SPECTRA_H
#define DART_SPECTRA_H

#include "chain.h"
#include "model.h"
#include "select.h"

typedef struct dart_spectra {
    dart_chain *chain;                /* [weights]; no cores where a weight has no bonds */
    double *(*sigma)[DART_CHAIN_MAX]; /* [weights] */
    dart_bond *bond;
    uint32_t bonds, weights;
} dart_spectra;

/* All bonds of a model, weight by weight, without singular values; malloc'ed. */
DART_NODISCARD dart_status dart_bonds_of(
    const dart_model *model, dart_bond **out, uint32_t *out_count);
/* The chain of weight w in f64; param, frozen: host f32 as dart_model_init lays them out. DIVERGED:
 * a value is not finite. */
DART_NODISCARD dart_status dart_spectra_chain(
    const dart_model *model, uint32_t w, const float *param, const float *frozen, dart_chain *out);
/* Of all weights that have bonds; gates are not looked at (absorb.h). To be freed also after a
 * failure. */
DART_NODISCARD dart_status dart_spectra_compute(
    const dart_model *model, const float *param, const float *frozen, dart_spectra *out);
void dart_spectra_free(dart_spectra *spectra); /* zeroes it */

#endif
