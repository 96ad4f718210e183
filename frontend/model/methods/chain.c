/* Tensor-train algorithms on the host in f64, through LAPACK. Every step works on unfolded cores:
 * the dense tensor is formed only by dart_chain_dense and read only by dart_chain_from_dense. */
#include "chain.h"
#include "lapack.h"
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t core_words(const dart_chain *chain, uint32_t k)
{
    return (uint64_t)chain->rank[k] * chain->n[k] * chain->rank[k + 1];
}

dart_status dart_chain_new(uint32_t cores, const uint32_t *n, const uint32_t *rank, dart_chain *out)
{
    memset(out, 0, sizeof *out);
    if (cores < 1 || cores > DART_CHAIN_MAX)
        return dart_fail(
            DART_INPUT, "a chain has 1 to %d cores, %u were asked for", DART_CHAIN_MAX, cores);
    if (rank[0] != 1 || rank[cores] != 1)
        return dart_fail(DART_INPUT, "the outer ranks of a chain must be 1, got %u and %u", rank[0],
            rank[cores]);
    out->cores = cores;
    for (uint32_t k = 0; k < cores; k++) {
        if (n[k] == 0 || rank[k + 1] == 0) {
            dart_chain_free(out);
            return dart_fail(DART_INPUT, "core %u of a chain has an empty axis", k);
        }
        out->n[k] = n[k];
        out->rank[k] = rank[k];
        out->rank[k + 1] = rank[k + 1];
        out->core[k] = dart_calloc((size_t)core_words(out, k), sizeof(double));
        if (!out->core[k]) {
            dart_chain_free(out);
            return DART_MEMORY;
        }
    }
    return DART_OK;
}

dart_status dart_chain_copy(const dart_chain *chain, dart_chain *out)
{
    DART_TRY(dart_chain_new(chain->cores, chain->n, chain->rank, out));
    for (uint32_t k = 0; k < chain->cores; k++)
        memcpy(out->core[k], chain->core[k], (size_t)core_words(chain, k) * sizeof(double));
    return DART_OK;
}

void dart_chain_free(dart_chain *chain)
{
    for (uint32_t k = 0; k < DART_CHAIN_MAX; k++) free(chain->core[k]);
    memset(chain, 0, sizeof *chain);
}

uint64_t dart_chain_words(const dart_chain *chain)
{
    uint64_t words = 0;
    for (uint32_t k = 0; k < chain->cores; k++) words += core_words(chain, k);
    return words;
}

/* out (m,n) = a (m,k) b (k,n), row-major, freshly allocated; NULL when out of memory. */
static double *multiply(uint64_t m, uint64_t n, uint64_t k, const double *a, const double *b)
{
    double *out = dart_calloc((size_t)(m * n), sizeof *out);
    if (out)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1.0, a,
            (int)k, b, (int)n, 0.0, out, (int)n);
    return out;
}

/* core[k] := core[k] m, m (rank[k+1], columns). */
static dart_status absorb_right(dart_chain *chain, uint32_t k, const double *m, uint32_t columns)
{
    uint64_t rows = (uint64_t)chain->rank[k] * chain->n[k];
    double *core = multiply(rows, columns, chain->rank[k + 1], chain->core[k], m);
    if (!core) return DART_MEMORY;
    free(chain->core[k]);
    chain->core[k] = core;
    return DART_OK;
}

/* core[k] := m core[k], m (rows, rank[k]). */
static dart_status absorb_left(dart_chain *chain, uint32_t k, const double *m, uint32_t rows)
{
    uint64_t columns = (uint64_t)chain->n[k] * chain->rank[k + 1];
    double *core = multiply(rows, columns, chain->rank[k], m, chain->core[k]);
    if (!core) return DART_MEMORY;
    free(chain->core[k]);
    chain->core[k] = core;
    return DART_OK;
}

/* Left unfolding of core k = Q R; Q stays, R moves into core k+1. Bond k gets rank min(rows,
 * columns). */
