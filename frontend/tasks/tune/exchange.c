/* What was measured on a device as JSON, and back; all of a text is looked at before any of it is
 * taken. */
#include "tuning.h"
#include "file.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "dart-llm tuning 1";
static const char *const states[DART_TRIAL_STATES] = {
    "shipped", "slower", "chosen", "wrong", "unmade"};

/* ---- out ---- */

static json_t *device_json(const dart_device *device, dart_status *made)
{
    json_t *out = json_object();
    dart_json_set(out, "backend", dart_json_text(device->backend->name), made);
    dart_json_set(out, "name", dart_json_text(device->caps.name), made);
    dart_json_set(out, "driver", dart_json_text(device->caps.driver), made);
    dart_json_set(out, "api", dart_json_text(device->caps.api), made);
    return out;
}

/* The MODE constants of a kernel, or the others. */
static json_t *constants_json(uint32_t kernel, const uint32_t *value, bool modes, dart_status *made)
{
    const dart_kernel_info *info = dart_kernel_info_of((dart_kernel)kernel);
    json_t *out = json_object();
    for (uint32_t i = 0; i < info->tunes; i++)
        if ((info->modes >> i & 1) == modes)
            dart_json_set(out, info->tune_name[i], json_integer(value[i]), made);
    return out;
}

static json_t *form_json(const dart_trial *t, dart_status *made)
{
    json_t *out = json_object();
    const char *variant = dart_kernel_feature((dart_kernel)t->form.kernel, t->form.variant);
    dart_json_set(out, "state", json_string(states[t->state]), made);
    dart_json_set(out, "variant", json_string(variant ? variant : ""), made);
    dart_json_set(
        out, "constants", constants_json(t->form.kernel, t->form.tune, false, made), made);
    dart_json_set(out, "seconds", dart_json_real(t->seconds), made);
    dart_json_set(out, "error", dart_json_real(t->error), made);
    dart_json_set(out, "bound", dart_json_real(t->bound), made);
    dart_json_set(out, "same_bits", json_boolean(t->same_bits), made);
    return out;
}

static json_t *class_json(const dart_trial *t, json_t *forms, dart_status *made)
{
    json_t *out = json_object(), *sizes = json_object();
    const char *name;
    char sum[24];
    snprintf(sum, sizeof sum, "%016" PRIx64, t->sum);
    for (uint32_t i = 0; (name = dart_class_size_name(t->class.kernel, i)); i++)
        dart_json_set(sizes, name, json_integer(t->class.size[i]), made);
    dart_json_set(
        out, "kernel", json_string(dart_kernel_info_of((dart_kernel)t->class.kernel)->name), made);
    dart_json_set(out, "texts", json_string(sum), made);
    dart_json_set(out, "modes", constants_json(t->class.kernel, t->class.mode, true, made), made);
    dart_json_set(out, "sizes", sizes, made);
    dart_json_set(out, "forms", json_incref(forms), made);
    return out;
}

dart_status dart_tuned_json(const dart_device *device, const dart_tuned *tuned, json_t **out)
{
    dart_status made = DART_OK;
    json_t *classes = json_array(), *forms = NULL;
    const dart_trial *t, *before = NULL;
    *out = json_object();
    for (size_t i = 0; (t = dart_tuned_at(tuned, i)); before = t, i++) {
        if (!before || memcmp(&before->class, &t->class, sizeof t->class) != 0) {
            json_decref(forms);
            forms = json_array();
            dart_json_add(classes, class_json(t, forms, &made), &made);
        }
        dart_json_add(forms, form_json(t, &made), &made);
    }
    json_decref(forms);
    dart_json_set(*out, "format", json_string(format_name), &made);
    dart_json_set(*out, "program", json_string(dart_version()), &made);
    dart_json_set(*out, "device", device_json(device, &made), &made);
    dart_json_set(*out, "classes", classes, &made);
    if (made == DART_OK) return DART_OK;
    json_decref(*out);
    *out = NULL;
    return dart_json_made(made, "a tuning");
}

dart_status dart_tuning_export(const dart_recipe *recipe, const char *path)
{
    dart_device *device;
    dart_tuned *tuned;
    json_t *body = NULL;
    char *text = NULL;
    dart_status status = DART_OK;
    DART_TRY(dart_tuning_open(recipe, &device, &tuned));
    if (!dart_tuned_at(tuned, 0))
        DART_GOTO(dart_fail(DART_INPUT,
            "nothing was measured on %s yet, so there is nothing for %s; run tune without --export "
            "first",
            device->caps.name, path));
    DART_GOTO(dart_tuned_json(device, tuned, &body));
    DART_GOTO(dart_json_write(body, DART_OK, JSON_INDENT(1), "a tuning", &text));
    DART_GOTO(dart_file_write_atomic(path, text, strlen(text)));
done:
    free(text);
    dart_device_close(device);
    return status;
}

