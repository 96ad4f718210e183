/* Rows of options: spellings, texts to values in any locale, values by row. */
#include "comma_locale.h"
#include "option.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static const dart_option_row depth = {.key = "cut_depth",
    .aliases = "depth,max-depth",
    .section = "stage",
    .kind = DART_OPTION_INT,
    .fallback = "3",
    .least = 1,
    .most = 9007199254740991};
static const dart_option_row share = {
    .key = "share", .kind = DART_OPTION_FLOAT, .fallback = "0.25", .most = 1};
static const dart_option_row scale = {.key = "scale",
    .kind = DART_OPTION_CHOICE,
    .fallback = "log",
    .choices = "absolute|relative|log"};
static const dart_option_row strict = {
    .key = "strict", .kind = DART_OPTION_BOOL, .fallback = "yes"};
static const dart_option_row path = {.key = "path", .kind = DART_OPTION_TEXT, .fallback = ""};
static const dart_option_row other = {.key = "other", .kind = DART_OPTION_INT, .fallback = "1"};
static const dart_option_row *const rows[] = {&depth, &share, &scale, &strict, NULL};

static void spellings(void **state)
{
    (void)state;
    static const char *const yes[] = {"cut_depth", "cut-depth", "depth", "max_depth", "max-depth"};
    static const char *const no[] = {"cut", "cut_depths", "max", "depth,max-depth", "", ","};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_ptr_equal(dart_option_named(rows, yes[i]), &depth);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_null(dart_option_named(rows, no[i]));
    assert_ptr_equal(dart_option_named(rows, "share"), &share);
    assert_null(dart_option_named(NULL, "share"));
    assert_true(dart_option_is("a_b", "", "a-b=3", 3));
    assert_false(dart_option_is("a_b", NULL, "a-b=3", 4));
}

static void texts_to_values(void **state)
{
    (void)state;
    static const struct {
        const dart_option_row *row;
        const char *text;
        double value; /* NaN: refused */
        const char *says;
    } cases[] = {{&depth, "7", 7, ""}, {&depth, "9007199254740991", 9007199254740991.0, ""},
        {&depth, "9007199254740993", NAN, "between 1 and"}, {&depth, "0", NAN, "between 1 and"},
        {&depth, "2.5", NAN, "cut_depth needs a whole number, got '2.5'"},
        {&depth, "1e3", 1000, ""}, {&depth, "100k", 1e5, ""}, {&depth, "1.5M", 1.5e6, ""},
        {&depth, "1_000_000", 1e6, ""}, {&depth, "2.5e1", 25, ""},
        {&depth, "010", NAN, "whole number"}, {&depth, "0x10", NAN, "whole number"},
        {&depth, "1__0", NAN, "whole number"}, {&depth, "_10", NAN, "whole number"},
        {&depth, "10_", NAN, "whole number"}, {&depth, "1e-3", NAN, "whole number"},
        {&depth, " 7", NAN, "whole number"}, {&depth, "+7", 7, ""},
        {&share, "0_1", NAN, "a number"}, {&share, "00.5", NAN, "a number"},
        {&share, "0x1p-1", NAN, "a number"}, {&share, ".5", 0.5, ""}, {&share, "0.000_1", 1e-4, ""},
        {&share, "1e999", NAN, "a number"}, {&depth, "", NAN, "whole number"},
        {&depth, "99999999999999999999", NAN, "whole number"}, {&share, "0.5", 0.5, ""},
        {&share, "1e-3", 1e-3, ""}, {&share, "0,5", NAN, "a number"},
        {&share, "nan", NAN, "a number"}, {&share, "inf", NAN, "a number"},
        {&share, "1.01", NAN, "share must be between 0 and 1, got 1.01"},
        {&scale, "absolute", 0, ""}, {&scale, "log", 2, ""},
        {&scale, "lo", NAN, "scale must be one of absolute|relative|log, got 'lo'"},
        {&scale, "", NAN, "one of"}, {&strict, "true", 1, ""}, {&strict, "OFF", 0, ""},
        {&strict, "2", NAN, "strict needs true or false, got '2'"}, {&path, "a b", 0, ""},
        {&path, "a\nb", NAN, "path has a control character"}, {&path, "\x7f", NAN, "a control"},
        {&path, "\xc2\x85", NAN, "a control"}, {&path, "\xc3", NAN, "not UTF-8"},
        {&path, "\xff", NAN, "not UTF-8"}, {&path, "\xc0\x80", NAN, "not UTF-8"},
        {&path, "\xed\xa0\x80", NAN, "not UTF-8"}, {&path, "\xf4\x90\x80\x80", NAN, "not UTF-8"},
        {&path, "\xe2\x80\xa8", NAN, "a line break"}, {&path, "\xef\xbf\xbe", NAN, "that is none"},
        {&path, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 0, ""}};
    int locales = 0;
    for (int comma = 0; comma < 2; comma++) {
        if (comma && !comma_locale()) break;
        locales++;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            double value = -1;
            dart_status status = dart_option_read(cases[i].row, cases[i].text, &value);
            if (isnan(cases[i].value)
                    ? status != DART_USAGE || !strstr(dart_error_text(), cases[i].says)
                    : status != DART_OK || value != cases[i].value)
                fail_msg("case %zu, comma %d: %d, %g: %s", i, comma, (int)status, value,
                    dart_error_text());
        }
    }
    comma_locale_leave();
    if (locales < 2) print_message("no locale with a comma here: only the C locale was tried\n");
}

static void values_by_row(void **state)
{
    (void)state;
    dart_options values = dart_options_default(rows), none = {0};
    assert_true(
        dart_options_get(&values, &depth) == 3 && dart_options_get(&values, &share) == 0.25);
    assert_true(dart_options_get(&values, &scale) == 2 && dart_options_get(&values, &strict) == 1);
    assert_true(dart_options_get(&values, &other) == 0 && dart_options_get(&none, &depth) == 0);
    dart_options_set(&values, &share, 0.5);
    dart_options_set(&values, &other, 5);
    dart_options_set(&none, &depth, 5);
    assert_true(dart_options_get(&values, &share) == 0.5 && dart_options_get(&values, &depth) == 3);
    assert_true(dart_options_get(&values, &other) == 0 && dart_options_get(&none, &depth) == 0);
    assert_true(dart_option_among(rows, &strict) && !dart_option_among(rows, &other));
    assert_false(dart_option_among(NULL, &strict));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spellings),
        cmocka_unit_test(texts_to_values), cmocka_unit_test(values_by_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
