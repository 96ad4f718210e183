/* Input by lines, as commands that answer each of them read it. */
#include "cli.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

dart_status cli_lines_open(const char *path, cli_lines *out)
{
    *out = (cli_lines){.in = stdin};
    if (path && strcmp(path, "-") != 0) do
            out->in = fopen(path, "r");
        while (!out->in && errno == EINTR);
    struct stat info;
    if (out->in && !fstat(fileno(out->in), &info) && S_ISDIR(info.st_mode))
        return cli_fail(DART_INPUT,
            "cannot read %s: it is a folder, and a file with lines is meant",
            path ? path : "standard input");
    if (out->in) return DART_OK;
    bool unnamed = errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP;
    return cli_fail(unnamed           ? DART_INPUT
                    : errno == ENOMEM ? DART_MEMORY
                                      : DART_IO,
        "cannot open %s: %s", path, strerror(errno));
}

dart_status cli_lines_next(cli_lines *lines, char **out)
{
    *out = NULL;
    errno = 0;
    ssize_t size = getline(&lines->text, &lines->room, lines->in);
    /* Out of memory sets no flag of the file. */
    if (size < 0 && errno == ENOMEM) return cli_fail(DART_MEMORY, "out of memory: reading a line");
    if (size < 0 && ferror(lines->in)) return cli_fail(DART_IO, "cannot read the input");
    if (size < 0) return DART_OK;
    lines->number++;
    if (memchr(lines->text, 0, (size_t)size))
        return cli_fail(DART_INPUT, "line %" PRIu64 " of the input has a zero byte; it is not text",
            lines->number);
    if (size && lines->text[size - 1] == '\n') size--;
    if (size && lines->text[size - 1] == '\r') size--; /* one inside a line is white space */
    lines->text[size] = 0;
    const bool mark = lines->number == 1 && !strncmp(lines->text, "\xef\xbb\xbf", 3);
    *out = lines->text + (mark ? 3 : 0);
    return DART_OK;
}

void cli_lines_close(cli_lines *lines)
{
    if (lines->in && lines->in != stdin) fclose(lines->in);
    free(lines->text);
    *lines = (cli_lines){0};
}
