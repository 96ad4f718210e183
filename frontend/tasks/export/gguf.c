/* A whole model as a GGUF file of llama.cpp's: adapters merged, one matrix in memory at a time. */
#include "export.h"
#include "gguf_write.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is written at a place in the file. */
typedef struct piece {
    int weight, param; /* -1: not of this */
    uint32_t pairs;    /* of dart_export_gguf_row */
} piece;

typedef struct file {
    const dart_exporting *e;
    dart_pretrained_arch arch;
    const dart_block_format *format; /* of matrices */
    dart_gguf_entry *entry;
    char (*name)[64];
    piece *piece; /* [3 * entry]: the parts of its rows */
    size_t count, capacity;
    uint32_t coarse; /* matrices whose rows are no whole blocks */
    float *factors;  /* [head_dim / 2] of rotary positions; NULL: plain or linear */
} file;

/* ---- tensors ---- */

static dart_status add(file *f, const char *ours, const dart_block_format *format, uint32_t rank,
    uint64_t rows, uint64_t columns, piece p)
{
    char name[64];
    DART_TRY(dart_export_gguf_name(f->arch, ours, name));
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->name[i], name)) continue;
        /* queries, keys and values of GPT-2, in this order */
        for (int k = 1; k < 3; k++)
            if (f->piece[3 * i + (size_t)k].weight < 0 && f->piece[3 * i + (size_t)k].param < 0) {
                f->piece[3 * i + (size_t)k] = p;
                f->entry[i].dim[rank - 1] += rank == 1 ? columns : rows;
                return DART_OK;
            }
    }
    if (f->count == f->capacity) return dart_fail(DART_MEMORY, "more tensors than were counted");
    if (columns % format->count) {
        format = dart_block_format_of(DART_BLOCK_F16);
        f->coarse++;
    }
    const size_t at = f->count++;
    memcpy(f->name[at], name, sizeof name);
    f->entry[at] = (dart_gguf_entry){f->name[at], format, rank, {columns, rows}};
    f->piece[3 * at] = p;
    f->piece[3 * at + 1] = f->piece[3 * at + 2] = (piece){-1, -1, 0};
    return DART_OK;
}

/* Learned positions of the base behind those that the model was tuned with. */
static uint32_t more_positions(const file *f, int p)
{
    const dart_model *model = f->e->bundle->model;
    if (p != model->positions || !f->e->base) return 0;
    return dart_pretrained_config_of(f->e->base)->context - model->config.context;
}

static dart_status add_param(file *f, int p)
{
    if (p < 0) return DART_OK;
    const dart_param *param = &f->e->bundle->model->param[p];
    const uint32_t rank = param->shape.rank;
    return add(f, param->name, dart_block_format_of(DART_BLOCK_F32), rank,
        rank > 1 ? (uint64_t)param->shape.dim[0] + more_positions(f, p) : 1,
        (uint64_t)param->shape.dim[rank - 1],
        (piece){-1, p, dart_export_gguf_pairs(f->e, f->arch, param->name)});
}

static dart_status add_weight(file *f, int w)
{
    const dart_weight *weight = &f->e->bundle->model->weight[w].weight;
    return add(f, weight->name, f->format, 2, weight->out, weight->in,
        (piece){w, -1, dart_export_gguf_pairs(f->e, f->arch, weight->name)});
}

static dart_status add_factors(file *f)
{
    const dart_model_config *c = &f->e->bundle->model->config;
    const dart_rope_scaling *s = &c->positions.scaling;
    const uint32_t size = dart_head_dim(c), count = size / 2;
    if (c->positions.kind != DART_ROTARY || s->kind != DART_ROPE_LLAMA3) return DART_OK;
    f->factors = dart_calloc(count, sizeof *f->factors);
    if (!f->factors) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        const double wave = 2 * M_PI * pow(c->positions.base, 2.0 * i / size);
        const double smooth = (s->original_context / wave - s->low) / (s->high - s->low);
        f->factors[i] = wave < s->original_context / s->high ? 1
                        : wave > s->original_context / s->low
                            ? (float)s->factor
                            : (float)(1 / ((1 - smooth) / s->factor + smooth));
    }
    const size_t at = f->count++;
    snprintf(f->name[at], sizeof *f->name, "rope_freqs.weight");
    f->entry[at] = (dart_gguf_entry){f->name[at], dart_block_format_of(DART_BLOCK_F32), 1, {count}};
    for (size_t k = 0; k < 3; k++) f->piece[3 * at + k] = (piece){-1, -1, 0};
    return DART_OK;
}

