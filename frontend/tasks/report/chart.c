/* Line charts and scatter plots as SVG. */
#include "chart.h"
#include "file.h"
#include "filestream.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

/* Drawn for a width of 480 so that the letters can still be read on a phone. */
enum {
    WIDTH = 480,
    LEFT = 64,
    RIGHT = 24,
    TITLE = 24,     /* height of the title */
    MARK_LINE = 13, /* height of a line of stage names */
    MARK_LINES = 3,
    PLOT = 210, /* height of the plot */
    BOTTOM = 40,
    LEGEND_LINE = 17,
    COLOURS = 7,
    MOST_LINES = 40,                  /* of the grid, in one direction */
    THIN = 4 * (WIDTH - LEFT - RIGHT) /* more points than this are thinned */
};

/* Okabe and Ito's colours, told apart with every common colour vision; brighter ones on black. No
 * CSS variables: not every SVG viewer knows them. */
const char dart_report_chart_style[] =
    ".t{font:12px system-ui,sans-serif;fill:#333}.tt{font-size:14px;font-weight:600}"
    ".tm{font-size:11px;fill:#666}.g{stroke:#ddd;fill:none}.m{stroke:#888;stroke-dasharray:3 "
    "3;fill:none}.l{fill:none;stroke-width:1.6;stroke-linejoin:round}.d{stroke-dasharray:5 "
    "3}.fa{stroke-width:.8;opacity:.35}"
    ".pp{fill:#fff}.s0{stroke:#0072B2}.s1{stroke:#D55E00}.s2{stroke:#009E73}.s3{stroke:#CC79A7}"
    ".s4{stroke:#B58900}.s5{stroke:#56B4E9}.s6{stroke:#000}.f0{fill:#0072B2}.f1{fill:#D55E00}"
    ".f2{fill:#009E73}.f3{fill:#CC79A7}.f4{fill:#B58900}.f5{fill:#56B4E9}.f6{fill:#000}"
    "@media(prefers-color-scheme:dark){.t{fill:#ddd}.tm{fill:#aaa}.g{stroke:#3a3d42}.m{stroke:#999}"
    ".pp{fill:#16181b}.s0{stroke:#4FA3F7}.s1{stroke:#F58C42}.s2{stroke:#2CC79C}.s3{stroke:#E6A3C8}"
    ".s4{stroke:#E9C04B}.s5{stroke:#9ADCFF}.s6{stroke:#fff}.f0{fill:#4FA3F7}.f1{fill:#F58C42}"
    ".f2{fill:#2CC79C}.f3{fill:#E6A3C8}.f4{fill:#E9C04B}.f5{fill:#9ADCFF}.f6{fill:#fff}}";

void dart_report_escape(const char *text, FILE *out)
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
        default: /* other control characters may not stand in XML at all */
            if ((unsigned char)*text >= 0x20 || *text == '\n' || *text == '\t') fputc(*text, out);
        }
    }
}

void dart_report_tick(double value, char out[32])
{
    double size = fabs(value);
    if (size >= 1e6)
        snprintf(out, 32, "%.4gM", value / 1e6);
    else if (size >= 1e4)
        snprintf(out, 32, "%.4gk", value / 1e3);
    else
        snprintf(out, 32, "%.4g", value);
}

/* An axis: values to 0 .. 1. */
typedef struct scale {
    double low, high; /* log10 of the values if log */
    bool log;
} scale;

typedef struct frame {
    scale x, y;
    double top, height; /* of the plot */
} frame;

static double place(const scale *s, double value)
{
    if (s->log) value = log10(value);
    return (value - s->low) / (s->high - s->low);
}

/* Differences of larger figures would not be finite. */
static bool fits(bool log, double value)
{
    return fabs(value) < 1e300 && (!log || value > 0);
}

static bool drawable(const dart_report_chart *c, const dart_report_series *s, size_t k)
{
    return fits(c->log_x, s->x[k]) && fits(c->log_y, s->y[k]);
}

static void widen(scale *s, double value)
{
    if (!fits(s->log, value)) return;
    if (s->log) value = log10(value);
    s->low = fmin(s->low, value);
    s->high = fmax(s->high, value);
}

