/* Where each token id of a batch occurs: what the gradient of an embedding gathers by. */
#include "data.h"
#include <string.h>

void dart_scatter_index(
    const int32_t *ids, uint32_t rows, uint32_t vocab, uint32_t *cursor, int32_t *index)
{
    memset(cursor, 0, (size_t)vocab * sizeof *cursor);
    for (uint32_t i = 0; i < rows; i++) cursor[ids[i]]++;
    uint32_t sum = 0;
    for (uint32_t v = 0; v < vocab; v++) {
        uint32_t n = cursor[v];
        index[v] = (int32_t)sum;
        cursor[v] = sum;
        sum += n;
    }
    index[vocab] = (int32_t)sum;
    for (uint32_t i = 0; i < rows; i++) index[vocab + 1 + cursor[ids[i]]++] = (int32_t)i;
}
