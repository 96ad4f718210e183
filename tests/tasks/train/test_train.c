/* Whole runs of a tiny model: it learns, resumes bit for bit, allocates nothing in a step, and
 * fails with sentences. */
#include "backend.h"
#include "checkpoint.h"
#include "dart.h"
#include "file.h"
#include "rng.h"
#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

/* Counts the heap allocations of the process while `counting`, except OpenBLAS's own (its small
 * products take scratch from malloc, freed at once). A sanitizer brings its own malloc; there only
 * ours are counted. */
static atomic_ulong mallocs;
static atomic_bool counting;
#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static void note_allocation(void *caller)
{
    Dl_info info;
    if (!atomic_load(&counting)) return;
    if (dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "openblas")) return;
    atomic_fetch_add(&mallocs, 1);
}

void *malloc(size_t size)
{
    note_allocation(__builtin_return_address(0));
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    note_allocation(__builtin_return_address(0));
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size)
{
    note_allocation(__builtin_return_address(0));
    return __libc_realloc(memory, size);
}
#endif

static char folder[] = "/tmp/dart-train-XXXXXX";
static char text_path[64];
static unsigned resumes;

/* A text of our own: sentences of a small grammar, so that there is something to learn. */
static void write_text(const char *path, uint64_t seed, unsigned lines)
{
    static const char *const who[] = {"the cat", "a dog", "the old man", "one bird", "my friend"};
    static const char *const does[] = {"sees", "likes", "finds", "follows"};
    static const char *const what[] = {
        "the river", "a stone", "some bread", "the long road", "a house"};
    char *text = malloc(lines * 64);
    size_t n = 0;
    for (unsigned i = 0; i < lines; i++) {
        uint32_t w[4];
        dart_philox(seed, DART_STREAM_TEST, i, w);
        n += (size_t)sprintf(
            text + n, "%s %s %s .\n", who[w[0] % 5], does[w[1] % 4], what[w[2] % 5]);
    }
    assert_int_equal(dart_file_write_sync(path, text, n), DART_OK);
    free(text);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(text_path, sizeof text_path, "%s/text.txt", folder);
    write_text(text_path, 1, 600);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static const char *in(const char *name)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

static dart_recipe *tiny(const char *device, const char *out)
{
    static const char *const set[][2] = {{"layers", "1"}, {"d_model", "16"}, {"heads", "2"},
        {"context", "8"}, {"batch_size", "4"}, {"linear", "tt"}, {"rank", "4"},
        {"linear_modes", "2"}, {"max_steps", "24"}, {"warmup_fraction", "0.2"},
        {"tune_fraction", "0.4"}, {"lr", "1e-2"}, {"warmup_steps", "3"}, {"eval_steps", "7"},
        {"spectra_steps", "5"}, {"save_steps", "10"}, {"dropout", "0.1"}};
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        assert_int_equal(dart_recipe_set(recipe, set[i][0], set[i][1]), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "text", text_path), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "device", device), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "out", out), DART_OK);
    return recipe;
}

static void set(dart_recipe *recipe, const char *key, const char *value)
{
    assert_int_equal(dart_recipe_set(recipe, key, value), DART_OK);
}

typedef struct watch {
    uint64_t stop_at;
    volatile int stop;
    double first, last;
    uint64_t steps;
    unsigned long count, ours, in_steps, ours_in_steps; /* allocations */
    unsigned notes;
    char text[4096];
} watch;

static void on_progress(void *user, const dart_progress *p)
{
    watch *w = user;
    unsigned long count = atomic_load(&mallocs), ours = dart_alloc_count();
    if (!w->steps) w->first = p->loss;
    /* Steps 2..6 lie inside the first stage, without evaluation, spectra or checkpoint between
     * them. */
    if (p->step >= 2 && p->step <= 4) {
        w->in_steps += count - w->count;
        w->ours_in_steps += ours - w->ours;
    }
    w->last = p->loss;
    w->steps = p->step;
    if (p->step == w->stop_at) w->stop = SIGINT;
    w->count = atomic_load(&mallocs);
    w->ours = dart_alloc_count();
}

