/* Adapters as PEFT reads them: LoRA pairs. What is a tensor train with its output digits first is a
 * pair exactly, cut at the bond between both sides; anything else is as near to one as its rank
 * allows, and the error is told. github.com/huggingface/peft,
 * docs/source/developer_guides/checkpoint.md */
#include "export.h"
#include "file.h"
#include "lapack.h"
#include "json.h"
#include "safetensors.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Singular values below this part of the largest are rounding. */
static const double ROUNDING = 1e-7;

typedef struct pair {
    uint32_t weight, rank, out, in;
    uint32_t part, parts; /* parts: the module's outputs are so many of the weight's; 0: one */
    float *b, *a;         /* owned (out, rank), (rank, in) */
    char module[160];     /* "model.layers.0.self_attn.q_proj" */
    double error;         /* relative, of what is not kept */
} pair;

/* The update that training made, W - base, through its singular values. */
static dart_status decompose(const dart_exporting *e, const dart_model_weight *weight, pair *p)
{
    const uint32_t m = weight->weight.out, n = weight->weight.in, most = m < n ? m : n;
    const size_t words = (size_t)m * n;
    dart_status status = DART_OK;
    float *merged = NULL, *base = dart_calloc(words, sizeof *base);
    double *update = dart_calloc(words, sizeof *update), *s = dart_calloc(most, sizeof *s);
    double *u = dart_calloc((size_t)m * most, sizeof *u);
    double *vt = dart_calloc((size_t)most * n, sizeof *vt), all = 0, left = 0;
    if (!base || !update || !s || !u || !vt) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_export_weight(e, p->weight, &merged));
    DART_GOTO(dart_pretrained_read(e->base, weight->weight.name, 0, m, base));
    for (size_t i = 0; i < words; i++) update[i] = (double)merged[i] - base[i];
    DART_GOTO(dart_lapack_svd(m, n, update, u, s, vt));
    while (p->rank < most && s[p->rank] > ROUNDING * s[0]) p->rank++;
    if (e->options->rank && p->rank > e->options->rank) p->rank = e->options->rank;
    if (!p->rank) p->rank = 1; /* of zeros */
    for (uint32_t k = 0; k < most; k++) {
        all += s[k] * s[k];
        left += k < p->rank ? 0 : s[k] * s[k];
    }
    p->error = all > 0 ? sqrt(left / all) : 0;
    p->b = dart_calloc((size_t)m * p->rank, sizeof *p->b);
    p->a = dart_calloc((size_t)p->rank * n, sizeof *p->a);
    if (!p->b || !p->a) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t k = 0; k < p->rank; k++) {
        const double root = sqrt(s[k]);
        for (uint32_t i = 0; i < m; i++)
            p->b[(size_t)i * p->rank + k] = (float)(root * u[(size_t)i * most + k]);
        for (uint32_t j = 0; j < n; j++)
            p->a[(size_t)k * n + j] = (float)(root * vt[(size_t)k * n + j]);
    }
done:
    free(merged);
    free(base);
    free(update);
    free(s);
    free(u);
    free(vt);
    return status;
}

static dart_status make_pair(const dart_exporting *e, uint32_t w, pair *out)
{
    const dart_bundle *b = e->bundle;
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2];
    *out = (pair){.weight = w, .out = weight->weight.out, .in = weight->weight.in};
    const bool gpt = dart_pretrained_config_of(e->base)->arch == DART_PRETRAINED_GPT2;
    const char *letter = strstr(weight->weight.name, ".attn.");
    const char *third = gpt && letter && letter[6] != 'o' ? strchr("qkv", letter[6]) : NULL;
    if (third) {
        out->part = letter[6] == 'q' ? 0 : letter[6] == 'k' ? 1 : 2;
        out->parts = 3;
        snprintf(out->module, sizeof out->module, "transformer.h.%s",
            weight->weight.name + strlen("blocks."));
        strcpy(strstr(out->module, ".attn.") + 6, "c_attn");
    } else {
        DART_TRY(dart_export_name(
            dart_pretrained_config_of(e->base)->arch, weight->weight.name, out->module));
    }
    dart_model_tensors(b->model, w, b->param, b->frozen, tensor);
    /* Where adopting changed the frozen matrix, the pair is beside another one than the base. */
    if (!weight->layout.takes_apart)
        DART_TRY(dart_method_pair(
            &weight->weight, &weight->layout, tensor, &out->rank, &out->b, &out->a));
    return out->rank ? DART_OK : decompose(e, weight, out);
}

/* Everything that training changed is in adapters. */
static dart_status check(const dart_exporting *e)
{
    const dart_model *model = e->bundle->model;
    if (!e->base)
        return dart_fail(DART_INPUT,
            "%s was trained from scratch: there is no base for an adapter to stand on; use "
            "--format "
            "hf",
            e->from);
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        const bool core = param->weight >= 0 && model->weight[param->weight].layout.chain_cores > 0;
        if (param->region == DART_REGION_PARAM && !param->gate && !core)
            return dart_fail(DART_INPUT,
                "%s was trained too, which a LoRA adapter cannot hold; use --format hf",
                param->name);
    }
    if (model->weight[model->embedding].layout.chain_cores)
        return dart_fail(DART_INPUT,
            "the token embedding has an adapter, which is not exported as LoRA; use --format hf");
    return DART_OK;
}

