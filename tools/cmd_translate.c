/* translate: sentences through a trained encoder-decoder, or a split of its data with BLEU. */
#include "cli.h"
#include <inttypes.h>
#include <stdlib.h>
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

typedef struct printer {
    bool numbered;  /* n ||| text ||| score */
    uint64_t first; /* line of the call's first sentence */
} printer;

static int print_translation(
    void *user, size_t index, uint32_t rank, const char *text, double score)
{
    const printer *p = user;
    (void)rank;
    if (p->numbered)
        printf("%" PRIu64 " ||| %s ||| %.6f\n", p->first + index, text, score);
    else
        printf("%s\n", text);
    return ferror(stdout);
}

/* Translates the lines at hand and frees them. */
static dart_status flush(
    dart_context *context, printer *p, bool words, char **line, uint32_t *count, uint64_t *cut)
{
    uint64_t more = 0;
    const dart_translate_options o = {.size = sizeof o, .words = words, .first = p->first};
    dart_status status = dart_context_translate(
        context, (const char *const *)line, *count, &o, print_translation, p, &more);
    for (uint32_t i = 0; i < *count; i++) free(line[i]);
    p->first += *count;
    *count = 0;
    *cut += more;
    fflush(stdout);
    return status;
}

/* Line by line: a batch is translated when it is full or the input ends. */
static dart_status translate_lines(
    dart_context *context, cli_lines *in, bool words, bool numbered, uint64_t *cut)
{
    dart_status status = DART_OK;
    const uint32_t batch = dart_context_batch(context);
    printer p = {.numbered = numbered, .first = 1};
    char **line = calloc(batch, sizeof *line), *text;
    uint32_t count = 0;
    if (!line) return cli_fail(DART_MEMORY, "out of memory for lines");
    for (;;) {
        CLI_GOTO(cli_lines_next(in, &text));
        if (!text) break;
        line[count] = strdup(text);
        if (!line[count]) CLI_GOTO(cli_fail(DART_MEMORY, "out of memory: reading a line"));
        if (++count == batch) CLI_GOTO(flush(context, &p, words, line, &count, cut));
    }
    if (count) status = flush(context, &p, words, line, &count, cut);
done:
    for (uint32_t i = 0; i < count; i++) free(line[i]);
    free(line);
    return status;
}

static dart_status run(cli_call *cli)
{
    const char *path = cli_text(cli, "model_path"), *input = cli_text(cli, "input");
    const char *split = cli_text(cli, "split");
    if (!path && cli->args) path = cli->arg[0];
    if (!path)
        return cli_fail(DART_USAGE, "translate needs --model-path, a run or checkpoint directory");
    uint64_t best, cut = 0;
    char words[32];
    CLI_TRY(cli_uint(cli, "best", 1, 64, &best));
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    const dart_context_options o = {.size = sizeof o, .best = (uint32_t)best};
    dart_status status = DART_OK;
    cli_lines in = {0};
    dart_llm *llm = NULL;
    dart_context *context = NULL;
    CLI_GOTO(cli_lines_open(input, &in));
    CLI_GOTO(cli_open(path, cli->recipe, &hooks, &llm));
    CLI_GOTO(dart_context_new(llm, &o, &context));
    if (split && strcmp(split, "none") != 0) {
        dart_bleu bleu = {.size = sizeof bleu};
        CLI_GOTO(dart_context_bleu(context, split, &hooks, cli_write, stdout, &bleu));
        cli_bleu(&bleu, stderr);
        goto done;
    }
    if (!dart_context_batch(context))
        CLI_GOTO(cli_fail(
            DART_INPUT, "%s is no translation model; train one with --arch encoder-decoder", path));
    CLI_GOTO(translate_lines(context, &in, cli_flag(cli, "words"), best > 1, &cut));
    CLI_GOTO(dart_llm_config_value(llm, "src_context", words, sizeof words));
    if (cut && !cli->quiet)
        fprintf(stderr, "%" PRIu64 " sentences were longer than %lu words and were cut there\n",
            cut, strtoul(words, NULL, 10) - 1);
done:
    dart_context_free(context);
    dart_llm_close(llm);
    cli_lines_close(&in);
    cli_progress_end(&progress);
    return status;
}

const cli_command cmd_translate = {.name = "translate",
    .summary = "translate sentences with a trained encoder-decoder",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
