/* The recipe of a compressed model: its methods by name, in as few patterns as name them. */
#include "compress.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layers of a pattern, and what the recipe key `weights` may hold. */
enum { LIST = 96, TEXT = 2048 };

/* Layer and the rest of a name: "blocks.", 12, ".attn.q". False: it stands in no block. */
static bool split_name(const char *name, int *out_head, unsigned *out_layer, const char **out_tail)
{
    const char *dot = strchr(name, '.');
    char *end;
    if (!dot || !isdigit((unsigned char)dot[1])) return false;
    *out_head = (int)(dot + 1 - name);
    *out_layer = (unsigned)strtoul(dot + 1, &end, 10);
    *out_tail = end;
    return true;
}

/* Whether both are the same layer of other blocks. */
static bool same_kind(const char *a, const char *b)
{
    int head[2];
    unsigned layer[2];
    const char *tail[2];
    return split_name(a, &head[0], &layer[0], &tail[0]) &&
           split_name(b, &head[1], &layer[1], &tail[1]) && head[0] == head[1] &&
           !strncmp(a, b, (size_t)head[0]) && !strcmp(tail[0], tail[1]);
}

static bool is_network(const dart_compress_fate *fate, uint32_t w)
{
    return fate[w] == DART_FATE_NETWORK;
}

static bool is_linear(const dart_model *model, uint32_t w)
{
    const int i = (int)w;
    return i != model->embedding && i != model->source_embedding && i != model->head;
}

/* "blocks.{0,3}.attn.k frozen" behind what there is. */
static dart_status add_entry(
    const char *name, const char *layers, bool several, const char *method, char text[TEXT])
{
    const char *tail = "";
    int head = 0;
    unsigned layer;
    const size_t used = strlen(text);
    (void)split_name(name, &head, &layer, &tail);
    const int n = snprintf(text + used, TEXT - used, "%s%.*s%s%s%s%s %s", used ? "," : "", head,
        name, several ? "{" : "", layers, several ? "}" : "", tail, method);
    if (n >= 0 && (size_t)n < TEXT - used) return DART_OK;
    return dart_fail(DART_INPUT,
        "too many matrices are exceptions for a recipe to name them: %s and others; compress fewer "
        "--modules at once, or use --ranks uniform",
        name);
}

/* The entries for all weights of the kind of w that are not as most are; several where the layers
 * are too many for one pattern. */
static dart_status add_kind(const dart_model *model, const dart_compress_fate *fate, uint32_t w,
    bool most, const char *method, char text[TEXT])
{
    const char *name = model->weight[w].weight.name;
    char list[LIST] = "";
    uint32_t of_kind = 0, others = 0, listed = 0;
    for (uint32_t v = w; v < model->weights; v++) {
        if (!same_kind(name, model->weight[v].weight.name)) continue;
        of_kind++;
        others += is_network(fate, v) != most;
    }
    if (others == of_kind) return add_entry(name, "*", false, method, text);
    for (uint32_t v = w; v < model->weights; v++) {
        const char *own = model->weight[v].weight.name, *tail;
        int head;
        unsigned layer;
        if (!same_kind(name, own) || is_network(fate, v) == most) continue;
        if (!split_name(own, &head, &layer, &tail)) continue;
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%u", listed ? "," : "", layer);
        listed++;
        if (strlen(list) < LIST - 16) continue;
        DART_TRY(add_entry(name, list, listed > 1, method, text));
        *list = 0;
        listed = 0;
    }
    return listed ? add_entry(name, list, listed > 1, method, text) : DART_OK;
}

/* `linear` is what most linear layers are, `weights` names the others. */
static dart_status set_linears(
    const dart_model *model, const char *method, const dart_compress_fate *fate, dart_recipe *out)
{
    uint32_t networks = 0, linears = 0;
    char text[TEXT] = "";
    for (uint32_t w = 0; w < model->weights; w++) {
        if (!is_linear(model, w)) continue;
        linears++;
        networks += is_network(fate, w);
    }
    const bool most = 2 * networks > linears;
    for (uint32_t w = 0; w < model->weights; w++) {
        uint32_t first = 0;
        if (!is_linear(model, w)) continue;
        while (!same_kind(model->weight[first].weight.name, model->weight[w].weight.name)) first++;
        if (first < w) continue;
        DART_TRY(add_kind(model, fate, w, most, most ? "frozen" : method, text));
    }
    DART_TRY(dart_recipe_set(out, "linear", most ? method : "frozen"));
    return *text ? dart_recipe_set(out, "weights", text) : DART_OK;
}

static dart_status set_methods(
    const dart_model *model, const char *method, const dart_compress_fate *fate, dart_recipe *out)
{
    const int tok = model->embedding, src = model->source_embedding, head = model->head;
    /* a train over the digits of the vocabulary, which may be padded */
    const char *of_table = strcmp(method, "lowrank") ? "tt-embedding" : method;
    DART_TRY(set_linears(model, method, fate, out));
    if (tok >= 0 && src >= 0 && is_network(fate, (uint32_t)tok) != is_network(fate, (uint32_t)src))
        return dart_fail(
            DART_INPUT, "tok_emb and src_emb share one method: name both in --modules, or neither");
    DART_TRY(dart_recipe_set(
        out, "embedding", tok >= 0 && is_network(fate, (uint32_t)tok) ? of_table : "frozen"));
    if (head == tok || head < 0) return DART_OK;
    return dart_recipe_set(out, "head", is_network(fate, (uint32_t)head) ? method : "frozen");
}

/* What says of the model how its weights are parametrized: set anew. */
static bool is_about_methods(const char *key)
{
    static const char *const keys[] = {"base", "adapter", "weights", "target_modules", "linear",
        "embedding", "head", "rank", "linear_rank", "embedding_rank", "head_rank", "frozen_base",
        "strict_rank", "train_vectors"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(keys[i], key)) return true;
    return false;
}

dart_status dart_compress_recipe(const dart_bundle *from, const char *method,
    const dart_compress_fate *fate, uint32_t rank, dart_recipe **out)
{
    dart_status status = DART_OK;
    char value[TEXT];
    DART_TRY(dart_recipe_new(out));
    for (uint32_t i = 0; dart_option_at(i); i++) {
        const dart_option *option = dart_option_at(i);
        const bool data = !strcmp(option->key, "shared_vocab") || !strcmp(option->key, "lowercase");
        if ((strcmp(option->section, "model") && strcmp(option->section, "method") && !data) ||
            is_about_methods(option->key))
            continue;
        DART_GOTO(dart_recipe_get(from->recipe, option->key, value, sizeof value));
        if (!dart_recipe_same_value((int)i, value, option->fallback))
            DART_GOTO(dart_recipe_set(*out, option->key, value));
    }
    snprintf(value, sizeof value, "%s",
        from->model->config.tied ? "true" : "false"); /* the method of a head says it otherwise */
    DART_GOTO(dart_recipe_set(*out, "tied_head", value));
    snprintf(value, sizeof value, "%u", rank);
    DART_GOTO(dart_recipe_set(*out, "rank", value));
    DART_GOTO(dart_recipe_set(*out, "dropout", "0"));
    DART_GOTO(dart_recipe_set(*out, "reg", "none"));
    DART_GOTO(dart_recipe_set(*out, "select", "none"));
    status = set_methods(from->model, method, fate, *out);
done:
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}
