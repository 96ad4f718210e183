/* ttm: W as a TT-matrix (Novikov et al. 2015); core k is (r_k, m_k, n_k, r_{k+1}), one output and
 * one input digit. */
#include "layout.h"

const dart_method dart_methods_ttm = {"ttm",
    "TT-matrix: one output and one input digit a core; full matrix rank", dart_layout_ttm,
    dart_network_ttm};
