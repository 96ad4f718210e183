/* The parts of a run that training, evaluation and comparison share. */
#include "run.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void dart_run_note(const dart_run *run, const char *format, ...)
{
    char line[1300];
    va_list args;
    if (!run->hooks.note) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    run->hooks.note(run->hooks.user, line);
}

dart_status dart_step_check(
    const dart_step_result *r, uint32_t vocab, uint64_t step, double lr, const char *advice)
{
    /* Chance is log(vocab); a loss far beyond it never comes back, even while it is still a number.
     */
    double limit = 20 * log((double)vocab + 1) + 20;
    if (isfinite(r->loss) && isfinite(r->grad_norm) && !r->bad && r->loss <= limit) return DART_OK;
    /* the sign of a NaN means nothing */
    double loss = isnan(r->loss) ? fabs(r->loss) : (double)r->loss;
    double norm = isnan(r->grad_norm) ? fabs(r->grad_norm) : (double)r->grad_norm;
    return dart_fail(DART_DIVERGED,
        "training diverged at step %" PRIu64 ": loss %g, gradient norm %g, %" PRIu64
        " gradients not finite, learning rate %g; try a smaller --learning-rate or more "
        "--warmup-steps%s",
        step, loss, norm, r->bad, lr, advice);
}

dart_status dart_run_model(dart_run *run, const uint32_t (*ranks)[DART_MAX_CORES + 1])
{
    dart_model_config config;
    dart_model *model = NULL;
    DART_TRY(dart_config_for(&run->set, run->corpus, &config));
    config.gate = run->gate.config;
    DART_TRY(dart_model_new(&config, ranks, &model));
    dart_session_free(run->session);
    run->session = NULL;
    dart_model_free(run->model);
    run->model = model;
    free(run->param);
    free(run->frozen);
    free(run->moment);
    run->param = dart_calloc(model->param_words, sizeof *run->param);
    run->frozen = dart_calloc(model->frozen_words, sizeof *run->frozen);
    run->moment = dart_calloc(2 * model->param_words, sizeof *run->moment);
    return run->param && run->frozen && run->moment ? DART_OK : DART_MEMORY;
}

static bool same_options(const dart_session_options *a, const dart_session_options *b)
{
    return a->batch == b->batch && a->time == b->time && a->accumulation == b->accumulation &&
           a->chunk_rows == b->chunk_rows && a->beta1 == b->beta1 && a->beta2 == b->beta2 &&
           a->adam_eps == b->adam_eps && a->weight_decay == b->weight_decay &&
           a->max_grad_norm == b->max_grad_norm && a->reg == b->reg &&
           a->reg_options.mu == b->reg_options.mu && a->reg_options.p == b->reg_options.p &&
           a->reg_options.price == b->reg_options.price && a->ordered == b->ordered &&
           a->straight == b->straight && a->candidates == b->candidates;
}

dart_status dart_run_bind(dart_run *run)
{
    /* A selection without steps of its own needs no programs of its own. */
    uint32_t at = run->at_stage;
    while (at + 1 < run->stages && !run->stage[at].steps) at++;
    dart_session_options options;
    DART_TRY(dart_session_options_from(&run->stage[at].set, run->corpus->vocab.size, &options));
    DART_TRY(dart_run_gate_bind(run, &options, &run->stage[at].set));
    if (run->session) {
        if (same_options(&run->session->options, &options)) return DART_OK;
        DART_TRY(dart_run_pull(run));
        dart_session_free(run->session);
        run->session = NULL;
    }
    DART_TRY(dart_session_new(run->device, NULL, run->model, &options, &run->session));
    /* The moments of a new session are zero, as those of a model that has made no step. */
    return dart_session_write(
        run->session, run->param, run->frozen, run->adam_step ? run->moment : NULL);
}

dart_status dart_run_pull(dart_run *run)
{
    return dart_session_read(run->session, run->param, run->moment);
}

