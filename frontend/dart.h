/* DART-LLM's public interface: recipes, training, evaluation, generation, devices, bench. The
 * command-line tool uses nothing else. Functions return dart_status; dart_error_text() has the
 * sentence. Nothing here prints, except through the callbacks; nothing exits. */
#ifndef DART_H
#define DART_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- devices ---- */
typedef struct dart_device_info {
    char id[32], name[128], driver[128], api[64],
        reason[256]; /* reason: why it is not usable, else "" */
    bool usable;
    uint64_t memory, max_binding, max_alloc;
    uint32_t max_invocations, max_shared, max_buffers, subgroup, threads;
    bool storage16, arith16;
    bool on_cpu; /* runs on the host's processor: cpu, lavapipe, PoCL */
} dart_device_info;
/* All devices of all backends, also the unusable ones. Caller frees *out. */
DART_NODISCARD dart_status dart_devices(
    const char *limits, dart_device_info **out, size_t *out_count);

/* ---- recipes: model, method, data, stages, run options; one option table ---- */
typedef struct dart_recipe dart_recipe;
typedef struct dart_option {
    const char *key;      /* "learning_rate"; flags spell it --learning-rate or --learning_rate */
    const char *aliases;  /* "lr", comma-separated, may be "" */
    const char *type;     /* "int", "float", "bool", "string", "name|name|..." */
    const char *fallback; /* default as text */
    const char *section;  /* "model", "method", "data", "train", "stage", "run" */
    const char *help;
} dart_option;
const dart_option *dart_option_at(uint32_t index); /* NULL past the end */
/* Whether the first `length` letters of `word` are the option's key or an alias; hyphens and
 * underscores are alike. */
bool dart_option_has_name(const dart_option *option, const char *word, size_t length);
DART_NODISCARD dart_status dart_recipe_new(dart_recipe **out); /* all defaults */
void dart_recipe_free(dart_recipe *recipe);
/* INPUT: unreadable, unknown key (the nearest match is named), wrong type; file:line is in the
 * sentence. */
DART_NODISCARD dart_status dart_recipe_load(dart_recipe *recipe, const char *path);
/* key as on the command line, hyphen or underscore. USAGE: unknown key or bad value. */
DART_NODISCARD dart_status dart_recipe_set(dart_recipe *recipe, const char *key, const char *value);
DART_NODISCARD dart_status dart_recipe_get(
    const dart_recipe *recipe, const char *key, char *out, size_t size);
/* The resolved recipe as YAML. */
DART_NODISCARD dart_status dart_recipe_save(const dart_recipe *recipe, const char *path);

/* ---- running ---- */
typedef struct dart_progress {
    const char *stage, *row; /* stage name; table row it belongs to ("dense twin", "TT") */
    uint64_t step, steps, tokens;
    /* perplexity: NaN where the loss has label smoothing in it */
    double loss, perplexity, lr, grad_norm, penalty, tokens_per_s, eta_s,
        valid_perplexity /* NaN if not now */;
} dart_progress;

typedef struct dart_hooks {
    void *user;
    void (*progress)(void *user, const dart_progress *progress);
    void (*note)(void *user, const char *line); /* one line of news: a pick, a checkpoint */
    volatile int *stop;                         /* set to a signal number to checkpoint and stop */
} dart_hooks;

typedef struct dart_table_row {
    /* "dense twin", "TT before selection", "after selection", "after tuning"; with several
     * selections "after selection 1", "before selection 2" ...; "TT rounded, not trained" */
    char name[48];
    uint64_t params, compressed_params, dense_params;
    uint64_t chain_params; /* of all cores with a bond: what `budget` counts */
    double compression;    /* dense_params / compressed_params */
    uint32_t rank_min, rank_max;
    double rank_mean, valid_ppl, test_ppl, tokens_per_s, seconds;
    double test_bleu;        /* translation: of the test split */
    uint32_t bleu_sentences; /* 0: BLEU was not measured */
    double effective_rank;   /* mean over the bonds, by the recipe's rank_measure; 0: no bonds */
} dart_table_row;
enum { DART_TABLE_ROWS = 80 }; /* two a selection, stages are at most 32 */
/* The columns of a table of rows for people: heading, NULL past the end; what one shows of a row,
 * "-" where that means nothing. */
const char *dart_table_heading(uint32_t column);
void dart_table_cell(const dart_table_row *row, uint32_t column, char out[128]);
/* The rows as a JSON array with the keys of table.json, malloc'ed. MEMORY. */
DART_NODISCARD dart_status dart_table_json(const dart_table_row *row, uint32_t rows, char **out);

