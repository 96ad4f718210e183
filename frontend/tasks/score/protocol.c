/* What perplexity was measured on, and how: for a program's output, table.json and reports. */
#include "protocol.h"
#include <stdio.h>

void dart_protocol_for(const dart_settings *set, const dart_corpus *corpus, dart_protocol *out)
{
    *out = (dart_protocol){.unit = dart_level_unit(corpus->vocab.level),
        .context = (uint32_t)set->context,
        .stride = (uint32_t)(set->eval_stride ? set->eval_stride : set->context),
        .source_context = corpus->parallel ? dart_source_time(set) : 0,
        .valid_tokens = corpus->count[DART_VALID],
        .test_tokens = corpus->count[DART_TEST]};
    snprintf(out->data, sizeof out->data, "%s", corpus->source);
    if (!corpus->in_labelled) return;
    out->valid_texts = corpus->labelled[DART_VALID].count;
    out->test_texts = corpus->labelled[DART_TEST].count;
}

void dart_protocol_text(const dart_protocol *p, char *out, size_t size)
{
    char valid[64], test[64];
    if (size) out[0] = 0;
    if (!p->unit) return;
    dart_count_text(valid, p->valid_tokens);
    dart_count_text(test, p->test_tokens);
    if (p->test_texts) {
        dart_count_text(valid, p->valid_texts);
        dart_count_text(test, p->test_texts);
        snprintf(out, size,
            "labels of texts of at most %u tokens over %s; each scored once (valid %s, test %s), "
            "perplexity that of the right label",
            p->context, p->data, valid, test);
        return;
    }
    if (p->source_context) {
        snprintf(out, size,
            "perplexity per target %s, <eos> counted, over %s; each scored once (valid %s, test "
            "%s), after the source (at most %u tokens) and the target before it (at most %u)",
            p->unit, p->data, valid, test, p->source_context, p->context);
        return;
    }
    int n = snprintf(out, size,
        "perplexity per %s over %s; each token scored once (valid %s, test %s), windows of %u, ",
        p->unit, p->data, valid, test, p->context);
    if (n < 0 || (size_t)n >= size) return;
    if (p->stride == p->context)
        snprintf(out + n, size - (size_t)n, "no overlap: 1 to %u tokens before each", p->context);
    else
        snprintf(out + n, size - (size_t)n,
            "stride %u: %u to %u tokens before each (fewer at the start)", p->stride,
            p->context - p->stride + 1, p->context);
}
