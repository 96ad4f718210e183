/* Stages: rise of lambda, ranks that stand still, several selections in one run, the rounded model
 * of a run without one. */
#include "run.h"
#include "spectra.h"
#include "tiny_run.h"
#include <jansson.h>
#include <math.h>

static dart_stage stage_of(
    double lambda, double warmup, dart_lambda_schedule_choice schedule, uint64_t steps)
{
    return (dart_stage){.steps = steps,
        .set = {.reg = dart_reg_find("bond-nuclear"),
            .lambda_reg = lambda,
            .lambda_warmup = warmup,
            .lambda_schedule = schedule,
            .until = DART_UNTIL_STEPS}};
}

static void near(double got, double wanted)
{
    if (fabs(got - wanted) > 1e-12 * fabs(wanted)) fail_msg("got %.17g, wanted %.17g", got, wanted);
}

static void test_lambda(void **state)
{
    (void)state;
    dart_stage s = stage_of(0.5, 0.2, DART_LAMBDA_LINEAR, 100);
    assert_int_equal(dart_stage_lambda_steps(&s), 20);
    near(dart_stage_lambda(&s, 0), 0.5 / 20);
    near(dart_stage_lambda(&s, 9), 0.25);
    near(dart_stage_lambda(&s, 19), 0.5);
    near(dart_stage_lambda(&s, 99), 0.5);
    s = stage_of(0.5, 40, DART_LAMBDA_EXPONENTIAL, 100); /* above 1: steps */
    near(dart_stage_lambda(&s, 19), 0.5 * pow(10, -1.5));
    near(dart_stage_lambda(&s, 39), 0.5);
    for (uint64_t k = 1; k < 40; k++) /* equal factors */
        near(dart_stage_lambda(&s, k) / dart_stage_lambda(&s, k - 1), pow(10, 3.0 / 40));
    s = stage_of(0.5, 0.2, DART_LAMBDA_CONSTANT, 100);
    near(dart_stage_lambda(&s, 0), 0.5);
    s = stage_of(0.5, 0, DART_LAMBDA_LINEAR, 100);
    near(dart_stage_lambda(&s, 0), 0.5);
    s.set.reg = NULL;
    assert_true(dart_stage_lambda(&s, 0) == 0);
}

/* A rank that falls for 50 steps and then stays within the tolerance. */
static void test_plateau(void **state)
{
    (void)state;
    dart_stage s = stage_of(1, 0, DART_LAMBDA_LINEAR, 1000);
    s.set.until = DART_UNTIL_PLATEAU;
    s.set.plateau_steps = 30;
    s.set.plateau_tolerance = 0.01;
    assert_int_equal(dart_stage_rank_steps(&s), 3);
    s.set.rank_steps = 5;
    assert_int_equal(dart_stage_rank_steps(&s), 5);
    dart_rest rest = {0};
    uint64_t at = 0;
    for (at = 5; at < 1000; at += 5) {
        double wobble = at % 10 ? 0.004 : -0.004;
        double rank = at < 50 ? 10 - 0.1 * (double)at : 5 * (1 + wobble);
        if (dart_plateau(&s, at, rank, &rest)) break;
    }
    assert_int_equal(at, 80); /* stands since 50 */
    assert_int_equal(rest.since, 50);
    /* one that never stops moving, and one measured while lambda rises */
    rest = (dart_rest){0};
    for (at = 5; at < 1000; at += 5)
        assert_false(dart_plateau(&s, at, 1000 - (double)at * 0.9, &rest) && at < 900);
    s.set.lambda_warmup = 0.2;
    rest = (dart_rest){0};
    for (at = 5; !dart_plateau(&s, at, 4, &rest); at += 5) assert_true(at < 1000);
    assert_int_equal(at, 230);
}

static void test_end(void **state)
{
    (void)state;
    dart_stage s[4] = {{.steps = 10}, {.steps = 20}, {.steps = 0, .pick = true}, {.steps = 5}};
    int64_t moved[4] = {0};
    dart_stage_end(s, 4, 1, 12, moved);
    assert_true(s[1].steps == 12 && s[2].steps == 0 && s[3].steps == 13);
    assert_true(moved[1] == -8 && moved[3] == 8 && moved[0] == 0 && moved[2] == 0);
    dart_stage_end(s, 4, 3, 6, moved); /* nobody inherits */
    assert_true(s[3].steps == 6 && moved[3] == 1);
}

