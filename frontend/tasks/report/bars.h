/* Bars side by side: one figure of many things, each on several devices. Bars under one name have a
 * scale of their own, on which the largest is full. */
#ifndef DART_BARS_H
#define DART_BARS_H

#include "chart.h"

typedef struct dart_report_bar {
    char name[128]; /* what stands beside it; "": as the one above */
    double value;
    uint8_t colour; /* 1 ..; the same for one device */
} dart_report_bar;

typedef struct dart_report_bars {
    const char *title, *unit;
    const dart_report_bar *bar;
    size_t count;
    const char *const *legend; /* [colours] names of the colours from 1 on */
    size_t colours;
} dart_report_bars;

/* As dart_report_chart_put. */
DART_NODISCARD dart_status dart_report_bars_put(
    const dart_report_bars *bars, const char *dir, FILE *out);

#endif
