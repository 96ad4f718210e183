/* Small models with known numbers, written as each kind of file by code that shares nothing with
 * the readers. */
#ifndef MODEL_FILES_H
#define MODEL_FILES_H

#include "file.h"
#include "gguf_bytes.h"
#include "pretrained.h"
#include "rng.h"
#include "safetensors.h"
#include <stdarg.h>
#include <stdio.h>

enum { LAYERS = 2, D = 64, HEADS = 4, KV = 2, SIZE = 16, FF = 96, VOCAB = 40, CONTEXT = 24 };

/* Element (row, column) of the model's tensor `ours`. */
static inline float number_of(const char *ours, uint64_t row, uint64_t column)
{
    uint64_t seed = 1469598103934665603u;
    for (const char *c = ours; *c; c++) seed = (seed ^ (uint8_t)*c) * 1099511628211u;
    return (float)dart_normal(seed, DART_STREAM_TEST, row << 20 | column);
}

typedef struct lab_tensor {
    char ours[64], theirs[96];
    uint64_t rows, columns; /* of ours; 0 columns: a vector */
    uint64_t dim[2];        /* in the file, outermost first */
    uint32_t rank;
    float *data; /* in the file's order */
} lab_tensor;

/* Tensors of a file. A fused one stands for several of ours: its parts are added one by one. */
typedef struct lab {
    lab_tensor tensor[80];
    uint32_t count;
} lab;

static inline void lab_free(lab *l)
{
    for (uint32_t i = 0; i < l->count; i++) free(l->tensor[i].data);
    l->count = 0;
}

static inline lab_tensor *lab_find(lab *l, const char *theirs)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (!strcmp(l->tensor[i].theirs, theirs)) return &l->tensor[i];
    return NULL;
}

/* Where row `row` stands if pairs of rotary positions lie side by side: llama2.c, GGUF of llama. */
static inline uint64_t paired_row(uint64_t row)
{
    uint64_t head = row / SIZE, at = row % SIZE;
    return head * SIZE + (at < SIZE / 2 ? 2 * at : 2 * (at - SIZE / 2) + 1);
}

enum { PLAIN, PAIRED, TURNED };
static inline void lab_add(
    lab *l, int how, uint64_t rows, uint64_t columns, const char *ours, const char *theirs)
{
    lab_tensor *t = &l->tensor[l->count++];
    const uint64_t wide = columns ? columns : 1;
    snprintf(t->ours, sizeof t->ours, "%s", ours);
    snprintf(t->theirs, sizeof t->theirs, "%s", theirs);
    t->rows = rows;
    t->columns = columns;
    t->rank = columns ? 2 : 1;
    t->dim[0] = how == TURNED ? columns : rows;
    t->dim[1] = how == TURNED ? rows : columns;
    t->data = calloc(rows * wide, sizeof *t->data);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < wide; c++) {
            const uint64_t at =
                how == TURNED ? c * rows + r : (how == PAIRED ? paired_row(r) : r) * wide + c;
            t->data[at] = number_of(ours, r, c);
        }
}

/* Names with a number: "%u" stands for the layer. */
static inline void lab_layer(lab *l, int how, uint64_t rows, uint64_t columns, unsigned layer,
    const char *ours, const char *theirs)
{
    char mine[64], file[96];
    const char *at = strstr(theirs, "%u");
    snprintf(mine, sizeof mine, "blocks.%u.%s", layer, ours);
    snprintf(file, sizeof file, "%.*s%u%s", (int)(at - theirs), theirs, layer, at + 2);
    lab_add(l, how, rows, columns, mine, file);
}

/* ---- Hugging Face ---- */

static const char llama_config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"hidden_act\":\"silu\",\"max_position_embeddings\":24,\"rms_norm_eps\":1e-05,"
    "\"tie_word_embeddings\":false,\"vocab_size\":40,\"bos_token_id\":1,\"eos_token_id\":[2,3],"
    "\"rope_theta\":500000,\"attention_bias\":false,\"architectures\":[\"LlamaForCausalLM\"],"
    "\"_name_or_path\":\"x\"}";

