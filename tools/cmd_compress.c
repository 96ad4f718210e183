/* compress: matrices of a trained model as tensor networks, as a run to evaluate, heal, export; or
 * rounded to a packed format, as a base to train on. */
#include "cli.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const dart_option options[] = {
    {"method", "", "svd|tt|ttm|gptq", "svd", "",
        "svd: two thin matrices; tt: a tensor train, output digits first; ttm: a TT-matrix; gptq: "
        "numbers rounded to --base-dtype (nf4, q4_0, q8_0), near to the outputs over --calibrate: "
        "--out is a model to be the base of other commands with that --base-dtype"},
    {"target", "", "string", "", "", "make the matrices together so many times smaller: 4x, 1.5"},
    {"epsilon", "", "float", "0", "",
        "instead of a target: largest relative error of each matrix (Frobenius)"},
    {"ranks", "", "uniform|found|threshold", "", "",
        "with a target: every matrix shrinks alike (uniform, the default); ranks of all matrices "
        "together, where discarding costs least (found); one threshold on normalised singular "
        "values, as WeLore (threshold)"},
    {"modules", "", "string", "", "",
        "which matrices: patterns (blocks.*.mlp.*, tok_emb, head) or q_proj, k_proj, v_proj, "
        "o_proj, gate_proj, up_proj, down_proj, attention, mlp; default: all linear layers"},
    {"calibrate", "", "string", "", "",
        "be near to the outputs of the matrices over this text instead of to their entries"},
    {"metric", "", "entries|outputs|loss", "", "",
        "what to be near to; loss: the next tokens of the text, by the second moments of the "
        "loss's "
        "gradients by outputs (linear layers only); default: outputs with a text, else entries"},
    {"calibrate_tokens", "", "int", "16384", "", "tokens of it to read"},
    {"json", "", "bool", "false", "", "print the result as JSON"},
    {NULL},
};

/* "4x", "1.5" */
static dart_status read_target(const char *text, double *out)
{
    char *end;
    *out = 0;
    if (!text) return DART_OK;
    *out = strtod(text, &end);
    if (end > text && (!*end || !strcmp(end, "x")) && *out > 1 && *out <= 1e6) return DART_OK;
    return cli_fail(DART_USAGE,
        "--target is how many times smaller, a number above 1 like 4x or 1.5, got '%s'", text);
}

static dart_status print_networks(const dart_compression *c)
{
    const char *heading[] = {
        "weight", "shape", "ranks", "before", "after", "ratio", "error", "of outputs", "of loss"};
    enum { COLUMNS = sizeof heading / sizeof *heading };
    cli_table table = {0};
    dart_status status = DART_OK;
    uint64_t before = 0, after = 0, all_before, all_after;
    char text[4][64];
    CLI_GOTO(cli_table_row(&table, COLUMNS, heading));
    for (uint32_t i = 0; i < dart_compression_rows(c); i++) {
        const dart_compress_row *row = dart_compression_row(c, i);
        char shape[64], ratio[64], error[64], outputs[64] = "-", loss[64] = "-";
        snprintf(shape, sizeof shape, "%u x %u", row->out, row->in);
        dart_count_text(text[0], row->before);
        dart_count_text(text[1], row->after);
        cli_number(ratio, (double)row->before / (double)row->after, 2);
        snprintf(error, sizeof error, "%.3g", row->error);
        if (!isnan(row->output_error)) snprintf(outputs, sizeof outputs, "%.3g", row->output_error);
        if (!isnan(row->loss_rise)) snprintf(loss, sizeof loss, "%.3g", row->loss_rise);
        const char *cells[] = {row->name, shape, *row->ranks ? row->ranks : "as it is", text[0],
            text[1], ratio, error, outputs, loss};
        CLI_GOTO(cli_table_row(&table, COLUMNS, cells));
        before += row->before;
        after += row->after;
    }
    cli_table_print(&table, stdout);
    dart_compression_size(c, &all_before, &all_after);
    dart_count_text(text[0], before);
    dart_count_text(text[1], after);
    dart_count_text(text[2], all_before);
    dart_count_text(text[3], all_after);
    printf("these matrices: %s numbers instead of %s, %.2f times smaller; the model: %s instead of "
           "%s, %.2f times\n",
        text[1], text[0], (double)before / (double)after, text[3], text[2],
        (double)all_before / (double)all_after);
done:
    cli_table_free(&table);
    return status;
}

/* ".0813", "-" */
static void error_text(char out[64], double error)
{
    if (isnan(error))
        strcpy(out, "-");
    else
        snprintf(out, 64, "%.3g", error);
}

