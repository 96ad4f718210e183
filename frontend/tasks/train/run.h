/* One run inside the training room: data, model, session, position in the stages. */
#ifndef DART_RUN_H
#define DART_RUN_H

#include "checkpoint.h"
#include "metrics.h"
#include "setup.h"
#include <jansson.h>

enum { DART_RUN_PATH = 512 };

/* A mean effective rank that has not moved since a step of the stage. */
typedef struct dart_rest {
    double rank; /* 0: not measured yet in this stage */
    uint64_t since;
} dart_rest;

/* Gates of the model as it is now; all 0: none. */
typedef struct dart_run_gate {
    const dart_reg *reg;     /* NULL: ordered dropout, which has no parameters */
    dart_gate_config config; /* what dart_run_model gives the model */
    dart_gate_state state;
    uint64_t full, target; /* words of all chains: when the gates appeared, wanted (0: no target) */
    uint32_t min_rank;
} dart_run_gate;

typedef struct dart_run {
    /* what */
    dart_recipe *recipe; /* owned, expanded */
    dart_settings set;   /* texts borrowed from the recipe */
    dart_stage stage[DART_MAX_STAGES];
    uint32_t stages;
    char dir[DART_RUN_PATH];
    const char *row; /* "dense twin", "TT": what progress calls it; static */
    dart_hooks hooks;
    /* with what */
    dart_device *device;  /* borrowed */
    dart_corpus *corpus;  /* borrowed */
    char fingerprint[33]; /* of tokens and vocabulary */
    dart_model *model;
    dart_session *session;
    dart_stream train, valid, test;
    dart_metrics metrics;
    float *param, *frozen, *moment; /* owned host copies, as the regions; filled when needed */
    /* where: what a checkpoint records */
    uint64_t step, tokens, stage_step, adam_step;
    uint32_t at_stage;
    double seconds;       /* in steps, evaluation left out */
    double phase_seconds; /* of the model as it is now, since the last selection */
    uint64_t phase_tokens;
    double last_loss; /* of the last step */
    uint64_t log_bytes[DART_LOGS];
    uint32_t rows;
    dart_table_row table[DART_TABLE_ROWS];
    uint32_t last_pick; /* 1 + the stage whose selection was done last; 0: none */
    bool finished;
    dart_rest rest;
    dart_run_gate gate;
    int64_t moved[DART_MAX_STAGES]; /* steps that plateaus moved from a stage to a later one */
} dart_run;

/* run.c */
DART_NODISCARD dart_status dart_run_model(dart_run *run,
    const uint32_t (*ranks)[DART_MAX_CORES + 1]); /* new model and host copies, zeros */
DART_NODISCARD dart_status dart_run_bind(
    dart_run *run); /* session for the stage at hand, from the host copies */
DART_NODISCARD dart_status dart_run_pull(dart_run *run); /* device to host copies */
DART_NODISCARD dart_status dart_run_evaluate(
    dart_run *run, dart_stream *stream, const char *split, double *out_perplexity);
/* Adds a table row with both perplexities. */
DART_NODISCARD dart_status dart_run_row(dart_run *run, const char *name);
/* translate.c: BLEU of the model at hand on the test split into `row`; nothing for a text, or when
 * the recipe wants none. */
