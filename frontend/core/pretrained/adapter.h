/* LoRA adapters as PEFT saves them: a folder with adapter_config.json and
 * adapter_model.safetensors. Opening one checks everything against the model that it is for; what
 * would compute something else than PEFT does is refused. */
#ifndef DART_ADAPTER_H
#define DART_ADAPTER_H

#include "pretrained.h"

/* What is added to a weight W of ours: scale * B A, with B (out, rank) and A (rank, in). */
typedef struct dart_adapter_pair {
    char name[DART_PRETRAINED_NAME]; /* "blocks.0.attn.q" */
    uint32_t out, in, rank;
    double scale; /* alpha / rank, or alpha / sqrt(rank) */
} dart_adapter_pair;

/* What is kept whole instead of the base's: the head of a classifier. */
typedef enum dart_adapter_part {
    DART_ADAPTER_CLASSIFIER,      /* (labels, d_model) */
    DART_ADAPTER_CLASSIFIER_BIAS, /* encoders */
    DART_ADAPTER_POOLER,          /* (d_model, d_model); encoders, where it is not the base's */
    DART_ADAPTER_POOLER_BIAS,
    DART_ADAPTER_PARTS
} dart_adapter_part;

typedef struct dart_adapter dart_adapter; /* owns the map; read by any thread */

/* Whether the folder holds an adapter. */
bool dart_adapter_found(const char *path);
/* base: what it stands on; not kept. INPUT: no adapter, a damaged one, one with settings or tensors
 * that are not read here, or of another model. Release with dart_adapter_close. */
DART_NODISCARD dart_status dart_adapter_open(
    const char *path, const dart_pretrained *base, dart_adapter **out);
void dart_adapter_close(dart_adapter *adapter); /* NULL: nothing */
/* lora_alpha, and whether it is divided by the root of the rank. */
double dart_adapter_alpha(const dart_adapter *adapter, bool *out_rslora);
/* r: the rank of pairs that have no other; at least 1. */
uint32_t dart_adapter_rank(const dart_adapter *adapter);
/* At least one; GPT-2's module of queries, keys and values is three. */
const dart_adapter_pair *dart_adapter_pairs(const dart_adapter *adapter, uint32_t *out_count);
/* out_b [out * rank], out_a [rank * in]; touches no other pair. INPUT: a value that is not finite.
 */
DART_NODISCARD dart_status dart_adapter_read(
    const dart_adapter *adapter, uint32_t pair, float *out_b, float *out_a);

/* Labels of the head that it holds; 0: none. */
uint32_t dart_adapter_labels(const dart_adapter *adapter);
/* How many numbers a part has; 0: it is not there. The two of a pooler, and of an encoder's
 * classifier, are there together. */
uint64_t dart_adapter_part_words(const dart_adapter *adapter, dart_adapter_part part);
/* Of a part that is there; INPUT: a value that is not finite. */
DART_NODISCARD dart_status dart_adapter_read_part(
    const dart_adapter *adapter, dart_adapter_part part, float *out);

#endif
