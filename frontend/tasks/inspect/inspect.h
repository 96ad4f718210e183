/* Views of a model, as text or as JSON. */
#ifndef DART_INSPECT_H
#define DART_INSPECT_H

#include "backend.h"
#include "bundle.h"
#include "dart.h"
#include "ir.h"
#include "model.h"
#include "json.h"
#include <stdio.h>

/* What dart_inspect does. */
DART_NODISCARD dart_status dart_inspect_print(
    const dart_recipe *recipe, const char *model_path, const char *what, bool json, FILE *out);

/* The model at model_path or, where that is NULL, of the recipe, without values; its words are in
 * *corpus then. Both are zeroed before, and freed by the caller also after a failure. */
DART_NODISCARD dart_status dart_inspect_open(
    const dart_recipe *recipe, const char *model_path, dart_corpus *corpus, dart_bundle *out);

/* The contraction path of every distinct compressed layer for `rows` tokens: its order, its FLOPs
 * forward and in a training step, against the dense layer's. */
DART_NODISCARD dart_status dart_inspect_paths(
    const dart_model *model, uint32_t rows, const dart_cost *cost, json_t **out);
void dart_inspect_paths_text(const json_t *paths, FILE *out);

/* Modes, bond ranks and parameters of every weight. */
DART_NODISCARD dart_status dart_inspect_ranks(const dart_model *model, json_t **out);
void dart_inspect_ranks_text(const json_t *ranks, FILE *out);

/* Borrowed text of a JSON object's key, "" if absent; and a number, 0 if absent. */
const char *dart_inspect_text(const json_t *object, const char *key);
double dart_inspect_number(const json_t *object, const char *key);

#endif