static const char plateau[] =
    "stages:\n"
    "  - {name: shrink, max_steps: 60, lr_scheduler: constant, reg: bond-nuclear, lambda: 0.02,\n"
    "     lambda_warmup: 6, lambda_schedule: exponential, until: plateau, plateau_steps: 8,\n"
    "     plateau_tolerance: 0.2, rank_steps: 2}\n"
    "  - {name: pick, select: threshold, threshold: 0.3}\n"
    "  - {name: tune, max_steps: 10}\n";

/* Lines of metrics.jsonl with the field; the last value of it. */
static unsigned count_field(const char *text, const char *field, double *last)
{
    unsigned count = 0;
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        json_t *body = json_loadb(line, n, 0, NULL);
        json_t *value = json_object_get(body, field);
        assert_non_null(body);
        if (value) {
            count++;
            *last = json_number_value(value);
        }
        json_decref(body);
        line += n + (line[n] == '\n');
    }
    return count;
}

/* Stops at a plateau; the run keeps its length; stopped and resumed at every step it is the same.
 */
static void test_plateau_run(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result whole, part;
    dart_recipe *recipe = tiny_recipe(tiny_path("plateau"), plateau);
    assert_int_equal(tiny_train(recipe, &w, &whole), DART_OK);
    dart_recipe_free(recipe);
    assert_non_null(strstr(w.notes, "stood still from step"));
    assert_int_equal(w.steps, 70);
    assert_int_equal(w.total, 70);
    char *text = tiny_read("plateau", "metrics.jsonl");
    double last = 0;
    unsigned measured = count_field(text, "effective_rank", &last);
    assert_true(measured >= 5 && measured < 30); /* 30 would be the whole stage */
    assert_true(last > 1 && last < 4);
    assert_int_equal(count_field(text, "lambda", &last), 70);
    assert_true(last == 0); /* tuning has no penalty */
    assert_int_equal(count_field(text, "penalty_ratio", &last), 70);
    assert_null(strstr(text, "null"));
    free(text);
    unsigned resumed = 0;
    for (uint64_t k = 1; k < 70; k += k < 30 ? 1 : 7) {
        recipe = tiny_recipe(tiny_path("plateau-part"), plateau);
        w = (tiny_watch){.stop_at = k};
        assert_int_equal(tiny_train(recipe, &w, &part), DART_INTERRUPTED);
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        assert_int_equal(tiny_train(recipe, &w, &part), DART_OK);
        static const char *const same[] = {"metrics.jsonl", "spectra.jsonl",
            "checkpoints/step-00000070/model.safetensors",
            "checkpoints/step-00000070/optimizer.safetensors"};
        for (int i = 0; i < 4; i++) tiny_assert_same("plateau", "plateau-part", same[i]);
        assert_int_equal(part.rows, whole.rows);
        assert_int_equal(dart_remove_tree(tiny_path("plateau-part")), DART_OK);
        dart_recipe_free(recipe);
        resumed++;
    }
    printf("%u runs with a plateau stopped and resumed bit for bit\n", resumed);
    assert_true(resumed >= 30);
}

/* The dense twin of such a run has no ranks to wait for and takes the same steps. */
static void test_plateau_twin(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result result;
    dart_recipe *recipe = tiny_recipe(tiny_path("twin"), plateau);
    tiny_set(recipe, "dense_twin", "true");
    if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(result.steps, 140);
    assert_true(result.row[0].effective_rank == 0 && result.row[1].effective_rank > 1);
    dart_recipe_free(recipe);
    recipe = tiny_recipe(tiny_path("dense"), plateau);
    tiny_set(recipe, "linear", "dense");
    w = (tiny_watch){0};
    assert_int_equal(tiny_train(recipe, &w, &result), DART_INPUT);
    dart_recipe_free(recipe);
}

static const char twice[] =
    "stages:\n"
    "  - {name: shrink, max_steps: 12, reg: bond-nuclear, lambda: 0.02}\n"
    "  - {name: pick, select: threshold, threshold: 0.3}\n"
    "  - {name: shrink2, max_steps: 10, reg: bond-nuclear, lambda: 0.02, warmup_steps: 2}\n"
    "  - {name: pick2, select: threshold, threshold: 0.5}\n"
    "  - {name: pick3, select: budget, budget: 400}\n"
    "  - {name: tune, max_steps: 10}\n";

