/* Texts of tokens by id, and ids by text. */
#ifndef DART_TABLE_H
#define DART_TABLE_H

#include "mem.h"

enum { DART_TOKENS_MAX = 1 << 24 };

typedef struct dart_token_text {
    const char *at; /* ends with a zero byte; NULL: no token has this id */
    uint32_t bytes;
} dart_token_text;

typedef struct dart_token_table {
    dart_token_text *text; /* [size] */
    uint32_t size;
    uint64_t *slot; /* [mask + 1]: half of the hash, id + 1; 0: free */
    uint64_t mask;
    char *pool; /* where the next text is put */
} dart_token_table;

/* For ids below `size`, and texts of so many bytes together, a zero byte behind each not counted.
 */
DART_NODISCARD dart_status dart_token_table_new(
    dart_arena *arena, uint32_t size, uint64_t bytes, dart_token_table *out);
/* -1: added; else the id that has this text already, or this id. */
int32_t dart_token_table_add(dart_token_table *table, uint32_t id, const char *text, size_t bytes);
int32_t dart_token_find(const dart_token_table *table, const char *text, size_t bytes); /* -1 */

#endif
