/* The parts of the page, the pictures and the exports of runs. */
#ifndef DART_REPORT_H
#define DART_REPORT_H

#include "chart.h"

/* training.c: what the logs have over the steps; overlays for several runs. This and
 * dart_report_front_write: figures into `out`, or files into `dir`; the other one is NULL. */
DART_NODISCARD dart_status dart_report_charts_write(
    const dart_record_run *run, size_t count, const char *dir, FILE *out);
/* heat.c: spectra over the steps, one picture a bond, of most_bonds bonds at most. */
DART_NODISCARD dart_status dart_report_heat_write(
    const dart_record_run *run, size_t most_bonds, FILE *out);
/* The weights that lost most ranks, a file each. */
DART_NODISCARD dart_status dart_report_heat_svg(const dart_record_run *run, const char *dir);
extern const char dart_report_heat_style[]; /* CSS */
/* map.c: ranks of layers x bonds before and after each selection; sizes by module. */
void dart_report_map_write(const dart_record_run *run, FILE *out);
void dart_report_modules_write(const dart_record_run *run, FILE *out);
/* A colour of the heat maps; at: 0 (dark) .. 1 (bright). */
void dart_report_colour(double at, uint8_t out_rgb[3]);
/* several.c: several runs, or the results of a sweep. */
DART_NODISCARD dart_status dart_report_front_write(
    const dart_record_run *run, size_t count, const char *dir, FILE *out);
void dart_report_differences_write(const dart_record_run *run, size_t count, FILE *out);
/* sweeps.c: the body of the page of a sweep. path: its results.csv. INPUT: it is no table. */
DART_NODISCARD dart_status dart_report_sweep_write(const char *path, FILE *out);
/* benches.c: what `bench --format json` wrote. The body of the page of a file; its pictures in
 * `dir`, which is made. INPUT: it is no such document. */
DART_NODISCARD dart_status dart_report_bench_write(const char *path, FILE *out);
DART_NODISCARD dart_status dart_report_bench_pictures(
    const char *text, size_t size, const char *what, const char *dir);

/* tensorboard.c: the records that a test compares with known ones */
DART_NODISCARD dart_status dart_report_event_version(FILE *out, double wall);
DART_NODISCARD dart_status dart_report_event_scalar(
    FILE *out, double wall, double step, const char *tag, double value);

#endif
