/* Candidates of matrix products. */
#include "candidates_impl.h"
#include "provider.h"

/* ---- gemm ---- */

static void gemm_sizes(const dart_launch *launch, uint32_t size[DART_CLASS_SIZES])
{
    const gemm_params *p = (const gemm_params *)launch->param;
    size[0] = rounded(p->m);
    size[1] = rounded(p->n);
    size[2] = rounded(p->k);
    size[3] = rounded((uint64_t)p->batch0 * p->batch1 * p->batch2);
}

/* What a work-group makes, by variant; false: the constants are none of its own. */
static bool gemm_tile_of(uint32_t variant, const uint32_t *tune, uint64_t tile[2])
{
    const char *form = dart_kernel_feature(DART_K_gemm, variant);
    const uint32_t wgx = tune[0], wgy = tune[1], vw = tune[DART_GEMM_VW];
    const uint64_t tm = tune[DART_GEMM_TM], tn = tune[DART_GEMM_TN], down = tune[DART_GEMM_DOWN];
    const bool vectors = vw > 1;
    if (form && !strncmp(form, "matrix", 6)) {
        tile[0] = wgy * tm * (down & 255);
        tile[1] = vw * tn * (down >> 8 & 255);
        return tile[0] && tile[1];
    }
    if (!form || !tm || !tn || !vw || !wgx || !wgy) return false;
    tile[0] = wgy * tm;
    tile[1] = wgx * tn * vw;
    if (!*form) {
        if (down) {
            tile[0] = wgx * tm;
            tile[1] = wgy * tn * vw;
        }
        return down <= 1;
    }
    if (!strcmp(form, DART_PROVIDER)) {
        tile[0] = tile[1] = 0; /* its own affair */
        return true;
    }
    if (!strcmp(form, "dot")) {
        tile[1] = wgx * tn;
        return !down;
    }
    if (!strcmp(form, "panel")) {
        tile[0] = tm * down;
        return down >= 2 && (down & (down - 1)) == 0 && wgx * wgy == 1;
    }
    if (!strcmp(form, "rows")) return !vectors && !down && tm <= 4 && tn <= 4;
    if (!strcmp(form, "broadcast")) {
        tile[0] = down ? 4 * wgx : tm;
        tile[1] = down ? tm : 4 * wgx;
        return !vectors && down <= 1 && wgy == 1 && tn == 1 && tm % 4 == 0;
    }
    if (!strcmp(form, "pipelined"))
        return !vectors && down <= 3 && tm % 4 == 0 && tn % 4 == 0 && tm * tn <= 64;
    if (!strcmp(form, "shared"))
        return !vectors && !down && 16 * tm % wgx == 0 && 16 * tn % wgy == 0;
    return false;
}

/* Rows of the table have units of 16 x 16. */
static bool gemm_fill(const dart_caps *caps, const dart_class *class, dart_form *form)
{
    const uint32_t narrow = class->mode[DART_GEMM_NARROW];
    uint32_t *tune = form->tune;
    if (form->variant != dart_kernel_variant(DART_K_gemm, "matrix_f16")) return true;
    if (!narrow || narrow > 2 || !caps->matrix[narrow - 1].m) return false;
    const dart_matrix *unit = &caps->matrix[narrow - 1];
    if (narrow == 2) form->variant = dart_kernel_variant(DART_K_gemm, "matrix_bf16");
    tune[0] = tune[DART_GEMM_VW] * caps->matrix_lanes;
    tune[DART_GEMM_TM] *= 16 / unit->m;
    tune[DART_GEMM_TN] *= 16 / unit->n;
    tune[DART_GEMM_DOWN] = unit->m | unit->n << 8 | unit->k << 16 | tune[DART_GEMM_DOWN] << 24;
    return true;
}

/* Whether the constants of a form for matrix units are those of the device and of the launch. */
static bool matrix_holds(const dart_caps *caps, const dart_launch *launch)
{
    const uint32_t *tune = launch->tune, down = tune[DART_GEMM_DOWN];
    const dart_matrix unit = dart_gemm_matrix(caps, launch);
    const char *form = dart_kernel_feature(DART_K_gemm, launch->variant);
    return unit.m && !strcmp(form, tune[DART_GEMM_NARROW] == 1 ? "matrix_f16" : "matrix_bf16") &&
           (down & 0xffffff) == (unit.m | unit.n << 8 | unit.k << 16) &&
           !(down >> 24 & ~dart_gemm_fours(launch)) &&
           tune[0] == tune[DART_GEMM_VW] * caps->matrix_lanes;
}

