/* The rules of dart/base.h: structures of older and newer callers, errors by thread, log, sinks. */
#include "caller.h"
#include "dart.h"
#include "mem.h"
#include "tiny_run.h"
#include <math.h>
#include <pthread.h>

/* As a library one version older and one version newer would declare the same options. */
typedef struct options_1 {
    size_t size;
    int rank, kind;
} options_1;
typedef struct options_2 {
    size_t size;
    int rank, kind, bonds, cores;
    double part;
} options_2;

static void refused(dart_status status, const char *says)
{
    assert_int_equal(status, DART_USAGE);
    if (!strstr(dart_last_error(), says)) fail_msg("'%s' not in: %s", says, dart_last_error());
}

static void test_options(void **state)
{
    (void)state;
    options_2 two = {9, 9, 9, 9, 9, 9};
    options_1 one = {9, 9, 9};
    assert_int_equal(dart_options_take(NULL, sizeof two, "options", &two), DART_OK);
    assert_int_equal(two.size, sizeof two);
    assert_int_equal(two.rank, 0);
    /* older caller, newer library */
    const options_1 old = {sizeof old, 5, 0};
    two = (options_2){9, 9, 9, 9, 9, 9};
    assert_int_equal(dart_options_take(&old, sizeof two, "options", &two), DART_OK);
    assert_int_equal(two.size, sizeof two);
    assert_int_equal(two.rank, 5);
    assert_int_equal(two.bonds, 0);
    assert_true(two.part == 0);
    /* newer caller, older library: as long as what is new is left alone */
    options_2 new = {.size = sizeof new, .rank = 5};
    assert_int_equal(dart_options_take(&new, sizeof one, "options", &one), DART_OK);
    assert_int_equal(one.size, sizeof one);
    assert_int_equal(one.rank, 5);
    new.part = 0.5;
    refused(dart_options_take(&new, sizeof one, "options", &one), "does not know");
    /* a size that nobody set */
    const options_1 none = {0, 5, 0}, odd = {(size_t)-1, 5, 0};
    refused(dart_options_take(&none, sizeof two, "options", &two), "sizeof(options)");
    refused(dart_options_take(&odd, sizeof two, "options", &two), "sizeof(options)");
}

static void test_answers(void **state)
{
    (void)state;
    struct {
        options_1 answer;
        int behind;
    } old = {{sizeof old.answer, 7, 7}, 1234};
    const options_2 full = {sizeof full, 3, 3, 4, 4, 5};
    assert_int_equal(dart_answer_clear(&old.answer, "answer"), DART_OK);
    assert_int_equal(old.answer.rank, 0);
    dart_answer_give(&old.answer, &full, sizeof full);
    assert_int_equal(old.answer.size, sizeof old.answer);
    assert_int_equal(old.answer.rank, 3);
    assert_int_equal(old.behind, 1234); /* nothing is written behind an older structure */
    options_2 new = {sizeof new, 7, 7, 7, 7, 7};
    const options_1 small = {sizeof small, 3, 3};
    assert_int_equal(dart_answer_clear(&new, "answer"), DART_OK);
    dart_answer_give(&new, &small, sizeof small);
    assert_int_equal(new.size, sizeof new);
    assert_int_equal(new.rank, 3);
    assert_int_equal(new.bonds, 0);
    new.size = 0;
    refused(dart_answer_clear(&new, "answer"), "sizeof(answer)");
}

