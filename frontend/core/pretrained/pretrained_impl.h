/* What the readers of pretrained models share: the tensors of a file, and taking them one by one
 * under our names. */
#ifndef DART_PRETRAINED_IMPL_H
#define DART_PRETRAINED_IMPL_H

#include "gguf.h"
#include "map.h"
#include "pretrained.h"
#include "shards.h"

/* A tensor as a file has it, row-major: dim[0] is outermost. */
typedef struct pretrained_source {
    const char *name;
    const dart_block_format *format; /* NULL: numbers that we do not read */
    const char *type;                /* what the file calls them */
    uint32_t rank;
    uint64_t dim[DART_SAFETENSORS_DIMS];
    const uint8_t *data;
    bool taken;
} pretrained_source;

struct dart_pretrained {
    const char *path;
    dart_pretrained_config config;
    uint32_t sources, tensors;
    pretrained_source *source; /* by name */
    size_t capacity;
    dart_pretrained_tensor *tensor; /* by name; grown, freed by itself */
    dart_arena arena;
    /* one of these */
    dart_shards shards;
    dart_gguf *gguf;
    dart_map map;
};

/* Numbers of rows and columns by the configuration's names. */
typedef enum pretrained_size {
    PRETRAINED_ONE, /* columns of a vector */
    PRETRAINED_D,
    PRETRAINED_Q,  /* heads * head_dim */
    PRETRAINED_KV, /* kv_heads * head_dim */
    PRETRAINED_HEAD,
    PRETRAINED_FF,
    PRETRAINED_VOCAB,
    PRETRAINED_POSITIONS, /* context + first_position */
    PRETRAINED_TYPES,
    PRETRAINED_LABELS
} pretrained_size;

/* When a model has a tensor. */
typedef enum pretrained_when {
    PRETRAINED_ALWAYS,
    PRETRAINED_IF_QKV_BIAS, /* also where all have one */
    PRETRAINED_IF_ALL_BIAS,
    PRETRAINED_IF_QK_NORM
} pretrained_when;

/* How a tensor of ours lies in one of a file's. */
typedef enum pretrained_lies {
    PRETRAINED_AS_IT_IS,
    PRETRAINED_IN_PAIRS,   /* rotary pairs lie side by side in each head's rows */
    PRETRAINED_TRANSPOSED, /* the file has (in, out) */
    /* one of three equal parts of the file's rows, or of its columns where that is (in, out) */
    PRETRAINED_THIRD,
    PRETRAINED_THIRD_TRANSPOSED
} pretrained_lies;

typedef struct pretrained_entry {
    const char *ours, *theirs; /* names, of a layer's tensors behind the layer's number */
    pretrained_size rows, columns;
    pretrained_when when;
    pretrained_lies lies;
    uint32_t third; /* of THIRD: which */
} pretrained_entry;

/* The file's tensors: room for `count`, then each is filled in, then they are put in order. */
dart_status dart_pretrained_sources(dart_pretrained *model, uint64_t count);
void dart_pretrained_sources_sort(dart_pretrained *model);
pretrained_source *dart_pretrained_source_find(const dart_pretrained *model, const char *name);

/* Takes what the entries say, config being complete; theirs are `prefix` and the entry's name.
 * INPUT: missing, of another shape, of numbers that we do not read. */
dart_status dart_pretrained_take(
    dart_pretrained *model, const char *prefix, const pretrained_entry *entry, size_t entries);
/* The same for each layer: theirs are `prefix`, the layer's number, a point, the entry's name. */
dart_status dart_pretrained_take_layers(
    dart_pretrained *model, const char *prefix, const pretrained_entry *entry, size_t entries);
/* Marks a tensor, where there is such, as one that is not needed. */
void dart_pretrained_skip(dart_pretrained *model, const char *source);
/* The same for all whose names begin so, or have an end so. */
void dart_pretrained_skip_all(dart_pretrained *model, const char *begin, const char *end);
/* The head: the file's tensor `source`, or the embedding where there is none and config.tied says
 * so. A head that is the embedding again makes config.tied true; another one in a model that says
 * tied is refused. */
dart_status dart_pretrained_head(dart_pretrained *model, const char *source, const char *embedding);
/* At the end: tensors in order, tokens inside the vocabulary. INPUT where the file has one that
 * nobody took. */
dart_status dart_pretrained_finish(dart_pretrained *model);

/* Whether the base of rotary positions is possible: 0, which stands for learned ones, is not. */
dart_status dart_pretrained_check_base(const dart_pretrained *model);
/* Whether the sizes are possible and go together. */
dart_status dart_pretrained_check(const dart_pretrained *model);
/* Adds a token that ends a text, once. INPUT: too many, or no number of a token. */
dart_status dart_pretrained_add_eos(dart_pretrained *model, int64_t id);

/* One a kind of file; they fill config and tensors. */
dart_status dart_pretrained_open_hf(dart_pretrained *model);
dart_status dart_pretrained_open_gguf(dart_pretrained *model);
dart_status dart_pretrained_open_llama2c(dart_pretrained *model);

#endif
