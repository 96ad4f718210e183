/* Adapters as LoRA pairs. What is a tensor train with its output digits first is a pair exactly,
 * cut at the bond between both sides, and so is a thin term; anything else is as near to one as its
 * rank allows, and the error is told. */
#include "export.h"
#include "lapack.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Singular values below this part of the largest are rounding. */
static const double ROUNDING = 1e-7;

/* What training made of the base, `trained` (out, in), as base + b a, through singular values.
 * kept: the base as packing left it; NULL: as it is in its file. */
static dart_status decompose(const dart_exporting *e, const dart_model_weight *weight,
    const float *trained, const float *kept, dart_export_pair *p)
{
    const uint32_t m = weight->weight.out, n = weight->weight.in, most = m < n ? m : n;
    const size_t words = (size_t)m * n;
    dart_status status = DART_OK;
    float *base = dart_calloc(words, sizeof *base);
    double *update = dart_calloc(words, sizeof *update), *s = dart_calloc(most, sizeof *s);
    double *u = dart_calloc((size_t)m * most, sizeof *u);
    double *vt = dart_calloc((size_t)most * n, sizeof *vt), all = 0, left = 0;
    if (!base || !update || !s || !u || !vt) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_pretrained_read(e->base, weight->weight.name, 0, m, base));
    /* What packing rounded is no part of the update where the matrix was kept as it is. */
    for (size_t i = 0; i < words; i++) update[i] = (double)trained[i] - (kept ? kept : base)[i];
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
    free(base);
    free(update);
    free(s);
    free(u);
    free(vt);
    return status;
}

static bool has_lengths(const dart_model_weight *weight)
{
    return dart_network_of(&weight->weight, &weight->layout).rescaled;
}

/* Euclidean lengths of the rows of a matrix. */
static void measure_rows(const float *matrix, uint32_t rows, uint32_t columns, float *out)
{
    for (uint32_t i = 0; i < rows; i++) {
        double power = 0;
        for (uint32_t j = 0; j < columns; j++)
            power += (double)matrix[(size_t)i * columns + j] * matrix[(size_t)i * columns + j];
        out[i] = (float)sqrt(power);
    }
}

/* b and a, so that base + b a is the weight; or, with lengths, the weight but for these. */
static dart_status fill_pair(const dart_exporting *e, bool lengths, dart_export_pair *p)
{
    const dart_bundle *b = e->bundle;
    const dart_model_weight *weight = &b->model->weight[p->weight];
    const dart_network net = dart_network_of(&weight->weight, &weight->layout);
    const size_t words = (size_t)p->out * p->in;
    float *tensor[DART_MAX_CORES + 2], *trained = NULL, *kept = NULL;
    dart_status status = DART_OK;
    dart_model_tensors(b->model, p->weight, b->param, b->frozen, NULL, tensor);
    /* Where adopting changed the frozen matrix, the pair is beside another one than the base. */
    if (!weight->layout.takes_apart && (lengths || !net.rescaled))
        DART_TRY(
            dart_method_pair(&weight->weight, &weight->layout, tensor, &p->rank, &p->b, &p->a));
    if (p->rank && !lengths) return DART_OK;
    if (lengths) p->lengths = dart_calloc(p->out, sizeof *p->lengths);
    trained = dart_calloc(words, sizeof *trained);
    if (!trained || (lengths && !p->lengths)) {
        status = DART_MEMORY;
        goto done;
    }
    if (dart_model_packed(b->model, p->weight))
        DART_GOTO(dart_base_unpack(b->model, p->weight, b->frozen, &kept));
    dart_model_tensors(b->model, p->weight, b->param, b->frozen, kept, tensor);
    DART_GOTO(lengths ? dart_method_sum(&weight->weight, &weight->layout, tensor, trained)
                      : dart_method_merge(&weight->weight, &weight->layout, tensor, trained));
    if (!p->rank)
        DART_GOTO(decompose(e, weight, trained, weight->layout.takes_apart ? NULL : kept, p));
    if (lengths && net.rescaled)
        memcpy(p->lengths, tensor[net.lengths], p->out * sizeof *p->lengths);
    else if (lengths)
        measure_rows(trained, p->out, p->in, p->lengths);
done:
    free(trained);
    free(kept);
    return status;
}