static dart_status orthogonalise_left(dart_chain *chain, uint32_t k)
{
    dart_status status = DART_OK;
    uint32_t m = chain->rank[k] * chain->n[k], n = chain->rank[k + 1], r = m < n ? m : n;
    double *a = chain->core[k];
    double *tau = dart_calloc(r, sizeof *tau), *upper = dart_calloc((size_t)r * n, sizeof *upper);
    double *q = dart_calloc((size_t)m * r, sizeof *q);
    if (!tau || !upper || !q) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_lapack_check(
        LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, m, n, a, n, tau), "dgeqrf", a, (size_t)m * n));
    for (uint32_t i = 0; i < r; i++)
        memcpy(upper + (size_t)i * n + i, a + (size_t)i * n + i, (size_t)(n - i) * sizeof(double));
    for (uint32_t i = 0; i < m; i++)
        memcpy(q + (size_t)i * r, a + (size_t)i * n, (size_t)r * sizeof(double));
    DART_GOTO(dart_lapack_check(
        LAPACKE_dorgqr(LAPACK_ROW_MAJOR, m, r, r, q, r, tau), "dorgqr", q, (size_t)m * r));
    DART_GOTO(absorb_left(chain, k + 1, upper, r));
    chain->core[k] = q;
    chain->rank[k + 1] = r;
    q = NULL;
    free(a);
done:
    free(tau);
    free(upper);
    free(q);
    return status;
}

/* Right unfolding of core k = L Q; Q stays, L moves into core k-1. */
static dart_status orthogonalise_right(dart_chain *chain, uint32_t k)
{
    dart_status status = DART_OK;
    uint32_t m = chain->rank[k], n = chain->n[k] * chain->rank[k + 1], r = m < n ? m : n;
    double *a = chain->core[k];
    double *tau = dart_calloc(r, sizeof *tau), *lower = dart_calloc((size_t)m * r, sizeof *lower);
    double *q = dart_calloc((size_t)r * n, sizeof *q);
    if (!tau || !lower || !q) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_lapack_check(
        LAPACKE_dgelqf(LAPACK_ROW_MAJOR, m, n, a, n, tau), "dgelqf", a, (size_t)m * n));
    for (uint32_t i = 0; i < m; i++)
        memcpy(lower + (size_t)i * r, a + (size_t)i * n,
            (size_t)(i + 1 < r ? i + 1 : r) * sizeof(double));
    memcpy(q, a, (size_t)r * n * sizeof(double));
    DART_GOTO(dart_lapack_check(
        LAPACKE_dorglq(LAPACK_ROW_MAJOR, r, n, r, q, n, tau), "dorglq", q, (size_t)r * n));
    DART_GOTO(absorb_right(chain, k - 1, lower, r));
    chain->core[k] = q;
    chain->rank[k] = r;
    q = NULL;
    free(a);
done:
    free(tau);
    free(lower);
    free(q);
    return status;
}

dart_status dart_chain_canonical(dart_chain *chain, uint32_t center)
{
    if (center >= chain->cores)
        return dart_fail(DART_INPUT, "center %u of a chain of %u cores", center, chain->cores);
    for (uint32_t k = 0; k < center; k++) DART_TRY(orthogonalise_left(chain, k));
    for (uint32_t k = chain->cores - 1; k > center; k--) DART_TRY(orthogonalise_right(chain, k));
    return DART_OK;
}

typedef struct svd { /* a (m,n) = u (m,r) diag(s) vt (r,n), r <= min(m,n) */
    uint32_t m, n, r;
    double *u, *s, *vt;
} svd;

static void svd_free(svd *d)
{
    free(d->u);
    free(d->s);
    free(d->vt);
    memset(d, 0, sizeof *d);
}

/* The r largest values; top: by dart_lapack_svd_top, else r is all of them. */
static dart_status svd_by(const double *a, uint32_t m, uint32_t n, uint32_t r, bool top, svd *out)
{
    dart_status status = DART_OK;
    *out = (svd){m, n, r, dart_calloc((size_t)m * r, sizeof(double)),
        dart_calloc(r, sizeof(double)), dart_calloc((size_t)r * n, sizeof(double))};
    if (!out->u || !out->s || !out->vt) {
        status = dart_fail(DART_MEMORY, "out of memory for the SVD of a %u x %u core", m, n);
        goto done;
    }
    if (top)
        DART_GOTO(dart_lapack_svd_top(m, n, a, r, out->u, out->s, out->vt));
    else
        DART_GOTO(dart_lapack_svd(m, n, a, out->u, out->s, out->vt));
done:
    if (status != DART_OK) svd_free(out);
    return status;
}

