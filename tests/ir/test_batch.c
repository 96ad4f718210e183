/* Small products of one form become batched launches, and nothing is read before it is made nor
 * after it was changed. The oracle is naive loops in f64. */
#include "run_graph.h"

enum { LAYERS = 6, ROWS = 12, MODES = 20, RANK = 4, GAP = 64 };

/* Launches of the plan of the graph that make at least `least` products at once. */
static uint32_t batches_of(bench *b, const dart_graph *graph, uint32_t least)
{
    dart_graph *better;
    dart_plan *plan;
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map);
    dart_cost cost = dart_cost_for(&b->device->caps);
    uint32_t count, found = 0;
    OK(dart_optimize(graph, &cost, 0, NULL, &better, map));
    OK(dart_plan_new(better, &b->device->caps, NULL, 0, NULL, &plan));
    const dart_launch *list = dart_plan_launches(plan, &count);
    for (uint32_t i = 0; i < count; i++)
        found += list[i].kernel == DART_K_gemm &&
                 ((const gemm_params *)(const void *)list[i].param)->batch0 >= least;
    dart_plan_free(plan);
    dart_graph_free(better);
    free(map);
    return found;
}

static dart_node leaf(dart_graph *g, dart_region region, uint64_t at, uint32_t rows, uint32_t cols)
{
    return dart_leaf(g, "leaf", DART_F32, DART_SHAPE(rows, cols), region, at);
}

/* x -> x A_l B_l + c, layer after layer, with A_l of two cores and gradients of all cores: cores
 * lie `apart` words apart. */
static dart_graph *layers(uint32_t apart)
{
    dart_graph *g;
    dart_node core[3 * LAYERS], grad[3 * LAYERS];
    OK(dart_graph_new(&g));
    dart_node x = leaf(g, DART_REGION_FROZEN, 0, ROWS, MODES);
    for (uint32_t l = 0; l < LAYERS; l++) {
        dart_node *c = core + (size_t)3 * l;
        const uint64_t at = (uint64_t)l * apart;
        c[0] = leaf(g, DART_REGION_PARAM, at, MODES, RANK);
        c[1] = leaf(g, DART_REGION_PARAM, 4096 + at, RANK, RANK);
        c[2] = leaf(g, DART_REGION_PARAM, 8192 + at, RANK, MODES);
        dart_node half = dart_contract2(g, "ab,bc->ac", c[0], c[1]);
        x = dart_contract2(g, "xa,ac->xc", x, half);
        x = dart_add(g, dart_contract2(g, "xc,cy->xy", x, c[2]),
            leaf(g, DART_REGION_FROZEN, 256, ROWS, MODES));
    }
    OK(dart_grad(g, dart_sum_all(g, x), 3 * LAYERS, core, grad));
    for (uint32_t i = 0; i < 3 * LAYERS; i++) {
        const dart_node_info *of = dart_node_get(g, core[i]);
        dart_store(g,
            leaf(g, DART_REGION_GRAD, (uint64_t)of->i[1], of->shape.dim[0], of->shape.dim[1]),
            grad[i]);
    }
    return g;
}

/* The merged cores of all layers are one launch, and so are the gradients of all three cores but in
 * the first layer, whose input lies elsewhere. */
static void cores_are_merged_at_once(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "cpu64", "vulkan:0", "opencl:0"};
    static const uint32_t apart[] = {128, 192};
    host h = host_new(1);
    for (size_t d = 0; d < 4; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_true(d > 1);
            continue;
        }
        dart_device_close(device);
        bench b = bench_new(devices[d], &h);
        for (size_t i = 0; i < 2; i++) {
            dart_graph *g = layers(apart[i]);
            assert_int_equal(batches_of(&b, g, LAYERS), 4);
            assert_true(batches_of(&b, g, LAYERS - 1) >= 4);
            bench_compare(&b, &h, g);
            dart_graph_free(g);
        }
        bench_free(&b);
    }
    host_free(&h);
}

/* Products of the same form before and after a store into what they read; and one that reads what
 * another of its form makes. */
static void order_is_kept(void **state)
{
    (void)state;
    host h = host_new(2);
    bench b = bench_new("cpu", &h);
    dart_graph *g;
    OK(dart_graph_new(&g));
    dart_node a = leaf(g, DART_REGION_OUTPUT, 0, 8, 8), w = leaf(g, DART_REGION_PARAM, 0, 8, 8);
    dart_node before = dart_contract2(g, "ab,bc->ac", a, w);
    dart_store(g, leaf(g, DART_REGION_GRAD, 0, 8, 8), before);
    dart_store(g, a, dart_contract2(g, "ab,bc->ac", leaf(g, DART_REGION_FROZEN, 0, 8, 8), w));
    dart_node x = a;
    for (uint32_t i = 1; i < 8; i++) {
        x = dart_contract2(g, "ab,bc->ac", x, leaf(g, DART_REGION_PARAM, (uint64_t)i * 64, 8, 8));
        dart_store(g, leaf(g, DART_REGION_GRAD, (uint64_t)i * 64, 8, 8), x);
    }
    bench_compare(&b, &h, g);
    dart_graph_free(g);
    bench_free(&b);
    host_free(&h);
}

/* Random products and sums of few forms, with stores into places that others read. */
static void random_products(void **state)
{
    (void)state;
    enum { GRAPHS = 400, NODES = 60 };
    uint32_t batches = 0;
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        host h = host_new(seed);
        bench b = bench_new(seed % 2 ? "cpu" : "cpu64", &h);
        uint64_t s = seed;
        dart_graph *g;
        dart_node made[NODES + 3];
        uint32_t count = 0;
        OK(dart_graph_new(&g));
        for (uint32_t i = 0; i < 3; i++)
            made[count++] = leaf(g, DART_REGION_FROZEN, (uint64_t)i * 64, 8, 8);
        while (count < NODES) {
            const dart_node x = made[draw(&s, count)], y = made[count - 1 - draw(&s, 3)];
            const uint64_t place = (uint64_t)draw(&s, 12) * 64;
            dart_node z = 0;
            switch (draw(&s, 6)) {
            case 0:
                z = dart_add(g, x, y);
                break;
            case 1: /* read a place that stores may change */
                z = leaf(g, DART_REGION_OUTPUT, place, 8, 8);
                break;
            case 2: {
                dart_node to = leaf(g, DART_REGION_OUTPUT, place, 8, 8);
                dart_store(g, to, draw(&s, 2) ? dart_affine(g, y, 0.5, 0) : dart_add(g, to, y));
                continue;
            }
            default: {
                const char *const einsum = draw(&s, 2) ? "ab,bc->ac" : "ab,cb->ac";
                const uint64_t at = (uint64_t)draw(&s, 8) * 64;
                z = dart_contract2(g, einsum, x, leaf(g, DART_REGION_PARAM, at, 8, 8));
                z = dart_affine(g, z, 0.5, 0);
            }
            }
            made[count++] = z;
        }
        for (uint32_t i = 0; i < 16; i++)
            dart_store(g, leaf(g, DART_REGION_GRAD, (uint64_t)i * 64, 8, 8),
                dart_affine(g, made[count - 1 - i], 1.5, 0));
        batches += batches_of(&b, g, 2);
        bench_compare(&b, &h, g);
        dart_graph_free(g);
        bench_free(&b);
        host_free(&h);
    }
    print_message("%u batches in %d graphs\n", batches, GRAPHS);
    assert_true(batches > GRAPHS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cores_are_merged_at_once),
        cmocka_unit_test(order_is_kept), cmocka_unit_test(random_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
