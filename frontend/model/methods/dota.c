/* dota: a trained TT-matrix beside a frozen matrix, in the directions in which a pretrained W has
 * its energy, so that W is unchanged at first. As published (Hu et al. 2024) it takes the largest
 * part of W over, singular values shared evenly between both sides of a bond, and what is left of W
 * stays frozen. Then a bond's singular values are those of W, and ranks that are cut are a part of
 * W. For ranks that training finds W stays whole, and the TT-matrix starts at zero: its first core
 * is zero, the others are those of W's TT-SVD, and singular values are of what was learnt. */
#include "adopt.h"
#include "layout.h"
#include <math.h>
#include <string.h>

typedef enum start { LARGEST, ZERO } start;

static const dart_option_row init_row = {.key = "dota_init",
    .section = "method",
    .kind = DART_OPTION_CHOICE,
    .fallback = "largest",
    .choices = "largest|zero",
    .help = "dota: the TT-matrix takes the largest part of a pretrained matrix over, as published; "
            "or it starts at zero along the same directions, and what is cut from it later is "
            "nothing pretrained"};

static const dart_option_row *const options[] = {&init_row, NULL};

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    DART_TRY(dart_layout_ttm_over_base(weight, strict, out));
    out->takes_apart = dart_options_get(&weight->options, &init_row) == LARGEST;
    out->keeps_whole = out->takes_apart ? "dota_init: zero" : NULL;
    out->follows = !out->takes_apart;
    return DART_OK;
}

/* Entries of what the cores behind the first one make have the root mean square of LoRA's A. */
static dart_status start_at_zero(
    const dart_weight *weight, const dart_layout *plan, const float *base, float *const *tensor)
{
    dart_chain chain;
    dart_status status = dart_adopt_decompose(weight, plan, base, &chain);
    DART_GOTO(status);
    DART_GOTO(dart_chain_canonical(&chain, 0)); /* the others are orthonormal */
    double entries = 1;
    for (uint32_t k = 1; k < chain.cores; k++) entries *= chain.n[k];
    const double norm = dart_start_input(weight) * sqrt(entries);
    dart_adopt_cores(
        weight, plan, &chain, chain.cores > 1 ? pow(norm, 1.0 / (chain.cores - 1)) : 1, tensor);
    const dart_shape *first = &plan->tensor[plan->chain_first].shape;
    memset(tensor[plan->chain_first], 0, dart_shape_words(first) * sizeof(float));
done:
    dart_chain_free(&chain);
    return status;
}

static dart_status adopt(const dart_weight *weight, const dart_layout *plan, const float *base,
    float *const *tensor, double *out_error)
{
    if (plan->takes_apart) return dart_adopt_chain(weight, plan, base, tensor, out_error);
    *out_error = 0;
    return start_at_zero(weight, plan, base, tensor);
}

const dart_method dart_methods_dota = {.name = "dota",
    .help = "a trained TT-matrix, made from a pretrained matrix, plus the frozen rest of it",
    .layout = layout,
    .network = dart_network_ttm_over_base,
    .options = options,
    .adopt = adopt};
