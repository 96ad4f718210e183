/* Token files: the tokenised splits and the vocabulary of a corpus, written once and then mapped.
 * Private to this room. */
#ifndef DART_CACHE_H
#define DART_CACHE_H

#include "text.h"

typedef struct dart_tokens_key {
    char settings[33]; /* hash of level, vocabulary and where the text is: the file's name */
    char sources[33];  /* hash of the bytes of the text's files */
} dart_tokens_key;

/* Hash of the bytes of all files of a corpus, as they lie on the disk. */
DART_NODISCARD dart_status dart_tokens_sources(const dart_splits *splits, char out[33]);
/* vocab NULL: one counted with `limit`. Fills out->settings and out_path (in the cache folder). */
DART_NODISCARD dart_status dart_tokens_name(const dart_splits *splits, uint32_t limit,
    const dart_vocab *vocab, dart_tokens_key *out, char out_path[PATH_MAX]);
/* Maps a token file: vocabulary, tokens, counts and hashes of `out`. *out_found is false when there
 * is none that fits; then `why` says what is wrong with the one that is there ("" if none is). All
 * of it is read once and checked, block by block. */
DART_NODISCARD dart_status dart_tokens_open(
    const char *path, const dart_tokens_key *key, dart_corpus *out, bool *out_found, char why[128]);
/* Encodes all splits into a token file, aside and then renamed. IO: no room. */
DART_NODISCARD dart_status dart_tokens_write(const char *path, const dart_tokens_key *key,
    const dart_splits *splits, const dart_vocab *vocab);

#endif
