/* Inference with kept keys and values against the whole forward pass: every method and form of the
 * weights, every position, batches, prefill in chunks, reuse after a reset, the end of the context,
 * and the memory figures against what the device really holds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "infer.h"
#include "roles.h"
#include "rng.h"
#include "sample.h"
#include "session.h"

enum { VOCAB = 61, CONTEXT = 21, BATCH = 3 };
/* largest difference of logits, relative to the largest logit: single precision, other orders of
 * summation */
static const double TOLERANCE = 1e-4;

static uint32_t compared, texts, bundles; /* rows of logits; sequences of tokens */

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static dart_model_config base_config(void)
{
    dart_model_config c = {.layers = 2,
        .d_model = 24,
        .heads = 4,
        .kv_heads = 4,
        .d_ff = 36,
        .context = CONTEXT,
        .vocab = VOCAB};
    roles_new(&c, 5, 4, 3, 0);
    c.role[LINEAR].modes = 2;
    return c;
}

/* From 7 on weights are wide enough to be multiplied together. */
enum { FIXED = 13 };

static dart_model_config fixed_at(int which)
{
    dart_model_config c = base_config();
    switch (which) {
    case 0: /* GPT-2, dense */
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        break;
    case 1: /* GPT of tensor trains, tied TT embedding */
        c.role[LINEAR].modes = 3;
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        break;
    case 2: /* Llama: grouped heads, TT-matrices, own heads */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.kv_heads = 2;
        role_set(&c, LINEAR, "ttm");
        role_set(&c, EMBEDDING, "ttm");
        role_set(&c, HEAD, "tt");
        break;
    case 3: /* LoRA, SiLU, untied */
        c.act = DART_ACT_SILU;
        role_set(&c, LINEAR, "lora");
        break;
    case 4: /* one key head, rotary, biases, LayerNorm */
        c.positions.kind = DART_ROTARY;
        c.bias = DART_ALL_BIAS;
        c.kv_heads = 1;
        c.act = DART_ACT_SWIGLU;
        role_set(&c, LINEAR, "tt");
        c.tied = true;
        break;
    case 5: /* a TT embedding beside a dense head, two modes a side */
        c.role[EMBEDDING].modes = 2;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        break;
    case 7: /* wide: GPT of tensor trains with uneven ranks, as a selection leaves them */
        c.d_model = 64;
        c.d_ff = 128;
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        c.role[LINEAR].rank = 9;
        role_set(&c, LINEAR, "tt");
        role_set(&c, EMBEDDING, "tt-embedding");
        break;
    case 8: /* wide Llama: rotary queries and keys together, gate and up together */
        c.d_model = 64;
        c.d_ff = 192;
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.role[LINEAR].rank = 8;
        role_set(&c, LINEAR, "ttm");
        role_set(&c, HEAD, "tt");
        break;
    case 9: /* wide, grouped heads: keys and values together, queries alone */
        c.d_model = 128;
        c.d_ff = 64;
        c.kv_heads = 2;
        c.positions.kind = DART_ROTARY;
        c.bias = DART_ALL_BIAS;
        role_set(&c, LINEAR, "lora");
        break;
    case 10: /* Qwen 3: heads of their own size, normalised; vectors left as they are */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.head_dim = 6;
        c.kv_heads = 2;
        c.qk_norm = c.tied = c.frozen_vectors = true;
        role_set(&c, LINEAR, "lora");
        break;
    case 11: /* Qwen 2 with the stretched positions of Llama 3 */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.positions.scaling = (dart_rope_scaling){DART_ROPE_LLAMA3, 8, 1, 4, 16};
        c.act = DART_ACT_SWIGLU;
        c.bias = DART_QKV_BIAS;
        c.kv_heads = 1;
        break;
    case 12: /* adapters behind the layers of a GPT */
        c.tied = true;
        c.bias = DART_ALL_BIAS;
        c.adapter = 8;
        role_set(&c, LINEAR, "loretta-adp");
        break;
    default: /* LoRA everywhere, TT-matrix head */
        role_set(&c, LINEAR, "lora");
        role_set(&c, EMBEDDING, "lora");
        role_set(&c, HEAD, "ttm");
        break;
    }
    return c;
}

/* These, and one for every method that none of them has. */
static int configs(void)
{
    return configs_with_methods(FIXED, fixed_at);
}

static dart_model_config config_at(int which)
{
    return config_with_methods(which, FIXED, fixed_at, base_config());
}

