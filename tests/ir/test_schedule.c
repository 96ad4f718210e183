/* Launches that do not wait for each other share the barriers of the longest chain. The oracle is
 * naive loops in f64. */
#include "run_graph.h"

static dart_node leaf(dart_graph *g, dart_region region, uint64_t at, uint32_t rows, uint32_t cols)
{
    return dart_leaf(g, "leaf", DART_F32, DART_SHAPE(rows, cols), region, at);
}

static dart_plan *plan_of(const dart_caps *caps, const dart_graph *graph)
{
    dart_graph *better;
    dart_plan *plan;
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map);
    dart_cost cost = dart_cost_for(caps);
    OK(dart_optimize(graph, &cost, 0, NULL, &better, map));
    OK(dart_plan_new(better, caps, NULL, 0, NULL, &plan));
    dart_graph_free(better);
    free(map);
    return plan;
}

/* Chains, one after the other in the graph: as many barriers as the longest needs. Where nothing
 * waits for barriers, launches stay in their order. */
static void chains_share_barriers(void **state)
{
    enum { CHAINS = 3, LINKS = 5 };
    (void)state;
    dart_device *null;
    dart_graph *g;
    host h = host_new(6);
    OK(dart_graph_new(&g));
    for (uint32_t c = 0; c < CHAINS; c++) {
        const uint32_t n = 9 + 2 * c;
        dart_node x = leaf(g, DART_REGION_PARAM, 1024 * c, n, n);
        for (uint32_t i = 0; i < LINKS; i++) x = dart_softmax(g, x, 1.0, false);
        dart_store(g, leaf(g, DART_REGION_OUTPUT, 1024 * c, n, n), x);
    }
    OK(dart_device_open("null", NULL, &null));
    dart_plan *plan = plan_of(&null->caps, g);
    assert_int_equal(dart_plan_stats_of(plan)->launches, CHAINS * LINKS);
    assert_int_equal(dart_plan_stats_of(plan)->barriers, LINKS - 1);
    dart_plan_free(plan);
    dart_device_close(null);
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    for (size_t d = 0; d < 3; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_true(d > 0);
            continue;
        }
        dart_device_close(device);
        bench b = bench_new(devices[d], &h);
        bench_compare(&b, &h, g);
        bench_free(&b);
    }
    dart_graph_free(g);
    host_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chains_share_barriers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
