/* One run inside the training room: a bundle that is trained, on a device, with its data, its place
 * in the stages and its logs. */
#ifndef DART_RUN_H
#define DART_RUN_H

#include "bundle.h"
#include "cut.h"
#include "folder.h"
#include "metrics.h"
#include "perplexity.h"
#include "profile.h"
#include "select.h"
#include "setup.h"
#include "train.h"

/* A mean effective rank that has not moved since a step of the stage. */
typedef struct dart_rest {
    double rank; /* 0: not measured yet in this stage */
    uint64_t since;
} dart_rest;

/* What validation has shown in the stage at hand, for early stopping. */
typedef struct dart_waiting {
    uint64_t evaluations, since; /* since: the last ones in a row that were no progress */
    double nll;                  /* the smallest; where there were evaluations */
} dart_waiting;

/* Of the model as the last selection left it: where validation was best. */
typedef struct dart_best {
    uint64_t step; /* 0: it was not evaluated yet, or nobody asked */
    double nll;
} dart_best;

/* Of a stage whose ranks grow: what its rule keeps of every bond. */
typedef struct dart_growing {
    dart_score *score; /* owned [bonds]; NULL: the stage at hand does not grow */
    uint32_t bonds;
    /* owned, of the model at hand: its bonds, and room for a step */
    dart_bond *bond;
    uint32_t *rank;
    double *sensitivity;
    float *gradient; /* PARAM's words */
} dart_growing;

typedef struct dart_run {
    /* what */
    dart_bundle bundle; /* recipe expanded; its vocabularies are the corpus's */
    dart_stage stage[DART_MAX_STAGES];
    uint32_t stages;
    char dir[DART_RUN_PATH];
    const char *home; /* borrowed: the folder to resume; a dense twin's is not its own */
    const char
        *row; /* "dense twin", "TT", a method beside a base: what progress calls it; static */
    dart_hooks hooks;
    /* with what */
    dart_device *device;   /* borrowed */
    dart_corpus *corpus;   /* borrowed */
    char fingerprint[33];  /* of tokens and vocabulary */
    dart_session *session; /* of the bundle's model */
    dart_settings bound;   /* what the session was made for */
    dart_stream train, valid, test;
    dart_metrics metrics;
    float *moment; /* owned host copy, as the bundle's values filled when needed */
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
    uint32_t owed; /* DART_OWED_: what a stop left undone after the last step */
    dart_rest rest;
    dart_waiting waiting;
    dart_best best;
    dart_growing growing;
    bool ahead; /* a step is given to the device before the results of the last one are taken: only
                   where nobody looks at the run in between */
    double since;           /* when the step in flight began, or the one before it was over */
    uint32_t steps_here;    /* of this call, until the expected time was told */
    uint32_t profile_steps; /* of this call, until one was timed launch by launch */
    bool profiled;
    int64_t
        moved[DART_MAX_STAGES]; /* steps that plateaus moved to a later stage, or stops left out */
} dart_run;

/* Tells the user one line. */
#define dart_run_note(run, ...) dart_note_line(dart_note_of(&(run)->hooks), __VA_ARGS__)

/* run.c */
/* A new model with zeros, and no moments; ranks as in dart_model_new. */
DART_NODISCARD dart_status dart_run_model(
    dart_run *run, const uint32_t (*ranks)[DART_MAX_CORES + 1]);
/* A new model as training begins with it, initial values, the base and adapters beside it; no
 * moments. */
DART_NODISCARD dart_status dart_run_fresh(dart_run *run);
/* The same, or with the ranks and values of `origin`, a run to begin with (origin->model NULL:
 * none). INPUT: its tensors are others. */
DART_NODISCARD dart_status dart_run_start(dart_run *run, const dart_bundle *origin);
/* Instead of the run's model, session and moments: a model made from it, with moments zero. */
DART_NODISCARD dart_status dart_run_adopt(dart_run *run, dart_model_copy *copy);
void dart_run_unbind(dart_run *run);                     /* frees the session */
void dart_run_grow_room_end(dart_run *run);              /* frees all of `growing` but the scores */
void dart_run_grow_end(dart_run *run);                   /* ... and the scores */
DART_NODISCARD dart_status dart_run_pull(dart_run *run); /* device to host copies, moments too */
DART_NODISCARD dart_status dart_run_read(dart_run *run); /* parameters only */
/* The stage at hand, or the last one after the end. */
const dart_stage *dart_run_stage(const dart_run *run);
uint64_t dart_run_steps(const dart_run *run); /* of all stages */
void dart_run_free(dart_run *run);
/* What the stages to come would be refused for (dart_stages_check). */
DART_NODISCARD dart_status dart_run_check(const dart_run *run);
/* DIVERGED with the sentence, or OK. */
DART_NODISCARD dart_status dart_step_check(
    const dart_step_result *result, uint32_t vocab, uint64_t step, double lr, const char *advice);

