/* Accuracy, F1 and Matthews correlation against tables worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "classes_score.h"

typedef struct table {
    uint32_t labels;
    uint64_t confusion[9];
    uint64_t texts;
    double accuracy, f1, matthews;
} table;

static void figures_by_hand(void **state)
{
    (void)state;
    const table tables[] = {
        /* 50 negatives right and 10 wrong, 35 positives right and 5 wrong: precision 35/45, recall
         * 35/40; (35 * 50 - 10 * 5) / sqrt(45 * 40 * 60 * 55) */
        {2, {50, 10, 5, 35}, 100, 0.85, 70.0 / 85, 1700 / sqrt(5940000)},
        /* all taken for the second: precision 7/10, recall 1; no correlation */
        {2, {0, 3, 0, 7}, 10, 0.7, 14.0 / 17, 0}, {2, {0, 4, 6, 0}, 10, 0, 0, -1},
        {2, {4, 0, 0, 6}, 10, 1, 1, 1}, {2, {0, 0, 0, 0}, 0, 0, 0, 0},
        /* three labels: rows sum to 3, 3, 4 and columns to 4, 3, 3 */
        {3, {2, 1, 0, 1, 2, 0, 1, 0, 3}, 10, 0.7, (4.0 / 7 + 4.0 / 6 + 6.0 / 7) / 3,
            (7 * 10 - (3 * 4 + 3 * 3 + 4 * 3)) / (sqrt(100 - 34) * sqrt(100 - 34))}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const table *t = &tables[i];
        dart_class_scores got;
        dart_classes_score(t->confusion, t->labels, &got);
        assert_int_equal(got.texts, t->texts);
        assert_true(fabs(got.accuracy - t->accuracy) < 1e-12);
        if (fabs(got.f1 - t->f1) > 1e-12 || fabs(got.matthews - t->matthews) > 1e-12)
            fail_msg("table %zu: F1 %.12f, Matthews %.12f, expected %.12f and %.12f", i, got.f1,
                got.matthews, t->f1, t->matthews);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_by_hand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
