/* The contract test: each kind of linear weight of the model by itself, y = x W^T in whatever
 * tensor network W is, and the gradients of that by x and by the trained cores; paths as the
 * planner finds them for the device. */
#include "bench.h"
#include "setup.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct layer {
    dart_bench_graph graph;
    const dart_bundle *of;
    uint32_t weight;
    bool back;
    uint32_t rows;
} layer;

static bool is_linear(const dart_model *m, uint32_t w)
{
    return (int)w != m->embedding && (int)w != m->head && (int)w != m->source_embedding;
}

static bool alike(const dart_model_weight *a, const dart_model_weight *b)
{
    if (a->weight.out != b->weight.out || a->weight.in != b->weight.in ||
        a->layout.tensors != b->layout.tensors)
        return false;
    for (uint32_t i = 0; i < a->layout.tensors; i++)
        if (!dart_shape_equal(&a->layout.tensor[i].shape, &b->layout.tensor[i].shape)) return false;
    return true;
}

/* The n-th linear weight that is like none before it; UINT32_MAX: there is none. */
static uint32_t kind_at(const dart_model *m, uint32_t n)
{
    for (uint32_t w = 0; w < m->weights; w++) {
        bool again = !is_linear(m, w);
        for (uint32_t v = 0; v < w && !again; v++)
            again = is_linear(m, v) && alike(&m->weight[v], &m->weight[w]);
        if (!again && n-- == 0) return w;
    }
    return UINT32_MAX;
}

/* Leaves for x, dy and the weight's tensors, behind each other in FORM; y, or the gradients. */
static dart_status build(layer *l, dart_graph *graph, dart_node *keep, uint32_t *keeps)
{
    const dart_model *m = l->of->model;
    const dart_model_weight *w = &m->weight[l->weight];
    dart_node tensor[DART_MAX_CORES + 2], from[DART_MAX_CORES + 3];
    uint64_t at = 0;
    uint32_t count = 0;
    const dart_shape in = DART_SHAPE(l->rows, w->weight.in),
                     out = DART_SHAPE(l->rows, w->weight.out);
    dart_node x = dart_leaf(graph, "x", DART_F32, in, DART_REGION_FORM, at);
    at += dart_round_up(dart_shape_words(&in), 64);
    dart_node dy = dart_leaf(graph, "dy", DART_F32, out, DART_REGION_FORM, at);
    at += dart_round_up(dart_shape_words(&out), 64);
    from[count++] = x;
    for (uint32_t i = 0; i < w->layout.tensors; i++) {
        const dart_param *p = &m->param[w->param[i]];
        tensor[i] = dart_leaf(graph, p->name, p->type, p->shape, DART_REGION_FORM, at);
        at += dart_round_up(dart_type_words(p->type, &p->shape), 64);
        if (p->region == DART_REGION_PARAM) from[count++] = tensor[i];
    }
    l->graph.memory.words[DART_REGION_FORM] = at;
    dart_graph_scope(graph, w->weight.name);
    dart_node y = dart_method_apply(graph, &w->weight, &w->layout, tensor, x);
    DART_TRY(dart_graph_check(graph));
    keep[0] = y;
    *keeps = 1;
    if (!l->back) return DART_OK;
    dart_node flat = dart_reshape(graph, y, out);
    dart_node loss = dart_sum_all(graph, dart_mul(graph, flat, dy));
    DART_TRY(dart_graph_check(graph));
    DART_TRY(dart_grad(graph, loss, count, from, keep));
    *keeps = 0;
    for (uint32_t i = 0; i < count; i++)
        if (keep[i]) keep[(*keeps)++] = keep[i];
    return dart_graph_check(graph);
}

