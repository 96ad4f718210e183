/* eval: perplexity and next-token accuracy of a trained model on the validation and test text; of a
 * classifier, accuracy, F1 and Matthews correlation. */
#include "cli.h"
#include <string.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "", "run directory or checkpoint directory"},
    {"without_adapter", "", "bool", "false", "",
        "of a fine-tuned model: score its base alone too, on the same data"},
    {"json", "", "bool", "false", "", "print the result as JSON"},
    {NULL},
};

/* What one split came to. */
typedef struct split {
    const char *name;
    uint64_t tokens;
    double nll, ppl, top1, top5;
    const dart_class_scores *classes;
} split;

static split split_of(const dart_eval_result *r, bool test)
{
    if (test)
        return (split){
            "test", r->test_tokens, r->test_nll, r->test_ppl, r->test_top1, r->test_top5, &r->test};
    return (split){"valid", r->valid_tokens, r->valid_nll, r->valid_ppl, r->valid_top1,
        r->valid_top5, &r->valid};
}

static json_t *split_json(const split *s, bool bits)
{
    const dart_class_scores *classes = s->classes;
    json_t *out = json_pack("{s:I, s:o, s:o}", "tokens", (json_int_t)s->tokens, "perplexity",
        cli_json_real(s->ppl), "nll", cli_json_real(s->nll));
    if (classes->texts)
        out = cli_json_join(
            out, json_pack("{s:o, s:o, s:o}", "accuracy", cli_json_real(classes->accuracy), "f1",
                     cli_json_real(classes->f1), "matthews", cli_json_real(classes->matthews)));
    else
        out = cli_json_join(out, json_pack("{s:o, s:o}", "top1", cli_json_real(s->top1), "top5",
                                     cli_json_real(s->top5)));
    if (bits) out = cli_json_join(out, json_pack("{s:o}", "bits", cli_json_real(cli_bits(s->ppl))));
    return out;
}

static json_t *result_json(const dart_eval_result *r, bool bits)
{
    const split valid = split_of(r, false), test = split_of(r, true);
    return json_pack(
        "{s:o, s:o}", "valid", split_json(&valid, bits), "test", split_json(&test, bits));
}

static dart_status evaluate(const char *path, const dart_recipe *recipe, const dart_hooks *hooks,
    dart_llm **llm, dart_eval_result *out)
{
    *out = (dart_eval_result){.size = sizeof *out};
    CLI_TRY(cli_open(path, recipe, hooks, llm));
    return dart_llm_evaluate(*llm, hooks, out);
}

/* What the base is scored with: the data and the window of the model, and where the user wants it.
 */
static dart_status same_data(const dart_llm *llm, const dart_recipe *given, dart_recipe *out)
{
    for (uint32_t i = 0; dart_option_at(i); i++) {
        const dart_option *option = dart_option_at(i);
        char value[512] = "";
        if (!strcmp(option->section, "data") || !strcmp(option->key, "context"))
            CLI_TRY(dart_llm_config_value(llm, option->key, value, sizeof value));
        else if (!strcmp(option->section, "run") && dart_recipe_has(given, option->key))
            CLI_TRY(dart_recipe_get(given, option->key, value, sizeof value));
        if (*value) CLI_TRY(dart_recipe_set(out, option->key, value));
    }
    return DART_OK;
}

static dart_status without_adapter(
    const dart_llm *llm, const dart_recipe *given, const dart_hooks *hooks, dart_eval_result *out)
{
    char base[1024];
    dart_recipe *recipe = NULL;
    dart_llm *plain = NULL;
    dart_status status = dart_llm_config_value(llm, "base", base, sizeof base);
    if (status == DART_OK && !*base)
        status = cli_fail(DART_USAGE,
            "--without-adapter scores the base of a fine-tuned model, and this one has none");
    if (status == DART_OK) status = dart_recipe_new(&recipe);
    if (status == DART_OK) status = same_data(llm, given, recipe);
    if (status == DART_OK) status = evaluate(base, recipe, hooks, &plain, out);
    dart_llm_close(plain);
    dart_recipe_free(recipe);
    return status;
}

