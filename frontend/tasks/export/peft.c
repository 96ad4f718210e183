/* Adapters as PEFT reads them. github.com/huggingface/peft,
 * docs/source/developer_guides/checkpoint.md */
#include "export.h"
#include "file.h"
#include "json.h"
#include "safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void strings(json_t *object, const char *key, const char *value, dart_status *status)
{
    dart_json_set(object, key, json_string(value), status);
}

static const char *last_name(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Whether all modules of the base that are called so have adapters. */
static bool in_all_layers(
    const dart_exporting *e, const dart_export_pair *p, uint32_t count, const char *name)
{
    const dart_pretrained_config *config = dart_pretrained_config_of(e->base);
    const bool twice = config->arch == DART_PRETRAINED_GPT2 && !strcmp(name, "c_proj");
    uint32_t found = 0;
    /* "dense" is all over an encoder, in heads too that have no adapters */
    if (config->arch >= DART_PRETRAINED_BERT && !strcmp(name, "dense")) return false;
    for (uint32_t i = 0; i < count; i++) found += !strcmp(last_name(p[i].module), name);
    return found == config->layers * (twice ? 2 : 1);
}

/* Names of the modules that have adapters, each once: "q_proj", or the whole name where not all
 * that are called so have one. */
static json_t *targets(
    const dart_exporting *e, const dart_export_pair *p, uint32_t count, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        const char *name = last_name(p[i].module);
        bool seen = false;
        if (!in_all_layers(e, p, count, name)) name = p[i].module;
        for (size_t k = 0; k < json_array_size(list); k++)
            seen |= !strcmp(json_string_value(json_array_get(list, k)), name);
        if (!seen) dart_json_add(list, json_string(name), status);
    }
    return list;
}

static json_t *saved_names(const dart_exporting *e, dart_status *status)
{
    json_t *list;
    if (!dart_export_saved(e, 0)) return json_null();
    list = json_array();
    for (uint32_t i = 0; dart_export_saved(e, i); i++)
        dart_json_add(list, json_string(dart_export_saved(e, i)), status);
    return list;
}

/* alpha is each module's rank, so that the scale is 1. */
static dart_status write_config(const dart_exporting *e, const dart_export_pair *p, uint32_t count)
{
    dart_status status = DART_OK;
    char path[4096], *text;
    json_t *body = json_object(), *ranks = json_object(), *alphas = json_object();
    uint32_t rank = p[0].rank;
    for (uint32_t i = 0; i < count; i++) {
        if (p[i].rank == rank) continue;
        dart_json_set(ranks, p[i].module, json_integer(p[i].rank), &status);
        dart_json_set(alphas, p[i].module, json_integer(p[i].rank), &status);
    }
    strings(body, "peft_type", "LORA", &status);
    strings(body, "task_type", e->bundle->model->config.labels ? "SEQ_CLS" : "CAUSAL_LM", &status);
    dart_json_set(body, "base_model_name_or_path",
        dart_json_text(e->options->base_name ? e->options->base_name : e->bundle->set.base),
        &status);
    dart_json_set(body, "r", json_integer(rank), &status);
    dart_json_set(body, "lora_alpha", json_integer(rank), &status);
    dart_json_set(body, "lora_dropout", json_real(0.0), &status);
    dart_json_set(body, "target_modules", targets(e, p, count, &status), &status);
    dart_json_set(body, "rank_pattern", ranks, &status);
    dart_json_set(body, "alpha_pattern", alphas, &status);
    strings(body, "bias", "none", &status);
    dart_json_set(body, "fan_in_fan_out",
        json_boolean(dart_pretrained_config_of(e->base)->arch == DART_PRETRAINED_GPT2), &status);
    dart_json_set(body, "inference_mode", json_true(), &status);
    dart_json_set(body, "init_lora_weights", json_true(), &status);
    dart_json_set(body, "use_rslora", json_false(), &status);
    dart_json_set(body, "use_dora", json_boolean(p[0].lengths != NULL), &status);
    dart_json_set(body, "modules_to_save", saved_names(e, &status), &status);
    dart_json_set(body, "layers_to_transform", json_null(), &status);
    dart_json_set(body, "layers_pattern", json_null(), &status);
    dart_json_set(body, "revision", json_null(), &status);
    DART_TRY(dart_json_write(
        body, status, JSON_INDENT(2) | JSON_PRESERVE_ORDER, "adapter_config.json", &text));
    snprintf(path, sizeof path, "%s/adapter_config.json", e->options->out);
    status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}

