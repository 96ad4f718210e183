/* Bond spectra of a whole model, shared by selection, rounding and the measures of rank. */
#ifndef DART_SPECTRA_H
#define DART_SPECTRA_H

#include "chain.h"
#include "run.h"
#include "select.h"

typedef struct dart_spectra {
    dart_chain *chain;                /* [weights]; no cores where a weight has no bonds */
    double *(*sigma)[DART_CHAIN_MAX]; /* [weights] */
    dart_bond *bond;
    uint32_t bonds;
} dart_spectra;

/* The chain of weight w from the host copies. */
DART_NODISCARD dart_status dart_run_chain(const dart_run *run, uint32_t w, dart_chain *out);
/* From the host copies; to be freed also after a failure. */
DART_NODISCARD dart_status dart_spectra_compute(const dart_run *run, dart_spectra *out);
void dart_spectra_free(dart_spectra *spectra, uint32_t weights);

/* Copies the host parameters of one model into another with lower ranks. Weights with
 * `cut[weight]` take their cores from `spectra`; all else keeps its bits. */
void dart_spectra_move(const dart_model *from, const float *from_param, const float *from_frozen,
    const dart_spectra *spectra, const bool *cut, const dart_model *to, float *param,
    float *frozen);

#endif
