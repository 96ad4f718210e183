/* Sums and rows longer than 65,535 words on every device: some drivers leave a loop silently after
 * so many rounds of one invocation. The oracle is plain loops in f64. */
#include "run_graph.h"
#include "ir_run.h"

enum { LONG = 70001 };

static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
static int ran;

static dart_device *open_device(const char *id)
{
    dart_device *device;
    dart_status status = dart_device_open(id, NULL, &device);
    if (status == DART_OK) return device;
    assert_true(status == DART_DEVICE || status == DART_USAGE);
    print_message("%s skipped: %s\n", id, dart_error_text());
    return NULL;
}

static ir_data make_data(uint64_t words)
{
    ir_data data = {0};
    data.words[DART_REGION_PARAM] = words;
    data.region[DART_REGION_PARAM] = calloc(words, sizeof(double));
    for (uint64_t i = 0; i < words; i++)
        data.region[DART_REGION_PARAM][i] = (float)dart_normal(3, DART_STREAM_TEST, i);
    return data;
}

/* One node's value on a device against `want`; tolerance relative to the largest entry. */
static void compare(dart_device *device, const dart_graph *graph, dart_node node,
    const ir_data *data, const double *want, uint32_t words, double tolerance, const char *what)
{
    ir_run run;
    double *got = calloc(words, sizeof *got), most = 0, worst = 0;
    OK(ir_prepare(&run, device, graph, data, 1, &node));
    OK(dart_exec_run(run.exec, NULL));
    OK(ir_read(&run, 0, got));
    ir_run_free(&run);
    for (uint32_t i = 0; i < words; i++) most = fmax(most, fabs(want[i]));
    for (uint32_t i = 0; i < words; i++) worst = fmax(worst, fabs(got[i] - want[i]));
    free(got);
    print_message("%-28s %.1e\n", what, worst / most);
    if (!(worst <= tolerance * most)) fail_msg("%s: error %g of %g", what, worst, most);
    ran++;
}

static void products(void **state)
{
    (void)state;
    enum { M = 5, N = 3 };
    const char *const forms[] = {"mk,kn->mn", "mk,nk->mn", "km,kn->mn", "km,nk->mn"};
    ir_data data = make_data(((M + N) * LONG + 256) / 64 * 64);
    const uint64_t second = dart_round_up(M * LONG, 64);
    const double *a = data.region[DART_REGION_PARAM], *b = a + second;
    for (int d = 0; d < 3; d++) {
        dart_device *device = open_device(devices[d]);
        if (!device) continue;
        for (int f = 0; f < 4; f++) {
            bool ta = f >= 2, tb = f % 2;
            double want[M * N] = {0};
            for (uint32_t i = 0; i < M; i++)
                for (uint32_t j = 0; j < N; j++)
                    for (uint32_t l = 0; l < LONG; l++)
                        want[i * N + j] +=
                            a[ta ? l * M + i : i * LONG + l] * b[tb ? j * LONG + l : l * N + j];
            dart_graph *graph;
            OK(dart_graph_new(&graph));
            dart_node x = dart_leaf(graph, "a", DART_F32,
                ta ? DART_SHAPE(LONG, M) : DART_SHAPE(M, LONG), DART_REGION_PARAM, 0);
            dart_node y = dart_leaf(graph, "b", DART_F32,
                tb ? DART_SHAPE(N, LONG) : DART_SHAPE(LONG, N), DART_REGION_PARAM, second);
            char what[64];
            snprintf(what, sizeof what, "%s %s", devices[d], forms[f]);
            compare(device, graph, dart_contract2(graph, forms[f], x, y), &data, want, M * N, 1e-4,
                what);
            dart_graph_free(graph);
        }
        dart_device_close(device);
    }
    free(data.region[DART_REGION_PARAM]);
}

