/* Bond spectra over the steps as heat maps: x step, y index, colour log10(sigma / sigma_1). Each
 * is a small indexed PNG inside an SVG: a picture of paths would be twenty times its size. */
#include "report.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    SHADES = 64,    /* palette entry 0 is "cut away", 1 .. SHADES the ramp */
    PIXELS = 120,   /* columns of a picture */
    ROWS = 64,      /* most rows of a picture; more indices share one */
    ALL_BONDS = 30, /* up to so many bonds are all shown at once */
    FEATURED = 4,   /* weights shown where there are more */

    PLOT_W = 132,
    PLOT_H = 84,
    HEAT_LEFT = 24,
    HEAT_TOP = 18,
    HEAT_W = 172,
    HEAT_H = 122
};

/* Lightness rises evenly from dark violet to pale yellow, so that order is seen in grey and with
 * every colour vision: a path through OKLab (Ottosson 2020), which is perceptually uniform. */
void dart_report_colour(double at, uint8_t out_rgb[3])
{
    at = at > 0 ? fmin(at, 1) : 0;
    double light = 0.24 + 0.72 * at, hue = (295 - 190 * at) * M_PI / 180;
    double chroma = 0.04 + 0.12 * at * (1 - at) + 0.06 * at; /* inside sRGB all along */
    double a = chroma * cos(hue), b = chroma * sin(hue);
    double l = pow(light + 0.3963377774 * a + 0.2158037573 * b, 3);
    double m = pow(light - 0.1055613458 * a - 0.0638541728 * b, 3);
    double s = pow(light - 0.0894841775 * a - 1.2914855480 * b, 3);
    const double linear[3] = {4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
    for (int i = 0; i < 3; i++) {
        double c = fmin(fmax(linear[i], 0), 1);
        c = c <= 0.0031308 ? 12.92 * c : 1.055 * pow(c, 1 / 2.4) - 0.055;
        out_rgb[i] = (uint8_t)lround(255 * c);
    }
}

/* ---- PNG (ISO/IEC 15948) with a palette, as a data URI ---- */

static size_t put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
    return 4;
}

static size_t put_chunk(uint8_t *to, const char *type, const uint8_t *data, size_t size)
{
    put32(to, (uint32_t)size);
    memcpy(to + 4, type, 4);
    if (size) memcpy(to + 8, data, size);
    put32(to + 8 + size, (uint32_t)crc32(0, to + 4, (uInt)(size + 4)));
    return size + 12;
}

static void write_base64(const uint8_t *data, size_t size, FILE *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t v = (uint32_t)data[i] << 16;
        if (i + 1 < size) v |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < size) v |= data[i + 2];
        fputc(digits[v >> 18], out);
        fputc(digits[v >> 12 & 63], out);
        fputc(i + 1 < size ? digits[v >> 6 & 63] : '=', out);
        fputc(i + 2 < size ? digits[v & 63] : '=', out);
    }
}

/* pixel (height, width): palette entries */
static dart_status write_png(uint32_t width, uint32_t height, const uint8_t *pixel, FILE *out)
{
    enum { RAW = ROWS * (PIXELS + 1) };
    uint8_t raw[RAW], packed[RAW + RAW / 100 + 64], file[sizeof packed + 1024],
        palette[3 * (SHADES + 1)];
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    size_t n = 0, used = sizeof signature;
    for (uint32_t y = 0; y < height; y++) {
        raw[n++] = 0; /* no filter */
        memcpy(raw + n, pixel + (size_t)y * width, width);
        n += width;
    }
    uLongf size = sizeof packed;
    if (compress2(packed, &size, raw, n, 9) != Z_OK) /* the bound is kept */
        return dart_fail(DART_MEMORY, "out of memory: packing a picture");
    memcpy(file, signature, sizeof signature);
    uint8_t header[13] = {[8] = 8, [9] = 3};
    put32(header, width);
    put32(header + 4, height);
    used += put_chunk(file + used, "IHDR", header, sizeof header);
    memset(palette, 0x80, 3);
    for (int i = 0; i < SHADES; i++) dart_report_colour(i / (SHADES - 1.0), palette + 3 * (i + 1));
    used += put_chunk(file + used, "PLTE", palette, sizeof palette);
    used += put_chunk(file + used, "tRNS", (const uint8_t[]){60}, 1); /* entry 0 */
    used += put_chunk(file + used, "IDAT", packed, size);
    used += put_chunk(file + used, "IEND", NULL, 0);
    fputs("data:image/png;base64,", out);
    write_base64(file, used, out);
    return DART_OK;
}

