/* What every sub-command shares: parsed options, progress display, tables, JSON. */
#ifndef CLI_H
#define CLI_H

#include "dart.h"
#include <jansson.h>
#include <signal.h>
#include <stdio.h>

enum { CLI_MAX_OWN = 24, CLI_MAX_ARGS = 32, CLI_MAX_GRID = 24 };

typedef struct cli_call cli_call;

typedef struct cli_command {
    const char *name;
    const char *summary;   /* one line */
    const char *arguments; /* positional arguments as shown in the usage line, NULL: none allowed */
    bool recipe;           /* takes --config and every key of the option table too */
    bool lists; /* of which those that are no texts may have several values: 8,16 or 8-64*2 */
    const dart_option *own; /* options of this command alone, ends with a NULL key */
    dart_status (*run)(cli_call *cli);
} cli_command;

struct cli_call {
    const cli_command *command;
    const cli_command *const *commands; /* all, in the order of the help text; ends with NULL */
    dart_recipe *recipe;                /* owned; NULL unless command->recipe */
    const char *value[CLI_MAX_OWN];     /* one an entry of command->own; NULL: not given */
    const char *arg[CLI_MAX_ARGS];
    uint32_t args;
    const char *config;               /* --config FILE */
    char grid[CLI_MAX_GRID + 1][256]; /* "rank=8,16": keys with several values, of command->lists */
    uint32_t grids;
    bool quiet, verbose, help;
};

/* ---- call.c ---- */
/* Keeps the sentence of a failure of this program itself (printf style) and returns `code`; that of
 * the library is dart_last_error(). */
dart_status cli_fail(dart_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *cli_sentence(void); /* "": none was kept */
/* Forward a failure: CLI_TRY returns it, CLI_GOTO jumps to `done` with `status` set. */
#define CLI_TRY(expr)                                                                              \
    do {                                                                                           \
        dart_status cli_try_ = (expr);                                                             \
        if (cli_try_ != DART_OK) return cli_try_;                                                  \
    } while (0)
#define CLI_GOTO(expr)                                                                             \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != DART_OK) goto done;                                                          \
    } while (0)
/* Sinks for the library: text to the stream `user`, at once; and into the cli_kept `user`. */
int cli_write(void *user, const char *text, size_t size);
typedef struct cli_kept {
    char *text; /* owned, ends with a zero byte; NULL: nothing came */
    size_t size;
    bool failed; /* memory was short, which the library takes for a sink that is full */
} cli_kept;
int cli_keep(void *user, const char *text, size_t size);

/* ---- options.c ---- */
extern const dart_option cli_common[]; /* options of every command; ends with a NULL key */
/* Fills `cli` (zeroed, command set) from argv after the command's name: file, then environment,
 * then flags. USAGE with the nearest match for what is unknown; INPUT for a bad recipe file. */
DART_NODISCARD dart_status cli_parse(cli_call *cli, int argc, char **argv);
/* The value of one of the command's own options, its default if not given (NULL if that is empty).
 */
const char *cli_text(const cli_call *cli, const char *key);
bool cli_flag(const cli_call *cli, const char *key);
/* The model that a command works on: --model-path, the first argument, or the recipe's base (which
 * is written into `base`); NULL: none was named. */
const char *cli_model(const cli_call *cli, char *base, size_t size);
/* USAGE, naming the option, unless the text is a number within [low, high]. */
DART_NODISCARD dart_status cli_uint(
    const cli_call *cli, const char *key, uint64_t low, uint64_t high, uint64_t *out);
DART_NODISCARD dart_status cli_real(
    const cli_call *cli, const char *key, double low, double high, double *out);
/* A file as it was named, or where there is none the one that is installed under this name:
 * "experiments/ptb/quickstart.yaml". */
const char *cli_installed(const char *path, char out[1024]);
void cli_spell(const char *key, char out[64]); /* "learning_rate" -> "--learning-rate" */

/* ---- help.c: everything printed from the option tables ---- */
void cli_help(const cli_command *const *commands, FILE *out);
void cli_help_command(const cli_command *command, FILE *out);
void cli_man(const cli_command *const *commands, FILE *out);
/* By its name; NULL: there is none. */
const cli_command *cli_command_find(const cli_command *const *commands, const char *name);

/* ---- progress.c ---- */
typedef struct cli_progress {
    bool quiet, terminal, colour, drawn; /* drawn: a \r line is on the screen */
    double last;                         /* seconds, when something was last printed */
    char stage[128];
} cli_progress;
/* From now on SIGINT, SIGTERM, SIGHUP and SIGXFSZ end the work at its next step or batch; a SIGINT
 * after one of them exits at once. For commands that have something to save: others just end. */
void cli_listen(void);
/* INTERRUPTED once SIGINT has come, TERMINATED once another one has; as in dart_hooks. */
dart_status cli_abort(void *user);
/* The same as the signal's number, 0: none. */
int cli_signal(void);
/* Hooks that draw on stderr, and stop if signals are listened to. */
dart_hooks cli_hooks(cli_progress *progress, bool quiet);
void cli_progress_end(cli_progress *progress);

/* A model to generate or talk with. One of another program keeps its file's formats, and has as
 * much context as it has positions for, 2,048 tokens at most, instead of the window that
 * fine-tuning would take, unless base_dtype and context are given; a run has what it was trained
 * with. */
DART_NODISCARD dart_status cli_open_to_use(
    const cli_call *cli, const char *path, const dart_hooks *hooks, dart_llm **out);

