/* UTF-8, classes of characters, bytes as characters. */
#include "chars.h"
#include <string.h>
#include <utf8proc.h>

size_t dart_char_next(const char *text, size_t bytes, uint32_t *out)
{
    const uint8_t *s = (const uint8_t *)text;
    const uint8_t lead = s[0];
    if (lead < 0x80) {
        *out = lead;
        return 1;
    }
    *out = DART_NO_CHAR;
    if (lead < 0xc2 || lead > 0xf4) return 1;
    const unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    /* the second byte has narrower bounds after four of the leads (Unicode, table 3-7) */
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    uint32_t c = lead & (0x3fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if (i >= bytes || s[i] < low || s[i] > high) return i;
        c = c << 6 | (s[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    *out = c;
    return more + 1;
}

size_t dart_chars_sound(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint64_t word;
        while (bytes - at >= sizeof word) {
            memcpy(&word, text + at, sizeof word);
            if (word & 0x8080808080808080u) break;
            at += sizeof word;
        }
        if (at == bytes) break;
        uint32_t c;
        size_t n = dart_char_next(text + at, bytes - at, &c);
        if (c == DART_NO_CHAR) break;
        at += n;
    }
    return at;
}

bool dart_char_begins(const char *text, size_t bytes)
{
    uint32_t c;
    const uint8_t lead = (uint8_t)text[0];
    return lead >= 0xc2 && lead <= 0xf4 && dart_char_next(text, bytes, &c) == bytes &&
           c == DART_NO_CHAR;
}

unsigned dart_char_write(uint32_t c, char out[4])
{
    return (unsigned)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

bool dart_char_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool dart_char_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200c || c == 0x200d; /* joiners */
    }
}

/* Visible bytes stand for themselves, the others are U+0100 and on, in their order. */
static bool visible(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

uint32_t dart_byte_char(uint8_t byte)
{
    if (visible(byte)) return byte;
    return 0x100 + (byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7fu + 33 : 67u);
}

int dart_char_byte(uint32_t c)
{
    if (c < 0x100) return visible(c) ? (int)c : -1;
    if (c <= 0x120) return (int)(c - 0x100);
    if (c <= 0x142) return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

dart_status dart_buffer_add(dart_buffer *buffer, const void *data, size_t bytes)
{
    DART_TRY(dart_grow((void **)&buffer->at, &buffer->capacity, buffer->size + bytes + 1, 1));
    if (bytes) memcpy(buffer->at + buffer->size, data, bytes);
    buffer->size += bytes;
    return DART_OK;
}

dart_status dart_buffer_add_char(dart_buffer *buffer, uint32_t c)
{
    char out[4];
    return dart_buffer_add(buffer, out, dart_char_write(c, out));
}
