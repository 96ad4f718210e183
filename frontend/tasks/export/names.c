/* Hugging Face's architecture of a model, and our tensors by its names. */
#include "export.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const llama[][2] = {{"attn.q", "self_attn.q_proj"},
    {"attn.k", "self_attn.k_proj"}, {"attn.v", "self_attn.v_proj"}, {"attn.o", "self_attn.o_proj"},
    {"mlp.gate", "mlp.gate_proj"}, {"mlp.up", "mlp.up_proj"}, {"mlp.down", "mlp.down_proj"},
    {"norm1", "input_layernorm"}, {"norm2", "post_attention_layernorm"},
    {"attn.q_norm", "self_attn.q_norm"}, {"attn.k_norm", "self_attn.k_norm"}, {NULL, NULL}};
static const char *const gpt2[][2] = {{"attn.o", "attn.c_proj"}, {"mlp.up", "mlp.c_fc"},
    {"mlp.down", "mlp.c_proj"}, {"norm1", "ln_1"}, {"norm2", "ln_2"}, {NULL, NULL}};

static const char *const bert[][2] = {{"attn.q", "attention.self.query"},
    {"attn.k", "attention.self.key"}, {"attn.v", "attention.self.value"},
    {"attn.o", "attention.output.dense"}, {"mlp.up", "intermediate.dense"},
    {"mlp.down", "output.dense"}, {"norm1", "attention.output.LayerNorm"},
    {"norm2", "output.LayerNorm"}, {NULL, NULL}};

/* What follows the name of a module: ".weight", ".bias", or nothing. */
static const char *tail_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".weight") || !strcmp(dot, ".bias")) ? dot : "";
}

/* Of a whole model: by prefix of ours, for gated models, GPT-2, bert and roberta; NULL: none. */
static const struct {
    const char *ours, *name[4];
} others[] = {
    {"tok_emb", {"model.embed_tokens", "transformer.wte", "bert.embeddings.word_embeddings",
                    "roberta.embeddings.word_embeddings"}},
    {"pos_emb", {NULL, "transformer.wpe", "bert.embeddings.position_embeddings",
                    "roberta.embeddings.position_embeddings"}},
    {"type_emb", {NULL, NULL, "bert.embeddings.token_type_embeddings",
                     "roberta.embeddings.token_type_embeddings"}},
    {"norm_emb", {NULL, NULL, "bert.embeddings.LayerNorm", "roberta.embeddings.LayerNorm"}},
    {"norm_f", {"model.norm", "transformer.ln_f", NULL, NULL}},
    {"head", {"lm_head", "lm_head", NULL, NULL}},
    {"pooler", {NULL, NULL, "bert.pooler.dense", "classifier.dense"}},
    {"classifier", {"score", "score", "classifier", "classifier.out_proj"}}};

dart_status dart_export_name(dart_pretrained_arch arch, const char *ours, char out[160])
{
    static const char *const blocks[] = {
        "model.layers.", "transformer.h.", "bert.encoder.layer.", "roberta.encoder.layer."};
    const int family = arch == DART_PRETRAINED_ROBERTA ? 3
                       : arch == DART_PRETRAINED_BERT  ? 2
                                                       : arch == DART_PRETRAINED_GPT2;
    const char *const(*table)[2] = family > 1 ? bert : family ? gpt2 : llama;
    const char *tail = tail_of(ours);
    char inner[96];
    unsigned layer;
    int at = 0;
    const bool block = sscanf(ours, "blocks.%u.%n", &layer, &at) == 1 && at;
    snprintf(inner, sizeof inner, "%.*s", (int)(strlen(ours + at) - strlen(tail)), ours + at);
    for (; block && (*table)[0]; table++)
        if (!strcmp((*table)[0], inner)) {
            /* names of norms of heads are those of their vectors */
            const bool vector = strstr(inner, "_norm") != NULL;
            snprintf(out, 160, "%s%u.%s%s", blocks[family], layer, (*table)[1],
                vector ? ".weight" : tail);
            return DART_OK;
        }
    for (size_t i = 0; !block && i < sizeof others / sizeof *others; i++) {
        const char *name = others[i].name[family];
        if (strcmp(others[i].ours, inner) || !name) continue;
        snprintf(out, 160, "%s%s", name, tail);
        return DART_OK;
    }
    return dart_fail(DART_INPUT, "%s has no place in a %s model of Hugging Face's", ours,
        dart_pretrained_arch_name(arch));
}

dart_status dart_export_arch(const dart_exporting *e, dart_pretrained_arch *out)
{
    const dart_model_config *c = &e->bundle->model->config;
    const bool rotary = c->positions.kind == DART_ROTARY, gated = c->act == DART_ACT_SWIGLU;
    const bool rms = c->norm.kind == DART_RMS_NORM;
    if (e->base) {
        *out = dart_pretrained_config_of(e->base)->arch;
        return DART_OK;
    }
    if (rms && rotary && gated && !c->norm.post) {
        *out = c->qk_norm                 ? DART_PRETRAINED_QWEN3
               : c->bias == DART_QKV_BIAS ? DART_PRETRAINED_QWEN2
                                          : DART_PRETRAINED_LLAMA;
        if (!c->qk_norm || c->bias == DART_NO_BIAS) return DART_OK;
    } else if (!rms && c->positions.kind == DART_LEARNED && c->bias == DART_ALL_BIAS &&
               (c->act == DART_ACT_GELU || c->act == DART_ACT_RELU) && c->kv_heads == c->heads &&
               dart_head_dim(c) * c->heads == c->d_model) {
        *out = DART_PRETRAINED_GPT2;
        return DART_OK;
    }
    return dart_fail(DART_INPUT,
        "no model of Hugging Face's computes what %s does: its norm, positions, activation and "
        "biases go together neither as in GPT-2 nor as in Llama or Qwen",
        e->from);
}
