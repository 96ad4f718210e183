/* How far each kernel reaches into its buffers: the shapes in the heads of shaders/<kernel>.k as
 * arithmetic. */
#include "extent.h"
#include <math.h>
#include <string.h>

#define PARAM(kernel) const kernel##_params *p = (const kernel##_params *)(const void *)l->param

/* Products and sums that stick at UINT64_MAX. */
static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t c;
    return dart_mul_u64(a, b, &c) ? c : UINT64_MAX;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t c;
    return dart_add_u64(a, b, &c) ? c : UINT64_MAX;
}

/* Words that so many numbers of 16 bits take. */
static uint64_t halves_of(uint64_t numbers)
{
    return numbers / 2 + numbers % 2;
}

static uint64_t last_of(uint32_t count, uint32_t step)
{
    return count ? times(count - 1, step) : 0;
}

/* A matrix of rows x cols words, rows `ld` apart, repeated over three batch levels. */
static uint64_t matrices(const gemm_params *p, uint32_t rows, uint32_t cols, uint32_t ld,
    uint32_t step0, uint32_t step1, uint32_t step2)
{
    if (!rows || !cols) return 0;
    uint64_t one = plus(last_of(rows, ld), cols);
    uint64_t reach = plus(last_of(p->batch0, step0), last_of(p->batch1, step1));
    return plus(one, plus(reach, last_of(p->batch2, step2)));
}

static void extent_gemm(const dart_launch *l, uint64_t *words)
{
    PARAM(gemm);
    bool ta = l->tune[DART_GEMM_TA], tb = l->tune[DART_GEMM_TB];
    words[0] = matrices(p, ta ? p->k : p->m, ta ? p->m : p->k, p->lda, p->a0, p->a1, p->a2);
    words[1] = matrices(p, tb ? p->n : p->k, tb ? p->k : p->n, p->ldb, p->b0, p->b1, p->b2);
    words[2] = matrices(p, p->m, p->n, p->ldc, p->c0, p->c1, p->c2);
    if (l->tune[DART_GEMM_AH]) words[0] = halves_of(words[0]);
    if (l->tune[DART_GEMM_BH]) words[1] = halves_of(words[1]);
    if (l->tune[DART_GEMM_CH]) words[2] = halves_of(words[2]);
    if (l->tune[DART_GEMM_ADD]) words[3] = matrices(p, p->m, p->n, p->ldd, p->d0, p->d1, p->d2);
}

static void extent_map(const dart_launch *l, uint64_t *words)
{
    static const uint8_t arity[] = {
#define MAP(name, operands, ...) operands,
#include "map_ops.def"
#undef MAP
    };
    PARAM(map);
    words[0] = words[2] = p->n;
    const uint32_t op = l->tune[DART_MAP_OP];
    bool two = op < sizeof arity && arity[op] == 2;
    words[1] = !two ? 0 : l->tune[DART_MAP_BC] == 0 ? p->n : p->bmod;
    if (l->tune[DART_MAP_AH]) words[0] = halves_of(words[0]);
    if (l->tune[DART_MAP_BH]) words[1] = halves_of(words[1]);
    if (l->tune[DART_MAP_YH]) words[2] = halves_of(words[2]);
}

static void extent_permute(const dart_launch *l, uint64_t *words)
{
    PARAM(permute);
    uint64_t reach = plus(last_of(p->dim0, p->stride0), last_of(p->dim1, p->stride1));
    reach = plus(reach, plus(last_of(p->dim2, p->stride2), last_of(p->dim3, p->stride3)));
    reach = plus(reach, plus(last_of(p->dim4, p->stride4), last_of(p->dim5, p->stride5)));
    words[0] = p->n ? plus(reach, (uint64_t)p->offset + 1) : 0;
    words[1] = p->n;
}

static void extent_reduce(const dart_launch *l, uint64_t *words)
{
    PARAM(reduce);
    words[0] = times(times(p->outer, p->mid), p->inner);
    const uint64_t one = times(p->chunks, p->inner);
    words[1] = p->outer && one ? plus(last_of(p->outer, p->apart), one) : 0;
}

