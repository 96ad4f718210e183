/* dart_generate: text from a trained model, one token at a time, the whole context recomputed for
 * each. */
#include "run.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    uint32_t id;
    double weight; /* logit, then probability */
} candidate;

static int heaviest_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The next token from `logits`, by temperature (0: the likeliest), top_k, top_p; list: [count]
 * scratch. */
static dart_status sample(const float *logits, uint32_t count, const dart_generate_options *o,
    uint64_t index, candidate *list, int32_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(logits[i]))
            return dart_fail(DART_DIVERGED,
                "the model gives logits that are not finite; it was not "
                "trained, or it diverged");
        list[i] = (candidate){i, logits[i]};
    }
    qsort(list, count, sizeof *list, heaviest_first);
    *out = (int32_t)list[0].id;
    if (o->temperature <= 0) return DART_OK;
    uint32_t kept = o->top_k && o->top_k < count ? o->top_k : count;
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
    double at = sum * dart_uniform(o->seed, DART_STREAM_SAMPLE, index);
    for (uint32_t i = 0; i < kept; i++) {
        *out = (int32_t)list[i].id;
        at -= list[i].weight;
        if (at < 0) break;
    }
    return DART_OK;
}

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

static dart_status run_tokens(dart_run *run, const dart_vocab *vocab,
    const dart_generate_options *o, const int32_t *prompt, uint64_t given, FILE *out)
{
    dart_status status = DART_OK;
    const uint32_t time = (uint32_t)run->set.context;
    int32_t *history = dart_calloc(given + o->tokens, sizeof *history);
    int32_t *window = dart_calloc(time, sizeof *window);
    int32_t *index = dart_calloc((size_t)vocab->size + 1 + time, sizeof *index);
    uint32_t *cursor = dart_calloc(vocab->size, sizeof *cursor);
    candidate *list = dart_calloc(vocab->size, sizeof *list);
    if (!history || !window || !index || !cursor || !list) {
        status = DART_MEMORY;
        goto done;
    }
    memcpy(history, prompt, given * sizeof *history);
    for (uint64_t i = 0; i < given; i++)
        print_token(vocab, i ? history[i - 1] : -1, history[i], out);
    for (uint64_t n = given; n < given + o->tokens; n++) {
        /* Attention is causal: what stands behind the last known token does not matter. */
        uint64_t known = n < time ? n : time;
        for (uint32_t t = 0; t < time; t++)
            window[t] = t < known ? history[n - known + t] : (int32_t)vocab->start;
        dart_scatter_index(window, time, vocab->size, cursor, index);
        DART_GOTO(dart_session_logits(run->session, window, index));
        DART_GOTO(sample(run->session->logits + (known - 1) * run->session->logit_columns,
            vocab->size, o, n, list, &history[n]));
        print_token(vocab, history[n - 1], history[n], out);
        fflush(out);
        if (run->hooks.stop && *run->hooks.stop) break;
    }
    fputc('\n', out);
    if (ferror(out)) status = dart_fail(DART_IO, "cannot write the generated text");
done:
    free(history);
    free(window);
    free(index);
    free(cursor);
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
    dart_session_options o;
    int32_t *prompt = NULL;
    uint64_t given;
    DART_TRY(dart_model_open(model_path, overrides, NULL, &checkpoint, &run.recipe));
    dart_recipe_settings(run.recipe, &run.set);
    DART_GOTO(dart_vocab_load(&checkpoint, &corpus.vocab));
    DART_GOTO(
        encode_prompt(&corpus.vocab, options->prompt ? options->prompt : "", &prompt, &given));
    DART_GOTO(dart_device_for(&run.set, &run.device));
    DART_GOTO(dart_run_load(&run, &checkpoint, false, false));
    DART_GOTO(dart_session_options_from(&run.set, corpus.vocab.size, &o));
    o.train = o.eval = false;
    o.logits = true;
    o.batch = 1;
    o.reg = NULL;
    DART_GOTO(dart_session_new(run.device, NULL, run.model, &o, &run.session));
    DART_GOTO(dart_session_write(run.session, run.param, run.frozen, NULL));
    DART_GOTO(run_tokens(&run, &corpus.vocab, options, prompt, given, out));
done:;
    dart_device *device = run.device;
    free(prompt);
    dart_run_free(&run);
    dart_device_close(device);
    dart_corpus_free(&corpus);
    dart_checkpoint_close(&checkpoint);
    return status;
}
