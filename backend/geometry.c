/* The shipped tune table: for each kernel, the work-group, the tile and the number of work-groups
 * by kind of device. Three kinds: processors through OpenCL (caps.simd > 1: one invocation a
 * work-group, explicit vectors, so that barriers cost nothing), other devices on the host's
 * processor (lavapipe: a work-group is one subgroup), GPUs. */
#include "geometry.h"
#include <string.h>

typedef struct shaper {
    const dart_caps *caps;
    dart_launch *launch;
    const dart_kernel_info *info;
    uint64_t groups;  /* all axes; folded over two of them at the end */
    uint32_t simpler; /* dart_launch_simpler */
} shaper;

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Largest power of two that is at most x; 1 for 0. */
static uint32_t floor_pow2(uint32_t x)
{
    uint32_t p = 1;
    while (p <= x / 2) p *= 2;
    return p;
}

/* The number of a form beside the portable one; that one where the driver wants simpler texts. */
static uint8_t variant_of(const shaper *s, const char *feature)
{
    return s->simpler ? 0 : (uint8_t)dart_kernel_variant(s->launch->kernel, feature);
}

static uint32_t tune_of(const shaper *s, const char *name)
{
    for (uint32_t i = 0; i < s->info->tunes; i++)
        if (strcmp(s->info->tune_name[i], name) == 0) return s->launch->tune[i];
    return 0;
}

static void tune_set(shaper *s, const char *name, uint32_t value)
{
    for (uint32_t i = 0; i < s->info->tunes; i++)
        if (strcmp(s->info->tune_name[i], name) == 0) s->launch->tune[i] = value;
}

static bool has_vectors(const shaper *s)
{
    return s->caps->simd > 1;
}

static uint32_t threads_of(const shaper *s)
{
    return s->caps->threads ? s->caps->threads : 1;
}

static uint32_t group_limit(const shaper *s, uint32_t wanted)
{
    uint32_t most = s->caps->max_invocations ? s->caps->max_invocations : wanted;
    return floor_pow2(min_u32(wanted, most));
}

/* Work-group of a kernel that folds `depth` rows of `cols` words in one work-group. On Mesa's
 * processor driver a work-group is one vector of 8, more only where an invocation would come near
 * the loop iterations after which that driver leaves every loop. */
static void shape_rows(shaper *s, uint64_t rows, uint32_t cols, uint32_t depth)
{
    s->groups = rows;
    if (has_vectors(s)) {
        tune_set(s, "WGX", 1);
        uint32_t vw = floor_pow2(min_u32(s->caps->simd, 16));
        tune_set(s, "VW", cols < vw ? 1 : vw);
    } else {
        uint32_t wanted = floor_pow2(cols / 2);
        wanted = s->caps->on_cpu ? 8 : wanted < 32 ? 32 : min_u32(wanted, 128);
        while (s->caps->max_loop && wanted < 256 &&
               (uint64_t)depth * 4 * cols / wanted > s->caps->max_loop / 2)
            wanted *= 2;
        tune_set(s, "WGX", group_limit(s, wanted));
    }
}

static void shape_row(shaper *s, uint64_t rows, uint32_t cols)
{
    shape_rows(s, rows, cols, 1);
}

/* Kernels in which each invocation walks over items in strides of the whole grid. On lavapipe
 * sixteen items an invocation halve the time: starting a work-group costs as much as 64 words. */
static void shape_stride(shaper *s, uint64_t items)
{
    uint32_t wgx = group_limit(s, 64), per = s->caps->on_cpu && !has_vectors(s) ? 16 : 1;
    tune_set(s, "WGX", wgx);
    s->groups = ceil_div(items, (uint64_t)wgx * per);
    if (s->groups > 65535) s->groups = 65535;
}

static void shape_map(shaper *s)
{
    const map_params *p = (const map_params *)s->launch->param;
    uint32_t wgx = group_limit(s, 64), per = s->caps->on_cpu ? 16 : 4, vw = 1;
    if (has_vectors(s)) {
        uint32_t simd = floor_pow2(min_u32(s->caps->simd, 16)), bc = tune_of(s, "BC");
        if (p->n >= simd && (bc == 0 || (bc == 1 && p->bmod % simd == 0))) {
            vw = simd;
            wgx = 1;
            per = 64;
        }
    }
    tune_set(s, "WGX", wgx);
    tune_set(s, "PER", per);
    tune_set(s, "VW", vw);
    s->groups = ceil_div(p->n, (uint64_t)wgx * per * vw);
}