/* How perplexities of a run were measured: over all tokens of a split, each scored once. */
typedef struct dart_protocol {
    const char *unit;         /* what a token is: "word", "character", "byte"; "" if not known */
    char data[512];           /* where the text came from */
    uint32_t context, stride; /* tokens of a window, and how far apart windows start */
    uint32_t source_context;  /* translation: tokens of a source sentence at most; 0: a text */
    uint64_t valid_tokens, test_tokens;
} dart_protocol;
/* How perplexity was measured, in one sentence without a full stop; "" where no text was read.
 * Cut at `size`. */
void dart_protocol_text(const dart_protocol *protocol, char *out, size_t size);
void dart_count_text(char out[64], uint64_t value); /* 12345: "12,345" */

typedef struct dart_result {
    char run_dir[512], device[32];
    uint32_t rows;
    dart_table_row row[DART_TABLE_ROWS];
    dart_protocol protocol;
    double final_loss;
    uint64_t steps;
} dart_result;

/* Runs all stages of a recipe (and its dense twin first, if the recipe asks). Codes: INPUT, MEMORY,
 * DEVICE, IO, DIVERGED, INTERRUPTED, TERMINATED. */
DART_NODISCARD dart_status dart_train(
    const dart_recipe *recipe, const dart_hooks *hooks, dart_result *out);
/* ---- sweeps: a grid of runs (frontend/tasks/sweep/README.md) ---- */
typedef struct dart_sweep_options {
    const char
        *out; /* folder of the runs and results; NULL or "": the file's own, or runs/<name> */
    const dart_recipe *flags; /* values given for all runs, below those of the grid; may be NULL */
    bool list;                /* only notes the names of the runs */
    bool force;               /* begins runs anew whose recipe is not what it was */
    uint32_t jobs;            /* runs at a time, with the hooks below; 0: one */
} dart_sweep_options;
typedef struct dart_sweep_hooks {
    void *user;
    void (*note)(void *user, const char *line);
    /* Starts training the recipe at `recipe` in the run directory `dir`, going on from its
     * checkpoint or, with `resume` false, over whatever lies there; `run` is its number. Both NULL:
     * in this process, one run at a time. */
    dart_status (*start)(
        void *user, uint32_t run, const char *recipe, const char *dir, bool resume);
    /* Waits until one of the started runs ends: which, and as status what dart_train would give. */
    dart_status (*wait)(void *user, uint32_t *out_run);
    volatile int *stop; /* as in dart_hooks */
} dart_sweep_hooks;
typedef struct dart_sweep_result {
    char dir[512];
    uint32_t runs, done, failed;
} dart_sweep_result;
/* INPUT: whatever is wrong with the file, with its line, before anything runs. FAILED: some runs
 * failed; the others are done, and results.csv, results.md and results.svg hold them all. */
DART_NODISCARD dart_status dart_sweep(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *hooks, dart_sweep_result *out);

/* `devices` comma-separated: the same steps on each; prints per-step loss and parameter distance to
 * `out` as a table, or as a JSON object a line; FAILED if the final losses differ by more than
 * `bound` relative. */
DART_NODISCARD dart_status dart_compare(const dart_recipe *recipe, const char *devices,
    double bound, const dart_hooks *hooks, bool json, FILE *out);

typedef struct dart_eval_result {
    double valid_ppl, test_ppl, valid_nll, test_nll, seconds;
    uint64_t valid_tokens, test_tokens;
    dart_protocol protocol;
} dart_eval_result;
/* model_path: a run directory or a checkpoint directory. */
DART_NODISCARD dart_status dart_eval(const char *model_path, const dart_recipe *overrides,
    const dart_hooks *hooks, dart_eval_result *out);

typedef struct dart_generate_speed {
    uint64_t prompt_tokens, tokens; /* read before the first new one; made */
    double prompt_seconds, seconds; /* seconds: of all new tokens but the first */
    uint64_t bytes;                 /* resident on the device */
} dart_generate_speed;
typedef struct dart_generate_options {
    const char *prompt;
    uint32_t tokens, top_k;
    double temperature, top_p;
    uint64_t seed;
    /* When the context is full. NULL or "slide": the newest `context` tokens are read again for
     * each token; "shift": the newest half is read again, then tokens go on; "stop": the text ends.
     */
    const char *overflow;
    dart_generate_speed *speed; /* NULL, or filled */
} dart_generate_options;
DART_NODISCARD dart_status dart_generate(const char *model_path, const dart_recipe *overrides,
    const dart_generate_options *options, FILE *out);

