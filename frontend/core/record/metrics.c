/* Line logs of a run, cut back exactly on resume. */
#include "metrics.h"
#include "field.h"
#include "file.h"
#include "filestream.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

static const char *const names[DART_LOGS] = {"metrics.jsonl", "timing.jsonl", "spectra.jsonl"};

dart_status dart_metrics_open(const char *dir, const uint64_t offset[DART_LOGS], dart_metrics *out)
{
    dart_status status = DART_OK;
    *out = (dart_metrics){0};
    for (int i = 0; i < DART_LOGS; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        struct stat info;
        bool there = stat(path, &info) == 0;
        if (there && (uint64_t)info.st_size < offset[i]) {
            status = dart_fail(DART_INPUT,
                "%s is shorter (%" PRIu64 " bytes) than the checkpoint says (%" PRIu64
                "); restore it, or start over with --force",
                path, (uint64_t)info.st_size, offset[i]);
            goto done;
        }
        if (!there && offset[i]) {
            status = dart_fail(
                DART_INPUT, "%s is missing; restore it, or start over with --force", path);
            goto done;
        }
        out->file[i] = dart_filestream_open(path, "a", &out->fd[i]);
        out->buffer[i] = dart_calloc(1, BUFFER);
        if (!out->buffer[i]) {
            status = DART_MEMORY;
            goto done;
        }
        if (!out->file[i] || TEMP_FAILURE_RETRY(ftruncate(out->fd[i], (off_t)offset[i]))) {
            status =
                dart_fail(dart_errno_code(errno), "cannot write %s: %s", path, strerror(errno));
            goto done;
        }
        setvbuf(out->file[i], out->buffer[i], _IOFBF, BUFFER);
    }
    status = dart_dir_sync(dir); /* the logs may be new */
done:
    if (status != DART_OK) dart_metrics_close(out);
    return status;
}

dart_status dart_metrics_sync(dart_metrics *metrics, uint64_t out_offset[DART_LOGS])
{
    for (int i = 0; i < DART_LOGS; i++) {
        FILE *f = metrics->file[i];
        struct stat info;
        if (fflush(f) || ferror(f) || TEMP_FAILURE_RETRY(fsync(metrics->fd[i])) ||
            fstat(metrics->fd[i], &info))
            return dart_fail(DART_IO, "cannot write %s: %s; free some space and use --resume",
                names[i], strerror(errno));
        out_offset[i] = (uint64_t)info.st_size;
    }
    return DART_OK;
}

void dart_metrics_close(dart_metrics *metrics)
{
    for (int i = 0; i < DART_LOGS; i++) {
        if (metrics->file[i]) fclose(metrics->file[i]);
        free(metrics->buffer[i]);
    }
    *metrics = (dart_metrics){0};
}

/* ---- lines ---- */

/* Significant digits: metrics are compared bit for bit with those of a resumed run. */
enum { METRIC = 9, COARSE = 6 };

#define F DART_FIELD
#define WRITE(log, table, record, digits)                                                          \
    dart_field_line(DART_FIELDS(table), &(record), digits, metrics->file[log])

typedef struct step_line {
    uint64_t step;
    const char *stage;
    double loss, lr, grad_norm, penalty, lambda, penalty_ratio;
    uint64_t tokens;
} step_line;

