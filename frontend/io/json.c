/* jansson with every failed allocation noticed. Inside a string its printer drops a byte then, and
 * its parser drops one, takes it for a syntax error or fails an assertion; so allocations go
 * through a function that remembers failures, and that leaves the parser at once. */
#include "json.h"
#include "utf8.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_malloc_t inner_malloc;
static _Thread_local bool short_of_memory;
static _Thread_local jmp_buf *parsing; /* NULL: not in the parser */

static void *noting_malloc(size_t size)
{
    void *memory = inner_malloc(size);
    if (memory) return memory;
    short_of_memory = true;
    if (parsing) longjmp(*parsing, 1);
    return NULL;
}

static void install(void)
{
    json_free_t inner_free;
    json_get_alloc_funcs(&inner_malloc, &inner_free);
    json_set_alloc_funcs(noting_malloc, inner_free);
}

/* From here on short_of_memory says whether an allocation of this thread failed. */
static void watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    short_of_memory = false;
}

/* NULL: it is no JSON, or memory ran out; what jansson had made until then is then lost. */
static json_t *load(const char *text, size_t size, json_error_t *error)
{
    jmp_buf out;
    json_t *body = NULL;
    if (!setjmp(out)) {
        parsing = &out;
        body = json_loadb(text, size, JSON_REJECT_DUPLICATES, error);
    }
    parsing = NULL;
    return short_of_memory ? NULL : body;
}

dart_status dart_json_parse(
    const char *text, size_t size, const char *what, char why[DART_JSON_WHY], json_t **out)
{
    json_error_t error;
    watch();
    *out = load(text, size, &error);
    if (short_of_memory) return dart_fail(DART_MEMORY, "out of memory: reading %s", what);
    if (*out) return DART_OK;
    snprintf(why, DART_JSON_WHY, "%s", error.text);
    return dart_fail(DART_INPUT, "%s is not JSON: %s", what, error.text);
}

double dart_json_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return 0;
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void dart_json_set(json_t *object, const char *key, json_t *value, dart_status *status)
{
    if (json_object_set_new(object, key, value)) *status = DART_MEMORY;
}

void dart_json_add(json_t *list, json_t *value, dart_status *status)
{
    if (json_array_append_new(list, value)) *status = DART_MEMORY;
}

json_t *dart_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *dart_json_text(const char *text)
{
    json_t *whole = json_string(text);
    if (whole) return whole;
    char *sound = dart_calloc(strlen(text) + 1, 3), *to = sound;
    if (!sound) return NULL;
    for (size_t n; *text; text += n ? n : 1) {
        n = dart_utf8_length(text);
        to = n ? mempcpy(to, text, n) : stpcpy(to, "\xef\xbf\xbd");
    }
    whole = json_string(sound);
    free(sound);
    return whole;
}

dart_status dart_json_write(
    json_t *body, dart_status status, size_t flags, const char *what, char **out)
{
    watch();
    *out = status == DART_OK ? json_dumps(body, flags) : NULL;
    json_decref(body);
    if (*out && !short_of_memory) return DART_OK;
    free(*out);
    *out = NULL;
    return dart_fail(DART_MEMORY, "out of memory: writing %s", what);
}
