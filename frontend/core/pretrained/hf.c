/* Models of Hugging Face folders: their tensors. */
#include "hf.h"
#include "file.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES(table) table, sizeof(table) / sizeof *(table)

static const pretrained_entry gated_whole[] = {
    {"tok_emb", "embed_tokens.weight", PRETRAINED_VOCAB, PRETRAINED_D},
    {"norm_f.weight", "norm.weight", PRETRAINED_D}};

#define LINEAR(ours, theirs, out, in, bias)                                                        \
    {ours, theirs ".weight", PRETRAINED_##out, PRETRAINED_##in},                                   \
    {                                                                                              \
        ours ".bias", theirs ".bias", PRETRAINED_##out, .when = PRETRAINED_##bias                  \
    }
#define NORM(ours, theirs)                                                                         \
    {ours ".weight", theirs ".weight", PRETRAINED_D},                                              \
    {                                                                                              \
        ours ".bias", theirs ".bias", PRETRAINED_D                                                 \
    }
static const pretrained_entry gated[] = {{"norm1.weight", "input_layernorm.weight", PRETRAINED_D},
    {"norm2.weight", "post_attention_layernorm.weight", PRETRAINED_D},
    LINEAR("attn.q", "self_attn.q_proj", Q, D, IF_QKV_BIAS),
    LINEAR("attn.k", "self_attn.k_proj", KV, D, IF_QKV_BIAS),
    LINEAR("attn.v", "self_attn.v_proj", KV, D, IF_QKV_BIAS),
    LINEAR("attn.o", "self_attn.o_proj", D, Q, IF_ALL_BIAS),
    {"attn.q_norm", "self_attn.q_norm.weight", PRETRAINED_HEAD, .when = PRETRAINED_IF_QK_NORM},
    {"attn.k_norm", "self_attn.k_norm.weight", PRETRAINED_HEAD, .when = PRETRAINED_IF_QK_NORM},
    LINEAR("mlp.gate", "mlp.gate_proj", FF, D, IF_ALL_BIAS),
    LINEAR("mlp.up", "mlp.up_proj", FF, D, IF_ALL_BIAS),
    LINEAR("mlp.down", "mlp.down_proj", D, FF, IF_ALL_BIAS)};

static const pretrained_entry gpt2_whole[] = {
    {"tok_emb", "wte.weight", PRETRAINED_VOCAB, PRETRAINED_D},
    {"pos_emb.weight", "wpe.weight", PRETRAINED_POSITIONS, PRETRAINED_D}, NORM("norm_f", "ln_f")};

/* Its linear layers are (in, out). */
#define CONV1D(ours, theirs, out, in)                                                              \
    {ours, theirs ".weight", PRETRAINED_##out, PRETRAINED_##in, .lies = PRETRAINED_TRANSPOSED},    \
    {                                                                                              \
        ours ".bias", theirs ".bias", PRETRAINED_##out                                             \
    }
#define FUSED(ours, number)                                                                        \
    {ours, "attn.c_attn.weight", PRETRAINED_D, PRETRAINED_D, .lies = PRETRAINED_THIRD_TRANSPOSED,  \
        .third = number},                                                                          \
    {                                                                                              \
        ours ".bias", "attn.c_attn.bias", PRETRAINED_D, .lies = PRETRAINED_THIRD, .third = number  \
    }
static const pretrained_entry gpt2[] = {NORM("norm1", "ln_1"), NORM("norm2", "ln_2"),
    FUSED("attn.q", 0), FUSED("attn.k", 1), FUSED("attn.v", 2),
    CONV1D("attn.o", "attn.c_proj", D, D), CONV1D("mlp.up", "mlp.c_fc", FF, D),
    CONV1D("mlp.down", "mlp.c_proj", D, FF)};

static const pretrained_entry bert_whole[] = {
    {"tok_emb", "embeddings.word_embeddings.weight", PRETRAINED_VOCAB, PRETRAINED_D},
    {"pos_emb.weight", "embeddings.position_embeddings.weight", PRETRAINED_POSITIONS, PRETRAINED_D},
    NORM("norm_emb", "embeddings.LayerNorm")};
static const pretrained_entry bert_types[] = {
    {"type_emb.weight", "embeddings.token_type_embeddings.weight", PRETRAINED_TYPES, PRETRAINED_D}};
static const pretrained_entry bert[] = {LINEAR("attn.q", "attention.self.query", D, D, IF_ALL_BIAS),
    LINEAR("attn.k", "attention.self.key", D, D, IF_ALL_BIAS),
    LINEAR("attn.v", "attention.self.value", D, D, IF_ALL_BIAS),
    LINEAR("attn.o", "attention.output.dense", D, D, IF_ALL_BIAS),
    NORM("norm1", "attention.output.LayerNorm"),
    LINEAR("mlp.up", "intermediate.dense", FF, D, IF_ALL_BIAS),
    LINEAR("mlp.down", "output.dense", D, FF, IF_ALL_BIAS), NORM("norm2", "output.LayerNorm")};
static const pretrained_entry pooler[] = {LINEAR("pooler", "dense", D, D, IF_ALL_BIAS)};
static const pretrained_entry classifier[] = {
    LINEAR("classifier", "classifier", LABELS, D, IF_ALL_BIAS)};
static const pretrained_entry score[] = {
    {"classifier", "score.weight", PRETRAINED_LABELS, PRETRAINED_D}};
static const pretrained_entry classifier_out[] = {
    LINEAR("classifier", "classifier.out_proj", LABELS, D, IF_ALL_BIAS)};

/* Where the names of a model's blocks begin, and which tensors a block has. */
typedef struct block_names {
    const char *prefix, *layer; /* the prefix may be missing */
    const pretrained_entry *entry;
    size_t entries;
} block_names;

static block_names names_of(dart_pretrained_arch arch)
{
    if (arch == DART_PRETRAINED_GPT2) return (block_names){"transformer.", "h.", ENTRIES(gpt2)};
    if (arch == DART_PRETRAINED_BERT)
        return (block_names){"bert.", "encoder.layer.", ENTRIES(bert)};
    if (arch == DART_PRETRAINED_ROBERTA)
        return (block_names){"roberta.", "encoder.layer.", ENTRIES(bert)};
    return (block_names){"model.", "layers.", ENTRIES(gated)};
}

uint32_t dart_hf_weights(
    dart_pretrained_arch arch, const char *module, char out[DART_HF_PARTS][DART_PRETRAINED_NAME])
{
    const block_names n = names_of(arch);
    unsigned layer;
    int at = 0;
    uint32_t count = 0;
    char name[96];
    if (!strncmp(module, n.prefix, strlen(n.prefix))) module += strlen(n.prefix);
    if (arch == DART_PRETRAINED_BERT && !strcmp(module, "pooler.dense")) {
        strcpy(out[0], "pooler");
        return 1;
    }
    if (strncmp(module, n.layer, strlen(n.layer))) return 0;
    module += strlen(n.layer);
    if (sscanf(module, "%9u.%n", &layer, &at) != 1 || !at) return 0;
    if ((size_t)snprintf(name, sizeof name, "%s.weight", module + at) >= sizeof name) return 0;
    for (size_t i = 0; i < n.entries && count < DART_HF_PARTS; i++)
        if (!strcmp(n.entry[i].theirs, name) && n.entry[i].columns != PRETRAINED_ONE)
            snprintf(out[count++], DART_PRETRAINED_NAME, "blocks.%u.%s", layer, n.entry[i].ours);
    return count;
}

bool dart_hf_module(dart_pretrained_arch arch, const char *ours, char out[160])
{
    const block_names n = names_of(arch);
    unsigned layer;
    int at = 0;
    if (sscanf(ours, "blocks.%9u.%n", &layer, &at) != 1 || !at) return false;
    for (size_t i = 0; i < n.entries; i++) {
        const pretrained_entry *e = &n.entry[i];
        if (strcmp(e->ours, ours + at) || e->columns == PRETRAINED_ONE) continue;
        const int bytes = (int)(strlen(e->theirs) - strlen(".weight"));
        snprintf(out, 160, "%s%s%u.%.*s", n.prefix, n.layer, layer, bytes, e->theirs);
        return true;
    }
    return false;
}

static const char *in_table(
    const char *name, const char *prefix, const pretrained_entry *entry, size_t entries)
{
    const size_t n = strlen(prefix);
    for (size_t i = 0; i < entries && !strncmp(name, prefix, n); i++)
        if (!strcmp(entry[i].theirs, name + n)) return entry[i].ours;
    return NULL;
}

const char *dart_hf_head(dart_pretrained_arch arch, const char *name)
{
    const bool roberta = arch == DART_PRETRAINED_ROBERTA;
    if (arch < DART_PRETRAINED_BERT) return in_table(name, "", ENTRIES(score));
    const char *found = in_table(name, roberta ? "classifier." : "bert.pooler.", ENTRIES(pooler));
    if (found) return found;
    return roberta ? in_table(name, "", ENTRIES(classifier_out))
                   : in_table(name, "", ENTRIES(classifier));
}

/* BERT's first files call weight and bias of a norm gamma and beta. */
static const char *name_of(dart_pretrained *model, const char *name)
{
    static const char *const renamed[][2] = {
        {"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}};
    const size_t n = strlen(name);
    for (int i = 0; i < 2 && model->config.arch == DART_PRETRAINED_BERT; i++) {
        const size_t m = strlen(renamed[i][0]);
        if (n >= m && !strcmp(name + n - m, renamed[i][0]))
            return dart_arena_printf(&model->arena, "%.*s%s", (int)(n - m), name, renamed[i][1]);
    }
    return name;
}

static dart_status list_sources(dart_pretrained *model)
{
    uint64_t count = 0;
    DART_TRY(dart_shards_open(model->path, &model->shards));
    for (uint32_t f = 0; f < model->shards.files; f++) count += model->shards.file[f].count;
    DART_TRY(dart_pretrained_sources(model, count));
    pretrained_source *source = model->source;
    for (uint32_t f = 0; f < model->shards.files; f++)
        for (uint64_t t = 0; t < model->shards.file[f].count; t++, source++) {
            const dart_st_tensor *tensor = &model->shards.file[f].tensor[t];
            source->name = name_of(model, tensor->name);
            if (!source->name) return DART_MEMORY;
            source->format = dart_st_format(tensor->type);
            source->type = dart_st_type_name(tensor->type);
            source->rank = tensor->rank;
            memcpy(source->dim, tensor->dim, sizeof source->dim);
            source->data = tensor->data;
        }
    dart_pretrained_sources_sort(model);
    return DART_OK;
}

/* "model." where the file's names begin so; files of a model without a head have no such prefix. */
static const char *prefix_of(const dart_pretrained *model, const char *prefix, const char *table)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s", prefix, table);
    return dart_pretrained_source_find(model, name) ? prefix : "";
}

/* The labels of a classifier with this tensor. */
static dart_status count_labels(dart_pretrained *model, const pretrained_source *head)
{
    dart_pretrained_config *c = &model->config;
    c->labels = head->rank && head->dim[0] < UINT32_MAX ? (uint32_t)head->dim[0] : 0;
    if (c->labels) return DART_OK;
    return dart_fail(DART_INPUT, "%s: the tensor '%s' has no rows", model->path, head->name);
}

/* What a decoder has behind its last norm: scores of tokens, or of classes. */
static dart_status take_head(dart_pretrained *model, const char *table)
{
    const pretrained_source *found = dart_pretrained_source_find(model, "score.weight");
    if (!found) return dart_pretrained_head(model, "lm_head.weight", table);
    DART_TRY(count_labels(model, found));
    model->config.tied = true; /* it scores no tokens */
    return dart_pretrained_take(model, "", ENTRIES(score));
}

static dart_status take_gated(dart_pretrained *model)
{
    const char *prefix = prefix_of(model, "model.", "embed_tokens.weight");
    char layers[32], table[64];
    snprintf(layers, sizeof layers, "%slayers.", prefix);
    snprintf(table, sizeof table, "%sembed_tokens.weight", prefix);
    dart_pretrained_skip_all(model, layers, ".self_attn.rotary_emb.inv_freq");
    DART_TRY(dart_pretrained_take(model, prefix, ENTRIES(gated_whole)));
    DART_TRY(dart_pretrained_take_layers(model, layers, ENTRIES(gated)));
    return take_head(model, table);
}

static dart_status take_gpt2(dart_pretrained *model)
{
    const char *prefix = prefix_of(model, "transformer.", "wte.weight");
    char layers[32], table[64];
    snprintf(layers, sizeof layers, "%sh.", prefix);
    snprintf(table, sizeof table, "%swte.weight", prefix);
    /* causal masks, which older versions stored */
    dart_pretrained_skip_all(model, layers, ".attn.bias");
    dart_pretrained_skip_all(model, layers, ".attn.masked_bias");
    DART_TRY(dart_pretrained_take(model, prefix, ENTRIES(gpt2_whole)));
    DART_TRY(dart_pretrained_take_layers(model, layers, ENTRIES(gpt2)));
    return take_head(model, table);
}

/* A dense layer and a tanh on the first token: below `at`, if it is there. */
static dart_status take_pooler(dart_pretrained *model, const char *at)
{
    model->config.pooler = prefix_of(model, at, "dense.weight")[0];
    return model->config.pooler ? dart_pretrained_take(model, at, ENTRIES(pooler)) : DART_OK;
}

/* The classifier's rows are its labels. */
static dart_status take_classifier(dart_pretrained *model, const char *prefix)
{
    dart_pretrained_config *c = &model->config;
    const bool roberta = c->arch == DART_PRETRAINED_ROBERTA;
    const pretrained_source *head = dart_pretrained_source_find(
        model, roberta ? "classifier.out_proj.weight" : "classifier.weight");
    char below[48];
    snprintf(below, sizeof below, "%spooler.", prefix);
    if (!head) return take_pooler(model, below);
    DART_TRY(count_labels(model, head));
    if (!roberta) {
        DART_TRY(take_pooler(model, below));
        return dart_pretrained_take(model, "", ENTRIES(classifier));
    }
    /* RoBERTa's classifier has a pooler of its own and does not use the one below it. */
    dart_pretrained_skip_all(model, below, "");
    DART_TRY(take_pooler(model, "classifier."));
    return dart_pretrained_take(model, "", ENTRIES(classifier_out));
}

static dart_status take_bert(dart_pretrained *model)
{
    const char *name = dart_pretrained_arch_name(model->config.arch);
    char begin[32], layers[64];
    snprintf(begin, sizeof begin, "%s.", name);
    const char *prefix = prefix_of(model, begin, "embeddings.word_embeddings.weight");
    snprintf(layers, sizeof layers, "%sencoder.layer.", prefix);
    dart_pretrained_skip_all(model, prefix, "embeddings.position_ids");
    /* heads that predict words, of pretraining */
    dart_pretrained_skip_all(model, "cls.", "");
    dart_pretrained_skip_all(model, "lm_head.", "");
    DART_TRY(dart_pretrained_take(model, prefix, ENTRIES(bert_whole)));
    if (model->config.token_types)
        DART_TRY(dart_pretrained_take(model, prefix, ENTRIES(bert_types)));
    DART_TRY(dart_pretrained_take_layers(model, layers, ENTRIES(bert)));
    return take_classifier(model, prefix);
}

static dart_status read_config(dart_pretrained *model)
{
    char path[PATH_MAX], *text = NULL, why[DART_JSON_WHY];
    size_t size;
    dart_status status;
    json_t *root = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/config.json", model->path) >= sizeof path)
        return dart_fail(DART_INPUT, "cannot read %s: the path is too long", model->path);
    DART_GOTO(dart_file_read(path, &text, &size));
    DART_GOTO(dart_json_parse(text, size, path, why, &root));
    if (!json_is_object(root)) {
        status = dart_fail(DART_INPUT, "%s: it is not an object", path);
        goto done;
    }
    status = dart_hf_read_config(&(hf_settings){model, path, root});
done:
    json_decref(root);
    free(text);
    return status;
}

dart_status dart_pretrained_open_hf(dart_pretrained *model)
{
    DART_TRY(read_config(model));
    DART_TRY(list_sources(model));
    if (model->config.arch == DART_PRETRAINED_GPT2) return take_gpt2(model);
    return model->config.arch >= DART_PRETRAINED_BERT ? take_bert(model) : take_gated(model);
}
