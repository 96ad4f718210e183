/* config.json of each architecture. */
#include "file.h"
#include "hf.h"
#include "hf_keys.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what several have ---- */

static dart_status read_act(const hf_settings *s, const char *key)
{
    static const struct {
        const char *name;
        dart_pretrained_act act;
    } known[] = {{"gelu", DART_PRETRAINED_GELU_ERF}, {"gelu_new", DART_PRETRAINED_GELU_TANH},
        {"gelu_pytorch_tanh", DART_PRETRAINED_GELU_TANH}, {"relu", DART_PRETRAINED_RELU}};
    dart_pretrained_config *c = &s->model->config;
    const bool gated = c->arch <= DART_PRETRAINED_QWEN3;
    const char *name;
    DART_TRY(dart_hf_text(s, s->root, key, &name));
    if (!name) return dart_fail(DART_INPUT, "%s: '%s' is missing", s->file, key);
    if (gated && (!strcmp(name, "silu") || !strcmp(name, "swish"))) {
        c->act = DART_PRETRAINED_SWIGLU;
        return DART_OK;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known && !gated; i++)
        if (!strcmp(name, known[i].name)) {
            c->act = known[i].act;
            return DART_OK;
        }
    return dart_fail(DART_INPUT, "%s: the activation '%.40s' is not computed here for a %s; %s is",
        s->file, name, dart_pretrained_arch_name(c->arch),
        gated ? "silu" : "gelu, gelu_new, gelu_pytorch_tanh or relu");
}

static dart_status expect_bool(const hf_settings *s, const char *key, bool wanted)
{
    bool value;
    DART_TRY(dart_hf_bool(s, s->root, key, wanted, &value));
    if (value == wanted) return DART_OK;
    return dart_fail(DART_INPUT, "%s: '%s' is %s, which is not computed here", s->file, key,
        value ? "true" : "false");
}

static dart_status read_id(const hf_settings *s, const json_t *value, const char *key, int64_t *out)
{
    *out = -1;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT32_MAX)
        return dart_fail(DART_INPUT, "%s: '%s' is no token", s->file, key);
    *out = json_integer_value(value);
    return DART_OK;
}

static dart_status read_eos(const hf_settings *s, const json_t *value)
{
    int64_t id;
    if (!value || json_is_null(value)) return DART_OK;
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        DART_TRY(read_id(s, one, "eos_token_id", &id));
        DART_TRY(dart_pretrained_add_eos(s->model, id));
    }
    return DART_OK;
}

static dart_status read_ends(const hf_settings *s)
{
    const json_t *bos = json_object_get(s->root, "bos_token_id");
    int64_t id = -1;
    if (bos && !json_is_null(bos)) DART_TRY(read_id(s, bos, "bos_token_id", &id));
    s->model->config.bos = (int32_t)id;
    /* of no influence on a token's state, so that no number is refused */
    const json_t *pad = json_object_get(s->root, "pad_token_id");
    const json_int_t filler = json_is_integer(pad) ? json_integer_value(pad) : -1;
    s->model->config.pad = filler >= 0 && filler <= INT32_MAX ? (int32_t)filler : -1;
    return read_eos(s, json_object_get(s->root, "eos_token_id"));
}

/* Instruction models end a turn with a token that is named there only. */
static dart_status read_generation(const hf_settings *s)
{
    char path[PATH_MAX], *text, why[DART_JSON_WHY];
    size_t size;
    json_t *root;
    snprintf(path, sizeof path, "%s/generation_config.json", s->model->path);
    if (!dart_file_exists(path)) return DART_OK;
    DART_TRY(dart_file_read(path, &text, &size));
    dart_status status = dart_json_parse(text, size, path, why, &root);
    free(text);
    DART_TRY(status);
    status = read_eos(&(hf_settings){s->model, path, root}, json_object_get(root, "eos_token_id"));
    json_decref(root);
    return status;
}