static dart_status list_tensors(file *f)
{
    const dart_model *model = f->e->bundle->model;
    f->capacity = (size_t)model->weights + model->params + 1;
    f->entry = dart_calloc(f->capacity, sizeof *f->entry);
    f->name = dart_calloc(f->capacity, sizeof *f->name);
    f->piece = dart_calloc(3 * f->capacity, sizeof *f->piece);
    if (!f->entry || !f->name || !f->piece) return DART_MEMORY;
    DART_TRY(add_factors(f));
    for (uint32_t w = 0; w < model->weights; w++) DART_TRY(add_weight(f, (int)w));
    /* the order of parts, which that of the parameters need not be */
    for (uint32_t l = 0; l < model->config.layers; l++) {
        const dart_model_attention *a = &model->block[l].attn;
        const int bias[] = {a->q_bias, a->k_bias, a->v_bias};
        for (int i = 0; i < 3; i++) DART_TRY(add_param(f, bias[i]));
    }
    for (uint32_t p = 0; p < model->params; p++) {
        const char *name = model->param[p].name, *at = strstr(name, ".attn.");
        const bool done = at && strchr("qkv", at[6]) && !strcmp(at + 7, ".bias");
        if (model->param[p].weight < 0 && !model->param[p].gate && !done)
            DART_TRY(add_param(f, (int)p));
    }
    for (size_t i = 0; i < f->count; i++) {
        uint64_t numbers = f->entry[i].dim[0];
        if (f->entry[i].rank > 1) numbers *= f->entry[i].dim[1];
        f->e->out->parameters += numbers;
    }
    return DART_OK;
}

static dart_status append_rows(dart_gguf_stream *stream, const char *name, const float *data,
    uint64_t rows, uint64_t columns, uint32_t pairs)
{
    DART_TRY(dart_export_finite(name, data, rows * columns));
    if (!pairs) return dart_gguf_append(stream, data, rows * columns);
    for (uint64_t row = 0; row < rows; row++)
        DART_TRY(
            dart_gguf_append(stream, data + dart_export_gguf_row(pairs, row) * columns, columns));
    return DART_OK;
}

/* The rows of the base's learned positions from `first` on. */
static dart_status append_positions(
    const file *f, dart_gguf_stream *stream, uint32_t first, uint32_t rows, uint64_t columns)
{
    if (!rows) return DART_OK;
    float *data = dart_calloc((size_t)(rows * columns), sizeof *data);
    if (!data) return DART_MEMORY;
    dart_status status = dart_pretrained_read(f->e->base, "pos_emb.weight", first, rows, data);
    if (status == DART_OK) status = dart_gguf_append(stream, data, rows * columns);
    free(data);
    return status;
}

static dart_status append(const file *f, size_t i, dart_gguf_stream *stream)
{
    const dart_bundle *b = f->e->bundle;
    if (f->piece[3 * i].weight < 0 && f->piece[3 * i].param < 0)
        return dart_gguf_append(stream, f->factors, f->entry[i].dim[0]);
    for (size_t k = 3 * i; k < 3 * i + 3; k++) {
        const piece *p = &f->piece[k];
        if (p->weight >= 0) {
            const dart_weight *weight = &b->model->weight[p->weight].weight;
            float *matrix;
            DART_TRY(dart_bundle_matrix(f->e->bundle, (uint32_t)p->weight, &matrix));
            dart_status status =
                append_rows(stream, f->name[i], matrix, weight->out, weight->in, p->pairs);
            free(matrix);
            DART_TRY(status);
        } else if (p->param >= 0) {
            const dart_param *param = &b->model->param[p->param];
            const float *from = param->region == DART_REGION_FROZEN ? b->frozen : b->param;
            const uint64_t columns = param->shape.rank > 1 ? (uint64_t)param->shape.dim[1] : 1;
            DART_TRY(append_rows(stream, f->name[i], from + param->offset,
                (uint64_t)param->shape.dim[0], columns, p->pairs));
            DART_TRY(append_positions(
                f, stream, b->model->config.context, more_positions(f, p->param), columns));
        }
    }
    return DART_OK;
}

static dart_status write_file(const file *f, const dart_gguf_meta *meta)
{
    dart_gguf_stream *stream;
    char path[4096];
    uint64_t bytes;
    dart_status status = DART_OK;
    snprintf(path, sizeof path, "%s/model.gguf", f->e->options->out);
    DART_TRY(dart_gguf_begin(path, meta, f->entry, f->count, &stream));
    for (size_t i = 0; i < f->count; i++) DART_GOTO(append(f, i, stream));
    status = dart_gguf_end(stream, &bytes);
    stream = NULL;
    f->e->out->bytes += bytes;
done:
    dart_gguf_drop(stream);
    return status;
}

dart_status dart_export_gguf(const dart_exporting *e)
{
    file f = {.e = e};
    dart_gguf_meta meta = {0};
    dart_status status;
    DART_TRY(dart_export_arch(e, &f.arch));
    DART_TRY(dart_export_dtype(e, true, &f.format));
    DART_GOTO(dart_export_gguf_meta(e, f.arch, f.format, &meta));
    DART_GOTO(list_tensors(&f));
    if (f.coarse)
        dart_note_line(e->note,
            "%u matrices are kept as F16: their rows are no whole blocks of %u numbers", f.coarse,
            f.format->count);
    status = write_file(&f, &meta);
done:
    dart_gguf_meta_free(&meta);
    free(f.entry);
    free(f.name);
    free(f.piece);
    free(f.factors);
    return status;
}
