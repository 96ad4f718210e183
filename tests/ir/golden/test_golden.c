/* Plans of three small models, kept as text: a change of the graph, the paths, the lowering or the
 * memory plan shows as a difference. DART_GOLDEN_UPDATE=1 rewrites them. The same models, larger,
 * are planned under limit profiles, where the peak must stay within 1.15 of the lower bound. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "file.h"
#include "roles.h"
#include "session.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

typedef struct golden {
    const char *name, *linear, *embedding, *head, *reg;
    dart_model_config config;
    uint32_t linear_modes, table_modes;
} golden;

static const golden cases[] = {
    {"gpt-tt", "tt", "dense", "dense", "bond-nuclear",
        {
            .layers = 2,
            .d_model = 32,
            .heads = 2,
            .kv_heads = 2,
            .d_ff = 64,
            .context = 16,
            .vocab = 100,
            .tied = true,
            .bias = DART_ALL_BIAS,
            .dropout = 0.1,
        },
        .linear_modes = 3},
    {"llama-ttm", "ttm", "tt-embedding", "tt", "core-nuclear",
        {.layers = 2,
            .d_model = 32,
            .heads = 4,
            .kv_heads = 2,
            .d_ff = 64,
            .context = 16,
            .vocab = 120,
            .norm.kind = DART_RMS_NORM,
            .act = 2,
            .positions.kind = DART_ROTARY},
        .linear_modes = 2, .table_modes = 3},
    {"gpt-lora", "lora", "dense", "dense", NULL,
        {
            .layers = 1,
            .d_model = 32,
            .heads = 2,
            .kv_heads = 2,
            .d_ff = 64,
            .context = 16,
            .vocab = 100,
            .act = 1,
        }},
    {"seq2seq-tt", "tt", "dense", "dense", NULL,
        {
            .layers = 1,
            .enc_layers = 1,
            .d_model = 32,
            .heads = 2,
            .kv_heads = 2,
            .d_ff = 64,
            .context = 16,
            .source_context = 12,
            .vocab = 100,
            .source_vocab = 90,
            .act = DART_ACT_RELU,
            .tied = true,
            .bias = DART_ALL_BIAS,
        }},
};
enum { CASES = sizeof cases / sizeof *cases };

/* A device of no particular kind: neither tune table nor machine has a say in the text. */
static dart_caps plain_caps(void)
{
    return (dart_caps){.name = "golden", .word = 4, .on_cpu = true, .offset_align = 64};
}

static dart_session *session_of(
    const golden *g, uint32_t scale, uint32_t batch, const dart_caps *caps, dart_model **out_model)
{
    dart_session *session;
    dart_model_config config = g->config;
    config.d_model *= scale;
    config.d_ff *= scale;
    config.context *= scale;
    config.layers *= scale > 1 ? 2 : 1;
    roles_new(&config, 4, 4, 4, g->linear_modes);
    config.role[EMBEDDING].modes = config.role[HEAD].modes = g->table_modes;
    role_set(&config, EMBEDDING, g->embedding);
    role_set(&config, HEAD, g->head);
    role_set(&config, LINEAR, g->linear);
    options_put(&config.role[LINEAR].options, "lora_alpha", 8);
    OK(dart_model_new(&config, NULL, out_model));
    const dart_reg *reg = g->reg ? dart_reg_find(g->reg) : NULL;
    dart_session_options options = {.batch = batch,
        .time = config.context,
        .accumulation = 1,
        .chunk_rows = batch * config.context / 4,
        .train = true,
        .optim = dart_optim_find("adamw"),
        .optim_options = adamw_values(0.9, 0.99, 1e-8, 0.1),
        .max_grad_norm = 1,
        .reg = reg};
    if (reg) options.reg_options = penalty_values(reg, &(penalty_options){.mu = 1e-3});
    OK(dart_session_new(NULL, caps, *out_model, &options, &session));
    return session;
}

/* Line and text of the first difference. */
static void compare_texts(const char *name, const char *kept, const char *now)
{
    uint32_t line = 1;
    while (*kept && *now) {
        size_t a = strcspn(kept, "\n"), b = strcspn(now, "\n");
        if (a != b || memcmp(kept, now, a) != 0) break;
        kept += a + (kept[a] == '\n');
        now += b + (now[b] == '\n');
        line++;
    }
    if (*kept || *now)
        fail_msg("%s differs from its golden plan at line %u:\n  kept %.*s\n  now  %.*s\n(if that "
                 "is meant: "
                 "DART_GOLDEN_UPDATE=1 and look at the difference)",
            name, line, (int)strcspn(kept, "\n"), kept, (int)strcspn(now, "\n"), now);
}

