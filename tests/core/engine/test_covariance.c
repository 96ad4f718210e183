/* Second moments of what weights multiply, against sums over the inputs of the plain transformer,
 * and of the loss's gradients by their outputs, against its differences; for running text and for
 * rows without labels, on every device; what is refused. */
#include "../../model/nn/decoder_lab.h"
#include "../../model/nn/plain_transformer.h"
#include "documents.h"
#include "failing_alloc.h"
#include "session.h"

enum { BATCHES = 3, TOKENS = 200, LONGEST = 2 * WIDTH, WEIGHTS = 32 };

static double want[WEIGHTS][LONGEST * LONGEST], want_total[WEIGHTS][LONGEST];
static int row; /* of the batch, that the plain transformer begins with */

static void sum_up(const lab *l, int weight, const double *x, uint32_t rows)
{
    const uint32_t n = l->model->weight[weight].weight.in;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n && l->label[row + (int)r] >= 0; i++)
            want_total[weight][i] += x[r * n + i];
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n * n && l->label[row + (int)r] >= 0; i++)
            want[weight][i] += x[r * n + i / n] * x[r * n + i % n];
}

/* The sequence that begins at `row` through all weights but the head: h (TIME, WIDTH). */
static void plain_body(const lab *l, double *h)
{
    const dart_model *m = l->model;
    double x[MOST * WIDTH];
    plain_embed(l, m->embedding, m->positions, l->target + row, TIME, x);
    for (uint32_t layer = 0; layer < m->config.layers; layer++) {
        plain_sublayer(l, &m->block[layer], SELF, true, x, TIME, NULL, 0);
        plain_sublayer(l, &m->block[layer], MLP, true, x, TIME, NULL, 0);
    }
    plain_norm(l, m->norm_w, m->norm_b, x, TIME, h);
}

/* The batch in l through all weights. */
static void plain_batch(const lab *l)
{
    double h[MOST * WIDTH];
    for (row = 0; row < ROWS; row += TIME) {
        plain_body(l, h);
        sum_up(l, l->model->head, h, TIME);
    }
}

/* Summed negative log likelihood of the labels of the sequence that begins at `row`. */
static double nll_of(const lab *l, const double *head)
{
    double h[MOST * WIDTH], nll = 0;
    plain_body(l, h);
    for (int t = 0; t < TIME; t++) {
        double total = 0, logit[VOCAB];
        const int32_t label = l->label[row + t];
        if (label < 0) continue;
        for (int v = 0; v < VOCAB; v++) {
            logit[v] = 0;
            for (int j = 0; j < WIDTH; j++) logit[v] += head[v * WIDTH + j] * h[t * WIDTH + j];
            total += exp(logit[v]);
        }
        nll += log(total) - logit[label];
    }
    return nll;
}

/* Adds to want and want_total the gradients of a weight's outputs over the batch in l. */
static void plain_gradients(const lab *l, int weight)
{
    const uint32_t n = l->model->weight[weight].weight.out;
    const double step = 1e-4;
    double *head = dense_of(l, l->model->head);
    for (row = 0; row < ROWS; row += TIME)
        for (int t = 0; t < TIME; t++) {
            double g[LONGEST];
            if (l->label[row + t] < 0) continue;
            for (uint32_t i = 0; i < n; i++) {
                double side[2];
                for (int k = 0; k < 2; k++) {
                    plain_nudge.weight = weight;
                    plain_nudge.row = (uint32_t)t;
                    plain_nudge.column = i;
                    plain_nudge.by = k ? step : -step;
                    side[k] = nll_of(l, head);
                }
                plain_nudge.by = 0;
                g[i] = (side[1] - side[0]) / (2 * step);
                want_total[weight][i] += g[i];
            }
            for (uint32_t i = 0; i < n * n; i++) want[weight][i] += g[i / n] * g[i % n];
        }
    free(head);
}

typedef struct text {
    int32_t token[TOKENS];
    dart_corpus corpus; /* of documents, if asked for */
    dart_stream stream;
} text;

