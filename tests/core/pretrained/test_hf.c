/* Hugging Face folders: settings, and every number of every tensor where it belongs. */
#include "model_check.h"
#include <sys/resource.h>

static void test_hf_llama(void **state)
{
    (void)state;
    lab l = {0};
    lab_llama(&l, true);
    put_config(llama_config);
    lab_save(&l, 0, l.count, path_of("model.safetensors"));
    dart_pretrained *model = opened(folder);
    check_llama(model, TENSORS + 1);
    const dart_pretrained_config *c = dart_pretrained_config_of(model);
    assert_true(!c->tied && c->rope.base == 500000 && c->eos_count == 2 && c->eos[1] == 3);
    compare(model, &l, 7, 0);
    const dart_pretrained_tensor *q = dart_pretrained_find(model, "blocks.1.attn.q");
    assert_string_equal(q->source, "model.layers.1.self_attn.q_proj.weight");
    assert_true(q->format->id == DART_BLOCK_F32 && q->stride == 4 * D && !q->pairs);
    float x[D];
    assert_int_equal(dart_pretrained_read(model, "blocks.1.attn.q", D, 0, x), DART_OK);
    assert_int_equal(dart_pretrained_read(model, "blocks.1.attn.q", D, 1, x), DART_INPUT);
    assert_int_equal(dart_pretrained_read(model, "blocks.1.attn.q", UINT64_MAX, 2, x), DART_INPUT);
    assert_int_equal(dart_pretrained_read(model, "blocks.2.attn.q", 0, 1, x), DART_INPUT);
    dart_pretrained_close(model);
    /* in two shards; the head is another name for the embedding */
    char index[8192] = "{\"weight_map\":{";
    lab_tensor *head = lab_find(&l, "lm_head.weight");
    memcpy(head->data, lab_find(&l, "model.embed_tokens.weight")->data, 4 * VOCAB * D);
    for (uint32_t i = 0; i < l.count; i++)
        snprintf(index + strlen(index), sizeof index - strlen(index), "%s\"%s\":\"part-%d\"",
            i ? "," : "", l.tensor[i].theirs, i >= 9);
    strcat(index, "}}");
    put_config(llama_config);
    put_file("model.safetensors.index.json", index, strlen(index));
    lab_save(&l, 0, 9, path_of("part-0"));
    lab_save(&l, 9, l.count, path_of("part-1"));
    put_file("generation_config.json", "{\"eos_token_id\":[3,5,99]}", 25);
    model = opened(folder);
    check_llama(model, TENSORS);
    c = dart_pretrained_config_of(model);
    /* 99 is no token of the vocabulary */
    assert_true(c->tied && c->eos_count == 3 && c->eos[2] == 5);
    compare(model, &l, 100, 0);
    dart_pretrained_close(model);
    lab_free(&l);
}

/* Without the prefix that models with a head have, tied, with positions of each kind. */
static void test_hf_variants(void **state)
{
    (void)state;
    static const struct {
        const char *rope;
        dart_pretrained_scaling scaling;
        double base, factor;
    } ropes[] = {{"\"rope_scaling\":null", DART_PRETRAINED_PLAIN, 10000, 0},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5},\"rope_theta\":5e3",
            DART_PRETRAINED_LINEAR, 5000, 2.5},
        {"\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,"
         "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192},\"rope_theta\":5e5",
            DART_PRETRAINED_LLAMA3, 5e5, 32},
        {"\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6}",
            DART_PRETRAINED_PLAIN, 1e6, 0}};
    lab l = {0};
    lab_llama(&l, false);
    for (uint32_t i = 0; i < l.count; i++) { /* "model." */
        char *name = l.tensor[i].theirs;
        memmove(name, name + 6, strlen(name) - 5);
    }
    lab_add(&l, PLAIN, SIZE / 2, 0, "-", "layers.0.self_attn.rotary_emb.inv_freq");
    for (size_t i = 0; i < sizeof ropes / sizeof *ropes; i++) {
        char config[1024];
        snprintf(config, sizeof config,
            "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,"
            "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
            "\"hidden_act\":\"silu\",\"max_position_embeddings\":24,\"rms_norm_eps\":1e-05,"
            "\"tie_word_embeddings\":true,\"vocab_size\":40,\"bos_token_id\":1,\"eos_token_id\":2,"
            "\"head_dim\":16,%s}",
            ropes[i].rope);
        put_config(config);
        lab_save(&l, 0, l.count, path_of("model.safetensors"));
        dart_pretrained *model = opened(folder);
        const dart_pretrained_rope *rope = &dart_pretrained_config_of(model)->rope;
        assert_true(dart_pretrained_config_of(model)->tied);
        assert_true(rope->scaling == ropes[i].scaling && rope->base == ropes[i].base);
        assert_true(rope->factor == ropes[i].factor);
        if (rope->scaling == DART_PRETRAINED_LLAMA3)
            assert_true(rope->low == 1 && rope->high == 4 && rope->original_context == 8192);
        compare(model, &l, 11, 0);
        dart_pretrained_close(model);
    }
    lab_free(&l);
}

