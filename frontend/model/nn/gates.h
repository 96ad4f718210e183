/* Masks on the rank axes of all chains of a model at once. The cores that have a bond on their
 * right lie in one span of PARAM (model.h, bonded_words); a mask of (bonds, stride) words is spread
 * over the span by a constant list of positions and multiplied into it. So the launches of a gated
 * model do not grow with its number of layers, bonds or methods. */
#ifndef DART_NN_GATES_H
#define DART_NN_GATES_H

#include "model.h"
#include "rank_options.h"

/* Ascending ranks to choose from, `rank` the last: all, or `most` of them about evenly spaced in
 * their logarithm. Returns how many. */
uint32_t dart_gates_candidates(uint32_t rank, uint32_t most, uint32_t out[DART_GATE_CANDIDATES]);
/* Parameters of bond b's gate: one an index, or one a candidate. */
uint32_t dart_gates_entries(const dart_model *model, uint32_t bond);
/* Words of all chains at these bond ranks (one a bond); NULL: the present ones. */
uint64_t dart_gates_words(const dart_model *model, const uint32_t *ranks);

/* Called by dart_model_new where config.gate.on: bonds, gate parameters behind all others, tables.
 */
DART_NODISCARD dart_status dart_gates_layout(dart_model *model);
/* For each word of PARAM from 0 the place in the mask of its right (or left) rank index, -1 where
 * it has none: bonded_words (left: chain_words) words. */
void dart_gates_positions(const dart_model *model, bool left, int32_t *out);

/* The gates' part of the TABLE region: gate_floats words at gate_table, then gate_ints words. */
DART_NODISCARD dart_status dart_gates_table(const dart_model *model, float *floats, int32_t *ints);
/* First word of the mask that evaluation uses, (bonds, stride), in TABLE; the host writes it. */
uint64_t dart_gates_mask_at(const dart_model *model);

/* Leaves of one graph. All (bonds, stride) unless said. */
typedef struct dart_gates {
    dart_node chain;                        /* (chain_words): PARAM from 0 */
    dart_node param, scale;                 /* trained; frozen: config.gate.scaled; 0: none */
    dart_node valid, candidate;             /* 1 where there is an entry; its rank */
    dart_node position;                     /* index / rank */
    dart_node triangle;                     /* (stride, stride): 1 from the diagonal on; 0: none */
    dart_node mask;                         /* of evaluation */
    dart_node here, next;                   /* (bonds): prices of a rank, see dart_gates_size */
    dart_node ids, index, left, left_index; /* i32: positions and scatter lists */
} dart_gates;
DART_NODISCARD dart_status dart_gates_leaves(
    const dart_model *model, dart_graph *graph, dart_gates *out);
/* sum r n r' over all cores with real bond ranks (bonds), as part of its present value: scalar. */
dart_node dart_gates_size(
    const dart_model *model, dart_graph *graph, const dart_gates *gates, dart_node rank);
/* Squared norms of the slices left of each rank index times those right of it. Candidates: none. */
dart_node dart_gates_norms(const dart_model *model, dart_graph *graph, const dart_gates *gates);
void dart_gates_norms_host(const dart_model *model, const float *param, double *out);
/* leaves->param of all chain cores become views of the masked span. */
void dart_gates_apply(const dart_model *model, dart_graph *graph, const dart_gates *gates,
    dart_node mask, dart_model_leaves *leaves);

#endif
