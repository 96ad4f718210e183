/* tt: W as a TT-vector over its output digits followed by its input digits; core k is (r_k, n_k,
 * r_{k+1}). All output modes come first: then the middle bond splits W into two factors, which
 * makes the export to LoRA exact (tt-methods 10). */
#include "adopt.h"
#include "layout.h"
#include <stdio.h>
#include <string.h>

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    uint32_t n[DART_MAX_CORES];
    memset(out, 0, sizeof *out);
    DART_TRY(dart_layout_modes(weight, 3, out));
    uint32_t d = weight->modes, cores = 2 * d;
    if (cores + 1 > DART_MAX_OPERANDS) /* one operand of the contraction is x */
        return dart_fail(DART_INPUT,
            "weight %s: tt takes at most %d modes a side, %u were asked for", weight->name,
            (DART_MAX_OPERANDS - 1) / 2, d);
    for (uint32_t k = 0; k < d; k++) {
        n[k] = weight->out_modes[k];
        n[d + k] = weight->in_modes[k];
    }
    DART_TRY(dart_layout_ranks(weight, cores, n, strict));
    double std = dart_layout_std(weight, cores);
    out->tensors = out->chain_cores = cores;
    out->bonds = cores - 1;
    for (uint32_t k = 0; k < cores; k++) {
        dart_tensor *tensor = &out->tensor[k];
        snprintf(tensor->name, sizeof tensor->name, "core%u", k);
        tensor->shape = DART_SHAPE(weight->ranks[k], n[k], weight->ranks[k + 1]);
        tensor->std = std;
    }
    out->takes_apart = !dart_over_base(weight);
    if (!out->takes_apart || weight->target_std <= 0)
        dart_layout_zero_start(weight, d, dart_start_input(weight), out);
    if (!out->takes_apart) dart_layout_add_base(weight, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    uint32_t d = weight->modes;
    *out = (dart_network){.terms = 1, .term = {{.operands = plan->chain_cores, .scale = 1.0}}};
    dart_term *chain = &out->term[0];
    /* bonds are the letters from a, digits those after the bonds */
    for (uint32_t k = 0; k < 2 * d; k++) {
        char digit = (char)('a' + 2 * d + 1 + k);
        chain->tensor[k] = plan->chain_first + k;
        snprintf(chain->labels[k], sizeof chain->labels[k], "%c%c%c", (char)('a' + k), digit,
            (char)('a' + k + 1));
        if (k < d) {
            out->row[k] = digit;
            out->row_dim[k] = weight->out_modes[k];
        } else {
            out->col[k - d] = digit;
            out->col_dim[k - d] = weight->in_modes[k - d];
        }
    }
    if (dart_over_base(weight)) dart_network_add_base(out);
}

static const dart_option_row *const options[] = {&dart_row_frozen_base, NULL};

const dart_method dart_methods_tt = {.name = "tt",
    .help = "tensor train over the output digits, then the input digits",
    .layout = layout,
    .network = network,
    .options = options,
    .adopt = dart_adopt_chain};
