/* Inside this room only: which weights' chains are one stack (chain_groups.c), for chains.c. */
#ifndef DART_NN_CHAINS_H
#define DART_NN_CHAINS_H

#include "layers.h"

/* Weights whose chains are one stack, each core padded to the largest sizes. */
typedef struct dart_chain_group {
    uint32_t count, cores, rank[DART_MAX_CORES + 1], mode[DART_MAX_CORES];
    uint32_t *index; /* borrowed, ascending */
    uint64_t real;   /* words of all chains without padding */
    bool padded;     /* their words are looked up: sizes are not all equal, or there are gaps */
} dart_chain_group;

/* The group of the first weight that is not taken, all of it taken; false: there is none. pad: of
 * weights whose sizes differ, too. g->index: room for all weights. */
bool dart_chain_next(const dart_model *model, bool pad, bool *taken, dart_chain_group *g);
const dart_param *dart_chain_core(const dart_model *model, uint32_t weight, uint32_t k);
/* Words from a parameter to the next. */
uint64_t dart_chain_placed(const dart_param *param);

#endif
