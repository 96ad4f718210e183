/* Activations in 16 bits: what is rounded and what is not, how far results move, less memory; and
 * that gradients pass the rounding straight through. */
#include "program.h"
#include "rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

enum { T = 256, D = 64, V = 50, BLOCKS = 4, WEIGHTS = 8, OUT = 1 << 16 };

typedef struct run {
    dart_graph_program program;
    dart_device *device;
    dart_memory memory;
    float *result; /* GRAD */
    uint64_t words;
} run;

static float parameter(uint64_t i)
{
    return 0.2F * (float)dart_normal(3, DART_STREAM_TEST, i);
}

/* Bytes that a slice may have; 0: any. */
static uint64_t binding;

/* Runs the graph on numbers in PARAM, in this precision. */
static run run_graph(dart_graph *graph, dart_dtype activations, uint64_t param, uint64_t words)
{
    run r = {.result = calloc(words, sizeof *r.result), .words = words};
    float *numbers = calloc(param, sizeof *numbers);
    int32_t *tokens = calloc(2 * T, sizeof *tokens);
    r.memory = (dart_memory){
        .words = {
            [DART_REGION_PARAM] = param, [DART_REGION_GRAD] = words, [DART_REGION_INPUT] = 2 * T}};
    const dart_program_options options = {.activations = activations};
    assert_true(r.result && numbers && tokens);
    for (uint64_t i = 0; i < param; i++) numbers[i] = parameter(i);
    for (uint32_t i = 0; i < 2 * T; i++) tokens[i] = (int32_t)(i * 7919u % V);
    OK(dart_device_open("cpu", NULL, &r.device));
    OK(dart_memory_new(&r.memory, r.device));
    OK(dart_device_write_f32(r.device, r.memory.buffer[DART_REGION_PARAM], 0, param, numbers));
    OK(dart_device_write_i32(r.device, r.memory.buffer[DART_REGION_INPUT], 0, 2 * T, tokens));
    dart_caps caps = r.device->caps;
    caps.max_binding = binding;
    OK(dart_program_plan(&r.program, graph, &caps, &options, NULL));
    OK(dart_program_bind(&r.program, r.device, &r.memory, NULL, NULL));
    OK(dart_program_run(&r.program, NULL));
    OK(dart_device_read_f32(r.device, r.memory.buffer[DART_REGION_GRAD], 0, words, r.result));
    free(numbers);
    free(tokens);
    return r;
}

static void run_free(run *r)
{
    dart_program_free(&r->program);
    dart_memory_free(&r->memory, r->device);
    dart_device_close(r->device);
    free(r->result);
}

/* Words of two results apart, relative to the first: NMSE. */
static double apart(const run *a, const run *b)
{
    double error = 0, size = 0;
    assert_true(a->words == b->words);
    for (uint64_t i = 0; i < a->words; i++) {
        const double x = (double)a->result[i], d = x - (double)b->result[i];
        assert_true(isfinite(d));
        error += d * d;
        size += x * x;
    }
    assert_true(size > 0);
    return error / size;
}

/* A language model: look-up, blocks of a norm, causal attention and a gated MLP, and a head that
 * makes its own gradients, as that of models. The loss, then the gradients, go to GRAD. */