static void plans_are_as_kept(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        dart_caps caps = plain_caps();
        dart_model *model;
        dart_session *session = session_of(&cases[c], 1, 4, &caps, &model);
        char path[512], *text = NULL, *kept;
        size_t size, kept_size;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        dart_plan_print(session->part[DART_PART_STEP].plan, out);
        fclose(out);
        snprintf(path, sizeof path, "%s/tests/ir/golden/%s.plan", DART_SOURCE_DIR, cases[c].name);
        if (getenv("DART_GOLDEN_UPDATE")) OK(dart_file_write_atomic(path, text, size));
        OK(dart_file_read(path, &kept, &kept_size));
        compare_texts(cases[c].name, kept, text);
        free(kept);
        free(text);
        dart_session_free(session);
        dart_model_free(model);
    }
}

/* The optimized graph, printed, parses to a graph that prints the same. */
static void graphs_go_round(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        dart_caps caps = plain_caps();
        dart_model *model;
        dart_session *session = session_of(&cases[c], 1, 4, &caps, &model);
        char *text[2] = {NULL, NULL};
        size_t size[2];
        dart_graph *again = NULL;
        for (int i = 0; i < 2; i++) {
            FILE *out = open_memstream(&text[i], &size[i]);
            assert_non_null(out);
            dart_graph_print(i ? again : session->part[DART_PART_STEP].graph, out);
            fclose(out);
            if (i == 0) OK(dart_graph_parse(text[0], &again));
        }
        OK(dart_verify(again, "parsing"));
        assert_string_equal(text[0], text[1]);
        dart_graph_free(again);
        free(text[0]);
        free(text[1]);
        dart_session_free(session);
        dart_model_free(model);
    }
}

static void peaks_stay_near_the_bound(void **state)
{
    (void)state;
    static const char *const profiles[] = {"", "emu-floor", "emu-pi4"};
    double worst = 1;
    uint32_t plans = 0;
    for (int c = 0; c < CASES; c++)
        for (size_t p = 0; p < sizeof profiles / sizeof *profiles; p++) {
            dart_caps caps = plain_caps();
            if (*profiles[p]) {
                const dart_limits *limits = dart_limits_find(profiles[p]);
                assert_non_null(limits);
                dart_caps_limit(&caps, limits);
            }
            dart_model *model;
            dart_session *session = session_of(&cases[c], 4, 8, &caps, &model);
            const dart_plan *plan = session->part[DART_PART_STEP].plan;
            const dart_plan_stats *stats = dart_plan_stats_of(plan);
            double ratio = (double)stats->planned_words / (double)stats->bound_words;
            if (ratio > worst) worst = ratio;
            assert_true(stats->planned_words >= stats->bound_words);
            uint32_t count;
            const dart_launch *list = dart_plan_launches(plan, &count);
            for (uint32_t i = 0; i < count; i++)
                for (uint32_t b = 0; b < list[i].buffers; b++) {
                    assert_int_equal(list[i].buf[b].offset * 4 % caps.offset_align, 0);
                    assert_true(!caps.max_binding || list[i].buf[b].words * 4 <= caps.max_binding);
                }
            plans++;
            dart_session_free(session);
            dart_model_free(model);
        }
    print_message("[ plan     ] %u training plans, peak / bound at most %.3f\n", plans, worst);
    assert_true(worst <= 1.15);
    assert_int_equal(plans, 12);
}

/* Windows no larger than a small binding: still close to the bound, and every tensor in one window.
 */
static void small_windows_hold_the_step(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        dart_caps caps = plain_caps();
        dart_model *model;
        dart_session *session = session_of(&cases[c], 4, 8, &caps, &model);
        const dart_plan_stats *one = dart_plan_stats_of(session->part[DART_PART_STEP].plan);
        caps.max_binding = one->bound_words; /* a quarter of the arena, in bytes */
        uint64_t whole = one->bound_words;
        dart_session_free(session);
        dart_model_free(model);
        session = session_of(&cases[c], 4, 8, &caps, &model);
        const dart_plan_stats *stats = dart_plan_stats_of(session->part[DART_PART_STEP].plan);
        print_message("[ plan     ] %s: %u windows, peak / bound %.3f\n", cases[c].name,
            stats->windows, (double)stats->planned_words / (double)stats->bound_words);
        assert_true(stats->windows >= 4);
        assert_int_equal(stats->bound_words, whole);
        assert_true((double)stats->planned_words <= 1.15 * (double)stats->bound_words);
        dart_session_free(session);
        dart_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_as_kept),
        cmocka_unit_test(graphs_go_round),
        cmocka_unit_test(peaks_stay_near_the_bound),
        cmocka_unit_test(small_windows_hold_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
