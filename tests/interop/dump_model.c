/* What tests/interop/readers.py asks for.
 *
 *   dump_model model PATH      settings as lines "key value", an empty line, then each tensor: a
 * line "name rows columns source" and its numbers as f32 dump_model encode FORMAT   numbers (f32,
 * standard input) as blocks of a format (standard output) dump_model decode FORMAT   the other way
 * round
 */
#include "pretrained.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int say(dart_status status)
{
    if (status != DART_OK) fprintf(stderr, "%s\n", dart_error_text());
    return (int)status;
}

static void print_config(const dart_pretrained_config *c)
{
    const struct {
        const char *key;
        int64_t value;
    } whole[] = {{"layers", c->layers}, {"d_model", c->d_model}, {"heads", c->heads},
        {"kv_heads", c->kv_heads}, {"head_dim", c->head_dim}, {"d_ff", c->d_ff},
        {"vocab", c->vocab}, {"context", c->context}, {"rms_norm", c->rms_norm},
        {"post_norm", c->post_norm}, {"act", c->act}, {"first_position", c->first_position},
        {"tied", c->tied}, {"bias", c->bias}, {"qk_norm", c->qk_norm},
        {"sliding_window", c->sliding_window}, {"bos", c->bos}, {"token_types", c->token_types},
        {"pooler", c->pooler}, {"labels", c->labels}};
    printf("arch %s\n", dart_pretrained_arch_name(c->arch));
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        printf("%s %" PRId64 "\n", whole[i].key, whole[i].value);
    printf("norm_eps %.9g\nrope_base %.17g\nrope_scaling %d\n", c->norm_eps, c->rope.base,
        (int)c->rope.scaling);
    printf("rope_factor %.9g\nrope_low %.9g\nrope_high %.9g\nrope_original %u\nrope_factors",
        c->rope.factor, c->rope.low, c->rope.high, c->rope.original_context);
    for (uint32_t i = 0; c->rope.factors && i < c->head_dim / 2; i++)
        printf(" %.9g", (double)c->rope.factors[i]);
    printf("\neos");
    for (uint32_t i = 0; i < c->eos_count; i++) printf(" %d", c->eos[i]);
    printf("\n\n");
}

/* Some rows at a time, so that reading parts is tried too. */
static dart_status print_tensor(const dart_pretrained *model, const dart_pretrained_tensor *t)
{
    const uint64_t most = 13;
    dart_status status = DART_OK;
    float *rows = calloc(most * t->columns, sizeof *rows);
    if (!rows) return DART_MEMORY;
    printf("%s %" PRIu64 " %" PRIu64 " %s\n", t->name, t->rows, t->columns, t->source);
    for (uint64_t at = 0; at < t->rows && status == DART_OK; at += most) {
        const uint64_t count = t->rows - at < most ? t->rows - at : most;
        status = dart_pretrained_read(model, t->name, at, count, rows);
        if (status == DART_OK) fwrite(rows, sizeof *rows * t->columns, count, stdout);
    }
    free(rows);
    return status;
}

static int dump(const char *path)
{
    dart_pretrained *model;
    uint32_t count;
    dart_status status = dart_pretrained_open(path, &model);
    if (status != DART_OK) return say(status);
    print_config(dart_pretrained_config_of(model));
    const dart_pretrained_tensor *tensor = dart_pretrained_tensors(model, &count);
    for (uint32_t i = 0; i < count && status == DART_OK; i++)
        status = print_tensor(model, &tensor[i]);
    dart_pretrained_close(model);
    return say(status);
}

static int convert(const char *name, bool encode)
{
    const dart_block_format *format = NULL;
    for (int i = 0; i < DART_BLOCK_COUNT; i++)
        if (!strcmp(dart_block_format_of((dart_block_id)i)->name, name))
            format = dart_block_format_of((dart_block_id)i);
    if (!format) return 2;
    const size_t plain = 4 * (size_t)format->count, packed = format->bytes;
    char *in = calloc(1, plain + packed), *out = calloc(1, plain + packed);
    dart_status status = DART_OK;
    while (in && out && status == DART_OK && fread(in, encode ? plain : packed, 1, stdin) == 1) {
        status = encode ? dart_blocks_encode(format, (float *)(void *)in, format->count, name, out)
                        : dart_blocks_decode(format, in, format->count, name, (float *)(void *)out);
        if (status == DART_OK) fwrite(out, encode ? packed : plain, 1, stdout);
    }
    free(in);
    free(out);
    return say(status);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "model")) return dump(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "encode")) return convert(argv[2], true);
    if (argc == 3 && !strcmp(argv[1], "decode")) return convert(argv[2], false);
    fprintf(stderr, "usage: dump_model model PATH, dump_model encode|decode FORMAT\n");
    return 2;
}
