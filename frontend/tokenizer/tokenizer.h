/* Tokenizers that others made: opened from their files, ids and text both ways, written again. A
 * tokenizer does not change once it is open: any number of threads may use one at a time. */
#ifndef DART_TOKENIZER_H
#define DART_TOKENIZER_H

#include "dart/tokenizer.h"
#include "mem.h"

/* Opens by what is found there: a folder with tokenizer.json, or vocab.json and merges.txt, or
 * tokenizer.model; one of these files; a .gguf file; tokenizer.bin of llama2.c. Beside
 * tokenizer.json, vocab.json and tokenizer.model, tokenizer_config.json, special_tokens_map.json
 * and chat_template.jinja are read where there are such files. INPUT: no tokenizer there, damaged,
 * or with a part that this program does not have, which the sentence names. */
DART_NODISCARD dart_status dart_tokenizer_open(const char *path, dart_tokenizer **out);
struct dart_gguf;
/* The vocabulary of a file that is open already; it may be closed afterwards. */
DART_NODISCARD dart_status dart_tokenizer_from_gguf(
    const struct dart_gguf *file, dart_tokenizer **out);
/* Whether dart_tokenizer_open would find files of a tokenizer there; they are not read. */
bool dart_tokenizer_found(const char *path);
void dart_tokenizer_close(dart_tokenizer *tokenizer); /* NULL: nothing */

/* Ids that were asked for; all zero: none yet. The owner frees `id`. */
typedef struct dart_ids {
    int32_t *id;
    size_t count, capacity;
} dart_ids;

/* Appends the ids of a text; flags: DART_ENCODE_... of dart/tokenizer.h. Bytes that are not UTF-8
 * are kept by tokenizers that know bytes (byte-level, byte fallback) and are unknown tokens
 * elsewhere. INPUT: above 2^31 bytes; a pattern that gives up; MEMORY. */
DART_NODISCARD dart_status dart_tokenizer_encode(
    const dart_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags, dart_ids *out);
/* Appends what the template makes of one sequence of ids (b NULL), or of a pair; types, which may
 * be NULL, gets the segment number of each. Nothing is added where the tokenizer has no template.
 * INPUT: a pair, and it has no template for pairs. */
DART_NODISCARD dart_status dart_tokenizer_join(const dart_tokenizer *tokenizer, const dart_ids *a,
    const dart_ids *b, dart_ids *out, dart_ids *types);

/* The bytes of ids, which end with a zero byte that is not counted; caller frees. They are UTF-8
 * where the ids are of such a text. skip_special: special tokens are left out. INPUT: an id that is
 * none. */
DART_NODISCARD dart_status dart_tokenizer_decode(const dart_tokenizer *tokenizer,
    const int32_t *ids, size_t count, bool skip_special, char **out, size_t *out_bytes);

/* Text token by token: bytes of a character that is not whole yet are held back. */
typedef struct dart_token_stream dart_token_stream;
DART_NODISCARD dart_status dart_token_stream_open(
    const dart_tokenizer *tokenizer, bool skip_special, dart_token_stream **out);
/* What became whole with this id, perhaps nothing: UTF-8, with U+FFFD for what is ill-formed. Valid
 * until the next call. INPUT: an id that is none. */
DART_NODISCARD dart_status dart_token_stream_next(
    dart_token_stream *stream, int32_t id, const char **out, size_t *out_bytes);
/* What was still held back, as U+FFFD. */
DART_NODISCARD dart_status dart_token_stream_end(
    dart_token_stream *stream, const char **out, size_t *out_bytes);
void dart_token_stream_close(dart_token_stream *stream); /* NULL: nothing */

/* Ids are 0..size-1; not every number needs to have a token. */
uint32_t dart_tokenizer_size(const dart_tokenizer *tokenizer);
/* How a token stands in the tokenizer's file ("\u0120the"); NULL: no token has this id. */
const char *dart_tokenizer_token(const dart_tokenizer *tokenizer, int32_t id, size_t *out_bytes);
int32_t dart_tokenizer_id(
    const dart_tokenizer *tokenizer, const char *token, size_t bytes); /* -1 */
bool dart_tokenizer_special(const dart_tokenizer *tokenizer, int32_t id);

/* -1: it has none. */
typedef struct dart_token_roles {
    int32_t bos, eos, pad, unk;
} dart_token_roles;
dart_token_roles dart_tokenizer_roles(const dart_tokenizer *tokenizer);
/* The Jinja text of its chat template; NULL: none. */
const char *dart_tokenizer_chat_template(const dart_tokenizer *tokenizer);
/* "BPE", "WordPiece" */
const char *dart_tokenizer_model(const dart_tokenizer *tokenizer);

/* What dart_tokenizer_save writes: tokenizer.json and tokenizer_config.json. Caller frees both. */
DART_NODISCARD dart_status dart_tokenizer_texts(
    const dart_tokenizer *tokenizer, char **out_json, char **out_config);
/* Writes tokenizer.json and tokenizer_config.json, which the Python packages read too, into a
 * folder that is made where it is missing. */
DART_NODISCARD dart_status dart_tokenizer_save(const dart_tokenizer *tokenizer, const char *folder);

struct dart_gguf_meta;
/* The same as metadata of a GGUF file for a model of `size` tokens; tokens that the tokenizer has
 * not are unused ones. INPUT: it has more, or a rule that llama.cpp does not know. */
DART_NODISCARD dart_status dart_tokenizer_gguf(
    const dart_tokenizer *tokenizer, uint32_t size, struct dart_gguf_meta *meta);

typedef struct dart_tokenizer_training {
    uint32_t vocab;      /* tokens in all, special ones and the 256 bytes among them */
    uint64_t least;      /* a pair that is rarer is not merged; 0: 2 */
    const char *special; /* a special token, which is bos and eos too; NULL: <|endoftext|> */
} dart_tokenizer_training;
/* A byte-level BPE tokenizer of texts (GPT-2's pattern): pairs by how often they occur, among
 * equals the one of smaller ids. INPUT: a vocabulary below 257, no text. */
DART_NODISCARD dart_status dart_tokenizer_train(const dart_tokenizer_training *options,
    const char *const *text, const size_t *bytes, size_t texts, dart_tokenizer **out);

#endif
