/* A recipe's step on its device, tuned: its classes one after the other, then the whole step with
 * and without what was chosen. */
#include "tuning.h"
#include "clock.h"
#include "fresh.h"
#include "setup.h"
#include "stats.h"
#include "stop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 25, DEFAULT_BUDGET = 60 };
/* Classes that are less of the step than this are left as they are; of the budget, what the steps
 * before and after may take at most. */
static const double least_share = 1e-3, steps_part = 0.4;

/* ---- a session on random words ---- */

typedef struct subject {
    dart_session *session;
    dart_fresh_words words;
    uint64_t steps; /* so far */
} subject;

static dart_status subject_open(dart_device *device, const dart_bundle *of, bool tuned, subject *s)
{
    dart_session_options options;
    DART_TRY(dart_session_options_from(&of->set, of->model->config.vocab, &options));
    options.train = true;
    options.eval = options.logits = false;
    options.shapes = 1; /* the longest: others have smaller classes */
    dart_device_tune(device, tuned);
    const dart_status status = dart_session_new(device, NULL, of->model, &options, &s->session);
    dart_device_tune(device, true);
    DART_TRY(status);
    DART_TRY(dart_fresh_words_new(of, &s->session->options, false, &s->words));
    return dart_session_write(s->session, of->param, of->frozen, NULL);
}

static void subject_close(subject *s)
{
    dart_session_free(s->session);
    dart_fresh_words_free(&s->words);
    *s = (subject){0};
}

static dart_status subject_step(subject *s, const dart_settings *set, double *out_seconds)
{
    dart_step_result result;
    const dart_step_scalars scalars = {.seed = (uint64_t)set->seed,
        .step = s->steps,
        .adam_step = s->steps + 1,
        .lr = set->learning_rate,
        .penalty = s->session->options.reg ? set->lambda_reg * set->learning_rate : 0};
    const double begin = dart_seconds();
    s->steps++;
    DART_TRY(dart_stop_asked());
    DART_TRY(dart_session_step(s->session, &s->words.stream, &scalars, &result));
    *out_seconds = dart_seconds() - begin;
    return DART_OK;
}

/* ---- the call ---- */

typedef struct work {
    dart_device *device;
    dart_tuner tuner;
    dart_bundle of;
    subject shipped;
    dart_step_classes classes;
    dart_tuning *out;
    double begin, budget;
    double step_s; /* of one step, about */
} work;

static void describe(const dart_device *device, const dart_tuned *tuned, dart_tune_result *out)
{
    dart_device_id(device, out->device);
    snprintf(out->name, sizeof out->name, "%s", device->caps.name);
    snprintf(out->driver, sizeof out->driver, "%s", device->caps.driver);
    snprintf(out->api, sizeof out->api, "%s", device->caps.api);
    snprintf(out->path, sizeof out->path, "%s", dart_tuned_path(tuned));
    out->share = out->expected = out->before_s = out->after_s = NAN;
    out->ratio = out->low = out->high = NAN;
}

dart_status dart_tuning_open(
    const dart_recipe *recipe, dart_device **out_device, dart_tuned **out_tuned)
{
    dart_settings set;
    char id[32];
    dart_recipe_settings(recipe, &set);
    *out_tuned = NULL;
    DART_TRY(dart_device_for(&set, out_device));
    const char *backend = (*out_device)->backend->name;
    dart_status status = DART_OK;
    if (strcmp(backend, "vulkan") != 0 && strcmp(backend, "opencl") != 0)
        status = dart_fail(DART_USAGE,
            "the device %s has no forms of kernels to choose from; --device takes one of Vulkan or "
            "OpenCL (dart-llm devices lists them)",
            dart_device_id(*out_device, id));
    if (status == DART_OK) status = dart_device_tuned(*out_device, out_tuned);
    if (status == DART_OK) return DART_OK;
    dart_device_close(*out_device);
    *out_device = NULL;
    return status;
}

