/* GPTQ over blocks. With U the upper triangle of U^T U = H^-1, H the second moments of the inputs:
 * where column j is off by e U_jj, each later column k takes e U_jk off, and the squared error of
 * the outputs, over all of which H is the sum, is the sum of all e^2. A block's scale is chosen
 * where its first column is reached, from the numbers as they are then: of some candidates the one
 * with which rounding the block in this way has the least sum of e^2. */
#include "gptq.h"
#include "blocks_impl.h"
#include "decompose.h"
#include "lapack.h"
#include "threads.h"
#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ROWS: one thread's at a time, so many whatever the threads, as sums round by it. */
enum { BLOCK = 64, LEVELS = 255, ROWS = 32 };

/* What the numbers of a block can be: its scale times one of the levels. */
typedef struct grid {
    uint32_t block, levels;
    float level[LEVELS], middle[LEVELS]; /* ascending; between a level and the next one */
    bool half;                           /* scales are halves */
    bool symmetric;                      /* the last level is the first one's negative */
} grid;

bool dart_gptq_format(dart_packed format)
{
    return format == DART_PACKED_nf4 || format == DART_PACKED_q4_0 || format == DART_PACKED_q8_0;
}

const char *dart_gptq_formats(void)
{
    return "nf4, q4_0, q8_0";
}

static grid grid_of(dart_packed format)
{
    const bool nf4 = format == DART_PACKED_nf4, q4_0 = format == DART_PACKED_q4_0;
    grid g = {.block = dart_packed_info_of(format).block, .half = !nf4, .symmetric = !q4_0};
    const int least = q4_0 ? -8 : -127, most = q4_0 ? 7 : 127;
    g.levels = nf4 ? 16 : (uint32_t)(most - least + 1);
    for (uint32_t i = 0; i < g.levels; i++)
        g.level[i] = nf4 ? dart_nf4[i] : (float)(least + (int)i);
    for (uint32_t i = 0; i + 1 < g.levels; i++) g.middle[i] = (g.level[i] + g.level[i + 1]) / 2;
    return g;
}

static uint32_t nearest(const grid *g, float x)
{
    uint32_t low = 0, count = g->levels - 1;
    while (count) {
        const uint32_t half = count / 2;
        const bool above = x > g->middle[low + half];
        low = above ? low + half + 1 : low;
        count = above ? count - half - 1 : half;
    }
    return low;
}

typedef struct work {
    grid grid;
    uint32_t rows, columns;
    const float *upper; /* U (columns, columns) */
    const float *plain;
    float *matrix;
} work;

/* A block of a row at one scale. */
typedef struct trial {
    float value[BLOCK], off[BLOCK]; /* rounded; e */
    float cost;                     /* the sum of e^2 */
} trial;

static const float *upper_at(const work *w, uint32_t row, uint32_t column)
{
    return w->upper + (size_t)row * w->columns + column;
}

/* The block x at column `first`; its element `end` becomes the level `code` whatever it is by then.
 * Stops where it costs as much as `most`. */
static void try_scale(const work *w, uint32_t first, const float *x, float scale, uint32_t end,
    uint32_t code, float most, trial *t)
{
    const uint32_t n = w->grid.block;
    const float by = 1.0f / scale;
    float now[BLOCK];
    memcpy(now, x, n * sizeof *now);
    t->cost = 0;
    for (uint32_t j = 0; j < n && t->cost < most; j++) {
        const float *upper = upper_at(w, first + j, first);
        t->value[j] = scale * w->grid.level[j == end ? code : nearest(&w->grid, now[j] * by)];
        t->off[j] = (now[j] - t->value[j]) / upper[j];
        t->cost += t->off[j] * t->off[j];
        for (uint32_t k = j + 1; k < n; k++) now[k] -= t->off[j] * upper[k];
    }
}

/* A scale as the format keeps it; 0: it has none that is a normal number. */
static float kept_scale(const grid *g, float scale)
{
    uint8_t bytes[2];
    if (g->half) {
        dart_put_u16(bytes, dart_f16_of(scale));
        scale = dart_f16_at(bytes);
    }
    return fabsf(scale) >= FLT_MIN && isfinite(scale) ? scale : 0;
}

/* Rounds the block x at column `first`. Packing looks for a scale by the block's largest magnitude,
 * so the element that has it now is put at an end of the levels, where it nearly always is anyway.
 * The candidates are the scales at which it would lie there or, of both signs as levels need not be
 * symmetric, up to a fifth beyond. */
