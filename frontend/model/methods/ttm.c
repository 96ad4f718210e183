/* ttm: W as a TT-matrix (Novikov et al. 2015); core k is (r_k, m_k, n_k, r_{k+1}), one output and
 * one input digit. */
#include "adopt.h"
#include "layout.h"

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    return dart_over_base(weight) ? dart_layout_ttm_over_base(weight, strict, out)
                                  : dart_layout_ttm(weight, strict, out);
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    if (dart_over_base(weight))
        dart_network_ttm_over_base(weight, plan, out);
    else
        dart_network_ttm(weight, plan, out);
}

static const dart_option_row *const options[] = {&dart_row_frozen_base, NULL};

const dart_method dart_methods_ttm = {.name = "ttm",
    .help = "TT-matrix: one output and one input digit a core; full matrix rank",
    .layout = layout,
    .network = network,
    .options = options,
    .adopt = dart_adopt_chain};