static void text_open(text *t, bool documents)
{
    *t = (text){.corpus = {.vocab = {.size = VOCAB}, .in_documents = true}};
    for (uint64_t i = 0; i < TOKENS; i++)
        t->token[i] = (int32_t)(dart_uniform(4, DART_STREAM_TEST, i) * VOCAB);
    if (!documents) {
        ok(dart_stream_new(t->token, TOKENS, true, VOCAB, 0, BATCH, TIME, 1, &t->stream));
        return;
    }
    for (uint32_t i = 0; i < 12; i++) {
        const uint8_t learn[] = {0, i % 2, 1, i % 3 == 0, 1};
        uint64_t cut;
        bool left;
        ok(dart_documents_add(&t->corpus.documents[DART_TRAIN], t->token + 7 * (uint64_t)i, learn,
            3 + i % 3, TIME, &cut, &left));
    }
    ok(dart_stream_open(&t->corpus, DART_TRAIN,
        &(dart_stream_options){.training = true, .batch = BATCH, .time = TIME, .seed = 1},
        &t->stream));
}

static void text_close(text *t)
{
    dart_stream_free(&t->stream);
    dart_corpus_free(&t->corpus);
}

/* The lab's values as the host keeps them. */
static float *floats_of(const lab *l, int region)
{
    float *out = calloc(l->data.words[region] + 1, sizeof *out);
    for (uint64_t i = 0; i < l->data.words[region]; i++) out[i] = (float)l->data.region[region][i];
    return out;
}

static dart_status measure_with(dart_device *on, const lab *l, text *t, const bool *wanted,
    uint32_t gradient_rows, dart_covariances *out)
{
    float *param = floats_of(l, DART_REGION_PARAM), *frozen = floats_of(l, DART_REGION_FROZEN);
    dart_status status = dart_model_covariances(
        on, l->model, param, frozen, &t->stream, BATCHES, wanted, gradient_rows, out);
    free(param);
    free(frozen);
    return status;
}

static dart_status measure(
    dart_device *on, const lab *l, text *t, const bool *wanted, dart_covariances *out)
{
    return measure_with(on, l, t, wanted, 0, out);
}

static void compare_on(const char *id, const lab *l, text *t, const bool *wanted, uint64_t rows)
{
    dart_device *on;
    dart_covariances c;
    if (dart_device_open(id, NULL, &on) != DART_OK) return;
    ok(measure(on, l, t, wanted, &c));
    assert_int_equal(c.rows, rows);
    for (uint32_t w = 0; w < l->model->weights; w++) {
        assert_int_equal(c.place[w] == DART_NO_COVARIANCE,
            !wanted[w] || ((int)w == l->model->embedding && !l->model->config.tied));
        if (c.place[w] == DART_NO_COVARIANCE) continue;
        const dart_covariance *got = &c.of[c.place[w]];
        double largest = 0;
        assert_int_equal(got->size, l->model->weight[w].weight.in);
        for (uint32_t i = 0; i < got->size * got->size; i++)
            if (fabs(want[w][i]) > largest) largest = fabs(want[w][i]);
        for (uint32_t i = 0; i < got->size * got->size; i++) {
            const uint32_t mirror = i % got->size * got->size + i / got->size;
            if (fabs(got->sum[i] - want[w][i]) > 1e-5 * largest)
                fail_msg("%s, %s, entry %u: %g, expected %g", id, l->model->weight[w].weight.name,
                    i, got->sum[i], want[w][i]);
            assert_true(got->sum[i] == got->sum[mirror]);
        }
        largest = sqrt(largest * (double)rows); /* of a sum of so many */
        for (uint32_t i = 0; i < got->size; i++)
            if (fabs(got->total[i] - want_total[w][i]) > 1e-5 * largest)
                fail_msg("%s, %s, total %u: %g, expected %g", id, l->model->weight[w].weight.name,
                    i, got->total[i], want_total[w][i]);
    }
    const dart_model_attention *a = &l->model->block[0].attn;
    assert_int_equal(c.place[a->q], c.place[a->k]);
    assert_int_equal(c.place[a->q], c.place[a->v]);
    if (wanted[a->o]) assert_int_not_equal(c.place[a->q], c.place[a->o]);
    dart_covariances_free(&c);
    dart_device_close(on);
}

