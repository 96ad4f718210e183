/* Looking for added tokens. */
#include "added.h"
#include "chars.h"
#include <string.h>

static uint32_t child_of(const dart_added_set *set, uint32_t node, uint8_t byte)
{
    uint32_t at = set->node[node].child;
    while (at && set->node[at].byte != byte) at = set->node[at].sibling;
    return at;
}

static void insert(dart_added_set *set, const char *text, uint32_t token)
{
    const uint8_t *s = (const uint8_t *)text;
    uint32_t at = set->first[s[0]];
    if (!at) {
        at = set->first[s[0]] = set->nodes++;
        set->node[at].byte = s[0];
    }
    while (*++s) {
        uint32_t next = child_of(set, at, *s);
        if (!next) {
            next = set->nodes++;
            set->node[next] = (dart_added_node){.byte = *s, .sibling = set->node[at].child};
            set->node[at].child = next;
        }
        at = next;
    }
    if (!set->node[at].token) set->node[at].token = token + 1;
}

dart_status dart_added_new(dart_arena *arena, const dart_added *list, uint32_t count, bool normal,
    const char *const *text, dart_added_set *out)
{
    uint64_t nodes = 1;
    *out = (dart_added_set){.nodes = 1};
    for (uint32_t i = 0; i < count; i++)
        if (list[i].normal == normal) nodes += strlen(text && text[i] ? text[i] : list[i].text);
    out->token = DART_NEW(arena, const dart_added *, count);
    out->node = DART_NEW(arena, dart_added_node, nodes);
    if (!out->token || !out->node) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        const char *wanted = text && text[i] ? text[i] : list[i].text;
        if (list[i].normal != normal || !*wanted) continue;
        out->token[out->tokens] = &list[i];
        insert(out, wanted, out->tokens++);
    }
    return DART_OK;
}

static size_t longest(const dart_added_set *set, const char *text, size_t bytes, uint32_t *token)
{
    size_t best = 0, i = 0;
    for (uint32_t at = set->first[(uint8_t)text[0]]; at;) {
        i++;
        if (set->node[at].token) {
            best = i;
            *token = set->node[at].token - 1;
        }
        at = i < bytes ? child_of(set, at, (uint8_t)text[i]) : 0;
    }
    return best;
}

/* The character that ends before `at`; its bytes, 0: there is none. */
static size_t char_before(const char *text, size_t at, uint32_t *c)
{
    size_t begin = at;
    while (begin && at - begin < 4 && ((uint8_t)text[--begin] & 0xc0) == 0x80) continue;
    if (begin == at || dart_char_next(text + begin, at - begin, c) != at - begin) return 0;
    return *c == DART_NO_CHAR ? 0 : at - begin;
}

static bool inside_word(const char *text, size_t bytes, size_t begin, size_t end)
{
    uint32_t c;
    if (char_before(text, begin, &c) && dart_char_word(c)) return true;
    if (end == bytes) return false;
    dart_char_next(text + end, bytes - end, &c);
    return c != DART_NO_CHAR && dart_char_word(c);
}

dart_added_match dart_added_next(
    const dart_added_set *set, const char *text, size_t bytes, size_t from, bool special)
{
    dart_added_match none = {bytes, bytes, NULL};
    uint32_t token = 0, c;
    if (!set->tokens) return none;
    for (size_t at = from, n; at < bytes; at += n ? n : 1) {
        n = longest(set, text + at, bytes - at, &token);
        if (!n) continue;
        const dart_added *found = set->token[token];
        if (found->special && !special) continue;
        size_t begin = at, end = at + n;
        if (found->word && inside_word(text, bytes, begin, end)) continue;
        if (found->left)
            for (size_t m;
                 begin > from && (m = char_before(text, begin, &c)) && dart_char_space(c);)
                begin -= m <= begin - from ? m : begin - from;
        while (found->right && end < bytes) {
            size_t m = dart_char_next(text + end, bytes - end, &c);
            if (!dart_char_space(c)) break;
            end += m;
        }
        return (dart_added_match){begin, end, found};
    }
    return none;
}