static void gemm_tile(
    const dart_class *class, const dart_form *form, uint64_t tile[2], uint64_t of[2])
{
    if (!gemm_tile_of(form->variant, form->tune, tile)) tile[0] = tile[1] = UINT32_MAX;
    of[0] = class->size[0];
    of[1] = class->size[1];
}

static uint64_t gemm_groups(const dart_caps *caps, const dart_launch *launch)
{
    const gemm_params *p = (const gemm_params *)launch->param;
    const uint32_t vw = launch->tune[DART_GEMM_VW];
    uint64_t tile[2];
    if (!gemm_tile_of(launch->variant, launch->tune, tile)) return 0;
    if (!strncmp(dart_kernel_feature(DART_K_gemm, launch->variant), "matrix", 6))
        return !matrix_holds(caps, launch) ? 0
                                           : (uint64_t)p->batch0 * p->batch1 * p->batch2 *
                                                 ceil_div(p->m, tile[0]) * ceil_div(p->n, tile[1]);
    /* what stores a word of two halves has two columns; the panel's sums go through C */
    if (launch->tune[DART_GEMM_CH] && !(caps->simd > 1) &&
        (launch->tune[DART_GEMM_TN] % 2 ||
            launch->variant == dart_kernel_variant(DART_K_gemm, "dot")))
        return 0;
    if (launch->tune[DART_GEMM_CH] && p->k > 256 &&
        launch->variant == dart_kernel_variant(DART_K_gemm, "panel"))
        return 0;
    if (dart_provided(launch))
        return launch->tune[DART_GEMM_DOWN] == caps->blas && dart_provider_can(caps, launch);
    if (launch->variant == dart_kernel_variant(DART_K_gemm, "dot")) {
        if (launch->tune[DART_GEMM_TA] || !launch->tune[DART_GEMM_TB] || vw > p->k) return 0;
    } else if (vw > p->n) {
        return 0;
    }
    if (!dart_gemm_fours_hold(launch)) return 0;
    return (uint64_t)p->batch0 * p->batch1 * p->batch2 * ceil_div(p->m, tile[0]) *
           ceil_div(p->n, tile[1]);
}

#define GEMM(kinds, variant, wgx, wgy, tm, tn, vw, down)                                           \
    {                                                                                              \
        kinds, variant,                                                                            \
        {                                                                                          \
            wgx, wgy, [DART_GEMM_TM] = tm, [DART_GEMM_TN] = tn, [DART_GEMM_VW] = vw,               \
                      [DART_GEMM_DOWN] = down                                                      \
        }                                                                                          \
    }
