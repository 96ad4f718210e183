/* Matrix products in vectors: b is packed into strips that stay in the second cache, and a few rows
 * of a at a time meet one strip, with the sums in registers (Goto and van de Geijn 2008, with the
 * roles of a and b exchanged, as ours are stored by rows). */
#include "product.h"

#ifdef CPU_PRODUCT
#include <string.h>

/* Registers: ROWS x WIDE sums, WIDE vectors of b and one number of a: 28 of 32, or 16 of 16.
 * PART: rows of a strip, so that strips for 192 columns fill a third of a cache of 1 MiB. */
#ifdef __AVX512F__
enum { LANES = 16, ROWS = 8 };
#else
enum { LANES = 8, ROWS = 4 };
#endif
enum { WIDE = 3, NARROW = LANES * WIDE, PART = 384, BLOCK = 8 };

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef float loose
    __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef float eight
    __attribute__((vector_size(BLOCK * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef int32_t indices __attribute__((vector_size(BLOCK * sizeof(int32_t))));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Rows of a: row i begins at a + i * row, and its next number is `step` words on. */
typedef struct rows {
    const float *a;
    uint64_t row, step;
} rows;

/* c (count, wide * LANES) = alpha a b + beta c, all counts constant where this is inlined. */
INLINE void tile(int count, int wide, uint64_t k, rows from, const float *b, float alpha,
    float beta, float *c, uint64_t ldc)
{
    const float *a = from.a;
    vector sum[ROWS][WIDE];
    uint64_t at[ROWS];
    UNROLL for (int i = 0; i < count; i++)
    {
        at[i] = (uint64_t)i * from.row;
        UNROLL for (int v = 0; v < wide; v++)
        {
            sum[i][v] = (vector){0};
            /* where the next rows of this strip go: these were asked for a tile ago */
            __builtin_prefetch(c + ((uint64_t)i + ROWS) * ldc + v * LANES, 1);
        }
    }
    for (uint64_t l = 0; l < k; l++) {
        vector y[WIDE];
        UNROLL for (int v = 0; v < wide; v++) y[v] = *(const vector *)(b + v * LANES);
        UNROLL for (int i = 0; i < count; i++)
        {
            const float x = a[at[i]];
            UNROLL for (int v = 0; v < wide; v++) sum[i][v] += x * y[v];
        }
        a += from.step;
        b += wide * LANES;
    }
    UNROLL for (int i = 0; i < count; i++)
    {
        UNROLL for (int v = 0; v < wide; v++)
        {
            loose *to = (loose *)(c + (uint64_t)i * ldc + v * LANES);
            *to = beta == 0 ? alpha * sum[i][v] : alpha * sum[i][v] + beta * *to;
        }
    }
}

typedef void tile_function(
    uint64_t k, rows from, const float *b, float alpha, float beta, float *c, uint64_t ldc);

#define TILE(count, wide)                                                                          \
    static __attribute__((noinline)) void tile_##count##_##wide(                                   \
        uint64_t k, rows from, const float *b, float alpha, float beta, float *c, uint64_t ldc)    \
    {                                                                                              \
        tile(count, wide, k, from, b, alpha, beta, c, ldc);                                        \
    }
TILE(1, 1)
TILE(1, 2)
TILE(1, 3)
#ifdef __AVX512F__
TILE(8, 1)
TILE(8, 2)
TILE(8, 3)
static tile_function *const tiles[2][WIDE] = {
    {tile_1_1, tile_1_2, tile_1_3}, {tile_8_1, tile_8_2, tile_8_3}};
#else
TILE(4, 1)
TILE(4, 2)
TILE(4, 3)
static tile_function *const tiles[2][WIDE] = {
    {tile_1_1, tile_1_2, tile_1_3}, {tile_4_1, tile_4_2, tile_4_3}};
#endif

/* Columns of a strip that begins at column j of n, and the vectors that hold them. */
static uint64_t strip_columns(uint64_t n, uint64_t j)
{
    return cpu_least(NARROW, n - j);
}

static uint64_t strip_vectors(uint64_t columns)
{
    return (columns + LANES - 1) / LANES;
}

/* Column l of the 8 x 8 numbers whose rows begin at x, x + ld, ... becomes the 8 words at
 * to + l * width. Three rounds that interleave row i with row i + 4 turn a square of 8. */
INLINE void turn(const float *x, uint64_t ld, float *to, uint64_t width)
{
    const indices low = {0, 8, 1, 9, 2, 10, 3, 11}, high = {4, 12, 5, 13, 6, 14, 7, 15};
    eight r[BLOCK], t[BLOCK];
    UNROLL for (int i = 0; i < BLOCK; i++) r[i] = *(const eight *)(x + (uint64_t)i * ld);
    UNROLL for (int round = 0; round < 3; round++)
    {
        UNROLL for (int i = 0; i < BLOCK / 2; i++)
        {
            t[2 * i] = __builtin_shuffle(r[i], r[i + BLOCK / 2], low);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + BLOCK / 2], high);
        }
        UNROLL for (int i = 0; i < BLOCK; i++) r[i] = t[i];
    }
    UNROLL for (int i = 0; i < BLOCK; i++) * (eight *)(to + (uint64_t)i * width) = r[i];
}

/* The processor sees no pattern in what packing reads, and weights come from memory that no cache
 * has: rows are asked for so many rows before they are needed. */
enum { LINE = 64 / sizeof(float), FAR = 16 };

/* Packs k x count numbers as `to` (k, width), with zeros from count on: number (l, r) is at
 * x[r * ld + l], or, where `across`, at x[l * ld + r]. */
