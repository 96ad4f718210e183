/* gemm: products of `product.c`, or of OpenBLAS with one thread, called from our threads on parts
 * whose bounds follow from the shape alone. Launches that follow one another and add to the same
 * matrix are one: a part of it stays in a cache while all of them add to it. */
#include "product.h"
#include <cblas.h>
#include <string.h>

#ifdef DART_F64
#define GEMM cblas_dgemm
#define GEMV cblas_dgemv
#else
#define GEMM cblas_sgemm
#define GEMV cblas_sgemv
#endif

/* split[0]: rows of a part; split[1]: columns of a part; split[2]: parts of k, summed in order in
 * phase 1; split[3]: matrices of the batch in one task, 0 where the products are ours. */
enum {
    SMALL = 6 * 6 * 6,
    LEAST = 2 << 20,
    ENOUGH = 32 << 20,
    MOST = 128 << 20,
    K_PART = 512,
    K_LONG = 1536,
    SUM_ROWS = 16
};

static uint64_t batches(const gemm_params *p)
{
    return (uint64_t)p->batch0 * p->batch1 * p->batch2;
}

/* Room for the sums of each part of k, and the tasks that add them up. */
static void plan_sums(cpu_work *work)
{
    PARAM(gemm);
    const uint64_t words = work->split[2] * batches(p) * p->m * p->n;
    work->shared_bytes = dart_round_up(words * sizeof(real), 64);
    work->tasks[1] = (uint32_t)(batches(p) * cpu_parts(p->m, SUM_ROWS));
}

#ifdef CPU_PRODUCT
/* Fewer rows or columns than packing the other matrix pays for. */
enum { FEW = 16 };

static bool thin(const gemm_params *p)
{
    const uint64_t few = cpu_least(p->m, p->n), words = (uint64_t)p->m * p->n;
    return few > 1 && few < FEW && p->k >= 64 && words >= 64 * few && words * p->k >= 1 << 17;
}

/* The library has kernels of its own for products below 100 x 100 x 100. */
static bool ours(const gemm_params *p)
{
    const uint64_t whole = 65536, words = (uint64_t)p->m * p->n;
    return p->m >= FEW && p->n >= FEW && p->k && (words >= whole || words * p->k > 100 * 100 * 100);
}

/* Parts of the long side, each read once. */
static void plan_thin(cpu_work *work)
{
    PARAM(gemm);
    const uint64_t batch = batches(p), most_tasks = 8, few_flops = 1 << 19;
    const uint64_t flops = 2 * (uint64_t)p->m * p->n * p->k;
    const uint64_t parts = cpu_least(most_tasks, (flops + few_flops - 1) / few_flops);
    const bool tall = p->n < p->m;
    uint64_t per = tall ? p->m : p->n;
    per = dart_round_up((per + parts - 1) / parts, CPU_STRIP);
    work->split[0] = tall ? (uint32_t)per : p->m;
    work->split[1] = tall ? p->n : (uint32_t)per;
    work->split[2] = 1;
    work->split[3] = 0;
    work->tasks[0] =
        (uint32_t)(batch * cpu_parts(p->m, work->split[0]) * cpu_parts(p->n, work->split[1]));
    work->slot_bytes = CPU(thin_words)() * sizeof(real);
}

/* Parts of whole strips of columns, each with as many rows as there are, so that little is packed
 * twice; no more of them than threads share evenly, as no bit depends on how a matrix is cut. */
