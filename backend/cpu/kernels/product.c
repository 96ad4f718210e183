/* Matrix products in vectors: b is packed into strips that stay in the second cache, and a few rows
 * of a at a time meet one strip, with the sums in registers (Goto and van de Geijn 2008, with the
 * roles of a and b exchanged, as ours are stored by rows). */
#include "halves.h"
#include "vectors.h"

#ifdef CPU_PRODUCT
#include <string.h>

/* Rows of a strip, so that strips for 192 columns fill a third of a cache of 1 MiB. */
enum { PART = 384 };

/* Rows of a: row i begins at a + i * row, and its next number is `step` words on. */
typedef struct rows {
    const float *a;
    uint64_t row, step;
} rows;

/* What is packed next is asked for while these sums are made, as weights come from memory that no
 * cache has: evenly, for a processor waits once some 16 lines are on their way. at[i]: NARROW words
 * that are asked for before numbers [i * STEP, (i + 1) * STEP) of k, and the rest at the start. */
enum { STEP = 32, MOST_AHEAD = 48 };

typedef struct ahead {
    const float *at[MOST_AHEAD];
    uint64_t count; /* at least one for each step of k */
} ahead;

INLINE void ask_for(const float *at)
{
    for (int i = 0; i < NARROW; i += LINE) __builtin_prefetch(at + i, 0, 2);
}

/* c (count, wide * LANES) = alpha a b + beta c, all counts constant where this is inlined. */
INLINE void tile(int count, int wide, uint64_t k, rows from, const float *b, float alpha,
    float beta, float *c, uint64_t ldc, const ahead *next)
{
    const float *a = from.a, *const *to_come = next->at;
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
    for (uint64_t i = (k + STEP - 1) / STEP; i < next->count; i++) ask_for(next->at[i]);
    while (k) {
        const float *end = b + cpu_least(k, STEP) * wide * LANES;
        k -= cpu_least(k, STEP);
        ask_for(*to_come++);
        for (; b < end; b += wide * LANES) {
            vector y[WIDE];
            UNROLL for (int v = 0; v < wide; v++) y[v] = *(const vector *)(b + v * LANES);
            UNROLL for (int i = 0; i < count; i++)
            {
                const float x = a[at[i]];
                UNROLL for (int v = 0; v < wide; v++) sum[i][v] += x * y[v];
            }
            a += from.step;
        }
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

typedef void tile_function(uint64_t k, rows from, const float *b, float alpha, float beta, float *c,
    uint64_t ldc, const ahead *next);

#define TILE(count, wide)                                                                          \
    static __attribute__((noinline)) void tile_##count##_##wide(uint64_t k, rows from,             \
        const float *b, float alpha, float beta, float *c, uint64_t ldc, const ahead *next)        \
    {                                                                                              \
        tile(count, wide, k, from, b, alpha, beta, c, ldc, next);                                  \
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

/* Columns of a strip that begins at column j of n, and the vectors that hold them. Four vectors are
 * two and two: one alone would wait for numbers of a. */
static uint64_t strip_columns(uint64_t n, uint64_t j)
{
    const uint64_t left = n - j, even = 2 * LANES;
    return cpu_least(left > NARROW && left <= 2 * even ? even : NARROW, left);
}

static uint64_t strip_vectors(uint64_t columns)
{
    return (columns + LANES - 1) / LANES;
}

/* Number (l, r) of `count` rows r of x, k long and ld apart, becomes to[l * width + r]. */
static void turn_rows(
    const float *x, uint64_t ld, uint64_t k, uint64_t count, float *to, uint64_t width)
{
    const uint64_t squares = count / BLOCK * BLOCK, whole = k / BLOCK * BLOCK;
    for (uint64_t r = 0; r < squares; r += BLOCK) {
        for (uint64_t l = 0; l < whole; l += BLOCK) {
            for (uint64_t i = r + BLOCK; l % LINE == 0 && i < cpu_least(r + 2 * BLOCK, count); i++)
                __builtin_prefetch(x + i * ld + l, 0, 2);
            eight square[BLOCK];
            UNROLL for (uint64_t i = 0; i < BLOCK; i++) square[i] =
                *(const eight *)(x + (r + i) * ld + l);
            turn(square);
            UNROLL for (uint64_t i = 0; i < BLOCK; i++) * (eight *)(to + (l + i) * width + r) =
                square[i];
        }
        for (uint64_t l = whole; l < k; l++)
            for (uint64_t i = r; i < r + BLOCK; i++) to[l * width + i] = x[i * ld + l];
    }
    for (uint64_t l = 0; squares < count && l < k; l++)
        for (uint64_t r = squares; r < count; r++) to[l * width + r] = x[r * ld + l];
}

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
    turn_rows(x, ld, k, count, to, width);
    for (uint64_t l = 0; count < width && l < k; l++)
        for (uint64_t r = count; r < width; r++) to[l * width + r] = 0;
}

/* The same of numbers of 16 bits, from number `at` of w on. */
static void pack_halves(uint32_t kind, const integer *w, uint64_t at, uint64_t ld, bool across,
    uint64_t k, uint64_t count, float *to, uint64_t width)
{
    float some[BLOCK * PART];
    for (uint64_t l = 0; across && l < k; l++)
        numbers_of_halves(kind, w, at + l * ld, count, to + l * width);
    for (uint64_t r = 0; !across && r < count; r += BLOCK) {
        const uint64_t some_rows = cpu_least(BLOCK, count - r);
        for (uint64_t i = 0; i < some_rows; i++)
            numbers_of_halves(kind, w, at + (r + i) * ld, k, some + i * PART);
        turn_rows(some, PART, k, some_rows, to + r, width);
    }
    for (uint64_t l = 0; count < width && l < k; l++)
        for (uint64_t r = count; r < width; r++) to[l * width + r] = 0;
}

uint64_t CPU(product_words)(uint64_t n)
{
    return PART * ((n + LANES - 1) / LANES * LANES + ROWS);
}

/* Rows of a by one strip whose columns are not whole vectors: by way of a whole tile. */
static void ragged(uint64_t count, uint64_t columns, uint64_t k, rows from, const float *b,
    float alpha, float beta, float *c, uint64_t ldc, const ahead *next)
{
    const uint64_t wide = strip_vectors(columns);
    _Alignas(64) float whole[ROWS * NARROW];
    tiles[count == ROWS][wide - 1](k, from, b, alpha, 0, whole, wide * LANES, next);
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t j = 0; j < columns; j++) {
            float *to = c + i * ldc + j, sum = whole[i * wide * LANES + j];
            *to = beta == 0 ? sum : beta * *to + sum;
        }
}

