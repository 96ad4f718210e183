/* dota: a TT-matrix takes the largest part of a pretrained W over and is trained, what is left of W
 * stays frozen beside it (Hu et al. 2024): W is unchanged at first, and training begins where W has
 * its energy. Singular values are shared evenly between both sides of a bond. */
#include "adopt.h"
#include "layout.h"

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    DART_TRY(dart_layout_ttm_over_base(weight, strict, out));
    out->takes_apart = true;
    return DART_OK;
}

const dart_method dart_methods_dota = {.name = "dota",
    .help = "a trained TT-matrix, made from a pretrained matrix, plus the frozen rest of it",
    .layout = layout,
    .network = dart_network_ttm_over_base,
    .adopt = dart_adopt_chain};
