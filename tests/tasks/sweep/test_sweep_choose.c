/* Sweeps that choose: the first seed tries all values of a key, the others take what it found best;
 * tables have what was chosen; failures, stops and what cannot be. */
#include "sweep.h"
#include "tiny_run.h"
#include <jansson.h>

static const char *write_file(const char *name, const char *text)
{
    const char *path = tiny_path(name);
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
    return path;
}

/* Runs write tables of known figures instead of training. */
typedef struct spy {
    char started[2048]; /* names, in their order */
    unsigned count;
    const char *diverges, *fails; /* runs with this in their name do */
    unsigned stop_before;         /* the run of this number is stopped; 0: none */
    uint32_t run;
    dart_status status;
    char why[256], notes[4096];
} spy;

/* Validation: a is best at 3e-3 by accuracy and at 1e-3 by perplexity, b at 1e-2 by both. */
static double accuracy(const char *name)
{
    if (strstr(name, "a-")) return strstr(name, "3e-3") ? 0.9 : 0.7;
    return strstr(name, "1e-2") ? 0.8 : 0.5;
}

static double perplexity(const char *name)
{
    if (strstr(name, "a-")) return strstr(name, "1e-3") ? 1.1 : 1.6;
    return strstr(name, "1e-2") ? 1.2 : 1.5;
}

/* Those of a pretrained model: the size in the label. */
static int trained(const char *name)
{
    const char *size = strpbrk(name, "-");
    return strncmp(name, "size", 4) != 0 ? 0 : atoi(size + 1) * (strstr(name, "k-s") ? 1000 : 1);
}

static dart_status make_up(const char *dir)
{
    char path[600], text[1024];
    const char *name = strrchr(dir, '/') + 1;
    const int seed = dir[strlen(dir) - 1] - '0';
    snprintf(path, sizeof path, "%s/table.json", dir);
    snprintf(text, sizeof text,
        "[{\"name\": \"TT\", \"params\": 5000, \"compressed_params\": %d, \"chain_params\": 900,"
        "\"dense_params\": 4000, \"compression\": 4, \"rank_min\": 1, \"rank_mean\": 2.5,"
        "\"rank_max\": 4, \"valid_ppl\": %.9g, \"test_ppl\": 1.5, \"tokens_per_s\": 7,"
        "\"seconds\": 3, \"texts\": 12, \"valid_accuracy\": %.9g, \"test_accuracy\": %.9g,"
        "\"trained_params\": %d, \"valid_f1\": 0, \"test_f1\": 0, \"valid_matthews\": 0, "
        "\"test_matthews\": 0,"
        "\"protocol\": \"p\"}]\n",
        strstr(name, "a-") ? 700 : 900, perplexity(name), accuracy(name),
        accuracy(name) - 0.01 * seed, trained(name));
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    return dart_file_write_sync(path, text, strlen(text));
}

static dart_status start(
    void *user, uint32_t run, const char *path, const char *dir, bool resume, char why[DART_WHY])
{
    spy *w = user;
    const char *name = strrchr(dir, '/') + 1;
    (void)path;
    (void)resume;
    (void)why;
    w->run = run;
    w->count++;
    snprintf(w->started + strlen(w->started), sizeof w->started - strlen(w->started), "%s ", name);
    if (w->count == w->stop_before)
        w->status = dart_fail(DART_INTERRUPTED, "stopped");
    else if (w->diverges && strstr(name, w->diverges))
        w->status = dart_fail(DART_DIVERGED, "no number");
    else if (w->fails && strstr(name, w->fails))
        w->status = dart_fail(DART_IO, "no disk");
    else
        w->status = make_up(dir);
    snprintf(w->why, sizeof w->why, "%s", dart_error_text());
    return DART_OK;
}

static dart_status wait_for(void *user, uint32_t *run, char why[DART_WHY])
{
    spy *w = user;
    *run = w->run;
    snprintf(why, DART_WHY, "%s", w->why);
    return w->status;
}

static void take_note(void *user, const char *line)
{
    spy *w = user;
    snprintf(w->notes + strlen(w->notes), sizeof w->notes - strlen(w->notes), "%s\n", line);
}

static dart_status run_sweep(
    spy *w, const char *path, const char *out, bool list, dart_sweep_result *result)
{
    const dart_sweep_options options = {.out = tiny_path(out), .list = list};
    const dart_sweep_hooks hooks = {.user = w, .note = take_note, .start = start, .wait = wait_for};
    return dart_sweep_all(path, &options, &hooks, result);
}

