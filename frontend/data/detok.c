/* Words back to text: subwords joined, Moses' escapes undone, marks put where a writer puts them.
 */
#include "parallel.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What a mark does to the space before and after it. */
typedef enum join { JOIN_NONE, JOIN_LEFT, JOIN_RIGHT, JOIN_BOTH, JOIN_QUOTE } join;

static const struct {
    const char *from, *to;
} escapes[] = {{"&quot;", "\""}, {"&apos;", "'"}, {"&#124;", "|"}, {"&lt;", "<"}, {"&gt;", ">"},
    {"&#91;", "["}, {"&#93;", "]"}, {"&amp;", "&"}};

static const struct {
    const char *word;
    join how;
} marks[] = {{".", JOIN_LEFT}, {",", JOIN_LEFT}, {"!", JOIN_LEFT}, {"?", JOIN_LEFT},
    {";", JOIN_LEFT}, {":", JOIN_LEFT}, {"%", JOIN_LEFT}, {")", JOIN_LEFT}, {"]", JOIN_LEFT},
    {"}", JOIN_LEFT}, {"...", JOIN_LEFT}, {"…", JOIN_LEFT}, {"”", JOIN_LEFT}, {"(", JOIN_RIGHT},
    {"[", JOIN_RIGHT}, {"{", JOIN_RIGHT}, {"$", JOIN_RIGHT}, {"£", JOIN_RIGHT}, {"€", JOIN_RIGHT},
    {"„", JOIN_RIGHT}, {"¿", JOIN_RIGHT}, {"¡", JOIN_RIGHT}, {"@-@", JOIN_BOTH},
    {"##AT##-##AT##", JOIN_BOTH}, {"\"", JOIN_QUOTE}};

/* One word without its escapes and subword mark; *more: the next word continues it. */
static size_t clean(const char *word, size_t size, char *out, bool *more)
{
    size_t used = 0;
    *more = size > 2 && !memcmp(word + size - 2, "@@", 2);
    if (*more) size -= 2;
    for (size_t at = 0; at < size;) {
        size_t i = 0, n = 0;
        for (; i < sizeof escapes / sizeof *escapes; i++) {
            n = strlen(escapes[i].from);
            if (at + n <= size && !memcmp(word + at, escapes[i].from, n)) break;
        }
        if (i < sizeof escapes / sizeof *escapes) {
            out[used++] = escapes[i].to[0];
            at += n;
        } else {
            out[used++] = word[at++];
        }
    }
    out[used] = 0;
    return used;
}

static join how_of(const char *word, bool marks_cut)
{
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (!strcmp(word, marks[i].word)) return marks[i].how;
    /* Where every mark is a word, an apostrophe or a dash mostly stood within one. */
    if (marks_cut && (!strcmp(word, "'") || !strcmp(word, "-") || !strcmp(word, "/")))
        return JOIN_BOTH;
    if (word[0] == '\'' && isalpha((unsigned char)word[1])) return JOIN_LEFT; /* 's, 're */
    if (!strcmp(word, "n't")) return JOIN_LEFT;
    return JOIN_NONE;
}

dart_status dart_detokenize(const char *words, bool marks_cut, char **out)
{
    size_t size = strlen(words), used = 0;
    char *text = dart_calloc(size + 2, 1), *word = dart_calloc(size + 1, 1);
    bool joined = true, inside = false, quoted = false; /* inside: of a word made of subwords */
    if (!text || !word) {
        free(text);
        free(word);
        return DART_MEMORY;
    }
    for (const char *at = words; *at;) {
        size_t n = strcspn(at, " ");
        bool more, space;
        if (n) {
            size_t length = clean(at, n, word, &more);
            join how = inside || more ? JOIN_NONE : how_of(word, marks_cut);
            if (how == JOIN_QUOTE) {
                how = quoted ? JOIN_LEFT : JOIN_RIGHT;
                quoted = !quoted;
            }
            space = !joined && !inside && how != JOIN_LEFT && how != JOIN_BOTH;
            if (space) text[used++] = ' ';
            if (!strcmp(word, "@-@") || !strcmp(word, "##AT##-##AT##")) {
                text[used++] = '-';
            } else {
                memcpy(text + used, word, length);
                used += length;
            }
            joined = how == JOIN_RIGHT || how == JOIN_BOTH;
            inside = more;
        }
        at += n + (at[n] == ' ');
    }
    text[used] = 0;
    free(word);
    *out = text;
    return DART_OK;
}
