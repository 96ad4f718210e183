/* LoRA adapters of PEFT beside a small base: the input is adapter_config.json, a zero byte,
 * adapter_model.safetensors. What opens can be read, and is of the base's shapes. */
#include "adapter.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static dart_pretrained *base;
    dart_adapter *adapter;
    uint32_t count;
    bool root;
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t text = zero ? (size_t)(zero - data) : size;
    if (!base)
        fuzz_need(
            dart_pretrained_open(DART_SOURCE_DIR "/tests/core/store/peft/base", &base) == DART_OK,
            "no base");
    fuzz_file("adapter_config.json", data, text);
    fuzz_file("adapter_model.safetensors", zero ? zero + 1 : data, zero ? size - text - 1 : 0);
    if (!fuzz_read(dart_adapter_open(fuzz_folder(), base, &adapter))) return 0;
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
    dart_adapter_close(adapter);
    return 0;
}
