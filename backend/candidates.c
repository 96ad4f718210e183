/* The table of candidates. A row is one form for one or more kinds of device; what is added here is
 * measured by the tuner, and a choice made before is measured again (dart_candidates_sum). */
#include "candidates_impl.h"
#include <xxhash.h>

/* ---- attention and its gradients ---- */

/* Heads have few lengths, and what fits one fits no other: the last size is as it is. */
static void attention_sizes(const dart_launch *launch, uint32_t size[DART_CLASS_SIZES])
{
    /* those of the gradients begin alike */
    const attention_params *p = (const attention_params *)launch->param;
    size[0] = rounded((uint64_t)p->batch * p->heads);
    size[1] = rounded(p->time);
    size[2] = rounded(p->span);
    size[3] = p->dim;
}

_Static_assert((int)DART_ATTENTION_TM + 1 == (int)DART_ATTENTION_DX_TM, "PART stands before TM");
/* Where TM, TN, TD, KS begin. */
static uint32_t attention_slots(uint32_t kernel)
{
    return kernel == DART_K_attention ? DART_ATTENTION_TM : DART_ATTENTION_DX_TM;
}

static bool attention_fill(const dart_caps *caps, const dart_class *class, dart_form *form)
{
    uint32_t *tune = form->tune;
    (void)caps;
    const uint32_t at = attention_slots(class->kernel), dim = class->size[3];
    const uint32_t tn = tune[DART_ATTENTION_TN], tm = tune[DART_ATTENTION_TM];
    const uint32_t td = (uint32_t)ceil_div(dim, tune[0]);
    tune[at] = tm;
    tune[at + 1] = tn;
    tune[at + 2] = td;
    tune[at + 3] = min_u32(floor_pow2(1024 / (tune[0] * td)), min_u32(16, tune[0] * tn));
    return true;
}

static void attention_tile(
    const dart_class *class, const dart_form *form, uint64_t tile[2], uint64_t of[2])
{
    tile[0] = (uint64_t)form->tune[1] * form->tune[attention_slots(class->kernel)];
    tile[1] = of[1] = 1;
    of[0] = class->kernel == DART_K_attention_dx && class->mode[DART_ATTENTION_DX_PART]
                ? class->size[2]
                : class->size[1];
}

static uint64_t attention_groups(const dart_caps *caps, const dart_launch *launch)
{
    const uint32_t at = attention_slots(launch->kernel), *tune = launch->tune;
    const uint64_t own = (uint64_t)tune[1] * tune[at], wide = (uint64_t)tune[0] * tune[at + 2];
    const uint32_t read = tune[0] * tune[at + 1], ks = tune[at + 3];
    if (!own || !read || !ks || read % ks || caps->lone) return 0;
    if (launch->kernel == DART_K_attention) {
        const attention_params *p = (const attention_params *)launch->param;
        return wide < p->dim ? 0 : (uint64_t)p->batch * p->heads * ceil_div(p->time, own);
    }
    const attention_dx_params *p = (const attention_dx_params *)launch->param;
    const bool keys = tune[DART_ATTENTION_DX_PART] != 0;
    return wide < p->dim ? 0
                         : (uint64_t)p->batch * (keys ? p->kv : p->heads) *
                               ceil_div(keys ? p->span : p->time, own);
}

#define ATTENTION(kinds, wgx, wgy, tm, tn)                                                         \
    {                                                                                              \
        kinds, "",                                                                                 \
        {                                                                                          \
            wgx, wgy, [DART_ATTENTION_TM] = tm, [DART_ATTENTION_TN] = tn                           \
        }                                                                                          \
    }
