/* Muon against a plain implementation in double precision: matrices in stacks and alone, tables and
 * vectors between and behind them that AdamW steps, clipping, decay, Nesterov or not; on every
 * device in its own precision. Orthogonalised steps are nearly orthogonal, and of AdamW's size. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "ir_run.h"
#include "options.h"
#include "rng.h"

enum { STEPS = 6, OTHERS = 64 };

/* Words: 3 of 24 x 16, 2 of 16 x 40, two of 5 x 7 with a gap behind each, a table, 12 x 12, a
 * vector that is not decayed, and what another step updates. */
static const dart_matrices matrix[] = {
    {0, 3, 24, 16}, {1152, 2, 16, 40}, {2432, 1, 5, 7}, {2496, 1, 5, 7}, {2624, 1, 12, 12}};
enum { MATRICES = 5, TABLE = 2560, DECAYED = 2816, WORDS = 2849, ALL = WORDS + OTHERS };
enum { MOMENTUM_WORDS = 2 * ALL };

typedef struct setting {
    bool nesterov;
    int steps;
    double max_norm, decay;
} setting;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* Launches carry single numbers: the plain implementation has the same ones. */
static double single(double x)
{
    return (double)(float)x;
}

static dart_options options_for(const setting *s)
{
    dart_options o = options_of(dart_optim_find("muon")->options, "muon_steps", s->steps);
    options_set(&o, "muon_nesterov", s->nesterov);
    options_set(&o, "weight_decay", s->decay);
    return o;
}

static double rate_at(int t)
{
    return 0.02 / (1 + 0.5 * t);
}

static double gradient_at(int t, uint32_t i)
{
    return single(dart_normal(5, DART_STREAM_TEST + (uint64_t)t, i) * (1 + t));
}

/* ---- plain ---- */

/* out (n, m) = a (n, k) b (k, m) */
static void multiply(
    const double *a, const double *b, double *out, uint32_t n, uint32_t k, uint32_t m)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < m; j++) {
            double sum = 0;
            for (uint32_t l = 0; l < k; l++) sum += a[i * k + l] * b[l * m + j];
            out[i * m + j] = sum;
        }
}

/* The wide form of Newton-Schulz: a tall matrix is turned. */
static void plain_orthogonalise(double *x, uint32_t rows, uint32_t columns, int steps)
{
    const double a = single(3.4445), b = single(-4.7750), c = single(2.0315);
    const bool tall = rows > columns;
    const uint32_t n = tall ? columns : rows, m = tall ? rows : columns;
    double *y = calloc((size_t)n * m, sizeof *y), *turned = calloc((size_t)n * m, sizeof *turned);
    double *s = calloc((size_t)n * n, sizeof *s), *square = calloc((size_t)n * n, sizeof *square);
    double norm = 0;
    for (uint32_t i = 0; i < n * m; i++) norm += x[i] * x[i];
    norm = sqrt(norm) + single(1e-7);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < m; j++) y[i * m + j] = (tall ? x[j * n + i] : x[i * m + j]) / norm;
    for (int k = 0; k < steps; k++) {
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < m; j++) turned[j * n + i] = y[i * m + j];
        multiply(y, turned, s, n, m, n);
        multiply(s, s, square, n, n, n);
        for (uint32_t i = 0; i < n * n; i++) s[i] = b * s[i] + c * square[i];
        multiply(s, y, turned, n, n, m);
        for (uint32_t i = 0; i < n * m; i++) y[i] = a * y[i] + turned[i];
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < m; j++) x[tall ? j * n + i : i * m + j] = y[i * m + j];
    free(y);
    free(turned);
    free(s);
    free(square);
}

static bool in_matrix(uint32_t word)
{
    for (uint32_t k = 0; k < MATRICES; k++)
        if (word >= matrix[k].offset &&
            word < matrix[k].offset + matrix[k].count * matrix[k].rows * matrix[k].columns)
            return true;
    return false;
}

