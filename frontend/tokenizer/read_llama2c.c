/* tokenizer.bin of llama2.c: the longest token's length, then score, length and bytes of each
 * token. Ids 0, 1, 2 are unknown, bos and eos, 3 to 258 the bytes. */
#include "build.h"
#include "file.h"
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTE = 3, FIRST_WORD = FIRST_BYTE + 256 };

static uint32_t read_u32(const char *at)
{
    const uint8_t *s = (const uint8_t *)at;
    return s[0] | (uint32_t)s[1] << 8 | (uint32_t)s[2] << 16 | (uint32_t)s[3] << 24;
}

/* Calls for each token, or only counts them. */
static dart_status walk(dart_tokenizer *t, const char *text, size_t size, float *score,
    uint64_t *out_count, uint64_t *out_bytes)
{
    *out_count = *out_bytes = 0;
    for (size_t at = 4; at < size; ++*out_count) {
        if (size - at < 8)
            return dart_fail(
                DART_INPUT, "%s ends within token %llu", t->what, (unsigned long long)*out_count);
        uint32_t bits = read_u32(text + at), bytes = read_u32(text + at + 4);
        at += 8;
        if (bytes > size - at)
            return dart_fail(DART_INPUT,
                "%s: token %llu has %u bytes, and %zu are left in the file", t->what,
                (unsigned long long)*out_count, (unsigned)bytes, size - at);
        if (score) {
            /* bos and eos are written with line ends around them */
            const bool ends = (*out_count == 1 || *out_count == 2) && bytes > 2 &&
                              text[at] == '\n' && text[at + bytes - 1] == '\n';
            memcpy(&score[*out_count], &bits, sizeof bits);
            DART_TRY(dart_build_token(t, (int64_t)*out_count, text + at + ends, bytes - 2 * ends,
                *out_count < FIRST_WORD ? 0 : DART_TOKEN_MODEL));
        }
        *out_bytes += bytes;
        at += bytes;
    }
    return DART_OK;
}

static dart_status read_tokens(dart_tokenizer *t, const char *text, size_t size)
{
    uint64_t count, bytes;
    float *score = NULL;
    if (size < 4) return dart_fail(DART_INPUT, "%s is too short for a tokenizer.bin", t->what);
    DART_TRY(walk(t, text, size, NULL, &count, &bytes));
    if (count < FIRST_WORD)
        return dart_fail(DART_INPUT, "%s: %llu tokens; a tokenizer.bin of llama2.c has at least %d",
            t->what, (unsigned long long)count, (int)FIRST_WORD);
    DART_TRY(dart_build_size(t, count, bytes));
    score = dart_calloc(count, sizeof *score);
    if (!score) return DART_MEMORY;
    dart_status status = DART_OK;
    DART_GOTO(walk(t, text, size, score, &count, &bytes));
    for (int b = 0; b < 256; b++) {
        const dart_token_text token = t->table.text[FIRST_BYTE + b];
        if (dart_token_byte(token.at, token.bytes) != b)
            DART_GOTO(dart_fail(DART_INPUT, "%s: token %d is '%.60s', expected '<0x%02X>'", t->what,
                FIRST_BYTE + b, token.at, (unsigned)b));
    }
    DART_GOTO(dart_build_scores(t, score));
done:
    free(score);
    return status;
}

static dart_status read_all(dart_tokenizer *t, const char *text, size_t size)
{
    dart_added added[3];
    DART_TRY(read_tokens(t, text, size));
    for (int i = 0; i < 3; i++) {
        const dart_token_text token = t->table.text[i];
        added[i] = (dart_added){.text = token.at, .bytes = token.bytes, .id = i, .special = true};
    }
    DART_TRY(dart_build_added(t, added, 3));
    t->roles = (dart_token_roles){.unk = 0, .bos = 1, .eos = 2, .pad = -1};
    t->unknown = t->roles.unk;
    t->fallback = t->fuse_unknown = true;
    DART_TRY(dart_build_rules_text(t,
        "{\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\" \"},\"decoder\":{\"type\":"
        "\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":"
        "\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}"));
    DART_TRY(dart_build_template(t, 1, -1));
    return dart_build_finish(t);
}

dart_status dart_read_llama2c(const char *path, dart_tokenizer **out)
{
    char *text;
    size_t size;
    dart_tokenizer *t = NULL;
    *out = NULL;
    DART_TRY(dart_file_read(path, &text, &size));
    dart_status status = DART_OK;
    DART_GOTO(dart_build_begin(path, &t));
    DART_GOTO(read_all(t, text, size));
    *out = t;
    t = NULL;
done:
    free(text);
    dart_tokenizer_close(t);
    return status;
}