/* The functions themselves, as callers with and without a size meet them. */
static void test_callers(void **state)
{
    (void)state;
    const char *text = DART_SOURCE_DIR "/README.md";
    dart_bleu bleu = {.size = sizeof bleu};
    const dart_bleu_options none = {0};
    assert_int_equal(dart_bleu_files(text, &text, 1, NULL, &bleu), DART_OK);
    assert_true(bleu.score > 99.9 && bleu.sentences > 10 && bleu.size == sizeof bleu);
    refused(dart_bleu_files(text, &text, 1, &none, &bleu), "dart_bleu_options");
    assert_true(bleu.score == 0);
    struct {
        size_t size;
        double score; /* as if no version had anything behind it yet */
    } short_bleu = {sizeof short_bleu, 0};
    assert_int_equal(dart_bleu_files(text, &text, 1, NULL, (dart_bleu *)&short_bleu), DART_OK);
    assert_true(short_bleu.score > 99.9);
    bleu.size = 0;
    refused(dart_bleu_files(text, &text, 1, NULL, &bleu), "dart_bleu");
    dart_recipe *recipe;
    dart_result *result = (dart_result *)&bleu;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    refused(dart_train(recipe, &(dart_hooks){0}, &result), "dart_hooks");
    assert_null(result);
    refused(dart_compare(recipe, "cpu,cpu", 1, &(dart_hooks){0}, false, NULL, NULL), "dart_hooks");
    refused(dart_bench(recipe, &(dart_bench_options){0}, NULL, NULL), "dart_bench_options");
    dart_sweep_result swept = {.size = sizeof swept};
    refused(dart_sweep("x", &(dart_sweep_options){0}, NULL, &swept), "dart_sweep_options");
    refused(dart_sweep("x", NULL, &(dart_sweep_hooks){0}, &swept), "dart_sweep_hooks");
    refused(
        dart_selftest("cpu", NULL, NULL, NULL, &(dart_selftest_result){0}), "dart_selftest_result");
    dart_recipe_free(recipe);
}

static void *fail_beside(void *out)
{
    dart_recipe *recipe = NULL;
    const bool silent = !*dart_last_error();
    if (dart_recipe_new(&recipe) == DART_OK &&
        dart_recipe_set(recipe, "lerning_rate", "1") == DART_USAGE && silent &&
        strstr(dart_last_error(), "learning_rate"))
        *(bool *)out = true;
    dart_recipe_free(recipe);
    return NULL;
}

static void test_errors(void **state)
{
    (void)state;
    pthread_t thread;
    bool good = false;
    assert_int_equal(dart_fail(DART_INPUT, "mine: %d", 7), DART_INPUT);
    assert_int_equal(pthread_create(&thread, NULL, fail_beside, &good), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(good);
    assert_string_equal(dart_last_error(), "mine: 7");
    assert_string_equal(dart_status_text(DART_INPUT), "bad input");
    assert_string_equal(dart_status_text((dart_status)99), "unknown status");
}

static void test_version(void **state)
{
    (void)state;
    char text[32];
    snprintf(
        text, sizeof text, "%d.%d.%d", DART_VERSION_MAJOR, DART_VERSION_MINOR, DART_VERSION_PATCH);
    assert_string_equal(text, DART_VERSION);
    assert_string_equal(dart_version(), DART_VERSION);
    assert_int_equal(dart_version_number(), DART_VERSION_NUMBER);
}

typedef struct heard {
    int lines, level;
    char line[512];
} heard;

static void hear(void *user, int level, const char *line)
{
    heard *h = user;
    h->lines++;
    h->level = level;
    snprintf(h->line, sizeof h->line, "%s", line);
}

static void test_log(void **state)
{
    (void)state;
    heard h = {0};
    dart_set_log(hear, &h, 1);
    (void)dart_fail(DART_INPUT, "not at this level");
    assert_int_equal(h.lines, 0);
    dart_set_log(hear, &h, 2);
    (void)dart_fail(DART_INPUT, "at this one");
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.level, 2);
    assert_int_equal(strncmp(h.line, "test_public.c:", 14), 0);
    assert_non_null(strstr(h.line, "at this one"));
    dart_set_log(NULL, NULL, 2);
    (void)dart_fail(DART_INPUT, "to nobody");
    assert_int_equal(h.lines, 1);
}

typedef struct taken {
    char *text; /* owned */
    size_t size, refuse_after;
    int calls;
} taken;

static int take(void *user, const char *text, size_t size)
{
    taken *t = user;
    t->calls++;
    if (t->refuse_after && t->size + size > t->refuse_after) return 1;
    t->text = realloc(t->text, t->size + size + 1);
    assert_non_null(t->text);
    memcpy(t->text + t->size, text, size);
    t->text[t->size += size] = 0;
    return 0;
}

