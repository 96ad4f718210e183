/* generate: continues a prompt. */
#include "cli.h"
#include <stdlib.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run directory or checkpoint directory"},
    {"prompt", "", "string", "", "", "text to continue; empty: from the start of a sentence"},
    {"tokens", "", "int", "64", "", "how many tokens to make"},
    {"temperature", "", "float", "0.8", "", "0 takes the likeliest token"},
    {"top_k", "", "int", "40", "", "among the k likeliest tokens; 0: all"},
    {"top_p", "", "float", "1", "", "among the likeliest tokens that sum to this probability"},
    {"seed", "", "int", "1", "", "same seed, same text"},
    {"json", "", "bool", "false", "", "print prompt and text as JSON"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    const char *path = cli_text(cli, "model_path"), *prompt = cli_text(cli, "prompt");
    if (!path && cli->args) path = cli->arg[0];
    if (!path)
        return dart_fail(DART_USAGE, "generate needs --model-path, a run or checkpoint directory");
    dart_generate_options o = {.prompt = prompt ? prompt : ""};
    uint64_t tokens, top_k;
    DART_TRY(cli_uint(cli, "tokens", 1, 1000000, &tokens));
    DART_TRY(cli_uint(cli, "top_k", 0, 1000000, &top_k));
    DART_TRY(cli_uint(cli, "seed", 0, UINT64_MAX, &o.seed));
    DART_TRY(cli_real(cli, "temperature", 0, 100, &o.temperature));
    DART_TRY(cli_real(cli, "top_p", 0, 1, &o.top_p));
    o.tokens = (uint32_t)tokens;
    o.top_k = (uint32_t)top_k;
    if (!cli_flag(cli, "json")) return dart_generate(path, cli->recipe, &o, stdout);
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory) return dart_fail(DART_MEMORY, "out of memory while making JSON");
    dart_status status = dart_generate(path, cli->recipe, &o, memory);
    fclose(memory);
    if (status == DART_OK)
        status = cli_json(
            json_pack("{s:s, s:s, s:s}", "model", path, "prompt", o.prompt, "text", text), stdout);
    free(text);
    return status;
}

const cli_command cmd_generate = {.name = "generate",
    .summary = "continue a prompt with a trained model",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
