/* Translation of a trained model: lines, n-best lists, a split with BLEU, the table, devices, bad
 * input. The language pair is of our own making and small enough to be learnt by heart. */
#include "bleu.h"
#include "tiny_run.h"
#include "translate.h"
#include <math.h>

enum { WHO = 5, DOES = 2, WHAT = 4, PAIRS = WHO * DOES * WHAT, TEST = 8 };

static void sentence(unsigned i, int side, FILE *f)
{
    static const char *const who[][2] = {{"der hund", "the dog"}, {"ein vogel", "a bird"},
        {"die alte frau", "the old woman"}, {"mein freund", "my friend"}, {"wer", "who"}};
    static const char *const does[][2] = {{"sieht", "sees"}, {"mag", "likes"}};
    static const char *const what[][2] = {{"den fluss", "the river"}, {"brot", "some bread"},
        {"ein haus", "a house"}, {"nichts", "nothing"}};
    const char *subject = who[i % WHO][side], *verb = does[i / WHO % DOES][side];
    const char *object = what[i / WHO / DOES][side];
    /* the verb stands last on one side */
    if (side == 0)
        fprintf(f, "%s %s %s .\n", subject, object, verb);
    else
        fprintf(f, "%s %s %s .\n", subject, verb, object);
}

static dart_recipe *recipe_for(const char *out)
{
    dart_recipe *recipe;
    const char *path = tiny_path("pairs.yaml");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
        "model: {arch: encoder-decoder, layers: 1, d_model: 32, heads: 2, context: 10, dropout: "
        "0}\n"
        "method: {linear: tt, rank: 12, linear_modes: 2}\ndata: {dataset: '%s', min_count: 1}\n"
        "train: {batch_size: 8, label_smoothing: 0.1}\n"
        "stage: {learning_rate: 1e-2, warmup_steps: 5}\n"
        "run: {device: cpu, out: '%s', beam: 3, save_steps: 0}\n"
        "stages:\n  - {name: learn, epochs: 150}\n",
        tiny_folder, out);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    if (dart_recipe_load(recipe, path) != DART_OK) fail_msg("%s", dart_error_text());
    return recipe;
}

static dart_result trained;

static int set_up(void **state)
{
    static const char *const split[] = {"train", "valid", "test"};
    if (tiny_set_up(state)) return 1;
    for (int s = 0; s < 3; s++)
        for (int side = 0; side < 2; side++) {
            char path[128];
            snprintf(
                path, sizeof path, "%s/%s.%s", tiny_folder, split[s], side ? "target" : "source");
            FILE *f = fopen(path, "w");
            if (!f) return 1;
            for (unsigned i = 0; i < (s ? TEST : PAIRS); i++) sentence(s ? i * 5 : i, side, f);
            if (fclose(f)) return 1;
        }
    static tiny_watch watch;
    dart_recipe *recipe = recipe_for(tiny_path("learnt"));
    dart_status status = tiny_train(recipe, &watch, &trained);
    dart_recipe_free(recipe);
    if (status != DART_OK) print_message("%s\n", dart_error_text());
    return status != DART_OK;
}

/* What dart_translate writes for `input`; `key` and `value` override the recipe. */
static dart_status translate(const char *run, const char *key, const char *value,
    const dart_translate_options *o, const char *input, size_t size, tiny_watch *watch,
    dart_bleu *bleu, char **out)
{
    dart_recipe *over;
    size_t n;
    FILE *in = fmemopen((char *)(uintptr_t)input, size ? size : 1, "r");
    FILE *to = open_memstream(out, &n);
    assert_non_null(in);
    assert_non_null(to);
    if (!size) fgetc(in);
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    if (key) tiny_set(over, key, value);
    const dart_hooks hooks = {.user = watch, .note = tiny_note, .abort = tiny_abort};
    dart_status status = dart_translate(tiny_path(run), over, &hooks, o, in, to, bleu);
    dart_recipe_free(over);
    fclose(in);
    fclose(to);
    return status;
}

