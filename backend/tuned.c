/* The list of measured forms, and how a launch comes to the chosen one. */
#include "tuned.h"
#include "file.h"
#include "geometry.h"
#include "log.h"
#include "sealed.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

struct dart_tuned {
    dart_trial *trial; /* owned */
    size_t count, capacity;
    uint32_t *place; /* owned (places): open addressing by class; 1 + index of the chosen trial */
    size_t places;   /* a power of two, more than twice the choices; 0: there are none */
    char path[1200]; /* "": nowhere */
};

static const char kind[DART_SEALED_KIND] = "darttn2";

/* <cache>/tuned-<hash of device, driver, limits, version of this program>.bin. What a limit profile
 * allows is measured for that profile alone. */
static void find_path(const dart_device *device, char out[1200])
{
    char dir[1024], key[768];
    const dart_caps *c = &device->caps;
    out[0] = 0;
    if (dart_cache_dir(dir, sizeof dir) != DART_OK) return;
    int n =
        snprintf(key, sizeof key, "%s|%s|%s|%s|%s|%u %u %u %u %u %d %d %d", device->backend->name,
            c->name, c->driver, c->api, DART_VERSION, c->max_invocations, c->max_shared,
            c->subgroup, c->simd, (unsigned)c->vendor, c->on_cpu, c->slow_shared, c->lone);
    snprintf(
        out, 1200, "%s/tuned-%016llx.bin", dir, (unsigned long long)XXH3_64bits(key, (size_t)n));
}

/* ---- the index ---- */

static bool same_class(const dart_class *a, const dart_class *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Where the class is, or the empty place where it belongs. */
static size_t place_of(const dart_tuned *tuned, const dart_class *class)
{
    size_t at = XXH3_64bits(class, sizeof *class) & (tuned->places - 1);
    while (tuned->place[at] && !same_class(&tuned->trial[tuned->place[at] - 1].class, class))
        at = (at + 1) & (tuned->places - 1);
    return at;
}

static dart_status index_choices(dart_tuned *tuned)
{
    size_t chosen = 0, places = 8;
    for (size_t i = 0; i < tuned->count; i++) chosen += tuned->trial[i].state == DART_TRIAL_CHOSEN;
    while (places <= 2 * chosen) places *= 2;
    free(tuned->place);
    tuned->places = 0;
    tuned->place = NULL;
    if (!chosen) return DART_OK;
    tuned->place = dart_calloc(places, sizeof *tuned->place);
    if (!tuned->place) return DART_MEMORY;
    tuned->places = places;
    for (size_t i = 0; i < tuned->count; i++)
        if (tuned->trial[i].state == DART_TRIAL_CHOSEN)
            tuned->place[place_of(tuned, &tuned->trial[i].class)] = (uint32_t)i + 1;
    return DART_OK;
}

/* ---- what may stand in it ---- */

static bool is_candidate(const dart_caps *caps, const dart_trial *trial)
{
    dart_form form[DART_MOST_CANDIDATES];
    const uint32_t count = dart_candidates_of(caps, &trial->class, form);
    for (uint32_t i = 0; i < count; i++)
        if (dart_form_same(&form[i], &trial->form)) return true;
    return false;
}

bool dart_trial_sound(const dart_caps *caps, const dart_trial *trial, char why[160])
{
    const bool timed = trial->state <= DART_TRIAL_CHOSEN;
    why[0] = 0;
    if (!dart_class_size_name(trial->class.kernel, 0))
        snprintf(why, 160, "nothing is chosen for kernel %u", trial->class.kernel);
    else if (trial->state >= DART_TRIAL_STATES || trial->same_bits > 1)
        snprintf(why, 160, "its state is %u", trial->state);
    else if (trial->form.kernel != trial->class.kernel)
        snprintf(why, 160, "class and form are of two kernels");
    else if (trial->state != DART_TRIAL_SHIPPED && !is_candidate(caps, trial))
        snprintf(why, 160, "its form is no candidate of this device for such sizes");
    else if (timed && !(trial->seconds > 0 && trial->seconds < 1e6))
        snprintf(why, 160, "its time is %g s", trial->seconds);
    else if (timed && !(trial->error >= 0 && trial->error <= trial->bound && trial->bound < 1))
        snprintf(why, 160, "its error is %g and the bound %g", trial->error, trial->bound);
    return !why[0];
}

static int by_class(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(dart_class));
}

/* Their classes, sorted, those of choices alone or all; malloc'ed. */
static dart_status classes_of(
    const dart_trial *trial, size_t count, bool chosen, dart_class **out, size_t *out_count)
{
    dart_class *class = *out = dart_calloc(count + 1, sizeof *class);
    size_t n = 0;
    if (!class) return DART_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (!chosen || trial[i].state == DART_TRIAL_CHOSEN) class[n++] = trial[i].class;
    qsort(class, n, sizeof *class, by_class);
    *out_count = n;
    return DART_OK;
}

