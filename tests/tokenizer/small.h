/* Small tokenizers of every format, written into a folder of the test's own. */
#ifndef SMALL_H
#define SMALL_H

#include "gguf_bytes.h"
#include "shared.h"
#include <unistd.h>

static char small_folder[] = "/tmp/dart-tokenizer-XXXXXX";

static inline int small_begin(void **state)
{
    (void)state;
    return mkdtemp(small_folder) == NULL;
}

static inline int small_end(void **state)
{
    (void)state;
    return dart_remove_tree(small_folder) != DART_OK;
}

/* One of eight, which take turns. */
static inline const char *small_path(const char *name)
{
    static char path[8][200];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 200, "%s/%s", small_folder, name);
    return out;
}

static inline const char *small_file(const char *name, const void *data, size_t size)
{
    const char *path = small_path(name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
    return path;
}

static inline const char *small_text(const char *name, const char *text)
{
    return small_file(name, text, strlen(text));
}

/* A tokenizer.json of a model and other sections (", \"key\": value"). */
static inline const char *small_json(const char *model, const char *rest)
{
    char text[8192];
    assert_true(snprintf(text, sizeof text, "{\"version\":\"1.0\",\"model\":%s%s}", model, rest) <
                (int)sizeof text);
    return small_text("tokenizer.json", text);
}

/* llama2.c: unknown, bos, eos, the bytes, and some words. */
static inline gguf_bytes small_llama2c(void)
{
    static const char *const word[] = {"a", "b", " ", "ab", " a"};
    gguf_bytes b = {0};
    char text[16];
    put_word(&b, 6, 4);
    for (unsigned i = 0; i < 259 + 5; i++) {
        float score = i < 259 ? 0 : -(float)i;
        snprintf(text, sizeof text, "<0x%02X>", i - 3);
        const char *say = i == 0    ? "<unk>"
                          : i == 1  ? "\n<s>\n"
                          : i == 2  ? "\n</s>\n"
                          : i < 259 ? text
                                    : word[i - 259];
        put_bytes(&b, &score, 4);
        put_word(&b, strlen(say), 4);
        put_bytes(&b, say, strlen(say));
    }
    return b;
}

/* SentencePiece: <unk>, <s>, </s>, some words; kind: of the model, 2 is BPE. */
static inline gguf_bytes small_spm(unsigned kind)
{
    static const char *const word[] = {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581a"};
    static const uint8_t type[] = {2, 3, 3, 1, 1, 1, 1, 1};
    gguf_bytes b = {0};
    for (unsigned i = 0; i < 8; i++) {
        const size_t n = strlen(word[i]);
        const float score = -(float)i;
        put_word(&b, 0x0a | (2 + n + 5 + 2) << 8, 2);
        put_word(&b, 0x0a | n << 8, 2);
        put_bytes(&b, word[i], n);
        put_word(&b, 0x15, 1);
        put_bytes(&b, &score, 4);
        put_word(&b, 0x18 | (unsigned)type[i] << 8, 2);
    }
    put_word(&b, 0x0212 | 0x18u << 16 | (uint64_t)kind << 24, 4); /* trainer: its kind */
    put_word(&b, 0x041a, 2);                                      /* normalizer */
    put_word(&b, 0x00200118, 4); /* a mark before the first word, no other changes */
    return b;
}

static inline void put_texts(gguf_bytes *b, const char *key, const char *const *text, size_t count)
{
    put_text(b, key);
    put_word(b, DART_GGUF_ARRAY, 4);
    put_word(b, DART_GGUF_STRING, 4);
    put_word(b, count, 8);
    for (size_t i = 0; i < count; i++) put_text(b, text[i]);
}

/* A byte-level vocabulary of a few letters. */
static inline gguf_bytes small_gguf(const char *pre)
{
    static const char *const token[] = {"a", "b", "ab", "<|x|>"}, *const merge[] = {"a b"};
    gguf_bytes b = {0};
    put_head(&b, 3, 0, 6);
    put_string(&b, "tokenizer.ggml.model", "gpt2");
    put_string(&b, "tokenizer.ggml.pre", pre);
    put_texts(&b, "tokenizer.ggml.tokens", token, 4);
    put_texts(&b, "tokenizer.ggml.merges", merge, 1);
    put_text(&b, "tokenizer.ggml.token_type");
    put_word(&b, DART_GGUF_ARRAY, 4);
    put_word(&b, DART_GGUF_I32, 4);
    put_word(&b, 4, 8);
    for (int i = 0; i < 4; i++) put_word(&b, i == 3 ? 3 : 1, 4);
    put_u32(&b, "tokenizer.ggml.eos_token_id", 3);
    while (b.size % 32) put_word(&b, 0, 1);
    return b;
}

#endif
