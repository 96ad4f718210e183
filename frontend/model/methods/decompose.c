/* TT-SVD near to the outputs of a layer, or to the loss. A chain of W R cannot take R^-1 back in
 * general, since R mixes all input digits. Two cases can: R^-1 goes into the right part before that
 * is cut on, where a bond has all input digits on its right (tt, lowrank: exact there and left of
 * it); and a Kronecker product of small triangles, one a digit, goes into the cores (all other
 * bonds). L of the outputs is taken alike: where they have several digits and a bond has all of
 * them on its left (tt), that bond is cut first, and each part on its own. */
#include "decompose.h"
#include "adopt.h"
#include "digits.h"
#include "lapack.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct work {
    const dart_weight *weight;
    dart_metric metric;
    dart_digits d;
    uint32_t split;                          /* leading cores have all output digits; 0: mixed */
    const double *lower[2 * DART_MAX_MODES]; /* triangles of digits, where they are used ... */
    double *owned[2 * DART_MAX_MODES];       /* ... owned, but for one digit that is all outputs */
    double *dense;                           /* owned, in the chain's order */
    uint64_t words;
    double scale;
} work;

/* ---- metrics ---- */

dart_status dart_metric_root(
    uint32_t n, const double *covariance, double **out, double *out_damping)
{
    double mean = 0, damping = 0;
    bool finite = true;
    lapack_int info = 1;
    *out = NULL;
    for (uint32_t i = 0; i < n; i++) {
        mean += covariance[(size_t)i * n + i] / n;
        for (uint32_t j = 0; j <= i; j++) finite &= isfinite(covariance[(size_t)i * n + j]) != 0;
    }
    if (!finite || mean <= 0)
        return dart_fail(DART_INPUT,
            "the second moments of a weight's inputs or gradients have a mean of %g on their "
            "diagonal%s; expected finite numbers, not all zero",
            mean, finite ? "" : " and values that are not finite");
    double *r = dart_calloc((size_t)n * n, sizeof *r);
    if (!r) return DART_MEMORY;
    while (info > 0 && damping < 1) {
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j <= i; j++) r[(size_t)i * n + j] = covariance[(size_t)i * n + j];
        for (uint32_t i = 0; i < n; i++) r[(size_t)i * n + i] += damping * mean;
        info = LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (lapack_int)n, r, (lapack_int)n);
        *out_damping = damping;
        damping = damping > 0 ? 10 * damping : 1e-8;
    }
    dart_status status = dart_lapack_check(info, "dpotrf", r, 0);
    if (status != DART_OK) {
        free(r);
        return status;
    }
    *out = r;
    return DART_OK;
}

static bool is_input(const work *w, uint32_t digit)
{
    return w->d.stride[digit] < w->weight->in;
}

/* The triangle of one digit: of the partial trace of R R^T, or of L L^T, over all others. */
static dart_status digit_root(work *w, uint32_t digit)
{
    const bool input = is_input(w, digit);
    const uint32_t all = input ? w->weight->in : w->weight->out, n = w->d.dim[digit];
    const double *root = input ? w->metric.in : w->metric.out;
    const uint64_t stride = input ? w->d.stride[digit] : w->d.stride[digit] / w->weight->in;
    double damping;
    if (!root) return DART_OK;
    if (n == all && !input) { /* it is its own product */
        w->lower[digit] = root;
        return DART_OK;
    }
    double *trace = dart_calloc((size_t)n * n, sizeof *trace);
    dart_status status = trace ? DART_OK : DART_MEMORY;
    for (uint32_t c = 0; status == DART_OK && c < all; c++) {
        if (c / stride % n) continue; /* each set of the other digits once */
        /* the n rows c + i stride of the triangle */
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)n, (int)all, 1,
            root + (size_t)c * all, (int)(stride * all), 1, trace, (int)n);
    }
    if (status == DART_OK) status = dart_metric_root(n, trace, &w->owned[digit], &damping);
    w->lower[digit] = w->owned[digit];
    free(trace);
    return status;
}

/* x (outer, n, inner) times the triangle along n, or times its inverse. */
static void along(
    double *x, uint64_t outer, uint32_t n, uint64_t inner, const double *lower, bool inverse)
{
    if (inner == 1) {
        if (inverse)
            cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit,
                (int)outer, (int)n, 1, lower, (int)n, x, (int)n);
        else
            cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit,
                (int)outer, (int)n, 1, lower, (int)n, x, (int)n);
        return;
    }
    for (uint64_t o = 0; o < outer; o++, x += n * inner) {
        if (inverse)
            cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)n,
                (int)inner, 1, lower, (int)n, x, (int)inner);
        else
            cblas_dtrmm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)n,
                (int)inner, 1, lower, (int)n, x, (int)inner);
    }
}

