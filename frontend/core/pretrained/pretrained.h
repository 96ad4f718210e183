/* Models that others trained, as their files hold them: a Hugging Face folder, a GGUF file, a
 * checkpoint of llama2.c. Opening one checks everything and reads no weights; tensors go by the
 * names of our own models (model/nn), whatever the file calls them and however it lays them out.
 * What would compute something else than the original is refused. */
#ifndef DART_PRETRAINED_H
#define DART_PRETRAINED_H

#include "blocks.h"

enum { DART_PRETRAINED_EOS = 8, DART_PRETRAINED_NAME = 64 };

typedef enum dart_pretrained_arch {
    DART_PRETRAINED_LLAMA,
    DART_PRETRAINED_MISTRAL,
    DART_PRETRAINED_QWEN2,
    DART_PRETRAINED_QWEN3,
    DART_PRETRAINED_GPT2,
    DART_PRETRAINED_BERT,
    DART_PRETRAINED_ROBERTA
} dart_pretrained_arch;

typedef enum dart_pretrained_act {
    DART_PRETRAINED_SWIGLU,
    DART_PRETRAINED_GELU_TANH,
    DART_PRETRAINED_GELU_ERF,
    DART_PRETRAINED_RELU
} dart_pretrained_act;

typedef enum dart_pretrained_bias {
    DART_PRETRAINED_NO_BIAS,
    DART_PRETRAINED_QKV_BIAS, /* of queries, keys and values */
    DART_PRETRAINED_ALL_BIAS  /* of all linear layers of the blocks */
} dart_pretrained_bias;

typedef enum dart_pretrained_scaling {
    DART_PRETRAINED_PLAIN,
    DART_PRETRAINED_LINEAR, /* all angles are divided by the factor */
    DART_PRETRAINED_LLAMA3, /* those of long waves, as Llama 3.1 */
    DART_PRETRAINED_FACTORS /* each pair's angle is divided by a number of its own */
} dart_pretrained_scaling;

/* Rotary positions. Pair i of a head is its elements i and head_dim / 2 + i, turned by
 * position * base^(-2 i / head_dim): the convention of our op `rope`. */
typedef struct dart_pretrained_rope {
    double base; /* 0: positions are learned */
    dart_pretrained_scaling scaling;
    double factor, low, high;  /* factor: LINEAR, LLAMA3; low, high: LLAMA3 */
    uint32_t original_context; /* LLAMA3 */
    const float *factors;      /* FACTORS: [head_dim / 2], owned by the model */
} dart_pretrained_rope;

typedef struct dart_pretrained_config {
    dart_pretrained_arch arch;
    uint32_t layers, d_model, heads, kv_heads, head_dim, d_ff, vocab;
    uint32_t context; /* positions that can be used */
    bool rms_norm;    /* else LayerNorm with a bias */
    bool post_norm;   /* after each residual sum, and behind the embedding: bert, roberta */
    double norm_eps;
    dart_pretrained_act act;
    dart_pretrained_rope rope;
    uint32_t
        first_position; /* row of pos_emb.weight of a text's first token: 2 for roberta, else 0 */
    bool tied;          /* the head is tok_emb; there is no tensor `head` */
    dart_pretrained_bias bias;
    bool qk_norm;            /* RMSNorm of each query and key before its position */
    uint32_t sliding_window; /* a token sees this many at most, itself among them; 0: all */
    int32_t bos;             /* -1: none, or none of the vocabulary */
    int32_t pad; /* what fills up texts, as a folder's config.json says; -1: not known */
    uint32_t eos_count;
    int32_t eos[DART_PRETRAINED_EOS]; /* any of them ends a text; all in the vocabulary */
    uint32_t token_types;             /* rows of type_emb; 0: there is none */
    bool pooler;                      /* pooler and its tanh on the first token */
    uint32_t labels;                  /* rows of `classifier`; 0: there is none */
} dart_pretrained_config;

/* A matrix (out, in) or a vector of the model, and where its numbers are. */
typedef struct dart_pretrained_tensor {
    const char *name;   /* ours: "blocks.0.attn.q", "blocks.0.norm1.weight" */
    const char *source; /* in the file */
    uint64_t rows;      /* of a vector: its elements */
    uint64_t columns;   /* of a vector: 1 */
    bool vector;
    const dart_block_format *format;
    const uint8_t *data; /* in the map */
    /* Of the stored tensor: row r of ours is its row dart_pretrained_row(tensor, r), `stride` bytes
     * each; transposed: its column r, of `columns` rows of `stride` bytes. */
    uint64_t stride;
    bool transposed;
    uint32_t pairs; /* above 0: heads of this many rows, whose rotary pairs lie side by side */
} dart_pretrained_tensor;

typedef struct dart_pretrained dart_pretrained; /* owns maps and index; read by any thread */

/* Opens a folder with config.json and safetensors, a GGUF file, or a llama2.c checkpoint (legacy or
 * version 1). INPUT: none of these, damaged, an architecture or a setting that this program does
 * not have, tensors that are missing, left over or of another shape. Release with
 * dart_pretrained_close. */
DART_NODISCARD dart_status dart_pretrained_open(const char *path, dart_pretrained **out);
void dart_pretrained_close(dart_pretrained *model); /* NULL: nothing */

const dart_pretrained_config *dart_pretrained_config_of(const dart_pretrained *model);
const char *dart_pretrained_arch_name(dart_pretrained_arch arch); /* "llama" */
/* All of them, by ascending name. */
const dart_pretrained_tensor *dart_pretrained_tensors(
    const dart_pretrained *model, uint32_t *out_count);
const dart_pretrained_tensor *dart_pretrained_find(
    const dart_pretrained *model, const char *name); /* NULL: none */

/* The stored row that holds row `row` of a tensor that is not transposed. */
uint64_t dart_pretrained_row(const dart_pretrained_tensor *tensor, uint64_t row);
/* Rows first to first + rows - 1 of a matrix, or so many elements of a vector, as f32 into out[rows
 * * columns]; touches no others. INPUT: no such tensor or rows. */
DART_NODISCARD dart_status dart_pretrained_read(
    const dart_pretrained *model, const char *name, uint64_t first, uint64_t rows, float *out);

#endif
