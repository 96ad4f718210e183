/* Adapters of PEFT. github.com/huggingface/peft, docs/source/developer_guides/checkpoint.md */
#include "adapter.h"
#include "adapter_targets.h"
#include "file.h"
#include "patterns.h"
#include "hf.h"
#include "hf_keys.h"
#include "safetensors.h"
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RANK = 4096 };

typedef struct place { /* where a pair's numbers are */
    const dart_st_tensor *a, *b;
    uint64_t first; /* row of B */
} place;

struct dart_adapter {
    char config[PATH_MAX], tensors[PATH_MAX]; /* the files */
    uint32_t rank, count;
    double alpha;
    bool rslora;
    json_t *root;
    dart_safetensors file;
    dart_adapter_pair *pair; /* grown together with `place` */
    place *place;
    size_t pair_room, place_room;
    const dart_st_tensor *part[DART_ADAPTER_PARTS];
};

static const char A_END[] = ".lora_A.weight", B_END[] = ".lora_B.weight";

bool dart_adapter_found(const char *path)
{
    char inner[PATH_MAX];
    return (size_t)snprintf(inner, sizeof inner, "%s/adapter_config.json", path) < sizeof inner &&
           dart_file_exists(inner);
}

void dart_adapter_close(dart_adapter *adapter)
{
    if (!adapter) return;
    json_decref(adapter->root);
    dart_safetensors_close(&adapter->file);
    free(adapter->pair);
    free(adapter->place);
    free(adapter);
}

/* ---- settings ---- */

/* A start that changes the base: what PEFT stores is beside the changed one. */
static dart_status check_start(const dart_adapter *a)
{
    static const char *const plain[] = {"gaussian", "eva", "orthogonal"};
    const json_t *start = json_object_get(a->root, "init_lora_weights");
    const char *name = json_string_value(start);
    if (!start || json_is_null(start) || json_is_boolean(start)) return DART_OK;
    for (size_t i = 0; name && i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(name, plain[i])) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s: init_lora_weights is '%.40s', which changes the base too; convert the adapter with "
        "PEFT (path_initial_model_for_weight_conversion)",
        a->config, name ? name : "no name");
}

/* Whether the settings name a module as one that is kept whole. PEFT takes what ends so. */
static bool is_saved(const dart_adapter *a, const char *name)
{
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(a->root, "modules_to_save"), i, one)
    {
        const char *text = json_string_value(one), *dot = text ? strrchr(text, '.') : NULL;
        if (text && !strcmp(dot ? dot + 1 : text, name)) return true;
    }
    return false;
}

/* PEFT lists `classifier` and `score` of every classifier, whichever the model has. */
static dart_status check_saved(const dart_adapter *a)
{
    static const char *const heads[] = {"classifier", "score", "pooler", "bert.pooler"};
    const json_t *list = json_object_get(a->root, "modules_to_save"), *one;
    size_t i, h;
    if (!list || json_is_null(list)) return DART_OK;
    if (!json_is_array(list))
        return dart_fail(DART_INPUT, "%s: modules_to_save is no list of names", a->config);
    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(one);
        for (h = 0; name && h < 4 && strcmp(heads[h], name);) h++;
        if (!name || h == 4)
            return dart_fail(DART_INPUT,
                "%s: modules_to_save keeps '%.60s' whole; only the head of a classifier "
                "(classifier, score, pooler) is read so",
                a->config, name ? name : "no name");
    }
    return DART_OK;
}

static dart_status read_settings(dart_adapter *a)
{
    json_t *kind = json_object_get(a->root, "peft_type");
    json_t *alpha = json_object_get(a->root, "lora_alpha"), *rank = json_object_get(a->root, "r");
    const char *bias = json_string_value(json_object_get(a->root, "bias"));
    if (!json_is_string(kind) || strcmp(json_string_value(kind), "LORA"))
        return dart_fail(DART_INPUT, "%s: peft_type is '%.40s', and only LORA is read", a->config,
            json_is_string(kind) ? json_string_value(kind) : "missing");
    DART_TRY(dart_hf_check_adapter(a->config, a->root));
    DART_TRY(check_start(a));
    DART_TRY(check_saved(a));
    if (bias && strcmp(bias, "none"))
        return dart_fail(DART_INPUT,
            "%s: bias is '%.40s': trained biases are not read, only 'none'", a->config, bias);
    if (!json_is_integer(rank) || json_integer_value(rank) < 1 ||
        json_integer_value(rank) > MOST_RANK)
        return dart_fail(DART_INPUT, "%s: r is no whole number from 1 to %d", a->config, MOST_RANK);
    if (!json_is_number(alpha) || !(json_number_value(alpha) > 0) || json_number_value(alpha) > 1e6)
        return dart_fail(
            DART_INPUT, "%s: lora_alpha is no number above 0 and up to 1e6", a->config);
    a->rank = (uint32_t)json_integer_value(rank);
    a->alpha = json_number_value(alpha);
    a->rslora = json_is_true(json_object_get(a->root, "use_rslora"));
    return DART_OK;
}

