/* Each kind of normalizer, pre-tokenizer, decoder and template, and added tokens, as the Python
 * package `tokenizers` has them (data/rules.jsonl, made by tests/interop/tokens.py). */
#include "json.h"
#include "small.h"

static json_t *parse(const char *line)
{
    char why[DART_JSON_WHY];
    json_t *out;
    if (dart_json_parse(line, strlen(line), "rules.jsonl", why, &out) != DART_OK)
        fail_msg("%s", dart_error_text());
    return out;
}

/* Whether ids are those of a list; the first other one is told. */
static void same_ids(const char *name, const char *text, dart_ids got, const json_t *wanted)
{
    size_t n = json_array_size(wanted);
    for (size_t i = 0; i < n && i < got.count; i++)
        if (got.id[i] != json_integer_value(json_array_get(wanted, i)))
            fail_msg("%s: '%s': id %zu is %d, expected %d", name, text, i, (int)got.id[i],
                (int)json_integer_value(json_array_get(wanted, i)));
    if (n != got.count) fail_msg("%s: '%s': %zu ids, expected %zu", name, text, got.count, n);
}

/* tokenizer.json of what all cases have and what this one has. */
static dart_tokenizer *tokenizer_of(const json_t *common, const json_t *one)
{
    json_t *whole = json_deep_copy(common);
    char *text;
    json_object_update(whole, (json_t *)(uintptr_t)one);
    json_object_set(json_object_get(whole, "model"), "fuse_unk", json_object_get(one, "fuse_unk"));
    assert_int_equal(dart_json_write(whole, DART_OK, 0, "a case", &text), DART_OK);
    dart_tokenizer *t = opened(small_text("tokenizer.json", text));
    free(text);
    return t;
}

static unsigned compared;

static void check(const dart_tokenizer *t, const char *name, const json_t *texts, const json_t *one)
{
    for (size_t i = 0; i < json_array_size(texts); i++, compared++) {
        const char *text = json_string_value(json_array_get(texts, i));
        const char *wanted = json_string_value(json_array_get(json_object_get(one, "decoded"), i));
        size_t bytes;
        dart_ids ids = encoded(t, text, strlen(text), DART_ENCODE_TEMPLATE | DART_ENCODE_SPECIAL);
        same_ids(name, text, ids, json_array_get(json_object_get(one, "ids"), i));
        char *back = decoded(t, ids, false, &bytes);
        /* the package shows ill-formed bytes as U+FFFD */
        if (wanted && strcmp(back, wanted) && !strstr(wanted, "\ufffd"))
            fail_msg("%s: '%s' comes back as '%s', expected '%s'", name, text, back, wanted);
        free(back);
        free(ids.id);
    }
    dart_ids a = encoded(t, "ab", 2, 0), b = encoded(t, "a", 1, 0), both = {0}, types = {0};
    if (dart_tokenizer_join(t, &a, &b, &both, &types) == DART_OK) {
        same_ids(name, "a pair", both, json_object_get(one, "pair"));
        same_ids(name, "types of a pair", types, json_object_get(one, "types"));
    }
    free(a.id);
    free(b.id);
    free(both.id);
    free(types.id);
}

static void test_cases(void **state)
{
    (void)state;
    char *text;
    size_t size;
    json_t *common = NULL;
    unsigned cases = 0;
    assert_int_equal(
        dart_file_read(DART_SOURCE_DIR "/tests/tokenizer/data/rules.jsonl", &text, &size), DART_OK);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *one = parse(line);
        if (!common) {
            common = one;
            continue;
        }
        const char *name = json_string_value(json_object_get(one, "name"));
        const json_t *texts = json_object_get(common, "texts");
        dart_tokenizer *t = tokenizer_of(common, one), *again;
        check(t, name, texts, one);
        /* and once more from the file that we write */
        assert_int_equal(dart_tokenizer_save(t, small_path("saved")), DART_OK);
        again = opened(small_path("saved"));
        check(again, name, texts, one);
        dart_tokenizer_close(again);
        dart_tokenizer_close(t);
        json_decref(one);
        cases++;
    }
    json_decref(common);
    free(text);
    printf("rules: %u cases, %u texts compared\n", cases, compared);
    assert_true(cases >= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, small_begin, small_end);
}
