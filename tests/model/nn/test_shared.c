/* Tensors that several weights share (lorta): how many numbers they are, whose they are, what each
 * matrix makes of them, and the LoRA pair of each. */
#include "model_lab.h"
#include "reference.h"
#include <stdlib.h>

static dart_model_config config_of(
    uint32_t layers, uint32_t width, uint32_t heads, uint32_t kv_heads, const char *pattern)
{
    dart_model_config c = {.layers = layers,
        .d_model = width,
        .heads = heads,
        .kv_heads = kv_heads,
        .d_ff = 2 * width,
        .context = 8,
        .vocab = 11,
        .of_base = true,
        .frozen_vectors = true,
        .act = DART_ACT_SWIGLU};
    c.norm.kind = DART_RMS_NORM;
    c.positions.kind = DART_ROTARY;
    roles_new(&c, 4, 4, 4, 2);
    for (int r = 0; r < ROLES; r++) role_set(&c, r, "frozen");
    memmove(c.role + 1, c.role, ROLES * sizeof *c.role);
    c.roles = ROLES + 1;
    strcpy(c.role[0].pattern, pattern);
    role_set(&c, 0, "lorta");
    return c;
}

static uint64_t trained(const dart_model *model, const char *only)
{
    uint64_t words = 0;
    for (uint32_t p = 0; p < model->params; p++)
        if (model->param[p].region == DART_REGION_PARAM && strstr(model->param[p].name, only))
            words += dart_shape_words(&model->param[p].shape);
    return words;
}

static void counts_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        uint32_t layers, width, heads, kv_heads, rank;
        const char *pattern;
        uint32_t matrices, trained_layers;
    } cases[] = {{30, 576, 9, 3, 8, "*.attn.?", 4, 30}, {12, 768, 12, 12, 4, "*.attn.?", 4, 12},
        {12, 768, 12, 12, 4, "*.attn.[qv]", 2, 12}, {30, 576, 9, 3, 1, "blocks.2?.attn.?", 4, 10},
        {32, 4096, 32, 8, 12, "*.attn.?", 4, 32}, {1, 6, 1, 1, 50, "*.attn.o", 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_model *model;
        dart_model_config config = config_of(
            cases[i].layers, cases[i].width, cases[i].heads, cases[i].kv_heads, cases[i].pattern);
        config.role[0].rank = cases[i].rank;
        ok(dart_model_new(&config, NULL, &model));
        /* r (d + d / H + H + 4 + L) */
        const uint64_t want = (uint64_t)cases[i].rank *
                              (cases[i].width + cases[i].width / cases[i].heads + cases[i].heads +
                                  cases[i].matrices + cases[i].trained_layers);
        assert_int_equal(trained(model, ""), want);
        uint64_t all, compressed, dense, each = 0;
        dart_model_count(model, &all, &compressed, &dense);
        for (uint32_t w = 0; w < model->weights; w++)
            if (model->weight[w].compressed) each += dart_model_weight_words(model, w);
        assert_int_equal(compressed, each);
        assert_int_equal(compressed, want + dense);
        dart_model_free(model);
    }
}

/* Three tensors of all, one of each matrix, one of each layer; an MLP has its own. */
static void each_is_there_once(void **state)
{
    (void)state;
    static const char *const once[] = {"blocks.attn.lorta_A", "blocks.attn.lorta_B",
        "blocks.attn.lorta_C_head", "blocks.attn.q.lorta_C_m", "blocks.attn.k.lorta_C_m",
        "blocks.attn.v.lorta_C_m", "blocks.attn.o.lorta_C_m", "blocks.0.attn.lorta_C_l",
        "blocks.1.attn.lorta_C_l", "blocks.mlp.lorta_A", "blocks.mlp.lorta_B",
        "blocks.mlp.lorta_C_head", "blocks.mlp.up.lorta_C_m", "blocks.mlp.gate.lorta_C_m",
        "blocks.mlp.down.lorta_C_m", "blocks.0.mlp.lorta_C_l", "blocks.1.mlp.lorta_C_l"};
    dart_model *model;
    const dart_model_config config = config_of(2, 12, 3, 1, "*.{attn,mlp}.*");
    ok(dart_model_new(&config, NULL, &model));
    uint32_t found = 0, all = 0;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (param->region != DART_REGION_PARAM) continue;
        all++;
        for (size_t i = 0; i < sizeof once / sizeof *once; i++)
            found += !strcmp(param->name, once[i]);
        /* the first weight that has it */
        assert_int_equal(model->weight[param->weight].param[param->tensor], p);
        for (int w = 0; w < param->weight; w++)
            for (uint32_t t = 0; t < model->weight[w].layout.tensors; t++)
                assert_true(model->weight[w].param[t] != p);
    }
    assert_int_equal(found, sizeof once / sizeof *once);
    assert_int_equal(all, found);
    assert_int_equal(trained(model, ".mlp."), 4 * (12 + 24 + 1 + 3 + 2));
    dart_model_free(model);
}

