/* Perplexity of a split. */
#ifndef DART_PERPLEXITY_H
#define DART_PERPLEXITY_H

#include "classes_score.h"
#include "session.h"

typedef struct dart_perplexity {
    double nll, value; /* mean negative log likelihood of a token; exp of it */
    uint64_t tokens;
    double top1, top5; /* of a language model: parts of the tokens, as in dart_eval_result */
    dart_class_scores classes; /* of a classifier, whose tokens are texts */
} dart_perplexity;
/* Of the session's model on a stream of evaluation. DIVERGED: it is not finite; `split` names the
 * text in the sentence. */
DART_NODISCARD dart_status dart_perplexity_of(
    dart_session *session, dart_stream *stream, const char *split, dart_perplexity *out);

#endif
