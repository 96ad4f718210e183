/* Contraction paths: the orders that tensor-train layers must get, and the value of random
 * contractions. */
#include "run_graph.h"

static const dart_caps cpu_caps = {.name = "cpu", .word = 4, .on_cpu = true, .offset_align = 64};

/* y = x W^T for a tensor train with out modes o, in modes i and bonds r: "tijk,pa... -> t o1 o2
 * o3". */
static dart_node tt_layer(dart_graph *graph, dart_node *leaves)
{
    const uint32_t o[3] = {8, 8, 12}, in[3] = {12, 8, 8}, r[7] = {1, 8, 32, 32, 32, 8, 1};
    leaves[0] = dart_leaf(graph, "x", DART_F32, DART_SHAPE(1024, 12, 8, 8), DART_REGION_OUTPUT, 0);
    uint64_t at = 0;
    for (uint32_t k = 0; k < 6; k++) {
        char name[8];
        snprintf(name, sizeof name, "g%u", k + 1);
        leaves[1 + k] = dart_leaf(graph, name, DART_F32,
            DART_SHAPE(r[k], k < 3 ? o[k] : in[k - 3], r[k + 1]), DART_REGION_PARAM, at);
        at += 16384;
    }
    /* bonds a..g, out p q r, in i j k */
    return dart_contract(graph, "tijk,apb,bqc,crd,die,ejf,fkg->tpqr", 7, leaves);
}

static void tt_takes_the_halves(void **state)
{
    (void)state;
    dart_graph *graph;
    dart_node leaves[7];
    dart_path path;
    OK(dart_graph_new(&graph));
    dart_node y = tt_layer(graph, leaves);
    OK(dart_graph_check(graph));
    dart_cost cost = dart_cost_for(&cpu_caps);
    OK(dart_contract_path(graph, y, &cost, &path));
    double dense = 2.0 * 1024 * 768 * 768;
    print_message("[ path     ] TT %s: %.2f %% of dense\n", path.text, 100 * path.flops / dense);
    assert_true(path.flops <= 0.09 * dense);
    assert_true(path.flops >= 0.08 * dense); /* two skinny products of rank 32 are 8.3 % */
    assert_int_equal(path.steps, 6);
    /* last step: (x with the in cores) times (the out cores) */
    assert_int_equal(strncmp(path.text, "(x*(", 4), 0);
    char *half = strstr(path.text, "))*(");
    assert_non_null(half);
    for (const char *core = "456"; *core; core++) {
        const char *at = strchr(path.text, *core);
        assert_true(at && at < half);
    }
    for (const char *core = "123"; *core; core++) assert_true(strchr(path.text, *core) > half);
    dart_graph_free(graph);
}

static void ttm_rebuilds_the_matrix(void **state)
{
    (void)state;
    dart_graph *graph;
    dart_path path;
    OK(dart_graph_new(&graph));
    dart_node in[4] = {
        dart_leaf(graph, "x", DART_F32, DART_SHAPE(1024, 12, 8, 8), DART_REGION_OUTPUT, 0),
        dart_leaf(graph, "g1", DART_F32, DART_SHAPE(1, 8, 12, 32), DART_REGION_PARAM, 0),
        dart_leaf(graph, "g2", DART_F32, DART_SHAPE(32, 8, 8, 32), DART_REGION_PARAM, 4096),
        dart_leaf(graph, "g3", DART_F32, DART_SHAPE(32, 12, 8, 1), DART_REGION_PARAM, 131072)};
    dart_node y = dart_contract(graph, "tijk,apib,bqjc,crkd->tpqr", 4, in);
    OK(dart_graph_check(graph));
    dart_cost cost = dart_cost_for(&cpu_caps);
    OK(dart_contract_path(graph, y, &cost, &path));
    print_message(
        "[ path     ] TTM %s: %.2f of dense\n", path.text, path.flops / (2.0 * 1024 * 768 * 768));
    assert_int_equal(strncmp(path.text, "x*(", 3), 0);
    assert_true(path.flops < 1.1 * 2 * 1024 * 768 * 768);
    assert_int_equal(path.peak_words, 768 * 768);
    dart_graph_free(graph);
}

static uint32_t count_op(const dart_graph *graph, dart_op op)
{
    uint32_t count = 0;
    for (dart_node n = 1; n <= dart_graph_count(graph); n++)
        count += dart_node_get(graph, n)->op == op;
    return count;
}

