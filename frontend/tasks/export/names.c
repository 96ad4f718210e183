/* Our tensors by Hugging Face's names. */
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

/* What follows the name of a module: ".weight", ".bias", or nothing. */
static const char *tail_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".weight") || !strcmp(dot, ".bias")) ? dot : "";
}

dart_status dart_export_name(dart_pretrained_arch arch, const char *ours, char out[160])
{
    const bool gpt = arch == DART_PRETRAINED_GPT2;
    const char *const(*table)[2] = gpt ? gpt2 : llama;
    const char *tail = tail_of(ours);
    char inner[96];
    unsigned layer;
    int at = 0;
    if (sscanf(ours, "blocks.%u.%n", &layer, &at) == 1 && at) {
        snprintf(inner, sizeof inner, "%.*s", (int)(strlen(ours + at) - strlen(tail)), ours + at);
        /* names of norms of heads are those of their vectors */
        for (; (*table)[0]; table++)
            if (!strcmp((*table)[0], inner)) {
                const bool vector = strstr(inner, "_norm") != NULL;
                snprintf(out, 160, "%s%u.%s%s", gpt ? "transformer.h." : "model.layers.", layer,
                    (*table)[1], vector ? ".weight" : tail);
                return DART_OK;
            }
    } else {
        const struct {
            const char *ours, *llama, *gpt;
        } others[] = {{"tok_emb", "model.embed_tokens", "transformer.wte"},
            {"pos_emb.weight", NULL, "transformer.wpe.weight"}, {"head", "lm_head", "lm_head"},
            {"norm_f.weight", "model.norm.weight", "transformer.ln_f.weight"},
            {"norm_f.bias", NULL, "transformer.ln_f.bias"}};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            const char *name = gpt ? others[i].gpt : others[i].llama;
            if (strcmp(others[i].ours, ours) || !name) continue;
            snprintf(out, 160, "%s", name);
            return DART_OK;
        }
    }
    return dart_fail(DART_INPUT, "%s has no place in a %s model of Hugging Face's", ours,
        dart_pretrained_arch_name(arch));
}
