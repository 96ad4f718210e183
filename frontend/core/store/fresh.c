/* Random weights and random words. */
#include "fresh.h"
#include "adapters.h"
#include "rng.h"
#include "setup.h"
#include <stdlib.h>

enum { DEFAULT_VOCAB = 10000 };

dart_status dart_fresh_values(dart_bundle *b)
{
    b->param = dart_calloc(b->model->param_words + 1, sizeof *b->param);
    b->frozen = dart_calloc_aligned(b->model->frozen_words + 1, sizeof *b->frozen);
    if (!b->param || !b->frozen) return DART_MEMORY;
    return dart_model_init(b->model, (uint64_t)b->set.seed, b->param, b->frozen);
}

static dart_status check_kind(const dart_bundle *b)
{
    if (!b->model->config.labels) return DART_OK;
    return dart_fail(DART_INPUT,
        "models of texts are measured, and this one is a classifier of %u labels; leave --labels "
        "out",
        b->model->config.labels);
}

dart_status dart_fresh_open(const dart_recipe *recipe, const char *path, dart_bundle *out)
{
    dart_model_config config;
    dart_settings given;
    *out = (dart_bundle){0};
    dart_recipe_settings(recipe, &given);
    if ((!path || !*path) && *given.init_from) path = given.init_from;
    if (path && *path) {
        DART_TRY(dart_bundle_open(path, recipe, (dart_note){0}, out));
        return check_kind(out);
    }
    DART_TRY(dart_recipe_copy(recipe, &out->recipe));
    DART_TRY(dart_adapters_resolve(out->recipe));
    DART_TRY(dart_base_resolve(out->recipe));
    dart_recipe_settings(out->recipe, &out->set);
    uint32_t vocab = out->set.vocab_size ? (uint32_t)out->set.vocab_size : DEFAULT_VOCAB;
    DART_TRY(dart_config_from(&out->set, vocab, &config));
    config.of_base = *out->set.base != 0;
    DART_TRY(dart_base_types(&out->set, &config));
    DART_TRY(dart_model_new(&config, NULL, &out->model));
    DART_TRY(check_kind(out));
    DART_TRY(dart_fresh_values(out));
    if (!config.of_base) return DART_OK;
    return dart_base_fill(out->set.base, out->model, out->param, out->frozen, &out->base);
}

dart_status dart_fresh_words_new(
    const dart_bundle *of, const dart_session_options *options, bool eval, dart_fresh_words *out)
{
    const dart_model_config *config = &of->model->config;
    const uint64_t seed = (uint64_t)of->set.seed;
    const uint32_t windows = options->batch * options->accumulation * (eval ? 1 : 4);
    *out = (dart_fresh_words){0};
    if (config->enc_layers) {
        DART_TRY(dart_corpus_random(config, windows, &out->corpus));
        return dart_stream_pairs(
            &of->set, &out->corpus, eval ? DART_VALID : DART_TRAIN, &out->stream);
    }
    const uint64_t count = (uint64_t)windows * options->time;
    out->token = dart_calloc(count + 1, sizeof *out->token);
    if (!out->token) return DART_MEMORY;
    for (uint64_t i = 0; i <= count; i++) {
        uint32_t word[4];
        dart_philox(seed, DART_STREAM_TEST, i, word);
        out->token[i] = (int32_t)(word[0] % config->vocab);
    }
    return dart_stream_new(out->token, count + !eval, !eval, config->vocab, 0, options->batch,
        options->time, seed, &out->stream);
}

void dart_fresh_words_free(dart_fresh_words *words)
{
    dart_stream_free(&words->stream);
    dart_corpus_free(&words->corpus);
    free(words->token);
    *words = (dart_fresh_words){0};
}
