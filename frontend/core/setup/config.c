/* From settings to a model configuration and session options. */
#include "classes.h"
#include "setup.h"
#include <string.h>

/* Words of a chunk of logits; and its rows, for each chunk reads the whole table and adds to all of
 * its gradient. */
enum { CHUNK_WORDS = 1 << 22, CHUNK_ROWS = 256 };
static const double SINUSOIDAL_BASE = 10000; /* Vaswani et al. 2017, 3.5 */

static uint32_t or_else(int64_t value, int64_t fallback)
{
    return (uint32_t)(value ? value : fallback);
}

bool dart_settings_pack(const dart_settings *set)
{
    const bool rotary = set->pos == DART_POSITION_ROPE ||
                        (set->pos == DART_POSITION_AUTO && set->arch == DART_ARCH_LLAMA);
    return *set->examples && rotary && !*set->labels;
}

/* What no base has is trained as it is, whatever the recipe says of linear layers. */
static dart_status train_classifier(dart_model_config *c)
{
    static const char *const names[] = {"classifier", "pooler"};
    const uint32_t count = c->new_pooler ? 2 : 1;
    if (c->roles + count > DART_MAX_ROLES)
        return dart_fail(DART_INPUT,
            "weights: with a classifier at most %u patterns can be given, got %u",
            DART_MAX_ROLES - count, c->roles);
    memmove(c->role + count, c->role, c->roles * sizeof *c->role);
    for (uint32_t i = 0; i < count; i++) {
        c->role[i] = (dart_role){.method = dart_method_find("dense")};
        strcpy(c->role[i].pattern, names[i]);
    }
    c->roles += count;
    return DART_OK;
}

dart_status dart_config_from(const dart_settings *set, uint32_t vocab, dart_model_config *out)
{
    static const int acts[] = {[DART_ACTIVATION_GELU] = DART_ACT_GELU,
        [DART_ACTIVATION_SILU] = DART_ACT_SILU,
        [DART_ACTIVATION_SWIGLU] = DART_ACT_SWIGLU,
        [DART_ACTIVATION_RELU] = DART_ACT_RELU,
        [DART_ACTIVATION_GELU_ERF] = DART_ACT_GELU_ERF};
    static const int positions[] = {[DART_POSITION_LEARNED] = DART_LEARNED,
        [DART_POSITION_ROPE] = DART_ROTARY,
        [DART_POSITION_SINUSOIDAL] = DART_SINUSOIDAL};
    const bool llama = set->arch == DART_ARCH_LLAMA, pairs = set->arch == DART_ARCH_ENCODER_DECODER;
    const bool encoder = set->arch == DART_ARCH_ENCODER;
    const int biases[] = {[DART_BIAS_AUTO] = llama ? DART_NO_BIAS : DART_ALL_BIAS,
        [DART_BIAS_TRUE] = DART_ALL_BIAS,
        [DART_BIAS_FALSE] = DART_NO_BIAS,
        [DART_BIAS_QKV] = DART_QKV_BIAS};
    static const int scalings[] = {[DART_ROPE_SCALING_NONE] = DART_ROPE_PLAIN,
        [DART_ROPE_SCALING_LINEAR] = DART_ROPE_LINEAR,
        [DART_ROPE_SCALING_LLAMA3] = DART_ROPE_LLAMA3};
    const bool rms = set->norm == DART_NORM_AUTO ? llama : set->norm == DART_NORM_RMSNORM;
    *out = (dart_model_config){
        .layers = pairs ? or_else(set->dec_layers, set->layers) : (uint32_t)set->layers,
        .enc_layers = pairs ? or_else(set->enc_layers, set->layers) : 0,
        .source_context = pairs ? or_else(set->src_context, set->context) : 0,
        .source_vocab = pairs ? vocab : 0,
        .shared_vocab = pairs && set->shared_vocab,
        .d_model = (uint32_t)set->d_model,
        .heads = (uint32_t)set->heads,
        .kv_heads = or_else(set->kv_heads, set->heads),
        .context = (uint32_t)set->context,
        .vocab = vocab,
        .norm = {.kind = rms ? DART_RMS_NORM : DART_LAYER_NORM,
            .post = encoder || set->norm_position == DART_NORM_POSITION_POST,
            .eps = set->norm_eps},
        .positions = {.kind = positions[set->pos], .base = SINUSOIDAL_BASE},
        .head_dim = (uint32_t)set->head_dim,
        .bias = biases[set->bias],
        .qk_norm = set->qk_norm,
        .frozen_vectors = !set->train_vectors,
        .adapter = (uint32_t)set->adapter_size,
        .dropout = set->dropout,
        .label_smoothing = pairs ? set->label_smoothing : 0,
        .partial_labels = *set->examples && !*set->labels,
        .encoder = encoder,
        .token_types = encoder ? (uint32_t)set->token_types : 0,
        .pooler = encoder && set->pooler != DART_POOLER_NONE,
        .new_pooler = encoder && set->pooler == DART_POOLER_NEW,
        .strict_rank = set->strict_rank};
    if (set->pos == DART_POSITION_AUTO) out->positions.kind = llama ? DART_ROTARY : DART_LEARNED;
    if (out->positions.kind == DART_ROTARY) out->positions.base = set->rope_base;
    out->packed = dart_settings_pack(set);
    out->positions.scaling = (dart_rope_scaling){.kind = scalings[set->rope_scaling],
        .factor = set->rope_factor,
        .low = set->rope_low,
        .high = set->rope_high,
        .original_context = (uint32_t)set->rope_context};
    DART_TRY(dart_settings_roles(set, out->role, &out->roles));
    if (*set->labels) {
        DART_TRY(dart_labels_count(set->labels, &out->labels));
        if (!*set->base)
            return dart_fail(DART_INPUT,
                "labels are for fine-tuning: name a model that is trained already (--base)");
        DART_TRY(train_classifier(out));
    } else if (encoder) {
        return dart_fail(DART_INPUT,
            "arch: encoder reads a text from both sides and can only classify it; give data with "
            "labels, or their names (labels)");
    }
    out->act = encoder ? DART_ACT_GELU_ERF
               : llama ? DART_ACT_SWIGLU
               : pairs ? DART_ACT_RELU
                       : DART_ACT_GELU;
    if (set->act != DART_ACTIVATION_AUTO) out->act = acts[set->act];
    out->d_ff = or_else(set->d_ff, (out->act == DART_ACT_SWIGLU ? 3 : 4) * set->d_model);
    /* A head with a method of its own cannot be the embedding; else GPT ties them and Llama does
     * not. */
    const bool own_head = !out->labels && set->head != dart_method_find("dense");
    out->tied = set->tied_head == DART_TIED_HEAD_AUTO ? !llama && !own_head
                                                      : set->tied_head == DART_TIED_HEAD_TRUE;
    if (out->labels) out->tied = true; /* there is none */
    if (out->tied && own_head)
        return dart_fail(DART_INPUT,
            "head: %s needs tied_head: false; a tied head is the embedding and has no method",
            set->head->name);
    return DART_OK;
}

