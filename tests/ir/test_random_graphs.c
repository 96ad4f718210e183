/* The optimizer and the lowering: random graphs against naive loops, and the barriers of their
 * plans. */
#include "run_graph.h"

enum { POOL = 96, KEPT = 6 };

typedef struct maker {
    dart_graph *graph;
    uint64_t state;
    dart_node pool[POOL]; /* tensors of two axes */
    uint32_t count, next_store;
} maker;

static const dart_shape *shape_of(const maker *m, dart_node node)
{
    return &dart_node_get(m->graph, node)->shape;
}

static dart_node pick(maker *m)
{
    /* recent ones more often: longer chains, more deaths */
    uint32_t back = draw(&m->state, 2) ? draw(&m->state, m->count < 6 ? m->count : 6)
                                       : draw(&m->state, m->count);
    return m->pool[m->count - 1 - back];
}

/* Another tensor of the same shape, else the same one. */
static dart_node pick_like(maker *m, dart_node x)
{
    for (int tries = 0; tries < 12; tries++) {
        dart_node y = pick(m);
        if (dart_shape_equal(shape_of(m, x), shape_of(m, y))) return y;
    }
    return x;
}

static dart_node leaf(maker *m, dart_region region, uint64_t offset, uint32_t rows, uint32_t cols)
{
    return dart_leaf(m->graph, "leaf", DART_F32, DART_SHAPE(rows, cols), region, offset);
}

/* A product whose result has x's shape, so that sums with x are likely. */
static dart_node product(maker *m, dart_node x)
{
    uint32_t rows = shape_of(m, x)->dim[0], cols = shape_of(m, x)->dim[1];
    dart_node square = leaf(m, DART_REGION_FROZEN, 0, cols, cols);
    dart_node other = leaf(m, DART_REGION_FROZEN, 1024, rows, rows);
    dart_node y = 0;
    switch (draw(&m->state, 5)) {
    case 0:
        y = dart_contract2(m->graph, "ij,jk->ik", x, square);
        break;
    case 1:
        y = dart_contract2(m->graph, "ij,kj->ik", x, square);
        break;
    case 2:
        y = dart_contract2(m->graph, "ji,jk->ik", other, x);
        break;
    case 3:
        y = dart_contract(m->graph, "ab,bc,cd->ad", 3, (dart_node[]){other, x, square});
        break;
    default:
        y = dart_contract2(m->graph, "ij,ij->ij", x, pick_like(m, x));
        break;
    }
    return draw(&m->state, 2) ? dart_affine(m->graph, y, 0.3125, 0) : y;
}

