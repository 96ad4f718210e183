/* Inside this room only: the table's symbols and what optimizers share. */
#ifndef DART_OPTIM_TABLE_H
#define DART_OPTIM_TABLE_H

#include "optim.h"

#define OPTIM(name) extern const dart_optim dart_optims_##name;
#include "optim.def"
#undef OPTIM

/* ---- entries.c ---- */

/* Rows of AdamW; weight decay is that of every optimizer. */
extern const dart_option_row dart_row_beta1, dart_row_beta2, dart_row_adam_eps;
extern const dart_option_row dart_row_weight_decay;

typedef struct dart_optim_leaves {
    dart_node block;  /* the step block */
    dart_node moment; /* all of MOMENT */
} dart_optim_leaves;

/* Leaves, gradient norm and clipping coefficient into the step block. */
DART_NODISCARD dart_status dart_optim_begin(dart_graph *graph, const char *name,
    const dart_optim_span *span, uint32_t states, dart_optim_leaves *out);
/* Words [start, end) of a region. */
dart_node dart_optim_leaf(
    dart_graph *graph, const char *name, dart_region region, uint64_t start, uint64_t end);
/* A word of the step block as a scalar. */
dart_node dart_optim_scalar(dart_graph *graph, const dart_optim_leaves *leaves, uint32_t word);
/* AdamW of the words [start, end), those below span->decay_words with weight decay; its moments are
 * the first two states. */
void dart_optim_adamw(dart_graph *graph, const dart_optim_leaves *leaves,
    const dart_optim_span *span, uint64_t start, uint64_t end, const dart_options *options);
/* dart_optim.entries and dart_optim.block of AdamW. */
void dart_optim_entries(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node block, const dart_options *options);
void dart_optim_block(const dart_options *options, double t, float out[2]);

#endif
