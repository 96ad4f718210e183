/* Tokenizers of pretrained models: text to ids and back as the program that they come from does it.
 */
#ifndef DART_PUBLIC_TOKENIZER_H
#define DART_PUBLIC_TOKENIZER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Does not change once it is there: any number of threads may call it at a time. */
typedef struct dart_tokenizer dart_tokenizer;

/* Opens what lies at `path`: a folder with tokenizer.json, vocab.json and merges.txt, or
 * tokenizer.model; one of these files; a .gguf file; tokenizer.bin of llama2.c. Errors: INPUT (none
 * there, damaged, or with a part that this library does not have, which the sentence names), IO,
 * MEMORY. */
DART_API DART_NODISCARD dart_status dart_tokenizer_load(const char *path, dart_tokenizer **out);
DART_API void dart_tokenizer_free(dart_tokenizer *tokenizer); /* NULL: nothing */
/* Writes tokenizer.json and tokenizer_config.json, which Python's tokenizers and transformers read,
 * into a folder, which is made where it is missing. Errors: INPUT (tokens that are not UTF-8), IO.
 */
DART_API DART_NODISCARD dart_status dart_tokenizer_write(
    const dart_tokenizer *tokenizer, const char *folder);
/* Ids are 0 .. this - 1; not each of them needs to be a token. */
DART_API uint32_t dart_tokenizer_vocab_size(const dart_tokenizer *tokenizer);
/* How a token stands in the tokenizer's file, *out_size bytes and a zero byte; NULL: no token has
 * this id. */
DART_API const char *dart_tokenizer_text(
    const dart_tokenizer *tokenizer, int32_t id, size_t *out_size);

enum {
    DART_ENCODE_TEMPLATE = 1, /* with what the tokenizer puts around a text: [CLS] ... [SEP] */
    DART_ENCODE_SPECIAL = 2,  /* special tokens that are written in the text become their ids */
    DART_ENCODE_BOS = 4,      /* with its bos token first, its eos token last */
    DART_ENCODE_EOS = 8,
    DART_ENCODE_REPLACE =
        16 /* ill-formed UTF-8 becomes U+FFFD, as Python's errors="replace" does */
};
/* Ids of `size` bytes of text; flags: the sum of any of the above. *out_count is their number, of
 * which the first `room` are in `out`; size + 64 are nearly always enough. Bytes that are not UTF-8
 * are kept by tokenizers that know bytes and unknown elsewhere. Errors: INPUT (2 GiB or more, a bos
 * or eos token that it does not have, a pattern that takes too long), MEMORY. */
DART_API DART_NODISCARD dart_status dart_tokenizer_tokenize(const dart_tokenizer *tokenizer,
    const char *text, size_t size, unsigned flags, int32_t *out, size_t room, size_t *out_count);
/* Text of `count` ids, UTF-8 where they are of such a text; skip_special: without special tokens.
 * *out_size is its length without a zero byte, of which the first `room` bytes are in `out`.
 * Errors: INPUT (an id that is no token), MEMORY. */
DART_API DART_NODISCARD dart_status dart_tokenizer_detokenize(const dart_tokenizer *tokenizer,
    const int32_t *ids, size_t count, bool skip_special, char *out, size_t room, size_t *out_size);

typedef struct dart_tokenizer_options {
    size_t size;
    uint32_t vocab_size; /* tokens in all, with the 256 bytes and the special one; 0: 8,192 */
    uint32_t reserved;
    uint64_t min_frequency; /* a pair that is rarer is not merged; 0: 2 */
    const char *special;    /* bos and eos; NULL: <|endoftext|> */
} dart_tokenizer_options;
/* A byte-level BPE tokenizer with GPT-2's pattern of text files (.gz: unpacked), as Python's
 * BpeTrainer makes it; the same for the same files. options: NULL for the defaults. Errors: USAGE,
 * INPUT (no such file, no text, fewer than 257 tokens), MEMORY, what dart_set_abort asks for. */
DART_API DART_NODISCARD dart_status dart_tokenizer_make(const dart_tokenizer_options *options,
    const char *const *paths, size_t count, dart_tokenizer **out);

#ifdef __cplusplus
}
#endif
#endif
