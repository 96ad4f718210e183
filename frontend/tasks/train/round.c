/* The model as a selection without training after it would leave it: every chain rounded to a
 * relative error. What a run that only shrinks is worth (the continuous-only ablation). */
#include "spectra.h"
#include <math.h>
#include <stdlib.h>

static dart_status split_perplexity(dart_run *run, dart_stream *stream, double *out)
{
    double nll;
    uint64_t tokens;
    DART_TRY(dart_session_eval(run->session, stream, &nll, &tokens));
    *out = exp(nll / (double)tokens);
    return DART_OK;
}

dart_status dart_run_rounded(dart_run *run, double epsilon, dart_table_row *row)
{
    dart_status status = DART_OK;
    dart_spectra s = {0};
    const uint32_t weights = run->model->weights;
    uint32_t(*ranks)[DART_MAX_CORES + 1] = NULL;
    bool *cut = NULL;
    dart_session_options options = run->session->options;
    /* Another model beside the run's own; everything else is borrowed. */
    dart_run other = *run;
    other.model = NULL;
    other.session = NULL;
    other.param = other.frozen = other.moment = NULL;
    other.gate = (dart_run_gate){0};
    DART_TRY(dart_session_read(run->session, run->param, NULL));
    DART_GOTO(dart_spectra_compute(run, &s));
    ranks = dart_calloc(weights, sizeof *ranks);
    cut = dart_calloc(weights, sizeof *cut);
    if (!ranks || !cut) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t w = 0; w < weights; w++) {
        dart_chain *chain = &s.chain[w];
        if (!run->model->weight[w].layout.bonds) continue;
        cut[w] = true;
        DART_GOTO(dart_chain_round(chain, epsilon));
        for (uint32_t k = 0; k <= chain->cores; k++) ranks[w][k] = chain->rank[k];
    }
    DART_GOTO(dart_run_model(&other, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks));
    dart_spectra_move(
        run->model, run->param, run->frozen, &s, cut, other.model, other.param, other.frozen);
    options.train = false;
    options.reg = NULL;
    options.ordered = 0;
    DART_GOTO(dart_session_new(run->device, NULL, other.model, &options, &other.session));
    DART_GOTO(dart_session_write(other.session, other.param, other.frozen, NULL));
    dart_run_row_counts(&other, row);
    DART_GOTO(split_perplexity(&other, &run->valid, &row->valid_ppl));
    DART_GOTO(split_perplexity(&other, &run->test, &row->test_ppl));
done:
    dart_session_free(other.session);
    dart_model_free(other.model);
    free(other.param);
    free(other.frozen);
    free(other.moment);
    dart_spectra_free(&s, weights);
    free(ranks);
    free(cut);
    return status;
}
