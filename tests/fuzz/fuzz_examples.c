/* Examples to fine-tune on. The input is a chat template, a zero byte, and lines of JSON. */
#include "examples.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t template = zero ? (size_t)(zero - data) : 0;
    const char *turns = fuzz_file("turns.json", data, template);
    dart_chat chat;
    const bool chats = fuzz_read(dart_chat_open(zero ? turns : "chatml", NULL, &chat));
    dart_examples_options options = {.valid = "",
        .chat = chats ? &chat : NULL,
        .why_no_chat = "the template is not one",
        .time = 16,
        .learn_prompts = size & 1};
    options.path =
        fuzz_file("lines.jsonl", zero ? zero + 1 : data, size - template - (zero != NULL));
    dart_corpus corpus = {0};
    fuzz_need(dart_vocab_from(DART_LEVEL_BYTE, false, 256, NULL, &corpus.vocab) == DART_OK,
        "a vocabulary of bytes cannot be made");
    if (fuzz_read(dart_examples_read(&options, &corpus))) {
        for (int split = 0; split < DART_SPLITS; split++) {
            const dart_documents *d = &corpus.documents[split];
            fuzz_need(d->labels <= 2 * size * 16, "more labels than the file has bytes for");
        }
    }
    dart_corpus_free(&corpus);
    if (chats) dart_chat_free(&chat);
    return 0;
}