/* interpreter.c */
/* Evaluations end at once when the caller wants to stop; a checkpoint then says what was not done.
 */
enum {
    DART_OWED_NOTHING,
    DART_OWED_MEASURES, /* what follows a step: evaluation, spectra, ranks */
    DART_OWED_ROW,      /* the row after the stage's selection */
    DART_OWED_ROUNDED   /* the row of the rounded model, after that of the trained one */
};
/* To the first step that is left: selections may come before it. */
DART_NODISCARD dart_status dart_run_begin(dart_run *run);
/* One step of a run that is not finished, and what comes after it: evaluation, selection, a
 * checkpoint, the last rows. */
DART_NODISCARD dart_status dart_run_next(dart_run *run);

/* train.c */
/* What the runs of one training share; it must stay where it is as long as one of them is open. */
typedef struct dart_training {
    dart_hooks hooks;
    dart_device *device; /* owned */
    dart_corpus corpus;  /* owned */
    dart_folder folder;  /* held until it is closed */
    dart_bundle origin;  /* owned; the run that this one begins with; without a model: none */
    dart_result *out;    /* borrowed */
} dart_training;
/* One run of a recipe, without a twin, as far as its first step. corpus: NULL, or what is taken
 * over instead of the recipe's data. Close it also after a failure. */
DART_NODISCARD dart_status dart_training_open(const dart_recipe *given, dart_corpus *corpus,
    const dart_hooks *hooks, dart_result *out, dart_training *t, dart_run *run);
/* The table of a finished run, and its rows into the result. */
DART_NODISCARD dart_status dart_training_finish(dart_training *t, const dart_run *run);
void dart_training_close(dart_training *t, dart_run *run);

/* align.c: initial values that begin along the principal directions of inputs, which are measured
 * on the run's device; nothing where no method asks for them. As dart_model_covariances. */
DART_NODISCARD dart_status dart_run_align(dart_run *run);

/* bind.c */
DART_NODISCARD dart_status dart_run_bind(
    dart_run *run); /* session for the stage at hand, from the host copies */
/* split: "valid" or "test". DIVERGED: not finite. INTERRUPTED, TERMINATED: stopped (stop.h); the
 * run is as before. */
DART_NODISCARD dart_status dart_run_evaluate(
    dart_run *run, dart_stream *stream, const char *split, dart_perplexity *out);
void dart_run_log_evaluation(dart_run *run, const char *split, const dart_perplexity *found);

/* rows.c */
/* Adds a table row with both perplexities, and BLEU where the recipe wants it. */
DART_NODISCARD dart_status dart_run_row(dart_run *run, const char *name);
/* Appends a row to the table and tells the user. */
void dart_run_row_add(dart_run *run, const dart_table_row *row);
/* Parameters, compression and ranks of a model into `row`. */
void dart_row_counts(const dart_model *model, dart_table_row *row);
/* What two evaluations found. */
void dart_row_scores(
    const dart_perplexity *valid, const dart_perplexity *test, dart_table_row *row);

/* prox.c: the host step of the stage's penalty, if it has one and it is due after the step just
 * done; penalty: lr lambda of that step */
DART_NODISCARD dart_status dart_run_prox(dart_run *run, double penalty);
/* Whether it is due after step `at` of the stage. */
bool dart_run_prox_due(const dart_run *run, uint64_t at);

/* grow.c: ranks that grow while a stage trains */
/* Room for the stage at hand, where it has none yet; scores of an earlier stage are forgotten. */
DART_NODISCARD dart_status dart_run_grow_bind(dart_run *run);
/* Before a step: the parameters that its gradients are of, into the host copy. */
DART_NODISCARD dart_status dart_run_grow_look(dart_run *run);
/* After a step: scores; a larger model with its moments and programs where it is time. */
DART_NODISCARD dart_status dart_run_grow(dart_run *run);
/* How often the ranks of a stage grow. */
uint64_t dart_stage_growths(const dart_stage *stage);

