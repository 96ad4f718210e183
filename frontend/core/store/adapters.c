/* Adapters beside a pretrained model: read, added, and put into the tensors of method lora. */
#include "adapters.h"
#include "adapter.h"
#include "c_locale.h"
#include "file.h"
#include "option.h"
#include "recipe_impl.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is added to a weight: scale * B A. */
typedef struct update {
    char name[96];
    uint32_t out, in, rank;
    double scale;
    float *b, *a; /* owned (out, rank), (rank, in) */
} update;

typedef struct adapters {
    const char *base; /* its path */
    const dart_pretrained *model;
    dart_note note;
    uint32_t count, files;
    update *update;
    size_t room;
    /* of a single one of PEFT's, with no scale of the user's; else rank 0 */
    uint32_t rank;
    double alpha;
    bool rslora;
} adapters;

static void close_all(adapters *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        free(a->update[i].b);
        free(a->update[i].a);
    }
    free(a->update);
    *a = (adapters){0};
}

static update *find(const adapters *a, const char *name)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (!strcmp(a->update[i].name, name)) return &a->update[i];
    return NULL;
}

/* ---- adding ---- */

static void scale_into(update *u)
{
    for (size_t i = 0; i < (size_t)u->out * u->rank; i++) u->b[i] = (float)(u->scale * u->b[i]);
    u->scale = 1;
}

/* Both as one of the sum of their ranks: (B B') and (A; A'). */
static dart_status join(update *u, update *other)
{
    const uint32_t rank = u->rank + other->rank;
    float *b = dart_calloc((size_t)u->out * rank, sizeof *b);
    float *a = dart_calloc((size_t)rank * u->in, sizeof *a);
    if (!a || !b) {
        free(a);
        free(b);
        return DART_MEMORY;
    }
    scale_into(u);
    scale_into(other);
    for (uint32_t i = 0; i < u->out; i++) {
        memcpy(b + (size_t)i * rank, u->b + (size_t)i * u->rank, u->rank * sizeof *b);
        memcpy(b + (size_t)i * rank + u->rank, other->b + (size_t)i * other->rank,
            other->rank * sizeof *b);
    }
    memcpy(a, u->a, (size_t)u->rank * u->in * sizeof *a);
    memcpy(a + (size_t)u->rank * u->in, other->a, (size_t)other->rank * u->in * sizeof *a);
    free(u->a);
    free(u->b);
    u->a = a;
    u->b = b;
    u->rank = rank;
    return DART_OK;
}

/* A rank above that of any matrix of this shape: the product itself, beside an identity. */
static dart_status shorten(update *u)
{
    const uint32_t rank = u->out < u->in ? u->out : u->in;
    if (u->rank <= rank) return DART_OK;
    float *product = dart_calloc((size_t)u->out * u->in, sizeof *product);
    float *identity = dart_calloc((size_t)rank * rank, sizeof *identity);
    if (!product || !identity) {
        free(product);
        free(identity);
        return DART_MEMORY;
    }
    for (uint32_t i = 0; i < u->out; i++)
        for (uint32_t j = 0; j < u->in; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < u->rank; k++)
                sum += (double)u->b[(size_t)i * u->rank + k] * u->a[(size_t)k * u->in + j];
            product[(size_t)i * u->in + j] = (float)sum;
        }
    for (uint32_t k = 0; k < rank; k++) identity[(size_t)k * rank + k] = 1;
    free(u->a);
    free(u->b);
    u->b = u->out == rank ? identity : product;
    u->a = u->out == rank ? product : identity;
    u->rank = rank;
    return DART_OK;
}

/* Takes other->b and other->a over, also after a failure. */
static dart_status add(adapters *a, update *other)
{
    update *u = find(a, other->name);
    dart_status status =
        u ? join(u, other)
          : dart_grow((void **)&a->update, &a->room, a->count + 1, sizeof *a->update);
    if (status != DART_OK || u) {
        free(other->b);
        free(other->a);
        return status == DART_OK ? shorten(u) : status;
    }
    a->update[a->count++] = *other;
    return shorten(&a->update[a->count - 1]);
}

/* ---- reading ---- */

