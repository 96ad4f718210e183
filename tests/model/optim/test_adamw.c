/* The AdamW step against its formula, with weight decay and clipping. On the f64 device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "ir_run.h"
#include "optim.h"
#include "options.h"
#include "rng.h"

static dart_device *device;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* ratio: of the learning rate of the first `own` words. */
static void check_formula(double ratio, int own)
{
    enum { N = 192, DECAYED = 64 };
    const dart_optim *adamw = dart_optim_find("adamw");
    dart_options o = adamw_values(0.9, 0.99, 1e-8, 0.1);
    options_set(&o, "loraplus_ratio", ratio);
    ir_data data = {0};
    const int regions[] = {DART_REGION_PARAM, DART_REGION_GRAD, DART_REGION_MOMENT};
    for (int r = 0; r < 3; r++) {
        data.words[regions[r]] = r == 2 ? 2 * N : N;
        data.region[regions[r]] = calloc(2 * N, sizeof(double));
        for (int i = 0; i < (r == 2 ? 2 * N : N); i++)
            data.region[regions[r]][i] =
                r == 2 ? 0.01 * i : dart_normal(2, DART_STREAM_TEST + r, i);
    }
    double fscal[16] = {0.01, 1 / (1 - 0.9), 1 / (1 - 0.99), 7, 0.5};
    data.words[DART_REGION_FSCAL] = 16;
    data.region[DART_REGION_FSCAL] = fscal;
    dart_graph *graph;
    ir_run run;
    double param[N], moment[2 * N], after[16], square = 0;
    ok(dart_graph_new(&graph));
    ok(adamw->append(graph,
        &(dart_optim_span){
            .param_words = N, .decay_words = DECAYED, .bonded_words = (uint64_t)own, .max_norm = 1},
        &o));
    ok(ir_prepare(&run, device, graph, &data, 0, NULL));
    ok(dart_exec_run(run.exec, NULL));
    ok(ir_read_region(&run, DART_REGION_PARAM, param));
    ok(ir_read_region(&run, DART_REGION_MOMENT, moment));
    ok(ir_read_region(&run, DART_REGION_FSCAL, after));
    const double *g = data.region[DART_REGION_GRAD], *m = data.region[DART_REGION_MOMENT];
    for (int i = 0; i < N; i++) square += g[i] * g[i];
    double norm = sqrt(square) * 0.5, scale = 0.5 / (norm + 1e-6);
    assert_true(norm > 1);
    assert_true(fabs(after[5] - norm) < 1e-9 && fabs(after[3] / scale - 1) < 1e-6);
    for (int i = 0; i < N; i++) {
        double first = 0.9 * m[i] + 0.1 * scale * g[i];
        double second = 0.99 * m[N + i] + 0.01 * scale * g[i] * scale * g[i];
        double p = data.region[DART_REGION_PARAM][i];
        p -= 0.01 * (i < own ? ratio : 1) *
             (first / (1 - 0.9) / (sqrt(second / (1 - 0.99)) + 1e-8) + (i < DECAYED ? 0.1 * p : 0));
        assert_true(fabs(moment[i] - first) < 1e-6 * (1 + fabs(first)));
        assert_true(fabs(moment[N + i] - second) < 1e-6 * (1 + fabs(second)));
        assert_true(fabs(param[i] - p) < 1e-6 * (1 + fabs(p)));
    }
    ir_run_free(&run);
    dart_graph_free(graph);
    for (int r = 0; r < 3; r++) free(data.region[regions[r]]);
}

static void adamw_equals_the_formula(void **state)
{
    (void)state;
    check_formula(1, 64);
}

/* LoRA+: inside what is decayed, across its end, all words. */
static void the_first_words_have_a_rate_of_their_own(void **state)
{
    (void)state;
    check_formula(16, 32);
    check_formula(16, 128);
    check_formula(0.5, 192);
    check_formula(16, 0);
}

static int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &device) == DART_OK ? 0 : -1;
}

static int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(adamw_equals_the_formula),
        cmocka_unit_test(the_first_words_have_a_rate_of_their_own)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
