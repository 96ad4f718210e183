/* stories260K, a real model of llama2.c's kind, from its files to the text that its authors
 * published: logits and 40 greedy tokens behind the start token, on every device. The figures are
 * of a forward pass that somebody else wrote. */
#include "dart.h"
#include "file.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const float LOGITS_300[] = {
    3.691514f, 11.245796f, -0.859713f, -1.043969f, -6.763140f, -4.167588f, -3.451190f, 10.705304f};
static const int32_t GREEDY[] = {403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395,
    317, 426, 338, 401, 396, 267, 337, 410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385,
    328, 432, 358, 394, 261, 370, 432, 352};

static char model_path[4096];

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_last_error());
}

static void check(const char *device)
{
    const int32_t start = 1;
    dart_llm *llm;
    dart_context *context;
    ok(dart_llm_open(model_path, NULL, &llm));
    const dart_context_options options = {.size = sizeof options, .device = device};
    ok(dart_context_new(llm, &options, &context));
    ok(dart_context_feed(context, &start, 1));
    const float *logits = dart_context_logits(context);
    double sum = 0, error = 0;
    assert_int_equal(dart_llm_vocab_size(llm), 512);
    for (int i = 0; i < 512; i++) sum += logits[i];
    for (int i = 0; i < 8; i++) error = fmax(error, fabs(logits[300 + i] - LOGITS_300[i]));
    if (!(error < 2e-5 && fabs(sum + 1070.172) < 5e-3))
        fail_msg("%s: logits are off by %g, their sum is %.4f", device, error, sum);
    const size_t count = sizeof GREEDY / sizeof *GREEDY;
    for (size_t i = 0; i < count; i++) {
        int32_t id;
        ok(dart_context_sample(context, NULL, &id));
        if (id != GREEDY[i])
            fail_msg("%s: token %zu is %d, expected %d", device, i, (int)id, (int)GREEDY[i]);
        ok(dart_context_feed(context, &id, 1));
    }
    printf("stories260K on %s: logits within %.1e, %zu greedy tokens\n", device, error, count);
    dart_context_free(context);
    dart_llm_close(llm);
}

static bool found(void)
{
    const char *models = getenv("DART_TEST_MODELS");
    if (!models) models = DART_SOURCE_DIR "/../shared/models";
    snprintf(model_path, sizeof model_path, "%s/stories260K/stories260K.bin", models);
    const bool there = access(model_path, R_OK) == 0;
    printf("data: stories260K %s\n", there ? "read" : "not at hand");
    return there;
}

static void test_cpu(void **state)
{
    (void)state;
    if (!found()) skip();
    check("cpu");
}

static void test_vulkan(void **state)
{
    (void)state;
    if (!found()) skip();
    check("vulkan:0");
}

static void test_opencl(void **state)
{
    (void)state;
    if (!found()) skip();
    check("opencl:0");
}

/* Such a file has no tokenizer in it. */
static void test_without_tokenizer(void **state)
{
    (void)state;
    if (!found()) skip();
    char folder[] = "/tmp/dart-stories-XXXXXX", copy[64];
    char *data;
    size_t size;
    dart_llm *llm;
    assert_non_null(mkdtemp(folder));
    snprintf(copy, sizeof copy, "%s/model.bin", folder);
    ok(dart_file_read(model_path, &data, &size));
    ok(dart_file_write_sync(copy, data, size));
    free(data);
    assert_int_equal(dart_llm_open(copy, NULL, &llm), DART_INPUT);
    assert_non_null(strstr(dart_last_error(), "neither tokenizer.bin nor tok512.bin lies beside"));
    ok(dart_remove_tree(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpu), cmocka_unit_test(test_vulkan),
        cmocka_unit_test(test_opencl), cmocka_unit_test(test_without_tokenizer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
