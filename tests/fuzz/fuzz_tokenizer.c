/* Tokenizers: the first byte says which format the rest is. What is opened encodes and decodes, its
 * ids lie inside the vocabulary, the stream says what the whole says, and what is saved opens. */
#include "fuzz.h"
#include "tokenizer.h"

static const char sample[] =
    "Hello world,  a\u0301b \u4f60\u597d <s>x</s> don't 123\n\n\t \xff\xfe \U0001f600 "
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \u2581.";

static void check_stream(const dart_tokenizer *t, dart_ids ids, const char *whole, size_t bytes)
{
    dart_token_stream *stream;
    const char *text;
    size_t n, at = 0;
    bool same = true;
    fuzz_need(dart_token_stream_open(t, true, &stream) == DART_OK, "no stream");
    for (size_t i = 0; i <= ids.count; i++) {
        dart_status status = i < ids.count ? dart_token_stream_next(stream, ids.id[i], &text, &n)
                                           : dart_token_stream_end(stream, &text, &n);
        fuzz_need(status == DART_OK, "a stream fails");
        /* up to the first ill-formed byte both say the same */
        same = same && !memmem(text, n, "\xef\xbf\xbd", 3);
        if (same) fuzz_need(at + n <= bytes && !memcmp(whole + at, text, n), "streams differ");
        at += n;
    }
    dart_token_stream_close(stream);
}

static void use(const dart_tokenizer *t)
{
    dart_ids ids = {0};
    char *text;
    size_t bytes;
    const unsigned flags[] = {DART_ENCODE_TEMPLATE | DART_ENCODE_SPECIAL, DART_ENCODE_REPLACE};
    for (int k = 0; k < 2; k++) {
        ids.count = 0;
        if (!fuzz_read(dart_tokenizer_encode(t, sample, sizeof sample - 1, flags[k], &ids)))
            continue;
        for (size_t i = 0; i < ids.count; i++)
            fuzz_need(dart_tokenizer_token(t, ids.id[i], &bytes) != NULL, "an id is no token");
        fuzz_need(dart_tokenizer_decode(t, ids.id, ids.count, true, &text, &bytes) == DART_OK,
            "ids are not decoded");
        check_stream(t, ids, text, bytes);
        free(text);
    }
    free(ids.id);
    if (fuzz_read(dart_tokenizer_save(t, fuzz_path("saved")))) {
        dart_tokenizer *again;
        fuzz_need(dart_tokenizer_open(fuzz_path("saved"), &again) == DART_OK,
            "what was saved does not open");
        dart_tokenizer_close(again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"t.json", "t.model", "t.bin", "t.gguf", "f/vocab.json"};
    dart_tokenizer *t;
    if (size < 1) return 0;
    const char *path = NULL;
    for (int i = 0; i < 4; i++)
        if (data[0] == "jsbg"[i]) path = fuzz_file(names[i], data + 1, size - 1);
    if (!path) { /* vocab.json and, behind a zero byte, merges.txt */
        const uint8_t *zero = memchr(data, 0, size);
        size_t first = zero ? (size_t)(zero - data) : size;
        if (first == 0) return 0;
        fuzz_need(dart_mkdirs(fuzz_path("f")) == DART_OK, "no folder");
        fuzz_file("f/merges.txt", data + first + (zero != NULL), size - first - (zero != NULL));
        path = fuzz_file(names[4], data + 1, first - 1);
    }
    if (fuzz_read(dart_tokenizer_open(path, &t))) use(t);
    dart_tokenizer_close(t);
    return 0;
}
