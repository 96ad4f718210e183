/* A whole model as a Hugging Face folder: model.safetensors, config.json (config.c), its tokenizer.
 */
#include "export.h"
#include "file.h"
#include "safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct files { /* the tensors as they are collected */
    dart_st_write *tensor;
    char (*name)[176];
    float **owned; /* merged matrices */
    size_t count, capacity;
} files;

static dart_status add(files *f, const char *name, uint32_t rank, uint64_t rows, uint64_t columns,
    const float *data, float *owned)
{
    if (f->count == f->capacity) return dart_fail(DART_MEMORY, "more tensors than were counted");
    snprintf(f->name[f->count], sizeof *f->name, "%s", name);
    f->owned[f->count] = owned;
    f->tensor[f->count] = (dart_st_write){f->name[f->count], rank, {rows, columns}, data};
    f->count++;
    return DART_OK;
}

/* (rows, columns) to (columns, rows), with `all` columns from `first` on in the result: Conv1D. */
static void transpose(
    const float *from, uint64_t rows, uint64_t columns, uint64_t all, uint64_t first, float *to)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < columns; c++) to[c * all + first + r] = from[r * columns + c];
}

/* GPT-2's c_attn of a layer: matrix (d, 3 d) and bias (3 d) of its three parts. */
static dart_status add_fused(const dart_exporting *e, uint32_t layer, files *f)
{
    const dart_bundle *b = e->bundle;
    const dart_model_attention *a = &b->model->block[layer].attn;
    const int weight[] = {a->q, a->k, a->v}, bias[] = {a->q_bias, a->k_bias, a->v_bias};
    const uint64_t d = b->model->config.d_model;
    char name[176];
    float *whole = dart_calloc(3 * d * d, sizeof *whole),
          *biases = dart_calloc(3 * d, sizeof *biases);
    dart_status status = whole && biases ? DART_OK : DART_MEMORY;
    for (int i = 0; i < 3 && status == DART_OK; i++) {
        float *part = NULL;
        status = dart_bundle_matrix(e->bundle, (uint32_t)weight[i], &part);
        if (status != DART_OK) break;
        transpose(part, d, d, 3 * d, (uint64_t)i * d, whole);
        free(part);
        const dart_param *p = &b->model->param[bias[i]];
        memcpy(biases + (uint64_t)i * d,
            (p->region == DART_REGION_FROZEN ? b->frozen : b->param) + p->offset,
            d * sizeof *biases);
    }
    snprintf(name, sizeof name, "transformer.h.%u.attn.c_attn.weight", layer);
    if (status == DART_OK) status = add(f, name, 2, d, 3 * d, whole, whole);
    if (status == DART_OK) whole = NULL;
    snprintf(name, sizeof name, "transformer.h.%u.attn.c_attn.bias", layer);
    if (status == DART_OK) status = add(f, name, 1, 3 * d, 1, biases, biases);
    if (status == DART_OK) biases = NULL;
    free(whole);
    free(biases);
    return status;
}

static bool is_fused(bool gpt, const char *name)
{
    const char *at = strstr(name, ".attn.");
    return gpt && at && strchr("qkv", at[6]);
}

static dart_status add_weight(
    const dart_exporting *e, dart_pretrained_arch arch, uint32_t w, files *f)
{
    const dart_weight *weight = &e->bundle->model->weight[w].weight;
    const bool gpt = arch == DART_PRETRAINED_GPT2;
    const uint64_t rows = weight->out, columns = weight->in;
    char module[160], name[176];
    float *matrix = NULL;
    if (is_fused(gpt, weight->name)) return DART_OK;
    DART_TRY(dart_export_name(arch, weight->name, module));
    snprintf(name, sizeof name, "%s.weight", module);
    DART_TRY(dart_bundle_matrix(e->bundle, w, &matrix));
    if (!gpt || strncmp(weight->name, "blocks.", 7))
        return add(f, name, 2, rows, columns, matrix, matrix);
    float *turned = dart_calloc(rows * columns, sizeof *turned);
    if (turned) transpose(matrix, rows, columns, rows, 0, turned);
    free(matrix);
    return turned ? add(f, name, 2, columns, rows, turned, turned) : DART_MEMORY;
}

static dart_status add_vector(
    const dart_exporting *e, dart_pretrained_arch arch, const dart_param *p, files *f)
{
    const dart_bundle *b = e->bundle;
    char name[160];
    const float *data = (p->region == DART_REGION_FROZEN ? b->frozen : b->param) + p->offset;
    if (is_fused(arch == DART_PRETRAINED_GPT2, p->name)) return DART_OK;
    DART_TRY(dart_export_name(arch, p->name, name));
    return add(f, name, p->shape.rank, p->shape.dim[0], p->shape.rank > 1 ? p->shape.dim[1] : 1,
        data, NULL);
}

/* Learned positions: all of the base's, with those that the model was tuned with
 * where texts have them. */
