/* Runs that go by their validation loss: the best model kept and taken, stages that end early. */
#include "bundle.h"
#include "json.h"
#include "run.h"
#include "tiny_run.h"
#include <dirent.h>
#include <math.h>

static dart_stage patient(int64_t patience, double threshold)
{
    dart_stage stage = {.steps = 100};
    stage.set.early_stopping_patience = patience;
    stage.set.early_stopping_threshold = threshold;
    return stage;
}

static void test_patience(void **state)
{
    (void)state;
    const dart_stage two = patient(2, 0.1), none = patient(0, 0);
    dart_waiting w = {0};
    assert_false(dart_waited(&two, 5.0, &w)); /* the first is progress */
    assert_false(dart_waited(&two, 4.0, &w));
    assert_false(dart_waited(&two, 3.95, &w)); /* smaller, but by less than the threshold */
    assert_true(w.since == 1 && w.nll == 3.95);
    assert_false(dart_waited(&two, 3.5, &w));
    assert_true(w.since == 0);
    assert_false(dart_waited(&two, 3.6, &w));
    assert_true(dart_waited(&two, 3.45, &w));
    assert_true(w.nll == 3.45 && w.evaluations == 6);
    w = (dart_waiting){0};
    for (int i = 0; i < 9; i++) assert_false(dart_waited(&none, 1, &w));

    dart_stage stages[2] = {{.steps = 10}, {.steps = 5}};
    int64_t moved[2] = {0, 3};
    dart_stage_stop(stages, 0, 4, moved);
    assert_int_equal(stages[0].steps, 4);
    assert_int_equal(stages[1].steps, 5); /* nobody inherits */
    assert_true(moved[0] == -6 && moved[1] == 3);
}

/* A stage that learns, and one that destroys. */
static const char *const up_and_down = "stages:\n"
                                       "  - {name: learn, max_steps: 8}\n"
                                       "  - {name: spoil, max_steps: 12, learning_rate: 0.5,\n"
                                       "     lr_scheduler: constant, warmup_steps: 0}\n";

static dart_recipe *spoilt(const char *out)
{
    dart_recipe *recipe = tiny_recipe(tiny_path(out), up_and_down);
    tiny_set(recipe, "eval_steps", "4");
    tiny_set(recipe, "save_steps", "3");
    tiny_set(recipe, "load_best_model_at_end", "true");
    return recipe;
}

static bool has_step(const char *run, unsigned step)
{
    char name[160];
    snprintf(name, sizeof name, "%s/checkpoints/step-%08u", run, step);
    return dart_file_exists(tiny_path(name));
}

static json_t *state_of(const char *run, unsigned step)
{
    char name[160], why[DART_JSON_WHY];
    json_t *body;
    snprintf(name, sizeof name, "checkpoints/step-%08u/trainer_state.json", step);
    char *text = tiny_read(run, name);
    assert_int_equal(dart_json_parse(text, strlen(text), name, why, &body), DART_OK);
    free(text);
    return body;
}

static unsigned best_step(const char *run, unsigned step)
{
    json_t *body = state_of(run, step);
    const unsigned best =
        (unsigned)json_integer_value(json_object_get(json_object_get(body, "best"), "step"));
    json_decref(body);
    return best;
}

static void assert_opens(
    const char *run, const dart_recipe *overrides, const char *says, unsigned step, const char *as)
{
    dart_bundle opened, named;
    char path[160];
    tiny_watch w = {0};
    assert_int_equal(
        dart_bundle_open(tiny_path(run), overrides, (dart_note){tiny_note, &w}, &opened), DART_OK);
    if (says ? !strstr(w.notes, says) : w.notes[0]) fail_msg("%s", w.notes);
    snprintf(path, sizeof path, "%s/checkpoints/step-%08u", as, step);
    assert_int_equal(dart_bundle_open(tiny_path(path), NULL, (dart_note){0}, &named), DART_OK);
    assert_memory_equal(
        opened.param, named.param, opened.model->param_words * sizeof *opened.param);
    dart_bundle_free(&opened);
    dart_bundle_free(&named);
}

static void test_best_is_taken(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result r;
    dart_recipe *recipe = spoilt("best");
    if (tiny_train(recipe, &w, &r) != DART_OK) fail_msg("%s", dart_error_text());
    const unsigned best = best_step("best", 20);
    assert_true(best == 8); /* where it had learnt */
    assert_non_null(strstr(w.notes, "the run's model is that of step 8: the best validation loss"));
    assert_true(has_step("best", 8) && has_step("best", 18) && has_step("best", 20));
    assert_false(has_step("best", 15) || has_step("best", 6));
    assert_opens("best", NULL, "the model of step 8, the best validation loss", 8, "best");
    assert_opens("best", NULL, "step 8", 20, "best"); /* the last checkpoint holds it */
    /* The table's row is that of the model that was taken. */
    json_t *body = state_of("best", 20);
    const double nll = dart_json_number(json_object_get(body, "best"), "nll");
    json_decref(body);
    assert_true(r.row[r.rows - 1].valid_ppl == exp(nll));
    dart_recipe_free(recipe);
}

