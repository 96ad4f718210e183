/* finetune: trains on from a pretrained model. The recipe's keys, with other defaults where there
 * is a base; `method` is for the linear layers that `target_modules` names. */
#include "cli.h"
#include <string.h>
#include <unistd.h>

static const dart_option options[] = {
    {"json", "", "bool", "false", "", "print the result as JSON"},
    {"adaptive", "", "bool", "false", "",
        "let training find the ranks: warm up, shrink, pick, tune; --budget says how many numbers "
        "stay in the adapters; weights that learnt little lose theirs"},
    {"preset", "", "string", "", "",
        "a published configuration: tt-lora-roberta-base, tt-lora-llama-3.1-8b, "
        "tt-lora-llama-3.1-70b, tt-lora-llama-3.2-1b, loretta-rep-roberta-base, "
        "loretta-rep-llama-2-7b, loretta-adp-roberta-base, loretta-adp-llama-2-7b, qdota; flags "
        "override it"},
    {NULL},
};

static dart_status prefer(dart_recipe *recipe, const char *key, const char *value)
{
    return dart_recipe_has(recipe, key) ? DART_OK : dart_recipe_set(recipe, key, value);
}

/* Weights that learnt little are left as they were pretrained. */
static dart_status prefer_lost_weights(dart_recipe *recipe)
{
    char text[64];
    CLI_TRY(dart_recipe_get(recipe, "select", text, sizeof text));
    if (strcmp(text, "budget") != 0) return DART_OK;
    CLI_TRY(prefer(recipe, "budget_scale", "absolute"));
    CLI_TRY(dart_recipe_get(recipe, "budget_scale", text, sizeof text));
    return strcmp(text, "absolute") ? DART_OK : prefer(recipe, "budget_drop", "true");
}

/* Whether the base is a run of ours, which has its methods and ranks already. */
static bool is_run(const char *base)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/recipe.yaml", base);
    return access(path, F_OK) == 0;
}

static dart_status prepare(cli_call *cli)
{
    char base[1024], examples[1024], method[64], resume[16];
    dart_recipe *recipe = cli->recipe;
    CLI_TRY(dart_recipe_get(recipe, "resume", resume, sizeof resume));
    CLI_TRY(dart_recipe_get(recipe, "init_from", base, sizeof base));
    if (!*base) CLI_TRY(dart_recipe_get(recipe, "base", base, sizeof base));
    CLI_TRY(dart_recipe_get(recipe, "examples", examples, sizeof examples));
    CLI_TRY(dart_recipe_get(recipe, "linear", method, sizeof method));
    if (!*base && !strcmp(resume, "true")) return DART_OK; /* the run knows it by itself */
    if (!*base)
        return cli_fail(DART_USAGE,
            "finetune needs --base, a Hugging Face folder, a .gguf file, a .bin of llama2.c or a "
            "run of ours");
    if (!*examples && !dart_recipe_has(recipe, "text") && !dart_recipe_has(recipe, "dataset"))
        return cli_fail(DART_USAGE, "finetune needs --data, a .jsonl, .csv or .tsv file or a "
                                    "folder of them (or --text FILE, --dataset "
                                    "NAME)");
    if (!cli_flag(cli, "adaptive")) return DART_OK;
    if (is_run(base)) {
        CLI_TRY(prefer(recipe, "reg", "bond-nuclear"));
        return prefer(recipe, "select", "budget");
    }
    if (!strcmp(method, "dense") || !strcmp(method, "frozen"))
        return cli_fail(DART_USAGE,
            "--adaptive finds ranks, and the method %s has none; choose lora, tt-lora, loretta-rep "
            "or dota",
            method);
    CLI_TRY(prefer(recipe, "reg", "bond-nuclear"));
    CLI_TRY(prefer(recipe, "select", "budget"));
    CLI_TRY(prefer_lost_weights(recipe));
    /* What is cut is nothing pretrained then. */
    if (!strcmp(method, "dota")) CLI_TRY(prefer(recipe, "dota_init", "zero"));
    if (dart_recipe_has(recipe, "adapter")) return DART_OK; /* method and ranks are its own */
    /* Tensor trains have the smallest adapters to choose from: of rank 1, a sum of modes. */
    CLI_TRY(prefer(recipe, "linear", "tt-lora"));
    /* Twice the ranks that fine-tuning takes otherwise, to choose from. */
    return prefer(recipe, "rank", "16");
}

static dart_status run(cli_call *cli)
{
    const char *preset = cli_text(cli, "preset");
    if (preset) CLI_TRY(dart_recipe_preset(cli->recipe, preset));
    CLI_TRY(prepare(cli));
    return cli_train(cli);
}

const cli_command cmd_finetune = {.name = "finetune",
    .summary = "train a pretrained model on, with few trained numbers",
    .recipe = true,
    .own = options,
    .run = run};