/* dart_llm_open with news to the hooks (may be NULL); *out is NULL after a failure. */
DART_NODISCARD dart_status cli_open(
    const char *path, const dart_recipe *overrides, const dart_hooks *hooks, dart_llm **out);

/* ---- sampling.c ---- */
/* Rows of the options that cli_sampling and cli_stops read, and of ignore_eos. */
#define CLI_SAMPLING                                                                               \
    {"temperature", "temp", "float", "0.8", "", "0 takes the likeliest token"},                    \
        {"top_k", "", "int", "40", "", "among the k likeliest tokens; 0: all"},                    \
        {"top_p", "", "float", "1", "",                                                            \
            "among the likeliest tokens that sum to this probability"},                            \
        {"min_p", "", "float", "0", "",                                                            \
            "among tokens of at least this share of the likeliest one's probability"},             \
        {"repeat_penalty", "repetition_penalty", "float", "1", "",                                 \
            "scores of tokens that came before are divided by this (multiplied below 0)"},         \
        {"repeat_last_n", "", "int", "64", "",                                                     \
            "the penalty looks at so many of the last tokens; 0: all"},                            \
        {"seed", "", "int", "1", "", "same seed, same text"},                                      \
        {"stop", "", "string", "", "",                                                             \
            "end before the first of these strings, with commas between; \\n: a line end"},        \
    {                                                                                              \
        "ignore_eos", "", "bool", "false", "", "go on behind tokens that end a text"               \
    }
DART_NODISCARD dart_status cli_sampling(const cli_call *cli, dart_sampling *out);
typedef struct cli_texts {
    const char **text; /* owned [count], in `bytes` */
    uint32_t count;
    char *bytes; /* owned */
} cli_texts;
/* Free it also after a failure. */
DART_NODISCARD dart_status cli_stops(const cli_call *cli, cli_texts *out);
void cli_texts_free(cli_texts *texts); /* zeroes it */

/* ---- lines.c ---- */
typedef struct cli_lines {
    FILE *in;
    char *text; /* owned */
    size_t room;
    uint64_t number; /* of the last line read, from 1 on */
} cli_lines;
/* path NULL or "-": standard input. INPUT: there is no such file. Close it also after a failure. */
DART_NODISCARD dart_status cli_lines_open(const char *path, cli_lines *out);
/* The next line without its end, and the first without a byte-order mark; it lives until the next
 * call. *out NULL: the end. INPUT: a zero byte. */
DART_NODISCARD dart_status cli_lines_next(cli_lines *lines, char **out);
void cli_lines_close(cli_lines *lines); /* zeroes it */

/* ---- answer.c ---- */
/* Answers each line of a file (a prompt; .jsonl: an object with prompt or messages, of which an
 * answer at the end is left out) by a line on standard output. how: everything but the prompt.
 * INPUT, with the line's number. */
DART_NODISCARD dart_status cli_answer(
    dart_context *context, const char *path, dart_generate_options *how, bool json);

/* ---- table.c ---- */
/* Cells are printed in aligned columns; the first row is the heading. Numbers align right. On a
 * terminal that is too narrow rows and columns change places where that makes it narrower. */
typedef struct cli_table {
    uint32_t columns, rows, capacity; /* capacity: of rows */
    char (*cell)[64];                 /* capacity * columns, owned */
} cli_table;
DART_NODISCARD dart_status cli_table_row(
    cli_table *table, uint32_t columns, const char *const *cells);
void cli_table_print(const cli_table *table, FILE *out);
int cli_terminal_columns(FILE *out); /* 0: `out` is no terminal, or does not say */
void cli_table_free(cli_table *table);
void cli_bytes(char out[64], uint64_t bytes);            /* "1.5 GiB"; "-" for 0 */
void cli_number(char out[64], double value, int digits); /* "-" for NaN */
void cli_bleu(const dart_bleu *bleu, FILE *out);         /* one line, as sacreBLEU prints it */
/* Prints and frees `json`; FAILED if it is NULL or does not fit. */
DART_NODISCARD dart_status cli_json(json_t *json, FILE *out);
json_t *cli_json_real(double value); /* null for NaN and infinities */
/* `object` with the text at `key`. A text that is not UTF-8 has its bad bytes as \xNN and its
 * backslashes doubled, and `<key>_escaped` is true. NULL: out of memory, or `object` is NULL. */
json_t *cli_json_text(json_t *object, const char *key, const char *text);
/* `object` with the pairs of `more` behind its own. Takes both over; NULL: one is NULL, or out of
 * memory. */
json_t *cli_json_join(json_t *object, json_t *more);
/* What a token was, how many were scored, how: one line; and the same as JSON. */
void cli_protocol(const dart_protocol *protocol, FILE *out);
json_t *cli_protocol_json(const dart_protocol *protocol);
bool cli_per_symbol(const dart_protocol *protocol); /* tokens are characters or bytes */
double cli_bits(double perplexity);                 /* bits a token */
/* The result table of a run, as text or as JSON. */
DART_NODISCARD dart_status cli_result(const dart_result *result, bool json, FILE *out);
/* Trains by the call's recipe, shows how far it is, and prints the table. */
DART_NODISCARD dart_status cli_train(cli_call *cli);

extern const cli_command cmd_train, cmd_finetune, cmd_compress, cmd_export, cmd_eval, cmd_generate,
    cmd_chat, cmd_translate, cmd_inspect, cmd_report, cmd_sweep, cmd_devices, cmd_bench,
    cmd_kernels, cmd_tune, cmd_bleu, cmd_tokenizer, cmd_selftest, cmd_completion, cmd_version,
    cmd_help;

#endif