/* One step to compile and warm up, one that is timed launch by launch. */
static dart_status profile(work *w)
{
    double seconds;
    DART_TRY(subject_open(w->device, &w->of, false, &w->shipped));
    DART_TRY(subject_step(&w->shipped, &w->of.set, &seconds));
    DART_TRY(subject_step(&w->shipped, &w->of.set, &w->step_s));
    w->shipped.session->watch = (dart_session_watch){dart_step_classes_add, &w->classes};
    const dart_status status = subject_step(&w->shipped, &w->of.set, &seconds);
    w->shipped.session->watch = (dart_session_watch){0};
    dart_step_classes_sort(&w->classes);
    return status;
}

static dart_status add_row(dart_tuning *out, const dart_tune_row *row)
{
    void *list = out->row;
    DART_TRY(dart_grow(&list, &out->capacity, out->result.rows + 1ul, sizeof *row));
    out->row = list;
    out->row[out->result.rows++] = *row;
    return DART_OK;
}

static dart_status measure_classes(work *w)
{
    dart_tune_result *result = &w->out->result;
    double saved = 0, reached_s = 0;
    dart_status status = DART_OK;
    for (size_t i = 0; i < w->classes.count; i++)
        result->classes += w->classes.of[i].seconds >= least_share * w->classes.seconds;
    for (size_t i = 0; i < w->classes.count && status == DART_OK; i++) {
        const dart_step_class *class = &w->classes.of[i];
        dart_tune_row row;
        bool reached;
        status = dart_stop_asked();
        if (status != DART_OK || class->seconds < least_share * w->classes.seconds ||
            dart_seconds() > w->tuner.deadline)
            break;
        status = dart_tuner_measure(&w->tuner, class, &row, &reached);
        if (status != DART_OK || !reached) break;
        row.share = class->seconds / w->classes.seconds;
        reached_s += class->seconds;
        if (row.chosen) saved += class->seconds * (1 - 1 / row.ratio);
        result->chosen += row.chosen;
        status = add_row(w->out, &row);
    }
    result->share = reached_s / w->classes.seconds;
    result->expected = w->classes.seconds / (w->classes.seconds - saved);
    return status;
}

/* Steps in turns, each form of the step first in every second round. */
static dart_status take_turns(work *w, subject *tuned)
{
    dart_tune_result *result = &w->out->result;
    double before[STEPS], after[STEPS], sorted[STEPS], ratio[3], warm;
    const double end = w->begin + w->budget;
    uint32_t n = 0;
    DART_TRY(subject_step(tuned, &w->of.set, &warm));
    for (; n < STEPS && (n == 0 || dart_seconds() + 2 * w->step_s < end); n++)
        for (uint32_t i = 0; i < 2; i++) {
            const bool is_tuned = (i + n) % 2;
            DART_TRY(subject_step(
                is_tuned ? tuned : &w->shipped, &w->of.set, is_tuned ? &after[n] : &before[n]));
        }
    DART_TRY(dart_paired_ratio_of(before, after, n, ratio));
    memcpy(sorted, before, sizeof sorted);
    result->before_s = dart_median(sorted, n);
    memcpy(sorted, after, sizeof sorted);
    result->after_s = dart_median(sorted, n);
    result->ratio = ratio[0];
    result->low = ratio[1];
    result->high = ratio[2];
    result->steps = n;
    return DART_OK;
}

/* No memory for a second session is no failure of what was found. */
static dart_status compare_steps(work *w)
{
    subject tuned = {0};
    if (!w->out->result.chosen) return DART_OK;
    dart_note_line(w->tuner.note, "the whole step, with and without what was chosen");
    dart_status status = subject_open(w->device, &w->of, true, &tuned);
    if (status == DART_OK) status = take_turns(w, &tuned);
    if (status == DART_MEMORY) {
        dart_note_line(w->tuner.note, "the whole step is not measured: %s", dart_error_text());
        status = DART_OK;
    }
    subject_close(&tuned);
    return status;
}

static dart_status tune(const dart_recipe *recipe, work *w)
{
    DART_TRY(dart_tuning_open(recipe, &w->device, &w->tuner.tuned));
    w->tuner.device = w->device;
    describe(w->device, w->tuner.tuned, &w->out->result);
    DART_TRY(dart_fresh_open(recipe, NULL, &w->of));
    DART_TRY(profile(w));
    w->out->result.prepared_s = dart_seconds() - w->begin;
    w->begin = dart_seconds();
    /* a warm-up and some rounds of two steps, and what begins just before the deadline */
    const double steps = fmin((1 + 2.0 * STEPS) * w->step_s, steps_part * w->budget);
    w->tuner.deadline = w->begin + w->budget - steps;
    DART_TRY(measure_classes(w));
    return compare_steps(w);
}