static dart_graph *language_model(uint64_t *out_param, uint64_t *out_words)
{
    static const uint32_t columns[WEIGHTS] = {0, D, D, T, T, T, T, 0};
    dart_graph *g;
    dart_node weight[BLOCKS * WEIGHTS + 2], grad[BLOCKS * WEIGHTS + 2];
    uint64_t at = 0;
    uint32_t n = 0;
    OK(dart_graph_new(&g));
    const dart_node ids = dart_leaf(g, "ids", DART_I32, DART_SHAPE(T), DART_REGION_INPUT, 0);
    const dart_node labels = dart_leaf(g, "labels", DART_I32, DART_SHAPE(T), DART_REGION_INPUT, T);
    const dart_node table = dart_leaf(g, "tok", DART_F32, DART_SHAPE(V, T), DART_REGION_PARAM, at);
    at += dart_round_up((uint64_t)V * T, 64);
    dart_node x = dart_lookup(g, table, ids);
    for (int b = 0; b < BLOCKS; b++) {
        dart_node *w = weight + n;
        for (int i = 0; i < WEIGHTS; i++, n++) {
            const dart_shape shape = columns[i] ? DART_SHAPE(T, columns[i]) : DART_SHAPE(T);
            w[i] = dart_leaf(g, "w", DART_F32, shape, DART_REGION_PARAM, at);
            at += dart_shape_words(&shape);
        }
        const dart_node in = dart_layernorm(g, x, w[0], w[7], 1e-5);
        const dart_node q = dart_contract2(g, "tc,cd->td", in, w[1]);
        const dart_node k = dart_contract2(g, "tc,cd->td", in, w[2]);
        const dart_node v = dart_contract2(g, "tc,cd->td", in, w[3]);
        const dart_node seen = dart_softmax(g, dart_contract2(g, "td,sd->ts", q, k), 0.3, true);
        const dart_node up = dart_contract2(g, "tc,cd->td", in, w[4]);
        const dart_node mixed = dart_contract2(g, "ts,sd->td", seen, v);
        const dart_node gate = dart_contract2(g, "tc,cd->td", mixed, w[5]);
        const dart_node h = dart_map2(g, DART_OP_swiglu, gate, up, 0, 0);
        x = dart_add(g, x, dart_contract2(g, "tc,cd->td", h, w[6]));
    }
    const dart_node head = dart_leaf(g, "head", DART_F32, DART_SHAPE(V, T), DART_REGION_PARAM, at);
    at += (uint64_t)V * T;
    const dart_node logits = dart_contract2(g, "tc,vc->tv", x, head);
    const dart_node stats = dart_cross_entropy(g, logits, labels, V);
    const dart_node nll = dart_slice_rows(g, stats, 1, 1);
    const dart_node sum = dart_reshape(g, dart_sum_all(g, nll), (dart_shape){0});
    const dart_node dlogits = dart_cross_entropy_dx(g, logits, stats, labels, V, 1);
    const dart_node by[] = {
        dart_contract2(g, "tv,vc->tc", dlogits, head), dart_contract2(g, "tv,tc->vc", dlogits, x)};
    const dart_node loss = dart_with_grad(g, sum, 2, (dart_node[]){x, head}, by);
    weight[n++] = head;
    OK(dart_grad(g, loss, n, weight, grad));
    uint64_t to = 64;
    dart_store(g, dart_leaf(g, "loss", DART_F32, (dart_shape){0}, DART_REGION_GRAD, 0), loss);
    for (uint32_t i = 0; i < n; i++) {
        const dart_shape shape = dart_node_get(g, weight[i])->shape;
        dart_store(g, dart_leaf(g, "g", DART_F32, shape, DART_REGION_GRAD, to), grad[i]);
        to += dart_round_up(dart_shape_words(&shape), 64);
    }
    OK(dart_graph_check(g));
    *out_param = at;
    *out_words = to;
    return g;
}

/* Nothing that is made of a gradient is rounded, nor of parameters alone; the activations are. */
static uint32_t rounded(const dart_graph *g)
{
    const uint32_t count = dart_graph_count(g);
    bool *gradient = calloc(count + 1, sizeof *gradient), *tokens = calloc(count + 1, 1);
    uint32_t packs = 0;
    for (dart_node n = 1; n <= count; n++) {
        const dart_node_info *info = dart_node_get(g, n);
        gradient[n] = info->op == DART_OP_cross_entropy_dx;
        tokens[n] = info->op == DART_OP_leaf && info->i[0] == DART_REGION_INPUT;
        for (uint32_t i = 0; i < info->inputs; i++) {
            gradient[n] |= gradient[info->in[i]];
            tokens[n] |= tokens[info->in[i]];
        }
        if (info->op != DART_OP_pack) continue;
        assert_true(tokens[n] && !gradient[n]);
        packs++;
    }
    free(gradient);
    free(tokens);
    return packs;
}

