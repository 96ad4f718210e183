/* LoRA adapters of PEFT beside small bases, a decoder and encoders: the input is
 * adapter_config.json, a zero byte, adapter_model.safetensors. What opens can be read, and is of
 * the base's shapes. */
#include "adapter.h"
#include "fuzz.h"

enum { BASES = 3 };

static void split(const uint8_t *data, size_t size, const char *first, const char *second)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t text = zero ? (size_t)(zero - data) : size;
    fuzz_file(first, data, text);
    fuzz_file(second, zero ? zero + 1 : data, zero ? size - text - 1 : 0);
}

/* A model that the target `hf` begins with. */
static void open_seed(const char *name, dart_pretrained **out)
{
    char path[256], config[64], tensors[64], *data;
    size_t size;
    snprintf(path, sizeof path, DART_SOURCE_DIR "/tests/fuzz/corpus/hf/%s", name);
    fuzz_need(dart_file_read(path, &data, &size) == DART_OK, "no seed");
    fuzz_need(dart_mkdirs(fuzz_path(name)) == DART_OK, "no folder");
    snprintf(config, sizeof config, "%s/config.json", name);
    snprintf(tensors, sizeof tensors, "%s/model.safetensors", name);
    split((const uint8_t *)data, size, config, tensors);
    free(data);
    fuzz_need(dart_pretrained_open(fuzz_path(name), out) == DART_OK, "no base");
}

static void open_bases(dart_pretrained *base[BASES])
{
    if (base[0]) return;
    fuzz_need(
        dart_pretrained_open(DART_SOURCE_DIR "/tests/core/store/peft/base", &base[0]) == DART_OK,
        "no base");
    open_seed("bert", &base[1]);
    open_seed("roberta", &base[2]);
}

static void read_pairs(const dart_adapter *adapter, const dart_pretrained *base)
{
    uint32_t count;
    bool root;
    const dart_adapter_pair *pair = dart_adapter_pairs(adapter, &count);
    fuzz_need(count > 0 && dart_adapter_rank(adapter) > 0, "an adapter of nothing");
    fuzz_need(dart_adapter_alpha(adapter, &root) > 0, "no scale");
    for (uint32_t i = 0; i < count; i++) {
        const dart_pretrained_tensor *weight = dart_pretrained_find(base, pair[i].name);
        fuzz_need(weight && weight->rows == pair[i].out && weight->columns == pair[i].in,
            "an adapter that does not fit its weight");
        float *b = malloc(sizeof *b * pair[i].out * pair[i].rank);
        float *a = malloc(sizeof *a * pair[i].rank * pair[i].in);
        fuzz_need(b && a, "more numbers than the file can hold");
        (void)fuzz_read(dart_adapter_read(adapter, i, b, a));
        free(b);
        free(a);
    }
}

static void read_head(const dart_adapter *adapter, const dart_pretrained *base, size_t size)
{
    const dart_pretrained_config *c = dart_pretrained_config_of(base);
    const uint64_t labels = dart_adapter_labels(adapter), d = c->d_model;
    const bool pooler = dart_adapter_part_words(adapter, DART_ADAPTER_POOLER) > 0;
    const uint64_t words[DART_ADAPTER_PARTS] = {
        labels * d, c->post_norm ? labels : 0, pooler ? d * d : 0, pooler ? d : 0};
    fuzz_need(!labels || !c->labels || labels == c->labels, "labels that the base does not have");
    fuzz_need(labels || !pooler, "a pooler without a classifier");
    for (int i = 0; i < DART_ADAPTER_PARTS; i++) {
        const uint64_t n = dart_adapter_part_words(adapter, (dart_adapter_part)i);
        fuzz_need(n == words[i] && n <= size, "a head that does not fit its base, or its file");
        if (!n) continue;
        float *x = malloc(n * sizeof *x);
        fuzz_need(x != NULL, "no memory for a head");
        (void)fuzz_read(dart_adapter_read_part(adapter, (dart_adapter_part)i, x));
        free(x);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static dart_pretrained *base[BASES];
    open_bases(base);
    split(data, size, "adapter_config.json", "adapter_model.safetensors");
    for (int i = 0; i < BASES; i++) {
        dart_adapter *adapter;
        if (!fuzz_read(dart_adapter_open(fuzz_folder(), base[i], &adapter))) continue;
        read_pairs(adapter, base[i]);
        read_head(adapter, base[i], size);
        dart_adapter_close(adapter);
    }
    return 0;
}
