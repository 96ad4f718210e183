/* Fine-tuning of a small pretrained model with every method: it begins at the pretrained function,
 * learns, goes on bit for bit after a stop, computes the same when it is opened again, and finds
 * ranks. On each device that is there. */
#include "pretrained_lab.h"
#include <inttypes.h>
#include <math.h>

/* The published update is small at its first steps: three vectors of spread 0.3 each. */
#define LORTA "lorta lora_alpha=300"
#define LORTA_ALL LORTA " target_modules=*.attn.?,*.mlp.*"

static const char *const methods[] = {"lora", "lora use_dora=true", "lora lora_init=eva", "tt-lora",
    "loretta-rep", "loretta-adp", "lowrank adapter_size=6", "dota", "dota dota_init=zero",
    "lowrank", "ttm", "tt", LORTA, LORTA_ALL, "dense"};
enum { METHODS = sizeof methods / sizeof *methods };

static double perplexity_of(const char *path, dart_status wanted, const char *base)
{
    dart_recipe *over;
    dart_llm *llm;
    dart_eval_result result = {.size = sizeof result};
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "device", "cpu");
    if (base) set(over, "base", base);
    dart_status status = dart_llm_open(
        path, &(dart_llm_options){.size = sizeof(dart_llm_options), .overrides = over}, &llm);
    dart_recipe_free(over);
    if (wanted != DART_OK) {
        assert_int_equal(status, wanted);
        return 0;
    }
    if (status != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_llm_evaluate(llm, NULL, &result), DART_OK);
    dart_llm_close(llm);
    return result.valid_ppl;
}

static void every_method_begins_at_the_base_and_learns(void **state)
{
    (void)state;
    double first = 0;
    for (int m = 0; m < METHODS; m++) {
        watch w = {0};
        dart_result result;
        dart_recipe *recipe = tuning(methods[m], "cpu", in(methods[m]));
        if (!strcmp(methods[m], "dense")) set(recipe, "lr", "1e-3");
        if (train(recipe, &w, &result) != DART_OK)
            fail_msg("%s: %s", methods[m], dart_error_text());
        dart_recipe_free(recipe);
        if (!m) first = w.first;
        if (fabs(w.first - first) > 1e-5 * first)
            fail_msg("%s begins with a loss of %.7g, lora with %.7g", methods[m], w.first, first);
        assert_true(w.last < 0.9 * first);
        const dart_table_row *row = &result.row[result.rows - 1];
        const double again = perplexity_of(in(methods[m]), DART_OK, NULL);
        if (fabs(again - row->valid_ppl) > 1e-6 * again)
            fail_msg("%s: perplexity %.9g, and %.9g when opened again", methods[m], row->valid_ppl,
                again);
        print_message("%s: loss %.4f to %.4f, perplexity %.3f\n", methods[m], first, w.last, again);
    }
}

static void stopped_tuning_goes_on_bit_for_bit(void **state)
{
    (void)state;
    static const char *const tried[] = {"lora", "lora use_dora=true", "lora lora_init=eva",
        "tt-lora", "loretta-adp", "dota", LORTA, LORTA_ALL};
    for (int m = 0; m < 8; m++) {
        watch w = {0};
        char part[64];
        snprintf(part, sizeof part, "part-%s", tried[m]);
        for (int go = 0; go < 3; go++) {
            dart_recipe *recipe = tuning(tried[m], "cpu", in(part));
            if (go) set(recipe, "resume", "true");
            w = (watch){.stop_at = go == 0 ? 9 : go == 1 ? 17 : 0};
            dart_status status = train(recipe, &w, NULL);
            dart_recipe_free(recipe);
            if (status != (go < 2 ? DART_INTERRUPTED : DART_OK)) fail_msg("%s", dart_error_text());
        }
        if (strncmp(tried[m], "lorta", 5)) /* whose ranks have no spectra */
            assert_same_run(in(tried[m]), in(part));
        else
            assert_same_training(in(tried[m]), in(part));
    }
}

/* The base's numbers are not stored: a checkpoint of a few adapters is small, and refuses another
 * base than its own, wherever that lies. */
static void the_base_is_known_by_its_numbers(void **state)
{
    (void)state;
    char other[128], moved[128], *data;
    size_t size;
    snprintf(other, sizeof other, "%s/other.bin", folder);
    snprintf(moved, sizeof moved, "%s/moved.bin", folder);
    write_base(other, 4);
    perplexity_of(in("lora"), DART_INPUT, other);
    assert_non_null(strstr(dart_error_text(), "is not the model that was fine-tuned"));
    write_base(moved, 3);
    const double there = perplexity_of(in("lora"), DART_OK, moved);
    assert_true(there == perplexity_of(in("lora"), DART_OK, NULL));
    char path[256];
    snprintf(path, sizeof path, "%s/checkpoints/step-00000024/model.safetensors", in("tt-lora"));
    assert_int_equal(dart_file_read(path, &data, &size), DART_OK);
    free(data);
    assert_true(size < 16384);
}