static void strings(json_t *object, const char *key, const char *value, dart_status *status)
{
    dart_json_set(object, key, json_string(value), status);
}

/* Names of the modules that have adapters, each once: "q_proj". */
static json_t *targets(const pair *p, uint32_t count, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        const char *name = strrchr(p[i].module, '.');
        bool seen = false;
        name = name ? name + 1 : p[i].module;
        for (size_t k = 0; k < json_array_size(list); k++)
            seen |= !strcmp(json_string_value(json_array_get(list, k)), name);
        if (!seen) dart_json_add(list, json_string(name), status);
    }
    return list;
}

/* alpha is each module's rank, so that the scale is 1. */
static dart_status write_config(const dart_exporting *e, const pair *p, uint32_t count)
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
    dart_json_set(body, "target_modules", targets(p, count, &status), &status);
    dart_json_set(body, "rank_pattern", ranks, &status);
    dart_json_set(body, "alpha_pattern", alphas, &status);
    strings(body, "bias", "none", &status);
    dart_json_set(body, "fan_in_fan_out",
        json_boolean(dart_pretrained_config_of(e->base)->arch == DART_PRETRAINED_GPT2), &status);
    dart_json_set(body, "inference_mode", json_true(), &status);
    dart_json_set(body, "init_lora_weights", json_true(), &status);
    dart_json_set(body, "use_rslora", json_false(), &status);
    dart_json_set(body, "use_dora", json_false(), &status);
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

static dart_status write_tensors(const dart_exporting *e, const pair *p, uint32_t count)
{
    dart_status status = DART_OK;
    char path[4096], *data = NULL;
    size_t size;
    dart_st_write *tensor = dart_calloc(2ull * count, sizeof *tensor);
    char(*name)[224] = dart_calloc(2ull * count, sizeof *name);
    if (!tensor || !name) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) {
        snprintf(name[2 * i], sizeof *name, "base_model.model.%s.lora_A.weight", p[i].module);
        snprintf(name[2 * i + 1], sizeof *name, "base_model.model.%s.lora_B.weight", p[i].module);
        tensor[2 * i] = (dart_st_write){name[2 * i], 2, {p[i].rank, p[i].in}, p[i].a};
        tensor[2 * i + 1] = (dart_st_write){name[2 * i + 1], 2, {p[i].out, p[i].rank}, p[i].b};
        e->out->parameters += (uint64_t)p[i].rank * (p[i].in + p[i].out);
    }
    DART_GOTO(dart_safetensors_pack(tensor, 2ull * count, &data, &size));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", e->options->out);
    status = dart_file_write_atomic(path, data, size);
    e->out->bytes += size;
done:
    free(data);
    free(tensor);
    free(name);
    return status;
}

/* GPT-2 has one module for queries, keys and values: its pair has the rows of A below each other,
 * and B in the parts of its outputs. */
static dart_status fuse(pair *p, uint32_t *count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0, end; i < *count; i = end) {
        pair whole = p[i];
        whole.rank = 0;
        for (end = i; end < *count && !strcmp(p[end].module, p[i].module); end++)
            whole.rank += p[end].rank;
        if (!p[i].parts) {
            p[kept++] = p[i];
            continue;
        }
        const uint32_t out = p[i].out, in = p[i].in;
        whole.out = p[i].parts * out;
        whole.b = dart_calloc((size_t)whole.out * whole.rank, sizeof *whole.b);
        whole.a = dart_calloc((size_t)whole.rank * in, sizeof *whole.a);
        for (uint32_t k = i, at = 0; k < end; at += p[k++].rank) {
            if (whole.a) memcpy(whole.a + (size_t)at * in, p[k].a, (size_t)p[k].rank * in * 4);
            for (uint32_t r = 0; whole.b && r < out; r++)
                memcpy(whole.b + ((size_t)p[k].part * out + r) * whole.rank + at,
                    p[k].b + (size_t)r * p[k].rank, p[k].rank * sizeof *whole.b);
            free(p[k].a);
            free(p[k].b);
            p[k].a = p[k].b = NULL;
        }
        p[kept++] = whole;
        if (!whole.a || !whole.b) return DART_MEMORY;
    }
    for (uint32_t i = kept; i < *count; i++) p[i] = (pair){0};
    *count = kept;
    return DART_OK;
}

dart_status dart_export_peft(const dart_exporting *e)
{
    const dart_model *model = e->bundle->model;
    uint32_t count = 0;
    dart_status status = DART_OK;
    DART_TRY(check(e));
    pair *p = dart_calloc(model->weights, sizeof *p);
    if (!p) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        if (!model->weight[w].layout.chain_cores) continue;
        DART_GOTO(make_pair(e, w, &p[count]));
        if (p[count].error > e->out->error) e->out->error = p[count].error;
        count++;
    }
    if (!count) DART_GOTO(dart_fail(DART_INPUT, "%s has no adapters; use --format hf", e->from));
    DART_GOTO(fuse(p, &count));
    DART_GOTO(write_tensors(e, p, count));
    status = write_config(e, p, count);
done:
    for (uint32_t i = 0; i < model->weights; i++) {
        free(p[i].b);
        free(p[i].a);
    }
    free(p);
    return status;
}
