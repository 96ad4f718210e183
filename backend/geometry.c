/* The shipped tune table: for each kernel, the work-group, the tile and the number of work-groups
 * by kind of device; of matrix products in geometry_gemm.c. Three kinds: processors through OpenCL
 * (caps.simd > 1: one invocation a work-group, explicit vectors, so that barriers cost nothing),
 * other devices on the host's processor (lavapipe: a work-group is one subgroup), GPUs. */
#include "geometry.h"
#include "candidates.h"
#include "shaper.h"
#include <ctype.h>
#include <string.h>

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
    /* without vectors an invocation makes both halves of a word */
    const uint32_t wide = vw == 1 && tune_of(s, "YH") ? 2 : vw;
    s->groups = ceil_div(p->n, (uint64_t)wgx * per * wide);
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

static void shape_pack(shaper *s)
{
    const pack_params *p = (const pack_params *)s->launch->param;
    if (has_vectors(s)) {
        const uint32_t vw = floor_pow2(min_u32(s->caps->simd, 16));
        tune_set(s, "WGX", 1);
        tune_set(s, "VW", vw);
        s->groups = ceil_div(p->n, (uint64_t)vw * 64);
        if (s->groups > 65535) s->groups = 65535;
        return;
    }
    shape_stride(s, ceil_div(p->n, 2));
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
static void shape_attention_tiles(
    shaper *s, uint64_t matrices, uint32_t own, uint32_t dim, bool keys)
{
    const bool alone = s->caps->lone;
    uint32_t wgx = alone ? 1 : s->caps->on_cpu || dim <= 64 ? 8 : 16;
    uint32_t wgy = alone || s->caps->on_cpu ? 1 : 8, tm = alone ? 2 : s->caps->on_cpu ? 8 : 4;
    const dart_vendor vendor = s->caps->vendor;
    /* GCN: three waves on a SIMD instead of two; Intel: no spills (keys have two sums) */
    if (!alone && (vendor == DART_VENDOR_AMD || vendor == DART_VENDOR_INTEL) && !s->caps->on_cpu)
        wgy = 16, tm = vendor == DART_VENDOR_INTEL && keys ? 1 : 2;
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
    shape_attention_tiles(s, (uint64_t)p->batch * p->heads, p->time, p->dim, false);
}

static void shape_attention_dx(shaper *s)
{
    const attention_dx_params *p = (const attention_dx_params *)s->launch->param;
    const bool keys = tune_of(s, "PART") != 0;
    shape_attention_tiles(
        s, (uint64_t)p->batch * (keys ? p->kv : p->heads), keys ? p->span : p->time, p->dim, keys);
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

static void shape_fma_rate(shaper *s)
{
    const fma_rate_params *p = (const fma_rate_params *)s->launch->param;
    const uint32_t wgx = has_vectors(s) ? 1 : group_limit(s, s->caps->on_cpu ? 8 : 64);
    const uint32_t vw = has_vectors(s) ? floor_pow2(min_u32(s->caps->simd, 16)) : 1;
    tune_set(s, "WGX", wgx);
    tune_set(s, "VW", vw);
    s->groups = ceil_div(p->n, (uint64_t)wgx * vw);
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

static void shape_gemm(shaper *s)
{
    dart_shape_gemm(s);
}

static void shape_gemm_packed(shaper *s)
{
    dart_shape_gemm_packed(s);
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

/* Groups on the axes, and whether the caps allow all of it. */
static dart_status finish(const shaper *s)
{
    const dart_caps *caps = s->caps;
    const dart_kernel_info *info = s->info;
    dart_launch *launch = s->launch;
    if (s->groups == 0)
        return dart_fail(DART_FAILED,
            "kernel %s was launched on an empty tensor; the planner should "
            "have removed it",
            info->name);
    uint64_t most = caps->max_groups[0] ? caps->max_groups[0] : UINT32_MAX;
    uint64_t rest = caps->max_groups[1] ? caps->max_groups[1] : UINT32_MAX;
    uint64_t along = s->groups < most ? s->groups : most, across = ceil_div(s->groups, along);
    if (across > rest || s->groups > INT32_MAX)
        return dart_fail(DART_DEVICE,
            "kernel %s needs %llu work-groups, the device %s allows %llu; "
            "use a smaller batch",
            info->name, (unsigned long long)s->groups, caps->name,
            (unsigned long long)(most * rest));
    launch->groups[0] = (uint32_t)along;
    launch->groups[1] = (uint32_t)across;
    launch->groups[2] = 1;
    DART_TRY(check_limit(s, "invocations in a work-group",
        (uint64_t)launch->tune[0] * launch->tune[1], caps->max_invocations));
    DART_TRY(check_limit(s, "bytes of work-group memory",
        dart_kernel_shared(launch->kernel, launch->variant, launch->tune), caps->max_shared));
    if (launch->kernel == DART_K_gemm) {
        const gemm_params *p = (const gemm_params *)launch->param;
        const char *form = dart_kernel_feature(DART_K_gemm, launch->variant);
        const uint32_t depth = !strcmp(form, "shared") ? 16 : !strcmp(form, "pipelined") ? 8 : 0;
        DART_TRY(check_limit(s, "loop iterations along k",
            (uint64_t)p->k + (depth ? p->k / depth : 0) + 16, caps->max_loop));
    }
    if (launch->kernel == DART_K_fma_rate)
        DART_TRY(check_limit(s, "loop iterations",
            ((const fma_rate_params *)launch->param)->rounds + 1ull, caps->max_loop));
    if (launch->kernel == DART_K_gemm_packed)
        DART_TRY(check_limit(s, "loop iterations along k",
            ((const gemm_packed_params *)launch->param)->k / 8 /
                    launch->tune[DART_GEMM_PACKED_ALONG] +
                16ull,
            caps->max_loop));
    if (launch->kernel == DART_K_attend && !has_vectors(s))
        DART_TRY(check_limit(s, "loop iterations for this context",
            attend_rounds((const attend_params *)launch->param, launch->tune[0]), caps->max_loop));
    if (launch->kernel == DART_K_attention) {
        const attention_params *p = (const attention_params *)launch->param;
        DART_TRY(check_limit(s, "loop iterations for this context",
            attention_rounds(s, p->span, p->dim, false), caps->max_loop));
    }
    if (launch->kernel == DART_K_attention_dx) {
        const attention_dx_params *p = (const attention_dx_params *)launch->param;
        const uint64_t queries = (uint64_t)p->time * (p->heads / p->kv);
        DART_TRY(check_limit(s, "loop iterations for this context",
            attention_rounds(s, tune_of(s, "PART") ? queries : p->span, p->dim, true),
            caps->max_loop));
    }
    if (launch->kernel == DART_K_spd_fn && !has_vectors(s))
        DART_TRY(check_limit(s, "loop iterations for this rank",
            spd_fn_rounds((const spd_fn_params *)launch->param, launch->tune[0],
                launch->tune[DART_SPD_FN_UN]),
            caps->max_loop));
    DART_TRY(check_limit(s, "buffers", info->buffers, caps->max_buffers));
    return check_limit(
        s, "bytes of parameters", info->param_bytes + DART_PLACE_BYTES, caps->max_params);
}

/* A mode AH, XH, ... of 1 says that the buffer a, x, ... has numbers of f16 (shaders/halves.def).
 */
static bool reads_f16(const dart_kernel_info *info, const dart_launch *launch)
{
    for (uint32_t t = 0; t < info->tunes; t++)
        for (uint32_t b = 0; b < info->buffers; b++)
            if (launch->tune[t] == 1 && !strcmp(info->tune_name[t] + 1, "H") &&
                tolower((unsigned char)info->tune_name[t][0]) == info->buffer_name[b][0] &&
                info->access[b] != DART_OUT)
                return true;
    return false;
}

static dart_status shape(const dart_caps *caps, uint32_t simpler, dart_launch *launch)
{
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    if (caps->no_f16 && reads_f16(info, launch))
        return dart_fail(DART_DEVICE,
            "%s: this driver's compiler breaks down at kernels that read numbers of f16; use bf16 "
            "or f32, or another device",
            info->name);
    shaper s = {.caps = caps, .launch = launch, .info = info, .groups = 1, .simpler = simpler};
    launch->buffers = info->buffers;
    launch->tunes = info->tunes;
    launch->param_bytes = info->param_bytes;
    launch->variant = 0;
    for (uint32_t i = 0; i < info->tunes; i++)
        if (!(info->modes >> i & 1)) launch->tune[i] = info->tune_default[i];
    shape_of[launch->kernel](&s);
    return finish(&s);
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

dart_status dart_launch_form(const dart_caps *caps, const dart_form *form, dart_launch *launch)
{
    const dart_launch before = *launch;
    shaper s = {.caps = caps, .launch = launch, .info = dart_kernel_info_of(launch->kernel)};
    launch->variant = (uint8_t)form->variant;
    for (uint32_t i = 0; i < s.info->tunes; i++)
        if (!(s.info->modes >> i & 1)) launch->tune[i] = form->tune[i];
    s.groups = dart_form_groups(caps, launch);
    const dart_status status =
        s.groups
            ? finish(&s)
            : dart_fail(DART_DEVICE, "kernel %s: this form is not for such sizes", s.info->name);
    if (status != DART_OK) *launch = before;
    return status;
}