static void sums_and_rows(void **state)
{
    (void)state;
    enum { COLS = 3 };
    ir_data data = make_data((COLS * LONG + 64) / 64 * 64);
    const double *x = data.region[DART_REGION_PARAM];
    double *want = calloc(COLS * LONG, sizeof *want);
    for (int d = 0; d < 3; d++) {
        dart_device *device = open_device(devices[d]);
        if (!device) continue;
        for (int f = 0; f < 4; f++) {
            static const char *const names[] = {
                "sum down", "sum along", "softmax", "sum of squares"};
            dart_graph *graph;
            char what[64];
            OK(dart_graph_new(&graph));
            dart_node tall =
                dart_leaf(graph, "x", DART_F32, DART_SHAPE(LONG, COLS), DART_REGION_PARAM, 0);
            dart_node wide = dart_reshape(graph, tall, DART_SHAPE(COLS, LONG));
            dart_node y = f == 0   ? dart_reduce_sum(graph, tall, 0, 1)
                          : f == 1 ? dart_reduce_sum(graph, wide, 1, 1)
                          : f == 2 ? dart_softmax(graph, wide, 0.5, false)
                                   : dart_sumsq_all(graph, tall);
            uint32_t words = f < 2 ? COLS : f == 2 ? COLS * LONG : 1;
            memset(want, 0, COLS * LONG * sizeof *want);
            for (uint32_t i = 0; i < COLS * LONG; i++) {
                if (f == 0) want[i % COLS] += x[i];
                if (f == 1) want[i / LONG] += x[i];
                if (f == 2) want[i] = exp(0.5 * x[i]);
                if (f == 3) want[0] += x[i] * x[i];
            }
            for (uint32_t r = 0; f == 2 && r < COLS; r++) {
                double sum = 0;
                for (uint32_t i = 0; i < LONG; i++) sum += want[r * LONG + i];
                for (uint32_t i = 0; i < LONG; i++) want[r * LONG + i] /= sum;
            }
            snprintf(what, sizeof what, "%s %s", devices[d], names[f]);
            compare(device, graph, y, &data, want, words, 1e-4, what);
            dart_graph_free(graph);
        }
        dart_device_close(device);
    }
    free(want);
    free(data.region[DART_REGION_PARAM]);
}

/* Every token of a long batch is the same word: its row's gradient is one long sum. */
static void one_word_only(void **state)
{
    (void)state;
    enum { VOCAB = 2, COLS = 3 };
    ir_data data = make_data(COLS * LONG);
    data.words[DART_REGION_INPUT] = VOCAB + 1 + LONG;
    data.region[DART_REGION_INPUT] = calloc(data.words[DART_REGION_INPUT], sizeof(double));
    data.region[DART_REGION_INPUT][2] = LONG; /* rows 0 .. LONG - 1 hold word 1, none word 0 */
    double want[VOCAB * COLS] = {0};
    for (uint32_t r = 0; r < LONG; r++) {
        data.region[DART_REGION_INPUT][VOCAB + 1 + r] = r;
        for (uint32_t c = 0; c < COLS; c++)
            want[COLS + c] += data.region[DART_REGION_PARAM][r * COLS + c];
    }
    for (int d = 0; d < 3; d++) {
        dart_device *device = open_device(devices[d]);
        if (!device) continue;
        dart_graph *graph;
        OK(dart_graph_new(&graph));
        dart_node dy =
            dart_leaf(graph, "dy", DART_F32, DART_SHAPE(LONG, COLS), DART_REGION_PARAM, 0);
        dart_node index =
            dart_leaf(graph, "index", DART_I32, DART_SHAPE(VOCAB + 1 + LONG), DART_REGION_INPUT, 0);
        dart_node dw = dart_graph_add(graph,
            &(dart_node_info){
                .op = DART_OP_scatter, .inputs = 2, .in = {dy, index}, .ints = 1, .i = {VOCAB}});
        OK(dart_graph_check(graph));
        char what[64];
        snprintf(what, sizeof what, "%s scatter", devices[d]);
        compare(device, graph, dw, &data, want, VOCAB * COLS, 1e-4, what);
        dart_graph_free(graph);
        dart_device_close(device);
    }
    free(data.region[DART_REGION_PARAM]);
    free(data.region[DART_REGION_INPUT]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(sums_and_rows),
        cmocka_unit_test(one_word_only)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
