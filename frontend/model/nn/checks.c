/* What a configuration of a model may be. */
#include "layers.h"

static dart_status check_classifier(const dart_model_config *c)
{
    if (c->labels == 1 || c->labels > DART_MAX_LABELS)
        return dart_fail(DART_INPUT, "model: %u labels, expected 2 to %d (0: no classifier)",
            c->labels, DART_MAX_LABELS);
    if (c->labels && (c->enc_layers || c->packed || c->partial_labels))
        return dart_fail(DART_INPUT,
            "model: a classifier reads one text a row; it is no encoder-decoder, and takes no "
            "documents behind each other");
    if (c->encoder && (!c->labels || !c->norm.post || c->positions.kind != DART_LEARNED))
        return dart_fail(
            DART_INPUT, "model: an encoder needs labels, post-norm and learned positions");
    if (!c->encoder && (c->token_types || c->pooler))
        return dart_fail(DART_INPUT, "model: segments and a pooler belong to an encoder");
    return DART_OK;
}

static dart_status check_scaling(const dart_model_config *c)
{
    const dart_rope_scaling *s = &c->positions.scaling;
    if (s->kind < 0 || s->kind > DART_ROPE_LLAMA3)
        return dart_fail(DART_INPUT, "model: rotary scaling of kind %d, expected 0 to %d", s->kind,
            DART_ROPE_LLAMA3);
    if (s->kind == DART_ROPE_PLAIN) return DART_OK;
    if (c->positions.kind != DART_ROTARY)
        return dart_fail(DART_INPUT, "model: rope_scaling needs rotary positions");
    if (!(s->factor > 0.0) ||
        (s->kind == DART_ROPE_LLAMA3 && !(s->low > 0.0 && s->high > s->low && s->original_context)))
        return dart_fail(DART_INPUT,
            "model: rope_scaling with factor %g, low %g, high %g and an original context of %u; "
            "expected numbers above 0, and high above low",
            s->factor, s->low, s->high, s->original_context);
    return DART_OK;
}

dart_status dart_model_check(const dart_model_config *c)
{
    if (!c->layers || !c->d_model || !c->heads || !c->d_ff || !c->context || !c->vocab)
        return dart_fail(DART_INPUT,
            "model: layers, d_model, heads, d_ff, context and vocabulary must all be above 0");
    if (c->layers > DART_MAX_LAYERS || c->enc_layers > DART_MAX_LAYERS)
        return dart_fail(DART_INPUT, "model: %u and %u layers, expected at most %d", c->layers,
            c->enc_layers, DART_MAX_LAYERS);
    if (!c->head_dim && c->d_model % c->heads)
        return dart_fail(DART_INPUT, "model: d_model %u is not a multiple of its %u heads",
            c->d_model, c->heads);
    if (!c->kv_heads || c->heads % c->kv_heads)
        return dart_fail(DART_INPUT, "model: %u key/value heads do not divide the %u heads evenly",
            c->kv_heads, c->heads);
    if (c->positions.kind == DART_ROTARY && dart_head_dim(c) % 2)
        return dart_fail(DART_INPUT,
            "model: rotary positions need an even head size, got %u (d_model %u, heads %u)",
            dart_head_dim(c), c->d_model, c->heads);
    DART_TRY(check_scaling(c));
    DART_TRY(check_classifier(c));
    if (c->head_dim > 65536 || (uint64_t)dart_head_dim(c) * c->heads > 1 << 24)
        return dart_fail(DART_INPUT, "model: %u heads of %u are too large", c->heads, c->head_dim);
    if (c->bias < 0 || c->bias > DART_QKV_BIAS)
        return dart_fail(
            DART_INPUT, "model: biases of kind %d, expected 0 to %d", c->bias, DART_QKV_BIAS);
    if (c->packed && (c->positions.kind != DART_ROTARY || c->enc_layers))
        return dart_fail(DART_INPUT,
            "model: documents behind each other need rotary positions, which know distances only");
    if (c->enc_layers && c->adapter)
        return dart_fail(
            DART_INPUT, "model: adapters belong to models of one text, not to an encoder-decoder");
    if (c->adapter > 65536)
        return dart_fail(
            DART_INPUT, "model: adapters of width %u, expected at most 65536", c->adapter);
    if (c->enc_layers && c->qk_norm)
        return dart_fail(DART_INPUT,
            "model: norms of queries and keys belong to models of one text, not to an "
            "encoder-decoder");
    if (c->positions.kind < 0 || c->positions.kind > DART_SINUSOIDAL ||
        (c->positions.kind != DART_LEARNED && !(c->positions.base > 0.0)))
        return dart_fail(DART_INPUT,
            "model: positions of kind %d with base %g, expected 0 to %d and a base above 0",
            c->positions.kind, c->positions.base, DART_SINUSOIDAL);
    if (c->norm.kind < 0 || c->norm.kind > DART_RMS_NORM || !(c->norm.eps > 0.0))
        return dart_fail(DART_INPUT,
            "model: normalisation of kind %d with eps %g, expected 0 to %d and an eps above 0",
            c->norm.kind, c->norm.eps, DART_RMS_NORM);
    if (c->act < 0 || c->act > DART_ACT_GELU_ERF)
        return dart_fail(
            DART_INPUT, "model: activation %d, expected 0 to %d", c->act, DART_ACT_GELU_ERF);
    if (!(c->dropout >= 0.0 && c->dropout < 1.0))
        return dart_fail(DART_INPUT, "model: dropout %g, expected in [0, 1)", c->dropout);
    if (!c->enc_layers && ((c->norm.post && !c->encoder) || c->positions.kind == DART_SINUSOIDAL))
        return dart_fail(DART_INPUT,
            "model: post-norm and sinusoidal positions belong to the encoder-decoder; use arch: "
            "encoder-decoder, or norm_position: pre and learned or rotary positions");
    if (c->enc_layers && (!c->source_context || !c->source_vocab))
        return dart_fail(
            DART_INPUT, "model: an encoder needs a source context and a source vocabulary above 0");
    if (c->enc_layers && c->shared_vocab && c->source_vocab != c->vocab)
        return dart_fail(DART_INPUT,
            "model: a shared vocabulary has one size, got %u source and %u target words",
            c->source_vocab, c->vocab);
    return dart_roles_check(c);
}
