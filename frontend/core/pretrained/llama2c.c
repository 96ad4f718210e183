/* Checkpoints of llama2.c (Karpathy), legacy and version 1: a few numbers, then all weights as f32
 * in a fixed order, those of all layers one after the other. */
#include "pretrained_impl.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LEGACY_HEAD = 28, HEAD = 256, MAGIC = 0x616b3432 };

/* Where the next tensor begins. */
typedef struct cursor {
    dart_pretrained *model;
    uint64_t at; /* bytes */
} cursor;

static uint32_t word_at(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The next tensor of (rows, columns), a vector where columns is 0; where `layered` one for each
 * layer, named <layer>.<name>. */
static dart_status next(cursor *c, const char *name, bool layered, uint64_t rows, uint64_t columns)
{
    dart_pretrained *model = c->model;
    const uint64_t bytes = 4 * rows * (columns ? columns : 1);
    const uint32_t count = layered ? model->config.layers : 1;
    for (uint32_t i = 0; i < count; i++) {
        if (bytes > model->map.size - c->at)
            return dart_fail(DART_INPUT,
                "%s: the llama2.c checkpoint ends inside %s; it is truncated, or its head does not "
                "belong to it",
                model->path, name);
        pretrained_source *source = &model->source[model->sources++];
        source->name = layered ? dart_arena_printf(&model->arena, "%u.%s", i, name) : name;
        if (!source->name) return DART_MEMORY;
        source->format = dart_block_format_of(DART_BLOCK_F32);
        source->type = source->format->name;
        source->rank = columns ? 2 : 1;
        source->dim[0] = rows;
        source->dim[1] = columns;
        source->data = model->map.data + c->at;
        c->at += bytes;
    }
    return DART_OK;
}

static dart_status list_legacy(cursor *c)
{
    const dart_pretrained_config *f = &c->model->config;
    const uint64_t kv = (uint64_t)f->kv_heads * f->head_dim;
    DART_TRY(next(c, "token_embedding", false, f->vocab, f->d_model));
    DART_TRY(next(c, "rms_att", true, f->d_model, 0));
    DART_TRY(next(c, "wq", true, f->d_model, f->d_model));
    DART_TRY(next(c, "wk", true, kv, f->d_model));
    DART_TRY(next(c, "wv", true, kv, f->d_model));
    DART_TRY(next(c, "wo", true, f->d_model, f->d_model));
    DART_TRY(next(c, "rms_ffn", true, f->d_model, 0));
    DART_TRY(next(c, "w1", true, f->d_ff, f->d_model));
    DART_TRY(next(c, "w2", true, f->d_model, f->d_ff));
    DART_TRY(next(c, "w3", true, f->d_ff, f->d_model));
    DART_TRY(next(c, "rms_final", false, f->d_model, 0));
    /* cosines and sines, which the positions give */
    DART_TRY(next(c, "freq_cis_real", false, f->context, f->head_dim / 2));
    DART_TRY(next(c, "freq_cis_imag", false, f->context, f->head_dim / 2));
    return f->tied ? DART_OK : next(c, "wcls", false, f->vocab, f->d_model);
}

static dart_status list_version_1(cursor *c)
{
    const dart_pretrained_config *f = &c->model->config;
    const uint64_t kv = (uint64_t)f->kv_heads * f->head_dim;
    DART_TRY(next(c, "rms_att", true, f->d_model, 0));
    DART_TRY(next(c, "rms_ffn", true, f->d_model, 0));
    DART_TRY(next(c, "rms_final", false, f->d_model, 0));
    DART_TRY(next(c, "token_embedding", false, f->vocab, f->d_model));
    DART_TRY(next(c, "wq", true, f->d_model, f->d_model));
    DART_TRY(next(c, "wk", true, kv, f->d_model));
    DART_TRY(next(c, "wv", true, kv, f->d_model));
    DART_TRY(next(c, "wo", true, f->d_model, f->d_model));
    DART_TRY(next(c, "w1", true, f->d_ff, f->d_model));
    DART_TRY(next(c, "w2", true, f->d_model, f->d_ff));
    DART_TRY(next(c, "w3", true, f->d_ff, f->d_model));
    return f->tied ? DART_OK : next(c, "wcls", false, f->vocab, f->d_model);
}

static dart_status none(const dart_pretrained *model)
{
    return dart_fail(DART_INPUT,
        "%s: no model that can be read; a Hugging Face folder, a GGUF file or a llama2.c "
        "checkpoint "
        "is needed",
        model->path);
}

/* The seven numbers; `vocab` below 0: the head is no embedding (legacy). */
static dart_status read_sizes(dart_pretrained *model, const uint8_t *at, bool legacy)
{
    dart_pretrained_config *c = &model->config;
    uint32_t *const size[] = {
        &c->d_model, &c->d_ff, &c->layers, &c->heads, &c->kv_heads, &c->vocab, &c->context};
    for (int i = 0; i < 7; i++) *size[i] = word_at(at + 4 * i);
    if (legacy) {
        c->tied = c->vocab <= INT32_MAX;
        if (!c->tied) c->vocab = 0u - c->vocab;
        /* Nothing marks such a file: numbers that cannot be say that it is none. */
        if (!c->heads || c->d_model % c->heads || c->layers > 4096) return none(model);
    }
    if (!c->heads || c->d_model % c->heads)
        return dart_fail(DART_INPUT, "%s: a width of %u is no multiple of %u heads", model->path,
            c->d_model, c->heads);
    c->head_dim = c->d_model / c->heads;
    c->arch = DART_PRETRAINED_LLAMA;
    c->rms_norm = true;
    c->norm_eps = 1e-5;
    c->rope.base = 10000;
    c->bos = 1;
    c->eos[c->eos_count++] = 2;
    return dart_pretrained_check(model);
}

#define ENTRIES(table) table, sizeof(table) / sizeof *(table)

static const pretrained_entry whole[] = {
    {"tok_emb", "token_embedding", PRETRAINED_VOCAB, PRETRAINED_D},
    {"norm_f.weight", "rms_final", PRETRAINED_D}};
static const pretrained_entry layer[] = {{"norm1.weight", "rms_att", PRETRAINED_D},
    {"norm2.weight", "rms_ffn", PRETRAINED_D},
    {"attn.q", "wq", PRETRAINED_Q, PRETRAINED_D, .lies = PRETRAINED_IN_PAIRS},
    {"attn.k", "wk", PRETRAINED_KV, PRETRAINED_D, .lies = PRETRAINED_IN_PAIRS},
    {"attn.v", "wv", PRETRAINED_KV, PRETRAINED_D}, {"attn.o", "wo", PRETRAINED_D, PRETRAINED_Q},
    {"mlp.gate", "w1", PRETRAINED_FF, PRETRAINED_D},
    {"mlp.down", "w2", PRETRAINED_D, PRETRAINED_FF}, {"mlp.up", "w3", PRETRAINED_FF, PRETRAINED_D}};

dart_status dart_pretrained_open_llama2c(dart_pretrained *model)
{
    const uint8_t *data = model->map.data;
    const bool legacy = model->map.size < 8 || word_at(data) != MAGIC;
    cursor c = {model, legacy ? LEGACY_HEAD : HEAD};
    if (model->map.size < c.at) return none(model);
    if (!legacy && word_at(data + 4) != 1)
        return dart_fail(DART_INPUT,
            "%s: a llama2.c checkpoint of version %u; the legacy one and version 1 are read "
            "(export "
            "it with --version 1)",
            model->path, word_at(data + 4));
    DART_TRY(read_sizes(model, data + (legacy ? 0 : 8), legacy));
    if (!legacy && data[36] > 1)
        return dart_fail(DART_INPUT,
            "%s: the byte that says whether the head is shared is %u; 0 or "
            "1 is needed",
            model->path, data[36]);
    if (!legacy) model->config.tied = data[36];
    DART_TRY(dart_pretrained_sources(model, 10 * (uint64_t)model->config.layers + 6));
    model->sources = 0;
    DART_TRY(legacy ? list_legacy(&c) : list_version_1(&c));
    if (c.at != model->map.size)
        return dart_fail(DART_INPUT,
            "%s: the llama2.c checkpoint has %zu bytes, by its head it has %" PRIu64, model->path,
            model->map.size, c.at);
    dart_pretrained_sources_sort(model);
    dart_pretrained_skip(model, "freq_cis_real");
    dart_pretrained_skip(model, "freq_cis_imag");
    DART_TRY(dart_pretrained_take(model, "", ENTRIES(whole)));
    DART_TRY(dart_pretrained_take_layers(model, "", ENTRIES(layer)));
    return dart_pretrained_head(model, "wcls", "token_embedding");
}
