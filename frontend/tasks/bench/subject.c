/* The model that is measured: trained, or fresh from a recipe with random weights. */
#include "adapters.h"
#include "bench.h"
#include "setup.h"

enum { DEFAULT_VOCAB = 10000 };

static dart_status random_weights(dart_bundle *b)
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
        "bench measures models of texts, and this one is a classifier of %u labels; leave --labels "
        "out",
        b->model->config.labels);
}

dart_status dart_bench_subject(const dart_bench_call *call, dart_bundle *out)
{
    const char *path = call->options->model_path;
    dart_model_config config;
    dart_settings given;
    *out = (dart_bundle){0};
    dart_recipe_settings(call->recipe, &given);
    if ((!path || !*path) && *given.init_from) path = given.init_from;
    if (path && *path) {
        DART_TRY(dart_bundle_open(path, call->recipe, (dart_note){0}, out));
        return check_kind(out);
    }
    DART_TRY(dart_recipe_copy(call->recipe, &out->recipe));
    DART_TRY(dart_adapters_resolve(out->recipe));
    DART_TRY(dart_base_resolve(out->recipe));
    dart_recipe_settings(out->recipe, &out->set);
    uint32_t vocab = out->set.vocab_size ? (uint32_t)out->set.vocab_size : DEFAULT_VOCAB;
    DART_TRY(dart_config_from(&out->set, vocab, &config));
    DART_TRY(dart_model_new(&config, NULL, &out->model));
    DART_TRY(check_kind(out));
    return random_weights(out);
}

dart_status dart_bench_twin(const dart_bundle *of, dart_bundle *out)
{
    dart_model_config config = of->model->config;
    *out = (dart_bundle){.set = of->set};
    config.roles = 1;
    config.role[0] = (dart_role){.pattern = "*", .method = dart_method_find("dense")};
    DART_TRY(dart_model_new(&config, NULL, &out->model));
    return random_weights(out);
}