static void on_note(void *user, const char *line)
{
    watch *w = user;
    size_t used = strlen(w->text);
    w->notes++;
    snprintf(w->text + used, sizeof w->text - used, "%s\n", line);
}

static dart_status train(dart_recipe *recipe, watch *w, dart_result *out)
{
    dart_result unused;
    const dart_hooks hooks = {
        .user = w, .progress = on_progress, .note = on_note, .stop = &w->stop};
    return dart_train(recipe, &hooks, out ? out : &unused);
}

static void expect(dart_status got, dart_status wanted, const char *says)
{
    if (got != wanted || !strstr(dart_error_text(), says))
        fail_msg(
            "status %d, wanted %d with '%s': %s", (int)got, (int)wanted, says, dart_error_text());
}

static bool present(const char *device)
{
    dart_device *d;
    if (dart_device_open(device, NULL, &d) != DART_OK) return false;
    dart_device_close(d);
    return true;
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char path[400], *x, *y;
    size_t n, m;
    snprintf(path, sizeof path, "%s/%s", a, name);
    assert_int_equal(dart_file_read(path, &x, &n), DART_OK);
    snprintf(path, sizeof path, "%s/%s", b, name);
    assert_int_equal(dart_file_read(path, &y, &m), DART_OK);
    if (n != m || memcmp(x, y, n)) fail_msg("%s differs between %s and %s", name, a, b);
    assert_true(n > 0);
    free(x);
    free(y);
}

static void assert_same_run(const char *a, const char *b)
{
    static const char *const names[] = {"metrics.jsonl", "spectra.jsonl",
        "checkpoints/step-00000024/model.safetensors",
        "checkpoints/step-00000024/optimizer.safetensors", "checkpoints/step-00000024/vocab.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_same_file(a, b, names[i]);
}

static void test_learns(void **state)
{
    (void)state;
    dart_result result;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("learns"));
    set(recipe, "max_steps", "300");
    set(recipe, "lambda_reg", "1e-3");
    set(recipe, "dense_twin", "true");
    set(recipe, "eval_steps", "0");
    assert_int_equal(train(recipe, &w, &result), DART_OK);
    assert_true(w.first > 2.8 && w.first < 3.6); /* about log of the vocabulary at the start */
    assert_int_equal(result.rows, 4);
    static const char *const names[] = {
        "dense twin", "TT before selection", "after selection", "after tuning"};
    for (int i = 0; i < 4; i++) {
        const dart_table_row *row = &result.row[i];
        assert_string_equal(row->name, names[i]);
        printf("%-20s %llu parameters, %.2fx, ranks %u-%u, valid %.3f, test %.3f\n", row->name,
            (unsigned long long)row->params, row->compression, row->rank_min, row->rank_max,
            row->valid_ppl, row->test_ppl);
    }
    /* The grammar's own entropy is (log 5 + log 4 + log 5) / 8.2 tokens: perplexity 1.76. Chance
     * is 23. */
    assert_true(result.row[0].valid_ppl < 2.6 && result.row[0].valid_ppl > 1.6);
    assert_true(result.row[3].valid_ppl < 3.2 && result.row[3].valid_ppl > 1.6);
    assert_true(result.row[3].test_ppl < 3.2 && result.row[3].test_ppl > 1.6);
    assert_int_equal(result.row[0].compressed_params, 0);
    assert_true(result.row[1].compressed_params >= result.row[2].compressed_params);
    assert_int_equal(result.row[2].params, result.row[3].params);
    assert_true(result.row[3].tokens_per_s > 0 && result.row[2].tokens_per_s > 0);

    /* eval finds the same figures from the files alone, generate is repeatable. */
    dart_eval_result e;
    assert_int_equal(dart_eval(in("learns"), NULL, NULL, &e), DART_OK);
    assert_true(fabs(e.valid_ppl / result.row[3].valid_ppl - 1) < 1e-6);
    assert_true(fabs(e.test_ppl / result.row[3].test_ppl - 1) < 1e-6);
    char *text[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        FILE *f = open_memstream(&text[i], &size[i]);
        const dart_generate_options o = {.prompt = "the cat",
            .tokens = 30,
            .temperature = 0.7,
            .top_k = 10,
            .top_p = 0.95,
            .seed = 3};
        assert_int_equal(dart_generate(in("learns"), NULL, &o, f), DART_OK);
        fclose(f);
    }
    assert_string_equal(text[0], text[1]);
    assert_int_equal(strncmp(text[0], "the cat ", 8), 0);
    assert_true(strchr(text[0], '\n') && strchr(text[0], '.'));
    free(text[0]);
    free(text[1]);
    const dart_generate_options greedy = {.prompt = "", .tokens = 5};
    FILE *f = fopen("/dev/null", "w");
    assert_int_equal(dart_generate(in("learns"), NULL, &greedy, f), DART_OK);
    fclose(f);
    dart_recipe_free(recipe);
}

