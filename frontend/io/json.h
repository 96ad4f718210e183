/* JSON in and out with jansson, out of memory told apart from bad input. */
#ifndef DART_JSON_H
#define DART_JSON_H

#include "mem.h"
#include <jansson.h>
#include <stdio.h>

enum { DART_JSON_WHY = 200 };

/* Parses a whole text; duplicate keys are refused. INPUT: not JSON; `why` then says what is wrong,
 * `what` names the text in the sentence. MEMORY. */
DART_NODISCARD dart_status dart_json_parse(
    const char *text, size_t size, const char *what, char why[DART_JSON_WHY], json_t **out);
/* The same with whole numbers as reals: configurations of others hold some that no int64_t can. */
DART_NODISCARD dart_status dart_json_parse_reals(
    const char *text, size_t size, const char *what, char why[DART_JSON_WHY], json_t **out);
/* A number; NaN for null and for what is no number, which is how NaN and infinity are written; 0
 * where the key is missing, as in files from before it was there. */
double dart_json_number(const json_t *object, const char *key);

/* Building: `value` is taken over. A failure (value NULL: its own) makes *status MEMORY and leaves
 * it so; the text is refused then. */
void dart_json_set(json_t *object, const char *key, json_t *value, dart_status *status);
void dart_json_add(json_t *list, json_t *value, dart_status *status);
/* null for what is not finite. */
json_t *dart_json_real(double value);
/* Any bytes: those that are not UTF-8 become U+FFFD. NULL: memory. */
json_t *dart_json_text(const char *text);
/* `status` again, with the sentence that memory was short for `what` if it is not OK. */
DART_NODISCARD dart_status dart_json_made(dart_status status, const char *what);
/* The text of `body`, which is taken over; flags as in json_dumps. MEMORY: also if status is.
 * `what` names the text. Caller frees *out. */
DART_NODISCARD dart_status dart_json_write(
    json_t *body, dart_status status, size_t flags, const char *what, char **out);
/* The same to a stream, with a line end. IO too. */
DART_NODISCARD dart_status dart_json_print(
    json_t *body, dart_status status, size_t flags, FILE *out);

#endif
