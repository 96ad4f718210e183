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
    return DART_OK;
}

void dart_network_ttm(const dart_weight *weight, const dart_layout *layout, dart_network *out)
{
    uint32_t d = weight->modes;
    *out = (dart_network){.terms = 1, .term = {{.operands = layout->tensors, .scale = 1.0}}};
    dart_term *chain = &out->term[0];
    for (uint32_t k = 0; k < d; k++) {
        char row = (char)('a' + d + 1 + k), col = (char)('a' + 2 * d + 1 + k);
        chain->tensor[k] = k;
        snprintf(chain->labels[k], sizeof chain->labels[k], "%c%c%c%c", (char)('a' + k), row, col,
            (char)('a' + k + 1));
        out->row[k] = row;
        out->col[k] = col;
        out->row_dim[k] = weight->out_modes[k];
        out->col_dim[k] = weight->in_modes[k];
    }
}