#define HEAD "base: base.yaml\nseeds: [1, 2, 3]\n"
#define VARIANTS "variants:\n  - {label: a}\n  - {label: b, rank: 3}\n"
#define CHOOSE(by) "choose: {key: lr, values: [1e-3, 3e-3, 1e-2], by: " by "}\n"
static const char by_accuracy[] = HEAD CHOOSE("valid_accuracy") VARIANTS;
static const char by_loss[] = HEAD CHOOSE("valid_ppl") VARIANTS;

static const char first_seed[] =
    "a-lr1e-3-s1 b-lr1e-3-s1 a-lr3e-3-s1 b-lr3e-3-s1 a-lr1e-2-s1 b-lr1e-2-s1 ";

static void others_take_the_best(void **state)
{
    (void)state;
    dart_sweep_result result;
    char expected[512];
    const char *file = write_file("accuracy.yaml", by_accuracy);
    spy w = {0}, again = {0}, listed = {0}, loss = {0};
    if (run_sweep(&w, file, "accuracy", false, &result) != DART_OK)
        fail_msg("%s", dart_error_text());
    snprintf(expected, sizeof expected, "%sa-lr3e-3-s2 b-lr1e-2-s2 a-lr3e-3-s3 b-lr1e-2-s3 ",
        first_seed);
    assert_string_equal(w.started, expected);
    assert_true(result.runs == 10 && result.done == 10 && result.failed == 0);
    assert_non_null(strstr(w.notes, "[10/10] b-lr1e-2-s3"));
    char *md = tiny_read("accuracy", "results.md"), *csv = tiny_read("accuracy", "results.csv");
    assert_non_null(strstr(md, "10 of 10 runs are done"));
    assert_non_null(strstr(md, "| variant | lr | runs |"));
    assert_non_null(strstr(md, "| a | 3e-3 | 3 of 3 |"));
    assert_non_null(strstr(md, "| b | 1e-2 | 3 of 3 |"));
    assert_non_null(strstr(md, " 0.8800 ± 0.0100 |")); /* 0.9 less 0.01 a seed */
    assert_null(strstr(md, "1e-3"));
    assert_non_null(strstr(csv, "a-lr1e-3-s1,1,1e-3,a,not chosen,"));
    assert_non_null(strstr(csv, "a-lr3e-3-s2,2,3e-3,a,done,"));
    assert_non_null(strstr(csv, "a-lr1e-2-s2,2,1e-2,a,not chosen,"));
    free(md);
    free(csv);
    /* nothing is left to do, and the list says so */
    assert_int_equal(run_sweep(&again, file, "accuracy", false, &result), DART_OK);
    assert_true(again.count == 0 && result.done == 10);
    assert_int_equal(run_sweep(&listed, file, "none", true, &result), DART_OK);
    assert_non_null(strstr(listed.notes, "a-lr1e-3-s1\n"));
    assert_non_null(strstr(listed.notes, "a-lr1e-3-s2  if it is chosen\n"));
    /* a perplexity is better where it is smaller */
    assert_int_equal(
        run_sweep(&loss, write_file("loss.yaml", by_loss), "loss", false, &result), DART_OK);
    snprintf(expected, sizeof expected, "%sa-lr1e-3-s2 b-lr1e-2-s2 a-lr1e-3-s3 b-lr1e-2-s3 ",
        first_seed);
    assert_string_equal(loss.started, expected);
    /* where nothing is chosen, a picture of classifiers is of their accuracy */
    spy plain = {0};
    assert_int_equal(
        run_sweep(&plain, write_file("plain.yaml", HEAD VARIANTS), "plain", false, &result),
        DART_OK);
    char *picture[2] = {tiny_read("plain", "results.svg"), tiny_read("loss", "results.svg")};
    assert_non_null(strstr(picture[0], "Test accuracy"));
    assert_non_null(strstr(picture[1], "Test perplexity"));
    free(picture[0]);
    free(picture[1]);
}