static void test_sinks(void **state)
{
    (void)state;
    taken all = {0}, some = {.refuse_after = 100};
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "layers", "1"), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "device", "cpu"), DART_OK);
    if (dart_inspect(recipe, NULL, "plan", false, take, &all) != DART_OK)
        fail_msg("%s", dart_last_error());
    assert_true(all.size > 1000 && all.size == strlen(all.text));
    assert_int_equal(dart_inspect(recipe, NULL, "plan", false, take, &some), DART_IO);
    assert_int_equal(dart_inspect(recipe, NULL, "plan", false, NULL, NULL), DART_OK);
    assert_int_equal(dart_inspect(recipe, NULL, "plans", false, take, &all), DART_USAGE);
    free(all.text);
    free(some.text);
    dart_recipe_free(recipe);
}

static const char *name_at(const void *context, uint32_t index)
{
    (void)context;
    return dart_dataset_name_at(index);
}

static void test_lists(void **state)
{
    (void)state;
    dart_device_list *list;
    assert_int_equal(dart_devices(NULL, &list), DART_OK);
    assert_true(dart_device_list_count(list) >= 3);
    const dart_device_info *cpu = dart_device_list_at(list, 0);
    assert_string_equal(cpu->id, "cpu");
    assert_true(cpu->usable && cpu->on_cpu && cpu->memory > 1 << 20);
    assert_null(dart_device_list_at(list, dart_device_list_count(list)));
    dart_device_list_free(list);
    dart_device_list_free(NULL);
    assert_int_equal(dart_devices("emu-nothing", &list), DART_USAGE);
    assert_null(list);
    bool ptb = false, multi30k = false;
    uint32_t n = 0;
    for (const char *name; (name = dart_dataset_name_at(n)) != NULL; n++) {
        ptb |= !strcmp(name, "ptb");
        multi30k |= !strcmp(name, "multi30k-de-en");
    }
    assert_true(ptb && multi30k && n >= 9);
    assert_null(dart_dataset_name_at(n + 1));
    assert_string_equal(dart_nearest_name("multi30k-de-em", name_at, NULL), "multi30k-de-en");
    assert_null(dart_nearest_name("nothing like it", name_at, NULL));
}

static void test_training(void **state)
{
    (void)state;
    tiny_watch watch = {0};
    dart_result *result;
    dart_recipe *recipe = tiny_recipe(tiny_path("run"),
        "stages:\n  - {name: shrink, max_steps: 6}\n"
        "  - {name: pick, select: threshold, threshold: 0.3, max_steps: 4}\n");
    const dart_hooks hooks = {.size = sizeof hooks,
        .user = &watch,
        .progress = tiny_progress,
        .note = tiny_note,
        .abort = tiny_abort};
    if (dart_train(recipe, &hooks, &result) != DART_OK) fail_msg("%s", dart_last_error());
    assert_string_equal(dart_result_dir(result), tiny_path("run"));
    assert_string_equal(dart_result_device(result), "cpu");
    assert_int_equal(dart_result_steps(result), 10);
    assert_int_equal(watch.steps, 10);
    assert_true(dart_result_loss(result) > 0);
    assert_int_equal(dart_result_rows(result), 3);
    assert_string_equal(dart_result_row(result, 2)->name, "after tuning");
    assert_true(dart_result_row(result, 2)->params < dart_result_row(result, 0)->params);
    assert_null(dart_result_row(result, 3));
    assert_string_equal(dart_result_protocol(result)->unit, "word");
    dart_result_free(result);
    dart_result_free(NULL);
    watch = (tiny_watch){.stop_at = 3};
    assert_int_equal(dart_recipe_set(recipe, "force", "true"), DART_OK);
    assert_int_equal(dart_train(recipe, &hooks, &result), DART_INTERRUPTED);
    assert_null(result);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_callers),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_sinks),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_training),
    };
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