/* ---- translation ---- */
enum { DART_BLEU_ORDERS = 4 };
typedef struct dart_bleu_options {
    bool lowercase;
    bool raw; /* words are what stands between white space; false: tokenizer 13a */
} dart_bleu_options;
typedef struct dart_bleu {
    double score, precision[DART_BLEU_ORDERS], brevity; /* score and precisions out of 100 */
    uint64_t correct[DART_BLEU_ORDERS], total[DART_BLEU_ORDERS];
    uint64_t hypothesis_words, reference_words, sentences;
    uint32_t references;
    char signature[128]; /* how it was counted, in sacreBLEU's words */
} dart_bleu;
/* Corpus BLEU of a file with one sentence a line against one or several reference files; the
 * figure sacreBLEU gives. INPUT: line counts that differ, bytes that are not UTF-8, no lines. */
DART_NODISCARD dart_status dart_bleu_files(const char *hypothesis, const char *const *references,
    uint32_t count, const dart_bleu_options *options, dart_bleu *out);

/* Beam and length penalty are recipe keys. */
typedef enum { DART_TRANSLATE_LINES, DART_TRANSLATE_VALID, DART_TRANSLATE_TEST } dart_translate_of;
typedef struct dart_translate_options {
    dart_translate_of split; /* the lines of `in`, or the sources of a split of the run's data */
    uint32_t best; /* LINES: translations of each; above 1 printed as "n ||| text ||| score" */
    bool words;    /* LINES: words one space apart instead of text */
} dart_translate_options;
/* A line of `out` for each; an empty one for an empty one. out_bleu: of a split, with sentences 0
 * for LINES. INPUT: the model does not translate, a line that is not UTF-8 (its number). */
DART_NODISCARD dart_status dart_translate(const char *model_path, const dart_recipe *overrides,
    const dart_hooks *hooks, const dart_translate_options *options, FILE *in, FILE *out,
    dart_bleu *out_bleu);

/* what: "graph", "plan", "memory", "ranks", "paths"; model_path may be NULL (then the recipe's
 * fresh model). */
DART_NODISCARD dart_status dart_inspect(
    const dart_recipe *recipe, const char *model_path, const char *what, bool json, FILE *out);

typedef struct dart_bench_options {
    const char *devices;    /* comma list of ids, or "all" */
    const char *tests;      /* comma list of step, gemm, eval, infer, pick */
    const char *format;     /* "md", "json" or "csv" */
    const char *model_path; /* NULL or "": random weights of the recipe; else a run or checkpoint */
    uint32_t repeats;
    uint32_t prompt, tokens; /* infer: tokens read, tokens made; 0: 512 and 128, or the context */
    bool reference; /* measure cpu too, to compare the results with it, where it is not among the
                       devices */
    bool profile;   /* step and eval: also the time of each kernel, launch by launch */
} dart_bench_options;
/* step, eval and infer run a model on random tokens; a fresh model's vocab_size 0 means 10,000.
 * pick selects ranks drawn at random to the recipe's budget (0: half of the parameters). */
DART_NODISCARD dart_status dart_bench(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out);

typedef struct dart_selftest_result {
    uint32_t cases, failed, skipped;
    char worst[96];
    double worst_nmse;
} dart_selftest_result;
/* The kernel suite against the f64 oracle on this machine; verdict cached by device and driver. */
DART_NODISCARD dart_status dart_selftest(
    const char *device, const char *limits, FILE *out, dart_selftest_result *result);

/* A self-contained HTML page for one or several runs, or for a sweep (a folder with results.csv).
 */
DART_NODISCARD dart_status dart_report(const char *const *runs, size_t count, const char *out_path);
/* Event files for TensorBoard, in a folder a run below `dir`: scalars of all logs, histograms of
 * the bond spectra, the recipe as text. */
DART_NODISCARD dart_status dart_report_tensorboard(
    const char *const *runs, size_t count, const char *dir);
/* The charts of the page as SVG files in `dir`; for one run also its spectra. */
DART_NODISCARD dart_status dart_report_pictures(
    const char *const *runs, size_t count, const char *dir);
/* metrics.csv, spectra.csv, ranks.csv and table.csv of all runs in `dir` (RFC 4180). */
DART_NODISCARD dart_status dart_report_csv(const char *const *runs, size_t count, const char *dir);

#endif