/* ---- in ---- */

typedef struct reading {
    const dart_device *device;
    const char *name; /* of the text */
    bool force;
    dart_trial *trial; /* owned */
    size_t count, capacity;
} reading;

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

#define REFUSE(r, ...)                                                                             \
    do {                                                                                           \
        char what_[400];                                                                           \
        snprintf(what_, sizeof what_, __VA_ARGS__);                                                \
        return dart_fail(DART_INPUT, "%s: %s; nothing of it was taken", (r)->name, what_);         \
    } while (0)

/* Every key of `object` is one of the constants (or modes) of the kernel, and has a number. */
static dart_status read_constants(const reading *r, const json_t *object, const char *what,
    uint32_t kernel, bool modes, uint32_t *value)
{
    const dart_kernel_info *info = dart_kernel_info_of((dart_kernel)kernel);
    size_t found = 0;
    for (uint32_t i = 0; i < info->tunes; i++) {
        const json_t *number = json_object_get(object, info->tune_name[i]);
        if ((info->modes >> i & 1) != modes) continue;
        const json_int_t n = json_is_integer(number) ? json_integer_value(number) : -1;
        if (n < 0 || n > INT32_MAX)
            REFUSE(r, "%s of kernel %s: expected %s as a whole number from 0 on", what, info->name,
                info->tune_name[i]);
        value[i] = (uint32_t)n;
        found++;
    }
    if (json_object_size(object) != found)
        REFUSE(r, "%s of kernel %s: expected %zu names, got %zu", what, info->name, found,
            json_object_size(object));
    return DART_OK;
}

static dart_status read_class(const reading *r, const json_t *object, dart_trial *out)
{
    const char *kernel = text_at(object, "kernel"), *sum = text_at(object, "texts"), *name;
    const json_t *sizes = json_object_get(object, "sizes");
    const dart_kernel number = dart_kernel_find(kernel);
    char *end;
    *out = (dart_trial){0};
    if (number == DART_KERNELS || !dart_class_size_name((uint32_t)number, 0))
        REFUSE(r, "nothing is chosen for a kernel '%.64s'", kernel);
    out->class.kernel = out->form.kernel = (uint32_t)number;
    out->sum = strtoull(sum, &end, 16);
    if (strlen(sum) != 16 || *end)
        REFUSE(r, "kernel %s: expected 16 hexadecimal digits as texts, got '%.32s'", kernel, sum);
    DART_TRY(read_constants(
        r, json_object_get(object, "modes"), "modes", (uint32_t)number, true, out->class.mode));
    for (uint32_t i = 0; (name = dart_class_size_name((uint32_t)number, i)); i++) {
        const json_t *size = json_object_get(sizes, name);
        const json_int_t n = json_is_integer(size) ? json_integer_value(size) : 0;
        if (n < 1 || n > UINT32_C(1) << 31)
            REFUSE(r, "sizes of kernel %s: expected %s as a whole number from 1 on", kernel, name);
        out->class.size[i] = (uint32_t)n;
    }
    if (!json_is_array(json_object_get(object, "forms")))
        REFUSE(r, "kernel %s: expected a list called forms", kernel);
    return DART_OK;
}

static dart_status read_form(const reading *r, const json_t *object, dart_trial *out)
{
    const dart_kernel kernel = (dart_kernel)out->class.kernel;
    const char *name = dart_kernel_info_of(kernel)->name, *state = text_at(object, "state");
    const char *variant = text_at(object, "variant");
    while (out->state < DART_TRIAL_STATES && strcmp(states[out->state], state) != 0) out->state++;
    if (out->state == DART_TRIAL_STATES)
        REFUSE(r,
            "kernel %s: expected shipped, slower, chosen, wrong or unmade as state, got "
            "'%.32s'",
            name, state);
    out->form.variant = dart_kernel_variant(kernel, variant);
    if (*variant && !out->form.variant)
        REFUSE(r, "kernel %s has no variant '%.64s'", name, variant);
    DART_TRY(read_constants(r, json_object_get(object, "constants"), "constants", out->class.kernel,
        false, out->form.tune));
    const dart_kernel_info *info = dart_kernel_info_of(kernel);
    for (uint32_t i = 0; i < info->tunes; i++)
        if (info->modes >> i & 1) out->form.tune[i] = out->class.mode[i];
    out->seconds = dart_json_number(object, "seconds");
    out->error = dart_json_number(object, "error");
    out->bound = dart_json_number(object, "bound");
    out->same_bits = json_is_true(json_object_get(object, "same_bits"));
    return DART_OK;
}

