/* kernels: what compilers of GPUs that need not be here make of a model's kernels. */
#include "cli.h"
#include <math.h>
#include <string.h>

static const dart_option options[] = {
    {"for", "gpus", "string", "amd", "",
        "GPUs with commas: amd:navi21, intel:dg2, pi4, ...; amd, intel, anv (all of each), all"},
    {"model_path", "model", "string", "", "", "a run or checkpoint instead of a fresh model"},
    {"format", "", "text|csv", "text", "", "output"},
    {NULL},
};

static void seconds_text(char out[64], double seconds)
{
    cli_number(out, 1e3 * seconds, seconds < 1e-2 ? 3 : 1);
}

/* "100M" for what is longer than a column. */
static void count_text(char out[64], double count)
{
    if (count >= 1e6)
        snprintf(out, 64, "%.0fM", 1e-6 * count);
    else
        cli_number(out, count, 0);
}

/* Row `i` and those after it that belong to the same GPU; the number of the next GPU's first. */
static dart_status print_gpu(const dart_kernels *kernels, uint32_t gpu, uint32_t *i)
{
    enum { COLUMNS = 10 };
    /* count: launches of a training step / of a token */
    static const char *const heading[COLUMNS] = {"kernel", "constants", "count", "regs", "spill",
        "shared", "instr", "cycles", "waves", "ms"};
    const dart_kernels_gpu *g = dart_kernels_gpu_at(kernels, gpu);
    const dart_kernels_row *row;
    dart_status status = DART_OK;
    cli_table table = {0};
    char step[64], token[64];
    if (gpu) putchar('\n');
    if (*g->reason) {
        printf("left out: %s\n", g->reason);
        return DART_OK;
    }
    seconds_text(step, g->step_seconds);
    seconds_text(token, g->token_seconds);
    printf("%s, %s, %s\n%u kernels, %u not made; in ms a step takes at least %s, a token %s\n",
        g->name, g->product, g->driver, g->rows, g->failed, step, token);
    CLI_GOTO(cli_table_row(&table, COLUMNS, heading));
    for (; (row = dart_kernels_row_at(kernels, *i)) && row->gpu == gpu; ++*i) {
        const double figures[] = {
            row->registers, row->spills, row->shared, row->instructions, row->cycles};
        char cell[COLUMNS][64], waves[64], width[64];
        const char *cells[COLUMNS];
        snprintf(cell[0], 64, "%s", row->kernel);
        snprintf(cell[1], 64, "%s", row->constants);
        snprintf(cell[2], 64, "%u/%u", row->launches_of_step, row->launches_of_token);
        for (int f = 0; f < 5; f++) count_text(cell[3 + f], figures[f]);
        count_text(waves, row->waves);
        count_text(width, row->width);
        snprintf(cell[8], 64, "%.20sx%.20s", waves, width);
        seconds_text(cell[9], row->seconds);
        for (int c = 0; c < COLUMNS; c++) cells[c] = cell[c];
        CLI_GOTO(cli_table_row(&table, COLUMNS, cells));
        if (*row->why)
            fprintf(stderr, "%s %s %s: %s\n", g->name, row->kernel, row->constants, row->why);
    }
    cli_table_print(&table, stdout);
done:
    cli_table_free(&table);
    return status;
}

static void csv_number(double value)
{
    if (isnan(value))
        putchar(',');
    else
        printf(",%.9g", value);
}

/* RFC 4180. */
static void csv_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const dart_kernels *kernels)
{
    const dart_kernels_row *row;
    puts("gpu,kernel,constants,step,token,others,registers,spills,scratch,shared,waves,width,"
         "instructions,cycles,seconds,why");
    for (uint32_t i = 0; (row = dart_kernels_row_at(kernels, i)); i++) {
        const double figures[] = {row->registers, row->spills, row->scratch, row->shared,
            row->waves, row->width, row->instructions, row->cycles, row->seconds};
        printf("%s,%s,%s,%u,%u,%u", dart_kernels_gpu_at(kernels, row->gpu)->name, row->kernel,
            row->constants, row->launches_of_step, row->launches_of_token, row->launches_of_others);
        for (size_t f = 0; f < sizeof figures / sizeof *figures; f++) csv_number(figures[f]);
        putchar(',');
        csv_text(row->why);
        putchar('\n');
    }
    const dart_kernels_gpu *g;
    for (uint32_t i = 0; (g = dart_kernels_gpu_at(kernels, i)); i++)
        if (*g->reason) fprintf(stderr, "left out: %s\n", g->reason);
}

/* FAILED where a compiler did not make a kernel; DEVICE where no compiler was there at all. */
static dart_status verdict(const dart_kernels *kernels)
{
    const dart_kernels_gpu *g;
    uint32_t failed = 0, rows = 0;
    for (uint32_t i = 0; (g = dart_kernels_gpu_at(kernels, i)); i++) {
        failed += g->failed;
        rows += g->rows;
    }
    if (failed)
        return cli_fail(
            DART_FAILED, "%u of %u kernels were not made by their compilers", failed, rows);
    return rows ? DART_OK
                : cli_fail(DART_DEVICE, "no compiler for any of these GPUs: %s",
                      dart_kernels_gpu_at(kernels, 0)->reason);
}

static dart_status run(cli_call *cli)
{
    const dart_kernels_options how = {.size = sizeof how,
        .gpus = cli_text(cli, "for"),
        .model_path = cli_text(cli, "model_path")};
    dart_kernels *kernels;
    CLI_TRY(dart_kernels_make(cli->recipe, &how, &kernels));
    dart_status status = DART_OK;
    uint32_t row = 0;
    if (!strcmp(cli_text(cli, "format"), "csv"))
        print_csv(kernels);
    else
        for (uint32_t i = 0; status == DART_OK && dart_kernels_gpu_at(kernels, i); i++)
            status = print_gpu(kernels, i, &row);
    if (status == DART_OK) status = verdict(kernels);
    dart_kernels_free(kernels);
    return status;
}

const cli_command cmd_kernels = {.name = "kernels",
    .summary = "make a model's kernels with the compilers of GPUs that need not be here",
    .recipe = true,
    .own = options,
    .run = run};
