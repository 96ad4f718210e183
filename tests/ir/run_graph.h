/* Runs a graph on a device and, node by node, by naive loops in f64: the oracle of the planner's
 * tests. */
#ifndef RUN_GRAPH_H
#define RUN_GRAPH_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "plan.h"
#include "rng.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

enum { REGION_WORDS = 1 << 16 };

typedef struct host {
    double *region[DART_REGIONS]; /* REGION_WORDS each */
} host;

static inline host host_new(uint64_t seed)
{
    host h;
    for (int r = 0; r < DART_REGIONS; r++) {
        h.region[r] = calloc(REGION_WORDS, sizeof(double));
        for (uint32_t i = 0; i < REGION_WORDS; i++)
            h.region[r][i] = (float)(dart_normal(seed, DART_STREAM_TEST + (uint64_t)r, i) * 0.7);
    }
    return h;
}

static inline void host_free(host *h)
{
    for (int r = 0; r < DART_REGIONS; r++) free(h->region[r]);
}

/* ---- naive interpreter ---- */

static inline void naive_einsum(
    const dart_graph *graph, const dart_node_info *info, double *const *value, double *y)
{
    char label[64];
    uint32_t dim[64], at[64] = {0}, labels = 0;
    const char *text = info->text;
    for (uint32_t operand = 0, axis = 0; *text != '-'; text++) {
        if (*text == ',') {
            operand++;
            axis = 0;
            continue;
        }
        uint32_t size = dart_node_get(graph, info->in[operand])->shape.dim[axis++];
        uint32_t l = 0;
        while (l < labels && label[l] != *text) l++;
        if (l == labels) {
            label[labels] = *text;
            dim[labels++] = size;
        }
    }
    const char *out = text + 2;
    memset(y, 0, dart_shape_words(&info->shape) * sizeof *y);
    for (;;) {
        double product = 1;
        text = info->text;
        for (uint32_t operand = 0; operand < info->inputs; operand++) {
            uint64_t index = 0;
            for (; *text != ',' && *text != '-'; text++)
                for (uint32_t l = 0; l < labels; l++)
                    if (label[l] == *text) index = index * dim[l] + at[l];
            product *= value[info->in[operand]][index];
            text++;
        }
        uint64_t index = 0;
        for (const char *c = out; *c; c++)
            for (uint32_t l = 0; l < labels; l++)
                if (label[l] == *c) index = index * dim[l] + at[l];
        y[index] += product;
        uint32_t l = 0;
        while (l < labels && ++at[l] == dim[l]) at[l++] = 0;
        if (l == labels) return;
    }
}

static inline void naive_permute(
    const dart_shape *from, const dart_node_info *info, const double *x, double *y)
{
    uint64_t step[DART_MAX_RANK], words = dart_shape_words(from), at = 1;
    for (uint32_t i = from->rank; i-- > 0; at *= from->dim[i]) step[i] = at;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t left = i, source = 0;
        for (uint32_t d = info->shape.rank; d-- > 0; left /= info->shape.dim[d])
            source += left % info->shape.dim[d] * step[info->i[d]];
        y[i] = x[source];
    }
}

/* One node's words from its inputs'. Ops it knows: those of random_graph in test_random_graphs.c,
 * and contracts. */
