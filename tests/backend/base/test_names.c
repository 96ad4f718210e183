/* The sentence about an unknown name, and the clock. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>
#include "clock.h"
#include "names.h"

static const char *const rules[] = {"threshold", "energy", "tail_budget", "budget", NULL};

static void names_the_known_ones(void **state)
{
    (void)state;
    assert_int_equal(
        dart_name_unknown(DART_INPUT, "selection", "oracle", dart_name_of_list, rules, ""),
        DART_INPUT);
    assert_string_equal(dart_error_text(),
        "unknown selection 'oracle'; known are threshold, energy, tail_budget, budget");
    assert_non_null(strstr(dart_error_place(), "test_names.c:"));
}

static void asks_for_a_near_one(void **state)
{
    (void)state;
    assert_int_equal(dart_name_unknown(DART_USAGE, "selection", "treshold", dart_name_of_list,
                         rules, ", or none"),
        DART_USAGE);
    assert_string_equal(dart_error_text(),
        "unknown selection 'treshold'; known are threshold, energy, tail_budget, budget, or none; "
        "did you mean 'threshold'?");
}

static void nearest(void **state)
{
    (void)state;
    static const struct {
        const char *word, *name;
    } table[] = {{"threshold", "threshold"}, {"threshhold", "threshold"}, {"Energy", "energy"},
        {"tail-budget", "tail_budget"}, {"budge", "budget"}, {"b", NULL}, {"", NULL},
        {"gumbel", NULL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *name = dart_name_nearest(table[i].word, dart_name_of_list, rules);
        if (table[i].name)
            assert_string_equal(name, table[i].name);
        else
            assert_null(name);
    }
    static const char *const empty[] = {NULL};
    assert_null(dart_name_nearest("a", dart_name_of_list, empty));
}

/* More names than the sentence has room for, and a word longer than it shows. */
static const char *many(const void *context, uint32_t index)
{
    (void)context;
    return index < 1000 ? "a-name-of-some-length" : NULL;
}

static void long_tables_are_cut(void **state)
{
    (void)state;
    char word[300];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = 0;
    assert_int_equal(dart_name_unknown(DART_INPUT, "thing", word, many, NULL, ""), DART_INPUT);
    assert_true(strlen(dart_error_text()) < 1000);
    assert_non_null(strstr(dart_error_text(), "known are a-name-of-some-length, a-name"));
}

static void clock_goes_forward(void **state)
{
    (void)state;
    const struct timespec nap = {.tv_nsec = 20000000};
    double begin = dart_seconds();
    assert_int_equal(nanosleep(&nap, NULL), 0);
    double passed = dart_seconds() - begin;
    assert_true(passed >= 0.0199 && passed < 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_known_ones),
        cmocka_unit_test(asks_for_a_near_one),
        cmocka_unit_test(nearest),
        cmocka_unit_test(long_tables_are_cut),
        cmocka_unit_test(clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
