/* UTF-8: no surrogates, nothing above U+10FFFF, no longer form than needed. */
#include "utf8.h"
#include <string.h>

size_t dart_utf8_length(const char *text)
{
    const unsigned char *t = (const unsigned char *)text, c = *t;
    if (c < 0x80) return 1;
    const size_t n = c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((t[i] & 0xC0) != 0x80) return 0;
    const int longer = (c == 0xE0 && t[1] < 0xA0) || (c == 0xF0 && t[1] < 0x90);
    const int beyond = (c == 0xED && t[1] > 0x9F) || (c == 0xF4 && t[1] > 0x8F);
    return longer || beyond ? 0 : n;
}

size_t dart_utf8_mark(const char *text, size_t size)
{
    return size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}
