/* Whole runs with gates: sizes met on every method, cuts that change nothing, resume bit for bit on
 * every device,
 * launches that do not grow with the model, ordered dropout, refusals. */
#include "roles.h"
#include "run.h"
#include "handles.h"
#include "tiny_run.h"
#include <math.h>

/* Warm-up, a stage with the gate, its cut. */
static dart_recipe *gated(const char *out, const char *gate, const char *select, const char *more)
{
    char stages[512];
    snprintf(stages, sizeof stages,
        "stages:\n"
        "  - {name: warm, max_steps: 30, lr_scheduler: constant}\n"
        "  - {name: choose, max_steps: 150, lr_scheduler: constant, reg: %s, %s}\n"
        "  - {name: pick, select: %s}\n"
        "  - {name: tune, max_steps: 10}\n",
        gate, more, select);
    dart_recipe *recipe = tiny_recipe(tiny_path(out), stages);
    tiny_set(recipe, "rank", "8");
    tiny_set(recipe, "d_model", "32");
    return recipe;
}

/* Mean expected size in the last 30 steps with gates, as part of that when they appeared. */
static double trained_size(const char *run)
{
    static const char key[] = "\"gate_size\":";
    double size[200], sum = 0;
    uint32_t lines = 0;
    char *metrics = tiny_read(run, "metrics.jsonl");
    for (const char *at = metrics; (at = strstr(at, key)) && lines < 200; lines++)
        size[lines] = strtod(at += sizeof key - 1, NULL);
    free(metrics);
    assert_int_equal(lines, 150);
    for (uint32_t i = lines - 30; i < lines; i++) sum += size[i] / 30;
    return sum;
}

/* A run to half the size. With frozen matrices the words of the chains are what is compressed
 * without those. */
