/* Sweeps with several runs at a time: how many, in which order, the same tables for any number; and
 * the command: shares of the cores, Ctrl-C, and that a killed sweep takes its runs with it. */
#include "sweep.h"
#include "tiny_run.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { MOST = 64 };

/* Runs that only write a table. They end in an order of their own. */
typedef struct crew {
    unsigned turn;            /* 0: the oldest ends first, 1: the newest, else some one */
    unsigned stop_after;      /* stops when so many have ended, 0: never */
    const char *fails, *sent; /* runs with this in their name fail; are stopped from outside */
    dart_status stop;
    uint32_t at[MOST], running, most_running, started, ended;
    char dir[MOST][256];
    char order[8192], notes[16384];
} crew;

static const char *name_of(const char *dir)
{
    return strrchr(dir, '/') + 1;
}

static dart_status crew_start(
    void *user, uint32_t run, const char *recipe, const char *dir, bool resume, char why[DART_WHY])
{
    crew *c = user;
    (void)why;
    assert_false(resume);
    assert_true(dart_file_exists(recipe));
    assert_true(c->running < MOST);
    /* a size that is passed on is there before the run that takes it is started */
    if (strstr(dir, "/control")) {
        char source[400], table[500];
        snprintf(source, sizeof source, "%.*sfound%s", (int)(name_of(dir) - dir), dir,
            name_of(dir) + strlen("control"));
        snprintf(table, sizeof table, "%s/table.json", source);
        if (!dart_file_exists(table)) fail_msg("%s was started before its source", name_of(dir));
    }
    snprintf(c->dir[c->running], sizeof c->dir[0], "%s", dir);
    c->at[c->running++] = run;
    if (c->running > c->most_running) c->most_running = c->running;
    c->started++;
    size_t used = strlen(c->order);
    snprintf(c->order + used, sizeof c->order - used, "%s ", name_of(dir));
    return DART_OK;
}

/* Figures that follow from the name alone. */
static void make_up(const char *dir)
{
    char path[512], text[1024];
    unsigned sum = 0;
    for (const char *s = name_of(dir); *s; s++) sum = 31 * sum + (unsigned char)*s;
    snprintf(path, sizeof path, "%s/table.json", dir);
    snprintf(text, sizeof text,
        "[{\"name\": \"TT\", \"params\": 5000, \"compressed_params\": %u, \"chain_params\": %u,"
        "\"dense_params\": 4000, \"compression\": 4, \"rank_min\": 1, \"rank_mean\": 2.5,"
        "\"rank_max\": 4, \"valid_ppl\": 9.5, \"test_ppl\": %u, \"tokens_per_s\": 7,"
        "\"seconds\": 3}]\n",
        500 + sum % 500, 400 + sum % 500, 100 + sum % 77);
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
}

static dart_status ended(dart_status status, const char *sentence, char why[DART_WHY])
{
    snprintf(why, DART_WHY, "%s", sentence);
    return status;
}

static dart_status crew_wait(void *user, uint32_t *run, char why[DART_WHY])
{
    crew *c = user;
    uint32_t w[4];
    assert_true(c->running > 0);
    dart_philox(c->turn, DART_STREAM_TEST, c->ended, w);
    uint32_t k = c->turn == 0 ? 0 : c->turn == 1 ? c->running - 1 : w[0] % c->running;
    char dir[256];
    snprintf(dir, sizeof dir, "%s", c->dir[k]);
    *run = c->at[k];
    c->running--;
    for (uint32_t i = k; i < c->running; i++) {
        c->at[i] = c->at[i + 1];
        memcpy(c->dir[i], c->dir[i + 1], sizeof c->dir[0]);
    }
    c->ended++;
    if (c->stop_after && c->ended == c->stop_after) c->stop = DART_INTERRUPTED;
    if (c->fails && strstr(dir, c->fails)) return ended(DART_DIVERGED, "it went", why);
    if (c->sent && strstr(dir, c->sent)) return ended(DART_TERMINATED, "stopped at step 3", why);
    if (c->stop_after && c->ended > c->stop_after) return ended(DART_INTERRUPTED, "stopped", why);
    make_up(dir);
    return DART_OK;
}

static dart_status crew_abort(void *user)
{
    return ((crew *)user)->stop;
}

static void crew_note(void *user, const char *line)
{
    crew *c = user;
    size_t used = strlen(c->notes);
    snprintf(c->notes + used, sizeof c->notes - used, "%s\n", line);
}

