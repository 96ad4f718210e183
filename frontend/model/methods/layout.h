/* Inside this room only: the method table's symbols and what chain-shaped methods share. */
#ifndef DART_METHOD_LAYOUT_H
#define DART_METHOD_LAYOUT_H

#include "method.h"

#define METHOD(name) extern const dart_method dart_methods_##name;
#include "methods.def"
#undef METHOD

/* Digits of both sides of a weight: given modes are checked against the size, missing ones are
 * chosen (ascending for the output side, descending for the input side, so that the cores of both
 * sides' ends stay small), `fallback` of them where nothing says how many. Sides may have different
 * numbers of modes only where they are given. */
DART_NODISCARD dart_status dart_layout_sides(dart_weight *weight, uint32_t fallback,
    dart_layout *out, uint32_t *out_count, uint32_t *in_count);
/* The same for methods that need as many modes on one side as on the other. */
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
/* ---- whole matrices, and chains over a frozen one: base.c ---- */

/* One tensor "weight" (out, in), trained or frozen. */
void dart_layout_whole(const dart_weight *weight, bool frozen, dart_layout *out);
void dart_network_whole(const dart_weight *weight, dart_network *out);

extern const dart_option_row dart_row_frozen_base; /* of methods that also work without one */
extern const dart_option_row dart_row_alpha;
extern const dart_option_row dart_row_update_init;
enum { DART_UPDATE_ZERO, DART_UPDATE_PUBLISHED };
/* Whether the weight has frozen_base. */
bool dart_over_base(const dart_weight *weight);
/* Standard deviation of the entries of LoRA's A. */
double dart_start_input(const dart_weight *weight);
/* Standard deviations of a chain that starts at zero. split: its cores of the output side, which
 * come first; 0: cores have digits of both sides. input: what the entries of the input side get. */
void dart_layout_zero_start(
    const dart_weight *weight, uint32_t split, double input, dart_layout *out);
/* A chain whose first `split` cores have the output digits, in their order, the others the input
 * digits; a core without an axis between its bonds has none. Applied through the bond between. */
void dart_network_train(const dart_layout *layout, uint32_t split, double scale, dart_network *out);
/* The frozen "weight" becomes tensor 0, before all others, and the last term of the network. */
void dart_layout_add_base(const dart_weight *weight, dart_layout *out);
void dart_network_add_base(dart_network *out);

/* The TT-matrix layout and network, shared by ttm, tt-embedding and dota. */
DART_NODISCARD dart_status dart_layout_ttm(dart_weight *weight, bool strict, dart_layout *out);
void dart_network_ttm(const dart_weight *weight, const dart_layout *layout, dart_network *out);
/* The same beside a frozen matrix, starting at zero. */
DART_NODISCARD dart_status dart_layout_ttm_over_base(
    dart_weight *weight, bool strict, dart_layout *out);
void dart_network_ttm_over_base(
    const dart_weight *weight, const dart_layout *layout, dart_network *out);

#endif
