/* tt-embedding: a TT-matrix over vocabulary digits (padded, most significant first) and embedding
 * digits (Hrinchuk et al. 2019). W is (vocab, dim); rows of the padding are never looked up and get
 * no gradient. */
#include "adopt.h"
#include "layout.h"

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    weight->pad_out = true;
    return dart_layout_ttm(weight, strict, out);
}

const dart_method dart_methods_tt_embedding = {.name = "tt-embedding",
    .help = "TT-matrix over vocabulary and embedding digits, vocabulary padded",
    .layout = layout,
    .network = dart_network_ttm,
    .adopt = dart_adopt_chain};