static const candidate attention_rows[] = {
    ATTENTION(MESA, 8, 1, 16, 4),
    ATTENTION(MESA, 8, 1, 8, 8),
    ATTENTION(MESA, 8, 1, 8, 4),
    ATTENTION(MESA, 8, 1, 4, 4),
    ATTENTION(GPU, 8, 16, 4, 4),
    ATTENTION(GPU, 16, 16, 2, 2),
    ATTENTION(GPU, 8, 16, 2, 4),
    ATTENTION(GPU, 16, 8, 4, 2),
    ATTENTION(GPU, 8, 8, 4, 4),
    ATTENTION(GPU, 16, 8, 2, 2),
    ATTENTION(GPU, 8, 8, 2, 4),
    ATTENTION(GPU, 8, 8, 1, 4),
    ATTENTION(GPU, 8, 4, 4, 4),
    ATTENTION(GPU, 8, 4, 2, 4),
};

/* ---- kernels that fold a row in a work-group ---- */

static void row_of(const dart_launch *launch, uint64_t *rows, uint64_t *cols)
{
    /* their parameters begin with these */
    const norm_params *p = (const norm_params *)launch->param;
    *rows = p->rows;
    *cols = launch->kernel == DART_K_cross_entropy
                ? ((const cross_entropy_params *)launch->param)->valid
                : p->cols;
}

static void row_sizes(const dart_launch *launch, uint32_t size[DART_CLASS_SIZES])
{
    uint64_t rows, cols;
    row_of(launch, &rows, &cols);
    size[0] = rounded(rows);
    size[1] = rounded(cols);
}

static void row_tile(
    const dart_class *class, const dart_form *form, uint64_t tile[2], uint64_t of[2])
{
    tile[0] = of[0] = 1;
    tile[1] = form->tune[0];
    of[1] = class->size[1];
}

/* Loops are kept as short as the shipped table keeps them. */
static uint64_t row_groups(const dart_caps *caps, const dart_launch *launch)
{
    uint64_t rows, cols;
    row_of(launch, &rows, &cols);
    if (!launch->tune[0]) return 0;
    return caps->max_loop && 4 * cols / launch->tune[0] > caps->max_loop / 2 ? 0 : rows;
}

/* VW stands in another place of each kernel. */
static bool row_fill(const dart_caps *caps, const dart_class *class, dart_form *form)
{
    uint32_t *tune = form->tune;
    (void)caps;
    const dart_kernel_info *info = dart_kernel_info_of((dart_kernel) class->kernel);
    const uint32_t vw = tune[DART_NORM_VW];
    tune[DART_NORM_VW] = 0;
    for (uint32_t i = 0; i < info->tunes; i++)
        if (!strcmp(info->tune_name[i], "VW")) tune[i] = vw;
    return true;
}

#define ROW(kinds, wgx, vw)                                                                        \
    {                                                                                              \
        kinds, "",                                                                                 \
        {                                                                                          \
            wgx, 1, [DART_NORM_VW] = vw                                                            \
        }                                                                                          \
    }
static const candidate row_rows[] = {
    ROW(MESA, 32, 1),
    ROW(MESA, 16, 1),
    ROW(MESA, 8, 1),
    ROW(VECTORS, 1, SIMD),
    ROW(VECTORS, 1, HALF),
    ROW(VECTORS, 1, 1),
    ROW(GPU, 256, 1),
    ROW(GPU, 128, 1),
    ROW(GPU, 64, 1),
    ROW(GPU, 32, 1),
};

/* ---- the table ---- */

static const tunable attention = {{"heads", "time", "span", "dim"}, attention_sizes, attention_fill,
    attention_tile, attention_groups, ROWS_OF(attention_rows)};
static const tunable rows = {
    {"rows", "cols"}, row_sizes, row_fill, row_tile, row_groups, ROWS_OF(row_rows)};

/* What is not here always has the forms of the shipped table. */
static const tunable *const table[DART_KERNELS] = {
    [DART_K_gemm] = &dart_tunable_gemm,
    [DART_K_gemm_packed] = &dart_tunable_gemm_packed,
    [DART_K_attention] = &attention,
    [DART_K_attention_dx] = &attention,
    [DART_K_softmax] = &rows,
    [DART_K_softmax_dx] = &rows,
    [DART_K_norm] = &rows,
    [DART_K_norm_dx] = &rows,
    [DART_K_cross_entropy] = &rows,
};

