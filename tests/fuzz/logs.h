/* A run directory with one file from outside, read and drawn as reports do. */
#ifndef DART_FUZZ_LOGS_H
#define DART_FUZZ_LOGS_H

#include "fuzz.h"
#include "dart.h"

static const char fuzz_metrics[] =
    "{\"step\":1,\"stage\":\"a\",\"loss\":3.5,\"lr\":0.01,\"tokens\":8}\n"
    "{\"step\":1,\"event\":\"ranks\",\"stage\":\"a\",\"rule\":\"start\",\"weight\":\"w\",\"n\":[2,"
    "2],"
    "\"ranks_before\":[3],\"ranks\":[3],\"params\":9,\"dense_params\":16}\n"
    "{\"step\":2,\"stage\":\"a\",\"loss\":3.25,\"lr\":0.01,\"tokens\":16}\n";
static const char fuzz_spectra[] = "{\"step\":1,\"weight\":\"w\",\"bond\":0,\"sigma\":[3,2,1]}\n"
                                   "{\"step\":2,\"weight\":\"w\",\"bond\":0,\"sigma\":[3,1,0.5]}\n";

/* name: of the file that `data` is. */
static inline void fuzz_report(const char *name, const uint8_t *data, size_t size)
{
    const char *run = fuzz_path("run"), *runs[] = {run};
    if (!dart_file_exists(run)) fuzz_need(dart_mkdirs(run) == DART_OK, "no run folder");
    fuzz_file("run/metrics.jsonl", fuzz_metrics, sizeof fuzz_metrics - 1);
    fuzz_file("run/spectra.jsonl", fuzz_spectra, sizeof fuzz_spectra - 1);
    fuzz_file(name, data, size);
    (void)fuzz_read(dart_report(runs, 1, fuzz_path("page.html")));
    (void)fuzz_read(dart_report_csv(runs, 1, fuzz_path("csv")));
    (void)fuzz_read(dart_report_pictures(runs, 1, fuzz_path("svg")));
    (void)fuzz_read(dart_report_tensorboard(runs, 1, fuzz_path("board")));
}

#endif
