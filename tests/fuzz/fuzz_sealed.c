/* Heads of kernel caches: the input as a file, and sealed as our own. */
#include "fuzz.h"
#include "sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char kind[DART_SEALED_KIND] = "dartcl2";
    char *file;
    const void *inside;
    size_t bytes;
    if (fuzz_read(dart_sealed_read(fuzz_file("a", data, size), kind, &file, &inside, &bytes)))
        fuzz_need(bytes + 32 == size, "a sealed file has another size");
    free(file);
    fuzz_need(dart_sealed_write(fuzz_path("b"), kind, data, size) == DART_OK, "not written");
    fuzz_need(
        dart_sealed_read(fuzz_path("b"), kind, &file, &inside, &bytes) == DART_OK, "not read");
    fuzz_need(bytes == size && !memcmp(inside, data, size), "what was sealed is something else");
    free(file);
    return 0;
}
