/* What a GGUF file says of a model: the metadata of its base where that is one, or what llama.cpp
 * needs of the model and its tokenizer. */
#include "ends.h"
#include "export.h"
#include "file.h"
#include "gguf_write.h"
#include "map.h"
#include <stdio.h>
#include <string.h>

/* ---- of a base that is a GGUF file ---- */

static dart_status is_gguf(const char *path, bool *out)
{
    dart_map map;
    *out = false;
    if (dart_is_folder(path)) return DART_OK;
    DART_TRY(dart_map_open(path, &map));
    *out = map.size >= 4 && !memcmp(map.data, "GGUF", 4);
    dart_map_close(&map);
    return DART_OK;
}

static dart_status copy(const char *path, dart_gguf_meta *meta)
{
    dart_gguf *base;
    uint64_t count;
    dart_status status = DART_OK;
    DART_TRY(dart_gguf_open(path, &base));
    const dart_gguf_value *value = dart_gguf_values(base, &count);
    for (uint64_t i = 0; i < count && status == DART_OK; i++) {
        const char *key = value[i].key;
        if (strcmp(key, "general.file_type") && strcmp(key, "general.quantization_version") &&
            strcmp(key, "general.alignment") && strncmp(key, "split.", 6))
            status = dart_gguf_put(meta, &value[i]);
    }
    dart_gguf_close(base);
    return status;
}

/* ---- of any other model ---- */

typedef struct writer {
    dart_gguf_meta *meta;
    const char *arch;
} writer;

static const char *key_of(const writer *w, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", w->arch, name);
    return out;
}

static dart_status put_u32(const writer *w, const char *name, uint64_t value)
{
    char key[96];
    return dart_gguf_put_u32(w->meta, key_of(w, name, key), (uint32_t)value);
}

static dart_status put_f32(const writer *w, const char *name, double value)
{
    char key[96];
    return dart_gguf_put_f32(w->meta, key_of(w, name, key), (float)value);
}

/* llama.cpp has one activation for an architecture, and biases where it has them. */
static dart_status check(const dart_exporting *e, dart_pretrained_arch arch)
{
    const dart_model_config *c = &e->bundle->model->config;
    const char *why = NULL;
    if (arch == DART_PRETRAINED_GPT2) {
        if (c->act != DART_ACT_GELU) why = "a gpt2 model there has the activation gelu";
    } else if (c->bias == DART_ALL_BIAS ||
               (c->bias == DART_QKV_BIAS) != (arch == DART_PRETRAINED_QWEN2))
        why = "of models with rotary positions only qwen2 has biases there, those of queries, keys "
              "and values";
    if (!why) return DART_OK;
    return dart_fail(
        DART_INPUT, "%s has no place in a GGUF file: %s; use --format hf", e->from, why);
}

static dart_status put_rotary(const dart_exporting *e, const writer *w)
{
    const dart_model_config *c = &e->bundle->model->config;
    const uint32_t size = dart_head_dim(c);
    char key[96];
    DART_TRY(put_u32(w, "attention.head_count_kv", c->kv_heads));
    DART_TRY(put_u32(w, "attention.key_length", size));
    DART_TRY(put_u32(w, "attention.value_length", size));
    DART_TRY(put_u32(w, "rope.dimension_count", size));
    DART_TRY(put_f32(w, "attention.layer_norm_rms_epsilon", c->norm.eps));
    DART_TRY(put_f32(w, "rope.freq_base", c->positions.base));
    if (c->positions.scaling.kind != DART_ROPE_LINEAR) return DART_OK;
    DART_TRY(dart_gguf_put_string(w->meta, key_of(w, "rope.scaling.type", key), "linear"));
    return put_f32(w, "rope.scaling.factor", c->positions.scaling.factor);
}

static dart_status describe(const dart_exporting *e, dart_pretrained_arch arch, const writer *w)
{
    const dart_model_config *c = &e->bundle->model->config;
    const bool gpt = arch == DART_PRETRAINED_GPT2;
    const uint32_t context = e->base ? dart_pretrained_config_of(e->base)->context : c->context;
    DART_TRY(dart_gguf_put_string(w->meta, "general.architecture", w->arch));
    DART_TRY(dart_gguf_put_string(w->meta, "general.type", "model"));
    DART_TRY(put_u32(w, "vocab_size", c->vocab));
    DART_TRY(put_u32(w, "context_length", context));
    DART_TRY(put_u32(w, "embedding_length", c->d_model));
    DART_TRY(put_u32(w, "block_count", c->layers));
    DART_TRY(put_u32(w, "feed_forward_length", c->d_ff));
    DART_TRY(put_u32(w, "attention.head_count", c->heads));
    return gpt ? put_f32(w, "attention.layer_norm_epsilon", c->norm.eps) : put_rotary(e, w);
}

/* What ends a turn of the chat template that a model was trained with, for llama.cpp, which else
 * knows it by its text. */
static dart_status put_turn_end(const dart_exporting *e, dart_gguf_meta *meta)
{
    static const char eot[] = "tokenizer.ggml.eot_token_id";
    int32_t id;
    DART_TRY(dart_turn_end_of(e->bundle, &id));
    return id < 0 || dart_gguf_has(meta, eot) ? DART_OK
                                              : dart_gguf_put_u32(meta, eot, (uint32_t)id);
}

static dart_status put_tokens(const dart_exporting *e, dart_gguf_meta *meta)
{
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(e->bundle->vocab);
    const dart_pretrained_config *base = e->base ? dart_pretrained_config_of(e->base) : NULL;
    static const char bos[] = "tokenizer.ggml.bos_token_id", eos[] = "tokenizer.ggml.eos_token_id";
    if (!tokenizer)
        return dart_fail(DART_INPUT,
            "%s has words or letters of its own for tokens, and a GGUF file needs a tokenizer; use "
            "--format hf, or train with --tokenizer",
            e->from);
    DART_TRY(dart_tokenizer_gguf(tokenizer, e->bundle->model->config.vocab, meta));
    if (base && base->bos >= 0 && !dart_gguf_has(meta, bos))
        DART_TRY(dart_gguf_put_u32(meta, bos, (uint32_t)base->bos));
    if (base && base->eos_count && !dart_gguf_has(meta, eos))
        DART_TRY(dart_gguf_put_u32(meta, eos, (uint32_t)base->eos[0]));
    return put_turn_end(e, meta);
}

/* llama.cpp's number of how most tensors are stored (enum llama_ftype). */
static uint32_t file_type(const dart_block_format *format)
{
    switch (format->id) {
    case DART_BLOCK_F16:
        return 1;
    case DART_BLOCK_Q4_0:
        return 2;
    case DART_BLOCK_Q8_0:
        return 7;
    case DART_BLOCK_BF16:
        return 32;
    default:
        return 0;
    }
}

dart_status dart_export_gguf_meta(const dart_exporting *e, dart_pretrained_arch arch,
    const dart_block_format *format, dart_gguf_meta *meta)
{
    const writer w = {meta, dart_export_gguf_arch(arch)};
    bool gguf = false;
    if (e->base) DART_TRY(is_gguf(e->bundle->set.base, &gguf));
    if (gguf) {
        DART_TRY(copy(e->bundle->set.base, meta));
    } else {
        DART_TRY(check(e, arch));
        DART_TRY(describe(e, arch, &w));
        DART_TRY(put_tokens(e, meta));
    }
    DART_TRY(dart_gguf_put_u32(meta, "general.file_type", file_type(format)));
    if (format->count == 1) return DART_OK;
    return dart_gguf_put_u32(meta, "general.quantization_version", 2);
}
