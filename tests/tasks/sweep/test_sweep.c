/* Sweeps: the runs that a file spans, equal-size controls, tables against figures known beforehand,
 * stopping and going on, refusals; and the command itself. */
#include "sweep.h"
#include "tiny_run.h"
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <sys/wait.h>

static const char *write_file(const char *name, const char *text)
{
    const char *path = tiny_path(name);
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
    return path;
}

/* The recipe that the sweeps of this file start from. */
static void write_base(const char *name, unsigned steps)
{
    char text[2048];
    snprintf(text, sizeof text,
        "model: {layers: 1, d_model: 16, heads: 2, context: 8, dropout: 0}\n"
        "method: {linear: tt, rank: 4, linear_modes: 2}\ndata: {text: '%s/text.txt'}\n"
        "train: {batch_size: 4}\nrun: {device: cpu, save_steps: %u}\nstages:\n"
        "  - {name: shrink, max_steps: %u, learning_rate: 1e-2, reg: bond-nuclear, lambda: 0.02}\n"
        "  - {name: pick, select: threshold, threshold: 0.3}\n"
        "  - {name: tune, max_steps: %u, learning_rate: 1e-2}\n",
        tiny_folder, steps < 100 ? 7 : 400, steps, steps / 2);
    write_file(name, text);
}

typedef struct spy {
    unsigned trained, resumed;
    const char *fails; /* runs with this in their name fail */
    uint64_t stop_at;  /* the next run is stopped at this step; 0: none */
    bool made_up;      /* tables of known figures instead of training */
    uint32_t run;      /* the one that was started last, what it came to */
    dart_status status;
    char why[512], notes[16384];
} spy;

/* Known figures: seed s, lambda 0.1 or 0.2, variant a or b. */
static double made_up_ppl(const char *dir)
{
    double seed = dir[strlen(dir) - 1] - '0';
    double ppl = 100 + 10 * seed + (strstr(dir, "lambda0.2") ? 50 : 0);
    return strstr(dir, "/b-") ? ppl * (1 - 0.01 * seed) : ppl;
}

static dart_status make_up(const char *dir)
{
    char path[512], text[1024];
    snprintf(path, sizeof path, "%s/table.json", dir);
    snprintf(text, sizeof text,
        "[{\"name\": \"TT\", \"params\": 5000, \"compressed_params\": %d, \"chain_params\": 900,"
        "\"dense_params\": 4000, \"compression\": 4, \"rank_min\": 1, \"rank_mean\": 2.5,"
        "\"rank_max\": 4, \"valid_ppl\": 9.5, \"test_ppl\": %.9g, \"tokens_per_s\": 7,"
        "\"seconds\": 3, \"test_bleu\": 12.5, \"protocol\": \"each once, by \\\"words\\\"\"},\n "
        "{\"name\": \"TT rounded, not trained\", \"test_ppl\": 1}]\n",
        strstr(dir, "lambda0.2") ? 500 : 1000, made_up_ppl(dir));
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    return dart_file_write_sync(path, text, strlen(text));
}

static dart_status spy_train(spy *w, const char *path, const char *dir, bool resume)
{
    dart_recipe *recipe;
    dart_result result;
    tiny_watch watch = {.stop_at = w->stop_at};
    w->stop_at = 0;
    w->trained++;
    w->resumed += resume;
    if (w->fails && strstr(dir, w->fails)) return dart_fail(DART_DIVERGED, "it went, as \"meant\"");
    if (w->made_up) return make_up(dir);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    assert_int_equal(dart_recipe_load(recipe, path), DART_OK);
    tiny_set(recipe, "out", dir);
    tiny_set(recipe, resume ? "resume" : "force", "true");
    dart_status status = tiny_train(recipe, &watch, &result);
    dart_recipe_free(recipe);
    return status;
}

/* One at a time: trained when it is started, and what it came to is said when it is waited for. */
static dart_status spy_start(
    void *user, uint32_t run, const char *path, const char *dir, bool resume, char why[DART_WHY])
{
    spy *w = user;
    (void)why;
    w->run = run;
    w->status = spy_train(w, path, dir, resume);
    snprintf(w->why, sizeof w->why, "%s", dart_error_text());
    return DART_OK;
}

static dart_status spy_wait(void *user, uint32_t *run, char why[DART_WHY])
{
    spy *w = user;
    *run = w->run;
    snprintf(why, DART_WHY, "%s", w->why);
    return w->status;
}

static void spy_note(void *user, const char *line)
{
    spy *w = user;
    size_t used = strlen(w->notes);
    snprintf(w->notes + used, sizeof w->notes - used, "%s\n", line);
}