static void activations_are_rounded_and_nothing_else(void **state)
{
    (void)state;
    static const dart_dtype types[] = {
        DART_F32, DART_DTYPE(DART_PACKED_f16), DART_DTYPE(DART_PACKED_bf16)};
    /* Each rounding moves a number by up to 2^-11 or 2^-8 of itself, its square by 8e-8 or 5e-6 on
     * average; some 40 of four blocks meet in a gradient. So logits move by 9e-4 or 7e-3 of
     * themselves, the mean loss of all tokens by a twentieth of that, one way or the other as sums
     * fall, which differ between processors (bf16: 2.2e-4 to 4.2e-4 seen): three times that. */
    static const double bound[] = {0, 4e-6, 2.5e-4}, loss[] = {0, 1.4e-4, 1.1e-3};
    run r[3], again;
    for (int i = 0; i < 3; i++) {
        uint64_t param, words;
        dart_graph *g = language_model(&param, &words);
        r[i] = run_graph(g, types[i], param, words);
        const double d = apart(&r[0], &r[i]);
        const double moved = fabs((double)r[i].result[0] / (double)r[0].result[0] - 1);
        const dart_plan_stats *stats = dart_plan_stats_of(r[i].program.plan);
        print_message("[ %-8s ] gradients NMSE %.2g, loss %.2g, arena %.2f MiB, %.1f MB moved\n",
            dart_dtype_name(types[i]), d, moved, (double)stats->planned_words / 0x1p18,
            stats->bytes / 1e6);
        assert_true(i ? d > 0 && d <= bound[i] && moved <= loss[i] : d == 0);
        assert_true(rounded(r[i].program.graph) >= (i ? BLOCKS * 4u : 0));
        assert_true(i || rounded(r[i].program.graph) == 0);
    }
    const uint64_t planned = dart_plan_stats_of(r[0].program.plan)->planned_words;
    for (int i = 1; i < 3; i++) {
        assert_true(dart_plan_stats_of(r[i].program.plan)->planned_words < 0.8 * (double)planned);
        assert_true(dart_plan_stats_of(r[i].program.plan)->bytes <
                    dart_plan_stats_of(r[0].program.plan)->bytes);
    }
    uint64_t param, words;
    dart_graph *g = language_model(&param, &words);
    again = run_graph(g, types[2], param, words);
    assert_memory_equal(again.result, r[2].result, words * sizeof *again.result);
    for (int i = 0; i < 3; i++) run_free(&r[i]);
    run_free(&again);
}

/* sum(silu(x) w) of x (rows of PARAM) as it is or rounded: its value x', and d / dx. */
/* Products that carry tokens may be rounded where the device has units for that, and gradients are
 * scaled then where the format has few exponents; penalties of parameters stay as they are. */
static void matrix_units_may_round(void **state)
{
    (void)state;
    for (int format = DART_PACKED_f16; format <= DART_PACKED_bf16; format++) {
        for (int units = 0; units < 3; units++) { /* none, of the other format, of this one */
            uint64_t param, words;
            dart_graph_program program = {0};
            dart_graph *g = language_model(&param, &words);
            const dart_node w = dart_leaf(g, "w", DART_F32, DART_SHAPE(T, T), DART_REGION_PARAM, 0);
            const dart_node square = dart_contract2(g, "ab,ac->bc", w, w);
            dart_store(g,
                dart_leaf(g, "penalty", DART_F32, (dart_shape){0}, DART_REGION_GRAD, words),
                dart_sumsq_all(g, square));
            const dart_program_options options = {.activations = DART_DTYPE(format)};
            dart_caps caps = {.word = 4, .threads = 32, .max_invocations = 1024};
            if (units) caps.matrix[units == 2 ? format : !format] = (dart_matrix){16, 16, 16};
            caps.matrix_lanes = 32;
            OK(dart_program_plan(&program, g, &caps, &options, NULL));
            uint32_t count, forward = 0, backward = 0, exact = 0;
            const dart_launch *list = dart_plan_launches(program.plan, &count);
            for (uint32_t i = 0; i < count; i++) {
                const gemm_params *p = (const gemm_params *)list[i].param;
                if (list[i].kernel != DART_K_gemm) continue;
                if (!list[i].tune[DART_GEMM_NARROW]) {
                    exact++;
                    continue;
                }
                assert_int_equal(list[i].tune[DART_GEMM_NARROW], 1 + format);
                const float a = p->scale_a, b = p->scale_b;
                const bool scaled = a > 1 || b > 1;
                assert_true((a == 1 || a == 4096) && (b == 1 || b == 4096));
                if (format == DART_PACKED_bf16) assert_false(scaled);
                *(scaled ? &backward : &forward) += 1;
            }
            dart_program_free(&program);
            if (units < 2) {
                assert_int_equal(forward + backward, 0);
                assert_true(exact > 0);
                continue;
            }
            assert_true(forward >= BLOCKS * 6);
            if (format == DART_PACKED_f16) assert_true(backward >= BLOCKS * 12);
            assert_int_equal(exact, 1); /* the penalty */
        }
    }
}

