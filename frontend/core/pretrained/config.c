/* Settings of pretrained models, whatever file they come from. */
#include "pretrained_impl.h"
#include <inttypes.h>
#include <math.h>

static const char *const names[] = {
    "llama", "mistral", "qwen2", "qwen3", "gpt2", "bert", "roberta"};

const char *dart_pretrained_arch_name(dart_pretrained_arch arch)
{
    return names[arch];
}

static dart_status check_size(
    const dart_pretrained *model, const char *what, uint32_t value, uint32_t most)
{
    if (value >= 1 && value <= most) return DART_OK;
    return dart_fail(
        DART_INPUT, "%s: %s is %u; 1 to %u is possible", model->path, what, value, most);
}

dart_status dart_pretrained_check_base(const dart_pretrained *model)
{
    const double base = model->config.rope.base;
    if (base > 0 && isfinite(base)) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s: the base of its rotary positions is %g; a number above 0 is needed", model->path,
        base);
}

static dart_status check_rope(const dart_pretrained *model)
{
    const dart_pretrained_rope *r = &model->config.rope;
    if (r->base == 0) return DART_OK;
    DART_TRY(dart_pretrained_check_base(model));
    if (model->config.head_dim % 2)
        return dart_fail(DART_INPUT, "%s: rotary positions need heads of an even size, not %u",
            model->path, model->config.head_dim);
    const bool scaled =
        r->scaling == DART_PRETRAINED_LINEAR || r->scaling == DART_PRETRAINED_LLAMA3;
    if (scaled && !(r->factor > 0 && isfinite(r->factor)))
        return dart_fail(DART_INPUT,
            "%s: the factor of its rotary positions is %g; a number above "
            "0 is needed",
            model->path, r->factor);
    if (r->scaling == DART_PRETRAINED_LLAMA3 &&
        !(r->low > 0 && r->high > r->low && isfinite(r->high) && r->original_context))
        return dart_fail(DART_INPUT,
            "%s: its rotary positions have low %g, high %g and an original context of %u; numbers "
            "above 0 with high above low are needed",
            model->path, r->low, r->high, r->original_context);
    for (uint32_t i = 0; r->factors && i < model->config.head_dim / 2; i++)
        if (!(r->factors[i] > 0 && isfinite(r->factors[i])))
            return dart_fail(DART_INPUT,
                "%s: factor %u of its rotary positions is %g; a number above 0 is needed",
                model->path, i, (double)r->factors[i]);
    return DART_OK;
}

dart_status dart_pretrained_check(const dart_pretrained *model)
{
    const dart_pretrained_config *c = &model->config;
    DART_TRY(check_size(model, "the number of layers", c->layers, 4096));
    DART_TRY(check_size(model, "the width", c->d_model, 1 << 20));
    DART_TRY(check_size(model, "the number of heads", c->heads, 1 << 16));
    DART_TRY(check_size(model, "the number of key/value heads", c->kv_heads, c->heads));
    DART_TRY(check_size(model, "the size of a head", c->head_dim, 1 << 16));
    DART_TRY(check_size(model, "the width of the MLP", c->d_ff, 1 << 24));
    DART_TRY(check_size(model, "the context", c->context, 1 << 30));
    DART_TRY(check_size(model, "the vocabulary", c->vocab, 1 << 30));
    if (c->heads % c->kv_heads)
        return dart_fail(DART_INPUT, "%s: %u key/value heads do not divide the %u heads evenly",
            model->path, c->kv_heads, c->heads);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return dart_fail(DART_INPUT,
            "%s: the epsilon of its norms is %g; a number between 0 and 1 "
            "is needed",
            model->path, c->norm_eps);
    /* what only models with rotary positions may have here */
    if (c->rope.base == 0 &&
        (c->kv_heads != c->heads || (uint64_t)c->heads * c->head_dim != c->d_model))
        return dart_fail(DART_INPUT,
            "%s: %u heads of %u and %u key/value heads do not make a width of %u", model->path,
            c->heads, c->head_dim, c->kv_heads, c->d_model);
    return check_rope(model);
}

dart_status dart_pretrained_add_eos(dart_pretrained *model, int64_t id)
{
    dart_pretrained_config *c = &model->config;
    for (uint32_t i = 0; i < c->eos_count; i++)
        if (c->eos[i] == id) return DART_OK;
    if (id < 0 || id > INT32_MAX)
        return dart_fail(DART_INPUT,
            "%s: the token that ends a text is %" PRId64 ", which is no token", model->path, id);
    if (c->eos_count == DART_PRETRAINED_EOS)
        return dart_fail(
            DART_INPUT, "%s: more than %d tokens end a text", model->path, DART_PRETRAINED_EOS);
    c->eos[c->eos_count++] = (int32_t)id;
    return DART_OK;
}
