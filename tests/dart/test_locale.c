/* A program around the library that has set a locale with decimal commas: the same files and texts
 * as in the C locale, and the locale is still there afterwards. */
#include "comma_locale.h"
#include "dart.h"
#include "handles.h"
#include "tiny_run.h"

#define STAGES                                                                                     \
    "stages:\n  - {name: shrink, max_steps: 6, reg: bond-nuclear, lambda_reg: 0.01}\n"             \
    "  - {name: pick, select: threshold, threshold: 0.25, max_steps: 4}\n"

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("status %d: %s", (int)status, dart_last_error());
}

/* Everything that formats or parses figures; what it says, without times. */
static handle_text all(const char *name)
{
    static const char *const what[] = {"memory", "ranks", "paths", "plan", "graph"};
    static tiny_watch watch;
    handle_text text = {0}, more;
    char run[64];
    dart_result *result;
    snprintf(run, sizeof run, "%s", tiny_path(name));
    dart_recipe *recipe = tiny_recipe(run, STAGES);
    watch = (tiny_watch){0};
    const dart_hooks hooks = {.size = sizeof hooks, .user = &watch, .note = tiny_note};
    ok(dart_recipe_set(recipe, "dropout", "0.125"));
    ok(dart_train(recipe, &hooks, &result));
    for (uint32_t r = 0; r < dart_result_rows(result); r++) {
        const dart_table_row *row = dart_result_row(result, r);
        handle_take(&text, (const char *)&row->valid_ppl, sizeof row->valid_ppl);
    }
    char protocol[512];
    dart_protocol_text(dart_result_protocol(result), protocol, sizeof protocol);
    dart_result_free(result);
    const char *picked = strstr(watch.notes, "perplexity ");
    assert_non_null(picked);
    handle_take(&text, picked, strcspn(picked, "\n"));
    for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
        ok(dart_inspect(recipe, NULL, what[i], false, handle_take, &text));
        ok(dart_inspect(recipe, NULL, what[i], true, handle_take, &text));
    }
    for (int json = 0; json < 2; json++) { /* without the line of speeds, which vary */
        more = (handle_text){0};
        ok(dart_compare(recipe, "cpu,cpu", 0.5, NULL, json, handle_take, &more));
        for (char *rest = NULL, *line = strtok_r(more.text, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest))
            if (!strstr(line, "tokens")) handle_take(&text, line, strlen(line));
        free(more.text);
    }
    ok(handle_generate(run, "the cat", 20,
        &(dart_sampling){.size = sizeof(dart_sampling), .temperature = 0.75, .seed = 2}, &more));
    handle_take(&text, more.text, more.size);
    free(more.text);
    assert_int_equal(dart_recipe_set(recipe, "dropout", "0,5"), DART_USAGE);
    ok(dart_recipe_get(recipe, "dropout", protocol, sizeof protocol));
    assert_string_equal(protocol, "0.125");
    dart_recipe_free(recipe);
    return text;
}

static void test_locale(void **state)
{
    (void)state;
    static const char *const files[] = {"recipe.yaml", "metrics.jsonl", "spectra.jsonl",
        "checkpoints/step-00000010/model.safetensors", "checkpoints/step-00000010/vocab.json"};
    char half[16];
    handle_text point = all("run");
    char *kept[5], *now, path[128];
    size_t size[5], n;
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "run/%s", files[i]);
        ok(dart_file_read(tiny_path(path), &kept[i], &size[i]));
    }
    ok(dart_remove_tree(tiny_path("run")));
    if (!comma_locale()) {
        comma_locale_leave();
        print_message("no locale with decimal commas, and localedef makes none\n");
        skip();
    }
    handle_text comma = all("run");
    snprintf(half, sizeof half, "%g", 0.5);
    assert_string_equal(half, "0,5"); /* the program's own locale is as it was */
    comma_locale_leave();
    assert_int_equal(point.size, comma.size);
    assert_memory_equal(point.text, comma.text, point.size);
    assert_true(point.size > 10000);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "run/%s", files[i]);
        ok(dart_file_read(tiny_path(path), &now, &n));
        if (n != size[i] || memcmp(kept[i], now, n) != 0)
            fail_msg("%s depends on the locale", files[i]);
        free(now);
        free(kept[i]);
    }
    free(point.text);
    free(comma.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_locale)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