/* ---- one bond ---- */

/* log10 of the smallest ratio that has a colour of its own, for all pictures of a run. */
static double floor_of(const dart_record_run *run)
{
    double least = -1;
    for (size_t i = 0; i < run->bonds; i++)
        for (size_t k = 0; k < run->bond[i].columns; k++) {
            const dart_record_column *c = &run->bond[i].column[k];
            double ratio = c->sigma[c->count - 1] / c->sigma[0];
            if (ratio > 0 && isfinite(ratio)) least = fmin(least, log10(ratio));
        }
    return fmax(floor(2 * least) / 2, -4);
}

static uint8_t shade(double ratio, double low)
{
    if (!isfinite(ratio)) return 0;
    double at = ratio > 0 ? 1 - log10(ratio) / low : 0;
    return (uint8_t)(1 + lround((SHADES - 1) * fmin(fmax(at, 0), 1)));
}

/* The column that is nearest to `step`; of two at the same step the earlier one to the left. */
static size_t nearest(const dart_record_bond *b, size_t from, double step)
{
    while (from + 1 < b->columns && step > 0.5 * (b->column[from].step + b->column[from + 1].step))
        from++;
    return from;
}

static dart_status heat(
    const dart_record_run *run, const dart_record_bond *b, double low, int x_at, FILE *out)
{
    uint8_t pixel[ROWS * PIXELS];
    uint32_t most = 1;
    for (size_t k = 0; k < b->columns; k++)
        if (b->column[k].count > most) most = b->column[k].count;
    uint32_t each = (most + ROWS - 1) / ROWS, rows = (most + each - 1) / each;
    double first = b->column[0].step, last = b->column[b->columns - 1].step;
    double half = b->columns > 1 ? 0.5 * (last - first) / (double)(b->columns - 1) : 0.5;
    double begin = first - half, span = last - first + 2 * half;
    if (!(span > 0)) span = 1;
    for (size_t x = 0, k = 0; x < PIXELS; x++) {
        k = nearest(b, k, begin + span * ((double)x + 0.5) / PIXELS);
        const dart_record_column *c = &b->column[k];
        for (uint32_t y = 0; y < rows; y++)
            pixel[y * PIXELS + x] =
                y * each < c->count ? shade(c->sigma[y * each] / c->sigma[0], low) : 0;
    }
    uint32_t end = b->column[b->columns - 1].count;
    fprintf(out,
        "<svg class=\"heat\" x=\"%d\" y=\"22\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
        "role=\"img\" "
        "data-columns=\"%zu\" data-rows=\"%u\"><title>",
        x_at, HEAT_W, HEAT_H, HEAT_W, HEAT_H, b->columns, most);
    dart_report_escape(b->weight, out);
    fprintf(out,
        ", bond %u: rank %u at step %.0f, %u at step %.0f</title><text class=\"t th\" x=\"%d\" "
        "y=\"12\">bond %u: rank %u",
        b->bond + 1, b->column[0].count, first, end, last, HEAT_LEFT, b->bond + 1,
        b->column[0].count);
    if (end != b->column[0].count) fprintf(out, " → %u", end);
    fprintf(out,
        "</text><image x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" preserveAspectRatio=\"none\" "
        "href=\"",
        HEAT_LEFT, HEAT_TOP, PLOT_W, PLOT_H);
    DART_TRY(write_png(PIXELS, rows, pixel, out));
    fprintf(out, "\"/><rect class=\"g\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", HEAT_LEFT,
        HEAT_TOP, PLOT_W, PLOT_H);
    for (size_t i = 0; i < run->weights; i++) {
        const dart_record_weight *w = &run->weight[i];
        if (w->state == 0 || b->bond >= w->bonds || strcmp(w->name, b->weight)) continue;
        double x = HEAT_LEFT + PLOT_W * (w->step - begin) / span, until = HEAT_LEFT + PLOT_W;
        for (size_t k = i + 1; k < run->weights; k++) /* the next selection's line takes over */
            if (!strcmp(run->weight[k].name, w->name)) {
                until = fmin(until, HEAT_LEFT + PLOT_W * (run->weight[k].step - begin) / span);
                break;
            }
        double y = HEAT_TOP + PLOT_H * (double)w->ranks[b->bond] / (rows * each);
        if (!(x >= HEAT_LEFT && x <= HEAT_LEFT + PLOT_W) || !(y <= HEAT_TOP + PLOT_H)) continue;
        fprintf(out,
            "<path class=\"pk\" d=\"M%.1f %dv%d\"/><path class=\"pk pr\" d=\"M%.1f "
            "%.1fH%.1f\"><title>",
            x, HEAT_TOP, PLOT_H, x, y, until);
        dart_report_escape(w->rule, out);
        fprintf(out, " chose rank %u at step %.0f</title></path>", w->ranks[b->bond], w->step);
    }
    fprintf(out,
        "<text class=\"t th\" x=\"%d\" y=\"%d\" text-anchor=\"end\">1</text><text class=\"t th\" "
        "x=\"%d\" y=\"%d\" text-anchor=\"end\">%u</text>",
        HEAT_LEFT - 4, HEAT_TOP + 9, HEAT_LEFT - 4, HEAT_TOP + PLOT_H, most);
    char a[32], z[32];
    dart_report_tick(first, a);
    dart_report_tick(last, z);
    fprintf(out,
        "<text class=\"t th\" x=\"%d\" y=\"%d\">%s</text><text class=\"t th\" x=\"%d\" y=\"%d\" "
        "text-anchor=\"end\">%s</text></svg>\n",
        HEAT_LEFT, HEAT_TOP + PLOT_H + 13, a, HEAT_LEFT + PLOT_W, HEAT_TOP + PLOT_H + 13, z);
    return DART_OK;
}