static dart_status run_sweep(crew *c, const char *path, uint32_t jobs, dart_sweep_result *out)
{
    const dart_sweep_options options = {.out = tiny_path("out"), .jobs = jobs};
    const dart_sweep_hooks hooks = {
        .user = c, .note = crew_note, .start = crew_start, .wait = crew_wait, .abort = crew_abort};
    dart_status status = dart_sweep_all(path, &options, &hooks, out);
    assert_int_equal(c->running, 0); /* whoever was started was waited for */
    return status;
}

static void write_recipe(const char *name, unsigned steps)
{
    char text[2048];
    snprintf(text, sizeof text,
        "model: {layers: 1, d_model: 16, heads: 2, context: 8, dropout: 0}\n"
        "method: {linear: tt, rank: 4, linear_modes: 2}\ndata: {text: '%s/text.txt'}\n"
        "train: {batch_size: 4}\nrun: {device: cpu, save_steps: 400}\nstages:\n"
        "  - {name: shrink, max_steps: %u, learning_rate: 1e-2}\n"
        "  - {name: pick, select: threshold, threshold: 0.3}\n"
        "  - {name: tune, max_steps: %u, learning_rate: 1e-2}\n",
        tiny_folder, steps, steps / 2);
    assert_int_equal(dart_file_write_sync(tiny_path(name), text, strlen(text)), DART_OK);
}

static const char *write_file(const char *name, const char *text)
{
    static char path[256]; /* tiny_path has eight turns */
    snprintf(path, sizeof path, "%s", tiny_path(name));
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
    return path;
}

static const char grid[] = "base: base.yaml\nseeds: [1, 2, 3]\ngrid: {rank: [3, 4]}\nvariants:\n"
                           "  - {label: control, pick.select: uniform, budget_from: found}\n"
                           "  - {label: found}\n  - {label: other, heads: 4}\n";
enum { RUNS = 18 };

static const char *const results[] = {"results.csv", "results.md", "results.svg"};

/* Never more than asked for and as many as that, sources first, and the same bytes in all tables
 * whoever ends first. */
static void test_numbers(void **state)
{
    (void)state;
    static const uint32_t jobs[] = {0, 1, 2, 5, 40};
    char *wanted[3] = {NULL};
    unsigned cases = 0;
    write_recipe("base.yaml", 20);
    const char *file = write_file("grid.yaml", grid);
    for (size_t k = 0; k < sizeof jobs / sizeof *jobs; k++)
        for (unsigned turn = 0; turn < 3; turn++, cases++) {
            static crew c;
            dart_sweep_result result;
            c = (crew){.turn = turn};
            if (dart_file_exists(tiny_path("out")))
                assert_int_equal(dart_remove_tree(tiny_path("out")), DART_OK);
            if (run_sweep(&c, file, jobs[k], &result) != DART_OK) fail_msg("%s", dart_error_text());
            assert_int_equal(result.done, RUNS);
            assert_int_equal(c.started, RUNS);
            /* six controls must wait for their sources, all else could go at once */
            const uint32_t most = jobs[k] < 1 ? 1 : jobs[k] > 12 ? 12 : jobs[k];
            if (jobs[k] <= 12)
                assert_int_equal(c.most_running, most);
            else
                assert_in_range(c.most_running, 12, 17);
            /* one at a time: seed by seed, sources before those that take */
            if (most == 1)
                assert_int_equal(strncmp(c.order,
                                     "found-rank3-s1 other-rank3-s1 found-rank4-s1 "
                                     "other-rank4-s1 control-rank3-s1 control-rank4-s1 "
                                     "found-rank3-s2 ",
                                     104),
                    0);
            assert_non_null(strstr(c.notes, "[1/18] "));
            assert_non_null(strstr(c.notes, "[18/18] "));
            for (int i = 0; i < 3; i++) {
                char *text = tiny_read("out", results[i]);
                if (!cases)
                    wanted[i] = text;
                else {
                    assert_string_equal(text, wanted[i]);
                    free(text);
                }
            }
        }
    printf("%u schedules, the same tables\n", cases);
    assert_int_equal(cases, 15);
    for (int i = 0; i < 3; i++) free(wanted[i]);
}

/* Failures, stops and refusals with three at a time: what runs is waited for, nothing more is
 * started, the next call does the rest. */
