/* Beam search: per step, the likeliest continuations of every sentence's prefixes, in one batch. */
#include "beam.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct beam_candidate {
    double log_p;
    uint32_t row; /* within the sentence */
    int32_t word;
} beam_candidate;

dart_status dart_beam_new(const dart_beam_options *options, dart_beam *out)
{
    const dart_beam_options *o = options;
    uint64_t rows = (uint64_t)o->batch * o->beam, prefixes;
    *out = (dart_beam){.options = *o};
    if (!o->batch || !o->beam || o->best < 1 || o->best > o->beam || o->eos < 0 ||
        (uint32_t)o->eos >= o->vocab || o->bos < 0 || (uint32_t)o->bos >= o->vocab ||
        !(o->alpha >= 0) || !dart_mul_u64(rows, (uint64_t)o->max_words + 2, &prefixes) ||
        rows > UINT32_MAX / 2)
        return dart_fail(DART_INPUT,
            "beam search over %u sentences, beam %u, %u best, %u words is not possible", o->batch,
            o->beam, o->best, o->vocab);
    for (int i = 0; i < 2; i++) out->prefix[i] = dart_calloc(prefixes, sizeof *out->prefix[i]);
    out->ends = dart_calloc(o->batch, sizeof *out->ends);
    out->best = dart_calloc(rows, sizeof *out->best);
    out->words = dart_calloc(prefixes, sizeof *out->words);
    out->parent = dart_calloc(rows, sizeof *out->parent);
    out->live = dart_calloc(o->batch, sizeof *out->live);
    out->ended = dart_calloc(o->batch, sizeof *out->ended);
    out->log_p = dart_calloc(rows, sizeof *out->log_p);
    out->next_p = dart_calloc(rows, sizeof *out->next_p);
    out->candidate = dart_calloc(2 * (size_t)o->beam, sizeof *out->candidate);
    if (!out->prefix[0] || !out->prefix[1] || !out->ends || !out->best || !out->words ||
        !out->parent || !out->live || !out->ended || !out->log_p || !out->next_p ||
        !out->candidate) {
        dart_beam_free(out);
        return DART_MEMORY;
    }
    for (uint64_t i = 0; i < rows; i++) out->best[i].words = out->words + i * (o->max_words + 2);
    return DART_OK;
}

void dart_beam_free(dart_beam *beam)
{
    for (int i = 0; i < 2; i++) free(beam->prefix[i]);
    free(beam->ends);
    free(beam->best);
    free(beam->words);
    free(beam->parent);
    free(beam->live);
    free(beam->ended);
    free(beam->log_p);
    free(beam->next_p);
    free(beam->candidate);
    *beam = (dart_beam){0};
}

static double normalised(const dart_beam_options *o, double log_p, uint32_t words)
{
    return log_p / pow((5.0 + words + 1) / 6, o->alpha);
}

/* log sum exp of one row; NaN if a logit is. */
static double log_total(const float *x, uint32_t n)
{
    float top = -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    if (!isfinite(top)) return NAN;
    for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)top);
    return log(sum) + (double)top;
}

/* Into the list of the `most` likeliest, in order; equal ones stay in the order they came. The list
 * is not full of better ones. */
static uint32_t insert(beam_candidate *list, uint32_t count, uint32_t most, beam_candidate c)
{
    uint32_t at = count < most ? count : count - 1;
    for (; at > 0 && list[at - 1].log_p < c.log_p; at--) list[at] = list[at - 1];
    list[at] = c;
    return count < most ? count + 1 : count;
}

/* The 2 beam likeliest continuations of sentence b: enough for `beam` live ones when `beam` end.
 * With only_end, <eos> alone may follow. */
static dart_status collect(dart_beam *beam, uint32_t b, const float *logits, uint32_t columns,
    bool only_end, uint32_t *out_count)
{
    const dart_beam_options *o = &beam->options;
    uint32_t count = 0, most = 2 * o->beam;
    for (uint32_t k = 0; k < beam->live[b]; k++) {
        uint32_t row = b * o->beam + k;
        const float *x = logits + (size_t)row * columns;
        double total = log_total(x, o->vocab), base = beam->log_p[row] - total;
        if (isnan(total))
            return dart_fail(
                DART_FAILED, "the model's logits are not numbers; its weights are damaged");
        for (uint32_t w = 0; w < o->vocab; w++) {
            if (only_end && (int32_t)w != o->eos) continue;
            if ((int32_t)w == o->never[0] || (int32_t)w == o->never[1]) continue;
            double log_p = base + (double)x[w];
            if (count == most && log_p <= beam->candidate[most - 1].log_p) continue;
            count = insert(beam->candidate, count, most, (beam_candidate){log_p, k, (int32_t)w});
        }
    }
    *out_count = count;
    return DART_OK;
}