typedef struct lab {
    dart_model *model;
    float *param, *frozen;
    int32_t token[BATCH][CONTEXT];
    float *want; /* (BATCH, CONTEXT, columns) */
    uint32_t columns;
    dart_device *cpu;
    dart_session *session; /* the whole forward pass */
} lab;

/* The model's own initial values, somewhat stronger, and noise where these are constant. */
static void fill(const dart_model *m, float *param, float *frozen)
{
    ok(dart_model_init(m, 9, param, frozen));
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *info = &m->param[p];
        float *to = (info->region == DART_REGION_FROZEN ? frozen : param) + info->offset;
        for (uint64_t i = 0; i < dart_shape_words(&info->shape); i++)
            to[i] = info->std > 0 ? 1.4f * to[i]
                                  : to[i] + (float)(0.2 * dart_normal(9, DART_STREAM_TEST + p, i));
    }
}

static const float *full_logits(const lab *l, const int32_t *tokens)
{
    int32_t index[VOCAB + 1 + CONTEXT];
    uint32_t cursor[VOCAB];
    dart_scatter_index(tokens, CONTEXT, VOCAB, cursor, index);
    ok(dart_session_logits(l->session, tokens, index));
    return l->session->logits;
}

/* The same model with ranks that differ from weight to weight. */
static void cut_unevenly(const dart_model_config *c, dart_model **model)
{
    uint32_t(*ranks)[DART_MAX_CORES + 1] = calloc((*model)->weights, sizeof *ranks);
    for (uint32_t w = 0; w < (*model)->weights; w++) {
        const dart_model_weight *weight = &(*model)->weight[w];
        memcpy(ranks[w], weight->weight.ranks, sizeof *ranks);
        for (uint32_t k = 1; k <= weight->layout.bonds; k++)
            if (ranks[w][k] > 3) ranks[w][k] -= (w * 5 + k) % 3;
    }
    dart_model_free(*model);
    ok(dart_model_new(c, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks, model));
    free(ranks);
}

/* What the whole forward pass gives, on the cpu. */
static void lab_open(lab *l, int config)
{
    dart_model_config c = config_at(config);
    memset(l, 0, sizeof *l);
    ok(dart_model_new(&c, NULL, &l->model));
    if (config == 7) cut_unevenly(&c, &l->model);
    l->param = calloc(l->model->param_words + 1, sizeof(float));
    l->frozen = calloc(l->model->frozen_words + 1, sizeof(float));
    fill(l->model, l->param, l->frozen);
    ok(dart_device_open("cpu", NULL, &l->cpu));
    dart_session_options o = {
        .batch = 1, .time = CONTEXT, .accumulation = 1, .chunk_rows = CONTEXT, .logits = true};
    ok(dart_session_new(l->cpu, NULL, l->model, &o, &l->session));
    ok(dart_session_write(l->session, l->param, l->frozen, NULL));
    l->columns = l->session->logit_columns;
    l->want = calloc((size_t)BATCH * CONTEXT * l->columns, sizeof(float));
    for (uint32_t b = 0; b < BATCH; b++) {
        for (uint32_t t = 0; t < CONTEXT; t++)
            l->token[b][t] = (int32_t)(dart_uniform(5, DART_STREAM_TEST, b * CONTEXT + t) * VOCAB);
        memcpy(l->want + (size_t)b * CONTEXT * l->columns, full_logits(l, l->token[b]),
            (size_t)CONTEXT * l->columns * sizeof(float));
    }
}

static void lab_close(lab *l)
{
    dart_session_free(l->session);
    dart_device_close(l->cpu);
    dart_model_free(l->model);
    free(l->param);
    free(l->frozen);
    free(l->want);
}

