/* How readers of all formats put a tokenizer together: begin, vocabulary, merges, added tokens,
 * rules, finish. Private to this room. */
#ifndef DART_BUILD_H
#define DART_BUILD_H

#include "json.h"
#include "tokenizer_impl.h"

/* An empty one; `what` names it in sentences. */
DART_NODISCARD dart_status dart_build_begin(const char *what, dart_tokenizer **out);
/* Room for ids below `size` with texts of so many bytes together. */
DART_NODISCARD dart_status dart_build_size(dart_tokenizer *t, uint64_t size, uint64_t bytes);
/* flags: DART_TOKEN_... INPUT: the id is out of range or taken, or the text is there twice. */
DART_NODISCARD dart_status dart_build_token(
    dart_tokenizer *t, int64_t id, const char *text, size_t bytes, unsigned flags);
DART_NODISCARD dart_status dart_build_merges(dart_tokenizer *t, uint64_t count);
/* The next merge. INPUT: a part or what they make is no token. */
DART_NODISCARD dart_status dart_build_merge(
    dart_tokenizer *t, const char *left, size_t left_bytes, const char *right, size_t right_bytes);
/* Merges of tokens by their score, as SentencePiece makes them: whatever two tokens make a third
 * one is merged, of several the one of the highest score. Tokens without DART_TOKEN_MODEL do not
 * take part. score: [table.size]. */
DART_NODISCARD dart_status dart_build_scores(dart_tokenizer *t, const float *score);
/* `list` is kept; its texts are copied. */
DART_NODISCARD dart_status dart_build_added(
    dart_tokenizer *t, const dart_added *list, uint32_t count);
/* Sections as in tokenizer.json; NULL or null: none. */
DART_NODISCARD dart_status dart_build_rules(dart_tokenizer *t, const json_t *normalizer,
    const json_t *pre_tokenizer, const json_t *post_processor, const json_t *decoder);
/* The same from the text of an object with these sections. */
DART_NODISCARD dart_status dart_build_rules_text(dart_tokenizer *t, const char *json);
/* Rules of GPT-2. */
#define DART_BYTES_RULES                                                                           \
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true," \
    "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"           \
    "\"trim_offsets\":true,\"use_regex\":true}}"
/* Blanks are U+2581, and stand before the first word too (prefix); squeeze: one for several, none
 * at the ends. bos, eos: around each text; -1: not. */
DART_NODISCARD dart_status dart_build_spm_rules(
    dart_tokenizer *t, bool prefix, bool squeeze, int32_t bos, int32_t eos);
/* A template of bos, text and eos, in place of one in the rules; -1: without. */
DART_NODISCARD dart_status dart_build_template(dart_tokenizer *t, int32_t bos, int32_t eos);
/* What can be known only at the end. */
DART_NODISCARD dart_status dart_build_finish(dart_tokenizer *t);

/* ---- one reader for each format ---- */
DART_NODISCARD dart_status dart_read_hf(const char *path, const char *folder, dart_tokenizer **out);
DART_NODISCARD dart_status dart_read_gpt2(
    const char *vocab, const char *merges, const char *folder, dart_tokenizer **out);
DART_NODISCARD dart_status dart_read_sentencepiece(
    const char *path, const char *folder, dart_tokenizer **out);
DART_NODISCARD dart_status dart_read_llama2c(const char *path, dart_tokenizer **out);
DART_NODISCARD dart_status dart_read_gguf(const char *path, dart_tokenizer **out);
/* Roles and chat template from tokenizer_config.json, special_tokens_map.json and
 * chat_template.jinja, as far as they are in the folder (NULL: none). */
DART_NODISCARD dart_status dart_read_config(dart_tokenizer *t, const char *folder);

#endif