static const tunable *tunable_of(uint32_t kernel)
{
    return kernel < DART_KERNELS ? table[kernel] : NULL;
}

bool dart_class_of(const dart_launch *launch, dart_class *out)
{
    const tunable *t = tunable_of((uint32_t)launch->kernel);
    if (!t) return false;
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    *out = (dart_class){.kernel = (uint32_t)launch->kernel};
    for (uint32_t i = 0; i < info->tunes; i++)
        if (info->modes >> i & 1) out->mode[i] = launch->tune[i];
    t->sizes(launch, out->size);
    return true;
}

const char *dart_class_size_name(uint32_t kernel, uint32_t index)
{
    const tunable *t = tunable_of(kernel);
    return t && index < DART_CLASS_SIZES ? t->size[index] : NULL;
}

static uint32_t kind_of(const dart_caps *caps)
{
    return caps->simd > 1 ? VECTORS : caps->on_cpu ? MESA : GPU;
}

static bool wasteful(uint64_t tile, uint64_t of)
{
    return tile > 1 && tile / 2 > of;
}

uint32_t dart_candidates_of(
    const dart_caps *caps, const dart_class *class, dart_form out[DART_MOST_CANDIDATES])
{
    const tunable *t = tunable_of(class->kernel);
    const uint32_t simd = floor_pow2(min_u32(caps->simd, 16));
    uint32_t count = 0;
    for (uint32_t i = 0; t && i < DART_CLASS_SIZES && t->size[i]; i++)
        if (!class->size[i]) return 0;
    for (uint32_t i = 0; t && i < t->rows && count < DART_MOST_CANDIDATES; i++) {
        const candidate *c = &t->row[i];
        dart_form form = {.kernel = class->kernel};
        uint64_t tile[2], of[2];
        bool missing = !(c->kinds & kind_of(caps));
        for (uint32_t s = 0; s < DART_MAX_TUNE; s++) missing |= c->tune[s] == BLAS && !caps->blas;
        if (missing) continue;
        form.variant = dart_kernel_variant((dart_kernel) class->kernel, c->variant);
        for (uint32_t s = 0; s < DART_MAX_TUNE; s++)
            form.tune[s] = c->tune[s] == SIMD   ? simd
                           : c->tune[s] == HALF ? simd / 2
                           : c->tune[s] == BLAS ? caps->blas
                                                : c->tune[s];
        if (t->fill && !t->fill(caps, class, &form)) continue;
        t->tile(class, &form, tile, of);
        if (wasteful(tile[0], of[0]) || wasteful(tile[1], of[1])) continue;
        const dart_kernel_info *info = dart_kernel_info_of((dart_kernel) class->kernel);
        for (uint32_t s = 0; s < info->tunes; s++)
            if (info->modes >> s & 1) form.tune[s] = class->mode[s];
        out[count++] = form;
    }
    return count;
}

double dart_form_results(const dart_class *class, const dart_form *form)
{
    uint64_t tile[2], of[2];
    tunable_of(class->kernel)->tile(class, form, tile, of);
    return (double)tile[0] * (double)tile[1];
}

uint64_t dart_candidates_sum(uint32_t kernel)
{
    const tunable *t = tunable_of(kernel);
    if (!t) return 0;
    const char *texts = dart_kernel_texts((dart_kernel)kernel);
    uint64_t sum = XXH3_64bits(texts, strlen(texts));
    for (uint32_t i = 0; i < t->rows; i++) {
        const candidate *c = &t->row[i];
        sum = XXH3_64bits_withSeed(c->variant, strlen(c->variant), sum ^ c->kinds);
        sum = XXH3_64bits_withSeed(c->tune, sizeof c->tune, sum);
    }
    return sum;
}

uint64_t dart_form_groups(const dart_caps *caps, const dart_launch *launch)
{
    return table[launch->kernel]->groups(caps, launch);
}
