/* Weights whose values begin along the principal directions of what they multiply: measured on the
 * first batches of the training data. Where a method wants it, their ranks follow what was measured
 * too. */
#include "lapack.h"
#include "run.h"
#include "share.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums of so many words at most are on the device at once; what has more is measured in turns. */
enum { WORDS_MOST = 1 << 25 };

/* What was measured of one input: `count` directions, and how much of its variance is along each.
 */
typedef struct principal {
    uint32_t size, count;
    double *variance, *explained; /* owned (count); as it is, as a part of the whole */
    double *direction;            /* owned (count, size) */
} principal;

typedef struct measured {
    principal *of;   /* owned [inputs]; room for one a weight */
    uint32_t inputs; /* weights that read the same share one */
    uint32_t *place; /* owned [weights]: index into `of`, or DART_NO_COVARIANCE */
} measured;

static void measured_free(measured *m)
{
    for (uint32_t i = 0; m->of && i < m->inputs; i++) {
        free(m->of[i].variance);
        free(m->of[i].explained);
        free(m->of[i].direction);
    }
    free(m->of);
    free(m->place);
}

/* The covariance of an input whose mean is taken off, upper half. */
static void centre(const dart_covariance *c, uint64_t rows, double *out)
{
    const uint32_t n = c->size;
    const double each = 1.0 / (double)rows;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i; j < n; j++)
            out[(size_t)i * n + j] =
                each * c->sum[(size_t)i * n + j] - each * c->total[i] * each * c->total[j];
}

/* Rows of `direction` (r, n) from columns of z (n, r), each with its largest entry positive: which
 * way a direction points is no matter, and should not depend on the device. */
static void write_directions(const double *z, uint32_t n, uint32_t r, double *direction)
{
    for (uint32_t k = 0; k < r; k++) {
        double *row = direction + (size_t)k * n, largest = 0;
        for (uint32_t j = 0; j < n; j++) {
            const double value = row[j] = z[(size_t)j * r + k];
            if (fabs(value) > fabs(largest)) largest = value;
        }
        for (uint32_t j = 0; largest < 0 && j < n; j++) row[j] = -row[j];
    }
}

/* The directions of input `at`, as many as any of its readers may start along. */
static dart_status measure(
    const dart_model *model, const dart_covariances *c, uint32_t at, measured *m)
{
    const uint32_t n = c->of[at].size;
    uint32_t r = 0;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_layout *layout = &model->weight[w].layout;
        if (c->place[w] != at) continue;
        m->place[w] = m->inputs;
        if (layout->directions > r) r = layout->directions;
    }
    principal *out = &m->of[m->inputs++];
    *out = (principal){.size = n, .count = r};
    dart_status status = DART_OK;
    double *g = dart_calloc((size_t)n * n, sizeof *g), *z = dart_calloc((size_t)n * r, sizeof *z);
    double whole = 0;
    out->variance = dart_calloc(r, sizeof *out->variance);
    out->explained = dart_calloc(r, sizeof *out->explained);
    out->direction = dart_calloc((size_t)r * n, sizeof *out->direction);
    if (!g || !z || !out->variance || !out->explained || !out->direction) {
        status = DART_MEMORY;
        goto done;
    }
    centre(&c->of[at], c->rows, g);
    for (uint32_t i = 0; i < n; i++) whole += g[(size_t)i * n + i];
    DART_GOTO(dart_lapack_eigen_top(n, g, r, out->variance, z));
    for (uint32_t k = 0; k < r; k++)
        out->explained[k] = whole > 0 && out->variance[k] > 0 ? out->variance[k] / whole : 0;
    write_directions(z, n, r, out->direction);
done:
    free(g);
    free(z);
    return status;
}

