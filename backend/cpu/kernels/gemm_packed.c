/* gemm_packed: few rows times a packed matrix, whose codes become numbers in registers. In double
 * precision each row is made numbers first. */
#include "packed_numbers.h"

enum { LEAST = 16384, TASKS = 64 }; /* words of a task at least; tasks of a launch at most */

static void plan_rows(cpu_work *work)
{
    PARAM(gemm_packed);
    const uint32_t least = cpu_share(LEAST, p->k), most = cpu_parts(p->n, TASKS);
    work->split[0] = least > most ? least : most;
}

static uint32_t tasks_of(const cpu_work *work)
{
    PARAM(gemm_packed);
    return p->m ? cpu_parts(p->n, work->split[0]) : 0;
}

/* One number of the result. */
static void put(const gemm_packed_params *p, real *y, uint64_t i, uint64_t j, real sum)
{
    real *at = y + i * p->y_row + j * p->y_col;
    const real result = (real)p->alpha * sum;
    *at = p->beta == 0 ? result : result + (real)p->beta * *at;
}

#ifdef DART_F64
static void plan(cpu_work *work)
{
    PARAM(gemm_packed);
    plan_rows(work);
    work->tasks[0] = tasks_of(work);
    work->slot_bytes = p->k * sizeof(real);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(gemm_packed);
    const uint64_t per = work->split[0], end = cpu_least(p->n, (index + 1) * per);
    real *numbers = cpu_slot(work, slot);
    for (uint64_t j = index * per; j < end; j++) {
        unpack_row(work->tune[DART_GEMM_PACKED_FORMAT], INTEGERS(1) + j * p->pitch, p->codes, p->k,
            numbers);
        for (uint64_t i = 0; i < p->m; i++) {
            const real *x = REALS(0) + i * p->ldx;
            real sum = 0;
            for (uint64_t l = 0; l < p->k; l++) sum += x[l] * numbers[l];
            put(p, REALS(2), i, j, sum);
        }
    }
}
#else
/* Codes are taken LANES words at a time, a group: of each word its first code, then its second, ..
 * For that x lies in the same order: of each group PARTS vectors, vector k with what is multiplied
 * by the k-th codes. Behind it are the sums of its blocks. ROWS: rows of x at one time; AHEAD:
 * words that are fetched before they are read. */
enum { LANES = 8, ROWS = 4, AHEAD = 256 };
typedef float v8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));
typedef uint32_t u8 __attribute__((vector_size(32)));

/* Codes of a word. */
INLINE uint32_t parts_of(uint32_t format)
{
    return format <= DART_PACKED_bf16 ? 2 : format == DART_PACKED_q8_0 ? 4 : 8;
}

INLINE bool adds_to_blocks(uint32_t format)
{
    return format == DART_PACKED_q4_0 || format == DART_PACKED_q4_1;
}

/* Numbers of a row of x as it is multiplied: whole groups; and its blocks, counted in LANES. */
static uint64_t arranged(const gemm_packed_params *p, uint32_t format)
{
    return dart_round_up(p->k, LANES * parts_of(format));
}

static uint64_t blocks_of(const gemm_packed_params *p, uint32_t format)
{
    return adds_to_blocks(format) ? dart_round_up(p->k / 32, LANES) : 0;
}

static void plan(cpu_work *work)
{
    PARAM(gemm_packed);
    const uint32_t format = work->tune[DART_GEMM_PACKED_FORMAT];
    plan_rows(work);
    work->tasks[1] = tasks_of(work);
    work->tasks[0] = work->tasks[1] ? 1 : 0;
    work->shared_bytes = (arranged(p, format) + blocks_of(p, format)) * p->m * sizeof(float);
}

/* Codes of four bits are not shifted down where they are multiplied, so the k-th is 16^k times as
 * large, and x is smaller instead; a shift frees the last from all others. */
static const float smaller[LANES] = {
    1, 0x1p-4f, 0x1p-8f, 0x1p-12f, 0x1p-16f, 0x1p-20f, 0x1p-24f, 1};

static void arrange(const cpu_work *work)
{
    PARAM(gemm_packed);
    const uint32_t format = work->tune[DART_GEMM_PACKED_FORMAT], parts = parts_of(format);
    const uint64_t row = arranged(p, format), blocks = blocks_of(p, format);
    float *to = (float *)(void *)work->scratch, *sums = to + row * p->m;
    memset(to, 0, (row + blocks) * p->m * sizeof *to);
    for (uint64_t i = 0; i < p->m; i++, to += row, sums += blocks) {
        const float *x = REALS(0) + i * p->ldx;
        uint64_t l = 0;
        for (; l + parts <= p->k; l += parts) {
            float *at = to + l / (LANES * parts) * LANES * parts + l / parts % LANES;
            for (uint32_t k = 0; k < parts; k++)
                at[k * LANES] = blocks ? x[l + k] * smaller[k] : x[l + k];
        }
        if (l < p->k) to[l / (LANES * parts) * LANES * parts + l / parts % LANES] = x[l];
        if (!blocks) continue;
        for (uint64_t b = 0; b < p->k / 32; b++) {
            float sum = 0;
            SIMD_SUM(sum) for (uint32_t k = 0; k < 32; k++) sum += x[32 * b + k];
            sums[b] = sum;
        }
    }
}

