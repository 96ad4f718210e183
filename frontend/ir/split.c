/* Launches that a device cannot bind as they are: a slice is longer than one binding, or lies in
 * several buffers of its region. Each becomes launches of the same kernel over parts that fit: flat
 * words, rows or columns of a product, rows of a table. Element-wise parts and rows of a result
 * keep every bit; a sum is only cut where its slices are combined anyway (reduce), but for products
 * whose long matrix is summed over, which add up part by part. What no rule cuts stays as it is,
 * and the plan names it. */
#include "emit.h"
#include "extent.h"
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 }; /* parts are multiples of it where they can: their slices stay aligned */

typedef struct splitting {
    dart_lowering *low;
    uint64_t most; /* words of a binding */
} splitting;

/* A launch that is to be made, with words that may not fit. */
typedef struct work {
    dart_launch launch;
    dart_value at[DART_MAX_BUFS];
} work;

static dart_status emit_work(splitting *s, const work *w);

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t align_words(const splitting *s)
{
    const dart_caps *caps = s->low->caps;
    return caps->offset_align > caps->word ? caps->offset_align / caps->word : 1;
}

/* Words from `skip` words behind the value's beginning on that lie in one buffer and one binding.
 */
static uint64_t run_of(const splitting *s, dart_value value, uint64_t skip)
{
    const dart_region region = s->low->storage[value.storage].region;
    const uint64_t from = value.offset + skip;
    if (region == DART_REGION_NONE) return s->most;
    if (region == DART_REGION_MOMENT)
        return least(s->most, dart_memory_moment(s->low->memory, from).run);
    return least(s->most, dart_memory_run(s->low->memory, region, from));
}

/* The same of numbers of buffer b, from `skip` numbers on. */
static uint64_t numbers_of(const splitting *s, const work *w, uint32_t b, uint64_t skip)
{
    const uint32_t halves = dart_launch_halves(&w->launch, b);
    const uint64_t run = run_of(s, w->at[b], skip >> halves);
    return halves && run < UINT64_MAX / 2 ? run * 2 : run;
}

static uint32_t any_halves(const work *w)
{
    uint32_t any = 0;
    for (uint32_t b = 0; b < w->launch.buffers; b++) any |= dart_launch_halves(&w->launch, b);
    return any;
}

/* Where it really begins in its region. */
static dart_value placed(const splitting *s, dart_value value)
{
    if (s->low->storage[value.storage].region == DART_REGION_MOMENT)
        value.offset = dart_memory_moment(s->low->memory, value.offset).place;
    return value;
}

/* Every slice as long as the kernel reads it; one that it does not read is another's. */
static void tighten(work *w)
{
    uint64_t words[DART_MAX_BUFS];
    dart_value old[DART_MAX_BUFS];
    dart_launch_extent(&w->launch, words);
    memcpy(old, w->at, sizeof old);
    for (uint32_t b = 0; b < w->launch.buffers; b++)
        if (words[b] && words[b] < w->at[b].words) w->at[b].words = words[b];
    for (uint32_t b = 0; b < w->launch.buffers; b++)
        for (uint32_t i = 0; !words[b] && i < w->launch.buffers; i++)
            if (words[i] && old[i].storage == old[b].storage && old[i].offset == old[b].offset) {
                w->at[b] = w->at[i];
                break;
            }
}

static bool slice_fits(const splitting *s, const work *w, uint32_t b)
{
    if (w->launch.kernel == DART_K_adamw && b == 2) {
        const adamw_params *p = (const adamw_params *)(const void *)w->launch.param;
        return run_of(s, w->at[b], 0) >= p->n && (uint64_t)p->stride + p->n <= s->most;
    }
    return w->at[b].words <= run_of(s, w->at[b], 0);
}

static bool fits(const splitting *s, const work *w)
{
    for (uint32_t b = 0; b < w->launch.buffers; b++)
        if (!slice_fits(s, w, b)) return false;
    return true;
}

static dart_status emit_as_it_is(splitting *s, const work *w)
{
    dart_value at[DART_MAX_BUFS];
    for (uint32_t b = 0; b < w->launch.buffers; b++) at[b] = placed(s, w->at[b]);
    dart_launch *launch = dart_emit(
        s->low, w->launch.kernel, w->launch.label, w->launch.buffers, at, w->launch.param);
    if (!launch) return DART_MEMORY;
    memcpy(launch->tune, w->launch.tune, sizeof launch->tune);
    return DART_OK;
}