DART_NODISCARD dart_status dart_run_row_bleu(dart_run *run, dart_table_row *row);
/* Appends a row to the table and tells the user. */
void dart_run_row_add(dart_run *run, const dart_table_row *row);
/* Parameters, compression and ranks of the run's model into `row`. */
void dart_run_row_counts(const dart_run *run, dart_table_row *row);
void dart_run_note(const dart_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void dart_run_free(dart_run *run);

/* prox.c: the host step of the stage's penalty, if it has one and it is due after the step just
 * done; penalty: lr lambda of that step */
DART_NODISCARD dart_status dart_run_prox(dart_run *run, double penalty);

/* state.c: checkpoints of a run */
DART_NODISCARD dart_status dart_run_save(dart_run *run);
/* Model, host copies and position from a checkpoint. with_state false: only the model and its
 * parameters. INPUT: it belongs to another recipe, data or vocabulary, unless `force`. */
DART_NODISCARD dart_status dart_run_load(
    dart_run *run, const dart_checkpoint *checkpoint, bool with_state, bool force);
/* vocab.json of a checkpoint; vocab_source.json too: out[1] has size 0 where there is none. */
DART_NODISCARD dart_status dart_vocab_load(const dart_checkpoint *checkpoint, dart_vocab *out);
DART_NODISCARD dart_status dart_vocabs_load(const dart_checkpoint *checkpoint, dart_vocab out[2]);
/* `model_path`: a run directory (its newest valid checkpoint) or a checkpoint directory; its recipe
 * with `overrides`. */
DART_NODISCARD dart_status dart_model_open(const char *model_path, const dart_recipe *overrides,
    const dart_hooks *hooks, dart_checkpoint *out_checkpoint, dart_recipe **out_recipe);

/* pick.c */
/* Bond spectra into spectra.jsonl. */
DART_NODISCARD dart_status dart_run_spectra(dart_run *run);
/* Chooses ranks by the stage's rule, cuts, and leaves the smaller model in the host copies, moments
 * zero. *out_svd: seconds in spectra, rule and cut. */
DART_NODISCARD dart_status dart_run_pick(dart_run *run, const dart_settings *set, double *out_svd);
/* INPUT: a stage still to come asks for a size that not even the smallest ranks have. Said before
 * the steps that would be lost by finding it out at the selection. */
DART_NODISCARD dart_status dart_run_pick_check(const dart_run *run);

/* gates.c */
/* Model and host copies as a stage with these options needs them: gates appear, change or vanish
 * into the cores. Frees the session if anything changes. INPUT: a target below the minimum. */
DART_NODISCARD dart_status dart_run_gate_bind(
    dart_run *run, const dart_session_options *options, const dart_settings *set);
/* Gates into the cores of the host copies, and gone. *out_counts (may be NULL; malloc'ed, NULL
 * where there were none): ranks kept, a bond each. */
DART_NODISCARD dart_status dart_run_gate_strip(dart_run *run, uint32_t **out_counts);
/* PARAM with the gates multiplied in, malloc'ed; for a run with trained gates. */
DART_NODISCARD dart_status dart_run_gate_absorbed(
    const dart_run *run, float **out, uint32_t **out_counts);
/* The mask of evaluation from the parameters on the device. */
DART_NODISCARD dart_status dart_run_gate_show(dart_run *run);
void dart_run_gate_scalars(const dart_run *run, const dart_stage *stage, dart_step_scalars *out);
void dart_run_gate_observe(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars,
    const dart_step_result *result);
void dart_run_gate_log(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars);
json_t *dart_run_gate_json(const dart_run *run);
DART_NODISCARD dart_status dart_run_gate_read(dart_run *run, json_t *body, const char *path);

/* spectra.c: mean effective rank over all bonds by the measure of `set`; 0 if there are none. */
DART_NODISCARD dart_status dart_run_effective_rank(
    dart_run *run, const dart_settings *set, double *out);
/* round.c: sizes, ranks and perplexities of the model rounded to `epsilon` into `row`; the run
 * stays as it is. */
DART_NODISCARD dart_status dart_run_rounded(dart_run *run, double epsilon, dart_table_row *row);
/* events.c: ranks and sizes of all weights into metrics.jsonl; old: the model before a selection,
 * NULL when there was none. rule: what chose the ranks. */
void dart_run_log_ranks(dart_run *run, const dart_model *old, const char *rule);
/* The device at hand into timing.jsonl. */
void dart_run_log_device(dart_run *run);
/* Whether spectra are due after this step. total: the steps of the run. */
bool dart_run_spectra_due(const dart_run *run, uint64_t total);

/* What train and compare share: the stages of a recipe for a corpus; recipe must be expanded. */
void dart_protocol_for(const dart_settings *set, const dart_corpus *corpus, dart_protocol *out);
/* schedule.c: learning rate of step `at` of a stage. */
double dart_stage_lr(const dart_stage *stage, uint64_t at);
/* lambda of step `at`: with rise W, t = (at + 1) / W < 1: linear lambda t, exponential
 * lambda 10^(-3 (1 - t)); 0 without penalty. */
double dart_stage_lambda(const dart_stage *stage, uint64_t at);
uint64_t dart_stage_lambda_steps(const dart_stage *stage);
/* Steps between measurements of the effective rank, 0: none. */
uint64_t dart_stage_rank_steps(const dart_stage *stage);
/* Takes a measurement after step `at` of the stage; whether the rank has stood still for long
 * enough. */
bool dart_plateau(const dart_stage *stage, uint64_t at, double rank, dart_rest *rest);
/* Ends stage `at` after `done` steps: what is left goes to the next stage that has steps, so that
 * the run sees the tokens that its recipe says. Adds to moved[]. */
void dart_stage_end(dart_stage *stages, uint32_t count, uint32_t at, uint64_t done, int64_t *moved);
/* DIVERGED with the sentence, or OK. */
DART_NODISCARD dart_status dart_step_check(
    const dart_step_result *result, uint32_t vocab, uint64_t step, double lr, const char *advice);

#endif
