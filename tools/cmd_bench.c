/* bench: the backends side by side. */
#include "cli.h"

static const dart_option options[] = {
    {"device", "devices", "string", "all", "", "comma list (cpu,vulkan:0,...) or all"},
    {"test", "tests", "string", "step,gemm,infer", "", "comma list of step, gemm, infer"},
    {"repeats", "", "int", "5", "", "measured runs after the warm-up (-r)"},
    {"format", "", "md|json", "md", "", "output"},
    {"reference", "", "bool", "true", "",
        "compare with cpu also where it is not among the devices"},
    {"profile", "", "bool", "false", "", "step and infer: also the time of each kernel"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    uint64_t repeats;
    DART_TRY(cli_uint(cli, "repeats", 1, 1000, &repeats));
    dart_bench_options how = {.devices = cli_text(cli, "device"),
        .tests = cli_text(cli, "test"),
        .format = cli_text(cli, "format"),
        .repeats = (uint32_t)repeats,
        .reference = cli_flag(cli, "reference"),
        .profile = cli_flag(cli, "profile")};
    return dart_bench(cli->recipe, &how, stdout);
}

const cli_command cmd_bench = {.name = "bench",
    .summary = "measure training steps, matrix products and inference on the backends",
    .recipe = true,
    .own = options,
    .run = run};