/* `numbers` of them, which are words, or halves of such. */
static void skip(work *w, uint32_t buffer, uint64_t numbers)
{
    const uint64_t words = numbers >> dart_launch_halves(&w->launch, buffer);
    w->at[buffer].offset += words;
    w->at[buffer].words -= least(words, w->at[buffer].words - 1);
}

/* ---- flat words ---- */

/* n words of the buffers `moving`, in parts of whole periods of `step` words. count: the parameter
 * that says how many. */
static dart_status split_flat(
    splitting *s, const work *w, uint32_t moving, uint64_t n, uint64_t step, uint32_t *count)
{
    const size_t at = (size_t)(count - w->launch.param);
    while (step % (align_words(s) << any_halves(w))) step *= 2;
    for (uint64_t start = 0, part; start < n; start += part) {
        work piece = *w;
        part = n - start;
        for (uint32_t b = 0; b < w->launch.buffers; b++)
            if (moving >> b & 1) part = least(part, numbers_of(s, w, b, start));
        if (part < n - start) part = part / step * step;
        if (!part || (part == n && !start)) return emit_as_it_is(s, w);
        for (uint32_t b = 0; b < w->launch.buffers; b++)
            if (moving >> b & 1) skip(&piece, b, start);
        piece.launch.param[at] = (uint32_t)part;
        DART_TRY(emit_work(s, &piece));
    }
    return DART_OK;
}

static dart_status split_map(splitting *s, work *w)
{
    map_params *p = (map_params *)(void *)w->launch.param;
    const bool spread = w->launch.tune[DART_MAP_BC] != 0;
    return split_flat(s, w, spread ? 5 : 7, p->n, spread ? (uint64_t)p->bdiv * p->bmod : 1, &p->n);
}

/* Both moments of a parameter lie in one piece of their region, `span` words apart. */
static dart_status split_adamw(splitting *s, work *w)
{
    const adamw_params *p = (const adamw_params *)(const void *)w->launch.param;
    const uint64_t all = p->n, step = align_words(s);
    for (uint64_t start = 0, part; start < all; start += part) {
        work piece = *w;
        adamw_params *q = (adamw_params *)(void *)piece.launch.param;
        const uint64_t cut = dart_memory_moment(s->low->memory, w->at[2].offset + start).stride;
        const uint64_t stride = cut ? cut : p->stride;
        part = least(all - start, run_of(s, w->at[0], start));
        part = least(part, run_of(s, w->at[1], start));
        part = least(part, run_of(s, w->at[2], start));
        part = least(part, s->most > stride ? s->most - stride : 0);
        if (part < all - start) part = part / step * step;
        if (!part) return emit_as_it_is(s, w);
        for (uint32_t b = 0; b < 3; b++) skip(&piece, b, start);
        q->n = (uint32_t)part;
        q->stride = (uint32_t)stride;
        piece.at[0].words = piece.at[1].words = part;
        piece.at[2].words = stride + part;
        DART_TRY(emit_as_it_is(s, &piece));
    }
    return DART_OK;
}

/* ---- rows ---- */

/* How many of `rows` rows of buffer b, `ld` numbers apart and `length` long, lie in one buffer and
 * one binding from its beginning on; 0: not one. Less than all of them. */
static uint32_t rows_that_fit(
    const splitting *s, const work *w, uint32_t b, uint32_t rows, uint64_t ld, uint64_t length)
{
    const uint64_t run = numbers_of(s, w, b, 0);
    if (run < length || !ld) return 0;
    return (uint32_t)least((run - length) / ld + 1, rows - 1);
}

/* The most rows up to `rows` that are a multiple of the alignment, words[b] numbers each in buffer
 * b. */
static uint32_t aligned_rows(
    const splitting *s, const work *w, uint32_t rows, const uint64_t words[DART_MAX_BUFS])
{
    const uint32_t whole = (uint32_t)ROWS << any_halves(w);
    if (rows >= whole) return rows / whole * whole;
    for (; rows; rows--) {
        uint64_t off = 0;
        for (uint32_t b = 0; b < DART_MAX_BUFS; b++)
            off |= rows * words[b] % (align_words(s) << dart_launch_halves(&w->launch, b));
        if (!off) break;
    }
    return rows;
}

/* The launch in two, the first `rows` of something and the rest: the parameter at `count` counts
 * them, and they are words[b] long in buffer b. `rows` is 0 where not one fits. */
