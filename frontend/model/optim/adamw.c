/* adamw: AdamW of all words (entries.c), four nodes for a whole model. */
#include "table.h"

static const dart_option_row *const option_rows[] = {
    &dart_row_beta1, &dart_row_beta2, &dart_row_adam_eps, &dart_row_weight_decay, NULL};

static dart_status append(
    dart_graph *graph, const dart_optim_span *span, const dart_options *options)
{
    dart_optim_leaves leaves;
    DART_TRY(dart_optim_begin(graph, "adamw", span, 2, &leaves));
    dart_optim_adamw(graph, &leaves, span, 0, span->param_words, options);
    return dart_graph_check(graph);
}

const dart_optim dart_optims_adamw = {.name = "adamw",
    .help = "Adam with decoupled weight decay",
    .states = 2,
    .state = {{"first.", false}, {"second.", true}},
    .append = append,
    .entries = dart_optim_entries,
    .block = dart_optim_block,
    .options = option_rows};