/* x: digits `first` and later, with `outer` rows before them. */
static void along_digits(const work *w, uint32_t first, uint32_t end, uint64_t outer,
    uint64_t inner, bool inverse, double *x)
{
    for (uint32_t k = first; k < end; k++) inner *= w->d.dim[k];
    for (uint32_t k = first; k < end; k++) {
        inner /= w->d.dim[k];
        if (w->lower[k]) along(x, outer, w->d.dim[k], inner, w->lower[k], inverse);
        outer *= w->d.dim[k];
    }
}

/* ---- the matrix in the chain's order ---- */

static void work_free(work *w)
{
    for (uint32_t k = 0; k < 2 * DART_MAX_MODES; k++) free(w->owned[k]);
    free(w->dense);
    w->dense = NULL;
}

static dart_status work_new(const dart_weight *weight, const dart_layout *layout, const float *base,
    dart_metric metric, work *w)
{
    dart_status status = DART_OK;
    const dart_network net = dart_network_of(weight, layout);
    uint32_t index[2 * DART_MAX_MODES] = {0}, inputs = 0;
    *w = (work){.weight = weight, .metric = metric, .scale = net.term[0].scale};
    w->d = dart_digits_of(weight, &net);
    w->words = (uint64_t)layout->padded_out * weight->in;
    uint64_t left = 1;
    for (uint32_t k = 0; k < w->d.cores && dart_digits_in_order(&w->d); k++) {
        left *= w->d.n[k];
        if (left == layout->padded_out && k + 1 < w->d.cores) w->split = k + 1;
    }
    w->dense = dart_calloc(w->words, sizeof *w->dense);
    if (!w->dense) return DART_MEMORY;
    for (uint64_t i = 0, at = 0; i < w->words; i++, dart_digits_next(&w->d, index, &at))
        w->dense[i] = dart_digits_entry(weight, base, at);
    for (uint32_t k = 0; k < w->d.count; k++) inputs += is_input(w, k);
    /* One input digit alone needs no product. */
    for (uint32_t k = 0; k < w->d.count; k++)
        if (!(is_input(w, k) && w->split && inputs == 1)) DART_GOTO(digit_root(w, k));
done:
    if (status != DART_OK) work_free(w);
    return status;
}

/* rows of `in` numbers times R, or times its inverse */
static void by_root(const work *w, uint64_t rows, bool inverse, double *x)
{
    const int in = (int)w->weight->in;
    if (inverse)
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)rows,
            in, 1, w->metric.in, in, x, in);
    else
        cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)rows,
            in, 1, w->metric.in, in, x, in);
}

/* Into the metric in which the first bond is cut. */
static void enter(work *w)
{
    const bool whole = w->metric.in && w->split; /* the inputs */
    if (whole) by_root(w, w->words / w->weight->in, false, w->dense);
    along_digits(w, 0, whole ? w->d.first[w->split] : w->d.count, 1, whole ? w->weight->in : 1,
        false, w->dense);
}

/* From the metric left of the input digits into that between them: x (rows, in). */
static void change(const work *w, uint64_t rows, double *x)
{
    if (!w->metric.in) return;
    by_root(w, rows, true, x);
    along_digits(w, w->d.first[w->split], w->d.count, rows, 1, false, x);
}

/* The bond between output and input digits is cut first, in both metrics as they are. */
static bool both_sides(const work *w)
{
    return w->metric.out && w->split && w->d.first[w->split] > 1;
}

/* Into the metric of that bond. */
static void enter_middle(const work *w, double *x)
{
    along(x, 1, w->weight->out, w->weight->in, w->metric.out, false);
    if (w->metric.in) by_root(w, w->weight->out, false, x);
}

/* ---- spectra ---- */