/* A processor copies whole runs of the last dim: PoCL 10x, lavapipe 2x faster than by single words.
 */
static void shape_permute(shaper *s)
{
    const permute_params *p = (const permute_params *)s->launch->param;
    const uint32_t dims[] = {p->dim0, p->dim1, p->dim2, p->dim3, p->dim4};
    uint32_t unused = 0;
    while (unused < 5 && dims[unused] == 1) unused++;
    tune_set(s, "DIMS", 6 - unused);
    uint32_t run = 1, last = p->dim5 ? p->dim5 : 1;
    if (s->caps->on_cpu)
        while (run < 64 && run < last && p->n / run > 64 * threads_of(s)) run *= 2;
    tune_set(s, "RUN", run);
    shape_stride(s, (uint64_t)(p->n / last) * ceil_div(last, run));
}

static void shape_gather(shaper *s)
{
    const gather_params *p = (const gather_params *)s->launch->param;
    shape_stride(s, (uint64_t)p->rows * p->cols);
}

static void shape_unpack(shaper *s)
{
    const unpack_params *p = (const unpack_params *)s->launch->param;
    if (has_vectors(s) && !s->simpler) {
        s->launch->variant = variant_of(s, "block");
        tune_set(s, "WGX", 1);
        tune_set(s, "VW", s->caps->simd < 16 ? 8 : 16);
        s->groups = p->rows < 65535 ? p->rows : 65535;
        return;
    }
    shape_stride(s, p->rows * ceil_div(p->cols, 8));
}

/* Eight numbers of a row at a time: on Mesa's processor each lane rows of its own, on a GPU
 * neighbours side by side. Through OpenCL a processor takes whole blocks as vectors. Four rows on a
 * processor share what is read of x. */
static void shape_gemm_packed(shaper *s)
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
        most = 8;
    }
    uint32_t tm = 1;
    while (tm < p->m && tm < most) tm *= 2;
    tune_set(s, "WGX", wgx);
    tune_set(s, "ALONG", along);
    tune_set(s, "TM", tm);
    tune_set(s, "TN", tn);
    s->groups = ceil_div(p->m, tm) * ceil_div(p->n, wgx / along * tn);
}

static void shape_scatter(shaper *s)
{
    const scatter_params *p = (const scatter_params *)s->launch->param;
    shape_stride(s, (uint64_t)p->count * p->cols);
}

static void shape_rope(shaper *s)
{
    const rope_params *p = (const rope_params *)s->launch->param;
    shape_stride(s, (uint64_t)p->batch * p->time * p->heads * (p->dim / 2));
}

static void shape_cache_write(shaper *s)
{
    const cache_write_params *p = (const cache_write_params *)s->launch->param;
    shape_stride(s, (uint64_t)p->batch * p->time * p->cols);
}

/* Loop iterations of one invocation of attend, where a loop of n takes n + 1: keys in chunks, lanes
 * share the keys of a chunk for the scores and the columns for the sum of values. */
static uint64_t attend_rounds(const attend_params *p, uint32_t wgx)
{
    enum { CHUNK = 64, FOLDS = 24 };
    uint64_t chunk =
        ceil_div(CHUNK, wgx) * (p->dim + 4ull) + ceil_div(p->dim, wgx) * (CHUNK + 2ull) + FOLDS;
    return ceil_div(p->span, CHUNK) * chunk + 2 * ceil_div(p->dim, wgx) + 4;
}

static void shape_attend(shaper *s)
{
    const attend_params *p = (const attend_params *)s->launch->param;
    s->groups = (uint64_t)p->batch * p->time * p->heads;
    if (has_vectors(s)) {
        uint32_t vw = floor_pow2(min_u32(s->caps->simd, 16));
        tune_set(s, "WGX", 1);
        tune_set(s, "VW", p->dim < vw ? 1 : vw);
        return;
    }
    uint32_t wanted = s->caps->on_cpu ? 8 : 64;
    while (s->caps->max_loop && wanted < 128 && attend_rounds(p, wanted) > s->caps->max_loop / 2)
        wanted *= 2;
    tune_set(s, "WGX", group_limit(s, wanted));
}

