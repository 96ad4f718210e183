/* Reports of runs that were really trained here: what the gates log is what the charts show, point
 * by point, and pages and tables say how perplexities were measured. */
#include "tiny_run.h"
#include <jansson.h>
#include <math.h>

enum { WARM = 10, GATED = 60, MOST = 200 };

static dart_result trained[2];
static const char *const gates[2] = {"hard-concrete", "gumbel"};

static int set_up(void **state)
{
    if (tiny_set_up(state)) return 1;
    for (int i = 0; i < 2; i++) {
        static tiny_watch watch;
        char stages[512];
        snprintf(stages, sizeof stages,
            "stages:\n  - {name: warm, max_steps: %d}\n"
            "  - {name: choose, max_steps: %d, reg: %s, target_size: 0.5, gate_rate: 6}\n"
            "  - {name: pick, select: %s}\n  - {name: tune, max_steps: 5}\n",
            WARM, GATED, gates[i], i ? "gumbel" : "gates");
        dart_recipe *recipe = tiny_recipe(tiny_path(gates[i]), stages);
        if (i) tiny_set(recipe, "eval_stride", "4");
        dart_status status = tiny_train(recipe, &watch, &trained[i]);
        dart_recipe_free(recipe);
        if (status != DART_OK) {
            print_message("%s\n", dart_error_text());
            return 1;
        }
    }
    return 0;
}

/* Not inlined: gcc 12 would take the text for a variable of tiny_read and warn. */
__attribute__((noinline)) static char *page_of(const char *const *runs, size_t count)
{
    if (dart_report(runs, count, tiny_path("page.html")) != DART_OK)
        fail_msg("%s", dart_error_text());
    return tiny_read(".", "page.html");
}

/* The SVG called `title`, in a static buffer; NULL: there is none. */
static const char *chart(const char *page, const char *title)
{
    static char text[1 << 17];
    char label[200];
    snprintf(label, sizeof label, "aria-label=\"%s\"", title);
    const char *from = strstr(page, label), *end = from ? strstr(from, "</svg>") : NULL;
    if (!end) return NULL;
    assert_true((size_t)(end - from) < sizeof text);
    snprintf(text, sizeof text, "%.*s", (int)(end - from), from);
    return text;
}

/* The values of the line called `name`, read back from its path by the labels of the y axis. */
static unsigned drawn(const char *svg, const char *name, double out[MOST], double *out_pixel)
{
    static const char row[] = "<path class=\"g\" d=\"M64 ";
    double y[2] = {0}, value[2] = {0};
    unsigned lines = 0, n = 0;
    char title[100];
    for (const char *at = svg; (at = strstr(at, row)); at += sizeof row, lines++) {
        y[lines > 0] = strtod(at + sizeof row - 1, NULL);
        value[lines > 0] = strtod(strchr(strstr(at, "<text"), '>') + 1, NULL);
    }
    assert_true(lines >= 2);
    const double scale = (value[1] - value[0]) / (y[1] - y[0]);
    *out_pixel = fabs(scale);
    snprintf(title, sizeof title, "<title>%s</title>", name);
    const char *end = strstr(svg, title), *path = NULL;
    for (const char *at = svg; end && (at = strstr(at, "<path class=\"l ")) && at < end; at++)
        path = at;
    if (!path) fail_msg("no line '%s'", name);
    path = strstr(path, " d=\"") + 4;
    while (*path == 'M' || *path == 'L') {
        char *next;
        strtod(path + 1, &next);
        double at = strtod(next, &next);
        assert_true(n < MOST);
        out[n++] = value[0] + (at - y[0]) * scale;
        path = strncmp(next, "h.1", 3) ? next : next + 3; /* a dot, should it be alone */
    }
    return n;
}

/* The values of a key in a run's log. */
static unsigned logged(const char *run, const char *key, double out[MOST])
{
    char *log = tiny_read(run, "metrics.jsonl");
    unsigned n = 0;
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL), *value = json_object_get(object, key);
        assert_non_null(object);
        if (value) {
            assert_true(n < MOST);
            out[n++] = json_number_value(value);
        }
        json_decref(object);
    }
    free(log);
    return n;
}

static unsigned assert_shown(
    const char *page, const char *title, const char *line, const char *run, const char *key)
{
    double shown[MOST], wanted[MOST], pixel, low = INFINITY, high = -INFINITY;
    const char *svg = chart(page, title);
    if (!svg) fail_msg("no chart '%s'", title);
    unsigned n = logged(run, key, wanted);
    assert_int_equal(n, GATED);
    assert_int_equal(drawn(svg, line, shown, &pixel), n);
    for (unsigned i = 0; i < n; i++) {
        low = fmin(low, wanted[i]);
        high = fmax(high, wanted[i]);
        /* coordinates have one decimal, line and axis each */
        if (fabs(shown[i] - wanted[i]) > 0.2 * pixel)
            fail_msg("%s, %s, point %u: %g, in the log %g", title, key, i + 1, shown[i], wanted[i]);
    }
    printf("%s: %s, %u points, %g to %g\n", run, key, n, low, high);
    return n;
}

