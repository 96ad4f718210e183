/* What a stage does over its steps: learning rate, strength of the penalty, and when it ends before
 * its time. */
#include "run.h"
#include <math.h>

double dart_stage_lr(const dart_stage *stage, uint64_t at)
{
    const dart_settings *set = &stage->set;
    uint64_t warmup = (uint64_t)set->warmup_steps;
    if (warmup > stage->steps / 5) warmup = stage->steps / 5;
    if (at < warmup) return set->learning_rate * (double)(at + 1) / (double)warmup;
    double rest = stage->steps > warmup + 1 ? (double)(stage->steps - warmup - 1) : 1;
    double p = (double)(at - warmup) / rest, low = set->min_lr_ratio, part = 1;
    if (set->lr_scheduler == DART_SCHEDULER_LINEAR) part = 1 - (1 - low) * p;
    if (set->lr_scheduler == DART_SCHEDULER_COSINE)
        part = low + (1 - low) * 0.5 * (1 + cos(M_PI * p));
    /* Vaswani et al. 2017, 5.3, with its peak named by learning_rate. */
    if (set->lr_scheduler == DART_SCHEDULER_INVERSE_SQRT)
        part = sqrt((double)(warmup ? warmup : 1) / (double)(at + 1));
    return set->learning_rate * part;
}

uint64_t dart_stage_lambda_steps(const dart_stage *stage)
{
    const dart_settings *set = &stage->set;
    if (set->lambda_schedule == DART_LAMBDA_CONSTANT) return 0;
    double steps =
        set->lambda_warmup > 1 ? set->lambda_warmup : set->lambda_warmup * (double)stage->steps;
    return (uint64_t)llround(steps);
}

double dart_stage_lambda(const dart_stage *stage, uint64_t at)
{
    /* A thousandth: where the penalty's push is lost in the noise of the gradients. */
    const double start = 1e-3;
    const dart_settings *set = &stage->set;
    uint64_t rise = dart_stage_lambda_steps(stage);
    if (!set->reg) return 0;
    if (at >= rise) return set->lambda_reg;
    double part = (double)(at + 1) / (double)rise;
    if (set->lambda_schedule == DART_LAMBDA_EXPONENTIAL)
        return set->lambda_reg * pow(start, 1 - part);
    return set->lambda_reg * part;
}

uint64_t dart_stage_rank_steps(const dart_stage *stage)
{
    const dart_settings *set = &stage->set;
    if (set->rank_steps) return (uint64_t)set->rank_steps;
    if (set->until != DART_UNTIL_PLATEAU) return 0;
    return set->plateau_steps >= 10 ? (uint64_t)set->plateau_steps / 10 : 1;
}

bool dart_plateau(const dart_stage *stage, uint64_t at, double rank, dart_rest *rest)
{
    const dart_settings *set = &stage->set;
    /* While lambda rises, ranks that do not move yet mean nothing. */
    if (set->until != DART_UNTIL_PLATEAU || at < dart_stage_lambda_steps(stage)) return false;
    if (rest->rank <= 0 || fabs(rank - rest->rank) > set->plateau_tolerance * rest->rank) {
        *rest = (dart_rest){rank, at};
        return false;
    }
    return at - rest->since >= (uint64_t)set->plateau_steps;
}

bool dart_waited(const dart_stage *stage, double nll, dart_waiting *w)
{
    const dart_settings *set = &stage->set;
    const bool first = !w->evaluations++;
    const bool progress = first || nll < w->nll - set->early_stopping_threshold;
    w->since = progress ? 0 : w->since + 1;
    if (first || nll < w->nll) w->nll = nll;
    return set->early_stopping_patience && w->since >= (uint64_t)set->early_stopping_patience;
}

void dart_stage_stop(dart_stage *stages, uint32_t at, uint64_t done, int64_t *moved)
{
    moved[at] -= (int64_t)(stages[at].steps - done);
    stages[at].steps = done;
}

void dart_stage_end(dart_stage *stages, uint32_t count, uint32_t at, uint64_t done, int64_t *moved)
{
    uint64_t left = stages[at].steps - done;
    uint32_t heir = at + 1;
    while (heir < count && !stages[heir].steps) heir++;
    dart_stage_stop(stages, at, done, moved);
    if (heir == count) return;
    stages[heir].steps += left;
    moved[heir] += (int64_t)left;
}