static void plan_ours(cpu_work *work)
{
    PARAM(gemm);
    const uint64_t batch = batches(p), flops = 2 * batch * p->m * p->n * p->k;
    const uint64_t most_rows = 512, for_each = 3, for_a_task = 8 << 20, most_sums = 16,
                   most_cols = 6 * CPU_STRIP;
    uint64_t want = cpu_least(flops / for_a_task, for_each * work->threads), rows = p->m;
    uint64_t cols = most_cols, parts = 1;
    if (rows > most_rows) rows = dart_round_up((rows - 1) / cpu_parts(rows, most_rows) + 1, 16);
    /* Where much is summed, parts of the sums: fewer rows or columns would pack more for each. */
    const uint64_t wide = batch * cpu_parts(p->m, rows) * cpu_parts(p->n, cols);
    if (wide < most_sums && p->k >= 2 * K_LONG)
        parts = cpu_least(p->k / K_LONG, (most_sums + wide - 1) / wide);
    if (flops >= LEAST && want < work->threads) want = work->threads;
    while (parts == 1 && batch * cpu_parts(p->m, rows) * cpu_parts(p->n, cols) < want) {
        if (cols > CPU_STRIP && p->n > CPU_STRIP)
            cols -= CPU_STRIP;
        else if (rows >= 64)
            rows = dart_round_up((rows + 1) / 2, 16);
        else
            break;
    }
    work->split[0] = (uint32_t)rows;
    work->split[1] = (uint32_t)cols;
    work->split[2] = (uint32_t)parts;
    work->split[3] = 0;
    work->tasks[0] = (uint32_t)(batch * cpu_parts(p->m, rows) * cpu_parts(p->n, cols) * parts);
    work->slot_bytes = dart_round_up(CPU(product_words)(cols) * sizeof(real), 64);
    if (parts > 1) plan_sums(work);
}

/* Whether `next` adds to the very matrix that `first` makes. That it reads none of it is a rule for
 * launches. */
static bool joins(const cpu_work *first, const cpu_work *next)
{
    const gemm_params *p = (const gemm_params *)(const void *)first->param;
    const gemm_params *q = (const gemm_params *)(const void *)next->param;
    return !first->split[3] && !next->split[3] && first->split[2] == 1 && next->split[2] == 1 &&
           first->buf[2] == next->buf[2] && q->beta == 1 && batches(p) == 1 && batches(q) == 1 &&
           p->m == q->m && p->n == q->n && p->ldc == q->ldc;
}

/* The longest product goes first: while its sums are made, c comes from memory. */
static void join(cpu_work *first, cpu_work *next)
{
    gemm_params *p = (gemm_params *)(void *)first->param;
    gemm_params *q = (gemm_params *)(void *)next->param;
    const cpu_work *finer = first->tasks[0] > next->tasks[0] ? first : next;
    uint32_t split[4], tasks = finer->tasks[0];
    const uint64_t slot_bytes = finer->slot_bytes;
    memcpy(split, finer->split, sizeof split);
    if (p->k < q->k) {
        const float beta = p->beta;
        p->beta = q->beta;
        q->beta = beta;
        next->next = first;
    } else {
        const cpu_work longest = *first;
        *first = *next;
        *next = longest;
        first->next = next->next;
        next->next = first;
    }
    memcpy(next->split, split, sizeof split);
    next->tasks[0] = tasks;
    next->slot_bytes = slot_bytes;
    first->tasks[0] = 0;
}
#endif

static void plan(cpu_work *work)
{
    PARAM(gemm);
#ifdef CPU_PRODUCT
    if (ours(p) || thin(p)) {
        if (ours(p))
            plan_ours(work);
        else
            plan_thin(work);
        return;
    }
#endif
    uint64_t batch = batches(p), rows = p->m, cols = p->n;
    uint64_t tasks = batch, parts = 1, together = 1;
    uint64_t flops = 2 * rows * cols * p->k;
    /* Halving the longer side repacks least. Few parts are enough where each is already long. */
    while ((tasks < 4 && flops > LEAST) || (tasks < 8 && flops > ENOUGH) ||
           (tasks < 32 && flops > MOST)) {
        uint64_t *side = rows > cols ? &rows : &cols;
        if (*side < 256) break;
        *side = dart_round_up((*side + 1) / 2, 16);
        flops = 2 * rows * cols * p->k;
        tasks = batch * cpu_parts(p->m, rows) * cpu_parts(p->n, cols);
    }
    if (tasks < 4 && flops > LEAST && p->k >= 2 * K_PART) {
        parts = cpu_least(p->k / K_PART, 8);
        tasks *= parts;
    }
    if (tasks == batch && flops < LEAST) {
        together = cpu_share(LEAST, flops);
        tasks = cpu_parts(batch, together);
    }
    work->split[0] = (uint32_t)(rows ? rows : 1);
    work->split[1] = (uint32_t)(cols ? cols : 1);
    work->split[2] = (uint32_t)parts;
    work->split[3] = (uint32_t)together;
    work->tasks[0] = p->m && p->n ? (uint32_t)tasks : 0;
    if (parts > 1) plan_sums(work);
}

