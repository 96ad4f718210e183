/* The attention test: scores, softmax and mix of one block, without its projections, as the model
 * builds them. */
#include "bench.h"
#include "setup.h"
#include <inttypes.h>
#include <stdlib.h>

typedef struct block {
    dart_bench_graph graph;
    uint64_t words; /* of FORM */
} block;

/* Queries, keys, values and the gradient of the result, behind each other in FORM; the result, or
 * the gradients. */
static dart_status build(const dart_model *model, uint32_t batch, bool back, dart_graph *graph,
    dart_node keep[3], uint32_t *keeps, uint64_t *words)
{
    const dart_model_config *c = &model->config;
    const uint32_t size = dart_head_dim(c), wide = c->heads * size, narrow = c->kv_heads * size;
    const struct {
        const char *name;
        uint32_t width;
    } leaves[] = {{"q", wide}, {"k", narrow}, {"v", narrow}, {"dy", wide}};
    dart_node node[4];
    *words = 0;
    for (int i = 0; i < 4; i++) {
        const dart_shape shape = DART_SHAPE(batch, c->context, leaves[i].width);
        node[i] = dart_leaf(graph, leaves[i].name, DART_F32, shape, DART_REGION_FORM, *words);
        *words += dart_round_up(dart_shape_words(&shape), 64);
    }
    dart_graph_scope(graph, "attention");
    dart_node y = dart_model_mix(model, graph, batch, c->context, node[0], node[1], node[2]);
    DART_TRY(dart_graph_check(graph));
    keep[0] = y;
    *keeps = 1;
    if (!back) return DART_OK;
    dart_node loss = dart_sum_all(graph, dart_mul(graph, y, node[3]));
    DART_TRY(dart_graph_check(graph));
    *keeps = 3;
    DART_TRY(dart_grad(graph, loss, 3, node, keep));
    return dart_graph_check(graph);
}

static dart_status open_block(dart_bench_job *job, bool *out_there)
{
    const dart_bundle *of;
    dart_graph *graph;
    dart_node keep[3];
    uint32_t keeps;
    *out_there = job->index < 2;
    if (!*out_there) return DART_OK;
    block *b = job->state = dart_calloc(1, sizeof *b);
    if (!b) return DART_MEMORY;
    DART_TRY(dart_bench_subject(&job->call, &of));
    const dart_model_config *c = &of->model->config;
    const uint32_t batch = (uint32_t)of->set.batch_size;
    snprintf(job->row.what, sizeof job->row.what, "%s, %" PRIu32 " heads of %" PRIu32,
        job->index ? "fwd and bwd" : "fwd", c->heads, dart_head_dim(c));
    snprintf(job->row.shape, sizeof job->row.shape, "%" PRIu32 " x %" PRIu32, batch, c->context);
    job->tokens = (double)batch * c->context;
    DART_TRY(dart_graph_new(&graph));
    dart_status status = build(of->model, batch, job->index == 1, graph, keep, &keeps, &b->words);
    if (status != DART_OK) {
        dart_graph_free(graph);
        return status;
    }
    b->graph.memory.words[DART_REGION_FORM] = b->words;
    const dart_program_options options = {.keeps = keeps, .keep = keep};
    DART_TRY(dart_bench_graph_bind(job, &b->graph, graph, &options, 1));
    job->tokens *= b->graph.again;
    return dart_bench_random(job, &b->graph.memory, DART_REGION_FORM, 0, b->words, 1, -1, 1);
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    block *b = job->state;
    DART_TRY(dart_bench_graph_sample(job, &b->graph, out_seconds));
    for (uint32_t i = 0; i < b->graph.program.keeps && !job->runs; i++)
        DART_TRY(dart_bench_graph_compare(job, &b->graph, i));
    return DART_OK;
}

static dart_status profile(dart_bench_job *job, dart_profile *out)
{
    block *b = job->state;
    return dart_bench_graph_profile(job, &b->graph, out);
}

static void close_block(dart_bench_job *job)
{
    block *b = job->state;
    if (b) dart_bench_graph_close(job, &b->graph);
    free(b);
    job->state = NULL;
}

const dart_bench_test dart_bench_attention = {.name = "attention",
    .help = "causal attention of one block without its projections",
    .columns =
        "test what shape grid device backend device_name driver tokens_per_s sd gflops "
        "peak_percent "
        "gb_per_s copy_percent first_ms ms ms_min ms_max planned_bytes actual_bytes launches "
        "barriers submits host_us difference",
    .footnote = "Medians, after a warm-up; ± is the deviation of tokens/s. Operations are those "
                "of the launches, hidden positions among them where kernels compute them.",
    .differs = "of the result, or of the three gradients, relative to the largest",
    .compares = true,
    .tolerance = 1e-4,
    .warm_ups = 2,
    .open = open_block,
    .sample = sample,
    .profile = profile,
    .close = close_block};