static inline void lab_llama(lab *l, bool head)
{
    static const struct {
        const char *ours, *theirs;
        uint64_t rows, columns;
    } parts[] = {{"attn.q", "self_attn.q_proj", D, D}, {"attn.k", "self_attn.k_proj", KV * SIZE, D},
        {"attn.v", "self_attn.v_proj", KV * SIZE, D}, {"attn.o", "self_attn.o_proj", D, D},
        {"mlp.gate", "mlp.gate_proj", FF, D}, {"mlp.up", "mlp.up_proj", FF, D},
        {"mlp.down", "mlp.down_proj", D, FF}, {"norm1.weight", "input_layernorm", D, 0},
        {"norm2.weight", "post_attention_layernorm", D, 0}};
    lab_add(l, PLAIN, VOCAB, D, "tok_emb", "model.embed_tokens.weight");
    lab_add(l, PLAIN, D, 0, "norm_f.weight", "model.norm.weight");
    for (unsigned i = 0; i < LAYERS; i++)
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            char theirs[96];
            snprintf(theirs, sizeof theirs, "model.layers.%%u.%s.weight", parts[k].theirs);
            lab_layer(l, PLAIN, parts[k].rows, parts[k].columns, i, parts[k].ours, theirs);
        }
    if (head) lab_add(l, PLAIN, VOCAB, D, "head", "lm_head.weight");
}

/* Tensors number begin to end - 1 as one file. */
static inline void lab_save(const lab *l, uint32_t begin, uint32_t end, const char *path)
{
    dart_st_write list[80];
    char *data;
    size_t size;
    for (uint32_t i = begin; i < end; i++) {
        const lab_tensor *t = &l->tensor[i];
        list[i - begin] = (dart_st_write){t->theirs, t->rank, {t->dim[0], t->dim[1]}, t->data};
    }
    if (dart_safetensors_pack(list, end - begin, &data, &size) != DART_OK ||
        dart_file_write_atomic(path, data, size) != DART_OK)
        abort();
    free(data);
}

/* ---- GGUF ---- */

/* The metadata of a llama; put_head comes before, with LLAMA_VALUES and what is added. */
enum { LLAMA_VALUES = 12 };
static inline void put_llama_values(gguf_bytes *b)
{
    put_string(b, "general.architecture", "llama");
    put_u32(b, "llama.block_count", LAYERS);
    put_u32(b, "llama.context_length", CONTEXT);
    put_u32(b, "llama.embedding_length", D);
    put_u32(b, "llama.feed_forward_length", FF);
    put_u32(b, "llama.attention.head_count", HEADS);
    put_u32(b, "llama.attention.head_count_kv", KV);
    put_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_f32(b, "llama.rope.freq_base", 500000);
    put_u32(b, "llama.rope.dimension_count", SIZE);
    put_u32(b, "tokenizer.ggml.bos_token_id", 1);
    put_u32(b, "tokenizer.ggml.eos_token_id", 2);
}

static inline void lab_llama_gguf(lab *l, bool head)
{
    static const struct {
        const char *ours, *theirs;
        uint64_t rows, columns;
        int how;
    } parts[] = {{"attn.q", "attn_q", D, D, PAIRED}, {"attn.k", "attn_k", KV * SIZE, D, PAIRED},
        {"attn.v", "attn_v", KV * SIZE, D, PLAIN}, {"attn.o", "attn_output", D, D, PLAIN},
        {"mlp.gate", "ffn_gate", FF, D, PLAIN}, {"mlp.up", "ffn_up", FF, D, PLAIN},
        {"mlp.down", "ffn_down", D, FF, PLAIN}, {"norm1.weight", "attn_norm", D, 0, PLAIN},
        {"norm2.weight", "ffn_norm", D, 0, PLAIN}};
    lab_add(l, PLAIN, VOCAB, D, "tok_emb", "token_embd.weight");
    lab_add(l, PLAIN, D, 0, "norm_f.weight", "output_norm.weight");
    for (unsigned i = 0; i < LAYERS; i++)
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            char theirs[96];
            snprintf(theirs, sizeof theirs, "blk.%%u.%s.weight", parts[k].theirs);
            lab_layer(l, parts[k].how, parts[k].rows, parts[k].columns, i, parts[k].ours, theirs);
        }
    if (head) lab_add(l, PLAIN, VOCAB, D, "head", "output.weight");
}