/* Gradients of all cores use the forward's halves and each other's partial results. */
static void forward_and_backward_share(void **state)
{
    (void)state;
    dart_graph *graph, *better;
    dart_node leaves[7], grads[7];
    OK(dart_graph_new(&graph));
    dart_node y = tt_layer(graph, leaves);
    dart_node loss = dart_sumsq_all(graph, y);
    OK(dart_grad(graph, loss, 7, leaves, grads));
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map);
    dart_cost cost = dart_cost_for(&cpu_caps);
    OK(dart_optimize(graph, &cost, 7, grads, &better, map));
    uint32_t products = count_op(better, DART_OP_contract);
    double flops = 0;
    dart_path path;
    for (dart_node n = 1; n <= dart_graph_count(better); n++)
        if (dart_node_get(better, n)->op == DART_OP_contract) {
            OK(dart_contract_path(better, n, &cost, &path));
            flops += path.flops;
        }
    double dense = 2.0 * 1024 * 768 * 768;
    print_message("[ path     ] TT step: %u products, %.2f %% of the dense layer's three\n",
        products, 100 * flops / (3 * dense));
    /* 6 forward; 4 large ones backward; each core's gradient from its half's in at most 3 */
    assert_true(products <= 6 + 4 + 18);
    assert_true(flops <= 0.09 * 3 * dense);
    free(map);
    dart_graph_free(better);
    dart_graph_free(graph);
}

/* A random contraction of `n` operands: labels of sizes 1 to 4, each in one to three operands. */
static dart_node random_contract(dart_graph *graph, uint64_t *state, uint32_t n)
{
    static const uint32_t sizes[] = {1, 2, 3, 4, 2, 3};
    char text[200], operand[12][16];
    dart_shape shape[12] = {{0}};
    char out[16];
    uint32_t labels = 2 + draw(state, n + 3), outs = 0;
    memset(operand, 0, sizeof operand);
    for (uint32_t l = 0; l < labels; l++) {
        uint32_t size = sizes[draw(state, 6)], times = 1 + draw(state, 3), placed = 0;
        for (uint32_t t = 0; t < times; t++) {
            uint32_t k = draw(state, n);
            char letter = (char)('a' + l);
            if (strchr(operand[k], letter) || shape[k].rank >= 5) continue;
            /* not always at the end: the label lands anywhere */
            uint32_t at = draw(state, shape[k].rank + 1);
            memmove(operand[k] + at + 1, operand[k] + at, shape[k].rank - at);
            memmove(shape[k].dim + at + 1, shape[k].dim + at,
                (shape[k].rank - at) * sizeof shape[k].dim[0]);
            operand[k][at] = letter;
            shape[k].dim[at] = size;
            shape[k].rank++;
            placed++;
        }
        if (placed && outs < 6 && draw(state, 2)) {
            uint32_t at = draw(state, outs + 1);
            memmove(out + at + 1, out + at, outs - at);
            out[at] = (char)('a' + l);
            outs++;
        }
    }
    out[outs] = 0;
    dart_node in[12];
    size_t used = 0;
    for (uint32_t k = 0; k < n; k++) {
        used += (size_t)snprintf(text + used, sizeof text - used, k ? ",%s" : "%s", operand[k]);
        in[k] = dart_leaf(graph, "t", DART_F32, shape[k], DART_REGION_PARAM, k * 2048);
    }
    snprintf(text + used, sizeof text - used, "->%s", out);
    return dart_contract(graph, text, n, in);
}

static void random_contracts_agree(const char *device, double bound, uint32_t cases)
{
    uint64_t state = 7;
    host h = host_new(1);
    bench b = bench_new(device, &h);
    host sizes = host_new(1); /* magnitudes */
    for (int r = 0; r < DART_REGIONS; r++)
        for (uint32_t i = 0; i < REGION_WORDS; i++) sizes.region[r][i] = fabs(h.region[r][i]);
    double worst = 0;
    for (uint32_t i = 0; i < cases; i++) {
        dart_graph *graph;
        OK(dart_graph_new(&graph));
        dart_node y = random_contract(graph, &state, 1 + i % 7);
        OK(dart_graph_check(graph));
        double **value = naive_run(graph, &h), **scale = naive_run(graph, &sizes), *got;
        bench_run(&b, graph, 1, &y, &got);
        double error =
            nmse(got, value[y], scale[y], dart_shape_words(&dart_node_get(graph, y)->shape));
        if (!(error <= bound)) {
            dart_graph_print(graph, stderr);
            fail_msg("case %u: nmse %g", i, error);
        }
        if (error > worst) worst = error;
        free(got);
        naive_free(graph, value);
        naive_free(graph, scale);
        dart_graph_free(graph);
    }
    print_message("[ contract ] %s: %u cases, worst nmse %.2g\n", device, cases, worst);
    bench_free(&b);
    host_free(&h);
    host_free(&sizes);
}

