/* One class: every form is checked, then timed a few times; the best of them are measured in turns
 * with the shipped one. */
#include "tuning.h"
#include "clock.h"
#include "geometry.h"
#include "stats.h"
#include "stop.h"
#include "trial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COPIES = 64, FINALISTS = 3, ROUNDS = 15, LEAST_ROUNDS = 5, IN_VAIN = 5 };
/* What a run should take, so that starting it does not count; from when on one run says enough;
 * what the last rounds of a class may; how much faster a form has to be; from which part of the
 * best time so far on it was tried in vain, which so many in a row may be; and from which part on
 * it is not even timed well. */
static const double run_s = 0.004, long_s = 0.05, rounds_s = 2, faster = 1.05, in_vain = 1.25,
                    hopeless = 2;
/* 4 GiB of tensors on the device, twice that for the oracle. */
static const uint64_t most_words = UINT64_C(1) << 30;

/* A form at work. */
typedef struct lane {
    dart_trial trial;
    dart_program *program; /* `copies` launches one behind the other; NULL: out of the race */
    double quick;          /* seconds of a launch, the least of a few runs */
    double sample[ROUNDS]; /* seconds of a launch */
} lane;

typedef struct race {
    dart_tuner *tuner;
    const dart_step_class *class;
    dart_suite_trial *inputs;
    lane *lane; /* owned; the first is the shipped form */
    uint32_t lanes, copies;
} race;

static bool out_of_time(const dart_tuner *tuner, double more)
{
    return dart_seconds() + more > tuner->deadline;
}

static void drop(const race *r, lane *l)
{
    dart_device_drop(r->tuner->device, l->program);
    l->program = NULL;
}

static dart_status build(const race *r, const dart_launch *launch, uint32_t copies, lane *l)
{
    dart_launch *list = dart_calloc(copies, sizeof *list);
    if (!list) return DART_MEMORY;
    for (uint32_t i = 0; i < copies; i++) {
        list[i] = *launch;
        list[i].wait = true;
    }
    dart_status status = dart_device_build_exactly(r->tuner->device, list, copies, &l->program);
    free(list);
    return status;
}

/* The least of so many runs, a launch. */
static dart_status run(const race *r, lane *l, uint32_t copies, int times, double *out)
{
    *out = INFINITY;
    for (int i = 0; i < times; i++) {
        const double begin = dart_seconds();
        DART_TRY(dart_device_run(r->tuner->device, l->program, NULL));
        *out = fmin(*out, (dart_seconds() - begin) / copies);
    }
    return DART_OK;
}

static dart_launch launch_of(const race *r)
{
    dart_launch launch = r->class->launch;
    dart_suite_trial_place(r->inputs, &launch);
    return launch;
}

/* One launch alone: made, checked, timed. Its state says what came of it; the program stays where
 * it is right. */
static dart_status try_alone(const race *r, const dart_launch *launch, lane *l, double *out_alone)
{
    dart_suite_verdict verdict;
    dart_trial *t = &l->trial;
    *t = (dart_trial){.class = r->class->class,
        .form = dart_form_of(launch),
        .seconds = NAN,
        .error = NAN,
        .sum = dart_candidates_sum(r->class->class.kernel)};
    dart_status status = build(r, launch, 1, l);
    if (status == DART_DEVICE && r->tuner->device->unmade) {
        t->state = DART_TRIAL_UNMADE;
        return DART_OK;
    }
    DART_TRY(status);
    DART_TRY(dart_suite_trial_check(r->inputs, l->program, &verdict));
    t->error = verdict.error;
    t->bound = verdict.bound;
    t->same_bits = verdict.same_bits;
    t->state = verdict.right ? DART_TRIAL_SLOWER : DART_TRIAL_WRONG;
    if (!verdict.right) {
        drop(r, l);
        return DART_OK;
    }
    DART_TRY(run(r, l, 1, 1, out_alone));
    l->quick = *out_alone;
    return DART_OK;
}

/* As many launches in a run as make it long enough. */
static dart_status try_many(const race *r, const dart_launch *launch, lane *l)
{
    if (r->copies > 1) {
        drop(r, l);
        DART_TRY(build(r, launch, r->copies, l));
    }
    if (l->quick < long_s) DART_TRY(run(r, l, r->copies, 3, &l->quick));
    l->trial.seconds = l->quick;
    return DART_OK;
}

static dart_status begin(race *r, bool *out_right)
{
    const dart_launch launch = launch_of(r);
    lane *shipped = &r->lane[r->lanes++];
    double alone = INFINITY;
    DART_TRY(try_alone(r, &launch, shipped, &alone));
    *out_right = shipped->program != NULL;
    if (!shipped->program) return DART_OK;
    while (r->copies < COPIES && r->copies * alone < run_s) r->copies *= 2;
    shipped->trial.state = DART_TRIAL_SHIPPED;
    return try_many(r, &launch, shipped);
}