static void training_finds_ranks(void **state)
{
    (void)state;
    static const char *const tried[] = {"lora", "lora use_dora=true", "tt-lora", "loretta-rep",
        "loretta-adp", "dota dota_init=zero"};
    for (int m = 0; m < 6; m++) {
        watch w = {0};
        char name[64];
        dart_result result;
        snprintf(name, sizeof name, "found-%s", tried[m]);
        dart_recipe *recipe = tuning(tried[m], "cpu", in(name));
        set(recipe, "rank", "4");
        set(recipe, "reg", "bond-nuclear");
        set(recipe, "select", "budget");
        set(recipe, "budget", "0.5");
        if (train(recipe, &w, &result) != DART_OK) fail_msg("%s: %s", tried[m], dart_error_text());
        dart_recipe_free(recipe);
        const dart_table_row *before = &result.row[0], *last = &result.row[result.rows - 1];
        assert_true(result.rows >= 3);
        assert_true((double)last->chain_params <= 0.51 * (double)before->chain_params);
        const double again = perplexity_of(in(name), DART_OK, NULL);
        assert_true(fabs(again - last->valid_ppl) <= 1e-6 * again);
        print_message("%s: %" PRIu64 " of %" PRIu64 " numbers kept, ranks %u/%.1f/%u\n", tried[m],
            last->chain_params, before->chain_params, last->rank_min, last->rank_mean,
            last->rank_max);
    }
}

/* 50 steps of the same on each device. */
/* Runs above with adapters are what other runs begin with: with a rate of almost nothing they stay
 * what they were, opened again too. */
static void adapters_go_on_from_a_run(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        char out[200];
        watch w = {0};
        dart_recipe *recipe;
        snprintf(out, sizeof out, "%s/%s-on", folder, methods[m]);
        assert_int_equal(dart_recipe_new(&recipe), DART_OK);
        set(recipe, "base", in(methods[m]));
        set(recipe, "examples", examples_path);
        set(recipe, "device", "cpu");
        set(recipe, "out", out);
        set(recipe, "max_steps", "2");
        set(recipe, "lr", "1e-12");
        if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s: %s", methods[m], dart_error_text());
        dart_recipe_free(recipe);
        const double was = perplexity_of(in(methods[m]), DART_OK, NULL);
        const double now = perplexity_of(out, DART_OK, NULL);
        if (!(fabs(now - was) < 1e-5 * was)) fail_msg("%s: %.9g, was %.9g", methods[m], now, was);
    }
}

/* Weights lose their adapters whole: the run opens, goes on bit for bit after a stop, is the base
 * where nothing is left, and its small checkpoint and export have what is left. */
