/* Translation of a trained model: lines, n-best lists, a split with BLEU, the table, devices, bad
 * input. The language pair is of our own making and small enough to be learnt by heart. */
#include "bleu.h"
#include "handles.h"
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
        "stage: {learning_rate: 5e-3, warmup_steps: 20}\n"
        "run: {device: cpu, out: '%s', beam: 3, save_steps: 0}\n"
        "stages:\n  - {name: learn, epochs: 250}\n",
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

typedef struct how {
    uint32_t best;
    bool words;
} how;

typedef struct printed {
    handle_text out;
    uint32_t best;
} printed;

/* As `dart-llm translate` prints it. */
static int print_translation(
    void *user, size_t index, uint32_t rank, const char *text, double score)
{
    printed *p = user;
    char line[1024];
    assert_true(rank < p->best);
    int n = p->best > 1
                ? snprintf(line, sizeof line, "%zu ||| %s ||| %.6f\n", index + 1, text, score)
                : snprintf(line, sizeof line, "%s\n", text);
    return handle_take(&p->out, line, (size_t)n);
}

static dart_status open_run(const char *run, const char *key, const char *value,
    const dart_context_options *o, dart_llm **llm, dart_context **context)
{
    dart_recipe *over;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    if (key) tiny_set(over, key, value);
    const dart_llm_options lo = {.size = sizeof lo, .overrides = over};
    dart_status status = dart_llm_open(tiny_path(run), &lo, llm);
    dart_recipe_free(over);
    *context = NULL;
    return status == DART_OK ? dart_context_new(*llm, o, context) : status;
}

/* Translations of the lines of `input`, all in one call; `key` and `value` override the recipe. */
static dart_status translate(const char *run, const char *key, const char *value, const how *o,
    const char *input, uint64_t *cut, char **out)
{
    dart_llm *llm;
    dart_context *context;
    const dart_context_options co = {.size = sizeof co, .best = o->best};
    const dart_translate_options to = {.size = sizeof to, .words = o->words};
    char *copy = strdup(input), *line[16];
    size_t count = 0;
    for (char *at = copy; *at;) {
        char *end = strchr(at, '\n');
        assert_true(count < 16);
        line[count++] = at;
        at = end ? end + 1 : at + strlen(at);
        if (end) *end = 0;
        line[count - 1][strcspn(line[count - 1], "\r")] = 0;
    }
    printed p = {.best = o->best};
    dart_status status = open_run(run, key, value, &co, &llm, &context);
    if (status == DART_OK)
        status = dart_context_translate(
            context, (const char *const *)line, count, &to, print_translation, &p, cut);
    dart_context_free(context);
    dart_llm_close(llm);
    free(copy);
    *out = p.out.text ? p.out.text : calloc(1, 1);
    return status;
}

static char *lines_of(
    const char *key, const char *value, const how *o, const char *input, uint64_t *cut)
{
    char *out;
    if (translate("learnt", key, value, o, input, cut, &out) != DART_OK)
        fail_msg("%s", dart_last_error());
    return out;
}

static const how plain = {.best = 1}, words = {.best = 1, .words = true};

/* The table, the log and `translate --split` agree, and the figure is what the lines score. */
static void test_split_and_table(void **state)
{
    (void)state;
    dart_bleu bleu = {.size = sizeof bleu}, own;
    dart_llm *llm;
    dart_context *context;
    handle_text text = {0};
    char *log = tiny_read("learnt", "metrics.jsonl"), *table = tiny_read("learnt", "table.json");
    assert_int_equal(trained.rows, 1);
    assert_int_equal(trained.row[0].bleu_sentences, TEST);
    assert_true(trained.row[0].test_bleu > 90);
    assert_int_equal(open_run("learnt", NULL, NULL, NULL, &llm, &context), DART_OK);
    if (dart_context_bleu(context, "test", NULL, handle_take, &text, &bleu) != DART_OK)
        fail_msg("%s", dart_last_error());
    assert_int_equal(dart_context_bleu(context, "train", NULL, NULL, NULL, &own), DART_USAGE);
    dart_context_free(context);
    dart_llm_close(llm);
    assert_true(bleu.score == trained.row[0].test_bleu);
    assert_int_equal(bleu.sentences, TEST);
    assert_non_null(strstr(log, "\"test_bleu\""));
    assert_non_null(strstr(table, "\"test_bleu\""));
    static const char protocol[] = "perplexity per target word, &lt;eos&gt; counted, over ";
    const char *run = tiny_path("learnt"), *page = tiny_path("learnt/report.html");
    if (dart_report(&run, 1, page) != DART_OK) fail_msg("%s", dart_error_text());
    char *html = tiny_read("learnt", "report.html");
    assert_non_null(strstr(table, "\"protocol\""));
    assert_non_null(strstr(html, protocol));
    assert_non_null(strstr(html, ">test BLEU</th>"));
    assert_non_null(strstr(html, "aria-label=\"BLEU of the test split\""));
    free(html);
    char hypothesis[300], target[300];
    const char *reference = target;
    snprintf(hypothesis, sizeof hypothesis, "%s/hypothesis", tiny_folder);
    snprintf(target, sizeof target, "%s/test.target", tiny_folder);
    assert_int_equal(dart_file_write_sync(hypothesis, text.text, text.size), DART_OK);
    assert_int_equal(dart_bleu_of_files(
                         hypothesis, &reference, 1, &(dart_bleu_options){.lowercase = true}, &own),
        DART_OK);
    assert_true(own.score == bleu.score);
    free(text.text);
    free(log);
    free(table);
}

