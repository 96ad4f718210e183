/* What `bench --format json` wrote, as pictures: rows under the roofs of their devices, and bars.
 */
#include "bars.h"
#include "file.h"
#include "json.h"
#include "report.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEVICES = 16,
    BARS = 60,
    ROOF = 3,
    NAME = 26
}; /* NAME: letters of what stands beside a bar */

typedef struct device {
    char id[32];
    double peak, copy; /* GFLOP/s, GB/s */
    double roof_x[ROOF], roof_y[ROOF];
    double *x, *y; /* owned [rows]: FLOP a byte, GFLOP/s */
    size_t points;
} device;

typedef struct bench {
    json_t *body; /* owned */
    const json_t *rows;
    device device[DEVICES];
    size_t devices;
} bench;

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static double number_at(const json_t *object, const char *key)
{
    return dart_number_of(json_object_get(object, key));
}

static device *device_of(bench *b, const char *id)
{
    for (size_t i = 0; i < b->devices; i++)
        if (!strcmp(b->device[i].id, id)) return &b->device[i];
    return NULL;
}

static void bench_close(bench *b)
{
    for (size_t i = 0; i < b->devices; i++) {
        free(b->device[i].x);
        free(b->device[i].y);
    }
    json_decref(b->body);
}

/* The rows as points of their devices. */
static dart_status bench_open(const char *text, size_t size, const char *what, bench *b)
{
    char why[DART_JSON_WHY];
    size_t i;
    json_t *value;
    *b = (bench){0};
    DART_TRY(dart_json_parse(text, size, what, why, &b->body));
    b->rows = json_object_get(b->body, "results");
    const json_t *devices = json_object_get(b->body, "devices");
    if (!json_is_array(b->rows) || !json_is_array(devices))
        return dart_fail(
            DART_INPUT, "%s has no results: expected what bench --format json wrote", what);
    json_array_foreach(devices, i, value)
    {
        if (b->devices == DEVICES) break;
        device *d = &b->device[b->devices++];
        snprintf(d->id, sizeof d->id, "%s", text_at(value, "device"));
        d->peak = number_at(value, "peak_gflops");
        d->copy = number_at(value, "copy_gb_s");
        d->x = dart_calloc(json_array_size(b->rows) + 1, sizeof *d->x);
        d->y = dart_calloc(json_array_size(b->rows) + 1, sizeof *d->y);
        if (!d->x || !d->y) return DART_MEMORY;
    }
    json_array_foreach(b->rows, i, value)
    {
        device *d = device_of(b, text_at(value, "device"));
        const double rate = number_at(value, "gflops"), bytes = number_at(value, "gb_per_s");
        if (!d || !(rate > 0) || !(bytes > 0)) continue;
        d->x[d->points] = rate / bytes;
        d->y[d->points++] = rate;
    }
    return DART_OK;
}

/* From the least to the most intensity that any row has, with the ridge between them. */
static bool roof(device *d, double least, double most)
{
    if (!(d->peak > 0) || !(d->copy > 0)) return false;
    const double ridge = d->peak / d->copy;
    const double x[ROOF] = {fmin(least, ridge / 2), ridge, fmax(most, 2 * ridge)};
    for (int i = 0; i < ROOF; i++) {
        d->roof_x[i] = x[i];
        d->roof_y[i] = fmin(d->peak, x[i] * d->copy);
    }
    return true;
}

static dart_status roofline(bench *b, const char *dir, FILE *out)
{
    dart_report_series series[2 * DEVICES];
    size_t count = 0, points = 0;
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < b->devices; i++) {
        const device *d = &b->device[i];
        points += d->points;
        for (size_t k = 0; k < d->points; k++) {
            least = fmin(least, d->x[k]);
            most = fmax(most, d->x[k]);
        }
    }
    if (!points) return DART_OK;
    for (size_t i = 0; i < b->devices; i++) {
        device *d = &b->device[i];
        const uint8_t colour = (uint8_t)(i + 1);
        if (roof(d, least, most)) {
            series[count] = (dart_report_series){
                .x = d->roof_x, .y = d->roof_y, .count = ROOF, .colour = colour};
            snprintf(series[count++].name, sizeof series->name, "%s, roof", d->id);
        }
        if (!d->points) continue;
        series[count] = (dart_report_series){
            .x = d->x, .y = d->y, .count = d->points, .points = true, .colour = colour};
        snprintf(series[count++].name, sizeof series->name, "%s, measured", d->id);
    }
    const dart_report_chart c = {.title = "Roofline",
        .x_name = "operations a byte",
        .y_name = "GFLOP/s",
        .log_x = true,
        .log_y = true,
        .series = series,
        .series_count = count};
    return dart_report_chart_put(&c, dir, out);
}

/* What was measured: the same words for all devices. */
static void name_of(const json_t *row, char out[128])
{
    const char *what = text_at(row, "what"), *method = text_at(row, "method");
    const bool twin = !strcmp(method, "dense twin");
    const char *const words[] = {*what ? what : text_at(row, "test"), text_at(row, "weights"),
        twin ? "twin" : "", text_at(row, "grid")};
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words && used < 127; i++)
        if (*words[i])
            used += (size_t)snprintf(out + used, 128 - used, "%s%s", used ? " " : "", words[i]);
}

