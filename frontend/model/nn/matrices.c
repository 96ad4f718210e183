/* Which parameters an optimizer may step as matrices: those of the linear layers. Tables of tokens
 * are looked up or give scores, row by row, and are left out, as are vectors and positions. */
#include "model.h"
#include <stdlib.h>

static bool is_matrix(const dart_model *model, const dart_param *param)
{
    return param->region == DART_REGION_PARAM && param->weight >= 0 && param->shape.rank >= 2 &&
           param->weight != model->embedding && param->weight != model->source_embedding &&
           param->weight != model->head;
}

/* A tensor with more axes is unfolded where its smaller side is largest (the first such place): a
 * core (r, n, r') at the bond of lower rank, one with two digits (r, m, n, r') between these. */
static void unfold(const dart_shape *shape, uint32_t *rows, uint32_t *columns)
{
    const uint64_t words = dart_shape_words(shape);
    uint64_t left = 1, best = 0;
    for (uint32_t a = 0; a + 1 < shape->rank; a++) {
        left *= shape->dim[a];
        const uint64_t right = words / left, smaller = left < right ? left : right;
        if (smaller <= best) continue;
        best = smaller;
        *rows = (uint32_t)left;
        *columns = (uint32_t)right;
    }
}

static int by_offset(const void *a, const void *b)
{
    const dart_matrices *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

dart_status dart_model_matrices(const dart_model *model, dart_matrices **out, uint32_t *out_count)
{
    uint32_t count = 0, stacks = 0;
    dart_matrices *m = dart_calloc(model->params, sizeof *m);
    if (!m) return DART_MEMORY;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (!is_matrix(model, param)) continue;
        m[count].offset = param->offset;
        m[count].count = 1;
        unfold(&param->shape, &m[count].rows, &m[count].columns);
        count++;
    }
    qsort(m, count, sizeof *m, by_offset);
    for (uint32_t i = 0; i < count; i++) {
        dart_matrices *last = stacks ? &m[stacks - 1] : NULL;
        if (last && last->rows == m[i].rows && last->columns == m[i].columns &&
            m[i].offset == last->offset + (uint64_t)last->count * last->rows * last->columns)
            last->count++;
        else
            m[stacks++] = m[i];
    }
    *out = m;
    *out_count = stacks;
    return DART_OK;
}