/* most: as many values are enough; 0: all. */
static dart_status svd_of(const double *a, uint32_t m, uint32_t n, uint32_t most, svd *out)
{
    const uint32_t all = m < n ? m : n;
    const bool few = most && most <= all - all / 4;
    return svd_by(a, m, n, few ? most : all, few, out);
}

/* first r columns of u (m, width) */
static double *columns_of(const double *u, uint64_t m, uint32_t width, uint32_t r)
{
    double *out = dart_calloc((size_t)m * r, sizeof *out);
    for (uint64_t i = 0; out && i < m; i++)
        memcpy(out + i * r, u + i * width, (size_t)r * sizeof(double));
    return out;
}

/* Smallest r with tail norm <= delta, within 1..limit (limit 0: none). */
static uint32_t tail_rank(const double *s, uint32_t count, double delta, uint32_t limit)
{
    double tail = 0.0;
    uint32_t r = count;
    while (r > 1 && sqrt(tail + s[r - 1] * s[r - 1]) <= delta) {
        tail += s[r - 1] * s[r - 1];
        r--;
    }
    return limit && r > limit ? limit : r;
}

/* The center sits at core k: splits it by SVD to `rank` columns and moves the center to core k+1.
 * rank 0: by delta. *sigma (may be NULL) gets the values, padded with zeros to the old rank. */
static dart_status split_left(
    dart_chain *chain, uint32_t k, uint32_t rank, double delta, double *sigma)
{
    dart_status status = DART_OK;
    uint32_t m = chain->rank[k] * chain->n[k], n = chain->rank[k + 1];
    svd d;
    DART_TRY(svd_of(chain->core[k], m, n, 0, &d));
    uint32_t r = rank ? rank : tail_rank(d.s, d.r, delta, 0);
    if (r > d.r) r = d.r;
    if (sigma) memcpy(sigma, d.s, (size_t)d.r * sizeof(double));
    double *left = columns_of(d.u, m, d.r, r);
    if (!left) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < r; i++) cblas_dscal((int)n, d.s[i], d.vt + (size_t)i * n, 1);
    DART_GOTO(absorb_left(chain, k + 1, d.vt, r));
    free(chain->core[k]);
    chain->core[k] = left;
    chain->rank[k + 1] = r;
    left = NULL;
done:
    free(left);
    svd_free(&d);
    return status;
}

/* The center sits at the last core. Brings the chain to the gauge where both sides of a bond with
 * singular values s have Gram matrix diag(s): right-to-left SVDs leave the center at core 0, then a
 * diagonal gauge sqrt(s) goes into each bond. That gauge is exact for any positive diagonal, so
 * values at rounding level are lifted to stay invertible. top: as in svd_by. */
static dart_status balance(dart_chain *chain, bool top)
{
    dart_status status = DART_OK;
    double *gauge[DART_CHAIN_MAX] = {0}; /* gauge[k] belongs to the bond left of core k */
    for (uint32_t k = chain->cores - 1; k > 0; k--) {
        uint32_t m = chain->rank[k], n = chain->n[k] * chain->rank[k + 1];
        svd d;
        DART_GOTO(svd_by(chain->core[k], m, n, m < n ? m : n, top, &d));
        for (uint32_t i = 0; i < m; i++)
            for (uint32_t j = 0; j < d.r; j++) d.u[(size_t)i * d.r + j] *= d.s[j];
        status = absorb_right(chain, k - 1, d.u, d.r);
        if (status == DART_OK) {
            free(chain->core[k]);
            chain->core[k] = d.vt;
            chain->rank[k] = d.r;
            double floor = d.s[0] > 0.0 ? 1e-14 * d.s[0] : 1.0;
            for (uint32_t j = 0; j < d.r; j++) d.s[j] = sqrt(d.s[j] > floor ? d.s[j] : floor);
            gauge[k] = d.s;
            d.vt = d.s = NULL;
        }
        svd_free(&d);
        if (status != DART_OK) goto done;
    }
    for (uint32_t k = 1; k < chain->cores; k++) {
        uint32_t r = chain->rank[k], inner = chain->n[k] * chain->rank[k + 1];
        uint32_t outer = chain->rank[k - 1] * chain->n[k - 1];
        for (uint32_t j = 0; j < r; j++) {
            cblas_dscal((int)inner, gauge[k][j], chain->core[k] + (size_t)j * inner, 1);
            cblas_dscal((int)outer, 1.0 / gauge[k][j], chain->core[k - 1] + j, (int)r);
        }
    }
done:
    for (uint32_t k = 0; k < DART_CHAIN_MAX; k++) free(gauge[k]);
    return status;
}