static dart_status print_rounded(const dart_compression *c)
{
    const char *heading[] = {
        "weight", "shape", "numbers of", "error", "plain", "of outputs", "plain"};
    enum { COLUMNS = sizeof heading / sizeof *heading };
    cli_table table = {0};
    dart_status status = DART_OK;
    const char *dtype = "";
    uint64_t numbers = 0;
    uint32_t matrices = 0;
    double sum[2] = {0};
    char count[64];
    CLI_GOTO(cli_table_row(&table, COLUMNS, heading));
    for (uint32_t i = 0; i < dart_compression_rows(c); i++) {
        const dart_compress_row *row = dart_compression_row(c, i);
        char shape[64], error[4][64];
        snprintf(shape, sizeof shape, "%u x %u", row->out, row->in);
        error_text(error[0], row->error);
        error_text(error[1], row->plain_error);
        error_text(error[2], row->output_error);
        error_text(error[3], row->plain_output_error);
        const char *cells[] = {row->name, shape, *row->dtype ? row->dtype : "as it is", error[0],
            error[1], error[2], error[3]};
        CLI_GOTO(cli_table_row(&table, COLUMNS, cells));
        if (!*row->dtype) continue;
        dtype = row->dtype;
        matrices++;
        numbers += row->before;
        sum[0] += row->output_error;
        sum[1] += row->plain_output_error;
    }
    cli_table_print(&table, stdout);
    dart_count_text(count, numbers);
    printf("%u matrices, %s numbers of %s (--base-dtype %s); their outputs are off by %.3g on "
           "average, plainly rounded by %.3g\n",
        matrices, count, dtype, dtype, sum[0] / matrices, sum[1] / matrices);
done:
    cli_table_free(&table);
    return status;
}

static dart_status print_json(const dart_compression *c, const char *out)
{
    uint64_t before, after;
    json_t *rows = json_array();
    dart_compression_size(c, &before, &after);
    for (uint32_t i = 0; i < dart_compression_rows(c); i++) {
        const dart_compress_row *row = dart_compression_row(c, i);
        json_t *one = json_pack("{s:s, s:i, s:i, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
            "weight", row->name, "out", (int)row->out, "in", (int)row->in, "ranks", row->ranks,
            "dtype", row->dtype, "before", (json_int_t)row->before, "after", (json_int_t)row->after,
            "error", cli_json_real(row->error), "output_error", cli_json_real(row->output_error),
            "loss_rise", cli_json_real(row->loss_rise), "plain_error",
            cli_json_real(row->plain_error), "plain_output_error",
            cli_json_real(row->plain_output_error));
        if (!one || json_array_append_new(rows, one)) {
            json_decref(rows);
            rows = NULL;
            break;
        }
    }
    return cli_json(cli_json_join(cli_json_text(json_object(), "out", out),
                        json_pack("{s:I, s:I, s:o}", "parameters_before", (json_int_t)before,
                            "parameters_after", (json_int_t)after, "weights", rows)),
        stdout);
}

static dart_status run(cli_call *cli)
{
    char base[1024], out[1024], dtype[32];
    double target, epsilon;
    uint64_t tokens;
    dart_compression *result;
    const char *path = cli->args ? cli->arg[0] : base;
    CLI_TRY(dart_recipe_get(cli->recipe, "base", base, sizeof base));
    CLI_TRY(dart_recipe_get(cli->recipe, "out", out, sizeof out));
    CLI_TRY(dart_recipe_get(cli->recipe, "base_dtype", dtype, sizeof dtype));
    CLI_TRY(read_target(cli_text(cli, "target"), &target));
    CLI_TRY(cli_real(cli, "epsilon", 0, 1, &epsilon));
    CLI_TRY(cli_uint(cli, "calibrate_tokens", 1, 1ull << 40, &tokens));
    if (!*path)
        return cli_fail(DART_USAGE,
            "compress needs --base, a Hugging Face folder, a .gguf file, a .bin of llama2.c or a "
            "run directory");
    if (!*out) return cli_fail(DART_USAGE, "compress needs --out, a folder to write");
    cli_progress progress;
    dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    const char *method = cli_text(cli, "method");
    const bool rounds = method && !strcmp(method, "gptq");
    const dart_compress_options o = {.size = sizeof o,
        .out = out,
        .method = method,
        .modules = cli_text(cli, "modules"),
        .ranks = cli_text(cli, "ranks"),
        .calibrate = cli_text(cli, "calibrate"),
        .calibrate_tokens = tokens,
        .metric = cli_text(cli, "metric"),
        .target = target,
        .epsilon = epsilon,
        .dtype = rounds ? dtype : NULL};
    dart_status status = dart_compress(path, cli->recipe, &o, &hooks, &result);
    cli_progress_end(&progress);
    if (status != DART_OK) return status;
    status = cli_flag(cli, "json") ? print_json(result, out)
             : rounds              ? print_rounded(result)
                                   : print_networks(result);
    dart_compression_free(result);
    return status;
}

const cli_command cmd_compress = {.name = "compress",
    .summary = "make matrices of a pretrained model tensor networks, or round them well",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
