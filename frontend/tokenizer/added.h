/* Tokens that are found in a text before it is split: special ones, and those added later. */
#ifndef DART_ADDED_H
#define DART_ADDED_H

#include "mem.h"

typedef struct dart_added {
    const char *text;
    uint32_t bytes;
    int32_t id;
    bool special, word, left, right, normal; /* single_word, lstrip, rstrip, normalized */
} dart_added;

/* A tree of bytes: a node's children are a list. */
typedef struct dart_added_node {
    uint32_t child, sibling; /* 0: none */
    uint32_t token;          /* number + 1; 0: no token ends here */
    uint8_t byte;
} dart_added_node;

typedef struct dart_added_set {
    const dart_added **token;
    uint32_t tokens;
    dart_added_node *node; /* [0] is the root; nodes of first bytes hang on `first` */
    uint32_t nodes;
    uint32_t first[256];
} dart_added_set;

/* The tokens of a list with this value of `normal`; text[i] is how list[i] is looked for (NULL: as
 * it stands). */
DART_NODISCARD dart_status dart_added_new(dart_arena *arena, const dart_added *list, uint32_t count,
    bool normal, const char *const *text, dart_added_set *out);

typedef struct dart_added_match {
    size_t begin, end;
    const dart_added *token; /* NULL: none up to the end */
} dart_added_match;
/* The first token at or behind `from`, of several at one place the longest; blanks beside it belong
 * to it as it says, but none before `from`. special: special tokens count too. */
dart_added_match dart_added_next(
    const dart_added_set *set, const char *text, size_t bytes, size_t from, bool special);

#endif