/* ---- all bonds ---- */

/* Bonds of one weight stand side by side in the log. Returns the first that is not of it. */
static size_t end_of_weight(const dart_record_run *run, size_t from)
{
    size_t end = from + 1;
    while (end < run->bonds && !strcmp(run->bond[end].weight, run->bond[from].weight)) end++;
    return end;
}

static dart_status weight_row(const dart_record_run *run, size_t from, double low, FILE *out)
{
    fputs("<div class=\"wt\"><h4>", out);
    dart_report_escape(run->bond[from].weight, out);
    fputs("</h4><div class=\"hs\">\n", out);
    for (size_t i = from, end = end_of_weight(run, from); i < end; i++)
        DART_TRY(heat(run, &run->bond[i], low, 0, out));
    fputs("</div></div>\n", out);
    return DART_OK;
}

static double lost(const dart_record_run *run, size_t from)
{
    double sum = 0;
    for (size_t i = from, end = end_of_weight(run, from); i < end; i++) {
        const dart_record_bond *b = &run->bond[i];
        sum += (double)b->column[0].count - (double)b->column[b->columns - 1].count;
    }
    return sum;
}

/* The weights that lost most ranks, as their first bonds. Returns how many. */
static size_t most_cut(const dart_record_run *run, size_t best[FEATURED])
{
    size_t featured = 0;
    double limit = INFINITY;
    for (; featured < FEATURED; featured++) {
        size_t at = run->bonds;
        for (size_t i = 0; i < run->bonds; i = end_of_weight(run, i)) {
            bool taken = false;
            for (size_t k = 0; k < featured; k++) taken |= best[k] == i;
            if (!taken && lost(run, i) <= limit &&
                (at == run->bonds || lost(run, i) > lost(run, at)))
                at = i;
        }
        if (at == run->bonds) break;
        best[featured] = at;
        limit = lost(run, at);
    }
    return featured;
}