static dart_status read_config(dart_adapter *a)
{
    char *text, why[DART_JSON_WHY];
    size_t size;
    DART_TRY(dart_file_read(a->config, &text, &size));
    dart_status status = dart_json_parse(text, size, a->config, why, &a->root);
    free(text);
    DART_TRY(status);
    if (!json_is_object(a->root))
        return dart_fail(DART_INPUT, "%s: it is not an object", a->config);
    return read_settings(a);
}

/* What the settings say of a module. */
static dart_status settings_of(
    const dart_adapter *a, const char *module, double *out_rank, double *out_alpha)
{
    DART_TRY(dart_pattern_number(json_object_get(a->root, "rank_pattern"), a->config,
        "rank_pattern", module, a->rank, out_rank));
    return dart_pattern_number(json_object_get(a->root, "alpha_pattern"), a->config,
        "alpha_pattern", module, a->alpha, out_alpha);
}

/* ---- tensors ---- */

static dart_status unknown(const dart_adapter *a, const dart_st_tensor *tensor)
{
    return dart_fail(DART_INPUT,
        "%s: the tensor '%.120s' is none of a linear layer's LoRA pair (lora_A, lora_B) and none "
        "of a classifier's head, and nothing else is read",
        a->tensors, tensor->name);
}

/* The tensor's module, "model.layers.0.self_attn.q_proj". */
static dart_status module_of(
    const dart_adapter *a, const dart_st_tensor *tensor, const char *end, char out[160])
{
    static const char begin[] = "base_model.model.";
    const size_t n = strlen(tensor->name), m = strlen(end), k = sizeof begin - 1;
    const bool fits = n > m + k && n - m - k < 160 && !strncmp(tensor->name, begin, k) &&
                      !strcmp(tensor->name + n - m, end);
    if (!fits) return unknown(a, tensor);
    snprintf(out, 160, "%.*s", (int)(n - m - k), tensor->name + k);
    return DART_OK;
}

static dart_status add_pair(dart_adapter *a, const dart_pretrained *base, const char *ours,
    const char *module, place where, uint32_t parts)
{
    const dart_pretrained_tensor *weight = dart_pretrained_find(base, ours);
    const uint64_t rank = where.a->dim[0], rows = where.b->dim[0] / parts;
    double alpha, told;
    if (!weight)
        return dart_fail(
            DART_INPUT, "%s adapts %s, which the base does not have", a->tensors, module);
    if (weight->columns != where.a->dim[1] || weight->rows != rows || where.b->dim[0] % parts)
        return dart_fail(DART_INPUT,
            "%s: %s has an adapter of %" PRIu64 " x %" PRIu64 ", and the base's is %" PRIu64
            " x %" PRIu64 ": the adapter is of another model",
            a->tensors, module, where.b->dim[0], where.a->dim[1], weight->rows * parts,
            weight->columns);
    for (uint32_t i = 0; i < a->count; i++)
        if (!strcmp(a->pair[i].name, ours))
            return dart_fail(DART_INPUT, "%s adapts %s twice", a->tensors, module);
    DART_TRY(settings_of(a, module, &told, &alpha));
    if (told != (double)rank)
        return dart_fail(DART_INPUT,
            "%s: %s has the rank %" PRIu64
            ", and %.17g by r and rank_pattern of %s: these files do "
            "not belong together",
            a->tensors, module, rank, told, a->config);
    DART_TRY(dart_grow((void **)&a->pair, &a->pair_room, a->count + 1, sizeof *a->pair));
    DART_TRY(dart_grow((void **)&a->place, &a->place_room, a->count + 1, sizeof *a->place));
    dart_adapter_pair *pair = &a->pair[a->count];
    *pair = (dart_adapter_pair){.out = (uint32_t)rows,
        .in = (uint32_t)weight->columns,
        .rank = (uint32_t)rank,
        .scale = alpha / (a->rslora ? sqrt((double)rank) : (double)rank)};
    snprintf(pair->name, sizeof pair->name, "%s", ours);
    a->place[a->count++] = where;
    return DART_OK;
}

