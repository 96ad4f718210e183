/* What the optimizer knows of contracts beside their order: that some are symmetric, so that both
 * gradients of what is in them twice are one, and that constants are factors. The oracle is naive
 * loops in f64. */
#include "run_graph.h"

enum { BATCH = 3, N = 5, R = 4 };

static dart_node cube(dart_graph *g, uint64_t at, uint32_t b, uint32_t c)
{
    return dart_leaf(g, "leaf", DART_F32, DART_SHAPE(BATCH, b, c), DART_REGION_PARAM, at);
}

/* Contracts of the optimized graph; its launches give the words that are kept in what the naive run
 * of the plain one gives. */
static uint32_t contracts_of(dart_graph *g, uint32_t keeps, const dart_node *keep)
{
    host h = host_new(3);
    bench b = bench_new("cpu64", &h);
    double *got[8], **value = naive_run(g, &h);
    dart_graph *better;
    dart_cost cost = dart_cost_for(&b.device->caps);
    dart_node *map = calloc(dart_graph_count(g) + 1u, sizeof *map);
    uint32_t count = 0;
    bench_run(&b, g, keeps, keep, got);
    for (uint32_t i = 0; i < keeps; i++) {
        const uint64_t words = dart_shape_words(&dart_node_get(g, keep[i])->shape);
        assert_true(nmse(got[i], value[keep[i]], value[keep[i]], words) < 1e-24);
        free(got[i]);
    }
    OK(dart_optimize(g, &cost, keeps, keep, &better, map));
    for (dart_node n = 1; n <= dart_graph_count(better); n++)
        count += dart_node_get(better, n)->op == DART_OP_contract;
    naive_free(g, value);
    dart_graph_free(better);
    free(map);
    bench_free(&b);
    host_free(&h);
    return count;
}

/* Two Gram matrices along a chain, X^T X and Y^T (X^T X) Y, and the sum of their squares: both
 * products forward, and for each gradient one product less than operands say. */
static void gradients_of_gram_matrices(void **state)
{
    (void)state;
    dart_graph *g;
    OK(dart_graph_new(&g));
    dart_node x[2] = {cube(g, 0, N, R), cube(g, 1024, R, R)}, grad[2];
    dart_node first = dart_contract2(g, "zna,znb->zab", x[0], x[0]);
    dart_node second = dart_contract(g, "zab,zac,zbd->zcd", 3, (dart_node[]){first, x[1], x[1]});
    dart_node loss = dart_add(g, dart_sumsq_all(g, first), dart_sumsq_all(g, second));
    OK(dart_grad(g, loss, 2, x, grad));
    const dart_node keep[] = {loss, grad[0], grad[1]};
    /* forward 1 + 2; of the second matrix 1 by Y, and 2 by the first; of the first 1 by X */
    assert_int_equal(contracts_of(g, 3, keep), 7);
    dart_graph_free(g);
}

/* The same with a matrix in the middle that is not symmetric: nothing is shared that should not be.
 */
static void others_are_not(void **state)
{
    (void)state;
    dart_graph *g;
    OK(dart_graph_new(&g));
    dart_node x[2] = {cube(g, 0, R, R), cube(g, 1024, R, R)}, grad[2];
    dart_node y = dart_contract(g, "zab,zac,zbd->zcd", 3, (dart_node[]){x[0], x[1], x[1]});
    dart_node turned = dart_contract(g, "zba,zac,zbd->zcd", 3, (dart_node[]){x[0], x[1], x[1]});
    dart_node loss = dart_add(g, dart_sumsq_all(g, y), dart_sum_all(g, dart_mul(g, turned, y)));
    OK(dart_grad(g, loss, 2, x, grad));
    (void)contracts_of(g, 5, (dart_node[]){loss, grad[0], grad[1], y, turned});
    dart_graph_free(g);
}

static void constants_are_factors(void **state)
{
    (void)state;
    dart_graph *g;
    OK(dart_graph_new(&g));
    dart_node x = cube(g, 0, N, R), two = dart_fill(g, DART_SHAPE(BATCH), 2);
    dart_node three = dart_fill(g, DART_SHAPE(N, 7), 3), four = dart_fill(g, DART_SHAPE(R), 4);
    const dart_node keep[] = {dart_contract2(g, "zab,z->zab", x, two),
        dart_contract(g, "zab,ac,z->zb", 3, (dart_node[]){x, three, two}),
        dart_contract2(g, "z,b->zb", two, four), dart_contract2(g, "zab,z->a", x, two)};
    assert_int_equal(contracts_of(g, 4, keep), 0);
    dart_node spread = dart_contract2(g, "zab,c->zac", x, four);
    assert_int_equal(contracts_of(g, 1, &spread), 1);
    dart_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_of_gram_matrices),
        cmocka_unit_test(others_are_not), cmocka_unit_test(constants_are_factors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
