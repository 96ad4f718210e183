/* translate: sentences through a trained encoder-decoder, or a split of its data with BLEU. */
#include "cli.h"
#include <errno.h>
#include <string.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run directory or checkpoint directory"},
    {"input", "in", "string", "", "", "file with a sentence a line; empty: standard input"},
    {"split", "", "none|valid|test", "none", "",
        "translate the sources of this split of the run's data and score the result"},
    {"best", "nbest", "int", "1", "",
        "translations of each sentence; above 1: n ||| text ||| score"},
    {"words", "", "bool", "false", "", "words one space apart, as the model makes them, not text"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    const char *path = cli_text(cli, "model_path"), *input = cli_text(cli, "input");
    const char *split = cli_text(cli, "split");
    if (!path && cli->args) path = cli->arg[0];
    if (!path)
        return cli_fail(DART_USAGE, "translate needs --model-path, a run or checkpoint directory");
    dart_translate_options o = {.words = cli_flag(cli, "words")};
    uint64_t best;
    CLI_TRY(cli_uint(cli, "best", 1, 64, &best));
    o.best = (uint32_t)best;
    if (split && split[0] == 'v') o.split = DART_TRANSLATE_VALID;
    if (split && split[0] == 't') o.split = DART_TRANSLATE_TEST;
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    FILE *in = stdin;
    if (input && strcmp(input, "-") != 0) in = fopen(input, "r");
    if (!in) return cli_fail(DART_INPUT, "cannot open %s: %s", input, strerror(errno));
    dart_bleu bleu = {.size = sizeof bleu};
    dart_status status = dart_translate(path, cli->recipe, &hooks, &o, in, stdout, &bleu);
    if (in != stdin) fclose(in);
    cli_progress_end(&progress);
    if (status == DART_OK && bleu.sentences) cli_bleu(&bleu, stderr);
    return status;
}

const cli_command cmd_translate = {.name = "translate",
    .summary = "translate sentences with a trained encoder-decoder",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