static void sums_are_those_of_the_plain_transformer(void **state)
{
    (void)state;
    for (int which = 0; which < 6; which++) { /* dense, tensor trains, lora, heads of any size */
        dart_model_config config = fixed_at(which);
        lab l;
        text t;
        bool wanted[WEIGHTS];
        uint64_t rows = 0;
        config.partial_labels = which % 2;
        lab_open(&l, &config);
        text_open(&t, which % 2);
        assert_true(l.model->weights <= WEIGHTS);
        memset(want, 0, sizeof want);
        memset(want_total, 0, sizeof want_total);
        plain_watcher = sum_up;
        for (uint64_t at = 0; at < BATCHES; at++) {
            const dart_batch *b = dart_stream_train(&t.stream, at);
            memcpy(l.target, b->tokens, ROWS * sizeof(int32_t));
            memcpy(l.label, b->labels, ROWS * sizeof(int32_t));
            plain_batch(&l);
            rows += b->predicted;
        }
        assert_true(which % 2 ? rows < BATCHES * ROWS : rows == BATCHES * ROWS);
        for (uint32_t w = 0; w < WEIGHTS; w++) wanted[w] = which < 4 || w % 5 != 4;
        compare_on("cpu", &l, &t, wanted, rows);
        compare_on("vulkan:0", &l, &t, wanted, rows);
        compare_on("opencl:0", &l, &t, wanted, rows);
        text_close(&t);
        lab_close(&l);
    }
}

static void compare_gradients_on(
    const char *id, const lab *l, text *t, const bool *wanted, uint64_t rows)
{
    dart_device *on;
    dart_covariances c, inputs;
    if (dart_device_open(id, NULL, &on) != DART_OK) return;
    ok(measure(on, l, t, wanted, &inputs));
    ok(measure_with(on, l, t, wanted, 4, &c));
    assert_int_equal(c.rows, rows);
    for (uint32_t w = 0; w < l->model->weights; w++) {
        const bool linear = (int)w != l->model->head && (int)w != l->model->embedding;
        assert_int_equal(c.gradient[w] != DART_NO_COVARIANCE, linear && wanted[w]);
        assert_int_equal(inputs.gradient[w], DART_NO_COVARIANCE);
        assert_int_equal(c.place[w], inputs.place[w]);
        if (c.place[w] != DART_NO_COVARIANCE) { /* the inputs are what they are without */
            const dart_covariance *a = &c.of[c.place[w]], *b = &inputs.of[c.place[w]];
            for (uint32_t i = 0; i < a->size * a->size; i++)
                assert_true(fabs(a->sum[i] - b->sum[i]) <= 1e-5 * fabs(b->sum[0]) + 1e-4);
        }
        if (c.gradient[w] == DART_NO_COVARIANCE) continue;
        const dart_covariance *got = &c.of[c.gradient[w]];
        double largest = 0;
        assert_int_equal(got->size, l->model->weight[w].weight.out);
        assert_int_equal(got->weight, w);
        for (uint32_t i = 0; i < got->size * got->size; i++)
            largest = fmax(largest, fabs(want[w][i]));
        assert_true(largest > 0);
        for (uint32_t i = 0; i < got->size * got->size; i++)
            if (!(fabs(got->sum[i] - want[w][i]) <= 1e-4 * largest))
                fail_msg("%s, gradients of %s, entry %u: %g, expected %g", id,
                    l->model->weight[w].weight.name, i, got->sum[i], want[w][i]);
        for (uint32_t i = 0; i < got->size; i++)
            assert_true(
                fabs(got->total[i] - want_total[w][i]) <= 1e-4 * sqrt(largest * (double)rows));
    }
    dart_covariances_free(&c);
    dart_covariances_free(&inputs);
    dart_device_close(on);
}