static scale fit(const dart_report_chart *chart, bool y)
{
    scale s = {INFINITY, -INFINITY, y ? chart->log_y : chart->log_x};
    bool points = false;
    for (size_t i = 0; i < chart->series_count; i++) {
        const dart_report_series *line = &chart->series[i];
        points |= line->points;
        for (size_t k = 0; k < line->count; k++) {
            if (!drawable(chart, line, k)) continue;
            widen(&s, y ? line->y[k] : line->x[k]);
            if (y && line->low) widen(&s, line->low[k]);
            if (y && line->high) widen(&s, line->high[k]);
        }
    }
    if (!(s.high >= s.low)) s.low = 0, s.high = 1;
    double span = s.high - s.low;
    /* A flat line is drawn in the middle; room for the marks of points at the edges. */
    double margin = span > 1e-12 * fabs(s.high) ? (y || points ? 0.04 * span : 0)
                    : s.log                     ? 0.1
                    : s.high != 0               ? 0.1 * fabs(s.high)
                                                : 0.5;
    if (!(span + margin > 1e-290)) margin = 0.5; /* too narrow to be divided by */
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

static void grid_line(const frame *f, bool y, double value, FILE *out)
{
    char label[32];
    double inner = WIDTH - LEFT - RIGHT;
    dart_report_tick(value, label);
    if (y) {
        double p = f->top + f->height * (1 - place(&f->y, value));
        fprintf(out,
            "<path class=\"g\" d=\"M%d %.1fh%.0f\"/><text class=\"t\" x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"end\">%s</text>\n",
            LEFT, p, inner, LEFT - 5, p + 4, label);
    } else {
        double p = LEFT + inner * place(&f->x, value);
        fprintf(out,
            "<path class=\"g\" d=\"M%.1f %.1fv%.0f\"/><text class=\"t\" x=\"%.1f\" y=\"%.1f\" "
            "text-anchor=\"middle\">%s</text>\n",
            p, f->top, f->height, p, f->top + f->height + 15, label);
    }
}

/* Decades; more lines in each where there are few; even steps where there is hardly one decade. */
static void axis(const frame *f, bool y, FILE *out)
{
    const scale *s = y ? &f->y : &f->x;
    double span = s->high - s->low;
    if (s->log && span > 0.6) {
        static const double few[] = {1, 2, 5}, many[] = {1, 1.5, 2, 3, 5, 7};
        const double *parts = span < 1.2 ? many : few;
        int step = (int)ceil(span / 6), inside = span < 1.2 ? 6 : span < 2.2 ? 3 : 1;
        for (double e = floor(s->low); e <= s->high; e += step)
            for (int i = 0; i < inside; i++) {
                double value = parts[i] * pow(10, e), at = log10(value);
                if (at >= s->low - 1e-9 && at <= s->high + 1e-9) grid_line(f, y, value, out);
            }
        return;
    }
    double low = s->log ? pow(10, s->low) : s->low, high = s->log ? pow(10, s->high) : s->high;
    double step = round_step(high - low, y ? 5 : 6);
    double first = ceil(low / step - 1e-9), last = floor(high / step + 1e-9);
    for (int i = 0; first + i <= last && i < MOST_LINES; i++)
        grid_line(f, y, (first + i) * step, out);
}

static size_t colour_of(const dart_report_chart *c, size_t i)
{
    return c->series[i].colour ? c->series[i].colour - 1u : i;
}

typedef struct pen {
    FILE *out;
    const frame *frame;
    bool down;
    size_t points;
} pen;

static void draw_to(pen *p, double x, double y)
{
    const frame *f = p->frame;
    fprintf(p->out, "%s%.1f %.1f", p->down ? "L" : "M",
        LEFT + (WIDTH - LEFT - RIGHT) * place(&f->x, x),
        f->top + f->height * (1 - place(&f->y, y)));
    if (!p->down) fputs("h.1", p->out); /* a point on its own is still seen */
    p->down = true;
    p->points++;
}

/* Of the points [first, end) that share a pixel column: the first, the extremes in their order, the
 * last. */
static void draw_column(pen *p, const dart_report_series *s, size_t first, size_t end)
{
    size_t least = first, most = first;
    for (size_t k = first; k < end; k++) {
        if (s->y[k] < s->y[least]) least = k;
        if (s->y[k] > s->y[most]) most = k;
    }
    const size_t keep[4] = {
        first, least < most ? least : most, least < most ? most : least, end - 1};
    for (int i = 0; i < 4; i++)
        if (i == 0 || keep[i] != keep[i - 1]) draw_to(p, s->x[keep[i]], s->y[keep[i]]);
}

static void line_path(const dart_report_chart *c, const frame *f, const dart_report_series *s,
    const char *css, FILE *out)
{
    pen p = {.out = out, .frame = f};
    fprintf(out, "<path class=\"l %s\" d=\"", css);
    for (size_t k = 0; k < s->count;) {
        if (!drawable(c, s, k)) {
            p.down = false;
            k++;
            continue;
        }
        double column = floor((WIDTH - LEFT - RIGHT) * place(&f->x, s->x[k]));
        size_t end = k + 1;
        while (s->count > THIN && end < s->count && drawable(c, s, end) &&
               floor((WIDTH - LEFT - RIGHT) * place(&f->x, s->x[end])) == column)
            end++;
        draw_column(&p, s, k, end);
        k = end;
    }
    fprintf(out, "\" data-points=\"%zu\"><title>", p.points);
    dart_report_escape(s->name, out);
    fputs("</title></path>\n", out);
}

static void points(const dart_report_chart *c, const frame *f, const dart_report_series *s,
    size_t colour, const char *css, FILE *out)
{
    for (size_t k = 0; k < s->count; k++) {
        if (!drawable(c, s, k)) continue;
        double x = LEFT + (WIDTH - LEFT - RIGHT) * place(&f->x, s->x[k]);
        double y = f->top + f->height * (1 - place(&f->y, s->y[k]));
        if (s->low && s->high && s->low[k] < s->high[k] && fits(c->log_y, s->low[k]) &&
            fits(c->log_y, s->high[k])) {
            double a = f->top + f->height * (1 - place(&f->y, s->low[k]));
            double b = f->top + f->height * (1 - place(&f->y, s->high[k]));
            fprintf(out, "<path class=\"l %s\" d=\"M%.1f %.1fh8m-4 0V%.1fm-4 0h8\"/>", css, x - 4,
                a, b);
        }
        fprintf(out, "<circle class=\"f%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"><title>",
            colour % COLOURS, x, y);
        dart_report_escape(s->name, out);
        fprintf(out, ": %.6g, %.6g</title></circle>\n", s->x[k], s->y[k]);
    }
}

/* Where mark i stands, 0 .. 1; NaN outside of the plot. The stage in force at the left edge is
 * named there, wherever it began. */
static double mark_at(const dart_report_chart *c, const frame *f, size_t i)
{
    double at = place(&f->x, c->marks[i].x);
    if (at < 0 && (i + 1 == c->mark_count || place(&f->x, c->marks[i + 1].x) > 0)) at = 0;
    return at >= 0 && at <= 1 ? at : NAN;
}

/* Gives each mark a line above the plot on which its text meets no other; -1: there is none.
 * Returns the number of lines. */
static int mark_lines(const dart_report_chart *c, frame *f, int line[64])
{
    double end[MARK_LINES] = {0};
    int used = 0;
    for (size_t i = 0; i < c->mark_count && i < 64; i++) {
        line[i] = -1;
        double at = mark_at(c, f, i);
        if (isnan(at)) continue;
        double x = (WIDTH - LEFT - RIGHT) * at;
        for (int l = 0; l < MARK_LINES && line[i] < 0; l++)
            if (end[l] <= x) line[i] = l;
        if (line[i] < 0) continue;
        end[line[i]] = x + 6.5 * (double)strlen(c->marks[i].text) + 8;
        if (line[i] >= used) used = line[i] + 1;
    }
    return used;
}

static void marks(const dart_report_chart *c, const frame *f, const int line[64], FILE *out)
{
    for (size_t i = 0; i < c->mark_count && i < 64; i++) {
        double at = mark_at(c, f, i);
        if (isnan(at)) continue;
        double x = LEFT + (WIDTH - LEFT - RIGHT) * at;
        double from = line[i] < 0 ? f->top : TITLE + MARK_LINE * (line[i] + 0.2);
        fprintf(out, "<path class=\"m\" d=\"M%.1f %.1fV%.1f\"/>", x, from, f->top + f->height);
        if (line[i] >= 0) {
            /* Near the right edge the text stands on the other side of its line. */
            bool left = x + 6.5 * (double)strlen(c->marks[i].text) > WIDTH;
            fprintf(out, "<text class=\"t tm\" x=\"%.1f\" y=\"%.1f\"%s>", left ? x - 3 : x + 3,
                TITLE + MARK_LINE * (line[i] + 0.85), left ? " text-anchor=\"end\"" : "");
            dart_report_escape(c->marks[i].text, out);
            fputs("</text>\n", out);
        }
    }
}

static const char *css_of(const dart_report_chart *c, size_t i, char out[16])
{
    size_t colour = colour_of(c, i);
    snprintf(out, 16, "s%zu%s%s", colour % COLOURS, colour / COLOURS % 2 ? " d" : "",
        c->series[i].faint ? " fa" : "");
    return out;
}

/* Two columns below the axis; long names get a line of their own. */
static double legend(const dart_report_chart *c, double top, FILE *out)
{
    if (c->series_count < 2) return top;
    const double half = (WIDTH - LEFT) / 2.0;
    double y = top;
    bool right = false;
    for (size_t i = 0; i < c->series_count; i++) {
        const dart_report_series *s = &c->series[i];
        char css[16];
        bool wide = strlen(s->name) * 6.5 + 24 > half;
        if (wide && right) right = false, y += LEGEND_LINE;
        double x = LEFT + (right ? half : 0);
        if (out && s->points)
            fprintf(out, "<circle class=\"f%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>",
                colour_of(c, i) % COLOURS, x + 8, y + 8);
        if (out && (!s->points || s->joined))
            fprintf(out, "<path class=\"l %s\" d=\"M%.1f %.1fh16\"/>", css_of(c, i, css), x, y + 8);
        if (out) {
            fprintf(out, "<text class=\"t\" x=\"%.1f\" y=\"%.1f\">", x + 21, y + 12);
            dart_report_escape(s->name, out);
            fputs("</text>\n", out);
        }
        if (right || wide) y += LEGEND_LINE;
        right = !right && !wide;
    }
    return y + (right ? LEGEND_LINE : 0);
}

static void draw(const dart_report_chart *c, bool alone, FILE *out)
{
    frame f = {.x = fit(c, false), .y = fit(c, true), .height = PLOT};
    int line[64];
    f.top = TITLE + MARK_LINE * mark_lines(c, &f, line) + 6;
    double bottom = f.top + PLOT + BOTTOM;
    double height = legend(c, bottom, NULL) + 4;
    fprintf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" "
        "aria-label=\"",
        WIDTH, height);
    dart_report_escape(c->title, out);
    fputs("\">\n", out);
    if (alone)
        fprintf(out, "<style>%s</style>\n<rect class=\"pp\" width=\"100%%\" height=\"100%%\"/>\n",
            dart_report_chart_style);
    fputs("<text class=\"t tt\" x=\"4\" y=\"16\">", out);
    dart_report_escape(c->title, out);
    fputs("</text>\n", out);
    axis(&f, false, out);
    axis(&f, true, out);
    marks(c, &f, line, out);
    for (size_t i = 0; i < c->series_count; i++) {
        char css[16];
        css_of(c, i, css);
        if (!c->series[i].points || c->series[i].joined) line_path(c, &f, &c->series[i], css, out);
        if (c->series[i].points) points(c, &f, &c->series[i], colour_of(c, i), css, out);
    }
    fprintf(out, "<text class=\"t\" x=\"%d\" y=\"%.1f\" text-anchor=\"middle\">",
        (WIDTH + LEFT - RIGHT) / 2, bottom - 8);
    dart_report_escape(c->x_name, out);
    fprintf(out,
        "</text><text class=\"t\" transform=\"translate(11 %.1f) rotate(-90)\" "
        "text-anchor=\"middle\">",
        f.top + PLOT / 2.0);
    dart_report_escape(c->y_name, out);
    fputs("</text>\n", out);
    legend(c, bottom, out);
    fputs("</svg>\n", out);
}

