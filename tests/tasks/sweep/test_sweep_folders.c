/* Sweeps over folders that are not as a sweep left them: damage stays one run's own, what is not
 * finite is said, nothing that lies there is lost, no locale shows. */
#include "sweep.h"
#include "tiny_run.h"
#include "comma_locale.h"

static char notes[16384];

static void take_note(void *user, const char *line)
{
    (void)user;
    size_t used = strlen(notes);
    snprintf(notes + used, sizeof notes - used, "%s\n", line);
}

static void put(const char *name, const char *text)
{
    assert_int_equal(dart_file_write_sync(tiny_path(name), text, strlen(text)), DART_OK);
}

static void folder(const char *name)
{
    assert_int_equal(dart_mkdirs(tiny_path(name)), DART_OK);
}

/* base.yaml, and grid.yaml with a run rank<r> for each of the ranks. */
static void write_files(const char *ranks, unsigned steps)
{
    char text[1024];
    snprintf(text, sizeof text,
        "model: {layers: 1, d_model: 16, heads: 2, context: 8, dropout: 0}\n"
        "method: {linear: tt, linear_modes: 2}\ndata: {text: '%s/text.txt'}\n"
        "train: {batch_size: 4}\nrun: {device: cpu}\nstages:\n"
        "  - {name: shrink, max_steps: %u, learning_rate: 1e-2}\n",
        tiny_folder, steps);
    put("base.yaml", text);
    snprintf(text, sizeof text, "base: base.yaml\ngrid: {rank: [%s]}\n", ranks);
    put("grid.yaml", text);
}

/* In this process, one run after another. results: the name of a results.csv, or NULL. */
static dart_status run_from(
    const char *out, bool force, const char *results, dart_sweep_result *result)
{
    char file[256], dir[256], csv[256];
    snprintf(file, sizeof file, "%s", tiny_path("grid.yaml"));
    snprintf(dir, sizeof dir, "%s", tiny_path(out));
    if (results) snprintf(csv, sizeof csv, "%s", tiny_path(results));
    const dart_sweep_options options = {
        .out = dir, .force = force, .results = results ? csv : NULL};
    const dart_sweep_hooks hooks = {.note = take_note};
    notes[0] = 0;
    return dart_sweep_all(file, &options, &hooks, result);
}

static dart_status run_sweep(const char *out, bool force, dart_sweep_result *result)
{
    return run_from(out, force, NULL, result);
}

static const char good_table[] =
    "[{\"name\": \"TT\", \"params\": 5000, \"compressed_params\": 800, \"chain_params\": 900,"
    "\"dense_params\": 4000, \"compression\": 5, \"rank_min\": 1, \"rank_mean\": 2.5,"
    "\"rank_max\": 4, \"valid_ppl\": 9.5, \"test_ppl\": 8.25, \"tokens_per_s\": 7,"
    "\"seconds\": 3.5}]\n";

/* A folder or file is taken for what it holds, not for its name. */
static void test_incomplete(void **state)
{
    (void)state;
    dart_sweep_result result;
    write_files("2, 3", 6);
    assert_int_equal(run_sweep("one", false, &result), DART_OK);
    char *want = tiny_read("one/rank2", "metrics.jsonl");
    /* stopped before the first checkpoint was whole, or in the middle of its table */
    static const char *const left[] = {
        "checkpoints", "checkpoints/step-3", "checkpoints/.step-6.partial", "dense-twin"};
    for (size_t i = 0; i < sizeof left / sizeof *left + 1; i++) {
        assert_int_equal(dart_remove_tree(tiny_path("one/rank2")), DART_OK);
        folder("one/rank2");
        put("one/rank2/metrics.jsonl", "{\"step\":1,\"stage\":\"shrink\",\"lo");
        if (i < sizeof left / sizeof *left) {
            char name[64];
            snprintf(name, sizeof name, "one/rank2/%s", left[i]);
            folder(name);
        } else {
            put("one/rank2/table.json", "[{\"name\": \"TT\", \"par");
        }
        if (run_sweep("one", false, &result) != DART_OK) fail_msg("%s", dart_error_text());
        assert_int_equal(result.done, 2);
        assert_non_null(strstr(notes, "rank3: (was finished)"));
        assert_null(strstr(notes, "rank2: (was finished)"));
        char *got = tiny_read("one/rank2", "metrics.jsonl");
        assert_string_equal(got, want);
        free(got);
    }
    free(want);
}

/* A sweep goes on from its results.csv alone: what has figures there is not trained again, and the
 * new table has the same ones; a run that is there counts as it is. */
