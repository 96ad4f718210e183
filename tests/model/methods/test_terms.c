/* A weight that is a sum of terms: a tensor train, a product of two thin matrices whose long axes
 * are split into the train's digits, and a dense matrix, each with a factor. Product, dense matrix,
 * gradients and all forms for inference against the sum made by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "forms_lab.h"
#include "lab.h"
#include "reference.h"
#include "roles.h"

enum { MODES = 2, CHAIN = 2 * MODES, THIN = 3, LEFT = CHAIN, RIGHT, DENSE, ALL };
static const double factor[] = {0.5, 2, -3}; /* of the terms */

static dart_device *device;

static dart_status sum_layout(dart_weight *weight, bool strict, dart_layout *out)
{
    weight->modes = MODES;
    DART_TRY(dart_method_find("tt")->layout(weight, strict, out));
    out->tensors = ALL;
    out->tensor[LEFT] = (dart_tensor){"left", DART_SHAPE(weight->out, THIN), 0.2, false};
    out->tensor[RIGHT] = (dart_tensor){"right", DART_SHAPE(THIN, weight->in), 0.2, false};
    out->tensor[DENSE] = (dart_tensor){"matrix", DART_SHAPE(weight->out, weight->in), 0.1, true};
    return DART_OK;
}

static void sum_network(const dart_weight *weight, const dart_layout *layout, dart_network *out)
{
    dart_layout chain = *layout;
    chain.tensors = CHAIN;
    dart_method_find("tt")->network(weight, &chain, out);
    out->terms = 3;
    out->term[1] = (dart_term){.operands = 2, .tensor = {LEFT, RIGHT}};
    out->term[2] = (dart_term){.operands = 1, .tensor = {DENSE}};
    snprintf(out->term[1].labels[0], 16, "%sx", out->row);
    snprintf(out->term[1].labels[1], 16, "x%s", out->col);
    snprintf(out->term[2].labels[0], 16, "%s%s", out->row, out->col);
    for (int t = 0; t < 3; t++) out->term[t].scale = factor[t];
}

/* Overwrites the thin tensors, fails where the dense one is as large as none here. */
static dart_status sum_init(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor)
{
    if (weight->in == 48) return dart_fail(DART_MEMORY, "no memory for %s", weight->name);
    for (uint32_t t = LEFT; t <= RIGHT; t++)
        for (uint64_t i = 0; i < dart_shape_words(&layout->tensor[t].shape); i++)
            tensor[t][i] = (float)t;
    return DART_OK;
}

static const dart_method sum_method = {
    "sum", "three terms", sum_layout, sum_network, NULL, sum_init};

/* W (out, in); caller frees. */
static double *by_hand(const dart_weight *weight, const dart_layout *layout, double *const *tensor)
{
    dart_weight chain = *weight;
    chain.method = dart_method_find("tt");
    double *w = reference_dense(&chain, layout, tensor);
    for (uint32_t i = 0; i < weight->out; i++)
        for (uint32_t j = 0; j < weight->in; j++) {
            size_t at = (size_t)i * weight->in + j;
            double thin = 0;
            for (uint32_t k = 0; k < THIN; k++)
                thin += tensor[LEFT][i * THIN + k] * tensor[RIGHT][(size_t)k * weight->in + j];
            w[at] = factor[0] * w[at] + factor[1] * thin + factor[2] * tensor[DENSE][at];
        }
    return w;
}

static void operands_have_an_axis_a_label(void **state)
{
    (void)state;
    dart_weight weight = {.out = 12, .in = 10, .rank = 3, .method = &sum_method};
    dart_layout layout;
    ok(sum_layout(&weight, false, &layout));
    const dart_network net = dart_network_of(&weight, &layout);
    const dart_shape core = dart_term_shape(&net, &net.term[0], &layout, 1);
    assert_true(dart_shape_equal(&core, &layout.tensor[1].shape));
    const dart_shape wanted[] = {
        DART_SHAPE(3, 4, THIN), DART_SHAPE(THIN, 5, 2), DART_SHAPE(3, 4, 5, 2)};
    for (uint32_t i = 0; i < 3; i++) {
        const dart_shape got = dart_term_shape(&net, &net.term[i == 2 ? 2 : 1], &layout, i % 2);
        assert_true(dart_shape_equal(&got, &wanted[i]));
    }
}