/* state.c: checkpoints of a run */
DART_NODISCARD dart_status dart_run_save(dart_run *run);
/* Model, host copies and position from the newest checkpoint below `root`, for a run with recipe,
 * stages and corpus. INPUT: it belongs to another recipe, data or vocabulary, unless `force`. */
DART_NODISCARD dart_status dart_run_load(dart_run *run, const char *root, bool force);

/* Values and moments of a step that was saved with the model at hand. INPUT: none that is sound. */
DART_NODISCARD dart_status dart_run_load_step(dart_run *run, const char *root, uint64_t step);

/* profile.c: a step that is timed launch by launch, where the recipe asks for it */
/* Whether it is the next one; asked once a step. */
bool dart_run_profile_due(dart_run *run);
/* As `ran` of a session's watch; profile: a dart_profile. */
DART_NODISCARD dart_status dart_run_profile_add(
    void *profile, const char *name, const dart_graph_program *program, const double *seconds);
/* profile.md, profile.json and trace.json into the run directory. */
DART_NODISCARD dart_status dart_run_profile_end(dart_run *run, dart_profile *profile);

/* best.c */
/* Takes in the validation loss after a step: a best step, a stage that ends here. */
void dart_run_validated(dart_run *run, double nll);
/* At the end: the best step's model instead of the last one, where the recipe asks for it. */
DART_NODISCARD dart_status dart_run_take_best(dart_run *run);

/* pick.c */
/* Bond spectra into spectra.jsonl. */
DART_NODISCARD dart_status dart_run_spectra(dart_run *run);
/* Chooses ranks by the stage's rule, cuts, and leaves the smaller model in the host copies, moments
 * zero. *out_svd: seconds in spectra, rule and cut. */
DART_NODISCARD dart_status dart_run_pick(dart_run *run, const dart_settings *set, double *out_svd);
/* Mean effective rank over all bonds by the measure of `set`; 0 if there are none. */
DART_NODISCARD dart_status dart_run_effective_rank(
    dart_run *run, const dart_settings *set, double *out);

/* gates.c */
/* Model and host copies as a stage with these options needs them: gates appear, change or vanish
 * into the cores. Frees the session if anything changes. INPUT: a target below the minimum. */
DART_NODISCARD dart_status dart_run_gate_bind(
    dart_run *run, const dart_session_options *options, const dart_settings *set);
/* Gates into the cores of the host copies, and gone, with the session. out_counts as in
 * dart_bundle_strip. */
DART_NODISCARD dart_status dart_run_gate_strip(dart_run *run, uint32_t **out_counts);
/* The mask of evaluation from the parameters on the device. */
DART_NODISCARD dart_status dart_run_gate_show(dart_run *run);
void dart_run_gate_scalars(const dart_run *run, const dart_stage *stage, dart_step_scalars *out);
void dart_run_gate_observe(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars,
    const dart_step_result *result);
void dart_run_gate_log(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars);

/* round.c: sizes, ranks and perplexities of the model rounded to `epsilon` into `row`; the run
 * stays as it is. */
DART_NODISCARD dart_status dart_run_rounded(dart_run *run, double epsilon, dart_table_row *row);
/* events.c: ranks and sizes of all weights into metrics.jsonl. was: the model before, `now` itself
 * for a fresh one. rule: what chose the ranks. cut: what it took away; NULL: nothing was cut. */
void dart_run_log_ranks(dart_run *run, const dart_model *was, const dart_model *now,
    const char *rule, const dart_cut *cut);
/* The device at hand into timing.jsonl. */
void dart_run_log_device(dart_run *run);
/* Whether spectra are due after a step. total: the steps of the run. */
bool dart_run_spectra_due(const dart_run *run, uint64_t step, uint64_t total);

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
/* Takes in a validation loss; whether the stage's patience is over. Progress is a loss below the
 * smallest one by more than the threshold; the first of a stage is progress. */
bool dart_waited(const dart_stage *stage, double nll, dart_waiting *waiting);
/* Ends stage `at` after `done` steps and leaves the others out. Subtracts from moved[at]. */
void dart_stage_stop(dart_stage *stages, uint32_t at, uint64_t done, int64_t *moved);
/* Ends stage `at` after `done` steps: what is left goes to the next stage that has steps, so that
 * the run sees the tokens that its recipe says. Adds to moved[]. */
void dart_stage_end(dart_stage *stages, uint32_t count, uint32_t at, uint64_t done, int64_t *moved);

#endif