static void extent_softmax(const dart_launch *l, uint64_t *words)
{
    PARAM(softmax);
    words[0] = words[1] = times(p->rows, p->cols);
}

static void extent_softmax_lengths(const dart_launch *l, uint64_t *words)
{
    PARAM(softmax_lengths);
    words[0] = words[2] = times(p->rows, p->cols);
    words[1] = p->rows && p->per ? (p->rows - 1) / p->per + 1 : 0;
}

static void extent_softmax_starts(const dart_launch *l, uint64_t *words)
{
    PARAM(softmax_starts);
    words[0] = words[2] = times(p->rows, p->cols);
    words[1] = p->rows && p->per ? times((p->rows - 1) / p->per + 1, p->time) : 0;
}

static void extent_softmax_dx(const dart_launch *l, uint64_t *words)
{
    PARAM(softmax_dx);
    words[0] = words[1] = words[2] = times(p->rows, p->cols);
}

static uint64_t tensor(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return times(times(a, b), times(c, d));
}

static uint64_t most_of(uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t most = a > b ? a : b;
    return most > c ? most : c;
}

static void extent_attention(const dart_launch *l, uint64_t *words)
{
    PARAM(attention);
    const uint64_t q = tensor(p->batch, p->time, p->heads, p->dim);
    const uint64_t k = tensor(p->batch, p->span, p->kv, p->dim);
    words[0] = most_of(plus(q, p->q_at), plus(k, p->k_at), plus(k, p->v_at));
    words[1] = p->masked == 0 ? 0 : p->masked == 1 ? p->batch : times(p->batch, p->time);
    words[2] = q;
    words[3] = tensor(p->batch, p->time, p->heads, 4);
}

static void extent_attention_dx(const dart_launch *l, uint64_t *words)
{
    PARAM(attention_dx);
    const uint64_t q = tensor(p->batch, p->time, p->heads, p->dim);
    const uint64_t k = tensor(p->batch, p->span, p->kv, p->dim);
    const uint64_t queries = tensor(p->batch, p->time, p->heads, 1);
    words[0] = most_of(plus(q, p->q_at), plus(k, p->k_at), plus(k, p->v_at));
    words[1] = most_of(q, plus(p->rows_at, times(queries, 4)), 0);
    words[2] = q;
    words[3] = most_of(plus(k, p->rows_at), plus(k, p->dv_at), plus(queries, p->delta_at));
    if (words[3] < q) words[3] = q;
}

static void extent_cross_entropy(const dart_launch *l, uint64_t *words)
{
    PARAM(cross_entropy);
    words[0] = times(p->rows, p->cols);
    words[1] = p->rows;
    words[2] = times(p->rows, l->tune[DART_CROSS_ENTROPY_RANK] ? 3 : 2);
    words[3] = l->tune[DART_CROSS_ENTROPY_GRAD] ? words[0] : 0;
}

static void extent_norm(const dart_launch *l, uint64_t *words)
{
    PARAM(norm);
    words[0] = words[3] = times(p->rows, p->cols);
    words[1] = p->cols;
    words[2] = l->tune[DART_NORM_KIND] ? 0 : p->cols;
    if (l->tune[DART_NORM_XH]) words[0] = halves_of(words[0]);
    if (l->tune[DART_NORM_YH]) words[3] = halves_of(words[3]);
}

static void extent_norm_dx(const dart_launch *l, uint64_t *words)
{
    PARAM(norm_dx);
    words[0] = words[2] = words[3] = times(p->rows, p->cols);
    words[1] = p->cols;
    if (l->tune[DART_NORM_DX_XH]) words[0] = halves_of(words[0]);
}

static void extent_norm_dw(const dart_launch *l, uint64_t *words)
{
    PARAM(norm_dw);
    words[0] = words[1] = times(p->rows, p->cols);
    words[2] = times(times(p->chunks, 2), p->cols);
    if (l->tune[DART_NORM_DW_XH]) words[0] = halves_of(words[0]);
}

static void extent_gather(const dart_launch *l, uint64_t *words)
{
    PARAM(gather);
    words[0] = p->rows;
    words[1] = times(p->vocab, p->cols);
    words[2] = times(p->rows, p->cols);
}

