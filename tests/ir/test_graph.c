/* Graph building, shape errors, reverse mode's structure, text round trip, verify. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "graph_impl.h"

static char *text_of(const dart_graph *graph)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    dart_graph_print(graph, out);
    fclose(out);
    return text;
}

/* A little of everything; returns the loss, and the leaves to differentiate by in x[5]. */
static dart_node build(dart_graph *g, dart_node x[5])
{
    dart_graph_scope(g, "embed");
    x[0] = dart_leaf(g, "w", DART_F32, DART_SHAPE(7, 6), DART_REGION_PARAM, 0);
    dart_node ids = dart_leaf(g, "ids", DART_I32, DART_SHAPE(2, 4), DART_REGION_INPUT, 0);
    dart_node index = dart_leaf(g, "index", DART_I32, DART_SHAPE(16), DART_REGION_INPUT, 64);
    dart_node h = dart_embedding(g, x[0], ids, index);
    dart_graph_scope(g, "block");
    x[1] = dart_leaf(g, "norm.w", DART_F32, DART_SHAPE(6), DART_REGION_PARAM, 64);
    x[2] = dart_leaf(g, "norm.b", DART_F32, DART_SHAPE(6), DART_REGION_PARAM, 128);
    h = dart_layernorm(g, h, x[1], x[2], 1e-5);
    x[3] = dart_leaf(g, "a", DART_F32, DART_SHAPE(6, 3), DART_REGION_PARAM, 192);
    x[4] = dart_leaf(g, "b", DART_F32, DART_SHAPE(3, 6), DART_REGION_PARAM, 256);
    h = dart_add(g, h, dart_contract(g, "btc,cr,rd->btd", 3, (dart_node[]){h, x[3], x[4]}));
    h = dart_map1(g, DART_OP_gelu, h, 0, 0);
    dart_node s = dart_softmax(g, dart_contract2(g, "btc,bsc->bts", h, h), 0.5, true);
    h = dart_contract2(g, "bts,bsc->btc", s, h);
    uint32_t order[] = {1, 0, 2};
    h = dart_permute(g, h, order);
    h = dart_slice_rows(g, h, 1, 2);
    return dart_affine(g, dart_sum_all(g, dart_map1(g, DART_OP_square, h, 0, 0)), 0.25, 0);
}

static void text_parses_back(void **state)
{
    (void)state;
    dart_graph *g, *again;
    dart_node x[5], d[5];
    assert_int_equal(dart_graph_new(&g), DART_OK);
    dart_node loss = build(g, x);
    assert_int_equal(dart_grad(g, loss, 5, x, d), DART_OK);
    for (int i = 0; i < 5; i++) {
        assert_true(d[i] > loss);
        assert_true(
            dart_shape_equal(&dart_node_get(g, d[i])->shape, &dart_node_get(g, x[i])->shape));
    }
    assert_int_equal(dart_verify(g, "grad"), DART_OK);
    char *first = text_of(g);
    assert_int_equal(dart_graph_parse(first, &again), DART_OK);
    assert_int_equal(dart_verify(again, "parse"), DART_OK);
    char *second = text_of(again);
    assert_string_equal(first, second);
    free(first);
    free(second);
    dart_graph_free(again);
    dart_graph_free(g);
}

static void broken_text_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"%1 = nosuch() : f32[1]", "%1 = leaf() [1,0] : f32[2]",
        "%1 = fill() {1,0} : f32[", "%2 = fill() {1,0} : f32[2]",
        "%1 = fill() {1,0} : f32[2]\n%2 = gelu(%9) {0,0} : f32[2]",
        "%1 = fill() {1,0} : f32[2]\n%2 = gelu(%1) {0,0} : f32[3]", "hello",
        "%1 = leaf() [1,0] \"open : f32[2]", "%1 = leaf() [2,0] \"w\" : q9_0[2,32]",
        "%1 = leaf() [2,0] \"w\" : q8_0[2,33]", "%1 = leaf() [1,0] \"w\" : q8_0[2,32]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_graph *g;
        assert_int_equal(dart_graph_parse(bad[i], &g), DART_INPUT);
        assert_null(g);
        assert_non_null(strstr(dart_error_text(), "line"));
    }
}

static void wrong_calls_name_op_and_scope(void **state)
{
    (void)state;
    dart_graph *g;
    assert_int_equal(dart_graph_new(&g), DART_OK);
    dart_graph_scope(g, "blocks.3.mlp");
    dart_node a = dart_fill(g, DART_SHAPE(2, 3), 1), b = dart_fill(g, DART_SHAPE(4, 5), 1);
    assert_int_not_equal(a, 0);
    dart_node c = dart_contract2(g, "ij,jk->ik", a, b);
    assert_int_equal(c, 0);
    assert_int_equal(dart_add(g, c, a), 0);
    assert_int_equal(dart_graph_check(g), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "contract at \"blocks.3.mlp\""));
    dart_graph_free(g);
}