static void plain_step(double *param, double *first, double *second, int t, const setting *s)
{
    const double beta = single(0.95), rest = single(1 - 0.95), rate = rate_at(t);
    const double b1 = single(0.9), b2 = single(0.95), eps = single(1e-8);
    double norm = 0, clip = 1;
    for (uint32_t i = 0; i < WORDS; i++) norm += gradient_at(t, i) * gradient_at(t, i);
    if (s->max_norm > 0) clip = fmin(1, single(s->max_norm) / (sqrt(norm) + single(1e-6)));
    for (uint32_t i = 0; i < WORDS; i++) {
        if (in_matrix(i)) continue;
        const double g = clip * gradient_at(t, i);
        first[i] = b1 * first[i] + (1 - b1) * g;
        second[i] = b2 * second[i] + (1 - b2) * g * g;
        const double m = first[i] / (1 - pow(0.9, t)), v = second[i] / (1 - pow(0.95, t));
        param[i] -= rate * (m / (sqrt(v) + eps) + (i < DECAYED ? single(s->decay) * param[i] : 0));
    }
    for (uint32_t k = 0; k < MATRICES; k++)
        for (uint32_t z = 0; z < matrix[k].count; z++) {
            const uint32_t words = matrix[k].rows * matrix[k].columns;
            const uint32_t at = (uint32_t)matrix[k].offset + z * words;
            const double longest = fmax(matrix[k].rows, matrix[k].columns);
            double *x = calloc(words, sizeof *x);
            for (uint32_t i = 0; i < words; i++) {
                const double g = clip * gradient_at(t, at + i);
                first[at + i] = beta * first[at + i] + rest * g;
                x[i] = s->nesterov ? rest * g + beta * first[at + i] : first[at + i];
            }
            plain_orthogonalise(x, matrix[k].rows, matrix[k].columns, s->steps);
            for (uint32_t i = 0; i < words; i++)
                param[at + i] -=
                    rate * (single(0.2 * sqrt(longest)) * x[i] + single(s->decay) * param[at + i]);
            free(x);
        }
}

/* ---- on a device ---- */

/* STEPS steps from random values; param (ALL), moment (2, ALL). Returns the launches of one. */
static uint32_t device_steps(dart_device *device, const setting *s, double *param, double *moment)
{
    static double grad[ALL];
    double fscal[DART_FSCAL_WORDS] = {0};
    const dart_optim *muon = dart_optim_find("muon");
    const dart_options options = options_for(s);
    const dart_optim_span span = {.param_words = WORDS,
        .decay_words = DECAYED,
        .others = OTHERS,
        .matrices = MATRICES,
        .matrix = matrix,
        .max_norm = s->max_norm};
    dart_graph *graph;
    ir_run run;
    ir_data data = {0};
    memset(grad, 0, sizeof grad);
    double *const region[] = {param, grad, moment, fscal};
    const int at[] = {DART_REGION_PARAM, DART_REGION_GRAD, DART_REGION_MOMENT, DART_REGION_FSCAL};
    const uint64_t words[] = {ALL, ALL, MOMENTUM_WORDS, DART_FSCAL_WORDS};
    for (int r = 0; r < 4; r++) {
        data.region[at[r]] = region[r];
        data.words[at[r]] = words[r];
    }
    ok(dart_graph_new(&graph));
    ok(muon->append(graph, &span, &options));
    ok(ir_prepare(&run, device, graph, &data, 0, NULL));
    for (int t = 1; t <= STEPS; t++) {
        float block[2];
        for (uint32_t i = 0; i < WORDS; i++) grad[i] = gradient_at(t, i);
        muon->block(&options, t, block);
        fscal[DART_FSCAL_RATE] = rate_at(t);
        fscal[DART_FSCAL_CORRECT1] = 1 / (1 - pow(0.9, t));
        fscal[DART_FSCAL_CORRECT2] = 1 / (1 - pow(0.95, t));
        assert_true(fabs(block[0] / fscal[DART_FSCAL_CORRECT1] - 1) < 1e-6);
        assert_true(fabs(block[1] / fscal[DART_FSCAL_CORRECT2] - 1) < 1e-6);
        fscal[DART_FSCAL_MICRO] = 1;
        ok(ir_write(&run, &data));
        ok(dart_exec_run(run.exec, NULL));
        ok(ir_read_region(&run, DART_REGION_PARAM, param));
        ok(ir_read_region(&run, DART_REGION_MOMENT, moment));
    }
    uint32_t launches;
    dart_plan_launches(run.plan, &launches);
    ir_run_free(&run);
    dart_graph_free(graph);
    return launches;
}

