/* Prompts: encoded with a vocabulary of words, characters or bytes (first byte), and decoded. */
#include "fuzz.h"
#include "parallel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const word[] = {"<eos>", "<unk>", "the", "a", "core", "rank", ".", "é"};
    static const char *const letter[] = {" ", "e", "t", "a", "\n", "é"};
    static const char *const pair[] = {"<pad>", "<bos>", "<eos>", "<unk>", "the", "rank", "."};
    static dart_vocab vocab[4];
    if (!vocab[0].size)
        fuzz_need(dart_vocab_from(DART_LEVEL_WORD, true, 8, word, &vocab[0]) == DART_OK &&
                      dart_vocab_from(DART_LEVEL_CHAR, false, 6, letter, &vocab[1]) == DART_OK &&
                      dart_vocab_from(DART_LEVEL_BYTE, false, 256, NULL, &vocab[2]) == DART_OK &&
                      dart_vocab_from(DART_LEVEL_WORD, true, 7, pair, &vocab[3]) == DART_OK,
            "no vocabulary");
    if (!size) return 0;
    const dart_vocab *with = &vocab[data[0] % 4];
    char *text = fuzz_text(data + 1, size - 1), *plain;
    int32_t *ids = NULL;
    uint64_t count = 0;
    bool read = with == &vocab[3]
                    ? fuzz_read(dart_sentence_read(with, true, text, "input", 1, &ids, &count))
                    : fuzz_read(dart_vocab_encode(with, text, strlen(text), "input", &ids, &count));
    for (uint64_t i = 0; read && i < count; i++) {
        char out[256];
        size_t used;
        fuzz_need(ids[i] >= 0 && (uint32_t)ids[i] < with->size, "an id outside the vocabulary");
        dart_vocab_decode(with, i ? ids[i - 1] : -1, ids[i], out, &used);
        if (with == &vocab[2]) fuzz_need(used == 1 && out[0] == text[i], "a byte is another one");
    }
    free(ids);
    if (dart_detokenize(text, data[0] & 4, &plain) == DART_OK) free(plain);
    free(text);
    return 0;
}
