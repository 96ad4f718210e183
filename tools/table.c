/* Aligned text tables, human numbers, JSON output. */
#include "cli.h"
#include "mem.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

dart_status cli_table_row(cli_table *t, uint32_t columns, const char *const *cells)
{
    if (t->rows == 0) t->columns = columns;
    if (columns != t->columns) return dart_fail(DART_FAILED, "table row with %u columns", columns);
    size_t capacity = t->capacity, need = (size_t)(t->rows + 1) * columns;
    DART_TRY(dart_grow((void **)&t->cell, &capacity, need, sizeof *t->cell));
    t->capacity = (uint32_t)capacity;
    for (uint32_t i = 0; i < columns; i++)
        snprintf(t->cell[t->rows * columns + i], sizeof *t->cell, "%s", cells[i]);
    t->rows++;
    return DART_OK;
}

/* Characters on the screen: UTF-8 continuation bytes take no room. */
static int width(const char *text)
{
    int n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

void cli_table_print(const cli_table *t, FILE *out)
{
    for (uint32_t row = 0; row < t->rows; row++) {
        for (uint32_t c = 0; c < t->columns; c++) {
            int wide = 0;
            bool number = t->rows > 1;
            for (uint32_t r = 0; r < t->rows; r++) {
                const char *cell = t->cell[r * t->columns + c];
                if (width(cell) > wide) wide = width(cell);
                if (r && !isdigit((unsigned char)*cell) && strcmp(cell, "-") != 0) number = false;
            }
            const char *cell = t->cell[row * t->columns + c];
            int pad = wide - width(cell);
            bool last = c + 1 == t->columns;
            fprintf(out, "%*s%s%*s%s", number ? pad : 0, "", cell, number || last ? 0 : pad, "",
                last ? "\n" : "  ");
        }
    }
}

void cli_table_free(cli_table *t)
{
    free(t->cell);
    *t = (cli_table){0};
}

void cli_bytes(char out[64], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    if (bytes == 0)
        snprintf(out, 64, "-");
    else
        snprintf(
            out, 64, "%.*f %s", unit && value < 100 && value != floor(value), value, units[unit]);
}

void cli_number(char out[64], double value, int digits)
{
    if (isnan(value))
        snprintf(out, 64, "-");
    else
        snprintf(out, 64, "%.*f", digits, value);
}

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

dart_status cli_json(json_t *json, FILE *out)
{
    if (!json) return dart_fail(DART_MEMORY, "out of memory while making JSON");
    int failed = json_dumpf(json, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(json);
    fputc('\n', out);
    return failed ? dart_fail(DART_IO, "cannot write JSON") : DART_OK;
}

double cli_bits(double perplexity)
{
    return log2(perplexity);
}

bool cli_per_symbol(const dart_protocol *p)
{
    return p->unit && (!strcmp(p->unit, "character") || !strcmp(p->unit, "byte"));
}

void cli_protocol(const dart_protocol *p, FILE *out)
{
    char text[1024];
    dart_protocol_text(p, text, sizeof text);
    if (text[0]) fprintf(out, "%s\n", text);
}

json_t *cli_protocol_json(const dart_protocol *p)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I}", "unit", p->unit ? p->unit : "", "data",
        p->data, "context", (int)p->context, "stride", (int)p->stride, "valid_tokens",
        (json_int_t)p->valid_tokens, "test_tokens", (json_int_t)p->test_tokens);
}

static dart_status result_json(const dart_result *r, FILE *out)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < r->rows; i++) {
        const dart_table_row *w = &r->row[i];
        json_array_append_new(
            rows, json_pack("{s:s, s:I, s:I, s:I, s:o, s:i, s:o, s:i, s:o, s:o, s:o, s:o}", "name",
                      w->name, "parameters", (json_int_t)w->params, "compressed_parameters",
                      (json_int_t)w->compressed_params, "dense_parameters",
                      (json_int_t)w->dense_params, "compression", cli_json_real(w->compression),
                      "rank_min", (int)w->rank_min, "rank_mean", cli_json_real(w->rank_mean),
                      "rank_max", (int)w->rank_max, "valid_perplexity", cli_json_real(w->valid_ppl),
                      "test_perplexity", cli_json_real(w->test_ppl), "tokens_per_second",
                      cli_json_real(w->tokens_per_s), "seconds", cli_json_real(w->seconds)));
        if (w->bleu_sentences)
            json_object_set_new(json_array_get(rows, i), "test_bleu", cli_json_real(w->test_bleu));
    }
    return cli_json(
        json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "run", r->run_dir, "device", r->device, "steps",
            (json_int_t)r->steps, "final_loss", cli_json_real(r->final_loss), "protocol",
            cli_protocol_json(&r->protocol), "rows", rows),
        out);
}

dart_status cli_result(const dart_result *r, bool json, FILE *out)
{
    if (json) return result_json(r, out);
    cli_table table = {0};
    dart_status status = DART_OK;
    /* Perplexity a symbol has its logarithm beside it: what is published for that kind of text. */
    const bool bits = cli_per_symbol(&r->protocol);
    const bool bytes = bits && !strcmp(r->protocol.unit, "byte");
    bool bleu = false;
    for (uint32_t i = 0; i < r->rows; i++) bleu |= r->row[i].bleu_sentences > 0;
    const uint32_t columns = bits ? 11 : bleu ? 10 : 9;
    const char *valid_bits = bytes ? "valid bits/byte" : "valid bits/char";
    const char *const heading[] = {"", "parameters", "compressed", "ratio", "ranks", "valid ppl",
        "test ppl", "tok/s", "seconds", bleu ? "test BLEU" : valid_bits,
        bytes ? "test bits/byte" : "test bits/char"};
    DART_GOTO(cli_table_row(&table, columns, heading));
    for (uint32_t i = 0; i < r->rows; i++) {
        const dart_table_row *w = &r->row[i];
        char params[64], compressed[64] = "-", ratio[64] = "-", ranks[64] = "-", valid[64],
                         test[64], speed[64], seconds[64], extra[64], test_bits[64];
        dart_count_text(params, w->params);
        if (w->compressed_params) dart_count_text(compressed, w->compressed_params);
        if (w->compressed_params) cli_number(ratio, w->compression, 2);
        if (w->rank_max)
            snprintf(ranks, sizeof ranks, "%u/%.1f/%u", w->rank_min, w->rank_mean, w->rank_max);
        cli_number(valid, w->valid_ppl, 2);
        cli_number(test, w->test_ppl, 2);
        cli_number(speed, w->tokens_per_s, 0);
        cli_number(seconds, w->seconds, 1);
        cli_number(extra, cli_bits(w->valid_ppl), 3);
        cli_number(test_bits, cli_bits(w->test_ppl), 3);
        if (bleu) cli_number(extra, w->bleu_sentences ? w->test_bleu : NAN, 2);
        const char *cells[] = {w->name, params, compressed, ratio, ranks, valid, test, speed,
            seconds, extra, test_bits};
        DART_GOTO(cli_table_row(&table, columns, cells));
    }
    cli_table_print(&table, out);
    fputc('\n', out);
    cli_protocol(&r->protocol, out);
    fprintf(out, "device %s, %llu steps, final loss %.4f\nrun directory: %s\n", r->device,
        (unsigned long long)r->steps, r->final_loss, r->run_dir);
done:
    cli_table_free(&table);
    return status;
}
