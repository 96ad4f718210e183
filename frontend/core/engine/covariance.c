/* Second moments of what weights multiply, and of the loss's gradients by what they make of it: the
 * graph of one batch, and its sums on the host. */
#include "parts.h"
#include <math.h>
#include <stdlib.h>

enum { ALIGN = 64 }; /* words: where a slice may begin */

void dart_covariances_free(dart_covariances *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        free(c->of[i].sum);
        free(c->of[i].total);
    }
    free(c->of);
    free(c->place);
    free(c->gradient);
    *c = (dart_covariances){0};
}

/* Where the total of a batch's rows lies in OUTPUT, behind their sum. */
static uint64_t total_at(const dart_covariance *c)
{
    return dart_round_up(c->offset + (uint64_t)c->size * c->size, ALIGN);
}

uint64_t dart_covariance_words(const dart_covariances *c)
{
    if (!c->count) return 0;
    const dart_covariance *last = &c->of[c->count - 1];
    return total_at(last) + last->size;
}

/* A word for each row of a batch, behind the step's: 1 where it counts. */
enum { ROWS_AT = (DART_FSCAL_WORDS + ALIGN - 1) / ALIGN * ALIGN };

uint64_t dart_covariance_fscal(const dart_session_options *o)
{
    return ROWS_AT + (uint64_t)o->batch * o->time;
}

/* One more to measure. */
static dart_status add_place(dart_covariances *c, uint32_t weight, uint32_t size)
{
    dart_covariance *of = &c->of[c->count];
    *of = (dart_covariance){
        .size = size, .weight = weight, .offset = dart_round_up(dart_covariance_words(c), ALIGN)};
    c->count++;
    of->sum = dart_calloc((size_t)size * size, sizeof *of->sum);
    of->total = dart_calloc(size, sizeof *of->total);
    return of->sum && of->total ? DART_OK : DART_MEMORY;
}

/* Which input each wanted weight reads; out [weights]: the node of each place. */
static dart_status list_inputs(dart_session *session, const dart_node *x, dart_node *out)
{
    const dart_model *model = session->model;
    dart_covariances *c = &session->covariances;
    for (uint32_t w = 0; w < model->weights; w++) {
        uint32_t at = 0;
        c->place[w] = c->gradient[w] = DART_NO_COVARIANCE;
        if (!session->options.covariance[w] || !x[w]) continue;
        while (at < c->count && out[at] != x[w]) at++;
        c->place[w] = at;
        if (at < c->count) continue;
        out[at] = x[w];
        DART_TRY(add_place(c, w, model->weight[w].weight.in));
    }
    if (c->count) return DART_OK;
    return dart_fail(DART_INPUT, "covariance: no weight that multiplies anything was asked for");
}

/* The gradients of the loss by the outputs y of wanted weights, behind the inputs. */
static dart_status list_gradients(
    dart_session *session, dart_graph *graph, dart_node loss, const dart_node *y, dart_node *out)
{
    const dart_model *model = session->model;
    dart_covariances *c = &session->covariances;
    const uint32_t first = c->count;
    for (uint32_t w = 0; w < model->weights; w++) {
        if (!session->options.covariance[w] || !y[w]) continue;
        c->gradient[w] = c->count;
        out[c->count] = y[w];
        DART_TRY(add_place(c, w, model->weight[w].weight.out));
    }
    return dart_grad(graph, loss, c->count - first, out + first, out + first);
}

/* Both lists; out [2 weights]. */
static dart_status list_all(
    dart_session *session, dart_graph *graph, const dart_model_leaves *leaves, dart_node *out)
{
    const dart_model *model = session->model;
    const uint32_t rows = session->options.batch * session->options.time;
    dart_status status = DART_OK;
    dart_node *x = dart_calloc(2 * (size_t)model->weights, sizeof *x), loss = 0;
    if (!x) return DART_MEMORY;
    if (session->options.gradients)
        loss = dart_model_traced_loss(
            model, graph, leaves, session->options.chunk_rows, x, x + model->weights);
    else
        dart_model_inputs(model, graph, leaves, x);
    DART_GOTO(dart_graph_check(graph));
    DART_GOTO(list_inputs(session, x, out));
    if (!loss) goto done;
    /* of the sum of the batch's labels; with labels in part the host gives the factor 1 */
    if (!model->config.partial_labels) loss = dart_affine(graph, loss, rows, 0);
    status = list_gradients(session, graph, loss, x + model->weights, out);
done:
    free(x);
    return status;
}

