/* EVA: rows of A begin as the principal directions of what a weight multiplies, centred, over the
 * first batches of the training data and rows with labels only; B begins at zero. Against power
 * iterations, on every device; and what cannot be measured. */
#include "pretrained_lab.h"
#include "run.h"
#include <math.h>

enum { RANK = 3, BATCHES = 4, WIDEST = 24 };

/* A run before its first step. */
typedef struct opened {
    dart_training training;
    dart_run run;
    dart_result result;
} opened;

static dart_status open_at(opened *o, const char *method, const char *device, const char *name)
{
    dart_recipe *recipe = tuning(method, device, in(name));
    set(recipe, "input_batches", "4");
    const dart_status status =
        dart_training_open(recipe, NULL, &(dart_hooks){0}, &o->result, &o->training, &o->run);
    dart_recipe_free(recipe);
    return status;
}

static void close_at(opened *o)
{
    dart_training_close(&o->training, &o->run);
}

/* The direction of the largest variance of c (n, n) into v, which is then taken off c; returns it.
 */
static double take_direction(double *c, uint32_t n, double *v)
{
    double value = 0;
    for (uint32_t i = 0; i < n; i++) v[i] = 1 + 0.1 * i;
    for (int round = 0; round < 20000; round++) {
        double next[WIDEST], norm = 0;
        for (uint32_t i = 0; i < n; i++) {
            next[i] = 0;
            for (uint32_t j = 0; j < n; j++) next[i] += c[i * n + j] * v[j];
            norm += next[i] * next[i];
        }
        value = sqrt(norm);
        for (uint32_t i = 0; i < n; i++) v[i] = next[i] / value;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) c[i * n + j] -= value * v[i] * v[j];
    return value;
}

static void compare(const opened *o, const dart_covariances *c, uint32_t w)
{
    const dart_bundle *b = &o->run.bundle;
    const dart_covariance *of = &c->of[c->place[w]];
    const uint32_t n = of->size;
    const double rows = (double)c->rows;
    double centred[WIDEST * WIDEST], v[WIDEST];
    float *tensor[DART_MAX_CORES + 2];
    assert_true(n <= WIDEST);
    for (uint32_t i = 0; i < n * n; i++)
        centred[i] = of->sum[i] / rows - of->total[i / n] / rows * (of->total[i % n] / rows);
    dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
    for (uint32_t i = 0; i < b->model->weight[w].weight.out * RANK; i++)
        assert_true(tensor[1][i] == 0);
    for (uint32_t k = 0; k < RANK; k++) {
        double along = 0, largest = 0;
        assert_true(take_direction(centred, n, v) > 0);
        for (uint32_t j = 0; j < n; j++) {
            const double a = tensor[2][k * n + j];
            along += v[j] * a;
            if (fabs(a) > fabs(largest)) largest = a;
        }
        if (fabs(fabs(along) - 1) > 1e-4 || largest < 0)
            fail_msg("%s, direction %u: cosine %.9g", b->model->weight[w].weight.name, k, along);
    }
}

static void rows_are_principal_directions(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    opened plain;
    dart_covariances c;
    bool wanted[64];
    assert_int_equal(open_at(&plain, "lora", "cpu", "plain"), DART_OK);
    const dart_bundle *b = &plain.run.bundle;
    for (uint32_t w = 0; w < b->model->weights; w++) wanted[w] = true;
    assert_int_equal(dart_model_covariances(plain.run.device, b->model, b->param, b->frozen,
                         &plain.run.train, BATCHES, wanted, 0, &c),
        DART_OK);
    assert_true(c.rows < BATCHES * 4 * 16); /* prompts are not learnt */
    for (int d = 0; d < 3; d++) {
        opened o;
        char name[16];
        snprintf(name, sizeof name, "eva-%d", d);
        const dart_status status = open_at(&o, "lora lora_init=eva", devices[d], name);
        if (d && status != DART_OK) { /* no such device here */
            close_at(&o);
            continue;
        }
        assert_int_equal(status, DART_OK);
        uint32_t compared = 0;
        for (uint32_t w = 0; w < o.run.bundle.model->weights; w++) {
            if (!o.run.bundle.model->weight[w].layout.directions) continue;
            compare(&o, &c, w);
            compared++;
        }
        assert_int_equal(compared, 7 * LAB_LAYERS);
        close_at(&o);
    }
    dart_covariances_free(&c);
    close_at(&plain);
}

