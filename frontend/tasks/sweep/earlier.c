/* Runs of which only the line in a results.csv is left: each gets its folder again, with the table
 * and the recipe, as if the sweep had trained it there. */
#include "c_locale.h"
#include "csv.h"
#include "file.h"
#include "json.h"
#include "results.h"
#include "sweep.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static dart_sweep_run *run_named(const dart_sweep_grid *s, const char *name)
{
    for (uint32_t i = 0; i < s->runs; i++)
        if (strcmp(s->run[i].name, name) == 0) return &s->run[i];
    return NULL;
}

/* "": the file has no such column. */
static const char *cell(const dart_csv *csv, const char *name)
{
    const int at = dart_csv_column(csv, name);
    return at < 0 ? "" : csv->field[at].text;
}

/* The record at hand as a row of a table; numbers have the C locale's point. */
static dart_status row_of(const dart_csv *csv, dart_table_row *out)
{
    dart_status status = DART_OK;
    json_t *object = json_object();
    if (!object) return DART_MEMORY;
    for (uint32_t c = 0; c < csv->columns; c++) {
        const char *text = csv->field[c].text;
        char *end;
        const double value = strtod(text, &end);
        if (*text && !*end)
            dart_json_set(object, csv->name[c].text, dart_json_real(value), &status);
    }
    dart_table_row_read(object, out);
    json_decref(object);
    return dart_json_made(status, csv->path);
}

/* The recipe that the run would be trained with now, beside its folder. */
static dart_status write_recipe(const dart_sweep_grid *s, dart_sweep_run *run, const char *budget)
{
    char path[1024], *text = NULL;
    dart_recipe *recipe = NULL;
    run->budget = run->source >= 0 ? strtoull(budget, NULL, 10) : 0;
    dart_status status = dart_sweep_recipe(s, run, &recipe);
    run->budget = 0; /* it is read from the other run's table in its turn */
    if (status == DART_OK) status = dart_recipe_text(recipe, true, &text);
    snprintf(path, sizeof path, "%s/%s.yaml", s->folder, run->name);
    if (status == DART_OK) status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    dart_recipe_free(recipe);
    return status;
}

static dart_status take(
    const dart_sweep_grid *s, dart_sweep_run *run, const dart_csv *csv, bool *out_taken)
{
    char folder[1024], path[1100];
    dart_table_row row;
    *out_taken = false;
    DART_TRY(row_of(csv, &row));
    if (!isfinite(row.valid_ppl) || !isfinite(row.test_ppl)) return DART_OK;
    if (run->source >= 0 && !strtoull(cell(csv, "budget_taken"), NULL, 10)) return DART_OK;
    snprintf(folder, sizeof folder, "%s/%s", s->folder, run->name);
    for (int i = 0; i < 2; i++) { /* what lies there counts */
        snprintf(path, sizeof path, "%s/%s", folder, i ? "checkpoints" : "table.json");
        if (dart_file_exists(path)) return DART_OK;
    }
    snprintf(row.name, sizeof row.name, "earlier");
    snprintf(path, sizeof path, "%s/table.json", folder);
    DART_TRY(dart_mkdirs(folder));
    DART_TRY(write_recipe(s, run, cell(csv, "budget_taken")));
    DART_TRY(dart_table_save(path, &row, 1, cell(csv, "protocol")));
    *out_taken = true;
    return DART_OK;
}

dart_status dart_sweep_earlier(const dart_sweep_grid *s, const char *path, uint32_t *out_taken)
{
    char *data = NULL;
    size_t size;
    dart_csv csv = {0};
    bool more;
    const locale_t before = dart_locale_enter();
    *out_taken = 0;
    dart_status status = dart_file_read(path, &data, &size);
    if (status == DART_OK) status = dart_csv_open(path, data, size, ',', &csv);
    if (status == DART_OK &&
        (dart_csv_column(&csv, "run") < 0 || dart_csv_column(&csv, "status") < 0))
        status = dart_fail(DART_INPUT,
            "%s has no columns 'run' and 'status'; it is no results.csv of a sweep", path);
    while (status == DART_OK) {
        bool taken = false;
        status = dart_csv_next(&csv, &more);
        if (status != DART_OK || !more) break;
        const char *state = cell(&csv, "status");
        dart_sweep_run *run = run_named(s, cell(&csv, "run"));
        const bool trained = !strcmp(state, dart_sweep_state_name(DART_SWEEP_DONE)) ||
                             !strcmp(state, dart_sweep_state_name(DART_SWEEP_LEFT));
        if (run && trained) status = take(s, run, &csv, &taken);
        *out_taken += taken;
    }
    dart_csv_close(&csv);
    free(data);
    dart_locale_leave(before);
    return status;
}