/* A module's pair, by its A. */
static dart_status take_module(
    dart_adapter *a, const dart_pretrained *base, const dart_st_tensor *tensor)
{
    char module[160], other[240], ours[DART_HF_PARTS][DART_PRETRAINED_NAME];
    DART_TRY(module_of(a, tensor, A_END, module));
    snprintf(other, sizeof other, "base_model.model.%s%s", module, B_END);
    const dart_st_tensor *b = dart_safetensors_find(&a->file, other);
    if (!b) return dart_fail(DART_INPUT, "%s: %s has a lora_A and no lora_B", a->tensors, module);
    if (tensor->rank != 2 || b->rank != 2 || tensor->dim[0] != b->dim[1] || !tensor->dim[0] ||
        tensor->dim[0] > MOST_RANK)
        return dart_fail(DART_INPUT,
            "%s: lora_A and lora_B of %s do not go together: they have to be (rank, in) and (out, "
            "rank), the rank from 1 to %d",
            a->tensors, module, MOST_RANK);
    const uint32_t parts = dart_hf_weights(dart_pretrained_config_of(base)->arch, module, ours);
    if (!parts)
        return dart_fail(DART_INPUT,
            "%s adapts %s; only adapters of the blocks' linear layers and of bert's pooler are "
            "read",
            a->tensors, module);
    for (uint32_t i = 0; i < parts; i++)
        DART_TRY(
            add_pair(a, base, ours[i], module, (place){tensor, b, b->dim[0] / parts * i}, parts));
    return DART_OK;
}

/* ---- the head ---- */

/* The name of a tensor without what PEFT calls the copy that was trained, which some versions leave
 * in it. Returns whether it is the base's own, which these save too. */
static bool plain_name(const char *name, char out[160])
{
    static const char *const inner[] = {
        ".original_module.", ".modules_to_save.default.", ".modules_to_save."};
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(name, inner[i]);
        if (!at) continue;
        snprintf(out, 160, "%.*s.%s", (int)(at - name), name, at + strlen(inner[i]));
        return i == 0;
    }
    snprintf(out, 160, "%s", name);
    return false;
}

static dart_status check_part(const dart_adapter *a, const dart_pretrained *base,
    dart_adapter_part part, const dart_st_tensor *tensor)
{
    const dart_pretrained_config *c = dart_pretrained_config_of(base);
    const bool pooler = part >= DART_ADAPTER_POOLER;
    const bool bias = part == DART_ADAPTER_CLASSIFIER_BIAS || part == DART_ADAPTER_POOLER_BIAS;
    const bool fits = tensor->rank == (bias ? 1 : 2) && tensor->dim[0] > 0 &&
                      tensor->dim[0] <= UINT32_MAX && (bias || tensor->dim[1] == c->d_model) &&
                      (!pooler || tensor->dim[0] == c->d_model);
    if (!fits)
        return dart_fail(DART_INPUT,
            "%s: the shape of '%.120s' does not go with a width of %u: the adapter is of another "
            "model",
            a->tensors, tensor->name, c->d_model);
    if (a->part[part])
        return dart_fail(DART_INPUT, "%s holds '%.120s' twice", a->tensors, tensor->name);
    return DART_OK;
}

static dart_status take_part(
    dart_adapter *a, const dart_pretrained *base, const dart_st_tensor *tensor)
{
    static const char *const ours[DART_ADAPTER_PARTS] = {
        "classifier", "classifier.bias", "pooler", "pooler.bias"};
    static const char begin[] = "base_model.model.";
    const size_t n = sizeof begin - 1;
    const char *whole = NULL;
    char name[160];
    bool untrained = false;
    int part = 0;
    if (!strncmp(tensor->name, begin, n) && strlen(tensor->name) < sizeof name) {
        untrained = plain_name(tensor->name + n, name);
        whole = dart_hf_head(dart_pretrained_config_of(base)->arch, name);
    }
    if (!whole) return unknown(a, tensor);
    if (untrained) return DART_OK;
    while (strcmp(ours[part], whole)) part++;
    DART_TRY(check_part(a, base, (dart_adapter_part)part, tensor));
    a->part[part] = tensor;
    return DART_OK;
}