static void test_hf_gpt2(void **state)
{
    (void)state;
    static const char config[] =
        "{\"model_type\":\"gpt2\",\"n_embd\":64,\"n_layer\":2,\"n_head\":4,\"n_positions\":24,"
        "\"n_inner\":null,\"activation_function\":\"gelu_new\",\"layer_norm_epsilon\":1e-05,"
        "\"vocab_size\":40,\"bos_token_id\":50256,\"eos_token_id\":39,\"n_ctx\":24}";
    lab l = {0};
    lab_add(&l, PLAIN, VOCAB, D, "tok_emb", "wte.weight");
    lab_add(&l, PLAIN, CONTEXT, D, "pos_emb.weight", "wpe.weight");
    lab_add(&l, PLAIN, D, 0, "norm_f.weight", "ln_f.weight");
    lab_add(&l, PLAIN, D, 0, "norm_f.bias", "ln_f.bias");
    for (unsigned i = 0; i < LAYERS; i++) {
        lab_layer(&l, PLAIN, D, 0, i, "norm1.weight", "h.%u.ln_1.weight");
        lab_layer(&l, PLAIN, D, 0, i, "norm1.bias", "h.%u.ln_1.bias");
        lab_layer(&l, PLAIN, D, 0, i, "norm2.weight", "h.%u.ln_2.weight");
        lab_layer(&l, PLAIN, D, 0, i, "norm2.bias", "h.%u.ln_2.bias");
        lab_layer(&l, TURNED, D, D, i, "attn.o", "h.%u.attn.c_proj.weight");
        lab_layer(&l, PLAIN, D, 0, i, "attn.o.bias", "h.%u.attn.c_proj.bias");
        lab_layer(&l, TURNED, 4 * D, D, i, "mlp.up", "h.%u.mlp.c_fc.weight");
        lab_layer(&l, PLAIN, 4 * D, 0, i, "mlp.up.bias", "h.%u.mlp.c_fc.bias");
        lab_layer(&l, TURNED, D, 4 * D, i, "mlp.down", "h.%u.mlp.c_proj.weight");
        lab_layer(&l, PLAIN, D, 0, i, "mlp.down.bias", "h.%u.mlp.c_proj.bias");
        lab_layer(&l, PLAIN, 1, 0, i, "mask", "h.%u.attn.masked_bias");
        lab_layer(&l, PLAIN, CONTEXT, CONTEXT, i, "mask", "h.%u.attn.bias");
        /* q, k and v side by side in (in, 3 out) */
        lab_layer(&l, TURNED, 3 * D, D, i, "fused", "h.%u.attn.c_attn.weight");
        lab_layer(&l, PLAIN, 3 * D, 0, i, "fused.bias", "h.%u.attn.c_attn.bias");
        lab_tensor *bias = &l.tensor[l.count - 1], *weight = bias - 1;
        for (uint64_t r = 0; r < 3 * D; r++) {
            char name[64];
            snprintf(name, sizeof name, "blocks.%u.attn.%c", i, "qkv"[r / D]);
            for (uint64_t c = 0; c < D; c++)
                weight->data[c * 3 * D + r] = number_of(name, r % D, c);
            strcat(name, ".bias");
            bias->data[r] = number_of(name, r % D, 0);
        }
    }
    put_config(config);
    lab_save(&l, 0, l.count, path_of("model.safetensors"));
    dart_pretrained *model = opened(folder);
    const dart_pretrained_config *c = dart_pretrained_config_of(model);
    assert_int_equal(c->arch, DART_PRETRAINED_GPT2);
    assert_true(c->tied && c->d_ff == 4 * D && c->act == DART_PRETRAINED_GELU_TANH);
    assert_true(c->bias == DART_PRETRAINED_ALL_BIAS && c->rope.base == 0 && !c->rms_norm);
    assert_true(c->bos == -1 && c->eos_count == 1 && c->eos[0] == 39 && c->head_dim == SIZE);
    assert_true(dart_pretrained_find(model, "blocks.0.mlp.up")->transposed);
    for (uint32_t i = 0; i < l.count; i++) /* now as the parts that they are */
        if (strstr(l.tensor[i].ours, "fused")) {
            lab_tensor *t = &l.tensor[i];
            t->rows = D;
            snprintf(t->ours, sizeof t->ours, "blocks.%c.attn.q%s", t->ours[7],
                t->columns ? "" : ".bias");
        }
    for (unsigned i = 0; i < LAYERS; i++) {
        lab_layer(&l, PLAIN, D, D, i, "attn.k", "%u");
        lab_layer(&l, PLAIN, D, 0, i, "attn.k.bias", "%u");
        lab_layer(&l, PLAIN, D, D, i, "attn.v", "%u");
        lab_layer(&l, PLAIN, D, 0, i, "attn.v.bias", "%u");
    }
    compare(model, &l, 5, 0);
    compare(model, &l, 1000, 0); /* more than the blocks that columns are read in */
    dart_pretrained_close(model);
    lab_free(&l);
}

