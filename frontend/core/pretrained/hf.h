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

/* Fills model->config from config.json and generation_config.json. */
dart_status dart_hf_read_config(const hf_settings *settings);

#endif