static dart_status run_sweep(spy *w, const char *path, const char *out, dart_sweep_result *result)
{
    const dart_sweep_options options = {.out = out};
    const dart_sweep_hooks hooks = {
        .user = w, .note = spy_note, .start = spy_start, .wait = spy_wait};
    return dart_sweep_all(path, &options, &hooks, result);
}

/* Cell `column` of the line of `run` in results.csv, "" if there is no such line or it is empty.
 * The names have no commas in them. */
static const char *cell(const char *csv, const char *run, const char *column)
{
    static char out[256];
    char head[1024];
    unsigned at = 0;
    snprintf(head, sizeof head, "%.*s", (int)strcspn(csv, "\r"), csv);
    char *word = strtok(head, ",");
    for (; word && strcmp(word, column); word = strtok(NULL, ",")) at++;
    assert_non_null(word);
    out[0] = 0;
    for (const char *line = csv; (line = strchr(line, '\n')); line++) {
        size_t n = strlen(run);
        if (strncmp(line + 1, run, n) || line[1 + n] != ',') continue;
        const char *c = line + 1;
        for (unsigned i = 0; i < at; i++) c += strcspn(c, ",") + 1;
        snprintf(out, sizeof out, "%.*s", (int)strcspn(c, ",\r\n"), c);
        break;
    }
    return out;
}

static const char claim[] = "base: base.yaml\nseeds: [1, 2]\nset: {tune.learning_rate: 5e-3}\n"
                            "zip:\n  rank: [3, 4]\n  pick.threshold: [0.3, 0.2]\n"
                            "variants:\n"
                            "  - {label: control, pick.select: uniform, budget_from: found}\n"
                            "  - {label: found}\n";

/* Controls get the size that was found; what is finished is not run again; stopped and gone on with
 * gives the same table. */
static void test_runs(void **state)
{
    (void)state;
    write_base("base.yaml", 20);
    const char *file = write_file("claim.yaml", claim);
    dart_sweep_result result;
    spy w = {0};
    if (run_sweep(&w, file, tiny_path("claim"), &result) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_int_equal(result.runs, 8);
    assert_int_equal(result.done, 8);
    assert_int_equal(w.trained, 8);
    char *csv = tiny_read("claim", "results.csv");
    for (int i = 0; i < 4; i++) {
        char found[64], control[64];
        const char *tail = i < 2 ? "rank3-threshold0.3" : "rank4-threshold0.2";
        snprintf(found, sizeof found, "found-%s-s%d", tail, i % 2 + 1);
        snprintf(control, sizeof control, "control-%s-s%d", tail, i % 2 + 1);
        long size = strtol(cell(csv, found, "compressed_params"), NULL, 10);
        long taken = strtol(cell(csv, control, "budget_taken"), NULL, 10);
        long used = strtol(cell(csv, control, "compressed_params"), NULL, 10);
        printf("%s: found %ld, control %ld\n", tail, size, used);
        assert_true(size > 0 && size == taken && used > 0 && used <= size);
        assert_string_equal(cell(csv, found, "budget_taken"), "");
        assert_string_equal(cell(csv, found, "status"), "done");
        assert_string_equal(cell(csv, found, "pick.threshold"), i < 2 ? "0.3" : "0.2");
    }
    /* again: nothing to do */
    spy again = {0};
    assert_int_equal(run_sweep(&again, file, tiny_path("claim"), &result), DART_OK);
    assert_int_equal(again.trained, 0);
    assert_int_equal(result.done, 8);
    assert_non_null(strstr(again.notes, "was finished"));
    char *second = tiny_read("claim", "results.csv");
    assert_string_equal(csv, second);
    free(second);
    /* stopped in its first and again in its last run */
    for (unsigned stop = 0; stop < 2; stop++) {
        spy part = {.stop_at = stop ? 0 : 13};
        if (stop) {
            assert_int_equal(run_sweep(&part, file, tiny_path("part"), &result), DART_OK);
            assert_int_equal(part.resumed, 1);
            assert_int_equal(part.trained, 8);
        } else {
            assert_int_equal(run_sweep(&part, file, tiny_path("part"), &result), DART_INTERRUPTED);
            assert_int_equal(part.trained, 1);
        }
    }
    second = tiny_read("part", "results.csv");
    static const char *const same[] = {"test_ppl", "valid_ppl", "compressed_params", "rank_mean"};
    for (int i = 0; i < 4; i++) {
        char one[256];
        snprintf(one, sizeof one, "%s", cell(csv, "control-rank3-threshold0.3-s1", same[i]));
        assert_true(one[0]);
        assert_string_equal(one, cell(second, "control-rank3-threshold0.3-s1", same[i]));
        snprintf(one, sizeof one, "%s", cell(csv, "found-rank3-threshold0.3-s1", same[i]));
        assert_string_equal(one, cell(second, "found-rank3-threshold0.3-s1", same[i]));
    }
    free(second);
    free(csv);
    char *svg = tiny_read("claim", "results.svg");
    assert_non_null(strstr(svg, "<svg"));
    assert_non_null(strstr(svg, "found"));
    assert_non_null(strstr(svg, "control"));
    free(svg);
    /* another recipe in the same folder is refused, unless it is meant */
    write_base("base.yaml", 22);
    spy changed = {0};
    assert_int_equal(run_sweep(&changed, file, tiny_path("claim"), &result), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "another version of the sweep"));
    assert_int_equal(changed.trained, 0);
    const dart_sweep_options force = {.out = tiny_path("claim"), .force = true};
    const dart_sweep_hooks hooks = {
        .user = &changed, .note = spy_note, .start = spy_start, .wait = spy_wait};
    assert_int_equal(dart_sweep_all(file, &force, &hooks, &result), DART_OK);
    assert_int_equal(changed.trained, 8);
    /* what was there before is beside it, not gone */
    assert_true(
        dart_file_exists(tiny_path("claim/control-rank3-threshold0.3-s1.bak-1/table.json")));
}