/* ---- rotary positions ---- */

static dart_status check_rope_keys(const hf_settings *s, const char *name, json_t *rope)
{
    static const char *const known[] = {"rope_type", "type", "rope_theta", "factor",
        "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
        "partial_rotary_factor"};
    const char *key;
    json_t *value;
    json_object_foreach(rope, key, value)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], key)) i++;
        if (i == sizeof known / sizeof *known)
            return dart_fail(DART_INPUT, "%s: '%.60s' of '%s' is unknown, or not computed here",
                s->file, key, name);
    }
    return DART_OK;
}

/* rope_parameters of newer files holds the base too; rope_scaling of older ones does not. */
static dart_status read_rope(const hf_settings *s)
{
    dart_pretrained_rope *out = &s->model->config.rope;
    const char *name = "rope_parameters", *type, *older;
    json_t *rope = json_object_get(s->root, name);
    double turned;
    DART_TRY(dart_hf_f64(s, s->root, "rope_theta", 10000, &out->base));
    DART_TRY(dart_hf_f64(s, s->root, "partial_rotary_factor", 1, &turned));
    if (!rope || json_is_null(rope)) rope = json_object_get(s->root, name = "rope_scaling");
    if (rope && !json_is_null(rope)) {
        if (!json_is_object(rope))
            return dart_fail(DART_INPUT, "%s: '%s' is not an object", s->file, name);
        DART_TRY(check_rope_keys(s, name, rope));
        DART_TRY(dart_hf_f64(s, rope, "rope_theta", out->base, &out->base));
        DART_TRY(dart_hf_f64(s, rope, "partial_rotary_factor", turned, &turned));
        DART_TRY(dart_hf_text(s, rope, "rope_type", &type));
        DART_TRY(dart_hf_text(s, rope, "type", &older));
        if (!type) type = older;
        if (type && !strcmp(type, "linear")) {
            out->scaling = DART_PRETRAINED_LINEAR;
            DART_TRY(dart_hf_f64(s, rope, "factor", NAN, &out->factor));
        } else if (type && !strcmp(type, "llama3")) {
            out->scaling = DART_PRETRAINED_LLAMA3;
            DART_TRY(dart_hf_f64(s, rope, "factor", NAN, &out->factor));
            DART_TRY(dart_hf_f64(s, rope, "low_freq_factor", NAN, &out->low));
            DART_TRY(dart_hf_f64(s, rope, "high_freq_factor", NAN, &out->high));
            DART_TRY(dart_hf_u32(
                s, rope, "original_max_position_embeddings", HF_NEEDED, &out->original_context));
        } else if (type ? strcmp(type, "default") : json_object_get(rope, "factor") != NULL) {
            return dart_fail(DART_INPUT,
                "%s: rotary positions of the type '%.40s'; default, linear and llama3 are computed "
                "here",
                s->file, type ? type : "");
        }
    }
    if (turned != 1)
        return dart_fail(DART_INPUT,
            "%s: positions turn %g of each head; only the whole head is computed here", s->file,
            turned);
    return dart_pretrained_check_base(s->model);
}

/* Layers that see all tokens, or the same window in all of them. */
static dart_status read_window(const hf_settings *s)
{
    dart_pretrained_config *c = &s->model->config;
    const bool mistral = c->arch == DART_PRETRAINED_MISTRAL;
    const json_t *types = json_object_get(s->root, "layer_types");
    bool used;
    uint32_t whole;
    if (c->arch == DART_PRETRAINED_LLAMA) return DART_OK;
    DART_TRY(dart_hf_bool(s, s->root, "use_sliding_window", false, &used));
    if (mistral || used) DART_TRY(dart_hf_u32(s, s->root, "sliding_window", 0, &c->sliding_window));
    DART_TRY(dart_hf_u32(s, s->root, "max_window_layers", mistral ? 0 : 28, &whole));
    if (!mistral && c->sliding_window && whole > 0 && whole < c->layers)
        return dart_fail(DART_INPUT,
            "%s: %u of %u layers have a sliding window; all or none is computed here", s->file,
            c->layers - whole, c->layers);
    if (!mistral && whole) c->sliding_window = 0; /* layers from `whole` on would have it */
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, c->sliding_window ? "sliding_attention" : "full_attention"))
            return dart_fail(DART_INPUT,
                "%s: layer %zu has an attention of the type '%.40s', which is not computed here",
                s->file, i, type ? type : "");
    }
    return DART_OK;
}