void dart_metrics_step(dart_metrics *metrics, uint64_t step, const char *stage, double loss,
    double lr, double grad_norm, double penalty, double lambda, uint64_t tokens)
{
    static const dart_field fields[] = {F(step_line, step), F(step_line, stage), F(step_line, loss),
        F(step_line, lr), F(step_line, grad_norm), F(step_line, penalty), F(step_line, lambda),
        F(step_line, penalty_ratio), F(step_line, tokens)};
    const step_line line = {
        step, stage, loss, lr, grad_norm, penalty, lambda, lambda * penalty / loss, tokens};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

typedef struct rank_line {
    uint64_t step;
    const char *stage;
    double effective_rank;
    const char *rank_measure;
} rank_line;

void dart_metrics_rank(
    dart_metrics *metrics, uint64_t step, const char *stage, const char *measure, double rank)
{
    static const dart_field fields[] = {F(rank_line, step), F(rank_line, stage),
        F(rank_line, effective_rank), F(rank_line, rank_measure)};
    const rank_line line = {step, stage, rank, measure};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

typedef struct timing_line {
    uint64_t step;
    double tokens_per_s, seconds;
} timing_line;

void dart_metrics_timing(dart_metrics *metrics, uint64_t step, double tokens_per_s, double seconds)
{
    static const dart_field fields[] = {
        F(timing_line, step), F(timing_line, tokens_per_s), F(timing_line, seconds)};
    const timing_line line = {step, tokens_per_s, seconds};
    WRITE(DART_LOG_TIMING, fields, line, COARSE);
}

typedef struct pick_line {
    uint64_t step;
    double svd_s, plan_s, build_s;
    uint64_t kernels_made, kernels_found;
} pick_line;

void dart_metrics_pick_timing(dart_metrics *metrics, uint64_t step, double svd, double plan,
    double build, uint64_t made, uint64_t found)
{
    static const dart_field fields[] = {F(pick_line, step), F(pick_line, svd_s),
        F(pick_line, plan_s), F(pick_line, build_s), F(pick_line, kernels_made),
        F(pick_line, kernels_found)};
    const pick_line line = {step, svd, plan, build, made, found};
    WRITE(DART_LOG_TIMING, fields, line, COARSE);
}

typedef struct eval_line {
    uint64_t step;
    const char *stage;
    double nll, ppl;
} eval_line;

void dart_metrics_eval(dart_metrics *metrics, uint64_t step, const char *stage, const char *split,
    double nll, double perplexity)
{
#define EVAL(split)                                                                                \
    {                                                                                              \
        F(eval_line, step), F(eval_line, stage), DART_FIELD_AS(eval_line, nll, split "_nll"),      \
            DART_FIELD_AS(eval_line, ppl, split "_ppl")                                            \
    }
    static const dart_field fields[2][4] = {EVAL("valid"), EVAL("test")};
#undef EVAL
    const eval_line line = {step, stage, nll, perplexity};
    WRITE(DART_LOG_METRICS, fields[!strcmp(split, "test")], line, METRIC);
}

typedef struct classes_line {
    uint64_t step;
    const char *stage;
    double accuracy, f1, matthews;
} classes_line;

void dart_metrics_classes(dart_metrics *metrics, uint64_t step, const char *stage,
    const char *split, double accuracy, double f1, double matthews)
{
#define CLASSES(split)                                                                             \
    {                                                                                              \
        F(classes_line, step), F(classes_line, stage),                                             \
            DART_FIELD_AS(classes_line, accuracy, split "_accuracy"),                              \
            DART_FIELD_AS(classes_line, f1, split "_f1"),                                          \
            DART_FIELD_AS(classes_line, matthews, split "_matthews")                               \
    }
    static const dart_field fields[2][5] = {CLASSES("valid"), CLASSES("test")};
#undef CLASSES
    const classes_line line = {step, stage, accuracy, f1, matthews};
    WRITE(DART_LOG_METRICS, fields[!strcmp(split, "test")], line, METRIC);
}

typedef struct bleu_line {
    uint64_t step;
    const char *stage;
    double test_bleu;
} bleu_line;

void dart_metrics_bleu(dart_metrics *metrics, uint64_t step, const char *stage, double test_bleu)
{
    static const dart_field fields[] = {
        F(bleu_line, step), F(bleu_line, stage), F(bleu_line, test_bleu)};
    const bleu_line line = {step, stage, test_bleu};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

typedef struct spectrum_line {
    uint64_t step;
    const char *weight;
    uint32_t bond, count;
    const double *sigma;
} spectrum_line;

void dart_metrics_spectrum(dart_metrics *metrics, uint64_t step, const char *weight, uint32_t bond,
    const double *sigma, uint32_t count)
{
    static const dart_field fields[] = {F(spectrum_line, step), F(spectrum_line, weight),
        F(spectrum_line, bond), DART_FIELD_LIST(spectrum_line, sigma, count, "sigma")};
    const spectrum_line line = {step, weight, bond, count, sigma};
    WRITE(DART_LOG_SPECTRA, fields, line, COARSE);
}

typedef struct stage_line {
    uint64_t step;
    const char *stage, *event;
    uint64_t steps;
    const char *reg;
    double lambda_reg;
} stage_line;

void dart_metrics_stage(dart_metrics *metrics, uint64_t step, const char *stage, uint64_t steps,
    const char *reg, double lambda)
{
    static const dart_field fields[] = {F(stage_line, step), F(stage_line, stage),
        F(stage_line, event), F(stage_line, steps), F(stage_line, reg), F(stage_line, lambda_reg)};
    const stage_line line = {step, stage, "stage", steps, reg, lambda};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

typedef struct end_line {
    uint64_t step;
    const char *stage, *event;
} end_line;

void dart_metrics_end(dart_metrics *metrics, uint64_t step, const char *stage)
{
    static const dart_field fields[] = {F(end_line, step), F(end_line, stage), F(end_line, event)};
    const end_line line = {step, stage, "end"};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

typedef struct ranks_line {
    uint64_t step;
    const char *stage, *event, *rule, *weight, *method;
    const uint32_t *n, *was, *now;
    uint32_t cores, bonds;
    uint64_t dense_params, params_before, params;
    double error, bound;
} ranks_line;

void dart_metrics_ranks(dart_metrics *metrics, uint64_t step, const char *stage, const char *rule,
    const dart_metrics_weight *w)
{
    static const dart_field fields[] = {F(ranks_line, step), F(ranks_line, stage),
        F(ranks_line, event), F(ranks_line, rule), F(ranks_line, weight), F(ranks_line, method),
        DART_FIELD_LIST(ranks_line, n, cores, "n"),
        DART_FIELD_LIST(ranks_line, was, bonds, "ranks_before"),
        DART_FIELD_LIST(ranks_line, now, bonds, "ranks"), F(ranks_line, dense_params),
        F(ranks_line, params_before), F(ranks_line, params),
        DART_FIELD_OPTIONAL(ranks_line, error, "cut_error"),
        DART_FIELD_OPTIONAL(ranks_line, bound, "cut_error_bound")};
    const ranks_line line = {.step = step,
        .stage = stage,
        .event = "ranks",
        .rule = rule,
        .weight = w->name,
        .method = w->method,
        .n = w->n,
        .was = w->was + 1,
        .now = w->now + 1,
        .cores = w->cores,
        .bonds = w->cores ? w->cores - 1 : 0,
        .dense_params = w->dense,
        .params_before = w->params_was,
        .params = w->params,
        .error = w->error,
        .bound = w->bound};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

typedef struct device_line {
    uint64_t step;
    const char *event, *device, *name, *driver, *api;
} device_line;

void dart_metrics_device(dart_metrics *metrics, uint64_t step, const char *id, const char *name,
    const char *driver, const char *api)
{
    static const dart_field fields[] = {F(device_line, step), F(device_line, event),
        F(device_line, device), F(device_line, name), F(device_line, driver), F(device_line, api)};
    const device_line line = {step, "device", id, name, driver, api};
    WRITE(DART_LOG_TIMING, fields, line, COARSE);
}

typedef struct gate_line {
    uint64_t step;
    const char *stage;
    dart_gate_log log;
} gate_line;

void dart_metrics_gate(
    dart_metrics *metrics, uint64_t step, const char *stage, const dart_gate_log *log)
{
#define G(name) DART_FIELD_AS(gate_line, log.name, "gate_" #name)
    static const dart_field fields[] = {F(gate_line, step), F(gate_line, stage),
        DART_FIELD_AS(gate_line, log.gate, "gate"), G(size), G(words), G(target), G(weight), G(l1),
        G(l2), DART_FIELD_OPTIONAL(gate_line, log.push, "gate_push"),
        DART_FIELD_OPTIONAL(gate_line, log.tau, "gate_tau")};
#undef G
    const gate_line line = {step, stage, *log};
    WRITE(DART_LOG_METRICS, fields, line, METRIC);
}

void dart_metrics_flush(dart_metrics *metrics)
{
    for (int i = 0; i < DART_LOGS; i++) fflush(metrics->file[i]);
}
