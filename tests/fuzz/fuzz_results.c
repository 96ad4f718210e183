/* results.csv of a sweep, as its page is made of it. */
#include "fuzz.h"
#include "dart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_path("sweep"), *runs[] = {folder};
    if (!dart_file_exists(folder)) fuzz_need(dart_mkdirs(folder) == DART_OK, "no folder");
    fuzz_file("sweep/results.csv", data, size);
    (void)fuzz_read(dart_report(runs, 1, fuzz_path("page.html")));
    return 0;
}