static void round_block(const work *w, uint32_t first, const float *plain, float *x, float *off)
{
    static const float shares[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f};
    enum { SHARES = sizeof shares / sizeof *shares };
    const grid *g = &w->grid;
    uint32_t least = 0, most = 0, best = 0;
    trial t[2] = {{.cost = INFINITY}};
    for (uint32_t j = 1; j < g->block; j++) {
        if (x[j] < x[least]) least = j;
        if (x[j] > x[most]) most = j;
    }
    const uint32_t largest = x[most] > -x[least] ? most : least;
    for (int c = 0; c < 2 * SHARES; c++) {
        const bool other = c >= SHARES;
        const uint32_t end = g->symmetric ? largest : other ? most : least;
        const uint32_t code = g->symmetric && other ? g->levels - 1 : 0;
        const float scale = kept_scale(g, x[end] / g->level[code] * shares[c % SHARES]);
        if (scale == 0) continue;
        try_scale(w, first, x, scale, end, code, t[best].cost, &t[!best]);
        if (t[!best].cost < t[best].cost) best = !best;
    }
    if (!isfinite(t[best].cost)) { /* nothing in it, or nothing whose square floats hold */
        for (uint32_t j = 0; j < g->block; j++) {
            t[best].value[j] = plain[j];
            t[best].off[j] = 0;
        }
    }
    memcpy(x, t[best].value, g->block * sizeof *x);
    memcpy(off, t[best].off, g->block * sizeof *off);
}

static void round_rows(void *context, uint32_t part)
{
    const work *w = context;
    const uint32_t n = w->grid.block, first = part * ROWS;
    const uint32_t rows = w->rows - first < ROWS ? w->rows - first : ROWS;
    const float *plain = w->plain + (size_t)first * w->columns;
    float *x = w->matrix + (size_t)first * w->columns, off[ROWS * BLOCK];
    for (uint32_t c = 0; c < w->columns; c += n) {
        const uint32_t next = c + n, rest = w->columns - next;
        for (uint32_t r = 0; r < rows; r++) {
            const size_t at = (size_t)r * w->columns + c;
            round_block(w, c, plain + at, x + at, off + (size_t)r * n);
        }
        if (rest)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)rest, (int)n, -1,
                off, (int)n, upper_at(w, c, next), (int)w->columns, 1, x + next, (int)w->columns);
    }
}

/* U, row by row; caller frees. Of H backwards, R R^T with R a lower triangle, U is the inverse of R
 * backwards. */
static dart_status root_of_inverse(uint32_t n, const double *moments, float **out)
{
    dart_status status = DART_OK;
    const size_t words = (size_t)n * n;
    double mean = 0, more, *root = NULL, *h = dart_calloc(words, sizeof *h);
    float *upper = dart_calloc(words, sizeof *upper);
    *out = NULL;
    if (!h || !upper) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < n; i++) mean += moments[(size_t)i * n + i] / n;
    for (size_t i = 0; i < words; i++) h[i] = moments[words - 1 - i];
    for (uint32_t i = 0; i < n; i++) h[(size_t)i * n + i] += 0.01 * mean;
    DART_GOTO(dart_metric_root(n, h, &root, &more));
    DART_GOTO(dart_lapack_check(
        LAPACKE_dtrtri(LAPACK_ROW_MAJOR, 'L', 'N', (lapack_int)n, root, (lapack_int)n), "dtrtri",
        root, words));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i; j < n; j++) {
            const size_t at = (size_t)i * n + j;
            upper[at] = (float)root[words - 1 - at];
        }
    *out = upper;
    upper = NULL;
done:
    free(h);
    free(root);
    free(upper);
    return status;
}

dart_status dart_gptq(dart_packed format, uint32_t rows, uint32_t columns, const float *matrix,
    const double *moments, const char *what, float *plain, float *out)
{
    float *upper = NULL;
    uint32_t *words = dart_calloc((size_t)rows * dart_packed_pitch(format, columns), sizeof *words);
    dart_status status = words ? DART_OK : DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(dart_packed_encode(format, matrix, rows, columns, what, words));
    dart_packed_decode(format, words, rows, columns, plain);
    DART_GOTO(root_of_inverse(columns, moments, &upper));
    memcpy(out, matrix, (size_t)rows * columns * sizeof *out);
    work w = {grid_of(format), rows, columns, upper, plain, out};
    dart_for_each((rows + ROWS - 1) / ROWS, round_rows, &w);
    /* the same numbers, but for the sign of a zero where packing finds another scale for them */
    DART_GOTO(dart_packed_encode(format, out, rows, columns, what, words));
    dart_packed_decode(format, words, rows, columns, out);
done:
    free(upper);
    free(words);
    return status;
}
