/* vocab.json: what is read has a text for every id, and decodes. */
#include "fuzz.h"
#include "model_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_vocab vocab = {0};
    char *copy = fuzz_text(data, size);
    dart_checkpoint checkpoint = {
        .files = 1, .file = {{.name = "vocab.json", .data = copy, .size = strlen(copy)}}};
    if (fuzz_read(dart_vocab_load(&checkpoint, "vocab.json", &vocab))) {
        char out[256], *text;
        size_t used;
        for (uint32_t i = 0; i < vocab.size; i++) {
            dart_vocab_decode(&vocab, i ? (int32_t)i - 1 : -1, (int32_t)i, out, &used);
            fuzz_need(used <= sizeof out, "a token is longer than its place");
        }
        fuzz_need(dart_vocab_text(&vocab, &text) == DART_OK, "a vocabulary has no text");
        free(text);
    }
    dart_vocab_free(&vocab);
    free(copy);
    return 0;
}