static const candidate gemm_rows[] = {
    /* Mesa's processor: a work-group is one vector along the columns, or down the rows */
    GEMM(MESA, "", 8, 1, 32, 8, 1, 0),
    GEMM(MESA, "", 8, 1, 16, 16, 1, 0),
    GEMM(MESA, "", 8, 1, 16, 16, 1, 1),
    GEMM(MESA, "", 8, 1, 24, 8, 1, 0),
    GEMM(MESA, "", 8, 1, 32, 4, 1, 0),
    GEMM(MESA, "", 16, 1, 16, 8, 1, 0),
    GEMM(MESA, "", 8, 4, 16, 8, 1, 0),
    GEMM(MESA, "", 8, 1, 16, 8, 1, 0),
    GEMM(MESA, "", 8, 1, 8, 16, 1, 1),
    GEMM(MESA, "", 8, 1, 8, 8, 1, 0),
    GEMM(MESA, "", 8, 1, 8, 8, 1, 1),
    GEMM(MESA, "", 8, 1, 16, 4, 1, 0),
    GEMM(MESA, "", 8, 1, 4, 16, 1, 1),
    GEMM(MESA, "", 8, 1, 8, 4, 1, 0),
    GEMM(MESA, "", 8, 1, 4, 8, 1, 1),
    GEMM(MESA, "", 8, 1, 4, 4, 1, 0),
    GEMM(MESA, "", 8, 1, 4, 4, 1, 1),
    GEMM(MESA, "", 8, 1, 16, 2, 1, 0),
    GEMM(MESA, "", 8, 1, 2, 16, 1, 1),
    GEMM(MESA, "", 8, 1, 8, 2, 1, 0),
    GEMM(MESA, "", 8, 1, 2, 8, 1, 1),
    GEMM(MESA, "", 8, 1, 1, 8, 1, 0),
    GEMM(MESA, "", 8, 1, 8, 1, 1, 0),
    GEMM(MESA, "", 8, 1, 8, 1, 1, 1),
    GEMM(MESA, "", 8, 1, 2, 2, 1, 0),
    GEMM(MESA, "", 8, 1, 2, 2, 1, 1),
    GEMM(MESA, "", 8, 1, 1, 1, 1, 0),
    GEMM(MESA, "", 8, 1, 1, 1, 1, 1),
    /* processors with vectors that are spelled out */
    GEMM(VECTORS, "panel", 1, 1, 8, 2, SIMD, 32),
    GEMM(VECTORS, "panel", 1, 1, 8, 2, SIMD, 8),
    GEMM(VECTORS, "panel", 1, 1, 8, 2, SIMD, 2),
    GEMM(VECTORS, "panel", 1, 1, 4, 4, SIMD, 8),
    GEMM(VECTORS, "panel", 1, 1, 4, 2, SIMD, 32),
    GEMM(VECTORS, "panel", 1, 1, 4, 2, SIMD, 8),
    GEMM(VECTORS, "panel", 1, 1, 8, 1, SIMD, 8),
    GEMM(VECTORS, "panel", 1, 1, 8, 2, HALF, 8),
    GEMM(VECTORS, "", 1, 1, 8, 2, SIMD, 0),
    GEMM(VECTORS, "", 1, 1, 4, 4, SIMD, 0),
    GEMM(VECTORS, "", 1, 1, 4, 2, SIMD, 0),
    GEMM(VECTORS, "", 1, 1, 8, 1, SIMD, 0),
    GEMM(VECTORS, "", 1, 1, 2, 4, SIMD, 0),
    GEMM(VECTORS, "", 1, 1, 1, 4, SIMD, 0),
    GEMM(VECTORS, "", 1, 1, 8, 2, HALF, 0),
    GEMM(VECTORS, "", 1, 1, 8, 1, 4, 0),
    GEMM(VECTORS, "dot", 1, 1, 4, 4, SIMD, 0),
    GEMM(VECTORS, "dot", 1, 1, 2, 4, SIMD, 0),
    GEMM(VECTORS, "dot", 1, 1, 1, 4, SIMD, 0),
    GEMM(VECTORS, "dot", 1, 1, 1, 8, SIMD, 0),
    /* matrix units, where products may be rounded */
    GEMM(GPU, "matrix_f16", 0, 2, 2, 2, 2, 3),
    GEMM(GPU, "matrix_f16", 0, 2, 2, 2, 2, 2),
    GEMM(GPU, "matrix_f16", 0, 2, 2, 2, 2, 1),
    GEMM(GPU, "matrix_f16", 0, 2, 2, 2, 2, 0),
    GEMM(GPU, "matrix_f16", 0, 4, 2, 4, 2, 3),
    GEMM(GPU, "matrix_f16", 0, 4, 2, 4, 2, 2),
    GEMM(GPU, "matrix_f16", 0, 2, 4, 4, 2, 3),
    GEMM(GPU, "matrix_f16", 0, 2, 4, 2, 2, 3),
    GEMM(GPU, "matrix_f16", 0, 2, 2, 1, 2, 3),
    GEMM(GPU, "matrix_f16", 0, 2, 1, 1, 2, 3),
    GEMM(GPU, "matrix_f16", 0, 2, 1, 1, 2, 0),
    GEMM(GPU, "matrix_f16", 0, 4, 2, 1, 1, 3),
    GEMM(GPU, "matrix_f16", 0, 4, 1, 1, 1, 3),
    GEMM(GPU, "matrix_f16", 0, 1, 1, 2, 4, 3),
    GEMM(GPU, "matrix_f16", 0, 1, 1, 1, 4, 3),
    /* a library, by its version */
    GEMM(MESA | VECTORS | GPU, DART_PROVIDER, 1, 1, 1, 1, 1, BLAS),
    /* GPUs: tiles in shared memory that are filled ahead, skinny products with scalar loads, tiles
     * in shared memory one at a time, then in registers alone, then without arrays */
    GEMM(GPU, "pipelined", 16, 16, 8, 8, 1, 3),
    GEMM(GPU, "pipelined", 16, 16, 8, 8, 1, 2),
    GEMM(GPU, "pipelined", 16, 16, 8, 8, 1, 0),
    GEMM(GPU, "pipelined", 16, 8, 8, 8, 1, 3),
    GEMM(GPU, "pipelined", 16, 8, 8, 8, 1, 2),
    GEMM(GPU, "pipelined", 8, 16, 8, 8, 1, 3),
    GEMM(GPU, "pipelined", 8, 16, 8, 8, 1, 2),
    GEMM(GPU, "pipelined", 16, 8, 8, 4, 1, 3),
    GEMM(GPU, "pipelined", 16, 8, 8, 4, 1, 2),
    GEMM(GPU, "pipelined", 16, 8, 8, 4, 1, 1),
    GEMM(GPU, "pipelined", 16, 8, 8, 4, 1, 0),
    GEMM(GPU, "pipelined", 8, 16, 8, 4, 1, 3),
    GEMM(GPU, "pipelined", 4, 32, 4, 4, 1, 3),
    GEMM(GPU, "pipelined", 4, 32, 8, 4, 1, 3),
    GEMM(GPU, "pipelined", 32, 4, 4, 4, 1, 3),
    GEMM(GPU, "pipelined", 32, 4, 4, 8, 1, 3),
    GEMM(GPU, "broadcast", 64, 1, 16, 1, 1, 0),
    GEMM(GPU, "broadcast", 64, 1, 16, 1, 1, 1),
    GEMM(GPU, "broadcast", 64, 1, 8, 1, 1, 0),
    GEMM(GPU, "broadcast", 64, 1, 8, 1, 1, 1),
    GEMM(GPU, "broadcast", 64, 1, 4, 1, 1, 0),
    GEMM(GPU, "broadcast", 64, 1, 4, 1, 1, 1),
    GEMM(GPU, "shared", 16, 16, 8, 8, 1, 0),
    GEMM(GPU, "shared", 16, 16, 8, 4, 1, 0),
    GEMM(GPU, "shared", 16, 16, 4, 4, 1, 0),
    GEMM(GPU, "shared", 16, 8, 8, 4, 1, 0),
    GEMM(GPU, "shared", 8, 8, 8, 8, 1, 0),
    GEMM(GPU, "shared", 16, 8, 4, 4, 1, 0),
    GEMM(GPU, "shared", 8, 8, 4, 4, 1, 0),
    GEMM(GPU, "shared", 16, 8, 4, 2, 1, 0),
    GEMM(GPU, "shared", 16, 8, 2, 2, 1, 0),
    GEMM(GPU, "shared", 8, 16, 8, 2, 1, 0),
    GEMM(GPU, "shared", 8, 16, 4, 2, 1, 0),
    GEMM(GPU, "shared", 16, 8, 2, 8, 1, 0),
    GEMM(GPU, "shared", 16, 8, 2, 4, 1, 0),
    GEMM(GPU, "", 8, 8, 8, 4, 1, 0),
    GEMM(GPU, "", 8, 8, 4, 4, 1, 0),
    GEMM(GPU, "", 16, 8, 4, 4, 1, 0),
    GEMM(GPU, "", 8, 8, 2, 4, 1, 0),
    GEMM(GPU, "", 8, 8, 2, 2, 1, 0),
    GEMM(GPU, "", 8, 8, 1, 1, 1, 0),
    GEMM(GPU, "", 64, 1, 4, 4, 1, 0),
    GEMM(GPU, "", 64, 1, 4, 1, 1, 0),
    GEMM(GPU, "", 64, 1, 1, 1, 1, 0),
    GEMM(GPU, "", 1, 64, 1, 4, 1, 0),
    GEMM(GPU, "", 1, 64, 1, 1, 1, 0),
    GEMM(GPU, "rows", 8, 8, 4, 4, 1, 0),
    GEMM(GPU, "rows", 8, 8, 2, 4, 1, 0),
    GEMM(GPU, "rows", 8, 8, 4, 2, 1, 0),
};

