/* Several runs beside each other: size against perplexity, and what their recipes differ in. */
#include "report.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct result {
    const char *name;
    double size, figure;
} result;

/* What is good: low perplexities, high BLEU. */
typedef enum result_goal { GOAL_TEST, GOAL_VALID, GOAL_BLEU } result_goal;
static const struct {
    const char *key, *name, *split;
} goals[] = {{"test_ppl", "perplexity", "test"}, {"valid_ppl", "perplexity", "validation"},
    {"test_bleu", "BLEU", "test"}};

static int by_size(const void *a, const void *b)
{
    const result *x = a, *y = b;
    return (x->size > y->size) - (x->size < y->size);
}

/* One series a run, and the front: no other run is both smaller and better. */
static dart_status front(const result *found, size_t count, const char *title, const char *x_name,
    result_goal goal, const char *dir, FILE *out)
{
    const double sign = goal == GOAL_BLEU ? -1 : 1;
    result sorted[DART_RECORD_MAX_RUNS];
    dart_report_series series[DART_RECORD_MAX_RUNS + 1];
    double x[DART_RECORD_MAX_RUNS], y[DART_RECORD_MAX_RUNS], best = INFINITY;
    memcpy(sorted, found, count * sizeof *found);
    qsort(sorted, count, sizeof *sorted, by_size);
    size_t on = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(sign * sorted[i].figure < best)) continue;
        best = sign * sorted[i].figure;
        x[on] = sorted[i].size;
        y[on++] = sorted[i].figure;
    }
    for (size_t i = 0; i < count; i++) {
        series[i] = (dart_report_series){
            .x = &found[i].size, .y = &found[i].figure, .count = 1, .points = true};
        snprintf(series[i].name, sizeof series->name, "%.90s", found[i].name);
    }
    series[count] = (dart_report_series){.name = "front", .x = x, .y = y, .count = on, .colour = 7};
    const dart_report_chart c = {.title = title,
        .x_name = x_name,
        .y_name = goals[goal].name,
        .log_x = true,
        .log_y = goal != GOAL_BLEU,
        .series = series,
        .series_count = count + 1};
    return dart_report_chart_put(&c, dir, out);
}

/* The last row of each table that has both figures. Returns how many of them; `runs` counts the
 * tables. */
static size_t last_rows(const dart_record_run *run, size_t count, const char *size, const char *key,
    result found[DART_RECORD_MAX_RUNS], size_t *runs)
{
    size_t n = 0;
    *runs = 0;
    const dart_column *x = dart_table_find(size), *y = dart_table_find(key);
    for (size_t i = 0; i < count; i++) {
        if (!run[i].rows) continue;
        const dart_table_row *row = &run[i].row[run[i].rows - 1];
        found[n] = (result){run[i].name, dart_columns_value(dart_table_columns, x, row),
            dart_columns_value(dart_table_columns, y, row)};
        if (found[n].size > 0 && isfinite(found[n].figure)) n++;
        ++*runs;
    }
    return n;
}

dart_status dart_report_front_write(
    const dart_record_run *run, size_t count, const char *dir, FILE *out)
{
    static const char *const keys[2] = {"compressed_params", "params"};
    static const char *const titles[2] = {"Size of the compressed layers", "Size of the model"};
    static const char *const names[2] = {"parameters of the compressed layers", "parameters"};
    for (int which = 0; which < 2; which++)
        for (int bleu = 0; bleu < 2; bleu++) {
            result found[DART_RECORD_MAX_RUNS], test[DART_RECORD_MAX_RUNS];
            size_t runs, tables;
            result_goal goal = bleu ? GOAL_BLEU : GOAL_TEST;
            size_t n = last_rows(run, count, keys[which], goals[goal].key, found, &runs);
            /* perplexities of different splits are not compared */
            if (!bleu && last_rows(run, count, "params", "test_ppl", test, &tables) < tables) {
                goal = GOAL_VALID;
                n = last_rows(run, count, keys[which], goals[goal].key, found, &runs);
            }
            if (n < 2) continue;
            char title[128];
            snprintf(title, sizeof title, "%s against %s (%s)", titles[which], goals[goal].name,
                goals[goal].split);
            DART_TRY(front(found, n, title, names[which], goal, dir, out));
        }
    return DART_OK;
}

/* ---- recipes ---- */

/* The stages as one line each, for a table cell. */
static dart_status stages_text(const dart_recipe *recipe, char **out)
{
    char *text;
    DART_TRY(dart_recipe_text(recipe, false, &text));
    const char *from = strstr(text, "\nstages:");
    *out = dart_calloc(strlen(text) + 1, 1);
    if (*out && from) strcpy(*out, strchr(from + 1, '\n') ? strchr(from + 1, '\n') + 1 : "");
    free(text);
    return *out ? DART_OK : DART_MEMORY;
}

static void difference_row(const char *key, size_t count, char *const *value, FILE *out)
{
    bool differ = false;
    for (size_t i = 1; i < count; i++) differ |= strcmp(value[i], value[0]) != 0;
    if (!differ) return;
    fprintf(out, "<tr><td class=\"tx\">%s</td>", key);
    for (size_t i = 0; i < count; i++) {
        fputs("<td class=\"tx\">", out);
        dart_report_escape(value[i], out);
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

void dart_report_differences_write(const dart_record_run *run, size_t count, FILE *out)
{
    char text[DART_RECORD_MAX_RUNS][512], *value[DART_RECORD_MAX_RUNS] = {NULL};
    const dart_record_run *with[DART_RECORD_MAX_RUNS];
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (run[i].recipe) with[n++] = &run[i];
    if (n < 2) return;
    fputs("<h2>Differences of the recipes</h2>\n<div class=\"sc\"><table><tr><th>key</th>", out);
    for (size_t i = 0; i < n; i++) {
        fputs("<th class=\"tx\">", out);
        dart_report_escape(with[i]->name, out);
        fputs("</th>", out);
    }
    fputs("</tr>\n", out);
    for (uint32_t k = 0; dart_option_at(k); k++) {
        const char *key = dart_option_at(k)->key;
        if (!strcmp(key, "out") || !strcmp(key, "resume") || !strcmp(key, "force")) continue;
        for (size_t i = 0; i < n; i++) {
            if (dart_recipe_get(with[i]->recipe, key, text[i], sizeof text[i]) != DART_OK)
                text[i][0] = 0;
            value[i] = text[i];
        }
        difference_row(key, n, value, out);
    }
    bool all = true;
    for (size_t i = 0; i < n; i++) value[i] = NULL;
    for (size_t i = 0; i < n && all; i++) all = stages_text(with[i]->recipe, &value[i]) == DART_OK;
    if (all) difference_row("stages", n, value, out);
    for (size_t i = 0; i < n; i++) free(value[i]);
    fputs("</table></div>\n", out);
}
