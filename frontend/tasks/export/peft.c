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
    strings(body, "task_type", "CAUSAL_LM", &status);
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
    dart_json_set(body, "modules_to_save", json_null(), &status);
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

static dart_status write_tensors(const dart_exporting *e, const dart_export_pair *p, uint32_t count)
{
    dart_status status = DART_OK;
    char path[4096], *data = NULL;
    size_t size;
    dart_st_write *tensor = dart_calloc(3ull * count, sizeof *tensor);
    char(*name)[224] = dart_calloc(3ull * count, sizeof *name);
    uint64_t tensors = 0;
    if (!tensor || !name) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct {
            const char *name;
            int axes;
            uint64_t rows, columns;
            const float *data;
        } parts[] = {{"lora_A.weight", 2, p[i].rank, p[i].in, p[i].a},
            {"lora_B.weight", 2, p[i].out, p[i].rank, p[i].b},
            {"lora_magnitude_vector", 1, p[i].out, 0, p[i].lengths}};
        for (int k = 0; k < 3; k++) {
            if (!parts[k].data) continue;
            char *of = name[tensors];
            snprintf(of, sizeof *name, "base_model.model.%s.%s", p[i].module, parts[k].name);
            tensor[tensors++] = (dart_st_write){
                of, parts[k].axes, {parts[k].rows, parts[k].columns}, parts[k].data};
        }
    }
    DART_GOTO(dart_safetensors_pack(tensor, tensors, &data, &size));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", e->options->out);
    status = dart_file_write_atomic(path, data, size);
    e->out->bytes += size;
done:
    free(data);
    free(tensor);
    free(name);
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
