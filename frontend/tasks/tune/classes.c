/* Launches of a step by class, with what they took. */
#include "tuning.h"
#include <stdlib.h>
#include <string.h>

static dart_step_class *find(const dart_step_classes *classes, const dart_class *class)
{
    for (size_t i = 0; i < classes->count; i++)
        if (!memcmp(&classes->of[i].class, class, sizeof *class)) return &classes->of[i];
    return NULL;
}

static dart_status add(dart_step_classes *classes, const dart_launch *launch, double seconds)
{
    dart_class class;
    classes->seconds += seconds;
    if (!dart_class_of(launch, &class)) return DART_OK;
    dart_step_class *at = find(classes, &class);
    if (!at) {
        void *grown = classes->of;
        DART_TRY(dart_grow(&grown, &classes->capacity, classes->count + 1, sizeof *classes->of));
        classes->of = grown;
        at = &classes->of[classes->count++];
        *at = (dart_step_class){.class = class, .launch = *launch};
    }
    at->launches++;
    at->seconds += seconds;
    if (seconds > at->worst) {
        at->worst = seconds;
        at->launch = *launch;
    }
    return DART_OK;
}

dart_status dart_step_classes_add(
    void *user, const char *name, const dart_graph_program *program, const double *seconds)
{
    uint32_t count;
    const dart_launch *list = dart_plan_launches(program->plan, &count);
    (void)name;
    for (uint32_t i = 0; i < count; i++) DART_TRY(add(user, &list[i], seconds[i]));
    return DART_OK;
}

static int longer_first(const void *a, const void *b)
{
    const dart_step_class *x = a, *y = b;
    if (x->seconds != y->seconds) return x->seconds < y->seconds ? 1 : -1;
    return memcmp(&x->class, &y->class, sizeof x->class);
}

void dart_step_classes_sort(dart_step_classes *classes)
{
    if (classes->count) qsort(classes->of, classes->count, sizeof *classes->of, longer_first);
}

void dart_step_classes_free(dart_step_classes *classes)
{
    free(classes->of);
    *classes = (dart_step_classes){0};
}
