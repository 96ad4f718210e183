/* Ranks that grow in whole runs, beside a base and alone: up to the budget, with a lower loss than
 * without, the same on every device, stopped and resumed bit for bit across growths; refusals. */
#include "pretrained_lab.h"
#include "run.h"
#include <math.h>

static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};

static dart_recipe *growing(const char *method, const char *device, const char *out)
{
    dart_recipe *recipe = tuning(method, device, out);
    const char *const keys[][2] = {{"rank", "1"}, {"select", "increlora"}, {"grow_steps", "4"},
        {"budget", "2200"}, {"tune_fraction", "0.25"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    return recipe;
}

static const char *const methods[] = {
    "lora", "lora use_dora=true", "tt-lora", "loretta-rep", "dota", "lowrank frozen_base=true"};
enum { METHODS = sizeof methods / sizeof *methods };

/* Lines of the log that tell what the rule chose. */
static uint32_t chosen(const char *run)
{
    char *text;
    size_t size;
    uint32_t lines = 0;
    assert_int_equal(dart_file_read(in(run), &text, &size), DART_OK);
    for (const char *at = text; (at = strstr(at, "\"increlora\"")) != NULL; at++) lines++;
    free(text);
    return lines;
}

static void stops_do_not_matter(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++) {
        if (!present(devices[d])) continue;
        for (int m = 0; m < METHODS; m += d ? 4 : 1) {
            char whole[32], part[32], events[64];
            snprintf(whole, sizeof whole, "whole-%d-%d", d, m);
            snprintf(events, sizeof events, "%s/metrics.jsonl", whole);
            watch w = {0};
            dart_result result;
            dart_recipe *recipe = growing(methods[m], devices[d], in(whole));
            if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
            dart_recipe_free(recipe);
            const dart_table_row *row = &result.row[result.rows - 1];
            if (!(row->chain_params <= 2200 && row->rank_max > 1))
                fail_msg("%s: %llu parameters, largest rank %u", methods[m],
                    (unsigned long long)row->chain_params, row->rank_max);
            assert_non_null(strstr(w.text, "bonds grew"));
            assert_true(chosen(events) > 20);
            for (uint64_t k = d ? 9 : 3; k < 15; k += d ? 8 : 5) { /* 4, 8, 12, 16 grow */
                snprintf(part, sizeof part, "part-%d-%d-%d", d, m, (int)k);
                recipe = growing(methods[m], devices[d], in(part));
                w = (watch){.stop_at = k};
                assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
                set(recipe, "resume", "true");
                w = (watch){.stop_at = k + 1};
                assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
                w = (watch){0};
                if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
                assert_same_run(in(whole), in(part));
                assert_int_equal(dart_remove_tree(in(part)), DART_OK);
                dart_recipe_free(recipe);
            }
        }
    }
}

/* A run of a small model from random values, with these stages. */
static dart_status staged(const char *stages, const char *linear, const char *rank,
    const char *name, watch *w, dart_result *result)
{
    char path[128];
    dart_recipe *recipe = tiny("cpu", in(name)), *with;
    snprintf(path, sizeof path, "%s/%s.yaml", folder, name);
    assert_int_equal(dart_file_write_sync(path, stages, strlen(stages)), DART_OK);
    assert_int_equal(dart_recipe_new(&with), DART_OK);
    assert_int_equal(dart_recipe_load(with, path), DART_OK);
    assert_int_equal(dart_recipe_overlay(recipe, with), DART_OK);
    set(recipe, "linear", linear);
    set(recipe, "rank", rank);
    set(recipe, "max_steps", "0");
    *w = (watch){0};
    const dart_status status = train(recipe, w, result);
    dart_recipe_free(with);
    dart_recipe_free(recipe);
    return status;
}

/* stories260K in $DART_TEST_MODELS and a part of tiny Shakespeare, both beside the repository:
 * against the same steps with the ranks that they begin with. */
static void growing_helps(void **state)
{
    (void)state;
    static const char *const stages[] = {
        "stages:\n  - {name: grow, max_steps: 64, warmup_steps: 10, lr_scheduler: constant}\n"
        "  - {name: tune, max_steps: 36, warmup_steps: 0}\n",
        "stages:\n  - {name: grow, max_steps: 64, warmup_steps: 10, lr_scheduler: constant, "
        "select: increlora, budget: 12000, grow_steps: 8}\n"
        "  - {name: tune, max_steps: 36, warmup_steps: 0}\n"};
    enum { PART = 200000 };
    const char *models = getenv("DART_TEST_MODELS");
    char model[4096], tokens[4096], *text;
    double loss[2];
    size_t size;
    if (!models) models = DART_SOURCE_DIR "/../shared/models";
    snprintf(model, sizeof model, "%s/stories260K/stories260K.bin", models);
    snprintf(tokens, sizeof tokens, "%s/stories260K/tok512.bin", models);
    const char *data = DART_SOURCE_DIR "/../shared/datasets/tinyshakespeare/input.txt";
    const bool there =
        dart_file_exists(model) && dart_file_exists(tokens) && dart_file_exists(data);
    print_message("data: stories260K and tiny Shakespeare %s\n", there ? "read" : "not at hand");
    if (!there) return;
    assert_int_equal(dart_file_read(data, &text, &size), DART_OK);
    assert_true(size > PART);
    assert_int_equal(dart_file_write_sync(in("plays.txt"), text, PART), DART_OK);
    free(text);
    for (int grows = 0; grows < 2; grows++) {
        const char *const keys[][2] = {{"base", model}, {"tokenizer", tokens},
            {"text", in("plays.txt")}, {"linear", "lora"}, {"rank", "1"}, {"lora_alpha", "2"},
            {"device", "cpu"}, {"context", "32"}, {"batch_size", "8"}, {"lr", "4e-3"},
            {"out", in(grows ? "grows" : "stays")}};
        dart_recipe *recipe, *with;
        dart_result result;
        watch w = {0};
        assert_int_equal(dart_recipe_new(&recipe), DART_OK);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
        assert_int_equal(
            dart_file_write_sync(in("plays.yaml"), stages[grows], strlen(stages[grows])), DART_OK);
        assert_int_equal(dart_recipe_new(&with), DART_OK);
        assert_int_equal(dart_recipe_load(with, in("plays.yaml")), DART_OK);
        assert_int_equal(dart_recipe_overlay(recipe, with), DART_OK);
        if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(with);
        dart_recipe_free(recipe);
        loss[grows] = log(result.row[result.rows - 1].valid_ppl);
    }
    print_message("validation loss %.4f with ranks that grow, %.4f without\n", loss[1], loss[0]);
    assert_true(loss[1] < loss[0]);
}

/* Chains that are the whole weight, a penalty beside the growth, and a cut between two. */
static void grown_ranks_can_be_cut(void **state)
{
    (void)state;
    static const char stages[] =
        "stages:\n"
        "  - {name: grow, max_steps: 10, select: increlora, budget: 3000, grow_steps: 3}\n"
        "  - {name: pick, select: budget, budget: 0.7}\n"
        "  - {name: again, max_steps: 10, select: increlora, budget: 3000, grow_steps: 3, "
        "reg: bond-nuclear}\n"
        "  - {name: tune, max_steps: 4}\n";
    dart_result result;
    watch w;
    if (staged(stages, "tt", "2", "both", &w, &result) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_non_null(strstr(w.text, "selected ranks by budget"));
    assert_non_null(strstr(w.text, "grow: step 3:"));
    assert_non_null(strstr(w.text, "again: step 13:"));
    assert_true(result.row[result.rows - 1].chain_params <= 3000);
}

static void refused(const char *key, const char *value, const char *says)
{
    watch w = {0};
    dart_recipe *recipe = growing("lora", "cpu", in("refused"));
    set(recipe, key, value);
    expect(train(recipe, &w, NULL), DART_INPUT, says);
    assert_false(dart_file_exists(in("refused")));
    dart_recipe_free(recipe);
}

static void what_cannot_grow_is_refused_at_once(void **state)
{
    (void)state;
    refused("budget", "0", "stage 'grow': increlora needs a budget");
    refused("budget", "0.5", "stage 'grow': increlora needs a budget");
    refused("budget", "300", "leaves nothing to grow");
    refused("grow_steps", "18", "stage 'grow': 18 steps, and ranks grow after every 18");
    static const struct {
        const char *linear, *stage, *says;
    } stages[] = {{"dense", "", "stage 'x': increlora lets ranks grow, and the model has none"},
        {"tt", ", reg: hard-concrete", "ranks grow by increlora and gates (hard-concrete) choose"},
        {"tt", ", ordered_dropout: 0.2", "and gates (ordered_dropout) choose"}};
    for (int i = 0; i < 3; i++) {
        char text[256];
        watch w;
        snprintf(text, sizeof text,
            "stages:\n  - {name: x, max_steps: 50, select: increlora, budget: 9000%s}\n",
            stages[i].stage);
        expect(staged(text, stages[i].linear, "2", "stages", &w, NULL), DART_INPUT, stages[i].says);
        assert_false(dart_file_exists(in("stages")));
    }
}

static void scores_that_were_changed_are_refused(void **state)
{
    (void)state;
    watch w = {.stop_at = 6};
    char path[128], *text;
    size_t size;
    dart_recipe *recipe = growing("lora", "cpu", in("changed"));
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000006/trainer_state.json", in("changed"));
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    char *at = strstr(text, "\"scores\"");
    assert_non_null(at);
    memcpy(strpbrk(at, "0123456789"), "-", 1);
    assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
    free(text);
    set(recipe, "resume", "true");
    w = (watch){0};
    const dart_status status = train(recipe, &w, NULL);
    if (status != DART_INPUT) fail_msg("status %d: %s", (int)status, dart_error_text());
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stops_do_not_matter),
        cmocka_unit_test(growing_helps), cmocka_unit_test(grown_ranks_can_be_cut),
        cmocka_unit_test(what_cannot_grow_is_refused_at_once),
        cmocka_unit_test(scores_that_were_changed_are_refused)};
    return cmocka_run_group_tests(tests, set_up_base, tear_down);
}
