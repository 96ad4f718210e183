/* Sampling of one token: repetition penalised, likeliest first, cut by count and by probability,
 * drawn. */
#include "sample.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>

static int heaviest_first(const void *a, const void *b)
{
    const dart_candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The `kept` heaviest to the front, sorted, without sorting the whole vocabulary: those that beat
 * the weakest of a sorted front displace it. */
static void front(dart_candidate *list, uint32_t count, uint32_t kept)
{
    qsort(list, kept, sizeof *list, heaviest_first);
    for (uint32_t i = kept; i < count; i++) {
        dart_candidate x = list[i];
        if (heaviest_first(&x, &list[kept - 1]) > 0) continue;
        uint32_t at = kept - 1;
        list[i] = list[at];
        for (; at > 0 && heaviest_first(&x, &list[at - 1]) < 0; at--) list[at] = list[at - 1];
        list[at] = x;
    }
}

/* Each token among the last ones, once: Keskar et al. 2019 (CTRL), as transformers and llama.cpp do
 * it. */
static void penalise(const float *logits, const dart_sampling *o, const int32_t *before,
    uint64_t index, uint32_t count, dart_candidate *list)
{
    const uint64_t last = o->repeat_last_n && o->repeat_last_n < index ? o->repeat_last_n : index;
    for (uint64_t i = index - last; i < index; i++) {
        if ((uint32_t)before[i] >= count) continue;
        const double logit = logits[before[i]];
        list[before[i]].weight = logit > 0 ? logit / o->repeat_penalty : logit * o->repeat_penalty;
    }
}

/* How many of the heaviest are at least `least` times as heavy as the first. */
static uint32_t heavy(const dart_candidate *list, uint32_t count, double least)
{
    while (count > 1 && list[count - 1].weight < least * list[0].weight) count--;
    return count;
}

dart_status dart_sample(const float *logits, uint32_t count, const dart_sampling *how,
    const int32_t *before, uint64_t index, dart_candidate *list, int32_t *out)
{
    enum { FEW = 256 };
    static const dart_sampling likeliest;
    const dart_sampling *o = how ? how : &likeliest;
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(logits[i]))
            return dart_fail(DART_DIVERGED,
                "the model gives logits that are not finite; it was not "
                "trained, or it diverged");
        list[i] = (dart_candidate){i, logits[i]};
    }
    if (o->repeat_penalty > 0 && o->repeat_penalty != 1)
        penalise(logits, o, before, index, count, list);
    uint32_t kept = o->temperature <= 0 ? 1 : o->top_k && o->top_k < count ? o->top_k : count;
    if (kept <= FEW && kept < count)
        front(list, count, kept);
    else
        qsort(list, count, sizeof *list, heaviest_first);
    *out = (int32_t)list[0].id;
    if (o->temperature <= 0) return DART_OK;
    double sum = 0, top = list[0].weight;
    for (uint32_t i = 0; i < kept; i++)
        sum += list[i].weight = exp((list[i].weight - top) / o->temperature);
    if (o->top_p > 0 && o->top_p < 1) {
        double reached = 0;
        uint32_t n = 0;
        while (n < kept && reached < o->top_p * sum) reached += list[n++].weight;
        kept = n;
        sum = reached;
    }
    if (o->min_p > 0) {
        kept = heavy(list, kept, o->min_p);
        sum = 0;
        for (uint32_t i = 0; i < kept; i++) sum += list[i].weight;
    }
    double at = sum * dart_uniform(o->seed, DART_STREAM_SAMPLE, index);
    for (uint32_t i = 0; i < kept; i++) {
        *out = (int32_t)list[i].id;
        at -= list[i].weight;
        if (at < 0) break;
    }
    return DART_OK;
}