/* Below some size a call of the library costs more than the product. */
static void small_product(const cpu_part *q)
{
    uint64_t a_row = q->ta ? 1 : q->lda, a_col = q->ta ? q->lda : 1;
    uint64_t b_row = q->tb ? 1 : q->ldb, b_col = q->tb ? q->ldb : 1;
    for (uint64_t i = 0; i < q->m; i++) {
        real *c = q->c + i * q->ldc;
        if (q->beta == 0)
            for (uint64_t j = 0; j < q->n; j++) c[j] = 0;
        else if (q->beta != 1)
            for (uint64_t j = 0; j < q->n; j++) c[j] *= q->beta;
        for (uint64_t l = 0; l < q->k; l++) {
            real x = q->alpha * q->a[i * a_row + l * a_col];
            const real *b = q->b + l * b_row;
            if (b_col == 1)
                SIMD for (uint64_t j = 0; j < q->n; j++) c[j] += x * b[j];
            else
                for (uint64_t j = 0; j < q->n; j++) c[j] += x * b[j * b_col];
        }
    }
}

static void product(const cpu_part *q)
{
    if (q->m * q->n * q->k <= SMALL) {
        small_product(q);
        return;
    }
    /* One row or one column, as in inference: the library's gemm would repack the whole matrix,
     * which takes 1.2 to 3.7 times as long (10,000 x 256: 1.29 ms against 0.35 ms). */
    if (q->m == 1) {
        GEMV(CblasRowMajor, q->tb ? CblasNoTrans : CblasTrans, (int)(q->tb ? q->n : q->k),
            (int)(q->tb ? q->k : q->n), q->alpha, q->b, (int)q->ldb, q->a, q->ta ? (int)q->lda : 1,
            q->beta, q->c, 1);
        return;
    }
    if (q->n == 1) {
        GEMV(CblasRowMajor, q->ta ? CblasTrans : CblasNoTrans, (int)(q->ta ? q->k : q->m),
            (int)(q->ta ? q->m : q->k), q->alpha, q->a, (int)q->lda, q->b, q->tb ? 1 : (int)q->ldb,
            q->beta, q->c, (int)q->ldc);
        return;
    }
    GEMM(CblasRowMajor, q->ta ? CblasTrans : CblasNoTrans, q->tb ? CblasTrans : CblasNoTrans,
        (int)q->m, (int)q->n, (int)q->k, q->alpha, q->a, (int)q->lda, q->b, (int)q->ldb, q->beta,
        q->c, (int)q->ldc);
}

/* Matrix z of the batch, whole. */
static cpu_part matrix(const cpu_work *work, uint64_t z)
{
    PARAM(gemm);
    uint64_t z2 = z % p->batch2, z1 = z / p->batch2 % p->batch1, z0 = z / p->batch2 / p->batch1;
    return (cpu_part){
        .a = REALS(0) + z0 * p->a0 + z1 * p->a1 + z2 * p->a2,
        .b = REALS(1) + z0 * p->b0 + z1 * p->b1 + z2 * p->b2,
        .c = REALS(2) + z0 * p->c0 + z1 * p->c1 + z2 * p->c2,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .lda = p->lda,
        .ldb = p->ldb,
        .ldc = p->ldc,
        .ta = work->tune[DART_GEMM_TA] != 0,
        .tb = work->tune[DART_GEMM_TB] != 0,
        .alpha = p->alpha,
        .beta = p->beta,
        .d = work->tune[DART_GEMM_ADD] ? REALS(3) + z0 * p->d0 + z1 * p->d1 + z2 * p->d2 : NULL,
        .ldd = p->ldd,
        .lower_a = work->lower[0],
        .lower_c = work->lower[2],
    };
}

/* Cuts out of a whole product the part whose rows begin at i and whose columns begin at j. */
static void cut(cpu_part *q, uint64_t i, uint64_t rows, uint64_t j, uint64_t cols)
{
    q->a += q->ta ? i : i * q->lda;
    q->b += q->tb ? j * q->ldb : j;
    q->c += i * q->ldc + j;
    if (q->d) q->d += i * q->ldd + j;
    q->row += i;
    q->column += j;
    q->m = cpu_least(rows, q->m - i);
    q->n = cpu_least(cols, q->n - j);
}