static void random_on_oracle(void **state)
{
    (void)state;
    random_contracts_agree("cpu64", 1e-25, 600);
}

static void random_on_cpu(void **state)
{
    (void)state;
    random_contracts_agree("cpu", 1e-12, 600);
}

/* Attention as the model writes it needs no permute: batch levels carry the heads. */
static void attention_needs_no_permute(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        dart_shape a, b;
    } cases[] = {
        {"bthd,bshd->bhts", {4, {2, 5, 3, 4}}, {4, {2, 7, 3, 4}}},
        {"bhts,bshd->bthd", {4, {2, 3, 5, 7}}, {4, {2, 7, 3, 4}}},
        {"btkgd,bskd->bkgts", {5, {2, 5, 3, 2, 4}}, {4, {2, 7, 3, 4}}},
        {"tc,oc->to", {2, {33, 20}}, {2, {12, 20}}},
        {"to,tc->oc", {2, {33, 12}}, {2, {33, 20}}},
        {"to,oc->tc", {2, {33, 12}}, {2, {12, 20}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_graph *graph;
        dart_plan *plan;
        OK(dart_graph_new(&graph));
        dart_node a = dart_leaf(graph, "a", DART_F32, cases[i].a, DART_REGION_PARAM, 0);
        dart_node b = dart_leaf(graph, "b", DART_F32, cases[i].b, DART_REGION_PARAM, 4096);
        dart_node y = dart_contract2(graph, cases[i].text, a, b);
        OK(dart_graph_check(graph));
        OK(dart_plan_new(graph, &cpu_caps, NULL, 1, &y, &plan));
        const dart_plan_stats *stats = dart_plan_stats_of(plan);
        assert_int_equal(stats->launches_by_kernel[DART_K_gemm], 1);
        assert_int_equal(stats->launches, 1);
        dart_plan_free(plan);
        dart_graph_free(graph);
    }
}

/* Twelve axes turned round: more than one permute launch carries. */
static void long_permutes_agree(void **state)
{
    (void)state;
    host h = host_new(2);
    bench b = bench_new("cpu64", &h);
    uint64_t random = 11;
    for (uint32_t i = 0; i < 40; i++) {
        dart_graph *graph;
        uint32_t rank = 7 + i % 6, order[12];
        dart_shape shape = {.rank = rank};
        OK(dart_graph_new(&graph));
        for (uint32_t d = 0; d < rank; d++) {
            shape.dim[d] = 2 + (d + i) % 2 * (d < 4);
            order[d] = rank - 1 - d;
        }
        for (uint32_t d = rank - 1; i && d > 0; d--) {
            uint32_t k = draw(&random, d + 1), swap = order[d];
            order[d] = order[k];
            order[k] = swap;
        }
        dart_node x = dart_leaf(graph, "x", DART_F32, shape, DART_REGION_PARAM, 0);
        dart_node y = dart_affine(graph, dart_permute(graph, x, order), 2, 0);
        OK(dart_graph_check(graph));
        double **value = naive_run(graph, &h), *got;
        bench_run(&b, graph, 1, &y, &got);
        assert_true(nmse(got, value[y], value[y], dart_shape_words(&shape)) == 0);
        free(got);
        naive_free(graph, value);
        dart_graph_free(graph);
    }
    bench_free(&b);
    host_free(&h);
}

static void empty_tensors_are_refused(void **state)
{
    (void)state;
    dart_graph *graph;
    dart_plan *plan;
    OK(dart_graph_new(&graph));
    dart_node a = dart_leaf(graph, "a", DART_F32, DART_SHAPE(3, 0), DART_REGION_PARAM, 0);
    dart_node b = dart_leaf(graph, "b", DART_F32, DART_SHAPE(0, 4), DART_REGION_PARAM, 0);
    dart_node y = dart_contract2(graph, "ik,kj->ij", a, b);
    OK(dart_graph_check(graph));
    assert_int_equal(dart_plan_new(graph, &cpu_caps, NULL, 1, &y, &plan), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "empty"));
    dart_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tt_takes_the_halves),
        cmocka_unit_test(ttm_rebuilds_the_matrix),
        cmocka_unit_test(forward_and_backward_share),
        cmocka_unit_test(random_on_oracle),
        cmocka_unit_test(random_on_cpu),
        cmocka_unit_test(attention_needs_no_permute),
        cmocka_unit_test(long_permutes_agree),
        cmocka_unit_test(empty_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