static inline void naive_node(const dart_graph *graph, dart_node n, double **value, host *h)
{
    const dart_node_info *info = dart_node_get(graph, n);
    uint64_t words = dart_shape_words(&info->shape);
    if (!value[n]) value[n] = calloc(words ? words : 1, sizeof **value);
    double *y = value[n];
    const double *a = info->inputs > 0 ? value[info->in[0]] : NULL;
    const double *b = info->inputs > 1 ? value[info->in[1]] : NULL;
    const dart_shape *sa = info->inputs > 0 ? &dart_node_get(graph, info->in[0])->shape : NULL;
    uint64_t wb =
        info->inputs > 1 ? dart_shape_words(&dart_node_get(graph, info->in[1])->shape) : 1;
    switch (info->op) {
    case DART_OP_leaf:
        memcpy(y, h->region[info->i[0]] + info->i[1], words * sizeof *y);
        break;
    case DART_OP_store: {
        const dart_node_info *leaf = dart_node_get(graph, info->in[0]);
        memcpy(h->region[leaf->i[0]] + leaf->i[1], b, words * sizeof *y);
        memcpy(y, b, words * sizeof *y);
        break;
    }
    case DART_OP_reshape:
        memcpy(y, a, words * sizeof *y);
        break;
    case DART_OP_slice:
        memcpy(y, a + (uint64_t)info->i[0] * (words / (uint64_t)info->i[1]), words * sizeof *y);
        break;
    case DART_OP_unslice:
        memcpy(y + (uint64_t)info->i[0] * (words / (uint64_t)info->i[1]), a,
            dart_shape_words(sa) * sizeof *y);
        break;
    case DART_OP_join:
        for (uint32_t i = 0; i < info->inputs; i++) {
            const dart_shape *part = &dart_node_get(graph, info->in[i])->shape;
            const uint64_t length = dart_shape_words(part);
            memcpy(y, value[info->in[i]], length * sizeof *y);
            y += length / part->dim[0] * dart_join_rows(part);
        }
        break;
    case DART_OP_permute:
        naive_permute(sa, info, a, y);
        break;
    case DART_OP_contract:
        naive_einsum(graph, info, value, y);
        break;
    case DART_OP_fill:
        for (uint64_t i = 0; i < words; i++) y[i] = info->f[0];
        break;
    case DART_OP_affine:
        for (uint64_t i = 0; i < words; i++) y[i] = a[i] * info->f[0] + info->f[1];
        break;
    case DART_OP_add:
        for (uint64_t i = 0; i < words; i++) y[i] = a[i] + b[i % wb];
        break;
    case DART_OP_sub:
        for (uint64_t i = 0; i < words; i++) y[i] = a[i] - b[i % wb];
        break;
    case DART_OP_mul:
        for (uint64_t i = 0; i < words; i++) y[i] = a[i] * b[i % wb];
        break;
    case DART_OP_relu:
        for (uint64_t i = 0; i < words; i++) y[i] = a[i] > 0 ? a[i] : 0;
        break;
    case DART_OP_reduce: {
        uint64_t part[3] = {1, 1, 1};
        for (uint32_t d = 0; d < sa->rank; d++)
            part[d < info->i[1] ? 0 : d < info->i[1] + info->i[2] ? 1 : 2] *= sa->dim[d];
        for (uint64_t o = 0; o < part[0]; o++)
            for (uint64_t m = 0; m < part[1]; m++)
                for (uint64_t i = 0; i < part[2]; i++) {
                    double x = a[(o * part[1] + m) * part[2] + i];
                    y[o * part[2] + i] += info->i[0] == 1 ? x * x : x;
                }
        break;
    }
    case DART_OP_softmax: {
        uint64_t cols = sa->dim[sa->rank - 1];
        for (uint64_t r = 0; r < words / cols; r++) {
            double most = -INFINITY, sum = 0;
            for (uint64_t c = 0; c < cols; c++) most = fmax(most, info->f[0] * a[r * cols + c]);
            for (uint64_t c = 0; c < cols; c++)
                sum += y[r * cols + c] = exp(info->f[0] * a[r * cols + c] - most);
            for (uint64_t c = 0; c < cols; c++) y[r * cols + c] /= sum;
        }
        break;
    }
    default:
        fail_msg("naive_run does not know %s", dart_op_info_of(info->op)->name);
    }
}

/* The value of every node (malloc'ed) when the graph has run. A leaf and its views are places: what
 * a store changes, their readers see from then on. */
static inline double **naive_run(const dart_graph *graph, host *h)
{
    uint32_t count = dart_graph_count(graph);
    double **value = calloc(count + 1, sizeof *value);
    for (dart_node n = 1; n <= count; n++) {
        naive_node(graph, n, value, h);
        if (dart_node_get(graph, n)->op != DART_OP_store) continue;
        for (dart_node m = 1; m < n; m++) {
            dart_op op = dart_node_get(graph, m)->op;
            if (op == DART_OP_leaf || op == DART_OP_reshape || op == DART_OP_slice)
                naive_node(graph, m, value, h);
        }
    }
    return value;
}

