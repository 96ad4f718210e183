/* selftest: the kernel suite against the double-precision oracle, on this machine's own driver. */
#include "cli.h"

static const dart_option options[] = {
    {"device", "", "string", "cpu", "", "device id (dart-llm devices lists them)"},
    {"limits", "", "string", "", "", "obey a limit profile: emu-floor, emu-pi4, ..."},
    {"json", "", "bool", "false", "", "print the verdict as JSON"},
    {NULL},
};

static dart_status run(cli_call *cli)
{
    const char *device = cli_text(cli, "device");
    bool json = cli_flag(cli, "json");
    dart_selftest_result r = {.size = sizeof r};
    const bool quiet = json || cli->quiet;
    CLI_TRY(dart_selftest(device, cli_text(cli, "limits"), quiet ? NULL : cli_write, stdout, &r));
    if (json) {
        CLI_TRY(cli_json(json_pack("{s:s, s:i, s:i, s:i, s:s, s:o}", "device", device, "cases",
                             (int)r.cases, "failed", (int)r.failed, "skipped", (int)r.skipped,
                             "worst", r.worst, "worst_nmse", cli_json_real(r.worst_nmse)),
            stdout));
    } else {
        printf("%s: %u cases, %u failed, %u skipped; largest error %.1e (%s)\n", device, r.cases,
            r.failed, r.skipped, r.worst_nmse, r.worst);
    }
    if (r.failed)
        return cli_fail(DART_FAILED,
            "%s fails %u of %u kernel cases; train will refuse it unless forced", device, r.failed,
            r.cases);
    return DART_OK;
}

const cli_command cmd_selftest = {.name = "selftest",
    .summary = "check a device's kernels against the double-precision oracle",
    .own = options,
    .run = run};
