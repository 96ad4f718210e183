/* bench: the backends side by side. */
#include "cli.h"

static const dart_option options[] = {
    {"device", "devices", "string", "all", "", "comma list (cpu,vulkan:0,...) or all"},
    {"test", "tests", "string", "step,gemm,infer", "", "comma list of step, gemm, infer"},
    {"repeats", "", "int", "5", "", "measured runs after the warm-up (-r)"},
    {"format", "", "md|json", "md", "", "output"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    uint64_t repeats;
    DART_TRY(cli_uint(cli, "repeats", 1, 1000, &repeats));
    return dart_bench(cli->recipe, cli_text(cli, "device"), cli_text(cli, "test"),
        (uint32_t)repeats, cli_text(cli, "format"), stdout);
}

const cli_command cmd_bench = {.name = "bench",
    .summary = "measure training steps, matrix products and inference on the backends",
    .recipe = true,
    .own = options,
    .run = run};
