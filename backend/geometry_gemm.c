/* The tune table of matrix products: tiles by kind of device and by the compilers that have to keep
 * them in registers. */
#include "provider.h"
#include "shaper.h"

/* Eight numbers of a row at a time: on Mesa's processor each lane rows of its own, on a GPU
 * neighbours side by side. Through OpenCL a processor takes whole blocks as vectors. Four rows on a
 * processor share what is read of x. */
void dart_shape_gemm_packed(shaper *s)
{
    const gemm_packed_params *p = (const gemm_packed_params *)s->launch->param;
    uint32_t wgx = 1, along = 1, most = 4, tn = 4;
    if (has_vectors(s) && !s->simpler) {
        s->launch->variant = variant_of(s, "block");
        tune_set(s, "VW", s->caps->simd < 16 ? 8 : 16);
    } else if (s->caps->on_cpu) {
        wgx = group_limit(s, 8);
    } else {
        tn = 1;
        wgx = group_limit(s, 64);
        along = floor_pow2(min_u32(min_u32(p->k / 8, wgx), 32));
        /* V3D: as for gemm; the eight numbers stay in memory there */
        most = s->caps->vendor == DART_VENDOR_BROADCOM ? 2 : 8;
    }
    uint32_t tm = 1;
    while (tm < p->m && tm < most) tm *= 2;
    tune_set(s, "WGX", wgx);
    tune_set(s, "ALONG", along);
    tune_set(s, "TM", tm);
    tune_set(s, "TN", tn);
    s->groups = ceil_div(p->m, tm) * ceil_div(p->n, wgx / along * tn);
}

/* The tile of gemm on Mesa's processor driver. There a load costs one step a lane wherever the
 * lanes look, so that a tile pays ten units for each of its rows and columns at each step along k
 * and one for each product; its vectors are the x axis of a work-group. Few shapes, as each is a
 * compilation; the first that is within a fifth of the best is taken. */
static void tile_gemm_mesa(
    const shaper *s, uint64_t batches, uint32_t lanes, uint32_t *tm, uint32_t *tn, uint32_t *down)
{
    static const struct {
        uint32_t tm, tn, down;
    } tiles[] = {{16, 8, 0}, {8, 16, 1}, {8, 8, 0}, {8, 8, 1}, {4, 4, 0}, {4, 4, 1}, {1, 8, 0},
        {8, 1, 1}, {1, 1, 0}, {1, 1, 1}};
    enum { TILES = sizeof tiles / sizeof *tiles };
    const gemm_params *p = (const gemm_params *)s->launch->param;
    uint64_t cost[TILES], least = UINT64_MAX;
    for (uint32_t i = 0; i < TILES; i++) {
        uint32_t high = tiles[i].tm, wide = tiles[i].tn;
        uint64_t rows = (uint64_t)high * (tiles[i].down ? lanes : 1);
        uint64_t columns = (uint64_t)wide * (tiles[i].down ? 1 : lanes);
        uint64_t groups = batches * ceil_div(p->m, rows) * ceil_div(p->n, columns);
        cost[i] = ceil_div(groups, threads_of(s)) * (10 * (high + wide) + high * wide);
        if (cost[i] < least) least = cost[i];
    }
    uint32_t best = 0;
    while (cost[best] > least + least / 5) best++;
    *tm = tiles[best].tm;
    *tn = tiles[best].tn;
    *down = tiles[best].down;
}

/* The most rows, and the most columns, that an invocation makes of a tile in shared memory, by what
 * compilers do with it (`dart-llm kernels`; compiled, not measured). With 8 Intel's for OpenCL goes
 * back from threads of 16 invocations to such of 8, which Mesa's for Vulkan does not; on AMD's
 * oldest, which have 32 KiB, 2 or 3 of 10 waves are left, with 4 at least 4. */
static uint32_t most_of(const dart_caps *caps)
{
    const bool igc = caps->vendor == DART_VENDOR_INTEL && strstr(caps->api, "NEO");
    const bool oldest = caps->vendor == DART_VENDOR_AMD && caps->max_shared <= 32768;
    return igc || oldest ? 4 : 8;
}

