/* Characters of UTF-8 texts, and the alphabet in which byte-level tokenizers write bytes. */
#ifndef DART_CHARS_H
#define DART_CHARS_H

#include "mem.h"

#define DART_NO_CHAR UINT32_MAX

/* Bytes of the first character of a text that is not empty. *out: the character, or DART_NO_CHAR
 * where the bytes are ill-formed; these are then as many as become one U+FFFD (Unicode 3.9). */
size_t dart_char_next(const char *text, size_t bytes, uint32_t *out);
/* Bytes before the first that is ill-formed. */
size_t dart_chars_sound(const char *text, size_t bytes);
/* Whether ill-formed bytes at the end of a text may still become a character. */
bool dart_char_begins(const char *text, size_t bytes);
unsigned dart_char_write(uint32_t c, char out[4]);

/* White space as Unicode has it (White_Space). */
bool dart_char_space(uint32_t c);
/* What `\w` stands for at the borders of added tokens: letters, marks, digits, connectors. */
bool dart_char_word(uint32_t c);

/* GPT-2's alphabet: a visible character for each byte. */
uint32_t dart_byte_char(uint8_t byte);
int dart_char_byte(uint32_t c); /* -1: stands for no byte */

/* Bytes that grow. All zero: empty. */
typedef struct dart_buffer {
    char *at; /* owned */
    size_t size, capacity;
} dart_buffer;
/* Afterwards `at` is not NULL, even where nothing was added. */
DART_NODISCARD dart_status dart_buffer_add(dart_buffer *buffer, const void *data, size_t bytes);
DART_NODISCARD dart_status dart_buffer_add_char(dart_buffer *buffer, uint32_t c);

#endif
