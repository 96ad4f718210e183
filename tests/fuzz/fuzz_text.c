/* Texts as words, characters or bytes (first byte): the vocabulary is counted, then every id is one
 * of it; bytes come back as they were. */
#include "fuzz.h"
#include "vocab.h"

static dart_status check_ids(void *user, const int32_t *ids, size_t count)
{
    const dart_vocab *vocab = user;
    for (size_t i = 0; i < count; i++)
        fuzz_need(ids[i] >= 0 && (uint32_t)ids[i] < vocab->size, "an id outside the vocabulary");
    return DART_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const dart_level level = (dart_level)(DART_LEVEL_WORD + data[0] % 3);
    dart_vocab vocab = {0};
    dart_text text = {.data = (const char *)data + 1,
        .size = size - 1,
        .what = "input",
        .underscore = data[0] & 16};
    if (fuzz_read(dart_vocab_count(level, data[0] & 4, data[0] & 8 ? 7 : 0, 1, &text, &vocab))) {
        const dart_sink sink = {check_ids, &vocab};
        (void)fuzz_read(dart_vocab_stream(&vocab, &text, &sink));
    }
    dart_vocab_free(&vocab);
    /* The same from a file, block by block. */
    text.what = fuzz_file("text.txt", data + 1, size - 1);
    text.data = NULL;
    if (fuzz_read(dart_vocab_count(level, data[0] & 4, 0, 1, &text, &vocab))) {
        const dart_sink sink = {check_ids, &vocab};
        fuzz_need(
            dart_vocab_stream(&vocab, &text, &sink) == DART_OK, "what was counted is not read");
    }
    dart_vocab_free(&vocab);
    return 0;
}
