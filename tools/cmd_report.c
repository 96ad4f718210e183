/* report: one self-contained HTML page for one or several runs; TensorBoard event files; CSV. */
#include "cli.h"

static const dart_option options[] = {
    {"out", "", "string", "", "", "where to write; default: report.html in the first run"},
    {"tensorboard", "", "string", "", "", "write event files for TensorBoard below this folder"},
    {"csv", "", "string", "", "",
        "write metrics.csv, spectra.csv, ranks.csv and table.csv into this folder"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    if (cli->args == 0) return dart_fail(DART_USAGE, "report needs a run directory");
    char path[1024];
    const char *out = cli_text(cli, "out"), *board = cli_text(cli, "tensorboard"),
               *csv = cli_text(cli, "csv");
    if (board) {
        DART_TRY(dart_report_tensorboard(cli->arg, cli->args, board));
        printf("%s\n", board);
    }
    if (csv) {
        DART_TRY(dart_report_csv(cli->arg, cli->args, csv));
        printf("%s\n", csv);
    }
    if ((board || csv) && !out) return DART_OK;
    if (!out) {
        if (snprintf(path, sizeof path, "%s/report.html", cli->arg[0]) >= (int)sizeof path)
            return dart_fail(DART_USAGE, "the path of the run directory is too long");
        out = path;
    }
    DART_TRY(dart_report(cli->arg, cli->args, out));
    printf("%s\n", out);
    return DART_OK;
}

const cli_command cmd_report = {.name = "report",
    .summary = "write a self-contained HTML report of one or several runs, or event files or CSV",
    .arguments = "RUN...",
    .own = options,
    .run = run};
