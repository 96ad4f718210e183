/* Files of tensors: every byte of every tensor lies inside the file. */
#include "fuzz.h"
#include "safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_safetensors file;
    if (fuzz_read(dart_safetensors_parse(data, size, "input", &file))) {
        uint32_t sum = 0;
        for (uint64_t t = 0; t < file.count; t++) {
            const dart_st_tensor *tensor = &file.tensor[t];
            fuzz_need(dart_safetensors_find(&file, tensor->name) != NULL, "a tensor is not found");
            for (uint64_t i = 0; i < tensor->bytes; i++) sum += tensor->data[i];
        }
        fuzz_need(sum <= 255 * size, "tensors have more than the file's bytes");
    }
    dart_safetensors_close(&file);
    return 0;
}