/* Halves, in the low bits of h, as numbers, exact. Subnormal ones are made without such floats, on
 * which some processors are slow. */
INLINE void halves_as_numbers(const u8 *h, v8 *out)
{
    const u8 rest = (*h & 0x7fff) << 13, sign = (*h & 0x8000) << 16;
    const u8 special = (u8)(rest >= 0x7c00u << 13) & 0x7f800000;
    const u8 small = (u8)(rest < 0x400u << 13);
    const v8 of_small = (v8)(rest + 0x38800000) - 0x1p-14f;
    *out = (v8)(((rest + 0x38000000) & ~small) | ((u8)of_small & small) | special | sign);
}

/* Numbers of the k-th codes of eight words; q8_0: 2^24 times them. */
INLINE void numbers_of(const u8 *words, uint32_t format, int k, v8 *out)
{
    const u8 w = *words;
    if (format == DART_PACKED_f16) {
        const u8 h = k ? w >> 16 : w & 0xffff;
        halves_as_numbers(&h, out);
    } else if (format == DART_PACKED_bf16) {
        *out = (v8)(k ? w & 0xffff0000 : w << 16);
    } else if (format == DART_PACKED_q8_0) {
        *out = __builtin_convertvector((i8)(w << (24 - 8 * k) & 0xff000000), v8);
    } else if (adds_to_blocks(format)) {
        *out = __builtin_convertvector((i8)(k == 7 ? w >> 28 : w & 15u << 4 * k), v8);
    } else {
        nf4_numbers((const uint32_t *)&w, 4 * k, (float *)out);
    }
}

/* Words of a row's scales from block b on, each of a block of its own, or 0 behind the last.
 * `more`: the matrix goes on behind this row, so that whole vectors can be read. */
INLINE void scale_words(uint32_t format, const integer *scales, uint64_t n, bool more, u8 *out)
{
    const bool words = format == DART_PACKED_q4_1 || format == DART_PACKED_nf4;
    uint32_t of[LANES] = {0};
    if (n >= LANES || more) {
        if (words)
            memcpy(of, scales, sizeof of);
        else
            for (uint64_t i = 0; i < LANES; i++) of[i] = half_at(scales, i);
    } else {
        for (uint64_t i = 0; i < n; i++) of[i] = words ? word(scales, i) : half_at(scales, i);
    }
    memcpy(out, of, sizeof *out);
    if (n < LANES) {
        const u8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
        *out &= (u8)(lane < (uint32_t)n);
    }
}

/* Scales of up to eight blocks from block b on, and what each adds to the codes' part of the
 * product. */
INLINE void scales_of(
    uint32_t format, const integer *scales, uint64_t blocks, uint64_t b, bool more, v8 *d, v8 *add)
{
    const uint64_t n = cpu_least(LANES, blocks - b);
    u8 all, half;
    if (format == DART_PACKED_nf4_double) {
        float of[LANES] = {0};
        for (uint64_t i = 0; i < n; i++) of[i] = double_scale(scales, blocks, b + i);
        memcpy(d, of, sizeof *d);
        return;
    }
    if (format == DART_PACKED_q4_1 || format == DART_PACKED_nf4)
        scale_words(format, scales + b, n, more, &all);
    else
        scale_words(format, scales + b / 2, n, more, &all);
    if (format == DART_PACKED_nf4) {
        *d = (v8)all;
        return;
    }
    half = all & 0xffff;
    halves_as_numbers(&half, d);
    half = all >> 16;
    if (format == DART_PACKED_q4_1) halves_as_numbers(&half, add);
    if (format == DART_PACKED_q4_0) *add = -8 * *d;
    if (format == DART_PACKED_q8_0) *d *= 0x1p-24f;
}

/* Adds a group times `rows` rows of x to `total`. */
INLINE void group_product(const u8 *words, uint32_t format, const v8 *scale, const float *x,
    uint64_t row, int rows, v8 *total)
{
    v8 sum[ROWS];
    for (int i = 0; i < rows; i++) sum[i] = (v8){0};
#pragma GCC unroll 8
    for (int k = 0; k < (int)parts_of(format); k++) {
        v8 number, of;
        numbers_of(words, format, k, &number);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            memcpy(&of, x + (uint64_t)i * row + k * LANES, sizeof of);
            sum[i] += number * of;
        }
    }
    for (int i = 0; i < rows; i++) total[i] += scale ? *scale * sum[i] : sum[i];
}

