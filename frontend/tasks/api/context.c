/* A model on a device as a handle: tokens to logits, sampling, text, translation, scores: what
 * dart/infer.h declares. */
#include "caller.h"
#include "context.h"
#include "eval.h"
#include "generate.h"
#include "setup.h"
#include "stop.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The model's recipe with what the options say instead; free it also after a failure. */
static dart_status recipe_of(
    const dart_llm *llm, const dart_context_options *o, dart_recipe **out, dart_settings *out_set)
{
    const char *const given[][2] = {
        {"device", o->device}, {"limits", o->limits}, {"infer_weights", o->weights}};
    DART_TRY(dart_recipe_copy(llm->bundle.recipe, out));
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i][1]) DART_TRY(dart_recipe_set(*out, given[i][0], given[i][1]));
    dart_recipe_settings(*out, out_set);
    return DART_OK;
}

static dart_status open_infer(dart_context *context, uint32_t tokens, const dart_settings *set)
{
    const dart_bundle *bundle = &context->llm->bundle;
    const dart_infer_options how = {
        .batch = 1, .context = tokens, .weights = dart_infer_weights_from(set->infer_weights)};
    context->candidates = dart_calloc(bundle->vocab->size, sizeof *context->candidates);
    if (!context->candidates) return DART_MEMORY;
    return dart_infer_new(
        context->device, bundle->model, &how, bundle->param, bundle->frozen, &context->infer);
}

dart_status dart_context_new(
    const dart_llm *llm, const dart_context_options *options, dart_context **out)
{
    DART_IN_C_LOCALE;
    dart_status status = DART_OK;
    dart_context_options o;
    dart_recipe *recipe = NULL;
    dart_settings set;
    *out = NULL;
    DART_TRY(dart_options_take(options, sizeof o, "dart_context_options", &o));
    dart_context *context = dart_calloc(1, sizeof *context);
    if (!context) return DART_MEMORY;
    context->llm = dart_llm_keep(llm);
    context->best = o.best ? o.best : 1;
    DART_GOTO(recipe_of(llm, &o, &recipe, &set));
    DART_GOTO(dart_device_for(&set, &context->device));
    if (!llm->bundle.source_vocab->size) {
        DART_GOTO(dart_ends_of(&llm->bundle, &context->ends));
        DART_GOTO(open_infer(context, o.context, &set));
    }
    *out = context;
    context = NULL;
done:
    dart_recipe_free(recipe);
    dart_context_free(context);
    return status;
}

void dart_context_free(dart_context *context)
{
    if (!context) return;
    dart_infer_free(context->infer);
    dart_speaker_free(&context->speaker);
    dart_device_close(context->device);
    dart_llm_close(context->llm); /* behind the device, which may read its words */
    free(context->candidates);
    free(context->text.id);
    free(context);
}

dart_status dart_context_reads(const dart_context *context)
{
    if (context->infer) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s is a translation model, which continues no text; translate with it",
        context->llm->path);
}

static dart_status append(dart_ids *text, const int32_t *ids, size_t count)
{
    DART_TRY(dart_grow((void **)&text->id, &text->capacity, text->count + count, sizeof *text->id));
    memcpy(text->id + text->count, ids, count * sizeof *ids);
    text->count += count;
    return DART_OK;
}

dart_status dart_context_feed(dart_context *context, const int32_t *tokens, size_t count)
{
    DART_IN_C_LOCALE;
    DART_TRY(dart_context_reads(context));
    const uint32_t few = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    DART_TRY(dart_infer_feed(context->infer, tokens, few));
    return append(&context->text, tokens, count);
}

const float *dart_context_logits(const dart_context *context)
{
    return context->text.count ? context->infer->logits : NULL;
}

uint32_t dart_context_position(const dart_context *context)
{
    return context->infer ? context->infer->at : 0;
}

uint32_t dart_context_limit(const dart_context *context)
{
    return context->infer ? context->infer->context : 0;
}

void dart_context_reset(dart_context *context)
{
    context->text.count = 0;
    if (context->infer) dart_infer_reset(context->infer);
}

uint64_t dart_context_bytes(const dart_context *context)
{
    return context->infer ? dart_infer_memory_of(context->infer).total : 0;
}

/* ---- sampling and text ---- */

dart_status dart_context_sample(dart_context *context, const dart_sampling *sampling, int32_t *out)
{
    dart_sampling how;
    *out = -1;
    DART_TRY(dart_options_take(sampling, sizeof how, "dart_sampling", &how));
    if (!context->text.count) return dart_fail(DART_USAGE, "no token was fed, so none follows");
    return dart_sample(context->infer->logits, dart_vocab_tokens(context->llm->bundle.vocab), &how,
        context->text.id, context->text.count, context->candidates, out);
}

/* The prompt's ids; at least the start token. */
static dart_status encode_prompt(const dart_llm *llm, const char *prompt, dart_ids *out)
{
    const dart_vocab *vocab = llm->bundle.vocab;
    int32_t *ids;
    uint64_t count;
    if (dart_vocab_tokenizer(vocab)) return dart_vocab_prompt(vocab, prompt, strlen(prompt), out);
    DART_TRY(dart_llm_ids(llm, prompt, strlen(prompt), "the prompt", &ids, &count));
    const int32_t start = dart_llm_special(llm, DART_SPECIAL_START);
    const dart_status status = append(out, count ? ids : &start, count ? count : 1);
    free(ids);
    return status;
}

