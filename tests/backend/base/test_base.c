/* Sentences of failures, and texts in arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "mem.h"
#include <string.h>

/* What a stranger's file says is quoted in sentences that end up on a terminal. */
static void sentences_have_no_control_characters(void **state)
{
    (void)state;
    assert_int_equal(
        dart_fail(DART_INPUT, "an architecture '%s'", "a\x1b[31mb\r\x7f\nc\td\u00e9"), DART_INPUT);
    assert_string_equal(dart_error_text(), "an architecture 'a?[31mb?? c d\u00e9'");
}

/* A chat template has thousands of bytes. */
static void arenas_hold_long_texts(void **state)
{
    (void)state;
    enum { LONG = 100000 };
    static char text[LONG + 1];
    dart_arena arena = {0};
    memset(text, 'x', LONG);
    const char *copy = dart_arena_printf(&arena, "%d %s.", 7, text);
    assert_non_null(copy);
    assert_int_equal(strlen(copy), LONG + 3);
    assert_true(!strncmp(copy, "7 xx", 4) && !strcmp(copy + LONG, "xx."));
    assert_string_equal(dart_arena_printf(&arena, "%s", ""), "");
    dart_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sentences_have_no_control_characters),
        cmocka_unit_test(arenas_hold_long_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