/* Takes it, leaves it out where that was asked for, or refuses. */
static dart_status add_trial(reading *r, const dart_trial *t)
{
    char why[160];
    const char *kernel = dart_kernel_info_of((dart_kernel)t->class.kernel)->name;
    const bool stale = t->sum != dart_candidates_sum(t->class.kernel);
    if (stale || !dart_trial_sound(&r->device->caps, t, why)) {
        if (r->force) return DART_OK;
        if (stale)
            REFUSE(r,
                "it was measured with other texts of kernel %s than this program's; tune "
                "again, or leave out what does not hold with --force",
                kernel);
        REFUSE(r, "a form of kernel %s: %s", kernel, why);
    }
    void *list = r->trial;
    DART_TRY(dart_grow(&list, &r->capacity, r->count + 1, sizeof *r->trial));
    r->trial = list;
    r->trial[r->count++] = *t;
    return DART_OK;
}

static dart_status check_device(const reading *r, const json_t *body)
{
    const json_t *of = json_object_get(body, "device");
    const dart_caps *caps = &r->device->caps;
    const struct {
        const char *key, *got, *expected;
    } same[] = {{"backend", text_at(of, "backend"), r->device->backend->name},
        {"device", text_at(of, "name"), caps->name},
        {"driver", text_at(of, "driver"), caps->driver}, {"api", text_at(of, "api"), caps->api},
        {"program version", text_at(body, "program"), dart_version()}};
    if (strcmp(text_at(body, "format"), format_name) != 0)
        REFUSE(r, "expected a file that tune --export wrote (format '%s'), got '%.64s'",
            format_name, text_at(body, "format"));
    for (size_t i = 0; i < sizeof same / sizeof *same && !r->force; i++)
        if (strcmp(same[i].got, same[i].expected) != 0)
            REFUSE(r,
                "it is of another %s: expected '%.100s', got '%.100s'; tune here, or take it "
                "nevertheless with --force",
                same[i].key, same[i].expected, same[i].got);
    return DART_OK;
}

static dart_status read_all(reading *r, const json_t *body)
{
    const json_t *classes = json_object_get(body, "classes"), *class, *form;
    size_t i, j;
    DART_TRY(check_device(r, body));
    if (!json_is_array(classes)) REFUSE(r, "expected a list called classes");
    json_array_foreach(classes, i, class)
    {
        dart_trial begun;
        const size_t before = r->count;
        bool measured = false;
        DART_TRY(read_class(r, class, &begun));
        json_array_foreach(json_object_get(class, "forms"), j, form)
        {
            dart_trial t = begun;
            DART_TRY(read_form(r, form, &t));
            DART_TRY(add_trial(r, &t));
        }
        for (size_t k = before; k < r->count; k++)
            measured |= r->trial[k].state != DART_TRIAL_SHIPPED;
        if (r->force && !measured) r->count = before; /* the shipped form of another device */
    }
    if (!r->count) REFUSE(r, "nothing in it holds for %s", r->device->caps.name);
    const dart_status status = dart_trials_check(&r->device->caps, r->trial, r->count);
    if (status == DART_INPUT) REFUSE(r, "a class of launches has two choices");
    return status;
}

dart_status dart_tuned_parse(const dart_device *device, const char *text, size_t size,
    const char *name, bool force, dart_trial **out, size_t *out_count)
{
    reading r = {.device = device, .name = name, .force = force};
    char why[DART_JSON_WHY];
    json_t *body;
    *out = NULL;
    *out_count = 0;
    DART_TRY(dart_json_parse(text, size, name, why, &body));
    const dart_status status = read_all(&r, body);
    json_decref(body);
    if (status == DART_OK) {
        *out = r.trial;
        *out_count = r.count;
    } else {
        free(r.trial);
    }
    return status;
}

static uint32_t classes_in(const dart_trial *trial, size_t count)
{
    uint32_t classes = 0;
    for (size_t i = 0; i < count; i++)
        classes += !i || memcmp(&trial[i].class, &trial[i - 1].class, sizeof trial[i].class) != 0;
    return classes;
}

dart_status dart_tuning_import(
    const dart_recipe *recipe, const char *path, bool force, uint32_t *out_classes)
{
    dart_device *device;
    dart_tuned *tuned;
    char *text = NULL;
    size_t size, count = 0;
    dart_trial *trial = NULL;
    dart_status status = DART_OK;
    if (out_classes) *out_classes = 0;
    DART_TRY(dart_tuning_open(recipe, &device, &tuned));
    DART_GOTO(dart_file_read(path, &text, &size));
    DART_GOTO(dart_tuned_parse(device, text, size, path, force, &trial, &count));
    DART_GOTO(dart_tuned_put(tuned, &device->caps, trial, count));
    if (out_classes) *out_classes = classes_in(trial, count);
done:
    free(trial);
    free(text);
    dart_device_close(device);
    return status;
}
