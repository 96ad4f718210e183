/* Parameters with several values, as llama-bench writes them: "8,16,32", "8-64" (by ones),
 * "8-64+8", "8-64*2"; their cross product. */
#include "bench.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 100000 }; /* combinations, and values of an axis */

static const char *const counts[] = {"prompt", "tokens", "depth", "threads", NULL};

static bool is_count(const char *key)
{
    for (const char *const *c = counts; *c; c++)
        if (!strcmp(*c, key)) return true;
    return false;
}

static dart_status add_value(dart_bench_axis *axis, const char *text, size_t length)
{
    if (axis->count == MOST)
        return dart_fail(DART_USAGE, "%s has more than %d values", axis->key, MOST);
    char **grown = realloc(axis->value, (axis->count + 1) * sizeof *grown);
    if (!grown) return dart_fail(DART_MEMORY, "out of memory for the values of %s", axis->key);
    axis->value = grown;
    char *copy = strndup(text, length);
    if (!copy) return dart_fail(DART_MEMORY, "out of memory for the values of %s", axis->key);
    axis->value[axis->count++] = copy;
    return DART_OK;
}

static dart_status bad(const dart_bench_axis *axis, const char *part, size_t length)
{
    return dart_fail(DART_USAGE,
        "'%.*s' is no value of %s: expected one, several with commas between, or a range like "
        "8-64, 8-64+8, 8-64*2",
        (int)length, part, axis->key);
}

/* A range of whole numbers; *out_is false: it is none. */
static dart_status add_range(dart_bench_axis *axis, const char *part, size_t length, bool *out_is)
{
    char *at;
    char sign = '+';
    unsigned long long by = 1;
    *out_is = false;
    if (!isdigit((unsigned char)*part)) return DART_OK;
    errno = 0;
    unsigned long long value = strtoull(part, &at, 10);
    if (at >= part + length || *at != '-' || !isdigit((unsigned char)at[1])) return DART_OK;
    const unsigned long long last = strtoull(at + 1, &at, 10);
    if (at < part + length && (*at == '+' || *at == '*')) {
        sign = *at++;
        by = strtoull(at, &at, 10);
    }
    if (at != part + length || errno || last < value || by < (sign == '*' ? 2u : 1u) ||
        (sign == '*' && value == 0))
        return bad(axis, part, length);
    *out_is = true;
    while (value <= last) {
        char text[32];
        const int n = snprintf(text, sizeof text, "%llu", value);
        DART_TRY(add_value(axis, text, (size_t)n));
        const unsigned long long next = sign == '*' ? value * by : value + by;
        if (next <= value) break;
        value = next;
    }
    return DART_OK;
}

static dart_status add_values(dart_bench_axis *axis, const char *list, bool whole)
{
    for (const char *at = list;;) {
        const size_t n = strcspn(at, ",");
        bool range = false;
        if (!n) return bad(axis, at, n);
        if (whole) DART_TRY(add_range(axis, at, n, &range));
        if (!range) DART_TRY(add_value(axis, at, n));
        if (!at[n]) return DART_OK;
        at += n + 1;
    }
}

/* Every value alone is one that the recipe takes, or a count. */
static dart_status check(const dart_recipe *recipe, const dart_bench_axis *axis)
{
    for (uint32_t i = 0; i < axis->count; i++) {
        const char *value = axis->value[i];
        if (is_count(axis->key)) {
            const size_t n = strlen(value);
            if (strspn(value, "0123456789") != n || n > 7 ||
                (strtoul(value, NULL, 10) == 0 && strcmp(axis->key, "depth") != 0))
                return bad(axis, value, n);
            continue;
        }
        dart_recipe *copy;
        DART_TRY(dart_recipe_copy(recipe, &copy));
        const dart_status status = dart_recipe_override(copy, axis->key, value);
        dart_recipe_free(copy);
        DART_TRY(status);
    }
    return DART_OK;
}

static const char *type_of(const char *key)
{
    if (is_count(key)) return "int";
    for (uint32_t i = 0; dart_option_at(i); i++)
        if (dart_option_has_name(dart_option_at(i), key, strlen(key)))
            return dart_option_at(i)->type;
    return "string";
}

static dart_status add_axis(const dart_recipe *recipe, const char *entry, dart_bench_grid *grid)
{
    const size_t n = strcspn(entry, "=");
    dart_bench_axis *axis = &grid->axis[grid->count++];
    if (!n || !entry[n] || n >= sizeof axis->key)
        return dart_fail(DART_USAGE, "'%.100s' is no parameter: expected KEY=VALUES", entry);
    memcpy(axis->key, entry, n);
    const char *type = type_of(axis->key);
    if (!strcmp(type, "string")) /* whose commas may be its own */
        DART_TRY(add_value(axis, entry + n + 1, strlen(entry + n + 1)));
    else
        DART_TRY(add_values(axis, entry + n + 1, !strcmp(type, "int")));
    DART_TRY(check(recipe, axis));
    grid->combinations *= axis->count;
    if (grid->combinations > MOST)
        return dart_fail(DART_USAGE, "more than %d combinations of parameters", MOST);
    return DART_OK;
}

dart_status dart_bench_grid_new(
    const dart_recipe *recipe, const char *const *entries, dart_bench_grid *out)
{
    uint32_t count = 0;
    *out = (dart_bench_grid){.combinations = 1};
    while (entries && entries[count]) count++;
    out->axis = dart_calloc((size_t)count + 1, sizeof *out->axis);
    if (!out->axis) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) DART_TRY(add_axis(recipe, entries[i], out));
    return DART_OK;
}

const char *dart_bench_grid_value(const dart_bench_grid *grid, uint64_t combination, uint32_t axis)
{
    for (uint32_t i = grid->count; i-- > axis + 1;) combination /= grid->axis[i].count;
    return grid->axis[axis].value[combination % grid->axis[axis].count];
}

void dart_bench_grid_free(dart_bench_grid *grid)
{
    for (uint32_t i = 0; i < grid->count; i++) {
        for (uint32_t k = 0; k < grid->axis[i].count; k++) free(grid->axis[i].value[k]);
        free(grid->axis[i].value);
    }
    free(grid->axis);
    *grid = (dart_bench_grid){0};
}