static dart_status print_json(
    const char *path, const dart_eval_result *r, const dart_eval_result *plain)
{
    const bool bits = cli_per_symbol(&r->protocol);
    json_t *out = cli_json_join(cli_json_text(json_object(), "model", path), result_json(r, bits));
    if (plain)
        out = cli_json_join(out, json_pack("{s:o}", "without_adapter", result_json(plain, bits)));
    return cli_json(
        cli_json_join(out, json_pack("{s:o, s:o}", "protocol", cli_protocol_json(&r->protocol),
                               "seconds", cli_json_real(r->seconds))),
        stdout);
}

/* The rows of one model. */
static dart_status add_rows(
    cli_table *table, uint32_t columns, const dart_eval_result *r, const char *of)
{
    for (int test = 0; test < 2; test++) {
        char tokens[64], nll[64], ppl[64], bits[64], name[64], figure[3][64];
        const split s = split_of(r, test);
        const bool classifies = s.classes->texts > 0;
        snprintf(name, sizeof name, "%s%s", s.name, of);
        dart_count_text(tokens, s.tokens);
        cli_number(nll, s.nll, 4);
        cli_number(ppl, s.ppl, 2);
        cli_number(figure[0], classifies ? s.classes->accuracy : s.top1, 4);
        cli_number(figure[1], classifies ? s.classes->f1 : s.top5, 4);
        cli_number(figure[2], s.classes->matthews, 4);
        cli_number(bits, cli_bits(s.ppl), 3);
        const char *cells[] = {
            name, tokens, nll, ppl, figure[0], figure[1], classifies ? figure[2] : bits};
        CLI_TRY(cli_table_row(table, columns, cells));
    }
    return DART_OK;
}

static dart_status print_table(const dart_eval_result *r, const dart_eval_result *plain)
{
    dart_status status;
    cli_table table = {0};
    const bool bits = cli_per_symbol(&r->protocol);
    const bool bytes = bits && !strcmp(r->protocol.unit, "byte");
    const bool classifies = r->test.texts > 0;
    const char *heading[] = {"", classifies ? "texts" : "tokens", "nll", "perplexity",
        classifies ? "accuracy" : "top-1", classifies ? "F1" : "top-5",
        classifies ? "Matthews"
        : bytes    ? "bits per byte"
                   : "bits per character"};
    const uint32_t columns = classifies || bits ? 7 : 6;
    CLI_GOTO(cli_table_row(&table, columns, heading));
    CLI_GOTO(add_rows(&table, columns, r, ""));
    if (plain) CLI_GOTO(add_rows(&table, columns, plain, ", without adapter"));
    cli_table_print(&table, stdout);
    cli_protocol(&r->protocol, stdout);
    printf("%.1f seconds\n", r->seconds + (plain ? plain->seconds : 0));
done:
    cli_table_free(&table);
    return status;
}

static dart_status run(cli_call *cli)
{
    char base[1024];
    const char *path = cli_model(cli, base, sizeof base);
    if (!path)
        return cli_fail(DART_USAGE, "eval needs --model-path, a run or checkpoint directory");
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    const bool both = cli_flag(cli, "without_adapter");
    dart_eval_result r, plain;
    dart_llm *llm = NULL;
    dart_status status = evaluate(path, cli->recipe, &hooks, &llm, &r);
    if (status == DART_OK && both) status = without_adapter(llm, cli->recipe, &hooks, &plain);
    dart_llm_close(llm);
    cli_progress_end(&progress);
    CLI_TRY(status);
    return cli_flag(cli, "json") ? print_json(path, &r, both ? &plain : NULL)
                                 : print_table(&r, both ? &plain : NULL);
}

const cli_command cmd_eval = {.name = "eval",
    .summary = "perplexity and accuracy of a trained model on validation and test text",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
