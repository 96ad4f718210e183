/* Penalties of stacks of equally shaped layers, and of unequal ranks padded to one, against one
 * weight at a time. On the f64 device. */
#include "decoder_lab.h"
#include "reg.h"

/* Every weight's chain as a stack of its own. */
static uint32_t single_stacks(const lab *l, const built *b, dart_chain_stack *out)
{
    const dart_model *m = l->model;
    uint32_t count = 0;
    for (uint32_t w = 0; w < m->weights; w++) {
        dart_node core[DART_MAX_CORES];
        uint32_t cores = dart_model_chain(m, b->graph, &b->leaves, w, core);
        if (cores < 2) continue;
        out[count] = (dart_chain_stack){.count = 1, .cores = cores};
        for (uint32_t k = 0; k < cores; k++) {
            const dart_shape *s = &dart_node_get(b->graph, core[k])->shape;
            dart_shape shape = DART_SHAPE(1, s->dim[0], s->dim[1], s->dim[2]);
            const dart_param *param =
                &m->param[m->weight[w].first_param + m->weight[w].layout.chain_first + k];
            out[count].core[k] = dart_reshape(b->graph, core[k], shape);
            out[count].gradient[k] =
                dart_leaf(b->graph, "penalty", DART_F32, shape, DART_REGION_PENALTY, param->offset);
        }
        count++;
    }
    return count;
}

/* Penalty gradients (param_words) and the penalty itself behind them. */
static double *penalty_of(lab *l, const dart_reg *reg, bool single, bool pad, uint32_t *out_largest)
{
    const dart_model *m = l->model;
    dart_chain_stack *stack = calloc(m->weights, sizeof *stack);
    double *result = calloc(m->param_words + 1, sizeof *result);
    const uint64_t at = dart_model_chains_at(m), words = l->data.words[DART_REGION_TABLE];
    uint64_t floats = 0, ints = 0;
    uint32_t count;
    dart_chain_span span;
    dart_node value;
    built b;
    ok(dart_model_chains_size(m, &floats, &ints));
    float *f = calloc(floats + 1, sizeof *f);
    int32_t *i = calloc(ints + 1, sizeof *i);
    open_graph(l, &b);
    if (single)
        count = single_stacks(l, &b, stack);
    else
        ok(dart_model_chains(m, b.graph, pad ? &span : NULL, stack, &count));
    *out_largest = 0;
    for (uint32_t s = 0; s < count; s++)
        if (stack[s].count > *out_largest) *out_largest = stack[s].count;
    const dart_options options = penalty_values(reg, &(penalty_options){.p = 0.5});
    ok(dart_penalty_append(b.graph, reg, &options, count, stack, pad ? &span : NULL, &value));
    if (pad) l->data.words[DART_REGION_TABLE] = at + floats + ints;
    ok(dart_graph_check(b.graph));
    ok(ir_prepare(&b.run, device, b.graph, &l->data, 1, &value));
    if (pad) {
        ok(dart_model_chains_table(m, f, i));
        ok(dart_device_write_f32(device, b.run.memory.buffer[DART_REGION_TABLE], at, floats, f));
        ok(dart_device_write_i32(
            device, b.run.memory.buffer[DART_REGION_TABLE], at + floats, ints, i));
    }
    ok(dart_exec_run(b.run.exec, NULL));
    ok(ir_read(&b.run, 0, &result[m->param_words]));
    ok(ir_read_region(&b.run, DART_REGION_PENALTY, result));
    l->data.words[DART_REGION_TABLE] = words;
    close_graph(&b);
    free(stack);
    free(f);
    free(i);
    return result;
}

/* The next penalty that has a graph, from row *at of the table on; NULL: there is none. */
static const dart_reg *penalty_at(uint32_t *at)
{
    const dart_reg *reg;
    while ((reg = dart_reg_at((*at)++)) != NULL)
        if (reg->penalty) return reg;
    return NULL;
}

/* Stacks of equally shaped layers give the same penalty gradient as one weight at a time. */
static void stacked_penalty_equals_single(void **state)
{
    (void)state;
    dart_model_config config = config_at(1);
    lab l;
    lab_open(&l, &config);
    uint32_t largest, alone, at = 0;
    const dart_reg *reg;
    while ((reg = penalty_at(&at)) != NULL) {
        double *stacked = penalty_of(&l, reg, false, false, &largest);
        double *single = penalty_of(&l, reg, true, false, &alone);
        assert_true(largest >= 8 && alone == 1); /* q, k, v, o of two layers and more */
        for (uint64_t i = 0; i <= l.model->param_words; i++)
            assert_true(fabs(stacked[i] - single[i]) <= 1e-9 * (1 + fabs(single[i])));
        free(stacked);
        free(single);
    }
    lab_close(&l);
}

/* Weights of unequal ranks, padded to the largest: the same again, for every penalty and method. */
static void padded_penalty_equals_single(void **state)
{
    (void)state;
    static const int configs[] = {1, 2, 3};
    for (size_t c = 0; c < sizeof configs / sizeof *configs; c++) {
        dart_model_config config = config_at(configs[c]);
        config.role[LINEAR].rank = 4; /* 4 and 3 are padded to 4 */
        lab l;
        lab_open(&l, &config);
        uint32_t(*ranks)[DART_MAX_CORES + 1] = calloc(l.model->weights, sizeof *ranks);
        uint32_t largest, alone, at = 0, unequal = 0;
        for (uint32_t w = 0; w < l.model->weights; w++) {
            const dart_model_weight *weight = &l.model->weight[w];
            const uint32_t cores = weight->layout.chain_cores;
            for (uint32_t k = 0; weight->layout.bonds && k <= cores; k++) {
                ranks[w][k] = weight->weight.ranks[k];
                if (k == 0 || k == cores || (w + k) % 3 || ranks[w][k] < 2) continue;
                ranks[w][k]--;
                unequal++;
            }
        }
        assert_true(unequal > 2);
        lab_close(&l);
        lab_open_at(&l, &config, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks);
        const dart_reg *reg;
        while ((reg = penalty_at(&at)) != NULL) {
            double *equal = penalty_of(&l, reg, false, false, &largest); /* equal ranks only */
            double *padded = penalty_of(&l, reg, false, true, &largest);
            double *single = penalty_of(&l, reg, true, false, &alone), worst = 0;
            for (uint64_t i = 0; i <= l.model->param_words; i++) {
                worst = fmax(worst, fabs(padded[i] - single[i]) / (1 + fabs(single[i])));
                worst = fmax(worst, fabs(equal[i] - single[i]) / (1 + fabs(single[i])));
            }
            print_message(
                "%s, stacks of up to %u: padded differs by %.1e\n", reg->name, largest, worst);
            assert_true(largest >= 4 && worst <= 1e-9);
            free(equal);
            free(padded);
            free(single);
        }
        free(ranks);
        lab_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stacked_penalty_equals_single),
        cmocka_unit_test(padded_penalty_equals_single)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