static const char table[] = "base: base.yaml\nseeds: [1, 2, 3]\ngrid: {shrink.lambda: [0.1, 0.2]}\n"
                            "variants:\n  - {label: a}\n  - {label: b}\n";

/* Means, deviations and paired differences by hand. */
static void test_tables(void **state)
{
    (void)state;
    write_base("base.yaml", 20);
    const char *file = write_file("table.yaml", table);
    dart_sweep_result result;
    spy w = {.made_up = true};
    assert_int_equal(run_sweep(&w, file, tiny_path("table"), &result), DART_OK);
    assert_int_equal(w.trained, 12);
    char *md = tiny_read("table", "results.md");
    /* a: 110, 120, 130; b: 108.9, 117.6, 126.1; b to a: -1, -2, -3 %. */
    static const char *const wanted[] = {"| 0.1 | 120.00 ± 10.00 | 117.53 ± 8.60 | -2.00 ± 1.00 |",
        "| 0.2 | 170.00 ± 10.00 | 166.53 ± 8.10 | -2.00 ± 1.00 |",
        "| 0.1 | a | 3 of 3 | 1000 ± 0 | 4.00 ± 0.00 | 2.50 ± 0.00 | 9.50 ± 0.00 | 120.00 ± 10.00 "
        "| 12.50 ± 0.00 | 3.0 ± 0.0 |",
        "12 of 12 runs are done", "\nHow it was measured: each once, by \"words\".\n"};
    for (int i = 0; i < 5; i++)
        if (!strstr(md, wanted[i])) fail_msg("no '%s' in\n%s", wanted[i], md);
    free(md);
    /* one failing variant: recorded, the others are done */
    spy failing = {.made_up = true, .fails = "/b-lambda0.2"};
    assert_int_equal(run_sweep(&failing, file, tiny_path("failing"), &result), DART_FAILED);
    assert_int_equal(failing.trained, 12);
    assert_int_equal(result.done, 9);
    assert_int_equal(result.failed, 3);
    md = tiny_read("failing", "results.md");
    assert_non_null(strstr(md, "| 0.2 | 170.00 ± 10.00 | diverged | - |"));
    assert_non_null(strstr(md, "- b-lambda0.2-s3: diverged: it went, as \"meant\""));
    free(md);
    char *csv = tiny_read("failing", "results.csv");
    assert_string_equal(cell(csv, "b-lambda0.2-s1", "status"), "diverged");
    assert_string_equal(cell(csv, "b-lambda0.2-s1", "test_bleu"), "");
    assert_string_equal(cell(csv, "b-lambda0.1-s1", "test_bleu"), "12.5");
    /* nothing was classified, memory not measured: eight columns are empty */
    assert_non_null(strstr(csv, ",12.5,,,,,,,,7,3,,\"each once, by \"\"words\"\"\",\r\n"));
    assert_non_null(strstr(csv, ",\"it went, as \"\"meant\"\"\"\r\n"));
    unsigned lines = 0;
    for (const char *c = csv; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 13);
    free(csv);
    /* the next call tries those again and nothing else */
    spy retry = {.made_up = true};
    assert_int_equal(run_sweep(&retry, file, tiny_path("failing"), &result), DART_OK);
    assert_int_equal(retry.trained, 3);
    /* who needs the size of a failed run fails with it */
    file = write_file("claim.yaml", claim);
    spy source = {.made_up = true, .fails = "/found-rank3"};
    assert_int_equal(run_sweep(&source, file, tiny_path("source"), &result), DART_FAILED);
    assert_int_equal(result.failed, 4);
    assert_int_equal(source.trained, 6);
    assert_non_null(strstr(source.notes, "needs the size of found-rank3-threshold0.3-s1"));
}

