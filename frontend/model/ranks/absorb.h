/* Gates of a model on the host: which ranks they keep, gates multiplied into the cores, and the
 * same model with other gates or none. */
#ifndef DART_ABSORB_H
#define DART_ABSORB_H

#include "cut.h"
#include "gates.h"
#include "reg.h"

/* What the gates of a model (config.gate.on) know besides their parameters. */
typedef struct dart_model_gate {
    const dart_reg *reg; /* NULL: ordered dropout, which has no parameters */
    dart_gate_state state;
    uint64_t full, target; /* words of all chains: when the gates appeared, wanted (0: no target) */
    uint32_t min_rank;
} dart_model_gate;

/* The trained gates of the model; NULL: it has none. */
const dart_gate *dart_gate_of(const dart_model *model, const dart_model_gate *gate);
/* Mask (bonds, stride) and ranks kept (bonds) in evaluation, of trained gates. INPUT: a target
 * below the smallest size. */
DART_NODISCARD dart_status dart_gate_decide(const dart_model *model, const dart_model_gate *gate,
    const float *param, const float *frozen, float *mask, uint32_t *counts);
/* PARAM with the trained gates multiplied in, malloc'ed. out_counts (may be NULL): ranks kept,
 * malloc'ed, one a bond. */
DART_NODISCARD dart_status dart_gate_absorb(const dart_model *model, const dart_model_gate *gate,
    const float *param, const float *frozen, float **out, uint32_t **out_counts);
/* The same model with other gates: what both have keeps its bits, the rest is zero. */
DART_NODISCARD dart_status dart_gate_change(const dart_model *model, const dart_gate_config *gate,
    const float *param, const float *frozen, dart_model_copy *out);
/* Spectra with trained gates multiplied in. To be freed also after a failure. */
DART_NODISCARD dart_status dart_gate_spectra(const dart_model *model, const dart_model_gate *gate,
    const float *param, const float *frozen, dart_spectra *out);

#endif
