/* jansson with every failed allocation noticed. Inside a string it takes one for a syntax error, or
 * drops a byte, in its parser and in its printer; so allocations go through a function that
 * remembers failures. Where the buffer of a token cannot grow, its parser even asserts (2.14,
 * lex_unget_unsave); so while it reads, such blocks come from a reserve made beforehand. */
#include "json.h"
#include "utf8.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_malloc_t inner_malloc;
static json_free_t inner_free;
static _Thread_local bool short_of_memory;
static _Thread_local struct {
    char *at;
    size_t size, used;
} reserve;

/* Buffers of tokens are powers of two of at least 32 bytes. */
static void *from_reserve(size_t size)
{
    if (size < 32 || (size & (size - 1)) || size > reserve.size - reserve.used) return NULL;
    reserve.used += size;
    return reserve.at + reserve.used - size;
}

static void *noting_malloc(size_t size)
{
    void *memory = inner_malloc(size);
    if (memory) return memory;
    short_of_memory = true;
    return from_reserve(size);
}

static void noting_free(void *memory)
{
    const uintptr_t at = (uintptr_t)memory, first = (uintptr_t)reserve.at;
    if (!reserve.at || at < first || at >= first + reserve.size) inner_free(memory);
}

static void install(void)
{
    json_get_alloc_funcs(&inner_malloc, &inner_free);
    json_set_alloc_funcs(noting_malloc, noting_free);
}

/* From here on short_of_memory says whether an allocation of this thread failed. */
static void watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    short_of_memory = false;
}

static dart_status parse(const char *text, size_t size, size_t flags, const char *what,
    char why[DART_JSON_WHY], json_t **out)
{
    json_error_t error;
    watch();
    *out = NULL;
    /* a token of the whole text, and all smaller buffers that it outgrew */
    reserve.size = 4 * size + 4096;
    reserve.used = 0;
    reserve.at = malloc(reserve.size);
    if (reserve.at)
        *out = json_loadb(text, size, JSON_REJECT_DUPLICATES | flags, &error);
    else
        short_of_memory = true;
    if (short_of_memory) {
        json_decref(*out);
        *out = NULL;
    }
    free(reserve.at);
    reserve.at = NULL;
    reserve.size = reserve.used = 0;
    if (short_of_memory) return dart_fail(DART_MEMORY, "out of memory: reading %s", what);
    if (*out) return DART_OK;
    snprintf(why, DART_JSON_WHY, "%s", error.text);
    return dart_fail(DART_INPUT, "%s is not JSON: %s", what, error.text);
}

dart_status dart_json_parse(
    const char *text, size_t size, const char *what, char why[DART_JSON_WHY], json_t **out)
{
    return parse(text, size, 0, what, why, out);
}

dart_status dart_json_parse_reals(
    const char *text, size_t size, const char *what, char why[DART_JSON_WHY], json_t **out)
{
    return parse(text, size, JSON_DECODE_INT_AS_REAL, what, why, out);
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

dart_status dart_json_made(dart_status status, const char *what)
{
    return status == DART_OK ? DART_OK : dart_fail(status, "out of memory: writing %s", what);
}

dart_status dart_json_print(json_t *body, dart_status status, size_t flags, FILE *out)
{
    char *text;
    DART_TRY(dart_json_write(body, status, flags, "JSON", &text));
    fputs(text, out);
    free(text);
    return fputc('\n', out) == EOF ? dart_fail(DART_IO, "cannot write JSON") : DART_OK;
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