static dart_status in_two(splitting *s, const work *w, uint32_t *count, uint32_t rows,
    const uint64_t words[DART_MAX_BUFS], void (*rest)(work *second, uint32_t rows))
{
    const size_t at = (size_t)(count - w->launch.param);
    rows = aligned_rows(s, w, rows, words);
    if (!rows) return emit_as_it_is(s, w);
    work part[2] = {*w, *w};
    part[0].launch.param[at] = rows;
    part[1].launch.param[at] -= rows;
    for (uint32_t b = 0; b < w->launch.buffers; b++) skip(&part[1], b, rows * words[b]);
    if (rest) rest(&part[1], rows);
    DART_TRY(emit_work(s, &part[0]));
    return emit_work(s, &part[1]);
}

/* ---- products ---- */

static void adds_up(work *second, uint32_t rows)
{
    (void)rows;
    gemm_params *p = (gemm_params *)(void *)second->launch.param;
    p->beta = 1;
    second->launch.tune[DART_GEMM_ADD] = 0;
    second->at[3] = second->at[0];
}

static dart_status split_gemm(splitting *s, work *w)
{
    gemm_params *p = (gemm_params *)(void *)w->launch.param;
    const bool ta = w->launch.tune[DART_GEMM_TA], tb = w->launch.tune[DART_GEMM_TB];
    uint32_t *const batch[] = {&p->batch0, &p->batch1, &p->batch2};
    const bool add = w->launch.tune[DART_GEMM_ADD]; /* else the fourth slice is the first */
    const uint32_t step[3][4] = {{p->a0, p->b0, p->c0, add ? p->d0 : p->a0},
        {p->a1, p->b1, p->c1, add ? p->d1 : p->a1}, {p->a2, p->b2, p->c2, add ? p->d2 : p->a2}};
    const uint32_t row_a = ta ? 1 : p->lda, row_d = add ? p->ldd : row_a;
    const uint32_t along_a = ta ? p->lda : 1;
    for (int i = 0; i < 3; i++)
        if (*batch[i] > 1)
            return in_two(s, w, batch[i], *batch[i] / 2,
                (uint64_t[DART_MAX_BUFS]){step[i][0], step[i][1], step[i][2], step[i][3]}, NULL);
    /* the rows of the matrix that does not fit: the result's first, of which they are rows too */
    if (!slice_fits(s, w, 2))
        return in_two(s, w, &p->m, rows_that_fit(s, w, 2, p->m, p->ldc, p->n),
            (uint64_t[DART_MAX_BUFS]){row_a, 0, p->ldc, row_d}, NULL);
    if (!slice_fits(s, w, 0) && !ta)
        return in_two(s, w, &p->m, rows_that_fit(s, w, 0, p->m, p->lda, p->k),
            (uint64_t[DART_MAX_BUFS]){p->lda, 0, p->ldc, row_d}, NULL);
    if (!slice_fits(s, w, 1) && tb)
        return in_two(s, w, &p->n, rows_that_fit(s, w, 1, p->n, p->ldb, p->k),
            (uint64_t[DART_MAX_BUFS]){0, p->ldb, 1, add}, NULL);
    const uint32_t b = slice_fits(s, w, 0) ? 1 : 0;
    return in_two(s, w, &p->k, rows_that_fit(s, w, b, p->k, b ? p->ldb : p->lda, b ? p->n : p->m),
        (uint64_t[DART_MAX_BUFS]){along_a, tb ? 1 : p->ldb, 0, add ? 0 : along_a}, adds_up);
}

/* ---- tables ---- */

static void next_rows_gather(work *second, uint32_t rows)
{
    ((gather_params *)(void *)second->launch.param)->first += rows;
}

static void next_rows_unpack(work *second, uint32_t rows)
{
    ((unpack_params *)(void *)second->launch.param)->first += rows;
}

static void next_rows_scatter(work *second, uint32_t rows)
{
    ((scatter_params *)(void *)second->launch.param)->first += rows;
}

static dart_status split_gather(splitting *s, work *w)
{
    gather_params *p = (gather_params *)(void *)w->launch.param;
    if (!slice_fits(s, w, 2))
        return in_two(s, w, &p->rows, rows_that_fit(s, w, 2, p->rows, p->cols, p->cols),
            (uint64_t[DART_MAX_BUFS]){1, 0, p->cols}, NULL);
    return in_two(s, w, &p->vocab, rows_that_fit(s, w, 1, p->vocab, p->cols, p->cols),
        (uint64_t[DART_MAX_BUFS]){0, p->cols, 0}, next_rows_gather);
}