static dart_status take_peft(adapters *a, const char *path, double scale)
{
    dart_adapter *adapter;
    uint32_t count;
    dart_status status = DART_OK;
    DART_TRY(dart_adapter_open(path, a->model, &adapter));
    const dart_adapter_pair *pair = dart_adapter_pairs(adapter, &count);
    if (!a->files && scale == 1) {
        a->rank = dart_adapter_rank(adapter);
        a->alpha = dart_adapter_alpha(adapter, &a->rslora);
    }
    for (uint32_t i = 0; i < count; i++) {
        update u = {.out = pair[i].out,
            .in = pair[i].in,
            .rank = pair[i].rank,
            .scale = scale * pair[i].scale,
            .b = dart_calloc((size_t)pair[i].out * pair[i].rank, sizeof *u.b),
            .a = dart_calloc((size_t)pair[i].rank * pair[i].in, sizeof *u.a)};
        snprintf(u.name, sizeof u.name, "%s", pair[i].name);
        status = u.a && u.b ? dart_adapter_read(adapter, i, u.b, u.a) : DART_MEMORY;
        if (status != DART_OK) {
            free(u.a);
            free(u.b);
            goto done;
        }
        DART_GOTO(add(a, &u));
    }
done:
    dart_adapter_close(adapter);
    return status;
}

/* Everything that training changed has to be in pairs. */
static dart_status check_run(const dart_bundle *b, const char *path)
{
    for (uint32_t p = 0; p < b->model->params; p++) {
        const dart_param *param = &b->model->param[p];
        const bool core =
            param->weight >= 0 && dart_layout_reduced(&b->model->weight[param->weight].layout);
        if (param->region == DART_REGION_PARAM && !core)
            return dart_fail(DART_INPUT,
                "%s trained %s too, which no adapter holds: open that run itself", path,
                param->name);
    }
    return DART_OK;
}

static dart_status take_weight(
    adapters *a, const dart_bundle *b, uint32_t w, const char *path, double scale)
{
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2];
    update u = {.out = weight->weight.out, .in = weight->weight.in, .scale = scale};
    snprintf(u.name, sizeof u.name, "%s", weight->weight.name);
    dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
    if (!weight->layout.takes_apart && !dart_network_of(&weight->weight, &weight->layout).rescaled)
        DART_TRY(dart_method_pair(&weight->weight, &weight->layout, tensor, &u.rank, &u.b, &u.a));
    if (u.rank) return add(a, &u);
    return dart_fail(DART_INPUT,
        "%s: the method %s of %s is no LoRA pair as it is; export the run first (--format peft) "
        "and "
        "give that folder",
        path, weight->weight.method->name, u.name);
}

static dart_status take_run(adapters *a, const char *path, double scale)
{
    dart_recipe *over = NULL;
    dart_bundle b = {0};
    dart_status status = DART_OK;
    if (!dart_file_exists(path))
        return dart_fail(DART_INPUT,
            "there is no adapter at %s; a folder with adapter_config.json (PEFT), or a run is "
            "expected",
            path);
    DART_GOTO(dart_recipe_new(&over));
    DART_GOTO(dart_recipe_set(over, "base", a->base));
    DART_GOTO(dart_bundle_stored(path, over, a->note, &b));
    DART_GOTO(check_run(&b, path));
    for (uint32_t w = 0; w < b.model->weights; w++)
        if (dart_layout_reduced(&b.model->weight[w].layout))
            DART_GOTO(take_weight(a, &b, w, path, scale));
done:
    dart_bundle_free(&b);
    dart_recipe_free(over);
    return status;
}

/* "PATH=SCALE" or a path alone; the text is cut. */
static dart_status read_scale(char *text, double *out)
{
    static const dart_option_row row = {
        .key = "the scale of an adapter", .kind = DART_OPTION_FLOAT, .least = -1e6, .most = 1e6};
    char *equals = strrchr(text, '=');
    *out = 1;
    if (!equals || dart_adapter_found(text)) return DART_OK;
    *equals = 0;
    return dart_option_read(&row, equals + 1, out);
}

/* All of the list. places (may be NULL): the list again with absolute paths, "" where that is too
 * long. */