static void train_to_half(
    const dart_reg *gate, const dart_method *method, const char *embedding, const char *name)
{
    const bool gumbel = !strcmp(gate->name, "gumbel"), base = method_has_base(method);
    /* beside a frozen matrix the loss resists less, and the size swings further */
    const bool slowly = base && !strcmp(gate->name, "hard-concrete");
    dart_result r;
    tiny_watch w = {0};
    dart_recipe *recipe = gated(name, gate->name, gumbel ? "gumbel" : "gates",
        slowly ? "target_size: 0.5, gate_rate: 4" : "target_size: 0.5, gate_rate: 6");
    tiny_set(recipe, "linear", method->name);
    tiny_set(recipe, "embedding", embedding);
    if (strcmp(gate->name, "bond-diagonal")) tiny_set(recipe, "layers", "2");
    if (tiny_train(recipe, &w, &r) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    const dart_table_row *before = &r.row[0], *after = &r.row[1];
    double was = (double)(before->compressed_params - (base ? before->dense_params : 0));
    double now = (double)(after->compressed_params - (base ? after->dense_params : 0));
    double trained = trained_size(name);
    printf("%-7s %-13s trained to %.3f, cut to %5.0f of %5.0f words (target %5.0f), perplexity "
           "%.4f before, %.4f after the cut\n",
        method->name, gate->name, trained, now, was, 0.5 * was, before->valid_ppl,
        after->valid_ppl);
    assert_true(fabs(trained - 0.5) < (!strcmp(gate->name, "bond-diagonal") ? 0.1 : 0.2));
    assert_true(now <= 0.5 * was && now >= 0.99 * 0.5 * was);
    /* evaluation already used the mask of the cut: only rounding to single precision differs */
    assert_true(fabs(after->valid_ppl / before->valid_ppl - 1) < 1e-4);
}

/* Every gate on every method that has ranks. */
static void test_targets(void **state)
{
    (void)state;
    uint32_t runs = 0;
    for (uint32_t g = 0; dart_reg_at(g); g++)
        for (uint32_t m = 0; dart_reg_at(g)->gate && dart_method_at(m); m++) {
            const dart_method *method = dart_method_at(m);
            if (!method_has_ranks(method) || method_pads(method)) continue;
            char name[16];
            snprintf(name, sizeof name, "target%u", runs++);
            const bool table =
                !strcmp(method->name, "ttm") ||
                (!strcmp(method->name, "tt") && !strcmp(dart_reg_at(g)->name, "bond-diagonal"));
            train_to_half(dart_reg_at(g), method, table ? "tt-embedding" : "dense", name);
        }
    assert_true(runs >= 9);
}

static const char *const resume_variants[][3] = {{"hard-concrete", "gates", "target_size: 0.5"},
    {"gumbel", "gumbel", "target_size: 0.6, straight_through: true"},
    {"bond-diagonal", "gates", "target_size: 0.7"},
    {"bond-nuclear", "threshold", "ordered_dropout: 0.5"}};

/* One run whole and one stopped after each of `stops` (0: the end) and resumed leave the same
 * bytes. Returns the number of resumes. */
static uint32_t resume_on(
    const char *device, int variant, const char *accumulation, const uint64_t *stops)
{
    static const char *const files[] = {"metrics.jsonl", "spectra.jsonl",
        "checkpoints/step-00000190/model.safetensors",
        "checkpoints/step-00000190/optimizer.safetensors"};
    const char *const *v = resume_variants[variant];
    uint32_t resumed = 0;
    tiny_watch w = {0};
    dart_result r;
    dart_recipe *recipe = gated("whole", v[0], v[1], v[2]);
    tiny_set(recipe, "device", device);
    tiny_set(recipe, "gradient_accumulation_steps", accumulation);
    tiny_set(recipe, "eval_steps", "40");
    if (tiny_train(recipe, &w, &r) != DART_OK) fail_msg("%s", dart_error_text());
    tiny_set(recipe, "out", tiny_path("part"));
    do {
        w = (tiny_watch){.stop_at = *stops};
        dart_status status = tiny_train(recipe, &w, &r);
        if (status != (*stops ? DART_INTERRUPTED : DART_OK))
            fail_msg("%s on %s: %s", v[0], device, dart_error_text());
        tiny_set(recipe, "resume", "true");
        resumed += *stops > 0;
    } while (*stops++);
    for (size_t f = 0; f < sizeof files / sizeof *files; f++)
        tiny_assert_same("whole", "part", files[f]);
    dart_recipe_free(recipe);
    assert_int_equal(dart_remove_tree(tiny_path("whole")), DART_OK);
    assert_int_equal(dart_remove_tree(tiny_path("part")), DART_OK);
    return resumed;
}

/* Stopped in a stage with gates, and resumed. */
static void test_resume(void **state)
{
    static const uint64_t stops[] = {30, 31, 77, 180, 0};
    (void)state;
    uint32_t resumed = 0;
    for (int v = 0; v < 4; v++)
        for (int accumulation = 1; accumulation < 3; accumulation++)
            resumed += resume_on("cpu", v, accumulation == 1 ? "1" : "2", stops);
    printf("%u resumes in stages with gates\n", resumed);
    assert_int_equal(resumed, 32);
}

/* The same within every other device that is there. */
static void test_resume_devices(void **state)
{
    static const char *const devices[] = {"opencl:0", "vulkan:0"};
    static const uint64_t stops[] = {31, 0};
    (void)state;
    uint32_t resumed = 0, present = 0;
    for (int d = 0; d < 2; d++) {
        dart_device *probe;
        if (dart_device_open(devices[d], NULL, &probe) != DART_OK) {
            printf("skipped: %s\n", dart_error_text());
            continue;
        }
        dart_device_close(probe);
        present++;
        for (int v = 0; v < 4; v++) resumed += resume_on(devices[d], v, "1", stops);
        printf("%u resumes in stages with gates, to %s\n", resumed, devices[d]);
    }
    assert_int_equal(resumed, 4 * present);
}

/* Gates appear and vanish between stages without a cut: the run goes on, evaluation from the files
 * sees the same model. */
static void test_stages(void **state)
{
    (void)state;
    dart_result r;
    tiny_watch w = {0};
    dart_eval_result e;
    dart_recipe *recipe = tiny_recipe(tiny_path("turns"),
        "stages:\n"
        "  - {name: a, max_steps: 40, reg: hard-concrete, target_size: 0.7}\n"
        "  - {name: b, max_steps: 40, reg: gumbel, target_size: 0.9}\n"
        "  - {name: c, max_steps: 20}\n"
        "  - {name: d, max_steps: 20, ordered_dropout: 0.3}\n"
        "  - {name: e, max_steps: 40, reg: bond-diagonal, lambda_reg: 1}\n");
    if (tiny_train(recipe, &w, &r) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(r.steps, 160);
    if (handle_eval(tiny_path("turns"), NULL, &e) != DART_OK) fail_msg("%s", dart_error_text());
    printf("perplexity %.6f in the run, %.6f from its files\n", r.row[0].valid_ppl, e.valid_ppl);
    assert_true(fabs(e.valid_ppl / r.row[0].valid_ppl - 1) < 1e-5);
    char *metrics = tiny_read("turns", "metrics.jsonl");
    static const char *const keys[] = {"\"gate\":\"hard-concrete\"", "\"gate\":\"gumbel\"",
        "\"gate\":\"bond-diagonal\"",
        "\"gate_size\":", "\"gate_words\":", "\"gate_l1\":", "\"gate_l2\":", "\"gate_tau\":"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strstr(metrics, keys[i])) fail_msg("no %s in metrics.jsonl", keys[i]);
    free(metrics);
    dart_recipe_free(recipe);
}

/* A model trained with ordered dropout loses less when its bonds are cut to prefixes. */
static void test_ordered(void **state)
{
    (void)state;
    double loss[2] = {0, 0};
    for (int ordered = 0; ordered < 2; ordered++)
        for (int seed = 1; seed <= 3; seed++) {
            dart_result r;
            tiny_watch w = {0};
            char name[32], text[8], stages[256];
            snprintf(name, sizeof name, "ordered%d-%d", ordered, seed);
            snprintf(text, sizeof text, "%d", seed);
            snprintf(stages, sizeof stages,
                "stages:\n"
                "  - {name: train, max_steps: 200%s}\n"
                "  - {name: pick, select: uniform, budget: 0.35}\n",
                ordered ? ", ordered_dropout: 0.7" : "");
            dart_recipe *recipe = tiny_recipe(tiny_path(name), stages);
            tiny_set(recipe, "seed", text);
            tiny_set(recipe, "dropout", "0");
            tiny_set(recipe, "rank", "8");
            tiny_set(recipe, "d_model", "32");
            if (tiny_train(recipe, &w, &r) != DART_OK) fail_msg("%s", dart_error_text());
            loss[ordered] += (log(r.row[1].valid_ppl) - log(r.row[0].valid_ppl)) / 3;
            dart_recipe_free(recipe);
        }
    printf(
        "a uniform cut to 35 %% costs %.4f nats, %.4f after ordered dropout\n", loss[0], loss[1]);
    assert_true(loss[1] < loss[0]);
}

static dart_plan_stats stats_of(const char *reg, double ordered, uint32_t layers)
{
    dart_model *model;
    dart_session *session;
    const dart_caps caps = {.name = "plain", .word = 4, .on_cpu = true, .offset_align = 64};
    const dart_reg *found = dart_reg_find(reg);
    const dart_gate *gate = found ? found->gate : NULL;
    dart_model_config config = {.layers = layers,
        .d_model = 64,
        .heads = 4,
        .kv_heads = 4,
        .d_ff = 128,
        .context = 16,
        .vocab = 100,
        .tied = true,
        .gate = {.on = gate || ordered > 0,
            .trained = gate,
            .scaled = gate && gate->scaled,
            .candidates = gate && gate->by_candidate ? 8 : 0}};
    roles_new(&config, 8, 0, 0, 0);
    role_set(&config, LINEAR, "tt");
    const dart_session_options options = {.batch = 4,
        .time = 16,
        .accumulation = 1,
        .chunk_rows = 64,
        .train = true,
        .optim = dart_optim_find("adamw"),
        .optim_options = adamw_values(0.9, 0.99, 1e-8, 0),
        .max_grad_norm = 1,
        .reg = gate ? found : NULL,
        .reg_options = dart_options_default(gate ? found->options : NULL),
        .ordered = ordered};
    if (dart_model_new(&config, NULL, &model) != DART_OK ||
        dart_session_new(NULL, &caps, model, &options, &session) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_plan_stats stats = *dart_plan_stats_of(session->part[DART_PART_STEP].plan);
    dart_session_free(session);
    dart_model_free(model);
    return stats;
}

static void test_launches(void **state)
{
    static const char *const regs[] = {"none", "hard-concrete", "gumbel", "bond-diagonal"};
    (void)state;
    const uint32_t plain1 = stats_of("none", 0, 1).launches,
                   plain4 = stats_of("none", 0, 4).launches;
    for (int i = 0; i < 4; i++) {
        double ordered = i ? 0 : 0.5;
        uint32_t one = stats_of(regs[i], ordered, 1).launches - plain1;
        uint32_t four = stats_of(regs[i], ordered, 4).launches - plain4;
        printf("%-15s launches of a step: %u more than %u with 1 layer (30 bonds), %u more than %u "
               "with 4 layers (120 bonds)\n",
            i ? regs[i] : "ordered dropout", one, plain1, four, plain4);
        /* a few dozen for all masks; of each layer 36 to place each core's gradient in the span,
         * and 24 products of cores that are batches of all layers where gates keep no core apart */
        assert_true(one < 120 && four - one <= 3 * (36 + 24));
    }
}

/* Devices in lockstep: gates come and go on each of them. */
static void test_compare(void **state)
{
    (void)state;
    FILE *out = fopen("/dev/null", "w");
    assert_non_null(out);
    dart_recipe *recipe = tiny_recipe(tiny_path("lanes"),
        "stages:\n"
        "  - {name: a, max_steps: 4}\n"
        "  - {name: b, max_steps: 6, reg: hard-concrete, target_size: 0.7}\n"
        "  - {name: c, max_steps: 4}\n");
    dart_device *other;
    const char *devices = "cpu,cpu";
    if (dart_device_open("opencl:0", NULL, &other) == DART_OK) {
        dart_device_close(other);
        devices = "cpu,opencl:0";
    }
    printf("compared %s\n", devices);
    if (dart_compare_print(recipe, devices, 1e-4, NULL, false, out) != DART_OK)
        fail_msg("%s", dart_error_text());
    fclose(out);
    dart_recipe_free(recipe);
}

static void refuse(dart_recipe *recipe, const char *a, const char *b)
{
    dart_result r;
    tiny_watch w = {0};
    assert_int_equal(tiny_train(recipe, &w, &r), DART_INPUT);
    if (!strstr(dart_error_text(), a) || !strstr(dart_error_text(), b))
        fail_msg("no '%s' and '%s' in: %s", a, b, dart_error_text());
    dart_recipe_free(recipe);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse(gated("low", "hard-concrete", "gates", "target_size: 10"), "minimum of", "raise budget");
    refuse(
        gated("no-gates", "bond-nuclear", "gates", "lambda_reg: 0.01"), "gates", "hard-concrete");
    refuse(gated("other", "hard-concrete", "gumbel", "target_size: 0.5"), "gumbel", "reg: gumbel");
    refuse(gated("both", "gumbel", "gumbel", "ordered_dropout: 0.5"), "ordered_dropout", "gumbel");
    dart_recipe *dense = gated("dense", "hard-concrete", "gates", "target_size: 0.5");
    tiny_set(dense, "linear", "dense");
    refuse(dense, "ranks", "tensor-train");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_targets),
        cmocka_unit_test(test_resume), cmocka_unit_test(test_resume_devices),
        cmocka_unit_test(test_stages), cmocka_unit_test(test_ordered),
        cmocka_unit_test(test_launches), cmocka_unit_test(test_compare),
        cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
