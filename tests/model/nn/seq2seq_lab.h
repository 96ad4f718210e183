/* Encoder-decoders with every option, and a padded batch for them. */
#ifndef DART_TEST_SEQ2SEQ_LAB_H
#define DART_TEST_SEQ2SEQ_LAB_H

#include "model_lab.h"

enum { BATCH = SENTENCES_MOST, SOURCE_WORDS = 13, TARGET_WORDS = 11 };

static inline dart_model_config base_config(void)
{
    dart_model_config c = {.layers = 2,
        .enc_layers = 1,
        .d_model = WIDTH,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = INNER,
        .context = 5,
        .source_context = 6,
        .vocab = TARGET_WORDS,
        .source_vocab = SOURCE_WORDS,
        .act = DART_ACT_RELU};
    roles_new(&c, 3, 4, 3, 2);
    return c;
}

enum { FIXED = 6 };

static inline dart_model_config fixed_at(int which)
{
    dart_model_config c = base_config();
    switch (which) {
    case 0: /* Vaswani's: post-norm, sinusoids, one vocabulary, tied */
        c.positions.kind = DART_SINUSOIDAL;
        c.norm.post = c.shared_vocab = c.tied = true;
        c.bias = DART_ALL_BIAS;
        c.source_vocab = c.vocab;
        break;
    case 1: /* pre-norm of tensor trains, a table a side */
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        c.enc_layers = 2;
        break;
    case 2: /* rotary, RMSNorm, SwiGLU, grouped heads, a shared TT table, own TT head */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.shared_vocab = true;
        c.source_vocab = c.vocab;
        c.act = DART_ACT_SWIGLU;
        c.kv_heads = 1;
        role_set(&c, LINEAR, "ttm");
        role_set(&c, EMBEDDING, "tt-embedding");
        role_set(&c, HEAD, "tt");
        break;
    case 3: /* LoRA, more layers below than above */
        role_set(&c, LINEAR, "lora");
        c.act = DART_ACT_GELU;
        c.enc_layers = 2;
        c.layers = 1;
        break;
    case 4: /* post-norm with learned positions, tensor trains */
        c.norm.post = c.tied = true;
        c.bias = DART_ALL_BIAS;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "ttm");
        break;
    default: /* dropout everywhere, smoothed labels */
        c.dropout = 0.3;
        c.label_smoothing = 0.1;
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

/* Real words of every sentence: (source, target); the target's label <eos> is one more. */
static const int32_t real[BATCH][2] = {{6, 4}, {3, 2}, {1, 0}};

/* The batch into the INPUT region. */
static inline void write_input(lab *l)
{
    const dart_model_config *c = &l->model->config;
    uint32_t rows = BATCH * l->time, source_rows = BATCH * l->source_time;
    uint64_t at[6];
    double *input = l->data.region[DART_REGION_INPUT];
    dart_model_input_offsets(l->model, BATCH, l->time, &at[0], &at[1], &at[2]);
    dart_model_source_offsets(l->model, BATCH, l->time, &at[3], &at[4], &at[5]);
    for (uint32_t i = 0; i < rows; i++) {
        input[at[0] + i] = l->target[i];
        input[at[1] + i] = l->label[i];
    }
    for (uint32_t i = 0; i < source_rows; i++) input[at[3] + i] = l->source[i];
    for (uint32_t b = 0; b < BATCH; b++) input[at[4] + b] = l->length[b];
    write_index(input + at[2], l->target, rows, c->vocab);
    write_index(input + at[5], l->source, source_rows, c->source_vocab);
}

static inline void lab_open(lab *l, const dart_model_config *config)
{
    *l = (lab){.batch = BATCH, .time = config->context, .source_time = config->source_context};
    ok(dart_model_new(config, NULL, &l->model));
    lab_fill(l);
    uint32_t labels = 0;
    for (uint32_t b = 0; b < BATCH; b++) {
        l->length[b] = real[b][0];
        for (uint32_t t = 0; t < l->source_time; t++)
            l->source[b * l->source_time + t] =
                (int32_t)t < real[b][0] ? (int32_t)(dart_uniform(9, DART_STREAM_TEST, 10 * b + t) *
                                                    config->source_vocab)
                                        : 0;
        for (uint32_t t = 0; t < l->time; t++) {
            uint32_t i = b * l->time + t;
            bool in = (int32_t)t <= real[b][1];
            l->target[i] =
                in ? (int32_t)(dart_uniform(9, DART_STREAM_TEST + 1, 10 * b + t) * config->vocab)
                   : 0;
            l->label[i] =
                in ? (int32_t)(dart_uniform(9, DART_STREAM_TEST + 2, 10 * b + t) * config->vocab)
                   : -1;
            labels += in;
        }
    }
    l->data.region[DART_REGION_FSCAL][DART_FSCAL_SCALE] = 1.0 / labels;
    write_input(l);
}

/* The loss and all gradients (param_words, malloc'ed) of a training step. */
static inline double train(const lab *l, uint32_t chunk, double **out_gradient)
{
    built b;
    double loss;
    open_training(l, &b, chunk);
    ok(ir_read(&b.run, 0, &loss));
    if (out_gradient) {
        *out_gradient = calloc(l->model->param_words, sizeof **out_gradient);
        ok(ir_read_region(&b.run, DART_REGION_GRAD, *out_gradient));
    }
    close_graph(&b);
    return loss;
}

#endif