/* The tensors of adapter_model.safetensors as they are collected. */
typedef struct tensors {
    dart_st_write *tensor;
    char (*name)[224];
    uint64_t count;
} tensors;

static void add(tensors *t, const char *module, const char *part, int axes, uint64_t rows,
    uint64_t columns, const float *data)
{
    char *name = t->name[t->count];
    snprintf(name, sizeof *t->name, "base_model.model.%s%s", module, part);
    t->tensor[t->count++] = (dart_st_write){name, axes, {rows, columns}, data};
}

static void add_pair(tensors *t, const dart_export_pair *p)
{
    add(t, p->module, ".lora_A.weight", 2, p->rank, p->in, p->a);
    add(t, p->module, ".lora_B.weight", 2, p->out, p->rank, p->b);
    if (p->lengths) add(t, p->module, ".lora_magnitude_vector", 1, p->out, 0, p->lengths);
}

/* What is kept whole: a classifier's head. owned: two matrices to be freed, also after a failure.
 */
static dart_status add_saved(const dart_exporting *e, tensors *t, float *owned[2])
{
    const dart_bundle *b = e->bundle;
    const dart_pretrained_arch arch = dart_pretrained_config_of(e->base)->arch;
    char name[160];
    int matrices = 0;
    for (uint32_t w = 0; w < b->model->weights; w++) {
        const dart_weight *weight = &b->model->weight[w].weight;
        if (!dart_export_saves_weight(e, w)) continue;
        DART_TRY(dart_export_name(arch, weight->name, name));
        DART_TRY(dart_bundle_matrix(b, w, &owned[matrices]));
        add(t, name, ".weight", 2, weight->out, weight->in, owned[matrices++]);
        e->out->parameters += (uint64_t)weight->out * weight->in;
    }
    for (uint32_t p = 0; p < b->model->params; p++) {
        const dart_param *param = &b->model->param[p];
        if (!dart_export_saves_vector(e, p)) continue;
        DART_TRY(dart_export_name(arch, param->name, name));
        add(t, name, "", 1, param->shape.dim[0], 0,
            (param->region == DART_REGION_FROZEN ? b->frozen : b->param) + param->offset);
        e->out->parameters += param->shape.dim[0];
    }
    return DART_OK;
}

static dart_status write_tensors(const dart_exporting *e, const dart_export_pair *p, uint32_t count)
{
    enum { HEAD = 4 }; /* classifier and pooler with their biases */
    dart_status status = DART_OK;
    char path[4096], *data = NULL;
    float *owned[2] = {0};
    size_t size;
    tensors t = {0};
    t.tensor = dart_calloc(3ull * count + HEAD, sizeof *t.tensor);
    t.name = dart_calloc(3ull * count + HEAD, sizeof *t.name);
    if (!t.tensor || !t.name) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) add_pair(&t, &p[i]);
    DART_GOTO(add_saved(e, &t, owned));
    DART_GOTO(dart_safetensors_pack(t.tensor, t.count, &data, &size));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", e->options->out);
    status = dart_file_write_atomic(path, data, size);
    e->out->bytes += size;
done:
    free(data);
    free(owned[0]);
    free(owned[1]);
    free(t.tensor);
    free(t.name);
    return status;
}

dart_status dart_export_peft(const dart_exporting *e)
{
    dart_export_pair *p;
    uint32_t count;
    DART_TRY(dart_export_pairs(e, true, &p, &count));
    dart_status status = write_tensors(e, p, count);
    if (status == DART_OK) status = write_config(e, p, count);
    dart_export_pairs_free(p, count);
    return status;
}