/* ---- architectures ---- */

static dart_status read_gated(const hf_settings *s)
{
    dart_pretrained_config *c = &s->model->config;
    const bool optional = c->arch == DART_PRETRAINED_LLAMA;
    bool attention_bias, mlp_bias;
    c->rms_norm = true;
    c->qk_norm = c->arch == DART_PRETRAINED_QWEN3;
    DART_TRY(dart_hf_u32(s, s->root, "hidden_size", HF_NEEDED, &c->d_model));
    DART_TRY(dart_hf_u32(s, s->root, "intermediate_size", HF_NEEDED, &c->d_ff));
    DART_TRY(dart_hf_u32(s, s->root, "num_hidden_layers", HF_NEEDED, &c->layers));
    DART_TRY(dart_hf_u32(s, s->root, "num_attention_heads", HF_NEEDED, &c->heads));
    DART_TRY(dart_hf_u32(
        s, s->root, "num_key_value_heads", optional ? (int64_t)c->heads : HF_NEEDED, &c->kv_heads));
    DART_TRY(dart_hf_u32(s, s->root, "head_dim",
        c->qk_norm ? HF_NEEDED : (int64_t)(c->heads ? c->d_model / c->heads : 0), &c->head_dim));
    DART_TRY(dart_hf_u32(s, s->root, "max_position_embeddings", HF_NEEDED, &c->context));
    DART_TRY(dart_hf_f64(s, s->root, "rms_norm_eps", NAN, &c->norm_eps));
    DART_TRY(dart_hf_bool(s, s->root, "tie_word_embeddings", false, &c->tied));
    DART_TRY(dart_hf_bool(s, s->root, "attention_bias", false, &attention_bias));
    DART_TRY(dart_hf_bool(s, s->root, "mlp_bias", false, &mlp_bias));
    if (attention_bias != mlp_bias)
        return dart_fail(DART_INPUT,
            "%s: attention_bias is %s and mlp_bias %s; both or none is computed here", s->file,
            attention_bias ? "true" : "false", mlp_bias ? "true" : "false");
    c->bias = attention_bias                     ? DART_PRETRAINED_ALL_BIAS
              : c->arch == DART_PRETRAINED_QWEN2 ? DART_PRETRAINED_QKV_BIAS
                                                 : DART_PRETRAINED_NO_BIAS;
    DART_TRY(read_act(s, "hidden_act"));
    DART_TRY(read_rope(s));
    DART_TRY(read_ends(s));
    return read_window(s);
}

static dart_status read_gpt2(const hf_settings *s)
{
    dart_pretrained_config *c = &s->model->config;
    DART_TRY(dart_hf_u32(s, s->root, "n_embd", HF_NEEDED, &c->d_model));
    DART_TRY(dart_hf_u32(s, s->root, "n_layer", HF_NEEDED, &c->layers));
    DART_TRY(dart_hf_u32(s, s->root, "n_head", HF_NEEDED, &c->heads));
    DART_TRY(dart_hf_u32(s, s->root, "n_positions", HF_NEEDED, &c->context));
    DART_TRY(dart_hf_u32(s, s->root, "n_inner", 4 * (int64_t)c->d_model, &c->d_ff));
    DART_TRY(dart_hf_f64(s, s->root, "layer_norm_epsilon", NAN, &c->norm_eps));
    DART_TRY(dart_hf_bool(s, s->root, "tie_word_embeddings", true, &c->tied));
    DART_TRY(expect_bool(s, "scale_attn_weights", true));
    c->kv_heads = c->heads;
    c->head_dim = c->heads ? c->d_model / c->heads : 0;
    c->bias = DART_PRETRAINED_ALL_BIAS;
    DART_TRY(read_act(s, "activation_function"));
    return read_ends(s);
}