static dart_node grow(maker *m)
{
    dart_graph *g = m->graph;
    dart_node x = pick(m);
    uint32_t rows = shape_of(m, x)->dim[0], cols = shape_of(m, x)->dim[1];
    switch (draw(&m->state, 16)) {
    case 0:
        return dart_add(g, x, pick_like(m, x));
    case 1:
        return dart_affine(g, x, 0.5, draw(&m->state, 2) ? 0.25 : 0);
    case 2:
        return dart_map1(g, DART_OP_relu, x, 0, 0);
    case 3:
        return dart_add(
            g, x, dart_reshape(g, leaf(m, DART_REGION_PARAM, 0, 1, cols), DART_SHAPE(cols)));
    case 4:
        return dart_permute(g, x, (uint32_t[]){1, 0});
    case 5:
        return dart_softmax(g, x, 0.75, false);
    case 6:
        return dart_slice_rows(g, x, draw(&m->state, rows), 1);
    case 7: {
        uint32_t start = draw(&m->state, 3);
        dart_node part = dart_slice_rows(g, x, rows > 1, 1);
        dart_node place =
            dart_graph_add(g, &(dart_node_info){.op = DART_OP_unslice,
                                  .inputs = 1,
                                  .in = {draw(&m->state, 2) ? part : dart_affine(g, part, 2, 0)},
                                  .ints = 2,
                                  .i = {start % rows, rows}});
        return dart_add(g, place, pick_like(m, x));
    }
    case 8: {
        dart_node sum = dart_reduce_sum(g, x, draw(&m->state, 2), 1);
        return dart_reshape(g, sum, DART_SHAPE(1, shape_of(m, sum)->dim[0]));
    }
    case 9:
        return dart_reshape(g, x, DART_SHAPE(cols, rows));
    case 10:
        return dart_sub(g, x, dart_affine(g, pick_like(m, x), 0.125, 0));
    case 11: { /* rows of a sum, each from a product: the chunked head's gradient */
        dart_node square = leaf(m, DART_REGION_FROZEN, 512, cols, cols);
        dart_node total = 0;
        for (uint32_t r = 0; r < rows && r < 3; r++) {
            dart_node part = dart_contract2(g, "ij,jk->ik", dart_slice_rows(g, x, r, 1), square);
            dart_node place = dart_graph_add(g,
                &(dart_node_info){
                    .op = DART_OP_unslice, .inputs = 1, .in = {part}, .ints = 2, .i = {r, rows}});
            total = total ? dart_add(g, total, place) : place;
        }
        return total;
    }
    case 12: { /* store, and sometimes read the place before or after */
        uint64_t offset = 64ull * 4 * (m->next_store++ % 12);
        dart_node place = leaf(m, DART_REGION_GRAD, offset, rows, cols);
        bool early = draw(&m->state, 4) == 0, late = draw(&m->state, 3) == 0;
        dart_node made = draw(&m->state, 2) ? product(m, x) : dart_affine(g, x, 1.5, 0.125);
        dart_node old = early ? dart_affine(g, place, 2, 0) : 0;
        if (draw(&m->state, 4) == 0) made = dart_add(g, place, made); /* accumulation */
        dart_store(g, place, made);
        if (late) made = dart_add(g, made, place);
        return old ? dart_add(g, made, old) : made;
    }
    case 15: { /* rows behind each other, computed for this or used elsewhere too */
        dart_node y = draw(&m->state, 2) ? product(m, x) : dart_affine(g, x, 1.5, 0.5);
        const uint32_t length = shape_of(m, y)->dim[0];
        dart_node part[3] = {y, dart_affine(g, y, 0.5, 0.125), dart_slice_rows(g, y, 0, 1)};
        dart_node join = dart_join(g, 2 + draw(&m->state, 2), part);
        if (draw(&m->state, 2)) m->pool[draw(&m->state, m->count)] = part[1];
        const uint32_t second = dart_join_rows(shape_of(m, y));
        return dart_slice_rows(g, join, draw(&m->state, 2) ? second : 0, length);
    }
    default: { /* sums of products: gradients of a shared weight */
        dart_node y = product(m, x);
        return draw(&m->state, 3) ? dart_add(g, y, pick_like(m, y)) : y;
    }
    }
}

static dart_graph *random_graph(uint64_t seed, uint32_t nodes, dart_node *keep)
{
    static const uint32_t sizes[] = {1, 3, 8, 16, 16};
    maker m = {.state = seed * 77 + 5};
    OK(dart_graph_new(&m.graph));
    for (uint32_t i = 0; i < 3; i++)
        m.pool[m.count++] = leaf(
            &m, DART_REGION_PARAM, 512 * i, sizes[draw(&m.state, 5)], sizes[draw(&m.state, 5)]);
    for (uint32_t i = 0; i < nodes; i++) {
        dart_node made = grow(&m);
        OK(dart_graph_check(m.graph));
        m.pool[m.count++] = made;
    }
    for (uint32_t i = 0; i < KEPT; i++) keep[i] = m.pool[m.count - 1 - i * 3];
    return m.graph;
}

typedef struct tally {
    uint32_t cases, launches, accumulated, added, copies, stores, barriers;
} tally;

static void count_launches(
    const dart_graph *graph, const dart_caps *caps, uint32_t keeps, const dart_node *keep, tally *t)
{
    dart_graph *better;
    dart_plan *plan;
    dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map), kept[KEPT];
    dart_cost cost = dart_cost_for(caps);
    OK(dart_optimize(graph, &cost, keeps, keep, &better, map));
    for (uint32_t i = 0; i < keeps; i++) kept[i] = map[keep[i]];
    OK(dart_plan_new(better, caps, NULL, keeps, kept, &plan));
    uint32_t count;
    const dart_launch *list = dart_plan_launches(plan, &count);
    for (uint32_t i = 0; i < count; i++) {
        gemm_params p;
        memcpy(&p, list[i].param, sizeof p);
        t->accumulated += list[i].kernel == DART_K_gemm && p.beta == 1;
        t->added += list[i].kernel == DART_K_gemm && list[i].tune[DART_GEMM_ADD];
        t->copies += list[i].kernel == DART_K_permute &&
                     dart_node_get(better, list[i].label)->op == DART_OP_store;
        t->barriers += list[i].wait;
    }
    for (dart_node n = 1; n <= dart_graph_count(better); n++)
        t->stores += dart_node_get(better, n)->op == DART_OP_store;
    t->launches += count;
    t->cases++;
    dart_plan_free(plan);
    dart_graph_free(better);
    free(map);
}