/* Vectors of ones: one LoRA whose B is repeated for each head, equal in every layer, and in o the
 * other way round. And what merges is what the pair is. */
static void ones_are_one_lora(void **state)
{
    (void)state;
    enum { D = 12, H = 3, R = 4 };
    dart_model *model;
    const dart_model_config config = config_of(2, D, H, 1, "*.attn.?");
    ok(dart_model_new(&config, NULL, &model));
    float *param = calloc(model->param_words, sizeof *param);
    float *frozen = calloc(model->frozen_words, sizeof *frozen);
    ok(dart_model_init(model, 3, param, frozen));
    const float *a = NULL, *b = NULL;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *of = &model->param[p];
        if (of->region != DART_REGION_PARAM) continue;
        const uint64_t words = dart_shape_words(&of->shape);
        for (uint64_t i = 0; i < words; i++) {
            if (strstr(of->name, "lorta_B")) assert_true(param[of->offset + i] == 0);
            if (strstr(of->name, "lorta_B"))
                param[of->offset + i] = (float)dart_normal(4, DART_STREAM_TEST, i);
            if (strstr(of->name, "lorta_C")) param[of->offset + i] = 1;
        }
        if (strstr(of->name, "lorta_A")) a = param + of->offset;
        if (strstr(of->name, "lorta_B")) b = param + of->offset;
    }
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        const uint32_t out = weight->weight.out, in = weight->weight.in;
        if (!weight->layout.thin) continue;
        float *tensor[DART_MAX_CORES + 2], *pair_b, *pair_a, merged[D * D];
        uint32_t rank;
        dart_model_tensors(model, w, param, frozen, NULL, tensor);
        ok(dart_method_merge(&weight->weight, &weight->layout, tensor, merged));
        ok(dart_method_pair(&weight->weight, &weight->layout, tensor, &rank, &pair_b, &pair_a));
        assert_int_equal(rank, R);
        for (uint32_t i = 0; i < out; i++)
            for (uint32_t j = 0; j < in; j++) {
                const uint32_t wide = weight->weight.in_heads ? j : i;
                const uint32_t narrow = weight->weight.in_heads ? i : j;
                double want = 0, pair = 0;
                for (int k = 0; k < R; k++) {
                    want += (double)b[wide % (D / H) * R + k] * a[narrow * R + k] * 6 / R;
                    pair += (double)pair_b[i * R + k] * pair_a[k * in + j];
                }
                assert_true(fabs(merged[i * in + j] - want) < 1e-6);
                assert_true(fabs(pair - want) < 1e-6);
            }
        free(pair_b);
        free(pair_a);
    }
    free(param);
    free(frozen);
    dart_model_free(model);
}

static void shapes_have_to_agree(void **state)
{
    (void)state;
    dart_model *model;
    dart_model_config config = config_of(2, 12, 3, 1, "*.attn.q");
    memmove(config.role + 1, config.role, config.roles++ * sizeof *config.role);
    strcpy(config.role[0].pattern, "blocks.1.attn.k");
    config.role[0].rank = 5;
    assert_int_equal(dart_model_new(&config, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(),
        "weight blocks.1.attn.k: method lorta shares the tensor blocks.attn.lorta_A with "
        "blocks.0.attn.q, where it is 12 x 4, and here it would be 12 x 5"));
    config.role[0].rank = 0;
    assert_int_equal(dart_model_new(&config, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "a rank of 0"));
    strcpy(config.role[0].pattern, "nothing"); /* another method there shares nothing */
    role_set(&config, 0, "lora");
    ok(dart_model_new(&config, NULL, &model));
    dart_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_are_the_published_ones),
        cmocka_unit_test(each_is_there_once), cmocka_unit_test(ones_are_one_lora),
        cmocka_unit_test(shapes_have_to_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