dart_status dart_part_covariance(dart_session *session, dart_graph *graph)
{
    const dart_model *model = session->model;
    const uint32_t batch = session->options.batch, time = session->options.time;
    dart_covariances *c = &session->covariances;
    dart_status status = DART_OK;
    dart_model_leaves leaves = {0};
    dart_node *read = dart_calloc(2 * (size_t)model->weights, sizeof *read);
    c->of = dart_calloc(2 * (size_t)model->weights, sizeof *c->of);
    c->place = dart_calloc(model->weights, sizeof *c->place);
    c->gradient = dart_calloc(model->weights, sizeof *c->gradient);
    if (!read || !c->of || !c->place || !c->gradient) {
        status = DART_MEMORY;
        goto done;
    }
    if (model->config.enc_layers || model->config.gate.on || model->config.labels)
        DART_GOTO(dart_fail(DART_INPUT,
            "covariance: inputs are measured in models of one text without gates, and this one %s",
            model->config.gate.on  ? "has gates"
            : model->config.labels ? "is a classifier"
                                   : "is an encoder-decoder"));
    DART_GOTO(dart_model_leaves_new(model, graph, batch, time, &leaves));
    DART_GOTO(list_all(session, graph, &leaves, read));
    dart_graph_scope(graph, "covariance");
    dart_node counts =
        dart_leaf(graph, "rows", DART_F32, DART_SHAPE(batch * time), DART_REGION_FSCAL, ROWS_AT);
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t n = c->of[i].size;
        dart_node rows = dart_reshape(graph, read[i], DART_SHAPE(batch * time, n));
        const dart_covariance *to = &c->of[i];
        dart_node sum, total;
        if (model->config.partial_labels) {
            sum = dart_contract(graph, "za,zb,z->ab", 3, (dart_node[]){rows, rows, counts});
            total = dart_contract2(graph, "za,z->a", rows, counts);
        } else {
            sum = dart_contract2(graph, "za,zb->ab", rows, rows);
            total = dart_reduce_sum(graph, rows, 0, 1);
        }
        dart_store(graph,
            dart_leaf(
                graph, "covariance", DART_F32, DART_SHAPE(n, n), DART_REGION_OUTPUT, to->offset),
            sum);
        dart_store(graph,
            dart_leaf(graph, "total", DART_F32, DART_SHAPE(n), DART_REGION_OUTPUT, total_at(to)),
            total);
    }
    status = dart_graph_check(graph);
done:
    dart_model_leaves_free(&leaves);
    free(read);
    return status;
}

dart_status dart_covariance_rows(dart_session *session, const int32_t *labels)
{
    const uint64_t rows = (uint64_t)session->options.batch * session->options.time;
    if (!session->model->config.partial_labels) return DART_OK;
    float *counts = dart_calloc(rows, sizeof *counts);
    if (!counts) return DART_MEMORY;
    for (uint64_t r = 0; r < rows; r++) counts[r] = labels[r] >= 0;
    const float one = 1;
    const dart_buffer fscal = session->memory.buffer[DART_REGION_FSCAL];
    dart_status status = dart_device_write_f32(session->device, fscal, ROWS_AT, rows, counts);
    if (status == DART_OK)
        status = dart_device_write_f32(session->device, fscal, DART_FSCAL_SCALE, 1, &one);
    free(counts);
    return status;
}

/* Both halves of a batch's sum, whose bits need not be equal, give one symmetric matrix. */
static dart_status add(const dart_model *model, bool gradients, const float *batch,
    const float *total, dart_covariance *to)
{
    const size_t n = to->size;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            const double sum = 0.5 * ((double)batch[i * n + j] + batch[j * n + i]);
            if (!isfinite(sum))
                return dart_fail(DART_DIVERGED,
                    "covariance: the %s of %s are not finite or too large",
                    gradients ? "gradients by outputs" : "inputs",
                    model->weight[to->weight].weight.name);
            to->sum[i * n + j] += sum;
            if (j < i) to->sum[j * n + i] += sum;
        }
    for (size_t i = 0; i < n; i++) to->total[i] += total[i];
    return DART_OK;
}

dart_status dart_covariance_add(dart_session *session)
{
    dart_covariances *c = &session->covariances;
    dart_status status = DART_OK;
    uint64_t most = 0;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->of[i].size > most) most = c->of[i].size;
    const dart_buffer output = session->memory.buffer[DART_REGION_OUTPUT];
    float *batch = dart_calloc(most * most, sizeof *batch);
    float *total = dart_calloc(most, sizeof *total);
    if (!batch || !total) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        dart_covariance *to = &c->of[i];
        DART_GOTO(dart_device_read_f32(
            session->device, output, to->offset, (uint64_t)to->size * to->size, batch));
        DART_GOTO(dart_device_read_f32(session->device, output, total_at(to), to->size, total));
        DART_GOTO(add(session->model, c->gradient[to->weight] == i, batch, total, to));
    }
done:
    free(batch);
    free(total);
    return status;
}
