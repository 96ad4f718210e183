/* Parameters, gradients, moments and frozen matrices on devices whose buffers and bindings are
 * short: cut between tensors a step keeps every bit, and matrices that are longer than a binding or
 * than a buffer by themselves are worked on in parts, to the same numbers. */
#include "packed_rows.h"
#include "rng.h"
#include "roles.h"
#include "session.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

enum { VOCAB = 1000, BATCH = 2, TIME = 8, STEPS = 4, TOKENS = 400 };
enum { DENSE, UNTIED, MUON, PENALISED, LORA, PACKED, KINDS };
static const char *const kinds[KINDS] = {
    "dense", "untied, accumulated", "muon", "tt with a penalty", "lora", "lora on q8_0"};

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static dart_model_config config_of(int kind)
{
    dart_model_config c = {.layers = 2,
        .d_model = 64,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = 256,
        .context = TIME,
        .vocab = VOCAB,
        .tied = kind != UNTIED,
        .bias = DART_ALL_BIAS,
        .act = DART_ACT_GELU};
    roles_new(&c, 4, 4, 4, 3);
    c.positions.kind = DART_LEARNED;
    if (kind == PENALISED) role_set(&c, LINEAR, "tt");
    if (kind < LORA) return c;
    role_set(&c, LINEAR, "lora");
    role_set(&c, EMBEDDING, "frozen");
    c.frozen_vectors = c.of_base = true;
    if (kind == PACKED) memset(c.base_type, DART_DTYPE(DART_PACKED_q8_0), sizeof c.base_type);
    return c;
}

/* Values for all of a model, matrices that are packed among them. */
static void fill_base(const dart_model *model, float *frozen)
{
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (!param->of_base) continue;
        const uint64_t words = dart_shape_words(&param->shape);
        float *row = calloc(words, sizeof *row);
        for (uint64_t i = 0; i < words; i++)
            row[i] = (float)(0.1 * dart_normal(5, DART_STREAM_TEST + p, i)) + (param->ones ? 1 : 0);
        if (dart_dtype_packed(param->type))
            ok(dart_packed_encode(dart_dtype_format(param->type), row, param->shape.dim[0],
                param->shape.dim[1], param->name, (uint32_t *)(void *)(frozen + param->offset)));
        else
            memcpy(frozen + param->offset, row, words * sizeof *row);
        free(row);
    }
}

typedef struct outcome {
    uint64_t words;
    float *param, *moment, *gradient; /* owned (words), (2 words), (words) */
    double loss[STEPS], nll;
    uint32_t pieces;
} outcome;

static void outcome_free(outcome *o)
{
    free(o->param);
    free(o->moment);
    free(o->gradient);
}

/* alloc, binding: words; 0: the device's own. */
static outcome run(const char *id, int kind, uint64_t alloc, uint64_t binding)
{
    static int32_t token[TOKENS];
    const dart_model_config config = config_of(kind);
    dart_device *device;
    dart_model *model;
    dart_session *session;
    dart_stream train, eval;
    uint64_t tokens;
    ok(dart_device_open(id, NULL, &device));
    if (alloc) device->caps.max_alloc = alloc * device->caps.word;
    if (binding) device->caps.max_binding = binding * device->caps.word;
    if (device->caps.offset_align < 256) device->caps.offset_align = 256;
    ok(dart_model_new(&config, NULL, &model));
    const dart_optim *optim = dart_optim_find(kind == MUON ? "muon" : "adamw");
    dart_session_options o = {.batch = 2,
        .time = TIME,
        .chunk_rows = 64,
        .train = true,
        .accumulation = kind == UNTIED ? 2 : 1,
        .eval = true,
        .optim = optim,
        .optim_options = dart_options_default(optim->options),
        .max_grad_norm = 1};
    if (kind == PENALISED) {
        o.reg = dart_reg_find("bond-nuclear");
        o.reg_options = dart_options_default(o.reg->options);
    }
    outcome out = {.words = model->param_words};
    out.param = calloc(out.words, sizeof *out.param);
    out.moment = calloc(2 * out.words, sizeof *out.moment);
    out.gradient = calloc(out.words, sizeof *out.gradient);
    float *frozen = calloc(model->frozen_words + 1, sizeof *frozen);
    ok(dart_model_init(model, 3, out.param, frozen));
    fill_base(model, frozen);
    for (int i = 0; i < TOKENS; i++)
        token[i] = (int32_t)(dart_uniform(4, DART_STREAM_TEST, (uint64_t)i) * VOCAB);
    ok(dart_stream_new(token, TOKENS, true, VOCAB, 0, 2, TIME, 1, &train));
    ok(dart_stream_new(token, 64, false, VOCAB, 0, 2, TIME, 1, &eval));
    if (dart_session_new(device, NULL, model, &o, &session) != DART_OK)
        fail_msg("%s on %s: %s", kinds[kind], id, dart_error_text());
    out.pieces = session->memory.pieces;
    ok(dart_session_write(session, out.param, frozen, out.moment));
    for (int i = 0; i < STEPS; i++) {
        dart_step_result result;
        const dart_step_scalars scalars = {.seed = 1,
            .step = (uint64_t)i,
            .lr = 1e-2,
            .adam_step = (uint64_t)i + 1,
            .penalty = 1e-3};
        ok(dart_session_step(session, &train, &scalars, &result));
        assert_int_equal(result.bad, 0);
        out.loss[i] = result.loss;
    }
    ok(dart_session_gradient(session, out.gradient));
    ok(dart_session_eval(session, &eval, &out.nll, &tokens));
    ok(dart_session_read(session, out.param, out.moment));
    /* what is written there comes back */
    float *again = calloc(2 * out.words, sizeof *again);
    ok(dart_session_write(session, out.param, frozen, out.moment));
    ok(dart_session_read(session, out.param, again));
    assert_memory_equal(again, out.moment, 2 * out.words * sizeof *again);
    free(again);
    dart_session_free(session);
    assert_int_equal(device->bytes_allocated, 0);
    dart_stream_free(&train);
    dart_stream_free(&eval);
    free(frozen);
    dart_model_free(model);
    dart_device_close(device);
    return out;
}

