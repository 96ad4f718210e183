/* Settings of a Hugging Face folder, read key by key: what is unknown or not computed here is
 * refused. */
#ifndef DART_PRETRAINED_HF_H
#define DART_PRETRAINED_HF_H

#include "json.h"
#include "pretrained_impl.h"

typedef struct hf_settings {
    dart_pretrained *model;
    const char *file; /* "<folder>/config.json" */
    json_t *root;
} hf_settings;

/* A whole number of at least 0. `object`: settings->root or one inside it. Where the key is missing
 * or null *out is fallback; NEEDED: it may not be. */
enum { HF_NEEDED = -1 };
dart_status dart_hf_u32(const hf_settings *settings, const json_t *object, const char *key,
    int64_t fallback, uint32_t *out);
dart_status dart_hf_f64(const hf_settings *settings, const json_t *object, const char *key,
    double fallback, double *out); /* fallback NaN: needed */
dart_status dart_hf_bool(
    const hf_settings *settings, const json_t *object, const char *key, bool fallback, bool *out);
/* NULL: missing or null. */
dart_status dart_hf_text(
    const hf_settings *settings, const json_t *object, const char *key, const char **out);

/* Our weights that a module is, by its name of Hugging Face's with or without the model's prefix,
 * "model.layers.0.self_attn.q_proj": one, or all that GPT-2's c_attn holds, in its order. Returns
 * how many; 0: neither a linear layer of a block nor bert's pooler. */
enum { DART_HF_PARTS = 3 };
uint32_t dart_hf_weights(
    dart_pretrained_arch arch, const char *module, char out[DART_HF_PARTS][DART_PRETRAINED_NAME]);
/* The other way: the module that holds a linear layer of a block, "model.layers.0.self_attn.q_proj"
 * of "blocks.0.attn.q". false: it is none. */
bool dart_hf_module(dart_pretrained_arch arch, const char *ours, char out[160]);
/* Our name of a tensor of a classifier's head, "score.weight": `classifier`, `pooler`, or one of
 * these with `.bias`. NULL: it is none. */
const char *dart_hf_head(dart_pretrained_arch arch, const char *name);

/* Fills model->config from config.json and generation_config.json. */
dart_status dart_hf_read_config(const hf_settings *settings);

#endif
