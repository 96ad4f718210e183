/* Inside this room only: what tables and the picture say of a group of runs that differ by their
 * seeds. */
#ifndef DART_SWEEP_MEANS_H
#define DART_SWEEP_MEANS_H

#include "results.h"
#include "stats.h"
#include "sweep.h"
#include <stdio.h>

/* Whether the runs that are done score texts, so that what counts is accuracy. */
bool dart_sweep_classify(const dart_sweep_grid *s);
/* What tables across and the picture show: the test figure beside what was chosen by. */
const dart_column *dart_sweep_shown(const dart_sweep_grid *s);
/* Its name, "Test perplexity". */
void dart_sweep_title(const dart_sweep_grid *s, char out[64]);
/* A column's figure of a run that is done; NaN where it means nothing. */
double dart_sweep_figure(const dart_sweep_run *run, const dart_column *column);
/* Mean and deviation over a group's runs that are done of a column; count 0: none is. */
dart_spread dart_sweep_mean(const dart_sweep_grid *s, uint32_t group, const char *key);
/* What is shown, of a group against another, seed by seed, in percent. */
dart_spread dart_sweep_paired(const dart_sweep_grid *s, uint32_t group, uint32_t against);

/* An SVG of what is shown over how many numbers there are. MEMORY. picture.c */
DART_NODISCARD dart_status dart_sweep_picture(const dart_sweep_grid *s, FILE *out);

#endif
