/* Models that take the matrices of a dense one over, with every method: the same losses at the
 * first step, and every form for inference multiplies by the same matrix. */
#include "decoder_lab.h"
#include "forms_lab.h"
#include "reference.h"

/* Beside a frozen matrix, where the method can. These cannot, and are only near. */
static bool exact(const dart_method *method)
{
    return strcmp(method->name, "tt-embedding") && strcmp(method->name, "loretta-adp");
}

static dart_model_config config_of(const dart_method *method, int llama)
{
    dart_model_config c = base_config();
    c.tied = !llama;
    c.bias = !llama;
    if (llama) {
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.kv_heads = 1;
    }
    if (!method) return c;
    role_everywhere(&c, method);
    for (int r = 0; r < ROLES; r++) options_put(&c.role[r].options, "frozen_base", 1);
    return c;
}

static void read_back(const lab *l, float **param, float **frozen)
{
    const dart_model *m = l->model;
    *param = calloc(m->param_words + 1, sizeof(float));
    *frozen = calloc(m->frozen_words + 1, sizeof(float));
    ok(dart_model_init(m, 5, *param, *frozen));
}

static void put_back(lab *l, const float *param, const float *frozen)
{
    for (uint64_t i = 0; i < l->model->param_words; i++)
        l->data.region[DART_REGION_PARAM][i] = param[i];
    for (uint64_t i = 0; i < l->model->frozen_words; i++)
        l->data.region[DART_REGION_FROZEN][i] = frozen[i];
}

static const dart_param *named(const dart_model *m, const char *name)
{
    for (uint32_t p = 0; p < m->params; p++)
        if (!strcmp(m->param[p].name, name)) return &m->param[p];
    return NULL;
}

/* Initial values of l, with all that the dense model `from` has. */
static void adopt_all(lab *l, const lab *from, const float *base)
{
    float *param, *frozen;
    double error, worst = 0;
    const dart_model *m = l->model;
    read_back(l, &param, &frozen);
    assert_int_equal(m->weights, from->model->weights);
    for (uint32_t w = 0; w < m->weights; w++) {
        const dart_model_weight *dense = &from->model->weight[w];
        assert_string_equal(dense->weight.name, m->weight[w].weight.name);
        ok(dart_model_adopt(m, w, base + from->model->param[dense->first_param].offset, param,
            frozen, NULL, &error));
        worst = fmax(worst, error);
    }
    if (exact(m->weight[0].weight.method)) assert_true(worst < 1e-7);
    for (uint32_t p = 0; p < m->params; p++) {
        if (m->param[p].weight >= 0) continue;
        const dart_param *same = named(from->model, m->param[p].name);
        assert_non_null(same);
        memcpy(param + m->param[p].offset, base + same->offset,
            dart_shape_words(&same->shape) * sizeof *param);
    }
    put_back(l, param, frozen);
    free(param);
    free(frozen);
}

static void losses(const lab *l, double *rows)
{
    built b;
    dart_node keep[2];
    open_graph(l, &b);
    keep[0] = dart_model_loss(l->model, b.graph, &b.leaves, false, 4, &keep[1]);
    run_graph(l, &b, 2, keep);
    double both[2 * ROWS];
    ok(ir_read(&b.run, 1, both));
    for (int r = 0; r < ROWS; r++) rows[r] = both[2 * r];
    close_graph(&b);
}

static void the_first_step_is_the_dense_one(void **state)
{
    (void)state;
    uint32_t methods = 0;
    for (int llama = 0; llama < 2; llama++) {
        dart_model_config config = config_of(NULL, llama);
        lab dense, other;
        double want[ROWS], got[ROWS];
        float *base, *none;
        lab_open(&dense, &config);
        read_back(&dense, &base, &none);
        put_back(&dense, base, none);
        losses(&dense, want);
        for (uint32_t m = 0; dart_method_at(m); m++)
            for (int dora = 0; dora < 2; dora++) {
                if (dora && !dart_option_named(dart_method_at(m)->options, "use_dora")) continue;
                config = config_of(dart_method_at(m), llama);
                for (int r = 0; r < ROLES; r++)
                    options_put(&config.role[r].options, "use_dora", dora);
                lab_open(&other, &config);
                adopt_all(&other, &dense, base);
                losses(&other, got);
                for (int r = 0; r < ROWS && exact(dart_method_at(m)); r++)
                    if (!(fabs(got[r] - want[r]) < 1e-6))
                        fail_msg("%s: loss %.9g of row %d, expected %.9g", dart_method_at(m)->name,
                            got[r], r, want[r]);
                lab_close(&other);
                methods += exact(dart_method_at(m));
            }
        free(base);
        free(none);
        lab_close(&dense);
    }
    assert_true(methods >= 18);
}

static void every_form_is_the_matrix(void **state)
{
    (void)state;
    for (uint32_t m = 0; dart_method_at(m); m++)
        for (int llama = 0; llama < 2; llama++)
            for (int base = 0; base < 2; base++) {
                dart_model_config config = config_of(dart_method_at(m), llama);
                lab l;
                for (int r = 0; r < ROLES; r++)
                    for (int k = 0; k < 2; k++)
                        options_put(&config.role[r].options, k ? "frozen_base" : "use_dora", base);
                lab_open(&l, &config);
                for (dart_infer_weights how = DART_INFER_AUTO; how <= DART_INFER_DENSE; how++)
                    check_forms(device, l.model, &l.data, how, reference_dense);
                lab_close(&l);
            }
}

/* Chains of more cores than one product has operands: summed, whatever form is asked for. */
static void long_chains_have_forms(void **state)
{
    (void)state;
    for (uint32_t modes = 5; modes <= 7; modes++) {
        dart_model_config config = base_config();
        lab l;
        config.d_model = config.d_ff = 1u << modes;
        roles_new(&config, 2, 2, 2, modes);
        role_set(&config, LINEAR, "tt-lora");
        lab_open(&l, &config);
        for (dart_infer_weights how = DART_INFER_AUTO; how <= DART_INFER_DENSE; how++)
            check_forms(device, l.model, &l.data, how, reference_dense);
        lab_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_step_is_the_dense_one),
        cmocka_unit_test(every_form_is_the_matrix), cmocka_unit_test(long_chains_have_forms)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
