/* GGUF files and llama2.c checkpoints: every byte that index and tensors claim lies inside the
 * file, and what opens as a model can be read. */
#include "fuzz.h"
#include "gguf.h"
#include "pretrained.h"

static uint32_t walk(const dart_gguf *file)
{
    uint64_t values, tensors;
    uint32_t sum = 0;
    const dart_gguf_value *value = dart_gguf_values(file, &values);
    for (uint64_t i = 0; i < values; i++) {
        float *floats;
        int32_t *whole;
        double number;
        uint64_t count;
        fuzz_need(dart_gguf_find(file, value[i].key) == &value[i], "a key is not found");
        (void)!dart_gguf_f64(file, value[i].key, 0, &number);
        if (dart_gguf_numbers_f32(file, value[i].key, &floats, &count) == DART_OK) free(floats);
        if (dart_gguf_numbers_i32(file, value[i].key, &whole, &count) == DART_OK) free(whole);
        for (uint64_t k = 0; value[i].text && k < value[i].count; k++)
            for (size_t n = 0; n < value[i].text[k].bytes; n++)
                sum += (uint8_t)value[i].text[k].text[n];
    }
    const dart_gguf_tensor *tensor = dart_gguf_tensors(file, &tensors);
    for (uint64_t i = 0; i < tensors; i++) {
        fuzz_need(
            dart_gguf_tensor_find(file, tensor[i].name) == &tensor[i], "a tensor is not found");
        for (uint64_t k = 0; k < tensor[i].bytes; k++) sum += tensor[i].data[k];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_gguf *file;
    dart_pretrained *model;
    uint32_t count;
    if (fuzz_read(dart_gguf_parse(data, size, "input", &file)))
        fuzz_need(walk(file) <= 255 * size, "values and tensors have more than the file's bytes");
    dart_gguf_close(file);
    if (!fuzz_read(dart_pretrained_open(fuzz_file("model", data, size), &model))) return 0;
    const dart_pretrained_tensor *tensor = dart_pretrained_tensors(model, &count);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t n = tensor[i].rows * tensor[i].columns;
        float *x = malloc((size_t)n * sizeof *x);
        fuzz_need(x && n <= 64 * size, "a tensor has more numbers than the file can hold");
        fuzz_need(dart_pretrained_read(model, tensor[i].name, 0, tensor[i].rows, x) == DART_OK,
            "a tensor that was taken cannot be read");
        free(x);
    }
    dart_pretrained_close(model);
    return 0;
}
