/* Projections of one input by two factors each, as a transformer's queries, keys and values are:
 * the first factors are one product, and the gradient of the input is one sum. And launches that do
 * not wait for each other share the barriers of the longest chain. The oracle is naive loops in
 * f64. */
#include "run_graph.h"

enum { PARTS = 3, ROWS = 40, IN = 40, OUT = 32 };

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

/* Everything in GRAD and OUTPUT as the naive run has it. */
static void compare(bench *b, host *h, const dart_graph *graph)
{
    static const dart_region regions[] = {DART_REGION_GRAD, DART_REGION_OUTPUT};
    double *got = calloc(REGION_WORDS, sizeof *got);
    bench_fill(b, h);
    bench_run(b, graph, 0, NULL, NULL);
    naive_free(graph, naive_run(graph, h));
    for (size_t r = 0; r < 2; r++) {
        OK(dart_device_read_f64(b->device, b->memory.buffer[regions[r]], 0, REGION_WORDS, got));
        const double *want = h->region[regions[r]];
        const double error = nmse(got, want, want, REGION_WORDS);
        if (!(error < 1e-10)) fail_msg("region %d: normalised error %g", regions[r], error);
    }
    free(got);
}

/* The sum of the squares of all projections of x, a sum itself, with gradients by x and by all
 * factors. */
static dart_graph *projections(uint32_t rank)
{
    dart_graph *g;
    dart_node of[1 + 2 * PARTS], grad[1 + 2 * PARTS], loss = 0;
    OK(dart_graph_new(&g));
    of[0] = leaf(g, DART_REGION_FROZEN, 0, ROWS, IN);
    dart_node x = dart_add(g, of[0], leaf(g, DART_REGION_FROZEN, 4096, ROWS, IN));
    for (uint32_t i = 0; i < PARTS; i++) {
        of[1 + i] = leaf(g, DART_REGION_PARAM, (uint64_t)i * rank * IN, rank, IN);
        of[1 + PARTS + i] = leaf(g, DART_REGION_PARAM, 8192 + (uint64_t)i * OUT * rank, OUT, rank);
    }
    for (uint32_t i = 0; i < PARTS; i++) {
        dart_node half = dart_contract2(g, "xi,ri->xr", x, of[1 + i]);
        dart_node y = dart_contract2(g, "xr,or->xo", half, of[1 + PARTS + i]);
        dart_node sum = dart_sumsq_all(g, y);
        loss = loss ? dart_add(g, loss, sum) : sum;
    }
    OK(dart_grad(g, loss, 1 + 2 * PARTS, of, grad));
    uint64_t at = 0;
    for (uint32_t i = 0; i < 1 + 2 * PARTS; i++) {
        const dart_shape *shape = &dart_node_get(g, of[i])->shape;
        dart_store(g, leaf(g, DART_REGION_GRAD, at, shape->dim[0], shape->dim[1]), grad[i]);
        at = dart_round_up(at + dart_shape_words(shape), 64);
    }
    return g;
}

/* Products with this many columns and a whole sum, or with such a sum. */
static void count_woven(const dart_plan *plan, uint32_t rank, uint32_t *wide, uint32_t *deep)
{
    uint32_t count;
    const dart_launch *list = dart_plan_launches(plan, &count);
    *wide = *deep = 0;
    for (uint32_t i = 0; i < count; i++) {
        gemm_params p;
        if (list[i].kernel != DART_K_gemm) continue;
        memcpy(&p, list[i].param, sizeof p);
        *wide += p.m == ROWS && p.n == PARTS * rank && p.k == IN;
        *deep += p.m == ROWS && p.n == IN && p.k == PARTS * rank;
    }
}

static void projections_are_one(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "cpu64", "vulkan:0", "opencl:0"};
    host h = host_new(5);
    for (size_t d = 0; d < 4; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_true(d > 1);
            continue;
        }
        dart_device_close(device);
        bench b = bench_new(devices[d], &h);
        for (uint32_t rank = 8; rank <= 16; rank += 8) {
            dart_graph *g = projections(rank);
            dart_plan *plan = plan_of(&b.device->caps, g);
            uint32_t wide, deep;
            count_woven(plan, rank, &wide, &deep);
            print_message("%s, rank %u: %u wide, %u deep\n", devices[d], rank, wide, deep);
            assert_true(wide == 1 && deep == 1);
            compare(&b, &h, g);
            dart_plan_free(plan);
            dart_graph_free(g);
        }
        bench_free(&b);
    }
    host_free(&h);
}

/* Chains of products, one after the other in the graph, of different sizes so that they are no
 * batches: as many barriers as the longest needs. */
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
    bench b = bench_new("opencl:0", &h);
    compare(&b, &h, g);
    bench_free(&b);
    dart_graph_free(g);
    host_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projections_are_one), cmocka_unit_test(chains_share_barriers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
