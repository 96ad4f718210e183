/* What an adapter's settings promise of its tensors. */
#ifndef DART_ADAPTER_TARGETS_H
#define DART_ADAPTER_TARGETS_H

#include "adapter.h"
#include "json.h"

/* Whether every linear layer of the base's blocks that `settings` (adapter_config.json) adapt has a
 * pair: by target_modules (a list, or all-linear), layers_to_transform and exclude_modules as
 * PEFT reads them; nothing is asked where one of these is a regular expression. INPUT: one has
 * none, naming it; `file` has the pairs. */
DART_NODISCARD dart_status dart_adapter_check_targets(const json_t *settings, const char *file,
    const dart_pretrained *base, const dart_adapter_pair *pair, uint32_t pairs);

#endif