/* With rho 2: as many ranks in all, at most twice as many to a weight, the scale as it was, and
 * every row a direction; the same on every device. */
static void ranks_follow_variance(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    uint32_t first[64] = {0};
    for (int d = 0; d < 3; d++) {
        opened o;
        char name[16];
        snprintf(name, sizeof name, "rho-%d", d);
        const dart_status status = open_at(&o, "lora lora_init=eva eva_rho=2", devices[d], name);
        if (d && status != DART_OK) {
            close_at(&o);
            continue;
        }
        assert_int_equal(status, DART_OK);
        const dart_bundle *b = &o.run.bundle;
        uint32_t total = 0, weights = 0, other = 0;
        for (uint32_t w = 0; w < b->model->weights; w++) {
            const dart_model_weight *of = &b->model->weight[w];
            const uint32_t rank = of->weight.ranks[1], n = of->weight.in;
            float *tensor[DART_MAX_CORES + 2];
            if (!of->layout.directions) continue;
            weights++;
            total += rank;
            other += rank != RANK;
            assert_true(rank >= 1 && rank <= 2 * RANK);
            if (!d) first[w] = rank;
            assert_int_equal(rank, first[w]);
            const dart_network network = dart_network_of(&of->weight, &of->layout);
            assert_true(network.term[0].scale == 16.0 / RANK); /* of the rank asked for */
            dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
            for (uint32_t i = 0; i < of->weight.out * rank; i++) assert_true(tensor[1][i] == 0);
            for (uint32_t k = 0; k < rank * rank; k++) {
                double dot = 0;
                for (uint32_t j = 0; j < n; j++)
                    dot += (double)tensor[2][k / rank * n + j] * tensor[2][k % rank * n + j];
                assert_true(fabs(dot - (k / rank == k % rank)) < 1e-5);
            }
        }
        assert_int_equal(weights, 7 * LAB_LAYERS);
        assert_int_equal(total, weights * RANK);
        assert_true(other > 0);
        close_at(&o);
    }
}

/* On a device that computes nothing no input varies: A begins as it does without. */
static void what_does_not_vary_gives_no_direction(void **state)
{
    (void)state;
    opened o, plain;
    assert_int_equal(open_at(&plain, "lora", "null", "null"), DART_OK);
    assert_int_equal(open_at(&o, "lora lora_init=eva", "null", "null-eva"), DART_OK);
    assert_memory_equal(o.run.bundle.param, plain.run.bundle.param,
        o.run.bundle.model->param_words * sizeof(float));
    close_at(&o);
    close_at(&plain);
}

static void an_encoder_decoder_is_refused(void **state)
{
    (void)state;
    opened o;
    char source[128], target[128];
    snprintf(source, sizeof source, "%s/source.txt", folder);
    snprintf(target, sizeof target, "%s/target.txt", folder);
    write_text(source, 2, 300);
    write_text(target, 3, 300);
    dart_recipe *recipe = tiny("cpu", in("both"));
    const char *const keys[][2] = {{"arch", "encoder-decoder"}, {"text", ""},
        {"source_text", source}, {"target_text", target}, {"linear", "lora"}, {"lora_init", "eva"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    const dart_status status =
        dart_training_open(recipe, NULL, &(dart_hooks){0}, &o.result, &o.training, &o.run);
    dart_recipe_free(recipe);
    if (status != DART_INPUT || !strstr(dart_error_text(), "is an encoder-decoder"))
        fail_msg("status %d: %s", (int)status, dart_error_text());
    assert_false(dart_file_exists(in("both")));
    close_at(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_are_principal_directions),
        cmocka_unit_test(ranks_follow_variance),
        cmocka_unit_test(what_does_not_vary_gives_no_direction),
        cmocka_unit_test(an_encoder_decoder_is_refused)};
    return cmocka_run_group_tests(tests, set_up_base, tear_down);
}