/* Enters the prefix of `row`, which ends here, into the best list of sentence b. */
static void end_here(dart_beam *beam, uint32_t b, uint32_t row, uint32_t words, double log_p)
{
    const dart_beam_options *o = &beam->options;
    dart_translation *list = beam->best + (size_t)b * o->beam;
    double score = normalised(o, log_p, words);
    uint32_t count = beam->ends[b], at = count;
    if (count == o->beam && score <= list[count - 1].score) return;
    if (count < o->beam)
        beam->ends[b]++;
    else
        at--;
    dart_translation mine = list[at];
    for (; at > 0 && list[at - 1].score < score; at--) list[at] = list[at - 1];
    mine.count = words;
    mine.log_p = log_p;
    mine.score = score;
    memcpy(mine.words, beam->prefix[0] + (size_t)row * (o->max_words + 2) + 1,
        words * sizeof *mine.words);
    list[at] = mine;
}

/* Whether no prefix of sentence b can still enter its best list. Probabilities only fall, and the
 * longest translation is divided by the most: that bounds what a prefix can reach. */
static bool settled(const dart_beam *beam, uint32_t b, uint32_t limit)
{
    const dart_beam_options *o = &beam->options;
    if (o->early) return beam->ended[b] >= o->beam;
    if (beam->ends[b] < o->best) return false;
    double worst = beam->best[(size_t)b * o->beam + o->best - 1].score;
    for (uint32_t k = 0; k < beam->live[b]; k++)
        if (normalised(o, beam->log_p[(size_t)b * o->beam + k], limit) > worst) return false;
    return true;
}

/* One step of sentence b: `words` words are known of each prefix. */
static dart_status advance(dart_beam *beam, uint32_t b, const float *logits, uint32_t columns,
    uint32_t words, uint32_t limit)
{
    const dart_beam_options *o = &beam->options;
    const uint32_t first = b * o->beam, stride = o->max_words + 2;
    uint32_t count = 0, live = 0;
    DART_TRY(collect(beam, b, logits, columns, words == limit, &count));
    for (uint32_t i = 0; i < count; i++) {
        beam_candidate c = beam->candidate[i];
        if (c.word == o->eos) {
            /* Only among the `beam` likeliest: an end that is less likely than every prefix that
             * goes on does not count. */
            if (i >= o->beam) continue;
            end_here(beam, b, first + c.row, words, c.log_p);
            beam->ended[b]++;
        } else if (live < o->beam) {
            uint32_t row = first + live++;
            int32_t *to = beam->prefix[1] + (size_t)row * stride;
            memcpy(
                to, beam->prefix[0] + (size_t)(first + c.row) * stride, (words + 1) * sizeof *to);
            to[words + 1] = c.word;
            beam->parent[row] = first + c.row;
            beam->next_p[row] = c.log_p;
        }
    }
    beam->live[b] = live;
    memcpy(beam->log_p + first, beam->next_p + first, live * sizeof *beam->log_p);
    if (settled(beam, b, limit)) beam->live[b] = 0;
    return DART_OK;
}

/* Rows without a live prefix repeat the sentence's first one, or, where it is done, go on with
 * <eos>, so that whoever computes them reads words that exist. */
static void fill_dead(dart_beam *beam, uint32_t b, uint32_t words)
{
    const dart_beam_options *o = &beam->options;
    const uint32_t first = b * o->beam, stride = o->max_words + 2;
    const bool done = beam->live[b] == 0;
    for (uint32_t row = first + beam->live[b]; row < first + o->beam; row++) {
        int32_t *to = beam->prefix[1] + (size_t)row * stride;
        const int32_t *from = beam->prefix[!done] + (size_t)(done ? row : first) * stride;
        memcpy(to, from, (words + 1) * sizeof *to);
        if (done) to[words] = o->eos;
        beam->parent[row] = done ? row : beam->parent[first];
    }
}

dart_status dart_beam_search(
    dart_beam *beam, const uint32_t *limit, dart_beam_logits logits, void *user)
{
    const dart_beam_options *o = &beam->options;
    const uint32_t rows = o->batch * o->beam, stride = o->max_words + 2;
    bool going = false;
    beam->steps = 0;
    for (uint32_t b = 0; b < o->batch; b++) {
        beam->ends[b] = beam->ended[b] = 0;
        beam->live[b] = !limit || limit[b];
        going |= beam->live[b] > 0;
    }
    for (uint32_t row = 0; row < rows; row++) {
        beam->prefix[0][(size_t)row * stride] = o->bos;
        beam->parent[row] = row;
        beam->log_p[row] = 0;
    }
    for (uint32_t words = 0; going; words++) {
        const float *x;
        uint32_t columns;
        DART_TRY(logits(user, beam->prefix[0], stride, words + 1, beam->parent, &x, &columns));
        assert(columns >= o->vocab);
        beam->steps++;
        going = false;
        for (uint32_t b = 0; b < o->batch; b++) {
            if (beam->live[b])
                DART_TRY(advance(beam, b, x, columns, words, limit ? limit[b] : o->max_words));
            going |= beam->live[b] > 0;
            fill_dead(beam, b, words + 1);
        }
        int32_t *swap = beam->prefix[0];
        beam->prefix[0] = beam->prefix[1];
        beam->prefix[1] = swap;
    }
    return DART_OK;
}