/* Not inlined: gcc 12 would take the text for a variable of tiny_read and warn. */
__attribute__((noinline)) static long place(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    return at ? (long)(at - text) : -1;
}

/* A size that is passed on is that of the last selection; those on the way keep their own. */
static void test_last_budget(void **state)
{
    (void)state;
    write_base("base.yaml", 20);
    static char text[4096];
    char *base = tiny_read(".", "base.yaml");
    snprintf(text, sizeof text,
        "%s  - {name: again, select: budget, budget: 0.5}\n"
        "  - {name: more, max_steps: 4}\n",
        base);
    free(base);
    write_file("two.yaml", text);
    const char *file = write_file("last.yaml",
        "base: two.yaml\nvariants:\n  - {label: a}\n"
        "  - {label: b, pick.select: budget, pick.budget: 0.7, budget_from: a}\n");
    dart_sweep_result result;
    spy w = {.made_up = true};
    if (run_sweep(&w, file, tiny_path("last"), &result) != DART_OK)
        fail_msg("%s", dart_error_text());
    char *made = tiny_read("last", "b.yaml");
    long pick = place(made, "name: 'pick'"), again = place(made, "name: 'again'");
    long first = place(made, "budget: 0.7"), last = place(made, "budget: 900");
    free(made);
    assert_true(0 < pick && pick < first && first < again && again < last);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"grid: {rank: [1]}\n", "base is missing"},
        {"base: base.yaml\ngird: {rank: [1]}\n",
            ":2:1: unknown key 'gird'; known are base, out, set, seeds, choose, grid, zip, "
            "variants; keys "
            "of "
            "a recipe stand below set, grid, zip or variants; did you mean 'grid'?"},
        {"base: base.yaml\ngrid: {lamda: [1]}\n",
            ":2:16: unknown key 'lamda'; did you mean 'lambda_reg'?"},
        {"base: base.yaml\ngrid:\n  shrink.lamda: [1]\n",
            ":3:18: unknown key 'lamda'; did you mean 'lambda_reg'?"},
        {"base: base.yaml\ngrid: {shrnk.lambda: [1]}\n", "unknown stage 'shrnk'; known are "},
        {"base: base.yaml\ngrid: {shrink.layers: [1]}\n", "holds for the whole run"},
        {"base: base.yaml\ngrid: {rank: []}\n", ":2:14: the list is empty"},
        {"base: base.yaml\nseeds: []\n", ":2:8: the list is empty"},
        {"base: base.yaml\ngrid: {rank: 3}\n", "rank needs a list"},
        {"base: base.yaml\ngrid: {rank: [1, two]}\n", "needs a whole number, got 'two'"},
        {"base: base.yaml\ngrid: {rank: [2, 2]}\n", "a list has a value twice"},
        {"base: base.yaml\ngrid: {learning_rate: [1e-3]}\n", "write shrink.learning_rate"},
        {"base: base.yaml\ngrid: {out: [a]}\n", "the sweep itself decides about out"},
        {"base: base.yaml\nzip: {rank: [1, 2], seed: [1]}\n", "seed has 1 values where rank has 2"},
        {"base: nonesuch.yaml\ngrid: {rank: [1]}\n", "nonesuch.yaml"},
        {"base: base.yaml\nvariants:\n  - {rank: 2}\n", ":3:5: a variant needs a label"},
        {"base: base.yaml\nvariants:\n  - {label: a, budget_from: b}\n", "no variant 'b'"},
        {"base: base.yaml\nvariants:\n  - {label: a, budget_from: a}\n",
            "takes its budget from another run itself"},
        {"base: base.yaml\nvariants:\n  - {label: a}\n  - {label: b, pick.select: none, "
         "budget_from: a}\n",
            "selects no ranks"},
        {"base: base.yaml\nseeds: [1,2,3,4,5,6,7,8,9,10]\ngrid: {rank: [1,2,3,4,5,6,7,8,9,10], "
         "heads: [1,2,3,4,5,6,7,8,9,10], layers: [1,2]}\n",
            "more than 1000 runs"},
        {"base: base.yaml\n  grid: [\n", "not YAML"},
        {"", "is empty"},
    };
    write_base("base.yaml", 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_sweep_result result;
        spy w = {.made_up = true};
        const char *file = write_file("bad.yaml", cases[i].text);
        dart_status status = run_sweep(&w, file, tiny_path("bad"), &result);
        if (status != DART_INPUT || !strstr(dart_error_text(), cases[i].says))
            fail_msg("case %zu: status %d, wanted '%s': %s", i, (int)status, cases[i].says,
                dart_error_text());
        assert_int_equal(w.trained, 0);
        assert_false(dart_file_exists(tiny_path("bad")));
    }
    printf("%zu refusals\n", sizeof cases / sizeof *cases);
}

