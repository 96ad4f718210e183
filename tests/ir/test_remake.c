/* What is made a second time for the gradients: less memory, the same bits, and nothing of what was
 * overwritten meanwhile. */
#include "program.h"
#include "rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

enum { T = 256, D = 64, BLOCKS = 5, WEIGHTS = 7, WORDS = T * T };

typedef struct run {
    uint64_t planned;
    uint32_t nodes;
    float *result;
} run;

/* Runs the graph, as it is or optimized, on numbers in PARAM; `result`: `words` words of GRAD. */
static run run_graph(dart_graph *graph, bool as_built, uint64_t param, uint64_t words)
{
    run r = {.result = calloc(words, sizeof *r.result)};
    float *numbers = calloc(param, sizeof *numbers);
    dart_device *device;
    dart_graph_program program = {0};
    dart_memory memory = {.words = {[DART_REGION_PARAM] = param, [DART_REGION_GRAD] = words}};
    const dart_program_options options = {.as_built = as_built};
    assert_true(r.result && numbers);
    for (uint64_t i = 0; i < param; i++)
        numbers[i] = 0.2F * ((float)dart_uniform(3, DART_STREAM_TEST, i) - 0.45F);
    OK(dart_device_open("cpu", NULL, &device));
    OK(dart_memory_new(&memory, device));
    OK(dart_device_write_f32(device, memory.buffer[DART_REGION_PARAM], 0, param, numbers));
    OK(dart_program_plan(&program, graph, &device->caps, &options, NULL));
    OK(dart_program_bind(&program, device, &memory, NULL, NULL));
    OK(dart_program_run(&program, NULL));
    OK(dart_device_read_f32(device, memory.buffer[DART_REGION_GRAD], 0, words, r.result));
    r.planned = dart_plan_stats_of(program.plan)->planned_words;
    r.nodes = dart_graph_count(program.graph);
    dart_program_free(&program);
    dart_memory_free(&memory, device);
    dart_device_close(device);
    free(numbers);
    return r;
}

static void same_bits(const run *a, const run *b, uint64_t words)
{
    double sum = 0;
    assert_memory_equal(a->result, b->result, words * sizeof *a->result);
    for (uint64_t i = 0; i < words; i++) sum += (double)a->result[i] * (double)a->result[i];
    assert_true(sum > 0);
}

/* Blocks of a norm, causal attention and a gated MLP, and gradients of their weights. */
static dart_graph *blocks(void)
{
    static const uint32_t columns[WEIGHTS] = {0, D, D, T, T, T, T};
    dart_graph *g;
    dart_node weight[BLOCKS * WEIGHTS], grad[BLOCKS * WEIGHTS];
    uint64_t at = WORDS, n = 0;
    OK(dart_graph_new(&g));
    dart_node x = dart_leaf(g, "x", DART_F32, DART_SHAPE(T, T), DART_REGION_PARAM, 0);
    for (int b = 0; b < BLOCKS; b++) {
        dart_node *w = weight + n;
        for (int i = 0; i < WEIGHTS; i++, n++) {
            const dart_shape shape = columns[i] ? DART_SHAPE(T, columns[i]) : DART_SHAPE(T);
            w[i] = dart_leaf(g, "w", DART_F32, shape, DART_REGION_PARAM, at);
            at += dart_shape_words(&shape);
        }
        const dart_node in = dart_rmsnorm(g, x, w[0], 1e-5);
        const dart_node q = dart_contract2(g, "tc,cd->td", in, w[1]);
        const dart_node k = dart_contract2(g, "tc,cd->td", in, w[2]);
        const dart_node v = dart_contract2(g, "tc,cd->td", in, w[3]);
        const dart_node seen = dart_softmax(g, dart_contract2(g, "td,sd->ts", q, k), 0.3, true);
        const dart_node up = dart_contract2(g, "tc,cd->td", in, w[4]);
        const dart_node mixed = dart_contract2(g, "ts,sd->td", seen, v);
        const dart_node gate = dart_contract2(g, "tc,cd->td", mixed, w[5]);
        const dart_node h = dart_map2(g, DART_OP_swiglu, gate, up, 0, 0);
        x = dart_add(g, x, dart_contract2(g, "tc,cd->td", h, w[6]));
    }
    const dart_node loss =
        dart_reduce_sum(g, dart_reshape(g, dart_mul(g, x, x), DART_SHAPE(WORDS)), 0, 1);
    OK(dart_grad(g, loss, (uint32_t)n, weight, grad));
    at = 0;
    for (uint64_t i = 0; i < n; i++) {
        const dart_shape shape = dart_node_get(g, weight[i])->shape;
        dart_store(g, dart_leaf(g, "g", DART_F32, shape, DART_REGION_GRAD, at), grad[i]);
        at += dart_shape_words(&shape);
    }
    return g;
}

static void cheap_values_are_not_kept(void **state)
{
    (void)state;
    const uint64_t words = BLOCKS * (T + 2 * T * D + 4 * (uint64_t)WORDS);
    run kept = run_graph(blocks(), true, WORDS + words, words);
    run made = run_graph(blocks(), false, WORDS + words, words);
    same_bits(&kept, &made, words);
    print_message("[ plan     ] %.1f and %.1f MiB\n", (double)kept.planned / 0x1p18,
        (double)made.planned / 0x1p18);
    /* of each block but the last the norm, the weights of attention and the gated values */
    assert_true(kept.planned - made.planned >= (uint64_t)(BLOCKS - 2) * 3 * WORDS);
    free(kept.result);
    free(made.result);
}

/* early and late read 2 w; between them w may be overwritten. */
static dart_graph *rewritten(bool rewrites)
{
    dart_graph *g;
    OK(dart_graph_new(&g));
    const dart_shape shape = DART_SHAPE(WORDS);
    const dart_node w = dart_leaf(g, "w", DART_F32, shape, DART_REGION_PARAM, 0);
    const dart_node v = dart_leaf(g, "v", DART_F32, shape, DART_REGION_PARAM, WORDS);
    const dart_node twice = dart_map1(g, DART_OP_gelu, w, 0, 0);
    dart_node sum = dart_mul(g, twice, v);
    if (rewrites) dart_store(g, w, dart_affine(g, v, 3, 0));
    for (int i = 0; i < 80; i++) sum = dart_map1(g, DART_OP_silu, sum, 0, 0);
    dart_store(g, dart_leaf(g, "out", DART_F32, shape, DART_REGION_GRAD, 0),
        dart_add(g, dart_mul(g, twice, v), dart_add(g, sum, twice)));
    return g;
}

static void what_was_overwritten_is_kept(void **state)
{
    (void)state;
    run r[4];
    for (int i = 0; i < 4; i++) r[i] = run_graph(rewritten(i / 2), i % 2, 2 * WORDS, WORDS);
    same_bits(&r[0], &r[1], WORDS);
    same_bits(&r[2], &r[3], WORDS);
    /* a store, its value and a second product, as w and v were perhaps others, against two remade
     */
    assert_int_equal(r[0].nodes, r[2].nodes - 3 + 2);
    for (int i = 0; i < 4; i++) free(r[i].result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cheap_values_are_not_kept),
        cmocka_unit_test(what_was_overwritten_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
