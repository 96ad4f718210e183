/* From settings to a model configuration and session options. */
#include "names.h"
#include "setup.h"
#include <inttypes.h>
#include <string.h>

enum { CHUNK_WORDS = 1 << 22 };

static const char *method_name(const void *context, uint32_t index)
{
    (void)context;
    return dart_method_at(index) ? dart_method_at(index)->name : NULL;
}

/* "none" stands before the table. */
static const char *penalty_name(const void *context, uint32_t index)
{
    (void)context;
    if (!index) return "none";
    return dart_reg_at(index - 1) ? dart_reg_at(index - 1)->name : NULL;
}

static dart_status find_method(const char *what, const char *name, const dart_method **out)
{
    *out = dart_method_find(name);
    if (*out) return DART_OK;
    return dart_name_unknown(DART_INPUT, what, name, method_name, NULL, "");
}

/* 1 true, 0 false, -1 auto. */
static int tristate(const char *value)
{
    return !strcmp(value, "true") ? 1 : !strcmp(value, "false") ? 0 : -1;
}

static uint32_t or_else(int64_t value, int64_t fallback)
{
    return (uint32_t)(value ? value : fallback);
}

dart_status dart_config_from(const dart_settings *set, uint32_t vocab, dart_model_config *out)
{
    bool llama = !strcmp(set->arch, "llama"), pairs = !strcmp(set->arch, "encoder-decoder");
    int tied = tristate(set->tied_head), bias = tristate(set->bias);
    *out = (dart_model_config){
        .layers = pairs ? or_else(set->dec_layers, set->layers) : (uint32_t)set->layers,
        .enc_layers = pairs ? or_else(set->enc_layers, set->layers) : 0,
        .source_context = pairs ? or_else(set->src_context, set->context) : 0,
        .source_vocab = pairs ? vocab : 0,
        .shared_vocab = pairs && set->shared_vocab,
        .post_norm = !strcmp(set->norm_position, "post"),
        .sinusoidal = !strcmp(set->pos, "sinusoidal"),
        .d_model = (uint32_t)set->d_model,
        .heads = (uint32_t)set->heads,
        .kv_heads = or_else(set->kv_heads, set->heads),
        .context = (uint32_t)set->context,
        .vocab = vocab,
        .rmsnorm = !strcmp(set->norm, "auto") ? llama : !strcmp(set->norm, "rmsnorm"),
        .rope = !strcmp(set->pos, "auto") ? llama : !strcmp(set->pos, "rope"),
        .bias = bias < 0 ? !llama : bias,
        .dropout = set->dropout,
        .label_smoothing = pairs ? set->label_smoothing : 0,
        .norm_eps = 1e-5,
        .linear_rank = or_else(set->linear_rank, set->rank),
        .embedding_rank = or_else(set->embedding_rank, set->rank),
        .head_rank = or_else(set->head_rank, set->rank),
        .linear_modes = or_else(set->linear_modes, set->modes),
        .embedding_modes = or_else(set->embedding_modes, set->modes),
        .head_modes = or_else(set->head_modes, set->modes),
        .lora_alpha = set->lora_alpha,
        .strict_rank = set->strict_rank};
    static const char *const acts[] = {"gelu", "silu", "swiglu", "relu"};
    out->act = llama ? DART_ACT_SWIGLU : pairs ? DART_ACT_RELU : DART_ACT_GELU;
    for (int i = 0; i < 4; i++)
        if (!strcmp(set->act, acts[i])) out->act = i;
    out->d_ff = or_else(set->d_ff, (out->act == DART_ACT_SWIGLU ? 3 : 4) * set->d_model);
    DART_TRY(find_method("method for the linear layers", set->linear, &out->linear));
    DART_TRY(find_method("method for the embedding", set->embedding, &out->embedding));
    DART_TRY(find_method("method for the head", set->head, &out->head));
    /* A head with a method of its own cannot be the embedding; else GPT ties them and Llama does
     * not. */
    bool own_head = strcmp(set->head, "dense") != 0;
    out->tied = tied < 0 ? !llama && !own_head : tied;
    if (out->tied && own_head)
        return dart_fail(DART_INPUT,
            "head: %s needs tied_head: false; a tied head is the embedding and has no method",
            set->head);
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
    return (uint32_t)dart_round_up((rows + chunks - 1) / chunks, 64);
}

dart_status dart_session_options_from(
    const dart_settings *set, uint32_t vocab, dart_session_options *out)
{
    *out = (dart_session_options){.batch = (uint32_t)set->batch_size,
        .time = (uint32_t)set->context,
        .accumulation = (uint32_t)set->gradient_accumulation_steps,
        .chunk_rows = dart_chunk_rows(set, (uint32_t)set->batch_size, vocab),
        .shapes = (uint32_t)set->length_shapes,
        .train = true,
        .eval = true,
        .beta1 = set->beta1,
        .beta2 = set->beta2,
        .adam_eps = set->adam_eps,
        .weight_decay = set->weight_decay,
        .max_grad_norm = set->max_grad_norm,
        .ordered = set->ordered_dropout,
        .straight = set->straight_through,
        .reg_options = {
            .mu = set->reg_mu, .p = set->reg_p, .price = !strcmp(set->reg_weighting, "price")}};
    if (!set->reg[0] || !strcmp(set->reg, "none")) return DART_OK;
    const dart_reg *reg = dart_reg_find(set->reg);
    if (!reg) return dart_name_unknown(DART_INPUT, "penalty", set->reg, penalty_name, NULL, "");
    if (reg->gate && reg->gate->by_candidate) out->candidates = (uint32_t)set->gate_candidates;
    if (reg->gate && out->ordered > 0)
        return dart_fail(DART_INPUT,
            "ordered_dropout and the gates of reg %s both mask ranks: choose one of them in a "
            "stage",
            reg->name);
    if (set->lambda_reg > 0 || reg->gate) out->reg = reg;
    return DART_OK;
}
