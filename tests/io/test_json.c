/* JSON: bad input against short memory, numbers that are none, texts that are not UTF-8. */
#include "json.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* jansson's allocations; number `fail_at` fails. Set before the first call, as a host program may.
 */
static unsigned long allocations, fail_at;

static void *counted(size_t size)
{
    return ++allocations == fail_at ? NULL : malloc(size);
}

static const char sound[] =
    "{\"a\": [1, 2.5, null, \"text with \\u00e9 and \\n in it\"], \"b\": {}}";

static void test_parse(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "{", "[1,]", "{\"a\":1,\"a\":2}", "\"open", "{} x", "\xff"};
    char why[DART_JSON_WHY];
    json_t *body;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(dart_json_parse(bad[i], strlen(bad[i]), "it", why, &body), DART_INPUT);
        assert_null(body);
        assert_true(strlen(why) > 5);
        assert_non_null(strstr(dart_error_text(), "it is not JSON"));
    }
    allocations = 0;
    assert_int_equal(dart_json_parse(sound, sizeof sound - 1, "it", why, &body), DART_OK);
    const unsigned long all = allocations;
    json_decref(body);
    assert_true(all > 12);
    for (unsigned long k = 1; k <= all; k++) {
        allocations = 0;
        fail_at = k;
        dart_status status = dart_json_parse(sound, sizeof sound - 1, "it", why, &body);
        fail_at = 0;
        assert_int_equal(status, DART_MEMORY);
        assert_null(body);
    }
    printf("%lu failed allocations of a parse\n", all);
}

static dart_status build(char **out)
{
    dart_status status = DART_OK;
    json_t *body = json_object(), *list = json_array();
    for (int i = 0; i < 5; i++) dart_json_add(list, json_integer(i), &status);
    dart_json_set(body, "list", list, &status);
    dart_json_set(body, "nan", dart_json_real(NAN), &status);
    dart_json_set(body, "text", dart_json_text("caf\xe9 \xc3\xa9"), &status);
    dart_json_set(body, "utf8", dart_json_text("\xc3\xa9"), &status);
    return dart_json_write(body, status, JSON_COMPACT, "it", out);
}

static void test_build(void **state)
{
    (void)state;
    char *text, *again;
    allocations = 0;
    assert_int_equal(build(&text), DART_OK);
    const unsigned long all = allocations;
    assert_string_equal(text, "{\"list\":[0,1,2,3,4],\"nan\":null,\"text\":\"caf\xef\xbf\xbd "
                              "\xc3\xa9\",\"utf8\":\"\xc3\xa9\"}");
    for (unsigned long k = 1; k <= all; k++) {
        allocations = 0;
        fail_at = k;
        dart_status status = build(&again);
        fail_at = 0;
        /* whole or refused, never with a key missing */
        if (status == DART_OK) {
            if (!strstr(again, "\"text\":\"caf\xef\xbf\xbd \xc3\xa9\""))
                fail_msg("allocation %lu: %s", k, again);
            free(again);
        } else {
            assert_int_equal(status, DART_MEMORY);
            assert_null(again);
        }
    }
    printf("%lu failed allocations of a text\n", all);
    free(text);
}

static void test_numbers(void **state)
{
    (void)state;
    char why[DART_JSON_WHY];
    json_t *body;
    static const char text[] = "{\"x\":2.5,\"n\":3,\"none\":null,\"word\":\"1\"}";
    assert_int_equal(dart_json_parse(text, sizeof text - 1, "it", why, &body), DART_OK);
    assert_true(dart_json_number(body, "x") == 2.5 && dart_json_number(body, "n") == 3);
    assert_true(isnan(dart_json_number(body, "none")) && isnan(dart_json_number(body, "word")));
    assert_true(dart_json_number(body, "missing") == 0);
    json_decref(body);
    /* what no int64_t can hold is refused, or a real */
    static const char large[] = "{\"most\": 1000000000000000019884624838656}";
    assert_int_equal(dart_json_parse(large, sizeof large - 1, "it", why, &body), DART_INPUT);
    assert_int_equal(dart_json_parse_reals(large, sizeof large - 1, "it", why, &body), DART_OK);
    assert_true(dart_json_number(body, "most") == 1e30);
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_build), cmocka_unit_test(test_numbers)};
    json_set_alloc_funcs(counted, free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