static void test_ends(void **state)
{
    (void)state;
    static crew c;
    dart_sweep_result result;
    write_recipe("base.yaml", 20);
    const char *file = write_file("grid.yaml", grid);
    assert_int_equal(dart_remove_tree(tiny_path("out")), DART_OK);
    /* a failed source fails who needs it, and nobody else */
    c = (crew){.turn = 1, .fails = "/found-rank3-s2"};
    assert_int_equal(run_sweep(&c, file, 3, &result), DART_FAILED);
    assert_int_equal(c.started, RUNS - 1);
    assert_int_equal(result.failed, 2);
    assert_int_equal(result.done, RUNS - 2);
    assert_non_null(strstr(c.notes, "control-rank3-s2: failed: needs the size of found-rank3-s2"));
    c = (crew){.turn = 0};
    assert_int_equal(run_sweep(&c, file, 3, &result), DART_OK);
    assert_string_equal(c.order, "found-rank3-s2 control-rank3-s2 ");
    /* stopped when four have ended: the two beside it are interrupted */
    assert_int_equal(dart_remove_tree(tiny_path("out")), DART_OK);
    c = (crew){.turn = 2, .stop_after = 4};
    assert_int_equal(run_sweep(&c, file, 3, &result), DART_INTERRUPTED);
    assert_non_null(strstr(dart_error_text(), "stopped after 4 of 18 runs; the same command"));
    assert_int_equal(c.started, 6);
    assert_null(strstr(c.notes, "no further run"));
    c = (crew){.turn = 2};
    assert_int_equal(run_sweep(&c, file, 3, &result), DART_OK);
    assert_int_equal(c.started, RUNS - 4);
    /* one run is stopped from outside: the others beside it go on to their end */
    assert_int_equal(dart_remove_tree(tiny_path("out")), DART_OK);
    c = (crew){.sent = "/other-rank3-s1"};
    assert_int_equal(run_sweep(&c, file, 3, &result), DART_TERMINATED);
    assert_int_equal(c.started, 4);
    assert_non_null(strstr(c.notes, "no further run is started, 2 go on: stopped at step 3"));
    assert_non_null(strstr(dart_error_text(), "stopped after 3 of 18 runs"));
    assert_true(dart_file_exists(tiny_path("out/found-rank4-s1/table.json")));
    /* a folder that is refused, before anything is started */
    char *text = tiny_read("out", "other-rank4-s1.yaml");
    text[0] = '#';
    assert_int_equal(
        dart_file_write_sync(tiny_path("out/other-rank4-s1.yaml"), text, strlen(text)), DART_OK);
    free(text);
    make_up(tiny_path("out/other-rank4-s1"));
    c = (crew){.turn = 0};
    assert_int_equal(run_sweep(&c, file, 3, &result), DART_INPUT);
    assert_int_equal(c.started, 0);
    assert_non_null(strstr(dart_error_text(), "another version of the sweep"));
}

/* ---- the command ---- */