static void gradients_are_differences_of_the_plain_loss(void **state)
{
    (void)state;
    static const int tried[] = {0, 2, 3}; /* biases, tensor trains; the last without some labels */
    for (size_t k = 0; k < sizeof tried / sizeof *tried; k++) {
        dart_model_config config = fixed_at(tried[k]);
        lab l;
        text t;
        bool wanted[WEIGHTS];
        uint64_t rows = 0;
        config.partial_labels = k == 2;
        config.dropout = 0.5; /* which is left out */
        config.label_smoothing = 0.1;
        lab_open(&l, &config);
        text_open(&t, k == 2);
        memset(want, 0, sizeof want);
        memset(want_total, 0, sizeof want_total);
        plain_watcher = NULL;
        for (uint32_t w = 0; w < WEIGHTS; w++) wanted[w] = k != 1 || w % 4 != 3;
        for (uint64_t at = 0; at < BATCHES; at++) {
            const dart_batch *b = dart_stream_train(&t.stream, at);
            memcpy(l.target, b->tokens, ROWS * sizeof(int32_t));
            memcpy(l.label, b->labels, ROWS * sizeof(int32_t));
            for (int w = 0; w < (int)l.model->weights; w++)
                if (w != l.model->embedding && w != l.model->head) plain_gradients(&l, w);
            rows += b->predicted;
        }
        compare_gradients_on("cpu", &l, &t, wanted, rows);
        compare_gradients_on("vulkan:0", &l, &t, wanted, rows);
        compare_gradients_on("opencl:0", &l, &t, wanted, rows);
        text_close(&t);
        lab_close(&l);
    }
}

static void expect(dart_status got, dart_status status, const char *says)
{
    if (got != status || !strstr(dart_error_text(), says))
        fail_msg(
            "status %d, wanted %d with '%s': %s", (int)got, (int)status, says, dart_error_text());
}

static void what_cannot_be_measured_is_refused(void **state)
{
    (void)state;
    dart_model_config config = fixed_at(2);
    dart_device *on;
    dart_covariances c;
    lab l;
    text t;
    bool wanted[WEIGHTS] = {0};
    ok(dart_device_open("cpu", NULL, &on));
    lab_open(&l, &config);
    text_open(&t, false);
    expect(measure(on, &l, &t, wanted, &c), DART_INPUT, "no weight");
    wanted[l.model->embedding] = true; /* looked up, not multiplied */
    expect(measure(on, &l, &t, wanted, &c), DART_INPUT, "no weight");
    wanted[l.model->block[1].down] = true;
    const dart_param *p = &l.model->param[l.model->block[1].norm2_w];
    l.data.region[p->region][p->offset] = NAN;
    expect(measure(on, &l, &t, wanted, &c), DART_DIVERGED, "inputs of blocks.1.mlp.down");
    l.data.region[p->region][p->offset] = 1;
    float *param = floats_of(&l, DART_REGION_PARAM), *frozen = floats_of(&l, DART_REGION_FROZEN);
    dart_status status = DART_MEMORY;
    for (unsigned long at = 1; status != DART_OK; at += 1 + at / 8) { /* no memory at one place */
        const long before = live_blocks();
        start_failing(at, false);
        status = dart_model_covariances(on, l.model, param, frozen, &t.stream, 1, wanted, 8, &c);
        (void)stop_failing();
        if (status == DART_OK) break;
        assert_int_equal(status, DART_MEMORY);
        assert_int_equal(live_blocks(), before);
    }
    free(param);
    free(frozen);
    dart_covariances_free(&c);
    text_close(&t);
    lab_close(&l);
    config.gate.on = true;
    lab_open(&l, &config);
    text_open(&t, false);
    expect(measure(on, &l, &t, wanted, &c), DART_INPUT, "has gates");
    text_close(&t);
    lab_close(&l);
    dart_device_close(on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            sums_are_those_of_the_plain_transformer, open_device, close_device),
        cmocka_unit_test_setup_teardown(
            gradients_are_differences_of_the_plain_loss, open_device, close_device),
        cmocka_unit_test(what_cannot_be_measured_is_refused),
    };
    return cmocka_run_group_tests_name("covariance", tests, NULL, NULL);
}