static char *lines_of(const char *key, const char *value, const dart_translate_options *o,
    const char *input, tiny_watch *watch)
{
    dart_bleu bleu;
    char *out;
    if (translate("learnt", key, value, o, input, strlen(input), watch, &bleu, &out) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_int_equal(bleu.sentences, 0);
    return out;
}

static const dart_translate_options plain = {.best = 1}, words = {.best = 1, .words = true};

/* The table, the log and `translate --split` agree, and the figure is what the lines score. */
static void test_split_and_table(void **state)
{
    (void)state;
    static tiny_watch watch;
    dart_bleu bleu, own;
    char *out, *log = tiny_read("learnt", "metrics.jsonl"),
               *table = tiny_read("learnt", "table.json");
    const dart_translate_options o = {.split = DART_TRANSLATE_TEST, .best = 1};
    assert_int_equal(trained.rows, 1);
    assert_int_equal(trained.row[0].bleu_sentences, TEST);
    assert_true(trained.row[0].test_bleu > 90);
    if (translate("learnt", NULL, NULL, &o, "", 0, &watch, &bleu, &out) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_true(bleu.score == trained.row[0].test_bleu);
    assert_int_equal(bleu.sentences, TEST);
    assert_non_null(strstr(log, "\"test_bleu\""));
    assert_non_null(strstr(table, "\"test_bleu\""));
    static const char how[] = "perplexity per target word, &lt;eos&gt; counted, over ";
    const char *run = tiny_path("learnt"), *page = tiny_path("learnt/report.html");
    if (dart_report(&run, 1, page) != DART_OK) fail_msg("%s", dart_error_text());
    char *html = tiny_read("learnt", "report.html");
    assert_non_null(strstr(table, "\"protocol\""));
    assert_non_null(strstr(html, how));
    assert_non_null(strstr(html, "<th>test BLEU</th>"));
    assert_non_null(strstr(html, "aria-label=\"BLEU of the test split\""));
    free(html);
    char hypothesis[300], target[300];
    const char *reference = target;
    snprintf(hypothesis, sizeof hypothesis, "%s/hypothesis", tiny_folder);
    snprintf(target, sizeof target, "%s/test.target", tiny_folder);
    assert_int_equal(dart_file_write_sync(hypothesis, out, strlen(out)), DART_OK);
    assert_int_equal(dart_bleu_of_files(
                         hypothesis, &reference, 1, &(dart_bleu_options){.lowercase = true}, &own),
        DART_OK);
    assert_true(own.score == bleu.score);
    free(out);
    free(log);
    free(table);
}

static void test_lines(void **state)
{
    (void)state;
    static tiny_watch watch;
    const char *input = "der hund den fluss sieht .\n\nEIN Vogel brot mag .\r\nwer nichts mag .";
    char *out = lines_of(NULL, NULL, &plain, input, &watch);
    assert_string_equal(
        out, "the dog sees the river.\n\na bird likes some bread.\nwho likes nothing.\n");
    /* any grouping of lines into batches, the same text */
    char *one = lines_of("batch_size", "1", &plain, input, &watch);
    assert_string_equal(one, out);
    char *three = lines_of("batch_size", "3", &plain, input, &watch);
    assert_string_equal(three, out);
    char *cut = lines_of(NULL, NULL, &words, input, &watch);
    assert_string_equal(
        cut, "the dog sees the river .\n\na bird likes some bread .\nwho likes nothing .\n");
    assert_null(strstr(watch.notes, "cut"));
    char *nothing = lines_of(NULL, NULL, &plain, "", &watch);
    assert_string_equal(nothing, "");
    char *longer = lines_of(NULL, NULL, &plain,
        "der hund der hund der hund der hund der hund der hund\nunbekannte woerter\n", &watch);
    assert_non_null(strstr(watch.notes, "1 sentences were longer than 9 words"));
    assert_non_null(strchr(longer, '\n'));
    free(out);
    free(one);
    free(three);
    free(cut);
    free(nothing);
    free(longer);
}

static void test_best_list(void **state)
{
    (void)state;
    static tiny_watch watch;
    const dart_translate_options o = {.best = 5};
    const char *input = "der hund den fluss sieht .\nein vogel brot mag .\n";
    char *out = lines_of(NULL, NULL, &o, input, &watch), *rest = NULL;
    unsigned seen[3] = {0};
    double last[3] = {INFINITY, INFINITY, INFINITY};
    for (char *line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        unsigned n;
        char *score = strstr(line, ". ||| ");
        assert_int_equal(sscanf(line, "%u ||| ", &n), 1);
        assert_in_range(n, 1, 2);
        if (!seen[n]++)
            assert_true(strncmp(line,
                            n == 1 ? "1 ||| the dog sees the river. |||"
                                   : "2 ||| a bird likes some bread. |||",
                            30) == 0);
        score = strrchr(line, '|') + 1;
        assert_true(strtod(score, NULL) <= last[n]);
        last[n] = strtod(score, NULL);
    }
    assert_in_range(seen[1], 2, 5);
    assert_in_range(seen[2], 2, 5);
    free(out);
}

static void test_devices(void **state)
{
    (void)state;
    static tiny_watch watch;
    static const char *const device[] = {"opencl:0", "vulkan:0"};
    const char *input =
        "der hund den fluss sieht .\nwer nichts mag .\ndie alte frau brot sieht .\n";
    char *out = lines_of(NULL, NULL, &plain, input, &watch);
    for (int d = 0; d < 2; d++) {
        dart_device *probe;
        if (dart_device_open(device[d], NULL, &probe) != DART_OK) {
            print_message("%s skipped: %s\n", device[d], dart_error_text());
            continue;
        }
        dart_device_close(probe);
        char *there = lines_of("device", device[d], &plain, input, &watch);
        assert_string_equal(there, out);
        free(there);
    }
    free(out);
}

static void refused(const char *run, const dart_translate_options *o, const char *input,
    size_t size, const char *part)
{
    static tiny_watch watch;
    dart_bleu bleu;
    char *out;
    assert_int_equal(translate(run, NULL, NULL, o, input, size, &watch, &bleu, &out), DART_INPUT);
    if (!strstr(dart_error_text(), part)) fail_msg("'%s': %s", part, dart_error_text());
    free(out);
}

static void test_bad_input(void **state)
{
    (void)state;
    static tiny_watch watch;
    dart_result result;
    refused("learnt", &plain, "der hund\nder \xff\n", 15, "line 2 has the byte 0xff");
    refused("learnt", &plain, "der\0hund\n", 9, "line 1 of the input has a zero byte");
    dart_recipe *recipe = tiny_recipe(tiny_path("text"), "stages:\n  - {name: a, max_steps: 1}\n");
    if (tiny_train(recipe, &watch, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    refused("text", &plain, "der\n", 4, "no translation model");
    assert_int_equal(result.row[0].bleu_sentences, 0);
}

/* Without a beam there is no BLEU in the table, and translate takes the likeliest word each time.
 */
static void test_no_beam(void **state)
{
    (void)state;
    static tiny_watch watch;
    dart_result result;
    dart_recipe *recipe = recipe_for(tiny_path("without"));
    tiny_set(recipe, "beam", "0");
    tiny_set(recipe, "seed", "2");
    if (tiny_train(recipe, &watch, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_int_equal(result.row[0].bleu_sentences, 0);
    char *log = tiny_read("without", "metrics.jsonl");
    assert_null(strstr(log, "bleu"));
    free(log);
    char *out = lines_of("beam", "0", &plain, "wer nichts mag .\n", &watch);
    assert_string_equal(out, "who likes nothing.\n");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_and_table),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_best_list),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_no_beam),
    };
    return cmocka_run_group_tests(tests, set_up, tiny_tear_down);
}
