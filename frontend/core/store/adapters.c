/* Adapters beside a pretrained model: what a recipe becomes with them, and values of method lora.
 */
#include "adapters.h"
#include "c_locale.h"
#include "updates.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a recipe becomes ---- */

typedef struct kind { /* weights of one name in the layers: "attn.q" */
    const char *name;
    uint8_t *layer; /* [layers], borrowed */
    bool told;
} kind;

enum { KINDS = 16 };

static dart_status irregular(void)
{
    return dart_fail(DART_INPUT, "the adapters stand on too irregular a choice of modules to be "
                                 "written as patterns of names");
}

static dart_status put(char out[DART_RECIPE_TEXT], size_t *used, const char *text)
{
    const size_t n = strlen(text);
    if (*used + n >= DART_RECIPE_TEXT) return irregular();
    strcpy(out + *used, text);
    *used += n;
    return DART_OK;
}

static dart_status put_layers(
    const uint8_t *layer, uint32_t layers, char out[DART_RECIPE_TEXT], size_t *used)
{
    uint32_t there = 0, seen = 0;
    char number[16];
    for (uint32_t l = 0; l < layers; l++) there += layer[l];
    if (there == layers) return put(out, used, "*");
    for (uint32_t l = 0; l < layers; l++) {
        if (!layer[l]) continue;
        snprintf(number, sizeof number, "%s%u", seen ? "," : there > 1 ? "{" : "", l);
        DART_TRY(put(out, used, number));
        seen++;
    }
    return there > 1 ? put(out, used, "}") : DART_OK;
}

/* One pattern of all kinds that have the layers of the first: "blocks.{0,2}.{attn.q,attn.v}". */
static dart_status put_pattern(
    kind *kinds, uint32_t count, uint32_t layers, char out[DART_RECIPE_TEXT], size_t *used)
{
    const uint8_t *layer = kinds->layer;
    uint32_t alike = 0, seen = 0;
    if (*used) DART_TRY(put(out, used, ","));
    const size_t begin = *used;
    for (uint32_t k = 0; k < count; k++)
        alike += !kinds[k].told && !memcmp(kinds[k].layer, layer, layers);
    DART_TRY(put(out, used, "blocks."));
    DART_TRY(put_layers(layer, layers, out, used));
    DART_TRY(put(out, used, alike > 1 ? ".{" : "."));
    for (uint32_t k = 0; k < count; k++) {
        if (kinds[k].told || memcmp(kinds[k].layer, layer, layers)) continue;
        if (seen++) DART_TRY(put(out, used, ","));
        DART_TRY(put(out, used, kinds[k].name));
        kinds[k].told = true;
    }
    if (alike > 1) DART_TRY(put(out, used, "}"));
    return *used - begin < DART_PATTERN_MAX ? DART_OK : irregular();
}

/* The weights that have adapters, as target_modules. */
static dart_status write_targets(const dart_updates *a, char out[DART_RECIPE_TEXT])
{
    const uint32_t layers = dart_pretrained_config_of(a->model)->layers;
    kind kinds[KINDS] = {0};
    uint32_t count = 0;
    size_t used = 0;
    bool pooler = false;
    dart_status status = DART_OK;
    uint8_t *layer = dart_calloc(KINDS, layers);
    if (!layer) return DART_MEMORY;
    for (uint32_t i = 0; i < a->count; i++) {
        unsigned l;
        int at = 0;
        uint32_t k = 0;
        const char *name = a->update[i].name;
        if (!strcmp(name, "pooler")) {
            pooler = true;
            continue;
        }
        if (sscanf(name, "blocks.%u.%n", &l, &at) != 1 || !at || l >= layers)
            DART_GOTO(
                dart_fail(DART_INPUT, "%s has an adapter and is no linear layer of a block", name));
        while (k < count && strcmp(kinds[k].name, name + at)) k++;
        if (k == KINDS) DART_GOTO(irregular());
        if (k == count) kinds[count++] = (kind){name + at, layer + (size_t)k * layers, false};
        kinds[k].layer[l] = 1;
    }
    for (uint32_t k = 0; k < count; k++)
        if (!kinds[k].told) DART_GOTO(put_pattern(kinds + k, count - k, layers, out, &used));
    if (pooler) status = put(out, &used, used ? ",pooler" : "pooler");
done:
    free(layer);
    return status;
}

