/* Sweep files (YAML) and the runs that they name. */
#include "fuzz.h"
#include "sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char base[] = "model: {layers: 1, d_model: 8, heads: 2, context: 8}\n"
                               "data: {text: text.txt}\nstages: [{name: all, max_steps: 2}]\n";
    dart_sweep_grid sweep;
    fuzz_file("recipe.yaml", base, sizeof base - 1);
    const char *path = fuzz_file("sweep.yaml", data, size);
    if (fuzz_read(dart_sweep_read(path, &sweep)) && fuzz_read(dart_sweep_plan(&sweep)))
        for (uint32_t i = 0; i < sweep.runs; i++)
            fuzz_need(sweep.run[i].name[0] && !strchr(sweep.run[i].name, '/'), "a run's name");
    dart_sweep_close(&sweep);
    return 0;
}
