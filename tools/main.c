/* dart-llm: finds the sub-command, parses its options, runs it, and turns a failure into one line
 * on stderr and the exit code of its status. */
#include "cli.h"
#include <string.h>

static const cli_command *const commands[] = {&cmd_train, &cmd_finetune, &cmd_compress, &cmd_export,
    &cmd_eval, &cmd_generate, &cmd_chat, &cmd_translate, &cmd_inspect, &cmd_report, &cmd_sweep,
    &cmd_devices, &cmd_bench, &cmd_kernels, &cmd_tune, &cmd_bleu, &cmd_tokenizer, &cmd_selftest,
    &cmd_completion, &cmd_version, &cmd_help, NULL};

static const char *command_name_at(const void *context, uint32_t index)
{
    (void)context;
    return commands[index] ? commands[index]->name : NULL;
}

static dart_status run(int argc, char **argv)
{
    if (argc < 2) {
        cli_help(commands, stderr);
        return cli_fail(DART_USAGE, "a command is missing; dart-llm help lists them");
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
    cli_call cli = {.command = cli_command_find(commands, name), .commands = commands};
    if (!cli.command) {
        const char *near = dart_nearest_name(name, command_name_at, NULL);
        return near ? cli_fail(DART_USAGE, "unknown command '%s'; did you mean '%s'?", name, near)
                    : cli_fail(DART_USAGE, "unknown command '%s'; dart-llm help lists them", name);
    }
    dart_status status = DART_OK;
    CLI_GOTO(cli_parse(&cli, argc - 2, argv + 2));
    if (cli.help) {
        cli_help_command(cli.command, stdout);
        goto done;
    }
    CLI_GOTO(cli.command->run(&cli));
done:
    dart_recipe_free(cli.recipe);
    return status;
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit then fails, and what it left is removed */
    dart_status status = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (status == DART_OK) status = cli_fail(DART_IO, "cannot write to standard output");
    }
    if (status != DART_OK) {
        const char *text = *cli_sentence() ? cli_sentence() : dart_last_error();
        fprintf(stderr, "dart-llm: %s\n", *text ? text : dart_status_text(status));
    }
    return (int)status;
}
