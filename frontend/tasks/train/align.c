/* Weights whose values begin along the principal directions of what they multiply: measured on the
 * first batches of the training data. */
#include "lapack.h"
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums of so many words at most are on the device at once; what has more is measured in turns. */
enum { WORDS_MOST = 1 << 25 };

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

/* All weights that read input `at`. */
static dart_status align_readers(dart_run *run, const dart_covariances *c, uint32_t at)
{
    dart_bundle *b = &run->bundle;
    const uint32_t n = c->of[at].size;
    uint32_t r = 0;
    for (uint32_t w = 0; w < b->model->weights; w++)
        if (c->place[w] == at && b->model->weight[w].layout.directions > r)
            r = b->model->weight[w].layout.directions;
    dart_status status = DART_OK;
    double *g = dart_calloc((size_t)n * n, sizeof *g), *z = dart_calloc((size_t)n * r, sizeof *z);
    double *variance = dart_calloc(r, sizeof *variance);
    double *direction = dart_calloc((size_t)r * n, sizeof *direction);
    if (!g || !z || !variance || !direction) {
        status = DART_MEMORY;
        goto done;
    }
    centre(&c->of[at], c->rows, g);
    DART_GOTO(dart_lapack_eigen_top(n, g, r, variance, z));
    write_directions(z, n, r, direction);
    for (uint32_t w = 0; w < b->model->weights; w++) {
        const dart_model_weight *of = &b->model->weight[w];
        float *tensor[DART_MAX_CORES + 2];
        if (c->place[w] != at) continue;
        dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
        of->weight.method->align(&of->weight, &of->layout, direction, variance, tensor);
    }
done:
    free(g);
    free(z);
    free(variance);
    free(direction);
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

dart_status dart_run_align(dart_run *run)
{
    const dart_bundle *b = &run->bundle;
    dart_status status = DART_OK;
    bool *wanted = dart_calloc(b->model->weights, sizeof *wanted);
    if (!wanted) return DART_MEMORY;
    for (uint32_t first = 0; next_turn(b->model, &first, wanted);) {
        dart_covariances c;
        DART_GOTO(dart_model_covariances(run->device, b->model, b->param, b->frozen, &run->train,
            (uint64_t)b->set.input_batches, wanted, 0, &c));
        for (uint32_t i = 0; i < c.count && status == DART_OK; i++)
            status = align_readers(run, &c, i);
        dart_covariances_free(&c);
        DART_GOTO(status);
    }
done:
    free(wanted);
    return status;
}
