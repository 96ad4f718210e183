/* The model as a selection without training after it would leave it: every chain rounded to a
 * relative error. What a run that only shrinks is worth (the continuous-only ablation). */
#include "perplexity.h"
#include "run.h"

/* Both perplexities of a model that is not the run's. */
static dart_status measure(dart_run *run, const dart_model_copy *other, dart_table_row *row)
{
    dart_status status = DART_OK;
    dart_session *session;
    dart_session_options options = run->session->options;
    dart_perplexity valid, test;
    options.train = false;
    options.reg = NULL;
    options.ordered = 0;
    DART_TRY(dart_session_new(run->device, NULL, other->model, &options, &session));
    DART_GOTO(dart_session_write(session, other->param, other->frozen, NULL));
    DART_GOTO(dart_perplexity_of(session, &run->valid, "valid", &valid));
    DART_GOTO(dart_perplexity_of(session, &run->test, "test", &test));
    dart_row_scores(&valid, &test, row);
done:
    dart_session_free(session);
    return status;
}

dart_status dart_run_rounded(dart_run *run, double epsilon, dart_table_row *row)
{
    dart_status status = DART_OK;
    const dart_bundle *b = &run->bundle;
    dart_spectra s = {0};
    dart_cut cut = {0};
    dart_model_copy other = {0};
    DART_TRY(dart_run_read(run));
    DART_GOTO(dart_bundle_spectra(b, &s));
    DART_GOTO(dart_cut_round(b->model, epsilon, &s, &cut));
    DART_GOTO(dart_cut_apply(b->model, b->param, b->frozen, &s, &cut, &other));
    dart_row_counts(other.model, row);
    DART_GOTO(measure(run, &other, row));
done:
    dart_model_copy_free(&other);
    dart_spectra_free(&s);
    dart_cut_free(&cut);
    return status;
}
