/* Text from a model, token by token. */
#ifndef DART_GENERATE_H
#define DART_GENERATE_H

#include "data.h"
#include "infer.h"

/* Continues prompt[0 .. given), at least one token, as `options` say (prompt there is not read); a
 * token at a time to `write`. *out: tokens and times. USAGE: an unknown way to overflow. */
DART_NODISCARD dart_status dart_generate_text(dart_infer *infer, const dart_vocab *vocab,
    const dart_generate_options *options, const int32_t *prompt, uint64_t given, dart_write write,
    void *user, dart_generate_speed *out);

#endif
