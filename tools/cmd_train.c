/* train: runs a recipe's stages, or the same steps on several devices (--compare). */
#include "cli.h"

static const dart_option options[] = {
    {"json", "", "bool", "false", "", "print the result as JSON"},
    {"compare", "", "string", "", "",
        "run the same steps on these devices (cpu,vulkan:0,...) and compare"},
    {"bound", "", "float", "1e-3", "",
        "with --compare: largest relative difference of the final losses"},
    {NULL},
};

dart_status cli_train(cli_call *cli)
{
    cli_progress progress;
    cli_listen();
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    dart_result *result;
    dart_status status = dart_train(cli->recipe, &hooks, &result);
    cli_progress_end(&progress);
    if (status == DART_OK) status = cli_result(result, cli_flag(cli, "json"), stdout);
    dart_result_free(result);
    return status;
}

static dart_status run(cli_call *cli)
{
    const char *devices = cli_text(cli, "compare");
    double bound;
    CLI_TRY(cli_real(cli, "bound", 0, 1e9, &bound));
    if (devices) {
        cli_progress progress;
        cli_listen();
        dart_hooks hooks = cli_hooks(&progress, cli->quiet);
        dart_status status = dart_compare(
            cli->recipe, devices, bound, &hooks, cli_flag(cli, "json"), cli_write, stdout);
        cli_progress_end(&progress);
        return status;
    }
    return cli_train(cli);
}

const cli_command cmd_train = {.name = "train",
    .summary = "train a model through the stages of a recipe",
    .recipe = true,
    .own = options,
    .run = run};
