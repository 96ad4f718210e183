/* The TT-matrix layout and network: a chain over merged (output, input) digit pairs. */
#include "layout.h"
#include <stdio.h>
#include <string.h>

dart_status dart_layout_ttm(dart_weight *weight, bool strict, dart_layout *out)
{
    uint32_t n[DART_MAX_CORES];
    memset(out, 0, sizeof *out);
    DART_TRY(dart_layout_modes(weight, 3, out));
    uint32_t d = weight->modes;
    if (2 * d > DART_MAX_RANK) /* the dense matrix has an axis a digit */
        return dart_fail(DART_INPUT,
            "weight %s: a TT-matrix takes at most %d modes a side, %u were asked for", weight->name,
            DART_MAX_RANK / 2, d);
    for (uint32_t k = 0; k < d; k++) n[k] = weight->out_modes[k] * weight->in_modes[k];
    DART_TRY(dart_layout_ranks(weight, d, n, strict));
    double std = dart_layout_std(weight, d);
    out->tensors = out->chain_cores = d;
    out->bonds = d - 1;
    for (uint32_t k = 0; k < d; k++) {
        dart_tensor *tensor = &out->tensor[k];
        snprintf(tensor->name, sizeof tensor->name, "core%u", k);
        tensor->shape = DART_SHAPE(
            weight->ranks[k], weight->out_modes[k], weight->in_modes[k], weight->ranks[k + 1]);
        tensor->std = std;
    }
    if (weight->target_std <= 0) dart_layout_zero_start(weight, 0, dart_start_input(weight), out);
    out->takes_apart = true;
    return DART_OK;
}

dart_status dart_layout_ttm_over_base(dart_weight *weight, bool strict, dart_layout *out)
{
    DART_TRY(dart_layout_ttm(weight, strict, out));
    out->takes_apart = false;
    dart_layout_zero_start(weight, 0, dart_start_input(weight), out);
    dart_layout_add_base(weight, out);
    return DART_OK;
}

void dart_network_ttm(const dart_weight *weight, const dart_layout *layout, dart_network *out)
{
    uint32_t d = weight->modes;
    *out = (dart_network){.terms = 1, .term = {{.operands = layout->chain_cores, .scale = 1.0}}};
    dart_term *chain = &out->term[0];
    for (uint32_t k = 0; k < d; k++) {
        char row = (char)('a' + d + 1 + k), col = (char)('a' + 2 * d + 1 + k);
        chain->tensor[k] = layout->chain_first + k;
        snprintf(chain->labels[k], sizeof chain->labels[k], "%c%c%c%c", (char)('a' + k), row, col,
            (char)('a' + k + 1));
        out->row[k] = row;
        out->col[k] = col;
        out->row_dim[k] = weight->out_modes[k];
        out->col_dim[k] = weight->in_modes[k];
    }
}

void dart_network_ttm_over_base(
    const dart_weight *weight, const dart_layout *layout, dart_network *out)
{
    dart_network_ttm(weight, layout, out);
    dart_network_add_base(out);
}