static void test_earlier_results(void **state)
{
    (void)state;
    dart_sweep_result result;
    write_files("2, 3", 6);
    assert_int_equal(run_sweep("first", false, &result), DART_OK);
    char *want = tiny_read("first", "results.csv");
    put("kept.csv", want);
    write_files("2, 3, 4", 6);
    assert_int_equal(run_from("again", false, "kept.csv", &result), DART_OK);
    assert_int_equal(result.done, 3);
    assert_non_null(strstr(notes, "2 runs are finished by "));
    assert_non_null(strstr(notes, "rank2: (was finished)"));
    assert_non_null(strstr(notes, "rank3: (was finished)"));
    assert_null(strstr(notes, "rank4: (was finished)"));
    assert_false(dart_file_exists(tiny_path("again/rank2/checkpoints")));
    char *got = tiny_read("again", "results.csv");
    assert_int_equal(strncmp(got, want, strlen(want)), 0);
    free(got);
    /* without the file too, now; and with one that says something else */
    size_t at = 0;
    while (strncmp(want + at, ",done,", 6) != 0) assert_true(want[at++]);
    memcpy(want + at, ",gone,", 6);
    put("kept.csv", want);
    assert_int_equal(run_from("again", false, "kept.csv", &result), DART_OK);
    assert_non_null(strstr(notes, "0 runs are finished by "));
    assert_int_equal(run_from("third", false, "kept.csv", &result), DART_OK);
    assert_non_null(strstr(notes, "1 runs are finished by "));
    assert_null(strstr(notes, "rank2: (was finished)"));
    assert_int_equal(result.done, 3);
    free(want);

    static const struct {
        const char *text, *says;
    } bad[] = {{"", "is empty"}, {"a,b\n1,2\n", "no results.csv of a sweep"},
        {"run,status\nrank2\n", "kept.csv, line 2"}, {"run,status,run\n", "run"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("kept.csv", bad[i].text);
        assert_int_equal(run_from("fourth", false, "kept.csv", &result), DART_INPUT);
        if (!strstr(dart_error_text(), bad[i].says)) fail_msg("%s", dart_error_text());
    }
    assert_int_equal(run_from("fourth", false, "nowhere.csv", &result), DART_INPUT);
    /* lines without figures, or of other runs, are none */
    put("kept.csv",
        "run,status,valid_ppl,test_ppl\nrank2,done,,\nrank3,done,nan,3\nrank9,done,1,2\n"
        "rank4,failed,1,2\n");
    assert_int_equal(run_from("fourth", false, "kept.csv", &result), DART_OK);
    assert_non_null(strstr(notes, "0 runs are finished by "));
}

/* What is wrong with one run's files is written down, and the others are trained. */
static void test_damage(void **state)
{
    (void)state;
    dart_sweep_result result;
    write_files("2, 3, 4, 5", 6);
    assert_int_equal(run_sweep("two", false, &result), DART_OK);
    for (int rank = 2; rank < 6; rank++) {
        char name[32];
        snprintf(name, sizeof name, "two/rank%d", rank);
        assert_int_equal(dart_remove_tree(tiny_path(name)), DART_OK);
    }
    assert_int_equal(unlink(tiny_path("two/rank2.yaml")), 0);
    folder("two/rank2.yaml");                      /* its recipe cannot be read or written */
    put("two/rank3", "a file of the same name\n"); /* its folder cannot be made */
    folder("two/rank4/table.json");                /* no table, whatever its name */
    assert_int_equal(run_sweep("two", false, &result), DART_FAILED);
    assert_int_equal(result.done, 2);
    assert_int_equal(result.failed, 2);
    assert_non_null(strstr(notes, "rank2: failed: "));
    assert_non_null(strstr(notes, "rank3: failed: "));
    char *csv = tiny_read("two", "results.csv");
    assert_non_null(strstr(csv, "rank4,4,done,"));
    assert_non_null(strstr(csv, "rank5,5,done,"));
    free(csv);
    assert_true(dart_file_exists(tiny_path("two/rank4.bak-1/table.json")));
    char *kept = tiny_read("two", "rank3");
    assert_string_equal(kept, "a file of the same name\n");
    free(kept);
}

/* Perplexities that are no numbers: never 0.00, and not tried for ever. */
static void test_diverged(void **state)
{
    (void)state;
    dart_sweep_result result;
    static const char *const bad[] = {"null", "1e999", "NaN"};
    write_files("2, 3", 6);
    assert_int_equal(run_sweep("three", false, &result), DART_OK);
    for (size_t i = 0; i < 2; i++) {
        char text[1024];
        snprintf(text, sizeof text,
            "[{\"name\": \"TT\", \"params\": 5000, \"compressed_params\": 800, \"valid_ppl\": %s,"
            "\"test_ppl\": %s, \"seconds\": 3}]",
            i ? "9.5" : "null", bad[0]);
        put("three/rank2/table.json", text);
        assert_int_equal(run_sweep("three", false, &result), DART_FAILED);
        assert_int_equal(result.done, 1);
        assert_int_equal(result.failed, 1);
        assert_non_null(strstr(notes, "rank2: diverged: the perplexity of "));
        char *md = tiny_read("three", "results.md"), *csv = tiny_read("three", "results.csv");
        assert_non_null(strstr(md, "| 2 | 0 of 1 | - | - | - | diverged | diverged |"));
        assert_non_null(strstr(md, "- rank2: diverged: the perplexity of "));
        assert_null(strstr(md, "| 0.00"));
        assert_null(strstr(md, "nan"));
        assert_non_null(strstr(csv, "rank2,2,diverged,,,,"));
        assert_null(strstr(csv, "nan"));
        free(md);
        free(csv);
    }
    /* what is no JSON at all is no table: the run goes on from its checkpoint and writes it */
    for (size_t i = 1; i < 3; i++) {
        char text[200];
        snprintf(text, sizeof text, "[{\"name\": \"TT\", \"test_ppl\": %s}]", bad[i]);
        put("three/rank2/table.json", text);
        assert_int_equal(run_sweep("three", false, &result), DART_OK);
        char *table = tiny_read("three/rank2", "table.json");
        assert_null(strstr(table, bad[i]));
        free(table);
    }
}

static void forget_option(const char *sweep, const char *name, const char *begin)
{
    char path[200], *whole = tiny_read(sweep, name), *cut = calloc(strlen(whole) + 1, 1);
    bool found = false;
    assert_non_null(cut);
    for (char *line = strtok(whole, "\n"); line; line = strtok(NULL, "\n")) {
        const bool this = !strncmp(line, begin, strlen(begin));
        found |= this;
        if (!this) strcat(strcat(cut, line), "\n");
    }
    assert_true(found);
    snprintf(path, sizeof path, "%s/%s", sweep, name);
    put(path, cut);
    free(whole);
    free(cut);
}

/* Work that this sweep did not make is refused; with --force it is moved aside, and what is not a
 * run's stays where it lies. */
static void test_force(void **state)
{
    (void)state;
    dart_sweep_result result;
    write_files("2, 3", 6);
    folder("four/rank2");
    put("four/rank2/table.json", good_table);
    put("four/rank2/metrics.jsonl", "{}\n");
    put("four/rank2/thesis.tex", "a year of work\n");
    assert_int_equal(run_sweep("four", false, &result), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "four/rank2 was made by another version of the "
                                              "sweep, or not by this sweep"));
    assert_string_equal(notes, "");
    assert_false(dart_file_exists(tiny_path("four/rank3")));
    assert_false(dart_file_exists(tiny_path("four/rank2.yaml")));
    assert_int_equal(run_sweep("four", true, &result), DART_OK);
    assert_int_equal(result.done, 2);
    static const char *const kept[][3] = {{"four/rank2", "thesis.tex", "a year of work\n"},
        {"four/rank2.bak-1", "table.json", good_table},
        {"four/rank2.bak-1", "metrics.jsonl", "{}\n"}};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        char *text = tiny_read(kept[i][0], kept[i][1]);
        assert_string_equal(text, kept[i][2]);
        free(text);
    }
    char *mine = tiny_read("four/rank2", "table.json");
    /* a recipe of a version without some option is the same where that has its default */
    forget_option("four", "rank2.yaml", "  lora_alpha:");
    *notes = 0;
    assert_int_equal(run_sweep("four", false, &result), DART_OK);
    assert_int_equal(result.done, 2);
    assert_non_null(strstr(notes, "rank2: (was finished)"));
    /* the sweep's own work, with --force and another recipe: aside as well */
    write_files("2, 3", 7);
    assert_int_equal(run_sweep("four", false, &result), DART_INPUT);
    assert_int_equal(run_sweep("four", true, &result), DART_OK);
    char *aside = tiny_read("four/rank2.bak-2", "table.json");
    assert_string_equal(aside, mine);
    free(aside);
    free(mine);
    /* with --force and nothing changed nothing is done again */
    assert_int_equal(run_sweep("four", true, &result), DART_OK);
    assert_non_null(strstr(notes, "rank2: (was finished)"));
    assert_false(dart_file_exists(tiny_path("four/rank2.bak-3")));
}

/* The tables of runs that are finished, in a program whose locale writes a comma. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const files[] = {"results.csv", "results.md", "results.svg"};
    char *text[2][3], said[sizeof notes];
    dart_sweep_result result;
    write_files("2, 3", 6);
    assert_int_equal(run_sweep("five", false, &result), DART_OK);
    put("five/rank2/table.json", good_table);
    put("five/rank3/table.json", good_table);
    for (int comma = 0; comma < 2; comma++) {
        if (comma && !comma_locale()) {
            comma_locale_leave();
            for (int i = 0; i < 3; i++) free(text[0][i]);
            skip();
        }
        if (run_sweep("five", false, &result) != DART_OK) fail_msg("%s", dart_error_text());
        for (int i = 0; i < 3; i++) text[comma][i] = tiny_read("five", files[i]);
        if (!comma) strcpy(said, notes);
    }
    comma_locale_leave();
    assert_string_equal(said, notes);
    assert_non_null(strstr(notes, "test perplexity 8.25"));
    for (int i = 0; i < 3; i++) {
        assert_string_equal(text[0][i], text[1][i]);
        free(text[0][i]);
        free(text[1][i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_earlier_results),
        cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_force),
        cmocka_unit_test(test_locale),
    };
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
