/* The op test: single ops of the model's training step, each by itself on random numbers, in the
 * shapes that the step has them in. The step is planned for the first device, and all devices get
 * its ops. */
#include "bench.h"
#include "names.h"
#include "rng.h"
#include "setup.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 8, COPIES = 8, FOUND = 4096 };

/* Nodes of the step that are alike. */
typedef struct kind {
    dart_node first;
    uint32_t count;
    uint64_t words; /* of inputs and result of one */
} kind;

typedef struct single {
    dart_bench_graph graph;
    dart_node_info info; /* as in the step; inputs are nodes of its graph */
    dart_node leaf[DART_MAX_IN];
    int writes; /* the input that it writes into; -1: none */
} single;

/* ---- which ops there are ---- */

static dart_status plan_step(dart_bench_job *job, const dart_bundle *of, const dart_graph **out)
{
    dart_bench_models *m = job->call.models;
    if (!m->plan) {
        dart_session_options options;
        DART_TRY(dart_session_options_from(&of->set, of->model->config.vocab, &options));
        options.train = true;
        options.eval = options.logits = false;
        options.accumulation = 1;
        DART_TRY(dart_session_new(NULL, &job->call.device->caps, of->model, &options, &m->plan));
    }
    *out = m->plan->part[DART_PART_STEP].graph;
    return DART_OK;
}

static const char *op_name(const void *context, uint32_t index)
{
    (void)context;
    return index + 1 < DART_OPS ? dart_op_info_of((dart_op)(index + 1))->name : NULL;
}

static dart_status find_op(const char *name, dart_op *out)
{
    for (int op = 1; op < DART_OPS; op++)
        if (!strcmp(dart_op_info_of((dart_op)op)->name, name)) {
            *out = (dart_op)op;
            return DART_OK;
        }
    return dart_name_unknown(DART_USAGE, "op", name, op_name, NULL, "");
}

static bool launches(const dart_node_info *info)
{
    const dart_op_info *op = dart_op_info_of(info->op);
    return info->op != DART_OP_leaf && (op->view < 0 || op->writes || info->op == DART_OP_permute);
}

static bool alike(const dart_graph *g, const dart_node_info *a, const dart_node_info *b)
{
    if (a->op != b->op || a->dtype != b->dtype || !dart_shape_equal(&a->shape, &b->shape) ||
        a->inputs != b->inputs || a->ints != b->ints)
        return false;
    for (uint32_t i = 0; i < a->inputs; i++) {
        const dart_node_info *x = dart_node_get(g, a->in[i]), *y = dart_node_get(g, b->in[i]);
        if (x->dtype != y->dtype || !dart_shape_equal(&x->shape, &y->shape)) return false;
    }
    const bool numbered = a->op == DART_OP_dropout || a->op == DART_OP_uniform; /* streams */
    return (numbered || !memcmp(a->i, b->i, a->ints * sizeof *a->i)) &&
           (!a->text || !strcmp(a->text, b->text));
}

static uint64_t words_of(const dart_graph *g, const dart_node_info *info)
{
    uint64_t words = dart_node_words(info);
    for (uint32_t i = 0; i < info->inputs; i++)
        words += dart_node_words(dart_node_get(g, info->in[i]));
    return words;
}

static int by_words(const void *a, const void *b)
{
    const kind *x = a, *y = b;
    const double p = (double)x->words * x->count, q = (double)y->words * y->count;
    return p != q ? (p < q) - (p > q) : (x->first > y->first) - (x->first < y->first);
}

