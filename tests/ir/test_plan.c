/* The memory plan: lifetimes, limits, what runs in place, and what the optimizer folds. */
#include "run_graph.h"
#include "planner.h"

static void layout_keeps_lifetimes_apart(void **state)
{
    (void)state;
    double worst = 1, total = 0;
    for (uint32_t c = 0; c < 60; c++) {
        uint64_t random = c + 1;
        uint32_t count = 20 + draw(&random, 200), launches = 2 * count;
        uint64_t limit = c % 3 == 0 ? 4096 : 0;
        dart_block *blocks = calloc(count, sizeof *blocks);
        for (uint32_t i = 0; i < count; i++) {
            /* forward tensors die in reverse order, others at once */
            bool saved = draw(&random, 3) == 0;
            blocks[i].words = 64ull * (1 + draw(&random, 64));
            blocks[i].first = i;
            blocks[i].last = saved ? launches - 1 - i : i + 1 + draw(&random, 4);
        }
        dart_layout_result layout;
        OK(dart_layout_blocks(blocks, count, launches, limit, &layout));
        uint64_t sum = 0;
        for (uint32_t w = 0; w < layout.windows; w++) {
            sum += layout.window_words[w];
            assert_true(!limit || layout.window_words[w] <= limit);
        }
        assert_int_equal(sum, layout.peak);
        for (uint32_t i = 0; i < count; i++) {
            const dart_block *a = &blocks[i];
            assert_true(a->offset + a->words <= layout.window_words[a->window]);
            assert_int_equal(a->offset % 64, 0);
            for (uint32_t k = 0; k < i; k++) {
                const dart_block *b = &blocks[k];
                bool alive = a->first <= b->last && b->first <= a->last;
                bool meet = a->window == b->window && a->offset < b->offset + b->words &&
                            b->offset < a->offset + a->words;
                assert_false(alive && meet);
            }
        }
        for (uint32_t t = 0; t < launches; t++) { /* the bound is the largest live sum */
            uint64_t live = 0;
            for (uint32_t i = 0; i < count; i++)
                if (blocks[i].first <= t && t <= blocks[i].last) live += blocks[i].words;
            assert_true(live <= layout.bound);
            if (t == layout.bound_at) assert_int_equal(live, layout.bound);
        }
        double ratio = (double)layout.peak / (double)layout.bound;
        if (limit == 0) {
            total += ratio / 40;
            if (ratio > worst) worst = ratio;
        }
        free(blocks);
    }
    print_message("[ layout   ] peak / bound: mean %.3f, worst %.3f\n", total, worst);
    assert_true(worst <= 1.15);
}

static const dart_caps plain_caps = {.name = "cpu", .word = 4, .on_cpu = true, .offset_align = 64};

static dart_graph *two_layers(dart_node *out)
{
    dart_graph *graph;
    OK(dart_graph_new(&graph));
    dart_graph_scope(graph, "blocks.3.mlp");
    dart_node x = dart_leaf(graph, "x", DART_F32, DART_SHAPE(256, 64), DART_REGION_OUTPUT, 0);
    dart_node w = dart_leaf(graph, "w", DART_F32, DART_SHAPE(1024, 64), DART_REGION_PARAM, 0);
    dart_node h = dart_map1(graph, DART_OP_relu, dart_contract2(graph, "tc,oc->to", x, w), 0, 0);
    *out = dart_contract2(graph, "to,oc->tc", h, w);
    OK(dart_graph_check(graph));
    return graph;
}

static void too_large_is_refused(void **state)
{
    (void)state;
    dart_node y;
    dart_plan *plan;
    dart_graph *graph = two_layers(&y);
    dart_caps caps = plain_caps;
    caps.max_alloc = 512 << 10; /* the hidden layer is 1 MiB */
    assert_int_equal(dart_plan_new(graph, &caps, NULL, 1, &y, &plan), DART_MEMORY);
    assert_non_null(strstr(dart_error_text(), "blocks.3.mlp"));
    assert_non_null(strstr(dart_error_text(), "1.0 MiB"));
    assert_non_null(strstr(dart_error_text(), "0.5 MiB"));
    assert_non_null(strstr(dart_error_text(), "smaller batch"));
    caps.max_alloc = 0;
    caps.memory = 1 << 20;
    assert_int_equal(dart_plan_new(graph, &caps, NULL, 1, &y, &plan), DART_MEMORY);
    assert_non_null(strstr(dart_error_text(), "blocks.3.mlp"));
    caps.memory = 2 << 20;
    OK(dart_plan_new(graph, &caps, NULL, 1, &y, &plan));
    dart_plan_free(plan);
    dart_graph_free(graph);
}

