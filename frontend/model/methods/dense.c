/* dense: W itself, one trainable (out, in) tensor. */
#include "layout.h"

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    (void)strict;
    dart_layout_whole(weight, false, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    (void)plan;
    dart_network_whole(weight, out);
}

const dart_method dart_methods_dense = {.name = "dense",
    .help = "one full matrix",
    .layout = layout,
    .network = network,
    .alias = "full"}; /* full fine-tuning, in the field's words */
