/* Adapters of classifiers beside their base: folders of PEFT's and runs score as what they were
 * made from, training goes on from them, and what does not go together is refused. What PEFT itself
 * trained is compared in tests/interop/classify.py. */
#include "../../tasks/train/classifier_lab.h"
#include "adapters.h"
#include "bundle.h"
#include "classes.h"
#include "failing_alloc.h"
#include "setup.h"
#include "tiny_run.h"
#include <dart.h>
#include <math.h>

/* Models and what reads their texts; the last one has a classifier already. */
static const struct {
    const char *name;
    int kind;
    const char *pooler;
    bool scored;
} cases[] = {{"bert", BERT, "base", false}, {"bert-new", BERT, "new", false},
    {"roberta", ROBERTA, "new", false}, {"llama", LLAMA, NULL, false},
    {"bert-scored", BERT, "base", true}};
enum { CASES = sizeof cases / sizeof *cases };

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static const char *place(const char *name, const char *what)
{
    static char path[64][256];
    static unsigned turn;
    char *out = path[turn++ % 64];
    snprintf(out, 256, "%s/%s-%s", tiny_folder, name, what);
    return out;
}

static dart_recipe *recipe_of(const char *const keys[][2], size_t count)
{
    dart_recipe *recipe;
    ok(dart_recipe_new(&recipe));
    tiny_set(recipe, "device", "cpu");
    for (size_t i = 0; i < count; i++)
        if (keys[i][1]) tiny_set(recipe, keys[i][0], keys[i][1]);
    return recipe;
}

/* adapter NULL: from the base alone */
static void tune(int c, const char *adapter, const char *steps, const char *lr, const char *out)
{
    tiny_watch w = {0};
    dart_result result;
    const char *const keys[][2] = {{"base", place(cases[c].name, "base")}, {"adapter", adapter},
        {"examples", tiny_path("texts")}, {"context", "16"}, {"batch_size", "8"},
        {"max_steps", steps}, {"lr", lr}, {"out", out}, {"rank", adapter ? NULL : "2"},
        {"pooler", adapter ? NULL : cases[c].pooler}};
    dart_recipe *recipe = recipe_of(keys, sizeof keys / sizeof *keys);
    ok(tiny_train(recipe, &w, &result));
    dart_recipe_free(recipe);
}

static double loss_of(const char *path, const char *adapter)
{
    dart_llm *llm;
    dart_eval_result result = {.size = sizeof result};
    const char *const keys[][2] = {{"adapter", adapter},
        {"examples", adapter ? tiny_path("texts") : NULL}, {"context", adapter ? "16" : NULL}};
    dart_recipe *over = recipe_of(keys, 3);
    ok(dart_llm_open(
        path, &(dart_llm_options){.size = sizeof(dart_llm_options), .overrides = over}, &llm));
    dart_recipe_free(over);
    ok(dart_llm_evaluate(llm, NULL, &result));
    dart_llm_close(llm);
    assert_int_equal(result.valid.texts, 12);
    return result.valid_nll;
}

static dart_status open_with(
    const char *path, const char *adapter, const char *key, const char *value, dart_bundle *out)
{
    const char *const keys[][2] = {{"adapter", adapter}, {key ? key : "device", value}};
    dart_recipe *recipe = recipe_of(keys, 2);
    const dart_status status = dart_bundle_open(path, recipe, (dart_note){0}, out);
    dart_recipe_free(recipe);
    return status;
}

/* The numbers of a parameter of a bundle; they are trained. */
static const float *value_of(const dart_bundle *b, const char *name, uint64_t *words)
{
    for (uint32_t p = 0; p < b->model->params; p++) {
        const dart_param *param = &b->model->param[p];
        if (strcmp(param->name, name)) continue;
        assert_int_equal(param->region, DART_REGION_PARAM);
        *words = dart_param_words(param);
        return b->param + param->offset;
    }
    fail_msg("no %s", name);
    return NULL;
}

