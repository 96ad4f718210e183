/* What an optimizer may step as matrices: each trained tensor of the linear layers once, cores
 * unfolded where their smaller side is largest, equal neighbours as one stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "roles.h"

static dart_model *model_of(const char *method)
{
    dart_model *model;
    dart_model_config config = {.layers = 2,
        .d_model = 32,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = 64,
        .context = 8,
        .vocab = 50,
        .bias = DART_ALL_BIAS};
    roles_new(&config, 6, 4, 4, 2);
    role_set(&config, LINEAR, method);
    role_set(&config, EMBEDDING, "tt-embedding");
    if (dart_model_new(&config, NULL, &model) != DART_OK) fail_msg("%s", dart_error_text());
    return model;
}

/* The stack that holds a param whole, and where in it; NULL: none. */
static const dart_matrices *holder(
    const dart_matrices *m, uint32_t count, const dart_param *param, uint32_t *out_index)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t words = (uint64_t)m[i].rows * m[i].columns;
        if (param->offset < m[i].offset || param->offset >= m[i].offset + m[i].count * words)
            continue;
        assert_int_equal((param->offset - m[i].offset) % words, 0);
        assert_int_equal(dart_shape_words(&param->shape), words);
        *out_index = (uint32_t)((param->offset - m[i].offset) / words);
        return &m[i];
    }
    return NULL;
}

static void linear_layers_are_matrices(void **state)
{
    (void)state;
    for (uint32_t at = 0; dart_method_at(at); at++) {
        if (method_pads(dart_method_at(at))) continue;
        dart_model *model = model_of(dart_method_at(at)->name);
        dart_matrices *m;
        uint32_t count, held = 0, slots = 0, index;
        assert_int_equal(dart_model_matrices(model, &m, &count), DART_OK);
        for (uint32_t i = 0; i < count; i++) {
            slots += m[i].count;
            assert_true(!i || m[i].offset > m[i - 1].offset);
            assert_true(m[i].offset + (uint64_t)m[i].count * m[i].rows * m[i].columns <=
                        model->decay_words);
        }
        for (uint32_t p = 0; p < model->params; p++) {
            const dart_param *param = &model->param[p];
            if (param->region != DART_REGION_PARAM) continue;
            const bool linear = param->weight >= 0 && param->weight != model->embedding &&
                                param->weight != model->head;
            const bool found = holder(m, count, param, &index) != NULL;
            assert_int_equal(found, linear);
            held += found;
        }
        assert_int_equal(held, slots);
        free(m);
        dart_model_free(model);
    }
}

static void cores_are_unfolded_at_the_middle(void **state)
{
    (void)state;
    static const struct {
        const char *method, *name; /* d_model 32 = 4 * 8, d_ff 64 = 8 * 8 */
        uint32_t rows, columns, count;
    } cases[] = {{"dense", "blocks.0.attn.q.weight", 32, 32, 8},
        {"dense", "blocks.1.mlp.up.weight", 64, 32, 2},
        {"lora", "blocks.0.attn.v.lora_A", 6, 32, 10}, /* with those of mlp.up */
        /* (1, 4, 4), (4, 8, 6): 32 x 6 before 4 x 48 */
        {"tt", "blocks.0.attn.q.core0", 4, 4, 0}, {"tt", "blocks.0.attn.q.core1", 32, 6, 0},
        {"tt", "blocks.0.attn.q.core2", 6, 32, 0}, {"tt", "blocks.0.attn.q.core3", 4, 4, 0},
        /* (1, 4, 8, 6), (6, 8, 4, 1): the bond is wider than the digit */
        {"ttm", "blocks.0.attn.q.core0", 32, 6, 0}, {"ttm", "blocks.0.attn.q.core1", 6, 32, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_model *model = model_of(cases[i].method);
        dart_matrices *m;
        uint32_t count, index, seen = 0;
        assert_int_equal(dart_model_matrices(model, &m, &count), DART_OK);
        for (uint32_t p = 0; p < model->params; p++) {
            if (strcmp(model->param[p].name, cases[i].name)) continue;
            const dart_matrices *of = holder(m, count, &model->param[p], &index);
            assert_non_null(of);
            if (of->rows != cases[i].rows || of->columns != cases[i].columns)
                fail_msg("%s %s: %u x %u", cases[i].method, cases[i].name, of->rows, of->columns);
            if (cases[i].count) assert_int_equal(of->count, cases[i].count);
            seen++;
        }
        assert_int_equal(seen, 1);
        free(m);
        dart_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(linear_layers_are_matrices),
        cmocka_unit_test(cores_are_unfolded_at_the_middle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
