/* Small pretrained models for classifiers, as Hugging Face folders of our own making, and texts
 * with labels. */
#ifndef DART_CLASSIFIER_LAB_H
#define DART_CLASSIFIER_LAB_H

#include "letters.h"
#include "safetensors.h"
#include "file.h"
#include "rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { CLASSES = 3, LAB_D = 16, LAB_FF = 24, LAB_BLOCKS = 2, LAB_POSITIONS = 24, LAB_TENSORS = 64 };
enum { BERT, ROBERTA, LLAMA, MODELS };
static const char *const model_name[MODELS] = {"bert", "roberta", "llama"};

typedef struct classifier_lab {
    dart_st_write tensor[LAB_TENSORS];
    char name[LAB_TENSORS][96];
    size_t count;
} classifier_lab;

/* A matrix, or with `columns` 0 a vector: around 1 if it is the weight of a norm. */
static inline void add_tensor(classifier_lab *l, uint64_t rows, uint64_t columns,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

static inline void add_tensor(
    classifier_lab *l, uint64_t rows, uint64_t columns, const char *format, ...)
{
    const uint64_t words = rows * (columns ? columns : 1);
    float *data = malloc(words * sizeof *data);
    va_list args;
    assert_true(data && l->count < LAB_TENSORS);
    va_start(args, format);
    vsnprintf(l->name[l->count], sizeof *l->name, format, args);
    va_end(args);
    const bool norm = strstr(l->name[l->count], "orm.weight") != NULL;
    /* texts should differ more than their positions */
    const double spread =
        strstr(l->name[l->count], "word_emb") || strstr(l->name[l->count], "embed_") ? 1.5 : 0.25;
    for (uint64_t i = 0; i < words; i++)
        data[i] = (float)((norm ? 1 : 0) + spread * dart_normal(7, DART_STREAM_TEST + l->count, i));
    l->tensor[l->count] = (dart_st_write){
        .name = l->name[l->count], .rank = columns ? 2 : 1, .dim = {rows, columns}, .data = data};
    l->count++;
}

static inline void add_layer(
    classifier_lab *l, uint64_t out, uint64_t in_, const char *prefix, const char *name, bool bias)
{
    add_tensor(l, out, in_, "%s%s.weight", prefix, name);
    if (bias) add_tensor(l, out, 0, "%s%s.bias", prefix, name);
}

static inline void encoder_tensors(classifier_lab *l, int kind, uint64_t positions, bool classifier)
{
    const char *p = model_name[kind];
    char at[64];
    add_tensor(l, LETTERS_VOCAB, LAB_D, "%s.embeddings.word_embeddings.weight", p);
    add_tensor(l, positions, LAB_D, "%s.embeddings.position_embeddings.weight", p);
    add_tensor(l, kind == BERT ? 2 : 1, LAB_D, "%s.embeddings.token_type_embeddings.weight", p);
    snprintf(at, sizeof at, "%s.embeddings.", p);
    add_layer(l, LAB_D, 0, at, "LayerNorm", true);
    for (int i = 0; i < LAB_BLOCKS; i++) {
        snprintf(at, sizeof at, "%s.encoder.layer.%d.", p, i);
        add_layer(l, LAB_D, LAB_D, at, "attention.self.query", true);
        add_layer(l, LAB_D, LAB_D, at, "attention.self.key", true);
        add_layer(l, LAB_D, LAB_D, at, "attention.self.value", true);
        add_layer(l, LAB_D, LAB_D, at, "attention.output.dense", true);
        add_layer(l, LAB_D, 0, at, "attention.output.LayerNorm", true);
        add_layer(l, LAB_FF, LAB_D, at, "intermediate.dense", true);
        add_layer(l, LAB_D, LAB_FF, at, "output.dense", true);
        add_layer(l, LAB_D, 0, at, "output.LayerNorm", true);
    }
    if (kind == BERT) add_layer(l, LAB_D, LAB_D, "bert.", "pooler.dense", true);
    if (!classifier) return;
    if (kind == ROBERTA) add_layer(l, LAB_D, LAB_D, "", "classifier.dense", true);
    add_layer(l, CLASSES, LAB_D, "", kind == ROBERTA ? "classifier.out_proj" : "classifier", true);
}

static inline void llama_tensors(classifier_lab *l, bool classifier)
{
    char at[64];
    add_tensor(l, LETTERS_VOCAB, LAB_D, "model.embed_tokens.weight");
    add_tensor(l, LAB_D, 0, "model.norm.weight");
    for (int i = 0; i < LAB_BLOCKS; i++) {
        snprintf(at, sizeof at, "model.layers.%d.", i);
        add_layer(l, LAB_D, 0, at, "input_layernorm", false);
        add_layer(l, LAB_D, LAB_D, at, "self_attn.q_proj", false);
        add_layer(l, LAB_D / 2, LAB_D, at, "self_attn.k_proj", false);
        add_layer(l, LAB_D / 2, LAB_D, at, "self_attn.v_proj", false);
        add_layer(l, LAB_D, LAB_D, at, "self_attn.o_proj", false);
        add_layer(l, LAB_D, 0, at, "post_attention_layernorm", false);
        add_layer(l, LAB_FF, LAB_D, at, "mlp.gate_proj", false);
        add_layer(l, LAB_FF, LAB_D, at, "mlp.up_proj", false);
        add_layer(l, LAB_D, LAB_FF, at, "mlp.down_proj", false);
    }
    if (classifier)
        add_layer(l, CLASSES, LAB_D, "", "score", false);
    else
        add_tensor(l, LETTERS_VOCAB, LAB_D, "lm_head.weight");
}

/* config.json, model.safetensors and tokenizer.json of a model, with its classifier or without. */
static inline void write_model(const char *dir, int kind, bool classifier)
{
    classifier_lab *l = calloc(1, sizeof *l);
    char config[1024], path[512], *data, labels[160];
    size_t size;
    const uint64_t positions = LAB_POSITIONS + (kind == ROBERTA ? 2 : 0);
    assert_non_null(l);
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    snprintf(labels, sizeof labels,
        "\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"},\"label2id\":{\"a\":0,\"b\":1,\"c\":2}"
        ",");
    snprintf(config, sizeof config,
        "{\"model_type\":\"%s\",\"hidden_size\":%d,\"intermediate_size\":%d,"
        "\"num_hidden_layers\":%d,\"num_attention_heads\":2,\"max_position_embeddings\":%d,"
        "\"vocab_size\":%d,%s%s}",
        model_name[kind], LAB_D, LAB_FF, LAB_BLOCKS, (int)positions, LETTERS_VOCAB, labels,
        kind == LLAMA  ? "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-5,\"num_key_value_heads\":1,"
                         "\"tie_word_embeddings\":false,\"pad_token_id\":0"
        : kind == BERT ? "\"hidden_act\":\"gelu\",\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,"
                         "\"pad_token_id\":0"
                       : "\"hidden_act\":\"gelu\",\"type_vocab_size\":1,\"layer_norm_eps\":1e-5,"
                         "\"pad_token_id\":1");
    if (kind == LLAMA)
        llama_tensors(l, classifier);
    else
        encoder_tensors(l, kind, positions, classifier);
    assert_int_equal(dart_safetensors_pack(l->tensor, l->count, &data, &size), DART_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(dart_file_write_sync(path, data, size), DART_OK);
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_int_equal(dart_file_write_sync(path, config, strlen(config)), DART_OK);
    assert_int_equal(write_letters(dir, kind == ROBERTA), DART_OK);
    for (size_t i = 0; i < l->count; i++) free((void *)(uintptr_t)l->tensor[i].data);
    free(data);
    free(l);
}

/* Texts of letters from one third of the alphabet, which is the label: 60 to train on, 12 and 12.
 */
static inline void write_texts(const char *dir)
{
    static const char *const names[] = {"train", "valid", "test"}, *const label[] = {
                                                                       "low", "mid", "top"};
    char path[512];
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    for (int n = 0; n < 3; n++) {
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, names[n]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (uint32_t i = 0; i < (n ? 12 : 60); i++) {
            uint32_t w[4];
            dart_philox(3, DART_STREAM_TEST + (uint64_t)n, i, w);
            const uint32_t third = w[3] % 3;
            fprintf(f, "{\"text\": \"");
            for (uint32_t k = 0; k < 3 + w[0] % 4; k++)
                fprintf(f, "%c ", (int)('a' + 9 * third + (w[1] >> 4 * k) % (third < 2 ? 9 : 8)));
            fprintf(f, "\", \"label\": \"%s\"%s}\n", label[third],
                i % 3 ? "" : ", \"text_pair\": \"a z\"");
        }
        assert_int_equal(fclose(f), 0);
    }
}

#endif
