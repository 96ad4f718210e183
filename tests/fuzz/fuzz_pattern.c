/* Patterns of names: pattern, line end, name. */
#include "fuzz.h"
#include "pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *name = strchr(text, '\n');
    if (name) *name++ = 0;
    if (fuzz_read(dart_pattern_check(text))) (void)dart_pattern_match(text, name ? name : "");
    free(text);
    return 0;
}
