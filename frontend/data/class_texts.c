/* Texts with labels as rows: tokens, what stands around them, what is cut. */
#include "classes_impl.h"
#include "utf8.h"
#include "vocab.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Both texts of a row, or one, with what stands around them. */
static dart_status join(dart_reading *r, bool pair)
{
    const dart_vocab *vocab = &r->out->vocab;
    r->joined.count = r->types.count = 0;
    if (r->options->framed)
        return dart_tokenizer_join(dart_vocab_tokenizer(vocab), &r->first, pair ? &r->second : NULL,
            &r->joined, &r->types);
    if (vocab->first >= 0) DART_TRY(dart_ids_take(&r->joined, &vocab->first, 1));
    DART_TRY(dart_ids_take(&r->joined, r->first.id, r->first.count));
    if (!pair) return DART_OK;
    DART_TRY(dart_ids_take(&r->joined, r->between.id, r->between.count));
    return dart_ids_take(&r->joined, r->second.id, r->second.count);
}

/* The longer text is cut first, then both to equal halves, as `tokenizers` does (LongestFirst). */
static void cut_to(uint64_t room, size_t *first, size_t *second)
{
    if (*first + *second <= room) return;
    size_t *shorter = *first <= *second ? first : second;
    size_t *longer = shorter == first ? second : first;
    if (2 * *shorter > room) *shorter = (size_t)(room / 2);
    *longer = (size_t)(room - *shorter);
}

dart_status dart_class_add(
    dart_reading *r, dart_piece text, dart_piece second, int32_t label, dart_labelled *out)
{
    const bool pair = second.at != NULL;
    const uint64_t time = r->options->time;
    const dart_vocab *vocab = &r->out->vocab;
    /* how much stands around the texts */
    r->first.count = r->second.count = 0;
    DART_TRY(join(r, pair));
    const size_t around = r->joined.count;
    DART_TRY(dart_vocab_append(vocab, text.at, text.bytes, false, r->what, &r->first));
    if (pair)
        DART_TRY(dart_vocab_append(vocab, second.at, second.bytes, false, r->what, &r->second));
    if (around >= time)
        return dart_fail(DART_INPUT,
            "a context of %" PRIu64 " has no room for texts: %zu tokens stand around them", time,
            around);
    const size_t all = r->first.count + r->second.count;
    cut_to(time - around, &r->first.count, &r->second.count);
    r->cut += all > r->first.count + r->second.count;
    DART_TRY(join(r, pair));
    if (!r->joined.count) return dart_fail(DART_INPUT, "%s: a text without tokens", r->what);
    return dart_labelled_add(
        out, r->joined.id, r->types.count ? r->types.id : NULL, r->joined.count, label);
}

dart_status dart_class_lines(dart_reading *r, const char *path, const char *data, size_t size,
    uint64_t from, uint64_t to, dart_take_line *take, void *user)
{
    uint64_t line = 0;
    for (size_t at = dart_utf8_mark(data, size); at < size && line < to; line++) {
        const char *end = memchr(data + at, '\n', size - at);
        size_t stop = end ? (size_t)(end - data) : size;
        const size_t begin = at;
        at = stop + 1;
        if (stop > begin && data[stop - 1] == '\r') stop--;
        snprintf(r->what, sizeof r->what, "%.500s, line %" PRIu64, path, line + 1);
        if (line >= from && stop > begin) DART_TRY(take(r, data + begin, stop - begin, line, user));
    }
    return DART_OK;
}
