/* The next token from logits. */
#ifndef DART_SAMPLE_H
#define DART_SAMPLE_H

#include "dart.h"
#include "status.h"

typedef struct dart_candidate { /* scratch */
    uint32_t id;
    double weight; /* logit, then probability */
} dart_candidate;

/* how: NULL, the likeliest; the random number is that of `index`, so a text
 * does not depend on how it was computed. count: of the ids that have a token, the model may
 * have more. before: [index], the text's tokens so far; read where repetition is penalised. list:
 * [count]. DIVERGED: a logit is not finite. */
DART_NODISCARD dart_status dart_sample(const float *logits, uint32_t count,
    const dart_sampling *how, const int32_t *before, uint64_t index, dart_candidate *list,
    int32_t *out);

#endif
