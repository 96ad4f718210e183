/* Lower ranks for a model: chosen by a rule or by a relative error, cut on the host in f64, and a
 * new model with what is left. The model that is cut stays as it is. */
#ifndef DART_CUT_H
#define DART_CUT_H

#include "spectra.h"

/* A model made from another one, with its values on the host as dart_model_init lays them out. */
typedef struct dart_model_copy {
    dart_model *model;     /* owned */
    float *param, *frozen; /* owned */
} dart_model_copy;
/* A new model with zeros; ranks as in dart_model_new. INPUT: as there. */
DART_NODISCARD dart_status dart_model_copy_new(const dart_model_config *config,
    const uint32_t (*ranks)[DART_MAX_CORES + 1], dart_model_copy *out);
void dart_model_copy_free(dart_model_copy *copy); /* zeroes it */

/* What a cut decided; the chains of the spectra are cut already. */
typedef struct dart_cut {
    uint32_t (*ranks)[DART_MAX_CORES + 1]; /* owned [weights] */
    bool *cut;                             /* owned [weights]: its chain is not what it was */
    /* owned [weights], Frobenius norms relative to that of the chain: of what the cut took, and the
     * root of the summed squares of all singular values cut off, which it does not exceed
     * (Oseledets 2011), both to 1e-7. 1 where the chain was lost, 0 where nothing was cut, NaN
     * where there are no bonds */
    double *error, *bound;
    uint32_t before, after; /* ranks of all bonds added up */
    uint32_t lost;          /* weights whose chain the rule took away */
} dart_cut;
/* The rule's ranks. A bond that its neighbours cannot carry ends lower. INPUT: as the rule says.
 * Both: free out also after a failure. */
DART_NODISCARD dart_status dart_cut_choose(const dart_model *model, const dart_select *rule,
    const dart_select_options *options, dart_spectra *spectra, dart_cut *out);
/* Every chain rounded to the relative error epsilon. */
DART_NODISCARD dart_status dart_cut_round(
    const dart_model *model, double epsilon, dart_spectra *spectra, dart_cut *out);
void dart_cut_free(dart_cut *cut); /* zeroes it */
/* The smaller model, without gates. Weights that were not cut, and all that is no chain, keep their
 * bits. */
DART_NODISCARD dart_status dart_cut_apply(const dart_model *model, const float *param,
    const float *frozen, const dart_spectra *spectra, const dart_cut *cut, dart_model_copy *out);

/* Words of all chains with a bond at their ranks, each at most `most`. */
double dart_cut_words(const dart_model *model, uint32_t most);

#endif