/* Stopped after step k and resumed: weights, moments, metrics and spectra equal the undisturbed
 * run's bytes. */
static void resume_everywhere(const char *device, const char *accumulation, unsigned stride)
{
    char whole[64], part[64];
    snprintf(whole, sizeof whole, "whole-%c%s", device[0], accumulation);
    watch w = {0};
    dart_recipe *recipe = tiny(device, in(whole));
    set(recipe, "gradient_accumulation_steps", accumulation);
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    for (uint64_t k = 1; k < 24; k += stride) {
        snprintf(
            part, sizeof part, "part-%c%s-%llu", device[0], accumulation, (unsigned long long)k);
        recipe = tiny(device, in(part));
        set(recipe, "gradient_accumulation_steps", accumulation);
        w = (watch){.stop_at = k};
        assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
        assert_int_equal(w.steps, k);
        set(recipe, "resume", "true");
        w = (watch){.stop_at = k + 5};
        dart_status status =
            train(recipe, &w, NULL); /* and once more, in the middle of what is left */
        assert_int_equal(status, k + 5 < 24 ? DART_INTERRUPTED : DART_OK);
        w = (watch){0};
        assert_int_equal(train(recipe, &w, NULL), DART_OK);
        assert_same_run(in(whole), in(part));
        assert_int_equal(dart_remove_tree(in(part)), DART_OK);
        dart_recipe_free(recipe);
        resumes++;
    }
}

static void test_resume(void **state)
{
    (void)state;
    resume_everywhere("cpu", "1", 1);
    resume_everywhere("cpu", "2", 6);
    static const char *const others[] = {"opencl:0", "vulkan:0"};
    for (int i = 0; i < 2; i++)
        if (present(others[i]))
            resume_everywhere(others[i], "1", 1);
        else
            printf("%s is not on this machine: %s\n", others[i], dart_error_text());
    printf("%u runs stopped and resumed bit for bit\n", resumes);
    assert_true(resumes >= 27); /* the cpu alone; every step of every device that is there */
}

/* A run with a dense twin, stopped inside the twin and again inside the run itself. */
static void test_resume_twin(void **state)
{
    (void)state;
    dart_result whole, part;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("twin-whole"));
    set(recipe, "dense_twin", "true");
    assert_int_equal(train(recipe, &w, &whole), DART_OK);
    set(recipe, "out", in("twin-part"));
    w = (watch){.stop_at = 9};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    dart_recipe_free(recipe);
    /* --resume and --out are enough: the rest is known. */
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "out", in("twin-part"));
    set(recipe, "resume", "true");
    w = (watch){.stop_at = 13}; /* of the twin, which is what comes next */
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    w = (watch){.stop_at = 5}; /* of the run */
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    w = (watch){0};
    assert_int_equal(train(recipe, &w, &part), DART_OK);
    assert_same_run(in("twin-whole"), in("twin-part"));
    assert_int_equal(part.rows, 4);
    for (int i = 0; i < 4; i++) assert_true(whole.row[i].test_ppl == part.row[i].test_ppl);
    dart_recipe_free(recipe);
}