/* Kinds of op (none: of all ops, the largest of each), those first that move most. */
static dart_status list_kinds(const dart_graph *g, dart_op op, kind *out, uint32_t *out_count)
{
    uint32_t count = 0;
    for (dart_node n = 1; n <= dart_graph_count(g); n++) {
        const dart_node_info *info = dart_node_get(g, n);
        uint32_t at = 0;
        if (!launches(info) || (op && info->op != op)) continue;
        while (at < count && !alike(g, dart_node_get(g, out[at].first), info)) at++;
        if (at == FOUND) continue;
        if (at == count) out[count++] = (kind){n, 0, words_of(g, info)};
        out[at].count++;
    }
    qsort(out, count, sizeof *out, by_words);
    if (!op) { /* one of each op */
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; i++) {
            const dart_op own = dart_node_get(g, out[i].first)->op;
            uint32_t at = 0;
            while (at < kept && dart_node_get(g, out[at].first)->op != own) at++;
            if (at == kept) out[kept++] = out[i];
        }
        count = kept;
    } else if (count > KINDS) {
        count = KINDS;
    }
    *out_count = count;
    return DART_OK;
}

static dart_status no_such_op(const dart_graph *g, const char *name)
{
    char known[512] = "";
    bool seen[DART_OPS] = {false};
    for (dart_node n = 1; n <= dart_graph_count(g); n++) {
        const dart_node_info *info = dart_node_get(g, n);
        const size_t used = strlen(known);
        if (!launches(info) || seen[info->op]) continue;
        seen[info->op] = true;
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
            dart_op_info_of(info->op)->name);
    }
    return dart_fail(
        DART_INPUT, "a training step of this model launches no op %s; it has %s", name, known);
}

/* ---- one op by itself ---- */

/* Inputs that are leaves stay where they are, as ops that write in place want them; what the step
 * computes stands in FORM. */
static dart_status build(single *s, const dart_graph *from, dart_graph *graph, dart_node *out)
{
    uint64_t *words = s->graph.memory.words;
    dart_node_info info = s->info;
    for (uint32_t i = 0; i < info.inputs; i++) {
        const dart_node_info *in = dart_node_get(from, s->info.in[i]);
        uint32_t before = 0;
        while (s->info.in[before] != s->info.in[i]) before++;
        if (before < i) {
            info.in[i] = s->leaf[i] = info.in[before];
            continue;
        }
        dart_region region = DART_REGION_FORM;
        uint64_t at = words[region];
        if (in->op == DART_OP_leaf) {
            region = (dart_region)in->i[0];
            at = (uint64_t)in->i[1];
        }
        const uint64_t end = at + dart_round_up(dart_node_words(in), 64);
        info.in[i] = s->leaf[i] = dart_leaf(graph, "x", in->dtype, in->shape, region, at);
        if (words[region] < end) words[region] = end;
    }
    for (int copy = 0; copy < COPIES; copy++) *out = dart_graph_add(graph, &info);
    return dart_graph_check(graph);
}

/* ---- numbers that the op can take ---- */

typedef struct range {
    double low, high;
} range;

/* Of an input that is f32. Logarithms and roots want what is positive, second moments too. */
static range range_of(const single *s, dart_region region)
{
    if (dart_op_info_of(s->info.op)->map || s->info.op == DART_OP_clip) return (range){0.1, 0.9};
    if (region == DART_REGION_MOMENT || region == DART_REGION_FSCAL) return (range){0.1, 0.9};
    return (range){-1, 1};
}

/* Matrices with eigenvalues near 1. */
static dart_status fill_spd(
    dart_bench_job *job, const single *s, uint64_t at, const dart_shape *shape)
{
    const uint64_t words = dart_shape_words(shape), n = shape->dim[shape->rank - 1];
    float *value = dart_calloc(words, sizeof *value);
    if (!value) return DART_MEMORY;
    for (uint64_t i = 0; i < words; i++) {
        const uint64_t row = i / n % n, column = i % n, low = row < column ? row : column;
        value[i] = row == column ? 1.0f + 0.5f / (float)(row + 1)
                                 : 0.1f / (float)(n * (1 + row + column - 2 * low));
    }
    dart_status status =
        dart_memory_write(&s->graph.memory, job->call.device, DART_REGION_FORM, at, words, value);
    free(value);
    return status;
}

