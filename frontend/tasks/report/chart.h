/* Line charts and scatter plots: stand-alone SVG, or figures of a page. */
#ifndef DART_CHART_H
#define DART_CHART_H

#include "read.h"

/* One line or one group of points; x, y, low and high are owned by the caller. NaN in y breaks the
 * line. */
typedef struct dart_report_series {
    char name[96];
    const double *x, *y; /* [count] */
    size_t count;
    const double *low, *high; /* [count] ends of the error bars in y; NULL: none */
    bool points;              /* a mark at each point and no line */
    bool faint;               /* thin and pale: what another line is the mean of */
    uint8_t colour;           /* 1 ..: a colour shared with another series; 0: by position */
    bool joined;              /* with points: the line too */
} dart_report_series;

typedef struct dart_report_chart {
    const char *title, *x_name, *y_name;
    bool log_y;
    const dart_report_series *series;
    size_t series_count;
    const dart_record_mark *marks;
    size_t mark_count;
    bool log_x;
} dart_report_chart;

/* A complete SVG file with axes, grid, legend and a <title> a line; light and dark. Many points are
 * thinned to the lowest and highest of each pixel column. */
void dart_report_chart_svg(const dart_report_chart *chart, FILE *out);
/* The same as a <figure> of a page that has dart_report_chart_style. */
void dart_report_chart_figure(const dart_report_chart *chart, FILE *out);
/* The figure into `out`; where `dir` is not NULL instead a file of its own in it, named after the
 * title: "Learning rate" is learning-rate.svg. */
DART_NODISCARD dart_status dart_report_chart_put(
    const dart_report_chart *chart, const char *dir, FILE *out);
extern const char dart_report_chart_style[]; /* CSS of what the charts draw */

void dart_report_escape(const char *text, FILE *out); /* HTML and XML text */
/* Opens `dir`/<name>.svg, the name in small letters and hyphens. IO: it cannot be written. */
DART_NODISCARD dart_status dart_report_svg_open(const char *dir, const char *name, FILE **out);
DART_NODISCARD dart_status dart_report_svg_close(FILE *file);
/* "12.5k", "3.1M": a number for an axis. */
void dart_report_tick(double value, char out[32]);

#endif