/* Two runs with the same seed are the same bits; another seed is another run. */
static void test_repeatable(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "repeat%d", i);
        dart_recipe *recipe = tiny("cpu", in(name));
        if (i == 2) set(recipe, "seed", "2");
        watch w = {0};
        assert_int_equal(train(recipe, &w, NULL), DART_OK);
        dart_recipe_free(recipe);
    }
    assert_same_run(in("repeat0"), in("repeat1"));
    char *a, *b;
    size_t n, m;
    assert_int_equal(dart_file_read(in("repeat0/metrics.jsonl"), &a, &n), DART_OK);
    assert_int_equal(dart_file_read(in("repeat2/metrics.jsonl"), &b, &m), DART_OK);
    assert_true(n != m || memcmp(a, b, n));
    free(a);
    free(b);
}

static void test_no_allocation_in_a_step(void **state)
{
    (void)state;
    static const char *const accumulation[] = {"1", "2"};
    for (int i = 0; i < 2; i++) {
        dart_recipe *recipe = tiny("cpu", in(i ? "alloc2" : "alloc1"));
        set(recipe, "gradient_accumulation_steps", accumulation[i]);
        watch w = {0};
        atomic_store(&mallocs, 0);
        atomic_store(&counting, true);
        assert_int_equal(train(recipe, &w, NULL), DART_OK);
        atomic_store(&counting, false);
        assert_int_equal(w.ours_in_steps, 0);
        assert_int_equal(w.in_steps, 0);
#ifndef __SANITIZE_ADDRESS__
        assert_true(atomic_load(&mallocs) > 100); /* the counter counts */
#endif
        dart_recipe_free(recipe);
    }
}

static void test_divergence(void **state)
{
    (void)state;
    static const char *const rates[] = {"1e10", "1e30"};
    for (int i = 0; i < 2; i++) {
        dart_recipe *recipe = tiny("cpu", in(i ? "diverge2" : "diverge1"));
        set(recipe, "lr", rates[i]);
        set(recipe, "warmup_steps", "0");
        watch w = {0};
        expect(train(recipe, &w, NULL), DART_DIVERGED, "training diverged at step");
        assert_non_null(strstr(dart_error_text(), "--learning-rate"));
        assert_true(w.steps < 5);
        dart_recipe_free(recipe);
    }
}

/* What was good stays when a later save fails; the run goes on from there when there is room again.
 */
static void test_disk_full(void **state)
{
    (void)state;
    dart_recipe *recipe = tiny("cpu", in("full"));
    watch w = {.stop_at = 8};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    low = (struct rlimit){12000, old.rlim_max}; /* room for the logs, not for the weights */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    set(recipe, "resume", "true");
    w = (watch){0};
    dart_status status = train(recipe, &w, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    expect(status, DART_IO, "disk is full");
    dart_checkpoint c;
    assert_int_equal(
        dart_checkpoint_newest(in("full/checkpoints"), (dart_note){0}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 8);
    dart_checkpoint_close(&c);
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    recipe = tiny("cpu", in("not-full"));
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_same_run(in("full"), in("not-full"));
    dart_recipe_free(recipe);
}

static void flip(const char *path, size_t at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, (long)at, SEEK_SET);
    fputc(c ^ 4, f);
    fclose(f);
}

static void test_damaged_checkpoint(void **state)
{
    (void)state;
    dart_recipe *recipe = tiny("cpu", in("damaged"));
    watch w = {.stop_at = 22};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED); /* steps 20 and 22 are kept */
    flip(in("damaged/checkpoints/step-00000022/model.safetensors"), 3000);
    dart_eval_result e;
    expect(dart_eval(in("damaged/checkpoints/step-00000022"), NULL, NULL, &e), DART_INPUT,
        "model.safetensors");
    set(recipe, "resume", "true");
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_non_null(strstr(w.text, "do not have the checksum"));
    assert_non_null(strstr(w.text, "resumed at step 20"));
    dart_recipe_free(recipe);
    recipe = tiny("cpu", in("sound"));
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_same_run(in("damaged"), in("sound"));
    dart_recipe_free(recipe);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        dart_status status;
        const char *says;
    } cases[] = {
        {"device", "gpu:7", DART_USAGE, "gpu:7"},
        {"limits", "emu-nothing", DART_USAGE, "emu-floor"},
        {"text", "/nonesuch.txt", DART_INPUT, "no such file"},
        {"linear", "ttx", DART_INPUT, "known are"},
        {"reg", "nuclear", DART_INPUT, "known are"},
        {"select", "treshold", DART_INPUT, "did you mean 'threshold'"},
        {"d_model", "17", DART_INPUT, "17"},
        {"heads", "3", DART_INPUT, "heads"},
        {"head", "tt", DART_OK, ""},
        {"context", "5000", DART_INPUT, "fewer than one window"},
    };
    watch w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32];
        snprintf(name, sizeof name, "refused%zu", i);
        dart_recipe *recipe = tiny("cpu", in(name));
        set(recipe, cases[i].key, cases[i].value);
        w = (watch){0};
        expect(train(recipe, &w, NULL), cases[i].status, cases[i].says);
        dart_recipe_free(recipe);
    }
    dart_recipe *recipe = tiny("cpu", in("strict"));
    set(recipe, "rank", "4096");
    set(recipe, "strict_rank", "true");
    w = (watch){0};
    expect(train(recipe, &w, NULL), DART_INPUT, "rank");
    dart_recipe_free(recipe);

    recipe = tiny("cpu", in("run"));
    w = (watch){.stop_at = 6};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    expect(train(recipe, &w, NULL), DART_INPUT, "already holds a run");
    set(recipe, "resume", "true");
    set(recipe, "lr", "2e-2");
    expect(train(recipe, &w, NULL), DART_INPUT, "learning_rate is not what");
    set(recipe, "lr", "1e-2");
    write_text(text_path, 2, 600);
    expect(train(recipe, &w, NULL), DART_INPUT, "the text or its vocabulary changed");
    write_text(text_path, 1, 600);
    set(recipe, "out", in("nothing-here"));
    expect(train(recipe, &w, NULL), DART_INPUT, "there is no run in");
    dart_eval_result e;
    expect(dart_eval(in("nothing-here"), NULL, NULL, &e), DART_INPUT, "neither a run directory");
    dart_recipe_free(recipe);
}