static double off(const float *a, const float *b, uint64_t words)
{
    double most = 0, worst = 0;
    for (uint64_t i = 0; i < words; i++) {
        const double size = fabs(a[i]), apart = fabs((double)a[i] - b[i]);
        most = size > most ? size : most;
        worst = apart > worst || isnan(apart) ? apart : worst; /* NaN stays */
    }
    return worst / most;
}

/* The longest tensor has 64,000 words, so buffers are cut between tensors only. muon works on the
 * momentum of all matrices of a form at once, which is longer. */
static uint64_t short_buffer(int kind)
{
    return kind == MUON ? 99000 : 65000;
}

static void cut_between_tensors_every_bit_stays(void **state)
{
    (void)state;
    for (int kind = 0; kind < PACKED; kind++) {
        outcome whole = run("cpu", kind, 0, 0), cut = run("cpu", kind, short_buffer(kind), 0);
        assert_int_equal(whole.pieces, 0);
        if (cut.pieces < 2) fail_msg("%s: %u pieces", kinds[kind], cut.pieces);
        assert_memory_equal(whole.param, cut.param, whole.words * sizeof(float));
        assert_memory_equal(whole.moment, cut.moment, 2 * whole.words * sizeof(float));
        assert_memory_equal(whole.gradient, cut.gradient, whole.words * sizeof(float));
        assert_memory_equal(whole.loss, cut.loss, sizeof whole.loss);
        assert_true(whole.nll == cut.nll && whole.loss[0] != whole.loss[1]);
        outcome_free(&whole);
        outcome_free(&cut);
    }
}

static bool there_is(const char *id)
{
    dart_device *device;
    if (dart_device_open(id, NULL, &device) != DART_OK) return false;
    dart_device_close(device);
    return true;
}

/* The embedding and its gradient are longer than a binding; what is frozen is longer than a buffer
 * too, and cut between its rows. */
static void compare_long(const char *id)
{
    if (!there_is(id)) skip();
    for (int kind = 0; kind < KINDS; kind++) {
        const uint64_t alloc = kind == PACKED ? 0 : kind == LORA ? 35000 : short_buffer(kind);
        outcome whole = run(id, kind, 0, 0);
        outcome cut = run(id, kind, alloc, kind == PACKED ? 16500 : 33000);
        const double p = off(whole.param, cut.param, whole.words);
        const double m = off(whole.moment, cut.moment, whole.words);
        print_message("%s, %s: %u pieces, parameters %.1e, moments %.1e apart\n", id, kinds[kind],
            cut.pieces, p, m);
        /* Adam steps where gradients are nearly 0 by the sign of a rounding: in f32 moments tell */
        assert_true(p < (strcmp(id, "cpu64") ? 1e-2 : 1e-9) && m < 1e-4);
        for (int i = 0; i < STEPS; i++)
            assert_true(fabs(whole.loss[i] - cut.loss[i]) < 1e-5 * whole.loss[i]);
        assert_true(fabs(whole.nll - cut.nll) < 1e-5 * whole.nll);
        outcome_free(&whole);
        outcome_free(&cut);
    }
}

static void long_matrices_on_cpu(void **state)
{
    (void)state;
    compare_long("cpu");
}

static void long_matrices_in_double_precision(void **state)
{
    (void)state;
    compare_long("cpu64");
}

static void long_matrices_on_vulkan(void **state)
{
    (void)state;
    compare_long("vulkan:0");
}

static void long_matrices_on_opencl(void **state)
{
    (void)state;
    compare_long("opencl:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_between_tensors_every_bit_stays),
        cmocka_unit_test(long_matrices_on_cpu),
        cmocka_unit_test(long_matrices_in_double_precision),
        cmocka_unit_test(long_matrices_on_vulkan),
        cmocka_unit_test(long_matrices_on_opencl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