/* As BERT's first files name norms; and RoBERTa with its classifier. */
static void test_hf_bert(void **state)
{
    (void)state;
    static const struct {
        const char *ours, *theirs;
        uint64_t rows, columns;
    } parts[] = {{"attn.q", "attention.self.query", D, D}, {"attn.k", "attention.self.key", D, D},
        {"attn.v", "attention.self.value", D, D}, {"attn.o", "attention.output.dense", D, D},
        {"mlp.up", "intermediate.dense", FF, D}, {"mlp.down", "output.dense", D, FF}};
    for (int roberta = 0; roberta < 2; roberta++) {
        lab l = {0};
        char config[600];
        const uint64_t context = CONTEXT + 2 * (unsigned)roberta;
        snprintf(config, sizeof config,
            "{\"model_type\":\"%s\",\"hidden_size\":64,\"intermediate_size\":96,"
            "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"hidden_act\":\"gelu\","
            "\"max_position_embeddings\":%u,\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,"
            "\"vocab_size\":40,\"position_embedding_type\":\"absolute\"}",
            roberta ? "roberta" : "bert", (unsigned)context);
        lab_add(&l, PLAIN, VOCAB, D, "tok_emb", "embeddings.word_embeddings.weight");
        lab_add(&l, PLAIN, context, D, "pos_emb.weight", "embeddings.position_embeddings.weight");
        lab_add(&l, PLAIN, 2, D, "type_emb.weight", "embeddings.token_type_embeddings.weight");
        lab_add(&l, PLAIN, D, 0, "norm_emb.weight",
            roberta ? "embeddings.LayerNorm.weight" : "embeddings.LayerNorm.gamma");
        lab_add(&l, PLAIN, D, 0, "norm_emb.bias",
            roberta ? "embeddings.LayerNorm.bias" : "embeddings.LayerNorm.beta");
        lab_add(&l, PLAIN, context, 0, "-", "embeddings.position_ids");
        lab_add(&l, PLAIN, D, D, roberta ? "-" : "pooler", "pooler.dense.weight");
        lab_add(&l, PLAIN, D, 0, roberta ? "-" : "pooler.bias", "pooler.dense.bias");
        for (unsigned i = 0; i < LAYERS; i++) {
            char name[96];
            for (size_t k = 0; k < 6; k++) {
                char bias[32];
                snprintf(name, sizeof name, "encoder.layer.%%u.%s.weight", parts[k].theirs);
                lab_layer(&l, PLAIN, parts[k].rows, parts[k].columns, i, parts[k].ours, name);
                snprintf(name, sizeof name, "encoder.layer.%%u.%s.bias", parts[k].theirs);
                snprintf(bias, sizeof bias, "%s.bias", parts[k].ours);
                lab_layer(&l, PLAIN, parts[k].rows, 0, i, bias, name);
            }
            for (int k = 0; k < 4; k++) {
                static const char *const kinds[2][2] = {{"gamma", "beta"}, {"weight", "bias"}};
                char ours[32];
                snprintf(ours, sizeof ours, "norm%d.%s", 1 + k / 2, kinds[1][k % 2]);
                snprintf(name, sizeof name, "encoder.layer.%%u.%soutput.LayerNorm.%s",
                    k < 2 ? "attention." : "", kinds[roberta][k % 2]);
                lab_layer(&l, PLAIN, D, 0, i, ours, name);
            }
        }
        for (uint32_t i = 0; i < l.count;
             i++) { /* BERT's files have no prefix here, RoBERTa's do */
            char with[96];
            snprintf(with, sizeof with, "roberta.%.80s", l.tensor[i].theirs);
            if (roberta) strcpy(l.tensor[i].theirs, with);
        }
        if (roberta) {
            lab_add(&l, PLAIN, D, D, "pooler", "classifier.dense.weight");
            lab_add(&l, PLAIN, D, 0, "pooler.bias", "classifier.dense.bias");
            lab_add(&l, PLAIN, 3, D, "classifier", "classifier.out_proj.weight");
            lab_add(&l, PLAIN, 3, 0, "classifier.bias", "classifier.out_proj.bias");
        } else {
            lab_add(&l, PLAIN, VOCAB, 0, "-", "cls.predictions.bias");
        }
        put_config(config);
        lab_save(&l, 0, l.count, path_of("model.safetensors"));
        dart_pretrained *model = opened(folder);
        const dart_pretrained_config *c = dart_pretrained_config_of(model);
        assert_true(c->post_norm && c->pooler && c->token_types == 2 && c->context == CONTEXT);
        assert_true(c->first_position == (roberta ? 2 : 0) && c->labels == (roberta ? 3 : 0));
        assert_true(c->act == DART_PRETRAINED_GELU_ERF && c->bias == DART_PRETRAINED_ALL_BIAS);
        compare(model, &l, 9, 0);
        dart_pretrained_close(model);
        lab_free(&l);
    }
}

