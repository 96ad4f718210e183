/* A base that is kept packed: runs learn beside it, stop and go on, find ranks, agree on devices; a
 * file of the very format changes nothing; opening, exports and inference compute what training
 * did. */
/* both headers have something of this name */
#define allocations failing_allocations
#include "failing_alloc.h"
#undef allocations
#define LAB_WIDTH 64
#include "pretrained_lab.h"
#include "base.h"
#include "export.h"
#include "infer.h"
#include "packed.h"
#include "session.h"
#include <math.h>

static const char *const formats[] = {"f16", "bf16", "q8_0", "q4_0", "q4_1", "nf4", "nf4_double"};
enum { FORMATS = sizeof formats / sizeof *formats };

static dart_recipe *packed_tuning(
    const char *method, const char *type, const char *device, const char *out)
{
    dart_recipe *recipe = tuning(method, device, out);
    set(recipe, "base_dtype", type);
    return recipe;
}

static watch run(dart_recipe *recipe, dart_result *result)
{
    watch w = {0};
    if (train(recipe, &w, result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    return w;
}

static dart_llm *opened(const char *path, const char *key, const char *value, dart_status wanted)
{
    dart_recipe *over;
    dart_llm *llm = NULL;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "device", "cpu");
    if (key) set(over, key, value);
    const dart_llm_options o = {.size = sizeof o, .overrides = over};
    const dart_status status = dart_llm_open(path, &o, &llm);
    dart_recipe_free(over);
    if (status != wanted) fail_msg("%s: %d, %s", path, (int)status, dart_error_text());
    return llm;
}

static double perplexity(const char *path)
{
    dart_llm *llm = opened(path, NULL, NULL, DART_OK);
    dart_eval_result result = {.size = sizeof result};
    assert_int_equal(dart_llm_evaluate(llm, NULL, &result), DART_OK);
    dart_llm_close(llm);
    return result.valid_ppl;
}

static void every_format_learns_and_opens_again(void **state)
{
    (void)state;
    /* relative to f32; rows of the second matrix of the MLP (96) are no blocks of nf4 */
    static const double near[] = {1e-3, 5e-3, 5e-3, 0.1, 0.1, 0.1, 0.1};
    static const double size[5] = {0.5, 0.5, 0.268, 0.143, 0.157};
    const watch plain = run(packed_tuning("lora", "f32", "cpu", in("f32")), NULL);
    for (int f = 0; f < FORMATS; f++) {
        dart_result result;
        const watch w = run(packed_tuning("lora", formats[f], "cpu", in(formats[f])), &result);
        const double again = perplexity(in(formats[f]));
        const dart_table_row *row = &result.row[result.rows - 1];
        if (fabs(again - row->valid_ppl) > 1e-6 * again)
            fail_msg("%s: perplexity %.9g, and %.9g when opened again", formats[f], row->valid_ppl,
                again);
        if (fabs(w.first - plain.first) > near[f] * plain.first)
            fail_msg(
                "%s begins with a loss of %.7g, f32 with %.7g", formats[f], w.first, plain.first);
        assert_true(w.first != plain.first && w.last < 0.9 * w.first);
        assert_non_null(strstr(w.text, "matrices of the base are packed"));
        dart_bundle b;
        uint64_t kept, whole;
        uint32_t packed, rest;
        assert_int_equal(dart_bundle_open(in(formats[f]), NULL, (dart_note){0}, &b), DART_OK);
        dart_base_bytes(b.model, &kept, &whole, &packed, &rest);
        const bool halves = f >= 5; /* of them f32 */
        assert_int_equal(rest, halves ? LAB_LAYERS : 0);
        assert_int_equal(packed + rest, 1 + 7 * LAB_LAYERS);
        if (!halves) assert_true((double)kept <= size[f] * (double)whole);
        assert_true(4 * b.model->frozen_words < kept + 4 * 64 * (size_t)b.model->params);
        dart_bundle_free(&b);
    }
}

/* The embedding, which is the head here, in a format of its own. */
static void embeddings_are_kept_as_asked_for(void **state)
{
    (void)state;
    static const char *const kept[][3] = {{"nf4", "q8_0", "nf4-q8_0"}, {"nf4", "f32", "nf4-f32"},
        {"f32", "q4_1", "f32-q4_1"}, {"q4_0", "same", "q4_0-same"}};
    double first[4];
    for (int k = 0; k < 4; k++) {
        dart_recipe *recipe = packed_tuning("lora", kept[k][0], "cpu", in(kept[k][2]));
        set(recipe, "base_embedding_dtype", kept[k][1]);
        const watch w = run(recipe, NULL);
        first[k] = w.first;
        assert_non_null(strstr(w.text, "matrices of the base are packed"));
        dart_bundle b;
        assert_int_equal(dart_bundle_open(in(kept[k][2]), NULL, (dart_note){0}, &b), DART_OK);
        for (uint32_t v = 0; v < b.model->weights; v++) {
            const dart_param *p = dart_model_packed(b.model, v);
            const bool table = (int)v == b.model->embedding;
            const char *wanted = kept[k][table && strcmp(kept[k][1], "same") != 0];
            if (table || strstr(b.model->weight[v].weight.name, ".attn.")) {
                assert_true((p != NULL) == (strcmp(wanted, "f32") != 0));
                if (p)
                    assert_string_equal(
                        dart_packed_info_of(dart_dtype_format(p->type)).name, wanted);
            }
        }
        dart_bundle_free(&b);
        assert_int_equal(dart_remove_tree(in(kept[k][2])), DART_OK);
    }
    assert_true(first[0] != first[1] && first[1] != first[2]);
    dart_recipe *recipe = tiny("cpu", in("none"));
    watch w = {0};
    set(recipe, "base_embedding_dtype", "q8_0");
    assert_int_equal(train(recipe, &w, NULL), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "base_embedding_dtype says how"));
    dart_recipe_free(recipe);
}