static void same_heads(const dart_bundle *a, const dart_bundle *b)
{
    static const char *const names[] = {
        "classifier.weight", "classifier.bias", "pooler.weight", "pooler.bias"};
    const dart_model_config *c = &a->model->config;
    assert_true(c->pooler == b->model->config.pooler);
    assert_true(c->new_pooler == b->model->config.new_pooler);
    assert_int_equal(c->labels, b->model->config.labels);
    for (int i = 0; i < (c->new_pooler ? 4 : c->encoder ? 2 : 1); i++) {
        uint64_t words, other;
        const float *x = value_of(a, names[i], &words), *y = value_of(b, names[i], &other);
        assert_true(words == other && words > 0);
        assert_memory_equal(x, y, words * sizeof *x);
    }
}

static void score_as_the_run(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        const char *const name = cases[c].name;
        dart_bundle run, beside;
        const double mine = loss_of(place(name, "run"), NULL);
        const double folder = loss_of(place(name, "base"), place(name, "peft"));
        const double itself = loss_of(place(name, "base"), place(name, "run"));
        print_message(
            "%s: run %.7f, folder %.7f, run beside its base %.7f\n", name, mine, folder, itself);
        assert_true(fabs(mine - folder) < 1e-5 * mine && fabs(mine - itself) < 1e-5 * mine);
        ok(dart_bundle_open(place(name, "run"), NULL, (dart_note){0}, &run));
        ok(open_with(place(name, "base"), place(name, "peft"), NULL, "cpu", &beside));
        same_heads(&run, &beside);
        assert_string_equal(beside.set.labels, "0,1,2");
        dart_bundle_free(&beside);
        ok(open_with(place(name, "base"), place(name, "peft"), "labels", "x,y,z", &beside));
        assert_string_equal(beside.set.labels, "x,y,z");
        dart_bundle_free(&beside);
        /* a run knows its labels' names; data that lack one do not change their numbers */
        ok(open_with(place(name, "base"), place(name, "run"), "examples",
            place("few", "texts.jsonl"), &beside));
        same_heads(&run, &beside);
        assert_string_equal(beside.set.labels, "low,mid,top");
        dart_bundle_free(&beside);
        dart_bundle_free(&run);
    }
}

/* Without a step: the adapter's function. With some it is better, and needs the folder no more. */
static void training_goes_on(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        const char *const name = cases[c].name;
        const double before = loss_of(place(name, "run"), NULL);
        dart_export_result exported = {.size = sizeof exported};
        char copy[256];
        snprintf(copy, sizeof copy, "%s", place(name, "copy"));
        const dart_export_options o = {.size = sizeof o, .format = "peft", .out = copy};
        ok(dart_export(place(name, "run"), NULL, &o, NULL, &exported));
        tune(c, copy, "1", "0", place(name, "still"));
        tune(c, copy, "30", "1e-2", place(name, "on"));
        ok(dart_remove_tree(copy));
        const double still = loss_of(place(name, "still"), NULL);
        const double after = loss_of(place(name, "on"), NULL);
        print_message("%s: %.5f, trained on %.5f\n", name, before, after);
        assert_true(fabs(still - before) < 1e-5 * before && after < before - 1e-3);
    }
}

/* A folder of llama's again, with so many labels; 0: without its head. */
static const char *other_head(const char *name, uint64_t labels)
{
    static float zeros[(DART_LABELS + 1) * LAB_D];
    char path[400], config[400], *data;
    dart_safetensors file;
    dart_st_write tensor[LAB_TENSORS];
    size_t count = 0, size;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", place("llama", "peft"));
    ok(dart_safetensors_open(path, &file));
    for (uint64_t t = 0; t < file.count; t++) {
        const dart_st_tensor *from = &file.tensor[t];
        const bool head = strstr(from->name, "score") != NULL;
        if (head && !labels) continue;
        tensor[count++] =
            (dart_st_write){from->name, 2, {head ? labels : from->dim[0], from->dim[1]},
                head ? zeros : (const float *)(const void *)from->data};
    }
    ok(dart_safetensors_pack(tensor, count, &data, &size));
    dart_safetensors_close(&file);
    const char *const out = place("llama", name);
    ok(dart_mkdirs(out));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", out);
    ok(dart_file_write_sync(path, data, size));
    free(data);
    snprintf(config, sizeof config,
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2,\"modules_to_save\":%s}",
        labels ? "[\"score\"]" : "null");
    snprintf(path, sizeof path, "%s/adapter_config.json", out);
    ok(dart_file_write_sync(path, config, strlen(config)));
    return out;
}