dart_status dart_config_for(const dart_settings *set, const dart_vocab *vocab,
    const dart_vocab *source_vocab, dart_model_config *out)
{
    DART_TRY(dart_config_from(set, vocab->size, out));
    if (out->enc_layers) out->source_vocab = source_vocab->size;
    return DART_OK;
}

uint32_t dart_chunk_rows(const dart_settings *set, uint32_t batch, uint32_t vocab)
{
    uint64_t rows = (uint64_t)batch * (uint64_t)set->context;
    if (set->chunk_rows) return (uint32_t)dart_round_up((uint64_t)set->chunk_rows, 64);
    uint64_t chunks = (rows * vocab + CHUNK_WORDS - 1) / CHUNK_WORDS;
    uint64_t each = dart_round_up((rows + chunks - 1) / chunks, 64);
    return (uint32_t)(each < CHUNK_ROWS && rows >= CHUNK_ROWS ? CHUNK_ROWS : each);
}

dart_status dart_session_options_from(
    const dart_settings *set, uint32_t vocab, dart_session_options *out)
{
    *out = (dart_session_options){.batch = (uint32_t)set->batch_size,
        .time = (uint32_t)set->context,
        .accumulation = (uint32_t)set->gradient_accumulation_steps,
        .chunk_rows = dart_chunk_rows(set, (uint32_t)set->batch_size, vocab),
        .chunk_grows = !set->chunk_rows,
        .recompute = set->gradient_checkpointing,
        .shapes = (uint32_t)set->length_shapes,
        .train = true,
        .eval = true,
        .optim = set->optimizer,
        .optim_options = dart_settings_options(set, set->optimizer->options),
        .max_grad_norm = set->max_grad_norm,
        .ordered = set->ordered_dropout,
        .reg = dart_settings_reg(set)};
    if (!out->reg) return DART_OK;
    out->reg_options = dart_settings_options(set, out->reg->options);
    if (!out->reg->gate) return DART_OK;
    if (out->ordered > 0)
        return dart_fail(DART_INPUT,
            "ordered_dropout and the gates of reg %s both mask ranks: choose one of them in a "
            "stage",
            out->reg->name);
    out->candidates = (uint32_t)dart_options_get(&out->reg_options, &dart_row_gate_candidates);
    return DART_OK;
}
