/* Adapters as llama.cpp loads them: pairs beside the tensors of a GGUF model.
 * github.com/ggml-org/llama.cpp, src/llama-adapter.cpp */
#include "export.h"
#include "gguf_write.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of B as the tensor's rows lie in GGUF; its numbers are multiplied. */
static dart_status turn(dart_export_pair *p, uint32_t pairs, float factor)
{
    const size_t words = (size_t)p->out * p->rank;
    float *b = dart_calloc(words, sizeof *b);
    if (!b) return DART_MEMORY;
    for (uint32_t row = 0; row < p->out; row++)
        for (uint32_t k = 0; k < p->rank; k++)
            b[(size_t)row * p->rank + k] =
                factor * p->b[dart_export_gguf_row(pairs, row) * p->rank + k];
    free(p->b);
    p->b = b;
    return DART_OK;
}

static dart_status describe(dart_pretrained_arch arch, float alpha, dart_gguf_meta *meta)
{
    DART_TRY(dart_gguf_put_string(meta, "general.architecture", dart_export_gguf_arch(arch)));
    DART_TRY(dart_gguf_put_string(meta, "general.type", "adapter"));
    DART_TRY(dart_gguf_put_u32(meta, "general.file_type", 0));
    DART_TRY(dart_gguf_put_string(meta, "adapter.type", "lora"));
    return dart_gguf_put_f32(meta, "adapter.lora.alpha", alpha);
}

static dart_status write_pairs(const dart_exporting *e, const dart_gguf_meta *meta,
    const dart_gguf_entry *entry, const dart_export_pair *p, uint32_t count)
{
    dart_gguf_stream *stream;
    char path[4096];
    uint64_t bytes;
    dart_status status = DART_OK;
    snprintf(path, sizeof path, "%s/adapter.gguf", e->options->out);
    DART_TRY(dart_gguf_begin(path, meta, entry, 2ull * count, &stream));
    for (uint32_t i = 0; i < count; i++) {
        DART_GOTO(dart_gguf_append(stream, p[i].a, (uint64_t)p[i].rank * p[i].in));
        DART_GOTO(dart_gguf_append(stream, p[i].b, (uint64_t)p[i].out * p[i].rank));
    }
    status = dart_gguf_end(stream, &bytes);
    stream = NULL;
    e->out->bytes += bytes;
done:
    dart_gguf_drop(stream);
    return status;
}

dart_status dart_export_gguf_lora(const dart_exporting *e)
{
    const dart_block_format *f32 = dart_block_format_of(DART_BLOCK_F32);
    dart_export_pair *p = NULL;
    uint32_t count = 0;
    dart_gguf_meta meta = {0};
    dart_gguf_entry *entry = NULL;
    char(*name)[80] = NULL;
    dart_status status;
    DART_TRY(dart_export_pairs(e, false, &p, &count));
    const dart_pretrained_arch arch = dart_pretrained_config_of(e->base)->arch;
    entry = dart_calloc(2ull * count, sizeof *entry);
    name = dart_calloc(2ull * count, sizeof *name);
    if (!entry || !name) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) {
        const char *ours = e->bundle->model->weight[p[i].weight].weight.name;
        char base[64];
        DART_GOTO(dart_export_gguf_name(arch, ours, base));
        /* alpha is the first pair's rank; the scale alpha / rank of the others goes into B */
        const float factor = p[i].rank == p[0].rank ? 1 : (float)p[i].rank / (float)p[0].rank;
        DART_GOTO(turn(&p[i], dart_export_gguf_pairs(e, arch, ours), factor));
        snprintf(name[2 * i], sizeof *name, "%s.lora_a", base);
        snprintf(name[2 * i + 1], sizeof *name, "%s.lora_b", base);
        entry[2 * i] = (dart_gguf_entry){name[2 * i], f32, 2, {p[i].in, p[i].rank}};
        entry[2 * i + 1] = (dart_gguf_entry){name[2 * i + 1], f32, 2, {p[i].rank, p[i].out}};
    }
    DART_GOTO(describe(arch, (float)p[0].rank, &meta));
    status = write_pairs(e, &meta, entry, p, count);
done:
    dart_gguf_meta_free(&meta);
    free(entry);
    free(name);
    dart_export_pairs_free(p, count);
    return status;
}
