/* Rows of a run's table: what a model has, and how good it is. */
#include "clock.h"
#include "run.h"
#include "translate.h"
#include <inttypes.h>

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

void dart_row_counts(const dart_model *model, dart_table_row *row)
{
    dart_model_count(model, &row->params, &row->compressed_params, &row->dense_params);
    row->compression =
        row->compressed_params ? (double)row->dense_params / (double)row->compressed_params : 1;
    row->chain_params = row->trained_params = 0;
    for (uint32_t p = 0; model->config.of_base && p < model->params; p++)
        if (model->param[p].region == DART_REGION_PARAM && !model->param[p].gate)
            row->trained_params += dart_shape_words(&model->param[p].shape);
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        const dart_param *core = &model->param[weight->first_param + weight->layout.chain_first];
        for (uint32_t k = 0; weight->layout.bonds && k < weight->layout.chain_cores; k++)
            row->chain_params += dart_shape_words(&core[k].shape);
    }
    count_ranks(model, row);
}

void dart_row_scores(const dart_perplexity *valid, const dart_perplexity *test, dart_table_row *row)
{
    row->valid_ppl = valid->value;
    row->test_ppl = test->value;
    row->valid_top1 = valid->top1;
    row->test_top1 = test->top1;
    row->valid_top5 = valid->top5;
    row->test_top5 = test->top5;
    row->texts = (uint32_t)test->classes.texts;
    row->valid_accuracy = valid->classes.accuracy;
    row->test_accuracy = test->classes.accuracy;
    row->valid_f1 = valid->classes.f1;
    row->test_f1 = test->classes.f1;
    row->valid_matthews = valid->classes.matthews;
    row->test_matthews = test->classes.matthews;
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
    char more[96] = "";
    if (row->bleu_sentences) snprintf(more, sizeof more, ", test BLEU %.2f", row->test_bleu);
    if (row->texts)
        snprintf(more, sizeof more, ", test accuracy %.4f, F1 %.4f, Matthews %.4f",
            row->test_accuracy, row->test_f1, row->test_matthews);
    dart_run_note(run,
        "%s: %" PRIu64 " parameters%s; valid perplexity %.2f, test perplexity %.2f%s", row->name,
        row->params, ranks, row->valid_ppl, row->test_ppl, more);
}

/* BLEU of the model at hand on the test split; nothing for a text, or when the recipe wants none.
 */
static dart_status row_bleu(dart_run *run, dart_table_row *row)
{
    dart_bleu bleu;
    if (!run->corpus->parallel || !run->bundle.set.beam) return DART_OK;
    DART_TRY(dart_run_read(run));
    DART_TRY(
        dart_bleu_split(run->device, &run->bundle, run->corpus->parallel, DART_TEST, NULL, &bleu));
    row->test_bleu = bleu.score;
    row->bleu_sentences = (uint32_t)bleu.sentences;
    return DART_OK;
}

dart_status dart_run_row(dart_run *run, const char *name)
{
    dart_table_row row = {0};
    dart_perplexity valid, test;
    snprintf(row.name, sizeof row.name, "%s", name);
    dart_row_counts(run->bundle.model, &row);
    DART_TRY(dart_run_effective_rank(run, &dart_run_stage(run)->set, &row.effective_rank));
    DART_TRY(dart_run_evaluate(run, &run->valid, "valid", &valid));
    DART_TRY(dart_run_evaluate(run, &run->test, "test", &test));
    DART_TRY(row_bleu(run, &row));
    /* All of it or, after a stop, none of it stands in the logs. */
    dart_run_log_evaluation(run, "valid", &valid);
    dart_run_log_evaluation(run, "test", &test);
    if (row.bleu_sentences)
        dart_metrics_bleu(&run->metrics, run->step, dart_run_stage(run)->name, row.test_bleu);
    dart_row_scores(&valid, &test, &row);
    row.seconds = run->seconds;
    row.resident_bytes = dart_resident_bytes();
    row.tokens_per_s = run->phase_seconds > 0 ? (double)run->phase_tokens / run->phase_seconds : 0;
    /* A row made at a selection has no speed of its own yet: the steps that follow give it. */
    if (run->rows && run->table[run->rows - 1].tokens_per_s == 0)
        run->table[run->rows - 1].tokens_per_s = row.tokens_per_s;
    dart_run_row_add(run, &row);
    return DART_OK;
}
