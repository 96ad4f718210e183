/* Which operands to multiply beforehand (dart_contract_merge): groups cover the fixed operands
 * once, prices order as they should at one row and at evaluation's batch sizes, and the merged
 * contract equals the whole one in double precision. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "ir_run.h"
#include "rng.h"

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* y = x W^T with W a train over row digits, then column digits ("tt"), or over digit pairs ("ttm"),
 * ranks drawn unevenly. */
typedef struct network {
    char text[200];
    dart_shape x, core[11];
    uint32_t cores;
} network;

static uint32_t below(uint64_t *at, uint32_t n)
{
    return (uint32_t)(dart_uniform(3, DART_STREAM_TEST, (*at)++) * n);
}

static network make_network(int which, uint32_t rows, uint64_t seed)
{
    static const uint32_t row[3] = {4, 8, 8}, col[3] = {8, 8, 4};
    const bool pairs = which == 1;
    uint64_t at = seed * 100;
    uint32_t rank = 1;
    network net = {.x = DART_SHAPE(rows, col[0], col[1], col[2]), .cores = pairs ? 3 : 6};
    size_t n = (size_t)snprintf(net.text, sizeof net.text, "Zuvw");
    for (uint32_t k = 0; k < net.cores; k++) {
        const uint32_t next = k + 1 == net.cores ? 1 : 2 + below(&at, 14);
        const char left = (char)('a' + k), right = (char)('a' + k + 1);
        if (pairs) {
            net.core[k] = DART_SHAPE(rank, row[k], col[k], next);
            n += (size_t)snprintf(net.text + n, sizeof net.text - n, ",%c%c%c%c", left,
                (char)('r' + k), (char)('u' + k), right);
        } else {
            net.core[k] = DART_SHAPE(rank, k < 3 ? row[k] : col[k - 3], next);
            n += (size_t)snprintf(
                net.text + n, sizeof net.text - n, ",%c%c%c", left, (char)('r' + k), right);
        }
        rank = next;
    }
    snprintf(net.text + n, sizeof net.text - n, "->Zrst");
    return net;
}

typedef struct built {
    dart_graph *graph;
    dart_node operand[12], whole;
    uint64_t words;
} built;

static built build(const network *net)
{
    built b = {0};
    ok(dart_graph_new(&b.graph));
    for (uint32_t i = 0; i <= net->cores; i++) {
        const dart_shape *shape = i ? &net->core[i - 1] : &net->x;
        b.operand[i] = dart_leaf(b.graph, "t", DART_F32, *shape, DART_REGION_PARAM, b.words);
        b.words += dart_round_up(dart_shape_words(shape), 64);
    }
    b.whole = dart_contract(b.graph, net->text, 1 + net->cores, b.operand);
    ok(dart_graph_check(b.graph));
    return b;
}

static const dart_cost prices[] = {
    {1 / 1e11, 1 / 1e10, 2e-6}, {1 / 1.5e10, 1 / 5e9, 2e-5}, {1 / 5e12, 1 / 2e11, 5e-6}};
static const uint32_t row_counts[] = {1, 4, 64, 512, 4096};

static void cheapest_is_cheapest(void **state)
{
    (void)state;
    uint32_t cases = 0;
    for (int which = 0; which < 2; which++)
        for (uint32_t i = 0; i < 5 * 3 * 6; i++) {
            network net = make_network(which, row_counts[i % 5], i / 15);
            built b = build(&net);
            dart_merge merge[4];
            for (int how = 0; how < 4; how++) {
                uint32_t seen = 0;
                dart_merge *m = &merge[how];
                ok(dart_contract_merge(
                    b.graph, b.whole, &prices[i / 5 % 3], (dart_merge_how)how, m));
                for (uint32_t g = 0; g < m->groups; g++) {
                    assert_int_equal(seen & m->mask[g], 0);
                    seen |= m->mask[g];
                }
                assert_int_equal(seen, ((2u << net.cores) - 1) & ~1u);
                /* what was merged beforehand is not paid again: never dearer than any other */
                if (how) assert_true(merge[0].seconds <= m->seconds * (1 + 1e-9));
            }
            assert_int_equal(merge[DART_MERGE_NONE].groups, net.cores);
            assert_int_equal(merge[DART_MERGE_HALVES].groups, 2);
            assert_int_equal(merge[DART_MERGE_ALL].groups, 1);
            assert_int_equal(merge[DART_MERGE_ALL].words, 256 * 256);
            dart_path path;
            ok(dart_contract_path(b.graph, b.whole, &prices[i / 5 % 3], &path));
            /* merging during the call is paid for */
            assert_true(merge[0].seconds <= path.seconds * (1 + 1e-9));
            dart_graph_free(b.graph);
            cases++;
        }
    printf("%u choices compared with the three fixed ways\n", cases);
}

static void merged_equals_whole(void **state)
{
    (void)state;
    dart_device *oracle;
    ok(dart_device_open("cpu64", NULL, &oracle));
    for (int which = 0; which < 2; which++)
        for (int how = 0; how < 4; how++) {
            network net = make_network(which, 3, 7);
            built b = build(&net);
            dart_merge m;
            ok(dart_contract_merge(b.graph, b.whole, &prices[0], (dart_merge_how)how, &m));
            dart_node part[12] = {b.operand[0]};
            for (uint32_t g = 0; g < m.groups; g++) {
                dart_node of[12];
                uint32_t n = 0;
                for (uint32_t k = 1; k <= net.cores; k++)
                    if (m.mask[g] >> k & 1) of[n++] = b.operand[k];
                part[1 + g] = dart_contract(b.graph, m.make[g], n, of);
                ok(dart_graph_check(b.graph));
                assert_true(
                    dart_shape_equal(&dart_node_get(b.graph, part[1 + g])->shape, &m.shape[g]));
            }
            dart_node merged = dart_contract(b.graph, m.text, 1 + m.groups, part);
            ok(dart_graph_check(b.graph));
            ir_data data = {0};
            data.words[DART_REGION_PARAM] = b.words;
            data.region[DART_REGION_PARAM] = calloc(b.words, sizeof(double));
            for (uint64_t i = 0; i < b.words; i++)
                data.region[DART_REGION_PARAM][i] = dart_normal(5, DART_STREAM_TEST, i);
            ir_run run;
            ok(ir_prepare(&run, oracle, b.graph, &data, 2, (dart_node[]){b.whole, merged}));
            ok(dart_exec_run(run.exec, NULL));
            double *want = calloc(run.keep_words[0], sizeof *want);
            double *got = calloc(run.keep_words[1], sizeof *got), worst = 0, largest = 0;
            assert_int_equal(run.keep_words[0], 3 * 256);
            ok(ir_read(&run, 0, want));
            ok(ir_read(&run, 1, got));
            for (uint64_t i = 0; i < run.keep_words[0]; i++) {
                worst = fmax(worst, fabs(want[i] - got[i]));
                largest = fmax(largest, fabs(want[i]));
            }
            assert_true(largest > 1 && worst <= 1e-12 * largest);
            free(want);
            free(got);
            ir_run_free(&run);
            free(data.region[DART_REGION_PARAM]);
            dart_graph_free(b.graph);
        }
    dart_device_close(oracle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cheapest_is_cheapest),
        cmocka_unit_test(merged_equals_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
