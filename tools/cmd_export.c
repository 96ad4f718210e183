/* export: a model as files of other programs. */
#include "cli.h"
#include <inttypes.h>
#include <string.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run or checkpoint directory, or a pretrained model"},
    {"format", "", "peft|hf|gguf|gguf-lora", "peft", "",
        "peft: the adapters as LoRA pairs; hf: the whole model as a Hugging Face folder, merged; "
        "gguf-lora, gguf: the same as a file for llama.cpp"},
    {"dtype", "", "f32|f16|bf16|q8_0|q4_0", "", "",
        "hf, gguf: how matrices are stored, default f32; q8_0, q4_0: gguf alone"},
    {"base_name", "", "string", "", "",
        "peft: what the adapter calls its base, a name on the hub or a folder; default: its path"},
    {"max_rank", "", "int", "0", "",
        "peft, gguf-lora: largest rank of a pair that is only near to its adapter; 0: any"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    char out[1024], bytes[64], base[1024];
    const char *path = cli_model(cli, base, sizeof base);
    uint64_t rank;
    if (!path) return cli_fail(DART_USAGE, "export needs a model; see --help");
    CLI_TRY(cli_uint(cli, "max_rank", 0, 65536, &rank));
    CLI_TRY(dart_recipe_get(cli->recipe, "out", out, sizeof out));
    if (!*out) return cli_fail(DART_USAGE, "export needs --out, a folder to write");
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    const dart_export_options o = {.size = sizeof o,
        .format = cli_text(cli, "format"),
        .out = out,
        .base_name = cli_text(cli, "base_name"),
        .rank = (uint32_t)rank,
        .dtype = cli_text(cli, "dtype")};
    dart_export_result result = {.size = sizeof result};
    dart_status status = dart_export(path, cli->recipe, &o, &hooks, &result);
    cli_progress_end(&progress);
    if (status != DART_OK) return status;
    cli_bytes(bytes, result.bytes);
    printf("%s: %" PRIu64 " numbers, %s", out, result.parameters, bytes);
    if (result.error > 1e-5) printf(", largest relative error of an adapter %.2g", result.error);
    printf("\n");
    return DART_OK;
}

const cli_command cmd_export = {.name = "export",
    .summary = "write a model as files of other programs",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