static dart_graph *function(int format)
{
    dart_graph *g;
    dart_node dx;
    const dart_shape shape = DART_SHAPE(OUT / 64, 64);
    OK(dart_graph_new(&g));
    const dart_node x = dart_leaf(g, "x", DART_F32, shape, DART_REGION_PARAM, 0);
    const dart_node w = dart_leaf(g, "w", DART_F32, shape, DART_REGION_PARAM, OUT);
    const dart_node half = format < 0 ? x : dart_pack(g, x, (dart_packed)format);
    const dart_node y = dart_mul(g, dart_map1(g, DART_OP_silu, half, 0, 0), w);
    OK(dart_grad(g, dart_sum_all(g, y), 1, &x, &dx));
    dart_store(g, dart_leaf(g, "x'", DART_F32, shape, DART_REGION_GRAD, 0),
        dart_affine(g, dart_unpack(g, half), 1, 0));
    dart_store(g, dart_leaf(g, "dx", DART_F32, shape, DART_REGION_GRAD, OUT), dx);
    return g;
}

/* The gradient at x is that of the function without rounding at x', bit by bit. */
static void gradients_pass_straight_through(void **state)
{
    (void)state;
    for (int format = 0; format < 2; format++) {
        run at_x = run_graph(function(format), DART_F32, 2 * OUT, 2 * OUT);
        run plain = run_graph(function(-1), DART_F32, 2 * OUT, 2 * OUT);
        const double half = format == DART_PACKED_f16 ? 0x1p-11 : 0x1p-8; /* of a last place */
        uint32_t moved = 0;
        for (uint32_t i = 0; i < OUT; i++) {
            const double x = (double)parameter(i), error = fabs((double)at_x.result[i] - x);
            assert_true(error <= fmax(half * fabs(x), 0x1p-25));
            moved += at_x.result[OUT + i] != plain.result[OUT + i];
        }
        assert_true(moved > OUT / 2);
        OK(dart_device_write_f32(
            plain.device, plain.memory.buffer[DART_REGION_PARAM], 0, OUT, at_x.result));
        OK(dart_program_run(&plain.program, NULL));
        OK(dart_device_read_f32(
            plain.device, plain.memory.buffer[DART_REGION_GRAD], 0, plain.words, plain.result));
        assert_memory_equal(plain.result, at_x.result, 2 * OUT * sizeof(float));
        run_free(&at_x);
        run_free(&plain);
    }
}

/* Numbers that element-wise functions and products make and read in 16 bits, and copies of such. */
static dart_graph *in_all_kernels(int format)
{
    dart_graph *g;
    const dart_shape shape = DART_SHAPE(OUT / 64, 64);
    OK(dart_graph_new(&g));
    const dart_node x = dart_leaf(g, "x", DART_F32, shape, DART_REGION_PARAM, 0);
    const dart_node w = dart_leaf(g, "w", DART_F32, DART_SHAPE(64, 64), DART_REGION_PARAM, OUT);
    const dart_packed half = (dart_packed)format;
    const dart_node h = dart_pack(g, dart_map1(g, DART_OP_silu, x, 0, 0), half);
    const dart_node z = dart_pack(g, dart_contract2(g, "ab,cb->ac", h, w), half);
    const dart_node y = dart_mul(g, dart_map1(g, DART_OP_gelu, z, 0, 0), h);
    dart_store(g, dart_leaf(g, "y", DART_F32, shape, DART_REGION_GRAD, 0),
        dart_add(g, y, dart_unpack(g, dart_pack(g, x, half))));
    return g;
}

/* What is longer than a binding is worked on in parts, which changes no bit. */
static void long_values_are_cut(void **state)
{
    (void)state;
    for (int format = 0; format < 2; format++) {
        binding = 0;
        run whole = run_graph(in_all_kernels(format), DART_F32, 2 * OUT, OUT);
        binding = OUT * sizeof(float) / 5;
        run cut = run_graph(in_all_kernels(format), DART_F32, 2 * OUT, OUT);
        binding = 0;
        const dart_plan_stats *stats = dart_plan_stats_of(cut.program.plan);
        assert_true(stats->largest_binding_words <= OUT / 5);
        assert_true(stats->launches >= 4 * dart_plan_stats_of(whole.program.plan)->launches);
        assert_true(apart(&whole, &cut) == 0);
        run_free(&whole);
        run_free(&cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_rounded_and_nothing_else),
        cmocka_unit_test(matrix_units_may_round),
        cmocka_unit_test(gradients_pass_straight_through),
        cmocka_unit_test(long_values_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
