/* dense: W itself, one trainable (out, in) tensor. */
#include "layout.h"
#include <stdio.h>
#include <string.h>

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    (void)strict;
    memset(out, 0, sizeof *out);
    out->padded_out = weight->out;
    out->tensors = 1;
    dart_tensor *tensor = &out->tensor[0];
    snprintf(tensor->name, sizeof tensor->name, "weight");
    tensor->shape = DART_SHAPE(weight->out, weight->in);
    tensor->std = weight->target_std;
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    (void)plan;
    *out = (dart_network){.terms = 1,
        .term = {{.operands = 1, .tensor = {0}, .labels = {"ab"}, .scale = 1.0}},
        .row = "a",
        .col = "b",
        .row_dim = {weight->out},
        .col_dim = {weight->in}};
}

const dart_method dart_methods_dense = {"dense", "one full matrix", layout, network};
