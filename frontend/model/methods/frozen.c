/* frozen: W itself, not trained: what fine-tuning gives every weight that nothing else is named
 * for. */
#include "layout.h"

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    (void)strict;
    dart_layout_whole(weight, true, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    (void)plan;
    dart_network_whole(weight, out);
}

const dart_method dart_methods_frozen = {.name = "frozen",
    .help = "one full matrix that is not trained",
    .layout = layout,
    .network = network};
