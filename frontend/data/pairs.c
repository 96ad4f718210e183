/* Batches of sentence pairs of one static shape; the batch number alone names a batch, nothing is
 * allocated after new. */
#include "parallel.h"
#include "rng.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Batches that are sorted by length together: enough for neighbours of nearly one length, few
 * enough that every batch of an epoch is another mixture. */
enum { POOL = 16 };

static uint64_t length_of(const dart_pairs *p, int side, uint32_t pair)
{
    const dart_sentences *s = p->side[side];
    return s->first[pair + 1] - s->first[pair];
}

/* Lists the pairs that take part. */
static dart_status choose(dart_pairs *p, bool training)
{
    uint64_t all = p->side[DART_SOURCE]->count;
    if (all > UINT32_MAX / 2)
        return dart_fail(DART_INPUT, "%" PRIu64 " sentence pairs are too many", all);
    p->pair = dart_calloc(all, sizeof *p->pair);
    if (!p->pair) return DART_MEMORY;
    for (uint32_t i = 0; i < all; i++) {
        uint64_t source = length_of(p, DART_SOURCE, i), target = length_of(p, DART_TARGET, i);
        bool fits = source < p->time[DART_SOURCE] && target < p->time[DART_TARGET];
        if (training && (!fits || !source || !target)) {
            p->dropped++;
            continue;
        }
        p->cut += !fits;
        p->pair[p->count++] = i;
    }
    if (training && p->count < p->batch)
        return dart_fail(DART_INPUT,
            "%" PRIu64 " of %" PRIu64 " sentence pairs fit into %u source and %u target tokens, "
            "fewer than one batch of %u; use more text, a larger context or a smaller batch",
            p->count, all, p->time[DART_SOURCE], p->time[DART_TARGET], p->batch);
    return DART_OK;
}

