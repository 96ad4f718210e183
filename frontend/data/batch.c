/* Windows of tokens; integer arithmetic on the batch number, nothing is
 * allocated after new. */
#include "documents.h"
#include "labelled.h"
#include "order.h"
#include "parallel.h"
#include "rng.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A page fault may bring in this much around the page (Linux: fault-around); after KEPT bytes all
 * goes back to the kernel's page cache, where it does not count as ours. */
enum { AROUND = 1 << 16, KEPT = 8 << 20 };

static dart_status allocate(dart_stream *out, bool training, bool pack, const char *what)
{
    const uint32_t batch = out->batch, time = out->time, vocab = out->vocab;
    if (out->labelled) {
        DART_TRY(dart_labelled_check(out, what));
        out->windows = training ? out->labelled->count : 0;
    } else if (out->documents) {
        if (!out->documents->count)
            return dart_fail(DART_INPUT, "%s has no document with a label in its first %u tokens",
                what, time + 1);
        if (out->documents->count > UINT32_MAX / 2)
            return dart_fail(DART_INPUT, "%s has too many documents", what);
        DART_TRY(dart_documents_lay(out, training, pack));
        out->windows = training ? out->rows : 0;
    } else if (training && out->count < (uint64_t)time + 1)
        return dart_fail(DART_INPUT,
            "%s has %" PRIu64 " tokens, fewer than one window of context + 1 = %u; use more text "
            "or a smaller --context",
            what, out->count, time + 1);
    if (out->start >= vocab)
        return dart_fail(DART_INPUT, "the start token %u is outside 0..%u", out->start, vocab - 1);
    if (out->stride == 0) out->stride = time;
    if (out->stride > time)
        return dart_fail(DART_INPUT,
            "a stride of %u skips tokens: windows have %u; use a smaller --eval-stride",
            out->stride, time);
    if (training && !out->documents && !out->labelled) {
        out->shift = out->count >= 2 * (uint64_t)time;
        out->windows = (out->shift ? out->count - time : out->count - 1) / time;
    }
    uint64_t rows = (uint64_t)batch * time;
    if (rows > INT32_MAX || (uint64_t)vocab + 1 + rows > INT32_MAX || out->windows > UINT32_MAX)
        return dart_fail(DART_INPUT, "batch %u x context %u is too large", batch, time);
    dart_batch *data = &out->data;
    data->batch = batch;
    data->time = time;
    data->tokens = dart_calloc(rows, sizeof *data->tokens);
    data->labels = dart_calloc(rows, sizeof *data->labels);
    data->index = dart_calloc(rows + vocab + 1, sizeof *data->index);
    if (out->labelled) DART_TRY(dart_labelled_room(out));
    if (pack) data->starts = dart_calloc(rows, sizeof *data->starts);
    if (!out->order) out->order = dart_calloc(out->windows, sizeof *out->order);
    uint64_t cursor = vocab;
    if (out->labelled && rows + 1 > cursor) cursor = rows + 1;
    if (out->labelled && out->types > cursor) cursor = out->types;
    out->cursor = dart_calloc(cursor, sizeof *out->cursor);
    if (!data->tokens || !data->labels || !data->index || (pack && !data->starts) || !out->order ||
        !out->cursor)
        return DART_MEMORY;
    return DART_OK;
}

static dart_status stream_new(dart_stream *out, bool training, bool pack, const char *what)
{
    dart_status status = allocate(out, training, pack, what);
    if (status != DART_OK) dart_stream_free(out);
    return status;
}

