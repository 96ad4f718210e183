/* An optimizer: the update of the flat parameter region, appended to a graph. One file an
 * optimizer; optim.def lists them. */
#ifndef DART_OPTIM_H
#define DART_OPTIM_H

#include "ir.h"
#include "option.h"

enum { DART_OPTIM_STATES = 4 };

/* A word that the optimizer keeps for each word of PARAM; MOMENT is (states, words of PARAM). */
typedef struct dart_optim_state {
    const char *prefix; /* of the tensors in checkpoints: "first." */
    bool size; /* it says how large, not which way: kept where parameters change their basis */
} dart_optim_state;

enum { DART_OPTIM_ALIGN = 64 }; /* a tensor begins at a multiple of this many words */

/* What one step updates, and with which gradients: PARAM and GRAD [0, param_words). */
typedef struct dart_optim_span {
    uint64_t param_words;
    uint64_t decay_words;  /* weight decay on [0, decay_words) only */
    uint64_t bonded_words; /* [0, bonded_words): cores with a bond on their right, of lora: B */
    uint64_t others;       /* words of PARAM behind these, which another step updates */
    /* what of it acts as matrices, ascending, inside [0, decay_words); for optimizers that tell
     * matrices from vectors and tables */
    uint32_t matrices;
    const dart_matrices *matrix;
    double
        max_norm; /* gradient norm clipped to this; 0: no clipping (the norm is still measured) */
} dart_optim_span;

typedef struct dart_optim {
    const char *name, *help;
    uint32_t states; /* above 0 */
    dart_optim_state state[DART_OPTIM_STATES];
    /* Gradient norm and clipping coefficient into FSCAL, then the step. */
    dart_status (*append)(
        dart_graph *graph, const dart_optim_span *span, const dart_options *options);
    /* The step of `param` alone, flat like `grad`, with a step block (16) of its own, neither
     * clipped nor decayed: what gates get. moment: all of MOMENT. */
    void (*entries)(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
        dart_node block, const dart_options *options);
    /* The two words of a step block behind the learning rate, for step t = 1, 2, ... since MOMENT
     * was zero. */
    void (*block)(const dart_options *options, double t, float out[2]);
    const dart_option_row *const *options; /* ends with NULL; NULL: none */
} dart_optim;

const dart_optim *dart_optim_find(const char *name);
const dart_optim *dart_optim_at(uint32_t index);

#endif
