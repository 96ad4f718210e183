/* eval: perplexity of a trained model on the validation and test text. */
#include "cli.h"
#include <string.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run directory or checkpoint directory"},
    {"json", "", "bool", "false", "", "print the result as JSON"},
    {NULL},
};

static json_t *split_json(uint64_t tokens, double ppl, double nll, bool bits)
{
    json_t *out = json_pack("{s:I, s:o, s:o}", "tokens", (json_int_t)tokens, "perplexity",
        cli_json_real(ppl), "nll", cli_json_real(nll));
    if (out && bits && json_object_set_new(out, "bits", cli_json_real(cli_bits(ppl)))) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static dart_status run(cli_call *cli)
{
    const char *path = cli_text(cli, "model_path");
    if (!path && cli->args) path = cli->arg[0];
    if (!path)
        return cli_fail(DART_USAGE, "eval needs --model-path, a run or checkpoint directory");
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    dart_eval_result r = {.size = sizeof r};
    dart_llm *llm = NULL;
    dart_status status = cli_open(path, cli->recipe, &hooks, &llm);
    if (status == DART_OK) status = dart_llm_evaluate(llm, &hooks, &r);
    dart_llm_close(llm);
    cli_progress_end(&progress);
    CLI_TRY(status);
    const bool bits = cli_per_symbol(&r.protocol);
    if (cli_flag(cli, "json"))
        return cli_json(
            cli_json_join(cli_json_text(json_object(), "model", path),
                json_pack("{s:o, s:o, s:o, s:o}", "valid",
                    split_json(r.valid_tokens, r.valid_ppl, r.valid_nll, bits), "test",
                    split_json(r.test_tokens, r.test_ppl, r.test_nll, bits), "protocol",
                    cli_protocol_json(&r.protocol), "seconds", cli_json_real(r.seconds))),
            stdout);
    cli_table table = {0};
    const bool bytes = bits && !strcmp(r.protocol.unit, "byte");
    const char *heading[] = {
        "", "tokens", "nll", "perplexity", bytes ? "bits per byte" : "bits per character"};
    const uint32_t columns = bits ? 5 : 4;
    CLI_GOTO(cli_table_row(&table, columns, heading));
    for (int test = 0; test < 2; test++) {
        char tokens[64], nll[64], ppl[64], each[64];
        dart_count_text(tokens, test ? r.test_tokens : r.valid_tokens);
        cli_number(nll, test ? r.test_nll : r.valid_nll, 4);
        cli_number(ppl, test ? r.test_ppl : r.valid_ppl, 2);
        cli_number(each, cli_bits(test ? r.test_ppl : r.valid_ppl), 3);
        const char *cells[] = {test ? "test" : "valid", tokens, nll, ppl, each};
        CLI_GOTO(cli_table_row(&table, columns, cells));
    }
    cli_table_print(&table, stdout);
    cli_protocol(&r.protocol, stdout);
    printf("%.1f seconds\n", r.seconds);
done:
    cli_table_free(&table);
    return status;
}

const cli_command cmd_eval = {.name = "eval",
    .summary = "perplexity of a trained model on validation and test text",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