/* Makes of a whole product the one over part l of k, into scratch. */
static void one_of_sums(const cpu_work *work, uint64_t l, uint64_t z, cpu_part *q)
{
    PARAM(gemm);
    const uint64_t per = dart_round_up(cpu_parts(p->k, work->split[2]), 16);
    const uint64_t k0 = cpu_least(l * per, p->k);
    q->k = cpu_least(per, p->k - k0);
    q->lower_a = q->lower_c = 0;
    q->c = (real *)work->scratch + (l * batches(p) + z) * p->m * p->n;
    q->ldc = p->n;
    q->beta = 0;
    q->d = NULL;
    q->a += q->ta ? k0 * q->lda : k0;
    q->b += q->tb ? k0 : k0 * q->ldb;
}

/* c = beta c + d, to which the product is added. */
static void add_first(cpu_part *q)
{
    if (!q->d) return;
    for (uint64_t i = 0; i < q->m; i++) {
        real *c = q->c + i * q->ldc;
        const real *d = q->d + i * q->ldd;
        if (q->beta == 0)
            memcpy(c, d, q->n * sizeof *c);
        else
            SIMD for (uint64_t j = 0; j < q->n; j++) c[j] = q->beta * c[j] + d[j];
    }
    q->beta = 1;
}

static void multiply(const cpu_work *work, uint32_t index, uint32_t slot)
{
    PARAM(gemm);
    uint64_t batch = batches(p), together = work->split[3];
    if (together > 1) {
        uint64_t end = cpu_least(batch, (index + 1) * together);
        for (uint64_t z = index * together; z < end; z++) {
            cpu_part q = matrix(work, z);
            add_first(&q);
            product(&q);
        }
        return;
    }
    uint64_t rows = work->split[0], cols = work->split[1], parts = work->split[2];
    uint64_t across = cpu_parts(p->n, cols), down = cpu_parts(p->m, rows);
    uint64_t l = index % parts, j = index / parts % across * cols;
    uint64_t i = index / parts / across % down * rows, z = index / parts / across / down;
    for (const cpu_work *w = work; w; w = w->next) {
        cpu_part q = matrix(w, z);
        if (parts > 1) one_of_sums(w, l, z, &q);
        cut(&q, i, rows, j, cols);
        add_first(&q);
#ifdef CPU_PRODUCT
        if (!together) {
            if (thin((const gemm_params *)(const void *)w->param))
                CPU(thin)(&q, cpu_slot(work, slot));
            else
                CPU(product)(&q, cpu_slot(work, slot));
            continue;
        }
#endif
        product(&q);
    }
    (void)slot;
}

/* Sums the parts of k, always in the same order. */
static void add_parts(const cpu_work *work, uint32_t index)
{
    PARAM(gemm);
    uint64_t batch = batches(p), blocks = cpu_parts(p->m, SUM_ROWS), z = index / blocks;
    uint64_t i0 = index % blocks * SUM_ROWS, i1 = cpu_least(p->m, i0 + SUM_ROWS), n = p->n;
    cpu_part q = matrix(work, z);
    for (uint64_t i = i0; i < i1; i++) {
        real *c = q.c + i * q.ldc;
        const real *sum = (const real *)work->scratch + z * p->m * n + i * n;
        if (q.beta == 0)
            for (uint64_t j = 0; j < n; j++) c[j] = sum[j];
        else
            for (uint64_t j = 0; j < n; j++) c[j] = q.beta * c[j] + sum[j];
        if (q.d)
            for (uint64_t j = 0; j < n; j++) c[j] += q.d[i * q.ldd + j];
        for (uint64_t l = 1; l < work->split[2]; l++) {
            const real *next = sum + l * batch * p->m * n;
            SIMD for (uint64_t j = 0; j < n; j++) c[j] += next[j];
        }
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    if (phase)
        add_parts(work, index);
    else
        multiply(work, index, slot);
}

#ifdef CPU_PRODUCT
const cpu_kernel CPU(kernel_gemm) = {plan, task, joins, join};
#else
const cpu_kernel CPU(kernel_gemm) = {.plan = plan, .task = task};
#endif
