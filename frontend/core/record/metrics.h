/* The logs of a run directory: metrics.jsonl (the same bits whenever the run is repeated or
 * resumed), timing.jsonl (what differs), spectra.jsonl. Lines are flat JSON objects; README.md
 * lists their keys. */
#ifndef DART_METRICS_H
#define DART_METRICS_H

#include "mem.h"
#include <stdio.h>

enum { DART_LOG_METRICS, DART_LOG_TIMING, DART_LOG_SPECTRA, DART_LOGS };

typedef struct dart_metrics {
    FILE *file[DART_LOGS];
    int fd[DART_LOGS];       /* of `file` */
    char *buffer[DART_LOGS]; /* owned: no allocation while writing */
} dart_metrics;

/* Opens the three logs of `dir` for appending after byte `offset[i]` (what a checkpoint recorded;
 * all 0: from scratch); what came later is cut off. */
DART_NODISCARD dart_status dart_metrics_open(
    const char *dir, const uint64_t offset[DART_LOGS], dart_metrics *out);
/* Everything on the disk; out_offset: the sizes. IO: the disk is full ... */
DART_NODISCARD dart_status dart_metrics_sync(dart_metrics *metrics, uint64_t out_offset[DART_LOGS]);
void dart_metrics_close(dart_metrics *metrics);

/* penalty: its value, mean over the weights; lambda: in force at this step; the line also has
 * penalty_ratio = lambda penalty / loss. */
void dart_metrics_step(dart_metrics *metrics, uint64_t step, const char *stage, double loss,
    double lr, double grad_norm, double penalty, double lambda, uint64_t tokens);
/* Mean effective rank over all bonds; measure: "entropy", "count", "stable". */
void dart_metrics_rank(
    dart_metrics *metrics, uint64_t step, const char *stage, const char *measure, double rank);
void dart_metrics_timing(dart_metrics *metrics, uint64_t step, double tokens_per_s, double seconds);
/* What a selection took, in timing.jsonl: "svd_s" on the host, "plan_s" (graphs, paths, plan),
 * "build_s", "kernels_made", "kernels_found". */
void dart_metrics_pick_timing(dart_metrics *metrics, uint64_t step, double svd, double plan,
    double build, uint64_t made, uint64_t found);
/* split: "valid" or "test" */
void dart_metrics_eval(dart_metrics *metrics, uint64_t step, const char *stage, const char *split,
    double nll, double perplexity);
/* The same split of a classifier. */
void dart_metrics_classes(dart_metrics *metrics, uint64_t step, const char *stage,
    const char *split, double accuracy, double f1, double matthews);
void dart_metrics_bleu(dart_metrics *metrics, uint64_t step, const char *stage, double test_bleu);
void dart_metrics_spectrum(dart_metrics *metrics, uint64_t step, const char *weight, uint32_t bond,
    const double *sigma, uint32_t count);

/* ---- events: lines of metrics.jsonl that are no step, and say so by the key "event" ---- */
/* The first step of a stage follows. */
void dart_metrics_stage(dart_metrics *metrics, uint64_t step, const char *stage, uint64_t steps,
    const char *reg, double lambda);
/* The run has done all its stages. */
void dart_metrics_end(dart_metrics *metrics, uint64_t step, const char *stage);

typedef struct dart_metrics_weight {
    const char *name, *method;
    uint32_t cores;      /* 0: no chain */
    const uint32_t *n;   /* [cores] sizes of the cores' own indices */
    const uint32_t *was; /* [cores + 1] ranks before, ends included */
    const uint32_t *now; /* [cores + 1] */
    uint64_t dense, params_was, params;
    double error, bound; /* of a cut, relative to the weight (model/ranks/cut.h); NaN: none */
} dart_metrics_weight;
/* Ranks and size of one weight; rule: what chose them, "start" for the fresh model. */
void dart_metrics_ranks(dart_metrics *metrics, uint64_t step, const char *stage, const char *rule,
    const dart_metrics_weight *weight);
/* What the run, from this step on, runs on: a line of timing.jsonl. */
void dart_metrics_device(dart_metrics *metrics, uint64_t step, const char *id, const char *name,
    const char *driver, const char *api);
typedef struct dart_gate_log {
    const char *gate;
    double size, words, target; /* expected size relative and in parameters; target relative */
    double weight, l1, l2, push, tau; /* push, tau: NaN where there is none */
} dart_gate_log;
void dart_metrics_gate(
    dart_metrics *metrics, uint64_t step, const char *stage, const dart_gate_log *line);
void dart_metrics_flush(dart_metrics *metrics);

#endif