static void test_several(void **state)
{
    (void)state;
    static const char *const rows[] = {"TT before selection 1", "after selection 1",
        "before selection 2", "after selection 2", "after selection 3", "after tuning"};
    tiny_watch w = {0};
    dart_result whole, part;
    dart_recipe *recipe = tiny_recipe(tiny_path("twice"), twice);
    if (tiny_train(recipe, &w, &whole) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_int_equal(whole.rows, 6);
    for (uint32_t i = 0; i < 6; i++) {
        const dart_table_row *row = &whole.row[i];
        assert_string_equal(row->name, rows[i]);
        assert_true(row->valid_ppl > 1 && row->test_ppl > 1 && row->effective_rank >= 1);
        assert_true(row->effective_rank <= row->rank_max);
        if (i) assert_true(row->compressed_params <= whole.row[i - 1].compressed_params);
        printf("%-22s %llu compressed, ranks %u/%.2f/%u, effective %.2f, test %.2f\n", row->name,
            (unsigned long long)row->compressed_params, row->rank_min, row->rank_mean,
            row->rank_max, row->effective_rank, row->test_ppl);
    }
    assert_true(whole.row[1].compressed_params < whole.row[0].compressed_params);
    assert_true(whole.row[3].compressed_params < whole.row[2].compressed_params);
    assert_true(whole.row[4].compressed_params <= 400);
    /* The learning rate rises again after each selection: step 13 and 14, and 23 and 24. */
    char *text = tiny_read("twice", "metrics.jsonl");
    double lr[33] = {0};
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        json_t *body = json_loadb(line, n, 0, NULL), *value = json_object_get(body, "lr");
        if (value) lr[json_integer_value(json_object_get(body, "step"))] = json_number_value(value);
        json_decref(body);
        line += n + (line[n] == '\n');
    }
    free(text);
    assert_true(lr[13] < 0.6e-2 && lr[14] > 0.99e-2 && lr[23] < 0.6e-2 && lr[24] > 0.99e-2);
    for (uint64_t k = 11; k < 32; k++) {
        recipe = tiny_recipe(tiny_path("twice-part"), twice);
        w = (tiny_watch){.stop_at = k};
        assert_int_equal(tiny_train(recipe, &w, &part), DART_INTERRUPTED);
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        assert_int_equal(tiny_train(recipe, &w, &part), DART_OK);
        static const char *const same[] = {"metrics.jsonl", "spectra.jsonl",
            "checkpoints/step-00000032/model.safetensors",
            "checkpoints/step-00000032/optimizer.safetensors"};
        for (int i = 0; i < 4; i++) tiny_assert_same("twice", "twice-part", same[i]);
        assert_int_equal(part.rows, 6);
        for (uint32_t i = 0; i < 6; i++) {
            assert_string_equal(part.row[i].name, rows[i]);
            assert_true(part.row[i].test_ppl == whole.row[i].test_ppl);
        }
        assert_int_equal(dart_remove_tree(tiny_path("twice-part")), DART_OK);
        dart_recipe_free(recipe);
    }
}

/* A penalty without selection: the row of the rounded model stands for the free cut. */
/* Without rows of selections the model at the end is the same, and it alone has a row, be it tuned
 * or just cut. */