dart_status dart_trials_check(const dart_caps *caps, const dart_trial *trial, size_t count)
{
    char why[160];
    dart_class *class;
    size_t chosen;
    bool twice = false;
    for (size_t i = 0; i < count; i++)
        if (!dart_trial_sound(caps, &trial[i], why))
            return dart_fail(DART_INPUT, "trial %zu of a tuning cannot be taken: %s", i, why);
    DART_TRY(classes_of(trial, count, true, &class, &chosen));
    for (size_t i = 1; i < chosen; i++) twice |= same_class(&class[i - 1], &class[i]);
    free(class);
    return twice ? dart_fail(DART_INPUT, "a class of a tuning has two choices") : DART_OK;
}

/* ---- the file ---- */

static dart_status append(dart_tuned *tuned, const dart_trial *trial)
{
    void *list = tuned->trial;
    DART_TRY(dart_grow(&list, &tuned->capacity, tuned->count + 1, sizeof *trial));
    tuned->trial = list;
    tuned->trial[tuned->count++] = *trial;
    return DART_OK;
}

/* What was measured of kernels that have changed since, or is not sound, is as if it were not
 * there. */
static dart_status take(dart_tuned *tuned, const dart_caps *caps, const char *data, size_t size)
{
    char why[160];
    size_t stale = 0;
    for (size_t at = 0; at + sizeof(dart_trial) <= size; at += sizeof(dart_trial)) {
        dart_trial trial;
        memcpy(&trial, data + at, sizeof trial);
        if (trial.sum == dart_candidates_sum(trial.class.kernel) &&
            dart_trial_sound(caps, &trial, why))
            DART_TRY(append(tuned, &trial));
        else
            stale++;
    }
    if (stale)
        dart_log(1, "tuned kernels: %zu trials were of other kernels and are left out; tune again",
            stale);
    return DART_OK;
}

dart_status dart_tuned_open(const dart_device *device, dart_tuned **out)
{
    char *file = NULL;
    const void *data;
    size_t size;
    dart_status status = DART_OK;
    dart_tuned *tuned = dart_calloc(1, sizeof *tuned);
    *out = NULL;
    if (!tuned) return DART_MEMORY;
    find_path(device, tuned->path);
    if (tuned->path[0] && dart_file_exists(tuned->path)) {
        if (dart_sealed_read(tuned->path, kind, &file, &data, &size) == DART_OK)
            status = take(tuned, &device->caps, data, size);
        else
            dart_log(1, "tuned kernels: %s", dart_error_text());
    }
    free(file);
    if (status == DART_OK) status = index_choices(tuned);
    if (status == DART_OK)
        *out = tuned;
    else
        dart_tuned_close(tuned);
    return status;
}

void dart_tuned_close(dart_tuned *tuned)
{
    if (!tuned) return;
    free(tuned->trial);
    free(tuned->place);
    free(tuned);
}

static dart_status keep(const dart_tuned *tuned)
{
    if (!tuned->path[0]) return DART_OK;
    if (tuned->count)
        return dart_sealed_write(
            tuned->path, kind, tuned->trial, tuned->count * sizeof *tuned->trial);
    if (unlink(tuned->path) == 0 || errno == ENOENT) return DART_OK;
    return dart_fail(DART_IO, "cannot remove %s: %s", tuned->path, strerror(errno));
}

dart_status dart_tuned_put(
    dart_tuned *tuned, const dart_caps *caps, const dart_trial *trial, size_t count)
{
    DART_TRY(dart_trials_check(caps, trial, count));
    void *list = tuned->trial; /* room before anything is changed */
    DART_TRY(dart_grow(&list, &tuned->capacity, tuned->count + count, sizeof *trial));
    tuned->trial = list;
    dart_class *class;
    size_t classes, left = 0;
    DART_TRY(classes_of(trial, count, false, &class, &classes));
    for (size_t i = 0; i < tuned->count; i++)
        if (!bsearch(&tuned->trial[i].class, class, classes, sizeof *class, by_class))
            tuned->trial[left++] = tuned->trial[i];
    free(class);
    memcpy(&tuned->trial[left], trial, count * sizeof *trial);
    tuned->count = left + count;
    DART_TRY(index_choices(tuned));
    return keep(tuned);
}

dart_status dart_tuned_clear(dart_tuned *tuned)
{
    tuned->count = 0;
    DART_TRY(index_choices(tuned));
    return keep(tuned);
}

const dart_trial *dart_tuned_at(const dart_tuned *tuned, size_t index)
{
    return index < tuned->count ? &tuned->trial[index] : NULL;
}

const char *dart_tuned_path(const dart_tuned *tuned)
{
    return tuned->path;
}

/* ---- launches ---- */

void dart_tuned_apply(const dart_tuned *tuned, const dart_refused *refused, const dart_caps *caps,
    dart_launch *launch)
{
    dart_class class;
    if (!tuned->places || !dart_class_of(launch, &class)) return;
    const uint32_t found = tuned->place[place_of(tuned, &class)];
    if (!found) return;
    const dart_form *form = &tuned->trial[found - 1].form;
    if (dart_refused_has(refused, form)) return;
    if (dart_launch_form(caps, form, launch) != DART_OK)
        dart_log(2, "a tuned form is left aside: %s", dart_error_text());
}