static void test_lines(void **state)
{
    (void)state;
    uint64_t cut_lines;
    const char *input = "der hund den fluss sieht .\n\nEIN Vogel brot mag .\r\nwer nichts mag .";
    char *out = lines_of(NULL, NULL, &plain, input, &cut_lines);
    assert_string_equal(
        out, "the dog sees the river.\n\na bird likes some bread.\nwho likes nothing.\n");
    /* any grouping of lines into batches, the same text */
    char *one = lines_of("batch_size", "1", &plain, input, &cut_lines);
    assert_string_equal(one, out);
    char *three = lines_of("batch_size", "3", &plain, input, &cut_lines);
    assert_string_equal(three, out);
    char *cut = lines_of(NULL, NULL, &words, input, &cut_lines);
    assert_string_equal(
        cut, "the dog sees the river .\n\na bird likes some bread .\nwho likes nothing .\n");
    assert_int_equal(cut_lines, 0);
    char *nothing = lines_of(NULL, NULL, &plain, "", &cut_lines);
    assert_string_equal(nothing, "");
    char *longer = lines_of(NULL, NULL, &plain,
        "der hund der hund der hund der hund der hund der hund\nunbekannte woerter\n", &cut_lines);
    assert_int_equal(cut_lines, 1);
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
    const how o = {.best = 5};
    const char *input = "der hund den fluss sieht .\nein vogel brot mag .\n";
    char *out = lines_of(NULL, NULL, &o, input, NULL), *rest = NULL;
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
    static const char *const device[] = {"opencl:0", "vulkan:0"};
    const char *input =
        "der hund den fluss sieht .\nwer nichts mag .\ndie alte frau brot sieht .\n";
    char *out = lines_of(NULL, NULL, &plain, input, NULL);
    for (int d = 0; d < 2; d++) {
        dart_device *probe;
        if (dart_device_open(device[d], NULL, &probe) != DART_OK) {
            print_message("%s skipped: %s\n", device[d], dart_error_text());
            continue;
        }
        dart_device_close(probe);
        char *there = lines_of("device", device[d], &plain, input, NULL);
        assert_string_equal(there, out);
        free(there);
    }
    free(out);
}

static void refused(const char *run, const char *input, const char *part)
{
    char *out;
    assert_int_equal(translate(run, NULL, NULL, &plain, input, NULL, &out), DART_INPUT);
    if (!strstr(dart_last_error(), part)) fail_msg("'%s': %s", part, dart_last_error());
    free(out);
}

static void test_bad_input(void **state)
{
    (void)state;
    static tiny_watch watch;
    dart_result result;
    refused("learnt", "der hund\nder \xff\n", "line 2 has the byte 0xff");
    dart_recipe *recipe = tiny_recipe(tiny_path("text"), "stages:\n  - {name: a, max_steps: 1}\n");
    if (tiny_train(recipe, &watch, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    refused("text", "der\n", "no translation model");
    assert_int_equal(result.row[0].bleu_sentences, 0);
}

/* The program, which reads the lines itself. */
static int program(const char *input, size_t size, char **out, char **err)
{
    char command[1024];
    size_t n;
    assert_int_equal(dart_file_write_sync(tiny_path("in"), input, size), DART_OK);
    snprintf(command, sizeof command,
        DART_BINARY_DIR "/dart-llm translate %s/learnt --input %s/in --device cpu >%s/out 2>%s/err",
        tiny_folder, tiny_folder, tiny_folder, tiny_folder);
    int code = system(command);
    assert_int_equal(dart_file_read(tiny_path("out"), out, &n), DART_OK);
    assert_int_equal(dart_file_read(tiny_path("err"), err, &n), DART_OK);
    return WEXITSTATUS(code);
}

static void test_program(void **state)
{
    (void)state;
    /* more lines than a batch, the last one without an end */
    static const char input[] =
        "der hund den fluss sieht .\n\nwer nichts mag .\n"
        "der hund der hund der hund der hund der hund der hund\r\ndie alte frau brot sieght .\n"
        "der hund den fluss sieht .\nwer nichts mag .";
    char *out, *err, *expected = lines_of(NULL, NULL, &plain, input, NULL);
    assert_int_equal(program(input, sizeof input - 1, &out, &err), 0);
    assert_string_equal(out, expected);
    assert_non_null(strstr(err, "1 sentences were longer than 9 words and were cut there"));
    free(out);
    free(err);
    assert_int_equal(program("der hund .\nder\0hund\n", 19, &out, &err), DART_INPUT);
    assert_non_null(strstr(err, "line 2 of the input has a zero byte"));
    assert_string_equal(out, "");
    free(out);
    free(err);
    assert_int_equal(program("", 0, &out, &err), 0);
    assert_string_equal(out, "");
    free(out);
    free(err);
    free(expected);
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
    char *out = lines_of("beam", "0", &plain, "wer nichts mag .\n", NULL);
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
        cmocka_unit_test(test_program),
        cmocka_unit_test(test_no_beam),
    };
    return cmocka_run_group_tests(tests, set_up, tiny_tear_down);
}
