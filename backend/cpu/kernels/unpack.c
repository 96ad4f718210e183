/* unpack: rows of a packed matrix as numbers (shaders/packed.def). */
#include "kernel.h"
#include "packed.h"
#include <string.h>

static void plan(cpu_work *work)
{
    PARAM(unpack);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

/* A half as a number, exact. */
static real number_of_f16(uint32_t h)
{
    const uint32_t rest = h & 0x7fff;
    const uint32_t pattern = rest >= 0x7c00 ? 0x7f800000 | rest << 13 : (rest << 13) + 0x38000000;
    float x;
    memcpy(&x, &pattern, sizeof x);
    if (rest < 0x400) x = (float)rest * 0x1p-24f;
    return (real)(h & 0x8000 ? -x : x);
}

static real number_of_bits(uint32_t pattern)
{
    float x;
    memcpy(&x, &pattern, sizeof x);
    return (real)x;
}

static uint32_t word(const integer *w, uint64_t i)
{
    return (uint32_t)w[i];
}

/* Parts of words; where words are no longer than on devices, read as they lie in memory (least byte
 * first), which compilers turn into vector code. */
#ifdef DART_F64
static uint32_t half_at(const integer *w, uint64_t i)
{
    return word(w, i / 2) >> i % 2 * 16 & 0xffff;
}

static int32_t byte_at(const integer *w, uint64_t i)
{
    return (int8_t)(uint8_t)(word(w, i / 4) >> i % 4 * 8);
}
#else
static uint32_t half_at(const integer *w, uint64_t i)
{
    typedef uint16_t __attribute__((may_alias)) halves;
    return ((const halves *)(const void *)w)[i];
}

static int32_t byte_at(const integer *w, uint64_t i)
{
    return ((const signed char *)(const void *)w)[i];
}
#endif

static void halves(const integer *w, uint64_t n, real *y)
{
    SIMD for (uint64_t i = 0; i < n; i++) y[i] = number_of_f16(half_at(w, i));
}

static void bfloats(const integer *w, uint64_t n, real *y)
{
    SIMD for (uint64_t i = 0; i < n; i++) y[i] = number_of_bits(half_at(w, i) << 16);
}

static void eights(const integer *w, real d, real *y)
{
    SIMD for (uint32_t i = 0; i < 32; i++) y[i] = d * (real)byte_at(w, i);
}

/* d (code - least) + m, 8 of each word. */
static void fours(const integer *w, real d, int32_t least, real m, real *y)
{
    for (uint32_t i = 0; i < 4; i++)
        SIMD for (uint32_t k = 0; k < 8; k++) y[8 * i + k] =
            d * (real)((int32_t)(word(w, i) >> 4 * k & 15) - least) + m;
}

static const real nf4[16] = {
#define NF4(code, value) value,
#include "packed.def"
#undef NF4
};

#if defined DART_F64 || !defined __AVX2__ || defined __clang__
static void normals(const integer *w, real d, real *y)
{
    for (uint32_t i = 0; i < 64; i++) y[i] = d * nf4[word(w, i / 8) >> i % 8 * 4 & 15];
}
#else
/* Eight codes at a time look up both halves of the values, each a permutation of a vector (GCC's
 * __builtin_shuffle): four times as fast. */
static void normals(const integer *w, real d, real *y)
{
    typedef float v8 __attribute__((vector_size(32)));
    typedef int32_t i8 __attribute__((vector_size(32)));
    typedef uint32_t u8 __attribute__((vector_size(32)));
    const u8 shift = {0, 4, 8, 12, 16, 20, 24, 28};
    v8 low, high;
    memcpy(&low, nf4, sizeof low);
    memcpy(&high, nf4 + 8, sizeof high);
    for (uint32_t i = 0; i < 8; i++) {
        const u8 all = {0};
        const u8 code = (all + word(w, i)) >> shift;
        const i8 at = (i8)(code & 7);
        const i8 upper = (code & 8) != 0;
        const v8 a = __builtin_shuffle(low, at), b = __builtin_shuffle(high, at);
        v8 x = (v8)(((i8)a & ~upper) | ((i8)b & upper));
        x *= d;
        memcpy(y + 8 * i, &x, sizeof x);
    }
}
#endif

/* The scale of block b of nf4_double; scales: behind the row's codes. */
static real double_scale(const integer *scales, uint64_t blocks, uint64_t b)
{
    const uint32_t both = word(scales, (blocks + 3) / 4 + b / DART_NF4_GROUP);
    const uint32_t code = word(scales, b / 4) >> b % 4 * 8 & 0xff;
    return number_of_f16(both >> 16) + number_of_f16(both & 0xffff) * (real)code;
}

static void unpack_row(uint32_t format, const integer *w, uint64_t codes, uint64_t n, real *y)
{
    const integer *scales = w + codes;
    const uint64_t blocks = n / 32;
    switch (format) {
    case DART_PACKED_f16:
        halves(w, n, y);
        return;
    case DART_PACKED_bf16:
        bfloats(w, n, y);
        return;
    case DART_PACKED_q8_0:
        for (uint64_t b = 0; b < blocks; b++)
            eights(w + 8 * b, number_of_f16(half_at(scales, b)), y + 32 * b);
        return;
    case DART_PACKED_q4_0:
        for (uint64_t b = 0; b < blocks; b++)
            fours(w + 4 * b, number_of_f16(half_at(scales, b)), 8, 0, y + 32 * b);
        return;
    case DART_PACKED_q4_1:
        for (uint64_t b = 0; b < blocks; b++)
            fours(w + 4 * b, number_of_f16(word(scales, b) & 0xffff), 0,
                number_of_f16(word(scales, b) >> 16), y + 32 * b);
        return;
    case DART_PACKED_nf4:
        for (uint64_t b = 0; b < n / 64; b++)
            normals(w + 8 * b, number_of_bits(word(scales, b)), y + 64 * b);
        return;
    default:
        for (uint64_t b = 0; b < n / 64; b++)
            normals(w + 8 * b, double_scale(scales, n / 64, b), y + 64 * b);
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(unpack);
    const bool by_id = work->tune[DART_UNPACK_BY_ID] != 0;
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const integer id = by_id ? INTEGERS(0)[r] - (integer)p->first : (integer)r;
        real *y = REALS(2) + r * n;
        if (id >= 0 && (uint64_t)id < p->total)
            unpack_row(work->tune[DART_UNPACK_FORMAT], INTEGERS(1) + (uint64_t)id * p->pitch,
                p->codes, n, y);
        else if (p->first == 0)
            memset(y, 0, n * sizeof *y);
    }
}

const cpu_kernel CPU(kernel_unpack) = {plan, task};