/* Tiles of attention and its gradients: `own` queries or keys are made, `dim` columns of them by
 * the x axis of a work-group, 32 on a GPU, where 16 KiB of shared memory hold all that goes with
 * them. */
static void shape_attention_tiles(shaper *s, uint64_t matrices, uint32_t own, uint32_t dim)
{
    const bool alone = s->caps->lone;
    uint32_t wgx = alone ? 1 : s->caps->on_cpu || dim <= 64 ? 8 : 16;
    uint32_t wgy = alone || s->caps->on_cpu ? 1 : 8, tm = alone ? 2 : s->caps->on_cpu ? 8 : 4;
    const uint32_t lanes = group_limit(s, 128), enough = 2 * threads_of(s);
    while (wgx * wgy > lanes) *(wgy > 1 ? &wgy : &wgx) /= 2;
    if (s->simpler > 1) tm = 1;
    while (!alone && !s->caps->on_cpu && tm > 1 && matrices * ceil_div(own, wgy * tm) < enough)
        tm /= 2;
    /* eights where each length would be a compilation of seconds */
    const uint32_t td = (uint32_t)(alone ? dart_round_up(dim, 8) : ceil_div(dim, wgx));
    const uint32_t tn = wgx > 8 ? 2 : 4;
    tune_set(s, "WGX", wgx);
    tune_set(s, "WGY", wgy);
    tune_set(s, "TM", tm);
    tune_set(s, "TN", tn);
    tune_set(s, "TD", td);
    tune_set(s, "KS", min_u32(floor_pow2(1024 / (wgx * td)), min_u32(16, wgx * tn)));
    s->groups = matrices * ceil_div(own, wgy * tm);
}

/* Loop iterations of one invocation that reads `read` keys or queries, counted as above; back: of
 * the gradients, which multiply twice. */
static uint64_t attention_rounds(const shaper *s, uint64_t read, uint32_t dim, bool back)
{
    const uint64_t wgx = tune_of(s, "WGX"), lanes = wgx * tune_of(s, "WGY"), ks = tune_of(s, "KS");
    const uint64_t rows = (uint64_t)tune_of(s, "WGY") * tune_of(s, "TM");
    const uint64_t cols = wgx * tune_of(s, "TN");
    const uint64_t columns = 11 + ceil_div(8 * rows, lanes) + ceil_div(8 * cols, lanes);
    const uint64_t product = cols / ks * (ks + ceil_div(ks * wgx * tune_of(s, "TD"), lanes) + 3);
    const uint64_t step =
        ceil_div(dim, 8) * columns + product * (back ? 2 : 1) + 2 * wgx + cols + 8;
    return ceil_div(read, cols) * (step + ceil_div(cols, lanes)) + 2 * rows + 2 * dim / wgx + 16;
}

static void shape_attention(shaper *s)
{
    const attention_params *p = (const attention_params *)s->launch->param;
    shape_attention_tiles(s, (uint64_t)p->batch * p->heads, p->time, p->dim);
}

static void shape_attention_dx(shaper *s)
{
    const attention_dx_params *p = (const attention_dx_params *)s->launch->param;
    const bool keys = tune_of(s, "PART") != 0;
    shape_attention_tiles(
        s, (uint64_t)p->batch * (keys ? p->kv : p->heads), keys ? p->span : p->time, p->dim);
}

static void shape_dropout(shaper *s)
{
    shape_stride(s, ceil_div(((const dropout_params *)s->launch->param)->n, 4));
}

static void shape_uniform(shaper *s)
{
    shape_stride(s, ceil_div(((const uniform_params *)s->launch->param)->n, 4));
}

static void shape_adamw(shaper *s)
{
    shape_stride(s, ((const adamw_params *)s->launch->param)->n);
}

static void shape_axpy_scalar(shaper *s)
{
    shape_stride(s, ((const axpy_scalar_params *)s->launch->param)->n);
}