static void extent_unpack(const dart_launch *l, uint64_t *words)
{
    PARAM(unpack);
    words[0] = l->tune[DART_UNPACK_BY_ID] ? p->rows : 0;
    words[1] = times(p->total, p->pitch);
    words[2] = times(p->rows, p->cols);
}

static void extent_pack(const dart_launch *l, uint64_t *words)
{
    PARAM(pack);
    words[0] = p->n;
    words[1] = halves_of(p->n);
}

static void extent_gemm_packed(const dart_launch *l, uint64_t *words)
{
    PARAM(gemm_packed);
    words[0] = p->m && p->k ? plus(last_of(p->m, p->ldx), p->k) : 0;
    words[1] = times(p->n, p->pitch);
    words[2] = p->m && p->n ? plus(plus(last_of(p->m, p->y_row), last_of(p->n, p->y_col)), 1) : 0;
}

static void extent_cache_write(const dart_launch *l, uint64_t *words)
{
    PARAM(cache_write);
    words[0] = words[1] = times(times(p->batch, p->time), p->cols);
    words[2] = 1;
    words[3] = times(times(2, p->batch), times(p->span, p->cols));
}

static void extent_attend(const dart_launch *l, uint64_t *words)
{
    PARAM(attend);
    words[0] = words[3] = times(times(p->batch, p->time), times(p->heads, p->dim));
    words[1] = times(times(times(2, p->batch), p->span), times(p->kv, p->dim));
    words[2] = 1;
}

static void extent_scatter(const dart_launch *l, uint64_t *words)
{
    PARAM(scatter);
    words[0] = (uint64_t)p->vocab + 1 + p->rows;
    words[1] = times(p->rows, p->cols);
    words[2] = times(p->count, p->cols);
}

static void extent_rope(const dart_launch *l, uint64_t *words)
{
    PARAM(rope);
    words[0] = words[2] = times(times(p->batch, p->time), times(p->heads, p->dim));
    words[1] = times(p->time, p->dim / 2 * 2);
}

static void extent_dropout(const dart_launch *l, uint64_t *words)
{
    PARAM(dropout);
    words[0] = words[2] = p->n;
    words[1] = 3;
    if (l->tune[DART_DROPOUT_ADD]) words[3] = p->n;
}

static void extent_uniform(const dart_launch *l, uint64_t *words)
{
    PARAM(uniform);
    words[0] = 3;
    words[1] = p->n;
}

static void extent_adamw(const dart_launch *l, uint64_t *words)
{
    PARAM(adamw);
    words[0] = words[1] = p->n;
    words[2] = (uint64_t)p->stride + p->n;
    words[3] = 4;
}

static void extent_axpy_scalar(const dart_launch *l, uint64_t *words)
{
    PARAM(axpy_scalar);
    words[0] = words[2] = p->n;
    words[1] = (uint64_t)p->slot + 1;
}

static void extent_clip(const dart_launch *l, uint64_t *words)
{
    (void)l;
    words[0] = 1;
    words[1] = 6;
}

static void extent_fma_rate(const dart_launch *l, uint64_t *words)
{
    PARAM(fma_rate);
    words[0] = words[1] = p->n;
}

static void extent_spd_fn(const dart_launch *l, uint64_t *words)
{
    PARAM(spd_fn);
    words[0] = words[2] = times(p->batch, (uint64_t)p->n * p->n);
    words[1] = times(words[0], 2);
}

void dart_launch_extent(const dart_launch *launch, uint64_t out_words[DART_MAX_BUFS])
{
    static void (*const extents[])(const dart_launch *, uint64_t *) = {
#define K(name) [DART_K_##name] = extent_##name,
#include "kernels_list.inc"
#undef K
    };
    memset(out_words, 0, DART_MAX_BUFS * sizeof *out_words);
    extents[launch->kernel](launch, out_words);
}

