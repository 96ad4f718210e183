/* Models of GGUF files. */
#include "pretrained_impl.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES(table) table, sizeof(table) / sizeof *(table)

/* ---- tensors ---- */

static const pretrained_entry whole[] = {
    {"tok_emb", "token_embd.weight", PRETRAINED_VOCAB, PRETRAINED_D},
    {"norm_f.weight", "output_norm.weight", PRETRAINED_D}};
static const pretrained_entry gpt2_whole[] = {
    {"pos_emb.weight", "position_embd.weight", PRETRAINED_POSITIONS, PRETRAINED_D},
    {"norm_f.bias", "output_norm.bias", PRETRAINED_D}};

static const pretrained_entry gated[] = {{"norm1.weight", "attn_norm.weight", PRETRAINED_D},
    {"norm2.weight", "ffn_norm.weight", PRETRAINED_D},
    {"attn.v", "attn_v.weight", PRETRAINED_KV, PRETRAINED_D},
    {"attn.o", "attn_output.weight", PRETRAINED_D, PRETRAINED_Q},
    {"attn.v.bias", "attn_v.bias", PRETRAINED_KV, .when = PRETRAINED_IF_QKV_BIAS},
    {"attn.q_norm", "attn_q_norm.weight", PRETRAINED_HEAD, .when = PRETRAINED_IF_QK_NORM},
    {"attn.k_norm", "attn_k_norm.weight", PRETRAINED_HEAD, .when = PRETRAINED_IF_QK_NORM},
    {"mlp.gate", "ffn_gate.weight", PRETRAINED_FF, PRETRAINED_D},
    {"mlp.up", "ffn_up.weight", PRETRAINED_FF, PRETRAINED_D},
    {"mlp.down", "ffn_down.weight", PRETRAINED_D, PRETRAINED_FF}};
/* llama.cpp turns neighbours for llama, halves for qwen2 and qwen3. */
static const pretrained_entry in_pairs[] = {
    {"attn.q", "attn_q.weight", PRETRAINED_Q, PRETRAINED_D, .lies = PRETRAINED_IN_PAIRS},
    {"attn.k", "attn_k.weight", PRETRAINED_KV, PRETRAINED_D, .lies = PRETRAINED_IN_PAIRS}};
static const pretrained_entry in_halves[] = {
    {"attn.q", "attn_q.weight", PRETRAINED_Q, PRETRAINED_D},
    {"attn.k", "attn_k.weight", PRETRAINED_KV, PRETRAINED_D},
    {"attn.q.bias", "attn_q.bias", PRETRAINED_Q, .when = PRETRAINED_IF_QKV_BIAS},
    {"attn.k.bias", "attn_k.bias", PRETRAINED_KV, .when = PRETRAINED_IF_QKV_BIAS}};

#define THIRDS(letter, number)                                                                     \
    {"attn." letter, "attn_qkv.weight", PRETRAINED_D, PRETRAINED_D, .lies = PRETRAINED_THIRD,      \
        .third = number},                                                                          \
    {                                                                                              \
        "attn." letter ".bias", "attn_qkv.bias", PRETRAINED_D, .lies = PRETRAINED_THIRD,           \
                                                               .third = number                     \
    }
static const pretrained_entry gpt2[] = {THIRDS("q", 0), THIRDS("k", 1), THIRDS("v", 2),
    {"norm1.weight", "attn_norm.weight", PRETRAINED_D},
    {"norm1.bias", "attn_norm.bias", PRETRAINED_D},
    {"norm2.weight", "ffn_norm.weight", PRETRAINED_D},
    {"norm2.bias", "ffn_norm.bias", PRETRAINED_D},
    {"attn.o", "attn_output.weight", PRETRAINED_D, PRETRAINED_D},
    {"attn.o.bias", "attn_output.bias", PRETRAINED_D},
    {"mlp.up", "ffn_up.weight", PRETRAINED_FF, PRETRAINED_D},
    {"mlp.up.bias", "ffn_up.bias", PRETRAINED_FF},
    {"mlp.down", "ffn_down.weight", PRETRAINED_D, PRETRAINED_FF},
    {"mlp.down.bias", "ffn_down.bias", PRETRAINED_D}};