static void shape_clip(shaper *s)
{
    s->groups = 1;
}

static void shape_norm(shaper *s)
{
    const norm_params *p = (const norm_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

static void shape_norm_dx(shaper *s)
{
    const norm_dx_params *p = (const norm_dx_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

static void shape_norm_dw(shaper *s)
{
    const norm_dw_params *p = (const norm_dw_params *)s->launch->param;
    shape_rows(s, p->chunks, p->cols, p->per);
}

static void shape_softmax(shaper *s)
{
    const softmax_params *p = (const softmax_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

static void shape_softmax_lengths(shaper *s)
{
    const softmax_lengths_params *p = (const softmax_lengths_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

static void shape_softmax_starts(shaper *s)
{
    const softmax_starts_params *p = (const softmax_starts_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

static void shape_softmax_dx(shaper *s)
{
    const softmax_dx_params *p = (const softmax_dx_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

static void shape_cross_entropy(shaper *s)
{
    const cross_entropy_params *p = (const cross_entropy_params *)s->launch->param;
    shape_row(s, p->rows, p->valid);
}

static void shape_cross_entropy_dx(shaper *s)
{
    const cross_entropy_dx_params *p = (const cross_entropy_dx_params *)s->launch->param;
    shape_row(s, p->rows, p->cols);
}

/* Loop iterations of one invocation of spd_fn in 12 sweeps that all rotate, counted as above: of
 * each pair the inner products of its rows, then a rotation; at the end columns of y. */
static uint64_t spd_fn_rounds(const spd_fn_params *p, uint32_t wgx, uint32_t un)
{
    enum { SWEEPS = 12, FOLDS = 24 };
    const uint64_t players = p->n + p->n % 2, row = ceil_div(p->n, 4 * un) + 1;
    const uint64_t round = 2 + ceil_div(players / 2, wgx) * (1 + 2 * row);
    const uint64_t matrix = ceil_div((uint64_t)p->n * p->n, wgx), lines = ceil_div(p->n, wgx);
    return SWEEPS * (players * round + FOLDS) + matrix * (3 + row) + lines * (p->n + 5ull) + 16;
}

static void shape_spd_fn(shaper *s)
{
    const spd_fn_params *p = (const spd_fn_params *)s->launch->param;
    shape_row(s, p->batch, p->n);
    if (has_vectors(s)) {
        tune_set(s, "UN", 1);
        return;
    }
    uint32_t pairs = 8; /* one invocation a pair of rows */
    while (pairs * 2 < p->n && pairs < 128) pairs *= 2;
    tune_set(s, "WGX", group_limit(s, pairs));
    if (s->caps->max_loop) tune_set(s, "UN", p->n > 128 ? 12 : 4);
}

static void shape_reduce(shaper *s)
{
    const reduce_params *p = (const reduce_params *)s->launch->param;
    uint64_t outputs = (uint64_t)p->outer * p->chunks * p->inner;
    uint32_t vw = has_vectors(s) ? floor_pow2(min_u32(s->caps->simd, 16)) : 1;
    uint32_t length = min_u32(p->per, p->mid);
    bool enough = outputs >= (uint64_t)threads_of(s) * (s->caps->on_cpu ? 4 : 256);
    /* lanes of a GPU read neighbours where there are enough of them side by side */
    const bool beside = !s->caps->on_cpu && !has_vectors(s) && p->inner >= 32;
    bool across = p->inner == 1 ? length >= 2 * vw : !enough && length >= 64 && !beside;
    tune_set(s, "ACROSS", across);
    if (across) {
        shape_row(s, outputs, p->inner == 1 ? length : 1);
        if (p->inner != 1 && !has_vectors(s) && !s->caps->on_cpu)
            tune_set(s, "WGX", group_limit(s, 64));
        return;
    }
    if (p->inner < vw) vw = 1;
    uint32_t wgx = group_limit(s, vw > 1 ? 1 : s->caps->on_cpu ? 8 : 64);
    tune_set(s, "WGX", wgx);
    tune_set(s, "VW", vw);
    s->groups = ceil_div((uint64_t)p->outer * p->chunks * ceil_div(p->inner, vw), wgx);
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

/* The form of gemm with tiles in shared memory, for GPUs: work-groups of 128 with tiles of 64 x 64,
 * or 128 x 16 and 16 x 128 for the skinny products of tensor trains; smaller ones where the matrix
 * ends, or where there would be few tiles for the device's units. */
static bool shape_gemm_shared(shaper *s, uint64_t batches)
{
    typedef struct gemm_tile {
        uint32_t wgx, wgy, tm, tn;
    } gemm_tile;
    enum { SIZES = 3 };
    static const gemm_tile square[SIZES] = {{16, 8, 8, 4}, {16, 8, 4, 2}, {16, 8, 2, 2}},
                           tall[SIZES] = {{8, 16, 8, 2}, {8, 16, 4, 2}, {8, 16, 2, 2}},
                           flat[SIZES] = {{16, 8, 2, 8}, {16, 8, 2, 4}, {16, 8, 2, 2}};
    const gemm_params *p = (const gemm_params *)s->launch->param;
    const uint8_t variant = variant_of(s, "shared");
    uint32_t narrow = min_u32(p->m, p->n), broad = p->m > p->n ? p->m : p->n;
    if (!variant || s->caps->slow_shared || p->k < 16 || narrow < 4 ||
        broad < (narrow > 16 ? 32 : 64))
        return false;
    const gemm_tile *tile = narrow > 16 ? square : p->n == narrow ? tall : flat;
    uint64_t enough = threads_of(s) < 8 ? 16 : 2 * (uint64_t)threads_of(s), groups = 0;
    for (int small = 0; small < SIZES && groups < enough; small++) {
        const gemm_tile *t = &tile[small];
        uint32_t tm = tile == square && p->m <= 32 ? min_u32(t->tm, 4) : t->tm;
        uint32_t tn = tile == square && p->n <= 32 ? 2 : t->tn;
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
    if (tm == 8 && others * ceil_div(p->m, tm) < threads) tm = 4;
    if (!dot && !s->simpler && p->m > tm && (tb == 1 || p->k >= 64)) {
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
static void shape_gemm(shaper *s)
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
        if (shape_gemm_shared(s, batches)) return;
        uint32_t lanes = group_limit(s, 64);
        uint64_t fill = (uint64_t)threads_of(s) * 128;
        while (tm > 1 && (batches * ceil_div(p->m, tm) * ceil_div(p->n, tn) < fill ||
                             (p->m < tm && p->n < tn)))
            tm = tn = tm / 2;
        if (p->m == 1 || p->n == 1) {
            tm = p->m == 1 ? 1 : tm;
            tn = p->n == 1 ? 1 : tn;
        }
        wgx = lanes >= 64 && p->n > 2 * tn && p->m > 2 * tm ? 8 : p->n > 2 * tn ? lanes : 1;
        wgy = lanes / wgx;
    }
    tune_set(s, "WGX", wgx);
    tune_set(s, "WGY", wgy);
    tune_set(s, "TM", tm);
    tune_set(s, "TN", tn);
    tune_set(s, "DOWN", down);
    uint64_t rows = (uint64_t)tm * (down ? wgx : wgy);
    uint64_t across = (uint64_t)tn * (down ? wgy : wgx);
    s->groups = batches * ceil_div(p->m, rows) * ceil_div(p->n, across);
}

static void (*const shape_of[DART_KERNELS])(shaper *) = {
#define K(name) [DART_K_##name] = shape_##name,
#include "kernels_list.inc"
#undef K
};

static dart_status check_limit(const shaper *s, const char *what, uint64_t needed, uint64_t limit)
{
    if (!limit || needed <= limit) return DART_OK;
    return dart_fail(DART_DEVICE,
        "kernel %s needs %llu %s, the device %s allows %llu: choose another device", s->info->name,
        (unsigned long long)needed, what, s->caps->name, (unsigned long long)limit);
}

static dart_status shape(const dart_caps *caps, uint32_t simpler, dart_launch *launch)
{
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    shaper s = {.caps = caps, .launch = launch, .info = info, .groups = 1, .simpler = simpler};
    launch->buffers = info->buffers;
    launch->tunes = info->tunes;
    launch->param_bytes = info->param_bytes;
    launch->variant = 0;
    for (uint32_t i = 0; i < info->tunes; i++)
        if (!(info->modes >> i & 1)) launch->tune[i] = info->tune_default[i];
    shape_of[launch->kernel](&s);

    if (s.groups == 0)
        return dart_fail(DART_FAILED,
            "kernel %s was launched on an empty tensor; the planner should "
            "have removed it",
            info->name);
    uint64_t most = caps->max_groups[0] ? caps->max_groups[0] : UINT32_MAX;
    uint64_t rest = caps->max_groups[1] ? caps->max_groups[1] : UINT32_MAX;
    uint64_t along = s.groups < most ? s.groups : most, across = ceil_div(s.groups, along);
    if (across > rest || s.groups > INT32_MAX)
        return dart_fail(DART_DEVICE,
            "kernel %s needs %llu work-groups, the device %s allows %llu; "
            "use a smaller batch",
            info->name, (unsigned long long)s.groups, caps->name,
            (unsigned long long)(most * rest));
    launch->groups[0] = (uint32_t)along;
    launch->groups[1] = (uint32_t)across;
    launch->groups[2] = 1;
    DART_TRY(check_limit(&s, "invocations in a work-group",
        (uint64_t)launch->tune[0] * launch->tune[1], caps->max_invocations));
    DART_TRY(check_limit(&s, "bytes of work-group memory",
        dart_kernel_shared(launch->kernel, launch->variant, launch->tune), caps->max_shared));
    if (launch->kernel == DART_K_gemm) {
        const gemm_params *p = (const gemm_params *)launch->param;
        const bool shared = launch->variant == dart_kernel_variant(DART_K_gemm, "shared");
        DART_TRY(check_limit(&s, "loop iterations along k",
            (uint64_t)p->k + (shared ? p->k / 16 : 0) + 16, caps->max_loop));
    }
    if (launch->kernel == DART_K_gemm_packed)
        DART_TRY(check_limit(&s, "loop iterations along k",
            ((const gemm_packed_params *)launch->param)->k / 8 /
                    launch->tune[DART_GEMM_PACKED_ALONG] +
                16ull,
            caps->max_loop));
    if (launch->kernel == DART_K_attend && !has_vectors(&s))
        DART_TRY(check_limit(&s, "loop iterations for this context",
            attend_rounds((const attend_params *)launch->param, launch->tune[0]), caps->max_loop));
    if (launch->kernel == DART_K_attention) {
        const attention_params *p = (const attention_params *)launch->param;
        DART_TRY(check_limit(&s, "loop iterations for this context",
            attention_rounds(&s, p->span, p->dim, false), caps->max_loop));
    }
    if (launch->kernel == DART_K_attention_dx) {
        const attention_dx_params *p = (const attention_dx_params *)launch->param;
        const uint64_t queries = (uint64_t)p->time * (p->heads / p->kv);
        DART_TRY(check_limit(&s, "loop iterations for this context",
            attention_rounds(&s, tune_of(&s, "PART") ? queries : p->span, p->dim, true),
            caps->max_loop));
    }
    if (launch->kernel == DART_K_spd_fn && !has_vectors(&s))
        DART_TRY(check_limit(&s, "loop iterations for this rank",
            spd_fn_rounds((const spd_fn_params *)launch->param, launch->tune[0],
                launch->tune[DART_SPD_FN_UN]),
            caps->max_loop));
    DART_TRY(check_limit(&s, "buffers", info->buffers, caps->max_buffers));
    return check_limit(
        &s, "bytes of parameters", info->param_bytes + DART_PLACE_BYTES, caps->max_params);
}

dart_status dart_launch_geometry(const dart_caps *caps, dart_launch *launch)
{
    return shape(caps, 0, launch);
}

dart_status dart_launch_simpler(const dart_caps *caps, uint32_t simpler, dart_launch *launch)
{
    dart_caps less = *caps;
    if (simpler > 1) {
        const uint32_t group = 64u >> 2 * (simpler - 2);
        if (!less.max_invocations || less.max_invocations > group) less.max_invocations = group;
        less.simd = 0;
        less.on_cpu = false; /* its tiles are made for one driver */
    }
    return shape(&less, simpler, launch);
}