uint32_t dart_launch_halves(const dart_launch *l, uint32_t b)
{
    const uint32_t *tune = l->tune;
    switch (l->kernel) {
    case DART_K_gemm:
        return b < 3 && tune[b == 0 ? DART_GEMM_AH : b == 1 ? DART_GEMM_BH : DART_GEMM_CH];
    case DART_K_map:
        return tune[b == 0 ? DART_MAP_AH : b == 1 ? DART_MAP_BH : DART_MAP_YH] != 0;
    case DART_K_pack:
        return b == 1;
    case DART_K_norm:
        return (b == 0 && tune[DART_NORM_XH]) || (b == 3 && tune[DART_NORM_YH]);
    case DART_K_norm_dx:
        return b == 0 && tune[DART_NORM_DX_XH];
    case DART_K_norm_dw:
        return b == 0 && tune[DART_NORM_DW_XH];
    default:
        return 0;
    }
}

double dart_launch_flops(const dart_launch *l)
{
    switch (l->kernel) {
    case DART_K_gemm: {
        PARAM(gemm);
        return 2.0 * p->m * p->n * p->k * p->batch0 * p->batch1 * p->batch2;
    }
    case DART_K_gemm_packed: {
        PARAM(gemm_packed);
        return 2.0 * p->m * p->n * p->k;
    }
    case DART_K_attend: {
        PARAM(attend);
        return 4.0 * p->batch * p->time * p->heads * p->dim * p->span;
    }
    case DART_K_attention: {
        PARAM(attention);
        const double scores = (double)p->batch * p->heads * p->time * p->span;
        return 4 * scores * p->dim * (p->causal ? 0.5 : 1);
    }
    case DART_K_attention_dx: {
        PARAM(attention_dx);
        const double scores = (double)p->batch * p->heads * p->time * p->span;
        return (l->tune[DART_ATTENTION_DX_PART] ? 8 : 6) * scores * p->dim;
    }
    case DART_K_fma_rate: {
        PARAM(fma_rate);
        return 64.0 * p->n * p->rounds;
    }
    default:
        return (double)(l->buf[l->buffers - 1].words << dart_launch_halves(l, l->buffers - 1u));
    }
}

/* INOUT says that some words stay as they are, too: rows of another piece of a table; and a product
 * that is not added to what is there does not read that. */
static bool writes_only(const dart_launch *l)
{
    if (l->kernel == DART_K_gemm) {
        PARAM(gemm);
        return p->beta == 0;
    }
    if (l->kernel == DART_K_gemm_packed) {
        PARAM(gemm_packed);
        return p->beta == 0;
    }
    if (l->kernel == DART_K_norm_dx) return !l->tune[DART_NORM_DX_ADD];
    if (l->kernel == DART_K_scatter) return !l->tune[DART_SCATTER_ADD];
    return l->kernel == DART_K_gather || l->kernel == DART_K_unpack ||
           l->kernel == DART_K_cache_write;
}

/* Words of buffer b that are looked at, of those within reach. */
static double touched(const dart_launch *l, uint32_t b, double reach)
{
    if (l->kernel == DART_K_gather && b == 1) return fmin(reach, (double)l->buf[2].words);
    if (l->kernel == DART_K_scatter && b == 2 && l->tune[DART_SCATTER_ADD])
        return fmin(reach, (double)l->buf[1].words);
    if (l->kernel == DART_K_cache_write && b == 3)
        return fmin(reach, (double)(l->buf[0].words + l->buf[1].words));
    if (l->kernel == DART_K_unpack && b == 1 && l->tune[DART_UNPACK_BY_ID]) {
        PARAM(unpack);
        return fmin(reach, (double)p->rows * p->pitch);
    }
    return reach;
}

double dart_launch_bytes(const dart_launch *l, uint32_t word)
{
    const dart_kernel_info *info = dart_kernel_info_of(l->kernel);
    uint64_t extent[DART_MAX_BUFS];
    double words = 0;
    dart_launch_extent(l, extent);
    for (uint32_t b = 0; b < l->buffers; b++) {
        const uint64_t reach = extent[b] < l->buf[b].words ? extent[b] : l->buf[b].words;
        words += touched(l, b, (double)reach) *
                 (info->access[b] == DART_INOUT && !writes_only(l) ? 2 : 1);
    }
    return words * word;
}
