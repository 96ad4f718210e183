/* Label smoothing against its definition, computed here in f64 from softmax probabilities: cross
 * entropy with (1 - s) on the label and s / V on each of the V classes, padding columns and ignored
 * rows left out. */
#include "ir_run.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { ROWS = 3, COLS = 6, VALID = 5 };

static const double logits[ROWS * COLS] = {
    1, 2, 3, 4, 5, 99, -1, 0.5, 0, 2, -3, 99, 0, 0, 0, 0, 0, 99};
static const double labels[ROWS] = {4, 0, -1};

/* cpu64 with logits (rows, cols) and labels (rows) as leaves of a graph. */
typedef struct lab {
    dart_device *device;
    dart_graph *graph;
    ir_run run;
    ir_data data;
    dart_node logits, labels;
} lab;

static void lab_open(lab *l, uint32_t rows, uint32_t cols, const double *x, const double *label)
{
    *l = (lab){0};
    double *param = calloc(64, sizeof *param), *input = calloc(64, sizeof *input);
    memcpy(param, x, (size_t)rows * cols * sizeof *x);
    memcpy(input, label, rows * sizeof *label);
    l->data.region[DART_REGION_PARAM] = param;
    l->data.region[DART_REGION_INPUT] = input;
    l->data.words[DART_REGION_PARAM] = l->data.words[DART_REGION_INPUT] = 64;
    assert_int_equal(dart_device_open("cpu64", NULL, &l->device), DART_OK);
    assert_int_equal(dart_graph_new(&l->graph), DART_OK);
    l->logits = dart_leaf(l->graph, "x", DART_F32, DART_SHAPE(rows, cols), DART_REGION_PARAM, 0);
    l->labels = dart_leaf(l->graph, "labels", DART_I32, DART_SHAPE(rows), DART_REGION_INPUT, 0);
}

static void lab_run(lab *l, uint32_t count, const dart_node *keep)
{
    assert_int_equal(dart_graph_check(l->graph), DART_OK);
    assert_int_equal(ir_prepare(&l->run, l->device, l->graph, &l->data, count, keep), DART_OK);
    assert_int_equal(dart_exec_run(l->run.exec, NULL), DART_OK);
}

static void lab_close(lab *l)
{
    ir_run_free(&l->run);
    dart_graph_free(l->graph);
    dart_device_close(l->device);
    free(l->data.region[DART_REGION_PARAM]);
    free(l->data.region[DART_REGION_INPUT]);
}

/* stats (2, ROWS) and dx (ROWS, COLS). */
static void evaluate(double smoothing, double scale, double *stats, double *dx)
{
    lab l;
    dart_node keep[2];
    lab_open(&l, ROWS, COLS, logits, labels);
    keep[0] = dart_cross_entropy_smoothed(l.graph, l.logits, l.labels, VALID, smoothing);
    keep[1] = dart_cross_entropy_smoothed_dx(
        l.graph, l.logits, keep[0], l.labels, VALID, scale, smoothing);
    lab_run(&l, 2, keep);
    assert_int_equal(ir_read(&l.run, 0, stats), DART_OK);
    assert_int_equal(ir_read(&l.run, 1, dx), DART_OK);
    lab_close(&l);
}

static void close_to(double got, double want)
{
    /* the kernel's smoothing and scale are single precision */
    if (!(fabs(got - want) < 1e-6)) fail_msg("%.9g, expected %.9g", got, want);
}

static void test_definition(void **state)
{
    (void)state;
    static const double smoothings[] = {0, 0.1, 0.5, 0.9};
    for (int i = 0; i < 4; i++) {
        double s = smoothings[i], stats[2 * ROWS], dx[ROWS * COLS];
        evaluate(s, 0.25, stats, dx);
        for (int r = 0; r < ROWS; r++) {
            double sum = 0, loss = 0;
            for (int j = 0; j < VALID; j++) sum += exp(logits[r * COLS + j]);
            for (int j = 0; j < COLS; j++) {
                double target = (j == labels[r] ? 1 - s : 0) + s / VALID;
                double p = exp(logits[r * COLS + j]) / sum, want = 0;
                if (labels[r] >= 0 && j < VALID) {
                    loss -= target * log(p);
                    want = 0.25 * (p - target);
                }
                close_to(dx[r * COLS + j], want);
            }
            close_to(stats[r], log(sum));
            close_to(stats[ROWS + r], loss);
        }
    }
}

/* By hand: row 0 has five logits one apart, the last is the label; -log p of it is 0.451914396, the
 * mean over the five is 2 more: 0.9 * 0.451914396 + 0.1 * 2.451914396. */
static void test_figures(void **state)
{
    (void)state;
    double stats[2 * ROWS], dx[ROWS * COLS];
    evaluate(0.1, 1, stats, dx);
    close_to(stats[ROWS], 0.651914396);
    assert_true(stats[ROWS + 2] == 0);
    for (int j = 0; j < COLS; j++) assert_true(dx[2 * COLS + j] == 0);
}

/* By hand: ties count as ahead of the label, padding and the label itself do not. */
static void test_ranks(void **state)
{
    (void)state;
    enum { R = 5, C = 4, V = 3 };
    static const double x[R * C] = {
        3, 1, 2, 99, 3, 1, 2, 99, 7, 7, 7, 99, 3, 1, 2, 99, 3, 1, 2, 99};
    static const double label[R] = {0, 1, 1, -1, 3}, want[R] = {0, 2, 2, V, V};
    double stats[3 * R];
    lab l;
    lab_open(&l, R, C, x, label);
    const dart_node keep = dart_cross_entropy_ranked(l.graph, l.logits, l.labels, V);
    lab_run(&l, 1, &keep);
    assert_int_equal(ir_read(&l.run, 0, stats), DART_OK);
    for (int r = 0; r < R; r++) assert_true(stats[2 * R + r] == want[r]);
    close_to(stats[R], log(exp(3) + exp(2) + exp(1)) - 3);
    assert_true(stats[R + 3] == 0 && stats[R + 4] == 0);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_definition),
        cmocka_unit_test(test_figures), cmocka_unit_test(test_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