/* Whether a word and the next of a matrix's neighbours may be read as one vector from a multiple of
 * four words on, in each matrix of the batch. */
static bool in_fours(uint32_t along, uint32_t ld, const uint32_t count[3], const uint32_t step[3])
{
    uint32_t all = along | ld;
    for (int d = 0; d < 3; d++)
        if (count[d] > 1) all |= step[d];
    return along && all % 4 == 0;
}

uint32_t dart_gemm_fours(const dart_launch *launch)
{
    const gemm_params *p = (const gemm_params *)launch->param;
    const uint32_t count[3] = {p->batch0, p->batch1, p->batch2};
    const uint32_t a[3] = {p->a0, p->a1, p->a2}, b[3] = {p->b0, p->b1, p->b2};
    const bool in_a = in_fours(launch->tune[DART_GEMM_TA] ? p->m : p->k, p->lda, count, a);
    const bool in_b = in_fours(launch->tune[DART_GEMM_TB] ? p->k : p->n, p->ldb, count, b);
    return (in_a ? 1 : 0) | (in_b ? 2 : 0);
}

bool dart_gemm_fours_hold(const dart_launch *launch)
{
    const char *form = dart_kernel_feature(DART_K_gemm, launch->variant);
    const uint32_t down = launch->tune[DART_GEMM_DOWN], fours = dart_gemm_fours(launch);
    const bool pipelined = !strcmp(form, "pipelined");
    if (!pipelined && strcmp(form, "broadcast") != 0) return true;
    if (!dart_gemm_plain(launch)) return false;
    if (pipelined) return !(down & ~fours);
    return fours == 3 && (down ? launch->tune[DART_GEMM_TA] == 1 : launch->tune[DART_GEMM_TB] == 0);
}

typedef struct gemm_tile {
    uint32_t wgx, wgy, tm, tn;
} gemm_tile;

/* Work-groups that leave no unit idle. */
static uint64_t enough_groups(const shaper *s)
{
    return threads_of(s) < 8 ? 16 : 2 * (uint64_t)threads_of(s);
}

/* Products that are worth a tile in shared memory. */
static bool worth_sharing(const shaper *s)
{
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const uint32_t narrow = min_u32(p->m, p->n), broad = p->m > p->n ? p->m : p->n;
    return !s->caps->slow_shared && p->k >= 16 && narrow >= 4 && broad >= (narrow > 16 ? 32 : 64);
}

/* The form whose tiles are filled ahead, where a compiler says that it is better (NOTES.md;
 * compiled, not measured): AMD's GPUs with 64 KiB of shared memory, where two pairs of tiles leave
 * at least 4 waves, and Intel's through Mesa, if all is read in fours. A tile of 64 x 64, and for
 * what is at most 16 wide one of 128 x 16, if its long operand may be read in fours; others where
 * there would be few. */
static bool shape_gemm_pipelined(shaper *s, uint64_t batches)
{
    enum { SIZES = 2 };
    static const gemm_tile square[2][SIZES] = {
        {{16, 8, 8, 4}, {8, 8, 4, 4}}, {{16, 16, 4, 4}, {8, 8, 4, 4}}};
    static const gemm_tile tall = {4, 32, 4, 4}, flat = {32, 4, 4, 4};
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const uint8_t variant = variant_of(s, "pipelined");
    const bool amd = s->caps->vendor == DART_VENDOR_AMD;
    const bool intel = s->caps->vendor == DART_VENDOR_INTEL && !strstr(s->caps->api, "NEO");
    const uint32_t fours = dart_gemm_fours(s->launch), narrow = min_u32(p->m, p->n);
    const bool skinny = narrow <= 16;
    const uint32_t wanted = intel ? 3 : !skinny ? 0 : p->n == narrow ? 1 : 2;
    if (!variant || !(amd || intel) || s->caps->max_shared < 65536 || !worth_sharing(s))
        return false;
    /* word by word its addresses cost more than those of a single pair of tiles */
    if (!fours || (fours & wanted) != wanted || !dart_gemm_plain(s->launch)) return false;
    for (int size = 0; size < (skinny ? 1 : SIZES); size++) {
        gemm_tile t = !skinny ? square[intel][size] : p->n == narrow ? tall : flat;
        if (!skinny && p->m <= 32 && t.wgy * t.tm > 32) *(t.tm > 4 ? &t.tm : &t.wgy) /= 2;
        if (!skinny && p->n <= 32 && t.wgx * t.tn > 32) t.wgx /= 2;
        const uint64_t groups =
            batches * ceil_div(p->m, t.wgy * t.tm) * ceil_div(p->n, t.wgx * t.tn);
        if (group_limit(s, t.wgx * t.wgy) < t.wgx * t.wgy || groups < enough_groups(s)) continue;
        s->launch->variant = variant;
        tune_set(s, "WGX", t.wgx);
        tune_set(s, "WGY", t.wgy);
        tune_set(s, "TM", t.tm);
        tune_set(s, "TN", t.tn);
        tune_set(s, "DOWN", fours);
        s->groups = groups;
        return true;
    }
    return false;
}

