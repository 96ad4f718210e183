/* Inside this room only: the method table's symbols and what chain-shaped methods share. */
#ifndef DART_METHOD_LAYOUT_H
#define DART_METHOD_LAYOUT_H

#include "method.h"

#define METHOD(name) extern const dart_method dart_methods_##name;
#include "methods.def"
#undef METHOD

/* Digits of one side of a weight: the given modes are checked against n, missing ones are chosen
 * (ascending for the output side, descending for the input side, so that the cores of both sides'
 * ends stay small). */
DART_NODISCARD dart_status dart_layout_modes(
    dart_weight *weight, uint32_t fallback, dart_layout *out);
/* Bond ranks of a chain with mode sizes n[cores] into weight->ranks: as given, or weight->rank
 * clamped to the caps min(prod n_<k, prod n_>=k). strict: a rank that exceeds every bond's cap is
 * an error. */
DART_NODISCARD dart_status dart_layout_ranks(
    dart_weight *weight, uint32_t cores, const uint32_t *n, bool strict);
/* Standard deviation of each core's entries such that those of the product have weight->target_std:
 * with i.i.d. cores Var W = prod std_k^2 prod r_k (tt-methods 1.8), the same std for every core. */
double dart_layout_std(const dart_weight *weight, uint32_t cores);
/* The TT-matrix layout and network, shared by ttm and tt-embedding. */
DART_NODISCARD dart_status dart_layout_ttm(dart_weight *weight, bool strict, dart_layout *out);
void dart_network_ttm(const dart_weight *weight, const dart_layout *layout, dart_network *out);

#endif