/* A decoder with a classifier instead of a head. */
static void test_hf_score(void **state)
{
    (void)state;
    lab l = {0};
    lab_llama(&l, false);
    lab_add(&l, PLAIN, 3, D, "classifier", "score.weight");
    put_config(llama_config);
    lab_save(&l, 0, l.count, path_of("model.safetensors"));
    dart_pretrained *model = opened(folder);
    assert_int_equal(dart_pretrained_config_of(model)->labels, 3);
    assert_true(dart_pretrained_config_of(model)->tied);
    assert_null(dart_pretrained_find(model, "head"));
    compare(model, &l, 9, 0);
    dart_pretrained_close(model);
    lab_free(&l);
}

/* An embedding of 4 GiB in a shard of its own: opened and read without its pages. */
static void test_large(void **state)
{
    (void)state;
    enum { ROWS = 1 << 24 };
    static const char name[] = "model.embed_tokens.weight";
    const uint64_t bytes = (uint64_t)ROWS * D * 4;
    char header[200], index[8192], config[700];
    lab l = {0};
    lab_llama(&l, false);
    int n = snprintf(header + 8, sizeof header - 8,
        "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[0,%llu]}}", name, ROWS, D,
        (unsigned long long)bytes);
    for (int i = 0; i < 8; i++) header[i] = (char)((uint64_t)n >> (8 * i));
    FILE *file = fopen(path_of("part-big"), "wb");
    assert_non_null(file);
    fwrite(header, 1, 8 + (size_t)n, file);
    const float mark[2] = {3.5f, -1};
    const uint64_t row = ROWS - 3;
    assert_int_equal(fseeko(file, (off_t)(8 + (uint64_t)n + row * D * 4), SEEK_SET), 0);
    fwrite(mark, sizeof mark, 1, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path_of("part-big"), (off_t)(8 + (uint64_t)n + bytes)), 0);
    snprintf(config, sizeof config, "%s", llama_config);
    char *at = strstr(config, "40,\"bos");
    memmove(at + 8, at + 2, strlen(at + 2) + 1);
    memcpy(at, "16777216", 8);
    memcpy(strstr(config, "false"), "true ", 5); /* tied */
    put_config(config);
    snprintf(index, sizeof index, "{\"weight_map\":{\"%s\":\"part-big\"", name);
    for (uint32_t i = 1; i < l.count; i++)
        snprintf(index + strlen(index), sizeof index - strlen(index), ",\"%s\":\"part-0\"",
            l.tensor[i].theirs);
    strcat(index, "}}");
    put_file("model.safetensors.index.json", index, strlen(index));
    lab_save(&l, 1, l.count, path_of("part-0"));
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    dart_pretrained *model = opened(folder);
    float x[2 * D];
    assert_int_equal(dart_pretrained_read(model, "tok_emb", row, 2, x), DART_OK);
    assert_true(x[0] == 3.5f && x[1] == -1 && x[2] == 0 && x[D] == 0);
    dart_pretrained_close(model);
    getrusage(RUSAGE_SELF, &after);
    printf("4 GiB of weights: %ld KiB more resident at most\n", after.ru_maxrss - before.ru_maxrss);
    assert_true(after.ru_maxrss - before.ru_maxrss < 65536);
    lab_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hf_llama),
        cmocka_unit_test(test_hf_variants), cmocka_unit_test(test_hf_gpt2),
        cmocka_unit_test(test_hf_bert), cmocka_unit_test(test_hf_score),
        cmocka_unit_test(test_large)};
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%u numbers compared\n", compared);
    return failed || compared < 300000;
}