/* How many ids there are to choose from. */
static uint32_t limit_of(const single *s, const dart_graph *from, uint32_t input)
{
    switch (s->info.op) {
    case DART_OP_gather:
        return input == 1 ? dart_node_get(from, s->info.in[0])->shape.dim[0] : 1;
    case DART_OP_cross_entropy:
    case DART_OP_cross_entropy_dx:
        return (uint32_t)s->info.i[0];
    case DART_OP_scatter:
        return (uint32_t)s->info.i[0];
    default:
        return 1; /* zeros: steps, positions, starts */
    }
}

static dart_status fill_ids(
    dart_bench_job *job, const single *s, const dart_graph *from, uint32_t input)
{
    const dart_node_info *leaf = dart_node_get(s->graph.program.graph, s->leaf[input]);
    const uint32_t words = (uint32_t)dart_shape_words(&leaf->shape);
    const uint32_t limit = limit_of(s, from, input);
    const bool index = s->info.op == DART_OP_scatter && input == 1;
    const bool lengths = s->info.op == DART_OP_softmax && s->info.i[0] != 2;
    const uint32_t keys = s->info.shape.dim[s->info.shape.rank - 1];
    dart_status status = DART_OK;
    int32_t *id = dart_calloc(words, sizeof *id), *list = dart_calloc(words, sizeof *list);
    uint32_t *cursor = dart_calloc((size_t)limit + 1, sizeof *cursor);
    if (!id || !list || !cursor) DART_GOTO(DART_MEMORY);
    for (uint32_t i = 0; i < words; i++)
        id[i] = lengths ? (int32_t)keys : (int32_t)(dart_uniform(3, DART_STREAM_TEST, i) * limit);
    if (index) dart_scatter_index(id, words - limit - 1, limit, cursor, list);
    status = dart_device_write_i32(job->call.device, s->graph.memory.buffer[leaf->i[0]],
        (uint64_t)leaf->i[1], words, index ? list : id);
done:
    free(id);
    free(list);
    free(cursor);
    return status;
}

static dart_status fill(dart_bench_job *job, const single *s, const dart_graph *from)
{
    for (uint32_t i = 0; i < s->info.inputs; i++) {
        const dart_node_info *leaf = dart_node_get(s->graph.program.graph, s->leaf[i]);
        const dart_region region = (dart_region)leaf->i[0];
        const uint64_t at = (uint64_t)leaf->i[1];
        if (leaf->dtype == DART_I32) {
            DART_TRY(fill_ids(job, s, from, i));
        } else if (leaf->dtype != DART_F32) {
            continue; /* packed zeros */
        } else if (s->info.op == DART_OP_spd_fn) {
            DART_TRY(fill_spd(job, s, at, &leaf->shape));
        } else {
            const range r = range_of(s, region);
            DART_TRY(dart_bench_random(job, &s->graph.memory, region, at,
                dart_shape_words(&leaf->shape), i + 1, r.low, r.high));
        }
    }
    return DART_OK;
}

/* ---- the case ---- */

/* "(1024, 256) (16, 256)" */
static void describe(const single *s, const dart_graph *from, const kind *k, char *out, size_t size)
{
    const dart_op_info *op = dart_op_info_of(s->info.op);
    size_t used = (size_t)snprintf(out, size, "%s", s->info.text ? s->info.text : op->name);
    for (uint32_t i = 0; i < s->info.inputs && used < size; i++) {
        const dart_shape *shape = &dart_node_get(from, s->info.in[i])->shape;
        used += (size_t)snprintf(out + used, size - used, " (");
        for (uint32_t d = 0; d < shape->rank && used < size; d++)
            used += (size_t)snprintf(
                out + used, size - used, "%s%" PRIu32, d ? "," : "", shape->dim[d]);
        if (used < size) used += (size_t)snprintf(out + used, size - used, ")");
    }
    if (used < size) snprintf(out + used, size - used, ", %" PRIu32 " a step", k->count);
}