/* Tensor entries and data; matrices in the format `kind`. */
static inline void put_lab(gguf_bytes *b, const lab *l, dart_block_id kind)
{
    uint64_t at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < l->count; i++) {
            const lab_tensor *t = &l->tensor[i];
            const dart_block_format *format =
                dart_block_format_of(t->rank == 2 ? kind : DART_BLOCK_F32);
            const uint64_t columns = t->rank == 2 ? t->dim[1] : t->dim[0];
            const uint64_t rows = t->rank == 2 ? t->dim[0] : 1;
            uint64_t bytes;
            if (!dart_block_bytes(format, rows, columns, &bytes)) abort();
            if (pass == 0) {
                const uint64_t dims[] = {columns, t->rank == 2 ? rows : 0, 0};
                put_tensor(b, t->theirs, (uint32_t)format->ggml, dims, at);
                at += dart_round_up(bytes, 32);
                continue;
            }
            uint8_t *data = malloc((size_t)bytes);
            if (dart_blocks_encode(format, t->data, rows * columns, "lab", data) != DART_OK)
                abort();
            put_bytes(b, data, (size_t)bytes);
            put_padding(b, 32);
            free(data);
        }
        put_padding(b, 32);
    }
}

/* ---- llama2.c ---- */

static inline void put_all(gguf_bytes *b, const lab *l, const char *const *ours, size_t count)
{
    for (size_t k = 0; k < count; k++)
        for (uint32_t i = 0; i < l->count; i++) {
            const char *name = l->tensor[i].ours, *point = strchr(name, '.');
            const bool layer = !strncmp(name, "blocks.", 7);
            if (strcmp(layer ? strchr(point + 1, '.') + 1 : name, ours[k])) continue;
            put_bytes(b, l->tensor[i].data,
                4 * (size_t)(l->tensor[i].rows *
                             (l->tensor[i].columns ? l->tensor[i].columns : 1)));
        }
}

/* version 0: legacy. Of the same tensors as a GGUF file. */
static inline gguf_bytes llama2c_file(const lab *l, int version, bool head)
{
    static const char *const legacy[] = {"tok_emb", "norm1.weight", "attn.q", "attn.k", "attn.v",
        "attn.o", "norm2.weight", "mlp.gate", "mlp.down", "mlp.up", "norm_f.weight"};
    static const char *const first[] = {"norm1.weight", "norm2.weight", "norm_f.weight", "tok_emb",
        "attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.down", "mlp.up", "head"};
    static const char *const last[] = {"head"};
    const int32_t sizes[] = {D, FF, LAYERS, HEADS, KV, head && !version ? -VOCAB : VOCAB, CONTEXT};
    gguf_bytes b = {0};
    if (version) put_word(&b, 0x616b3432, 4), put_word(&b, (uint64_t)version, 4);
    for (int i = 0; i < 7; i++) put_word(&b, (uint32_t)sizes[i], 4);
    if (version) {
        put_word(&b, !head, 1);
        put_padding(&b, 256);
        put_all(&b, l, first, 12);
        return b;
    }
    put_all(&b, l, legacy, 11);
    for (int i = 0; i < CONTEXT * SIZE; i++) put_word(&b, 0x7fc00000, 4); /* never read */
    put_all(&b, l, last, 1);
    return b;
}

#endif
