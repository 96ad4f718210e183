/* Horizontal bars as SVG. */
#include "bars.h"
#include <math.h>

enum {
    WIDTH = 480,
    NAMES = 200,
    RIGHT = 70,
    TITLE = 28,
    BAR = 12,
    GAP = 5,
    LEGEND = 17,
    COLOURS = 7
};

/* The largest of the bars under one name, which begins at bar `i`. */
static double most_of(const dart_report_bars *b, size_t i)
{
    double most = 0;
    for (size_t k = i; k < b->count && (k == i || !*b->bar[k].name); k++)
        if (isfinite(b->bar[k].value) && b->bar[k].value > most) most = b->bar[k].value;
    return most > 0 ? most : 1;
}

static void text(double x, double y, const char *what, bool end, FILE *out)
{
    fprintf(out, "<text class=\"t tm\" x=\"%.1f\" y=\"%.1f\"%s>", x, y,
        end ? " text-anchor=\"end\"" : "");
    dart_report_escape(what, out);
    fputs("</text>\n", out);
}

static void draw(const dart_report_bars *b, bool alone, FILE *out)
{
    const double room = WIDTH - NAMES - RIGHT;
    double most = 1, y = TITLE, height = TITLE + LEGEND * (double)((b->colours + 1) / 2) + 8;
    for (size_t i = 0; i < b->count; i++) height += BAR + (*b->bar[i].name ? GAP : 1);
    fprintf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" "
        "aria-label=\"",
        WIDTH, height);
    dart_report_escape(b->title, out);
    fputs("\">\n", out);
    if (alone)
        fprintf(out, "<style>%s</style>\n<rect class=\"pp\" width=\"100%%\" height=\"100%%\"/>\n",
            dart_report_chart_style);
    fputs("<text class=\"t tt\" x=\"4\" y=\"16\">", out);
    dart_report_escape(b->title, out);
    fputs("</text>\n", out);
    for (size_t i = 0; i < b->count; i++) {
        const dart_report_bar *bar = &b->bar[i];
        char value[64], figure[32];
        if (*bar->name || i == 0) most = most_of(b, i);
        const double wide = isfinite(bar->value) ? room * bar->value / most : 0;
        y += *bar->name ? GAP : 1;
        text(NAMES - 6, y + BAR - 2, bar->name, true, out);
        dart_report_tick(bar->value, figure);
        snprintf(value, sizeof value, "%s %s", isfinite(bar->value) ? figure : "-", b->unit);
        fprintf(out, "<rect class=\"f%d\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>\n",
            (bar->colour - 1) % COLOURS, NAMES, y, wide, BAR);
        text(NAMES + wide + 4, y + BAR - 2, value, false, out);
        y += BAR;
    }
    for (size_t i = 0; i < b->colours; i++) {
        const double x = i % 2 ? WIDTH / 2.0 : 8;
        if (i % 2 == 0) y += LEGEND;
        fprintf(out, "<rect class=\"f%zu\" x=\"%.1f\" y=\"%.1f\" width=\"10\" height=\"10\"/>\n",
            i % COLOURS, x, y - 9);
        text(x + 15, y, b->legend[i], false, out);
    }
    fputs("</svg>\n", out);
}

dart_status dart_report_bars_put(const dart_report_bars *bars, const char *dir, FILE *out)
{
    FILE *file;
    if (!dir) {
        fputs("<figure>\n", out);
        draw(bars, false, out);
        fputs("</figure>\n", out);
        return DART_OK;
    }
    DART_TRY(dart_report_svg_open(dir, bars->title, &file));
    draw(bars, true, file);
    return dart_report_svg_close(file);
}
