/* A session binds one model to one open device: regions, graphs, plans, recorded programs. What
 * bench, inspect and the stage interpreter share. Nothing is allocated by step or eval. */
#ifndef DART_SESSION_H
#define DART_SESSION_H

#include "data.h"
#include "model.h"
#include "optim.h"
#include "program.h"
#include "reg.h"

typedef struct dart_session_options {
    uint32_t batch, time, accumulation, chunk_rows;
    bool chunk_grows; /* on a GPU more rows than chunk_rows, as far as their logits are a 64th of
                         its memory: few launches, and work for all of its units */
    bool train, eval,
        logits; /* which programs to make; logits: of all positions, for one sequence (batch 1) */
    dart_dtype activations;  /* training: in which those wait for gradients: f32, f16 or bf16 */
    bool recompute;          /* training: blocks are computed a second time for their gradients */
    const bool *covariance;  /* borrowed, one a weight: whose inputs to measure; NULL: none */
    bool gradients;          /* covariance: also the loss's gradients by their outputs */
    const dart_optim *optim; /* train */
    dart_options optim_options;
    double max_grad_norm;
    /* encoder-decoder: training programs by length of the sentences; classifier: those of training
     * and evaluation by length of the texts; 0, 1: one */
    uint32_t shapes;
    const dart_reg *reg; /* NULL: no penalty */
    dart_options reg_options;
    double ordered;      /* ordered dropout */
    uint32_t candidates; /* of gates by candidate; as the model's */
    /* NULL, or where the values of FROZEN stand until the session goes: a device on the host's
     * processor reads them there. They are still to be written. */
    float *frozen;
} dart_session_options;

/* The programs of a session; empty where one was not asked for. */
enum {
    DART_PART_STEP,   /* loss, gradients and, without accumulation, the update: one submit a step */
    DART_PART_MORE,   /* with accumulation: gradients added to what is there */
    DART_PART_UPDATE, /* with accumulation: penalty, clipping, AdamW */
    DART_PART_EVAL,
    DART_PART_LOGITS,
    DART_PART_COVARIANCE,
    DART_PARTS
};
const char *dart_part_name(
    int part); /* "step", "accumulate", "update", "eval", "logits", "covariance" */

typedef struct dart_shapes dart_shapes; /* shapes.c */

/* The moments of what weights multiply: a row x (in) of a weight's input adds x^T x and x. Or of
 * gradients, x (out) being the derivative of a batch's summed negative log likelihood by a row of a
 * weight's output. */
typedef struct dart_covariance {
    uint32_t size;   /* in, or out */
    uint32_t weight; /* the first that reads this input, or whose output it is */
    uint64_t offset; /* of a batch's sum, in OUTPUT */
    double *sum;     /* owned (size, size), symmetric */
    double *total;   /* owned (size): of the rows x themselves */
} dart_covariance;
enum { DART_NO_COVARIANCE = UINT32_MAX };
typedef struct dart_covariances {
    uint64_t rows;       /* that were summed */
    uint32_t count;      /* inputs: weights that read the same (q, k, v; gate, up) share one; and
                            gradients, one a weight */
    dart_covariance *of; /* owned */
    uint32_t *place; /* owned, one a weight: index of its input in `of`, or DART_NO_COVARIANCE */
    uint32_t
        *gradient; /* owned, the same of its gradient; of the head and of tables there is none */
} dart_covariances;

/* Told of each program that a step or an evaluation ran, with the seconds of its launches; name as
 * in dart_part_name. Programs are then replayed launch by launch: the same bits, but slower. */
typedef struct dart_session_watch {
    dart_status (*ran)(
        void *user, const char *name, const dart_graph_program *program, const double *seconds);
    void *user;
} dart_session_watch;

/* A step, or a batch of an evaluation, that the device was given. */
typedef struct dart_session_flight {
    uint64_t ticket, tokens, rows; /* ticket: 0 where it is over */
    float metric[DART_METRIC_WORDS], norm;
    /* of an evaluation, owned, as `rows` and `scores` of the session; labels (rows) */
    float *row, *score;
    int32_t *labels;
} dart_session_flight;

typedef struct dart_session {
    dart_session_watch watch; /* ran NULL: nobody */
    dart_program_times times; /* of making it; build: with buffers and tables */
    dart_device *device;      /* borrowed */
    const dart_model *model;  /* borrowed */
    dart_session_options options;
    dart_memory memory;
    dart_graph_program part[DART_PARTS];
    dart_shapes *shapes;                        /* owned; NULL: one shape */
    dart_session_flight flight[DART_IN_FLIGHT]; /* steps.c */
    uint32_t oldest, flying; /* steps that were submitted and not taken: the oldest, and how many */
    float *rows;             /* owned (batch * time), eval: of its last batch */
    /* eval of a classifier, owned: scores (batch, labels) of the last batch; (labels, labels): how
     * many texts of label i the last evaluation took for one of label j */
    float *scores;
    uint64_t *confusion;
    /* eval of a language: tokens of the last evaluation that were the likeliest, and that were
     * among the five likeliest; what ties with others counts as behind them */
    uint64_t top1, top5;
    int32_t *zeros; /* owned (batch * time), of a packed model: rows of one document each */
    float *logits;  /* owned (time, logit_columns) */
    uint32_t logit_columns;
    dart_covariances covariances; /* those asked for; sums are zeros until they are measured */
} dart_session;