static dart_status list_sources(dart_pretrained *model)
{
    uint64_t count;
    const dart_gguf_tensor *tensor = dart_gguf_tensors(model->gguf, &count);
    DART_TRY(dart_pretrained_sources(model, count));
    for (uint64_t i = 0; i < count; i++) {
        pretrained_source *source = &model->source[i];
        source->name = tensor[i].name;
        source->format = tensor[i].format;
        source->type = tensor[i].format->name;
        source->rank = tensor[i].rank;
        for (uint32_t k = 0; k < source->rank; k++)
            source->dim[k] = tensor[i].dim[source->rank - 1 - k];
        source->data = tensor[i].data;
    }
    dart_pretrained_sources_sort(model);
    return DART_OK;
}

/* ---- settings ---- */

/* "<architecture>.<name>" */
static const char *key_of(const dart_pretrained *model, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", dart_pretrained_arch_name(model->config.arch), name);
    return out;
}

static dart_status need_u32(dart_pretrained *model, const char *name, uint32_t *out)
{
    char key[96];
    if (!dart_gguf_find(model->gguf, key_of(model, name, key)))
        return dart_fail(DART_INPUT, "%s: the GGUF key '%s' is missing", model->path, key);
    return dart_gguf_u32(model->gguf, key, 0, out);
}

static dart_status take_u32(
    dart_pretrained *model, const char *name, uint32_t fallback, uint32_t *out)
{
    char key[96];
    return dart_gguf_u32(model->gguf, key_of(model, name, key), fallback, out);
}

/* A number that has to be what we do anyway. */
static dart_status expect(dart_pretrained *model, const char *name, double wanted)
{
    char key[96];
    double value;
    DART_TRY(dart_gguf_f64(model->gguf, key_of(model, name, key), wanted, &value));
    if (value == wanted) return DART_OK;
    return dart_fail(DART_INPUT, "%s: the GGUF key '%s' is %g; only %g can be computed here",
        model->path, key, value, wanted);
}

static bool text_is(const char *text, size_t bytes, const char *word)
{
    return bytes == strlen(word) && !memcmp(text, word, bytes);
}

static dart_status read_arch(dart_pretrained *model)
{
    static const dart_pretrained_arch known[] = {
        DART_PRETRAINED_LLAMA, DART_PRETRAINED_QWEN2, DART_PRETRAINED_QWEN3, DART_PRETRAINED_GPT2};
    const char *text;
    size_t bytes;
    uint32_t parts;
    DART_TRY(dart_gguf_string(model->gguf, "general.type", &text, &bytes));
    if (text && !text_is(text, bytes, "model"))
        return dart_fail(DART_INPUT, "%s: a GGUF file of the type '%.*s'; a model is needed",
            model->path, bytes < 40 ? (int)bytes : 40, text);
    DART_TRY(dart_gguf_u32(model->gguf, "split.count", 1, &parts));
    if (parts > 1)
        return dart_fail(DART_INPUT,
            "%s: one of %u parts of a model; put them together with llama-gguf-split --merge",
            model->path, parts);
    DART_TRY(dart_gguf_string(model->gguf, "general.architecture", &text, &bytes));
    if (!text)
        return dart_fail(
            DART_INPUT, "%s: the GGUF key 'general.architecture' is missing", model->path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (text_is(text, bytes, dart_pretrained_arch_name(known[i]))) {
            model->config.arch = known[i];
            return DART_OK;
        }
    return dart_fail(DART_INPUT,
        "%s: a model of the architecture '%.*s'; llama, qwen2, qwen3 and gpt2 are read",
        model->path, bytes < 40 ? (int)bytes : 40, text);
}

/* All keys of the architecture that do not change what is computed, or are read below. */
static dart_status check_keys(const dart_pretrained *model)
{
    static const char *const known[] = {"context_length", "embedding_length", "block_count",
        "feed_forward_length", "vocab_size", "attention.head_count", "attention.head_count_kv",
        "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
        "attention.layer_norm_epsilon", "attention.sliding_window", "attention.causal",
        "rope.freq_base", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor",
        "rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scale_linear",
        "expert_count", "expert_used_count", "use_parallel_residual", "logit_scale",
        "residual_scale", "embedding_scale", "attention.scale", "attention.max_alibi_bias",
        "attention.clamp_kqv", "tensor_data_layout"};
    const char *arch = dart_pretrained_arch_name(model->config.arch);
    const size_t n = strlen(arch);
    uint64_t count;
    const dart_gguf_value *value = dart_gguf_values(model->gguf, &count);
    for (uint64_t i = 0; i < count; i++) {
        if (strncmp(value[i].key, arch, n) || value[i].key[n] != '.') continue;
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(known[k], value[i].key + n + 1)) k++;
        if (k == sizeof known / sizeof *known)
            return dart_fail(DART_INPUT,
                "%s: the GGUF key '%.80s' is unknown and may change what the model computes",
                model->path, value[i].key);
    }
    return DART_OK;
}

