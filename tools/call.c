/* What all files of the program use: the sentence of a failure, and sinks for the library. */
#include "cli.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static char sentence[1024]; /* of a failure of this program itself */

dart_status cli_fail(dart_status code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return code;
}

const char *cli_sentence(void)
{
    return sentence;
}

int cli_write(void *user, const char *text, size_t size)
{
    return fwrite(text, 1, size, user) != size || fflush(user) != 0;
}

int cli_keep(void *user, const char *text, size_t size)
{
    cli_kept *kept = user;
    char *grown = realloc(kept->text, kept->size + size + 1);
    if (!grown) {
        (void)cli_fail(DART_MEMORY, "out of memory for a text");
        kept->failed = true;
        return 1;
    }
    memcpy(grown + kept->size, text, size);
    kept->text = grown;
    kept->size += size;
    grown[kept->size] = 0;
    return 0;
}