void dart_report_chart_svg(const dart_report_chart *chart, FILE *out)
{
    draw(chart, true, out);
}

void dart_report_chart_figure(const dart_report_chart *chart, FILE *out)
{
    fputs("<figure>\n", out);
    draw(chart, false, out);
    fputs("</figure>\n", out);
}

dart_status dart_report_svg_open(const char *dir, const char *name, FILE **out)
{
    char path[4096];
    int n = snprintf(path, sizeof path - 130, "%s/", dir);
    if (n >= (int)sizeof path - 130)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    size_t used = (size_t)n, begin = used;
    for (; *name && used < begin + 120; name++) {
        if (isalnum((unsigned char)*name) || *name == '.' || *name == '_')
            path[used++] = (char)tolower((unsigned char)*name);
        else if (used > begin && path[used - 1] != '-')
            path[used++] = '-';
    }
    while (used > begin && path[used - 1] == '-') used--;
    strcpy(path + used, ".svg");
    *out = dart_filestream_open(path, "w", NULL);
    return *out ? DART_OK
                : dart_fail(dart_errno_code(errno), "cannot write %s: %s", path, strerror(errno));
}

dart_status dart_report_svg_close(FILE *file)
{
    bool bad = ferror(file);
    if (fclose(file) != 0 || bad)
        return dart_fail(DART_IO, "cannot write a picture: %s", strerror(errno));
    return DART_OK;
}

dart_status dart_report_chart_put(const dart_report_chart *chart, const char *dir, FILE *out)
{
    if (!dir) {
        dart_report_chart_figure(chart, out);
        return DART_OK;
    }
    FILE *file;
    DART_TRY(dart_report_svg_open(dir, chart->title, &file));
    dart_report_chart_svg(chart, file);
    return dart_report_svg_close(file);
}
