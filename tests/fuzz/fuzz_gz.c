/* Packed texts: whole, and block by block. */
#include "fuzz.h"
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("text.gz", data, size);
    char *whole = NULL;
    size_t bytes = 0;
    uint64_t lines, scanned = 0;
    dart_text text = {.size = UINT64_MAX, .what = path};
    const bool read = fuzz_read(dart_file_read(path, &whole, &bytes));
    const bool again = fuzz_read(dart_text_scan(&text, UINT64_MAX, UINT64_MAX, &lines, &scanned));
    fuzz_need(read == again && bytes == scanned, "two readers read another text");
    free(whole);
    return 0;
}