static void adapters_are_lost(void **state)
{
    (void)state;
    static const char *const tried[] = {"lora", "tt-lora"};
    for (int m = 0; m < 2; m++) {
        dart_result result;
        for (int go = 0; go < 3; go++) { /* whole; stopped behind the selection; gone on */
            watch w = {.stop_at = go == 1 ? 21 : 0};
            dart_recipe *recipe = tuning(tried[m], "cpu", in(go ? "lost-part" : "lost"));
            set(recipe, "rank", "4");
            set(recipe, "reg", "bond-nuclear");
            set(recipe, "select", "budget");
            set(recipe, "budget", "400");
            set(recipe, "budget_scale", "absolute");
            set(recipe, "budget_drop", "true");
            if (go == 2) set(recipe, "resume", "true");
            const dart_status status = train(recipe, &w, go == 1 ? NULL : &result);
            if (status != (go == 1 ? DART_INTERRUPTED : DART_OK))
                fail_msg("%s: %s", tried[m], dart_error_text());
            dart_recipe_free(recipe);
        }
        const dart_table_row *last = &result.row[result.rows - 1];
        assert_true(last->chain_params > 0 && last->chain_params <= 400);
        assert_same_run(in("lost"), in("lost-part"));
        const double again = perplexity_of(in("lost"), DART_OK, NULL);
        assert_true(fabs(again - last->valid_ppl) <= 1e-6 * again);
        print_message("%s: %" PRIu64 " numbers kept, ranks %u/%.1f/%u\n", tried[m],
            last->chain_params, last->rank_min, last->rank_mean, last->rank_max);
        const dart_export_options o = {.size = sizeof o, .format = "peft", .out = in("lost-peft")};
        dart_export_result exported = {.size = sizeof exported};
        if (dart_export(in("lost"), NULL, &o, NULL, &exported) != DART_OK)
            fail_msg("%s: %s", tried[m], dart_error_text());
        if (!m) assert_int_equal(exported.parameters, last->chain_params);
        watch w = {0}; /* the pairs that are left are an adapter like any other */
        dart_result onward;
        dart_recipe *recipe;
        assert_int_equal(dart_recipe_new(&recipe), DART_OK);
        const char *const keys[][2] = {{"base", base_path}, {"tokenizer", tokenizer_path},
            {"examples", examples_path}, {"device", "cpu"}, {"context", "16"}, {"batch_size", "4"},
            {"adapter", in("lost-peft")}, {"lr", "1e-12"}, {"max_steps", "2"},
            {"out", in("lost-on")}};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
        if (train(recipe, &w, &onward) != DART_OK) fail_msg("%s: %s", tried[m], dart_error_text());
        dart_recipe_free(recipe);
        const double on = onward.row[onward.rows - 1].valid_ppl;
        if (!(fabs(on - again) < 1e-5 * again)) fail_msg("%s: %.9g, was %.9g", tried[m], on, again);
        const char *const folders[] = {in("lost"), in("lost-part"), in("lost-peft"), in("lost-on")};
        for (int i = 0; i < 4; i++) assert_int_equal(dart_remove_tree(folders[i]), DART_OK);
    }
}

/* Where a chain holds a part of a pretrained matrix, nothing is cut from it. */
static void pretrained_parts_are_not_cut(void **state)
{
    (void)state;
    static const char *const tried[][3] = {{"dota", "bond-nuclear", "set dota_init: zero"},
        {"dota", "gumbel", "set dota_init: zero"},
        {"lora lora_init=pissa", "bond-nuclear", "set lora_init: default"}};
    for (size_t m = 0; m < sizeof tried / sizeof *tried; m++) {
        watch w = {0};
        dart_recipe *recipe = tuning(tried[m][0], "cpu", in("apart"));
        set(recipe, "rank", "4");
        set(recipe, "reg", tried[m][1]);
        set(recipe, "select", m == 1 ? "gates" : "budget");
        set(recipe, "budget", "0.5");
        assert_int_equal(train(recipe, &w, NULL), DART_INPUT);
        dart_recipe_free(recipe);
        if (!strstr(dart_error_text(), "hold a part of the pretrained matrix"))
            fail_msg("%s", dart_error_text());
        assert_non_null(strstr(dart_error_text(), tried[m][2]));
        assert_int_equal(access(in("apart"), F_OK), -1);
    }
}

static void devices_agree(void **state)
{
    (void)state;
    static const char *const tried[] = {"lora", "lora use_dora=true", "lora lora_init=eva",
        "tt-lora", "loretta-rep", "loretta-adp", "dota", LORTA, LORTA_ALL};
    char devices[64] = "cpu";
    if (present("vulkan:0")) strcat(devices, ",vulkan:0");
    if (present("opencl:0")) strcat(devices, ",opencl:0");
    if (!strchr(devices, ',')) skip();
    for (int m = 0; m < 9; m++) {
        dart_recipe *recipe = tuning(tried[m], "cpu", in("unused"));
        set(recipe, "max_steps", "50");
        if (dart_compare(recipe, devices, 1e-4, NULL, true, NULL, NULL) != DART_OK)
            fail_msg("%s: %s", tried[m], dart_error_text());
        dart_recipe_free(recipe);
    }
    print_message("%s agree over 50 steps\n", devices);
}

