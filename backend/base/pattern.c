/* Patterns as automata: braces and stars are ways between places in the pattern. */
#include "pattern.h"
#include <stdint.h>
#include <string.h>

enum { MOST_BRACES = 4 };

/* The bracket that closes a set, NULL if there is none. A bracket that comes first is a member. */
static const char *set_end(const char *open)
{
    const char *p = open + 1;
    if (*p == '!') p++;
    if (*p == ']') p++;
    return strchr(p, ']');
}

/* The comma or brace that ends an alternative beginning at p, NULL if there is none. */
static const char *part_end(const char *p)
{
    for (int depth = 0; *p; p++) {
        if (*p == '[') p = set_end(p);
        if (!p) return NULL;
        if (!depth && (*p == ',' || *p == '}')) return p;
        depth += (*p == '{') - (*p == '}');
    }
    return NULL;
}

/* The brace that closes the one before p, NULL if there is none. */
static const char *brace_end(const char *p)
{
    do {
        p = part_end(p);
    } while (p && *p++ == ',');
    return p ? p - 1 : NULL;
}

dart_status dart_pattern_check(const char *pattern)
{
    const char *missing = NULL;
    if (!*pattern) return dart_fail(DART_INPUT, "a pattern is empty");
    if (strlen(pattern) >= DART_PATTERN_MAX)
        return dart_fail(DART_INPUT, "the pattern '%.40s...' is longer than %d letters", pattern,
            DART_PATTERN_MAX - 1);
    int depth = 0, braces = 0;
    for (const char *p = pattern; *p && !missing; p++) {
        if (*p == '[') {
            const char *end = set_end(p);
            if (end)
                p = end;
            else
                missing = "]";
        } else if (*p == '{') {
            if (!brace_end(p + 1)) missing = "}";
            if (++braces > MOST_BRACES)
                return dart_fail(DART_INPUT, "the pattern '%.40s' has more than %d braces", pattern,
                    MOST_BRACES);
            depth++;
        } else if (*p == '}' && depth-- == 0) {
            missing = "{";
        }
    }
    if (!missing) return DART_OK;
    return dart_fail(DART_INPUT, "the pattern '%s' lacks a '%s'", pattern, missing);
}

static bool in_set(const char *open, const char *end, unsigned char c)
{
    bool negated = open[1] == '!', found = false;
    for (const char *p = open + 1 + negated; p < end; p++) {
        unsigned char low = (unsigned char)*p, high = low;
        if (p + 2 < end && p[1] == '-') {
            high = (unsigned char)p[2];
            p += 2;
        }
        found |= c >= low && c <= high;
    }
    return found != negated;
}

/* Where in a pattern the letters read so far may have led: places, and for each comma and brace of
 * an alternative where it goes on behind the closing brace (0: a letter). */
typedef struct places {
    const char *pattern;
    uint8_t behind[DART_PATTERN_MAX];
    bool at[DART_PATTERN_MAX];
} places;

static void find_ends(places *s)
{
    for (const char *p = s->pattern; *p; p++) {
        if (*p == '[') {
            p = set_end(p);
        } else if (*p == '{') {
            const char *close = brace_end(p + 1), *end = p;
            do {
                end = part_end(end + 1);
                s->behind[end - s->pattern] = (uint8_t)(close + 1 - s->pattern);
            } while (end != close);
        }
    }
}

/* A place, and those that are reached from it without a letter. */
static void enter(places *s, const char *p)
{
    const size_t i = (size_t)(p - s->pattern);
    if (s->at[i]) return;
    s->at[i] = true;
    if (*p == '*') enter(s, p + 1);
    if (s->behind[i]) enter(s, s->pattern + s->behind[i]);
    if (*p != '{') return;
    const char *close = brace_end(p + 1), *part = p;
    do {
        enter(s, part + 1);
        part = part_end(part + 1);
    } while (part != close);
}

/* All places at once, letter by letter: the time is that of pattern times name, whatever they are.
 */
bool dart_pattern_match(const char *pattern, const char *name)
{
    places s = {.pattern = pattern};
    find_ends(&s);
    enter(&s, pattern);
    for (; *name; name++) {
        bool before[DART_PATTERN_MAX];
        memcpy(before, s.at, sizeof before);
        memset(s.at, 0, sizeof s.at);
        for (const char *p = pattern; *p; p++) {
            const size_t i = (size_t)(p - pattern);
            const char *end = *p == '[' ? set_end(p) : p;
            if (before[i] && *p == '*')
                enter(&s, p);
            else if (before[i] && *p != '{' && !s.behind[i] &&
                     (*p == '[' ? in_set(p, end, (unsigned char)*name) : *p == '?' || *p == *name))
                enter(&s, end + 1);
            p = end;
        }
    }
    return s.at[strlen(pattern)];
}