static void stopped_runs_go_on_bit_for_bit(void **state)
{
    (void)state;
    static const char *const tried[][2] = {{"lora", "nf4_double"}, {"dota", "q8_0"}};
    for (int m = 0; m < 2; m++) {
        run(packed_tuning(tried[m][0], tried[m][1], "cpu", in("whole")), NULL);
        for (int go = 0; go < 2; go++) {
            dart_recipe *recipe = packed_tuning(tried[m][0], tried[m][1], "cpu", in("part"));
            watch w = {.stop_at = go ? 0 : 9};
            if (go) set(recipe, "resume", "true");
            const dart_status status = train(recipe, &w, NULL);
            dart_recipe_free(recipe);
            if (status != (go ? DART_OK : DART_INTERRUPTED)) fail_msg("%s", dart_error_text());
        }
        assert_same_run(in("whole"), in("part"));
        assert_int_equal(dart_remove_tree(in("whole")), DART_OK);
        assert_int_equal(dart_remove_tree(in("part")), DART_OK);
    }
}

/* Every method that stands beside a frozen matrix; ranks are found. */
static void methods_find_ranks_beside_it(void **state)
{
    (void)state;
    static const char *const tried[] = {
        "lora", "tt-lora", "loretta-rep", "dota dota_init=zero", "ttm", "lowrank"};
    for (size_t m = 0; m < sizeof tried / sizeof *tried; m++) {
        char name[64];
        dart_result result;
        snprintf(name, sizeof name, "found-%s", tried[m]);
        dart_recipe *recipe = packed_tuning(tried[m], "nf4", "cpu", in(name));
        set(recipe, "rank", "4");
        set(recipe, "reg", "bond-nuclear");
        set(recipe, "select", "budget");
        set(recipe, "budget", "0.5");
        run(recipe, &result);
        const dart_table_row *before = &result.row[0], *last = &result.row[result.rows - 1];
        assert_true((double)last->chain_params <= 0.51 * (double)before->chain_params);
        const double again = perplexity(in(name));
        if (fabs(again - last->valid_ppl) > 1e-6 * again)
            fail_msg("%s: perplexity %.9g, and %.9g when opened again", tried[m], last->valid_ppl,
                again);
    }
}

