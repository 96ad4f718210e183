/* bench: the backends side by side. */
#include "cli.h"

static const dart_option options[] = {
    {"device", "devices", "string", "all", "", "comma list (cpu,vulkan:0,...) or all"},
    {"test", "tests", "string", "step,gemm,infer", "",
        "comma list of step, gemm, eval (forward pass), infer (prompt and single tokens), pick "
        "(what a selection of ranks costs)"},
    {"repeats", "", "int", "5", "", "measured runs after the warm-up (-r)"},
    {"model_path", "model", "string", "", "",
        "step, eval, infer, pick: a trained run or checkpoint; else random weights"},
    {"prompt", "", "int", "512", "", "infer: tokens of the prompt, at most the context (-p)"},
    {"tokens", "n,n_gen", "int", "128", "",
        "infer: tokens made one by one, at most the context (-n)"},
    {"format", "", "md|json|csv", "md", "", "output"},
    {"reference", "", "bool", "true", "",
        "compare with cpu also where it is not among the devices"},
    {"profile", "", "bool", "false", "", "step and eval: also the time of each kernel"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    uint64_t repeats, prompt, tokens;
    CLI_TRY(cli_uint(cli, "repeats", 1, 1000, &repeats));
    CLI_TRY(cli_uint(cli, "prompt", 1, 1000000, &prompt));
    CLI_TRY(cli_uint(cli, "tokens", 1, 1000000, &tokens));
    dart_bench_options how = {.size = sizeof how,
        .devices = cli_text(cli, "device"),
        .tests = cli_text(cli, "test"),
        .format = cli_text(cli, "format"),
        .model_path = cli_text(cli, "model_path"),
        .prompt = (uint32_t)prompt,
        .tokens = (uint32_t)tokens,
        .repeats = (uint32_t)repeats,
        .reference = cli_flag(cli, "reference"),
        .profile = cli_flag(cli, "profile")};
    return dart_bench(cli->recipe, &how, cli_write, stdout);
}

const cli_command cmd_bench = {.name = "bench",
    .summary = "measure training steps, matrix products and inference on the backends",
    .recipe = true,
    .own = options,
    .run = run};