/* Variants of fine-tuning that differ by the size in their labels are one line of the picture. */
static void sizes_are_one_line(void **state)
{
    (void)state;
    dart_sweep_result result;
    spy w = {0};
    const char *file = write_file("sizes.yaml",
        HEAD "variants:\n  - {label: size-20}\n  - {label: size-1.5k, rank: 3}\n  - {label: size}\n"
             "  - {label: size-x-8, rank: 4}\n  - {label: size-b2, rank: 5}\n");
    if (run_sweep(&w, file, "sizes", false, &result) != DART_OK) fail_msg("%s", dart_error_text());
    char *picture = tiny_read("sizes", "results.svg");
    assert_null(strstr(picture, ">size-20"));
    assert_null(strstr(picture, ">size-1.5k"));
    assert_non_null(strstr(picture, ">size<"));
    assert_non_null(strstr(picture, ">size-x<"));
    assert_non_null(strstr(picture, ">size-b2<"));
    assert_non_null(strstr(picture, "trained numbers"));
    free(picture);
}

static void stopped_sweeps_go_on(void **state)
{
    (void)state;
    dart_sweep_result result;
    const char *file = write_file("stopped.yaml", by_accuracy);
    spy part = {.stop_before = 5}, rest = {.stop_before = 4}, end = {0};
    assert_int_equal(run_sweep(&part, file, "stopped", false, &result), DART_INTERRUPTED);
    assert_non_null(strstr(dart_error_text(), "stopped after 4 of 10 runs"));
    char *md = tiny_read("stopped", "results.md");
    assert_non_null(strstr(md, "| a | - | 0 of 3 |")); /* not known yet */
    free(md);
    assert_int_equal(run_sweep(&rest, file, "stopped", false, &result), DART_INTERRUPTED);
    assert_string_equal(rest.started, "a-lr1e-2-s1 b-lr1e-2-s1 a-lr3e-3-s2 b-lr1e-2-s2 ");
    assert_int_equal(run_sweep(&end, file, "stopped", false, &result), DART_OK);
    assert_string_equal(end.started, "b-lr1e-2-s2 a-lr3e-3-s3 b-lr1e-2-s3 ");
    char *once = tiny_read("accuracy", "results.csv"), *csv = tiny_read("stopped", "results.csv");
    assert_string_equal(once, csv);
    free(once);
    free(csv);
}

/* A value that diverges is a worse one; one that failed might be the best, so that nothing is
 * chosen until it has been tried again. */
static void values_that_end_badly(void **state)
{
    (void)state;
    dart_sweep_result result;
    const char *file = write_file("bad.yaml", by_accuracy);
    spy diverged = {.diverges = "a-lr3e-3"}, all = {.diverges = "a-"},
        failed = {.fails = "b-lr1e-3-s1"}, mended = {0};
    assert_int_equal(run_sweep(&diverged, file, "diverged", false, &result), DART_OK);
    assert_true(result.done == 9 && result.failed == 0 && result.runs == 10);
    assert_non_null(strstr(diverged.started, "a-lr1e-3-s2"));
    assert_null(strstr(diverged.started, "a-lr3e-3-s2"));
    assert_int_equal(run_sweep(&all, file, "all", false, &result), DART_FAILED);
    assert_true(result.failed == 5); /* three values, two seeds without one */
    char *md = tiny_read("all", "results.md");
    assert_non_null(
        strstr(md, "needs the best lr, and no run of the first seed has a valid_accuracy"));
    free(md);
    assert_int_equal(run_sweep(&failed, file, "failed", false, &result), DART_FAILED);
    assert_true(result.failed == 3 && result.done == 7);
    assert_null(strstr(failed.started, "b-lr1e-2-s2"));
    md = tiny_read("failed", "results.md");
    assert_non_null(strstr(md, "needs the best lr, and b-lr1e-3-s1 failed"));
    free(md);
    assert_int_equal(run_sweep(&mended, file, "failed", false, &result), DART_OK);
    assert_string_equal(mended.started, "b-lr1e-3-s1 b-lr1e-2-s2 b-lr1e-2-s3 ");
}

/* A variant may have values of its own. */
static void variants_have_their_own_values(void **state)
{
    (void)state;
    dart_sweep_result result;
    spy w = {0};
    const char *file = write_file("own.yaml",
        "base: base.yaml\nseeds: [1, 2]\n" CHOOSE(
            "valid_accuracy") "variants:\n  - {label: a}\n"
                              "  - {label: b, values: [1e-2, 5e-4, 3e-3]}\n");
    if (run_sweep(&w, file, "own", false, &result) != DART_OK) fail_msg("%s", dart_error_text());
    assert_string_equal(w.started, "a-lr1e-3-s1 b-lr1e-2-s1 a-lr3e-3-s1 b-lr5e-4-s1 a-lr1e-2-s1 "
                                   "b-lr3e-3-s1 b-lr1e-2-s2 a-lr3e-3-s2 ");
    char *md = tiny_read("own", "results.md"), *csv = tiny_read("own", "results.csv");
    char *recipe = tiny_read("own", "b-lr5e-4-s1.yaml");
    assert_non_null(strstr(md, "| b | 1e-2 | 2 of 2 |"));
    assert_non_null(strstr(csv, "b-lr5e-4-s1,1,5e-4,b,not chosen,"));
    assert_non_null(strstr(recipe, "learning_rate: 5e-4"));
    free(md);
    free(csv);
    free(recipe);
}