static void a_sum_applies_and_differentiates(void **state)
{
    (void)state;
    lab l;
    dart_weight weight = make_weight("tt", 12, 10, MODES, 3);
    weight.method = &sum_method;
    lab_open(&l, weight, 200);
    double *w = by_hand(&l.weight, &l.layout, l.tensor), dense[12 * 10], y[BATCH * 12];
    double want[BATCH * 12] = {0}, *slope[ALL + 1];
    dart_node result = dart_method_apply(l.graph, &l.weight, &l.layout, l.leaf, l.leaf[ALL]);
    dart_node matrix = dart_method_dense(l.graph, &l.weight, &l.layout, l.leaf);
    dart_node loss = dart_sumsq_all(l.graph, result), grads[ALL + 1];
    ok(dart_grad(l.graph, loss, ALL + 1, l.leaf, grads));
    dart_node keep[ALL + 3] = {result, matrix};
    double *out[ALL + 3] = {y, dense};
    for (uint32_t i = 0; i <= ALL; i++) {
        keep[2 + i] = grads[i];
        out[2 + i] = slope[i] = calloc(l.words[i], sizeof(double));
    }
    lab_run(device, &l, ALL + 3, keep, out);
    for (uint32_t b = 0; b < BATCH; b++)
        for (uint32_t i = 0; i < 12; i++)
            for (uint32_t j = 0; j < 10; j++)
                want[b * 12 + i] += l.tensor[ALL][b * 10 + j] * w[i * 10 + j];
    expect_close(dense, w, 12 * 10, 1e-12);
    expect_close(y, want, BATCH * 12, 1e-12);
    /* d loss / d W = 2 y x^T, from which those of the dense and of the left tensor follow */
    double by_w[12 * 10] = {0}, left[12 * THIN] = {0};
    for (uint32_t i = 0; i < 12; i++)
        for (uint32_t j = 0; j < 10; j++) {
            for (uint32_t b = 0; b < BATCH; b++)
                by_w[i * 10 + j] += 2 * want[b * 12 + i] * l.tensor[ALL][b * 10 + j];
            for (uint32_t k = 0; k < THIN; k++)
                left[i * THIN + k] += factor[1] * by_w[i * 10 + j] * l.tensor[RIGHT][k * 10 + j];
        }
    for (uint32_t i = 0; i < 12 * 10; i++) by_w[i] *= factor[2];
    expect_close(slope[DENSE], by_w, 12 * 10, 1e-12);
    expect_close(slope[LEFT], left, 12 * THIN, 1e-12);
    for (uint32_t i = 0; i <= ALL; i++) free(slope[i]);
    free(w);
    lab_close(&l);
}

static dart_model_config small_config(void)
{
    dart_model_config config = {.layers = 1,
        .d_model = 24,
        .heads = 4,
        .kv_heads = 4,
        .d_ff = 32,
        .context = 8,
        .vocab = 48};
    roles_new(&config, 4, 4, 4, 0);
    for (int r = 0; r < ROLES; r++) config.role[r].method = &sum_method;
    return config;
}

static void sums_have_all_forms(void **state)
{
    (void)state;
    dart_model *model;
    dart_model_config config = small_config();
    ok(dart_model_new(&config, NULL, &model));
    ir_data data = {0};
    for (int frozen = 0; frozen < 2; frozen++) {
        int region = frozen ? DART_REGION_FROZEN : DART_REGION_PARAM;
        uint64_t words = frozen ? model->frozen_words : model->param_words;
        data.words[region] = words;
        data.region[region] = calloc(words, sizeof(double));
        for (uint64_t i = 0; i < words; i++)
            data.region[region][i] = 0.3 * dart_normal(3, DART_STREAM_TEST + frozen, i);
    }
    uint64_t dense = 0;
    for (uint32_t w = 0; w < model->weights; w++)
        dense +=
            dart_round_up((uint64_t)model->weight[w].weight.out * model->weight[w].weight.in, 64);
    uint64_t words[DART_INFER_DENSE + 1];
    for (dart_infer_weights how = DART_INFER_AUTO; how <= DART_INFER_DENSE; how++)
        words[how] = check_forms(device, model, &data, how, by_hand);
    /* beside a dense term nothing is smaller than the sum */
    assert_in_range(words[DART_INFER_DENSE], dense, dense + 1024);
    assert_int_equal(words[DART_INFER_AUTO], words[DART_INFER_DENSE]);
    assert_true(words[DART_INFER_CORES] > dense + 1024);
    for (int r = 0; r < DART_REGIONS; r++)
        if (r == DART_REGION_PARAM || r == DART_REGION_FROZEN) free(data.region[r]);
    dart_model_free(model);
}

/* A method's own initial values come after the drawn ones, in the places of its tensors. */
static void methods_may_start_otherwise(void **state)
{
    (void)state;
    dart_model *model;
    dart_model_config config = small_config();
    ok(dart_model_new(&config, NULL, &model));
    float *param = calloc(model->param_words, sizeof *param);
    float *frozen = calloc(model->frozen_words, sizeof *frozen);
    ok(dart_model_init(model, 1, param, frozen));
    for (uint32_t w = 0; w < model->weights; w++)
        for (uint32_t t = 0; t < ALL; t++) {
            const dart_param *p = &model->param[model->weight[w].first_param + t];
            const float *value = (t == DENSE ? frozen : param) + p->offset;
            double sum = 0;
            for (uint64_t i = 0; i < dart_shape_words(&p->shape); i++)
                sum += (t == LEFT || t == RIGHT) ? fabs(value[i] - t) : value[i] == 0;
            assert_true(sum == 0);
        }
    free(param);
    free(frozen);
    dart_model_free(model);
    config.d_ff = 48;
    ok(dart_model_new(&config, NULL, &model));
    param = calloc(model->param_words, sizeof *param);
    frozen = calloc(model->frozen_words, sizeof *frozen);
    assert_int_equal(dart_model_init(model, 1, param, frozen), DART_MEMORY);
    assert_non_null(strstr(dart_error_text(), "mlp.down"));
    free(param);
    free(frozen);
    dart_model_free(model);
}

static int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &device) == DART_OK ? 0 : -1;
}

static int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(operands_have_an_axis_a_label),
        cmocka_unit_test(a_sum_applies_and_differentiates), cmocka_unit_test(sums_have_all_forms),
        cmocka_unit_test(methods_may_start_otherwise)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