/* ---- gemm_packed ---- */

static void packed_sizes(const dart_launch *launch, uint32_t size[DART_CLASS_SIZES])
{
    const gemm_packed_params *p = (const gemm_packed_params *)launch->param;
    size[0] = rounded(p->m);
    size[1] = rounded(p->n);
    size[2] = rounded(p->k);
}

static void packed_tile(
    const dart_class *class, const dart_form *form, uint64_t tile[2], uint64_t of[2])
{
    const uint32_t *tune = form->tune;
    tile[0] = tune[DART_GEMM_PACKED_TM];
    tile[1] = (uint64_t)(tune[0] / tune[DART_GEMM_PACKED_ALONG]) * tune[DART_GEMM_PACKED_TN];
    of[0] = class->size[0];
    of[1] = class->size[1];
}

static uint64_t packed_groups(const dart_caps *caps, const dart_launch *launch)
{
    const gemm_packed_params *p = (const gemm_packed_params *)launch->param;
    const uint32_t *tune = launch->tune;
    const uint32_t tm = tune[DART_GEMM_PACKED_TM], tn = tune[DART_GEMM_PACKED_TN];
    const uint32_t along = tune[DART_GEMM_PACKED_ALONG];
    (void)caps;
    if (!tm || !tn || !along || tune[0] % along || along > p->k / 8) return 0;
    return ceil_div(p->m, tm) * ceil_div(p->n, (uint64_t)(tune[0] / along) * tn);
}

