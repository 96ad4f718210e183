/* bench: the backends side by side. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const dart_option options[] = {
    {"device", "devices", "string", "all", "", "comma list (cpu,vulkan:0,...) or all"},
    {"test", "tests", "string", "step,gemm,infer", "",
        "comma list of step (a training step), fwd, bwd, opt (its parts), infer (prompt and single "
        "tokens), op (each op of a step), op:NAME, gemm, gemm:small, gemm:large, "
        "gemm:NN4096x4096x4096, contract (linear layers), attention, peak (what the device does at "
        "best), pick (what a selection of ranks costs)"},
    {"repeats", "", "int", "5", "", "measured runs after the warm-up (-r)"},
    {"model_path", "model", "string", "", "",
        "a trained run, checkpoint or pretrained model; else random weights (-m)"},
    {"prompt", "n_prompt", "string", "512", "",
        "infer: tokens of the prompt, at most the context (-p)"},
    {"tokens", "n,n_gen", "string", "128", "",
        "infer: tokens made one by one, at most the context (-n)"},
    {"depth", "n_depth", "string", "0", "", "infer: tokens that are kept already (-d)"},
    {"threads", "", "string", "", "", "of cpu; empty: DART_THREADS, or all (-t)"},
    {"format", "output", "md|csv|json|jsonl|sql", "md", "", "output (-o)"},
    {"compare", "", "string", "", "",
        "a file that --format json wrote: how many times as fast, with confidence"},
    {"svg", "", "string", "", "", "a folder for pictures: roofline, bars"},
    {"cool_down", "delay", "float", "0", "", "seconds between measurements"},
    {"reference", "", "bool", "true", "",
        "compare with cpu also where it is not among the devices"},
    {"profile", "", "bool", "false", "",
        "also where the time goes: by kernel, op and layer, with operations, bytes, % of roof"},
    {"trace", "", "string", "", "", "with --profile: a file that ui.perfetto.dev opens"},
    {"file", "", "string", "", "", "submit-ready: the file to write; empty: bench-HOST-DATE.md"},
    {NULL},
};

/* ---- a file to post ---- */

/* All tests that say something of a device, on a model that any device trains. */
static const char submitted[] = "peak,gemm,step,fwd,bwd,opt,infer,contract,attention,op";

static void file_name(const cli_call *cli, char out[256])
{
    char host[128] = "here", date[32] = "";
    struct tm utc;
    const time_t now = time(NULL);
    if (cli_text(cli, "file")) {
        snprintf(out, 256, "%s", cli_text(cli, "file"));
        return;
    }
    gethostname(host, sizeof host - 1);
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%d", &utc);
    snprintf(out, 256, "bench-%s-%s.md", host, date);
}

static dart_status submit(const cli_call *cli, dart_bench_options *how)
{
    char path[256];
    file_name(cli, path);
    if (access(path, F_OK) == 0)
        return cli_fail(DART_INPUT, "%s is there already; name another file with --file", path);
    FILE *out = fopen(path, "wx");
    if (!out) return cli_fail(DART_IO, "cannot write %s", path);
    how->format = "issue";
    how->tests = submitted;
    dart_status status = dart_bench(cli->recipe, how, cli_write, out);
    const bool failed = fclose(out) != 0;
    if (status != DART_OK && status != DART_FAILED) remove(path);
    if (failed) return cli_fail(DART_IO, "cannot write %s", path);
    if (status == DART_OK || status == DART_FAILED)
        printf("%s is ready: look through it, then post it to an issue.\n", path);
    return status;
}

/* ---- */

/* Parameters with several values, as dart_bench_options.grid. */
typedef struct grid {
    char text[4][256];
    const char *entry[CLI_MAX_GRID + 5];
    uint32_t count;
} grid;

static dart_status own_lists(const cli_call *cli, grid *g)
{
    static const char *const keys[] = {"prompt", "tokens", "depth", "threads"};
    for (uint32_t i = 0; i < cli->grids; i++) g->entry[g->count++] = cli->grid[i];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = cli_text(cli, keys[i]);
        if (!value) continue;
        if (snprintf(g->text[i], sizeof g->text[i], "%s=%s", keys[i], value) >=
            (int)sizeof g->text[i])
            return cli_fail(DART_USAGE, "the list of --%s is too long", keys[i]);
        g->entry[g->count++] = g->text[i];
    }
    return DART_OK;
}

static dart_status run(cli_call *cli)
{
    uint64_t repeats;
    double cool_down;
    grid g = {0};
    CLI_TRY(cli_uint(cli, "repeats", 1, 1000, &repeats));
    CLI_TRY(cli_real(cli, "cool_down", 0, 86400, &cool_down));
    CLI_TRY(own_lists(cli, &g));
    if (cli->args && strcmp(cli->arg[0], "submit-ready") != 0)
        return cli_fail(
            DART_USAGE, "bench takes submit-ready or no argument, not '%s'", cli->arg[0]);
    if (cli_text(cli, "file") && !cli->args)
        return cli_fail(DART_USAGE, "--file is for bench submit-ready");
    dart_bench_options how = {.size = sizeof how,
        .devices = cli_text(cli, "device"),
        .tests = cli_text(cli, "test"),
        .format = cli_text(cli, "format"),
        .model_path = cli_text(cli, "model_path"),
        .repeats = (uint32_t)repeats,
        .reference = cli_flag(cli, "reference"),
        .profile = cli_flag(cli, "profile"),
        .grid = g.entry,
        .compare = cli_text(cli, "compare"),
        .svg = cli_text(cli, "svg"),
        .trace = cli_text(cli, "trace"),
        .cool_down = cool_down};
    return cli->args ? submit(cli, &how) : dart_bench(cli->recipe, &how, cli_write, stdout);
}

const cli_command cmd_bench = {.name = "bench",
    .summary = "measure training, its parts, single ops and inference on the backends",
    .arguments = "[submit-ready]",
    .recipe = true,
    .lists = true,
    .own = options,
    .run = run};