static dart_status fix(dart_recipe *recipe, const char *list, const char *key, const char *wanted)
{
    char given[DART_RECIPE_TEXT];
    if (dart_recipe_has(recipe, key)) {
        DART_TRY(dart_recipe_get(recipe, key, given, sizeof given));
        if (!dart_recipe_same_value(dart_recipe_key(key), given, wanted))
            return dart_fail(DART_INPUT,
                "%s is %s with the adapter %s, and cannot be %s; leave it out, the adapter decides",
                key, wanted, list, given);
    }
    return dart_recipe_set(recipe, key, wanted);
}

/* What the head says of the model. A run knows the names of its labels, in their order. */
static dart_status settle_head(dart_recipe *recipe, const char *list, const dart_update_head *head)
{
    dart_settings set;
    uint32_t count;
    if (!head->labels) return DART_OK;
    dart_recipe_settings(recipe, &set);
    if (set.unlabelled)
        return dart_fail(DART_INPUT,
            "the adapter %s scores %u labels, and labels: none trains a model of the texts; leave "
            "one of them out",
            list, head->labels);
    if (!*set.labels && *head->names) DART_TRY(dart_recipe_set(recipe, "labels", head->names));
    DART_TRY(dart_base_name_labels(recipe, head->labels));
    dart_recipe_settings(recipe, &set);
    DART_TRY(dart_labels_count(set.labels, &count));
    if (count != head->labels)
        return dart_fail(DART_INPUT,
            "the adapter %s scores %u labels, and there are %u (%.200s); name them with --labels, "
            "in the order of their numbers",
            list, head->labels, count, set.labels);
    return head->pooler ? fix(recipe, list, "pooler", head->pooler) : DART_OK;
}

static dart_status settle(dart_recipe *recipe, const char *list, const dart_updates *a)
{
    char rank[16], alpha[32], targets[DART_RECIPE_TEXT] = "";
    uint32_t most = a->rank;
    for (uint32_t i = 0; !a->rank && i < a->count; i++)
        if (a->update[i].rank > most) most = a->update[i].rank;
    locale_t before = dart_locale_enter();
    snprintf(rank, sizeof rank, "%u", most);
    snprintf(alpha, sizeof alpha, "%.17g", a->rank ? a->alpha : most);
    dart_locale_leave(before);
    DART_TRY(write_targets(a, targets));
    const char *const keys[][2] = {{"linear", "lora"}, {"rank", rank}, {"lora_alpha", alpha},
        {"rslora", a->rank && a->rslora ? "true" : "false"}, {"lora_init", "default"},
        {"use_dora", "false"}, {"linear_rank", "0"}, {"target_modules", targets}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        DART_TRY(fix(recipe, list, keys[i][0], keys[i][1]));
    return settle_head(recipe, list, &a->head);
}

dart_status dart_adapters_resolve(dart_recipe *recipe)
{
    dart_settings set;
    dart_pretrained *base = NULL;
    dart_status status = DART_OK;
    char places[DART_RECIPE_TEXT] = "";
    DART_TRY(dart_base_locate(recipe));
    dart_recipe_settings(recipe, &set);
    /* A run that goes on knows its recipe by itself. */
    if (!*set.adapter || (set.resume && !*set.base)) return DART_OK;
    if (!*set.base)
        return dart_fail(
            DART_USAGE, "an adapter stands beside a pretrained model; say which one with --base");
    dart_updates a = {.base = set.base};
    DART_GOTO(dart_pretrained_open(set.base, &base));
    a.model = base;
    DART_GOTO(dart_updates_read(&a, set.adapter, places));
    DART_GOTO(settle(recipe, set.adapter, &a));
    if (*places) status = dart_recipe_set(recipe, "adapter", places);
done:
    dart_updates_free(&a);
    dart_pretrained_close(base);
    return status;
}

/* ---- values ---- */

/* The model again, with the adapters' ranks. */
static dart_status take_ranks(dart_bundle *b, const dart_updates *a)
{
    const dart_model *model = b->model;
    const dart_method *lora = dart_method_find("lora");
    uint32_t(*ranks)[DART_MAX_CORES + 1] = dart_calloc(model->weights, sizeof *ranks);
    uint32_t found = 0;
    dart_status status = DART_OK;
    if (!ranks) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_weight *weight = &model->weight[w].weight;
        const dart_update *u = dart_updates_find(a, weight->name);
        memcpy(ranks[w], weight->ranks, sizeof *ranks);
        if (!u) continue;
        found++;
        if (weight->method != lora || model->weight[w].layout.takes_apart ||
            weight->out != u->out || weight->in != u->in)
            DART_GOTO(dart_fail(DART_INPUT,
                "%s has an adapter, and its method is %s; leave the adapted weights to it", u->name,
                weight->method->name));
        ranks[w][1] = u->rank;
    }
    if (found < a->count)
        DART_GOTO(dart_fail(DART_INPUT,
            "%u of the %u adapters are for weights that the model does not have", a->count - found,
            a->count));
    status = dart_bundle_model(b, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks, NULL);
done:
    free(ranks);
    return status;
}