dart_matrix dart_gemm_matrix(const dart_caps *caps, const dart_launch *launch)
{
    static const dart_matrix none = {0};
    const uint32_t narrow = launch->tune[DART_GEMM_NARROW];
    const uint32_t a = launch->tune[DART_GEMM_AH], b = launch->tune[DART_GEMM_BH];
    if (!narrow || narrow > 2 || caps->on_cpu || caps->simd > 1) return none;
    if ((a && a != narrow) || (b && b != narrow)) return none;
    return caps->matrix[narrow - 1];
}

/* The form for matrix units: the largest tile of which there are enough, 128 x 128 by eight
 * subgroups first, as it reads least; narrow ones where the result is narrow. Results with fewer
 * than 8 rows or columns are left to others, and short sums, which are their loads. */
static bool shape_gemm_matrix(shaper *s, uint64_t batches)
{
    static const struct {
        uint32_t high, wide, wgy, vw;
    } tiles[] = {{128, 128, 4, 2}, {64, 64, 2, 2}, {64, 32, 2, 2}, {32, 32, 2, 2}, {128, 16, 4, 1},
        {64, 16, 4, 1}, {16, 128, 1, 4}, {16, 64, 1, 4}};
    static const uint32_t from[] = {0, 4, 6, 8};
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const dart_matrix unit = dart_gemm_matrix(s->caps, s->launch);
    const uint32_t narrow = min_u32(p->m, p->n), lanes = s->caps->matrix_lanes;
    const int kind = narrow > 16 ? 0 : p->n == narrow ? 1 : 2;
    if (s->simpler || !unit.m || narrow < 8 || p->k < 16) return false;
    /* Arc's before Xe2 were up to a thousand times slower than its other units (llama.cpp 24404):
     * there they have to be measured first (candidates_gemm.c) */
    if (s->caps->vendor == DART_VENDOR_INTEL && lanes < 16) return false;
    for (uint32_t i = from[kind]; i < from[kind + 1]; i++) {
        const uint32_t wgy = tiles[i].wgy, vw = tiles[i].vw;
        const uint32_t tm = tiles[i].high / wgy / unit.m, tn = tiles[i].wide / vw / unit.n;
        const uint64_t groups =
            batches * ceil_div(p->m, tiles[i].high) * ceil_div(p->n, tiles[i].wide);
        const bool last = i + 1 == from[kind + 1];
        dart_launch *launch = s->launch;
        if (!tm || !tn || (!last && groups < enough_groups(s))) continue;
        dart_launch trial = *launch;
        trial.variant = variant_of(s, tune_of(s, "NARROW") == 1 ? "matrix_f16" : "matrix_bf16");
        trial.tune[0] = vw * lanes;
        trial.tune[1] = wgy;
        trial.tune[DART_GEMM_TM] = tm;
        trial.tune[DART_GEMM_TN] = tn;
        trial.tune[DART_GEMM_VW] = vw;
        trial.tune[DART_GEMM_DOWN] =
            unit.m | unit.n << 8 | unit.k << 16 | dart_gemm_fours(launch) << 24;
        const uint32_t shared = dart_kernel_shared(DART_K_gemm, trial.variant, trial.tune);
        if (s->caps->max_invocations && vw * lanes * wgy > s->caps->max_invocations) continue;
        if (s->caps->max_shared && shared > s->caps->max_shared) continue;
        *launch = trial;
        s->groups = groups;
        return true;
    }
    return false;
}

