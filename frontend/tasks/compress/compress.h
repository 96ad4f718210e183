/* Matrices of a trained model as tensor networks, or rounded to packed formats. */
#ifndef DART_COMPRESS_H
#define DART_COMPRESS_H

#include "bundle.h"
#include "dart.h"
#include "session.h"

struct dart_compression {
    dart_compress_row *row; /* owned [rows] */
    uint32_t rows;
    uint64_t before, after; /* parameters of the whole model */
};

/* What dart_compress does with a method that makes networks, of a bundle that is open. `out` is to
 * be freed also after a failure. */
DART_NODISCARD dart_status dart_compress_bundle(const dart_bundle *from,
    const dart_compress_options *options, dart_note note, dart_compression *out);
/* round.c: whether the method is one that rounds, and what it makes of a bundle: another one, whose
 * matrices are all frozen and f32, with the base of `from` as its own, of which texts and
 * vocabularies are borrowed. Nothing is written. Both are to be freed also after a failure. Errors
 * as dart_compress. */
bool dart_compress_rounds(const dart_compress_options *options);
DART_NODISCARD dart_status dart_compress_round(const dart_bundle *from,
    const dart_compress_options *options, dart_note note, dart_bundle *to, dart_compression *out);
/* What is asked for can be done with any model. USAGE; INPUT: the folder is not empty. */
DART_NODISCARD dart_status dart_compress_check(const dart_compress_options *options);

/* ---- inside this room ---- */

typedef enum dart_compress_ranks {
    DART_RANKS_EPSILON,
    DART_RANKS_UNIFORM,
    DART_RANKS_FOUND,
    DART_RANKS_THRESHOLD
} dart_compress_ranks;

typedef enum dart_compress_metric {
    DART_NEAR_ENTRIES,
    DART_NEAR_OUTPUTS,
    DART_NEAR_LOSS
} dart_compress_metric;

/* What is to become of one weight of the model. */
typedef enum dart_compress_fate {
    DART_FATE_OTHER, /* nobody asked for it */
    DART_FATE_KEPT,  /* asked for, but its network would be larger */
    DART_FATE_NETWORK
} dart_compress_fate;

/* weights.c: USAGE: no folder; INPUT: it has files in it. */
DART_NODISCARD dart_status dart_compress_check_out(const dart_compress_options *options);
/* INPUT: a classifier. */
DART_NODISCARD dart_status dart_compress_check_model(const dart_bundle *from);
/* NETWORK for each weight that the option `modules` names; fate: [weights], zero before. INPUT: a
 * pattern that fits none. */
DART_NODISCARD dart_status dart_compress_weights(
    const dart_bundle *from, const dart_compress_options *options, dart_compress_fate *fate);
/* Weight w as it is, (out, in); the caller frees it. INPUT: a value that is not finite. */
DART_NODISCARD dart_status dart_compress_matrix(const dart_bundle *b, uint32_t w, float **out);
/* Norms, biases and learned positions of a are b's too. */
void dart_compress_vectors(const dart_bundle *a, dart_bundle *b);
/* The row of a weight that stays as it is. */
void dart_compress_row_begin(const dart_weight *weight, dart_compress_row *out);

/* round.c: dart_compress_check of the method. */
DART_NODISCARD dart_status dart_compress_check_rounding(const dart_compress_options *options);

/* assign.c: the recipe of the compressed model: what `from` says of the model, and a method for
 * each weight; fate: [from->model->weights]. `rank`: for all networks. INPUT: more exceptions than
 * a recipe holds. */
DART_NODISCARD dart_status dart_compress_recipe(const dart_bundle *from, const char *method,
    const dart_compress_fate *fate, uint32_t rank, dart_recipe **out);

/* calibrate.c: second moments of the inputs of all networks over options->calibrate, and of the
 * loss's gradients by their outputs if asked for. INPUT: no such text, or too short a one. Free
 * *out also after a failure. */
DART_NODISCARD dart_status dart_compress_calibrate(const dart_bundle *from,
    const dart_compress_options *options, const dart_compress_fate *fate, bool gradients,
    dart_note note, dart_covariances *out);

/* choose.c: ranks for all bonds of a model whose networks have their full ranks; sigma: [weights],
 * per bond as many values as its rank at least, which only UNIFORM does not read. absolute: FOUND
 * takes squares of values of all matrices as costs of one unit (found.c), instead of each bond's as
 * parts of their sum (the rule `budget`). Weights whose network would not be smaller get the fate
 * KEPT. ranks: [weights], as in dart_model_new. INPUT: the target cannot be met, or no matrix
 * becomes smaller. */
DART_NODISCARD dart_status dart_compress_choose(const dart_model *model,
    double *const (*sigma)[DART_CHAIN_MAX], dart_compress_ranks how, bool absolute, double amount,
    dart_compress_fate *fate, uint32_t (*ranks)[DART_MAX_CORES + 1]);
/* found.c: FOUND where costs are of one unit. bond: all bonds of the model, with their spectra;
 * target: words of the matrices whose fate is NETWORK, of which those that are better left as they
 * are get the fate KEPT. rank: one a bond, set for networks. INPUT: the target cannot be met. */
DART_NODISCARD dart_status dart_compress_found(const dart_model *model, const dart_bond *bond,
    uint32_t bonds, uint64_t target, dart_compress_fate *fate, uint32_t *rank);

#endif
