/* YAML files as trees: places, aliases, refusals, and files that are made to be slow. */
#include "clock.h"
#include "file.h"
#include "yaml_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/dart-yaml-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? 1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static dart_status read_text(const char *text, size_t size, dart_yaml *out)
{
    assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
    return dart_yaml_read(path, "recipe", out);
}

/* The tree as text: "k@1:1=..., " for pairs, [..] for lists. */
static void print(const dart_yaml_node *node, char *out, size_t size)
{
    size_t used = strlen(out);
    if (node->kind == DART_YAML_SCALAR) {
        snprintf(out + used, size - used, "%s@%u:%u", node->text, node->line, node->column);
        return;
    }
    snprintf(out + used, size - used, node->kind == DART_YAML_LIST ? "[%u:" : "{%u:", node->count);
    for (const dart_yaml_node *child = node->first; child; child = child->next) {
        strcat(out, " ");
        print(child, out, size);
    }
    strcat(out, node->kind == DART_YAML_LIST ? "]" : "}");
}

static void trees(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tree;
    } cases[] = {
        {"a: 1\nb: [x, 'y z', [1]]\n", "{2: a@1:1 1@1:4 b@2:1 [3: x@2:5 y z@2:8 [1: 1@2:16]]}"},
        {"- {k: v, l: {}}\n-\n", "[2: {2: k@1:4 v@1:7 l@1:10 {0:}} @2:2]"},
        {"# only\na: &x {b: 1}\nc: *x\nd: [*x, &y two, *y]\n",
            "{3: a@2:1 {1: b@2:8 1@2:11} c@3:1 {1: b@2:8 1@2:11} d@4:1 [3: {1: b@2:8 1@2:11} "
            "two@4:9 "
            "two@4:17]}"},
        {"word", "word@1:1"},
        {"\xef\xbb\xbf"
         "a: 1\n",
            "{1: a@1:1 1@1:4}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_yaml yaml;
        char tree[400] = "";
        if (read_text(cases[i].text, strlen(cases[i].text), &yaml) != DART_OK)
            fail_msg("case %zu: %s", i, dart_error_text());
        print(yaml.root, tree, sizeof tree);
        assert_string_equal(tree, cases[i].tree);
        uint32_t pairs = 0;
        if (yaml.root->kind == DART_YAML_MAP) DART_YAML_PAIRS(key, yaml.root) pairs++;
        assert_int_equal(pairs, yaml.root->kind == DART_YAML_MAP ? yaml.root->count : 0);
        dart_yaml_free(&yaml);
    }
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        size_t size;
    } cases[] = {{"", ": the recipe is empty"}, {"# nothing\n", ": the recipe is empty"},
        {"a: 1\na: 2\n", ":2:1: the key 'a' is there twice"},
        {"x:\n  a_b: 1\n  a-b: 2\n", ":3:3: the key 'a-b' is there twice"},
        {"{a: {b: 1, b: 2}}", ":1:12: the key 'b' is there twice"},
        {"[1]: 2\n", ":1:1: a key must be a word"},
        {"? {a: 1}\n: 2\n", ":1:3: a key must be a word"},
        {"a: *b\n", ":1:4: there is no anchor &b before *b"},
        {"a: &x [1, *x]\n", ":1:11: *x stands inside what it names"},
        {"a: 1\n---\nb: 2\n", ":2:1: there is a second document in the file"},
        {"a: [1\n", ":2:1: not YAML: "}, {"a: 'x\n", "not YAML"}, {"\tb: 1\n", ":1:1: not YAML"},
        {"a: \"x\\0y\"\n", ":1:4: there is a zero byte in the value"}, {"a: \xff\n", "not YAML"},
        {"a: b\0c\n", "not YAML", 7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_yaml yaml;
        size_t size = cases[i].size ? cases[i].size : strlen(cases[i].text);
        dart_status status = read_text(cases[i].text, size, &yaml);
        if (status != DART_INPUT || !strstr(dart_error_text(), cases[i].says))
            fail_msg("case %zu: %d %s", i, (int)status, dart_error_text());
        dart_yaml_free(&yaml);
    }
    dart_yaml yaml;
    assert_int_equal(dart_yaml_read("/nonesuch.yaml", "recipe", &yaml), DART_INPUT);
    dart_yaml_free(&yaml);
    assert_int_equal(read_text("a: {b: [word, 3]}", 17, &yaml), DART_OK);
    const dart_yaml_node *b = yaml.root->first->next->first, *list = b->next;
    const char *text;
    assert_int_equal(dart_yaml_text(&yaml, list, "b", 9, &text), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), ":1:8: b needs a single value here"));
    assert_int_equal(dart_yaml_text(&yaml, list->first, "b", 4, &text), DART_OK);
    assert_string_equal(text, "word");
    assert_int_equal(dart_yaml_text(&yaml, list->first, "b", 3, &text), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), ":1:9: b is longer than 3 bytes"));
    assert_int_equal(dart_yaml_at(&yaml, b, DART_OK), DART_OK);
    assert_int_equal(dart_yaml_at(&yaml, b, DART_MEMORY), DART_MEMORY);
    assert_int_equal(dart_yaml_at(&yaml, b, dart_fail(DART_USAGE, "b is odd")), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), ":1:5: b is odd"));
    dart_yaml_free(&yaml);
}

