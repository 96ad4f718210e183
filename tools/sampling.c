/* How generate and chat draw tokens and where their texts end: options to structures. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

dart_status cli_sampling(const cli_call *cli, dart_sampling *out)
{
    uint64_t top_k, last_n;
    *out = (dart_sampling){.size = sizeof *out};
    CLI_TRY(cli_uint(cli, "top_k", 0, 1000000, &top_k));
    CLI_TRY(cli_uint(cli, "seed", 0, UINT64_MAX, &out->seed));
    CLI_TRY(cli_real(cli, "temperature", 0, 100, &out->temperature));
    CLI_TRY(cli_real(cli, "top_p", 0, 1, &out->top_p));
    CLI_TRY(cli_real(cli, "min_p", 0, 1, &out->min_p));
    CLI_TRY(cli_real(cli, "repeat_penalty", 0.01, 100, &out->repeat_penalty));
    CLI_TRY(cli_uint(cli, "repeat_last_n", 0, 1000000, &last_n));
    out->top_k = (uint32_t)top_k;
    out->repeat_last_n = (uint32_t)last_n;
    return DART_OK;
}

/* The next string, ended with a zero byte, up to a comma; *at is left behind it. */
static void unescape(const char **at, char **to)
{
    const char *c = *at;
    for (; *c && *c != ','; c++) {
        if (c[0] == '\\' && c[1]) {
            c++;
            *(*to)++ = *c == 'n' ? '\n' : *c == 't' ? '\t' : *c;
        } else {
            *(*to)++ = *c;
        }
    }
    *(*to)++ = 0;
    *at = *c ? c + 1 : NULL;
}

dart_status cli_stops(const cli_call *cli, cli_texts *out)
{
    const char *text = cli_text(cli, "stop");
    *out = (cli_texts){0};
    if (!text) return DART_OK;
    const size_t size = strlen(text);
    out->bytes = malloc(size + 2);
    out->text = malloc((size + 1) * sizeof *out->text);
    if (!out->bytes || !out->text) return cli_fail(DART_MEMORY, "out of memory for --stop");
    for (char *to = out->bytes; text;) {
        out->text[out->count] = to;
        unescape(&text, &to);
        if (!*out->text[out->count++])
            return cli_fail(DART_USAGE,
                "--stop has an empty string; strings stand between commas, \\, is a comma of "
                "theirs and \\n a line end");
    }
    return DART_OK;
}

void cli_texts_free(cli_texts *texts)
{
    free(texts->bytes);
    free((void *)texts->text);
    *texts = (cli_texts){0};
}