static void random_graphs_agree(const char *device, double bound, uint32_t cases, tally *t)
{
    double worst = 0;
    host first = host_new(0);
    bench b = bench_new(device, &first);
    for (uint32_t c = 0; c < cases; c++) {
        dart_node keep[KEPT];
        double *got[KEPT];
        dart_graph *graph = random_graph(c, 14 + c % 60, keep);
        host h = host_new(c);
        bench_fill(&b, &h);
        bench_run(&b, graph, KEPT, keep, got);
        count_launches(graph, &b.device->caps, KEPT, keep, t);
        double **value = naive_run(graph, &h);
        for (uint32_t i = 0; i < KEPT; i++) {
            uint64_t words = dart_shape_words(&dart_node_get(graph, keep[i])->shape);
            double error = nmse(got[i], value[keep[i]], value[keep[i]], words);
            if (!(error <= bound)) {
                dart_graph_print(graph, stderr);
                fail_msg("graph %u, node %%%u: nmse %g", c, keep[i], error);
            }
            if (error > worst) worst = error;
            free(got[i]);
        }
        double *stored = calloc(REGION_WORDS, sizeof *stored);
        OK(dart_device_read_f64(
            b.device, b.memory.buffer[DART_REGION_GRAD], 0, REGION_WORDS, stored));
        double error =
            nmse(stored, h.region[DART_REGION_GRAD], h.region[DART_REGION_GRAD], REGION_WORDS);
        if (!(error <= bound)) {
            dart_graph_print(graph, stderr);
            fail_msg("graph %u: stored words differ, nmse %g", c, error);
        }
        free(stored);
        naive_free(graph, value);
        dart_graph_free(graph);
        host_free(&h);
    }
    bench_free(&b);
    host_free(&first);
    print_message("[ plan     ] %s: %u graphs, %u launches, %u barriers, %u sums folded into gemm, "
                  "%u added there, %u of %u stores without a copy, worst nmse %.2g\n",
        device, t->cases, t->launches, t->barriers, t->accumulated, t->added, t->stores - t->copies,
        t->stores, worst);
}

static void random_graphs_on_oracle(void **state)
{
    (void)state;
    tally t = {0};
    random_graphs_agree("cpu64", 1e-20, 400, &t);
    /* the folds really happen in these graphs */
    assert_true(t.accumulated >= 200 && t.added >= 100);
    assert_true(t.stores >= 400 && t.stores - t.copies >= 100 && t.copies >= 50);
}

static void random_graphs_on_cpu(void **state)
{
    (void)state;
    tally t = {0};
    random_graphs_agree("cpu", 1e-8, 100, &t);
}

/* Barriers, aliasing and alignment matter most where launches overlap. */
static void random_graphs_on_gpu_interfaces(void **state)
{
    (void)state;
    static const char *const devices[] = {"vulkan:0", "opencl:0"};
    for (int i = 0; i < 2; i++) {
        dart_device *device;
        if (dart_device_open(devices[i], NULL, &device) != DART_OK) {
            print_message("[ plan     ] %s is absent: %s\n", devices[i], dart_error_text());
            continue;
        }
        dart_device_close(device);
        tally t = {0};
        random_graphs_agree(devices[i], 1e-8, 20, &t);
    }
}

/* ---- barriers ---- */

static bool slices_meet(const dart_slice *a, const dart_slice *b)
{
    uint64_t low = a->offset > b->offset ? a->offset : b->offset;
    uint64_t end_a = a->offset + a->words, end_b = b->offset + b->words;
    return a->buffer == b->buffer && low < (end_a < end_b ? end_a : end_b);
}