static dart_status make_pair(
    const dart_exporting *e, uint32_t w, bool lengths, dart_export_pair *out)
{
    const dart_model_weight *weight = &e->bundle->model->weight[w];
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
    return fill_pair(e, lengths, out);
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
        const bool core =
            param->weight >= 0 && dart_layout_reduced(&model->weight[param->weight].layout);
        const bool saved = param->weight >= 0 ? dart_export_saves_weight(e, (uint32_t)param->weight)
                                              : dart_export_saves_vector(e, p);
        if (param->region == DART_REGION_PARAM && !param->gate && !core && !saved)
            return dart_fail(DART_INPUT,
                "%s was trained too, which a LoRA adapter cannot hold; use --format hf or gguf",
                param->name);
    }
    if (dart_layout_reduced(&model->weight[model->embedding].layout))
        return dart_fail(DART_INPUT, "the token embedding has an adapter, which is not exported as "
                                     "LoRA; use --format hf or gguf");
    return DART_OK;
}

/* Lengths of all rows of a module whose parts p[0..count) have adapters: those of the others are
 * the base's. NULL where the parts have none. */
static dart_status fuse_lengths(
    const dart_exporting *e, const dart_export_pair *p, uint32_t count, float **out)
{
    const uint32_t rows = p->out, columns = p->in;
    char name[sizeof(dart_weight){0}.name];
    dart_status status = DART_OK;
    *out = NULL;
    if (!p->lengths) return DART_OK;
    float *base = dart_calloc((size_t)rows * columns, sizeof *base);
    *out = dart_calloc((size_t)p->parts * rows, sizeof **out);
    if (!base || !*out) status = DART_MEMORY;
    strcpy(name, e->bundle->model->weight[p->weight].weight.name);
    for (uint32_t part = 0; part < p->parts && status == DART_OK; part++) {
        uint32_t k = 0;
        while (k < count && p[k].part != part) k++;
        if (k < count) {
            memcpy(*out + (size_t)part * rows, p[k].lengths, rows * sizeof **out);
            continue;
        }
        name[strlen(name) - 1] = "qkv"[part];
        status = dart_pretrained_read(e->base, name, 0, rows, base);
        measure_rows(base, rows, columns, *out + (size_t)part * rows);
    }
    free(base);
    return status;
}

/* GPT-2 has one module for queries, keys and values: its pair has the rows of A below each other,
 * and B in the parts of its outputs. */
static dart_status fuse(const dart_exporting *e, dart_export_pair *p, uint32_t *count)
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
        const dart_status status = fuse_lengths(e, p + i, end - i, &whole.lengths);
        for (uint32_t k = i; k < end; k++) {
            free(p[k].lengths);
            p[k].lengths = NULL;
        }
        p[kept++] = whole;
        DART_TRY(status);
        if (!whole.a || !whole.b) return DART_MEMORY;
    }
    for (uint32_t i = kept; i < *count; i++) p[i] = (dart_export_pair){0};
    *count = kept;
    return DART_OK;
}

dart_status dart_export_pairs(
    const dart_exporting *e, bool lengths, dart_export_pair **out, uint32_t *out_count)
{
    const dart_model *model = e->bundle->model;
    uint32_t count = 0;
    bool any = false;
    dart_status status = DART_OK;
    *out = NULL;
    *out_count = 0;
    DART_TRY(check(e));
    dart_export_pair *p = dart_calloc(model->weights, sizeof *p);
    if (!p) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++)
        any |= has_lengths(&model->weight[w]) && !dart_export_saves_weight(e, w);
    for (uint32_t w = 0; w < model->weights; w++) {
        if (!dart_layout_reduced(&model->weight[w].layout) || dart_export_saves_weight(e, w))
            continue;
        DART_GOTO(make_pair(e, w, lengths && any, &p[count++]));
        if (p[count - 1].error > e->out->error) e->out->error = p[count - 1].error;
    }
    if (!count)
        DART_GOTO(dart_fail(DART_INPUT, "%s has no adapters; use --format hf or gguf", e->from));
    DART_GOTO(fuse(e, p, &count));
    for (uint32_t i = 0; i < count; i++)
        e->out->parameters +=
            (uint64_t)p[i].rank * (p[i].in + p[i].out) + (p[i].lengths ? p[i].out : 0);
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
        free(p[i].lengths);
    }
    free(p);
}
