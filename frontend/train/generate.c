/* dart_generate: text from a trained model. The prompt is read in chunks, then one token at a time
 * with kept keys and values. */
#include "clock.h"
#include "infer.h"
#include "run.h"
#include "sample.h"
#include <stdlib.h>
#include <string.h>

static void print_token(const dart_vocab *vocab, int32_t before, int32_t id, FILE *out)
{
    char text[256];
    size_t n;
    dart_vocab_decode(vocab, before, id, text, &n);
    fwrite(text, 1, n, out);
}

/* The prompt's ids without the <eos> that word level puts at its end; at least the start token. */
static dart_status encode_prompt(
    const dart_vocab *vocab, const char *prompt, int32_t **out, uint64_t *out_count)
{
    DART_TRY(dart_vocab_encode(vocab, prompt, strlen(prompt), "the prompt", out, out_count));
    if (vocab->level == DART_LEVEL_WORD && *out_count && prompt[strlen(prompt) - 1] != '\n')
        --*out_count;
    if (*out_count) return DART_OK;
    free(*out);
    *out = dart_calloc(1, sizeof **out);
    if (!*out) return DART_MEMORY;
    **out = (int32_t)vocab->start;
    *out_count = 1;
    return DART_OK;
}

/* How many of the newest tokens are read again when the cache is full; 0: the text ends there. */
static uint32_t kept_tokens(const char *overflow, uint32_t context)
{
    if (overflow && !strcmp(overflow, "stop")) return 0;
    return overflow && !strcmp(overflow, "shift") ? (context + 1) / 2 : context;
}

static dart_status run_tokens(dart_run *run, dart_infer *infer, const dart_vocab *vocab,
    const dart_generate_options *o, const int32_t *prompt, uint64_t given, FILE *out)
{
    dart_status status = DART_OK;
    dart_generate_speed speed = {0};
    const uint32_t context = infer->context, kept = kept_tokens(o->overflow, context);
    uint64_t fed = given > context ? given - context : 0; /* tokens before it are forgotten */
    int32_t *history = dart_calloc(given + o->tokens, sizeof *history);
    dart_candidate *list = dart_calloc(vocab->size, sizeof *list);
    if (!history || !list) {
        status = DART_MEMORY;
        goto done;
    }
    memcpy(history, prompt, given * sizeof *history);
    for (uint64_t i = 0; i < given; i++)
        print_token(vocab, i ? history[i - 1] : -1, history[i], out);
    for (uint64_t n = given; n < given + o->tokens; n++) {
        double begin = dart_seconds();
        if (n - fed > context - infer->at) {
            if (!kept) break;
            fed = n - kept;
            dart_infer_reset(infer);
        }
        DART_GOTO(dart_infer_feed(infer, history + fed, (uint32_t)(n - fed)));
        if (n == given) {
            speed.prompt_tokens = n - fed;
            speed.prompt_seconds = dart_seconds() - begin;
        }
        fed = n;
        DART_GOTO(dart_sample(infer->logits, vocab->size, o, n, list, &history[n]));
        if (n > given) speed.seconds += dart_seconds() - begin;
        speed.tokens++;
        print_token(vocab, history[n - 1], history[n], out);
        fflush(out);
        if (run->hooks.stop && *run->hooks.stop) break;
    }
    fputc('\n', out);
    if (ferror(out)) status = dart_fail(DART_IO, "cannot write the generated text");
    speed.bytes = dart_infer_memory_of(infer).total;
    if (o->speed) *o->speed = speed;
done:
    free(history);
    free(list);
    return status;
}

dart_status dart_generate(const char *model_path, const dart_recipe *overrides,
    const dart_generate_options *options, FILE *out)
{
    dart_status status = DART_OK;
    dart_checkpoint checkpoint = {0};
    dart_corpus corpus = {0}; /* only its vocabulary */
    dart_run run = {.corpus = &corpus};
    dart_infer *infer = NULL;
    int32_t *prompt = NULL;
    uint64_t given;
    const char *full = options->overflow;
    if (full && strcmp(full, "slide") && strcmp(full, "shift") && strcmp(full, "stop"))
        return dart_fail(DART_USAGE, "overflow '%.40s': expected slide, shift or stop", full);
    DART_TRY(dart_model_open(model_path, overrides, NULL, &checkpoint, &run.recipe));
    dart_recipe_settings(run.recipe, &run.set);
    if (!strcmp(run.set.arch, "encoder-decoder")) {
        status = dart_fail(DART_INPUT,
            "%s is a translation model, which continues no text; use dart-llm translate --model %s",
            model_path, model_path);
        goto done;
    }
    DART_GOTO(dart_vocab_load(&checkpoint, &corpus.vocab));
    DART_GOTO(
        encode_prompt(&corpus.vocab, options->prompt ? options->prompt : "", &prompt, &given));
    DART_GOTO(dart_device_for(&run.set, &run.device));
    DART_GOTO(dart_run_load(&run, &checkpoint, false, false));
    const dart_infer_options how = {
        .batch = 1, .weights = dart_infer_weights_from(run.set.infer_weights)};
    DART_GOTO(dart_infer_new(run.device, run.model, &how, run.param, run.frozen, &infer));
    DART_GOTO(run_tokens(&run, infer, &corpus.vocab, options, prompt, given, out));
done:;
    dart_device *device = run.device;
    free(prompt);
    dart_infer_free(infer);
    dart_run_free(&run);
    dart_device_close(device);
    dart_corpus_free(&corpus);
    dart_checkpoint_close(&checkpoint);
    return status;
}
