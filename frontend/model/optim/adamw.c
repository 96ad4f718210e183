/* adamw: AdamW of all words (entries.c), four nodes for a whole model; LoRA+ (Hayou et al. 2024).
 */
#include "table.h"

static const dart_option_row ratio_row = {.key = "loraplus_ratio",
    .aliases = "loraplus_lr_ratio",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "1",
    .least = 1e-6,
    .most = 1e6,
    .help = "AdamW, lora: the learning rate of B relative to all others (LoRA+: 16); of longer "
            "chains it is that of all cores but the last",
    .baked = true};
static const dart_option_row *const option_rows[] = {
    &dart_row_beta1, &dart_row_beta2, &dart_row_adam_eps, &dart_row_weight_decay, &ratio_row, NULL};

/* The step block with another learning rate. */
static dart_node block_with(dart_graph *graph, dart_node block, double ratio)
{
    dart_node rate = dart_slice_rows(graph, block, DART_FSCAL_RATE, 1);
    dart_node more = dart_graph_add(graph, &(dart_node_info){.op = DART_OP_unslice,
                                               .inputs = 1,
                                               .in = {dart_affine(graph, rate, ratio - 1, 0)},
                                               .ints = 2,
                                               .i = {DART_FSCAL_RATE, DART_FSCAL_BLOCK}});
    return dart_add(graph, block, more);
}

static dart_status append(
    dart_graph *graph, const dart_optim_span *span, const dart_options *options)
{
    dart_optim_leaves leaves;
    DART_TRY(dart_optim_begin(graph, "adamw", span, 2, &leaves));
    const double ratio = dart_options_get(options, &ratio_row);
    const uint64_t own = ratio != 1 ? span->bonded_words : 0; /* have a rate of their own */
    if (own) {
        dart_optim_leaves others = leaves;
        others.block = block_with(graph, leaves.block, ratio);
        dart_optim_adamw(graph, &others, span, 0, own, options);
    }
    dart_optim_adamw(graph, &leaves, span, own, span->param_words, options);
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
