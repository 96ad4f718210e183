/* A penalty: the graph of a scalar built from one weight's chain cores, whose gradient the trainer applies decoupled
 * from Adam. One file a penalty; reg.def lists them. */
#ifndef DART_REG_H
#define DART_REG_H

#include "method.h"

typedef struct dart_reg {
    const char *name, *help;
    /* cores[k] is (r_k, n_k, r_{k+1}) (TT-matrix digits already merged by a reshape). mu: smoothing relative to the
     * largest singular value. Returns the penalty of this weight (scalar), not yet normalised. */
    dart_node (*penalty)(dart_graph *graph, uint32_t cores, const dart_node *core, double mu);
} dart_reg;

const dart_reg *dart_reg_find(const char *name);
const dart_reg *dart_reg_at(uint32_t index);

#endif