/* Singular values of a (m,n), descending, through the Gram matrix of its shorter side. */
static dart_status values_of(const double *a, uint64_t m, uint64_t n, double **out)
{
    const bool wide = m <= n;
    const uint64_t r = wide ? m : n;
    double *g = dart_calloc((size_t)(r * r), sizeof *g), *s = dart_calloc((size_t)r, sizeof *s);
    dart_status status = g && s ? DART_OK : DART_MEMORY;
    *out = NULL;
    if (status == DART_OK) {
        cblas_dsyrk(CblasRowMajor, CblasUpper, wide ? CblasNoTrans : CblasTrans, (int)r,
            (int)(wide ? n : m), 1, a, (int)n, 0, g, (int)r);
        status = dart_lapack_check(
            LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'N', 'U', (lapack_int)r, g, (lapack_int)r, s),
            "dsyevd", g, (size_t)(r * r));
    }
    free(g);
    for (uint64_t i = 0; status == DART_OK && i < r; i++) s[i] = s[i] > 0 ? sqrt(s[i]) : 0;
    for (uint64_t i = 0, j = r; status == DART_OK && i + 1 < j; i++) {
        const double x = s[i];
        s[i] = s[--j];
        s[j] = x;
    }
    if (status == DART_OK)
        *out = s;
    else
        free(s);
    return status;
}

dart_status dart_decompose_spectra(const dart_weight *weight, const dart_layout *layout,
    const float *base, dart_metric metric, double *sigma[DART_CHAIN_MAX])
{
    work w;
    dart_status status = DART_OK;
    uint64_t left = 1;
    double *middle = NULL;
    memset(sigma, 0, DART_CHAIN_MAX * sizeof *sigma);
    DART_TRY(work_new(weight, layout, base, metric, &w));
    if (both_sides(&w)) {
        middle = dart_calloc(w.words, sizeof *middle);
        if (!middle) status = DART_MEMORY;
        DART_GOTO(status);
        memcpy(middle, w.dense, w.words * sizeof *middle);
        enter_middle(&w, middle);
    }
    enter(&w);
    for (uint32_t k = 0; k + 1 < w.d.cores; k++) {
        left *= w.d.n[k];
        if (middle && k + 1 == w.split) {
            free(w.dense);
            w.dense = middle;
            middle = NULL;
        }
        DART_GOTO(values_of(w.dense, left, w.words / left, &sigma[k]));
        if (k + 1 == w.split) change(&w, left, w.dense);
    }
done:
    free(middle);
    work_free(&w);
    for (uint32_t k = 0; status != DART_OK && k < DART_CHAIN_MAX; k++) {
        free(sigma[k]);
        sigma[k] = NULL;
    }
    return status;
}

/* ---- the chain ---- */

/* Cuts bond k of what is left, (rank, n_k, rest): *rest becomes (new rank, rest). */
static dart_status cut_bond(
    const work *w, uint32_t k, uint32_t rank, uint64_t *words, double **rest, dart_chain *out)
{
    const uint32_t m = out->rank[k] * w->d.n[k], n = (uint32_t)(*words / m);
    const uint32_t least = m < n ? m : n, r = rank < least ? rank : least;
    double *u = dart_calloc((size_t)m * r, sizeof *u), *s = dart_calloc(r, sizeof *s);
    double *vt = dart_calloc((size_t)r * n, sizeof *vt);
    dart_status status = u && s && vt ? DART_OK : DART_MEMORY;
    if (status == DART_OK) status = dart_lapack_svd_top(m, n, *rest, r, u, s, vt);
    if (status == DART_OK) {
        for (uint32_t i = 0; i < r; i++) cblas_dscal((int)n, s[i], vt + (size_t)i * n, 1);
        free(out->core[k]);
        free(*rest);
        out->core[k] = u;
        out->rank[k + 1] = r;
        *rest = vt;
        *words = (uint64_t)r * n;
        u = vt = NULL;
    }
    free(u);
    free(s);
    free(vt);
    return status;
}

/* Every core in plain coordinates again. */
static void leave(const work *w, dart_chain *chain)
{
    for (uint32_t k = 0; k < chain->cores; k++)
        along_digits(w, w->d.first[k], w->d.first[k + 1], chain->rank[k], chain->rank[k + 1], true,
            chain->core[k]);
}

/* Cuts bonds [first, last) of `rest` and makes what is left of it the core behind them; takes it.
 */
static dart_status cut_bonds(const work *w, const dart_weight *weight, uint32_t first,
    uint32_t last, uint64_t words, double **rest, dart_chain *out)
{
    for (uint32_t k = first; k < last; k++)
        DART_TRY(cut_bond(w, k, weight->ranks[k + 1], &words, rest, out));
    free(out->core[last]);
    out->core[last] = *rest;
    *rest = NULL;
    return DART_OK;
}