static dart_status open_all(adapters *a, const char *list, char places[DART_RECIPE_TEXT])
{
    char text[DART_RECIPE_TEXT], whole[PATH_MAX], *rest = NULL;
    size_t used = 0;
    snprintf(text, sizeof text, "%s", list);
    for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        double scale;
        DART_TRY(read_scale(one, &scale));
        DART_TRY((dart_adapter_found(one) ? take_peft : take_run)(a, one, scale));
        if (a->files++) a->rank = 0;
        if (!places) continue;
        if (!realpath(one, whole)) return dart_fail(DART_INPUT, "cannot find %s any more", one);
        char number[64] = "";
        if (scale != 1) snprintf(number, sizeof number, "=%.40s", one + strlen(one) + 1);
        if (used < DART_RECIPE_TEXT)
            used += (size_t)snprintf(
                places + used, DART_RECIPE_TEXT - used, "%s%s%s", used ? "," : "", whole, number);
    }
    if (places && used >= DART_RECIPE_TEXT) places[0] = 0;
    if (!a->files) return dart_fail(DART_USAGE, "adapter names no folder");
    return DART_OK;
}

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
static dart_status write_targets(const adapters *a, char out[DART_RECIPE_TEXT])
{
    const uint32_t layers = dart_pretrained_config_of(a->model)->layers;
    kind kinds[KINDS] = {0};
    uint32_t count = 0;
    size_t used = 0;
    dart_status status = DART_OK;
    uint8_t *layer = dart_calloc(KINDS, layers);
    if (!layer) return DART_MEMORY;
    for (uint32_t i = 0; i < a->count; i++) {
        unsigned l;
        int at = 0;
        uint32_t k = 0;
        const char *name = a->update[i].name;
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

static dart_status settle(dart_recipe *recipe, const char *list, const adapters *a)
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
    return DART_OK;
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
    adapters a = {.base = set.base};
    DART_GOTO(dart_pretrained_open(set.base, &base));
    a.model = base;
    DART_GOTO(open_all(&a, set.adapter, places));
    DART_GOTO(settle(recipe, set.adapter, &a));
    if (*places) status = dart_recipe_set(recipe, "adapter", places);
done:
    close_all(&a);
    dart_pretrained_close(base);
    return status;
}

/* ---- values ---- */

/* The model again, with the adapters' ranks. */
static dart_status take_ranks(dart_bundle *b, const adapters *a)
{
    const dart_model *model = b->model;
    const dart_method *lora = dart_method_find("lora");
    uint32_t(*ranks)[DART_MAX_CORES + 1] = dart_calloc(model->weights, sizeof *ranks);
    uint32_t found = 0;
    dart_status status = DART_OK;
    if (!ranks) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_weight *weight = &model->weight[w].weight;
        const update *u = find(a, weight->name);
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
static void put_values(const dart_bundle *b, uint32_t w, const update *u)
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

static dart_status begin(dart_bundle *b, const adapters *a)
{
    uint32_t least = UINT32_MAX, most = 0;
    DART_TRY(take_ranks(b, a));
    DART_TRY(dart_bundle_begin(b));
    for (uint32_t w = 0; w < b->model->weights; w++) {
        const update *u = find(a, b->model->weight[w].weight.name);
        if (!u) continue;
        put_values(b, w, u);
        if (u->rank < least) least = u->rank;
        if (u->rank > most) most = u->rank;
    }
    dart_note_line(
        a->note, "adapter %s: %u weights, ranks %u to %u", b->set.adapter, a->count, least, most);
    return DART_OK;
}

dart_status dart_adapters_begin(dart_bundle *b, dart_note note)
{
    dart_pretrained *base = NULL;
    dart_status status = DART_OK;
    adapters a = {.base = b->set.base, .note = note};
    DART_TRY(dart_bundle_model(b, NULL, NULL));
    if (!*b->set.adapter) return dart_bundle_begin(b);
    DART_GOTO(dart_pretrained_open(b->set.base, &base));
    a.model = base;
    DART_GOTO(open_all(&a, b->set.adapter, NULL));
    status = begin(b, &a);
done:
    close_all(&a);
    dart_pretrained_close(base);
    return status;
}