dart_status dart_chain_spectra(const dart_chain *chain, double *spectrum[DART_CHAIN_MAX])
{
    dart_status status = DART_OK;
    dart_chain work = {0};
    for (uint32_t k = 0; k < DART_CHAIN_MAX; k++) spectrum[k] = NULL;
    for (uint32_t k = 0; k + 1 < chain->cores; k++) {
        spectrum[k] = dart_calloc(chain->rank[k + 1], sizeof(double));
        if (!spectrum[k]) {
            status = DART_MEMORY;
            goto done;
        }
    }
    DART_GOTO(dart_chain_copy(chain, &work));
    DART_GOTO(dart_chain_canonical(&work, 0));
    for (uint32_t k = 0; k + 1 < work.cores; k++)
        DART_GOTO(split_left(&work, k, work.rank[k + 1], 0.0, spectrum[k]));
done:
    dart_chain_free(&work);
    if (status != DART_OK)
        for (uint32_t k = 0; k < DART_CHAIN_MAX; k++) {
            free(spectrum[k]);
            spectrum[k] = NULL;
        }
    return status;
}

dart_status dart_chain_balance(dart_chain *chain)
{
    DART_TRY(dart_chain_canonical(chain, chain->cores - 1));
    return balance(chain, true);
}

dart_status dart_chain_cut(dart_chain *chain, const uint32_t *new_rank)
{
    for (uint32_t k = 0; k + 1 < chain->cores; k++)
        if (new_rank[k] < 1 || new_rank[k] > chain->rank[k + 1])
            return dart_fail(DART_INPUT, "bond %u has rank %u and cannot be cut to %u", k,
                chain->rank[k + 1], new_rank[k]);
    DART_TRY(dart_chain_canonical(chain, 0));
    for (uint32_t k = 0; k + 1 < chain->cores; k++)
        DART_TRY(split_left(chain, k, new_rank[k], 0.0, NULL));
    return balance(chain, false);
}

static double frobenius(const double *a, uint64_t count)
{
    return cblas_dnrm2((int)count, a, 1);
}

dart_status dart_chain_round(dart_chain *chain, double epsilon)
{
    DART_TRY(dart_chain_canonical(chain, 0));
    double bonds = chain->cores > 1 ? chain->cores - 1 : 1;
    double delta = epsilon * frobenius(chain->core[0], core_words(chain, 0)) / sqrt(bonds);
    for (uint32_t k = 0; k + 1 < chain->cores; k++) DART_TRY(split_left(chain, k, 0, delta, NULL));
    return balance(chain, false);
}

double dart_chain_norm(const dart_chain *chain)
{
    dart_chain work = {0};
    double norm = NAN;
    if (dart_chain_copy(chain, &work) == DART_OK && dart_chain_canonical(&work, 0) == DART_OK)
        norm = frobenius(work.core[0], core_words(&work, 0));
    dart_chain_free(&work);
    return norm;
}

dart_status dart_chain_add(const dart_chain *a, const dart_chain *b, dart_chain *out)
{
    uint32_t rank[DART_CHAIN_MAX + 1];
    if (a->cores != b->cores || memcmp(a->n, b->n, a->cores * sizeof a->n[0]) != 0)
        return dart_fail(DART_INPUT, "chains of different shapes cannot be added");
    for (uint32_t k = 0; k <= a->cores; k++)
        rank[k] = k == 0 || k == a->cores ? 1 : a->rank[k] + b->rank[k];
    DART_TRY(dart_chain_new(a->cores, a->n, rank, out));
    for (uint32_t k = 0; k < a->cores; k++) {
        uint32_t rows = rank[k], columns = rank[k + 1], n = a->n[k];
        const dart_chain *part[2] = {a, b};
        for (int p = 0; p < 2; p++) { /* block diagonal; the outer cores are a row and a column */
            uint32_t pr = part[p]->rank[k], pc = part[p]->rank[k + 1];
            uint32_t top = p == 1 && k > 0 ? rows - pr : 0;
            uint32_t left = p == 1 && k + 1 < a->cores ? columns - pc : 0;
            for (uint32_t i = 0; i < pr; i++)
                for (uint32_t j = 0; j < n; j++)
                    for (uint32_t l = 0; l < pc; l++)
                        out->core[k][((size_t)(top + i) * n + j) * columns + left + l] +=
                            part[p]->core[k][((size_t)i * n + j) * pc + l];
        }
    }
    return DART_OK;
}

