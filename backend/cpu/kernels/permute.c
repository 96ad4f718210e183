/* permute: merges dimensions first, then copies runs, or tiles where input and output run along
 * different axes. */
#include "kernel.h"
#include <string.h>

enum { DIMS = 6, TILE = 32, RUN = 16384 };

typedef struct view {
    uint64_t dim[DIMS], stride[DIMS]; /* of x, outermost first */
    int dims;                         /* at least 1 */
} view;

/* Drops dimensions of 1 and joins neighbours that x also has next to each other. */
static view merged(const permute_params *p)
{
    const uint32_t dim[DIMS] = {p->dim0, p->dim1, p->dim2, p->dim3, p->dim4, p->dim5};
    const uint32_t stride[DIMS] = {
        p->stride0, p->stride1, p->stride2, p->stride3, p->stride4, p->stride5};
    view v = {.dims = 0};
    for (int d = 0; d < DIMS; d++) {
        if (dim[d] == 1) continue;
        int last = v.dims - 1;
        if (v.dims && v.stride[last] == (uint64_t)dim[d] * stride[d]) {
            v.dim[last] *= dim[d];
            v.stride[last] = stride[d];
            continue;
        }
        v.dim[v.dims] = dim[d];
        v.stride[v.dims++] = stride[d];
    }
    if (!v.dims) v = (view){.dim = {1}, .stride = {1}, .dims = 1};
    return v;
}

/* split[0]: 0 if rows of y are copied, else 1 + the axis along which x is contiguous (tiles);
 * split[1]: rows in a task. */
static void plan(cpu_work *work)
{
    PARAM(permute);
    view v = merged(p);
    int last = v.dims - 1;
    uint64_t rows = p->n / v.dim[last];
    if (v.stride[last] != 1)
        for (int d = 0; d < last; d++)
            if (v.stride[d] == 1 && v.dim[d] >= 4) work->split[0] = 1 + (uint32_t)d;
    if (work->split[0]) {
        uint64_t axis = v.dim[work->split[0] - 1];
        work->tasks[0] = (uint32_t)(rows / axis * cpu_parts(axis, TILE));
    } else {
        work->split[1] = cpu_share(RUN, v.dim[last]);
        work->tasks[0] = cpu_parts(rows, work->split[1]);
    }
}

static void copy_rows(const view *v, const bits *x, bits *y, uint64_t row, uint64_t end)
{
    int last = v->dims - 1;
    uint64_t n = v->dim[last], stride = v->stride[last];
    for (; row < end; row++) {
        uint64_t rest = row, from = 0;
        for (int d = last - 1; d >= 0; d--) {
            from += rest % v->dim[d] * v->stride[d];
            rest /= v->dim[d];
        }
        bits *out = y + row * n;
        if (stride == 1)
            memcpy(out, x + from, n * sizeof *out);
        else
            for (uint64_t i = 0; i < n; i++) out[i] = x[from + i * stride];
    }
}

/* One strip of TILE indices of `axis` and all of the last dimension, for one index of the others.
 */
static void copy_strip(const view *v, int axis, const bits *x, bits *y, uint32_t index)
{
    int last = v->dims - 1;
    uint64_t strips = cpu_parts(v->dim[axis], TILE), n = v->dim[last], stride = v->stride[last];
    uint64_t q0 = index % strips * TILE, q1 = cpu_least(v->dim[axis], q0 + TILE);
    uint64_t rest = index / strips, from = 0, to = 0, size = n, axis_size = 0;
    for (int d = last - 1; d >= 0; d--) {
        if (d == axis) {
            axis_size = size;
        } else {
            from += rest % v->dim[d] * v->stride[d];
            to += rest % v->dim[d] * size;
            rest /= v->dim[d];
        }
        size *= v->dim[d];
    }
    /* Through a small tile: whole lines are read and written, however the strides fall into the
     * cache. */
    bits tile[TILE][TILE];
    for (uint64_t i0 = 0; i0 < n; i0 += TILE) {
        uint64_t i1 = cpu_least(n, i0 + TILE);
        for (uint64_t i = i0; i < i1; i++)
            for (uint64_t q = q0; q < q1; q++) tile[q - q0][i - i0] = x[from + i * stride + q];
        for (uint64_t q = q0; q < q1; q++)
            memcpy(y + to + q * axis_size + i0, tile[q - q0], (i1 - i0) * sizeof *y);
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(permute);
    view v = merged(p);
    const bits *x = (const bits *)work->buf[0] + p->offset;
    bits *y = work->buf[1];
    if (work->split[0]) {
        copy_strip(&v, (int)work->split[0] - 1, x, y, index);
        return;
    }
    uint64_t rows = p->n / v.dim[v.dims - 1], per = work->split[1];
    copy_rows(&v, x, y, index * per, cpu_least(rows, (index + 1) * per));
}

const cpu_kernel CPU(kernel_permute) = {plan, task};
