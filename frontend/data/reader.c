/* Reading text block by block; where a block starts in the file and in which line is known at any
 * time, for sentences about bad input. */
#include "reader.h"
#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static dart_status gz_fail(const dart_reader *r)
{
    int code;
    const char *why = gzerror(r->gz, &code);
    if (code == Z_MEM_ERROR) return dart_fail(DART_MEMORY, "out of memory: unpacking %s", r->what);
    if (code == Z_ERRNO) return dart_read_fail(r->what, errno);
    return dart_fail(DART_INPUT,
        "cannot unpack %s: the file is damaged or truncated (%s); fetch it again", r->what, why);
}

static bool is_gz(const char *path)
{
    size_t n = strlen(path);
    return n >= 3 && !strcmp(path + n - 3, ".gz");
}

dart_status dart_reader_open(const dart_text *text, dart_reader *out)
{
    dart_status status = DART_OK;
    struct stat info;
    *out = (dart_reader){.base = text->begin,
        .line = text->line,
        .what = text->what,
        .fd = -1,
        .left = text->size,
        .underscore = text->underscore};
    if (text->data) {
        out->data = text->data;
        out->size = (size_t)text->size;
        out->last = true;
        return DART_OK;
    }
    if (stat(text->what, &info)) return dart_read_fail(text->what, errno);
    if (S_ISDIR(info.st_mode)) return dart_read_fail(text->what, EISDIR);
    if (!S_ISREG(info.st_mode))
        return dart_fail(DART_INPUT, "cannot read %s: it is not a plain file", text->what);
    out->fd = (int)TEMP_FAILURE_RETRY(open(text->what, O_RDONLY | O_CLOEXEC));
    if (out->fd < 0) return dart_read_fail(text->what, errno);
    out->data = out->buffer = malloc(DART_READER_BLOCK);
    if (!out->buffer) {
        status = dart_fail(DART_MEMORY, "out of memory: reading %s", text->what);
        goto done;
    }
    if (is_gz(text->what)) {
        out->gz = gzdopen(out->fd, "rb"); /* takes the descriptor over */
        if (!out->gz) {
            status = dart_fail(DART_MEMORY, "out of memory: unpacking %s", text->what);
            goto done;
        }
        out->fd = -1;
        if (text->begin && gzseek(out->gz, (z_off_t)text->begin, SEEK_SET) < 0)
            status = gz_fail(out);
    } else if (text->begin && lseek(out->fd, (off_t)text->begin, SEEK_SET) < 0) {
        status = dart_read_fail(text->what, errno);
    }
done:
    if (status != DART_OK) dart_reader_close(out);
    return status;
}

void dart_reader_close(dart_reader *reader)
{
    if (reader->gz) gzclose(reader->gz);
    if (reader->fd >= 0) close(reader->fd);
    free(reader->buffer);
    *reader = (dart_reader){.fd = -1, .last = true};
}

/* `want` bytes or fewer into `out`; 0 at the end. */
static dart_status pull(dart_reader *r, char *out, size_t want, size_t *out_got)
{
    *out_got = 0;
    if (want > r->left) want = (size_t)r->left;
    if (!want) return DART_OK;
    if (r->gz) {
        int got = gzread(r->gz, out, (unsigned)want), code = Z_OK;
        if (got <= 0) gzerror(r->gz, &code);
        if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) return gz_fail(r);
        *out_got = (size_t)got;
    } else {
        ssize_t got;
        do got = read(r->fd, out, want);
        while (got < 0 && errno == EINTR);
        if (got < 0) return dart_read_fail(r->what, errno);
        *out_got = (size_t)got;
    }
    if (r->left == UINT64_MAX) return DART_OK;
    if (!*out_got)
        return dart_fail(DART_IO,
            "cannot read %s: it shrank while being read (%" PRIu64 " bytes are missing)", r->what,
            r->left);
    r->left -= *out_got;
    return DART_OK;
}

/* Blanks at the ends of a line go, those inside become '_', in place. Returns the new size; blanks
 * at the end of a block wait for what follows them. `room`: bytes that may be used. */
static size_t underscore(dart_reader *r, char *text, size_t size, const char *raw)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        char c = raw[i];
        if (c == ' ' || c == '\t' || c == '\r') {
            r->blanks += r->inside;
        } else if (c == '\n') {
            r->blanks = 0;
            r->inside = false;
            text[n++] = c;
        } else {
            if (r->blanks) text[n++] = '_'; /* words are one mark apart, however many blanks */
            r->blanks = 0;
            r->inside = true;
            text[n++] = c;
        }
    }
    return n;
}

static uint64_t line_ends(const char *data, size_t size)
{
    uint64_t n = 0;
    for (size_t i = 0; i < size; i++) n += data[i] == '\n';
    return n;
}

dart_status dart_reader_more(dart_reader *reader)
{
    size_t rest = reader->size - reader->at;
    reader->line += line_ends(reader->data, reader->at);
    reader->base += reader->at;
    memmove(reader->buffer, reader->buffer + reader->at, rest);
    reader->at = 0;
    reader->size = rest;
    /* One byte stays free: a '_' that waited at the end of the block before needs room. */
    while (reader->size + 1 < DART_READER_BLOCK) {
        char *to = reader->buffer + reader->size;
        size_t got, keep = reader->underscore; /* raw bytes lie one behind where they go */
        DART_TRY(pull(reader, to + keep, DART_READER_BLOCK - reader->size - keep, &got));
        if (!got) {
            reader->last = true;
            break;
        }
        reader->size += reader->underscore ? underscore(reader, to, got, to + keep) : got;
    }
    return DART_OK;
}

void dart_reader_place(const dart_reader *reader, size_t at, uint64_t *out_byte, uint64_t *out_line)
{
    *out_byte = reader->base + at;
    *out_line = reader->line + line_ends(reader->data, at);
}

dart_status dart_text_scan(
    const dart_text *text, uint64_t lines, uint64_t bytes, uint64_t *out_lines, uint64_t *out_bytes)
{
    dart_status status = DART_OK;
    dart_reader r;
    *out_lines = *out_bytes = 0;
    DART_TRY(dart_reader_open(text, &r));
    while (*out_bytes < bytes && *out_lines < lines) {
        DART_GOTO(dart_reader_fill(&r, 1));
        size_t have = r.size - r.at;
        if (!have) break;
        if (have > bytes - *out_bytes) have = (size_t)(bytes - *out_bytes);
        uint64_t ends = line_ends(r.data + r.at, have);
        if (ends >= lines - *out_lines) {
            /* the wanted line end is in this block */
            size_t i = 0;
            for (uint64_t seen = *out_lines; seen < lines; i++) seen += r.data[r.at + i] == '\n';
            *out_lines = lines;
            *out_bytes += i;
            break;
        }
        *out_lines += ends;
        *out_bytes += have;
        r.at += have;
    }
done:
    dart_reader_close(&r);
    return status;
}
