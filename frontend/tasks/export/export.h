/* Models as files of other programs. */
#ifndef DART_EXPORT_H
#define DART_EXPORT_H

#include "bundle.h"
#include "dart.h"
#include "json.h"

/* What dart_export does, of a bundle that is open. `from` names it in the files. */
DART_NODISCARD dart_status dart_export_bundle(const dart_bundle *bundle, const char *from,
    const dart_export_options *options, dart_note note, dart_export_result *out);
/* Whether a model would be exported whole ("hf", "gguf"), as far as that is known without its
 * numbers. Errors as above. */
DART_NODISCARD dart_status dart_export_check(
    const dart_bundle *bundle, const char *from, const dart_export_options *options);

/* ---- inside this room ---- */

typedef struct dart_exporting {
    const dart_bundle *bundle;
    const dart_pretrained *base; /* NULL: the model was trained from scratch */
    const dart_export_options *options;
    const char *from;
    dart_note note;
    dart_export_result *out;
} dart_exporting;

/* names.c: what Hugging Face calls a tensor of ours, behind the architecture's prefix:
 * "model.layers.0.self_attn.q_proj.weight". The name of a weight, without ".weight" for a module.
 * INPUT: it has no name there. */
DART_NODISCARD dart_status dart_export_name(
    dart_pretrained_arch arch, const char *ours, char out[160]);
/* A LoRA pair: the weight becomes base + b a. */
typedef struct dart_export_pair {
    uint32_t weight, rank, out, in;
    uint32_t part, parts; /* parts: the module's outputs are so many of the weight's; 0: one */
    float *b, *a;         /* owned (out, rank), (rank, in) */
    float *lengths;       /* owned (out): rows of base + b a get these; NULL: they keep their own */
    char module[160];     /* "model.layers.0.self_attn.q_proj" */
    double error;         /* relative, of what is not kept */
} dart_export_pair;
/* pairs.c: all adapters, at least one; GPT-2's of queries, keys and values are one pair. Counts
 * their numbers and tells the error. lengths: the format has a place for lengths of rows; where one
 * weight has such, all pairs get them. INPUT: something else was trained too. */
DART_NODISCARD dart_status dart_export_pairs(
    const dart_exporting *e, bool lengths, dart_export_pair **out, uint32_t *out_count);
void dart_export_pairs_free(dart_export_pair *pair, uint32_t count);
/* names.c: the architecture of Hugging Face's that computes what the model does. */
DART_NODISCARD dart_status dart_export_arch(const dart_exporting *e, dart_pretrained_arch *out);
/* gguf_names.c: what llama.cpp calls it: "llama" for mistral */
const char *dart_export_gguf_arch(dart_pretrained_arch arch);
/* What it calls a tensor of ours: "blk.0.attn_q.weight" of "blocks.0.attn.q"; of queries, keys and
 * values of GPT-2 the one that holds all three. INPUT: it has no name there. */
DART_NODISCARD dart_status dart_export_gguf_name(
    dart_pretrained_arch arch, const char *ours, char out[64]);
/* The rows of queries and keys as llama.cpp turns them: in each head of `rows` rows the elements of
 * a rotary pair beside each other instead of half a head apart. 0: as they are. */
uint32_t dart_export_gguf_pairs(
    const dart_exporting *e, dart_pretrained_arch arch, const char *ours);
/* Row of ours that is row `row` there. */
static inline uint64_t dart_export_gguf_row(uint32_t pairs, uint64_t row)
{
    if (!pairs) return row;
    const uint64_t within = row % pairs;
    return row - within + within / 2 + within % 2 * (pairs / 2);
}
/* Rows of its learned positions in a whole model. */
uint32_t dart_export_positions(const dart_exporting *e);
/* config.c: config.json of a whole model */
DART_NODISCARD dart_status dart_export_config(const dart_exporting *e, dart_pretrained_arch arch);
/* classes.c: whether a classifier's head is one of Hugging Face's. INPUT: it has no pooler where
 * those have one. */
DART_NODISCARD dart_status dart_export_classifier(const dart_exporting *e);
/* "id2label" and "label2id" */
void dart_export_labels(const dart_exporting *e, json_t *body, dart_status *status);
/* The modules of Hugging Face's that PEFT keeps whole beside adapters, because they were trained
 * whole; NULL past the end. Which weights, and vectors, of ours are in them. */
const char *dart_export_saved(const dart_exporting *e, uint32_t index);
bool dart_export_saves_weight(const dart_exporting *e, uint32_t w);
bool dart_export_saves_vector(const dart_exporting *e, uint32_t p);
/* peft.c: adapter_config.json and adapter_model.safetensors */
DART_NODISCARD dart_status dart_export_peft(const dart_exporting *e);
/* hf.c: model.safetensors, config.json, tokenizer */
DART_NODISCARD dart_status dart_export_hf(const dart_exporting *e);
/* dtype.c: how matrices are stored, by options->dtype; blocks: Q8_0 and Q4_0 may be. USAGE. */
DART_NODISCARD dart_status dart_export_dtype(
    const dart_exporting *e, bool blocks, const dart_block_format **out);
/* INPUT, naming the tensor: not all of its values are finite. */
DART_NODISCARD dart_status dart_export_finite(const char *name, const float *value, uint64_t count);
/* gguf_meta.c: metadata of the whole model; `format`: of its matrices */
struct dart_gguf_meta;
DART_NODISCARD dart_status dart_export_gguf_meta(const dart_exporting *e, dart_pretrained_arch arch,
    const dart_block_format *format, struct dart_gguf_meta *meta);
/* gguf.c: model.gguf, the whole model with its tokenizer */
DART_NODISCARD dart_status dart_export_gguf(const dart_exporting *e);
/* gguf_lora.c: adapter.gguf */
DART_NODISCARD dart_status dart_export_gguf_lora(const dart_exporting *e);

#endif