static inline void naive_free(const dart_graph *graph, double **value)
{
    for (dart_node n = 1; n <= dart_graph_count(graph); n++) free(value[n]);
    free(value);
}

/* ---- on a device ---- */

typedef struct bench {
    dart_device *device;
    dart_memory memory;
} bench;

static inline void bench_fill(const bench *b, const host *h)
{
    for (int r = 1; r < DART_REGIONS; r++)
        OK(dart_device_write_f64(b->device, b->memory.buffer[r], 0, REGION_WORDS, h->region[r]));
}

static inline bench bench_new(const char *id, const host *h)
{
    bench b = {0};
    OK(dart_device_open(id, NULL, &b.device));
    for (int r = 1; r < DART_REGIONS; r++) {
        b.memory.words[r] = REGION_WORDS;
        OK(dart_device_alloc(b.device, DART_MEM_DEVICE, REGION_WORDS, &b.memory.buffer[r]));
    }
    bench_fill(&b, h);
    return b;
}

static inline void bench_free(bench *b)
{
    for (int r = 1; r < DART_REGIONS; r++) dart_device_free(b->device, b->memory.buffer[r]);
    dart_device_close(b->device);
}

/* Optimizes, plans, runs; out[i] (malloc'ed) are the words of keep[i]. */
static inline void bench_run(
    bench *b, const dart_graph *graph, uint32_t keeps, const dart_node *keep, double **out)
{
    dart_graph *better;
    dart_plan *plan;
    dart_exec *exec;
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map);
    dart_node *kept = calloc(keeps + 1, sizeof *kept);
    dart_cost cost = dart_cost_for(&b->device->caps);
    OK(dart_optimize(graph, &cost, keeps, keep, &better, map));
    for (uint32_t i = 0; i < keeps; i++) kept[i] = map[keep[i]];
    OK(dart_plan_new(better, &b->device->caps, NULL, keeps, kept, &plan));
    OK(dart_exec_new(plan, b->device, &b->memory, NULL, &exec));
    OK(dart_exec_run(exec, NULL));
    for (uint32_t i = 0; i < keeps; i++) {
        dart_slice slice;
        OK(dart_exec_slice(exec, kept[i], &slice));
        out[i] = calloc(slice.words, sizeof(double));
        OK(dart_device_read_f64(b->device, slice.buffer, slice.offset, slice.words, out[i]));
    }
    dart_exec_free(exec);
    dart_plan_free(plan);
    dart_graph_free(better);
    free(map);
    free(kept);
}

/* Normalised mean squared error; `scale` is the size of the sums' terms, so that cancellation does
 * not count: pass the reference itself where there is none. */
static inline double nmse(const double *x, const double *ref, const double *scale, uint64_t words)
{
    double error = 0, power = 0;
    for (uint64_t i = 0; i < words; i++) {
        error += (x[i] - ref[i]) * (x[i] - ref[i]);
        power += scale[i] * scale[i];
    }
    return error / (power > 1e-30 ? power : 1e-30);
}

static inline uint32_t draw(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

/* Runs on the device and compares everything in GRAD and OUTPUT with the naive run. */
static inline void bench_compare(bench *b, host *h, const dart_graph *graph)
{
    static const dart_region regions[] = {DART_REGION_GRAD, DART_REGION_OUTPUT};
    double *got = calloc(REGION_WORDS, sizeof *got);
    bench_fill(b, h);
    bench_run(b, graph, 0, NULL, NULL);
    naive_free(graph, naive_run(graph, h));
    for (size_t r = 0; r < 2; r++) {
        OK(dart_device_read_f64(b->device, b->memory.buffer[regions[r]], 0, REGION_WORDS, got));
        const double *want = h->region[regions[r]];
        const double error = nmse(got, want, want, REGION_WORDS);
        if (!(error < 1e-10)) fail_msg("region %d: normalised error %g", regions[r], error);
    }
    free(got);
}

#endif