static dart_status read_scaling(dart_pretrained *model)
{
    dart_pretrained_rope *rope = &model->config.rope;
    char key[96];
    const char *text;
    size_t bytes;
    DART_TRY(expect(model, "rope.scale_linear", 1));
    DART_TRY(dart_gguf_string(model->gguf, key_of(model, "rope.scaling.type", key), &text, &bytes));
    if (!text || text_is(text, bytes, "none")) return DART_OK;
    if (!text_is(text, bytes, "linear"))
        return dart_fail(DART_INPUT,
            "%s: rotary positions scaled by the rule '%.*s'; none and linear are computed here",
            model->path, bytes < 40 ? (int)bytes : 40, text);
    DART_TRY(
        dart_gguf_f64(model->gguf, key_of(model, "rope.scaling.factor", key), 1, &rope->factor));
    rope->scaling = DART_PRETRAINED_LINEAR;
    return DART_OK;
}

/* ---- factors of rotary positions ---- */

/* The wavelength of pair i of `pairs`. */
static double wave_of(const dart_pretrained_rope *rope, uint32_t i, uint32_t pairs)
{
    return 6.283185307179586 * pow(rope->base, (double)i / pairs);
}

/* The factor of pair i by the rule of Llama 3.1. */
static double llama3_factor(const dart_pretrained_rope *rope, uint32_t i, uint32_t pairs)
{
    const double wave = wave_of(rope, i, pairs);
    if (wave < rope->original_context / rope->high) return 1;
    if (wave > rope->original_context / rope->low) return rope->factor;
    const double smooth = (rope->original_context / wave - rope->low) / (rope->high - rope->low);
    return 1 / ((1 - smooth) / rope->factor + smooth);
}

static bool follows(const dart_pretrained_rope *rule, const float *factor, uint32_t pairs)
{
    for (uint32_t i = 0; i < pairs; i++) {
        const double wanted = llama3_factor(rule, i, pairs);
        if (!(fabs(factor[i] - wanted) <= 1e-5 * wanted)) return false;
    }
    return true;
}

/* low and high so that the rule gives these factors, if any do. 1 / factor of the pairs between
 * falls linearly in 1 / wave from 1 (where wave is context / high) to 1 / rule->factor (context /
 * low): two of them give the line; of fewer any line does that leaves the others where they are. */
static void fit_rule(dart_pretrained_rope *rule, const float *factor, uint32_t pairs)
{
    uint32_t first = 0, full;
    while (first < pairs && factor[first] <= 1 + 1e-5) first++;
    for (full = first; full < pairs && factor[full] < rule->factor * (1 - 1e-5);) full++;
    if (full == pairs || !(rule->factor > 1)) return;
    const double context = rule->original_context, least = 1 / rule->factor;
    const double x = context / wave_of(rule, first, pairs);
    const double y = (1 / factor[first] - least) / (1 - least); /* smooth of `first` */
    rule->low = context / wave_of(rule, full, pairs);
    if (full == first) {
        rule->high = first ? context / wave_of(rule, first - 1, pairs) : 2 * rule->low;
    } else if (full - first == 1) {
        const double most = first ? context / wave_of(rule, first - 1, pairs) : INFINITY;
        rule->high = rule->low + (x - rule->low) / y;
        if (rule->high > most) {
            rule->high = most;
            rule->low = (x - y * most) / (1 - y);
        }
    } else {
        const double x2 = context / wave_of(rule, full - 1, pairs);
        const double y2 = (1 / factor[full - 1] - least) / (1 - least);
        const double span = (x - x2) / (y - y2); /* high - low */
        rule->low = x - y * span;
        rule->high = rule->low + span;
    }
}