static void test_gates(void **state)
{
    (void)state;
    static const char size[] = "Expected size of the gated layers",
                      multipliers[] = "Multipliers of the size constraint";
    unsigned points = 0;
    const char *run = tiny_path(gates[0]);
    char *page = page_of(&run, 1);
    points += assert_shown(page, size, "gate_size", gates[0], "gate_size");
    points += assert_shown(page, size, "gate_target", gates[0], "gate_target");
    points += assert_shown(page, multipliers, "gate_l1", gates[0], "gate_l1");
    points += assert_shown(page, multipliers, "gate_l2", gates[0], "gate_l2");
    assert_null(chart(page, "Temperature of the gates τ")); /* it has none */
    assert_null(strstr(page, "gate_words"));                /* the size again, in parameters */
    assert_null(strstr(page, "nan"));
    assert_non_null(strstr(page, "After pick (gates)"));
    free(page);
    /* the size moved towards its target, or the comparison above says little */
    double moved[MOST];
    assert_int_equal(logged(gates[0], "gate_size", moved), GATED);
    assert_true(moved[GATED - 1] < moved[0] - 0.01);
    run = tiny_path(gates[1]);
    page = page_of(&run, 1);
    points += assert_shown(page, size, "gate_size", gates[1], "gate_size");
    points += assert_shown(page, "Temperature of the gates τ", "", gates[1], "gate_tau");
    free(page);
    /* both: a line a run */
    const char *runs[2] = {tiny_path(gates[0]), tiny_path(gates[1])};
    page = page_of(runs, 2);
    points += assert_shown(page, size, gates[0], gates[0], "gate_size");
    points += assert_shown(page, size, gates[1], gates[1], "gate_size");
    free(page);
    printf("%u points\n", points);
    assert_int_equal(points, 8 * GATED);
}

/* table.json says for each row what the command prints at its end; the page says it too. */
static void test_protocol(void **state)
{
    (void)state;
    char text[2][1024], wanted[3000];
    for (int i = 0; i < 2; i++) {
        dart_protocol_text(&trained[i].protocol, text[i], sizeof text[i]);
        char *table = tiny_read(gates[i], "table.json");
        json_t *rows = json_loads(table, 0, NULL);
        free(table);
        assert_int_equal(json_array_size(rows), 3);
        for (size_t r = 0; r < 3; r++) {
            const json_t *how = json_object_get(json_array_get(rows, r), "protocol");
            assert_string_equal(json_string_value(how), text[i]);
        }
        json_decref(rows);
        const char *run = tiny_path(gates[i]);
        char *page = page_of(&run, 1);
        snprintf(wanted, sizeof wanted, "<p>How it was measured: %s.</p>", text[i]);
        if (!strstr(page, wanted)) fail_msg("the page does not say '%s'", wanted);
        free(page);
    }
    assert_non_null(strstr(text[0], "each token scored once (valid "));
    assert_non_null(strstr(text[0], "windows of 8, no overlap: 1 to 8 tokens before each"));
    assert_non_null(strstr(text[1], "windows of 8, stride 4: 5 to 8 tokens before each"));
    /* two that were measured differently: each by its name; twice the same: once */
    const char *runs[2] = {tiny_path(gates[0]), tiny_path(gates[1])};
    char *page = page_of(runs, 2);
    for (int i = 0; i < 2; i++) {
        snprintf(wanted, sizeof wanted, "<p>%s: %s.</p>", gates[i], text[i]);
        if (!strstr(page, wanted)) fail_msg("the page does not say '%s'", wanted);
    }
    free(page);
    runs[1] = runs[0];
    page = page_of(runs, 2);
    const char *first = strstr(page, "<p>How it was measured: ");
    assert_non_null(first);
    assert_null(strstr(first + 40, "perplexity per word"));
    free(page);
}

/* Words for every kind of text. */
static void test_words(void **state)
{
    (void)state;
    char text[1024];
    dart_protocol p = {.unit = "word",
        .data = "ptb",
        .context = 64,
        .stride = 64,
        .valid_tokens = 73760,
        .test_tokens = 1234567};
    dart_protocol_text(&p, text, sizeof text);
    assert_string_equal(text,
        "perplexity per word over ptb; each token scored once (valid 73,760, test 1,234,567), "
        "windows of 64, no overlap: 1 to 64 tokens before each");
    p = (dart_protocol){.unit = "word",
        .data = "multi30k-de-en",
        .context = 28,
        .stride = 28,
        .source_context = 30,
        .valid_tokens = 999,
        .test_tokens = 1000};
    dart_protocol_text(&p, text, sizeof text);
    assert_string_equal(text,
        "perplexity per target word, <eos> counted, over multi30k-de-en; each scored once (valid "
        "999, test 1,000), after the source (at most 30 tokens) and the target before it (at most "
        "28)");
    dart_protocol_text(&(dart_protocol){0}, text, sizeof text);
    assert_string_equal(text, "");
    memset(p.data, 'x', sizeof p.data - 1); /* the longest names fit */
    p.source_context = p.context = p.stride = UINT32_MAX;
    p.valid_tokens = p.test_tokens = UINT64_MAX;
    dart_protocol_text(&p, text, sizeof text);
    assert_non_null(strstr(text, "(at most 4294967295)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gates),
        cmocka_unit_test(test_protocol), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, set_up, tiny_tear_down);
}