static void devices_agree(void **state)
{
    (void)state;
    static const char *const tried[][2] = {{"lora", "q8_0"}, {"dota", "nf4"}, {"lorta", "q4_1"}};
    char devices[64] = "cpu";
    if (present("vulkan:0")) strcat(devices, ",vulkan:0");
    if (present("opencl:0")) strcat(devices, ",opencl:0");
    if (!strchr(devices, ',')) skip();
    for (int m = 0; m < 3; m++) {
        dart_recipe *recipe = packed_tuning(tried[m][0], tried[m][1], "cpu", in("unused"));
        set(recipe, "max_steps", "20");
        if (dart_compare(recipe, devices, 1e-4, NULL, true, NULL, NULL) != DART_OK)
            fail_msg("%s: %s", tried[m][0], dart_error_text());
        dart_recipe_free(recipe);
    }
    print_message("%s agree over 20 steps\n", devices);
}

static void exported(const char *from, const char *format, const char *dtype, const char *out)
{
    const dart_export_options o = {
        .size = sizeof o, .format = format, .dtype = dtype, .out = out, .base_name = "base"};
    dart_export_result result = {.size = sizeof result};
    if (dart_export(from, NULL, &o, NULL, &result) != DART_OK)
        fail_msg("%s as %s: %s", from, format, dart_error_text());
}

enum { IDS = 6 };

/* After each of some ids, with weights in one form; caller frees. */
static float *logits(const char *path, const char *weights)
{
    static const int32_t ids[IDS] = {1, 100, 40, 259, 35, 261};
    dart_llm *llm = opened(path, NULL, NULL, DART_OK);
    dart_context *context;
    const dart_context_options o = {.size = sizeof o, .weights = weights};
    float *out = calloc(IDS * LAB_VOCAB, sizeof *out);
    if (dart_context_new(llm, &o, &context) != DART_OK) fail_msg("%s", dart_error_text());
    for (int i = 0; i < IDS; i++) {
        assert_int_equal(dart_context_feed(context, &ids[i], 1), DART_OK);
        memcpy(out + i * LAB_VOCAB, dart_context_logits(context), LAB_VOCAB * sizeof *out);
    }
    dart_context_free(context);
    dart_llm_close(llm);
    return out;
}

static double difference(float *x, float *y)
{
    double most = 0, worst = 0;
    for (int i = 0; i < IDS * LAB_VOCAB; i++) {
        most = fmax(most, fabs(x[i]));
        worst = fmax(worst, fabs((double)x[i] - y[i]));
    }
    free(x);
    free(y);
    return worst / most;
}

/* In each form of inference, and merged by an export. */
static void opened_and_exported_it_computes_the_same(void **state)
{
    (void)state;
    static const char *const how[] = {"auto", "cores", "halves"};
    static const char *const tried[][2] = {
        {"lora", "q4_1"}, {"dota", "nf4"}, {"tt-lora", "f16"}, {"loretta-rep", "q8_0"}};
    for (int m = 0; m < 4; m++) {
        run(packed_tuning(tried[m][0], tried[m][1], "cpu", in("one")), NULL);
        for (int i = 0; i < 3; i++) {
            const double off = difference(logits(in("one"), "dense"), logits(in("one"), how[i]));
            if (off > 1e-5) fail_msg("%s, %s: %g off dense", tried[m][0], how[i], off);
        }
        exported(in("one"), "hf", "f32", in("merged"));
        /* the tokenizer is exported with the model */
        const double off = difference(logits(in("one"), NULL), logits(in("merged"), NULL));
        if (off > 1e-5) fail_msg("%s: %g off when merged", tried[m][0], off);
        exported(in("one"), "peft", NULL, in("adapter"));
        assert_int_equal(dart_remove_tree(in("one")), DART_OK);
        assert_int_equal(dart_remove_tree(in("merged")), DART_OK);
        assert_int_equal(dart_remove_tree(in("adapter")), DART_OK);
    }
}

/* From a file that has the format, nothing is rounded: steps are those of a base in f32, bit for
 * bit. */