static void pack(
    const float *x, uint64_t ld, bool across, uint64_t k, uint64_t count, float *to, uint64_t width)
{
    if (across) {
        for (uint64_t l = 0; l < k; l++) {
            for (uint64_t r = 0; l + FAR < k && r < count; r += LINE)
                __builtin_prefetch(x + (l + FAR) * ld + r, 0, 2);
            memcpy(to + l * width, x + l * ld, count * sizeof *to);
            for (uint64_t r = count; r < width; r++) to[l * width + r] = 0;
        }
        return;
    }
    const uint64_t squares = count / BLOCK * BLOCK, whole = k / BLOCK * BLOCK;
    for (uint64_t r = 0; r < squares; r += BLOCK) {
        for (uint64_t l = 0; l < whole; l += BLOCK) {
            for (uint64_t i = r + BLOCK; l % LINE == 0 && i < cpu_least(r + 2 * BLOCK, count); i++)
                __builtin_prefetch(x + i * ld + l, 0, 2);
            turn(x + r * ld + l, ld, to + l * width + r, width);
        }
        for (uint64_t l = whole; l < k; l++)
            for (uint64_t i = r; i < r + BLOCK; i++) to[l * width + i] = x[i * ld + l];
    }
    for (uint64_t l = 0; l < k; l++)
        for (uint64_t r = squares; r < width; r++)
            to[l * width + r] = r < count ? x[r * ld + l] : 0;
}

uint64_t CPU(product_words)(uint64_t n)
{
    return PART * ((n + LANES - 1) / LANES * LANES + ROWS);
}

/* Rows of a by one strip whose columns are not whole vectors: by way of a whole tile. */
static void ragged(uint64_t count, uint64_t columns, uint64_t k, rows from, const float *b,
    float alpha, float beta, float *c, uint64_t ldc)
{
    const uint64_t wide = strip_vectors(columns);
    _Alignas(64) float whole[ROWS * NARROW];
    tiles[count == ROWS][wide - 1](k, from, b, alpha, 0, whole, wide * LANES);
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t j = 0; j < columns; j++) {
            float *to = c + i * ldc + j, sum = whole[i * wide * LANES + j];
            *to = beta == 0 ? sum : beta * *to + sum;
        }
}

/* What is packed next: `rows` rows of `words` words, `ld` apart. Read while the sums of this part
 * are made, as weights come from memory that no cache has. */
typedef struct ahead {
    const float *at;
    uint64_t ld, rows, words;
} ahead;

static void fetch(const ahead *next, uint64_t first, uint64_t end)
{
    for (uint64_t r = first; r < end; r++)
        for (uint64_t w = 0; w < next->words; w += LINE)
            __builtin_prefetch(next->at + r * next->ld + w, 0, 2);
}

/* All rows of c (m, n) from one part of k; b is packed. */
static void part_of_k(const cpu_part *q, uint64_t k, const float *a, float beta, const float *b,
    const ahead *next, float *strip_a)
{
    /* Rows that are a multiple of 4 KiB apart meet in the same lines of the first cache, and
     * columns that are read once for each of several strips come from as many pages as k. */
    const bool packed = q->ta ? q->n > NARROW : q->lda % 1024 == 0;
    for (uint64_t i = 0; i < q->m;) {
        const uint64_t count = q->m - i >= ROWS ? ROWS : 1;
        const float *x = a + (q->ta ? i : i * q->lda);
        rows from = {x, q->ta ? 1 : q->lda, q->ta ? q->lda : 1};
        if (packed && count == ROWS) {
            pack(x, q->lda, q->ta, k, ROWS, strip_a, ROWS);
            from = (rows){strip_a, 1, ROWS};
        }
        const float *strip = b;
        for (uint64_t j = 0; j < q->n;) {
            const uint64_t columns = strip_columns(q->n, j), wide = strip_vectors(columns);
            float *c = q->c + i * q->ldc + j;
            if (columns == wide * LANES)
                tiles[count == ROWS][wide - 1](k, from, strip, q->alpha, beta, c, q->ldc);
            else
                ragged(count, columns, k, from, strip, q->alpha, beta, c, q->ldc);
            strip += k * wide * LANES;
            j += columns;
        }
        fetch(next, next->rows * i / q->m, next->rows * (i + count) / q->m);
        i += count;
    }
}

/* The part of b with `k` rows from row l on; none where k is 0. */
static ahead part_of_b(const cpu_part *q, uint64_t l, uint64_t k)
{
    if (!k) return (ahead){0};
    return q->tb ? (ahead){q->b + l, q->ldb, q->n, k} : (ahead){q->b + l * q->ldb, q->ldb, k, q->n};
}

void CPU(product)(const cpu_part *q, real *scratch)
{
    const uint64_t parts = (q->k + PART - 1) / PART;
    const uint64_t per = parts ? dart_round_up((q->k + parts - 1) / parts, BLOCK) : 0;
    float *strip_a = scratch, *b = scratch + ROWS * PART;
    for (uint64_t l = 0; l < q->k; l += per) {
        const uint64_t k = cpu_least(per, q->k - l);
        float *to = b;
        for (uint64_t j = 0; j < q->n;) {
            const uint64_t columns = strip_columns(q->n, j), wide = strip_vectors(columns);
            pack(q->b + (q->tb ? j * q->ldb + l : l * q->ldb + j), q->ldb, !q->tb, k, columns, to,
                wide * LANES);
            to += k * wide * LANES;
            j += columns;
        }
        const ahead next = part_of_b(q, l + k, cpu_least(per, q->k - l - k));
        part_of_k(q, k, q->a + (q->ta ? l * q->lda : l), l ? 1 : q->beta, b, &next, strip_a);
    }
}

#endif
