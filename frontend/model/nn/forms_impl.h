/* What forms.c and token_table.c share: form_parts.c, and what the one asks of the other. */
#ifndef DART_FORMS_IMPL_H
#define DART_FORMS_IMPL_H

#include "forms.h"

enum { DART_FORM_ALIGN = 64 }; /* words: where a form may begin */

dart_network dart_form_network(const dart_model_weight *w);
/* Terms as they are, or their sum: beside a dense matrix nothing is cheaper than the sum, and terms
 * that are too long for one product, or rows with lengths of their own, have no other form. A
 * matrix that is packed stays so unless DENSE is wanted. */
bool dart_form_sums(const dart_forms *forms, uint32_t weight, dart_infer_weights how);
/* The matrix of a weight that is multiplied by as it is packed in FROZEN; NULL: there is none. */
const dart_param *dart_form_packed(const dart_forms *forms, uint32_t weight, bool summed);
/* Words of the region, aligned; returns where they begin. */
uint64_t dart_form_reserve(dart_forms *forms, uint64_t words);
dart_node dart_form_leaf(dart_graph *graph, dart_shape shape, uint64_t offset);
dart_node dart_form_param(dart_graph *graph, const dart_param *param);
/* The product of the operands `set` of a term of a weight's network, the last operand scaled;
 * padded: shapes to pad operands to with zeros, or NULL. */
dart_node dart_form_make(const dart_forms *forms, dart_graph *graph, uint32_t weight, uint32_t term,
    uint32_t set, const char *einsum, const dart_shape *padded);
/* The dense matrix of a weight (padded out, in). */
dart_node dart_form_dense(const dart_forms *forms, dart_graph *graph, uint32_t weight);
/* Stores `value` at `offset` of the region. */
void dart_form_keep(dart_graph *graph, dart_node value, uint64_t offset);

DART_NODISCARD dart_status dart_table_plan(
    dart_forms *forms, dart_infer_weights how, uint32_t rows, const dart_cost *cost);
void dart_table_prepare(const dart_forms *forms, dart_graph *graph);

#endif