/* Starts dart-llm with the words of `line`, on cores of its own choosing: none are taken away. */
static pid_t begin(const char *line, const char *threads)
{
    char words[2048], *argv[32] = {DART_BINARY_DIR "/dart-llm"};
    int argc = 1;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word && argc < 31; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int file = open(tiny_path("said"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(file, 1);
        dup2(file, 2);
        setenv("HOME", tiny_folder, 1);
        unsetenv("XDG_CACHE_HOME");
        unsetenv("DART_THREADS");
        if (threads) setenv("DART_THREADS", threads, 1);
        execv(argv[0], argv);
        _exit(127);
    }
    return child;
}

static int code_of(pid_t child)
{
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

/* Waits a minute at most for a file. */
static void wait_for(const char *path)
{
    for (int i = 0; i < 12000 && access(path, F_OK) != 0; i++) usleep(5000);
    if (access(path, F_OK) != 0) fail_msg("%s never came", path);
}

static void wait_for_line(const char *log, const char *words)
{
    for (int i = 0; i < 12000; i++, usleep(5000)) {
        char *text = tiny_read("long", log);
        const bool there = strstr(text, words) != NULL;
        free(text);
        if (there) return;
    }
    fail_msg("%s never said '%s'", log, words);
}

/* The children of `parent`, from /proc. */
static uint32_t children(pid_t parent, pid_t out[MOST])
{
    uint32_t n = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) {
        char path[300], line[512], *end;
        if (!isdigit((unsigned char)e->d_name[0])) continue;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        if (fgets(line, sizeof line, f) && (end = strrchr(line, ')')) &&
            strtol(end + 4, NULL, 10) == parent && n < MOST)
            out[n++] = (pid_t)strtol(e->d_name, NULL, 10);
        fclose(f);
    }
    closedir(dir);
    return n;
}

/* A variable in the environment that a process was started with. */
static void environment(pid_t pid, const char *name, char out[64])
{
    static char text[1 << 16];
    char path[64];
    out[0] = 0;
    snprintf(path, sizeof path, "/proc/%ld/environ", (long)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    for (const char *c = text; c < text + n; c += strlen(c) + 1)
        if (!strncmp(c, name, strlen(name)) && c[strlen(name)] == '=')
            snprintf(out, 64, "%s", c + strlen(name) + 1);
}

/* Both runs of long.yaml, once each has a checkpoint. */
static void both(pid_t parent, pid_t out[2], const char *threads)
{
    pid_t found[MOST];
    char given[64];
    wait_for(tiny_path("long/s5/checkpoints"));
    wait_for(tiny_path("long/s6/checkpoints"));
    assert_int_equal(children(parent, found), 2);
    for (int i = 0; i < 2; i++) {
        out[i] = found[i];
        environment(found[i], "DART_THREADS", given);
        assert_string_equal(given, threads);
    }
}

static void test_command(void **state)
{
    (void)state;
    char line[1024], share[32], said_share[96];
    cpu_set_t set;
    pid_t run[2];
    write_recipe("long-base.yaml", 8000);
    write_file("long.yaml", "base: long-base.yaml\nseeds: [5, 6]\n");
    snprintf(
        line, sizeof line, "sweep %s/long.yaml --out %s/long --jobs 2", tiny_folder, tiny_folder);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    snprintf(share, sizeof share, "%d", CPU_COUNT(&set) > 2 ? CPU_COUNT(&set) / 2 : 1);
    snprintf(said_share, sizeof said_share, "2 runs at a time, threads of each: %s\n", share);

    /* Ctrl-C: both write their checkpoints and end. */
    pid_t child = begin(line, NULL);
    both(child, run, share);
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(code_of(child), DART_INTERRUPTED);
    for (int i = 0; i < 2; i++) assert_int_equal(kill(run[i], 0), -1);
    char *said = tiny_read(".", "said");
    assert_non_null(strstr(said, said_share));
    assert_non_null(strstr(said, "stopped after 0 of 2 runs; the same command goes on"));
    free(said);
    static const char *const logs[] = {"s5.log", "s6.log"};
    for (int i = 0; i < 2; i++) {
        char *log = tiny_read("long", logs[i]);
        assert_non_null(strstr(log, "stopped"));
        free(log);
    }

    /* kill -9: both go with it. Orphans come to this process, which hears how they ended. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    child = begin(line, "1");
    /* once both train again: before its exec a run ends by itself when its parent is gone */
    for (int i = 0; i < 2; i++) wait_for_line(logs[i], "resumed at step");
    both(child, run, "1");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(code_of(child), 128 + SIGKILL);
    for (int i = 0; i < 2; i++) {
        int ended = 0, how = 0;
        for (int k = 0; k < 4000 && !ended; k++) {
            ended = waitpid(run[i], &how, WNOHANG);
            if (!ended) usleep(5000);
        }
        if (!ended) kill(run[i], SIGKILL);
        assert_int_equal(ended, run[i]);
        if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL)
            fail_msg("run %d ended with status %#x", i, (unsigned)how);
    }
    assert_false(dart_file_exists(tiny_path("long/s5/table.json")));

    /* The same command goes on, and comes to what one at a time comes to. */
    assert_int_equal(code_of(begin(line, NULL)), 0);
    for (int i = 0; i < 2; i++) {
        char *log = tiny_read("long", logs[i]);
        assert_non_null(strstr(log, "resumed at step"));
        free(log);
    }
    snprintf(line, sizeof line, "sweep %s/long.yaml --out %s/one", tiny_folder, tiny_folder);
    assert_int_equal(code_of(begin(line, NULL)), 0);
    tiny_assert_same("long/s5", "one/s5", "metrics.jsonl");
    tiny_assert_same("long/s6", "one/s6", "metrics.jsonl");

    snprintf(line, sizeof line, "sweep %s/long.yaml --jobs 0", tiny_folder);
    assert_int_equal(code_of(begin(line, NULL)), DART_USAGE);
    said = tiny_read(".", "said");
    assert_non_null(strstr(said, "--jobs is a whole number from 1 to 256, not '0'"));
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_command)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
