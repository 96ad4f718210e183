/* Text in blocks, from memory or from a file (plain or .gz), so that no text has to fit into
 * memory. Private to this room. */
#ifndef DART_READER_H
#define DART_READER_H

#include "mem.h"

/* Bytes of a text. With `data` they are in memory; without, they are `size` bytes of the file
 * `what` from `begin` on (UINT64_MAX: to its end; of the unpacked bytes if the name ends in .gz).
 */
typedef struct dart_text {
    const char *data; /* borrowed */
    uint64_t size;
    const char *what;     /* names it in sentences; without data, the path */
    uint64_t begin, line; /* line: line ends of the file before `begin` */
    bool underscore;      /* blanks around a line go, those inside it become '_' */
} dart_text;

enum { DART_READER_BLOCK = 1 << 20 };

typedef struct dart_reader {
    const char *data; /* the bytes at hand; [at..size) are not used up yet */
    size_t size, at;
    bool last;           /* nothing follows data[size] */
    uint64_t base, line; /* bytes and line ends of the file before data[0] */
    const char *what;
    /* private */
    char *buffer; /* owned [DART_READER_BLOCK] */
    int fd;
    void *gz;
    uint64_t left;
    uint32_t blanks; /* with underscore: seen since the last other byte of this line */
    bool underscore, inside;
} dart_reader;

/* INPUT: no such file, a folder. */
DART_NODISCARD dart_status dart_reader_open(const dart_text *text, dart_reader *out);
void dart_reader_close(dart_reader *reader);
/* Drops what is used up and reads on, until the block is full or the text ends. INPUT: damaged. */
DART_NODISCARD dart_status dart_reader_more(dart_reader *reader);
/* At least `need` bytes at hand, or `last`. need: at most DART_READER_BLOCK / 2. */
static inline dart_status dart_reader_fill(dart_reader *reader, size_t need)
{
    return reader->last || reader->size - reader->at >= need ? DART_OK : dart_reader_more(reader);
}
/* Bytes and line ends before data[at], counted from 0 in the whole file. */
void dart_reader_place(
    const dart_reader *reader, size_t at, uint64_t *out_byte, uint64_t *out_line);

/* One pass over a text: stops after `lines` line ends or `bytes` bytes, whichever comes first, and
 * says how many of both there were (UINT64_MAX: no limit). */
DART_NODISCARD dart_status dart_text_scan(const dart_text *text, uint64_t lines, uint64_t bytes,
    uint64_t *out_lines, uint64_t *out_bytes);

#endif
