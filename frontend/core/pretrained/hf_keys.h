/* Which settings of config.json are known. */
#ifndef DART_PRETRAINED_HF_KEYS_H
#define DART_PRETRAINED_HF_KEYS_H

#include "json.h"

/* INPUT: names a key that is unknown, or whose value asks for what is not computed here. */
dart_status dart_hf_check_keys(const char *file, json_t *root);
/* The same of adapter_config.json, as PEFT writes it. */
dart_status dart_hf_check_adapter(const char *file, json_t *root);

#endif