static dart_status read_bert(const hf_settings *s)
{
    dart_pretrained_config *c = &s->model->config;
    const char *positions;
    uint32_t pad, rows;
    DART_TRY(dart_hf_u32(s, s->root, "hidden_size", HF_NEEDED, &c->d_model));
    DART_TRY(dart_hf_u32(s, s->root, "intermediate_size", HF_NEEDED, &c->d_ff));
    DART_TRY(dart_hf_u32(s, s->root, "num_hidden_layers", HF_NEEDED, &c->layers));
    DART_TRY(dart_hf_u32(s, s->root, "num_attention_heads", HF_NEEDED, &c->heads));
    DART_TRY(dart_hf_u32(s, s->root, "max_position_embeddings", HF_NEEDED, &rows));
    DART_TRY(dart_hf_u32(s, s->root, "type_vocab_size", HF_NEEDED, &c->token_types));
    DART_TRY(dart_hf_f64(s, s->root, "layer_norm_eps", NAN, &c->norm_eps));
    DART_TRY(dart_hf_text(s, s->root, "position_embedding_type", &positions));
    if (positions && strcmp(positions, "absolute"))
        return dart_fail(DART_INPUT,
            "%s: positions of the type '%.40s'; only absolute ones are computed here", s->file,
            positions);
    if (c->arch == DART_PRETRAINED_ROBERTA) { /* positions count from behind the padding's */
        DART_TRY(dart_hf_u32(s, s->root, "pad_token_id", 1, &pad));
        if (pad >= rows || rows - pad < 2)
            return dart_fail(DART_INPUT, "%s: %u positions leave none behind the padding's, %u",
                s->file, rows, pad);
        c->first_position = pad + 1;
    }
    c->context = rows - c->first_position;
    c->kv_heads = c->heads;
    c->head_dim = c->heads ? c->d_model / c->heads : 0;
    c->bias = DART_PRETRAINED_ALL_BIAS;
    c->post_norm = c->tied = true;
    DART_TRY(read_act(s, "hidden_act"));
    DART_TRY(read_ends(s));
    if (c->first_position) c->pad = (int32_t)c->first_position - 1;
    return DART_OK;
}

dart_status dart_hf_read_config(const hf_settings *s)
{
    dart_pretrained_config *c = &s->model->config;
    const char *type;
    int arch = 0;
    DART_TRY(dart_hf_text(s, s->root, "model_type", &type));
    while (type && arch <= DART_PRETRAINED_ROBERTA &&
           strcmp(type, dart_pretrained_arch_name((dart_pretrained_arch)arch)))
        arch++;
    if (!type || arch > DART_PRETRAINED_ROBERTA)
        return dart_fail(DART_INPUT,
            "%s: a model of the type '%.40s'; llama, mistral, qwen2, qwen3, gpt2, bert and roberta "
            "are read",
            s->file, type ? type : "");
    c->arch = (dart_pretrained_arch)arch;
    DART_TRY(dart_hf_check_keys(s->file, s->root));
    DART_TRY(dart_hf_u32(s, s->root, "vocab_size", HF_NEEDED, &c->vocab));
    if (c->arch == DART_PRETRAINED_GPT2)
        DART_TRY(read_gpt2(s));
    else
        DART_TRY(c->arch >= DART_PRETRAINED_BERT ? read_bert(s) : read_gated(s));
    DART_TRY(read_generation(s));
    return dart_pretrained_check(s->model);
}