static dart_status split_unpack(splitting *s, work *w)
{
    unpack_params *p = (unpack_params *)(void *)w->launch.param;
    const bool by_id = w->launch.tune[DART_UNPACK_BY_ID] != 0, made = slice_fits(s, w, 2);
    if (by_id && made)
        return in_two(s, w, &p->total, rows_that_fit(s, w, 1, p->total, p->pitch, p->pitch),
            (uint64_t[DART_MAX_BUFS]){0, p->pitch, 0}, next_rows_unpack);
    if (by_id)
        return in_two(s, w, &p->rows, rows_that_fit(s, w, 2, p->rows, p->cols, p->cols),
            (uint64_t[DART_MAX_BUFS]){1, 0, p->cols}, NULL);
    /* rows and total are the same number */
    const uint32_t all = p->rows, packed = rows_that_fit(s, w, 1, all, p->pitch, p->pitch);
    uint32_t rows = rows_that_fit(s, w, 2, all, p->cols, p->cols);
    rows = aligned_rows(
        s, w, (uint32_t)least(rows, packed), (uint64_t[DART_MAX_BUFS]){0, p->pitch, p->cols});
    for (uint32_t start = 0; rows && start < all; start += rows) {
        work part = *w;
        unpack_params *q = (unpack_params *)(void *)part.launch.param;
        q->rows = q->total = rows = (uint32_t)least(rows, all - start);
        skip(&part, 1, (uint64_t)start * p->pitch);
        skip(&part, 2, (uint64_t)start * p->cols);
        part.at[0] = part.at[1];
        DART_TRY(emit_work(s, &part));
    }
    return rows ? DART_OK : emit_as_it_is(s, w);
}

static dart_status split_scatter(splitting *s, work *w)
{
    scatter_params *p = (scatter_params *)(void *)w->launch.param;
    return in_two(s, w, &p->count, rows_that_fit(s, w, 2, p->count, p->cols, p->cols),
        (uint64_t[DART_MAX_BUFS]){0, 0, p->cols}, next_rows_scatter);
}

/* ---- copies and sums ---- */

static dart_status split_permute(splitting *s, work *w)
{
    permute_params *p = (permute_params *)(void *)w->launch.param;
    uint32_t *const dim[] = {&p->dim0, &p->dim1, &p->dim2, &p->dim3, &p->dim4, &p->dim5};
    const uint32_t stride[] = {
        p->stride0, p->stride1, p->stride2, p->stride3, p->stride4, p->stride5};
    uint32_t axis = 0;
    while (axis < 5 && *dim[axis] == 1) axis++;
    const uint32_t all = *dim[axis];
    const uint64_t inner = p->n / all;
    uint64_t reach = 0;
    for (uint32_t i = axis + 1; i < 6; i++) reach += (uint64_t)(*dim[i] - 1) * stride[i];
    for (uint32_t start = 0, rows; start < all; start += rows) {
        work part = *w;
        permute_params *q = (permute_params *)(void *)part.launch.param;
        const uint64_t from = p->offset + (uint64_t)start * stride[axis];
        const uint64_t excess = from % align_words(s);
        uint64_t x = run_of(s, w->at[0], from - excess);
        rows = all - start;
        rows = (uint32_t)least(rows, run_of(s, w->at[1], start * inner) / inner);
        if (x <= excess + reach) return emit_as_it_is(s, w);
        if (stride[axis]) rows = (uint32_t)least(rows, (x - excess - reach - 1) / stride[axis] + 1);
        if (rows < all - start)
            rows = aligned_rows(s, w, rows, (uint64_t[DART_MAX_BUFS]){0, inner});
        if (!rows || (rows == all && !start)) return emit_as_it_is(s, w);
        skip(&part, 0, from - excess);
        skip(&part, 1, start * inner);
        q->offset = (uint32_t)excess;
        q->n = (uint32_t)(rows * inner);
        part.launch.param[dim[axis] - w->launch.param] = rows;
        tighten(&part);
        DART_TRY(emit_as_it_is(s, &part));
    }
    return DART_OK;
}

static dart_status copy(splitting *s, const work *w, dart_value from, dart_value to)
{
    work whole = {.launch = {.kernel = DART_K_permute, .label = w->launch.label, .buffers = 2},
        .at = {from, to}};
    permute_params *p = (permute_params *)(void *)whole.launch.param;
    *p = (permute_params){
        .n = (uint32_t)to.words, 0, 1, 1, 1, 1, 1, (uint32_t)to.words, 0, 0, 0, 0, 0, 1};
    memcpy(whole.launch.tune, dart_kernel_info_of(DART_K_permute)->tune_default,
        sizeof whole.launch.tune);
    return emit_work(s, &whole);
}