/* The slowest of the candidates that are still in, if they are too many: one has to go. */
static void thin_out(race *r)
{
    lane *last = NULL;
    uint32_t in = 0;
    for (uint32_t i = 1; i < r->lanes; i++) {
        if (!r->lane[i].program) continue;
        in++;
        if (!last || r->lane[i].quick > last->quick) last = &r->lane[i];
    }
    if (in > FINALISTS) drop(r, last);
}

static dart_status try_candidate(race *r, const dart_form *form)
{
    const lane *shipped = &r->lane[0];
    lane *l = &r->lane[r->lanes];
    dart_launch launch = launch_of(r);
    double alone = INFINITY;
    if (dart_launch_form(&r->tuner->device->caps, form, &launch) != DART_OK) return DART_OK;
    const double began = dart_seconds();
    r->lanes++;
    DART_TRY(try_alone(r, &launch, l, &alone));
    if (l->program && alone > hopeless * fmax(shipped->quick, run_s / 8)) {
        l->trial.seconds = alone;
        drop(r, l);
    }
    if (l->program) {
        DART_TRY(try_many(r, &launch, l));
        if (l->quick > shipped->quick) drop(r, l);
    }
    thin_out(r);
    r->tuner->longest = fmax(r->tuner->longest, dart_seconds() - began);
    return DART_OK;
}

/* By how much larger or smaller their work-groups' parts are than those of the shipped form: next
 * to it first, as it is good, and with them what is like none. */
static uint32_t order_candidates(const race *r, dart_form form[DART_MOST_CANDIDATES])
{
    const dart_class *class = &r->class->class;
    const double shipped = dart_form_results(class, &r->lane[0].trial.form);
    double far[DART_MOST_CANDIDATES];
    dart_form all[DART_MOST_CANDIDATES];
    const uint32_t count = dart_candidates_of(&r->tuner->device->caps, class, all);
    for (uint32_t i = 0; i < count; i++) {
        const double results = dart_form_results(class, &all[i]);
        const double away = results > 0 ? fabs(log2(results / shipped)) : 0;
        uint32_t at = i;
        for (; at && far[at - 1] > away; at--) {
            far[at] = far[at - 1];
            form[at] = form[at - 1];
        }
        far[at] = away;
        form[at] = all[i];
    }
    return count;
}

static dart_status try_candidates(race *r, bool *out_any)
{
    dart_form form[DART_MOST_CANDIDATES];
    const uint32_t count = order_candidates(r, form);
    double best = r->lane[0].quick;
    uint32_t vain = 0;
    *out_any = false;
    for (uint32_t i = 0; i < count && vain < IN_VAIN; i++) {
        if (dart_form_same(&form[i], &r->lane[0].trial.form)) continue;
        DART_TRY(dart_stop_asked());
        if (out_of_time(r->tuner, r->tuner->longest)) break;
        const uint32_t lanes = r->lanes;
        DART_TRY(try_candidate(r, &form[i]));
        if (r->lanes == lanes) continue; /* not for these sizes */
        *out_any = true;
        const double took = r->lane[r->lanes - 1].trial.seconds;
        vain = took > in_vain * best ? vain + 1 : isnan(took) ? vain : 0;
        if (took < best) best = took;
    }
    return DART_OK;
}

/* Rounds in which each form that is left runs once, beginning with another one each time. */
static dart_status take_turns(race *r, uint32_t *out_rounds)
{
    double round = 0;
    uint32_t most = ROUNDS, n = 0;
    for (uint32_t i = 0; i < r->lanes; i++)
        if (r->lane[i].program) round += r->lane[i].quick * r->copies;
    if (round * ROUNDS > rounds_s) most = (uint32_t)fmax(LEAST_ROUNDS, rounds_s / round);
    for (; n < most && (n < LEAST_ROUNDS || !out_of_time(r->tuner, round)); n++) {
        DART_TRY(dart_stop_asked());
        for (uint32_t i = 0; i < r->lanes; i++) {
            lane *l = &r->lane[(i + n) % r->lanes];
            if (l->program) DART_TRY(run(r, l, r->copies, 1, &l->sample[n]));
        }
    }
    for (uint32_t i = 0; i < r->lanes; i++) {
        double sorted[ROUNDS];
        memcpy(sorted, r->lane[i].sample, sizeof sorted);
        if (r->lane[i].program) r->lane[i].trial.seconds = dart_median(sorted, n);
    }
    *out_rounds = n;
    return DART_OK;
}

