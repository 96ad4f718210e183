/* Soft-thresholding of bond spectra, and a gauge close to an earlier one, on the host in f64. */
#include "chain.h"
#include "lapack.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t words_of(const dart_chain *chain, uint32_t k)
{
    return (uint64_t)chain->rank[k] * chain->n[k] * chain->rank[k + 1];
}

/* c (m,n) = op(a) b with a (m,k), or with `turn` (k,m); row-major. */
static void product(
    bool turn, uint64_t m, uint64_t n, uint64_t k, const double *a, const double *b, double *c)
{
    cblas_dgemm(CblasRowMajor, turn ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)m, (int)n,
        (int)k, 1.0, a, (int)(turn ? m : k), b, (int)n, 0.0, c, (int)n);
}

/* sigma - share * mean of those above rounding, not below 0 */
static void soften(double *sigma, uint32_t count, double share)
{
    double sum = 0;
    uint32_t live = 0;
    for (uint32_t j = 0; j < count; j++) {
        if (!(sigma[j] > 1e-7 * sigma[0])) continue;
        sum += sigma[j];
        live++;
    }
    double by = live ? share * sum / live : 0;
    for (uint32_t j = 0; j < count; j++) sigma[j] = sigma[j] > by ? sigma[j] - by : 0;
}

/* The center sits at core k: softens bond k and moves the center to core k + 1. */
static dart_status soften_bond(dart_chain *chain, uint32_t k, double share)
{
    dart_status status = DART_OK;
    uint32_t m = chain->rank[k] * chain->n[k], n = chain->rank[k + 1], r = m < n ? m : n;
    uint64_t columns = (uint64_t)chain->n[k + 1] * chain->rank[k + 2];
    double *u = dart_calloc((size_t)m * r, sizeof *u), *s = dart_calloc(r, sizeof *s);
    double *vt = dart_calloc((size_t)r * n, sizeof *vt);
    double *next = dart_calloc((size_t)(r * columns), sizeof *next);
    if (!u || !s || !vt || !next) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_lapack_svd(m, n, chain->core[k], u, s, vt));
    soften(s, r, share);
    for (uint32_t i = 0; i < r; i++) cblas_dscal((int)n, s[i], vt + (size_t)i * n, 1);
    product(false, r, columns, n, vt, chain->core[k + 1], next);
    free(chain->core[k]);
    free(chain->core[k + 1]);
    chain->core[k] = u;
    chain->core[k + 1] = next;
    chain->rank[k + 1] = r;
    u = next = NULL;
done:
    free(u);
    free(s);
    free(vt);
    free(next);
    return status;
}

/* cross[b][b'] = sum over the left index pairs and n of a[.,n,b] inner[.,.'] b[.',n,b'], the inner
 * products of the columns of both chains' left sides at the bond right of core k; `inner` is that
 * of the bond before (1 x 1 at first). */
static dart_status cross_left(
    const dart_chain *a, const dart_chain *b, uint32_t k, const double *inner, double *cross)
{
    uint64_t columns = (uint64_t)b->n[k] * b->rank[k + 1];
    double *half = dart_calloc((size_t)(a->rank[k] * columns), sizeof *half);
    if (!half) return DART_MEMORY;
    product(false, a->rank[k], columns, b->rank[k], inner, b->core[k], half);
    product(true, a->rank[k + 1], b->rank[k + 1], (uint64_t)a->rank[k] * a->n[k], a->core[k], half,
        cross);
    free(half);
    return DART_OK;
}

/* The same from the right: at the bond left of core k. */
static dart_status cross_right(
    const dart_chain *a, const dart_chain *b, uint32_t k, const double *inner, double *cross)
{
    uint64_t rows = (uint64_t)a->rank[k] * a->n[k];
    double *half = dart_calloc((size_t)(rows * b->rank[k + 1]), sizeof *half);
    if (!half) return DART_MEMORY;
    product(false, rows, b->rank[k + 1], a->rank[k + 1], a->core[k], inner, half);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)a->rank[k], (int)b->rank[k],
        (int)(b->n[k] * b->rank[k + 1]), 1.0, half, (int)(b->n[k] * b->rank[k + 1]), b->core[k],
        (int)(b->n[k] * b->rank[k + 1]), 0.0, cross, (int)b->rank[k]);
    free(half);
    return DART_OK;
}

static void normalise(double *x, uint64_t words)
{
    double norm = cblas_dnrm2((int)words, x, 1);
    if (norm > 0) cblas_dscal((int)words, 1.0 / norm, x, 1);
}

/* turn (ra, rb) with orthonormal rows (ra <= rb): of all such, closest to what takes both sides of
 * a's bond to b's. */