/* The products of a row of the matrix with `rows` rows of x. */
INLINE void row_product(const integer *w, const gemm_packed_params *p, uint32_t format,
    const float *x, const float *sums, bool more, int rows, float *out)
{
    const uint64_t row = arranged(p, format), padded = blocks_of(p, format);
    const uint64_t length = LANES * parts_of(format), groups = p->k / length;
    const uint32_t block = format <= DART_PACKED_bf16 ? 0 : format < DART_PACKED_nf4 ? 32 : 64;
    const uint64_t blocks = block ? p->k / block : 0, rest = p->k % length;
    /* groups whose scales are read at one time */
    const uint64_t together = block ? LANES * block / length : groups + 1;
    v8 total[ROWS], d = {0}, add = {0}, scale;
    for (int i = 0; i < rows; i++) total[i] = (v8){0};
    for (uint64_t g = 0; g * length < p->k; g += together) {
        const uint64_t b = block ? g * length / block : 0, end = cpu_least(groups, g + together);
        float each[LANES];
        if (block) scales_of(format, w + p->codes, blocks, b, more, &d, &add);
        if (adds_to_blocks(format))
            for (int i = 0; i < rows; i++) {
                memcpy(&scale, sums + (uint64_t)i * padded + b, sizeof scale);
                total[i] += add * scale;
            }
        memcpy(each, &d, sizeof each);
        for (uint64_t at = g; at < end; at++) {
            u8 words;
            /* rows are seldom whole lines, which keeps processors from reading ahead */
            if (block) __builtin_prefetch(w + at * LANES + AHEAD);
            memcpy(&words, w + at * LANES, sizeof words);
            if (adds_to_blocks(format)) {
                const float e = each[2 * (at - g)], f = each[2 * (at - g) + 1];
                scale = (v8){e, e, e, e, f, f, f, f};
            } else {
                scale = (v8){0} + each[(at - g) & (LANES - 1)];
            }
            group_product(&words, format, block ? &scale : NULL, x + at * length, row, rows, total);
        }
        if (rest && groups - g < together) { /* part of a group */
            u8 words;
            uint32_t last[LANES] = {0};
            memcpy(last, w + groups * LANES, (rest + parts_of(format) - 1) / parts_of(format) * 4);
            if (format <= DART_PACKED_bf16 && p->k % 2) last[rest / 2] &= 0xffff;
            memcpy(&words, last, sizeof words);
            scale = (v8){0} + each[2 * (groups - g) & (LANES - 1)];
            group_product(
                &words, format, block ? &scale : NULL, x + groups * length, row, rows, total);
        }
    }
    for (int i = 0; i < rows; i++) {
        float lane[LANES];
        memcpy(lane, &total[i], sizeof lane);
        out[i] = ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
                 ((lane[2] + lane[6]) + (lane[3] + lane[7]));
    }
}

INLINE void products(const cpu_work *work, uint64_t first, uint64_t end, uint32_t format)
{
    PARAM(gemm_packed);
    const uint64_t row = arranged(p, format), blocks = blocks_of(p, format);
    const float *x = (const float *)(const void *)work->scratch, *sums = x + row * p->m;
    for (uint64_t j = first; j < end; j++) {
        const integer *w = INTEGERS(1) + j * p->pitch;
        const bool more = j + 1 < p->n && p->pitch >= LANES;
        float out[ROWS];
        uint64_t i = 0;
        while (i < p->m) {
            const uint64_t left = p->m - i, n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
            const float *xi = x + i * row, *si = sums + i * blocks;
            if (n == 4)
                row_product(w, p, format, xi, si, more, 4, out);
            else if (n == 2)
                row_product(w, p, format, xi, si, more, 2, out);
            else
                row_product(w, p, format, xi, si, more, 1, out);
            for (uint64_t e = 0; e < n; e++) put(p, REALS(2), i++, j, out[e]);
        }
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)slot;
    PARAM(gemm_packed);
    const uint64_t first = (uint64_t)index * work->split[0];
    const uint64_t end = cpu_least(p->n, first + work->split[0]);
    if (!phase) {
        arrange(work);
        return;
    }
    switch (work->tune[DART_GEMM_PACKED_FORMAT]) {
#define PACKED(name, number, bits, block, scale_bits)                                              \
    case number:                                                                                   \
        products(work, first, end, number);                                                        \
        return;
#include "packed.def"
#undef PACKED
    }
}
#endif

const cpu_kernel CPU(kernel_gemm_packed) = {plan, task};
