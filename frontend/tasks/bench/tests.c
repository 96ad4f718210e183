/* The registry of tests. */
#include "bench.h"

#define BENCH(name) &dart_bench_##name,
const dart_bench_test *const dart_bench_tests[] = {
#include "bench.def"
    NULL};
#undef BENCH
