/* bleu: scores a translation against one or several references. */
#include "cli.h"
#include <inttypes.h>

static const dart_option options[] = {
    {"lowercase", "lc", "bool", "false", "", "ignore case"},
    {"tokenize", "tok", "13a|none", "13a", "", "how words are cut; none: at white space"},
    {"json", "", "bool", "false", "", "print the score and its parts as JSON"},
    {NULL},
};

void cli_bleu(const dart_bleu *b, FILE *out)
{
    double words = (double)b->hypothesis_words, of = (double)b->reference_words;
    fprintf(out,
        "BLEU|%s = %.2f %.1f/%.1f/%.1f/%.1f (BP = %.3f ratio = %.3f hyp_len = %" PRIu64
        " ref_len = %" PRIu64 ")\n",
        b->signature, b->score, b->precision[0], b->precision[1], b->precision[2], b->precision[3],
        b->brevity, of > 0 ? words / of : 0, b->hypothesis_words, b->reference_words);
}

static dart_status print_json(const dart_bleu *b)
{
    int failed = 0;
    json_t *precision = json_array(), *correct = json_array(), *total = json_array();
    for (int n = 0; n < DART_BLEU_ORDERS; n++) {
        failed |= json_array_append_new(precision, json_real(b->precision[n]));
        failed |= json_array_append_new(correct, json_integer((json_int_t)b->correct[n]));
        failed |= json_array_append_new(total, json_integer((json_int_t)b->total[n]));
    }
    if (failed) json_decref(precision), precision = NULL; /* which makes the whole NULL */
    return cli_json(json_pack("{s:s, s:f, s:s, s:o, s:o, s:o, s:f, s:I, s:I}", "name", "BLEU",
                        "score", b->score, "signature", b->signature, "precisions", precision,
                        "correct", correct, "total", total, "bp", b->brevity, "hyp_len",
                        (json_int_t)b->hypothesis_words, "ref_len", (json_int_t)b->reference_words),
        stdout);
}

static dart_status run(cli_call *cli)
{
    if (cli->args < 2)
        return cli_fail(DART_USAGE, "bleu needs a reference file and a file to score, in this "
                                    "order; several references come before the scored file");
    const char *tokenize = cli_text(cli, "tokenize");
    const dart_bleu_options o = {.size = sizeof o,
        .lowercase = cli_flag(cli, "lowercase"),
        .raw = tokenize && tokenize[0] == 'n'};
    uint32_t references = cli->args - 1;
    dart_bleu b = {.size = sizeof b};
    CLI_TRY(dart_bleu_files(cli->arg[references], cli->arg, references, &o, &b));
    if (cli_flag(cli, "json")) return print_json(&b);
    cli_bleu(&b, stdout);
    return DART_OK;
}

const cli_command cmd_bleu = {.name = "bleu",
    .summary = "score a translation against references, as sacreBLEU does",
    .arguments = "REF... HYP",
    .own = options,
    .run = run};