static dart_status incomplete(const dart_adapter *a, const char *what)
{
    return dart_fail(DART_INPUT, "%s: the classifier's head is not whole: %s", a->tensors, what);
}

/* What a module has a weight for it has a bias for, and roberta's classifier is both layers. */
static dart_status check_whole(const dart_adapter *a, dart_pretrained_arch arch)
{
    const dart_st_tensor *const *part = a->part, *classifier = part[DART_ADAPTER_CLASSIFIER];
    const dart_st_tensor *bias = part[DART_ADAPTER_CLASSIFIER_BIAS];
    const bool encoder = arch >= DART_PRETRAINED_BERT;
    if (!classifier) return incomplete(a, "there is no matrix of the classifier");
    if (encoder && !bias) return incomplete(a, "the classifier has no bias");
    if (bias && bias->dim[0] != classifier->dim[0])
        return incomplete(a, "matrix and bias of the classifier have different numbers of labels");
    if (!part[DART_ADAPTER_POOLER] != !part[DART_ADAPTER_POOLER_BIAS])
        return incomplete(a, "the pooler has only one of its matrix and its bias");
    if (arch == DART_PRETRAINED_ROBERTA && !part[DART_ADAPTER_POOLER])
        return incomplete(a, "there is no classifier.dense");
    return DART_OK;
}

/* Whether the settings say the same: a task of classifiers keeps `head` without naming it. */
static dart_status check_named(const dart_adapter *a, dart_pretrained_arch arch, bool named)
{
    const char *task = json_string_value(json_object_get(a->root, "task_type"));
    const bool pooler = a->part[DART_ADAPTER_POOLER] != NULL;
    if (task && strcmp(task, "SEQ_CLS"))
        return dart_fail(DART_INPUT,
            "%s: task_type is '%.40s', and a classifier's head is read only where it is SEQ_CLS",
            a->config, task);
    if ((named || task) && (arch != DART_PRETRAINED_BERT || pooler == is_saved(a, "pooler")))
        return DART_OK;
    return dart_fail(DART_INPUT,
        "%s: modules_to_save names other modules than %s keeps whole: these files do not belong "
        "together",
        a->config, a->tensors);
}