static void start(double *param, double *moment)
{
    for (uint32_t i = 0; i < ALL; i++) param[i] = single(0.3 * dart_normal(6, DART_STREAM_TEST, i));
    memset(moment, 0, MOMENTUM_WORDS * sizeof *moment);
}

/* Largest difference relative to the largest value, words that are no gap. */
static double apart(const double *a, const double *b)
{
    double most = 0, size = 0;
    for (uint32_t i = 0; i < ALL; i++) {
        if (i >= WORDS || in_matrix(i) || i >= DECAYED || (i >= TABLE && i < TABLE + 64)) {
            most = fmax(most, fabs(a[i] - b[i]));
            size = fmax(size, fabs(b[i]));
        }
    }
    return most / size;
}

static void devices_do_what_the_plain_one_does(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu64", "cpu", "opencl:0", "vulkan:0"};
    static const setting settings[] = {
        {true, 5, 0, 0.1}, {false, 5, 3, 0}, {true, 2, 1e9, 0.01}, {false, 7, 0.5, 0}};
    static double param[ALL], moment[MOMENTUM_WORDS], want[ALL], wanted[MOMENTUM_WORDS];
    for (int d = 0; d < 4; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_true(d > 1);
            continue;
        }
        const double tolerance = d ? 1e-5 : 1e-12;
        double worst = 0;
        uint32_t launches = 0;
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            start(want, wanted);
            start(param, moment);
            for (int t = 1; t <= STEPS; t++)
                plain_step(want, wanted, wanted + ALL, t, &settings[i]);
            launches = device_steps(device, &settings[i], param, moment);
            worst = fmax(worst, apart(param, want));
            worst = fmax(worst, apart(moment, wanted));
            worst = fmax(worst, apart(moment + ALL, wanted + ALL));
        }
        print_message(
            "%s: %u launches a step, worst difference %.1e\n", devices[d], launches, worst);
        assert_true(worst <= tolerance);
        dart_device_close(device);
    }
}

/* One step without momentum or decay: singular values of the step are near each other, and its root
 * mean square is muon_scale of the learning rate. */
static void steps_are_orthogonal(void **state)
{
    (void)state;
    static double param[ALL], moment[MOMENTUM_WORDS], before[ALL];
    const setting s = {false, 5, 0, 0};
    start(before, moment);
    start(param, moment);
    plain_step(param, moment, moment + ALL, 1, &s);
    for (uint32_t k = 0; k < MATRICES; k++) {
        const uint32_t n = matrix[k].rows, m = matrix[k].columns, smaller = n < m ? n : m;
        double trace = 0, square = 0;
        double *step = calloc((size_t)n * m, sizeof *step);
        for (uint32_t i = 0; i < n * m; i++)
            step[i] = (before[matrix[k].offset + i] - param[matrix[k].offset + i]) / rate_at(1);
        for (uint32_t a = 0; a < n; a++)
            for (uint32_t b = 0; b < n; b++) {
                double dot = 0;
                for (uint32_t j = 0; j < m; j++) dot += step[a * m + j] * step[b * m + j];
                trace += a == b ? dot : 0;
                square += dot * dot;
            }
        const double rms = sqrt(trace / (n * m));
        if (!(rms > 0.7 * 0.2 && rms < 1.25 * 0.2)) fail_msg("matrix %u: size %g", k, rms);
        /* sum sigma^4 / (sum sigma^2)^2 is 1 / r where all are equal */
        assert_true(square / (trace * trace) * smaller < 1.3);
        free(step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(devices_do_what_the_plain_one_does),
        cmocka_unit_test(steps_are_orthogonal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