static dart_status turn_of(uint32_t ra, uint32_t rb, double *left, double *right, double *turn)
{
    dart_status status = DART_OK;
    uint64_t words = (uint64_t)ra * rb;
    double *u = dart_calloc((size_t)ra * ra, sizeof *u), *s = dart_calloc(ra, sizeof *s);
    double *vt = dart_calloc((size_t)words, sizeof *vt);
    if (!u || !s || !vt) {
        status = DART_MEMORY;
        goto done;
    }
    normalise(left, words);
    normalise(right, words);
    cblas_daxpy((int)words, 1.0, right, 1, left, 1);
    DART_GOTO(dart_lapack_svd(ra, rb, left, u, s, vt));
    product(false, ra, rb, ra, u, vt, turn);
done:
    free(u);
    free(s);
    free(vt);
    return status;
}

/* core k := turn[k]^T core k turn[k + 1] */
static dart_status turn_core(dart_chain *a, const dart_chain *b, uint32_t k, double *const *turn)
{
    uint64_t rows = (uint64_t)a->rank[k] * a->n[k], columns = (uint64_t)a->n[k] * b->rank[k + 1];
    double *half = dart_calloc((size_t)(rows * b->rank[k + 1]), sizeof *half);
    double *core = dart_calloc((size_t)(b->rank[k] * columns), sizeof *core);
    if (half && core) {
        product(false, rows, b->rank[k + 1], a->rank[k + 1], a->core[k], turn[k + 1], half);
        product(true, b->rank[k], columns, a->rank[k], turn[k], half, core);
        free(a->core[k]);
        a->core[k] = core;
        core = NULL;
    }
    dart_status status = half && !core ? DART_OK : DART_MEMORY;
    free(half);
    free(core);
    return status;
}

/* Brings the cores' norms into the proportions of b's, by factors whose product is 1. */
static void scale_cores(dart_chain *a, const dart_chain *b)
{
    double factor[DART_CHAIN_MAX], logs = 0;
    for (uint32_t k = 0; k < a->cores; k++) {
        double from = cblas_dnrm2((int)words_of(a, k), a->core[k], 1);
        double to = cblas_dnrm2((int)words_of(b, k), b->core[k], 1);
        if (!(from > 0) || !(to > 0)) return;
        factor[k] = to / from;
        logs += log(factor[k]) / a->cores;
    }
    for (uint32_t k = 0; k < a->cores; k++)
        cblas_dscal((int)words_of(a, k), factor[k] / exp(logs), a->core[k], 1);
}

dart_status dart_chain_align(dart_chain *chain, const dart_chain *like)
{
    dart_status status = DART_OK;
    double *left[DART_CHAIN_MAX + 1] = {0}, *right[DART_CHAIN_MAX + 1] = {0};
    double *turn[DART_CHAIN_MAX + 1] = {0};
    const uint32_t cores = chain->cores;
    if (cores != like->cores || memcmp(chain->n, like->n, cores * sizeof chain->n[0]) != 0)
        return dart_fail(DART_INPUT, "chains of different shapes cannot be aligned");
    for (uint32_t k = 0; k <= cores; k++) {
        size_t words = (size_t)chain->rank[k] * like->rank[k];
        if (chain->rank[k] > like->rank[k]) {
            status = dart_fail(DART_INPUT, "bond %u has rank %u and is to be aligned to rank %u", k,
                chain->rank[k], like->rank[k]);
            goto done;
        }
        left[k] = dart_calloc(words, sizeof *left[k]);
        right[k] = dart_calloc(words, sizeof *right[k]);
        turn[k] = dart_calloc(words, sizeof *turn[k]);
        if (!left[k] || !right[k] || !turn[k]) {
            status = DART_MEMORY;
            goto done;
        }
    }
    *left[0] = *right[cores] = *turn[0] = *turn[cores] = 1;
    for (uint32_t k = 0; k + 1 < cores; k++)
        DART_GOTO(cross_left(chain, like, k, left[k], left[k + 1]));
    for (uint32_t k = cores - 1; k > 0; k--)
        DART_GOTO(cross_right(chain, like, k, right[k + 1], right[k]));
    for (uint32_t k = 1; k < cores; k++)
        DART_GOTO(turn_of(chain->rank[k], like->rank[k], left[k], right[k], turn[k]));
    for (uint32_t k = 0; k < cores; k++) DART_GOTO(turn_core(chain, like, k, turn));
    memcpy(chain->rank, like->rank, (cores + 1) * sizeof chain->rank[0]);
    scale_cores(chain, like);
done:
    for (uint32_t k = 0; k <= cores; k++) {
        free(left[k]);
        free(right[k]);
        free(turn[k]);
    }
    return status;
}

dart_status dart_chain_shrink(dart_chain *chain, double share)
{
    dart_status status = DART_OK;
    dart_chain before;
    DART_TRY(dart_chain_copy(chain, &before));
    DART_GOTO(dart_chain_canonical(chain, 0));
    for (uint32_t k = 0; k + 1 < chain->cores; k++) DART_GOTO(soften_bond(chain, k, share));
    uint32_t same[DART_CHAIN_MAX];
    for (uint32_t k = 0; k + 1 < chain->cores; k++) same[k] = chain->rank[k + 1];
    DART_GOTO(dart_chain_cut(chain, same)); /* cuts nothing, balances */
    DART_GOTO(dart_chain_align(chain, &before));
done:
    dart_chain_free(&before);
    return status;
}