dart_status dart_stream_new(const int32_t *tokens, uint64_t count, bool training, uint32_t vocab,
    uint32_t start, uint32_t batch, uint32_t time, uint64_t seed, dart_stream *out)
{
    *out = (dart_stream){.tokens = tokens,
        .count = count,
        .vocab = vocab,
        .start = start,
        .batch = batch,
        .time = time,
        .seed = seed,
        .order_epoch = UINT64_MAX};
    for (uint64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return dart_fail(DART_INPUT, "token %" PRIu64 " of the text is %d, outside 0..%u", i,
                tokens[i], vocab - 1);
    return stream_new(out, training, false, "the text");
}

dart_status dart_stream_open(
    const dart_corpus *corpus, int split, const dart_stream_options *o, dart_stream *out)
{
    char what[600];
    *out = (dart_stream){.tokens = corpus->tokens[split],
        .documents = corpus->in_documents ? &corpus->documents[split] : NULL,
        .labelled = corpus->in_labelled ? &corpus->labelled[split] : NULL,
        .types = o->types ? o->types : 1,
        .last = o->last,
        .by_length = corpus->in_labelled && o->by_length,
        .count = corpus->count[split],
        .vocab = corpus->vocab.size,
        .start = corpus->vocab.start,
        .batch = o->batch,
        .time = o->time,
        .stride = o->stride,
        .seed = o->seed,
        .order_epoch = UINT64_MAX,
        .mapped = corpus->map != NULL};
    snprintf(what, sizeof what, "the training split of %.500s", corpus->source);
    return stream_new(out, o->training, o->pack, what);
}

void dart_stream_free(dart_stream *stream)
{
    free(stream->data.tokens);
    free(stream->data.labels);
    free(stream->data.index);
    free(stream->data.starts);
    free(stream->data.lengths);
    free(stream->data.at);
    free(stream->data.at_index);
    free(stream->data.types);
    free(stream->data.types_index);
    free(stream->place);
    free(stream->laid);
    free(stream->order);
    free(stream->spare);
    free(stream->group);
    free(stream->cursor);
    if (stream->pairs) dart_pairs_free(stream->pairs);
    free(stream->pairs);
    *stream = (dart_stream){0};
}

/* Notes that `bytes` of mapped pages may have come in; gives all back when they are many. */
static void touched(dart_stream *stream, uint64_t bytes)
{
    if (!stream->mapped) return;
    stream->resident += bytes;
    if (stream->resident < KEPT) return;
    stream->resident = 0;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)stream->tokens;
    uintptr_t to = from + stream->count * sizeof *stream->tokens;
    from = (from + page - 1) / page * page;
    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED); /* only a hint: the file stays */
}

const dart_batch *dart_stream_train(dart_stream *stream, uint64_t at)
{
    if (stream->labelled) return dart_labelled_train(stream, at);
    if (stream->documents) return dart_documents_train(stream, at);
    dart_batch *data = &stream->data;
    uint32_t time = stream->time;
    for (uint32_t b = 0; b < stream->batch; b++) {
        uint64_t window = at * stream->batch + b;
        uint64_t epoch = window / stream->windows;
        const uint64_t row = dart_stream_ordered(stream, window);
        uint64_t offset = 0;
        if (stream->shift) {
            uint32_t word[4];
            dart_philox(stream->seed, DART_STREAM_ORDER | epoch << 8, 0, word);
            offset = word[0] % time;
        }
        const int32_t *from = stream->tokens + offset + row * time;
        memcpy(data->tokens + (size_t)b * time, from, time * sizeof *from);
        memcpy(data->labels + (size_t)b * time, from + 1, time * sizeof *from);
    }
    data->predicted = (uint64_t)stream->batch * time;
    touched(stream, stream->batch * (2 * (uint64_t)AROUND + time * sizeof *data->tokens));
    dart_scatter_index(
        data->tokens, stream->batch * time, stream->vocab, stream->cursor, data->index);
    return data;
}

uint64_t dart_stream_eval_batches(const dart_stream *stream)
{
    uint64_t windows = stream->labelled    ? stream->labelled->count
                       : stream->documents ? stream->rows
                                           : stream->count > 0;
    if (!stream->documents && !stream->labelled && stream->count > stream->time)
        windows += (stream->count - stream->time + stream->stride - 1) / stream->stride;
    return (windows + stream->batch - 1) / stream->batch;
}

const dart_batch *dart_stream_eval(dart_stream *stream, uint64_t at)
{
    if (stream->labelled) return dart_labelled_eval(stream, at);
    if (stream->documents) return dart_documents_eval(stream, at);
    dart_batch *data = &stream->data;
    data->predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++) {
        uint64_t window = at * stream->batch + b;
        uint32_t known = window ? stream->time - stream->stride : 0; /* scored by windows before */
        for (uint32_t t = 0; t < stream->time; t++) {
            uint64_t j = window * stream->stride + t;
            size_t row = (size_t)b * stream->time + t;
            bool inside = j < stream->count, scored = inside && t >= known;
            data->labels[row] = scored ? stream->tokens[j] : -1;
            data->tokens[row] = inside && j ? stream->tokens[j - 1] : (int32_t)stream->start;
            data->predicted += scored;
        }
    }
    touched(stream,
        2 * (uint64_t)AROUND + (uint64_t)stream->batch * stream->time * sizeof *data->tokens);
    dart_scatter_index(
        data->tokens, stream->batch * stream->time, stream->vocab, stream->cursor, data->index);
    return data;
}
