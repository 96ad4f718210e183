/* The registry of tests. */
#include "bench.h"
#include <string.h>

#define BENCH(name) &dart_bench_##name,
const dart_bench_test *const dart_bench_tests[] = {
#include "bench.def"
    NULL};
#undef BENCH

static bool is(const char *name, const char *word, size_t length)
{
    return name && strlen(name) == length && !strncmp(name, word, length);
}

const dart_bench_test *dart_bench_find(const char *name, size_t length)
{
    const dart_bench_test *const *test = dart_bench_tests;
    while (*test && !is((*test)->name, name, length) && !is((*test)->alias, name, length)) test++;
    return *test;
}

const dart_bench_test *dart_bench_test_of(const dart_bench_row *row)
{
    return dart_bench_find(row->test, strcspn(row->test, ":"));
}