/* Factors as a tensor, as converters write them for Llama 3.1 and later: if its rule gives them,
 * with the usual numbers or others, the rule is named. */
static dart_status read_factors(dart_pretrained *model)
{
    dart_pretrained_config *c = &model->config;
    const pretrained_source *source = dart_pretrained_source_find(model, "rope_freqs.weight");
    if (!source) return DART_OK;
    const uint32_t count = c->head_dim / 2;
    if (c->arch == DART_PRETRAINED_GPT2 || c->rope.scaling != DART_PRETRAINED_PLAIN ||
        source->rank != 1 || source->dim[0] != count || source->format->id != DART_BLOCK_F32)
        return dart_fail(DART_INPUT,
            "%s: the tensor 'rope_freqs.weight' does not belong to a model like this (F32, half "
            "the "
            "size of a head, no other scaling)",
            model->path);
    float *factors = DART_NEW(&model->arena, float, count);
    if (!factors) return DART_MEMORY;
    source->format->decode(source->data, count, factors);
    dart_pretrained_skip(model, "rope_freqs.weight");
    c->rope.factors = factors;
    c->rope.scaling = DART_PRETRAINED_FACTORS;
    dart_pretrained_rope rule = {.base = c->rope.base,
        .scaling = DART_PRETRAINED_LLAMA3,
        .factor = factors[count - 1],
        .low = 1,
        .high = 4,
        .original_context = 8192};
    if (!follows(&rule, factors, count)) fit_rule(&rule, factors, count);
    if (!follows(&rule, factors, count)) return DART_OK;
    c->rope = rule.factor > 1 ? rule : (dart_pretrained_rope){.base = rule.base};
    return DART_OK;
}

static dart_status read_tokens(dart_pretrained *model)
{
    dart_pretrained_config *c = &model->config;
    const pretrained_source *table = dart_pretrained_source_find(model, "token_embd.weight");
    const dart_gguf_text *tokens;
    uint64_t count;
    uint32_t size, id;
    if (!table || table->rank != 2)
        return dart_fail(DART_INPUT, "%s: the tensor 'token_embd.weight' is missing%s", model->path,
            table ? " as a matrix" : "");
    c->vocab = table->dim[0] < UINT32_MAX ? (uint32_t)table->dim[0] : UINT32_MAX;
    DART_TRY(take_u32(model, "vocab_size", c->vocab, &size));
    DART_TRY(dart_gguf_strings(model->gguf, "tokenizer.ggml.tokens", &tokens, &count));
    if (size != c->vocab || (tokens && count != c->vocab))
        return dart_fail(DART_INPUT,
            "%s: its embedding has %u rows, its vocabulary %" PRIu64 " tokens", model->path,
            c->vocab, size != c->vocab ? size : count);
    DART_TRY(dart_gguf_u32(model->gguf, "tokenizer.ggml.bos_token_id", UINT32_MAX, &id));
    c->bos = id <= INT32_MAX ? (int32_t)id : -1;
    static const char *const ends[] = {
        "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"};
    for (int i = 0; i < 2; i++) {
        DART_TRY(dart_gguf_u32(model->gguf, ends[i], UINT32_MAX, &id));
        if (id != UINT32_MAX) DART_TRY(dart_pretrained_add_eos(model, id));
    }
    return DART_OK;
}

static dart_status read_attention(dart_pretrained *model)
{
    dart_pretrained_config *c = &model->config;
    uint32_t value_length, turned;
    char key[96];
    bool causal;
    DART_TRY(need_u32(model, "attention.head_count", &c->heads));
    if (!c->heads) return dart_fail(DART_INPUT, "%s: the model has no heads", model->path);
    DART_TRY(take_u32(model, "attention.head_count_kv", c->heads, &c->kv_heads));
    DART_TRY(take_u32(model, "attention.key_length", c->d_model / c->heads, &c->head_dim));
    DART_TRY(take_u32(model, "attention.value_length", c->head_dim, &value_length));
    DART_TRY(take_u32(model, "rope.dimension_count", c->head_dim, &turned));
    if (value_length != c->head_dim || (turned != c->head_dim && c->arch != DART_PRETRAINED_GPT2))
        return dart_fail(DART_INPUT,
            "%s: heads with keys of %u, values of %u and %u turned by positions; three equal "
            "numbers "
            "are needed",
            model->path, c->head_dim, value_length, turned);
    DART_TRY(dart_gguf_bool(model->gguf, key_of(model, "attention.causal", key), true, &causal));
    if (!causal)
        return dart_fail(
            DART_INPUT, "%s: its attention looks ahead, which is not computed here", model->path);
    return take_u32(model, "attention.sliding_window", 0, &c->sliding_window);
}