static uint32_t greatest(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

dart_status dart_pairs_new(const dart_parallel *corpus, uint32_t split, bool training,
    uint32_t batch, uint32_t source_time, uint32_t target_time, uint64_t seed, dart_pairs *out)
{
    dart_status status = DART_OK;
    *out = (dart_pairs){.batch = batch,
        .time = {source_time, target_time},
        .seed = seed,
        .order_epoch = UINT64_MAX};
    uint32_t cursor = 0;
    for (int s = 0; s < DART_SIDES; s++) {
        out->side[s] = &corpus->side[s][split];
        out->vocab[s] = corpus->vocab[s].size;
        cursor = greatest(cursor, greatest(out->vocab[s], out->time[s] + 1));
        if (out->time[s] < 2 || !batch ||
            (uint64_t)batch * out->time[s] + out->vocab[s] + 1 > INT32_MAX)
            return dart_fail(DART_INPUT,
                "batches of %u sentences of %u tokens are not possible; a side needs at least 2 "
                "tokens, and all of a batch fewer than 2^31",
                batch, out->time[s]);
    }
    DART_GOTO(choose(out, training));
    dart_pair_batch *data = &out->data;
    size_t source = (size_t)batch * source_time, target = (size_t)batch * target_time;
    data->batch = batch;
    data->source_time = source_time;
    data->target_time = target_time;
    data->source = dart_calloc(source, sizeof *data->source);
    data->source_length = dart_calloc(batch, sizeof *data->source_length);
    data->target = dart_calloc(target, sizeof *data->target);
    data->labels = dart_calloc(target, sizeof *data->labels);
    data->source_index =
        dart_calloc(source + out->vocab[DART_SOURCE] + 1, sizeof *data->source_index);
    data->target_index =
        dart_calloc(target + out->vocab[DART_TARGET] + 1, sizeof *data->target_index);
    out->order = dart_calloc(out->count, sizeof *out->order);
    out->spare = dart_calloc(out->count, sizeof *out->spare);
    out->batch_order = dart_calloc(out->count / batch + 1, sizeof *out->batch_order);
    out->cursor = dart_calloc(cursor, sizeof *out->cursor);
    if (!data->source || !data->source_length || !data->target || !data->labels ||
        !data->source_index || !data->target_index || !out->order || !out->spare ||
        !out->batch_order || !out->cursor)
        status = DART_MEMORY;
done:
    if (status != DART_OK) dart_pairs_free(out);
    return status;
}

void dart_pairs_free(dart_pairs *pairs)
{
    dart_pair_batch *data = &pairs->data;
    free(data->source);
    free(data->source_length);
    free(data->target);
    free(data->labels);
    free(data->source_index);
    free(data->target_index);
    free(pairs->pair);
    free(pairs->order);
    free(pairs->spare);
    free(pairs->batch_order);
    free(pairs->cursor);
    *pairs = (dart_pairs){0};
}

/* Stable counting sort of order[0..n) by the length of one side. */
static void sort_by(dart_pairs *p, int side, uint32_t *order, uint32_t n)
{
    uint32_t *cursor = p->cursor, sum = 0;
    memset(cursor, 0, ((size_t)p->time[side] + 1) * sizeof *cursor);
    for (uint32_t i = 0; i < n; i++) cursor[length_of(p, side, p->pair[order[i]])]++;
    for (uint32_t v = 0; v <= p->time[side]; v++) {
        uint32_t count = cursor[v];
        cursor[v] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < n; i++)
        p->spare[cursor[length_of(p, side, p->pair[order[i]])]++] = order[i];
    memcpy(order, p->spare, n * sizeof *order);
}

/* The order of an epoch: all pairs shuffled, pools of them sorted by target and source length, and
 * the batches shuffled. The pairs behind the last whole batch wait for another epoch. */
static void arrange(dart_pairs *p, uint64_t epoch)
{
    uint32_t batches = (uint32_t)(p->count / p->batch), pairs = batches * p->batch;
    dart_permutation(p->seed, DART_STREAM_ORDER | epoch << 8, p->order, (uint32_t)p->count);
    for (uint64_t at = 0; at < pairs; at += (uint64_t)POOL * p->batch) {
        uint64_t left = pairs - at, pool = (uint64_t)POOL * p->batch;
        uint32_t n = (uint32_t)(left < pool ? left : pool);
        sort_by(p, DART_SOURCE, p->order + at, n);
        sort_by(p, DART_TARGET, p->order + at, n);
    }
    dart_permutation(p->seed, DART_STREAM_BATCHES | epoch << 8, p->batch_order, batches);
    p->order_epoch = epoch;
}

/* Writes pair `i` into row b; what does not fit is left out: of a source its last words, of a
 * target its last labels, so that no <eos> is asked for where the sentence goes on. */
static void fill_row(dart_pairs *p, uint32_t b, uint32_t i)
{
    dart_pair_batch *data = &p->data;
    const dart_sentences *s = p->side[DART_SOURCE], *t = p->side[DART_TARGET];
    const uint32_t source_time = p->time[DART_SOURCE], target_time = p->time[DART_TARGET];
    const int32_t *words = s->words + s->first[i], *reply = t->words + t->first[i];
    uint64_t n = length_of(p, DART_SOURCE, i), m = length_of(p, DART_TARGET, i);
    if (n > source_time - 1) n = source_time - 1;
    int32_t *row = data->source + (size_t)b * source_time;
    for (uint32_t k = 0; k < source_time; k++)
        row[k] = k < n ? words[k] : k == n ? DART_EOS : DART_PAD;
    data->source_length[b] = (int32_t)n + 1;
    row = data->target + (size_t)b * target_time;
    int32_t *label = data->labels + (size_t)b * target_time;
    for (uint32_t k = 0; k < target_time; k++) {
        row[k] = k == 0 ? DART_BOS : k <= m ? reply[k - 1] : DART_PAD;
        label[k] = k < m ? reply[k] : k == m ? DART_EOS : -1;
        data->predicted += label[k] >= 0;
    }
}

static void empty_row(dart_pairs *p, uint32_t b)
{
    dart_pair_batch *data = &p->data;
    for (uint32_t k = 0; k < p->time[DART_SOURCE]; k++)
        data->source[(size_t)b * p->time[DART_SOURCE] + k] = DART_PAD;
    data->source_length[b] = 0;
    for (uint32_t k = 0; k < p->time[DART_TARGET]; k++) {
        data->target[(size_t)b * p->time[DART_TARGET] + k] = DART_PAD;
        data->labels[(size_t)b * p->time[DART_TARGET] + k] = -1;
    }
}

static const dart_pair_batch *index_rows(dart_pairs *p)
{
    dart_pair_batch *data = &p->data;
    dart_scatter_index(data->source, p->batch * p->time[DART_SOURCE], p->vocab[DART_SOURCE],
        p->cursor, data->source_index);
    dart_scatter_index(data->target, p->batch * p->time[DART_TARGET], p->vocab[DART_TARGET],
        p->cursor, data->target_index);
    return data;
}

const dart_pair_batch *dart_pairs_train(dart_pairs *pairs, uint64_t at)
{
    uint64_t batches = pairs->count / pairs->batch, epoch = at / batches;
    if (epoch != pairs->order_epoch) arrange(pairs, epoch);
    const uint32_t *order = pairs->order + (size_t)pairs->batch_order[at % batches] * pairs->batch;
    pairs->data.predicted = 0;
    for (uint32_t b = 0; b < pairs->batch; b++) fill_row(pairs, b, pairs->pair[order[b]]);
    return index_rows(pairs);
}

uint64_t dart_pairs_eval_batches(const dart_pairs *pairs)
{
    return (pairs->count + pairs->batch - 1) / pairs->batch;
}

const dart_pair_batch *dart_pairs_eval(dart_pairs *pairs, uint64_t at)
{
    pairs->data.predicted = 0;
    for (uint32_t b = 0; b < pairs->batch; b++) {
        uint64_t i = at * pairs->batch + b;
        if (i < pairs->count)
            fill_row(pairs, b, pairs->pair[i]);
        else
            empty_row(pairs, b);
    }
    return index_rows(pairs);
}
