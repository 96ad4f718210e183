/* report: one self-contained HTML page for one or several runs. */
#include "cli.h"

static const dart_option options[] = {
    {"out", "", "string", "", "", "where to write; default: report.html in the first run"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    if (cli->args == 0) return dart_fail(DART_USAGE, "report needs a run directory");
    char path[1024];
    const char *out = cli_text(cli, "out");
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
    .summary = "write a self-contained HTML report of one or several runs",
    .arguments = "RUN...",
    .own = options,
    .run = run};
