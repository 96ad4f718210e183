/* tune: forms of kernels measured on a device, and chosen there. */
#include "cli.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const dart_option options[] = {
    {"budget", "", "string", "60s", "",
        "how long it may take: seconds (90, 90s), minutes (5m) or hours (1h)"},
    {"export", "", "string", "", "",
        "write what is kept for the device to a file, and measure nothing"},
    {"import", "", "string", "", "", "take over a file that --export wrote, and measure nothing"},
    {"force", "", "bool", "false", "",
        "--import: also of another device, driver or version, without what does not hold here"},
    {"list", "", "bool", "false", "", "show what is kept for the device, and measure nothing"},
    {"clear", "", "bool", "false", "", "forget what is kept for the device"},
    {NULL},
};

static dart_status budget_of(const cli_call *cli, double *out)
{
    const char *text = cli_text(cli, "budget");
    char *end;
    const double number = strtod(text, &end);
    const double unit = !*end || !strcmp(end, "s") ? 1
                        : !strcmp(end, "m")        ? 60
                        : !strcmp(end, "h")        ? 3600
                                                   : 0;
    *out = number * unit;
    if (isdigit((unsigned char)*text) && *out >= 1 && *out <= 86400) return DART_OK;
    return cli_fail(DART_USAGE,
        "--budget is a time between 1s and 24h, like 90s, 5m or 1h, and not '%s'", text);
}

static void ratio_text(char out[64], double ratio, double low, double high)
{
    if (isnan(low))
        cli_number(out, ratio, 2);
    else
        snprintf(out, 64, "%.2f (%.2f to %.2f)", ratio, low, high);
}

static dart_status print_rows(const dart_tuning *tuning, bool kept)
{
    static const char *const heading[] = {
        "kernel", "sizes up to", "launches", "%", "shipped ms", "best ms", "ratio", "", "form"};
    const uint32_t skip = kept ? 2 : 0; /* launches and share are of a step */
    const dart_tune_row *row;
    dart_status status = DART_OK;
    cli_table table = {0};
    for (uint32_t i = 0; i == 0 || dart_tuning_row(tuning, i - 1); i++) {
        char cell[9][64];
        const char *cells[9];
        uint32_t n = 0;
        if (i) {
            row = dart_tuning_row(tuning, i - 1);
            snprintf(cell[0], 64, "%s", row->kernel);
            snprintf(cell[1], 64, "%.63s", row->sizes);
            snprintf(cell[2], 64, "%u", row->launches);
            cli_number(cell[3], 100 * row->share, 1);
            cli_number(cell[4], 1e3 * row->shipped_s, 4);
            cli_number(cell[5], 1e3 * row->best_s, 4);
            ratio_text(cell[6], row->ratio, row->low, row->high);
            snprintf(cell[7], 64, "%s",
                row->chosen ? row->same_bits ? "taken" : "taken, other bits" : "-");
            snprintf(cell[8], 64, "%.63s", *row->note ? row->note : row->best);
        }
        for (uint32_t c = 0; c < 9; c++)
            if (c != 2 && c != 3)
                cells[n++] = i ? cell[c] : heading[c];
            else if (!skip)
                cells[n++] = i ? cell[c] : heading[c];
        CLI_GOTO(cli_table_row(&table, n, cells));
    }
    cli_table_print(&table, stdout);
done:
    cli_table_free(&table);
    return status;
}

static void print_result(const dart_tune_result *r, bool stopped)
{
    uint32_t left = r->classes - r->rows;
    printf("\n%s, %s, %s: %u of %u classes measured, %.1f %% of the step, in %.0f s", r->device,
        r->name, r->driver, r->rows, r->classes, 100 * r->share, r->seconds);
    puts(stopped ? "; stopped, what was found is kept"
         : left  ? "; a larger --budget reaches the others that matter"
                 : "");
    if (!r->chosen) {
        puts("The shipped forms stay: none was faster by 5 % and beyond the noise.");
        return;
    }
    printf("%u choices, which should make the step %.3f times as fast", r->chosen, r->expected);
    if (!r->steps) {
        puts("; the whole step was not measured.");
        return;
    }
    printf(".\nThe whole step took %.2f ms before and %.2f ms now: %.3f times as fast "
           "(%.3f to %.3f, %u steps of each in turns).\n",
        1e3 * r->before_s, 1e3 * r->after_s, r->ratio, r->low, r->high, r->steps);
    if (!(r->low > 1))
        puts(r->high < 1 ? "It is SLOWER than before: --clear forgets the choices."
                         : "That is no faster beyond the noise; --clear forgets the choices.");
}

static dart_status tune(cli_call *cli)
{
    dart_tune_options how = {.size = sizeof how};
    dart_tuning *tuning = NULL;
    cli_progress progress;
    CLI_TRY(budget_of(cli, &how.budget));
    cli_listen();
    const dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    const dart_status status = dart_tune(cli->recipe, &how, &hooks, &tuning);
    cli_progress_end(&progress);
    dart_status printed = DART_OK;
    if (tuning && dart_tuning_row(tuning, 0)) {
        printed = print_rows(tuning, false);
        print_result(dart_tuning_result(tuning), status != DART_OK);
    } else if (tuning && status == DART_OK) {
        printed = cli_fail(DART_FAILED,
            "the budget of %s ended before a form was measured; give more with --budget",
            cli_text(cli, "budget"));
    }
    dart_tuning_free(tuning);
    return status == DART_OK ? printed : status;
}

static dart_status list(cli_call *cli)
{
    dart_tuning *tuning;
    dart_status status = DART_OK;
    CLI_TRY(dart_tune_kept(cli->recipe, &tuning));
    const dart_tune_result *r = dart_tuning_result(tuning);
    if (r->rows) status = print_rows(tuning, true);
    printf("%s%s, %s, %s: %u choices%s%s\n", r->rows ? "\n" : "", r->device, r->name, r->driver,
        r->chosen, *r->path ? ", kept in " : "", r->path);
    dart_tuning_free(tuning);
    return status;
}

static dart_status run(cli_call *cli)
{
    const char *to = cli_text(cli, "export"), *from = cli_text(cli, "import");
    uint32_t classes;
    if (cli_flag(cli, "force") && !from) return cli_fail(DART_USAGE, "--force is for --import");
    if ((to != NULL) + (from != NULL) + cli_flag(cli, "list") + cli_flag(cli, "clear") > 1)
        return cli_fail(DART_USAGE, "--export, --import, --list and --clear are one at a time");
    if (cli_flag(cli, "list")) return list(cli);
    if (cli_flag(cli, "clear")) return dart_tune_clear(cli->recipe);
    if (to) return dart_tune_export(cli->recipe, to);
    if (!from) return tune(cli);
    CLI_TRY(dart_tune_import(cli->recipe, from, cli_flag(cli, "force"), &classes));
    printf("%u classes taken over\n", classes);
    return DART_OK;
}

const cli_command cmd_tune = {.name = "tune",
    .summary = "measure tiles and work-groups of kernels on a device, and keep what is faster",
    .recipe = true,
    .own = options,
    .run = run};
