/* Tables and JSON of the infer test. */
#include "bench.h"
#include <inttypes.h>
#include <math.h>

static void cell(FILE *out, double value, const char *format)
{
    if (isnan(value))
        fputs(" - |", out);
    else
        fprintf(out, format, value);
}

static double mib(uint64_t bytes)
{
    return (double)bytes / 0x1p20;
}

void bench_infer_markdown(const bench_rows *rows, uint32_t repeats, FILE *out)
{
    if (!rows->infers) return;
    fprintf(out,
        "| model | params | weights | device | test | t/s | ± sd | best | ms/token | floor ms | "
        "MFLOP | "
        "MiB read | launches | barriers | weights MiB | cache MiB | arena MiB | resident MiB | "
        "difference from cpu |\n"
        "| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | "
        "---: | "
        "---: | ---: | ---: | ---: | ---: |\n");
    for (uint32_t i = 0; i < rows->infers; i++) {
        const bench_infer_row *r = &rows->infer[i];
        fprintf(out, "| %s | %" PRIu64 " | %s | %s | %s |", r->model, r->params, r->weights,
            r->device, r->test);
        cell(out, r->tps, " %.1f |");
        cell(out, r->sd, " %.1f |");
        cell(out, r->best, " %.1f |");
        cell(out, r->ms, " %.4f |");
        cell(out, r->floor_ms, " %.4f |");
        cell(out, r->launches ? r->mflop : NAN, " %.2f |");
        cell(out, r->bytes > 0 ? r->bytes / 0x1p20 : NAN, " %.2f |");
        cell(out, r->launches ? r->launches : NAN, " %.0f |");
        cell(out, r->launches ? r->barriers : NAN, " %.0f |");
        cell(out, r->launches ? mib(r->memory.weights) : NAN, " %.2f |");
        cell(out, r->launches ? mib(r->memory.cache) : NAN, " %.2f |");
        cell(out, r->launches ? mib(r->memory.arena) : NAN, " %.2f |");
        cell(out, r->launches ? mib(r->memory.total) : NAN, " %.2f |");
        cell(out, r->difference, " %.1e |");
        fputc('\n', out);
    }
    fprintf(out,
        "\nMedians of %" PRIu32
        " runs after a warm-up. pp: a prompt read in chunks; tg: tokens made one by one from an "
        "empty cache.\nFloor: the bytes that a token must read, at the rate at which this device "
        "reads a buffer as large as the weights.\nLaunches and barriers of one program: of a token "
        "(tg), of a chunk (pp). Difference: of the last logits, relative to the largest.\n",
        repeats);
    for (uint32_t i = 0; i < rows->infers; i++) {
        const bench_infer_row *r = &rows->infer[i];
        if (*r->note)
            fprintf(out, "\n%s (%s) on %s: %s\n", r->model, r->weights, r->device, r->note);
    }
}

void bench_infer_csv(const bench_rows *rows, FILE *out)
{
    if (!rows->infers) return;
    fprintf(out,
        "model,params,weights,device,test,tokens_per_second,sd,best,ms_per_token,floor_ms,mflop,"
        "bytes_read,launches,barriers,weight_bytes,cache_bytes,arena_bytes,resident_bytes,"
        "difference\n");
    for (uint32_t i = 0; i < rows->infers; i++) {
        const bench_infer_row *r = &rows->infer[i];
        fprintf(out,
            "%s,%" PRIu64 ",%s,%s,%s,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.0f,%" PRIu32 ",%" PRIu32
            ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.6g\n",
            r->model, r->params, r->weights, r->device, r->test, r->tps, r->sd, r->best, r->ms,
            r->floor_ms, r->mflop, r->bytes, r->launches, r->barriers, r->memory.weights,
            r->memory.cache, r->memory.arena, r->memory.total, r->difference);
    }
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void bench_infer_json(const bench_rows *rows, json_t *list)
{
    for (uint32_t i = 0; i < rows->infers; i++) {
        const bench_infer_row *r = &rows->infer[i];
        json_array_append_new(list,
            json_pack(
                "{s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:I, "
                "s:I, s:I, s:I, s:o, s:s}",
                "test", "infer", "model", r->model, "params", (json_int_t)r->params, "weights",
                r->weights, "device", r->device, "what", r->test, "tokens_per_second",
                number(r->tps), "sd", number(r->sd), "best", number(r->best), "ms_per_token",
                number(r->ms), "floor_ms", number(r->floor_ms), "mflop", number(r->mflop),
                "bytes_read", number(r->bytes), "launches", (int)r->launches, "barriers",
                (int)r->barriers, "weight_bytes", (json_int_t)r->memory.weights, "cache_bytes",
                (json_int_t)r->memory.cache, "arena_bytes", (json_int_t)r->memory.arena,
                "resident_bytes", (json_int_t)r->memory.total, "difference", number(r->difference),
                "note", r->note));
    }
}
