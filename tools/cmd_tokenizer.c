/* tokenizer: makes a tokenizer of texts, and shows what one does. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

static const dart_option options[] = {
    {"tokenizer", "", "string", "", "",
        "encode, decode: a folder or file of a tokenizer: tokenizer.json, vocab.json, .gguf, "
        "tokenizer.model, tokenizer.bin"},
    {"vocab_size", "", "int", "8192", "257..", "train: tokens in all, the 256 bytes among them"},
    {"min_frequency", "", "int", "2", "1..", "train: a pair that is rarer is not merged"},
    {"special", "", "string", "<|endoftext|>", "", "train: the special token, bos and eos in one"},
    {"out", "", "string", "tokenizer", "", "train: the folder to write"},
    {"template", "", "bool", "false", "",
        "encode: with what the tokenizer puts around a text, and special tokens in it as such"},
    {"tokens", "", "bool", "false", "",
        "encode: the tokens as they stand in the file, not their ids"},
    {"skip_special", "", "bool", "false", "", "decode: without special tokens"},
    {NULL},
};

static dart_status train(cli_call *cli)
{
    dart_tokenizer_options o = {.size = sizeof o, .special = cli_text(cli, "special")};
    dart_tokenizer *made;
    uint64_t vocab;
    const char *out = cli_text(cli, "out");
    if (cli->args < 2) return cli_fail(DART_USAGE, "tokenizer train needs a text file");
    if (!out) return cli_fail(DART_USAGE, "tokenizer train needs a folder: --out DIR");
    CLI_TRY(cli_uint(cli, "vocab_size", 257, 1 << 24, &vocab));
    CLI_TRY(cli_uint(cli, "min_frequency", 1, INT64_MAX, &o.min_frequency));
    o.vocab_size = (uint32_t)vocab;
    CLI_TRY(dart_tokenizer_make(&o, cli->arg + 1, cli->args - 1, &made));
    dart_status status = dart_tokenizer_write(made, out);
    if (status == DART_OK)
        printf("%s: %u tokens\n", out, (unsigned)dart_tokenizer_vocab_size(made));
    dart_tokenizer_free(made);
    return status;
}

/* The text of all arguments with blanks between, or, where there are none, standard input. */
static dart_status read_input(const cli_call *cli, cli_kept *out)
{
    char block[4096];
    size_t n;
    for (uint32_t i = 1; i < cli->args; i++) {
        if (i > 1) cli_keep(out, " ", 1);
        cli_keep(out, cli->arg[i], strlen(cli->arg[i]));
    }
    while (cli->args < 2 && (n = fread(block, 1, sizeof block, stdin)) > 0) cli_keep(out, block, n);
    if (cli->args < 2 && ferror(stdin)) return cli_fail(DART_IO, "cannot read standard input");
    return out->failed ? cli_fail(DART_MEMORY, "out of memory: reading the input") : DART_OK;
}

static dart_status encode(const cli_call *cli, const dart_tokenizer *tokenizer, const cli_kept *in)
{
    const bool tokens = cli_flag(cli, "tokens");
    const unsigned flags =
        cli_flag(cli, "template") ? DART_ENCODE_TEMPLATE | DART_ENCODE_SPECIAL : 0;
    size_t room = in->size + 64, count = room + 1;
    int32_t *id = NULL;
    dart_status status = DART_OK;
    while (status == DART_OK && count > room) {
        if (id) room = count;
        free(id);
        id = malloc(room * sizeof *id);
        status = id ? dart_tokenizer_tokenize(
                          tokenizer, in->text ? in->text : "", in->size, flags, id, room, &count)
                    : cli_fail(DART_MEMORY, "out of memory: ids of the input");
    }
    for (size_t i = 0; i < count && status == DART_OK; i++) {
        size_t size;
        if (tokens)
            printf("%s\n", dart_tokenizer_text(tokenizer, id[i], &size));
        else
            printf("%s%d", i ? " " : "", (int)id[i]);
    }
    if (status == DART_OK && !tokens) printf("\n");
    free(id);
    return status;
}

static dart_status read_ids(const char *text, int32_t **out, size_t *out_count)
{
    const char *at = text ? text : "";
    int32_t *id = malloc((strlen(at) / 2 + 1) * sizeof *id);
    *out = id;
    *out_count = 0;
    if (!id) return cli_fail(DART_MEMORY, "out of memory: ids of the input");
    for (;;) {
        char *end;
        at += strspn(at, " \t\r\n,[]");
        if (!*at) return DART_OK;
        long value = strtol(at, &end, 10);
        if (end == at || value < 0 || value > INT32_MAX)
            return cli_fail(DART_INPUT, "'%.20s' is not the id of a token", at);
        id[(*out_count)++] = (int32_t)value;
        at = end;
    }
}

static dart_status decode(const cli_call *cli, const dart_tokenizer *tokenizer, const cli_kept *in)
{
    const bool skip = cli_flag(cli, "skip_special");
    int32_t *id = NULL;
    char *text = NULL;
    size_t count, size;
    dart_status status = DART_OK;
    CLI_GOTO(read_ids(in->text, &id, &count));
    CLI_GOTO(dart_tokenizer_detokenize(tokenizer, id, count, skip, NULL, 0, &size));
    text = malloc(size + 1);
    if (!text) CLI_GOTO(cli_fail(DART_MEMORY, "out of memory: the text of %zu ids", count));
    CLI_GOTO(dart_tokenizer_detokenize(tokenizer, id, count, skip, text, size, &size));
    fwrite(text, 1, size, stdout);
done:
    free(id);
    free(text);
    return status;
}

static dart_status use(cli_call *cli, bool encodes)
{
    const char *path = cli_text(cli, "tokenizer");
    dart_tokenizer *tokenizer = NULL;
    cli_kept in = {0};
    dart_status status = DART_OK;
    if (!path) return cli_fail(DART_USAGE, "tokenizer %s needs --tokenizer PATH", cli->arg[0]);
    CLI_GOTO(dart_tokenizer_load(path, &tokenizer));
    CLI_GOTO(read_input(cli, &in));
    CLI_GOTO(encodes ? encode(cli, tokenizer, &in) : decode(cli, tokenizer, &in));
done:
    free(in.text);
    dart_tokenizer_free(tokenizer);
    return status;
}

static dart_status run(cli_call *cli)
{
    const char *what = cli->args ? cli->arg[0] : "";
    if (!strcmp(what, "train")) return train(cli);
    if (!strcmp(what, "encode")) return use(cli, true);
    if (!strcmp(what, "decode")) return use(cli, false);
    return cli_fail(DART_USAGE, "tokenizer needs train, encode or decode, not '%s'", what);
}

const cli_command cmd_tokenizer = {.name = "tokenizer",
    .summary = "train a BPE tokenizer, or encode and decode with one that others made; text and "
               "ids that are not given are read from standard input",
    .arguments = "train TEXT... | encode [TEXT] | decode [IDS]",
    .own = options,
    .run = run};
