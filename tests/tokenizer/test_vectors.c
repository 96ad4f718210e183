/* llama.cpp's test vectors of its vocabularies, llama2.c's own way of merging, and stories260K's
 * published ids. */
#include "shared.h"

static unsigned vectors(const char *name)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char path[200], *text, *wanted;
    size_t size, wanted_size, bytes;
    unsigned count = 0;
    snprintf(path, sizeof path, "models/gguf-vocab/ggml-vocab-%s.gguf", name);
    const char *found = shared_path(path);
    if (!found) return 0;
    dart_tokenizer *t = opened(found);
    snprintf(path, sizeof path, "models/gguf-vocab/ggml-vocab-%s.gguf.inp", name);
    assert_int_equal(dart_file_read(shared_path(path), &text, &size), DART_OK);
    snprintf(path, sizeof path, "models/gguf-vocab/ggml-vocab-%s.gguf.out", name);
    assert_int_equal(dart_file_read(shared_path(path), &wanted, &wanted_size), DART_OK);
    char *row = wanted;
    for (char *at = text, *end; at; at = end ? end + sizeof mark - 1 : NULL, count++) {
        end = strstr(at, mark);
        size_t n = end ? (size_t)(end - at) : strlen(at);
        dart_ids ids = encoded(t, at, n, 0);
        char *line = row + strcspn(row, "\n"), *back = decoded(t, ids, false, &bytes);
        for (size_t i = 0; i < ids.count; i++) {
            if (row >= line || strtol(row, &row, 10) != ids.id[i])
                fail_msg("%s, vector %u: id %zu is %d", name, count, i, (int)ids.id[i]);
        }
        while (row < line && *row == ' ') row++;
        if (row != line) fail_msg("%s, vector %u: more ids are expected", name, count);
        row = line + (*line == '\n');
        if (bytes != n || memcmp(at, back, n)) fail_msg("%s, vector %u: '%s'", name, count, back);
        free(back);
        free(ids.id);
    }
    free(text);
    free(wanted);
    dart_tokenizer_close(t);
    return count;
}

static void test_llama_cpp(void **state)
{
    (void)state;
    unsigned gpt2 = vectors("gpt-2"), llama = vectors("llama-spm");
    printf("vectors: %u of gpt-2, %u of llama-spm\n", gpt2, llama);
    if (!gpt2) skip();
    assert_int_equal(gpt2, 47);
    assert_int_equal(llama, 47);
}

/* tokenizer.bin as llama2.c reads it. */
typedef struct plain {
    char *file, *text[32000];
    float score[32000];
    int size[32000], count;
} plain;

static int plain_find(const plain *p, const char *text, int bytes)
{
    for (int i = 0; i < p->count; i++)
        if (p->size[i] == bytes && !memcmp(p->text[i], text, (size_t)bytes)) return i;
    return -1;
}

static void plain_open(const char *path, plain *p)
{
    size_t size;
    assert_int_equal(dart_file_read(path, &p->file, &size), DART_OK);
    p->count = 0;
    for (char *at = p->file + 4; at < p->file + size;) {
        memcpy(&p->score[p->count], at, 4);
        memcpy(&p->size[p->count], at + 4, 4);
        p->text[p->count] = at + 8;
        at += 8 + p->size[p->count++];
    }
}

/* run.c of llama2.c, encode(): characters or their bytes, then always the best pair. */
static int plain_encode(const plain *p, const char *text, int *id)
{
    int n = 0;
    char both[64];
    if (*text) id[n++] = plain_find(p, " ", 1);
    for (const char *at = text; *at;) {
        int bytes = 1;
        while ((at[bytes] & 0xc0) == 0x80 && bytes < 4) bytes++;
        int whole = plain_find(p, at, bytes);
        if (whole >= 0) id[n++] = whole;
        for (int i = 0; whole < 0 && i < bytes; i++) id[n++] = (uint8_t)at[i] + 3;
        at += bytes;
    }
    for (;;) {
        float best = -1e10f;
        int made = -1, where = -1;
        for (int i = 0; i + 1 < n; i++) {
            int a = p->size[id[i]], b = p->size[id[i + 1]];
            memcpy(both, p->text[id[i]], (size_t)a);
            memcpy(both + a, p->text[id[i + 1]], (size_t)b);
            int found = plain_find(p, both, a + b);
            if (found < 0 || p->score[found] <= best) continue;
            best = p->score[found];
            made = found;
            where = i;
        }
        if (where < 0) return n;
        id[where] = made;
        memmove(id + where + 1, id + where + 2, (size_t)(n - where - 2) * sizeof *id);
        n--;
    }
}

static void test_llama2c(void **state)
{
    (void)state;
    static const char *const text[] = {"", " ", "a",
        "Once upon a time, there was a little girl named "
        "Lily.",
        "  two  blanks  ", "line\nends\n\n", "caf\u00e9 \u00df \u20ac \u4f60\u597d \U0001f600",
        "\u2581mark", "don't stop\tnow", "aaaaaaaaaaaaaaaaaaaaaaa", "1234567890",
        "She loved to play outside in the park. One day, she saw a big, red ball!"};
    static plain p;
    int id[512];
    const char *path = shared_path("models/stories260K/tok512.bin");
    if (!path) skip();
    plain_open(path, &p);
    dart_tokenizer *t = opened(path);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        size_t bytes;
        int n = plain_encode(&p, text[i], id);
        dart_ids ids = encoded(t, text[i], strlen(text[i]), 0);
        assert_int_equal(ids.count, n);
        for (int k = 0; k < n; k++) assert_int_equal(ids.id[k], id[k]);
        char *back = decoded(t, ids, true, &bytes);
        assert_string_equal(back, text[i]);
        free(back);
        free(ids.id);
    }
    /* README of stories260K */
    static const int32_t published[] = {
        1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426};
    dart_ids ids = encoded(t, text[3], strlen(text[3]), DART_ENCODE_TEMPLATE);
    assert_true(ids.count >= 16);
    assert_memory_equal(ids.id, published, sizeof published);
    free(ids.id);
    dart_tokenizer_close(t);
    free(p.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_cpp), cmocka_unit_test(test_llama2c)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
