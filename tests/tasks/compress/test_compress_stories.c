/* Compressing a real model, stories260K: the loss of text that was not read, and every device. */
#include "compress_lab.h"
#include "reader.h"
#include "text.h"
#include <math.h>

/* stories260K in $DART_TEST_MODELS or beside the repository; false: it is not there. */
static bool stories(char path[4096], char tokens[4096])
{
    const char *models = getenv("DART_TEST_MODELS");
    if (!models) models = DART_SOURCE_DIR "/../shared/models";
    snprintf(path, 4096, "%s/stories260K/stories260K.bin", models);
    snprintf(tokens, 4096, "%s/stories260K/tok512.bin", models);
    const bool there = dart_file_exists(path) && dart_file_exists(tokens);
    print_message("data: stories260K %s\n", there ? "read" : "not at hand");
    return there;
}

/* Loss of the base, or of it compressed as asked for, on a text: nats a token. */
static double loss_of(const char *path, const char *tokens, const char *text,
    const dart_compress_options *options, uint64_t *out_after)
{
    dart_eval_result r;
    dart_recipe *over;
    dart_compression *c;
    uint64_t before;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "tokenizer", tokens);
    set(over, "context", "128");
    set(over, "batch_size", "4");
    set(over, "device", "cpu");
    if (options) {
        if (compress(path, options, over, &c) != DART_OK) fail_msg("%s", dart_error_text());
        dart_compression_size(c, &before, out_after);
        dart_compression_free(c);
        dart_recipe_free(over);
        assert_int_equal(dart_recipe_new(&over), DART_OK);
        set(over, "device", "cpu");
    }
    set(over, "text", text);
    if (handle_eval(options ? options->out : path, over, &r) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_recipe_free(over);
    if (options) assert_int_equal(dart_remove_tree(options->out), DART_OK);
    return log(r.test_ppl);
}

/* What the metric is for: at equal sizes the loss of text that was not read rises less. */
static void losses_rise_less_near_to_the_loss(void **state)
{
    (void)state;
    char path[4096], tokens[4096], data[PATH_MAX], at[PATH_MAX];
    dart_reader reader;
    if (!stories(path, tokens)) return;
    const bool there = dart_data_folder("tinystories-sample", "tiny_stories.txt", data) &&
                       dart_data_file(data, "tiny_stories.txt", at);
    print_message("data: tinystories-sample %s\n", there ? "read" : "not at hand");
    if (!there) return;
    assert_int_equal(
        dart_reader_open(&(dart_text){.what = at, .size = UINT64_MAX}, &reader), DART_OK);
    assert_int_equal(dart_reader_more(&reader), DART_OK);
    assert_true(reader.size > 300000);
    assert_int_equal(dart_file_write_sync(in("calibration.txt"), reader.data, 60000), DART_OK);
    assert_int_equal(dart_file_write_sync(in("unseen.txt"), reader.data + 200000, 60000), DART_OK);
    dart_reader_close(&reader);
    const double whole = loss_of(path, tokens, in("unseen.txt"), NULL, NULL);
    for (int m = 0; m < 3; m++)
        for (int found = 0; found < (m ? 1 : 2); found++) {
            double rise[2];
            uint64_t after[2];
            for (int loss = 0; loss < 2; loss++) {
                const dart_compress_options o = {.method = methods[m],
                    .target = 1.25,
                    .ranks = found ? "found" : "uniform",
                    .calibrate = in("calibration.txt"),
                    .calibrate_tokens = 8192,
                    .metric = loss ? "loss" : "outputs",
                    .out = in("near")};
                rise[loss] = loss_of(path, tokens, in("unseen.txt"), &o, &after[loss]) - whole;
            }
            print_message("%s, %s: the loss %.3f rises by %.3f near to outputs, %.3f to the loss\n",
                methods[m], found ? "found" : "uniform", whole, rise[0], rise[1]);
            assert_true(after[1] <= after[0] + after[0] / 500);
            assert_true(rise[1] < rise[0]);
        }
}

/* Every device measures the same. */
static void devices_agree_on_stories(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    char path[4096], tokens[4096], text[5000];
    if (!stories(path, tokens)) return;
    size_t n = 0;
    for (int i = 0; n < 4500; i++)
        n += (size_t)snprintf(text + n, sizeof text - n,
            "Once upon a time, there was a little %s named Lily. She loved to play with her %s.\n",
            i % 3 ? "girl" : "cat", i % 2 ? "ball" : "friends");
    assert_int_equal(dart_file_write_sync(in("stories.txt"), text, n), DART_OK);
    for (int m = 0; m < 3; m++) {
        dart_recipe *over;
        dart_compression *c;
        double first = 0;
        char out[200];
        snprintf(out, sizeof out, "%s/stories-%s", folder, methods[m]);
        assert_int_equal(dart_recipe_new(&over), DART_OK);
        set(over, "tokenizer", tokens);
        set(over, "context", "32");
        set(over, "batch_size", "2");
        const dart_compress_options o = {.method = methods[m],
            .target = 1.25,
            .ranks = "found",
            .calibrate = in("stories.txt"),
            .metric = m == 1 ? "loss" : "outputs",
            .modules = m == 1 ? "blocks.*" : "blocks.*, tok_emb",
            .out = out};
        set(over, "device", "cpu");
        if (compress(path, &o, over, &c) != DART_OK) fail_msg("%s", dart_error_text());
        dart_compression_free(c);
        dart_recipe_free(over);
        for (int d = 0; d < 3; d++) {
            dart_eval_result r;
            if (!present(devices[d])) continue;
            assert_int_equal(dart_recipe_new(&over), DART_OK);
            set(over, "text", in("stories.txt"));
            set(over, "device", devices[d]);
            if (handle_eval(out, over, &r) != DART_OK) fail_msg("%s", dart_error_text());
            dart_recipe_free(over);
            if (!d) first = r.test_ppl;
            print_message("%s on %s: %.6f\n", methods[m], devices[d], r.test_ppl);
            assert_true(r.test_tokens > 20 && fabs(r.test_ppl / first - 1) < 1e-4);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses_rise_less_near_to_the_loss),
        cmocka_unit_test(devices_agree_on_stories)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
