/* Handles of the public interface: a stored model and contexts on it. */
#include "safetensors.h"
#include "whole_run.h"
#include <pthread.h>

static dart_llm *open_whole(void)
{
    dart_llm *llm;
    ok(dart_llm_open(tiny_path("whole"), NULL, &llm));
    return llm;
}

/* ---- models ---- */

static void test_configuration(void **state)
{
    (void)state;
    dart_llm *llm = open_whole();
    char text[512];
    static const char *const want[][2] = {{"layers", "1"}, {"d_model", "16"}, {"d_ff", "64"},
        {"heads", "2"}, {"kv_heads", "2"}, {"context", "8"}, {"arch", "gpt"}, {"linear", "tt"},
        {"source_vocab_size", "0"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        ok(dart_llm_config_value(llm, want[i][0], text, sizeof text));
        assert_string_equal(text, want[i][1]);
    }
    ok(dart_llm_config_value(llm, "path", text, sizeof text));
    assert_string_equal(text, tiny_path("whole"));
    size_t n = dart_llm_config_count(llm);
    assert_true(n > 30);
    for (size_t i = 0; i < n; i++) {
        const char *key = dart_llm_config_key(llm, i);
        ok(dart_llm_config_value(llm, key, text, sizeof text));
        for (size_t k = 0; k < i; k++) assert_string_not_equal(key, dart_llm_config_key(llm, k));
    }
    assert_null(dart_llm_config_key(llm, n));
    refused(dart_llm_config_value(llm, "d_modle", text, sizeof text), DART_USAGE, "'d_model'?");
    assert_string_equal(text, "");
    dart_llm_close(llm);
    refused(dart_llm_open(tiny_path("nothing"), NULL, &llm), DART_INPUT, "neither a run directory");
    assert_null(llm);
    dart_llm_close(llm);
}

/* Names, shapes and values are those of the file that the checkpoint holds. */
static void test_tensors(void **state)
{
    (void)state;
    dart_llm *llm = open_whole();
    size_t size, index, found = 0;
    char *data, text[64];
    dart_safetensors file;
    uint64_t elements = 0;
    ok(dart_file_read(
        tiny_path("whole/checkpoints/step-00000021/model.safetensors"), &data, &size));
    ok(dart_safetensors_parse(data, size, "the file", &file));
    for (size_t i = 0; i < dart_llm_tensor_count(llm); i++) {
        dart_tensor_info info = {.size = sizeof info};
        ok(dart_llm_tensor_at(llm, i, &info));
        float *own = calloc(info.elements, sizeof *own), *stored = calloc(info.elements, 4);
        ok(dart_llm_tensor_find(llm, info.name, &index));
        assert_int_equal(index, i);
        ok(dart_llm_tensor_read(llm, i, own, info.elements));
        ok(dart_safetensors_f32(&file, info.name, info.elements, stored));
        assert_memory_equal(own, stored, info.elements * sizeof *own);
        uint64_t product = 1;
        for (uint32_t d = 0; d < info.rank; d++) product *= info.shape[d];
        assert_int_equal(product, info.elements);
        assert_string_equal(info.dtype, "F32");
        assert_true(info.trainable);
        refused(dart_llm_tensor_read(llm, i, own, info.elements - 1), DART_USAGE, "room");
        found += strstr(info.name, "core") != NULL;
        elements += info.elements;
        free(own);
        free(stored);
    }
    assert_true(found > 4);
    ok(dart_llm_config_value(llm, "parameters", text, sizeof text));
    assert_int_equal(strtoull(text, NULL, 10), elements);
    dart_tensor_info info = {.size = sizeof info};
    size_t count = dart_llm_tensor_count(llm);
    refused(dart_llm_tensor_at(llm, count, &info), DART_USAGE, "was asked for");
    refused(dart_llm_tensor_read(llm, count, NULL, 0), DART_USAGE, "was asked for");
    ok(dart_llm_tensor_at(llm, 0, &info));
    snprintf(text, sizeof text, "%sx", info.name);
    refused(dart_llm_tensor_find(llm, text, &index), DART_INPUT, info.name);
    dart_safetensors_close(&file);
    free(data);
    dart_llm_close(llm);
}

static void test_words(void **state)
{
    (void)state;
    static const char line[] = "the cat likes a stone .\n", begun[] = "the cat likes";
    dart_llm *llm = open_whole();
    int32_t ids[16], few[2];
    size_t count, again, size;
    char text[64] = "";
    ok(dart_llm_encode(llm, line, strlen(line), ids, 16, &count));
    assert_int_equal(count, 7);
    assert_int_equal(ids[6], dart_llm_special(llm, DART_SPECIAL_END));
    ok(dart_llm_decode(llm, -1, ids, count, text, sizeof text, &size));
    assert_int_equal(size, strlen(line));
    assert_memory_equal(text, line, size);
    ok(dart_llm_encode(llm, begun, strlen(begun), few, 2, &again));
    assert_int_equal(again, 3);
    assert_memory_equal(few, ids, sizeof few);
    ok(dart_llm_encode(llm, begun, strlen(begun), NULL, 0, &again));
    assert_int_equal(again, 3);
    ok(dart_llm_encode(llm, "", 0, NULL, 0, &again));
    assert_int_equal(again, 0);
    ok(dart_llm_encode(llm, "the zebra", 9, ids, 16, &count));
    assert_int_equal(ids[1], dart_llm_special(llm, DART_SPECIAL_UNKNOWN));
    assert_int_equal(
        dart_llm_special(llm, DART_SPECIAL_START), dart_llm_special(llm, DART_SPECIAL_END));
    /* in pieces, each behind the one before it; only what there is room for */
    ok(dart_llm_decode(llm, few[0], &few[1], 1, text, 2, &size));
    assert_int_equal(size, 4);
    assert_memory_equal(text, " c", 2);
    refused(dart_llm_encode(llm, "a \xff", 3, ids, 16, &count), DART_INPUT, "the text");
    ids[0] = (int32_t)dart_llm_vocab_size(llm);
    refused(dart_llm_decode(llm, -1, ids, 1, text, 64, &size), DART_USAGE, "outside");
    refused(dart_llm_decode(llm, ids[0], few, 1, text, 64, &size), DART_USAGE, "outside");
    dart_llm_close(llm);
}

/* ---- contexts ---- */

static const dart_sampling drawn = {
    .size = sizeof drawn, .temperature = 0.9, .top_k = 20, .top_p = 0.95, .seed = 5};

/* Feeding and sampling by hand gives the text that generate writes. */
static void test_by_hand(void **state)
{
    (void)state;
    dart_llm *llm = open_whole();
    dart_context *context;
    handle_text text = {0};
    char own[512];
    int32_t ids[64];
    size_t count, used = 0, n;
    dart_generate_options o = {
        .size = sizeof o, .prompt = "the old", .tokens = 6, .sampling = &drawn, .overflow = "stop"};
    dart_generate_speed speed = {.size = sizeof speed};
    ok(dart_context_new(
        llm, &(dart_context_options){.size = sizeof(dart_context_options)}, &context));
    assert_null(dart_context_logits(context));
    refused(dart_context_sample(context, NULL, ids), DART_USAGE, "no token was fed");
    ok(dart_context_generate(context, &o, handle_take, &text, &speed));
    assert_int_equal(speed.tokens, 6);
    assert_int_equal(speed.prompt_tokens, 2);
    assert_int_equal(text.calls, 6); /* token by token */
    dart_context_reset(context);
    assert_null(dart_context_logits(context));
    ok(dart_llm_encode(llm, o.prompt, strlen(o.prompt), ids, 64, &count));
    ok(dart_context_feed(context, ids, count));
    for (int i = 0; i < 6; i++) {
        int32_t next;
        ok(dart_context_sample(context, &drawn, &next));
        ok(dart_llm_decode(llm, ids[count - 1], &next, 1, own + used, sizeof own - used, &n));
        used += n;
        ids[count++] = next;
        if (i < 5) ok(dart_context_feed(context, &ids[count - 1], 1));
    }
    assert_int_equal(used, text.size);
    assert_memory_equal(own, text.text, used);
    assert_int_equal(dart_context_position(context), 7);
    assert_int_equal(dart_context_limit(context), 8);
    assert_true(dart_context_bytes(context) > 1000);
    /* the likeliest is the largest of the logits */
    const float *logits = dart_context_logits(context);
    int32_t best = 0, found;
    for (int32_t i = 1; i < (int32_t)dart_llm_vocab_size(llm); i++)
        if (logits[i] > logits[best]) best = i;
    ok(dart_context_sample(context, NULL, &found));
    assert_int_equal(found, best);
    refused(dart_context_feed(context, ids, 2), DART_INPUT, "the context holds 8");
    refused(dart_context_feed(context, ids, 0), DART_INPUT, "at least one");
    ids[0] = -1;
    refused(dart_context_feed(context, ids, 1), DART_INPUT, "outside the vocabulary");
    free(text.text);
    dart_context_free(context);
    dart_llm_close(llm);
}

static dart_status stop_at_three(void *user)
{
    return ++*(int *)user == 3 ? DART_INTERRUPTED : DART_OK;
}

static int refuse(void *user, const char *text, size_t size)
{
    (void)text;
    (void)size;
    return ++*(int *)user == 2;
}

static void test_generate(void **state)
{
    (void)state;
    dart_llm *llm = open_whole();
    dart_context *context;
    int asked = 0, taken = 0;
    dart_generate_speed speed = {.size = sizeof speed};
    dart_generate_options o = {.size = sizeof o, .tokens = 30, .user = &asked};
    ok(dart_context_new(llm, NULL, &context));
    /* past the context by each way, and "stop" at its end */
    static const struct {
        const char *overflow;
        uint64_t tokens;
    } ways[] = {{NULL, 30}, {"slide", 30}, {"shift", 30}, {"stop", 8}};
    for (size_t i = 0; i < 4; i++) {
        o.overflow = ways[i].overflow;
        ok(dart_context_generate(context, &o, NULL, NULL, &speed));
        assert_int_equal(speed.tokens, ways[i].tokens);
        assert_int_equal(speed.prompt_tokens, 1); /* the start token */
    }
    o.overflow = "wrap";
    refused(dart_context_generate(context, &o, NULL, NULL, NULL), DART_USAGE, "slide, shift");
    o.overflow = NULL;
    o.abort = stop_at_three;
    ok(dart_context_generate(context, &o, NULL, NULL, &speed));
    assert_int_equal(speed.tokens, 3);
    o.abort = NULL;
    refused(dart_context_generate(context, &o, refuse, &taken, NULL), DART_IO, "cannot write");
    assert_int_equal(taken, 2);
    o.sampling = &(dart_sampling){0};
    refused(dart_context_generate(context, &o, NULL, NULL, NULL), DART_USAGE, "dart_sampling");
    assert_int_equal(dart_context_batch(context), 0);
    refused(dart_context_translate(context, NULL, 0, NULL, NULL, NULL, NULL), DART_INPUT,
        "no translation model");
    dart_bleu bleu = {.size = sizeof bleu};
    refused(dart_context_bleu(context, "test", NULL, NULL, NULL, &bleu), DART_INPUT,
        "no translation model");
    dart_context_free(context);
    dart_context_free(NULL);
    dart_context_options co = {.size = sizeof co, .weights = "cors"};
    refused(dart_context_new(llm, &co, &context), DART_USAGE, "cores");
    co = (dart_context_options){.size = sizeof co, .device = "cuda:0"};
    refused(dart_context_new(llm, &co, &context), DART_USAGE, "cuda:0");
    co = (dart_context_options){.size = sizeof co, .device = "cpu", .limits = "emu-nothing"};
    refused(dart_context_new(llm, &co, &context), DART_USAGE, "emu-nothing");
    assert_null(context);
    co = (dart_context_options){.size = sizeof co, .context = 5};
    ok(dart_context_new(llm, &co, &context));
    assert_int_equal(dart_context_limit(context), 5);
    dart_context_free(context);
    dart_llm_close(llm);
}

typedef struct beside {
    const dart_llm *llm;
    const char *weights;
    handle_text text;
    dart_status status;
    char why[256];
} beside;

static void *write_beside(void *user)
{
    beside *b = user;
    dart_context *context = NULL;
    const dart_context_options co = {.size = sizeof co, .weights = b->weights};
    const dart_generate_options o = {
        .size = sizeof o, .prompt = "my friend", .tokens = 200, .sampling = &drawn};
    b->status = dart_context_new(b->llm, &co, &context);
    if (b->status == DART_OK)
        b->status = dart_context_generate(context, &o, handle_take, &b->text, NULL);
    snprintf(b->why, sizeof b->why, "%s", dart_last_error());
    dart_context_free(context);
    return NULL;
}

/* Threads with a context each on one model: the text of one alone. */
static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static const char *const weights[THREADS] = {"auto", "cores", "halves", "dense"};
    dart_llm *llm = open_whole();
    beside alone = {.llm = llm, .weights = "auto"}, b[THREADS];
    pthread_t thread[THREADS];
    write_beside(&alone);
    assert_int_equal(alone.status, DART_OK);
    for (int i = 0; i < THREADS; i++) {
        b[i] = (beside){.llm = llm, .weights = weights[i]};
        assert_int_equal(pthread_create(&thread[i], NULL, write_beside, &b[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        if (b[i].status != DART_OK) fail_msg("%s", b[i].why);
        assert_string_equal(b[i].text.text, alone.text.text);
        free(b[i].text.text);
    }
    free(alone.text.text);
    dart_llm_close(llm);
}

static dart_status third_time(void *user)
{
    return ++*(int *)user < 3 ? DART_OK : DART_INTERRUPTED;
}

static int drop(void *user, const char *text, size_t size)
{
    (void)user;
    (void)text;
    (void)size;
    return 0;
}

/* Long calls ask the thread's abort between batches, and no longer than it is set. */
static void test_abort(void **state)
{
    (void)state;
    int asked = 0;
    dart_llm *llm = open_whole();
    dart_recipe *recipe;
    dart_eval_result found = {.size = sizeof found};
    const dart_bench_options bench = {
        .size = sizeof bench, .devices = "cpu", .tests = "gemm", .format = "md", .repeats = 2};
    dart_selftest_result verdict = {.size = sizeof verdict};
    ok(dart_recipe_new(&recipe));
    dart_set_abort(third_time, &asked);
    refused(dart_llm_evaluate(llm, NULL, &found), DART_INTERRUPTED, "stopped");
    assert_int_equal(asked, 3);
    asked = 0;
    refused(dart_bench(recipe, &bench, drop, NULL), DART_INTERRUPTED, "stopped");
    asked = 0;
    refused(dart_selftest("cpu", NULL, drop, NULL, &verdict), DART_INTERRUPTED, "stopped");
    dart_set_abort(NULL, NULL);
    asked = 0;
    const dart_hooks hooks = {.size = sizeof hooks, .user = &asked, .abort = third_time};
    refused(dart_llm_evaluate(llm, &hooks, &found), DART_INTERRUPTED, "stopped");
    ok(dart_llm_evaluate(llm, NULL, &found));
    assert_int_equal(asked, 3);
    dart_recipe_free(recipe);
    dart_llm_close(llm);
}

/* A binding frees in whatever order its language likes. */
static void test_order_of_freeing(void **state)
{
    (void)state;
    dart_llm *llm = open_whole();
    dart_context *context;
    const int32_t token = 1;
    ok(dart_context_new(llm, NULL, &context));
    ok(dart_context_feed(context, &token, 1));
    dart_llm_close(llm);
    dart_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_order_of_freeing),
    };
    return cmocka_run_group_tests(tests, set_up_whole, tiny_tear_down);
}
