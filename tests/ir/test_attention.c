/* Attention in tiles against the products and the softmax that it is written out as, in double
 * precision: y and all gradients. And where its tensors lie. */
#include "attention_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

enum { KEEPS = 4 };

/* y and the gradients of q, k and v of a case, in tiles or written out. */
static void run_case(dart_device *device, uint32_t shape, uint32_t mask, bool made, bool tiled,
    double *out[KEEPS], uint64_t words[KEEPS])
{
    dart_cost cost = dart_cost_for(&device->caps);
    builder b = {0};
    dart_node keep[KEEPS];
    ir_run run;
    ok(dart_graph_new(&b.g));
    keep[0] = attention_of(&b, shape, mask, 0.7, made);
    const dart_node weight = table(&b, dart_node_get(b.g, keep[0])->shape);
    ok(dart_grad(b.g, dart_sum_all(b.g, dart_mul(b.g, keep[0], weight)), 3, b.x, keep + 1));
    cost.tiled_keys = tiled ? 0 : UINT32_MAX;
    ok(ir_prepare_priced(&run, device, &cost, b.g, &b.data, KEEPS, keep));
    const uint32_t *launches = dart_plan_stats_of(run.plan)->launches_by_kernel;
    assert_int_equal(launches[DART_K_attention], tiled ? 1 : 0);
    assert_int_equal(launches[DART_K_attention_dx], tiled ? 2 : 0);
    assert_int_equal(launches[DART_K_softmax_dx], tiled ? 0 : 1);
    /* leaves are copied together, what is made is made side by side */
    if (tiled) assert_int_equal(launches[DART_K_permute], made ? 0 : 6);
    ok(dart_exec_run(run.exec, NULL));
    for (uint32_t i = 0; i < KEEPS; i++) {
        words[i] = run.keep_words[i];
        out[i] = dart_calloc(words[i], sizeof *out[i]);
        assert_non_null(out[i]);
        ok(ir_read(&run, i, out[i]));
    }
    ir_run_free(&run);
    dart_graph_free(b.g);
    for (int r = 0; r < DART_REGIONS; r++) free(b.data.region[r]);
}

static void tiles_give_what_products_give(void **state)
{
    (void)state;
    static const char *const what[KEEPS] = {"y", "dq", "dk", "dv"};
    dart_device *device;
    ok(dart_device_open("cpu64", NULL, &device));
    for (uint32_t i = 0; i < ATTENTION_SHAPES * ATTENTION_MASKS; i++) {
        double *out[2][KEEPS];
        uint64_t words[KEEPS];
        for (int tiled = 0; tiled < 2; tiled++)
            run_case(
                device, i / ATTENTION_MASKS, i % ATTENTION_MASKS, i & 1, tiled, out[tiled], words);
        for (int k = 0; k < KEEPS; k++) {
            double error = 0, size = 0;
            for (uint64_t w = 0; w < words[k]; w++) {
                const double difference = out[1][k][w] - out[0][k][w];
                error += difference * difference;
                size += out[0][k][w] * out[0][k][w];
            }
            if (!(error <= 1e-24 * (size + 1)))
                fail_msg("shape %u, %s: %s differs, NMSE %g", i / ATTENTION_MASKS,
                    attention_masks[i % ATTENTION_MASKS], what[k], error / size);
            free(out[0][k]);
            free(out[1][k]);
        }
    }
    dart_device_close(device);
}

/* Of 2,048 tokens the plan holds no more than some tensors of their size, where scores alone would
 * be 128 times one. */
static void no_scores_are_kept(void **state)
{
    (void)state;
    enum { TIME = 2048, HEADS = 4, DIM = 16, TENSORS = 16 };
    dart_device *device;
    dart_graph *graph;
    dart_node x[3], dx[3];
    ir_run run = {0};
    ir_data data = {0};
    ok(dart_device_open("cpu", NULL, &device));
    ok(dart_graph_new(&graph));
    const uint64_t words = (uint64_t)TIME * HEADS * DIM;
    data.words[DART_REGION_PARAM] = 3 * words;
    data.region[DART_REGION_PARAM] = dart_calloc(3 * words, sizeof(double));
    assert_non_null(data.region[DART_REGION_PARAM]);
    for (uint32_t i = 0; i < 3; i++)
        x[i] = dart_leaf(
            graph, "x", DART_F32, DART_SHAPE(1, TIME, HEADS, DIM), DART_REGION_PARAM, i * words);
    const dart_node y = dart_attention(graph, x[0], x[1], x[2], 0.25, true, 0, 0);
    ok(dart_grad(graph, dart_sum_all(graph, dart_mul(graph, y, y)), 3, x, dx));
    ok(ir_prepare(&run, device, graph, &data, 3, dx));
    assert_true(dart_plan_stats_of(run.plan)->planned_words < TENSORS * words);
    ir_run_free(&run);
    free(data.region[DART_REGION_PARAM]);
    dart_graph_free(graph);
    dart_device_close(device);
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        builder b = {0};
        ok(dart_graph_new(&b.g));
        const dart_node q = table(&b, DART_SHAPE(2, 5, 4, 3));
        const dart_node k = table(&b, DART_SHAPE(2, i == 0 ? 4 : 7, i == 1 ? 3 : 2, 3));
        const dart_node numbers =
            leaf(&b, DART_REGION_INPUT, DART_I32, DART_SHAPE(3), attention_length);
        const dart_node y =
            dart_attention(b.g, q, k, k, 1, true, i == 2 ? numbers : 0, i == 3 ? numbers : 0);
        assert_int_equal(y, 0);
        assert_int_equal(dart_graph_check(b.g), DART_FAILED);
        assert_non_null(strstr(dart_error_text(), "attention at"));
        dart_graph_free(b.g);
        for (int r = 0; r < DART_REGIONS; r++) free(b.data.region[r]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tiles_give_what_products_give),
        cmocka_unit_test(no_scores_are_kept), cmocka_unit_test(wrong_calls_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
