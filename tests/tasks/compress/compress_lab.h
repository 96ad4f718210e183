/* A small model of our own making (pretrained_lab.h), and compressing it. */
#ifndef DART_TEST_COMPRESS_LAB_H
#define DART_TEST_COMPRESS_LAB_H

#include "../train/pretrained_lab.h"
#include "compress.h"
#include "setup.h"

/* With a token for a blank, which GGUF files need. */
static inline int set_up_models(void **state)
{
    if (set_up_base(state)) return 1;
    write_pieces(tokenizer_path, (const char *const[]){" ", "a", " a"});
    return 0;
}

static inline dart_status compress(const char *from, const dart_compress_options *options,
    const dart_recipe *over, dart_compression **out)
{
    dart_compress_options o = *options;
    o.size = sizeof o;
    return dart_compress(from, over, &o, NULL, out);
}

/* The recipe that opens the base. */
static inline dart_recipe *opening(void)
{
    dart_recipe *over;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "tokenizer", tokenizer_path);
    set(over, "device", "cpu");
    set(over, "context", "16");
    set(over, "batch_size", "4");
    return over;
}

static inline dart_compression *compressed(const dart_compress_options *options)
{
    dart_compression *out;
    dart_recipe *over = opening();
    if (compress(base_path, options, over, &out) != DART_OK)
        fail_msg("%s, ranks %s: %s", options->method,
            options->ranks ? options->ranks : "by default", dart_error_text());
    dart_recipe_free(over);
    return out;
}

static inline void opened(const char *path, const dart_recipe *over, dart_bundle *out)
{
    if (dart_bundle_open(path, over, (dart_note){0}, out) != DART_OK)
        fail_msg("%s: %s", path, dart_error_text());
}

/* Weight w of a bundle; caller frees. */
static inline float *matrix(const dart_bundle *b, uint32_t w)
{
    float *out;
    assert_int_equal(dart_bundle_matrix(b, w, &out), DART_OK);
    return out;
}

static const char *const methods[] = {"svd", "tt", "ttm"};

#endif