/* cores [first, last) merged: (rank[first], prod n, rank[last]) */
static dart_status merge(const dart_chain *chain, uint32_t first, uint32_t last, double **out)
{
    uint64_t rows = (uint64_t)chain->rank[first] * chain->n[first];
    double *merged = dart_calloc((size_t)core_words(chain, first), sizeof *merged);
    if (!merged) return DART_MEMORY;
    memcpy(merged, chain->core[first], (size_t)core_words(chain, first) * sizeof *merged);
    for (uint32_t k = first + 1; k < last; k++) {
        uint64_t columns = (uint64_t)chain->n[k] * chain->rank[k + 1], words;
        double *next = NULL;
        if (!dart_mul_u64(rows, columns, &words) || rows > INT32_MAX || columns > INT32_MAX)
            (void)dart_fail(DART_MEMORY, "a merged chain of %llu x %llu entries is too large",
                (unsigned long long)rows, (unsigned long long)columns);
        else
            next = multiply(rows, columns, chain->rank[k], merged, chain->core[k]);
        free(merged);
        if (!next) return DART_MEMORY;
        merged = next;
        rows *= chain->n[k];
    }
    *out = merged;
    return DART_OK;
}

dart_status dart_chain_dense(const dart_chain *chain, double **out)
{
    return merge(chain, 0, chain->cores, out);
}

dart_status dart_chain_halves(
    const dart_chain *chain, uint32_t bond, double **out_left, double **out_right)
{
    if (bond + 1 >= chain->cores)
        return dart_fail(DART_INPUT, "bond %u of a chain of %u cores", bond, chain->cores);
    DART_TRY(merge(chain, 0, bond + 1, out_left));
    dart_status status = merge(chain, bond + 1, chain->cores, out_right);
    if (status != DART_OK) {
        free(*out_left);
        *out_left = NULL;
    }
    return status;
}

dart_status dart_chain_from_dense(const double *dense, uint32_t cores, const uint32_t *n,
    double epsilon, uint32_t max_rank, dart_chain *out)
{
    dart_status status = DART_OK;
    uint32_t ones[DART_CHAIN_MAX + 1];
    uint64_t rest = 1;
    double *work = NULL;
    for (uint32_t k = 0; k <= DART_CHAIN_MAX; k++) ones[k] = 1;
    DART_TRY(dart_chain_new(cores, n, ones, out));
    for (uint32_t k = 0; k < cores; k++)
        if (!dart_mul_u64(rest, n[k], &rest) || rest > INT32_MAX) {
            status = dart_fail(DART_MEMORY, "a dense tensor of more than 2^31 entries");
            goto done;
        }
    double delta = epsilon * frobenius(dense, rest) / sqrt(cores > 1 ? cores - 1 : 1);
    work = dart_calloc((size_t)rest, sizeof *work);
    if (!work) {
        status = DART_MEMORY;
        goto done;
    }
    memcpy(work, dense, (size_t)rest * sizeof *work);
    for (uint32_t k = 0; k + 1 < cores; k++) {
        uint32_t m = out->rank[k] * n[k];
        rest /= n[k];
        svd d;
        DART_GOTO(svd_of(work, m, (uint32_t)rest, epsilon > 0 ? 0 : max_rank, &d));
        uint32_t r = tail_rank(d.s, d.r, delta, max_rank);
        double *left = columns_of(d.u, m, d.r, r);
        for (uint32_t i = 0; i < r; i++) cblas_dscal((int)rest, d.s[i], d.vt + (size_t)i * rest, 1);
        free(work);
        work = d.vt; /* its first r rows are the remainder */
        d.vt = NULL;
        svd_free(&d);
        if (!left) {
            status = DART_MEMORY;
            goto done;
        }
        free(out->core[k]);
        out->core[k] = left;
        out->rank[k + 1] = r;
    }
    free(out->core[cores - 1]);
    out->core[cores - 1] = work;
    work = NULL;
done:
    free(work);
    if (status != DART_OK) dart_chain_free(out);
    return status;
}
