/* Streams into memory: the text comes back whole; where memory was short, not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "memstream.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void whole(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = dart_memstream_open(&text, &size);
    assert_non_null(out);
    for (int i = 0; i < 100000; i++) fprintf(out, "%d\n", i);
    assert_int_equal(dart_memstream_close(out, "numbers", &text), DART_OK);
    assert_int_equal(size, 588890);
    assert_int_equal(strlen(text), size);
    char *at = text;
    for (int i = 0; i < 100000; i++) assert_int_equal(strtol(at, &at, 10), i);
    free(text);
}

static void nothing(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = dart_memstream_open(&text, &size);
    assert_int_equal(dart_memstream_close(out, "nothing", &text), DART_OK);
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    free(text);
}

/* Short once, with memory again before the stream is closed. */
static void short_of_memory(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the sanitizer's own address space is larger than any limit */
#else
    char *text, *block = malloc(1 << 20);
    size_t size;
    struct rlimit before, tight;
    FILE *out = dart_memstream_open(&text, &size);
    assert_non_null(block);
    memset(block, 'a', 1 << 20);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    for (int i = 0; i < 64; i++) fwrite(block, 1, 1 << 20, out);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    fputs("more", out);
    assert_int_equal(dart_memstream_close(out, "blocks", &text), DART_MEMORY);
    assert_null(text);
    assert_non_null(strstr(dart_error_text(), "blocks"));
    free(block);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(nothing),
        cmocka_unit_test(short_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
