/* Training: a recipe's stages whole or step by step, its table of results, devices compared. */
#ifndef DART_PUBLIC_TRAIN_H
#define DART_PUBLIC_TRAIN_H

#include "infer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- results ---- */

typedef struct dart_table_row {
    /* "dense twin", "TT before selection", "after selection", "after tuning"; with several
     * selections "after selection 1", "before selection 2" ...; "TT rounded, not trained" */
    char name[48];
    uint64_t params;             /* of the whole model */
    uint64_t compressed_params;  /* of the weights that are networks; 0: none are */
    uint64_t dense_params;       /* of the same weights as matrices */
    uint64_t chain_params;       /* of all cores with a bond: what `budget` counts */
    uint64_t trained_params;     /* that fine-tuning changes; 0: there is no base */
    double compression;          /* dense_params / compressed_params */
    uint32_t rank_min, rank_max; /* 0: no bonds */
    double rank_mean, valid_ppl, test_ppl, tokens_per_s, seconds;
    double test_bleu;        /* translation: of the test split */
    uint32_t bleu_sentences; /* 0: BLEU was not measured */
    /* a classifier's, as in dart_class_scores; texts: of the test split, 0: it is none */
    uint32_t texts;
    double valid_accuracy, test_accuracy, valid_f1, test_f1, valid_matthews, test_matthews;
    /* parts of the tokens, as in dart_eval_result; 0: a classifier, or not measured */
    double valid_top1, test_top1, valid_top5, test_top5;
    double effective_rank;   /* mean over the bonds, by the recipe's rank_measure; 0: no bonds */
    uint64_t resident_bytes; /* most that the process had in memory up to here; 0: not known */
} dart_table_row;

/* The columns of a table of rows for people: heading, static, NULL past the end; what one shows of
 * a row, "-" where that means nothing. */
DART_API const char *dart_table_heading(uint32_t column);
DART_API void dart_table_cell(const dart_table_row *row, uint32_t column, char out[128]);

/* What training came to. */
typedef struct dart_result dart_result;

DART_API const char *dart_result_dir(const dart_result *result);    /* the run directory */
DART_API const char *dart_result_device(const dart_result *result); /* "vulkan:0" */
DART_API uint64_t dart_result_steps(const dart_result *result);     /* the dense twin's too */
DART_API double dart_result_loss(const dart_result *result);        /* of the last step */
DART_API const dart_protocol *dart_result_protocol(const dart_result *result);
DART_API uint32_t dart_result_rows(const dart_result *result);
/* NULL past the end. */
DART_API const dart_table_row *dart_result_row(const dart_result *result, uint32_t index);
/* The rows as a JSON array, keys as in table.json of a run directory. Errors: MEMORY, IO. */
DART_API DART_NODISCARD dart_status dart_result_json(
    const dart_result *result, dart_write write, void *user);
DART_API void dart_result_free(dart_result *result); /* NULL: nothing to do */

/* ---- whole ---- */

/* Runs all stages of a recipe, and its dense twin first if the recipe asks for it, and writes the
 * run directory. hooks may be NULL. Errors: INPUT, MEMORY, DEVICE, IO, DIVERGED; INTERRUPTED and
 * TERMINATED as hooks->abort says: the key `resume` goes on, bit for bit as if it had not stopped.
 * Free the result. */
DART_API DART_NODISCARD dart_status dart_train(
    const dart_recipe *recipe, const dart_hooks *hooks, dart_result **out);

/* ---- step by step ---- */

/* One run in the middle of its training. */
typedef struct dart_trainer dart_trainer;

/* A text as tokens in memory, instead of the recipe's data. */
typedef struct dart_tokens {
    size_t size;
    uint32_t vocab; /* ids are 0 .. vocab - 1; 256 where the recipe's key `level` is byte */
    /* (vocab) texts of the tokens, NULL: they are called "<0>", "<1>" ... All different, none
     * empty; "<eos>" and "<unk>" are special. Decoding writes a space between two words, and none
     * where the recipe's key `level` is char. */
    const char *const *text;
    /* Training, validation, test: at least a window of context + 1 tokens for training and two for
     * each of the others. Borrowed until the trainer is freed. */
    const int32_t *tokens[3];
    uint64_t count[3];
} dart_tokens;

typedef struct dart_step {
    size_t size;
    uint64_t step, steps; /* done, in all */
    uint64_t tokens;      /* labels seen so far */
    double loss;          /* mean over the tokens of the step, in nats */
    double lr, grad_norm, penalty, lambda;
    double seconds;   /* of the step, without evaluation */
    double valid_ppl; /* NaN if it was not measured after this step */
    char stage[48];   /* of the step */
    bool selected;    /* ranks were selected after it: the model is another one now */
    bool done;        /* it was the last one; the final checkpoint is written */
} dart_step;

/* Opens data, device and run directory and goes to the first step, or with the key `resume` to the
 * one after the newest checkpoint. tokens: NULL, or the data in memory: of a text, and the recipe
 * names the run directory (key `out`). hooks: progress and note are told as in dart_train, abort is
 * not asked; may be NULL. No dense twin. Errors: as dart_train; USAGE (tokens without `out`, tokens
 * for a recipe that translates). Free it. */
DART_API DART_NODISCARD dart_status dart_trainer_new(const dart_recipe *recipe,
    const dart_tokens *tokens, const dart_hooks *hooks, dart_trainer **out);
/* Frees without saving. NULL: nothing to do. */
DART_API void dart_trainer_free(dart_trainer *trainer);
/* One optimizer step and what the recipe says comes after it: evaluation, selection, checkpoint,
 * rows of the table. out may be NULL. Errors: USAGE (it is done, or failed before), DIVERGED,
 * DEVICE, MEMORY, IO. */
DART_API DART_NODISCARD dart_status dart_trainer_step(dart_trainer *trainer, dart_step *out);
/* Whether the last step was made; also of a resumed run that had been finished. */
DART_API bool dart_trainer_done(const dart_trainer *trainer);
/* Perplexity of the model as it is now on validation and test tokens. It does not change the
 * training and is not logged. Errors: USAGE (a resumed run that had been finished: open its model
 * instead), DIVERGED, DEVICE, MEMORY. */
DART_API DART_NODISCARD dart_status dart_trainer_evaluate(
    dart_trainer *trainer, dart_eval_result *out);
/* A checkpoint of the model as it is now in the run directory, for dart_llm_open and for the key
 * `resume`. out_path (may be NULL): its path, valid until the next call. Errors: USAGE (before the
 * first step), IO, MEMORY, DEVICE. */
DART_API DART_NODISCARD dart_status dart_trainer_save(dart_trainer *trainer, const char **out_path);
/* Rows so far; all of them once it is done. Borrowed; valid until the next step. */
DART_API const dart_result *dart_trainer_result(dart_trainer *trainer);

/* ---- devices compared ---- */

/* `devices` comma-separated: the same steps on each; writes loss and distance of the parameters
 * after each step as a table, or as a JSON object a line. hooks may be NULL. Errors: FAILED (the
 * final losses differ by more than `bound` relative), USAGE, and as dart_train. */
DART_API DART_NODISCARD dart_status dart_compare(const dart_recipe *recipe, const char *devices,
    double bound, const dart_hooks *hooks, bool json, dart_write write, void *user);

#ifdef __cplusplus
}
#endif
#endif