dart_status dart_context_generate(dart_context *context, const dart_generate_options *options,
    dart_write write, void *user, dart_generate_speed *out_speed)
{
    DART_IN_C_LOCALE;
    dart_generate_options o;
    dart_sampling sampling;
    dart_generate_speed speed = {0};
    if (out_speed) DART_TRY(dart_answer_clear(out_speed, "dart_generate_speed"));
    DART_TRY(dart_options_take(options, sizeof o, "dart_generate_options", &o));
    DART_TRY(dart_options_take(o.sampling, sizeof sampling, "dart_sampling", &sampling));
    o.sampling = &sampling;
    DART_TRY(dart_context_reads(context));
    dart_context_reset(context);
    DART_TRY(encode_prompt(context->llm, o.prompt ? o.prompt : "", &context->text));
    dart_status status = dart_generate_text(context->infer, context->llm->bundle.vocab, &o,
        &context->ends, &context->text, write, user, &speed);
    if (status == DART_OK && out_speed) dart_answer_give(out_speed, &speed, sizeof speed);
    return status;
}

/* ---- translation ---- */

static dart_status translates(const dart_context *context)
{
    if (!context->infer) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s is no translation model; train one with --arch encoder-decoder", context->llm->path);
}

uint32_t dart_context_batch(const dart_context *context)
{
    return context->infer ? 0 : (uint32_t)context->llm->bundle.set.batch_size;
}

/* Tells all translations of the batch's row `row`, sentence `index` of the call. */
static dart_status tell(const dart_context *context, uint32_t row, size_t index, bool words,
    dart_translated translated, void *user)
{
    const dart_speaker *speaker = &context->speaker;
    const uint32_t ends = speaker->beam.ends[row];
    for (uint32_t k = 0; k < (ends ? ends : 1) && k < context->best; k++) {
        const dart_translation *t =
            ends ? &speaker->beam.best[(size_t)row * speaker->beam.options.beam + k] : NULL;
        char *text = NULL;
        if (t) DART_TRY(dart_speaker_text(speaker, t, !words, &text));
        const int refused = translated(user, index, k, text ? text : "", t ? t->score : 0);
        free(text);
        if (refused) return dart_fail(DART_IO, "the caller took no more translations");
    }
    return DART_OK;
}

dart_status dart_context_translate(dart_context *context, const char *const *sentences,
    size_t count, const dart_translate_options *options, dart_translated translated, void *user,
    uint64_t *out_cut)
{
    DART_IN_C_LOCALE;
    dart_translate_options o;
    if (out_cut) *out_cut = 0;
    DART_TRY(dart_options_take(options, sizeof o, "dart_translate_options", &o));
    DART_TRY(translates(context));
    dart_speaker *speaker = &context->speaker;
    if (!speaker->translator)
        DART_TRY(dart_speaker_new(context->device, &context->llm->bundle, context->best, speaker));
    const uint64_t first = o.first ? o.first : 1, cut = speaker->cut;
    speaker->count = 0; /* of a call that failed */
    for (size_t at = 0; at < count;) {
        const size_t begin = at;
        for (; at < count && speaker->count < speaker->sentences; at++)
            DART_TRY(dart_speaker_add(speaker, sentences[at], "the input", first + at));
        DART_TRY(dart_speaker_run(speaker));
        for (size_t i = begin; i < at; i++)
            DART_TRY(tell(context, (uint32_t)(i - begin), i, o.words, translated, user));
    }
    if (out_cut) *out_cut = speaker->cut - cut;
    return DART_OK;
}

/* ---- scores ---- */

dart_status dart_context_bleu(dart_context *context, const char *split, const dart_hooks *hooks,
    dart_write write, void *user, dart_bleu *out)
{
    DART_IN_C_LOCALE;
    dart_status status = DART_OK;
    dart_hooks h;
    dart_corpus corpus = {0};
    dart_bleu bleu;
    FILE *sink = NULL;
    const dart_bundle *bundle = &context->llm->bundle;
    const bool valid = !strcmp(split, "valid");
    DART_TRY(dart_answer_clear(out, "dart_bleu"));
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_hooks", &h));
    DART_TRY(translates(context));
    if (!valid && strcmp(split, "test") != 0)
        return dart_fail(DART_USAGE, "split '%.40s': expected valid or test", split);
    DART_GOTO(dart_corpus_for(&bundle->set, bundle->stored, &corpus));
    if (corpus.note[0]) dart_note_line(dart_note_of(&h), "%s", corpus.note);
    DART_GOTO(dart_sink_open(write, user, &sink));
    status = dart_bleu_split(
        context->device, bundle, corpus.parallel, valid ? DART_VALID : DART_TEST, sink, &bleu);
    status = dart_sink_close(sink, status);
    if (status == DART_OK) dart_answer_give(out, &bleu, sizeof bleu);
done:
    dart_corpus_free(&corpus);
    return status;
}

dart_status dart_llm_evaluate(const dart_llm *llm, const dart_hooks *hooks, dart_eval_result *out)
{
    DART_IN_C_LOCALE;
    dart_hooks h;
    dart_eval_result result = {0};
    DART_TRY(dart_answer_clear(out, "dart_eval_result"));
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_hooks", &h));
    const dart_stop before = dart_stop_listen(h.abort, h.user);
    dart_status status = dart_bundle_evaluate(&llm->bundle, dart_note_of(&h), &result);
    dart_stop_set(before);
    if (status == DART_OK) dart_answer_give(out, &result, sizeof result);
    return status;
}
