/* Logs as CSV (RFC 4180): metrics.csv, spectra.csv, ranks.csv, table.csv of one or several runs. */
#include "report.h"
#include "c_locale.h"
#include "file.h"
#include "memstream.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 64 };

static void number_cell(double value, FILE *out)
{
    char text[40];
    if (!isfinite(value)) return;
    dart_real_text(value, 15, text);
    fputs(text, out);
}

/* Empty for what is missing or no number. */
static void json_cell(const json_t *value, FILE *out)
{
    if (json_is_string(value))
        dart_csv_text(json_string_value(value), out);
    else if (json_is_integer(value))
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        number_cell(json_real_value(value), out);
}

/* ---- metrics.csv: a row a line of the log, a column a key ---- */

typedef struct lines {
    char column[MAX_COLUMNS][64];
    size_t columns;
    bool collecting; /* the columns; else the rows are written */
    const char *run, *row;
    FILE *out;
} lines;

static bool own_column(const char *key)
{
    return !strcmp(key, "step") || !strcmp(key, "stage");
}

static dart_status take_line(void *context, const json_t *line)
{
    lines *l = context;
    const char *key;
    json_t *value;
    if (json_object_get(line, "event")) return DART_OK;
    if (l->collecting) {
        json_object_foreach((json_t *)line, key, value)
        {
            size_t k = 0;
            while (k < l->columns && strcmp(l->column[k], key)) k++;
            if (k < l->columns || k == MAX_COLUMNS || own_column(key) || strlen(key) > 63) continue;
            strcpy(l->column[l->columns++], key);
        }
        return DART_OK;
    }
    dart_csv_text(l->run, l->out);
    fprintf(l->out, ",%s,", l->row);
    json_cell(json_object_get(line, "step"), l->out);
    fputc(',', l->out);
    json_cell(json_object_get(line, "stage"), l->out);
    for (size_t k = 0; k < l->columns; k++) {
        fputc(',', l->out);
        json_cell(json_object_get(line, l->column[k]), l->out);
    }
    fputs("\r\n", l->out);
    return DART_OK;
}

static dart_status read_metrics(const dart_record_run *runs, size_t count, lines *l)
{
    for (size_t i = 0; i < count; i++)
        for (int twin = 0; twin <= runs[i].has_twin; twin++) {
            char path[4096];
            size_t good = 0, damaged = 0;
            l->run = runs[i].name;
            l->row = twin ? "dense twin" : "run";
            DART_TRY(
                dart_record_path(path, runs[i].dir, twin ? "/dense-twin" : "", "metrics.jsonl"));
            DART_TRY(dart_record_lines(path, take_line, l, &good, &damaged));
        }
    return DART_OK;
}

static dart_status write_metrics(const dart_record_run *runs, size_t count, FILE *out)
{
    lines l = {.collecting = true, .out = out};
    DART_TRY(read_metrics(runs, count, &l));
    fputs("run,row,step,stage", out);
    for (size_t k = 0; k < l.columns; k++) fputc(',', out), dart_csv_text(l.column[k], out);
    fputs("\r\n", out);
    l.collecting = false;
    return read_metrics(runs, count, &l);
}

static dart_status write_spectra(const dart_record_run *runs, size_t count, FILE *out)
{
    fputs("run,weight,bond,step,index,sigma\r\n", out);
    for (size_t i = 0; i < count; i++)
        for (size_t b = 0; b < runs[i].bonds; b++) {
            const dart_record_bond *bond = &runs[i].bond[b];
            for (size_t k = 0; k < bond->columns; k++)
                for (uint32_t s = 0; s < bond->column[k].count; s++) {
                    dart_csv_text(runs[i].name, out);
                    fputc(',', out);
                    dart_csv_text(bond->weight, out);
                    fprintf(out, ",%u,%.0f,%u,", bond->bond + 1, bond->column[k].step, s + 1);
                    number_cell(bond->column[k].sigma[s], out);
                    fputs("\r\n", out);
                }
        }
    return DART_OK;
}

static dart_status write_ranks(const dart_record_run *runs, size_t count, FILE *out)
{
    fputs("run,step,stage,rule,weight,method,bond,rank_before,rank,cut_error,cut_error_bound\r\n",
        out);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < runs[i].weights; k++) {
            const dart_record_weight *w = &runs[i].weight[k];
            for (uint32_t b = 0; b < w->bonds; b++) {
                dart_csv_text(runs[i].name, out);
                fprintf(out, ",%.0f,", w->step);
                dart_csv_text(w->stage, out);
                fprintf(out, ",%s,", w->rule);
                dart_csv_text(w->name, out);
                fprintf(out, ",%s,%u,%u,%u,", w->method, b + 1, w->before[b], w->ranks[b]);
                number_cell(w->cut_error, out);
                fputc(',', out);
                number_cell(w->cut_error_bound, out);
                fputs("\r\n", out);
            }
        }
    return DART_OK;
}

static dart_status write_table(const dart_record_run *runs, size_t count, FILE *out)
{
    const dart_columns columns = dart_table_columns;
    fputs("run", out);
    for (size_t k = 0; k < columns.count; k++) fprintf(out, ",%s", columns.column[k].field.key);
    fputs("\r\n", out);
    for (size_t i = 0; i < count; i++)
        for (uint32_t r = 0; r < runs[i].rows; r++) {
            dart_csv_text(runs[i].name, out);
            for (size_t k = 0; k < columns.count; k++) {
                fputc(',', out);
                dart_columns_csv_field(columns, &columns.column[k], &runs[i].row[r], 15, out);
            }
            fputs("\r\n", out);
        }
    return DART_OK;
}

typedef dart_status (*writer)(const dart_record_run *runs, size_t count, FILE *out);

static dart_status write_csv(
    const dart_record_run *runs, size_t count, const char *dir, const char *name, writer write)
{
    char path[4096], *data = NULL;
    size_t size = 0;
    DART_TRY(dart_record_path(path, dir, "", name));
    FILE *out = dart_memstream_open(&data, &size);
    if (!out) return DART_MEMORY;
    dart_status status = write(runs, count, out);
    const dart_status closed = dart_memstream_close(out, name, &data);
    if (status == DART_OK) status = closed;
    if (status == DART_OK) status = dart_file_write_atomic(path, data, size);
    free(data);
    return status;
}

static dart_status write_all(const char *const *dirs, size_t count, const char *dir)
{
    static const struct {
        const char *name;
        writer write;
    } files[] = {{"metrics.csv", write_metrics}, {"spectra.csv", write_spectra},
        {"ranks.csv", write_ranks}, {"table.csv", write_table}};
    dart_record_run *runs;
    DART_TRY(dart_record_read(dirs, count, &runs));
    dart_status status = DART_OK;
    DART_GOTO(dart_mkdirs(dir));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        DART_GOTO(write_csv(runs, count, dir, files[i].name, files[i].write));
done:
    dart_record_free(runs, count);
    return status;
}

dart_status dart_report_csv(const char *const *dirs, size_t count, const char *dir)
{
    locale_t before = dart_locale_enter();
    dart_status status = write_all(dirs, count, dir);
    dart_locale_leave(before);
    return status;
}
