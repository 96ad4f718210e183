/* Whole runs of a tiny model: it learns, repeats bit for bit, allocates nothing in a step, and
 * fails with sentences. */
#include "optim.h"
#include "small_run.h"
#include <dlfcn.h>
#include <math.h>
#include <stdatomic.h>

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

static unsigned long counted(void)
{
    return atomic_load(&mallocs);
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
    assert_in_range(result.row[3].resident_bytes, 1 << 20, (uint64_t)1 << 34);

    /* eval finds the same figures from the files alone, generate is repeatable. */
    dart_eval_result e;
    assert_int_equal(handle_eval(in("learns"), NULL, &e), DART_OK);
    assert_true(fabs(e.valid_ppl / result.row[3].valid_ppl - 1) < 1e-6);
    assert_true(fabs(e.test_ppl / result.row[3].test_ppl - 1) < 1e-6);
    handle_text text[2], none;
    const dart_sampling how = {
        .size = sizeof how, .temperature = 0.7, .top_k = 10, .top_p = 0.95, .seed = 3};
    for (int i = 0; i < 2; i++)
        assert_int_equal(handle_generate(in("learns"), "the cat", 30, &how, &text[i]), DART_OK);
    assert_string_equal(text[0].text, text[1].text);
    assert_int_equal(strncmp(text[0].text, "the cat ", 8), 0);
    assert_true(strchr(text[0].text, '\n') && strchr(text[0].text, '.'));
    assert_int_equal(handle_generate(in("learns"), "", 5, NULL, &none), DART_OK);
    assert_true(none.size > 5);
    free(text[0].text);
    free(text[1].text);
    free(none.text);
    dart_recipe_free(recipe);
}

/* Every optimizer of the table, on trains and on dense layers, before and after a selection. */
static void test_every_optimizer_learns(void **state)
{
    (void)state;
    for (uint32_t i = 0; dart_optim_at(i); i++)
        for (int dense = 0; dense < 2; dense++) {
            char name[48];
            dart_result result;
            watch w = {0};
            snprintf(name, sizeof name, "%s-%d", dart_optim_at(i)->name, dense);
            dart_recipe *recipe = tiny("cpu", in(name));
            set(recipe, "optimizer", dart_optim_at(i)->name);
            set(recipe, "max_steps", "150");
            if (dense) set(recipe, "linear", "dense");
            if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
            const double ppl = result.row[result.rows - 1].valid_ppl;
            printf("%s, %s: loss %.3f to %.3f, perplexity %.3f\n", dart_optim_at(i)->name,
                dense ? "dense" : "tt", w.first, w.last, ppl);
            assert_true(w.last < 0.6 * w.first && ppl < 4);
            dart_recipe_free(recipe);
        }
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
    allocations = counted;
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
    expect(handle_eval(in("nothing-here"), NULL, &e), DART_INPUT, "neither a run directory");
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
    assert_int_equal(dart_compare_print(recipe, devices, 1e-3, NULL, false, f), DART_OK);
    fclose(f);
    assert_non_null(strstr(text, "| 12 |"));
    assert_non_null(strstr(text, "cpu against cpu: final losses differ by 0.00e+00"));
    printf("%s\n", strstr(text, "| 12 |"));
    free(text);
    f = open_memstream(&text, &size);
    expect(dart_compare_print(recipe, "cpu", 1e-3, NULL, false, f), DART_USAGE, "two devices");
    /* A run without any result cannot agree: the null device computes nothing. */
    expect(dart_compare_print(recipe, "cpu,null", 1e-3, NULL, false, f), DART_FAILED,
        "above the bound");
    fclose(f);
    free(text);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns),
        cmocka_unit_test(test_every_optimizer_learns),
        cmocka_unit_test(test_no_allocation_in_a_step), cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_compare)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