/* infer->logits of sequence `row` against those after token t of sequence b. */
static void expect_logits(
    const lab *l, const dart_infer *infer, uint32_t row, uint32_t b, uint32_t t, const char *what)
{
    const float *want = l->want + ((size_t)b * CONTEXT + t) * l->columns;
    const float *got = infer->logits + (size_t)row * infer->columns;
    double largest = 0, worst = 0;
    assert_int_equal(infer->columns, l->columns);
    for (uint32_t v = 0; v < VOCAB; v++) {
        largest = fmax(largest, fabs(want[v]));
        double d = fabs((double)want[v] - got[v]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    if (!(largest > 0.05)) fail_msg("%s: logits of %g test nothing", what, largest);
    if (!(worst <= TOLERANCE * largest))
        fail_msg("%s, sequence %u, position %u: logits differ by %g, the largest is %g", what, b, t,
            worst, largest);
    compared++;
}

static void open_infer(const lab *l, dart_device *device, uint32_t batch, uint32_t context,
    uint32_t chunk, dart_infer_weights weights, dart_infer **out)
{
    dart_infer_options o = {.batch = batch, .context = context, .chunk = chunk, .weights = weights};
    ok(dart_infer_new(device, l->model, &o, l->param, l->frozen, out));
}

static const char *const weight_names[] = {"auto", "cores", "halves", "dense"};

/* Token by token; then, after a reset, a prompt in chunks of five with a rest, and single tokens to
 * the end of the context. */
static void one_sequence(const lab *l, dart_device *device, const char *what, int weights)
{
    dart_infer *infer;
    open_infer(l, device, 1, 0, 5, (dart_infer_weights)weights, &infer);
    bundles += infer->decoder.forms.bundles;
    for (uint32_t t = 0; t < CONTEXT; t++) {
        ok(dart_infer_feed(infer, &l->token[0][t], 1));
        expect_logits(l, infer, 0, 0, t, what);
    }
    assert_int_equal(dart_infer_feed(infer, l->token[0], 1), DART_INPUT); /* full */
    dart_infer_reset(infer);
    ok(dart_infer_feed(infer, l->token[1], 13));
    expect_logits(l, infer, 0, 1, 12, what);
    ok(dart_infer_feed(infer, &l->token[1][13], 1));
    expect_logits(l, infer, 0, 1, 13, what);
    ok(dart_infer_feed(infer, &l->token[1][14], CONTEXT - 14)); /* padding reaches past the end */
    expect_logits(l, infer, 0, 1, CONTEXT - 1, what);
    assert_int_equal(infer->at, CONTEXT);
    dart_infer_free(infer);
}

/* The same tokens as by computing the whole context again for each, greedy and drawn. */
static void same_text(const lab *l, dart_device *device, const char *what)
{
    enum { PROMPT = 6 };
    static const dart_sampling how[] = {
        {.temperature = 0}, {.temperature = 0.9, .top_k = 20, .top_p = 0.95, .seed = 11}};
    dart_candidate list[VOCAB];
    dart_infer *infer;
    open_infer(l, device, 1, 0, 5, DART_INFER_AUTO, &infer);
    for (int i = 0; i < 2; i++) {
        int32_t old[CONTEXT] = {0}, new[CONTEXT] = {0};
        memcpy(old, l->token[2], PROMPT * sizeof *old);
        memcpy(new, old, sizeof new);
        for (uint32_t n = PROMPT; n < CONTEXT; n++)
            ok(dart_sample(
                full_logits(l, old) + (n - 1) * l->columns, VOCAB, &how[i], old, n, list, &old[n]));
        dart_infer_reset(infer);
        for (uint32_t n = PROMPT, fed = 0; n < CONTEXT; fed = n++) {
            ok(dart_infer_feed(infer, new + fed, n - fed));
            ok(dart_sample(infer->logits, VOCAB, &how[i], new, n, list, &new[n]));
        }
        if (memcmp(old, new, sizeof old))
            fail_msg("%s: the %s text differs", what, i ? "drawn" : "greedy");
        texts++;
    }
    dart_infer_free(infer);
}

static void on_device(const char *id, const char *limits)
{
    dart_device *device;
    /* under a profile only what AUTO chooses: the launches are the same, their sizes differ */
    const int forms = limits ? 1 : 4;
    if (dart_device_open(id, limits ? dart_limits_find(limits) : NULL, &device) != DART_OK) {
        printf("SKIPPED %s: %s\n", id, dart_error_text());
        return;
    }
    uint32_t before = compared, texts_before = texts;
    for (int config = 0; config < configs(); config++) {
        lab l;
        lab_open(&l, config);
        for (int weights = 0; weights < forms; weights++) {
            char what[96];
            snprintf(what, sizeof what, "%s %s, config %d, %s", id, limits ? limits : "", config,
                weight_names[weights]);
            one_sequence(&l, device, what, weights);
            if (weights == DART_INFER_AUTO) same_text(&l, device, what);
        }
        lab_close(&l);
    }
    dart_device_close(device);
    printf("%s %s: %u rows of logits and %u texts compared, %u bundles of weights\n", id,
        limits ? limits : "", compared - before, texts - texts_before, bundles);
    assert_in_range(bundles, 3 * 2, UINT32_MAX); /* two layers of three models at least */
    bundles = 0;
    assert_int_equal(texts - texts_before, (uint32_t)configs() * 2);
    assert_int_equal(compared - before, (uint32_t)(configs() * forms * (CONTEXT + 3)));
}

static void decoding_equals_the_forward_pass(void **state)
{
    (void)state;
    on_device("cpu", NULL);
    on_device("vulkan:0", NULL);
    on_device("opencl:0", NULL);
    on_device("vulkan:0", "emu-floor");
    on_device("opencl:0", "emu-pi4");
}

static void sequences_side_by_side(void **state)
{
    (void)state;
    dart_device *device;
    ok(dart_device_open("cpu", NULL, &device));
    for (int config = 0; config < configs(); config++) {
        lab l;
        dart_infer *infer;
        lab_open(&l, config);
        open_infer(&l, device, BATCH, 0, 4, DART_INFER_AUTO, &infer);
        int32_t tokens[BATCH * 9];
        for (int b = 0; b < BATCH; b++) memcpy(tokens + b * 9, l.token[b], 9 * sizeof *tokens);
        ok(dart_infer_feed(infer, tokens, 9));
        for (uint32_t b = 0; b < BATCH; b++) expect_logits(&l, infer, b, b, 8, "batch");
        for (uint32_t t = 9; t < CONTEXT; t++) {
            for (int b = 0; b < BATCH; b++) tokens[b] = l.token[b][t];
            ok(dart_infer_feed(infer, tokens, 1));
            for (uint32_t b = 0; b < BATCH; b++) expect_logits(&l, infer, b, b, t, "batch");
        }
        dart_infer_free(infer);
        lab_close(&l);
    }
    dart_device_close(device);
}

static void same_bits_again(void **state)
{
    (void)state;
    dart_device *device;
    dart_infer *infer;
    lab l;
    float first[VOCAB];
    lab_open(&l, 1);
    ok(dart_device_open("cpu", NULL, &device));
    open_infer(&l, device, 1, 0, 8, DART_INFER_AUTO, &infer);
    ok(dart_infer_feed(infer, l.token[0], 11));
    memcpy(first, infer->logits, sizeof first);
    dart_infer_reset(infer);
    ok(dart_infer_feed(infer, l.token[1], CONTEXT));
    dart_infer_reset(infer);
    ok(dart_infer_feed(infer, l.token[0], 11));
    assert_memory_equal(first, infer->logits, sizeof first);
    dart_infer_free(infer);
    dart_device_close(device);
    lab_close(&l);
}

/* The figures are sums of what was allocated; the parameters are not kept beside their forms; cores
 * take least, dense most. */
static void memory_is_what_is_allocated(void **state)
{
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    (void)state;
    for (int d = 0; d < 3; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) continue;
        for (int config = 0; config < configs(); config++) {
            lab l;
            uint64_t weights[4];
            lab_open(&l, config);
            for (int w = 0; w < 4; w++) {
                dart_infer *infer;
                uint64_t before = device->bytes_allocated;
                open_infer(&l, device, 1, 0, 5, (dart_infer_weights)w, &infer);
                dart_infer_memory m = dart_infer_memory_of(infer);
                assert_int_equal(device->bytes_allocated - before, m.total);
                assert_int_equal(m.total, m.weights + m.cache + m.arena + m.other);
                assert_int_equal(infer->memory.buffer[DART_REGION_PARAM], 0);
                weights[w] = m.weights;
                dart_infer_free(infer);
                assert_int_equal(device->bytes_allocated, before);
            }
            if (config == 1 || config == 2 || config == 7) assert_true(weights[1] < weights[3]);
            lab_close(&l);
        }
        dart_device_close(device);
    }
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    dart_device *device;
    dart_infer *infer = NULL;
    lab l;
    lab_open(&l, 0);
    ok(dart_device_open("cpu", NULL, &device));
    dart_infer_options o = {.batch = 1, .context = CONTEXT + 1};
    assert_int_equal(dart_infer_new(device, l.model, &o, l.param, l.frozen, &infer), DART_INPUT);
    assert_null(infer);
    open_infer(&l, device, 1, 7, 0, DART_INFER_AUTO, &infer);
    assert_int_equal(dart_infer_feed(infer, l.token[0], 8), DART_INPUT);
    assert_int_equal(dart_infer_feed(infer, l.token[0], 0), DART_INPUT);
    assert_int_equal(dart_infer_feed(infer, (int32_t[]){VOCAB}, 1), DART_INPUT);
    ok(dart_infer_feed(infer, l.token[0], 7));
    expect_logits(&l, infer, 0, 0, 6, "short cache");
    dart_infer_free(infer);
    dart_device_close(device);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_equals_the_forward_pass),
        cmocka_unit_test(sequences_side_by_side),
        cmocka_unit_test(same_bits_again),
        cmocka_unit_test(memory_is_what_is_allocated),
        cmocka_unit_test(wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