static dart_status prepare(dart_bench_job *job, single *s, const dart_graph *from)
{
    dart_graph *graph;
    dart_node node;
    DART_TRY(dart_graph_new(&graph));
    dart_status status = build(s, from, graph, &node);
    if (status != DART_OK) {
        dart_graph_free(graph);
        return status;
    }
    const dart_program_options options = {.as_built = true, .keeps = 1, .keep = &node};
    DART_TRY(dart_bench_graph_bind(job, &s->graph, graph, &options, COPIES));
    job->row.launches /= COPIES;
    return fill(job, s, from);
}

static dart_status open_op(dart_bench_job *job, bool *out_there)
{
    const dart_bundle *of;
    const dart_graph *from;
    dart_op op = DART_OP_none;
    uint32_t count;
    dart_status status = DART_OK;
    *out_there = false;
    if (job->call.argument) DART_TRY(find_op(job->call.argument, &op));
    DART_TRY(dart_bench_subject(&job->call, &of));
    DART_TRY(plan_step(job, of, &from));
    kind *kinds = dart_calloc(FOUND, sizeof *kinds);
    if (!kinds) return DART_MEMORY;
    DART_GOTO(list_kinds(from, op, kinds, &count));
    if (!count) DART_GOTO(no_such_op(from, job->call.argument));
    *out_there = job->index < count;
    if (!*out_there) goto done;
    single *s = job->state = dart_calloc(1, sizeof *s);
    if (!s) DART_GOTO(DART_MEMORY);
    const kind *k = &kinds[job->index];
    s->info = *dart_node_get(from, k->first);
    s->writes = -1;
    for (uint32_t i = 0; i < s->info.inputs; i++)
        if (dart_op_info_of(s->info.op)->writes >> i & 1 && s->writes < 0) s->writes = (int)i;
    describe(s, from, k, job->row.what, sizeof job->row.what);
    status = prepare(job, s, from);
done:
    free(kinds);
    return status;
}

/* What it wrote, or the result. */
static dart_status compare(dart_bench_job *job, single *s)
{
    if (s->writes < 0) return dart_bench_graph_compare(job, &s->graph, 0);
    const dart_node_info *leaf = dart_node_get(s->graph.program.graph, s->leaf[s->writes]);
    const uint64_t words = dart_shape_words(&leaf->shape);
    float *value = dart_calloc(words, sizeof *value);
    if (!value) return DART_MEMORY;
    dart_status status = dart_memory_read(&s->graph.memory, job->call.device,
        (dart_region)leaf->i[0], (uint64_t)leaf->i[1], words, value);
    if (status == DART_OK) dart_bench_differ(job, 0, value, words);
    free(value);
    return status;
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    single *s = job->state;
    DART_TRY(dart_bench_graph_sample(job, &s->graph, out_seconds));
    return job->runs ? DART_OK : compare(job, s);
}

static void close_op(dart_bench_job *job)
{
    single *s = job->state;
    if (s) dart_bench_graph_close(job, &s->graph);
    free(s);
    job->state = NULL;
}

const dart_bench_test dart_bench_op = {.name = "op",
    .help =
        "single ops of a training step in its shapes: the largest of each, or with a name up to "
        "eight kinds of that one",
    .argument = "the name of an op: softmax",
    .columns = "test what grid device backend device_name driver gflops sd peak_percent gb_per_s "
               "copy_percent first_ms ms ms_min ms_max launches submits difference",
    .footnote = "Medians of one op on random numbers, after a warm-up; ± is the deviation of "
                "GFLOP/s. Eight stand behind each other in a program. GB/s: each word of inputs "
                "and result once.",
    .differs = "of the result, relative to the largest",
    .compares = true,
    .tolerance = 1e-4,
    .warm_ups = 2,
    .open = open_op,
    .sample = sample,
    .close = close_op};