/* Whole chunks, so that every partial sum stays what it is. Those that a cut goes through are
 * copied together first. */
static dart_status split_chunks(splitting *s, work *w)
{
    const reduce_params *p = (const reduce_params *)(const void *)w->launch.param;
    const uint64_t chunk = (uint64_t)p->per * p->inner, all = (uint64_t)p->mid * p->inner;
    uint64_t group = 1; /* chunks whose results are a multiple of the alignment */
    while (group * p->inner % align_words(s)) group *= 2;
    for (uint64_t c = 0, n; c < p->chunks; c += n) {
        work part = *w;
        reduce_params *q = (reduce_params *)(void *)part.launch.param;
        const uint64_t begin = c * chunk, left = all - begin, run = run_of(s, w->at[0], begin);
        n = run >= left ? p->chunks - c : run / chunk / group * group;
        const bool together = n == 0;
        if (together) n = least(group, p->chunks - c);
        const uint64_t words = least(n * chunk, left);
        skip(&part, 0, begin);
        skip(&part, 1, c * p->inner);
        part.at[0].words = words;
        part.at[1].words = n * p->inner;
        if (together) {
            dart_value whole;
            if (words > s->most) return emit_as_it_is(s, w);
            DART_TRY(dart_emit_new(s->low, w->launch.label, words, &whole));
            DART_TRY(copy(s, w, part.at[0], whole));
            part.at[0] = whole;
        }
        q->mid = (uint32_t)(words / p->inner);
        q->chunks = (uint32_t)n;
        q->apart = q->chunks * q->inner;
        DART_TRY(emit_as_it_is(s, &part));
    }
    return DART_OK;
}

static dart_status split_reduce(splitting *s, work *w)
{
    reduce_params *p = (reduce_params *)(void *)w->launch.param;
    const uint64_t x = (uint64_t)p->mid * p->inner, y = p->apart;
    if (p->outer == 1) return split_chunks(s, w);
    return in_two(s, w, &p->outer, rows_that_fit(s, w, 0, p->outer, x, x),
        (uint64_t[DART_MAX_BUFS]){x, y}, NULL);
}

static dart_status emit_work(splitting *s, const work *whole)
{
    work w = *whole;
    axpy_scalar_params *axpy = (axpy_scalar_params *)(void *)w.launch.param;
    pack_params *pack = (pack_params *)(void *)w.launch.param;
    if (w.launch.kernel == DART_K_adamw)
        return fits(s, &w) && !s->low->memory->span ? emit_as_it_is(s, &w) : split_adamw(s, &w);
    if (fits(s, &w)) return emit_as_it_is(s, &w);
    tighten(&w);
    if (fits(s, &w)) return emit_as_it_is(s, &w);
    switch ((int)w.launch.kernel) {
    case DART_K_map:
        return split_map(s, &w);
    case DART_K_axpy_scalar:
        return split_flat(s, &w, 5, axpy->n, 1, &axpy->n);
    case DART_K_pack:
        return split_flat(s, &w, 3, pack->n, 2, &pack->n);
    case DART_K_gemm:
        return split_gemm(s, &w);
    case DART_K_gather:
        return split_gather(s, &w);
    case DART_K_unpack:
        return split_unpack(s, &w);
    case DART_K_scatter:
        return split_scatter(s, &w);
    case DART_K_permute:
        return split_permute(s, &w);
    case DART_K_reduce:
        return split_reduce(s, &w);
    default:
        return emit_as_it_is(s, &w);
    }
}

dart_status dart_split(dart_lowering *low)
{
    const uint64_t limit = low->caps->max_binding / low->caps->word;
    dart_status status = DART_OK;
    dart_launch *launch = low->launch;
    dart_value(*bound)[DART_MAX_BUFS] = low->bound;
    const size_t launches = low->launches;
    splitting s = {low, limit ? limit : UINT64_MAX};
    if (!limit && !low->memory->pieces) return DART_OK;
    low->launch = NULL;
    low->bound = NULL;
    low->launches = low->launch_capacity = low->bound_capacity = 0;
    for (size_t i = 0; i < low->storages; i++) low->storage[i].used = false;
    for (size_t i = 0; i < launches; i++) {
        work w = {.launch = launch[i]};
        memcpy(w.at, bound[i], sizeof w.at);
        DART_GOTO(emit_work(&s, &w));
    }
done:
    free(launch);
    free(bound);
    return status;
}
