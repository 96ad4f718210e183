/* A small pretrained model of our own making in llama2.c's format, its tokenizer, and examples. */
#ifndef DART_PRETRAINED_LAB_H
#define DART_PRETRAINED_LAB_H

#include "small_run.h"

enum { LAB_DIM = 16, LAB_HIDDEN = 24, LAB_LAYERS = 2, LAB_HEADS = 2, LAB_KV = 1, LAB_CONTEXT = 64 };
enum { LAB_BYTES = 259, LAB_VOCAB = 262 }; /* <unk> <s> </s>, the bytes, some pieces */

static char base_path[64], tokenizer_path[64], examples_path[64];

/* Legacy llama2.c: 7 int32, then f32 in the order of the file (llama2.c export.py). */
static inline void write_base(const char *path, uint64_t seed)
{
    const int32_t head[7] = {
        LAB_DIM, LAB_HIDDEN, LAB_LAYERS, LAB_HEADS, LAB_KV, LAB_VOCAB, LAB_CONTEXT};
    const uint32_t kv = LAB_DIM / LAB_HEADS * LAB_KV, d = LAB_DIM, h = LAB_HIDDEN, l = LAB_LAYERS;
    const struct {
        uint32_t count;
        double mean, std;
    } part[] = {{LAB_VOCAB * d, 0, 0.3}, {l * d, 1, 0.1}, {l * d * d, 0, 0.25},
        {l * kv * d, 0, 0.25}, {l * kv * d, 0, 0.25}, {l * d * d, 0, 0.25}, {l * d, 1, 0.1},
        {l * h * d, 0, 0.25}, {l * d * h, 0, 0.25}, {l * h * d, 0, 0.25}, {d, 1, 0.1},
        {LAB_CONTEXT * d / LAB_HEADS, 0, 0}};
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(head, sizeof head, 1, f);
    for (size_t p = 0; p < sizeof part / sizeof *part; p++)
        for (uint32_t i = 0; i < part[p].count; i++) {
            const float value =
                (float)(part[p].mean + part[p].std * dart_normal(seed, DART_STREAM_TEST + p, i));
            fwrite(&value, sizeof value, 1, f);
        }
    assert_int_equal(fclose(f), 0);
}

/* llama2.c's format; `more`: the pieces behind the bytes. */
static inline void write_pieces(const char *path, const char *const more[LAB_VOCAB - LAB_BYTES])
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    const int32_t longest = 6;
    fwrite(&longest, sizeof longest, 1, f);
    for (int i = 0; i < LAB_VOCAB; i++) {
        char text[16];
        snprintf(text, sizeof text, "%s",
            i == 0           ? "<unk>"
            : i == 1         ? "\n<s>\n"
            : i == 2         ? "\n</s>\n"
            : i >= LAB_BYTES ? more[i - LAB_BYTES]
                             : "");
        if (i > 2 && i < LAB_BYTES) snprintf(text, sizeof text, "<0x%02X>", i - 3);
        const int32_t bytes = (int32_t)strlen(text);
        const float score = i < LAB_BYTES ? 0 : (float)-i;
        fwrite(&score, sizeof score, 1, f);
        fwrite(&bytes, sizeof bytes, 1, f);
        fwrite(text, 1, (size_t)bytes, f);
    }
    assert_int_equal(fclose(f), 0);
}

static inline void write_tokenizer(const char *path)
{
    write_pieces(path, (const char *const[]){"th", "he", " a"});
}

static inline void write_examples(const char *dir)
{
    static const char *const names[] = {"train", "valid", "test"};
    char path[128];
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    for (int n = 0; n < 3; n++) {
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, names[n]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (int i = 0; i < (n ? 5 : 30); i++)
            fprintf(f,
                i % 3 ? "{\"prompt\": \"n%d\", \"completion\": \" the %d\"}\n"
                      : "{\"text\": \"a%d the %d\"}\n",
                i % 7, i % 5);
        assert_int_equal(fclose(f), 0);
    }
}

static inline int set_up_base(void **state)
{
    if (set_up(state)) return 1;
    snprintf(base_path, sizeof base_path, "%s/base.bin", folder);
    snprintf(tokenizer_path, sizeof tokenizer_path, "%s/tokens.bin", folder);
    snprintf(examples_path, sizeof examples_path, "%s/examples", folder);
    write_base(base_path, 3);
    write_tokenizer(tokenizer_path);
    write_examples(examples_path);
    return 0;
}

/* Fine-tuning for 24 steps. method: "lora", "lora use_dora=true lora_init=pissa" */
static inline dart_recipe *tuning(const char *method, const char *device, const char *out)
{
    char words[128];
    snprintf(words, sizeof words, "%s", method);
    method = strtok(words, " ");
    const char *const keys[][2] = {{"base", base_path}, {"tokenizer", tokenizer_path},
        {"examples", examples_path}, {"linear", method}, {"device", device}, {"out", out},
        {"context", "16"}, {"batch_size", "4"}, {"rank", "3"}, {"max_steps", "24"}, {"lr", "1e-2"},
        {"warmup_steps", "2"}, {"save_steps", "10"}, {"spectra_steps", "5"}, {"eval_steps", "7"}};
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    for (char *key; (key = strtok(NULL, " =")) != NULL;) set(recipe, key, strtok(NULL, " "));
    return recipe;
}

#endif
