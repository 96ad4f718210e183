/* What dart_bench prints for a tiny model. */
#ifndef BENCH_LAB_H
#define BENCH_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench.h"
#include <stdlib.h>
#include <string.h>

static inline dart_recipe *tiny_recipe(void)
{
    static const char *const sets[][2] = {{"layers", "1"}, {"d_model", "16"}, {"heads", "2"},
        {"context", "8"}, {"batch_size", "2"}, {"vocab_size", "20"}, {"rank", "2"}};
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        assert_int_equal(dart_recipe_set(recipe, sets[i][0], sets[i][1]), DART_OK);
    return recipe;
}

static inline dart_bench_options tiny_options(const char *test, const char *format)
{
    return (dart_bench_options){
        .devices = "cpu", .tests = test, .format = format, .repeats = 2, .reference = true};
}

/* The text, freed by the caller, and what the call came to. */
static inline char *bench_text(const dart_bench_options *options, dart_status *out)
{
    static char *text; /* static: GCC 12 takes what the stream points to for dangling */
    static size_t size;
    dart_recipe *recipe = tiny_recipe();
    FILE *stream = open_memstream(&text, &size);
    *out = dart_bench_print(recipe, options, stream);
    dart_recipe_free(recipe);
    fclose(stream);
    return text;
}

static inline char *bench_of(const dart_bench_options *options)
{
    dart_status status;
    char *text = bench_text(options, &status);
    if (status != DART_OK) fail_msg("%s: %s", options->tests, dart_error_text());
    return text;
}

static inline char *bench(const char *test, const char *format)
{
    const dart_bench_options options = tiny_options(test, format);
    return bench_of(&options);
}

static inline json_t *bench_json(const dart_bench_options *options)
{
    char *text = bench_of(options);
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    free(text);
    return body;
}

/* Characters of the widest line. */
static inline size_t widest(const char *text)
{
    size_t most = 0, n = 0;
    for (; *text; text++) {
        if (*text == '\n') n = 0;
        if ((*text & 0xC0) != 0x80 && *text != '\n') n++;
        if (n > most) most = n;
    }
    return most;
}

#endif
