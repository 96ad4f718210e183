/* Line charts as inline SVG. */
#include "report.h"
#include <math.h>
#include <string.h>

enum {
    WIDTH = 760,
    HEIGHT = 300,
    LEFT = 70,
    RIGHT = 20,
    TOP = 30,
    BOTTOM = 45,
    MAX_POINTS = 1500,
    MAX_LEGEND = 14
};

/* In every chart, so that one can be taken out of the page as a picture of its own. */
static const char style[] =
    "text{font:11px system-ui,sans-serif;fill:#444;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".title{font-size:14px;fill:#222}"
    ".grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:1.5;stroke-linejoin:round}"
    ".mark{stroke:#999;stroke-dasharray:3 "
    "3;fill:none}text.mark{stroke:#fff;stroke-dasharray:none;fill:#777}";

/* Okabe and Ito's colours: told apart with every common colour vision. */
static const char *const colours[] = {
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"};
enum { COLOURS = sizeof colours / sizeof *colours };

void report_escape(const char *text, FILE *out)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

typedef struct scale {
    double low, high;
    bool log;
} scale;

static double place(const scale *s, double value)
{
    if (s->log) value = log10(value);
    return (value - s->low) / (s->high - s->low);
}

static bool drawable(const scale *s, double value)
{
    return isfinite(value) && (!s->log || value > 0);
}

static scale fit(const report_chart *chart, bool y)
{
    scale s = {INFINITY, -INFINITY, y && chart->log_y};
    for (size_t i = 0; i < chart->series_count; i++) {
        const report_series *line = &chart->series[i];
        for (size_t k = 0; k < line->count; k++) {
            double v = y ? line->y[k] : line->x[k];
            if (!drawable(&s, v) || !drawable(&(scale){.log = chart->log_y}, line->y[k])) continue;
            if (s.log) v = log10(v);
            s.low = fmin(s.low, v);
            s.high = fmax(s.high, v);
        }
    }
    if (!(s.high >= s.low)) s.low = 0, s.high = 1;
    double margin = s.high > s.low ? (y ? 0.04 * (s.high - s.low) : 0) : 0.5;
    s.low -= margin;
    s.high += margin;
    return s;
}

/* 1, 2 or 5 times a power of ten, so that about `count` steps cover the span. */
static double round_step(double span, int count)
{
    double raw = span / count, power = pow(10, floor(log10(raw))), part = raw / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static void grid_line(FILE *out, bool y, double at, const char *label)
{
    double inner_w = WIDTH - LEFT - RIGHT, inner_h = HEIGHT - TOP - BOTTOM;
    if (y) {
        double p = TOP + inner_h * (1 - at);
        fprintf(out,
            "<path class=\"grid\" d=\"M%d %.1fh%.0f\"/><text x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"end\">%s</text>\n",
            LEFT, p, inner_w, LEFT - 6, p + 4, label);
    } else {
        double p = LEFT + inner_w * at;
        fprintf(out,
            "<path class=\"grid\" d=\"M%.1f %dv%.0f\"/><text x=\"%.1f\" y=\"%d\" "
            "text-anchor=\"middle\">%s</text>\n",
            p, TOP, inner_h, p, HEIGHT - BOTTOM + 16, label);
    }
}

static void axis(const scale *s, bool y, FILE *out)
{
    char label[32];
    double span = s->high - s->low;
    if (s->log && span > 1.5) {
        double step = ceil(span / 6);
        for (double v = ceil(s->low); v <= s->high; v += step) {
            snprintf(label, sizeof label, "1e%.0f", v);
            grid_line(out, y, (v - s->low) / span, label);
        }
        return;
    }
    double low = s->log ? pow(10, s->low) : s->low, high = s->log ? pow(10, s->high) : s->high;
    double step = round_step(high - low, y ? 5 : 8);
    for (double v = ceil(low / step) * step; v <= high + 1e-9 * step; v += step) {
        snprintf(label, sizeof label, "%.6g", fabs(v) < 1e-9 * step ? 0.0 : v);
        grid_line(out, y, place(s, v), label);
    }
}

static void polyline(
    const report_series *line, const scale *sx, const scale *sy, const char *colour, FILE *out)
{
    double inner_w = WIDTH - LEFT - RIGHT, inner_h = HEIGHT - TOP - BOTTOM;
    size_t stride = line->count / MAX_POINTS + 1;
    bool down = false;
    fprintf(out, "<path class=\"line\" stroke=\"%s\" d=\"", colour);
    for (size_t k = 0; k < line->count; k++) {
        if (k % stride && k + 1 != line->count) continue;
        if (!drawable(sy, line->y[k]) || !isfinite(line->x[k])) {
            down = false;
            continue;
        }
        fprintf(out, "%s%.1f %.1f", down ? "L" : "M", LEFT + inner_w * place(sx, line->x[k]),
            TOP + inner_h * (1 - place(sy, line->y[k])));
        if (!down) fputs("h.1", out); /* a point on its own is still seen */
        down = true;
    }
    fputs("\"><title>", out);
    report_escape(line->name, out);
    fputs("</title></path>\n", out);
}

void report_chart_svg(const report_chart *chart, FILE *out)
{
    scale sx = fit(chart, false), sy = fit(chart, true);
    fprintf(out,
        "<figure>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" "
        "aria-label=\"",
        WIDTH, HEIGHT);
    report_escape(chart->title, out);
    fprintf(out, "\">\n<style>%s</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        style);
    fprintf(out, "<text class=\"title\" x=\"%d\" y=\"18\">", LEFT);
    report_escape(chart->title, out);
    fputs("</text>\n", out);
    axis(&sx, false, out);
    axis(&sy, true, out);
    for (size_t i = 0; i < chart->mark_count; i++) {
        double at = place(&sx, chart->marks[i].x);
        if (!(at >= 0 && at <= 1)) continue;
        double x = LEFT + (WIDTH - LEFT - RIGHT) * at;
        fprintf(out,
            "<path class=\"mark\" d=\"M%.1f %dv%d\"/><text class=\"mark\" x=\"%.1f\" y=\"%zu\">", x,
            TOP, HEIGHT - TOP - BOTTOM, x + 3, TOP + 10 + 11 * (i % 3));
        report_escape(chart->marks[i].text, out);
        fputs("</text>\n", out);
    }
    for (size_t i = 0; i < chart->series_count; i++)
        polyline(&chart->series[i], &sx, &sy, colours[i % COLOURS], out);
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (WIDTH + LEFT - RIGHT) / 2,
        HEIGHT - 8);
    report_escape(chart->x_name, out);
    fprintf(out, "</text><text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">",
        (HEIGHT + TOP - BOTTOM) / 2);
    report_escape(chart->y_name, out);
    fputs("</text>\n", out);
    for (size_t i = 0; i < chart->series_count && chart->series_count > 1 && i < MAX_LEGEND; i++) {
        int y = TOP + 14 + 15 * (int)i;
        fprintf(out,
            "<path class=\"line\" stroke=\"%s\" d=\"M%d %dh16\"/><text x=\"%d\" y=\"%d\" "
            "text-anchor=\"end\">",
            colours[i % COLOURS], WIDTH - RIGHT - 22, y - 4, WIDTH - RIGHT - 28, y);
        report_escape(chart->series[i].name, out);
        fputs("</text>\n", out);
    }
    fputs("</svg>\n</figure>\n", out);
}
