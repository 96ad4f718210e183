/* What dart/tokenizer.h declares. */
#include "caller.h"
#include "file.h"
#include "tokenizer.h"
#include <stdlib.h>
#include <string.h>

dart_status dart_tokenizer_load(const char *path, dart_tokenizer **out)
{
    DART_IN_C_LOCALE;
    return dart_tokenizer_open(path, out);
}

void dart_tokenizer_free(dart_tokenizer *tokenizer)
{
    dart_tokenizer_close(tokenizer);
}

dart_status dart_tokenizer_write(const dart_tokenizer *tokenizer, const char *folder)
{
    DART_IN_C_LOCALE;
    return dart_tokenizer_save(tokenizer, folder);
}

uint32_t dart_tokenizer_vocab_size(const dart_tokenizer *tokenizer)
{
    return dart_tokenizer_size(tokenizer);
}

const char *dart_tokenizer_text(const dart_tokenizer *tokenizer, int32_t id, size_t *out_size)
{
    return dart_tokenizer_token(tokenizer, id, out_size);
}

dart_status dart_tokenizer_tokenize(const dart_tokenizer *tokenizer, const char *text, size_t size,
    unsigned flags, int32_t *out, size_t room, size_t *out_count)
{
    DART_IN_C_LOCALE;
    dart_ids ids = {0};
    dart_status status = dart_tokenizer_encode(tokenizer, text, size, flags, &ids);
    *out_count = ids.count;
    const size_t given = ids.count < room ? ids.count : room;
    if (given) memcpy(out, ids.id, given * sizeof *out);
    free(ids.id);
    return status;
}

dart_status dart_tokenizer_detokenize(const dart_tokenizer *tokenizer, const int32_t *ids,
    size_t count, bool skip_special, char *out, size_t room, size_t *out_size)
{
    DART_IN_C_LOCALE;
    char *text;
    dart_status status =
        dart_tokenizer_decode(tokenizer, ids, count, skip_special, &text, out_size);
    const size_t given = *out_size < room ? *out_size : room;
    if (given) memcpy(out, text, given);
    free(text);
    return status;
}

dart_status dart_tokenizer_make(const dart_tokenizer_options *options, const char *const *paths,
    size_t count, dart_tokenizer **out)
{
    DART_IN_C_LOCALE;
    dart_tokenizer_options taken;
    char **text = NULL;
    size_t *bytes = NULL;
    dart_status status = DART_OK;
    *out = NULL;
    DART_TRY(dart_options_take(options, sizeof taken, "dart_tokenizer_options", &taken));
    text = dart_calloc(count, sizeof *text);
    bytes = dart_calloc(count, sizeof *bytes);
    if (!text || !bytes) status = DART_MEMORY;
    for (size_t i = 0; i < count && status == DART_OK; i++)
        status = dart_file_read(paths[i], &text[i], &bytes[i]);
    const dart_tokenizer_training training = {.vocab = taken.vocab_size ? taken.vocab_size : 8192,
        .least = taken.min_frequency,
        .special = taken.special};
    if (status == DART_OK)
        status = dart_tokenizer_train(&training, (const char *const *)text, bytes, count, out);
    for (size_t i = 0; text && i < count; i++) free(text[i]);
    free(text);
    free(bytes);
    return status;
}