/* ---- the command ---- */

/* dart-llm with the words of `line`; with `when` (a file) SIGINT is sent once it is there. Returns
 * the exit code; what it printed is in <folder>/said. */
static int command(const char *line, const char *when)
{
    char words[2048], said[300], *argv[32] = {DART_BINARY_DIR "/dart-llm"};
    int argc = 1, state;
    snprintf(words, sizeof words, "%s", line);
    snprintf(said, sizeof said, "%s/said", tiny_folder);
    for (char *word = strtok(words, " "); word && argc < 31; word = strtok(NULL, " "))
        argv[argc++] = word;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int file = open(said, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(file, 1);
        dup2(file, 2);
        setenv("HOME", tiny_folder, 1);
        unsetenv("XDG_CACHE_HOME");
        setenv("DART_RANK", "2", 1); /* what holds for all runs must not reach into the grid */
        execv(argv[0], argv);
        _exit(127);
    }
    if (when) {
        for (int i = 0; i < 12000 && access(when, F_OK) != 0; i++) usleep(5000);
        kill(child, SIGINT);
    }
    assert_int_equal(waitpid(child, &state, 0), child);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

static void test_command(void **state)
{
    (void)state;
    char line[1024], run[300];
    write_base("base.yaml", 20);
    write_base("long.yaml", 4000);
    write_file("two.yaml", "base: base.yaml\ngrid: {rank: [3, 4]}\n");
    write_file("fails.yaml", "base: base.yaml\nvariants:\n  - {label: good}\n"
                             "  - {label: bad, shrink.learning_rate: 1e20}\n");
    write_file("long-sweep.yaml", "base: long.yaml\nseeds: [5]\n");
    write_file("unknown.yaml", "base: base.yaml\ngrid: {rnak: [3]}\n");
    snprintf(line, sizeof line, "sweep %s/two.yaml --out %s/two", tiny_folder, tiny_folder);
    assert_int_equal(command(line, NULL), 0);
    char *csv = tiny_read("two", "results.csv"), rank[8];
    snprintf(rank, sizeof rank, "%s", cell(csv, "rank4", "rank"));
    assert_string_equal(rank, "4");
    free(csv);
    char *recipe = tiny_read("two/rank4", "recipe.yaml");
    assert_non_null(strstr(recipe, "  rank: 4\n"));
    free(recipe);

    snprintf(
        line, sizeof line, "sweep %s/fails.yaml --out %s/fails --quiet", tiny_folder, tiny_folder);
    assert_int_equal(command(line, NULL), 1);
    csv = tiny_read("fails", "results.csv");
    assert_string_equal(cell(csv, "good", "status"), "done");
    assert_string_equal(cell(csv, "bad", "status"), "diverged");
    assert_non_null(strstr(csv, "training diverged"));
    free(csv);

    snprintf(line, sizeof line, "sweep %s/unknown.yaml", tiny_folder);
    assert_int_equal(command(line, NULL), 3);
    char *said = tiny_read(".", "said");
    assert_non_null(strstr(said, "unknown key 'rnak'; did you mean 'rank'?"));
    free(said);
    snprintf(line, sizeof line, "sweep %s/missing.yaml", tiny_folder);
    assert_int_equal(command(line, NULL), 3);
    assert_int_equal(command("sweep", NULL), 2);

    /* Ctrl-C: the run writes its checkpoint, the same command goes on from it. */
    snprintf(run, sizeof run, "%s/long/s5/checkpoints", tiny_folder);
    snprintf(line, sizeof line, "sweep %s/long-sweep.yaml --out %s/long", tiny_folder, tiny_folder);
    assert_int_equal(command(line, run), 130);
    assert_false(dart_file_exists(tiny_path("long/s5/table.json")));
    assert_int_equal(command(line, NULL), 0);
    char *log = tiny_read("long", "s5.log");
    assert_non_null(strstr(log, "resumed at step"));
    free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_runs), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_last_budget), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_command)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