/* The form of gemm with tiles in shared memory, for GPUs: work-groups of 128 with tiles of 64 x 64,
 * or 128 x 16 and 16 x 128 for the skinny products of tensor trains; smaller ones where the matrix
 * ends, or where there would be few tiles for the device's units. */
static bool shape_gemm_shared(shaper *s, uint64_t batches)
{
    enum { SIZES = 3 };
    static const gemm_tile square[SIZES] = {{16, 8, 8, 4}, {16, 8, 4, 2}, {16, 8, 2, 2}},
                           tall[SIZES] = {{8, 16, 8, 2}, {8, 16, 4, 2}, {8, 16, 2, 2}},
                           flat[SIZES] = {{16, 8, 2, 8}, {16, 8, 2, 4}, {16, 8, 2, 2}};
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const uint8_t variant = variant_of(s, "shared");
    const uint32_t most = most_of(s->caps);
    const uint32_t narrow = min_u32(p->m, p->n);
    if (!variant || !worth_sharing(s)) return false;
    const gemm_tile *tile = narrow > 16 ? square : p->n == narrow ? tall : flat;
    uint64_t groups = 0;
    for (int small = 0; small < SIZES && groups < enough_groups(s); small++) {
        const gemm_tile *t = &tile[small];
        uint32_t tm = min_u32(t->tm, tile == square && p->m <= 32 ? 4 : most);
        uint32_t tn = min_u32(t->tn, tile == square && p->n <= 32 ? 2 : most);
        tune_set(s, "WGX", t->wgx);
        tune_set(s, "WGY", t->wgy);
        tune_set(s, "TM", tm);
        tune_set(s, "TN", tn);
        groups = batches * ceil_div(p->m, t->wgy * tm) * ceil_div(p->n, t->wgx * tn);
    }
    uint32_t shared = dart_kernel_shared(DART_K_gemm, variant, s->launch->tune);
    if (group_limit(s, 128) < 128 || (s->caps->max_shared && shared > s->caps->max_shared))
        return false;
    s->launch->variant = variant;
    s->groups = groups;
    return true;
}

/* An invocation makes both halves of a word of C through Vulkan. */
static uint32_t even_columns(const shaper *s, uint32_t tn)
{
    return tune_of(s, "CH") && tn % 2 ? tn + 1 : tn;
}

/* The tile of gemm on V3D, whose driver in Mesa keeps arrays of more than two words in memory, and
 * with them the sums of a tile: 28 words an invocation for 4 x 4. In the form without arrays 2 x 4
 * leave the most threads, four, to a unit, and 4 x 4 two (`dart-llm kernels`; compiled, not
 * measured). */
static void tile_gemm_v3d(shaper *s, uint64_t batches, uint64_t fill, uint32_t *tm, uint32_t *tn)
{
    const gemm_params *p = (const gemm_params *)s->launch->param;
    if (s->simpler) { /* the portable form */
        *tm = min_u32(*tm, 2);
        *tn = *tm == 1 ? min_u32(*tn, 2) : 1;
        return;
    }
    s->launch->variant = variant_of(s, "rows");
    *tm = p->n < 4 ? 4 : 2;
    *tn = p->n < 4 ? 2 : 4;
    while (*tm > p->m) *tm /= 2;
    while (*tn > p->n) *tn /= 2;
    while (*tm * *tn > 1 && batches * ceil_div(p->m, *tm) * ceil_div(p->n, *tn) < fill)
        *(*tn >= *tm ? tn : tm) /= 2;
}

/* gemm on a processor whose vectors are spelled out: 8 rows x 2 vectors fill the registers of
 * AVX-512 and NEON, 4 x 2 those of AVX2. One row, or few columns of a transposed B, as dot
 * products; what is high enough to pay for it reads op(B) from a panel. */