/* The checkpoint before the first step stays, holds what training begins with, and changes nothing.
 */
static void test_start_is_kept(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result r;
    dart_bundle start, fresh;
    for (int with = 0; with < 2; with++) {
        dart_recipe *recipe = spoilt(with ? "from-start" : "without-start");
        if (with) tiny_set(recipe, "save_start", "true");
        if (tiny_train(recipe, &w, &r) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
    }
    assert_true(has_step("from-start", 0) && has_step("from-start", 20));
    assert_false(has_step("without-start", 0) || has_step("from-start", 15));
    tiny_assert_same("from-start", "without-start", "checkpoints/step-00000020/model.safetensors");
    const char *path = tiny_path("from-start/checkpoints/step-00000000");
    assert_int_equal(dart_bundle_open(path, NULL, (dart_note){0}, &start), DART_OK);
    fresh = (dart_bundle){.set = start.set,
        .recipe = start.recipe,
        .vocab = start.vocab,
        .source_vocab = start.source_vocab};
    assert_int_equal(dart_bundle_model(&fresh, NULL, NULL), DART_OK);
    assert_int_equal(dart_bundle_begin(&fresh), DART_OK);
    assert_memory_equal(start.param, fresh.param, start.model->param_words * sizeof *start.param);
    fresh.recipe = NULL;
    fresh.vocab = fresh.source_vocab = NULL;
    dart_bundle_free(&fresh);
    dart_bundle_free(&start);
}

static void assert_same_end(const char *a, const char *b)
{
    static const char *const names[] = {"metrics.jsonl", "spectra.jsonl",
        "checkpoints/step-00000020/model.safetensors",
        "checkpoints/step-00000020/optimizer.safetensors",
        "checkpoints/step-00000008/model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tiny_assert_same(a, b, names[i]);
    assert_int_equal(best_step(a, 20), best_step(b, 20));
}

/* Stopped after any step and resumed: the same best model. */
static void test_resume(void **state)
{
    (void)state;
    for (uint64_t k = 2; k <= 20; k += 3) {
        dart_recipe *recipe = spoilt("stopped");
        tiny_watch w = {.stop_at = k};
        assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_INTERRUPTED);
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        if (tiny_train(recipe, &w, &(dart_result){0}) != DART_OK) fail_msg("%s", dart_error_text());
        assert_same_end("best", "stopped");
        assert_int_equal(dart_remove_tree(tiny_path("stopped")), DART_OK);
        dart_recipe_free(recipe);
    }
}

typedef struct counted {
    unsigned calls, stop_at;
} counted;

static dart_status stop_at_call(void *user)
{
    counted *c = user;
    return ++c->calls >= c->stop_at ? DART_TERMINATED : DART_OK;
}

/* Stopped in evaluations, those at the end among them, when the best model was already taken. */
static void test_stop_in_evaluations(void **state)
{
    (void)state;
    counted c = {.stop_at = UINT32_MAX};
    const dart_hooks hooks = {.user = &c, .abort = stop_at_call};
    dart_recipe *recipe = spoilt("questions");
    assert_int_equal(dart_train_run(recipe, &hooks, &(dart_result){0}), DART_OK);
    assert_same_end("best", "questions");
    const unsigned all = c.calls;
    for (unsigned n = all - 1; n > 20; n -= 9) {
        assert_int_equal(dart_remove_tree(tiny_path("questions")), DART_OK);
        tiny_set(recipe, "resume", "false");
        c = (counted){.stop_at = n};
        assert_int_equal(dart_train_run(recipe, &hooks, &(dart_result){0}), DART_TERMINATED);
        tiny_set(recipe, "resume", "true");
        c = (counted){.stop_at = UINT32_MAX};
        assert_int_equal(dart_train_run(recipe, &hooks, &(dart_result){0}), DART_OK);
        assert_same_end("best", "questions");
    }
    dart_recipe_free(recipe);
}

/* A run that was stopped while it was at its worst opens at its best, unless that is not wanted, or
 * not there. */
static void test_opening_a_stopped_run(void **state)
{
    (void)state;
    dart_recipe *recipe = spoilt("half"), *newest;
    tiny_watch w = {.stop_at = 14};
    assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_INTERRUPTED);
    assert_int_equal(best_step("half", 14), 8);
    assert_opens("half", NULL, "the model of step 8, the best validation loss", 8, "half");
    assert_int_equal(dart_recipe_new(&newest), DART_OK);
    tiny_set(newest, "load_best", "false");
    assert_opens("half", newest, NULL, 14, "half");
    dart_recipe_free(newest);
    const char *file = tiny_path("half/checkpoints/step-00000008/model.safetensors");
    assert_int_equal(truncate(file, 100), 0);
    assert_opens("half", NULL, "is damaged", 14, "half");
    /* A run that comes to its end without it says so and keeps its last model. */
    tiny_set(recipe, "resume", "true");
    w = (tiny_watch){0};
    assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_OK);
    assert_non_null(strstr(w.notes, "the model stays that of the last step"));
    assert_int_equal(best_step("half", 20), 0);
    dart_recipe_free(recipe);
}

