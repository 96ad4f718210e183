/* Patterns of tokenizers and cutting a text at them. */
#ifndef DART_SPLIT_H
#define DART_SPLIT_H

#include "mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What becomes of a match: dropped, a piece, the end of the piece before, the beginning of the
 * piece behind, one piece with matches beside it. */
typedef enum dart_split_kind {
    DART_SPLIT_REMOVED,
    DART_SPLIT_ISOLATED,
    DART_SPLIT_PREVIOUS,
    DART_SPLIT_NEXT,
    DART_SPLIT_CONTIGUOUS
} dart_split_kind;

typedef struct dart_split {
    pcre2_code *code; /* owned */
    dart_split_kind kind;
    bool invert; /* what is between matches takes their part */
} dart_split;

/* What one thread needs for matching. */
typedef struct dart_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
} dart_matcher;
DART_NODISCARD dart_status dart_matcher_new(dart_matcher *out);
void dart_matcher_free(dart_matcher *matcher);

/* A pattern in the syntax of Oniguruma as tokenizer.json has them, or a text that is found as it
 * is. `what` names the file. INPUT: not a pattern, or one with a part that means something else
 * here. */
DART_NODISCARD dart_status dart_regex_new(
    const char *pattern, bool literal, const char *what, pcre2_code **out);
/* The first match at or behind `from` that is not empty; *begin == bytes: there is none. The text
 * is UTF-8. INPUT: the pattern takes more steps than are allowed. */
DART_NODISCARD dart_status dart_regex_next(const pcre2_code *code, const dart_matcher *matcher,
    const char *text, size_t bytes, size_t from, size_t *begin, size_t *end);

typedef dart_status dart_piece_fn(void *user, const char *text, size_t bytes);
/* Calls `take` for each piece, in order; none is empty. */
DART_NODISCARD dart_status dart_split_each(const dart_split *split, const dart_matcher *matcher,
    const char *text, size_t bytes, dart_piece_fn *take, void *user);

#endif