static dart_status add_positions(
    const dart_exporting *e, dart_pretrained_arch arch, const dart_param *p, files *f)
{
    const dart_bundle *b = e->bundle;
    const uint64_t rows = dart_export_positions(e), columns = p->shape.dim[1];
    const uint64_t first = dart_pretrained_config_of(e->base)->first_position;
    const float *own = (p->region == DART_REGION_FROZEN ? b->frozen : b->param) + p->offset;
    char name[160];
    DART_TRY(dart_export_name(arch, p->name, name));
    float *all = dart_calloc(rows * columns, sizeof *all);
    if (!all) return DART_MEMORY;
    dart_status status = dart_pretrained_read(e->base, p->name, 0, rows, all);
    memcpy(all + first * columns, own, p->shape.dim[0] * columns * sizeof *all);
    if (status == DART_OK) status = add(f, name, 2, rows, columns, all, all);
    if (status != DART_OK) free(all);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const dart_st_write *)a)->name, ((const dart_st_write *)b)->name);
}

static dart_status write_tensors(const dart_exporting *e, files *f)
{
    const dart_block_format *format;
    dart_st_stream *stream = NULL;
    dart_status status = DART_OK;
    char path[4096];
    DART_TRY(dart_export_dtype(e, false, &format));
    dart_st_entry *entry = dart_calloc(f->count + 1, sizeof *entry);
    if (!entry) return DART_MEMORY;
    const dart_st_type type = format->id == DART_BLOCK_F16    ? DART_ST_F16
                              : format->id == DART_BLOCK_BF16 ? DART_ST_BF16
                                                              : DART_ST_F32;
    qsort(f->tensor, f->count, sizeof *f->tensor, by_name);
    for (size_t i = 0; i < f->count; i++) {
        const dart_st_write *t = &f->tensor[i];
        entry[i] = (dart_st_entry){t->name, t->rank > 1 ? type : DART_ST_F32, t->rank, {0}};
        memcpy(entry[i].dim, t->dim, sizeof entry[i].dim);
        e->out->bytes += (t->rank > 1 ? format->bytes : 4) * t->dim[0] * t->dim[1];
    }
    snprintf(path, sizeof path, "%s/model.safetensors", e->options->out);
    DART_GOTO(dart_safetensors_begin(path, entry, f->count, &stream));
    for (size_t i = 0; i < f->count; i++) {
        const dart_st_write *t = &f->tensor[i];
        DART_GOTO(dart_export_finite(t->name, t->data, t->dim[0] * t->dim[1]));
        DART_GOTO(dart_safetensors_append(stream, t->data, t->dim[0] * t->dim[1]));
    }
    status = dart_safetensors_end(stream);
    stream = NULL;
done:
    dart_safetensors_drop(stream);
    free(entry);
    return status;
}

static dart_status write_model(const dart_exporting *e, dart_pretrained_arch arch)
{
    const dart_model *model = e->bundle->model;
    dart_status status = DART_OK;
    files f = {.capacity = (size_t)model->weights + model->params + 2ull * model->config.layers};
    f.tensor = dart_calloc(f.capacity, sizeof *f.tensor);
    f.name = dart_calloc(f.capacity, sizeof *f.name);
    f.owned = dart_calloc(f.capacity, sizeof *f.owned);
    if (!f.tensor || !f.name || !f.owned) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t w = 0; w < model->weights; w++) DART_GOTO(add_weight(e, arch, w, &f));
    for (uint32_t p = 0; p < model->params; p++)
        if (model->param[p].weight < 0 && !model->param[p].gate)
            DART_GOTO((int)p == model->positions && dart_export_positions(e) > model->config.context
                          ? add_positions(e, arch, &model->param[p], &f)
                          : add_vector(e, arch, &model->param[p], &f));
    for (uint32_t l = 0; arch == DART_PRETRAINED_GPT2 && l < model->config.layers; l++)
        DART_GOTO(add_fused(e, l, &f));
    for (size_t i = 0; i < f.count; i++)
        e->out->parameters += f.tensor[i].dim[0] * f.tensor[i].dim[1];
    status = write_tensors(e, &f);
done:
    for (size_t i = 0; f.owned && i < f.count; i++) free(f.owned[i]);
    free(f.tensor);
    free(f.name);
    free(f.owned);
    return status;
}

dart_status dart_export_hf(const dart_exporting *e)
{
    dart_pretrained_arch arch;
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(e->bundle->vocab);
    DART_TRY(dart_export_arch(e, &arch));
    DART_TRY(write_model(e, arch));
    DART_TRY(dart_export_config(e, arch));
    if (tokenizer) return dart_tokenizer_save(tokenizer, e->options->out);
    dart_note_line(e->note,
        "the model's tokens are no tokenizer of Hugging Face's: config.json and model.safetensors "
        "are written, and no tokenizer.json");
    return DART_OK;
}
