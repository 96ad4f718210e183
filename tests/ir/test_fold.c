/* What is folded changes no number: graphs of the sums that cost no launch, run as they are planned
 * and with every node kept, so that nothing can be folded. */
#include "run_graph.h"

enum { ROWS = 24, WIDE = 64, ODD = 33, NODES = 200 };

static dart_node leaf(dart_graph *g, dart_region region, uint64_t at, uint32_t rows, uint32_t cols)
{
    const dart_shape shape = rows > 1 ? DART_SHAPE(rows, cols) : DART_SHAPE(cols);
    return dart_leaf(g, "leaf", DART_F32, shape, region, at);
}

static dart_node gelu(dart_graph *g, dart_node x)
{
    return dart_map1(g, DART_OP_gelu, x, 0, 0);
}

static dart_node steps(dart_graph *g)
{
    return dart_leaf(g, "steps", DART_I32, DART_SHAPE(16), DART_REGION_ISCAL, 0);
}

/* x W + a row, as biases are; the row is read through a view */
static dart_node bias(dart_graph *g, uint32_t cols)
{
    dart_node x = leaf(g, DART_REGION_FROZEN, 0, ROWS, cols);
    dart_node w = leaf(g, DART_REGION_PARAM, 0, cols, cols);
    dart_node row = dart_reshape(g, leaf(g, DART_REGION_PARAM, 8192, 1, cols), DART_SHAPE(cols));
    return dart_add(g, dart_contract2(g, "ab,bc->ac", x, w), row);
}

/* x + (x A) B + x W of an x that is read again: LoRA beside a residual sum, A scaled */
static dart_node residual(dart_graph *g, uint32_t cols)
{
    dart_node x = gelu(g, leaf(g, DART_REGION_FROZEN, 0, ROWS, cols));
    dart_node a = dart_affine(g, leaf(g, DART_REGION_PARAM, 0, cols, 8), 0.5, 0);
    dart_node b = leaf(g, DART_REGION_PARAM, 4096, 8, cols);
    dart_node w = leaf(g, DART_REGION_FROZEN, 16384, cols, cols);
    dart_node low = dart_contract2(g, "ar,rc->ac", dart_contract2(g, "ab,br->ar", x, a), b);
    dart_node y = dart_add(g, x, dart_add(g, low, dart_contract2(g, "ab,bc->ac", x, w)));
    return dart_add(g, gelu(g, y), x);
}

/* x + dropout(x W + a row) */
static dart_node dropped(dart_graph *g, uint32_t cols)
{
    dart_node x = gelu(g, leaf(g, DART_REGION_FROZEN, 0, ROWS, cols));
    dart_node y = dart_contract2(g, "ab,bc->ac", x, leaf(g, DART_REGION_PARAM, 0, cols, cols));
    y = dart_add(g, y, leaf(g, DART_REGION_PARAM, 8192, 1, cols));
    y = dart_add(g, x, dart_dropout(g, y, steps(g), 0.25, 3));
    return dart_mul(g, y, x);
}

/* gradients of x + norm(x) W, of the norm's weight and bias too, which lie side by side */
static dart_node normed(dart_graph *g, uint32_t cols)
{
    const uint32_t apart = (cols + 63) / 64 * 64; /* side by side with 64 columns alone */
    dart_node of[3] = {leaf(g, DART_REGION_PARAM, 0, ROWS, cols),
        leaf(g, DART_REGION_PARAM, 8192, 1, cols),
        leaf(g, DART_REGION_PARAM, 8192 + apart, 1, cols)};
    dart_node grad[3], x = gelu(g, of[0]);
    dart_node y = dart_contract2(g, "ab,bc->ac", dart_layernorm(g, x, of[1], of[2], 1e-5),
        leaf(g, DART_REGION_FROZEN, 0, cols, cols));
    dart_node sum = gelu(g, dart_add(g, x, y));
    OK(dart_grad(g,
        dart_sum_all(g, dart_mul(g, sum, leaf(g, DART_REGION_FROZEN, 32768, ROWS, cols))), 3, of,
        grad));
    for (uint32_t i = 1; i < 3; i++)
        dart_store(g, leaf(g, DART_REGION_GRAD, 8192 + (i - 1) * apart, 1, cols), grad[i]);
    return grad[0];
}

