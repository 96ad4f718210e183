/* Text from a model, token by token. */
#ifndef DART_GENERATE_H
#define DART_GENERATE_H

#include "data.h"
#include "ends.h"
#include "infer.h"

/* Continues `text`, at least one token, as `options` say (prompt there is not read), to the first
 * of `ends` (NULL: none); a token at a time to `write`, and behind `text`. The infer holds its
 * first infer->at tokens, fewer than all. *out: tokens and times. USAGE: an unknown way to
 * overflow, a stop string that is empty. */
DART_NODISCARD dart_status dart_generate_text(dart_infer *infer, const dart_vocab *vocab,
    const dart_generate_options *options, const dart_ends *ends, dart_ids *text, dart_write write,
    void *user, dart_generate_speed *out);

#endif
