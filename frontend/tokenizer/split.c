/* Patterns: from Oniguruma's syntax, which tokenizer.json has, to PCRE2's. What the two understand
 * in different ways is written in a third way, or refused. */
#include "split.h"
#include "chars.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* \s of PCRE2 has one character more (U+180E), \w fewer. */
#define SPACES                                                                                     \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"        \
    "\\x{205f}\\x{3000}"
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* Of one match, and for each byte that is left: a run of blanks is gone back over once. */
enum { STEPS = 1000000, BYTE_STEPS = 4 };

static dart_status refuse(const char *what, const char *pattern, const char *part)
{
    return dart_fail(DART_INPUT, "%s: pattern '%.200s': %s is not supported", what, pattern, part);
}

static dart_status add(dart_buffer *out, const char *text)
{
    return dart_buffer_add(out, text, strlen(text));
}

/* The escape behind a backslash at *at, which moves on. */
static dart_status translate_escape(
    const char *what, const char *pattern, const char **at, bool class, dart_buffer *out)
{
    static const char *const inside[] = {SPACES, "\\S\\x{180e}", WORDS};
    static const char *const outside[] = {"[" SPACES "]", "[^" SPACES "]", "[" WORDS "]"};
    const char c = **at, *known = c ? strchr("sSw", c) : NULL;
    char part[24];
    if (known) {
        ++*at;
        return add(out, (class ? inside : outside)[known - "sSw"]);
    }
    if (c == 'W' && !class) {
        ++*at;
        return add(out, "[^" WORDS "]");
    }
    if (c == 'u') {
        if (strspn(*at + 1, "0123456789abcdefABCDEF") < 4)
            return refuse(what, pattern, "\\u without four digits");
        snprintf(part, sizeof part, "\\x{%.4s}", *at + 1);
        *at += 5;
        return add(out, part);
    }
    const bool anchor = !class && (c == 'A' || c == 'z');
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z' && !anchor && !strchr("dprntfx", c)) ||
        (c >= 'A' && c <= 'Z' && !anchor && !strchr("DP", c)) || !c) {
        snprintf(part, sizeof part, "\\%c%s", c ? c : ' ', c ? "" : "at its end");
        return refuse(what, pattern, part);
    }
    const char *begin = (*at)++ - 1;
    if (strchr("pPx", c) && **at == '{') {
        const char *end = strchr(*at, '}');
        if (!end) return refuse(what, pattern, "{ without }");
        *at = end + 1;
    }
    return dart_buffer_add(out, begin, (size_t)(*at - begin));
}

static dart_status check_group(const char *what, const char *pattern, const char *at)
{
    static const char *const known[] = {":", "=", "!", ">", "<=", "<!", "i:", "-i:"};
    if (at[1] == '*') return refuse(what, pattern, "(*");
    if (at[1] != '?') return DART_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(at + 2, known[i], strlen(known[i]))) return DART_OK;
    return refuse(what, pattern, "this kind of group (?...)");
}

static dart_status translate(const char *what, const char *pattern, dart_buffer *out)
{
    bool class = false;
    for (const char *at = pattern; *at;) {
        const char c = *at;
        if (c == '\\') {
            at++;
            DART_TRY(translate_escape(what, pattern, &at, class, out));
            continue;
        }
        if (class) {
            if (c == '[') return refuse(what, pattern, "[ within [...]");
            if (c == '&' && at[1] == '&') return refuse(what, pattern, "&&");
            class = c != ']';
        } else if (c == '[') {
            class = true;
            if (at[1] == ']' || (at[1] == '^' && at[2] == ']'))
                return refuse(what, pattern, "] at the beginning of [...]");
            if (at[1] == '^') {
                DART_TRY(add(out, "[^"));
                at += 2;
                continue;
            }
        } else if (c == '(') {
            DART_TRY(check_group(what, pattern, at));
        } else if (c == '}' && at[1] == '+') {
            return refuse(what, pattern, "}+");
        } else if (c == '{' && at[1] == ',') {
            return refuse(what, pattern, "{,");
        }
        DART_TRY(dart_buffer_add(out, at++, 1));
    }
    return DART_OK;
}