static dart_status read_settings(dart_pretrained *model)
{
    dart_pretrained_config *c = &model->config;
    char key[96];
    bool parallel;
    DART_TRY(read_arch(model));
    DART_TRY(check_keys(model));
    const bool gpt = c->arch == DART_PRETRAINED_GPT2;
    c->rms_norm = !gpt;
    c->act = gpt ? DART_PRETRAINED_GELU_TANH : DART_PRETRAINED_SWIGLU;
    c->bias = gpt                                ? DART_PRETRAINED_ALL_BIAS
              : c->arch == DART_PRETRAINED_QWEN2 ? DART_PRETRAINED_QKV_BIAS
                                                 : DART_PRETRAINED_NO_BIAS;
    c->qk_norm = c->arch == DART_PRETRAINED_QWEN3;
    DART_TRY(need_u32(model, "block_count", &c->layers));
    DART_TRY(need_u32(model, "embedding_length", &c->d_model));
    DART_TRY(need_u32(model, "context_length", &c->context));
    DART_TRY(need_u32(model, "feed_forward_length", &c->d_ff));
    DART_TRY(read_attention(model));
    key_of(model, gpt ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", key);
    DART_TRY(dart_gguf_f64(model->gguf, key, 0, &c->norm_eps));
    if (!gpt) {
        DART_TRY(
            dart_gguf_f64(model->gguf, key_of(model, "rope.freq_base", key), 10000, &c->rope.base));
        DART_TRY(dart_pretrained_check_base(model));
        DART_TRY(read_scaling(model));
    }
    DART_TRY(
        dart_gguf_bool(model->gguf, key_of(model, "use_parallel_residual", key), false, &parallel));
    if (parallel)
        return dart_fail(DART_INPUT,
            "%s: its attention and MLP run side by side, which is not computed here", model->path);
    static const char *const zero[] = {
        "expert_count", "expert_used_count", "attention.max_alibi_bias", "attention.clamp_kqv"};
    static const char *const one[] = {"logit_scale", "residual_scale", "embedding_scale"};
    for (int i = 0; i < 4; i++) DART_TRY(expect(model, zero[i], 0));
    for (int i = 0; i < 3; i++) DART_TRY(expect(model, one[i], 1));
    return expect(model, "attention.scale", 0);
}

dart_status dart_pretrained_open_gguf(dart_pretrained *model)
{
    dart_pretrained_config *c = &model->config;
    static const char prefix[] = "blk.";
    DART_TRY(dart_gguf_open(model->path, &model->gguf));
    DART_TRY(read_settings(model));
    DART_TRY(list_sources(model));
    DART_TRY(read_tokens(model));
    DART_TRY(dart_pretrained_check(model));
    DART_TRY(read_factors(model));
    DART_TRY(dart_pretrained_check(model));
    DART_TRY(dart_pretrained_take(model, "", ENTRIES(whole)));
    if (c->arch == DART_PRETRAINED_GPT2) {
        DART_TRY(dart_pretrained_take(model, "", ENTRIES(gpt2_whole)));
        DART_TRY(dart_pretrained_take_layers(model, prefix, ENTRIES(gpt2)));
    } else {
        DART_TRY(dart_pretrained_take_layers(model, prefix, ENTRIES(gated)));
        DART_TRY(c->arch == DART_PRETRAINED_LLAMA
                     ? dart_pretrained_take_layers(model, prefix, ENTRIES(in_pairs))
                     : dart_pretrained_take_layers(model, prefix, ENTRIES(in_halves)));
    }
    c->tied = !dart_pretrained_source_find(model, "output.weight");
    return dart_pretrained_head(model, "output.weight", "token_embd.weight");
}
