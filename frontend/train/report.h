/* The parts of dart_report. */
#ifndef DART_REPORT_H
#define DART_REPORT_H

#include "dart.h"

/* One line of a chart; x and y are owned by the caller. NaN in y breaks the line. */
typedef struct report_series {
    char name[96];
    const double *x, *y;
    size_t count;
} report_series;

typedef struct report_mark { /* a vertical line: a stage boundary */
    double x;
    const char *text;
} report_mark;

typedef struct report_chart {
    const char *title, *x_name, *y_name;
    bool log_y;
    const report_series *series;
    size_t series_count;
    const report_mark *marks;
    size_t mark_count;
} report_chart;

/* An inline SVG with axes, grid, legend and a <title> a line; readable without script. */
void report_chart_svg(const report_chart *chart, FILE *out);
void report_escape(const char *text, FILE *out); /* HTML text */

#endif
