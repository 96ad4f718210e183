/* Configurations of models for tests: the three roles that a recipe's short forms make. */
#ifndef DART_TEST_ROLES_H
#define DART_TEST_ROLES_H

#include "model.h"
#include "options.h"
#include <string.h>

enum { EMBEDDING, HEAD, LINEAR, ROLES };

/* lora_alpha / rank is exact at the ranks of the tests: launches take f32 scales. */
static inline void role_set(dart_model_config *config, int role, const char *method)
{
    dart_role *of = &config->role[role];
    of->method = dart_method_find(method);
    assert(of->method);
    of->options = dart_options_default(of->method->options);
    options_put(&of->options, "lora_alpha", 6);
}

/* All dense; ranks and modes are those that other methods would get. Usual constants. */
static inline void roles_new(dart_model_config *config, uint32_t linear_rank,
    uint32_t embedding_rank, uint32_t head_rank, uint32_t modes)
{
    static const char *const pattern[ROLES] = {"{tok,src}_emb", "head", "*"};
    const uint32_t rank[ROLES] = {embedding_rank, head_rank, linear_rank};
    config->norm.eps = 1e-5;
    config->positions.base = 10000;
    config->roles = ROLES;
    for (int r = 0; r < ROLES; r++) {
        config->role[r] = (dart_role){.rank = rank[r], .modes = modes};
        strcpy(config->role[r].pattern, pattern[r]);
        role_set(config, r, "dense");
    }
}

/* The layout of a method with its defaults for a weight of 24 x 24. */
static inline dart_layout method_layout(const dart_method *method, dart_weight *w)
{
    dart_layout layout = {0};
    *w = (dart_weight){
        .out = 24, .in = 24, .rank = 2, .modes = 2, .target_std = 1, .method = method};
    w->options = dart_options_default(method->options);
    const dart_status status = method->layout(w, false, &layout);
    assert(status == DART_OK);
    (void)status;
    return layout;
}

/* Whether a method pads the output side, which only a vocabulary may be. */
static inline bool method_pads(const dart_method *method)
{
    dart_weight w;
    (void)method_layout(method, &w);
    return w.pad_out;
}

static inline bool method_has_ranks(const dart_method *method)
{
    dart_weight w;
    return method_layout(method, &w).bonds > 0;
}

/* Whether its chain stands beside a frozen matrix. */
static inline bool method_has_base(const dart_method *method)
{
    dart_weight w;
    return method_layout(method, &w).chain_first > 0;
}

/* The methods of the table that none of `count` configurations has, so that a test takes up new
 * ones by itself; NULL past the last. */
static inline const dart_method *method_left(
    uint32_t index, int count, dart_model_config (*config_at)(int))
{
    for (uint32_t m = 0; dart_method_at(m); m++) {
        bool has = false;
        for (int c = 0; c < count; c++) {
            const dart_model_config config = config_at(c);
            for (uint32_t r = 0; r < config.roles; r++)
                has |= config.role[r].method == dart_method_at(m);
        }
        if (!has && index-- == 0) return dart_method_at(m);
    }
    return NULL;
}

/* A method in all roles that can have it. */
static inline void role_everywhere(dart_model_config *config, const dart_method *method)
{
    for (int r = 0; r < ROLES; r++)
        if (r == EMBEDDING || !method_pads(method)) role_set(config, r, method->name);
}

/* The fixed configurations, and behind them one for every method that none of them has. */
static inline int configs_with_methods(int fixed, dart_model_config (*fixed_at)(int))
{
    uint32_t more = 0;
    while (method_left(more, fixed, fixed_at)) more++;
    return fixed + (int)more;
}

/* `which` of these; `base` gets the method where it is not a fixed one. */
static inline dart_model_config config_with_methods(
    int which, int fixed, dart_model_config (*fixed_at)(int), dart_model_config base)
{
    if (which < fixed) return fixed_at(which);
    role_everywhere(&base, method_left((uint32_t)(which - fixed), fixed, fixed_at));
    return base;
}

#endif
