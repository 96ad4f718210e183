/* Lists and ranges of parameters, and what is measured with them. */
#include "bench_lab.h"

static const char *joined(const dart_bench_axis *axis, char out[256])
{
    *out = 0;
    for (uint32_t i = 0; i < axis->count; i++) {
        strcat(out, i ? " " : "");
        strcat(out, axis->value[i]);
    }
    return out;
}

static void test_values(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"rank=8", "8"}, {"rank=8,16,32", "8 16 32"},
        {"rank=8-64*2", "8 16 32 64"}, {"layers=1-4", "1 2 3 4"}, {"layers=2-9+3", "2 5 8"},
        {"layers=1,4-6,8-20*2", "1 4 5 6 8 16"}, {"lr=1e-3,2e-3", "1e-3 2e-3"},
        {"linear=tt,lowrank", "tt lowrank"}, {"qk_norm=true,false", "true false"},
        {"prompt=16,32", "16 32"}, {"depth=0,8", "0 8"}, {"threads=1-2", "1 2"},
        {"weights=*.q tt, *.k dense", "*.q tt, *.k dense"}, {"linear-rank=2,3", "2 3"}};
    dart_recipe *recipe = tiny_recipe();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const entries[] = {cases[i][0], NULL};
        dart_bench_grid grid;
        char text[256];
        if (dart_bench_grid_new(recipe, entries, &grid) != DART_OK)
            fail_msg("%s: %s", cases[i][0], dart_error_text());
        assert_int_equal(grid.count, 1);
        assert_string_equal(joined(&grid.axis[0], text), cases[i][1]);
        assert_int_equal(grid.combinations, grid.axis[0].count);
        dart_bench_grid_free(&grid);
    }
    dart_recipe_free(recipe);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"rank=", "rank=8,", "rank=,8", "rank=8-4", "rank=8-64*1",
        "rank=8-64*", "rank=8-64+0", "rank=x", "rank=0", "rank", "=8", "nonsense=1,2", "lr=1-2",
        "linear=tt,nothing", "prompt=0", "prompt=-3", "threads=0", "tokens=12345678",
        "layers=1-512,1-512", "rank=0-8*2"};
    dart_recipe *recipe = tiny_recipe();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const entries[] = {cases[i], i == 18 ? "heads=1-1024" : NULL, NULL};
        dart_bench_grid grid;
        if (dart_bench_grid_new(recipe, entries, &grid) != DART_USAGE || !*dart_error_text())
            fail_msg("%s was taken", cases[i]);
        dart_bench_grid_free(&grid);
    }
    dart_recipe_free(recipe);
}

/* Every combination once, the last parameter changing fastest. */
static void test_product(void **state)
{
    (void)state;
    const char *const entries[] = {"rank=2,3", "prompt=4,6", "tokens=3", NULL};
    dart_bench_options options = tiny_options("infer", "json");
    options.repeats = 1;
    options.grid = entries;
    json_t *body = bench_json(&options), *list = json_object_get(body, "results"), *row;
    static const char *const want[] = {
        "rank=2 prompt=4", "rank=2 prompt=6", "rank=3 prompt=4", "rank=3 prompt=6"};
    size_t i, at = 0, found[4] = {0};
    json_array_foreach(list, i, row)
    {
        const char *grid = json_string_value(json_object_get(row, "grid"));
        const char *what = json_string_value(json_object_get(row, "what"));
        while (at < 4 && strcmp(grid, want[at]) != 0) at++;
        assert_true(at < 4); /* in their order */
        found[at]++;
        assert_true(!strcmp(what, "tg3") || !strcmp(what, at % 2 ? "pp6" : "pp4"));
    }
    for (int k = 0; k < 4; k++) assert_int_equal(found[k], 10);
    json_decref(body);
}

/* Tokens that are kept already. */
static void test_depth(void **state)
{
    (void)state;
    const char *const entries[] = {"prompt=3", "tokens=2", "depth=5", NULL},
                      *deep[] = {"depth=8", NULL};
    dart_bench_options options = tiny_options("infer", "csv");
    options.grid = entries;
    char *text = bench_of(&options);
    assert_non_null(strstr(text, "infer,pp3 @ d5,"));
    assert_non_null(strstr(text, "infer,tg2 @ d5,"));
    free(text);
    options.grid = deep;
    dart_status status;
    free(bench_text(&options, &status));
    assert_int_equal(status, DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no room"));
}

/* What knows no model is measured once, and once for each number of threads. */
static void test_plain(void **state)
{
    (void)state;
    const char *const entries[] = {"rank=2,3", "threads=1,2", NULL};
    dart_bench_options options = tiny_options("gemm:NN8x8x8,fwd", "json");
    options.grid = entries;
    json_t *body = bench_json(&options), *list = json_object_get(body, "results"), *row;
    size_t i, products = 0;
    assert_int_equal(json_array_size(list), 2 + 4);
    json_array_foreach(list, i, row)
    {
        if (strncmp(json_string_value(json_object_get(row, "test")), "gemm", 4) != 0) continue;
        assert_string_equal(json_string_value(json_object_get(row, "grid")),
            products++ ? "threads=2" : "threads=1");
    }
    assert_int_equal(products, 2);
    json_decref(body);
}

/* The processor's threads change, its results do not. */
static void test_threads(void **state)
{
    (void)state;
    const char *const entries[] = {"threads=1,2", NULL};
    dart_bench_options options = tiny_options("step", "json");
    options.grid = entries;
    json_t *body = bench_json(&options), *list = json_object_get(body, "results");
    assert_int_equal(json_array_size(list), 2);
    assert_true(json_real_value(json_object_get(json_array_get(list, 0), "loss")) ==
                json_real_value(json_object_get(json_array_get(list, 1), "loss")));
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