/* Wanted weights from *first on, as many as go at once; false: there is none. */
static bool next_turn(const dart_model *model, uint32_t *first, bool *wanted)
{
    uint64_t words = 0;
    memset(wanted, 0, model->weights * sizeof *wanted);
    for (; *first < model->weights; ++*first) {
        const dart_model_weight *w = &model->weight[*first];
        const bool looked_up = (int)*first == model->embedding && model->head != model->embedding;
        if (!w->layout.directions || looked_up) continue;
        const uint64_t more = (uint64_t)w->weight.in * w->weight.in;
        if (words && words + more > WORDS_MOST) return true;
        words += more;
        wanted[*first] = true;
    }
    return words > 0;
}

static dart_status measure_all(dart_run *run, measured *m)
{
    const dart_bundle *b = &run->bundle;
    const uint32_t weights = b->model->weights;
    dart_status status = DART_OK;
    bool *wanted = dart_calloc(weights, sizeof *wanted);
    m->of = dart_calloc(weights, sizeof *m->of);
    m->place = dart_calloc(weights, sizeof *m->place);
    if (!wanted || !m->of || !m->place) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t w = 0; w < weights; w++) m->place[w] = DART_NO_COVARIANCE;
    for (uint32_t first = 0; next_turn(b->model, &first, wanted);) {
        dart_covariances c;
        DART_GOTO(dart_model_covariances(run->device, b->model, b->param, b->frozen, &run->train,
            (uint64_t)b->set.input_batches, wanted, 0, &c));
        for (uint32_t i = 0; i < c.count && status == DART_OK; i++)
            status = measure(b->model, &c, i, m);
        dart_covariances_free(&c);
        DART_GOTO(status);
    }
done:
    free(wanted);
    return status;
}

/* Ranks to the weights whose inputs have more directions that count; values that have no other size
 * stay. */
static dart_status share(dart_run *run, const measured *m)
{
    const dart_model *model = run->bundle.model;
    const uint32_t weights = model->weights;
    dart_status status = DART_OK;
    uint32_t count = 0, total = 0, least = UINT32_MAX, most = 0;
    dart_model_copy other;
    dart_share *of = dart_calloc(weights, sizeof *of);
    uint32_t *ranks = dart_calloc(weights, sizeof *ranks);
    uint32_t *given = dart_calloc(weights, sizeof *given);
    if (!of || !ranks || !given) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t w = 0; w < weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (m->place[w] == DART_NO_COVARIANCE || !weight->layout.shares) continue;
        of[count++] = (dart_share){m->of[m->place[w]].explained, weight->layout.directions};
        total += weight->weight.ranks[1];
    }
    if (!count) goto done;
    dart_share_ranks(of, count, total, given);
    for (uint32_t w = 0, i = 0; w < weights; w++) {
        if (m->place[w] == DART_NO_COVARIANCE || !model->weight[w].layout.shares) continue;
        ranks[w] = given[i++];
        if (ranks[w] < least) least = ranks[w];
        if (ranks[w] > most) most = ranks[w];
    }
    DART_GOTO(dart_share_apply(model, run->bundle.param, run->bundle.frozen, ranks,
        (uint64_t)run->bundle.set.seed, &other));
    DART_GOTO(dart_run_adopt(run, &other));
    dart_run_note(run,
        "ranks follow the variance of inputs: %u in all over %u weights, from %u to %u", total,
        count, least, most);
done:
    free(of);
    free(ranks);
    free(given);
    return status;
}

dart_status dart_run_align(dart_run *run)
{
    measured m = {0};
    dart_status status = measure_all(run, &m);
    if (status == DART_OK) status = share(run, &m);
    const dart_bundle *b = &run->bundle;
    for (uint32_t w = 0; status == DART_OK && w < b->model->weights; w++) {
        const dart_model_weight *of = &b->model->weight[w];
        float *tensor[DART_MAX_CORES + 2];
        if (m.place[w] == DART_NO_COVARIANCE) continue;
        const principal *p = &m.of[m.place[w]];
        dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
        of->weight.method->align(
            &of->weight, &of->layout, p->count, p->direction, p->variance, tensor);
    }
    measured_free(&m);
    return status;
}
