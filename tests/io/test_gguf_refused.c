/* GGUF files that no writer should write: each is refused with the sentence that fits. */
#include "gguf.h"
#include "gguf_bytes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const uint64_t two[] = {2, 0};

/* Each makes one bad file; the sentence has the word. */
#define BAD(name) static void name(gguf_bytes *b)
BAD(magic)
{
    put_bytes(b, "GGUf\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
}
BAD(version_1)
{
    put_head(b, 1, 0, 0);
}
BAD(version_4)
{
    put_head(b, 4, 0, 0);
}
BAD(version_0)
{
    put_head(b, 0, 0, 0);
}
BAD(foreign)
{
    put_head(b, 3u << 24, 0, 0);
}
BAD(many_values)
{
    put_head(b, 3, 0, UINT64_MAX);
}
BAD(values_overflow)
{
    put_head(b, 3, 0, (uint64_t)1 << 61);
}
BAD(many_tensors)
{
    put_head(b, 3, UINT64_MAX / 8, 0);
}
BAD(one_value_more)
{
    put_head(b, 3, 0, 2), put_u32(b, "a", 1);
}
BAD(empty_key)
{
    put_head(b, 3, 0, 1), put_u32(b, "", 1), put_word(b, 0, 8);
}
BAD(zero_in_key)
{
    put_head(b, 3, 0, 1), put_u32(b, "abc", 1);
    b->data[33] = 0;
}
BAD(long_key)
{
    char key[65537];
    memset(key, 'k', 65536);
    key[65536] = 0;
    put_head(b, 3, 0, 1), put_u32(b, key, 1);
}
BAD(key_length)
{
    put_head(b, 3, 0, 1), put_word(b, UINT64_MAX - 3, 8);
    for (int i = 0; i < 20; i++) put_word(b, 'k', 1);
}
BAD(key_past_end)
{
    put_head(b, 3, 0, 1), put_word(b, 1000, 8);
    for (int i = 0; i < 20; i++) put_word(b, 'k', 1);
}
BAD(same_key)
{
    put_head(b, 3, 0, 3), put_u32(b, "a", 1), put_u32(b, "b", 1), put_u32(b, "a", 1);
}
BAD(type_13)
{
    put_head(b, 3, 0, 1), put_value(b, "a", (dart_gguf_type)13, 0, 8);
}
BAD(type_huge)
{
    put_head(b, 3, 0, 1), put_value(b, "a", (dart_gguf_type)0xffffffffu, 0, 8);
}
BAD(bool_2)
{
    put_head(b, 3, 0, 1), put_value(b, "a", DART_GGUF_BOOL, 2, 1);
}
BAD(bools)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_BOOL, 2), put_word(b, 0x301, 2);
}
BAD(string_length)
{
    put_head(b, 3, 0, 1), put_value(b, "a", DART_GGUF_STRING, (uint64_t)1 << 31, 8);
}
BAD(string_past_end)
{
    put_head(b, 3, 0, 1), put_value(b, "a", DART_GGUF_STRING, 9, 8);
}
BAD(nested)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_ARRAY, 1), put_word(b, 0, 8);
}
BAD(item_type)
{
    put_head(b, 3, 0, 1), put_array(b, "a", (dart_gguf_type)99, 1), put_word(b, 0, 8);
}
BAD(array_overflow)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_U64, (uint64_t)1 << 61);
}
BAD(array_cap)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_U8, ((uint64_t)1 << 30) + 1);
}
BAD(array_past_end)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_U16, 3), put_word(b, 0, 5);
}
BAD(strings_past_end)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_STRING, 2), put_text(b, "12345678");
}
BAD(strings_count)
{
    put_head(b, 3, 0, 1), put_array(b, "a", DART_GGUF_STRING, 1 << 29), put_text(b, "12345678");
}
BAD(alignment_0)
{
    put_head(b, 3, 0, 1), put_u32(b, "general.alignment", 0);
}
BAD(alignment_24)
{
    put_head(b, 3, 0, 1), put_u32(b, "general.alignment", 24);
}
BAD(alignment_4)
{
    put_head(b, 3, 0, 1), put_u32(b, "general.alignment", 4);
}
BAD(alignment_text)
{
    put_head(b, 3, 0, 1), put_string(b, "general.alignment", "32");
}
BAD(alignment_huge)
{
    put_head(b, 3, 1, 1), put_u32(b, "general.alignment", 1u << 31), put_tensor(b, "t", 0, two, 0);
}
BAD(empty_name)
{
    put_head(b, 3, 1, 0), put_tensor(b, "", 0, two, 0), put_word(b, 0, 8);
}
BAD(long_name)
{
    put_head(b, 3, 1, 0);
    put_tensor(b, "0123456789012345678901234567890123456789012345678901234567890123", 0, two, 0);
}
BAD(rank_5)
{
    put_head(b, 3, 1, 0), put_tensor(b, "t", 0, (const uint64_t[]){1, 1, 1, 1, 1, 0}, 0);
}
BAD(rank_huge)
{
    put_head(b, 3, 1, 0), put_text(b, "t"), put_word(b, UINT32_MAX, 20);
}
BAD(dimension_0)
{
    put_head(b, 3, 1, 0), put_text(b, "t"), put_word(b, 1, 4), put_word(b, 0, 8),
        put_word(b, 0, 12);
}
BAD(dimension_minus)
{
    put_head(b, 3, 1, 0), put_tensor(b, "t", 0, (const uint64_t[]){UINT64_MAX, 0}, 0);
}
BAD(elements_overflow)
{
    const uint64_t dims[] = {2, (uint64_t)1 << 40, (uint64_t)1 << 40, 0};
    put_head(b, 3, 1, 0), put_tensor(b, "t", 0, dims, 0);
}
BAD(bytes_overflow)
{
    const uint64_t dims[] = {(uint64_t)1 << 61, 4, 0};
    put_head(b, 3, 1, 0), put_tensor(b, "t", 0, dims, 0);
}
BAD(tensor_type)
{
    put_head(b, 3, 1, 0), put_tensor(b, "t", 4, two, 0);
}
BAD(tensor_type_huge)
{
    put_head(b, 3, 1, 0), put_tensor(b, "t", UINT32_MAX, two, 0);
}
BAD(half_block)
{
    put_head(b, 3, 1, 0), put_tensor(b, "t", 8, (const uint64_t[]){33, 0}, 0);
}
BAD(big_block)
{
    put_head(b, 3, 1, 0), put_tensor(b, "t", 12, (const uint64_t[]){128, 2, 0}, 0);
}