/* `count` times `unit`, with its number where it has a %d. */
static char *many(const char *before, const char *unit, int count, const char *after)
{
    char *text, one[64];
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fputs(before, out);
    for (int i = 0; i < count; i++) {
        const char *number = strstr(unit, "%d");
        if (number)
            snprintf(one, sizeof one, "%.*s%d%s", (int)(number - unit), unit, i, number + 2);
        fputs(number ? one : unit, out);
    }
    fputs(after, out);
    fclose(out);
    return text;
}

static void bounds(void **state)
{
    (void)state;
    static const struct {
        const char *before, *unit;
        int count;
        const char *after, *says; /* NULL: it is read */
    } cases[] = {{"", "[", 200000, "", "more than 32 levels inside each other"},
        {"", "{a: ", 40000, "", "more than 32 levels"},
        {"", "- ", 100000, "x", "more than 32 levels"},
        {"", "[", 32, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", NULL},
        {"", "[", 33, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "more than 32 levels"},
        {"{", "a%d: 1, ", 40000, "}", "more than 1024 keys side by side"},
        {"", "a%d: 1\n", 1024, "", NULL}, {"", "a%d: 1\n", 1025, "", "more than 1024 keys"},
        {"[", "&a%d 1, ", 60000, "]", "more than 64 anchors"}, {"[", "&a%d 1, ", 64, "*a3]", NULL},
        {"[", "1, ", 70000, "]", "more than 65536 values"}, {"[", "1, ", 65000, "]", NULL},
        {"", "a: 'xxxxxxxxx'\n# ", 70000, "", "at most 1048576 bytes"},
        {"a: ", "x", 1000000, "", NULL}, {"", "? ", 20000, "x", "a key must be a word"},
        {"a: \"", "\\n", 500000, "\"", NULL}, {"a: >\n", "  x\n", 200000, "", NULL},
        {"", "#", 1000000, "\na: 1\n", NULL}};
    double slowest = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = many(cases[i].before, cases[i].unit, cases[i].count, cases[i].after);
        dart_yaml yaml;
        double begin = dart_seconds();
        dart_status status = read_text(text, strlen(text), &yaml);
        double took = dart_seconds() - begin;
        if (took > slowest) slowest = took;
        if (cases[i].says ? status != DART_INPUT || !strstr(dart_error_text(), cases[i].says)
                          : status != DART_OK)
            fail_msg("case %zu: %d %s", i, (int)status, dart_error_text());
        if (took > 5) fail_msg("case %zu took %.1f s", i, took);
        dart_yaml_free(&yaml);
        free(text);
    }
    /* An alias costs no more than a node however large what it names is. */
    const char laughs[] = "a: &a [1, 1, 1, 1]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n";
    dart_yaml yaml;
    assert_int_equal(read_text(laughs, strlen(laughs), &yaml), DART_OK);
    dart_yaml_free(&yaml);
    print_message(
        "%zu files, the slowest in %.0f ms\n", sizeof cases / sizeof *cases, 1e3 * slowest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees), cmocka_unit_test(refusals), cmocka_unit_test(bounds)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