/* `device` may be NULL with `caps` given: graphs and plans only, nothing is allocated on a device
 * (for inspect). */
DART_NODISCARD dart_status dart_session_new(dart_device *device, const dart_caps *caps,
    const dart_model *model, const dart_session_options *options, dart_session **out);
void dart_session_free(dart_session *session);

/* Host f32 arrays as dart_model_init lays them out; moment is (states of the optimizer,
 * param_words) or NULL for zeros. */
DART_NODISCARD dart_status dart_session_write(
    dart_session *session, const float *param, const float *frozen, const float *moment);
/* moment may be NULL. */
DART_NODISCARD dart_status dart_session_read(dart_session *session, float *param, float *moment);
/* The gradients of the last step, summed over its micro-batches, in PARAM's layout. */
DART_NODISCARD dart_status dart_session_gradient(dart_session *session, float *out);

typedef struct dart_step_scalars {
    uint64_t seed, step; /* step: counts from 0; names the dropout mask and the batches */
    uint64_t adam_step;  /* counts from 1 since the moments were zero */
    double lr, penalty;  /* penalty: lambda times lr */
    dart_gate_scalars gate;
    double gate_lr;
    uint64_t gate_step; /* counts from 1 since the gates appeared */
} dart_step_scalars;
typedef struct dart_step_result {
    float loss, grad_norm, penalty;
    float gate_size; /* expected size relative to that when the gates appeared */
    uint64_t bad;    /* gradients that are NaN or infinite */
    uint64_t tokens; /* labels that counted; of a classifier, tokens of the texts */
    uint64_t rows;   /* places for labels, padding included */
} dart_step_result;
/* One optimizer step on batches step * accumulation .. of the stream. Submitted, it is at work on
 * the device while the host does something else, at most DART_IN_FLIGHT of them (of device->flight
 * it pays); their results are taken one by one in their order, and until all are taken nothing else
 * may be asked of the session: FAILED. A step that failed on the device is told where it is taken.
 */
DART_NODISCARD dart_status dart_session_submit(
    dart_session *session, dart_stream *stream, const dart_step_scalars *scalars);
DART_NODISCARD dart_status dart_session_take(dart_session *session, dart_step_result *out);
/* Both at once. */
DART_NODISCARD dart_status dart_session_step(dart_session *session, dart_stream *stream,
    const dart_step_scalars *scalars, dart_step_result *out);
/* A part once more, on what the last step or evaluation left: for measurements, as parameters and
 * moments go on where it is an update. */
DART_NODISCARD dart_status dart_session_replay(const dart_session *session, int part);
/* The mask that evaluation uses from now on, (bonds, stride) as in gates.h. */
DART_NODISCARD dart_status dart_session_mask(dart_session *session, const float *mask);
/* Sum of the negative log likelihoods of a split and the number of tokens; of a classifier, of
 * texts. */
DART_NODISCARD dart_status dart_session_eval(
    dart_session *session, dart_stream *stream, double *out_nll, uint64_t *out_tokens);
/* Logits (time, logit_columns) of one sequence of `time` tokens into session->logits. index:
 * scatter index of the tokens, (vocab + 1 + time). */
DART_NODISCARD dart_status dart_session_logits(
    dart_session *session, const int32_t *tokens, const int32_t *index);
/* Sums over training batches 0 .. batches - 1 of the stream, rows without a label left out, added
 * to session->covariances in f64 (a batch's own sums are f32). INPUT: no row has a label; DIVERGED:
 * an input is not finite. */
DART_NODISCARD dart_status dart_session_covariance(
    dart_session *session, dart_stream *stream, uint64_t batches);
void dart_covariances_free(dart_covariances *covariances); /* zeroes it */

/* The same of a model's host values, with a session of its own of the stream's batch and time.
 * wanted: one a weight; gradient_rows: above 0 for gradients too, with so many rows of logits alive
 * at once. *out is the caller's to free. INPUT: an encoder-decoder, a model with gates, or nothing
 * is wanted; else as above. */
DART_NODISCARD dart_status dart_model_covariances(dart_device *device, const dart_model *model,
    const float *param, const float *frozen, dart_stream *stream, uint64_t batches,
    const bool *wanted, uint32_t gradient_rows, dart_covariances *out);

#endif