static bool depend(const dart_launch *a, const dart_launch *b)
{
    for (uint32_t i = 0; i < a->buffers; i++)
        for (uint32_t k = 0; k < b->buffers; k++) {
            bool reads_only = dart_kernel_info_of(a->kernel)->access[i] == DART_IN &&
                              dart_kernel_info_of(b->kernel)->access[k] == DART_IN;
            if (!reads_only && slices_meet(&a->buf[i], &b->buf[k])) return true;
        }
    return false;
}

/* Every barrier is needed, none is missing; and running the launches between two barriers in
 * reverse changes no bit. */
static void barriers_are_right(void **state)
{
    (void)state;
    uint32_t reversed = 0;
    for (uint32_t c = 0; c < 60; c++) {
        dart_node keep[KEPT];
        dart_graph *graph = random_graph(1000 + c, 20 + c % 50, keep), *better;
        dart_plan *plan;
        dart_exec *exec;
        host h = host_new(c);
        bench forward = bench_new("cpu64", &h), backward = bench_new("cpu64", &h);
        dart_node *map = calloc(dart_graph_count(graph) + 1u, sizeof *map);
        dart_cost cost = dart_cost_for(&forward.device->caps);
        OK(dart_optimize(graph, &cost, KEPT, keep, &better, map));
        for (uint32_t i = 0; i < KEPT; i++) keep[i] = map[keep[i]];
        OK(dart_plan_new(better, &forward.device->caps, NULL, KEPT, keep, &plan));
        uint32_t count;
        const dart_launch *list = dart_plan_launches(plan, &count);
        dart_launch *turned = calloc(count, sizeof *turned);
        for (uint32_t start = 0, end; start < count; start = end) {
            for (end = start + 1; end < count && !list[end].wait; end++)
                for (uint32_t i = start; i < end; i++) assert_false(depend(&list[i], &list[end]));
            bool needed = end == count;
            for (uint32_t i = start; i < end && !needed; i++) needed = depend(&list[i], &list[end]);
            assert_true(needed);
            for (uint32_t i = start; i < end; i++) turned[start + end - 1 - i] = list[i];
            reversed += end - start > 1;
        }
        OK(dart_exec_new(plan, forward.device, &forward.memory, NULL, &exec));
        OK(dart_exec_run(exec, NULL));

        dart_buffer window[256] = {0};
        const dart_plan_stats *stats = dart_plan_stats_of(plan);
        for (uint32_t w = 0; w < stats->windows; w++)
            OK(dart_device_alloc(
                backward.device, DART_MEM_DEVICE, stats->planned_words, &window[w]));
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t b = 0; b < turned[i].buffers; b++) {
                dart_slice *slice = &turned[i].buf[b];
                slice->buffer = slice->buffer < DART_REGIONS ? backward.memory.buffer[slice->buffer]
                                                             : window[slice->buffer - DART_REGIONS];
            }
        dart_program *program;
        OK(dart_device_build(backward.device, turned, count, &program));
        OK(dart_device_run(backward.device, program, NULL));
        double a[512], b[512];
        for (uint32_t i = 0; i < KEPT; i++) {
            dart_slice slice;
            OK(dart_exec_slice(exec, keep[i], &slice));
            uint64_t words = slice.words < 512 ? slice.words : 512;
            OK(dart_device_read_f64(forward.device, slice.buffer, slice.offset, words, a));
            dart_buffer same = window[0];
            for (int r = 1; r < DART_REGIONS; r++)
                if (slice.buffer == forward.memory.buffer[r]) same = backward.memory.buffer[r];
            OK(dart_device_read_f64(backward.device, same, slice.offset, words, b));
            assert_memory_equal(a, b, words * sizeof *a);
        }
        dart_device_drop(backward.device, program);
        for (uint32_t w = 0; w < stats->windows; w++) dart_device_free(backward.device, window[w]);
        dart_exec_free(exec);
        dart_plan_free(plan);
        dart_graph_free(better);
        dart_graph_free(graph);
        bench_free(&forward);
        bench_free(&backward);
        host_free(&h);
        free(map);
        free(turned);
    }
    assert_true(reversed >= 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_on_oracle),
        cmocka_unit_test(random_graphs_on_cpu),
        cmocka_unit_test(random_graphs_on_gpu_interfaces),
        cmocka_unit_test(barriers_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