/* Patience ends a stage and not the run; what it leaves out is not made up for. */
static void test_stages_that_end(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_recipe *recipe = tiny_recipe(tiny_path("early"),
        "stages:\n  - {name: still, max_steps: 40, learning_rate: 0, early_stopping_patience: 2}\n"
        "  - {name: pick, select: threshold, threshold: 0.2}\n  - {name: tune, max_steps: 6}\n");
    tiny_set(recipe, "eval_steps", "3");
    assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_OK);
    /* evaluations at 3 (the first), 6 and 9, which are no progress; then 6 steps of tune */
    assert_int_equal(w.steps, 15);
    assert_int_equal(w.total, 15);
    assert_non_null(strstr(w.notes, "still: the validation loss made no progress"));
    assert_non_null(strstr(w.notes, "31 steps are left out"));
    for (uint64_t k = 1; k < 15; k += 2) {
        tiny_set(recipe, "out", tiny_path("early-2"));
        tiny_set(recipe, "resume", "false");
        w = (tiny_watch){.stop_at = k};
        assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_INTERRUPTED);
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_OK);
        assert_int_equal(w.steps, 15);
        tiny_assert_same("early", "early-2", "metrics.jsonl");
        tiny_assert_same("early", "early-2", "checkpoints/step-00000015/model.safetensors");
        assert_int_equal(dart_remove_tree(tiny_path("early-2")), DART_OK);
    }
    dart_recipe_free(recipe);
}

/* The best model of before a selection has other ranks: a selection begins anew. */
static void test_selection(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_recipe *recipe =
        tiny_recipe(tiny_path("picked"), "stages:\n  - {name: learn, max_steps: 8}\n"
                                         "  - {name: pick, select: uniform, budget: 0.4}\n"
                                         "  - {name: tune, max_steps: 8, learning_rate: 1e-6}\n");
    tiny_set(recipe, "eval_steps", "2");
    tiny_set(recipe, "load_best", "true");
    assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_OK);
    const unsigned best = best_step("picked", 16);
    assert_true(best > 8 && best <= 16);
    assert_true(has_step("picked", best));
    dart_recipe_free(recipe);
}

/* A stage with a penalty stops early only where it says so itself; the one stage of a plain recipe
 * does. */
static void test_who_has_patience(void **state)
{
    (void)state;
    dart_stage stage[DART_MAX_STAGES];
    uint32_t count;
    dart_recipe *recipe = tiny_recipe(tiny_path("who"),
        "stages:\n  - {name: a, max_steps: 1}\n  - {name: b, max_steps: 1, reg: bond-nuclear}\n"
        "  - {name: c, max_steps: 1, ordered_dropout: 0.1}\n"
        "  - {name: d, max_steps: 1, reg: bond-nuclear, early_stopping_patience: 4}\n");
    tiny_set(recipe, "patience", "3");
    assert_int_equal(dart_recipe_stages(recipe, 9, stage, &count), DART_OK);
    static const int64_t expected[] = {3, 0, 0, 4};
    assert_int_equal(count, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(stage[i].set.early_stopping_patience, expected[i]);
    dart_recipe_free(recipe);
    tiny_watch w = {0};
    recipe = tiny_recipe(tiny_path("plain"), "");
    tiny_set(recipe, "select", "none");
    tiny_set(recipe, "patience", "1");
    tiny_set(recipe, "max_steps", "30");
    tiny_set(recipe, "lr", "0");
    tiny_set(recipe, "eval_steps", "2");
    assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_OK);
    assert_int_equal(w.steps, 4);
    dart_recipe_free(recipe);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const keys[][3] = {
        {"load_best", "true", "load_best goes by the validation loss"},
        {"early_stopping_patience", "2", "early_stopping_patience goes by the validation loss"}};
    for (int i = 0; i < 2; i++) {
        tiny_watch w = {0};
        dart_recipe *recipe = tiny_recipe(tiny_path("refused"), up_and_down);
        tiny_set(recipe, keys[i][0], keys[i][1]);
        assert_int_equal(tiny_train(recipe, &w, &(dart_result){0}), DART_INPUT);
        if (!strstr(dart_error_text(), keys[i][2])) fail_msg("%s", dart_error_text());
        assert_false(dart_file_exists(tiny_path("refused")));
        dart_recipe_free(recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_patience),
        cmocka_unit_test(test_best_is_taken), cmocka_unit_test(test_start_is_kept),
        cmocka_unit_test(test_resume), cmocka_unit_test(test_stop_in_evaluations),
        cmocka_unit_test(test_opening_a_stopped_run), cmocka_unit_test(test_stages_that_end),
        cmocka_unit_test(test_selection), cmocka_unit_test(test_who_has_patience),
        cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