static void tensors(gguf_bytes *b, const char *second, uint64_t at, size_t data)
{
    put_head(b, 3, 2, 0);
    put_tensor(b, "t", 0, two, 0);
    put_tensor(b, second, 0, two, at);
    put_padding(b, 32);
    for (size_t i = 0; i < data; i++) put_word(b, 0, 1);
}
BAD(same_name)
{
    tensors(b, "t", 32, 64);
}
BAD(overlap)
{
    tensors(b, "u", 0, 64);
}
BAD(half_overlap)
{
    tensors(b, "u", 4, 64);
}
BAD(hole)
{
    tensors(b, "u", 64, 128);
}
BAD(offset_huge)
{
    tensors(b, "u", UINT64_MAX - 31, 64);
}
BAD(data_short)
{
    tensors(b, "u", 32, 39);
}
BAD(data_missing)
{
    tensors(b, "u", 32, 0);
}

static const struct {
    void (*make)(gguf_bytes *b);
    const char *word;
} bad[] = {{magic, "letters GGUF"}, {version_1, "version 1"}, {version_4, "version 4"},
    {version_0, "version 0"}, {foreign, "big-endian"}, {many_values, "more keys"},
    {values_overflow, "more keys"}, {many_tensors, "more tensors"}, {one_value_more, "more keys"},
    {empty_key, "is empty"}, {zero_in_key, "zero byte"}, {long_key, "65536 bytes"},
    {key_length, "18446744073709551612"}, {key_past_end, "truncated"},
    {same_key, "'a' occurs twice"}, {type_13, "unknown type"}, {type_huge, "unknown type"},
    {bool_2, "neither 0 nor 1"}, {bools, "neither 0 nor 1"}, {string_length, "2147483648"},
    {string_past_end, "truncated"}, {nested, "array of arrays"}, {item_type, "unknown type"},
    {array_overflow, "2^30"}, {array_cap, "2^30"}, {array_past_end, "truncated"},
    {strings_past_end, "truncated"}, {strings_count, "truncated"}, {alignment_0, "alignment is 0"},
    {alignment_24, "alignment is 24"}, {alignment_4, "alignment is 4"},
    {alignment_text, "whole number"}, {alignment_huge, "not lie inside"}, {empty_name, "is empty"},
    {long_name, "64 bytes"}, {rank_5, "more dimensions"}, {rank_huge, "more dimensions"},
    {dimension_0, "dimension of 0"}, {dimension_minus, "negative"}, {elements_overflow, "64 bits"},
    {bytes_overflow, "overflow"}, {tensor_type, "type 4"}, {tensor_type_huge, "type 4294967295"},
    {half_block, "whole blocks"}, {big_block, "whole blocks"}, {same_name, "'t' occurs twice"},
    {overlap, "overlaps"}, {half_overlap, "overlaps"}, {hole, "hole"}, {offset_huge, "overlaps"},
    {data_short, "not lie inside"}, {data_missing, "not lie inside"}};

static void test_bad(void **state)
{
    (void)state;
    const size_t count = sizeof bad / sizeof *bad;
    for (size_t i = 0; i < count; i++) {
        gguf_bytes b = {0};
        dart_gguf *file;
        bad[i].make(&b);
        dart_status status = dart_gguf_parse(b.data, b.size, "bad.gguf", &file);
        if (status != DART_INPUT || file) fail_msg("case %zu is not refused: %d", i, (int)status);
        if (!strstr(dart_error_text(), bad[i].word) || !strstr(dart_error_text(), "bad.gguf"))
            fail_msg("case %zu: %s", i, dart_error_text());
        free(b.data);
    }
    printf("%zu files refused\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