/* The tiles before row i of `m` rows ask for so many of `count` things. */
static uint64_t share(uint64_t i, uint64_t m, uint64_t count)
{
    return (count * i + m - 1) / m;
}

/* Where a number of b of 16 bits lies. */
static const float *number_of_b(const cpu_part *q, uint64_t at)
{
    return (const float *)(const void *)((const char *)q->half_b + 2 * (q->at_b + at));
}

/* What the tile at row i and column j of c asks for: of the same strip's part of b that is packed
 * next, with `rest` numbers of k, as much as makes all of it. */
static void look_ahead(const cpu_part *q, uint64_t i, uint64_t count, uint64_t j, uint64_t columns,
    uint64_t k, uint64_t next_b, uint64_t rest, ahead *next)
{
    const float *b = q->b ? q->b + next_b : NULL;
    const uint64_t total = q->tb ? columns : rest;
    const uint64_t first = share(i, q->m, total), end = share(i + count, q->m, total);
    uint64_t n = 0;
    for (uint64_t r = first; r < end; r++)
        for (uint64_t l = 0; l < (q->tb ? rest : 1) && n < MOST_AHEAD; l += NARROW) {
            const uint64_t from = q->tb ? (j + r) * q->ldb + l : r * q->ldb + j;
            next->at[n++] = b ? b + from : number_of_b(q, next_b + from);
        }
    while (n * STEP < k) next->at[n++] = q->c + i * q->ldc + j;
    next->count = n;
}

/* The last number of k that counts for rows [i, i + count) of squares with zeros above the
 * diagonal, and so the last column of c. */
static uint64_t diagonal(const cpu_part *q, uint64_t i, uint64_t count, uint64_t side)
{
    const uint64_t first = (q->row + i) % side;
    return first + count <= side ? first + count - 1 : side - 1;
}

/* Of numbers [l, l + k) of the summed axis those that are not zero in all of rows [i, i + count).
 */
static void that_count(const cpu_part *q, uint64_t i, uint64_t count, uint64_t l, uint64_t k,
    uint64_t *out_first, uint64_t *out_end)
{
    const uint64_t side = q->lower_a;
    *out_first = 0;
    *out_end = k;
    if (!side) return;
    if (!q->ta) {
        const uint64_t end = diagonal(q, i, count, side) + 1;
        *out_end = end > l ? cpu_least(end - l, k) : 0;
    } else if (l / side == (l + k - 1) / side && q->row + i > l % side) {
        *out_first = cpu_least(q->row + i - l % side, k);
    }
}

