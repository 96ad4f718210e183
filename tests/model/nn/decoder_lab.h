/* GPT and Llama configurations with every option, and a batch for them. */
#ifndef DART_TEST_DECODER_LAB_H
#define DART_TEST_DECODER_LAB_H

#include "model_lab.h"

enum { BATCH = 2, TIME = 5, ROWS = BATCH * TIME, VOCAB = 19, LABEL_IGNORED = 7 };

static inline dart_model_config base_config(void)
{
    dart_model_config c = {.layers = 2,
        .d_model = WIDTH,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = INNER,
        .context = 6,
        .vocab = VOCAB};
    roles_new(&c, 3, 4, 3, 2);
    return c;
}

enum { FIXED = 11 };

static inline dart_model_config fixed_at(int which)
{
    dart_model_config c = base_config();
    switch (which) {
    case 0: /* GPT-2, dense */
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        break;
    case 1: /* GPT of tensor trains, tied TT embedding */
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        break;
    case 2: /* Llama: grouped heads, TT head */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.kv_heads = 1;
        role_set(&c, LINEAR, "ttm");
        role_set(&c, EMBEDDING, "tt-embedding");
        role_set(&c, HEAD, "tt");
        break;
    case 3: /* LoRA on a GPT with SiLU, untied */
        c.act = DART_ACT_SILU;
        role_set(&c, LINEAR, "lora");
        break;
    case 4: /* four heads in two groups, biases, rotary, LayerNorm */
        c.positions.kind = DART_ROTARY;
        c.bias = DART_ALL_BIAS;
        c.heads = 4;
        c.kv_heads = 2;
        c.act = DART_ACT_SWIGLU;
        role_set(&c, LINEAR, "tt");
        c.tied = true;
        break;
    case 5: /* Qwen 3: heads of their own size, normalised; vectors left as they are */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.head_dim = 6;
        c.kv_heads = 1;
        c.qk_norm = c.tied = c.frozen_vectors = true;
        role_set(&c, LINEAR, "lora");
        break;
    case 6: /* Qwen 2 with the stretched positions of Llama 3 */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.positions.scaling = (dart_rope_scaling){DART_ROPE_LLAMA3, 8, 1, 4, 16};
        c.act = DART_ACT_SWIGLU;
        c.bias = DART_QKV_BIAS;
        c.kv_heads = 1;
        break;
    case 7: /* positions stretched evenly, heads larger than the width */
        c.positions.kind = DART_ROTARY;
        c.positions.scaling = (dart_rope_scaling){.kind = DART_ROPE_LINEAR, .factor = 2.5};
        c.head_dim = 8;
        c.frozen_vectors = true;
        break;
    case 8: /* adapters of tensor trains behind frozen layers; vectors of their own are trained */
        c.adapter = 4;
        c.frozen_vectors = true;
        c.bias = DART_ALL_BIAS;
        role_set(&c, LINEAR, "loretta-adp");
        break;
    case 9: /* one tensor for all layers: three heads of their own size, one of keys and values */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.heads = 3;
        c.kv_heads = 1;
        c.head_dim = 6;
        role_everywhere(&c, dart_method_find("lorta"));
        break;
    default: /* dropout everywhere */
        c.dropout = 0.3;
        role_set(&c, LINEAR, "tt");
        break;
    }
    return c;
}

/* These, and one for every method that none of them has. */
static inline int configs(void)
{
    return configs_with_methods(FIXED, fixed_at);
}

static inline dart_model_config config_at(int which)
{
    return config_with_methods(which, FIXED, fixed_at, base_config());
}

/* `ranks`: of every weight, NULL for the configuration's. */
static inline void lab_open_at(
    lab *l, const dart_model_config *config, const uint32_t (*ranks)[DART_MAX_CORES + 1])
{
    *l = (lab){.batch = BATCH, .time = TIME};
    ok(dart_model_new(config, ranks, &l->model));
    lab_fill(l);
    uint64_t at[3];
    dart_model_input_offsets(l->model, BATCH, TIME, &at[0], &at[1], &at[2]);
    double *input = l->data.region[DART_REGION_INPUT];
    for (int i = 0; i < ROWS; i++) {
        l->target[i] = (int32_t)(dart_uniform(9, DART_STREAM_TEST, i) * VOCAB);
        l->label[i] = (int32_t)(dart_uniform(9, DART_STREAM_TEST + 1, i) * VOCAB);
    }
    l->target[1] = l->target[4] = l->target[6]; /* duplicates accumulate */
    l->label[LABEL_IGNORED] = -1;
    write_index(input + at[2], l->target, ROWS, VOCAB);
    for (int i = 0; i < ROWS; i++) {
        input[at[0] + i] = l->target[i];
        input[at[1] + i] = l->label[i];
    }
}

static inline void lab_open(lab *l, const dart_model_config *config)
{
    lab_open_at(l, config, NULL);
}

#endif