/* A scale is that of the pairs; a head may come with any of a list. */
static void lists(void **state)
{
    (void)state;
    char list[1024];
    dart_bundle run, beside;
    const char *const base = place("llama", "base"), *const peft = place("llama", "peft");
    ok(dart_bundle_open(place("llama", "run"), NULL, (dart_note){0}, &run));
    const char *const pairs = other_head("pairs", 0);
    for (int i = 0; i < 3; i++) {
        if (i == 0) snprintf(list, sizeof list, "%s=0.5", peft);
        if (i == 1) snprintf(list, sizeof list, "%s=-2,%s", peft, pairs);
        if (i == 2) snprintf(list, sizeof list, "%s,%s=0.25", pairs, peft);
        ok(open_with(base, list, NULL, "cpu", &beside));
        same_heads(&run, &beside);
        dart_bundle_free(&beside);
    }
    /* pairs that are taken away again leave the base below the head */
    snprintf(list, sizeof list, "%s,%s=-1", peft, pairs);
    const double none = loss_of(base, list);
    snprintf(list, sizeof list, "%s=0", peft);
    const double zero = loss_of(base, list);
    assert_true(fabs(none - zero) < 1e-5 * zero);
    assert_true(fabs(zero - loss_of(base, peft)) > 1e-4);
    dart_bundle_free(&run);
}

static void what_is_refused(void **state)
{
    (void)state;
    char twice[1024], both[1024];
    snprintf(twice, sizeof twice, "%s,%s=0", place("bert", "peft"), place("bert", "peft"));
    snprintf(both, sizeof both, "%s,%s", place("llama", "run"), place("llama", "peft"));
    const struct {
        const char *base, *list, *key, *value, *says;
    } bad[] = {{"bert", place("bert", "peft"), "labels", "a,b",
                   "scores 3 labels, and there are 2 (a,b); name them with --labels"},
        {"bert", place("bert", "peft"), "examples", place("few", "texts.jsonl"),
            "scores 3 labels, and there are 2 (low,top)"},
        {"llama", place("llama", "peft"), "labels", "none",
            "scores 3 labels, and labels: none trains a model of the texts"},
        {"bert", place("bert", "peft"), "pooler", "new", "pooler is base with the adapter"},
        {"roberta", place("roberta", "peft"), "pooler", "none", "pooler is new with the adapter"},
        {"bert", twice, NULL, "cpu", "only one of them can be taken"},
        {"llama", both, NULL, "cpu", "only one of them can be taken"},
        {"roberta", place("bert", "peft"), NULL, "cpu", "only adapters of the blocks' linear"},
        {"llama", other_head("one", 1), NULL, "cpu",
            "scores 1 labels, and a classifier here has 2 to 64"},
        {"llama", other_head("many", DART_LABELS + 1), NULL, "cpu",
            "scores 65 labels, and a classifier here has 2 to 64"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_bundle b;
        const dart_status status =
            open_with(place(bad[i].base, "base"), bad[i].list, bad[i].key, bad[i].value, &b);
        if (status != DART_INPUT || !strstr(dart_error_text(), bad[i].says))
            fail_msg("status %d, wanted '%s': %s", (int)status, bad[i].says, dart_error_text());
        dart_bundle_free(&b);
    }
}

/* A recipe that was changed behind the adapter's back, or a folder. */
static void another_recipe(void **state)
{
    (void)state;
    static const char *const changed[][2] = {
        {"labels", "a,b"}, {"pooler", "base"}, {"pooler", "none"}};
    for (int i = 0; i < 3; i++) {
        const char *const keys[][2] = {
            {"base", place("bert-new", "base")}, {"adapter", place("bert-new", "peft")}};
        dart_bundle b = {.recipe = recipe_of(keys, 2)};
        ok(dart_adapters_resolve(b.recipe));
        tiny_set(b.recipe, changed[i][0], changed[i][1]);
        ok(dart_base_resolve(b.recipe));
        dart_recipe_settings(b.recipe, &b.set);
        b.stored = calloc(2, sizeof *b.stored);
        b.vocab = &b.stored[0];
        b.source_vocab = &b.stored[1];
        ok(dart_tokenizer_for(&b.set, &b.stored[0]));
        assert_int_equal(dart_adapters_begin(&b, (dart_note){0}), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "is not that of the recipe"));
        dart_bundle_free(&b);
    }
}

