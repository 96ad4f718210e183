/* Hugging Face folders: the input is config.json, a zero byte, model.safetensors. What opens as a
 * model can be read. */
#include "fuzz.h"
#include "pretrained.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_pretrained *model;
    uint32_t count;
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t text = zero ? (size_t)(zero - data) : size;
    fuzz_file("config.json", data, text);
    fuzz_file("model.safetensors", zero ? zero + 1 : data, zero ? size - text - 1 : 0);
    if (!fuzz_read(dart_pretrained_open(fuzz_folder(), &model))) return 0;
    const dart_pretrained_tensor *tensor = dart_pretrained_tensors(model, &count);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t n = tensor[i].rows * tensor[i].columns;
        float *x = malloc((size_t)n * sizeof *x);
        fuzz_need(x && n <= size, "a tensor has more numbers than the file can hold");
        fuzz_need(dart_pretrained_read(model, tensor[i].name, 0, tensor[i].rows, x) == DART_OK,
            "a tensor that was taken cannot be read");
        free(x);
    }
    dart_pretrained_close(model);
    return 0;
}
