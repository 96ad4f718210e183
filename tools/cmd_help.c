/* dart-llm help and dart-llm version. */
#include "cli.h"

static const dart_option help_options[] = {
    {"man", "", "bool", "false", "", "print the manual page (roff)"},
    {NULL},
};

static dart_status run_help(cli_call *cli)
{
    if (cli_flag(cli, "man")) {
        cli_man(cli->commands, stdout);
        return DART_OK;
    }
    if (cli->args == 0) {
        cli_help(cli->commands, stdout);
        return DART_OK;
    }
    const cli_command *command = cli_command_find(cli->commands, cli->arg[0]);
    if (!command) return cli_fail(DART_USAGE, "there is no command '%s' to explain", cli->arg[0]);
    cli_help_command(command, stdout);
    return DART_OK;
}

static dart_status run_version(cli_call *cli)
{
    (void)cli;
    printf("dart-llm %s (%s, %s)\n", dart_version(), DART_BUILD_TYPE, __VERSION__);
    return DART_OK;
}

const cli_command cmd_help = {.name = "help",
    .summary = "help for a command; --man prints the manual page",
    .arguments = "[COMMAND]",
    .own = help_options,
    .run = run_help};
const cli_command cmd_version = {
    .name = "version", .summary = "print the version", .run = run_version};
