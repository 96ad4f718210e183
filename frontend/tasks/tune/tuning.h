/* The parts of dart_tune: classes of a step's launches, one class measured, files of results. */
#ifndef DART_TUNING_H
#define DART_TUNING_H

#include "backend.h"
#include "dart.h"
#include "json.h"
#include "note.h"
#include "session.h"
#include "tuned.h"

struct dart_tuning {
    dart_tune_result result;
    dart_tune_row *row; /* owned (result.rows) */
    size_t capacity;
};

/* What the functions of dart/tune.h do. */
DART_NODISCARD dart_status dart_tuning_new(const dart_recipe *recipe,
    const dart_tune_options *options, const dart_hooks *hooks, dart_tuning **out);
DART_NODISCARD dart_status dart_tuning_kept(const dart_recipe *recipe, dart_tuning **out);
DART_NODISCARD dart_status dart_tuning_export(const dart_recipe *recipe, const char *path);
DART_NODISCARD dart_status dart_tuning_import(
    const dart_recipe *recipe, const char *path, bool force, uint32_t *out_classes);
DART_NODISCARD dart_status dart_tuning_clear(const dart_recipe *recipe);
/* The recipe's device, and what is kept for it. USAGE: one that has no forms to choose from. */
DART_NODISCARD dart_status dart_tuning_open(
    const dart_recipe *recipe, dart_device **out_device, dart_tuned **out_tuned);

/* ---- classes.c ---- */

typedef struct dart_step_class {
    dart_class class;
    dart_launch launch;    /* of its launches the one that took longest */
    uint32_t launches;     /* of a step */
    double seconds, worst; /* of all of them, and of `launch` */
} dart_step_class;

typedef struct dart_step_classes {
    dart_step_class *of; /* owned (count), those first that take longest */
    size_t count, capacity;
    double seconds; /* of all launches of the step, whatever class they are of */
} dart_step_classes;

/* Adds the launches of one run of a program, as a session's watch is told of it; user: the
 * dart_step_classes. */
DART_NODISCARD dart_status dart_step_classes_add(
    void *user, const char *name, const dart_graph_program *program, const double *seconds);
void dart_step_classes_sort(dart_step_classes *classes);
void dart_step_classes_free(dart_step_classes *classes); /* zeroes it */

/* ---- measure.c ---- */

typedef struct dart_tuner {
    dart_device *device; /* borrowed, as the next */
    dart_tuned *tuned;
    double deadline; /* by dart_seconds: nothing that takes long begins after it */
    double longest;  /* of what trying one form took so far */
    dart_note note;
} dart_tuner;

/* Measures one class and keeps what came of it. *out_reached false: the budget ended before any
 * form was tried. INTERRUPTED, TERMINATED: nothing of this class is kept; what ended the device. */
DART_NODISCARD dart_status dart_tuner_measure(
    dart_tuner *tuner, const dart_step_class *class, dart_tune_row *row, bool *out_reached);

/* ---- names.c: classes and forms as texts ---- */

void dart_class_kernel_text(const dart_class *class, char out[64]);
void dart_class_sizes_text(const dart_class *class, char out[96]);
void dart_form_text(const dart_form *form, char out[96]);

/* ---- exchange.c ---- */

DART_NODISCARD dart_status dart_tuned_json(
    const dart_device *device, const dart_tuned *tuned, json_t **out);
/* Trials of a text that dart_tuned_json made: all are sound for this device, or none is given. *out
 * is malloc'ed. name: of the text, for sentences. */
DART_NODISCARD dart_status dart_tuned_parse(const dart_device *device, const char *text,
    size_t size, const char *name, bool force, dart_trial **out, size_t *out_count);

#endif