static dart_status legend(double low, FILE *out)
{
    uint8_t ramp[SHADES];
    for (int i = 0; i < SHADES; i++) ramp[i] = (uint8_t)(1 + i);
    fputs("<svg class=\"key\" x=\"24\" y=\"146\" viewBox=\"0 0 330 48\" width=\"330\" "
          "height=\"48\" role=\"img\" "
          "aria-label=\"colours\"><text class=\"t\" x=\"0\" y=\"12\">log₁₀(σ / σ₁)</text><image "
          "x=\"0\" "
          "y=\"18\" width=\"200\" height=\"12\" preserveAspectRatio=\"none\" href=\"",
        out);
    DART_TRY(write_png(SHADES, 1, ramp, out));
    fprintf(out,
        "\"/><text class=\"t th\" x=\"0\" y=\"43\">≤ %.1f</text><text class=\"t th\" x=\"100\" "
        "y=\"43\" text-anchor=\"middle\">%.2g</text><text class=\"t th\" x=\"200\" y=\"43\" "
        "text-anchor=\"end\">0</text><rect fill=\"#808080\" fill-opacity=\".24\" x=\"224\" "
        "y=\"18\" width=\"18\" height=\"12\"/><text class=\"t\" x=\"248\" y=\"28\">cut "
        "away</text></svg>\n",
        low, low / 2);
    return DART_OK;
}

dart_status dart_report_heat_write(const dart_record_run *run, size_t most_bonds, FILE *out)
{
    if (!run->bonds) return DART_OK;
    double low = floor_of(run);
    fputs("<h3>Bond spectra over time</h3>\n<p>Across: steps. Down: index of the singular value, "
          "the largest on top. Orange: a selection and the rank it chose.</p>\n",
        out);
    DART_TRY(legend(low, out));
    size_t shown = run->bonds;
    if (run->bonds <= ALL_BONDS) {
        for (size_t i = 0; i < run->bonds; i = end_of_weight(run, i))
            DART_TRY(weight_row(run, i, low, out));
        return DART_OK;
    }
    size_t best[FEATURED], featured = most_cut(run, best);
    fprintf(out, "<p>The %zu weights that lost most ranks:</p>\n", featured);
    for (size_t i = 0; i < featured; i++) DART_TRY(weight_row(run, best[i], low, out));
    fputs("<details><summary>All bonds</summary>\n", out);
    if (shown > most_bonds) {
        shown = most_bonds;
        fprintf(out, "<p>The first %zu of %zu bonds; spectra.jsonl has the others.</p>\n", shown,
            run->bonds);
    }
    for (size_t i = 0; i < shown; i = end_of_weight(run, i)) DART_TRY(weight_row(run, i, low, out));
    fputs("</details>\n", out);
    return DART_OK;
}

const char dart_report_heat_style[] =
    "image{image-rendering:pixelated}.th{font-size:11px}"
    ".pk{stroke:#E65100;stroke-width:1.2;stroke-dasharray:2 2;fill:none}"
    ".pr{stroke-width:2;stroke-dasharray:none}";

/* One weight: its bonds side by side, the key of the colours below. */
static dart_status weight_svg(const dart_record_run *run, size_t from, FILE *out)
{
    size_t end = end_of_weight(run, from);
    int width = (int)(end - from) * HEAT_W > 340 ? (int)(end - from) * HEAT_W : 340;
    double low = floor_of(run);
    fprintf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" "
        "aria-label=\"Bond spectra over time\">\n<style>%s%s</style>\n<rect class=\"pp\" "
        "width=\"100%%\" height=\"100%%\"/>\n<text class=\"t tt\" x=\"4\" y=\"16\">",
        width, 22 + HEAT_H + 52, dart_report_chart_style, dart_report_heat_style);
    dart_report_escape(run->bond[from].weight, out);
    fputs(": singular values of the bonds over the steps</text>\n", out);
    for (size_t i = from; i < end; i++)
        DART_TRY(heat(run, &run->bond[i], low, (int)(i - from) * HEAT_W, out));
    DART_TRY(legend(low, out));
    fputs("</svg>\n", out);
    return DART_OK;
}

dart_status dart_report_heat_svg(const dart_record_run *run, const char *dir)
{
    size_t best[FEATURED], featured = run->bonds ? most_cut(run, best) : 0;
    for (size_t i = 0; i < featured; i++) {
        FILE *file;
        char name[128];
        snprintf(name, sizeof name, "spectra %s", run->bond[best[i]].weight);
        DART_TRY(dart_report_svg_open(dir, name, &file));
        dart_status status = weight_svg(run, best[i], file);
        dart_status closed = dart_report_svg_close(file);
        DART_TRY(status);
        DART_TRY(closed);
    }
    return DART_OK;
}