dart_status dart_run_evaluate(
    dart_run *run, dart_stream *stream, const char *split, double *out_perplexity)
{
    double nll;
    uint64_t tokens;
    DART_TRY(dart_run_gate_show(run));
    DART_TRY(dart_session_eval(run->session, stream, &nll, &tokens));
    *out_perplexity = exp(nll / (double)tokens);
    uint32_t stage = run->at_stage < run->stages ? run->at_stage : run->stages - 1;
    dart_metrics_eval(&run->metrics, run->step, run->stage[stage].name, split, nll / (double)tokens,
        *out_perplexity);
    return DART_OK;
}

static void count_ranks(const dart_model *model, dart_table_row *row)
{
    double sum = 0;
    uint32_t count = 0;
    row->rank_min = UINT32_MAX;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        for (uint32_t k = 1; k <= weight->layout.bonds; k++) {
            uint32_t rank = weight->weight.ranks[k];
            if (rank < row->rank_min) row->rank_min = rank;
            if (rank > row->rank_max) row->rank_max = rank;
            sum += rank;
            count++;
        }
    }
    if (!count) row->rank_min = 0;
    row->rank_mean = count ? sum / count : 0;
}

void dart_run_row_counts(const dart_run *run, dart_table_row *row)
{
    dart_model_count(run->model, &row->params, &row->compressed_params, &row->dense_params);
    row->compression =
        row->compressed_params ? (double)row->dense_params / (double)row->compressed_params : 1;
    row->chain_params = 0;
    for (uint32_t w = 0; w < run->model->weights; w++) {
        const dart_model_weight *weight = &run->model->weight[w];
        const dart_param *core =
            &run->model->param[weight->first_param + weight->layout.chain_first];
        for (uint32_t k = 0; weight->layout.bonds && k < weight->layout.chain_cores; k++)
            row->chain_params += dart_shape_words(&core[k].shape);
    }
    count_ranks(run->model, row);
}

void dart_run_row_add(dart_run *run, const dart_table_row *row)
{
    char ranks[160] = "";
    if (run->rows < DART_TABLE_ROWS) run->table[run->rows++] = *row;
    if (row->rank_max)
        snprintf(ranks, sizeof ranks,
            ", %" PRIu64 " of them compressed (%.2fx), ranks %u/%.1f/%u, effective %.2f",
            row->compressed_params, row->compression, row->rank_min, row->rank_mean, row->rank_max,
            row->effective_rank);
    char bleu[48] = "";
    if (row->bleu_sentences) snprintf(bleu, sizeof bleu, ", test BLEU %.2f", row->test_bleu);
    dart_run_note(run,
        "%s: %" PRIu64 " parameters%s; valid perplexity %.2f, test perplexity %.2f%s", row->name,
        row->params, ranks, row->valid_ppl, row->test_ppl, bleu);
}

dart_status dart_run_row(dart_run *run, const char *name)
{
    dart_table_row row = {0};
    snprintf(row.name, sizeof row.name, "%s", name);
    dart_run_row_counts(run, &row);
    uint32_t stage = run->at_stage < run->stages ? run->at_stage : run->stages - 1;
    DART_TRY(dart_run_effective_rank(run, &run->stage[stage].set, &row.effective_rank));
    DART_TRY(dart_run_evaluate(run, &run->valid, "valid", &row.valid_ppl));
    DART_TRY(dart_run_evaluate(run, &run->test, "test", &row.test_ppl));
    DART_TRY(dart_run_row_bleu(run, &row));
    row.seconds = run->seconds;
    row.tokens_per_s = run->phase_seconds > 0 ? (double)run->phase_tokens / run->phase_seconds : 0;
    /* A row made at a selection has no speed of its own yet: the steps that follow give it. */
    if (run->rows && run->table[run->rows - 1].tokens_per_s == 0)
        run->table[run->rows - 1].tokens_per_s = row.tokens_per_s;
    dart_run_row_add(run, &row);
    return DART_OK;
}

void dart_run_free(dart_run *run)
{
    dart_metrics_close(&run->metrics);
    dart_session_free(run->session);
    dart_model_free(run->model);
    dart_stream_free(&run->train);
    dart_stream_free(&run->valid);
    dart_stream_free(&run->test);
    dart_recipe_free(run->recipe);
    free(run->param);
    free(run->frozen);
    free(run->moment);
    *run = (dart_run){0};
}