/* U S V^T of the bond between output and input digits; the left part is L^-T U S while its bonds
 * are cut, the right part S V^T R^-1, so that their errors are those of the whole. */
static dart_status cut_both_sides(work *w, const dart_weight *weight, dart_chain *out)
{
    const uint32_t rows = weight->out, columns = weight->in, at = w->split;
    const uint32_t most = rows < columns ? rows : columns;
    const uint32_t r = weight->ranks[at] < most ? weight->ranks[at] : most;
    double *u = dart_calloc((size_t)rows * r, sizeof *u), *s = dart_calloc(r, sizeof *s);
    double *vt = dart_calloc((size_t)r * columns, sizeof *vt);
    dart_status status = u && s && vt ? DART_OK : DART_MEMORY;
    DART_GOTO(status);
    enter_middle(w, w->dense);
    DART_GOTO(dart_lapack_svd_top(rows, columns, w->dense, r, u, s, vt));
    for (uint32_t i = 0; i < r; i++) {
        cblas_dscal((int)rows, s[i], u + i, (int)r);
        cblas_dscal((int)columns, s[i], vt + (size_t)i * columns, 1);
    }
    along(u, 1, rows, r, w->metric.out, true);
    along_digits(w, 0, w->d.first[at], 1, r, false, u);
    out->rank[at] = r;
    DART_GOTO(cut_bonds(w, weight, 0, at - 1, (uint64_t)rows * r, &u, out));
    const uint64_t left = (uint64_t)out->rank[at - 1] * w->d.n[at - 1];
    for (uint32_t i = 0; i < r; i++) /* S is in the right part; what it has none of adds nothing */
        cblas_dscal((int)left, s[i] > 1e-14 * s[0] ? 1 / s[i] : 0, out->core[at - 1] + i, (int)r);
    change(w, r, vt);
    DART_GOTO(cut_bonds(w, weight, at, w->d.cores - 1, (uint64_t)r * columns, &vt, out));
done:
    free(u);
    free(s);
    free(vt);
    return status;
}

/* From the left end on. */
static dart_status cut_from_left(work *w, const dart_weight *weight, dart_chain *out)
{
    enter(w);
    for (uint32_t k = 0; k + 1 < w->d.cores; k++) {
        DART_TRY(cut_bond(w, k, weight->ranks[k + 1], &w->words, &w->dense, out));
        if (k + 1 == w->split) change(w, out->rank[k + 1], w->dense);
    }
    free(out->core[w->d.cores - 1]);
    out->core[w->d.cores - 1] = w->dense;
    w->dense = NULL;
    return DART_OK;
}

dart_status dart_decompose(const dart_weight *weight, const dart_layout *layout, const float *base,
    dart_metric metric, float *const *tensor)
{
    work w;
    dart_status status = DART_OK;
    uint32_t ones[DART_CHAIN_MAX + 1];
    dart_chain chain = {0};
    for (uint32_t k = 0; k <= DART_CHAIN_MAX; k++) ones[k] = 1;
    DART_TRY(work_new(weight, layout, base, metric, &w));
    DART_GOTO(dart_chain_new(w.d.cores, w.d.n, ones, &chain));
    DART_GOTO(
        both_sides(&w) ? cut_both_sides(&w, weight, &chain) : cut_from_left(&w, weight, &chain));
    leave(&w, &chain);
    DART_GOTO(dart_chain_balance(&chain));
    dart_adopt_cores(weight, layout, &chain, pow(w.scale, -1.0 / w.d.cores), tensor);
done:
    dart_chain_free(&chain);
    work_free(&w);
    return status;
}

dart_status dart_decompose_error(const dart_weight *weight, const float *base, const float *instead,
    dart_metric metric, double *out, double *out_whole)
{
    const uint64_t words = (uint64_t)weight->out * weight->in;
    const work w = {.weight = weight, .metric = metric};
    double *x = dart_calloc(words, sizeof *x);
    if (!x) return DART_MEMORY;
    for (int whole = 0; whole < (out_whole ? 2 : 1); whole++) {
        for (uint64_t i = 0; i < words; i++) x[i] = whole ? base[i] : (double)instead[i] - base[i];
        if (metric.in) by_root(&w, weight->out, false, x);
        if (metric.out) along(x, 1, weight->out, weight->in, metric.out, false);
        *(whole ? out_whole : out) = cblas_dnrm2((int)words, x, 1);
    }
    free(x);
    return DART_OK;
}
