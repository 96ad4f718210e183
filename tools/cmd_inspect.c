/* inspect: what a recipe or a trained model becomes: graph, plan, ranks, memory, contraction paths.
 */
#include "cli.h"
#include <string.h>

static const dart_option options[] = {
    {"what", "", "summary|graph|plan|memory|ranks|paths", "summary", "",
        "what to print; summary is memory, ranks and paths"},
    {"model_path", "model", "string", "", "",
        "a run or checkpoint directory instead of a fresh model"},
    {"json", "", "bool", "false", "", "print as JSON"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    const char *what = cli_text(cli, "what"), *path = cli_text(cli, "model_path");
    static const char *const summary[] = {"memory", "ranks", "paths"};
    for (uint32_t i = 0; i < cli->args; i++) {
        bool known = strstr(options[0].type, cli->arg[i]) && !strchr(cli->arg[i], '|');
        if (known)
            what = cli->arg[i];
        else
            path = cli->arg[i];
    }
    bool json = cli_flag(cli, "json");
    if (strcmp(what, "summary") != 0 || json)
        return dart_inspect(
            cli->recipe, path, strcmp(what, "summary") ? what : "memory", json, cli_write, stdout);
    for (uint32_t i = 0; i < 3; i++) {
        if (i) putchar('\n');
        CLI_TRY(dart_inspect(cli->recipe, path, summary[i], false, cli_write, stdout));
    }
    return DART_OK;
}

const cli_command cmd_inspect = {.name = "inspect",
    .summary = "show graph, plan, memory, ranks and contraction paths",
    .arguments = "[WHAT] [MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