/* Labels that nobody names are numbers: of a base that is a classifier, too. */
static void labels_are_numbers(void **state)
{
    (void)state;
    dart_bundle b;
    ok(open_with(place("bert-scored", "base"), NULL, NULL, "cpu", &b));
    assert_string_equal(b.set.labels, "0,1,2");
    dart_bundle_free(&b);
}

/* Every allocation fails once, and then with all that follow. */
static void memory(void **state)
{
    (void)state;
    static const char *const what[] = {"peft", "run"};
    for (int i = 0; i < 2; i++) {
        const char *const base = place("bert-new", "base");
        const char *const keys[][2] = {{"adapter", place("bert-new", what[i])}};
        dart_bundle bundle;
        unsigned trials = 0, refused = 0;
        dart_recipe *recipe = recipe_of(keys, 1);
        ok(dart_bundle_open(base, recipe, (dart_note){0}, &bundle));
        dart_bundle_free(&bundle);
        start_failing(0, false);
        ok(dart_bundle_open(base, recipe, (dart_note){0}, &bundle));
        const unsigned long all = stop_failing();
        dart_bundle_free(&bundle);
        const long before = atomic_load(&live);
        for (unsigned long k = 1; k <= all; k += 1 + all / 200)
            for (int on = 0; on < 2; on++, trials++) {
                start_failing(k, on);
                const dart_status status = dart_bundle_open(base, recipe, (dart_note){0}, &bundle);
                stop_failing();
                if (status != DART_OK && status != DART_MEMORY)
                    fail_msg("%s, allocation %lu of %lu%s: status %d: %s", what[i], k, all,
                        on ? " on" : "", (int)status, dart_error_text());
                refused += status == DART_MEMORY;
                dart_bundle_free(&bundle);
            }
        print_message(
            "%s: %u of %u failed allocations said so, no other harm\n", what[i], refused, trials);
#ifndef __SANITIZE_ADDRESS__
        assert_true(refused > trials / 2);
        assert_int_equal(atomic_load(&live), before);
#endif
        dart_recipe_free(recipe);
    }
}

static int set_up_runs(void **state)
{
    static const char few[] = "{\"text\": \"a b\", \"label\": \"low\"}\n"
                              "{\"text\": \"x y\", \"label\": \"top\"}\n";
    if (tiny_set_up(state)) return 1;
    write_texts(tiny_path("texts"));
    ok(dart_file_write_sync(place("few", "texts.jsonl"), few, sizeof few - 1));
    for (int c = 0; c < CASES; c++) {
        char out[256];
        dart_export_result exported = {.size = sizeof exported};
        write_model(place(cases[c].name, "base"), cases[c].kind, cases[c].scored);
        tune(c, NULL, "4", "2e-2", place(cases[c].name, "run"));
        snprintf(out, sizeof out, "%s", place(cases[c].name, "peft"));
        const dart_export_options o = {.size = sizeof o, .format = "peft", .out = out};
        ok(dart_export(place(cases[c].name, "run"), NULL, &o, NULL, &exported));
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(score_as_the_run),
        cmocka_unit_test(training_goes_on), cmocka_unit_test(lists),
        cmocka_unit_test(what_is_refused), cmocka_unit_test(another_recipe),
        cmocka_unit_test(labels_are_numbers), cmocka_unit_test(memory)};
    return cmocka_run_group_tests(tests, set_up_runs, tiny_tear_down);
}
