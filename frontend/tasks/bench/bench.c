/* dart_bench: measures, prints, compares, draws, and says so where a result is wrong. */
#include "bench.h"
#include "c_locale.h"
#include "file.h"
#include "filestream.h"
#include "memstream.h"
#include "names.h"
#include "report.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static dart_status check(const dart_bench_options *options)
{
    static const char *const formats[] = {"md", "json", "jsonl", "csv", "sql", "issue", NULL};
    const char *const *format = formats;
    while (*format && strcmp(*format, options->format) != 0) format++;
    if (!*format)
        return dart_name_unknown(
            DART_USAGE, "output format", options->format, dart_name_of_list, formats, "");
    if (options->repeats == 0 || options->repeats > DART_BENCH_REPEATS)
        return dart_fail(
            DART_USAGE, "%" PRIu32 " repeats; give 1 to %d", options->repeats, DART_BENCH_REPEATS);
    if (!(options->cool_down >= 0 && options->cool_down <= 86400))
        return dart_fail(DART_USAGE, "a cool-down of %g s; give 0 to 86400", options->cool_down);
    if (options->trace && *options->trace && !options->profile)
        return dart_fail(DART_USAGE, "a trace is what --profile measures; give that too");
    if (options->compare && *options->compare && !dart_file_exists(options->compare))
        return dart_fail(DART_INPUT, "there is no file %s to compare with", options->compare);
    return DART_OK;
}

/* ---- what comes of it ---- */

/* The document as a text; caller frees. */
static dart_status document(
    const dart_bench_machine *machine, const dart_bench_rows *rows, char **out, size_t *out_size)
{
    FILE *stream = dart_memstream_open(out, out_size);
    if (!stream) return DART_MEMORY;
    dart_status status = dart_bench_json(machine, rows, NULL, stream);
    if (status == DART_OK) return dart_memstream_close(stream, "the results", out);
    fclose(stream);
    free(*out);
    return status;
}

/* One text to post: the tables, and behind a fold the same for programs. */
static dart_status issue(const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out)
{
    char *text;
    size_t size;
    DART_TRY(dart_bench_markdown(machine, rows, out));
    DART_TRY(document(machine, rows, &text, &size));
    fputs("\n<details><summary>The same as JSON</summary>\n\n```json\n", out);
    fwrite(text, 1, size, out);
    fputs("```\n\n</details>\n", out);
    free(text);
    return DART_OK;
}

static dart_status print(const dart_bench_machine *machine, const dart_bench_rows *rows,
    const dart_bench_options *options, FILE *out)
{
    const char *format = options->format;
    const bool compares = options->compare && *options->compare, json = !strcmp(format, "json");
    const bool tables = !strcmp(format, "md") || !strcmp(format, "issue");
    json_t *comparison = NULL;
    if (!strcmp(format, "csv")) DART_TRY(dart_bench_csv(machine, rows, out));
    if (!strcmp(format, "jsonl")) DART_TRY(dart_bench_jsonl(machine, rows, out));
    if (!strcmp(format, "sql")) DART_TRY(dart_bench_sql(machine, rows, out));
    if (!strcmp(format, "md")) DART_TRY(dart_bench_markdown(machine, rows, out));
    if (!strcmp(format, "issue")) DART_TRY(issue(machine, rows, out));
    if (compares)
        DART_TRY(dart_bench_compare(options->compare, rows, tables ? out : NULL, &comparison));
    if (json) return dart_bench_json(machine, rows, comparison, out);
    json_decref(comparison);
    return DART_OK;
}

static dart_status write_trace(const dart_bench_rows *rows, const char *path)
{
    dart_status status = DART_OK;
    size_t count = 0;
    const dart_profile **profiles = dart_calloc(rows->count + 1, sizeof(const dart_profile *));
    if (!profiles) return DART_MEMORY;
    for (size_t i = 0; i < rows->count; i++)
        if (rows->row[i].profile) profiles[count++] = rows->row[i].profile;
    FILE *file = dart_filestream_open(path, "w", NULL);
    if (!file)
        DART_GOTO(dart_fail(
            dart_errno_code(errno), "cannot write the trace %s: %s", path, strerror(errno)));
    DART_GOTO(dart_profile_trace(profiles, count, file));
    if (fclose(file) != 0) status = dart_fail(DART_IO, "cannot write the trace %s", path);
    file = NULL;
done:
    if (file) fclose(file);
    free(profiles);
    return status;
}

static dart_status draw(
    const dart_bench_machine *machine, const dart_bench_rows *rows, const char *dir)
{
    char *text;
    size_t size;
    DART_TRY(document(machine, rows, &text, &size));
    dart_status status = dart_report_bench_pictures(text, size, "the results", dir);
    free(text);
    return status;
}

/* A fast wrong answer is a failure. */
static dart_status judge(const dart_bench_rows *rows)
{
    uint32_t wrong = 0;
    const dart_bench_row *first = NULL;
    for (size_t i = 0; i < rows->count; i++)
        if (dart_bench_wrong(&rows->row[i]) && !wrong++) first = &rows->row[i];
    if (!wrong) return DART_OK;
    return dart_fail(DART_FAILED,
        "%" PRIu32 " of %zu rows differ from cpu by more than is allowed; the first is %s%s%s on "
        "%s: %.1e, allowed are %.0e; run dart-llm selftest --device %s",
        wrong, rows->count, first->test, *first->what ? " " : "", first->what, first->device,
        first->difference, first->tolerance, first->device);
}

static dart_status run(const dart_recipe *recipe, const dart_bench_options *options, FILE *out)
{
    dart_bench_rows rows = {0};
    dart_status status = DART_OK;
    DART_TRY(check(options));
    dart_bench_machine *machine = dart_calloc(1, sizeof *machine);
    if (!machine) return DART_MEMORY;
    dart_bench_machine_now(machine);
    machine->repeats = options->repeats;
    DART_GOTO(dart_bench_run(recipe, options, machine, &rows));
    DART_GOTO(print(machine, &rows, options, out));
    if (options->trace && *options->trace) DART_GOTO(write_trace(&rows, options->trace));
    if (options->svg && *options->svg) DART_GOTO(draw(machine, &rows, options->svg));
    status = judge(&rows);
done:
    dart_bench_rows_free(&rows);
    free(machine);
    return status;
}

dart_status dart_bench_print(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out)
{
    locale_t before = dart_locale_enter();
    dart_status status = run(recipe, options, out);
    dart_locale_leave(before);
    return status;
}