/* The longest launch, by the device's prices. */
static void longest_launch(void **state)
{
    (void)state;
    dart_node y;
    dart_plan *plan;
    dart_graph *graph = two_layers(&y);
    OK(dart_plan_new(graph, &plain_caps, NULL, 1, &y, &plan));
    const double longest = dart_plan_stats_of(plan)->longest_seconds;
    const dart_cost cost = dart_cost_for(&plain_caps);
    dart_plan_free(plan);
    /* one of the two products: 2 * 256 * 1024 * 64 operations, three slices */
    const double words = 256 * 64 + 1024 * 64 + 256 * 1024;
    assert_true(
        fabs(longest / (2.0 * 256 * 1024 * 64 * cost.flop + 4 * words * cost.byte) - 1) < 1e-9);
    dart_graph_free(graph);
}

/* relu works in place, so two tensors are alive at most. */
static void in_place_saves_memory(void **state)
{
    (void)state;
    dart_node y;
    dart_plan *plan;
    dart_graph *graph = two_layers(&y);
    OK(dart_plan_new(graph, &plain_caps, NULL, 1, &y, &plan));
    const dart_plan_stats *stats = dart_plan_stats_of(plan);
    assert_int_equal(stats->launches, 3);
    assert_int_equal(stats->bound_words, 256 * 1024 + 256 * 64);
    assert_int_equal(stats->planned_words, stats->bound_words);
    assert_int_equal(stats->region_words, 256 * 64 + 1024 * 64);
    assert_true(fabs(stats->flops - (4.0 * 256 * 1024 * 64 + 256 * 1024)) < 1);
    dart_plan_free(plan);
    dart_graph_free(graph);
}

static void running_allocates_nothing(void **state)
{
    (void)state;
    dart_node y;
    dart_plan *plan;
    dart_exec *exec, *other;
    host h = host_new(3);
    bench b = bench_new("cpu", &h);
    dart_graph *graph = two_layers(&y);
    OK(dart_plan_new(graph, &b.device->caps, NULL, 1, &y, &plan));
    OK(dart_exec_new(plan, b.device, &b.memory, NULL, &exec));
    uint64_t bytes = b.device->bytes_allocated;
    OK(dart_exec_new(plan, b.device, &b.memory, exec, &other));
    assert_int_equal(b.device->bytes_allocated, bytes); /* the arena is shared */
    assert_int_equal(dart_exec_arena_bytes(exec), dart_plan_stats_of(plan)->planned_words * 4);
    OK(dart_exec_run(exec, NULL));
    uint64_t before = dart_alloc_count();
    for (int i = 0; i < 5; i++) {
        OK(dart_exec_run(exec, NULL));
        OK(dart_exec_run(other, NULL));
    }
    assert_int_equal(dart_alloc_count(), before);
    dart_exec_free(exec);
    OK(dart_exec_run(other, NULL)); /* keeps the arena alive */
    dart_exec_free(other);
    dart_plan_free(plan);
    dart_graph_free(graph);
    bench_free(&b);
    host_free(&h);
}

/* Duplicates, neutral operations and dead nodes go; a read before and one after a store are not the
 * same. */
static void optimizer_folds(void **state)
{
    (void)state;
    dart_graph *graph, *better;
    OK(dart_graph_new(&graph));
    dart_node x = dart_leaf(graph, "x", DART_F32, DART_SHAPE(4, 8), DART_REGION_PARAM, 0);
    dart_node g = dart_leaf(graph, "g", DART_F32, DART_SHAPE(4, 8), DART_REGION_GRAD, 0);
    dart_node one = dart_fill(graph, DART_SHAPE(4, 8), 1),
              zero = dart_fill(graph, DART_SHAPE(8), 0);
    dart_node a = dart_mul(graph, dart_map1(graph, DART_OP_relu, x, 0, 0), one);
    dart_node b = dart_add(graph, dart_map1(graph, DART_OP_relu, x, 0, 0), zero);
    dart_node flat = dart_reshape(graph, dart_reshape(graph, b, DART_SHAPE(32)), DART_SHAPE(4, 8));
    dart_node sum = dart_add(graph, a, dart_affine(graph, flat, 1, 0)); /* relu + relu */
    dart_node before = dart_map1(graph, DART_OP_square, g, 0, 0);
    dart_store(graph, g, sum);
    dart_node after = dart_map1(graph, DART_OP_square, g, 0, 0);
    dart_node again = dart_map1(graph, DART_OP_square, g, 0, 0);
    (void)dart_map1(graph, DART_OP_sqrt, x, 0, 0); /* dead */
    OK(dart_graph_check(graph));
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map),
              keep[] = {before, after, again};
    dart_cost cost = dart_cost_for(&plain_caps);
    OK(dart_optimize(graph, &cost, 3, keep, &better, map));
    /* x, g, relu, add, square, store, square */
    assert_int_equal(dart_graph_count(better), 7);
    assert_int_equal(map[a], map[b]);
    assert_int_not_equal(map[before], map[after]);
    assert_int_equal(map[after], map[again]);
    free(map);
    dart_graph_free(better);
    dart_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_keeps_lifetimes_apart),
        cmocka_unit_test(too_large_is_refused),
        cmocka_unit_test(longest_launch),
        cmocka_unit_test(in_place_saves_memory),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(optimizer_folds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