dart_status dart_tuning_new(const dart_recipe *recipe, const dart_tune_options *options,
    const dart_hooks *hooks, dart_tuning **out)
{
    work w = {
        .begin = dart_seconds(), .budget = options->budget > 0 ? options->budget : DEFAULT_BUDGET};
    *out = NULL;
    w.tuner.note = dart_note_of(hooks);
    w.out = dart_calloc(1, sizeof *w.out);
    if (!w.out) return DART_MEMORY;
    const dart_stop before =
        hooks ? dart_stop_listen(hooks->abort, hooks->user) : dart_stop_listen(NULL, NULL);
    const dart_status status = tune(recipe, &w);
    dart_stop_set(before);
    w.out->result.seconds = dart_seconds() - w.begin;
    subject_close(&w.shipped);
    dart_step_classes_free(&w.classes);
    dart_bundle_free(&w.of);
    dart_device_close(w.device);
    if (status == DART_OK || status == DART_INTERRUPTED || status == DART_TERMINATED)
        *out = w.out;
    else
        dart_tuning_free(w.out);
    return status;
}

/* ---- what is kept ---- */

/* The choice of a class beside the shipped form's figure, which stands among the trials. */
static dart_status kept_row(const dart_tuned *tuned, const dart_trial *chosen, dart_tuning *out)
{
    dart_tune_row row = {.share = NAN,
        .chosen = true,
        .same_bits = chosen->same_bits,
        .shipped_s = NAN,
        .best_s = chosen->seconds,
        .low = NAN,
        .high = NAN};
    const dart_trial *t;
    dart_class_kernel_text(&chosen->class, row.kernel);
    dart_class_sizes_text(&chosen->class, row.sizes);
    dart_form_text(&chosen->form, row.best);
    for (size_t i = 0; (t = dart_tuned_at(tuned, i)); i++) {
        if (memcmp(&t->class, &chosen->class, sizeof t->class) != 0) continue;
        row.tried += t->state != DART_TRIAL_SHIPPED;
        row.wrong += t->state == DART_TRIAL_WRONG;
        row.unmade += t->state == DART_TRIAL_UNMADE;
        if (t->state != DART_TRIAL_SHIPPED) continue;
        row.shipped_s = t->seconds;
        dart_form_text(&t->form, row.shipped);
    }
    row.ratio = row.shipped_s / row.best_s;
    out->result.chosen++;
    return add_row(out, &row);
}

dart_status dart_tuning_kept(const dart_recipe *recipe, dart_tuning **out)
{
    dart_device *device;
    dart_tuned *tuned;
    const dart_trial *t;
    dart_status status = DART_OK;
    *out = NULL;
    DART_TRY(dart_tuning_open(recipe, &device, &tuned));
    dart_tuning *list = dart_calloc(1, sizeof *list);
    if (!list) DART_GOTO(DART_MEMORY);
    describe(device, tuned, &list->result);
    for (size_t i = 0; (t = dart_tuned_at(tuned, i)); i++)
        if (t->state == DART_TRIAL_CHOSEN) DART_GOTO(kept_row(tuned, t, list));
    *out = list;
    list = NULL;
done:
    dart_tuning_free(list);
    dart_device_close(device);
    return status;
}

dart_status dart_tuning_clear(const dart_recipe *recipe)
{
    dart_device *device;
    dart_tuned *tuned;
    DART_TRY(dart_tuning_open(recipe, &device, &tuned));
    const dart_status status = dart_tuned_clear(tuned);
    dart_device_close(device);
    return status;
}

const dart_tune_result *dart_tuning_result(const dart_tuning *tuning)
{
    return &tuning->result;
}

const dart_tune_row *dart_tuning_row(const dart_tuning *tuning, uint32_t index)
{
    return index < tuning->result.rows ? &tuning->row[index] : NULL;
}

void dart_tuning_free(dart_tuning *tuning)
{
    if (!tuning) return;
    free(tuning->row);
    free(tuning);
}