/* The fastest that was in the last rounds; it is chosen where that is beyond doubt. */
static dart_status decide(race *r, uint32_t rounds, dart_tune_row *row)
{
    lane *best = NULL, *shipped = &r->lane[0];
    double ratio[3];
    for (uint32_t i = 1; i < r->lanes; i++)
        if (r->lane[i].program && (!best || r->lane[i].trial.seconds < best->trial.seconds))
            best = &r->lane[i];
    row->shipped_s = row->best_s = shipped->trial.seconds;
    memcpy(row->best, row->shipped, sizeof row->best);
    row->same_bits = true;
    row->ratio = 1;
    if (!best || best->trial.seconds >= shipped->trial.seconds) return DART_OK;
    DART_TRY(dart_paired_ratio_of(shipped->sample, best->sample, rounds, ratio));
    row->ratio = ratio[0];
    row->low = ratio[1];
    row->high = ratio[2];
    row->best_s = best->trial.seconds;
    row->same_bits = best->trial.same_bits;
    dart_form_text(&best->trial.form, row->best);
    row->chosen = ratio[0] >= faster && ratio[1] > 1 && faster * row->best_s <= row->shipped_s;
    if (row->chosen) best->trial.state = DART_TRIAL_CHOSEN;
    return DART_OK;
}

static dart_status keep(const race *r, dart_tune_row *row)
{
    dart_trial *list = dart_calloc(r->lanes, sizeof *list);
    if (!list) return DART_MEMORY;
    for (uint32_t i = 0; i < r->lanes; i++) {
        list[i] = r->lane[i].trial;
        row->wrong += list[i].state == DART_TRIAL_WRONG;
        row->unmade += list[i].state == DART_TRIAL_UNMADE;
    }
    row->tried = r->lanes - 1;
    dart_status status = dart_tuned_put(r->tuner->tuned, &r->tuner->device->caps, list, r->lanes);
    free(list);
    return status;
}

static void tell(const race *r, const dart_tune_row *row)
{
    char form[96];
    for (uint32_t i = 1; i < r->lanes; i++)
        if (r->lane[i].trial.state == DART_TRIAL_WRONG) {
            dart_form_text(&r->lane[i].trial.form, form);
            dart_note_line(r->tuner->note,
                "%s, %s: %s gives wrong results (NMSE %.3g, the bound is %.3g) and is left out",
                row->kernel, row->sizes, form, r->lane[i].trial.error, r->lane[i].trial.bound);
        }
    dart_note_line(r->tuner->note, "%s, %s: %u forms, the best %.2f times as fast%s%s", row->kernel,
        row->sizes, row->tried, row->ratio, row->chosen ? ": " : "; the shipped one stays",
        row->chosen ? row->best : "");
}

static dart_status race_all(race *r, dart_tune_row *row, bool *out_reached)
{
    bool right = false, any = false;
    uint32_t rounds;
    DART_TRY(begin(r, &right));
    if (!right) {
        snprintf(row->note, sizeof row->note, "the shipped form is %s",
            r->lane[0].trial.state == DART_TRIAL_WRONG ? "wrong; see selftest" : "not made");
        *out_reached = true;
        return DART_OK;
    }
    DART_TRY(try_candidates(r, &any));
    if (!any && out_of_time(r->tuner, r->tuner->longest)) return DART_OK;
    *out_reached = true;
    DART_TRY(take_turns(r, &rounds));
    DART_TRY(decide(r, rounds, row));
    DART_TRY(keep(r, row));
    tell(r, row);
    return DART_OK;
}

dart_status dart_tuner_measure(
    dart_tuner *tuner, const dart_step_class *class, dart_tune_row *row, bool *out_reached)
{
    race r = {.tuner = tuner, .class = class, .copies = 1};
    dart_status status = DART_OK;
    const dart_form shipped = dart_form_of(&class->launch);
    *out_reached = false;
    *row = (dart_tune_row){.launches = class->launches,
        .shipped_s = NAN,
        .best_s = NAN,
        .ratio = NAN,
        .low = NAN,
        .high = NAN};
    dart_class_kernel_text(&class->class, row->kernel);
    dart_class_sizes_text(&class->class, row->sizes);
    dart_form_text(&shipped, row->shipped);
    if (dart_suite_trial_words(&class->launch) > most_words) {
        snprintf(row->note, sizeof row->note, "its tensors are too large to be checked");
        *out_reached = true;
        return DART_OK;
    }
    r.lane = dart_calloc(DART_MOST_CANDIDATES + 1, sizeof *r.lane);
    if (!r.lane) return DART_MEMORY;
    status = dart_suite_trial_new(tuner->device, &class->launch, 1, &r.inputs);
    if (status == DART_MEMORY) { /* other classes may be smaller */
        snprintf(row->note, sizeof row->note, "no memory to check it: %.100s", dart_error_text());
        *out_reached = true;
        status = DART_OK;
    } else if (status == DART_OK) {
        status = race_all(&r, row, out_reached);
    }
    for (uint32_t i = 0; i < r.lanes; i++) drop(&r, &r.lane[i]);
    dart_suite_trial_free(r.inputs);
    free(r.lane);
    return status;
}
