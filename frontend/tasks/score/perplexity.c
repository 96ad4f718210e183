/* The one place where a sum of losses becomes a perplexity. */
#include "perplexity.h"
#include <math.h>

dart_status dart_perplexity_of(
    dart_session *session, dart_stream *stream, const char *split, dart_perplexity *out)
{
    double sum;
    *out = (dart_perplexity){0};
    DART_TRY(dart_session_eval(session, stream, &sum, &out->tokens));
    if (session->confusion)
        dart_classes_score(session->confusion, session->model->config.labels, &out->classes);
    out->top1 = (double)session->top1 / (double)out->tokens;
    out->top5 = (double)session->top5 / (double)out->tokens;
    out->nll = sum / (double)out->tokens;
    out->value = exp(out->nll);
    if (isfinite(out->value)) return DART_OK;
    return dart_fail(DART_DIVERGED,
        "the perplexity on the %s split is not a finite number (mean loss %g): training diverged "
        "(try a smaller --learning-rate or more --warmup-steps), or the model's files are damaged",
        split, isnan(out->nll) ? fabs(out->nll) : out->nll);
}