static void shape_gemm_vectors(shaper *s, uint64_t batches)
{
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const uint32_t ta = tune_of(s, "TA"), tb = tune_of(s, "TB"), threads = threads_of(s);
    const uint32_t simd = floor_pow2(min_u32(s->caps->simd, 16));
    const bool dot =
        !s->simpler && ta == 0 && tb == 1 && p->k >= simd && (p->m <= 8 || p->n < simd);
    const uint32_t vw = dot || p->n >= simd ? simd : p->n >= 4 ? 4 : 1, columns = dot ? 1 : vw;
    uint32_t tm = p->m == 1 ? 1 : p->m <= 4 || dot || simd == 8 ? 4 : 8, down = 0;
    const uint32_t tn = p->n <= columns ? 1 : dot ? 4 : 2;
    const uint64_t others = batches * ceil_div(p->n, tn * columns);
    const char *form = dot ? "dot" : "";
    const bool in_parts = tune_of(s, "CH") && p->k > 256; /* the panel's sums go through C */
    if (tm == 8 && others * ceil_div(p->m, tm) < threads) tm = 4;
    if (!dot && !s->simpler && !in_parts && p->m > tm && (tb == 1 || p->k >= 64)) {
        const uint32_t enough = 4 * threads;
        form = "panel";
        down = others * ceil_div(p->m, (uint64_t)tm * 32) >= enough  ? 32
               : others * ceil_div(p->m, (uint64_t)tm * 8) >= enough ? 8
                                                                     : 2;
    }
    s->launch->variant = variant_of(s, form);
    tune_set(s, "WGX", 1);
    tune_set(s, "WGY", 1);
    tune_set(s, "TM", tm);
    tune_set(s, "TN", tn);
    tune_set(s, "VW", vw);
    tune_set(s, "DOWN", down);
    s->groups = others * ceil_div(p->m, (uint64_t)tm * (down ? down : 1));
}

/* Tiles of gemm: on a GPU without enough work for shared memory 4 x 4 an invocation, less where
 * that would leave most of the device without work. */
void dart_shape_gemm(shaper *s)
{
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const uint64_t batches = (uint64_t)p->batch0 * p->batch1 * p->batch2;
    uint32_t wgx = 1, wgy = 1, tm = 4, tn = 4, down = 0;
    if (s->simpler > 1) tm = tn = s->simpler == 2 ? 2 : 1;
    if (has_vectors(s)) {
        shape_gemm_vectors(s, batches);
        return;
    }
    if (s->caps->on_cpu) {
        wgx = group_limit(s, 8);
        tile_gemm_mesa(s, batches, wgx, &tm, &tn, &down);
    } else {
        if (shape_gemm_matrix(s, batches) || shape_gemm_pipelined(s, batches) ||
            shape_gemm_shared(s, batches))
            return;
        uint32_t lanes = group_limit(s, 64);
        uint64_t fill = (uint64_t)threads_of(s) * 128;
        while (tm > 1 && (batches * ceil_div(p->m, tm) * ceil_div(p->n, tn) < fill ||
                             (p->m < tm && p->n < tn)))
            tm = tn = tm / 2;
        if (p->m == 1 || p->n == 1) {
            tm = p->m == 1 ? 1 : tm;
            tn = p->n == 1 ? 1 : tn;
        }
        if (s->caps->vendor == DART_VENDOR_BROADCOM) tile_gemm_v3d(s, batches, fill, &tm, &tn);
        wgx = lanes >= 64 && p->n > 2 * tn && p->m > 2 * tm ? 8 : p->n > 2 * tn ? lanes : 1;
        wgy = lanes / wgx;
    }
    tn = even_columns(s, tn);
    tune_set(s, "WGX", wgx);
    tune_set(s, "WGY", wgy);
    tune_set(s, "TM", tm);
    tune_set(s, "TN", tn);
    tune_set(s, "DOWN", down);
    uint64_t rows = (uint64_t)tm * (down ? wgx : wgy);
    uint64_t across = (uint64_t)tn * (down ? wgy : wgx);
    s->groups = batches * ceil_div(p->m, rows) * ceil_div(p->n, across);
}
