/* model.json says of every method's matrix what it is: the sum over all labels, done here as it
 * stands in docs/formats.md, is the matrix that the method merges to. */
#include "model_file.h"
#include "rng.h"
#include "roles.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct network { /* one term of a weight */
    const float *data[DART_MAX_CORES];
    const char *labels[DART_MAX_CORES];
    json_t *shape[DART_MAX_CORES];
    size_t operands;
    const char *row, *column;
    uint32_t size[128], digit[128];
} network;

static uint32_t number_of(const network *n, const char *digits)
{
    uint32_t number = 0;
    for (; *digits; digits++) number = number * n->size[(int)*digits] + n->digit[(int)*digits];
    return number;
}

/* The product at the digits and bonds that are set. */
static double product(const network *n)
{
    double value = 1;
    for (size_t k = 0; k < n->operands; k++) value *= n->data[k][number_of(n, n->labels[k])];
    return value;
}

static void add_all(network *n, const char *left, double scale, uint32_t columns, double *out)
{
    if (!*left) {
        out[number_of(n, n->row) * columns + number_of(n, n->column)] += scale * product(n);
        return;
    }
    const int label = *left;
    for (n->digit[label] = 0; n->digit[label] < n->size[label]; n->digit[label]++)
        add_all(n, left + 1, scale, columns, out);
}

static const float *values_of(const dart_model *model, const dart_values *values, const char *name)
{
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (!strcmp(param->name, name))
            return (param->region == DART_REGION_FROZEN ? values->frozen : values->param) +
                   param->offset;
    }
    fail_msg("the model has no tensor %s", name);
    return NULL;
}

static void add_term(const dart_model *model, const dart_values *values, json_t *weight,
    json_t *term, uint32_t columns, double *out)
{
    network n = {.row = json_string_value(json_object_get(weight, "row")),
        .column = json_string_value(json_object_get(weight, "column"))};
    json_t *operands = json_object_get(term, "operands"), *operand;
    char all[128] = "";
    size_t k, used = 0;
    assert_non_null(n.row);
    assert_non_null(n.column);
    n.operands = json_array_size(operands);
    assert_in_range(n.operands, 1, DART_MAX_CORES);
    json_array_foreach(operands, k, operand)
    {
        n.labels[k] = json_string_value(json_object_get(operand, "labels"));
        n.data[k] = values_of(model, values, json_string_value(json_object_get(operand, "tensor")));
        json_t *shape = json_object_get(operand, "shape");
        assert_int_equal(json_array_size(shape), strlen(n.labels[k]));
        for (size_t i = 0; n.labels[k][i]; i++) {
            const int label = n.labels[k][i];
            const uint32_t size = (uint32_t)json_integer_value(json_array_get(shape, i));
            if (!n.size[label]) all[used++] = (char)label;
            assert_true(!n.size[label] || n.size[label] == size);
            n.size[label] = size;
        }
    }
    add_all(&n, all, json_number_value(json_object_get(term, "scale")), columns, out);
}

static void check_weight(const dart_model *model, const dart_values *values, json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "name"));
    const dart_model_weight *w = NULL;
    for (uint32_t i = 0; i < model->weights; i++)
        if (!strcmp(model->weight[i].weight.name, name)) w = &model->weight[i];
    assert_non_null(w);
    const uint32_t rows = w->layout.padded_out, out = w->weight.out, in = w->weight.in;
    assert_int_equal(json_integer_value(json_object_get(body, "padded_out")), rows);
    assert_int_equal(json_integer_value(json_object_get(body, "in")), in);
    double *sum = calloc((size_t)rows * in, sizeof *sum);
    float *merged = malloc((size_t)out * in * sizeof *merged), *tensor[DART_MAX_CORES + 2];
    json_t *terms = json_object_get(body, "terms"), *term;
    size_t t;
    assert_true(json_array_size(terms) > 0);
    json_array_foreach(terms, t, term) add_term(model, values, body, term, in, sum);
    json_t *lengths = json_object_get(body, "lengths");
    const float *length = lengths ? values_of(model, values, json_string_value(lengths)) : NULL;
    for (uint32_t i = 0; length && i < rows; i++) {
        double power = 1e-30;
        for (uint32_t j = 0; j < in; j++) power += sum[i * in + j] * sum[i * in + j];
        for (uint32_t j = 0; j < in; j++) sum[i * in + j] *= length[i] / sqrt(power);
    }
    for (uint32_t i = 0; i < w->layout.tensors; i++)
        tensor[i] = (float *)values_of(model, values, model->param[w->param[i]].name);
    assert_int_equal(dart_method_merge(&w->weight, &w->layout, tensor, merged), DART_OK);
    double most = 0, error = 0;
    for (size_t i = 0; i < (size_t)out * in; i++) {
        most = fmax(most, fabs(sum[i]));
        error = fmax(error, fabs(sum[i] - merged[i]));
    }
    if (!(most > 0 && error <= 1e-5 * most))
        fail_msg("%s, method %s: %g of %g", name, w->weight.method->name, error, most);
    free(sum);
    free(merged);
}

/* more: rows with lengths of their own where the method can, and adapters */
static void check_method(const dart_method *method, bool more)
{
    dart_model_config config = {.layers = 1,
        .d_model = 8,
        .heads = 2,
        .kv_heads = 1,
        .d_ff = 12,
        .context = 6,
        .vocab = 14,
        .act = DART_ACT_SWIGLU,
        .bias = DART_ALL_BIAS};
    dart_model *model;
    char *text, why[DART_JSON_WHY];
    json_t *body, *weight;
    size_t w;
    roles_new(&config, 2, 2, 2, 2);
    role_everywhere(&config, method);
    for (int r = 0; r < ROLES; r++) options_put(&config.role[r].options, "use_dora", more);
    if (more) config.adapter = 4;
    if (dart_model_new(&config, NULL, &model) != DART_OK) fail_msg("%s", dart_error_text());
    const dart_values values = {.param = calloc(model->param_words + 1, sizeof(float)),
        .frozen = calloc(model->frozen_words + 1, sizeof(float))};
    for (uint64_t i = 0; i < model->param_words + model->frozen_words; i++) {
        uint32_t random[4];
        dart_philox(1, DART_STREAM_TEST, i, random);
        float *to =
            i < model->param_words ? values.param + i : values.frozen + (i - model->param_words);
        *to = (float)(random[0] * 0x1p-32 - 0.5);
    }
    assert_int_equal(dart_model_text(model, &text), DART_OK);
    assert_int_equal(dart_json_parse(text, strlen(text), "model.json", why, &body), DART_OK);
    assert_int_equal(json_integer_value(json_object_get(body, "head_dim")), 4);
    assert_int_equal(json_integer_value(json_object_get(body, "adapter")), more ? 4 : 0);
    assert_string_equal(json_string_value(json_object_get(body, "activation")), "swiglu");
    assert_int_equal(json_array_size(json_object_get(body, "weights")), model->weights);
    assert_int_equal(json_array_size(json_object_get(body, "tensors")), model->params);
    json_array_foreach(json_object_get(body, "weights"), w, weight)
        check_weight(model, &values, weight);
    json_decref(body);
    free(text);
    free(values.param);
    free(values.frozen);
    dart_model_free(model);
}

static void test_methods(void **state)
{
    uint32_t m;
    (void)state;
    for (m = 0; dart_method_at(m); m++) {
        check_method(dart_method_at(m), false);
        check_method(dart_method_at(m), true);
    }
    assert_true(m >= 10);
    printf("model.json: the matrices of %u methods\n", m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