static void a_file_of_the_format_changes_nothing(void **state)
{
    (void)state;
    static const char *const tried[] = {"f16", "q8_0", "q4_0"};
    run(packed_tuning("lora", "f32", "cpu", in("first")), NULL);
    for (int f = 0; f < 3; f++) {
        char file[256];
        double last[2];
        exported(in("first"), "gguf", tried[f], in("file"));
        snprintf(file, sizeof file, "%s/file/model.gguf", folder);
        for (int k = 0; k < 2; k++) {
            dart_recipe *recipe = packed_tuning("lora", k ? "file" : "f32", "cpu", in("of-file"));
            set(recipe, "base", file);
            set(recipe, "tokenizer", file);
            const watch w = run(recipe, NULL);
            last[k] = w.last;
            assert_int_equal(strstr(w.text, "are packed") != NULL, k);
            assert_int_equal(dart_remove_tree(in("of-file")), DART_OK);
        }
        assert_int_equal(dart_remove_tree(in("file")), DART_OK);
        if (last[0] != last[1]) fail_msg("%s: loss %.9g, in f32 %.9g", tried[f], last[1], last[0]);
    }
}

/* On a device whose buffers are short the frozen words lie in several; logits stay, bit for bit. */
static void frozen_words_in_several_buffers(void **state)
{
    (void)state;
    static const int32_t ids[IDS] = {1, 100, 40, 259, 35, 261};
    static const int32_t index[LAB_VOCAB + 1 + IDS] = {0};
    float *seen[2], *made[2];
    dart_bundle b;
    assert_int_equal(dart_bundle_open(in("f16"), NULL, (dart_note){0}, &b), DART_OK);
    for (int cut = 0; cut < 2; cut++) {
        dart_device *device;
        dart_session *session;
        dart_infer *infer;
        const dart_session_options o = {.batch = 1, .time = IDS, .chunk_rows = 64, .logits = true};
        const dart_infer_options how = {.batch = 1};
        assert_int_equal(dart_device_open("cpu", NULL, &device), DART_OK);
        if (cut) device->caps.max_alloc = 120000;
        if (dart_session_new(device, NULL, b.model, &o, &session) != DART_OK)
            fail_msg("%s", dart_error_text());
        assert_int_equal(session->memory.pieces, cut ? 2 : 0);
        assert_int_equal(dart_session_write(session, b.param, b.frozen, NULL), DART_OK);
        assert_int_equal(dart_session_logits(session, ids, index), DART_OK);
        seen[cut] = malloc(IDS * LAB_VOCAB * sizeof(float));
        memcpy(seen[cut], session->logits, IDS * LAB_VOCAB * sizeof(float));
        dart_session_free(session);
        if (dart_infer_new(device, b.model, &how, b.param, b.frozen, &infer) != DART_OK)
            fail_msg("%s", dart_error_text());
        assert_int_equal(infer->memory.pieces, cut ? 2 : 0);
        assert_int_equal(dart_infer_feed(infer, ids, IDS), DART_OK);
        made[cut] = malloc(LAB_VOCAB * sizeof(float));
        memcpy(made[cut], infer->logits, LAB_VOCAB * sizeof(float));
        dart_infer_free(infer);
        assert_int_equal(device->bytes_allocated, 0);
        dart_device_close(device);
    }
    assert_memory_equal(seen[0], seen[1], IDS * LAB_VOCAB * sizeof(float));
    assert_memory_equal(made[0], made[1], LAB_VOCAB * sizeof(float));
    for (int i = 0; i < 2; i++) free(seen[i]), free(made[i]);
    dart_bundle_free(&b);
}

/* A context reads packed words where the model has them on the host, on devices that can, so they
 * stay as long as it does. */