static void what_the_base_decides_cannot_be_given(void **state)
{
    (void)state;
    const struct {
        const char *key, *value, *says;
    } cases[] = {{"d_model", "32", "d_model is 16 in"}, {"layers", "3", "layers is 2 in"},
        {"norm", "layernorm", "norm is rmsnorm in"}, {"context", "65", "longer than the 64"},
        {"base", "/nowhere/model.gguf", "/nowhere/model.gguf"},
        {"tokenizer", "/nowhere", "/nowhere"}, {"examples", "/nowhere.jsonl", "/nowhere.jsonl"},
        {"target_modules", "blocks.9.attn.q", "fits no weight"},
        {"arch", "gpt", "arch is llama in"}, {"linear", "lorra", "lora"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        watch w = {0};
        dart_recipe *recipe = tuning("lora", "cpu", in("refused"));
        dart_status status = dart_recipe_set(recipe, cases[i].key, cases[i].value);
        if (status == DART_OK) status = train(recipe, &w, NULL);
        assert_true(status == DART_INPUT || status == DART_USAGE);
        if (!strstr(dart_error_text(), cases[i].says))
            fail_msg("%s %s: %s", cases[i].key, cases[i].value, dart_error_text());
        assert_false(dart_file_exists(in("refused")));
        dart_recipe_free(recipe);
    }
}

/* Only the layers that target names are trained. */
static void targets_are_what_is_trained(void **state)
{
    (void)state;
    dart_llm *llm;
    watch w = {0};
    dart_recipe *recipe = tuning("lora", "cpu", in("target"));
    set(recipe, "target_modules", "q_proj, blocks.1.mlp.up");
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    assert_int_equal(dart_llm_open(in("target"), NULL, &llm), DART_OK);
    uint32_t trained = 0;
    for (size_t i = 0; i < dart_llm_tensor_count(llm); i++) {
        dart_tensor_info info = {.size = sizeof info};
        assert_int_equal(dart_llm_tensor_at(llm, i, &info), DART_OK);
        if (!info.trainable) continue;
        trained++;
        assert_true(strstr(info.name, ".attn.q.") || strstr(info.name, "blocks.1.mlp.up."));
    }
    assert_int_equal(trained, 2 * (LAB_LAYERS + 1));
    dart_llm_close(llm);
}

static void what_needs_ranks_refuses_one_that_is_shared(void **state)
{
    (void)state;
    static const char *const keys[][2] = {{"reg", "bond-nuclear"}, {"select", "budget"},
        {"select", "increlora"}, {"reg", "hard-concrete"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        watch w = {0};
        dart_recipe *recipe = tuning("lorta", "cpu", in("refused"));
        set(recipe, keys[i][0], keys[i][1]);
        assert_int_equal(train(recipe, &w, NULL), DART_INPUT);
        const char *says = "method lorta has ranks that stay, because";
        if (!strstr(dart_error_text(), says)) fail_msg("%s: %s", keys[i][1], dart_error_text());
        assert_false(dart_file_exists(in("refused")));
        dart_recipe_free(recipe);
    }
    watch w = {0};
    dart_recipe *recipe = tuning("lorta", "cpu", in("refused"));
    set(recipe, "weights", "*.attn.k lorta rank=2");
    assert_int_equal(train(recipe, &w, NULL), DART_INPUT);
    assert_non_null(strstr(dart_error_text(),
        "weight blocks.0.attn.k: method lorta shares the tensor blocks.attn.lorta_A with "
        "blocks.0.attn.q, where it is 16 x 3, and here it would be 16 x 2"));
    dart_recipe_free(recipe);
}

/* A base with a number that is none is no fault of the learning rate. */
static void damaged_bases_are_told(void **state)
{
    (void)state;
    char good[sizeof base_path];
    const float none = NAN;
    strcpy(good, base_path);
    snprintf(base_path, sizeof base_path, "%s/damaged.bin", folder);
    write_base(base_path, 3);
    FILE *f = fopen(base_path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 7 * 4 + (LAB_VOCAB + 1) * LAB_DIM * 4, SEEK_SET), 0); /* a norm's */
    assert_int_equal(fwrite(&none, sizeof none, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    watch w = {0};
    dart_recipe *recipe = tuning("lora", "cpu", in("damaged"));
    expect(train(recipe, &w, NULL), DART_DIVERGED, "the loss of the first step is nan, before");
    assert_null(strstr(dart_error_text(), "--learning-rate"));
    dart_recipe_free(recipe);
    strcpy(base_path, good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged_bases_are_told),
        cmocka_unit_test(every_method_begins_at_the_base_and_learns),
        cmocka_unit_test(stopped_tuning_goes_on_bit_for_bit),
        cmocka_unit_test(the_base_is_known_by_its_numbers), cmocka_unit_test(training_finds_ranks),
        cmocka_unit_test(adapters_are_lost), cmocka_unit_test(pretrained_parts_are_not_cut),
        cmocka_unit_test(adapters_go_on_from_a_run), cmocka_unit_test(devices_agree),
        cmocka_unit_test(what_the_base_decides_cannot_be_given),
        cmocka_unit_test(targets_are_what_is_trained),
        cmocka_unit_test(what_needs_ranks_refuses_one_that_is_shared)};
    return cmocka_run_group_tests(tests, set_up_base, tear_down);
}
