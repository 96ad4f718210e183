/* spectra.jsonl, through reports and exports. */
#include "logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_report("run/spectra.jsonl", data, size);
    return 0;
}