/* The weight's own values, packed ones word for word. */
static dart_status fill(dart_bench_job *job, layer *l)
{
    const dart_model *m = l->of->model;
    const dart_model_weight *w = &m->weight[l->weight];
    const uint64_t in = (uint64_t)l->rows * w->weight.in, out = (uint64_t)l->rows * w->weight.out;
    const dart_memory *memory = &l->graph.memory;
    uint64_t at = 0;
    DART_TRY(dart_bench_random(job, memory, DART_REGION_FORM, at, in, 1, -1, 1));
    at += dart_round_up(in, 64);
    DART_TRY(dart_bench_random(job, memory, DART_REGION_FORM, at, out, 2, -1, 1));
    at += dart_round_up(out, 64);
    for (uint32_t i = 0; i < w->layout.tensors; i++) {
        const dart_param *p = &m->param[w->param[i]];
        const float *value =
            (p->region == DART_REGION_PARAM ? l->of->param : l->of->frozen) + p->offset;
        const uint64_t words = dart_type_words(p->type, &p->shape);
        DART_TRY(dart_memory_write(memory, job->call.device, DART_REGION_FORM, at, words, value));
        at += dart_round_up(words, 64);
    }
    return DART_OK;
}

static dart_status open_layer(dart_bench_job *job, bool *out_there)
{
    const dart_bundle *of;
    dart_graph *graph;
    dart_node keep[DART_MAX_CORES + 3];
    uint32_t keeps;
    DART_TRY(dart_bench_subject(&job->call, &of));
    const uint32_t weight = kind_at(of->model, job->index / 2);
    *out_there = weight != UINT32_MAX;
    if (!*out_there) return DART_OK;
    layer *l = job->state = dart_calloc(1, sizeof *l);
    if (!l) return DART_MEMORY;
    const dart_weight *w = &of->model->weight[weight].weight;
    l->of = of;
    l->weight = weight;
    l->back = job->index % 2;
    l->rows = (uint32_t)of->set.batch_size * of->model->config.context;
    dart_bench_subject_row(job, of);
    snprintf(job->row.what, sizeof job->row.what, "%.80s %s", w->name, l->back ? "bwd" : "fwd");
    snprintf(
        job->row.shape, sizeof job->row.shape, "%" PRIu32 " x %u to %u", l->rows, w->in, w->out);
    job->tokens = l->rows;
    DART_TRY(dart_graph_new(&graph));
    dart_status status = build(l, graph, keep, &keeps);
    if (status != DART_OK) {
        dart_graph_free(graph);
        return status;
    }
    const dart_program_options options = {.keeps = keeps, .keep = keep};
    DART_TRY(dart_bench_graph_bind(job, &l->graph, graph, &options, 1));
    job->tokens *= l->graph.again;
    return fill(job, l);
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    layer *l = job->state;
    DART_TRY(dart_bench_graph_sample(job, &l->graph, out_seconds));
    return job->runs ? DART_OK : dart_bench_graph_compare(job, &l->graph, 0);
}

static dart_status profile(dart_bench_job *job, dart_profile *out)
{
    layer *l = job->state;
    return dart_bench_graph_profile(job, &l->graph, out);
}

static void close_layer(dart_bench_job *job)
{
    layer *l = job->state;
    if (l) dart_bench_graph_close(job, &l->graph);
    free(l);
    job->state = NULL;
}

const dart_bench_test dart_bench_contract = {.name = "contract",
    .help =
        "each kind of linear weight by itself: y = x W^T with its cores (fwd), the gradients of "
        "x and of the trained cores (bwd)",
    .columns =
        "test what model params method dtype shape grid device backend device_name driver "
        "tokens_per_s sd gflops peak_percent gb_per_s copy_percent first_ms ms ms_min ms_max "
        "planned_bytes actual_bytes launches barriers submits host_us difference",
    .footnote = "Medians, after a warm-up; ± is the deviation of tokens/s. Operations and bytes "
                "are those of the path that the planner chose.",
    .differs = "of y, or of the gradient of x, relative to the largest",
    .compares = true,
    .tolerance = 1e-4,
    .warm_ups = 2,
    .open = open_layer,
    .sample = sample,
    .profile = profile,
    .close = close_layer};
