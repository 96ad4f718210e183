#include "names.h"
#include "words.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *dart_name_of_list(const void *list, uint32_t index)
{
    return ((const char *const *)list)[index];
}

bool dart_name_is(const char *name, const char *aliases, const char *word)
{
    const size_t length = strlen(word);
    if (!strcasecmp(name, word)) return true;
    for (const char *at = aliases; *at;) {
        const size_t n = strcspn(at, ",");
        if (n == length && !strncasecmp(at, word, n)) return true;
        at += n + (at[n] == ',');
    }
    return false;
}

const char *dart_name_nearest(const char *word, dart_name_at *at, const void *context)
{
    const char *best = NULL, *name;
    size_t best_distance = strlen(word) / 3 + 2; /* farther than this is no help */
    for (uint32_t i = 0; (name = at(context, i)) != NULL; i++) {
        size_t d = dart_edit_distance(word, name, strlen(name));
        if (d < best_distance) {
            best_distance = d;
            best = name;
        }
    }
    return best;
}

dart_status dart_name_unknown_at(const char *file, int line, dart_status code, const char *what,
    const char *word, dart_name_at *at, const void *context, const char *rest)
{
    char known[512] = "";
    const char *name, *near = dart_name_nearest(word, at, context);
    size_t used = 0;
    for (uint32_t i = 0; used < sizeof known && (name = at(context, i)) != NULL; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", name);
    return dart_fail_at(file, line, code, "unknown %s '%.60s'; known are %s%s%s%s%s", what, word,
        known, rest, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
