/* Adapters as LoRA pairs. What is a tensor train with its output digits first is a pair exactly,
 * cut at the bond between both sides; anything else is as near to one as its rank allows, and the
 * error is told. */
#include "export.h"
#include "lapack.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Singular values below this part of the largest are rounding. */
static const double ROUNDING = 1e-7;

/* The update that training made, W - base, through its singular values. */
static dart_status decompose(
    const dart_exporting *e, const dart_model_weight *weight, dart_export_pair *p)
{
    const uint32_t m = weight->weight.out, n = weight->weight.in, most = m < n ? m : n;
    const size_t words = (size_t)m * n;
    dart_status status = DART_OK;
    float *merged = NULL, *kept = NULL, *base = dart_calloc(words, sizeof *base);
    double *update = dart_calloc(words, sizeof *update), *s = dart_calloc(most, sizeof *s);
    double *u = dart_calloc((size_t)m * most, sizeof *u);
    double *vt = dart_calloc((size_t)most * n, sizeof *vt), all = 0, left = 0;
    if (!base || !update || !s || !u || !vt) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_export_weight(e, p->weight, &merged));
    DART_GOTO(dart_pretrained_read(e->base, weight->weight.name, 0, m, base));
    /* What packing rounded is no part of the update where the matrix was kept as it is. */
    if (dart_model_packed(e->bundle->model, p->weight) && !weight->layout.takes_apart)
        DART_GOTO(dart_base_unpack(e->bundle->model, p->weight, e->bundle->frozen, &kept));
    for (size_t i = 0; i < words; i++) update[i] = (double)merged[i] - (kept ? kept : base)[i];
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
    free(kept);
    free(base);
    free(update);
    free(s);
    free(u);
    free(vt);
    return status;
}

static dart_status make_pair(const dart_exporting *e, uint32_t w, dart_export_pair *out)
{
    const dart_bundle *b = e->bundle;
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2];
    *out = (dart_export_pair){.weight = w, .out = weight->weight.out, .in = weight->weight.in};
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
    dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
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
            "--format hf or gguf",
            e->from);
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        const bool core = param->weight >= 0 && model->weight[param->weight].layout.chain_cores > 0;
        if (param->region == DART_REGION_PARAM && !param->gate && !core)
            return dart_fail(DART_INPUT,
                "%s was trained too, which a LoRA adapter cannot hold; use --format hf or gguf",
                param->name);
    }
    if (model->weight[model->embedding].layout.chain_cores)
        return dart_fail(DART_INPUT, "the token embedding has an adapter, which is not exported as "
                                     "LoRA; use --format hf or gguf");
    return DART_OK;
}

/* GPT-2 has one module for queries, keys and values: its pair has the rows of A below each other,
 * and B in the parts of its outputs. */
static dart_status fuse(dart_export_pair *p, uint32_t *count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0, end; i < *count; i = end) {
        dart_export_pair whole = p[i];
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
    for (uint32_t i = kept; i < *count; i++) p[i] = (dart_export_pair){0};
    *count = kept;
    return DART_OK;
}

dart_status dart_export_pairs(const dart_exporting *e, dart_export_pair **out, uint32_t *out_count)
{
    const dart_model *model = e->bundle->model;
    uint32_t count = 0;
    dart_status status = DART_OK;
    *out = NULL;
    *out_count = 0;
    DART_TRY(check(e));
    dart_export_pair *p = dart_calloc(model->weights, sizeof *p);
    if (!p) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        if (!model->weight[w].layout.chain_cores) continue;
        DART_GOTO(make_pair(e, w, &p[count++]));
        if (p[count - 1].error > e->out->error) e->out->error = p[count - 1].error;
    }
    if (!count)
        DART_GOTO(dart_fail(DART_INPUT, "%s has no adapters; use --format hf or gguf", e->from));
    DART_GOTO(fuse(p, &count));
    for (uint32_t i = 0; i < count; i++)
        e->out->parameters += (uint64_t)p[i].rank * (p[i].in + p[i].out);
    *out = p;
    *out_count = count;
    p = NULL;
done:
    if (p) dart_export_pairs_free(p, model->weights);
    return status;
}

void dart_export_pairs_free(dart_export_pair *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(p[i].b);
        free(p[i].a);
    }
    free(p);
}