/* Models that are no classifiers, trained: the better of two rates, without seeds and variants. */
static void runs_are_trained(void **state)
{
    (void)state;
    dart_sweep_result result;
    const dart_sweep_options options = {.out = tiny_path("trained")};
    const char *file = write_file("trained.yaml",
        "base: base.yaml\nchoose: {key: learning_rate, values: [1e-2, 1e-6], by: valid_ppl}\n");
    if (dart_sweep_all(file, &options, NULL, &result) != DART_OK) fail_msg("%s", dart_error_text());
    assert_true(result.runs == 2 && result.done == 2);
    char *md = tiny_read("trained", "results.md");
    assert_non_null(strstr(md, "| 1e-2 | 1 of 1 |"));
    free(md);
}

static void refused(const char *text, const char *says)
{
    dart_sweep_result result;
    const char *file = write_file("refused.yaml", text);
    spy w = {0};
    if (run_sweep(&w, file, "refused", false, &result) != DART_INPUT || w.count ||
        !strstr(dart_error_text(), says))
        fail_msg("%s: %s", text, dart_error_text());
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    refused(HEAD "choose: [lr]\n", ":3:9: choose needs lines of the form 'key: value'");
    refused(HEAD "choose: {key: lr, values: [1, 2]}\n", "choose is written {key: learning_rate");
    refused(HEAD "choose: {key: lr, values: 1, by: valid_ppl}\n", "values needs a list");
    refused(HEAD "choose: {key: lr, values: [], by: valid_ppl}\n", "the list is empty");
    refused(
        HEAD "choose: {key: lr, values: [1e-3], by: test_ppl}\n", "what is chosen by is valid_ppl");
    refused(HEAD "choose: {key: lr, values: [1e-3], by: valid_luck}\n", "what is chosen by is");
    refused(HEAD "choose: {key: lr, value: [1e-3], by: valid_ppl}\n", "unknown key 'value'");
    refused(HEAD "choose: {key: rate, values: [1e-3], by: valid_ppl}\n", "unknown key 'rate'");
    refused(HEAD "choose: {key: lr, values: [quick], by: valid_ppl}\n", "quick");
    refused(HEAD "choose: {key: lr, values: [1e-3, 1e-3], by: valid_ppl}\n", "a value twice");
    refused(
        HEAD "variants:\n  - {label: a, values: [1, 2]}\n", "values are for a sweep that chooses");
    refused(HEAD CHOOSE("valid_ppl") "variants:\n  - {label: a, values: [1e-3, 2e-3]}\n",
        "as many as those of choose, which has 3");
    refused(
        HEAD CHOOSE("valid_ppl") "variants:\n  - {label: a, values: [1e-3, x, 2e-3]}\n", ":5:31:");
    refused(HEAD CHOOSE("valid_ppl") "variants:\n  - {label: a}\n"
                                     "  - {label: b, pick.select: uniform, budget_from: a}\n",
        "give no budget to others");
}

static int set_up(void **state)
{
    char text[1024];
    if (tiny_set_up(state)) return 1;
    snprintf(text, sizeof text,
        "model: {layers: 1, d_model: 16, heads: 2, context: 8, dropout: 0}\n"
        "method: {linear: tt, rank: 4, linear_modes: 2}\ndata: {text: '%s/text.txt'}\n"
        "train: {batch_size: 4}\nrun: {device: cpu}\nstages:\n"
        "  - {name: shrink, max_steps: 20}\n",
        tiny_folder);
    write_file("base.yaml", text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(others_take_the_best),
        cmocka_unit_test(sizes_are_one_line), cmocka_unit_test(stopped_sweeps_go_on),
        cmocka_unit_test(values_that_end_badly), cmocka_unit_test(variants_have_their_own_values),
        cmocka_unit_test(runs_are_trained), cmocka_unit_test(what_cannot_be_is_refused)};
    return cmocka_run_group_tests(tests, set_up, tiny_tear_down);
}
