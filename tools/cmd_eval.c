/* eval: perplexity of a trained model on the validation and test text. */
#include "cli.h"

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run directory or checkpoint directory"},
    {"json", "", "bool", "false", "", "print the result as JSON"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    const char *path = cli_text(cli, "model_path");
    if (!path && cli->args) path = cli->arg[0];
    if (!path)
        return dart_fail(DART_USAGE, "eval needs --model-path, a run or checkpoint directory");
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    dart_eval_result r = {0};
    dart_status status = dart_eval(path, cli->recipe, &hooks, &r);
    cli_progress_end(&progress);
    DART_TRY(status);
    if (cli_flag(cli, "json"))
        return cli_json(
            json_pack("{s:s, s:{s:I, s:o, s:o}, s:{s:I, s:o, s:o}, s:o}", "model", path, "valid",
                "tokens", (json_int_t)r.valid_tokens, "perplexity", cli_json_real(r.valid_ppl),
                "nll", cli_json_real(r.valid_nll), "test", "tokens", (json_int_t)r.test_tokens,
                "perplexity", cli_json_real(r.test_ppl), "nll", cli_json_real(r.test_nll),
                "seconds", cli_json_real(r.seconds)),
            stdout);
    cli_table table = {0};
    DART_GOTO(cli_table_row(&table, 4, (const char *[]){"", "tokens", "nll", "perplexity"}));
    for (int test = 0; test < 2; test++) {
        char tokens[64], nll[64], ppl[64];
        cli_count(tokens, test ? r.test_tokens : r.valid_tokens);
        cli_number(nll, test ? r.test_nll : r.valid_nll, 4);
        cli_number(ppl, test ? r.test_ppl : r.valid_ppl, 2);
        const char *cells[] = {test ? "test" : "valid", tokens, nll, ppl};
        DART_GOTO(cli_table_row(&table, 4, cells));
    }
    cli_table_print(&table, stdout);
    printf("%.1f seconds\n", r.seconds);
done:
    cli_table_free(&table);
    return status;
}

const cli_command cmd_eval = {.name = "eval",
    .alias = "infer",
    .summary = "perplexity of a trained model on validation and test text",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
