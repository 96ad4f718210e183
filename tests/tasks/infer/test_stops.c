/* Strings that end a text, however the text is cut into pieces: against a search in the whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "handles.h"
#include "stops.h"

static uint32_t cuttings;

/* Every way to cut the text into pieces of `piece` bytes, the first shorter. */
static void expect(const char *text, const char *const *stop, uint32_t count, const char *want)
{
    const size_t bytes = strlen(text);
    for (size_t piece = 1; piece <= bytes; piece++)
        for (size_t first = 1; first <= piece; first++) {
            handle_text out = {0};
            dart_stops s = {.stop = stop, .count = count, .write = handle_take, .user = &out};
            for (size_t at = 0, n = first; at < bytes; at += n, n = piece) {
                if (n > bytes - at) n = bytes - at;
                assert_int_equal(dart_stops_take(&s, text + at, n), DART_OK);
            }
            const bool found = s.found;
            assert_int_equal(dart_stops_end(&s), DART_OK);
            assert_string_equal(out.text ? out.text : "", want);
            assert_int_equal(found, strlen(want) < bytes);
            free(out.text);
            dart_stops_free(&s);
            cuttings++;
        }
}

static void texts_end_before_a_string(void **state)
{
    (void)state;
    static const char *const user[] = {"\nUser:", "</s>"};
    expect("Well.\nUser: no", user, 2, "Well.");
    expect("Well.\nUse it.", user, 2, "Well.\nUse it.");
    expect("a </s</s>b\nUser:", user, 2, "a </s");
    expect("\nUser:", user, 2, "");
    expect("ends with </s", user, 2, "ends with </s");
    expect("no strings", NULL, 0, "no strings");
    static const char *const again[] = {"aab"};
    expect("caaab", again, 1, "ca");
    expect("aaaa", again, 1, "aaaa");
    static const char *const inside[] = {"abcd", "bc"};
    expect("xabce", inside, 2, "xa");
    /* a character of three bytes, and one that shares its first two */
    static const char *const euro[] = {"\xe2\x82\xac", "gr\xc3\xbc\xc3\x9f"};
    expect("5 \xe2\x82\xb9, 5 \xe2\x82\xac.", euro, 2, "5 \xe2\x82\xb9, 5 ");
    expect("gr\xc3\xbcn, gr\xc3\xbc\xc3\x9f mich", euro, 2, "gr\xc3\xbcn, ");
    assert_int_equal(cuttings > 500, 1);
    printf("%u ways to cut a text\n", cuttings);
}

/* Only what may be a beginning waits. */
static void text_is_held_back_as_little_as_can_be(void **state)
{
    (void)state;
    static const char *const stop[] = {"stop"};
    handle_text out = {0};
    dart_stops s = {.stop = stop, .count = 1, .write = handle_take, .user = &out};
    assert_int_equal(dart_stops_take(&s, "the s", 5), DART_OK);
    assert_string_equal(out.text, "the ");
    assert_int_equal(dart_stops_take(&s, "to", 2), DART_OK);
    assert_string_equal(out.text, "the ");
    assert_int_equal(dart_stops_take(&s, "re s", 4), DART_OK);
    assert_string_equal(out.text, "the store ");
    assert_int_equal(dart_stops_end(&s), DART_OK);
    assert_string_equal(out.text, "the store s");
    free(out.text);
    dart_stops_free(&s);
}

static int refuse(void *user, const char *text, size_t size)
{
    (void)user;
    (void)text;
    (void)size;
    return 1;
}

static void a_sink_that_refuses_ends_it(void **state)
{
    (void)state;
    dart_stops s = {.write = refuse};
    assert_int_equal(dart_stops_take(&s, "a", 1), DART_IO);
    static const char *const stop[] = {"ab"};
    s = (dart_stops){.stop = stop, .count = 1, .write = refuse};
    assert_int_equal(dart_stops_take(&s, "a", 1), DART_OK);
    assert_int_equal(dart_stops_end(&s), DART_IO);
    dart_stops_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_end_before_a_string),
        cmocka_unit_test(text_is_held_back_as_little_as_can_be),
        cmocka_unit_test(a_sink_that_refuses_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
