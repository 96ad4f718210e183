/* Matching by trying: patterns are short, and so are names. */
#include "pattern.h"
#include <stdio.h>
#include <string.h>

/* Alternatives are tried one by one: each pair of braces multiplies what is tried. */
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

/* Each alternative in turn, in front of what follows the braces. */
static bool match_parts(const char *open, const char *name)
{
    const char *close = brace_end(open + 1);
    for (const char *part = open + 1;;) {
        const char *end = part_end(part);
        char whole[DART_PATTERN_MAX];
        snprintf(whole, sizeof whole, "%.*s%s", (int)(end - part), part, close + 1);
        if (dart_pattern_match(whole, name)) return true;
        if (end == close) return false;
        part = end + 1;
    }
}

bool dart_pattern_match(const char *pattern, const char *name)
{
    for (; *pattern; pattern++, name++) {
        if (*pattern == '{') return match_parts(pattern, name);
        if (*pattern == '*') {
            while (pattern[1] == '*') pattern++;
            do {
                if (dart_pattern_match(pattern + 1, name)) return true;
            } while (*name++);
            return false;
        }
        if (!*name) return false;
        if (*pattern == '[') {
            const char *end = set_end(pattern);
            if (!in_set(pattern, end, (unsigned char)*name)) return false;
            pattern = end;
        } else if (*pattern != '?' && *pattern != *name) {
            return false;
        }
    }
    return !*name;
}