/* A pass that leaves a broken graph behind is named: each break is made behind the builders' back.
 */
static void verify_names_the_guilty_pass(void **state)
{
    (void)state;
    static const char *const complaints[] = {"a shape that differs from its rule",
        "an input that is not made before it", "an input that is not made before it",
        "wrong number of inputs", "wrong attributes", "has no op"};
    for (size_t which = 0; which < sizeof complaints / sizeof *complaints; which++) {
        dart_graph *g;
        dart_node x[5];
        assert_int_equal(dart_graph_new(&g), DART_OK);
        dart_node loss = build(g, x);
        assert_int_equal(dart_verify(g, "nothing"), DART_OK);
        dart_node_info *node = g->node[loss]; /* affine */
        if (which == 0) node->shape = DART_SHAPE(2);
        if (which == 1) node->in[0] = loss;
        if (which == 2) node->in[0] = 0;
        if (which == 3) node->inputs = 0;
        if (which == 4) node->ints = 7;
        if (which == 5) node->op = DART_OP_none;
        assert_int_equal(dart_verify(g, "folding"), DART_FAILED);
        assert_non_null(strstr(dart_error_text(), "after folding"));
        assert_non_null(strstr(dart_error_text(), complaints[which]));
        dart_graph_free(g);
    }
}

static void labels_are_checked(void **state)
{
    (void)state;
    const char *bad[] = {"ii->i", "ij->ik", "ij->ii", "i->i", "ijk->ij", "ij,j->i", "ij", "ij->i,"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_graph *g;
        assert_int_equal(dart_graph_new(&g), DART_OK);
        dart_node a = dart_fill(g, DART_SHAPE(3, 3), 1);
        assert_int_equal(dart_contract(g, bad[i], 1, &a), 0);
        dart_graph_free(g);
    }
}

/* A packed matrix takes fewer words, is a leaf of what is frozen, and is read by products with
 * other tensors and by look-ups alone. */
static void packed_matrices_have_few_readers(void **state)
{
    (void)state;
    static const char *const wants[] = {
        "numbers, not a packed", "numbers, not a packed", "whole blocks", "region frozen or form"};
    dart_graph *g, *again;
    assert_int_equal(dart_graph_new(&g), DART_OK);
    for (int format = 0; format < DART_PACKED_FORMATS; format++)
        (void)dart_leaf(g, "w", DART_DTYPE(format), DART_SHAPE(3, 128), DART_REGION_FROZEN, 64);
    static const uint64_t row[] = {64, 64, 34, 18, 20, 18, 18};
    for (int format = 0; format < DART_PACKED_FORMATS; format++)
        assert_int_equal(dart_node_words(dart_node_get(g, (dart_node)format + 1)), 3 * row[format]);
    char *first = text_of(g), *second;
    assert_non_null(strstr(first, "nf4_double[3,128]"));
    assert_int_equal(dart_graph_parse(first, &again), DART_OK);
    second = text_of(again);
    assert_string_equal(first, second);
    free(first);
    free(second);
    dart_graph_free(again);
    dart_graph_free(g);
    for (int which = 0; which < 4; which++) {
        assert_int_equal(dart_graph_new(&g), DART_OK);
        const dart_dtype type = DART_DTYPE(DART_PACKED_q4_0);
        dart_node w = dart_leaf(g, "w", type, DART_SHAPE(3, 64), DART_REGION_FROZEN, 0);
        if (which == 0) w = dart_affine(g, w, 2, 0);
        if (which == 1) w = dart_contract(g, "ab->ba", 1, &w);
        if (which == 2) w = dart_leaf(g, "v", type, DART_SHAPE(3, 65), DART_REGION_FROZEN, 0);
        if (which == 3) w = dart_leaf(g, "v", type, DART_SHAPE(3, 64), DART_REGION_TABLE, 0);
        assert_int_equal(w, 0);
        assert_int_equal(dart_graph_check(g), DART_FAILED);
        assert_non_null(strstr(dart_error_text(), wants[which]));
        dart_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(text_parses_back),
        cmocka_unit_test(broken_text_is_refused), cmocka_unit_test(wrong_calls_name_op_and_scope),
        cmocka_unit_test(verify_names_the_guilty_pass), cmocka_unit_test(labels_are_checked),
        cmocka_unit_test(packed_matrices_have_few_readers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
