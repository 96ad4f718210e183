/* report: one self-contained HTML page for one or several runs, or for what bench wrote;
 * TensorBoard event files; CSV; SVG. */
#include "cli.h"
#include <string.h>

static const dart_option options[] = {
    {"out", "", "string", "", "",
        "where to write; default: report.html in the first run, or the name of bench's file"},
    {"tensorboard", "", "string", "", "", "write event files for TensorBoard below this folder"},
    {"csv", "", "string", "", "",
        "write metrics.csv, spectra.csv, ranks.csv and table.csv into this folder"},
    {"svg", "", "string", "", "", "write the pictures as files into this folder"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    static const struct {
        const char *key;
        dart_status (*write)(const char *const *runs, size_t count, const char *dir);
    } exports[] = {{"tensorboard", dart_report_tensorboard}, {"csv", dart_report_csv},
        {"svg", dart_report_pictures}};
    if (cli->args == 0) return cli_fail(DART_USAGE, "report needs a run directory");
    char path[1024];
    const char *out = cli_text(cli, "out");
    bool exported = false;
    for (size_t i = 0; i < sizeof exports / sizeof *exports; i++) {
        const char *dir = cli_text(cli, exports[i].key);
        if (!dir) continue;
        CLI_TRY(exports[i].write(cli->arg, cli->args, dir));
        printf("%s\n", dir);
        exported = true;
    }
    if (exported && !out) return DART_OK;
    const char *first = cli->arg[0];
    const size_t length = strlen(first);
    if (!out && length > 5 && strcmp(first + length - 5, ".json") == 0) {
        if (snprintf(path, sizeof path, "%.*s.html", (int)length - 5, first) >= (int)sizeof path)
            return cli_fail(DART_USAGE, "the path of the measurements is too long");
        out = path;
    }
    if (!out) {
        if (snprintf(path, sizeof path, "%s/report.html", first) >= (int)sizeof path)
            return cli_fail(DART_USAGE, "the path of the run directory is too long");
        out = path;
    }
    CLI_TRY(dart_report(cli->arg, cli->args, out));
    printf("%s\n", out);
    return DART_OK;
}

const cli_command cmd_report = {.name = "report",
    .summary =
        "write a self-contained HTML report of one or several runs or of measurements, or event "
        "files, CSV, SVG",
    .arguments = "RUN...",
    .own = options,
    .run = run};
