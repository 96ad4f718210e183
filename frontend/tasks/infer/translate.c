/* Translation: lines to batches, beam search over the translator, words and text; BLEU of a split.
 */
#include "translate.h"
#include "bleu.h"
#include "setup.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Words a translation may have beyond those of its source (Vaswani et al. 2017). */
enum { EXTRA_WORDS = 50 };

dart_status dart_speaker_new(
    dart_device *device, const dart_bundle *bundle, uint32_t best, dart_speaker *out)
{
    dart_status status = DART_OK;
    const dart_settings *set = &bundle->set;
    const dart_model_config *c = &bundle->model->config;
    const uint32_t beam = set->beam > best ? (uint32_t)set->beam : best;
    *out = (dart_speaker){.vocab = {bundle->source_vocab, bundle->vocab},
        .lowercase = set->lowercase,
        .sentences = (uint32_t)set->batch_size,
        .source_time = c->source_context,
        .target_time = c->context};
    const size_t rows = (size_t)out->sentences * beam;
    DART_GOTO(dart_translator_new(device, bundle->model, out->sentences, beam, bundle->param,
        bundle->frozen, &out->translator));
    const dart_beam_options o = {.batch = out->sentences,
        .beam = beam,
        .vocab = c->vocab,
        .max_words = c->context - 1, /* <bos> and the words are what the decoder reads */
        .best = best,
        .bos = DART_BOS,
        .eos = DART_EOS,
        .never = {DART_PAD, DART_BOS},
        .alpha = set->length_penalty,
        .early = false};
    DART_GOTO(dart_beam_new(&o, &out->beam));
    out->source = dart_calloc((size_t)out->sentences * out->source_time, sizeof *out->source);
    out->length = dart_calloc(out->sentences, sizeof *out->length);
    out->limit = dart_calloc(out->sentences, sizeof *out->limit);
    out->prefix = dart_calloc(rows * out->target_time, sizeof *out->prefix);
    if (!out->source || !out->length || !out->limit || !out->prefix) status = DART_MEMORY;
done:
    if (status != DART_OK) dart_speaker_free(out);
    return status;
}

void dart_speaker_free(dart_speaker *speaker)
{
    dart_translator_free(speaker->translator);
    dart_beam_free(&speaker->beam);
    free(speaker->source);
    free(speaker->length);
    free(speaker->limit);
    free(speaker->prefix);
    *speaker = (dart_speaker){0};
}

dart_status dart_speaker_add(
    dart_speaker *speaker, const char *text, const char *what, uint64_t line)
{
    const uint32_t row = speaker->count, time = speaker->source_time;
    int32_t *ids;
    uint64_t n;
    assert(row < speaker->sentences);
    DART_TRY(dart_sentence_read(
        speaker->vocab[DART_SOURCE], speaker->lowercase, text, what, line, &ids, &n));
    if (n > time - 1) {
        n = time - 1;
        speaker->cut++;
    }
    int32_t *to = speaker->source + (size_t)row * time;
    for (uint32_t k = 0; k < time; k++) to[k] = k < n ? ids[k] : k == n ? DART_EOS : DART_PAD;
    free(ids);
    const uint32_t most = speaker->beam.options.max_words;
    speaker->length[row] = (int32_t)n + 1;
    /* nothing to translate: an empty line stays one */
    speaker->limit[row] = !n ? 0 : n + EXTRA_WORDS < most ? (uint32_t)n + EXTRA_WORDS : most;
    speaker->count++;
    return DART_OK;
}

/* The logits of the next word; see beam.h. */
static dart_status next_words(void *user, const int32_t *prefix, uint32_t stride, uint32_t length,
    const uint32_t *parent, const float **out_logits, uint32_t *out_columns)
{
    dart_speaker *speaker = user;
    const uint32_t rows = speaker->sentences * speaker->beam.options.beam;
    (void)parent; /* the translator finds it by the words */
    for (uint32_t r = 0; r < rows; r++)
        memcpy(speaker->prefix + (size_t)r * length, prefix + (size_t)r * stride,
            length * sizeof *prefix);
    return dart_translator_next(
        speaker->translator, speaker->prefix, length, out_logits, out_columns);
}

dart_status dart_speaker_run(dart_speaker *speaker)
{
    for (uint32_t row = speaker->count; row < speaker->sentences; row++) {
        speaker->length[row] = 0;
        speaker->limit[row] = 0;
        for (uint32_t k = 0; k < speaker->source_time; k++)
            speaker->source[(size_t)row * speaker->source_time + k] = DART_PAD;
    }
    speaker->count = 0;
    DART_TRY(dart_translator_encode(speaker->translator, speaker->source, speaker->length));
    return dart_beam_search(&speaker->beam, speaker->limit, next_words, speaker);
}

dart_status dart_speaker_text(
    const dart_speaker *speaker, const dart_translation *translation, bool text, char **out)
{
    const dart_vocab *vocab = speaker->vocab[DART_TARGET];
    size_t size = 1, used = 0;
    for (uint32_t i = 0; i < translation->count; i++)
        size += strlen(vocab->text[translation->words[i]]) + 1;
    char *words = dart_calloc(size, 1);
    if (!words) return DART_MEMORY;
    for (uint32_t i = 0; i < translation->count; i++) {
        const char *word = vocab->text[translation->words[i]];
        if (i) words[used++] = ' ';
        memcpy(words + used, word, strlen(word));
        used += strlen(word);
    }
    *out = words;
    if (!text) return DART_OK;
    dart_status status = dart_detokenize(words, vocab->punctuation, out);
    free(words);
    return status;
}

dart_status dart_bleu_split(dart_device *device, const dart_bundle *bundle,
    const dart_parallel *corpus, uint32_t split, FILE *translations, dart_bleu *out)
{
    dart_status status = DART_OK;
    const dart_sentences *source = &corpus->side[DART_SOURCE][split];
    const dart_sentences *target = &corpus->side[DART_TARGET][split];
    const uint64_t count = source->count;
    dart_speaker speaker = {0};
    char **mine = dart_calloc(count, sizeof *mine);
    const char **reference = dart_calloc(count, sizeof *reference);
    if (!mine || !reference) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_speaker_new(device, bundle, 1, &speaker));
    for (uint64_t at = 0; at < count; at += speaker.sentences) {
        uint64_t left = count - at, n = left < speaker.sentences ? left : speaker.sentences;
        for (uint64_t i = 0; i < n; i++) {
            reference[at + i] = target->text + target->line[at + i];
            DART_GOTO(dart_speaker_add(
                &speaker, source->text + source->line[at + i], corpus->source, at + i + 1));
        }
        DART_GOTO(dart_speaker_run(&speaker));
        for (uint64_t i = 0; i < n; i++) {
            static const dart_translation none = {0};
            const dart_translation *best =
                speaker.beam.ends[i] ? &speaker.beam.best[i * speaker.beam.options.beam] : &none;
            DART_GOTO(dart_speaker_text(
                &speaker, best, speaker.vocab[DART_TARGET]->punctuation, &mine[at + i]));
            if (translations) fprintf(translations, "%s\n", mine[at + i]);
        }
    }
    const char *const *references[1] = {reference};
    DART_GOTO(dart_bleu_lines(count, (const char *const *)mine, 1, references,
        &(dart_bleu_options){.lowercase = corpus->lowercase}, out));
done:
    for (uint64_t i = 0; mine && i < count; i++) free(mine[i]);
    free(mine);
    free(reference);
    dart_speaker_free(&speaker);
    return status;
}