static void test_last_row(void **state)
{
    (void)state;
    static const char cut[] = "stages:\n"
                              "  - {name: shrink, max_steps: 12, reg: bond-nuclear, lambda: 0.02}\n"
                              "  - {name: pick, select: threshold, threshold: 0.3}\n"
                              "  - {name: pick2, select: budget, budget: 400}\n";
    static const char *const recipes[] = {twice, cut};
    static const char *const last[] = {"after tuning", "after selection 2"};
    for (int i = 0; i < 2; i++) {
        dart_result all, one;
        tiny_watch w = {0};
        dart_recipe *recipe = tiny_recipe(tiny_path("all-rows"), recipes[i]);
        if (tiny_train(recipe, &w, &all) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
        recipe = tiny_recipe(tiny_path("one-row"), recipes[i]);
        tiny_set(recipe, "eval_selections", "false");
        w = (tiny_watch){0};
        if (tiny_train(recipe, &w, &one) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
        assert_true(all.rows > 1);
        assert_int_equal(one.rows, 1);
        assert_string_equal(one.row[0].name, last[i]);
        assert_string_equal(all.row[all.rows - 1].name, last[i]);
        assert_true(one.row[0].test_ppl == all.row[all.rows - 1].test_ppl);
        assert_true(one.row[0].chain_params == all.row[all.rows - 1].chain_params);
        assert_int_equal(dart_remove_tree(tiny_path("all-rows")), DART_OK);
        assert_int_equal(dart_remove_tree(tiny_path("one-row")), DART_OK);
    }
}

static void test_rounded(void **state)
{
    (void)state;
    static const char shrink[] =
        "stages:\n  - {name: shrink, max_steps: 60, reg: bond-nuclear, lambda: 0.03}\n";
    static const char *const epsilon[] = {"1e-6", "0.3", "0"};
    dart_result result;
    for (int i = 0; i < 3; i++) {
        tiny_watch w = {0};
        dart_recipe *recipe = tiny_recipe(tiny_path("rounded"), shrink);
        tiny_set(recipe, "round_epsilon", epsilon[i]);
        tiny_set(recipe, "force", "true");
        if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
        const dart_table_row *a = &result.row[0], *b = &result.row[1];
        assert_string_equal(a->name, "TT");
        assert_int_equal(result.rows, i == 2 ? 1 : 2);
        if (i == 2) break;
        assert_string_equal(b->name, "TT rounded, not trained");
        printf("epsilon %s: ranks %.2f to %.2f, test perplexity %.4f to %.4f\n", epsilon[i],
            a->rank_mean, b->rank_mean, a->test_ppl, b->test_ppl);
        if (i == 0) assert_true(fabs(b->test_ppl / a->test_ppl - 1) < 1e-4);
        if (i == 1) assert_true(b->compressed_params < a->compressed_params);
        if (i == 1) assert_true(b->rank_mean < a->rank_mean && b->test_ppl > 1);
    }
    /* Without a penalty there is nothing to round. */
    tiny_watch w = {0};
    dart_recipe *recipe =
        tiny_recipe(tiny_path("plain"), "stages:\n  - {name: train, max_steps: 5}\n");
    assert_int_equal(tiny_train(recipe, &w, &result), DART_OK);
    assert_int_equal(result.rows, 1);
    dart_recipe_free(recipe);
}

/* The three measures on spectra whose effective ranks are known. */
static void test_measures(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result result;
    static const char *const measure[] = {"entropy", "count", "stable"};
    double rank[3];
    for (int i = 0; i < 3; i++) {
        dart_recipe *recipe =
            tiny_recipe(tiny_path("measure"), "stages:\n  - {name: train, max_steps: 3}\n");
        tiny_set(recipe, "rank_measure", measure[i]);
        tiny_set(recipe, "threshold", "0"); /* count: every singular value above 0 */
        tiny_set(recipe, "force", "true");
        assert_int_equal(tiny_train(recipe, &w, &result), DART_OK);
        rank[i] = result.row[0].effective_rank;
        dart_recipe_free(recipe);
    }
    /* stable <= entropy rank <= count, always */
    assert_true(rank[2] >= 1 && rank[2] <= rank[0] && rank[0] <= rank[1]);
    near(rank[1], result.row[0].rank_mean);
    double sum = 0;
    unsigned bonds = 0;
    char *text = tiny_read("measure", "spectra.jsonl");
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        json_t *body = json_loadb(line, n, 0, NULL), *sigma = json_object_get(body, "sigma");
        double all = 0, first = json_number_value(json_array_get(sigma, 0));
        for (size_t k = 0; k < json_array_size(sigma); k++)
            all += pow(json_number_value(json_array_get(sigma, k)) / first, 2);
        sum += all;
        bonds++;
        json_decref(body);
        line += n + (line[n] == '\n');
    }
    free(text);
    assert_true(bonds > 0);
    if (fabs(sum / bonds - rank[2]) > 1e-4) fail_msg("stable rank %g, %g", rank[2], sum / bonds);
}

static void test_refused(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result result;
    dart_recipe *recipe = tiny_recipe(tiny_path("refused"),
        "stages:\n  - {name: a, max_steps: 5, reg: bond-nuclear, lambda_schedule: exponential}\n");
    assert_int_equal(tiny_train(recipe, &w, &result), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no lambda_warmup"));
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lambda),
        cmocka_unit_test(test_plateau), cmocka_unit_test(test_end),
        cmocka_unit_test(test_plateau_run), cmocka_unit_test(test_plateau_twin),
        cmocka_unit_test(test_several), cmocka_unit_test(test_last_row),
        cmocka_unit_test(test_rounded), cmocka_unit_test(test_measures),
        cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
