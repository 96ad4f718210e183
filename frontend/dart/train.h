/* Training: a recipe's stages, its table of results, devices compared. */
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
    double compression;          /* dense_params / compressed_params */
    uint32_t rank_min, rank_max; /* 0: no bonds */
    double rank_mean, valid_ppl, test_ppl, tokens_per_s, seconds;
    double test_bleu;        /* translation: of the test split */
    uint32_t bleu_sentences; /* 0: BLEU was not measured */
    double effective_rank;   /* mean over the bonds, by the recipe's rank_measure; 0: no bonds */
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