/* `count` rows of op(a) of 16 bits as numbers, k of each from number `at` of its words on. */
static rows rows_of_halves(const cpu_part *q, uint64_t at, uint64_t count, uint64_t k, float *strip)
{
    for (uint64_t i = 0; !q->ta && i < count; i++)
        numbers_of_halves(q->kind_a, q->half_a, q->at_a + at + i * q->lda, k, strip + i * PART);
    for (uint64_t l = 0; q->ta && l < k; l++)
        numbers_of_halves(q->kind_a, q->half_a, q->at_a + at + l * q->lda, count, strip + l * ROWS);
    return q->ta ? (rows){strip, 1, ROWS} : (rows){strip, PART, 1};
}

/* All rows of c (m, n) from the part [l, l + k) of k; b is packed. next_b: the part that comes
 * then, number of b at which it begins, of `rest` rows. */
static void part_of_k(const cpu_part *q, uint64_t l, uint64_t k, float beta, const float *b,
    uint64_t next_b, uint64_t rest, float *strip_a)
{
    /* Rows that are a multiple of 4 KiB apart meet in the same lines of the first cache, and
     * columns that are read once for each of several strips come from as many pages as k. */
    const bool packed = q->ta ? q->n > NARROW : q->lda % 1024 == 0;
    for (uint64_t i = 0; i < q->m;) {
        const uint64_t count = q->m - i >= ROWS ? ROWS : 1;
        uint64_t first, end;
        that_count(q, i, count, l, k, &first, &end);
        const uint64_t at = q->ta ? i + (l + first) * q->lda : i * q->lda + l + first;
        const float *x = q->kind_a ? NULL : q->a + at;
        rows from = {x, q->ta ? 1 : q->lda, q->ta ? q->lda : 1};
        if (q->kind_a) {
            from = rows_of_halves(q, at, count, end - first, strip_a);
        } else if (packed && count == ROWS) {
            pack(x, q->lda, q->ta, end - first, ROWS, strip_a, ROWS);
            from = (rows){strip_a, 1, ROWS};
        }
        const uint64_t last = q->lower_c ? diagonal(q, i, count, q->lower_c) : UINT64_MAX;
        const float *strip = b;
        for (uint64_t j = 0; j < q->n;) {
            const uint64_t columns = strip_columns(q->n, j), wide = strip_vectors(columns);
            float *c = q->c + i * q->ldc + j;
            if (q->column + j > last) break;
            const float *of_b = strip + first * wide * LANES;
            ahead next;
            look_ahead(q, i, count, j, columns, end - first, next_b, rest, &next);
            if (columns == wide * LANES)
                tiles[count == ROWS][wide - 1](
                    end - first, from, of_b, q->alpha, beta, c, q->ldc, &next);
            else
                ragged(count, columns, end - first, from, of_b, q->alpha, beta, c, q->ldc, &next);
            strip += k * wide * LANES;
            j += columns;
        }
        i += count;
    }
}

void CPU(product)(const cpu_part *q, real *scratch)
{
    /* parts of squares, where only such have zeros at the beginning */
    const uint64_t whole = q->lower_a && q->lower_a % BLOCK == 0 ? q->lower_a : q->k;
    const uint64_t parts = (whole + PART - 1) / PART;
    const uint64_t per = parts ? dart_round_up((whole + parts - 1) / parts, BLOCK) : 0;
    float *strip_a = scratch, *b = scratch + ROWS * PART;
    for (uint64_t l = 0; l < q->k; l += per) {
        const uint64_t k = cpu_least(per, q->k - l);
        float *to = b;
        for (uint64_t j = 0; j < q->n;) {
            const uint64_t columns = strip_columns(q->n, j), wide = strip_vectors(columns);
            const uint64_t at = q->tb ? j * q->ldb + l : l * q->ldb + j;
            if (q->kind_b)
                pack_halves(q->kind_b, q->half_b, q->at_b + at, q->ldb, !q->tb, k, columns, to,
                    wide * LANES);
            else
                pack(q->b + at, q->ldb, !q->tb, k, columns, to, wide * LANES);
            to += k * wide * LANES;
            j += columns;
        }
        part_of_k(q, l, k, l ? 1 : q->beta, b, q->tb ? l + k : (l + k) * q->ldb,
            cpu_least(per, q->k - l - k), strip_a);
    }
}

#endif
