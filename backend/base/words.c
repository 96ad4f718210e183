/* Edit distance, for "did you mean". */
#include "words.h"
#include <stdint.h>

static char fold(char c)
{
    return c == '-' ? '_' : c;
}

size_t dart_edit_distance(const char *word, const char *other, size_t n)
{
    size_t row[64];
    if (n >= 64) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; word[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (fold(word[i]) != fold(other[j]));
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[n];
}