static dart_status check_head(const dart_adapter *a, const dart_pretrained *base)
{
    const dart_pretrained_config *c = dart_pretrained_config_of(base);
    const bool bert = c->arch == DART_PRETRAINED_BERT;
    const bool named = is_saved(a, c->arch < DART_PRETRAINED_BERT ? "score" : "classifier");
    const dart_st_tensor *const *part = a->part;
    bool any = named || (bert && is_saved(a, "pooler"));
    for (int i = 0; i < DART_ADAPTER_PARTS; i++) any |= part[i] != NULL;
    if (!any) return DART_OK;
    DART_TRY(check_whole(a, c->arch));
    DART_TRY(check_named(a, c->arch, named));
    if (c->labels && c->labels != part[DART_ADAPTER_CLASSIFIER]->dim[0])
        return dart_fail(DART_INPUT,
            "%s scores %" PRIu64 " labels, and its base %u: the adapter is of another model",
            a->tensors, part[DART_ADAPTER_CLASSIFIER]->dim[0], c->labels);
    if (bert && !part[DART_ADAPTER_POOLER] && !c->pooler)
        return dart_fail(DART_INPUT,
            "the classifier of %s reads the base's pooler, which the base does not have; take the "
            "model with its pooler",
            a->tensors);
    for (uint32_t i = 0; part[DART_ADAPTER_POOLER] && i < a->count; i++)
        if (!strcmp(a->pair[i].name, "pooler"))
            return dart_fail(DART_INPUT, "%s adapts the pooler and keeps it whole too", a->tensors);
    return DART_OK;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static dart_status take_tensors(dart_adapter *a, const dart_pretrained *base)
{
    for (uint64_t t = 0; t < a->file.count; t++) {
        const dart_st_tensor *tensor = &a->file.tensor[t];
        char module[160], other[240];
        if (!ends_with(tensor->name, B_END)) {
            DART_TRY((ends_with(tensor->name, A_END) ? take_module : take_part)(a, base, tensor));
            continue;
        }
        DART_TRY(module_of(a, tensor, B_END, module));
        snprintf(other, sizeof other, "base_model.model.%s%s", module, A_END);
        if (!dart_safetensors_find(&a->file, other))
            return dart_fail(DART_INPUT, "%s: %s has a lora_B and no lora_A", a->tensors, module);
    }
    if (!a->count) return dart_fail(DART_INPUT, "%s holds no adapter of any module", a->tensors);
    DART_TRY(dart_adapter_check_targets(a->root, a->tensors, base, a->pair, a->count));
    return check_head(a, base);
}

/* Adapters may also lie in a pickle, which is a program. */
static dart_status open_tensors(dart_adapter *a, const char *path)
{
    char pickle[PATH_MAX];
    if ((size_t)snprintf(a->tensors, sizeof a->tensors, "%s/adapter_model.safetensors", path) >=
        sizeof a->tensors)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
    snprintf(pickle, sizeof pickle, "%s/adapter_model.bin", path);
    if (!dart_file_exists(a->tensors) && dart_file_exists(pickle))
        return dart_fail(DART_INPUT,
            "%s is a pickle, which is not read; save the adapter as safetensors "
            "(save_pretrained(..., safe_serialization=True))",
            pickle);
    return dart_safetensors_open(a->tensors, &a->file);
}

dart_status dart_adapter_open(const char *path, const dart_pretrained *base, dart_adapter **out)
{
    dart_status status = DART_OK;
    *out = NULL;
    dart_adapter *a = dart_calloc(1, sizeof *a);
    if (!a) return DART_MEMORY;
    if ((size_t)snprintf(a->config, sizeof a->config, "%s/adapter_config.json", path) >=
        sizeof a->config)
        DART_GOTO(dart_fail(DART_INPUT, "the path %.200s... is too long", path));
    DART_GOTO(read_config(a));
    DART_GOTO(open_tensors(a, path));
    DART_GOTO(take_tensors(a, base));
    *out = a;
    a = NULL;
done:
    dart_adapter_close(a);
    return status;
}

/* ---- what is read of it ---- */

double dart_adapter_alpha(const dart_adapter *adapter, bool *out_rslora)
{
    *out_rslora = adapter->rslora;
    return adapter->alpha;
}

uint32_t dart_adapter_rank(const dart_adapter *adapter)
{
    return adapter->rank;
}

const dart_adapter_pair *dart_adapter_pairs(const dart_adapter *adapter, uint32_t *out_count)
{
    *out_count = adapter->count;
    return adapter->pair;
}

static dart_status check_finite(
    const dart_adapter *a, const char *name, const float *value, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(value[i]))
            return dart_fail(
                DART_INPUT, "%s: '%.120s' has values that are not finite", a->tensors, name);
    return DART_OK;
}

dart_status dart_adapter_read(const dart_adapter *a, uint32_t pair, float *out_b, float *out_a)
{
    const dart_adapter_pair *p = &a->pair[pair];
    const place *at = &a->place[pair];
    DART_TRY(dart_safetensors_rows(at->a, a->tensors, 0, p->rank, out_a));
    DART_TRY(dart_safetensors_rows(at->b, a->tensors, at->first, p->out, out_b));
    DART_TRY(check_finite(a, at->a->name, out_a, (uint64_t)p->rank * p->in));
    return check_finite(a, at->b->name, out_b, (uint64_t)p->rank * p->out);
}

uint32_t dart_adapter_labels(const dart_adapter *a)
{
    const dart_st_tensor *head = a->part[DART_ADAPTER_CLASSIFIER];
    return head ? (uint32_t)head->dim[0] : 0;
}

uint64_t dart_adapter_part_words(const dart_adapter *a, dart_adapter_part part)
{
    return a->part[part] ? a->part[part]->count : 0;
}

dart_status dart_adapter_read_part(const dart_adapter *a, dart_adapter_part part, float *out)
{
    const dart_st_tensor *tensor = a->part[part];
    DART_TRY(dart_safetensors_rows(tensor, a->tensors, 0, tensor->dim[0], out));
    return check_finite(a, tensor->name, out, tensor->count);
}
