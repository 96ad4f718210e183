/* Our tensors by llama.cpp's names. */
#include "export.h"
#include <stdio.h>
#include <string.h>

static const char *const blocks[][2] = {{"attn.q", "attn_q"}, {"attn.k", "attn_k"},
    {"attn.v", "attn_v"}, {"attn.o", "attn_output"}, {"mlp.gate", "ffn_gate"}, {"mlp.up", "ffn_up"},
    {"mlp.down", "ffn_down"}, {"norm1", "attn_norm"}, {"norm2", "ffn_norm"},
    {"attn.q_norm", "attn_q_norm"}, {"attn.k_norm", "attn_k_norm"}};
static const char *const others[][2] = {{"tok_emb", "token_embd"}, {"pos_emb", "position_embd"},
    {"head", "output"}, {"norm_f", "output_norm"}};

const char *dart_export_gguf_arch(dart_pretrained_arch arch)
{
    return dart_pretrained_arch_name(
        arch == DART_PRETRAINED_MISTRAL ? DART_PRETRAINED_LLAMA : arch);
}

static const char *find(const char *const (*table)[2], size_t count, const char *name, size_t bytes)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(table[i][0]) == bytes && !memcmp(table[i][0], name, bytes)) return table[i][1];
    return NULL;
}

dart_status dart_export_gguf_name(dart_pretrained_arch arch, const char *ours, char out[64])
{
    unsigned layer;
    int at = 0;
    const char *dot = strrchr(ours, '.'), *tail = ".weight", *name = NULL;
    size_t bytes = strlen(ours);
    if (dot && (!strcmp(dot, ".weight") || !strcmp(dot, ".bias"))) {
        tail = dot;
        bytes = (size_t)(dot - ours);
    }
    if (sscanf(ours, "blocks.%u.%n", &layer, &at) == 1 && at) {
        name = find(blocks, sizeof blocks / sizeof *blocks, ours + at, bytes - (size_t)at);
        if (name && arch == DART_PRETRAINED_GPT2 && !strncmp(name, "attn_", 5) && !name[6])
            name = "attn_qkv";
        if (name) snprintf(out, 64, "blk.%u.%s%s", layer, name, tail);
    } else {
        name = find(others, sizeof others / sizeof *others, ours, bytes);
        if (name) snprintf(out, 64, "%s%s", name, tail);
    }
    if (name) return DART_OK;
    return dart_fail(DART_INPUT, "%s has no place in a %s model of llama.cpp's", ours,
        dart_export_gguf_arch(arch));
}

uint32_t dart_export_gguf_pairs(
    const dart_exporting *e, dart_pretrained_arch arch, const char *ours)
{
    const char *at = strstr(ours, ".attn.");
    const bool turned = at && (at[6] == 'q' || at[6] == 'k') && !strchr(at + 6, '_');
    return turned && !strcmp(dart_export_gguf_arch(arch), "llama")
               ? dart_head_dim(&e->bundle->model->config)
               : 0;
}
