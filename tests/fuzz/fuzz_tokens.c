/* Token files. The input is the file from its header's sizes on; hashes are made to fit, so that
 * what they do not protect from is reached: a file that somebody made on purpose. */
#include "cache.c"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[1 << 16];
    dart_tokens_key key = {"settings", "sources"};
    dart_corpus corpus = {0};
    header h;
    char why[128];
    bool found;
    if (size < 64 || size > sizeof file - PAGE) return 0;
    /* The first bytes say sizes; the rest is tokens and vocabulary. */
    memset(file, 0, sizeof file);
    memset(&h, 0, sizeof h);
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    h.order = ORDER;
    h.version = VERSION;
    h.key = key;
    h.level = data[0] & 7;
    h.punctuation = data[1] & 1;
    h.entries = (uint32_t)(data[2] | data[3] << 8 | (data[4] & 128 ? 1 << 30 : 0));
    size_t at = PAGE, from = 16;
    for (int i = 0; i < DART_SPLITS; i++) {
        size_t bytes = 4 * (size_t)(data[5 + i] % 64);
        if (bytes > size - from) bytes = (size - from) / 4 * 4;
        if (at + bytes > sizeof file - PAGE) return 0;
        memcpy(file + at, data + from, bytes);
        h.at[i] = at;
        h.count[i] = bytes / 4;
        hash_bytes(file + at, bytes, h.hash[i]);
        from += bytes;
        at = (size_t)dart_round_up(at + bytes, PAGE);
    }
    if (at + size - from > sizeof file) return 0;
    memcpy(file + at, data + from, size - from);
    h.vocab_at = at;
    h.vocab_bytes = size - from;
    hash_bytes(file + at, size - from, h.vocab_hash);
    h.size = at + size - from;
    hash_header(&h, h.own_hash);
    memcpy(file, &h, sizeof h);
    const char *path = fuzz_file("x.tokens", file, (size_t)h.size);
    if (fuzz_read(dart_tokens_open(path, &key, &corpus, &found, why)) && found) {
        dart_stream stream = {0};
        const dart_stream_options options = {.training = true, .batch = 2, .time = 4, .seed = 1};
        if (fuzz_read(dart_stream_open(&corpus, DART_TRAIN, &options, &stream)))
            (void)dart_stream_train(&stream, 0);
        dart_stream_free(&stream);
    }
    dart_corpus_free(&corpus);
    return 0;
}