/* tensor 0 is the base's matrix, 1 and 2 are B and A; their term has a scale of its own. */
static void put_values(const dart_bundle *b, uint32_t w, const dart_update *u)
{
    const dart_model_weight *weight = &b->model->weight[w];
    const dart_network network = dart_network_of(&weight->weight, &weight->layout);
    const double factor = u->scale / network.term[0].scale;
    float *tensor[DART_MAX_CORES + 2];
    dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
    for (size_t i = 0; i < (size_t)u->out * u->rank; i++)
        tensor[1][i] = factor == 1 ? u->b[i] : (float)(factor * u->b[i]);
    memcpy(tensor[2], u->a, (size_t)u->rank * u->in * sizeof *u->a);
}

/* A head is trained on as it is, whatever the recipe says of linear layers. */
static dart_status put_head(const dart_bundle *b, const dart_update_head *head)
{
    const dart_model *m = b->model;
    const int weight[DART_ADAPTER_PARTS] = {m->classifier, -1, m->pooler, -1};
    const int vector[DART_ADAPTER_PARTS] = {-1, m->classifier_bias, -1, m->pooler_bias};
    for (int i = 0; i < DART_ADAPTER_PARTS; i++) {
        if (!head->part[i]) continue;
        const int at = weight[i] < 0 ? vector[i] : (int)m->weight[weight[i]].first_param;
        const dart_param *to = at < 0 ? NULL : &m->param[at];
        if (!to || to->region != DART_REGION_PARAM || dart_param_words(to) != head->words[i])
            return dart_fail(DART_INPUT,
                "the classifier of %s is not that of the recipe: other labels, or another pooler",
                b->set.adapter);
        memcpy(b->param + to->offset, head->part[i], head->words[i] * sizeof *b->param);
    }
    return DART_OK;
}

static dart_status begin(dart_bundle *b, const dart_updates *a)
{
    uint32_t least = UINT32_MAX, most = 0;
    DART_TRY(take_ranks(b, a));
    DART_TRY(dart_bundle_begin(b));
    for (uint32_t w = 0; w < b->model->weights; w++) {
        const dart_update *u = dart_updates_find(a, b->model->weight[w].weight.name);
        if (!u) continue;
        put_values(b, w, u);
        if (u->rank < least) least = u->rank;
        if (u->rank > most) most = u->rank;
    }
    DART_TRY(put_head(b, &a->head));
    dart_note_line(a->note, "adapter %s: %u weights, ranks %u to %u%s", b->set.adapter, a->count,
        least, most, a->head.labels ? ", and the head of a classifier" : "");
    return DART_OK;
}

dart_status dart_adapters_begin(dart_bundle *b, dart_note note)
{
    dart_pretrained *base = NULL;
    dart_status status = DART_OK;
    dart_updates a = {.base = b->set.base, .note = note};
    DART_TRY(dart_bundle_model(b, NULL, NULL));
    if (!*b->set.adapter) return dart_bundle_begin(b);
    DART_GOTO(dart_pretrained_open(b->set.base, &base));
    a.model = base;
    DART_GOTO(dart_updates_read(&a, b->set.adapter, NULL));
    status = begin(b, &a);
done:
    dart_updates_free(&a);
    dart_pretrained_close(base);
    return status;
}