dart_status dart_regex_new(const char *pattern, bool literal, const char *what, pcre2_code **out)
{
    dart_buffer text = {0};
    dart_status status = DART_OK;
    int error;
    PCRE2_SIZE at;
    *out = NULL;
    if (!*pattern) return dart_fail(DART_INPUT, "%s: a pattern is empty", what);
    if (literal)
        DART_GOTO(add(&text, pattern));
    else
        DART_GOTO(translate(what, pattern, &text));
    uint32_t options = literal ? PCRE2_LITERAL | PCRE2_UTF
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                     PCRE2_NO_AUTO_CAPTURE;
    *out = pcre2_compile((PCRE2_SPTR)text.at, text.size, options, &error, &at, NULL);
    if (!*out && error == PCRE2_ERROR_HEAP_FAILED) {
        status = dart_fail(DART_MEMORY, "out of memory: compiling a pattern of %s", what);
    } else if (!*out) {
        char why[120];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        status = dart_fail(DART_INPUT, "%s: pattern '%.200s': %s", what, pattern, why);
    } else {
        /* where this cannot be done, pcre2_match interprets the pattern */
        (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    }
done:
    free(text.at);
    return status;
}

dart_status dart_matcher_new(dart_matcher *out)
{
    out->data = pcre2_match_data_create(1, NULL);
    out->context = pcre2_match_context_create(NULL);
    if (!out->data || !out->context)
        return dart_fail(DART_MEMORY, "out of memory: preparing to match patterns");
    return DART_OK;
}

void dart_matcher_free(dart_matcher *matcher)
{
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
}

dart_status dart_regex_next(const pcre2_code *code, const dart_matcher *matcher, const char *text,
    size_t bytes, size_t from, size_t *begin, size_t *end)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(matcher->data);
    while (from < bytes) {
        const uint64_t steps = STEPS + BYTE_STEPS * (uint64_t)(bytes - from);
        pcre2_set_match_limit(matcher->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
        int n = pcre2_match(code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, matcher->data,
            matcher->context);
        if (n == PCRE2_ERROR_NOMATCH) break;
        if (n == PCRE2_ERROR_NOMEMORY)
            return dart_fail(DART_MEMORY, "out of memory: matching a tokenizer's pattern");
        if (n < 0) {
            char why[120];
            pcre2_get_error_message(n, (PCRE2_UCHAR *)why, sizeof why);
            return dart_fail(DART_INPUT, "the tokenizer's pattern cannot be matched: %s", why);
        }
        if (found[1] > found[0]) {
            *begin = found[0];
            *end = found[1];
            return DART_OK;
        }
        uint32_t c;
        from = found[0];
        if (from < bytes) from += dart_char_next(text + from, bytes - from, &c);
    }
    *begin = *end = bytes;
    return DART_OK;
}

/* Puts matches and what is between them together. */
typedef struct joiner {
    dart_split_kind kind;
    dart_piece_fn *take;
    void *user;
    const char *held; /* a piece that the next part may still belong to */
    size_t bytes;
    bool matched; /* the part before was a match */
} joiner;

static dart_status flush(joiner *j)
{
    const char *held = j->held;
    j->held = NULL;
    return held ? j->take(j->user, held, j->bytes) : DART_OK;
}

static dart_status part(joiner *j, const char *text, size_t bytes, bool match)
{
    bool joined = false;
    if (!bytes) return DART_OK;
    switch (j->kind) {
    case DART_SPLIT_REMOVED:
        return match ? DART_OK : j->take(j->user, text, bytes);
    case DART_SPLIT_ISOLATED:
        return j->take(j->user, text, bytes);
    case DART_SPLIT_PREVIOUS:
        joined = match && !j->matched;
        break;
    case DART_SPLIT_NEXT:
        joined = !match && j->matched;
        break;
    case DART_SPLIT_CONTIGUOUS:
        joined = match == j->matched;
        break;
    }
    j->matched = match;
    if (joined && j->held) {
        j->bytes += bytes;
        return DART_OK;
    }
    DART_TRY(flush(j));
    j->held = text;
    j->bytes = bytes;
    return DART_OK;
}

dart_status dart_split_each(const dart_split *split, const dart_matcher *matcher, const char *text,
    size_t bytes, dart_piece_fn *take, void *user)
{
    joiner j = {split->kind, take, user, NULL, 0, false};
    for (size_t at = 0, begin, end; at < bytes; at = end) {
        DART_TRY(dart_regex_next(split->code, matcher, text, bytes, at, &begin, &end));
        DART_TRY(part(&j, text + at, begin - at, split->invert));
        DART_TRY(part(&j, text + begin, end - begin, !split->invert));
    }
    return flush(&j);
}
