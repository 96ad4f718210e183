/* Texts with labels as a corpus. */
#include "classes_impl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void hash_texts(dart_corpus *c, int split)
{
    const dart_labelled *l = &c->labelled[split];
    const uint64_t tokens = l->first[l->count];
    XXH128_hash_t part[4] = {XXH3_128bits(l->ids, tokens * sizeof *l->ids),
        XXH3_128bits(l->types, tokens), XXH3_128bits(l->first, (l->count + 1) * sizeof *l->first),
        XXH3_128bits(l->label, l->count * sizeof *l->label)};
    const XXH128_hash_t hash = XXH3_128bits(part, sizeof part);
    snprintf(c->hash[split], sizeof c->hash[split], "%016" PRIx64 "%016" PRIx64,
        (uint64_t)hash.high64, (uint64_t)hash.low64);
}

dart_status dart_classes_read(const dart_classes_options *options, dart_corpus *out)
{
    static const char *const names[] = {"to train on", "to validate", "to test"};
    const char *set = dart_labelled_labels(options->dataset);
    dart_reading r = {.options = options, .out = out};
    dart_status status = dart_labels_count(options->labels, &r.labels);
    out->in_labelled = true;
    DART_GOTO(status);
    if (!dart_vocab_tokenizer(&out->vocab))
        DART_GOTO(dart_fail(
            DART_INPUT, "texts with labels need a tokenizer: give a model to fine-tune (--base)"));
    if (set && strcmp(options->labels, set))
        DART_GOTO(dart_fail(DART_INPUT, "%s has the labels %s, and %.200s were given",
            options->dataset, set, options->labels));
    DART_GOTO(dart_vocab_append(&out->vocab, "\n", 1, false, "a line end", &r.between));
    DART_GOTO(set ? dart_class_set(&r) : dart_class_files(&r));
    for (int i = 0; i < DART_SPLITS; i++) {
        const dart_labelled *l = &out->labelled[i];
        if (!l->count)
            DART_GOTO(dart_fail(DART_INPUT, "%s has no text with a label %s; give more lines",
                i && *options->valid ? options->valid : options->path, names[i]));
        out->count[i] = l->first[l->count];
        hash_texts(out, i);
    }
    if (r.cut)
        snprintf(out->note, sizeof out->note,
            "%" PRIu64 " texts are longer than %u tokens and are cut; --context takes longer ones",
            r.cut, options->time);
done:
    free(r.first.id);
    free(r.second.id);
    free(r.joined.id);
    free(r.types.id);
    free(r.between.id);
    return status;
}
