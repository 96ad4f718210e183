/* generate: continues a prompt. */
#include "cli.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run directory or checkpoint directory"},
    {"prompt", "", "string", "", "", "text to continue; empty: from the start of a sentence"},
    {"input", "in,file", "string", "", "",
        "answer each line of this file by a line; .jsonl: objects with prompt or messages, as for "
        "training (their own answers are left out)"},
    {"tokens", "n,n_predict,max_new_tokens", "int", "64", "", "how many tokens to make"},
    CLI_SAMPLING,
    {"overflow", "", "slide|shift|stop", "slide", "",
        "when the context is full: read the newest tokens again for each new one; read the newest "
        "half again, then go on; or end"},
    {"json", "", "bool", "false", "",
        "print prompt and text as JSON; with --input an object a line"},
    {NULL},
};

static double rate(uint64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : NAN;
}

/* To stderr: the text alone is the output. */
static void print_speed(const dart_generate_speed *s, uint64_t resident)
{
    char prompt[64], made[64], bytes[64];
    if (!s->tokens) return;
    cli_number(prompt, rate(s->prompt_tokens, s->prompt_seconds), 0);
    cli_number(made, rate(s->tokens - 1, s->seconds), 0);
    cli_bytes(bytes, resident);
    fprintf(stderr,
        "prompt: %" PRIu64 " tokens, %s tokens/s; made: %" PRIu64
        " tokens, %s tokens/s; %s on the device\n",
        s->prompt_tokens, prompt, s->tokens, made, bytes);
}

static dart_status print_json(const char *path, const char *prompt, const char *text,
    const dart_generate_speed *s, uint64_t resident)
{
    json_t *out = cli_json_text(json_object(), "model", path);
    out = cli_json_text(cli_json_text(out, "prompt", prompt), "text", text);
    return cli_json(cli_json_join(out, json_pack("{s:I, s:o, s:I, s:o, s:I}", "prompt_tokens",
                                           (json_int_t)s->prompt_tokens, "prompt_tokens_per_second",
                                           cli_json_real(rate(s->prompt_tokens, s->prompt_seconds)),
                                           "tokens", (json_int_t)s->tokens, "tokens_per_second",
                                           cli_json_real(rate(s->tokens - 1, s->seconds)),
                                           "resident_bytes", (json_int_t)resident)),
        stdout);
}

static dart_status run(cli_call *cli)
{
    char base[1024];
    const char *path = cli_model(cli, base, sizeof base), *prompt = cli_text(cli, "prompt");
    if (!path)
        return cli_fail(DART_USAGE, "generate needs --model-path, a run or checkpoint directory");
    dart_sampling sampling;
    cli_texts stops = {0};
    uint64_t tokens;
    CLI_TRY(cli_uint(cli, "tokens", 1, 1000000, &tokens));
    CLI_TRY(cli_sampling(cli, &sampling));
    dart_generate_options o = {.size = sizeof o,
        .prompt = prompt ? prompt : "",
        .tokens = (uint32_t)tokens,
        .echo = true,
        .sampling = &sampling,
        .overflow = cli_text(cli, "overflow"),
        .ignore_end = cli_flag(cli, "ignore_eos")};
    const bool json = cli_flag(cli, "json");
    const char *input = cli_text(cli, "input");
    if (input && prompt) return cli_fail(DART_USAGE, "give --prompt or --input, not both");
    dart_status status = DART_OK;
    dart_llm *llm = NULL;
    dart_context *context = NULL;
    dart_generate_speed speed = {.size = sizeof speed};
    cli_kept kept = {0};
    cli_progress progress;
    const dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    CLI_GOTO(cli_stops(cli, &stops));
    o.stop = stops.text;
    o.stops = stops.count;
    CLI_GOTO(cli_open_to_use(cli, path, &hooks, &llm));
    CLI_GOTO(dart_context_new(llm, NULL, &context));
    if (input) {
        o.echo = false;
        status = cli_answer(context, input, &o, json);
        goto done;
    }
    if (json)
        CLI_GOTO(dart_context_generate(context, &o, cli_keep, &kept, &speed));
    else
        CLI_GOTO(dart_context_generate(context, &o, cli_write, stdout, &speed));
    if (!json) putchar('\n');
    if (!json && !cli->quiet) print_speed(&speed, dart_context_bytes(context));
    if (json && cli_keep(&kept, "\n", 1)) status = DART_MEMORY;
    if (json && status == DART_OK)
        status = print_json(path, o.prompt, kept.text, &speed, dart_context_bytes(context));
done:
    if (kept.failed) status = DART_MEMORY;
    free(kept.text);
    cli_texts_free(&stops);
    dart_context_free(context);
    dart_llm_close(llm);
    return status;
}

const cli_command cmd_generate = {.name = "generate",
    .summary = "continue a prompt with a trained model",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