#define PACKED(kinds, variant, wgx, along, tm, tn, vw)                                             \
    {                                                                                              \
        kinds, variant,                                                                            \
        {                                                                                          \
            wgx, 1, [DART_GEMM_PACKED_ALONG] = along, [DART_GEMM_PACKED_TM] = tm,                  \
                    [DART_GEMM_PACKED_VW] = vw, [DART_GEMM_PACKED_TN] = tn                         \
        }                                                                                          \
    }
static const candidate packed_rows[] = {
    PACKED(MESA, "", 8, 1, 8, 4, 1),
    PACKED(MESA, "", 8, 1, 4, 4, 1),
    PACKED(MESA, "", 8, 1, 2, 4, 1),
    PACKED(MESA, "", 8, 1, 1, 4, 1),
    PACKED(MESA, "", 8, 1, 4, 2, 1),
    PACKED(MESA, "", 8, 1, 1, 2, 1),
    PACKED(MESA, "", 8, 1, 1, 8, 1),
    PACKED(VECTORS, "block", 1, 1, 8, 4, 16),
    PACKED(VECTORS, "block", 1, 1, 4, 4, 16),
    PACKED(VECTORS, "block", 1, 1, 4, 4, 8),
    PACKED(VECTORS, "block", 1, 1, 4, 2, 16),
    PACKED(VECTORS, "block", 1, 1, 2, 4, 16),
    PACKED(VECTORS, "block", 1, 1, 1, 4, 16),
    PACKED(VECTORS, "block", 1, 1, 1, 4, 8),
    PACKED(VECTORS, "block", 1, 1, 1, 2, 16),
    PACKED(GPU, "", 64, 32, 8, 1, 1),
    PACKED(GPU, "", 64, 32, 4, 1, 1),
    PACKED(GPU, "", 64, 32, 1, 1, 1),
    PACKED(GPU, "", 64, 32, 1, 2, 1),
    PACKED(GPU, "", 64, 64, 1, 1, 1),
    PACKED(GPU, "", 64, 64, 1, 2, 1),
    PACKED(GPU, "", 64, 16, 8, 1, 1),
    PACKED(GPU, "", 64, 16, 1, 1, 1),
    PACKED(GPU, "", 64, 8, 1, 1, 1),
    PACKED(GPU, "", 128, 32, 1, 1, 1),
    PACKED(GPU, "", 32, 32, 1, 1, 1),
};

const tunable dart_tunable_gemm = {
    {"m", "n", "k", "batch"}, gemm_sizes, gemm_fill, gemm_tile, gemm_groups, ROWS_OF(gemm_rows)};
const tunable dart_tunable_gemm_packed = {
    {"m", "n", "k"}, packed_sizes, NULL, packed_tile, packed_groups, ROWS_OF(packed_rows)};
