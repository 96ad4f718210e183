/* Models: a trained model in memory, opened from files: configuration, tensors, vocabulary. */
#ifndef DART_PUBLIC_MODEL_H
#define DART_PUBLIC_MODEL_H

#include "recipe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Constant once it is open: any number of threads and contexts may use it at once. */
typedef struct dart_llm dart_llm;

typedef struct dart_llm_options {
    size_t size;
    /* Keys that were set here hold instead of the model's own: device, infer_weights, beam ... A
     * key that the stored tensors do not fit is an error. NULL: none. */
    const dart_recipe *overrides;
    void *user;
    void (*note)(void *user, const char *line); /* which checkpoint was taken, or not */
} dart_llm_options;

/* Whether `given` is a pretrained model: a .gguf or .bin file, a folder with config.json, or, where
 * it is no path, the name under which datasets/fetch keeps one. */
DART_API bool dart_llm_pretrained(const char *given);

/* path: a run directory (its newest checkpoint that is whole, or with load_best the best by
 * validation), a checkpoint directory, or a pretrained model
 * (dart_llm_pretrained), with the key `adapter` beside it.
 * options may be NULL. Errors: INPUT (neither, damaged, tensors that do not fit), MEMORY, IO.
 * Close it. */
DART_API DART_NODISCARD dart_status dart_llm_open(
    const char *path, const dart_llm_options *options, dart_llm **out);
DART_API void dart_llm_close(dart_llm *llm); /* NULL: nothing to do */

/* ---- configuration ---- */

/* Keys and values as text: the recipe's keys of model, method and data, and what the stored model
 * says of itself: path, parameters, compressed_parameters, dense_parameters, vocab_size,
 * source_vocab_size (0 where it does not translate). */
DART_API size_t dart_llm_config_count(const dart_llm *llm);
/* NULL past the end. */
DART_API const char *dart_llm_config_key(const dart_llm *llm, size_t index);
/* Cut at `size` bytes. Errors: USAGE (unknown key). */
DART_API DART_NODISCARD dart_status dart_llm_config_value(
    const dart_llm *llm, const char *key, char *out, size_t size);

/* ---- tensors ---- */

enum { DART_TENSOR_RANK = 12 };

typedef struct dart_tensor_info {
    size_t size;
    const char *name;  /* as in model.safetensors: "blocks.0.attn.q.core0" */
    const char *dtype; /* "F32" */
    uint32_t rank;
    uint64_t shape[DART_TENSOR_RANK]; /* row-major, the last one varies fastest */
    uint64_t elements;
    bool trainable; /* false: a base that training left alone */
} dart_tensor_info;

DART_API size_t dart_llm_tensor_count(const dart_llm *llm);
/* Errors: USAGE (past the end). */
DART_API DART_NODISCARD dart_status dart_llm_tensor_at(
    const dart_llm *llm, size_t index, dart_tensor_info *out);
/* Errors: INPUT (no tensor of this name; the sentence names one that is near). */
DART_API DART_NODISCARD dart_status dart_llm_tensor_find(
    const dart_llm *llm, const char *name, size_t *out_index);
/* All elements into `out`, which has room for `room` floats. Errors: USAGE (past the end, room for
 * fewer than all). */
DART_API DART_NODISCARD dart_status dart_llm_tensor_read(
    const dart_llm *llm, size_t index, float *out, size_t room);

/* ---- vocabulary ---- */

/* Ids are 0 .. vocab_size - 1. Of a model that translates: the target's; the source's are used
 * inside dart_context_translate only. */
DART_API uint32_t dart_llm_vocab_size(const dart_llm *llm);
/* Special tokens; -1 where the vocabulary has none of the kind. */
typedef enum dart_special {
    DART_SPECIAL_START,  /* what stands before the first token of a text */
    DART_SPECIAL_END,    /* end of a sentence: <eos> */
    DART_SPECIAL_UNKNOWN /* <unk> */
} dart_special;
DART_API int32_t dart_llm_special(const dart_llm *llm, dart_special which);
/* Ids of `size` bytes of text; what the vocabulary does not have becomes <unk>. *out_count is their
 * number, of which the first `room` are in `out`: call it with room 0 to learn the number. Errors:
 * INPUT (not UTF-8 where tokens are words or characters, a zero byte, a token that is not in a
 * vocabulary without <unk>), MEMORY. */
DART_API DART_NODISCARD dart_status dart_llm_encode(const dart_llm *llm, const char *text,
    size_t size, int32_t *out, size_t room, size_t *out_count);
/* Text of `count` ids that follow `before` (-1: nothing): between words stands a space. *out_size
 * is its length without a zero byte, of which the first `room` bytes are in `out`. Where tokens are
 * bytes, the ids of a part of a character give a part of it. Errors: USAGE (an id outside). */
DART_API DART_NODISCARD dart_status dart_llm_decode(const dart_llm *llm, int32_t before,
    const int32_t *ids, size_t count, char *out, size_t room, size_t *out_size);

#ifdef __cplusplus
}
#endif
#endif
