/* Line logs of a run, cut back exactly on resume. */
#include "metrics.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
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
        out->file[i] = fopen(path, "ab");
        out->buffer[i] = dart_calloc(1, BUFFER);
        if (!out->buffer[i]) {
            status = DART_MEMORY;
            goto done;
        }
        if (!out->file[i] || ftruncate(fileno(out->file[i]), (off_t)offset[i])) {
            status = dart_fail(DART_IO, "cannot write %s: %s", path, strerror(errno));
            goto done;
        }
        setvbuf(out->file[i], out->buffer[i], _IOFBF, BUFFER);
    }
done:
    if (status != DART_OK) dart_metrics_close(out);
    return status;
}

dart_status dart_metrics_sync(dart_metrics *metrics, uint64_t out_offset[DART_LOGS])
{
    for (int i = 0; i < DART_LOGS; i++) {
        FILE *f = metrics->file[i];
        struct stat info;
        if (fflush(f) || ferror(f) || fsync(fileno(f)) || fstat(fileno(f), &info))
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

/* A number as JSON: NaN and infinity are not numbers there. */
static void number(FILE *f, const char *key, double value)
{
    if (isfinite(value))
        fprintf(f, ",\"%s\":%.9g", key, value);
    else
        fprintf(f, ",\"%s\":null", key);
}

/* Stage names and drivers' names are other people's texts. */
static void string(FILE *f, const char *text)
{
    fputc('"', f);
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20) {
            fprintf(f, "\\u%04x", (unsigned)*c);
            continue;
        }
        if (*c == '"' || *c == '\\') fputc('\\', f);
        fputc(*c, f);
    }
    fputc('"', f);
}

static void text(FILE *f, const char *key, const char *value)
{
    fprintf(f, ",\"%s\":", key);
    string(f, value);
}

static void integers(FILE *f, const char *key, const uint32_t *value, uint32_t count)
{
    fprintf(f, ",\"%s\":[", key);
    for (uint32_t i = 0; i < count; i++) fprintf(f, "%s%" PRIu32, i ? "," : "", value[i]);
    fputc(']', f);
}

static void open_line(FILE *f, uint64_t step, const char *stage)
{
    fprintf(f, "{\"step\":%" PRIu64, step);
    text(f, "stage", stage);
}

void dart_metrics_step(dart_metrics *metrics, uint64_t step, const char *stage, double loss,
    double lr, double grad_norm, double penalty, double lambda, uint64_t tokens)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    number(f, "loss", loss);
    number(f, "lr", lr);
    number(f, "grad_norm", grad_norm);
    number(f, "penalty", penalty);
    number(f, "lambda", lambda);
    number(f, "penalty_ratio", lambda * penalty / loss);
    fprintf(f, ",\"tokens\":%" PRIu64 "}\n", tokens);
}

void dart_metrics_rank(
    dart_metrics *metrics, uint64_t step, const char *stage, const char *measure, double rank)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    number(f, "effective_rank", rank);
    fprintf(f, ",\"rank_measure\":\"%s\"}\n", measure);
}

void dart_metrics_timing(dart_metrics *metrics, uint64_t step, double tokens_per_s, double seconds)
{
    fprintf(metrics->file[DART_LOG_TIMING],
        "{\"step\":%" PRIu64 ",\"tokens_per_s\":%.6g,\"seconds\":%.6g}\n", step, tokens_per_s,
        seconds);
}

void dart_metrics_pick_timing(dart_metrics *metrics, uint64_t step, double svd, double plan,
    double build, uint64_t made, uint64_t found)
{
    fprintf(metrics->file[DART_LOG_TIMING],
        "{\"step\":%" PRIu64 ",\"svd_s\":%.6g,\"plan_s\":%.6g,\"build_s\":%.6g,"
        "\"kernels_made\":%" PRIu64 ",\"kernels_found\":%" PRIu64 "}\n",
        step, svd, plan, build, made, found);
}

void dart_metrics_eval(dart_metrics *metrics, uint64_t step, const char *stage, const char *split,
    double nll, double perplexity)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    char key[32];
    open_line(f, step, stage);
    snprintf(key, sizeof key, "%s_nll", split);
    number(f, key, nll);
    snprintf(key, sizeof key, "%s_ppl", split);
    number(f, key, perplexity);
    fputs("}\n", f);
}

void dart_metrics_bleu(dart_metrics *metrics, uint64_t step, const char *stage, double test_bleu)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    number(f, "test_bleu", test_bleu);
    fputs("}\n", f);
}

void dart_metrics_spectrum(dart_metrics *metrics, uint64_t step, const char *weight, uint32_t bond,
    const double *sigma, uint32_t count)
{
    FILE *f = metrics->file[DART_LOG_SPECTRA];
    fprintf(
        f, "{\"step\":%" PRIu64 ",\"weight\":\"%s\",\"bond\":%u,\"sigma\":[", step, weight, bond);
    for (uint32_t i = 0; i < count; i++) fprintf(f, "%s%.6g", i ? "," : "", sigma[i]);
    fputs("]}\n", f);
}

void dart_metrics_stage(dart_metrics *metrics, uint64_t step, const char *stage, uint64_t steps,
    const char *reg, double lambda)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    text(f, "event", "stage");
    fprintf(f, ",\"steps\":%" PRIu64, steps);
    text(f, "reg", reg);
    number(f, "lambda_reg", lambda);
    fputs("}\n", f);
}

void dart_metrics_end(dart_metrics *metrics, uint64_t step, const char *stage)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    text(f, "event", "end");
    fputs("}\n", f);
}

void dart_metrics_ranks(dart_metrics *metrics, uint64_t step, const char *stage, const char *rule,
    const dart_metrics_weight *w)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    text(f, "event", "ranks");
    text(f, "rule", rule);
    text(f, "weight", w->name);
    text(f, "method", w->method);
    uint32_t bonds = w->cores ? w->cores - 1 : 0;
    integers(f, "n", w->n, w->cores);
    integers(f, "ranks_before", w->was + 1, bonds);
    integers(f, "ranks", w->now + 1, bonds);
    fprintf(f,
        ",\"dense_params\":%" PRIu64 ",\"params_before\":%" PRIu64 ",\"params\":%" PRIu64 "}\n",
        w->dense, w->params_was, w->params);
}

void dart_metrics_device(dart_metrics *metrics, uint64_t step, const char *id, const char *name,
    const char *driver, const char *api)
{
    FILE *f = metrics->file[DART_LOG_TIMING];
    fprintf(f, "{\"step\":%" PRIu64, step);
    text(f, "event", "device");
    text(f, "device", id);
    text(f, "name", name);
    text(f, "driver", driver);
    text(f, "api", api);
    fputs("}\n", f);
}

void dart_metrics_gate(
    dart_metrics *metrics, uint64_t step, const char *stage, const dart_gate_log *line)
{
    FILE *f = metrics->file[DART_LOG_METRICS];
    open_line(f, step, stage);
    text(f, "gate", line->gate);
    number(f, "gate_size", line->size);
    number(f, "gate_words", line->words);
    number(f, "gate_target", line->target);
    number(f, "gate_weight", line->weight);
    number(f, "gate_l1", line->l1);
    number(f, "gate_l2", line->l2);
    if (!isnan(line->push)) number(f, "gate_push", line->push);
    if (!isnan(line->tau)) number(f, "gate_tau", line->tau);
    fputs("}\n", f);
}

void dart_metrics_flush(dart_metrics *metrics)
{
    for (int i = 0; i < DART_LOGS; i++) fflush(metrics->file[i]);
}
