/* Launches that their kernel can do as one, although others stand between them: each is moved down
 * to the next one that it can be joined to, where nothing on the way reads what it writes, or
 * writes what it touches. */
#include "join.h"
#include <stdlib.h>

/* How many launches back a partner is looked for. */
enum { WINDOW = 8 };

typedef struct joining {
    const dart_launch *list;
    uint32_t *into; /* of each launch: the one that it was joined to, or itself */
    uint32_t *from; /* of each launch that others were joined to: the first of them, or itself */
} joining;

static bool meet(const dart_slice *a, const dart_slice *b)
{
    return a->buffer == b->buffer && a->offset < b->offset + b->words &&
           b->offset < a->offset + a->words;
}

/* May launches a and b change places? */
static bool independent(const dart_launch *a, const dart_launch *b)
{
    const dart_kernel_info *of_a = dart_kernel_info_of(a->kernel);
    const dart_kernel_info *of_b = dart_kernel_info_of(b->kernel);
    for (uint32_t i = 0; i < a->buffers; i++)
        for (uint32_t j = 0; j < b->buffers; j++)
            if (((of_a->access[i] | of_b->access[j]) & DART_OUT) && meet(&a->buf[i], &b->buf[j]))
                return false;
    return true;
}

static bool runs_at(const joining *g, uint32_t launch, uint32_t at)
{
    while (g->into[launch] != launch) launch = g->into[launch];
    return launch == at;
}

/* May all that runs at `first` run after all that runs at `other`? */
static bool passes(const joining *g, uint32_t first, uint32_t other)
{
    for (uint32_t i = g->from[first]; i <= first; i++)
        for (uint32_t j = g->from[other]; runs_at(g, i, first) && j <= other; j++)
            if (runs_at(g, j, other) && !independent(&g->list[i], &g->list[j])) return false;
    return true;
}

dart_status dart_cpu_join(
    const cpu_kernel *const *kernels, const dart_launch *list, cpu_work *work, uint32_t count)
{
    uint32_t *numbers = dart_calloc(2 * (size_t)count, sizeof *numbers);
    if (!numbers) return DART_MEMORY;
    const joining g = {list, numbers, numbers + count};
    for (uint32_t next = 0; next < count; next++) {
        const cpu_kernel *kernel = kernels[work[next].kernel];
        g.into[next] = g.from[next] = next;
        for (uint32_t back = 1; kernel->joins && back <= WINDOW && back <= next; back++) {
            const uint32_t first = next - back;
            if (g.into[first] != first || list[first].kernel != list[next].kernel ||
                !kernel->joins(&work[first], &work[next]))
                continue;
            bool free_way = true;
            for (uint32_t k = first + 1; k < next && free_way; k++)
                free_way = g.into[k] != k || passes(&g, first, k);
            if (free_way) {
                kernel->join(&work[first], &work[next]);
                g.into[first] = next;
                g.from[next] = g.from[first];
            }
            break;
        }
    }
    free(numbers);
    return DART_OK;
}