/* the same row added before and after a store into it: each sum has the row of its time */
static dart_node stored(dart_graph *g, uint32_t cols)
{
    dart_node x = leaf(g, DART_REGION_FROZEN, 0, ROWS, cols);
    dart_node w = leaf(g, DART_REGION_PARAM, 0, cols, cols);
    dart_node row = leaf(g, DART_REGION_PARAM, 8192, 1, cols);
    dart_node one = dart_add(g, dart_contract2(g, "ab,bc->ac", x, w), row);
    dart_node two = dart_contract2(g, "ab,bc->ac", one, w);
    dart_store(g, row, dart_affine(g, row, 2, 1));
    return dart_add(g, two, row);
}

typedef dart_node (*build)(dart_graph *g, uint32_t cols);

/* The launches of the plan that are sums of their own. */
static uint32_t sums_of(const bench *b, const dart_graph *graph, dart_node keep)
{
    dart_graph *better;
    dart_plan *plan;
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map);
    const dart_cost cost = dart_cost_for(&b->device->caps);
    uint32_t count, found = 0;
    OK(dart_optimize(graph, &cost, 1, &keep, &better, map));
    OK(dart_plan_new(better, &b->device->caps, NULL, 1, &map[keep], &plan));
    const dart_launch *list = dart_plan_launches(plan, &count);
    for (uint32_t i = 0; i < count; i++)
        found +=
            list[i].kernel == DART_K_map && dart_node_get(better, list[i].label)->op == DART_OP_add;
    dart_plan_free(plan);
    dart_graph_free(better);
    free(map);
    return found;
}

static void check_graph(
    bench *b, const host *h, const char *name, build make, uint32_t cols, uint32_t sums)
{
    dart_graph *g;
    double *folded, *apart[NODES] = {0}, stored_words[2][2 * WIDE];
    dart_node all[NODES];
    OK(dart_graph_new(&g));
    const dart_node result = make(g, cols);
    const uint32_t nodes = dart_graph_count(g);
    assert_in_range(nodes, 1, NODES);
    bench_fill(b, h);
    bench_run(b, g, 1, &result, &folded);
    OK(dart_device_read_f64(
        b->device, b->memory.buffer[DART_REGION_GRAD], 8192, 2 * WIDE, stored_words[0]));
    uint32_t kept = 0;
    for (dart_node n = 1; n <= nodes; n++)
        if (dart_node_get(g, n)->op != DART_OP_store) all[kept++] = n;
    bench_fill(b, h);
    bench_run(b, g, kept, all, apart);
    OK(dart_device_read_f64(
        b->device, b->memory.buffer[DART_REGION_GRAD], 8192, 2 * WIDE, stored_words[1]));
    for (uint32_t i = 0; i < kept; i++) {
        const uint64_t words = dart_shape_words(&dart_node_get(g, all[i])->shape);
        if (all[i] == result && !(nmse(folded, apart[i], apart[i], words) < 1e-10))
            fail_msg("%s of %u columns: %g", name, cols, nmse(folded, apart[i], apart[i], words));
        free(apart[i]);
    }
    assert_true(nmse(stored_words[0], stored_words[1], stored_words[1], 2 * WIDE) < 1e-10);
    if (sums_of(b, g, result) != sums)
        fail_msg("%s of %u columns: %u sums left", name, cols, sums_of(b, g, result));
    free(folded);
    dart_graph_free(g);
}

#define check(make, cols, sums) check_graph(&b, &h, #make, make, cols, sums)

static void folds_change_nothing(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu64", "cpu", "vulkan:0", "opencl:0"};
    host h = host_new(3);
    for (size_t d = 0; d < 4; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_true(d > 1);
            continue;
        }
        dart_device_close(device);
        bench b = bench_new(devices[d], &h);
        for (uint32_t cols = ODD; cols <= WIDE; cols += WIDE - ODD) {
            check(bias, cols, 0);
            check(residual, cols, 1); /* the last, of no product */
            check(dropped, cols, 0);
            check(normed, cols, 0);
            check(stored, cols, 1);
        }
        bench_free(&b);
    }
    host_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(folds_change_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