static dart_status bars(bench *b, const char *key, const char *without, const char *title,
    const char *unit, const char *dir, FILE *out)
{
    const char *legend[DEVICES];
    size_t i;
    json_t *row;
    dart_report_bar *bar = dart_calloc(BARS, sizeof *bar);
    dart_report_bars all = {.title = title, .unit = unit, .bar = bar, .legend = legend};
    char last[128] = "";
    if (!bar) return DART_MEMORY;
    for (size_t d = 0; d < b->devices; d++) legend[d] = b->device[d].id;
    all.colours = b->devices;
    json_array_foreach(b->rows, i, row)
    {
        char name[128];
        const device *d = device_of(b, text_at(row, "device"));
        const double value = number_at(row, key);
        if (!d || !(value > 0) || all.count == BARS) continue;
        if (without && number_at(row, without) > 0) continue;
        name_of(row, name);
        dart_report_bar *one = &bar[all.count++];
        one->value = value;
        one->colour = (uint8_t)(d - b->device + 1);
        if (strcmp(name, last) != 0)
            snprintf(one->name, sizeof one->name, "%.*s%s", NAME, name,
                strlen(name) > NAME ? "..." : "");
        memcpy(last, name, sizeof last);
    }
    dart_status status = all.count ? dart_report_bars_put(&all, dir, out) : DART_OK;
    free(bar);
    return status;
}

static dart_status pictures(bench *b, const char *dir, FILE *out)
{
    DART_TRY(roofline(b, dir, out));
    DART_TRY(bars(b, "tokens_per_s", NULL, "Tokens a second", "", dir, out));
    return bars(b, "gflops", "tokens_per_s", "GFLOP a second", "", dir, out);
}

dart_status dart_report_bench_pictures(
    const char *text, size_t size, const char *what, const char *dir)
{
    bench b;
    dart_status status = bench_open(text, size, what, &b);
    if (status == DART_OK) status = dart_mkdirs(dir);
    if (status == DART_OK) status = pictures(&b, dir, NULL);
    bench_close(&b);
    return status;
}

/* ---- the page ---- */

static void about(const bench *b, FILE *out)
{
    static const char *const keys[][2] = {{"", "version"}, {", commit ", "commit"}, {", ", "date"},
        {", on ", "processor"}, {", ", "system"}};
    size_t i;
    json_t *d;
    fputs("<p>dart-llm ", out);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        fputs(keys[k][0], out);
        dart_report_escape(text_at(b->body, keys[k][1]), out);
    }
    fputs(".</p>\n<ul class=\"notes\">", out);
    json_array_foreach(json_object_get(b->body, "devices"), i, d)
    {
        fputs("<li>", out);
        dart_report_escape(text_at(d, "device"), out);
        fputs(": ", out);
        dart_report_escape(text_at(d, "name"), out);
        fputs(", ", out);
        dart_report_escape(text_at(d, "driver"), out);
        if (number_at(d, "peak_gflops") > 0)
            fprintf(out, "; FMA %.1f GFLOP/s, copy %.1f GB/s", number_at(d, "peak_gflops"),
                number_at(d, "copy_gb_s"));
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
}

static void cell(const json_t *row, const char *key, int digits, FILE *out)
{
    const json_t *value = json_object_get(row, key);
    char text[64] = "–";
    fputs("<td>", out);
    if (json_is_number(value)) dart_figure_text(json_number_value(value), digits, text);
    dart_report_escape(json_is_string(value) ? json_string_value(value) : text, out);
    fputs("</td>", out);
}

static void table(const bench *b, FILE *out)
{
    static const struct {
        const char *key, *name;
        int digits;
    } columns[] = {{"test", "test", 0}, {"what", "what", 0}, {"method", "method", 0},
        {"weights", "weights", 0}, {"grid", "with", 0}, {"device", "device", 0},
        {"tokens_per_s", "t/s", 1}, {"ms", "ms", 3}, {"gflops", "GFLOP/s", 1},
        {"peak_percent", "% of peak", 1}, {"gb_per_s", "GB/s", 1}, {"copy_percent", "% of copy", 1},
        {"difference", "difference", -1}};
    size_t i;
    json_t *row;
    fputs("<div class=\"sc\"><table><tr>", out);
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
        fprintf(out, "<th>%s</th>", columns[c].name);
    fputs("</tr>\n", out);
    json_array_foreach(b->rows, i, row)
    {
        fputs("<tr>", out);
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
            cell(row, columns[c].key, columns[c].digits, out);
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

dart_status dart_report_bench_write(const char *path, FILE *out)
{
    bench b = {0};
    char *text = NULL;
    size_t size;
    DART_TRY(dart_file_read(path, &text, &size));
    dart_status status = bench_open(text, size, path, &b);
    free(text);
    if (status == DART_OK) {
        about(&b, out);
        fputs("<h2>Pictures</h2>\n<div class=\"cs\">\n", out);
        status = pictures(&b, NULL, out);
        fputs("</div>\n<h2>Rows</h2>\n", out);
        table(&b, out);
    }
    bench_close(&b);
    return status;
}