/* SIGTERM has its own code; a run that finished stays finished. */
static void on_progress_term(void *user, const dart_progress *p)
{
    watch *w = user;
    w->steps = p->step;
    if (p->step == 4) w->stop = SIGTERM;
}

static void test_signals(void **state)
{
    (void)state;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("signals"));
    const dart_hooks hooks = {.user = &w, .progress = on_progress_term, .stop = &w.stop};
    dart_result result, again;
    assert_int_equal(dart_train(recipe, &hooks, &result), DART_TERMINATED);
    set(recipe, "resume", "true");
    w = (watch){0};
    assert_int_equal(train(recipe, &w, &result), DART_OK);
    w = (watch){0};
    assert_int_equal(train(recipe, &w, &again), DART_OK);
    assert_int_equal(w.steps, 0); /* nothing left to do */
    assert_int_equal(result.rows, again.rows);
    assert_memory_equal(result.row, again.row, sizeof result.row);
    dart_recipe_free(recipe);
}

static void test_compare(void **state)
{
    (void)state;
    char devices[64] = "cpu,cpu", *text;
    if (present("opencl:0")) strcat(devices, ",opencl:0");
    if (present("vulkan:0")) strcat(devices, ",vulkan:0");
    size_t size;
    dart_recipe *recipe = tiny("cpu", "");
    set(recipe, "max_steps", "12");
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(dart_compare(recipe, devices, 1e-3, NULL, false, f), DART_OK);
    fclose(f);
    assert_non_null(strstr(text, "| 12 |"));
    assert_non_null(strstr(text, "cpu against cpu: final losses differ by 0.00e+00"));
    printf("%s\n", strstr(text, "| 12 |"));
    free(text);
    f = open_memstream(&text, &size);
    expect(dart_compare(recipe, "cpu", 1e-3, NULL, false, f), DART_USAGE, "two devices");
    /* A run without any result cannot agree: the null device computes nothing. */
    expect(dart_compare(recipe, "cpu,null", 1e-3, NULL, false, f), DART_FAILED, "above the bound");
    fclose(f);
    free(text);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns),
        cmocka_unit_test(test_no_allocation_in_a_step), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_twin), cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_damaged_checkpoint), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_signals), cmocka_unit_test(test_compare)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