static void words_stay_with_the_context(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    static const int32_t ids[IDS] = {1, 100, 40, 259, 35, 261};
    for (size_t d = 0; d < 3; d++) {
        dart_llm *llm = opened(in("q8_0"), NULL, NULL, DART_OK);
        const dart_context_options o = {.size = sizeof o, .device = devices[d]};
        dart_context *context;
        const size_t size = dart_llm_vocab_size(llm) * sizeof(float);
        if (dart_context_new(llm, &o, &context) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_true(d > 0);
            dart_llm_close(llm);
            continue;
        }
        assert_int_equal(dart_context_feed(context, ids, IDS), DART_OK);
        float *before = malloc(size);
        memcpy(before, dart_context_logits(context), size);
        dart_context_reset(context);
        dart_llm_close(llm);
        assert_int_equal(dart_context_feed(context, ids, IDS), DART_OK);
        assert_memory_equal(dart_context_logits(context), before, size);
        free(before);
        dart_context_free(context);
    }
}

static void what_it_is_kept_in_is_part_of_the_run(void **state)
{
    (void)state;
    opened(in("nf4"), "base_dtype", "q8_0", DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "base_dtype is part of the model"));
    char other[128];
    snprintf(other, sizeof other, "%s/other.bin", folder);
    write_base(other, 4);
    opened(in("nf4"), "base", other, DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "is not the model that was fine-tuned"));
    dart_recipe *recipe = tiny("cpu", in("none"));
    watch w = {0};
    set(recipe, "base_dtype", "nf4");
    assert_int_equal(train(recipe, &w, NULL), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "base_dtype says how a pretrained model is kept"));
    dart_recipe_free(recipe);
    /* tensors are read as numbers */
    dart_llm *llm = opened(in("nf4"), NULL, NULL, DART_OK);
    size_t at;
    float numbers[LAB_DIM * LAB_DIM];
    assert_int_equal(dart_llm_tensor_find(llm, "blocks.0.attn.q.weight", &at), DART_OK);
    assert_int_equal(dart_llm_tensor_read(llm, at, numbers, LAB_DIM * LAB_DIM), DART_OK);
    double square = 0;
    for (int i = 0; i < LAB_DIM * LAB_DIM; i++) square += numbers[i] * numbers[i];
    assert_true(fabs(sqrt(square / (LAB_DIM * LAB_DIM)) - 0.25) < 0.02);
    dart_llm_close(llm);
}

static void memory_that_runs_out_is_said(void **state)
{
    (void)state;
    unsigned long failed = 0;
#ifndef __SANITIZE_ADDRESS__
    const char *const paths[] = {in("q4_1/checkpoints/step-00000024"),
        in("found-dota dota_init=zero/checkpoints/step-00000024")};
    for (int p = 0; p < 2; p++) {
        bool done = false;
        for (unsigned long n = 1; !done; n += 1 + n / 16) {
            dart_bundle b;
            const long before = atomic_load(&live);
            start_failing(n, false);
            const dart_status status = dart_bundle_open(paths[p], NULL, (dart_note){0}, &b);
            done = stop_failing() < n;
            dart_bundle_free(&b);
            if (status != DART_OK && status != DART_MEMORY) fail_msg("%s", dart_error_text());
            if (n > 1 && atomic_load(&live) > before)
                fail_msg("%ld blocks are left", atomic_load(&live) - before);
            failed += status == DART_MEMORY;
        }
    }
    assert_true(failed > 20);
#endif
    print_message("%lu allocations failed\n", failed);
}

/* GGUF files want a token for a blank. */
static int set_up_models(void **state)
{
    static const char *const more[] = {" ", "a", " a"};
    if (set_up_base(state)) return 1;
    write_pieces(tokenizer_path, more);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_format_learns_and_opens_again),
        cmocka_unit_test(embeddings_are_kept_as_asked_for),
        cmocka_unit_test(stopped_runs_go_on_bit_for_bit),
        cmocka_unit_test(methods_find_ranks_beside_it), cmocka_unit_test(devices_agree),
        cmocka_unit_test(opened_and_exported_it_computes_the_same),
        cmocka_unit_test(a_file_of_the_format_changes_nothing),
        cmocka_unit_test(frozen_words_in_several_buffers),
        cmocka_unit_test(words_stay_with_the_context),
        cmocka_unit_test(what_it_is_kept_in_is_part_of_the_run),
        cmocka_unit_test(memory_that_runs_out_is_said)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
